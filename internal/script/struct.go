package script

import (
	"encoding/binary"
	"math"
	"strings"

	"haypile/internal/script/lua"
)

// The library struct packs values into strings by a format, as C's compilers lay structures out.

const (
	structMaxInt   = 32 // bytes of the largest integer
	structMaxAlign = 8
	structMaxSize  = math.MaxInt32
)

// structFormat reads a format from left to right.
type structFormat struct {
	st    *lua.State
	args  lua.Args
	text  string
	big   bool
	align int
}

func newFormat(st *lua.State, a lua.Args) *structFormat {
	return &structFormat{st: st, args: a, text: a.Str(1), align: 1}
}

// number reads the digits at the front.
func (f *structFormat) number(missing int) int {
	if f.text == "" || f.text[0] < '0' || f.text[0] > '9' {
		return missing
	}
	n := 0
	for f.text != "" && '0' <= f.text[0] && f.text[0] <= '9' {
		d := int(f.text[0] - '0')
		if n > structMaxSize/10 || n*10 > structMaxSize-d {
			f.st.Fail("integral size overflow")
		}
		n = n*10 + d
		f.text = f.text[1:]
	}
	return n
}

// next is the next option that stands for a value, with its size; false at the end.
func (f *structFormat) next() (opt byte, size int, ok bool) {
	for f.text != "" {
		opt, f.text = f.text[0], f.text[1:]
		switch opt {
		case 'B', 'b', 'x':
			return opt, 1, true
		case 'H', 'h':
			return opt, 2, true
		case 'L', 'l', 'T', 'd':
			return opt, 8, true
		case 'f':
			return opt, 4, true
		case 's':
			return opt, 0, true
		case 'c':
			return opt, f.number(1), true
		case 'i', 'I':
			n := f.number(4)
			if n > structMaxInt {
				f.st.Fail("integral size %d is larger than limit of %d", n, structMaxInt)
			}
			return opt, n, true
		case ' ':
		case '>':
			f.big = true
		case '<':
			f.big = false
		case '!':
			n := f.number(structMaxAlign)
			if n <= 0 || n&(n-1) != 0 {
				f.st.Fail("alignment %d is not a power of 2", n)
			}
			f.align = n
		default:
			f.args.Bad(1, "invalid format option '%c'", opt)
		}
	}
	return 0, 0, false
}

// padding is how many bytes come before a value at a position.
func (f *structFormat) padding(at int, opt byte, size int) int {
	if size == 0 || opt == 'c' {
		return 0
	}
	size = min(size, f.align)
	return (size - at&(size-1)) & (size - 1)
}

func structSize(st *lua.State, v []lua.Value) []lua.Value {
	a := st.Check("size", v)
	f := newFormat(st, a)
	n := 0
	for {
		opt, size, ok := f.next()
		if !ok {
			return st.Return(lua.Num(float64(n)))
		}
		switch {
		case opt == 's':
			a.Bad(1, "option 's' has no fixed size")
		case opt == 'c' && size == 0:
			a.Bad(1, "option 'c0' has no fixed size")
		}
		size += f.padding(n, opt, size)
		if n > structMaxSize-size {
			st.Fail("structure too large")
		}
		n += size
	}
}

func structPack(st *lua.State, v []lua.Value) []lua.Value {
	// What is missing is nil to the messages.
	a := st.Check("pack", append(v[:len(v):len(v)], lua.Value{}))
	f := newFormat(st, a)
	arg := 1
	var b []byte
	for {
		st.Runtime().Take(1)
		opt, size, ok := f.next()
		if !ok {
			return st.Return(st.String(string(b)))
		}
		for range f.padding(len(b), opt, size) {
			b = append(b, 0)
		}
		if opt == 'x' {
			b = append(b, 0)
			continue
		}
		arg++
		switch opt {
		case 'f', 'd':
			b = f.appendFloat(b, a.Num(arg), size)
		case 'c', 's':
			s := a.Str(arg)
			if size == 0 {
				size = len(s)
			}
			if len(s) < size {
				a.Bad(arg+1, "string too short")
			}
			if len(b)+size > maxReplyBytes {
				st.Fail("structure too large")
			}
			b = append(b, s[:size]...)
			if opt == 's' {
				b = append(b, 0)
			}
		default:
			b = f.appendInt(b, a.Num(arg), size)
		}
	}
}

