package commands

import (
	"haypile/internal/command"
	"haypile/internal/resp"
)

// observeCommands show what the node does and how fast.
var observeCommands = []*Command{
	{
		Spec: serverSpec("MONITOR", "1.0.0", 1, "MONITOR",
			"Shows every command that the node runs, as it runs.", adminAnytime),
		Run: monitor,
	},
	{
		Spec: containerSpec("SLOWLOG", "2.2.12", "Shows commands that took long."),
		Sub: []*Command{
			slowlogSub("GET", -2, "GET [count]", "The newest entries: ten, or as many as asked; -1 all.",
				slowlogGet),
			slowlogSub("LEN", 2, "LEN", "The number of entries.", func(c *Call) error {
				c.Out.Int(int64(c.Node.SlowLog().Len()))
				return nil
			}),
			slowlogSub("RESET", 2, "RESET", "Forgets all entries.", func(c *Call) error {
				c.Node.SlowLog().Reset()
				c.Out.OK()
				return nil
			}),
			helpSub("SLOWLOG", "server",
				"GET [<count>]",
				"    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
				"    Entries are made of:",
				"    id, timestamp, time in microseconds, arguments array, client IP and port,",
				"    client name",
				"LEN", "    Return the length of the slowlog.",
				"RESET", "    Reset the slowlog."),
		},
	},
	latencyCommand,
}

func slowlogSub(name string, arity int, syntax, summary string, run func(*Call) error) *Command {
	return complexity(&Command{
		Spec: serverSpec(name, "2.2.12", arity, "SLOWLOG "+syntax, summary, command.Admin|anyRole), Run: run,
	}, "O(N) entries.")
}

// monitor turns the connection into one that sees all commands. Asked again, it says nothing, as Redis.
func monitor(c *Call) error {
	switch {
	case c.InMulti:
		return Error("ERR MONITOR isn't allowed for DENY BLOCKING client")
	case c.Client.Monitor:
		return nil
	}
	c.Client.Conn.StartPushing()
	c.Client.Monitor = true
	c.Node.MonitorStart(c.Client)
	c.Out.OK()
	return nil
}

func slowlogGet(c *Call) error {
	n := int64(10)
	switch len(c.Args) {
	case 2:
	case 3:
		var ok bool
		if n, ok = resp.ParseInt(c.Args[2]); !ok || n < -1 {
			return Error("ERR count should be greater than or equal to -1")
		}
	default:
		return Error(resp.SubcommandSyntax(c.Args[1], "SLOWLOG"))
	}
	entries := c.Node.SlowLog().Get(int(n))
	c.Out.Array(len(entries))
	for _, e := range entries {
		c.Out.Array(6)
		c.Out.Int(e.ID)
		c.Out.Int(e.At.Unix())
		c.Out.Int(e.Duration.Microseconds())
		c.Out.BulkStringArray(e.Args...)
		c.Out.BulkString(e.Addr)
		c.Out.BulkString(e.Name)
	}
	return nil
}
