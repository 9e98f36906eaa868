package exec

import (
	"strconv"
	"strings"
	"time"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/resp"
)

func itoa(n int) string { return strconv.Itoa(n) }

// admit is the admission list: every check that a command passes before it may run or be queued, in order.
// It returns the refusal, or "".
func (s *Session) admit(cmd, sub *commands.Command, args [][]byte) commands.Error {
	if cmd == nil {
		return commands.Error(resp.UnknownCommand(args[0], args[1:]))
	}
	if sub == nil && len(cmd.Sub) > 0 && len(args) > 1 {
		return commands.Error(resp.UnknownSubcommand(args[1], cmd.Name))
	}
	c := s.target(cmd, sub)
	if !c.ArityOK(len(args)) {
		return commands.Error(resp.WrongArity(c.FullName()))
	}
	f, cl := c.Flags, s.Client
	if !cl.Authenticated && f&command.NoAuth == 0 && !s.x.Node.Users().Open() {
		return resp.ErrNoAuth
	}
	if s.multi.on && f&command.NoMulti != 0 {
		return resp.ErrNotInMulti
	}
	if a := cl.Account(); a != nil {
		if u := a.User(); !u.All() {
			if refusal := s.permit(a, c, args); refusal != "" {
				return refusal
			}
		}
	}
	if cl.Proto == 2 && cl.Subscribed() && !allowedSubscribed(c) {
		return commands.Error(resp.OnlyPubSub(strings.ToLower(cmd.Name)))
	}
	if e := s.x.scripts.busy.Load(); e != nil && f&command.AllowBusy == 0 {
		return *e
	}
	role := s.x.Role()
	if role.Loading != "" && f&command.Loading == 0 {
		return role.Loading
	}
	if stale := s.x.stale.Load(); stale != nil && f&command.Stale == 0 && !role.Writable {
		return *stale
	}
	if f&(command.Write|command.MayReplicate) == 0 {
		return ""
	}
	// The checks of admitWrite again, outside the latch: a refusal must come before MULTI queues the
	// command. PUBLISH is no write on a replica; it is local there.
	if f&command.Write != 0 {
		return s.x.admitWrite(c)
	}
	return ""
}

func allowedSubscribed(c *commands.Command) bool {
	switch c.Name {
	case "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "PING", "QUIT", "RESET":
		return true
	}
	return false
}

// admitWrite are the checks that must hold while a transaction is open. REQUIRES, to be binding: the latch.
func (x *Executor) admitWrite(cmd *commands.Command) commands.Error {
	return x.admitFlags(cmd.Flags)
}

func (x *Executor) admitFlags(f command.Flags) commands.Error {
	if f&command.Write == 0 {
		return ""
	}
	role := x.Role()
	if !role.Writable {
		return role.Refusal
	}
	if x.leaseOver() {
		return resp.ErrLeaseLost
	}
	if e := x.failed.Load(); e != nil {
		return *e
	}
	if f&command.DenyOOM != 0 && x.diskFull.Load() {
		return errDiskFull
	}
	if x.Online != nil {
		need := max(x.Config.Int(option.SyncReplicas), x.Config.Int(option.MinReplicasToWrite))
		if need > 0 && int64(x.Online()) < need {
			return resp.ErrNoReplicas
		}
	}
	return ""
}

// storingRead are the flags of a reading command that stores what it computed where this node may write, and
// does without where it may not: PFCOUNT. It runs as a write, with its keys' locks exclusive.
const storingRead = command.ReadOnly | command.MayReplicate

// writeMode is the mode of a command that runs as a write. REQUIRES: the latch.
func (x *Executor) writeMode(cmd *commands.Command) keyspace.Mode {
	if cmd.Flags&storingRead == storingRead && x.admitFlags(command.Write) != "" {
		return keyspace.ModeRead
	}
	return keyspace.ModeWrite
}

const errDiskFull = commands.Error(
	"MISCONF The disk is nearly full (see disk-free-min): commands that may grow the data set are refused")

// countError counts an error reply by its code word, as INFO errorstats shows it.
func (x *Executor) countError(text string) {
	x.Stats.Errors.Add(1)
	code, _, _ := strings.Cut(text, " ")
	v, ok := x.Stats.ErrorKinds.Load(code)
	if !ok {
		v, _ = x.Stats.ErrorKinds.LoadOrStore(code, new(counter))
	}
	v.(*counter).Add(1)
}

// commandTimer measures commands: the end of one is the beginning of the next in a pipeline.
type commandTimer struct {
	last   time.Time
	millis int64
}

// begin is called before each command; the clock is read once a pipeline by Tick, and by end.
func (t *commandTimer) begin() {
	if t.last.IsZero() {
		t.last = time.Now()
		t.millis = t.last.UnixMilli()
	}
}

func (t *commandTimer) nowMillis() int64 { return t.millis }

// end takes the time and books it to the command.
func (t *commandTimer) end(s *Session, cmd *commands.Command) {
	now := time.Now()
	d := now.Sub(t.last)
	t.millis += now.UnixMilli() - t.millis
	t.last = now
	st := &cmd.Stats
	st.Calls.Add(1)
	st.Nanos.Add(int64(d))
	st.Hist.Add(int64(d))
	x := s.x
	x.Stats.Commands.Add(1)
	if limit := x.Config.Duration(option.SlowlogLogSlowerThan); limit >= 0 && d >= limit &&
		cmd.Flags&command.SkipSlowlog == 0 {
		x.slow(s, d)
	}
}

func (x *Executor) slow(s *Session, d time.Duration) {
	max := int(x.Config.Int(option.SlowlogMaxLen))
	if max > 0 {
		x.Node.SlowLog().Add(redact(s.call.Cmd, s.call.Args), d, s.Client.Addr, s.Client.Name, max)
	}
	if limit := x.Config.Duration(option.LatencyMonitorThreshold); limit > 0 && d >= limit {
		x.Node.Latency().Add("command", d)
	}
}

// Now is when the session's last command ended, or its batch began.
func (s *Session) Now() time.Time { return s.timer.last }

// Tick tells the session that a new batch of commands begins now.
func (s *Session) Tick(now time.Time) {
	s.timer.last = now
	s.timer.millis = now.UnixMilli()
}
