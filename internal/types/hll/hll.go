// Package hll is the HyperLogLog: an estimate of how many different elements were added, kept in a string of at
// most 12304 bytes in Redis' own representation, byte for byte. Pure functions over bytes; no state and no I/O.
//
// A value is a header and 16384 registers:
//
//	"HYLL" | encoding (0 dense, 1 sparse) | 3 unused | cached estimate u64 little-endian | registers
//
// The highest bit of the cached estimate says that it is out of date. An element's hash chooses a register, and
// raises it to the length of a run of zeros in the rest of the hash; many different elements make long runs.
// Dense registers are 6 bits each, from the low bits of each byte on. Sparse ones are runs of equal registers; see
// sparse.go. Sources: redis.io/docs/latest/develop/data-types/probabilistic/hyperloglogs and the file format that
// Redis' hyperloglog.c documents; the estimator is Ertl's, arXiv:1702.01284.
package hll

import (
	"bytes"
	"encoding/binary"
	"errors"
)

const (
	magic     = "HYLL"
	headerLen = 16
	// indexBits of a hash choose the register, rankBits are left for the run.
	indexBits = 14
	rankBits  = 64 - indexBits
	registers = 1 << indexBits

	registerBits = 6
	registerMax  = 1<<registerBits - 1
	denseLen     = headerLen + registers*registerBits/8

	dense, sparse = 0, 1
	// stale, in the last byte of the cached estimate, says that it is out of date.
	stale = 0x80
)

// The errors.
var (
	ErrNotSketch = errors.New("not a HyperLogLog")
	ErrCorrupt   = errors.New("a HyperLogLog with a wrong number of registers")
)

// Sketch is a value, perhaps being changed. What Open was given is copied before the first change.
type Sketch struct {
	v     []byte
	owned bool
	// whole: the sparse registers have been counted.
	whole bool
	// Outgrown is set once the sparse representation was given up because of its size: a fact that depends on
	// an option, and not on the elements alone.
	Outgrown bool
}

// New is an empty sketch.
func New() Sketch {
	v := append(make([]byte, 0, headerLen+64), magic...)
	v = append(v, sparse)
	v = append(v, make([]byte, headerLen-len(v))...)
	return Sketch{v: appendZeros(v, registers), owned: true}
}

// Open is the sketch in a string. A string that does not look like one is refused; that the registers of a
// sparse one are complete is checked when they are needed.
func Open(v []byte) (Sketch, error) {
	if len(v) < headerLen || string(v[:len(magic)]) != magic || v[4] > sparse || v[4] == dense && len(v) != denseLen {
		return Sketch{}, ErrNotSketch
	}
	return Sketch{v: v}, nil
}

// Bytes is the string.
func (s *Sketch) Bytes() []byte { return s.v }

// Dense reports the encoding.
func (s *Sketch) Dense() bool { return s.v[4] == dense }

func (s *Sketch) own() {
	if !s.owned {
		s.v, s.owned = bytes.Clone(s.v), true
	}
}

// Cached is the estimate that was stored last, if nothing changed since.
func (s *Sketch) Cached() (n uint64, ok bool) {
	return binary.LittleEndian.Uint64(s.v[8:]), s.v[headerLen-1]&stale == 0
}

// CacheAt is where in a sketch's bytes those of Cache belong, which are the estimate n to be kept.
const CacheAt = headerLen - 8

