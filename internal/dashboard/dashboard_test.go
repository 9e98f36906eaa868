package dashboard

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"haypile/internal/agent"
	"haypile/internal/agent/agenttest"
	"haypile/internal/coordinator"
	"haypile/internal/event"
	"haypile/internal/metastore"
	"haypile/internal/topology"
)

func testLogger() *slog.Logger {
	if os.Getenv("HAYPILE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition and returns how long that took.
func until(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for tick := time.NewTicker(time.Millisecond); !ok(); <-tick.C {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
	return time.Since(start)
}

// node is a model node with an agent on a real socket.
type node struct {
	*agenttest.Node
	id    topology.NodeID
	addr  string
	agent *agent.Agent
}

// up gives the node its agent; the port stays the same over a restart.
func (n *node) up(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", n.addr)
	must(t, err)
	n.addr = l.Addr().String()
	n.agent = agent.Start(agent.Options{Node: n.Node, Listener: l, Secret: "sesame"})
	t.Cleanup(n.agent.Close)
}

func (n *node) crash() {
	n.Node.Kill()
	n.agent.Close()
}

// run starts a dashboard on dir and returns a client of it.
func run(t *testing.T, dir string) (c *Client, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Addr: "127.0.0.1:0", Dir: dir, Cluster: "c", Token: "tok", AgentSecret: "sesame",
			Logger: testLogger(), Ready: func(a string) { ready <- a }})
	}()
	select {
	case addr := <-ready:
		return &Client{URL: "http://" + addr, Token: "tok"}, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	case err := <-done:
		t.Fatalf("dashboard: %v", err)
	}
	return nil, nil
}

// TestCluster is the whole control plane over real sockets and a real etcd, with model nodes.
func TestCluster(t *testing.T) {
	ctx, dir, fleet := t.Context(), t.TempDir(), agenttest.NewFleet()
	c, stop := run(t, dir)
	defer func() { stop() }()
	must(t, c.AddShard(ctx, "s", ""))
	nodes := map[topology.NodeID]*node{}
	for _, id := range []topology.NodeID{"a", "b", "c"} {
		n := &node{Node: fleet.Add(string(id)+":1", string(id)+":2"), id: id, addr: "127.0.0.1:0"}
		n.up(t)
		nodes[id] = n
		got, err := c.AddNode(ctx, "s", NodeRequest{ID: id, Addr: n.Addr, AgentAddr: n.addr})
		must(t, err)
		if got.Priority != 100 {
			t.Fatalf("priority %d", got.Priority)
		}
		if id == "a" {
			until(t, "first primary", n.Writable)
		}
	}
	until(t, "attached", func() bool {
		return nodes["b"].Following() == "a:1" && nodes["c"].Following() == "a:1"
	})

	seen := make(chan topology.Cluster, 100)
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	go c.WatchCluster(watching, func(t topology.Cluster) bool { seen <- t; return true })
	if first := <-seen; first.Shard("s").Primary != "a" {
		t.Fatalf("first topology: %+v", first)
	}

	nodes["a"].crash()
	took := until(t, "a write", func() bool { return nodes["b"].Write() || nodes["c"].Write() })
	t.Logf("crash: first write after %v", took)
	if took > time.Second {
		t.Errorf("first write after %v", took)
	}
	var now topology.Cluster
	for now = range seen {
		if p := now.Shard("s").Primary; p != "a" && p != "" {
			break
		}
	}
	primary := now.Shard("s").Primary
	nodes["a"].Start()
	nodes["a"].up(t)
	took = until(t, "old primary attached", func() bool {
		return nodes["a"].Following() == string(primary)+":1"
	})
	t.Logf("restart: attached after %v", took)

	start := time.Now()
	must(t, c.Switchover(ctx, "s", "a"))
	t.Logf("switchover took %v", time.Since(start))
	if !nodes["a"].Write() {
		t.Error("no write after the switchover")
	}

	// The dashboard restarts: nothing changes, and it leads again at once.
	stop()
	c, stop = run(t, dir)
	took = until(t, "leads again", func() bool {
		s, err := c.Status(ctx)
		return err == nil && s.Leader != "" && len(s.Nodes) == 3 && s.Nodes[0].Report != nil
	})
	t.Logf("dashboard back after %v", took)
	s, err := c.Status(ctx)
	must(t, err)
	if sh := s.Cluster.Shard("s"); sh.Primary != "a" || sh.Epoch != 3 {
		t.Fatalf("after the restart: %+v", sh)
	}
	must(t, c.Failover(ctx, "s"))
	must(t, c.SetPriority(ctx, "s", "c", 0))
	must(t, c.RemoveNode(ctx, "s", "c"))
	checkMetrics(t, c.URL)
	var names []string
	must(t, c.Events(ctx, func(e event.Event) bool {
		names = append(names, string(e.Name))
		return e.Name != event.NodeRemoved
	}))
	if got := strings.Join(names, " "); !strings.Contains(got, "+failover-end") {
		t.Errorf("events: %s", got)
	}
	for _, f := range fleet.Faults() {
		t.Error(f)
	}
}

