package stream

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"haypile/internal/keyspace"
	"haypile/internal/storage"
)

func newTxn(t testing.TB) *keyspace.Txn {
	t.Helper()
	engine, err := storage.Open(storage.Options{Dir: "engine", Mem: storage.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.CloseUnflushed() })
	store, err := keyspace.Open(engine, keyspace.Options{Databases: 1, CacheBytes: 8 << 20, Many: 20})
	if err != nil {
		t.Fatal(err)
	}
	tx := store.NewTxn()
	tx.Begin(keyspace.ModeWrite, 0, 1)
	return tx
}

func open(t testing.TB, tx *keyspace.Txn) *Stream {
	t.Helper()
	s, err := Open(tx, []byte("s"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The layout is permanent: what these bytes say must be read for ever.
func TestGoldenRows(t *testing.T) {
	h := head{Last: ID{300, 2}, First: ID{1, 0}, MaxDeleted: ID{299, 1}, Added: 1000, Groups: 3}
	fields := [][]byte{[]byte("f"), []byte("value"), {}, []byte("x")}
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"head", appendHead(nil, &h), "00 ac02 02 01 00 ab02 01 e807 03"},
		{"entry key", entryKey(ID{1, 258}), "01 0000000000000001 0000000000000102"},
		{"entry", appendEntry(nil, fields), "00 04 01 66 05 76616c7565 00 01 78"},
		{"group key", groupKey([]byte("gr")), "02 6772"},
		{"group", appendGroup(nil, &groupRow{Last: ID{300, 2}, low: ID{1, 0}, top: ID{299, 1}, Read: 9, Pending: 5,
			Consumers: 2}), "00 ac02 02 01 00 ab02 01 0a 05 02"},
		{"group that knows nothing", appendGroup(nil, &groupRow{Read: Unknown}), "00 00 00 00 00 00 00 00 00 00"},
		{"consumer key", consumerKey([]byte("gr"), []byte("c")), "03 02 6772 63"},
		{"consumer", appendConsumer(nil, &consumerRow{Seen: 300, Active: -1, Pending: 4}), "00 ac02 00 04"},
		{"pending key", appendID(pendingOf([]byte("gr")), ID{1, 2}), "04 02 6772 0000000000000001 0000000000000002"},
		{"pending", appendDelivery(nil, &Delivery{Consumer: []byte("c"), Time: 300, Count: 7}), "00 ac02 07 63"},
		{"owned key", appendID(ownedBy([]byte("gr"), []byte("c")), ID{1, 2}),
			"05 02 6772 01 63 0000000000000001 0000000000000002"},
	} {
		if want := strings.ReplaceAll(c.want, " ", ""); hex.EncodeToString(c.got) != want {
			t.Errorf("%s: %x, want %s", c.name, c.got, want)
		}
	}
	var got head
	if err := parseHead(appendHead(nil, &h), &got); err != nil || got != h {
		t.Errorf("head reads as %+v, %v", got, err)
	}
	var g groupRow
	want := groupRow{Last: ID{1, 2}, low: ID{3, 4}, top: ID{5, 6}, Read: Unknown, Pending: 7, Consumers: 8}
	if err := parseGroup(appendGroup(nil, &want), &g); err != nil || g != want {
		t.Errorf("group reads as %+v, %v", g, err)
	}
	var c consumerRow
	if err := parseConsumer(appendConsumer(nil, &consumerRow{1, -1, 3}), &c); err != nil || c != (consumerRow{1, -1, 3}) {
		t.Errorf("consumer reads as %+v, %v", c, err)
	}
	d, err := parseDelivery(ID{1, 2}, appendDelivery(nil, &Delivery{Consumer: []byte("c"), Time: -5, Count: 7}))
	if err != nil || d.ID != (ID{1, 2}) || string(d.Consumer) != "c" || d.Time != -5 || d.Count != 7 {
		t.Errorf("pending entry reads as %+v, %v", d, err)
	}
	f, err := parseEntry(appendEntry(nil, fields))
	if err != nil || f.Len() != len(fields) {
		t.Fatalf("%d fields, %v", f.Len(), err)
	}
	f.All(func(b []byte) {
		if string(b) != string(fields[0]) {
			t.Errorf("field %q, want %q", b, fields[0])
		}
		fields = fields[1:]
	})
}

func FuzzRows(f *testing.F) {
	f.Add(appendHead(nil, &head{Added: 7}))
	f.Add(appendEntry(nil, [][]byte{[]byte("f"), []byte("v")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h head
		_ = parseHead(b, &h)
		_ = parseGroup(b, &groupRow{})
		_ = parseConsumer(b, &consumerRow{})
		_, _ = parseDelivery(ID{}, b)
		fields, err := parseEntry(b)
		if err != nil {
			return
		}
		n := 0
		fields.All(func([]byte) { n++ })
		if n != fields.Len() {
			t.Errorf("%d fields of %d", n, fields.Len())
		}
	})
}

func TestParseID(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string // empty: refused
	}{
		{"1-2", "1-2"}, {"5", "5-9"}, {"007-+08", "7-8"}, {" 1- 2", "1-2"}, {"18446744073709551615-18446744073709551615",
			"18446744073709551615-18446744073709551615"},
		{"18446744073709551616", ""}, {"1-18446744073709551616", ""}, {"", ""}, {"-", ""}, {"1-", ""}, {"-1", ""},
		{"1-2-3", ""}, {"1-*", ""}, {"*", ""}, {"+", ""}, {"1x", ""}, {"1--5", ""}, {strings.Repeat("0", 128), ""},
		{strings.Repeat("0", 127), "0-9"},
	} {
		id, ok := Parse([]byte(c.in), 9)
		if ok != (c.want != "") || ok && id.String() != c.want {
			t.Errorf("%q reads as %v, %v", c.in, id, ok)
		}
	}
	if id, choose, ok := ParseAdd([]byte("5-*")); !ok || !choose || id.MS != 5 {
		t.Errorf("5-* reads as %v, %v, %v", id, choose, ok)
	}
	if id, choose, ok := ParseAdd([]byte("5")); !ok || choose || id != (ID{5, 0}) {
		t.Errorf("5 reads as %v, %v, %v", id, choose, ok)
	}
	if id, ok := ParseBound([]byte("+"), 0); !ok || id != Max {
		t.Errorf("+ reads as %v, %v", id, ok)
	}
}

func FuzzID(f *testing.F) {
	for _, s := range []string{"1-2", "5", "-", "+", "1-*", " +7-08", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = ParseAdd(b)
		_, _ = ParseBound(b, 1)
		id, ok := Parse(b, 3)
		if !ok {
			return
		}
		if again, ok := Parse(id.Append(nil), 0); !ok || again != id || DecodeID(id.Bytes()) != id {
			t.Errorf("%q reads as %v, then %v", b, id, again)
		}
		if next, ok := id.Next(); ok {
			if back, ok := next.Prev(); !ok || back != id || !id.Less(next) {
				t.Errorf("%v, next %v, back %v", id, next, back)
			}
		}
	})
}

