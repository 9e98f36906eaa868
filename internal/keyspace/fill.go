package keyspace

import (
	"bytes"
	"slices"
	"sync"

	"haypile/internal/encoding"
	"haypile/internal/storage"
)

// A new collection of many rows need not wait in its transaction: nobody can find it before the commit stores the
// metadata with its id. So its rows go to the engine in batches as they come, behind a garbage row, which the commit
// removes. What fails, or does not outlive a crash, is garbage like any other.

const (
	// manyRows is how many rows of one collection a transaction holds in memory; see Txn.Many.
	manyRows = 16 << 10
	// fillBytes is how many bytes of them.
	fillBytes = 4 << 20
)

// fill is a new collection that is being filled, or has been in this transaction.
type fill struct {
	t       *Txn
	garbage []byte // the key of its garbage row
	id      encoding.Collection
	// rows are those that the engine has not got yet. Once it has got some, they live in mem.
	rows    []row
	bytes   int
	mem     arena
	spilled bool
	undo    int // entries of the undo log before it
	err     error
}

// Many reports whether rows of that number are too many to be held in memory: a new collection of so many should be
// filled (see Fill), and so many be removed with CutOrdered and Eraser.
func (t *Txn) Many(rows uint64) bool { return rows >= uint64(t.store.many) }

// Fill makes what is put into the new collection m pass the transaction by if it becomes much, until Filled. Meanwhile
// what was put there cannot be looked up; after Flushed it can be walked over. One collection is filled at a time.
func (t *Txn) Fill(e *Entry, m *encoding.Meta) { t.filling = t.newFill(e.space, m) }

func (t *Txn) newFill(sp encoding.Space, m *encoding.Meta) *fill {
	f := &fill{t: t, id: m.ID, garbage: encoding.AppendGarbage(nil, sp, m.Birth, m.ID), undo: len(t.rows.undo)}
	t.rows.note()
	t.fills = append(t.fills, f)
	return f
}

// fillOf is the fill of a collection, nil if it is not being filled.
func (t *Txn) fillOf(m *encoding.Meta) *fill {
	if f := t.filling; f != nil && f.id == m.ID {
		return f
	}
	return nil
}

// Flushed makes what was put into m so far visible to walks of this transaction, and to nobody else.
func (t *Txn) Flushed(m *encoding.Meta) error {
	f := t.fillOf(m)
	if f == nil {
		return nil
	}
	f.flush()
	return f.err
}

// Filled ends Fill of m, if that is being filled. The metadata is the caller's to Put.
func (t *Txn) Filled(m *encoding.Meta) error {
	if f := t.fillOf(m); f != nil {
		return f.end()
	}
	return nil
}

func (f *fill) end() error {
	f.t.filling = nil
	f.flush()
	if f.spilled && f.err == nil {
		f.t.write(row{hash: rowHash(f.garbage), key: f.garbage, del: true})
	}
	return f.err
}

// flush brings the rows so far where walks find them: few of them are the transaction's.
func (f *fill) flush() {
	if f.spilled {
		f.spill()
	} else {
		for _, r := range f.rows {
			f.t.write(r)
		}
	}
	f.rows, f.bytes = nil, 0
}

// memory is where the keys and values of rows of a collection are made.
func (t *Txn) memory(m *encoding.Meta) *arena {
	if f := t.fillOf(m); f != nil {
		return f.memory()
	}
	return &t.mem
}

func (f *fill) memory() *arena {
	if f.spilled || f.err != nil {
		return &f.mem
	}
	return &f.t.mem
}

// put stores or deletes a row of a collection, made in its memory.
func (t *Txn) put(m *encoding.Meta, r row) {
	if f := t.fillOf(m); f != nil {
		f.add(r)
		return
	}
	t.write(r)
}

func (f *fill) add(r row) {
	f.rows = append(f.rows, r)
	f.bytes += len(r.key) + len(r.val)
	if len(f.rows) >= f.t.store.many || f.bytes >= fillBytes {
		f.spill()
	}
}

