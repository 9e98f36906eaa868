package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/replog"
	"haypile/internal/resp"
)

// cutConn breaks after a number of bytes received.
type cutConn struct {
	net.Conn
	left     int64
	received *atomic.Int64
}

func (c *cutConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.received.Add(int64(n))
	return n, err
}

// cutDial breaks each connection after budget() bytes.
func cutDial(received *atomic.Int64, budget func() int64) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := dialTCP(ctx, addr)
		if err != nil {
			return nil, err
		}
		return &cutConn{Conn: conn, left: budget(), received: received}, nil
	}
}

func primaryWith(t testing.TB, keys int) *testNode {
	p := newTestNode(t, "p")
	p.reign("1")
	for i := range keys {
		p.write(fmt.Sprintf("SET key:%d value:%d", i, i))
	}
	return p
}

func TestFullSyncThenStream(t *testing.T) {
	p, r := primaryWith(t, 500), newTestNode(t, "r")
	r.follow(p, nil)
	r.sameAs(p)
	if n := r.count(&r.installs); n != 1 {
		t.Fatalf("%d full syncs", n)
	}
	p.write("SET a 1", "APPEND a 2")
	p.write("MULTI", "DEL a", "SET b 7", "EXEC")
	r.sameAs(p)
	st := r.link.Status()
	if st.State != LinkConnected || !st.DownSince.IsZero() || st.Upstream.NodeID != "p" ||
		st.Read != p.log.End() {
		t.Errorf("status %+v", st)
	}
	if s := p.feeds.Stats(); s.SyncFull != 1 || s.SyncPartialOK != 0 {
		t.Errorf("stats %+v", s)
	}
	f := p.feeds.Snapshot()
	if len(f) != 1 || f[0].State != FeedOnline || f[0].NodeID != "r" || f[0].IP != "127.0.0.1" ||
		f[0].Port == 0 {
		t.Errorf("feeds %+v", f)
	}
	if names, _ := p.fs.List(""); len(names) != 0 {
		t.Errorf("checkpoints left behind: %v", names)
	}
}

func TestPartialResyncAfterRestart(t *testing.T) {
	p, r := primaryWith(t, 100), newTestNode(t, "r")
	r.follow(p, nil)
	r.sameAs(p)
	r.unfollow()
	for i := range 2000 { // more than one chunk of the pump
		p.write(fmt.Sprintf("SET key:%d %s", i, strings.Repeat("x", 300)))
	}
	r.follow(p, nil)
	r.sameAs(p)
	if n := r.count(&r.installs); n != 1 {
		t.Fatalf("%d full syncs", n)
	}
	if s := p.feeds.Stats(); s.SyncPartialOK != 1 {
		t.Errorf("stats %+v", s)
	}
}

// Connections break anywhere, also inside commands, transactions and the full sync's files; the replica's log
// is a prefix of the primary's all the time and ends equal.
func TestConnectionsBreakAnywhere(t *testing.T) {
	p, r := primaryWith(t, 300), newTestNode(t, "r")
	var received atomic.Int64
	rng := rand.New(rand.NewPCG(1, 2))
	var rngMu sync.Mutex
	r.follow(p, cutDial(&received, func() int64 {
		rngMu.Lock()
		defer rngMu.Unlock()
		return 500 + rng.Int64N(60_000)
	}))
	for i := range 3000 {
		switch i % 10 {
		case 3:
			p.write("MULTI", fmt.Sprintf("SET k:%d %d", i, i), "APPEND all x", fmt.Sprintf("DEL key:%d", i/10), "EXEC")
		case 7:
			p.write(fmt.Sprintf("SET big:%d %s", i%50, strings.Repeat("b", 5000)))
		default:
			p.write(fmt.Sprintf("APPEND key:%d %d", i%300, i))
		}
		if i%100 == 0 {
			if log := r.State().Log; log != nil {
				mine := log.(*memLog).bytes()
				start := log.Start()
				if theirs := p.log.bytes()[start:]; !bytes.HasPrefix(theirs, mine) {
					t.Fatalf("the replica's log is no prefix at %d", i)
				}
			}
			pause(time.Millisecond)
		}
	}
	r.follow(p, nil)
	r.sameAs(p)
	if ok := p.feeds.Stats().SyncPartialOK; ok < 3 {
		t.Errorf("only %d partial resyncs", ok)
	}
}

