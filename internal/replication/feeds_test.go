package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"haypile/internal/replog"
	"haypile/internal/resp"
)

// follower attaches a bare Redis replica at the log's end.
func follower(t *testing.T, p *testNode) *rawReplica {
	t.Helper()
	r := dialRaw(t, p)
	r.send("PSYNC", p.reigns[len(p.reigns)-1].ReplID, fmt.Sprint(p.log.End()+1))
	if got := r.line(); !strings.HasPrefix(got, "+CONTINUE") {
		t.Fatal(got)
	}
	return r
}

// psyncArgs asks for the stream at the log's end, under the id "1".
func psyncArgs(p *testNode) [][]byte {
	return [][]byte{[]byte("PSYNC"), []byte(rid("1")), fmt.Append(nil, p.log.End()+1)}
}

func TestSlowReplicaDoesNotSlowPush(t *testing.T) {
	p, r := primaryWith(t, 10), newTestNode(t, "r")
	r.follow(p, nil)
	slow := follower(t, p) // reads nothing
	waitFor(t, "both replicas", func() bool { return p.feeds.Online() == 2 })
	longest := time.Duration(0)
	raw := stream("SET k " + strings.Repeat("x", 16<<10))
	for range 1500 { // 24 MB, more than any socket buffer
		start := p.log.append(raw)
		began := time.Now()
		p.feeds.Push(start, raw)
		longest = max(longest, time.Since(began))
	}
	if longest > time.Second { // a push that waits for the replica would wait for good
		t.Errorf("a push took %v", longest)
	}
	waitFor(t, "the other replica", func() bool { return r.appliedEnd() == p.log.End() })
	for _, f := range p.feeds.Snapshot() {
		if !f.Haypile && f.Sent == p.log.End() {
			t.Error("the slow replica took everything: nothing was tested")
		}
	}
	// When it reads again it gets every byte, in order.
	first := int(slowStart(p))
	want := p.log.bytes()[first:]
	got := make([]byte, len(want))
	if _, err := io.ReadFull(slow.in, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Fatal("the slow replica got other bytes")
	}
}

// slowStart is where the foreign replica of p began: its acknowledged offset, as it never acknowledged.
func slowStart(p *testNode) replog.Offset {
	for _, f := range p.feeds.Snapshot() {
		if !f.Haypile {
			return f.Acked
		}
	}
	return 0
}

// Push and pump take turns thousands of times without a gap or a byte sent twice.
func TestPushAndPumpTakeTurns(t *testing.T) {
	p := primaryWith(t, 1)
	slow := follower(t, p)
	first := p.log.End()
	waitFor(t, "the replica", func() bool { return p.feeds.Online() == 1 })
	lines, expected := make([]string, 3000), 0
	for i := range lines {
		lines[i] = fmt.Sprintf("SET k:%d %s", i, strings.Repeat("x", 1+i%7000))
		expected += len(stream(lines[i]))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, l := range lines {
			p.write(l)
		}
	}()
	buf := make([]byte, 32<<10)
	for total := 0; total < expected; {
		n, err := slow.in.Read(buf)
		if err != nil {
			t.Fatalf("after %d of %d bytes: %v", total, expected, err)
		}
		want := make([]byte, n)
		if _, err := p.log.ReadAt(want, first+replog.Offset(total)); err != nil || !bytes.Equal(buf[:n], want) {
			t.Fatalf("other bytes at %d", total)
		}
		total += n
		if total%5 == 0 {
			pause(100 * time.Microsecond)
		}
	}
	<-done
}

func TestPushAllocatesNothing(t *testing.T) {
	p := primaryWith(t, 1)
	r := follower(t, p)
	go func() { _, _ = io.Copy(io.Discard, r.conn) }()
	waitFor(t, "the replica", func() bool { return p.feeds.Online() == 1 })
	raw := stream("SET a 1")
	log := p.log
	log.mu.Lock()
	log.buf = append(make([]byte, 0, len(log.buf)+1<<20), log.buf...)
	log.mu.Unlock()
	var feed *Feed
	for _, f := range *p.feeds.online.Load() {
		feed = f
	}
	if n := testing.AllocsPerRun(500, func() {
		for feed.turnNow() != pushTurn {
			pause(10 * time.Microsecond)
		}
		p.feeds.Push(log.append(raw), raw)
	}); n > 0.1 {
		t.Errorf("%v allocations per push", n)
	}
}

