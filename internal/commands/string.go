package commands

import (
	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
)

var stringFamily = family{group: "string", category: "string"}

var stringCommands = []*Command{
	stringFamily.command("GET", "1.0.0", 2, readFast, oneKey(accessGet), "GET key",
		"O(1); O(N) bytes of a string of more than 32 KiB, which is read in pieces", "Answers the string stored at a key.", get),
	stringFamily.command("SET", "1.0.0", -3, writeGrow, oneKey(accessBoth|command.AccessVariable),
		"SET key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET] "+
			"[EX seconds | PX milliseconds | EXAT unix-time-seconds | "+
			"PXAT unix-time-milliseconds | KEEPTTL]",
		"O(1)", "Stores a string at a key, whatever was there before.", setString).accessBy(setAccess),
	stringFamily.command("SETNX", "1.0.0", 3, writeGrowFast, oneKey(accessInsert), "SETNX key value",
		"O(1)", "Stores a string unless the key exists.", setNX),
	stringFamily.command("SETEX", "2.0.0", 4, writeGrow, oneKey(accessStore), "SETEX key seconds value",
		"O(1)", "Stores a string that expires after a number of seconds.",
		func(c *Call) error { return setTimed(c, inSeconds, "setex") }),
	stringFamily.command("PSETEX", "2.6.0", 4, writeGrow, oneKey(accessStore), "PSETEX key milliseconds value",
		"O(1)", "Stores a string that expires after a number of milliseconds.",
		func(c *Call) error { return setTimed(c, inMillis, "psetex") }),
	stringFamily.command("PKSETEXAT", "3.0.0", 4, writeGrow, oneKey(accessStore),
		"PKSETEXAT key timestamp value",
		"O(1)", "Stores a string that expires at a point in time, in Unix seconds.",
		func(c *Call) error { return setTimed(c, atUnixTime, "pksetexat") }).
		differs("Redis does not know this command of Pika's. SET with EXAT does the same."),
	stringFamily.command("GETSET", "1.0.0", 3, writeGrowFast, oneKey(accessBoth), "GETSET key value",
		"O(1)", "Stores a string and answers the one that it replaces.", getSet),
	stringFamily.command("GETDEL", "6.2.0", 2, command.Write|command.Fast, oneKey(accessTake), "GETDEL key",
		"O(1)", "Answers the string stored at a key and deletes the key.", getDel),
	stringFamily.command("GETEX", "6.2.0", -2, command.Write|command.Fast, oneKey(accessBoth),
		"GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
		"O(1)", "Answers the string stored at a key and changes when the key expires.", getEx),
	stringFamily.command("MGET", "1.0.0", -2, readFast, allKeys(accessGet), "MGET key [key ...]",
		"O(N) keys", "Answers the strings stored at several keys.", mGet).split(command.MergeKeyOrder),
	stringFamily.command("MSET", "1.0.1", -3, writeGrow, command.Range(1, -1, 2, accessStore),
		"MSET key value [key value ...]", "O(N) keys", "Stores strings at several keys in one step.",
		mSet).split(command.MergeAllSucceeded),
	stringFamily.command("MSETNX", "1.0.1", -3, writeGrow, command.Range(1, -1, 2, accessInsert),
		"MSETNX key value [key value ...]", "O(N) keys",
		"Stores strings at several keys in one step if none of the keys exists.", mSetNX),
	stringFamily.command("MSETEX", "8.4.0", -4, writeGrow, command.KeySpec{},
		"MSETEX numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | "+
			"PXAT unix-time-milliseconds | KEEPTTL]", "O(N) keys",
		"Stores strings at several keys in one step, with one deadline, if none or all of the keys exist.",
		mSetEx).countedPairs(1, accessStore),
	stringFamily.command("DELEX", "8.4.0", -2, command.Write|command.Fast,
		oneKey(command.AccessRW|command.AccessDelete|command.AccessVariable),
		"DELEX key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]",
		"O(1); O(N) bytes of the string for IFDEQ and IFDNE", "Deletes a key if its string is, or is not, what is expected.",
		delEx).accessBy(delExAccess),
	stringFamily.command("DIGEST", "8.4.0", 2, readFast, oneKey(accessGet), "DIGEST key", "O(N) bytes of the string",
		"Answers the XXH3 digest of a string, in 16 hexadecimal digits.", digestOf),
	stringFamily.command("APPEND", "2.0.0", 3, writeGrowFast, oneKey(command.AccessRW|command.AccessInsert),
		"APPEND key value",
		"O(N) bytes added; of a string of up to 32 KiB all bytes, of a longer one a piece of 4 KiB, are written anew with them.",
		"Adds bytes to the end of a string, which begins empty if the key is missing.", appendTo),
	stringFamily.command("STRLEN", "2.2.0", 2, readFast, oneKey(command.AccessRO), "STRLEN key",
		"O(1)", "Answers the number of bytes of a string.", strLen),
	stringFamily.command("GETRANGE", "2.4.0", 4, command.ReadOnly, oneKey(accessGet), "GETRANGE key start end",
		"O(N) bytes of the part", "Answers a part of a string.", getRange),
	stringFamily.command("SUBSTR", "1.0.0", 4, command.ReadOnly, oneKey(accessGet), "SUBSTR key start end",
		"O(N) bytes of the part", "Answers a part of a string: the old name of GETRANGE.", getRange),
	stringFamily.command("SETRANGE", "2.2.0", 4, writeGrow, oneKey(accessChange), "SETRANGE key offset value",
		"O(N) bytes written; of a string of up to 32 KiB all bytes, of a longer one the pieces of 4 KiB that change, are "+
			"written anew.",
		"Overwrites a part of a string, padding it with zero bytes up to the offset.", setRange),
	stringFamily.command("INCR", "1.0.0", 2, writeGrowFast, oneKey(accessBoth), "INCR key",
		"O(1)", "Adds one to the integer stored at a key.", func(c *Call) error { return add(c, 1) }),
	stringFamily.command("DECR", "1.0.0", 2, writeGrowFast, oneKey(accessBoth), "DECR key",
		"O(1)", "Subtracts one from the integer stored at a key.", func(c *Call) error { return add(c, -1) }),
	stringFamily.command("INCRBY", "1.0.0", 3, writeGrowFast, oneKey(accessBoth), "INCRBY key increment",
		"O(1)", "Adds a number to the integer stored at a key.", incrBy),
	stringFamily.command("DECRBY", "1.0.0", 3, writeGrowFast, oneKey(accessBoth), "DECRBY key decrement",
		"O(1)", "Subtracts a number from the integer stored at a key.", decrBy),
	stringFamily.command("INCRBYFLOAT", "2.6.0", 3, writeGrowFast, oneKey(accessBoth),
		"INCRBYFLOAT key increment",
		"O(1)", "Adds a floating point number to the number stored at a key.", incrByFloat),
	{Spec: command.Spec{
		Name: "LCS", Group: "string", Since: "7.0.0", Arity: -3, Flags: command.ReadOnly | command.Heavy, ACL: []string{"string"},
		Syntax:     "LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
		Complexity: "O(N*M) bytes of the two strings",
		Summary:    "Finds the longest sequence of bytes that occurs, with gaps, in both of two strings.",
		Keys:       []command.KeySpec{command.Range(1, 2, 1, accessGet)},
	}, Run: longestCommon},
}

