package lua

import (
	"fmt"
	"math"
)

// metatable is the metatable of a value, nil if none.
func (st *State) metatable(v Value) *Table {
	switch v.Kind() {
	case TableKind:
		return v.Table().meta
	case StringKind:
		return st.rt.strings
	}
	return nil
}

func (st *State) metamethod(v Value, event string) Value {
	m := st.metatable(v)
	if m == nil {
		return Value{}
	}
	return m.Field(event)
}

const maxMetaLoop = 100

// index reads obj[key] with metamethods. what describes obj for the message.
func (f *frame) index(obj, key Value, line int, what any) Value {
	st := f.st
	for range maxMetaLoop {
		var h Value
		if t := obj.Table(); t != nil {
			if v := t.Get(key); !v.IsNil() || t.meta == nil {
				return v
			}
			if h = t.meta.Get(metaIndex); h.IsNil() {
				return Value{}
			}
		} else if h = st.metamethod(obj, "__index"); h.IsNil() {
			f.line = line
			f.typeError("index", obj, what)
		}
		if h.Function() != nil {
			f.line = line
			return first(st.Call(h, obj, key))
		}
		obj, what = h, nil
	}
	f.fail(line, "loop in gettable")
	return Value{}
}

var (
	metaIndex    = constant("__index")
	metaNewIndex = constant("__newindex")
)

func first(v []Value) Value {
	if len(v) == 0 {
		return Value{}
	}
	return v[0]
}

// ReadOnlyText is the message about changes of a table that must not be changed.
const ReadOnlyText = "Attempt to modify a readonly table"

// setIndex stores obj[key] = v with metamethods.
func (f *frame) setIndex(obj, key, v Value, line int, what any) {
	st := f.st
	for range maxMetaLoop {
		var h Value
		if t := obj.Table(); t != nil {
			if t.readonly {
				f.fail(line, ReadOnlyText)
			}
			if t.meta == nil || !t.Get(key).IsNil() {
				f.rawSet(t, key, v, line)
				return
			}
			if h = t.meta.Get(metaNewIndex); h.IsNil() {
				f.rawSet(t, key, v, line)
				return
			}
		} else if h = st.metamethod(obj, "__newindex"); h.IsNil() {
			f.line = line
			f.typeError("index", obj, what)
		}
		if h.Function() != nil {
			f.line = line
			st.Call(h, obj, key, v)
			return
		}
		obj, what = h, nil
	}
	f.fail(line, "loop in settable")
}

func (f *frame) rawSet(t *Table, key, v Value, line int) {
	if key.p == nil {
		f.fail(line, "table index is nil")
	}
	if key.p == numHead && key.n != key.n {
		f.fail(line, "table index is NaN")
	}
	if n := t.Set(key, v); n != 0 {
		f.st.rt.charge(n)
	}
}

// typeError says that an operation does not go with a value, and what the value is called in the source.
func (f *frame) typeError(op string, v Value, what any) {
	kind := v.Kind().String()
	if name := describe(what); name != "" {
		f.st.fail(fmt.Sprintf("attempt to %s %s (a %s value)", op, name, kind))
	}
	f.st.fail(fmt.Sprintf("attempt to %s a %s value", op, kind))
}

// describe names the place where an expression finds its value, as the reference does in messages.
func describe(e any) string {
	switch n := e.(type) {
	case *localNode:
		return "local '" + n.v.name + "'"
	case *upvalNode:
		return "upvalue '" + n.name + "'"
	case *globalNode:
		return "global '" + n.name.Text() + "'"
	case *indexNode:
		if k, ok := n.key.(*constNode); ok && k.v.IsString() {
			return "field '" + k.v.Text() + "'"
		}
		return "field '?'"
	case *parenNode:
		return describe(n.e)
	case *callNode:
		if !n.method.IsNil() {
			return ""
		}
	}
	return ""
}

func compute(op binOp, x, y float64) float64 {
	switch op {
	case opAdd:
		return x + y
	case opSub:
		return x - y
	case opMul:
		return x * y
	case opDiv:
		return x / y
	case opMod:
		return x - math.Floor(x/y)*y
	default:
		return pow(x, y)
	}
}

func pow(x, y float64) float64 { return math.Pow(x, y) }

var arithEvents = [...]string{"__add", "__sub", "__mul", "__div", "__mod", "__pow"}

// arith computes with what are not two numbers.
func (f *frame) arith(n *binNode, x, y Value) Value {
	a, ok := toNumber(x)
	b, ok2 := toNumber(y)
	if ok && ok2 {
		return Num(compute(n.op, a, b))
	}
	f.line = n.line
	if r, done := f.st.binaryMeta(x, y, arithEvents[n.op]); done {
		return r
	}
	if !ok {
		f.typeError("perform arithmetic on", x, n.a)
	}
	f.typeError("perform arithmetic on", y, n.b)
	return Value{}
}

func (st *State) binaryMeta(x, y Value, event string) (Value, bool) {
	h := st.metamethod(x, event)
	if h.IsNil() {
		h = st.metamethod(y, event)
	}
	if h.IsNil() {
		return Value{}, false
	}
	return first(st.Call(h, x, y)), true
}

