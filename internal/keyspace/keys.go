package keyspace

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sort"

	"haypile/internal/encoding"
	"haypile/internal/slot"
	"haypile/internal/storage"
)

// FoundKey is a key met by a walk. Views are valid during the call only.
type FoundKey struct {
	encoding.KeyRow
	Meta encoding.Meta
}

// ScanKeys walks the keys of a database from a (slot, hash) position on, in the order of (slot, hash, key),
// until f says stop. Keys past their deadline are hidden unless the transaction applies the stream. It sees
// one point in time of the engine and the transaction's own changes.
func (t *Txn) ScanKeys(db int, n slot.Slot, hash uint64, f func(*FoundKey) (more bool)) error {
	return t.scanKeysOf(t.cursor, db, n, hash, f)
}

// ScanStrings walks the strings of a database as ScanKeys does; value reads the one that f is called for, which nobody
// need have locked.
func (t *Txn) ScanStrings(db int, f func(k *FoundKey, value func() ([]byte, error)) error) error {
	if t.pin != nil {
		return t.scanStringsIn(t.pin.snap, db, f)
	}
	if err := t.store.Drain(); err != nil {
		return err
	}
	snap := t.store.engine.Snapshot()
	return errors.Join(t.scanStringsIn(snap, db, f), snap.Close())
}

