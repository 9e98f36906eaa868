package str

import (
	"bytes"
	"math/big"
)

// Float is a number in the format of C's long double on x86-64, in which Redis adds in INCRBYFLOAT and
// HINCRBYFLOAT: 64 bits of precision and 15 of exponent. Other precisions would give other digits.
type Float struct{ n big.Float }

const (
	precision = 64
	// The binary exponents of big.Float (0.5 <= mantissa < 1) between which a long double lies, its
	// denormal numbers included.
	maxExponent = 16384
	minExponent = -16444
	// fraction is the number of decimals that Redis prints before it drops zeros at the end.
	fraction = 17
	// exponentBound is more than any exponent with which a text of maxText is a long double.
	exponentBound = 1 << 17
	// maxText is longer than any text of a long double that Redis reads.
	maxText = 5 * 1024
)

// ParseFloat reads a number as Redis does with strtold: decimal or hexadecimal, infinities, no NaN, no white
// space, nothing that would overflow or vanish.
func ParseFloat(b []byte) (Float, bool) {
	var f Float
	if len(b) == 0 || len(b) >= maxText {
		return f, false
	}
	f.n.SetPrec(precision)
	digits := b
	if b[0] == '+' || b[0] == '-' {
		digits = b[1:]
	}
	if bytes.EqualFold(digits, []byte("inf")) || bytes.EqualFold(digits, []byte("infinity")) {
		f.n.SetInf(b[0] == '-')
		return f, true
	}
	base := scanNumber(digits)
	if base == 0 {
		return f, false
	}
	text := string(b)
	if base == 16 && bytes.IndexAny(b, "pP") < 0 {
		text += "p0" // C does not insist on the exponent
	}
	if _, _, err := f.n.Parse(text, 0); err != nil || f.n.IsInf() {
		return f, false
	}
	if f.n.Sign() == 0 {
		return f, !hasDigit(digits, base)
	}
	e := f.n.MantExp(nil)
	return f, minExponent <= e && e <= maxExponent
}

// scanNumber tells the base of an unsigned number, 0 if it is none. Exponents that can't be those of a
// long double are refused here, before anybody computes with them.
func scanNumber(s []byte) (base int) {
	base, mark := 10, byte('e')
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' {
		s, base, mark = s[2:], 16, 'p'
	}
	count, point := 0, false
	for len(s) > 0 && (isDigit(s[0], base) || s[0] == '.' && !point) {
		if s[0] == '.' {
			point = true
		} else {
			count++
		}
		s = s[1:]
	}
	if count == 0 {
		return 0
	}
	if len(s) == 0 {
		return base
	}
	if s[0]|0x20 != mark {
		return 0
	}
	s = s[1:]
	if len(s) > 0 && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	exponent := 0
	for _, c := range s {
		if !isDigit(c, 10) {
			return 0
		}
		if exponent = exponent*10 + int(c-'0'); exponent > exponentBound {
			return 0
		}
	}
	if len(s) == 0 {
		return 0
	}
	return base
}

func isDigit(c byte, base int) bool {
	return c >= '0' && c <= '9' || base == 16 && c|0x20 >= 'a' && c|0x20 <= 'f'
}

// hasDigit reports whether a mantissa has a digit other than 0.
func hasDigit(s []byte, base int) bool {
	mark := byte('e')
	if base == 16 {
		s, mark = s[2:], 'p'
	}
	for _, c := range s {
		switch {
		case c|0x20 == mark:
			return false
		case c != '.' && c != '0':
			return true
		}
	}
	return false
}

// Add is the text of f + g as Redis prints it; ok is false if it is not a finite number.
func (f *Float) Add(g Float) (text []byte, ok bool) {
	if f.n.IsInf() || g.n.IsInf() {
		return nil, false
	}
	var sum big.Float
	sum.SetPrec(precision).SetMode(big.ToNearestEven).Add(&f.n, &g.n)
	if sum.Sign() != 0 && sum.MantExp(nil) > maxExponent {
		return nil, false
	}
	text = sum.Append(make([]byte, 0, 40), 'f', fraction)
	text = bytes.TrimRight(text, "0")
	text = bytes.TrimSuffix(text, []byte("."))
	if string(text) == "-0" {
		text = text[1:]
	}
	return text, true
}

// IsInf reports an infinity.
func (f *Float) IsInf() bool { return f.n.IsInf() }
