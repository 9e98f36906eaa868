package lua

import (
	"strconv"
	"strings"
	"time"
)

type library = map[string]func(*State, []Value) []Value

var baseLibrary library

func init() {
	baseLibrary = library{
		"assert": func(st *State, v []Value) []Value {
			a := st.Check("assert", v)
			if !a.Any(1).Truth() {
				st.Fail("%s", a.OptStr(2, "assertion failed!"))
			}
			return v
		},
		"collectgarbage": collectGarbage,
		"error": func(st *State, v []Value) []Value {
			a := st.Check("error", v)
			e, level := a.Get(1), a.OptInt(2, 1)
			if (e.IsString() || e.IsNumber()) && level > 0 {
				s, _ := toString(e)
				e = st.String(st.where(level) + s)
			}
			st.Raise(e)
			return nil
		},
		"gcinfo": func(st *State, v []Value) []Value {
			return st.Return(Num(float64(st.rt.Memory()/1024)), Num(0))
		},
		"getmetatable": func(st *State, v []Value) []Value {
			a := st.Check("getmetatable", v)
			m := st.metatable(a.Any(1))
			if m == nil {
				return st.Return(Value{})
			}
			if p := m.Field("__metatable"); !p.IsNil() {
				return st.Return(p)
			}
			return st.Return(m.Value())
		},
		"ipairs": func(st *State, v []Value) []Value {
			t := st.Check("ipairs", v).Table(1)
			return st.Return(st.rt.ipairsFn.Value(), t.Value(), Num(0))
		},
		"load":       load,
		"loadstring": loadString,
		"next": func(st *State, v []Value) []Value {
			a := st.Check("next", v)
			t := a.Table(1)
			k, val, ok := t.Next(a.Get(2))
			if !ok {
				st.fail("invalid key to 'next'")
			}
			if k.IsNil() {
				return st.Return(Value{})
			}
			return st.Return(k, val)
		},
		"pairs": func(st *State, v []Value) []Value {
			t := st.Check("pairs", v).Table(1)
			return st.Return(st.rt.nextFn.Value(), t.Value(), Value{})
		},
		"pcall": func(st *State, v []Value) []Value {
			fn := st.Check("pcall", v).Any(1)
			var out []Value
			err := st.protect(func() { out = append([]Value{True}, st.call(fn, v[1:])...) })
			if err != nil {
				return st.Return(False, err.Value)
			}
			return out
		},
		"rawequal": func(st *State, v []Value) []Value {
			a := st.Check("rawequal", v)
			return st.Return(Boolean(a.Any(1).Equal(a.Any(2))))
		},
		"rawget": func(st *State, v []Value) []Value {
			a := st.Check("rawget", v)
			return st.Return(a.Table(1).Get(a.Any(2)))
		},
		"rawset": func(st *State, v []Value) []Value {
			a := st.Check("rawset", v)
			t, k, x := a.Table(1), a.Any(2), a.Any(3)
			st.SetRaw(t, k, x)
			return v[:1]
		},
		"select": func(st *State, v []Value) []Value {
			a := st.Check("select", v)
			if a.Get(1).Text() == "#" {
				return st.Return(Num(float64(len(v) - 1)))
			}
			i := a.Int(1)
			switch {
			case i < 0:
				i += len(v)
			case i > len(v):
				i = len(v)
			}
			if i < 1 {
				a.Bad(1, "index out of range")
			}
			return v[i:]
		},
		"setmetatable": func(st *State, v []Value) []Value {
			a := st.Check("setmetatable", v)
			t, m := a.Table(1), a.Get(2)
			if len(v) < 2 || !m.IsNil() && m.Table() == nil {
				a.Bad(2, "nil or table expected")
			}
			if t.meta != nil && !t.meta.Field("__metatable").IsNil() {
				st.Fail("cannot change a protected metatable")
			}
			if t.readonly {
				st.fail(ReadOnlyText)
			}
			t.meta = m.Table()
			return v[:1]
		},
		"tonumber": toNumberFunc,
		"tostring": func(st *State, v []Value) []Value {
			x := st.Check("tostring", v).Any(1)
			if x.IsString() {
				return v[:1]
			}
			return st.Return(st.String(st.ToText(x)))
		},
		"type": func(st *State, v []Value) []Value {
			return st.Return(kindValues[st.Check("type", v).Any(1).Kind()])
		},
		"unpack": unpack,
		"xpcall": func(st *State, v []Value) []Value {
			a := st.Check("xpcall", v)
			fn, h := a.Get(1), a.Any(2)
			var out []Value
			if err := st.protectWith(h, func() { out = append([]Value{True}, st.call(fn, nil)...) }); err != nil {
				return st.Return(False, err.Value)
			}
			return out
		},
	}
}

var kindValues = func() (v [Userdata + 1]Value) {
	for k := range v {
		v[k] = constant(Kind(k).String())
	}
	return v
}()

