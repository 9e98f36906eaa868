package replog

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/disk"
)

// Offset is a byte offset in the replication stream.
type Offset int64

const maxOffset Offset = math.MaxInt64

// Reign is a token for appending: it is worth something until the next BeginReign. The zero Reign never is.
type Reign uint64

// Errors that callers decide on. ErrSyncFailed is also an ErrLogFailed.
var (
	// ErrReignOver: the caller may no longer append; another reign has begun.
	ErrReignOver = errors.New("reign is over")
	// ErrTrimmed: the offset lies below the log's start.
	ErrTrimmed = errors.New("offset is below the start of the log")
	// ErrBeyondEnd: the offset lies above the log's end.
	ErrBeyondEnd = errors.New("offset is beyond the end of the log")
	// ErrLogFailed: the log refuses everything that would need its disk, for good; only opening it anew helps.
	ErrLogFailed = errors.New("log has failed")
	// ErrSyncFailed: a sync failed, so nobody knows what the disk holds. Never retried.
	ErrSyncFailed = fmt.Errorf("%w: sync failed", ErrLogFailed)
	// ErrTooLarge: payload above MaxPayload or database above MaxDB.
	ErrTooLarge = errors.New("too large for one frame")
	ErrClosed   = errors.New("log is closed")
	// ErrNoLog: the directory holds no log.
	ErrNoLog = errors.New("no log here")
	// ErrExists: the directory holds a log already.
	ErrExists = errors.New("a log exists here already")
)

