package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

func TestCRC64(t *testing.T) {
	// The check value of the polynomial.
	if got := CRC64(0, []byte("123456789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("%#x", got)
	}
	if got := CRC64(CRC64(0, []byte("1234")), []byte("56789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("in two pieces %#x", got)
	}
}

func TestLengths(t *testing.T) {
	for _, c := range []struct {
		n    uint64
		want []byte
	}{
		{0, []byte{0}}, {63, []byte{63}}, {64, []byte{0x40, 64}}, {16383, []byte{0x7f, 0xff}},
		{16384, []byte{0x80, 0, 0, 0x40, 0}}, {1<<32 - 1, []byte{0x80, 0xff, 0xff, 0xff, 0xff}},
		{1 << 32, []byte{0x81, 0, 0, 0, 1, 0, 0, 0, 0}},
	} {
		b := AppendLength(nil, c.n)
		if !bytes.Equal(b, c.want) {
			t.Errorf("%d is %x, want %x", c.n, b, c.want)
		}
		if n, err := NewReader(b).Length(); n != c.n || err != nil {
			t.Errorf("%x reads as %d: %v", b, n, err)
		}
		for i := range b {
			if _, err := NewReader(b[:i]).Length(); !errors.Is(err, ErrFormat) {
				t.Errorf("%x: %v", b[:i], err)
			}
		}
	}
}

func TestStrings(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		want string
	}{
		{AppendString(nil, []byte("hello")), "hello"}, {[]byte{0}, ""},
		{[]byte{0xc0, 0xff}, "-1"}, {[]byte{0xc1, 0, 0x80}, "-32768"}, {[]byte{0xc2, 0xff, 0xff, 0xff, 0x7f},
			"2147483647"},
		// LZF: one literal, then 7 + 2 + 0 bytes from one byte back.
		{[]byte{0xc3, 5, 10, 0, 'a', 0xe0, 0, 0}, "aaaaaaaaaa"},
	} {
		r := NewReader(c.in)
		got, err := r.String()
		if err != nil || string(got) != c.want || r.Left() != 0 {
			t.Errorf("%x reads as %q: %v, %d left", c.in, got, err, r.Left())
		}
	}
	for _, bad := range [][]byte{
		nil, {5, 'a'}, {0xc0}, {0xc4, 0}, {0x82, 0}, {0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0xc3, 5, 11, 0, 'a', 0xe0, 0, 0}, {0xc3, 5, 9, 0, 'a', 0xe0, 0, 0}, {0xc3, 5, 10, 0, 'a', 0xe0, 0, 1},
		{0xc3, 1, 1, 0},
		{0xc3, 1, 0x81, 0, 0, 0, 0xff, 0, 0, 0, 0, 0}, // claims to unpack to a terabyte
	} {
		if got, err := NewReader(bad).String(); !errors.Is(err, ErrFormat) {
			t.Errorf("%x reads as %q: %v", bad, got, err)
		}
	}
}

func TestSealedPayloads(t *testing.T) {
	p := Seal(AppendString([]byte{TypeString}, []byte("x")))
	if body, ok := Open(p); !ok || string(body) != "\x00\x01x" {
		t.Errorf("%q %v", body, ok)
	}
	for i := range p {
		bad := bytes.Clone(p)
		bad[i] ^= 1
		if _, ok := Open(bad); ok {
			t.Errorf("byte %d may be wrong", i)
		}
	}
	newer := p[:len(p)-10]
	newer = binary.LittleEndian.AppendUint16(bytes.Clone(newer), readVersion+1)
	newer = binary.LittleEndian.AppendUint64(newer, CRC64(0, newer))
	if _, ok := Open(newer); ok {
		t.Error("a payload of a later version is read")
	}
	if _, ok := Open(p[:9]); ok {
		t.Error("a payload without a footer is read")
	}
}

// listpack of "f" -> 5, "g" -> a text of 100 bytes, as redis-server 7.0.15 writes it.
func goldenListpack() []byte {
	b := []byte{0, 0, 0, 0, 4, 0, 0x81, 'f', 2, 5, 1, 0x81, 'g', 2, 0xe0, 100}
	b = append(b, strings.Repeat("x", 100)...)
	b = append(b, 102, 0xff)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

func TestListpack(t *testing.T) {
	var got []string
	visit := func(v []byte) error {
		got = append(got, string(v))
		return nil
	}
	good := goldenListpack()
	if err := readListpack(good, visit); err != nil || strings.Join(got, ",") != "f,5,g,"+strings.Repeat("x",
		100) {
		t.Errorf("%q: %v", got, err)
	}
	for i := range good {
		if err := readListpack(good[:i], visit); !errors.Is(err, ErrFormat) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	stop := errors.New("stop")
	if err := readListpack(good, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	odd := AppendString(nil, []byte{10, 0, 0, 0, 1, 0, 0x81, 'f', 2, 0xff})
	if err := NewReader(odd).Pairs(TypeHashListpack, func(_, _ []byte) error { return nil }); !errors.Is(err,
		ErrFormat) {
		t.Errorf("a field without value: %v", err)
	}
}

// FuzzValue reads arbitrary bytes as each of the types. Nothing may panic, or take more memory than the input
// accounts for.
func FuzzValue(f *testing.F) {
	f.Add(byte(TypeString), []byte{0xc3, 5, 10, 0, 'a', 0xe0, 0, 0})
	f.Add(byte(TypeHash), []byte{1, 1, 'a', 0xc0, 5})
	f.Add(byte(TypeHashListpack), AppendString(nil, goldenListpack()))
	f.Add(byte(TypeHashZiplist), AppendString(nil, []byte{15, 0, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0xf2, 2, 0xf3,
		0xff}))
	f.Add(byte(TypeListQuicklist2), append([]byte{2, nodePlain, 1, 'x', nodePacked}, AppendString(nil, goldenListpack())...))
	f.Add(byte(TypeStream2), goldenStream()[1:])
	f.Add(byte(TypeStream3), append(goldenStream()[1:], 0))
	f.Add(byte(TypeHashTimed), goldenTimed())
	f.Add(byte(TypeHashListpackEx), goldenListpackEx())
	f.Fuzz(func(t *testing.T, typ byte, b []byte) {
		total := 0
		switch typ {
		case TypeString:
			s, _ := NewReader(b).String()
			total = len(s)
		case TypeList, TypeListZiplist, TypeListQuicklist, TypeListQuicklist2:
			_ = NewReader(b).Elements(typ, func(element []byte) error {
				total += len(element)
				return nil
			})
		case TypeHash, TypeHashZiplist, TypeHashListpack:
			_ = NewReader(b).Pairs(typ, func(field, value []byte) error {
				total += len(field) + len(value)
				return nil
			})
		case TypeHashTimed, TypeHashListpackEx:
			_ = NewReader(b).TimedPairs(typ, func(field, value []byte, deadline int64) error {
				if total += len(field) + len(value); deadline < 0 || deadline > maxDeadline {
					t.Errorf("deadline %d", deadline)
				}
				return nil
			})
		}
		if typ == TypeStream || typ == TypeStream2 || typ == TypeStream3 {
			_ = NewReader(b).Stream(typ, &nothing{})
		}
		if total > len(b)*lzfRatio*12 {
			t.Errorf("%d bytes of %d", total, len(b))
		}
	})
}