// spill gives the engine the rows so far.
func (f *fill) spill() {
	defer func() {
		clear(f.rows)
		f.rows, f.bytes = f.rows[:0], 0
		f.mem.reset()
	}()
	if f.err == nil && f.t.hot {
		f.err = ErrCold
	}
	if f.err != nil || len(f.rows) == 0 {
		return
	}
	s := f.t.store
	if !f.spilled {
		f.spilled = true
		if f.err = s.fills.begin(s, f); f.err != nil {
			return
		}
	}
	slices.SortStableFunc(f.rows, func(a, b row) int { return bytes.Compare(a.key, b.key) })
	b := s.engine.NewBatch()
	defer b.Close()
	for i := range f.rows {
		r := &f.rows[i]
		if r.del {
			b.Delete(r.key)
			continue
		}
		b.Set(r.key, r.val) // of two with the same key the later one wins
		if r.point && !r.dense {
			s.filter.add(r.hash)
		}
	}
	f.err = s.ahead(b)
}

// ahead gives the engine changes that are not those of a commit: what is read afterwards sees them.
func (s *Store) ahead(b *storage.Batch) error {
	if err := s.engine.Apply(b); err != nil {
		return err
	}
	s.points.writes.Add(1)
	return s.points.drop(false)
}

// fills are the collections that transactions are filling: they have garbage rows, but are none.
//
// Lock order: begins, mu. The engine is called under begins only: rows of an id must not get there ahead of the row that
// reserves it.
type fills struct {
	begins sync.Mutex
	// reserved is what the engine's row of collections says; it belongs to who holds begins.
	reserved encoding.Collection
	mu       struct {
		sync.Mutex
		open map[encoding.Collection]struct{}
		// ended have been committed or given up, perhaps since Reclaim has looked at their garbage rows.
		ended []encoding.Collection
	}
}

// reserveIDs is how many ids of collections are reserved at once. An id whose rows the engine has got must not be given
// out again after a crash, and the state, which says which is next, is written with commits only.
const reserveIDs = 1 << 10

// begin writes the garbage row.
func (fs *fills) begin(s *Store, f *fill) error {
	fs.open(f.id) // before Reclaim can see it
	fs.begins.Lock()
	defer fs.begins.Unlock()
	b := s.engine.NewBatch()
	defer b.Close()
	b.Set(f.garbage, nil)
	reserved := fs.reserved
	if f.id >= reserved {
		reserved = f.id + reserveIDs
		b.Set(encoding.CollectionsRow, encoding.AppendCollections(nil, reserved))
	}
	if err := s.engine.Apply(b); err != nil {
		return err
	}
	fs.reserved = reserved
	return nil
}

func (fs *fills) open(id encoding.Collection) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.mu.open == nil {
		fs.mu.open = map[encoding.Collection]struct{}{}
	}
	fs.mu.open[id] = struct{}{}
}

// end says that a fill was committed, and its garbage row is gone with the commit, or that it was given up.
func (fs *fills) end(f *fill) {
	if !f.spilled {
		return
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if _, open := fs.mu.open[f.id]; open {
		delete(fs.mu.open, f.id)
		fs.mu.ended = append(fs.mu.ended, f.id)
	}
}

// settle forgets those that have ended: of what the engine has got of them, all was pending before.
func (fs *fills) settle() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.mu.ended = nil
}

// has reports whether a collection that has a garbage row may be none.
func (fs *fills) has(id encoding.Collection) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	_, open := fs.mu.open[id]
	return open || slices.Contains(fs.mu.ended, id)
}

// endFills ends the fills since the undo log had n entries.
func (t *Txn) endFills(n int) {
	for len(t.fills) > 0 {
		last := t.fills[len(t.fills)-1]
		if last.undo < n {
			return
		}
		t.store.fills.end(last)
		t.fills[len(t.fills)-1] = nil
		t.fills = t.fills[:len(t.fills)-1]
		if t.filling == last {
			t.filling = nil
		}
	}
}
