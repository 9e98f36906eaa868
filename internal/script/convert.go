package script

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"haypile/internal/resp"
	"haypile/internal/script/lua"
)

// decoder turns a reply into a value. The reply is one of this process, so it is well formed.
type decoder struct {
	st    *lua.State
	buf   []byte
	proto int
}

func (d *decoder) line() []byte {
	i := bytes.IndexByte(d.buf, '\r')
	l := d.buf[:i]
	d.buf = d.buf[i+2:]
	return l
}

func (d *decoder) bytes(n int) []byte {
	b := d.buf[:n]
	d.buf = d.buf[n+2:]
	return b
}

// null is the missing value: nil where the script understands version 3, else false.
func (d *decoder) null() lua.Value {
	if d.proto >= 3 {
		return lua.Value{}
	}
	return lua.False
}

func (d *decoder) field(name string, v lua.Value) lua.Value {
	t := d.st.NewTable(0, 1)
	t.SetField(name, v)
	return t.Value()
}

func (d *decoder) value() lua.Value {
	l := d.line()
	kind, rest := l[0], l[1:]
	switch kind {
	case '+':
		return d.field("ok", d.st.String(string(rest)))
	case '-':
		return errorTable(d.st, string(rest))
	case ':':
		n, _ := strconv.ParseInt(string(rest), 10, 64)
		return lua.Num(float64(n))
	case '_':
		return lua.Value{}
	case '#':
		return lua.Boolean(rest[0] == 't')
	case ',':
		f, _ := strconv.ParseFloat(string(rest), 64)
		return d.field("double", lua.Num(f))
	case '(':
		return d.field("big_number", d.st.String(string(rest)))
	}
	n, _ := strconv.Atoi(string(rest))
	if n < 0 {
		return d.null()
	}
	switch kind {
	case '$':
		return d.st.String(string(d.bytes(n)))
	case '=':
		b := d.bytes(n)
		t := d.st.NewTable(0, 2)
		t.SetField("format", d.st.String(string(b[:3])))
		t.SetField("string", d.st.String(string(b[4:])))
		return d.field("verbatim_string", t.Value())
	case '%':
		t := d.st.NewTable(0, n)
		for range n {
			k := d.value()
			v := d.value()
			if !k.IsNil() {
				d.st.SetRaw(t, k, v)
			}
		}
		return d.field("map", t.Value())
	case '~':
		t := d.st.NewTable(0, n)
		for range n {
			if k := d.value(); !k.IsNil() {
				d.st.SetRaw(t, k, lua.True)
			}
		}
		return d.field("set", t.Value())
	}
	t := d.st.NewTable(n, 0)
	for i := range n {
		d.st.SetRaw(t, lua.Num(float64(i+1)), d.value())
	}
	return t.Value()
}

// Bounds of a reply: nesting, and bytes.
const (
	maxReplyDepth = 1000
	maxReplyBytes = 512 << 20
)

// reply writes a value as a reply.
func (v *vm) reply(w *resp.Writer, x lua.Value) {
	st := v.rt.Main()
	v.rt.Take(1)
	switch x.Kind() {
	case lua.StringKind:
		if len(w.Buf)+len(x.Text()) > maxReplyBytes {
			st.Fail("the reply of the script is too large")
		}
		w.BulkString(x.Text())
	case lua.Number:
		w.Int(toInt(x.Number()))
	case lua.Bool:
		switch {
		case v.proto == 3:
			w.Bool(x.Truth())
		case x.Truth():
			w.Int(1)
		default:
			w.Null()
		}
	case lua.TableKind:
		if v.depth++; v.depth > maxReplyDepth {
			w.Error("ERR reached lua stack limit")
		} else {
			v.replyTable(w, x.Table())
		}
		v.depth--
	default:
		w.Null()
	}
}

// toInt drops the fraction; what does not fit is the smallest integer, as in C on this kind of machine.
func toInt(f float64) int64 {
	if f != f || f >= 1<<63 || f < -1<<63 {
		return math.MinInt64
	}
	return int64(f)
}

func (v *vm) replyTable(w *resp.Writer, t *lua.Table) {
	if f := t.Field("err"); f.IsString() {
		w.Error(strings.TrimRight(f.Text(), "\r\n"))
		return
	}
	if f := t.Field("ok"); f.IsString() {
		w.SimpleString(f.Text())
		return
	}
	if f := t.Field("double"); f.IsNumber() {
		w.Double(f.Number())
		return
	}
	if m := t.Field("map").Table(); m != nil {
		v.replyPairs(w, m, true)
		return
	}
	if m := t.Field("set").Table(); m != nil {
		v.replyPairs(w, m, false)
		return
	}
	if f := t.Field("big_number"); f.IsString() {
		w.BigNumber(strings.NewReplacer("\r", " ", "\n", " ").Replace(f.Text()))
		return
	}
	if m := t.Field("verbatim_string").Table(); m != nil {
		s, format := m.Field("string"), m.Field("format")
		if s.IsString() && format.IsString() {
			w.Verbatim((format.Text() + "   ")[:3], s.Text())
			return
		}
	}
	a := w.Defer()
	n := 0
	for {
		x := t.Index(n + 1)
		if x.IsNil() {
			break
		}
		v.reply(w, x)
		n++
	}
	w.EndArray(a, n)
}

// replyPairs writes a map, or the keys of one as a set.
func (v *vm) replyPairs(w *resp.Writer, t *lua.Table, values bool) {
	a := w.Defer()
	n := 0
	var k lua.Value
	for {
		key, val, _ := t.Next(k)
		if key.IsNil() {
			break
		}
		v.reply(w, key)
		if values {
			v.reply(w, val)
		}
		k = key
		n++
	}
	if values {
		w.EndMap(a, n)
	} else {
		w.EndSet(a, n)
	}
}
