package server

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"haypile/internal/commands"
	"haypile/internal/encoding"
	"haypile/internal/option"
	"haypile/internal/replication"
	"haypile/internal/replog"
	"haypile/internal/storage"
)

// Work that one tick of the cron may do at most.
const (
	expirePerTick  = 2000
	expireRounds   = 20
	reclaimPerTick = 20000
)

// cron does what is done from time to time. Each task is bounded, so that none starves the others.
func (s *Server) cron() {
	fast := time.NewTicker(50 * time.Millisecond)
	defer fast.Stop()
	c := &commands.Client{Authenticated: true, Proto: 2, Name: "cron"}
	gate := s.x.NewSession(s.ctx, c)
	defer gate.Close()
	second := time.Now()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-fast.C:
		}
		s.data.rlock()
		for range expireRounds {
			n, err := s.x.Expire(s.ctx, gate, expirePerTick)
			if err != nil && s.ctx.Err() == nil {
				s.log.Error("active expiry", "err", err)
			}
			if n < expirePerTick {
				break
			}
		}
		s.data.runlock()
		if time.Since(second) < time.Second {
			continue
		}
		second = time.Now()
		s.everySecond()
	}
}

func (s *Server) everySecond() {
	s.checkDisk()
	s.closeIdle()
	s.applyStale()
	s.lastSample.take(s)
	if len(s.feeds.Snapshot()) > 0 {
		s.rememberReplicas()
	}
	s.data.rlock()
	defer s.data.runlock()
	d := s.state.Load().data
	if d.engine == nil {
		return
	}
	if _, err := d.data.Store.Reclaim(s.ctx, reclaimPerTick); err != nil && s.ctx.Err() == nil {
		s.log.Error("reclaiming deleted data", "err", err)
	}
	s.trim(d)
}

// trim flushes the engine when a replay would take too long, and lets go of log that nobody needs.
func (s *Server) trim(d pair) {
	log := d.data.Log
	durable, err := d.data.Store.RefreshDurable()
	if err != nil {
		s.log.Error("reading the durable offset", "err", err)
		return
	}
	end := log.End()
	if behind := int64(end) - durable; behind > s.cfg.Bytes(option.RecoveryBytes) {
		if err := errors.Join(d.data.Store.Drain(), d.engine.AsyncFlush()); err != nil {
			s.log.Error("flushing the engine", "err", err)
		}
	}
	keep := replog.Retention{Bytes: s.cfg.Bytes(option.LogRetentionSize)}
	floor := replog.TrimFloor(log.Segments(), keep, time.Now(), replog.Offset(durable), s.feeds.Floor(end))
	if age := s.cfg.Duration(option.LogRetentionTime); age > 0 {
		// Older log may go even where the size would keep it.
		floor = max(floor, replog.TrimFloor(log.Segments(), replog.Retention{Age: age}, time.Now(),
			replog.Offset(durable), s.feeds.Floor(end)))
	}
	if floor > log.Start() {
		if err := log.TrimTo(floor); err != nil {
			s.log.Error("trimming the log", "err", err)
		}
	}
}

// checkDisk refuses writes while the disk has less room than disk-free-min.
func (s *Server) checkDisk() {
	free, err := s.dir.Free()
	if err != nil {
		return
	}
	full := free < uint64(s.cfg.Bytes(option.DiskFreeMin))
	if full != s.x.DiskFull() {
		s.x.SetDiskFull(full)
		s.log.Warn("disk space", "free_bytes", free, "writes_refused", full)
		if s.agent != nil {
			s.agent.Kick()
		}
	}
}

// closeIdle closes connections that have been idle for longer than the option timeout.
func (s *Server) closeIdle() {
	limit := s.cfg.Duration(option.Timeout)
	if limit <= 0 {
		return
	}
	now := time.Now().UnixNano()
	s.clients.Each(func(c *commands.Client) bool {
		if now-c.LastActive.Load() > int64(limit) && c.Kind() == "normal" && !c.Blocked.Load() && c.Conn != nil {
			c.Conn.Kill()
		}
		return true
	})
}

// syncer makes the log durable once a second under appendfsync everysec.
func (s *Server) syncer() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
		}
		if s.cfg.Enum(option.AppendFsync) == option.FsyncNo {
			continue
		}
		log := s.state.Load().data.data.Log
		if log == nil {
			continue
		}
		if err := log.Sync(log.End()); err != nil && !errors.Is(err, replog.ErrClosed) {
			s.x.Fail("MISCONF Errors writing to the log: " + err.Error())
			s.log.Error("the log can't be synced: writes are refused", "err", err)
		}
	}
}

