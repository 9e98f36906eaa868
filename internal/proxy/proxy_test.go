package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/slot"
	"haypile/internal/topology"
)

// testTable is a small command table with every kind of routing.
func testTable(t testing.TB) *command.Table {
	t.Helper()
	var specs []*command.Spec
	add := func(name, group string, arity int, flags command.Flags, route command.Route, merge command.Merge,
		keys ...command.KeySpec) *command.Spec {
		s := &command.Spec{Name: name, Group: group, Since: "1.0.0", Arity: arity, Syntax: name, Summary: name,
			Complexity: "O(1)", Flags: flags, Route: route, Merge: merge, Keys: keys}
		if route == command.RouteDenied {
			s.DeniedReason = "it concerns a single node"
		}
		specs = append(specs, s)
		return s
	}
	ro, rw := command.AccessRO, command.AccessRW
	one, all := command.One(1, ro), command.Range(1, -1, 1, ro)
	read, write := command.ReadOnly|command.Fast, command.Write|command.Fast
	for _, c := range []struct {
		name  string
		arity int
		flags command.Flags
		keys  command.KeySpec
	}{
		{"GET", 2, read, one}, {"STRLEN", 2, read, one}, {"LRANGE", 4, read, one}, {"HGETALL", 2, read, one},
		{"SET", -3, write, one}, {"INCR", 2, write, one}, {"APPEND", 3, write, one}, {"RPUSH", -3, write, one},
		{"HSET", -4, write, one}, {"RENAME", 3, write, command.Range(1, 2, 1, rw)},
		{"EVAL", -3, 0, command.Counted(2, rw)},
		{"SPUBLISH", 3, command.PubSub, one},
	} {
		s := add(c.name, "string", c.arity, c.flags, command.RouteKeys, command.MergeNone, c.keys)
		if c.name == "EVAL" {
			s.Group = "scripting"
		}
	}
	add("SORT", "generic", -2, read, command.RouteKeys, command.MergeNone, one).Beyond = func(args [][]byte) string {
		if len(args) == 4 && bytes.HasSuffix(args[3], []byte("*")) {
			return strings.ToUpper(string(args[2]))
		}
		return ""
	}
	add("MGET", "string", -2, read, command.RouteMultiShard, command.MergeKeyOrder, all)
	add("MSET", "string", -3, write, command.RouteMultiShard, command.MergeAllSucceeded,
		command.Range(1, -1, 2, rw))
	add("DEL", "generic", -2, write, command.RouteMultiShard, command.MergeSum, all)
	add("EXISTS", "generic", -2, read, command.RouteMultiShard, command.MergeSum, all)
	add("DBSIZE", "server", 1, read|command.WholeSpace, command.RouteAllShards, command.MergeSum)
	add("KEYS", "generic", 2, command.ReadOnly|command.WholeSpace, command.RouteAllShards, command.MergeConcat)
	add("FLUSHALL", "server", -1, command.Write|command.Exclusive, command.RouteAllShards,
		command.MergeAllSucceeded)
	add("RANDOMKEY", "generic", 1, read, command.RouteAllShards, command.MergeFirstNonNull)
	add("SCAN", "generic", -2, command.ReadOnly|command.WholeSpace, command.RouteCursor, command.MergeNone)
	add("CONFIG", "server", -2, command.Admin, command.RouteAllNodes, command.MergeAllSucceeded)
	add("TIME", "server", 1, command.Fast, command.RouteAny, command.MergeNone)
	add("INFO", "server", -1, 0, command.RouteAny, command.MergeSpecial)
	add("PUBLISH", "pubsub", 3, command.PubSub|command.MayReplicate, command.RouteAny, command.MergeNone)
	add("DEBUG", "server", -2, command.Admin, command.RouteAny, command.MergeNone)
	addSpecial(add)
	table, err := command.NewTable(specs)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// addSpecial adds what concerns the connection.
func addSpecial(add func(name, group string, arity int, flags command.Flags, route command.Route,
	merge command.Merge, keys ...command.KeySpec) *command.Spec) {
	ro, rw := command.AccessRO, command.AccessRW
	all := command.Range(1, -1, 1, ro)
	add("BLPOP", "list", -3, command.Write|command.Blocking, command.RoutePinned, command.MergeNone,
		command.Range(1, -2, 1, rw))
	add("WAIT", "generic", 3, command.NoScript|command.Blocking, command.RoutePinned, command.MergeNone)
	for _, name := range []string{"MULTI", "EXEC", "DISCARD", "UNWATCH"} {
		add(name, "transactions", 1, command.Fast, command.RoutePinned, command.MergeNone)
	}
	add("WATCH", "transactions", -2, command.Fast, command.RoutePinned, command.MergeNone, all)
	for _, name := range []string{"SUBSCRIBE", "PSUBSCRIBE"} {
		add(name, "pubsub", -2, command.PubSub, command.RoutePinned, command.MergeNone)
	}
	add("SSUBSCRIBE", "pubsub", -2, command.PubSub, command.RoutePinned, command.MergeNone, all)
	for _, name := range []string{"UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"} {
		add(name, "pubsub", -1, command.PubSub, command.RoutePinned, command.MergeNone)
	}
	add("READONLY", "cluster", 1, command.Fast, command.RouteAny, command.MergeNone)
	add("MONITOR", "server", 1, command.Admin, command.RouteDenied, command.MergeNone)
	for name, arity := range map[string]int{"PING": -1, "ECHO": 2, "SELECT": 2, "RESET": 1} {
		add(name, "connection", arity, command.Fast, command.RouteLocal, command.MergeNone)
	}
	for name, arity := range map[string]int{"HELLO": -1, "AUTH": -2, "QUIT": -1} {
		add(name, "connection", arity, command.Fast|command.NoAuth, command.RouteLocal, command.MergeNone)
	}
	sub := func(container string, group string, arities map[string]int) {
		c := add(container, group, -2, 0, command.RouteLocal, command.MergeNone)
		if container == "COMMAND" {
			c.Arity = -1
		}
		for name, arity := range arities {
			route := command.RouteLocal
			if name == "HELP" || name == "COUNT" { // as the real table has it
				route = command.RouteAny
			}
			c.Sub = append(c.Sub, &command.Spec{Name: name, Group: group, Since: "1.0.0", Arity: arity,
				Syntax: container + " " + name, Summary: name, Complexity: "O(1)", Route: route})
		}
	}
	sub("CLIENT", "connection", map[string]int{"ID": 2, "GETNAME": 2, "SETNAME": 3, "SETINFO": 4, "INFO": 2,
		"LIST": -2, "KILL": -3, "REPLY": 3, "NO-EVICT": 3, "NO-TOUCH": 3, "PAUSE": -3, "HELP": 2})
	sub("COMMAND", "server", map[string]int{"COUNT": 2, "DOCS": -2, "INFO": -2, "LIST": -2, "GETKEYS": -3})
}

// redisServer is a real redis-server on a free port.
type redisServer struct {
	addr string
	cmd  *exec.Cmd
}

func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	for range 5 {
		addr := freeAddr(t)
		_, port, _ := net.SplitHostPort(addr)
		r := &redisServer{addr: addr, cmd: exec.Command(bin, append([]string{"--port", port, "--bind", "127.0.0.1",
			"--save", "", "--enable-debug-command", "yes", "--dir", t.TempDir()}, args...)...)}
		if err := r.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.kill)
		if r.wait() {
			return r
		}
		r.kill() // another process took the port
	}
	t.Fatal("redis-server does not start")
	return nil
}

