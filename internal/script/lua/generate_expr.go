package lua

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
