package lua

// flow says how a statement ended.
type flow uint8

const (
	next flow = iota
	broke
	returned
	tailCall // the frame's tail and args say which function is to replace it
)

type (
	stmt  func(*frame) flow
	expr  func(*frame) Value
	multi func(*frame) []Value // the values are valid until the next call
	cond  func(*frame) bool
)

func runBlock(code []stmt, f *frame) flow {
	for _, s := range code {
		if c := s(f); c != next {
			return c
		}
	}
	return next
}

// generate makes the closures of a function and of those within it.
func generate(p *proto) {
	p.code = block(p.body)
	p.body = nil
}

// nesting is how deeply the closures of a node call one another.
func nesting(node any) int {
	switch n := node.(type) {
	case []any:
		d := 0
		for _, x := range n {
			d = max(d, nesting(x))
		}
		return d
	case *indexNode:
		return 1 + max(nesting(n.obj), nesting(n.key))
	case *callNode:
		return 3 + max(nesting(n.fn), nesting(n.args))
	case *binNode:
		return 1 + max(nesting(n.a), nesting(n.b))
	case *unNode:
		return 1 + nesting(n.a)
	case *logicNode:
		return 1 + max(nesting(n.a), nesting(n.b))
	case *parenNode:
		return nesting(n.e)
	case *funcNode:
		return 1 + n.p.depth
	case *localFuncStat:
		return 2 + n.f.p.depth
	case *tableNode:
		d := 0
		for _, it := range n.items {
			d = max(d, nesting(it.key), nesting(it.val))
		}
		return 1 + d
	case *localStat:
		return 2 + nesting(n.exprs)
	case *assignStat:
		return 2 + max(nesting(n.targets), nesting(n.exprs))
	case *callStat:
		return 1 + nesting(n.call)
	case *doStat:
		return 2 + nesting(n.body)
	case *whileStat:
		return 2 + max(nesting(n.cond), nesting(n.body))
	case *repeatStat:
		return 2 + max(nesting(n.cond), nesting(n.body))
	case *ifStat:
		d := nesting(n.conds)
		for _, b := range n.bodies {
			d = max(d, nesting(b))
		}
		return 2 + d
	case *forNumStat:
		return 2 + max(nesting(n.from), nesting(n.limit), nesting(n.step), nesting(n.body))
	case *forInStat:
		return 2 + max(nesting(n.exprs), nesting(n.body))
	case *returnStat:
		return 2 + nesting(n.exprs)
	}
	return 1
}

func block(body []any) []stmt {
	code := make([]stmt, 0, len(body))
	for _, s := range body {
		code = append(code, statement(s))
	}
	return code
}

func statement(s any) stmt {
	switch s := s.(type) {
	case *localStat:
		return localCode(s)
	case *assignStat:
		return assignCode(s)
	case *callStat:
		call := callCode(s.call)
		return func(f *frame) flow {
			call(f)
			return next
		}
	case *doStat:
		code := block(s.body)
		return func(f *frame) flow { return runBlock(code, f) }
	case *whileStat:
		test, code, line := condition(s.cond), block(s.body), s.line
		return func(f *frame) flow {
			rt := f.st.rt
			for test(f) {
				f.line = line // an end of the run in here names it
				rt.step()
				if c := runBlock(code, f); c != next {
					if c == broke {
						return next
					}
					return c
				}
			}
			return next
		}
	case *repeatStat:
		test, code, line := condition(s.cond), block(s.body), s.line
		return func(f *frame) flow {
			rt := f.st.rt
			for {
				f.line = line // an end of the run in here names it
				rt.step()
				if c := runBlock(code, f); c != next {
					if c == broke {
						return next
					}
					return c
				}
				if test(f) {
					return next
				}
			}
		}
	case *ifStat:
		return ifCode(s)
	case *forNumStat:
		return forNumCode(s)
	case *forInStat:
		return forInCode(s)
	case *localFuncStat:
		fn, slot, captured := expression(s.f), s.v.slot, s.v.captured
		return func(f *frame) flow {
			if captured {
				c := f.st.newCell(Value{})
				f.regs[slot] = c
				c.cell().v = fn(f)
			} else {
				f.regs[slot] = fn(f)
			}
			return next
		}
	case *returnStat:
		return returnCode(s)
	default: // breakStat
		return func(*frame) flow { return broke }
	}
}

