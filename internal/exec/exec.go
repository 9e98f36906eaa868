// Package exec is the single gate through which commands reach data: admit -> latch and key locks -> run ->
// commit -> reply. Clients' commands, the replication stream and recovery all pass it.
//
// A Session is the gate's state for one connection and belongs to the goroutine that works on it. A Round is a
// transaction that stays open over the write commands of a pipeline, or of all connections that an event loop
// serves in one turn: each further command joins if its key locks can be had without waiting; otherwise what
// there is commits first. Flush commits, waits for the durability asked for, and only then may replies leave.
//
// Lock order: store latch, key locks ascending, commit leadership (commit.mu, then the log's own), hot
// cache shard. The latch is held shared while a write transaction is open or a command reads, exclusively
// for FLUSHALL, SWAPDB and role changes; so a write admitted under a role can't commit under another.
// Key locks are held until the engine has applied, never over an fsync or a wait for replicas.
//
// Goroutines: none of its own. The commit leader is whichever session's goroutine came first.
package exec

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/acl"
	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/replog"
	"haypile/internal/resp"
	"haypile/internal/tracking"
)

// Options are what the gate works on. All but the functions are required.
type Options struct {
	Table  *command.Table
	All    []*commands.Command
	Config *option.Config
	Node   commands.Node
	Logger *slog.Logger
	// Tracking is the table of client-side caching; nil makes one that nobody uses.
	Tracking *tracking.Table
	// Push hands bytes just appended to the log to the online replicas; it never blocks. May be nil.
	Push func(start replog.Offset, stream []byte)
	// WaitAcked blocks until n replicas have the log up to offset or ctx ends; returns how many have.
	WaitAcked func(ctx context.Context, offset replog.Offset, n int) int
	// Online is the number of replicas linked now.
	Online func() int
	// Feed gets every executed command for MONITOR; it is called only while Monitors is not 0.
	Feed func(c *commands.Client, db int, args [][]byte)
	// Fatal ends the process after a failure that leaves engine and log apart.
	Fatal func(msg string, err error)
}

// Role is what the node may do at present.
type Role struct {
	// Writable nodes accept clients' writes; others answer Refusal.
	Writable bool
	Refusal  commands.Error
	// Loading, if set, is the answer to all commands without the flag loading.
	Loading commands.Error
	// Reign is the token under which the log takes appends.
	Reign replog.Reign
}

// Data is the pair that the gate works on: the log and the store that reflects it.
type Data struct {
	Store *keyspace.Store
	Log   *replog.Log
}

// Executor is the gate of one node.
type Executor struct {
	Options
	byName map[string]*commands.Command
	locks  *keyspace.Locks
	data   atomic.Pointer[Data]

	latch sync.RWMutex
	role  atomic.Pointer[Role]
	// leaseEnd is when the primary's lease ends, in nanoseconds since start; 0 = not managed.
	leaseEnd atomic.Int64
	start    time.Time
	// diskFull and failed refuse writes: the disk is nearly full, or the log can't be written.
	diskFull atomic.Bool
	failed   atomic.Pointer[commands.Error]
	// stale, if set, is the answer to commands without the flag stale.
	stale  atomic.Pointer[commands.Error]
	expiry atomic.Bool // active expiry and expiry on access are on
	// ended counts how often this node has stopped being primary: a reply that waited for durability promises
	// nothing if that happened meanwhile, because what stands in the log at its offset may be another's.
	ended atomic.Uint64
	// unconfirmed counts sessions with replies that wait for durability or replicas.
	unconfirmed atomic.Int64
	Monitors    atomic.Int64

	commit  committer
	watch   watchers
	pause   pauseState
	scripts scripts

	waiters waiters

	Stats ExecStats
}

// ExecStats are counters for INFO.
type ExecStats struct {
	Commands, Errors, Hits, Misses, Unexpected atomic.Int64
	Groups, GroupTxns                          atomic.Int64
	// ErrorKinds counts error replies by code word.
	ErrorKinds sync.Map
	// ExpireCycles counts runs of active expiry.
	ExpireCycles atomic.Int64
	// Streams counts replies that were sent in parts, StreamBytes their bytes, BrokenStreams those of them that ended
	// before their end. Streaming is how many are being sent.
	Streams, StreamBytes, BrokenStreams, Streaming atomic.Int64
}

