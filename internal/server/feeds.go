package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"haypile/internal/disk"
	"haypile/internal/replication"
	"haypile/internal/replog"
	"haypile/internal/resp"
	"haypile/internal/topology"
)

// The methods below make the node a replication.Node: its side as a primary, or as a replica with replicas.

// State implements replication.Node.
func (s *Server) State() replication.State {
	n := s.state.Load()
	// What a fenced node has does not change any more, so it may be copied from in the epoch that it promised:
	// it may be the only one with the last acknowledged writes.
	st := replication.State{Primary: n.primary, NodeID: s.nodeID(), Epoch: max(n.epoch, s.promised.Load()),
		Format: engineFormat, Reigns: n.lineage.Reigns, Log: n.data.data.Log}
	switch {
	case n.pending && n.primary:
		// A pending former primary does not feed: its log may end in bytes that nobody else has.
		st.Unfit = resp.ErrLoading
	case len(n.lineage.Reigns) == 0:
		st.Unfit = resp.ErrNoMasterLink
	}
	return st
}

// checkpointSeq names checkpoint directories.
var checkpointSeq atomic.Int64

// Checkpoint implements replication.Node.
func (s *Server) Checkpoint(ctx context.Context) (*replication.Checkpoint, error) {
	s.data.rlock()
	defer s.data.runlock()
	d := s.state.Load().data
	if d.engine == nil {
		return nil, errNotPrimary
	}
	dir := filepath.Join(s.dir.Path(), "checkpoint-"+strconv.FormatInt(checkpointSeq.Add(1), 10)+"-"+s.runID[:8])
	if err := d.data.Store.Drain(); err != nil {
		return nil, err
	}
	if err := d.engine.Checkpoint(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	release := func() {
		if err := os.RemoveAll(dir); err != nil {
			s.log.Warn("removing a checkpoint", "err", err)
		}
	}
	offset, db, err := checkpointState(dir)
	if err != nil {
		release()
		return nil, err
	}
	files, err := listFiles(s.fs, dir)
	if err != nil {
		release()
		return nil, err
	}
	return &replication.Checkpoint{FS: s.fs, Dir: dir, Files: files, Offset: offset, DB: db, Release: release}, ctx.Err()
}

// listFiles lists the plain files of a flat directory.
func listFiles(fsys disk.FS, dir string) ([]replication.FileInfo, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list checkpoint: %w", err)
	}
	var files []replication.FileInfo
	for _, name := range names {
		st, err := fsys.Stat(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("list checkpoint: %w", err)
		}
		if !st.Dir && name != "LOCK" {
			files = append(files, replication.FileInfo{Name: name, Size: st.Size})
		}
	}
	return files, nil
}

var (
	streamPing   = resp.AppendCommandStrings(nil, "PING")
	streamGetAck = resp.AppendCommandStrings(nil, "REPLCONF", "GETACK", "*")
)

// AppendPing implements replication.Node.
func (s *Server) AppendPing() (replog.Offset, error) { return s.appendRaw(streamPing) }

// AppendGetAck implements replication.Node.
func (s *Server) AppendGetAck() (replog.Offset, error) { return s.appendRaw(streamGetAck) }

func (s *Server) appendRaw(b []byte) (replog.Offset, error) {
	if s.x.Parked() {
		return 0, errNotPrimary
	}
	return s.x.AppendRaw(b)
}

// HeardEpoch implements replication.Node: a member of the shard promised a higher epoch, so this primary's
// reign is over. It promises that epoch too, as if the fence had reached it: a dashboard sees a primary that
// is not open in its epoch, and settles who is. The caller's session holds no latch: REPLCONF and PSYNC
// commit first, and are refused inside MULTI.
func (s *Server) HeardEpoch(epoch uint64) {
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	if n := s.state.Load(); !n.primary || epoch <= s.promised.Load() || !n.lineage.Managed {
		return
	}
	s.log.Warn("a higher epoch was heard: this primary stops writing", "epoch", epoch)
	if err := s.fenceLocked(topology.Epoch(epoch)); err != nil {
		s.log.Error("promising the epoch that was heard", "epoch", epoch, "err", err)
	}
}

// push hands appended bytes to the replicas; exec calls it under commit leadership.
func (s *Server) push(start replog.Offset, stream []byte) { s.feeds.Push(start, stream) }

func (s *Server) waitAcked(ctx context.Context, end replog.Offset, n int) int {
	return s.feeds.WaitAcked(ctx, end, n, false)
}

func (s *Server) online() int { return s.feeds.Online() }

// setFailed notes why the node can't serve: shown to the control plane, and slave_priority becomes 0.
func (s *Server) setFailed(why string) {
	s.log.Error("the node is unfit", "why", why)
	for {
		old := s.state.Load()
		n := *old
		n.failed = why
		if s.state.CompareAndSwap(old, &n) {
			return
		}
	}
}

// rememberReplicas notes in the lineage that this primary has had replicas, and where: a restart asks them.
func (s *Server) rememberReplicas() {
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	l := s.role.lineage
	peers := append([]string(nil), l.Peers...)
	changed := false
	for _, f := range s.feeds.Snapshot() {
		addr := fmt.Sprintf("%s:%d", f.IP, f.Port)
		known := false
		for _, p := range peers {
			known = known || p == addr
		}
		if !known && f.Port > 0 {
			peers, changed = append(peers, addr), true
		}
	}
	if len(peers) > maxPeers {
		peers = peers[len(peers)-maxPeers:]
	}
	if !changed && (l.HadReplicas || len(peers) == 0) {
		return
	}
	l.Peers, l.HadReplicas = peers, true
	if err := s.saveLineage(l); err != nil {
		s.log.Error("remembering replicas", "err", err)
		return
	}
	s.publishState(func(*nodeState) {})
}

// maxPeers bounds the peers that the lineage remembers.
const maxPeers = 16
