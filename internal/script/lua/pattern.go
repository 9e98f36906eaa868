package lua

import "strings"

// matcher matches patterns of the language. It backtracks as the reference does, but in bounded depth, and its time
// is the run's.
type matcher struct {
	st       *State
	src, pat string
	level    int
	depth    int
	work     int
	capture  [maxCaptures]struct{ at, n int }
}

const (
	maxCaptures   = 32
	maxMatchDepth = 200
	capUnfinished = -1
	capPosition   = -2
	// matchWork is how many comparisons are one step.
	matchWork = 32
)

func (m *matcher) fail(format string, a ...any) { m.st.Fail(format, a...) }

func (m *matcher) tick() {
	if m.work++; m.work >= matchWork {
		m.work = 0
		m.st.rt.step()
	}
}

// match matches the pattern from p on at s; the result is the end of the match, -1 without one.
func (m *matcher) match(s, p int) int {
	if m.depth++; m.depth > maxMatchDepth {
		m.fail("pattern too complex")
	}
	defer func() { m.depth-- }()
	for p < len(m.pat) {
		m.tick()
		switch m.pat[p] {
		case '(':
			if p+1 < len(m.pat) && m.pat[p+1] == ')' {
				return m.open(s, p+2, capPosition)
			}
			return m.open(s, p+1, capUnfinished)
		case ')':
			return m.closeCapture(s, p+1)
		case '%':
			if p+1 < len(m.pat) {
				switch c := m.pat[p+1]; {
				case c == 'b':
					if s = m.balance(s, p+2); s < 0 {
						return -1
					}
					p += 4
					continue
				case c == 'f':
					p += 2
					if p >= len(m.pat) || m.pat[p] != '[' {
						m.fail("missing '[' after '%%f' in pattern")
					}
					end := m.classEnd(p)
					var before, after byte
					if s > 0 {
						before = m.src[s-1]
					}
					if s < len(m.src) {
						after = m.src[s]
					}
					if m.inSet(before, p, end-1) || !m.inSet(after, p, end-1) {
						return -1
					}
					p = end
					continue
				case isDigit(c):
					if s = m.back(s, c); s < 0 {
						return -1
					}
					p += 2
					continue
				}
			}
		case '$':
			if p+1 == len(m.pat) {
				if s == len(m.src) {
					return s
				}
				return -1
			}
		}
		end := m.classEnd(p)
		var suffix byte
		if end < len(m.pat) {
			suffix = m.pat[end]
		}
		one := s < len(m.src) && m.single(m.src[s], p, end)
		switch suffix {
		case '?':
			if one {
				if r := m.match(s+1, end+1); r >= 0 {
					return r
				}
			}
			p = end + 1
		case '*':
			return m.most(s, p, end)
		case '+':
			if !one {
				return -1
			}
			return m.most(s+1, p, end)
		case '-':
			return m.least(s, p, end)
		default:
			if !one {
				return -1
			}
			s++
			p = end
		}
	}
	return s
}

// most takes as many single matches as there are, and then fewer.
func (m *matcher) most(s, p, end int) int {
	i := 0
	for s+i < len(m.src) && m.single(m.src[s+i], p, end) {
		m.tick()
		i++
	}
	for ; i >= 0; i-- {
		m.tick()
		if r := m.match(s+i, end+1); r >= 0 {
			return r
		}
	}
	return -1
}

func (m *matcher) least(s, p, end int) int {
	for {
		m.tick()
		if r := m.match(s, end+1); r >= 0 {
			return r
		}
		if s >= len(m.src) || !m.single(m.src[s], p, end) {
			return -1
		}
		s++
	}
}

func (m *matcher) open(s, p, kind int) int {
	if m.level >= maxCaptures {
		m.fail("too many captures")
	}
	m.capture[m.level].at, m.capture[m.level].n = s, kind
	m.level++
	r := m.match(s, p)
	if r < 0 {
		m.level--
	}
	return r
}

func (m *matcher) closeCapture(s, p int) int {
	l := m.level - 1
	for ; l >= 0 && m.capture[l].n != capUnfinished; l-- {
	}
	if l < 0 {
		m.fail("invalid pattern capture")
	}
	m.capture[l].n = s - m.capture[l].at
	r := m.match(s, p)
	if r < 0 {
		m.capture[l].n = capUnfinished
	}
	return r
}

