package resp

import (
	"bytes"
	"math"
	"strconv"
)

// ParseInt reads a 64-bit integer with the strictness of Redis (string2ll): digits with at most a minus sign
// in front; no plus, no white space, no leading zero, no "-0". There is one spelling of each number.
func ParseInt(b []byte) (int64, bool) {
	if len(b) == 1 && b[0]-'0' <= 9 {
		return int64(b[0] - '0'), true
	}
	digits, limit := b, uint64(math.MaxInt64)
	if len(b) > 0 && b[0] == '-' {
		digits, limit = b[1:], 1<<63
	}
	if len(digits) == 0 || len(digits) > 19 || digits[0] < '1' || digits[0] > '9' {
		return 0, false
	}
	var n uint64 // 19 digits cannot overflow it
	for _, c := range digits {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	if n > limit {
		return 0, false
	}
	if limit == 1<<63 {
		return -int64(n), true // also right for 1<<63, which negation keeps
	}
	return int64(n), true
}

// ParseFloat reads a double as Redis does with strtod: decimal or hexadecimal, "inf" and "infinity" in any
// case and with a sign; no NaN, no white space, nothing out of the range of a double (a result that would
// be rounded to zero or infinity is refused).
func ParseFloat(b []byte) (float64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	if n, ok := ParseInt(b); ok && -1<<53 <= n && n <= 1<<53 {
		return float64(n), true
	}
	if bytes.IndexByte(b, '_') >= 0 { // Go's digit separator is none in C
		return 0, false
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil && isHexFloat(b) && bytes.IndexAny(b, "pP") < 0 {
		f, err = strconv.ParseFloat(string(b)+"p0", 64) // C does not insist on the exponent
	}
	if err != nil || math.IsNaN(f) || f == 0 && !isZero(b) {
		return 0, false
	}
	return f, true
}

func isHexFloat(b []byte) bool {
	if b[0] == '+' || b[0] == '-' {
		b = b[1:]
	}
	return len(b) > 2 && b[0] == '0' && b[1]|0x20 == 'x'
}

// isZero tells whether the digits of a valid number are all zero, so that zero is its value and not the
// result of an underflow.
func isZero(b []byte) bool {
	hex := isHexFloat(b)
	for _, c := range b {
		switch {
		case !hex && c|0x20 == 'e', hex && c|0x20 == 'p':
			return true
		case c >= '1' && c <= '9', hex && c|0x20 >= 'a' && c|0x20 <= 'f':
			return false
		}
	}
	return true
}

// FormatFloat prints a double as Redis 7.2 does in replies; see AppendFloat.
func FormatFloat(f float64) string {
	var buf [32]byte
	return string(AppendFloat(buf[:0], f))
}

// AppendFloat appends f in the form of Redis 7.2's replies (d2string): the fewest digits that read back as
// f; "inf", "-inf", "nan"; integers without exponent as long as they fit an int64 with a bit to spare.
// Numbers of other sizes follow the layout of the library that Redis uses (fpconv).
func AppendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case f == 0 && math.Signbit(f):
		return append(dst, "-0"...)
	case f > -1<<62 && f < 1<<62 && f == math.Trunc(f):
		return strconv.AppendInt(dst, int64(f), 10)
	}
	// "-d.ddde-xx": sign, digits and exponent are taken from there.
	var buf [32]byte
	s := strconv.AppendFloat(buf[:0], f, 'e', -1, 64)
	if s[0] == '-' {
		dst = append(dst, '-')
		s = s[1:]
	}
	e := bytes.IndexByte(s, 'e')
	exponent, _ := strconv.Atoi(string(s[e+1:])) // cannot fail: strconv wrote it
	digits := s[:1]
	if e > 1 {
		copy(s[1:], s[2:e]) // over the point
		digits = s[:e-1]
	}
	return appendDigits(dst, digits, exponent)
}

// appendDigits appends d.ddd x 10^exponent in the layout of fpconv: plain up to seven zeros behind the
// digits, with a point up to six decimals or a magnitude between 1e-4 and 1e4, else with an exponent
// that has no leading zeros.
func appendDigits(dst, digits []byte, exponent int) []byte {
	scale := exponent - len(digits) + 1 // of the last digit
	magnitude := max(exponent, -exponent)
	switch {
	case scale >= 0 && magnitude < len(digits)+7:
		dst = append(dst, digits...)
		for range scale {
			dst = append(dst, '0')
		}
		return dst
	case scale < 0 && (scale > -7 || magnitude < 4):
		whole := len(digits) + scale
		if whole > 0 {
			dst = append(append(dst, digits[:whole]...), '.')
			return append(dst, digits[whole:]...)
		}
		dst = append(dst, "0."...)
		for range -whole {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	dst = append(dst, digits[0])
	if len(digits) > 1 {
		dst = append(append(dst, '.'), digits[1:]...)
	}
	if exponent < 0 {
		dst = append(dst, 'e', '-')
	} else {
		dst = append(dst, 'e', '+')
	}
	return strconv.AppendInt(dst, int64(magnitude), 10)
}
