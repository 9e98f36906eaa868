package replication

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"haypile/internal/disk"
	"haypile/internal/replog"
	"haypile/internal/resp"
)

var discard = slog.New(slog.DiscardHandler)

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// waitFor waits until a condition holds.
func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
		pause(200 * time.Microsecond)
	}
}

// pause lets other goroutines run for a while; nothing depends on how long.
func pause(d time.Duration) { <-time.After(d) }

// memLog is a log in memory.
type memLog struct {
	mu    sync.Mutex
	start replog.Offset
	buf   []byte
}

func (l *memLog) Start() replog.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start
}

func (l *memLog) End() replog.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start + replog.Offset(len(l.buf))
}

func (l *memLog) Synced() replog.Offset { return l.End() }

func (l *memLog) ReadAt(p []byte, off replog.Offset) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if off < l.start {
		return 0, replog.ErrTrimmed
	}
	return copy(p, l.buf[off-l.start:]), nil
}

func (l *memLog) SumBefore(at replog.Offset, n int) (uint32, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = min(n, int(at-l.start))
	b := l.buf[int(at-l.start)-n : at-l.start]
	return crc32.Checksum(b, castagnoli), n, nil
}

func (l *memLog) append(b []byte) (start replog.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start = l.start + replog.Offset(len(l.buf))
	l.buf = append(l.buf, b...)
	return start
}

func (l *memLog) trim(to replog.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = slices.Clone(l.buf[to-l.start:])
	l.start = to
}

func (l *memLog) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.buf)
}

// testNode is a data node without an engine: its data is a map that SET, DEL and APPEND change.
type testNode struct {
	t     testing.TB
	id    string
	feeds *Feeds
	fs    *disk.Mem
	ln    net.Listener

	mu       sync.Mutex
	commit   sync.Mutex // held over append and push, as the commit leader would
	primary  bool
	unfit    string
	epoch    uint64
	reigns   []replog.ReignRecord
	log      *memLog
	db       int
	data     map[string]string
	applied  replog.Offset
	base     map[string]string // data at the log's start
	baseDB   int
	noRewind bool
	link     *Link
	files    int // files per checkpoint
	pings    int
	installs int
	begins   int
	rewinds  int
	heard    uint64
	conns    sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc
	// tune, if set, changes the links' configuration.
	tune func(*LinkConfig)
	// applyGate, if set, is called in Apply.
	applyGate func()
	// padding makes checkpoints larger.
	padding int
}

