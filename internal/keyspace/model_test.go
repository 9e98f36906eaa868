package keyspace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"haypile/internal/encoding"
	"haypile/internal/slot"
	"haypile/internal/storage"
)

// value is a key's value in the model. Values are never changed, only replaced.
type value struct {
	str      string
	elements map[string]string // nil: a string
	deadline int64
}

const modelDBs = 3

// model is the contents of all databases. Keys past their deadline are in it until a transaction deletes
// them, as in the store.
type model [modelDBs]map[string]value

func (m model) clone() model {
	for i := range m {
		if m[i] = maps.Clone(m[i]); m[i] == nil {
			m[i] = map[string]value{}
		}
	}
	return m
}

// modelTest runs transactions on a store and on the model.
type modelTest struct {
	t      *testing.T
	rng    *rand.Rand
	mem    *storage.Mem
	engine *storage.Engine
	store  *Store
	cache  int64
	// deferred: see Options.Defer.
	deferred bool
	now      int64
	offset   int64
	// unsettled counts the crashes between Apply and Settle of a transaction that has erased something.
	unsettled int
	state     model
	// history is the state at each offset since the last crash.
	history map[int64]model
}

func openStore(t *testing.T, mem *storage.Mem, cache int64) (*storage.Engine, *Store) {
	t.Helper()
	engine, err := storage.Open(storage.Options{Dir: "engine", Mem: mem, CacheBytes: 8 << 20,
		MemtableBytes: 1 << 20, Memtables: 4})
	if err != nil {
		t.Fatal(err)
	}
	store, err := Open(engine, Options{Databases: modelDBs, CacheBytes: cache, StartOffset: 100})
	if err != nil {
		t.Fatal(err)
	}
	return engine, store
}

func (m *modelTest) open() {
	m.engine, m.store = openStore(m.t, m.mem, m.cache)
	m.store.opt.Defer = m.deferred
	m.store.many = 4
	m.offset = m.store.Applied()
}

func (m *modelTest) key() string    { return fmt.Sprintf("k%d", m.rng.IntN(15)) }
func (m *modelTest) member() string { return fmt.Sprintf("m%d", m.rng.IntN(200)) }
func (m *modelTest) text() string {
	n := 20
	if m.rng.IntN(50) == 0 {
		n = 30_000
	}
	b := make([]byte, m.rng.IntN(n))
	for i := range b {
		b[i] = byte(m.rng.IntN(256))
	}
	return string(b)
}

func (m *modelTest) deadline() int64 {
	if m.rng.IntN(2) == 0 {
		return 0
	}
	return m.now + m.rng.Int64N(100) + 1
}

// lookup reads a key for a change and checks it against the model.
func (m *modelTest) lookup(tx *Txn, s model, db int, key string) (Entry, value, bool) {
	m.t.Helper()
	e, err := tx.LookupIn(db, []byte(key))
	if err != nil {
		m.t.Fatal(err)
	}
	v, ok := s[db][key]
	if ok && v.deadline != 0 && v.deadline <= m.now {
		ok = false
		if tx.mode == ModeWrite {
			delete(s[db], key)
		}
	}
	m.compare(tx, &e, v, ok)
	return e, v, ok
}

// compare checks what a transaction sees of a key.
func (m *modelTest) compare(tx *Txn, e *Entry, v value, ok bool) {
	m.t.Helper()
	if e.Found != ok {
		panic(fmt.Sprintf("%s: found %v, want %v %+v %+v", e.User, e.Found, ok, v, e))
	}
	if !ok {
		return
	}
	if e.Meta.Deadline != v.deadline {
		m.t.Fatalf("%s: deadline %d, want %d", e.User, e.Meta.Deadline, v.deadline)
	}
	if v.elements == nil {
		m.compareString(tx, e, v.str)
		return
	}
	m.compareOrdered(tx, e, v)
	if e.Type() != encoding.Hash || e.Meta.Count != uint64(len(v.elements)) {
		m.t.Fatalf("%s: %v of %d, want %d elements", e.User, e.Type(), e.Meta.Count, len(v.elements))
	}
	seen, last := 0, uint64(0)
	if m.rng.IntN(4) == 0 {
		if err := tx.ScanElements(e, &e.Meta, 0, func(el Element) bool {
			if x, ok := v.elements[string(el.Member)]; !ok || x != string(el.Value) || el.Hash < last {
				m.t.Fatalf("%s: member %s is %.40q, want %.40q", e.User, el.Member, el.Value, x)
			}
			last = el.Hash
			seen++
			return true
		}); err != nil || seen != len(v.elements) {
			m.t.Fatalf("%s: scan saw %d of %d: %v", e.User, seen, len(v.elements), err)
		}
	}
	for range 5 {
		member := m.member()
		x, found, err := tx.GetElement(e, &e.Meta, []byte(member))
		want, exists := v.elements[member]
		if err != nil || found != exists || string(x) != want {
			m.t.Fatalf("%s: member %s is %.40q %v, want %.40q %v: %v", e.User, member, x, found, want, exists, err)
		}
	}
}

