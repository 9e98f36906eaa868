package coordinator

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"haypile/internal/agent/agenttest"
	"haypile/internal/metastore"
	"haypile/internal/topology"
)

// reaper kills a dashboard at its k-th action (a transaction or a request to a node), before or after it.
type reaper struct {
	crew
	metastore.Store

	mu    sync.Mutex
	armed bool
	left  int
	after bool
	match string // kill at the first action that begins so, instead of the k-th
	kill  func()
	fired bool
	what  string
}

// act performs one action.
func (r *reaper) act(ctx context.Context, what string, f func(context.Context) error) error {
	r.mu.Lock()
	now := r.armed && !r.fired && r.left == 0 && strings.HasPrefix(what, r.match)
	if r.armed && r.match == "" {
		r.left--
	}
	if now {
		r.fired, r.what = true, what
	}
	dead := r.fired && !now
	r.mu.Unlock()
	switch {
	case dead:
		return context.Canceled
	case !now:
		return f(ctx)
	}
	if r.after {
		f(ctx)
	}
	r.kill()
	return context.Canceled
}

func (r *reaper) Txn(ctx context.Context, g []metastore.Guard, w ...metastore.Write) (rev int64, err error) {
	err = r.act(ctx, fmt.Sprint("transaction on ", w[0].Key), func(ctx context.Context) (err error) {
		rev, err = r.Store.Txn(ctx, g, w...)
		return err
	})
	return rev, err
}

func (r *reaper) call(ctx context.Context, id topology.NodeID, q topology.Request) (
	a topology.Answer, err error) {
	err = r.act(ctx, fmt.Sprint(q.Op, " of ", id), func(ctx context.Context) (err error) {
		a, err = r.crew.call(ctx, id, q)
		return err
	})
	return a, err
}

func (r *reaper) arm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.armed = true
}

// TestDashboardDiesAtEveryStep lets a dashboard die at each action of each kind of plan, and another one go
// on: the shard must end with one primary that takes writes, everyone behind it, and no acknowledged write
// lost.
func TestDashboardDiesAtEveryStep(t *testing.T) {
	scenarios := []struct {
		name  string
		begin func(*world)
	}{
		{"crash", func(w *world) { w.nodes["a"].Kill() }},
		{"silence", func(w *world) { w.nodes["a"].Freeze(true) }},
		{"switchover", func(w *world) { go w.co.Switchover(context.Background(), "s", "b") }},
		{"forced failover", func(w *world) { go w.co.Failover(context.Background(), "s") }},
		{"restart", func(w *world) { w.nodes["a"].Kill(); w.nodes["a"].Start() }},
	}
	for _, sc := range scenarios {
		for _, after := range []bool{false, true} {
			for k, more := 0, true; more; k++ {
				pause := []time.Duration{10 * time.Millisecond, 4 * time.Second}[k%2]
				t.Run(fmt.Sprintf("%s/after=%v/action=%d", sc.name, after, k), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { more = dieAt(t, sc.begin, k, after, pause) })
				})
				if t.Failed() {
					return
				}
				if k > 60 {
					t.Fatal("no end of actions")
				}
			}
		}
	}
}

// TestChosenNodeVanishesWithTheDashboard: the node was told to open, the dashboard died before it knew, and
// the next one can't reach the node, but clients can. Someone else is promoted, in an epoch of its own.
func TestChosenNodeVanishesWithTheDashboard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		time.Sleep(time.Second)
		w.stop()
		plain := w.store
		r := &reaper{Store: plain, after: true, match: "open of "}
		w.store = r
		w.start()
		r.crew, w.co.crew = w.co.fleet, r
		r.kill = w.cancel
		time.Sleep(3 * time.Second)
		r.arm()
		w.underLoad(func() {
			w.nodes["a"].Kill()
			w.until("b is open", 2*time.Second, w.nodes["b"].Writable)
			w.isolate("b", true)
			w.stop()
			w.store = plain
			w.start()
			w.until("c is the primary", 5*time.Second, func() bool { return w.primary() == "c" })
			time.Sleep(3 * time.Second)
			w.isolate("b", false)
			w.nodes["a"].Start()
			w.until("attached", 5*time.Second, w.allAttached)
		})
	})
}

// dieAt runs one scenario; false if there were no more than k actions.
func dieAt(t *testing.T, begin func(*world), k int, after bool, pause time.Duration) bool {
	w := newWorld(t, "a", "b", "c")
	time.Sleep(time.Second)
	w.stop()
	r := &reaper{left: k, after: after}
	plain := w.store
	r.Store, w.store = plain, r
	w.start()
	r.crew, w.co.crew = w.co.fleet, r
	cancel := w.cancel
	r.kill = cancel
	time.Sleep(3 * time.Second)

	stop, done := make(chan struct{}), make(chan struct{})
	var acked int64
	go func() {
		defer close(done)
		acked = hammer(w.nodes, stop)
	}()
	r.arm()
	begin(w)
	time.Sleep(6 * time.Second)
	r.mu.Lock()
	fired := r.fired
	r.armed = false
	r.mu.Unlock()
	if fired {
		w.stop()
		time.Sleep(pause)
		w.store = plain
		w.start()
	}
	time.Sleep(4 * time.Second)
	w.nodes["a"].Freeze(false)
	if !w.nodes["a"].Running() {
		w.nodes["a"].Start()
	}
	w.until("recovered: "+r.what, 15*time.Second, func() bool {
		_, running := w.co.state.Load().Journal["s"]
		return !running && w.primary() != "" && w.allAttached() && w.nodes[w.primary()].Writable()
	})
	close(stop)
	<-done
	if end := w.nodes[w.primary()].End(); end < acked {
		t.Errorf("killed at %s: %d writes acknowledged, the log has %d; events since:\n%s", r.what, acked, end,
			w.events())
	}
	w.close()
	return fired
}

// hammer writes to every node that takes it until stop, and counts what was acknowledged.
func hammer(nodes map[topology.NodeID]*agenttest.Node, stop <-chan struct{}) (acked int64) {
	for {
		for _, n := range nodes {
			if n.Write() {
				acked++
			}
		}
		select {
		case <-stop:
			return acked
		case <-time.After(2 * time.Millisecond):
		}
	}
}
