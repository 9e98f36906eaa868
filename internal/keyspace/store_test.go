package keyspace

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"haypile/internal/encoding"
	"haypile/internal/storage"
)

// newStore opens a store on memory.
func newStore(t *testing.T, cache int64) (*storage.Mem, *storage.Engine, *Store) {
	mem := storage.NewMem()
	engine, store := openStore(t, mem, cache)
	t.Cleanup(func() { _ = engine.CloseUnflushed() })
	return mem, engine, store
}

// commit runs f in a transaction and applies it one offset further.
func commit(t testing.TB, s *Store, f func(tx *Txn) error) {
	t.Helper()
	tx := s.NewTxn()
	tx.Begin(ModeWrite, 0, 1000)
	if err := f(tx); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply([]*Txn{tx}, s.Applied()+1, 0); err != nil {
		t.Fatal(err)
	}
	s.Settle(tx)
}

// bigHash stores a hash of n members in one transaction.
func bigHash(t testing.TB, s *Store, key string, n int) {
	t.Helper()
	commit(t, s, func(tx *Txn) error {
		e, err := tx.Lookup([]byte(key))
		if err != nil {
			return err
		}
		m := tx.NewCollection(&e, encoding.Hash)
		for i := range n {
			tx.PutElement(&e, &m, strconv.AppendInt(nil, int64(i), 10), []byte("v"))
		}
		m.Count = uint64(n)
		return tx.Put(&e, m)
	})
}

