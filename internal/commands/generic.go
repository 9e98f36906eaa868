package commands

import (
	"haypile/internal/command"
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
)

var genericFamily = family{group: "generic", category: "keyspace"}

// foreignCursor is the difference of the commands that take a cursor.
const foreignCursor = "A number that cannot be a cursor is refused; Redis begins somewhere."

const wholeSpace = command.ReadOnly | command.WholeSpace

var genericCommands = []*Command{
	genericFamily.command("DEL", "1.0.0", -2, command.Write, allKeys(command.AccessRM|command.AccessDelete),
		"DEL key [key ...]", "O(N) keys, whatever they hold: large collections are reclaimed in the background.",
		"Deletes keys.", del).split(command.MergeSum),
	genericFamily.command("UNLINK", "4.0.0", -2, command.Write|command.Fast,
		allKeys(command.AccessRM|command.AccessDelete), "UNLINK key [key ...]", "O(N) keys",
		"Deletes keys, as DEL does.", del).split(command.MergeSum),
	genericFamily.command("EXISTS", "1.0.0", -2, readFast, allKeys(command.AccessRO), "EXISTS key [key ...]",
		"O(N) keys", "Counts how many of the keys exist.", exists).split(command.MergeSum),
	genericFamily.command("TOUCH", "3.2.1", -2, readFast, allKeys(command.AccessRO), "TOUCH key [key ...]",
		"O(N) keys", "Counts how many of the keys exist.", exists).split(command.MergeSum).
		differs("No time of last access is kept, so there is none to renew."),
	genericFamily.command("TYPE", "1.0.0", 2, readFast, oneKey(command.AccessRO), "TYPE key",
		"O(1)", "Tells what type of value a key holds.", typeOf),
	genericFamily.command("RENAME", "1.0.0", 3, command.Write, command.KeySpec{}, "RENAME key newkey",
		"O(1), whatever the key holds", "Gives a key another name, replacing what has that name.",
		func(c *Call) error { return rename(c, true) }).twoKeys(accessTake, accessStore),
	genericFamily.command("RENAMENX", "1.0.0", 3, command.Write|command.Fast, command.KeySpec{},
		"RENAMENX key newkey", "O(1), whatever the key holds", "Gives a key another name unless that is taken.",
		func(c *Call) error { return rename(c, false) }).twoKeys(accessTake, accessInsert),
	genericFamily.command("COPY", "6.2.0", -3, command.Write|command.DenyOOM, command.KeySpec{},
		"COPY source destination [DB destination-db] [REPLACE]", "O(N) elements of the value",
		"Copies a key with its value and expiry.", copyKey).twoKeys(accessGet, accessStore),
	genericFamily.command("MOVE", "1.0.0", 3, command.Write|command.Fast, oneKey(accessBoth), "MOVE key db",
		"O(N) elements of the value", "Moves a key to another database.", move),
	genericFamily.command("DUMP", "2.6.0", 2, command.ReadOnly|command.Heavy, oneKey(accessGet), "DUMP key",
		"O(N) bytes of the value", "Answers a value in the portable form that RESTORE reads.", dump),
	genericFamily.command("RESTORE", "2.6.0", -4, command.Write|command.DenyOOM|command.Heavy, oneKey(accessStore),
		"RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
		"O(N) bytes of the value", "Creates a key from what DUMP answered.", restore).dangerous().
		differs("IDLETIME and FREQ are checked and then ignored: neither is kept."),
	wide(genericFamily.command("KEYS", "1.0.0", 2, wholeSpace, command.KeySpec{}, "KEYS pattern",
		"O(N) keys of the database", "Answers the keys that match a pattern.", keys).dangerous(),
		command.RouteAllShards, command.MergeConcat),
	wide(genericFamily.command("RANDOMKEY", "1.0.0", 1, wholeSpace, command.KeySpec{}, "RANDOMKEY",
		"O(1)", "Answers a key chosen at random.", randomKey), command.RouteAllShards, command.MergeFirstNonNull),
	wide(genericFamily.command("SCAN", "2.8.0", -2, wholeSpace, command.KeySpec{},
		"SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]", "O(COUNT) for every call",
		"Walks the keys of the database in steps.", scan).differs(foreignCursor), command.RouteCursor,
		command.MergeNone),
	objectCommand,
}

