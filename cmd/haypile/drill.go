package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"haypile/internal/coordinator"
	"haypile/internal/dashboard"
	"haypile/internal/demo"
	"haypile/internal/drill"
	"haypile/internal/resp"
	"haypile/internal/topology"
)

// drillFlags are the flags of all drills.
type drillFlags struct {
	opt                          drill.Options
	state, dashboard, token      string
	shard, to                    string
	user, password               string
	nodeUser, nodePassword       string
	count                        int
	json, keep, restart, verbose bool
}

func newDrillCommand() *cobra.Command {
	fl := &drillFlags{}
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Rehearse a failure under load, and prove what is left",
		Long: "A drill writes a load of which it remembers every write, kills or exchanges the primary of a shard,\n" +
			"waits for recovery, reads every write back and compares the data of all nodes. It finds a running\n" +
			"`haypile demo` by itself, or is told where proxy and dashboard are. The exit status is 1 if an\n" +
			"acknowledged write was lost, anything was executed twice, the nodes differ, or recovery took too long.",
	}
	f := cmd.PersistentFlags()
	f.StringVar(&fl.state, "state", demo.DefaultStateFile(), "file of the running demo")
	f.StringVar(&fl.opt.Proxy, "proxy", "", "host:port of a proxy; default: the demo's")
	f.StringVar(&fl.dashboard, "dashboard", "", "URL of a dashboard; default: the demo's")
	f.StringVar(&fl.token, "token", "", "bearer token for the dashboard; default: $HAYPILE_TOKEN")
	f.StringVar(&fl.shard, "shard", "", "the shard; default: the only one")
	f.StringVar(&fl.user, "user", "", "user at the proxy")
	f.StringVar(&fl.password, "password", "", "password at the proxy; default: $HAYPILE_PASSWORD")
	f.StringVar(&fl.nodeUser, "node-user", "", "user at the data nodes")
	f.StringVar(&fl.nodePassword, "node-password", "", "password at the data nodes; default: that at the proxy")
	f.IntVar(&fl.count, "count", 1, "number of rounds")
	f.IntVar(&fl.opt.Clients, "clients", 8, "number of clients that write")
	f.IntVar(&fl.opt.Rate, "rate", 0, "writes per second of all clients together; 0 is as fast as replies come")
	f.DurationVar(&fl.opt.Before, "before", 2*time.Second, "how long clients write before the event")
	f.DurationVar(&fl.opt.After, "after", time.Second, "how long they go on when all is well again")
	f.DurationVar(&fl.opt.Limit, "limit", 10*time.Second, "most time until a write is accepted again")
	f.DurationVar(&fl.opt.ReturnLimit, "return-limit", time.Minute, "most time for every other step")
	f.BoolVar(&fl.opt.AllowLoss, "allow-loss", false,
		"pass although acknowledged writes are lost, where sync-replicas is 0")
	f.BoolVar(&fl.keep, "keep", false, "leave the keys that the drill has written")
	f.BoolVar(&fl.json, "json", false, "print the report as JSON")
	f.BoolVarP(&fl.verbose, "verbose", "v", false, "tell each step")

	kill := &cobra.Command{
		Use:   string(drill.KillPrimary),
		Short: "Kill the primary's process (kill -9)",
		Long: "Kills the process of the primary with SIGKILL. The node must run on this machine and be started again by\n" +
			"whoever looks after it; a demo does.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return fl.run(cmd, drill.KillPrimary) },
	}
	switchover := &cobra.Command{
		Use:   string(drill.Switchover),
		Short: "Hand the shard over to another node, as planned work does",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return fl.run(cmd, drill.Switchover) },
	}
	switchover.Flags().StringVar(&fl.to, "to", "", "node to hand over to; default: the preferred replica")
	cmd.AddCommand(kill, switchover)
	return cmd
}

// run does the rounds and prints as they come.
func (fl *drillFlags) run(cmd *cobra.Command, ev drill.Event) error {
	out := cmd.OutOrStdout()
	if fl.json {
		out = io.Discard
	}
	if err := fl.complete(cmd); err != nil {
		return err
	}
	d, err := drill.New(fl.opt)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s through %s, %d clients, keys %s:*\n\n", ev, fl.opt.Proxy, fl.opt.Clients, fl.opt.Prefix)
	if err := drill.WriteHeader(out); err != nil {
		return err
	}
	rounds := []drill.Round{}
	for range fl.count {
		r, err := d.Round(cmd.Context(), ev)
		if err != nil {
			return errors.Join(fmt.Errorf("round %d was interrupted", r.Number), err)
		}
		rounds = append(rounds, r)
		if err := drill.WriteRound(out, r); err != nil {
			return err
		}
	}
	report, err := fl.conclude(cmd.Context(), d, ev, rounds)
	if err != nil {
		return err
	}
	if fl.json {
		err = printJSON(cmd.OutOrStdout(), report)
	} else {
		err = drill.WriteSummary(out, report)
	}
	if err == nil && !report.Passed {
		err = errReported
	}
	return err
}

