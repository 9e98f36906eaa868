package exec

import (
	"context"
	"errors"
	"syscall"
	"time"

	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/replog"
	"haypile/internal/resp"
)

// commitOpen commits the open transaction, if there is one.
func (s *Session) commitOpen() { s.r.Commit() }

// commitAlone commits a transaction that is no round: of a command that holds the latch itself. reign is
// Executor.ended from before. The replies wait for durability if t comes of commands that write keys; a
// message promises nothing. done are those served in it.
func (s *Session) commitAlone(t *keyspace.Txn, keyed bool, reign uint64, done []*waiter) error {
	strict := keyed && s.x.strict()
	if strict {
		s.promise(reign)
	}
	end, err := s.x.commitTxn(t)
	s.x.hand(done, end, err, strict, reign)
	if err == nil {
		s.waitEnd = max(s.waitEnd, end)
	}
	return err
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
		if err = s.x.waitDurable(s.ctx, s.waitEnd, s.reign); err != nil {
			s.failMarks(0, err)
		}
	}
	s.confirmed()
	s.release()
	return err
}

// waitDurable blocks until the log up to end is as durable as the options ask. reign is Executor.ended when
// the first of the writes committed: after a change of the role end may lie in another log, or in another
// history of this one, and nothing that is found there confirms them.
func (x *Executor) waitDurable(ctx context.Context, end replog.Offset, reign uint64) error {
	if x.Config.Enum(option.AppendFsync) == option.FsyncAlways {
		if err := x.Log().Sync(end); err != nil {
			switch {
			case x.ended.Load() != reign:
				return errRoleAfter
			case errors.Is(err, replog.ErrLogFailed):
				x.Fail("MISCONF Errors writing to the log: " + err.Error())
			}
			return commands.Error("MISCONF the write was applied but could not be made durable: " + err.Error())
		}
	}
	if n := int(x.Config.Int(option.SyncReplicas)); n > 0 && x.WaitAcked != nil {
		wait, cancel := context.WithTimeout(ctx, x.Config.Duration(option.SyncReplicasTimeout))
		got := x.WaitAcked(wait, end, n)
		cancel()
		if got < n {
			return commands.Error(resp.NotConfirmed(got, n))
		}
	}
	switch {
	case x.ended.Load() != reign:
		return errRoleAfter
	case x.leaseOver():
		return errLeaseAfter
	}
	return nil
}

// After these the write may stand or not; the texts differ from those of refusals, which may be tried again.
const (
	errLeaseAfter commands.Error = "UNKNOWNOUTCOME The lease of this primary ended before the write was confirmed; " +
		"its outcome is unknown"
	errRoleAfter commands.Error = "UNKNOWNOUTCOME This node stopped being primary before the write was confirmed; " +
		"its outcome is unknown"
)

// failMarks replaces the replies at the marks from number first on by an error, moves what follows, and drops
// these marks: the error stands, whatever becomes of earlier writes.
func (s *Session) failMarks(first int, err error) {
	marks := s.marks[first:]
	s.marks = s.marks[:first]
	if len(marks) == 0 {
		return
	}
	text := s.x.replyFor(err)
	old := append([]byte(nil), s.Out.Buf[marks[0].from:]...)
	base := marks[0].from
	s.Out.Buf = s.Out.Buf[:base]
	at := base
	for _, m := range marks {
		s.Out.Buf = append(s.Out.Buf, old[at-base:m.from-base]...)
		if m.to > m.from {
			s.fail(text)
		}
		at = m.to
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
		return resp.ErrReadOnly
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

// AwaitConfirmed waits, after ParkFor, until no reply waits for its write to be durable or on replicas, or
// until ctx ends. A planned change of the role comes after it: the replicas have the writes, and a client that
// is told that the outcome of its write is unknown would be told so for nothing.
func (x *Executor) AwaitConfirmed(ctx context.Context) {
	for x.unconfirmed.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
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

// waitPaused blocks while the command is held back. It returns false if the connection ended first: then the
// command must not run.
func (s *Session) waitPaused(cmd *commands.Command) bool {
	p := &s.x.pause
	if !p.active.Load() || cmd.Flags&commandPauseExempt != 0 {
		return true
	}
	write := s.mayWrite(cmd)
	for {
		wait, change, left := p.heldBack(write)
		if !wait {
			return true
		}
		s.flushReplies()
		before := s.Client.Blocked.Swap(true) // one who waits for a key is blocked beyond the pause
		stop := s.watchPeer()
		timer := time.NewTimer(left)
		select {
		case <-change:
		case <-timer.C:
		case <-s.ctx.Done():
		}
		timer.Stop()
		stop()
		s.Client.Blocked.Store(before)
		if s.ctx.Err() != nil {
			s.Client.Close = true
			return false
		}
		s.Tick(time.Now()) // the command begins now
	}
}

// mayWrite reports whether a pause of writes holds the command back.
func (s *Session) mayWrite(cmd *commands.Command) bool {
	return writes(cmd) || cmd.Name == "EXEC" && s.multi.writes
}

// enter takes the latch for a write, exclusively or shared, and holds it if it returns true. A pause that
// began since waitPaused looked counts: ParkFor has told somebody that the log ends where it ended. It
// returns false if the connection ended while the command was held back.
func (s *Session) enter(cmd *commands.Command, exclusive bool) bool {
	p := &s.x.pause
	for {
		if exclusive {
			s.x.latch.Lock()
		} else {
			s.x.latch.RLock()
		}
		if !p.active.Load() || cmd.Flags&commandPauseExempt != 0 {
			return true
		}
		if wait, _, _ := p.heldBack(s.mayWrite(cmd)); !wait {
			return true
		}
		s.leave(exclusive)
		if !s.waitPaused(cmd) {
			return false
		}
	}
}

// leave gives back what enter took.
func (s *Session) leave(exclusive bool) {
	if exclusive {
		s.x.latch.Unlock()
	} else {
		s.x.latch.RUnlock()
	}
}

// flushReplies sends the replies so far, before the session blocks.
func (s *Session) flushReplies() {
	_ = s.Flush() // its failures are replies by now
	if s.Client.Conn != nil {
		_ = s.Client.Conn.FlushReplies()
	}
	s.from = len(s.Out.Buf)
}
