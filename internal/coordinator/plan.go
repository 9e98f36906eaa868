package coordinator

import (
	"fmt"
	"slices"

	"haypile/internal/topology"
)

// PlanFor answers a problem; false where there is nothing to do now (nobody to promote is in reach, or it is
// for people). Pure: ID and Started are filled in by the journal.
func PlanFor(p Problem, v *View, st *State) (Plan, bool) {
	rec, ok := st.Records[p.Shard]
	if !ok || !p.Actionable {
		return Plan{}, false
	}
	switch p.Code {
	case ReplicaDetached:
		return Plan{Kind: Attach, Shard: p.Shard, Reason: string(p.Code), Epoch: rec.Shard.Epoch,
			Target: rec.Shard.Primary, Steps: []Step{
				// The primary counts on all members for its failsafe lease, so it must know a member before
				// that one can become a candidate.
				{StepMembers, []topology.NodeID{rec.Shard.Primary}},
				{StepFollow, []topology.NodeID{p.Node}},
			}}, true
	case PrimaryCrashed:
		return failoverPlan(rec, v, string(p.Code), true, false)
	default:
		return failoverPlan(rec, v, string(p.Code), false, false)
	}
}

// byOperator is the reason of a plan that somebody has asked for. It doesn't count for the brake.
const byOperator = "operator"

// failoverPlan replaces the primary. Members that may have a lease are suspects unless the primary is known
// to be dead. avoid keeps the old primary from being chosen again.
func failoverPlan(rec Record, v *View, reason string, dead, avoid bool) (Plan, bool) {
	s := rec.Shard
	p := Plan{Kind: Failover, Shard: s.ID, Reason: reason, Epoch: NextEpoch(rec, v), From: s.Primary,
		Avoid: avoid}
	if s.Primary != "" {
		p.Suspects = []topology.NodeID{s.Primary}
		if dead {
			p.Dead = []topology.NodeID{s.Primary}
		}
	}
	// An epoch is not spent where nobody could be promoted: with the primary unreachable its next
	// heartbeat may still find everything in order.
	gone := avoid || dead || Code(reason) == PrimarySilent
	able := slices.ContainsFunc(s.Nodes, func(n topology.Node) bool {
		r := v.Node(n.ID)
		return n.Priority > 0 && !(gone && n.ID == s.Primary) &&
			r.Conn == ConnUp && r.Report != nil && r.Report.Priority > 0 && r.Report.Failed == ""
	})
	p.Steps = failoverSteps(s)
	return p, able
}

func failoverSteps(s topology.Shard) []Step {
	var all []topology.NodeID
	for _, n := range s.Nodes {
		all = append(all, n.ID)
	}
	return []Step{{StepFence, all}, {StepLease, nil}, {StepChoose, nil}, {StepOpen, nil}, {StepPublish, nil},
		{StepFollow, nil}, {StepVerify, nil}}
}

// SwitchoverPlan hands the shard over from a healthy primary to a healthy replica; to may be empty: the
// best one. An error says why not, and nothing has been touched.
func SwitchoverPlan(rec Record, v *View, to topology.NodeID, cfg Config) (Plan, error) {
	cfg = cfg.withDefaults()
	s := rec.Shard
	from := v.Node(s.Primary)
	if s.Primary == "" || from.Report == nil || from.Conn != ConnUp || !open(from.Report, s.Epoch) {
		return Plan{}, fmt.Errorf("shard %s has no open primary to hand over from", s.ID)
	}
	addr, _ := s.Node(s.Primary)
	var cs []Candidate
	for _, n := range s.Nodes {
		if n.ID == s.Primary || to != "" && n.ID != to {
			continue
		}
		c := Candidate{Node: n}
		r := v.Node(n.ID)
		if r.Report == nil || r.Conn != ConnUp {
			c.Barred = "not connected"
		} else {
			c.Barred = unfitForSwitch(r.Report, addr.Addr, s.Epoch, from.Report.End, cfg)
		}
		// All that are near enough will have the same log at the barrier: only preference counts.
		c.Answer = topology.FenceAnswer{Promotable: true}
		cs = append(cs, c)
	}
	if to != "" && len(cs) == 0 {
		return Plan{}, fmt.Errorf("shard %s: %s is not one of its replicas", s.ID, to)
	}
	ch := Choose(cs, addr.Zone)
	if ch.Target == "" {
		return Plan{}, fmt.Errorf("shard %s: %s", s.ID, ch.Why)
	}
	var others []topology.NodeID
	for _, n := range s.Nodes {
		if n.ID != ch.Target {
			others = append(others, n.ID)
		}
	}
	return Plan{Kind: Switchover, Shard: s.ID, Reason: byOperator, Epoch: NextEpoch(rec, v), From: s.Primary,
		Suspects: []topology.NodeID{s.Primary, ch.Target}, Target: ch.Target, Steps: []Step{
			{StepPark, []topology.NodeID{s.Primary}}, {StepReady, []topology.NodeID{ch.Target}},
			{StepYield, []topology.NodeID{s.Primary}}, {StepOpen, []topology.NodeID{ch.Target}}, {StepPublish, nil},
			{StepFollow, others}, {StepVerify, nil}}}, nil
}

// unfitForSwitch says why a replica can't take over from its living primary, "" if it can.
func unfitForSwitch(r *topology.NodeReport, primary string, e topology.Epoch, end int64, cfg Config) string {
	switch {
	case r.Priority == 0:
		return "priority 0"
	case r.Failed != "":
		return r.Failed
	case r.Link.State != topology.LinkUp || r.Link.Primary != primary || r.Epoch != e:
		return "its link to the primary is not up"
	case r.End < end-cfg.SwitchLag:
		return fmt.Sprintf("it is %d bytes behind", end-r.End)
	case r.Applied < r.End-cfg.SwitchLag:
		// Its log is there, but it opens only when all of that is applied, and writes are parked meanwhile.
		return fmt.Sprintf("it has %d bytes still to apply", r.End-r.Applied)
	}
	return ""
}
