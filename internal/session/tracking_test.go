package session

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"haypile/internal/commands"
)

// cachingClient caches what it reads, as a client library with client-side caching does.
type cachingClient struct {
	*peer
	rnd    *rand.Rand
	keys   []string
	optIn  bool
	noLoop bool
	cache  map[string]string
	// told counts messages, hits values that were in the cache at the end of a batch.
	told, hits int
}

// take is the next reply that is no message; messages before it take effect.
func (c *cachingClient) take() string {
	for {
		r := c.reply()
		f := strings.Fields(r)
		if !strings.HasPrefix(r, ">") {
			return r
		}
		if f[2] != "invalidate" {
			c.tb.Errorf("message %q", r)
		}
		c.told++
		if f[3] == "_" {
			clear(c.cache)
			continue
		}
		for _, k := range values(f[3:]) {
			delete(c.cache, k)
		}
	}
}

// values are the words of a reply without the lengths.
func values(fields []string) []string {
	return slices.DeleteFunc(slices.Clone(fields), func(f string) bool { return strings.ContainsAny(f[:1], "$*") })
}

// key picks a key.
func (c *cachingClient) key() string { return c.keys[c.rnd.IntN(len(c.keys))] }

// batch sends a few commands at once and takes the replies. What is read enters the cache when its reply comes.
func (c *cachingClient) batch() {
	var send []string
	var then []func(reply string)
	do := func(line string, f func(reply string)) {
		send, then = append(send, line), append(then, f)
	}
	reads := func(n int) (line string, keys []string) {
		for range n {
			keys = append(keys, c.key())
		}
		return "MGET " + strings.Join(keys, " "), keys
	}
	store := func(keys []string, got []string) {
		for i, k := range keys {
			c.cache[k] = got[i]
		}
	}
	ignore := func(string) {}
	for range 1 + c.rnd.IntN(4) {
		cached := true
		if c.optIn {
			if cached = c.rnd.IntN(2) == 0; cached {
				do("CLIENT CACHING YES", ignore)
			}
		}
		switch c.rnd.IntN(8) {
		case 0: // its own change
			k := c.key()
			do("SET "+k+" own"+fmt.Sprint(c.rnd.Int()), func(string) {
				if c.noLoop {
					delete(c.cache, k)
				}
			})
		case 1: // reads before and behind a change in a transaction
			before, beforeKeys := reads(1)
			behind, behindKeys := reads(2)
			k := c.key()
			do("MULTI", ignore)
			do(before, ignore)
			do("SET "+k+" multi"+fmt.Sprint(c.rnd.Int()), ignore)
			do(behind, ignore)
			do("EXEC", func(r string) {
				got := values(strings.Fields(r))
				if cached {
					store(beforeKeys, got)
				}
				if c.noLoop {
					delete(c.cache, k)
				}
				if cached {
					store(behindKeys, got[2:])
				}
			})
		default:
			line, keys := reads(1 + c.rnd.IntN(3))
			do(line, func(r string) {
				if cached {
					store(keys, values(strings.Fields(r)))
				}
			})
		}
	}
	c.send(send...)
	for _, f := range then {
		f(c.take())
	}
	c.hits += len(c.cache)
}

// TestCachesStayCurrent: while clients write by every path, clients that cache what they read, in every mode that
// allows it, never keep a value that is not the present one: when all is quiet their caches agree with the data.
func TestCachesStayCurrent(t *testing.T) {
	n := newNode(t, nil)
	n.x.Tracking.SetMost(25) // of 30 keys: some are evicted
	keys := make([]string, 30)
	for i := range keys {
		keys[i] = fmt.Sprintf("key:%d", i)
	}
	var readers []*cachingClient
	for i, mode := range []string{"", "NOLOOP", "OPTIN", "OPTIN NOLOOP", "BCAST", "BCAST NOLOOP PREFIX key:"} {
		p, _ := n.connect()
		p.send("HELLO 3", "CLIENT TRACKING ON "+mode)
		p.reply()
		p.want("+OK")
		readers = append(readers, &cachingClient{peer: p, rnd: rand.New(rand.NewPCG(uint64(i), 1)), keys: keys,
			optIn: strings.Contains(mode, "OPTIN"), noLoop: strings.Contains(mode, "NOLOOP"), cache: map[string]string{}})
	}
	var writers []*peer
	for range 4 {
		w, _ := n.connect()
		writers = append(writers, w)
	}
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	q, _ := n.connect()
	gate := n.x.NewSession(context.Background(), &commands.Client{})
	defer gate.Close()
	for round := range rounds {
		var writing, reading sync.WaitGroup
		for i, w := range writers {
			rnd := rand.New(rand.NewPCG(uint64(i), uint64(round)))
			writing.Go(func() { writeRandomly(w, rnd, keys) })
		}
		var done atomic.Bool
		for _, c := range readers {
			reading.Go(func() {
				for !done.Load() {
					c.batch()
				}
			})
		}
		writing.Wait()
		done.Store(true)
		reading.Wait()
		eventually(t, "no key has a deadline", func() bool { // a value may be cached until its key is deleted
			if _, err := n.x.Expire(context.Background(), gate, 100); err != nil {
				t.Fatal(err)
			}
			_, expires := n.x.Store().Counts(0)
			return expires == 0
		})
		for i, c := range readers {
			c.check(t, q, i)
		}
	}
	for i, c := range readers {
		if c.told == 0 || c.hits == 0 {
			t.Errorf("reader %d: %d messages, %d values cached: nothing was tested", i, c.told, c.hits)
		}
	}
}

