package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"haypile/internal/topology"
)

// grant is one granter's part of a lease.
type grant struct {
	epoch topology.Epoch
	until time.Time
}

// leaseState computes the lease. Pure: the caller brings the time and the lock.
type leaseState struct {
	length   time.Duration
	members  []string         // ids of the dashboards; a majority of them makes a lease
	grants   map[string]grant // by dashboard
	failsafe grant            // of all other members of the shard
	promised topology.Epoch   // highest promised; nothing below is granted to others
	// lastGranted is when this node last granted another one a failsafe lease. A process that has just
	// started may have granted one before it died, so it begins at the start.
	lastGranted time.Time
}

// end is how long a question sent at that time carries: the lease less the margin for clock drift and for
// the way from the check to the socket.
func (l *leaseState) end(sent time.Time) time.Time { return sent.Add(l.length * 9 / 10) }

// until is the end of the lease in epoch; the zero time if there never was one.
func (l *leaseState) until(epoch topology.Epoch) time.Time {
	var ends []time.Time
	for _, id := range l.members {
		if g := l.grants[id]; g.epoch == epoch {
			ends = append(ends, g.until)
		}
	}
	var t time.Time
	if need := len(l.members)/2 + 1; len(ends) >= need {
		slices.SortFunc(ends, func(a, b time.Time) int { return b.Compare(a) })
		t = ends[need-1]
	}
	if l.failsafe.epoch == epoch && l.failsafe.until.After(t) {
		t = l.failsafe.until
	}
	return t
}

// add records a grant; an older one never replaces a newer one.
func (l *leaseState) add(id string, g grant) {
	if old := l.grants[id]; g.epoch > old.epoch || g.epoch == old.epoch && g.until.After(old.until) {
		l.grants[id] = g
	}
}

// addGrant records a dashboard's answer to a heartbeat sent at that time and extends the node's lease.
func (a *Agent) addGrant(dashboard string, epoch topology.Epoch, sent time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := &a.mu.lease
	l.members = a.mu.members.Dashboards
	if !slices.Contains(l.members, dashboard) {
		return
	}
	l.add(dashboard, grant{epoch, l.end(sent)})
	a.extendLocked(epoch)
}

// extendLocked tells the node the lease of epoch. The lock keeps two calls in order.
func (a *Agent) extendLocked(epoch topology.Epoch) {
	if t := a.mu.lease.until(epoch); !t.IsZero() && epoch >= a.mu.lease.promised {
		a.opt.Node.SetLease(epoch, t)
	}
}

// promise notes an epoch before the node is asked to promise it: from here on no failsafe lease below it
// is granted, whatever becomes of the request.
func (a *Agent) promise(epoch topology.Epoch) {
	a.mu.Lock()
	a.mu.lease.promised = max(a.mu.lease.promised, epoch)
	a.mu.Unlock()
}

// grantFailsafe answers another node that asks for the failsafe lease.
func (a *Agent) grantFailsafe(epoch topology.Epoch) error {
	r := a.opt.Node.Report()
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := max(r.Promised, a.mu.lease.promised); epoch < p {
		return fmt.Errorf("grant in epoch %d: %d: %w", epoch, p, ErrStaleEpoch)
	}
	if r.Role == topology.RolePrimary && !r.Pending {
		return fmt.Errorf("grant from a primary: %w", ErrWrongRole)
	}
	a.mu.lease.lastGranted = time.Now()
	return nil
}

func (a *Agent) grantAge() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Since(a.mu.lease.lastGranted)
}

// keepFailsafe asks the other members when the dashboards' grants run out.
func (a *Agent) keepFailsafe() {
	defer a.wg.Done()
	peers := map[topology.NodeID]*peer{}
	defer func() {
		for _, p := range peers {
			p.drop()
		}
	}()
	t := time.NewTicker(a.opt.Heartbeat)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-a.ctx.Done():
			return
		}
		epoch, members, due := a.failsafeDue(time.Now())
		if !due {
			continue
		}
		sent := time.Now()
		if a.askAll(peers, members, epoch) {
			a.mu.Lock()
			a.mu.lease.failsafe = grant{epoch, a.mu.lease.end(sent)}
			a.extendLocked(epoch)
			a.mu.Unlock()
		}
	}
}

// failsafeDue says whether the lease has so little left that the dashboards must be taken for gone. A node
// that was never told its shard has no failsafe.
func (a *Agent) failsafeDue(now time.Time) (topology.Epoch, topology.Members, bool) {
	r := a.opt.Node.Report()
	if !needsLease(r) {
		return 0, topology.Members{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.mu.members
	left := a.mu.lease.until(r.Epoch).Sub(now)
	return r.Epoch, m, m.Self != "" && left < a.opt.Lease/2
}

// askAll asks every other member; true if all grant.
func (a *Agent) askAll(peers map[topology.NodeID]*peer, m topology.Members, epoch topology.Epoch) bool {
	ctx, cancel := context.WithTimeout(a.ctx, a.opt.Lease*3/10)
	defer cancel()
	for id, p := range peers {
		same := func(n topology.Node) bool { return n.ID == id && n.AgentAddr == p.addr }
		if !slices.ContainsFunc(m.Nodes, same) {
			p.drop()
			delete(peers, id)
		}
	}
	hello := topology.PeerHello{Cluster: a.opt.Cluster, Kind: topology.PeerNode, ID: string(m.Self),
		Secret: a.opt.Secret}
	var wg sync.WaitGroup
	refused := make(chan error, len(m.Nodes))
	for _, n := range m.Nodes {
		if n.ID == m.Self {
			continue
		}
		p := peers[n.ID]
		if p == nil {
			p = &peer{addr: n.AgentAddr}
			peers[n.ID] = p
		}
		wg.Go(func() {
			q := topology.Request{Op: topology.OpGrant, Epoch: epoch, Node: m.Self}
			if err := p.ask(ctx, a.opt.Dial, hello, q); err != nil {
				refused <- fmt.Errorf("%s: %w", n.ID, err)
			}
		})
	}
	wg.Wait()
	if len(refused) > 0 {
		a.log.Debug("failsafe lease refused", "err", <-refused)
		return false
	}
	return true
}

// peer is the connection to another member, dialled when needed. One goroutine uses it at a time.
type peer struct {
	addr   string
	client *Client
}

func (p *peer) ask(ctx context.Context, dial DialFunc, hello topology.PeerHello, q topology.Request) error {
	if p.client != nil && p.client.Err() != nil {
		p.drop()
	}
	if p.client == nil {
		c, err := Connect(ctx, p.addr, ClientOptions{Hello: hello, Dial: dial})
		if err != nil {
			return err
		}
		p.client = c
	}
	_, err := p.client.Call(ctx, q)
	return err
}

func (p *peer) drop() {
	if p.client != nil {
		p.client.Close()
		p.client = nil
	}
}
