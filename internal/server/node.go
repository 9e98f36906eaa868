package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/pubsub"
	"haypile/internal/replication"
	"haypile/internal/replog"
	"haypile/internal/resp"
	"haypile/internal/tracking"
	"haypile/internal/types/digest"
)

// node is the data node as its commands see it: commands.Node.
type node struct{ *Server }

var errSaving = commands.Error(resp.ErrSaveInProgress)

// Table implements commands.Node; so do the methods below.
func (n node) Table() *command.Table { return n.table }

// All lists the commands.
func (n node) All() []*commands.Command { return n.all }

// Config is the configuration.
func (n node) Config() *option.Config { return n.cfg }

// Clients is the registry of connections.
func (n node) Clients() commands.Clients { return &n.clients }

// PubSub is the hub.
func (n node) PubSub() *pubsub.Hub { return &n.hub }

// Tracking is the table of client-side caching.
func (n node) Tracking() *tracking.Table { return n.tracking }

// Replication is the node's part in replication.
func (n node) Replication() commands.Replication { return repl(n) }

// SlowLog holds slow calls.
func (n node) SlowLog() *commands.SlowLog { return &n.slow }

// Latency holds slow events.
func (n node) Latency() *commands.LatencyMonitor { return &n.latency }

// Pause holds clients back.
func (n node) Pause(until time.Time, all bool) { n.x.Pause(until, all) }

// LastSave is when the last checkpoint was written.
func (n node) LastSave() time.Time { return time.Unix(n.lastSave.Load(), 0) }

// RunID names this process.
func (n node) RunID() string { return n.runID }

// Shutdown asks the process to stop.
func (n node) Shutdown(ctx context.Context, opt commands.ShutdownOptions) error {
	if opt.Save {
		if err := n.Checkpoint(false); err != nil && !opt.Force {
			return commands.Error("ERR Errors trying to SHUTDOWN. Check logs.")
		}
	}
	n.log.Info("shutdown was asked for")
	n.stop(errStopped)
	return nil
}

// AbortShutdown has nothing to abort: a shutdown does not wait.
func (n node) AbortShutdown() error { return commands.Error("ERR No shutdown in progress.") }

// ResetStats zeroes the counters: CONFIG RESETSTAT.
func (n node) ResetStats() {
	for _, c := range n.all {
		for _, t := range append([]*commands.Command{c}, c.Sub...) {
			t.Stats.Calls.Store(0)
			t.Stats.Nanos.Store(0)
			t.Stats.Rejected.Store(0)
			t.Stats.Failed.Store(0)
			t.Stats.Hist.Reset()
		}
	}
	st := &n.x.Stats
	st.Commands.Store(0)
	st.Errors.Store(0)
	st.Streams.Store(0)
	st.StreamBytes.Store(0)
	st.BrokenStreams.Store(0)
	st.Hits.Store(0)
	st.Misses.Store(0)
	st.ErrorKinds.Clear()
	n.aclLog.ResetCounts()
	n.sessions.Accepted.Store(0)
	n.sessions.Rejected.Store(0)
	n.sessions.InBytes.Store(0)
	n.sessions.OutBytes.Store(0)
}

// Digest is the digest of all data at one log offset.
func (n node) Digest(ctx context.Context) (string, int64, error) {
	scan, done := n.data.scan(ctx)
	defer done()
	d := n.state.Load().data.data
	if d.Store == nil {
		return "", 0, commands.Error(resp.ErrLoading)
	}
	snap, err := d.Store.Snapshot()
	if err != nil {
		return "", 0, err
	}
	sum, err := digest.All(scan, snap)
	if err != nil && scan.Err() != nil && ctx.Err() == nil {
		err = commands.Error("ERR the data was replaced while it was read")
	}
	return sum, snap.State.Offset, errors.Join(err, snap.Close())
}

// withKey runs f with a transaction that may read one key, under its lock.
func (n node) withKey(db int, key []byte, f func(t *keyspace.Txn) error) error {
	return n.x.View(db, key, f)
}

// DigestValue is the digest of one key.
func (n node) DigestValue(db int, key []byte) (sum string, err error) {
	err = n.withKey(db, key, func(t *keyspace.Txn) error {
		sum, err = digest.Value(t, key)
		return err
	})
	return sum, err
}

// DescribeKey is what DEBUG OBJECT tells.
func (n node) DescribeKey(db int, key []byte) (text string, err error) {
	err = n.withKey(db, key, func(t *keyspace.Txn) error {
		e, err := t.Lookup(key)
		if err == nil && e.Found {
			text, err = commands.DescribeEntry(t, n.Config(), &e)
		}
		return err
	})
	return text, err
}

// SetActiveExpire turns active expiry on and off.
func (n node) SetActiveExpire(on bool) { n.x.SetExpiry(on) }