func ifCode(s *ifStat) stmt {
	var tests []cond
	var bodies [][]stmt
	for _, c := range s.conds {
		tests = append(tests, condition(c))
	}
	for _, b := range s.bodies {
		bodies = append(bodies, block(b))
	}
	if len(tests) == 1 {
		test, then := tests[0], bodies[0]
		if len(bodies) == 1 {
			return func(f *frame) flow {
				if test(f) {
					return runBlock(then, f)
				}
				return next
			}
		}
		other := bodies[1]
		return func(f *frame) flow {
			if test(f) {
				return runBlock(then, f)
			}
			return runBlock(other, f)
		}
	}
	return func(f *frame) flow {
		for i, test := range tests {
			if test(f) {
				return runBlock(bodies[i], f)
			}
		}
		if len(bodies) > len(tests) {
			return runBlock(bodies[len(tests)], f)
		}
		return next
	}
}

// setLocal stores a new variable.
func (f *frame) setLocal(v *local, x Value) {
	if v.captured {
		x = f.st.newCell(x)
	}
	f.regs[v.slot] = x
}

func localCode(s *localStat) stmt {
	vars := s.vars
	if len(s.exprs) == 1 && len(vars) == 1 {
		e, v := expression(s.exprs[0]), vars[0]
		if v.captured {
			return func(f *frame) flow {
				f.regs[v.slot] = f.st.newCell(e(f))
				return next
			}
		}
		slot := v.slot
		return func(f *frame) flow {
			f.regs[slot] = e(f)
			return next
		}
	}
	if len(s.exprs) == 0 {
		return func(f *frame) flow {
			for _, v := range vars {
				f.setLocal(v, Value{})
			}
			return next
		}
	}
	list := listCode(s.exprs)
	return func(f *frame) flow {
		st := f.st
		chunk, top := st.chunk, st.top
		vals := list(f, 0)
		for i, v := range vars {
			var x Value
			if i < len(vals) {
				x = vals[i]
			}
			f.setLocal(v, x)
		}
		st.chunk, st.top = chunk, top
		return next
	}
}

// listCode evaluates a list of expressions, of which the last may have any number of values, into the value stack,
// behind room for some more at the front. The caller gives the stack back.
func listCode(exprs []any) func(f *frame, front int) []Value {
	n := len(exprs)
	if n == 0 {
		return func(f *frame, front int) []Value { return f.st.alloc(front) }
	}
	if last, ok := multiCode(exprs[n-1]); ok {
		firsts := expressions(exprs[:n-1])
		return func(f *frame, front int) []Value {
			st := f.st
			k := front + len(firsts)
			w := st.alloc(k)
			for i, e := range firsts {
				w[front+i] = e(f)
			}
			more := last(f)
			if len(more) == 0 {
				return w
			}
			if c := st.chunks[st.chunk]; st.top+len(more) <= len(c) {
				w = c[st.top-k : st.top+len(more) : st.top+len(more)]
				st.top += len(more)
				copy(w[k:], more)
				return w
			}
			whole := st.alloc(k + len(more))
			copy(whole, w)
			copy(whole[k:], more)
			return whole
		}
	}
	all := expressions(exprs)
	return func(f *frame, front int) []Value {
		w := f.st.alloc(front + len(all))
		for i, e := range all {
			w[front+i] = e(f)
		}
		return w
	}
}

func expressions(list []any) []expr {
	var out []expr
	for _, e := range list {
		out = append(out, expression(e))
	}
	return out
}

