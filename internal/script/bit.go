package script

import (
	"math"
	"math/bits"
	"strconv"
	"strings"

	"haypile/internal/script/lua"
)

// toBits rounds a number to an integer and keeps its low 32 bits. Adding 2^52+2^51 does both, for numbers whose
// integers are exact.
func toBits(f float64) uint32 {
	return uint32(math.Float64bits(f + (1<<52 + 1<<51)))
}

func bitResult(st *lua.State, b uint32) []lua.Value { return st.Return(lua.Num(float64(int32(b)))) }

func bitFold(name string, f func(x, y uint32) uint32) func(*lua.State, []lua.Value) []lua.Value {
	return func(st *lua.State, v []lua.Value) []lua.Value {
		a := st.Check(name, v)
		b := toBits(a.Num(1))
		for i := 2; i <= a.Len(); i++ {
			b = f(b, toBits(a.Num(i)))
		}
		return bitResult(st, b)
	}
}

func bitUnary(name string, f func(x uint32) uint32) func(*lua.State, []lua.Value) []lua.Value {
	return func(st *lua.State, v []lua.Value) []lua.Value {
		return bitResult(st, f(toBits(st.Check(name, v).Num(1))))
	}
}

func bitShift(name string, f func(x uint32, n int) uint32) func(*lua.State, []lua.Value) []lua.Value {
	return func(st *lua.State, v []lua.Value) []lua.Value {
		a := st.Check(name, v)
		return bitResult(st, f(toBits(a.Num(1)), int(toBits(a.Num(2))&31)))
	}
}

var bitLibrary = map[string]func(*lua.State, []lua.Value) []lua.Value{
	"tobit":   bitUnary("tobit", func(x uint32) uint32 { return x }),
	"bnot":    bitUnary("bnot", func(x uint32) uint32 { return ^x }),
	"bswap":   bitUnary("bswap", bits.ReverseBytes32),
	"band":    bitFold("band", func(x, y uint32) uint32 { return x & y }),
	"bor":     bitFold("bor", func(x, y uint32) uint32 { return x | y }),
	"bxor":    bitFold("bxor", func(x, y uint32) uint32 { return x ^ y }),
	"lshift":  bitShift("lshift", func(x uint32, n int) uint32 { return x << n }),
	"rshift":  bitShift("rshift", func(x uint32, n int) uint32 { return x >> n }),
	"arshift": bitShift("arshift", func(x uint32, n int) uint32 { return uint32(int32(x) >> n) }),
	"rol":     bitShift("rol", bits.RotateLeft32),
	"ror":     bitShift("ror", func(x uint32, n int) uint32 { return bits.RotateLeft32(x, -n) }),
	"tohex": func(st *lua.State, v []lua.Value) []lua.Value {
		a := st.Check("tohex", v)
		b, n := toBits(a.Num(1)), 8
		if a.Len() >= 2 {
			n = int(int32(toBits(a.Num(2))))
		}
		s := strconv.FormatUint(uint64(b), 16)
		s = strings.Repeat("0", 8-len(s)) + s
		if n < 0 {
			n, s = -n, strings.ToUpper(s)
		}
		return st.Return(st.String(s[8-min(max(n, 0), 8):]))
	},
}