// FlushEngine makes the engine durable up to the log's end.
func (n node) FlushEngine(ctx context.Context) error {
	n.data.rlock()
	defer n.data.runlock()
	d := n.state.Load().data
	if d.engine == nil {
		return commands.Error(resp.ErrLoading)
	}
	if err := d.flush(); err != nil {
		return err
	}
	_, err := d.data.Store.RefreshDurable()
	return errors.Join(err, ctx.Err())
}

// Reload flushes the engine and drops the hot cache.
func (n node) Reload() error {
	if err := n.FlushEngine(n.ctx); err != nil {
		return err
	}
	n.state.Load().data.data.Store.DropCache()
	return nil
}

// Compact rewrites the engine.
func (n node) Compact(ctx context.Context) error {
	ctx, done := n.data.scan(ctx)
	defer done()
	d := n.state.Load().data
	if d.engine == nil {
		return commands.Error(resp.ErrLoading)
	}
	if err := d.flush(); err != nil {
		return err
	}
	return d.engine.Compact(ctx, []byte{0}, []byte{0xff})
}

// Background runs a job, one of a name at a time.
func (n node) Background(name string, f func(ctx context.Context) error) bool {
	s := n.Server
	if s.ctx.Err() != nil {
		return false
	}
	if _, running := s.jobs.LoadOrStore(name, true); running {
		return false
	}
	s.spawn(func() {
		defer s.jobs.Delete(name)
		if err := f(s.ctx); err != nil && s.ctx.Err() == nil {
			s.log.Error("background job failed", "job", name, "err", err)
		}
	})
	return true
}

// Publishes reports whether PUBLISH enters the stream.
func (n node) Publishes() bool { return n.feeds.Online() > 0 && n.x.Role().Writable }

// repl is the node's part in replication: commands.Replication.
type repl struct{ *Server }

// Role writes the reply of ROLE.
func (r repl) Role(out *resp.Writer) {
	v := r.view()
	v.WriteRole(out)
}

// Offset is the log's end.
func (r repl) Offset() int64 {
	if l := r.state.Load().data.data.Log; l != nil {
		return int64(l.End())
	}
	return 0
}

// IsReplica reports the role.
func (r repl) IsReplica() bool { return !r.state.Load().primary }

// Wait counts replicas that have an offset.
func (r repl) Wait(ctx context.Context, offset int64, n int) int {
	return r.feeds.WaitAcked(ctx, replog.Offset(offset), n, false)
}

// WaitDurable counts replicas that have it fsynced.
func (r repl) WaitDurable(ctx context.Context, offset int64, n int) int {
	return r.feeds.WaitAcked(ctx, replog.Offset(offset), n, true)
}

// WaitLocal fsyncs the own log.
func (r repl) WaitLocal(ctx context.Context, offset int64) error {
	l := r.state.Load().data.data.Log
	if l == nil || ctx.Err() != nil && int64(l.Synced()) < offset {
		return context.Cause(ctx)
	}
	return l.Sync(replog.Offset(offset))
}

func handshakeOf(c *commands.Client) *replication.Handshake {
	h, ok := c.Replica.(*replication.Handshake)
	if !ok {
		h = &replication.Handshake{}
		c.Replica = h
	}
	return h
}

// Replconf takes what a replica says of itself.
func (r repl) Replconf(c *commands.Client, args [][]byte, dst []byte) []byte {
	if c.MultiLen >= 0 {
		// A hello may end this node's reign, which waits for all transactions.
		return append(dst, "-"+resp.ErrNotInMulti+"\r\n"...)
	}
	return r.feeds.Replconf(dst, handshakeOf(c), args)
}

// Serve begins to feed a replica.
func (r repl) Serve(c *commands.Client, args [][]byte) error {
	feed, err := r.feeds.Accept(handshakeOf(c), args)
	if err != nil {
		var refusal replication.ReplyError
		if errors.As(err, &refusal) {
			return commands.Error(refusal)
		}
		return err
	}
	d := c.Conn.Detach()
	c.SetKind("replica")
	s := r.Server
	c.Takeover = func() {
		rd := resp.NewReader(resp.TrustedLimits())
		if len(d.Unread) > 0 {
			rd.Advance(copy(rd.Space(len(d.Unread)), d.Unread))
		}
		_ = feed.Run(s.ctx, d.Conn, rd)
	}
	return nil
}

// ChangeID begins a new reign.
func (r repl) ChangeID() error {
	r.roleMu.Lock()
	defer r.roleMu.Unlock()
	n := r.state.Load()
	if !n.primary || n.pending {
		return errNotPrimary
	}
	if n.lineage.Managed {
		return commands.Error("ERR this node is managed by a dashboard")
	}
	return r.openLocked(0)
}

