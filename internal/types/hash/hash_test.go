package hash

import (
	"errors"
	"fmt"
	"testing"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/storage"
	"haypile/internal/types/members"
)

func newStore(t *testing.T) *keyspace.Store {
	t.Helper()
	engine, err := storage.Open(storage.Options{Dir: "engine", Mem: storage.NewMem(), MemtableBytes: 4 << 20,
		Memtables: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.CloseUnflushed() })
	store, err := keyspace.Open(engine, keyspace.Options{Databases: 1, CacheBytes: 8 << 20, Many: 20})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// with runs f on the hash at a key and applies what it did.
func with(t *testing.T, s *keyspace.Store, key string, f func(tx *keyspace.Txn, h *Hash)) {
	t.Helper()
	tx := s.NewTxn()
	tx.Begin(keyspace.ModeWrite, 0, 1000)
	h, err := Open(tx, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	f(tx, &h)
	if err := h.Save(); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply([]*keyspace.Txn{tx}, s.Applied()+1, 0); err != nil {
		t.Fatal(err)
	}
	s.Settle(tx)
}

func set(t *testing.T, h *Hash, field, value string) bool {
	t.Helper()
	added, err := h.Set([]byte(field), []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func TestHash(t *testing.T) {
	s := newStore(t)
	with(t, s, "h", func(tx *keyspace.Txn, h *Hash) {
		if !set(t, h, "a", "1") || set(t, h, "a", "2") || !set(t, h, "b", "") || h.Len() != 2 {
			t.Errorf("%d fields", h.Len())
		}
	})
	with(t, s, "h", func(tx *keyspace.Txn, h *Hash) {
		if v, ok, err := h.Get([]byte("a")); string(v) != "2" || !ok || err != nil {
			t.Errorf("%q %v %v", v, ok, err)
		}
		if v, ok, _ := h.Get([]byte("b")); !ok || len(v) != 0 {
			t.Error("an empty value is a value")
		}
		if ok, _ := h.Delete([]byte("none")); ok {
			t.Error("deleted what is not there")
		}
	})
	// A change of a value alone must be told to watchers and the log, and only then.
	with(t, s, "h", func(tx *keyspace.Txn, h *Hash) {
		if err := h.Save(); err != nil || tx.Changes() != 0 {
			t.Errorf("%d changes: %v", tx.Changes(), err)
		}
		set(t, h, "a", "3")
		if err := h.Save(); err != nil || tx.Changes() != 1 {
			t.Errorf("%d changes: %v", tx.Changes(), err)
		}
	})
	with(t, s, "h", func(tx *keyspace.Txn, h *Hash) {
		for _, f := range []string{"a", "b"} {
			if ok, err := h.Delete([]byte(f)); !ok || err != nil {
				t.Errorf("%s: %v %v", f, ok, err)
			}
		}
	})
	if keys, _ := s.Counts(0); keys != 0 {
		t.Error("a hash without fields is a key")
	}
	// Emptied and filled again in one transaction.
	with(t, s, "h", func(tx *keyspace.Txn, h *Hash) { set(t, h, "a", "1") })
	with(t, s, "h", func(tx *keyspace.Txn, h *Hash) {
		if _, err := h.Delete([]byte("a")); err != nil {
			t.Error(err)
		}
		if err := h.Save(); err != nil {
			t.Error(err)
		}
		if !set(t, h, "c", "1") || h.Len() != 1 {
			t.Errorf("%d fields", h.Len())
		}
	})
	with(t, s, "h", func(tx *keyspace.Txn, h *Hash) {
		if _, ok, _ := h.Get([]byte("a")); ok || h.Len() != 1 {
			t.Error("a deleted field is back")
		}
		e, err := tx.Lookup([]byte("text"))
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.PutString(&e, []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(tx, []byte("text")); !errors.Is(err, members.ErrWrongType) {
			t.Error(err)
		}
	})
}

func TestCompact(t *testing.T) {
	s := newStore(t)
	with(t, s, "h", func(tx *keyspace.Txn, h *Hash) {
		for i := range 10 {
			set(t, h, fmt.Sprint("field", i), "12345678")
		}
		for _, c := range []struct {
			entries, size int64
			want          bool
		}{{10, 8, true}, {9, 8, false}, {10, 7, false}, {0, 100, false}, {1 << 62, 1 << 62, true}} {
			if got, err := h.Compact(c.entries, c.size); got != c.want || err != nil {
				t.Errorf("%+v: %v %v", c, got, err)
			}
		}
	})
}

// Drawing one field of a large hash reads a handful of rows, and every field is drawn about equally often.
func TestDrawIsFair(t *testing.T) {
	s := newStore(t)
	const fields = 2000
	with(t, s, "h", func(tx *keyspace.Txn, h *Hash) {
		for i := range fields {
			set(t, h, fmt.Sprint(i), "v")
		}
	})
	with(t, s, "h", func(tx *keyspace.Txn, h *Hash) {
		// One by one, and by a walk.
		for _, c := range [][2]int{{30, 1000}, {60_000, 1}} {
			n, times := c[0], c[1]
			seen := map[string]int{}
			for range times {
				if err := h.Random(uint64(n), true, func(p members.Pair) { seen[string(p.Member)]++ }); err != nil {
					t.Fatal(err)
				}
			}
			// Chi-squared with 1999 degrees of freedom: mean 1999, standard deviation 63.
			chi, mean := 0.0, float64(n*times)/fields
			for i := range fields {
				d := float64(seen[fmt.Sprint(i)]) - mean
				chi += d * d / mean
			}
			if chi > 1999+6*63 || chi < 1999-6*63 {
				t.Errorf("%d times %d fields: chi-squared %.0f", times, n, chi)
			}
		}
	})
}

// Fields whose hashes lie close together can be made by anyone. Drawing from them must come to an end.
func TestDrawFromCrowdedFields(t *testing.T) {
	s := newStore(t)
	var names []string
	for i := 0; len(names) < 500; i++ {
		if name := fmt.Sprint(i); encoding.Hash48([]byte(name)) < encoding.HashEnd/4096 {
			names = append(names, name)
		}
	}
	with(t, s, "h", func(tx *keyspace.Txn, h *Hash) {
		for _, name := range names {
			set(t, h, name, "v")
		}
		for _, n := range []uint64{1, 5, 10, 15, 400} {
			seen := map[string]bool{}
			if err := h.RandomDistinct(n, true, func(p members.Pair) { seen[string(p.Member)] = true }); err != nil ||
				uint64(len(seen)) != n {
				t.Errorf("%d of %d fields: %v", len(seen), n, err)
			}
			drawn := 0
			if err := h.Random(n, true, func(members.Pair) { drawn++ }); err != nil || uint64(drawn) != n {
				t.Errorf("%d of %d fields: %v", drawn, n, err)
			}
		}
	})
}
