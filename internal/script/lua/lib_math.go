package lua

import "math"

// randomState is the generator of drand48: scripts get the same numbers everywhere, from one seed.
type randomState struct{ x uint64 }

const (
	randMul  = 0x5DEECE66D
	randAdd  = 0xB
	randMask = 1<<48 - 1
	randMax  = 1<<31 - 1
)

func (r *randomState) seed(n int32) { r.x = uint64(uint32(n))<<16 | 0x330E }

// next is a number below 2^31.
func (r *randomState) next() int64 {
	r.x = (r.x*randMul + randAdd) & randMask
	return int64(r.x >> 17)
}

func (r *randomState) float() float64 { return float64(r.next()%randMax) / randMax }

func math1(name string, f func(float64) float64) func(*State, []Value) []Value {
	return func(st *State, v []Value) []Value { return st.Return(Num(f(st.Check(name, v).Num(1)))) }
}

func math2(name string, f func(x, y float64) float64) func(*State, []Value) []Value {
	return func(st *State, v []Value) []Value {
		a := st.Check(name, v)
		return st.Return(Num(f(a.Num(1), a.Num(2))))
	}
}

var mathLibrary = library{
	"abs": math1("abs", math.Abs), "acos": math1("acos", math.Acos), "asin": math1("asin", math.Asin),
	"atan": math1("atan", math.Atan), "ceil": math1("ceil", math.Ceil), "cos": math1("cos", math.Cos),
	"cosh": math1("cosh", math.Cosh), "exp": math1("exp", math.Exp), "floor": math1("floor", math.Floor),
	"log": math1("log", math.Log), "log10": math1("log10", math.Log10), "sin": math1("sin", math.Sin),
	"sinh": math1("sinh", math.Sinh), "sqrt": math1("sqrt", math.Sqrt), "tan": math1("tan", math.Tan),
	"tanh": math1("tanh", math.Tanh),
	"deg":  math1("deg", func(x float64) float64 { return x / (math.Pi / 180) }),
	"rad":  math1("rad", func(x float64) float64 { return x * (math.Pi / 180) }),

	"atan2": math2("atan2", math.Atan2), "fmod": math2("fmod", math.Mod), "pow": math2("pow", pow),
	"ldexp": func(st *State, v []Value) []Value {
		a := st.Check("ldexp", v)
		return st.Return(Num(math.Ldexp(a.Num(1), max(-1<<20, min(1<<20, a.Int(2))))))
	},
	"frexp": func(st *State, v []Value) []Value {
		m, e := math.Frexp(st.Check("frexp", v).Num(1))
		return st.Return(Num(m), Num(float64(e)))
	},
	"modf": func(st *State, v []Value) []Value {
		x := st.Check("modf", v).Num(1)
		if math.IsInf(x, 0) {
			return st.Return(Num(x), Num(0))
		}
		i, f := math.Modf(x)
		return st.Return(Num(i), Num(f))
	},
	"max": func(st *State, v []Value) []Value {
		a := st.Check("max", v)
		m := a.Num(1)
		for i := 2; i <= len(v); i++ {
			if x := a.Num(i); x > m {
				m = x
			}
		}
		return st.Return(Num(m))
	},
	"min": func(st *State, v []Value) []Value {
		a := st.Check("min", v)
		m := a.Num(1)
		for i := 2; i <= len(v); i++ {
			if x := a.Num(i); x < m {
				m = x
			}
		}
		return st.Return(Num(m))
	},
	"random": func(st *State, v []Value) []Value {
		a := st.Check("random", v)
		r := st.rt.random.float()
		switch len(v) {
		case 0:
			return st.Return(Num(r))
		case 1:
			u := a.Int(1)
			if u < 1 {
				a.Bad(1, "interval is empty")
			}
			return st.Return(Num(math.Floor(r*float64(u)) + 1))
		case 2:
			l, u := a.Int(1), a.Int(2)
			if l > u {
				a.Bad(2, "interval is empty")
			}
			return st.Return(Num(math.Floor(r*float64(u-l+1)) + float64(l)))
		}
		st.Fail("wrong number of arguments")
		return nil
	},
	"randomseed": func(st *State, v []Value) []Value {
		st.rt.random.seed(int32(st.Check("randomseed", v).Int(1)))
		return nil
	},
}
