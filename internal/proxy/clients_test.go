package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/resp"
	"haypile/internal/topology"
)

// raw connects without a protocol client.
func (p *testProxy) raw() net.Conn {
	p.t.Helper()
	nc, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	return nc
}

func TestMalformedInput(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), nil)
	for in, want := range map[string]string{
		"*1\r\n$4\r\nPING\r\n*x\r\n":                 "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n",
		"*1\r\n+4\r\n":                               "-ERR Protocol error: expected '$', got '+'\r\n",
		"*2\r\n$3\r\nGET\r\n$-5\r\n":                 "-ERR Protocol error: invalid bulk length\r\n",
		"*2\r\n$3\r\nGET\r\n$99999999999\r\n":        "-ERR Protocol error: invalid bulk length\r\n",
		"PING\r\nSET k 'a b'\r\nGET k\r\nQUIT\r\n":   "+PONG\r\n+OK\r\n$3\r\na b\r\n+OK\r\n",
		"\r\n\r\n*0\r\n*-1\r\nPING hi\r\nQUIT\r\n":   "$2\r\nhi\r\n+OK\r\n",
		"PING \"unbalanced\r\n":                      "-ERR Protocol error: unbalanced quotes in request\r\n",
		"*1\r\n$4\r\nN\r\nO\r\nQUIT\r\n":             "-ERR unknown command 'N  O', with args beginning with: \r\n+OK\r\n",
		"*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\nQUIT\r\n": "$2\r\n\r\n\r\n+OK\r\n",
	} {
		nc := p.raw()
		if _, err := io.WriteString(nc, in); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(nc)
		if err != nil {
			t.Errorf("%q: %v", in, err)
		}
		if string(got) != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	p.client().want("GET k", "a b")
}

// A client that closes its sending side still gets its answers.
func TestHalfClose(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), nil)
	nc := p.raw()
	io.WriteString(nc, "SET k v\r\nGET k\r\n")
	nc.(*net.TCPConn).CloseWrite()
	got, _ := io.ReadAll(nc)
	if string(got) != "+OK\r\n$1\r\nv\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestAuth(t *testing.T) {
	r := startRedis(t, "--requirepass", "inner")
	p := startProxy(t, clusterOf(1, r.addr), func(o *Options) {
		o.Password, o.BackendPassword = "outer", "inner"
	})
	c := p.client()
	c.want("GET k", "-NOAUTH Authentication required.")
	c.want("HELLO 3", "-"+resp.ErrHelloNoAuth)
	c.want("AUTH wrong", "-"+resp.ErrWrongPass)
	c.want("AUTH inner", "-"+resp.ErrWrongPass)
	c.want("AUTH nobody outer", "-"+resp.ErrWrongPass)
	c.want("AUTH outer", "OK")
	c.want("GET k", "nil")
	c.want("RESET", "RESET")
	c.want("GET k", "-NOAUTH Authentication required.")
	d := p.client(resp.DialOptions{Proto: 3, Password: "outer"})
	d.want("SET k v", "OK")
	// The tight limits of strangers end with authentication.
	nc := p.raw()
	io.WriteString(nc, "*2\r\n$3\r\nGET\r\n$17000\r\n")
	if got, _ := io.ReadAll(nc); !bytes.Contains(got, []byte("unauthenticated bulk length")) {
		t.Errorf("got %q", got)
	}
	d.want("SET big "+strings.Repeat("x", 100_000), "OK")
	open := startProxy(t, clusterOf(1, r.addr), nil)
	open.client().want("AUTH x", "-"+resp.ErrNoPasswordSet)
}

// The proxy may be any user to the nodes, whose refusals reach the client.
func TestBackendUser(t *testing.T) {
	r := startRedis(t, "--user", "proxy", "on", ">inner", "~k*", "+@all", "-@dangerous", "--requirepass", "no")
	p := startProxy(t, clusterOf(1, r.addr), func(o *Options) {
		o.Password, o.BackendUser, o.BackendPassword = "outer", "proxy", "inner"
	})
	c := p.client(resp.DialOptions{Password: "outer"})
	c.want("SET k v", "OK")
	for _, line := range []string{"GET other", "FLUSHALL"} {
		if got := c.do(line); !strings.HasPrefix(got, "-NOPERM ") {
			t.Errorf("%s: got %q", line, got)
		}
	}
	c.want("GET k", "v")
}

