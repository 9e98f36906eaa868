package coordinator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"haypile/internal/topology"
)

// Code names a problem.
type Code string

// Problem is something that is not as it should be.
type Problem struct {
	Code  Code             `json:"code"`
	Shard topology.ShardID `json:"shard"`
	Node  topology.NodeID  `json:"node,omitempty"`
	// Priority orders problems of a shard: the lowest number is dealt with first.
	Priority int    `json:"priority"`
	Summary  string `json:"summary"`
	// Actionable: Plan has an answer. Otherwise it is for people.
	Actionable bool `json:"actionable"`
}

// subject is what a rule looks at: one node of one shard (for shard-wide rules the node is the primary, or
// nothing).
type subject struct {
	rec  Record
	node topology.Node
	seen NodeView
	view *View
	now  time.Time
	cfg  Config
}

// rule is one row of the table of problems.
type rule struct {
	code     Code
	priority int
	// act says that Plan has an answer; brake that the answer waits for Config.Brake after a failover.
	act, brake bool
	scope      scope
	summary    string
	match      func(*subject) bool
}

type scope int

const (
	ofShard   scope = iota // once for each shard
	ofPrimary              // for the node that the topology names as primary
	ofReplica              // for every other node
	ofMember               // for every node
)

// The problems. A new case is a row here and a transcript in testdata.
const (
	NoPrimary       Code = "NoPrimary"
	EpochAhead      Code = "EpochAhead"
	PrimaryCrashed  Code = "PrimaryCrashed"
	PrimaryPending  Code = "PrimaryPending"
	PrimaryNotOpen  Code = "PrimaryNotOpen"
	PrimaryFailed   Code = "PrimaryFailed"
	PrimarySilent   Code = "PrimarySilent"
	PrimarySuspect  Code = "PrimarySuspect"
	ReplicaDetached Code = "ReplicaDetached"
	ReplicaDown     Code = "ReplicaDown"
	ReplicaLinkDown Code = "ReplicaLinkDown"
	NodeFailed      Code = "NodeFailed"
	NodeDiskFull    Code = "NodeDiskFull"
)

var rules = []rule{
	{NoPrimary, 10, true, false, ofShard, "the shard has no primary",
		func(s *subject) bool { return s.rec.Shard.Primary == "" && len(s.rec.Shard.Nodes) > 0 }},
	{EpochAhead, 20, true, false, ofMember, "it has promised an epoch that the metastore has never seen",
		func(s *subject) bool { return s.fresh() && s.seen.Report.Promised > s.rec.Promised }},
	{PrimaryCrashed, 30, true, false, ofPrimary, "the primary's process is gone",
		func(s *subject) bool { return s.seen.Conn == ConnRefused && s.pastGrace() && s.crashWitnessed() }},
	{PrimaryPending, 40, true, false, ofPrimary, "the primary has restarted and waits to be told its role",
		func(s *subject) bool { return s.fresh() && s.seen.Report.Pending }},
	{PrimaryNotOpen, 50, true, false, ofPrimary, "the primary is not open in the shard's epoch",
		func(s *subject) bool {
			return s.fresh() && !s.seen.Report.Pending && !open(s.seen.Report, s.rec.Shard.Epoch)
		}},
	{PrimaryFailed, 60, true, true, ofPrimary, "the primary says that it can't serve",
		func(s *subject) bool { return s.fresh() && s.seen.Report.Failed != "" }},
	{PrimarySilent, 70, true, true, ofPrimary, "the primary is silent and no replica hears it",
		func(s *subject) bool { return s.silent() && !s.heardByReplica() }},
	{PrimarySuspect, 80, false, false, ofPrimary, "the primary is silent here, but a replica hears it",
		func(s *subject) bool { return s.silent() && s.heardByReplica() }},
	{ReplicaDetached, 90, true, false, ofReplica, "the node does not follow the primary",
		func(s *subject) bool { return s.fresh() && s.primaryOpen() && !s.follows() }},
	{ReplicaDown, 100, false, false, ofReplica, "the node is silent",
		func(s *subject) bool { return s.silent() || s.seen.Conn == ConnRefused && s.pastGrace() }},
	{ReplicaLinkDown, 110, false, false, ofReplica, "the node's link to the primary is down",
		func(s *subject) bool {
			return s.fresh() && s.primaryOpen() && s.follows() && s.seen.Report.Link.State != topology.LinkUp
		}},
	{NodeFailed, 120, false, false, ofReplica, "the node says that it can't serve",
		func(s *subject) bool { return s.fresh() && s.seen.Report.Failed != "" }},
	{NodeDiskFull, 130, false, false, ofMember, "the node's disk is full",
		func(s *subject) bool { return s.fresh() && s.seen.Report.DiskFull }},
}

