package metastore

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestMemory(t *testing.T) {
	conformance(t, func(*testing.T) Store { return NewMemory() })
}

func TestEmbeddedEtcd(t *testing.T) {
	s, err := Embedded(t.Context(), EmbeddedOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conformance(t, func(*testing.T) Store { return s })
}

func TestExternalEtcd(t *testing.T) {
	l, err := listenURL("")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	m, err := Embedded(t.Context(), EmbeddedOptions{Dir: dir, ClientAddr: l.Host})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Connect(t.Context(), []string{l.Host})
	if err != nil {
		t.Fatal(err)
	}
	conformance(t, func(*testing.T) Store { return s })
	// A restart with another free peer port keeps everything.
	ctx := t.Context()
	if _, err := s.Txn(ctx, nil, Put("kept", []byte("1"))); err != nil {
		t.Fatal(err)
	}
	s.Close()
	m.Close()
	if m, err = Embedded(ctx, EmbeddedOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if p, ok, err := m.Get(ctx, "kept"); err != nil || !ok || string(p.Value) != "1" {
		t.Fatalf("after a restart: %v %v %v", p, ok, err)
	}
}

func TestConnectToNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, []string{"127.0.0.1:1"}); err == nil {
		t.Fatal("connected to nobody")
	}
}

// conformance is what every Store does.
func conformance(t *testing.T, open func(*testing.T) Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Store, string)
	}{
		{"get and list", testGetList}, {"guards", testGuards}, {"watch", testWatch}, {"election", testElection},
		{"same id leads again at once", testSameID},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t), "/"+t.Name()+"/") })
	}
}

