package lua

var tableLibrary = library{
	"concat": func(st *State, v []Value) []Value {
		a := st.Check("concat", v)
		t, sep := a.Table(1), a.OptStr(2, "")
		i := a.OptInt(3, 1)
		j := a.OptInt(4, t.Len())
		if i > j {
			return st.Return(st.String(""))
		}
		var b []byte
		size := 0
		for k := i; k <= j; k++ {
			st.rt.step()
			x := t.Index(k)
			if !x.IsString() && !x.IsNumber() {
				st.Fail("invalid value (%s) at index %d in table for 'concat'", x.Kind(), k)
			}
			size += len(x.Text()) + len(sep) + 24
			if size > maxString {
				st.tooLong()
			}
			if k == j {
				break // j may be the largest integer
			}
		}
		st.rt.reserve(size)
		st.rt.take(size / 256)
		b = make([]byte, 0, size)
		for k := i; ; k++ {
			s, _ := toString(t.Index(k))
			b = append(b, s...)
			if k == j {
				break
			}
			b = append(b, sep...)
		}
		return st.Return(st.String(string(b)))
	},
	"foreach": func(st *State, v []Value) []Value {
		a := st.Check("foreach", v)
		t, fn := a.Table(1), a.Func(2)
		var k Value
		for {
			st.rt.step()
			key, val, ok := t.Next(k)
			if !ok {
				st.fail("invalid key to 'next'")
			}
			if key.IsNil() {
				return nil
			}
			if r := first(st.Call(fn, key, val)); !r.IsNil() {
				return st.Return(r)
			}
			k = key
		}
	},
	"foreachi": func(st *State, v []Value) []Value {
		a := st.Check("foreachi", v)
		t, fn := a.Table(1), a.Func(2)
		for i, n := 1, t.Len(); i <= n; i++ {
			if r := first(st.Call(fn, Num(float64(i)), t.Index(i))); !r.IsNil() {
				return st.Return(r)
			}
		}
		return nil
	},
	"getn": func(st *State, v []Value) []Value {
		return st.Return(Num(float64(st.Check("getn", v).Table(1).Len())))
	},
	"insert": func(st *State, v []Value) []Value {
		a := st.Check("insert", v)
		t := a.Table(1)
		e := t.Len() + 1
		switch len(v) {
		case 2:
			st.SetRaw(t, Num(float64(e)), v[1])
		case 3:
			pos := a.Int(2)
			if pos > e {
				e = pos
			}
			st.rt.take((e - pos) / 64)
			for i := e; i > pos; i-- {
				st.move(t, i-1, i)
			}
			st.SetRaw(t, Num(float64(pos)), v[2])
		default:
			st.Fail("wrong number of arguments to 'insert'")
		}
		return nil
	},
	"maxn": func(st *State, v []Value) []Value {
		t := st.Check("maxn", v).Table(1)
		st.rt.take((len(t.arr) + len(t.ents)) / 16)
		m := float64(len(t.arr))
		for i := range t.ents {
			if e := &t.ents[i]; e.key.IsNumber() && !e.val.IsNil() && e.key.n > m {
				m = e.key.n
			}
		}
		return st.Return(Num(m))
	},
	"remove": func(st *State, v []Value) []Value {
		a := st.Check("remove", v)
		t := a.Table(1)
		e := t.Len()
		pos := a.OptInt(2, e)
		if pos < 1 || pos > e {
			return nil
		}
		x := t.Index(pos)
		st.rt.take((e - pos) / 64)
		for i := pos; i < e; i++ {
			st.move(t, i+1, i)
		}
		st.SetRaw(t, Num(float64(e)), Value{})
		return st.Return(x)
	},
	"setn": func(st *State, v []Value) []Value {
		st.Check("setn", v).Table(1)
		st.Fail("'setn' is obsolete")
		return nil
	},
	"sort": func(st *State, v []Value) []Value {
		a := st.Check("sort", v)
		t := a.Table(1)
		var less Value
		if !a.Get(2).IsNil() {
			less = a.Func(2)
		}
		if t.readonly {
			st.Fail(ReadOnlyText)
		}
		(&sorter{st, t, less}).sort(1, t.Len())
		return nil
	},
}

func (st *State) move(t *Table, from, to int) { st.SetRaw(t, Num(float64(to)), t.Index(from)) }

// sorter sorts a table in place, as the reference does: a comparison that contradicts itself is an error or gives
// some order, never more.
type sorter struct {
	st   *State
	t    *Table
	less Value
}

func (s *sorter) lt(x, y Value) bool {
	s.st.rt.step()
	if s.less.IsNil() {
		f := s.st.frames[s.st.nframe-1]
		return f.less(x, y, f.line)
	}
	return first(s.st.Call(s.less, x, y)).Truth()
}

func (s *sorter) get(i int) Value    { return s.t.Index(i) }
func (s *sorter) set(i int, v Value) { s.st.SetRaw(s.t, Num(float64(i)), v) }

func (s *sorter) swap(i, j int) {
	x, y := s.get(i), s.get(j)
	s.set(i, y)
	s.set(j, x)
}

// sort is quicksort with the median of three, the smaller part by recursion.
func (s *sorter) sort(lo, hi int) {
	for lo < hi {
		if s.lt(s.get(hi), s.get(lo)) {
			s.swap(lo, hi)
		}
		if hi-lo == 1 {
			return
		}
		mid := lo + (hi-lo)/2
		if s.lt(s.get(mid), s.get(lo)) {
			s.swap(mid, lo)
		} else if s.lt(s.get(hi), s.get(mid)) {
			s.swap(mid, hi)
		}
		if hi-lo == 2 {
			return
		}
		pivot := s.get(mid)
		s.swap(mid, hi-1)
		i, j := lo, hi-1
		for {
			for i++; s.lt(s.get(i), pivot); i++ {
				if i > hi {
					s.st.Fail("invalid order function for sorting")
				}
			}
			for j--; s.lt(pivot, s.get(j)); j-- {
				if j < lo {
					s.st.Fail("invalid order function for sorting")
				}
			}
			if j < i {
				break
			}
			s.swap(i, j)
		}
		s.swap(hi-1, i)
		if i-lo < hi-i {
			s.sort(lo, i-1)
			lo = i + 1
		} else {
			s.sort(i+1, hi)
			hi = i - 1
		}
	}
}