// multiCode is the code of an expression that may have any number of values.
func multiCode(e any) (multi, bool) {
	switch n := e.(type) {
	case *callNode:
		return callCode(n), true
	case *varargNode:
		return func(f *frame) []Value { return f.varargs }, true
	}
	return nil, false
}

func assignCode(s *assignStat) stmt {
	if len(s.targets) == 1 && len(s.exprs) == 1 {
		return assignOne(s.targets[0], expression(s.exprs[0]))
	}
	// All expressions, those in the targets too, are evaluated before anything is stored.
	type target struct {
		obj, key expr // of an index
		node     *indexNode
		store    func(*frame, Value)
	}
	var targets []target
	for _, t := range s.targets {
		if n, ok := t.(*indexNode); ok {
			targets = append(targets, target{obj: expression(n.obj), key: expression(n.key), node: n})
			continue
		}
		targets = append(targets, target{store: storeCode(t)})
	}
	list := listCode(s.exprs)
	return func(f *frame) flow {
		st := f.st
		chunk, top := st.chunk, st.top
		at := st.alloc(2 * len(targets))
		for i := range targets {
			if t := &targets[i]; t.node != nil {
				at[2*i], at[2*i+1] = t.obj(f), t.key(f)
			}
		}
		vals := list(f, 0)
		for i := len(targets) - 1; i >= 0; i-- {
			var v Value
			if i < len(vals) {
				v = vals[i]
			}
			if t := &targets[i]; t.node != nil {
				f.setIndex(at[2*i], at[2*i+1], v, t.node.line, t.node.obj)
			} else {
				t.store(f, v)
			}
		}
		st.chunk, st.top = chunk, top
		return next
	}
}

func storeCode(target any) func(*frame, Value) {
	switch n := target.(type) {
	case *localNode:
		slot, v := n.v.slot, n.v
		return func(f *frame, x Value) {
			if v.captured {
				f.regs[slot].cell().v = x
			} else {
				f.regs[slot] = x
			}
		}
	case *upvalNode:
		i := n.index
		return func(f *frame, x Value) { f.fn.ups[i].v = x }
	case *globalNode:
		return func(f *frame, x Value) { f.setIndex(f.st.rt.Globals.Value(), n.name, x, n.line, nil) }
	}
	return nil
}

func assignOne(target any, e expr) stmt {
	switch n := target.(type) {
	case *localNode:
		slot := n.v.slot
		if n.v.captured {
			return func(f *frame) flow {
				x := e(f)
				f.regs[slot].cell().v = x
				return next
			}
		}
		return func(f *frame) flow {
			f.regs[slot] = e(f)
			return next
		}
	case *indexNode:
		obj, key := expression(n.obj), expression(n.key)
		return func(f *frame) flow {
			o, k := obj(f), key(f)
			v := e(f)
			if t := o.Table(); t != nil && t.meta == nil && !t.readonly && k.p == numHead {
				// The usual case: an element. NaN is no int.
				if i := int(k.n); i >= 1 && i <= len(t.arr) && float64(i) == k.n && !v.IsNil() {
					t.arr[i-1] = v
					return next
				}
			}
			f.setIndex(o, k, v, n.line, n.obj)
			return next
		}
	}
	store := storeCode(target)
	return func(f *frame) flow {
		store(f, e(f))
		return next
	}
}