// TestEntries compares random changes with a sorted list: what is there, the first and the last entry, and what is
// trimmed.
func TestEntries(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	tx := newTxn(t)
	var model []ID
	last := ID{}
	for i := range 1500 {
		s := open(t, tx)
		if s.Len() != uint64(len(model)) {
			t.Fatalf("step %d: %d entries, want %d", i, s.Len(), len(model))
		}
		switch rng.IntN(8) {
		case 0:
			if len(model) == 0 {
				continue
			}
			at := rng.IntN(len(model))
			if was, err := s.Delete(model[at]); !was || err != nil {
				t.Fatalf("step %d: deleted %v, %v", i, was, err)
			}
			if was, err := s.Delete(model[at]); was || err != nil {
				t.Fatalf("step %d: deleted twice, %v", i, err)
			}
			model = slices.Delete(model, at, at+1)
		case 1:
			most := rng.IntN(len(model) + 2)
			if rng.IntN(12) > 0 { // a few go, so that the stream becomes longer than what is known of its front
				most = max(0, len(model)-rng.IntN(6))
			}
			want := max(0, len(model)-most)
			trim := Trimming{MaxLen: uint64(most)}
			if rng.IntN(2) == 0 && want < len(model) {
				trim = Trimming{ByID: true, MinID: model[want]}
			}
			if rng.IntN(2) == 0 {
				trim.Approx, trim.Limit = true, 150
				if want = min(want, 150); want < len(model) {
					want -= want % NodeEntries
				}
			}
			if n, err := s.Trim(trim); n != uint64(want) || err != nil {
				t.Fatalf("step %d: %+v of %d trimmed %d, want %d, %v", i, trim, len(model), n, want, err)
			}
			model = model[want:]
		case 2:
			f := s.own()
			switch rng.IntN(4) {
			case 0:
				s.tx.DropForm(s.meta.ID) // as if another had needed the room
			case 1:
				f.Shrink(0)
			case 2:
				f.Shrink(f.Size() / 2)
			}
		default:
			for range rng.IntN(12) {
				last, _ = ID{last.MS + rng.Uint64N(2), last.Seq}.Next()
				fields := [][]byte{[]byte("f"), last.Append(nil)}
				if rng.IntN(20) == 0 { // so that runs are of few entries, too
					fields = slices.Repeat(fields, 1+rng.IntN(400))
				}
				s.Add(last, fields)
				model = append(model, last)
			}
		}
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		checkEntries(t, rng, open(t, tx), model, last)
		checkRuns(t, open(t, tx), model)
	}
}

