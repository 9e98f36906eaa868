package rdb

import (
	"encoding/binary"
	"strconv"
)

// A hash with deadlines of fields (TypeHashTimed):
//
//	base u64, little-endian | number of fields | for each: deadline | field | value
//
// A deadline is a length: 0 for none, else how far it is behind the base, and 1. The base is the earliest deadline.

// AppendTimedHead appends what stands before the fields.
func AppendTimedHead(dst []byte, base int64, fields uint64) []byte {
	return AppendLength(binary.LittleEndian.AppendUint64(dst, uint64(base)), fields)
}

// AppendTimedField appends a field, whose deadline is 0 or not before the base.
func AppendTimedField(dst []byte, base, deadline int64, field, value []byte) []byte {
	after := uint64(0)
	if deadline != 0 {
		after = uint64(deadline-base) + 1
	}
	return AppendString(AppendString(AppendLength(dst, after), field), value)
}

// maxDeadline is the last deadline that Redis reads.
const maxDeadline = 1<<48 - 1

// TimedPairs reads the value of a hash with deadlines of fields in one of its encodings and visits the fields; deadline
// is 0 for one that has none. The views are valid as long as the input is, and during the call.
func (r *Reader) TimedPairs(typ byte, visit func(field, value []byte, deadline int64) error) error {
	head, err := r.take(8)
	if err != nil {
		return err
	}
	base := binary.LittleEndian.Uint64(head)
	if typ == TypeHashListpackEx {
		return r.listpackTriples(visit)
	}
	n, err := r.Length()
	if err != nil {
		return err
	}
	for ; n > 0; n-- {
		after, err := r.Length()
		if err != nil {
			return err
		}
		deadline := uint64(0)
		if after != 0 {
			if deadline = base + after - 1; base > maxDeadline || after > maxDeadline || deadline > maxDeadline {
				return ErrFormat
			}
		}
		field, err := r.String()
		if err != nil {
			return err
		}
		value, err := r.String()
		if err != nil {
			return err
		}
		if err := visit(field, value, int64(deadline)); err != nil {
			return err
		}
	}
	return nil
}

// listpackTriples reads a listpack of fields, values and deadlines, which are not relative to anything.
func (r *Reader) listpackTriples(visit func(field, value []byte, deadline int64) error) error {
	packed, err := r.String()
	if err != nil {
		return err
	}
	var triple [2][]byte
	at := 0
	err = readListpack(packed, func(v []byte) error {
		if at < len(triple) {
			triple[at] = v
			at++
			return nil
		}
		at = 0
		deadline, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil || deadline < 0 || deadline > maxDeadline {
			return ErrFormat
		}
		return visit(triple[0], triple[1], deadline)
	})
	if err == nil && at != 0 {
		err = ErrFormat
	}
	return err
}
