package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"haypile/internal/topology"
)

// Drill runs rounds one after the other and remembers what they have written.
type Drill struct {
	opt     Options
	rounds  int
	ledgers []*Ledger
}

// New prepares a drill.
func New(opt Options) (*Drill, error) {
	if err := opt.complete(); err != nil {
		return nil, err
	}
	return &Drill{opt: opt}, nil
}

// scene is what a round works with.
type scene struct {
	shard  topology.Shard
	old    node // the primary that is to go
	others []node
	before map[topology.NodeID]Info
	load   *load
	event  time.Duration // on the load's clock
	safe   time.Duration
}

func (sc *scene) all() []node { return append(slices.Clone(sc.others), sc.old) }

// Round does one event and judges it. What goes wrong stands in the round's Faults; the error is that of a
// drill that ctx has ended.
func (d *Drill) Round(ctx context.Context, ev Event) (Round, error) {
	d.rounds++
	r := Round{Number: d.rounds, Event: ev, Started: time.Now().UTC(), FirstAccepted: Span(Never), Call: Span(Never),
		Restarted: Span(Never), Returned: Span(Never), Faults: []string{}, Errors: map[string]int{},
		Digests: []Digest{}}
	d.opt.Progress("waiting for a healthy shard")
	sc, err := d.prepare(ctx)
	if err != nil {
		r.fault("before the event: %v", err)
		return r, ctx.Err()
	}
	r.Shard, r.From = sc.shard.ID, sc.old.ID
	if r.SyncReplicas, err = sc.old.syncReplicas(ctx); err != nil {
		r.fault("%v", err)
		return r, ctx.Err()
	}
	lctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sc.load = startLoad(lctx, d.opt, fmt.Sprintf("%s:%d", d.opt.Prefix, d.rounds))
	if err := d.underLoad(ctx, sc, &r); err != nil {
		r.fault("%v", err)
	}
	if ctx.Err() != nil {
		cancel()
	}
	end := sc.load.end()
	for _, w := range sc.load.writers {
		d.ledgers = append(d.ledgers, &w.ledger)
	}
	t := Measure(sc.load.clients(), sc.event, sc.safe, end)
	r.FirstAccepted, r.Gap, r.WorstClient = Span(t.FirstAccepted), Span(t.Gap), Span(t.WorstClient)
	r.Load, r.Errors = Span(end), sc.load.failures()
	d.inspect(ctx, sc, &r, int64(t.Acked))
	r.judge(Rules{d.opt.Limit, d.opt.AllowLoss})
	return r, ctx.Err()
}

// prepare waits until the shard is healthy.
func (d *Drill) prepare(ctx context.Context) (*scene, error) {
	var sc *scene
	err := until(ctx, d.opt.ReturnLimit, func(ctx context.Context) error {
		shard, trouble, err := d.opt.Control.Shard(ctx)
		if err != nil {
			return err
		}
		if trouble != "" {
			return errors.New(trouble)
		}
		if len(shard.Nodes) < 2 {
			return fmt.Errorf("shard %s has no second node that could take over", shard.ID)
		}
		sc = d.scene(shard)
		if sc.old.ID == "" {
			return fmt.Errorf("shard %s has no primary", shard.ID)
		}
		if sc.before, err = d.infos(ctx, sc.all()); err != nil {
			return err
		}
		if !sc.before[sc.old.ID].Primary() {
			return fmt.Errorf("%s does not call itself primary", sc.old.ID)
		}
		for _, n := range sc.others {
			if !sc.before[n.ID].Linked(sc.old.Addr) {
				return fmt.Errorf("replica %s is not linked with the primary", n.ID)
			}
		}
		return nil
	})
	return sc, err
}

func (d *Drill) scene(shard topology.Shard) *scene {
	sc := &scene{shard: shard}
	for _, n := range shard.Nodes {
		if n.ID == shard.Primary {
			sc.old = node{n, d.opt.NodeDial}
		} else {
			sc.others = append(sc.others, node{n, d.opt.NodeDial})
		}
	}
	return sc
}

