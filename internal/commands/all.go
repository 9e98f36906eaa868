package commands

import (
	"slices"

	"haypile/internal/command"
)

// All returns every command: fresh copies with counters at zero, so that several nodes in one process do
// not share statistics. NewTable must be called with them before they are run.
func All() []*Command {
	lists := [][]*Command{
		stringCommands, genericCommands, sortCommands, expireCommands, hashCommands, listCommands,
		blockingListCommands, setCommands, zsetCommands, blockingZSetCommands, geoCommands, streamCommands, bitmapCommands, hllCommands,
		connectionCommands,
		{clientCommand, commandCommand}, transactionCommands, pubsubCommands, scriptCommands, functionCommands, serverCommands,
		pikaCommands, hashLaterCommands, hashExpireCommands,
	}
	var all []*Command
	for _, c := range slices.Concat(lists...) {
		all = append(all, c.fresh())
	}
	return all
}

// fresh copies the description and the function, but not the counters. HELP is in the ACL categories of the
// sub-commands that it explains.
func (c *Command) fresh() *Command {
	n := &Command{Spec: c.Spec, Run: c.Run}
	for _, sub := range c.Sub {
		s := sub.fresh()
		if s.Name == "HELP" && s.ACL == nil {
			s.ACL = c.Sub[0].ACL
		}
		n.Sub = append(n.Sub, s)
	}
	return n
}

// NewTable links the descriptions of sub-commands to those of their containers, names them, and indexes all.
// The table points into the given commands.
func NewTable(all []*Command) (*command.Table, error) {
	specs := make([]*command.Spec, 0, len(all))
	for _, c := range all {
		c.Spec.Sub = make([]*command.Spec, 0, len(c.Sub))
		for _, sub := range c.Sub {
			c.Spec.Sub = append(c.Spec.Sub, &sub.Spec)
		}
		specs = append(specs, &c.Spec)
	}
	return command.NewTable(specs)
}
