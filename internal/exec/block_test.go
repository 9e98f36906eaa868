package exec

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/encoding"
	"haypile/internal/replog"
	"haypile/internal/resp"
)

// blocked starts a command that waits, and returns once it does and holds no lock any more: it is among the waiters
// before it gives its locks up, and a loop refuses what it has to wait for. REQUIRES: no loop has a turn open.
func (g *gate) blocked(line string) (c *client, reply <-chan string) {
	g.tb.Helper()
	c = g.client()
	before := g.x.waiters.n.Load()
	got := make(chan string, 1)
	go func() { got <- c.do(line) }()
	eventually(g.tb, line+" waits", func() bool { return g.x.waiters.n.Load() > before })
	g.x.latch.Lock()
	g.x.latch.Unlock() // who holds a key's lock holds the latch
	return c, got
}

func (g *gate) wantReply(reply <-chan string, want string) {
	g.tb.Helper()
	select {
	case got := <-reply:
		if got != want {
			g.tb.Errorf("got %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		g.tb.Fatalf("no reply, want %q", want)
	}
}

// logged is what the log holds from an offset on, commands in words, one after another.
func (g *gate) logged(from replog.Offset) string {
	g.tb.Helper()
	var all []string
	err := g.log.Replay(from, func(f replog.Frame) error {
		r := resp.NewReader(resp.DefaultLimits())
		copy(r.Space(len(f.Payload)), f.Payload)
		r.Advance(len(f.Payload))
		for {
			c, ok, err := r.Next()
			if err != nil || !ok {
				return err
			}
			var line []string
			for _, a := range c.Args {
				line = append(line, string(a))
			}
			all = append(all, strings.Join(line, " "))
		}
	})
	if err != nil {
		g.tb.Fatal(err)
	}
	return strings.Join(all, ", ")
}

// TestServedInOrder: who waits longest is served first, right behind the push, on a loop and elsewhere, and the log
// tells so.
func TestServedInOrder(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	c.want("1", "RPUSH other x")
	for _, onLoop := range []bool{true, false} {
		var replies []<-chan string
		for _, line := range []string{"BLPOP k 0", "BRPOP j k 0", "BLMPOP 0 1 k LEFT COUNT 2", "BLMOVE k m RIGHT LEFT 0",
			"BRPOPLPUSH m n 0", "BLPOP k 0"} {
			_, reply := g.blocked(line)
			replies = append(replies, reply)
		}
		at := g.log.End()
		if onLoop {
			l := g.loop(2)
			if !l.try(0, "RPUSH k 1 2 3 4 5 6") || !l.try(1, "EXISTS k m n") {
				t.Fatal("refused by the loop")
			}
			l.want(t, "6", "1")
		} else {
			c.want("6", "RPUSH k 1 2 3 4 5 6")
			c.want("1", "EXISTS k m n")
		}
		for i, want := range []string{"[k 1]", "[k 6]", "[k [2 3]]", "5", "5", "[k 4]"} {
			g.wantReply(replies[i], want)
		}
		want := "RPUSH k 1 2 3 4 5 6, LPOP k, RPOP k, LPOP k 2, LMOVE k m RIGHT LEFT, LPOP k, RPOPLPUSH m n"
		if got := g.logged(at); got != want {
			t.Errorf("loop %v: logged %s\nwant %s", onLoop, got, want)
		}
		c.want("1", "DEL n")
	}
	if n, keys := g.x.waiters.n.Load(), len(g.x.waiters.mu.keys); n != 0 || keys != 0 {
		t.Errorf("%d waiters of %d keys are left", n, keys)
	}
	if n := g.store.Watching.Load(); n != 0 {
		t.Errorf("%d watched", n)
	}
}

// TestServedBehindExec: a transaction is over in the log before those who waited get something.
func TestServedBehindExec(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	c.want("1", "RPUSH other x")
	_, reply := g.blocked("BLPOP k 0")
	at := g.log.End()
	c.batch("MULTI", "RPUSH k 1", "LPUSH k 2", "EXEC")
	g.wantReply(reply, "[k 2]")
	if got, want := g.logged(at), "MULTI, RPUSH k 1, LPUSH k 2, EXEC, LPOP k"; got != want {
		t.Errorf("logged %s, want %s", got, want)
	}
}

// TestNudged: what a loop cannot serve at once, because a lock is not free or a row not in memory, the waiter's own
// goroutine gets, and those behind it what is left.
func TestNudged(t *testing.T) {
	g := newGate(t, gateOptions{})
	a, b := g.loop(1), g.loop(1)
	_, first := g.blocked("BLMOVE k dst LEFT LEFT 0")
	_, second := g.blocked("BLPOP k 0")
	if !a.try(0, "RPUSH dst x") || !b.try(0, "RPUSH k 1 2 3") {
		t.Fatal("refused by the loop")
	}
	b.want(t, "3") // the lock of dst is a's until its turn ends
	a.want(t, "1")
	g.wantReply(first, "1")
	g.wantReply(second, "[k 2]")
	c := g.client()
	c.want("[3]", "LRANGE k 0 -1")
	c.want("[1 x]", "LRANGE dst 0 -1")
	c.want("1", "DEL k")

	_, first = g.blocked("BLMOVE k dst LEFT LEFT 0")
	_, second = g.blocked("BLPOP k 0")
	if err := g.store.Drain(); err != nil {
		t.Fatal(err)
	}
	g.store.DropCache()
	if !b.try(0, "SET warm 1") {
		t.Fatal("refused by the loop")
	}
	b.end()
	cold := b.try(0, "RPUSH k 1 2 3")
	b.end()
	if !cold {
		c.want("3", "RPUSH k 1 2 3")
	}
	g.wantReply(first, "1")
	g.wantReply(second, "[k 2]")
}

// TestUnblocked: every way in which a wait ends without an element, and then nothing is taken.
func TestUnblocked(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	c.want("nil", "BLPOP k 0.001")
	b, reply := g.blocked("BLPOP k j 0")
	if !b.Client.Unblock(true) {
		t.Error("not blocked")
	}
	g.wantReply(reply, "-"+resp.ErrUnblocked)
	b, reply = g.blocked("BLPOP k 100")
	b.Client.Unblock(false)
	g.wantReply(reply, "nil")
	if b.Client.Unblock(false) {
		t.Error("still blocked")
	}
	b, reply = g.blocked("BLPOP k j 0")
	_, next := g.blocked("BLPOP k 0")
	b.cancel()
	g.wantReply(reply, "0 replies: []")
	if !b.Client.Close {
		t.Error("the connection goes on")
	}
	c.want("1", "RPUSH k 1")
	g.wantReply(next, "[k 1]")
	_, reply = g.blocked("BLPOP k 0")
	g.follow()
	g.wantReply(reply, "-"+resp.ErrUnblockedRole)
	c.want("-"+resp.ErrReadOnly, "BLPOP k 0")
	g.lead()
	_, reply = g.blocked("BLPOP k 0")
	c.want("1", "RPUSH k 1")
	g.wantReply(reply, "[k 1]")
	if n, keys := g.x.waiters.n.Load(), len(g.x.waiters.mu.keys); n != 0 || keys != 0 {
		t.Errorf("%d waiters of %d keys are left", n, keys)
	}
}

// TestNudgedGivesUp: one whose turn has come and who leaves lets the next one have its turn.
func TestNudgedGivesUp(t *testing.T) {
	var ws waiters
	k := watchKey{0, "k"}
	list := make([]*waiter, 3)
	s := newGate(t, gateOptions{}).client()
	for i := range list {
		list[i] = &waiter{s: s.Session, cmd: s.x.byName["BLPOP"], keys: []watchKey{k}, typ: 2, wake: make(chan verdict, 1)}
		ws.add(list[i])
	}
	first := ws.claim(k, 0, 2)
	ws.unclaim(first, true)
	if first != list[0] || <-first.wake != tryAgain {
		t.Fatal("the first was not nudged")
	}
	if w := ws.claim(k, 0, 2); w != nil {
		t.Error("somebody was served before the one whose turn it is")
	}
	ws.unblock(first, timedOut)
	ws.leave(first)
	if <-list[1].wake != tryAgain {
		t.Error("the second was not nudged")
	}
	if v := ws.sleep(list[1]); v != nothing {
		t.Errorf("verdict %d", v)
	}
	if w := ws.claim(k, 0, 2); w != list[1] {
		t.Error("the second is not the first now")
	}
	ws.unblock(list[1], timedOut)
	ws.unclaim(list[1], false)
	if <-list[1].wake != timedOut || ws.n.Load() != 1 {
		t.Error("the second was not unblocked")
	}
	if w := ws.claim(k, 0, 5); w != nil {
		t.Error("a key of another type concerns a waiter")
	}
}

// TestDeliveredOnce: many clients wait, for several keys each, by all commands, with timeouts and interrupted; many push,
// in pipelines, transactions and on loops. Every element arrives exactly once, and a replay of the log comes to the
// same.
func TestDeliveredOnce(t *testing.T) {
	g := newGate(t, gateOptions{})
	const consumers, pushers, each = 24, 6, 400
	var mu sync.Mutex
	got := map[string]int{}
	var total atomic.Int64
	take := func(reply string) {
		if strings.HasPrefix(reply, "-") && reply != "-"+resp.ErrUnblocked {
			t.Error(reply)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, w := range strings.FieldsFunc(reply, func(r rune) bool { return strings.ContainsRune("[] ", r) }) {
			if strings.HasPrefix(w, "e") {
				got[w]++
				total.Add(1)
			}
		}
	}
	stop := make(chan struct{})
	done := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	within(t, "deliveries", func() {
		var eaters, feeders sync.WaitGroup
		var cs []*client
		for i := range consumers {
			c := g.client()
			cs = append(cs, c)
			eaters.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 7))
				key := func() string { return fmt.Sprint("k", rng.IntN(4)) }
				for !done() {
					wait := []string{"0.001", "0.02", "0.2"}[rng.IntN(3)]
					switch rng.IntN(5) {
					case 0:
						take(c.do("BLPOP " + key() + " " + key() + " q " + wait))
					case 1:
						take(c.do("BRPOP q " + key() + " " + wait))
					case 2:
						take(c.do("BLMPOP " + wait + " 3 " + key() + " q " + key() + " LEFT COUNT 3"))
					case 3:
						if r := c.do("BLMOVE " + key() + " q LEFT RIGHT " + wait); strings.HasPrefix(r, "-") {
							take(r)
						}
					case 4:
						take(c.do("LPOP q 2"))
					}
				}
				c.Close()
			})
		}
		feeders.Go(func() {
			rng := rand.New(rand.NewPCG(9, 9))
			for !done() {
				cs[rng.IntN(consumers)].Client.Unblock(rng.IntN(2) == 0)
				<-time.After(300 * time.Microsecond)
			}
		})
		var pushing sync.WaitGroup
		for i := range pushers {
			pushing.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 8))
				c, l := g.client(), g.loop(2)
				for n := 0; n < each; n++ {
					push := fmt.Sprintf("%s k%d e%d-%d", []string{"LPUSH", "RPUSH"}[rng.IntN(2)], rng.IntN(4), i, n)
					switch rng.IntN(3) {
					case 0:
						c.batch("MULTI", push, "EXISTS k1", "EXEC")
					case 1:
						c.batch("SET s 1", push, "GET s")
					case 2:
						ran := l.try(n%2, push)
						l.end()
						if !ran {
							c.do(push)
						}
					}
				}
				c.Close()
			})
		}
		pushing.Wait()
		eventually(t, "all arrive", func() bool { return total.Load() >= pushers*each })
		close(stop)
		feeders.Wait()
		eaters.Wait()
	})
	for e, n := range got {
		if n != 1 {
			t.Errorf("%s arrived %d times", e, n)
		}
	}
	if len(got) != pushers*each {
		t.Errorf("%d elements arrived", len(got))
	}
	c := g.client()
	c.want("0", "EXISTS k0 k1 k2 k3 q")
	if n, keys := g.x.waiters.n.Load(), len(g.x.waiters.mu.keys); n != 0 || keys != 0 {
		t.Errorf("%d waiters of %d keys are left", n, keys)
	}
	if err := g.log.Sync(g.log.End()); err != nil {
		t.Fatal(err)
	}
	other, err := openGate(t, g.mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 0), gateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d := g.must().differs(other.must()); d != "" {
		t.Error(d)
	}
}

