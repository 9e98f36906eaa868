package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"haypile/internal/coordinator"
	"haypile/internal/dashboard"
	"haypile/internal/event"
	"haypile/internal/topology"
)

// ctl is what the sub-commands of "haypile ctl" share.
type ctl struct {
	client    dashboard.Client
	tokenFile string
	json      bool
	timeout   time.Duration
}

func newCtlCommand() *cobra.Command {
	c := &ctl{}
	cmd := &cobra.Command{
		Use:   "ctl",
		Short: "Look at a cluster and change it, through a dashboard",
		Example: "  haypile ctl status\n" +
			"  haypile ctl shard add s1\n" +
			"  haypile ctl node add s1 10.0.0.1:6379 --agent 10.0.0.1:16379\n" +
			"  haypile ctl switchover s1 --to s1-2",
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if env := os.Getenv("HAYPILE_TOKEN"); env != "" && c.client.Token == "" && c.tokenFile == "" {
				c.client.Token = env
			}
			return readSecret("--token-file", c.tokenFile, &c.client.Token)
		},
	}
	f := cmd.PersistentFlags()
	f.StringVar(&c.client.URL, "dashboard", "http://"+defaultDashboard, "URL of a dashboard")
	f.StringVar(&c.client.Token, "token", "", "bearer token; default: $HAYPILE_TOKEN")
	f.StringVar(&c.tokenFile, "token-file", "", "file that holds it")
	f.BoolVar(&c.json, "json", false, "print JSON")
	f.DurationVar(&c.timeout, "timeout", 35*time.Second, "give up after so long")

	shard := &cobra.Command{Use: "shard", Short: "Shards"}
	shard.AddCommand(c.shardAdd())
	node := &cobra.Command{Use: "node", Short: "Nodes of a shard"}
	node.AddCommand(c.nodeAdd(), c.nodeRemove(), c.nodePriority())
	cmd.AddCommand(c.status(), shard, node, c.failover(), c.switchover(), c.events())
	return cmd
}

// with runs f under the time limit.
func (c *ctl) with(cmd *cobra.Command, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
	defer cancel()
	return f(ctx)
}

// done prints what was done, or as JSON the result.
func (c *ctl) done(cmd *cobra.Command, result any, format string, a ...any) error {
	if c.json {
		return printJSON(cmd.OutOrStdout(), result)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format+"\n", a...)
	return err
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (c *ctl) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show shards, nodes, problems and what is under way", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd, func(ctx context.Context) error {
				s, err := c.client.Status(ctx)
				if err != nil {
					return err
				}
				if c.json {
					return printJSON(cmd.OutOrStdout(), s)
				}
				return printStatus(cmd.OutOrStdout(), s)
			})
		},
	}
}

func printStatus(out io.Writer, s coordinator.Status) error {
	fmt.Fprintf(out, "cluster %s, topology revision %d, led by %s (%d dashboard(s))\n", s.Cluster.Name,
		s.Cluster.Revision, orDash(s.Leader), len(s.Dashboards))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, sh := range s.Cluster.Shards {
		fmt.Fprintf(w, "\nshard %s\tepoch %d\tprimary %s\tslots %s\n", sh.ID, sh.Epoch, orDash(string(sh.Primary)),
			orDash(slotText(sh.Slots)))
		fmt.Fprintln(w, "  NODE\tADDR\tSTATE\tPRIORITY\tLOG END\tBEHIND\tKEYS\tREPORT AGE\tNOTE")
		end := primaryEnd(s, sh)
		for _, n := range s.Nodes {
			if n.Shard == sh.ID {
				printNode(w, n, end)
			}
		}
	}
	for _, p := range s.Plans {
		fmt.Fprintf(w, "\nunder way: %s of shard %s to epoch %d since %s (%s)\n", p.Kind, p.Shard, p.Epoch,
			p.Started.Local().Format(time.TimeOnly), p.Reason)
	}
	if len(s.Problems) > 0 {
		fmt.Fprintln(w, "\nproblems:")
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", p.Code, p.Shard, orDash(string(p.Node)), p.Summary)
	}
	return w.Flush()
}

func primaryEnd(s coordinator.Status, sh topology.Shard) int64 {
	for _, n := range s.Nodes {
		if n.ID == sh.Primary && n.Report != nil {
			return n.Report.End
		}
	}
	return -1
}

func printNode(w io.Writer, n coordinator.NodeStatus, primaryEnd int64) {
	state, end, behind, keys, age, note := string(n.Conn), "-", "-", "-", "-", n.Error
	if r := n.Report; r != nil {
		if n.Conn == coordinator.ConnUp {
			state, note = nodeState(r)
		}
		end, keys = strconv.FormatInt(r.End, 10), strconv.FormatInt(r.Keys, 10)
		if primaryEnd >= 0 {
			behind = strconv.FormatInt(max(0, primaryEnd-r.End), 10)
		}
		age = (time.Duration(n.AgeMs) * time.Millisecond).String()
	}
	fmt.Fprintf(w, "  %s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", n.ID, n.Addr, state, n.Priority, end, behind,
		keys, age, note)
}

