// Package server is a data node: it composes engine, log, gate, replication, agent and listeners, in an
// order that makes starting and stopping safe, and implements for each of them the narrow interface
// through which it looks at the rest.
//
// Start: lock the data directory, lineage, agent, engine and log, listeners, then settle the role; only
// then recovery, and only then clients' data commands. Until the role is settled and the log replayed
// everything but the commands with the flag loading answers -LOADING.
//
// Goroutines: accept loops, one per listener; the cron (expiry, trimming, disk watch, time-outs); the syncer
// (appendfsync everysec); the settler at start; one per connection. All end with Close.
//
// State ownership: role, lineage and the pair in service change only under roleMu, held by whoever changes
// the role (which may take as long as a recovery); others read the snapshots in s.state. Lock order: roleMu,
// then data, then the gate's latch, then everything below it. roleMu is never taken with the latch held.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/acl"
	"haypile/internal/agent"
	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/datadir"
	"haypile/internal/disk"
	"haypile/internal/exec"
	"haypile/internal/option"
	"haypile/internal/pubsub"
	"haypile/internal/replication"
	"haypile/internal/replog"
	"haypile/internal/session"
	"haypile/internal/storage"
	"haypile/internal/tracking"
)

// Options are what a node needs besides its configuration. The zero value is a real process.
type Options struct {
	Logger *slog.Logger
	// Listen replaces net.Listen in tests.
	Listen func(network, addr string) (net.Listener, error)
	// Exit ends the process when it can't go on; nil is os.Exit(1).
	Exit func()
	// MachineBytes is the memory of the machine or its container, 0 if unknown.
	MachineBytes int64
	// Version is the program's.
	Version string
}

// Server is a running data node.
type Server struct {
	cfg   *option.Config
	opt   Options
	log   *slog.Logger
	table *command.Table
	all   []*commands.Command
	fs    disk.FS
	dir   *datadir.Dir
	runID string
	start time.Time

	x        *exec.Executor
	hub      pubsub.Hub
	clients  session.Registry
	sessions session.Stats
	slow     commands.SlowLog
	latency  commands.LatencyMonitor
	feeds    *replication.Feeds
	agent    *agent.Agent
	monitors monitorSet
	users    *acl.Users
	aclLog   acl.Log
	watching atomic.Int64
	events   atomic.Uint32 // the option notify-keyspace-events
	tracking *tracking.Table

	// roleMu serialises changes of the role; the fields in role belong to its holder.
	roleMu sync.Mutex
	role   struct {
		lineage replog.Lineage
		data    pair
		reign   replog.Reign
		// epoch is that of the last order to open or to follow.
		epoch uint64
		link  *replication.Link
		// ending is the link before: it appends nothing any more, but may still be applying. Never both.
		ending *replication.Link
		sync   *datadir.Pair // a full sync is being received into it
	}
	state    atomic.Pointer[nodeState]
	promised atomic.Uint64
	data     dataUse

	lastSave   atomic.Int64
	saveBad    atomic.Bool
	saving     atomic.Bool
	recovery   replog.Recovery
	replayed   atomic.Int64
	rewinds    atomic.Int64
	lastSample sampler

	listeners  []net.Listener
	loops      *session.Loops
	port       int
	agentPort  int
	ctx        context.Context
	cancel     context.CancelFunc
	wg         sync.WaitGroup
	settled    chan struct{} // closed by whoever settles the role of a pending node
	settle     sync.Once
	stopping   atomic.Bool
	jobs       sync.Map     // names of background jobs that run
	failover   atomic.Value // context.CancelFunc of the command FAILOVER
	inFailover atomic.Bool
	stop       context.CancelCauseFunc
	stopped    context.Context
}

// nodeState is what others see of the role. Immutable.
type nodeState struct {
	primary bool
	// pending: the role is not settled, or the log not replayed.
	pending bool
	lineage replog.Lineage
	epoch   uint64
	data    pair
	link    *replication.Link
	// ending is a link that is no more but for what it still applies.
	ending *replication.Link
	failed string
}

// pair is an engine and a log in service.
type pair struct {
	n      int
	path   datadir.Pair
	engine *storage.Engine
	data   exec.Data
}

// errStopped is why the node's context ends.
var errStopped = errors.New("the server is shutting down")