func (d *Drill) infos(ctx context.Context, nodes []node, sections ...any) (map[topology.NodeID]Info, error) {
	infos := map[topology.NodeID]Info{}
	for _, n := range nodes {
		info, err := n.info(ctx, sections...)
		if err != nil {
			return nil, err
		}
		infos[n.ID] = info
	}
	return infos, nil
}

// underLoad is the part of a round during which clients write: the event, the recovery, and a while after.
func (d *Drill) underLoad(ctx context.Context, sc *scene, r *Round) error {
	if err := pause(ctx, d.opt.Before); err != nil {
		return err
	}
	if sc.load.acked.Load() == 0 {
		return errors.New("no write was accepted before the event")
	}
	d.opt.Progress(fmt.Sprintf("%s of %s, after %d writes", r.Event, sc.old.ID, sc.load.acked.Load()))
	var err error
	if r.Event == KillPrimary {
		err = d.kill(ctx, sc, r)
	} else {
		err = d.switchOver(ctx, sc, r)
	}
	if err != nil {
		return err
	}
	return pause(ctx, d.opt.After)
}

// kill kills the primary and waits until another one accepts writes and the old one follows it.
func (d *Drill) kill(ctx context.Context, sc *scene, r *Round) error {
	killed, err := d.opt.Kill(ctx, sc.old.Addr, sc.before[sc.old.ID].PID())
	if !killed.Sent.IsZero() {
		sc.event, sc.safe = sc.load.since(killed.Sent), sc.load.since(killed.Dead)
	}
	if err != nil {
		return err
	}
	sc.load.safe.Store(int64(sc.safe))
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var back comeback
	var wg sync.WaitGroup
	wg.Go(func() { back = d.awaitReturn(wctx, sc, killed.Sent) })
	err = d.awaitWrite(ctx, sc)
	if err == nil && d.opt.Restart != nil {
		if err = d.opt.Restart(ctx, sc.old.Node); err != nil {
			err = fmt.Errorf("restart %s: %w", sc.old.ID, err)
		}
	}
	if err != nil {
		cancel()
	}
	wg.Wait()
	r.To, r.Epoch, r.Restarted, r.Returned = back.to, back.epoch, Span(back.restarted), Span(back.returned)
	r.OldSync, r.OthersSync = back.old, back.others
	if err != nil {
		return err
	}
	return back.err
}

