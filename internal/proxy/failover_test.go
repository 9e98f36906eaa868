package proxy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/resp"
)

// async runs a command and delivers its reply.
func (c *testClient) async(line string) chan string {
	ch := make(chan string, 1)
	go func() { ch <- c.do(line) }()
	return ch
}

func receive(t *testing.T, ch chan string, within time.Duration) string {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(within):
		t.Fatalf("no reply within %v", within)
		return ""
	}
}

func (p *testProxy) waitHeld(n int64) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%d held requests", n), func() bool { return p.held.count.Load() == n })
}

// waitDisconnected waits until the proxy has noticed that the primary is dead: before, a request would be in
// flight to it.
func (p *testProxy) waitDisconnected() {
	p.t.Helper()
	sh := p.shardOf("s1")
	eventually(p.t, "no connections", func() bool {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		return len(sh.mu.target.conns) == 0
	})
}

func (p *testProxy) heldNothing() {
	p.t.Helper()
	if n, b := p.held.count.Load(), p.held.bytes.Load(); n != 0 || b != 0 {
		p.t.Errorf("%d requests, %d bytes still counted as held", n, b)
	}
}

func TestHoldWhileThereIsNoPrimary(t *testing.T) {
	store := newFakeStore()
	a, b := startFake(t, store), startFake(t, store)
	p := startProxy(t, clusterOf(1, a.addr()), nil)
	c := p.client()
	c.want("SET k 1", "OK")
	a.kill()
	p.waitDisconnected()
	ch := c.async("INCR k")
	p.waitHeld(1)
	p.source.Set(clusterOf(2, ""))
	p.source.Set(clusterOf(3, b.addr()))
	if got := receive(t, ch, time.Second); got != "2" {
		t.Errorf("INCR after the switch: %q", got)
	}
	p.heldNothing()
}

// A fail-over that comes to nothing disturbs nothing: the primary keeps its connections.
func TestPrimaryComesBack(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), nil)
	c, watching := p.client(), p.client()
	watching.want("WATCH k", "OK")
	slow := c.async("DEBUG SLEEP 0.3")
	sh := p.shardOf("s1")
	eventually(t, "the command is in flight", func() bool {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		for conn := range sh.mu.target.conns {
			if conn.taken.Load() > conn.answered.Load() {
				return true
			}
		}
		return false
	})
	p.source.Set(clusterOf(2, ""))
	held := p.client().async("SET other 1")
	p.waitHeld(1)
	p.source.Set(clusterOf(3, r.addr))
	if got := receive(t, slow, 2*time.Second); got != "OK" {
		t.Errorf("command in flight: %q", got)
	}
	if got := receive(t, held, time.Second); got != "OK" {
		t.Errorf("held command: %q", got)
	}
	watching.want("MULTI", "OK")
	watching.want("GET k", "QUEUED")
	watching.want("EXEC", "[nil]")
}

func TestHoldTimeout(t *testing.T) {
	p := startProxy(t, clusterOf(1, ""), func(o *Options) { o.HoldTimeout = 100 * time.Millisecond })
	c := p.client()
	start := time.Now()
	c.want("GET k", "-ERR no primary for shard s1 within 100ms")
	if d := time.Since(start); d < 90*time.Millisecond || d > time.Second {
		t.Errorf("took %v", d)
	}
	c.want("PING", "PONG")
	p.heldNothing()
}

func TestHoldWithoutTopology(t *testing.T) {
	store := newFakeStore()
	a := startFake(t, store)
	p := startProxy(t, nil, nil)
	ch := p.client().async("SET k v")
	c := p.client()
	c.want("PING", "PONG")
	p.source.Set(clusterOf(1, a.addr()))
	if got := receive(t, ch, time.Second); got != "OK" {
		t.Errorf("got %q", got)
	}
}

func TestRefusalsAreHeld(t *testing.T) {
	for _, refusal := range []string{resp.ErrReadOnly, resp.ErrLoading, resp.ErrMasterDown, resp.ErrLeaseLost} {
		t.Run(strings.Fields(refusal)[0], func(t *testing.T) {
			store := newFakeStore()
			a, b := startFake(t, store), startFake(t, store)
			p := startProxy(t, clusterOf(1, a.addr()), nil)
			c := p.client()
			c.want("SET k 1", "OK")
			a.set(func(n *fakeNode) { n.refusal = refusal })
			ch := c.async("INCR k")
			p.waitHeld(1)
			p.source.Set(clusterOf(2, b.addr()))
			if got := receive(t, ch, time.Second); got != "2" {
				t.Errorf("INCR: %q", got)
			}
			// The same node comes back.
			b.set(func(n *fakeNode) { n.refusal = refusal })
			ch = c.async("INCR k")
			p.waitHeld(1)
			b.set(func(n *fakeNode) { n.refusal = "" })
			if got := receive(t, ch, time.Second); got != "3" {
				t.Errorf("INCR: %q", got)
			}
			p.heldNothing()
		})
	}
}

