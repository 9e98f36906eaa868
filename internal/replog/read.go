package replog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

const (
	readBuffer   = 128 << 10 // for reads from the middle of a segment
	replayBuffer = 1 << 20   // for reading whole segments
	// verifyUpTo is the size of frames that ReadAt reads whole in order to check them.
	verifyUpTo = 1 << 20
	// maxIdleHandles bounds the open files of segments that nobody reads.
	maxIdleHandles = 16
)

// Frame is one frame of the log, or the end of one. Payload is valid until the callback returns.
type Frame struct {
	Start   Offset
	DB      int // selected where the frame begins, also if Payload is only its end
	Payload []byte
	TimeMS  int64 // time of the append on this node, ms since 1970
}

// End is the offset after the payload.
func (f *Frame) End() Offset { return f.Start + Offset(len(f.Payload)) }

var scannerPool = sync.Pool{New: func() any { return &scanner{buf: make([]byte, readBuffer)} }}

func (s *scanner) release() {
	s.f = nil
	if len(s.buf) <= 2*verifyUpTo {
		scannerPool.Put(s)
	}
}

// ReadAt fills p with the stream's bytes from off on and returns how many: at least one if off is below
// the end, fewer than len(p) if the end, a segment or the in-memory tail ends before; 0 without an error
// at the end. ErrTrimmed below the start, ErrBeyondEnd above the end, *DamageError if the disk lies.
func (l *Log) ReadAt(p []byte, off Offset) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		cuts := l.cuts.Load()
		end := l.End()
		switch {
		case off > end:
			return 0, fmt.Errorf("reading at %d of %d: %w", off, end, ErrBeyondEnd)
		case off == end:
			return 0, nil
		}
		if n, ok := l.tail.read(p, off, &l.end); ok {
			return n, nil
		}
		n, err := l.readDisk(p, off)
		if n > 0 || !l.cutSince(cuts) {
			return n, err
		}
	}
}

// cutSince waits for a truncation that is under way, and reports whether there was one since cuts was read.
func (l *Log) cutSince(cuts uint64) bool {
	l.cutting.RLock()
	defer l.cutting.RUnlock()
	return l.cuts.Load() != cuts
}

// readDisk reads from one segment.
func (l *Log) readDisk(p []byte, off Offset) (int, error) {
	s, end, size := l.segmentAt(off)
	if s == nil {
		return 0, fmt.Errorf("reading at %d, the log starts at %d: %w", off, l.Start(), ErrTrimmed)
	}
	if off >= end {
		return 0, nil // cut in between; the caller looks again
	}
	sc := scannerPool.Get().(*scanner)
	defer sc.release()
	done, err := l.seek(sc, s, size, off)
	if err != nil {
		return 0, err
	}
	defer done()
	n := 0
	for n < len(p) && sc.want < end {
		at := off + Offset(n)
		m, err := sc.readFrame(p[n:], at)
		if err != nil && n == 0 {
			return 0, s.wrap(err, sc.want)
		}
		if err != nil {
			break // the next read meets the error again
		}
		n += m
	}
	return n, nil
}

