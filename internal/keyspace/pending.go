package keyspace

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"haypile/internal/encoding"
	"haypile/internal/storage"
)

// pending are the groups of transactions that are in the log and visible, but not in the engine yet. The log is
// what makes a group durable, so the engine may follow at its own pace: several groups at once, sorted, on a
// goroutine beside the committers. A reader that finds a row neither in the hot cache nor here asks the engine.
// What walks over rows drains first, so that it need not look in two places.
//
// Lock order: drain, mu. The engine is called under drain only. Readers hold mu shared while they look, so that a
// transaction is not used again under their eyes.
type pending struct {
	// groups counts what stands under mu, so that a reader need not take it where there is nothing.
	groups atomic.Int32
	// crowded: there is half as much as makes committers wait.
	crowded atomic.Bool
	mu      struct {
		sync.RWMutex
		list     []*group // oldest first
		rows     int
		bytes    int
		draining bool // a goroutine is at it
		err      error
		room     sync.Cond // some groups have gone, or the engine has failed
	}
	wg sync.WaitGroup // the goroutine

	// drain serialises the use of the engine; batch and sorted belong to its holder.
	drain  sync.Mutex
	sorted []sortedRow
}

// group is what one commit brought.
type group struct {
	txns  []*Txn
	state []byte // the state row behind it
	rows  int
	bytes int
}

const (
	// drainRows, drainBytes and drainGroups are how much is pending before the engine gets it: enough that
	// neighbours in a sorted batch are near each other in the memtable.
	drainRows   = 4 << 10
	drainBytes  = 4 << 20
	drainGroups = 64
	// maxPendingRows and maxPendingBytes are where committers wait for the engine.
	maxPendingRows  = 64 << 10
	maxPendingBytes = 64 << 20
)

// push adds a group; if there is too much already it waits for the engine.
func (s *Store) push(txns []*Txn) error {
	g := &group{txns: slices.Clone(txns), state: encoding.AppendState(nil, &s.state)}
	for _, t := range txns {
		t.refs.Add(1)
		g.rows += len(t.rows.rows)
		g.bytes += t.mem.size()
	}
	p := &s.pending
	p.mu.Lock()
	for p.mu.err == nil && (p.mu.rows > maxPendingRows || p.mu.bytes > maxPendingBytes) {
		p.mu.room.Wait()
	}
	defer p.mu.Unlock()
	if p.mu.err != nil {
		return p.mu.err
	}
	p.mu.list = append(p.mu.list, g)
	p.mu.rows += g.rows
	p.mu.bytes += g.bytes
	p.groups.Add(1)
	p.crowdLocked()
	if !p.mu.draining && p.dueLocked() {
		p.mu.draining = true
		p.wg.Go(s.drainDue)
	}
	return nil
}

func (p *pending) dueLocked() bool {
	return p.mu.err == nil &&
		(p.mu.rows >= drainRows || p.mu.bytes >= drainBytes || len(p.mu.list) >= drainGroups)
}

