package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/disk"
	"haypile/internal/replog"
)

// logNode is a primary or replica with a real log and no data. It overrides what testNode does with its own
// log; full syncs do not occur here.
type logNode struct {
	*testNode
	real    *replog.Log
	reign   replog.Reign
	applied atomic.Int64
}

func newLogNode(t *testing.T, id string) *logNode {
	t.Helper()
	n := &logNode{testNode: newTestNode(t, id)}
	l, err := replog.Create(replog.Options{FS: n.fs, Dir: "log", SegmentBytes: 64 << 10, TailBytes: 16 << 10}, 0)
	if err != nil {
		t.Fatal(err)
	}
	n.real, n.reign = l, l.BeginReign()
	n.reigns = lineage("1@0")
	old := n.feeds
	n.feeds = NewFeeds(n, DefaultOptions(), discard)
	old.Close()
	t.Cleanup(func() {
		n.close()
		if err := l.Close(); err != nil && !errors.Is(err, replog.ErrClosed) {
			t.Error(err)
		}
	})
	return n
}

func (n *logNode) State() State {
	return State{Primary: n.primary, NodeID: n.id, Format: 1, Reigns: n.reigns, Log: n.real}
}

func (n *logNode) Position() Position {
	return Position{Reigns: n.reigns, Log: n.real, NodeID: n.id, Format: 1}
}

func (n *logNode) Append(b *Batch) error {
	if _, err := n.real.Append(n.reign, b.StartDB, b.Raw); err != nil {
		return err
	}
	n.feeds.Push(b.Start, b.Raw)
	return nil
}

func (n *logNode) Apply(b *Batch) error {
	n.applied.Store(int64(b.End))
	return nil
}

func (n *logNode) Adopt(context.Context, *Upstream) error { return nil }

// Two real logs, connections that break anywhere, a trimming primary, a chained replica: all three logs hold
// the same bytes, and the replicas' frames are whole units.
func TestRealLogs(t *testing.T) {
	p, r, c := newLogNode(t, "p"), newLogNode(t, "r"), newLogNode(t, "c")
	p.primary = true
	var received atomic.Int64
	var rngMu sync.Mutex
	rng := rand.New(rand.NewPCG(3, 4))
	link := func(n, to *logNode, cut bool) *Link {
		budget := func() int64 {
			rngMu.Lock()
			defer rngMu.Unlock()
			if !cut {
				return 1 << 40
			}
			return 2000 + rng.Int64N(200_000)
		}
		host, port := to.addr()
		return StartLink(LinkConfig{Host: host, Port: port, Timeout: handshakeSilence,
			MaxBackoff: 5 * time.Millisecond, Dial: cutDial(&received, budget)}, n)
	}
	lr, lc := link(r, p, true), link(c, r, true)
	defer func() { lr.Close(); lc.Close() }()
	var sent []byte
	for i := range 4000 {
		raw := stream(fmt.Sprintf("SET key:%d %s", i, strings.Repeat("x", 1+i%900)))
		if i%5 == 0 {
			raw = stream("MULTI", "SET a 1", fmt.Sprintf("SET b:%d %s", i, strings.Repeat("y", i%3000+1)), "EXEC")
		}
		start := p.real.End()
		if _, err := p.real.Append(p.reign, 0, raw); err != nil {
			t.Fatal(err)
		}
		p.feeds.Push(start, raw)
		sent = append(sent, raw...)
		if i%500 == 499 {
			// What the replica has acknowledged is not needed any more.
			if err := p.real.Sync(p.real.End()); err != nil {
				t.Fatal(err)
			}
			if err := p.real.TrimTo(min(p.feeds.Floor(p.real.End()), r.real.End())); err != nil {
				t.Fatal(err)
			}
		}
	}
	end := replog.Offset(len(sent))
	waitFor(t, "the replicas", func() bool {
		return c.applied.Load() == int64(end) && r.applied.Load() == int64(end)
	})
	lr.Close()
	lc.Close()
	for _, n := range []*logNode{r, c} {
		if err := n.real.Close(); err != nil {
			t.Fatal(err)
		}
		checkFrames(t, n.fs, sent)
	}
	if p.feeds.Stats().SyncPartialOK < 2 || r.feeds.Stats().SyncPartialOK < 2 {
		t.Errorf("too few resyncs to mean anything: %+v, %+v", p.feeds.Stats(), r.feeds.Stats())
	}
}

// checkFrames opens a replica's log again and cuts each frame into units.
func checkFrames(t *testing.T, fsys disk.FS, sent []byte) {
	t.Helper()
	l, _, err := replog.Open(replog.Options{FS: fsys, Dir: "log"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Start() != 0 || l.End() != replog.Offset(len(sent)) {
		t.Fatalf("log from %d to %d, sent were %d bytes", l.Start(), l.End(), len(sent))
	}
	s := NewSplitter(0, 0, 1<<30)
	var b Batch
	if err := l.Replay(0, func(f replog.Frame) error {
		if !bytes.Equal(f.Payload, sent[f.Start:f.End()]) {
			t.Fatalf("other bytes in the frame at %d", f.Start)
		}
		return s.Frame(f, &b)
	}); err != nil {
		t.Fatal(err)
	}
}
