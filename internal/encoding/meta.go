package encoding

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"haypile/internal/slot"
)

// Type is a value's type. Numbers are permanent.
type Type byte

// The types. Zero is no type: a key that does not exist.
const (
	None   Type = 0
	String Type = 1
	List   Type = 2
	Set    Type = 3
	ZSet   Type = 4
	Hash   Type = 5
	Stream Type = 6
)

var typeNames = [...]string{"none", "string", "list", "set", "zset", "hash", "stream"}

// String is the name that TYPE answers.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type-%d", byte(t))
}

// ErrCorrupt marks rows that no version of this package wrote.
var ErrCorrupt = errors.New("corrupt row")

// Flags of a Meta row, in the low bits of its first byte; the high nibble is the format, 0.
const (
	metaExpiry = 1 << 0 // a deadline follows
	metaPieces = 1 << 1 // a string's value stands in rows of its own
	metaKnown  = metaExpiry | metaPieces
)

// Meta is the metadata record of a key.
//
//	flags byte | type byte | [deadline u64] | string that is not in pieces: the value
//	                                        | else: birth slot u16 | collection u64 | count uvarint | extra
//
// Of a string in pieces the count is the length in bytes, and extra is one byte: the binary logarithm of the size of
// a piece. Its pieces are ordered rows, see AppendPiece.
type Meta struct {
	Type     Type
	Deadline int64 // Unix milliseconds; 0 = none
	// value is that of a string which is not in pieces: see Whole.
	value []byte
	Birth slot.Slot
	ID    Collection
	Count uint64
	// Extra is what a type keeps beside the count, in its own format; empty for sets, and for hashes but for Timed.
	Extra []byte
}

// WholeString is the metadata of a string whose value stands in it.
func WholeString(value []byte, deadline int64) Meta {
	return Meta{Type: String, Deadline: deadline, value: value}
}

// PiecedString is the metadata of a string whose value stands in rows of a collection.
func PiecedString(birth slot.Slot, id Collection, pieceBits byte, length int64) Meta {
	return Meta{Type: String, Birth: birth, ID: id, Count: uint64(length), Extra: []byte{pieceBits}}
}

// InRows reports whether rows of a collection stand behind the metadata: always, but for strings that are whole.
func (m *Meta) InRows() bool { return m.ID != 0 }

// Whole is the value of a string that stands in its metadata; ok is false if it stands in pieces.
func (m *Meta) Whole() (value []byte, ok bool) { return m.value, m.Type == String && m.ID == 0 }

// Length is the length of a string, in pieces or not; 0 if there is none.
func (m *Meta) Length() int64 {
	if m.Type == String && m.ID != 0 {
		return int64(m.Count)
	}
	return int64(len(m.value))
}

// PieceSize is the number of bytes in a piece of a string in pieces.
func (m *Meta) PieceSize() int64 { return 1 << m.Extra[0] }

// Pieces is the number of places for pieces that a string in pieces has.
func (m *Meta) Pieces() int64 { return (int64(m.Count) + m.PieceSize() - 1) >> m.Extra[0] }

// ViewIn makes value and extra views into row, which holds an encoding of m.
func (m *Meta) ViewIn(row []byte) {
	if len(m.value) > 0 {
		m.value = row[len(row)-len(m.value):]
	}
	if len(m.Extra) > 0 {
		m.Extra = row[len(row)-len(m.Extra):]
	}
}

// WholeAt is where the value begins in the row of a string that is whole.
func (m *Meta) WholeAt() int {
	if m.Deadline != 0 {
		return 2 + 8
	}
	return 2
}

// SizeHint is enough for an encoding of m.
func (m *Meta) SizeHint() int {
	return len(m.value) + len(m.Extra) + 2 + 8 + 2 + 8 + binary.MaxVarintLen64
}

// minPieceBits and maxPieceBits bound what ParseMeta takes for a size of pieces.
const (
	minPieceBits = 6
	maxPieceBits = 24
)

// AppendMeta encodes m.
func AppendMeta(dst []byte, m *Meta) []byte {
	var flags byte
	if m.Deadline != 0 {
		flags |= metaExpiry
	}
	if m.Type == String && m.ID != 0 {
		flags |= metaPieces
	}
	dst = append(dst, flags, byte(m.Type))
	if m.Deadline != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.Deadline))
	}
	if m.Type == String && m.ID == 0 {
		return append(dst, m.value...)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(m.Birth))
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.ID))
	return append(binary.AppendUvarint(dst, m.Count), m.Extra...)
}

// ParseMeta decodes a row into m; the value of a string that is whole and m.Extra are views into row.
func ParseMeta(row []byte, m *Meta) error {
	*m = Meta{}
	if len(row) < 2 || row[0]&^metaKnown != 0 {
		return fmt.Errorf("metadata %x: %w", row[:min(len(row), 16)], ErrCorrupt)
	}
	m.Type = Type(row[1])
	rest := row[2:]
	if row[0]&metaExpiry != 0 {
		if len(rest) < 8 {
			return fmt.Errorf("metadata deadline: %w", ErrCorrupt)
		}
		m.Deadline = int64(binary.BigEndian.Uint64(rest))
		rest = rest[8:]
	}
	pieces := row[0]&metaPieces != 0
	if m.Type == String && !pieces {
		m.value = rest
		return nil
	}
	if pieces && m.Type != String || len(rest) < 11 || m.Type == None || m.Type > Stream {
		return fmt.Errorf("metadata of type %d: %w", m.Type, ErrCorrupt)
	}
	m.Birth = slot.Slot(binary.BigEndian.Uint16(rest))
	m.ID = Collection(binary.BigEndian.Uint64(rest[2:]))
	var n int
	if m.Count, n = binary.Uvarint(rest[10:]); n <= 0 {
		return fmt.Errorf("metadata count: %w", ErrCorrupt)
	}
	if extra := rest[10+n:]; len(extra) > 0 {
		m.Extra = extra
	}
	if pieces && (m.ID == 0 || m.Count > math.MaxInt64>>1 || len(m.Extra) != 1 || m.Extra[0] < minPieceBits ||
		m.Extra[0] > maxPieceBits) {
		return fmt.Errorf("metadata of a string in pieces %x: %w", rest[:min(len(rest), 24)], ErrCorrupt)
	}
	return nil
}

// Flags of an element's value.
const (
	elementExpiry = 1 << 0 // a deadline follows: of a hash's field
	elementKnown  = elementExpiry
)

// AppendElementValue encodes the value of an element row, with its deadline (0 = none):
//
//	flags byte | [deadline u64] | value
func AppendElementValue(dst, value []byte, deadline int64) []byte {
	if deadline == 0 {
		return append(append(dst, 0), value...)
	}
	return append(binary.BigEndian.AppendUint64(append(dst, elementExpiry), uint64(deadline)), value...)
}

// ParseElementValue decodes it; value is a view.
func ParseElementValue(row []byte) (value []byte, deadline int64, err error) {
	if len(row) > 0 && row[0] == 0 {
		return row[1:], 0, nil
	}
	return parseTimedValue(row)
}

func parseTimedValue(row []byte) (value []byte, deadline int64, err error) {
	if len(row) > 8 && row[0]&^elementKnown == 0 {
		return row[9:], int64(binary.BigEndian.Uint64(row[1:])), nil
	}
	return nil, 0, fmt.Errorf("element %x: %w", row[:min(len(row), 16)], ErrCorrupt)
}