// TestWaitersOfDatabases: SWAPDB and FLUSHALL look at all that is waited for in a database, in a fixed order.
func TestWaitersOfDatabases(t *testing.T) {
	var ws waiters
	for i, keys := range [][]watchKey{{{0, "b"}, {1, "x"}}, {{0, "a"}, {0, "b"}}, {{2, "c"}}} {
		w := &waiter{keys: keys}
		ws.add(w)
		if w.seq != uint64(i+1) {
			t.Error(w.seq)
		}
	}
	if got := ws.of(0, 1); !slices.Equal(got, []watchKey{{0, "b"}, {1, "x"}, {0, "a"}}) {
		t.Errorf("%v", got)
	}
}

// testBlocking are commands that wait for strings: one that only reads, and one that wants to know of the end of a
// key.
func testBlocking(o *Options) {
	add := func(name string, flags command.Flags, access command.Access, run func(*commands.Call) error) {
		o.All = append(o.All, &commands.Command{Spec: command.Spec{Name: name, Group: "string", Since: "1", Arity: 2,
			Syntax: name, Summary: name, Complexity: "O(1)", Flags: flags | command.Blocking,
			Keys: []command.KeySpec{command.One(1, access)}}, Run: run})
	}
	add("TESTREAD", command.ReadOnly, command.AccessRO, func(c *commands.Call) error {
		e, err := c.Tx.Lookup(c.Args[1])
		if err == nil && e.Found {
			v, _ := e.Meta.Whole()
			c.Out.Bulk(v)
		} else {
			c.Block(commands.Wait{Keys: c.Args[1:], Type: encoding.String, TimedOut: (*resp.Writer).Null})
		}
		return err
	})
	add("TESTGONE", command.Write, command.AccessRW, func(c *commands.Call) error {
		e, err := c.Tx.Lookup(c.Args[1])
		if err == nil && !e.Found {
			c.Out.OK()
		} else {
			c.Block(commands.Wait{Keys: c.Args[1:], Type: encoding.String, OnGone: true, TimedOut: (*resp.Writer).Null})
		}
		return err
	})
	table, err := commands.NewTable(o.All)
	if err != nil {
		panic(err)
	}
	o.Table = table
}

