package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"haypile/internal/agent"
	"haypile/internal/option"
	"haypile/internal/replication"
	"haypile/internal/replog"
	"haypile/internal/topology"
)

// agentNode is the node as its agent sees it: agent.Node.
type agentNode struct{ s *Server }

func agentStale(got topology.Epoch, promised uint64) error {
	return fmt.Errorf("epoch %d, promised %d: %w", got, promised, agent.ErrStaleEpoch)
}

// errStarting: the agent is there before the data, so that a dashboard can tell this from a dead process.
var errStarting = errors.New("the node is opening its data")

// Report implements agent.Node.
func (a agentNode) Report() topology.NodeReport {
	s := a.s
	n := s.state.Load()
	r := topology.NodeReport{
		RunID: s.runID, Version: s.opt.Version, Addr: s.Addr(), Role: topology.RoleReplica, Pending: n.pending,
		Managed: n.lineage.Managed, Epoch: topology.Epoch(n.epoch), Promised: topology.Epoch(s.promised.Load()),
		LogEpoch: topology.Epoch(logEpoch(n.lineage)), ReplID: n.lineage.ReplID(), Priority: int(s.cfg.Int(option.ReplicaPriority)),
		DiskFull: s.x.DiskFull(), Failed: n.failed, Parked: s.x.Parked(),
	}
	if n.primary {
		r.Role = topology.RolePrimary
	}
	if e := s.x.Failed(); e != nil && r.Failed == "" {
		r.Failed = string(*e)
	}
	reigns := n.lineage.Reigns
	for _, g := range reigns[max(0, len(reigns)-8):] {
		r.Lineage = append(r.Lineage, topology.Reign{Epoch: topology.Epoch(g.Epoch), ReplID: g.ReplID, Start: int64(g.Start)})
	}
	if l := n.data.data.Log; l != nil {
		r.End, r.Durable = int64(l.End()), int64(l.Synced())
	}
	if st := n.data.data.Store; st != nil {
		r.Applied = st.Applied()
		for db := range st.Databases() {
			k, _ := st.Counts(db)
			r.Keys += k
		}
	}
	r.Link = s.linkReport(n)
	for _, f := range s.feeds.Snapshot() {
		r.Replicas = append(r.Replicas, topology.ReplicaReport{Addr: fmt.Sprintf("%s:%d", f.IP, f.Port), Ack: int64(f.Acked),
			LagMs: f.Lag.Milliseconds(), Online: f.State == replication.FeedOnline})
	}
	return r
}

func (s *Server) linkReport(n *nodeState) topology.Link {
	if n.link == nil {
		return topology.Link{AgeMs: -1, Primary: n.lineage.PrimaryAddr}
	}
	st := n.link.Status()
	l := topology.Link{Primary: n.lineage.PrimaryAddr, AgeMs: -1, Broken: isBroken(st)}
	if !st.LastIO.IsZero() {
		l.AgeMs = time.Since(st.LastIO).Milliseconds()
	}
	switch st.State {
	case replication.LinkConnected:
		l.State = topology.LinkUp
	case replication.LinkSync:
		l.State = topology.LinkSync
	case replication.LinkConnect:
		l.State = topology.LinkDown
	default:
		l.State = topology.LinkConnecting
	}
	return l
}

// confirmWait bounds how long a planned end of a reign waits for acknowledgements of writes. They take as long
// as a round trip to a replica, unless that replica is gone.
const confirmWait = 100 * time.Millisecond

// Fence implements agent.Node.
func (a agentNode) Fence(ctx context.Context, epoch topology.Epoch) (topology.FenceAnswer, error) {
	s := a.s
	if s.state.Load().primary && s.x.Parked() {
		// A planned change: the target has every write, and only the acknowledgements are on their way.
		cctx, cancel := context.WithTimeout(ctx, confirmWait)
		s.x.AwaitConfirmed(cctx)
		cancel()
	}
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	p := s.promised.Load()
	switch {
	case s.role.data.data.Log == nil:
		return topology.FenceAnswer{}, errStarting
	case uint64(epoch) < p:
		return topology.FenceAnswer{}, agentStale(epoch, p)
	case uint64(epoch) > p:
		if err := s.fenceLocked(epoch); err != nil {
			return topology.FenceAnswer{}, err
		}
	}
	n := s.state.Load()
	r := a.Report()
	ans := topology.FenceAnswer{Role: r.Role, Pending: r.Pending, Epoch: r.Epoch, LogEpoch: r.LogEpoch, End: r.End,
		Durable: r.Durable, Promotable: true}
	switch {
	case r.Priority == 0:
		ans.Promotable, ans.Reason = false, "priority 0"
	case r.Failed != "":
		ans.Promotable, ans.Reason = false, r.Failed
	case r.DiskFull:
		ans.Promotable, ans.Reason = false, "the disk is full"
	}
	ans.Empty = len(n.lineage.Reigns) == 0
	return ans, nil
}

// Open implements agent.Node.
func (a agentNode) Open(_ context.Context, epoch topology.Epoch) error {
	s := a.s
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	switch {
	case s.role.data.data.Log == nil:
		return errStarting
	case uint64(epoch) < s.promised.Load():
		return agentStale(epoch, s.promised.Load())
	}
	n := s.state.Load()
	if n.primary && !n.pending && n.epoch == uint64(epoch) && s.x.Role().Writable {
		return nil
	}
	return s.openLocked(epoch)
}

// Follow implements agent.Node.
func (a agentNode) Follow(_ context.Context, epoch topology.Epoch, addr string) error {
	s := a.s
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	switch {
	case s.role.data.data.Log == nil:
		return errStarting
	case uint64(epoch) < s.promised.Load():
		return agentStale(epoch, s.promised.Load())
	}
	n := s.state.Load()
	if n.primary && s.x.Role().Writable && n.epoch == uint64(epoch) && epoch > 0 {
		return agent.ErrWrongRole
	}
	if s.role.link != nil && s.role.lineage.PrimaryAddr == addr && s.promised.Load() == uint64(epoch) {
		if st := s.role.link.Status(); !st.Halted {
			return nil
		}
	}
	return s.followLocked(addr, epoch)
}

// Park implements agent.Node.
func (a agentNode) Park(_ context.Context, max time.Duration) (int64, error) {
	s := a.s
	if !s.x.Role().Writable {
		return 0, agent.ErrWrongRole
	}
	return int64(s.x.ParkFor(max)), nil
}

// Unpark implements agent.Node.
func (a agentNode) Unpark() { a.s.x.Unpark() }

// WaitOffset implements agent.Node.
func (a agentNode) WaitOffset(ctx context.Context, offset int64) error {
	s := a.s
	for {
		n := s.state.Load()
		d := n.data.data
		if d.Log == nil {
			return errNotPrimary
		}
		link := n.link
		if link == nil {
			link = n.ending
		}
		_, err := d.Log.WaitEnd(ctx, replog.Offset(offset-1))
		if err == nil {
			err = d.Log.Sync(replog.Offset(offset))
		}
		if err == nil && d.Store.Applied() < offset && link != nil {
			err = link.WaitApplied(ctx, replog.Offset(offset))
		}
		// A full sync or another role may have come in between: then it is the present pair and link that count.
		now := s.state.Load()
		changed := now.data.data != d || now.link != n.link && now.ending != link
		if !changed || ctx.Err() != nil {
			return err
		}
	}
}

// SetLease implements agent.Node.
func (a agentNode) SetLease(epoch topology.Epoch, until time.Time) {
	if n := a.s.state.Load(); n.epoch == uint64(epoch) && n.primary {
		a.s.x.SetLease(until)
	}
}
