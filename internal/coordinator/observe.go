package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"haypile/internal/agent"
	"haypile/internal/topology"
)

const (
	dialTimeout = 500 * time.Millisecond
	redialFirst = 20 * time.Millisecond
	redialMax   = 250 * time.Millisecond
)

// fleet holds one connection to each node's agent: it collects reports and answers heartbeats with leases.
// Per node one goroutine dials and watches, and the connection's reader delivers heartbeats. The mutex is a
// leaf; nothing is sent or awaited under it.
type fleet struct {
	cfg   Config
	hello topology.PeerHello
	dial  agent.DialFunc
	log   *slog.Logger
	wg    sync.WaitGroup

	mu struct {
		sync.Mutex
		started      time.Time
		nodes        map[topology.NodeID]*watched
		lastFailover map[topology.ShardID]time.Time
		changed      chan struct{} // closed and replaced with each change
		// fresh is until when this dashboard may grant: what it knows of the metastore is not older than
		// that minus freshFor. It bounds for how long one that is cut off from the metastore goes on.
		fresh time.Time
	}
}

// watched is a node under observation. All fields but node and cancel are under fleet.mu.
type watched struct {
	node   topology.Node
	cancel context.CancelFunc

	view       NodeView
	client     *agent.Client
	members    topology.Members
	newMembers chan struct{} // room for one: members has changed
	// allowed are the epochs in which the node may hold the lease; below floor none is ever granted again.
	allowed []topology.Epoch
	floor   topology.Epoch
	granted time.Time // when a lease was last granted; the start of the observation if never
}

func newFleet(cfg Config, hello topology.PeerHello, dial agent.DialFunc, log *slog.Logger) *fleet {
	f := &fleet{cfg: cfg, hello: hello, dial: dial, log: log}
	f.mu.started = time.Now()
	f.mu.nodes = map[topology.NodeID]*watched{}
	f.mu.lastFailover = map[topology.ShardID]time.Time{}
	f.mu.changed = make(chan struct{})
	return f
}

// sync makes the observed nodes, their member lists and the leases that may be granted those of a state.
func (f *fleet) sync(ctx context.Context, st *State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keep := map[topology.NodeID]bool{}
	for i := range st.Cluster.Shards {
		s := &st.Cluster.Shards[i]
		for _, n := range s.Nodes {
			keep[n.ID] = true
			w := f.mu.nodes[n.ID]
			if w != nil && w.node.AgentAddr != n.AgentAddr {
				w.cancel()
				w = nil
			}
			if w == nil {
				w = f.startLocked(ctx, n)
			}
			w.allowed = allowed(st, s, n.ID)
			if j, ok := st.Journal[s.ID]; ok && j.Kind == Failover {
				w.floor = max(w.floor, j.Epoch)
			}
			m := topology.Members{Revision: st.Cluster.Revision, Shard: s.ID, Self: n.ID, Nodes: s.Nodes,
				Dashboards: st.Dashboards}
			if m.Revision != w.members.Revision || !slices.Equal(m.Dashboards, w.members.Dashboards) {
				w.members = m
				select {
				case w.newMembers <- struct{}{}:
				default:
				}
			}
		}
	}
	for id, w := range f.mu.nodes {
		if !keep[id] {
			w.cancel()
			delete(f.mu.nodes, id)
		}
	}
	f.changedLocked()
}

// allowed are the epochs in which a node may hold the lease of its shard.
func allowed(st *State, s *topology.Shard, id topology.NodeID) (es []topology.Epoch) {
	j, planned := st.Journal[s.ID]
	if s.Primary == id && !(planned && j.Kind == Failover) {
		es = append(es, s.Epoch)
	}
	if planned && j.Target == id {
		es = append(es, j.Epoch)
	}
	return es
}

func (f *fleet) startLocked(ctx context.Context, n topology.Node) *watched {
	ctx, cancel := context.WithCancel(ctx)
	w := &watched{node: n, cancel: cancel, newMembers: make(chan struct{}, 1), granted: time.Now()}
	w.view = NodeView{Conn: ConnDialing, Since: time.Now()}
	f.mu.nodes[n.ID] = w
	f.wg.Go(func() { f.watch(ctx, w) })
	return w
}

func (f *fleet) changedLocked() {
	close(f.mu.changed)
	f.mu.changed = make(chan struct{})
}