// TestReadersWait: all who only read get what comes, by a command, an exchange of databases, or on a replica by the
// stream; who waits for the end of a key hears of it, also if nobody but time ended it.
func TestReadersWait(t *testing.T) {
	g := newGate(t, gateOptions{exec: testBlocking})
	c := g.client()
	_, first := g.blocked("TESTREAD k")
	_, second := g.blocked("TESTREAD k")
	_, pop := g.blocked("BLPOP k 0")
	l := g.loop(1)
	if !l.try(0, "SET k 1") {
		t.Fatal("refused by the loop")
	}
	l.want(t, "OK")
	g.wantReply(first, "1")
	g.wantReply(second, "1")
	_, gone := g.blocked("TESTGONE k")
	c.want("1", "DEL k")
	g.wantReply(gone, "OK")
	c.want("1", "RPUSH k x")
	g.wantReply(pop, "[k x]")

	c.batch("SELECT 1", "SET k there", "SELECT 0")
	_, first = g.blocked("TESTREAD k")
	c.want("OK", "SWAPDB 0 1")
	g.wantReply(first, "there")
	_, gone = g.blocked("TESTGONE k")
	c.want("1", "PEXPIRE k 1")
	eventually(t, "the key expires", func() bool {
		_, err := g.x.Expire(context.Background(), c.Session, 10)
		return err == nil && len(gone) > 0
	})
	g.wantReply(gone, "OK")

	r := newGate(t, gateOptions{exec: testBlocking})
	r.follow()
	_, first = r.blocked("TESTREAD k")
	a := r.x.NewApplier()
	if err := a.Apply([]Unit{{End: r.log.End(), Commands: []StreamCommand{{Args: words("SET k streamed")}}}}); err != nil {
		t.Fatal(err)
	}
	r.wantReply(first, "streamed")
}