// New makes the gate. It refuses everything until SetRole.
func New(opt Options) *Executor {
	x := &Executor{Options: opt, byName: make(map[string]*commands.Command, len(opt.All)), start: time.Now()}
	for _, c := range opt.All {
		x.byName[c.Name] = c
	}
	if x.Tracking == nil {
		x.Tracking = tracking.New(new(atomic.Int64))
	}
	x.locks = keyspace.NewLocks()
	x.role.Store(&Role{Loading: commands.Error(resp.ErrLoading)})
	x.expiry.Store(true)
	x.commit.x = x
	x.pause.init()
	x.scripts.init()
	return x
}

// SetData puts a pair in service: at start, and when a full sync or a rewind has made another one. db is the
// database selected at the log's end, or -1 if the next frame must say. REQUIRES: nothing runs (Exclusive,
// SetRole or before the first session).
func (x *Executor) SetData(d Data, db int) {
	x.data.Store(&d)
	x.commit.logDB, x.commit.selects = max(0, db), db < 0
	x.watch.touchAll()
	x.Tracking.Flush()
	x.waiters.nudgeAll()
}

// Store is the store in service.
func (x *Executor) Store() *keyspace.Store { return x.data.Load().Store }

// Log is the log in service.
func (x *Executor) Log() *replog.Log { return x.data.Load().Log }

// Role is the present role.
func (x *Executor) Role() *Role { return x.role.Load() }

// SetRole changes the role: it waits until no transaction is open, and none opens meanwhile. f, if not nil,
// runs in between, and the role that it returns takes effect.
func (x *Executor) SetRole(f func() (Role, error)) error {
	x.StopScripts()
	x.latch.Lock()
	defer x.latch.Unlock()
	r, err := f()
	if err != nil {
		return err
	}
	if x.Role().Writable && !r.Writable {
		x.ended.Add(1)
		x.waiters.unblockAll(roleEnded)
	}
	x.role.Store(&r)
	return nil
}

// Exclusive runs f while no command runs and no transaction is open.
func (x *Executor) Exclusive(f func() error) error {
	x.latch.Lock()
	defer x.latch.Unlock()
	return f()
}

// SetLease sets when writing must stop unless the lease is renewed before; the zero time means that the
// node is not managed.
func (x *Executor) SetLease(until time.Time) {
	if until.IsZero() {
		x.leaseEnd.Store(0)
		return
	}
	x.leaseEnd.Store(max(1, int64(until.Sub(x.start))))
}

// leaseOver reports whether a managed primary may not write any more.
func (x *Executor) leaseOver() bool {
	end := x.leaseEnd.Load()
	return end != 0 && int64(time.Since(x.start)) >= end
}

// SetDiskFull refuses or admits writes that need room.
func (x *Executor) SetDiskFull(full bool) { x.diskFull.Store(full) }

// DiskFull reports it.
func (x *Executor) DiskFull() bool { return x.diskFull.Load() }

// Fail refuses writes for good: the log can't be trusted any more.
func (x *Executor) Fail(reply string) {
	e := commands.Error(reply)
	x.failed.Store(&e)
}

// SetStale makes a replica whose link is down refuse what needs fresh data; "" ends that.
func (x *Executor) SetStale(reply commands.Error) {
	if reply == "" {
		x.stale.Store(nil)
		return
	}
	x.stale.Store(&reply)
}

// Failed is the refusal that Fail set, nil if none.
func (x *Executor) Failed() *commands.Error { return x.failed.Load() }

// SetExpiry turns expiry on and off: DEBUG SET-ACTIVE-EXPIRE.
func (x *Executor) SetExpiry(on bool) { x.expiry.Store(on) }

// Session is the gate's side of one connection.
type Session struct {
	x      *Executor
	Client *commands.Client
	Out    resp.Writer

	// r is the transaction in which commands take part: the session's own, or one shared by Share.
	r   *Round
	own Round
	// joined: commands of this session are in r's open transaction. keyed: one of them writes keys, and does not
	// only publish. first is the number of their first mark.
	joined, keyed bool
	first         int

	from  int  // where in Out the reply of the command being run begins
	again bool // the command that runs has waited
	cold  bool // the command needed more than what is in memory: see TryDo
	long  bool // the reply has outgrown its bound: see bounded
	call  commands.Call
	refs  []command.KeyRef
	want  []keyspace.Want
	ctx   context.Context

	marks   []mark
	waitEnd replog.Offset // replies wait for the log up to here
	strict  bool          // and for fsync or replicas
	reign   uint64        // Executor.ended when strict was set

	multi  multiState
	watch  watchState
	timer  commandTimer
	denied acl.Verdict // see permit
	script scriptState
}

