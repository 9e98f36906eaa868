package replog

import (
	"fmt"
	"slices"
	"time"
)

// SegmentInfo describes one segment.
type SegmentInfo struct {
	Path       string
	Start, End Offset
	Bytes      int64 // size of the file
	Sealed     bool
	// Newest is the time of the segment's newest frame; zero if it has none.
	Newest time.Time
}

// Segments lists the segments, oldest first.
func (l *Log) Segments() []SegmentInfo {
	l.app.Lock()
	pos, timeMS := l.app.pos, l.app.timeMS
	l.segs.Lock()
	list := slices.Clone(l.segs.list)
	infos := make([]SegmentInfo, len(list))
	for i, s := range list {
		infos[i] = SegmentInfo{Path: s.path, Start: s.name.start, End: s.end, Bytes: s.size, Sealed: s.sealed}
		ms := s.timeMS
		if i == len(list)-1 {
			infos[i].End, infos[i].Bytes, ms = l.End(), pos, timeMS
		}
		if ms > 0 && infos[i].End > infos[i].Start {
			infos[i].Newest = time.UnixMilli(ms)
		}
	}
	l.segs.Unlock()
	l.app.Unlock()
	return infos
}

// TrimTo removes the sealed segments that lie below an offset altogether. The newest segment stays.
func (l *Log) TrimTo(floor Offset) error {
	l.maint.Lock()
	defer l.maint.Unlock()
	for {
		l.segs.Lock()
		oldest := l.segs.list[0]
		done := len(l.segs.list) < 2 || !oldest.sealed || oldest.end > floor
		if !done {
			l.segs.list = slices.Delete(slices.Clone(l.segs.list), 0, 1)
			l.start.Store(int64(oldest.end))
			l.bytes.Add(-oldest.size)
		}
		l.segs.Unlock()
		if done {
			return nil
		}
		oldest.drop()
		if err := l.fs.Remove(oldest.path); err != nil {
			return fmt.Errorf("trimming the log: %w", err)
		}
		// One by one: removals that reach the disk in another order would leave a gap after a crash.
		if err := l.fs.SyncDir(l.dir); err != nil {
			return fmt.Errorf("trimming the log: syncing %s: %w", l.dir, err)
		}
	}
}

// Retention is how much of the log to keep beyond what must be kept. Zero fields keep nothing.
type Retention struct {
	Bytes int64
	Age   time.Duration
}

// TrimFloor returns the offset up to which the log may be trimmed: below everything that somebody still
// holds, and leaving the newest Bytes of files and all that is younger than Age, whichever is more.
func TrimFloor(segs []SegmentInfo, keep Retention, now time.Time, holds ...Offset) Offset {
	if len(segs) == 0 {
		return 0
	}
	floor := segs[0].Start
	var after int64 // bytes in segments newer than the one looked at
	for _, s := range segs[1:] {
		after += s.Bytes
	}
	for i, s := range segs {
		held := slices.ContainsFunc(holds, func(h Offset) bool { return h < s.End })
		if !s.Sealed || held || after < keep.Bytes || now.Sub(s.Newest) < keep.Age {
			break
		}
		floor = s.End
		if i+1 < len(segs) {
			after -= segs[i+1].Bytes
		}
	}
	return floor
}
