package replog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"haypile/internal/disk"
)

// HeaderSize is the room that AppendFrame needs in front of the payload.
const HeaderSize = 40

// MaxPayload bounds one frame, MaxDB the database number in it.
const (
	MaxPayload = 1<<31 - 1
	MaxDB      = 1<<16 - 1
)

var (
	frameMagic  = [4]byte{'H', 'P', 'L', 1}
	footerMagic = [4]byte{'H', 'P', 'S', 1}
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

// header is a frame's header; doc.go has the layout.
type header struct {
	payloadCRC uint32
	length     int
	start      Offset
	synced     Offset
	timeMS     int64
	db         int
}

func (h *header) end() Offset { return h.start + Offset(h.length) }

// encode writes the header into b[:HeaderSize].
func (h *header) encode(b []byte, seed uint32) {
	_ = b[HeaderSize-1]
	copy(b, frameMagic[:])
	binary.LittleEndian.PutUint32(b[8:], h.payloadCRC)
	binary.LittleEndian.PutUint32(b[12:], uint32(h.length))
	binary.LittleEndian.PutUint64(b[16:], uint64(h.start))
	binary.LittleEndian.PutUint64(b[24:], uint64(h.synced))
	binary.LittleEndian.PutUint64(b[32:], uint64(h.timeMS)&(1<<48-1)|uint64(h.db)<<48)
	binary.LittleEndian.PutUint32(b[4:], crc32.Update(seed, castagnoli, b[8:HeaderSize]))
}

// decodeHeader returns the header in b[:HeaderSize], or why there is none.
func decodeHeader(b []byte, seed uint32) (header, error) {
	if len(b) < HeaderSize {
		return header{}, fmt.Errorf("only %d bytes where a frame header should be", len(b))
	}
	if !bytes.Equal(b[:3], frameMagic[:3]) {
		return header{}, errors.New("no frame here")
	}
	if b[3] != frameMagic[3] {
		return header{}, fmt.Errorf("frame of unknown format %d", b[3])
	}
	if crc32.Update(seed, castagnoli, b[8:HeaderSize]) != binary.LittleEndian.Uint32(b[4:]) {
		return header{}, errors.New("header checksum does not match")
	}
	word := binary.LittleEndian.Uint64(b[32:])
	h := header{
		payloadCRC: binary.LittleEndian.Uint32(b[8:]),
		length:     int(binary.LittleEndian.Uint32(b[12:])),
		start:      Offset(binary.LittleEndian.Uint64(b[16:])),
		synced:     Offset(binary.LittleEndian.Uint64(b[24:])),
		timeMS:     int64(word & (1<<48 - 1)),
		db:         int(word >> 48),
	}
	if h.length < 1 || h.length > MaxPayload || h.start < 0 || h.synced < 0 || h.synced > h.start ||
		h.start > maxOffset-Offset(h.length) {
		return header{}, errors.New("header fields out of range")
	}
	return h, nil
}

// footer ends a sealed segment.
type footer struct {
	frames int64
	start  Offset
	end    Offset
	timeMS int64
}

func (f *footer) encode(seed uint32) []byte {
	b := make([]byte, HeaderSize)
	copy(b, footerMagic[:])
	binary.LittleEndian.PutUint64(b[8:], uint64(f.frames))
	binary.LittleEndian.PutUint64(b[16:], uint64(f.start))
	binary.LittleEndian.PutUint64(b[24:], uint64(f.end))
	binary.LittleEndian.PutUint64(b[32:], uint64(f.timeMS))
	binary.LittleEndian.PutUint32(b[4:], crc32.Update(seed, castagnoli, b[8:]))
	return b
}

// decodeFooter returns the footer in b, false if it is none or does not fit a file of that start and size.
func decodeFooter(b []byte, seed uint32, start Offset, fileSize int64) (footer, bool) {
	if len(b) != HeaderSize || !bytes.Equal(b[:4], footerMagic[:]) ||
		crc32.Update(seed, castagnoli, b[8:]) != binary.LittleEndian.Uint32(b[4:]) {
		return footer{}, false
	}
	f := footer{
		frames: int64(binary.LittleEndian.Uint64(b[8:])),
		start:  Offset(binary.LittleEndian.Uint64(b[16:])),
		end:    Offset(binary.LittleEndian.Uint64(b[24:])),
		timeMS: int64(binary.LittleEndian.Uint64(b[32:])),
	}
	ok := f.start == start && f.end >= f.start && f.frames >= 0 && f.frames <= int64(f.end-f.start) &&
		int64(f.end-f.start)+HeaderSize*(f.frames+1) == fileSize
	return f, ok
}

// badFrame says that no frame begins at a place where one should.
type badFrame struct {
	pos    int64 // in the file
	reason string
}

func (e *badFrame) Error() string { return fmt.Sprintf("bad frame at byte %d: %s", e.pos, e.reason) }

// scanner reads the frames of one segment in order, in large pieces.
type scanner struct {
	f    io.ReaderAt
	seed uint32
	size int64 // bytes of the file to look at
	pos  int64 // of the next frame
	want Offset
	// buf[:n] are the file's bytes from base on.
	buf  []byte
	base int64
	n    int
}

// newScanner makes a scanner for reading files of up to size bytes from end to end.
func newScanner(size int64) *scanner {
	return &scanner{buf: make([]byte, max(HeaderSize, min(replayBuffer, size)))}
}

// reset points the scanner to the frame that begins at pos with offset want.
func (s *scanner) reset(f io.ReaderAt, seed uint32, size, pos int64, want Offset) {
	s.f, s.seed, s.size, s.pos, s.want = f, seed, size, pos, want
	s.base, s.n = 0, 0
}

// peek returns the next n bytes without moving; fewer at the end of the file.
func (s *scanner) peek(n int) ([]byte, error) {
	if left := s.size - s.pos; int64(n) > left {
		n = int(max(left, 0))
	}
	if s.pos < s.base || s.pos+int64(n) > s.base+int64(s.n) {
		if err := s.fill(n); err != nil {
			return nil, err
		}
	}
	from := int(s.pos - s.base)
	return s.buf[from:min(from+n, s.n)], nil
}

func (s *scanner) fill(n int) error {
	if n > len(s.buf) {
		s.buf = make([]byte, n)
	}
	want := int(min(int64(len(s.buf)), s.size-s.pos))
	got, err := s.f.ReadAt(s.buf[:want], s.pos)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.base, s.n = s.pos, got
	return nil
}

// nextHeader returns the header of the frame at pos without moving: io.EOF at the end of the file,
// *badFrame if there is no frame of the wanted offset.
func (s *scanner) nextHeader() (header, error) {
	b, err := s.peek(HeaderSize)
	if err != nil {
		return header{}, err
	}
	if len(b) == 0 {
		return header{}, io.EOF
	}
	h, err := decodeHeader(b, s.seed)
	if err != nil {
		return header{}, &badFrame{s.pos, err.Error()}
	}
	if h.start != s.want {
		return header{}, &badFrame{s.pos, fmt.Sprintf("frame of offset %d where %d should be", h.start, s.want)}
	}
	return h, nil
}

// next returns the frame at pos, verified, and moves past it. The payload is valid until the next call.
func (s *scanner) next() (header, []byte, error) {
	h, err := s.nextHeader()
	if err != nil {
		return header{}, nil, err
	}
	if left := s.size - s.pos - HeaderSize; int64(h.length) > left {
		return h, nil, &badFrame{s.pos, fmt.Sprintf("payload of %d bytes, %d left in the file", h.length, left)}
	}
	b, err := s.peek(HeaderSize + h.length)
	if err != nil {
		return h, nil, err
	}
	if len(b) < HeaderSize+h.length {
		return h, nil, &badFrame{s.pos, "the file ends inside the frame"}
	}
	payload := b[HeaderSize:]
	if crc32.Checksum(payload, castagnoli) != h.payloadCRC {
		return h, nil, &badFrame{s.pos, "payload checksum does not match"}
	}
	s.skip(h)
	return h, payload, nil
}

func (s *scanner) skip(h header) {
	s.pos += HeaderSize + int64(h.length)
	s.want = h.end()
}

// resync moves from a bad place to the next header that can belong here, whatever state its payload is
// in; false at the end of the file. first is the offset at which the file begins.
func (s *scanner) resync(first Offset) (header, bool, error) {
	s.pos++
	for {
		b, err := s.buffered(HeaderSize)
		if err != nil || len(b) < HeaderSize {
			return header{}, false, err
		}
		at := bytes.Index(b, frameMagic[:])
		if at < 0 {
			s.pos += int64(len(b) - len(frameMagic) + 1)
			continue
		}
		s.pos += int64(at)
		if b, err = s.buffered(HeaderSize); err != nil {
			return header{}, false, err
		}
		// A frame at this place begins at most as many offsets into the segment as bytes into the file.
		if h, err := decodeHeader(b, s.seed); err == nil && h.start >= first && int64(h.start-first) <= s.pos {
			s.want = h.start
			return h, true, nil
		}
		s.pos++
	}
}

// buffered returns all bytes read ahead from pos on, at least n of them except at the end of the file.
func (s *scanner) buffered(n int) ([]byte, error) {
	if ahead := s.base + int64(s.n) - s.pos; s.pos >= s.base && ahead >= int64(n) {
		return s.buf[s.pos-s.base : s.n], nil
	}
	if s.pos >= s.size {
		return nil, nil
	}
	if err := s.fill(n); err != nil {
		return nil, err
	}
	return s.buf[:s.n], nil
}

// readFooter reads the footer of a segment file, false if it has none.
func readFooter(f disk.File, n segmentName) (footer, bool, error) {
	size, err := f.Size()
	if err != nil || size < HeaderSize {
		return footer{}, false, err
	}
	b := make([]byte, HeaderSize)
	if _, err := f.ReadAt(b, size-HeaderSize); err != nil && !errors.Is(err, io.EOF) {
		return footer{}, false, err
	}
	ft, ok := decodeFooter(b, n.seed, n.start, size)
	return ft, ok, nil
}
