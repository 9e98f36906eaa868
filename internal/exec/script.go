package exec

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/script"
)

// A script has a transaction of its own under the locks of the keys that it declares; a key that it touches
// besides is locked when it does. Where that would have to wait, which could be for ever, all that the script did
// is forgotten, and it runs a second time under the latch held exclusively, as does one that looks at keys without
// naming them. What its commands log becomes one unit of the log.

// scripts are those that run.
type scripts struct {
	engine *script.Engine
	// busy, if set, is what commands get that may not run beside a script that runs for long.
	busy atomic.Pointer[commands.Error]
	// ended: the node stops.
	ended atomic.Bool
	mu    struct {
		sync.Mutex
		running map[*scriptHost]struct{}
	}
}

func (sc *scripts) init() {
	sc.engine = script.NewEngine()
	sc.mu.running = map[*scriptHost]struct{}{}
}

func (sc *scripts) add(h *scriptHost) {
	sc.mu.Lock()
	sc.mu.running[h] = struct{}{}
	sc.mu.Unlock()
}

func (sc *scripts) remove(h *scriptHost) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	delete(sc.mu.running, h)
	if h.slow {
		sc.showBusyLocked()
	}
}

// late notes that a script runs for long.
func (sc *scripts) late(h *scriptHost) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	h.slow = true
	sc.showBusyLocked()
}

func (sc *scripts) showBusyLocked() {
	h := sc.slowestLocked()
	if h == nil {
		sc.busy.Store(nil)
		return
	}
	e := commands.Error(resp.ErrBusyScript)
	if h.run.Function {
		e = resp.ErrBusyFunction
	}
	sc.busy.Store(&e)
}

// slowestLocked is the one of those that run for long that began first.
func (sc *scripts) slowestLocked() *scriptHost {
	var slowest *scriptHost
	for h := range sc.mu.running {
		if h.slow && (slowest == nil || h.start.Before(slowest.start)) {
			slowest = h
		}
	}
	return slowest
}

// EndScripts ends all scripts for good: the node stops.
func (x *Executor) EndScripts() {
	x.scripts.ended.Store(true)
	x.StopScripts()
}

// StopScripts ends all scripts; nothing of them is kept. For a change of the role, which would have to wait for
// them.
func (x *Executor) StopScripts() {
	sc := &x.scripts
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for h := range sc.mu.running {
		h.stop.CompareAndSwap(nil, &errScriptEnded)
	}
}

var (
	errScriptEnded  error = commands.Error(resp.ErrScriptEnded)
	errKilledScript error = script.Error("ERR Script killed by user with SCRIPT KILL...")
	errKilledFunc   error = script.Error("ERR Script killed by user with FUNCTION KILL...")
	// errAgain ends a run that has to begin again where it may wait: under the latch held exclusively, or, of one on an
	// event loop, away from that.
	errAgain = errors.New("the script has to wait")
)

// Scripts is the engine.
func (s *Session) Scripts() *script.Engine { return s.x.scripts.engine }

// KillScript ends the script that makes the node busy: SCRIPT KILL and FUNCTION KILL.
func (s *Session) KillScript(function bool) error {
	sc := &s.x.scripts
	sc.mu.Lock()
	defer sc.mu.Unlock()
	h := sc.slowestLocked()
	switch {
	case h == nil:
		return commands.Error(resp.ErrNotBusy)
	case h.run.Function && !function:
		return commands.Error(resp.ErrBusyFunction)
	case !h.run.Function && function:
		return commands.Error(resp.ErrBusyScript)
	case h.wrote.Load():
		return commands.Error(resp.ErrUnkillable)
	}
	why := &errKilledScript
	if function {
		why = &errKilledFunc
	}
	h.stop.CompareAndSwap(nil, why)
	s.Out.OK()
	return nil
}

// BusyScript is what commands get beside a script that runs for long.
func (s *Session) BusyScript() commands.Error {
	if e := s.x.scripts.busy.Load(); e != nil {
		return *e
	}
	return ""
}

// ScriptStats describes the script that has run longest.
func (s *Session) ScriptStats() (commands.ScriptStats, bool) {
	sc := &s.x.scripts
	sc.mu.Lock()
	defer sc.mu.Unlock()
	var oldest *scriptHost
	for h := range sc.mu.running {
		if h.run.Function && (oldest == nil || h.start.Before(oldest.start)) {
			oldest = h
		}
	}
	if oldest == nil {
		return commands.ScriptStats{}, false
	}
	return commands.ScriptStats{Name: oldest.run.Name, Command: oldest.command,
		Duration: time.Since(oldest.start)}, true
}

