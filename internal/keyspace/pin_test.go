package keyspace

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"haypile/internal/encoding"
)

// pinned is what a pin shows of the data of TestPin: every way to read.
func pinned(t *testing.T, p *Pin, rest bool) string {
	t.Helper()
	tx := p.Txn()
	out := ""
	visit := func(k, v []byte) bool {
		out += fmt.Sprintf("%s=%s ", k, v)
		if rest {
			if err := p.Rest(); err != nil {
				t.Error(err)
			}
		}
		return true
	}
	for _, key := range []string{"text", "none", "late"} {
		e, err := tx.Lookup([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		v, err := tx.String(&e)
		if err != nil {
			t.Fatal(err)
		}
		visit([]byte(key), v)
	}
	large, err := tx.Lookup([]byte("large"))
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < large.Meta.Length(); at += 10_000 {
		v, err := tx.StringPart(&large, at, 5)
		if err != nil {
			t.Fatal(err)
		}
		visit([]byte("large"), v)
	}
	e, err := tx.Lookup([]byte("h"))
	if err != nil || !e.Found {
		t.Fatalf("%v, %v", e.Found, err)
	}
	v, ok, err := tx.GetElement(&e, &e.Meta, []byte("m7"))
	out += fmt.Sprintf("%s %v %v; ", v, ok, err)
	v, ok, err = tx.GetIndex(&e, &e.Meta, []byte{1, 3})
	out += fmt.Sprintf("%s %v %v; ", v, ok, err)
	for _, walk := range []func() error{
		func() error {
			return tx.ScanElements(&e, &e.Meta, 0, func(el Element) bool { return visit(el.Member, el.Value) })
		},
		func() error { return tx.ScanOrdered(&e, &e.Meta, []byte{1}, []byte{2}, visit) },
		func() error { return tx.ScanOrderedBack(&e, &e.Meta, []byte{1}, []byte{2}, visit) },
		func() error {
			return tx.ScanKeys(0, 0, 0, func(k *FoundKey) bool {
				v, _ := k.Meta.Whole()
				return visit(k.User, v)
			})
		},
	} {
		if err := walk(); err != nil {
			t.Error(err)
		}
		out += "; "
	}
	return out + fmt.Sprint(tx.Keys(0))
}

// TestPin: whatever is written, deleted or flushed later, and whether the engine's memory was given back in between, a pin
// shows what there was.
func TestPin(t *testing.T) {
	_, _, s := newStore(t, 1<<20)
	write := func(f func(tx *Txn)) {
		t.Helper()
		tx := s.NewTxn()
		tx.Reset()
		tx.Begin(ModeWrite, 0, 1000)
		f(tx)
		if err := s.Apply([]*Txn{tx}, s.Applied()+1, 0); err != nil {
			t.Fatal(err)
		}
		s.Settle(tx)
		tx.Done()
	}
	put := func(tx *Txn, key, value string) {
		e, err := tx.Lookup([]byte(key))
		if err == nil {
			err = tx.PutString(&e, []byte(value), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fill := func(value string) func(tx *Txn) {
		return func(tx *Txn) {
			put(tx, "text", value)
			put(tx, "large", strings.Repeat(value, 30_000)) // in pieces
			for i := range 20 {
				put(tx, fmt.Sprint("key", i), value)
			}
			e, err := tx.Lookup([]byte("h"))
			if err != nil {
				t.Fatal(err)
			}
			m := e.Meta
			if !e.Found {
				m = tx.NewCollection(&e, encoding.Hash)
			}
			for i := range 30 {
				tx.PutElement(&e, &m, fmt.Append(nil, "m", i), []byte(value))
				tx.PutIndex(&e, &m, []byte{1, byte(i)}, []byte(value))
			}
			m.Count = 30
			if err := tx.Put(&e, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(fill("old"))
	p, err := s.Pin(0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := pinned(t, p, false)
	check := func(what string) {
		t.Helper()
		for _, rest := range []bool{false, true} {
			if got := pinned(t, p, rest); got != want {
				t.Errorf("%s, rest %v: %s\nwant %s", what, rest, got, want)
			}
		}
	}
	check("nothing")
	write(fill("new"))
	write(func(tx *Txn) { put(tx, "late", "new") })
	check("written")
	write(func(tx *Txn) {
		e, err := tx.Lookup([]byte("h"))
		if err == nil {
			_, err = tx.Remove(&e)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if _, err := s.Reclaim(t.Context(), 1000); err != nil {
		t.Error(err)
	}
	check("deleted and reclaimed")
	write(func(tx *Txn) { tx.Flush(0) })
	write(func(tx *Txn) { tx.Swap(0, 1) })
	if err := s.engine.Flush(); err != nil {
		t.Error(err)
	}
	if _, err := s.Reclaim(t.Context(), 1000); err != nil {
		t.Error(err)
	}
	check("flushed")

	// A walk ends where it is told to.
	stop := error(nil)
	p.Txn().StopOn(&stop, nil)
	seen := 0
	err = p.Txn().ScanKeys(0, 0, 0, func(*FoundKey) bool { seen++; stop = ErrClosed; return true })
	if !errors.Is(err, ErrClosed) || seen != 1 {
		t.Errorf("%d keys, %v", seen, err)
	}
	if _, err := p.Txn().Lookup([]byte("text")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}

	// Who closes the store asks for the end of the pin, and waits for it.
	closed := make(chan error)
	go func() { closed <- s.Close(true) }()
	<-p.Ended()
	select {
	case <-closed:
		t.Error("the store is closed under a pin")
	default:
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := s.Pin(0, 1); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
