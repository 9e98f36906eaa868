// Package hash is the hash type: members with values, see package members.
package hash

import (
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/types/members"
)

// Hash is the hash at a key, perhaps empty. Fields are its members.
type Hash struct{ members.Members }

// Open reads the hash at key; a missing key is an empty hash.
func Open(tx *keyspace.Txn, key []byte) (Hash, error) {
	m, err := members.Open(tx, key, encoding.Hash)
	return Hash{m}, err
}

// At is the hash at a key that was looked up.
func At(tx *keyspace.Txn, e keyspace.Entry) (Hash, error) {
	m, err := members.At(tx, e, encoding.Hash)
	return Hash{m}, err
}

// Begin makes a new, empty hash that will replace whatever is at the key, with a deadline (0 = none).
func Begin(tx *keyspace.Txn, e keyspace.Entry, deadline int64) Hash {
	return Hash{members.Begin(tx, e, encoding.Hash, deadline)}
}

// Compact reports whether Redis would keep the hash in its compact encoding: at most entries fields, none
// of them nor their values longer than size. It looks at no more than entries fields.
func (h *Hash) Compact(entries, size int64) (bool, error) {
	if h.Len() > uint64(max(entries, 0)) {
		return false, nil
	}
	small := true
	err := h.Scan(0, func(el keyspace.Element) bool {
		small = int64(len(el.Member)) <= size && int64(len(el.Value)) <= size
		return small
	})
	return small, err
}
