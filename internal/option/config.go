package option

import (
	"sync"
	"sync/atomic"
	"time"
)

// View is a consistent, immutable set of values of all options.
type View struct{ vals []value }

// Viewer is what values can be read from: a Config (its current View) or a View.
type Viewer interface{ View() *View }

// View returns v itself.
func (v *View) View() *View { return v }

// Bool returns a yes/no option.
func (v *View) Bool(o Bool) bool { return v.vals[o].n != 0 }

// Int returns a number.
func (v *View) Int(o Int) int64 { return v.vals[o].n }

// Bytes returns a memory size.
func (v *View) Bytes(o Bytes) int64 { return v.vals[o].n }

// Duration returns a time.
func (v *View) Duration(o Duration) time.Duration {
	return time.Duration(v.vals[o].n) * table[o].Unit
}

// Share returns the bytes that the option grants, of a budget of so many bytes if it is a percentage.
func (v *View) Share(o Share, budget int64) int64 {
	n := v.vals[o].n
	if n >= 0 {
		return n
	}
	return budget/100*-n + budget%100*-n/100
}

// String returns a text.
func (v *View) String(o String) string { return v.vals[o].text }

// Enum returns the position of the chosen word in the option's Enum; constants beside the handle name them.
func (v *View) Enum(o Enum) int { return int(v.vals[o].n) }

// Text returns any option as CONFIG GET prints it.
func (v *View) Text(o Option) string { return v.vals[o.index()].text }

// Get returns the list in its typed form. Callers must not change it.
func (o List[T]) Get(from Viewer) T { return from.View().vals[o].data.(T) }

// with returns a copy of v in which the given options have new values.
func (v *View) with(next map[int]value) *View {
	vals := append([]value(nil), v.vals...)
	for id, val := range next {
		vals[id] = val
	}
	return &View{vals}
}

// defaults returns a View of the defaults.
func defaults() *View {
	vals := make([]value, len(table))
	for id, s := range table {
		vals[id], _ = s.parse(s.Default) // declare proved that it parses
	}
	return &View{vals}
}

// Config holds the values of a running node. Its methods may be called from any goroutine.
type Config struct {
	cur atomic.Pointer[View]

	// serial orders Set, Assign and Rewrite, including the functions that they call and the file that they
	// write. It protects no field: readers see whole Views.
	serial sync.Mutex

	file  string     // absolute path of the configuration file, empty if there is none; fixed after Load
	users [][]string // the arguments of the file's user lines; fixed after Load

	mu struct {
		sync.Mutex
		nextHook int
		apply    []hook
		change   []hook
		userSrc  func() []string
	}
}

// hook is a registered function and the options that it is called for.
type hook struct {
	id    int
	opts  map[int]bool
	apply func(next *View) error
	tell  func(now *View)
}

// New returns a Config with every option at its default and no file.
func New() *Config {
	c := &Config{}
	c.cur.Store(defaults())
	return c
}

// View returns the current values.
func (c *Config) View() *View { return c.cur.Load() }

// Bool returns a yes/no option.
func (c *Config) Bool(o Bool) bool { return c.cur.Load().Bool(o) }

// Int returns a number.
func (c *Config) Int(o Int) int64 { return c.cur.Load().Int(o) }

// Bytes returns a memory size.
func (c *Config) Bytes(o Bytes) int64 { return c.cur.Load().Bytes(o) }

// Duration returns a time.
func (c *Config) Duration(o Duration) time.Duration { return c.cur.Load().Duration(o) }

// Share returns the bytes that the option grants, of a budget of so many bytes if it is a percentage.
func (c *Config) Share(o Share, budget int64) int64 { return c.cur.Load().Share(o, budget) }

// String returns a text.
func (c *Config) String(o String) string { return c.cur.Load().String(o) }

// Enum returns the position of the chosen word in the option's Enum.
func (c *Config) Enum(o Enum) int { return c.cur.Load().Enum(o) }

// Text returns any option as CONFIG GET prints it.
func (c *Config) Text(o Option) string { return c.cur.Load().Text(o) }

// File returns the absolute path of the configuration file; empty if the node runs without one.
func (c *Config) File() string { return c.file }

// Users returns the arguments of each `user` line of the file, in order. They belong to access control,
// which reads them here at start and provides the current ones with SetUserSource.
func (c *Config) Users() [][]string { return c.users }

// SetUserSource registers the function from which Rewrite takes the arguments of the `user` lines. Without
// one the lines of the file stay as they are.
func (c *Config) SetUserSource(lines func() []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.userSrc = lines
}

// OnApply registers a function that makes a change of any of the options real. It is called once per Set
// that changes at least one of them, with the values that will be, before readers see them. An error
// refuses the whole Set; its text becomes the reason in the reply. Functions that had already applied the
// change are then called with the old values. The returned function removes the registration.
func (c *Config) OnApply(apply func(next *View) error, opts ...Option) (remove func()) {
	return c.register(&c.mu.apply, hook{apply: apply}, opts)
}

// OnChange registers a function that is told after a Set or Assign changed any of the options. The returned
// function removes the registration.
func (c *Config) OnChange(tell func(now *View), opts ...Option) (remove func()) {
	return c.register(&c.mu.change, hook{tell: tell}, opts)
}

func (c *Config) register(list *[]hook, h hook, opts []Option) (remove func()) {
	h.opts = make(map[int]bool, len(opts))
	for _, o := range opts {
		h.opts[o.index()] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.nextHook++
	h.id = c.mu.nextHook
	*list = append((*list)[:len(*list):len(*list)], h)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		var kept []hook
		for _, old := range *list {
			if old.id != h.id {
				kept = append(kept, old)
			}
		}
		*list = kept
	}
}

func (c *Config) hooks() (apply, change []hook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.apply, c.mu.change // never changed in place
}
