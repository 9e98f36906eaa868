package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/resp"
	"haypile/internal/topology"
)

// shard is the proxy's lasting state of one shard: where its primary is, the connections to it, and the
// lanes that wait for one.
type shard struct {
	p    *Proxy
	id   topology.ShardID
	wake chan struct{} // something waits: run shall watch over it
	// noPrimary is the reply to a request that was held for too long.
	noPrimary string

	mu struct {
		sync.Mutex
		target *target // the current primary; nil while there is none
		// previous is a primary that lost its role while no new one was named: what is in flight to it
		// may still be answered.
		previous *target
		waiting  map[*lane]uint64 // with the order of their arrival
		arrivals uint64
		links    map[*link]struct{}
	}
}

// target is a node in its time as the primary, with the connections to it. Guarded by shard.mu, but for
// what is immutable.
type target struct {
	shard  *shard
	addr   string
	epoch  topology.Epoch
	since  time.Time
	ctx    context.Context // ends with the target
	cancel context.CancelFunc

	refusing  atomic.Bool // the node refuses; changed under shard.mu
	pools     map[connKey]*pool
	conns     map[*conn]struct{} // all, for sweeping and closing
	dedicated int                // dedicated connections that exist or are being made
	// servedAt is when the node last began to accept commands again, probeWait how long the last probe waited.
	servedAt  time.Time
	probeWait time.Duration
	warnedAt  time.Time // of the last message that it cannot be reached
}

// pool is the shared connections for one key, and the idle dedicated ones.
type pool struct {
	key    connKey
	conns  []*conn // fixed length; nil where there is none
	dials  []bool
	wanted []bool
	idle   []*conn // dedicated
	// wantDedicated is the number of lanes that asked for a dedicated connection since the last pump and got
	// none, dialing the number of dedicated connections being made.
	wantDedicated, dialing int
	retryAt                time.Time
	backoff                time.Duration
}

const (
	dialBackoffMin = 10 * time.Millisecond
	dialBackoffMax = 200 * time.Millisecond
	// idleConn is how long an unused connection is kept.
	idleConn = 5 * time.Minute
	// maxIdleDedicated bounds the unused dedicated connections of a pool.
	maxIdleDedicated = 16
	// dedicatedDials bounds the dedicated connections being made at a time.
	dedicatedDials = 32
	// warnInterval is the least time between messages that a node cannot be reached.
	warnInterval = 5 * time.Second
	// watchInterval is how often waiting requests are looked at for their time limits.
	watchInterval = 20 * time.Millisecond
)

func newShard(p *Proxy, id topology.ShardID) *shard {
	s := &shard{p: p, id: id, wake: make(chan struct{}, 1)}
	s.mu.waiting = map[*lane]uint64{}
	s.mu.links = map[*link]struct{}{}
	s.noPrimary = fmt.Sprintf("-ERR no primary for shard %s within %v\r\n", id, p.opt.HoldTimeout)
	return s
}

func newTarget(s *shard, addr string, epoch topology.Epoch) *target {
	t := &target{
		shard: s, addr: addr, epoch: epoch, since: time.Now(),
		pools: map[connKey]*pool{}, conns: map[*conn]struct{}{},
	}
	t.ctx, t.cancel = context.WithCancel(s.p.ctx)
	return t
}

// setPrimary makes addr the primary from now on; an empty address means that there is none.
func (s *shard) setPrimary(addr string, epoch topology.Epoch) {
	s.mu.Lock()
	old := s.mu.target
	if old != nil && old.addr == addr {
		old.epoch = epoch
		s.mu.Unlock()
		return
	}
	var gone []*target
	prev := s.mu.previous
	switch {
	case addr == "" && old == nil:
		s.mu.Unlock()
		return
	case addr == "":
		old.suspendLocked()
		s.mu.previous, s.mu.target = old, nil
	case old == nil && prev != nil && prev.addr == addr:
		prev.epoch = epoch
		s.mu.previous, s.mu.target = nil, prev
		if !prev.refusing.Load() {
			prev.resumeLocked()
		}
	default:
		for _, t := range []*target{old, prev} {
			if t != nil {
				t.suspendLocked()
				gone = append(gone, t)
			}
		}
		s.mu.previous, s.mu.target = nil, newTarget(s, addr, epoch)
	}
	links := make([]*link, 0, len(s.mu.links))
	for l := range s.mu.links {
		links = append(links, l)
	}
	s.mu.Unlock()

	s.p.log.Info("primary changed", "shard", s.id, "addr", addr, "epoch", epoch)
	for _, t := range gone {
		t.retire(s.p.opt.SwitchGrace)
	}
	for _, l := range links {
		l.primaryChanged()
	}
	s.pump()
}

