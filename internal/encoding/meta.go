package encoding

import (
	"encoding/binary"
	"errors"
	"fmt"

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
	metaKnown  = metaExpiry
)

// Meta is the metadata record of a key.
//
//	flags byte | type byte | [deadline u64] | string: the value
//	                                        | else: birth slot u16 | collection u64 | count uvarint | extra
type Meta struct {
	Type     Type
	Deadline int64 // Unix milliseconds; 0 = none
	Value    []byte
	Birth    slot.Slot
	ID       Collection
	Count    uint64
	// Extra is what a type keeps beside the count, in its own format; empty for sets, and for hashes but for Timed.
	Extra []byte
}

// AppendMeta encodes m.
func AppendMeta(dst []byte, m *Meta) []byte {
	var flags byte
	if m.Deadline != 0 {
		flags |= metaExpiry
	}
	dst = append(dst, flags, byte(m.Type))
	if m.Deadline != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.Deadline))
	}
	if m.Type == String {
		return append(dst, m.Value...)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(m.Birth))
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.ID))
	return append(binary.AppendUvarint(dst, m.Count), m.Extra...)
}

// ParseMeta decodes a row into m; m.Value and m.Extra are views into row.
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
	if m.Type == String {
		m.Value = rest
		return nil
	}
	if len(rest) < 11 || m.Type == None || m.Type > Stream {
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
	switch {
	case len(row) > 0 && row[0] == 0:
		return row[1:], 0, nil
	case len(row) > 8 && row[0]&^elementKnown == 0:
		return row[9:], int64(binary.BigEndian.Uint64(row[1:])), nil
	}
	return nil, 0, fmt.Errorf("element %x: %w", row[:min(len(row), 16)], ErrCorrupt)
}