func newTestNode(t testing.TB, id string) *testNode {
	n := &testNode{t: t, id: id, fs: disk.NewMem(), files: 5,
		data: map[string]string{}, base: map[string]string{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.feeds = NewFeeds(n, DefaultOptions(), discard)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.ln = ln
	go n.accept()
	t.Cleanup(n.close)
	return n
}

func (n *testNode) close() {
	n.unfollow()
	n.cancel()
	n.ln.Close()
	n.feeds.Close()
	n.conns.Wait()
}

// accept stands for the session: it answers what a replica says before PSYNC and hands the connection over.
func (n *testNode) accept() {
	for {
		conn, err := n.ln.Accept()
		if err != nil {
			return
		}
		n.conns.Add(1)
		go func() {
			defer n.conns.Done()
			defer conn.Close()
			n.serve(conn)
		}()
	}
}

func (n *testNode) serve(conn net.Conn) {
	stop := context.AfterFunc(n.ctx, func() { conn.Close() })
	defer stop()
	rd := resp.NewReader(resp.DefaultLimits())
	var hs Handshake
	for {
		cmd, ok, err := rd.Next()
		if err != nil {
			return
		}
		if !ok {
			k, err := conn.Read(rd.Space(512))
			rd.Advance(k)
			if err != nil {
				return
			}
			continue
		}
		var out []byte
		switch strings.ToUpper(string(cmd.Args[0])) {
		case "PING":
			out = []byte("+PONG\r\n")
		case "AUTH":
			out = []byte("+OK\r\n")
		case "REPLCONF":
			out = n.feeds.Replconf(nil, &hs, cmd.Args)
		case "PSYNC", "SYNC":
			feed, err := n.feeds.Accept(&hs, cmd.Args)
			if err == nil {
				_ = feed.Run(n.ctx, conn, rd)
				return
			}
			out = fmt.Appendf(nil, "-%s\r\n", err)
		default:
			out = []byte("-ERR unknown\r\n")
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// reign opens the node for writes under a new id.
func (n *testNode) reign(c string) {
	n.mu.Lock()
	n.primary = true
	n.epoch++
	if n.log == nil {
		n.log = &memLog{}
	}
	end := n.log.End()
	n.reigns = slices.DeleteFunc(n.reigns, func(r replog.ReignRecord) bool { return r.Start > end })
	n.reigns = append(n.reigns, replog.ReignRecord{Epoch: n.epoch, ReplID: rid(c), Start: end})
	n.db = -1
	n.mu.Unlock()
	n.feeds.DisconnectAll(ErrDisconnected)
}

// write commits commands as one frame, as a primary.
func (n *testNode) write(lines ...string) replog.Offset {
	n.commit.Lock()
	defer n.commit.Unlock()
	raw := stream(lines...)
	n.mu.Lock()
	if n.db != 0 {
		raw = append(stream("SELECT 0"), raw...)
		n.db = 0
	}
	log := n.log
	n.mu.Unlock()
	start := log.append(raw)
	n.feeds.Push(start, raw)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range lines {
		exec(n.data, bytes.Fields([]byte(l)))
	}
	n.applied = start + replog.Offset(len(raw))
	return n.applied
}

func exec(data map[string]string, args [][]byte) {
	switch strings.ToUpper(string(args[0])) {
	case "SET":
		data[string(args[1])] = string(args[2])
	case "APPEND":
		data[string(args[1])] += string(args[2])
	case "DEL":
		delete(data, string(args[1]))
	}
}

// State implements Node.
func (n *testNode) State() State {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := State{Primary: n.primary, NodeID: n.id, Epoch: n.epoch, Format: 1,
		Reigns: slices.Clone(n.reigns), Unfit: n.unfit}
	if n.log != nil {
		s.Log = n.log
	}
	return s
}

// Checkpoint implements Node.
func (n *testNode) Checkpoint(context.Context) (*Checkpoint, error) {
	n.commit.Lock()
	defer n.commit.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	cp := &Checkpoint{FS: n.fs, Dir: fmt.Sprintf("checkpoint-%d", time.Now().UnixNano()),
		Offset: n.log.End(), DB: max(n.db, 0)}
	if err := n.fs.MkdirAll(cp.Dir); err != nil {
		return nil, err
	}
	parts := make([]map[string]string, n.files)
	for i := range parts {
		parts[i] = map[string]string{}
	}
	i := 0
	for _, k := range slices.Sorted(maps.Keys(n.data)) {
		parts[i%n.files][k] = n.data[k]
		i++
	}
	for i, p := range parts {
		doc, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		doc = append(doc, bytes.Repeat([]byte(" "), n.padding)...)
		name := fmt.Sprintf("%06d.sst", i)
		f, err := n.fs.Create(filepath.Join(cp.Dir, name))
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(doc); err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		cp.Files = append(cp.Files, FileInfo{Name: name, Size: int64(len(doc))})
	}
	cp.Release = func() {
		if err := n.fs.RemoveAll(cp.Dir); err != nil {
			n.t.Errorf("removing a checkpoint: %v", err)
		}
	}
	return cp, nil
}

func (n *testNode) AppendPing() (replog.Offset, error) {
	n.mu.Lock()
	n.pings++
	n.mu.Unlock()
	return n.write("PING"), nil
}

func (n *testNode) AppendGetAck() (replog.Offset, error) { return n.write("REPLCONF GETACK *"), nil }

func (n *testNode) HeardEpoch(e uint64) {
	n.mu.Lock()
	n.heard = e
	n.mu.Unlock()
}

// Position implements Follower.
func (n *testNode) Position() Position {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := Position{Reigns: slices.Clone(n.reigns), DB: max(n.db, 0), NodeID: n.id, Promised: n.epoch, Format: 1}
	if n.log != nil {
		p.Log = n.log
	}
	return p
}

func (n *testNode) adopt(up *Upstream) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	changed := len(n.reigns) == 0 || n.reigns[len(n.reigns)-1].ReplID != up.ReplID
	n.reigns, n.epoch = slices.Clone(up.Reigns), up.Epoch
	return changed
}

func (n *testNode) Adopt(_ context.Context, up *Upstream) error {
	if n.adopt(up) {
		n.feeds.DisconnectAll(ErrDisconnected)
	}
	return nil
}

func (n *testNode) Append(b *Batch) error {
	n.mu.Lock()
	log := n.log
	n.mu.Unlock()
	if start := log.append(b.Raw); start != b.Start {
		n.t.Errorf("%s: a batch of offset %d was appended at %d", n.id, b.Start, start)
	}
	n.mu.Lock()
	n.db = b.EndDB
	n.mu.Unlock()
	n.feeds.Push(b.Start, b.Raw)
	return nil
}

func (n *testNode) Apply(b *Batch) error {
	n.mu.Lock()
	gate := n.applyGate
	n.mu.Unlock()
	if gate != nil {
		gate()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.applied != b.Start {
		n.t.Errorf("%s: a batch of offset %d is applied at %d", n.id, b.Start, n.applied)
	}
	for _, u := range b.Units {
		for _, c := range u.Cmds {
			if strings.EqualFold(string(c.Args[0]), "DIVERGE") {
				return errors.New("cannot be applied")
			}
			exec(n.data, c.Args)
		}
	}
	n.applied = b.End
	return nil
}

func (n *testNode) Rewind(_ context.Context, fork replog.Offset, _ *Upstream) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rewinds++
	if n.noRewind || fork < n.log.start {
		return ErrFullSyncNeeded
	}
	n.log.mu.Lock()
	n.log.buf = n.log.buf[:fork-n.log.start]
	raw := slices.Clone(n.log.buf)
	n.log.mu.Unlock()
	n.data = maps.Clone(n.base)
	s := NewSplitter(n.log.start, n.baseDB, 1<<30)
	if err := s.Write(raw); err != nil {
		return err
	}
	var b Batch
	if _, err := s.Next(&b); err != nil {
		return err
	}
	for _, u := range b.Units {
		for _, c := range u.Cmds {
			exec(n.data, c.Args)
		}
	}
	n.db, n.applied, n.primary = b.EndDB, fork, false
	return nil
}

func (n *testNode) Begin(context.Context, Meta) (Target, error) {
	n.mu.Lock()
	n.begins++
	n.mu.Unlock()
	return Target{FS: n.fs, Dir: "incoming"}, n.fs.MkdirAll("incoming")
}

func (n *testNode) Install(_ context.Context, m Meta) error {
	data := map[string]string{}
	names, err := n.fs.List("incoming")
	if err != nil {
		return err
	}
	for _, name := range names {
		doc, err := disk.ReadFile(n.fs, filepath.Join("incoming", name))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(doc, &data); err != nil {
			return err
		}
	}
	n.adopt(&m.Upstream)
	n.mu.Lock()
	n.log = &memLog{start: m.Offset}
	n.data, n.base, n.applied = data, maps.Clone(data), m.Offset
	n.db, n.baseDB, n.primary = m.DB, m.DB, false
	n.installs++
	n.mu.Unlock()
	n.feeds.DisconnectAll(ErrDisconnected)
	return n.fs.RemoveAll("incoming")
}

func (n *testNode) Abort(Meta) {}

func (n *testNode) addr() (host string, port int) {
	a := n.ln.Addr().(*net.TCPAddr)
	return a.IP.String(), a.Port
}

// follow makes the node a replica; dial, if not nil, stands in for the network.
func (n *testNode) follow(p *testNode, dial func(context.Context, string) (net.Conn, error)) {
	n.unfollow()
	if dial == nil {
		dial = dialTCP
	}
	n.mu.Lock()
	n.primary = false
	n.mu.Unlock()
	n.feeds.DisconnectAll(ErrDisconnected)
	host, port := p.addr()
	_, mine := n.addr()
	cfg := LinkConfig{Host: host, Port: port, Dial: dial, AnnouncePort: mine,
		Timeout: 10 * time.Second, MaxBackoff: 5 * time.Millisecond}
	if n.tune != nil {
		n.tune(&cfg)
	}
	link := StartLink(cfg, n)
	n.mu.Lock()
	n.link = link
	n.mu.Unlock()
}

func (n *testNode) unfollow() {
	n.mu.Lock()
	link := n.link
	n.link = nil
	n.mu.Unlock()
	if link != nil {
		link.Close()
	}
}

func (n *testNode) appliedEnd() replog.Offset {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.applied
}

// count reads a counter of the node.
func (n *testNode) count(c *int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return *c
}

// sameAs waits until the node has applied everything of the other and compares log and data.
func (n *testNode) sameAs(other *testNode) {
	n.t.Helper()
	waitFor(n.t, n.id+" to catch up with "+other.id, func() bool { return n.appliedEnd() == other.appliedEnd() })
	n.mu.Lock()
	mine, start, data := n.log.bytes(), n.log.start, maps.Clone(n.data)
	n.mu.Unlock()
	other.mu.Lock()
	theirs, otherStart, otherData := other.log.bytes(), other.log.start, maps.Clone(other.data)
	other.mu.Unlock()
	if start < otherStart {
		mine, start = mine[otherStart-start:], otherStart
	}
	if !bytes.Equal(mine, theirs[start-otherStart:]) {
		n.t.Fatalf("%s and %s: logs differ from %d on", n.id, other.id, start)
	}
	if !maps.Equal(data, otherData) {
		n.t.Fatalf("%s and %s: %d and %d keys, contents differ", n.id, other.id, len(data), len(otherData))
	}
}