// drainDue is the goroutine that keeps little pending.
func (s *Store) drainDue() {
	p := &s.pending
	for {
		_ = s.Drain() // an error stays, and the next commit fails with it
		p.mu.Lock()
		if !p.dueLocked() {
			p.mu.draining = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// Drain gives the engine everything that is pending.
func (s *Store) Drain() error {
	p := &s.pending
	if p.groups.Load() == 0 {
		return nil
	}
	p.drain.Lock()
	defer p.drain.Unlock()
	p.mu.RLock()
	list, err := p.mu.list, p.mu.err
	p.mu.RUnlock()
	if err != nil || len(list) == 0 {
		return err
	}
	err = s.write(list)
	s.points.writes.Add(1)
	err = errors.Join(err, s.points.drop(false))
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.mu.room.Broadcast()
	if err != nil {
		p.mu.err = fmt.Errorf("the engine does not take what the log holds: %w", err)
		return p.mu.err
	}
	p.mu.list = slices.Clone(p.mu.list[len(list):])
	for _, g := range list {
		p.mu.rows -= g.rows
		p.mu.bytes -= g.bytes
		for _, t := range g.txns {
			t.Done()
		}
	}
	p.groups.Add(-int32(len(list)))
	p.crowdLocked()
	return nil
}

func (p *pending) crowdLocked() {
	p.crowded.Store(p.mu.rows > maxPendingRows/2 || p.mu.bytes > maxPendingBytes/2)
}

// find looks a row up in what is pending and appends its value to dst.
func (p *pending) find(dst []byte, hash uint64, key []byte) (v []byte, present, known bool) {
	if p.groups.Load() == 0 {
		return dst, false, false
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for i := len(p.mu.list) - 1; i >= 0; i-- {
		// Two transactions of a group never touch the same key: both would need its lock.
		for _, t := range p.mu.list[i].txns {
			if at := t.rows.find(hash, key); at >= 0 {
				r := &t.rows.rows[at]
				return append(dst, r.val...), !r.del, true
			}
			if len(t.cuts) > 0 && t.cutAt(key) != nil {
				return dst, false, true
			}
		}
	}
	return dst, false, false
}

// sortedRow stands for a row of some groups: the first 16 bytes of its key, and where it came.
type sortedRow struct {
	a, b uint64
	row  *row
	at   int32
}

// write puts the last version of each row into one batch of the engine, with the state behind the last group. The
// rows are in the order of keys, as far as no transaction has cut something out: the memtable finds the place of a key
// from that of the one before, which is much nearer than its top. REQUIRES: pending.drain.
func (s *Store) write(groups []*group) error {
	rows := s.pending.sorted[:0]
	b := s.batch
	b.Reset()
	for _, g := range groups {
		for _, t := range g.txns {
			if len(t.cuts) > 0 {
				rows = writeSorted(b, rows)
			}
			for _, c := range t.cuts {
				b.DeleteRange(c.lower, c.upper)
			}
			for i := range t.rows.rows {
				r := &t.rows.rows[i]
				head, next := keyHead(r.key)
				rows = append(rows, sortedRow{head, next, r, int32(len(rows))})
			}
		}
	}
	rows = writeSorted(b, rows)
	b.Set(encoding.StateRow, groups[len(groups)-1].state)
	if s.pending.sorted = rows; cap(rows) > maxKeptRows {
		s.pending.sorted = nil
	}
	return s.engine.Apply(b)
}

// writeSorted adds rows to a batch, of those with the same key the last, and returns none.
func writeSorted(b *storage.Batch, rows []sortedRow) []sortedRow {
	slices.SortFunc(rows, func(x, y sortedRow) int {
		switch {
		case x.a != y.a:
			return cmp.Compare(x.a, y.a)
		case x.b != y.b:
			return cmp.Compare(x.b, y.b)
		}
		return cmp.Or(bytes.Compare(x.row.key, y.row.key), cmp.Compare(x.at, y.at))
	})
	for i, x := range rows {
		if i+1 < len(rows) && rows[i+1].a == x.a && rows[i+1].b == x.b && bytes.Equal(rows[i+1].row.key, x.row.key) {
			continue
		}
		if x.row.del {
			b.Delete(x.row.key)
		} else {
			b.Set(x.row.key, x.row.val)
		}
	}
	clear(rows)
	return rows[:0]
}

// maxKeptRows bounds what a large group leaves allocated.
const maxKeptRows = 1 << 17

// keyHead is the beginning of a key as two numbers that compare as the bytes do; a shorter key is filled up with
// zeroes, so equal numbers decide nothing.
func keyHead(k []byte) (a, b uint64) {
	if len(k) >= 16 {
		return binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(k[8:])
	}
	var head [16]byte
	copy(head[:], k)
	return binary.BigEndian.Uint64(head[:]), binary.BigEndian.Uint64(head[8:])
}

// Close gives the engine what is pending, if it should be kept, ends the goroutine that does that otherwise, and
// frees the hot cache. Pins are ended before.
// The engine is the caller's to close. REQUIRES: no commits, no readers.
func (s *Store) Close(keep bool) error {
	s.pins.close()
	p := &s.pending
	p.wg.Wait()
	defer s.cache.free()
	var err error
	if keep {
		err = s.Drain()
	}
	return errors.Join(err, s.points.drop(true))
}