// nodeState puts a report into a word and a note.
func nodeState(r *topology.NodeReport) (state, note string) {
	var notes []string
	state = string(r.Role)
	switch {
	case r.Pending:
		state = "pending"
	case r.Role == topology.RoleReplica:
		state += " " + string(r.Link.State)
	case r.LeaseMs == 0:
		notes = append(notes, "no lease: takes no writes")
	}
	if r.Promised > r.Epoch {
		notes = append(notes, fmt.Sprintf("fenced by epoch %d", r.Promised))
	}
	if r.Parked {
		notes = append(notes, "parked")
	}
	if r.DiskFull {
		notes = append(notes, "disk full")
	}
	if r.Failed != "" {
		notes = append(notes, r.Failed)
	}
	return state, strings.Join(notes, ", ")
}

func slotText(rs []topology.SlotRange) string {
	var parts []string
	for _, r := range rs {
		if r.First == r.Last {
			parts = append(parts, strconv.Itoa(int(r.First)))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", r.First, r.Last))
		}
	}
	return strings.Join(parts, ",")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (c *ctl) shardAdd() *cobra.Command {
	var slots string
	cmd := &cobra.Command{
		Use: "add SHARD", Short: "Add a shard without nodes", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd, func(ctx context.Context) error {
				if err := c.client.AddShard(ctx, topology.ShardID(args[0]), slots); err != nil {
					return err
				}
				return c.done(cmd, map[string]string{"shard": args[0]}, "shard %s added", args[0])
			})
		},
	}
	cmd.Flags().StringVar(&slots, "slots", "0-16383", "slots that it owns")
	return cmd
}

func (c *ctl) nodeAdd() *cobra.Command {
	var n dashboard.NodeRequest
	var id string
	priority := 100
	cmd := &cobra.Command{
		Use: "add SHARD ADDR", Short: "Add a running node to a shard; the first one becomes its primary",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd, func(ctx context.Context) error {
				n.Addr, n.ID, n.Priority = args[1], topology.NodeID(id), &priority
				added, err := c.client.AddNode(ctx, topology.ShardID(args[0]), n)
				if err != nil {
					return err
				}
				return c.done(cmd, added, "node %s (%s, agent %s) added to shard %s", added.ID, added.Addr,
					added.AgentAddr, args[0])
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&n.AgentAddr, "agent", "", "host:port of the node's agent; default: the node's port + 10000")
	f.IntVar(&priority, "priority", priority, "order of promotion, lower first; 0 = never")
	f.StringVar(&n.Zone, "zone", "", "zone of the node")
	f.StringVar(&id, "id", "", "id of the node; default: the shard's and a number")
	f.BoolVar(&n.Discard, "discard", false, "let a node join that holds keys of its own, and lose them")
	return cmd
}

func (c *ctl) nodeRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove SHARD NODE", Short: "Take a node out of its shard", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd, func(ctx context.Context) error {
				err := c.client.RemoveNode(ctx, topology.ShardID(args[0]), topology.NodeID(args[1]))
				if err != nil {
					return err
				}
				return c.done(cmd, map[string]string{"removed": args[1]}, "node %s removed from shard %s", args[1],
					args[0])
			})
		},
	}
}

func (c *ctl) nodePriority() *cobra.Command {
	return &cobra.Command{
		Use: "priority SHARD NODE PRIORITY", Short: "Change a node's order of promotion; 0 = never",
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := strconv.Atoi(args[2])
			if err != nil || p < 0 {
				return fmt.Errorf("priority %q is no number from 0", args[2])
			}
			return c.with(cmd, func(ctx context.Context) error {
				err := c.client.SetPriority(ctx, topology.ShardID(args[0]), topology.NodeID(args[1]), p)
				if err != nil {
					return err
				}
				return c.done(cmd, map[string]any{"node": args[1], "priority": p}, "node %s has priority %d", args[1], p)
			})
		},
	}
}

func (c *ctl) failover() *cobra.Command {
	return &cobra.Command{
		Use: "failover SHARD", Short: "Replace the primary without its help, as if it were dead",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd, topology.ShardID(args[0]), func(ctx context.Context) error {
				return c.client.Failover(ctx, topology.ShardID(args[0]))
			})
		},
	}
}

func (c *ctl) switchover() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "switchover SHARD", Short: "Hand over to a replica without losing a write", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd, topology.ShardID(args[0]), func(ctx context.Context) error {
				return c.client.Switchover(ctx, topology.ShardID(args[0]), topology.NodeID(to))
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "node to hand over to; default: the preferred replica")
	return cmd
}

// change runs a change of the primary and says who it is afterwards.
func (c *ctl) change(cmd *cobra.Command, id topology.ShardID, f func(context.Context) error) error {
	return c.with(cmd, func(ctx context.Context) error {
		start := time.Now()
		if err := f(ctx); err != nil {
			return err
		}
		took := time.Since(start).Round(time.Millisecond)
		t, err := c.client.Cluster(ctx)
		if err != nil {
			return err
		}
		s := t.Shard(id)
		if s == nil {
			return fmt.Errorf("shard %s is gone", id)
		}
		return c.done(cmd, s, "primary of shard %s is %s in epoch %d (%v)", id, s.Primary, s.Epoch, took)
	})
}

func (c *ctl) events() *cobra.Command {
	return &cobra.Command{
		Use: "events", Short: "Print what has happened lately and what happens, until interrupted",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			var failed error
			err := c.client.Events(cmd.Context(), func(e event.Event) bool {
				if c.json {
					failed = json.NewEncoder(out).Encode(e)
				} else {
					_, failed = fmt.Fprintf(out, "%s %s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), e)
				}
				return failed == nil
			})
			if failed != nil {
				return failed
			}
			if cmd.Context().Err() != nil {
				return nil
			}
			return err
		},
	}
}
