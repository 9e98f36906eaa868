// Package glob matches Redis' glob-style patterns byte by byte, with the rules of Redis' stringmatchlen:
// '*', '?', classes such as [a-z] and [^a], and backslash escapes. Pure. The work is bounded: a pattern
// with many stars can't take exponential time.
package glob

// Match reports whether s matches the pattern, with fold without regard to ASCII case.
func Match(pattern, s []byte, fold bool) bool {
	// The last star seen and where its text began: on a mismatch the star takes one byte more. Earlier
	// stars need no second look, so that the time is at most len(pattern) * len(s).
	starP, starS := -1, 0
	p, i := 0, 0
	for i < len(s) || p < len(pattern) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				starP, starS = p, i
				p++
				continue
			}
			if i < len(s) {
				if width, ok := one(pattern[p:], s[i], fold); ok {
					p += width
					i++
					continue
				}
			}
		}
		if starP < 0 || starS >= len(s) {
			return false
		}
		starS++
		p, i = starP+1, starS
	}
	return true
}

// one matches the first element of the pattern against a byte and returns the element's length.
func one(p []byte, c byte, fold bool) (int, bool) {
	switch p[0] {
	case '?':
		return 1, true
	case '[':
		return class(p, c, fold)
	case '\\':
		if len(p) > 1 {
			return 2, same(p[1], c, fold)
		}
	}
	return 1, same(p[0], c, fold)
}

func class(p []byte, c byte, fold bool) (int, bool) {
	i := 1
	not := i < len(p) && p[i] == '^'
	if not {
		i++
	}
	match := false
	for {
		switch {
		case i+1 < len(p) && p[i] == '\\':
			i++
			match = match || same(p[i], c, fold)
		case i >= len(p): // an open class ends with the pattern
			return i, match != not
		case p[i] == ']':
			return i + 1, match != not
		case i+2 < len(p) && p[i+1] == '-':
			lo, hi, x := p[i], p[i+2], c
			if lo > hi {
				lo, hi = hi, lo
			}
			if fold {
				lo, hi, x = lower(lo), lower(hi), lower(x)
			}
			match = match || lo <= x && x <= hi
			i += 2
		default:
			match = match || same(p[i], c, fold)
		}
		i++
	}
}

func same(a, b byte, fold bool) bool { return a == b || fold && lower(a) == lower(b) }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
