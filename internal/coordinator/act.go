package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"haypile/internal/event"
	"haypile/internal/topology"
)

const (
	callTimeout = 500 * time.Millisecond
	// openTimeout bounds an opening; recoverTimeout one of a node that has to replay its log first (it ends
	// earlier if the node dies).
	openTimeout    = 5 * time.Second
	recoverTimeout = 10 * time.Minute
	verifyTimeout  = 2 * time.Second
	retryPause     = 250 * time.Millisecond
)

// crew is what a plan works with: the nodes, as fleet has them.
type crew interface {
	view() (*View, <-chan struct{})
	call(context.Context, topology.NodeID, topology.Request) (topology.Answer, error)
	members(topology.NodeID) topology.Members
	allow(topology.NodeID, topology.Epoch)
	revoke([]topology.Node, topology.Epoch)
	lastGrant(topology.NodeID) time.Time
}

// run carries out one plan. It is a state machine driven by one goroutine; what must survive its death is in
// the journal, all else is asked again. It stops where ctx ends, at any point, and another run of the same
// journal entry goes on.
type run struct {
	cfg        Config
	crew       crew
	journal    *journal
	dashboards int
	emit       func(event.Name, topology.NodeID, topology.Epoch, string)
	log        *slog.Logger

	shard topology.Shard // as it was when the run began
	plan  Plan
	at    int64 // revision of the plan's journal entry
	rev   int64 // of the run's last transaction
	since time.Time

	asking  sync.WaitGroup // the goroutines that ask for fence answers
	answers map[topology.NodeID]answered
	got     chan answered
	barrier int64
	told    string // the last rejection that was announced
}

// answered is a fence answer and when it came.
type answered struct {
	node   topology.NodeID
	answer topology.FenceAnswer
	at     time.Time
}

// again asks for a new attempt with a higher epoch, because a node may have opened in the present one.
type again struct {
	why     error
	exclude topology.NodeID // it refused to open
}

func (a *again) Error() string { return a.why.Error() }

// execute runs the plan to its end. resumed: the journal held it before.
func (r *run) execute(ctx context.Context, resumed bool) error {
	r.since = time.Now()
	if r.plan.Kind == Attach {
		return r.attach(ctx)
	}
	if !resumed {
		rev, err := r.journal.begin(ctx, &r.plan)
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		r.at, r.rev = rev, rev
		r.since = time.Now()
		r.announce()
	} else {
		r.emit(event.PlanResumed, r.plan.Target, r.plan.Epoch, string(r.plan.Kind))
	}
	err := r.start(ctx, resumed)
	for {
		var a *again
		if !errors.As(err, &a) || ctx.Err() != nil {
			return err
		}
		r.emit(event.StepFailed, r.plan.Target, r.plan.Epoch, a.why.Error())
		if err = r.retake(ctx, a); err != nil {
			return err
		}
		err = r.failover(ctx)
	}
}

func (r *run) announce() {
	switch {
	case r.plan.Kind == Switchover:
		r.emit(event.SwitchoverStart, r.plan.From, r.plan.Epoch, "to "+string(r.plan.Target))
	case r.plan.From != "":
		r.emit(event.FailoverStart, r.plan.From, r.plan.Epoch, r.plan.Reason)
	}
}

func (r *run) start(ctx context.Context, resumed bool) error {
	switch {
	case r.plan.Kind == Switchover && resumed:
		return r.resumeSwitchover(ctx)
	case r.plan.Kind == Switchover:
		return r.steps(ctx, StepPark)
	case resumed && r.plan.Target != "":
		// It was chosen and may be open; nobody else may open in this epoch.
		if !r.awaitConn(ctx, r.plan.Target) {
			return &again{why: fmt.Errorf("%s can't be reached", r.plan.Target)}
		}
		r.crew.revoke(r.shard.Nodes, r.plan.Epoch)
		return r.steps(ctx, StepOpen)
	}
	return r.failover(ctx)
}

