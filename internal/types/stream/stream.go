// Package stream is the stream type over a keyspace transaction: entries in the order of their IDs, each a row of its
// own; consumer groups, consumers and what is pending are rows too. The metadata knows the first and the last ID, so
// that adding an entry reads nothing, and no walk begins among the tombstones of what was trimmed. No operation holds
// more of a stream or of a pending list in memory than it was asked for.
//
// A Stream belongs to the goroutine of its transaction; the package keeps no state. Byte slices that it returns live
// until the transaction's Reset, those handed to callbacks only during the call.
package stream

import (
	"cmp"
	"errors"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
)

// ErrWrongType is returned for a key that holds another type.
var ErrWrongType = errors.New("the key holds another type")

// Stream is the stream at a key; see Exists. It stays right while the key is changed through it alone. Changes reach
// the transaction with Save.
type Stream struct {
	head
	tx   *keyspace.Txn
	key  keyspace.Entry
	meta encoding.Meta
	// changed: the metadata must be stored. touched: rows have changed, and watchers need to know.
	changed, touched bool
	// headless: the first entry was deleted, and First is not up to date.
	headless bool
}

// Open reads the stream at key.
func Open(tx *keyspace.Txn, key []byte) (*Stream, error) {
	e, err := tx.Lookup(key)
	if err != nil {
		return nil, err
	}
	return At(tx, e)
}

// At is the stream at a key that was looked up.
func At(tx *keyspace.Txn, e keyspace.Entry) (*Stream, error) {
	s := &Stream{tx: tx, key: e}
	if !e.Found {
		return s, nil
	}
	if e.Meta.Type != encoding.Stream {
		return s, ErrWrongType
	}
	s.meta = e.Meta
	return s, parseHead(e.Meta.Extra, &s.head)
}

// Begin makes a new, empty stream that will replace whatever is at the key, with a deadline (0 = none).
func Begin(tx *keyspace.Txn, e keyspace.Entry, deadline int64) *Stream {
	s := &Stream{tx: tx, key: e, meta: tx.NewCollection(&e, encoding.Stream), changed: true}
	s.meta.Deadline = deadline
	return s
}

// Exists reports whether there is a stream at the key, perhaps empty.
func (s *Stream) Exists() bool { return s.meta.ID != 0 }

// Create makes an empty stream if there is none.
func (s *Stream) Create() {
	if !s.Exists() {
		s.meta = s.tx.NewCollection(&s.key, encoding.Stream)
		s.changed = true
	}
}

// Key is the user's key.
func (s *Stream) Key() []byte { return s.key.User }

// Len is the number of entries.
func (s *Stream) Len() uint64 { return s.meta.Count }

// Save stores the metadata if it has changed.
func (s *Stream) Save() error {
	if err := s.findFirst(); err != nil {
		return err
	}
	if s.changed {
		s.changed, s.touched = false, false
		s.meta.Extra = appendHead(nil, &s.head)
		return s.tx.Put(&s.key, s.meta)
	}
	if s.touched {
		s.touched = false
		s.tx.Touch(&s.key)
	}
	return nil
}

// findFirst finds the first entry again after it was deleted.
func (s *Stream) findFirst() error {
	if !s.headless {
		return nil
	}
	s.headless, s.changed = false, true
	from := s.First
	s.First = ID{}
	if s.meta.Count == 0 {
		return nil
	}
	return s.Range(from, Max, func(id ID, _ Fields) bool {
		s.First = id
		return false
	})
}

// Add appends an entry, whose ID must be higher than Last.
func (s *Stream) Add(id ID, fields [][]byte) {
	s.Create()
	row := appendEntry(make([]byte, 0, entrySize(fields)), fields)
	s.own().append(id, row, s.room())
	s.tx.PutIndex(&s.key, &s.meta, entryKey(id), row)
	if s.meta.Count == 0 {
		s.First = id
	}
	s.meta.Count++
	s.Added++
	s.Last, s.changed = id, true
}