// mark is where in Out the reply of a write command stands that may still have to become an error. read marks
// that of a reading command in an open transaction, whose changes it may have seen: it becomes an error only
// if the transaction does not commit.
type mark struct {
	from, to int
	read     bool
}

// NewSession makes the gate's side of a connection. ctx ends with the connection.
func (x *Executor) NewSession(ctx context.Context, c *commands.Client) *Session {
	s := &Session{x: x, Client: c, ctx: ctx}
	s.own.init(x)
	s.r = &s.own
	s.Out.Proto = 2
	c.MultiLen = -1
	s.call.Client, s.call.Node, s.call.Out, s.call.Ctx = c, x.Node, &s.Out, ctx
	return s
}

// Busy reports whether the session keeps state between commands that Flush has not ended.
func (s *Session) Busy() bool { return s.joined || len(s.marks) > 0 }

// Close ends the session: watches are dropped, an open transaction commits.
func (s *Session) Close() {
	_ = s.Flush()
	s.unwatch()
	s.release()
}

// release gives the memory of the session's own transaction back between bursts.
func (s *Session) release() { s.own.Release() }

// Do runs one command and appends its reply to Out. The arguments are views that need to live only during
// the call. It may block; replies of earlier commands must not be sent before Flush.
func (s *Session) Do(args [][]byte) {
	x := s.x
	s.timer.begin()
	cmd, sub := x.find(args)
	s.from = len(s.Out.Buf)
	if s.Client.Caching {
		defer s.endCaching(cmd)
	}
	if cmd == nil && isHTTP(args[0]) {
		// A browser was made to talk to us: nothing of what follows may be taken for commands.
		x.Logger.Warn("HTTP request on the client port, closing", "addr", s.Client.Addr)
		s.Client.Close = true
		return
	}
	if refusal := s.admit(cmd, sub, args); refusal != "" {
		if cmd != nil {
			s.target(cmd, sub).Stats.Rejected.Add(1)
			s.logDenied(s.target(cmd, sub), args, s.context())
		}
		if cmd != nil && cmd.Name == "EXEC" {
			refusal = commands.Error(resp.ExecAborted(string(refusal)))
			s.endMulti()
			s.unwatch()
		}
		s.abortMulti(cmd)
		s.fail(refusal)
		s.shown()
		return
	}
	cmd = s.target(cmd, sub)
	if s.multi.on && !runsInMulti(cmd) {
		s.call.Cmd = cmd
		s.enqueue(cmd, args)
		s.shown()
		return
	}
	x.monitor(s, cmd, args)
	if !s.waitPaused(cmd) {
		return
	}
	s.dispatch(cmd, args)
	s.shown()
}

// monitor shows a command to those in MONITOR.
func (x *Executor) monitor(s *Session, cmd *commands.Command, args [][]byte) {
	if x.Monitors.Load() > 0 && x.Feed != nil && cmd.Flags&(command.SkipMonitor|command.Admin) == 0 {
		x.Feed(s.Client, s.Client.DB, redact(cmd, args))
	}
}

// redact hides passwords: all arguments of AUTH, the two behind the word AUTH of HELLO, who the users are, and
// options that hold secrets.
func redact(cmd *commands.Command, args [][]byte) [][]byte {
	from, to := 1, len(args)
	switch cmd.FullName() {
	case "auth":
	case "acl|setuser", "acl|deluser", "acl|getuser":
		from = 2
	case "config|set":
		return redactOptions(args)
	case "hello":
		from = slices.IndexFunc(args, func(a []byte) bool { return commands.EqualWord(a, "AUTH") }) + 1
		if from == 0 {
			return args
		}
		to = min(len(args), from+2)
	default:
		return args
	}
	out := slices.Clone(args)
	for i := from; i < to; i++ {
		out[i] = []byte("(redacted)")
	}
	return out
}

// redactOptions hides the values of options that hold secrets.
func redactOptions(args [][]byte) [][]byte {
	out := args
	for i := 2; i+1 < len(args); i += 2 {
		if option.Sensitive(string(args[i])) {
			if &out[0] == &args[0] {
				out = slices.Clone(args)
			}
			out[i+1] = []byte(option.Masked)
		}
	}
	return out
}

// isHTTP recognises the first words of HTTP requests, as Redis does.
func isHTTP(name []byte) bool {
	return commands.EqualWord(name, "POST") || commands.EqualWord(name, "HOST:")
}

