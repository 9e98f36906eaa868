package coordinator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"haypile/internal/metastore"
	"haypile/internal/topology"
)

// cutStore is a metastore that a dashboard can be cut off from, once.
type cutStore struct {
	metastore.Store
	cut, healed chan struct{} // closed: cut off, and no longer
}

func (s *cutStore) gone(ctx context.Context) error {
	select {
	case <-s.cut:
		select {
		case <-s.healed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	default:
		return nil
	}
}

func (s *cutStore) List(ctx context.Context, prefix string) ([]metastore.Pair, int64, error) {
	if err := s.gone(ctx); err != nil {
		return nil, 0, err
	}
	return s.Store.List(ctx, prefix)
}

func (s *cutStore) Watch(ctx context.Context, prefix string, after int64) <-chan []metastore.Event {
	in, out := s.Store.Watch(ctx, prefix, after), make(chan []metastore.Event)
	go func() {
		defer close(out)
		for b := range in {
			if s.gone(ctx) != nil {
				return
			}
			select {
			case out <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// more starts another dashboard beside the world's own.
func (w *world) more(id string, store metastore.Store) (co *Coordinator, stop func()) {
	co = New(Options{Store: store, Cluster: "c", ID: id, Config: w.cfg, Dial: w.fleet.Net.DialFrom(id),
		Logger: testLogger()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		co.Run(ctx)
		close(done)
	}()
	return co, func() { cancel(); <-done }
}

func TestLeaderAndPrimaryDieTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		d2, stop2 := w.more("d2", w.store)
		_, stop3 := w.more("d3", w.store)
		defer stop3()
		time.Sleep(3 * time.Second)
		if !w.nodes["a"].Writable() {
			t.Fatal("a majority of three dashboards does not grant")
		}
		if err := d2.Failover(t.Context(), "s"); err == nil {
			t.Fatal("a dashboard that does not lead has acted")
		}
		w.underLoad(func() {
			w.nodes["a"].Kill()
			w.stop() // resigns, as after the end of its lease in etcd
			w.co, w.stop = d2, stop2
			who, took := w.writable(4*time.Second, "a")
			t.Logf("%s took over after %v", who, took)
			w.until("published", time.Second, func() bool { return w.primary() == who })
			w.nodes["a"].Start()
			w.until("attached", 5*time.Second, w.allAttached)
		})
		w.close()
	})
}

// TestDashboardsCutOffFromTheMetastore: two of three grant what they last knew while the third replaces the
// primary. When they are back they grant the new one its lease at once, so the leases that they gave the old
// one must be over before the new one opens.
func TestDashboardsCutOffFromTheMetastore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWith(t, Config{DownAfter: 200 * time.Millisecond}, "a", "b", "c")
		defer w.close()
		cut, healed := make(chan struct{}), make(chan struct{})
		_, stop2 := w.more("d2", &cutStore{w.store, cut, healed})
		_, stop3 := w.more("d3", &cutStore{w.store, cut, healed})
		defer stop2()
		defer stop3()
		time.Sleep(3 * time.Second)
		w.underLoad(func() {
			close(cut)
			w.fleet.Net.Cut("d1", "a:2", true)
			for _, id := range []topology.NodeID{"b", "c"} {
				w.nodes[id].Cut("a:1", true)
				w.fleet.Net.Cut(string(id)+":2", "a:2", true)
			}
			time.Sleep(1100 * time.Millisecond)
			close(healed)
			took := w.until("b takes writes", 5*time.Second, func() bool {
				return w.nodes["b"].Writable() || w.nodes["c"].Writable()
			})
			t.Logf("writable %v after the metastore was back", took)
			time.Sleep(2 * time.Second)
		})
	})
}