// Options for Create and Open. Only Dir is needed.
type Options struct {
	FS  disk.FS // default: the operating system's
	Dir string
	// SegmentBytes is the file size at which a segment is left for the next. Default 256 MB. A segment
	// grows beyond it by one frame, and while its predecessor is not sealed yet.
	SegmentBytes int64
	// TailBytes of the newest stream are kept in memory for readers. Default 4 MB.
	TailBytes int
	Logger    *slog.Logger // default: none
	Now       func() time.Time
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = disk.OS()
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 256 << 20
	}
	if o.TailBytes <= 0 {
		o.TailBytes = 4 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Log is an open log. All methods may be called by several goroutines; Append is meant for one at a time.
type Log struct {
	opt Options
	fs  disk.FS
	dir string

	start, end, synced atomic.Int64
	bytes              atomic.Int64 // of all segment files
	reign              atomic.Uint64
	failure            atomic.Pointer[error]
	closed             atomic.Bool // set under app
	// cuts counts truncations: a reader that finds it changed starts again.
	cuts atomic.Uint64
	// ticks orders uses of reading handles, to close the one idle for longest.
	ticks atomic.Uint64

	// cutting is held for writing while a truncation changes the files. A reader that met an error asks
	// for it, to look again afterwards.
	cutting sync.RWMutex

	tail    *tail
	waiters endWaiters
	sealers sync.WaitGroup
	sealing atomic.Bool // a sealer is under way; set under app
	maint   sync.Mutex

	app struct {
		sync.Mutex
		seg    *segment // the newest
		out    disk.File
		pos    int64 // size of the newest segment's file
		frames int64 // in it
		timeMS int64 // of the newest frame
		rollAt int64
		buf    []byte // for Append's header and payload
	}

	flight struct {
		sync.Mutex
		running bool
		landed  *sync.Cond
	}

	segs struct {
		sync.Mutex
		list []*segment // ascending, never empty
	}
}

// Create makes a log that starts at an offset, in a directory that holds none.
func Create(opt Options, start Offset) (*Log, error) {
	opt = opt.withDefaults()
	if start < 0 {
		return nil, fmt.Errorf("creating log %s at offset %d: %w", opt.Dir, start, ErrTrimmed)
	}
	if err := disk.MkdirSynced(opt.FS, opt.Dir); err != nil {
		return nil, err
	}
	files, err := listDir(opt.FS, opt.Dir)
	if err != nil {
		return nil, err
	}
	if len(files.segments)+len(files.cuts) > 0 {
		return nil, fmt.Errorf("creating log %s: %w", opt.Dir, ErrExists)
	}
	s, err := createSegment(opt.FS, opt.Dir, start)
	if err != nil {
		return nil, err
	}
	if err := s.out.Close(); err != nil {
		return nil, err
	}
	l, _, err := Open(opt)
	return l, err
}

func createSegment(fsys disk.FS, dir string, start Offset) (*segment, error) {
	s := newSegment(fsys, dir, newSegmentName(start))
	out, err := fsys.Create(s.path)
	if err != nil {
		return nil, fmt.Errorf("creating segment %s: %w", s.path, err)
	}
	s.out = out
	return s, nil
}

// Open opens a log: finishes a truncation that a crash interrupted, cuts a torn tail, and syncs what is
// left, so that Synced equals End. It fails with *DamageError if bytes are lost that must not be, and with
// ErrNoLog if there is none. Recovery tells what was found, also beside an error.
func Open(opt Options) (*Log, Recovery, error) {
	opt = opt.withDefaults()
	r := recoverer{fs: opt.FS, dir: opt.Dir, now: opt.Now, began: opt.Now()}
	if err := r.run(); err != nil {
		return nil, r.report, fmt.Errorf("opening log %s: %w", opt.Dir, err)
	}
	l := &Log{opt: opt, fs: opt.FS, dir: opt.Dir}
	l.flight.landed = sync.NewCond(&l.flight)
	l.segs.list = r.segs
	newest := r.segs[len(r.segs)-1]
	l.app.seg, l.app.out = newest, newest.out
	l.app.pos, l.app.frames, l.app.timeMS = newest.size, newest.frames, newest.timeMS
	l.app.rollAt = opt.SegmentBytes
	for _, s := range r.segs {
		l.bytes.Add(s.size)
	}
	l.start.Store(int64(r.report.Start))
	l.end.Store(int64(r.report.End))
	l.synced.Store(int64(r.report.End))
	l.tail = newTail(opt.TailBytes, r.report.End)
	return l, r.report, nil
}

// Start is the lowest offset that the log holds.
func (l *Log) Start() Offset { return Offset(l.start.Load()) }

// End is the offset of the next byte to be appended.
func (l *Log) End() Offset { return Offset(l.end.Load()) }

// Synced is the offset up to which the log survives a power loss.
func (l *Log) Synced() Offset { return Offset(l.synced.Load()) }

// DiskBytes is the size of all segment files.
func (l *Log) DiskBytes() int64 { return l.bytes.Load() }

// Err returns why the log has failed, nil while it has not.
func (l *Log) Err() error {
	if p := l.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// fail makes err, an ErrLogFailed, the log's final state, unless it has one.
func (l *Log) fail(err error) error {
	if l.failure.CompareAndSwap(nil, &err) {
		l.opt.Logger.Error("log failed", "dir", l.dir, "end", l.End(), "synced", l.Synced(), "err", err)
	}
	return l.Err()
}

// BeginReign ends all earlier reigns and starts the next. When it returns, no append of an earlier reign
// is under way or will succeed. To only end a reign, drop the new token.
func (l *Log) BeginReign() Reign {
	l.app.Lock()
	defer l.app.Unlock()
	return Reign(l.reign.Add(1))
}

// Reigning reports whether appends with this token may still succeed.
func (l *Log) Reigning(r Reign) bool { return r != 0 && uint64(r) == l.reign.Load() }

// Close syncs the log and closes it. All segments get sealed, so that the next Open reads none of them and
// takes no damage for a torn tail. Waiters are woken; readers that are inside finish.
func (l *Log) Close() error {
	l.app.Lock()
	again := l.closed.Swap(true)
	l.app.Unlock()
	if again {
		return ErrClosed
	}
	l.waiters.close()
	l.sealers.Wait() // none starts any more

	l.maint.Lock()
	defer l.maint.Unlock()
	l.takeFlight()
	defer l.dropFlight()
	err := l.Err()
	if err == nil {
		err = l.syncAll()
	}
	sealing := err == nil // a full disk only ends this: the log is synced
	l.segs.Lock()
	list := slices.Clone(l.segs.list)
	newest := list[len(list)-1]
	newest.end, newest.size, newest.frames, newest.timeMS = l.End(), l.app.pos, l.app.frames, l.app.timeMS
	l.segs.Unlock()
	for _, s := range list {
		if s.out != nil && s.frames > 0 && sealing {
			sealing = l.addFooter(s) == nil
			err = l.Err()
		}
		if s.out != nil {
			err = errors.Join(err, s.out.Close())
			s.out = nil
		}
		s.drop()
	}
	return err
}

// segmentAt finds the segment that holds an offset, nil if the log does not.
func (l *Log) segmentAt(off Offset) (s *segment, end Offset, size int64) {
	l.segs.Lock()
	defer l.segs.Unlock()
	list := l.segs.list
	i, exact := slices.BinarySearchFunc(list, off, func(s *segment, off Offset) int {
		return cmp.Compare(s.name.start, off)
	})
	if !exact {
		i--
	}
	if i < 0 {
		return nil, 0, 0
	}
	s = list[i]
	if i == len(list)-1 {
		return s, l.End(), math.MaxInt64
	}
	return s, s.end, s.size
}
