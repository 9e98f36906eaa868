// Package lua is a small Lua 5.1: a compiler from source to a tree of Go closures, the values, and the parts of the
// standard library that a script in a database may have. It is exact where scripts can see it, messages included,
// and it is a sandbox: nothing in it reaches the host but the functions that the host adds, time is bounded by a
// budget of steps, memory by an account.
//
// A Program is immutable and shared by goroutines. A Runtime, with all its values, belongs to one goroutine at a
// time.
//
// Time: every iteration of a loop and every call takes a step, library functions take steps for what they do;
// every tickSteps steps the host is asked whether to go on (Runtime.Tick). Memory: what is allocated is added up;
// when the sum could exceed the limit, what can still be reached is counted (account.go). Host stack: calls are
// bounded by number and by how deeply the functions called nest.
package lua

import (
	"fmt"
	"math/rand/v2"
)

// Limits of the language's reference implementation: calls within calls, and those of them that go through the
// host's functions.
const (
	maxCalls     = 20000
	maxHostCalls = 200
	// maxDepth bounds the host's stack: the sum over all calls of how deep the functions nest, each level a few
	// hundred bytes.
	maxDepth = 200_000
)

// tickSteps is how many steps lie between two questions to the host.
const tickSteps = 1024

// Runtime is a world of values: globals, metatables of basic types, an account of time and memory.
type Runtime struct {
	Globals *Table
	// Registry holds what the host keeps between runs.
	Registry *Table
	// Tick is called every tickSteps steps; an error ends the run, and no pcall catches it.
	Tick func(steps int64) error
	// MemoryLimit bounds the bytes that a run may hold.
	MemoryLimit int

	strings *Table // metatable of strings
	main    *State
	current *State
	account account
	steps   int64 // taken before the present stretch
	left    int   // of the present stretch
	threads []*coroutine
	depth   int
	hosts   int
	single  [256]Value // strings of one byte
	random  randomState
	// nextFn and ipairsFn are what pairs and ipairs walk with: a loop over them needs no call.
	nextFn, ipairsFn *Function
}

// State is a thread of execution: the main one, or a coroutine's.
type State struct {
	rt     *Runtime
	frames []*frame
	nframe int
	chunks [][]Value
	chunk  int
	top    int
	out    []Value // results of host functions
	co     *coroutine
	method bool // the next call is one of a method
}

// frame is a call under way.
type frame struct {
	st      *State
	regs    []Value
	varargs []Value
	fn      *Function
	line    int
	ret     []Value
	one     [1]Value
	tails   bool // it has replaced a caller
	method  bool // it was called as obj:name(), so that its first argument is not counted
	tail    Value
	args    []Value
}

// Error is an error of the language: any value. Source and Line say where it was raised.
type Error struct {
	Value  Value
	Source string
	Line   int
}

func (e *Error) Error() string {
	if s, ok := toString(e.Value); ok {
		return s
	}
	return "(error object is a " + e.Value.Kind().String() + " value)"
}

// ended is the panic that ends a run whatever the script does.
type ended struct{ err error }

const firstChunk = 1024

// NewRuntime makes a world with the standard library.
func NewRuntime(memory int) *Runtime {
	rt := &Runtime{Globals: &Table{head: head{TableKind}}, Registry: &Table{head: head{TableKind}},
		MemoryLimit: memory, left: tickSteps}
	for i := range rt.single {
		rt.single[i] = constant(string([]byte{byte(i)}))
	}
	rt.main = newState(rt, firstChunk)
	rt.current = rt.main
	rt.random.seed(rand.Int32())
	rt.openLibraries()
	return rt
}

func newState(rt *Runtime, stack int) *State {
	return &State{rt: rt, chunks: [][]Value{make([]Value, stack)}}
}

// Begin starts a run: time and memory are counted from here.
func (rt *Runtime) Begin() {
	rt.steps, rt.left = 0, tickSteps
	rt.account = account{}
	rt.depth, rt.hosts = 0, 0
}

// Steps is how many steps the run has taken.
func (rt *Runtime) Steps() int64 { return rt.steps + int64(tickSteps-rt.left) }

// End forgets what the run has left on the stack, and ends its coroutines.
func (rt *Runtime) End() {
	for _, co := range rt.threads {
		co.end()
	}
	rt.threads = nil
	st := rt.main
	rt.current = st
	clear(st.chunks[0])
	st.chunks = st.chunks[:1]
	st.chunk, st.top, st.nframe = 0, 0, 0
	for _, f := range st.frames {
		*f = frame{st: st}
	}
	if len(st.frames) > 64 {
		st.frames = st.frames[:64:64]
	}
	clear(st.out[:cap(st.out)])
	if cap(st.out) > 1024 {
		st.out = nil
	}
}

