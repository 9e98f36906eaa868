package replog

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"haypile/internal/disk"
)

const (
	segmentSuffix = ".log"
	cutSuffix     = ".cut"
	tornSuffix    = ".tail"
	tmpSuffix     = ".tmp"

	// markEvery is the distance, in bytes of the file, between the entries of a segment's index: what a
	// read from the middle of a segment has to skip at most.
	markEvery = 32 << 10
)

// segmentName is what a segment's file name says.
type segmentName struct {
	start Offset
	seed  uint32
}

func newSegmentName(start Offset) segmentName {
	var b [4]byte
	rand.Read(b[:]) // never fails: the runtime ends the process instead
	return segmentName{start, binary.LittleEndian.Uint32(b[:])}
}

func (n segmentName) file(suffix string) string {
	return fmt.Sprintf("%019d-%08x%s", n.start, n.seed, suffix)
}

func parseSegmentName(name, suffix string) (segmentName, bool) {
	base, ok := strings.CutSuffix(name, suffix)
	if !ok || len(base) != 19+1+8 || base[19] != '-' {
		return segmentName{}, false
	}
	start, err1 := strconv.ParseInt(base[:19], 10, 64)
	seed, err2 := strconv.ParseUint(base[20:], 16, 32)
	n := segmentName{Offset(start), uint32(seed)}
	return n, err1 == nil && err2 == nil && start >= 0 && n.file(suffix) == name
}

// dirListing is the content of a log's directory.
type dirListing struct {
	segments []segmentName // ascending
	cuts     []segmentName
	torn     []string // ascending by name
	tmp      []string
}

func listDir(fsys disk.FS, dir string) (dirListing, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return dirListing{}, fmt.Errorf("listing log %s: %w", dir, err)
	}
	var l dirListing
	for _, name := range names {
		if n, ok := parseSegmentName(name, segmentSuffix); ok {
			l.segments = append(l.segments, n)
		} else if n, ok := parseSegmentName(name, cutSuffix); ok {
			l.cuts = append(l.cuts, n)
		} else if strings.HasSuffix(name, tornSuffix) {
			l.torn = append(l.torn, name)
		} else if strings.HasSuffix(name, tmpSuffix) {
			l.tmp = append(l.tmp, name)
		}
	}
	slices.SortFunc(l.segments, func(a, b segmentName) int { return cmp.Compare(a.start, b.start) })
	return l, nil
}

// mark says where in the file a frame begins.
type mark struct {
	off Offset
	pos int64
}

// segment is one file of the log.
type segment struct {
	name segmentName
	path string
	fs   disk.FS

	// Guarded by Log.segs; start never changes. end and size of the newest segment are unknown here: it
	// ends where the log ends.
	end    Offset
	size   int64
	frames int64
	timeMS int64
	sealed bool
	// out is the handle that Append writes to, until the segment is sealed. Whoever is on a flight may
	// use it without the lock.
	out disk.File
	// named: the file's name survives a power loss.
	named bool

	// in is the handle for reading, opened when first needed.
	in struct {
		sync.Mutex
		file disk.File
		refs int
		gone bool // the file was removed
		used uint64
	}

	// markAt is the place in the file from which on the next frame gets a mark; only of who writes the
	// segment or recovers it.
	markAt int64

	// index is sparse and ascending.
	index struct {
		sync.Mutex
		marks []mark
		// complete: every frame was noted when it was written or recovered. Otherwise the readers of a
		// sealed segment extend the index, and next is where it goes on.
		complete bool
		next     mark
	}
}

func newSegment(fsys disk.FS, dir string, name segmentName) *segment {
	s := &segment{name: name, fs: fsys, path: filepath.Join(dir, name.file(segmentSuffix)), end: name.start}
	s.index.next = mark{off: name.start}
	return s
}

// noteFrame is told about every frame of a segment in order; it takes the index' lock only once in a
// while.
func (s *segment) noteFrame(off Offset, pos int64) {
	if pos < s.markAt {
		return
	}
	s.markAt = pos + markEvery
	s.index.Lock()
	defer s.index.Unlock()
	s.index.marks = append(s.index.marks, mark{off, pos})
	s.index.complete = true
}

// lookUp returns the last mark at or below off, and whether the index covers off.
func (s *segment) lookUp(off Offset) (mark, bool) {
	s.index.Lock()
	defer s.index.Unlock()
	if !s.index.complete && off >= s.index.next.off {
		return s.index.next, false
	}
	i, exact := slices.BinarySearchFunc(s.index.marks, off, func(m mark, off Offset) int {
		return cmp.Compare(m.off, off)
	})
	if !exact {
		i--
	}
	return s.index.marks[i], true
}

// extendIndex walks the headers from the end of the index to the frame that contains off, outside of the
// lock: two readers may walk the same way, the first to finish wins.
func (s *segment) extendIndex(f disk.File, size int64, off Offset) error {
	from, covered := s.lookUp(off)
	if covered {
		return nil
	}
	sc := scannerPool.Get().(*scanner)
	defer sc.release()
	sc.reset(f, s.name.seed, size, from.pos, from.off)
	var found []mark
	last := int64(-markEvery)
	for sc.want <= off {
		h, err := sc.nextHeader()
		if err != nil {
			return err
		}
		if sc.pos-last >= markEvery {
			found = append(found, mark{h.start, sc.pos})
			last = sc.pos
		}
		sc.skip(h)
	}
	s.index.Lock()
	defer s.index.Unlock()
	if s.index.next == from {
		s.index.marks = append(s.index.marks, found...)
		s.index.next = mark{sc.want, sc.pos}
	}
	return nil
}

// acquire returns the reading handle, nil if the file is gone; else release must follow. opened says that
// there was none before.
func (s *segment) acquire(tick uint64) (f disk.File, opened bool, err error) {
	s.in.Lock()
	defer s.in.Unlock()
	if s.in.gone {
		return nil, false, nil
	}
	if s.in.file == nil {
		if s.in.file, err = s.fs.Open(s.path); err != nil {
			return nil, false, err
		}
		opened = true
	}
	s.in.refs++
	s.in.used = tick
	return s.in.file, opened, nil
}

func (s *segment) release() {
	s.in.Lock()
	defer s.in.Unlock()
	s.in.refs--
	if s.in.gone {
		s.closeIdleLocked()
	}
}

// drop says that the file is removed: readers that have it finish, nobody gets it anew.
func (s *segment) drop() {
	s.in.Lock()
	defer s.in.Unlock()
	s.in.gone = true
	s.closeIdleLocked()
}

func (s *segment) closeIdleLocked() {
	if s.in.refs == 0 && s.in.file != nil {
		s.in.file.Close() // only read from: nothing to lose
		s.in.file = nil
	}
}