// seek points sc to the frame of s that contains off. done gives the file back.
func (l *Log) seek(sc *scanner, s *segment, size int64, off Offset) (done func(), err error) {
	f, opened, err := s.acquire(l.ticks.Add(1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("opening segment %s: %w", s.path, err)
	case f == nil && l.closed.Load():
		return nil, ErrClosed
	case f == nil:
		return nil, fmt.Errorf("reading at %d, the log starts at %d: %w", off, l.Start(), ErrTrimmed)
	case opened:
		l.closeIdle()
	}
	done = s.release
	if err := s.extendIndex(f, size, off); err != nil {
		done()
		return nil, s.wrap(err, off)
	}
	m, _ := s.lookUp(off)
	sc.reset(f, s.name.seed, size, m.pos, m.off)
	for {
		h, err := sc.nextHeader()
		if err != nil {
			done()
			return nil, s.wrap(err, sc.want)
		}
		if h.end() > off {
			return done, nil
		}
		sc.skip(h)
	}
}

// readFrame copies the bytes from at on out of the frame at the scanner's place, and moves past the frame
// if it gave its last byte. A large frame is read in pieces, unverified but for its header.
func (s *scanner) readFrame(p []byte, at Offset) (int, error) {
	h, err := s.nextHeader()
	if err != nil {
		return 0, err
	}
	if h.length <= verifyUpTo {
		h, payload, err := s.next()
		if err != nil {
			return 0, err
		}
		return copy(p, payload[at-h.start:]), nil
	}
	p = p[:min(int64(len(p)), int64(h.end()-at))]
	n, err := s.f.ReadAt(p, s.pos+HeaderSize+int64(at-h.start))
	if err != nil && !(errors.Is(err, io.EOF) && n == len(p)) {
		return n, err
	}
	if at+Offset(n) == h.end() {
		s.skip(h)
	}
	return n, nil
}

// wrap turns a bad frame into damage of this segment.
func (s *segment) wrap(err error, off Offset) error {
	var bad *badFrame
	switch {
	case errors.As(err, &bad):
		return &DamageError{File: s.path, Pos: bad.pos, Offset: off, Reason: bad.reason}
	case errors.Is(err, io.EOF):
		return &DamageError{File: s.path, Offset: off, Reason: "the file ends too early"}
	}
	return fmt.Errorf("reading segment %s: %w", s.path, err)
}

// closeIdle closes the reading handles that were idle for longest, above the bound.
func (l *Log) closeIdle() {
	l.segs.Lock()
	defer l.segs.Unlock()
	for {
		open := 0
		var oldest *segment
		var used uint64
		for _, s := range l.segs.list {
			s.in.Lock()
			if s.in.file != nil && s.in.refs == 0 {
				open++
				if oldest == nil || s.in.used < used {
					oldest, used = s, s.in.used
				}
			}
			s.in.Unlock()
		}
		if open <= maxIdleHandles {
			return
		}
		oldest.in.Lock()
		oldest.closeIdleLocked()
		oldest.in.Unlock()
	}
}

// Replay calls fn for each frame from the one that contains an offset on, in order and verified, up to
// the end at the time of the call. The first payload begins at the offset itself, which may be inside its
// frame. An error of fn ends the replay and is returned as it is.
func (l *Log) Replay(from Offset, fn func(Frame) error) error {
	end := l.End()
	if from > end {
		return fmt.Errorf("replaying from %d of %d: %w", from, end, ErrBeyondEnd)
	}
	cuts := l.cuts.Load()
	sc := newScanner(l.DiskBytes())
	for from < end {
		var stopped error
		next, err := l.replaySegment(sc, from, end, func(f Frame) error {
			stopped = fn(f)
			return stopped
		})
		switch {
		case stopped != nil:
			return stopped
		case err != nil && l.cutSince(cuts):
			return fmt.Errorf("replaying at %d: the log was truncated: %w", next, ErrBeyondEnd)
		case err != nil:
			return err
		}
		from = next
	}
	return nil
}

// replaySegment replays the part of [from, end) that lies in one segment, and returns where it ends.
func (l *Log) replaySegment(sc *scanner, from, end Offset, fn func(Frame) error) (Offset, error) {
	s, segEnd, size := l.segmentAt(from)
	if s == nil {
		return from, fmt.Errorf("replaying from %d, the log starts at %d: %w", from, l.Start(), ErrTrimmed)
	}
	if from >= segEnd {
		return from, fmt.Errorf("replaying from %d: the log was cut to %d: %w", from, segEnd, ErrBeyondEnd)
	}
	end = min(end, segEnd)
	done, err := l.seek(sc, s, size, from)
	if err != nil {
		return from, err
	}
	defer done()
	for from < end {
		h, payload, err := sc.next()
		if err != nil {
			return from, s.wrap(err, sc.want)
		}
		skip := max(from-h.start, 0)
		f := Frame{Start: h.start + skip, DB: h.db, Payload: payload[skip:], TimeMS: h.timeMS}
		if err := fn(f); err != nil {
			return from, err
		}
		from = h.end()
	}
	return from, nil
}

// SumBefore returns the CRC-32C of the n bytes of the stream before an offset, of fewer if the log starts
// later, and of how many. Two nodes with equal lineage compare it before they join their logs.
func (l *Log) SumBefore(at Offset, n int) (sum uint32, of int, err error) {
	from := max(at-Offset(n), l.Start(), 0)
	if from > at {
		return 0, 0, fmt.Errorf("checksum before %d, the log starts at %d: %w", at, from, ErrTrimmed)
	}
	if end := l.End(); at > end {
		return 0, 0, fmt.Errorf("checksum before %d of %d: %w", at, end, ErrBeyondEnd)
	}
	of = int(at - from)
	buf := make([]byte, min(of, readBuffer))
	for from < at {
		m, err := l.ReadAt(buf[:min(int64(len(buf)), int64(at-from))], from)
		if err != nil {
			return 0, 0, err
		}
		if m == 0 {
			return 0, 0, fmt.Errorf("checksum before %d: the log was cut: %w", at, ErrBeyondEnd)
		}
		sum = crc32.Update(sum, castagnoli, buf[:m])
		from += Offset(m)
	}
	return sum, of, nil
}