// countRows counts the rows of the engine with a prefix.
func countRows(t testing.TB, e *storage.Engine, prefix ...byte) (n int) {
	t.Helper()
	it, err := e.Iter(prefix, encoding.PrefixEnd(prefix))
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// A large collection is deleted by a few rows and reclaimed in bounded steps, also across a restart.
func TestReclaimInSteps(t *testing.T) {
	mem := storage.NewMem()
	engine, store := openStore(t, mem, 1<<20)
	const n = 5000
	bigHash(t, store, "big", n)
	bigHash(t, store, "other", 100)
	tx := store.NewTxn()
	tx.Begin(ModeWrite, 0, 1000)
	e, err := tx.Lookup([]byte("big"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Remove(&e); err != nil {
		t.Fatal(err)
	}
	if rows := len(tx.rows.rows); rows > 2 {
		t.Errorf("deleting %d members took %d rows", n, rows)
	}
	if err := store.Apply([]*Txn{tx}, store.Applied()+1, 0); err != nil {
		t.Fatal(err)
	}
	store.Settle(tx)
	if rows := countRows(t, engine, byte(encoding.TableData)); rows != n+100+1 {
		t.Fatalf("%d data rows", rows)
	}
	steps := 0
	for left := n; ; steps++ {
		more, err := store.Reclaim(context.Background(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		rows := countRows(t, engine, byte(encoding.TableData)) - 101
		if rows < left-1000 {
			t.Fatalf("one step deleted %d rows", left-rows)
		}
		left = rows
		if steps == 2 {
			if err := engine.Close(); err != nil {
				t.Fatal(err)
			}
			engine, store = openStore(t, mem, 1<<20)
			defer func() { _ = engine.CloseUnflushed() }()
		}
		if !more {
			break
		}
	}
	if data, garbage := countRows(t, engine, byte(encoding.TableData)), countRows(t, engine,
		byte(encoding.TableGarbage)); data != 101 || garbage != 0 {
		t.Errorf("%d data rows and %d garbage rows are left", data, garbage)
	}
	if steps < 5 {
		t.Errorf("%d steps", steps)
	}
}

// A flushed database is cut out of the engine only once the flush is durable, and while nobody looks at it.
func TestFlushedSpaceIsCutOut(t *testing.T) {
	mem, engine, store := newStore(t, 1<<20)
	bigHash(t, store, "h", 500)
	commit(t, store, func(tx *Txn) error {
		e, err := tx.Lookup([]byte("s"))
		if err != nil {
			return err
		}
		return tx.PutString(&e, []byte("v"), 99_999)
	})
	if err := engine.Flush(); err != nil {
		t.Fatal(err)
	}
	snap, err := store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	commit(t, store, func(tx *Txn) error {
		tx.Flush(0)
		return nil
	})
	if keys, expires := store.Counts(0); keys != 0 || expires != 0 {
		t.Errorf("%d keys, %d with a deadline", keys, expires)
	}
	reclaim := func() {
		t.Helper()
		if _, err := store.Reclaim(context.Background(), 1000); err != nil {
			t.Fatal(err)
		}
	}
	reclaim()
	if n := countRows(t, engine, byte(encoding.TableData)); n != 502 {
		t.Fatalf("%d data rows before the flush is durable", n)
	}
	// A power loss now brings everything back.
	lost, old := openStore(t, mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 0), 0)
	if keys, _ := old.Counts(0); keys != 2 {
		t.Errorf("%d keys after a power loss", keys)
	}
	_ = lost.CloseUnflushed()
	if err := engine.Flush(); err != nil {
		t.Fatal(err)
	}
	reclaim()
	seen := 0
	if err := snap.Keys(0, func(*FoundKey) bool { seen++; return true }); err != nil || seen != 2 {
		t.Errorf("the snapshot sees %d keys: %v", seen, err)
	}
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	reclaim()
	for _, table := range []encoding.Table{encoding.TableData, encoding.TableExpiry, encoding.TableRetired} {
		if n := countRows(t, engine, byte(table)); n != 0 {
			t.Errorf("table %d has %d rows", table, n)
		}
	}
}

func TestReopenKeepsCounters(t *testing.T) {
	mem := storage.NewMem()
	engine, store := openStore(t, mem, 0)
	bigHash(t, store, "h", 3)
	commit(t, store, func(tx *Txn) error {
		tx.Select(1)
		e, err := tx.Lookup([]byte("s"))
		if err != nil {
			return err
		}
		return tx.PutString(&e, []byte("v"), 5000)
	})
	id, space := store.newCollection(), store.newSpace()
	commit(t, store, func(tx *Txn) error { return nil })
	if store.Applied() != 103 || store.Durable() != 100 {
		t.Errorf("applied %d, durable %d", store.Applied(), store.Durable())
	}
	if err := engine.Flush(); err != nil {
		t.Fatal(err)
	}
	if d, err := store.RefreshDurable(); d != 103 || err != nil {
		t.Errorf("durable %d: %v", d, err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	engine, store = openStore(t, mem, 0)
	defer func() { _ = engine.CloseUnflushed() }()
	if store.Applied() != 103 || store.Durable() != 103 {
		t.Errorf("applied %d, durable %d", store.Applied(), store.Durable())
	}
	for db, want := range [][2]int64{{1, 0}, {1, 1}, {0, 0}} {
		if keys, expires := store.Counts(db); keys != want[0] || expires != want[1] {
			t.Errorf("database %d: %d keys, %d with a deadline", db, keys, expires)
		}
	}
	if next := store.newCollection(); next <= id {
		t.Errorf("collection %d is given out again after %d", next, id)
	}
	if next := store.newSpace(); next <= space {
		t.Errorf("space %d is given out again after %d", next, space)
	}
}

func TestDueIsOrdered(t *testing.T) {
	_, _, store := newStore(t, 0)
	for i, key := range []string{"c", "a", "b", "never"} {
		commit(t, store, func(tx *Txn) error {
			e, err := tx.Lookup([]byte(key))
			if err != nil {
				return err
			}
			return tx.PutString(&e, nil, []int64{3000, 1500, 1 << 50, 0}[i])
		})
	}
	names := func(now int64, limit int) (s string) {
		due, err := store.Due(now, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range due {
			s += string(d.User)
		}
		return s
	}
	for _, c := range []struct {
		now   int64
		limit int
		want  string
	}{{1499, 9, ""}, {1500, 9, "a"}, {3000, 9, "ac"}, {3000, 1, "a"}, {1 << 51, 9, "acb"}} {
		if got := names(c.now, c.limit); got != c.want {
			t.Errorf("due at %d, limit %d: %q, want %q", c.now, c.limit, got, c.want)
		}
	}
}

func TestEffectsAndFrames(t *testing.T) {
	_, _, store := newStore(t, 0)
	tx := store.NewTxn()
	tx.Begin(ModeWrite, 2, 1000)
	show := func() (s string) {
		tx.Effects(func(db int, b []byte) { s += fmt.Sprintf("%d:%q ", db, b) })
		return s
	}
	tx.Frame()
	if s := show(); s != "" {
		t.Errorf("empty transaction logs %s", s)
	}
	tx.EffectStrings("A")
	tx.Frame()
	if s := show(); s != `2:"*1\r\n$1\r\nA\r\n" ` {
		t.Errorf("one command logs %s", s)
	}
	mark := tx.Mark()
	tx.Select(1)
	tx.Effect([]byte("B"))
	tx.Rollback(&mark)
	tx.Effect([]byte("C"))
	tx.Select(2)
	tx.Effect([]byte("D"))
	n := tx.EffectBytes()
	tx.Effect([]byte("E"))
	tx.DropEffects(n)
	tx.Frame()
	want := `2:"*1\r\n$5\r\nMULTI\r\n*1\r\n$1\r\nA\r\n" 1:"*1\r\n$1\r\nC\r\n" 2:"*1\r\n$1\r\nD\r\n*1\r\n$4\r\nEXEC\r\n" `
	if s := show(); s != want {
		t.Errorf("logs\n%s want\n%s", s, want)
	}
	tx.Reset()
	if !tx.Empty() || show() != "" {
		t.Error("not empty after Reset")
	}
}

func TestTouchedOnlyWhileWatched(t *testing.T) {
	_, _, store := newStore(t, 0)
	tx := store.NewTxn()
	tx.Begin(ModeWrite, 0, 1000)
	put := func(key string) {
		e, err := tx.Lookup([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.PutString(&e, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	put("a")
	store.Watching.Add(1)
	mark := tx.Mark()
	put("b")
	tx.Rollback(&mark)
	put("c")
	if n := tx.Touched(); len(n) != 1 || string(n[0].Key) != "c" || tx.Changes() != 2 {
		t.Errorf("touched %+v, %d changes", n, tx.Changes())
	}
}

// committer applies one transaction after the other, as the commit leader does.
type committer struct {
	mu    sync.Mutex
	store *Store
}

func (c *committer) commit(t *testing.T, tx *Txn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.store.Apply([]*Txn{tx}, c.store.Applied()+1, 0); err != nil {
		t.Error(err)
	}
}

// Writers change a string and a hash together; readers must never see them apart, whatever the cache drops.
func TestConcurrentTransactions(t *testing.T) {
	const pairs, writers, rounds = 40, 6, 400
	_, _, store := newStore(t, 70<<10*cacheShards)
	c := &committer{store: store}
	locks := NewLocks()
	var total atomic.Int64
	var wg sync.WaitGroup
	number := func(b []byte) int {
		n, _ := strconv.Atoi(string(b))
		return n
	}
	work := func(seed uint64, write bool) {
		defer wg.Done()
		rng := rand.New(rand.NewPCG(seed, 9))
		var held Held
		held.Init(locks)
		tx := store.NewTxn()
		for range rounds {
			i := rng.IntN(pairs)
			text, hash := fmt.Appendf(nil, "text%d", i), fmt.Appendf(nil, "hash%d", i)
			want := []Want{{LockOf(text), !write}, {LockOf(hash), !write}}
			if rng.IntN(2) == 0 || !held.TryAcquire(want) {
				held.Release()
				held.Acquire(want)
			}
			tx.Reset()
			mode := ModeRead
			if write {
				mode = ModeWrite
			}
			tx.Begin(mode, 0, 1000)
			s, err1 := tx.Lookup(text)
			h, err2 := tx.Lookup(hash)
			meta := h.Meta
			var x []byte
			var err3 error
			if h.Found {
				x, _, err3 = tx.GetElement(&h, &meta, []byte("n"))
			}
			if err1 != nil || err2 != nil || err3 != nil {
				t.Error(err1, err2, err3)
			}
			if v, _ := s.Meta.Whole(); number(v) != number(x) || s.Found != h.Found {
				t.Errorf("pair %d: %q and %q", i, v, x)
			}
			if write {
				v := strconv.AppendInt(nil, int64(number(x))+1, 10)
				if !h.Found {
					meta = tx.NewCollection(&h, encoding.Hash)
					meta.Count = 1
				}
				tx.PutElement(&h, &meta, []byte("n"), v)
				if err := tx.Put(&h, meta); err != nil {
					t.Error(err)
				}
				if err := tx.PutString(&s, v, 0); err != nil {
					t.Error(err)
				}
				c.commit(t, tx)
				store.Settle(tx)
				total.Add(1)
			}
			held.Release()
		}
	}
	for i := range writers {
		wg.Add(2)
		go work(uint64(i), true)
		go work(uint64(i)+100, false)
	}
	wg.Add(1)
	go func() { // walks without locks see whole rows
		defer wg.Done()
		tx := store.NewTxn()
		for range 20 {
			tx.Reset()
			tx.Begin(ModeRead, 0, 1000)
			if err := tx.ScanKeys(0, 0, 0, func(*FoundKey) bool { return true }); err != nil {
				t.Error(err)
			}
			if _, err := store.Reclaim(context.Background(), 100); err != nil {
				t.Error(err)
			}
		}
	}()
	wg.Wait()
	sum := 0
	tx := store.NewTxn()
	tx.Begin(ModeRead, 0, 1000)
	if err := tx.ScanKeys(0, 0, 0, func(k *FoundKey) bool {
		if k.Meta.Type == encoding.String {
			v, _ := k.Meta.Whole()
			sum += number(v)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if int64(sum) != total.Load() || sum == 0 {
		t.Errorf("%d increments, sum %d", total.Load(), sum)
	}
	if keys, _ := store.Counts(0); keys > 2*pairs || keys%2 != 0 {
		t.Errorf("%d keys", keys)
	}
}

func TestLocks(t *testing.T) {
	locks := NewLocks()
	var a, b Held
	a.Init(locks)
	b.Init(locks)
	a.Acquire([]Want{{7, true}, {3, false}, {7, false}, {9, true}, {9, true}})
	if a.Len() != 3 {
		t.Errorf("%d locks held", a.Len())
	}
	for _, c := range []struct {
		want Want
		ok   bool
	}{{Want{7, true}, false}, {Want{3, true}, false}, {Want{9, false}, false}, {Want{9, true}, true}, {Want{4,
		false}, true}} {
		if ok := b.TryAcquire([]Want{c.want}); ok != c.ok {
			t.Errorf("%+v: %v", c.want, ok)
		}
	}
	if b.Len() != 2 || b.TryAcquire([]Want{{5, false}, {3, false}}) || b.Len() != 2 {
		t.Errorf("%d locks held after a refusal", b.Len())
	}
	if !a.TryAcquire([]Want{{5, false}, {7, true}, {3, false}}) || a.Len() != 4 {
		t.Error("a lock held exclusively covers what is wanted")
	}
	n := b.Len()
	if !b.TryAcquire([]Want{{11, false}}) {
		t.Error("11 is free")
	}
	b.ReleaseTo(n)
	if !a.TryAcquire([]Want{{11, false}}) {
		t.Error("11 is free again")
	}
	a.Release()
	b.Release()
	for i := range locks.stripes {
		if !locks.stripes[i].TryLock() {
			t.Fatalf("lock %d is still held", i)
		}
	}
}

// Sets of locks taken together never deadlock, in whatever order they are named.
func TestLocksDoNotDeadlock(t *testing.T) {
	locks := NewLocks()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			var h Held
			h.Init(locks)
			for range 3000 {
				var want []Want
				for range rng.IntN(6) + 1 {
					want = append(want, Want{Lock(rng.IntN(8)), rng.IntN(2) == 0})
				}
				h.Acquire(want)
				if h.TryAcquire([]Want{{Lock(rng.IntN(8)), false}}) {
					h.ReleaseTo(0)
				}
				h.Release()
			}
		}()
	}
	wg.Wait()
}

// The overlay finds the last version of each row, through growth and rollback.
func TestOverlay(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	var o overlay
	for range 50 {
		want := map[string]string{}
		var marks []int
		var states []map[string]string
		for range rng.IntN(400) {
			key := fmt.Sprint(rng.IntN(150))
			if rng.IntN(30) == 0 {
				copied := map[string]string{}
				for k, v := range want {
					copied[k] = v
				}
				marks, states = append(marks, len(o.undo)), append(states, copied)
			}
			if len(marks) > 0 && rng.IntN(40) == 0 {
				i := rng.IntN(len(marks))
				o.rollback(marks[i])
				want = states[i]
				marks, states = marks[:i], states[:i]
			}
			h := uint64(rng.IntN(150)) // wrong for the key: lookups must compare keys too
			for _, r := range o.rows {
				if string(r.key) == key {
					h = r.hash
				}
			}
			v := fmt.Sprint(rng.Uint64())
			o.set(row{hash: h, key: []byte(key), val: []byte(v)})
			want[key] = v
			if len(o.rows) != len(want) {
				t.Fatalf("%d rows, want %d", len(o.rows), len(want))
			}
			for _, r := range o.rows {
				if i := o.find(r.hash, r.key); i < 0 || string(o.rows[i].val) != want[string(r.key)] {
					t.Fatalf("row %s not found or wrong", r.key)
				}
			}
			if o.find(1, []byte("none")) >= 0 {
				t.Fatal("found what is not there")
			}
		}
		o.reset()
		if len(o.rows) != 0 || o.find(1, []byte("1")) >= 0 {
			t.Fatal("not empty after reset")
		}
	}
}

func TestRandomKeyReachesAll(t *testing.T) {
	for _, n := range []int{1, 20, 100} {
		_, _, store := newStore(t, 0)
		commit(t, store, func(tx *Txn) error {
			for i := range n {
				e, err := tx.Lookup(fmt.Appendf(nil, "k%d", i))
				if err != nil {
					return err
				}
				if err := tx.PutString(&e, nil, 0); err != nil {
					return err
				}
			}
			return nil
		})
		seen := map[string]int{}
		tx := store.NewTxn()
		for range n * 20 {
			tx.Reset()
			tx.Begin(ModeRead, 0, 1000)
			k, err := tx.RandomKey()
			if err != nil || k == nil {
				t.Fatal(k, err)
			}
			seen[string(k)]++
		}
		if len(seen) < n*9/10 {
			t.Errorf("%d of %d keys were met", len(seen), n)
		}
	}
}

// hollow is a form that gives up all its memory, and is still there.
type hollow struct{ size int64 }

func (h *hollow) Size() int64         { return h.size }
func (h *hollow) Shrink(target int64) { h.size = min(h.size, target/2) }

// Forms that shrink to nothing make room for the one that has just been put.
func TestFormsAreEvicted(t *testing.T) {
	var f forms
	f.budget.Store(1000)
	for id := range encoding.Collection(100) {
		f.put(id, &hollow{int64(id%3) * 400})
		if n := f.bytes(); n > 1000 {
			t.Fatalf("%d bytes after %d forms", n, id+1)
		}
	}
	f.budget.Store(1)
	f.put(1000, &hollow{500})
	if n := f.bytes(); n > 1 {
		t.Errorf("%d bytes of 1", n)
	}
}
