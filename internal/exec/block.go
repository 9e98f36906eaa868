package exec

import (
	"slices"
	"time"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/replog"
	"haypile/internal/resp"
)

// blocks reports whether a command may wait for keys: those that wait for something else touch none.
func blocks(cmd *commands.Command) bool {
	return cmd.Flags&command.Blocking != 0 && cmd.Flags&(command.Write|command.ReadOnly) != 0
}

// runBlocking runs a command that may wait for keys. Replies of earlier commands leave first: once the session
// waits, Out belongs to whoever serves it.
func (s *Session) runBlocking(cmd *commands.Command, args [][]byte) {
	s.flushReplies()
	w, wait := s.attempt(cmd, args, nil)
	if w == nil {
		return
	}
	x := s.x
	defer x.Store().Watching.Add(-1)
	defer s.watchPeer()()
	s.Client.ParkedUntil(func(asError bool) {
		v := timedOut
		if asError {
			v = unblocked
		}
		x.waiters.unblock(w, v)
	})
	defer s.Client.ParkedUntil(nil)
	var timer <-chan time.Time
	if wait.Timeout > 0 {
		t := time.NewTimer(wait.Timeout)
		defer t.Stop()
		timer = t.C
	}
	for {
		v := s.await(w, timer)
		s.Tick(time.Now())
		if v == tryAgain {
			if s.ctx.Err() != nil {
				x.waiters.leave(w)
				v = connection
			} else if again, _ := s.attempt(cmd, args, w); again != nil {
				continue
			} else if v = w.over; w.done {
				return
			}
		}
		switch v {
		case timedOut:
			wait.TimedOut(&s.Out)
		case unblocked:
			s.fail(resp.ErrUnblocked)
		case roleEnded:
			s.fail(resp.ErrUnblockedRole)
		case connection:
			s.Client.Close = true
		}
		return
	}
}

// await sleeps until there is a verdict.
func (s *Session) await(w *waiter, timer <-chan time.Time) verdict {
	select {
	case v := <-w.wake:
		return v
	case <-timer:
		s.x.waiters.unblock(w, timedOut)
	case <-s.ctx.Done():
		s.x.waiters.unblock(w, connection)
	}
	return <-w.wake
}

// attempt runs the command under the locks of its keys. Where it finds nothing, the session waits from before the
// locks are given up: the waiter is returned, a new one for nil. Otherwise it returns nil, and a waiter given
// has left: with its reply (w.done), or with w.over.
func (s *Session) attempt(cmd *commands.Command, args [][]byte, w *waiter) (*waiter, *commands.Wait) {
	x, r, write := s.x, s.r, cmd.Flags&command.Write != 0
	leave := func() {
		if w != nil {
			w.done = true
			x.waiters.leave(w)
		}
	}
	run := args
	if w != nil {
		run = w.args
	}
	s.wants(cmd, run, !write)
	want := slices.Clone(s.want)
	if !s.enter(cmd, false) {
		leave()
		return nil, nil
	}
	if refusal := x.admitWrite(cmd); refusal != "" {
		x.latch.RUnlock()
		cmd.Stats.Rejected.Add(1)
		s.fail(refusal)
		leave()
		return nil, nil
	}
	if w != nil && s.refuseAgain(cmd, run) {
		x.latch.RUnlock()
		leave()
		return nil, nil
	}
	r.begin()
	r.held.Acquire(want)
	t, from := r.tx, len(s.Out.Buf)
	if write {
		t.Begin(keyspace.ModeWrite, s.Client.DB, s.timer.nowMillis())
		t.Client(s.Client.ID)
		m := t.Mark()
		s.invokeMarked(cmd, run, &m, t.Changes())
	} else {
		t.Begin(keyspace.ModeRead, s.Client.DB, s.timer.nowMillis())
		s.again = w != nil
		s.invokeBounded(cmd, run, x.replyBuffer())
		s.again = false
	}
	if long := s.pinIfLong(); long != nil {
		s.remember(cmd, run)
		if w != nil {
			w.done = true
			x.waiters.finish(w)
		}
		r.Commit()
		s.stream(cmd, run, long)
		return nil, nil
	}
	wait := s.call.TakeWait()
	if wait == nil {
		if write {
			s.wroteIn(cmd, from)
		} else {
			s.remember(cmd, run)
		}
		if w != nil {
			w.done = true
			x.waiters.finish(w)
		}
	} else {
		s.Out.Buf = s.Out.Buf[:from]
		if w == nil {
			w = newWaiter(s, cmd, run, wait)
			x.Store().Watching.Add(1)
			x.waiters.add(w)
		} else if x.waiters.sleep(w) != nothing {
			wait = nil
		}
	}
	// From here on the session is its waiter's server's, if it waits.
	if write { // who only reads holds the locks shared, and leaves nobody without his turn
		r.serve(0, false)
		if w != nil {
			for _, k := range w.keys {
				r.served = x.serveKey(r, &r.held, k, r.served)
			}
		}
	}
	r.Commit()
	if wait == nil {
		return nil, nil
	}
	return w, wait
}

