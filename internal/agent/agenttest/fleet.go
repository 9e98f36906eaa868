package agenttest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"haypile/internal/agent"
	"haypile/internal/topology"
)

// Fleet is a set of model nodes that replicate from each other. A write is one byte of the log; replicas
// that are linked to a node have its log at once.
type Fleet struct {
	Net *Network
	// Cluster options of the agents.
	Secret string

	mu struct {
		sync.Mutex
		nodes map[string]*Node // by client address
		// acked is the longest log, by the epoch it was written in, of which a client has an answer.
		acked map[topology.Epoch]int64
		// opened records who opened in an epoch: never two.
		opened map[topology.Epoch]string
		faults []string
	}
}

// NewFleet makes an empty fleet.
func NewFleet() *Fleet {
	f := &Fleet{Net: NewNetwork()}
	f.mu.nodes = map[string]*Node{}
	f.mu.acked = map[topology.Epoch]int64{}
	f.mu.opened = map[topology.Epoch]string{}
	return f
}

// Node is a model of a data node: it keeps what agent.Node promises. Its process can be killed and started
// again; what a real one has on disk survives.
type Node struct {
	fleet     *Fleet
	Addr      string
	AgentAddr string
	agent     *agent.Agent

	// All below under fleet.mu.
	running bool
	frozen  bool
	runs    int
	// On disk:
	role     topology.Role
	managed  bool
	epoch    topology.Epoch
	promised topology.Epoch
	reigns   []topology.Reign
	end      int64
	primary  string
	// In memory:
	pending     bool
	open        bool
	linked      bool
	broken      bool
	lastLink    time.Time
	parkedUntil time.Time
	leaseEpoch  topology.Epoch
	lease       time.Time
	cutFrom     map[string]bool // addresses its link can't reach
	priority    int
	failOpen    error
	heldOpen    time.Duration
	heldWait    time.Duration
	heldFence   time.Duration
}

// Add makes a node and starts it, empty.
func (f *Fleet) Add(addr, agentAddr string) *Node {
	n := &Node{fleet: f, Addr: addr, AgentAddr: agentAddr, role: topology.RolePrimary, priority: 100,
		cutFrom: map[string]bool{}}
	f.mu.Lock()
	f.mu.nodes[addr] = n
	f.mu.Unlock()
	n.Start()
	return n
}

// Faults are the broken promises seen so far.
func (f *Fleet) Faults() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.mu.faults...)
}

func (f *Fleet) faultLocked(format string, a ...any) {
	f.mu.faults = append(f.mu.faults, fmt.Sprintf(format, a...))
}

// Start starts the node's process. One that was a managed primary is pending.
func (n *Node) Start() {
	f := n.fleet
	f.mu.Lock()
	n.running, n.runs = true, n.runs+1
	n.pending = n.managed && n.role == topology.RolePrimary
	n.open = !n.managed && n.role == topology.RolePrimary
	n.linked, n.broken, n.parkedUntil, n.lease = false, false, time.Time{}, time.Time{}
	f.relinkLocked()
	f.mu.Unlock()
	n.agent = agent.Start(agent.Options{Node: n, Listener: f.Net.Listen(n.AgentAddr), Secret: f.Secret,
		Dial: f.Net.DialFrom(n.AgentAddr)})
}

// Kill ends the process: its connections break, links to it are broken.
func (n *Node) Kill() {
	f := n.fleet
	f.mu.Lock()
	n.running, n.open, n.linked = false, false, false
	f.relinkLocked()
	f.mu.Unlock()
	n.agent.Close()
}

// Freeze stops the process as SIGSTOP does, or lets it go on.
func (n *Node) Freeze(frozen bool) {
	n.fleet.Net.Freeze(n.AgentAddr, frozen)
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	n.frozen = frozen
	n.fleet.relinkLocked()
}

// Cut breaks (or heals) the network between this node's link and another node's client port.
func (n *Node) Cut(from string, cut bool) {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	n.cutFrom[from] = cut
	n.fleet.relinkLocked()
}

// SetPriority sets the node's own replica-priority; FailOpen makes Open fail, HoldOpen makes it slow.
func (n *Node) SetPriority(p int) { n.locked(func() { n.priority = p }) }

// FailOpen makes Open fail with err.
func (n *Node) FailOpen(err error) { n.locked(func() { n.failOpen = err }) }