// equal is == with metamethods.
func (st *State) equal(x, y Value) bool {
	if x.Equal(y) {
		return true
	}
	a, b := x.Table(), y.Table()
	if a == nil || b == nil || a.meta == nil || b.meta == nil {
		return false
	}
	h := a.meta.Field("__eq")
	if h.IsNil() || !h.Equal(b.meta.Field("__eq")) {
		return false
	}
	return first(st.Call(h, x, y)).Truth()
}

// less is < ; swapped says that the source has > , which matters to the message.
func (f *frame) less(x, y Value, line int) bool {
	if x.p == numHead && y.p == numHead {
		return x.n < y.n
	}
	if x.IsString() && y.IsString() {
		return x.str().s < y.str().s
	}
	f.line = line
	if r, ok := f.st.compareMeta(x, y, "__lt"); ok {
		return r
	}
	f.st.compareError(x, y)
	return false
}

func (f *frame) lessEqual(x, y Value, line int) bool {
	if x.p == numHead && y.p == numHead {
		return x.n <= y.n
	}
	if x.IsString() && y.IsString() {
		return x.str().s <= y.str().s
	}
	f.line = line
	if r, ok := f.st.compareMeta(x, y, "__le"); ok {
		return r
	}
	if r, ok := f.st.compareMeta(y, x, "__lt"); ok {
		return !r
	}
	f.st.compareError(x, y)
	return false
}

// compareMeta calls the metamethod that both operands have in common.
func (st *State) compareMeta(x, y Value, event string) (bool, bool) {
	if x.Kind() != y.Kind() {
		return false, false
	}
	h := st.metamethod(x, event)
	if h.IsNil() || !h.Equal(st.metamethod(y, event)) {
		return false, false
	}
	return first(st.Call(h, x, y)).Truth(), true
}

func (st *State) compareError(x, y Value) {
	if a, b := x.Kind().String(), y.Kind().String(); a == b {
		st.fail(fmt.Sprintf("attempt to compare two %s values", a))
	} else {
		st.fail(fmt.Sprintf("attempt to compare %s with %s", a, b))
	}
}

// concat joins the operands of a chain of "..", from the right.
func (f *frame) concat(vals []Value, nodes []any, line int) Value {
	st := f.st
	for len(vals) > 1 {
		n := len(vals)
		if _, ok := toString(vals[n-1]); ok {
			if _, ok := toString(vals[n-2]); ok {
				k := n - 2
				for k > 0 && (vals[k-1].IsString() || vals[k-1].IsNumber()) {
					k--
				}
				f.line = line
				vals[k] = st.join(vals[k:])
				vals, nodes = vals[:k+1], nodes[:k+1]
				continue
			}
		}
		f.line = line
		x, y := vals[n-2], vals[n-1]
		r, ok := st.binaryMeta(x, y, "__concat")
		if !ok {
			if x.IsString() || x.IsNumber() {
				f.typeError("concatenate", y, nodes[n-1])
			}
			f.typeError("concatenate", x, nodes[n-2])
		}
		vals[n-2] = r
		vals, nodes = vals[:n-1], nodes[:n-1]
	}
	return vals[0]
}

func (st *State) join(vals []Value) Value {
	var buf [64]byte
	b := buf[:0]
	size := 0
	for _, v := range vals {
		size += len(v.Text()) + 24
	}
	if size > maxString+24*len(vals) {
		st.tooLong()
	}
	if size > len(buf) {
		st.rt.reserve(size)
		st.rt.take(size / 256)
		b = make([]byte, 0, size)
	}
	for _, v := range vals {
		s, _ := toString(v)
		b = append(b, s...)
	}
	return st.String(string(b))
}

// length is the operator #.
func (f *frame) length(v Value, n *unNode) Value {
	if v.IsString() {
		return Num(float64(len(v.str().s)))
	}
	if t := v.Table(); t != nil {
		return Num(float64(t.Len()))
	}
	f.line = n.line
	f.typeError("get length of", v, n.a)
	return Value{}
}

func (f *frame) negate(v Value, n *unNode) Value {
	if x, ok := toNumber(v); ok {
		return Num(-x)
	}
	f.line = n.line
	if h := f.st.metamethod(v, "__unm"); !h.IsNil() {
		return first(f.st.Call(h, v, v))
	}
	f.typeError("perform arithmetic on", v, n.a)
	return Value{}
}

// ToText is tostring.
func (st *State) ToText(v Value) string {
	if h := st.metamethod(v, "__tostring"); !h.IsNil() && !v.IsString() {
		r := first(st.Call(h, v))
		if !r.IsString() {
			if s, ok := toString(r); ok {
				return s
			}
			st.Fail("'tostring' must return a string to 'print'")
		}
		return r.Text()
	}
	switch v.Kind() {
	case Nil:
		return "nil"
	case Bool:
		if v.Truth() {
			return "true"
		}
		return "false"
	case Number:
		return FormatNumber(v.n)
	case StringKind:
		return v.str().s
	case Userdata:
		return "userdata: (nil)"
	case FunctionKind:
		if v.Function().host != nil {
			return fmt.Sprintf("function: builtin: %p", v.p)
		}
	}
	return fmt.Sprintf("%s: %p", v.Kind(), v.p)
}