// compareOrdered walks over the ordered rows of a collection, one for each member, up or down from somewhere.
func (m *modelTest) compareOrdered(tx *Txn, e *Entry, v value) {
	m.t.Helper()
	if m.rng.IntN(4) > 0 {
		return
	}
	want := slices.Sorted(maps.Keys(v.elements))
	from := ""
	var to []byte
	if m.rng.IntN(2) == 0 {
		a, b := m.member(), m.member()
		from, to = min(a, b), []byte(max(a, b))
		want = slices.DeleteFunc(want, func(s string) bool { return s < from || s >= string(to) })
	}
	var got []string
	visit := func(k, _ []byte) bool { got = append(got, string(k)); return true }
	if m.rng.IntN(2) == 0 {
		m.check(tx.ScanOrdered(e, &e.Meta, []byte(from), to, visit))
	} else {
		m.check(tx.ScanOrderedBack(e, &e.Meta, []byte(from), to, visit))
		slices.Reverse(got)
	}
	if !slices.Equal(got, want) {
		m.t.Fatalf("%s: ordered rows %q, want %q", e.User, got, want)
	}
	for range 3 {
		member := m.member()
		_, found, err := tx.GetIndex(e, &e.Meta, []byte(member))
		if _, want := v.elements[member]; err != nil || found != want {
			m.t.Fatalf("%s: ordered row %s found %v, want %v: %v", e.User, member, found, want, err)
		}
	}
}

func (m *modelTest) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// step makes one random change to a key in tx and s.
func (m *modelTest) step(tx *Txn, s model) {
	db, key := m.rng.IntN(modelDBs), m.key()
	e, v, ok := m.lookup(tx, s, db, key)
	switch m.rng.IntN(15) {
	case 12, 13, 14:
		m.writeString(tx, s, &e, v, ok, db)
	case 0, 1, 2:
		n := value{str: m.longText(), deadline: m.deadline()}
		m.check(tx.PutString(&e, []byte(n.str), n.deadline))
		s[db][key] = n
	case 3:
		was, err := tx.Remove(&e)
		m.check(err)
		if was != ok {
			m.t.Fatalf("%s: removed %v, want %v", key, was, ok)
		}
		delete(s[db], key)
	case 4:
		if ok {
			v.deadline = m.deadline()
			m.check(tx.SetDeadline(&e, v.deadline))
			s[db][key] = v
		}
	case 5, 6:
		m.fill(tx, s, &e, v, ok, db)
	case 7, 8:
		if ok && v.elements != nil {
			m.removeMembers(tx, s, &e, v, db)
		}
	default:
		if ok {
			m.transfer(tx, s, &e, v, db)
		}
	}
}

// fill stores members of a hash, new or old.
func (m *modelTest) fill(tx *Txn, s model, e *Entry, v value, ok bool, db int) {
	meta := e.Meta
	n := value{elements: map[string]string{}, deadline: v.deadline}
	if ok && v.elements != nil {
		n.elements = maps.Clone(v.elements)
	} else {
		meta = tx.NewCollection(e, encoding.Hash)
		n.deadline = 0
		if m.rng.IntN(2) == 0 {
			m.fillNew(tx, e, &meta, n)
			m.check(tx.Put(e, meta))
			s[db][string(e.User)] = n
			return
		}
	}
	for range m.rng.IntN(40) + 1 {
		member, x := m.member(), m.text()
		_, found, err := tx.GetElement(e, &meta, []byte(member))
		m.check(err)
		tx.PutElement(e, &meta, []byte(member), []byte(x))
		tx.PutIndex(e, &meta, []byte(member), nil)
		if !found {
			meta.Count++
		}
		n.elements[member] = x
	}
	m.check(tx.Put(e, meta))
	s[db][string(e.User)] = n
}