// find looks the command up, and the sub-command if the command is a container.
func (x *Executor) find(args [][]byte) (cmd, sub *commands.Command) {
	var buf [64]byte
	name := args[0]
	if len(name) > len(buf) {
		return nil, nil
	}
	up := buf[:len(name)]
	for i, c := range name {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		up[i] = c
	}
	cmd = x.byName[string(up)]
	if cmd != nil && len(cmd.Sub) > 0 && len(args) > 1 {
		for _, c := range cmd.Sub {
			if commands.EqualWord(args[1], c.Name) {
				return cmd, c
			}
		}
	}
	return cmd, nil
}

func (s *Session) target(cmd, sub *commands.Command) *commands.Command {
	if sub != nil {
		return sub
	}
	return cmd
}

// dispatch runs an admitted command by its kind.
func (s *Session) dispatch(cmd *commands.Command, args [][]byte) {
	switch f := cmd.Flags; {
	case blocks(cmd):
		// Where there is something to get it is a write like others, and joins those of its pipeline.
		if cmd.Flags&command.Write == 0 || !s.runWrite(cmd, args) {
			s.runBlocking(cmd, args)
		}
	case f&command.Script != 0:
		s.runScript(cmd, args)
	case alone(cmd, args) && writes(cmd):
		s.runExclusive(cmd, args)
	case alone(cmd, args):
		s.readAlone(cmd, args)
	case f&command.Write != 0, f&storingRead == storingRead:
		s.runWrite(cmd, args)
	case f&command.ReadOnly != 0:
		s.runRead(cmd, args)
	case f&command.MayReplicate != 0:
		s.runWrite(cmd, args)
	default:
		s.runPlain(cmd, args)
	}
}

// runRead runs a command that reads keys: under their locks, shared. Beside an open transaction it sees that
// transaction's changes of the keys that it has locked. It deletes no key that is past its deadline, for it may
// share the key's lock. What WATCH is told of begins with the watch, so earlier changes of its own pipeline
// commit first.
func (s *Session) runRead(cmd *commands.Command, args [][]byte) {
	r := s.r
	s.wants(cmd, args, true)
	s.separate(cmd)
	if r.open && (cmd.Flags&command.WholeSpace != 0 || cmd.Name == "WATCH") {
		r.Commit()
	}
	n := r.held.Len()
	if r.open && !r.held.TryAcquire(s.want) {
		r.Commit()
		n = 0
	}
	if r.open {
		// What the transaction has changed may still not come to be; all else is as it is.
		dirty := r.held.Len()-n < len(s.want)
		r.tx.Begin(keyspace.ModeRead, s.Client.DB, s.timer.nowMillis())
		from := len(s.Out.Buf)
		s.invokeBounded(cmd, args, s.x.replyBuffer())
		if s.long { // a snapshot has nothing of the transaction
			s.long = false
			r.Commit()
			s.runRead(cmd, args)
			return
		}
		s.remember(cmd, args)
		r.held.ReleaseTo(n)
		if dirty {
			r.join(s)
			s.marks = append(s.marks, mark{from, len(s.Out.Buf), true})
		}
		return
	}
	s.x.latch.RLock()
	r.held.Acquire(s.want)
	t := r.txn()
	t.Reset()
	t.Begin(keyspace.ModeRead, s.Client.DB, s.timer.nowMillis())
	s.invokeBounded(cmd, args, s.x.replyBuffer())
	long := s.pinIfLong()
	s.remember(cmd, args)
	r.held.Release()
	s.x.latch.RUnlock()
	s.stream(cmd, args, long)
}

// readAlone runs a reading command that touches keys which it does not name.
func (s *Session) readAlone(cmd *commands.Command, args [][]byte) {
	s.commitOpen()
	s.x.latch.Lock()
	t := s.r.txn()
	t.Reset()
	t.Begin(keyspace.ModeRead, s.Client.DB, s.timer.nowMillis())
	s.invokeBounded(cmd, args, s.x.replyBuffer())
	long := s.pinIfLong()
	s.x.latch.Unlock()
	s.stream(cmd, args, long)
}