// check compares the cache with the data while nobody writes.
func (c *cachingClient) check(t *testing.T, q *peer, reader int) {
	t.Helper()
	for range 2 { // a message may come behind the reply that was on its way
		c.send("PING")
		if r := c.take(); r != "+PONG" {
			t.Fatalf("PING: %q", r)
		}
	}
	if len(c.cache) == 0 {
		return
	}
	cached := slices.Sorted(maps.Keys(c.cache))
	q.send("HELLO 3", "MGET "+strings.Join(cached, " "))
	q.reply()
	for i, now := range values(strings.Fields(q.reply())) {
		if k := cached[i]; c.cache[k] != now {
			t.Errorf("reader %d has %s = %s, it is %s", reader, k, c.cache[k], now)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// writeRandomly changes keys by single commands, pipelines, transactions, renames, deadlines and flushes.
func writeRandomly(w *peer, rnd *rand.Rand, keys []string) {
	for range 12 {
		k, other := keys[rnd.IntN(len(keys))], keys[rnd.IntN(len(keys))]
		v := fmt.Sprintf("v%d", rnd.Int())
		var lines []string
		switch rnd.IntN(10) {
		case 0:
			lines = []string{"DEL " + k}
		case 1:
			lines = []string{"MSET " + k + " " + v + " " + other + " " + v}
		case 2:
			lines = []string{"MULTI", "SET " + k + " " + v, "APPEND " + other + " x", "EXEC"}
		case 3:
			lines = []string{"RENAME " + k + " " + other}
		case 4:
			lines = []string{"PSETEX " + k + " 1 " + v}
		case 5:
			lines = []string{"SET " + k + " " + v, "GET " + other, "SET " + other + " " + v, "DEL " + k}
		case 6:
			if rnd.IntN(20) == 0 {
				lines = []string{"FLUSHDB"}
			}
		default:
			lines = []string{"SET " + k + " " + v}
		}
		w.send(lines...)
		for range lines {
			w.reply()
		}
	}
}

// TestInvalidateBeforePushing: a connection to which messages are redirected, and which has never asked for any, gets
// them while it does nothing, and behind the replies of what it does.
func TestInvalidateBeforePushing(t *testing.T) {
	n := newNode(t, nil)
	target, _ := n.connect()
	target.send("HELLO 3", "CLIENT ID")
	target.reply()
	id := strings.TrimPrefix(target.reply(), ":")
	p, _ := n.connect()
	p.send("CLIENT TRACKING ON REDIRECT "+id, "GET k")
	p.want("+OK", "$-1")
	w, _ := n.connect()
	w.send("SET k 1")
	w.want("+OK")
	target.want(">2 $10 invalidate *1 $1 k")
	for i := range 100 {
		p.send("GET k")
		p.want("$1 1")
		w.send("SET k 1")
		w.want("+OK")
		target.want(">2 $10 invalidate *1 $1 k")
		target.send("SET other "+fmt.Sprint(i), "PING")
		target.want("+OK", "+PONG")
	}
	target.Close()
	eventually(t, "the target is gone", func() bool { return n.reg.Count() == 2 })
	p.send("HELLO 3", "GET k")
	p.reply()
	p.want("$1 1")
	w.send("SET k 1")
	w.want("+OK")
	p.want(">2 $21 tracking-redir-broken :" + id)
}
