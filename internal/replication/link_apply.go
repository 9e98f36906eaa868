package replication

import (
	"fmt"
	"sync/atomic"
	"time"

	"haypile/internal/replog"
)

// applyChunk bounds the bytes of ordinary commands that are applied at once, and so how long they keep the
// keys locked.
const applyChunk = 256 << 10

// applier executes what the link's goroutine has appended, in a goroutine that lives as long as the stream.
// It reads the bytes back from the log: what waits for it needs no memory but the log's own tail, and a link
// that is drained never has to wait for it.
type applier struct {
	s     *linkConn
	log   Log
	split *Splitter
	// grown has capacity 1: the log has grown, or there will be no more. room has capacity 1: something was
	// applied.
	grown, room chan struct{}
	// over says that the log's end is final.
	over atomic.Bool
	done chan struct{}
	err  error // to be read after done
}

// startApplier begins behind what the log holds now, all of which has been applied.
func startApplier(s *linkConn, pos Position) *applier {
	end := pos.Log.End()
	// The bound is the reader's to enforce, which does so with the accuracy of its buffer.
	maxUnit := s.link.cfg.MaxUnit + 2*splitMaxRoom
	a := &applier{s: s, log: pos.Log, split: NewSplitter(end, pos.DB, maxUnit),
		grown: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{})}
	go a.run(end)
	return a
}

// more says that the log has grown.
func (a *applier) more() { signal(a.grown) }

// finish waits until everything in the log is applied. Nothing is appended any more.
func (a *applier) finish() error {
	a.over.Store(true)
	a.more()
	<-a.done
	return a.err
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// waitRoom waits while too much of the log has not been applied, unless the connection is ending.
func (a *applier) waitRoom() {
	limit := a.s.link.cfg.MaxBehind
	for int64(a.log.End())-a.s.link.applied.Load() > limit {
		a.s.full.Store(true)
		select {
		case <-a.room:
		case <-a.s.ending:
			return
		case <-a.done:
			return
		}
	}
	if a.s.full.Load() {
		a.s.link.lastIO.Store(time.Now().UnixNano()) // the silence was ours
		a.s.full.Store(false)
	}
}

func (a *applier) run(at replog.Offset) {
	defer close(a.done)
	var b Batch
	for {
		over := a.over.Load() // before the end, which is final then
		if a.log.End() == at {
			if over {
				return
			}
			<-a.grown
			continue
		}
		n, err := a.apply(&b, at)
		if err != nil {
			a.err = fmt.Errorf("%w: %w", ErrHalted, err)
			a.s.conn.Close() // the reader sees it
			return
		}
		at += replog.Offset(n)
	}
}

// apply reads a piece of the log and applies the units that it completes.
func (a *applier) apply(b *Batch, at replog.Offset) (int, error) {
	room, err := a.split.Space()
	if err != nil {
		return 0, err
	}
	n, err := a.log.ReadAt(room[:min(len(room), applyChunk)], at)
	if err != nil {
		return 0, fmt.Errorf("reading the log at %d: %w", at, err)
	}
	a.split.Advance(n)
	for {
		ok, err := a.split.Next(b)
		if err != nil || !ok {
			return n, err
		}
		if err := a.s.link.node.Apply(b); err != nil {
			return n, fmt.Errorf("at %d: %w", b.Start, err)
		}
		a.s.link.setApplied(b.End)
		signal(a.room)
	}
}