// A new primary whose replicas are still on their way is waited for, one that lost them is not.
func TestLackOfReplicas(t *testing.T) {
	store := newFakeStore()
	a := startFake(t, store)
	p := startProxy(t, clusterOf(1, a.addr()), nil)
	a.set(func(n *fakeNode) { n.refusal = resp.ErrNoReplicas })
	c := p.client()
	ch := c.async("INCR k")
	p.waitHeld(1)
	a.set(func(n *fakeNode) { n.refusal = "" })
	if got := receive(t, ch, time.Second); got != "1" {
		t.Errorf("INCR: %q", got)
	}
	sh := p.shardOf("s1")
	sh.mu.Lock()
	sh.mu.target.since = time.Now().Add(-settleTime)
	sh.mu.Unlock()
	a.set(func(n *fakeNode) { n.refusal = resp.ErrNoReplicas })
	c.want("INCR k", "-"+resp.ErrNoReplicas)
}

// An error that begins like a refusal but tells of a command that was executed is the client's.
func TestWhatLooksLikeARefusal(t *testing.T) {
	for _, text := range []string{
		"READONLY the write was applied and cannot be confirmed", "NOREPLICAS applied here, not confirmed",
		"LOADING is what the script said",
	} {
		store := newFakeStore()
		a := startFake(t, store)
		p := startProxy(t, clusterOf(1, a.addr()), nil)
		a.set(func(n *fakeNode) { n.refusal = text })
		p.client().want("INCR k", "-"+text)
	}
}

// A later request of a client must not overtake one that was refused, even if the node would execute it.
func TestRefusalKeepsOrder(t *testing.T) {
	store := newFakeStore()
	a, b := startFake(t, store), startFake(t, store)
	p := startProxy(t, clusterOf(1, a.addr()), nil)
	c := p.client()
	c.want("SET k old", "OK")
	a.set(func(n *fakeNode) { n.replica = true })
	done := make(chan []resp.Value, 1)
	go func() {
		vs, err := c.Pipeline(context.Background(), [][]any{
			{"SET", "k", "new"}, {"GET", "k"}, {"APPEND", "k", "er"}, {"GET", "k"}})
		if err != nil {
			t.Error(err)
		}
		done <- vs
	}()
	p.waitHeld(4)
	p.source.Set(clusterOf(2, b.addr()))
	vs := <-done
	got := ""
	for _, v := range vs {
		got += show(v) + " "
	}
	if got != "OK new 5 newer " {
		t.Errorf("got %q", got)
	}
}

func TestInFlightWriteIsNeverSentTwice(t *testing.T) {
	store := newFakeStore()
	a, b := startFake(t, store), startFake(t, store)
	p := startProxy(t, clusterOf(1, a.addr()), nil)
	c := p.client()
	c.want("SET n 0", "OK")
	a.set(func(n *fakeNode) { n.mute["INCR"] = true })
	ch := c.async("INCR n")
	eventually(t, "the node has the INCR", func() bool { return len(store.log()) == 2 })
	a.kill()
	p.source.Set(clusterOf(2, b.addr()))
	if got := receive(t, ch, time.Second); got != strings.TrimSpace(replyLost) {
		t.Errorf("got %q", got)
	}
	c.want("GET n", "1")
}

func TestInFlightReadIsRepeatedOnce(t *testing.T) {
	store := newFakeStore()
	a, b, d := startFake(t, store), startFake(t, store), startFake(t, store)
	p := startProxy(t, clusterOf(1, a.addr()), nil)
	c := p.client()
	c.want("SET k v", "OK")
	a.set(func(n *fakeNode) { n.mute["GET"] = true })
	ch := c.async("GET k")
	eventually(t, "the node has the GET", func() bool { return len(store.log()) == 2 })
	p.source.Set(clusterOf(2, b.addr()))
	if got := receive(t, ch, time.Second); got != "v" {
		t.Errorf("got %q", got)
	}
	// Twice is enough.
	b.set(func(n *fakeNode) { n.mute["GET"] = true })
	d.set(func(n *fakeNode) { n.mute["GET"] = true })
	ch = c.async("GET k")
	eventually(t, "the node has the GET", func() bool { return len(store.log()) == 4 })
	p.source.Set(clusterOf(3, d.addr()))
	eventually(t, "the next node has the GET", func() bool { return len(store.log()) == 5 })
	p.source.Set(clusterOf(4, a.addr()))
	if got := receive(t, ch, time.Second); got != strings.TrimSpace(replyLostRead) {
		t.Errorf("got %q", got)
	}
}