// fresh: the report can be acted on.
func (s *subject) fresh() bool {
	return s.seen.Report != nil && s.seen.Conn == ConnUp && s.now.Sub(s.seen.Heard) <= s.cfg.DownAfter
}

// pastGrace: the node was heard since this dashboard started, or had time to be.
func (s *subject) pastGrace() bool {
	return !s.seen.Heard.IsZero() || s.now.Sub(s.view.Started) >= s.cfg.BootGrace
}

// silent: no heartbeat for DownAfter.
func (s *subject) silent() bool {
	if s.seen.Heard.IsZero() {
		return s.pastGrace()
	}
	return s.now.Sub(s.seen.Heard) > s.cfg.DownAfter
}

// anyReplica: f holds for the fresh report of a replica that was told to follow this node.
func (s *subject) anyReplica(f func(*topology.NodeReport) bool) bool {
	for _, n := range s.rec.Shard.Nodes {
		v := s.view.Node(n.ID)
		o := subject{seen: v, view: s.view, now: s.now, cfg: s.cfg}
		if n.ID != s.node.ID && o.fresh() && v.Report.Role == topology.RoleReplica &&
			v.Report.Link.Primary == s.node.Addr && f(v.Report) {
			return true
		}
	}
	return false
}

// crashWitnessed: a replica lost the node in the same way. Our own refusal alone could be a fault of the
// agent's port or of the way to it.
func (s *subject) crashWitnessed() bool {
	return s.anyReplica(func(r *topology.NodeReport) bool {
		return r.Link.Broken && r.Link.State != topology.LinkUp
	})
}

// heardByReplica: if a replica still receives the stream, the fault is in our network.
func (s *subject) heardByReplica() bool {
	return s.anyReplica(func(r *topology.NodeReport) bool {
		return r.Link.State == topology.LinkUp && r.Link.AgeMs >= 0 &&
			time.Duration(r.Link.AgeMs)*time.Millisecond <= s.cfg.DownAfter
	})
}

// open: the node takes writes in the epoch, as far as its lease allows.
func open(r *topology.NodeReport, e topology.Epoch) bool {
	return r.Role == topology.RolePrimary && !r.Pending && r.Managed && r.Epoch == e && r.Promised == e
}

// primaryOpen: there is a primary to follow.
func (s *subject) primaryOpen() bool {
	p, ok := s.rec.Shard.Node(s.rec.Shard.Primary)
	if !ok {
		return false
	}
	o := subject{seen: s.view.Node(p.ID), view: s.view, now: s.now, cfg: s.cfg}
	return o.fresh() && open(o.seen.Report, s.rec.Shard.Epoch)
}

// follows: the node was told the present primary in the present epoch.
func (s *subject) follows() bool {
	r := s.seen.Report
	p, _ := s.rec.Shard.Node(s.rec.Shard.Primary)
	return r.Role == topology.RoleReplica && !r.Pending && r.Epoch == s.rec.Shard.Epoch &&
		r.Link.Primary == p.Addr
}

// Analyse finds the problems of all shards, most urgent first within a shard. Pure.
func Analyse(v *View, st *State, now time.Time, cfg Config) []Problem {
	cfg = cfg.withDefaults()
	var out []Problem
	for i := range st.Cluster.Shards {
		rec := st.Records[st.Cluster.Shards[i].ID]
		found := len(out)
		out = append(out, analyseShard(v, rec, now, cfg)...)
		slices.SortStableFunc(out[found:], func(a, b Problem) int { return cmp.Compare(a.Priority, b.Priority) })
	}
	return out
}

func analyseShard(v *View, rec Record, now time.Time, cfg Config) (out []Problem) {
	base := subject{rec: rec, view: v, now: now, cfg: cfg}
	last, failedOver := v.LastFailover[rec.Shard.ID]
	add := func(r *rule, s *subject) {
		if !r.match(s) {
			return
		}
		p := Problem{Code: r.code, Shard: rec.Shard.ID, Node: s.node.ID, Priority: r.priority, Summary: r.summary,
			Actionable: r.act}
		if r.brake && failedOver && now.Sub(last) < cfg.Brake {
			p.Actionable = false
			p.Summary += fmt.Sprintf("; the last failover was %v ago, the next waits until %v",
				now.Sub(last).Round(time.Second), cfg.Brake)
		}
		out = append(out, p)
	}
	for i := range rules {
		r := &rules[i]
		if r.scope == ofShard {
			s := base
			add(r, &s)
			continue
		}
		for _, n := range rec.Shard.Nodes {
			primary := n.ID == rec.Shard.Primary
			if r.scope == ofPrimary && !primary || r.scope == ofReplica && primary {
				continue
			}
			s := base
			s.node, s.seen = n, v.Node(n.ID)
			add(r, &s)
		}
	}
	return out
}