const replyNoReplicas = "-" + resp.ErrNoReplicas + "\r\n"

// settleTime is what the replicas of a new primary have to link to it.
const settleTime = 2 * time.Second

// lacksReplicas reports whether a reply says that the node did not execute a write for want of replicas,
// while these may be on their way to a new primary.
func (t *target) lacksReplicas(reply []byte) bool {
	return string(reply) == replyNoReplicas && time.Since(t.since) < settleTime
}

// suspendLocked lets nothing new be sent to the target.
func (t *target) suspendLocked() {
	for c := range t.conns {
		c.usable.Store(false)
	}
}

// resumeLocked is the opposite of suspendLocked.
func (t *target) resumeLocked() {
	for c := range t.conns {
		c.mu.Lock()
		c.usable.Store(!c.mu.closed)
		c.mu.Unlock()
	}
}

// retire ends a target that is not the primary any more.
func (t *target) retire(grace time.Duration) {
	t.cancel()
	t.shard.mu.Lock()
	conns := make([]*conn, 0, len(t.conns))
	for c := range t.conns {
		conns = append(conns, c)
	}
	t.shard.mu.Unlock()
	for _, c := range conns {
		c.retire(grace)
	}
}

// primary is the address of the current primary.
func (s *shard) primary() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.target == nil {
		return "", false
	}
	return s.mu.target.addr, !s.mu.target.refusing.Load()
}

// acquire finds a connection for a request, or registers the lane as waiting and returns nil. An error is
// final for the request. Called with session.mu held.
func (s *shard) acquire(l *lane, r *request) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.mu.target
	if t != nil && !t.refusing.Load() {
		po := t.poolLocked(r.key)
		if r.dedicated {
			if c := po.takeIdleLocked(); c != nil {
				return c, nil
			}
			// Those being made are for the lanes that asked before.
			if t.dedicated >= s.p.opt.MaxDedicated && po.wantDedicated >= po.dialing {
				return nil, errCrowded
			}
			po.wantDedicated++
		} else if c := po.pickLocked(int(l.s.id % int64(len(po.conns)))); c != nil {
			return c, nil
		}
		t.dialWantedLocked(po, time.Now())
	}
	if !l.waiting {
		l.waiting = true
		s.mu.arrivals++
		s.mu.waiting[l] = s.mu.arrivals
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil, nil
}

var errCrowded = errors.New("too many dedicated connections")

func (t *target) poolLocked(key connKey) *pool {
	po := t.pools[key]
	if po == nil {
		n := t.shard.p.opt.ConnsPerShard
		po = &pool{key: key, conns: make([]*conn, n), dials: make([]bool, n), wanted: make([]bool, n)}
		t.pools[key] = po
	}
	return po
}

// takeIdleLocked takes the dedicated connection that was used last.
func (po *pool) takeIdleLocked() *conn {
	for n := len(po.idle); n > 0; n = len(po.idle) {
		c := po.idle[n-1]
		po.idle = po.idle[:n-1]
		if c.usable.Load() {
			return c
		}
	}
	return nil
}

// pickLocked returns the preferred connection. If that does not work it is asked for.
func (po *pool) pickLocked(i int) *conn {
	if c := po.conns[i]; c != nil && c.usable.Load() {
		return c
	}
	po.wanted[i] = true
	return nil
}

// dialWantedLocked starts making the connections that were asked for, unless the last attempt just failed.
func (t *target) dialWantedLocked(po *pool, now time.Time) {
	if now.Before(po.retryAt) {
		return
	}
	for i, want := range po.wanted {
		if want && !po.dials[i] && (po.conns[i] == nil || !po.conns[i].usable.Load()) {
			po.dials[i] = true
			t.shard.p.wg.Add(1)
			go t.dial(po, i)
		}
		po.wanted[i] = po.wanted[i] && po.dials[i]
	}
	for po.dialing < min(po.wantDedicated, dedicatedDials) && t.dedicated < t.shard.p.opt.MaxDedicated {
		po.dialing++
		t.dedicated++
		t.shard.p.wg.Add(1)
		go t.dial(po, none)
	}
}