// Failover is the command FAILOVER: a planned switch-over between nodes that no dashboard manages.
func (r repl) Failover(opt commands.FailoverOptions) error {
	s := r.Server
	if opt.Abort {
		if cancel, ok := s.failover.Load().(context.CancelFunc); ok && cancel != nil && s.inFailover.Load() {
			cancel()
			return nil
		}
		return commands.Error("ERR No failover in progress.")
	}
	switch n := s.state.Load(); {
	case n.lineage.Managed:
		return commands.Error("ERR this node is managed by a dashboard: use `haypile ctl switchover`")
	case !n.primary:
		return commands.Error("ERR FAILOVER is not valid when server is a replica.")
	case s.feeds.Online() == 0:
		return commands.Error("ERR FAILOVER requires connected replicas.")
	}
	host, port, ok := s.failoverTarget(opt)
	if !ok {
		return commands.Error("ERR FAILOVER target HOST and PORT is not a replica.")
	}
	if s.inFailover.Swap(true) {
		return commands.Error("ERR FAILOVER already in progress.")
	}
	timeout := opt.Timeout
	if timeout == 0 {
		timeout = time.Hour
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	s.failover.Store(cancel)
	s.spawn(func() {
		defer s.inFailover.Store(false)
		defer cancel()
		if err := s.handOver(ctx, host, port, opt.Force); err != nil {
			s.log.Warn("failover aborted", "target", net.JoinHostPort(host, port), "err", err)
		}
	})
	return nil
}

// failoverTarget picks the replica: the one named, else the most advanced.
func (s *Server) failoverTarget(opt commands.FailoverOptions) (host, port string, ok bool) {
	var best replication.FeedInfo
	for _, f := range s.feeds.Snapshot() {
		if f.State != replication.FeedOnline {
			continue
		}
		if opt.Host != "" && (f.IP != opt.Host || strconv.Itoa(f.Port) != opt.Port) {
			continue
		}
		if !ok || f.Acked > best.Acked {
			best, ok = f, true
		}
	}
	return best.IP, strconv.Itoa(best.Port), ok
}

// handOver parks writes, waits until the target has everything, promotes it and follows it.
func (s *Server) handOver(ctx context.Context, host, port string, force bool) error {
	const park = 10 * time.Second
	end := s.x.ParkFor(park)
	defer s.x.Unpark()
	wait, cancel := context.WithTimeout(ctx, park)
	defer cancel()
	for !s.caughtUp(host, port, end) {
		select {
		case <-wait.Done():
			if !force {
				return fmt.Errorf("the replica did not catch up: %w", wait.Err())
			}
		case <-time.After(time.Millisecond):
			continue
		}
		break
	}
	addr := net.JoinHostPort(host, port)
	c, err := s.dialNode(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	cctx, cancel := context.WithTimeout(ctx, confirmWait)
	s.x.AwaitConfirmed(cctx)
	cancel()
	if _, err := c.Do(ctx, "REPLICAOF", "NO", "ONE"); err != nil {
		return fmt.Errorf("promote %s: %w", addr, err)
	}
	return s.Follow(host, port)
}

func (s *Server) caughtUp(host, port string, end replog.Offset) bool {
	for _, f := range s.feeds.Snapshot() {
		if f.IP == host && strconv.Itoa(f.Port) == port && f.State == replication.FeedOnline && f.Acked >= end {
			return true
		}
	}
	return false
}

// view is what INFO replication and ROLE show.
func (s *Server) view() *replication.View {
	n := s.state.Load()
	cfg := s.cfg.View()
	v := &replication.View{Now: time.Now(), Priority: int(cfg.Int(option.ReplicaPriority)), ReadOnly: true,
		Announced: cfg.Bool(option.ReplicaAnnounced), Unfit: n.failed != "" || n.pending,
		NeverSynced: len(n.lineage.Reigns) == 0, Replicas: s.feeds.Snapshot(),
		MinReplicas: int(cfg.Int(option.MinReplicasToWrite)), MinReplicasMaxLag: cfg.Duration(option.MinReplicasMaxLag),
		ReplID: n.lineage.ReplID(), SecondOffset: n.lineage.SecondOffset(), LogSize: cfg.Bytes(option.LogRetentionSize)}
	if id2 := n.lineage.ReplID2(); id2 != replog.NoReplID {
		v.ReplID2 = id2
	}
	if s.inFailover.Load() {
		v.FailoverState = "waiting-for-sync"
	}
	if l := n.data.data.Log; l != nil {
		v.LogStart, v.LogEnd = l.Start(), l.End()
	}
	if !n.primary {
		st := replication.LinkStatus{State: replication.LinkConnect, DownSince: s.start}
		if n.link != nil {
			st = n.link.Status()
		} else if host, port, err := net.SplitHostPort(n.lineage.PrimaryAddr); err == nil {
			st.Host = host
			st.Port, _ = strconv.Atoi(port)
		}
		if st.Host == "" {
			// Without an address Sentinel would crash on role:slave; and nobody follows nobody.
			st.Host, st.Port = "0.0.0.0", 0
		}
		v.Link = &st
	}
	return v
}

func lower(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.ToLower(w)
	}
	return out
}
