package str

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestFloats(t *testing.T) {
	for _, c := range []struct{ a, b, sum string }{
		{"0.1", "0.2", "0.3"}, {"3.0e3", "0", "3000"}, {"1", "-1", "0"}, {"-0", "-0", "0"}, {"-1e-30", "0", "0"},
		{"0x10", "0", "16"}, {"0x.8", "0x1.8p0", "2"}, {"1e-17", "0", "0.00000000000000001"}, {"1e-18", "0", "0"},
		{"18446744073709551616", "1", "18446744073709551616"}, {"18446744073709551615", "0",
			"18446744073709551615"},
		{".5", "5.", "5.5"}, {"1e4932", "0", ""}, {"1e4932", "1e4932", "overflow"}, {"inf", "1", "overflow"},
		{"1", "-Infinity", "overflow"},
	} {
		a, ok1 := ParseFloat([]byte(c.a))
		b, ok2 := ParseFloat([]byte(c.b))
		if !ok1 || !ok2 {
			t.Errorf("%s or %s is not read", c.a, c.b)
			continue
		}
		sum, ok := a.Add(b)
		if ok != (c.sum != "overflow") || ok && c.sum != "" && string(sum) != c.sum {
			t.Errorf("%s + %s = %s %v, want %s", c.a, c.b, sum, ok, c.sum)
		}
	}
	for _, bad := range []string{"", "-", "+", ".", "e", "e5", "1e", "1e+", "nan", "-nan", " 1", "1 ", "1_0",
		"0b1", "0o7", "0x", "0xg",
		"1e4933", "1e-4960", "1e99999999999999999999", "1e-99999999999999999999", "--1", "1.2.3", "infinit",
		"1\x00",
		strings.Repeat("1", maxText)} {
		if _, ok := ParseFloat([]byte(bad)); ok {
			t.Errorf("%.40q is read as a number", bad)
		}
	}
	for _, good := range []string{"0e9", "0000", "1e4932", "-1e-4940", "0x1p-16445", strings.Repeat("0", 5000) +
		"1"} {
		if _, ok := ParseFloat([]byte(good)); !ok {
			t.Errorf("%.40q is not read", good)
		}
	}
}

func FuzzParseFloat(f *testing.F) {
	for _, s := range []string{"1.5", "-0x1p3", "1e400", "inf", "0x.p1", "1e-4951"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok := ParseFloat(b)
		if !ok || n.IsInf() {
			return
		}
		zero, _ := ParseFloat([]byte("0"))
		text, ok := n.Add(zero)
		if !ok {
			t.Fatalf("%q + 0 overflows", b)
		}
		again, ok := ParseFloat(text)
		if !ok {
			t.Fatalf("%q prints as %q, which is no number", b, text)
		}
		if second, _ := again.Add(zero); string(second) != string(text) {
			t.Fatalf("%q prints as %q, that as %q", b, text, second)
		}
	})
}

// common tells by brute force how long the longest common subsequence is.
func common(a, b []byte) int {
	switch {
	case len(a) == 0 || len(b) == 0:
		return 0
	case a[0] == b[0]:
		return 1 + common(a[1:], b[1:])
	}
	return max(common(a[1:], b), common(a, b[1:]))
}

func TestLCS(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	text := func() []byte {
		b := make([]byte, rng.IntN(9))
		for i := range b {
			b[i] = byte('a' + rng.IntN(3))
		}
		return b
	}
	for range 500 {
		a, b := text(), text()
		l := NewLCS(a, b)
		got := l.Bytes()
		if want := common(a, b); l.Len() != want || len(got) != want {
			t.Fatalf("%s and %s: %q, want %d bytes", a, b, got, want)
		}
		// The matches, joined from behind, are that sequence.
		joined, lastA, lastB := "", len(a), len(b)
		l.Ranges(func(m Match) {
			if m.Len < 1 || m.A+m.Len > lastA || m.B+m.Len > lastB ||
				string(a[m.A:m.A+m.Len]) != string(b[m.B:m.B+m.Len]) {
				t.Fatalf("%s and %s: match %+v", a, b, m)
			}
			joined, lastA, lastB = string(a[m.A:m.A+m.Len])+joined, m.A, m.B
		})
		if joined != string(got) {
			t.Fatalf("%s and %s: matches %q, sequence %q", a, b, joined, got)
		}
	}
}
