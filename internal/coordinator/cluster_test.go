package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"haypile/internal/agent/agenttest"
	"haypile/internal/event"
	"haypile/internal/metastore"
	"haypile/internal/topology"
)

// world is a cluster of model nodes under a real coordinator, in a bubble of virtual time.
type world struct {
	t     *testing.T
	fleet *agenttest.Fleet
	store metastore.Store
	nodes map[topology.NodeID]*agenttest.Node
	cfg   Config

	co *Coordinator
	// cancel ends the coordinator, as a crash would: nothing is tidied up. stop waits for its end, too.
	cancel, stop func()
}

// testLogger shows the events of a test with HAYPILE_TEST_LOG=1.
func testLogger() *slog.Logger {
	if os.Getenv("HAYPILE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// newWorld starts nodes and a dashboard that has shard s of them, the first being the primary.
func newWorld(t *testing.T, names ...topology.NodeID) *world {
	return newWorldWith(t, Config{}, names...)
}

func newWorldWith(t *testing.T, cfg Config, names ...topology.NodeID) *world {
	w := &world{t: t, fleet: agenttest.NewFleet(), store: metastore.NewMemory(), cfg: cfg,
		nodes: map[topology.NodeID]*agenttest.Node{}}
	for _, n := range names {
		w.nodes[n] = w.fleet.Add(string(n)+":1", string(n)+":2")
	}
	w.start()
	must(t, w.co.AddShard(t.Context(), "s", []topology.SlotRange{{First: 0, Last: 16383}}))
	for i, n := range names {
		node := topology.Node{ID: n, Addr: string(n) + ":1", AgentAddr: string(n) + ":2", Priority: 100}
		_, err := w.co.AddNode(t.Context(), "s", node, false)
		must(t, err)
		if i == 0 {
			w.until("first primary", 3*time.Second, func() bool { return w.primary() == n })
		}
	}
	w.until("replicas attached", 5*time.Second, w.allAttached)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) start() {
	w.co = New(Options{Store: w.store, Cluster: "c", ID: "d1", Config: w.cfg, Dial: w.fleet.Net.DialFrom("d1"),
		Logger: testLogger()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		w.co.Run(ctx)
		close(done)
	}()
	w.cancel = cancel
	w.stop = func() {
		cancel()
		<-done
	}
	w.until("leader", 5*time.Second, func() bool { _, self := w.co.Leads(); return self })
}

// close ends everything and complains of broken promises.
func (w *world) close() {
	w.stop()
	for _, n := range w.nodes {
		n.Freeze(false)
		n.Kill()
	}
	time.Sleep(5 * time.Second) // for what is still in the pipes
	for _, f := range w.fleet.Faults() {
		w.t.Error(f)
	}
}

func (w *world) primary() topology.NodeID {
	if c, ok := w.co.Cluster(); ok && c.Shard("s") != nil {
		return c.Shard("s").Primary
	}
	return ""
}

func (w *world) epoch() topology.Epoch {
	c, _ := w.co.Cluster()
	return c.Shard("s").Epoch
}

// allAttached: every node but the primary follows it.
func (w *world) allAttached() bool {
	p := w.primary()
	if p == "" {
		return false
	}
	for id, n := range w.nodes {
		if id != p && n.Following() != string(p)+":1" {
			return false
		}
	}
	return true
}

// until waits in virtual time and returns how long it took.
func (w *world) until(what string, limit time.Duration, ok func() bool) time.Duration {
	w.t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > limit {
			w.t.Fatalf("%s: not within %v; events:\n%s", what, limit, w.events())
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(start)
}

// writable waits until any node but the given ones takes a write.
func (w *world) writable(limit time.Duration, except ...topology.NodeID) (topology.NodeID, time.Duration) {
	w.t.Helper()
	var who topology.NodeID
	d := w.until("a write is accepted", limit, func() bool {
		for id, n := range w.nodes {
			if !slices.Contains(except, id) && n.Write() {
				who = id
				return true
			}
		}
		return false
	})
	return who, d
}

func (w *world) events() string {
	var b strings.Builder
	w.co.events.mu.Lock()
	defer w.co.events.mu.Unlock()
	for _, e := range w.co.events.mu.kept {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}

func (w *world) count(n event.Name) (k int) {
	w.co.events.mu.Lock()
	defer w.co.events.mu.Unlock()
	for _, e := range w.co.events.mu.kept {
		if e.Name == n {
			k++
		}
	}
	return k
}

func TestCrashOfThePrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		time.Sleep(time.Second)
		w.nodes["a"].Write()
		w.nodes["a"].Kill()
		who, took := w.writable(2*time.Second, "a")
		if took > 250*time.Millisecond {
			t.Errorf("first write after %v", took)
		}
		t.Logf("%s took over after %v", who, took)
		w.until("published", time.Second, func() bool { return w.primary() == who })
		w.nodes["a"].Start()
		took = w.until("old primary attached", 2*time.Second, w.allAttached)
		t.Logf("old primary attached after %v", took)
		if n := w.count(event.FailoverStart); n != 1 {
			t.Errorf("%d failovers:\n%s", n, w.events())
		}
	})
}

func TestSilentPrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		time.Sleep(time.Second)
		w.nodes["a"].Freeze(true)
		who, took := w.writable(3*time.Second, "a")
		if took < time.Second || took > 1500*time.Millisecond {
			t.Errorf("first write after %v, want little over down-after", took)
		}
		t.Logf("%s took over after %v", who, took)
		time.Sleep(5 * time.Second)
		w.nodes["a"].Freeze(false)
		if w.nodes["a"].Write() {
			t.Error("the old primary took a write when it woke up")
		}
		w.until("old primary attached", 3*time.Second, w.allAttached)
		// The brake holds a second failover for silence back.
		w.until("published", time.Second, func() bool { return w.primary() == who })
		w.nodes[who].Freeze(true)
		time.Sleep(10 * time.Second)
		if w.primary() != who || w.count(event.FailoverBrake) == 0 {
			t.Errorf("the brake did not hold:\n%s", w.events())
		}
		w.until("brake released", 30*time.Second, func() bool { return w.primary() != who })
		w.nodes[who].Freeze(false)
		w.until("attached again", 3*time.Second, w.allAttached)
	})
}