// Get reads an entry.
func (s *Stream) Get(id ID) (f Fields, found bool, err error) {
	if s.meta.Count == 0 || id.Less(s.First) || s.Last.Less(id) {
		return f, false, nil
	}
	v, found, known := s.known(id)
	if !known {
		v, found, err = s.tx.GetIndex(&s.key, &s.meta, entryKey(id))
	}
	if err != nil || !found {
		return f, false, err
	}
	f, err = parseEntry(v)
	return f, err == nil, err
}

// Range visits the entries from an ID to another, both included, until visit says stop.
func (s *Stream) Range(from, to ID, visit func(ID, Fields) (more bool)) error {
	return s.walk(from, to, true, visit)
}

// RangeBack is Range in descending order.
func (s *Stream) RangeBack(from, to ID, visit func(ID, Fields) (more bool)) error {
	return s.walk(from, to, false, visit)
}

// Top is the ID of the last entry, 0-0 if there is none; Last may be that of an entry that was deleted.
func (s *Stream) Top() (top ID, err error) {
	err = s.RangeBack(ID{}, Max, func(id ID, _ Fields) bool {
		top = id
		return false
	})
	return top, err
}

// Delete removes an entry and reports whether there was one.
func (s *Stream) Delete(id ID) (bool, error) {
	_, found, err := s.Get(id)
	if err != nil || !found {
		return false, err
	}
	s.own().remove(id)
	s.tx.RemoveIndex(&s.key, &s.meta, entryKey(id))
	s.meta.Count--
	s.changed = true
	s.headless = s.headless || id == s.First
	if s.MaxDeleted.Less(id) {
		s.MaxDeleted = id
	}
	return true, nil
}

// SetLast sets the last ID.
func (s *Stream) SetLast(id ID) { s.Last, s.changed = id, true }

// SetAdded sets the number of entries ever added.
func (s *Stream) SetAdded(n uint64) { s.Added, s.changed = n, true }

// SetMaxDeleted sets the highest ID that was deleted.
func (s *Stream) SetMaxDeleted(id ID) { s.MaxDeleted, s.changed = id, true }

// NodeEntries is the number of entries in a node of Redis' streams, by which trimming with "~" goes.
const NodeEntries = 100

// Trimming says what Trim removes.
type Trimming struct {
	// ByID removes entries before MinID; otherwise all but the newest MaxLen go.
	ByID   bool
	MinID  ID
	MaxLen uint64
	// Approx removes whole nodes only, of together at most Limit entries (0: any number).
	Approx bool
	Limit  uint64
}

// Trim removes entries from the front and returns how many. A few are looked up first (see runs); otherwise it walks over those
// that it removes and one more, or over those that stay if they are far fewer; if there are none to remove it reads
// nothing.
func (s *Stream) Trim(t Trimming) (removed uint64, err error) {
	if s.meta.Count == 0 || t.ByID && !s.First.Less(t.MinID) || !t.ByID && s.meta.Count <= t.MaxLen {
		return 0, nil
	}
	// most are the entries that go; by ID they may not be known yet, and it is the length.
	most, known := s.meta.Count-t.MaxLen, true
	if t.ByID {
		if most, known, err = s.before(t.MinID); err != nil {
			return 0, err
		}
	}
	if t.Approx {
		if t.Limit > 0 {
			most = min(most, t.Limit)
		}
		if !known {
			if most, err = s.countBefore(t.MinID, most); err != nil {
				return 0, err
			}
		}
		known = true
		// The last node may be a part of one.
		if most < s.meta.Count {
			most -= most % NodeEntries
		}
		if most == 0 {
			return 0, nil
		}
	}
	if known && most < few {
		return most, s.dropFirst(most)
	}
	stay, few, err := s.fewStay(t, most, known)
	if err != nil {
		return 0, err
	}
	if few {
		removed = s.meta.Count - stay
		return removed, s.keepLast(stay)
	}
	return s.dropUntil(t, most)
}

