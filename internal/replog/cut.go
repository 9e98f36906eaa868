package replog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"

	"haypile/internal/disk"
)

// Rescue describes a file of stream bytes that Truncate cut off. The file is one header line,
//
//	haypile-rescue 1 start=<offset> end=<offset> frame=<offset> db=<n>
//
// and then the bytes [Start, End) of the stream.
type Rescue struct {
	Start, End Offset
	// Frame is the first offset of the frame that contains Start, DB the database selected there: a
	// SELECT may stand between the two.
	Frame Offset
	DB    int
}

const rescueLine = "haypile-rescue 1 start=%d end=%d frame=%d db=%d\n"

// ReadRescue opens a rescue file: what it holds, and its stream bytes. The caller closes the file.
func ReadRescue(fsys disk.FS, path string) (Rescue, io.Reader, io.Closer, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return Rescue{}, nil, nil, err
	}
	size, err := f.Size()
	if err != nil {
		return Rescue{}, nil, nil, errors.Join(err, f.Close())
	}
	in := bufio.NewReader(io.NewSectionReader(f, 0, size))
	var r Rescue
	line, err := in.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscanf(line, rescueLine, &r.Start, &r.End, &r.Frame, &r.DB)
	}
	if err == nil && size-int64(len(line)) != int64(r.End-r.Start) {
		err = fmt.Errorf("%d bytes after the header line, %d announced", size-int64(len(line)), r.End-r.Start)
	}
	if err != nil {
		return Rescue{}, nil, nil, errors.Join(fmt.Errorf("rescue file %s: %w", path, err), f.Close())
	}
	return r, in, f, nil
}

// Truncate cuts the log at an offset, which may lie inside a frame. The bytes above it go into the rescue
// file first, synced, replacing a file of that name; an empty name drops them. A crash leaves the log
// whole or cut, never between. The present reign ends, and bytes up to the new end are synced. Cutting at
// the end changes nothing else.
//
// An error that is no ErrLogFailed leaves the log whole.
func (l *Log) Truncate(at Offset, rescueFile string) error {
	l.maint.Lock()
	defer l.maint.Unlock()
	l.app.Lock()
	defer l.app.Unlock()
	l.reign.Add(1)
	end := l.End()
	switch {
	case l.closed.Load():
		return ErrClosed
	case l.failure.Load() != nil:
		return l.Err()
	case at > end:
		return fmt.Errorf("truncating at %d of %d: %w", at, end, ErrBeyondEnd)
	case at < l.Start():
		return fmt.Errorf("truncating at %d, the log starts at %d: %w", at, l.Start(), ErrTrimmed)
	case at == end:
		return nil
	}
	l.takeFlight()
	defer l.dropFlight()
	if err := l.syncAll(); err != nil { // once decided, the part that stays has to be there
		return err
	}
	frame, err := l.frameAt(at)
	if err != nil {
		return fmt.Errorf("truncating at %d: %w", at, err)
	}
	if rescueFile != "" {
		if err := l.writeRescue(rescueFile, Rescue{at, end, frame.Start, frame.DB}); err != nil {
			return fmt.Errorf("writing rescue file %s: %w", rescueFile, err)
		}
	}
	if undone, err := decideCut(l.fs, l.dir, at, frame); err != nil {
		err = fmt.Errorf("deciding the truncation at %d: %w", at, err)
		if !undone {
			err = l.fail(fmt.Errorf("%w: %w", ErrLogFailed, err))
		}
		return err
	}
	if err := l.cutNow(at); err != nil {
		// Decided, but not done: the next Open finishes it.
		return l.fail(fmt.Errorf("%w: truncating at %d: %w", ErrLogFailed, at, err))
	}
	return nil
}

// frameAt returns the frame that contains an offset below the end, whole.
func (l *Log) frameAt(at Offset) (Frame, error) {
	s, _, size := l.segmentAt(at)
	if s == nil {
		return Frame{}, ErrTrimmed
	}
	sc := scannerPool.Get().(*scanner)
	defer sc.release()
	done, err := l.seek(sc, s, size, at)
	if err != nil {
		return Frame{}, err
	}
	defer done()
	h, payload, err := sc.next()
	if err != nil {
		return Frame{}, s.wrap(err, sc.want)
	}
	return Frame{Start: h.start, DB: h.db, Payload: bytes.Clone(payload), TimeMS: h.timeMS}, nil
}

func (l *Log) writeRescue(path string, r Rescue) error {
	if err := disk.MkdirSynced(l.fs, filepath.Dir(path)); err != nil {
		return err
	}
	head := fmt.Appendf(nil, rescueLine, r.Start, r.End, r.Frame, r.DB)
	return copyToFile(l.fs, path, head, &streamReader{l, r.Start, r.End})
}

// streamReader reads a range of the stream.
type streamReader struct {
	log       *Log
	next, end Offset
}

func (r *streamReader) Read(p []byte) (int, error) {
	if r.next >= r.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), int64(r.end-r.next))]
	n, err := r.log.ReadAt(p, r.next)
	r.next += Offset(n)
	return n, err
}

