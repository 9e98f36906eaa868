package zset

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"haypile/internal/keyspace"
	"haypile/internal/storage"
)

type bench struct {
	cache  int64
	t      *testing.T
	store  *keyspace.Store
	engine *storage.Engine
	mem    *storage.Mem
	close  func()
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, mem: storage.NewMem(), cache: 1 << 20}
	b.open()
	t.Cleanup(func() { b.close() })
	return b
}

func (b *bench) open() {
	engine, err := storage.Open(storage.Options{Dir: "engine", Mem: b.mem, CacheBytes: 8 << 20, MemtableBytes: 4 << 20,
		Memtables: 4})
	if err != nil {
		b.t.Fatal(err)
	}
	if b.store, err = keyspace.Open(engine, keyspace.Options{Databases: 1, CacheBytes: b.cache, Defer: true, Many: 20}); err != nil {
		b.t.Fatal(err)
	}
	b.engine = engine
	b.close = func() {
		if err := b.store.Close(true); err != nil {
			b.t.Error(err)
		}
		if err := engine.Close(); err != nil {
			b.t.Error(err)
		}
	}
}

func (b *bench) run(f func(tx *keyspace.Txn, z *ZSet) error) {
	b.t.Helper()
	tx := b.store.NewTxn()
	tx.Begin(keyspace.ModeWrite, 0, 1000)
	z, err := Open(tx, []byte("z"))
	if err == nil {
		err = f(tx, &z)
	}
	if err == nil {
		err = z.Save()
	}
	if err == nil && !tx.Empty() {
		if err = b.store.Apply([]*keyspace.Txn{tx}, b.store.Applied()+1, 0); err == nil {
			b.store.Settle(tx)
		}
	}
	if err != nil {
		b.t.Fatal(err)
	}
	tx.Done()
}

// model is a sorted set as a sorted slice.
type model []Entry

func (m model) find(member string) int {
	return slices.IndexFunc(m, func(e Entry) bool { return string(e.Member) == member })
}

func (m *model) put(member string, score float64) {
	if i := m.find(member); i >= 0 {
		if (*m)[i].Score == score {
			return
		}
		*m = slices.Delete(*m, i, i+1)
	}
	e := Entry{[]byte(member), plain(score)}
	at, _ := slices.BinarySearchFunc(*m, e, compare)
	*m = slices.Insert(*m, at, e)
}

func compare(a, b Entry) int {
	switch {
	case a.Score < b.Score:
		return -1
	case a.Score > b.Score:
		return 1
	}
	return bytes.Compare(a.Member, b.Member)
}

func (m model) within(r Range) model {
	var in model
	for _, e := range m {
		o := appendOrder(nil, e.Score, e.Member)
		if string(o) >= string(r.From) && (r.To == nil || string(o) < string(r.To)) {
			in = append(in, e)
		}
	}
	return in
}

// TestModel: random changes and questions on a set that grows over its levels and shrinks again, against a sorted
// slice, with the store closed and opened in between.
func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			b := newBench(t)
			b.close()
			// With the smallest, a quarter of it is less than the tree of 3000 members takes.
			b.cache = []int64{1 << 20, 64 << 10, 256 << 10, 1 << 20}[seed]
			b.open()
			var m model
			members := []int{40, 600, 3000, 3000}[seed]
			for round := range 120 {
				grow := round < 70
				b.run(func(tx *keyspace.Txn, z *ZSet) error {
					for range rng.IntN(members/8 + 2) {
						if err := change(t, rng, z, &m, members, grow); err != nil {
							return err
						}
					}
					return check(t, rng, z, m)
				})
				if rng.IntN(20) == 0 {
					b.close()
					b.open()
				}
			}
			b.run(func(tx *keyspace.Txn, z *ZSet) error {
				n, err := z.RemoveRange(All, true, math.MaxUint64, nil)
				if int(n) != len(m) {
					t.Errorf("removed %d of %d", n, len(m))
				}
				return err
			})
			b.run(func(tx *keyspace.Txn, z *ZSet) error {
				if z.Len() != 0 || tx.Keys(0) != 0 {
					t.Errorf("%d members, %d keys", z.Len(), tx.Keys(0))
				}
				return nil
			})
			for more := true; more; { // those of sets that were removed as a whole
				var err error
				if more, err = b.store.Reclaim(t.Context(), 1000); err != nil {
					t.Fatal(err)
				}
			}
			if rows := countRows(t, b); rows != 0 {
				t.Errorf("%d rows are left of an empty set", rows)
			}
		})
	}
}