// protectWith is protect with a handler, which is called where the error was raised and gives what is returned.
func (st *State) protectWith(h Value, f func()) *Error {
	return st.protect(func() {
		defer func() {
			e := recover()
			if e == nil {
				return
			}
			le, ok := e.(*Error)
			if !ok {
				panic(e)
			}
			var r Value
			if st.protect(func() { r = first(st.Call(h, le.Value)) }) != nil {
				r = constant("error in error handling")
			}
			panic(&Error{Value: r, Source: le.Source, Line: le.Line})
		}()
		f()
	})
}

// SetRaw stores without metamethods, with all checks.
func (st *State) SetRaw(t *Table, k, v Value) {
	switch {
	case t.readonly:
		st.fail(ReadOnlyText)
	case k.IsNil():
		st.fail("table index is nil")
	case k.IsNumber() && k.n != k.n:
		st.fail("table index is NaN")
	}
	st.rt.charge(t.Set(k, v))
}

func collectGarbage(st *State, v []Value) []Value {
	a := st.Check("collectgarbage", v)
	switch opt := a.OptStr(1, "collect"); opt {
	case "collect", "step":
		// Counting what is live is what a collection is to the script; it takes its time.
		st.rt.take(st.rt.account.live / 64)
		if opt == "step" {
			return st.Return(True)
		}
		return st.Return(Num(0))
	case "count":
		return st.Return(Num(float64(st.rt.Memory()) / 1024))
	case "stop", "restart", "setpause", "setstepmul":
		return st.Return(Num(0))
	default:
		a.Bad(1, "invalid option '%s'", opt)
	}
	return nil
}

// compile makes a function of a source at run time.
func (st *State) compile(src, chunk string) []Value {
	// A syntax tree and its closures are some hundred bytes a token.
	st.rt.reserve(32 * len(src))
	st.rt.take(len(src) / 8)
	p, err := Compile(src, chunk)
	if err != nil {
		return st.Return(Value{}, st.String(err.Error()))
	}
	return st.Return(st.rt.Load(p))
}

func loadString(st *State, v []Value) []Value {
	a := st.Check("loadstring", v)
	src := a.Str(1)
	return st.compile(src, a.OptStr(2, src))
}

func load(st *State, v []Value) []Value {
	a := st.Check("load", v)
	fn, chunk := a.Func(1), a.OptStr(2, "=(load)")
	var b strings.Builder
	var bad bool
	err := st.protect(func() {
		for {
			st.rt.step()
			r := first(st.Call(fn))
			s, ok := toString(r)
			if r.IsNil() || ok && s == "" {
				return
			}
			if !ok {
				bad = true
				return
			}
			if b.Len()+len(s) > maxSource {
				st.fail("chunk has too many lines")
			}
			st.rt.reserve(len(s))
			b.WriteString(s)
		}
	})
	switch {
	case err != nil:
		return st.Return(Value{}, err.Value)
	case bad:
		return st.Return(Value{}, constant("reader function must return a string"))
	}
	return st.compile(b.String(), chunk)
}

func toNumberFunc(st *State, v []Value) []Value {
	a := st.Check("tonumber", v)
	base := a.OptInt(2, 10)
	if base == 10 {
		x := a.Any(1)
		if f, ok := toNumber(x); ok {
			return st.Return(Num(f))
		}
		return st.Return(Value{})
	}
	s := a.Str(1)
	if base < 2 || base > 36 {
		a.Bad(2, "base out of range")
	}
	s = strings.Trim(s, spaces)
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	if base == 16 && len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		s = s[2:]
	}
	if s == "" || s[0] == '+' || s[0] == '-' || strings.ContainsRune(s, '_') {
		return st.Return(Value{})
	}
	n, err := strconv.ParseUint(s, base, 64)
	if err != nil && !isRange(err) {
		return st.Return(Value{})
	}
	if neg {
		n = -n
	}
	return st.Return(Num(float64(n)))
}

// maxResults is how many values a function may return at once: what the reference's stack takes.
const maxResults = 8000

func unpack(st *State, v []Value) []Value {
	a := st.Check("unpack", v)
	t := a.Table(1)
	i := a.OptInt(2, 1)
	j := a.OptInt(3, t.Len())
	if i > j {
		return nil
	}
	if n := j - i + 1; n <= 0 || n >= maxResults {
		st.Fail("too many results to unpack")
	}
	st.rt.take((j - i) / 16)
	st.out = st.out[:0]
	for ; i <= j; i++ {
		st.out = append(st.out, t.Index(i))
	}
	return st.out
}

func ipairsStep(st *State, v []Value) []Value {
	a := st.Check("ipairs", v)
	t, i := a.Table(1), a.Int(2)+1
	x := t.Index(i)
	if x.IsNil() {
		return nil
	}
	return st.Return(Num(float64(i)), x)
}

var started = time.Now()

var osLibrary = library{
	"clock": func(st *State, v []Value) []Value {
		return st.Return(Num(time.Since(started).Seconds()))
	},
}
