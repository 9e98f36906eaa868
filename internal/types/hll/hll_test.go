package hll

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestSelf(t *testing.T) {
	if err := SelfTest(); err != nil {
		t.Fatal(err)
	}
}

// The tests of package commands compare registers with redis-server's; this keeps the function as it is where there
// is none.
func TestPlaceIsStable(t *testing.T) {
	sum := uint64(0)
	var b []byte
	for i := range 100 {
		sum = sum*31 + murmur(b)
		b = append(b, byte(i*7))
	}
	if sum != 0x1d250ab1249d0f61 {
		t.Errorf("hashes sum up to %#x", sum)
	}
}

// Both representations hold what a plain array of registers holds, whatever the order.
func TestRaiseAgainstArray(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for round := range 30 {
		s, model := New(), Registers{}
		limit := int64(rng.IntN(4000) - 200)
		spread := 1 + rng.IntN(registers)
		for range 3000 {
			index, rank := rng.IntN(spread), byte(1+bitsOf(rng))
			raised, err := s.Raise(index, rank, limit)
			if err != nil || raised != (rank > model[index]) {
				t.Fatalf("round %d: register %d to %d: %v %v", round, index, rank, raised, err)
			}
			model[index] = max(model[index], rank)
			if !s.Dense() && limit >= headerLen+2 && int64(len(s.v)) > limit {
				t.Fatalf("round %d: %d bytes with a limit of %d", round, len(s.v), limit)
			}
		}
		var got Registers
		if err := got.Read(&s); err != nil || got != model {
			t.Fatalf("round %d: other registers, %v", round, err)
		}
		n, err := s.Count()
		if want := model.Count(); err != nil || n != want {
			t.Fatalf("round %d: counts %d, the array %d, %v", round, n, want, err)
		}
		if _, err := s.Densify(); err != nil {
			t.Fatal(err)
		}
		var again Registers
		if err := again.Read(&s); err != nil || again != model {
			t.Fatalf("round %d: other registers when dense, %v", round, err)
		}
	}
}

// bitsOf makes small numbers often and large ones rarely, as ranks are.
func bitsOf(rng *rand.Rand) int {
	n := 0
	for rng.IntN(2) == 0 && n < 40 {
		n++
	}
	return n
}

func TestOpenRefuses(t *testing.T) {
	good := New()
	for _, c := range []struct {
		what string
		v    []byte
		err  error
	}{
		{"empty", nil, ErrNotSketch},
		{"short", good.v[:headerLen-1], ErrNotSketch},
		{"magic", append([]byte("HYLX"), good.v[4:]...), ErrNotSketch},
		{"encoding", append([]byte("HYLL\x02"), good.v[5:]...), ErrNotSketch},
		{"dense size", append([]byte("HYLL\x00"), good.v[5:]...), ErrNotSketch},
		{"good", good.v, nil},
		{"no registers", good.v[:headerLen], ErrCorrupt},
		{"half a run", good.v[:headerLen+1], ErrCorrupt},
		{"too many", append(bytes.Clone(good.v), 0), ErrCorrupt},
		{"too few", append(bytes.Clone(good.v[:headerLen]), 0x7f, 0xfe), ErrCorrupt},
	} {
		s, err := Open(c.v)
		if err == nil {
			_, err = s.Count()
		}
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.what, err, c.err)
		}
	}
}

// What Open was given stays as it was.
func TestOpenCopies(t *testing.T) {
	for _, dense := range []bool{false, true} {
		s := New()
		if dense {
			_, _ = s.Densify()
		}
		before := bytes.Clone(s.v)
		o, err := Open(s.v)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Add([]byte("x"), 3000); err != nil {
			t.Fatal(err)
		}
		o.Outdate()
		if !bytes.Equal(s.v, before) || bytes.Equal(o.v, before) {
			t.Errorf("dense %v: the original changed", dense)
		}
	}
}

// Estimates of many sizes are as good as 16384 registers allow, whichever way they came about.
func TestEstimates(t *testing.T) {
	for _, n := range []int{0, 1, 2, 10, 100, 1000, 5000, 20_000, 100_000} {
		a, b := New(), New()
		for i := range n {
			element := fmt.Appendf(nil, "element:%d", i)
			half := &a
			if i%3 == 0 {
				half = &b
			}
			if _, err := half.Add(element, 3000); err != nil {
				t.Fatal(err)
			}
		}
		var all Registers
		if all.Read(&a) != nil || all.Read(&b) != nil {
			t.Fatal("unreadable")
		}
		got := float64(all.Count())
		if math.Abs(got-float64(n)) > math.Ceil(0.04*float64(n)) {
			t.Errorf("%d elements are counted as %.0f", n, got)
		}
		if err := a.Merge(&all, 3000); err != nil {
			t.Fatal(err)
		}
		if merged, err := a.Count(); err != nil || float64(merged) != got {
			t.Errorf("%d elements: union %.0f, merged %d, %v", n, got, merged, err)
		}
	}
}

// No string makes anything panic, and what was accepted stays whole.
func FuzzSketch(f *testing.F) {
	s := New()
	f.Add(bytes.Clone(s.v), []byte("x"), 100)
	for i := range 50 {
		_, _ = s.Add([]byte{byte(i)}, 3000)
	}
	f.Add(bytes.Clone(s.v), []byte("x"), 20)
	_, _ = s.Densify()
	f.Add(bytes.Clone(s.v), []byte("y"), 3000)
	f.Add([]byte("HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x7f"), []byte("y"), 3000)
	f.Fuzz(func(t *testing.T, v, element []byte, limit int) {
		s, err := Open(v)
		if err != nil {
			return
		}
		s.Cached()
		before, errBefore := s.Count()
		if !s.Dense() {
			if _, err := s.Decode(); (err == nil) != (errBefore == nil) {
				t.Fatalf("count says %v, decode %v", errBefore, err)
			}
		}
		_, err = s.Add(element, int64(limit))
		if !s.Dense() && (err == nil) != (errBefore == nil) {
			t.Fatalf("count says %v, add %v", errBefore, err)
		}
		if err != nil {
			return
		}
		after, err := s.Count()
		if err != nil || after < before && before < 1<<40 {
			t.Fatalf("%d before, %d after, %v", before, after, err)
		}
		var all Registers
		if err := all.Read(&s); err != nil || all.Count() != after {
			t.Fatalf("registers count %d, the sketch %d, %v", all.Count(), after, err)
		}
		if _, err := s.Densify(); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	for _, limit := range []int64{0, 3000} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) {
			s := New()
			var e [8]byte
			for i := 0; b.Loop(); i++ {
				e[0], e[1] = byte(i), byte(i>>8)&1
				_, _ = s.Add(e[:], limit)
			}
		})
	}
}

func BenchmarkCount(b *testing.B) {
	s := New()
	_, _ = s.Densify()
	for b.Loop() {
		_, _ = s.Count()
	}
}
