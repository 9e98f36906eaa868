package lua

import (
	"fmt"
	"math"
)

// Args are the arguments of a host function, with checks that word their errors as the reference does.
type Args struct {
	st   *State
	name string
	v    []Value
}

// Check wraps the arguments of the function called name.
func (st *State) Check(name string, v []Value) Args { return Args{st, name, v} }

// Get is an argument, counted from 1.
func (a Args) Get(i int) Value {
	if i <= len(a.v) {
		return a.v[i-1]
	}
	return Value{}
}

// Len is the number of arguments.
func (a Args) Len() int { return len(a.v) }

// Bad raises an error about an argument.
func (a Args) Bad(i int, format string, x ...any) {
	if a.st.frames[a.st.nframe-1].method {
		if i--; i == 0 {
			a.st.Fail("calling '%s' on bad self (%s)", a.name, fmt.Sprintf(format, x...))
		}
	}
	a.st.Fail("bad argument #%d to '%s' (%s)", i, a.name, fmt.Sprintf(format, x...))
}

func (a Args) wrongType(i int, want string) {
	got := "no value"
	if i <= len(a.v) {
		got = a.v[i-1].Kind().String()
	}
	a.Bad(i, "%s expected, got %s", want, got)
}

// Any is an argument that must be there.
func (a Args) Any(i int) Value {
	if i > len(a.v) {
		a.Bad(i, "value expected")
	}
	return a.v[i-1]
}

// Table is a table.
func (a Args) Table(i int) *Table {
	t := a.Get(i).Table()
	if t == nil {
		a.wrongType(i, "table")
	}
	return t
}

// Func is a function.
func (a Args) Func(i int) Value {
	if a.Get(i).Function() == nil {
		a.wrongType(i, "function")
	}
	return a.Get(i)
}

// Str is a string, or a number as one.
func (a Args) Str(i int) string {
	s, ok := toString(a.Get(i))
	if !ok {
		a.wrongType(i, "string")
	}
	return s
}

// OptStr is Str with a value for what is missing.
func (a Args) OptStr(i int, missing string) string {
	if a.Get(i).IsNil() {
		return missing
	}
	return a.Str(i)
}

// Num is a number, or a string that looks like one.
func (a Args) Num(i int) float64 {
	f, ok := toNumber(a.Get(i))
	if !ok {
		a.wrongType(i, "number")
	}
	return f
}

// Int is a number without its fraction.
func (a Args) Int(i int) int { return toInt(a.Num(i)) }

// OptInt is Int with a value for what is missing.
func (a Args) OptInt(i, missing int) int {
	if a.Get(i).IsNil() {
		return missing
	}
	return a.Int(i)
}

// toInt converts as C does on this kind of machine: what does not fit is the smallest integer.
func toInt(f float64) int {
	if f != f || f >= 1<<63 || f < -1<<63 {
		return math.MinInt64
	}
	return int(f)
}

// Register adds host functions to a table.
func Register(t *Table, funcs map[string]func(*State, []Value) []Value) {
	for _, name := range sortedKeys(funcs) {
		t.SetField(name, NewFunction(name, funcs[name]).Value())
	}
}

// NewLibrary makes a table of host functions that a script cannot change.
func NewLibrary(funcs map[string]func(*State, []Value) []Value) *Table {
	t := &Table{head: head{TableKind}}
	Register(t, funcs)
	return t
}

func sortedKeys(m map[string]func(*State, []Value) []Value) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	for i := 1; i < len(keys); i++ {
		for j := i; j > 0 && keys[j] < keys[j-1]; j-- {
			keys[j], keys[j-1] = keys[j-1], keys[j]
		}
	}
	return keys
}

func (rt *Runtime) openLibraries() {
	g := rt.Globals
	Register(g, baseLibrary)
	g.SetField("_G", g.Value())
	g.SetField("_VERSION", constant("Lua 5.1"))
	rt.nextFn = g.Field("next").Function()
	rt.ipairsFn = NewFunction("ipairs", ipairsStep)
	lib := NewLibrary(stringLibrary)
	lib.SetField("gfind", lib.Field("gmatch"))
	g.SetField("string", lib.Value())
	rt.strings = &Table{head: head{TableKind}}
	rt.strings.SetField("__index", lib.Value())
	rt.strings.readonly = true
	g.SetField("table", NewLibrary(tableLibrary).Value())
	m := NewLibrary(mathLibrary)
	m.SetField("pi", Num(math.Pi))
	m.SetField("huge", Num(math.Inf(1)))
	m.SetField("mod", m.Field("fmod"))
	g.SetField("math", m.Value())
	g.SetField("coroutine", NewLibrary(coroutineLibrary).Value())
	g.SetField("os", NewLibrary(osLibrary).Value())
}

// Seal makes the globals and all tables in them read-only.
func (rt *Runtime) Seal() {
	var seal func(t *Table)
	seal = func(t *Table) {
		if t.readonly {
			return
		}
		t.readonly = true
		for i := range t.ents {
			if sub := t.ents[i].val.Table(); sub != nil {
				seal(sub)
			}
		}
		if t.meta != nil {
			seal(t.meta)
		}
	}
	seal(rt.Globals)
}