func forNumCode(s *forNumStat) stmt {
	from, limit := expression(s.from), expression(s.limit)
	step := expr(func(*frame) Value { return Num(1) })
	if s.step != nil {
		step = expression(s.step)
	}
	code, v, line := block(s.body), s.v, s.line
	return func(f *frame) flow {
		a, b, c := from(f), limit(f), step(f)
		i, ok := toNumber(a)
		if !ok {
			f.fail(line, "'for' initial value must be a number")
		}
		end, ok := toNumber(b)
		if !ok {
			f.fail(line, "'for' limit must be a number")
		}
		by, ok := toNumber(c)
		if !ok {
			f.fail(line, "'for' step must be a number")
		}
		rt := f.st.rt
		for ; by > 0 && i <= end || by <= 0 && i >= end; i += by {
			f.line = line
			rt.step()
			if v.captured {
				f.regs[v.slot] = f.st.newCell(Num(i))
			} else {
				f.regs[v.slot] = Num(i)
			}
			if c := runBlock(code, f); c != next {
				if c == broke {
					return next
				}
				return c
			}
		}
		return next
	}
}

func forInCode(s *forInStat) stmt {
	list, code, vars, line := listCode(s.exprs), block(s.body), s.vars, s.line
	return func(f *frame) flow {
		st := f.st
		chunk, top := st.chunk, st.top
		var iter, state, control Value
		for i, v := range list(f, 0) {
			switch i {
			case 0:
				iter = v
			case 1:
				state = v
			case 2:
				control = v
			}
		}
		st.chunk, st.top = chunk, top
		// The account of memory finds them here.
		f.regs[s.state], f.regs[s.state+1] = iter, state
		rt := st.rt
		fn := iter.Function()
		walk := fn != nil && fn == rt.nextFn
		elements := fn != nil && fn == rt.ipairsFn
		for {
			f.line = line
			rt.step()
			var vals []Value
			switch t := state.Table(); {
			case walk && t != nil:
				k, v, ok := t.Next(control)
				if !ok {
					f.fail(line, "invalid key to 'next'")
				}
				vals = st.Return(k, v)
			case elements && t != nil:
				if v := t.Index(int(control.n) + 1); v.IsNil() {
					vals = nil
				} else {
					vals = st.Return(Num(control.n+1), v)
				}
			default:
				f.line = line
				vals = st.Call(iter, state, control)
			}
			if control = first(vals); control.IsNil() {
				return next
			}
			for i, v := range vars {
				var x Value
				if i < len(vals) {
					x = vals[i]
				}
				f.setLocal(v, x)
			}
			if c := runBlock(code, f); c != next {
				if c == broke {
					return next
				}
				return c
			}
		}
	}
}

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

func expression(e any) expr {
	switch n := e.(type) {
	case *constNode:
		v := n.v
		return func(*frame) Value { return v }
	case *varargNode:
		return func(f *frame) Value { return first(f.varargs) }
	case *localNode:
		slot := n.v.slot
		if n.v.captured {
			return func(f *frame) Value { return f.regs[slot].cell().v }
		}
		return func(f *frame) Value { return f.regs[slot] }
	case *upvalNode:
		i := n.index
		return func(f *frame) Value { return f.fn.ups[i].v }
	case *globalNode:
		name, line := n.name, n.line
		return func(f *frame) Value {
			g := f.st.rt.Globals
			if i := g.find(name); i >= 0 {
				if v := g.ents[i].val; v.p != nil {
					return v
				}
			}
			return f.index(g.Value(), name, line, nil)
		}
	case *indexNode:
		return indexCode(n)
	case *callNode:
		call := callCode(n)
		return func(f *frame) Value { return first(call(f)) }
	case *funcNode:
		return funcCode(n)
	case *binNode:
		return binaryCode(n)
	case *unNode:
		return unaryCode(n)
	case *logicNode:
		a, b := expression(n.a), expression(n.b)
		if n.and {
			return func(f *frame) Value {
				if v := a(f); !v.Truth() {
					return v
				}
				return b(f)
			}
		}
		return func(f *frame) Value {
			if v := a(f); v.Truth() {
				return v
			}
			return b(f)
		}
	case *tableNode:
		return tableCode(n)
	case *parenNode:
		return expression(n.e)
	}
	return nil
}