// dropUntil removes the first entries: most, or, by ID, fewer.
func (s *Stream) dropUntil(t Trimming, most uint64) (removed uint64, err error) {
	first := ID{}
	var ids []ID // of those that go, until they are many
	err = s.scan(s.First, Max, true, func(id ID, _ Fields) bool {
		if removed == most || t.ByID && !id.Less(t.MinID) {
			first = id
			return false
		}
		if removed++; s.tx.Many(removed) {
			ids = nil
		} else {
			ids = append(ids, id)
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	if s.tx.Many(removed) {
		end := entriesEnd
		if !first.IsZero() {
			end = entryKey(first)
		}
		s.tx.CutOrdered(&s.key, &s.meta, entryKey(s.First), end)
	}
	for _, id := range ids {
		s.tx.RemoveIndex(&s.key, &s.meta, entryKey(id))
	}
	s.meta.Count -= removed
	s.First, s.changed = first, true
	s.own().removeBefore(cmp.Or(first, Max))
	return removed, nil
}

// Foresee reads what trimming will need after an entry was added, so that it fails, if it has to, before the first
// change; see own.
func (s *Stream) Foresee(t Trimming) (err error) {
	switch {
	case s.meta.Count == 0:
	case t.ByID:
		_, _, err = s.before(t.MinID)
	case s.meta.Count >= t.MaxLen:
		n := s.meta.Count + 1 - t.MaxLen
		if t.Approx {
			n -= n % NodeEntries
		}
		if n > 0 {
			_, err = s.firstIDs(min(n, few))
		}
	}
	return err
}

// Where at least dropMin entries go and at most one of keepShare stays, those that stay are copied and the others
// dropped with their collection, in the background. Groups have rows in the collection too, so there must be none.
const (
	dropMin   = 4096
	keepShare = 8
)

// fewStay reports whether trimming is done so, and how many entries stay. most are the entries that go, if that is known.
func (s *Stream) fewStay(t Trimming, most uint64, known bool) (stay uint64, few bool, err error) {
	limit := s.meta.Count / keepShare
	if s.Groups > 0 || most < dropMin || !s.key.Found || s.key.Meta.ID != s.meta.ID {
		return 0, false, nil
	}
	if stay = s.meta.Count - most; !known {
		err = s.RangeBack(t.MinID, Max, func(ID, Fields) bool {
			stay++
			return stay <= limit
		})
	}
	return stay, stay <= limit, err
}

// keepLast moves the last n entries to a collection of their own, and lets go of the others.
func (s *Stream) keepLast(n uint64) error {
	meta := s.tx.NewCollection(&s.key, encoding.Stream)
	meta.Deadline, meta.Count = s.meta.Deadline, n
	first := ID{}
	var err error
	if n > 0 {
		left := n
		s.tx.Fill(&s.key, &meta)
		err = s.RangeBack(ID{}, Max, func(id ID, f Fields) bool {
			row := append(appendUvarints([]byte{format}, f.n), f.b...)
			s.tx.PutIndex(&s.key, &meta, entryKey(id), row)
			first = id
			left--
			return left > 0
		})
		err = errors.Join(err, s.tx.Filled(&meta))
	}
	s.meta, s.First, s.changed = meta, first, true
	return err
}

// countBefore counts the entries before an ID, up to a number.
func (s *Stream) countBefore(id ID, most uint64) (n uint64, err error) {
	err = s.Range(s.First, Max, func(at ID, _ Fields) bool {
		if n == most || !at.Less(id) {
			return false
		}
		n++
		return true
	})
	return n, err
}

// Entries visits all entries of the stream m, in a transaction or a snapshot.
func Entries(rows keyspace.Rows, m *encoding.Meta, visit func(ID, Fields)) error {
	var h head
	if err := parseHead(m.Extra, &h); err != nil {
		return err
	}
	if m.Count == 0 {
		return nil
	}
	var bad error
	err := rows.ScanOrdered(entryKey(h.First), entriesEnd, func(k, v []byte) bool {
		var f Fields
		if f, bad = parseEntry(v); bad == nil {
			visit(DecodeID(k[1:]), f)
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}

// RowsFrom is the sort key from which on a walk over all rows of a stream begins: rows before it do not exist.
func (s *Stream) RowsFrom() []byte { return entryKey(s.First) }
