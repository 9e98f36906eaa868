package lua

import (
	"fmt"
	"strings"
)

var stringLibrary library

func init() {
	stringLibrary = library{
		"byte": func(st *State, v []Value) []Value {
			a := st.Check("byte", v)
			s := a.Str(1)
			i := relative(a.OptInt(2, 1), len(s))
			j := min(relative(a.OptInt(3, i), len(s)), len(s))
			i = max(i, 1)
			if i > j {
				return nil
			}
			if j-i >= maxResults {
				st.Fail("string slice too long")
			}
			st.out = st.out[:0]
			for ; i <= j; i++ {
				st.out = append(st.out, Num(float64(s[i-1])))
			}
			return st.out
		},
		"char": func(st *State, v []Value) []Value {
			a := st.Check("char", v)
			b := make([]byte, len(v))
			for i := range v {
				n := a.Int(i + 1)
				if n < 0 || n > 255 {
					a.Bad(i+1, "invalid value")
				}
				b[i] = byte(n)
			}
			return st.Return(st.String(string(b)))
		},
		"dump": func(st *State, v []Value) []Value {
			st.Check("dump", v).Func(1)
			st.Fail("unable to dump given function")
			return nil
		},
		"find":  func(st *State, v []Value) []Value { return find(st, "find", v) },
		"match": func(st *State, v []Value) []Value { return find(st, "match", v) },
		"format": func(st *State, v []Value) []Value {
			return st.Return(st.String(format(st, v)))
		},
		"gmatch": gmatch,
		"gsub":   gsub,
		"len": func(st *State, v []Value) []Value {
			return st.Return(Num(float64(len(st.Check("len", v).Str(1)))))
		},
		"lower": func(st *State, v []Value) []Value { return mapBytes(st, "lower", v, lower) },
		"upper": func(st *State, v []Value) []Value { return mapBytes(st, "upper", v, upper) },
		"rep": func(st *State, v []Value) []Value {
			a := st.Check("rep", v)
			s, n := a.Str(1), a.Int(2)
			if n <= 0 || s == "" {
				return st.Return(st.String(""))
			}
			if n > maxString/len(s) {
				st.Fail("resulting string too large")
			}
			st.rt.reserve(n * len(s))
			st.rt.take(n * len(s) / 256)
			return st.Return(st.String(strings.Repeat(s, n)))
		},
		"reverse": func(st *State, v []Value) []Value {
			s := st.Check("reverse", v).Str(1)
			st.rt.take(len(s) / 256)
			b := make([]byte, len(s))
			for i := range b {
				b[i] = s[len(s)-1-i]
			}
			return st.Return(st.String(string(b)))
		},
		"sub": func(st *State, v []Value) []Value {
			a := st.Check("sub", v)
			s := a.Str(1)
			i, j := max(relative(a.Int(2), len(s)), 1), min(relative(a.OptInt(3, -1), len(s)), len(s))
			if i > j {
				return st.Return(st.String(""))
			}
			return st.Return(st.String(s[i-1 : j]))
		},
	}
}

// relative turns a position counted from the end, which is negative, into one from the start.
func relative(pos, n int) int {
	if pos < 0 {
		if pos < -n {
			return 0
		}
		return pos + n + 1
	}
	return pos
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}

func mapBytes(st *State, name string, v []Value, f func(byte) byte) []Value {
	s := st.Check(name, v).Str(1)
	st.rt.take(len(s) / 256)
	st.rt.reserve(len(s))
	b := []byte(s)
	for i, c := range b {
		b[i] = f(c)
	}
	return st.Return(st.String(string(b)))
}

const specials = "^$*+?.([%-"

func find(st *State, name string, v []Value) []Value {
	a := st.Check(name, v)
	s, pat := a.Str(1), a.Str(2)
	from := min(max(relative(a.OptInt(3, 1), len(s))-1, 0), len(s))
	if name == "find" && (a.Get(4).Truth() || !strings.ContainsAny(pat, specials)) {
		st.rt.take(len(s) / 256)
		if i := strings.Index(s[from:], pat); i >= 0 {
			return st.Return(Num(float64(from+i+1)), Num(float64(from+i+len(pat))))
		}
		return st.Return(Value{})
	}
	m := matcher{st: st, src: s, pat: pat}
	p := 0
	if strings.HasPrefix(pat, "^") {
		p = 1
	}
	for i := from; ; i++ {
		m.level = 0
		if e := m.match(i, p); e >= 0 {
			if name == "find" {
				return m.all([]Value{Num(float64(i + 1)), Num(float64(e))}, i, e, false)
			}
			return m.all(nil, i, e, true)
		}
		if i >= len(s) || p == 1 {
			return st.Return(Value{})
		}
	}
}

