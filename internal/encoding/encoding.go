// Package encoding is the layout of keys and values in the engine. It is permanent: golden tests hold its
// bytes, and a change needs a new data directory format. Pure functions; no state.
//
// All integers in keys are big-endian, so that byte order is number order. The tables:
//
//	system   00 | name                                                 -> see State, CollectionsRow
//	erasure  00 | 'e' | space u32 | slot u16 | collection u64 | collection u64 -> nothing, see Erasure
//	key      01 | space u32 | slot u16 | 'k' | hash48 | user key       -> Meta, and a string's value
//	element  01 | space u32 | slot u16 | 'm' | collection u64 | hash48 | member -> Element
//	ordered  01 | space u32 | slot u16 | 'm' | collection u64 | 0 (48 bits) | sort key -> the type's own
//	expiry   02 | space u32 | due u64 | slot u16 | hash48 | user key -> nothing, see Meta.Due
//	garbage  03 | space u32 | slot u16 | collection u64                 -> nothing
//	retired  04 | space u32                                             -> nothing
//
// A slot is one contiguous range of a space, so that it can be scanned, exported and excised alone. A space
// is what a database points to: FLUSHDB points it to a new one. Elements stand under the slot in which
// their collection was born and its id, never under the user key, so that RENAME rewrites one row; an id is
// never used twice. Keys and members stand behind a 48-bit hash of themselves: slot and hash make the
// cursor of SCAN, which therefore needs no state on the server. No member has the hash 0: behind it stand a
// collection's ordered rows, whose sort keys and values belong to the type (a sorted set's scores, a list's
// elements, a stream's entries, the deadlines of a hash's fields, a large string's pieces). So a collection is one
// range, whatever its type.
package encoding

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"haypile/internal/slot"
)

// Table is the first byte of every row.
type Table byte

// The tables.
const (
	TableSystem  Table = 0x00
	TableData    Table = 0x01
	TableExpiry  Table = 0x02
	TableGarbage Table = 0x03
	TableRetired Table = 0x04
)

// Kinds of rows inside a slot of TableData.
const (
	KindKey     = 'k'
	KindElement = 'm'
)

// Space identifies the contents of a database. Never used twice.
type Space uint32

// Collection identifies the elements of one value. Never used twice.
type Collection uint64

// Hashes have HashBits bits: all are smaller than HashEnd.
const (
	HashBits = 48
	HashEnd  = 1 << HashBits
)

// hashMask keeps 48 bits.
const hashMask = HashEnd - 1

// Hash48 is the hash by which keys and members are ordered; never 0, so that cursor 0 means the start.
func Hash48(b []byte) uint64 {
	h := xxhash.Sum64(b) & hashMask
	if h == 0 {
		return 1
	}
	return h
}

func appendHash48(dst []byte, h uint64) []byte {
	return append(dst, byte(h>>40), byte(h>>32), byte(h>>24), byte(h>>16), byte(h>>8), byte(h))
}

func readHash48(b []byte) uint64 {
	_ = b[5]
	return uint64(b[0])<<40 | uint64(b[1])<<32 | uint64(b[2])<<24 | uint64(b[3])<<16 | uint64(b[4])<<8 | uint64(b[5])
}

// Sizes of the fixed parts of rows' keys.
const (
	spaceLen    = 1 + 4           // table, space
	slotLen     = spaceLen + 2    // and slot
	keyHead     = slotLen + 1 + 6 // and kind, hash
	collHead    = slotLen + 1 + 8 // and kind, collection
	elementHead = collHead + 6    // and hash, which is 0 in ordered rows
	expiryHead  = spaceLen + 8 + 2 + 6
)

// AppendSpace appends the start of a space's rows in a table.
func AppendSpace(dst []byte, t Table, s Space) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byte(t)), uint32(s))
}

// AppendSlot appends the start of a slot's rows.
func AppendSlot(dst []byte, s Space, n slot.Slot) []byte {
	return binary.BigEndian.AppendUint16(AppendSpace(dst, TableData, s), uint16(n))
}

// AppendKeyFrom appends the position of the keys of a slot from a hash on: the first row that SCAN looks at.
func AppendKeyFrom(dst []byte, s Space, n slot.Slot, hash uint64) []byte {
	return appendHash48(append(AppendSlot(dst, s, n), KindKey), hash)
}

// AppendKey appends the row of a user key.
func AppendKey(dst []byte, s Space, n slot.Slot, hash uint64, user []byte) []byte {
	return append(AppendKeyFrom(dst, s, n, hash), user...)
}

// KeyRow is a decoded key of a key row.
type KeyRow struct {
	Slot slot.Slot
	Hash uint64
	User []byte // view into the row
}

// ParseKey decodes the key of a data row; ok is false if it is no key row.
func ParseKey(row []byte) (k KeyRow, ok bool) {
	if len(row) < keyHead || Table(row[0]) != TableData || row[slotLen] != KindKey {
		return k, false
	}
	return KeyRow{
		Slot: slot.Slot(binary.BigEndian.Uint16(row[spaceLen:])),
		Hash: readHash48(row[slotLen+1:]),
		User: row[keyHead:],
	}, true
}