// New prepares a node; Start runs it.
func New(cfg *option.Config, opt Options) (*Server, error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Listen == nil {
		opt.Listen = net.Listen
	}
	if opt.Exit == nil {
		opt.Exit = func() { os.Exit(1) }
	}
	all := commands.All()
	table, err := commands.NewTable(all)
	if err != nil {
		return nil, fmt.Errorf("the command table is inconsistent: %w", err)
	}
	s := &Server{cfg: cfg, opt: opt, log: opt.Logger, table: table, all: all, fs: disk.OS(), runID: replog.NewReplID(),
		start: time.Now(), settled: make(chan struct{})}
	s.tracking = tracking.New(&s.watching)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.stopped, s.stop = context.WithCancelCause(context.Background())
	s.state.Store(&nodeState{pending: true})
	s.lastSave.Store(s.start.Unix())
	if err := s.loadUsers(); err != nil {
		return nil, err
	}
	return s, nil
}

// Start opens data and listeners and begins to settle the role. It returns once the node answers, which may
// be -LOADING for a while.
func (s *Server) Start() (err error) {
	path, err := filepath.Abs(s.cfg.String(option.Dir))
	if err != nil {
		return fmt.Errorf("option dir: %w", err)
	}
	_ = s.cfg.Assign(option.Dir, path)
	if s.dir, err = datadir.Open(s.fs, path); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	lineage, _, err := replog.LoadLineage(s.fs, s.dir.LineagePath())
	if err != nil {
		return err
	}
	s.role.lineage = lineage
	s.promised.Store(lineage.PromisedEpoch)
	s.x = exec.New(exec.Options{
		Table: s.table, All: s.all, Config: s.cfg, Node: node{s}, Logger: s.log, Tracking: s.tracking, Push: s.push, WaitAcked: s.waitAcked,
		Online: s.online, Feed: s.feedMonitors, Fatal: s.fatal,
	})
	s.feeds = replication.NewFeeds(s, s.feedOptions(), s.log)
	s.watchOptions()
	s.publishState(func(n *nodeState) { n.pending, n.primary = true, lineage.Role == replog.RolePrimary })
	if err := s.listen(); err != nil {
		return err
	}
	if err := s.startAgent(); err != nil {
		return err
	}
	if err := s.startMetrics(); err != nil {
		return fmt.Errorf("listen for metrics: %w", err)
	}
	if err := s.openPair(); err != nil {
		return err
	}
	loops := int(s.cfg.Int(option.IOThreads))
	if loops == 0 {
		loops = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if s.loops, err = session.StartLoops(loops, s.x, s.log); err != nil {
		return err
	}
	for _, l := range s.listeners {
		s.spawn(func() { s.accept(l) })
	}
	s.spawn(s.settleRole)
	s.spawn(s.cron)
	s.spawn(s.syncer)
	return nil
}

// spawn runs a goroutine that Close waits for.
func (s *Server) spawn(f func()) {
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		f()
	}()
}

func (s *Server) listen() error {
	port := int(s.cfg.Int(option.Port))
	if port >= 0 {
		hosts := option.Bind.Get(s.cfg)
		for _, h := range hosts {
			optional := len(h) > 0 && h[0] == '-'
			if optional {
				h = h[1:]
			}
			if h == "*" || h == "::*" {
				h = ""
			}
			l, err := s.opt.Listen("tcp", net.JoinHostPort(h, strconv.Itoa(port)))
			if err != nil {
				if optional {
					s.log.Warn("address not available", "addr", h, "err", err)
					continue
				}
				return fmt.Errorf("listen for clients: %w", err)
			}
			if port == 0 {
				port = l.Addr().(*net.TCPAddr).Port
			}
			s.listeners = append(s.listeners, l)
		}
		if len(s.listeners) == 0 && len(hosts) > 0 {
			return errors.New("listen for clients: none of the addresses of the option bind is available")
		}
		s.port = port
	}
	if path := s.cfg.String(option.UnixSocket); path != "" {
		_ = os.Remove(path)
		l, err := s.opt.Listen("unix", path)
		if err != nil {
			return fmt.Errorf("listen on the Unix socket: %w", err)
		}
		if perm := s.cfg.Int(option.UnixSocketPerm); perm != 0 {
			if err := os.Chmod(path, os.FileMode(perm)); err != nil {
				return fmt.Errorf("option unixsocketperm: %w", err)
			}
		}
		s.listeners = append(s.listeners, l)
	}
	return nil
}

