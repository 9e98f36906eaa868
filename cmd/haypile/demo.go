package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"haypile/internal/coordinator"
	"haypile/internal/dashboard"
	"haypile/internal/demo"
	"haypile/internal/event"
	"haypile/internal/resp"
	"haypile/internal/topology"
)

// demoFlags are the flags of "haypile demo".
type demoFlags struct {
	dir, state             string
	replicas, base, sync   int
	json, verbose, noStart bool
	delay                  time.Duration
	nodeArgs               []string
}

const demoCluster = "demo"

func newDemoCommand() *cobra.Command {
	var fl demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole cluster on this machine",
		Long: "Starts a dashboard (with its etcd), a proxy, a primary and its replicas as processes of their own, and\n" +
			"keeps them running: a process that dies is started again, so that a killed primary comes back as a\n" +
			"replica. Without --dir everything lives in a temporary directory, which is removed at the end.",
		Example: "  haypile demo\n" +
			"  haypile demo --sync-replicas 1 --dir ./demo-data\n" +
			"  haypile drill kill-primary          # in another terminal",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, fl) },
	}
	f := cmd.Flags()
	f.StringVar(&fl.dir, "dir", "", "keep the data here; a later demo goes on with it")
	f.IntVar(&fl.replicas, "replicas", 2, "number of replicas")
	f.IntVar(&fl.base, "ports", 0, "first of the ports; 0 finds free ones")
	f.IntVar(&fl.sync, "sync-replicas", 0, "replicas that must have a write before it is acknowledged")
	f.BoolVar(&fl.json, "json", false, "print the addresses as JSON once the cluster is ready")
	f.BoolVarP(&fl.verbose, "verbose", "v", false, "show what the processes log")
	f.BoolVar(&fl.noStart, "no-restart", false, "leave processes that have died alone (SIGHUP starts them)")
	f.DurationVar(&fl.delay, "restart-delay", time.Second, "how long a process stays dead")
	f.StringArrayVar(&fl.nodeArgs, "node-option", nil, "option=value for all data nodes; may be repeated")
	f.StringVar(&fl.state, "state", demo.DefaultStateFile(), "file that describes the running demo")
	return cmd
}

// runningDemo is a demo from its first process to its last.
type runningDemo struct {
	fl     demoFlags
	conf   demo.Config
	plan   demo.Plan
	sup    *demo.Supervisor
	client dashboard.Client
	temp   bool
	out    *lineWriter
	// fail ends the start when a process dies before everything is ready; nil afterwards.
	fail context.CancelCauseFunc
	mu   struct {
		sync.Mutex
		ready, stopping bool
	}
}

func runDemo(cmd *cobra.Command, fl demoFlags) (err error) {
	if s, running, err := demo.Running(fl.state); err != nil {
		return err
	} else if running {
		return fmt.Errorf("a demo is running already (process %d, proxy %s); --state lets another one stand beside it",
			s.PID, s.Proxy)
	}
	d := &runningDemo{fl: fl, out: &lineWriter{w: cmd.OutOrStdout()}}
	if fl.json {
		d.out.w = cmd.ErrOrStderr()
	}
	if err := d.layOut(cmd.Flags().Changed("replicas")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	began := time.Now()
	d.client.URL = d.plan.Dashboard
	d.sup = demo.NewSupervisor(d.supervisorOptions())
	defer d.stop()
	if err := d.start(cmd.Context()); err != nil {
		return err
	}
	if fl.json {
		if err := printJSON(cmd.OutOrStdout(), d.state()); err != nil {
			return err
		}
	} else {
		d.introduce(cmd.OutOrStdout(), time.Since(began))
	}
	d.watch(cmd.Context())
	return nil
}

// layOut finds directory and ports. A directory that a demo has used keeps its ports: the nodes are registered
// with them.
func (d *runningDemo) layOut(replicasGiven bool) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	d.conf = demo.Config{Binary: binary, Cluster: demoCluster, Replicas: d.fl.replicas, Base: d.fl.base,
		SyncReplicas: d.fl.sync}
	for _, o := range d.fl.nodeArgs {
		name, value, ok := strings.Cut(o, "=")
		if !ok {
			return fmt.Errorf("--node-option %q is not option=value", o)
		}
		d.conf.NodeArgs = append(d.conf.NodeArgs, "--"+name, value)
	}
	if d.fl.dir == "" {
		d.temp = true
		d.conf.Dir, err = os.MkdirTemp("", "haypile-demo-")
	} else {
		d.conf.Dir, err = filepath.Abs(d.fl.dir)
	}
	if err != nil {
		return err
	}
	if old, err := demo.ReadState(demo.FileInDir(d.conf.Dir)); err == nil {
		if d.fl.base != 0 && d.fl.base != old.Base || replicasGiven && d.fl.replicas != old.Replicas {
			return fmt.Errorf("the cluster in %s has %d replicas and ports from %d on", d.conf.Dir, old.Replicas, old.Base)
		}
		d.conf.Base, d.conf.Replicas = old.Base, old.Replicas
	}
	if d.conf.Base == 0 {
		d.conf.Base, err = demo.FreeBase()
	} else {
		err = demo.CheckBase(d.conf.Base)
	}
	if err == nil {
		d.plan, err = demo.NewPlan(d.conf)
	}
	for _, dir := range d.plan.Dirs {
		if err == nil {
			err = os.MkdirAll(dir, 0o755)
		}
	}
	if err != nil {
		return errors.Join(err, d.removeTemp())
	}
	return nil
}

