package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"haypile/internal/commands"
	"haypile/internal/exec"
	"haypile/internal/option"
	"haypile/internal/replication"
	"haypile/internal/replog"
	"haypile/internal/resp"
	"haypile/internal/topology"
)

// settleRole decides at start what this node is.
//
//   - A file that names a primary, or a lineage that ends as a replica, makes a replica.
//   - A node in the care of a dashboard waits until one says what it is.
//   - A former primary that had replicas waits too: it asks them and the configured peers who is primary now,
//     and replays nothing before it knows, because its log may end in bytes that nobody else has.
//   - Any other node opens.
func (s *Server) settleRole() {
	s.roleMu.Lock()
	l := s.role.lineage
	s.roleMu.Unlock()
	follow := option.ReplicaOf.Get(s.cfg)
	var err error
	switch {
	case s.cfg.Bool(option.Managed) || l.Managed:
		s.log.Info("waiting for a dashboard to settle the role", "last_role", l.Role)
		if l.Role == replog.RoleReplica && l.PrimaryAddr != "" {
			err = s.recoverAs(l, func() error { return s.followLocked(l.PrimaryAddr, 0) })
		} else if l.Role == "" {
			err = s.recoverAs(l, func() error { return nil })
		}
	case !follow.IsZero():
		err = s.recoverAs(l, func() error { return s.followLocked(follow.String(), 0) })
	case l.Role == replog.RoleReplica && l.PrimaryAddr != "":
		s.log.Info("going on as a replica, as the lineage says", "primary", l.PrimaryAddr)
		err = s.recoverAs(l, func() error { return s.followLocked(l.PrimaryAddr, 0) })
	case l.HadReplicas || len(option.Peers.Get(s.cfg)) > 0:
		err = s.settleByPeers(l)
	default:
		err = s.recoverAs(l, func() error { return s.openLocked(0) })
	}
	if err != nil && s.ctx.Err() == nil {
		s.fatal("the node can't take up its role", err)
	}
}

// recoverAs replays the log and takes up a role, unless somebody has settled the role meanwhile.
func (s *Server) recoverAs(decidedOn replog.Lineage, f func() error) error {
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	now := s.role.lineage
	if s.isSettled() || s.role.link != nil || now.PromisedEpoch != decidedOn.PromisedEpoch ||
		now.Role != decidedOn.Role || now.PrimaryAddr != decidedOn.PrimaryAddr {
		return nil
	}
	return f()
}

// settleByPeers asks who is primary now, for at most primary-restart-wait.
func (s *Server) settleByPeers(l replog.Lineage) error {
	peers := append(append([]string(nil), l.Peers...), option.Peers.Get(s.cfg)...)
	s.log.Info("asking who is primary before taking writes again", "peers", peers)
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Duration(option.PrimaryRestartWait))
	defer cancel()
	primary := s.findPrimary(ctx, peers)
	return s.recoverAs(l, func() error {
		if primary != "" {
			s.log.Info("another node is primary now", "primary", primary)
			return s.followLocked(primary, 0)
		}
		return s.openLocked(0)
	})
}

