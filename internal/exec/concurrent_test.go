package exec

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestOppositeOrders: pipelines that take the locks of the same keys in opposite orders, and transactions
// and readers of them, go on.
func TestOppositeOrders(t *testing.T) {
	g := newGate(t, gateOptions{})
	orders := [][]string{
		{"SET k1 a", "SET k2 a", "SET k3 a", "GET k1"},
		{"SET k3 b", "SET k2 b", "SET k1 b", "MGET k1 k2 k3"},
		{"MSET k2 c k1 c", "MULTI", "SET k3 c", "GET k1", "EXEC"},
		{"MGET k3 k1", "SET k2 d", "RENAME k1 k4", "COPY k4 k1", "EXISTS k2 k3"},
		{"SET k4 e", "DEL k1", "SELECT 1", "SET k2 e", "SELECT 0", "HSET h k1 e"},
	}
	within(t, "pipelines", func() {
		var wg sync.WaitGroup
		for i := range 10 {
			c := g.client()
			wg.Go(func() {
				defer c.Close()
				for range 200 {
					if got := c.batch(orders[i%len(orders)]...); len(got) != len(orders[i%len(orders)]) {
						t.Errorf("%q: got %q", orders[i%len(orders)], got)
						return
					}
				}
			})
		}
		wg.Wait()
	})
	g.must()
}

// TestTransactionsAreAtomic: readers never see one of two keys without the other, and a counter that is read
// and written under WATCH loses nothing.
func TestTransactionsAreAtomic(t *testing.T) {
	g := newGate(t, gateOptions{})
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	const rounds, clients = 150, 4
	for i := range clients {
		c := g.client()
		writers.Go(func() {
			defer c.Close()
			for n := range rounds {
				v := fmt.Sprintf("%d-%d", i, n)
				switch n % 3 {
				case 0:
					c.batch("MSET x "+v+" y "+v, "INCR other")
				case 1:
					c.batch("MULTI", "SET x "+v, "SET y "+v, "EXEC")
				case 2:
					c.batch("SET z 1", "MULTI", "SET y "+v, "GET z", "SET x "+v, "EXEC")
				}
				for {
					got := c.batch("WATCH n", "GET n")
					at, _ := strconv.Atoi(got[1])
					if c.batch("MULTI", "SET n "+strconv.Itoa(at+1), "EXEC")[2] == "[OK]" {
						break
					}
				}
			}
		})
	}
	for i := range 2 {
		c := g.client()
		readers.Go(func() {
			defer c.Close()
			for !stop.Load() {
				line := []string{"MGET x y", "MULTI"}[i]
				got := c.batch(line)
				if i == 1 {
					got = c.batch("GET x", "GET y", "EXEC")[2:]
				}
				if v := strings.Fields(strings.Trim(got[0], "[]")); len(v) != 2 || v[0] != v[1] {
					t.Errorf("%s: saw %q", line, got)
					return
				}
			}
		})
	}
	within(t, "writers", writers.Wait)
	stop.Store(true)
	readers.Wait()
	g.client().want(strconv.Itoa(rounds*clients), "GET n")
	g.must()
}