func indexCode(n *indexNode) expr {
	obj := expression(n.obj)
	if k, ok := n.key.(*constNode); ok && k.v.IsString() {
		key := k.v
		return func(f *frame) Value {
			o := obj(f)
			if t := o.Table(); t != nil {
				if i := t.find(key); i >= 0 {
					if v := t.ents[i].val; v.p != nil {
						return v
					}
				}
			}
			return f.index(o, key, n.line, n.obj)
		}
	}
	key := expression(n.key)
	return func(f *frame) Value {
		o, k := obj(f), key(f)
		if t := o.Table(); t != nil && k.p == numHead {
			if i := int(k.n); i >= 1 && i <= len(t.arr) && float64(i) == k.n {
				if v := t.arr[i-1]; v.p != nil {
					return v
				}
			}
		}
		return f.index(o, k, n.line, n.obj)
	}
}

func funcCode(n *funcNode) expr {
	p := n.p
	generate(p)
	return func(f *frame) Value {
		f.st.rt.charge(64 + 8*len(p.ups))
		fn := &Function{head: head{FunctionKind}, proto: p}
		if len(p.ups) > 0 {
			fn.ups = make([]*cell, len(p.ups))
			for i, u := range p.ups {
				if u.fromLocal != nil {
					fn.ups[i] = f.regs[u.fromLocal.slot].cell()
				} else {
					fn.ups[i] = f.fn.ups[u.index]
				}
			}
		}
		return fn.Value()
	}
}

func binaryCode(n *binNode) expr {
	switch n.op {
	case opConcat:
		return concatCode(n)
	case opEq, opNE, opLT, opLE, opGT, opGE:
		c := condition(n)
		return func(f *frame) Value { return Boolean(c(f)) }
	}
	a, b := expression(n.a), expression(n.b)
	if k, ok := n.b.(*constNode); ok && k.v.IsNumber() && n.op <= opSub {
		y := k.v.n
		if n.op == opSub {
			y = -y
		}
		return func(f *frame) Value {
			if x := a(f); x.p == numHead {
				return Value{numHead, x.n + y}
			} else {
				return f.arith(n, x, k.v)
			}
		}
	}
	switch n.op {
	case opAdd:
		return func(f *frame) Value {
			x, y := a(f), b(f)
			if x.p == numHead && y.p == numHead {
				return Value{numHead, x.n + y.n}
			}
			return f.arith(n, x, y)
		}
	case opSub:
		return func(f *frame) Value {
			x, y := a(f), b(f)
			if x.p == numHead && y.p == numHead {
				return Value{numHead, x.n - y.n}
			}
			return f.arith(n, x, y)
		}
	case opMul:
		return func(f *frame) Value {
			x, y := a(f), b(f)
			if x.p == numHead && y.p == numHead {
				return Value{numHead, x.n * y.n}
			}
			return f.arith(n, x, y)
		}
	}
	op := n.op
	return func(f *frame) Value {
		x, y := a(f), b(f)
		if x.p == numHead && y.p == numHead {
			return Value{numHead, compute(op, x.n, y.n)}
		}
		return f.arith(n, x, y)
	}
}

// concatCode joins a chain of operands at once, which the operator's binding to the right allows.
func concatCode(n *binNode) expr {
	nodes := []any{n.a}
	for {
		nodes = append(nodes, n.b)
		r, ok := n.b.(*binNode)
		if !ok || r.op != opConcat {
			break
		}
		nodes[len(nodes)-1] = r.a
		n = r
	}
	parts, line := expressions(nodes), n.line
	return func(f *frame) Value {
		st := f.st
		chunk, top := st.chunk, st.top
		w := st.alloc(len(parts))
		for i, e := range parts {
			w[i] = e(f)
		}
		v := f.concat(w, nodes, line)
		st.chunk, st.top = chunk, top
		return v
	}
}