func put(t *testing.T, s Store, key, value string) int64 {
	t.Helper()
	rev, err := s.Txn(t.Context(), nil, Put(key, []byte(value)))
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func get(t *testing.T, s Store, key string) (Pair, bool) {
	t.Helper()
	p, ok, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return p, ok
}

func testGetList(t *testing.T, s Store, root string) {
	if _, ok := get(t, s, root+"a"); ok {
		t.Fatal("a key that was never written exists")
	}
	r1 := put(t, s, root+"b", "1")
	r2 := put(t, s, root+"a", "2")
	r3 := put(t, s, root+"b", "3")
	if !(r1 < r2 && r2 < r3) {
		t.Fatalf("revisions %d %d %d don't rise", r1, r2, r3)
	}
	put(t, s, root[:len(root)-1]+"x", "not under the prefix")
	ps, rev, err := s.List(t.Context(), root)
	if err != nil || rev < r3 {
		t.Fatalf("list: revision %d, %v", rev, err)
	}
	want := []Pair{{root + "a", []byte("2"), r2, r2}, {root + "b", []byte("3"), r1, r3}}
	if fmt.Sprint(ps) != fmt.Sprint(want) {
		t.Fatalf("got %v, want %v", ps, want)
	}
	if _, err := s.Txn(t.Context(), nil, Delete(root+"a"), Delete(root+"never")); err != nil {
		t.Fatal(err)
	}
	if _, ok := get(t, s, root+"a"); ok {
		t.Fatal("deleted key exists")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Get(ctx, root+"b"); err == nil {
		t.Fatal("get after its context ended")
	}
}

func testGuards(t *testing.T, s Store, root string) {
	ctx, a, b := t.Context(), root+"a", root+"b"
	if _, err := s.Txn(ctx, []Guard{Absent(a)}, Put(a, []byte("1")), Put(b, []byte("1"))); err != nil {
		t.Fatal(err)
	}
	p, _ := get(t, s, a)
	fails := map[string]Guard{
		"absent":   Absent(a),
		"modified": {a, -1, p.Modified + 1},
		"created":  {a, p.Created + 1, -1},
		"gone":     {root + "c", p.Created, p.Modified},
	}
	for name, g := range fails {
		if _, err := s.Txn(ctx, []Guard{g}, Put(b, []byte(name))); !errors.Is(err, ErrGuard) {
			t.Fatalf("%s: got %v, want ErrGuard", name, err)
		}
	}
	if q, _ := get(t, s, b); string(q.Value) != "1" {
		t.Fatal("a transaction whose guard failed has written")
	}
	if _, err := s.Txn(ctx, []Guard{Unchanged(p), Absent(root + "c")}, Put(a, []byte("2"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Txn(ctx, []Guard{Unchanged(p)}, Put(a, []byte("3"))); !errors.Is(err, ErrGuard) {
		t.Fatalf("lost update: %v", err)
	}
	if _, err := s.Txn(ctx, []Guard{{a, p.Created, -1}}, Put(a, []byte("4"))); err != nil {
		t.Fatalf("the created revision alone still holds: %v", err)
	}
	if _, err := s.Txn(ctx, nil, Delete(a)); err != nil {
		t.Fatal(err)
	}
	put(t, s, a, "again")
	if _, err := s.Txn(ctx, []Guard{{a, p.Created, -1}}, Put(a, []byte("5"))); !errors.Is(err, ErrGuard) {
		t.Fatalf("a key created again passed for the old one: %v", err)
	}
	if _, err := s.Txn(ctx, nil, Put(a, nil), Delete(a)); err == nil {
		t.Fatal("a key twice in a transaction was accepted")
	}
}

func next(t *testing.T, ch <-chan []Event) ([]Event, bool) {
	t.Helper()
	select {
	case b, ok := <-ch:
		return b, ok
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
		return nil, false
	}
}

func testWatch(t *testing.T, s Store, root string) {
	put(t, s, root+"a", "1")
	_, rev, err := s.List(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := s.Watch(ctx, root, rev)
	put(t, s, root[:len(root)-1]+"x", "not under the prefix")
	r, err := s.Txn(t.Context(), nil, Put(root+"a", []byte("2")), Put(root+"b", []byte("2")))
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, root+"c", "3")
	d, err := s.Txn(t.Context(), nil, Delete(root+"c"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := next(t, w)
	if len(b) != 2 || b[0].Pair.Modified != r || b[1].Pair.Modified != r || string(b[0].Pair.Value) != "2" {
		t.Fatalf("first batch %v, want both writes of revision %d", b, r)
	}
	if b, _ = next(t, w); len(b) != 1 || b[0].Pair.Key != root+"c" || b[0].Deleted {
		t.Fatalf("second batch %v", b)
	}
	if b, _ = next(t, w); len(b) != 1 || !b[0].Deleted || b[0].Pair.Modified != d {
		t.Fatalf("third batch %v, want the deletion at %d", b, d)
	}
	cancel()
	if b, ok := next(t, w); ok {
		t.Fatalf("after cancel: %v", b)
	}
}

func testElection(t *testing.T, s Store, root string) {
	ctx := t.Context()
	first, err := s.Campaign(ctx, root+"lead", "d1")
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		l   *Leadership
		err error
	}
	won := make(chan result, 1)
	go func() {
		l, err := s.Campaign(ctx, root+"lead", "d2")
		won <- result{l, err}
	}()
	if _, err := s.Txn(ctx, []Guard{first.Guard}, Put(root+"a", []byte("1"))); err != nil {
		t.Fatalf("the leader's write: %v", err)
	}
	select {
	case r := <-won:
		t.Fatalf("two leaders: %v", r)
	case <-time.After(50 * time.Millisecond):
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := s.Campaign(short, root+"lead", "d3"); err == nil {
		t.Fatal("d3 leads too")
	}
	if err := first.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	var second result
	select {
	case second = <-won:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody leads after the leader resigned")
	}
	if second.err != nil {
		t.Fatal(second.err)
	}
	defer second.l.Resign(ctx)
	select {
	case <-first.Lost:
	case <-time.After(10 * time.Second):
		t.Fatal("the first leader was not told")
	}
	if _, err := s.Txn(ctx, []Guard{first.Guard}, Put(root+"a", []byte("2"))); !errors.Is(err, ErrGuard) {
		t.Fatalf("write of a leader that has resigned: %v", err)
	}
	if _, err := s.Txn(ctx, []Guard{second.l.Guard}, Put(root+"a", []byte("2"))); err != nil {
		t.Fatal(err)
	}
}

func testSameID(t *testing.T, s Store, root string) {
	old, err := s.Campaign(t.Context(), root+"lead", "d1")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	again, err := s.Campaign(t.Context(), root+"lead", "d1")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Resign(t.Context())
	if d := time.Since(start); d > time.Second {
		t.Fatalf("took %v", d)
	}
	if _, err := s.Txn(t.Context(), []Guard{old.Guard}, Put(root+"a", nil)); !errors.Is(err, ErrGuard) {
		t.Fatalf("write of the earlier run: %v", err)
	}
}
