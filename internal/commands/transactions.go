package commands

import (
	"haypile/internal/command"
)

const inMulti = command.NoScript | command.Loading | command.Stale | command.Fast | command.AllowBusy

var transactionCommands = []*Command{
	{Spec: command.Spec{
		Name: "MULTI", Group: "transactions", Since: "1.2.0", Arity: 1, Syntax: "MULTI", Complexity: "O(1)",
		Summary: "Begins a transaction: the commands that follow are queued until EXEC.",
		Flags:   inMulti | command.Session, ACL: []string{"transaction"}, Route: command.RoutePinned,
	}, Run: func(c *Call) error { return c.Client.Gate.Multi() }},
	{Spec: command.Spec{
		Name: "EXEC", Group: "transactions", Since: "1.2.0", Arity: 1, Syntax: "EXEC",
		Complexity: "Depends on the commands queued.",
		Summary:    "Runs the queued commands as one atomic unit, on this node, in its log and on its replicas.",
		Flags:      command.NoScript | command.Loading | command.Stale | command.SkipSlowlog, ACL: []string{"transaction"},
		Route: command.RoutePinned,
	}, Run: func(c *Call) error { return c.Client.Gate.Exec() }},
	{Spec: command.Spec{
		Name: "DISCARD", Group: "transactions", Since: "2.0.0", Arity: 1, Syntax: "DISCARD", Complexity: "O(N)",
		Summary: "Drops the queued commands and all watches.",
		Flags:   inMulti | command.Session, ACL: []string{"transaction"}, Route: command.RoutePinned,
	}, Run: func(c *Call) error { return c.Client.Gate.Discard() }},
	{Spec: command.Spec{
		Name: "WATCH", Group: "transactions", Since: "2.2.0", Arity: -2, Syntax: "WATCH key [key ...]",
		Complexity: "O(1) for every key.",
		Summary:    "Makes the next EXEC fail if one of the keys is changed before it.",
		Flags:      inMulti | command.ReadOnly, ACL: []string{"transaction"}, Route: command.RoutePinned,
		Keys: []command.KeySpec{command.Range(1, -1, 1, command.AccessRO)},
	}, Run: func(c *Call) error { return c.Client.Gate.Watch(c) }},
	{Spec: command.Spec{
		Name: "UNWATCH", Group: "transactions", Since: "2.2.0", Arity: 1, Syntax: "UNWATCH", Complexity: "O(1)",
		Summary: "Forgets all watched keys.",
		Flags:   inMulti | command.Session, ACL: []string{"transaction"}, Route: command.RoutePinned,
	}, Run: func(c *Call) error { return c.Client.Gate.Unwatch() }},
}