func (t *Txn) scanStringsIn(snap *storage.Snapshot, db int,
	f func(k *FoundKey, value func() ([]byte, error)) error) error {
	sp := t.space(db)
	open := func(lower, upper []byte) (*cursor, error) {
		it, err := snap.Iter(lower, upper)
		return &cursor{it: it}, err
	}
	var bad error
	err := t.scanKeysOf(open, db, 0, 0, func(k *FoundKey) bool {
		if bad = t.stopped(); bad == nil && k.Meta.Type == encoding.String {
			bad = f(k, func() ([]byte, error) { return t.stringIn(snap, sp, &k.Meta) })
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}

func (t *Txn) scanKeysOf(open func(lower, upper []byte) (*cursor, error), db int, n slot.Slot, hash uint64,
	f func(*FoundKey) (more bool)) error {
	sp := t.space(db)
	lower := encoding.AppendKeyFrom(nil, sp, n, hash)
	upper := encoding.PrefixEnd(encoding.AppendSpace(nil, encoding.TableData, sp))
	var own []*row
	for i := range t.rows.rows {
		r := &t.rows.rows[i]
		if _, isKey := encoding.ParseKey(r.key); isKey && bytes.Compare(r.key, lower) >= 0 &&
			bytes.Compare(r.key, upper) < 0 {
			own = append(own, r)
		}
	}
	sort.Slice(own, func(i, j int) bool { return bytes.Compare(own[i].key, own[j].key) < 0 })
	if err := t.drain(); err != nil {
		return err
	}
	it, err := open(lower, upper)
	if err != nil {
		return err
	}
	return scanKeys(it, sp, own, func(k *FoundKey) bool {
		if t.Expired(k.Meta.Deadline) {
			return true
		}
		return f(k)
	})
}

// scanKeys merges key rows of a cursor, which it closes, with own ones, jumping over the elements in between.
func scanKeys(it *cursor, sp encoding.Space, own []*row, f func(*FoundKey) bool) error {
	var bad error
	visit := func(key encoding.KeyRow, val []byte) bool {
		k := FoundKey{KeyRow: key}
		if bad = encoding.ParseMeta(val, &k.Meta); bad != nil {
			return false
		}
		return f(&k)
	}
	ok := it.First()
	for ok || len(own) > 0 {
		order := 1
		if ok {
			key, isKey := encoding.ParseKey(it.Key())
			if !isKey {
				// Elements of this slot follow its keys: go on with the next slot.
				n := encoding.RowSlot(it.Key())
				if n+1 >= slot.Count {
					ok = false
				} else {
					ok = it.SeekGE(encoding.AppendSlot(nil, sp, n+1))
				}
				continue
			}
			if order = -1; len(own) > 0 {
				order = bytes.Compare(it.Key(), own[0].key)
			}
			if order < 0 {
				if !visit(key, it.Value()) {
					break
				}
				ok = it.Next()
				continue
			}
		}
		if o := own[0]; !o.del {
			if key, _ := encoding.ParseKey(o.key); !visit(key, o.val) {
				break
			}
		}
		own = own[1:]
		if order == 0 {
			ok = it.Next()
		}
	}
	if err := it.Close(); err != nil {
		return err
	}
	return bad
}

// randomWalk is how many keys behind a random position RandomKey chooses from, and up to how many keys in
// all it counts instead: that evens out the unequal gaps between hashes.
const randomWalk = 32

// RandomKey returns a random key of the selected database, nil if there is none.
func (t *Txn) RandomKey() ([]byte, error) {
	var found [][]byte
	take := func(k *FoundKey) bool {
		found = append(found, t.mem.copyOf(k.User))
		return len(found) < randomWalk
	}
	if t.Keys(t.db) > randomWalk {
		err := t.ScanKeys(t.db, slot.Slot(rand.N(slot.Count)), rand.Uint64()>>16, take)
		if err != nil {
			return nil, err
		}
	}
	if len(found) < randomWalk {
		if err := t.ScanKeys(t.db, 0, 0, take); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found[rand.N(len(found))], nil
}

// Snapshot is an unchanging view of all databases with the log offset that it reflects: for digests.
type Snapshot struct {
	store *Store
	snap  *storage.Snapshot
	State encoding.State
}

// Snapshot takes one; Close it.
func (s *Store) Snapshot() (*Snapshot, error) {
	for {
		begun := s.erasing.wait()
		snap, err := s.snapshot()
		if err != nil || s.erasing.begun() == begun {
			return snap, err
		}
		if err := snap.Close(); err != nil { // it may have rows that somebody has removed
			return nil, err
		}
	}
}

// snapshot is Snapshot for those who look at keys that they have locked.
func (s *Store) snapshot() (*Snapshot, error) {
	if err := s.Drain(); err != nil {
		return nil, err
	}
	// Counted first: what this snapshot can see is not cut out while it is open.
	s.snapshots.Add(1)
	snap := &Snapshot{store: s, snap: s.engine.Snapshot()}
	v, ok, err := snap.snap.Get(nil, encoding.StateRow)
	if err == nil && ok {
		snap.State, err = encoding.ParseState(v)
	}
	if err != nil {
		_ = snap.Close()
		return nil, err
	}
	return snap, nil
}

// Close releases it.
func (s *Snapshot) Close() error {
	err := s.snap.Close()
	s.store.snapshots.Add(-1)
	return err
}

// Keys walks all keys of a database, hidden ones too.
func (s *Snapshot) Keys(db int, f func(*FoundKey) (more bool)) error {
	if db >= len(s.State.Databases) {
		return nil
	}
	sp := s.State.Databases[db].Space
	lower := encoding.AppendSpace(nil, encoding.TableData, sp)
	it, err := s.snap.Iter(lower, encoding.PrefixEnd(lower))
	if err != nil {
		return err
	}
	return scanKeys(&cursor{it: it}, sp, nil, f)
}

// Elements walks the members of a collection of a database.
func (s *Snapshot) Elements(db int, m *encoding.Meta, f func(Element) (more bool)) error {
	sp := s.State.Databases[db].Space
	lower := encoding.AppendElementFrom(nil, sp, m.Birth, m.ID, 1)
	it, err := s.snap.Iter(lower, encoding.PrefixEnd(encoding.AppendCollection(nil, sp, m.Birth, m.ID)))
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		var el Element
		if el.Hash, el.Member, ok = encoding.ParseElement(it.Key()); !ok {
			_ = it.Close()
			return encoding.ErrCorrupt
		}
		if el.Value, el.Deadline, err = encoding.ParseElementValue(it.Value()); err != nil {
			_ = it.Close()
			return err
		}
		if !f(el) {
			break
		}
	}
	return it.Close()
}

// GetOrdered reads an ordered row of a collection of a database; the value is a copy.
func (s *Snapshot) GetOrdered(db int, m *encoding.Meta, sortKey []byte) ([]byte, bool, error) {
	return s.snap.Get(nil, encoding.AppendOrdered(nil, s.State.Databases[db].Space, m.Birth, m.ID, sortKey))
}

// ScanOrdered walks ordered rows of a collection of a database; see Txn.ScanOrdered.
func (s *Snapshot) ScanOrdered(db int, m *encoding.Meta, from, to []byte, f func(sortKey, value []byte) bool) error {
	lower, upper := orderedRange(s.State.Databases[db].Space, m, from, to)
	it, err := s.snap.Iter(lower, upper)
	if err != nil {
		return err
	}
	for ok := it.First(); ok && f(it.Key()[len(lower)-len(from):], it.Value()); ok = it.Next() {
	}
	return it.Close()
}

// DueKey is a key that is past its deadline, or of which a field is.
type DueKey struct {
	DB       int
	User     []byte
	Deadline int64
}

// Due lists up to limit keys whose encoding.Meta.Due has come at now, the oldest of each database first. Rows of the
// expiry index that no key stands behind do not occur outside slot moves.
func (s *Store) Due(now int64, limit int) ([]DueKey, error) {
	var due []DueKey
	for db := range s.dbs {
		if s.dbs[db].expires.Load() == 0 && s.dbs[db].timed.Load() == 0 {
			continue
		}
		if err := s.Drain(); err != nil {
			return nil, err
		}
		sp := s.dbs[db].space()
		lower := encoding.AppendSpace(nil, encoding.TableExpiry, sp)
		it, err := s.engine.Iter(lower, encoding.PrefixEnd(lower))
		if err != nil {
			return nil, err
		}
		for ok := it.First(); ok && len(due) < limit; ok = it.Next() {
			_, deadline, user, valid := encoding.ParseExpiry(it.Key())
			if !valid || deadline > now {
				break
			}
			due = append(due, DueKey{db, append([]byte(nil), user...), deadline})
		}
		if err := it.Close(); err != nil {
			return nil, err
		}
	}
	return due, nil
}