// scriptState is what a session knows about the script that it runs.
type scriptState struct {
	host scriptHost
	// exclusive: the latch is held exclusively, so that no locks are needed.
	exclusive bool
	// onLoop: see tryScript.
	onLoop bool
	// published are the calls of PUBLISH of a run that has to be done again: messages are not sent twice.
	published []published
}

type published struct{ call, reply string }

// runScript runs a script that is no part of a MULTI.
func (s *Session) runScript(cmd *commands.Command, args [][]byte) {
	s.commitOpen()
	s.wants(cmd, args, cmd.Flags&command.ReadOnly != 0)
	defer func() { s.script.exclusive, s.script.published = false, s.script.published[:0] }()
	for s.enter(cmd, s.script.exclusive) {
		if s.scriptOnce(cmd, args) {
			break
		}
		s.script.exclusive = true
	}
	for _, f := range s.call.TakeAfter() {
		f()
	}
}

// scriptOnce runs the script in a transaction and commits it; false, with nothing changed, if it must run again.
// It gives the latch back.
func (s *Session) scriptOnce(cmd *commands.Command, args [][]byte) bool {
	x, exclusive := s.x, s.script.exclusive
	defer s.leave(exclusive)
	if !exclusive {
		s.r.held.Acquire(s.want)
		defer s.r.held.Release()
	}
	t := s.r.txn()
	t.Reset()
	t.Begin(keyspace.ModeRead, s.Client.DB, s.timer.nowMillis())
	from, reign := len(s.Out.Buf), x.ended.Load()
	m := t.Mark()
	s.call.Reset()
	s.call.Tx, s.call.Args, s.call.Cmd = t, args, cmd
	err := cmd.Run(&s.call)
	if errors.Is(err, errAgain) {
		t.Rollback(&m)
		t.DropEvents(0)
		s.Out.Buf = s.Out.Buf[:from]
		s.call.TakeAfter()
		return false
	}
	s.ran(cmd, nil, from, err)
	if t.Empty() {
		x.tell(t)
		return true
	}
	t.Frame()
	var done []*waiter
	if exclusive {
		done = x.serveDatabases(s.r, x.serveTouched(s.r, 0, nil, nil))
	} else {
		done = x.serveTouched(s.r, 0, &s.r.held, nil)
	}
	if err := s.commitAlone(t, true, reign, done); err != nil {
		s.Out.Buf = s.Out.Buf[:from]
		s.fail(x.replyFor(err))
		return true
	}
	s.marks = append(s.marks, mark{from, len(s.Out.Buf), false})
	return true
}

// scriptHost is what a script reaches of the session that runs it.
type scriptHost struct {
	s     *Session
	run   commands.ScriptRun
	start time.Time
	// command are the arguments of the call, for FUNCTION STATS.
	command []string
	stop    atomic.Pointer[error]
	wrote   atomic.Bool
	slow    bool // under scripts.mu

	call  commands.Call
	out   resp.Writer
	calls int // of PUBLISH
	last  time.Time
}

// RunScript runs a script for the call. REQUIRES: the transaction of the session is open for it.
func (s *Session) RunScript(c *commands.Call, r commands.ScriptRun) error {
	x := s.x
	if s.script.onLoop && r.Away.Left() {
		return errAgain
	}
	if refusal := s.admitScript(r); refusal != "" {
		return refusal
	}
	h := &s.script.host
	h.s, h.run, h.start, h.calls = s, r, time.Now(), 0
	h.last = h.start
	h.stop.Store(nil)
	h.wrote.Store(false)
	if r.Function {
		h.command = h.command[:0]
		for _, a := range c.Args {
			h.command = append(h.command, string(a))
		}
	}
	h.call = commands.Call{Client: s.Client, Node: x.Node, Out: &h.out, Ctx: s.ctx}
	db, before, events := s.Client.DB, c.Tx.Mark(), len(c.Tx.Events())
	x.scripts.add(h)
	err := r.Run(h)
	x.scripts.remove(h)
	h.slow = false
	s.Client.DB = db
	c.Tx.Begin(keyspace.ModeRead, db, s.timer.nowMillis())
	for _, f := range h.call.TakeAfter() {
		c.After(f)
	}
	if err == errAgain && s.script.onLoop {
		r.Away.Leave()
	}
	if err == errScriptEnded {
		c.Tx.Rollback(&before)
		c.Tx.DropEvents(events)
	}
	var reply script.Error
	if errors.As(err, &reply) {
		return commands.Error(reply)
	}
	return err
}