// runWrite joins the command to the open transaction, or opens one. It returns false, with nothing changed, if the
// command has to wait for keys.
func (s *Session) runWrite(cmd *commands.Command, args [][]byte) bool {
	r := s.r
	s.wants(cmd, args, false)
	if r.open && !r.held.TryAcquire(s.want) {
		r.Commit()
	}
	if !r.open {
		if !s.enter(cmd, false) {
			return true
		}
		if refusal := s.x.admitWrite(cmd); refusal != "" {
			s.x.latch.RUnlock()
			cmd.Stats.Rejected.Add(1)
			s.fail(refusal)
			return true
		}
		r.begin()
		r.held.Acquire(s.want)
	} else if refusal := s.x.admitWrite(cmd); refusal != "" {
		cmd.Stats.Rejected.Add(1)
		s.fail(refusal)
		return true
	}
	t := r.tx
	t.Begin(s.x.writeMode(cmd), s.Client.DB, s.timer.nowMillis())
	t.Client(s.Client.ID)
	from, touched := len(s.Out.Buf), len(t.Touched())
	m := t.Mark()
	s.invokeMarked(cmd, args, &m, t.Changes())
	if s.call.TakeWait() != nil {
		t.Rollback(&m)
		s.Out.Buf = s.Out.Buf[:from]
		return false
	}
	s.noteReads(cmd, args)
	s.wroteIn(cmd, from)
	after := s.call.TakeAfter()
	r.serve(touched, false)
	if r.full() || len(after) > 0 {
		r.Commit()
	}
	for _, f := range after {
		f()
	}
	return true
}

// runExclusive runs a writing command beside which nothing else may run; see alone.
func (s *Session) runExclusive(cmd *commands.Command, args [][]byte) {
	s.commitOpen()
	if !s.enter(cmd, true) {
		return
	}
	reign := s.x.ended.Load()
	if refusal := s.x.admitWrite(cmd); refusal != "" {
		s.x.latch.Unlock()
		cmd.Stats.Rejected.Add(1)
		s.fail(refusal)
		return
	}
	t := s.r.txn()
	t.Reset()
	t.Begin(keyspace.ModeWrite, s.Client.DB, s.timer.nowMillis())
	t.Client(s.Client.ID)
	from := len(s.Out.Buf)
	m := t.Mark()
	s.invokeMarked(cmd, args, &m, 0)
	after := s.call.TakeAfter()
	done := s.x.serveDatabases(s.r, s.x.serveTouched(s.r, 0, nil, nil))
	err := s.commitAlone(t, true, reign, done)
	s.x.latch.Unlock()
	s.marks = append(s.marks, mark{from, len(s.Out.Buf), false})
	if err != nil {
		s.failMarks(len(s.marks)-1, err)
	}
	for _, f := range after {
		f()
	}
}

// runPlain runs a command that touches no keys. Earlier writes of the pipeline commit first, so that it
// sees their effect (INFO, WAIT).
func (s *Session) runPlain(cmd *commands.Command, args [][]byte) {
	if cmd.Flags&command.Fast == 0 || cmd.Flags&command.Blocking != 0 || cmd.Flags&command.Session == 0 {
		s.commitOpen()
	}
	if cmd.Flags&command.Blocking != 0 {
		s.flushReplies()
	}
	s.call.Reset()
	s.call.Tx = nil
	s.call.Args, s.call.Cmd = args, cmd
	if cmd.Flags&command.Blocking != 0 {
		defer s.watchPeer()()
	}
	s.run(cmd, nil)
	for _, f := range s.call.TakeAfter() {
		f()
	}
}

// watchPeer makes the connection notice its end although nobody reads from it, until the function returned is
// called: what waits then ends, too.
func (s *Session) watchPeer() (stop func()) {
	if k, ok := s.Client.Conn.(interface{ WatchPeer() (stop func()) }); ok {
		return k.WatchPeer()
	}
	return func() {}
}

// wants lists the locks of the command's keys.
func (s *Session) wants(cmd *commands.Command, args [][]byte, readOnly bool) {
	s.want = s.want[:0]
	s.refs, _ = cmd.AppendKeys(s.refs[:0], args)
	for _, r := range s.refs {
		if r.Access&command.AccessNotKey != 0 {
			continue
		}
		s.want = append(s.want, keyspace.Want{
			Lock: keyspace.LockOf(args[r.Pos]), Shared: readOnly || !r.Access.Writes() && cmd.Flags&command.Write == 0,
		})
	}
}

// invoke runs a reading command.
func (s *Session) invoke(cmd *commands.Command, args [][]byte) {
	s.call.Reset()
	s.call.Again = s.again
	s.call.Tx, s.call.Args, s.call.Cmd = s.r.tx, args, cmd
	s.r.tx.CountLookups()
	events := len(s.r.tx.Events())
	s.run(cmd, nil)
	if s.cold || s.long || s.mayNotWait() {
		s.r.tx.DropEvents(events)
		return
	}
	if !s.r.open {
		s.x.publishEvents(s.r.tx)
	}
	s.x.countLookups(s.r.tx)
}

