package digest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"haypile/internal/keyspace"
	"haypile/internal/storage"
	"haypile/internal/types/hash"
)

// The digests are those that redis-server 7.0.15 gives for the same keys.
func TestGolden(t *testing.T) {
	engine, err := storage.Open(storage.Options{Dir: "engine", Mem: storage.NewMem(), MemtableBytes: 1 << 20,
		Memtables: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.CloseUnflushed() }()
	store, err := keyspace.Open(engine, keyspace.Options{Databases: 16})
	if err != nil {
		t.Fatal(err)
	}
	if got := all(t, store); got != strings.Repeat("0", 40) {
		t.Errorf("digest of nothing %s", got)
	}
	do := func(db int, key string, change func(tx *keyspace.Txn, e keyspace.Entry) error) {
		t.Helper()
		tx := store.NewTxn()
		tx.Begin(keyspace.ModeWrite, db, 1000)
		e, err := tx.Lookup([]byte(key))
		if err == nil {
			err = change(tx, e)
		}
		if err == nil {
			err = store.Apply([]*keyspace.Txn{tx}, store.Applied()+1, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		store.Settle(tx)
	}
	check := func(want string) {
		t.Helper()
		if got := all(t, store); got != want {
			t.Errorf("digest %s, want %s", got, want)
		}
	}
	do(0, "a", func(tx *keyspace.Txn, e keyspace.Entry) error { return tx.PutString(&e, []byte("1"), 0) })
	check(golden[0])
	do(0, "b", func(tx *keyspace.Txn, e keyspace.Entry) error {
		return tx.PutString(&e, []byte("hello"),
			1<<45)
	})
	check(golden[1])
	do(3, "h", func(tx *keyspace.Txn, e keyspace.Entry) error {
		h := hash.Begin(tx, e, 0)
		for i := range 3 {
			h.Add(fmt.Append(nil, "f", i), fmt.Append(nil, "v", i))
		}
		return h.Save()
	})
	check(golden[2])
	for i, key := range []string{"a", "b"} {
		tx := store.NewTxn()
		tx.Begin(keyspace.ModeRead, 0, 1000)
		if d, err := Value(tx, []byte(key)); err != nil || d != goldenValues[i] {
			t.Errorf("digest of %s is %s, want %s: %v", key, d, goldenValues[i], err)
		}
	}
	// That a field has a deadline counts, when does not: as in Redis 7.4.
	do(3, "h", func(tx *keyspace.Txn, e keyspace.Entry) error {
		h := hash.Begin(tx, e, 0)
		for i := range 3 {
			h.AddTimed(fmt.Append(nil, "f", i), fmt.Append(nil, "v", i), int64(i)*5000)
		}
		return h.Save()
	})
	check(golden[3])
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	snap, err := store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	if _, err := All(ended, snap); err == nil {
		t.Error("a cancelled digest gives a result")
	}
}

func all(t *testing.T, s *keyspace.Store) string {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	d, err := All(context.Background(), snap)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var (
	golden = [...]string{
		"943d800368fb9c0e951138f1bc0e313ac769d91f",
		"669dc7955c0119edb82e7cfeb40ea4a28f89f902",
		"0fa10157f445825d36b79c9c8dc39f401663aa59",
		"e0b122517ae2ca48ac449a96989efef845a47fd2", // calculated by hand
	}
	goldenValues = [...]string{
		"b4fc66738120fba0b5aa500ab5c2bf89cea1c5da",
		"d037c4eb8a8b36b602fbced4000daeab0714c1e3",
	}
)
