package lua

import "strings"

// Name is what a chunk or a function of the host is called.
func (f *Function) Name() string { return f.name }

// Program is a compiled chunk.
type Program struct{ p *proto }

// Compile compiles a source. chunk names it in messages: "@name" as it stands, else as a quotation.
func Compile(src, chunk string) (*Program, error) {
	p, err := parse(src, chunk)
	if err != nil {
		return nil, err
	}
	generate(p)
	return &Program{p}, nil
}

// Load makes the program a function of the runtime.
func (rt *Runtime) Load(p *Program) Value {
	rt.charge(64)
	return (&Function{head: head{FunctionKind}, proto: p.p}).Value()
}

// Source is the name of the chunk.
func (p *Program) Source() string { return strings.TrimPrefix(p.p.chunk, "@") }

// Stop ends the run from a host function, for a reason that the script cannot catch.
func Stop(err error) { panic(ended{err}) }

// Charge notes that the host has allocated for the run.
func (rt *Runtime) Charge(n int) { rt.charge(n) }

// Take counts steps that the host has taken for the run.
func (rt *Runtime) Take(n int) { rt.take(n) }

// Do runs f, which may raise errors as a host function does.
func (rt *Runtime) Do(f func()) error {
	_, err := rt.Run(NewFunction("", func(*State, []Value) []Value {
		f()
		return nil
	}).Value())
	return err
}

// Protected calls fn as pcall does: true comes before the results.
func (st *State) Protected(fn Value, args []Value) (out []Value, err *Error) {
	err = st.protect(func() { out = append([]Value{True}, st.call(fn, args)...) })
	return out, err
}
