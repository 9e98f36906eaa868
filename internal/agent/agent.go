// Package agent is the node's side of the control plane: it tells dashboards how the node is, holds the
// primary's lease, and carries out what a dashboard asks for (fence, open, follow, park ...).
//
// It has its own listener and goroutines and shares no queue with clients, so that no command, stall or
// pipeline can starve it. It decides nothing about roles; it only keeps the lease, by two ways: the grants
// of a majority of the dashboards, or (failsafe, when the dashboards are gone) of all other members of the
// shard. Both count from when this node sent the question, on its own monotonic clock.
//
// Why the failsafe is safe: a dashboard promotes a replica only after that replica has answered a fence,
// and one that has answered a fence grants nothing any more. Without that replica the set isn't complete.
//
// Goroutines: one accepts; per connection one reads and one writes, one sends heartbeats to a dashboard,
// and at most maxRequests carry out requests; one renews the failsafe lease, with one client per other
// member. All end with Close. One mutex, Agent.mu, is a leaf: nothing blocks or calls the Node under it,
// except Node.SetLease, which must not block, so that leases reach the node in order.
package agent

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"haypile/internal/topology"
)

const (
	// DefaultHeartbeat is the interval of heartbeats.
	DefaultHeartbeat = 100 * time.Millisecond
	// DefaultLease is the length of a lease. Every node and dashboard of a cluster must agree on it.
	DefaultLease = time.Second

	helloTimeout   = 5 * time.Second
	requestTimeout = 5 * time.Second // where the request names none
	maxConns       = 64
	maxRequests    = 16 // carried out at the same time, per connection
)

// Options configure an Agent.
type Options struct {
	Node     Node
	Listener net.Listener // of the agent port; the agent closes it
	// Cluster, if set, is the only cluster whose hello is accepted; Secret, if set, must be in it.
	Cluster string
	Secret  string

	Heartbeat time.Duration // DefaultHeartbeat if 0
	Lease     time.Duration // DefaultLease if 0
	Logger    *slog.Logger
	// Dial reaches the other members' agents; a net.Dialer if nil.
	Dial DialFunc
}

// DialFunc opens a connection.
type DialFunc func(ctx context.Context, addr string) (net.Conn, error)

// Agent serves the agent port of one node.
type Agent struct {
	opt    Options
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu struct {
		sync.Mutex
		conns   map[*serverConn]struct{}
		lease   leaseState
		members topology.Members
		closed  bool
	}
}

// Start begins to serve. The agent must be started before the node recovers its data and closed after
// everything else of the node: to a dashboard a refused agent port means a dead process.
func Start(opt Options) *Agent {
	if opt.Heartbeat <= 0 {
		opt.Heartbeat = DefaultHeartbeat
	}
	if opt.Lease <= 0 {
		opt.Lease = DefaultLease
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Dial == nil {
		opt.Dial = dialTCP
	}
	a := &Agent{opt: opt, log: opt.Logger}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.mu.conns = map[*serverConn]struct{}{}
	a.mu.lease = leaseState{length: opt.Lease, lastGranted: time.Now(), grants: map[string]grant{}}
	a.wg.Add(2)
	go a.accept()
	go a.keepFailsafe()
	return a
}

// Addr is the address of the agent port.
func (a *Agent) Addr() net.Addr { return a.opt.Listener.Addr() }

// Close stops the agent and waits for its goroutines; requests under way are cancelled.
func (a *Agent) Close() {
	a.mu.Lock()
	a.mu.closed = true
	for c := range a.mu.conns {
		c.lc.close()
	}
	a.mu.Unlock()
	a.cancel()
	a.opt.Listener.Close()
	a.wg.Wait()
}

// Kick sends a heartbeat to every dashboard now: the node calls it after a change that a dashboard waits
// for (link up or lost, disk full, failure). It doesn't block.
func (a *Agent) Kick() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.mu.conns {
		select {
		case c.kick <- struct{}{}:
		default:
		}
	}
}

func (a *Agent) accept() {
	defer a.wg.Done()
	for {
		nc, err := a.opt.Listener.Accept()
		if err != nil {
			if a.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, mostly: leave the others a moment to finish.
			select {
			case <-time.After(50 * time.Millisecond):
				continue
			case <-a.ctx.Done():
				return
			}
		}
		c := &serverConn{a: a, lc: newLineConn(nc), kick: make(chan struct{}, 1)}
		a.mu.Lock()
		full := a.mu.closed || len(a.mu.conns) >= maxConns
		if !full {
			a.mu.conns[c] = struct{}{}
			a.wg.Add(1)
		}
		a.mu.Unlock()
		if full {
			c.lc.close()
			continue
		}
		go c.serve()
	}
}

