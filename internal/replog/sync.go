package replog

import (
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

// seal gives a segment that was left its footer, in the background.
func (l *Log) seal(s *segment) {
	l.maint.Lock()
	defer l.maint.Unlock()
	l.takeFlight()
	defer l.dropFlight()
	defer l.sealing.Store(false)
	if l.failure.Load() != nil || s.out == nil {
		return // failed, or a truncation has dealt with it
	}
	if err := l.syncAll(); err == nil {
		_ = l.addFooter(s) // an error is logged or is the log's; appending meets it again
	}
}

// addFooter seals a segment that gets no more frames. The footer promises that the segment and the name of
// its successor are durable, so the caller, who has maint and is on the flight, has synced both. A full
// disk leaves the segment unsealed, for a later try.
func (l *Log) addFooter(s *segment) error {
	ft := footer{frames: s.frames, start: s.name.start, end: s.end, timeMS: s.timeMS}
	err := writeFooter(s.out, ft, s.size, s.name.seed)
	switch {
	case isDiskFull(err):
		l.opt.Logger.Warn("segment stays unsealed", "path", s.path, "err", err)
		return err
	case err != nil:
		return l.fail(fmt.Errorf("%w: sealing segment %s: %w", ErrSyncFailed, s.path, err))
	}
	if err := s.out.Close(); err != nil {
		l.opt.Logger.Warn("closing sealed segment", "path", s.path, "err", err)
	}
	l.bytes.Add(HeaderSize)
	l.segs.Lock()
	defer l.segs.Unlock()
	s.out, s.sealed = nil, true
	s.size += HeaderSize
	return nil
}

// writeFooter adds a footer to a file whose frames take size bytes, in place of whatever follows them.
func writeFooter(out disk.File, ft footer, size int64, seed uint32) error {
	if err := out.Truncate(size); err != nil {
		return err
	}
	if _, err := out.Write(ft.encode(seed)); err != nil {
		return err
	}
	return out.Sync()
}
