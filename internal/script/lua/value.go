package lua

import (
	"hash/maphash"
	"math"
	"strconv"
	"strings"
	"unsafe"
)

// Kind is the type of a value.
type Kind uint8

// The kinds. The only userdata is Null.
const (
	Nil Kind = iota
	Bool
	Number
	StringKind
	TableKind
	FunctionKind
	ThreadKind
	Userdata
	cellKind
)

var kindNames = [...]string{"nil", "boolean", "number", "string", "table", "function", "thread", "userdata", "upvalue"}

func (k Kind) String() string { return kindNames[k] }

// head begins every object that a Value points to, and says what the object is. For numbers and booleans it
// stands alone, and the Value carries the number.
type head struct{ kind Kind }

var (
	numHead  = &head{Number}
	boolHead = &head{Bool}
)

// Value is a value of the language; the zero Value is nil. It is two words, so that numbers need no memory.
type Value struct {
	p *head
	n float64
}

// The truth values.
var (
	True  = Value{boolHead, 1}
	False = Value{boolHead, 0}
)

// Null is a value that is neither nil nor anything else: what stands for null in documents.
var Null = Value{p: &head{Userdata}}

// Num makes a number.
func Num(f float64) Value { return Value{numHead, f} }

// Boolean makes a truth value.
func Boolean(b bool) Value {
	if b {
		return True
	}
	return False
}

// Str is a string object. The hash is computed when a table first asks for it; strings that several states share
// (constants of programs) have it from the beginning.
type Str struct {
	head
	hash uint32
	s    string
}

var hashSeed = maphash.MakeSeed()

func (s *Str) sum() uint32 {
	if s.hash == 0 {
		s.hash = hashOf(s.s)
	}
	return s.hash
}

func hashOf(s string) uint32 {
	h := uint32(maphash.String(hashSeed, s))
	if h == 0 {
		return 1
	}
	return h
}

// constant makes a string that may be shared by goroutines.
func constant(s string) Value {
	return Value{p: &(&Str{head{StringKind}, hashOf(s), s}).head}
}

// Constant makes a string that belongs to no state: for names that are used again and again.
func Constant(s string) Value { return constant(s) }

// Kind is the type of the value.
func (v Value) Kind() Kind {
	if v.p == nil {
		return Nil
	}
	return v.p.kind
}

// IsNil reports whether the value is nil.
func (v Value) IsNil() bool { return v.p == nil }

// Truth is what the value means as a condition.
func (v Value) Truth() bool { return v.p != nil && (v.p != boolHead || v.n != 0) }

// Number is the number, 0 for other kinds.
func (v Value) Number() float64 {
	if v.p == numHead {
		return v.n
	}
	return 0
}

// IsNumber reports whether the value is a number.
func (v Value) IsNumber() bool { return v.p == numHead }

// IsString reports whether the value is a string.
func (v Value) IsString() bool { return v.p != nil && v.p.kind == StringKind }

// Text is the string, "" for other kinds.
func (v Value) Text() string {
	if v.IsString() {
		return v.str().s
	}
	return ""
}

func (v Value) str() *Str { return (*Str)(unsafe.Pointer(v.p)) }

// Table is the table, nil for other kinds.
func (v Value) Table() *Table {
	if v.p != nil && v.p.kind == TableKind {
		return (*Table)(unsafe.Pointer(v.p))
	}
	return nil
}

// Function is the function, nil for other kinds.
func (v Value) Function() *Function {
	if v.p != nil && v.p.kind == FunctionKind {
		return (*Function)(unsafe.Pointer(v.p))
	}
	return nil
}

func (v Value) thread() *coroutine {
	if v.p != nil && v.p.kind == ThreadKind {
		return (*coroutine)(unsafe.Pointer(v.p))
	}
	return nil
}

func (v Value) cell() *cell { return (*cell)(unsafe.Pointer(v.p)) }

// cell holds a local variable that a closure has captured.
type cell struct {
	head
	v Value
}

// Function is a closure over a prototype, or a function of the host.
type Function struct {
	head
	proto *proto
	ups   []*cell
	host  func(*State, []Value) []Value
	name  string
}

// Value wraps the function.
func (f *Function) Value() Value { return Value{p: &f.head} }

// Equal compares without metamethods.
func (v Value) Equal(w Value) bool {
	if v.p == w.p {
		return v.n == w.n // of objects n is 0
	}
	if v.p == nil || w.p == nil || v.p.kind != StringKind || w.p.kind != StringKind {
		return false
	}
	return v.str().s == w.str().s
}

// FormatNumber prints a number as C's %.14g does.
func FormatNumber(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e14 && (f != 0 || !math.Signbit(f)) {
		return strconv.FormatInt(int64(f), 10)
	}
	return formatG(f, 14)
}

// FormatG prints a number as C's %.<prec>g does.
func FormatG(f float64, prec int) string { return formatG(f, prec) }

// formatG is %.<prec>g.
func formatG(f float64, prec int) string {
	if s, ok := special(f); ok {
		return s
	}
	return strconv.FormatFloat(f, 'g', prec, 64)
}

// special prints what is no finite number. C prints the sign of a NaN.
func special(f float64) (string, bool) {
	switch {
	case math.IsInf(f, 1):
		return "inf", true
	case math.IsInf(f, -1):
		return "-inf", true
	case math.IsNaN(f) && math.Signbit(f):
		return "-nan", true
	case math.IsNaN(f):
		return "nan", true
	}
	return "", false
}

const spaces = " \t\n\v\f\r"

// ParseNumber converts as C's strtod does, with nothing but white space around the number.
func ParseNumber(s string) (float64, bool) {
	s = strings.Trim(s, spaces)
	if s == "" || strings.ContainsRune(s, '_') {
		return 0, false
	}
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 {
		return 0, false
	}
	if len(digits) > 2 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X') &&
		!strings.ContainsAny(digits, "pP") {
		s += "p0"
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !isRange(err) {
		return 0, false
	}
	return f, true
}

func isRange(err error) bool {
	e, ok := err.(*strconv.NumError)
	return ok && e.Err == strconv.ErrRange
}

// toNumber converts a number, or a string that looks like one.
func toNumber(v Value) (float64, bool) {
	if v.p == numHead {
		return v.n, true
	}
	if v.IsString() {
		return ParseNumber(v.str().s)
	}
	return 0, false
}

// toString converts a string or a number.
func toString(v Value) (string, bool) {
	if v.p == numHead {
		return FormatNumber(v.n), true
	}
	if v.IsString() {
		return v.str().s, true
	}
	return "", false
}
