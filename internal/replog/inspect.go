package replog

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"haypile/internal/disk"
)

// Report is what Verify found in a log's files.
type Report struct {
	Start, End Offset
	Segments   int
	Frames     int64
	FileBytes  int64
	// Synced is the highest synced-through that a frame carries.
	Synced Offset
	// Damage lists everything that is not as it should be, in order. A torn tail is listed too: it is
	// only damage if it lies below Synced or not in the newest segments.
	Damage []*DamageError
	// Pending are a truncation that was decided and not finished, and copies of torn tails, by file name.
	Pending []string
}

// Verify reads a log's files and checks every checksum, without changing anything. visit, if not nil, gets
// each good frame with its place. The log may be open meanwhile: what is appended during the walk then
// looks like a torn tail. The error is one of reading, not of content.
func Verify(fsys disk.FS, dir string, visit func(file string, pos int64, f Frame)) (Report, error) {
	v := verifier{fs: fsys, dir: dir, visit: visit}
	err := v.run()
	return v.report, err
}

type verifier struct {
	fs     disk.FS
	dir    string
	visit  func(file string, pos int64, f Frame)
	report Report
	// eachSegment, if not nil, is called after each segment.
	eachSegment func(s *segment, ft *footer)
}

func (v *verifier) run() error {
	files, err := listDir(v.fs, v.dir)
	if err != nil {
		return err
	}
	if len(files.segments) == 0 {
		return fmt.Errorf("%s: %w", v.dir, ErrNoLog)
	}
	for _, n := range files.cuts {
		v.report.Pending = append(v.report.Pending, n.file(cutSuffix))
	}
	v.report.Pending = append(v.report.Pending, files.torn...)
	v.report.Start = files.segments[0].start
	v.report.End = v.report.Start
	for _, name := range files.segments {
		s := newSegment(v.fs, v.dir, name)
		if s.name.start != v.report.End {
			v.damaged(s, 0, s.name.start, fmt.Sprintf("the log before it ends at offset %d", v.report.End))
		}
		if err := v.segment(s); err != nil {
			return fmt.Errorf("reading %s: %w", s.path, err)
		}
		v.report.Segments++
		v.report.FileBytes += s.size
		v.report.End = s.end
	}
	return nil
}

func (v *verifier) damaged(s *segment, pos int64, off Offset, reason string) {
	v.report.Damage = append(v.report.Damage, &DamageError{File: s.path, Pos: pos, Offset: off, Reason: reason})
}

// segment walks one file, going on behind bad places where a header can be found.
func (v *verifier) segment(s *segment) error {
	f, err := v.fs.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.size, err = f.Size(); err != nil {
		return err
	}
	ft, sealed, err := readFooter(f, s.name)
	if err != nil {
		return err
	}
	sc := newScanner(s.size)
	sc.reset(f, s.name.seed, s.size, 0, s.name.start)
	if sealed {
		sc.size -= HeaderSize
	}
	before := len(v.report.Damage)
	if err := v.frames(sc, s); err != nil {
		return err
	}
	if sealed {
		if s.end != ft.end || s.frames != ft.frames && len(v.report.Damage) == before {
			v.damaged(s, sc.size, ft.end, fmt.Sprintf("the footer says %d frames up to offset %d, found %d up to %d",
				ft.frames, ft.end, s.frames, s.end))
		}
		s.end = ft.end // not to report the same once more in the next segment
	}
	if v.eachSegment != nil {
		var footer *footer
		if sealed {
			footer = &ft
		}
		v.eachSegment(s, footer)
	}
	return nil
}

// frames walks the frames of one segment.
func (v *verifier) frames(sc *scanner, s *segment) error {
	for {
		pos := sc.pos
		h, payload, err := sc.next()
		var bad *badFrame
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			v.damaged(s, bad.pos, sc.want, bad.reason)
			if h.length > 0 && pos+HeaderSize+int64(h.length) <= sc.size {
				sc.skip(h) // a good header tells where the next frame is
				s.end = h.end()
				continue
			}
			if _, ok, err := sc.resync(s.name.start); err != nil || !ok {
				return err
			}
			continue
		case err != nil:
			return err
		}
		s.frames++
		s.end, s.timeMS = h.end(), h.timeMS
		v.report.Frames++
		v.report.Synced = max(v.report.Synced, h.synced)
		if v.visit != nil {
			v.visit(s.path, pos, Frame{Start: h.start, DB: h.db, Payload: payload, TimeMS: h.timeMS})
		}
	}
}

// Inspect writes what Verify finds for a person to read: a line per segment, with verbose also one per
// frame, and all damage. It returns the first damage as an error.
func Inspect(w io.Writer, fsys disk.FS, dir string, verbose bool) error {
	var werr error
	printf := func(format string, args ...any) {
		if werr == nil {
			_, werr = fmt.Fprintf(w, format, args...)
		}
	}
	v := verifier{fs: fsys, dir: dir}
	if verbose {
		v.visit = func(_ string, pos int64, f Frame) {
			printf("  byte %-10d offset %-12d +%-8d db %-3d %s  %s\n", pos, f.Start, len(f.Payload), f.DB,
				time.UnixMilli(f.TimeMS).UTC().Format("2006-01-02T15:04:05.000Z"), preview(f.Payload))
		}
	}
	v.eachSegment = func(s *segment, ft *footer) {
		state := "open"
		if ft != nil {
			state = "sealed"
		}
		printf("%s  %s  offsets %d..%d  %d frames  %d bytes\n", filepath.Base(s.path), state, s.name.start, s.end,
			s.frames, s.size)
	}
	err := v.run()
	for _, name := range v.report.Pending {
		printf("%s\n", name)
	}
	for _, d := range v.report.Damage {
		printf("%s\n", d)
	}
	r := &v.report
	printf("log %d..%d, synced through %d at least, %d segments, %d frames, %d bytes, %d bad places\n",
		r.Start, r.End, r.Synced, r.Segments, r.Frames, r.FileBytes, len(r.Damage))
	if err == nil && len(v.report.Damage) > 0 {
		err = v.report.Damage[0]
	}
	return errors.Join(err, werr)
}

// preview shows the beginning of a payload on one line.
func preview(b []byte) string {
	const most = 60
	s := fmt.Sprintf("%q", b[:min(len(b), most)])
	s = strings.ReplaceAll(s[1:len(s)-1], `\r\n`, " ")
	if len(b) > most {
		s += "..."
	}
	return s
}
