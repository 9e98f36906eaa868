package exec

import (
	"slices"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/replog"
)

// Round is a transaction that stays open over write commands: those of one connection's pipeline, or those of
// all the connections that an event loop serves in one turn. While it is open the latch is held shared and the
// locks of the keys written are held. It belongs to one goroutine.
type Round struct {
	x     *Executor
	tx    *keyspace.Txn
	open  bool
	wrote int // commands in it
	held  keyspace.Held
	// members are the sessions with commands in it, each once.
	members []*Session
	// served are those who waited for what its commands have brought: see waiters.
	served []*waiter
	// bounds in commands and bytes
	maxCommands, maxBytes int
}

// A transaction is bounded in commands and bytes: that of one pipeline, and that of a turn of an event loop.
const (
	maxJoined       = 512
	maxJoinedBytes  = 512 << 10
	maxRound        = 2048
	maxRoundBytes   = 2 << 20
	roundKeepsLocks = 4 * maxRound
)

// NewRound makes the transaction that an event loop's connections share; see Session.Share.
func (x *Executor) NewRound() *Round {
	r := &Round{maxCommands: maxRound, maxBytes: maxRoundBytes}
	r.init(x)
	return r
}

func (r *Round) init(x *Executor) {
	r.x = x
	r.held.Init(x.locks)
	if r.maxCommands == 0 {
		r.maxCommands, r.maxBytes = maxJoined, maxJoinedBytes
	}
}

// Open reports whether a commit has something to do.
func (r *Round) Open() bool { return r.open }

// txn is the transaction object, of the store in service.
func (r *Round) txn() *keyspace.Txn {
	// Another store may have come into service since the last command, and one that has been applied is not to be
	// changed any more.
	if r.tx != nil && (r.tx.Applied() || !r.tx.Of(r.x.Store())) {
		r.tx.Done()
		r.tx = nil
	}
	if r.tx == nil {
		r.tx = r.x.Store().NewTxn()
	}
	return r.tx
}

// Release gives the transaction's memory back between bursts.
func (r *Round) Release() {
	if r.tx != nil && !r.open {
		r.tx.Done()
		r.tx = nil
	}
}

// begin opens the transaction. REQUIRES: latch held shared; it is given back by Commit.
func (r *Round) begin() {
	r.txn().Reset()
	r.open, r.wrote = true, 0
}

// join notes that a command of s is about to take part.
func (r *Round) join(s *Session) {
	if !s.joined {
		s.joined, s.keyed, s.first = true, false, len(s.marks)
		r.members = append(r.members, s)
	}
}

// full reports whether the transaction should commit before it takes more.
func (r *Round) full() bool { return r.wrote >= r.maxCommands || r.tx.Size() >= r.maxBytes }

// Commit commits the open transaction, if there is one, for all who take part. The replies of its commands
// become errors if that fails.
func (r *Round) Commit() {
	if !r.open {
		return
	}
	x := r.x
	strict, reign := x.strict(), x.ended.Load()
	end, err := x.commitTxn(r.tx)
	r.open, r.wrote = false, 0
	if strict {
		for _, s := range r.members {
			if s.keyed {
				s.promise(reign) // under the latch: see AwaitConfirmed
			}
		}
	}
	x.hand(r.served, end, err, strict, reign)
	clear(r.served)
	r.served = r.served[:0]
	r.held.Release()
	x.latch.RUnlock()
	for _, s := range r.members {
		s.joined = false
		if err == nil {
			s.waitEnd = max(s.waitEnd, end)
		}
		s.committed(err)
	}
	clear(r.members)
	r.members = r.members[:0]
}

// commitTxn commits t and, while its locks are held, settles cache and watchers and publishes events. It returns
// the offset of the log that the replies depend on: a write that appended nothing still promises what it saw.
func (x *Executor) commitTxn(t *keyspace.Txn) (replog.Offset, error) {
	if t.Empty() {
		x.tell(t) // of reads
		return x.Log().End(), nil
	}
	end, err := x.commit.submit(t)
	if err != nil {
		return end, err
	}
	x.settle(t)
	return end, nil
}