func newWaiter(s *Session, cmd *commands.Command, args [][]byte, wait *commands.Wait) *waiter {
	if wait.Args != nil {
		args = wait.Args
	}
	w := &waiter{s: s, cmd: cmd, typ: wait.Type, onGone: wait.OnGone, wake: make(chan verdict, 1)}
	for _, a := range args {
		w.args = append(w.args, slices.Clone(a))
	}
	for _, k := range wait.Keys {
		if k := (watchKey{s.Client.DB, string(k)}); !slices.Contains(w.keys, k) {
			w.keys = append(w.keys, k)
		}
	}
	return w
}

// serve serves those who wait for keys that the open transaction has changed since it touched from keys. hot:
// nobody may ask the engine for it.
func (r *Round) serve(from int, hot bool) {
	if r.x.waiters.n.Load() == 0 {
		return
	}
	r.tx.HotOnly(hot)
	r.served = r.x.serveTouched(r, from, &r.held, r.served)
	r.tx.HotOnly(false)
}

// serveTouched serves the waiters of the keys that r's transaction has touched, from number from on, and of those
// that it touches in doing so, and adds the ones served to done. held are the locks; nil: the latch is held
// exclusively.
func (x *Executor) serveTouched(r *Round, from int, held *keyspace.Held, done []*waiter) []*waiter {
	if x.waiters.n.Load() == 0 {
		return done
	}
	for i := from; i < len(r.tx.Touched()); i++ {
		c := r.tx.Touched()[i]
		if c.Read {
			continue
		}
		done = x.serveKey(r, held, watchKey{c.DB, string(c.Key)}, done)
	}
	return done
}

// serveDatabases serves the waiters of databases that r's transaction has flushed or swapped.
func (x *Executor) serveDatabases(r *Round, done []*waiter) []*waiter {
	flushed, swapped := r.tx.TouchedDBs()
	if x.waiters.n.Load() == 0 || len(flushed)+len(swapped) == 0 {
		return done
	}
	for _, k := range x.waiters.of(slices.Concat(flushed, swapped)...) {
		done = x.serveKey(r, nil, k, done)
	}
	return done
}

// serveKey serves the waiters of one key, whose lock is held.
func (x *Executor) serveKey(r *Round, held *keyspace.Held, k watchKey, done []*waiter) []*waiter {
	for seq := uint64(0); ; {
		r.tx.Begin(keyspace.ModeWrite, k.db, time.Now().UnixMilli())
		now := encoding.None
		if e, err := r.tx.Lookup([]byte(k.key)); err == nil {
			now = e.Type()
		}
		w := x.waiters.claim(k, seq, now)
		if w == nil {
			return done
		}
		seq = w.seq
		switch x.runFor(w, r, held) {
		case ran:
			x.waiters.finish(w)
			done = append(done, w)
		case foundNothing:
			x.waiters.unclaim(w, false)
		case notHere:
			x.waiters.unclaim(w, true)
			return done
		}
	}
}

// turn is how the attempt to serve a waiter ended.
type turn uint8

const (
	ran          turn = iota // its reply is in its Out
	foundNothing             // it waits on
	notHere                  // it takes a lock or a disk
)

// runFor runs the command of a claimed waiter in r's transaction.
func (x *Executor) runFor(w *waiter, r *Round, held *keyspace.Held) turn {
	s := w.s
	s.wants(w.cmd, w.args, false)
	if held != nil && !held.TryAcquire(s.want) {
		return notHere
	}
	own := s.r
	s.r = r
	defer func() { s.r = own }()
	s.Tick(time.Now())
	if s.refuseAgain(w.cmd, w.args) {
		return ran
	}
	t, from := r.tx, len(s.Out.Buf)
	t.Begin(keyspace.ModeWrite, s.Client.DB, s.timer.nowMillis())
	t.Client(s.Client.ID)
	m := t.Mark()
	s.cold = false
	s.invokeMarked(w.cmd, w.args, &m, t.Changes())
	if s.cold {
		s.cold = false
		return notHere
	}
	if s.call.TakeWait() != nil {
		t.Rollback(&m)
		s.Out.Buf = s.Out.Buf[:from]
		return foundNothing
	}
	s.marks = append(s.marks, mark{from, len(s.Out.Buf), false})
	return ran
}

// hand gives the outcome of a commit to those served in its transaction. strict: their replies wait for more than
// write(2). REQUIRES: the latch.
func (x *Executor) hand(done []*waiter, end replog.Offset, err error, strict bool, reign uint64) {
	for _, w := range done {
		s := w.s
		if strict {
			s.promise(reign)
		}
		s.first = 0
		if err == nil {
			s.waitEnd = max(s.waitEnd, end)
		}
		s.committed(err)
		w.wake <- served
	}
}
