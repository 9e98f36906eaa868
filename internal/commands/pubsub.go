package commands

import (
	"sort"

	"haypile/internal/command"
	"haypile/internal/pubsub"
	"haypile/internal/resp"
)

const subscribing = command.PubSub | command.NoScript | command.Loading | command.Stale

func subscribe(name, word, since string, kind pubsub.Kind) *Command {
	return &Command{Spec: command.Spec{
		Name: name, Group: "pubsub", Since: since, Arity: -2, Syntax: name + " " + word + " [" + word + " ...]",
		Complexity: "O(1) for every " + word + ".", Summary: "Subscribes the connection: messages are pushed to it.",
		Flags: subscribing, Route: command.RoutePinned, Keys: shardKeys(kind), Channels: subscribedTo(kind),
	}, Run: func(c *Call) error {
		if kind == pubsub.Shard && c.InMulti {
			return Error("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client")
		}
		c.Client.Conn.StartPushing()
		for _, a := range c.Args[1:] {
			ch := string(a)
			subs := &c.Client.Subs[kind]
			if *subs == nil {
				*subs = map[string]struct{}{}
			}
			(*subs)[ch] = struct{}{}
			c.Client.noteSubscribed()
			c.Node.PubSub().Subscribe(kind, ch, c.Client.Conn)
			c.subscription(subscribeWords[kind], ch, kind)
		}
		c.recheckSubscriptions(kind)
		return nil
	}}
}

func unsubscribe(name, word, since string, kind pubsub.Kind) *Command {
	return &Command{Spec: command.Spec{
		Name: name, Group: "pubsub", Since: since, Arity: -1, Syntax: name + " [" + word + " [" + word + " ...]]",
		Complexity: "O(1) for every " + word + ".", Summary: "Ends subscriptions: the ones named, else all of the kind.",
		Flags: subscribing, Route: command.RoutePinned, Keys: shardKeys(kind),
	}, Run: func(c *Call) error {
		var names []string
		for _, a := range c.Args[1:] {
			names = append(names, string(a))
		}
		if len(names) == 0 {
			for n := range c.Client.Subs[kind] {
				names = append(names, n)
			}
			sort.Strings(names)
		}
		if len(names) == 0 {
			c.subscription(unsubscribeWords[kind], "", kind)
		}
		for _, n := range names {
			if c.Node.PubSub().Unsubscribe(kind, n, c.Client.Conn) {
				delete(c.Client.Subs[kind], n)
				c.Client.noteSubscribed()
			}
			c.subscription(unsubscribeWords[kind], n, kind)
		}
		return nil
	}}
}

func subscribedTo(kind pubsub.Kind) command.Channels {
	if kind == pubsub.Pattern {
		return command.ChannelsPatterns
	}
	return command.ChannelsSubscribe
}

func shardKeys(kind pubsub.Kind) []command.KeySpec {
	if kind != pubsub.Shard {
		return nil
	}
	return []command.KeySpec{command.Range(1, -1, 1, command.AccessNotKey)}
}

var (
	subscribeWords   = [...]string{"subscribe", "psubscribe", "ssubscribe"}
	unsubscribeWords = [...]string{"unsubscribe", "punsubscribe", "sunsubscribe"}
)

// subscription writes the confirmation of one subscription or its end. The number is Redis': channels and
// patterns together, or shard channels alone.
func (c *Call) subscription(word, name string, kind pubsub.Kind) {
	c.Out.Push(3)
	c.Out.BulkString(word)
	if name == "" {
		c.Out.Null()
	} else {
		c.Out.BulkString(name)
	}
	n := len(c.Client.Subs[pubsub.Channel]) + len(c.Client.Subs[pubsub.Pattern])
	if kind == pubsub.Shard {
		n = len(c.Client.Subs[pubsub.Shard])
	}
	c.Out.Int(int64(n))
}

// HelloChannel is stock Sentinel's: what is published there stays on the node, because it must not move the
// offset of one node only.
const HelloChannel = "__sentinel__:hello"

func publish(name string, since string, shard bool) *Command {
	s := command.Spec{
		Name: name, Group: "pubsub", Since: since, Arity: 3, Syntax: name + " channel message",
		Complexity: "O(N+M) with N subscribers of the channel and M patterns.",
		Summary:    "Sends a message to the subscribers of a channel, on this node and its replicas.",
		Flags:      command.PubSub | command.Loading | command.Stale | command.Fast | command.MayReplicate,
		Route:      command.RouteAny,
		Channels:   command.ChannelsPublish,
	}
	if shard {
		s.Syntax = name + " shardchannel message"
		s.Keys, s.Route = []command.KeySpec{command.One(1, command.AccessNotKey)}, command.RouteKeys
	}
	return &Command{Spec: s, Run: func(c *Call) error {
		n := c.Node.PubSub().Publish(c.Args[1], c.Args[2], shard)
		if c.Tx.Writable() && !c.Tx.Applying() && string(c.Args[1]) != HelloChannel && c.Node.Publishes() {
			c.Tx.Effect(c.Args...)
		}
		if c.Client.Conn != nil && !c.InMulti {
			c.Client.Conn.TakeMessages(c.Out) // a message to oneself comes before the reply, but never into an array
		}
		c.Out.Int(int64(n))
		return nil
	}}
}