func (x *Executor) countLookups(t *keyspace.Txn) {
	if hits, misses := t.Lookups(); hits+misses > 0 {
		x.Stats.Hits.Add(hits)
		x.Stats.Misses.Add(misses)
	}
}

// invokeMarked runs a writing command; an error takes back what it changed since m. If it changed something
// and logged nothing, it is logged as it was sent; if it logged several commands, replicas apply all or none.
func (s *Session) invokeMarked(cmd *commands.Command, args [][]byte, m *keyspace.Mark, before int64) {
	s.call.Reset()
	s.call.Tx, s.call.Args, s.call.Cmd = s.r.tx, args, cmd
	bytes := s.r.tx.EffectBytes()
	expired, expiredBytes := s.r.tx.Expirations()
	if !s.run(cmd, m) {
		return
	}
	moreExpired, moreBytes := s.r.tx.Expirations()
	changed := s.r.tx.Changes()-before > moreExpired-expired
	logged := int64(s.r.tx.EffectBytes()-bytes) > moreBytes-expiredBytes
	if changed && !logged && s.call.Propagates() {
		s.r.tx.Effect(args...)
	}
	if !s.multi.on { // EXEC frames all of its commands
		s.r.tx.FrameFrom(m)
	}
}

// run calls the function, turns an error into the reply, and counts.
func (s *Session) run(cmd *commands.Command, m *keyspace.Mark) bool {
	from := len(s.Out.Buf)
	return s.ran(cmd, m, from, cmd.Run(&s.call))
}

// ran takes the outcome of a function whose reply begins at from.
func (s *Session) ran(cmd *commands.Command, m *keyspace.Mark, from int, err error) bool {
	if s.Out.Err() != nil {
		s.Out.Buf = s.Out.Buf[:from]
		s.long = true
		return false
	}
	if err != nil {
		s.Out.Buf = s.Out.Buf[:min(from, len(s.Out.Buf))] // EXEC may have sent the replies before it
		if m != nil {
			s.r.tx.Rollback(m)
		}
		if errors.Is(err, keyspace.ErrCold) {
			s.cold = true
			return false
		}
		reply, known := err.(commands.Error)
		if !known {
			s.x.Stats.Unexpected.Add(1)
			s.x.Logger.Error("command failed", "command", cmd.FullName(), "err", err)
			reply = commands.Error("ERR internal error: " + err.Error())
		}
		cmd.Stats.Failed.Add(1)
		s.fail(reply)
	}
	if !s.call.Waits() {
		s.timer.end(s, cmd)
	}
	return err == nil
}

// fail writes an error reply and counts it by its code word.
func (s *Session) fail(e commands.Error) {
	s.Out.Error(string(e))
	s.x.countError(string(e))
}

// shown hides the reply of the command that was run if CLIENT REPLY says so.
func (s *Session) shown() {
	c, from := s.Client, s.from
	switch c.Reply {
	case commands.ReplyOn:
		return
	case commands.ReplySkipNext:
		c.Reply = commands.ReplySkip
	case commands.ReplySkip:
		c.Reply = commands.ReplyOn
	}
	s.Out.Buf = s.Out.Buf[:from]
	if n := len(s.marks); n > 0 && s.marks[n-1].from >= from {
		s.marks = s.marks[:n-1]
	}
}

// LastCommand is the full name of the command that ran last, for CLIENT LIST.
func (s *Session) LastCommand() string {
	if s.call.Cmd == nil {
		return ""
	}
	return s.call.Cmd.FullName()
}

// WaitEnd is the log offset that the connection's latest write needs.
func (s *Session) WaitEnd() int64 { return int64(s.waitEnd) }

// View runs f with a transaction that may read one key of a database, under the key's lock.
func (x *Executor) View(db int, key []byte, f func(t *keyspace.Txn) error) error {
	s := x.NewSession(context.Background(), &commands.Client{})
	defer s.Close()
	x.latch.RLock()
	defer x.latch.RUnlock()
	s.own.held.Acquire([]keyspace.Want{{Lock: keyspace.LockOf(key), Shared: true}})
	defer s.own.held.Release()
	t := s.own.txn()
	t.Reset()
	t.Begin(keyspace.ModeRead, db, time.Now().UnixMilli())
	return f(t)
}
