package keyspace

import (
	"bytes"
	"cmp"
	"errors"
	"sort"

	"haypile/internal/encoding"
	"haypile/internal/slot"
)

// smallCollection is how many elements are deleted one by one with their collection; a larger one leaves a
// garbage row and is reclaimed in the background.
const smallCollection = 64

// NewCollection is the metadata of an empty collection of a type for the key, to be filled and Put. The
// deadline is none.
func (t *Txn) NewCollection(e *Entry, typ encoding.Type) encoding.Meta {
	return encoding.Meta{Type: typ, Birth: e.slot, ID: t.store.newCollection()}
}

func (t *Txn) elementRow(e *Entry, m *encoding.Meta, member []byte) ([]byte, uint64) {
	mem := t.memory(m)
	k := mem.keep(encoding.AppendElement(mem.take(len(member)+keyRowMax), e.space, m.Birth, m.ID, member))
	return k, rowHash(k)
}

// GetElement reads the value of a member of the collection m of key e.
func (t *Txn) GetElement(e *Entry, m *encoding.Meta, member []byte) ([]byte, bool, error) {
	v, _, ok, err := t.GetTimed(e, m, member)
	return v, ok, err
}

// GetTimed is GetElement with the member's deadline (0 = none), even if it has passed.
func (t *Txn) GetTimed(e *Entry, m *encoding.Meta, member []byte) (value []byte, deadline int64, found bool, err error) {
	k, h := t.elementRow(e, m, member)
	v, ok, err := t.read(h, k)
	if err != nil || !ok {
		return nil, 0, false, err
	}
	v, deadline, err = encoding.ParseElementValue(v)
	return v, deadline, err == nil, err
}

// PutElement stores a member's value. The caller keeps m.Count and Puts m.
func (t *Txn) PutElement(e *Entry, m *encoding.Meta, member, value []byte) {
	t.PutTimed(e, m, member, value, 0)
}

// PutTimed is PutElement with a deadline (0 = none). The caller keeps encoding.Timed and its rows.
func (t *Txn) PutTimed(e *Entry, m *encoding.Meta, member, value []byte, deadline int64) {
	k, h := t.elementRow(e, m, member)
	mem := t.memory(m)
	v := mem.keep(encoding.AppendElementValue(mem.take(len(value)+1+8), value, deadline))
	t.put(m, row{hash: h, key: k, val: v, point: true})
}

// RemoveElement deletes a member, which must exist.
func (t *Txn) RemoveElement(e *Entry, m *encoding.Meta, member []byte) {
	k, h := t.elementRow(e, m, member)
	t.write(row{hash: h, key: k, del: true, point: true})
}

// Element is one member of a collection in the order of hashes.
type Element struct {
	Hash   uint64
	Member []byte
	Value  []byte
	// Deadline is that of a hash's field, perhaps past; 0 = none.
	Deadline int64
}

// ScanElements walks the members of m from a hash on, in the order of (hash, member), until f says stop.
// The views are valid during the call of f only.
func (t *Txn) ScanElements(e *Entry, m *encoding.Meta, from uint64, f func(Element) (more bool)) error {
	w, err := t.WalkElements(e, m)
	if err != nil {
		return err
	}
	err = w.From(from, f)
	if closed := w.Close(); err == nil {
		err = closed
	}
	return err
}

// Elements is a collection of which several parts are looked at, with one iterator: to open one costs more than to
// move it, least of all forwards. It shows what was there when it was made.
type Elements struct {
	rows  span
	space encoding.Space
	birth slot.Slot
	id    encoding.Collection
}

// WalkElements opens the elements of m; they must be closed.
func (t *Txn) WalkElements(e *Entry, m *encoding.Meta) (es Elements, err error) {
	es = Elements{space: e.space, birth: m.Birth, id: m.ID}
	upper := encoding.PrefixEnd(encoding.AppendCollection(nil, es.space, es.birth, es.id))
	es.rows, err = t.span(es.row(0), upper)
	return es, err
}

// row begins the rows of the members from a hash on.
func (es *Elements) row(hash uint64) []byte {
	return encoding.AppendElementFrom(nil, es.space, es.birth, es.id, max(hash, firstHash))
}

// firstHash is the first of the elements: with the hash 0 stand the ordered rows.
const firstHash = 1

// From visits the members from a hash on, as ScanElements does.
func (es *Elements) From(hash uint64, f func(Element) (more bool)) error {
	var bad error
	es.rows.from(es.row(hash), func(k, v []byte) bool {
		var el Element
		var ok bool
		if el.Hash, el.Member, ok = encoding.ParseElement(k); !ok {
			bad = encoding.ErrCorrupt
			return false
		}
		if el.Value, el.Deadline, bad = encoding.ParseElementValue(v); bad != nil {
			return false
		}
		return f(el)
	})
	return cmp.Or(bad, es.rows.it.err)
}

// Close ends the walk; the error is that of a visit, too.
func (es *Elements) Close() error { return es.rows.it.Close() }