// RowSlot is the slot of a row of TableData.
func RowSlot(row []byte) slot.Slot { return slot.Slot(binary.BigEndian.Uint16(row[spaceLen:])) }

// AppendCollection appends the start of a collection's elements.
func AppendCollection(dst []byte, s Space, birth slot.Slot, id Collection) []byte {
	return binary.BigEndian.AppendUint64(append(AppendSlot(dst, s, birth), KindElement), uint64(id))
}

// AppendElementFrom appends the position of a collection's elements from a hash on.
func AppendElementFrom(dst []byte, s Space, birth slot.Slot, id Collection, hash uint64) []byte {
	return appendHash48(AppendCollection(dst, s, birth, id), hash)
}

// AppendElement appends the row of a member of a collection.
func AppendElement(dst []byte, s Space, birth slot.Slot, id Collection, member []byte) []byte {
	return append(AppendElementFrom(dst, s, birth, id, Hash48(member)), member...)
}

// ParseElement decodes the key of an element row.
func ParseElement(row []byte) (hash uint64, member []byte, ok bool) {
	if len(row) < elementHead || Table(row[0]) != TableData || row[slotLen] != KindElement {
		return 0, nil, false
	}
	return readHash48(row[collHead:]), row[elementHead:], true
}

// AppendOrdered appends the row of a collection with a sort key.
func AppendOrdered(dst []byte, s Space, birth slot.Slot, id Collection, sortKey []byte) []byte {
	return append(AppendElementFrom(dst, s, birth, id, 0), sortKey...)
}

// AppendPiece appends the row of a piece of a string: the bytes from n times the size of a piece on. What it has less
// than that is zero, and so is a piece that has no row.
func AppendPiece(dst []byte, s Space, birth slot.Slot, id Collection, n uint32) []byte {
	return AppendPieceKey(AppendElementFrom(dst, s, birth, id, 0), n)
}

// AppendPieceKey appends the sort key of a piece.
func AppendPieceKey(dst []byte, n uint32) []byte { return binary.BigEndian.AppendUint32(dst, n) }

// ParsePiece decodes the sort key of a piece.
func ParsePiece(sortKey []byte) (n uint32, ok bool) {
	if len(sortKey) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(sortKey), true
}

// SortKey is the sort key of an ordered row.
func SortKey(row []byte) (sortKey []byte, ok bool) {
	hash, sortKey, ok := ParseElement(row)
	return sortKey, ok && hash == 0
}

// AppendExpiry appends the row of the expiry index for a key; the deadline is Meta.Due, in Unix milliseconds.
func AppendExpiry(dst []byte, s Space, deadline int64, n slot.Slot, hash uint64, user []byte) []byte {
	dst = binary.BigEndian.AppendUint64(AppendSpace(dst, TableExpiry, s), uint64(deadline))
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	return append(appendHash48(dst, hash), user...)
}

// ParseExpiry decodes the key of an expiry row.
func ParseExpiry(row []byte) (s Space, deadline int64, user []byte, ok bool) {
	if len(row) < expiryHead || Table(row[0]) != TableExpiry {
		return 0, 0, nil, false
	}
	return Space(binary.BigEndian.Uint32(row[1:])), int64(binary.BigEndian.Uint64(row[spaceLen:])),
		row[expiryHead:], true
}

// AppendGarbage appends the row of a dropped collection.
func AppendGarbage(dst []byte, s Space, birth slot.Slot, id Collection) []byte {
	dst = binary.BigEndian.AppendUint16(AppendSpace(dst, TableGarbage, s), uint16(birth))
	return binary.BigEndian.AppendUint64(dst, uint64(id))
}

// ParseGarbage decodes the key of a garbage row.
func ParseGarbage(row []byte) (s Space, birth slot.Slot, id Collection, ok bool) {
	if len(row) != slotLen+8 || Table(row[0]) != TableGarbage {
		return 0, 0, 0, false
	}
	return Space(binary.BigEndian.Uint32(row[1:])), slot.Slot(binary.BigEndian.Uint16(row[spaceLen:])),
		Collection(binary.BigEndian.Uint64(row[slotLen:])), true
}

// ParseRetired decodes the key of a retired space's row.
func ParseRetired(row []byte) (Space, bool) {
	if len(row) != spaceLen || Table(row[0]) != TableRetired {
		return 0, false
	}
	return Space(binary.BigEndian.Uint32(row[1:])), true
}

// PrefixEnd is the first key behind all keys with the prefix; nil if there is none.
func PrefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// Cursor packs a slot and a hash into the 62-bit number that SCAN shows; it fits a signed 64-bit integer,
// as which some clients parse it.
func Cursor(n slot.Slot, hash uint64) uint64 { return uint64(n)<<48 | hash&hashMask }

// ParseCursor unpacks a cursor; ok is false if no server gave it out.
func ParseCursor(c uint64) (n slot.Slot, hash uint64, ok bool) {
	return slot.Slot(c >> 48 & (slot.Count - 1)), c & hashMask, c < slot.Count<<48
}
