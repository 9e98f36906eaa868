// Package coordinator decides and acts for a cluster: it observes every node, analyses what it sees, plans,
// and carries plans out.
//
//	observe   fleet: one connection per node; an immutable View of the last reports
//	analyse   Analyse: View and State -> Problems; pure, a table of rules
//	plan      PlanFor, SwitchoverPlan: Problem -> Plan; pure
//	act       run: journals the plan with a new epoch, then carries out idempotent steps
//
// Every dashboard observes and grants leases; the elected one acts. The metastore holds the truth: shards
// with their epochs, and the journal of plans, from which the next leader goes on. A State is an immutable
// copy of it; only the goroutine of follow makes new ones. Each plan is one goroutine, at most one per shard
// that changes the epoch. The loop, one goroutine, decides what is started; it never does I/O.
//
// What keeps two primaries apart: an epoch is committed before anyone is asked to promise it; the node that
// opens in an epoch is written to the journal before it is told; nobody opens before every node that may
// hold an earlier lease has answered a fence, is known to have crashed, or has outlived its lease.
package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/agent"
	"haypile/internal/event"
	"haypile/internal/metastore"
	"haypile/internal/topology"
)

// Errors that callers of the API decide on.
var (
	ErrNotFound  = errors.New("not found")
	ErrNotLeader = errors.New("this dashboard does not lead")
	ErrBusy      = errors.New("a plan is under way")
	ErrInvalid   = errors.New("invalid")
	// ErrGivenUp: the plan could not be carried out and has changed nothing.
	ErrGivenUp = errors.New("given up, nothing has changed")
)

// analyseEvery is the longest time between two analyses: time itself can make a problem. analyseGap is the
// shortest: with many nodes heartbeats come all the time.
const (
	analyseEvery = 50 * time.Millisecond
	analyseGap   = 2 * time.Millisecond
	attachPause  = time.Second // between two attempts to attach the same node
)

// Options configure a Coordinator.
type Options struct {
	Store   metastore.Store
	Cluster string
	ID      string // of this dashboard; it stands for one running process at a time
	// URL is where other dashboards' clients find this one's API; for information only.
	URL    string
	Secret string // of the agents
	Config Config
	Dial   agent.DialFunc // to the agents; a net.Dialer if nil
	Logger *slog.Logger
}

// Coordinator is one dashboard's part in a cluster.
type Coordinator struct {
	opt   Options
	cfg   Config
	keys  keys
	log   *slog.Logger
	fleet *fleet
	crew  crew            // the fleet, for plans
	ctx   context.Context // of Run

	state    atomic.Pointer[State]
	topology latest[*topology.Cluster]
	events   events
	woken    chan struct{} // room for one
	asks     chan ask

	mu struct {
		sync.Mutex
		problems []Problem
		plans    map[topology.ShardID]Plan // running
	}

	acting atomic.Bool // the loop has the leadership: what Leads reports

	// Owned by the loop.
	lead     *metastore.Leadership
	leading  context.Context
	leads    chan leadership
	running  map[string]*running // by shard, or by shard and node for an attachment
	finished chan *running
	retryAt  map[string]time.Time
	minRev   map[topology.ShardID]int64 // of the last finished plan
	reported map[string]Problem
	deferred []ask // until the state, or the leadership, is new enough to answer them
}

type leadership struct {
	l    *metastore.Leadership
	ctx  context.Context
	idle chan struct{} // closed by the loop when nothing runs under it any more
}

// running is a plan under way.
type running struct {
	key     string
	shard   topology.ShardID
	run     *run
	err     error
	waiting []chan<- error
}

// ask is an operator's wish for a plan; the answer comes when the plan has ended.
type ask struct {
	shard topology.ShardID
	plan  func(Record, *View) (Plan, error)
	ctx   context.Context // of the operator: nothing is started for one who has gone
	done  chan<- error
}

// New makes a coordinator; Run starts it.
func New(opt Options) *Coordinator {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Coordinator{opt: opt, cfg: opt.Config.withDefaults(), keys: keysOf(opt.Cluster), log: opt.Logger,
		woken: make(chan struct{}, 1), asks: make(chan ask), leads: make(chan leadership),
		running: map[string]*running{}, finished: make(chan *running, 16),
		retryAt: map[string]time.Time{}, minRev: map[topology.ShardID]int64{}, reported: map[string]Problem{}}
	hello := topology.PeerHello{Cluster: opt.Cluster, Kind: topology.PeerDashboard, ID: opt.ID,
		Secret: opt.Secret}
	c.fleet = newFleet(c.cfg, hello, opt.Dial, opt.Logger)
	c.crew = c.fleet
	c.mu.plans = map[topology.ShardID]Plan{}
	c.topology.init()
	c.events.init(opt.Logger)
	return c
}