func TestInterruptedFullSyncIsResumed(t *testing.T) {
	p, r := newTestNode(t, "p"), newTestNode(t, "r")
	p.files, p.padding = 8, 200_000
	p.reign("1")
	for i := range 1000 {
		p.write(fmt.Sprintf("SET key:%d value:%d", i, i))
	}
	var received atomic.Int64
	r.follow(p, cutDial(&received, func() int64 { return 450_000 }))
	r.sameAs(p)
	if n := r.count(&r.begins); n < 4 {
		t.Fatalf("%d attempts, expected several", n)
	}
	// Every byte of the files once, and the handshakes.
	if got := received.Load(); got > 8*200_000+400_000 {
		t.Errorf("%d bytes received for %d bytes of files", got, 8*200_000)
	}
}

func TestResumedFullSyncTakesANewerCheckpoint(t *testing.T) {
	p, r := newTestNode(t, "p"), newTestNode(t, "r")
	p.files, p.padding = 8, 100_000
	p.reign("1")
	for i := range 1000 {
		p.write(fmt.Sprintf("SET key:%d value:%d", i, i))
	}
	var received atomic.Int64
	r.follow(p, cutDial(&received, func() int64 { return 300_000 }))
	waitFor(t, "the first attempt", func() bool { return r.count(&r.begins) >= 2 })
	r.unfollow()
	for i := range 500 {
		p.write(fmt.Sprintf("SET key:%d other:%d", i*2, i))
	}
	r.follow(p, nil)
	r.sameAs(p)
}

