package commands_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"haypile/internal/acl"
	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/pubsub"
	"haypile/internal/resp"
)

// adminNode is a node that notes what it was asked to do.
type adminNode struct {
	commands.Node
	config  *option.Config
	table   *command.Table
	all     []*commands.Command
	repl    *fakeReplication
	slow    commands.SlowLog
	latency commands.LatencyMonitor
	users   *acl.Users
	log     acl.Log
	hub     pubsub.Hub
	files   map[string]string

	mu    sync.Mutex
	calls []string
	fail  error
	busy  bool
}

func (n *adminNode) note(format string, args ...any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, fmt.Sprintf(format, args...))
	return n.fail
}

// took returns and forgets what was asked.
func (n *adminNode) took() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := strings.Join(n.calls, "; ")
	n.calls = nil
	return s
}

func (n *adminNode) Users() *acl.Users                       { return n.users }
func (n *adminNode) ACLLog() *acl.Log                        { return &n.log }
func (n *adminNode) PubSub() *pubsub.Hub                     { return &n.hub }
func (n *adminNode) Clients() commands.Clients               { return noClients{} }
func (n *adminNode) Config() *option.Config                  { return n.config }
func (n *adminNode) Table() *command.Table                   { return n.table }
func (n *adminNode) All() []*commands.Command                { return n.all }
func (n *adminNode) Replication() commands.Replication       { return n.repl }
func (n *adminNode) SlowLog() *commands.SlowLog              { return &n.slow }
func (n *adminNode) Latency() *commands.LatencyMonitor       { return &n.latency }
func (n *adminNode) Checkpoint(background bool) error        { return n.note("checkpoint %v", background) }
func (n *adminNode) LastSave() time.Time                     { return time.Unix(1_700_000_000, 0) }
func (n *adminNode) AbortShutdown() error                    { return n.note("abort") }
func (n *adminNode) ResetStats()                             { _ = n.note("resetstat") }
func (n *adminNode) SetActiveExpire(on bool)                 { _ = n.note("expire %v", on) }
func (n *adminNode) Reload() error                           { return n.note("reload") }
func (n *adminNode) Compact(context.Context) error           { return n.note("compact") }
func (n *adminNode) FlushEngine(context.Context) error       { return n.note("flush") }
func (n *adminNode) MonitorStart(c *commands.Client)         { _ = n.note("monitor") }
func (n *adminNode) DescribeKey(int, []byte) (string, error) { return "", n.note("describe") }

func (n *adminNode) ReadFile(path string) ([]byte, error) {
	text, ok := n.files[path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	}
	return []byte(text), nil
}

func (n *adminNode) ReplaceFile(path string, data []byte) error {
	if n.fail == nil {
		n.files[path] = string(data)
	}
	return n.note("replace %s", path)
}

type noClients struct{}

func (noClients) Each(func(*commands.Client) bool) {}
func (noClients) Get(int64) *commands.Client       { return nil }
func (noClients) Count() int                       { return 0 }

func (n *adminNode) Info(sections []string) string {
	if len(sections) == 2 && sections[0] == "memory" {
		return "# Memory\r\nused_memory:100\r\nused_memory_rss:150\r\nused_memory_peak:200\r\nmaxmemory:10\r\n\r\n" +
			"# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=0\r\ndb2:keys=4,expires=0,avg_ttl=0\r\n"
	}
	return strings.Join(sections, "+")
}

func (n *adminNode) Shutdown(_ context.Context, opt commands.ShutdownOptions) error {
	return n.note("shutdown %+v", opt)
}

func (n *adminNode) Digest(context.Context) (string, int64, error) {
	return strings.Repeat("a", 40), 77, n.note("digest")
}

func (n *adminNode) DigestValue(db int, key []byte) (string, error) {
	return strings.Repeat("b", 40), n.note("digest-value %d %s", db, key)
}

func (n *adminNode) Background(name string, f func(context.Context) error) bool {
	return !n.busy && f(context.Background()) == nil
}

type fakeReplication struct {
	commands.Replication
	node     *adminNode
	replica  bool
	current  string
	acked    int
	fsynced  int
	local    bool
	waiting  chan struct{} // if set, closed when Wait begins to wait
	demoteIn func()
}

func (r *fakeReplication) IsReplica() bool       { return r.replica }
func (r *fakeReplication) Role(out *resp.Writer) { out.SimpleString("role") }
func (r *fakeReplication) ChangeID() error       { return r.node.note("change-id") }

func (r *fakeReplication) Follow(host, port string) error {
	r.current = host + ":" + port
	return r.node.note("follow %s %s", host, port)
}

func (r *fakeReplication) Intend(host, port string) bool {
	_ = r.node.note("intend %s %s", host, port)
	return r.current != host+":"+port
}

func (r *fakeReplication) wait(ctx context.Context, have, n int) int {
	if have < n {
		if r.waiting != nil {
			close(r.waiting)
			r.waiting = nil
		}
		<-ctx.Done()
	}
	return have
}

