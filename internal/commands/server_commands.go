package commands

import (
	"errors"
	"slices"

	"haypile/internal/command"
)

// serverCommands are the commands about the node as a whole.
var serverCommands = slices.Concat(
	keyspaceAdminCommands, configCommands, persistenceCommands, observeCommands, memoryCommands,
	debugCommands, roleCommands, waitCommands, aclCommands, compatCommands, clusterClientCommands,
)

// Flag sets that many administration commands share; the values are Redis 7.2's.
const (
	adminAnytime = command.Admin | command.NoScript | command.Loading | command.Stale
	adminSettled = command.Admin | command.NoScript | command.NoAsyncLoading
	anyRole      = command.Loading | command.Stale
)

// oneNode is why a proxy refuses what is about a single node.
const oneNode = "it is about one node: send it to the node itself"

// serverSpec is the description of a command of the group server that a proxy refuses.
func serverSpec(name, since string, arity int, syntax, summary string, flags command.Flags) command.Spec {
	return command.Spec{
		Name: name, Group: "server", Since: since, Arity: arity, Syntax: syntax, Summary: summary,
		Complexity: "O(1)", Flags: flags, Route: command.RouteDenied, DeniedReason: oneNode,
	}
}

// containerSpec is the description of a command that is nothing without its sub-commands.
func containerSpec(name, since, summary string) command.Spec {
	s := serverSpec(name, since, -2, name+" subcommand", summary, 0)
	s.Complexity = "Depends on the sub-command."
	return s
}

// routed lets a proxy forward the command.
func routed(c *Command, r command.Route, m command.Merge) *Command {
	c.Route, c.Merge, c.DeniedReason = r, m, ""
	return c
}

// differs documents deviations from Redis.
func differs(c *Command, text string) *Command {
	c.Differs = text
	return c
}

// complexity replaces O(1).
func complexity(c *Command, text string) *Command {
	c.Complexity = text
	return c
}

// categories adds ACL categories that do not follow from the flags.
func categories(c *Command, names ...string) *Command {
	c.ACL = names
	return c
}

// refusal turns the error of a part of the node into a reply.
func refusal(err error) error {
	var e Error
	if errors.As(err, &e) {
		return e
	}
	return Error("ERR " + err.Error())
}
