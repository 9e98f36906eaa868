package set

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"haypile/internal/keyspace"
	"haypile/internal/storage"
)

func newTxn(t *testing.T) *keyspace.Txn {
	t.Helper()
	engine, err := storage.Open(storage.Options{Dir: "engine", Mem: storage.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.CloseUnflushed() })
	store, err := keyspace.Open(engine, keyspace.Options{Databases: 1, CacheBytes: 8 << 20, Many: 20})
	if err != nil {
		t.Fatal(err)
	}
	tx := store.NewTxn()
	tx.Begin(keyspace.ModeWrite, 0, 1)
	return tx
}

// TestAlgebra compares random sets of many sizes with maps: both ways of each operation are met, and the limits of
// a visit that says stop.
func TestAlgebra(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	ways := map[bool]int{}
	for round := range 60 {
		tx := newTxn(t)
		var sets []*Set
		var models []map[string]bool
		for i := range rng.IntN(4) + 1 {
			s, err := Open(tx, fmt.Append(nil, "s", i))
			if err != nil {
				t.Fatal(err)
			}
			model := map[string]bool{}
			for range []int{0, 3, 40, 1500}[rng.IntN(4)] {
				m := fmt.Sprint(rng.IntN(2000))
				added, err := s.Insert([]byte(m))
				if err != nil || added == model[m] {
					t.Fatalf("insert %s: %v, %v", m, added, err)
				}
				model[m] = true
			}
			if err := s.Save(); err != nil || s.Len() != uint64(len(model)) {
				t.Fatalf("%d members, want %d: %v", s.Len(), len(model), err)
			}
			sets, models = append(sets, &s), append(models, model)
		}
		ways[fewer(sets[0], sets)]++
		count := func(m string) (in int) {
			for _, model := range models {
				if model[m] {
					in++
				}
			}
			return in
		}
		all := map[string]bool{}
		for _, m := range models {
			maps.Copy(all, m)
		}
		for name, op := range map[string]struct {
			visit func([]*Set, func([]byte) bool) error
			want  func(m string) bool
		}{
			"union":     {Union, func(string) bool { return true }},
			"intersect": {Intersect, func(m string) bool { return count(m) == len(models) }},
			"diff":      {Diff, func(m string) bool { return models[0][m] && count(m) == 1 }},
		} {
			var got, want []string
			if err := op.visit(sets, func(m []byte) bool { got = append(got, string(m)); return true }); err != nil {
				t.Fatal(err)
			}
			for m := range all {
				if op.want(m) {
					want = append(want, m)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("round %d, %s: %d members, want %d", round, name, len(got), len(want))
			}
			visited := 0
			if err := op.visit(sets, func([]byte) bool { visited++; return visited < 2 }); err != nil || visited != min(2, len(want)) {
				t.Fatalf("round %d, %s: %d visits, %v", round, name, visited, err)
			}
		}
	}
	if ways[true] == 0 || ways[false] == 0 {
		t.Errorf("only one way was met: %v", ways)
	}
}
