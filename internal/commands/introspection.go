package commands

import (
	"haypile/internal/command"
	"haypile/internal/commandinfo"
)

// aboutCommands answers the whole COMMAND family.
func aboutCommands(c *Call) error {
	commandinfo.Append(c.Out, c.Node.Table(), c.Args)
	return nil
}

func commandSub(name string, arity int, syntax string) *Command {
	return &Command{Spec: command.Spec{
		Name: name, Group: "server", Since: "2.8.13", Arity: arity, Syntax: "COMMAND " + syntax, Complexity: "O(N)",
		Summary: "Tells about commands.", Flags: command.Loading | command.Stale, ACL: []string{"connection"},
		Route: command.RouteAny,
	}, Run: aboutCommands}
}

var commandCommand = &Command{
	Spec: command.Spec{
		Name: "COMMAND", Group: "server", Since: "2.8.13", Arity: -1, Syntax: "COMMAND", Complexity: "O(N)",
		Summary: "Describes all commands.", Flags: command.Loading | command.Stale, ACL: []string{"connection"},
		Route: command.RouteAny,
	},
	Run: aboutCommands,
	Sub: []*Command{
		commandSub("COUNT", 2, "COUNT"),
		commandSub("INFO", -2, "INFO [command-name [command-name ...]]"),
		commandSub("DOCS", -2, "DOCS [command-name [command-name ...]]"),
		commandSub("LIST", -2, "LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]"),
		commandSub("GETKEYS", -3, "GETKEYS command [arg [arg ...]]"),
		commandSub("GETKEYSANDFLAGS", -3, "GETKEYSANDFLAGS command [arg [arg ...]]"),
		{Spec: helpSub("COMMAND", "server").Spec, Run: aboutCommands},
	},
}
