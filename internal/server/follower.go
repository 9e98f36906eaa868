package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"haypile/internal/exec"
	"haypile/internal/option"
	"haypile/internal/replication"
	"haypile/internal/replog"
	"haypile/internal/resp"
)

// follower is the node as one link sees it. Its calls must not take roleMu for longer than the holder of
// roleMu may wait for the link: stopLinkLocked waits with roleMu held, so calls try, and give up when the
// link is being closed.
type follower struct {
	s *Server
	// reign is what the link appends under: over as soon as the role changes. It belongs to the link's
	// goroutine.
	reign replog.Reign
	// applier belongs to the goroutine that applies, and is replaced while nothing is applied.
	applier *exec.Applier
}

// newFollower makes the follower for a link that is about to start. REQUIRES: roleMu.
func (s *Server) newFollower() *follower {
	f := &follower{s: s}
	f.renewLocked()
	return f
}

// renewLocked goes on with the pair and the reign that are in service now. REQUIRES: roleMu; nothing is
// applied.
func (f *follower) renewLocked() {
	f.reign = f.s.role.reign
	f.applier = f.s.x.NewApplier()
	f.applier.OnError = f.s.applyError
}

// withRole runs f under roleMu, or fails if ctx ends first: whoever holds roleMu may be waiting for us.
func (f *follower) withRole(ctx context.Context, do func() error) error {
	for !f.s.roleMu.TryLock() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	defer f.s.roleMu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return do()
}

// Position implements replication.Follower.
func (f *follower) Position() replication.Position {
	n := f.s.state.Load()
	p := replication.Position{Reigns: n.lineage.Reigns, NodeID: f.s.nodeID(), Promised: f.s.promised.Load(), Format: engineFormat}
	if len(p.Reigns) > 0 {
		p.Log = n.data.data.Log
		p.DB = f.s.x.LogDB()
	}
	return p
}

// engineFormat is the version of the engine's files that a checkpoint carries.
const engineFormat = 1

// Adopt implements replication.Follower: the log goes on under the primary's history.
func (f *follower) Adopt(ctx context.Context, up *replication.Upstream) error {
	s := f.s
	return f.withRole(ctx, func() error {
		if err := s.readyLocked(); err != nil {
			return err
		}
		end := s.role.data.data.Log.End()
		l := s.role.lineage
		old := l.ReplID()
		switch {
		case !up.Foreign():
			l.Reigns = up.Reigns
		case up.ReplID != old:
			l = l.WithReign(replog.ReignRecord{ReplID: up.ReplID, Start: end})
		}
		l.Role = replog.RoleReplica
		if err := s.saveLineage(l); err != nil {
			return err
		}
		err := s.x.SetRole(func() (exec.Role, error) { return s.replicaRole(), nil })
		s.publishState(func(n *nodeState) { n.pending = false })
		if l.ReplID() != old {
			s.feeds.DisconnectAll(replication.ErrDisconnected)
		}
		return err
	})
}

// Append implements replication.Follower.
func (f *follower) Append(b *replication.Batch) error {
	s := f.s
	n := s.state.Load()
	_, err := n.data.data.Log.Append(f.reign, b.StartDB, b.Raw)
	if err != nil {
		return err
	}
	s.push(b.Start, b.Raw)
	return nil
}

// Apply implements replication.Follower.
func (f *follower) Apply(b *replication.Batch) error {
	err := f.applier.Apply(unitsOf(b))
	if err != nil {
		f.s.setFailed("the replication stream could not be applied: " + err.Error())
		return err
	}
	// PINGs and the like carry no data, but what is behind them is applied.
	f.s.x.Advance(b.End, b.EndDB)
	return nil
}

