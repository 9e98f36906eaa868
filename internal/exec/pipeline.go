package exec

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/replog"
)

// commitOpen commits the open transaction, if there is one. Its commands' replies become errors if that
// fails.
func (s *Session) commitOpen() {
	if !s.open {
		return
	}
	n := len(s.marks) - s.wrote
	err := s.commitTxn(s.tx)
	s.open = false
	s.held.Release()
	s.x.latch.RUnlock()
	if err != nil {
		s.failMarks(s.marks[max(0, n):], err)
	}
	s.wrote = 0
}

// commitTxn commits t and, while its locks are held, settles cache and watchers.
func (s *Session) commitTxn(t *keyspace.Txn) error {
	x := s.x
	if x.strict() {
		// A write that appended nothing still promises what it saw: it waits for the log's end.
		s.strict = true
	}
	if t.Empty() {
		s.waitEnd = max(s.waitEnd, x.Log().End())
		return nil
	}
	end, err := x.commit.submit(t)
	if err != nil {
		return err
	}
	x.Store().Settle(t)
	x.watch.touch(t)
	s.waitEnd = max(s.waitEnd, end)
	return nil
}

// strict reports whether replies to writes wait for more than write(2).
func (x *Executor) strict() bool {
	return x.Config.Enum(option.AppendFsync) == option.FsyncAlways || x.Config.Int(option.SyncReplicas) > 0
}

// Flush commits what is open and waits for the durability asked for. After it the replies in Out may be
// sent; it changes those that turned out to be wrong. The caller takes them before the next Do.
func (s *Session) Flush() error {
	s.commitOpen()
	var err error
	if s.strict && len(s.marks) > 0 {
		if err = s.x.waitDurable(s.ctx, s.waitEnd); err != nil {
			s.failMarks(s.marks, err)
		}
	}
	s.marks, s.strict = s.marks[:0], false
	s.release()
	return err
}

// waitDurable blocks until the log up to end is as durable as the options ask.
func (x *Executor) waitDurable(ctx context.Context, end replog.Offset) error {
	if x.Config.Enum(option.AppendFsync) == option.FsyncAlways {
		if err := x.Log().Sync(end); err != nil {
			x.Fail("MISCONF Errors writing to the log: " + err.Error())
			return commands.Error("MISCONF the write was applied but could not be made durable: " + err.Error())
		}
	}
	if n := int(x.Config.Int(option.SyncReplicas)); n > 0 && x.WaitAcked != nil {
		wait, cancel := context.WithTimeout(ctx, x.Config.Duration(option.SyncReplicasTimeout))
		got := x.WaitAcked(wait, end, n)
		cancel()
		if got < n {
			return commands.Error(fmt.Sprintf("NOREPLICAS applied here, not confirmed by %d of %d replicas", n-got, n))
		}
	}
	if x.leaseOver() {
		return errLeaseAfter
	}
	return nil
}

var errLeaseAfter = commands.Error(
	"READONLY the lease of this primary ended before the write was confirmed; its outcome is unknown")

// failMarks replaces the replies at marks by an error and moves what follows. marks is the tail of s.marks.
func (s *Session) failMarks(marks []mark, err error) {
	if len(marks) == 0 {
		return
	}
	text := s.x.replyFor(err)
	old := append([]byte(nil), s.Out.Buf[marks[0].from:]...)
	base := marks[0].from
	s.Out.Buf = s.Out.Buf[:base]
	at := base
	for i := range marks {
		m := marks[i]
		s.Out.Buf = append(s.Out.Buf, old[at-base:m.from-base]...)
		from := len(s.Out.Buf)
		if m.to > m.from {
			s.fail(text)
		}
		at = m.to
		marks[i] = mark{from, len(s.Out.Buf)}
	}
	s.Out.Buf = append(s.Out.Buf, old[at-base:]...)
}

// replyFor is the reply for a commit that failed.
func (x *Executor) replyFor(err error) commands.Error {
	var reply commands.Error
	switch {
	case errors.As(err, &reply):
		return reply
	case errors.Is(err, replog.ErrReignOver):
		return "READONLY You can't write against a read only replica."
	case errors.Is(err, syscall.ENOSPC):
		return "MISCONF No space left on device: the write was refused"
	default:
		return commands.Error("MISCONF Errors writing to the log: " + err.Error())
	}
}

// pauseState holds clients back: CLIENT PAUSE, FAILOVER, a planned switch-over.
type pauseState struct {
	mu struct {
		mutex
		until  time.Time
		all    bool
		parked time.Time     // writes are parked until then
		change chan struct{} // closed at each change
	}
	active atomicBool
}

func (p *pauseState) init() { p.mu.change = make(chan struct{}) }

func (p *pauseState) set(f func()) {
	p.mu.Lock()
	f()
	now := time.Now()
	p.active.Store(p.mu.parked.After(now) || p.mu.until.After(now))
	close(p.mu.change)
	p.mu.change = make(chan struct{})
	p.mu.Unlock()
}

// Pause holds back clients until the time, writes only or all; the zero time ends it. Of two pauses the
// longer time and the stronger kind hold.
func (x *Executor) Pause(until time.Time, all bool) {
	x.pause.set(func() {
		p := &x.pause.mu
		switch {
		case until.IsZero() || p.until.Before(time.Now()):
			p.until, p.all = until, all
		default:
			if until.After(p.until) {
				p.until = until
			}
			p.all = p.all || all
		}
	})
}

// ParkFor holds back writes until Unpark, or for at most d, and returns the log's end once every write
// admitted before has committed.
func (x *Executor) ParkFor(d time.Duration) replog.Offset {
	x.pause.set(func() { x.pause.mu.parked = time.Now().Add(d) })
	var end replog.Offset
	_ = x.Exclusive(func() error {
		end = x.Log().End()
		return nil
	})
	return end
}

// Unpark lets writes go on.
func (x *Executor) Unpark() { x.pause.set(func() { x.pause.mu.parked = time.Time{} }) }

// Parked reports whether writes are parked.
func (x *Executor) Parked() bool {
	x.pause.mu.Lock()
	defer x.pause.mu.Unlock()
	return x.pause.mu.parked.After(time.Now())
}

// heldBack tells whether a command must wait, and for how long at most.
func (p *pauseState) heldBack(write bool) (bool, <-chan struct{}, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left, parked := time.Until(p.mu.until), time.Until(p.mu.parked)
	switch {
	case parked > 0 && write:
		return true, p.mu.change, parked
	case left > 0 && (write || p.mu.all):
		return true, p.mu.change, left
	}
	if left <= 0 && parked <= 0 {
		p.active.Store(false)
	}
	return false, nil, 0
}

// waitPaused blocks while the command is held back.
func (s *Session) waitPaused(cmd *commands.Command) {
	p := &s.x.pause
	if !p.active.Load() {
		return
	}
	write := writes(cmd) || cmd.Name == "EXEC" && s.multi.writes
	exempt := cmd.Flags&commandPauseExempt != 0
	for !exempt {
		wait, change, left := p.heldBack(write)
		if !wait {
			break
		}
		if err := s.Flush(); err == nil && s.Client.Conn != nil {
			_ = s.Client.Conn.FlushReplies()
		}
		s.Client.Blocked.Store(true)
		timer := time.NewTimer(left)
		select {
		case <-change:
		case <-timer.C:
		case <-s.ctx.Done():
			exempt = true
		}
		timer.Stop()
		s.Client.Blocked.Store(false)
	}
	s.timer.begin()
}