// wait waits until the server answers, in whatever words.
func (r *redisServer) wait() bool {
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		cl, err := resp.Dial(context.Background(), r.addr, resp.DialOptions{Timeout: 200 * time.Millisecond})
		if err == nil {
			_, err = cl.Do(context.Background(), "PING")
			cl.Close()
			if err == nil || errors.Is(err, resp.Error(resp.ErrNoAuth)) {
				return true
			}
		}
		<-time.After(5 * time.Millisecond)
	}
	return false
}

func (r *redisServer) kill() {
	if r.cmd.ProcessState == nil {
		r.cmd.Process.Kill()
		r.cmd.Wait()
	}
}

func freeAddr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// clusterOf makes a topology with one shard per address, which is its primary; an empty address is a shard
// without one.
func clusterOf(revision uint64, addrs ...string) *topology.Cluster {
	c := &topology.Cluster{Name: "test", Revision: revision}
	n := slot.Count / len(addrs)
	for i, a := range addrs {
		id := fmt.Sprintf("s%d", i+1)
		sh := topology.Shard{ID: topology.ShardID(id), Epoch: topology.Epoch(revision)}
		last := (i+1)*n - 1
		if i == len(addrs)-1 {
			last = slot.Count - 1
		}
		sh.Slots = []topology.SlotRange{{First: slot.Slot(i * n), Last: slot.Slot(last)}}
		if a != "" {
			node := topology.NodeID(id + "-" + a)
			sh.Nodes = []topology.Node{{ID: node, Addr: a, AgentAddr: "agent-" + a, Priority: 100}}
			sh.Primary = node
		}
		c.Shards = append(c.Shards, sh)
	}
	return c
}

