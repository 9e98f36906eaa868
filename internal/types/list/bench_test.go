package list

import (
	"testing"

	"haypile/internal/keyspace"
	"haypile/internal/storage"
)

func benchTxn(b *testing.B) (*keyspace.Store, *keyspace.Txn) {
	engine, err := storage.Open(storage.Options{Dir: "engine", Mem: storage.NewMem()})
	if err != nil {
		b.Fatal(err)
	}
	store, err := keyspace.Open(engine, keyspace.Options{Databases: 1, CacheBytes: 256 << 20, Defer: true})
	if err != nil {
		b.Fatal(err)
	}
	return store, store.NewTxn()
}

func BenchmarkPush(b *testing.B) {
	store, tx := benchTxn(b)
	b.ReportAllocs()
	at := int64(0)
	for n := range b.N {
		if n%50 == 0 {
			if n > 0 {
				at++
				if err := store.Apply([]*keyspace.Txn{tx}, at, 0); err != nil {
					b.Fatal(err)
				}
				store.Settle(tx)
				tx.Done()
				tx = store.NewTxn()
			}
			tx.Begin(keyspace.ModeWrite, 0, 1)
			tx.HotOnly(true)
		}
		l, err := Open(tx, []byte("mylist"))
		if err != nil {
			b.Fatal(err)
		}
		_ = l.PushLeft([]byte("xxx"))
		_ = l.Save()
		l.Release()
	}
}

func BenchmarkRange100(b *testing.B) {
	store, tx := benchTxn(b)
	tx.Begin(keyspace.ModeWrite, 0, 1)
	l, _ := Open(tx, []byte("mylist"))
	for range 1000 {
		_ = l.PushLeft([]byte("xxx"))
	}
	_ = l.Save()
	if err := store.Apply([]*keyspace.Txn{tx}, 1, 0); err != nil {
		b.Fatal(err)
	}
	store.Settle(tx)
	tx.Done()
	tx = store.NewTxn()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		tx.Begin(keyspace.ModeRead, 0, 1)
		tx.HotOnly(true)
		l, _ := Open(tx, []byte("mylist"))
		n := 0
		if err := l.Walk(0, 100, func(v []byte) bool { n += len(v); return true }); err != nil || n != 300 {
			b.Fatal(err, n)
		}
		l.Release()
		tx.Reset()
	}
}