func TestMaxClientsAndIdleTimeout(t *testing.T) {
	p := startProxy(t, clusterOf(1, ""), func(o *Options) {
		o.MaxClients, o.IdleTimeout = 2, 300*time.Millisecond
	})
	a, b := p.raw(), p.raw()
	eventually(t, "two clients", func() bool { return len(p.sessions()) == 2 })
	got, _ := io.ReadAll(p.raw())
	if string(got) != "-ERR max number of clients reached\r\n" {
		t.Errorf("got %q", got)
	}
	for _, nc := range []net.Conn{a, b} {
		if n, err := nc.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("idle client: %d bytes, %v", n, err)
		}
	}
	eventually(t, "no clients", func() bool { return len(p.sessions()) == 0 })
	p.client().want("PING", "PONG")
}

func TestClientFamily(t *testing.T) {
	p := startProxy(t, clusterOf(1, ""), nil)
	a, b := p.client(), p.client()
	a.want("CLIENT SETNAME one", "OK")
	if got := a.do("CLIENT HELP"); !strings.HasPrefix(got, "[CLIENT <subcommand>") {
		t.Errorf("CLIENT HELP: %s", got)
	}
	a.want("READONLY", "-ERR READONLY is not available through the proxy: it changes the state of a connection "+
		"that clients share")
	a.want("CLIENT SETINFO lib-name go-test", "OK")
	a.want("CLIENT SETINFO nothing x", "-ERR Unrecognized option 'nothing'")
	id := b.do("CLIENT ID")
	for line, want := range map[string]string{
		"CLIENT KILL ID 99999":          "0",
		"CLIENT KILL ID 0":              "-ERR client-id should be greater than 0",
		"CLIENT KILL 1.1.1.1:1":         "-ERR No such client",
		"CLIENT KILL TYPE what":         "-ERR Unknown client type 'what'",
		"CLIENT KILL USER what":         "-ERR No such user 'what'",
		"CLIENT KILL ID 1 ADDR":         "-ERR syntax error",
		"CLIENT LIST TYPE pubsub":       "",
		"CLIENT LIST TYPE x":            "-ERR Unknown client type 'x'",
		"CLIENT LIST ID x":              "-ERR Invalid client ID",
		"CLIENT LIST nothing x":         "-ERR syntax error",
		"CLIENT NO-EVICT ON":            "OK",
		"CLIENT NO-TOUCH maybe":         "-ERR syntax error",
		"CLIENT REPLY maybe":            "-ERR syntax error",
		"CLIENT KILL ID " + id:          "1",
		"CLIENT KILL TYPE normal ID 55": "0",
	} {
		a.want(line, want)
	}
	if _, err := b.Do(context.Background(), "PING"); err == nil {
		t.Error("killed client lives")
	}
	if got := a.do("CLIENT LIST"); !strings.Contains(got, "lib-name=go-test") || strings.Count(got, "\n") != 1 {
		t.Errorf("CLIENT LIST: %q", got)
	}
	a.Send(context.Background(), "CLIENT", "REPLY", "OFF")
	a.Send(context.Background(), "PING")
	a.Send(context.Background(), "CLIENT", "REPLY", "ON")
	a.receive("OK")
	a.Send(context.Background(), "CLIENT", "REPLY", "SKIP")
	a.Send(context.Background(), "ECHO", "unseen")
	a.want("ECHO seen", "seen")
	a.want("CLIENT KILL SKIPME NO", "1")
	if _, err := a.Do(context.Background(), "PING"); err == nil {
		t.Error("client that killed itself lives")
	}
}

func TestBigValues(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), nil)
	c := p.client(resp.DialOptions{Timeout: 60 * time.Second})
	for _, size := range []int{bufferKeep - 1, bufferKeep, bufferKeep + 1, 1 << 20, 40 << 20} {
		v := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		vs, err := c.Pipeline(context.Background(), [][]any{
			{"SET", "small", "s"}, {"SET", "big", v}, {"GET", "small"}, {"GET", "big"}, {"STRLEN", "big"},
			{"GET", "small"}})
		if err != nil {
			t.Fatal(err)
		}
		if show(vs[1]) != "OK" || show(vs[2]) != "s" || string(vs[3].Str) != v || vs[4].Int != int64(size) ||
			show(vs[5]) != "s" {
			t.Errorf("size %d: wrong replies", size)
		}
	}
}