// admitScript checks what a script says about itself against the state of the node. One that says nothing is
// checked command by command.
func (s *Session) admitScript(r commands.ScriptRun) commands.Error {
	if r.Flags&script.Compat != 0 {
		return ""
	}
	x := s.x
	writes := r.Flags&script.NoWrites == 0
	if stale := x.stale.Load(); stale != nil && r.Flags&script.AllowStale == 0 && !x.Role().Writable {
		return *stale
	}
	if r.ReadOnly && writes {
		return resp.ErrScriptWrites
	}
	if !writes {
		return ""
	}
	if !x.Role().Writable {
		return resp.ErrScriptReplica
	}
	f := command.Write
	if r.Flags&script.AllowOOM == 0 {
		f |= command.DenyOOM
	}
	return x.admitFlags(f)
}

// Tick tells whether the script may go on.
func (h *scriptHost) Tick() error {
	if h.s.x.scripts.ended.Load() {
		return errScriptEnded
	}
	if e := h.stop.Load(); e != nil {
		return *e
	}
	if h.late(time.Now()) {
		return errAgain
	}
	if !h.slow {
		if limit := h.s.x.Config.Duration(option.BusyScriptThreshold); limit > 0 && time.Since(h.start) >= limit {
			h.s.x.scripts.late(h)
			h.s.x.Logger.Warn("a script runs for long; SCRIPT KILL or FUNCTION KILL ends it", "name", h.run.Name,
				"for", time.Since(h.start))
		}
	}
	return nil
}

// Log takes a message of the script.
func (h *scriptHost) Log(level int, msg string) {
	levels := [...]slog.Level{slog.LevelDebug, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn}
	h.s.x.Logger.Log(context.Background(), levels[level], msg, "script", h.run.Name)
}

// Permitted asks access control.
func (h *scriptHost) Permitted(args [][]byte) (ok, known bool) {
	cmd, sub := h.s.x.find(args)
	if cmd == nil || sub == nil && len(cmd.Sub) > 0 {
		return false, false
	}
	a := h.s.Client.Account()
	if a == nil {
		return true, true
	}
	verdict := a.User().Allowed(&h.s.target(cmd, sub).Spec, args)
	return verdict.OK(), true
}

// refuse checks a command of the script, as admit does with those of clients.
func (h *scriptHost) refuse(cmd, sub *commands.Command, args [][]byte) commands.Error {
	s, x := h.s, h.s.x
	if cmd == nil || sub == nil && len(cmd.Sub) > 0 && len(args) > 1 {
		return resp.ErrScriptUnknown
	}
	c := s.target(cmd, sub)
	f := c.Flags
	switch {
	case !c.ArityOK(len(args)):
		return resp.ErrScriptArity
	case f&command.NoScript != 0:
		return resp.ErrNotFromScript
	case x.stale.Load() != nil && f&command.Stale == 0 && !x.Role().Writable:
		return resp.ErrScriptStale
	}
	if a := s.Client.Account(); a != nil && !a.User().All() {
		refusal := s.permit(a, c, args)
		s.logDenied(c, args, commands.ContextScript)
		if refusal != "" {
			return "NOPERM ACL failure in script: " + commands.Error(strings.TrimPrefix(string(refusal), "NOPERM "))
		}
	}
	if f&command.Write == 0 {
		return ""
	}
	if h.run.ReadOnly || h.run.Flags&script.NoWrites != 0 {
		return resp.ErrScriptReadOnly
	}
	// The flag allow-oom is about memory, which is not what runs out here: it lets the script begin, to delete, say.
	return x.admitFlags(f)
}

// Call runs a command for the script.
func (h *scriptHost) Call(args [][]byte, proto int) ([]byte, error) {
	if e := h.stop.Load(); e != nil {
		return nil, *e
	}
	s, x := h.s, h.s.x
	h.out.Buf, h.out.Proto = h.out.Buf[:0], proto
	cmd, sub := x.find(args)
	if refusal := h.refuse(cmd, sub, args); refusal != "" {
		if cmd != nil {
			s.target(cmd, sub).Stats.Rejected.Add(1)
		}
		h.out.Error(string(refusal))
		return h.out.Buf, nil
	}
	c := s.target(cmd, sub)
	if s.script.onLoop && (!inline(c) || h.late(h.last)) {
		return nil, errAgain
	}
	if !s.script.exclusive && !h.lock(c, args) {
		return nil, errAgain
	}
	x.monitor(s, c, args)
	if c.Flags&command.PubSub != 0 && c.Flags&command.MayReplicate != 0 {
		h.publish(c, args)
	} else if err := h.invoke(c, args); err != nil {
		return nil, err
	}
	h.book(c)
	return h.out.Buf, nil
}