func countRows(t *testing.T, b *bench) (n int) {
	t.Helper()
	if err := b.store.Drain(); err != nil {
		t.Fatal(err)
	}
	it, err := b.engine.Iter([]byte{1}, []byte{2})
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

func randomScore(rng *rand.Rand) float64 {
	switch rng.IntN(12) {
	case 0:
		return math.Inf(1)
	case 1:
		return math.Inf(-1)
	case 2:
		return math.Copysign(0, -1)
	case 3:
		return 0
	case 4, 5:
		return float64(rng.IntN(3))
	}
	return rng.NormFloat64() * 100
}

func change(t *testing.T, rng *rand.Rand, z *ZSet, m *model, members int, grow bool) error {
	member := fmt.Sprint("m", rng.IntN(members))
	i := m.find(member)
	if old, found, err := z.Score([]byte(member)); err != nil || found != (i >= 0) || found && old != (*m)[i].Score {
		t.Fatalf("score of %s: %v %v %v", member, old, found, err)
	}
	what := rng.IntN(10)
	switch {
	case what < 6 && grow || what < 2:
		score := randomScore(rng)
		old, found, err := z.Score([]byte(member))
		if err != nil {
			return err
		}
		m.put(member, score)
		return z.Put([]byte(member), score, old, found)
	case what < 9:
		removed, err := z.Remove([]byte(member))
		if removed != (i >= 0) {
			t.Fatalf("removed %v, was at %d", removed, i)
		}
		if i >= 0 {
			*m = slices.Delete(*m, i, i+1)
		}
		return err
	}
	r, back := randomRange(rng), rng.IntN(2) == 0
	limit := uint64(1 + rng.IntN(3))
	if rng.IntN(10) == 0 {
		limit = uint64(rng.IntN(600))
	}
	want := m.within(r)
	if back {
		slices.Reverse(want)
	}
	want = want[:min(uint64(len(want)), limit)]
	if rng.IntN(2) == 0 && !back {
		n, err := z.RemoveRange(r, false, limit, nil)
		if err != nil {
			return err
		}
		return m.remove(t, n, want)
	}
	var got model
	n, err := z.RemoveRange(r, back, limit, func(e Entry) { got = append(got, e) })
	if err != nil {
		return err
	}
	same(t, "removed", got, want)
	return m.remove(t, n, want)
}

func (m *model) remove(t *testing.T, n uint64, want model) error {
	t.Helper()
	if int(n) != len(want) {
		t.Fatalf("removed %d, want %d", n, len(want))
	}
	for _, e := range want {
		i := m.find(string(e.Member))
		*m = slices.Delete(*m, i, i+1)
	}
	return nil
}

func randomRange(rng *rand.Rand) Range {
	if rng.IntN(3) == 0 {
		return All
	}
	return Scores(randomScore(rng), randomScore(rng), rng.IntN(2) == 0, rng.IntN(2) == 0)
}

func same(t *testing.T, what string, got, want model) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b Entry) bool {
		return string(a.Member) == string(b.Member) && math.Float64bits(a.Score) == math.Float64bits(b.Score)
	}) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func check(t *testing.T, rng *rand.Rand, z *ZSet, m model) error {
	t.Helper()
	if int(z.Len()) != len(m) {
		t.Fatalf("%d members, want %d", z.Len(), len(m))
	}
	for range 5 {
		r := randomRange(rng)
		want := m.within(r)
		if n, err := z.Count(r); err != nil || int(n) != len(want) {
			t.Fatalf("count %d, want %d, %v", n, len(want), err)
		}
		if len(m) == 0 {
			continue
		}
		i := rng.IntN(len(m))
		if rank, err := z.Rank(m[i]); err != nil || int(rank) != i {
			t.Fatalf("rank of %v is %d, want %d, %v", m[i], rank, i, err)
		}
		for _, back := range []bool{false, true} {
			r, err := z.From(uint64(i), back)
			if err != nil {
				return err
			}
			var got model
			err = z.Walk(r, back, func(e Entry) bool {
				got = append(got, Entry{bytes.Clone(e.Member), e.Score})
				return len(got) < 10
			})
			if err != nil {
				return err
			}
			want := slices.Clone(m)
			if back {
				slices.Reverse(want)
			}
			want = want[i:]
			same(t, "from a rank", got, want[:min(10, len(want))])
		}
	}
	return errors.Join(checkPages(z, m), checkTree(z))
}

