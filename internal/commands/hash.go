package commands

import (
	"errors"

	"haypile/internal/command"
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
	"haypile/internal/types/hash"
	"haypile/internal/types/members"
)

var hashFamily = family{group: "hash", category: "hash"}

// hashOrder is the difference that all commands share which answer several fields.
const hashOrder = "Fields come in the order of their hashes, never in that of insertion."

var hashCommands = []*Command{
	hashFamily.command("HSET", "2.0.0", -4, writeGrowFast, oneKey(accessChange),
		"HSET key field value [field value ...]", "O(N) fields", "Stores fields of a hash.", hSet),
	hashFamily.command("HMSET", "2.0.0", -4, writeGrowFast, oneKey(accessChange),
		"HMSET key field value [field value ...]", "O(N) fields",
		"Stores fields of a hash: the old name of HSET, with another reply.", hSet),
	hashFamily.command("HSETNX", "2.0.0", 4, writeGrowFast, oneKey(command.AccessRW|command.AccessInsert),
		"HSETNX key field value", "O(1)", "Stores a field of a hash unless it exists.", hSetNX),
	hashFamily.command("HGET", "2.0.0", 3, readFast, oneKey(accessGet), "HGET key field",
		"O(1)", "Answers the value of a field of a hash.", hGet),
	hashFamily.command("HMGET", "2.0.0", -3, readFast, oneKey(accessGet), "HMGET key field [field ...]",
		"O(N) fields", "Answers the values of several fields of a hash.", hMGet),
	hashFamily.command("HDEL", "2.0.0", -3, command.Write|command.Fast,
		oneKey(command.AccessRW|command.AccessDelete), "HDEL key field [field ...]",
		"O(N) fields", "Deletes fields of a hash, and the hash with its last field.", hDel),
	hashFamily.command("HEXISTS", "2.0.0", 3, readFast, oneKey(command.AccessRO), "HEXISTS key field",
		"O(1)", "Tells whether a hash has a field.", hExists),
	hashFamily.command("HSTRLEN", "3.2.0", 3, readFast, oneKey(command.AccessRO), "HSTRLEN key field",
		"O(1)", "Answers the number of bytes of a field's value.", hStrLen),
	hashFamily.command("HLEN", "2.0.0", 2, readFast, oneKey(command.AccessRO), "HLEN key",
		"O(1)", "Answers the number of fields of a hash.", hLen).
		differs("Fields past their deadline do not count, even if nobody has deleted them yet."),
	hashFamily.command("HINCRBY", "2.0.0", 4, writeGrowFast, oneKey(accessBoth), "HINCRBY key field increment",
		"O(1)", "Adds a number to the integer in a field of a hash.", hIncrBy),
	hashFamily.command("HINCRBYFLOAT", "2.6.0", 4, writeGrowFast, oneKey(accessBoth),
		"HINCRBYFLOAT key field increment", "O(1)",
		"Adds a floating point number to the number in a field of a hash.", hIncrByFloat),
	hashFamily.command("HGETALL", "2.0.0", 2, command.ReadOnly, oneKey(accessGet), "HGETALL key",
		"O(N) fields", "Answers all fields of a hash with their values.", hGetAll).differs(hashOrder),
	hashFamily.command("HKEYS", "2.0.0", 2, command.ReadOnly, oneKey(accessGet), "HKEYS key",
		"O(N) fields", "Answers all fields of a hash.", hKeys).differs(hashOrder),
	hashFamily.command("HVALS", "2.0.0", 2, command.ReadOnly, oneKey(accessGet), "HVALS key",
		"O(N) fields", "Answers the values of all fields of a hash.", hVals).differs(hashOrder),
	hashFamily.command("HRANDFIELD", "6.2.0", -2, command.ReadOnly, oneKey(accessGet),
		"HRANDFIELD key [count [WITHVALUES]]",
		"O(1) for every field wanted; O(N) fields of the hash if that is less.",
		"Answers fields of a hash chosen at random.", hRandField).
		differs("A negative count below -1048576 is refused, to bound the reply."),
	hashFamily.command("HSCAN", "2.8.0", -3, command.ReadOnly, oneKey(accessGet),
		"HSCAN key cursor [MATCH pattern] [COUNT count]", "O(COUNT) for every call",
		"Walks the fields of a hash in steps.", hScan).differs(foreignCursor),
}