func (r *fakeReplication) Wait(ctx context.Context, offset int64, n int) int {
	_ = r.node.note("wait %d %d", offset, n)
	if r.demoteIn != nil {
		r.demoteIn()
		return r.acked
	}
	return r.wait(ctx, r.acked, n)
}

func (r *fakeReplication) WaitDurable(ctx context.Context, _ int64, n int) int {
	return r.wait(ctx, r.fsynced, n)
}

func (r *fakeReplication) WaitLocal(ctx context.Context, _ int64) error {
	if r.local {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (r *fakeReplication) Failover(opt commands.FailoverOptions) error {
	return r.node.note("failover %+v", opt)
}

func (r *fakeReplication) Replconf(_ *commands.Client, args [][]byte, dst []byte) []byte {
	_ = r.node.note("replconf %s", args[1:])
	return append(dst, "+OK\r\n"...)
}

func (r *fakeReplication) Serve(_ *commands.Client, args [][]byte) error {
	return r.node.note("serve %s", args)
}

type fakeConn struct {
	commands.Conn
	node *adminNode
}

func (c fakeConn) StartPushing() { _ = c.node.note("pushing") }

type fakeGate struct{ commands.Gate }

func (fakeGate) WaitEnd() int64             { return 42 }
func (fakeGate) BusyScript() commands.Error { return "" }

// admin runs administration commands against an adminNode.
type admin struct {
	*gate
	node   *adminNode
	ctx    context.Context
	multi  bool
	client commands.Client
}

func newAdmin(t testing.TB) *admin {
	a := &admin{gate: newGate(t), ctx: context.Background()}
	n := &adminNode{config: option.New(), all: commands.All()}
	n.repl = &fakeReplication{node: n, current: ":"}
	var err error
	if n.table, err = commands.NewTable(n.all); err != nil {
		t.Fatal(err)
	}
	n.users, n.files = acl.NewUsers(acl.Rules{Table: n.table}), map[string]string{}
	a.client.Logout(n.users)
	for _, c := range n.all {
		a.byName[c.Name] = c
	}
	a.node = n
	a.client.Addr, a.client.Conn, a.client.Gate = "127.0.0.1:5", fakeConn{node: n}, fakeGate{}
	return a
}

func (a *admin) set(o option.Option, text string) {
	a.tb.Helper()
	if err := a.node.config.Assign(o, text); err != nil {
		a.tb.Fatal(err)
	}
}

// run is gate.do with the admin's node and client.
func (a *admin) run(args ...string) string {
	a.tb.Helper()
	b := byteArgs(args)
	cmd := a.find(b)
	if cmd == nil {
		return "-" + resp.UnknownSubcommand(b[1], args[0]) + "\r\n"
	}
	if !cmd.ArityOK(len(b)) {
		return "-" + resp.WrongArity(cmd.FullName()) + "\r\n"
	}
	call := commands.Call{
		Args: b, Cmd: cmd, Out: &a.out, Client: &a.client, Node: a.node, InMulti: a.multi, Ctx: a.ctx,
	}
	if cmd.Flags&(command.Write|command.ReadOnly) != 0 {
		a.tx.Reset()
		a.tx.Begin(keyspace.ModeWrite, a.client.DB, a.now)
		call.Tx = a.tx
	}
	a.out.Buf = a.out.Buf[:0]
	if err := cmd.Run(&call); err != nil {
		var reply commands.Error
		if !errors.As(err, &reply) {
			a.tb.Fatalf("%q: %v", args, err)
		}
		a.out.Buf = a.out.Buf[:0]
		a.out.Error(string(reply))
	} else if call.Tx != nil {
		a.commit()
	}
	for _, f := range call.TakeAfter() {
		_ = a.node.note("after")
		f()
	}
	return string(a.out.Buf)
}

func (a *admin) expect(reply, calls string, args ...string) {
	a.tb.Helper()
	if got := flat(a.run(args...)); got != reply {
		a.tb.Errorf("%q: got %q, want %q", args, got, reply)
	}
	if got := a.node.took(); got != calls {
		a.tb.Errorf("%q: asked the node for %q, want %q", args, got, calls)
	}
}

func TestReplicaOf(t *testing.T) {
	a := newAdmin(t)
	a.expect("+OK", "intend  ", "REPLICAOF", "no", "one") // a primary already
	a.expect("+OK", "intend h 7000; after; follow h 7000", "SLAVEOF", "h", "7000")
	a.expect("+OK Already connected to specified master", "intend h 7000", "REPLICAOF", "h", "7000")
	a.expect("+OK", "intend  ; after; follow  ", "SLAVEOF", "NO", "ONE")
	for _, port := range []string{"abc", "-1", "65536", "", "07000"} {
		a.expect("-ERR Invalid master port", "", "REPLICAOF", "h", port)
	}
	a.expect("-ERR Invalid master host", "", "REPLICAOF", "", "1")
	a.expect("-ERR wrong number of arguments for 'slaveof' command", "", "SLAVEOF", "h")
	// Inside a transaction the role changes after it.
	a.multi = true
	a.expect("+OK", "intend h 1; after; follow h 1", "SLAVEOF", "h", "1")
	a.set(option.Managed, "yes")
	if got := a.run("REPLICAOF", "h", "2"); !strings.Contains(got, "dashboards") || a.node.took() != "" {
		t.Errorf("a managed node took REPLICAOF: %q", got)
	}
}

func TestFailoverArguments(t *testing.T) {
	a := newAdmin(t)
	a.expect("+OK", "failover {Host: Port: Force:false Abort:false Timeout:0s}", "FAILOVER")
	a.expect("+OK", "failover {Host: Port: Force:false Abort:true Timeout:0s}", "FAILOVER", "abort")
	a.expect("+OK", "failover {Host:h Port:7 Force:true Abort:false Timeout:50ms}",
		"FAILOVER", "TO", "h", "7", "FORCE", "TIMEOUT", "50")
	a.expect("-ERR syntax error", "", "FAILOVER", "ABORT", "FORCE")
	a.expect("-ERR syntax error", "", "FAILOVER", "TO", "h")
	a.expect("-ERR syntax error", "", "FAILOVER", "TO", "h", "1", "TO", "h", "1")
	a.expect("-ERR value is not an integer or out of range", "", "FAILOVER", "TO", "h", "p")
	a.expect("-ERR FAILOVER timeout must be greater than 0", "", "FAILOVER", "TIMEOUT", "0")
	a.expect("-ERR FAILOVER with force option requires both a timeout and target HOST and IP.", "",
		"FAILOVER", "FORCE", "TIMEOUT", "1")
	a.node.fail = commands.Error("ERR FAILOVER requires connected replicas.")
	if got := a.run("FAILOVER"); got != "-ERR FAILOVER requires connected replicas.\r\n" {
		t.Error(got)
	}
	a.node.took()
	a.node.repl.replica = true
	a.expect("-ERR FAILOVER is not valid when server is a replica.", "", "FAILOVER")
}

func TestHandshakeGoesToReplication(t *testing.T) {
	a := newAdmin(t)
	a.expect("+OK", "replconf [listening-port 7]", "REPLCONF", "listening-port", "7")
	a.expect("", "serve [PSYNC ? -1]", "PSYNC", "?", "-1")
	a.expect("", "serve [SYNC]", "SYNC")
	a.node.fail = commands.Error("NOMASTERLINK Can't SYNC while not connected with my master")
	a.expect("-NOMASTERLINK Can't SYNC while not connected with my master", "serve [SYNC]", "SYNC")
}

func TestWait(t *testing.T) {
	a := newAdmin(t)
	a.node.repl.acked = 1
	a.expect(":1", "wait 42 1", "WAIT", "1", "0")
	a.expect(":1", "wait 42 2", "WAIT", "2", "1")
	a.expect(":1", "wait 42 -1", "WAIT", "-1", "0")
	a.expect(":1", "wait 42 2147483647", "WAIT", "9223372036854775807", "1")
	a.expect("-ERR value is not an integer or out of range", "", "WAIT", "x", "1")
	a.expect("-ERR timeout is not an integer or out of range", "", "WAIT", "1", "x")
	a.expect("-ERR timeout is negative", "", "WAIT", "1", "-1")
	a.expect("-ERR timeout is out of range", "", "WAIT", "1", "9223372036854775807")
	a.multi = true // nothing waits in a transaction
	a.expect(":1", "wait 42 9", "WAIT", "9", "0")
	a.multi = false
	a.node.repl.replica = true
	a.expect("-"+resp.ErrWaitOnReplica, "", "WAIT", "0", "0")
}

func TestWaitIsLetGo(t *testing.T) {
	for _, tc := range []struct {
		name, reply string
		free        func(*admin)
	}{
		{"unblock", ":0\r\n", func(a *admin) { a.client.Unblock(false) }},
		{"unblock with error", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n",
			func(a *admin) { a.client.Unblock(true) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAdmin(t)
			waiting := make(chan struct{})
			a.node.repl.waiting = waiting
			reply := make(chan string)
			go func() { reply <- a.run("WAIT", "1", "0") }()
			<-waiting
			if !a.client.Blocked.Load() {
				t.Error("not shown as blocked")
			}
			tc.free(a)
			if got := <-reply; got != tc.reply {
				t.Errorf("got %q", got)
			}
			if a.client.Blocked.Load() || a.client.Unblock(true) {
				t.Error("still parked")
			}
		})
	}
	t.Run("connection ends", func(t *testing.T) {
		a := newAdmin(t)
		ctx, cancel := context.WithCancel(context.Background())
		a.ctx = ctx
		waiting := make(chan struct{})
		a.node.repl.waiting = waiting
		done := make(chan string)
		go func() { done <- a.run("WAIT", "1", "0") }()
		<-waiting
		cancel()
		<-done
	})
	t.Run("demotion", func(t *testing.T) {
		a := newAdmin(t)
		a.node.repl.demoteIn = func() { a.node.repl.replica = true }
		a.expect("-"+resp.ErrUnblockedRole, "wait 42 1", "WAIT", "1", "0")
	})
}

func TestWaitAOF(t *testing.T) {
	a := newAdmin(t)
	r := a.node.repl
	r.local, r.fsynced = true, 2
	a.expect("*2 :1 :2", "", "WAITAOF", "1", "2", "0")
	a.expect("*2 :1 :2", "", "WAITAOF", "0", "0", "0")
	a.expect("*2 :1 :2", "", "WAITAOF", "0", "3", "1")
	r.local = false
	a.expect("*2 :0 :2", "", "WAITAOF", "1", "0", "1")
	a.expect("*2 :0 :2", "", "WAITAOF", "0", "1", "0") // not asked for: only looked at
	a.multi = true
	a.expect("*2 :0 :2", "", "WAITAOF", "1", "9", "0")
	a.multi = false
	a.expect("-ERR value is out of range, value must between 0 and 1", "", "WAITAOF", "2", "0", "0")
	a.expect("-ERR value is out of range, must be positive", "", "WAITAOF", "0", "-1", "0")
	a.expect("-ERR value is not an integer or out of range", "", "WAITAOF", "x", "0", "0")
	a.expect("-ERR timeout is negative", "", "WAITAOF", "0", "0", "-1")
	r.replica = true
	a.expect("-ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are "+
		"just local and are not propagated.", "", "WAITAOF", "0", "0", "0")
}

func TestConfig(t *testing.T) {
	a := newAdmin(t)
	a.expect("*2 $15 slowlog-max-len $3 128", "", "CONFIG", "GET", "slowlog-max-len")
	a.expect("+OK", "", "CONFIG", "SET", "slowlog-max-len", "7", "timeout", "9")
	a.expect("*4 $15 slowlog-max-len $1 7 $7 timeout $1 9", "", "CONFIG", "GET", "slowlog-max-len", "timeout")
	a.expect("-ERR syntax error", "", "CONFIG", "SET", "slowlog-max-len", "7", "timeout")
	a.expect("-ERR wrong number of arguments for 'config|set' command", "", "CONFIG", "SET", "timeout")
	a.expect("-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'", "",
		"CONFIG", "SET", "nosuch", "1")
	a.expect("-ERR The server is running without a config file", "", "CONFIG", "REWRITE")
	a.expect("+OK", "resetstat", "CONFIG", "RESETSTAT")
	a.expect("-ERR unknown subcommand 'BAD'. Try CONFIG HELP.", "", "CONFIG", "BAD")
	a.out.Proto = 3
	a.expect("%1 $7 timeout $1 9", "", "CONFIG", "GET", "timeout")
	a.expect("=18 txt:server+clients", "", "INFO", "SERVER", "Clients")
}

func TestDatabases(t *testing.T) {
	a := newAdmin(t)
	a.run("SET", "a", "1")
	a.run("HSET", "h", "f", "v")
	a.expect(":2", "", "DBSIZE")
	a.client.DB = 3
	a.run("SET", "b", "1")
	a.expect("+OK", "", "SWAPDB", "0", "3")
	a.expect(":2", "", "DBSIZE")
	a.effects()
	a.expect("+OK", "", "FLUSHDB", "async")
	a.expect(":0", "", "DBSIZE")
	a.expect("+OK", "", "FLUSHDB")
	a.client.DB = 0
	a.expect(":1", "", "DBSIZE")
	a.expect("+OK", "", "FLUSHALL", "SYNC")
	a.expect(":0", "", "DBSIZE")
	a.expect("+OK", "", "SWAPDB", "1", "1")
	// Also what found nothing to delete is logged, once, as it was sent.
	if got := strings.Join(a.effects(), "; "); got != "FLUSHDB async; FLUSHDB; FLUSHALL SYNC; SWAPDB 1 1" {
		t.Errorf("logged %q", got)
	}
	a.expect("-ERR syntax error", "", "FLUSHALL", "BAD")
	a.expect("-ERR syntax error", "", "FLUSHDB", "ASYNC", "SYNC")
	a.expect("-ERR invalid first DB index", "", "SWAPDB", "a", "b")
	a.expect("-ERR invalid second DB index", "", "SWAPDB", "1", "b")
	a.expect("-ERR DB index is out of range", "", "SWAPDB", "0", "16")
	a.expect("-ERR DB index is out of range", "", "SWAPDB", "-1", "0")
	if got := a.effects(); len(got) > 0 {
		t.Errorf("refused, but logged %q", got)
	}
}

func TestSavingAndStopping(t *testing.T) {
	a := newAdmin(t)
	a.expect("+OK", "checkpoint false", "SAVE")
	a.expect("+Background saving started", "checkpoint true", "BGSAVE")
	a.expect("+Background saving started", "checkpoint true", "BGSAVE", "schedule")
	a.expect("-ERR syntax error", "", "BGSAVE", "NOW")
	a.expect(":1700000000", "", "LASTSAVE")
	a.expect("+Background append only file rewriting started", "flush", "BGREWRITEAOF")
	a.expect("+OK", "compact", "COMPACT")
	a.expect("+OK", "compact", "COMPACT", "hash")
	a.expect("+OK", "compact", "COMPACTRANGE", "hash", "a", "z")
	a.expect("+OK", "compact", "COMPACTRANGE", "db0", "string", "a", "z")
	a.expect("-ERR syntax error", "", "COMPACT", "BAD")
	a.node.busy = true
	a.expect("-ERR a compaction is already in progress", "", "COMPACT")
	a.expect("-ERR syntax error", "", "SHUTDOWN", "BAD")
	a.expect("-ERR syntax error", "", "SHUTDOWN", "SAVE", "NOSAVE")
	a.expect("-ERR syntax error", "", "SHUTDOWN", "ABORT", "NOW")
	a.expect("+OK", "abort", "SHUTDOWN", "ABORT")
	a.expect("", "shutdown {NoSave:true Save:false Now:true Force:true}", "SHUTDOWN", "NOSAVE", "now", "FORCE")
	if !a.client.Close {
		t.Error("the connection stays open")
	}
	a.node.fail = errors.New("no")
	a.expect("-ERR No shutdown in progress.", "abort", "SHUTDOWN", "ABORT")
	a.expect("-ERR Errors trying to SHUTDOWN. Check logs.",
		"shutdown {NoSave:false Save:false Now:false Force:false}", "SHUTDOWN")
	a.expect("-ERR no", "checkpoint false", "SAVE")
}

func TestMonitor(t *testing.T) {
	a := newAdmin(t)
	a.multi = true
	a.expect("-ERR MONITOR isn't allowed for DENY BLOCKING client", "", "MONITOR")
	a.multi = false
	a.expect("+OK", "pushing; monitor", "MONITOR")
	a.expect("", "", "MONITOR")
}

func TestSlowLog(t *testing.T) {
	a := newAdmin(t)
	for i := range 12 {
		a.node.slow.Add(byteArgs([]string{"GET", fmt.Sprint(i)}), 5*time.Microsecond, "1.2.3.4:5", "me", 100)
	}
	if got := a.run("SLOWLOG", "GET"); !strings.HasPrefix(got, "*10\r\n*6\r\n:11\r\n") {
		t.Errorf("%q", got)
	}
	if got := flat(a.run("SLOWLOG", "GET", "1")); !regexp.MustCompile(
		`^\*1 \*6 :11 :\d{10} :5 \*2 \$3 GET \$2 11 \$9 1.2.3.4:5 \$2 me$`).MatchString(got) {
		t.Errorf("%q", got)
	}
	if got := a.run("SLOWLOG", "GET", "-1"); !strings.HasPrefix(got, "*12\r\n") {
		t.Errorf("%q", got)
	}
	a.expect(":12", "", "SLOWLOG", "LEN")
	a.expect("+OK", "", "SLOWLOG", "RESET")
	a.expect("*0", "", "SLOWLOG", "GET")
}

func TestLatency(t *testing.T) {
	a := newAdmin(t)
	a.expect("*0", "", "LATENCY", "LATEST")
	a.expect("-ERR No samples available for event 'x'", "", "LATENCY", "GRAPH", "x")
	if got := a.run("LATENCY", "DOCTOR"); !strings.Contains(got, "monitoring is off") {
		t.Errorf("%q", got)
	}
	a.node.latency.Add("command", 30*time.Millisecond)
	latest := regexp.MustCompile(`^\*1 \*4 \$7 command :\d{10} :30 :30$`)
	if got := flat(a.run("LATENCY", "LATEST")); !latest.MatchString(got) {
		t.Errorf("%q", got)
	}
	history := regexp.MustCompile(`^\*1 \*2 :\d{10} :30$`)
	if got := flat(a.run("LATENCY", "HISTORY", "command")); !history.MatchString(got) {
		t.Errorf("%q", got)
	}
	if got := a.run("LATENCY", "GRAPH", "command"); !strings.Contains(got,
		"command - high 30 ms, low 30 ms (all time high 30 ms)") {
		t.Errorf("%q", got)
	}
	if got := a.run("LATENCY", "DOCTOR"); !strings.Contains(got, "1. command: 1 samples (mean 30 ms") {
		t.Errorf("%q", got)
	}
	a.expect(":0", "", "LATENCY", "RESET", "nosuch")
	a.expect(":1", "", "LATENCY", "RESET")
	st := &a.byName["GET"].Stats
	st.Calls.Store(3)
	for _, nanos := range []int64{500, 1500, 1600} {
		st.Hist.Add(nanos)
	}
	a.expect("*2 $3 get *4 $5 calls :3 $14 histogram_usec *4 :1 :1 :2 :3", "",
		"LATENCY", "HISTOGRAM", "get", "nosuch", "set")
	a.byName["CONFIG"].Sub[0].Stats.Calls.Store(1)
	a.expect("*2 $10 config|get *4 $5 calls :1 $14 histogram_usec *0", "", "LATENCY", "HISTOGRAM", "CONFIG")
	a.expect("*2 $10 config|get *4 $5 calls :1 $14 histogram_usec *0", "", "LATENCY", "HISTOGRAM", "config|GET")
	if got := a.run("LATENCY", "HISTOGRAM"); !strings.HasPrefix(got, "*4\r\n") {
		t.Errorf("%q", got)
	}
}

func TestMemory(t *testing.T) {
	a := newAdmin(t)
	a.expect("$-1", "", "MEMORY", "USAGE", "nokey")
	a.run("SET", "k", strings.Repeat("x", 1000))
	number := func(reply string) (n int) {
		t.Helper()
		if _, err := fmt.Sscanf(reply, ":%d\r\n", &n); err != nil {
			t.Fatalf("%q: %v", reply, err)
		}
		return n
	}
	if n := number(a.run("MEMORY", "USAGE", "k")); n < 1000 || n > 1100 {
		t.Errorf("string of 1000 bytes: %d", n)
	}
	for i := range 100 {
		a.run("HSET", "h", fmt.Sprintf("field%03d", i), strings.Repeat("v", 100))
	}
	some, all := number(a.run("MEMORY", "USAGE", "h")), number(a.run("MEMORY", "USAGE", "h", "SAMPLES", "0"))
	if some != all || all < 100*108 || all > 100*140 {
		t.Errorf("hash of 100 equal fields: %d by a sample, %d in all", some, all)
	}
	a.expect("-ERR syntax error", "", "MEMORY", "USAGE", "h", "SAMPLES", "-1")
	a.expect("-ERR syntax error", "", "MEMORY", "USAGE", "h", "SAMPLES")
	a.expect("-ERR syntax error", "", "MEMORY", "USAGE", "h", "BAD")
	a.expect("-ERR value is not an integer or out of range", "", "MEMORY", "USAGE", "h", "SAMPLES", "x")
	got := flat(a.run("MEMORY", "STATS"))
	for _, want := range []string{"total.allocated :100 ", "peak.allocated :200 ", "keys.count :7 ",
		"fragmentation.bytes :50 ", "peak.percentage $2 50", "fragmentation $3 1.5"} {
		if !strings.Contains(got+" ", want) {
			t.Errorf("MEMORY STATS lacks %q: %s", want, got)
		}
	}
	if got := a.run("MEMORY", "MALLOC-STATS"); !strings.Contains(got, "Go heap") {
		t.Errorf("%q", got)
	}
	a.expect("+OK", "", "MEMORY", "PURGE")
}

func TestDebug(t *testing.T) {
	a := newAdmin(t)
	const denied = "-ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", " +
		"you can run it from a local connection, otherwise you need to set this option in the configuration " +
		"file, and then restart the server."
	a.set(option.EnableDebugCommand, "no")
	a.expect(denied, "", "DEBUG", "SLEEP", "0")
	a.set(option.EnableDebugCommand, "local")
	a.expect("+OK", "", "DEBUG", "SLEEP", "0")
	for addr, local := range map[string]bool{"10.0.0.1:5": false, "[::1]:5": true, "/tmp/s:0": true, "": false} {
		a.client.Addr = addr
		if got := a.run("DEBUG", "SLEEP", "0") == "+OK\r\n"; got != local {
			t.Errorf("address %q: allowed %v", addr, got)
		}
	}
	a.set(option.EnableDebugCommand, "yes")
	a.expect("+OK", "", "DEBUG", "SLEEP", "0.001")
	a.expect("+OK", "", "DEBUG", "SLEEP", "abc")
	a.expect("+"+strings.Repeat("a", 40), "digest", "DEBUG", "digest")
	a.expect("*2 +"+strings.Repeat("a", 40)+" :77", "digest", "DEBUG", "DIGEST-OFFSET")
	a.client.DB = 2
	a.expect("*2 +"+strings.Repeat("b", 40)+" +"+strings.Repeat("b", 40), "digest-value 2 k; digest-value 2 l",
		"DEBUG", "DIGEST-VALUE", "k", "l")
	a.expect("+OK", "expire false", "DEBUG", "SET-ACTIVE-EXPIRE", "0")
	a.expect("+OK", "expire true", "DEBUG", "SET-ACTIVE-EXPIRE", "1")
	a.expect("+OK", "reload", "DEBUG", "RELOAD")
	a.expect("+OK", "change-id", "DEBUG", "CHANGE-REPL-ID")
	a.expect("-ERR no such key", "describe", "DEBUG", "OBJECT", "nokey")
	for _, args := range [][]string{{"JMAP"}, {"SLEEP"}, {"NOSUCH"}, {"DIGEST", "x"}, {"OBJECT"}, {"DIGEST-VALUE"}} {
		a.expect("-ERR unknown subcommand or wrong number of arguments for '"+args[0]+"'. Try DEBUG HELP.", "",
			append([]string{"DEBUG"}, args...)...)
	}
	if got := a.run("DEBUG", "HELP"); !strings.Contains(got, "DIGEST-OFFSET") {
		t.Errorf("%q", got)
	}
	a.multi = true // EXEC holds locks
	for _, sub := range []string{"DIGEST", "RELOAD", "CHANGE-REPL-ID", "DIGEST-OFFSET"} {
		a.expect("-ERR DEBUG "+sub+" is not allowed inside a transaction", "", "DEBUG", sub)
	}
	// A connection that goes away ends SLEEP.
	a.multi = false
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a.ctx = ctx
	a.expect("+OK", "", "DEBUG", "SLEEP", "1e300")
}

func TestCompatibility(t *testing.T) {
	a := newAdmin(t)
	if got := flat(a.run("TIME")); !regexp.MustCompile(`^\*2 \$10 \d{10} \$\d \d{1,6}$`).MatchString(got) {
		t.Errorf("%q", got)
	}
	for _, args := range [][]string{{"LOLWUT"}, {"LOLWUT", "VERSION", "5"}, {"LOLWUT", "VERSION", "5", "1000000"}} {
		got := a.run(args...)
		if !strings.HasSuffix(got, "Redis ver. "+commands.Version+"\n\r\n") || len(got) > 10_000 {
			t.Errorf("%q: %d bytes: %q", args, len(got), got)
		}
	}
	a.expect("-ERR value is not an integer or out of range", "", "LOLWUT", "VERSION", "abc")
	a.expect("+role", "", "ROLE")
	a.expect("*0", "", "MODULE", "LIST")
	a.expect("-ERR modules cannot be loaded: the commands are built in", "", "MODULE", "LOAD", "x")
	a.expect(":12182", "", "CLUSTER", "KEYSLOT", "foo")
	for _, args := range [][]string{{"CLUSTER", "INFO"}, {"CLUSTER", "SLOTS"}, {"READONLY"}, {"READWRITE"}} {
		a.expect("-ERR This instance has cluster support disabled", "", args...)
	}
}

// Refusals whose words clients know are compared with a real server's.
func TestRefusalsAgainstRedis(t *testing.T) {
	real := startRedis(t)
	a := newAdmin(t)
	a.set(option.EnableDebugCommand, "yes")
	for _, line := range []string{
		"ACL CAT nosuch", "ACL GENPASS 0", "ACL GENPASS 5000", "ACL GENPASS x", "ACL NOSUCH",
		"ACL SETUSER", "ACL DRYRUN nosuch get k", "ACL DRYRUN default nosuch", "ACL DRYRUN default get k",
		"ACL LOG -1", "ACL LOG x", "ACL CAT", "ACL USERS", "ACL WHOAMI",
		"ACL GETUSER nosuch", "ACL LOG", "ACL LOG RESET", "BGSAVE BAD", "CLUSTER", "CLUSTER INFO",
		"CONFIG", "CONFIG BAD", "CONFIG GET", "CONFIG GET nosuch", "CONFIG SET a",
		"CONFIG SET timeout 1 timeout", "CONFIG SET nosuch 1", "CONFIG SET databases 4",
		"CONFIG SET timeout x", "CONFIG REWRITE", "CONFIG RESETSTAT", "CONFIG HELP x", "DBSIZE",
		"DBSIZE x", "DEBUG", "DEBUG NOSUCH", "DEBUG SLEEP", "DEBUG SLEEP 0", "DEBUG OBJECT nokey",
		"DEBUG SET-ACTIVE-EXPIRE 1", "FAILOVER TIMEOUT 0", "FAILOVER TIMEOUT x", "FAILOVER TO h",
		"FAILOVER TO h p", "FAILOVER BAD", "FAILOVER ABORT FORCE", "FLUSHALL BAD", "FLUSHDB ASYNC SYNC",
		"FLUSHALL", "FLUSHDB SYNC", "LASTSAVE x", "LATENCY", "LATENCY BAD", "LATENCY GRAPH x",
		"LATENCY HISTORY", "LATENCY HISTORY x", "LATENCY RESET x", "LATENCY LATEST",
		"LATENCY HISTOGRAM nosuch", "LOLWUT VERSION x", "MEMORY", "MEMORY BAD", "MEMORY USAGE",
		"MEMORY USAGE nokey", "MEMORY USAGE k SAMPLES", "MEMORY USAGE k SAMPLES -1",
		"MEMORY USAGE k SAMPLES x", "MEMORY USAGE k BAD", "MEMORY PURGE x", "MODULE", "MODULE BAD",
		"MODULE LIST", "MONITOR x", "PSYNC x", "READONLY", "READWRITE", "REPLICAOF", "REPLICAOF h",
		"REPLICAOF h x", "REPLICAOF h 99999", "REPLICAOF NO ONE", "ROLE x", "SAVE x", "SCRIPT",
		"SCRIPT BAD", "SCRIPT FLUSH x",
		"SCRIPT EXISTS", "SHUTDOWN BAD", "SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOW", "SLAVEOF NO ONE",
		"SLOWLOG", "SLOWLOG BAD", "SLOWLOG GET -2", "SLOWLOG GET x", "SLOWLOG GET 1 2", "SLOWLOG LEN x",
		"SLOWLOG RESET", "SWAPDB 0", "SWAPDB a 0", "SWAPDB 0 b", "SWAPDB 0 16", "SWAPDB -1 0",
		"SWAPDB 0 1", "SYNC x", "TIME x", "WAIT", "WAIT 0 0", "WAIT x 0", "WAIT 0 x", "WAIT 0 -1",
		"WAIT -1 0",
	} {
		args := strings.Fields(line)
		want := real.do(args...)
		if got := a.run(args...); got != want {
			t.Errorf("%s: %q, Redis answers %q", line, got, want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	pages, err := commands.Markdown(commands.All())
	if err != nil {
		t.Fatal(err)
	}
	again, _ := commands.Markdown(commands.All())
	index := string(pages["README.md"])
	for _, c := range commands.All() {
		name := strings.ToLower(c.Name) + ".md"
		if len(pages[name]) == 0 || !strings.Contains(index, "("+name+")") {
			t.Errorf("%s is not documented", c.Name)
		}
		for _, sub := range c.Sub {
			if !strings.Contains(string(pages[name]), "## "+c.Name+" "+sub.Name+"\n") {
				t.Errorf("%s %s is not documented", c.Name, sub.Name)
			}
		}
	}
	for name, text := range pages {
		if string(again[name]) != string(text) {
			t.Errorf("%s differs from one run to the next", name)
		}
	}
	if page := string(pages["replicaof.md"]); !strings.Contains(page, "    REPLICAOF <host port | NO ONE>\n") ||
		!strings.Contains(page, "- proxy: refused: ") || !strings.Contains(page, "- differs from Redis: ") {
		t.Errorf("replicaof.md:\n%s", page)
	}
}

// Every sub-command of Redis' DEBUG HELP works here or is refused with a reason; none is just unknown.
func TestDebugKnowsEverySubcommand(t *testing.T) {
	a := newAdmin(t)
	a.set(option.EnableDebugCommand, "yes")
	help := decode(t, startRedis(t).do("DEBUG", "HELP")).Elems
	mine := a.run("DEBUG", "HELP")
	for _, line := range help[1:] {
		text := string(line.Str)
		if text == "" || text[0] == ' ' {
			continue
		}
		name, _, _ := strings.Cut(text, " ")
		reply := a.run("DEBUG", name)
		known := strings.Contains(mine, "+"+name+" ") || strings.Contains(mine, "+"+name+"\r")
		refused := strings.HasPrefix(reply, "-ERR DEBUG "+name+" is not available: ")
		if known == refused {
			t.Errorf("DEBUG %s: in DEBUG HELP: %v, answers %q", name, known, reply)
		}
	}
}

// DEBUG PROTOCOL answers what client libraries test their parsers with: the bytes are Redis'.
func TestSampleReplies(t *testing.T) {
	a := newAdmin(t)
	a.set(option.EnableDebugCommand, "yes")
	redis := startRedis(t)
	for _, proto := range []int{2, 3} {
		redis.do("HELLO", fmt.Sprint(proto))
		a.out.Proto = proto
		for _, name := range []string{"string", "integer", "double", "bignum", "null", "array", "set", "map", "attrib", "push",
			"verbatim", "true", "false", "nothing"} {
			want := redis.do("DEBUG", "PROTOCOL", name)
			if proto == 3 && (name == "attrib" || name == "push") {
				want += redis.more() // a reply follows
			}
			if got := a.run("DEBUG", "PROTOCOL", name); got != want {
				t.Errorf("version %d, %s: got %q, want %q", proto, name, got, want)
			}
		}
	}
}

// A list keeps each element once, a sorted set each member twice; both have rows that are ordered.
func TestMemoryUsageOfOrderedTypes(t *testing.T) {
	a := newAdmin(t)
	const n, size = 200, 50
	for i := range n {
		v := fmt.Sprintf("%0*d", size, i)
		a.run("RPUSH", "l", v)
		a.run("ZADD", "z", fmt.Sprint(i), v)
	}
	for key, copies := range map[string]int64{"l": 1, "z": 2} {
		got := decode(t, a.run("MEMORY", "USAGE", key)).Int
		if low, high := n*size*copies, n*(size+60)*copies; got < low || got > high {
			t.Errorf("%s: %d bytes, not between %d and %d", key, got, low, high)
		}
	}
}
