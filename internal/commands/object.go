package commands

import (
	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/types/hash"
	"haypile/internal/types/list"
	"haypile/internal/types/set"
	"haypile/internal/types/zset"
)

func objectSub(name, syntax, summary string, run func(*Call, *keyspace.Entry) error) *Command {
	return &Command{Spec: command.Spec{
		Name: name, Group: "generic", Since: "2.2.3", Arity: 3, Syntax: "OBJECT " + syntax, Summary: summary,
		Complexity: "O(1)", Flags: command.ReadOnly, ACL: []string{"keyspace"},
		Keys: []command.KeySpec{command.One(2, command.AccessRO)},
	}, Run: func(c *Call) error {
		e, err := c.Tx.LookupIn(c.Tx.DB(), c.Args[2])
		if err != nil {
			return err
		}
		if !e.Found {
			c.Out.Null()
			return nil
		}
		return run(c, &e)
	}}
}

var objectCommand = &Command{
	Spec: command.Spec{
		Name: "OBJECT", Group: "generic", Since: "2.2.3", Arity: -2, Syntax: "OBJECT subcommand",
		Complexity: "O(1)",
		Summary:    "Tells how Redis would keep a value.",
		Differs:    "It reports what Redis would most likely say. All values are kept in one way, on disk.",
	},
	Sub: []*Command{
		objectSub("ENCODING", "ENCODING key",
			"The name of the representation that Redis would choose for the value.",
			objectEncoding),
		objectSub("FREQ", "FREQ key", "Refused, as by a Redis without an LFU policy.",
			func(*Call, *keyspace.Entry) error { return Error(resp.ErrFreqNotTracked) }),
		objectSub("IDLETIME", "IDLETIME key", "0: times of access are not kept.",
			func(c *Call, _ *keyspace.Entry) error {
				c.Out.Int(0)
				return nil
			}),
		objectSub("REFCOUNT", "REFCOUNT key", "1: values are never shared.",
			func(c *Call, _ *keyspace.Entry) error {
				c.Out.Int(1)
				return nil
			}),
		helpSub("OBJECT", "generic",
			"ENCODING <key>",
			"    Return the kind of internal representation used in order to store the value",
			"    associated with a <key>.",
			"FREQ <key>",
			"    Return the access frequency index of the <key>. The returned integer is",
			"    proportional to the logarithm of the recent access frequency of the key.",
			"IDLETIME <key>",
			"    Return the idle time of the <key>, that is the approximated number of",
			"    seconds elapsed since the last access to the key.",
			"REFCOUNT <key>",
			"    Return the number of references of the value associated with the specified",
			"    <key>."),
	},
}

// maxEmbedded is the length up to which Redis keeps a string in one piece with its header.
const maxEmbedded = 44

func objectEncoding(c *Call, e *keyspace.Entry) error {
	name, err := encodingName(c.Tx, c.Node.Config(), e)
	if err != nil {
		return err
	}
	c.Out.BulkString(name)
	return nil
}

// encodingName is the representation that Redis would choose for a value.
func encodingName(tx *keyspace.Txn, cfg *option.Config, e *keyspace.Entry) (string, error) {
	switch e.Meta.Type {
	case encoding.String:
		v, whole := e.Meta.Whole()
		_, isInt := resp.ParseInt(v)
		switch {
		case whole && isInt:
			return "int", nil
		case e.Meta.Length() <= maxEmbedded:
			return "embstr", nil
		}
		return "raw", nil
	case encoding.Hash:
		h, err := hash.At(tx, *e)
		if err != nil {
			return "", err
		}
		compact, err := h.Compact(cfg.Int(option.HashMaxListpackEntries), cfg.Int(option.HashMaxListpackValue))
		name := listpackOr("hashtable", compact)
		if compact && h.Timed() > 0 {
			name = "listpackex"
		}
		return name, err
	case encoding.Set:
		s, err := set.At(tx, *e)
		if err != nil {
			return "", err
		}
		return s.Encoding(set.Limits{IntsetEntries: cfg.Int(option.SetMaxIntsetEntries),
			ListpackEntries: cfg.Int(option.SetMaxListpackEntries), ListpackValue: cfg.Int(option.SetMaxListpackValue)})
	case encoding.ZSet:
		z, err := zset.At(tx, *e)
		if err != nil {
			return "", err
		}
		compact, err := z.Compact(cfg.Int(option.ZsetMaxListpackEntries), cfg.Int(option.ZsetMaxListpackValue))
		return listpackOr("skiplist", compact), err
	case encoding.Stream:
		return "stream", nil
	case encoding.List:
		l, err := list.At(tx, *e)
		if err != nil {
			return "", err
		}
		compact, err := l.Compact(cfg.Int(option.ListMaxListpackSize))
		return listpackOr("quicklist", compact), err
	}
	return "", Error(resp.ErrWrongType)
}

func listpackOr(large string, compact bool) string {
	if compact {
		return "listpack"
	}
	return large
}
