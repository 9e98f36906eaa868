package lua

func returnCode(s *returnStat) stmt {
	switch len(s.exprs) {
	case 0:
		return func(f *frame) flow {
			f.ret = nil
			return returned
		}
	case 1:
		if c, ok := s.exprs[0].(*callNode); ok {
			return tailCode(c)
		}
		if _, ok := s.exprs[0].(*varargNode); !ok {
			e := expression(s.exprs[0])
			return func(f *frame) flow {
				f.one[0] = e(f)
				f.ret = f.one[:]
				return returned
			}
		}
	}
	list := listCode(s.exprs)
	return func(f *frame) flow {
		// The values stay where they are on the stack: who called reads them before anything else is put there.
		f.ret = list(f, 0)
		return returned
	}
}

// tailCode is "return f(x)": a function of the language replaces the frame.
func tailCode(n *callNode) stmt {
	target := targetCode(n)
	list := listCode(n.args)
	return func(f *frame) flow {
		st := f.st
		chunk, top := st.chunk, st.top
		fn, args := target(f, list)
		f.line = n.line
		if g := fn.Function(); g != nil && g.host == nil {
			f.args = append(f.args[:0], args...)
			f.tail = fn
			st.chunk, st.top = chunk, top
			return tailCall
		}
		if fn.Function() == nil && st.metamethod(fn, "__call").IsNil() {
			f.callError(n, fn)
		}
		st.method = !n.method.IsNil()
		f.ret = st.call(fn, args)
		st.chunk, st.top = chunk, top
		return returned
	}
}

// targetCode evaluates the function of a call and its arguments.
func targetCode(n *callNode) func(f *frame, list func(*frame, int) []Value) (Value, []Value) {
	fn := expression(n.fn)
	if n.method.IsNil() {
		return func(f *frame, list func(*frame, int) []Value) (Value, []Value) {
			v := fn(f)
			return v, list(f, 0)
		}
	}
	return func(f *frame, list func(*frame, int) []Value) (Value, []Value) {
		obj := fn(f)
		m := f.index(obj, n.method, n.line, n.fn)
		args := list(f, 1)
		args[0] = obj
		return m, args
	}
}

func callCode(n *callNode) multi {
	line := n.line
	if n.method.IsNil() && !lastMulti(n.args) {
		fn, args := expression(n.fn), expressions(n.args)
		return func(f *frame) []Value {
			st := f.st
			v := fn(f)
			chunk, top := st.chunk, st.top
			w := st.alloc(len(args))
			for i, a := range args {
				w[i] = a(f)
			}
			f.line = line
			if v.p == nil || v.p.kind != FunctionKind && st.metamethod(v, "__call").IsNil() {
				f.callError(n, v)
			}
			ret := st.call(v, w)
			st.chunk, st.top = chunk, top
			return ret
		}
	}
	target, list, method := targetCode(n), listCode(n.args), !n.method.IsNil()
	return func(f *frame) []Value {
		st := f.st
		chunk, top := st.chunk, st.top
		v, args := target(f, list)
		f.line = line
		if v.p == nil || v.p.kind != FunctionKind && st.metamethod(v, "__call").IsNil() {
			f.callError(n, v)
		}
		st.method = method
		ret := st.call(v, args)
		st.chunk, st.top = chunk, top
		return ret
	}
}

// lastMulti reports whether a list of expressions may have more values than expressions.
func lastMulti(exprs []any) bool {
	if len(exprs) == 0 {
		return false
	}
	switch exprs[len(exprs)-1].(type) {
	case *callNode, *varargNode:
		return true
	}
	return false
}

func (f *frame) callError(n *callNode, v Value) {
	if !n.method.IsNil() {
		f.st.fail("attempt to call method '" + n.method.Text() + "' (a " + v.Kind().String() + " value)")
	}
	f.typeError("call", v, n.fn)
}
