// Package crash kills a server with SIGKILL at random moments under load, again and again, and checks after
// each restart that nothing acknowledged is missing.
//
// Each writer owns its keys and its connection, and keeps a model of what its keys must hold. Operations are
// sent in pipelines; those whose replies had not come when the server died may have happened or not, but only
// in order, and a MULTI only as a whole: the state after the restart must be the model after all acknowledged
// operations and some prefix of the others. One counter is shared by all writers.
package crash

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
)

// value is what a key holds: a string with its deadline in Unix milliseconds (0: none), or a hash.
type value struct {
	str  string
	pxat int64
	hash map[string]string // nil for a string
}

func (v value) equal(w value) bool {
	return v.str == w.str && v.pxat == w.pxat && (v.hash == nil) == (w.hash == nil) && maps.Equal(v.hash, w.hash)
}

func (v value) String() string {
	if v.hash != nil {
		return fmt.Sprintf("hash of %d fields", len(v.hash))
	}
	return fmt.Sprintf("%.40q (deadline %d)", v.str, v.pxat)
}

// state is the content of one writer's keys. Values are never changed in place, so that a copy is cheap.
type state map[string]value

// op is one operation: commands that are acknowledged together, and what they do to the state.
type op struct {
	commands [][]string // more than one: MULTI ... EXEC around them
	apply    func(state)
}

// writer generates operations over its own keys and keeps the model of them.
type writer struct {
	prefix  string
	rng     *rand.Rand
	model   state // after all acknowledged operations
	pending []op  // sent, not acknowledged, in order
	serial  int
	oldest  int // the unique keys oldest..serial exist, see trim
}

const (
	hotKeys    = 20   // keys that are overwritten and deleted again and again
	uniqueKeys = 1500 // bound of the keys that are written once
	fields     = 50   // of each hash
	farFuture  = 33177117420000
)

func newWriter(id int, seed uint64) *writer {
	return &writer{
		prefix: fmt.Sprintf("w%d:", id),
		rng:    rand.New(rand.NewPCG(seed, uint64(id))),
		model:  state{},
	}
}

func (w *writer) hot() string   { return w.prefix + "hot:" + strconv.Itoa(w.rng.IntN(hotKeys)) }
func (w *writer) hash() string  { return w.prefix + "hash:" + strconv.Itoa(w.rng.IntN(3)) }
func (w *writer) field() string { return "f" + strconv.Itoa(w.rng.IntN(fields)) }

// text is a value that occurs once; some are large.
func (w *writer) text() string {
	w.serial++
	s := fmt.Sprintf("%s%d-", w.prefix, w.serial)
	size := w.rng.IntN(100)
	if w.rng.IntN(50) == 0 {
		size = 20_000
	}
	filler := make([]byte, size)
	for i := range filler {
		filler[i] = byte('a' + w.rng.IntN(26))
	}
	return s + string(filler)
}

// next makes an operation at random.
func (w *writer) next() op {
	if w.rng.IntN(8) == 0 {
		return w.transaction()
	}
	return w.simple()
}

// transaction: two to five simple operations that happen together.
func (w *writer) transaction() op {
	var whole op
	var applies []func(state)
	for range 2 + w.rng.IntN(4) {
		o := w.simple()
		whole.commands = append(whole.commands, o.commands...)
		applies = append(applies, o.apply)
	}
	whole.apply = func(s state) {
		for _, apply := range applies {
			apply(s)
		}
	}
	return whole
}

func one(apply func(state), args ...string) op { return op{commands: [][]string{args}, apply: apply} }

