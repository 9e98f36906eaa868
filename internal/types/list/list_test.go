package list

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/storage"
	"haypile/internal/types/list/extent"
)

// bench is a store whose only key is a list, beside a slice with what it should hold.
type bench struct {
	t     *testing.T
	mem   *storage.Mem
	eng   *storage.Engine
	store *keyspace.Store
	tx    *keyspace.Txn
	at    int64
	small extent.Tree // limits of nodes
	model []string
	known int // elements that a form knew, at most
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, mem: storage.NewMem()}
	b.open()
	t.Cleanup(func() { _ = b.eng.CloseUnflushed() })
	return b
}

func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.eng, err = storage.Open(storage.Options{Dir: "engine", Mem: b.mem}); err != nil {
		b.t.Fatal(err)
	}
	if b.store, err = keyspace.Open(b.eng, keyspace.Options{Databases: 1, CacheBytes: 1 << 20, Many: 20}); err != nil {
		b.t.Fatal(err)
	}
	b.begin()
}

func (b *bench) begin() {
	b.tx = b.store.NewTxn()
	b.tx.Begin(keyspace.ModeWrite, 0, 1)
}

func (b *bench) commit() {
	b.t.Helper()
	b.at++
	if err := b.store.Apply([]*keyspace.Txn{b.tx}, b.at, 0); err != nil {
		b.t.Fatal(err)
	}
	b.store.Settle(b.tx)
	b.tx.Done()
	b.begin()
}

// reopen ends the process cleanly and starts another on what it left.
func (b *bench) reopen() {
	b.t.Helper()
	b.commit()
	if err := b.eng.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.open()
}

func (b *bench) list() *List {
	b.t.Helper()
	l, err := Open(b.tx, []byte("list"))
	if err != nil {
		b.t.Fatal(err)
	}
	l.tree.RootMost, l.tree.NodeMost = b.small.RootMost, b.small.NodeMost
	return l
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// check compares the list with the model, by every way of reading.
func (b *bench) check() {
	b.t.Helper()
	l := b.list()
	if l.Len() != uint64(len(b.model)) {
		b.t.Fatalf("%d elements, want %d", l.Len(), len(b.model))
	}
	var got []string
	b.ok(l.Walk(0, l.Len(), func(v []byte) bool { got = append(got, string(v)); return true }))
	if !slices.Equal(got, b.model) {
		b.t.Fatalf("walk: %q, want %q", got, b.model)
	}
	if !l.key.Found {
		return
	}
	got = got[:0]
	b.ok(l.WalkBack(l.Len(), l.Len(), func(v []byte) bool { got = append(got, string(v)); return true }))
	slices.Reverse(got)
	if !slices.Equal(got, b.model) {
		b.t.Fatalf("walk back: %q, want %q", got, b.model)
	}
	got = got[:0]
	rows := b.tx.Rows(&l.key, &l.meta)
	b.ok(Scan(&l.meta, rows, func(v []byte) bool { got = append(got, string(v)); return true }))
	if !slices.Equal(got, b.model) {
		b.t.Fatalf("scan: %q, want %q", got, b.model)
	}
	b.checkForm(l)
	elements := 0
	b.ok(rows.ScanOrdered([]byte{tableElement}, []byte{tableElement + 1}, func(_, _ []byte) bool { elements++; return true }))
	if elements != len(b.model) {
		b.t.Fatalf("%d rows of %d elements", elements, len(b.model))
	}
}

// step does something at random to list and model.
func (b *bench) step(rng *rand.Rand, i int) {
	b.t.Helper()
	l := b.list()
	v := fmt.Sprint("v", i)
	n := len(b.model)
	grow := i%300 < 180
	switch op := rng.IntN(100); {
	case n == 0 || grow && op < 15:
		b.ok(l.PushLeft([]byte(v)))
		b.model = slices.Insert(b.model, 0, v)
	case grow && op < 30:
		b.ok(l.PushRight([]byte(v)))
		b.model = append(b.model, v)
	case grow && op < 60 || op < 20:
		at := rng.IntN(n + 1)
		for j := range 1 + rng.IntN(4) { // several at one place
			b.ok(l.Insert(uint64(at+j), fmt.Append(nil, v, j)))
			b.model = slices.Insert(b.model, at+j, fmt.Sprint(v, j))
		}
	case op < 35:
		at := rng.IntN(n)
		b.ok(l.Set(uint64(at), []byte(v)))
		b.model[at] = v
	case op < 70:
		at := rng.IntN(n)
		b.ok(l.Remove(uint64(at)))
		b.model = slices.Delete(b.model, at, at+1)
	case op < 82:
		k := min(n, 1+rng.IntN(3))
		b.ok(l.DropLeft(uint64(k)))
		b.model = slices.Delete(b.model, 0, k)
	case op < 94:
		k := min(n, 1+rng.IntN(3))
		b.ok(l.DropRight(uint64(k)))
		b.model = b.model[:n-k]
	default:
		from := rng.IntN(min(n, 8))
		to := n - rng.IntN(min(n-from, 8)+1)
		if rng.IntN(30) == 0 {
			from, to = n/2, n/2
		}
		b.ok(l.Trim(uint64(from), uint64(to)))
		b.model = slices.Clone(b.model[from:to])
	}
	b.ok(l.Save())
}

// TestModel compares lists with slices under random commands, over commits and restarts, with nodes so small that
// the tree grows and shrinks.
func TestModel(t *testing.T) {
	highest := 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 2))
		b := newBench(t)
		b.small = extent.Tree{RootMost: 2 + rng.IntN(3), NodeMost: 4 + rng.IntN(4)}
		for i := range 1200 {
			b.step(rng, i)
			switch {
			case i%400 == 399:
				b.reopen()
				b.check()
			case i%90 == 89: // everything is forgotten
				b.commit()
				b.store.SetCacheBytes(0)
				b.store.SetCacheBytes(1 << 20)
			case i%50 == 49: // all but the forms
				b.commit()
				b.store.DropCache()
			case i%7 == 0:
				b.commit()
			}
			if i%5 == 0 {
				b.check()
			}
			highest = max(highest, b.list().tree.Height)
		}
		b.commit()
		b.check()
	}
	if highest < 2 {
		t.Errorf("no tree was higher than %d", highest)
	}
}