func TestDamagedLeftoverFilesAreSentAgain(t *testing.T) {
	p, r := primaryWith(t, 200), newTestNode(t, "r")
	if err := r.fs.MkdirAll("incoming"); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"000000.sst": "garbage", "000001.sst": strings.Repeat("z", 1<<20), "stray": "x",
	} {
		f, err := r.fs.Create("incoming/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r.follow(p, nil)
	r.sameAs(p)
}

func TestFullSyncRateAndProgress(t *testing.T) {
	p, r := newTestNode(t, "p"), newTestNode(t, "r")
	p.padding = 50_000
	p.reign("1")
	p.write("SET a 1")
	opt := DefaultOptions()
	opt.FullSyncRate = 500_000
	p.feeds.SetOptions(opt)
	began := time.Now()
	r.follow(p, nil)
	seen := false
	waitFor(t, "the sync", func() bool {
		st := r.link.Status()
		if st.State == LinkSync && st.SyncRead > 0 && st.SyncRead < st.SyncTotal {
			seen = true
			v := View{Now: time.Now(), Link: &st, Priority: 100}
			if text := string(v.AppendInfo(nil)); !strings.Contains(text, "master_sync_in_progress:1\r\n") ||
				!strings.Contains(text, "slave_priority:0\r\n") {
				t.Fatalf("INFO during a full sync: %s", text)
			}
		}
		return st.State == LinkConnected
	})
	if took := time.Since(began); !seen || took < 300*time.Millisecond {
		t.Errorf("250 kB at 500 kB/s in %v, progress seen: %v", took, seen)
	}
	r.sameAs(p)
}

func TestChain(t *testing.T) {
	a, b, c := primaryWith(t, 100), newTestNode(t, "b"), newTestNode(t, "c")
	// A node whose own link has never synced feeds nobody.
	b.unfit = resp.ErrNoMasterLink
	c.follow(b, nil)
	waitFor(t, "the refusal", func() bool {
		err := c.link.Status().Err
		return err != nil && strings.Contains(err.Error(), "NOMASTERLINK")
	})
	b.mu.Lock()
	b.unfit = ""
	b.mu.Unlock()
	b.follow(a, nil)
	b.sameAs(a)
	c.sameAs(a)
	for i := range 500 {
		a.write(fmt.Sprintf("APPEND key:%d x", i%100))
	}
	c.sameAs(a)
	b.sameAs(a)
}

func TestPromotionOthersContinueOldPrimaryRewinds(t *testing.T) {
	a, b, c := primaryWith(t, 100), newTestNode(t, "b"), newTestNode(t, "c")
	b.follow(a, nil)
	c.follow(a, nil)
	b.sameAs(a)
	c.sameAs(a)
	a.feeds.DisconnectAll(ErrDisconnected)
	b.unfollow()
	c.unfollow()
	a.write("SET lost 1", "SET key:1 lost") // nobody else gets these

	b.reign("2")
	b.write("SET kept 1")
	c.follow(b, nil)
	c.sameAs(b)
	if n := c.count(&c.installs); n != 1 {
		t.Errorf("the other replica made %d full syncs", n)
	}
	a.follow(b, nil)
	a.sameAs(b)
	if rewinds, installs := a.count(&a.rewinds), a.count(&a.installs); rewinds != 1 || installs != 0 {
		t.Errorf("the old primary: %d rewinds, %d full syncs", rewinds, installs)
	}
	if _, there := a.data["lost"]; there {
		t.Error("the surplus is still there")
	}
	// And back: the old primary reigns again, everybody continues.
	a.unfollow()
	c.unfollow()
	a.reign("3")
	a.write("SET third 3")
	b.follow(a, nil)
	c.follow(a, nil)
	b.sameAs(a)
	c.sameAs(a)
	if b.count(&b.installs) != 1 || c.count(&c.installs) != 1 {
		t.Error("full syncs on the way back")
	}
}

func TestOldPrimaryThatCannotRewindSyncsInFull(t *testing.T) {
	a, b := primaryWith(t, 50), newTestNode(t, "b")
	b.follow(a, nil)
	b.sameAs(a)
	b.unfollow()
	a.write("SET lost 1")
	b.reign("2")
	b.write("SET kept 1")
	a.noRewind = true
	a.follow(b, nil)
	a.sameAs(b)
	if n := a.count(&a.installs); n != 1 {
		t.Errorf("%d full syncs", n)
	}
}

func TestDifferentBytesUnderTheSameHistoryAreNoticed(t *testing.T) {
	p, r := primaryWith(t, 50), newTestNode(t, "r")
	r.follow(p, nil)
	r.sameAs(p)
	p.write("SET a 1")
	r.sameAs(p)
	r.unfollow()
	r.log.mu.Lock()
	r.log.buf[len(r.log.buf)-3] ^= 1
	r.log.mu.Unlock()
	r.follow(p, nil)
	waitFor(t, "a full sync", func() bool { return r.count(&r.installs) == 2 })
	r.sameAs(p)
}

func TestStaleEpochIsRefusedOnBothSides(t *testing.T) {
	p, r := primaryWith(t, 10), newTestNode(t, "r")
	r.follow(p, nil)
	r.sameAs(p)
	r.unfollow()
	r.mu.Lock()
	r.epoch = 9 // promised to somebody newer
	r.mu.Unlock()
	r.follow(p, nil)
	waitFor(t, "the refusal", func() bool { return errors.Is(r.link.Status().Err, ErrStalePrimary) })
	waitFor(t, "the primary to hear of it", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.heard == 9
	})
	// The primary notices on its own time that the link of before is gone.
	waitFor(t, "nobody to be fed", func() bool { return p.feeds.Online() == 0 })
	end := r.appliedEnd()
	p.write("SET a 1")
	if p.feeds.Online() != 0 || r.appliedEnd() != end {
		t.Error("the replica follows a stale primary")
	}
}

func TestTrimmedAwayMeansFullSync(t *testing.T) {
	p, r := primaryWith(t, 100), newTestNode(t, "r")
	r.follow(p, nil)
	r.sameAs(p)
	r.unfollow()
	p.write("SET a 1")
	p.mu.Lock()
	p.base = map[string]string{}
	p.mu.Unlock()
	p.log.trim(p.log.End())
	r.follow(p, nil)
	r.sameAs(p)
	if n := r.count(&r.installs); n != 2 {
		t.Errorf("%d full syncs", n)
	}
}

func TestApplyErrorHaltsTheLink(t *testing.T) {
	p, r := primaryWith(t, 10), newTestNode(t, "r")
	r.follow(p, nil)
	r.sameAs(p)
	p.write("DIVERGE now")
	waitFor(t, "the halt", func() bool { return r.link.Status().Halted })
	st := r.link.Status()
	if !errors.Is(st.Err, ErrHalted) || st.State != LinkConnect || st.DownSince.IsZero() {
		t.Errorf("status %+v", st)
	}
	v := View{Now: time.Now(), Link: &st, Priority: 100}
	if text := string(v.AppendInfo(nil)); !strings.Contains(text, "slave_priority:0\r\n") {
		t.Errorf("INFO: %s", text)
	}
}