// A read in flight is not repeated behind a write that may have been executed after it.
func TestLostReadBeforeLostWrite(t *testing.T) {
	store := newFakeStore()
	a, b := startFake(t, store), startFake(t, store)
	p := startProxy(t, clusterOf(1, a.addr()), nil)
	c := p.client()
	c.want("SET n 0", "OK")
	a.set(func(n *fakeNode) { n.mute["INCR"], n.mute["GET"] = true, true })
	done := make(chan []resp.Value, 1)
	go func() {
		vs, _ := c.Pipeline(context.Background(), [][]any{{"GET", "n"}, {"INCR", "n"}, {"GET", "n"}})
		done <- vs
	}()
	eventually(t, "the node has all", func() bool { return len(store.log()) == 4 })
	a.kill()
	p.source.Set(clusterOf(2, b.addr()))
	vs := <-done
	got := []string{show(vs[0]), show(vs[1]), show(vs[2])}
	want := []string{strings.TrimSpace(replyLostRead), strings.TrimSpace(replyLost), "1"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A node that hangs delays the requests in flight to it by the grace time, and other clients not at all.
func TestHungPrimary(t *testing.T) {
	store := newFakeStore()
	a, b := startFake(t, store), startFake(t, store)
	p := startProxy(t, clusterOf(1, a.addr()), nil)
	stuck, waiting, fresh := p.client(), p.client(), p.client()
	for _, c := range []*testClient{stuck, waiting, fresh} {
		c.want("SET k v", "OK")
	}
	a.freeze()
	seen := a.seen
	write, read := stuck.async("SET k w"), waiting.async("GET k")
	eventually(t, "requests are in flight", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.seen >= seen+2
	})
	start := time.Now()
	p.source.Set(clusterOf(2, b.addr()))
	fresh.want("SET other 1", "OK")
	if d := time.Since(start); d > 80*time.Millisecond {
		t.Errorf("a new request waited %v for those in flight", d)
	}
	if got := receive(t, write, time.Second); got != strings.TrimSpace(replyLost) {
		t.Errorf("write in flight: %q", got)
	}
	if got := receive(t, read, time.Second); got != "v" {
		t.Errorf("read in flight: %q", got)
	}
}

func TestBackendTimeout(t *testing.T) {
	store := newFakeStore()
	a := startFake(t, store)
	p := startProxy(t, clusterOf(1, a.addr()), func(o *Options) {
		o.BackendTimeout, o.HoldTimeout = 150*time.Millisecond, 300*time.Millisecond
	})
	c := p.client()
	c.want("SET k v", "OK")
	a.freeze()
	start := time.Now()
	c.want("SET k w", strings.TrimSpace(replyLost))
	if d := time.Since(start); d < 100*time.Millisecond || d > 2*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestOverload(t *testing.T) {
	p := startProxy(t, clusterOf(1, ""), func(o *Options) {
		o.MaxHeld, o.HoldTimeout = 10, 200*time.Millisecond
	})
	c := p.client()
	var cmds [][]any
	for range 25 {
		cmds = append(cmds, []any{"GET", "k"})
	}
	vs, err := c.Pipeline(context.Background(), cmds)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, v := range vs {
		counts[strings.Fields(show(v))[1]]++
	}
	if counts["overloaded:"] != 15 || counts["no"] != 10 {
		t.Errorf("got %v", counts)
	}
	p.heldNothing()
}

func TestOverloadBytes(t *testing.T) {
	p := startProxy(t, clusterOf(1, ""), func(o *Options) {
		o.MaxHeldBytes, o.HoldTimeout = 1<<20, 200*time.Millisecond
	})
	big := strings.Repeat("x", 600<<10)
	first, second := p.client(), p.client()
	ch := make(chan string, 1)
	go func() { ch <- first.doArgs("SET", "k", big) }()
	p.waitHeld(1)
	if got := second.doArgs("SET", "k", big); got != strings.TrimSpace(replyOverload) {
		t.Errorf("got %q", got)
	}
	if got := receive(t, ch, 2*time.Second); !strings.HasPrefix(got, "-ERR no primary") {
		t.Errorf("got %q", got)
	}
	p.heldNothing()
}

// What a hung node does not take is bounded too.
func TestQueueBound(t *testing.T) {
	store := newFakeStore()
	a, b := startFake(t, store), startFake(t, store)
	p := startProxy(t, clusterOf(1, a.addr()), func(o *Options) { o.QueueBytes, o.ConnsPerShard = 4<<20, 1 })
	p.client().want("SET k v", "OK")
	a.freeze()
	big := strings.Repeat("x", 2<<20)
	replies := make(chan string, 20)
	for range cap(replies) {
		c := p.client()
		go func() { replies <- c.doArgs("SET", "k", big) }()
	}
	for range 5 {
		if got := receive(t, replies, 5*time.Second); got != strings.TrimSpace(replyOverload) {
			t.Errorf("got %q", got)
		}
	}
	p.source.Set(clusterOf(2, b.addr()))
	counts := map[string]int{}
	for range cap(replies) - 5 {
		counts[receive(t, replies, 5*time.Second)]++
	}
	// What was queued and not sent goes to the new primary; what was sent has an unknown outcome.
	if counts["OK"] == 0 || counts[strings.TrimSpace(replyLost)] == 0 {
		t.Errorf("got %v", counts)
	}
}

// Clients that are gone leave nothing behind.
func TestHeldRequestsOfLeavingClients(t *testing.T) {
	p := startProxy(t, clusterOf(1, ""), func(o *Options) { o.HoldTimeout = 100 * time.Millisecond })
	for range 20 {
		c := p.client()
		c.Send(context.Background(), "INCR", "n")
		defer c.Close()
	}
	p.waitHeld(20)
	for _, s := range p.sessions() {
		s.close("test")
	}
	p.waitHeld(0)
	eventually(t, "no lane waits", func() bool {
		sh := p.shardOf("s1")
		sh.mu.Lock()
		defer sh.mu.Unlock()
		return len(sh.mu.waiting) == 0
	})
}

// While primaries come and go, each INCR is answered with a number or with an error that says that nothing
// or something unknown happened; the final count agrees with that.
func TestNothingLostNothingTwice(t *testing.T) {
	store := newFakeStore()
	node := startFake(t, store)
	p := startProxy(t, clusterOf(1, node.addr()), nil)
	var stop atomic.Bool
	var wg sync.WaitGroup
	var ok, unknown, other atomic.Int64
	for i := range 8 {
		c := p.client()
		wg.Add(1)
		go func() {
			defer wg.Done()
			last := int64(0)
			for !stop.Load() {
				var cmds [][]any
				for range 1 + i*3 {
					cmds = append(cmds, []any{"INCR", fmt.Sprintf("n%d", i)})
				}
				vs, err := c.Pipeline(context.Background(), cmds)
				if err != nil {
					t.Error(err)
					return
				}
				for _, v := range vs {
					switch {
					case v.Kind == resp.KindInt:
						ok.Add(1)
						if v.Int <= last {
							t.Errorf("client %d: %d after %d: out of order", i, v.Int, last)
						}
						last = v.Int
					case errors.Is(v.Err(), resp.Error(strings.TrimSpace(replyLost[1:]))):
						unknown.Add(1)
					default:
						t.Errorf("client %d: %s", i, show(v))
						other.Add(1)
					}
				}
			}
		}()
	}
	for round := range 12 {
		next := startFake(t, store)
		before := ok.Load()
		eventually(t, "progress", func() bool { return ok.Load() > before+200 })
		switch round % 3 {
		case 0: // dies, and is replaced after a moment
			node.kill()
			p.source.Set(clusterOf(uint64(2*round+2), ""))
		case 1: // planned: refuses first
			node.set(func(n *fakeNode) { n.replica = true })
		case 2: // hangs, the others do not wait
			node.freeze()
		}
		p.source.Set(clusterOf(uint64(2*round+3), next.addr()))
		old := node
		defer old.kill()
		node = next
	}
	stop.Store(true)
	wg.Wait()
	var sum int64
	store.mu.Lock()
	for i := range 8 {
		v, _ := strconv.ParseInt(store.data[fmt.Sprintf("n%d", i)], 10, 64)
		sum += v
	}
	store.mu.Unlock()
	if sum < ok.Load() || sum > ok.Load()+unknown.Load() {
		t.Errorf("%d executed, %d acknowledged, %d unknown", sum, ok.Load(), unknown.Load())
	}
	t.Logf("%d executed, %d acknowledged, %d unknown", sum, ok.Load(), unknown.Load())
	p.heldNothing()
}
