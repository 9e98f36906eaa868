package server

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"haypile/internal/datadir"
	"haypile/internal/replication"
	"haypile/internal/replog"
)

// buildDataDir makes a data directory of its own from a checkpoint: engine files by hard link, an empty log
// that begins at their offset, and the lineage up to there.
func buildDataDir(s *Server, path string, cp *replication.Checkpoint) (err error) {
	d, err := datadir.Open(s.fs, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	p, err := d.NewPair()
	if err != nil {
		return err
	}
	for _, f := range cp.Files {
		if err := s.fs.Link(filepath.Join(cp.Dir, f.Name), filepath.Join(p.Engine, f.Name)); err != nil {
			return fmt.Errorf("link %s into the checkpoint: %w", f.Name, err)
		}
	}
	if err := s.fs.SyncDir(p.Engine); err != nil {
		return err
	}
	log, err := replog.Create(s.logOptions(p.Log), cp.Offset)
	if err != nil {
		return err
	}
	if err := log.Close(); err != nil {
		return err
	}
	l := s.state.Load().lineage.WithCut(cp.Offset)
	l.HadReplicas, l.Managed, l.PrimaryAddr, l.Peers, l.Role = false, false, "", nil, replog.RolePrimary
	if err := replog.SaveLineage(s.fs, d.LineagePath(), l); err != nil {
		return err
	}
	return d.Flip(p.N)
}

// Checkpoint of commands.Node: SAVE and BGSAVE.
func (n node) Checkpoint(background bool) error {
	s := n.Server
	if s.saving.Swap(true) {
		return errSaving
	}
	run := func() error {
		defer s.saving.Store(false)
		began := time.Now()
		err := s.saveCheckpoint(s.ctx)
		s.saveBad.Store(err != nil)
		if err != nil {
			s.log.Error("checkpoint failed", "err", err)
			return err
		}
		s.lastSave.Store(time.Now().Unix())
		s.log.Info("checkpoint written", "dir", filepath.Join(s.dir.Path(), "dump"), "took", time.Since(began))
		return nil
	}
	if !background {
		return run()
	}
	s.spawn(func() { _ = run() })
	return nil
}