// watch keeps a connection to one node until ctx ends.
func (f *fleet) watch(ctx context.Context, w *watched) {
	wait := redialFirst
	for ctx.Err() == nil {
		dctx, cancel := context.WithTimeout(ctx, dialTimeout)
		c, err := agent.Connect(dctx, w.node.AgentAddr, agent.ClientOptions{Hello: f.hello, Dial: f.dial,
			OnHeartbeat: func(c *agent.Client, h topology.Heartbeat) { f.heard(w, c, h) }})
		cancel()
		if err != nil {
			state := ConnDialing
			if errors.Is(err, syscall.ECONNREFUSED) {
				state = ConnRefused
			}
			f.setConn(w, nil, state, err)
		} else {
			f.setConn(w, c, ConnUp, nil)
			wait = redialFirst
			err = f.attend(ctx, w, c)
			c.Close()
			state := ConnLost
			if errors.Is(err, errSilent) {
				state = ConnDialing
			}
			f.setConn(w, nil, state, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(wait*2, redialMax)
	}
}

var errSilent = errors.New("silent")

// attend hands out member lists and returns when the connection ends or has been silent for so long that a
// new one may be better: TCP backs off when a network is cut, and would find its end late.
func (f *fleet) attend(ctx context.Context, w *watched, c *agent.Client) error {
	patience := max(2*time.Second, 2*f.cfg.DownAfter)
	t := time.NewTicker(patience / 4)
	defer t.Stop()
	connected := time.Now()
	for {
		select {
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			return ctx.Err()
		case <-w.newMembers:
			f.mu.Lock()
			m := w.members
			f.mu.Unlock()
			mctx, cancel := context.WithTimeout(ctx, f.cfg.DownAfter)
			if _, err := c.Call(mctx, topology.Request{Op: topology.OpMembers, Members: &m}); err != nil {
				f.log.Debug("members not delivered", "node", w.node.ID, "err", err)
			}
			cancel()
		case <-t.C:
			f.mu.Lock()
			heard := w.view.Heard
			f.mu.Unlock()
			if heard.Before(connected) {
				heard = connected
			}
			if time.Since(heard) > patience {
				return errSilent
			}
		}
	}
}

func (f *fleet) setConn(w *watched, c *agent.Client, s ConnState, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c != nil {
		// Every connection begins with the members; a process that has restarted knows none.
		select {
		case w.newMembers <- struct{}{}:
		default:
		}
	}
	w.client = c
	if w.view.Conn != s {
		f.log.Debug("agent connection", "node", w.node.ID, "state", s, "err", err)
		w.view.Conn, w.view.Since = s, time.Now()
	}
	w.view.Error = ""
	if err != nil {
		w.view.Error = err.Error()
	}
	f.changedLocked()
}

// heard takes a heartbeat and answers it with a grant if the node may hold the lease.
func (f *fleet) heard(w *watched, c *agent.Client, h topology.Heartbeat) {
	r := &h.Report
	f.mu.Lock()
	now := time.Now()
	w.view.Report, w.view.Heard, w.view.Seq = r, now, h.Seq
	grant := r.Role == topology.RolePrimary && !r.Pending && now.Before(f.mu.fresh) &&
		r.Epoch >= w.floor && slices.Contains(w.allowed, r.Epoch)
	if grant {
		// Noted before it is sent, and the node counts from before now: the note is never too early.
		w.granted = now
	}
	f.changedLocked()
	f.mu.Unlock()
	if grant {
		c.Grant(topology.Grant{Seq: h.Seq, Epoch: r.Epoch})
	}
}

// view is a snapshot, with a channel that is closed when there is a newer one.
func (f *fleet) view() (*View, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := &View{Started: f.mu.started, Nodes: make(map[topology.NodeID]NodeView, len(f.mu.nodes)),
		LastFailover: maps.Clone(f.mu.lastFailover)}
	for id, w := range f.mu.nodes {
		v.Nodes[id] = w.view
	}
	return v, f.mu.changed
}

var errNotConnected = errors.New("not connected")

// call sends a request to a node.
func (f *fleet) call(ctx context.Context, id topology.NodeID, q topology.Request) (topology.Answer, error) {
	f.mu.Lock()
	var c *agent.Client
	if w := f.mu.nodes[id]; w != nil {
		c = w.client
	}
	f.mu.Unlock()
	if c == nil {
		return topology.Answer{}, errNotConnected
	}
	return c.Call(ctx, q)
}

// members is the current member list of a node's shard as it is sent to that node.
func (f *fleet) members(id topology.NodeID) topology.Members {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.mu.nodes[id]; w != nil {
		return w.members
	}
	return topology.Members{}
}

// allow adds an epoch in which a node may hold the lease, ahead of the state that will say so.
func (f *fleet) allow(id topology.NodeID, e topology.Epoch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.mu.nodes[id]; w != nil && !slices.Contains(w.allowed, e) {
		w.allowed = append(slices.Clone(w.allowed), e)
	}
}

// revoke ends all grants below an epoch, for good: no state that arrives late brings one back.
func (f *fleet) revoke(nodes []topology.Node, e topology.Epoch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range nodes {
		if w := f.mu.nodes[n.ID]; w != nil {
			w.floor = max(w.floor, e)
		}
	}
}

// lastGrant is when this process last granted the node a lease, at the latest.
func (f *fleet) lastGrant(id topology.NodeID) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.mu.nodes[id]; w != nil {
		return w.granted
	}
	return f.mu.started
}

func (f *fleet) setFresh(until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.fresh = until
}

func (f *fleet) failedOver(id topology.ShardID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.lastFailover[id] = time.Now()
}
