// Package bitmap is what the bit commands compute over strings. Bits are numbered from the most significant bit
// of the first byte on, as Redis does; what lies behind the end of a string is zero. Pure functions over bytes;
// no state and no I/O.
package bitmap

import (
	"encoding/binary"
	"math/bits"
)

// Size is the number of bytes that a string needs to have the bit at offset.
func Size(offset int64) int64 { return offset>>3 + 1 }

// Get is the bit at offset.
func Get(v []byte, offset int64) bool {
	at := offset >> 3
	return at < int64(len(v)) && v[at]&(0x80>>(offset&7)) != 0
}

// Set changes the bit at offset, which v must have.
func Set(v []byte, offset int64, on bool) {
	mask := byte(0x80 >> (offset & 7))
	if on {
		v[offset>>3] |= mask
	} else {
		v[offset>>3] &^= mask
	}
}

// edges tells of the bits from (inclusive) to end (exclusive), both within v, which bytes they touch, and which
// bits of the first and the last of these bytes are among them.
func edges(from, end int64) (first, last int64, firstMask, lastMask byte) {
	return from >> 3, (end - 1) >> 3, 0xff >> (from & 7), byte(0xff << (7 - (end-1)&7))
}

// Count is the number of ones among the bits from (inclusive) to end (exclusive), both within v.
func Count(v []byte, from, end int64) int64 {
	if from >= end {
		return 0
	}
	first, last, firstMask, lastMask := edges(from, end)
	if first == last {
		return int64(bits.OnesCount8(v[first] & firstMask & lastMask))
	}
	n := bits.OnesCount8(v[first]&firstMask) + bits.OnesCount8(v[last]&lastMask)
	return int64(n) + ones(v[first+1:last])
}

func ones(v []byte) int64 {
	n := 0
	for ; len(v) >= 32; v = v[32:] {
		n += bits.OnesCount64(binary.NativeEndian.Uint64(v)) + bits.OnesCount64(binary.NativeEndian.Uint64(v[8:])) +
			bits.OnesCount64(binary.NativeEndian.Uint64(v[16:])) + bits.OnesCount64(binary.NativeEndian.Uint64(v[24:]))
	}
	for _, b := range v {
		n += bits.OnesCount8(b)
	}
	return int64(n)
}

// Find is the place of the first bit of a value among the bits from (inclusive) to end (exclusive), both within
// v; -1 if there is none.
func Find(v []byte, on bool, from, end int64) int64 {
	if from >= end {
		return -1
	}
	// Looking for a zero is looking for a one in the complement.
	var flip byte
	if !on {
		flip = 0xff
	}
	first, last, firstMask, lastMask := edges(from, end)
	for at, mask := first, firstMask; at <= last; at, mask = at+1, 0xff {
		if mask == 0xff {
			at += skip(v[at:last], flip)
		}
		if at == last {
			mask &= lastMask
		}
		if b := (v[at] ^ flip) & mask; b != 0 {
			return at<<3 + int64(bits.LeadingZeros8(b))
		}
	}
	return -1
}

// skip counts bytes at the beginning of v, in words, that are all of one value.
func skip(v []byte, value byte) (n int64) {
	word := uint64(value) * 0x0101010101010101
	for ; len(v) >= 8 && binary.NativeEndian.Uint64(v) == word; v = v[8:] {
		n += 8
	}
	return n
}

// Operation combines two strings bit by bit.
type Operation uint8

// The operations.
const (
	And Operation = iota
	Or
	Xor
)

// Combine makes acc the combination of acc and v: as long as the longer of the two. It changes acc's memory.
func Combine(op Operation, acc, v []byte) []byte {
	if len(v) > len(acc) {
		acc = append(acc, make([]byte, len(v)-len(acc))...)
	}
	if op == And {
		clear(acc[len(v):])
	}
	common := acc[:len(v)]
	for ; len(v) >= 8; common, v = common[8:], v[8:] {
		a, b := binary.NativeEndian.Uint64(common), binary.NativeEndian.Uint64(v)
		switch op {
		case And:
			a &= b
		case Or:
			a |= b
		case Xor:
			a ^= b
		}
		binary.NativeEndian.PutUint64(common, a)
	}
	for i, b := range v {
		switch op {
		case And:
			common[i] &= b
		case Or:
			common[i] |= b
		case Xor:
			common[i] ^= b
		}
	}
	return acc
}

// Not inverts every bit of v.
func Not(v []byte) {
	for ; len(v) >= 8; v = v[8:] {
		binary.NativeEndian.PutUint64(v, ^binary.NativeEndian.Uint64(v))
	}
	for i := range v {
		v[i] = ^v[i]
	}
}
