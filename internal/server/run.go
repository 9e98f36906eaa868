package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"haypile/internal/option"
)

// Run is a data node as a process: it starts one with the configuration, and returns when ctx ends or a
// command shut it down, after everything has been written.
func Run(ctx context.Context, cfg *option.Config, version string) error {
	out, err := openLog(cfg)
	if err != nil {
		return err
	}
	defer out.Close()
	logger := slog.New(handler(cfg, out))
	raiseFileLimit(cfg, logger)
	machine := machineBytes()
	s, err := New(cfg, Options{Logger: logger, MachineBytes: machine, Version: version})
	if err != nil {
		return err
	}
	limitHeap(s, machine)
	if path := cfg.String(option.PidFile); path != "" {
		if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
			logger.Warn("writing the pid file", "err", err)
		} else {
			defer os.Remove(path)
		}
	}
	if err := s.Start(); err != nil {
		logger.Error("start failed", "err", err)
		return err
	}
	logger.Info("ready to accept connections", "addr", s.Addr(), "agent", s.AgentAddr(), "pid", os.Getpid(),
		"dir", cfg.String(option.Dir))
	notify("READY=1\nMAINPID=" + strconv.Itoa(os.Getpid()))
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-hup:
			if err := out.Reopen(); err != nil {
				logger.Error("reopening the log file", "err", err)
			}
			continue
		case <-ctx.Done():
		case <-s.Stopped().Done():
		}
		break
	}
	notify("STOPPING=1")
	logger.Info("stopping")
	began := time.Now()
	if err := s.Close(); err != nil {
		logger.Error("stopped with errors", "err", err)
		return err
	}
	logger.Info("stopped", "took", time.Since(began))
	return nil
}

// logFile is where the process' log goes; SIGHUP opens it anew after it was moved away.
type logFile struct {
	path string
	mu   struct {
		sync.Mutex
		w io.WriteCloser
	}
}

func openLog(cfg *option.Config) (*logFile, error) {
	f := &logFile{path: cfg.String(option.LogFile)}
	f.mu.w = os.Stderr
	return f, f.Reopen()
}

// Reopen opens the file by its name.
func (f *logFile) Reopen() error {
	if f.path == "" {
		return nil
	}
	w, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("option logfile: %w", err)
	}
	f.mu.Lock()
	old := f.mu.w
	f.mu.w = w
	f.mu.Unlock()
	if old != os.Stderr {
		return old.Close()
	}
	return nil
}

func (f *logFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.w.Write(p)
}

func (f *logFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.w == os.Stderr {
		return nil
	}
	return f.mu.w.Close()
}

// handler makes the log's form and follows CONFIG SET loglevel.
func handler(cfg *option.Config, w io.Writer) slog.Handler {
	level := new(slog.LevelVar)
	set := func(v *option.View) {
		switch v.Enum(option.LogLevel) {
		case option.LevelDebug, option.LevelVerbose:
			level.Set(slog.LevelDebug)
		case option.LevelWarning:
			level.Set(slog.LevelWarn)
		case option.LevelNothing:
			level.Set(slog.LevelError + 100)
		default:
			level.Set(slog.LevelInfo)
		}
	}
	set(cfg.View())
	cfg.OnChange(set, option.LogLevel)
	opt := &slog.HandlerOptions{Level: level}
	if cfg.Enum(option.LogFormat) == option.LogFormatJSON {
		return slog.NewJSONHandler(w, opt)
	}
	return slog.NewTextHandler(w, opt)
}

// reservedFiles are descriptors that the engine, the log and the listeners need beside the clients'.
const reservedFiles = 1024

// raiseFileLimit asks for enough descriptors for maxclients, and lowers maxclients to what there is.
func raiseFileLimit(cfg *option.Config, log *slog.Logger) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return
	}
	want := uint64(cfg.Int(option.MaxClients)) + reservedFiles
	if lim.Cur < want {
		lim.Cur = min(want, lim.Max)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
			log.Warn("raising the limit of open files", "err", err)
			return
		}
	}
	if lim.Cur < want && lim.Cur > 2*reservedFiles {
		n := int64(lim.Cur - reservedFiles)
		log.Warn("maxclients lowered to the limit of open files", "maxclients", n)
		_ = cfg.Assign(option.MaxClients, strconv.FormatInt(n, 10))
	}
}

// machineBytes is the memory of the container, or else of the machine; 0 if unknown.
func machineBytes() int64 {
	best := int64(0)
	if raw, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb int64
		if _, err := fmt.Sscanf(string(raw), "MemTotal: %d kB", &kb); err == nil {
			best = kb << 10
		}
	}
	for _, p := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if raw, err := os.ReadFile(p); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil && n > 0 && (best == 0 || n < best) {
				best = n
			}
		}
	}
	return best
}

// limitHeap keeps the Go heap's growth in check: the hot cache is most of it and has a budget, so collecting
// more often costs little.
func limitHeap(s *Server, machine int64) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" || machine == 0 {
		return
	}
	hot, block, memtable := s.budgets()
	if limit := machine - block - memtables*memtable - machine/10; limit > hot*2 {
		debug.SetMemoryLimit(limit)
	}
}

// notify tells systemd about the state (sd_notify); nothing happens without it.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	c, err := net.DialTimeout("unixgram", path, time.Second)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte(state))
}
