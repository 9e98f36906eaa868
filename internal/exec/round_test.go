package exec

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"haypile/internal/encoding"
	"haypile/internal/option"
	"haypile/internal/replog"
	"haypile/internal/resp"
)

// loop is what an event loop does with its clients: commands in turn, one commit, replies.
type loop struct {
	r  *Round
	cs []*client
}

func (g *gate) loop(n int) *loop {
	l := &loop{r: g.x.NewRound()}
	for range n {
		c := g.client()
		c.Share(l.r)
		l.cs = append(l.cs, c)
	}
	return l
}

// try runs one command on the loop; false if that could block.
func (l *loop) try(i int, line string) bool {
	l.cs[i].Tick(time.Now())
	return l.cs[i].TryDo(words(line))
}

// end commits the turn, and returns all replies.
func (l *loop) end() (out []string) {
	l.r.Commit()
	var gates []*Session
	for _, c := range l.cs {
		if c.MustWait() {
			gates = append(gates, c.Session)
		} else if err := c.Flush(); err != nil {
			c.tb.Error(err)
		}
	}
	FlushAll(gates)
	for _, c := range l.cs {
		out = append(out, strings.Join(c.replies(), " "))
	}
	return out
}

func (l *loop) want(tb testing.TB, want ...string) {
	tb.Helper()
	if got := l.end(); strings.Join(got, "|") != strings.Join(want, "|") {
		tb.Errorf("got %q, want %q", got, want)
	}
}

// TestTurnIsOneGroup: what several connections write in a turn is one frame, and each sees what is before it.
func TestTurnIsOneGroup(t *testing.T) {
	g := newGate(t, gateOptions{})
	l := g.loop(3)
	groups := g.x.Stats.Groups.Load()
	for i, line := range []string{"SET a 1", "INCR a", "GET a"} {
		if !l.try(i, line) {
			t.Fatalf("%s was not run", line)
		}
	}
	l.want(t, "OK", "2", "2")
	if n := g.x.Stats.Groups.Load() - groups; n != 1 {
		t.Errorf("%d groups", n)
	}
	l.cs[0].Share(nil)
	l.cs[0].want("2", "GET a")
}

// TestTurnThatCannotCommit: every reply that says or has seen what did not come to be becomes an error; one that
// read something else stands.
func TestTurnThatCannotCommit(t *testing.T) {
	g := newGate(t, gateOptions{})
	l := g.loop(4)
	l.try(0, "SET b 1")
	l.want(t, "OK", "", "", "")
	for i, line := range []string{"SET a 1", "APPEND a x", "GET a", "GET b"} {
		if !l.try(i, line) {
			t.Fatalf("%s was not run", line)
		}
	}
	g.x.SetLease(time.Now().Add(-time.Second))
	lost := "-" + resp.ErrLeaseLost
	l.want(t, lost, lost, lost, "1")
}

// TestTurnWaitsForNothing: what could block is refused, changes nothing, and runs elsewhere.
func TestTurnWaitsForNothing(t *testing.T) {
	g := newGate(t, gateOptions{})
	l := g.loop(2)
	other := g.client()
	other.do("SET held 1")
	other.do("SET cold 1")
	other.do("HSET h f v")

	other.Do(words("SET held 2")) // its transaction stays open, and holds the lock
	for _, line := range []string{"GET held", "SET held 3", "MGET a held"} {
		if l.try(0, line) {
			t.Errorf("%s ran although the key is locked", line)
		}
	}
	_ = other.Flush()
	other.replies()

	if err := g.store.Drain(); err != nil {
		t.Fatal(err)
	}
	g.store.DropCache()
	for _, line := range []string{"GET cold", "SET cold 2", "INCR cold", "HGET h f", "HGETALL h"} {
		if l.try(0, line) {
			t.Errorf("%s ran although the engine must be asked", line)
		}
	}
	for _, line := range []string{"MULTI", "DBSIZE", "FLUSHALL", "WAIT 1 0", "SUBSCRIBE x", "CONFIG GET port", "NOSUCH", "GET",
		"LCS a b", "CLIENT LIST", "PUBLISH a b", "WATCH a"} {
		if l.try(0, line) {
			t.Errorf("%s ran on a loop", line)
		}
	}
	g.x.Pause(time.Now().Add(time.Hour), false)
	if l.try(0, "SET fresh 1") {
		t.Error("a write ran during a pause")
	}
	g.x.Pause(time.Time{}, false)
	if !l.try(0, "SET fresh 1") || !l.try(1, "GET fresh") || !l.try(1, "PING") {
		t.Error("a command did not run that could")
	}
	l.want(t, "OK", "1 PONG")
	other.want("1", "GET cold")
	other.want("2", "GET held")
}

