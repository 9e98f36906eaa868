package coordinator

import (
	"slices"
	"time"

	"haypile/internal/agent"
	"haypile/internal/topology"
)

// Config are the times and bounds of the control plane. Zero values mean the defaults.
type Config struct {
	// DownAfter is how long a primary may be silent before it is replaced. Default 1 s.
	DownAfter time.Duration
	// Lease must be that of the agents. Default agent.DefaultLease.
	Lease time.Duration
	// BootGrace is how long a dashboard that has just started waits for a primary that it has never heard: in a
	// cluster that starts after a power cut the primary may be the last to come. Default 3 s.
	BootGrace time.Duration
	// Brake is the least time between two automatic failovers of a shard for silence. Default 30 s.
	Brake time.Duration
	// Gather is how long a failover waits for fence answers of members that may still give one. Default 300 ms.
	Gather time.Duration
	// CatchUp bounds the fetching of a log's tail where another node could be promoted at once; CatchUpMax where
	// bytes would be lost without it. Defaults 200 ms and 1 s.
	CatchUp, CatchUpMax time.Duration
	// SwitchTimeout bounds how long writes are parked before a switchover is given up. Default 500 ms.
	SwitchTimeout time.Duration
	// SwitchLag is how many bytes the target of a switchover may be behind at its start. Default 1 MiB.
	SwitchLag int64
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.DownAfter, time.Second)
	def(&c.Lease, agent.DefaultLease)
	def(&c.BootGrace, 3*time.Second)
	def(&c.Brake, 30*time.Second)
	def(&c.Gather, 300*time.Millisecond)
	def(&c.CatchUp, 200*time.Millisecond)
	def(&c.CatchUpMax, time.Second)
	def(&c.SwitchTimeout, 500*time.Millisecond)
	if c.SwitchLag <= 0 {
		c.SwitchLag = 1 << 20
	}
	return c
}

// ConnState is the state of the dashboard's connection to a node's agent.
type ConnState string

// The states. Only ConnRefused speaks of a dead process: the machine answers, and nobody listens.
const (
	ConnDialing ConnState = "dialing" // not connected yet, or the last attempt timed out
	ConnUp      ConnState = "up"
	ConnLost    ConnState = "lost"    // it was closed or reset; the redial has not ended yet
	ConnRefused ConnState = "refused" // the last attempt was refused
)

// NodeView is what the dashboard knows of a node.
type NodeView struct {
	Conn   ConnState            `json:"conn"`
	Since  time.Time            `json:"since"` // when Conn became so
	Error  string               `json:"error,omitempty"`
	Heard  time.Time            `json:"heard"`            // when Report came; zero: never
	Report *topology.NodeReport `json:"report,omitempty"` // the last one, however old; nil if never heard
	Seq    uint64               `json:"-"`                // of the heartbeat, on the present connection
}

// View is a snapshot of all observations. It is never changed.
type View struct {
	Started      time.Time // of the observation: nothing can be older
	Nodes        map[topology.NodeID]NodeView
	LastFailover map[topology.ShardID]time.Time // automatic ones, for the brake
}

// Node finds a node; one that is not observed yet is being dialled.
func (v *View) Node(id topology.NodeID) NodeView {
	if n, ok := v.Nodes[id]; ok {
		return n
	}
	return NodeView{Conn: ConnDialing, Since: v.Started}
}

// Record is a shard as the metastore keeps it.
type Record struct {
	Shard topology.Shard `json:"shard"`
	// Promised is the highest epoch that any node was ever asked to promise. The next plan takes a higher one.
	Promised topology.Epoch `json:"promised"`
}

func (r Record) clone() Record {
	r.Shard.Nodes, r.Shard.Slots = slices.Clone(r.Shard.Nodes), slices.Clone(r.Shard.Slots)
	return r
}

// Kind is what a plan is for.
type Kind string

// The kinds of plans. Failover and Switchover change the epoch and stand in the journal. Attach does not: it
// is one idempotent request, and analysis finds again what it left undone.
const (
	Failover   Kind = "failover"
	Switchover Kind = "switchover"
	Attach     Kind = "attach"
)

// Op is what one step does.
type Op string

// The steps.
const (
	StepFence   Op = "fence"      // Nodes promise the epoch
	StepLease   Op = "wait-lease" // until no suspect can hold a lease
	StepChoose  Op = "choose"     // by Choose, then catch up if it says so
	StepPark    Op = "park"       // Nodes[0] holds writes; its log's end is the barrier
	StepReady   Op = "ready"      // Nodes[0] has applied and fsynced the barrier
	StepYield   Op = "yield"      // Nodes[0], parked, promises the epoch
	StepOpen    Op = "open"       // the target opens
	StepPublish Op = "publish"    // the topology names it; the journal entry goes
	StepFollow  Op = "follow"     // Nodes follow the primary
	StepMembers Op = "members"    // Nodes learn who is in the shard
	StepVerify  Op = "verify"     // the target reports itself open
)

// Step is one step of a plan; Nodes are asked in parallel.
type Step struct {
	Op    Op                `json:"op"`
	Nodes []topology.NodeID `json:"nodes,omitempty"`
}

// Plan is an intended change of one shard.
type Plan struct {
	ID     string           `json:"id,omitempty"`
	Kind   Kind             `json:"kind"`
	Shard  topology.ShardID `json:"shard"`
	Reason string           `json:"reason"` // the problem's code, or who asked
	// Epoch is the new one (the present one for Attach).
	Epoch topology.Epoch `json:"epoch"`
	// From is the primary to be replaced; it is no candidate if Avoid is set (an operator wants another one).
	From  topology.NodeID `json:"from,omitempty"`
	Avoid bool            `json:"avoid,omitempty"`
	// Suspects may hold a lease of an earlier epoch. Before anyone opens each has answered a fence, or is
	// in Dead, or its lease has run out.
	Suspects []topology.NodeID `json:"suspects,omitempty"`
	Dead     []topology.NodeID `json:"dead,omitempty"` // confirmed crashed
	// Target is the node to open. In a failover it is empty until it is chosen, and then written to the
	// journal before it is told: two nodes must never open in one epoch.
	Target topology.NodeID `json:"target,omitempty"`
	// Excluded could not open in an earlier attempt.
	Excluded []topology.NodeID `json:"excluded,omitempty"`
	Steps    []Step            `json:"steps"`
	Started  time.Time         `json:"started"` // wall clock, for people
}

func (p Plan) clone() Plan {
	p.Suspects, p.Dead, p.Excluded = slices.Clone(p.Suspects), slices.Clone(p.Dead), slices.Clone(p.Excluded)
	return p
}

// State is everything the metastore says, as of one revision. It is never changed.
type State struct {
	Rev int64 // the metastore's revision
	// Cluster is what followers get. Its Revision is that of the last change to a shard or to the set of
	// dashboards.
	Cluster    topology.Cluster
	Records    map[topology.ShardID]Record
	Journal    map[topology.ShardID]Entry
	Dashboards []string // sorted
	Leader     string   // id; "" if nobody leads
}

// Entry is a plan in the journal and the revision at which it was last written.
type Entry struct {
	Plan
	Rev int64
}

// NextEpoch is above everything the store and the nodes know.
func NextEpoch(rec Record, v *View) topology.Epoch {
	e := max(rec.Promised, rec.Shard.Epoch)
	for _, n := range rec.Shard.Nodes {
		if r := v.Node(n.ID).Report; r != nil {
			e = max(e, r.Promised)
		}
	}
	return e + 1
}