// dial makes connection i of a pool, or a dedicated one if i is none.
func (t *target) dial(po *pool, i int) {
	p := t.shard.p
	defer p.wg.Done()
	cl, err := resp.Dial(t.ctx, t.addr, p.dialOptions(po.key))
	p.metrics.dialed(err)

	s := t.shard
	s.mu.Lock()
	if i == none {
		po.dialing--
	} else {
		po.dials[i] = false
	}
	if err == nil && s.mu.target != t {
		err = errRetired
		cl.Close()
	}
	if err != nil {
		if i == none {
			t.dedicated--
		}
		po.backoff = min(max(2*po.backoff, dialBackoffMin), dialBackoffMax)
		po.retryAt = time.Now().Add(po.backoff)
		quiet := t.ctx.Err() != nil || time.Since(t.warnedAt) < warnInterval
		if !quiet {
			t.warnedAt = time.Now()
		}
		s.mu.Unlock()
		if !quiet {
			p.log.Warn("cannot connect to primary", "shard", s.id, "addr", t.addr, "error", err)
		}
		return
	}
	po.backoff, po.retryAt = 0, time.Time{}
	c := newConn(t, po.key, i == none, cl.Conn())
	c.nc.SetDeadline(time.Time{})
	c.usable.Store(!t.refusing.Load())
	t.conns[c] = struct{}{}
	if i == none {
		po.idle = append(po.idle, c)
	} else {
		po.conns[i], po.wanted[i] = c, false
	}
	c.run()
	s.mu.Unlock()
	s.pump()
}

// release takes back a dedicated connection in a clean state.
func (s *shard) release(c *conn) {
	s.mu.Lock()
	po := c.target.pools[c.key]
	keep := s.mu.target == c.target && c.usable.Load() && po != nil &&
		(len(po.idle) < maxIdleDedicated || po.wantDedicated > 0)
	wanted := false
	if keep {
		po.idle = append(po.idle, c)
		wanted = po.wantDedicated > 0
	}
	s.mu.Unlock()
	if !keep {
		c.close(errIdle)
	}
	if wanted {
		// Not from here: the caller holds a session's lock, and pump takes others.
		s.kick()
	}
}

// drop forgets a connection that failed.
func (s *shard) drop(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := c.target
	delete(t.conns, c)
	po := t.pools[c.key]
	if c.dedicated {
		t.dedicated--
		for _, po := range t.pools {
			for i, other := range po.idle {
				if other == c {
					po.idle = append(po.idle[:i], po.idle[i+1:]...)
					break
				}
			}
		}
		return
	}
	if po == nil {
		return
	}
	for i, other := range po.conns {
		if other == c {
			po.conns[i] = nil
		}
	}
}

// kick makes run look at what waits.
func (s *shard) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pump lets every waiting lane try again. The caller holds no lock.
func (s *shard) pump() {
	s.mu.Lock()
	lanes := s.waitingLocked()
	if t := s.mu.target; t != nil {
		for _, po := range t.pools {
			po.wantDedicated = 0 // who still wants one asks again
		}
	}
	s.mu.Unlock()
	for _, l := range lanes {
		l.s.pump(l)
	}
}

// waitingLocked lists the lanes that wait, the longest waiting first. They stay registered.
func (s *shard) waitingLocked() []*lane {
	lanes := make([]*lane, 0, len(s.mu.waiting))
	for l := range s.mu.waiting {
		lanes = append(lanes, l)
	}
	slices.SortFunc(lanes, func(a, b *lane) int { return cmp.Compare(s.mu.waiting[a], s.mu.waiting[b]) })
	return lanes
}

// forget takes a lane off the list of those that wait. Called with session.mu held.
func (s *shard) forget(l *lane) {
	s.mu.Lock()
	delete(s.mu.waiting, l)
	s.mu.Unlock()
	l.waiting = false
}

// refuses is called when the node answered that it does not execute commands now: nothing more is sent
// until a probe says otherwise, or another node is the primary.
func (t *target) refuses() {
	s := t.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.target != t || t.refusing.Load() {
		return
	}
	t.refusing.Store(true)
	t.suspendLocked()
	// A node that takes requests back right after it offered to serve is asked ever less often: each round
	// sends everything that waits.
	if time.Since(t.servedAt) > time.Second {
		t.probeWait = probeMin
	} else {
		t.probeWait = min(2*t.probeWait, probeMax)
	}
	s.p.wg.Add(1)
	go t.probe(t.probeWait)
}