func (d *runningDemo) supervisorOptions() demo.Options {
	opt := demo.Options{Restart: !d.fl.noStart, Delay: d.fl.delay, Changed: d.changed}
	if d.fl.verbose {
		opt.Line = func(name, line string) { d.out.printf("%-9s | %s", name, line) }
	}
	return opt
}

// changed hears of starts and ends of processes, from several goroutines.
func (d *runningDemo) changed(c demo.Change) {
	d.mu.Lock()
	ready, stopping, fail := d.mu.ready, d.mu.stopping, d.fail
	d.mu.Unlock()
	switch {
	case !ready && c.Ended && !stopping:
		fail(fmt.Errorf("%s ended before the cluster was ready: %s\n%s", c.Name, c.Reason, d.logTail(c.Name)))
	case !ready || stopping:
	case c.Ended && c.Again > 0:
		d.say("%s (process %d) has ended: %s; it is started again in %v", c.Name, c.PID, c.Reason, c.Again)
	case c.Ended:
		d.say("%s (process %d) has ended: %s", c.Name, c.PID, c.Reason)
	default:
		d.say("%s is started, process %d", c.Name, c.PID)
	}
	if ready && !stopping {
		if err := d.writeState(); err != nil {
			d.say("%v", err)
		}
	}
}

// logTail is the end of a process' log, for a message.
func (d *runningDemo) logTail(name string) string {
	for _, s := range d.plan.Specs {
		if s.Name != name {
			continue
		}
		text, err := os.ReadFile(s.Log)
		if err != nil {
			return err.Error()
		}
		lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
		return strings.Join(lines[max(0, len(lines)-20):], "\n")
	}
	return ""
}

const (
	startLimit = 90 * time.Second
	startLook  = 25 * time.Millisecond
)

// start brings everything up, and returns when clients can be served.
func (d *runningDemo) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	d.mu.Lock()
	d.fail = fail
	d.mu.Unlock()
	for _, s := range d.plan.Specs {
		if err := d.sup.Start(s); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		what string
		look func(context.Context) error
	}{
		{"the dashboard leads", d.dashboardLeads}, {"the shard is registered", d.shardRegistered},
		{"the nodes are registered", d.nodesRegistered}, {"primary and replicas are up", d.shardServes},
		{"the proxy serves", d.proxyServes},
	} {
		if err := waitFor(ctx, step.look); err != nil {
			return fmt.Errorf("waiting until %s: %w", step.what, err)
		}
	}
	d.mu.Lock()
	d.mu.ready = true
	d.mu.Unlock()
	return d.writeState()
}

// waitFor looks until there is no error any more.
func waitFor(ctx context.Context, look func(context.Context) error) error {
	t := time.NewTicker(startLook)
	defer t.Stop()
	for {
		err := look(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
				return cause
			}
			return err
		}
	}
}

func (d *runningDemo) dashboardLeads(ctx context.Context) error {
	st, err := d.client.Status(ctx)
	if err == nil && st.Leader == "" {
		err = errors.New("nobody leads")
	}
	return err
}

func (d *runningDemo) shard(ctx context.Context) (coordinator.Status, *topology.Shard, error) {
	st, err := d.client.Status(ctx)
	if err != nil {
		return st, nil, err
	}
	return st, st.Cluster.Shard(topology.ShardID(d.plan.Shard)), nil
}

func (d *runningDemo) shardRegistered(ctx context.Context) error {
	_, sh, err := d.shard(ctx)
	if err != nil || sh != nil {
		return err
	}
	return d.client.AddShard(ctx, topology.ShardID(d.plan.Shard), "")
}

func (d *runningDemo) nodesRegistered(ctx context.Context) error {
	_, sh, err := d.shard(ctx)
	if err != nil {
		return err
	}
	if sh == nil {
		return errors.New("the shard is not there yet")
	}
	for _, n := range d.plan.Nodes {
		if _, ok := sh.Node(topology.NodeID(n.ID)); ok {
			continue
		}
		req := dashboard.NodeRequest{ID: topology.NodeID(n.ID), Addr: n.Addr, AgentAddr: n.AgentAddr}
		if _, err := d.client.AddNode(ctx, sh.ID, req); err != nil {
			return err
		}
	}
	return nil
}

func (d *runningDemo) shardServes(ctx context.Context) error {
	st, sh, err := d.shard(ctx)
	if err != nil {
		return err
	}
	if len(st.Problems) > 0 {
		return fmt.Errorf("%v", st.Problems[0])
	}
	if sh == nil || sh.Primary == "" || len(sh.Nodes) < len(d.plan.Nodes) {
		return errors.New("there is no primary yet")
	}
	for _, n := range st.Nodes {
		if n.Report == nil || n.Report.Pending {
			return fmt.Errorf("%s is not ready", n.ID)
		}
		if n.ID != sh.Primary && n.Report.Link.State != topology.LinkUp {
			return fmt.Errorf("%s is not linked with the primary", n.ID)
		}
	}
	return nil
}