// TestRollback takes random changes back and finds the list as it was.
func TestRollback(t *testing.T) {
	b := newBench(t)
	b.small = extent.Tree{RootMost: 2, NodeMost: 4}
	rng := rand.New(rand.NewPCG(3, 3))
	for i := range 600 {
		mark, model := b.tx.Mark(), slices.Clone(b.model)
		for range 3 {
			b.step(rng, i)
		}
		if rng.IntN(2) == 0 {
			b.tx.Rollback(&mark)
			b.model = model
		}
		b.check()
	}
}

// TestQueue moves a list over the ordinals as a queue does: nothing but an end is ever touched, and when it is
// empty there is no row left.
func TestQueue(t *testing.T) {
	b := newBench(t)
	for i := range 2000 {
		l := b.list()
		b.ok(l.PushRight(fmt.Append(nil, i)))
		b.model = append(b.model, fmt.Sprint(i))
		if i%3 != 0 || i > 1500 {
			b.ok(l.DropLeft(2))
			b.model = b.model[min(2, len(b.model)):]
		}
		b.ok(l.Save())
		if !l.plain() {
			t.Fatal("a queue was divided")
		}
	}
	b.check()
	l := b.list()
	b.ok(l.DropLeft(l.Len()))
	b.ok(l.Save())
	b.model = nil
	b.check()
	if l.key.Found || b.tx.Keys(0) != 0 {
		t.Error("an empty list is a key")
	}
}

// TestLarge meets the ways that only large lists take: walks over rows, and what Trim writes anew.
func TestLarge(t *testing.T) {
	b := newBench(t)
	l := b.list()
	for i := range 20_000 {
		b.ok(l.PushRight(fmt.Append(nil, i)))
		b.model = append(b.model, fmt.Sprint(i))
	}
	b.ok(l.Save())
	b.check()
	b.commit()
	b.check()
	for _, at := range []int{10_000, 5_000, 15_000} {
		l = b.list()
		b.ok(l.Insert(uint64(at), []byte("x")))
		b.ok(l.Save())
		b.model = slices.Insert(b.model, at, "x")
	}
	b.check()
	id := l.meta.ID
	l = b.list()
	b.ok(l.Trim(100, uint64(len(b.model)-100)))
	b.ok(l.Save())
	b.model = b.model[100 : len(b.model)-100]
	b.check()
	if b.list().meta.ID != id {
		t.Error("a list was written anew for few elements")
	}
	l = b.list()
	b.ok(l.Trim(4_000, 6_000))
	b.ok(l.Save())
	b.model = b.model[4_000:6_000]
	b.check()
	if b.list().meta.ID == id {
		t.Error("a list was not written anew")
	}
	b.reopen()
	b.check()
}