func get(c *Call) error {
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	return c.writeStored(&e)
}

// writeString replies with a string, or null.
func (c *Call) writeString(found bool, value []byte) {
	if found {
		c.Out.Bulk(value)
	} else {
		c.Out.Null()
	}
}

// writeStored replies with the string at a key, or null.
func (c *Call) writeStored(e *keyspace.Entry) error {
	if !e.Found {
		c.Out.Null()
		return nil
	}
	return c.writePart(e, 0, e.Meta.Length())
}

// writePart replies with the bytes [from, to) of a string.
func (c *Call) writePart(e *keyspace.Entry, from, to int64) error {
	if v, whole := e.Meta.Whole(); whole {
		c.Out.Bulk(v[from:to])
		return nil
	}
	c.Out.BulkHead(to - from)
	defer c.Out.BulkEnd()
	return c.Tx.EachPart(e, from, to, func(part []byte) error {
		c.Out.Raw(part)
		return nil
	})
}

// changeString overwrites the string at a key from a place on, and tells of it.
func (c *Call) changeString(e *keyspace.Entry, at int64, part []byte, event string) error {
	if err := c.Tx.WriteString(e, at, part); err != nil {
		return err
	}
	c.notify(keyevent.String, event, e.User)
	return nil
}

func mGet(c *Call) error {
	c.Out.Array(len(c.Args) - 1)
	mem := c.Tx.Scratch()
	for _, k := range c.Args[1:] {
		e, err := c.Tx.Lookup(k)
		if err != nil {
			return err
		}
		if e.Type() != encoding.String {
			c.Out.Null()
		} else if err := c.writeStored(&e); err != nil {
			return err
		}
		c.Tx.Forget(mem)
	}
	return nil
}

func strLen(c *Call) error {
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	c.Out.Int(e.Meta.Length())
	return nil
}

func getRange(c *Call) error {
	start, err := c.int64At(2)
	if err != nil {
		return err
	}
	end, err := c.int64At(3)
	if err != nil {
		return err
	}
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	if !e.Found {
		c.Out.BulkString("")
		return nil
	}
	from, to := span(e.Meta.Length(), start, end)
	return c.writePart(&e, from, to)
}

// span is the part [from, to) of a string of n bytes that start and end, both inclusive, stand for; negative positions
// count from the end.
func span(n, start, end int64) (from, to int64) {
	if start < 0 && end < 0 && start > end {
		return 0, 0
	}
	if start < 0 {
		start = max(0, n+start)
	}
	if end < 0 {
		end = max(0, n+end)
	}
	end = min(end, n-1)
	if start > end {
		return 0, 0
	}
	return start, end + 1
}

func appendTo(c *Call) error {
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	if e.Found {
		if err := c.checkLength(e.Meta.Length(), int64(len(c.Args[2]))); err != nil {
			return err
		}
	}
	if err := c.changeString(&e, e.Meta.Length(), c.Args[2], "append"); err != nil {
		return err
	}
	c.Out.Int(e.Meta.Length())
	return nil
}

func setRange(c *Call) error {
	offset, err := c.int64At(2)
	if err != nil {
		return err
	}
	if offset < 0 {
		return Error(resp.ErrOffsetRange)
	}
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	part := c.Args[3]
	if len(part) == 0 {
		c.Out.Int(e.Meta.Length())
		return nil
	}
	if err := c.checkLength(offset, int64(len(part))); err != nil {
		return err
	}
	if err := c.changeString(&e, offset, part, "setrange"); err != nil {
		return err
	}
	c.Out.Int(e.Meta.Length())
	return nil
}