// Rewind implements replication.Follower: back to the last offset that this node and the primary share. What
// the log holds behind it goes into a rescue file.
func (f *follower) Rewind(ctx context.Context, fork replog.Offset, _ *replication.Upstream) error {
	s := f.s
	return f.withRole(ctx, func() error {
		p := s.role.data
		end := p.data.Log.End()
		if fork > end || fork < p.data.Log.Start() {
			return replication.ErrFullSyncNeeded
		}
		if durable, err := p.data.Store.RefreshDurable(); err != nil || replog.Offset(durable) > fork {
			s.log.Warn("the engine is durable past the fork", "durable", durable, "fork", fork, "err", err)
			return replication.ErrFullSyncNeeded
		}
		rescue := filepath.Join(s.dir.Path(), fmt.Sprintf("rescue-%d-%d.log", fork, end))
		s.log.Warn("rewinding to the fork", "fork", fork, "end", end, "surplus_bytes", end-fork, "rescue", rescue)
		s.rewinds.Add(1)
		applied := replog.Offset(p.data.Store.Applied())
		if applied <= fork {
			// Nothing of the surplus has been executed: the log alone is cut.
			return s.x.SetRole(func() (exec.Role, error) {
				if err := p.data.Log.Truncate(fork, rescue); err != nil {
					return exec.Role{}, err
				}
				s.role.reign = p.data.Log.BeginReign() // a cut ends the reign
				f.reign = s.role.reign
				return s.replicaRole(), s.saveLineage(s.role.lineage.WithCut(fork))
			})
		}
		s.data.lock()
		defer s.data.unlock()
		late := false
		err := s.x.SetRole(func() (exec.Role, error) {
			if err := p.closeUnflushed(); err != nil {
				return exec.Role{}, err
			}
			if err := s.openEngine(&p); err != nil {
				s.fatal("reopen the engine for a rewind", err)
			}
			// A flush may have ended since the durable offset was looked at; from here on none does.
			if late = replog.Offset(p.data.Store.Applied()) > fork; !late {
				if err := p.data.Log.Truncate(fork, rescue); err != nil {
					s.fatal("rewind", err)
				}
				if err := s.saveLineage(s.role.lineage.WithCut(fork)); err != nil {
					s.fatal("rewind", err)
				}
			}
			s.role.data = p
			s.role.reign = p.data.Log.BeginReign()
			s.x.SetData(p.data, p.data.Store.AppliedDB())
			f.renewLocked()
			s.publishState(func(*nodeState) {})
			r := s.replicaRole()
			r.Loading = resp.ErrLoading // until the log is replayed, which takes the latch itself
			return r, nil
		})
		if err != nil {
			return err
		}
		if err := s.replay(); err != nil {
			return err
		}
		s.fillFilter()
		if err := s.x.SetRole(func() (exec.Role, error) { return s.replicaRole(), nil }); err != nil || !late {
			return err
		}
		return replication.ErrFullSyncNeeded
	})
}

// Begin implements replication.Follower.
func (f *follower) Begin(ctx context.Context, m replication.Meta) (replication.Target, error) {
	s := f.s
	var t replication.Target
	err := f.withRole(ctx, func() error {
		if s.role.sync == nil {
			p, err := s.dir.NewPair()
			if err != nil {
				return err
			}
			s.role.sync = &p
		}
		t = replication.Target{FS: s.fs, Dir: s.role.sync.Engine}
		s.log.Info("full sync begins", "offset", m.Offset, "bytes", m.Bytes)
		return nil
	})
	return t, err
}

// Abort implements replication.Follower: what was received stays for the next attempt.
func (f *follower) Abort(m replication.Meta) {
	f.s.log.Warn("full sync interrupted", "offset", m.Offset)
}

// Install implements replication.Follower: the files received become the engine, with an empty log behind
// them; the old pair served until now and is removed.
func (f *follower) Install(ctx context.Context, m replication.Meta) error {
	s := f.s
	return f.withRole(ctx, func() error {
		if s.role.sync == nil {
			return errors.New("install a full sync: none was begun")
		}
		path := *s.role.sync
		log, err := replog.Create(s.logOptions(path.Log), m.Offset)
		if err != nil {
			return err
		}
		next := pair{n: path.N, path: path}
		next.data.Log = log
		if err := s.openEngine(&next); err != nil {
			return errors.Join(err, log.Close(), os.RemoveAll(path.Log))
		}
		if got := replog.Offset(next.data.Store.Applied()); got != m.Offset {
			return errors.Join(fmt.Errorf("install a full sync: the files are at offset %d, not %d", got, m.Offset),
				next.closeUnflushed(), log.Close())
		}
		l := s.role.lineage
		l.Role, l.Reigns = replog.RoleReplica, m.Upstream.Reigns
		if err := s.dir.Flip(path.N); err != nil {
			return err
		}
		if err := s.saveLineage(l); err != nil {
			return err
		}
		s.role.sync = nil
		old := s.role.data
		err = s.x.SetRole(func() (exec.Role, error) {
			s.markSettled()
			s.role.data = next
			s.role.reign = log.BeginReign()
			s.x.SetData(next.data, m.DB)
			return s.replicaRole(), nil
		})
		if err != nil {
			return err
		}
		f.renewLocked()
		s.publishState(func(n *nodeState) { n.pending, n.failed = false, "" })
		s.fillFilter()
		s.feeds.DisconnectAll(replication.ErrDisconnected)
		s.data.lock()
		defer s.data.unlock()
		errs := errors.Join(old.closeUnflushed(), old.data.Log.Close(), s.dir.RemoveOld())
		if errs != nil {
			s.log.Warn("removing the data that a full sync replaced", "err", errs)
		}
		s.log.Info("full sync installed", "offset", m.Offset)
		return nil
	})
}

func (s *Server) feedOptions() replication.Options {
	v := s.cfg.View()
	opt := replication.DefaultOptions()
	opt.PingPeriod, opt.Timeout = v.Duration(option.ReplPingReplicaPeriod), v.Duration(option.ReplTimeout)
	opt.FullSyncRate = v.Bytes(option.FullSyncRate)
	opt.MaxHold = max(v.Bytes(option.LogRetentionSize)*4, 1<<30)
	return opt
}
