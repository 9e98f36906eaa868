package session

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/acl"
	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/exec"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/pubsub"
	"haypile/internal/replog"
	"haypile/internal/resp"
	"haypile/internal/storage"
	"haypile/internal/tracking"
)

// node serves connections over a gate in memory.
type node struct {
	tb       testing.TB
	cfg      *option.Config
	x        *exec.Executor
	table    *command.Table
	all      []*commands.Command
	hub      pubsub.Hub
	watching atomic.Int64
	reg      Registry
	stats    Stats
	slow     commands.SlowLog
	latency  commands.LatencyMonitor
	users    *acl.Users
	aclLog   acl.Log
	// detached gets the sockets that PSYNC took over.
	detached chan commands.Detached
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	loops    *Loops
}

func newNode(tb testing.TB, settings map[option.Option]string) *node {
	tb.Helper()
	n := &node{tb: tb, cfg: option.New(), detached: make(chan commands.Detached, 1)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	for o, text := range settings {
		if err := n.cfg.Assign(o, text); err != nil {
			tb.Fatal(err)
		}
	}
	mem := storage.NewMem()
	logOpt := replog.Options{FS: mem.Disk(), Dir: "log"}
	log, err := replog.Create(logOpt, 0)
	if err != nil {
		tb.Fatal(err)
	}
	engine, err := storage.Open(storage.Options{Dir: "engine", Mem: mem})
	if err != nil {
		tb.Fatal(err)
	}
	store, err := keyspace.Open(engine, keyspace.Options{Databases: 16, CacheBytes: 8 << 20, Watching: &n.watching})
	if err != nil {
		tb.Fatal(err)
	}
	n.all = append(commands.All(), breaks)
	if n.table, err = commands.NewTable(n.all); err != nil {
		tb.Fatal(err)
	}
	n.users = acl.NewUsers(acl.Rules{Table: n.table})
	n.users.SetDefaultPassword(n.cfg.String(option.RequirePass))
	n.cfg.OnChange(func(v *option.View) { n.users.SetDefaultPassword(v.String(option.RequirePass)) }, option.RequirePass)
	n.x = exec.New(exec.Options{Table: n.table, All: n.all, Config: n.cfg, Node: testNode{n}, Tracking: tracking.New(&n.watching),
		Logger: slog.New(slog.DiscardHandler), Fatal: func(msg string, err error) { panic(msg) }})
	n.x.SetData(exec.Data{Store: store, Log: log}, -1)
	_ = n.x.SetRole(func() (exec.Role, error) { return exec.Role{Writable: true, Reign: log.BeginReign()}, nil })
	if n.loops, err = StartLoops(2, n.x, slog.New(slog.DiscardHandler)); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		n.cancel()
		n.reg.Each(func(c *commands.Client) bool {
			c.Conn.Kill()
			return true
		})
		n.wg.Wait()
		n.loops.Close()
		_ = errors.Join(engine.CloseUnflushed(), log.Close())
	})
	return n
}

// serve runs a connection as a server does.
func (n *node) serve(nc net.Conn) *Conn {
	c := &commands.Client{Addr: "127.0.0.1:1"}
	c.Logout(n.users)
	k := New(n.ctx, nc, c, n.x, &n.hub, &n.stats)
	n.reg.Add(c)
	n.wg.Add(1)
	ended := func() {
		n.x.Tracking.Disable(c.ID)
		n.reg.Remove(c)
		n.wg.Done()
	}
	if !n.loops.Add(k, ended) {
		go func() {
			k.Serve()
			ended()
		}()
	}
	return k
}

// connect makes a TCP connection to the node.
func (n *node) connect() (*peer, *Conn) {
	n.tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.tb.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		n.tb.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		n.tb.Fatal(err)
	}
	n.tb.Cleanup(func() { nc.Close() })
	return newPeer(n.tb, nc), n.serve(far)
}

// peer is the client's end of a connection.
type peer struct {
	net.Conn
	tb testing.TB
	r  *resp.ReplyReader
}

func newPeer(tb testing.TB, nc net.Conn) *peer {
	return &peer{nc, tb, resp.NewReplyReader(nc)}
}

func (p *peer) send(lines ...string) {
	p.tb.Helper()
	var b []byte
	for _, l := range lines {
		b = resp.AppendCommandStrings(b, strings.Fields(l)...)
	}
	p.raw(string(b))
}

func (p *peer) raw(s string) {
	p.tb.Helper()
	_ = p.SetWriteDeadline(time.Now().Add(20 * time.Second))
	if _, err := p.Write([]byte(s)); err != nil {
		p.tb.Fatal(err)
	}
}

// reply is the next reply as it was sent, with \r\n as a space.
func (p *peer) reply() string {
	p.tb.Helper()
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
	b, err := p.r.ReadRaw(nil)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(strings.ReplaceAll(string(b), "\r\n", " "), " ")
}

