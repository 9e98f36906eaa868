package script

import (
	"encoding/binary"
	"math"

	"haypile/internal/script/lua"
)

// The library cmsgpack: MessagePack.

const (
	// packDepth is how deeply tables may nest: what lies deeper is packed as nil.
	packDepth = 16
	// unpackDepth bounds the nesting of what is read.
	unpackDepth = 1000
)

type packer struct {
	st  *lua.State
	buf []byte
}

func msgpackPack(st *lua.State, v []lua.Value) []lua.Value {
	if len(v) == 0 {
		st.Check("pack", v).Bad(0, "MessagePack pack needs input.")
	}
	p := packer{st: st}
	for _, x := range v {
		p.value(x, 0)
	}
	return st.Return(st.String(string(p.buf)))
}

func (p *packer) value(v lua.Value, level int) {
	p.st.Runtime().Take(1)
	if len(p.buf) > maxReplyBytes {
		p.st.Fail("the packed value is too large")
	}
	switch v.Kind() {
	case lua.Bool:
		if v.Truth() {
			p.buf = append(p.buf, 0xc3)
		} else {
			p.buf = append(p.buf, 0xc2)
		}
	case lua.Number:
		p.number(v.Number())
	case lua.StringKind:
		p.string(v.Text())
	case lua.TableKind:
		if level < packDepth {
			p.table(v.Table(), level)
			return
		}
		p.buf = append(p.buf, 0xc0)
	default:
		p.buf = append(p.buf, 0xc0)
	}
}

func (p *packer) number(f float64) {
	b := p.buf
	if f != math.Trunc(f) || f >= 1<<63 || f < -1<<63 {
		if g := float32(f); float64(g) == f {
			p.buf = binary.BigEndian.AppendUint32(append(b, 0xca), math.Float32bits(g))
		} else {
			p.buf = binary.BigEndian.AppendUint64(append(b, 0xcb), math.Float64bits(f))
		}
		return
	}
	switch n := int64(f); {
	case n >= -32 && n <= 127:
		b = append(b, byte(n))
	case n >= 0 && n <= math.MaxUint8:
		b = append(b, 0xcc, byte(n))
	case n >= 0 && n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(n))
	case n >= 0 && n <= math.MaxUint32:
		b = binary.BigEndian.AppendUint32(append(b, 0xce), uint32(n))
	case n >= 0:
		b = binary.BigEndian.AppendUint64(append(b, 0xcf), uint64(n))
	case n >= math.MinInt8:
		b = append(b, 0xd0, byte(n))
	case n >= math.MinInt16:
		b = binary.BigEndian.AppendUint16(append(b, 0xd1), uint16(n))
	case n >= math.MinInt32:
		b = binary.BigEndian.AppendUint32(append(b, 0xd2), uint32(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(n))
	}
	p.buf = b
}

func (p *packer) string(s string) {
	b := p.buf
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n <= math.MaxUint8:
		b = append(b, 0xd9, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
	}
	p.st.Runtime().Charge(len(s))
	p.buf = append(b, s...)
}

func (p *packer) size(n int, short byte, long byte) {
	switch {
	case n <= 15:
		p.buf = append(p.buf, short|byte(n))
	case n <= math.MaxUint16:
		p.buf = binary.BigEndian.AppendUint16(append(p.buf, long), uint16(n))
	default:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, long+1), uint32(n))
	}
}

// table packs an array if the keys are 1 to n without a gap, else a map.
func (p *packer) table(t *lua.Table, level int) {
	count, highest, array := 0, 0.0, true
	t.Each(func(k, _ lua.Value) {
		count++
		if f := k.Number(); !k.IsNumber() || f < 1 || f != math.Trunc(f) {
			array = false
		} else {
			highest = max(highest, f)
		}
	})
	if array && highest == float64(count) {
		p.size(count, 0x90, 0xdc)
		for i := 1; i <= count; i++ {
			p.value(t.Index(i), level+1)
		}
		return
	}
	p.size(count, 0x80, 0xde)
	t.Each(func(k, v lua.Value) {
		p.value(k, level+1)
		p.value(v, level+1)
	})
}

// unpacker reads what another program may have written.
type unpacker struct {
	st    *lua.State
	data  string
	pos   int
	depth int
}

func (u *unpacker) take(n int) string {
	if n < 0 || n > len(u.data)-u.pos {
		u.st.Fail("Missing bytes in input.")
	}
	s := u.data[u.pos : u.pos+n]
	u.pos += n
	return s
}

func (u *unpacker) uint(n int) uint64 {
	var x uint64
	for _, c := range []byte(u.take(n)) {
		x = x<<8 | uint64(c)
	}
	return x
}

