package encoding

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"haypile/internal/slot"
)

// The bytes below are what data directories hold. A change here is a change of the format.
func TestGoldenRows(t *testing.T) {
	user := []byte("user:{7}:x")
	n, h := slot.Of(user), Hash48(user)
	if n != 1716 || h != 0xb301e2de4e32 {
		t.Fatalf("slot %d, hash %#x", n, h)
	}
	// Known values of XXH64, less its high 16 bits.
	if Hash48(nil) != 0xdb3751d8e999 || Hash48([]byte("abc")) != 0x2cf5ad770999 {
		t.Fatal("another hash function")
	}
	for _, c := range []struct {
		what string
		got  []byte
		want string
	}{
		{"state", StateRow, "0073"},
		{"space", AppendSpace(nil, TableData, 0x01020304), "0101020304"},
		{"slot", AppendSlot(nil, 1, 0x1234), "01000000011234"},
		{"key from", AppendKeyFrom(nil, 1, 0x1234, 0xaabbccddeeff), "010000000112346b" + "aabbccddeeff"},
		{"key", AppendKey(nil, 1, n, h, user), "010000000106b46bb301e2de4e32" + hex.EncodeToString(user)},
		{"collection", AppendCollection(nil, 2, 3, 0x0102030405060708), "010000000200036d0102030405060708"},
		{"element", AppendElement(nil, 2, 3, 4, user), "010000000200036d0000000000000004" + "b301e2de4e32" +
			hex.EncodeToString(user)},
		{"ordered", AppendOrdered(nil, 2, 3, 4, []byte{7}), "010000000200036d0000000000000004" + "000000000000" + "07"},
		{"sorted set", AppendMeta(nil, &Meta{Type: ZSet, Birth: 3, ID: 4, Count: 2, Extra: []byte{9, 8}}), "0004" + "0003" +
			"0000000000000004" + "02" + "0908"},
		{"expiry", AppendExpiry(nil, 1, 1700000000000, n, h, user), "0200000001" + "0000018bcfe56800" + "06b4" +
			"b301e2de4e32" + hex.EncodeToString(user)},
		{"garbage", AppendGarbage(nil, 1, 3, 4), "030000000100030000000000000004"},
		{"collections", CollectionsRow, "0063"},
		{"collections value", AppendCollections(nil, 300), "01ac02"},
		{"erasure", AppendErasure(nil, &Erasure{1, 3, 4, 5}), "0065" + "00000001" + "0003" + "0000000000000004" +
			"0000000000000005"},
		{"retired", AppendSpace(nil, TableRetired, 9), "0400000009"},
		{"string", AppendMeta(nil, &Meta{Type: String, value: []byte("abc")}), "0001616263"},
		{"string with deadline", AppendMeta(nil, &Meta{Type: String, value: []byte("a"),
			Deadline: 1700000000000}), "01010000018bcfe5680061"},
		{"hash", AppendMeta(nil, &Meta{Type: Hash, Birth: 3, ID: 4, Count: 300}), "0005" + "0003" +
			"0000000000000004" + "ac02"},
		{"element value", AppendElementValue(nil, []byte("v"), 0), "0076"},
		{"element value with deadline", AppendElementValue(nil, []byte("v"), 1700000000000), "01" + "0000018bcfe56800" +
			"76"},
		{"hash with deadlines of fields", AppendMeta(nil, &Meta{Type: Hash, Birth: 3, ID: 4, Count: 300,
			Extra: AppendTimed(nil, Timed{Count: 200, Next: 1700000000000})}), "0005" + "0003" + "0000000000000004" +
			"ac02" + "c801" + "0000018bcfe56800"},
		{"hash with a place among deadlines", AppendTimed(nil, Timed{Count: 2, Next: 1700000000000, After: []byte("f")}),
			"02" + "0000018bcfe56800" + "66"},
		{"deadline of a field", AppendOrdered(nil, 2, 3, 4, AppendTimedKey(nil, 1700000000000, []byte("f"))),
			"010000000200036d0000000000000004" + "000000000000" + "0000018bcfe56800" + "66"},
		{"string in pieces", AppendMeta(nil, new(PiecedString(3, 4, 14, 300))), "0201" + "0003" + "0000000000000004" +
			"ac02" + "0e"},
		{"string in pieces with deadline", AppendMeta(nil, &Meta{Type: String, Deadline: 1700000000000, Birth: 3, ID: 4,
			Count: 1, Extra: []byte{13}}), "0301" + "0000018bcfe56800" + "0003" + "0000000000000004" + "01" + "0d"},
		{"piece", AppendPiece(nil, 2, 3, 4, 258), "010000000200036d0000000000000004" + "000000000000" + "00000102"},
		{"state value", AppendState(nil, &State{Offset: 258, DB: 3, NextCollection: 200, NextSpace: 5,
			Databases: []SpaceCount{{Space: 1, Keys: 2, Expires: 1}, {Space: 4}}}), "01" + "0000000000000102" + "03" +
			"c801" + "05" + "02" + "010201" + "040000"},
		{"state value with deadlines of fields", AppendState(nil, &State{Offset: 258, DB: 3, NextCollection: 200,
			NextSpace: 5, Databases: []SpaceCount{{Space: 1, Keys: 2, Expires: 1, Timed: 2}, {Space: 4}}}), "02" +
			"0000000000000102" + "03" + "c801" + "05" + "02" + "01020102" + "04000000"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

func TestRowsReadBack(t *testing.T) {
	user, member := []byte("k\x00\xff"), []byte("m")
	k, ok := ParseKey(AppendKey(nil, 7, 16383, 5, user))
	if !ok || k.Slot != 16383 || k.Hash != 5 || !bytes.Equal(k.User, user) {
		t.Errorf("key %+v %v", k, ok)
	}
	el := AppendElement(nil, 7, 9, 11, member)
	if h, m, ok := ParseElement(el); !ok || h != Hash48(member) || !bytes.Equal(m, member) || RowSlot(el) != 9 {
		t.Errorf("element %x %q %v", h, m, ok)
	}
	if s, d, u, ok := ParseExpiry(AppendExpiry(nil, 7, 99, 1, 2, user)); !ok || s != 7 || d != 99 ||
		!bytes.Equal(u, user) {
		t.Errorf("expiry %d %d %q %v", s, d, u, ok)
	}
	if s, b, id, ok := ParseGarbage(AppendGarbage(nil, 7, 8, 9)); !ok || s != 7 || b != 8 || id != 9 {
		t.Errorf("garbage %d %d %d %v", s, b, id, ok)
	}
	if s, ok := ParseRetired(AppendSpace(nil, TableRetired, 6)); !ok || s != 6 {
		t.Errorf("retired %d %v", s, ok)
	}
	// No row of one kind reads as another.
	if _, ok := ParseKey(el); ok {
		t.Error("an element is no key")
	}
	if _, _, ok := ParseElement(AppendKey(nil, 7, 1, 5, user)); ok {
		t.Error("a key is no element")
	}
	for _, m := range []Meta{
		WholeString([]byte{}, 0), WholeString([]byte("x"), math.MaxInt64),
		PiecedString(1, 2, 14, 1<<40), PiecedString(16383, math.MaxUint64, 6, 0),
		{Type: List, Birth: 1, ID: 2, Count: 3, Extra: []byte("x")},
		{Type: Hash, Birth: 16383, ID: math.MaxUint64, Count: math.MaxUint64, Deadline: 1}, {Type: Stream},
	} {
		var got Meta
		if err := ParseMeta(AppendMeta(nil, &m), &got); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v reads back as %+v: %v", m, got, err)
		}
	}
	for what, bad := range map[string]Meta{
		"no id": {Type: String, Extra: []byte{14}}, "no size of pieces": {Type: String, ID: 1},
		"tiny pieces": {Type: String, ID: 1, Extra: []byte{5}}, "huge pieces": {Type: String, ID: 1, Extra: []byte{25}},
		"too much": {Type: String, ID: 1, Extra: []byte{14, 14}}, "too long": PiecedString(1, 2, 14, math.MaxInt64),
		"no string": {Type: Hash, ID: 1, Extra: []byte{14}},
	} {
		row := AppendMeta(nil, &bad)
		if what == "no id" {
			row = AppendMeta(nil, new(PiecedString(1, 1, 14, 3)))
			clear(row[4:12])
		}
		row[0] |= metaPieces
		if err := ParseMeta(row, new(Meta)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, d := range []int64{0, 1, math.MaxInt64} {
		for _, value := range []string{"", "v"} {
			v, got, err := ParseElementValue(AppendElementValue(nil, []byte(value), d))
			if string(v) != value || got != d || err != nil {
				t.Errorf("%q until %d reads back as %q until %d: %v", value, d, v, got, err)
			}
		}
	}
	for _, bad := range [][]byte{nil, {1}, {1, 0, 0, 0, 0, 0, 0, 0}, {2}, {3, 0, 0, 0, 0, 0, 0, 0, 1}} {
		if _, _, err := ParseElementValue(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	if d, f, ok := ParseTimedKey(AppendTimedKey(nil, 77, member)); !ok || d != 77 || !bytes.Equal(f, member) {
		t.Errorf("%d %q %v", d, f, ok)
	}
	if _, _, ok := ParseTimedKey(make([]byte, 7)); ok {
		t.Error("a sort key without a deadline")
	}
}

func TestDue(t *testing.T) {
	timed := func(next int64) []byte { return AppendTimed(nil, Timed{Count: 1, Next: next, After: []byte("x")}) }
	for _, c := range []struct {
		meta Meta
		want int64
	}{
		{Meta{Type: Hash}, 0}, {Meta{Type: Hash, Deadline: 5}, 5}, {Meta{Type: Hash, Extra: timed(7)}, 7},
		{Meta{Type: Hash, Deadline: 5, Extra: timed(7)}, 5}, {Meta{Type: Hash, Deadline: 9, Extra: timed(7)}, 7},
		{Meta{Type: ZSet, Deadline: 9, Extra: timed(7)}, 9}, {WholeString([]byte("x"), 0), 0},
	} {
		if got := c.meta.Due(); got != c.want {
			t.Errorf("%+v: due at %d, want %d", c.meta, got, c.want)
		}
	}
	for _, bad := range [][]byte{{1}, {0, 0, 0, 0, 0, 0, 0, 0, 1}, {1, 0, 0, 0, 0, 0, 0, 1}, {0x80}} {
		if _, err := (&Meta{Type: Hash, Extra: bad}).Timed(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

// Byte order is the order of (space, slot, kind, hash, key), and of deadlines.
func TestRowsAreOrdered(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		s1, s2 := slot.Slot(rng.IntN(slot.Count)), slot.Slot(rng.IntN(slot.Count))
		h1, h2 := rng.Uint64N(HashEnd), rng.Uint64N(HashEnd)
		a, b := AppendKey(nil, 1, s1, h1, []byte("zzz")), AppendKey(nil, 1, s2, h2, []byte("a"))
		if want := Cursor(s1, h1) < Cursor(s2, h2); (bytes.Compare(a, b) < 0) != want {
			t.Fatalf("%x %x", a, b)
		}
		d1, d2 := rng.Int64(), rng.Int64()
		a, b = AppendExpiry(nil, 1, d1, s1, h1, nil), AppendExpiry(nil, 1, d2, s2, h2, nil)
		if (bytes.Compare(a, b) < 0) != (d1 < d2) {
			t.Fatalf("%x %x", a, b)
		}
		// Keys of a slot stand before its elements, and both before the next slot.
		el := AppendElement(nil, 1, s1, 1, []byte("m"))
		if bytes.Compare(AppendKey(nil, 1, s1, h1, bytes.Repeat([]byte{0xff}, 9)), el) >= 0 ||
			bytes.Compare(el, AppendSlot(nil, 1, s1+1)) >= 0 {
			t.Fatal("kinds of a slot are out of order")
		}
	}
}

func TestCursors(t *testing.T) {
	for _, c := range []struct {
		n    slot.Slot
		hash uint64
	}{{0, 1}, {16383, HashEnd - 1}, {5, 77}} {
		v := Cursor(c.n, c.hash)
		if n, h, ok := ParseCursor(v); !ok || n != c.n || h != c.hash || v == 0 || v > math.MaxInt64 {
			t.Errorf("cursor %d of %+v gives %d %d %v", v, c, n, h, ok)
		}
	}
	if _, _, ok := ParseCursor(slot.Count << 48); ok {
		t.Error("a cursor behind the last slot")
	}
	if _, _, ok := ParseCursor(math.MaxUint64); ok {
		t.Error("a cursor behind the last slot")
	}
}

func TestPrefixEnd(t *testing.T) {
	for _, c := range []struct{ prefix, end []byte }{
		{[]byte{1, 2}, []byte{1, 3}}, {[]byte{1, 0xff}, []byte{2}}, {[]byte{0xff, 0xff}, nil}, {[]byte{0, 0xff,
			0xff}, []byte{1}},
	} {
		if got := PrefixEnd(c.prefix); !bytes.Equal(got, c.end) || (got == nil) != (c.end == nil) {
			t.Errorf("%x ends at %x, want %x", c.prefix, got, c.end)
		}
	}
}

func TestHashIsNeverZero(t *testing.T) {
	for i := range 100_000 {
		if h := Hash48([]byte{byte(i), byte(i >> 8), byte(i >> 16)}); h == 0 || h >= HashEnd {
			t.Fatal(h)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(AppendMeta(nil, &Meta{Type: Hash, Count: 3, Deadline: 5}))
	f.Add(AppendState(nil, &State{Databases: []SpaceCount{{1, 2, 3, 0}}}))
	f.Add(AppendState(nil, &State{Databases: []SpaceCount{{1, 2, 3, 4}}}))
	f.Add(AppendElementValue(nil, []byte("v"), 5))
	f.Add(AppendMeta(nil, &Meta{Type: Hash, Count: 3, Extra: AppendTimed(nil, Timed{2, 5, []byte("f")})}))
	f.Add(AppendMeta(nil, new(PiecedString(1, 2, 14, 3))))
	f.Add(AppendKey(nil, 1, 2, 3, []byte("k")))
	f.Add(AppendElement(nil, 1, 2, 3, []byte("k")))
	f.Add(AppendExpiry(nil, 1, 2, 3, 4, []byte("k")))
	f.Add(AppendErasure(nil, &Erasure{1, 2, 3, 4}))
	f.Add(AppendCollections(nil, 300))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Meta
		if ParseMeta(b, &m) == nil && m.Type == String && m.ID == 0 && !bytes.Equal(AppendMeta(nil, &m), b) && m.Deadline != 0 {
			t.Errorf("%x reads as %+v", b, m)
		}
		if s, err := ParseState(b); err == nil {
			if again, err := ParseState(AppendState(nil, &s)); err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("%+v reads back as %+v: %v", s, again, err)
			}
		}
		ParseKey(b)
		ParseElement(b)
		ParseExpiry(b)
		ParseGarbage(b)
		ParseRetired(b)
		if e, err := ParseErasure(b); err == nil && !bytes.Equal(AppendErasure(nil, &e), b) {
			t.Errorf("%x reads as %+v", b, e)
		}
		if n, err := ParseCollections(b); err == nil {
			if again, err := ParseCollections(AppendCollections(nil, n)); err != nil || again != n {
				t.Errorf("%x reads as %d, and that as %d: %v", b, n, again, err)
			}
		}
		if v, d, err := ParseElementValue(b); err == nil && d != 0 && !bytes.Equal(AppendElementValue(nil, v, d), b) {
			t.Errorf("%x reads as %q until %d", b, v, d)
		}
		_, _ = m.Timed()
		ParseTimedKey(b)
	})
}