// A client that does not read its replies is not read from any more; the others go on, and memory stays
// bounded.
func TestSlowClient(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), func(o *Options) { o.PipelineRequests = 16 })
	fast := p.client()
	fast.doArgs("SET", "big", strings.Repeat("x", 1<<20))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	slow := p.raw()
	var sent atomic.Int64
	go func() {
		// At once: what one read brings counts, too.
		n, _ := io.WriteString(slow, strings.Repeat("GET big\r\n", 100))
		sent.Add(int64(n))
	}()
	eventually(t, "the proxy stops reading from the slow client", func() bool {
		for _, s := range p.sessions() {
			s.mu.Lock()
			blocked := s.mu.blocked
			s.mu.Unlock()
			if blocked {
				return true
			}
		}
		return false
	})
	for range 100 {
		fast.want("GET none", "nil")
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d MB for one slow client", grown>>20)
	if grown > 64<<20 {
		t.Errorf("%d MB for one slow client", grown>>20)
	}
	// It gets everything once it reads.
	total, err := io.CopyN(io.Discard, slow, 100*(1<<20+12))
	if err != nil {
		t.Errorf("after %d bytes: %v", total, err)
	}
}

func TestStuckClientIsClosed(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), func(o *Options) { o.WriteTimeout = 200 * time.Millisecond })
	p.client().doArgs("SET", "big", strings.Repeat("x", 8<<20))
	nc := p.raw()
	io.WriteString(nc, "GET big\r\nGET big\r\n")
	eventually(t, "the proxy is writing", func() bool {
		for _, s := range p.sessions() {
			if s.writing.Load() != 0 {
				return true
			}
		}
		return false
	})
	eventually(t, "the stuck client is closed", func() bool { return len(p.sessions()) == 1 })
}

func TestPubSubOutputLimit(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), func(o *Options) { o.PubSubHard = 1 << 20 })
	sub := p.raw()
	io.WriteString(sub, "SUBSCRIBE ch\r\n")
	if _, err := sub.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	pub := p.client()
	msg := strings.Repeat("x", 100<<10)
	eventually(t, "the subscriber is closed", func() bool {
		pub.doArgs("PUBLISH", "ch", msg)
		return len(p.sessions()) == 1
	})
}

// A thousand idle clients hold no buffers.
func TestIdleClientsAreCheap(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 400
	for range n {
		nc := p.raw()
		io.WriteString(nc, "GET k\r\n")
		io.ReadFull(nc, make([]byte, 5))
	}
	eventually(t, "all are idle", func() bool {
		idle := 0
		for _, s := range p.sessions() {
			s.mu.Lock()
			if s.mu.idle {
				idle++
			}
			s.mu.Unlock()
		}
		return idle == n
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse)) / n
	t.Logf("%d bytes per idle client, the test's side of it included", per)
	if per > 24<<10 {
		t.Errorf("%d bytes per idle client", per)
	}
}

func TestTopologyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "topology.json")
	r := startRedis(t)
	p := startProxy(t, clusterOf(7, r.addr), func(o *Options) { o.File = file })
	p.client().want("SET k v", "OK")
	p.Close()
	if c, err := loadTopology(file); err != nil || c.Revision != 7 {
		t.Fatalf("kept %v, %v", c, err)
	}
	// No dashboard answers.
	q := startProxy(t, nil, func(o *Options) { o.File = file })
	q.client().want("GET k", "v")
	// An older topology does not replace the kept one, nor does one of another cluster.
	q.source.Set(clusterOf(6, ""))
	other := clusterOf(99, "")
	other.Name = "other"
	q.source.Set(other)
	q.client().want("GET k", "v")
	if q.Revision() != 7 {
		t.Errorf("revision %d", q.Revision())
	}
	q.source.Set(clusterOf(8, r.addr))
	eventually(t, "revision 8 is kept", func() bool {
		c, err := loadTopology(file)
		return err == nil && c.Revision == 8
	})
	q.Close()
	names, _ := os.ReadDir(filepath.Dir(file))
	if len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	// A damaged file does not keep the proxy from starting.
	os.WriteFile(file, []byte(`{"name":`), 0o600)
	d := startProxy(t, clusterOf(9, r.addr), func(o *Options) { o.File = file })
	d.client().want("GET k", "v")
}