// TestWriteSkew: EXEC and changes of the keys that it watches exclude each other, also where it does not
// touch these keys itself.
func TestWriteSkew(t *testing.T) {
	g := newGate(t, gateOptions{})
	a, b := g.client(), g.client()
	var wins [3]int
	for range 400 {
		a.batch("SET x 0", "SET y 0")
		var ready, wg sync.WaitGroup
		var won atomic.Int64
		ready.Add(2)
		for _, l := range []struct {
			c           *client
			watch, then string
		}{{a, "x", "y"}, {b, "y", "x"}} {
			wg.Go(func() {
				l.c.batch("WATCH "+l.watch, "MULTI", "SET "+l.then+" 1")
				ready.Done()
				ready.Wait()
				if l.c.do("EXEC") == "[OK]" {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if wins[won.Load()]++; won.Load() == 2 {
			t.Fatalf("both saw 0 and wrote 1")
		}
	}
	if wins[1] == 0 {
		t.Errorf("wins: %v", wins)
	}
}

// TestEverythingAtOnce runs all kinds of commands from many clients beside role changes, pauses, expiry and
// flushes of the engine. The rest is the race detector's; and the log still says what the state is.
func TestEverythingAtOnce(t *testing.T) {
	g := newGate(t, gateOptions{fsync: "always"})
	var stop atomic.Bool
	var steps atomic.Int64
	var wg sync.WaitGroup
	for i := range 6 {
		l := &loader{client: g.client(), id: i, rng: rand.New(rand.NewPCG(uint64(i), 9))}
		wg.Go(func() {
			defer l.Close()
			for !stop.Load() {
				lines := l.pipeline()
				switch l.rng.IntN(10) {
				case 0:
					lines = append([]string{"WATCH k1 h1 k2"}, lines...)
				case 1:
					lines = append(lines, "KEYS *", "RANDOMKEY", "DBSIZE", "SCAN 0", "UNWATCH")
				case 2:
					lines = append(lines, "PUBLISH a b", "PING", "SELECT 0", "FLUSHALL")
				}
				if got := l.batch(lines...); len(got) != len(lines) {
					t.Errorf("%q: got %q", lines, got)
					return
				}
				steps.Add(1)
			}
		})
	}
	disturb := []func(){
		func() { g.follow(); g.lead() },
		func() { g.x.ParkFor(time.Minute); g.x.Unpark() },
		func() { g.x.Pause(time.Now().Add(time.Minute), true); g.x.Pause(time.Time{}, false) },
		func() { _ = errors.Join(g.store.Drain(), g.engine.Flush()) },
		func() { _, _ = g.store.Reclaim(context.Background(), 50) },
		func() { _, _ = g.x.AppendRaw([]byte("*1\r\n$4\r\nPING\r\n")) },
		func() {
			s := g.client()
			_, _ = g.x.Expire(context.Background(), s.Session, 100)
			s.Close()
		},
		func() { g.store.DropCache() },
	}
	within(t, "the load", func() {
		for i := range 120 {
			disturb[i%len(disturb)]()
			at := steps.Load()
			eventually(t, "a step", func() bool { return steps.Load() > at || t.Failed() })
		}
		stop.Store(true)
		wg.Wait()
	})
	have := g.must()
	ref := newReplayed(t, g)
	if d := have.differs(ref.must()); d != "" {
		t.Fatalf("a replay gives something else: %s", d)
	}
}

// TestExpiredUnderSharedLocks: commands that only read share the locks of their keys, so they must not
// delete a key that is past its deadline, wherever they run: two would, and count it twice.
func TestExpiredUnderSharedLocks(t *testing.T) {
	g := newGate(t, gateOptions{})
	a, b := g.client(), g.client()
	a.want("OK", "SET gone v PX 1")
	a.want("OK", "SET stays v")
	eventually(t, "the deadline", func() bool { return a.do("GET gone") == "nil" })
	// Both transactions are open at the same time, and have read the key.
	a.Do(words("SET a 1"))
	b.Do(words("SET b 1"))
	a.Do(words("GET gone"))
	b.Do(words("GET gone"))
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	g.must()
	for round := range 20 {
		for i := range 20 {
			a.do(fmt.Sprintf("SET e%d v PX 1", i))
		}
		eventually(t, "the deadlines", func() bool { return a.do("GET e19") == "nil" })
		var wg sync.WaitGroup
		start := make(chan struct{})
		for id := range 4 {
			c := g.client()
			wg.Go(func() {
				<-start
				for i := range 20 {
					c.batch("MULTI", fmt.Sprintf("SET own%d %d", id, round), fmt.Sprintf("GET e%d", i), "EXEC")
				}
				c.Close()
			})
		}
		close(start)
		wg.Wait()
		g.must()
	}
}

// TestExpiryRacesWithWrites: active expiry never takes a key that has been written again.
func TestExpiryRacesWithWrites(t *testing.T) {
	g := newGate(t, gateOptions{})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		s := g.client()
		wg.Go(func() {
			defer s.Close()
			for !stop.Load() {
				if _, err := g.x.Expire(context.Background(), s.Session, 20); err != nil {
					t.Error(err)
				}
				<-time.After(100 * time.Microsecond)
			}
		})
	}
	c := g.client()
	for i := range 400 {
		key := fmt.Sprintf("k%d", i%10)
		c.batch("SET "+key+" short PX 1", "HSET h"+key+" f v", "PEXPIRE h"+key+" 1")
		if got := c.batch("SET "+key+" long", "DEL h"+key, "HSET h"+key+" f w"); got[0] != "OK" {
			t.Fatalf("%q", got)
		}
		if got := c.batch("GET "+key, "HGET h"+key+" f"); got[0] != "long" || got[1] != "w" {
			t.Fatalf("%s: %q", key, got)
		}
	}
	stop.Store(true)
	wg.Wait()
	have := g.must()
	ref := newReplayed(t, g)
	if d := have.differs(ref.must()); d != "" {
		t.Fatalf("a replay gives something else: %s", d)
	}
	if g.x.Stats.ExpireCycles.Load() == 0 {
		t.Error("nothing expired: the test did not meet what it is about")
	}
}

// TestStoreIsReplaced: a session goes on with the store that came into service in the middle of a pipeline.
func TestStoreIsReplaced(t *testing.T) {
	g, next := newGate(t, gateOptions{}), newGate(t, gateOptions{})
	next.client().want("OK", "SET a new")
	c, cron := g.client(), g.client()
	c.want("OK", "SET a old")
	c.want("OK", "SET e v PX 1")
	eventually(t, "an expiry", func() bool {
		n, err := g.x.Expire(context.Background(), cron.Session, 10)
		return n == 1 && err == nil
	})
	c.Do(words("GET a"))
	if err := g.x.Exclusive(func() error {
		g.x.SetData(Data{next.store, next.log}, -1)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	g.close()
	c.Do(words("GET a"))
	_ = c.Flush()
	if got := c.replies(); got[0] != "old" || got[1] != "new" {
		t.Errorf("%q", got)
	}
	next.client().want("OK", "SET e v PX 1")
	eventually(t, "an expiry in the new store", func() bool {
		n, err := g.x.Expire(context.Background(), cron.Session, 10)
		return n == 1 && err == nil
	})
}