// report is the node's report completed by what the agent knows.
func (a *Agent) report() topology.NodeReport {
	r := a.opt.Node.Report()
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	r.NodeID, r.Members = a.mu.members.Self, a.mu.members.Revision
	r.LeaseMs = -1
	if needsLease(r) {
		r.LeaseMs = max(0, a.mu.lease.until(r.Epoch).Sub(now).Milliseconds())
	}
	return r
}

func needsLease(r topology.NodeReport) bool {
	return r.Managed && r.Role == topology.RolePrimary && !r.Pending && r.Promised == r.Epoch
}

// serverConn is one accepted connection. Its heartbeats are numbered from 1.
type serverConn struct {
	a    *Agent
	lc   *lineConn
	kick chan struct{}
	peer topology.PeerHello

	mu struct {
		sync.Mutex
		seq  uint64
		sent [64]time.Time // when heartbeat seq was sent, at seq%64
	}
}

func (c *serverConn) serve() {
	a := c.a
	defer a.wg.Done()
	ctx, cancel := context.WithCancel(a.ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		c.lc.close()
		wg.Wait()
		a.mu.Lock()
		delete(a.mu.conns, c)
		a.mu.Unlock()
	}()
	wg.Go(func() { c.lc.writeLoop(ctx) })
	if err := c.greet(); err != nil {
		a.log.Warn("agent connection refused", "remote", c.lc.nc.RemoteAddr(), "err", err)
		c.lc.flushAndClose()
		return
	}
	if c.peer.Kind == topology.PeerDashboard {
		wg.Go(func() { c.beat(ctx) })
	}
	slots := make(chan struct{}, maxRequests)
	for {
		var f topology.PeerFrame
		if err := c.lc.read(&f); err != nil {
			a.log.Debug("agent connection ended", "peer", c.peer.ID, "err", err)
			return
		}
		switch {
		case f.Grant != nil && c.peer.Kind == topology.PeerDashboard:
			c.granted(*f.Grant)
		case f.Request != nil:
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			wg.Go(func() {
				defer func() { <-slots }()
				ans := c.carryOut(ctx, f.Request)
				ans.ID = f.Request.ID
				c.lc.write(ctx, topology.AgentFrame{Answer: &ans})
			})
		}
	}
}

// greet reads the hello and answers it.
func (c *serverConn) greet() error {
	opt := &c.a.opt
	c.lc.nc.SetReadDeadline(time.Now().Add(helloTimeout))
	var f topology.PeerFrame
	if err := c.lc.read(&f); err != nil {
		return fmt.Errorf("read hello: %w", err)
	}
	if f.Hello == nil {
		return errors.New("first line is not a hello")
	}
	c.lc.nc.SetReadDeadline(time.Time{})
	c.peer = *f.Hello
	var refuse error
	switch {
	case c.peer.Protocol > topology.AgentProtocol || c.peer.Protocol < 1:
		refuse = fmt.Errorf("agent protocol %d is not spoken here", c.peer.Protocol)
	case opt.Cluster != "" && c.peer.Cluster != opt.Cluster:
		refuse = fmt.Errorf("this node belongs to cluster %q", opt.Cluster)
	case subtle.ConstantTimeCompare([]byte(opt.Secret), []byte(c.peer.Secret)) != 1:
		refuse = errors.New("wrong secret")
	case c.peer.Kind == topology.PeerDashboard && c.peer.ID == "":
		refuse = errors.New("a dashboard needs an id")
	}
	r := opt.Node.Report()
	h := topology.AgentHello{Protocol: topology.AgentProtocol, RunID: r.RunID, Version: r.Version,
		LeaseMs: opt.Lease.Milliseconds()}
	if refuse != nil {
		h.Error = refuse.Error()
	}
	c.lc.write(c.a.ctx, topology.AgentFrame{Hello: &h})
	return refuse
}

// beat sends heartbeats until ctx ends.
func (c *serverConn) beat(ctx context.Context) {
	t := time.NewTicker(c.a.opt.Heartbeat)
	defer t.Stop()
	for {
		r := c.a.report()
		// The lease counts from before the heartbeat leaves, so the time is taken before it is queued.
		c.mu.Lock()
		c.mu.seq++
		seq := c.mu.seq
		c.mu.sent[seq%uint64(len(c.mu.sent))] = time.Now()
		c.mu.Unlock()
		c.lc.write(ctx, topology.AgentFrame{Heartbeat: &topology.Heartbeat{Seq: seq, Report: r}})
		select {
		case <-t.C:
		case <-c.kick:
		case <-ctx.Done():
			return
		}
	}
}