// Cache: see CacheAt.
func Cache(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// Stale is what to write where in a sketch's bytes so that the cached estimate holds no more.
func (s *Sketch) Stale() (at int64, b []byte) {
	return headerLen - 1, []byte{s.v[headerLen-1] | stale}
}

// AddDense is what to write where in the bytes of a dense sketch to add an element; raised is false if that
// changes nothing.
func (s *Sketch) AddDense(element []byte) (at int64, part []byte, raised bool) {
	index, rank := place(element)
	p := s.v[headerLen:]
	if denseAt(p, index) >= rank {
		return 0, nil, false
	}
	first := index * registerBits / 8
	part = append(make([]byte, 0, 2), p[first:min(first+2, len(p))]...)
	putRank(part, index*registerBits%8, rank)
	return int64(headerLen + first), part, true
}

// Outdate says that the cached estimate holds no more.
func (s *Sketch) Outdate() {
	s.own()
	s.v[headerLen-1] |= stale
}

// Add adds an element and reports whether that changed a register. limit is the size in bytes that the sparse
// representation may grow to; negative for any.
func (s *Sketch) Add(element []byte, limit int64) (bool, error) {
	index, rank := place(element)
	return s.Raise(index, rank, limit)
}

// Raise makes a register no smaller than rank, and reports whether it was.
func (s *Sketch) Raise(index int, rank byte, limit int64) (bool, error) {
	if !s.Dense() {
		return s.raiseSparse(index, rank, limit)
	}
	if denseAt(s.v[headerLen:], index) >= rank {
		return false, nil
	}
	s.own()
	setDense(s.v[headerLen:], index, rank)
	return true, nil
}

// Registers are those of a sketch, or the greatest of several, a byte each.
type Registers [registers]byte

// Read raises the registers to those of s.
func (r *Registers) Read(s *Sketch) error {
	if !s.Dense() {
		return s.eachRun(func(from, n int, rank byte) {
			for i := from; rank > 0 && i < from+n; i++ {
				r[i] = max(r[i], rank)
			}
		})
	}
	p := s.v[headerLen:]
	for i := 0; i < registers; i, p = i+4, p[3:] {
		for j, rank := range fourDense(p) {
			r[i+j] = max(r[i+j], rank)
		}
	}
	return nil
}

// Count estimates how many different elements were added.
func (r *Registers) Count() uint64 {
	var h histogram
	for _, rank := range r {
		h[rank&registerMax]++
	}
	return h.estimate()
}

// Merge raises the registers of s to r's.
func (s *Sketch) Merge(r *Registers, limit int64) error {
	for i, rank := range r {
		if rank == 0 {
			continue
		}
		if _, err := s.Raise(i, rank, limit); err != nil {
			return err
		}
	}
	return nil
}

// Count estimates how many different elements were added, without the cache.
func (s *Sketch) Count() (uint64, error) {
	var h histogram
	if s.Dense() {
		for p := s.v[headerLen:]; len(p) > 0; p = p[3:] {
			for _, rank := range fourDense(p) {
				h[rank]++
			}
		}
		return h.estimate(), nil
	}
	err := s.eachRun(func(_, n int, rank byte) { h[rank] += n })
	return h.estimate(), err
}

// denseAt reads a dense register. It may lie in two bytes.
func denseAt(p []byte, index int) byte {
	at, shift := index*registerBits/8, index*registerBits%8
	two := uint16(p[at])
	if at+1 < len(p) {
		two |= uint16(p[at+1]) << 8
	}
	return byte(two>>shift) & registerMax
}

// fourDense reads four dense registers from the three bytes that they fill.
func fourDense(p []byte) [4]byte {
	three := uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16
	return [4]byte{
		byte(three & registerMax), byte(three >> registerBits & registerMax),
		byte(three >> (2 * registerBits) & registerMax), byte(three >> (3 * registerBits)),
	}
}

func setDense(p []byte, index int, rank byte) {
	putRank(p[index*registerBits/8:], index*registerBits%8, rank)
}

// putRank stores a register that begins at a bit of the first byte of p.
func putRank(p []byte, shift int, rank byte) {
	mask, bits := uint16(registerMax)<<shift, uint16(rank)<<shift
	p[0] = p[0]&^byte(mask) | byte(bits)
	if mask > 0xff {
		p[1] = p[1]&^byte(mask>>8) | byte(bits>>8)
	}
}

// Densify changes to the dense representation and reports whether it was another. The header stays as it is.
func (s *Sketch) Densify() (bool, error) {
	if s.Dense() {
		return false, nil
	}
	v := make([]byte, denseLen)
	copy(v, s.v[:headerLen])
	v[4] = dense
	err := s.eachRun(func(from, n int, rank byte) {
		for i := from; rank > 0 && i < from+n; i++ {
			setDense(v[headerLen:], i, rank)
		}
	})
	if err != nil {
		return false, err
	}
	s.v, s.owned = v, true
	return true, nil
}
