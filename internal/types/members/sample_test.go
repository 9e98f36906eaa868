package members

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/storage"
)

type bench struct {
	t     *testing.T
	store *keyspace.Store
	typ   encoding.Type
}

func newBench(t *testing.T, typ encoding.Type, cache int64) *bench {
	engine, err := storage.Open(storage.Options{Dir: "engine", Mem: storage.NewMem(), MemtableBytes: 4 << 20, Memtables: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.CloseUnflushed() })
	store, err := keyspace.Open(engine, keyspace.Options{Databases: 1, CacheBytes: cache})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t, store, typ}
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// run runs f on the value and applies what it did.
func (b *bench) run(f func(tx *keyspace.Txn, m *Members)) {
	b.t.Helper()
	tx := b.store.NewTxn()
	tx.Begin(keyspace.ModeWrite, 0, 1000)
	m := b.open(tx)
	f(tx, &m)
	b.ok(m.Save())
	if !tx.Empty() {
		b.ok(b.store.Apply([]*keyspace.Txn{tx}, b.store.Applied()+1, 0))
		b.store.Settle(tx)
	}
	tx.Done()
}

func (b *bench) open(tx *keyspace.Txn) Members {
	b.t.Helper()
	m, err := Open(tx, []byte("k"), b.typ)
	b.ok(err)
	return m
}

// form is that of the value as a transaction sees it, made if there is none.
func form(tx *keyspace.Txn, m *Members) *sample {
	return tx.Form(m.meta.ID, m.newSample).(*sample)
}

// check compares the form with the rows.
func (b *bench) check(tx *keyspace.Txn, m *Members) {
	b.t.Helper()
	if m.Len() == 0 {
		return
	}
	s := form(tx, m)
	want := make([][]string, len(s.buckets))
	b.ok(tx.ScanElements(&m.key, &m.meta, 0, func(el keyspace.Element) bool { // with those past their deadline
		at := s.at(el.Hash)
		want[at] = append(want[at], string(el.Member))
		return true
	}))
	size, loaded := int64(sampleOverhead+8*len(s.buckets)), 0
	for i := range s.buckets {
		have := s.buckets[i].Load()
		if have == nil {
			continue
		}
		var got []string
		have.each(func(_, _ int, member []byte) bool { got = append(got, string(member)); return true })
		slices.Sort(got)
		slices.Sort(want[i])
		if !slices.Equal(got, want[i]) || have.n != len(got) || int64(have.n) > s.most.Load() {
			b.t.Fatalf("bucket %d of %d has %d members %q, the rows have %q; the fullest has %d", i, len(s.buckets), have.n,
				got, want[i], s.most.Load())
		}
		size += have.size()
		loaded++
	}
	if s.old != nil {
		b.checkFormer(s, want)
		size += 8 * int64(len(s.old.buckets))
		for i := range s.old.buckets {
			if have := s.old.buckets[i].Load(); have != nil {
				size += have.size()
			}
		}
	}
	if s.Size() != size || s.loaded.Load() != int64(loaded) || !fits(s.bits, m.Len()) {
		b.t.Fatalf("size %d, want %d; %d buckets there, want %d; %d bits for %d members", s.Size(), size, s.loaded.Load(),
			loaded, s.bits, m.Len())
	}
}

// checkFormer looks for members in the former buckets that are not in the rows; these are given by buckets.
func (b *bench) checkFormer(s *sample, rows [][]string) {
	b.t.Helper()
	there := 0
	for i := range s.old.buckets {
		have := s.old.buckets[i].Load()
		if have == nil {
			continue
		}
		there++
		have.each(func(_, _ int, member []byte) bool {
			if at := s.at(encoding.Hash48(member)); !slices.Contains(rows[at], string(member)) {
				b.t.Fatalf("%q is in former bucket %d only", member, i)
			}
			return true
		})
	}
	if int64(there) != s.old.there.Load() {
		b.t.Fatalf("%d former buckets are there, want %d", s.old.there.Load(), there)
	}
}

