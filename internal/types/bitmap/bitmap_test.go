package bitmap

import (
	"bytes"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

// spelled writes a string's bits as zeros and ones: the model of all the tests.
func spelled(v []byte) string {
	var b strings.Builder
	for _, c := range v {
		fmt.Fprintf(&b, "%08b", c)
	}
	return b.String()
}

func randomBytes(rng *rand.Rand, n int) []byte {
	v := make([]byte, n)
	for i := range v {
		// Long runs of one value are what Find skips.
		switch rng.IntN(8) {
		case 0:
			v[i] = byte(rng.Uint32())
		case 1, 2, 3:
			v[i] = 0xff
		}
	}
	return v
}

func TestBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		v := randomBytes(rng, 1+rng.IntN(100))
		if rng.IntN(3) == 0 {
			v = bytes.Repeat([]byte{byte(-rng.IntN(2))}, len(v))
		}
		model := spelled(v)
		from := rng.Int64N(int64(len(model)))
		end := from + rng.Int64N(int64(len(model))-from+1)
		if got, want := Count(v, from, end), strings.Count(model[from:end], "1"); got != int64(want) {
			t.Fatalf("count of %s from %d to %d is %d, want %d", model, from, end, got, want)
		}
		for digit, on := range []bool{false, true} {
			want := strings.Index(model[from:end], fmt.Sprint(digit))
			if want >= 0 {
				want += int(from)
			}
			if got := Find(v, on, from, end); got != int64(want) {
				t.Fatalf("first %d of %s from %d to %d is %d, want %d", digit, model, from, end, got, want)
			}
		}
		if got := Get(v, from); got != (model[from] == '1') || Get(v, int64(len(model))+from) {
			t.Fatalf("bit %d of %s is %v", from, model, got)
		}
		on := rng.IntN(2)
		Set(v, from, on == 1)
		if want := model[:from] + fmt.Sprint(on) + model[from+1:]; spelled(v) != want || Size(from) > int64(len(v)) {
			t.Fatalf("bit %d of %s set to %d: %s", from, model, on, spelled(v))
		}
	}
}

func TestCombine(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	ops := map[Operation]func(a, b byte) byte{
		And: func(a, b byte) byte { return a & b },
		Or:  func(a, b byte) byte { return a | b },
		Xor: func(a, b byte) byte { return a ^ b },
	}
	for range 1000 {
		a, b := randomBytes(rng, rng.IntN(60)), randomBytes(rng, rng.IntN(60))
		n := max(len(a), len(b))
		at := func(v []byte, i int) byte {
			if i < len(v) {
				return v[i]
			}
			return 0
		}
		for op, f := range ops {
			want := make([]byte, n)
			for i := range want {
				want[i] = f(at(a, i), at(b, i))
			}
			if got := Combine(op, bytes.Clone(a), b); !bytes.Equal(got, want) {
				t.Fatalf("operation %d of %x and %x: %x, want %x", op, a, b, got, want)
			}
		}
		not := bytes.Clone(a)
		Not(not)
		for i := range a {
			if not[i] != ^a[i] {
				t.Fatalf("complement of %x: %x", a, not)
			}
		}
	}
}

// allFields are the types there are.
func allFields() (all []string) {
	for n := 1; n <= 64; n++ {
		all = append(all, fmt.Sprintf("i%d", n))
		if n < 64 {
			all = append(all, fmt.Sprintf("u%d", n))
		}
	}
	return all
}

func TestParseField(t *testing.T) {
	for _, s := range allFields() {
		if f, ok := ParseField([]byte(s)); !ok || f.Signed != (s[0] == 'i') || fmt.Sprint(f.Bits) != s[1:] {
			t.Errorf("%s reads as %+v %v", s, f, ok)
		}
	}
	for _, s := range []string{"", "i", "u", "i0", "u0", "u64", "i65", "i08", "i-1", "I8", "x8", "8", "i8 ", "u640", "i:"} {
		if f, ok := ParseField([]byte(s)); ok {
			t.Errorf("%q reads as %+v", s, f)
		}
	}
}