// TestOurOwnPartition: the dashboard hears nothing of the primary, but its replicas do.
func TestOurOwnPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		time.Sleep(time.Second)
		w.fleet.Net.Cut("d1", "a:2", true)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if w.primary() != "a" || !w.nodes["a"].Write() {
				t.Fatalf("replaced or stopped although its replicas hear it:\n%s", w.events())
			}
		}
		if w.count(event.Suspect) != 1 {
			t.Errorf("no suspicion announced:\n%s", w.events())
		}
		w.fleet.Net.Cut("d1", "a:2", false)
		w.until("writes again", 3*time.Second, func() bool { return w.nodes["a"].Write() })
	})
}

// isolate cuts a node off from dashboards and replicas. Clients still reach it.
func (w *world) isolate(id topology.NodeID, cut bool) {
	w.fleet.Net.Freeze(string(id)+":2", cut)
	for other, n := range w.nodes {
		if other != id {
			n.Cut(string(id)+":1", cut)
		}
	}
}

// underLoad runs f while clients write to every node that takes it, and returns how much was acknowledged.
func (w *world) underLoad(f func()) (acked int64) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		acked = hammer(w.nodes, stop)
	}()
	f()
	close(stop)
	<-done
	return acked
}

// TestIsolatedPrimary: cut off from dashboard and replicas, but alive. It must stop before anyone else opens;
// the fleet reports a fault otherwise. With a short down-after only the wait for the lease keeps them apart.
func TestIsolatedPrimary(t *testing.T) {
	for _, down := range []time.Duration{200 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorldWith(t, Config{DownAfter: down}, "a", "b", "c")
			defer w.close()
			time.Sleep(time.Second)
			w.underLoad(func() {
				w.isolate("a", true)
				took := w.until("replaced", 4*time.Second, func() bool { return w.primary() != "a" && w.primary() != "" })
				t.Logf("replaced after %v", took)
				if took > 2*time.Second {
					t.Errorf("replaced after %v", took)
				}
				time.Sleep(3 * time.Second)
				w.isolate("a", false)
				w.until("attached", 3*time.Second, w.allAttached)
			})
		})
	}
}

