package script

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"haypile/internal/script/lua"
)

// jsonConfig are the settings of cjson. They are a run's own, so that no script changes what another one does.
type jsonConfig struct {
	sparseConvert           bool
	sparseRatio, sparseSafe int
	encodeDepth, decodeDepth,
	precision int
	keepBuffer                   bool
	encodeInvalid, decodeInvalid bool
	nullInvalid                  bool // encode_invalid_numbers("null")
}

var jsonDefaults = jsonConfig{sparseRatio: 2, sparseSafe: 10, encodeDepth: 1000, decodeDepth: 1000, precision: 14,
	keepBuffer: true, decodeInvalid: true}

// jsonMaxDepth bounds both depths, whatever a script sets: it is the host's stack that nesting takes.
const jsonMaxDepth = 10000

type jsonEncoder struct {
	st  *lua.State
	cfg *jsonConfig
	buf []byte
}

func (e *jsonEncoder) value(v lua.Value, depth int) {
	e.st.Runtime().Take(1)
	if len(e.buf) > maxReplyBytes {
		e.st.Fail("the encoded value is too large")
	}
	switch v.Kind() {
	case lua.StringKind:
		e.string(v.Text())
	case lua.Number:
		e.number(v.Number())
	case lua.Bool:
		e.buf = strconv.AppendBool(e.buf, v.Truth())
	case lua.Nil:
		e.buf = append(e.buf, "null"...)
	case lua.TableKind:
		e.table(v.Table(), depth+1)
	default:
		if v == lua.Null {
			e.buf = append(e.buf, "null"...)
			return
		}
		e.st.Fail("Cannot serialise %s: type not supported", v.Kind())
	}
}

func (e *jsonEncoder) number(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		switch {
		case e.cfg.nullInvalid:
			e.buf = append(e.buf, "null"...)
			return
		case !e.cfg.encodeInvalid:
			e.st.Fail("Cannot serialise number: must not be NaN or Inf")
		}
	}
	e.buf = append(e.buf, lua.FormatG(f, e.cfg.precision)...)
}

var jsonEscapes = [256]string{'"': `\"`, '\\': `\\`, '/': `\/`, '\b': `\b`, '\t': `\t`, '\n': `\n`, '\f': `\f`,
	'\r': `\r`, 0x7f: `\u007f`}