// draws draws in both ways and compares with the members that there are.
func (b *bench) draws(m *Members, n uint64, model map[string]bool) {
	b.t.Helper()
	drawn := uint64(0)
	visit := func(p Pair) {
		drawn++
		if !model[string(p.Member)] || b.typ == encoding.Hash && string(p.Value) != "v"+string(p.Member) {
			b.t.Fatalf("drew %q with %q", p.Member, p.Value)
		}
	}
	want := n
	if len(model) == 0 {
		want = 0
	}
	if b.ok(m.Random(n, b.typ == encoding.Hash, visit)); drawn != want {
		b.t.Fatalf("drew %d members instead of %d", drawn, want)
	}
	seen := map[string]bool{}
	b.ok(m.RandomDistinct(n, b.typ == encoding.Hash, func(p Pair) {
		visit(p)
		seen[string(p.Member)] = true
	}))
	if want := min(n, uint64(len(model))); uint64(len(seen)) != want || drawn-n > want && len(model) > 0 {
		b.t.Fatalf("%d different members instead of %d", len(seen), want)
	}
}

// TestSampleModel: whatever is done to a value, its form has what its rows have, and draws are members.
func TestSampleModel(t *testing.T) {
	defer func(was uint64) { recutMost = was }(recutMost)
	for _, typ := range []encoding.Type{encoding.Set, encoding.Hash} {
		b := newBench(t, typ, 16<<20)
		rng := rand.New(rand.NewPCG(1, uint64(typ)))
		model := map[string]bool{}
		change := func(m *Members, most int) {
			for range 1 + rng.IntN(max(1, most/2)) {
				member := fmt.Appendf(nil, "member %d", rng.IntN(most))
				// Values grow and get small again.
				if rng.IntN(4) < 3 {
					_, err := m.Set(member, append([]byte("v"), member...))
					b.ok(err)
					model[string(member)] = true
					continue
				}
				_, err := m.Delete(member)
				b.ok(err)
				delete(model, string(member))
			}
		}
		copied := func() map[string]bool {
			c := map[string]bool{}
			for k := range model {
				c[k] = true
			}
			return c
		}
		for round := range 160 {
			recutMost = uint64(rng.IntN(3)) * 1000
			most := []int{10, 100, 300, 3000}[round/10%4]
			b.run(func(tx *keyspace.Txn, m *Members) {
				if rng.IntN(3) == 0 && m.Len() > 0 {
					b.draws(m, uint64(rng.IntN(20)), model)
				}
				if rng.IntN(8) == 0 && m.Len() > 0 {
					form(tx, m).Shrink(int64(rng.IntN(20_000)))
				}
				change(m, most)
				b.ok(m.Save())
				b.check(tx, m)
				if rng.IntN(3) == 0 {
					b.draws(m, uint64(rng.IntN(2*most)), model)
				}
				if rng.IntN(3) > 0 {
					return
				}
				// A change is taken back, and perhaps the one before with it.
				marks, models := []keyspace.Mark{tx.Mark()}, []map[string]bool{copied()}
				for range 1 + rng.IntN(2) {
					change(m, most)
					b.ok(m.Save())
					if rng.IntN(2) == 0 {
						b.draws(m, uint64(rng.IntN(most)), model)
					}
					marks, models = append(marks, tx.Mark()), append(models, copied())
				}
				for len(marks) > 0 && rng.IntN(3) > 0 {
					last := len(marks) - 1
					tx.Rollback(&marks[last])
					model = models[last]
					marks, models = marks[:last], models[:last]
					*m = b.open(tx)
					b.check(tx, m)
					b.draws(m, uint64(rng.IntN(most)), model)
				}
			})
			if rng.IntN(5) == 0 { // a transaction is given up
				kept := copied()
				tx := b.store.NewTxn()
				tx.Begin(keyspace.ModeWrite, 0, 1000)
				m := b.open(tx)
				b.draws(&m, 3, model)
				change(&m, most)
				b.ok(m.Save())
				tx.Done()
				model = kept
			}
			if rng.IntN(20) == 0 { // another value at the key
				b.run(func(tx *keyspace.Txn, m *Members) {
					_, err := tx.Remove(&m.key)
					b.ok(err)
					*m = b.open(tx)
					clear(model)
					change(m, most)
				})
			}
			b.run(func(tx *keyspace.Txn, m *Members) {
				if int(m.Len()) != len(model) {
					t.Fatalf("%d members instead of %d", m.Len(), len(model))
				}
				b.check(tx, m)
				b.draws(m, uint64(rng.IntN(2*most)), model)
				b.check(tx, m)
			})
		}
	}
}