// TestFailsafeLeaseIsWaitedFor: the primary lives on the grants of its replicas when it is isolated.
func TestFailsafeLeaseIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWith(t, Config{DownAfter: 200 * time.Millisecond}, "a", "b", "c")
		defer w.close()
		time.Sleep(time.Second)
		w.underLoad(func() {
			w.fleet.Net.Cut("d1", "a:2", true)
			time.Sleep(10 * time.Second)
			if !w.nodes["a"].Writable() || w.primary() != "a" {
				t.Fatalf("stopped or replaced:\n%s", w.events())
			}
			w.isolate("a", true)
			w.until("replaced", 4*time.Second, func() bool { return w.primary() != "a" && w.primary() != "" })
			time.Sleep(3 * time.Second)
			w.isolate("a", false)
			w.fleet.Net.Cut("d1", "a:2", false)
			w.until("attached", 3*time.Second, w.allAttached)
		})
	})
}

// TestMuteAgent: the primary's heartbeats come, but it answers no request; an operator replaces it.
func TestMuteAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		time.Sleep(time.Second)
		w.nodes["a"].HoldFence(time.Hour)
		w.underLoad(func() {
			must(t, w.co.Failover(t.Context(), "s"))
			if w.primary() == "a" {
				t.Error("not replaced")
			}
			time.Sleep(3 * time.Second)
			w.nodes["a"].HoldFence(0)
		})
		w.until("attached", 5*time.Second, w.allAttached)
	})
}

// TestDashboardGone: the data plane outlives its control plane, and a dashboard that comes back finds nothing
// to do.
func TestDashboardGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		time.Sleep(time.Second)
		w.stop()
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			if !w.nodes["a"].Write() {
				t.Fatal("writes stopped with the dashboard")
			}
		}
		w.start()
		defer w.close()
		time.Sleep(5 * time.Second)
		if w.primary() != "a" || w.epoch() != 1 {
			t.Fatalf("primary %s in epoch %d after the dashboard's restart:\n%s", w.primary(), w.epoch(), w.events())
		}
	})
}

// TestFailsafeThenFailover: the replicas have granted the lease while there was no dashboard; the new one
// must wait for its end.
func TestFailsafeThenFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		time.Sleep(time.Second)
		w.stop()
		time.Sleep(5 * time.Second)
		w.start()
		defer w.close()
		w.fleet.Net.Freeze("a:2", true) // before the dashboard can grant anything
		w.nodes["b"].Cut("a:1", true)
		w.nodes["c"].Cut("a:1", true)
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					w.nodes["a"].Write()
					time.Sleep(time.Millisecond)
				}
			}
		}()
		who, took := w.writable(6*time.Second, "a")
		t.Logf("%s took over after %v", who, took)
		time.Sleep(3 * time.Second)
		close(stop)
		w.fleet.Net.Freeze("a:2", false)
	})
}

func TestSwitchover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		time.Sleep(time.Second)
		var gap, last time.Duration
		begin := time.Now()
		stop, done := make(chan struct{}), make(chan struct{})
		acked := int64(0)
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, n := range w.nodes {
					if n.Write() {
						acked++
						now := time.Since(begin)
						gap, last = max(gap, now-last), now
						break
					}
				}
				time.Sleep(time.Millisecond)
			}
		}()
		for i, to := range []topology.NodeID{"b", "c", ""} {
			must(t, w.co.Switchover(t.Context(), "s", to))
			if p := w.primary(); to != "" && p != to {
				t.Fatalf("primary is %s, want %s", p, to)
			}
			w.until("attached", 2*time.Second, w.allAttached)
			if w.epoch() != topology.Epoch(i+2) {
				t.Fatalf("epoch %d", w.epoch())
			}
		}
		close(stop)
		<-done
		t.Logf("gap %v", gap)
		if gap > 50*time.Millisecond {
			t.Errorf("writes paused for %v", gap)
		}
		if end := w.nodes[w.primary()].End(); end != acked {
			t.Errorf("%d writes acknowledged, the log has %d", acked, end)
		}
		if err := w.co.Switchover(t.Context(), "s", w.primary()); err == nil {
			t.Error("switchover to the primary itself")
		}
		if err := w.co.Switchover(t.Context(), "s", "x"); err == nil {
			t.Error("switchover to a stranger")
		}
	})
}

func TestSwitchoverThatCannotFinishChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		defer w.close()
		time.Sleep(time.Second)
		a, b := w.nodes["a"], w.nodes["b"]
		done := make(chan error, 1)
		b.HoldWait(10 * time.Second)
		go func() { done <- w.co.Switchover(t.Context(), "s", "b") }()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "nothing has changed") {
			t.Fatalf("got %v", err)
		}
		if !a.Write() || w.primary() != "a" || w.epoch() != 1 {
			t.Fatalf("something has changed:\n%s", w.events())
		}
		b.HoldWait(0)
		must(t, w.co.Switchover(t.Context(), "s", "b"))
		if w.primary() != "b" {
			t.Fatal("second switchover failed")
		}
	})
}

func TestForcedFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		defer w.close()
		time.Sleep(time.Second)
		must(t, w.co.Failover(t.Context(), "s"))
		if w.primary() != "b" {
			t.Fatalf("primary is %s", w.primary())
		}
		w.until("old primary attached", 2*time.Second, w.allAttached)
		// What an operator does holds back no automatic failover.
		w.nodes["b"].Freeze(true)
		w.until("replaced for silence", 3*time.Second, func() bool { return w.primary() == "a" })
	})
}

func TestSingleNodeReopens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		defer w.close()
		time.Sleep(time.Second)
		w.nodes["a"].Kill()
		time.Sleep(3 * time.Second)
		w.nodes["a"].Start()
		_, took := w.writable(3 * time.Second)
		t.Logf("writable after %v", took)
		w.until("published", time.Second, func() bool { return w.primary() == "a" && w.epoch() == 2 })
	})
}

// TestPriorityZeroIsNeverPromoted: neither at first nor when nobody else is left.
func TestPriorityZeroIsNeverPromoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		must(t, w.co.SetPriority(t.Context(), "s", "b", 0))
		time.Sleep(time.Second)
		w.nodes["a"].Kill()
		if who, _ := w.writable(2*time.Second, "a"); who != "c" {
			t.Fatalf("%s was promoted", who)
		}
		w.until("published", time.Second, func() bool { return w.primary() == "c" })
		w.nodes["c"].Kill()
		time.Sleep(10 * time.Second)
		if w.nodes["b"].Write() {
			t.Fatal("priority 0 was promoted")
		}
		w.nodes["a"].Start()
		if who, _ := w.writable(3 * time.Second); who != "a" {
			t.Fatalf("%s was promoted", who)
		}
		w.nodes["c"].Start()
		w.until("all attached", 3*time.Second, w.allAttached)
	})
}

func TestNodeThatCannotOpenIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		time.Sleep(time.Second)
		w.nodes["b"].FailOpen(fmt.Errorf("engine is broken"))
		w.nodes["a"].Kill()
		who, took := w.writable(3*time.Second, "a")
		if who != "c" {
			t.Fatalf("%s was promoted", who)
		}
		t.Logf("after %v", took)
		w.nodes["a"].Start()
		w.until("all attached", 3*time.Second, w.allAttached)
	})
}

func TestNodeWithKeysIsNotAddedByMistake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		defer w.close()
		w.nodes["x"] = w.fleet.Add("x:1", "x:2")
		for range 3 {
			w.nodes["x"].Write()
		}
		n := topology.Node{ID: "x", Addr: "x:1", AgentAddr: "x:2", Priority: 100}
		_, err := w.co.AddNode(t.Context(), "s", n, false)
		if err == nil || !strings.Contains(err.Error(), "3 keys") {
			t.Fatalf("got %v", err)
		}
		_, err = w.co.AddNode(t.Context(), "s", n, true)
		must(t, err)
		w.until("attached", 3*time.Second, w.allAttached)
		if err := w.co.RemoveNode(t.Context(), "s", "a"); err == nil {
			t.Fatal("removed the primary")
		}
		must(t, w.co.RemoveNode(t.Context(), "s", "x"))
	})
}
