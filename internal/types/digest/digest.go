// Package digest computes DEBUG DIGEST and DEBUG DIGEST-VALUE as Redis does, so that nodes, and
// nodes and a real Redis, can be compared. The order of keys and of fields does not matter to it. Keys past
// their deadline that have not been deleted yet count: two nodes at equal log offsets agree about them.
//
// It works on an unchanging view and may run beside everything else; no state, no locks.
package digest

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"strconv"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/types/list"
	"haypile/internal/types/stream"
	"haypile/internal/types/zset"
)

// sum is a digest in the making.
type sum [sha1.Size]byte

// xor adds data in a way in which order does not matter.
func (s *sum) xor(data []byte) {
	for i, b := range sha1.Sum(data) {
		s[i] ^= b
	}
}

// mix adds data in a way in which order matters.
func (s *sum) mix(data []byte) {
	s.xor(data)
	*s = sha1.Sum(s[:])
}

// mixHash is mix for data of which h has the SHA-1.
func (s *sum) mixHash(h hash.Hash) {
	for i, b := range h.Sum(nil) {
		s[i] ^= b
	}
	*s = sha1.Sum(s[:])
}

func (s *sum) mixNumber(n uint32) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	s.mix(b[:])
}

func (s *sum) String() string { return hex.EncodeToString(s[:]) }

// typeNumber is Redis' number of a type.
func typeNumber(t encoding.Type) (uint32, error) {
	switch t {
	case encoding.String:
		return 0, nil
	case encoding.List:
		return 1, nil
	case encoding.Set:
		return 2, nil
	case encoding.ZSet:
		return 3, nil
	case encoding.Hash:
		return 4, nil
	case encoding.Stream:
		return 6, nil
	}
	return 0, fmt.Errorf("digest of type %v: %w", t, encoding.ErrCorrupt)
}

// value adds the value of a key and whether it has a deadline.
func (s *sum) value(m *encoding.Meta, rows keyspace.Rows) error {
	n, err := typeNumber(m.Type)
	if err != nil {
		return err
	}
	s.mixNumber(n)
	switch m.Type {
	case encoding.String:
		h := sha1.New()
		err = rows.String(func(part []byte) error {
			_, err := h.Write(part)
			return err
		})
		s.mixHash(h)
	case encoding.List:
		err = list.Scan(m, rows, func(v []byte) bool {
			s.mix(v)
			return true
		})
	case encoding.Set:
		err = rows.Elements(func(el keyspace.Element) bool {
			s.xor(el.Member)
			return true
		})
	case encoding.Hash:
		err = rows.Elements(func(el keyspace.Element) bool {
			var field sum
			field.mix(el.Member)
			field.mix(el.Value)
			if el.Deadline != 0 {
				field.xor([]byte("!!hexpire!!"))
			}
			s.xor(field[:])
			return true
		})
	case encoding.ZSet:
		var bad error
		err = rows.Elements(func(el keyspace.Element) bool {
			var score float64
			if score, bad = zset.ParseScore(el.Value); bad != nil {
				return false
			}
			var entry sum
			entry.mix(el.Member)
			entry.mix(printed(score))
			s.xor(entry[:])
			return true
		})
		err = cmp.Or(err, bad)
	case encoding.Stream:
		// The groups do not count, in Redis neither.
		err = stream.Entries(rows, m, func(id stream.ID, f stream.Fields) {
			s.mix(fmt.Appendf(nil, "%d.%d", id.MS, id.Seq))
			f.All(s.mix)
		})
	default:
		err = fmt.Errorf("digest of type %v: %w", m.Type, encoding.ErrCorrupt)
	}
	if m.Deadline != 0 {
		s.xor([]byte("!!expire!!"))
	}
	return err
}

// printed is a score as C's %.17g prints it.
func printed(score float64) []byte {
	switch {
	case math.IsInf(score, 1):
		return []byte("inf")
	case math.IsInf(score, -1):
		return []byte("-inf")
	}
	return strconv.AppendFloat(nil, score, 'g', 17, 64)
}

// All is the digest of all databases of a snapshot: 40 hex digits, all zero if there is no key.
func All(ctx context.Context, snap *keyspace.Snapshot) (string, error) {
	var total sum
	for db := range snap.State.Databases {
		if err := database(ctx, snap, db, &total); err != nil {
			return "", err
		}
	}
	return total.String(), nil
}

func database(ctx context.Context, snap *keyspace.Snapshot, db int, total *sum) error {
	first := true
	var failed error
	err := snap.Keys(db, func(k *keyspace.FoundKey) bool {
		if first {
			total.mixNumber(uint32(db))
			first = false
		}
		var s sum
		s.mix(k.User)
		if failed = s.value(&k.Meta, snap.Rows(db, &k.Meta)); failed == nil {
			failed = ctx.Err()
		}
		total.xor(s[:])
		return failed == nil
	})
	if failed != nil {
		return fmt.Errorf("digest of database %d: %w", db, failed)
	}
	return err
}

// Value is the digest of the value of one key of the transaction's database, all zero if it is missing.
func Value(t *keyspace.Txn, key []byte) (string, error) {
	var s sum
	e, err := t.Lookup(key)
	if err == nil && e.Found {
		err = s.value(&e.Meta, t.Rows(&e, &e.Meta))
	}
	return s.String(), err
}