// fair draws many times, and compares how often each member was drawn.
func (b *bench) fair(what string, m *Members, draw func(visit func(Pair)) error) {
	b.t.Helper()
	seen, drawn := map[string]int{}, 0
	for drawn < int(m.Len())*15 {
		b.ok(draw(func(p Pair) { seen[string(p.Member)]++; drawn++ }))
	}
	chi, mean := 0.0, float64(drawn)/float64(m.Len())
	b.ok(m.Scan(0, func(el keyspace.Element) bool {
		d := float64(seen[string(el.Member)]) - mean
		chi += d * d / mean
		return true
	}))
	free := float64(m.Len() - 1)
	if sd := math.Sqrt(2 * free); chi > free+6*sd+20 { // few members spread wider than the normal distribution
		b.t.Errorf("%s of %d members: chi-squared %.0f", what, m.Len(), chi)
	}
}

// TestSampleIsFair: every member has the same chance, with buckets of all degrees of filling.
func TestSampleIsFair(t *testing.T) {
	b := newBench(t, encoding.Set, 16<<20)
	next := 0
	grow := func(n int) {
		b.run(func(tx *keyspace.Txn, m *Members) {
			for ; int(m.Len()) < n; next++ {
				m.Add(fmt.Appendf(nil, "m%d", next), nil)
			}
		})
	}
	look := func(what string) {
		b.run(func(tx *keyspace.Txn, m *Members) {
			for _, n := range []uint64{1, 7, m.Len() / 2} {
				b.fair(fmt.Sprintf("%s: %d", what, n), m, func(visit func(Pair)) error { return m.Random(n, false, visit) })
				b.fair(fmt.Sprintf("%s: %d different ones", what, n), m,
					func(visit func(Pair)) error { return m.RandomDistinct(n, false, visit) })
			}
		})
	}
	for _, n := range []int{3, 64, 120, 130, 1000, 2900} {
		grow(n)
		look("grown")
	}
	b.run(func(tx *keyspace.Txn, m *Members) {
		s := form(tx, m)
		b.fair("shrunk all the time", m, func(visit func(Pair)) error {
			s.Shrink(s.Size() * 9 / 10)
			return m.Random(5, false, visit)
		})
	})
	for _, n := range []int{1400, 500, 126, 40, 2} {
		b.run(func(tx *keyspace.Txn, m *Members) {
			for int(m.Len()) > n {
				var taken [][]byte
				b.ok(m.RandomDistinct(min(m.Len()-uint64(n), 10), false, func(p Pair) { taken = append(taken, bytes.Clone(p.Member)) }))
				for _, member := range taken {
					m.Take(member)
				}
			}
			b.check(tx, m)
		})
		look("taken from")
	}
}

// TestSampleTaken: which members are left after some were taken is chance, too: each is as likely to be left.
func TestSampleTaken(t *testing.T) {
	b := newBench(t, encoding.Set, 16<<20)
	const n, rounds = 100, 200
	left := map[string]int{}
	for range rounds {
		b.run(func(tx *keyspace.Txn, m *Members) {
			for i := range n {
				_, err := m.Set(fmt.Append(nil, i), nil)
				b.ok(err)
			}
		})
		b.run(func(tx *keyspace.Txn, m *Members) {
			for m.Len() > n/2 {
				var member []byte
				b.ok(m.RandomDistinct(1, false, func(p Pair) { member = bytes.Clone(p.Member) }))
				m.Take(member)
			}
			b.ok(m.Scan(0, func(el keyspace.Element) bool { left[string(el.Member)]++; return true }))
		})
	}
	for i := range n { // binomial: mean 100, standard deviation 7.1
		if times := left[fmt.Sprint(i)]; times < 100-5*8 || times > 100+5*8 {
			t.Errorf("member %d was left %d times of %d", i, times, rounds)
		}
	}
}