// Run works until ctx ends and returns when all goroutines have.
func (c *Coordinator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.ctx = ctx
	if err := c.register(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.follow(ctx) })
	wg.Go(func() { c.campaign(ctx) })
	c.loop(ctx)
	cancel()
	wg.Wait()
	c.fleet.wg.Wait()
	c.topology.close()
	c.events.close()
	return ctx.Err()
}

// register enters this dashboard in the list whose majority grants leases.
func (c *Coordinator) register(ctx context.Context) error {
	b, err := json.Marshal(map[string]string{"url": c.opt.URL})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*storeTimeout)
	defer cancel()
	key := c.keys.dashboard(c.opt.ID)
	if p, ok, err := c.opt.Store.Get(ctx, key); err == nil && ok && string(p.Value) == string(b) {
		return nil
	}
	if _, err := c.opt.Store.Txn(ctx, nil, metastore.Put(key, b)); err != nil {
		return fmt.Errorf("register dashboard: %w", err)
	}
	return nil
}

func (c *Coordinator) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// leadUntilLost hands the leadership to the loop and returns when it is lost and nothing runs under it.
func (c *Coordinator) leadUntilLost(ctx context.Context, l *metastore.Leadership) {
	lctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := make(chan struct{})
	select {
	case c.leads <- leadership{l, lctx, idle}:
	case <-ctx.Done():
		return
	}
	select {
	case <-l.Lost:
	case <-ctx.Done():
	}
	cancel()
	<-idle
}

// loop owns what is running.
func (c *Coordinator) loop(ctx context.Context) {
	t, gap := time.NewTicker(analyseEvery), time.NewTimer(analyseGap)
	defer t.Stop()
	defer gap.Stop()
	var cur leadership
	for ctx.Err() == nil || cur.l != nil {
		var changed, over <-chan struct{}
		if st := c.state.Load(); st != nil && ctx.Err() == nil {
			for _, a := range c.takeDeferred() {
				c.asked(a)
			}
			changed = c.decide(st, time.Now())
		}
		if cur.l != nil {
			over = cur.ctx.Done()
		}
		select {
		case cur = <-c.leads:
			c.lead, c.leading = cur.l, cur.ctx
			c.acting.Store(true)
			c.events.emit(event.Event{Name: event.Leader, Text: c.opt.ID})
		case <-over:
			c.acting.Store(false)
			// The runs end by the same context.
			for len(c.running) > 0 {
				c.finish(<-c.finished)
			}
			c.events.emit(event.Event{Name: event.LeaderLost, Text: c.opt.ID})
			close(cur.idle)
			cur, c.lead = leadership{}, nil
		case r := <-c.finished:
			c.finish(r)
		case a := <-c.asks:
			c.asked(a)
		case <-c.woken:
		case <-changed:
			gap.Reset(analyseGap)
			select {
			case <-gap.C:
			case <-ctx.Done():
			}
		case <-t.C:
		}
	}
}

// decide analyses and starts what is to be done. The channel is closed when there is a newer view.
func (c *Coordinator) decide(st *State, now time.Time) (changed <-chan struct{}) {
	v, changed := c.fleet.view()
	problems := Analyse(v, st, now, c.cfg)
	c.mu.Lock()
	c.mu.problems = problems
	c.mu.Unlock()
	c.report(problems)
	if c.lead == nil || c.leading.Err() != nil {
		return changed
	}
	busy := map[topology.ShardID]bool{}
	for id, e := range st.Journal {
		busy[id] = true
		if c.running[string(id)] == nil && st.Rev >= c.minRev[id] && c.due(string(id), now) {
			c.startRun(st, e.Plan, e.Rev, nil)
		}
	}
	for _, p := range problems {
		key := string(p.Shard)
		if p.Code == ReplicaDetached {
			key += "/" + string(p.Node)
		}
		// Only the most urgent problem of a shard is answered, and attachments of several nodes side by side.
		if busy[p.Shard] || st.Rev < c.minRev[p.Shard] || c.running[string(p.Shard)] != nil ||
			c.running[key] != nil || !c.due(key, now) {
			continue
		}
		plan, ok := PlanFor(p, v, st)
		if !ok {
			continue
		}
		if plan.Kind != Attach {
			busy[p.Shard] = true
		}
		c.startRun(st, plan, 0, nil, p.Node)
	}
	return changed
}

// due: the last attempt is long enough ago.
func (c *Coordinator) due(key string, now time.Time) bool {
	at, ok := c.retryAt[key]
	if ok && !now.Before(at) {
		delete(c.retryAt, key)
	}
	return !ok || !now.Before(at)
}

