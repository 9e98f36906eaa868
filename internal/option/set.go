package option

import (
	"errors"
	"fmt"
	"strings"
)

// Pair is an option's name, as it was asked for, and its value as text.
type Pair struct{ Name, Value string }

// errWrongNumber is what a line or argument list of the wrong length is answered.
var errWrongNumber = errors.New("wrong number of arguments")

// UnknownError refuses CONFIG SET of an option that does not exist.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("Unknown option or number of arguments for CONFIG SET - '%s'", e.Name)
}

// SetError refuses CONFIG SET; nothing was changed.
type SetError struct {
	Name string // the argument that is probably to blame
	Err  error
}

func (e *SetError) Error() string {
	return fmt.Sprintf("CONFIG SET failed (possibly related to argument '%s') - %v", e.Name, e.Err)
}

// Unwrap returns the reason.
func (e *SetError) Unwrap() error { return e.Err }

// Set is CONFIG SET: all pairs or none. The error's text is the reply without its leading "ERR ".
func (c *Config) Set(pairs ...Pair) error {
	if err := checkSet(pairs); err != nil {
		return err
	}
	c.serial.Lock()
	defer c.serial.Unlock()
	old := c.cur.Load()
	next := map[int]value{}
	for _, p := range pairs {
		id := byName[strings.ToLower(p.Name)]
		val, err := table[id].assign(old.vals[id], p.Value)
		if err != nil {
			return &SetError{strings.ToLower(p.Name), err}
		}
		next[id] = val
	}
	for id, val := range next {
		if val.text == old.vals[id].text {
			delete(next, id)
		}
	}
	if len(next) == 0 {
		return nil
	}
	view := old.with(next)
	if err := c.applyAll(pairs, old, view, next); err != nil {
		return err
	}
	c.publish(view, next)
	return nil
}

// checkSet makes the checks that need no values, in the order of the arguments.
func checkSet(pairs []Pair) error {
	seen := map[string]bool{}
	for _, p := range pairs {
		name := strings.ToLower(p.Name)
		s := Lookup(name)
		switch {
		case s == nil:
			return &UnknownError{p.Name}
		case s.Immutable:
			return &SetError{p.Name, errors.New("can't set immutable config")}
		case seen[name]:
			return &SetError{p.Name, errors.New("duplicate parameter")}
		}
		seen[name] = true
	}
	return nil
}

// assign reads a new value for an option that now has the value old.
func (s *Spec) assign(old value, text string) (value, error) {
	if s.list != nil && s.list.keep {
		return s.parseOver(old.words, text)
	}
	return s.parse(text)
}

// applyAll calls the functions registered for the changed options; on a refusal those that were called
// before are called again with the old values.
func (c *Config) applyAll(pairs []Pair, old, view *View, next map[int]value) error {
	apply, _ := c.hooks()
	var done []hook
	for _, h := range apply {
		if !h.wants(next) {
			continue
		}
		err := h.apply(view)
		if err == nil {
			done = append(done, h)
			continue
		}
		for i := len(done) - 1; i >= 0; i-- {
			if undo := done[i].apply(old); undo != nil {
				err = fmt.Errorf("%w; and going back failed: %w", err, undo)
			}
		}
		return &SetError{h.blame(pairs, next), err}
	}
	return nil
}

// wants reports whether the hook is registered for one of the changed options.
func (h hook) wants(next map[int]value) bool {
	for id := range next {
		if h.opts[id] {
			return true
		}
	}
	return false
}

// blame names the first argument that the hook was called for.
func (h hook) blame(pairs []Pair, next map[int]value) string {
	for _, p := range pairs {
		id := byName[strings.ToLower(p.Name)]
		if _, changed := next[id]; changed && h.opts[id] {
			return strings.ToLower(p.Name)
		}
	}
	return ""
}

func (c *Config) publish(view *View, next map[int]value) {
	c.cur.Store(view)
	_, change := c.hooks()
	for _, h := range change {
		if h.wants(next) {
			h.tell(view)
		}
	}
}

// Assign sets an option, immutable or not, for the part of the program that owns it (REPLICAOF, a generated
// node id) and for tests. It asks no OnApply function.
func (c *Config) Assign(o Option, text string) error {
	c.serial.Lock()
	defer c.serial.Unlock()
	id := o.index()
	old := c.cur.Load()
	val, err := table[id].assign(old.vals[id], text)
	if err != nil {
		return fmt.Errorf("option %s: %w", table[id].Name, err)
	}
	if val.text != old.vals[id].text {
		next := map[int]value{id: val}
		c.publish(old.with(next), next)
	}
	return nil
}
