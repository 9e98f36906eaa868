package keyspace

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"haypile/internal/encoding"
)

// TestOrderedRows: ordered rows are walked as a sorted map would be, in both directions, through what a transaction
// has changed, what is pending, and the engine; members of the same collection never appear among them.
func TestOrderedRows(t *testing.T) {
	for _, deferred := range []bool{false, true} {
		t.Run(fmt.Sprint("deferred ", deferred), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 7))
			_, _, s := newStore(t, 1<<20)
			s.opt.Defer = deferred
			model := map[string]string{}
			for range 60 {
				commit(t, s, func(tx *Txn) error { return changeOrdered(t, rng, tx, model) })
			}
		})
	}
}

func changeOrdered(t *testing.T, rng *rand.Rand, tx *Txn, model map[string]string) error {
	key := func() []byte { return binary.BigEndian.AppendUint16([]byte{byte(rng.IntN(2))}, uint16(rng.IntN(100))) }
	e, err := tx.Lookup([]byte("k"))
	if err != nil {
		return err
	}
	m := e.Meta
	if !e.Found {
		m = tx.NewCollection(&e, encoding.ZSet)
	}
	tx.PutElement(&e, &m, []byte{byte(rng.IntN(8))}, nil)
	change := func(model map[string]string) {
		for range rng.IntN(40) {
			k := key()
			if rng.IntN(3) == 0 {
				tx.RemoveIndex(&e, &m, k)
				delete(model, string(k))
				continue
			}
			v := []byte{byte(rng.IntN(256))}
			tx.PutIndex(&e, &m, k, v)
			model[string(k)] = string(v)
		}
	}
	change(model)
	mark := tx.Mark()
	compareOrdered(t, rng, tx, &e, &m, model, key)
	change(maps.Clone(model))
	tx.Rollback(&mark)
	compareOrdered(t, rng, tx, &e, &m, model, key)
	change(model)
	compareOrdered(t, rng, tx, &e, &m, model, key)
	m.Count++ // so that the row changes
	return tx.Put(&e, m)
}

func compareOrdered(t *testing.T, rng *rand.Rand, tx *Txn, e *Entry, m *encoding.Meta, model map[string]string,
	key func() []byte) {
	t.Helper()
	for range 4 {
		from, to := key(), key()
		if rng.IntN(3) == 0 {
			from = nil
		}
		if rng.IntN(3) == 0 {
			to = nil
		}
		v, found, err := tx.GetIndex(e, m, from)
		if want, ok := model[string(from)]; err != nil || found != ok || found && string(v) != want {
			t.Fatalf("%x: %x, found %v, %v; want %x", from, v, found, err, want)
		}
		most := rng.IntN(30)
		var want []string
		for k, v := range model {
			if k >= string(from) && (to == nil || k < string(to)) {
				want = append(want, k+"="+v)
			}
		}
		slices.Sort(want)
		for _, up := range []bool{true, false} {
			var got []string
			f := func(k, v []byte) bool {
				got = append(got, string(k)+"="+string(v))
				return len(got) < most
			}
			scan := tx.ScanOrdered
			if !up {
				scan = tx.ScanOrderedBack
				slices.Reverse(want)
			}
			if err := scan(e, m, from, to, f); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want[:min(len(want), max(1, most))]) {
				t.Fatalf("from %x to %x up %v: %q, want %q", from, to, up, got, want)
			}
		}
	}
}

// TestDenseRows: dense rows are found as they were stored last, in what a transaction has changed, in the hot cache,
// in what is pending and in the engine; the filter of absent rows never hides one, and the cache never shows one that
// was removed.
func TestDenseRows(t *testing.T) {
	for _, cache := range []int64{0, 64 << 10, 1 << 20} {
		t.Run(fmt.Sprint("cache ", cache), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(2, 7))
			_, _, s := newStore(t, cache)
			s.opt.Defer = true
			defer func() {
				if err := s.Close(true); err != nil {
					t.Error(err)
				}
			}()
			model := map[byte]string{}
			for range 300 {
				commit(t, s, func(tx *Txn) error {
					e, err := tx.Lookup([]byte("k"))
					if err != nil {
						return err
					}
					m := e.Meta
					if !e.Found {
						m = tx.NewCollection(&e, encoding.List)
					}
					changeDense(rng, tx, &e, &m, model)
					mark := tx.Mark()
					changeDense(rng, tx, &e, &m, maps.Clone(model))
					tx.Rollback(&mark)
					for range 20 {
						k := byte(rng.IntN(60))
						v, ok, err := tx.GetDense(&e, &m, []byte{k})
						if want, has := model[k]; err != nil || ok != has || has && string(v) != "\x07"+want {
							t.Fatalf("row %d: %q, %v, %v, want %q, %v", k, v, ok, err, want, has)
						}
					}
					return tx.Put(&e, m)
				})
				if rng.IntN(10) == 0 {
					s.DropCache()
				}
			}
		})
	}
}

func changeDense(rng *rand.Rand, tx *Txn, e *Entry, m *encoding.Meta, model map[byte]string) {
	for range rng.IntN(20) {
		k := byte(rng.IntN(60))
		if _, has := model[k]; has && rng.IntN(2) == 0 {
			tx.RemoveDense(e, m, []byte{k})
			delete(model, k)
			continue
		}
		v := fmt.Sprint(rng.IntN(1000))
		tx.PutDense(e, m, []byte{k}, 7, []byte(v), rng.IntN(3) == 0)
		model[k] = v
	}
}