func gmatch(st *State, v []Value) []Value {
	a := st.Check("gmatch", v)
	s, pat := a.Str(1), a.Str(2)
	at := 0
	st.rt.charge(128)
	return st.Return(NewFunction("gmatch", func(st *State, _ []Value) []Value {
		m := matcher{st: st, src: s, pat: pat}
		for i := at; i <= len(s); i++ {
			m.level = 0
			if e := m.match(i, 0); e >= 0 {
				at = e
				if e == i {
					at++
				}
				return m.all(nil, i, e, true)
			}
		}
		at = len(s) + 1
		return nil
	}).Value())
}

func gsub(st *State, v []Value) []Value {
	a := st.Check("gsub", v)
	s, pat, repl := a.Str(1), a.Str(2), a.Get(3)
	switch repl.Kind() {
	case Number, StringKind, TableKind, FunctionKind:
	default:
		a.Bad(3, "string/function/table expected")
	}
	most := a.OptInt(4, len(s)+1)
	m := matcher{st: st, src: s, pat: pat}
	p := 0
	if strings.HasPrefix(pat, "^") {
		p = 1
	}
	var b []byte
	n, i := 0, 0
	for n < most {
		m.level = 0
		e := m.match(i, p)
		if e >= 0 {
			n++
			before := len(b)
			b = m.replace(b, repl, i, e)
			if len(b) > maxString {
				st.tooLong()
			}
			st.rt.reserve(len(b) - before)
		}
		switch {
		case e > i:
			i = e
		case i < len(s):
			b = append(b, s[i])
			i++
		default:
			i++ // behind the end
		}
		if i > len(s) || p == 1 {
			break
		}
	}
	if i < len(s) {
		st.rt.reserve(len(s) - i)
		b = append(b, s[i:]...)
	}
	return st.Return(st.String(string(b)), Num(float64(n)))
}

// replace appends what stands for a match.
func (m *matcher) replace(b []byte, repl Value, s, e int) []byte {
	var r Value
	switch repl.Kind() {
	case FunctionKind:
		r = first(m.st.Call(repl, m.all(nil, s, e, true)...))
	case TableKind:
		f := m.st.frames[m.st.nframe-1]
		r = f.index(repl, m.captured(0, s, e), f.line, nil)
	default:
		text, _ := toString(repl)
		for i := 0; i < len(text); i++ {
			if text[i] != '%' {
				b = append(b, text[i])
				continue
			}
			i++
			switch {
			case i >= len(text):
				b = append(b, 0) // what follows the string in the reference
			case text[i] == '0':
				b = append(b, m.src[s:e]...)
			case isDigit(text[i]):
				c, _ := toString(m.captured(int(text[i]-'1'), s, e))
				b = append(b, c...)
			default:
				b = append(b, text[i])
			}
			if len(b) > maxString {
				m.st.tooLong()
			}
		}
		return b
	}
	if !r.Truth() {
		return append(b, m.src[s:e]...)
	}
	text, ok := toString(r)
	if !ok {
		m.fail("invalid replacement value (a %s)", r.Kind())
	}
	return append(b, text...)
}

// directive is one of string.format's: flags, width, precision.
type directive struct {
	minus, plus, space, alt, zero bool
	width, prec                   int
	hasPrec                       bool
	verb                          byte
}

func parseDirective(st *State, f string, i int) (d directive, end int) {
	from := i
	for i < len(f) && strings.IndexByte("-+ #0", f[i]) >= 0 {
		switch f[i] {
		case '-':
			d.minus = true
		case '+':
			d.plus = true
		case ' ':
			d.space = true
		case '#':
			d.alt = true
		case '0':
			d.zero = true
		}
		i++
	}
	if i-from >= 6 {
		st.Fail("invalid format (repeated flags)")
	}
	number := func() (n int) {
		for k := 0; k < 2 && i < len(f) && isDigit(f[i]); k++ {
			n = n*10 + int(f[i]-'0')
			i++
		}
		return n
	}
	d.width = number()
	if i < len(f) && f[i] == '.' {
		i++
		d.hasPrec = true
		d.prec = number()
	}
	if i < len(f) && isDigit(f[i]) {
		st.Fail("invalid format (width or precision too long)")
	}
	if i < len(f) {
		d.verb = f[i]
	}
	return d, i + 1
}