// sentAt is when heartbeat seq was sent; false if it never was or is too long ago to matter.
func (c *serverConn) sentAt(seq uint64) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := uint64(len(c.mu.sent))
	if seq == 0 || seq > c.mu.seq || seq+n <= c.mu.seq {
		return time.Time{}, false
	}
	return c.mu.sent[seq%n], true
}

func (c *serverConn) granted(g topology.Grant) {
	if at, ok := c.sentAt(g.Seq); ok {
		c.a.addGrant(c.peer.ID, g.Epoch, at)
	}
}

// carryOut executes one request; every refusal is an Answer with an Error.
func (c *serverConn) carryOut(ctx context.Context, q *topology.Request) topology.Answer {
	limit := requestTimeout
	if q.TimeoutMs > 0 {
		limit = min(time.Duration(q.TimeoutMs)*time.Millisecond, time.Minute)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ans, err := c.dispatch(ctx, q, limit)
	if err != nil {
		ans = topology.Answer{Error: answerError(err)}
	}
	switch q.Op {
	case topology.OpFence, topology.OpOpen, topology.OpFollow, topology.OpPark, topology.OpUnpark:
		c.a.log.Info("agent request", "op", q.Op, "epoch", q.Epoch, "addr", q.Addr, "peer", c.peer.ID, "err", err)
		c.a.Kick()
	}
	return ans
}

func (c *serverConn) dispatch(ctx context.Context, q *topology.Request, limit time.Duration) (
	ans topology.Answer, err error) {
	a, node := c.a, c.a.opt.Node
	switch q.Op {
	case topology.OpStatus:
		r := a.report()
		ans.Report = &r
	case topology.OpMembers:
		if q.Members == nil {
			return ans, errors.New("members missing")
		}
		a.setMembers(*q.Members)
	case topology.OpFence:
		a.promise(q.Epoch)
		f, err := node.Fence(ctx, q.Epoch)
		if err != nil {
			return ans, err
		}
		f.GrantAgeMs = a.grantAge().Milliseconds()
		ans.Fence = &f
	case topology.OpOpen:
		return ans, c.open(ctx, q)
	case topology.OpFollow:
		a.promise(q.Epoch)
		return ans, node.Follow(ctx, q.Epoch, q.Addr)
	case topology.OpPark:
		ans.Offset, err = node.Park(ctx, limit)
	case topology.OpUnpark:
		node.Unpark()
	case topology.OpWait:
		ans.Offset, err = q.Offset, node.WaitOffset(ctx, q.Offset)
	case topology.OpGrant:
		return ans, a.grantFailsafe(q.Epoch)
	default:
		return ans, fmt.Errorf("unknown request %q", q.Op)
	}
	return ans, err
}

// open opens the node if the dashboard's knowledge of it is younger than a lease. An order that lay in a
// socket while another dashboard took over must not open anything: the other one has waited for leases
// only.
func (c *serverConn) open(ctx context.Context, q *topology.Request) error {
	at, ok := c.sentAt(q.Seq)
	if !ok || time.Since(at) > c.a.opt.Lease*9/10 {
		return fmt.Errorf("order to open is older than a lease")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.a.promise(q.Epoch)
	if err := c.a.opt.Node.Open(ctx, q.Epoch); err != nil {
		return err
	}
	c.a.addGrant(c.peer.ID, q.Epoch, at)
	return nil
}

// setMembers takes a member list if it is newer.
func (a *Agent) setMembers(m topology.Members) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.Revision <= a.mu.members.Revision {
		return
	}
	m.Nodes, m.Dashboards = slices.Clone(m.Nodes), slices.Clone(m.Dashboards)
	a.mu.members = m
}

func answerError(err error) *topology.AnswerError {
	var e *topology.AnswerError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, ErrStaleEpoch):
		return &topology.AnswerError{Code: topology.CodeStaleEpoch, Text: err.Error()}
	case errors.Is(err, ErrWrongRole):
		return &topology.AnswerError{Code: topology.CodeWrongRole, Text: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &topology.AnswerError{Code: topology.CodeTimeout, Text: err.Error()}
	}
	return &topology.AnswerError{Code: topology.CodeRefused, Text: err.Error()}
}
