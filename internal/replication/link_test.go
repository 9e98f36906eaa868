package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/replog"
)

func dialWide(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Control: WideReceive}
	return d.DialContext(ctx, "tcp", addr)
}

// stalled makes a replica that has followed and then executes nothing until open is called, and reads nothing
// when more than a little waits to be executed.
func stalled(t *testing.T, p *testNode) (r *testNode, open func()) {
	t.Helper()
	r = newTestNode(t, "r")
	r.tune = func(cfg *LinkConfig) { cfg.MaxBehind = 1 << 10 }
	r.follow(p, dialWide)
	r.sameAs(p)
	gate := make(chan struct{})
	open = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open) // before the node's own clean-up, which waits for the link
	r.mu.Lock()
	r.applyGate = func() { <-gate }
	r.mu.Unlock()
	return r, open
}

// fill writes until the stalled replica's kernel holds a good deal, and returns how far Push has come.
func fill(t *testing.T, p, r *testNode) replog.Offset {
	t.Helper()
	value := strings.Repeat("x", 2000)
	for i := range 300 {
		p.write(fmt.Sprintf("SET key:%d %s", i, value))
	}
	sent := p.log.End()
	waitFor(t, "the bytes to be with the kernel", func() bool {
		f := p.feeds.Snapshot()
		return len(f) == 1 && f[0].Sent == sent
	})
	if at := r.log.End(); sent-at < 300_000 {
		t.Fatalf("the replica has read on to %d of %d: nothing to drain", at, sent)
	}
	return sent
}

// What a primary handed to the kernel before it died is in the log of a replica that is promoted at once,
// although acknowledgements can't be sent any more.
func TestCloseDrainsADeadPrimary(t *testing.T) {
	p := primaryWith(t, 10)
	r, open := stalled(t, p)
	sent := fill(t, p, r)
	p.feeds.DisconnectAll(errors.New("killed"))
	p.ln.Close()
	r.link.Drain()
	if end := r.log.End(); end != sent {
		t.Fatalf("the log ends at %d, sent was up to %d", end, sent)
	}
	if at := r.appliedEnd(); at == sent {
		t.Fatal("Drain waited for the apply")
	}
	open()
	r.link.Close()
	if at := r.appliedEnd(); at != sent {
		t.Fatalf("applied %d of %d when Close returned", at, sent)
	}
	r.sameAs(p)
}

// The same without a promotion: the link reads to the end by itself.
func TestLostConnectionIsReadToItsEnd(t *testing.T) {
	p := primaryWith(t, 10)
	r, open := stalled(t, p)
	sent := fill(t, p, r)
	p.ln.Close()
	p.feeds.DisconnectAll(errors.New("killed"))
	open()
	waitFor(t, "the rest of the stream", func() bool { return r.appliedEnd() == sent })
	waitFor(t, "the link to be down", func() bool { return r.link.Status().State != LinkConnected })
}

// After Drain nothing of a primary that lives on is appended or acknowledged, however much it sends; and a
// stream that never ends does not keep Drain.
func TestDrainOfALivePrimaryEnds(t *testing.T) {
	p, r := primaryWith(t, 10), newTestNode(t, "r")
	r.tune = func(cfg *LinkConfig) { cfg.Drain = 50 * time.Millisecond }
	r.follow(p, nil)
	r.sameAs(p)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := 0; !stop.Load(); i++ {
			p.write(fmt.Sprintf("SET key:%d %s", i%1000, strings.Repeat("x", 1000)))
		}
	}()
	from := r.log.End()
	waitFor(t, "the load", func() bool { return r.log.End() > from+100_000 })
	began := time.Now()
	r.link.Drain()
	took, end := time.Since(began), r.log.End()
	var acked replog.Offset
	for _, f := range p.feeds.Snapshot() {
		acked = max(acked, f.Acked)
	}
	written := p.log.End()
	waitFor(t, "more load", func() bool { return p.log.End() > written+100_000 })
	r.link.Close()
	stop.Store(true)
	wg.Wait()
	if got := r.log.End(); got != end {
		t.Errorf("appended up to %d after Drain returned with %d", got, end)
	}
	if acked > end {
		t.Errorf("acknowledged %d, the log ends at %d", acked, end)
	}
	if at := r.appliedEnd(); at != end {
		t.Errorf("applied %d of %d", at, end)
	}
	if took > 5*time.Second {
		t.Errorf("draining took %v", took)
	}
	r.follow(p, nil)
	r.sameAs(p)
}

// Stop takes nothing more from the connection.
func TestStopDoesNotDrain(t *testing.T) {
	p := primaryWith(t, 10)
	r, open := stalled(t, p)
	sent := fill(t, p, r)
	r.link.Stop()
	r.link.Drain()
	if end := r.log.End(); end >= sent {
		t.Fatalf("the log ends at %d, all that was sent", end)
	}
	open()
	r.link.Close()
	r.follow(p, nil)
	r.sameAs(p)
}

// Reading waits while too much is waiting to be applied, and goes on.
func TestReadingWaitsForTheApplier(t *testing.T) {
	p := primaryWith(t, 10)
	r, open := stalled(t, p)
	sent := fill(t, p, r)
	// No silence: it is the replica that does not read.
	p.write("SET more 1")
	if at := r.log.End(); at >= sent {
		t.Fatalf("read on to %d of %d", at, sent)
	}
	open()
	r.sameAs(p)
	if n := p.feeds.Stats().SyncPartialOK; n != 0 {
		t.Errorf("%d resyncs: the connection was lost meanwhile", n)
	}
}

func TestWaitApplied(t *testing.T) {
	p := primaryWith(t, 10)
	r, open := stalled(t, p)
	off := p.write("SET a 1")
	waitFor(t, "the append", func() bool { return r.log.End() == off })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := r.link.WaitApplied(ctx, off); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("while nothing is applied: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- r.link.WaitApplied(context.Background(), off) }()
	open()
	if err := <-done; err != nil || r.appliedEnd() < off {
		t.Fatalf("%v, applied %d of %d", err, r.appliedEnd(), off)
	}
	go func() { done <- r.link.WaitApplied(context.Background(), off+1) }()
	r.link.Close()
	if err := <-done; !errors.Is(err, ErrLinkEnded) {
		t.Fatalf("of a closed link: %v", err)
	}
}

// An apply error halts the link although the stream goes on behind it, and also if the link is being closed.
func TestApplyErrorBehindTheReader(t *testing.T) {
	p := primaryWith(t, 10)
	r, open := stalled(t, p)
	p.write("SET a 1")
	bad := p.write("DIVERGE now")
	p.write("SET a 2")
	waitFor(t, "the append", func() bool { return r.log.End() > bad })
	open()
	waitFor(t, "the halt", func() bool { return r.link.Status().Halted })
	if at := r.appliedEnd(); at >= bad {
		t.Errorf("applied up to %d, the error is at %d", at, bad)
	}
	r.link.Close()

	p = primaryWith(t, 10)
	r, open = stalled(t, p)
	bad = p.write("DIVERGE now")
	waitFor(t, "the append", func() bool { return r.log.End() == bad })
	r.link.Drain()
	open()
	r.link.Close()
	if st := r.link.Status(); !st.Halted || !errors.Is(st.Err, ErrHalted) {
		t.Errorf("closed with an error: %+v", st)
	}
}
