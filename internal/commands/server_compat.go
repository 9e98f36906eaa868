package commands

import (
	"strings"
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
)

// compatCommands are small commands, many of which exist because clients and Sentinel send them.
var compatCommands = []*Command{
	routed(&Command{
		Spec: serverSpec("TIME", "2.6.0", 1, "TIME",
			"The node's clock: Unix seconds, and microseconds beyond them.",
			anyRole|command.Fast|command.Session),
		Run: func(c *Call) error {
			now := time.Now().UnixMicro()
			c.Out.Array(2)
			c.Out.BulkInt(now / 1_000_000)
			c.Out.BulkInt(now % 1_000_000)
			return nil
		},
	}, command.RouteAny, command.MergeNone),
	routed(&Command{
		Spec: serverSpec("LOLWUT", "5.0.0", -1, "LOLWUT [VERSION version] [size]",
			"Draws a pile of hay, and tells the version.", command.ReadOnly|command.Fast),
		Run: lolwut,
	}, command.RouteAny, command.MergeNone),
	moduleCommand,
	clusterCommand(),
}

// maxPile is the highest pile that LOLWUT draws.
const maxPile = 30

func lolwut(c *Call) error {
	args := c.Args[1:]
	if len(args) >= 2 && EqualWord(args[0], "VERSION") {
		if _, ok := resp.ParseInt(args[1]); !ok {
			return Error(resp.ErrNotInteger)
		}
		args = args[2:]
	}
	rows := int64(6)
	if len(args) > 0 {
		n, ok := resp.ParseInt(args[0])
		if !ok {
			return Error(resp.ErrNotInteger)
		}
		rows = max(1, min(n, maxPile))
	}
	const straw = `/\|\/,/|\`
	var b strings.Builder
	for r := range int(rows) {
		b.WriteString(strings.Repeat(" ", int(rows)-r-1))
		for i := range 2*r + 1 {
			b.WriteByte(straw[(i*5+r*3)%len(straw)])
		}
		b.WriteByte('\n')
	}
	b.WriteString("\nHaypile keeps the hay dry. Redis ver. " + Version + "\n")
	c.Out.Verbatim("txt", b.String())
	return nil
}

const errNoModules = Error("ERR modules cannot be loaded: the commands are built in")

func moduleSub(name, since string, arity int, syntax, summary string, flags command.Flags,
	run func(*Call) error) *Command {
	return differs(&Command{
		Spec: serverSpec(name, since, arity, "MODULE "+syntax, summary, command.Admin|command.NoScript|flags),
		Run:  run,
	}, "There are no modules.")
}

var moduleCommand = &Command{
	Spec: containerSpec("MODULE", "4.0.0", "About modules, of which there are none."),
	Sub: []*Command{
		routed(moduleSub("LIST", "4.0.0", 2, "LIST", "The modules loaded: none.", 0, func(c *Call) error {
			c.Out.Array(0)
			return nil
		}), command.RouteAny, command.MergeNone),
		moduleSub("LOAD", "4.0.0", -3, "LOAD path [arg [arg ...]]", "Refused.", command.NoAsyncLoading,
			refuseModule),
		moduleSub("LOADEX", "7.0.0", -3, "LOADEX path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]", "Refused.",
			command.NoAsyncLoading, refuseModule),
		moduleSub("UNLOAD", "4.0.0", 3, "UNLOAD name", "Refused.", command.NoAsyncLoading, refuseModule),
		helpSub("MODULE", "server", "LIST", "    Return a list of loaded modules."),
	},
}

func refuseModule(*Call) error { return errNoModules }