// settle tells of a transaction that has been applied. REQUIRES: the locks under which it was made.
func (x *Executor) settle(t *keyspace.Txn) {
	x.Store().Settle(t)
	x.touch(t)
	x.waiters.noteChanged(t)
	x.tell(t)
}

// promise makes the replies wait for more than write(2); reign is Executor.ended from before the commit.
func (s *Session) promise(reign uint64) {
	if !s.strict {
		s.strict, s.reign = true, reign
		s.x.unconfirmed.Add(1)
	}
}

// confirmed says that the replies promised wait no more, whatever they became.
func (s *Session) confirmed() {
	s.marks = s.marks[:0]
	if s.strict {
		s.strict = false
		s.x.unconfirmed.Add(-1)
	}
}

// committed takes the outcome of the transaction: without an error, readers in it need no marks any more.
func (s *Session) committed(err error) {
	// CLIENT REPLY may have taken marks away.
	s.first = min(s.first, len(s.marks))
	if err != nil {
		s.failMarks(s.first, err)
		return
	}
	tail := slices.DeleteFunc(s.marks[s.first:], func(m mark) bool { return m.read })
	s.marks = s.marks[:s.first+len(tail)]
}

// Share makes the session's commands take part in r, or with nil in a transaction of its own. REQUIRES: no
// command of the session takes part in an open one.
func (s *Session) Share(r *Round) {
	if s.r == &s.own {
		s.own.Release()
	}
	if s.r = r; r == nil {
		s.r = &s.own
	}
}

// TryDo runs a command as Do does, but only if that can't block: keys and elements are found in memory, locks
// are free, and no pause, MULTI or refusal is in the way. Otherwise it changes nothing and returns false; the
// caller has the command run by Do where it may block.
func (s *Session) TryDo(args [][]byte) bool {
	x := s.x
	cmd, sub := x.find(args)
	if cmd == nil || sub != nil || !inline(cmd) || s.multi.on || s.Client.Reply != commands.ReplyOn ||
		s.Client.Caching || x.pause.active.Load() {
		return false
	}
	s.timer.begin()
	s.from = len(s.Out.Buf)
	if s.admit(cmd, nil, args) != "" {
		return false
	}
	switch {
	case cmd.Flags&command.Script != 0:
		return s.tryScript(cmd, args)
	case writes(cmd):
		return s.tryWrite(cmd, args)
	}
	if cmd.Flags&keyedRead != 0 {
		return s.tryRead(cmd, args)
	}
	x.monitor(s, cmd, args)
	s.runPlain(cmd, args)
	return true
}

// tryRead is runRead without waiting.
func (s *Session) tryRead(cmd *commands.Command, args [][]byte) bool {
	r := s.r
	s.wants(cmd, args, true)
	s.separate(cmd)
	if !r.open && !s.x.latch.TryRLock() {
		return false
	}
	n := r.held.Len()
	ok := r.held.TryAcquire(s.want)
	if ok {
		dirty := r.held.Len()-n < len(s.want)
		t := r.txn()
		if !r.open {
			t.Reset()
		}
		t.Begin(keyspace.ModeRead, s.Client.DB, s.timer.nowMillis())
		from := len(s.Out.Buf)
		if ok = s.invokeHot(cmd, args, nil, 0); ok {
			s.remember(cmd, args)
		}
		r.held.ReleaseTo(n)
		if ok && dirty {
			r.join(s)
			s.marks = append(s.marks, mark{from, len(s.Out.Buf), true})
		}
	}
	if !r.open {
		s.x.latch.RUnlock()
	}
	return ok
}