// decideCut puts the new last segment beside the log, as <offset>-<seed>.cut: empty if the cut lies
// between frames, else the shortened frame. With its name synced the cut is decided; before, nothing has
// happened. undone says, beside an error, that no trace of it is left.
func decideCut(fsys disk.FS, dir string, at Offset, frame Frame) (undone bool, err error) {
	name := newSegmentName(frame.Start)
	var content []byte
	if keep := int(at - frame.Start); keep > 0 {
		content = append(make([]byte, HeaderSize, HeaderSize+keep), frame.Payload[:keep]...)
		h := header{
			payloadCRC: crc32.Checksum(content[HeaderSize:], castagnoli),
			length:     keep,
			start:      frame.Start,
			synced:     frame.Start,
			timeMS:     frame.TimeMS,
			db:         frame.DB,
		}
		h.encode(content, name.seed)
	}
	path := filepath.Join(dir, name.file(cutSuffix))
	if err := copyToFile(fsys, path, content, bytes.NewReader(nil)); err != nil {
		// The name may have got through without its sync: take it back, or the next Open would cut.
		back := removeCut(fsys, path)
		return back == nil, errors.Join(err, back)
	}
	return true, nil
}

func removeCut(fsys disk.FS, path string) error {
	if !disk.Exists(fsys, path) {
		return nil
	}
	if err := fsys.Remove(path); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

// finishCut does what decideCut decided. Every step may be done again, as long as the name of the new
// segment is not durable; what the caller syncs next makes it so.
func finishCut(fsys disk.FS, dir string) error {
	files, err := listDir(fsys, dir)
	if err != nil {
		return err
	}
	if len(files.cuts) != 1 {
		return fmt.Errorf("%d truncations pending", len(files.cuts))
	}
	cut := files.cuts[0]
	i := slices.IndexFunc(files.segments, func(n segmentName) bool { return n.start >= cut.start })
	if i < 0 {
		i = len(files.segments)
	}
	for _, n := range slices.Backward(files.segments[i:]) {
		if err := fsys.Remove(filepath.Join(dir, n.file(segmentSuffix))); err != nil {
			return fmt.Errorf("removing truncated segment: %w", err)
		}
	}
	// Before the new segment gets its name: without the .cut nobody would remove them any more.
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	if i > 0 {
		if err := endSegmentAt(newSegment(fsys, dir, files.segments[i-1]), cut.start); err != nil {
			return err
		}
	}
	from, to := filepath.Join(dir, cut.file(cutSuffix)), filepath.Join(dir, cut.file(segmentSuffix))
	if err := fsys.Rename(from, to); err != nil {
		return fmt.Errorf("adding the new segment: %w", err)
	}
	return nil
}

// endSegmentAt cuts a segment at the start of a frame and seals it.
func endSegmentAt(s *segment, at Offset) error {
	out, err := s.fs.OpenAppend(s.path)
	if err != nil {
		return err
	}
	size, err := out.Size()
	if err != nil {
		return errors.Join(err, out.Close())
	}
	sc := scannerPool.Get().(*scanner)
	defer sc.release()
	sc.reset(out, s.name.seed, size, 0, s.name.start)
	for sc.want < at {
		h, err := sc.nextHeader()
		if err == nil && h.end() > at {
			err = &badFrame{sc.pos, fmt.Sprintf("frame ends at offset %d, past the cut at %d", h.end(), at)}
		}
		if err != nil {
			return errors.Join(s.wrap(err, sc.want), out.Close())
		}
		sc.skip(h)
		s.frames++
		s.timeMS = h.timeMS
	}
	s.end = at
	if err := resealFile(out, s); err != nil {
		return errors.Join(fmt.Errorf("ending segment %s at offset %d: %w", s.path, at, err), out.Close())
	}
	return nil
}

// cutNow performs a decided cut on the files and brings the open log to the same state. The caller holds
// maint and app and is on the flight.
func (l *Log) cutNow(at Offset) error {
	l.cutting.Lock()
	defer l.cutting.Unlock()
	l.segs.Lock()
	old := slices.Clone(l.segs.list)
	l.segs.Unlock()
	for _, s := range old {
		if s.out == nil {
			continue
		}
		if err := s.out.Close(); err != nil {
			return err
		}
		s.out = nil
	}
	if err := finishCut(l.fs, l.dir); err != nil {
		return err
	}
	r := recoverer{fs: l.fs, dir: l.dir, now: l.opt.Now, began: l.opt.Now()}
	if err := r.run(); err != nil {
		return err
	}
	if r.report.End != at {
		return fmt.Errorf("the log ends at %d afterwards", r.report.End)
	}
	var bytes int64
	for _, s := range r.segs {
		bytes += s.size
	}
	l.tail.cut(at, func() {
		l.segs.Lock()
		l.segs.list = r.segs
		l.segs.Unlock()
		l.synced.Store(int64(at))
		l.end.Store(int64(at))
		l.start.Store(int64(r.report.Start))
		l.bytes.Store(bytes)
		l.cuts.Add(1)
	})
	for _, s := range old {
		s.drop()
	}
	newest := r.segs[len(r.segs)-1]
	l.useSegmentLocked(newest)
	l.app.timeMS = newest.timeMS
	return nil
}