func checkMetrics(t *testing.T, url string) {
	t.Helper()
	for path, want := range map[string]string{
		"/metrics": `haypile_shard_epoch{shard="s"} 4`,
		"/healthz": `"leads": true`,
	} {
		r, err := http.Get(url + path)
		must(t, err)
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != 200 || !strings.Contains(string(b), want) {
			t.Errorf("%s: %d, no %q in %s", path, r.StatusCode, want, b)
		}
	}
}

func TestDirectoryIsUsedOnce(t *testing.T) {
	dir := t.TempDir()
	_, stop := run(t, dir)
	defer stop()
	err := Run(t.Context(), Options{Addr: "127.0.0.1:0", Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("got %v", err)
	}
}

// TestRefusals needs no nodes: what the API says to bad requests.
func TestRefusals(t *testing.T) {
	co := coordinator.New(coordinator.Options{Store: metastore.NewMemory(), Cluster: "c", ID: "d"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { co.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	until(t, "leader", func() bool { _, self := co.Leads(); return self })
	open := httptest.NewServer(NewHandler(co, "", testLogger()))
	defer open.Close()
	closed := httptest.NewServer(NewHandler(co, "tok", testLogger()))
	defer closed.Close()
	for _, c := range []struct {
		name, method, url, body string
		header                  http.Header
		want                    int
	}{
		{"add shard", "POST", open.URL + "/api/v1/shards", `{"id":"s","slots":"0-99"}`, nil, 200},
		{"twice", "POST", open.URL + "/api/v1/shards", `{"id":"s","slots":"100-199"}`, nil, 400},
		{"slots taken", "POST", open.URL + "/api/v1/shards", `{"id":"s2","slots":"99-100"}`, nil, 400},
		{"bad slots", "POST", open.URL + "/api/v1/shards", `{"id":"s2","slots":"9-1"}`, nil, 400},
		{"bad id", "POST", open.URL + "/api/v1/shards", `{"id":"a/b"}`, nil, 400},
		{"unknown field", "POST", open.URL + "/api/v1/shards", `{"id":"s2","slot":"1"}`, nil, 400},
		{"not json", "POST", open.URL + "/api/v1/shards", `id=s2`, nil, 400},
		{"too long", "POST", open.URL + "/api/v1/shards", `{"id":"` + strings.Repeat("x", 1<<17) + `"}`, nil, 400},
		{"bad address", "POST", open.URL + "/api/v1/shards/s/nodes", `{"addr":"nowhere"}`, nil, 400},
		{"no agent there", "POST", open.URL + "/api/v1/shards/s/nodes",
			`{"addr":"127.0.0.1:1","agent_addr":"127.0.0.1:1"}`, nil, 400},
		{"no such shard", "POST", open.URL + "/api/v1/shards/x/failover", ``, nil, 404},
		{"no such node", "DELETE", open.URL + "/api/v1/shards/s/nodes/x", ``, nil, 404},
		{"nobody to promote", "POST", open.URL + "/api/v1/shards/s/failover", ``, nil, 400},
		{"no primary", "POST", open.URL + "/api/v1/shards/s/switchover", `{}`, nil, 400},
		{"no token", "POST", closed.URL + "/api/v1/shards", `{"id":"s3"}`, nil, 401},
		{"wrong token", "POST", closed.URL + "/api/v1/shards", `{"id":"s3"}`,
			http.Header{"Authorization": {"Bearer x"}}, 401},
		{"from a page elsewhere", "POST", open.URL + "/api/v1/shards", `{"id":"s3"}`,
			http.Header{"Origin": {"http://evil.example"}}, 403},
		{"reading needs none", "GET", closed.URL + "/api/v1/cluster", ``, nil, 200},
		{"no such page", "GET", open.URL + "/api/v2", ``, nil, 404},
		{"wrong method", "GET", open.URL + "/api/v1/shards", ``, nil, 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, c.url, strings.NewReader(c.body))
			must(t, err)
			for k, v := range c.header {
				r.Header[k] = v
			}
			resp, err := http.DefaultClient.Do(r)
			must(t, err)
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.want {
				t.Fatalf("status %d, want %d: %s", resp.StatusCode, c.want, b)
			}
		})
	}
}

// TestRemoteNeedsToken: without a configured token changes come from this machine only.
func TestRemoteNeedsToken(t *testing.T) {
	a := &api{}
	for addr, ok := range map[string]bool{"127.0.0.1:5": true, "[::1]:5": true, "10.1.2.3:5": false, "": false,
		"[::ffff:127.0.0.1]:5": true, "[fe80::1%eth0]:5": false} {
		err := a.authorize(&http.Request{RemoteAddr: addr})
		if (err == nil) != ok || err != nil && !errors.Is(err, errUnauthorized) {
			t.Errorf("%q: %v", addr, err)
		}
	}
}
