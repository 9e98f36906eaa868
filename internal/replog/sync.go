package replog

import (
	"errors"
	"fmt"

	"haypile/internal/disk"
)

// Sync returns once the log up to an offset survives a power loss. Callers that come while a sync runs
// share the next one. A failed sync is final: ErrSyncFailed now and ever after.
func (l *Log) Sync(upTo Offset) error {
	if l.Synced() >= upTo {
		return nil
	}
	l.flight.Lock()
	defer l.flight.Unlock()
	for {
		switch {
		case l.Synced() >= upTo:
			return nil
		case l.failure.Load() != nil:
			return l.Err()
		case upTo > l.End():
			return fmt.Errorf("syncing up to %d of %d: %w", upTo, l.End(), ErrBeyondEnd)
		case l.flight.running:
			l.flight.landed.Wait()
			continue
		}
		l.flight.running = true
		l.flight.Unlock()
		err := l.syncAll()
		l.flight.Lock()
		l.flight.running = false
		l.flight.landed.Broadcast()
		if err != nil {
			return err
		}
	}
}

// takeFlight waits for a running sync and keeps others from starting until dropFlight.
func (l *Log) takeFlight() {
	l.flight.Lock()
	defer l.flight.Unlock()
	for l.flight.running {
		l.flight.landed.Wait()
	}
	l.flight.running = true
}

func (l *Log) dropFlight() {
	l.flight.Lock()
	defer l.flight.Unlock()
	l.flight.running = false
	l.flight.landed.Broadcast()
}

// syncAll makes everything up to the present end durable. Only who is on the flight may call it.
func (l *Log) syncAll() error {
	target := l.End()
	l.segs.Lock()
	var open []*segment
	outs := make([]disk.File, 0, 2)
	for _, s := range l.segs.list {
		if s.out != nil {
			open = append(open, s)
			outs = append(outs, s.out)
		}
	}
	l.segs.Unlock()
	if len(outs) == 0 {
		return ErrClosed
	}
	named := true
	for i, s := range open {
		if err := outs[i].Sync(); err != nil {
			return l.fail(fmt.Errorf("%w: segment %s: %w", ErrSyncFailed, s.path, err))
		}
		named = named && s.named
	}
	if !named {
		// One sync of the directory covers all names in it.
		if err := l.fs.SyncDir(l.dir); err != nil {
			return l.fail(fmt.Errorf("%w: directory %s: %w", ErrSyncFailed, l.dir, err))
		}
		for _, s := range open {
			s.named = true
		}
	}
	if target > l.Synced() {
		l.synced.Store(int64(target))
	}
	return nil
}

// seal gives a segment that was left its footer. The footer promises that the segment and the name of its
// successor are durable, so it comes after both.
func (l *Log) seal(s *segment) {
	l.maint.Lock()
	defer l.maint.Unlock()
	l.takeFlight()
	defer l.dropFlight()
	if l.failure.Load() != nil || s.out == nil {
		return // failed, or a truncation has dealt with it
	}
	if l.syncAll() != nil {
		return
	}
	ft := footer{frames: s.frames, start: s.name.start, end: s.end, timeMS: s.timeMS}
	if err := writeFooter(s.out, ft, s.name.seed); err != nil {
		// Without the footer the segment is still whole; what matters is that a sync may have failed.
		_ = l.fail(fmt.Errorf("%w: sealing segment %s: %w", ErrSyncFailed, s.path, err))
		return
	}
	if err := s.out.Close(); err != nil {
		l.opt.Logger.Warn("closing sealed segment", "path", s.path, "err", err)
	}
	l.bytes.Add(HeaderSize)
	l.segs.Lock()
	defer l.segs.Unlock()
	s.out, s.sealed = nil, true
	s.size += HeaderSize
}

func writeFooter(out disk.File, ft footer, seed uint32) error {
	if _, err := out.Write(ft.encode(seed)); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return errors.Join(ErrSyncFailed, err)
	}
	return nil
}
