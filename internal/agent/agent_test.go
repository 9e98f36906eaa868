package agent_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"haypile/internal/agent"
	"haypile/internal/agent/agenttest"
	"haypile/internal/topology"
)

// dashboard is a scripted dashboard: it grants epoch for as long as granting is set.
type dashboard struct {
	*agent.Client
	beats chan topology.Heartbeat
}

func connect(t *testing.T, f *agenttest.Fleet, addr, id string) *dashboard {
	t.Helper()
	d := &dashboard{beats: make(chan topology.Heartbeat, 1000)}
	c, err := agent.Connect(t.Context(), addr, agent.ClientOptions{
		Hello:       topology.PeerHello{Cluster: "c", Kind: topology.PeerDashboard, ID: id, Secret: f.Secret},
		Dial:        f.Net.DialFrom("d"),
		OnHeartbeat: func(_ *agent.Client, h topology.Heartbeat) { d.beats <- h },
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Client = c
	return d
}

// grantFor answers every heartbeat for a while.
func (d *dashboard) grantFor(dur time.Duration, epoch topology.Epoch) {
	end := time.After(dur)
	for {
		select {
		case h := <-d.beats:
			d.Grant(topology.Grant{Seq: h.Seq, Epoch: epoch})
		case <-end:
			return
		}
	}
}

func (d *dashboard) call(t *testing.T, q topology.Request) (topology.Answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return d.Call(ctx, q)
}

// last is the newest heartbeat that has arrived.
func (d *dashboard) last() (h topology.Heartbeat) {
	h = <-d.beats
	for {
		select {
		case h = <-d.beats:
		default:
			return h
		}
	}
}

func (d *dashboard) open(t *testing.T, epoch topology.Epoch) {
	t.Helper()
	if _, err := d.call(t, topology.Request{Op: topology.OpOpen, Epoch: epoch, Seq: d.last().Seq}); err != nil {
		t.Fatal(err)
	}
}

func members(self topology.NodeID, dashboards ...string) *topology.Members {
	return &topology.Members{Revision: 1, Shard: "s", Self: self, Dashboards: dashboards, Nodes: []topology.Node{
		{ID: "a", Addr: "a:1", AgentAddr: "a:2"}, {ID: "b", Addr: "b:1", AgentAddr: "b:2"}}}
}

// writable counts for how long the node takes writes without a further grant.
func writable(n *agenttest.Node, atMost time.Duration) time.Duration {
	start := time.Now()
	for time.Since(start) < atMost && n.Write() {
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

func TestLeaseEndsWithTheDashboard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := agenttest.NewFleet()
		a := f.Add("a:1", "a:2")
		b := f.Add("b:1", "b:2")
		defer a.Kill()
		d := connect(t, f, "a:2", "d1")
		defer d.Close()
		if !a.Write() {
			t.Fatal("an unmanaged node needs no lease")
		}
		d.call(t, topology.Request{Op: topology.OpMembers, Members: members("a", "d1")})
		d.open(t, 1)
		if !a.Write() {
			t.Fatal("not writable after open")
		}
		d.grantFor(3*time.Second, 1)
		if !a.Write() {
			t.Fatal("not writable while granted")
		}
		b.Kill() // so that there is no failsafe either
		if got := writable(a, 5*time.Second); got < 600*time.Millisecond || got > 910*time.Millisecond {
			t.Fatalf("writable for %v after the last grant, want at most 0.9 leases", got)
		}
		d.grantFor(500*time.Millisecond, 1)
		if !a.Write() {
			t.Fatal("not writable after the grants came back")
		}
	})
}

func TestGrantOfAnotherEpochOrStrangerCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := agenttest.NewFleet()
		a := f.Add("a:1", "a:2")
		defer a.Kill()
		d, x := connect(t, f, "a:2", "d1"), connect(t, f, "a:2", "stranger")
		defer d.Close()
		defer x.Close()
		d.call(t, topology.Request{Op: topology.OpMembers, Members: members("a", "d1")})
		d.open(t, 2)
		time.Sleep(time.Second)
		d.grantFor(300*time.Millisecond, 1)
		d.grantFor(300*time.Millisecond, 3)
		x.last()
		x.grantFor(300*time.Millisecond, 2)
		if a.Write() {
			t.Fatal("writable by grants that must not count")
		}
	})
}

func TestMajorityOfThreeDashboards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := agenttest.NewFleet()
		a := f.Add("a:1", "a:2")
		defer a.Kill()
		d1, d2 := connect(t, f, "a:2", "d1"), connect(t, f, "a:2", "d2")
		defer d1.Close()
		defer d2.Close()
		d1.call(t, topology.Request{Op: topology.OpMembers, Members: members("a", "d1", "d2", "d3")})
		d1.open(t, 1)
		if a.Write() {
			t.Fatal("one of three dashboards is no majority")
		}
		d1.last()
		d2.last()
		go d1.grantFor(2*time.Second, 1)
		d2.grantFor(2*time.Second, 1)
		if !a.Write() {
			t.Fatal("two of three dashboards are a majority")
		}
		time.Sleep(time.Second)
	})
}

