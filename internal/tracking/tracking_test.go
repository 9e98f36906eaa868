package tracking

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// sink notes what it is told, one line a message.
type sink struct {
	told []string
	gone bool
}

func (s *sink) Invalidate(keys [][]byte) bool {
	if keys == nil {
		s.told = append(s.told, "(all)")
	} else {
		words := make([]string, len(keys))
		for i, k := range keys {
			words[i] = string(k)
		}
		s.told = append(s.told, strings.Join(words, " "))
	}
	return !s.gone
}

func (s *sink) take() string {
	got := strings.Join(s.told, ", ")
	s.told = nil
	return got
}

func keys(words ...string) [][]byte {
	var k [][]byte
	for _, w := range words {
		k = append(k, []byte(w))
	}
	return k
}

func write(by int64, words ...string) []Change {
	var list []Change
	for _, k := range keys(words...) {
		list = append(list, Change{Key: k, By: by})
	}
	return list
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestReadsAndChanges(t *testing.T) {
	var observers atomic.Int64
	table := New(&observers)
	var a, b sink
	table.Enable(1, Mode{On: true}, nil, &a)
	table.Enable(2, Mode{On: true, NoLoop: true}, nil, &b)
	if observers.Load() != 2 || !table.Active() {
		t.Errorf("%d observers", observers.Load())
	}
	table.Remember(1, keys("x", "y", "x"))
	table.Remember(2, keys("y", "z"))
	if clients, n, items, prefixes := table.Stats(); clients != 2 || n != 3 || items != 4 || prefixes != 0 {
		t.Error(clients, n, items, prefixes)
	}
	table.Apply(write(2, "y", "y", "other"))
	want(t, "a reader", a.take(), "y")
	want(t, "its own change", b.take(), "")
	table.Apply(write(1, "y", "z", "x"))
	want(t, "a reader, its own change", a.take(), "x")
	want(t, "told once", b.take(), "z")

	// Reads and changes of one transaction in their order.
	table.Apply([]Change{{Key: []byte("k"), By: 1, Read: true}, {Key: []byte("k"), By: 2},
		{Key: []byte("k"), By: 2, Read: true}})
	want(t, "read before", a.take(), "k")
	table.Apply(write(0, "k"))
	want(t, "read before, again", a.take(), "")
	want(t, "read behind", b.take(), "k")

	table.Remember(1, keys("p"))
	table.Flush()
	want(t, "flush", a.take(), "(all)")
	table.Apply(write(0, "p"))
	want(t, "behind a flush", a.take(), "")

	table.Remember(1, keys("q"))
	table.Disable(1)
	table.Disable(1)
	table.Apply(write(0, "q"))
	want(t, "one that is gone", a.take(), "")
	table.Disable(2)
	if clients, n, items, _ := table.Stats(); observers.Load() != 0 || table.Active() || clients+n+items != 0 {
		t.Error("something is left:", observers.Load(), clients, n, items)
	}
}

func TestBroadcast(t *testing.T) {
	table := New(new(atomic.Int64))
	var a, b, c sink
	table.Enable(1, Mode{On: true, BCast: true}, []string{"u:", "o:"}, &a)
	table.Enable(2, Mode{On: true, BCast: true, NoLoop: true}, nil, &b)
	table.Enable(3, Mode{On: true, BCast: true}, []string{"u:1"}, &c)
	table.Apply(append(write(2, "u:2", "z", "o:1", "u:1", "u:2"), Change{Key: []byte("u:9"), By: 1, Read: true}))
	want(t, "prefixes", a.take(), "o:1, u:1 u:2")
	want(t, "its own", b.take(), "")
	want(t, "a longer prefix", c.take(), "u:1")
	table.Apply(append(write(2, "k"), write(1, "k", "", "l")...))
	want(t, "the last change counts", b.take(), " k l")
	for _, o := range []struct {
		id    int64
		new   []string
		found string
	}{
		{1, []string{"u"}, "u u: false"}, {1, []string{"u:1"}, "u:1 u: false"}, {1, []string{"x"}, ""},
		{4, []string{"a", "b", "ab"}, "a ab true"}, {4, []string{"", "b"}, " b true"}, {2, []string{"x"}, "x  false"},
	} {
		got := ""
		if p, other, among, found := table.Overlap(o.id, o.new); found {
			got = fmt.Sprint(p, " ", other, " ", among)
		}
		want(t, fmt.Sprint(o.new), got, o.found)
	}
	table.Disable(1)
	table.Disable(2)
	table.Apply(write(0, "u:1", "k"))
	want(t, "the others are gone", a.take()+b.take()+c.take(), "u:1")
	if _, _, _, prefixes := table.Stats(); prefixes != 1 || !slices.Equal(table.mu.lengths, []int{3}) {
		t.Error(prefixes, table.mu.lengths)
	}
}

func TestModes(t *testing.T) {
	for _, c := range []struct {
		mode          Mode
		plain, called bool
	}{
		{Mode{}, false, false}, {Mode{On: true}, true, true}, {Mode{On: true, BCast: true}, false, false},
		{Mode{On: true, OptIn: true}, false, true}, {Mode{On: true, OptOut: true}, true, false},
	} {
		if c.mode.Remembers(false) != c.plain || c.mode.Remembers(true) != c.called {
			t.Errorf("%+v", c.mode)
		}
	}
}

func TestBound(t *testing.T) {
	table := New(new(atomic.Int64))
	var a sink
	table.Enable(1, Mode{On: true}, nil, &a)
	for i := range 5000 {
		table.Remember(1, keys(fmt.Sprint(i)))
	}
	table.SetMost(10)
	if _, n, items, _ := table.Stats(); n != 10 || items != 10 || len(a.told) != 4990 {
		t.Error(n, items, len(a.told))
	}
	a.take()
	for i := range 100 {
		table.Remember(1, keys(fmt.Sprint("new", i)))
		if _, n, _, _ := table.Stats(); n != 10 {
			t.Fatal(n)
		}
	}
	if len(a.told) != 100 {
		t.Error(len(a.told))
	}
	table.Apply([]Change{{Key: []byte("in a transaction"), By: 1, Read: true}})
	if _, n, _, _ := table.Stats(); n != 10 {
		t.Error(n)
	}
}

func TestBrokenRedirection(t *testing.T) {
	table := New(new(atomic.Int64))
	a := sink{gone: true}
	table.Enable(1, Mode{On: true, Redirect: 7}, nil, &a)
	table.Remember(1, keys("k"))
	if _, broken, _ := table.State(1); broken {
		t.Error("broken before anything was sent")
	}
	table.Apply(write(0, "k"))
	if m, broken, _ := table.State(1); !broken || m.Redirect != 7 {
		t.Error("not broken")
	}
	table.Enable(1, Mode{On: true}, nil, &a)
	if _, broken, _ := table.State(1); broken {
		t.Error("still broken")
	}
	if m, _, _ := table.State(2); m.On {
		t.Error("a stranger tracks")
	}
}