func TestFieldReadsAndWrites(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for _, s := range allFields() {
		f, _ := ParseField([]byte(s))
		for range 100 {
			v := randomBytes(rng, 20)
			offset := rng.Int64N(int64(len(v)*8 - int(f.Bits) + 1))
			model := spelled(v)
			digits := model[offset : offset+int64(f.Bits)]
			want, _ := new(big.Int).SetString(digits, 2)
			if f.Signed && digits[0] == '1' {
				want.Sub(want, new(big.Int).Lsh(big.NewInt(1), f.Bits))
			}
			if got := f.Read(v, offset); got != want.Int64() {
				t.Fatalf("%s at %d of %s: %d, want %d", s, offset, model, got, want)
			}
			n, _ := f.Fit(int64(rng.Uint64()), Wrap)
			f.Write(v, offset, n)
			if f.Read(v, offset) != n {
				t.Fatalf("%s at %d: %d reads back as %d", s, offset, n, f.Read(v, offset))
			}
			after := spelled(v)
			if after[:offset] != model[:offset] || after[offset+int64(f.Bits):] != model[offset+int64(f.Bits):] {
				t.Fatalf("%s at %d: other bits changed:\n%s\n%s", s, offset, model, after)
			}
		}
		if f.Read([]byte{0xff}, 8) != 0 || f.Read(nil, 1<<40) != 0 {
			t.Errorf("%s: what is behind the end is not zero", s)
		}
	}
}

// exact is what a number of any size becomes.
func exact(f Field, n *big.Int, o Overflow) (*big.Int, bool) {
	size := new(big.Int).Lsh(big.NewInt(1), f.Bits)
	least, end := big.NewInt(0), size
	if f.Signed {
		end = new(big.Int).Rsh(size, 1)
		least = new(big.Int).Neg(end)
	}
	greatest := new(big.Int).Sub(end, big.NewInt(1))
	low, high := n.Cmp(least) < 0, n.Cmp(greatest) > 0
	switch {
	case !low && !high:
		return n, true
	case o == Fail:
		return nil, false
	case o == Saturate && low:
		return least, true
	case o == Saturate:
		return greatest, true
	}
	m := new(big.Int).Mod(n, size)
	if m.Cmp(greatest) > 0 {
		m.Sub(m, size)
	}
	return m, true
}

func TestFieldArithmetic(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	// Numbers of all magnitudes, and those beside the limits.
	number := func() int64 {
		n := int64(rng.Uint64()) >> rng.IntN(64)
		if rng.IntN(2) == 0 {
			n = int64(1)<<rng.IntN(64) + rng.Int64N(3) - 1
		}
		if rng.IntN(4) == 0 {
			n = -n
		}
		return n
	}
	for _, s := range allFields() {
		f, _ := ParseField([]byte(s))
		for range 500 {
			o := Overflow(rng.IntN(3))
			n, more := number(), number()
			wide := big.NewInt(n)
			if !f.Signed {
				wide.SetUint64(uint64(n))
			}
			want, wantOK := exact(f, wide, o)
			if got, ok := f.Fit(n, o); ok != wantOK || ok && got != want.Int64() {
				t.Fatalf("%s: %d becomes %d %v, want %d %v", s, n, got, ok, want, wantOK)
			}
			n, _ = f.Fit(n, Wrap)
			want, wantOK = exact(f, new(big.Int).Add(big.NewInt(n), big.NewInt(more)), o)
			if got, ok := f.Add(n, more, o); ok != wantOK || ok && got != want.Int64() {
				t.Fatalf("%s: %d plus %d is %d %v, want %d %v", s, n, more, got, ok, want, wantOK)
			}
		}
	}
}

func BenchmarkCount(b *testing.B) {
	v := randomBytes(rand.New(rand.NewPCG(1, 1)), 1<<20)
	b.SetBytes(int64(len(v)))
	for b.Loop() {
		Count(v, 3, int64(len(v))*8-3)
	}
}