func TestGolden(t *testing.T) {
	b := newBench(t)
	l := b.list()
	b.ok(l.PushLeft([]byte("v")))
	b.ok(l.Save())
	if want := []byte{1, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}; !bytes.Equal(l.meta.Extra, want) {
		t.Errorf("layout of one extent %x, want %x", l.meta.Extra, want)
	}
	row, ok, err := b.tx.GetDense(&l.key, &l.meta, []byte{1, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	if err != nil || !ok || string(row) != "\x00v" {
		t.Errorf("element row %q, %v, %v", row, ok, err)
	}
	full := layout{head: extent.Entry{Ref: 300, N: 1}, tail: extent.Entry{Ref: 5, N: 2}, floor: 3, ceil: 400,
		nextPush: 7, nextInsert: 8, tree: extent.Tree{Height: 1, NextID: 9, Root: []extent.Entry{{Ref: 6, N: 4}}}}
	want := []byte{1, 1, 0xac, 2, 1, 5, 2, 3, 0x90, 3, 7, 8, 9, 1, 1, 6, 4}
	if got := full.append(nil); !bytes.Equal(got, want) {
		t.Errorf("full layout %x, want %x", got, want)
	}
	nodes{l}.Save(2, []extent.Entry{{Ref: 6, N: 4}})
	if row, ok, err = b.tx.GetOrdered(&l.key, &l.meta, []byte{2, 0, 0, 0, 0, 0, 0, 0, 2}); err != nil || !ok ||
		!bytes.Equal(row, []byte{0, 1, 6, 4}) {
		t.Errorf("node row %x, %v, %v", row, ok, err)
	}
}

func FuzzParseLayout(f *testing.F) {
	plain := newLayout()
	f.Add(plain.append(nil), uint64(0))
	f.Add([]byte{1, 1, 0xac, 2, 1, 5, 2, 3, 0x90, 3, 7, 8, 9, 1, 1, 6, 4}, uint64(7))
	f.Fuzz(func(t *testing.T, extra []byte, count uint64) {
		l, err := parseLayout(extra, count)
		if err != nil {
			return
		}
		again, err := parseLayout(l.append(nil), count)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(l) {
			t.Errorf("%x: %v, then %v: %v", extra, l, again, err)
		}
	})
}

// TestExhausted fills blocks up: an end goes on in another block, and a list that has none left says so.
func TestExhausted(t *testing.T) {
	b := newBench(t)
	l := b.list()
	b.ok(l.PushRight([]byte("a")))
	l.floor, l.ceil = l.head.Ref, l.head.End()
	for i := range 5 {
		v := fmt.Sprint(i)
		b.ok(l.PushRight([]byte(v)))
		l.ceil = l.last().End()
		b.ok(l.PushLeft([]byte(v)))
		l.floor = l.head.Ref
	}
	b.ok(l.Save())
	b.model = strings.Split("43210a01234", "")
	b.check()
	if n := len(l.tree.Root); n != 9 {
		t.Errorf("%d extents between the ends", n)
	}
	l.nextPush = pushEnd
	if err := l.PushRight([]byte("x")); err != ErrExhausted {
		t.Error(err)
	}
	if err := l.PushLeft([]byte("x")); err != ErrExhausted {
		t.Error(err)
	}
	l.nextInsert = 1<<64 - insertBlock
	if _, err := l.between(5); err != ErrExhausted {
		t.Error(err)
	}
}

func TestCompact(t *testing.T) {
	b := newBench(t)
	l := b.list()
	for range 100 {
		b.ok(l.PushRight([]byte("0123456789")))
	}
	for size, want := range map[int64]bool{-1: true, -2: true, -9: true, 100: true, 99: false, 0: false} {
		if got, err := l.Compact(size); err != nil || got != want {
			t.Errorf("limit %d: %v, %v", size, got, err)
		}
	}
	for range 400 {
		b.ok(l.PushRight([]byte("0123456789")))
	}
	for size, want := range map[int64]bool{-1: false, -2: true, 1000: true} {
		if got, err := l.Compact(size); err != nil || got != want {
			t.Errorf("500 elements, limit %d: %v, %v", size, got, err)
		}
	}
	for v, want := range map[string]uint64{"0": 2, "127": 2, "-1": 3, "4095": 3, "4096": 4, "70000": 5, "9000000": 6,
		"9223372036854775807": 10, "00": 4, "": 2, strings.Repeat("x", 63): 65, strings.Repeat("x", 64): 67,
		strings.Repeat("x", 125): 128, strings.Repeat("x", 126): 130, strings.Repeat("x", 5000): 5007} {
		if got := listpackSize([]byte(v)); got != want {
			t.Errorf("%.20q takes %d bytes, want %d", v, got, want)
		}
	}
	if _, err := At(b.tx, keyspace.Entry{Found: true, Meta: encoding.Meta{Type: encoding.Hash}}); err == nil {
		t.Error("a hash was opened")
	}
}