func (s *Server) startAgent() error {
	port := option.EffectiveAgentPort(s.cfg)
	if port <= 0 {
		return nil
	}
	host := "127.0.0.1"
	if hosts := option.AgentBind.Get(s.cfg); len(hosts) > 0 {
		if host = strings.TrimPrefix(hosts[0], "-"); host == "*" {
			host = ""
		}
	} else if hosts := option.Bind.Get(s.cfg); len(hosts) > 0 && !strings.Contains(hosts[0], "*") {
		host = strings.TrimPrefix(hosts[0], "-")
	}
	l, err := s.opt.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil && s.cfg.Int(option.AgentPort) == 0 && !s.cfg.Bool(option.Managed) {
		// Nobody asked for an agent: the derived port is a convenience.
		s.log.Warn("no port for the control plane: this node can't be managed until agent-port is set", "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen for the control plane (agent-port): %w", err)
	}
	s.agentPort = l.Addr().(*net.TCPAddr).Port
	s.agent = agent.Start(agent.Options{
		Node: agentNode{s}, Listener: l, Cluster: s.cfg.String(option.ClusterName),
		Secret: s.cfg.String(option.AgentSecret), Lease: s.cfg.Duration(option.Lease), Logger: s.log,
	})
	return nil
}

// Addr is the address of the first TCP listener.
func (s *Server) Addr() string {
	if len(s.listeners) == 0 {
		return ""
	}
	return s.listeners[0].Addr().String()
}

// AgentAddr is the address of the agent port.
func (s *Server) AgentAddr() string {
	if s.agent == nil {
		return ""
	}
	return s.agent.Addr().String()
}

// Stopped ends when a command asked the node to shut down.
func (s *Server) Stopped() context.Context { return s.stopped }

// Close stops the node: no new clients, commands under way finish, the log is synced and the engine flushed.
// The agent goes last, because a refused agent port means a dead node to the control plane.
func (s *Server) Close() error {
	if s.stopping.Swap(true) {
		return nil
	}
	s.stop(errStopped)
	s.drainReplicas()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	if path := s.cfg.String(option.UnixSocket); path != "" {
		_ = os.Remove(path)
	}
	s.cancel()
	s.clients.Each(func(c *commands.Client) bool {
		if c.Conn != nil {
			c.Conn.Kill()
		}
		return true
	})
	if s.feeds != nil {
		s.feeds.Close()
	}
	s.settle.Do(func() { close(s.settled) })
	s.x.EndScripts()
	s.wg.Wait()
	if s.loops != nil {
		s.loops.Close()
	}
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	if l := s.role.link; l != nil {
		l.Stop() // the next start asks for the rest
	}
	s.stopLinkLocked()
	var errs []error
	if d := s.role.data; d.engine != nil {
		errs = append(errs, d.data.Log.Sync(d.data.Log.End()), d.data.Store.Close(true), d.engine.Close(), d.data.Log.Close())
	}
	if s.agent != nil {
		s.agent.Close()
	}
	errs = append(errs, s.dir.Close())
	return errors.Join(errs...)
}

// drainReplicas parks writes and gives the replicas shutdown-timeout to get everything.
func (s *Server) drainReplicas() {
	limit := s.cfg.Duration(option.ShutdownTimeout)
	if s.feeds == nil || limit <= 0 || !s.x.Role().Writable || s.feeds.Online() == 0 {
		return
	}
	end := s.x.ParkFor(limit)
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	if n := s.feeds.Online(); s.feeds.WaitAcked(ctx, end, n, false) < n {
		s.log.Warn("stopping before all replicas have everything", "end", end)
	}
}

// fatal ends the process: the log holds what the engine does not, and only a restart brings them together.
func (s *Server) fatal(msg string, err error) {
	s.log.Error("cannot go on, the next start replays the log", "what", msg, "err", err)
	s.opt.Exit()
	panic(fmt.Sprintf("%s: %v", msg, err))
}

// publishState changes the snapshot that others read; f may be called more than once. REQUIRES: roleMu, or
// Start.
func (s *Server) publishState(f func(n *nodeState)) {
	for {
		old := s.state.Load()
		n := *old
		n.lineage, n.data, n.link, n.ending = s.role.lineage, s.role.data, s.role.link, s.role.ending
		n.epoch = max(s.role.epoch, logEpoch(n.lineage))
		f(&n)
		if s.state.CompareAndSwap(old, &n) {
			break
		}
	}
	s.kick()
}

// saveLineage makes a change of the lineage durable, then visible. REQUIRES: roleMu.
func (s *Server) saveLineage(l replog.Lineage) error {
	if err := replog.SaveLineage(s.fs, s.dir.LineagePath(), l); err != nil {
		return fmt.Errorf("save the lineage: %w", err)
	}
	s.role.lineage = l
	return nil
}

// nodeID is the configured name, or one that stays for the life of the process.
func (s *Server) nodeID() string {
	if id := s.cfg.String(option.NodeID); id != "" {
		return id
	}
	return s.runID
}

// logEpoch is the epoch of the newest reign of a log, 0 if it has none.
func logEpoch(l replog.Lineage) uint64 {
	if k := len(l.Reigns); k > 0 {
		return l.Reigns[k-1].Epoch
	}
	return 0
}