// openHash reads the hash at args[1].
func (c *Call) openHash() (hash.Hash, error) {
	h, err := hash.Open(c.Tx, c.Args[1])
	if errors.Is(err, members.ErrWrongType) {
		err = Error(resp.ErrWrongType)
	}
	return h, err
}

func hSet(c *Call) error {
	multi := c.Cmd.Name == "HMSET"
	if len(c.Args)%2 != 0 {
		return Error(resp.WrongArity(c.Cmd.FullName()))
	}
	h, err := c.openHash()
	if err != nil {
		return err
	}
	if err := h.Meet(c.Args[2:], 2); err != nil {
		return err
	}
	added := int64(0)
	for i := 2; i < len(c.Args); i += 2 {
		isNew, err := h.Set(c.Args[i], c.Args[i+1])
		if err != nil {
			return err
		}
		added += bit(isNew)
	}
	if multi {
		c.Out.OK()
	} else {
		c.Out.Int(added)
	}
	return c.saveHash(&h, "hset")
}

// saveHash stores a hash that was changed and tells of it.
func (c *Call) saveHash(h *hash.Hash, event string) error {
	return c.saveMembers(&h.Members, keyevent.Hash, event)
}

func hSetNX(c *Call) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	_, found, err := h.Get(c.Args[2])
	if err != nil {
		return err
	}
	if found && !c.Tx.Applying() {
		c.Out.Int(0)
		return nil
	}
	if _, err := h.Set(c.Args[2], c.Args[3]); err != nil {
		return err
	}
	c.Out.Int(1)
	return c.saveHash(&h, "hset")
}

func hGet(c *Call) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	v, found, err := h.Get(c.Args[2])
	if err != nil {
		return err
	}
	c.writeString(found, v)
	return nil
}

func hMGet(c *Call) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	c.Out.Array(len(c.Args) - 2)
	mem := c.Tx.Scratch()
	for _, field := range c.Args[2:] {
		v, found, err := h.Get(field)
		if err != nil {
			return err
		}
		c.writeString(found, v)
		c.Tx.Forget(mem)
	}
	return nil
}

func hDel(c *Call) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	if err := h.Meet(c.Args[2:], 1); err != nil {
		return err
	}
	deleted := int64(0)
	for _, field := range c.Args[2:] {
		was, err := h.Delete(field)
		if err != nil {
			return err
		}
		deleted += bit(was)
	}
	c.Out.Int(deleted)
	if deleted == 0 {
		return nil
	}
	return c.saveHash(&h, "hdel")
}

func hExists(c *Call) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	_, found, err := h.Get(c.Args[2])
	if err != nil {
		return err
	}
	c.Out.Int(bit(found))
	return nil
}

func hStrLen(c *Call) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	v, _, err := h.Get(c.Args[2])
	if err != nil {
		return err
	}
	c.Out.Int(int64(len(v)))
	return nil
}

func hLen(c *Call) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	n, err := h.Live()
	c.Out.Int(int64(n))
	return err
}

func hGetAll(c *Call) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	live, err := h.Live()
	if err != nil {
		return err
	}
	all, n := c.Out.DeferMap(int(live)), 0
	err = h.Scan(0, func(el keyspace.Element) bool {
		c.Out.Bulk(el.Member)
		c.Out.Bulk(el.Value)
		n++
		return true
	})
	c.Out.EndMap(all, n)
	return err
}

func hKeys(c *Call) error {
	return c.writeElements(func(el keyspace.Element) { c.Out.Bulk(el.Member) })
}

func hVals(c *Call) error {
	return c.writeElements(func(el keyspace.Element) { c.Out.Bulk(el.Value) })
}

// writeElements replies with an array of what write makes of each field.
func (c *Call) writeElements(write func(keyspace.Element)) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	live, err := h.Live()
	if err != nil {
		return err
	}
	all, n := c.Out.DeferArray(int(live)), 0
	err = h.Scan(0, func(el keyspace.Element) bool {
		write(el)
		n++
		return true
	})
	c.Out.EndArray(all, n)
	return err
}
