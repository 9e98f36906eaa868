package encoding

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"haypile/internal/slot"
)

// StateRow is the key of the one row that every batch rewrites: see State.
var StateRow = []byte{byte(TableSystem), 's'}

// CollectionsRow is the key of the row that says which collection may be new if the state says less: rows of collections
// go to the engine ahead of the commit that refers to them. See AppendCollections.
var CollectionsRow = []byte{byte(TableSystem), 'c'}

const collectionsFormat = 1

// AppendCollections encodes the value of CollectionsRow.
func AppendCollections(dst []byte, next Collection) []byte {
	return binary.AppendUvarint(append(dst, collectionsFormat), uint64(next))
}

// ParseCollections decodes the value of CollectionsRow.
func ParseCollections(b []byte) (Collection, error) {
	if len(b) > 1 && b[0] == collectionsFormat {
		if next, n := binary.Uvarint(b[1:]); n == len(b)-1 {
			return Collection(next), nil
		}
	}
	return 0, fmt.Errorf("row of collections %x: %w", b, ErrCorrupt)
}

// An Erasure is a row in the system table while rows of a collection, Of, are being deleted after the commit that
// removed them: those that have the sort keys, or hashes and members, of the rows of the collection List.
type Erasure struct {
	Space    Space
	Birth    slot.Slot
	Of, List Collection
}

// AppendErasure appends the key of the row of an erasure; it has no value.
func AppendErasure(dst []byte, e *Erasure) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, byte(TableSystem), 'e'), uint32(e.Space))
	dst = binary.BigEndian.AppendUint16(dst, uint16(e.Birth))
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, uint64(e.Of)), uint64(e.List))
}

// ErasurePrefix begins the rows of erasures.
var ErasurePrefix = []byte{byte(TableSystem), 'e'}

// ParseErasure decodes the key of the row of an erasure.
func ParseErasure(row []byte) (e Erasure, err error) {
	if len(row) != len(ErasurePrefix)+4+2+8+8 || !bytes.HasPrefix(row, ErasurePrefix) {
		return e, fmt.Errorf("row of an erasure %x: %w", row, ErrCorrupt)
	}
	b := row[len(ErasurePrefix):]
	return Erasure{Space(binary.BigEndian.Uint32(b)), slot.Slot(binary.BigEndian.Uint16(b[4:])),
		Collection(binary.BigEndian.Uint64(b[6:])), Collection(binary.BigEndian.Uint64(b[14:]))}, nil
}

// The first byte of the row. stateTimed is written only where it says more: where there are hashes with deadlines of
// fields.
const (
	stateFormat = 1
	stateTimed  = 2
)

// SpaceCount is the number of keys, of keys with a deadline, and of hashes with deadlines of fields, in a space.
// Keys that are past their deadline but not yet deleted count, so that primary and replica agree at equal offsets.
type SpaceCount struct {
	Space   Space
	Keys    int64
	Expires int64
	Timed   int64
}

// State is what the engine's contents are: the log offset that they reflect, the database selected there,
// and all counters. It is one row in every batch, so that after a crash the engine itself says where replay
// begins and no counter can disagree with the data.
type State struct {
	Offset         int64
	DB             uint32
	NextCollection Collection
	NextSpace      Space
	// Databases[i] is the space of database i.
	Databases []SpaceCount
}

// AppendState encodes s.
func AppendState(dst []byte, s *State) []byte {
	format := byte(stateFormat)
	for _, c := range s.Databases {
		if c.Timed != 0 {
			format = stateTimed
		}
	}
	dst = append(dst, format)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.Offset))
	dst = binary.AppendUvarint(dst, uint64(s.DB))
	dst = binary.AppendUvarint(dst, uint64(s.NextCollection))
	dst = binary.AppendUvarint(dst, uint64(s.NextSpace))
	dst = binary.AppendUvarint(dst, uint64(len(s.Databases)))
	for _, c := range s.Databases {
		dst = binary.AppendUvarint(dst, uint64(c.Space))
		dst = binary.AppendUvarint(dst, uint64(c.Keys))
		dst = binary.AppendUvarint(dst, uint64(c.Expires))
		if format == stateTimed {
			dst = binary.AppendUvarint(dst, uint64(c.Timed))
		}
	}
	return dst
}

// ParseState decodes the row.
func ParseState(row []byte) (State, error) {
	var s State
	if len(row) < 9 || row[0] != stateFormat && row[0] != stateTimed {
		return s, fmt.Errorf("state row %x: %w", row[:min(len(row), 16)], ErrCorrupt)
	}
	s.Offset = int64(binary.BigEndian.Uint64(row[1:]))
	rest := row[9:]
	bad := false
	next := func() uint64 {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			bad = true
			return 0
		}
		rest = rest[n:]
		return v
	}
	s.DB = uint32(next())
	s.NextCollection = Collection(next())
	s.NextSpace = Space(next())
	n := next()
	if n > 1<<20 {
		bad = true
	}
	for i := uint64(0); i < n && !bad; i++ {
		c := SpaceCount{Space: Space(next()), Keys: int64(next()), Expires: int64(next())}
		if row[0] == stateTimed {
			c.Timed = int64(next())
		}
		s.Databases = append(s.Databases, c)
	}
	if bad || len(rest) != 0 {
		return State{}, fmt.Errorf("state row %x: %w", row[:min(len(row), 64)], ErrCorrupt)
	}
	return s, nil
}
