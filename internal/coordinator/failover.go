package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"haypile/internal/event"
	"haypile/internal/topology"
)

// askPause bounds how often a member that doesn't answer is asked.
const askPause = 5 * time.Millisecond

// errNobody: no member can be promoted now.
var errNobody = errors.New("nobody can be promoted")

// fence asks all members to promise the epoch and gathers the answers until all that can be expected are
// there or the time is over. The asking goes on in the background until ctx ends, so that an answer of the
// old primary can still shorten the wait for its lease.
func (r *run) fence(ctx context.Context, nodes []topology.NodeID) error {
	r.crew.revoke(r.shard.Nodes, r.plan.Epoch)
	r.answers = map[topology.NodeID]answered{}
	r.got = make(chan answered, len(nodes))
	for _, id := range nodes {
		r.asking.Go(func() { r.askFence(ctx, id, r.plan.Epoch, r.got) })
	}
	limit, everybody := r.gatherTime()
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		v, changed := r.crew.view()
		if missing := r.missing(v, nodes, everybody); len(missing) == 0 && len(r.answers) > 0 {
			return nil
		}
		select {
		case a := <-r.got:
			r.take(a)
		case <-changed:
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gatherTime is how long to wait for answers, and whether for members that are not connected too: when a
// whole shard starts again, the one with the longest log may be the last to come.
func (r *run) gatherTime() (time.Duration, bool) {
	switch Code(r.plan.Reason) {
	case PrimaryPending, NoPrimary, EpochAhead:
		return r.cfg.DownAfter, true
	}
	return r.cfg.Gather, false
}

// missing are the members whose answer is worth waiting for.
func (r *run) missing(v *View, nodes []topology.NodeID, everybody bool) (ids []topology.NodeID) {
	for _, id := range nodes {
		n := v.Node(id)
		alive := n.Conn == ConnUp && time.Since(n.Heard) < r.cfg.Gather
		// A dashboard that has just started goes on with a plan before it has reached everyone: the member
		// that it hears last may be the only one with the last acknowledged writes.
		unknown := n.Heard.IsZero() && (n.Conn == ConnDialing || n.Conn == ConnUp) &&
			time.Since(n.Since) < r.cfg.Gather
		if _, ok := r.answers[id]; !ok && (alive || unknown || everybody) && !slices.Contains(r.plan.Dead, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// askFence asks one member until it answers. A refusal is final: it has promised a higher epoch, or can't
// write its promise down.
func (r *run) askFence(ctx context.Context, id topology.NodeID, e topology.Epoch, got chan<- answered) {
	for ctx.Err() == nil {
		_, changed := r.crew.view()
		cctx, cancel := context.WithTimeout(ctx, callTimeout)
		ans, err := r.crew.call(cctx, id, topology.Request{Op: topology.OpFence, Epoch: e})
		cancel()
		if err == nil && ans.Fence != nil {
			got <- answered{id, *ans.Fence, time.Now()}
			return
		}
		var refused *topology.AnswerError
		if errors.As(err, &refused) && refused.Code != topology.CodeTimeout {
			r.log.Warn("fence refused", "node", id, "epoch", e, "err", err)
		}
		// Without a connection there is nothing to do before something changes; heartbeats of others make
		// changes all the time, so a pause bounds the rate.
		select {
		case <-changed:
		case <-ctx.Done():
		}
		select {
		case <-time.After(askPause):
		case <-ctx.Done():
		}
	}
}

func (r *run) take(a answered) {
	if _, ok := r.answers[a.node]; !ok {
		r.answers[a.node] = a
		r.emit(event.Fenced, a.node, r.plan.Epoch, fmt.Sprintf("log up to %d in epoch %d", a.answer.End,
			a.answer.LogEpoch))
	}
}

// waitLease waits until no suspect can hold a lease of an earlier epoch.
func (r *run) waitLease(ctx context.Context) error {
	if len(r.answers) == 0 {
		return fmt.Errorf("%w: no member has answered", errNobody)
	}
	said := false
	for {
		end := r.leasesEnd()
		wait := time.Until(end)
		if wait <= 0 {
			return nil
		}
		if !said {
			said = true
			r.emit(event.LeaseWait, r.plan.From, r.plan.Epoch, wait.Round(time.Millisecond).String())
		}
		t := time.NewTimer(wait)
		select {
		case a := <-r.got:
			r.take(a)
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		t.Stop()
	}
}

// leasesEnd is when the last lease is over that a suspect can hold. A lease comes from the dashboards or from
// all other members together; each part counts from a time that lies before the one noted here. One member
// that has answered the fence ends the second way; the latest of them is taken, as one that was added lately
// may not be in the suspect's list yet.
func (r *run) leasesEnd() (end time.Time) {
	margin := r.cfg.Lease * 11 / 10
	for _, id := range r.plan.Suspects {
		if _, fenced := r.answers[id]; fenced || slices.Contains(r.plan.Dead, id) {
			continue
		}
		at := r.crew.lastGrant(id)
		if r.dashboards > 1 {
			// Another dashboard knows of the epoch at the latest when its knowledge must be renewed.
			if late := r.since.Add(freshFor); late.After(at) {
				at = late
			}
		}
		for _, a := range r.answers {
			if g := a.at.Add(-time.Duration(a.answer.GrantAgeMs) * time.Millisecond); g.After(at) {
				at = g
			}
		}
		if at = at.Add(margin); at.After(end) {
			end = at
		}
	}
	return end
}

// choose picks the target and lets it fetch what it lacks.
func (r *run) choose(ctx context.Context) error {
	cs := r.candidates()
	from, _ := r.shard.Node(r.plan.From)
	ch := Choose(cs, from.Zone)
	if ch.Target == "" {
		return fmt.Errorf("%w: %s", errNobody, ch.Why)
	}
	var silent []string
	for _, n := range r.shard.Nodes {
		if _, ok := r.answers[n.ID]; !ok && n.ID != r.plan.From {
			silent = append(silent, string(n.ID))
		}
	}
	if len(silent) > 0 {
		ch.Why += "; without an answer of " + strings.Join(silent, ", ")
	}
	r.emit(event.Selected, ch.Target, r.plan.Epoch, ch.Why)
	if ch.Source != "" {
		if err := r.catchUp(ctx, ch); err != nil {
			r.emit(event.StepFailed, ch.Target, r.plan.Epoch, "catch-up: "+err.Error())
			if ctx.Err() != nil {
				return ctx.Err()
			}
			ch.Target = ch.Else
			r.emit(event.Selected, ch.Target, r.plan.Epoch, "longest log without the catch-up")
		}
	}
	r.plan.Target = ch.Target
	return nil
}

// candidates are the members that have answered. One that is excluded counts again when nobody else is
// left.
func (r *run) candidates() []Candidate {
	list := func(excluded []topology.NodeID) (cs []Candidate, able int) {
		for _, n := range r.shard.Nodes {
			a, ok := r.answers[n.ID]
			if !ok {
				continue
			}
			c := Candidate{Node: n, Answer: a.answer}
			switch {
			case slices.Contains(excluded, n.ID):
				c.Barred = "could not open"
			case a.answer.Empty && r.plan.From != "":
				c.Barred = "holds no history"
			case r.plan.Avoid && n.ID == r.plan.From:
				c.Barred = "to be replaced"
			}
			if c.ineligible() == "" {
				able++
			}
			cs = append(cs, c)
		}
		return cs, able
	}
	cs, able := list(r.plan.Excluded)
	if able == 0 {
		cs, _ = list(nil)
	}
	return cs
}

// catchUp makes the choice's target follow the source up to the end of its log.
func (r *run) catchUp(ctx context.Context, ch Choice) error {
	limit := r.cfg.CatchUp
	if ch.Needed {
		limit = r.cfg.CatchUpMax
	}
	source, _ := r.shard.Node(ch.Source)
	r.emit(event.CatchUp, ch.Target, r.plan.Epoch, fmt.Sprintf("from %s up to %d", ch.Source, ch.Offset))
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	q := topology.Request{Op: topology.OpFollow, Epoch: r.plan.Epoch, Addr: source.Addr}
	if _, err := r.crew.call(ctx, ch.Target, q); err != nil {
		return err
	}
	_, err := r.crew.call(ctx, ch.Target, topology.Request{Op: topology.OpWait, Offset: ch.Offset})
	return err
}