// checkTree: what is in memory is what the rows say.
func checkTree(z *ZSet) error {
	if z.Len() == 0 {
		return nil
	}
	var inspect func(n *node, level int, from, to []byte) error
	inspect = func(n *node, level int, from, to []byte) error {
		if n == nil {
			return nil
		}
		want, err := z.load(level, from, to)
		if err != nil {
			return err
		}
		if n.leaf != want.leaf || !slices.Equal(n.ends, want.ends) || !bytes.Equal(n.buf, want.buf) ||
			!slices.Equal(n.counts, want.counts) || !slices.EqualFunc(n.separators, want.separators, bytes.Equal) ||
			len(n.children) != len(n.separators) {
			return fmt.Errorf("level %d from %x to %x: %+v in memory, %+v in rows", level, from, to, n, want)
		}
		for i := range n.children {
			end := to
			if i+1 < len(n.separators) {
				end = n.separators[i+1]
			}
			if err := inspect(n.children[i].Load(), level-1, n.separators[i], end); err != nil {
				return err
			}
		}
		return nil
	}
	t := z.form()
	if t.size.Load() < 0 {
		return fmt.Errorf("a tree of %d bytes", t.size.Load())
	}
	return inspect(t.root.Load(), z.x.levels, nil, nil)
}

// checkPages: every level counts every entry once, and each separator is an entry and one of the level below.
func checkPages(z *ZSet, m model) error {
	for level := 1; level <= z.x.levels; level++ {
		at, below := 0, map[string]bool{}
		if level > 1 {
			err := z.pages(level-1, nil, nil, func(p page) bool { below[string(p.separator)] = true; return true })
			if err != nil {
				return err
			}
		}
		var bad error
		err := z.pages(level, nil, nil, func(p page) bool {
			if len(p.separator) > 0 && (at >= len(m) ||
				string(appendOrder(nil, m[at].Score, m[at].Member)) != string(p.separator)) {
				bad = fmt.Errorf("level %d: separator %x does not stand at %d", level, p.separator, at)
			}
			if level > 1 && !below[string(p.separator)] {
				bad = fmt.Errorf("level %d: separator %x is none below", level, p.separator)
			}
			at += int(p.count)
			return bad == nil
		})
		if err != nil || bad != nil {
			return cmp.Or(err, bad)
		}
		if at != len(m) {
			return fmt.Errorf("level %d counts %d entries of %d", level, at, len(m))
		}
	}
	return nil
}

// TestFill: a set that is stored as a whole gets its pages at once, and grows and shrinks from there.
func TestFill(t *testing.T) {
	const n = 20_000
	b := newBench(t)
	m := make(model, n)
	tx := b.store.NewTxn()
	tx.Begin(keyspace.ModeWrite, 0, 1000)
	e, err := tx.Lookup([]byte("z"))
	if err != nil {
		t.Fatal(err)
	}
	z := Begin(tx, e, 0)
	for i := range n {
		m[i] = Entry{fmt.Appendf(nil, "m%05d", i), float64(i / 2)}
	}
	for _, i := range rand.Perm(n) {
		z.Fill(m[i].Member, m[i].Score)
	}
	if err := z.Save(); err != nil {
		t.Fatal(err)
	}
	if z.x.levels != 2 {
		t.Errorf("%d levels", z.x.levels)
	}
	if err := b.store.Apply([]*keyspace.Txn{tx}, 1, 0); err != nil {
		t.Fatal(err)
	}
	b.store.Settle(tx)
	tx.Done()
	rng := rand.New(rand.NewPCG(1, 1))
	b.run(func(tx *keyspace.Txn, z *ZSet) error {
		if err := check(t, rng, z, m); err != nil {
			return err
		}
		for range 300 {
			if err := change(t, rng, z, &m, n, true); err != nil {
				return err
			}
		}
		return check(t, rng, z, m)
	})
}

