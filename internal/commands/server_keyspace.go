package commands

import (
	"haypile/internal/command"
	"haypile/internal/resp"
)

const flushSyncDiffers = "A flush takes the same short time whatever it deletes: the database gets an " +
	"empty space, and the old one is reclaimed in the background. ASYNC and SYNC are accepted and mean the same."

// keyspaceAdminCommands work on databases as a whole.
var keyspaceAdminCommands = []*Command{
	routed(categories(&Command{
		Spec: serverSpec("DBSIZE", "1.0.0", 1, "DBSIZE", "Counts the keys of the selected database.",
			command.ReadOnly|command.Fast|command.WholeSpace),
		Run: func(c *Call) error {
			c.Out.Int(c.Tx.Keys(c.Tx.DB()))
			return nil
		},
	}, "keyspace"), command.RouteAllShards, command.MergeSum),
	flushing("FLUSHDB", "Deletes all keys of the selected database.", func(c *Call) { c.Tx.Flush(c.Tx.DB()) }),
	flushing("FLUSHALL", "Deletes all keys of all databases.", func(c *Call) {
		for db := range c.Tx.Databases() {
			c.Tx.Flush(db)
		}
	}),
	swapDB(),
}

// flushing makes FLUSHDB and FLUSHALL. They are logged even if there was nothing to delete, as Redis does.
func flushing(name, summary string, flush func(*Call)) *Command {
	c := &Command{
		Spec: serverSpec(name, "1.0.0", -1, name+" [ASYNC | SYNC]", summary, command.Write|command.Exclusive),
		Run: func(c *Call) error {
			if len(c.Args) > 2 || len(c.Args) == 2 && !c.Is(1, "ASYNC") && !c.Is(1, "SYNC") {
				return Error(resp.ErrSyntax)
			}
			flush(c)
			c.Tx.Effect(c.Args...)
			c.Out.OK()
			return nil
		},
	}
	return routed(categories(differs(c, flushSyncDiffers), "keyspace", "dangerous"),
		command.RouteAllShards, command.MergeAllSucceeded)
}

func swapDB() *Command {
	c := &Command{
		Spec: serverSpec("SWAPDB", "4.0.0", 3, "SWAPDB index1 index2",
			"Exchanges two databases: clients of either see the other's keys at once.",
			command.Write|command.Fast|command.Exclusive),
		Run: func(c *Call) error {
			a, ok := resp.ParseInt(c.Args[1])
			if !ok {
				return Error(resp.ErrFirstDBIndex)
			}
			b, ok := resp.ParseInt(c.Args[2])
			if !ok {
				return Error(resp.ErrSecondDBIndex)
			}
			n := int64(c.Tx.Databases())
			if a < 0 || a >= n || b < 0 || b >= n {
				return Error(resp.ErrDBIndexRange)
			}
			c.Tx.Swap(int(a), int(b))
			c.Tx.Effect(c.Args...)
			c.Out.OK()
			return nil
		},
	}
	c.DeniedReason = "databases cannot be exchanged on all shards at one moment"
	return categories(c, "keyspace", "dangerous")
}
