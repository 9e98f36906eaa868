package drill

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"haypile/internal/resp"
	"haypile/internal/topology"
)

// store is what a node of the fake cluster holds: strings, and fields as "key\x00field".
type store map[string]string

// do executes one command, writing into the store.
func (s store) do(w *resp.Writer, args []string) {
	switch strings.ToUpper(args[0]) {
	case "SET":
		s[args[1]] = args[2]
		w.OK()
	case "HSET":
		at := args[1] + "\x00" + args[2]
		_, had := s[at]
		s[at] = args[3]
		w.Int(map[bool]int64{false: 1, true: 0}[had])
	case "INCR":
		n, _ := strconv.ParseInt(s[args[1]], 10, 64)
		s[args[1]] = strconv.FormatInt(n+1, 10)
		w.Int(n + 1)
	case "UNLINK":
		maps.DeleteFunc(s, func(k, _ string) bool { return k == args[1] || strings.HasPrefix(k, args[1]+"\x00") })
		w.Int(1)
	case "GET", "HGET":
		v, ok := s[strings.Join(args[1:], "\x00")]
		if !ok {
			w.Null()
			return
		}
		w.BulkString(v)
	default:
		w.Error("ERR unknown command '" + args[0] + "'")
	}
}

func (s store) digest() string {
	h := fnv.New64a()
	for _, k := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(h, "%q=%q\n", k, s[k])
	}
	return fmt.Sprintf("%040x", h.Sum64())
}

// errHangUp closes the connection instead of a reply.
var errHangUp = errors.New("hang up")

// serve answers RESP on a free port: handle writes the reply.
func serve(t *testing.T, handle func(w *resp.Writer, args []string) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				serveConn(c, handle)
			})
		}
	})
	return l.Addr().String()
}

func serveConn(c net.Conn, handle func(w *resp.Writer, args []string) error) {
	r := resp.NewReader(resp.DefaultLimits())
	w := &resp.Writer{Proto: 2}
	for {
		cmd, ok, err := r.Next()
		if err != nil {
			return
		}
		if !ok {
			if len(w.Buf) > 0 {
				if _, err := c.Write(w.Buf); err != nil {
					return
				}
				w.Buf = w.Buf[:0]
			}
			n, err := c.Read(r.Space(1))
			if err != nil {
				return
			}
			r.Advance(n)
			continue
		}
		args := make([]string, len(cmd.Args))
		for i, a := range cmd.Args {
			args[i] = string(a)
		}
		if strings.EqualFold(args[0], "CLIENT") {
			w.OK()
			continue
		}
		if handle(w, args) != nil {
			return
		}
	}
}

// fakeCluster is a shard of three nodes behind one front that plays the proxy. Writes reach all living nodes at
// once, unless a fault says otherwise.
type fakeCluster struct {
	front string
	mu    sync.Mutex
	nodes []*fakeNode
	// primary is the index of the node that takes writes, -1 while there is none.
	primary int
	epoch   topology.Epoch
	writes  int
	// meddle, if set, takes the place of a write's ordinary execution; it holds mu.
	meddle func(c *fakeCluster, w *resp.Writer, args []string) error
	// opened is closed when there is a primary again: the front holds requests until then.
	opened chan struct{}
}

type fakeNode struct {
	id     string
	addr   string
	data   store
	run    int
	down   bool
	full   int // full syncs that it has given
	part   int
	offset int64
	sync   int // sync-replicas
}

func newFakeCluster(t *testing.T) *fakeCluster {
	c := &fakeCluster{epoch: 1, opened: make(chan struct{})}
	for i := range 3 {
		n := &fakeNode{id: fmt.Sprintf("n%d", i+1), data: store{}}
		n.addr = serve(t, func(w *resp.Writer, args []string) error { return c.atNode(n, w, args) })
		c.nodes = append(c.nodes, n)
	}
	c.front = serve(t, c.atFront)
	return c
}

