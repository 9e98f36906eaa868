package keyspace

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"haypile/internal/storage"
)

// The filter may say nothing, but it must never call a row absent that was added: not while it grows, and
// not in the moment in which it gives up.
func TestFilterNeverDenies(t *testing.T) {
	for _, c := range []struct {
		max  int64
		rows int
		off  bool
	}{{0, 1000, true}, {1 << 20, 1000, false}, {3 << 20, 750_000, true}, {16 << 20, 750_000, false}} {
		f := newRowFilter(c.max)
		f.ready.Store(true)
		hash := func(i int) uint64 { // as even as the hash of a row, and faster
			h := uint64(i) * 0x9e3779b97f4a7c15
			h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
			return h ^ h>>31
		}
		added := make(chan int, c.rows)
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range added {
				if f.absent(hash(i)) || f.absent(hash(i/2)) {
					t.Errorf("budget %d: row %d or %d is denied", c.max, i, i/2)
					return
				}
			}
		}()
		for i := range c.rows {
			f.add(hash(i))
			if i&127 == 0 {
				added <- i
			}
		}
		close(added)
		wg.Wait()
		wrong := 0
		for i := range 10_000 {
			if !f.absent(hash(-1 - i)) {
				wrong++
			}
		}
		if c.off && wrong != 10_000 || !c.off && wrong > 300 {
			t.Errorf("budget %d, %d rows: %d of 10000 rows that were never added pass", c.max, c.rows, wrong)
		}
		if n := f.bytes(); n > c.max {
			t.Errorf("budget %d: %d bytes held", c.max, n)
		}
	}
}

func TestFilterIsFilledAfterRestart(t *testing.T) {
	mem := storage.NewMem()
	engine, store := openStore(t, mem, 8<<20)
	bigHash(t, store, "h", 300)
	var version uint64
	commit(t, store, func(tx *Txn) (err error) {
		if err := tx.PutLibrary([]byte("lib"), []byte("code")); err != nil {
			return err
		}
		_, version, err = tx.LibrariesVersion()
		return err
	})
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	engine, store = openStore(t, mem, 8<<20)
	defer func() { _ = engine.CloseUnflushed() }()
	look := func(when string) {
		t.Helper()
		tx := store.NewTxn()
		tx.Begin(ModeRead, 0, 1000)
		e, err := tx.Lookup([]byte("h"))
		if err != nil || !e.Found {
			t.Fatalf("%s: %v, found %v", when, err, e.Found)
		}
		if code, ok, err := tx.Library([]byte("lib")); err != nil || !ok || string(code) != "code" {
			t.Fatalf("%s: library %q, found %v, %v", when, code, ok, err)
		}
		if _, v, err := tx.LibrariesVersion(); err != nil || v != version {
			t.Fatalf("%s: version %d of the libraries, was %d, %v", when, v, version, err)
		}
		for i := range 300 {
			if _, ok, err := tx.GetElement(&e, &e.Meta, fmt.Append(nil, i)); err != nil || !ok {
				t.Fatalf("%s: member %d: found %v, %v", when, i, ok, err)
			}
		}
	}
	look("before")
	store.cache.clear()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = store.FillFilter(ended)
	bigHash(t, store, "written meanwhile", 10)
	if err := store.FillFilter(context.Background()); err != nil || !store.filter.ready.Load() {
		t.Fatalf("ready %v: %v", store.filter.ready.Load(), err)
	}
	store.cache.clear()
	look("after")
	if !store.filter.absent(rowHash([]byte("no such row"))) {
		t.Error("a row that does not exist is looked for")
	}
}
