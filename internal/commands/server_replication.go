package commands

import (
	"time"

	"haypile/internal/command"
	"haypile/internal/option"
	"haypile/internal/resp"
)

// roleCommands change and show the node's part in replication, and speak with replicas.
var roleCommands = []*Command{
	categories(&Command{
		Spec: serverSpec("ROLE", "2.8.12", 1, "ROLE", "The node's part in replication.",
			anyRole|command.NoScript|command.Fast),
		Run: func(c *Call) error {
			c.Node.Replication().Role(c.Out)
			return nil
		},
	}, "admin", "dangerous"),
	replicaOfCommand("REPLICAOF", "5.0.0"),
	replicaOfCommand("SLAVEOF", "1.0.0"),
	differs(&Command{
		Spec: serverSpec("FAILOVER", "6.2.0", -1,
			"FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
			"Hands the role of primary over to a replica that has everything.",
			command.Admin|command.NoScript|command.Stale),
		Run: failover,
	}, "A managed node is switched by its dashboards."),
	differs(&Command{
		Spec: serverSpec("REPLCONF", "3.0.0", -1, "REPLCONF option value [option value ...]",
			"What a replica tells about itself before PSYNC.", adminAnytime|command.AllowBusy),
		Run: replConf,
	}, "The option haypile, by which Haypile nodes introduce themselves, is added."),
	{
		Spec: serverSpec("PSYNC", "2.8.0", -3, "PSYNC replicationid offset [FAILOVER]",
			"Turns the connection into a replica's: the stream from an offset on, or a full sync.",
			adminSettled|command.NoMulti),
		Run: psync,
	},
	differs(&Command{
		Spec: serverSpec("SYNC", "1.0.0", 1, "SYNC", "PSYNC of replicas older than Redis 2.8.",
			adminSettled|command.NoMulti),
		Run: psync,
	}, "A full sync goes to Haypile nodes with the same file format only."),
}

const errManaged = Error("ERR the role of a managed node is set by its dashboards: ask them for a switch-over")

func replicaOfCommand(name, since string) *Command {
	c := &Command{
		// Loading: a node whose role is not settled yet must hear who its primary is.
		Spec: serverSpec(name, since, 3, name+" <host port | NO ONE>",
			"Makes the node a replica of another, or a primary.", adminAnytime|command.NoAsyncLoading),
		Run: replicaOf,
	}
	c.Differs = "Allowed while the node loads. CONFIG REWRITE in the same transaction writes the new role. " +
		"A managed node refuses it."
	return c
}

// replicaOf answers at once; the role changes when the gate has let go of its locks. Arguments are looked at
// here and not before, so that a transaction of Sentinel's never fails while it is queued.
func replicaOf(c *Call) error {
	if c.Node.Config().Bool(option.Managed) {
		return errManaged
	}
	host, port := "", ""
	if !c.Is(1, "NO") || !c.Is(2, "ONE") {
		n, ok := resp.ParseInt(c.Args[2])
		if !ok || n < 0 || n > 65535 {
			return Error(resp.ErrMasterPort)
		}
		if len(c.Args[1]) == 0 { // which would be NO ONE below
			return Error("ERR Invalid master host")
		}
		host, port = string(c.Args[1]), formatInt(n)
	}
	r := c.Node.Replication()
	if !r.Intend(host, port) {
		if host != "" {
			c.Out.SimpleString("OK Already connected to specified master")
		} else {
			c.Out.OK()
		}
		return nil
	}
	c.After(func() { _ = r.Follow(host, port) }) // which logs its error: the reply is out by then
	c.Out.OK()
	return nil
}

func failover(c *Call) error {
	r := c.Node.Replication()
	var opt FailoverOptions
	if len(c.Args) == 2 && c.Is(1, "ABORT") {
		opt.Abort = true
		return done(c, r.Failover(opt))
	}
	for i := 1; i < len(c.Args); i++ {
		switch left := len(c.Args) - i - 1; {
		case c.Is(i, "TIMEOUT") && left >= 1 && opt.Timeout == 0:
			ms, ok := resp.ParseInt(c.Args[i+1])
			if !ok {
				return Error(resp.ErrNotInteger)
			}
			if ms <= 0 {
				return Error("ERR FAILOVER timeout must be greater than 0")
			}
			opt.Timeout = time.Duration(min(ms, int64(maxWait/time.Millisecond))) * time.Millisecond
			i++
		case c.Is(i, "TO") && left >= 2 && opt.Host == "":
			port, ok := resp.ParseInt(c.Args[i+2])
			if !ok {
				return Error(resp.ErrNotInteger)
			}
			opt.Host, opt.Port = string(c.Args[i+1]), formatInt(port)
			i += 2
		case c.Is(i, "FORCE"):
			opt.Force = true
		default:
			return Error(resp.ErrSyntax)
		}
	}
	switch {
	case c.Node.Config().Bool(option.Managed):
		return errManaged
	case r.IsReplica():
		return Error("ERR FAILOVER is not valid when server is a replica.")
	case opt.Force && (opt.Timeout == 0 || opt.Host == ""):
		return Error("ERR FAILOVER with force option requires both a timeout and target HOST and IP.")
	}
	return done(c, r.Failover(opt))
}

// replConf takes what a replica says before PSYNC. After it the connection is replication's own.
func replConf(c *Call) error {
	c.Out.Buf = c.Node.Replication().Replconf(c.Client, c.Args, c.Out.Buf)
	return nil
}

// psync is PSYNC and SYNC: it hands the connection over. There is no reply here unless it is refused.
func psync(c *Call) error {
	if err := c.Node.Replication().Serve(c.Client, c.Args); err != nil {
		return refusal(err)
	}
	return nil
}
