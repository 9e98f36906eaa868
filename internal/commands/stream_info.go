package commands

import (
	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
	"haypile/internal/types/stream"
)

var xInfoCommand = &Command{
	Spec: command.Spec{
		Name: "XINFO", Group: "stream", Since: "5.0.0", Arity: -2, Syntax: "XINFO subcommand", Complexity: "O(1)",
		Summary: "Tells about streams, their groups and consumers.",
	},
	Sub: []*Command{
		streamSub("XINFO", "STREAM", "5.0.0", -3, command.ReadOnly, accessGet, "key [FULL [COUNT count]]",
			"O(1); with FULL O(N) entries, groups, consumers and pending entries answered", "Tells about a stream.", xInfoStream).
			differs("radix-tree-keys and radix-tree-nodes are what Redis would have for entries of few bytes."),
		streamSub("XINFO", "GROUPS", "5.0.0", 3, command.ReadOnly, accessGet, "key", "O(N) groups",
			"Tells about the groups of a stream.", xInfoGroups),
		streamSub("XINFO", "CONSUMERS", "5.0.0", 4, command.ReadOnly, accessGet, "key group", "O(N) consumers",
			"Tells about the consumers of a group.", xInfoConsumers),
		helpSub("XINFO", "stream",
			"CONSUMERS <key> <groupname>",
			"    Show consumers of <groupname>.",
			"GROUPS <key>",
			"    Show the stream consumer groups.",
			"STREAM <key> [FULL [COUNT <count>]",
			"    Show information about the stream."),
	},
}

// openStreamInfo reads the stream at args[2], which must exist.
func (c *Call) openStreamInfo() (*stream.Stream, error) {
	s, err := c.openStream(2)
	if err == nil && !s.Exists() {
		err = Error(resp.ErrNoSuchKey)
	}
	return s, err
}

// fullCount is how many entries XINFO STREAM FULL answers of each kind if nothing is said.
const fullCount = 10

func xInfoStream(c *Call) error {
	full, count := len(c.Args) > 3, int64(fullCount)
	if full {
		if !c.Is(3, "FULL") || len(c.Args) != 4 && (len(c.Args) != 6 || !c.Is(4, "COUNT")) {
			return Error(resp.SubcommandSyntax(c.Args[1], "xinfo"))
		}
		if len(c.Args) == 6 {
			var err error
			if count, err = c.int64At(5); err != nil {
				return err
			}
			if count < 0 {
				count = fullCount
			}
		}
	}
	s, err := c.openStreamInfo()
	if err != nil {
		return err
	}
	out := c.Out
	if full {
		out.Map(9)
	} else {
		out.Map(10)
	}
	nodes := (int64(s.Len()) + stream.NodeEntries - 1) / stream.NodeEntries
	c.infoInt("length", int64(s.Len()))
	c.infoInt("radix-tree-keys", nodes)
	c.infoInt("radix-tree-nodes", nodes+1)
	c.infoID("last-generated-id", s.Last)
	c.infoID("max-deleted-entry-id", s.MaxDeleted)
	c.infoInt("entries-added", int64(s.Added))
	c.infoID("recorded-first-entry-id", s.First)
	if full {
		return c.infoFull(s, count)
	}
	c.infoInt("groups", int64(s.Groups))
	out.BulkString("first-entry")
	if err := c.infoEntry(s.Range); err != nil {
		return err
	}
	out.BulkString("last-entry")
	return c.infoEntry(s.RangeBack)
}

func (c *Call) infoInt(name string, n int64) {
	c.Out.BulkString(name)
	c.Out.Int(n)
}

func (c *Call) infoID(name string, id stream.ID) {
	c.Out.BulkString(name)
	c.writeID(id)
}

// infoEntry answers the first entry of a walk.
func (c *Call) infoEntry(walk func(from, to stream.ID, visit func(stream.ID, stream.Fields) bool) error) error {
	found := false
	err := walk(stream.ID{}, stream.Max, func(id stream.ID, f stream.Fields) bool {
		c.writeStreamEntry(id, f)
		found = true
		return false
	})
	if !found {
		c.Out.Null()
	}
	return err
}

// infoFull answers what XINFO STREAM FULL adds, up to count (0: all) of each list.
func (c *Call) infoFull(s *stream.Stream, count int64) error {
	c.Out.BulkString("entries")
	all, n := c.Out.Defer(), int64(0)
	err := s.Range(stream.ID{}, stream.Max, func(id stream.ID, f stream.Fields) bool {
		c.writeStreamEntry(id, f)
		n++
		return n != count
	})
	c.Out.EndArray(all, int(n))
	if err != nil {
		return err
	}
	c.Out.BulkString("groups")
	c.Out.Array(int(s.Groups))
	return s.EachGroup(func(g *stream.Group) error { return c.infoFullGroup(g, count) })
}