// TestSampleShared: readers of a value run at the same time, and complete its form together, while the store takes
// memory back.
func TestSampleShared(t *testing.T) {
	defer func(was uint64) { recutMost = was }(recutMost)
	recutMost = 0 // there are former buckets, too
	b := newBench(t, encoding.Hash, 16<<20)
	const n = 4150 // just so many that the buckets were cut anew
	model := map[string]bool{}
	grow := func(n int) {
		b.run(func(tx *keyspace.Txn, m *Members) {
			for len(model) < n {
				member := fmt.Sprint("member ", len(model))
				m.Add([]byte(member), []byte("v"+member))
				model[member] = true
			}
		})
	}
	grow(2000)
	b.run(func(tx *keyspace.Txn, m *Members) { b.ok(m.RandomDistinct(n/5, false, func(Pair) {})) })
	grow(n)
	b.run(func(tx *keyspace.Txn, m *Members) {
		if s := form(tx, m); s.old == nil || s.old.there.Load() == 0 {
			t.Error("no former buckets")
		}
	})
	var readers atomic.Int32
	readers.Store(4)
	var wg sync.WaitGroup
	wg.Go(func() {
		tx := b.store.NewTxn()
		defer tx.Done()
		tx.Begin(keyspace.ModeRead, 0, 1000)
		m, err := Open(tx, []byte("k"), encoding.Hash)
		if err != nil {
			t.Error(err)
		}
		for readers.Load() > 0 {
			form(tx, &m).Shrink(10_000)
			runtime.Gosched()
		}
	})
	for range 4 {
		wg.Go(func() {
			defer readers.Add(-1)
			tx := b.store.NewTxn()
			defer tx.Done()
			for i := range uint64(200) {
				tx.Reset()
				tx.Begin(keyspace.ModeRead, 0, 1000)
				m, err := Open(tx, []byte("k"), encoding.Hash)
				seen := map[string]bool{}
				visit := func(p Pair) {
					if !model[string(p.Member)] || string(p.Value) != "v"+string(p.Member) {
						t.Errorf("drew %q with %q", p.Member, p.Value)
					}
					seen[string(p.Member)] = true
				}
				if err == nil {
					err = m.Random(1+i%30, true, visit)
				}
				clear(seen)
				count := 1 + i%50
				if i%40 == 0 {
					count = n / 10
				}
				if err == nil {
					err = m.RandomDistinct(count, true, visit)
				}
				if err != nil || len(seen) != int(count) {
					t.Errorf("%d of %d: %v", len(seen), count, err)
				}
			}
		})
	}
	wg.Wait()
	b.run(func(tx *keyspace.Txn, m *Members) { b.check(tx, m) })
}

// TestSampleIsHot: what was drawn from is drawn from without the engine, and stays so when it is changed.
func TestSampleIsHot(t *testing.T) {
	b := newBench(t, encoding.Set, 16<<20)
	const n = 3000
	b.run(func(tx *keyspace.Txn, m *Members) {
		for i := range n {
			m.Add(fmt.Append(nil, i), nil)
		}
	})
	nothing := func(Pair) {}
	b.run(func(tx *keyspace.Txn, m *Members) {
		tx.HotOnly(true)
		if err := m.Random(1, false, nothing); !errors.Is(err, keyspace.ErrCold) {
			t.Errorf("drawn from a value that was not read: %v", err)
		}
		if err := m.RandomDistinct(n/2, false, nothing); !errors.Is(err, keyspace.ErrCold) {
			t.Errorf("drawn from a value that was not read: %v", err)
		}
		tx.HotOnly(false)
		b.ok(m.RandomDistinct(n/2, false, nothing)) // reads all of it
	})
	for round := range 5 {
		b.run(func(tx *keyspace.Txn, m *Members) {
			tx.HotOnly(true)
			for i := range 100 {
				b.ok(m.Random(5, false, nothing))
				b.ok(m.RandomDistinct(50, false, nothing))
				b.ok(m.RandomDistinct(1000, false, nothing))
				b.ok(m.RandomDistinct(n+10, false, nothing))
				b.ok(m.RandomDistinct(1, false, func(p Pair) { m.Take(bytes.Clone(p.Member)) }))
				m.Add(fmt.Append(nil, round, " ", i), nil)
			}
			if err := m.Random(hotDraws+1, false, nothing); !errors.Is(err, keyspace.ErrCold) {
				t.Errorf("so many draws take long: %v", err)
			}
			tx.HotOnly(false)
			if s := form(tx, m); !s.whole() {
				t.Errorf("%d of %d buckets are there", s.loaded.Load(), len(s.buckets))
			}
			b.check(tx, m)
			if round%2 == 0 { // of what is taken back, only the buckets are gone
				mark := tx.Mark()
				m.Add([]byte("too much"), nil)
				b.ok(m.Save())
				tx.Rollback(&mark)
				*m = b.open(tx)
				if s := form(tx, m); s.loaded.Load() != int64(len(s.buckets)-1) {
					t.Errorf("%d of %d buckets are there after a rollback", s.loaded.Load(), len(s.buckets))
				}
				b.ok(m.RandomDistinct(n/2, false, nothing))
			}
		})
	}
}