// TestPopsAreFlat: what was taken from an end leaves no tombstones in the way of the next.
func TestPopsAreFlat(t *testing.T) {
	b := newBench(t)
	b.run(func(_ *keyspace.Txn, z *ZSet) error {
		for i := range 2000 {
			if err := z.Put(fmt.Appendf(nil, "m%05d", i), float64(i), 0, false); err != nil {
				return err
			}
		}
		return nil
	})
	b.run(func(_ *keyspace.Txn, z *ZSet) error {
		_, err := z.RemoveRange(All, false, 700, nil)
		return err
	})
	for range 700 {
		b.run(func(_ *keyspace.Txn, z *ZSet) error {
			_, err := z.RemoveRange(All, true, 1, nil)
			return err
		})
	}
	b.run(func(_ *keyspace.Txn, z *ZSet) error {
		if low := z.x.low; low == nil || string(low) < string(appendOrder(nil, 699, nil)) {
			t.Errorf("the bound below is %x", low)
		}
		if high := z.x.high; high == nil || string(high) > string(appendOrder(nil, 1301, nil)) {
			t.Errorf("the bound above is %x", high)
		}
		return nil
	})
}

// The bytes below are what data directories hold.
func TestFormat(t *testing.T) {
	if got := hex.EncodeToString(appendOrder([]byte{tableScore}, 1.5, []byte("m"))); got != "73bff80000000000006d" {
		t.Error(got)
	}
	if got := hex.EncodeToString(appendOrder(nil, -1, nil)); got != "400fffffffffffff" {
		t.Error(got)
	}
	if got := hex.EncodeToString(pageKey(2, []byte{9})); got != "630209" {
		t.Error(got)
	}
	x := extra{levels: 2, low: []byte{1}, high: []byte{2, 3}}
	if got := hex.EncodeToString(x.encode()); got != "0102"+"0101"+"020203" {
		t.Error(got)
	}
	back, err := parseExtra(x.encode())
	if err != nil || back.levels != 2 || string(back.low) != "\x01" || string(back.high) != "\x02\x03" {
		t.Errorf("%+v %v", back, err)
	}
	for _, bad := range []string{"\x02\x01\x00\x00", "\x01\x0b\x00\x00", "\x01\x01\x05\x00", "\x01"} {
		if _, err := parseExtra([]byte(bad)); err == nil {
			t.Errorf("%x is accepted", bad)
		}
	}
	for _, s := range []float64{0, 1, -1, math.Inf(1), math.Inf(-1), math.MaxFloat64, 5e-324, -5e-324} {
		if got := fromSortable(sortable(s)); got != s {
			t.Errorf("%v becomes %v", s, got)
		}
	}
}

// TestRolledBack: what a transaction takes back is not in the tree either.
func TestRolledBack(t *testing.T) {
	b := newBench(t)
	rng := rand.New(rand.NewPCG(3, 3))
	var m model
	fill := func(z *ZSet, n int) error {
		for range n {
			if err := change(t, rng, z, &m, 2000, true); err != nil {
				return err
			}
		}
		return nil
	}
	for range 12 {
		b.run(func(_ *keyspace.Txn, z *ZSet) error { return fill(z, 120) })
		kept := slices.Clone(m)
		b.run(func(tx *keyspace.Txn, z *ZSet) error {
			mark := tx.Mark()
			if err := fill(z, 50); err != nil {
				return err
			}
			if err := z.Save(); err != nil {
				return err
			}
			tx.Rollback(&mark)
			m = slices.Clone(kept)
			var err error
			if *z, err = Open(tx, []byte("z")); err != nil {
				return err
			}
			if err := check(t, rng, z, m); err != nil {
				return err
			}
			return fill(z, 30)
		})
		// A transaction that is given up leaves nothing.
		kept = slices.Clone(m)
		tx := b.store.NewTxn()
		tx.Begin(keyspace.ModeWrite, 0, 1000)
		z, err := Open(tx, []byte("z"))
		if err == nil {
			err = fill(&z, 50)
		}
		if err != nil {
			t.Fatal(err)
		}
		tx.Done()
		m = kept
		b.run(func(_ *keyspace.Txn, z *ZSet) error { return check(t, rng, z, m) })
	}
}