func (c *Call) infoFullGroup(g *stream.Group, count int64) error {
	c.Out.Map(7)
	c.Out.BulkString("name")
	c.Out.Bulk(g.Name)
	c.infoProgress(g)
	c.infoInt("pel-count", int64(g.Pending))
	c.Out.BulkString("pending")
	all, n := c.Out.Defer(), int64(0)
	err := g.Deliveries(stream.ID{}, stream.Max, func(d stream.Delivery) bool {
		c.Out.Array(4)
		c.writeID(d.ID)
		c.Out.Bulk(d.Consumer)
		c.Out.Int(d.Time)
		c.Out.Int(int64(d.Count))
		n++
		return n != count
	})
	c.Out.EndArray(all, int(n))
	if err != nil {
		return err
	}
	c.Out.BulkString("consumers")
	c.Out.Array(int(g.Consumers))
	return g.EachConsumer(func(consumer *stream.Consumer) error { return c.infoFullConsumer(consumer, count) })
}

func (c *Call) infoFullConsumer(consumer *stream.Consumer, count int64) error {
	c.Out.Map(5)
	c.Out.BulkString("name")
	c.Out.Bulk(consumer.Name)
	c.infoInt("seen-time", consumer.Seen)
	c.infoInt("active-time", consumer.Active)
	c.infoInt("pel-count", int64(consumer.Pending))
	c.Out.BulkString("pending")
	all, n := c.Out.Defer(), int64(0)
	err := consumer.Deliveries(stream.ID{}, stream.Max, func(d stream.Delivery) bool {
		c.Out.Array(3)
		c.writeID(d.ID)
		c.Out.Int(d.Time)
		c.Out.Int(int64(d.Count))
		n++
		return n != count
	})
	c.Out.EndArray(all, int(n))
	return err
}

// infoProgress answers how far a group has read.
func (c *Call) infoProgress(g *stream.Group) {
	c.infoID("last-delivered-id", g.Last)
	c.Out.BulkString("entries-read")
	if g.Read == stream.Unknown {
		c.Out.Null()
	} else {
		c.Out.Int(g.Read)
	}
	c.Out.BulkString("lag")
	if lag, known := g.Lag(); known {
		c.Out.Int(lag)
	} else {
		c.Out.Null()
	}
}

func xInfoGroups(c *Call) error {
	s, err := c.openStreamInfo()
	if err != nil {
		return err
	}
	c.Out.Array(int(s.Groups))
	return s.EachGroup(func(g *stream.Group) error {
		c.Out.Map(6)
		c.Out.BulkString("name")
		c.Out.Bulk(g.Name)
		c.infoInt("consumers", int64(g.Consumers))
		c.infoInt("pending", int64(g.Pending))
		c.infoProgress(g)
		return nil
	})
}

func xInfoConsumers(c *Call) error {
	s, err := c.openStreamInfo()
	if err != nil {
		return err
	}
	g, err := s.Group(c.Args[3])
	if err != nil {
		return err
	}
	if g == nil {
		return Error(resp.NoGroupForKey(c.Args[3], c.Args[2]))
	}
	c.Out.Array(int(g.Consumers))
	return g.EachConsumer(func(consumer *stream.Consumer) error {
		c.Out.Map(4)
		c.Out.BulkString("name")
		c.Out.Bulk(consumer.Name)
		c.infoInt("pending", int64(consumer.Pending))
		c.infoInt("idle", max(0, c.Tx.Now()-consumer.Seen))
		inactive := int64(-1)
		if consumer.Active >= 0 {
			inactive = max(0, c.Tx.Now()-consumer.Active)
		}
		c.infoInt("inactive", inactive)
		return nil
	})
}

// streamRowBytes is the mean size of the rows of a stream's first entries, for MEMORY USAGE. Groups are left out: they
// are few, and what they have pending is not counted as entries.
func streamRowBytes(t *keyspace.Txn, e *keyspace.Entry, samples int) (float64, error) {
	s, err := stream.At(t, *e)
	if err != nil {
		return 0, err
	}
	head := len(encoding.AppendOrdered(nil, 0, e.Meta.Birth, e.Meta.ID, nil))
	seen, bytes := 0, 0
	err = t.ScanOrdered(e, &e.Meta, s.RowsFrom(), nil, func(k, v []byte) bool {
		seen++
		bytes += head + len(k) + len(v)
		return seen < samples
	})
	return float64(bytes) / float64(max(seen, 1)), err
}
