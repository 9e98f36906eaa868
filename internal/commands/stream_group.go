package commands

import (
	"haypile/internal/command"
	"haypile/internal/keyevent"
	"haypile/internal/resp"
	"haypile/internal/types/stream"
)

// streamSub makes a sub-command of XGROUP or XINFO.
func streamSub(container, name, since string, arity int, flags command.Flags, access command.Access, args, complexity,
	summary string, run func(*Call) error) *Command {
	c := streamFamily.command(name, since, arity, flags, command.One(2, access), container+" "+name+" "+args, complexity,
		summary, run)
	return c
}

var xGroupCommand = &Command{
	Spec: command.Spec{
		Name: "XGROUP", Group: "stream", Since: "5.0.0", Arity: -2, Syntax: "XGROUP subcommand", Complexity: "O(1)",
		Summary: "Makes and removes consumer groups of streams and their consumers.",
	},
	Sub: []*Command{
		streamSub("XGROUP", "CREATE", "5.0.0", -5, writeGrow, command.AccessRW|command.AccessInsert,
			"key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]", "O(1)", "Makes a consumer group.", xGroupCreate),
		streamSub("XGROUP", "SETID", "5.0.0", -5, command.Write, accessChange,
			"key group <id | $> [ENTRIESREAD entries-read]", "O(1)", "Sets the ID up to which a group has read.", xGroupSetID),
		streamSub("XGROUP", "DESTROY", "5.0.0", 4, command.Write, command.AccessRW|command.AccessDelete,
			"key group", "O(N) entries pending", "Removes a consumer group.", xGroupDestroy),
		streamSub("XGROUP", "CREATECONSUMER", "6.2.0", 5, writeGrow, command.AccessRW|command.AccessInsert,
			"key group consumer", "O(1)", "Makes a consumer of a group.", xGroupCreateConsumer),
		streamSub("XGROUP", "DELCONSUMER", "5.0.0", 5, command.Write, command.AccessRW|command.AccessDelete,
			"key group consumer", "O(N) entries pending of the consumer",
			"Removes a consumer, and forgets what it has not acknowledged.", xGroupDelConsumer),
		helpSub("XGROUP", "stream",
			"CREATE <key> <groupname> <id|$> [option]",
			"    Create a new consumer group. Options are:",
			"    * MKSTREAM",
			"      Create the empty stream if it does not exist.",
			"    * ENTRIESREAD entries_read",
			"      Set the group's entries_read counter (internal use).",
			"CREATECONSUMER <key> <groupname> <consumer>",
			"    Create a new consumer in the specified group.",
			"DELCONSUMER <key> <groupname> <consumer>",
			"    Remove the specified consumer.",
			"DESTROY <key> <groupname>",
			"    Remove the specified group.",
			"SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
			"    Set the current group ID and entries_read counter."),
	},
}

// groupOptions are those of XGROUP CREATE and SETID.
type groupOptions struct {
	mkStream bool
	read     int64
}

func (c *Call) parseGroupOptions(create bool) (o groupOptions, err error) {
	o.read = stream.Unknown
	for i := 5; i < len(c.Args); i++ {
		switch {
		case create && c.Is(i, "MKSTREAM"):
			o.mkStream = true
		case c.Is(i, "ENTRIESREAD") && i+1 < len(c.Args):
			i++
			if o.read, err = c.int64At(i); err != nil {
				return o, err
			}
			if o.read < 0 && o.read != stream.Unknown {
				return o, Error(resp.ErrStreamEntriesRead)
			}
		default:
			return o, Error(resp.SubcommandSyntax(c.Args[1], "xgroup"))
		}
	}
	return o, nil
}

// openGroup reads the stream at args[2] for XGROUP and, if it is needed, the group args[3] of it.
func (c *Call) openGroup(need bool) (*stream.Stream, *stream.Group, error) {
	s, err := c.openStream(2)
	if err != nil {
		return nil, nil, err
	}
	if !s.Exists() {
		return nil, nil, Error(resp.ErrStreamNoKey)
	}
	g, err := s.Group(c.Args[3])
	if err == nil && g == nil && need {
		err = Error(resp.NoGroupForKey(c.Args[3], c.Args[2]))
	}
	return s, g, err
}

// groupStart reads the ID at args[4], from which on a group is to read.
func (c *Call) groupStart(s *stream.Stream, parse func([]byte, uint64) (stream.ID, bool)) (stream.ID, error) {
	if c.isID(4, '$') {
		return s.Last, nil
	}
	id, ok := parse(c.Args[4], 0)
	if !ok {
		return id, Error(resp.ErrStreamID)
	}
	return id, nil
}