const (
	probeMin = 5 * time.Millisecond
	probeMax = 100 * time.Millisecond
)

// probe asks a node that refused whether it accepts commands again, until it does or the target ends.
func (t *target) probe(wait time.Duration) {
	s := t.shard
	defer s.p.wg.Done()
	s.p.log.Info("primary refuses commands; holding requests", "shard", s.id, "addr", t.addr)
	var cl *resp.Client
	defer func() {
		if cl != nil {
			cl.Close()
		}
	}()
	for ; ; wait = min(2*wait, probeMax) {
		select {
		case <-t.ctx.Done():
			return
		case <-time.After(wait):
		}
		var err error
		if cl == nil {
			if cl, err = resp.Dial(t.ctx, t.addr, s.p.dialOptions(connKey{proto: 2})); err != nil {
				cl = nil
				continue
			}
		}
		if ok, err := servesAsPrimary(t.ctx, cl); err != nil {
			cl.Close()
			cl = nil
		} else if ok {
			break
		}
	}
	s.mu.Lock()
	t.refusing.Store(false)
	t.servedAt, t.probeWait = time.Now(), wait
	if s.mu.target == t {
		t.resumeLocked()
	}
	s.mu.Unlock()
	s.pump()
}

// servesAsPrimary asks a node whether it executes commands and is a primary.
func servesAsPrimary(ctx context.Context, cl *resp.Client) (bool, error) {
	vs, err := cl.Pipeline(ctx, [][]any{{"PING"}, {"ROLE"}})
	if err != nil {
		return false, err
	}
	ping, role := vs[0], vs[1]
	serves := ping.Err() == nil && len(role.Elems) > 0 && role.Elems[0].String() == "master"
	return serves, nil
}

// run watches over waiting requests: their time limits, and connections that could not be made.
func (s *shard) run() {
	defer s.p.wg.Done()
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	active := false
	for {
		select {
		case <-s.p.ctx.Done():
			return
		case <-s.wake:
			if !active {
				active = true
				tick.Reset(watchInterval)
			}
			s.pumpDedicated()
		case <-tick.C:
			if !s.watch() {
				active = false
				tick.Reset(time.Hour)
			}
		}
	}
}

// pumpDedicated lets waiting lanes take dedicated connections that were given back.
func (s *shard) pumpDedicated() {
	s.mu.Lock()
	again := false
	if t := s.mu.target; t != nil && !t.refusing.Load() {
		for _, po := range t.pools {
			again = again || po.wantDedicated > 0 && len(po.idle) > 0
		}
	}
	s.mu.Unlock()
	if again {
		s.pump()
	}
}

// watch fails the requests whose time is over and repeats attempts to connect. It reports whether anything
// is still waiting.
func (s *shard) watch() bool {
	now := time.Now()
	s.mu.Lock()
	lanes := s.waitingLocked()
	if t := s.mu.target; t != nil && !t.refusing.Load() {
		for _, po := range t.pools {
			t.dialWantedLocked(po, now)
		}
	}
	s.mu.Unlock()
	for _, l := range lanes {
		l.s.expire(l, now.UnixNano())
	}
	return len(lanes) > 0
}

// sweep closes connections that hang or are idle.
func (s *shard) sweep(now int64) {
	s.mu.Lock()
	var conns []*conn
	var idle []*conn
	for _, t := range []*target{s.mu.target, s.mu.previous} {
		if t == nil {
			continue
		}
		for c := range t.conns {
			conns = append(conns, c)
		}
		for _, po := range t.pools {
			// The front of the list is what was not used for longest.
			for len(po.idle) > 0 && now-po.idle[0].used.Load() > int64(idleConn) {
				idle = append(idle, po.idle[0])
				po.idle = po.idle[1:]
			}
		}
	}
	s.mu.Unlock()
	for _, c := range idle {
		c.close(errIdle)
	}
	for _, c := range conns {
		c.check(now, s.p.opt.BackendTimeout)
	}
}

// close ends every connection.
func (s *shard) close() {
	s.mu.Lock()
	targets := []*target{s.mu.target, s.mu.previous}
	s.mu.target, s.mu.previous = nil, nil
	var conns []*conn
	for _, t := range targets {
		if t != nil {
			t.cancel()
			for c := range t.conns {
				conns = append(conns, c)
			}
		}
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.close(errRetired)
	}
}
