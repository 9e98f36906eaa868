package coordinator

import (
	"context"
	"fmt"
	"time"

	"haypile/internal/event"
	"haypile/internal/topology"
)

// park holds the primary's writes. The node goes on by itself after a time that no later step outlasts: the
// yield, which ends its reign, is sent while half of it is still left, or not at all.
func (r *run) park(ctx context.Context) error {
	pctx, cancel := context.WithTimeout(ctx, r.cfg.SwitchTimeout)
	defer cancel()
	ans, err := r.crew.call(pctx, r.plan.From, topology.Request{Op: topology.OpPark, Epoch: r.plan.Epoch,
		TimeoutMs: (4 * r.cfg.SwitchTimeout).Milliseconds()})
	if err != nil {
		return r.giveUp(ctx, fmt.Errorf("park %s: %w", r.plan.From, err))
	}
	r.barrier, r.since = ans.Offset, time.Now()
	return nil
}

// ready waits until the target has everything up to the barrier, applied and on disk.
func (r *run) ready(ctx context.Context) error {
	rctx, cancel := context.WithDeadline(ctx, r.since.Add(r.cfg.SwitchTimeout))
	defer cancel()
	q := topology.Request{Op: topology.OpWait, Offset: r.barrier}
	if _, err := r.crew.call(rctx, r.plan.Target, q); err != nil {
		return r.giveUp(ctx, fmt.Errorf("%s is not ready: %w", r.plan.Target, err))
	}
	return nil
}

// yield ends the primary's reign. From here on there is only forward.
func (r *run) yield(ctx context.Context) error {
	yctx, cancel := context.WithDeadline(ctx, r.since.Add(2*r.cfg.SwitchTimeout))
	defer cancel()
	ans, err := r.crew.call(yctx, r.plan.From, topology.Request{Op: topology.OpFence, Epoch: r.plan.Epoch})
	if err != nil {
		return &again{why: fmt.Errorf("yield of %s: %w", r.plan.From, err)}
	}
	if ans.Fence == nil || ans.Fence.End != r.barrier {
		// Bytes past the barrier: the choice by log decides who has them.
		return &again{why: fmt.Errorf("%s has written past the barrier", r.plan.From)}
	}
	return nil
}

// giveUp lets the primary go on and takes the plan out of the journal.
func (r *run) giveUp(ctx context.Context, why error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	uctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// If this is lost the node unparks by itself.
	r.crew.call(uctx, r.plan.From, topology.Request{Op: topology.OpUnpark})
	rev, err := r.journal.drop(ctx, &r.plan, r.at)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	r.rev = rev
	r.emit(event.SwitchoverAbort, r.plan.From, r.plan.Epoch, why.Error())
	return fmt.Errorf("%w: %w", ErrGivenUp, why)
}

// resumeSwitchover looks how far a dashboard came that died in the middle. The yield is the only step that
// can't be taken back, and opening comes after it.
func (r *run) resumeSwitchover(ctx context.Context) error {
	up := r.awaitConn(ctx, r.plan.From) && r.awaitConn(ctx, r.plan.Target)
	v, _ := r.crew.view()
	from, target := v.Node(r.plan.From).Report, v.Node(r.plan.Target).Report
	switch {
	case up && open(target, r.plan.Epoch):
		return r.steps(ctx, StepPublish)
	case up && from.Promised < r.plan.Epoch:
		return r.giveUp(ctx, fmt.Errorf("the dashboard that began it is gone"))
	}
	return &again{why: fmt.Errorf("the dashboard that began it died in the middle")}
}