// sampler computes rates from counters: instantaneous_ops_per_sec and the like.
type sampler struct {
	mu struct {
		sync.Mutex
		at             time.Time
		ops, in, out   int64
		opsPS          float64
		inKBPS, outKBP float64
	}
}

func (m *sampler) take(s *Server) {
	ops, in, out := s.x.Stats.Commands.Load(), s.sessions.InBytes.Load(), s.sessions.OutBytes.Load()
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := now.Sub(m.mu.at).Seconds(); !m.mu.at.IsZero() && d > 0 {
		m.mu.opsPS = rate(m.mu.ops, ops, d)
		m.mu.inKBPS, m.mu.outKBP = rate(m.mu.in, in, d)/1024, rate(m.mu.out, out, d)/1024
	}
	m.mu.at, m.mu.ops, m.mu.in, m.mu.out = now, ops, in, out
}

// rate is what a counter gained in a second. One that is behind was reset meanwhile, by CONFIG RESETSTAT.
func rate(was, is int64, seconds float64) float64 {
	if is < was {
		was = 0
	}
	return float64(is-was) / seconds
}

func (m *sampler) rates() (ops, in, out float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.opsPS, m.mu.inKBPS, m.mu.outKBP
}

// watchOptions follows options whose change means more than being read anew.
func (s *Server) watchOptions() {
	s.cfg.OnChange(func(*option.View) {
		hot, _, _ := s.budgets()
		if st := s.state.Load().data.data.Store; st != nil {
			st.SetCacheBytes(hot)
		}
	}, option.MaxMemory, option.CacheSize)
	wanted := func(now *option.View) { s.events.Store(uint32(option.NotifyKeyspaceEvents.Get(now))) }
	wanted(s.cfg.View())
	s.cfg.OnChange(wanted, option.NotifyKeyspaceEvents)
	bound := func(now *option.View) { s.tracking.SetMost(int(now.Int(option.TrackingTableMaxKeys))) }
	bound(s.cfg.View())
	s.cfg.OnChange(bound, option.TrackingTableMaxKeys)
	s.cfg.OnChange(func(*option.View) { s.feeds.SetOptions(s.feedOptions()) },
		option.ReplPingReplicaPeriod, option.ReplTimeout, option.FullSyncRate, option.LogRetentionSize)
}

// checkpointState reads which offset and database a checkpoint's engine reflects.
func checkpointState(dir string) (replog.Offset, int, error) {
	v, ok, err := storage.ReadFrom(dir, encoding.StateRow)
	if err != nil {
		return 0, 0, err
	}
	if !ok {
		return 0, 0, errors.New("the checkpoint holds no state")
	}
	st, err := encoding.ParseState(v)
	return replog.Offset(st.Offset), int(st.DB), err
}

// isBroken reports whether a link's error is what a dead process causes, and not a lost packet.
func isBroken(st replication.LinkStatus) bool {
	return st.State != replication.LinkConnected && st.Err != nil &&
		(errors.Is(st.Err, io.EOF) || errors.Is(st.Err, io.ErrUnexpectedEOF) || errors.Is(st.Err, syscall.ECONNRESET) ||
			errors.Is(st.Err, syscall.ECONNREFUSED) || errors.Is(st.Err, syscall.EPIPE))
}

func itoa(n int) string { return strconv.Itoa(n) }

// unixMicros is a time as MONITOR shows it.
func unixMicros(t time.Time) string {
	us := strconv.Itoa(t.Nanosecond() / 1000)
	return strconv.FormatInt(t.Unix(), 10) + "." + "000000"[:6-len(us)] + us
}

// saveCheckpoint writes a checkpoint into the directory "dump" of the data directory, replacing the last: a
// directory from which `haypile server --dir` can start. The engine stands in it as engine-1 beside an empty
// log that begins at its offset.
func (s *Server) saveCheckpoint(ctx context.Context) error {
	cp, err := s.Checkpoint(ctx)
	if err != nil {
		return err
	}
	defer cp.Release()
	final := filepath.Join(s.dir.Path(), "dump")
	tmp := final + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	if err := buildDataDir(s, tmp, cp); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	if err := os.Rename(tmp, final); err != nil {
		return err
	}
	return s.fs.SyncDir(s.dir.Path())
}
