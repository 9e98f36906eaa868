package commands

import (
	"math"
	"strconv"

	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/resp"
)

// family is what the descriptions of one group of data commands share.
type family struct{ group, category string }

// command makes a description with its function. keys may hold a zero KeySpec for a command without keys.
func (f family) command(name, since string, arity int, flags command.Flags, keys command.KeySpec,
	syntax, complexity, summary string, run func(*Call) error) *Command {
	c := &Command{Spec: command.Spec{
		Name: name, Group: f.group, Since: since, Arity: arity, Syntax: syntax, Summary: summary,
		Complexity: complexity, Flags: flags, ACL: []string{f.category},
	}, Run: run}
	if keys.Step != 0 {
		c.Keys = []command.KeySpec{keys}
	}
	return c
}

// split lets a proxy split the command by key over shards.
func (c *Command) split(m command.Merge) *Command {
	c.Route, c.Merge = command.RouteMultiShard, m
	return c
}

// twoKeys gives the command a source and a destination.
func (c *Command) twoKeys(src, dst command.Access) *Command {
	c.Keys = []command.KeySpec{command.One(1, src), command.One(2, dst)}
	return c
}

// countedKeys gives the command keys that follow their number, which is argument at.
func (c *Command) countedKeys(at int, a command.Access) *Command {
	c.Keys = []command.KeySpec{command.Counted(at, a)}
	return c
}

// countedPairs is countedKeys for keys with a value behind each.
func (c *Command) countedPairs(at int, a command.Access) *Command {
	c.Keys = []command.KeySpec{{Find: command.FindCounted, First: at, Step: 2, Access: a}}
	return c
}

// differs documents a deviation from Redis.
func (c *Command) differs(text string) *Command {
	c.Differs = text
	return c
}

// accessBy tells the access that a call has to its keys, for access control.
func (c *Command) accessBy(f func(args [][]byte, keys []command.KeyRef)) *Command {
	c.AccessFunc = f
	return c
}

// dangerous adds the ACL category of that name.
func (c *Command) dangerous() *Command {
	c.ACL = append(c.ACL, "dangerous")
	return c
}

// Shapes of the key specifications below.
const (
	accessGet    = command.AccessRO | command.AccessRead
	accessChange = command.AccessRW | command.AccessUpdate
	accessBoth   = command.AccessRW | command.AccessRead | command.AccessUpdate
	accessTake   = command.AccessRW | command.AccessRead | command.AccessDelete
	accessStore  = command.AccessOW | command.AccessUpdate
	accessInsert = command.AccessOW | command.AccessInsert
)

// oneKey is the specification of a single key, the first argument.
func oneKey(a command.Access) command.KeySpec { return command.One(1, a) }

// allKeys is the specification of commands whose arguments are all keys.
func allKeys(a command.Access) command.KeySpec { return command.Range(1, -1, 1, a) }

const (
	writeGrow     = command.Write | command.DenyOOM
	writeGrowFast = command.Write | command.DenyOOM | command.Fast
	readFast      = command.ReadOnly | command.Fast
)

// int64At reads argument i as a 64-bit integer.
func (c *Call) int64At(i int) (int64, error) {
	n, ok := resp.ParseInt(c.Args[i])
	if !ok {
		return 0, Error(resp.ErrNotInteger)
	}
	return n, nil
}

// databaseAt reads argument i as the number of a database.
func (c *Call) databaseAt(i int) (int, error) {
	n, ok := resp.ParseInt(c.Args[i])
	switch {
	case !ok:
		return 0, Error(resp.ErrNotInteger)
	case n < math.MinInt32 || n > math.MaxInt32:
		return 0, Error(resp.Range(math.MinInt32, math.MaxInt32))
	case n < 0 || n >= int64(c.Tx.Databases()):
		return 0, Error(resp.ErrDBIndexRange)
	}
	return int(n), nil
}

// lookupType reads a key that may be missing but must not be of another type.
func (c *Call) lookupType(key []byte, want encoding.Type) (keyspace.Entry, error) {
	e, err := c.Tx.Lookup(key)
	if err == nil && e.Found && e.Meta.Type != want {
		err = Error(resp.ErrWrongType)
	}
	return e, err
}

// lookupString is lookupType for strings.
func (c *Call) lookupString(key []byte) (keyspace.Entry, error) {
	return c.lookupType(key, encoding.String)
}

// checkLength refuses to build a string of n and more bytes together, if that is too long. The stream is
// not held to it: its origin may be configured differently.
func (c *Call) checkLength(n, more int64) error {
	if c.Tx.Applying() {
		return nil
	}
	if limit := c.Node.Config().Bytes(option.ProtoMaxBulkLen); n > limit || more > limit-n {
		return Error(resp.ErrStringTooLong)
	}
	return nil
}

// effect logs what the call did in place of the call itself. What comes from the stream is logged already.
func (c *Call) effect(args ...[]byte) {
	if !c.Tx.Applying() {
		c.Tx.Effect(args...)
	}
}

// Words of effects.
var (
	wordSet       = []byte("SET")
	wordDel       = []byte("DEL")
	wordPXAt      = []byte("PXAT")
	wordKeepTTL   = []byte("KEEPTTL")
	wordPExpireAt = []byte("PEXPIREAT")
	wordPersist   = []byte("PERSIST")
	wordHSet      = []byte("HSET")
	wordHDel      = []byte("HDEL")
	wordHPersist  = []byte("HPERSIST")
	wordFields    = []byte("FIELDS")

	wordHPExpireAt = []byte("HPEXPIREAT")

	wordLPop      = []byte("LPOP")
	wordRPop      = []byte("RPOP")
	wordLMove     = []byte("LMOVE")
	wordRPopLPush = []byte("RPOPLPUSH")
	wordRestore   = []byte("RESTORE")
	wordReplace   = []byte("REPLACE")
	wordAbsTTL    = []byte("ABSTTL")
)

// decimal spells n.
func decimal(n int64) []byte { return strconv.AppendInt(make([]byte, 0, 20), n, 10) }

// bit is 1 for true: the integer replies of Redis' yes and no.
func bit(v bool) int64 {
	if v {
		return 1
	}
	return 0
}