// fillNew stores the members of a new hash ahead, if they are many.
func (m *modelTest) fillNew(tx *Txn, e *Entry, meta *encoding.Meta, n value) {
	tx.Fill(e, meta)
	for range m.rng.IntN(40) + 1 {
		n.elements[m.member()] = m.text()
	}
	for member, x := range n.elements {
		tx.PutElement(e, meta, []byte(member), []byte(x))
		tx.PutIndex(e, meta, []byte(member), nil)
	}
	meta.Count = uint64(len(n.elements))
	if m.rng.IntN(2) == 0 {
		m.check(tx.Flushed(meta))
		rows := 0
		m.check(tx.ScanElements(e, meta, 0, func(Element) bool { rows++; return true }))
		if rows != len(n.elements) {
			m.t.Fatalf("%d members of %d can be walked over", rows, len(n.elements))
		}
	}
	m.check(tx.Filled(meta))
}

// removeMany removes members by other ways than one by one: a range is cut out of the ordered rows, or they are erased.
func (m *modelTest) removeMany(tx *Txn, e *Entry, meta *encoding.Meta, elements map[string]string) {
	gone := tx.Eraser(e, meta)
	a, b := m.member(), m.member()
	from, to := min(a, b), max(a, b)
	cut := m.rng.IntN(2) == 0
	for _, member := range slices.Sorted(maps.Keys(elements)) {
		if cut && (member < from || member >= to) || !cut && m.rng.IntN(3) == 0 {
			continue
		}
		gone.Element([]byte(member))
		if !cut {
			gone.Index([]byte(member))
		}
		meta.Count--
		delete(elements, member)
	}
	m.check(gone.Done())
	if cut {
		tx.CutOrdered(e, meta, []byte(from), []byte(to))
	}
}

func (m *modelTest) removeMembers(tx *Txn, s model, e *Entry, v value, db int) {
	meta := e.Meta
	n := value{elements: maps.Clone(v.elements), deadline: v.deadline}
	if m.rng.IntN(2) == 0 {
		m.removeMany(tx, e, &meta, n.elements)
	} else {
		for _, member := range slices.Sorted(maps.Keys(v.elements)) {
			if m.rng.IntN(3) == 0 {
				continue
			}
			tx.RemoveElement(e, &meta, []byte(member))
			tx.RemoveIndex(e, &meta, []byte(member))
			meta.Count--
			delete(n.elements, member)
		}
	}
	if meta.Count > 0 {
		m.check(tx.Put(e, meta))
		s[db][string(e.User)] = n
		return
	}
	_, err := tx.Remove(e)
	m.check(err)
	delete(s[db], string(e.User))
}

// transfer moves or copies the value to another key, perhaps of another database.
func (m *modelTest) transfer(tx *Txn, s model, e *Entry, v value, db int) {
	to, toDB := m.key(), m.rng.IntN(modelDBs)
	if toDB == db && to == string(e.User) {
		return
	}
	dst, _, _ := m.lookup(tx, s, toDB, to)
	_, err := tx.Remove(&dst)
	m.check(err)
	if m.rng.IntN(2) == 0 {
		m.check(tx.Copy(e, &dst))
	} else {
		m.check(tx.Move(e, &dst))
		delete(s[db], string(e.User))
	}
	s[toDB][to] = v
}

// transaction runs a few steps, some of them rolled back, and applies them.
func (m *modelTest) transaction() {
	m.now += m.rng.Int64N(20)
	tx := m.store.NewTxn()
	defer tx.Done()
	tx.Begin(ModeWrite, m.rng.IntN(modelDBs), m.now)
	s := m.state.clone()
	for range m.rng.IntN(5) + 1 {
		mark, before := tx.Mark(), s.clone()
		switch m.rng.IntN(60) {
		case 0:
			db := m.rng.IntN(modelDBs)
			tx.Flush(db)
			s[db] = map[string]value{}
		case 1:
			a, b := m.rng.IntN(modelDBs), m.rng.IntN(modelDBs)
			tx.Swap(a, b)
			s[a], s[b] = s[b], s[a]
		default:
			m.step(tx, s)
		}
		if m.rng.IntN(4) == 0 {
			tx.Rollback(&mark)
			s = before
		}
		if m.rng.IntN(3) == 0 {
			m.scanAll(tx, s)
		}
		for db := range modelDBs {
			if n := tx.Keys(db); n != int64(len(s[db])) {
				m.t.Fatalf("database %d: transaction counts %d keys, want %d", db, n, len(s[db]))
			}
		}
	}
	if tx.Empty() {
		return
	}
	m.offset += int64(len(tx.effects)) + 10
	m.check(m.store.Apply([]*Txn{tx}, m.offset, 0))
	m.state = s
	m.history[m.offset] = s
	if len(tx.erased) > 0 && (m.unsettled == 0 || m.rng.IntN(4) == 0) {
		// A crash before what was listed is deleted.
		m.unsettled++
		m.check(errors.Join(m.store.Drain(), m.engine.Flush()))
		m.crash()
		return
	}
	m.store.Settle(tx)
}