// atFront is the proxy: it holds writes while there is no primary.
func (c *fakeCluster) atFront(w *resp.Writer, args []string) error {
	c.mu.Lock()
	for c.primary < 0 {
		wait := c.opened
		c.mu.Unlock()
		<-wait
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	read := strings.HasSuffix(strings.ToUpper(args[0]), "GET")
	if !read {
		c.writes++
		if c.meddle != nil {
			return c.meddle(c, w, args)
		}
	}
	c.execute(w, args, !read)
	return nil
}

// execute runs a command on the primary and, if it writes, silently on the others.
func (c *fakeCluster) execute(w *resp.Writer, args []string, write bool) {
	for i, n := range c.nodes {
		if i == c.primary {
			n.data.do(w, args)
		} else if write && !n.down {
			n.data.do(&resp.Writer{Proto: 2}, args)
		}
		if write && !n.down {
			n.offset++
		}
	}
}

// atNode answers what the drill asks a data node.
func (c *fakeCluster) atNode(n *fakeNode, w *resp.Writer, args []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.down {
		return errHangUp
	}
	switch strings.ToUpper(args[0]) + " " + strings.ToUpper(args[min(1, len(args)-1)]) {
	case "DEBUG DIGEST":
		w.SimpleString(n.data.digest())
	case "DEBUG DIGEST-OFFSET":
		w.Error("ERR unknown subcommand") // as a real Redis
	case "CONFIG GET":
		w.BulkArray([]byte("sync-replicas"), []byte(strconv.Itoa(n.sync)))
	default:
		w.BulkString(c.info(n))
	}
	return nil
}

func (c *fakeCluster) info(n *fakeNode) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Server\r\nrun_id:%s-%d\r\nprocess_id:4711\r\nsync_full:%d\r\nsync_partial_ok:%d\r\n", n.id, n.run,
		n.full, n.part)
	fmt.Fprintf(&b, "master_repl_offset:%d\r\ndb0:keys=%d,expires=0\r\n", n.offset, len(n.data))
	if c.primary >= 0 && c.nodes[c.primary] == n {
		b.WriteString("role:master\r\n")
		return b.String()
	}
	link, host, port := "down", "", ""
	if c.primary >= 0 {
		link = "up"
		host, port, _ = net.SplitHostPort(c.nodes[c.primary].addr)
	}
	fmt.Fprintf(&b, "role:slave\r\nmaster_link_status:%s\r\nmaster_host:%s\r\nmaster_port:%s\r\nslave_repl_offset:%d\r\n",
		link, host, port, n.offset)
	return b.String()
}

// Shard implements Control.
func (c *fakeCluster) Shard(context.Context) (topology.Shard, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := topology.Shard{ID: "s1", Epoch: c.epoch}
	for _, n := range c.nodes {
		s.Nodes = append(s.Nodes, topology.Node{ID: topology.NodeID(n.id), Addr: n.addr})
	}
	if c.primary < 0 {
		return s, "no primary", nil
	}
	s.Primary = s.Nodes[c.primary].ID
	return s, "", nil
}

// Switchover implements Control.
func (c *fakeCluster) Switchover(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.primary = (c.primary + 1) % len(c.nodes)
	c.nodes[c.primary].part += 2
	c.epoch++
	return nil
}

// crash takes the primary down.
func (c *fakeCluster) crash() *fakeNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.nodes[c.primary]
	old.down, c.primary = true, -1
	return old
}

// promote opens another node.
func (c *fakeCluster) promote(next int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.primary = next
	c.epoch++
	c.nodes[next].part++ // the third one attaches
	close(c.opened)
	c.opened = make(chan struct{})
}

// rejoin starts a crashed node again, with the primary's data.
func (c *fakeCluster) rejoin(n *fakeNode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.nodes[c.primary]
	n.down, n.data, n.offset = false, maps.Clone(p.data), p.offset
	n.run++
	p.full++
}