func (w *writer) simple() op {
	switch w.rng.IntN(10) {
	case 0, 1: // a key that is written once
		text := w.text()
		key := fmt.Sprintf("%su:%d", w.prefix, w.serial)
		return one(func(s state) { s[key] = value{str: text} }, "SET", key, text)
	case 2: // and deleted when there are many
		if w.serial-w.oldest < uniqueKeys {
			return w.overwrite()
		}
		keys := []string{"DEL"}
		for range 20 {
			w.oldest++
			keys = append(keys, fmt.Sprintf("%su:%d", w.prefix, w.oldest))
		}
		return one(func(s state) {
			for _, k := range keys[1:] {
				delete(s, k)
			}
		}, keys...)
	case 3:
		key := w.hot()
		return one(func(s state) { delete(s, key) }, "DEL", key)
	case 4:
		return w.hashWrite()
	case 5:
		return w.hashDelete()
	case 6:
		key, text := w.hot(), w.text()
		pxat := int64(farFuture + w.rng.IntN(1000))
		return one(func(s state) { s[key] = value{str: text, pxat: pxat} },
			"SET", key, text, "PXAT", strconv.FormatInt(pxat, 10))
	case 7:
		key := w.hot() // a number, for INCR: its own keys
		key = "n" + key
		return one(func(s state) {
			n, _ := strconv.Atoi(s[key].str)
			s[key] = value{str: strconv.Itoa(n + 1)}
		}, "INCR", key)
	}
	return w.overwrite()
}

func (w *writer) overwrite() op {
	key, text := w.hot(), w.text()
	return one(func(s state) { s[key] = value{str: text} }, "SET", key, text)
}

func (w *writer) hashWrite() op {
	key := w.hash()
	args := []string{"HSET", key}
	for range 1 + w.rng.IntN(4) {
		args = append(args, w.field(), w.text())
	}
	return one(func(s state) {
		h := maps.Clone(s[key].hash)
		if h == nil {
			h = map[string]string{}
		}
		for i := 2; i < len(args); i += 2 {
			h[args[i]] = args[i+1]
		}
		s[key] = value{hash: h, pxat: s[key].pxat}
	}, args...)
}

func (w *writer) hashDelete() op {
	key := w.hash()
	if w.rng.IntN(20) == 0 {
		return one(func(s state) { delete(s, key) }, "UNLINK", key)
	}
	args := []string{"HDEL", key, w.field(), w.field(), w.field()}
	return one(func(s state) {
		h := maps.Clone(s[key].hash)
		for _, f := range args[2:] {
			delete(h, f)
		}
		if len(h) == 0 {
			delete(s, key)
			return
		}
		s[key] = value{hash: h, pxat: s[key].pxat}
	}, args...)
}

// acknowledge applies the first n pending operations.
func (w *writer) acknowledge(n int) {
	for _, o := range w.pending[:n] {
		o.apply(w.model)
	}
	w.pending = w.pending[n:]
}

// keys are all keys that may exist: those of the model and those that pending operations name.
func (w *writer) keys() []string {
	all := maps.Clone(w.model)
	for _, o := range w.pending {
		o.apply(all)
	}
	names := make(map[string]bool, len(all))
	for k := range w.model {
		names[k] = true
	}
	for _, o := range w.pending { // also what a pending operation makes and a later one deletes
		for _, c := range o.commands {
			names[c[1]] = true
		}
	}
	for k := range all {
		names[k] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// reconcile finds the prefix of the pending operations after which the model equals got, and makes that
// the model. If there is none it returns the difference to the acknowledged state and to the nearest one.
func (w *writer) reconcile(got state) (applied int, err error) {
	candidate := maps.Clone(w.model)
	var first, last string
	for n := 0; ; n++ {
		diff := difference(candidate, got)
		if diff == "" {
			w.model, w.pending = candidate, nil
			return n, nil
		}
		if n == 0 {
			first = diff
		}
		last = diff
		if n == len(w.pending) {
			return 0, fmt.Errorf("%s: the state fits no prefix of the %d unacknowledged operations\n"+
				"  with none of them: %s\n  with all of them:  %s", w.prefix, len(w.pending), first, last)
		}
		w.pending[n].apply(candidate)
	}
}

// difference names the first keys that differ.
func difference(want, got state) string {
	var diffs []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[k]
		switch {
		case !ok:
			diffs = append(diffs, fmt.Sprintf("%s: missing, want %v", k, want[k]))
		case !g.equal(want[k]):
			diffs = append(diffs, fmt.Sprintf("%s: %v, want %v", k, g, want[k]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			diffs = append(diffs, fmt.Sprintf("%s: %v, want nothing", k, got[k]))
		}
	}
	if len(diffs) == 0 {
		return ""
	}
	return fmt.Sprintf("%d keys differ, such as %s", len(diffs), diffs[0])
}
