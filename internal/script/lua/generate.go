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