func (e *jsonEncoder) string(s string) {
	e.st.Runtime().Charge(len(s))
	b := append(e.buf, '"')
	for i := range len(s) {
		c := s[i]
		switch esc := jsonEscapes[c]; {
		case esc != "":
			b = append(b, esc...)
		case c < 0x20:
			const hex = "0123456789abcdef"
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	e.buf = append(b, '"')
}

func (e *jsonEncoder) table(t *lua.Table, depth int) {
	if depth > min(e.cfg.encodeDepth, jsonMaxDepth) {
		e.st.Fail("Cannot serialise, excessive nesting (%d)", depth)
	}
	if n := e.arrayLen(t); n > 0 {
		e.buf = append(e.buf, '[')
		for i := 1; i <= n; i++ {
			if i > 1 {
				e.buf = append(e.buf, ',')
			}
			e.value(t.Index(i), depth)
		}
		e.buf = append(e.buf, ']')
		return
	}
	e.buf = append(e.buf, '{')
	first := true
	t.Each(func(k, v lua.Value) {
		if !first {
			e.buf = append(e.buf, ',')
		}
		first = false
		switch k.Kind() {
		case lua.Number:
			e.buf = append(e.buf, '"')
			e.number(k.Number())
			e.buf = append(e.buf, '"')
		case lua.StringKind:
			e.string(k.Text())
		default:
			e.st.Fail("Cannot serialise table: table key must be a number or string")
		}
		e.buf = append(e.buf, ':')
		e.value(v, depth)
	})
	e.buf = append(e.buf, '}')
}

// arrayLen is the length of the array that a table is, or not more than 0 if it is none.
func (e *jsonEncoder) arrayLen(t *lua.Table) int {
	items, highest, array := 0, 0.0, true
	t.Each(func(k, _ lua.Value) {
		items++
		if f := k.Number(); k.IsNumber() && f >= 1 && f == math.Trunc(f) {
			highest = max(highest, f)
		} else {
			array = false
		}
	})
	if !array {
		return -1
	}
	c := e.cfg
	if c.sparseRatio > 0 && highest > float64(items)*float64(c.sparseRatio) && highest > float64(c.sparseSafe) {
		if !c.sparseConvert {
			e.st.Fail("Cannot serialise table: excessively sparse array")
		}
		return -1
	}
	if highest > maxReplyBytes {
		e.st.Fail("the encoded value is too large")
	}
	return int(highest)
}

// jsonDecoder parses text that may be anything.
type jsonDecoder struct {
	st    *lua.State
	cfg   *jsonConfig
	text  string
	pos   int
	depth int

	tok  string // of the present token, as messages name it
	at   int    // where it begins, or where it is wrong
	str  string
	num  float64
	bool bool
}

const (
	jObject, jObjectEnd = "T_OBJ_BEGIN", "T_OBJ_END"
	jArray, jArrayEnd   = "T_ARR_BEGIN", "T_ARR_END"
	jString, jNumber    = "T_STRING", "T_NUMBER"
	jBool, jNull        = "T_BOOLEAN", "T_NULL"
	jColon, jComma      = "T_COLON", "T_COMMA"
	jEnd                = "T_END"
)

func (d *jsonDecoder) fail(want string) {
	d.st.Fail("Expected %s but found %s at character %d", want, d.tok, d.at+1)
}

func (d *jsonDecoder) bad(what string, at int) { d.tok, d.at = what, at }

var jsonMarks = map[byte]string{'{': jObject, '}': jObjectEnd, '[': jArray, ']': jArrayEnd, ':': jColon, ',': jComma}

func (d *jsonDecoder) next() {
	d.st.Runtime().Take(1)
	for d.pos < len(d.text) && strings.IndexByte(" \t\n\r", d.text[d.pos]) >= 0 {
		d.pos++
	}
	d.at = d.pos
	if d.pos == len(d.text) {
		d.tok = jEnd
		return
	}
	c := d.text[d.pos]
	if mark, ok := jsonMarks[c]; ok {
		d.tok = mark
		d.pos++
		return
	}
	rest := d.text[d.pos:]
	switch {
	case c == '"':
		d.string()
	case c == '-' || '0' <= c && c <= '9':
		if !d.cfg.decodeInvalid && looseNumber(rest) {
			d.bad("invalid number", d.pos)
			return
		}
		d.number(rest)
	case strings.HasPrefix(rest, "true"):
		d.tok, d.bool = jBool, true
		d.pos += 4
	case strings.HasPrefix(rest, "false"):
		d.tok, d.bool = jBool, false
		d.pos += 5
	case strings.HasPrefix(rest, "null"):
		d.tok = jNull
		d.pos += 4
	case d.cfg.decodeInvalid && looseNumber(rest):
		d.number(rest)
	default:
		d.bad("invalid token", d.pos)
	}
}

// looseNumber reports whether what strtod would take for a number is none in JSON.
func looseNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	if s == "" {
		return false
	}
	if s[0] == '0' && len(s) > 1 {
		return s[1]|0x20 == 'x' || '0' <= s[1] && s[1] <= '9'
	}
	low := strings.ToLower(s[:min(len(s), 3)])
	return low == "inf" || low == "nan"
}

// number takes the longest front that strtod understands.
func (d *jsonDecoder) number(rest string) {
	n := numberLen(rest)
	f, ok := lua.ParseNumber(rest[:n])
	if n == 0 || !ok {
		d.bad("invalid number", d.pos)
		return
	}
	d.tok, d.num = jNumber, f
	d.pos += n
}

func numberLen(s string) int {
	i := 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		i++
	}
	low := strings.ToLower(s[i:min(len(s), i+8)])
	for _, w := range []string{"infinity", "inf", "nan"} {
		if strings.HasPrefix(low, w) {
			return i + len(w)
		}
	}
	decimal := func(c byte) bool { return '0' <= c && c <= '9' }
	isDigit, exp := decimal, byte('e')
	if len(s) > i+2 && s[i] == '0' && s[i+1]|0x20 == 'x' {
		isHex := func(c byte) bool { return decimal(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
		if isHex(s[i+2]) {
			i, isDigit, exp = i+2, isHex, 'p'
		}
	}
	digits := 0
	run := func() {
		for i < len(s) && isDigit(s[i]) {
			i++
			digits++
		}
	}
	run()
	if i < len(s) && s[i] == '.' {
		i++
		run()
	}
	if digits == 0 {
		return 0
	}
	if i+1 < len(s) && s[i]|0x20 == exp {
		j := i + 1
		if s[j] == '-' || s[j] == '+' {
			j++
		}
		if j < len(s) && '0' <= s[j] && s[j] <= '9' {
			for j < len(s) && '0' <= s[j] && s[j] <= '9' {
				j++
			}
			i = j
		}
	}
	return i
}

var jsonUnescape = map[byte]byte{'b': '\b', 't': '\t', 'n': '\n', 'f': '\f', 'r': '\r', '"': '"', '\\': '\\', '/': '/'}

func (d *jsonDecoder) string() {
	d.pos++
	from := d.pos
	for i := from; ; i++ {
		if i >= len(d.text) {
			d.bad("unexpected end of string", len(d.text))
			return
		}
		if c := d.text[i]; c == '"' {
			d.tok, d.str = jString, d.text[from:i]
			d.pos = i + 1
			return
		} else if c == '\\' {
			break
		}
	}
	var b []byte
	for d.pos < len(d.text) {
		switch c := d.text[d.pos]; c {
		case '"':
			d.tok, d.str = jString, string(b)
			d.pos++
			return
		case '\\':
			var next byte
			if d.pos+1 < len(d.text) {
				next = d.text[d.pos+1]
			}
			if next == 'u' {
				r, n := unicodeEscape(d.text[d.pos:])
				if n == 0 {
					d.bad("invalid unicode escape code", d.pos)
					return
				}
				b = utf8.AppendRune(b, r)
				d.pos += n
				continue
			}
			e, ok := jsonUnescape[next]
			if !ok {
				d.bad("invalid escape code", d.pos)
				return
			}
			b = append(b, e)
			d.pos += 2
		default:
			b = append(b, c)
			d.pos++
		}
	}
	d.bad("unexpected end of string", len(d.text))
}

// unicodeEscape reads \uXXXX, or two of them that make a pair; n is 0 if it is none.
func unicodeEscape(s string) (r rune, n int) {
	hex := func(s string) (rune, bool) {
		if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
			return 0, false
		}
		x, err := strconv.ParseUint(s[2:6], 16, 16)
		return rune(x), err == nil && s[2] != '+'
	}
	r, ok := hex(s)
	switch {
	case !ok:
		return 0, 0
	case r&0xf800 != 0xd800:
		return r, 6
	case r&0x400 != 0:
		return 0, 0
	}
	low, ok := hex(s[6:])
	if !ok || low&0xfc00 != 0xdc00 {
		return 0, 0
	}
	return (r&0x3ff)<<10 | low&0x3ff + 0x10000, 12
}

func (d *jsonDecoder) descend() {
	if d.depth++; d.depth > min(d.cfg.decodeDepth, jsonMaxDepth) {
		d.st.Fail("Found too many nested data structures (%d) at character %d", d.depth, d.pos)
	}
}

// value is the value that the present token begins.
func (d *jsonDecoder) value() lua.Value {
	switch d.tok {
	case jString:
		return d.st.String(d.str)
	case jNumber:
		return lua.Num(d.num)
	case jBool:
		return lua.Boolean(d.bool)
	case jNull:
		return lua.Null
	case jObject:
		return d.object()
	case jArray:
		return d.array()
	}
	d.fail("value")
	return lua.Value{}
}

func (d *jsonDecoder) object() lua.Value {
	d.descend()
	t := d.st.NewTable(0, 0)
	d.next()
	if d.tok == jObjectEnd {
		d.depth--
		return t.Value()
	}
	for {
		if d.tok != jString {
			d.fail("object key string")
		}
		key := d.st.String(d.str)
		if d.next(); d.tok != jColon {
			d.fail("colon")
		}
		d.next()
		d.st.SetRaw(t, key, d.value())
		d.next()
		if d.tok == jObjectEnd {
			d.depth--
			return t.Value()
		}
		if d.tok != jComma {
			d.fail("comma or object end")
		}
		d.next()
	}
}

func (d *jsonDecoder) array() lua.Value {
	d.descend()
	t := d.st.NewTable(0, 0)
	d.next()
	if d.tok == jArrayEnd {
		d.depth--
		return t.Value()
	}
	for i := 1; ; i++ {
		d.st.SetRaw(t, lua.Num(float64(i)), d.value())
		d.next()
		if d.tok == jArrayEnd {
			d.depth--
			return t.Value()
		}
		if d.tok != jComma {
			d.fail("comma or array end")
		}
		d.next()
	}
}

// jsonArgs checks that there are not more arguments than most.
func jsonArgs(st *lua.State, name string, v []lua.Value, most int) lua.Args {
	a := st.Check(name, v)
	if len(v) > most {
		a.Bad(most+1, "found too many arguments")
	}
	return a
}

func jsonInt(a lua.Args, i int, at *int, low, high int) {
	if a.Get(i).IsNil() {
		return
	}
	n := a.Int(i)
	if n < low || n > high {
		a.Bad(i, "expected integer between %d and %d", low, high)
	}
	*at = n
}

func jsonBool(a lua.Args, i int, at *bool) {
	switch v := a.Get(i); {
	case v.IsNil():
	case v.Kind() == lua.Bool:
		*at = v.Truth()
	default:
		switch s := a.Str(i); s {
		case "on":
			*at = true
		case "off":
			*at = false
		default:
			a.Bad(i, "invalid option '%s'", s)
		}
	}
}

func (v *vm) jsonLibrary() *lua.Table {
	number := func(name string, at *int, low, high int) func(*lua.State, []lua.Value) []lua.Value {
		return func(st *lua.State, args []lua.Value) []lua.Value {
			jsonInt(jsonArgs(st, name, args, 1), 1, at, low, high)
			return st.Return(lua.Num(float64(*at)))
		}
	}
	truth := func(name string, at *bool) func(*lua.State, []lua.Value) []lua.Value {
		return func(st *lua.State, args []lua.Value) []lua.Value {
			jsonBool(jsonArgs(st, name, args, 1), 1, at)
			return st.Return(lua.Boolean(*at))
		}
	}
	c := &v.json
	t := lua.NewLibrary(map[string]func(*lua.State, []lua.Value) []lua.Value{
		"encode": func(st *lua.State, args []lua.Value) []lua.Value {
			if len(args) != 1 {
				st.Check("encode", args).Bad(1, "expected 1 argument")
			}
			e := jsonEncoder{st: st, cfg: c}
			e.value(args[0], 0)
			return st.Return(st.String(string(e.buf)))
		},
		"decode": func(st *lua.State, args []lua.Value) []lua.Value {
			a := st.Check("decode", args)
			if len(args) != 1 {
				a.Bad(1, "expected 1 argument")
			}
			d := jsonDecoder{st: st, cfg: c, text: a.Str(1)}
			d.next()
			x := d.value()
			if d.next(); d.tok != jEnd {
				d.fail("the end")
			}
			return st.Return(x)
		},
		"encode_sparse_array": func(st *lua.State, args []lua.Value) []lua.Value {
			a := jsonArgs(st, "encode_sparse_array", args, 3)
			jsonBool(a, 1, &c.sparseConvert)
			jsonInt(a, 2, &c.sparseRatio, 0, math.MaxInt32)
			jsonInt(a, 3, &c.sparseSafe, 0, math.MaxInt32)
			return st.Return(lua.Boolean(c.sparseConvert), lua.Num(float64(c.sparseRatio)),
				lua.Num(float64(c.sparseSafe)))
		},
		"encode_max_depth":        number("encode_max_depth", &c.encodeDepth, 1, math.MaxInt32),
		"decode_max_depth":        number("decode_max_depth", &c.decodeDepth, 1, math.MaxInt32),
		"encode_number_precision": number("encode_number_precision", &c.precision, 1, 14),
		"encode_keep_buffer":      truth("encode_keep_buffer", &c.keepBuffer),
		"decode_invalid_numbers":  truth("decode_invalid_numbers", &c.decodeInvalid),
		"encode_invalid_numbers": func(st *lua.State, args []lua.Value) []lua.Value {
			a := jsonArgs(st, "encode_invalid_numbers", args, 1)
			if a.Get(1).Text() == "null" {
				c.encodeInvalid, c.nullInvalid = true, true
			} else if !a.Get(1).IsNil() {
				c.nullInvalid = false
				jsonBool(a, 1, &c.encodeInvalid)
			}
			if c.nullInvalid {
				return st.Return(st.String("null"))
			}
			return st.Return(lua.Boolean(c.encodeInvalid))
		},
	})
	t.SetField("new", lua.NewFunction("new", func(st *lua.State, _ []lua.Value) []lua.Value {
		return st.Return(t.Value())
	}).Value())
	t.SetField("null", lua.Null)
	t.SetField("_NAME", lua.Constant("cjson"))
	t.SetField("_VERSION", lua.Constant("2.1.0"))
	return t
}