func (f *structFormat) appendFloat(b []byte, x float64, size int) []byte {
	var order binary.AppendByteOrder = binary.LittleEndian
	if f.big {
		order = binary.BigEndian
	}
	if size == 4 {
		return order.AppendUint32(b, math.Float32bits(float32(x)))
	}
	return order.AppendUint64(b, math.Float64bits(x))
}

func (f *structFormat) appendInt(b []byte, x float64, size int) []byte {
	u := uint64(toInt(x))
	if x >= 1<<63 && x < 1<<64 {
		u = uint64(x)
	}
	at := len(b)
	for range size {
		b = append(b, byte(u))
		u >>= 8
	}
	if f.big {
		for i, j := at, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
	}
	return b
}

func structUnpack(st *lua.State, v []lua.Value) []lua.Value {
	a := st.Check("unpack", v)
	f := newFormat(st, a)
	data := a.Str(2)
	pos := a.OptInt(3, 1) - 1
	var out []lua.Value
	for {
		st.Runtime().Take(1)
		opt, size, ok := f.next()
		if !ok {
			return append(out, lua.Num(float64(pos+1)))
		}
		if pos >= 0 {
			pos += f.padding(pos, opt, size)
		}
		fits := func() bool { return pos >= 0 && size >= 0 && pos <= len(data)-size }
		if !fits() {
			a.Bad(2, "data string too short")
		}
		if len(out) >= maxUnpacked {
			st.Fail("stack overflow (too many results)")
		}
		switch opt {
		case 'x':
		case 'f', 'd':
			out = append(out, lua.Num(f.float(data[pos:pos+size])))
		case 'c':
			if size == 0 {
				if len(out) == 0 || !out[len(out)-1].IsNumber() {
					st.Fail("format 'c0' needs a previous size")
				}
				size = int(toInt(out[len(out)-1].Number()))
				out = out[:len(out)-1]
				if !fits() {
					a.Bad(2, "data string too short")
				}
			}
			out = append(out, st.String(data[pos:pos+size]))
		case 's':
			n := strings.IndexByte(data[pos:], 0)
			if n < 0 {
				st.Fail("unfinished string in data")
			}
			out = append(out, st.String(data[pos:pos+n]))
			size = n + 1
		default:
			out = append(out, lua.Num(f.int(data[pos:pos+size], opt)))
		}
		pos += size
	}
}

// maxUnpacked bounds the values of one call, as the reference's stack does.
const maxUnpacked = 7900

func (f *structFormat) float(b string) float64 {
	var order binary.ByteOrder = binary.LittleEndian
	if f.big {
		order = binary.BigEndian
	}
	if len(b) == 4 {
		return float64(math.Float32frombits(order.Uint32([]byte(b))))
	}
	return math.Float64frombits(order.Uint64([]byte(b)))
}

func (f *structFormat) int(b string, opt byte) float64 {
	var u uint64
	for i := range len(b) {
		c := b[i]
		if !f.big {
			c = b[len(b)-1-i]
		}
		u = u<<8 | uint64(c)
	}
	if 'A' <= opt && opt <= 'Z' {
		return float64(u)
	}
	if n := len(b); n > 0 && n < 8 {
		shift := 64 - 8*n
		return float64(int64(u<<shift) >> shift)
	}
	return float64(int64(u))
}

var structLibrary = map[string]func(*lua.State, []lua.Value) []lua.Value{
	"pack": structPack, "unpack": structUnpack, "size": structSize,
}
