package exec

import (
	"errors"
	"time"

	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/option"
)

// A reply that outgrows a bound is not built in memory. The command is given up, the engine's state is pinned while the
// locks are still held, the locks are given back, and the command runs again on what is pinned: its reply leaves in
// parts, as fast as the client takes them. Nobody waits for that client: it holds no lock, and what others write
// meanwhile does not change what it gets.
//
// The whole reply is built as ever in MULTI, in scripts, for clients whose replies are hidden, and by commands that write.

const (
	// replyOnLoop is the length from which on an event loop leaves a reply to a goroutine.
	replyOnLoop = 256 << 10
	// replyPart is how much of a long reply is sent at once.
	replyPart = 256 << 10
)

// replyBuffer is the length from which on a reply is sent in parts.
func (x *Executor) replyBuffer() int { return int(x.Config.Bytes(option.ReplyBuffer)) }

// invokeBounded is invoke, which sets s.long, with nothing done, if the reply is longer than limit.
func (s *Session) invokeBounded(cmd *commands.Command, args [][]byte, limit int) {
	if s.Client.Reply != commands.ReplyOn || s.Client.Conn == nil {
		s.invoke(cmd, args)
		return
	}
	s.Out.Attempt(limit)
	s.r.tx.StopOn(s.Out.ErrAt(), nil)
	s.invoke(cmd, args)
	s.r.tx.StopOn(nil, nil)
	s.Out.Whole()
}

// longReply is what a command needs that is to be run again.
type longReply struct {
	pin   *keyspace.Pin
	count bool // the lengths of aggregates must be found out first
	flush bool // other replies must leave first; there is no pin
	err   error
}

// pinIfLong takes what the command needs whose reply was too long; nil if it was not. REQUIRES: the locks and the latch
// under which it ran, and that nothing is open that it may have seen.
func (s *Session) pinIfLong() *longReply {
	if !s.long {
		return nil
	}
	s.long = false
	l := &longReply{count: s.Out.Deferred(), flush: len(s.Out.Buf) > 0}
	if !l.flush { // which may be long, and who holds a pin must not wait for a peer but in Conn.Stream
		l.pin, l.err = s.x.Store().Pin(s.Client.DB, s.timer.nowMillis())
	}
	return l
}

// Why a reply ends early.
var (
	errStoreClosed = errors.New("the data set is being replaced or closed")
	errGone        = errors.New("the connection has ended")
)

// stream runs a command again whose reply was too long, and sends it in parts. Replies before it leave first. REQUIRES: no
// lock, no latch.
func (s *Session) stream(cmd *commands.Command, args [][]byte, l *longReply) {
	if l == nil {
		return
	}
	switch {
	case l.flush:
		s.excluded(s.flushReplies)
		s.dispatch(cmd, args)
		return
	case l.err != nil:
		s.ran(cmd, nil, len(s.Out.Buf), l.err)
		return
	}
	x, pin := s.x, l.pin
	x.Stats.Streams.Add(1)
	x.Stats.Streaming.Add(1)
	s.Client.Publish(cmd.FullName())
	err := s.runPinned(cmd, args, l)
	sent := s.Out.Sent()
	s.Out.Whole()
	if cerr := pin.Close(); err == nil {
		err = cerr
	}
	s.Client.Held.Store(0)
	x.Stats.Streaming.Add(-1)
	x.Stats.StreamBytes.Add(sent + int64(len(s.Out.Buf)))
	s.call.Tx = nil
	if err == nil {
		s.timer.end(s, cmd)
		return
	}
	s.Out.Buf = s.Out.Buf[:0]
	gone := s.ctx.Err() != nil || errors.Is(err, errGone)
	if sent == 0 && !gone && !errors.Is(err, errStoreClosed) {
		s.ran(cmd, nil, 0, err)
		return
	}
	// What has been sent can't be taken back: the connection is all that can end, and nothing is worth waiting for.
	s.Client.Close = true
	s.Client.Conn.Kill()
	x.Stats.BrokenStreams.Add(1)
	cmd.Stats.Failed.Add(1)
	s.timer.end(s, cmd)
	x.Logger.Warn("a reply sent in parts was cut off, closing the connection", "command", cmd.FullName(),
		"addr", s.Client.Addr, "client", s.Client.ID, "bytes", sent, "err", err)
}

// excluded runs f, whose time is not the command's.
func (s *Session) excluded(f func()) {
	began := time.Now()
	f()
	s.timer.last = s.timer.last.Add(time.Since(began))
}

// runPinned runs a command on what is pinned, once or twice. What is left of the reply stands in Out.
func (s *Session) runPinned(cmd *commands.Command, args [][]byte, l *longReply) error {
	pin := l.pin
	goOn := func() error {
		select {
		case <-pin.Ended():
			return errStoreClosed
		case <-s.ctx.Done():
			return errGone
		default:
			return nil
		}
	}
	if err := goOn(); err != nil {
		return err
	}
	part := min(replyPart, s.x.replyBuffer())
	s.Client.Held.Store(int64(part))
	if l.count {
		s.Out.Count(part, goOn)
		err := s.pass(cmd, args, pin.Txn(), goOn)
		s.Out.Buf = s.Out.Buf[:0]
		if err != nil {
			return err
		}
	}
	s.Out.Stream(part, func(p []byte) error {
		err := pin.Rest()
		s.excluded(func() {
			if werr := s.Client.Conn.Stream(p, pin.Ended()); werr != nil {
				err = errors.Join(errGone, werr)
			}
		})
		if err != nil {
			return err
		}
		return goOn()
	})
	tx := pin.Txn()
	tx.CountLookups()
	err := s.pass(cmd, args, tx, goOn)
	if err == nil {
		s.x.publishEvents(tx) // of keys that were missing: nobody's order depends on them
		s.x.countLookups(tx)
	}
	return err
}

// pass runs the command once.
func (s *Session) pass(cmd *commands.Command, args [][]byte, tx *keyspace.Txn, goOn func() error) error {
	s.call.Reset()
	s.call.Again = false
	s.call.Tx, s.call.Args, s.call.Cmd = tx, args, cmd
	tx.StopOn(s.Out.ErrAt(), goOn)
	tx.DropEvents(0)
	mem := tx.Scratch()
	err := cmd.Run(&s.call)
	tx.Forget(mem)
	if s.Out.Err() != nil {
		return s.Out.Err()
	}
	if err == nil && s.call.TakeWait() != nil {
		return errChangedMeanwhile
	}
	return err
}

var errChangedMeanwhile = errors.New("what the command found was gone when it ran again")
