package replog

import (
	"context"
	"sync"
	"sync/atomic"
)

// endWaiters are the callers of WaitEnd. An append that finds count zero does nothing.
type endWaiters struct {
	count atomic.Int32
	mu    struct {
		sync.Mutex
		list   []*endWaiter
		closed bool
	}
}

type endWaiter struct {
	past Offset
	ch   chan struct{} // room for one: a wake never blocks
}

var endWaiterPool = sync.Pool{New: func() any { return &endWaiter{ch: make(chan struct{}, 1)} }}

// WaitEnd returns the end of the log once it is past an offset; ErrClosed if the log is closed first.
func (l *Log) WaitEnd(ctx context.Context, past Offset) (Offset, error) {
	if end := l.End(); end > past {
		return end, nil
	}
	w := endWaiterPool.Get().(*endWaiter)
	w.past = past
	defer func() {
		l.waiters.remove(w)
		select {
		case <-w.ch: // a wake that nobody waited for
		default:
		}
		endWaiterPool.Put(w)
	}()
	for {
		if !l.waiters.add(w) {
			return l.End(), ErrClosed
		}
		// Registered before the second look: an append either finds the waiter or was seen here.
		if end := l.End(); end > past {
			return end, nil
		}
		select {
		case <-w.ch:
		case <-ctx.Done():
			return l.End(), ctx.Err()
		}
	}
}

// add registers w, once however often it is called; false if the log is closed.
func (e *endWaiters) add(w *endWaiter) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.closed {
		return false
	}
	for _, other := range e.mu.list {
		if other == w {
			return true
		}
	}
	e.mu.list = append(e.mu.list, w)
	e.count.Store(int32(len(e.mu.list)))
	return true
}

func (e *endWaiters) remove(w *endWaiter) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.filterLocked(func(other *endWaiter) bool { return other != w })
}

// wake is called after the end was published.
func (e *endWaiters) wake(end Offset) {
	if e.count.Load() == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.filterLocked(func(w *endWaiter) bool {
		if end <= w.past {
			return true
		}
		w.signal()
		return false
	})
}

func (e *endWaiters) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.closed = true
	e.filterLocked(func(w *endWaiter) bool { w.signal(); return false })
}

func (w *endWaiter) signal() {
	select {
	case w.ch <- struct{}{}:
	default:
	}
}

func (e *endWaiters) filterLocked(keep func(*endWaiter) bool) {
	kept := e.mu.list[:0]
	for _, w := range e.mu.list {
		if keep(w) {
			kept = append(kept, w)
		}
	}
	clear(e.mu.list[len(kept):])
	e.mu.list = kept
	e.count.Store(int32(len(kept)))
}
