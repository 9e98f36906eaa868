package exec

import (
	"sync/atomic"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
)

type counter = atomic.Int64

// multiState is a connection's MULTI.
type multiState struct {
	on, aborted bool
	writes      bool // a queued command writes
	exclusive   bool // one needs the latch exclusively
	queue       []queued
	bytes       int
}

type queued struct {
	cmd  *commands.Command
	args [][]byte
}

// maxMultiBytes bounds what a client may queue.
const maxMultiBytes = 256 << 20

// runsInMulti are the commands that run at once inside MULTI.
func runsInMulti(cmd *commands.Command) bool {
	switch cmd.Name {
	case "EXEC", "DISCARD", "MULTI", "WATCH", "QUIT", "RESET":
		return cmd.Parent() == nil
	}
	return false
}

// abortMulti remembers that a command was refused while queueing: EXEC will abort.
func (s *Session) abortMulti(cmd *commands.Command) {
	if s.multi.on && (cmd == nil || !runsInMulti(cmd)) {
		s.multi.aborted = true
	}
}

func (s *Session) enqueue(cmd *commands.Command, args [][]byte) {
	m := &s.multi
	n := 0
	for _, a := range args {
		n += len(a)
	}
	if m.bytes += n; m.bytes > maxMultiBytes {
		m.aborted = true
		s.fail("ERR too many bytes queued in MULTI")
		return
	}
	copied := make([][]byte, len(args))
	flat := make([]byte, 0, n)
	for i, a := range args {
		at := len(flat)
		flat = append(flat, a...)
		copied[i] = flat[at:len(flat):len(flat)]
	}
	m.queue = append(m.queue, queued{cmd, copied})
	m.writes = m.writes || writes(cmd)
	// A script may touch keys that nobody has named.
	m.exclusive = m.exclusive || alone(cmd, args) || cmd.Flags&command.Script != 0
	s.Client.MultiLen = len(m.queue)
	s.Out.SimpleString("QUEUED")
}

// Multi begins a transaction: the command MULTI.
func (s *Session) Multi() error {
	if s.multi.on {
		return commands.Error(resp.ErrNestedMulti)
	}
	s.multi = multiState{on: true}
	s.Client.MultiLen = 0
	s.Out.OK()
	return nil
}

// Discard drops it: the command DISCARD.
func (s *Session) Discard() error {
	if !s.multi.on {
		return commands.Error(resp.ErrDiscardNoMulti)
	}
	s.endMulti()
	s.unwatch()
	s.Out.OK()
	return nil
}

// Reset forgets MULTI and WATCH without a reply: the command RESET.
func (s *Session) Reset() {
	s.endMulti()
	s.unwatch()
}

func (s *Session) endMulti() {
	s.multi = multiState{}
	s.Client.MultiLen = -1
}

// Exec runs what was queued as one transaction: the command EXEC. All keys are locked at once; the log gets
// MULTI, the effects and EXEC as one frame, the engine one batch.
func (s *Session) Exec() error {
	m := s.multi
	if !m.on {
		return commands.Error(resp.ErrExecNoMulti)
	}
	s.commitOpen()
	defer s.endMulti()
	defer s.unwatch()
	defer func() { s.Client.Caching = false }()
	if m.aborted {
		return commands.Error(resp.ErrExecAbort)
	}
	s.want = s.want[:0]
	for _, q := range m.queue {
		s.refs, _ = q.cmd.AppendKeys(s.refs[:0], q.args)
		write := writes(q.cmd)
		for _, r := range s.refs {
			s.want = append(s.want, keyspace.Want{Lock: keyspace.LockOf(q.args[r.Pos]), Shared: !write})
		}
	}
	want := s.watch.wants(s.want)
	if !s.enter(s.call.Cmd, m.exclusive) {
		return nil
	}
	defer s.leave(m.exclusive)
	s.r.held.Acquire(want)
	defer s.r.held.Release()
	if s.watch.dirty.Load() || s.watchExpired() {
		s.Out.NullArray()
		return nil
	}
	return s.execQueue(&m)
}

func (s *Session) execQueue(m *multiState) error {
	x := s.x
	for _, q := range m.queue {
		if refusal := x.admitWrite(q.cmd); refusal != "" {
			return commands.Error(resp.ExecAborted(string(refusal)))
		}
	}
	t := s.r.txn()
	t.Reset()
	from, reign := len(s.Out.Buf), x.ended.Load()
	writable, keyed := x.Role().Writable, false
	defer func() { s.script.exclusive = false }()
	outer := s.call
	s.Out.Array(len(m.queue))
	var after []func()
	for _, q := range m.queue {
		if !s.permitQueued(q) {
			continue
		}
		x.monitor(s, q.cmd, q.args)
		mode := keyspace.ModeRead // a reading command may hold its locks shared: it deletes nothing
		if writable && writes(q.cmd) {
			mode = x.writeMode(q.cmd)
		}
		keyed = keyed || q.cmd.Flags&(command.Write|command.Script) != 0
		t.Begin(mode, s.Client.DB, s.timer.nowMillis())
		t.Client(s.Client.ID)
		mark := t.Mark()
		s.call.InMulti = true
		s.invokeInMulti(q, &mark, t.Changes())
		s.noteReads(q.cmd, q.args)
		s.call.InMulti = false
		after = append(after, s.call.TakeAfter()...)
	}
	s.call = outer
	for _, f := range after {
		s.call.After(f)
	}
	if t.Empty() && !m.writes {
		x.tell(t)
		return nil
	}
	t.Frame()
	// Whoever waited for what the transaction brought gets it behind the transaction.
	err := s.commitAlone(t, keyed, reign, x.serveTouched(s.r, 0, &s.r.held, nil))
	if err != nil {
		s.Out.Buf = s.Out.Buf[:from]
		return x.replyFor(err)
	}
	if s.strict {
		s.marks = append(s.marks, mark{from, len(s.Out.Buf), false})
	}
	return nil
}

func (s *Session) invokeInMulti(q queued, m *keyspace.Mark, before int64) {
	keyed := q.cmd.Flags&(command.Write|command.ReadOnly|command.MayReplicate) != 0
	s.call.Reset()
	s.call.InMulti = true
	if q.cmd.Flags&command.Script != 0 {
		s.call.Tx, s.call.Args, s.call.Cmd = s.r.tx, q.args, q.cmd
		s.script.exclusive = true
		s.run(q.cmd, nil) // what it did before an error stays
		return
	}
	if keyed {
		s.invokeMarked(q.cmd, q.args, m, before)
		return
	}
	s.call.Tx, s.call.Args, s.call.Cmd = nil, q.args, q.cmd
	s.run(q.cmd, nil)
}