// checkRuns compares what is in memory with all entries.
func checkRuns(t *testing.T, s *Stream, model []ID) {
	t.Helper()
	f, size, before := s.form(), int64(runOverhead), ID{}
	for i, r := range f.mu.all {
		size += r.size()
		if i > 0 && !before.Less(r.from) || r.to.Less(r.from) {
			t.Fatalf("run from %v to %v behind %v", r.from, r.to, before)
		}
		before = r.to
		from, to := s.First, r.to
		if from.Less(r.from) {
			from = r.from
		}
		var want []ID
		for _, id := range model {
			if !id.Less(from) && !to.Less(id) {
				want = append(want, id)
			}
		}
		if got := r.ids[r.at(from):]; len(model) > 0 && !slices.Equal(got, want) {
			t.Fatalf("run from %v to %v has %v, want %v", r.from, r.to, got, want)
		}
	}
	if f.Size() != size {
		t.Fatalf("size %d, want %d", f.Size(), size)
	}
}

func checkEntries(t *testing.T, rng *rand.Rand, s *Stream, model []ID, last ID) {
	t.Helper()
	first, top := ID{}, ID{}
	if len(model) > 0 {
		first, top = model[0], model[len(model)-1]
	}
	if got, err := s.Top(); got != top || err != nil {
		t.Fatalf("top %v, want %v, %v", got, top, err)
	}
	if s.First != first || s.Last != last {
		t.Fatalf("first %v last %v, want %v %v", s.First, s.Last, first, last)
	}
	from, to := ID{rng.Uint64N(last.MS + 2), rng.Uint64N(4)}, ID{rng.Uint64N(last.MS + 2), rng.Uint64N(4)}
	var want []string
	for _, id := range model {
		if !id.Less(from) && !to.Less(id) {
			want = append(want, id.String())
		}
	}
	for _, walk := range []func(ID, ID, func(ID, Fields) bool) error{s.Range, s.RangeBack} {
		var got []string
		err := walk(from, to, func(id ID, f Fields) bool {
			f.All(func(b []byte) {
				if b := string(b); b != "f" && b != id.String() {
					t.Fatalf("%v holds %q", id, b)
				}
			})
			got = append(got, id.String())
			return true
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("from %v to %v: %v, want %v, %v", from, to, got, want, err)
		}
		slices.Reverse(want)
	}
}

// A trimmed stream is walked from its first entry, not from the tombstones before it; adding reads nothing.
func BenchmarkTrimmedFront(b *testing.B) {
	tx := newTxn(b)
	s := open(b, tx)
	n := uint64(0)
	for b.Loop() {
		n++
		s.Add(ID{n, 0}, [][]byte{[]byte("f"), fmt.Append(nil, n)})
		if _, err := s.Trim(Trimming{MaxLen: 1000, Approx: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestTrimMost: where most of a long stream goes, what stays is the same as if entries were removed one by one, and so
// are the deadline and what is counted; the others go with their collection.
func TestTrimMost(t *testing.T) {
	const n = 6000
	for _, c := range []struct {
		name    string
		trim    Trimming
		stay    int
		dropped bool
	}{
		{"length", Trimming{MaxLen: 10}, 10, true}, {"id", Trimming{ByID: true, MinID: ID{n - 9, 0}}, 10, true},
		{"all", Trimming{}, 0, true}, {"all by id", Trimming{ByID: true, MinID: Max}, 0, true},
		{"nodes", Trimming{MaxLen: 10, Approx: true}, 100, true},
		{"nodes by id", Trimming{ByID: true, MinID: ID{n - 9, 0}, Approx: true}, 100, true},
		{"a limit", Trimming{MaxLen: 10, Approx: true, Limit: 5000}, 1000, false},
		{"many stay", Trimming{MaxLen: 1000}, 1000, false},
		{"many stay by id", Trimming{ByID: true, MinID: ID{n - 999, 0}}, 1000, false},
	} {
		tx := newTxn(t)
		s := open(t, tx)
		var model []ID
		for i := range uint64(n) {
			s.Add(ID{i + 1, 0}, [][]byte{[]byte("f"), ID{i + 1, 0}.Append(nil)})
			model = append(model, ID{i + 1, 0})
		}
		s.meta.Deadline = 1 << 50
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		s = open(t, tx)
		was := s.meta.ID
		removed, err := s.Trim(c.trim)
		if err == nil {
			err = s.Save()
		}
		if err != nil || removed != uint64(n-c.stay) {
			t.Fatalf("%s: removed %d, %v", c.name, removed, err)
		}
		s = open(t, tx)
		if dropped := s.meta.ID != was; dropped != c.dropped || s.meta.Deadline != 1<<50 || s.Added != n {
			t.Errorf("%s: dropped %v, deadline %d, added %d", c.name, dropped, s.meta.Deadline, s.Added)
		}
		checkEntries(t, rand.New(rand.NewPCG(1, 1)), s, model[n-c.stay:], ID{n, 0})
		if s.Len() != uint64(c.stay) {
			t.Errorf("%s: %d entries, want %d", c.name, s.Len(), c.stay)
		}
	}
}