// Sub-replicas and the replica's own acknowledgement do not wait for the apply.
func TestAcknowledgedBeforeApplied(t *testing.T) {
	p, r := primaryWith(t, 10), newTestNode(t, "r")
	r.follow(p, nil)
	r.sameAs(p)
	gate := make(chan struct{})
	r.mu.Lock()
	r.applyGate = func() { <-gate }
	r.mu.Unlock()
	off := p.write("SET a 1")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if n := p.feeds.WaitAcked(ctx, off, 1, false); n != 1 {
		t.Errorf("%d acknowledgements while the apply hangs", n)
	}
	close(gate)
	r.sameAs(p)
}

func TestCloseAppliesWhatWasAppended(t *testing.T) {
	p, r := primaryWith(t, 10), newTestNode(t, "r")
	r.follow(p, nil)
	r.sameAs(p)
	for i := range 2000 {
		p.write(fmt.Sprintf("SET key:%d x", i))
	}
	r.unfollow()
	if end := r.log.End(); r.appliedEnd() != end {
		t.Errorf("applied %d of %d", r.appliedEnd(), end)
	}
}

func TestSyncWaitWithTwoReplicas(t *testing.T) {
	p, r1, r2 := primaryWith(t, 10), newTestNode(t, "r1"), newTestNode(t, "r2")
	r1.follow(p, nil)
	r2.follow(p, nil)
	waitFor(t, "both replicas", func() bool { return p.feeds.Online() == 2 })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 200 {
				off := p.write(fmt.Sprintf("SET w%d:%d x", w, i))
				if n := p.feeds.WaitAcked(ctx, off, 2, i%4 == 0); n < 2 {
					t.Errorf("acknowledged by %d", n)
					return
				}
				if r1.log.End() < off || r2.log.End() < off {
					t.Errorf("acknowledged, but not in the logs")
					return
				}
			}
		}()
	}
	wg.Wait()
	r1.sameAs(p)
	r2.sameAs(p)
}

// rawReplica is a replica made of a bare connection.
type rawReplica struct {
	t    *testing.T
	conn net.Conn
	in   *resp.ReplyReader
}

func dialRaw(t *testing.T, p *testNode) *rawReplica {
	t.Helper()
	conn, err := net.Dial("tcp", p.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &rawReplica{t: t, conn: conn, in: resp.NewReplyReader(conn)}
}

func (r *rawReplica) send(words ...string) {
	r.t.Helper()
	if _, err := r.conn.Write(resp.AppendCommandStrings(nil, words...)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rawReplica) line() string {
	r.t.Helper()
	line, err := r.in.ReadLine()
	if err != nil {
		r.t.Fatal(err)
	}
	return string(line)
}

func (r *rawReplica) expect(want string) {
	r.t.Helper()
	if got := r.line(); got != want {
		r.t.Fatalf("got %q, want %q", got, want)
	}
}

func (r *rawReplica) closed() {
	r.t.Helper()
	if _, err := io.Copy(io.Discard, r.in); errors.Is(err, context.DeadlineExceeded) {
		r.t.Fatalf("the connection is still open: %v", err)
	}
}

// What a Redis replica says and gets, byte for byte.
func TestTranscriptRedisReplica(t *testing.T) {
	p := newTestNode(t, "p")
	p.reign("1")
	p.write("SET a 1")
	mid := p.log.End()
	p.write("SET b 2")
	r := dialRaw(t, p)
	r.send("PING")
	r.expect("+PONG")
	r.send("REPLCONF", "listening-port", "7001")
	r.expect("+OK")
	r.send("REPLCONF", "capa", "eof", "capa", "psync2")
	r.expect("+OK")
	r.send("PSYNC", "?", "-1")
	if got := r.line(); !strings.HasPrefix(got, "-ERR ") {
		t.Fatalf("full sync for a Redis: %q", got)
	}
	r.send("PSYNC", rid("1"), fmt.Sprint(mid+1))
	r.expect("+CONTINUE " + rid("1"))
	want := string(stream("SET b 2"))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r.in, got); err != nil || string(got) != want {
		t.Fatalf("stream %q (%v), want %q", got, err, want)
	}
	// It acknowledges only when asked, or once a second: a waiter asks.
	done := make(chan int, 1)
	off := p.log.End()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		done <- p.feeds.WaitAcked(ctx, off, 1, false)
	}()
	want = string(stream("REPLCONF GETACK *"))
	got = make([]byte, len(want))
	if _, err := io.ReadFull(r.in, got); err != nil || string(got) != want {
		t.Fatalf("stream %q (%v), want %q", got, err, want)
	}
	r.send("REPLCONF", "ACK", fmt.Sprint(off))
	if n := <-done; n != 1 {
		t.Fatalf("%d acknowledgements", n)
	}
	f := p.feeds.Snapshot()
	if len(f) != 1 || f[0].Port != 7001 || f[0].Haypile || f[0].Acked != off {
		t.Fatalf("feeds %+v", f)
	}
	// An acknowledgement of what was never sent is a lie.
	r.send("REPLCONF", "ACK", fmt.Sprint(p.log.End()+1))
	r.closed()
	waitFor(t, "the feed to go", func() bool { return len(p.feeds.Snapshot()) == 0 })
}

