package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const base = 1_700_000_000_000 // 0x18bcfe56800

// goldenTimed is a hash of three fields as Redis 7.4 writes it: base, number, and for each the distance, field, value.
func goldenTimed() []byte {
	b := []byte{0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0, 0, 3}
	b = append(b, 0, 1, 'a', 1, '1')                   // without a deadline
	b = append(b, 1, 1, 'b', 0xc0, 2)                  // the earliest; the value is an integer of 8 bits
	return append(b, 0x43, 0xe9, 2, 'c', 'c', 2, 3, 4) // 1000 ms later
}

// goldenListpackEx has triples of field, value and deadline, in the order of deadlines.
func goldenListpackEx() []byte {
	lp := []byte{0, 0, 0, 0, 6, 0}
	lp = append(lp, 0x81, 'b', 2, 0x02, 1)
	lp = append(lp, 0xf4, 0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0, 0, 9)
	lp = append(lp, 0x81, 'a', 2, 0x81, '1', 2, 0, 1, 0xff)
	binary.LittleEndian.PutUint32(lp, uint32(len(lp)))
	return AppendString([]byte{0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0, 0}, lp)
}

func timedPairs(typ byte, b []byte) (string, error) {
	var got []string
	r := NewReader(b)
	err := r.TimedPairs(typ, func(field, value []byte, deadline int64) error {
		got = append(got, fmt.Sprintf("%s=%s/%d", field, value, deadline))
		return nil
	})
	if err == nil && r.Left() != 0 {
		err = fmt.Errorf("%d bytes are left", r.Left())
	}
	return strings.Join(got, " "), err
}

func TestTimedPairs(t *testing.T) {
	for _, c := range []struct {
		typ  byte
		b    []byte
		want string
	}{
		{TypeHashTimed, goldenTimed(), "a=1/0 b=2/1700000000000 cc=\x03\x04/1700000001000"},
		{TypeHashListpackEx, goldenListpackEx(), "b=2/1700000000000 a=1/0"},
	} {
		if got, err := timedPairs(c.typ, c.b); got != c.want || err != nil {
			t.Errorf("type %d: %q, want %q: %v", c.typ, got, c.want, err)
		}
		for i := range c.b {
			if _, err := timedPairs(c.typ, c.b[:i]); !errors.Is(err, ErrFormat) {
				t.Errorf("type %d cut at %d: %v", c.typ, i, err)
			}
		}
	}
	for what, b := range map[string][]byte{
		"base too late":     {0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 'a', 1, 'b'},
		"deadline too late": append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 2}, 1, 'a', 1, 'b'),
		"distance wraps": append(append([]byte{5, 0, 0, 0, 0, 0, 0, 0, 1, len64}, bytes.Repeat([]byte{0xff}, 8)...),
			1, 'a', 1, 'b'),
	} {
		if _, err := timedPairs(TypeHashTimed, b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, entries := range map[string][]byte{
		"no deadline": {0x81, 'b', 2, 2, 1}, "deadline is a word": {0x81, 'b', 2, 2, 1, 0x81, 'x', 2},
		"deadline is negative": {0x81, 'b', 2, 2, 1, 0xdf, 0xff, 2},
	} {
		lp := append(append([]byte{0, 0, 0, 0, 0xff, 0xff}, entries...), 0xff)
		binary.LittleEndian.PutUint32(lp, uint32(len(lp)))
		if _, err := timedPairs(TypeHashListpackEx, AppendString(make([]byte, 8), lp)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAppendTimed(t *testing.T) {
	b := AppendTimedHead(nil, base, 3)
	b = AppendTimedField(b, base, 0, []byte("a"), []byte("1"))
	b = AppendTimedField(b, base, base, []byte("b"), []byte("2"))
	b = AppendTimedField(b, base, base+1000, []byte("cc"), []byte{3, 4})
	want := bytes.Replace(goldenTimed(), []byte{'b', 0xc0, 2}, []byte{'b', 1, '2'}, 1)
	if !bytes.Equal(b, want) {
		t.Errorf("%x, want %x", b, want)
	}
	// Only such a payload asks for Redis 7.4.
	for typ, version := range map[byte]byte{TypeHashTimed: 12, TypeHash: 9, TypeStream2: 10} {
		sealed := Seal(append([]byte{typ}, b...))
		if got := sealed[len(b)+1]; got != version {
			t.Errorf("type %d: version %d, want %d", typ, got, version)
		}
		if body, ok := Open(sealed); !ok || !bytes.Equal(body[1:], b) {
			t.Errorf("type %d cannot be opened", typ)
		}
	}
}
