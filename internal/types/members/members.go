// Package members is what hashes, sets and sorted sets have in common, over a keyspace transaction: members are elements of
// the key's collection, each a row of its own with a value (empty in a set), and the metadata counts them. No
// operation holds more of a value in memory than it was asked for.
//
// A Members belongs to the goroutine of its transaction; the package keeps no state. Byte slices that it
// returns live until the transaction's Reset, those handed to callbacks only during the call.
package members

import (
	"bytes"
	"errors"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
)

// ErrWrongType is returned for a key that holds another type.
var ErrWrongType = errors.New("the key holds another type")

// Members is the value at a key, perhaps empty. It stays right while the key is changed through it alone.
// Changes reach the transaction with Save.
type Members struct {
	tx   *keyspace.Txn
	typ  encoding.Type
	key  keyspace.Entry
	meta encoding.Meta
	// timed is of a hash: which of its members have deadlines. Save puts it into the metadata.
	timed encoding.Timed
	// changed is set by anything that Save must tell of.
	changed bool
}

// Open reads the value of a type at key; a missing key is an empty one.
func Open(tx *keyspace.Txn, key []byte, typ encoding.Type) (Members, error) {
	e, err := tx.Lookup(key)
	if err != nil {
		return Members{}, err
	}
	return At(tx, e, typ)
}

// At is the value at a key that was looked up. It is small enough to be inlined: Members are copied as they are handed
// up.
func At(tx *keyspace.Txn, e keyspace.Entry, typ encoding.Type) (m Members, err error) {
	m = Members{tx: tx, typ: typ, key: e}
	if e.Found {
		err = m.read()
	}
	return m, err
}

// read takes over the metadata of the key.
func (m *Members) read() (err error) {
	if m.key.Meta.Type != m.typ {
		return ErrWrongType
	}
	if m.meta = m.key.Meta; len(m.meta.Extra) > 0 {
		m.timed, err = m.meta.Timed()
	}
	return err
}

// Key is the key.
func (m *Members) Key() *keyspace.Entry { return &m.key }

// Len is the number of members, with those past their deadline that nobody has removed yet; see Live.
func (m *Members) Len() uint64 { return m.meta.Count }

// Parts are the transaction, the key and the metadata: for types that keep further rows in the collection. What
// they change in Meta.Extra is stored by Save.
func (m *Members) Parts() (*keyspace.Txn, *keyspace.Entry, *encoding.Meta) {
	return m.tx, &m.key, &m.meta
}

// Get reads the value of a member.
func (m *Members) Get(member []byte) (value []byte, found bool, err error) {
	value, _, found, err = m.GetTimed(member)
	return value, found, err
}

// Set stores a member, without a deadline, and reports whether it is new.
func (m *Members) Set(member, value []byte) (added bool, err error) {
	_, old, found, err := m.GetTimed(member)
	if err != nil {
		return false, err
	}
	m.put(member, value, !found, old, 0)
	return !found, nil
}

// put stores a member of which the caller knows whether it is new, with a deadline in place of the old one.
func (m *Members) put(member, value []byte, added bool, old, deadline int64) {
	if m.meta.ID == 0 {
		m.meta = m.tx.NewCollection(&m.key, m.typ)
	}
	if added {
		m.note(member, true)
	}
	m.tx.PutTimed(&m.key, &m.meta, member, value, deadline)
	if added {
		m.meta.Count++
	}
	if old != deadline {
		m.retime(member, old, deadline)
	}
	m.changed = true
}

// Delete removes a member and reports whether there was one.
func (m *Members) Delete(member []byte) (bool, error) {
	_, deadline, found, err := m.GetTimed(member)
	if err != nil || !found {
		return false, err
	}
	m.remove(member, deadline)
	return true, nil
}

// Take removes a member that was drawn, from a value whose members have no deadlines.
func (m *Members) Take(member []byte) { m.remove(member, 0) }

// remove removes a member that is there, with its deadline.
func (m *Members) remove(member []byte, deadline int64) {
	m.note(member, false)
	m.tx.RemoveElement(&m.key, &m.meta, member)
	m.meta.Count--
	if deadline != 0 {
		m.retime(member, deadline, 0)
	}
	m.changed = true
}

// Removed counts members that were removed by their rows, without the value's knowledge.
func (m *Members) Removed(n uint64) {
	m.meta.Count -= n
	m.changed = true
}

// Clear removes all members at once, and with them the key.
func (m *Members) Clear() error {
	_, err := m.tx.Remove(&m.key)
	m.meta, m.timed, m.changed = encoding.Meta{}, encoding.Timed{}, false
	return err
}

// Save stores the metadata if something has changed; a value without members is no key.
func (m *Members) Save() error {
	m.encodeTimed()
	if err := m.tx.Filled(&m.meta); err != nil {
		return err
	}
	switch {
	case !m.changed:
		return nil
	case m.meta.Count == 0:
		m.changed = false
		if m.typ != encoding.ZSet {
			m.tx.DropForm(m.meta.ID)
		}
		if m.key.Found && m.key.Meta.ID == m.meta.ID {
			m.meta = encoding.Meta{}
			m.tx.RemoveEmpty(&m.key)
			return nil
		}
		_, err := m.tx.Remove(&m.key)
		m.meta = encoding.Meta{}
		return err
	case m.key.Found && m.key.Meta.ID == m.meta.ID && m.key.Meta.Count == m.meta.Count &&
		bytes.Equal(m.key.Meta.Extra, m.meta.Extra):
		// The metadata is what it was: watchers need to know, the engine does not.
		m.changed = false
		m.tx.Touch(&m.key)
		return nil
	}
	m.changed = false
	return m.tx.Put(&m.key, m.meta)
}

// Begin makes a new, empty value that will replace whatever is at the key, with a deadline (0 = none). Until Save its
// members cannot be looked up.
func Begin(tx *keyspace.Txn, e keyspace.Entry, typ encoding.Type, deadline int64) Members {
	m := Members{tx: tx, typ: typ, key: e, meta: tx.NewCollection(&e, typ)}
	m.meta.Deadline = deadline
	tx.Fill(&e, &m.meta)
	return m
}

// Add stores a member in a value made by Begin that does not have it yet.
func (m *Members) Add(member, value []byte) { m.put(member, value, true, 0, 0) }

// Scan visits the members in the order of their hashes, from a hash on, until f says stop.
func (m *Members) Scan(from uint64, f func(keyspace.Element) (more bool)) error {
	if m.meta.Count == 0 {
		return nil
	}
	if m.mayBeDue() {
		all := f
		f = func(el keyspace.Element) bool { return m.tx.Expired(el.Deadline) || all(el) }
	}
	return m.tx.ScanElements(&m.key, &m.meta, from, f)
}

// Page visits members from a hash on. It stops behind the first n members, or earlier once the visited bytes
// reach maxBytes and least members were visited, but never between members of equal hashes. It returns the
// hash to go on with, 0 at the end.
func (m *Members) Page(from uint64, n, least, maxBytes int, f func(keyspace.Element)) (next uint64, err error) {
	seen, bytes, last := 0, 0, uint64(0)
	err = m.Scan(from, func(el keyspace.Element) bool {
		full := seen >= n || seen >= least && bytes >= maxBytes
		if full && el.Hash != last {
			next = el.Hash
			return false
		}
		f(el)
		seen, last = seen+1, el.Hash
		bytes += len(el.Member) + len(el.Value)
		return true
	})
	return next, err
}