func (p *peer) want(replies ...string) {
	p.tb.Helper()
	for _, w := range replies {
		if got := p.reply(); got != w {
			p.tb.Fatalf("got %q, want %q", got, w)
		}
	}
}

// wantEnd waits until the node has closed the connection.
func (p *peer) wantEnd() {
	p.tb.Helper()
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
	b, err := io.ReadAll(p.Conn)
	if ne, ok := err.(net.Error); ok && ne.Timeout() || len(b) > 0 {
		p.tb.Fatalf("not closed: %q, %v", b, err)
	}
}

// ended waits until no connection is left.
func (n *node) ended() {
	n.tb.Helper()
	eventually(n.tb, "the connections end", func() bool { return n.reg.Count() == 0 })
}

func eventually(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			tb.Fatalf("never: %s", what)
		}
		<-time.After(200 * time.Microsecond)
	}
}

// testNode is the node as commands see it: nothing of it may panic, whatever is asked.
type testNode struct{ *node }

var errTest = commands.Error("ERR not in this test")

func (n testNode) Users() *acl.Users                                        { return n.users }
func (n testNode) ACLLog() *acl.Log                                         { return &n.aclLog }
func (n testNode) ReadFile(string) ([]byte, error)                          { return nil, errTest }
func (n testNode) ReplaceFile(string, []byte) error                         { return errTest }
func (n testNode) Table() *command.Table                                    { return n.table }
func (n testNode) All() []*commands.Command                                 { return n.all }
func (n testNode) Config() *option.Config                                   { return n.cfg }
func (n testNode) Info([]string) string                                     { return "# Server\r\n" }
func (n testNode) Clients() commands.Clients                                { return &n.reg }
func (n testNode) Tracking() *tracking.Table                                { return n.x.Tracking }
func (n testNode) PubSub() *pubsub.Hub                                      { return &n.hub }
func (n testNode) Replication() commands.Replication                        { return testReplication{n.node} }
func (n testNode) SlowLog() *commands.SlowLog                               { return &n.slow }
func (n testNode) Latency() *commands.LatencyMonitor                        { return &n.latency }
func (n testNode) Pause(until time.Time, all bool)                          { n.x.Pause(until, all) }
func (n testNode) Checkpoint(bool) error                                    { return errTest }
func (n testNode) LastSave() time.Time                                      { return time.Time{} }
func (n testNode) AbortShutdown() error                                     { return errTest }
func (n testNode) ResetStats()                                              {}
func (n testNode) DigestValue(int, []byte) (string, error)                  { return "", errTest }
func (n testNode) SetActiveExpire(bool)                                     {}
func (n testNode) Reload() error                                            { return errTest }
func (n testNode) Compact(context.Context) error                            { return errTest }
func (n testNode) FlushEngine(context.Context) error                        { return errTest }
func (n testNode) DescribeKey(int, []byte) (string, error)                  { return "", errTest }
func (n testNode) MonitorStart(*commands.Client)                            {}
func (n testNode) MonitorStop(*commands.Client)                             {}
func (n testNode) Publishes() bool                                          { return false }
func (n testNode) RunID() string                                            { return strings.Repeat("0", 40) }
func (n testNode) Background(string, func(context.Context) error) bool      { return false }
func (n testNode) Digest(context.Context) (string, int64, error)            { return "", 0, errTest }
func (n testNode) Shutdown(context.Context, commands.ShutdownOptions) error { return errTest }

type testReplication struct{ *node }

func (r testReplication) Follow(string, string) error            { return errTest }
func (r testReplication) Intend(string, string) bool             { return false }
func (r testReplication) Role(out *resp.Writer)                  { out.OK() }
func (r testReplication) Offset() int64                          { return int64(r.x.Log().End()) }
func (r testReplication) IsReplica() bool                        { return false }
func (r testReplication) WaitLocal(context.Context, int64) error { return nil }
func (r testReplication) Replconf(_ *commands.Client, _ [][]byte, dst []byte) []byte {
	return append(dst, "+OK\r\n"...)
}
func (r testReplication) Failover(commands.FailoverOptions) error { return errTest }
func (r testReplication) ChangeID() error                         { return errTest }

// Wait waits for replicas that never come.
func (r testReplication) Wait(ctx context.Context, _ int64, n int) int {
	if n > 0 {
		<-ctx.Done()
	}
	return 0
}

func (r testReplication) WaitDurable(ctx context.Context, off int64, n int) int {
	return r.Wait(ctx, off, n)
}

// Serve takes the connection over.
func (r testReplication) Serve(c *commands.Client, args [][]byte) error {
	if len(args) != 3 {
		return errTest
	}
	r.detached <- c.Conn.Detach()
	return nil
}