// TestTurnWaitsForDurability: with sync-replicas all replies of a turn wait, together, and fail together.
func TestTurnWaitsForDurability(t *testing.T) {
	acked := 1
	var waits int
	g := newGate(t, gateOptions{exec: func(o *Options) {
		o.Online = func() int { return 1 }
		o.WaitAcked = func(context.Context, replog.Offset, int) int {
			waits++
			return acked
		}
	}})
	gateOptions{}.set(t, g.cfg, option.SyncReplicas, "1")
	l := g.loop(3)
	run := func() {
		for i, line := range []string{"SET a 1", "SET b 1", "GET c"} {
			if !l.try(i, line) {
				t.Fatalf("%s was not run", line)
			}
		}
	}
	run()
	l.r.Commit()
	if !l.cs[0].MustWait() || !l.cs[1].MustWait() || l.cs[2].MustWait() {
		t.Error("not the writers wait")
	}
	l.want(t, "OK", "OK", "nil")
	acked = 0
	run()
	text := "-" + resp.NotConfirmed(0, 1)
	l.want(t, text, text, "nil")
	if waits != 2 {
		t.Errorf("%d waits for two turns", waits)
	}
}

// TestTurnsAgainstSessions: loops and ordinary sessions on the same keys; no increment is lost, none is seen twice.
func TestTurnsAgainstSessions(t *testing.T) {
	g := newGate(t, gateOptions{})
	const rounds, keys = 2000, 5
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	note := func(key int, reply string) {
		mu.Lock()
		defer mu.Unlock()
		name := fmt.Sprint(key, " ", reply)
		if seen[name] || strings.HasPrefix(reply, "-") {
			t.Errorf("k%d: %q twice, or an error", key, reply)
		}
		seen[name] = true
	}
	for n := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			l := g.loop(4)
			away := g.client()
			for range rounds / 4 {
				var want [4]int
				var ran [4]bool
				for i := range l.cs {
					want[i] = rng.IntN(keys)
					ran[i] = l.try(i, fmt.Sprintf("INCR k%d", want[i]))
				}
				for i, reply := range l.end() {
					if !ran[i] {
						reply = away.do(fmt.Sprintf("INCR k%d", want[i]))
					}
					note(want[i], reply)
				}
			}
		})
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 2))
			c := g.client()
			for range rounds {
				k := rng.IntN(keys)
				note(k, c.do(fmt.Sprintf("INCR k%d", k)))
			}
		})
	}
	within(t, "the increments", wg.Wait)
	if len(seen) != 4*rounds {
		t.Errorf("%d increments seen, %d made", len(seen), 4*rounds)
	}
}

// TestPendingIsFound: what the engine does not have yet is found without the hot cache, too.
func TestPendingIsFound(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	c.want("OK", "SET a 1")
	c.want("1", "HSET h f v")
	c.want("1", "DEL a")
	c.want("OK", "SET b 2")
	g.store.DropCache()
	if n, err := g.rows([]byte{byte(encoding.TableData)}); err != nil || n > 0 {
		t.Fatalf("the engine has %d rows, %v: the test does not meet what it is about", n, err)
	}
	c.want("nil", "GET a")
	c.want("2", "GET b")
	c.want("v", "HGET h f")
	c.want("[f v]", "HGETALL h")
}

// TestBlockingCommandsOnLoops: where there is something to get, a command that might wait is one of the turn; where
// there is nothing, it has left no trace, and waits elsewhere.
func TestBlockingCommandsOnLoops(t *testing.T) {
	g := newGate(t, gateOptions{})
	l := g.loop(2)
	for i, line := range []string{"RPUSH l a b c", "BLPOP none l 0", "BRPOP l 1", "BLMOVE l m LEFT LEFT 0", "ZADD z 1 x",
		"BZPOPMIN z 0", "XADD s 1-1 f v", "XGROUP CREATE s g 0"} {
		if !l.try(i%2, line) && !strings.HasPrefix(line, "XGROUP") {
			t.Errorf("%s did not run", line)
		}
	}
	l.end()
	l.cs[0].Share(nil)
	l.cs[0].want("OK", "XGROUP CREATE s g 0")
	l.cs[0].Share(l.r)
	for _, line := range []string{"XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "XREAD BLOCK 0 STREAMS s 0"} {
		if !l.try(0, line) {
			t.Errorf("%s did not run", line)
		}
	}
	l.end()
	hits, misses, offset := g.x.Stats.Hits.Load(), g.x.Stats.Misses.Load(), g.x.Log().End()
	for _, line := range []string{"BLPOP none l 0", "BLMOVE l m LEFT LEFT 0", "BZPOPMIN z 0", "XREAD BLOCK 0 STREAMS s none 1-1 0",
		"XREADGROUP GROUP g c BLOCK 0 STREAMS s >"} {
		if l.try(0, line) {
			t.Errorf("%s ran although it has to wait", line)
		}
	}
	l.want(t, "", "")
	if h, m := g.x.Stats.Hits.Load(), g.x.Stats.Misses.Load(); h != hits || m != misses || g.x.Log().End() != offset {
		t.Errorf("%d hits, %d misses, offset %d after what did not run; %d, %d, %d before", h, m, g.x.Log().End(), hits,
			misses, offset)
	}
	if n := g.x.waiters.n.Load(); n != 0 {
		t.Errorf("%d wait", n)
	}
}