// verb is the directive for package fmt.
func (d directive) format(verb byte) string {
	b := []byte{'%'}
	for _, f := range []struct {
		on bool
		c  byte
	}{{d.minus, '-'}, {d.plus, '+'}, {d.space, ' '}, {d.alt, '#'}, {d.zero, '0'}} {
		if f.on {
			b = append(b, f.c)
		}
	}
	if d.width > 0 {
		b = fmt.Appendf(b, "%d", d.width)
	}
	if d.hasPrec {
		b = fmt.Appendf(b, ".%d", d.prec)
	}
	return string(append(b, verb))
}

func (d directive) pad(s string) string {
	n := d.width - len(s)
	switch {
	case n <= 0:
		return s
	case d.minus:
		return s + strings.Repeat(" ", n)
	}
	return strings.Repeat(" ", n) + s
}

func format(st *State, v []Value) string {
	a := st.Check("format", v)
	f := a.Str(1)
	var b []byte
	arg := 1
	for i := 0; i < len(f); {
		st.rt.step()
		if f[i] != '%' {
			k := strings.IndexByte(f[i:], '%')
			if k < 0 {
				k = len(f) - i
			}
			b = append(b, f[i:i+k]...)
			i += k
			continue
		}
		if i++; i < len(f) && f[i] == '%' {
			b = append(b, '%')
			i++
			continue
		}
		arg++
		var d directive
		d, i = parseDirective(st, f, i)
		before := len(b)
		b = d.append(b, a, arg)
		if len(b) > maxString {
			st.tooLong()
		}
		st.rt.reserve(len(b) - before)
	}
	return string(b)
}

func (d directive) append(b []byte, a Args, arg int) []byte {
	if arg > a.Len() && strings.IndexByte("cdiouxXeEfgGqs", d.verb) >= 0 {
		a.Bad(arg, "no value")
	}
	switch d.verb {
	case 'c':
		return append(b, d.pad(string([]byte{byte(a.Int(arg))}))...)
	case 'd', 'i':
		d.alt = false
		return fmt.Appendf(b, d.format('d'), a.Int(arg))
	case 'o', 'u', 'x', 'X':
		n := a.Num(arg)
		u := uint64(toInt(n))
		if n >= 1<<63 {
			u = uint64(n)
		}
		verb := d.verb
		if d.plus, d.space = false, false; verb == 'u' {
			verb, d.alt = 'd', false
		}
		if u == 0 {
			d.alt = false
		}
		return fmt.Appendf(b, d.format(verb), u)
	case 'e', 'E', 'f', 'g', 'G':
		n := a.Num(arg)
		if s, ok := special(n); ok {
			if d.verb < 'a' {
				s = strings.ToUpper(s)
			}
			if d.plus && s[0] != '-' {
				s = "+" + s
			}
			return append(b, d.pad(s)...)
		}
		if !d.hasPrec {
			d.hasPrec, d.prec = true, 6
		}
		if (d.verb == 'g' || d.verb == 'G') && d.prec == 0 {
			d.prec = 1
		}
		return fmt.Appendf(b, d.format(d.verb), n)
	case 'q':
		return quote(b, a.Str(arg))
	case 's':
		s := a.Str(arg)
		if !d.hasPrec && len(s) >= 100 {
			return append(b, s...)
		}
		if i := strings.IndexByte(s, 0); i >= 0 {
			s = s[:i] // as in C
		}
		if d.hasPrec && d.prec < len(s) {
			s = s[:d.prec]
		}
		return append(b, d.pad(s)...)
	}
	what := "%"
	if d.verb != 0 {
		what += string([]byte{d.verb})
	}
	a.st.Fail("invalid option '%s' to 'format'", what)
	return nil
}

func quote(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\', '\n':
			b = append(b, '\\', c)
		case '\r':
			b = append(b, `\r`...)
		case 0:
			b = append(b, `\000`...)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