// scanAll compares a walk over a database as the transaction sees it.
func (m *modelTest) scanAll(tx *Txn, s model) {
	m.t.Helper()
	db, seen := m.rng.IntN(modelDBs), map[string]bool{}
	from, last := slot.Slot(m.rng.IntN(slot.Count)), uint64(0)
	if m.rng.IntN(2) == 0 {
		from = 0
	}
	m.check(tx.ScanKeys(db, from, 0, func(k *FoundKey) bool {
		if at := encoding.Cursor(k.Slot, k.Hash); at < last {
			m.t.Fatalf("%s out of order", k.User)
		} else {
			last = at
		}
		v, ok := s[db][string(k.User)]
		if !ok || seen[string(k.User)] || v.elements == nil && k.Meta.Length() != int64(len(v.str)) {
			m.t.Fatalf("scan of %d met %s", db, k.User)
		}
		seen[string(k.User)] = true
		return true
	}))
	for key, v := range s[db] {
		hidden := v.deadline != 0 && v.deadline <= m.now
		if want := !hidden && slot.Of([]byte(key)) >= from; seen[key] != want {
			m.t.Fatalf("scan of %d from %d: met %s %v, want %v", db, from, key, seen[key], want)
		}
	}
}

// verify compares everything that the store shows with the model, and looks for rows that nothing owns.
func (m *modelTest) verify() {
	m.t.Helper()
	if err := verifyStore(m.store, m.state); err != nil {
		m.t.Fatal(err)
	}
	tx := m.store.NewTxn()
	tx.Begin(ModeApply, 0, m.now)
	for db := range m.state {
		for key, v := range m.state[db] {
			e, err := tx.LookupIn(db, []byte(key))
			m.check(err)
			m.compare(tx, &e, v, true)
		}
	}
}

func verifyStore(store *Store, want model) error {
	snap, err := store.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	owned := map[encoding.Collection]bool{}
	due := map[string]int64{}
	for db := range want {
		keys, expires := 0, 0
		var bad error
		err := snap.Keys(db, func(k *FoundKey) bool {
			keys++
			v, ok := want[db][string(k.User)]
			if !ok || v.deadline != k.Meta.Deadline {
				bad = fmt.Errorf("database %d: %s has deadline %d, want %d %v", db, k.User, k.Meta.Deadline, v.deadline,
					ok)
				return false
			}
			if v.deadline != 0 {
				expires++
				due[fmt.Sprint(db, string(k.User))] = v.deadline
			}
			if v.elements == nil {
				if k.Meta.InRows() {
					owned[k.Meta.ID] = true
				}
				var got []byte
				bad = snap.Rows(db, &k.Meta).String(func(part []byte) error {
					got = append(got, part...)
					return nil
				})
				if bad == nil && string(got) != v.str {
					bad = fmt.Errorf("%s is %.40q, want %.40q", k.User, got, v.str)
				}
				return bad == nil
			}
			if owned[k.Meta.ID] {
				bad = fmt.Errorf("collection %d has two keys", k.Meta.ID)
				return false
			}
			owned[k.Meta.ID] = true
			n := 0
			bad = snap.Elements(db, &k.Meta, func(el Element) bool {
				n++
				if x, ok := v.elements[string(el.Member)]; !ok || x != string(el.Value) {
					n = -1 << 30
				}
				return true
			})
			ordered := 0
			if bad == nil {
				bad = snap.ScanOrdered(db, &k.Meta, nil, nil, func(k, _ []byte) bool {
					if _, ok := v.elements[string(k)]; ok {
						ordered++
					} else {
						ordered = -1 << 30
					}
					return true
				})
			}
			if bad == nil && ordered != n {
				bad = fmt.Errorf("%s: %d ordered rows, %d elements", k.User, ordered, n)
			}
			if bad == nil && (n != len(v.elements) || k.Meta.Count != uint64(n)) {
				bad = fmt.Errorf("%s: %d elements, count %d, want %d", k.User, n, k.Meta.Count, len(v.elements))
			}
			return bad == nil
		})
		if err == nil {
			err = bad
		}
		if err != nil {
			return err
		}
		k, e := store.Counts(db)
		if keys != len(want[db]) || k != int64(keys) || e != int64(expires) {
			return fmt.Errorf("database %d: %d keys (%d counted), %d counted with deadline, want %d and %d",
				db, keys, k, e, len(want[db]), expires)
		}
	}
	found, err := store.Due(math.MaxInt64, math.MaxInt)
	if err != nil {
		return err
	}
	for _, d := range found {
		if id := fmt.Sprint(d.DB, string(d.User)); due[id] != d.Deadline {
			return fmt.Errorf("expiry index: %s at %d, want %d", id, d.Deadline, due[id])
		}
	}
	if len(found) != len(due) {
		return fmt.Errorf("expiry index has %d keys, want %d", len(found), len(due))
	}
	return noOrphans(store, owned)
}