func (m *matcher) balance(s, p int) int {
	if p+1 >= len(m.pat) {
		m.fail("unbalanced pattern")
	}
	if s >= len(m.src) || m.src[s] != m.pat[p] {
		return -1
	}
	open, end, depth := m.pat[p], m.pat[p+1], 1
	for i := s + 1; i < len(m.src); i++ {
		m.tick()
		switch c := m.src[i]; {
		case c == end:
			if depth--; depth == 0 {
				return i + 1
			}
		case c == open:
			depth++
		}
	}
	return -1
}

// back matches what a capture has matched.
func (m *matcher) back(s int, digit byte) int {
	l := int(digit) - '1'
	if l < 0 || l >= m.level || m.capture[l].n == capUnfinished {
		m.fail("invalid capture index")
	}
	c := m.capture[l]
	if c.n < 0 {
		m.fail("invalid capture index")
	}
	m.st.rt.take(c.n / 256)
	if strings.HasPrefix(m.src[s:], m.src[c.at:c.at+c.n]) {
		return s + c.n
	}
	return -1
}

// classEnd is the position behind the class that begins at p.
func (m *matcher) classEnd(p int) int {
	c := m.pat[p]
	p++
	switch c {
	case '%':
		if p >= len(m.pat) {
			m.fail("malformed pattern (ends with '%%')")
		}
		return p + 1
	case '[':
		if p < len(m.pat) && m.pat[p] == '^' {
			p++
		}
		for first := true; first || p >= len(m.pat) || m.pat[p] != ']'; first = false {
			if p >= len(m.pat) {
				m.fail("malformed pattern (missing ']')")
			}
			m.tick()
			if m.pat[p] == '%' {
				p++ // the end is found out in the next turn
			}
			p++
		}
		return p + 1
	}
	return p
}

func (m *matcher) single(c byte, p, end int) bool {
	switch m.pat[p] {
	case '.':
		return true
	case '%':
		return inClass(c, m.pat[p+1])
	case '[':
		return m.inSet(c, p, end-1)
	}
	return m.pat[p] == c
}

// inSet tells whether c is in the set that stands between p, its '[', and last, its ']'.
func (m *matcher) inSet(c byte, p, last int) bool {
	in := true
	if m.pat[p+1] == '^' {
		in = false
		p++
	}
	for p++; p < last; p++ {
		m.tick()
		switch {
		case m.pat[p] == '%':
			p++
			if inClass(c, m.pat[p]) {
				return in
			}
		case p+2 < last && m.pat[p+1] == '-':
			if m.pat[p] <= c && c <= m.pat[p+2] {
				return in
			}
			p += 2
		case m.pat[p] == c:
			return in
		}
	}
	return !in
}

func inClass(c, class byte) bool {
	var in bool
	switch class | 0x20 {
	case 'a':
		in = isAlpha(c)
	case 'c':
		in = c < 32 || c == 127
	case 'd':
		in = isDigit(c)
	case 'l':
		in = 'a' <= c && c <= 'z'
	case 'p':
		in = c > 32 && c < 127 && !isAlpha(c) && !isDigit(c)
	case 's':
		in = strings.IndexByte(spaces, c) >= 0
	case 'u':
		in = 'A' <= c && c <= 'Z'
	case 'w':
		in = isAlpha(c) || isDigit(c)
	case 'x':
		in = isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f'
	case 'z':
		in = c == 0
	default:
		return class == c
	}
	if 'A' <= class && class <= 'Z' {
		return !in
	}
	return in
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// captured is a capture's value; the whole match stands for the first if there is none.
func (m *matcher) captured(i, s, e int) Value {
	if i >= m.level {
		if i != 0 {
			m.fail("invalid capture index")
		}
		return m.st.String(m.src[s:e])
	}
	c := m.capture[i]
	switch c.n {
	case capPosition:
		return Num(float64(c.at + 1))
	case capUnfinished:
		m.fail("unfinished capture")
	}
	return m.st.String(m.src[c.at : c.at+c.n])
}

// all appends the captures, or with whole the match if there are none.
func (m *matcher) all(dst []Value, s, e int, whole bool) []Value {
	n := m.level
	if n == 0 && whole {
		n = 1
	}
	for i := range n {
		dst = append(dst, m.captured(i, s, e))
	}
	return dst
}