// conclude reads everything back once more and tidies up.
func (fl *drillFlags) conclude(ctx context.Context, d *drill.Drill, ev drill.Event, rounds []drill.Round) (
	drill.Report, error) {
	var final *drill.Verdict
	var faults []string
	if len(rounds) > 1 {
		v, err := d.Final(ctx)
		if err != nil {
			faults = append(faults, fmt.Sprintf("reading back after the last round: %v", err))
		} else {
			final = &v
		}
	}
	report := drill.NewReport(ev, rounds, final, drill.Rules{Limit: fl.opt.Limit, AllowLoss: fl.opt.AllowLoss})
	if len(faults) > 0 {
		report.Faults, report.Passed = append(report.Faults, faults...), false
	}
	// What a failed drill has left behind is evidence.
	if !fl.keep && report.Passed {
		if err := d.Remove(ctx); err != nil {
			return report, err
		}
	}
	return report, ctx.Err()
}

// complete finds the cluster.
func (fl *drillFlags) complete(cmd *cobra.Command) error {
	if fl.count < 1 {
		return errors.New("--count must be positive")
	}
	if fl.opt.Clients < 1 {
		return errors.New("--clients must be positive")
	}
	env := func(into *string, name string) {
		if *into == "" {
			*into = os.Getenv(name)
		}
	}
	env(&fl.token, "HAYPILE_TOKEN")
	env(&fl.password, "HAYPILE_PASSWORD")
	if fl.nodePassword == "" && fl.nodeUser == "" {
		fl.nodeUser, fl.nodePassword = fl.user, fl.password
	}
	fl.opt.ProxyDial = resp.DialOptions{User: fl.user, Password: fl.password, ClientName: "drill"}
	fl.opt.NodeDial = resp.DialOptions{User: fl.nodeUser, Password: fl.nodePassword, ClientName: "drill"}
	if fl.opt.Proxy == "" || fl.dashboard == "" {
		if err := fl.useDemo(); err != nil {
			return err
		}
	}
	fl.opt.Prefix = "drill:" + strconv.FormatInt(time.Now().UnixMilli(), 36)
	if fl.verbose {
		fl.opt.Progress = func(text string) {
			fmt.Fprintln(cmd.ErrOrStderr(), time.Now().Format("15:04:05.000"), text)
		}
	}
	fl.opt.Control = &shardControl{client: dashboard.Client{URL: fl.dashboard, Token: fl.token},
		shard: topology.ShardID(fl.shard), to: topology.NodeID(fl.to)}
	return nil
}

// useDemo takes what was not given from the running demo.
func (fl *drillFlags) useDemo() error {
	s, running, err := demo.Running(fl.state)
	if err != nil {
		return err
	}
	if !running {
		if _, err := os.Stat(fl.state); errors.Is(err, fs.ErrNotExist) {
			return errors.New("no demo is running (haypile demo); for another cluster give --proxy and --dashboard")
		}
		return fmt.Errorf("the demo that %s speaks of is not running any more", fl.state)
	}
	if fl.opt.Proxy == "" {
		fl.opt.Proxy = s.Proxy
	}
	if fl.dashboard == "" {
		fl.dashboard = s.Dashboard
	}
	if !s.Restarts {
		fl.opt.Restart = func(context.Context, topology.Node) error {
			return syscall.Kill(s.PID, syscall.SIGHUP) // it starts what has ended
		}
	}
	return nil
}

// shardControl is a shard as a dashboard has it: drill.Control.
type shardControl struct {
	client dashboard.Client
	shard  topology.ShardID // empty: the only one
	to     topology.NodeID
}

const controlTimeout = 5 * time.Second

// Shard implements drill.Control.
func (c *shardControl) Shard(ctx context.Context) (topology.Shard, string, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	st, err := c.client.Status(ctx)
	if err != nil {
		return topology.Shard{}, "", err
	}
	id := c.shard
	if id == "" && len(st.Cluster.Shards) == 1 {
		id = st.Cluster.Shards[0].ID
	}
	sh := st.Cluster.Shard(id)
	switch {
	case id == "":
		return topology.Shard{}, "", fmt.Errorf("the cluster has %d shards: --shard says which one", len(st.Cluster.Shards))
	case sh == nil:
		return topology.Shard{}, "", fmt.Errorf("the cluster has no shard %s", id)
	}
	return *sh, trouble(st, sh), nil
}

// trouble is what keeps a shard from being healthy.
func trouble(st coordinator.Status, sh *topology.Shard) string {
	if st.Leader == "" {
		return "no dashboard leads"
	}
	for _, p := range st.Problems {
		if p.Shard == sh.ID {
			return fmt.Sprintf("the dashboard sees a problem: %v", p)
		}
	}
	for _, p := range st.Plans {
		if p.Shard == sh.ID {
			return fmt.Sprintf("a %s is under way", p.Kind)
		}
	}
	return ""
}

// Switchover implements drill.Control.
func (c *shardControl) Switchover(ctx context.Context) error {
	sh, _, err := c.Shard(ctx)
	if err != nil {
		return err
	}
	return c.client.Switchover(ctx, sh.ID, c.to)
}