// noOrphans checks that every element belongs to a live collection, or will be reclaimed.
func noOrphans(store *Store, owned map[encoding.Collection]bool) error {
	live := map[encoding.Space]bool{}
	for _, d := range store.state.Databases {
		live[d.Space] = true
	}
	it, err := store.engine.Iter([]byte{0}, []byte{0xff})
	if err != nil {
		return err
	}
	var bad error
	for ok := it.First(); ok; ok = it.Next() {
		if sp, _, id, ok := encoding.ParseGarbage(it.Key()); ok && live[sp] {
			if owned[id] {
				bad = fmt.Errorf("collection %d is both live and garbage", id)
			}
			owned[id] = true
		}
		if sp, ok := encoding.ParseRetired(it.Key()); ok {
			if live[sp] {
				bad = fmt.Errorf("space %d is both live and retired", sp)
			}
		}
	}
	for ok := it.First(); ok && bad == nil; ok = it.Next() {
		k := it.Key()
		if _, _, isElement := encoding.ParseElement(k); !isElement {
			continue
		}
		sp := encoding.Space(uint32(k[1])<<24 | uint32(k[2])<<16 | uint32(k[3])<<8 | uint32(k[4]))
		var id encoding.Collection
		for _, b := range k[8:16] {
			id = id<<8 | encoding.Collection(b)
		}
		if live[sp] && !owned[id] {
			bad = fmt.Errorf("element row %x belongs to nothing", k)
		}
	}
	if err := it.Close(); err != nil {
		return err
	}
	return bad
}

// crash forgets what was not durable, and checks that what is left is the state at some offset.
func (m *modelTest) crash() {
	m.t.Helper()
	if m.rng.IntN(2) == 0 {
		m.check(m.engine.Flush())
	}
	clone := m.mem.CrashClone(rand.New(rand.NewPCG(m.rng.Uint64(), 1)), []int{0, 50, 100}[m.rng.IntN(3)])
	m.check(errors.Join(m.store.Close(false), m.engine.CloseUnflushed()))
	lost := m.offset
	m.mem = clone
	m.open()
	state, known := m.history[m.offset]
	if !known || m.offset > lost {
		m.t.Fatalf("after a crash at %d the offset is %d, which never was", lost, m.offset)
	}
	m.state = state
	if m.rng.IntN(2) == 0 {
		m.check(m.store.FillFilter(context.Background()))
	}
	m.verify()
	m.history = map[int64]model{m.offset: state}
}

func TestModel(t *testing.T) {
	for seed, cache := range []int64{0, 4 << 20, 80 << 10 * cacheShards, 0, 4 << 20, 80 << 10 * cacheShards} {
		deferred := seed >= 3
		t.Run(fmt.Sprintf("cache %d, deferred %v", cache, deferred), func(t *testing.T) {
			m := &modelTest{t: t, rng: rand.New(rand.NewPCG(uint64(seed), 3)), mem: storage.NewMem(), cache: cache,
				now: 1000, deferred: deferred}
			m.open()
			defer func() { _ = errors.Join(m.store.Close(false), m.engine.CloseUnflushed()) }()
			m.state = model{}.clone()
			m.history = map[int64]model{m.offset: m.state}
			for i := range 600 {
				m.transaction()
				switch {
				case i%60 == 59:
					m.verify()
				case i%70 == 69:
					m.check(m.engine.Flush())
					_, err := m.store.RefreshDurable()
					m.check(err)
					_, err = m.store.Reclaim(context.Background(), 1+m.rng.IntN(300))
					m.check(err)
				case i%150 == 148:
					m.crash()
				}
			}
			m.crash()
			for more := true; more; {
				var err error
				more, err = m.store.Reclaim(context.Background(), 1000)
				m.check(err)
			}
			m.check(m.store.Drain())
			m.check(m.engine.Flush())
			_, err := m.store.Reclaim(context.Background(), 1000)
			m.check(err)
			m.verify()
			it, err := m.engine.Iter([]byte{byte(encoding.TableGarbage)}, []byte{0xff})
			m.check(err)
			for ok := it.First(); ok; ok = it.Next() {
				t.Errorf("row %x was not reclaimed", it.Key())
			}
			m.check(it.Close())
			if m.unsettled == 0 {
				t.Error("no crash came between the commit and the end of an erasure")
			}
		})
	}
}
