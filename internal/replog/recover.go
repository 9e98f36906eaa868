package replog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"time"

	"haypile/internal/disk"
)

// keepTorn bounds how many copies of torn tails stay in a log's directory.
const keepTorn = 8

// DamageError says that bytes of the log are lost or changed that had been promised to be kept.
type DamageError struct {
	File   string
	Pos    int64  // byte in the file
	Offset Offset // in the stream
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("log damaged: %s, byte %d (offset %d): %s", e.File, e.Pos, e.Offset, e.Reason)
}

// Recovery tells what Open found and did.
type Recovery struct {
	Start, End   Offset
	Segments     int
	ScannedBytes int64
	// TornBytes were cut at the end of the log; copies are in TornFiles.
	TornBytes int64
	TornFiles []string
	TornWhy   string
	// FinishedCut: a truncation that a crash interrupted was finished.
	FinishedCut bool
	// Resealed counts segments whose footer was missing or unreadable, and which were verified in full.
	Resealed int
	Elapsed  time.Duration
}

// recoverer does the work of Open on the files.
type recoverer struct {
	fs     disk.FS
	dir    string
	now    func() time.Time
	began  time.Time
	files  dirListing
	segs   []*segment
	report Recovery
}

// tornAt is where the first bad frame of the unsealed segments lies.
type tornAt struct {
	seg    int
	pos    int64
	off    Offset
	reason string
}

func (r *recoverer) run() error {
	if err := r.tidy(); err != nil {
		return err
	}
	if err := r.readFooters(); err != nil {
		return err
	}
	if err := r.scanUnsealed(); err != nil {
		return err
	}
	if err := r.settle(); err != nil {
		return err
	}
	newest := r.segs[len(r.segs)-1]
	r.report.Start, r.report.End = r.segs[0].name.start, newest.end
	r.report.Segments = len(r.segs)
	r.report.Elapsed = r.now().Sub(r.began)
	return nil
}

// tidy removes leftovers and finishes a decided truncation.
func (r *recoverer) tidy() error {
	if !disk.Exists(r.fs, r.dir) {
		return ErrNoLog
	}
	var err error
	if r.files, err = listDir(r.fs, r.dir); err != nil {
		return err
	}
	for _, name := range r.files.tmp {
		if err := r.fs.Remove(filepath.Join(r.dir, name)); err != nil {
			return fmt.Errorf("removing leftover: %w", err)
		}
	}
	if len(r.files.cuts) > 0 {
		if err := finishCut(r.fs, r.dir); err != nil {
			return fmt.Errorf("finishing the truncation at %d: %w", r.files.cuts[0].start, err)
		}
		r.report.FinishedCut = true
		if r.files, err = listDir(r.fs, r.dir); err != nil {
			return err
		}
	}
	if len(r.files.segments) == 0 {
		return ErrNoLog
	}
	return nil
}

// readFooters fills r.segs and believes the footers of sealed segments if they join up.
func (r *recoverer) readFooters() error {
	for _, name := range r.files.segments {
		s := newSegment(r.fs, r.dir, name)
		f, err := r.fs.Open(s.path)
		if err != nil {
			return err
		}
		ft, sealed, err := readFooter(f, name)
		if err == nil {
			s.size, err = f.Size()
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("reading the footer of %s: %w", s.path, err)
		}
		if sealed {
			s.sealed, s.named = true, true
			s.end, s.frames, s.timeMS = ft.end, ft.frames, ft.timeMS
		}
		r.segs = append(r.segs, s)
	}
	for i, s := range r.segs[:len(r.segs)-1] {
		next := r.segs[i+1]
		if s.name.start == next.name.start {
			return &DamageError{File: next.path, Offset: next.name.start, Reason: "two segments of the same offset"}
		}
		if s.sealed && s.end != next.name.start {
			return joinError(s, next)
		}
	}
	return nil
}

func joinError(s, next *segment) error {
	what := "gap"
	if s.end > next.name.start {
		what = "overlap"
	}
	return &DamageError{File: s.path, Pos: s.size, Offset: s.end, Reason: fmt.Sprintf(
		"%s: the segment ends at offset %d, the next one, %s, begins at %d",
		what, s.end, filepath.Base(next.path), next.name.start)}
}

