package coordinator

import (
	"cmp"
	"fmt"
	"slices"

	"haypile/internal/topology"
)

// Candidate is a member that has answered the fence.
type Candidate struct {
	Node   topology.Node
	Answer topology.FenceAnswer
	// Barred is why it may not be promoted though it answered; empty: it may.
	Barred string
}

// Choice is whom to promote.
type Choice struct {
	Target topology.NodeID // empty: nobody can be
	// Source, if set, has bytes that Target lacks: Target follows it first. Needed says that without it those
	// bytes would be lost; otherwise Else has them too and is promoted if the catch-up takes too long.
	Source topology.NodeID
	Offset int64 // of the source's log
	Needed bool
	Else   topology.NodeID
	Why    string
}

// ineligible says why a candidate can't be promoted, "" if it can.
func (c *Candidate) ineligible() string {
	switch {
	case c.Barred != "":
		return c.Barred
	case c.Node.Priority == 0:
		return "priority 0"
	case !c.Answer.Promotable:
		return cmp.Or(c.Answer.Reason, "not promotable")
	}
	return ""
}

// byLog orders the longer log first. Only logs of the same shard are compared, so a higher epoch includes
// every acknowledged byte of the lower ones.
func byLog(a, b Candidate) int {
	return cmp.Or(-cmp.Compare(a.Answer.LogEpoch, b.Answer.LogEpoch), -cmp.Compare(a.Answer.End, b.Answer.End))
}

// Choose picks the node to promote: eligible -> holds, or first fetches, the highest (epoch, offset) that
// can be reached -> priority -> zone of the old primary -> node id. A node that has to recover before it can
// open stands behind its equals. Pure; the one place where the order is written down.
func Choose(cs []Candidate, zone string) Choice {
	cs = slices.Clone(cs)
	order := func(a, b Candidate) int {
		return cmp.Or(boolOrder(a.Answer.Pending, b.Answer.Pending),
			cmp.Compare(a.Node.Priority, b.Node.Priority),
			boolOrder(a.Node.Zone != zone, b.Node.Zone != zone),
			cmp.Compare(a.Node.ID, b.Node.ID))
	}
	slices.SortFunc(cs, func(a, b Candidate) int { return cmp.Or(byLog(a, b), order(a, b)) })
	var able []Candidate
	for _, c := range cs {
		if c.ineligible() == "" {
			able = append(able, c)
		}
	}
	if len(able) == 0 {
		return Choice{Why: refusals(cs)}
	}
	holder := able[0] // longest log of those that may; among equals the preferred one
	best := slices.MinFunc(able, order)
	// The longest log that can be copied from: a pending node serves nothing.
	source := slices.IndexFunc(cs, func(c Candidate) bool { return !c.Answer.Pending })
	switch {
	case source >= 0 && byLog(cs[source], holder) < 0:
		// Only nodes that may not be promoted have it, so whoever is promoted fetches it first.
		s := cs[source]
		return Choice{Target: best.Node.ID, Source: s.Node.ID, Offset: s.Answer.End, Needed: true,
			Else: holder.Node.ID, Why: fmt.Sprintf("preferred; fetches the tail that only %s has", s.Node.ID)}
	case byLog(best, holder) == 0:
		return Choice{Target: holder.Node.ID, Why: fmt.Sprintf("log up to %d in epoch %d, priority %d",
			holder.Answer.End, holder.Answer.LogEpoch, holder.Node.Priority)}
	case source >= 0 && byLog(cs[source], holder) == 0 && best.Node.Priority < holder.Node.Priority:
		s := cs[source]
		return Choice{Target: best.Node.ID, Source: s.Node.ID, Offset: s.Answer.End, Else: holder.Node.ID,
			Why: fmt.Sprintf("priority %d; fetches the tail from %s", best.Node.Priority, s.Node.ID)}
	}
	return Choice{Target: holder.Node.ID, Why: fmt.Sprintf("longest log, up to %d in epoch %d",
		holder.Answer.End, holder.Answer.LogEpoch)}
}

// boolOrder puts false first.
func boolOrder(a, b bool) int {
	n := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return n(a) - n(b)
}

func refusals(cs []Candidate) string {
	if len(cs) == 0 {
		return "no member has answered"
	}
	s := "no member can be promoted:"
	for _, c := range cs {
		s += fmt.Sprintf(" %s: %s;", c.Node.ID, c.ineligible())
	}
	return s
}
