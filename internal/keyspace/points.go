package keyspace

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"haypile/internal/storage"
)

// points lends storage.Points for look-ups in the engine. One is good as long as the engine has got nothing since it
// was made: all that is newer is pending, and is found there. So a row that is neither in the hot cache nor pending
// costs a seek, and not the making of an iterator over all levels, which costs several.
//
// The order that this rests on: Drain writes to the engine, then counts writes up, then removes what it wrote from
// what is pending; a reader looks at what is pending first, and at the count after that.
type points struct {
	writes atomic.Uint64
	mu     struct {
		sync.Mutex
		idle  []*storage.Point
		as    uint64 // the count of writes of which idle are
		ended bool
	}
}

// engineGet reads a row that is not pending.
func (s *Store) engineGet(dst, key []byte) ([]byte, bool, error) {
	if !s.opt.Defer {
		return s.engine.Get(dst, key)
	}
	ps := &s.points
	as := ps.writes.Load()
	p := ps.take(as)
	if p == nil {
		var err error
		if p, err = s.engine.Point(); err != nil {
			return dst, false, err
		}
	}
	v, found, err := p.Get(dst, key)
	if err != nil {
		return dst, false, errors.Join(err, p.Close())
	}
	return v, found, ps.give(p, as)
}

func (ps *points) take(as uint64) *storage.Point {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	n := len(ps.mu.idle)
	if n == 0 || ps.mu.as != as {
		return nil
	}
	p := ps.mu.idle[n-1]
	ps.mu.idle = ps.mu.idle[:n-1]
	return p
}

// give keeps a point for the next reader, if it is still good and there are not too many.
func (ps *points) give(p *storage.Point, as uint64) error {
	ps.mu.Lock()
	if ps.mu.as != as && as == ps.writes.Load() && len(ps.mu.idle) == 0 {
		ps.mu.as = as
	}
	if ps.mu.ended || ps.mu.as != as || len(ps.mu.idle) >= 2*runtime.GOMAXPROCS(0) {
		ps.mu.Unlock()
		return p.Close()
	}
	ps.mu.idle = append(ps.mu.idle, p)
	ps.mu.Unlock()
	return nil
}

// drop closes the points that are kept: what they pin cannot be deleted.
func (ps *points) drop(end bool) error {
	ps.mu.Lock()
	idle := ps.mu.idle
	ps.mu.idle, ps.mu.ended = nil, ps.mu.ended || end
	ps.mu.Unlock()
	var errs []error
	for _, p := range idle {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
