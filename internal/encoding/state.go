package encoding

import (
	"encoding/binary"
	"fmt"
)

// StateRow is the key of the one row that every batch rewrites: see State.
var StateRow = []byte{byte(TableSystem), 's'}

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
