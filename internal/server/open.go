package server

import (
	"errors"
	"fmt"
	"time"

	"haypile/internal/exec"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/replication"
	"haypile/internal/replog"
	"haypile/internal/storage"
)

// openPair opens the pair in use, or makes the first one of a new directory. It replays nothing.
func (s *Server) openPair() error {
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	path, ok := s.dir.Current()
	if !ok {
		var err error
		if path, err = s.dir.NewPair(); err != nil {
			return err
		}
		log, err := replog.Create(s.logOptions(path.Log), 0)
		if err != nil {
			return err
		}
		if err := log.Close(); err != nil {
			return err
		}
		if err := s.dir.Flip(path.N); err != nil {
			return err
		}
	}
	p := pair{n: path.N, path: path}
	log, rec, err := replog.Open(s.logOptions(path.Log))
	if err != nil {
		return err
	}
	s.recovery = rec
	s.log.Info("log opened", "start", rec.Start, "end", rec.End, "segments", rec.Segments, "torn_bytes", rec.TornBytes,
		"took", rec.Elapsed)
	p.data.Log = log
	if err := s.openEngine(&p); err != nil {
		return errors.Join(err, log.Close())
	}
	if applied := replog.Offset(p.data.Store.Applied()); applied > log.End() || applied < log.Start() {
		return errors.Join(fmt.Errorf("engine in %s is at offset %d, but the log holds %d to %d: the two do not "+
			"belong together or the log lost its end", path.Engine, applied, log.Start(), log.End()), p.closeUnflushed(), log.Close())
	}
	s.role.data = p
	s.x.SetData(p.data, p.data.Store.AppliedDB())
	s.publishState(func(*nodeState) {})
	return nil
}

// maxUnit bounds one command or transaction of the log, in bytes: more than a link lets in.
const maxUnit = 1<<30 + 4<<20

func (s *Server) logOptions(dir string) replog.Options {
	return replog.Options{FS: s.fs, Dir: dir, SegmentBytes: s.cfg.Bytes(option.LogSegmentSize), Logger: s.log}
}

// beside is the memory that a node needs besides caches and memtables, in bytes: code, the newest part of the log,
// buffers of a few hundred connections.
const beside = 96 << 20

// memtables is how many memtables there are at most.
const memtables = 4

// budgets divides the budget. The caches have what the memtables and the process itself leave of it, half of it at
// least. With the default shares, 35 % for the hot cache and 30 % for that of blocks, the filter of absent rows and the
// forms, which may take a quarter of the hot cache each, and what the Go heap needs to be collected, as much as the
// forms again, the process stays about within the budget.
func (s *Server) budgets() (hot, block, memtable int64) {
	v := s.cfg.View()
	budget := option.CacheBudget(v, s.opt.MachineBytes)
	memtable = v.Bytes(option.MemtableSize)
	caches := max(budget-memtables*memtable-beside, budget/2)
	return v.Share(option.CacheSize, caches), v.Share(option.BlockCache, caches), memtable
}

// openEngine opens the engine of p beside its log.
func (s *Server) openEngine(p *pair) error {
	hot, block, memtable := s.budgets()
	log := p.data.Log
	engine, err := storage.Open(storage.Options{
		Dir: p.path.Engine, CacheBytes: block, MemtableBytes: uint64(memtable), Memtables: memtables,
		Compression: compressionName(s.cfg.Enum(option.Compression)),
		BeforeFlush: func() error { return log.Sync(log.End()) },
		Fatal:       func(msg string) { s.fatal("engine", errors.New(msg)) },
		Logger:      s.log,
	})
	if err != nil {
		return err
	}
	store, err := keyspace.Open(engine, keyspace.Options{
		Databases: int(s.cfg.Int(option.Databases)), CacheBytes: hot, StartOffset: int64(log.Start()), Watching: &s.watching,
		Events: &s.events, Defer: true,
	})
	if err != nil {
		return errors.Join(err, engine.CloseUnflushed())
	}
	p.engine, p.data.Store = engine, store
	return nil
}

