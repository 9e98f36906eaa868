package bitmap

import (
	"encoding/binary"
	"math"
)

// Field is the type of an integer within a string, as BITFIELD spells it: i1 to i64, u1 to u63.
type Field struct {
	Signed bool
	Bits   uint
}

// ParseField reads a type; there is one spelling of each.
func ParseField(b []byte) (f Field, ok bool) {
	if len(b) < 2 || len(b) > 3 || b[1] == '0' {
		return f, false
	}
	for _, c := range b[1:] {
		if c -= '0'; c > 9 {
			return f, false
		}
		f.Bits = f.Bits*10 + uint(c)
	}
	switch b[0] {
	case 'i':
		f.Signed = true
		return f, f.Bits <= 64
	case 'u':
		return f, f.Bits <= 63
	}
	return f, false
}

// limits are the least and the greatest number that the type holds.
func (f Field) limits() (least, greatest int64) {
	if f.Signed {
		greatest = math.MaxInt64 >> (64 - f.Bits)
		return -greatest - 1, greatest
	}
	return 0, math.MaxInt64 >> (63 - f.Bits)
}

// Read is the number that begins at a bit.
func (f Field) Read(v []byte, offset int64) int64 {
	// 64 bits that do not begin with a byte lie in nine of them.
	var raw [9]byte
	if at := offset >> 3; at < int64(len(v)) {
		copy(raw[:], v[at:])
	}
	shift := uint(offset & 7)
	x := binary.BigEndian.Uint64(raw[:])<<shift | uint64(raw[8])>>(8-shift)
	if f.Signed {
		return int64(x) >> (64 - f.Bits)
	}
	return int64(x >> (64 - f.Bits))
}

// Write stores a number that the type holds; v must have all its bits.
func (f Field) Write(v []byte, offset, n int64) {
	var raw [9]byte
	part := v[offset>>3:]
	copy(raw[:], part)
	shift := uint(offset & 7)
	x, mask := uint64(n)<<(64-f.Bits), uint64(math.MaxUint64)<<(64-f.Bits)
	head := binary.BigEndian.Uint64(raw[:])&^(mask>>shift) | x>>shift
	binary.BigEndian.PutUint64(raw[:], head)
	raw[8] = raw[8]&^byte(mask<<(8-shift)) | byte(x<<(8-shift))
	copy(part, raw[:])
}

// Overflow says what becomes of a number that a type cannot hold.
type Overflow uint8

// The ways.
const (
	Wrap     Overflow = iota // its low bits are kept
	Saturate                 // the nearest number that the type holds
	Fail                     // nothing is stored
)

// Add is the sum of a number that the type holds and another. ok is false if nothing is to be stored.
func (f Field) Add(n, more int64, o Overflow) (sum int64, ok bool) {
	least, greatest := f.limits()
	// Neither difference leaves 64 bits: more has the sign that moves the limit towards zero and beyond.
	switch {
	case more > 0 && n > greatest-more:
		return f.settle(n+more, greatest, o)
	case more < 0 && f.below(n, more, least):
		return f.settle(n+more, least, o)
	}
	return n + more, true
}

// below reports whether n+more is less than the least number. For unsigned types -more may not fit.
func (f Field) below(n, more, least int64) bool {
	if f.Signed {
		return n < least-more
	}
	return uint64(n) < -uint64(more)
}

// Fit is a number as the type holds it. ok is false if nothing is to be stored. For an unsigned type a
// negative number stands for the large one that has the same bits.
func (f Field) Fit(n int64, o Overflow) (fit int64, ok bool) {
	least, greatest := f.limits()
	switch {
	case n > greatest || !f.Signed && n < 0:
		return f.settle(n, greatest, o)
	case n < least:
		return f.settle(n, least, o)
	}
	return n, true
}

// settle is the number to store in place of one whose low 64 bits are n and that lies beyond the limit.
func (f Field) settle(n, limit int64, o Overflow) (int64, bool) {
	switch {
	case o == Fail:
		return 0, false
	case o == Saturate:
		return limit, true
	case f.Signed:
		return n << (64 - f.Bits) >> (64 - f.Bits), true
	}
	return int64(uint64(n) << (64 - f.Bits) >> (64 - f.Bits)), true
}
