package list

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"haypile/internal/keyspace"
)

// checkForm compares what the form of a list knows with rows.
func (b *bench) checkForm(l *List) {
	b.t.Helper()
	f := l.form()
	if f == nil {
		if b.forms(l) {
			b.t.Fatalf("a list of %d has a form", l.Len())
		}
		return
	}
	size, known := int64(0), 0
	for at, c := range f.chunks {
		size += chunkOverhead + int64(cap(c.data))
		live := 0
		for i := range uint64(chunkLen) {
			v, ok := c.get(i)
			if !ok {
				continue
			}
			known++
			live += len(v) + 1
			if row, err := l.read(at<<chunkBits + i); err != nil || !bytes.Equal(row, v) {
				b.t.Fatalf("ordinal %d: the form has %q, the row is %q, %v", at<<chunkBits+i, v, row, err)
			}
		}
		if live != c.live || live == 0 {
			b.t.Fatalf("a chunk counts %d bytes, has %d", c.live, live)
		}
	}
	if size != f.Size() {
		b.t.Fatalf("a form counts %d bytes, has %d", f.Size(), size)
	}
	b.known = max(b.known, known)
}

// forms reports whether there is a form for a list that should have none.
func (b *bench) forms(l *List) bool {
	return l.meta.ID != 0 && b.tx.Form(l.meta.ID, newForm).(*form).Size() > 0
}

// TestForm: a long list is read and changed in memory without the hot cache; a short one has no form, and none that
// it had before comes back when it has grown again.
func TestForm(t *testing.T) {
	b := newBench(t)
	push := func(n int) {
		l := b.list()
		for i := range n {
			v := fmt.Sprint("v", len(b.model), i)
			b.ok(l.PushRight([]byte(v)))
			b.model = append(b.model, v)
		}
		b.ok(l.Save())
	}
	push(formLeast)
	push(3000)
	b.commit()
	b.ok(b.store.Drain())
	b.store.DropCache()
	_ = b.list() // the metadata is in memory again
	b.tx.HotOnly(true)
	n := 0
	l := b.list()
	b.ok(l.Walk(1000, 600, func(v []byte) bool {
		if string(v) != b.model[1000+n] {
			t.Fatalf("element %d is %q", 1000+n, v)
		}
		n++
		return true
	}))
	if err := l.Walk(0, 10, func([]byte) bool { return true }); !errors.Is(err, keyspace.ErrCold) || n != 600 {
		t.Errorf("what was pushed before there was a form: %v; %d elements in memory", err, n)
	}
	b.tx.HotOnly(false)
	b.check()
	if l := b.list(); !b.forms(l) {
		t.Error("a long list has no form")
	}

	l = b.list()
	b.ok(l.DropLeft(l.Len() - formLeast + 1))
	b.ok(l.Save())
	b.model = b.model[len(b.model)-formLeast+1:]
	b.check()
	b.commit()
	l = b.list()
	b.ok(l.Set(5, []byte("new")))
	b.model[5] = "new"
	b.ok(l.Save())
	b.check()
	push(10)
	b.check()
	b.commit()
	b.check()
}

// TestFormRollback: a form that was changed by what is taken back is forgotten, with what earlier commands of the same
// transaction have changed, and made anew.
func TestFormRollback(t *testing.T) {
	b := newBench(t)
	change := func(v string) {
		l := b.list()
		for range 100 {
			b.ok(l.PushLeft([]byte(v)))
		}
		b.ok(l.Set(150, []byte(v)))
		b.ok(l.DropRight(3))
		b.ok(l.Save())
	}
	l := b.list()
	for range 200 {
		b.ok(l.PushLeft([]byte("old")))
		b.model = append(b.model, "old")
	}
	b.ok(l.Save())
	b.commit()
	model := func(v string) {
		for range 100 {
			b.model = append([]string{v}, b.model...)
		}
		b.model[150] = v
		b.model = b.model[:len(b.model)-3]
	}
	change("a")
	model("a")
	mark := b.tx.Mark()
	change("b")
	b.tx.Rollback(&mark)
	b.check()
	change("c")
	model("c")
	b.check()
	b.commit()
	b.check()
	change("lost")
	b.tx.Done() // never applied
	b.begin()
	b.check()
}

// TestFormBounds: a form keeps to its bound and to that of elements; what does not fit is in rows.
func TestFormBounds(t *testing.T) {
	b := newBench(t)
	rng := rand.New(rand.NewPCG(4, 4))
	for i := range 40 {
		l := b.list()
		for range 100 {
			v := bytes.Repeat([]byte{byte('a' + i%26)}, rng.IntN(300))
			if rng.IntN(50) == 0 {
				v = bytes.Repeat([]byte("x"), formValue+1)
			}
			b.ok(l.PushRight(v))
			b.model = append(b.model, string(v))
			if at := rng.IntN(len(b.model)); at < len(b.model) {
				b.ok(l.Set(uint64(at), v))
				b.model[at] = string(v)
			}
		}
		b.ok(l.Save())
		if f := l.form(); f != nil && f.Size() > l.room()*5/4 { // a chunk grows in steps
			t.Fatalf("a form of %d bytes, of which %d are allowed", f.Size(), l.room())
		}
		b.commit()
	}
	b.check()
	if b.known < 100 {
		t.Errorf("the form knows %d elements only", b.known)
	}
}

// TestFormShared: readers complete a form at the same time.
func TestFormShared(t *testing.T) {
	b := newBench(t)
	l := b.list()
	for i := range 1500 {
		v := fmt.Sprint(i)
		b.ok(l.PushRight([]byte(v)))
		b.model = append(b.model, v)
	}
	b.ok(l.Save())
	b.commit()
	b.store.SetCacheBytes(0)
	b.store.SetCacheBytes(1 << 20)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range 50 {
				tx := b.store.NewTxn()
				tx.Begin(keyspace.ModeRead, 0, 1)
				l, err := Open(tx, []byte("list"))
				if err != nil {
					t.Error(err)
					return
				}
				at := rng.IntN(1400)
				n := at
				if err := l.Walk(uint64(at), 100, func(v []byte) bool {
					if string(v) != b.model[n] {
						t.Errorf("element %d is %q", n, v)
					}
					n++
					return true
				}); err != nil || n != at+100 {
					t.Error(err, n)
				}
				tx.Done()
			}
		})
	}
	wg.Wait()
	b.check()
}