// HoldOpen delays Open.
func (n *Node) HoldOpen(d time.Duration) { n.locked(func() { n.heldOpen = d }) }

// HoldFence makes Fence fail after d.
func (n *Node) HoldFence(d time.Duration) { n.locked(func() { n.heldFence = d }) }

// HoldWait delays WaitOffset.
func (n *Node) HoldWait(d time.Duration) { n.locked(func() { n.heldWait = d }) }

func (n *Node) locked(f func()) {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	f()
}

// relinkLocked connects every replica whose primary can be reached and serves its epoch, open or fenced.
func (f *Fleet) relinkLocked() {
	for _, n := range f.mu.nodes {
		if !n.running || n.frozen || n.role != topology.RoleReplica || n.primary == "" {
			continue
		}
		p := f.mu.nodes[n.primary]
		was := n.linked
		n.linked = p != nil && p.running && !p.frozen && !n.cutFrom[n.primary] && !p.pending &&
			n.promised == n.epoch && p.promised == n.epoch && len(p.reigns) > 0
		switch {
		case n.linked:
			n.broken = false
		case was && p != nil && !p.frozen && !n.cutFrom[n.primary], p == nil || !p.running:
			n.broken = true
		}
		if was && !n.linked {
			n.lastLink = time.Now()
		}
	}
	// Chains have at most as many steps as there are nodes.
	for range f.mu.nodes {
		for _, n := range f.mu.nodes {
			if n.linked {
				n.copyLocked(f.mu.nodes[n.primary])
			}
		}
	}
}

// copyLocked makes n's log that of p; surplus behind the fork is cut.
func (n *Node) copyLocked(p *Node) {
	n.end, n.reigns = p.end, append([]topology.Reign(nil), p.reigns...)
}

// Write is a client's write of one byte to this node, acknowledged if true.
func (n *Node) Write() bool {
	f := n.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if !n.writableLocked() {
		return false
	}
	n.end++
	f.relinkLocked()
	if n.managed {
		for e := range f.mu.acked {
			if e > n.epoch {
				f.faultLocked("%s acknowledged a write in epoch %d after one in epoch %d", n.Addr, n.epoch, e)
			}
		}
		f.mu.acked[n.epoch] = n.end
	}
	return true
}

// Writable says whether a write would be acknowledged.
func (n *Node) Writable() (ok bool) {
	n.locked(func() { ok = n.writableLocked() })
	return ok
}

func (n *Node) writableLocked() bool {
	now := time.Now()
	return n.running && !n.frozen && n.open && n.role == topology.RolePrimary && n.promised == n.epoch &&
		!now.Before(n.parkedUntil) && (!n.managed || n.leaseEpoch == n.epoch && now.Before(n.lease))
}

// Running says whether the node's process runs.
func (n *Node) Running() (ok bool) {
	n.locked(func() { ok = n.running })
	return ok
}

// End is the end of the node's log.
func (n *Node) End() int64 {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	return n.end
}

// SetEnd makes a replica's log shorter or longer, for tests of the choice.
func (n *Node) SetEnd(end int64) { n.locked(func() { n.end = end }) }

// Following is the address the node replicates from, if its link is up.
func (n *Node) Following() string {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	if n.role == topology.RoleReplica && n.linked {
		return n.primary
	}
	return ""
}

// Report implements agent.Node.
func (n *Node) Report() topology.NodeReport {
	f := n.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	r := topology.NodeReport{RunID: fmt.Sprintf("%s#%d", n.Addr, n.runs), Version: "test", Addr: n.Addr,
		Role: n.role, Pending: n.pending, Managed: n.managed, Epoch: n.epoch, Promised: n.promised,
		Lineage: n.reigns, End: n.end, Durable: n.end, Applied: n.end, Priority: n.priority,
		Parked: time.Now().Before(n.parkedUntil), Keys: n.end}
	r.LogEpoch = n.logEpochLocked()
	if n.role == topology.RoleReplica {
		r.Link = topology.Link{State: topology.LinkDown, Primary: n.primary, AgeMs: -1, Broken: n.broken}
		if !n.lastLink.IsZero() {
			r.Link.AgeMs = time.Since(n.lastLink).Milliseconds()
		}
		if n.linked {
			r.Link.State, r.Link.AgeMs = topology.LinkUp, 0
		}
	}
	for _, m := range f.mu.nodes {
		if m.linked && m.primary == n.Addr {
			r.Replicas = append(r.Replicas, topology.ReplicaReport{Addr: m.Addr, Ack: m.end, Online: true})
		}
	}
	return r
}

