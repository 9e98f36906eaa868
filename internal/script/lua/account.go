package lua

// account keeps what a run holds below a limit without looking at the host's heap, on which others allocate too.
// What is allocated is added to grown; live is what could be reached when that was counted last. The sum of both is
// never less than what the run holds, and when it exceeds the limit, live is counted anew.
type account struct {
	live, grown int
}

// charge notes that n bytes have been allocated, or are about to be.
func (rt *Runtime) charge(n int) {
	a := &rt.account
	if a.grown += n; a.live+a.grown > rt.MemoryLimit && rt.MemoryLimit > 0 {
		rt.collect(n)
	}
}

// reserve is charge for what is garbage soon: it only makes sure that there is room.
func (rt *Runtime) reserve(n int) {
	rt.charge(n)
}

// collect counts what is live. A run that holds nearly all that it may is ended, because counting again and again
// would take its time.
func (rt *Runtime) collect(n int) {
	a := &rt.account
	a.live = rt.reachable()
	a.grown = n
	if a.live+n > rt.MemoryLimit-rt.MemoryLimit/8 {
		a.grown = 0
		st := rt.current
		e := &Error{Value: constant("not enough memory")}
		e.Source, e.Line = st.Position()
		panic(e)
	}
}

// reachable counts the bytes of what the run can still reach.
func (rt *Runtime) reachable() int {
	w := walk{seen: map[*head]struct{}{}}
	w.table(rt.Globals)
	w.table(rt.Registry)
	w.state(rt.main)
	for _, co := range rt.threads {
		w.state(co.st)
	}
	for len(w.open) > 0 {
		v := w.open[len(w.open)-1]
		w.open = w.open[:len(w.open)-1]
		w.visit(v)
	}
	return w.bytes
}

type walk struct {
	seen  map[*head]struct{}
	open  []Value
	bytes int
}

func (w *walk) state(st *State) {
	for i := 0; i <= st.chunk; i++ {
		c := st.chunks[i]
		w.bytes += len(c) * valueBytes
		if i == st.chunk {
			c = c[:st.top] // what is behind is left over from calls that have ended
		}
		w.values(c)
	}
	for _, f := range st.frames[:st.nframe] {
		if f.fn != nil {
			w.add(f.fn.Value())
		}
		w.values(f.varargs)
		w.values(f.args)
		w.values(f.ret)
	}
	w.values(st.out)
	if st.co != nil {
		w.bytes += coroutineBytes
		w.add(st.co.fn)
		w.values(st.co.passed)
	}
}

func (w *walk) values(v []Value) {
	for _, x := range v {
		w.add(x)
	}
}

func (w *walk) add(v Value) {
	if v.p == nil || v.p == numHead || v.p == boolHead {
		return
	}
	if _, ok := w.seen[v.p]; ok {
		return
	}
	w.seen[v.p] = struct{}{}
	w.open = append(w.open, v)
}

func (w *walk) table(t *Table) {
	w.bytes += t.bytes()
	w.values(t.arr)
	for i := range t.ents {
		if !t.ents[i].val.IsNil() {
			w.add(t.ents[i].key)
			w.add(t.ents[i].val)
		}
	}
	if t.meta != nil {
		w.add(t.meta.Value())
	}
}

func (w *walk) visit(v Value) {
	switch v.Kind() {
	case StringKind:
		w.bytes += stringBytes + len(v.str().s)
	case TableKind:
		w.table(v.Table())
	case FunctionKind:
		f := v.Function()
		w.bytes += 64 + 8*len(f.ups)
		for _, c := range f.ups {
			w.add(Value{p: &c.head})
		}
	case cellKind:
		w.bytes += 32
		w.add(v.cell().v)
	case ThreadKind:
		// It is one of the threads.
	}
}

// Memory is how many bytes the run may hold at present, at most.
func (rt *Runtime) Memory() int { return rt.account.live + rt.account.grown }
