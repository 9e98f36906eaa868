package keyspace

import (
	"bytes"

	"haypile/internal/encoding"
)

// Ordered rows are the rows of a collection whose order means something: scores, positions, entry ids. Their sort
// keys and values are the type's own. They belong to the collection like its elements: dropped, copied and
// digested with it. Rows that are looked up by their sort key are stored with PutOrdered, and may be read from
// the hot cache; rows that are only walked over are stored with PutIndex, and must not be read with GetOrdered.

func (t *Txn) orderedRow(e *Entry, m *encoding.Meta, sortKey []byte) ([]byte, uint64) {
	mem := t.memory(m)
	k := mem.keep(encoding.AppendOrdered(mem.take(len(sortKey)+keyRowMax), e.space, m.Birth, m.ID, sortKey))
	return k, rowHash(k)
}

// GetOrdered reads a row that was stored with PutOrdered.
func (t *Txn) GetOrdered(e *Entry, m *encoding.Meta, sortKey []byte) ([]byte, bool, error) {
	k, h := t.orderedRow(e, m, sortKey)
	return t.read(h, k)
}

// PutOrdered stores a row; key and value are copied.
func (t *Txn) PutOrdered(e *Entry, m *encoding.Meta, sortKey, value []byte) {
	k, h := t.orderedRow(e, m, sortKey)
	t.put(m, row{hash: h, key: k, val: t.memory(m).copyOf(value), point: true})
}

// Dense rows are those of which the metadata says which there are: normally nobody looks for one that does not exist.
// So the filter of absent rows does not know them, and the hot cache forgets those that are removed. A row that was
// stored with PutDense must be read with GetDense only.

// GetDense reads a row that was stored with PutDense.
func (t *Txn) GetDense(e *Entry, m *encoding.Meta, sortKey []byte) ([]byte, bool, error) {
	k, h := t.orderedRow(e, m, sortKey)
	return t.readRow(h, k, true)
}

// PutDense stores a row whose value is a format byte and something behind it, which is copied. With formed the form of
// the collection has it, and the hot cache need not.
func (t *Txn) PutDense(e *Entry, m *encoding.Meta, sortKey []byte, format byte, value []byte, formed bool) {
	k, h := t.orderedRow(e, m, sortKey)
	mem := t.memory(m)
	v := mem.keep(append(append(mem.take(1+len(value)), format), value...))
	t.put(m, row{hash: h, key: k, val: v, point: true, dense: true, formed: formed})
}

// RemoveDense deletes a row that was stored with PutDense.
func (t *Txn) RemoveDense(e *Entry, m *encoding.Meta, sortKey []byte) {
	k, h := t.orderedRow(e, m, sortKey)
	t.put(m, row{hash: h, key: k, del: true, point: true, dense: true})
}

// PutIndex is PutOrdered for a row that is only walked over.
func (t *Txn) PutIndex(e *Entry, m *encoding.Meta, sortKey, value []byte) {
	k, h := t.orderedRow(e, m, sortKey)
	t.put(m, row{hash: h, key: k, val: t.memory(m).copyOf(value)})
}

// RemoveOrdered deletes a row that was stored with PutOrdered.
func (t *Txn) RemoveOrdered(e *Entry, m *encoding.Meta, sortKey []byte) {
	k, h := t.orderedRow(e, m, sortKey)
	t.put(m, row{hash: h, key: k, del: true, point: true})
}

// RemoveIndex deletes a row that was stored with PutIndex.
func (t *Txn) RemoveIndex(e *Entry, m *encoding.Meta, sortKey []byte) {
	k, h := t.orderedRow(e, m, sortKey)
	t.put(m, row{hash: h, key: k, del: true})
}

// GetIndex reads a row that was stored with PutIndex. It goes past the hot cache and the filter of absent rows, for rows
// of which there are many and each is looked up once or twice. The row must be of a key that the caller has locked.
func (t *Txn) GetIndex(e *Entry, m *encoding.Meta, sortKey []byte) ([]byte, bool, error) {
	k, h := t.orderedRow(e, m, sortKey)
	if i := t.rows.find(h, k); i >= 0 {
		r := &t.rows.rows[i]
		return r.val, !r.del, nil
	}
	if t.removes() {
		if gone, err := t.removed(k); err != nil || gone {
			return nil, false, err
		}
	}
	dst := t.mem.take(1024)
	if t.pin != nil {
		v, present, err := t.pin.get(dst, k)
		return t.mem.keep(v), present, err
	}
	v, present, known := t.store.pending.find(dst, h, k)
	if !known && t.hot {
		return nil, false, ErrCold
	}
	if !known {
		var err error
		if v, present, err = t.store.engineGet(dst, k); err != nil {
			return nil, false, err
		}
	}
	return t.mem.keep(v), present, nil
}

// orderedRange are the bounds of the rows with sort keys of [from, to); nil to means to the last.
func orderedRange(sp encoding.Space, m *encoding.Meta, from, to []byte) (lower, upper []byte) {
	lower = encoding.AppendOrdered(nil, sp, m.Birth, m.ID, from)
	if to == nil {
		return lower, encoding.AppendElementFrom(nil, sp, m.Birth, m.ID, 1)
	}
	return lower, encoding.AppendOrdered(nil, sp, m.Birth, m.ID, to)
}