// What a Haypile replica says, and what a primary may answer.
func TestTranscriptLink(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := newTestNode(t, "r")
	r.reign("1")
	r.write("SET a 1")
	r.mu.Lock()
	r.primary = false
	r.mu.Unlock()
	link := StartLink(LinkConfig{Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port,
		User: "u", Password: "pw",
		AnnounceIP: "10.1.2.3", AnnouncePort: 7002, Timeout: 10 * time.Second,
		Dial: dialTCP}, r)
	defer link.Close()

	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rd := resp.NewReader(resp.DefaultLimits())
	next := func() string {
		t.Helper()
		for {
			cmd, ok, err := rd.Next()
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				return string(bytes.Join(cmd.Args, []byte(" ")))
			}
			n, err := conn.Read(rd.Space(512))
			if err != nil {
				t.Fatal(err)
			}
			rd.Advance(n)
		}
	}
	say := func(s string) {
		t.Helper()
		if _, err := conn.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"PING", "AUTH u pw", "REPLCONF listening-port 7002",
		"REPLCONF ip-address 10.1.2.3", "REPLCONF capa eof capa psync2 capa haypile1"} {
		if got := next(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	hello := `REPLCONF haypile {"v":1,"format":1,"node":"r","epoch":1,"reigns":[{"epoch":1,"replid":"1111`
	if got := next(); !strings.HasPrefix(got, hello) {
		t.Fatalf("hello %q", got)
	}
	// A Redis that knows neither option nor capability.
	say("-NOAUTH Authentication required.\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n" +
		"-ERR Unrecognized REPLCONF option: haypile\r\n")
	end := r.log.End()
	if got, want := next(), fmt.Sprintf("PSYNC %s %d", rid("1"), end+1); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	say("\n\n+CONTINUE " + rid("2") + "\r\n")
	if got, want := next(), fmt.Sprintf("REPLCONF ACK %d FACK %d", end, end); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	more := stream("select 0", "set b 2", "REPLCONF GETACK *")
	say(string(more))
	end += replog.Offset(len(more))
	if got, want := next(), fmt.Sprintf("REPLCONF ACK %d FACK %d", end, end); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	waitFor(t, "the apply", func() bool { return r.appliedEnd() == end })
	if up := link.Status().Upstream; !up.Foreign() || up.ReplID != rid("2") {
		t.Fatalf("upstream %+v", up)
	}
	// A transaction in part is neither appended nor acknowledged.
	part := stream("MULTI", "SET c 3")
	say(string(part))
	waitFor(t, "the bytes to be read", func() bool { return link.Status().Read == end+replog.Offset(len(part)) })
	if r.log.End() != end {
		t.Fatalf("the log ends at %d, inside a transaction", r.log.End())
	}
	// The acknowledgement of each second.
	if got, want := next(), fmt.Sprintf("REPLCONF ACK %d FACK %d", end, end); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestForeignSnapshotIsRefusedClearly(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("+PONG\r\n+OK\r\n+OK\r\n-ERR x\r\n" +
				"+FULLRESYNC " + rid("1") + " 5\r\n$EOF:" + rid("0") + "\r\n"))
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	r := newTestNode(t, "r")
	link := StartLink(LinkConfig{Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port,
		Timeout: 10 * time.Second,
		Dial:    dialTCP}, r)
	defer link.Close()
	waitFor(t, "the refusal", func() bool { return errors.Is(link.Status().Err, ErrForeignSnapshot) })
}