// failover tries until somebody is promoted: a shard without a primary stays the leader's business.
func (r *run) failover(ctx context.Context) error {
	for {
		fctx, cancel := context.WithCancel(ctx)
		err := r.steps(fctx, StepFence)
		cancel()
		r.asking.Wait()
		if !errors.Is(err, errNobody) {
			return err
		}
		if r.told != err.Error() {
			r.told = err.Error()
			r.emit(event.FailoverReject, "", r.plan.Epoch, err.Error())
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// steps runs the plan's steps from one on.
func (r *run) steps(ctx context.Context, from Op) error {
	i := slices.IndexFunc(r.plan.Steps, func(s Step) bool { return s.Op == from })
	if i < 0 {
		return fmt.Errorf("plan %s has no step %q", r.plan.ID, from)
	}
	for _, s := range r.plan.Steps[i:] {
		start := time.Now()
		err := r.step(ctx, s)
		r.log.Debug("step", "plan", r.plan.ID, "op", s.Op, "took", time.Since(start), "err", err)
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *run) step(ctx context.Context, s Step) error {
	switch s.Op {
	case StepFence:
		return r.fence(ctx, s.Nodes)
	case StepLease:
		return r.waitLease(ctx)
	case StepChoose:
		return r.choose(ctx)
	case StepPark:
		return r.park(ctx)
	case StepReady:
		return r.ready(ctx)
	case StepYield:
		return r.yield(ctx)
	case StepOpen:
		return r.open(ctx)
	case StepPublish:
		return r.publish(ctx)
	case StepFollow:
		r.follow(ctx)
		return nil
	case StepVerify:
		return r.verify(ctx)
	}
	return fmt.Errorf("unknown step %q", s.Op)
}

// retake starts over as a failover with a higher epoch. Whoever may have opened is a suspect now.
func (r *run) retake(ctx context.Context, a *again) error {
	if !errors.Is(a.why, context.Canceled) {
		// Two failing plans must not chase each other at full speed.
		select {
		case <-time.After(retryPause / 5):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	v, _ := r.crew.view()
	p := r.plan.clone()
	for _, id := range []topology.NodeID{p.From, p.Target} {
		if id != "" && !slices.Contains(p.Suspects, id) {
			p.Suspects = append(p.Suspects, id)
		}
	}
	if a.exclude != "" && !slices.Contains(p.Excluded, a.exclude) {
		p.Excluded = append(p.Excluded, a.exclude)
	}
	// A target that was told to open may be alive after all: only a crash seen before that epoch counts.
	p.Dead = slices.DeleteFunc(p.Dead, func(id topology.NodeID) bool { return id == p.Target })
	p.Kind, p.Target = Failover, ""
	p.Steps = failoverSteps(r.shard)
	p.Epoch = NextEpoch(Record{Shard: r.shard, Promised: p.Epoch}, v)
	rev, err := r.journal.retake(ctx, &p, r.at)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	r.plan, r.at, r.rev, r.since = p, rev, rev, time.Now()
	return nil
}

// awaitConn waits a moment for a connection; a dashboard that has just started has none yet.
func (r *run) awaitConn(ctx context.Context, id topology.NodeID) bool {
	return r.await(ctx, r.cfg.DownAfter, func(v *View) bool {
		n := v.Node(id)
		return n.Conn == ConnUp && n.Seq > 0
	})
}

// await waits until ok holds, for at most limit.
func (r *run) await(ctx context.Context, limit time.Duration, ok func(*View) bool) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		v, changed := r.crew.view()
		if ok(v) {
			return true
		}
		select {
		case <-changed:
		case <-t.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// open tells the target to open, after the journal knows that it will. The heartbeat that the order refers
// to is read before the journal is written: a dashboard that loses its lead at that moment can't open
// anything later than a lease after it.
func (r *run) open(ctx context.Context) error {
	t := r.plan.Target
	v, _ := r.crew.view()
	seen := v.Node(t)
	rev, err := r.journal.target(ctx, &r.plan, r.at)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	r.at, r.rev = rev, rev
	r.crew.allow(t, r.plan.Epoch)
	limit := openTimeout
	if seen.Report != nil && seen.Report.Pending {
		limit = recoverTimeout
	}
	octx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err = r.crew.call(octx, t, topology.Request{Op: topology.OpOpen, Epoch: r.plan.Epoch, Seq: seen.Seq})
	if err != nil {
		a := &again{why: fmt.Errorf("%s: %w", t, err)}
		var refused *topology.AnswerError
		if errors.As(err, &refused) && refused.Code == topology.CodeRefused {
			a.exclude = t
		}
		return a
	}
	r.emit(event.Promoted, t, r.plan.Epoch, fmt.Sprintf("%v after the plan began",
		time.Since(r.since).Round(time.Millisecond)))
	return nil
}

func (r *run) publish(ctx context.Context) error {
	rev, err := r.journal.publish(ctx, &r.plan, r.at)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	r.rev = rev
	return nil
}

// follow points all others at the new primary, in parallel. What fails here is found and repaired by the
// next analysis.
func (r *run) follow(ctx context.Context) {
	target, _ := r.shard.Node(r.plan.Target)
	q := topology.Request{Op: topology.OpFollow, Epoch: r.plan.Epoch, Addr: target.Addr}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, _ := r.crew.view()
	done := make(chan struct{}, len(r.shard.Nodes))
	n := 0
	for _, m := range r.shard.Nodes {
		seen := v.Node(m.ID)
		if m.ID == target.ID || seen.Conn != ConnUp || time.Since(seen.Heard) > r.cfg.DownAfter {
			continue
		}
		n++
		go func() {
			defer func() { done <- struct{}{} }()
			r.noteDivergence(v, m.ID)
			if _, err := r.crew.call(ctx, m.ID, q); err != nil {
				r.emit(event.StepFailed, m.ID, r.plan.Epoch, err.Error())
				return
			}
			r.emit(event.ReplicaAttached, m.ID, r.plan.Epoch, "to "+target.Addr)
		}()
	}
	for range n {
		<-done
	}
}

// noteDivergence announces surplus bytes: those past the point where the primary's history took over.
func (r *run) noteDivergence(v *View, id topology.NodeID) {
	n, p := v.Node(id).Report, v.Node(r.plan.Target).Report
	if n == nil || p == nil {
		return
	}
	for _, reign := range p.Lineage {
		if reign.Epoch > n.LogEpoch {
			if n.End > reign.Start {
				r.emit(event.Diverged, id, reign.Epoch, fmt.Sprintf("%d bytes past the fork at %d",
					n.End-reign.Start, reign.Start))
			}
			return
		}
	}
}

func (r *run) verify(ctx context.Context) error {
	ok := r.await(ctx, verifyTimeout, func(v *View) bool {
		n := v.Node(r.plan.Target)
		return n.Report != nil && open(n.Report, r.plan.Epoch)
	})
	text := fmt.Sprintf("%s is the primary, %v after the plan began", r.plan.Target,
		time.Since(r.since).Round(time.Millisecond))
	if !ok {
		// It is published all the same; analysis judges it from here.
		text += ", but has not reported so yet"
	}
	switch {
	case r.plan.Kind == Switchover:
		r.emit(event.SwitchoverEnd, r.plan.Target, r.plan.Epoch, text)
	case r.plan.From == "":
		r.emit(event.PrimaryOpened, r.plan.Target, r.plan.Epoch, text)
	default:
		r.emit(event.FailoverEnd, r.plan.Target, r.plan.Epoch, text)
	}
	return ctx.Err()
}

// attach brings one node behind the primary.
func (r *run) attach(ctx context.Context) error {
	primary, _ := r.shard.Node(r.plan.Target)
	for _, s := range r.plan.Steps {
		sctx, cancel := context.WithTimeout(ctx, callTimeout)
		q := topology.Request{Op: topology.OpFollow, Epoch: r.plan.Epoch, Addr: primary.Addr}
		if s.Op == StepMembers {
			m := r.crew.members(s.Nodes[0])
			q = topology.Request{Op: topology.OpMembers, Members: &m}
		}
		_, err := r.crew.call(sctx, s.Nodes[0], q)
		cancel()
		if err != nil {
			r.emit(event.StepFailed, s.Nodes[0], r.plan.Epoch, err.Error())
			return err
		}
		if s.Op == StepFollow {
			v, _ := r.crew.view()
			r.noteDivergence(v, s.Nodes[0])
			r.emit(event.ReplicaAttached, s.Nodes[0], r.plan.Epoch, "to "+primary.Addr)
		}
	}
	return nil
}
