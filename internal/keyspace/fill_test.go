package keyspace

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"haypile/internal/encoding"
	"haypile/internal/storage"
)

// beginFill puts n members into a new hash, ahead of the commit.
func beginFill(t testing.TB, tx *Txn, key string, n int) (Entry, encoding.Meta) {
	t.Helper()
	e, err := tx.Lookup([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	m := tx.NewCollection(&e, encoding.Hash)
	tx.Fill(&e, &m)
	for i := range n {
		tx.PutElement(&e, &m, strconv.AppendInt(nil, int64(i), 10), []byte("v"))
	}
	m.Count = uint64(n)
	return e, m
}

func reclaimAll(t testing.TB, s *Store) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = s.Reclaim(context.Background(), 1000); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFill: what a transaction puts into a new collection is in the engine before the commit, and not in memory; it is
// not reclaimed while it may be committed, and is when it was given up or a crash has come between.
func TestFill(t *testing.T) {
	mem := storage.NewMem()
	engine, store := openStore(t, mem, 1<<20)
	store.many = 100
	const n = 5000
	data := func() int { return countRows(t, engine, byte(encoding.TableData)) }
	garbage := func() int { return countRows(t, engine, byte(encoding.TableGarbage)) }

	tx := store.NewTxn()
	tx.Begin(ModeWrite, 0, 1)
	e, m := beginFill(t, tx, "a", n)
	if rows := data(); rows < n-100 || len(tx.rows.rows) > 0 || tx.mem.size() > 64<<10 {
		t.Fatalf("%d rows are in the engine, %d in the transaction, of %d bytes", rows, len(tx.rows.rows), tx.mem.size())
	}
	reclaimAll(t, store)
	if err := errors.Join(tx.Filled(&m), tx.Put(&e, m)); err != nil {
		t.Fatal(err)
	}
	reclaimAll(t, store)
	if rows := data(); rows != n || garbage() != 1 {
		t.Fatalf("before the commit there are %d rows of %d, %d garbage rows", rows, n, garbage())
	}
	if err := store.Apply([]*Txn{tx}, store.Applied()+1, 0); err != nil {
		t.Fatal(err)
	}
	store.Settle(tx)
	tx.Done()
	reclaimAll(t, store)
	if rows := data(); rows != n+1 || garbage() != 0 {
		t.Fatalf("after the commit there are %d rows of %d, %d garbage rows", rows, n+1, garbage())
	}

	for _, how := range []string{"reset", "rollback", "crash"} {
		tx = store.NewTxn()
		tx.Begin(ModeWrite, 0, 1)
		mark := tx.Mark()
		e, m = beginFill(t, tx, "b", n)
		if err := errors.Join(tx.Filled(&m), tx.Put(&e, m)); err != nil {
			t.Fatal(err)
		}
		switch how {
		case "reset":
			tx.Reset()
		case "rollback":
			tx.Rollback(&mark)
		case "crash":
			if err := engine.Close(); err != nil {
				t.Fatal(err)
			}
			engine, store = openStore(t, mem, 1<<20)
			defer func() { _ = engine.CloseUnflushed() }()
			if next := store.newCollection(); next <= m.ID {
				t.Errorf("the id %d is given out after the rows of %d were written", next, m.ID)
			}
		}
		if rows := data(); rows != 2*n+1 {
			t.Fatalf("%s: there are %d rows", how, rows)
		}
		reclaimAll(t, store)
		if rows := data(); rows != n+1 || garbage() != 0 {
			t.Fatalf("%s: %d rows of %d are left, %d garbage rows", how, rows, n+1, garbage())
		}
	}
}

// TestFillBesideReclaim fills, commits and gives up collections while others are reclaimed.
func TestFillBesideReclaim(t *testing.T) {
	_, engine, store := newStore(t, 1<<20)
	store.many = 10
	var leader sync.Mutex
	var failed atomic.Pointer[error]
	var writers, cleaner sync.WaitGroup
	stop := make(chan struct{})
	cleaner.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := store.Reclaim(context.Background(), 50); err != nil {
				failed.Store(&err)
				return
			}
		}
	})
	const n, keys = 60, 4
	for w := range keys {
		writers.Go(func() {
			key := fmt.Sprint("k", w)
			for i := range 200 {
				tx := store.NewTxn()
				tx.Begin(ModeWrite, 0, 1)
				e, m := beginFill(t, tx, key, n)
				err := errors.Join(tx.Filled(&m), tx.Put(&e, m))
				if i%3 < 2 {
					leader.Lock()
					err = errors.Join(err, store.Apply([]*Txn{tx}, store.Applied()+1, 0))
					leader.Unlock()
					store.Settle(tx)
				}
				tx.Done()
				if err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	cleaner.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	reclaimAll(t, store)
	if rows := countRows(t, engine, byte(encoding.TableData)); rows != keys*(n+1) {
		t.Errorf("%d rows, want %d", rows, keys*(n+1))
	}
	if rows := countRows(t, engine, byte(encoding.TableGarbage)); rows != 0 {
		t.Errorf("%d garbage rows are left", rows)
	}
}

// TestErasureIsResumed: a crash in the middle of an erasure leaves its beginning, and the next start ends it. Rows that
// the transaction has stored again stay.
func TestErasureIsResumed(t *testing.T) {
	mem := storage.NewMem()
	engine, store := openStore(t, mem, 1<<20)
	store.many = 100
	const n, gone = 5000, 3000
	bigHash(t, store, "h", n)
	tx := store.NewTxn()
	tx.Begin(ModeWrite, 0, 1)
	e, err := tx.Lookup([]byte("h"))
	if err != nil {
		t.Fatal(err)
	}
	m := e.Meta
	er := tx.Eraser(&e, &m)
	for i := range gone {
		er.Element(strconv.AppendInt(nil, int64(i), 10))
	}
	if err := er.Done(); err != nil || len(tx.rows.rows) > 1 {
		t.Fatalf("%d rows in the transaction: %v", len(tx.rows.rows), err)
	}
	tx.PutElement(&e, &m, []byte("7"), []byte("again"))
	m.Count = n - gone + 1
	if err := tx.Put(&e, m); err != nil {
		t.Fatal(err)
	}
	if err := store.Apply([]*Txn{tx}, store.Applied()+1, 0); err != nil {
		t.Fatal(err)
	}
	snapshot := make(chan error)
	go func() {
		snap, err := store.Snapshot() // waits for the end of the erasure, which does not come
		if err == nil {
			err = snap.Close()
		}
		snapshot <- err
	}()
	b := engine.NewBatch()
	for i := range gone / 2 {
		if i != 7 {
			b.Delete(encoding.AppendElement(nil, e.space, m.Birth, m.ID, strconv.AppendInt(nil, int64(i), 10)))
		}
	}
	if err := engine.Apply(b); err != nil {
		t.Fatal(err)
	}
	b.Close()
	select {
	case err := <-snapshot:
		t.Fatalf("a snapshot was taken in the middle of an erasure: %v", err)
	default:
	}
	store.erasing.end()
	if err := <-snapshot; err != nil {
		t.Fatal(err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	engine, store = openStore(t, mem, 1<<20)
	defer func() { _ = engine.CloseUnflushed() }()
	reclaimAll(t, store)
	if rows := countRows(t, engine, byte(encoding.TableData)); rows != n-gone+1+1 {
		t.Errorf("%d rows, want %d", rows, n-gone+2)
	}
	if rows := countRows(t, engine, encoding.ErasurePrefix...); rows != 0 {
		t.Errorf("%d erasures are left", rows)
	}
	tx = store.NewTxn()
	tx.Begin(ModeRead, 0, 1)
	if e, err = tx.Lookup([]byte("h")); err != nil || e.Meta.Count != n-gone+1 {
		t.Fatalf("%d members: %v", e.Meta.Count, err)
	}
	if v, _, err := tx.GetElement(&e, &e.Meta, []byte("7")); err != nil || string(v) != "again" {
		t.Errorf("what was stored again is %q: %v", v, err)
	}
}

// TestDamagedErasure: a row that cannot be read ends the start, and changes nothing.
func TestDamagedErasure(t *testing.T) {
	for _, key := range [][]byte{append(encoding.ErasurePrefix, "short"...), encoding.CollectionsRow} {
		mem := storage.NewMem()
		engine, _ := openStore(t, mem, 1<<20)
		b := engine.NewBatch()
		b.Set(key, []byte{9})
		if err := engine.Apply(b); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(engine, Options{Databases: modelDBs}); !errors.Is(err, encoding.ErrCorrupt) {
			t.Errorf("%x: %v", key, err)
		}
		if err := engine.CloseUnflushed(); err != nil {
			t.Fatal(err)
		}
	}
}
