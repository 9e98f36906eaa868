// Package hash is the hash type over a keyspace transaction: fields are elements of the key's collection,
// each a row of its own, and the metadata counts them. No operation holds more of a hash in memory than it
// was asked for.
//
// A Hash belongs to the goroutine of its transaction; the package keeps no state. Byte slices that it
// returns live until the transaction's Reset, those handed to callbacks only during the call.
package hash

import (
	"errors"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
)

// ErrWrongType is returned for a key that holds another type.
var ErrWrongType = errors.New("the key holds no hash")

// Hash is the hash at a key, perhaps empty. It stays right while the key is changed through it alone.
// Changes reach the transaction with Save.
type Hash struct {
	tx   *keyspace.Txn
	key  keyspace.Entry
	meta encoding.Meta
	// changed is set by anything that Save must tell of.
	changed bool
}

// Open reads the hash at key; a missing key is an empty hash.
func Open(tx *keyspace.Txn, key []byte) (Hash, error) {
	e, err := tx.Lookup(key)
	if err != nil {
		return Hash{}, err
	}
	return At(tx, e)
}

// At is the hash at a key that was looked up.
func At(tx *keyspace.Txn, e keyspace.Entry) (Hash, error) {
	h := Hash{tx: tx, key: e}
	if !e.Found {
		return h, nil
	}
	if e.Meta.Type != encoding.Hash {
		return h, ErrWrongType
	}
	h.meta = e.Meta
	return h, nil
}

// Len is the number of fields.
func (h *Hash) Len() uint64 { return h.meta.Count }

// Get reads a field.
func (h *Hash) Get(field []byte) (value []byte, found bool, err error) {
	if h.meta.Count == 0 {
		return nil, false, nil
	}
	return h.tx.GetElement(&h.key, &h.meta, field)
}

// Set stores a field and reports whether it is new.
func (h *Hash) Set(field, value []byte) (added bool, err error) {
	_, found, err := h.Get(field)
	if err != nil {
		return false, err
	}
	h.put(field, value, !found)
	return !found, nil
}

// put stores a field of which the caller knows whether it is new.
func (h *Hash) put(field, value []byte, added bool) {
	if h.meta.ID == 0 {
		h.meta = h.tx.NewCollection(&h.key, encoding.Hash)
	}
	h.tx.PutElement(&h.key, &h.meta, field, value)
	if added {
		h.meta.Count++
	}
	h.changed = true
}

// Delete removes a field and reports whether there was one.
func (h *Hash) Delete(field []byte) (bool, error) {
	_, found, err := h.Get(field)
	if err != nil || !found {
		return false, err
	}
	h.tx.RemoveElement(&h.key, &h.meta, field)
	h.meta.Count--
	h.changed = true
	return true, nil
}

// Save stores the metadata if something has changed; a hash without fields is no key.
func (h *Hash) Save() error {
	switch {
	case !h.changed:
		return nil
	case h.meta.Count == 0:
		h.changed = false
		_, err := h.tx.Remove(&h.key)
		h.meta = encoding.Meta{}
		return err
	case h.key.Found && h.key.Meta.ID == h.meta.ID && h.key.Meta.Count == h.meta.Count:
		// The metadata is what it was: watchers need to know, the engine does not.
		h.changed = false
		h.tx.Touch(&h.key)
		return nil
	}
	h.changed = false
	return h.tx.Put(&h.key, h.meta)
}

// Begin makes h a new, empty hash that will replace whatever is at the key, with a deadline (0 = none).
func Begin(tx *keyspace.Txn, e keyspace.Entry, deadline int64) Hash {
	h := Hash{tx: tx, key: e, meta: tx.NewCollection(&e, encoding.Hash)}
	h.meta.Deadline = deadline
	return h
}

// Add stores a field in a hash made by Begin that does not have it yet.
func (h *Hash) Add(field, value []byte) { h.put(field, value, true) }

// Scan visits the fields in the order of their hashes, from a hash on, until f says stop.
func (h *Hash) Scan(from uint64, f func(keyspace.Element) (more bool)) error {
	if h.meta.Count == 0 {
		return nil
	}
	return h.tx.ScanElements(&h.key, &h.meta, from, f)
}

// Page visits fields from a hash on. It stops behind the first n fields, or earlier once the visited bytes
// reach maxBytes and least fields were visited, but never between fields of equal hashes. It returns the
// hash to go on with, 0 at the end.
func (h *Hash) Page(from uint64, n, least, maxBytes int, f func(keyspace.Element)) (next uint64, err error) {
	seen, bytes, last := 0, 0, uint64(0)
	err = h.Scan(from, func(el keyspace.Element) bool {
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

// Compact reports whether Redis would keep the hash in its compact encoding: at most entries fields, none
// of them nor their values longer than size. It looks at no more than entries fields.
func (h *Hash) Compact(entries, size int64) (bool, error) {
	if h.meta.Count > uint64(max(entries, 0)) {
		return false, nil
	}
	small := true
	err := h.Scan(0, func(el keyspace.Element) bool {
		small = int64(len(el.Member)) <= size && int64(len(el.Value)) <= size
		return small
	})
	return small, err
}