// startRun starts a plan's goroutine; at is its journal revision if it is resumed.
func (c *Coordinator) startRun(st *State, p Plan, at int64, done chan<- error, node ...topology.NodeID) {
	key := string(p.Shard)
	if p.Kind == Attach {
		key += "/" + string(node[0])
	}
	if at == 0 {
		p.ID, p.Started = fmt.Sprintf("%s-%d-%s", p.Shard, p.Epoch, p.Kind), time.Now().UTC()
	}
	shard := string(p.Shard)
	r := &running{key: key, shard: p.Shard, run: &run{cfg: c.cfg, crew: c.crew, dashboards: len(st.Dashboards),
		journal: &journal{c.opt.Store, c.keys, c.lead.Guard}, log: c.log, shard: st.Records[p.Shard].Shard,
		plan: p.clone(), at: at,
		emit: func(n event.Name, id topology.NodeID, e topology.Epoch, text string) {
			c.events.emit(event.Event{Name: n, Shard: shard, Node: string(id), Epoch: uint64(e), Text: text})
		}}}
	if done != nil {
		r.waiting = append(r.waiting, done)
	}
	c.running[key] = r
	if p.Kind != Attach {
		c.mu.Lock()
		c.mu.plans[p.Shard] = p
		c.mu.Unlock()
	}
	ctx := c.leading
	go func() {
		r.err = r.run.execute(ctx, at != 0)
		c.finished <- r
	}()
}

// finish takes note of a plan that has ended.
func (c *Coordinator) finish(r *running) {
	delete(c.running, r.key)
	if r.run.plan.Kind != Attach {
		c.mu.Lock()
		delete(c.mu.plans, r.shard)
		c.mu.Unlock()
	}
	for _, w := range r.waiting {
		w <- r.err
	}
	// Deciding on a state older than the plan's last transaction would see the old primary again.
	c.minRev[r.shard] = max(c.minRev[r.shard], r.run.rev)
	switch {
	case r.run.plan.Kind == Attach:
		c.retryAt[r.key] = time.Now().Add(attachPause)
	case r.err != nil && !errors.Is(r.err, ErrGivenUp):
		c.log.Warn("plan ended", "plan", r.run.plan.ID, "err", r.err)
		c.retryAt[r.key] = time.Now().Add(retryPause)
	case r.run.plan.Kind == Failover && r.run.plan.From != "" && r.run.plan.Reason != byOperator:
		c.fleet.failedOver(r.shard)
	}
}

func (c *Coordinator) takeDeferred() (as []ask) {
	as, c.deferred = c.deferred, nil
	return as
}

// asked starts an operator's plan if nothing else is under way in the shard.
func (c *Coordinator) asked(a ask) {
	st := c.state.Load()
	// The election's outcome can be seen in the metastore before the campaign has handed it to the loop, and a
	// predecessor under the same id may still stand there until its lease ends.
	elected := st != nil && st.Leader == c.opt.ID && c.lead == nil
	if st != nil && st.Rev < c.minRev[a.shard] || elected {
		c.deferred = append(c.deferred, a)
		return
	}
	err := func() error {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		if c.lead == nil || c.leading.Err() != nil || st == nil {
			return ErrNotLeader
		}
		rec, ok := st.Records[a.shard]
		if !ok {
			return fmt.Errorf("shard %s: %w", a.shard, ErrNotFound)
		}
		if _, journaled := st.Journal[a.shard]; journaled || c.running[string(a.shard)] != nil {
			return fmt.Errorf("shard %s: %w", a.shard, ErrBusy)
		}
		v, _ := c.fleet.view()
		p, err := a.plan(rec, v)
		if err == nil {
			c.startRun(st, p, 0, a.done)
		}
		return err
	}()
	if err != nil {
		a.done <- err
	}
}

// report turns problems that begin and end into events.
func (c *Coordinator) report(problems []Problem) {
	type words struct{ begin, end event.Name }
	named := map[Code]words{
		PrimaryCrashed: {event.Down, event.Up}, PrimarySilent: {event.Down, event.Up},
		ReplicaDown:    {event.Down, event.Up},
		PrimarySuspect: {event.Suspect, event.SuspectEnd},
		PrimaryFailed:  {event.Failed, event.FailedEnd}, NodeFailed: {event.Failed, event.FailedEnd},
	}
	now := map[string]Problem{}
	for _, p := range problems {
		w, ok := named[p.Code]
		if !ok {
			continue
		}
		key := string(w.begin) + string(p.Node)
		if _, dup := now[key]; dup {
			continue
		}
		now[key] = p
		old, known := c.reported[key]
		if !known {
			c.events.emit(event.Event{Name: w.begin, Shard: string(p.Shard), Node: string(p.Node),
				Text: p.Summary})
		}
		braked := !p.Actionable &&
			slices.ContainsFunc(rules, func(r rule) bool { return r.code == p.Code && r.act })
		if braked && (!known || old.Actionable) {
			c.events.emit(event.Event{Name: event.FailoverBrake, Shard: string(p.Shard), Node: string(p.Node),
				Text: p.Summary})
		}
	}
	for key, p := range c.reported {
		if _, still := now[key]; !still {
			c.events.emit(event.Event{Name: named[p.Code].end, Shard: string(p.Shard), Node: string(p.Node)})
		}
	}
	c.reported = now
}
