package lua

import "iter"

// coroutine is a thread of the language over a coroutine of the host, which ends with the run if the script
// leaves it suspended.
type coroutine struct {
	head
	st     *State
	fn     Value
	status coStatus
	passed []Value // between resume and yield
	next   func() ([]Value, bool)
	stop   func()
	// yield is the host's, set while the body runs.
	yield  func([]Value) bool
	err    *Error
	failed any // a panic that ends the run
	depth  int // of the calls under way in it
}

type coStatus uint8

const (
	suspended coStatus = iota
	running
	normal
	dead
)

var statusNames = [...]Value{constant("suspended"), constant("running"), constant("normal"), constant("dead")}

// coroutineBytes is what a coroutine takes at least, the host's stack included. maxCoroutines bounds how many a run
// may have that have not ended, since those left suspended live until its end; coroutineDepth bounds the host's
// stack of each.
const (
	coroutineBytes = 16 << 10
	maxCoroutines  = 512
	coroutineDepth = 4000
	coroutineStack = 64
)

var coroutineLibrary library

func init() {
	coroutineLibrary = library{
		"create": func(st *State, v []Value) []Value {
			return st.Return(st.newCoroutine(st.Check("create", v).Func(1)))
		},
		"resume": func(st *State, v []Value) []Value {
			a := st.Check("resume", v)
			co := a.Get(1).thread()
			if co == nil {
				a.Bad(1, "coroutine expected")
			}
			out, err := st.resume(co, v[1:])
			if err != nil {
				return st.Return(False, err.Value)
			}
			return append([]Value{True}, out...)
		},
		"running": func(st *State, v []Value) []Value {
			if st.co == nil {
				return st.Return(Value{})
			}
			return st.Return(Value{p: &st.co.head})
		},
		"status": func(st *State, v []Value) []Value {
			a := st.Check("status", v)
			co := a.Get(1).thread()
			if co == nil {
				a.Bad(1, "coroutine expected")
			}
			return st.Return(statusNames[co.status])
		},
		"wrap": func(st *State, v []Value) []Value {
			co := st.newCoroutine(st.Check("wrap", v).Func(1)).thread()
			f := NewFunction("wrap", func(st *State, v []Value) []Value {
				out, err := st.resume(co, v)
				if err != nil {
					if err.Value.IsString() {
						err.Value = st.String(st.where(1) + err.Value.Text())
					}
					st.Raise(err.Value)
				}
				return out
			})
			return st.Return(f.Value())
		},
		"yield": func(st *State, v []Value) []Value {
			co := st.co
			if co == nil {
				st.fail("attempt to yield across metamethod/C-call boundary")
			}
			co.status = suspended
			if !co.yield(append([]Value(nil), v...)) {
				panic(ended{})
			}
			co.status = running
			return co.passed
		},
	}
}

func (st *State) newCoroutine(fn Value) Value {
	rt := st.rt
	if len(rt.threads) >= maxCoroutines {
		st.Fail("too many coroutines")
	}
	rt.charge(coroutineBytes)
	co := &coroutine{head: head{ThreadKind}, fn: fn}
	co.st = newState(rt, coroutineStack)
	co.st.co = co
	rt.threads = append(rt.threads, co)
	return Value{p: &co.head}
}

// body runs the coroutine's function. Panics stay within: the host's coroutine would carry them to whoever ends it.
func (co *coroutine) body(yield func([]Value) bool) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Error:
			co.err = e
		default:
			co.failed = e
		}
	}()
	co.yield = yield
	out := append([]Value(nil), co.st.Call(co.fn, co.passed...)...)
	co.status = dead
	yield(out)
}

func (st *State) resume(co *coroutine, args []Value) ([]Value, *Error) {
	rt := st.rt
	if co.status != suspended {
		what := "cannot resume non-suspended coroutine"
		if co.status == dead {
			what = "cannot resume dead coroutine"
		}
		return nil, &Error{Value: constant(what)}
	}
	if rt.hosts >= maxHostCalls {
		st.fail("C stack overflow")
	}
	if co.next == nil {
		co.next, co.stop = iter.Pull(iter.Seq[[]Value](co.body))
	}
	rt.step()
	co.passed = append([]Value(nil), args...)
	depth, hosts := rt.depth, rt.hosts
	rt.hosts++
	if st.co != nil {
		st.co.status = normal
	}
	rt.depth = maxDepth - coroutineDepth + co.depth // it has a stack of its own
	co.status, rt.current = running, co.st
	out, ok := co.next()
	co.depth = rt.depth - (maxDepth - coroutineDepth)
	rt.current, rt.depth, rt.hosts = st, depth, hosts
	if st.co != nil {
		st.co.status = running
	}
	switch {
	case co.failed != nil:
		panic(co.failed)
	case !ok || co.status == dead:
		co.status = dead
		co.finish()
		if co.err != nil {
			return nil, co.err
		}
	}
	return out, nil
}

// finish lets go of a coroutine that has ended.
func (co *coroutine) finish() {
	rt := co.st.rt
	co.stop()
	for i, t := range rt.threads {
		if t == co {
			rt.threads = append(rt.threads[:i], rt.threads[i+1:]...)
			break
		}
	}
	co.st.chunks, co.st.frames, co.passed = nil, nil, nil
}

// end ends a coroutine that the run leaves behind.
func (co *coroutine) end() {
	if co.stop != nil {
		co.stop()
	}
	co.status = dead
}
