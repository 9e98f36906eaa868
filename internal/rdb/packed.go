package rdb

import "encoding/binary"

// lzfRatio is more than LZF can compress: three bytes stand for at most 264.
const lzfRatio = 88

// unpackLZF appends what p was packed from, exactly size bytes, to dst.
func unpackLZF(dst, p []byte, size int) ([]byte, bool) {
	for len(p) > 0 {
		c := int(p[0])
		p = p[1:]
		if c < 1<<5 { // c+1 bytes as they are
			if c++; c > len(p) || len(dst)+c > size {
				return nil, false
			}
			dst = append(dst, p[:c]...)
			p = p[c:]
			continue
		}
		n := c >> 5 // bytes to repeat, less 2
		if n == 7 {
			if len(p) == 0 {
				return nil, false
			}
			n += int(p[0])
			p = p[1:]
		}
		if len(p) == 0 {
			return nil, false
		}
		back := (c&0x1f)<<8 | int(p[0])
		p = p[1:]
		from := len(dst) - back - 1
		if n += 2; from < 0 || len(dst)+n > size {
			return nil, false
		}
		for i := range n { // source and destination may overlap
			dst = append(dst, dst[from+i])
		}
	}
	return dst, len(dst) == size
}

// readListpack visits the entries of a listpack: total bytes u32, number of entries u16 (65535: unknown),
// the entries, ff. An entry is followed by its own length, in 1 to 5 bytes, for walking back.
func readListpack(b []byte, visit func([]byte) error) error {
	const head, end = 4 + 2, 0xff
	if len(b) < head+1 || uint64(binary.LittleEndian.Uint32(b)) != uint64(len(b)) {
		return ErrFormat
	}
	want, n := binary.LittleEndian.Uint16(b[4:]), 0
	for b = b[head:]; ; n++ {
		if len(b) == 0 {
			return ErrFormat
		}
		if b[0] == end {
			break
		}
		v, size, ok := listpackEntry(b)
		if !ok {
			return ErrFormat
		}
		back := backLength(size)
		if size+back > len(b) {
			return ErrFormat
		}
		if err := visit(v); err != nil {
			return err
		}
		b = b[size+back:]
	}
	if len(b) != 1 || want != 1<<16-1 && int(want) != n {
		return ErrFormat
	}
	return nil
}

// backLength is the size of the length behind an entry of size bytes. Redis takes a byte more than it needs for the
// highest sizes of two and more bytes.
func backLength(size int) int {
	switch {
	case size <= 127:
		return 1
	case size < 1<<14-1:
		return 2
	case size < 1<<21-1:
		return 3
	case size < 1<<28-1:
		return 4
	}
	return 5
}

// listpackEntry decodes the entry that b begins with; size is that of the entry without its back length.
func listpackEntry(b []byte) (v []byte, size int, ok bool) {
	number := func(n int) ([]byte, int, bool) { // n bytes, little-endian, behind the head
		if len(b) < 1+n {
			return nil, 0, false
		}
		return decimal(signed(b[1 : 1+n])), 1 + n, true
	}
	text := func(head int, n uint64) ([]byte, int, bool) {
		if len(b) < head || n > uint64(len(b)-head) {
			return nil, 0, false
		}
		return b[head : head+int(n)], head + int(n), true
	}
	switch c := b[0]; {
	case c < 0x80: // 7 bits, not negative
		return decimal(int64(c)), 1, true
	case c < 0xc0:
		return text(1, uint64(c&0x3f))
	case c < 0xe0: // 13 bits
		if len(b) < 2 {
			return nil, 0, false
		}
		n := int64(c&0x1f)<<8 | int64(b[1])
		if n >= 1<<12 {
			n -= 1 << 13
		}
		return decimal(n), 2, true
	case c < 0xf0:
		if len(b) < 2 {
			return nil, 0, false
		}
		return text(2, uint64(c&0x0f)<<8|uint64(b[1]))
	case c == 0xf0:
		if len(b) < 5 {
			return nil, 0, false
		}
		return text(5, uint64(binary.LittleEndian.Uint32(b[1:])))
	case c <= 0xf3:
		return number(int(c-0xf1) + 2)
	case c == 0xf4:
		return number(8)
	}
	return nil, 0, false
}

// signed reads a little-endian two's complement number.
func signed(b []byte) int64 {
	var n uint64
	for i, x := range b {
		n |= uint64(x) << (8 * i)
	}
	shift := 64 - 8*len(b)
	return int64(n<<shift) >> shift
}

// readZiplist visits the entries of a ziplist: total bytes u32, offset of the last entry u32, number of
// entries u16 (65535: unknown), the entries, ff. An entry begins with the length of the one before it.
func readZiplist(b []byte, visit func([]byte) error) error {
	const head, end, long = 4 + 4 + 2, 0xff, 0xfe
	if len(b) < head+1 || uint64(binary.LittleEndian.Uint32(b)) != uint64(len(b)) {
		return ErrFormat
	}
	want, n := binary.LittleEndian.Uint16(b[8:]), 0
	for b = b[head:]; ; n++ {
		if len(b) == 0 {
			return ErrFormat
		}
		if b[0] == end {
			break
		}
		before := 1
		if b[0] == long {
			before = 5
		}
		if len(b) <= before {
			return ErrFormat
		}
		v, size, ok := ziplistEntry(b[before:])
		if !ok {
			return ErrFormat
		}
		if err := visit(v); err != nil {
			return err
		}
		b = b[before+size:]
	}
	if len(b) != 1 || want != 1<<16-1 && int(want) != n {
		return ErrFormat
	}
	return nil
}

// ziplistEntry decodes an entry from its encoding byte on.
func ziplistEntry(b []byte) (v []byte, size int, ok bool) {
	text := func(head int, n uint64) ([]byte, int, bool) {
		if n > uint64(len(b)-head) {
			return nil, 0, false
		}
		return b[head : head+int(n)], head + int(n), true
	}
	number := func(n int) ([]byte, int, bool) {
		if len(b) < 1+n {
			return nil, 0, false
		}
		return decimal(signed(b[1 : 1+n])), 1 + n, true
	}
	switch c := b[0]; {
	case c < 0x40:
		return text(1, uint64(c))
	case c < 0x80:
		if len(b) < 2 {
			return nil, 0, false
		}
		return text(2, uint64(c&0x3f)<<8|uint64(b[1]))
	case c == 0x80:
		if len(b) < 5 {
			return nil, 0, false
		}
		return text(5, uint64(binary.BigEndian.Uint32(b[1:])))
	case c == 0xc0:
		return number(2)
	case c == 0xd0:
		return number(4)
	case c == 0xe0:
		return number(8)
	case c == 0xf0:
		return number(3)
	case c == 0xfe:
		return number(1)
	case c > 0xf0 && c < 0xfe: // 0 to 12 in the byte itself
		return decimal(int64(c&0x0f) - 1), 1, true
	}
	return nil, 0, false
}

// readIntset visits the numbers of an intset: their size in bytes u32, their number u32, the numbers in ascending
// order, all little-endian.
func readIntset(b []byte, visit func([]byte) error) error {
	const head = 4 + 4
	if len(b) < head {
		return ErrFormat
	}
	size, n := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
	if b = b[head:]; size != 2 && size != 4 && size != 8 || uint64(len(b)) != size*n {
		return ErrFormat
	}
	last, first := int64(0), true
	for ; len(b) > 0; b = b[size:] {
		v := signed(b[:size])
		if !first && v <= last {
			return ErrFormat
		}
		if err := visit(decimal(v)); err != nil {
			return err
		}
		last, first = v, false
	}
	return nil
}