// ScanOrdered walks the rows with sort keys of [from, to) in ascending order until f says stop; nil to means to
// the last. The views are valid during the call of f only. f may change rows; those that it changes ahead
// may be visited as they were or as they are.
func (t *Txn) ScanOrdered(e *Entry, m *encoding.Meta, from, to []byte, f func(sortKey, value []byte) (more bool)) error {
	return t.scanOrdered(e, m, from, to, true, f)
}

// ScanOrderedBack is ScanOrdered in descending order, from the last row before to.
func (t *Txn) ScanOrderedBack(e *Entry, m *encoding.Meta, from, to []byte, f func(sortKey, value []byte) (more bool)) error {
	return t.scanOrdered(e, m, from, to, false, f)
}

func (t *Txn) scanOrdered(e *Entry, m *encoding.Meta, from, to []byte, up bool, f func(k, v []byte) bool) error {
	if t.hot {
		return ErrCold
	}
	if err := t.drain(); err != nil {
		return err
	}
	lower, upper := orderedRange(e.space, m, from, to)
	own := t.rows.between(lower, upper)
	it, err := t.cursor(lower, upper)
	if err != nil {
		return err
	}
	head := len(lower) - len(from)
	w := walk{it: it, rows: &t.rows, own: own, up: up}
	w.start()
	for k, v, ok := w.next(); ok && f(k[head:], v); k, v, ok = w.next() {
	}
	return it.Close()
}

// walk goes over the engine's rows and a transaction's own, which win, in either direction.
type walk struct {
	it    *cursor
	rows  *overlay
	own   []int32
	up    bool
	valid bool // it stands on a row that has not been visited
	ahead bool // it stands on the row visited last
}

func (w *walk) start() {
	if w.up {
		w.valid = w.it.First()
	} else {
		w.valid = w.it.Last()
	}
}

func (w *walk) step() {
	if w.up {
		w.valid = w.it.Next()
	} else {
		w.valid = w.it.Prev()
	}
	w.ahead = false
}

// next is the next row; its views live until the call after it.
func (w *walk) next() (key, value []byte, ok bool) {
	if w.ahead {
		w.step()
	}
	for {
		if len(w.own) == 0 {
			if !w.valid {
				return nil, nil, false
			}
			w.ahead = true
			return w.it.Key(), w.it.Value(), true
		}
		at := w.own[len(w.own)-1]
		if w.up {
			at = w.own[0]
		}
		r := &w.rows.rows[at]
		if w.valid {
			order := bytes.Compare(w.it.Key(), r.key)
			if order < 0 == w.up && order != 0 {
				w.ahead = true
				return w.it.Key(), w.it.Value(), true
			}
			if order == 0 {
				w.step()
			}
		}
		if w.up {
			w.own = w.own[1:]
		} else {
			w.own = w.own[:len(w.own)-1]
		}
		if !r.del {
			return r.key, r.val, true
		}
	}
}

// Rows reads the rows of one collection, in a transaction or in a snapshot: for types that are walked in both.
type Rows interface {
	// String hands out a string part by part in order; the views are valid during the call of f only.
	String(f func(part []byte) error) error
	Elements(f func(Element) (more bool)) error
	GetOrdered(sortKey []byte) ([]byte, bool, error)
	ScanOrdered(from, to []byte, f func(sortKey, value []byte) (more bool)) error
}

// Rows are those of the collection m of key e.
func (t *Txn) Rows(e *Entry, m *encoding.Meta) Rows { return txnRows{t, e, m} }

type txnRows struct {
	t *Txn
	e *Entry
	m *encoding.Meta
}

func (r txnRows) String(f func([]byte) error) error {
	return r.t.EachPart(r.e, 0, r.e.Meta.Length(), f)
}

func (r txnRows) Elements(f func(Element) bool) error { return r.t.ScanElements(r.e, r.m, 0, f) }

func (r txnRows) GetOrdered(sortKey []byte) ([]byte, bool, error) {
	return r.t.GetOrdered(r.e, r.m, sortKey)
}

func (r txnRows) ScanOrdered(from, to []byte, f func(sortKey, value []byte) bool) error {
	return r.t.ScanOrdered(r.e, r.m, from, to, f)
}

// Rows are those of the collection m of a database.
func (s *Snapshot) Rows(db int, m *encoding.Meta) Rows { return snapshotRows{s, db, m} }

type snapshotRows struct {
	s  *Snapshot
	db int
	m  *encoding.Meta
}

func (r snapshotRows) String(f func([]byte) error) error {
	if v, whole := r.m.Whole(); whole {
		return f(v)
	}
	return eachPiece(r.m, 0, r.m.Length(), func(g func(k, v []byte) bool) error { return r.ScanOrdered(nil, nil, g) }, f)
}

func (r snapshotRows) Elements(f func(Element) bool) error { return r.s.Elements(r.db, r.m, f) }

func (r snapshotRows) GetOrdered(sortKey []byte) ([]byte, bool, error) {
	return r.s.GetOrdered(r.db, r.m, sortKey)
}

func (r snapshotRows) ScanOrdered(from, to []byte, f func(sortKey, value []byte) bool) error {
	return r.s.ScanOrdered(r.db, r.m, from, to, f)
}