// dropCollection deletes what stands behind metadata that is being replaced.
func (t *Txn) dropCollection(sp encoding.Space, m *encoding.Meta) error {
	if m.Type == encoding.String && m.Pieces() <= smallCollection {
		t.dropPieces(sp, m)
		return nil
	}
	// The rows of a stream are more than its count says; and before the first row of a list or a stream, or the first
	// deadline of a hash, there may be tombstones by the million.
	if m.Count > smallCollection || m.Type == encoding.Stream || m.Type == encoding.List ||
		m.HasTimed() {
		k := t.mem.keep(encoding.AppendGarbage(t.mem.take(keyRowMax), sp, m.Birth, m.ID))
		t.write(row{hash: rowHash(k), key: k})
		return nil
	}
	lower := encoding.AppendCollection(nil, sp, m.Birth, m.ID)
	var keys [][]byte
	err := t.scan(lower, encoding.PrefixEnd(lower), func(k, _ []byte) bool {
		keys = append(keys, t.mem.copyOf(k))
		return true
	})
	for _, k := range keys {
		t.write(row{hash: rowHash(k), key: k, del: true, point: true})
	}
	return err
}

// moveCollection copies the elements of m into the space of dst, where ids of another space mean nothing,
// and drops the old ones. MOVE between databases is the only caller; it costs O(elements).
func (t *Txn) moveCollection(from encoding.Space, dst *Entry, m encoding.Meta) error {
	old := m
	if err := t.copyElements(from, &old, dst, &m); err != nil {
		return err
	}
	if err := t.dropCollection(from, &old); err != nil {
		return err
	}
	return t.Put(dst, m)
}

// Copy gives dst, which must not exist physically, a copy of the value and deadline of src.
func (t *Txn) Copy(src, dst *Entry) error {
	m := src.Meta
	if m.InRows() {
		if err := t.copyElements(src.space, &src.Meta, dst, &m); err != nil {
			return err
		}
	}
	return t.Put(dst, m)
}

// copyElements gives m a new collection with the elements of old.
func (t *Txn) copyElements(from encoding.Space, old *encoding.Meta, dst *Entry, m *encoding.Meta) error {
	m.ID, m.Birth = t.store.newCollection(), dst.slot
	bulk := m.Type == encoding.String && m.Length() > maxCached
	lower := encoding.AppendCollection(nil, from, old.Birth, old.ID)
	head := len(lower)
	t.Fill(dst, m)
	f := t.filling
	err := t.scan(lower, encoding.PrefixEnd(lower), func(k, v []byte) bool {
		mem := f.memory()
		nk := mem.keep(append(encoding.AppendCollection(mem.take(len(k)), dst.space, m.Birth, m.ID), k[head:]...))
		f.add(row{hash: rowHash(nk), key: nk, val: f.memory().copyOf(v), point: true, bulk: bulk})
		return f.err == nil
	})
	return errors.Join(err, t.Filled(m))
}

// drain makes the engine have all that a walk has to see.
func (t *Txn) drain() error {
	if t.pin != nil {
		return nil
	}
	return t.store.Drain()
}

// scan walks rows of [lower, upper) as the transaction sees them. Rows that f writes are not visited.
func (t *Txn) scan(lower, upper []byte, f func(k, v []byte) (more bool)) error {
	s, err := t.span(lower, upper)
	if err != nil {
		return err
	}
	merge(s.it, s.it.First(), s.own, f)
	return s.it.Close()
}

// span is a range of rows as a transaction sees it at one moment.
type span struct {
	it  *cursor
	own []*row
}

func (t *Txn) span(lower, upper []byte) (s span, err error) {
	if t.hot {
		return s, ErrCold
	}
	if err := t.drain(); err != nil {
		return s, err
	}
	for _, i := range t.rows.between(lower, upper) {
		c := t.rows.rows[i]
		s.own = append(s.own, &c)
	}
	s.it, err = t.cursor(lower, upper)
	return s, err
}

// from visits the rows from a key on until f says stop.
func (s span) from(key []byte, f func(k, v []byte) (more bool)) {
	at := sort.Search(len(s.own), func(i int) bool { return bytes.Compare(s.own[i].key, key) >= 0 })
	merge(s.it, s.it.SeekGE(key), s.own[at:], f)
}

// merge walks the engine's rows and a transaction's own, which win, in order. ok reports whether the cursor stands on
// a row.
func merge(it *cursor, ok bool, own []*row, f func(k, v []byte) bool) {
	for ok || len(own) > 0 {
		order := -1 // engine first
		if !ok {
			order = 1
		} else if len(own) > 0 {
			order = bytes.Compare(it.Key(), own[0].key)
		}
		if order < 0 {
			if !f(it.Key(), it.Value()) {
				return
			}
			ok = it.Next()
			continue
		}
		if r := own[0]; !r.del && !f(r.key, r.val) {
			return
		}
		own = own[1:]
		if order == 0 {
			ok = it.Next()
		}
	}
}