// TestReadersShareTheTree: readers of one key run at the same time, and complete the tree together.
func TestReadersShareTheTree(t *testing.T) {
	b := newBench(t)
	const n = 5000
	b.run(func(_ *keyspace.Txn, z *ZSet) error {
		for i := range n {
			if err := z.Put(fmt.Appendf(nil, "m%05d", i), float64(i), 0, false); err != nil {
				return err
			}
		}
		return nil
	})
	b.close()
	b.open()
	var wg sync.WaitGroup
	var readers atomic.Int32
	readers.Store(4)
	wg.Go(func() { // shrinks it all the time, as the store does when others need the room
		tx := b.store.NewTxn()
		defer tx.Done()
		tx.Begin(keyspace.ModeRead, 0, 1000)
		z, err := Open(tx, []byte("z"))
		if err != nil {
			t.Error(err)
		}
		for readers.Load() > 0 {
			z.form().Shrink(0)
			runtime.Gosched()
		}
	})
	for seed := range uint64(4) {
		wg.Go(func() {
			defer readers.Add(-1)
			rng := rand.New(rand.NewPCG(seed, 1))
			tx := b.store.NewTxn()
			defer tx.Done()
			tx.Begin(keyspace.ModeRead, 0, 1000)
			for range 500 {
				z, err := Open(tx, []byte("z"))
				if err != nil {
					t.Error(err)
					return
				}
				i := rng.IntN(n)
				e := Entry{fmt.Appendf(nil, "m%05d", i), float64(i)}
				if rank, err := z.Rank(e); err != nil || int(rank) != i {
					t.Errorf("rank of %d is %d: %v", i, rank, err)
				}
				back := rng.IntN(2) == 0
				r, err := z.From(uint64(i), back)
				want := i
				if back {
					want = n - 1 - i
				}
				if err == nil {
					err = z.Walk(r, back, func(e Entry) bool {
						if int(e.Score) != want {
							t.Errorf("%v, want %d", e, want)
						}
						return false
					})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestShrink: a tree knows its size, whatever was done to it; shrunk it takes what was asked for, without what was not
// used, and all is found again.
func TestShrink(t *testing.T) {
	b := newBench(t)
	b.close()
	b.cache = 64 << 20
	b.open()
	rng := rand.New(rand.NewPCG(7, 1))
	const n = 8000
	scores := make([]float64, n)
	size := func(z *ZSet) int64 {
		tree := z.form()
		got, want := tree.Size(), measure(tree.root.Load())
		if got < want*9/10 || got > want*11/10 {
			t.Errorf("size %d, measured %d", got, want)
		}
		return got
	}
	for round := range 3 {
		b.run(func(_ *keyspace.Txn, z *ZSet) error {
			for i := range n {
				was := scores[i]
				scores[i] = rng.Float64() * 1000
				if err := z.Put(fmt.Appendf(nil, "m%05d", i), scores[i], was, round > 0); err != nil {
					return err
				}
			}
			return nil
		})
		b.run(func(_ *keyspace.Txn, z *ZSet) error {
			whole := size(z)
			for _, share := range []int64{2, 4, 100} {
				z.form().Shrink(whole / share)
				if got := size(z); got > max(whole/share, whole/8) {
					t.Errorf("shrunk from %d to %d, not to a %dth", whole, got, share)
				}
			}
			sorted := slices.Sorted(slices.Values(scores))
			for range 300 {
				i := rng.IntN(n)
				rank, err := z.Rank(Entry{fmt.Appendf(nil, "m%05d", i), scores[i]})
				if err != nil || sorted[rank] != scores[i] {
					t.Fatalf("rank %d: %v", rank, err)
				}
			}
			size(z)
			return nil
		})
	}
}

// measure is the size of a node with all below it.
func measure(n *node) int64 {
	if n == nil {
		return 0
	}
	size := n.size()
	for i := range n.children {
		size += measure(n.children[i].Load())
	}
	return size
}

// TestMovesKeepTheTree: a change that finds out under HotOnly that it needs more than is in memory finds that out
// before its first change, or the tree would be lost with what it changed, again and again.
func TestMovesKeepTheTree(t *testing.T) {
	b := newBench(t)
	b.close()
	b.cache = 64 << 20
	b.open()
	const n = 20_000
	rng := rand.New(rand.NewPCG(5, 5))
	scores := make([]float64, n)
	member := func(i int) []byte { return fmt.Appendf(nil, "m%05d", i) }
	b.run(func(_ *keyspace.Txn, z *ZSet) error {
		for i := range n {
			scores[i] = rng.Float64() * n
			if err := z.Put(member(i), scores[i], 0, false); err != nil {
				return err
			}
		}
		return nil
	})
	b.close()
	b.open() // nothing is in memory
	colds, losses := 0, 0
	for range 3000 {
		i, score := rng.IntN(n), rng.Float64()*n
		b.run(func(tx *keyspace.Txn, z *ZSet) error {
			if _, _, err := z.Score(member(i)); err != nil { // as every command does first
				return err
			}
			mark := tx.Mark()
			tx.HotOnly(true)
			err := z.Put(member(i), score, scores[i], true)
			tx.HotOnly(false)
			if errors.Is(err, keyspace.ErrCold) {
				colds++
				// What was taken out of the store before the error is not there any more.
				was := tx.Form(z.Key().Meta.ID, func() keyspace.Form { return nil })
				tx.Rollback(&mark)
				if tx.Form(z.Key().Meta.ID, z.newTree) != was {
					losses++
				}
				*z, err = Open(tx, []byte("z"))
				if err == nil {
					err = z.Put(member(i), score, scores[i], true)
				}
			}
			scores[i] = score
			return err
		})
	}
	if colds == 0 || losses > 2 {
		t.Errorf("%d of %d changes that needed the engine lost the tree", losses, colds)
	}
}

// TestPagesStay: however often scores change, and members go and come, pages have about pageMean entries each.
func TestPagesStay(t *testing.T) {
	b := newBench(t)
	rng := rand.New(rand.NewPCG(9, 1))
	const n = 10_000
	scores := make([]float64, n)
	member := func(i int) []byte { return fmt.Appendf(nil, "m%05d", i) }
	b.run(func(_ *keyspace.Txn, z *ZSet) error {
		for i := range n {
			scores[i] = float64(i)
			if err := z.Put(member(i), scores[i], 0, false); err != nil {
				return err
			}
		}
		return nil
	})
	pages := func(what string) {
		b.run(func(_ *keyspace.Txn, z *ZSet) error {
			count, most := 0, uint64(0)
			err := z.pages(1, nil, nil, func(p page) bool {
				count, most = count+1, max(most, p.count)
				return true
			})
			// The numbers of pages are 156 on average, with a deviation of 12.
			if count < n/pageMean/2 || count > n/pageMean*2 || most > 20*pageMean {
				t.Errorf("%s: %d entries have %d pages, the largest of %d", what, n, count, most)
			}
			return err
		})
	}
	pages("at first")
	for _, far := range []float64{1, n} {
		for range 5 {
			b.run(func(_ *keyspace.Txn, z *ZSet) error {
				for range n {
					i := rng.IntN(n)
					to := scores[i] + far*rng.Float64()
					if err := z.Put(member(i), to, scores[i], true); err != nil {
						return err
					}
					scores[i] = to
				}
				return nil
			})
		}
		pages(fmt.Sprintf("after moves of up to %.0f", far))
	}
	for range 3 {
		b.run(func(_ *keyspace.Txn, z *ZSet) error {
			for range n {
				i := rng.IntN(n)
				if _, err := z.Remove(member(i)); err != nil {
					return err
				}
				if err := z.Put(member(i), scores[i], 0, false); err != nil {
					return err
				}
			}
			return nil
		})
	}
	pages("after removals and insertions")
}