func xGroupCreate(c *Call) error {
	o, err := c.parseGroupOptions(true)
	if err != nil {
		return err
	}
	s, err := c.openStream(2)
	if err != nil {
		return err
	}
	if !s.Exists() && !o.mkStream {
		return Error(resp.ErrStreamNoKey)
	}
	id, err := c.groupStart(s, stream.Parse)
	if err != nil {
		return err
	}
	g, err := s.CreateGroup(c.Args[3], id, o.read)
	if err != nil {
		return err
	}
	if g == nil {
		return Error(resp.ErrStreamGroupExists)
	}
	c.Out.OK()
	return c.saveGroup(s, g, "xgroup-create")
}

// saveGroup stores a group and its stream and tells of what happened.
func (c *Call) saveGroup(s *stream.Stream, g *stream.Group, event string) error {
	g.Save()
	return c.saveStream(s, event, event != "")
}

func xGroupSetID(c *Call) error {
	o, err := c.parseGroupOptions(false)
	if err != nil {
		return err
	}
	s, g, err := c.openGroup(true)
	if err != nil {
		return err
	}
	id, err := c.groupStart(s, stream.ParseBound)
	if err != nil {
		return err
	}
	g.SetID(id, o.read)
	c.Out.OK()
	return c.saveGroup(s, g, "xgroup-setid")
}

func xGroupDestroy(c *Call) error {
	s, g, err := c.openGroup(false)
	if err != nil {
		return err
	}
	c.Out.Int(bit(g != nil))
	if g == nil {
		return nil
	}
	if err := g.Destroy(); err != nil {
		return err
	}
	return c.saveStream(s, "xgroup-destroy", true)
}

func xGroupCreateConsumer(c *Call) error {
	s, g, err := c.openGroup(true)
	if err != nil {
		return err
	}
	consumer, err := g.Consumer(c.Args[4])
	if err != nil {
		return err
	}
	c.Out.Int(bit(consumer == nil))
	if consumer != nil {
		return nil
	}
	g.CreateConsumer(c.Args[4], c.Tx.Now(), -1)
	return c.saveGroup(s, g, "xgroup-createconsumer")
}

func xGroupDelConsumer(c *Call) error {
	s, g, err := c.openGroup(true)
	if err != nil {
		return err
	}
	consumer, err := g.Consumer(c.Args[4])
	if err != nil {
		return err
	}
	if consumer == nil {
		c.Out.Int(0)
		return nil
	}
	c.Out.Int(int64(consumer.Pending))
	if err := consumer.Delete(); err != nil {
		return err
	}
	return c.saveGroup(s, g, "xgroup-delconsumer")
}

// demandConsumer finds the consumer that asks for something, or makes it, and notes that it asks. The log carries
// that one was made: what it gets may be nothing.
func (c *Call) demandConsumer(key []byte, g *stream.Group, name []byte, now int64) (*stream.Consumer, error) {
	consumer, err := g.Consumer(name)
	if err != nil {
		return nil, err
	}
	if consumer == nil {
		consumer = g.CreateConsumer(name, now, -1)
		c.effect(wordXGroup, wordCreateConsumer, key, g.Name, name)
		c.notify(keyevent.Stream, "xgroup-createconsumer", key)
	}
	consumer.See(now)
	return consumer, nil
}

// logDelivery logs that d is pending as it is: what Redis sends to its replicas for every way in which an entry
// becomes pending, and for one whose entry is gone, which ends that it is.
func (c *Call) logDelivery(key []byte, g *stream.Group, d *stream.Delivery) {
	c.effect(wordXClaim, key, g.Name, d.Consumer, wordZero, d.ID.Append(nil), wordTime, decimal(d.Time), wordRetryCount,
		decimal(int64(d.Count)), wordForce, wordJustID, wordLastID, g.Last.Append(nil))
}

// logGroupID logs how far a group has read.
func (c *Call) logGroupID(key []byte, g *stream.Group) {
	c.effect(wordXGroup, wordSetID, key, g.Name, g.Last.Append(nil), wordEntriesRead, decimal(g.Read))
}

// Words of effects.
var (
	wordXGroup         = []byte("XGROUP")
	wordCreateConsumer = []byte("CREATECONSUMER")
	wordSetID          = []byte("SETID")
	wordEntriesRead    = []byte("ENTRIESREAD")
	wordXClaim         = []byte("XCLAIM")
	wordZero           = []byte("0")
	wordTime           = []byte("TIME")
	wordRetryCount     = []byte("RETRYCOUNT")
	wordForce          = []byte("FORCE")
	wordJustID         = []byte("JUSTID")
	wordLastID         = []byte("LASTID")
)
