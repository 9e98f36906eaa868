package keyspace

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"haypile/internal/encoding"
)

// What removes very many rows of a collection that stays does not hold them in its transaction. Rows that follow one
// another are cut out: the batch of the commit has one removal of a range. Others are listed in a collection made for
// that, which is filled ahead (see fill); the commit says so in a row of its own, an erasure, and while the locks are
// still held the rows listed are deleted in batches. After a crash that is done again, before anybody reads.

// cut is a range of rows, [lower, upper), that a transaction has removed. Its rows in the overlay are newer.
type cut struct {
	lower, upper []byte
	undo         int
}

func (c *cut) covers(key []byte) bool {
	return bytes.Compare(key, c.lower) >= 0 && bytes.Compare(key, c.upper) < 0
}

// erasure are rows that a transaction has removed and listed.
type erasure struct {
	encoding.Erasure
	of, list []byte // how their keys begin
	undo     int
}

func newErasure(e encoding.Erasure) erasure {
	return erasure{Erasure: e, of: encoding.AppendCollection(nil, e.Space, e.Birth, e.Of),
		list: encoding.AppendCollection(nil, e.Space, e.Birth, e.List)}
}

// listed is the key in the list of a row of the collection, nil for a row of another.
func (er *erasure) listed(key []byte) []byte {
	if !bytes.HasPrefix(key, er.of) {
		return nil
	}
	return append(er.list[:len(er.list):len(er.list)], key[len(er.of):]...)
}

// CutOrdered removes the ordered rows with sort keys of [from, to), whatever their number; a nil to means to the last.
// They must be index rows, or dense ones that nobody will look for: the hot cache is not told.
func (t *Txn) CutOrdered(e *Entry, m *encoding.Meta, from, to []byte) {
	lower, upper := orderedRange(e.space, m, from, to)
	for _, i := range t.rows.between(lower, upper) {
		if r := t.rows.rows[i]; !r.del {
			t.write(row{hash: r.hash, key: r.key, del: true})
		}
	}
	t.cuts = append(t.cuts, cut{lower, upper, len(t.rows.undo)})
	t.rows.note()
}

// Eraser removes rows of a collection, perhaps very many. Done ends it.
type Eraser struct {
	t *Txn
	erasure
	rows *fill
	buf  []byte
}

// Eraser begins to remove rows of m, which is stored.
func (t *Txn) Eraser(e *Entry, m *encoding.Meta) *Eraser {
	list := encoding.Meta{Birth: m.Birth, ID: t.store.newCollection()}
	return &Eraser{t: t, rows: t.newFill(e.space, &list),
		erasure: newErasure(encoding.Erasure{Space: e.space, Birth: m.Birth, Of: m.ID, List: list.ID})}
}

// Element removes a member.
func (er *Eraser) Element(member []byte) {
	er.buf = encoding.AppendElement(er.buf[:0], er.Space, er.Birth, er.Of, member)
	er.remove(true)
}

// Index removes a row that was stored with PutIndex.
func (er *Eraser) Index(sortKey []byte) {
	er.buf = encoding.AppendOrdered(er.buf[:0], er.Space, er.Birth, er.Of, sortKey)
	er.remove(false)
}

func (er *Eraser) remove(point bool) {
	h := rowHash(er.buf)
	if er.t.rows.find(h, er.buf) >= 0 {
		er.t.write(row{hash: h, key: er.t.mem.copyOf(er.buf), del: true, point: point})
		return
	}
	mem := er.rows.memory()
	k := mem.keep(append(append(mem.take(len(er.buf)), er.list...), er.buf[len(er.of):]...))
	er.rows.add(row{hash: h, key: k, point: point}) // the hash is that of the row to be deleted
}

// Done ends it: the transaction does not see the rows any more.
func (er *Eraser) Done() error {
	t, f := er.t, er.rows
	if !f.spilled {
		for _, r := range f.rows {
			k := t.mem.keep(append(append(t.mem.take(len(r.key)), er.of...), r.key[len(er.list):]...))
			t.write(row{hash: r.hash, key: k, del: true, point: r.point})
		}
		f.rows = nil
		return f.err
	}
	if f.flush(); f.err != nil {
		return f.err
	}
	er.undo = len(t.rows.undo)
	t.erased = append(t.erased, er.erasure)
	k := encoding.AppendErasure(nil, &er.Erasure)
	t.write(row{hash: rowHash(k), key: k})
	return nil
}