// TestSampleCrowded: members of which too many lie together, or that are too long, are drawn from the rows.
func TestSampleCrowded(t *testing.T) {
	for _, long := range []bool{false, true} {
		b := newBench(t, encoding.Set, 16<<20)
		model := map[string]bool{}
		tail := ""
		most, n := encoding.HashEnd>>12, bucketMost+10
		if long {
			tail, most, n = string(make([]byte, 4<<10)), encoding.HashEnd, 60
		}
		for i := 0; len(model) < n; i++ {
			if member := fmt.Sprint(i, tail); encoding.Hash48([]byte(member)) < uint64(most) {
				model[member] = true
			}
		}
		b.run(func(tx *keyspace.Txn, m *Members) {
			i := 0
			for member := range model {
				if m.Add([]byte(member), nil); i == 50 && !long {
					b.ok(m.Random(1, false, func(Pair) {})) // there is a form from now on
				}
				i++
			}
		})
		b.run(func(tx *keyspace.Txn, m *Members) {
			for _, n := range []uint64{1, 5, 30, 700} {
				b.draws(m, n, model)
			}
			if !form(tx, m).crowded.Load() {
				t.Error("the buckets are not too full")
			}
		})
	}
}

// TestSampleBudget: a value whose buckets would not fit has no form, and no other is lost for it.
func TestSampleBudget(t *testing.T) {
	b := newBench(t, encoding.Set, 64<<10)
	model := map[string]bool{}
	b.run(func(tx *keyspace.Txn, m *Members) {
		for i := range 20_000 {
			m.Add(fmt.Append(nil, i), nil)
			model[fmt.Sprint(i)] = true
		}
	})
	b.run(func(tx *keyspace.Txn, m *Members) {
		if s, err := m.sample(1, m.Len(), false); s != nil || err != nil {
			t.Errorf("%v, %v", s, err)
		}
		b.draws(m, 10, model)
		b.draws(m, 3000, model)
	})
}

// TestSampleExpires: fields past their deadline are not drawn, whether somebody has removed them or not; then they are
// in the form no more.
func TestSampleExpires(t *testing.T) {
	b := newBench(t, encoding.Hash, 16<<20)
	lasting, all := map[string]bool{}, map[string]bool{}
	b.run(func(tx *keyspace.Txn, m *Members) {
		for i := range 400 {
			field, deadline := fmt.Sprint(i), int64(0)
			if i%2 == 0 {
				deadline = 2000
			}
			m.AddTimed([]byte(field), []byte("v"+field), deadline)
			if all[field] = true; deadline == 0 {
				lasting[field] = true
			}
		}
	})
	at := func(now int64, mode keyspace.Mode, f func(tx *keyspace.Txn, m *Members)) {
		tx := b.store.NewTxn()
		defer tx.Done()
		tx.Begin(mode, 0, now)
		m := b.open(tx)
		f(tx, &m)
		if !tx.Empty() {
			b.ok(b.store.Apply([]*keyspace.Txn{tx}, b.store.Applied()+1, 0))
			b.store.Settle(tx)
		}
	}
	for _, n := range []uint64{3, 50, 300} {
		at(1000, keyspace.ModeRead, func(_ *keyspace.Txn, m *Members) { b.draws(m, n, all) })
		at(3000, keyspace.ModeRead, func(_ *keyspace.Txn, m *Members) { b.draws(m, n, lasting) })
	}
	at(3000, keyspace.ModeWrite, func(tx *keyspace.Txn, m *Members) {
		_, err := m.ExpireDue(150, 1<<20)
		b.ok(err)
		b.check(tx, m)
		b.draws(m, 50, lasting)
		_, err = m.ExpireDue(150, 1<<20)
		b.ok(err)
	})
	at(3000, keyspace.ModeRead, func(tx *keyspace.Txn, m *Members) {
		if s := form(tx, m); !s.whole() || m.Len() != 200 {
			t.Errorf("%d of %d buckets are there, %d fields", s.loaded.Load(), len(s.buckets), m.Len())
		}
		b.check(tx, m)
		b.draws(m, 50, lasting)
	})
}
