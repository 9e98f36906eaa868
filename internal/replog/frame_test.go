package replog

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"testing"
)

func frameBytes(seed uint32, h header, payload []byte) []byte {
	b := append(make([]byte, HeaderSize), payload...)
	h.length = len(payload)
	h.payloadCRC = crc32.Checksum(payload, castagnoli)
	h.encode(b, seed)
	return b
}

func TestHeaderGolden(t *testing.T) {
	h := header{start: 0x1122334455, synced: 0x1122334400, timeMS: 1_700_000_000_000, db: 9}
	got := frameBytes(0x01020304, h, []byte("*1\r\n"))
	want := []byte{
		'H', 'P', 'L', 1, 0xad, 0xcb, 0xe0, 0x7c,
		0xe0, 0x19, 0x18, 0x49, 4, 0, 0, 0,
		0x55, 0x44, 0x33, 0x22, 0x11, 0, 0, 0,
		0x00, 0x44, 0x33, 0x22, 0x11, 0, 0, 0,
		0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 9, 0,
		'*', '1', '\r', '\n',
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("the format on disk has changed:\n% x\nwant\n% x", got, want)
	}
}

func TestDecodeHeaderRefuses(t *testing.T) {
	good := frameBytes(7, header{start: 100, synced: 50, timeMS: 5, db: 2}, []byte("abc"))
	h, err := decodeHeader(good, 7)
	if err != nil || h.start != 100 || h.synced != 50 || h.timeMS != 5 || h.db != 2 || h.length != 3 ||
		h.end() != 103 {
		t.Fatalf("%+v, %v", h, err)
	}
	if _, err := decodeHeader(good, 8); err == nil {
		t.Error("header of another segment accepted")
	}
	for i := range HeaderSize {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if _, err := decodeHeader(bad, 7); err == nil {
				t.Errorf("accepted with bit %d of byte %d flipped", bit, i)
			}
		}
	}
	for name, h := range map[string]header{
		"empty":              {start: 1, synced: 1},
		"synced after start": {length: 1, start: 1, synced: 2},
		"negative":           {length: 1, start: -5, synced: -6},
		"overflow":           {length: 10, start: maxOffset - 9, synced: 0},
	} {
		b := make([]byte, HeaderSize)
		h.encode(b, 7)
		if _, err := decodeHeader(b, 7); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzScan feeds arbitrary bytes to the reader of frames: it ends, without a panic, and what it accepts
// encodes to the same bytes.
func FuzzScan(f *testing.F) {
	const seed = 0xCAFE
	one := frameBytes(seed, header{start: 10, synced: 10, timeMS: 1, db: 1}, []byte("SET a 1"))
	two := frameBytes(seed, header{start: 17, synced: 10, timeMS: 2}, bytes.Repeat([]byte{'x'}, 300))
	both := append(bytes.Clone(one), two...)
	f.Add([]byte{}, uint16(64))
	f.Add(both, uint16(40))
	f.Add(both[:len(both)-1], uint16(1000))
	f.Add(append([]byte("HPL\x01HPLHPL\x01garbage"), both...), uint16(50))
	f.Add(append(bytes.Clone(both), (&footer{2, 10, 317, 2}).encode(seed)...), uint16(99))
	f.Fuzz(func(t *testing.T, data []byte, bufSize uint16) {
		sc := &scanner{buf: make([]byte, max(int(bufSize), HeaderSize))}
		sc.reset(bytes.NewReader(data), seed, int64(len(data)), 0, 10)
		for {
			pos := sc.pos
			h, payload, err := sc.next()
			var bad *badFrame
			switch {
			case errors.Is(err, io.EOF):
				if sc.pos != int64(len(data)) {
					t.Fatalf("end at byte %d of %d", sc.pos, len(data))
				}
				return
			case errors.As(err, &bad):
				if bad.pos != pos {
					t.Fatalf("bad frame at %d reported at %d", pos, bad.pos)
				}
				_, ok, err := sc.resync(10)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					return
				}
				if sc.pos <= pos {
					t.Fatal("resync does not move")
				}
			case err != nil:
				t.Fatal(err)
			default:
				again := frameBytes(seed, h, payload)
				if !bytes.Equal(again, data[pos:sc.pos]) {
					t.Fatalf("frame at %d does not encode to itself", pos)
				}
			}
		}
	})
}

// FuzzFooter: an accepted footer encodes to itself.
func FuzzFooter(f *testing.F) {
	f.Add((&footer{2, 10, 317, 2}).encode(5), int64(10), int64(307+3*HeaderSize))
	f.Add([]byte("HPS\x01"), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, data []byte, start, size int64) {
		if ft, ok := decodeFooter(data, 5, Offset(start), size); ok && !bytes.Equal(ft.encode(5), data) {
			t.Fatalf("%+v does not encode to itself", ft)
		}
	})
}

func TestSegmentNames(t *testing.T) {
	for _, n := range []segmentName{{0, 0}, {maxOffset, 0xffffffff}, {12345, 0xab}} {
		if got, ok := parseSegmentName(n.file(".log"), ".log"); !ok || got != n {
			t.Errorf("%s parses as %+v, %v", n.file(".log"), got, ok)
		}
	}
	for _, bad := range []string{
		"", ".log", "0000000000000000001-0000000g.log", "000000000000000000-100000001.log",
		"0000000000000000001-00000001.cut", "-000000000000000001-00000001.log", "0000000000000000001-0000000A.log",
		"9999999999999999999-00000001.log", "+000000000000000001-00000001.log",
	} {
		if n, ok := parseSegmentName(bad, ".log"); ok {
			t.Errorf("%q accepted as %+v", bad, n)
		}
	}
}