func (d *runningDemo) proxyServes(ctx context.Context) error {
	c, err := resp.Dial(ctx, d.plan.ProxyAddr, resp.DialOptions{})
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Do(ctx, "PING"); err != nil {
		return err
	}
	_, err = c.Do(ctx, "EXISTS", "haypile-demo") // the way to the nodes is open, too
	return err
}

func (d *runningDemo) state() demo.State {
	s := demo.State{PID: os.Getpid(), Dir: d.conf.Dir, Base: d.conf.Base, Replicas: d.conf.Replicas,
		Restarts: !d.fl.noStart, Cluster: demoCluster, Shard: d.plan.Shard, Proxy: d.plan.ProxyAddr,
		Dashboard: d.plan.Dashboard, PIDs: d.sup.PIDs()}
	for _, n := range d.plan.Nodes {
		n.PID = s.PIDs[n.ID]
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

func (d *runningDemo) writeState() error {
	s := d.state()
	return errors.Join(s.Write(d.fl.state), s.Write(demo.FileInDir(d.conf.Dir)))
}

// introduce prints what one needs to play with the cluster.
func (d *runningDemo) introduce(w io.Writer, took time.Duration) {
	s := d.state()
	self := os.Args[0]
	st, sh, err := d.shard(context.Background())
	primary := s.Nodes[0].ID
	if err == nil && sh != nil && len(st.Nodes) > 0 {
		primary = string(sh.Primary)
	}
	fmt.Fprintf(w, "The cluster is ready (%.1f s).\n\n", took.Seconds())
	fmt.Fprintf(w, "  %-10s %-24s process %d\n", demo.ProxyName, s.Proxy, s.PIDs[demo.ProxyName])
	fmt.Fprintf(w, "  %-10s %-24s process %d\n", demo.DashboardName, s.Dashboard, s.PIDs[demo.DashboardName])
	victim := 0
	for _, n := range s.Nodes {
		role := "replica"
		if n.ID == primary {
			role, victim = "primary", n.PID
		}
		fmt.Fprintf(w, "  %-10s %-24s process %-7d %s\n", n.ID, n.Addr, n.PID, role)
	}
	_, port, _ := strings.Cut(s.Proxy, ":")
	keep := "kept"
	if d.temp {
		keep = "removed at the end"
	}
	stateFlag := ""
	if d.fl.state != demo.DefaultStateFile() {
		stateFlag = " --state " + d.fl.state
	}
	fmt.Fprintf(w, "\nData and logs are in %s (%s).\n\n"+
		"Try it:\n  redis-cli -p %s\n"+
		"Kill the primary; another node takes over, and it comes back as a replica:\n  kill -9 %d\n"+
		"Do that under load, and read every acknowledged write back:\n  %s drill kill-primary%s\n"+
		"Hand over without an error for any client:\n  %s drill switchover%s\n"+
		"Look at it:\n  %s ctl status --dashboard %s\n\n"+
		"Ctrl-C stops everything.\n\n",
		s.Dir, keep, port, victim, self, stateFlag, self, stateFlag, self, s.Dashboard)
}

// watch tells what happens until ctx ends.
func (d *runningDemo) watch(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	events := make(chan struct{})
	go func() {
		defer close(events)
		d.followEvents(ctx)
	}()
	for {
		select {
		case <-hup:
			d.sup.Wake()
		case <-ctx.Done():
			<-events
			return
		}
	}
}

// followEvents prints the dashboard's new events.
func (d *runningDemo) followEvents(ctx context.Context) {
	started, seen := time.Now(), uint64(0)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for ctx.Err() == nil {
		// A dashboard that was started again counts from 1, and its log says the rest.
		_ = d.client.Events(ctx, func(e event.Event) bool {
			if e.Time.After(started) && (e.Seq > seen || e.Seq == 1) {
				seen = e.Seq
				d.say("%s", e)
			}
			return true
		})
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

func (d *runningDemo) say(format string, a ...any) {
	d.out.printf("%s  "+format, append([]any{time.Now().Format("15:04:05.000")}, a...)...)
}

// stop ends all processes in order.
func (d *runningDemo) stop() {
	d.mu.Lock()
	d.mu.stopping = true
	wasReady := d.mu.ready
	d.mu.Unlock()
	if wasReady {
		d.say("stopping")
	}
	for _, name := range d.plan.StopOrder() {
		d.sup.Stop(name)
	}
}

// cleanUp removes the files that speak of a running demo, and the data if nobody wanted to keep them.
func (d *runningDemo) cleanUp() error {
	err := os.Remove(d.fl.state)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, d.removeTemp())
}

func (d *runningDemo) removeTemp() error {
	if !d.temp || d.conf.Dir == "" {
		return nil
	}
	return os.RemoveAll(d.conf.Dir)
}

// lineWriter writes whole lines from several goroutines.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) printf(format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, format+"\n", a...)
}