// findPrimary asks the peers until each has answered that it still follows this node, or one says that there
// is another primary, or time is up. It returns the other primary's address, "" if there is none.
func (s *Server) findPrimary(ctx context.Context, peers []string) string {
	type answer struct{ primary string }
	answers := make(chan answer, len(peers))
	asked := map[string]bool{}
	n := 0
	for _, p := range peers {
		if asked[p] || s.isSelf(p) {
			continue
		}
		asked[p] = true
		n++
		go func() {
			for ctx.Err() == nil {
				primary, err := s.askPeer(ctx, p)
				if err == nil {
					answers <- answer{primary}
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
			answers <- answer{}
		}()
	}
	for ; n > 0; n-- {
		if a := <-answers; a.primary != "" && !s.isSelf(a.primary) {
			return a.primary
		}
	}
	return ""
}

// askPeer reads a peer's INFO replication: "" means that it follows this node or knows of no other primary.
func (s *Server) askPeer(ctx context.Context, addr string) (string, error) {
	c, err := s.dialNode(ctx, addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	v, err := c.Do(ctx, "INFO", "replication")
	if err != nil {
		return "", err
	}
	info := parseInfo(string(v.Str))
	if info["role"] == "master" {
		return addr, nil
	}
	if info["master_host"] == "" {
		return "", fmt.Errorf("peer %s does not tell its primary", addr)
	}
	return net.JoinHostPort(info["master_host"], info["master_port"]), nil
}

func parseInfo(text string) map[string]string {
	m := map[string]string{}
	for _, line := range strings.Split(text, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok {
			m[k] = v
		}
	}
	return m
}

func (s *Server) dialNode(ctx context.Context, addr string) (*resp.Client, error) {
	return resp.Dial(ctx, addr, resp.DialOptions{User: s.cfg.String(option.MasterUser),
		Password: s.cfg.String(option.MasterAuth), Timeout: time.Second})
}

// isSelf reports whether an address is this node's own.
func (s *Server) isSelf(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port != strconv.Itoa(s.announcedPort()) {
		return false
	}
	if host == s.cfg.String(option.ReplicaAnnounceIP) || host == "localhost" || host == "" {
		return true
	}
	ip := net.ParseIP(host)
	if ip != nil && ip.IsLoopback() {
		return true
	}
	for _, l := range s.listeners {
		if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.String() == host {
			return true
		}
	}
	return false
}

func (s *Server) announcedPort() int {
	if p := int(s.cfg.Int(option.ReplicaAnnouncePort)); p != 0 {
		return p
	}
	return s.port
}

// markSettled lets nobody else settle the role. REQUIRES: roleMu.
func (s *Server) markSettled() { s.settle.Do(func() { close(s.settled) }) }

func (s *Server) isSettled() bool {
	select {
	case <-s.settled:
		return true
	default:
		return false
	}
}

// readyLocked replays the log if that has not been done, so that the data can be served.
func (s *Server) readyLocked() error {
	if !s.isSettled() {
		if err := s.replay(); err != nil {
			return err
		}
		s.markSettled()
		s.fillFilter()
	}
	return nil
}

// fillFilter makes the store's filter of absent rows ready in the background.
func (s *Server) fillFilter() {
	store := s.role.data.data.Store
	s.spawn(func() {
		ctx, done := s.data.scan(s.ctx)
		defer done()
		if s.state.Load().data.data.Store != store {
			return
		}
		if err := store.FillFilter(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("filling the filter of absent rows", "err", err)
		}
	})
}

// openLocked makes this node the primary of a new reign: everything in its log is applied, the lineage is on
// disk, then writes are taken. REQUIRES: roleMu.
func (s *Server) openLocked(epoch topology.Epoch) error {
	s.stopLinkLocked()
	if err := s.readyLocked(); err != nil {
		return err
	}
	if uint64(epoch) < s.promised.Load() {
		return agentStale(epoch, s.promised.Load())
	}
	if why := s.state.Load().failed; why != "" && epoch > 0 {
		return fmt.Errorf("open in epoch %d: %s", epoch, why) // found after the answer to the fence
	}
	var after func()
	err := s.x.SetRole(func() (exec.Role, error) {
		log := s.role.data.data.Log
		end := log.End()
		l := s.role.lineage.WithCut(end).WithReign(
			replog.ReignRecord{Epoch: uint64(epoch), ReplID: replog.NewReplID(), Start: end})
		l.Role, l.PrimaryAddr = replog.RolePrimary, ""
		l.Managed = l.Managed || epoch > 0
		l.PromisedEpoch = max(l.PromisedEpoch, uint64(epoch))
		if err := s.saveLineage(l); err != nil {
			return exec.Role{}, err
		}
		s.promised.Store(max(s.promised.Load(), l.PromisedEpoch))
		s.role.reign, s.role.epoch = log.BeginReign(), uint64(epoch)
		s.x.SelectNext()
		after = func() { s.feeds.DisconnectAll(replication.ErrDisconnected) }
		return exec.Role{Writable: true, Reign: s.role.reign}, nil
	})
	if err != nil {
		return err
	}
	_ = s.cfg.Assign(option.ReplicaOf, "no one")
	s.x.Unpark()
	s.publishState(func(n *nodeState) { n.primary, n.pending = true, false })
	after()
	s.log.Info("primary of a new reign", "epoch", epoch, "replid", s.role.lineage.ReplID(), "offset", s.role.data.data.Log.End())
	return nil
}

// followLocked makes this node a replica of addr. The log is not replayed here if the node is pending: the
// link rewinds it first. REQUIRES: roleMu.
func (s *Server) followLocked(addr string, epoch topology.Epoch) error {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("follow %q: %w", addr, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return fmt.Errorf("follow %q: %w", addr, err)
	}
	if l := s.role.link; l != nil && epoch == 0 {
		// Nobody has made sure that the new primary has what the old one still sends: what is not taken now
		// need not be rewound. Where dashboards decide, all nodes have been fenced before, or writes are parked.
		l.Stop()
	}
	s.stopLinkLocked()
	err = s.x.SetRole(func() (exec.Role, error) {
		l := s.role.lineage
		l.Role, l.PrimaryAddr = replog.RoleReplica, addr
		l.Managed = l.Managed || epoch > 0
		l.PromisedEpoch = max(l.PromisedEpoch, uint64(epoch))
		if err := s.saveLineage(l); err != nil {
			return exec.Role{}, err
		}
		s.promised.Store(max(s.promised.Load(), l.PromisedEpoch))
		s.role.reign = s.role.data.data.Log.BeginReign()
		s.role.epoch = max(s.role.epoch, uint64(epoch))
		return s.replicaRole(), nil
	})
	if err != nil {
		return err
	}
	_ = s.cfg.Assign(option.ReplicaOf, host+" "+portText)
	s.x.Unpark()
	s.x.SetLease(time.Time{})
	s.publishState(func(n *nodeState) { n.primary = false })
	cfg := replication.LinkConfig{Host: host, Port: port, User: s.cfg.String(option.MasterUser),
		Password: s.cfg.String(option.MasterAuth), AnnounceIP: s.cfg.String(option.ReplicaAnnounceIP),
		AnnouncePort: s.announcedPort(), Timeout: s.cfg.Duration(option.ReplTimeout), Logger: s.log, Dial: dialPrimary,
		Changed: s.kick}
	s.role.link = replication.StartLink(cfg, s.newFollower())
	s.publishState(func(*nodeState) {})
	s.log.Info("following", "primary", addr, "epoch", epoch)
	return nil
}

// kick tells the dashboards at once that the link changed, and applies replica-serve-stale-data.
func (s *Server) kick() {
	s.applyStale()
	if s.agent != nil {
		s.agent.Kick()
	}
}

// applyStale refuses reads while the link to the primary is down, where the options say so.
func (s *Server) applyStale() {
	n := s.state.Load()
	down := n.link == nil || n.link.Status().State != replication.LinkConnected
	if !n.primary && down && !s.cfg.Bool(option.ReplicaServeStaleData) {
		s.x.SetStale(resp.ErrMasterDown)
		return
	}
	s.x.SetStale("")
}

func dialPrimary(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second, Control: replication.WideReceive}
	return d.DialContext(ctx, "tcp", addr)
}

// replicaRole is what the gate lets through on a replica in its present state.
func (s *Server) replicaRole() exec.Role {
	r := exec.Role{Refusal: resp.ErrReadOnly, Reign: s.role.reign}
	if !s.isSettled() {
		r.Loading = resp.ErrLoading
	}
	return r
}

// stopLinkLocked ends the link and waits until what it appended is applied.
func (s *Server) stopLinkLocked() {
	s.drainLinkLocked()
	if l := s.role.ending; l != nil {
		l.Close()
		s.role.ending = nil
		s.publishState(func(*nodeState) {})
	}
}

// drainLinkLocked ends the link and waits until the log has what the primary had sent. It may still be
// applied afterwards: the log's end is what counts in a comparison of nodes, and a failover need not wait for
// more.
func (s *Server) drainLinkLocked() {
	if l := s.role.link; l != nil {
		s.role.link, s.role.ending = nil, l
		s.publishState(func(*nodeState) {})
		l.Drain()
	}
}

// fenceLocked makes writing stop for good under lower epochs. REQUIRES: roleMu.
func (s *Server) fenceLocked(epoch topology.Epoch) error {
	s.drainLinkLocked()
	defer s.publishState(func(*nodeState) {})
	return s.x.SetRole(func() (exec.Role, error) {
		l := s.role.lineage
		l.PromisedEpoch = uint64(epoch)
		l.Managed = true
		if l.Role == "" {
			l.Role = replog.RoleReplica // a new node, until it is opened
		}
		if err := s.saveLineage(l); err != nil {
			return exec.Role{}, err
		}
		s.promised.Store(uint64(epoch))
		s.role.reign = s.role.data.data.Log.BeginReign()
		s.x.Unpark()
		return s.replicaRole(), nil
	})
}

// Follow implements commands.Replication: REPLICAOF host port, or NO ONE with an empty host.
func (s *Server) Follow(host, port string) error {
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	if s.role.lineage.Managed {
		return commands.Error("ERR this node is managed by a dashboard: use `haypile ctl` to change roles")
	}
	if host == "" {
		if s.state.Load().primary && s.x.Role().Writable {
			return nil
		}
		return s.openLocked(0)
	}
	return s.followLocked(net.JoinHostPort(host, port), 0)
}

// Intend implements commands.Replication.
func (s *Server) Intend(host, port string) (changes bool) {
	n := s.state.Load()
	if host == "" {
		_ = s.cfg.Assign(option.ReplicaOf, "no one")
		return !n.primary || n.pending
	}
	_ = s.cfg.Assign(option.ReplicaOf, host+" "+port)
	return n.primary || n.lineage.PrimaryAddr != net.JoinHostPort(host, port)
}

var errNotPrimary = errors.New("this node is no open primary")