func (n *Node) logEpochLocked() topology.Epoch {
	if len(n.reigns) == 0 {
		return 0
	}
	return n.reigns[len(n.reigns)-1].Epoch
}

// Fence implements agent.Node.
func (n *Node) Fence(ctx context.Context, epoch topology.Epoch) (topology.FenceAnswer, error) {
	f := n.fleet
	var hold time.Duration
	if n.locked(func() { hold = n.heldFence }); hold > 0 {
		select {
		case <-time.After(hold):
		case <-ctx.Done():
		}
		return topology.FenceAnswer{}, errors.New("mute")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if epoch < n.promised {
		return topology.FenceAnswer{}, fmt.Errorf("fence %d < %d: %w", epoch, n.promised, agent.ErrStaleEpoch)
	}
	n.promised, n.managed = epoch, true
	if n.epoch < epoch {
		n.open, n.linked = false, false
	}
	f.relinkLocked()
	return topology.FenceAnswer{Role: n.role, Pending: n.pending, Epoch: n.epoch, LogEpoch: n.logEpochLocked(),
		End: n.end, Durable: n.end, Promotable: n.priority > 0}, nil
}

// Open implements agent.Node.
func (n *Node) Open(ctx context.Context, epoch topology.Epoch) error {
	f := n.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if hold := n.heldOpen; hold > 0 {
		f.mu.Unlock()
		select {
		case <-time.After(hold):
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if n.failOpen != nil {
		return n.failOpen
	}
	if epoch < n.promised {
		return fmt.Errorf("open %d < %d: %w", epoch, n.promised, agent.ErrStaleEpoch)
	}
	if n.open && n.epoch == epoch && n.managed {
		return nil
	}
	if who := f.mu.opened[epoch]; who != "" && who != n.Addr {
		f.faultLocked("epoch %d opened by %s and %s", epoch, who, n.Addr)
	}
	f.mu.opened[epoch] = n.Addr
	n.promised, n.epoch, n.managed = epoch, epoch, true
	n.role, n.open, n.pending, n.linked, n.primary = topology.RolePrimary, true, false, false, ""
	n.parkedUntil = time.Time{}
	id := fmt.Sprintf("%s-%d", n.Addr, epoch)
	n.reigns = append(n.reigns, topology.Reign{Epoch: epoch, ReplID: id, Start: n.end})
	f.relinkLocked()
	return nil
}

// Follow implements agent.Node.
func (n *Node) Follow(_ context.Context, epoch topology.Epoch, addr string) error {
	f := n.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if epoch < n.promised {
		return fmt.Errorf("follow %d < %d: %w", epoch, n.promised, agent.ErrStaleEpoch)
	}
	if n.open && n.epoch == epoch && n.managed {
		return fmt.Errorf("follow: %w", agent.ErrWrongRole)
	}
	n.promised, n.epoch, n.managed = epoch, epoch, true
	n.role, n.open, n.pending, n.linked, n.primary = topology.RoleReplica, false, false, false, addr
	n.parkedUntil = time.Time{}
	f.relinkLocked()
	return nil
}

// Park implements agent.Node.
func (n *Node) Park(_ context.Context, limit time.Duration) (int64, error) {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	if !n.open {
		return 0, fmt.Errorf("park: %w", agent.ErrWrongRole)
	}
	n.parkedUntil = time.Now().Add(limit)
	return n.end, nil
}

// Unpark implements agent.Node.
func (n *Node) Unpark() { n.locked(func() { n.parkedUntil = time.Time{} }) }

// WaitOffset implements agent.Node.
func (n *Node) WaitOffset(ctx context.Context, offset int64) error {
	var hold time.Duration
	n.locked(func() { hold = n.heldWait })
	select {
	case <-time.After(hold):
	case <-ctx.Done():
		return ctx.Err()
	}
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		if n.End() >= offset {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// SetLease implements agent.Node.
func (n *Node) SetLease(epoch topology.Epoch, until time.Time) {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	if epoch == n.epoch {
		n.leaseEpoch, n.lease = epoch, until
	}
}