// int reads a signed number.
func (u *unpacker) int(n int) float64 {
	shift := 64 - 8*n
	return float64(int64(u.uint(n)<<shift) >> shift)
}

func (u *unpacker) value() lua.Value {
	st := u.st
	st.Runtime().Take(1)
	if u.depth++; u.depth > unpackDepth {
		st.Fail("stack overflow (in function mp_decode_to_lua_type)")
	}
	defer func() { u.depth-- }()
	c := u.take(1)[0]
	switch {
	case c < 0x80:
		return lua.Num(float64(c))
	case c < 0x90:
		return u.pairs(int(c & 0xf))
	case c < 0xa0:
		return u.array(int(c & 0xf))
	case c < 0xc0:
		return st.String(u.take(int(c & 0x1f)))
	case c >= 0xe0:
		return lua.Num(float64(int8(c)))
	}
	switch c {
	case 0xc0:
		return lua.Value{}
	case 0xc2:
		return lua.False
	case 0xc3:
		return lua.True
	case 0xca:
		return lua.Num(float64(math.Float32frombits(uint32(u.uint(4)))))
	case 0xcb:
		return lua.Num(math.Float64frombits(u.uint(8)))
	case 0xcc, 0xcd, 0xce, 0xcf:
		return lua.Num(float64(u.uint(1 << (c - 0xcc))))
	case 0xd0, 0xd1, 0xd2, 0xd3:
		return lua.Num(u.int(1 << (c - 0xd0)))
	case 0xd9, 0xda, 0xdb:
		return st.String(u.take(int(u.uint(1 << (c - 0xd9)))))
	case 0xc4, 0xc5, 0xc6:
		return st.String(u.take(int(u.uint(1 << (c - 0xc4)))))
	case 0xdc, 0xdd:
		return u.array(int(u.uint(2 << (c - 0xdc))))
	case 0xde, 0xdf:
		return u.pairs(int(u.uint(2 << (c - 0xde))))
	}
	st.Fail("Bad data format in input.")
	return lua.Value{}
}

func (u *unpacker) array(n int) lua.Value {
	t := u.st.NewTable(0, 0)
	for i := range n {
		u.st.SetRaw(t, lua.Num(float64(i+1)), u.value())
	}
	return t.Value()
}

func (u *unpacker) pairs(n int) lua.Value {
	t := u.st.NewTable(0, 0)
	for range n {
		k := u.value()
		u.st.SetRaw(t, k, u.value())
	}
	return t.Value()
}

// msgpackUnpack reads up to limit values from an offset on; all if both are 0. Unless all are read, the offset
// behind the last comes first, -1 at the end.
func msgpackUnpack(st *lua.State, data string, limit, offset int) []lua.Value {
	all := limit == 0 && offset == 0
	if offset < 0 || limit < 0 {
		st.Fail("Invalid request to unpack with offset of %d and limit of %d.", offset, len(data))
	}
	if offset > len(data) {
		st.Fail("Start offset %d greater than input length %d.", offset, len(data))
	}
	u := unpacker{st: st, data: data, pos: offset}
	var out []lua.Value
	if !all {
		out = append(out, lua.Value{})
	}
	for n := 0; u.pos < len(data) && (all || n < limit); n++ {
		if n >= maxUnpacked {
			st.Fail("stack overflow (in function mp_unpack)")
		}
		out = append(out, u.value())
	}
	if !all {
		at := u.pos
		if at == len(data) {
			at = -1
		}
		out[0] = lua.Num(float64(at))
	}
	return out
}

var msgpackTexts = map[string]string{
	"_NAME": "cmsgpack", "_VERSION": "lua-cmsgpack 0.4.0", "_DESCRIPTION": "MessagePack for scripts",
	"_COPYRIGHT": "see the licence of Haypile",
}

var msgpackLibrary = map[string]func(*lua.State, []lua.Value) []lua.Value{
	"pack": msgpackPack,
	"unpack": func(st *lua.State, v []lua.Value) []lua.Value {
		return msgpackUnpack(st, st.Check("unpack", v).Str(1), 0, 0)
	},
	"unpack_one": func(st *lua.State, v []lua.Value) []lua.Value {
		a := st.Check("unpack_one", v)
		return msgpackUnpack(st, a.Str(1), 1, a.OptInt(2, 0))
	},
	"unpack_limit": func(st *lua.State, v []lua.Value) []lua.Value {
		a := st.Check("unpack_limit", v)
		return msgpackUnpack(st, a.Str(1), a.Int(2), a.OptInt(3, 0))
	},
}