// closeUnflushed closes the engine and forgets what is not durable, as a crash would.
func (p *pair) closeUnflushed() error {
	return errors.Join(p.data.Store.Close(false), p.engine.CloseUnflushed())
}

// flush makes all that is applied durable.
func (p *pair) flush() error {
	if err := p.data.Store.Drain(); err != nil {
		return err
	}
	return p.engine.Flush()
}

func compressionName(v int) string {
	switch v {
	case option.CompressionNone:
		return "none"
	case option.CompressionZstd:
		return "zstd"
	}
	return "snappy"
}

// replay executes what the log holds behind the engine's offset. REQUIRES: roleMu; the gate is closed.
func (s *Server) replay() error {
	p := s.role.data
	store, log := p.data.Store, p.data.Log
	from := replog.Offset(store.Applied())
	began, last := time.Now(), time.Now()
	a := s.x.NewApplier()
	a.OnError, a.Quiet = s.applyError, true
	db := store.AppliedDB()
	split := replication.NewSplitter(from, db, maxUnit)
	var batch replication.Batch
	var gathered int
	drain := func() error {
		gathered = 0
		for {
			ok, err := split.Next(&batch)
			if err != nil || !ok {
				return err
			}
			if err := a.Apply(unitsOf(&batch)); err != nil {
				return fmt.Errorf("replay the log at offset %d: %w", batch.Start, err)
			}
			db = batch.EndDB
			if now := time.Now(); now.Sub(last) > time.Second {
				last = now
				s.log.Info("replaying the log", "offset", batch.End, "end", log.End(), "percent",
					100*int64(batch.End-from)/max(1, int64(log.End()-from)))
			}
		}
	}
	err := log.Replay(from, func(f replog.Frame) error {
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		if err := split.Write(f.Payload); err != nil {
			return err
		}
		// Frames are small, one group of commits each: many of them share one engine batch.
		if gathered += len(f.Payload); gathered < 256<<10 {
			return nil
		}
		return drain()
	})
	if err == nil {
		err = drain()
	}
	if err != nil {
		return err
	}
	if n := split.Pending(); n > 0 {
		return fmt.Errorf("the log ends inside a command: %d bytes are left over at offset %d", n, log.End()-replog.Offset(n))
	}
	s.x.SetData(p.data, db)
	store.Advance(int64(log.End()), db)
	s.replayed.Store(a.Units)
	if int64(log.End()-from) > replayFlush {
		// A node that dies again before the memtable is full would replay all this once more, and more each time.
		if err := errors.Join(store.Drain(), p.engine.AsyncFlush()); err != nil {
			return fmt.Errorf("flush after a replay: %w", err)
		}
	}
	s.log.Info("log replayed", "from", from, "to", log.End(), "units", a.Units, "took", time.Since(began))
	return nil
}

// replayFlush is how many bytes of replayed log are made durable at once.
const replayFlush = 4 << 20

// applyError decides about a command of the stream that failed. On a stream of our own kind it means that
// data and log have parted.
func (s *Server) applyError(args [][]byte, err error) error {
	s.log.Error("a command of the stream failed", "command", string(args[0]), "err", err)
	return err
}

// unitsOf turns a link's batch into what the gate applies.
func unitsOf(b *replication.Batch) []exec.Unit {
	units := make([]exec.Unit, len(b.Units))
	n := 0
	for i := range b.Units {
		n += len(b.Units[i].Cmds)
	}
	cmds := make([]exec.StreamCommand, 0, n)
	for i := range b.Units {
		u := &b.Units[i]
		at := len(cmds)
		for _, c := range u.Cmds {
			cmds = append(cmds, exec.StreamCommand{DB: c.DB, Args: c.Args})
		}
		units[i] = exec.Unit{End: u.End, DB: u.EndDB, Commands: cmds[at:len(cmds):len(cmds)]}
	}
	return units
}