// routesOf is the routing of clusterOf, with shards that do nothing.
func routesOf(addrs ...string) *routes {
	return newRoutes(clusterOf(1, addrs...), func(id topology.ShardID) *shard { return &shard{id: id} })
}

type testProxy struct {
	*Proxy
	source *Static
	t      testing.TB
}

func startProxy(t testing.TB, c *topology.Cluster, change func(*Options)) *testProxy {
	t.Helper()
	source := NewStatic(c)
	opt := Options{Addr: "127.0.0.1:0", Table: testTable(t), Source: source}
	if os.Getenv("PROXY_TEST_LOG") != "" {
		opt.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if change != nil {
		change(&opt)
	}
	p, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return &testProxy{p, source, t}
}

// client connects a test client.
func (p *testProxy) client(opts ...resp.DialOptions) *testClient {
	p.t.Helper()
	opt := resp.DialOptions{Timeout: 20 * time.Second}
	if len(opts) > 0 {
		opt = opts[0]
	}
	cl, err := resp.Dial(context.Background(), p.Addr().String(), opt)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { cl.Close() })
	return &testClient{cl, p.t}
}

type testClient struct {
	*resp.Client
	t testing.TB
}

// do runs a command given in words.
func (c *testClient) do(line string) string {
	c.t.Helper()
	return c.doArgs(strings.Fields(line)...)
}

func (c *testClient) doArgs(words ...string) string {
	c.t.Helper()
	args := make([]any, len(words))
	for i, w := range words {
		args[i] = w
	}
	v, err := c.Do(context.Background(), args...)
	var answer resp.Error
	if errors.As(err, &answer) {
		return "-" + string(answer)
	}
	if err != nil {
		c.t.Fatalf("%.60q: %v", words, err)
	}
	return show(v)
}

func (c *testClient) want(line, want string) {
	c.t.Helper()
	if got := c.do(line); got != want {
		c.t.Errorf("%s: got %q, want %q", line, got, want)
	}
}

// show writes a reply so that its type can be seen.
func show(v resp.Value) string {
	switch v.Kind {
	case resp.KindNull, resp.KindNullArray:
		return "nil"
	case resp.KindError:
		return "-" + string(v.Str)
	case resp.KindArray, resp.KindMap, resp.KindSet, resp.KindPush:
		var parts []string
		for _, e := range v.Elems {
			parts = append(parts, show(e))
		}
		mark := map[resp.Kind]string{resp.KindArray: "", resp.KindMap: "%", resp.KindSet: "~", resp.KindPush: ">"}
		return mark[v.Kind] + "[" + strings.Join(parts, " ") + "]"
	}
	return v.String()
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func TestBasics(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), nil)
	c := p.client()
	c.want("PING", "PONG")
	c.want("ECHO hay", "hay")
	c.want("SET k v", "OK")
	c.want("GET k", "v")
	c.want("GET none", "nil")
	c.want("MSET a 1 b 2", "OK")
	c.want("MGET a b none", "[1 2 nil]")
	c.want("DBSIZE", "3")
	c.want("DEL a b none", "2")
	c.want("NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' ")
	c.want("GET", "-ERR wrong number of arguments for 'get' command")
	c.want("MONITOR", "-ERR MONITOR is not available through the proxy: it concerns a single node")
	c.want("CLIENT PAUSE 10", "-ERR CLIENT PAUSE is not available through the proxy: clients share the proxy's "+
		"connections to the nodes")
	c.want("CLIENT nosuch", "-ERR unknown subcommand 'nosuch'. Try CLIENT HELP.")
	c.want("SELECT 3", "OK")
	c.want("GET k", "nil")
	c.want("SELECT 16", "-ERR DB index is out of range")
	c.want("SELECT 0", "OK")
	c.want("GET k", "v")
	if got := c.do("INFO"); !strings.Contains(got, "redis_version:7.0.15") {
		t.Errorf("INFO: %.50q", got)
	}
	c.want("SCAN 0", "[0 [k]]")
	c.want("COMMAND COUNT", fmt.Sprint(testTable(t).Len()))
	c.want("CLIENT SETNAME me", "OK")
	c.want("CLIENT GETNAME", "me")
	if got := c.do("CLIENT LIST"); !strings.Contains(got, "name=me") {
		t.Errorf("CLIENT LIST: %q", got)
	}
	c.want("RESET", "RESET")
	c.want("CLIENT GETNAME", "nil")
	c.want("QUIT", "OK")
	if _, err := c.Do(context.Background(), "PING"); err == nil {
		t.Error("connection still open after QUIT")
	}
}

func encode(t testing.TB, c *topology.Cluster) []byte {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
