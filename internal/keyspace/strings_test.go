package keyspace

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"haypile/internal/encoding"
	"haypile/internal/storage"
)

// boundary is a place near the end of what is whole, or near the end of a piece.
func boundary(rng *rand.Rand) int {
	near := []int{0, 1 << pieceBits, 2 << pieceBits, maxWhole, maxWhole + 1<<pieceBits, maxWhole + 5<<pieceBits, maxCached}
	return max(0, near[rng.IntN(len(near))]+rng.IntN(9)-4)
}

// longText is a text, of which some are long enough for pieces; some of those have gaps.
func (m *modelTest) longText() string {
	if m.rng.IntN(4) > 0 {
		return m.text()
	}
	b := make([]byte, boundary(m.rng))
	for at := m.rng.IntN(1 << pieceBits); at < len(b); at += m.rng.IntN(3<<pieceBits) + 1 {
		copy(b[at:], m.text())
	}
	return string(b)
}

// writeString overwrites a part of a string, and grows it.
func (m *modelTest) writeString(tx *Txn, s model, e *Entry, v value, ok bool, db int) {
	if ok && v.elements != nil {
		return
	}
	n := value{deadline: v.deadline}
	if !ok {
		n.deadline, v.str = 0, ""
	}
	for range m.rng.IntN(4) + 1 {
		at := []int{len(v.str), boundary(m.rng), m.rng.IntN(len(v.str) + 1)}[m.rng.IntN(3)]
		part := []byte(m.text())
		if m.rng.IntN(4) == 0 {
			part = make([]byte, len(part))
		}
		if m.rng.IntN(5) == 0 {
			part = nil
			m.check(tx.GrowString(e, int64(at)))
		} else {
			m.check(tx.WriteString(e, int64(at), part))
		}
		b := make([]byte, max(len(v.str), at+len(part)))
		copy(b, v.str)
		copy(b[at:], part)
		v.str = string(b)
	}
	if !e.Found { // GrowString to nothing
		return
	}
	n.str = v.str
	s[db][string(e.User)] = n
	m.compareString(tx, e, n.str)
}

// compareString reads a string in all ways.
func (m *modelTest) compareString(tx *Txn, e *Entry, want string) {
	m.t.Helper()
	if e.Type() != encoding.String || e.Meta.Length() != int64(len(want)) {
		m.t.Fatalf("%s: %v of length %d, want %d", e.User, e.Type(), e.Meta.Length(), len(want))
	}
	if _, whole := e.Meta.Whole(); !whole && len(want) <= maxWhole || whole && len(want) > maxWhole {
		m.t.Fatalf("%s: length %d, whole %v", e.User, len(want), whole)
	}
	got, err := tx.String(e)
	m.check(err)
	if string(got) != want {
		m.t.Fatalf("%s: %.40q, want %.40q", e.User, got, want)
	}
	from := m.rng.IntN(len(want) + 1)
	to := from + m.rng.IntN(len(want)-from+1)
	if m.rng.IntN(2) == 0 {
		to = min(from+9, len(want))
	}
	got, err = tx.StringPart(e, int64(from), int64(to-from))
	m.check(err)
	if string(got) != want[from:to] {
		m.t.Fatalf("%s from %d to %d: %.40q, want %.40q", e.User, from, to, got, want[from:to])
	}
	past := make([]byte, to-from+3)
	m.check(tx.ReadString(e, int64(from), past))
	padded := make([]byte, len(past))
	copy(padded, want[from:])
	if !bytes.Equal(past, padded) {
		m.t.Fatalf("%s from %d: %.40q, want %.40q", e.User, from, past, padded)
	}
	parts := want
	m.check(tx.EachPart(e, 0, int64(len(want)), func(part []byte) error {
		if string(part) != parts[:len(part)] {
			return fmt.Errorf("%s: a part differs", e.User)
		}
		parts = parts[len(part):]
		return nil
	}))
	if parts != "" {
		m.t.Fatalf("%s: %d bytes are missing", e.User, len(parts))
	}
}

// rows are the rows of the engine behind a prefix, by key.
func rows(t *testing.T, s *Store, prefix []byte) (n, size int) {
	t.Helper()
	it, err := s.engine.Iter(prefix, encoding.PrefixEnd(prefix))
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		n, size = n+1, size+len(it.Value())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n, size
}

type stringTest struct {
	*testing.T
	store  *Store
	offset int64
}