// wide routes a command that is about all keys.
func wide(c *Command, r command.Route, m command.Merge) *Command {
	c.Route, c.Merge = r, m
	return c
}

func del(c *Call) error {
	n := int64(0)
	for _, k := range c.Args[1:] {
		e, err := c.Tx.Lookup(k)
		if err != nil {
			return err
		}
		was, err := c.Tx.Remove(&e)
		if err != nil {
			return err
		}
		if was {
			n++
			c.notify(keyevent.Generic, "del", k)
		}
	}
	c.Out.Int(n)
	return nil
}

func exists(c *Call) error {
	n := int64(0)
	for _, k := range c.Args[1:] {
		found, err := c.Tx.Exists(k)
		if err != nil {
			return err
		}
		n += bit(found)
	}
	c.Out.Int(n)
	return nil
}

func typeOf(c *Call) error {
	e, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	c.Out.SimpleString(e.Type().String())
	return nil
}

func rename(c *Call, replace bool) error {
	src, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	if !src.Found {
		return Error(resp.ErrNoSuchKey)
	}
	same := string(c.Args[1]) == string(c.Args[2])
	done := func(moved bool) {
		if replace {
			c.Out.OK()
		} else {
			c.Out.Int(bit(moved))
		}
	}
	if same {
		done(false)
		return nil
	}
	dst, err := c.Tx.Lookup(c.Args[2])
	if err != nil {
		return err
	}
	if dst.Found && !replace && !c.Tx.Applying() {
		done(false)
		return nil
	}
	if _, err := c.Tx.Remove(&dst); err != nil {
		return err
	}
	done(true)
	if err := c.Tx.Move(&src, &dst); err != nil {
		return err
	}
	c.notify(keyevent.Generic, "rename_from", c.Args[1])
	c.notify(keyevent.Generic, "rename_to", c.Args[2])
	return nil
}

func copyKey(c *Call) error {
	db, replace := c.Tx.DB(), false
	for i := 3; i < len(c.Args); i++ {
		switch {
		case c.Is(i, "REPLACE"):
			replace = true
		case c.Is(i, "DB") && i+1 < len(c.Args):
			i++
			var err error
			if db, err = c.databaseAt(i); err != nil {
				return err
			}
		default:
			return Error(resp.ErrSyntax)
		}
	}
	if db == c.Tx.DB() && string(c.Args[1]) == string(c.Args[2]) {
		return Error(resp.ErrSameObject)
	}
	src, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	if !src.Found {
		c.notifyMiss(&src)
		c.Out.Int(0)
		return nil
	}
	dst, free, err := c.destination(db, c.Args[2], replace)
	if err != nil {
		return err
	}
	c.Out.Int(bit(free))
	if !free {
		return nil
	}
	if err := c.Tx.Copy(&src, &dst); err != nil {
		return err
	}
	c.Tx.Event(keyevent.Generic, "copy_to", db, c.Args[2])
	return nil
}

// destination looks a key up that is about to be created, and deletes what is there if it may be replaced.
func (c *Call) destination(db int, key []byte, replace bool) (e keyspace.Entry, free bool, err error) {
	if e, err = c.Tx.LookupIn(db, key); err != nil {
		return e, false, err
	}
	if e.Found && !replace && !c.Tx.Applying() {
		return e, false, nil
	}
	_, err = c.Tx.Remove(&e)
	return e, true, err
}

func move(c *Call) error {
	db, err := c.databaseAt(2)
	if err != nil {
		return err
	}
	if db == c.Tx.DB() {
		return Error(resp.ErrSameObject)
	}
	src, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	if !src.Found {
		c.Out.Int(0)
		return nil
	}
	dst, free, err := c.destination(db, c.Args[1], false)
	if err != nil {
		return err
	}
	c.Out.Int(bit(free))
	if !free {
		return nil
	}
	if err := c.Tx.Move(&src, &dst); err != nil {
		return err
	}
	c.notify(keyevent.Generic, "move_from", c.Args[1])
	c.Tx.Event(keyevent.Generic, "move_to", db, c.Args[1])
	return nil
}