func unaryCode(n *unNode) expr {
	a := expression(n.a)
	switch n.op {
	case tNot:
		c := condition(n)
		return func(f *frame) Value { return Boolean(c(f)) }
	case '-':
		return func(f *frame) Value {
			if v := a(f); v.p == numHead {
				return Value{numHead, -v.n}
			} else {
				return f.negate(v, n)
			}
		}
	}
	return func(f *frame) Value { return f.length(a(f), n) }
}

// condition is the code of an expression of which only the truth matters.
func condition(e any) cond {
	switch n := e.(type) {
	case *constNode:
		v := n.v.Truth()
		return func(*frame) bool { return v }
	case *unNode:
		if n.op == tNot {
			c := condition(n.a)
			return func(f *frame) bool { return !c(f) }
		}
	case *logicNode:
		a, b := condition(n.a), condition(n.b)
		if n.and {
			return func(f *frame) bool { return a(f) && b(f) }
		}
		return func(f *frame) bool { return a(f) || b(f) }
	case *binNode:
		if n.op >= opEq {
			return comparison(n)
		}
	}
	v := expression(e)
	return func(f *frame) bool { return v(f).Truth() }
}

func comparison(n *binNode) cond {
	a, b := expression(n.a), expression(n.b)
	line := n.line
	switch n.op {
	case opEq:
		return func(f *frame) bool {
			x, y := a(f), b(f)
			if x.p == y.p && x.n == y.n {
				return true
			}
			f.line = line
			return f.st.equal(x, y)
		}
	case opNE:
		return func(f *frame) bool {
			x, y := a(f), b(f)
			f.line = line
			return !f.st.equal(x, y)
		}
	case opLT:
		return func(f *frame) bool {
			x, y := a(f), b(f)
			return f.less(x, y, line)
		}
	case opLE:
		return func(f *frame) bool {
			x, y := a(f), b(f)
			return f.lessEqual(x, y, line)
		}
	case opGT:
		return func(f *frame) bool {
			x, y := a(f), b(f)
			return f.less(y, x, line)
		}
	default:
		return func(f *frame) bool {
			x, y := a(f), b(f)
			return f.lessEqual(y, x, line)
		}
	}
}

func tableCode(n *tableNode) expr {
	type item struct{ key, val expr }
	var items []item
	var last multi
	elements, entries := 0, 0
	for i, it := range n.items {
		if it.key == nil {
			if m, ok := multiCode(it.val); ok && i == len(n.items)-1 {
				last = m
				continue
			}
			elements++
			items = append(items, item{nil, expression(it.val)})
			continue
		}
		entries++
		items = append(items, item{expression(it.key), expression(it.val)})
	}
	return func(f *frame) Value {
		st := f.st
		// The stack keeps the table reachable while it is being filled.
		chunk, top := st.chunk, st.top
		w := st.alloc(1)
		t := st.NewTable(elements, entries)
		w[0] = t.Value()
		count := 0
		for i := range items {
			it := &items[i]
			if it.key == nil {
				count++
				f.putElement(t, count, it.val(f))
				continue
			}
			k := it.key(f)
			f.rawSet(t, k, it.val(f), n.line)
		}
		if last != nil {
			for _, v := range last(f) {
				count++
				f.putElement(t, count, v)
			}
		}
		for n := len(t.arr); n > 0 && t.arr[n-1].IsNil(); n-- {
			t.arr = t.arr[:n-1]
		}
		st.chunk, st.top = chunk, top
		return t.Value()
	}
}

// putElement stores an element of a constructor; a nil between others leaves its place.
func (f *frame) putElement(t *Table, i int, v Value) {
	if i == len(t.arr)+1 && cap(t.arr) > len(t.arr) {
		t.arr = append(t.arr, v)
		return
	}
	before := cap(t.arr)
	for len(t.arr) < i-1 {
		t.arr = append(t.arr, Value{})
	}
	if len(t.arr) == i-1 {
		t.arr = append(t.arr, v)
	} else {
		t.arr[i-1] = v
	}
	f.st.rt.charge((cap(t.arr) - before) * valueBytes)
}