// do runs f in a transaction and commits it.
func (s *stringTest) do(f func(tx *Txn)) (rows int) {
	s.Helper()
	tx := s.store.NewTxn()
	defer tx.Done()
	tx.Begin(ModeWrite, 0, 1000)
	f(tx)
	rows = len(tx.rows.rows)
	s.offset += 10
	if err := s.store.Apply([]*Txn{tx}, s.store.Applied()+10, 0); err != nil {
		s.Fatal(err)
	}
	s.store.Settle(tx)
	return rows
}

func (s *stringTest) lookup(tx *Txn, key string) *Entry {
	s.Helper()
	e, err := tx.Lookup([]byte(key))
	if err != nil {
		s.Fatal(err)
	}
	return &e
}

func (s *stringTest) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func newStringTest(t *testing.T, cache int64) *stringTest {
	engine, store := openStore(t, storage.NewMem(), cache)
	t.Cleanup(func() { _ = errors.Join(store.Close(false), engine.CloseUnflushed()) })
	return &stringTest{T: t, store: store}
}

// A change in a large string writes one piece and, only if it grows, the metadata. Gaps take no room.
func TestPiecesAreChangedAlone(t *testing.T) {
	s := newStringTest(t, 4<<20)
	const length = 100 << 20
	data := []byte{byte(encoding.TableData)}
	if n := s.do(func(tx *Txn) { s.must(tx.WriteString(s.lookup(tx, "k"), length-1, []byte("x"))) }); n != 2 {
		t.Errorf("a string of zeros and one byte is %d rows", n)
	}
	if n, size := rows(t, s.store, data); n != 2 || size > 2<<pieceBits {
		t.Errorf("%d rows of %d bytes", n, size)
	}
	if n := s.do(func(tx *Txn) { s.must(tx.WriteString(s.lookup(tx, "k"), 50<<20, []byte("y"))) }); n != 1 {
		t.Errorf("a byte within it is %d rows", n)
	}
	if n := s.do(func(tx *Txn) { s.must(tx.WriteString(s.lookup(tx, "k"), 60<<20, make([]byte, 4))) }); n != 0 {
		t.Errorf("zeros on zeros are %d rows", n)
	}
	if n := s.do(func(tx *Txn) {
		for i := range 1000 {
			s.must(tx.WriteString(s.lookup(tx, "k"), length+int64(i), []byte("z")))
		}
	}); n != 2 {
		t.Errorf("a thousand bytes at the end, one by one, are %d rows", n)
	}
	// Dropping it is one row, and reclaimed later.
	if n := s.do(func(tx *Txn) { s.must(tx.PutString(s.lookup(tx, "k"), []byte("short"), 0)) }); n != 2 {
		t.Errorf("overwriting it is %d rows", n)
	}
	for more := true; more; {
		var err error
		more, err = s.store.Reclaim(t.Context(), 100)
		s.must(err)
	}
	if n, _ := rows(t, s.store, data); n != 1 {
		t.Errorf("%d rows are left", n)
	}
}

// Many changes of one value in a transaction cost one row, and can be taken back one by one.
func TestChangesInPlace(t *testing.T) {
	for _, length := range []int{12304, maxWhole, maxWhole + 1, 5 << pieceBits} {
		s := newStringTest(t, 4<<20)
		want := bytes.Repeat([]byte("a"), length)
		s.do(func(tx *Txn) { s.must(tx.PutString(s.lookup(tx, "k"), want, 5000)) })
		n := s.do(func(tx *Txn) {
			for i := range 900 {
				mark := tx.Mark()
				at := i * 7 % (1 << pieceBits)
				s.must(tx.WriteString(s.lookup(tx, "k"), int64(at), []byte{byte(i), byte(i >> 8)}))
				if i%3 == 0 {
					tx.Rollback(&mark)
					continue
				}
				copy(want[at:], []byte{byte(i), byte(i >> 8)})
			}
			got, err := tx.String(s.lookup(tx, "k"))
			if s.must(err); !bytes.Equal(got, want) {
				t.Errorf("length %d: other bytes in the transaction", length)
			}
		})
		if n > 1 {
			t.Errorf("length %d: %d rows", length, n)
		}
		s.do(func(tx *Txn) {
			e := s.lookup(tx, "k")
			got, err := tx.String(e)
			if s.must(err); !bytes.Equal(got, want) || e.Meta.Deadline != 5000 {
				t.Errorf("length %d: other bytes after it", length)
			}
		})
	}
}