// fakeDashboard serves an event stream.
type fakeDashboard struct {
	*httptest.Server
	events chan *topology.Cluster
}

func startDashboard(t *testing.T, token string) *fakeDashboard {
	d := &fakeDashboard{events: make(chan *topology.Cluster, 10)}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != watchPath || token != "" && r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, ": hello\r\n\r\nevent: ping\ndata: x\n\n")
		w.(http.Flusher).Flush()
		for {
			select {
			case c := <-d.events:
				if c == nil {
					return
				}
				fmt.Fprintf(w, "id: 1\nevent: topology\ndata: %s\n\n", encode(t, c))
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(func() { d.CloseClientConnections(); d.Close() })
	return d
}

func TestDashboards(t *testing.T) {
	r := startRedis(t)
	a, b := startDashboard(t, "secret"), startDashboard(t, "secret")
	dead := "http://" + freeAddr(t)
	p := startProxy(t, nil, func(o *Options) {
		o.Source = &Dashboards{URLs: []string{dead, a.URL, b.URL + "/"}, Token: "secret"}
	})
	revision := func(n uint64) {
		t.Helper()
		eventually(t, fmt.Sprintf("revision %d", n), func() bool { return p.Revision() == n })
	}
	a.events <- clusterOf(1, "")
	revision(1)
	b.events <- clusterOf(3, r.addr)
	revision(3)
	a.events <- clusterOf(2, "") // a is behind
	a.events <- clusterOf(4, r.addr)
	revision(4)
	p.client().want("SET k v", "OK")
	a.events <- nil // the stream ends, and is opened again
	a.events <- clusterOf(5, r.addr)
	revision(5)
	b.CloseClientConnections()
	b.Close()
	a.events <- clusterOf(6, r.addr)
	revision(6)
	bad := clusterOf(7, r.addr)
	bad.Shards[0].Primary = "nobody"
	a.events <- bad // passed over
	a.events <- clusterOf(8, r.addr)
	revision(8)
}

func TestAdmin(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, nil, func(o *Options) { o.AdminAddr = "127.0.0.1:0" })
	get := func(path string) (int, string) {
		t.Helper()
		res, err := http.Get("http://" + p.AdminAddr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	if code, _ := get("/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("healthz without topology: %d", code)
	}
	p.source.Set(clusterOf(3, r.addr))
	if code, _ := get("/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	c := p.client()
	c.want("SET k v", "OK")
	c.want("GET k", "v")
	c.do("NOSUCH")
	_, body := get("/metrics")
	for _, want := range []string{
		`haypile_proxy_commands_total{command="get"} 1`, `haypile_proxy_clients 1`,
		`haypile_proxy_topology_revision 3`,
		`haypile_proxy_shard_primary{shard="s1"} 1`, `haypile_proxy_backend_connections 1`,
		`haypile_proxy_hold_failures_total{why="timeout"} 0`, `haypile_proxy_error_replies_total 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	p.source.Set(clusterOf(4, ""))
	if code, _ := get("/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("healthz without primary: %d", code)
	}
}

// Close answers what is under way and leaves no goroutine behind.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), nil)
	c, sub, blocked := p.client(), p.client(), p.client()
	sub.want("SUBSCRIBE x", "[subscribe x 1]")
	blocked.Send(context.Background(), "BLPOP", "list", "0")
	c.want("WATCH k", "OK")
	slow := c.async("DEBUG SLEEP 0.2")
	eventually(t, "the command is under way", func() bool {
		for _, s := range p.sessions() {
			s.mu.Lock()
			n := s.last
			s.mu.Unlock()
			if n == "debug" {
				return true
			}
		}
		return false
	})
	p.Close()
	if got := receive(t, slow, time.Second); got != "OK" {
		t.Errorf("command under way: %q", got)
	}
	if _, err := net.Dial("tcp", p.Addr().String()); err == nil {
		t.Error("still listening")
	}
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+1 })
}