func (rt *Runtime) step() {
	if rt.left--; rt.left <= 0 {
		rt.tick()
	}
}

// take counts n steps at once: for a library function that works on n bytes or values.
func (rt *Runtime) take(n int) {
	if n <= 0 {
		return
	}
	if rt.left -= n; rt.left <= 0 {
		rt.tick()
	}
}

func (rt *Runtime) tick() {
	rt.steps += int64(tickSteps - rt.left)
	rt.left = tickSteps
	if rt.Tick != nil {
		if err := rt.Tick(rt.steps); err != nil {
			rt.left = 0 // the next step ends the run too, whatever catches this
			panic(ended{err})
		}
	}
}

// mark and restore bracket the use of the value stack.
func (st *State) alloc(n int) []Value {
	c := st.chunks[st.chunk]
	if st.top+n > len(c) {
		c = st.grow(n)
	}
	w := c[st.top : st.top+n : st.top+n]
	st.top += n
	return w
}

func (st *State) grow(n int) []Value {
	st.chunk++
	size := max(2*len(st.chunks[st.chunk-1]), 2*n)
	size = min(size, max(64<<10, 2*n))
	if st.chunk < len(st.chunks) && len(st.chunks[st.chunk]) < n {
		st.chunks = st.chunks[:st.chunk]
	}
	if st.chunk == len(st.chunks) {
		st.rt.charge(size * valueBytes)
		st.chunks = append(st.chunks, make([]Value, size))
	}
	st.top = 0
	return st.chunks[st.chunk]
}

func (st *State) push() *frame {
	if st.nframe == len(st.frames) {
		st.frames = append(st.frames, &frame{st: st})
	}
	f := st.frames[st.nframe]
	st.nframe++
	return f
}

// Call calls a value. The results are valid until the next call.
func (st *State) Call(fn Value, args ...Value) []Value {
	chunk, top := st.chunk, st.top
	w := st.alloc(len(args))
	copy(w, args)
	ret := st.call(fn, w)
	st.chunk, st.top = chunk, top
	return ret
}

// call calls fn with arguments on the stack, or anywhere but in a frame's results.
func (st *State) call(fn Value, args []Value) []Value {
	f := fn.Function()
	if f == nil {
		f, args = st.callable(fn, args)
	}
	rt := st.rt
	rt.step()
	if f.host != nil {
		return st.callHost(f, args)
	}
	if st.nframe >= maxCalls || rt.depth > maxDepth {
		st.overflow()
	}
	fr := st.push()
	st.method = false
	chunk, top := st.chunk, st.top
	fr.tails = false
	depth := rt.depth
	for {
		p := f.proto
		rt.depth = depth + 8 + p.depth
		regs := st.alloc(p.nregs)
		fr.regs, fr.fn, fr.line = regs, f, p.line
		n := copy(regs[:p.nparams], args)
		clear(regs[n:p.nparams])
		fr.varargs = nil
		if p.vararg && len(args) > p.nparams {
			fr.varargs = args[p.nparams:]
		}
		if p.legacyArg {
			regs[p.nparams] = st.argTable(fr.varargs)
		}
		for _, slot := range p.captured {
			regs[slot] = st.newCell(regs[slot])
		}
		fr.ret = nil
		if runBlock(p.code, fr) != tailCall {
			break
		}
		// The frame is used again: a loop of tail calls needs no stack.
		rt.step()
		f = fr.tail.Function()
		st.chunk, st.top = chunk, top
		args = st.alloc(len(fr.args))
		copy(args, fr.args)
		fr.tails = true
	}
	rt.depth = depth
	st.nframe--
	st.chunk, st.top = chunk, top
	fr.fn, fr.varargs = nil, nil
	return fr.ret
}

func (st *State) overflow() {
	st.fail("stack overflow")
}

func (st *State) argTable(args []Value) Value {
	t := st.NewTable(len(args), 1)
	for i, v := range args {
		st.rt.charge(t.SetIndex(i+1, v))
	}
	st.rt.charge(t.SetField("n", Num(float64(len(args)))))
	return t.Value()
}

func (st *State) callHost(f *Function, args []Value) []Value {
	rt := st.rt
	if rt.hosts >= maxHostCalls {
		st.fail("C stack overflow")
	}
	if st.nframe >= maxCalls || rt.depth > maxDepth {
		st.overflow()
	}
	rt.hosts++
	rt.depth += 16
	fr := st.push()
	fr.fn, fr.line, fr.tails, fr.method = f, -1, false, st.method
	st.method = false
	ret := f.host(st, args)
	st.nframe--
	fr.fn = nil
	rt.hosts--
	rt.depth -= 16
	return ret
}

