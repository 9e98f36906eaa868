package encoding

import (
	"encoding/binary"
	"fmt"
)

// Timed is what the metadata of a hash says, in Extra, about those of its fields that have a deadline. Without any
// there is no Extra, so that a hash costs what it would cost if fields had no deadlines.
//
//	count uvarint | next u64 | after
//
// Each such field has, beside the deadline in its element, an ordered row under AppendTimedKey with an empty value.
type Timed struct {
	// Count is their number.
	Count uint64
	// Next and After are the sort key of an ordered row, or a prefix of it, before which there are no others. Next is
	// not later than the earliest deadline. It may be earlier: whoever takes away the earliest one need not look for the
	// one behind it. After lets expiry go on behind what it has deleted where many fields have the same deadline: before
	// it the engine may have tombstones by the million.
	Next  int64
	After []byte
}

// AppendTimed encodes t.
func AppendTimed(dst []byte, t Timed) []byte {
	return AppendTimedKey(binary.AppendUvarint(dst, t.Count), t.Next, t.After)
}

// HasTimed reports whether the value is a hash with deadlines of fields.
func (m *Meta) HasTimed() bool { return m.Type == Hash && len(m.Extra) > 0 }

// Timed decodes the Extra of a hash, of which After is a view; zero for one without deadlines, and for other types.
func (m *Meta) Timed() (Timed, error) {
	if !m.HasTimed() {
		return Timed{}, nil
	}
	return m.parseTimed()
}

func (m *Meta) parseTimed() (Timed, error) {
	count, n := binary.Uvarint(m.Extra)
	if n <= 0 || len(m.Extra) < n+8 || count == 0 {
		return Timed{}, fmt.Errorf("deadlines of fields %x: %w", m.Extra[:min(len(m.Extra), 16)], ErrCorrupt)
	}
	return Timed{count, int64(binary.BigEndian.Uint64(m.Extra[n:])), m.Extra[n+8:]}, nil
}

// Due is when expiry has to look at the key: at its deadline, or earlier at that of a field; 0 = never. The expiry
// index has one row for it.
func (m *Meta) Due() int64 {
	if !m.HasTimed() {
		return m.Deadline
	}
	return m.dueTimed()
}

func (m *Meta) dueTimed() int64 {
	t, err := m.parseTimed()
	if err != nil || m.Deadline != 0 && m.Deadline <= t.Next {
		return m.Deadline
	}
	return t.Next
}

// AppendTimedKey appends the sort key of a field with a deadline.
func AppendTimedKey(dst []byte, deadline int64, field []byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(deadline)), field...)
}

// ParseTimedKey decodes it; field is a view.
func ParseTimedKey(sortKey []byte) (deadline int64, field []byte, ok bool) {
	if len(sortKey) < 8 {
		return 0, nil, false
	}
	return int64(binary.BigEndian.Uint64(sortKey)), sortKey[8:], true
}
