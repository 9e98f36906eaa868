package replication

import (
	"container/heap"
	"context"
	"slices"
	"sync"

	"haypile/internal/replog"
)

// acks holds what the online replicas have acknowledged and who waits for it. A waiter is woken once, when
// its condition holds: for each (replica count, durability) the waiters stand in a heap by offset, and an
// acknowledgement pops only those that it satisfies. The number of different counts in use is small.
type acks struct {
	mu struct {
		sync.Mutex
		feeds  map[*Feed]acked
		queues map[ackClass]*waitQueue
		// sorted is scratch for the offsets in descending order, by durability.
		sorted [2][]replog.Offset
	}
}

// acked is one replica's position: written to its log, and fsynced there.
type acked struct{ written, fsynced replog.Offset }

// ackClass is what a waiter asks for besides the offset.
type ackClass struct {
	replicas int
	fsynced  bool
}

// waiter is one blocked caller; index is its place in the heap, -1 once it has been taken out. satisfied is
// the count that woke it: a replica that leaves before the caller looks does not take its word back.
type waiter struct {
	off       replog.Offset
	index     int
	satisfied int
	done      chan struct{} // capacity 1, so that waking never blocks and the waiter can be used again
}

// maxIdleQueues bounds the empty queues that are kept for the next waiter.
const maxIdleQueues = 16

var waiters = sync.Pool{New: func() any { return &waiter{done: make(chan struct{}, 1)} }}

// waitQueue is a heap of waiters, lowest offset first.
type waitQueue []*waiter

func (q waitQueue) Len() int           { return len(q) }
func (q waitQueue) Less(i, j int) bool { return q[i].off < q[j].off }
func (q waitQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *waitQueue) Push(x any) {
	w := x.(*waiter)
	w.index = len(*q)
	*q = append(*q, w)
}
func (q *waitQueue) Pop() any {
	old := *q
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	w.index = -1
	return w
}

// add counts a replica from here on, until remove.
func (a *acks) add(f *Feed, at acked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.feeds == nil {
		a.mu.feeds = make(map[*Feed]acked)
	}
	a.mu.feeds[f] = at
	a.wakeLocked()
}

// set records the position of a replica that still counts, and wakes who waited for it.
func (a *acks) set(f *Feed, at acked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.mu.feeds[f]; ok {
		a.mu.feeds[f] = at
		a.wakeLocked()
	}
}

// remove forgets a replica; its acknowledgements no longer count.
func (a *acks) remove(f *Feed) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.mu.feeds, f)
}

// releaseAll wakes every waiter, satisfied or not.
func (a *acks) releaseAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range a.mu.queues {
		for q.Len() > 0 {
			heap.Pop(q).(*waiter).done <- struct{}{}
		}
	}
}

// count is the number of replicas that have off.
func (a *acks) count(off replog.Offset, fsynced bool) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.countLocked(off, fsynced)
}

func (a *acks) countLocked(off replog.Offset, fsynced bool) int {
	n := 0
	for _, at := range a.mu.feeds {
		if fsynced && at.fsynced >= off || !fsynced && at.written >= off {
			n++
		}
	}
	return n
}

// wait blocks until n replicas have off, the context ends or releaseAll; it returns how many have it then.
func (a *acks) wait(ctx context.Context, off replog.Offset, n int, fsynced bool) int {
	a.mu.Lock()
	if have := a.countLocked(off, fsynced); have >= n || ctx.Err() != nil {
		a.mu.Unlock()
		return have
	}
	class := ackClass{replicas: n, fsynced: fsynced}
	q := a.mu.queues[class]
	if q == nil {
		if a.mu.queues == nil {
			a.mu.queues = make(map[ackClass]*waitQueue)
		}
		q = new(waitQueue)
		a.mu.queues[class] = q
	}
	w := waiters.Get().(*waiter)
	w.off, w.satisfied = off, 0
	heap.Push(q, w)
	a.mu.Unlock()

	select {
	case <-w.done:
	case <-ctx.Done():
	}

	a.mu.Lock()
	if w.index >= 0 {
		heap.Remove(q, w.index)
	}
	if q.Len() == 0 && len(a.mu.queues) > maxIdleQueues && a.mu.queues[class] == q {
		delete(a.mu.queues, class)
	}
	have := max(a.countLocked(off, fsynced), w.satisfied)
	a.mu.Unlock()
	select {
	case <-w.done: // woken and timed out at once
	default:
	}
	waiters.Put(w)
	return have
}

// wakeLocked pops the waiters whose condition holds now.
func (a *acks) wakeLocked() {
	if len(a.mu.queues) == 0 {
		return
	}
	for i := range a.mu.sorted {
		a.mu.sorted[i] = a.mu.sorted[i][:0]
	}
	for _, at := range a.mu.feeds {
		a.mu.sorted[0] = append(a.mu.sorted[0], at.written)
		a.mu.sorted[1] = append(a.mu.sorted[1], at.fsynced)
	}
	for i := range a.mu.sorted {
		slices.SortFunc(a.mu.sorted[i], func(x, y replog.Offset) int { return int(y - x) })
	}
	for class, q := range a.mu.queues {
		have := a.mu.sorted[0]
		if class.fsynced {
			have = a.mu.sorted[1]
		}
		if class.replicas > len(have) {
			continue
		}
		reached := have[class.replicas-1]
		for q.Len() > 0 && (*q)[0].off <= reached {
			w := heap.Pop(q).(*waiter)
			w.satisfied = class.replicas
			w.done <- struct{}{}
		}
	}
}