// scanUnsealed reads every segment without a footer, and cuts a torn tail.
func (r *recoverer) scanUnsealed() error {
	last := len(r.segs) - 1
	// Only the newest two may lack a footer after a crash; an older one has lost it to damage, so
	// nothing in it may be bad.
	tail := len(r.segs)
	if !r.segs[last].sealed {
		tail = last
		if last > 0 && !r.segs[last-1].sealed {
			tail = last - 1
		}
	}
	var highest Offset
	var largest int64
	for _, s := range r.segs {
		if !s.sealed {
			largest = max(largest, s.size)
		}
	}
	sc := newScanner(largest)
	for i, s := range r.segs {
		if s.sealed {
			continue
		}
		bad, err := r.scanSegment(sc, i, &highest)
		if err != nil {
			return err
		}
		if bad == nil {
			continue
		}
		damage := &DamageError{File: s.path, Pos: bad.pos, Offset: bad.off, Reason: bad.reason}
		if i < tail {
			return damage
		}
		if err := r.collectSynced(i, bad.pos, &highest); err != nil {
			return err
		}
		if bad.off < highest {
			damage.Reason += fmt.Sprintf(" (the log was synced through offset %d)", highest)
			return damage
		}
		return r.cutTorn(bad)
	}
	return nil
}