// A large value neither fills the hot cache when it is written nor when it is read.
func TestLargeStringsPassTheCacheBy(t *testing.T) {
	s := newStringTest(t, 8<<20)
	for i := range 100 {
		s.do(func(tx *Txn) { s.must(tx.PutString(s.lookup(tx, fmt.Sprint("k", i)), make([]byte, 1000), 0)) })
	}
	before := s.store.cache.bytes()
	s.do(func(tx *Txn) { s.must(tx.PutString(s.lookup(tx, "large"), bytes.Repeat([]byte("x"), 7<<20), 0)) })
	s.do(func(tx *Txn) {
		e, n := s.lookup(tx, "large"), 0
		s.must(tx.EachPart(e, 0, e.Meta.Length(), func(part []byte) error {
			n += len(part)
			return nil
		}))
		if n != 7<<20 {
			t.Errorf("read %d bytes", n)
		}
		if tx.mem.size() > 1<<20 {
			t.Errorf("reading it took %d bytes", tx.mem.size())
		}
		s.must(tx.ReadString(e, 0, make([]byte, 64<<10)))
	})
	if after := s.store.cache.bytes(); after > before+64<<10 {
		t.Errorf("the cache has grown from %d to %d bytes", before, after)
	}
	tx := s.store.NewTxn()
	defer tx.Done()
	tx.Begin(ModeRead, 0, 1000)
	tx.HotOnly(true)
	e := s.lookup(tx, "large")
	if err := tx.EachPart(e, 0, e.Meta.Length(), func([]byte) error { return nil }); !errors.Is(err, ErrCold) {
		t.Errorf("a large string was read where nothing may take long: %v", err)
	}
}

// TestAllZero: of a string that is nearly all zeros, a walk is told which parts those are, and they are zeros.
func TestAllZero(t *testing.T) {
	s := newStringTest(t, 8<<20)
	s.do(func(tx *Txn) { s.must(tx.WriteString(s.lookup(tx, "sparse"), 10<<20, []byte("x"))) })
	s.do(func(tx *Txn) {
		e := s.lookup(tx, "sparse")
		zeros, others := 0, 0
		s.must(tx.EachPart(e, 1, e.Meta.Length(), func(part []byte) error {
			if len(bytes.Trim(part, "\x00")) == 0 && AllZero(part) {
				zeros += len(part)
				return nil
			}
			if AllZero(part) {
				t.Errorf("%q is not all zero", part)
			}
			others += len(part)
			return nil
		}))
		if zeros+others != 10<<20 || others > 1<<pieceBits {
			t.Errorf("%d bytes of zeros and %d others", zeros, others)
		}
	})
}

func TestScanStrings(t *testing.T) {
	s := newStringTest(t, 4<<20)
	want := map[string]string{"short": "a", "long": string(bytes.Repeat([]byte("b"), maxWhole+5)), "changed": ""}
	s.do(func(tx *Txn) {
		for k, v := range want {
			s.must(tx.PutString(s.lookup(tx, k), []byte(v), 0))
		}
		s.must(tx.WriteString(s.lookup(tx, "changed"), maxWhole, []byte("x")))
	})
	s.do(func(tx *Txn) {
		s.must(tx.WriteString(s.lookup(tx, "changed"), maxWhole, []byte("yz")))
		want["changed"] = string(make([]byte, maxWhole)) + "yz"
		var names []string
		s.must(tx.ScanStrings(0, func(k *FoundKey, value func() ([]byte, error)) error {
			v, err := value()
			if string(v) != want[string(k.User)] {
				t.Errorf("%s is %.40q of %d bytes", k.User, v, len(v))
			}
			names = append(names, string(k.User))
			return err
		}))
		if slices.Sort(names); !slices.Equal(names, []string{"changed", "long", "short"}) {
			t.Errorf("found %q", names)
		}
	})
}

// A key past its deadline has no value on a node that may not delete it.
func TestHiddenKeyHasNoValue(t *testing.T) {
	s := newStringTest(t, 4<<20)
	s.do(func(tx *Txn) { s.must(tx.PutString(s.lookup(tx, "k"), []byte("abc"), 2000)) })
	tx := s.store.NewTxn()
	defer tx.Done()
	tx.Begin(ModeRead, 0, 2000)
	if e := s.lookup(tx, "k"); e.Found || e.Meta.Length() != 0 {
		t.Errorf("found %v, length %d", e.Found, e.Meta.Length())
	}
}
