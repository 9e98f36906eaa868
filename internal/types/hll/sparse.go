package hll

import (
	"fmt"
	"slices"
	"strings"
)

// Sparse registers are a sequence of runs, in one or two bytes each:
//
//	00llllll            l+1 registers that are zero, up to 64
//	01llllll llllllll   the same, up to 16384
//	1vvvvvll            l+1 registers that are v+1: up to 4 registers, up to 32
const (
	zeroMax   = 64
	valueMax  = 4
	sparseTop = 32

	twoBytes = 0x40
	isValue  = 0x80
)

// run is one of them: rank 0 means zeros.
type run struct {
	size int // in bytes
	n    int // of registers
	rank byte
}

// runAt decodes the run at the beginning of p, which is not empty; ok is false if it is cut off.
func runAt(p []byte) (r run, ok bool) {
	switch b := p[0]; {
	case b&isValue != 0:
		return run{1, int(b&3) + 1, b>>2&31 + 1}, true
	case b&twoBytes == 0:
		return run{1, int(b) + 1, 0}, true
	case len(p) == 1:
		return r, false
	default:
		return run{2, int(b&^twoBytes)<<8 + int(p[1]) + 1, 0}, true
	}
}

// appendZeros appends a run of n zeros.
func appendZeros(dst []byte, n int) []byte {
	switch {
	case n <= 0:
		return dst
	case n <= zeroMax:
		return append(dst, byte(n-1))
	}
	return append(dst, twoBytes|byte((n-1)>>8), byte(n-1))
}

// appendValues appends a run of n registers, at most valueMax.
func appendValues(dst []byte, n int, rank byte) []byte {
	if n <= 0 {
		return dst
	}
	return append(dst, isValue|(rank-1)<<2|byte(n-1))
}

// eachRun visits the runs of a sparse sketch: each one's first register, its length and the rank. It fails,
// perhaps after some of them, if the runs are not 16384 registers.
func (s *Sketch) eachRun(visit func(from, n int, rank byte)) error {
	first := 0
	for p := s.v[headerLen:]; len(p) > 0; {
		r, ok := runAt(p)
		if !ok || first+r.n > registers {
			return ErrCorrupt
		}
		visit(first, r.n, r.rank)
		first, p = first+r.n, p[r.size:]
	}
	if first != registers {
		return ErrCorrupt
	}
	s.whole = true
	return nil
}

// complete checks once that the runs are 16384 registers; changes keep that so.
func (s *Sketch) complete() error {
	if s.whole {
		return nil
	}
	return s.eachRun(func(int, int, byte) {})
}

// raiseSparse is Raise for a sparse sketch. A rank that a run cannot hold and a size beyond the limit make the
// sketch dense. Which runs it leaves for which history is part of the representation.
func (s *Sketch) raiseSparse(index int, rank byte, limit int64) (bool, error) {
	if err := s.complete(); err != nil {
		return false, err
	}
	// at is where the register's run stands, behind the run at before; first is the run's first register.
	p := s.v[headerLen:]
	at, before, first := 0, 0, 0
	for {
		size, n := 1, int(p[at]&3)+1
		if b := p[at]; b&(isValue|twoBytes) == 0 {
			n = int(b) + 1
		} else if b&isValue == 0 {
			size, n = 2, int(b&^twoBytes)<<8+int(p[at+1])+1
		}
		if index < first+n {
			break
		}
		before, at, first = at, at+size, first+n
	}
	r, _ := runAt(p[at:])
	if r.rank >= rank {
		return false, nil
	}
	if rank > sparseTop {
		return true, s.raiseDensified(index, rank)
	}
	var seq [5]byte
	split := splitRun(seq[:0], r, index-first, rank)
	if growth := len(split) - r.size; growth > 0 && limit >= 0 && int64(len(s.v)+growth) > limit {
		s.Outgrown = true
		return true, s.raiseDensified(index, rank)
	}
	s.own()
	at += headerLen
	s.v = slices.Replace(s.v, at, at+r.size, split...)
	s.v = joinValues(s.v, headerLen+before)
	s.Outdate()
	return true, nil
}

func (s *Sketch) raiseDensified(index int, rank byte) error {
	if _, err := s.Densify(); err != nil {
		return err
	}
	setDense(s.v[headerLen:], index, rank)
	return nil
}

// splitRun appends what becomes of a run of which one register, number i in it, changes to rank.
func splitRun(dst []byte, r run, i int, rank byte) []byte {
	same := func(dst []byte, n int) []byte {
		if r.rank == 0 {
			return appendZeros(dst, n)
		}
		return appendValues(dst, n, r.rank)
	}
	dst = appendValues(same(dst, i), 1, rank)
	return same(dst, r.n-i-1)
}

// joinValues joins neighbouring runs of equal values, as far as a run holds them. Beginning at a run it looks at
// five, counting one again that it has joined with the next.
func joinValues(v []byte, at int) []byte {
	for range 5 {
		if at >= len(v) {
			break
		}
		r, _ := runAt(v[at:])
		if r.rank > 0 && at+1 < len(v) {
			if next, _ := runAt(v[at+1:]); next.rank == r.rank && r.n+next.n <= valueMax {
				v = slices.Delete(v, at, at+1)
				appendValues(v[:at], r.n+next.n, r.rank)
				continue
			}
		}
		at += r.size
	}
	return v
}

// Decode spells the runs as PFDEBUG DECODE does: z and Z for zeros, v for values.
func (s *Sketch) Decode() (string, error) {
	if err := s.complete(); err != nil {
		return "", err
	}
	var b strings.Builder
	for p := s.v[headerLen:]; len(p) > 0; {
		r, _ := runAt(p)
		switch {
		case r.rank > 0:
			fmt.Fprintf(&b, " v:%d,%d", r.rank, r.n)
		case r.size == 1:
			fmt.Fprintf(&b, " z:%d", r.n)
		default:
			fmt.Fprintf(&b, " Z:%d", r.n)
		}
		p = p[r.size:]
	}
	return b.String()[1:], nil
}