var pubsubCommands = []*Command{
	subscribe("SUBSCRIBE", "channel", "2.0.0", pubsub.Channel),
	subscribe("PSUBSCRIBE", "pattern", "2.0.0", pubsub.Pattern),
	subscribe("SSUBSCRIBE", "shardchannel", "7.0.0", pubsub.Shard),
	unsubscribe("UNSUBSCRIBE", "channel", "2.0.0", pubsub.Channel),
	unsubscribe("PUNSUBSCRIBE", "pattern", "2.0.0", pubsub.Pattern),
	unsubscribe("SUNSUBSCRIBE", "shardchannel", "7.0.0", pubsub.Shard),
	publish("PUBLISH", "2.0.0", false),
	publish("SPUBLISH", "7.0.0", true),
	{
		Spec: command.Spec{
			Name: "PUBSUB", Group: "pubsub", Since: "2.8.0", Arity: -2, Syntax: "PUBSUB subcommand",
			Complexity: "Depends on the sub-command.", Summary: "Tells about channels and subscriptions.",
			Flags: command.Loading | command.Stale, Route: command.RouteAny,
		},
		Sub: []*Command{
			pubsubSub("CHANNELS", -2, "PUBSUB CHANNELS [pattern]", func(c *Call) error { return pubsubNames(c, pubsub.Channel) }),
			pubsubSub("SHARDCHANNELS", -2, "PUBSUB SHARDCHANNELS [pattern]",
				func(c *Call) error { return pubsubNames(c, pubsub.Shard) }),
			pubsubSub("NUMSUB", -2, "PUBSUB NUMSUB [channel [channel ...]]", func(c *Call) error { return pubsubCounts(c, pubsub.Channel) }),
			pubsubSub("SHARDNUMSUB", -2, "PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]",
				func(c *Call) error { return pubsubCounts(c, pubsub.Shard) }),
			pubsubSub("NUMPAT", 2, "PUBSUB NUMPAT", func(c *Call) error {
				c.Out.Int(int64(c.Node.PubSub().Len(pubsub.Pattern)))
				return nil
			}),
			helpSub("PUBSUB", "pubsub",
				"CHANNELS [<pattern>]", "    Return the currently active channels matching a <pattern> (default: '*').",
				"NUMPAT", "    Return number of subscriptions to patterns.",
				"NUMSUB [<channel> ...]",
				"    Return the number of subscribers for the specified channels, excluding",
				"    pattern subscriptions(default: no channels).",
				"SHARDCHANNELS [<pattern>]",
				"    Return the currently active shard level channels matching a <pattern> (default: '*').",
				"SHARDNUMSUB [<shardchannel> ...]",
				"    Return the number of subscribers for the specified shard level channel(s)"),
		},
	},
}

func pubsubSub(name string, arity int, syntax string, run func(*Call) error) *Command {
	return &Command{Spec: command.Spec{
		Name: name, Group: "pubsub", Since: "2.8.0", Arity: arity, Syntax: syntax, Complexity: "O(N)",
		Summary: "Tells about channels and subscriptions.",
		Flags:   command.PubSub | command.Loading | command.Stale, Route: command.RouteAny,
	}, Run: run}
}

func pubsubNames(c *Call, kind pubsub.Kind) error {
	if len(c.Args) > 3 {
		return Error(resp.SubcommandSyntax(c.Args[1], "PUBSUB"))
	}
	var pattern []byte
	if len(c.Args) == 3 {
		pattern = c.Args[2]
	}
	c.Out.BulkStringArray(c.Node.PubSub().Names(kind, pattern)...)
	return nil
}

func pubsubCounts(c *Call, kind pubsub.Kind) error {
	c.Out.Array(2 * (len(c.Args) - 2))
	for _, ch := range c.Args[2:] {
		c.Out.Bulk(ch)
		c.Out.Int(int64(c.Node.PubSub().Count(kind, string(ch))))
	}
	return nil
}

// helpSub makes the HELP sub-command of a container. Its lines are between the head and the tail that Redis
// puts around all of them.
func helpSub(container, group string, lines ...string) *Command {
	return &Command{Spec: command.Spec{
		Name: "HELP", Group: group, Since: "5.0.0", Arity: 2, Syntax: container + " HELP", Complexity: "O(1)",
		Summary: "Lists the sub-commands.", Flags: command.Loading | command.Stale, Route: command.RouteAny,
	}, Run: func(c *Call) error {
		c.Out.Array(len(lines) + 3)
		c.Out.SimpleString(container + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
		for _, l := range lines {
			c.Out.SimpleString(l)
		}
		c.Out.SimpleString("HELP")
		c.Out.SimpleString("    Prints this help.")
		return nil
	}}
}
