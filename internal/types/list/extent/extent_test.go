package extent

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// mapStore keeps nodes encoded, as a list does, so that nothing is shared with the tree.
type mapStore map[uint64][]byte

func (s mapStore) Load(id uint64) ([]Entry, error) {
	es, rest, err := ParseEntries(s[id])
	if err == nil && len(rest) > 0 {
		err = ErrFormat
	}
	return es, err
}
func (s mapStore) Save(id uint64, es []Entry) { s[id] = AppendEntries(nil, es) }
func (s mapStore) Drop(id uint64)             { delete(s, id) }

// check compares the tree with the ordinals that it should hold, and its nodes with those that it refers to.
func check(t *testing.T, tree *Tree, want []uint64) {
	t.Helper()
	var got []uint64
	if err := tree.Walk(0, func(e Entry) bool {
		for o := e.Ref; o < e.End(); o++ {
			got = append(got, o)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) || tree.Len() != uint64(len(want)) {
		t.Fatalf("%d elements of %d, want %v", len(got), tree.Len(), want)
	}
	nodes := 0
	var count func(es []Entry, height int)
	count = func(es []Entry, height int) {
		if height == 0 {
			return
		}
		for _, e := range es {
			below, err := tree.Store.Load(e.Ref)
			if err != nil || len(below) == 0 || len(below) > tree.nodeMost() || sum(below) != e.N {
				t.Fatalf("node %v has %v: %v", e, below, err)
			}
			nodes++
			count(below, height-1)
		}
	}
	count(tree.Root, tree.Height)
	if n := len(tree.Store.(mapStore)); n != nodes {
		t.Fatalf("%d nodes are kept, %d referred to", n, nodes)
	}
	if len(tree.Root) > tree.rootMost() || tree.Height > 0 && len(want) == 0 {
		t.Fatalf("root of %d entries, height %d", len(tree.Root), tree.Height)
	}
}

// TestModel compares random inserts and removals with a slice, with nodes so small that all kinds of splits and
// joins occur.
func TestModel(t *testing.T) {
	highest := 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tree := &Tree{Store: mapStore{}, RootMost: 2 + rng.IntN(3), NodeMost: 4 + rng.IntN(4)}
		var model []uint64
		next := uint64(1000)
		for step := range 400 {
			grow := step%200 < 120
			if grow || len(model) == 0 {
				at := rng.IntN(len(model) + 1)
				e := Entry{next, uint64(rng.IntN(5) + 1)}
				if at > 0 && rng.IntN(4) == 0 && !slices.Contains(model, model[at-1]+1) {
					e = Entry{model[at-1] + 1, 1}
				} else {
					next += e.N + 7
				}
				if err := tree.Insert(uint64(at), e); err != nil {
					t.Fatal(err)
				}
				var add []uint64
				for o := e.Ref; o < e.End(); o++ {
					add = append(add, o)
				}
				model = slices.Insert(model, at, add...)
			} else {
				from := rng.IntN(len(model))
				to := min(len(model), from+1+rng.IntN(1+rng.IntN(40)))
				var gone []uint64
				if err := tree.Remove(uint64(from), uint64(to), func(e Entry) {
					for o := e.Ref; o < e.End(); o++ {
						gone = append(gone, o)
					}
				}); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(gone, model[from:to]) {
					t.Fatalf("seed %d: %v are gone, want %v", seed, gone, model[from:to])
				}
				model = slices.Delete(model, from, to)
			}
			check(t, tree, model)
			highest = max(highest, tree.Height)
			at := rng.IntN(len(model) + 1)
			var first, last []uint64
			if err := tree.Walk(uint64(at), func(e Entry) bool { first = append(first, e.Ref); return false }); err != nil {
				t.Fatal(err)
			}
			if err := tree.WalkBack(uint64(at), func(e Entry) bool {
				for o := e.End(); o > e.Ref; o-- {
					last = append(last, o-1)
				}
				return true
			}); err != nil {
				t.Fatal(err)
			}
			slices.Reverse(last)
			if at < len(model) && first[0] != model[at] || !slices.Equal(last, model[:at]) {
				t.Fatalf("seed %d: at %d stand %v behind %v, want %v", seed, at, first, last, model)
			}
		}
		if err := tree.Remove(0, tree.Len(), func(Entry) {}); err != nil {
			t.Fatal(err)
		}
		check(t, tree, nil)
	}
	if highest < 3 {
		t.Errorf("no tree was higher than %d", highest)
	}
}

func TestGolden(t *testing.T) {
	es := []Entry{{1 << 61, 3}, {5, 300}}
	want := []byte{2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 3, 5, 0xac, 2}
	if got := AppendEntries(nil, es); !bytes.Equal(got, want) {
		t.Errorf("encoded as %x, want %x", got, want)
	}
}

func FuzzParseEntries(f *testing.F) {
	f.Add(AppendEntries(nil, []Entry{{1, 2}, {1 << 63, 9}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		es, rest, err := ParseEntries(b)
		if err != nil {
			return
		}
		again, left, err := ParseEntries(append(AppendEntries(nil, es), rest...))
		if err != nil || !slices.Equal(again, es) || !bytes.Equal(left, rest) {
			t.Errorf("%x: %v, then %v: %v", b, es, again, err)
		}
	})
}