// removed reports whether a row that is not in the overlay has been cut out or erased by the transaction.
func (t *Txn) removed(key []byte) (bool, error) {
	if t.cutAt(key) != nil {
		return true, nil
	}
	for i := range t.erased {
		if k := t.erased[i].listed(key); k != nil {
			if _, found, err := t.store.engineGet(nil, k); err != nil || found {
				return found, err
			}
		}
	}
	return false, nil
}

// cutAt is a cut that a row is in, nil if it is in none.
func (t *Txn) cutAt(key []byte) *cut {
	for i := range t.cuts {
		if t.cuts[i].covers(key) {
			return &t.cuts[i]
		}
	}
	return nil
}

// removes reports whether the transaction has removed rows otherwise than one by one.
func (t *Txn) removes() bool { return len(t.cuts)+len(t.erased) > 0 }

// keep takes a row that is stored again off the lists of those to be deleted.
func (t *Txn) keep(key []byte) {
	for i := range t.erased {
		if k := t.erased[i].listed(key); k != nil {
			t.rows.set(row{hash: rowHash(k), key: k, del: true})
		}
	}
}

// restore forgets what was removed since the undo log had n entries.
func (t *Txn) restore(n int) {
	for len(t.cuts) > 0 && t.cuts[len(t.cuts)-1].undo >= n {
		t.cuts = t.cuts[:len(t.cuts)-1]
	}
	for len(t.erased) > 0 && t.erased[len(t.erased)-1].undo >= n {
		t.erased = t.erased[:len(t.erased)-1]
	}
}

// erasing are the transactions of which rows are still to be deleted. Who looks at all keys at once waits for them.
type erasing struct {
	mu struct {
		sync.Mutex
		n, begun int
		none     sync.Cond
	}
}

func (er *erasing) init() { er.mu.none.L = &er.mu }

func (er *erasing) begin() {
	er.mu.Lock()
	defer er.mu.Unlock()
	er.mu.n++
	er.mu.begun++
}

func (er *erasing) end() {
	er.mu.Lock()
	defer er.mu.Unlock()
	if er.mu.n--; er.mu.n == 0 {
		er.mu.none.Broadcast()
	}
}

// wait waits until there are none, and returns how many have begun.
func (er *erasing) wait() (begun int) {
	er.mu.Lock()
	defer er.mu.Unlock()
	for er.mu.n > 0 {
		er.mu.none.Wait()
	}
	return er.mu.begun
}

// begun is how many have begun so far.
func (er *erasing) begun() int {
	er.mu.Lock()
	defer er.mu.Unlock()
	return er.mu.begun
}

// settleErased deletes the rows that an applied transaction has listed. REQUIRES: its locks.
func (s *Store) settleErased(t *Txn) {
	if len(t.erased) == 0 {
		return
	}
	defer s.erasing.end()
	err := s.Drain()
	for i := range t.erased {
		err = errors.Join(err, s.erase(&t.erased[i]))
	}
	if err != nil {
		p := &s.pending
		p.mu.Lock()
		defer p.mu.Unlock()
		defer p.mu.room.Broadcast()
		p.mu.err = errors.Join(p.mu.err, fmt.Errorf("rows that were removed: %w", err))
	}
}

// erase deletes the rows of a list, which the engine has, and its erasure.
func (s *Store) erase(er *erasure) error {
	it, err := s.engine.Iter(er.list, encoding.PrefixEnd(er.list))
	if err != nil {
		return err
	}
	b := s.engine.NewBatch()
	defer b.Close()
	n := 0
	var key []byte
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		key = append(append(key[:0], er.of...), it.Key()[len(er.list):]...)
		b.Delete(key)
		s.cache.drop(rowHash(key), key)
		if n++; n%eraseBatch == 0 {
			err = s.ahead(b)
			b.Reset()
		}
	}
	if err = errors.Join(err, it.Close()); err != nil {
		return err
	}
	b.Delete(encoding.AppendErasure(nil, &er.Erasure))
	return s.ahead(b)
}

// eraseBatch is the number of rows that are deleted at once.
const eraseBatch = 4 << 10

// resumeErasures ends what a crash has left.
func (s *Store) resumeErasures() error {
	it, err := s.engine.Iter(encoding.ErasurePrefix, encoding.PrefixEnd(encoding.ErasurePrefix))
	if err != nil {
		return err
	}
	var found []erasure
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var e encoding.Erasure
		if e, err = encoding.ParseErasure(it.Key()); err == nil {
			found = append(found, newErasure(e))
		}
	}
	err = errors.Join(err, it.Close())
	for i := range found {
		err = errors.Join(err, s.erase(&found[i]))
	}
	return err
}
