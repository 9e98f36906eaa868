package keyspace

import (
	"slices"
	"sync"

	"haypile/internal/encoding"
)

// Locks are the key locks: a fixed number of reader-writer locks over which keys spread by their hash. They
// are taken in ascending order of number, or tried; keys of all databases share them.
type Locks struct{ stripes [lockStripes]sync.RWMutex }

const lockStripes = 1 << 13

// NewLocks makes a set of locks that nobody holds.
func NewLocks() *Locks { return &Locks{} }

// Lock identifies the lock of a key.
type Lock uint16

// LockOf is the lock of a user key.
func LockOf(user []byte) Lock { return Lock(encoding.Hash48(user) & (lockStripes - 1)) }

// Held is a set of locks that one goroutine holds, each exclusively or shared. The zero value holds none.
type Held struct {
	locks *Locks
	held  []heldLock
}

type heldLock struct {
	lock   Lock
	shared bool
}

// Init sets which locks a Held takes.
func (h *Held) Init(l *Locks) { h.locks = l }

// Len is the number of locks held.
func (h *Held) Len() int { return len(h.held) }

// Acquire takes all of want, waiting as long as it must. REQUIRES: nothing held. want is sorted in place;
// where one lock is wanted both ways it is taken exclusively.
func (h *Held) Acquire(want []Want) {
	slices.SortFunc(want, func(a, b Want) int {
		if a.Lock != b.Lock {
			return int(a.Lock) - int(b.Lock)
		}
		if a.Shared == b.Shared {
			return 0
		}
		if b.Shared {
			return -1 // exclusive first
		}
		return 1
	})
	for i, w := range want {
		if i > 0 && want[i-1].Lock == w.Lock {
			continue
		}
		if w.Shared {
			h.locks.stripes[w.Lock].RLock()
		} else {
			h.locks.stripes[w.Lock].Lock()
		}
		h.held = append(h.held, heldLock{w.Lock, w.Shared})
	}
}

// Want is a lock to be taken.
type Want struct {
	Lock   Lock
	Shared bool
}

// TryAcquire takes all of want without waiting, besides what is held; if one can't be had it takes none and
// reports false. A lock held shared is not turned into an exclusive one: that fails too.
func (h *Held) TryAcquire(want []Want) bool {
	before := len(h.held)
	for _, w := range want {
		if w.Shared {
			if h.locks.stripes[w.Lock].TryRLock() {
				h.held = append(h.held, heldLock{w.Lock, true})
				continue
			}
		} else if h.locks.stripes[w.Lock].TryLock() {
			h.held = append(h.held, heldLock{w.Lock, false})
			continue
		}
		if !h.has(w) {
			h.releaseFrom(before)
			return false
		}
	}
	return true
}

// Covers reports whether w is held, exclusively if it asks for that.
func (h *Held) Covers(w Want) bool {
	for i := len(h.held) - 1; i >= 0; i-- { // those of a script are the last
		if l := &h.held[i]; l.lock == w.Lock && (w.Shared || !l.shared) {
			return true
		}
	}
	return false
}

// has reports whether w is covered by an exclusive lock held.
func (h *Held) has(w Want) bool {
	for i := range h.held {
		if h.held[i].lock == w.Lock && !h.held[i].shared {
			return true
		}
	}
	return false
}

// Release gives all locks back.
func (h *Held) Release() { h.releaseFrom(0) }

// ReleaseTo gives back the locks taken since n were held.
func (h *Held) ReleaseTo(n int) { h.releaseFrom(n) }

func (h *Held) releaseFrom(n int) {
	for i := len(h.held) - 1; i >= n; i-- {
		if l := h.held[i]; l.shared {
			h.locks.stripes[l.lock].RUnlock()
		} else {
			h.locks.stripes[l.lock].Unlock()
		}
	}
	h.held = h.held[:n]
}