func TestFailsafeNeedsAllAndEndsWithAFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := agenttest.NewFleet()
		a, b := f.Add("a:1", "a:2"), f.Add("b:1", "b:2")
		defer a.Kill()
		defer b.Kill()
		d := connect(t, f, "a:2", "d1")
		d.call(t, topology.Request{Op: topology.OpMembers, Members: members("a", "d1")})
		d.open(t, 1)
		db := connect(t, f, "b:2", "d1")
		if _, err := db.call(t, topology.Request{Op: topology.OpFollow, Epoch: 1, Addr: "a:1"}); err != nil {
			t.Fatal(err)
		}
		d.Close()
		if got := writable(a, 20*time.Second); got < 20*time.Second {
			t.Fatalf("stopped after %v although the replica grants", got)
		}
		ans, err := db.call(t, topology.Request{Op: topology.OpFence, Epoch: 2})
		if err != nil {
			t.Fatal(err)
		}
		if ans.Fence.GrantAgeMs > 600 {
			t.Fatalf("grant age %d ms", ans.Fence.GrantAgeMs)
		}
		rest := time.Second*11/10 - time.Duration(ans.Fence.GrantAgeMs)*time.Millisecond
		if got := writable(a, 20*time.Second); got > rest {
			t.Fatalf("writable for %v, the fence answer promised %v", got, rest)
		}
		db.Close()
	})
}

func TestLateOpenIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := agenttest.NewFleet()
		a := f.Add("a:1", "a:2")
		defer a.Kill()
		d := connect(t, f, "a:2", "d1")
		defer d.Close()
		h := d.last()
		time.Sleep(950 * time.Millisecond)
		if _, err := d.call(t, topology.Request{Op: topology.OpOpen, Epoch: 1, Seq: h.Seq}); err == nil {
			t.Fatal("an order to open older than a lease was obeyed")
		}
		if _, err := d.call(t, topology.Request{Op: topology.OpOpen, Epoch: 1, Seq: 10000}); err == nil {
			t.Fatal("an order to open on a heartbeat never sent was obeyed")
		}
		d.open(t, 5)
		_, err := d.call(t, topology.Request{Op: topology.OpFence, Epoch: 4})
		var e *topology.AnswerError
		if !errors.As(err, &e) || e.Code != topology.CodeStaleEpoch {
			t.Fatalf("fence below the promise: %v", err)
		}
	})
}

func TestHelloRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := agenttest.NewFleet()
		f.Secret = "sesame"
		a := f.Add("a:1", "a:2")
		defer a.Kill()
		_, err := agent.Connect(t.Context(), "a:2", agent.ClientOptions{
			Hello: topology.PeerHello{Kind: topology.PeerDashboard, ID: "d", Secret: "wrong"},
			Dial:  f.Net.DialFrom("d")})
		if err == nil || !strings.Contains(err.Error(), "wrong secret") {
			t.Fatalf("got %v", err)
		}
	})
}

// TestGarbage sends bytes over a real socket: the agent must cut the connection and stay in service.
func TestGarbage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := agenttest.NewFleet()
	n := f.Add("a:1", "a:2")
	defer n.Kill()
	a := agent.Start(agent.Options{Node: n, Listener: l})
	defer a.Close()
	hello := `{"hello":{"protocol":1,"kind":"dashboard","id":"d"}}` + "\n"
	for name, in := range map[string]string{
		"not json":     "GET / HTTP/1.1\r\n\r\n",
		"no hello":     `{"grant":{"seq":1,"epoch":1}}` + "\n",
		"too long":     hello + strings.Repeat("x", topology.MaxFrame+8192),
		"late garbage": hello + "]\n",
		"protocol 0":   `{"hello":{"kind":"dashboard","id":"d"}}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			go c.Write([]byte(in))
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			buf := make([]byte, 1<<16)
			for {
				if _, err := c.Read(buf); err != nil {
					if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errTimeout(err)) {
						t.Fatal("connection was not cut")
					}
					return
				}
			}
		})
	}
	c, err := agent.Connect(t.Context(), l.Addr().String(), agent.ClientOptions{
		Hello: topology.PeerHello{Kind: topology.PeerDashboard, ID: "d"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if ans, err := c.Call(ctx, topology.Request{Op: topology.OpStatus}); err != nil || ans.Report.RunID == "" {
		t.Fatalf("%+v, %v", ans, err)
	}
	if _, err := c.Call(ctx, topology.Request{Op: "dance"}); err == nil {
		t.Fatal("unknown request accepted")
	}
}

// errTimeout returns err if it is a time-out, so that errors.Is matches it.
func errTimeout(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return err
	}
	return errors.New("no time-out")
}