// tryJoin gets the locks of a command that may write, s.want, and opens the transaction if it is not open, without
// waiting. locks is how many locks were held before; a command that has changed nothing gives its own back.
func (s *Session) tryJoin(cmd *commands.Command) (locks int, ok bool) {
	r := s.r
	locks = r.held.Len()
	if r.open && (r.full() || r.held.Len() > roundKeepsLocks || !r.held.TryAcquire(s.want)) {
		r.Commit()
	}
	if r.open {
		return locks, s.x.admitWrite(cmd) == ""
	}
	if !s.x.latch.TryRLock() {
		return 0, false
	}
	// A pause that began meanwhile counts: see Session.enter.
	if s.x.pause.active.Load() || s.x.admitWrite(cmd) != "" || s.x.Store().Crowded() || !r.held.TryAcquire(s.want) {
		s.x.latch.RUnlock()
		return 0, false
	}
	r.begin()
	return 0, true
}

// tryWrite is runWrite without waiting.
func (s *Session) tryWrite(cmd *commands.Command, args [][]byte) bool {
	s.wants(cmd, args, false)
	if _, ok := s.tryJoin(cmd); !ok {
		return false
	}
	r, t := s.r, s.r.tx
	t.Begin(keyspace.ModeWrite, s.Client.DB, s.timer.nowMillis())
	t.Client(s.Client.ID)
	from, touched := len(s.Out.Buf), len(t.Touched())
	m := t.Mark()
	if !s.invokeHot(cmd, args, &m, t.Changes()) {
		return false
	}
	s.wroteIn(cmd, from)
	r.serve(touched, true)
	return true
}

// wroteIn notes a write command that has run in the open round, its reply beginning at from.
func (s *Session) wroteIn(cmd *commands.Command, from int) {
	s.r.join(s)
	s.marks = append(s.marks, mark{from, len(s.Out.Buf), false})
	s.r.wrote++
	s.keyed = s.keyed || cmd.Flags&keyedWrite != 0
}

// mayNotWait reports whether the command that has just been run waits for keys where nobody may wait.
func (s *Session) mayNotWait() bool { return s.call.Waits() && s.r.tx.InMemory() }

// invokeHot runs a command on what is in memory; false, with nothing changed, if that is not enough, or if the command
// has to wait for keys.
func (s *Session) invokeHot(cmd *commands.Command, args [][]byte, m *keyspace.Mark, before int64) bool {
	s.cold = false
	from := len(s.Out.Buf)
	s.r.tx.HotOnly(true)
	if m != nil {
		s.invokeMarked(cmd, args, m, before)
	} else {
		s.invokeBounded(cmd, args, min(replyOnLoop, s.x.replyBuffer()))
	}
	if s.mayNotWait() {
		if m != nil {
			s.r.tx.Rollback(m)
		}
		s.call.TakeWait()
		s.Out.Buf, s.cold = s.Out.Buf[:from], true
	}
	s.r.tx.HotOnly(false)
	if s.cold || s.long {
		s.cold, s.long = false, false
		return false
	}
	s.x.monitor(s, cmd, args)
	return true
}

// MustWait reports whether replies must not leave before Flush, which will block: for an fsync or for replicas.
// REQUIRES: the round is not open.
func (s *Session) MustWait() bool { return s.strict && len(s.marks) > 0 }

// FlushAll is Flush for several sessions at once, whose writes have committed: they wait together.
func FlushAll(sessions []*Session) {
	var last *Session
	for _, s := range sessions {
		if s.MustWait() && (last == nil || s.waitEnd > last.waitEnd) {
			last = s
		}
	}
	if last == nil {
		for _, s := range sessions {
			s.confirmed()
		}
		return
	}
	err := last.x.waitDurable(last.ctx, last.waitEnd, last.reign)
	for _, s := range sessions {
		if err != nil && s.strict {
			s.failMarks(0, err)
		} else if s.strict && s.reign != last.reign {
			_ = s.Flush()
		}
		s.confirmed()
	}
}
