package replog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"syscall"
)

// keepBuffer bounds the buffer that Append keeps between calls.
const keepBuffer = 1 << 20

// Append adds one frame: the next bytes of the stream, with the database that is selected where they
// begin. It returns the log's new end once the operating system has the bytes. The payload is copied.
//
// An error that is no ErrLogFailed leaves the log as it was: ErrReignOver, or a full disk
// (errors.Is(err, syscall.ENOSPC)), after which appending may be tried again.
func (l *Log) Append(reign Reign, db int, payload []byte) (Offset, error) {
	l.app.Lock()
	defer l.app.Unlock()
	size := HeaderSize + len(payload)
	buf := l.app.buf
	if cap(buf) < size {
		buf = make([]byte, size+size/4)
		if len(buf) <= keepBuffer {
			l.app.buf = buf
		}
	}
	buf = buf[:size]
	copy(buf[HeaderSize:], payload)
	return l.appendLocked(reign, db, buf)
}

// AppendFrame is Append without the copy: frame[HeaderSize:] is the payload, frame[:HeaderSize] is
// overwritten with the header.
func (l *Log) AppendFrame(reign Reign, db int, frame []byte) (Offset, error) {
	l.app.Lock()
	defer l.app.Unlock()
	return l.appendLocked(reign, db, frame)
}

func (l *Log) appendLocked(reign Reign, db int, frame []byte) (Offset, error) {
	start := l.End()
	payload := frame[HeaderSize:]
	switch {
	case l.closed.Load():
		return start, ErrClosed
	case l.failure.Load() != nil:
		return start, l.Err()
	case !l.Reigning(reign):
		return start, ErrReignOver
	case len(payload) == 0:
		return start, nil
	case len(payload) > MaxPayload || db < 0 || db > MaxDB:
		return start, fmt.Errorf("appending %d bytes of database %d: %w", len(payload), db, ErrTooLarge)
	}
	if l.app.pos >= l.app.rollAt {
		l.rollLocked()
	}
	h := header{
		payloadCRC: crc32.Checksum(payload, castagnoli),
		length:     len(payload),
		start:      start,
		synced:     l.Synced(),
		timeMS:     l.opt.Now().UnixMilli(),
		db:         db,
	}
	seg := l.app.seg
	h.encode(frame, seg.name.seed)
	if n, err := l.app.out.Write(frame); err != nil {
		return start, l.rollBackLocked(n, err)
	}
	pos := l.app.pos
	l.app.pos += int64(len(frame))
	l.app.frames++
	l.app.timeMS = h.timeMS
	l.bytes.Add(int64(len(frame)))
	end := h.end()
	seg.noteFrame(start, pos)
	l.tail.append(payload)
	l.end.Store(int64(end)) // publishes file, index and tail to readers
	l.waiters.wake(end)
	return end, nil
}

// rollBackLocked removes what a failed write left. A full disk is the caller's to solve; any other write
// error, or a part that cannot be removed, ends the log.
func (l *Log) rollBackLocked(wrote int, cause error) error {
	cause = fmt.Errorf("appending at offset %d, %d bytes written: %w", l.End(), wrote, cause)
	if err := l.app.out.Truncate(l.app.pos); err != nil {
		return l.fail(fmt.Errorf("%w: %w; then removing the part: %w", ErrLogFailed, cause, err))
	}
	if isDiskFull(cause) {
		return cause
	}
	return l.fail(fmt.Errorf("%w: %w", ErrLogFailed, cause))
}

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// rollLocked goes on in a new segment, if the one before the newest is sealed; the newest grows until
// then. The old one is synced and sealed in the background. A full disk puts either off for an eighth of
// a segment.
func (l *Log) rollLocked() {
	if l.app.frames == 0 || l.sealing.Load() {
		return
	}
	var prev *segment
	l.segs.Lock()
	n := len(l.segs.list)
	if n > 1 && !l.segs.list[n-2].sealed {
		prev = l.segs.list[n-2]
	}
	l.segs.Unlock()
	if prev != nil {
		l.app.rollAt = l.app.pos + l.opt.SegmentBytes/8
		l.sealing.Store(true)
		l.sealers.Go(func() { l.seal(prev) })
		return
	}
	next, err := createSegment(l.fs, l.dir, l.End())
	if err != nil {
		l.app.rollAt = l.app.pos + l.opt.SegmentBytes/8
		l.opt.Logger.Warn("log stays in its segment", "dir", l.dir, "err", err)
		return
	}
	old := l.app.seg
	l.segs.Lock()
	old.end, old.size, old.frames, old.timeMS = l.End(), l.app.pos, l.app.frames, l.app.timeMS
	l.segs.list = append(l.segs.list, next)
	l.segs.Unlock()
	l.useSegmentLocked(next)
	l.sealing.Store(true)
	l.sealers.Go(func() { l.seal(old) })
}

// useSegmentLocked makes appends go to a segment.
func (l *Log) useSegmentLocked(s *segment) {
	l.app.seg, l.app.out = s, s.out
	l.app.pos, l.app.frames = s.size, s.frames
	l.app.rollAt = l.opt.SegmentBytes
}