// awaitWrite waits for the first write that only the new primary can have accepted. It waits a little longer
// than the limit, so that a recovery that is just too late is measured.
func (d *Drill) awaitWrite(ctx context.Context, sc *scene) error {
	limit := max(2*d.opt.Limit, d.opt.ReturnLimit)
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-sc.load.firstAfter:
		return nil
	case <-t.C:
		return fmt.Errorf("no write was accepted within %v of the event", limit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// comeback is how the old primary became a replica.
type comeback struct {
	to                  topology.NodeID
	epoch               topology.Epoch
	restarted, returned time.Duration
	old, others         Resync
	err                 error
}

// awaitReturn waits until the killed process has been replaced by one that follows the new primary.
func (d *Drill) awaitReturn(ctx context.Context, sc *scene, killed time.Time) comeback {
	back := comeback{restarted: Never, returned: Never}
	runID := sc.before[sc.old.ID]["run_id"]
	// What the survivors had counted when the killed node was last seen down belongs to the other replicas.
	counted := sc.before
	back.err = until(ctx, d.opt.ReturnLimit, func(ctx context.Context) error {
		now, countErr := d.infos(ctx, sc.others, "stats")
		info, err := sc.old.info(ctx, "server")
		if err == nil && info["run_id"] != runID {
			return nil
		}
		if countErr == nil {
			counted = now
		}
		return errors.New("the killed node has not come back")
	})
	if back.err != nil {
		return back
	}
	back.restarted = time.Since(killed)
	back.err = d.awaitLinked(ctx, sc, &back)
	if back.err != nil {
		return back
	}
	back.returned = time.Since(killed)
	info, err := sc.find(back.to).info(ctx, "stats")
	if err != nil {
		back.err = err
		return back
	}
	back.others = resyncs(sc.before[back.to], counted[back.to])
	back.old = resyncs(counted[back.to], info)
	return back
}

// awaitLinked waits until the old primary is a replica with a link to the new one.
func (d *Drill) awaitLinked(ctx context.Context, sc *scene, back *comeback) error {
	return until(ctx, d.opt.ReturnLimit, func(ctx context.Context) error {
		shard, _, err := d.opt.Control.Shard(ctx)
		if err != nil {
			return err
		}
		if shard.Primary == sc.old.ID {
			return fmt.Errorf("%s is still or again the primary", sc.old.ID)
		}
		to, ok := shard.Node(shard.Primary)
		if !ok {
			return fmt.Errorf("shard %s has no primary", shard.ID)
		}
		info, err := sc.old.info(ctx, "replication")
		if err != nil {
			return err
		}
		if !info.Linked(to.Addr) {
			return fmt.Errorf("the old primary %s is not linked with the new one %s: role %s, link %q to %s:%s", sc.old.ID,
				to.ID, info["role"], info["master_link_status"], info["master_host"], info["master_port"])
		}
		back.to, back.epoch = to.ID, shard.Epoch
		return nil
	})
}

func (sc *scene) find(id topology.NodeID) node {
	for _, n := range sc.others {
		if n.ID == id {
			return n
		}
	}
	return sc.old
}

// resyncs is what a primary has counted between two looks.
func resyncs(before, after Info) Resync {
	since := func(name string) int64 { return max(0, after.Int(name)) - max(0, before.Int(name)) }
	return Resync{Full: since("sync_full"), Partial: since("sync_partial_ok")}
}

// switchOver hands the shard over and waits until the old primary follows the new one.
func (d *Drill) switchOver(ctx context.Context, sc *scene, r *Round) error {
	began := time.Now()
	sc.event, sc.safe = sc.load.since(began), sc.load.since(began)
	if err := d.opt.Control.Switchover(ctx); err != nil {
		return fmt.Errorf("switch over: %w", err)
	}
	r.Call = Span(time.Since(began))
	sc.safe = sc.load.since(time.Now())
	sc.load.safe.Store(int64(sc.safe))
	if err := d.awaitWrite(ctx, sc); err != nil {
		return err
	}
	var back comeback
	if err := d.awaitLinked(ctx, sc, &back); err != nil {
		return err
	}
	r.To, r.Epoch, r.Returned = back.to, back.epoch, Span(time.Since(began))
	info, err := sc.find(back.to).info(ctx, "stats")
	if err != nil {
		return err
	}
	// Nobody can tell here which of the replicas it was.
	r.OldSync = resyncs(sc.before[back.to], info)
	return nil
}

// inspect compares the nodes and reads everything back, of which so many were acknowledged.
func (d *Drill) inspect(ctx context.Context, sc *scene, r *Round, acked int64) {
	if ctx.Err() != nil {
		return
	}
	d.opt.Progress("comparing the nodes' data")
	var err error
	if r.Digests, r.Equal, err = compare(ctx, d.opt, sc.all()); err != nil {
		r.fault("comparing the nodes: %v", err)
	}
	var mine []*Ledger
	for _, w := range sc.load.writers {
		mine = append(mine, &w.ledger)
	}
	d.opt.Progress("reading every write back")
	if r.Verdict, err = readBack(ctx, d.opt, mine); err != nil {
		r.fault("reading back: %v", err)
	} else if r.Verdict.Acked != acked {
		r.fault("the drill is wrong: %d writes were acknowledged and %d were read back", acked, r.Verdict.Acked)
	}
}

// Final reads everything that all rounds have written back once more: a later round may have lost what an
// earlier one found.
func (d *Drill) Final(ctx context.Context) (Verdict, error) {
	d.opt.Progress("reading the writes of all rounds back")
	return readBack(ctx, d.opt, d.ledgers)
}

// Remove deletes everything that the drill has written.
func (d *Drill) Remove(ctx context.Context) error {
	d.opt.Progress("removing the drill's keys")
	return remove(ctx, d.opt, d.ledgers)
}