// lock takes the locks of the command's keys that are not held; false if that would have to wait, or if the
// command needs more than locks.
func (h *scriptHost) lock(c *commands.Command, args [][]byte) bool {
	s := h.s
	if alone(c, args) || c.Flags&command.WholeSpace != 0 {
		return false
	}
	s.refs, _ = c.AppendKeys(s.refs[:0], args)
	for _, r := range s.refs {
		if r.Access&command.AccessNotKey != 0 {
			continue
		}
		w := keyspace.Want{Lock: keyspace.LockOf(args[r.Pos]), Shared: c.Flags&(command.Write|command.MayReplicate) == 0}
		if !s.r.held.Covers(w) && !s.r.held.TryAcquire([]keyspace.Want{w}) {
			return false
		}
	}
	return true
}

// invoke runs the command in the script's transaction; an error takes back what the command did, and is its reply,
// unless it is errAgain.
func (h *scriptHost) invoke(c *commands.Command, args [][]byte) error {
	s, x, t := h.s, h.s.x, h.s.r.tx
	k := &h.call
	k.Reset()
	k.InMulti = true
	k.Args, k.Cmd, k.Tx = args, c, nil
	keyed := c.Flags&(command.Write|command.ReadOnly|command.MayReplicate) != 0
	if !keyed {
		h.outcome(c, c.Run(k))
		return nil
	}
	mode := keyspace.ModeRead // a reading command may hold its locks shared: it deletes nothing
	if writes(c) && x.Role().Writable && !h.run.ReadOnly {
		mode = x.writeMode(c)
	}
	t.Begin(mode, s.Client.DB, s.timer.nowMillis())
	t.Client(s.Client.ID)
	k.Tx = t
	m, before := t.Mark(), t.Changes()
	bytes := t.EffectBytes()
	expired, expiredBytes := t.Expirations()
	t.CountLookups()
	err := c.Run(k)
	if hits, misses := t.Lookups(); hits+misses > 0 {
		x.Stats.Hits.Add(hits)
		x.Stats.Misses.Add(misses)
	}
	if errors.Is(err, keyspace.ErrCold) {
		return errAgain
	}
	if err != nil {
		t.Rollback(&m)
		h.outcome(c, err)
		return nil
	}
	s.noteReads(c, args)
	moreExpired, moreBytes := t.Expirations()
	changed := t.Changes()-before > moreExpired-expired
	logged := int64(t.EffectBytes()-bytes) > moreBytes-expiredBytes
	if changed && !logged && k.Propagates() {
		t.Effect(args...)
	}
	if changed || c.Flags&command.Write != 0 {
		h.wrote.Store(true)
	}
	return nil
}

// outcome writes the reply for an error.
func (h *scriptHost) outcome(c *commands.Command, err error) {
	if err == nil {
		return
	}
	x := h.s.x
	reply, known := err.(commands.Error)
	if !known {
		x.Stats.Unexpected.Add(1)
		x.Logger.Error("command failed", "command", c.FullName(), "err", err)
		reply = commands.Error("ERR internal error: " + err.Error())
	}
	c.Stats.Failed.Add(1)
	x.countError(string(reply))
	h.out.Buf = h.out.Buf[:0]
	h.out.Error(string(reply))
}

// publish runs PUBLISH. A message that the run before this one has sent is not sent again.
func (h *scriptHost) publish(c *commands.Command, args [][]byte) {
	ps := &h.s.script.published
	call := string(resp.AppendCommand(nil, args...))
	n := h.calls
	h.calls++
	if n < len(*ps) && (*ps)[n].call == call {
		h.out.Buf = append(h.out.Buf, (*ps)[n].reply...)
		if h.s.x.Role().Writable && h.s.x.Node.Publishes() && string(args[1]) != commands.HelloChannel {
			h.s.r.tx.Effect(args...)
		}
		return
	}
	_ = h.invoke(c, args) // it reads no keys
	if n >= len(*ps) {
		*ps = append(*ps, published{call, string(h.out.Buf)})
	}
}

// book counts the command and its time.
func (h *scriptHost) book(c *commands.Command) {
	now := time.Now()
	d := int64(now.Sub(h.last))
	h.last = now
	c.Stats.Calls.Add(1)
	c.Stats.Nanos.Add(d)
	c.Stats.Hist.Add(d)
	h.s.x.Stats.Commands.Add(1)
}
