package resp

import (
	"math"
	"strconv"
	"testing"
)

// numberSamples are spellings on both sides of what Redis takes for a number.
var numberSamples = []string{
	"", "0", "1", "9", "10", "-1", "-0", "+1", "00", "01", "-01", " 1", "1 ", "1.", ".5", ".", "-", "+",
	"--1", "1-",
	"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
	"9999999999999999999", "99999999999999999999", "12345678901234567890123", "1\x00", "\x001", "a", "1a",
	"1_000",
	"1.5", "-1.5", "+1.5", "1e3", "1E3", "1e+3", "1e-3", "1e", "e3", "1e3.5", "1.5.5", "0.1", "-0.0", "0.0",
	"1e308",
	"1e309", "-1e309", "1.7976931348623157e308", "1.7976931348623159e308", "5e-324", "1e-323", "2e-324",
	"1e-400",
	"0e-400", "0e999", "inf", "-inf", "+inf", "INF", "Infinity", "-infinity", "infinit", "nan", "-nan", "NaN",
	"nan(1)", "0x10", "-0x1A", "0x1.8p1", "0x1p-2", "0x", "0xg", "0x1p", "0x1_0", "0x.8", "0x1p-2000",
	"0x0p-2000", "1p3",
	"\t1", "\n1", "1\n", "1e00000000001", "000000.5", "0.30000000000000004", "123456789012345678",
	"9007199254740993", "3.14159265358979323846264338327950288", "4.35", "0x1.fffffffffffff8p1023",
}

func TestParseInt(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true}, {"7", 7, true}, {"-7", -7, true}, {"9223372036854775807", math.MaxInt64, true},
		{"-9223372036854775808", math.MinInt64, true}, {"9223372036854775808", 0, false},
		{"-9223372036854775809", 0, false}, {"18446744073709551617", 0, false}, {"-0", 0, false},
		{"+1", 0, false}, {"01", 0, false}, {" 1", 0, false}, {"1 ", 0, false}, {"", 0, false}, {"-", 0, false},
		{"/", 0, false}, {":", 0, false}, {"1:", 0, false},
	} {
		if got, ok := ParseInt([]byte(tc.in)); got != tc.want || ok != tc.ok {
			t.Errorf("ParseInt(%q) = %d, %v; want %d, %v", tc.in, got, ok, tc.want, tc.ok)
		}
	}
}

func FuzzParseInt(f *testing.F) {
	for _, s := range numberSamples {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := ParseInt(b)
		want, err := strconv.ParseInt(string(b), 10, 64)
		strict := err == nil && strconv.FormatInt(want, 10) == string(b)
		if ok != strict || ok && got != want {
			t.Fatalf("ParseInt(%q) = %d, %v; want %d, %v", b, got, ok, want, strict)
		}
	})
}

func FuzzParseFloat(f *testing.F) {
	for _, s := range numberSamples {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := ParseFloat(b)
		if !ok {
			return
		}
		s := FormatFloat(got)
		again, ok := ParseFloat([]byte(s))
		if !ok || math.Float64bits(again) != math.Float64bits(got) {
			t.Fatalf("%q is %v, printed %s, read back %v, %v", b, got, s, again, ok)
		}
	})
}

// The layouts are what the formatting library of Redis 7.2 gives for these digits and exponents.
func TestFormatFloat(t *testing.T) {
	for _, tc := range []struct {
		in   float64
		want string
	}{
		{0, "0"}, {math.Copysign(0, -1), "-0"}, {1, "1"}, {-1, "-1"}, {3, "3"}, {0.1, "0.1"}, {-0.1, "-0.1"},
		{1.5, "1.5"}, {3.3, "3.3"}, {0.30000000000000004, "0.30000000000000004"}, {math.Pi, "3.141592653589793"},
		{math.Inf(1), "inf"}, {math.Inf(-1), "-inf"}, {math.NaN(), "nan"},
		{100, "100"}, {1e15, "1000000000000000"}, {1e17, "100000000000000000"}, {1 << 61, "2305843009213693952"},
		{1e19, "1e+19"}, {1e20, "1e+20"}, {-1e20, "-1e+20"}, {1e100, "1e+100"}, {1.5e300, "1.5e+300"},
		{12345678901234567890, "12345678901234567000"}, {1.2345e22, "1.2345e+22"},
		{0.000001, "0.000001"}, {0.0000001, "1e-7"}, {1.5e-7, "1.5e-7"}, {0.00012345678, "1.2345678e-4"},
		{0.0012345678, "0.0012345678"}, {123.45678901, "123.45678901"}, {12345.678901, "12345.678901"},
		{12345.678901234, "1.2345678901234e+4"}, {1234.5678901234, "1234.5678901234"}, {5e-324, "5e-324"},
		{math.MaxFloat64, "1.7976931348623157e+308"}, {166274.1516, "166274.1516"}, {1689345345.123456,
			"1689345345.123456"},
	} {
		if got := FormatFloat(tc.in); got != tc.want {
			t.Errorf("FormatFloat(%v) = %s, want %s", strconv.FormatFloat(tc.in, 'g', -1, 64), got, tc.want)
		}
	}
}