// callable finds the function behind a value that is none.
func (st *State) callable(v Value, args []Value) (*Function, []Value) {
	if h := st.metamethod(v, "__call"); h.Function() != nil {
		w := st.alloc(len(args) + 1)
		w[0] = v
		copy(w[1:], args)
		return h.Function(), w
	}
	st.fail("attempt to call a " + v.Kind().String() + " value")
	return nil, nil
}

// protect runs f; an error of the language that it raises is returned, and the state is as it was before.
func (st *State) protect(f func()) (err *Error) {
	rt := st.rt
	nframe, chunk, top, depth, hosts := st.nframe, st.chunk, st.top, rt.depth, rt.hosts
	defer func() {
		e := recover()
		if e == nil {
			return
		}
		le, ok := e.(*Error)
		if !ok {
			panic(e)
		}
		st.nframe, st.chunk, st.top, rt.depth, rt.hosts = nframe, chunk, top, depth, hosts
		clear(st.chunks[chunk][top:]) // nobody may hold what the calls that failed have left
		st.chunks = st.chunks[:chunk+1]
		for _, f := range st.frames[nframe:] {
			f.ret, f.args, f.varargs, f.fn, f.tail, f.one[0] = nil, nil, nil, nil, Value{}, Value{}
		}
		err = le
	}()
	f()
	return nil
}

// Run calls fn in the main thread. The error is an *Error, or what Tick returned.
func (rt *Runtime) Run(fn Value, args ...Value) (ret []Value, err error) {
	st := rt.main
	defer func() {
		e := recover()
		if e == nil {
			return
		}
		rt.current = st
		switch x := e.(type) {
		case *Error:
			err = x
		case ended:
			err = x.err
		default:
			panic(e)
		}
	}()
	return st.Call(fn, args...), nil
}

// Main is the main thread.
func (rt *Runtime) Main() *State { return rt.main }

// Runtime is the world that the thread belongs to.
func (st *State) Runtime() *Runtime { return st.rt }

// Raise raises an error with any value.
func (st *State) Raise(v Value) {
	e := &Error{Value: v}
	e.Source, e.Line = st.Position()
	panic(e)
}

// Position is where the youngest function that is not the host's stands.
func (st *State) Position() (source string, line int) {
	for i := st.nframe - 1; i >= 0; i-- {
		if f := st.frames[i]; f.fn != nil && f.fn.proto != nil {
			return f.fn.proto.chunk, f.line
		}
	}
	return "", 0
}

// where is the prefix of messages about a level of calls: 0 is the function that runs, 1 its caller.
func (st *State) where(level int) string {
	i := st.nframe - 1
	for ; i >= 0 && level > 0; i-- {
		level--
		if st.frames[i].tails {
			if level == 0 {
				return ""
			}
			level--
		}
	}
	if i < 0 {
		return ""
	}
	f := st.frames[i]
	if f.fn == nil || f.fn.proto == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d: ", chunkID(f.fn.proto.chunk), f.line)
}

// Fail raises an error from a host function: the message begins with the place of its caller.
func (st *State) Fail(format string, a ...any) {
	st.Raise(st.String(st.where(1) + fmt.Sprintf(format, a...)))
}

// fail raises an error of the running function itself.
func (st *State) fail(msg string) { st.Raise(st.String(st.where(0) + msg)) }

func (f *frame) fail(line int, msg string) {
	f.line = line
	f.st.fail(msg)
}

// String makes a string.
func (st *State) String(s string) Value {
	if len(s) == 1 {
		return st.rt.single[s[0]]
	}
	if len(s) > maxString {
		st.tooLong()
	}
	st.rt.charge(stringBytes + len(s))
	return Value{p: &(&Str{head: head{StringKind}, s: s}).head}
}

// maxString bounds one string: that of a value in the database.
const (
	maxString   = 512 << 20
	stringBytes = 48
)

func (st *State) tooLong() { st.fail("string length overflow") }

// NewTable makes a table with room for elements and entries.
func (st *State) NewTable(elements, entries int) *Table {
	t := &Table{head: head{TableKind}}
	if elements > 0 {
		t.arr = make([]Value, 0, elements)
	}
	if entries > 0 && entries <= linear {
		t.ents = make([]entry, 0, entries)
	}
	st.rt.charge(t.bytes())
	return t
}

// NewFunction makes a function of the host. It must not keep its arguments; what it returns is read before the
// next call.
func NewFunction(name string, f func(*State, []Value) []Value) *Function {
	return &Function{head: head{FunctionKind}, host: f, name: name}
}

// Return collects the results of a host function.
func (st *State) Return(v ...Value) []Value {
	st.out = append(st.out[:0], v...)
	return st.out
}

func (st *State) newCell(v Value) Value {
	st.rt.charge(32)
	return Value{p: &(&cell{head{cellKind}, v}).head}
}
