package hll

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// place is the register that an element belongs to and the rank that it asks for: the number of zeros at the low
// end of the rest of its hash, and one.
func place(element []byte) (index int, rank byte) {
	h := murmur(element)
	// The bit above all others bounds the run.
	return int(h & (registers - 1)), byte(bits.TrailingZeros64(h>>indexBits|1<<rankBits)) + 1
}

// murmur is MurmurHash64A (Austin Appleby, public domain) with the seed that Redis uses.
func murmur(b []byte) uint64 {
	const (
		seed  = 0xadc83b19
		prime = 0xc6a4a7935bd1e995
		shift = 47
	)
	h := seed ^ uint64(len(b))*prime
	for ; len(b) >= 8; b = b[8:] {
		k := binary.LittleEndian.Uint64(b) * prime
		k ^= k >> shift
		h = (h ^ k*prime) * prime
	}
	if len(b) > 0 {
		var tail [8]byte
		copy(tail[:], b)
		h = (h ^ binary.LittleEndian.Uint64(tail[:])) * prime
	}
	h = (h ^ h>>shift) * prime
	return h ^ h>>shift
}

// histogram counts the registers of each rank.
type histogram [registerMax + 1]int

// estimate is Ertl's improved raw estimator (arXiv:1702.01284, algorithm 6). The products are rounded before they
// are added, so that no processor fuses the two and answers another number.
func (h *histogram) estimate() uint64 {
	const m = float64(registers)
	z := m * tau(1-float64(h[rankBits+1])/m)
	for rank := rankBits; rank >= 1; rank-- {
		z = (z + float64(h[rank])) / 2
	}
	z += float64(m * sigma(float64(h[0])/m))
	if z == 0 {
		return math.MaxInt64 // no registers that hashes make
	}
	const alpha = 0.5 / math.Ln2
	return uint64(math.Round(alpha * m * m / z))
}

// sigma corrects for registers that are zero, the share x of all: x + the sum of x^(2^k) * 2^(k-1).
func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	sum, weight := x, 1.0
	for {
		x *= x
		next := sum + float64(x*weight)
		if next == sum {
			return sum
		}
		sum, weight = next, weight*2
	}
}

// tau corrects for registers that are full, all but the share x: (1 - x - the sum of (1-x^(2^-k))^2 * 2^-k) / 3.
func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	rest, weight := 1-x, 1.0
	for {
		x, weight = math.Sqrt(x), weight/2
		next := rest - float64((1-x)*(1-x)*weight)
		if next == rest {
			return rest / 3
		}
		rest = next
	}
}

// SelfTest checks the package on this machine: registers keep what they are given, both representations say the
// same, and estimates are as good as 16384 registers allow. It is what PFSELFTEST runs.
func SelfTest() error {
	const elements = 200_000
	// The standard error is 1.04/sqrt(16384), 0.8 %; six of them are never exceeded by chance.
	const tolerance = 6 * 1.04 / 128
	grown, small := New(), New()
	if _, err := grown.Densify(); err != nil {
		return err
	}
	var element [8]byte
	for i := uint64(1); i <= elements; i++ {
		binary.LittleEndian.PutUint64(element[:], i*0x9e3779b97f4a7c15)
		index, rank := place(element[:])
		before := denseAt(grown.v[headerLen:], index)
		if _, err := grown.Raise(index, rank, -1); err != nil {
			return err
		}
		if got := denseAt(grown.v[headerLen:], index); got != max(before, rank) {
			return fmt.Errorf("register %d holds %d in place of %d", index, got, max(before, rank))
		}
		if i <= 2000 {
			if _, err := small.Raise(index, rank, -1); err != nil {
				return err
			}
		}
		if i&(i-1) == 0 || i == 2000 || i == elements {
			n, err := grown.Count()
			if err != nil {
				return err
			}
			if diff := math.Abs(float64(n) - float64(i)); diff > math.Ceil(tolerance*float64(i)) {
				return fmt.Errorf("%d elements are counted as %d", i, n)
			}
		}
		if i == 2000 {
			a, errA := grown.Count()
			b, errB := small.Count()
			if errA != nil || errB != nil || a != b {
				return fmt.Errorf("dense registers count %d, sparse ones %d", a, b)
			}
		}
	}
	return nil
}