// scanSegment verifies the frames of a segment and learns its end, stopping at the first bad one.
func (r *recoverer) scanSegment(sc *scanner, i int, highest *Offset) (*tornAt, error) {
	s := r.segs[i]
	stop := Offset(math.MaxInt64)
	if i+1 < len(r.segs) {
		stop = r.segs[i+1].name.start
	}
	f, err := r.fs.Open(s.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sc.reset(f, s.name.seed, s.size, 0, s.name.start)
	defer func() { r.report.ScannedBytes += sc.pos }()
	for sc.want < stop {
		pos := sc.pos
		h, _, err := sc.next()
		var bad *badFrame
		switch {
		case errors.Is(err, io.EOF) && stop == math.MaxInt64:
			return nil, nil
		case errors.Is(err, io.EOF):
			why := fmt.Sprintf("the segment ends, the next one begins at offset %d", stop)
			return &tornAt{i, pos, sc.want, why}, nil
		case errors.As(err, &bad):
			return &tornAt{i, pos, sc.want, bad.reason}, unknownFormat(sc, s)
		case err != nil:
			return nil, fmt.Errorf("reading segment %s: %w", s.path, err)
		}
		s.noteFrame(h.start, pos)
		s.end, s.timeMS = h.end(), h.timeMS
		s.frames++
		*highest = max(*highest, h.synced)
	}
	if sc.want > stop {
		return nil, joinError(s, r.segs[i+1])
	}
	// What follows the last frame of a segment that was left is a footer that did not get whole, or the
	// rest of a write that was rolled back.
	_, err = sc.nextHeader()
	if err == nil {
		s.end = sc.want + 1
		return nil, joinError(s, r.segs[i+1])
	}
	return nil, nil
}

// unknownFormat keeps an older program from taking a newer log for a torn one.
func unknownFormat(sc *scanner, s *segment) error {
	if sc.pos > 0 {
		return nil
	}
	b, err := sc.peek(len(frameMagic))
	if err == nil && len(b) == 4 && bytes.Equal(b[:3], frameMagic[:3]) && b[3] > frameMagic[3] {
		return fmt.Errorf("segment %s: log format %d is newer than this program's %d", s.path, b[3], frameMagic[3])
	}
	return nil
}

// collectSynced looks for the highest synced-through in what follows a bad frame.
func (r *recoverer) collectSynced(from int, pos int64, highest *Offset) error {
	for _, s := range r.segs[from:] {
		sc := newScanner(s.size)
		f, err := r.fs.Open(s.path)
		if err != nil {
			return err
		}
		sc.reset(f, s.name.seed, s.size, pos, s.name.start)
		for {
			h, ok, err := sc.resync(s.name.start)
			if err != nil {
				return errors.Join(fmt.Errorf("reading segment %s: %w", s.path, err), f.Close())
			}
			if !ok {
				break
			}
			*highest = max(*highest, h.synced)
		}
		if err := f.Close(); err != nil {
			return err
		}
		pos = -1
	}
	return nil
}

// cutTorn copies the log from a bad frame on aside and cuts it there. If this is interrupted, whatever has
// reached the disk is still a torn tail; settle makes it durable.
func (r *recoverer) cutTorn(bad *tornAt) error {
	for i := len(r.segs) - 1; i > bad.seg; i-- {
		s := r.segs[i]
		r.report.TornBytes += s.size
		if err := r.copyAside(s, 0); err != nil {
			return err
		}
		if err := r.fs.Remove(s.path); err != nil {
			return fmt.Errorf("removing torn segment: %w", err)
		}
	}
	s := r.segs[bad.seg]
	r.segs = r.segs[:bad.seg+1]
	r.report.TornBytes += s.size - bad.pos
	r.report.TornWhy = fmt.Sprintf("%s, byte %d (offset %d): %s", s.path, bad.pos, bad.off, bad.reason)
	if err := r.copyAside(s, bad.pos); err != nil {
		return err
	}
	if err := truncateFile(r.fs, s.path, bad.pos); err != nil {
		return fmt.Errorf("cutting %s to %d bytes: %w", s.path, bad.pos, err)
	}
	s.size = bad.pos
	return r.forgetOldTorn()
}

// copyAside copies a file from a place on into a torn-*.tail file.
func (r *recoverer) copyAside(s *segment, from int64) error {
	if from >= s.size {
		return nil
	}
	in, err := r.fs.Open(s.path)
	if err != nil {
		return err
	}
	defer in.Close()
	at := r.began.UnixMilli()
	name, path := "", ""
	for ; name == "" || disk.Exists(r.fs, path); at++ {
		name = fmt.Sprintf("torn-%013d-%019d%s", at, s.name.start, tornSuffix)
		path = filepath.Join(r.dir, name)
	}
	src := io.NewSectionReader(in, from, s.size-from)
	if err := copyToFile(r.fs, path, nil, src); err != nil {
		return fmt.Errorf("copying the torn tail of %s: %w", s.path, err)
	}
	r.report.TornFiles = append(r.report.TornFiles, path)
	r.files.torn = append(r.files.torn, name)
	return nil
}

// forgetOldTorn removes the oldest copies above the bound; their names begin with the time.
func (r *recoverer) forgetOldTorn() error {
	for len(r.files.torn) > keepTorn {
		if err := r.fs.Remove(filepath.Join(r.dir, r.files.torn[0])); err != nil {
			return fmt.Errorf("removing old copy: %w", err)
		}
		r.files.torn = r.files.torn[1:]
	}
	return nil
}

// settle makes everything that was found durable, adds missing footers and opens the newest segment.
func (r *recoverer) settle() error {
	last := len(r.segs) - 1
	for i, s := range r.segs {
		if s.sealed {
			continue
		}
		out, err := r.fs.OpenAppend(s.path)
		if err != nil {
			return err
		}
		if i < last {
			err = resealFile(out, s)
			r.report.Resealed++
		} else {
			s.out = out
			err = out.Sync()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("settling segment %s: %w", s.path, err), out.Close())
		}
	}
	if r.segs[last].sealed {
		// The crash took the name of its successor.
		s, err := createSegment(r.fs, r.dir, r.segs[last].end)
		if err != nil {
			return err
		}
		r.segs = append(r.segs, s)
	}
	if err := r.fs.SyncDir(r.dir); err != nil {
		return fmt.Errorf("syncing log directory: %w", err)
	}
	r.segs[len(r.segs)-1].named = true
	return nil
}

// resealFile makes the frames of s durable and puts the footer behind them.
func resealFile(out disk.File, s *segment) error {
	size := int64(s.end-s.name.start) + HeaderSize*s.frames
	if err := out.Sync(); err != nil {
		return err
	}
	ft := footer{frames: s.frames, start: s.name.start, end: s.end, timeMS: s.timeMS}
	if err := writeFooter(out, ft, size, s.name.seed); err != nil {
		return err
	}
	s.size, s.sealed, s.named = size+HeaderSize, true, true
	return out.Close()
}

func truncateFile(fsys disk.FS, path string, size int64) error {
	f, err := fsys.OpenAppend(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// copyToFile writes head and then src into a new file, synced with its name, replacing what was there.
func copyToFile(fsys disk.FS, path string, head []byte, src io.Reader) error {
	tmp := path + tmpSuffix
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(head)
	if err == nil {
		// Only Write: the destination must not offer ReadFrom, which would bypass fault injection.
		_, err = io.CopyBuffer(struct{ io.Writer }{f}, src, make([]byte, readBuffer))
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(tmp))
	}
	if err := fsys.Rename(tmp, path); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}