func (f *Feed) turnNow() turn {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.turn
}

func TestPipeWithoutDescriptorIsFedByThePump(t *testing.T) {
	p := primaryWith(t, 10)
	feed, err := p.feeds.Accept(&Handshake{PSYNC2: true}, psyncArgs(p))
	if err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- feed.Run(context.Background(), there, resp.NewReader(resp.DefaultLimits())) }()
	in := resp.NewReplyReader(here)
	if line, err := in.ReadLine(); err != nil || string(line) != "+CONTINUE "+rid("1") {
		t.Fatal(string(line), err)
	}
	waitFor(t, "the replica", func() bool { return p.feeds.Online() == 1 })
	p.write("SET a 1")
	want := string(stream("SET a 1"))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(in, got); err != nil || string(got) != want {
		t.Fatal(string(got), err)
	}
	here.Close()
	if err := <-done; err == nil {
		t.Error("no reason for the end")
	}
}

func TestFloorAndLettingGo(t *testing.T) {
	p := primaryWith(t, 10)
	if f := p.feeds.Floor(p.log.End()); f != math.MaxInt64 {
		t.Fatalf("floor %d without replicas", f)
	}
	release := p.feeds.Pin(3)
	if f := p.feeds.Floor(p.log.End()); f != 3 {
		t.Fatalf("floor %d with a pin", f)
	}
	release()
	release()
	slow := follower(t, p)
	at := p.log.End()
	waitFor(t, "the replica", func() bool { return p.feeds.Online() == 1 })
	p.write("SET k " + strings.Repeat("x", 5000))
	if f := p.feeds.Floor(p.log.End()); f != at {
		t.Fatalf("floor %d, the replica has acknowledged %d", f, at)
	}
	slow.send("REPLCONF", "ACK", fmt.Sprint(p.log.End()))
	waitFor(t, "the acknowledgement", func() bool { return p.feeds.Floor(p.log.End()) == p.log.End() })
	opt := DefaultOptions()
	opt.MaxHold = 4000
	p.feeds.SetOptions(opt)
	p.write("SET k " + strings.Repeat("x", 5000))
	if f := p.feeds.Floor(p.log.End()); f != math.MaxInt64 {
		t.Fatalf("floor %d, the replica should be let go", f)
	}
	slow.closed()
	if s := p.feeds.Stats(); s.LetGo != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestFeedBehindTheTrimIsDropped(t *testing.T) {
	p := primaryWith(t, 10)
	slow := follower(t, p)
	waitFor(t, "the replica", func() bool { return p.feeds.Online() == 1 })
	line := "SET k " + strings.Repeat("x", 64<<10)
	for range 400 { // 26 MB
		p.write(line)
	}
	p.log.trim(p.log.End())
	slow.closed()
	waitFor(t, "the feed to go", func() bool { return len(p.feeds.Snapshot()) == 0 })
	if s := p.feeds.Stats(); s.LetGo != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestSameNodeAgainReplacesItsFeed(t *testing.T) {
	p, r := primaryWith(t, 10), newTestNode(t, "r")
	r.follow(p, nil)
	r.sameAs(p)
	// A half-open connection of the same node must not be counted as a second replica.
	hs := &Handshake{Hello: &Hello{Version: 1, Format: 1, Node: "r", Reigns: p.reigns}}
	feed, err := p.feeds.Accept(hs, psyncArgs(p))
	if err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	defer here.Close()
	go func() { _, _ = io.Copy(io.Discard, here) }()
	done := make(chan error, 1)
	go func() { done <- feed.Run(context.Background(), there, resp.NewReader(resp.DefaultLimits())) }()
	if err := <-done; !errors.Is(err, errReplaced) { // the link comes back and replaces it in turn
		t.Fatalf("ended with %v", err)
	}
	waitFor(t, "one feed", func() bool { return p.feeds.Online() == 1 && len(p.feeds.Snapshot()) == 1 })
	p.write("SET a 1")
	r.sameAs(p)
}

func TestAcceptedBeforeARoleChangeDoesNotStartAfterIt(t *testing.T) {
	p := primaryWith(t, 10)
	feed, err := p.feeds.Accept(&Handshake{}, psyncArgs(p))
	if err != nil {
		t.Fatal(err)
	}
	p.feeds.DisconnectAll(ErrDisconnected)
	here, there := net.Pipe()
	defer here.Close()
	err = feed.Run(context.Background(), there, resp.NewReader(resp.DefaultLimits()))
	if !errors.Is(err, ErrDisconnected) {
		t.Fatalf("Run: %v", err)
	}
}

func TestRoleChangeReleasesWaiters(t *testing.T) {
	p, r := primaryWith(t, 10), newTestNode(t, "r")
	r.follow(p, nil)
	r.sameAs(p)
	done := make(chan int, 1)
	go func() { done <- p.feeds.WaitAcked(context.Background(), p.log.End()+100, 1, false) }()
	waitFor(t, "the waiter", func() bool {
		p.feeds.acks.mu.Lock()
		defer p.feeds.acks.mu.Unlock()
		return len(p.feeds.acks.mu.queues) == 1
	})
	p.feeds.DisconnectAll(ErrDisconnected)
	if n := <-done; n != 0 {
		t.Errorf("returned %d", n)
	}
}

func TestKeepaliveAndSilence(t *testing.T) {
	t.Parallel()
	p := primaryWith(t, 1)
	opt := DefaultOptions()
	opt.PingPeriod, opt.Timeout = 50*time.Millisecond, time.Second
	p.feeds.SetOptions(opt)
	r := follower(t, p)
	want := string(stream("PING"))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r.in, got); err != nil || string(got) != want {
		t.Fatalf("%q %v", got, err)
	}
	// It says nothing: dropped after the timeout.
	r.closed()
	waitFor(t, "the feed to go", func() bool { return p.feeds.Online() == 0 })
	n := p.count(&p.pings)
	pause(4 * opt.PingPeriod)
	if m := p.count(&p.pings); m != n {
		t.Errorf("%d keepalives into the stream without a replica", m-n)
	}
}

func BenchmarkPush(b *testing.B) {
	for _, size := range []int{200, 8 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := newTestNode(b, "p")
			p.reign("1")
			p.write("SET a 1")
			conn, err := net.Dial("tcp", p.ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(resp.AppendCommand(nil, psyncArgs(p)...)); err != nil {
				b.Fatal(err)
			}
			go func() { _, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{conn}, make([]byte, 1<<20)) }()
			waitFor(b, "the replica", func() bool { return p.feeds.Online() == 1 })
			raw := make([]byte, size)
			feed := (*p.feeds.online.Load())[0]
			log := &countLog{end: p.log.End()}
			feed.st.Log = log
			b.ReportAllocs()
			b.SetBytes(int64(size))
			b.ResetTimer()
			for range b.N {
				start := log.end
				log.end += replog.Offset(size)
				p.feeds.Push(start, raw)
			}
		})
	}
}

// countLog is a log of zeros without storage, for measuring.
type countLog struct{ end replog.Offset }

func (l *countLog) Start() replog.Offset  { return 0 }
func (l *countLog) End() replog.Offset    { return l.end }
func (l *countLog) Synced() replog.Offset { return l.end }
func (l *countLog) SumBefore(replog.Offset, int) (uint32, int, error) {
	return 0, 0, errors.New("no sum")
}
func (l *countLog) ReadAt(p []byte, off replog.Offset) (int, error) {
	n := min(int(l.end-off), len(p))
	clear(p[:n])
	return n, nil
}

// BenchmarkSyncWrite is one write at a time that waits until a replica has it in its log.
func BenchmarkSyncWrite(b *testing.B) {
	p, r := newTestNode(b, "p"), newTestNode(b, "r")
	p.reign("1")
	p.write("SET a 1")
	r.follow(p, nil)
	r.sameAs(p)
	ctx := context.Background()
	for b.Loop() {
		if n := p.feeds.WaitAcked(ctx, p.write("SET key value"), 1, false); n != 1 {
			b.Fatal(n)
		}
	}
}
