package commands

import (
	"errors"
	"math"

	"haypile/internal/command"
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/types/members"
	"haypile/internal/types/set"
)

var setFamily = family{group: "set", category: "set"}

// setOrder is the difference that all commands share which answer several members.
const setOrder = "Members come in the order of their hashes."

var setCommands = []*Command{
	setFamily.command("SADD", "1.0.0", -3, writeGrowFast, oneKey(command.AccessRW|command.AccessInsert),
		"SADD key member [member ...]", "O(N) members given", "Adds members to a set.", sAdd),
	setFamily.command("SREM", "1.0.0", -3, command.Write|command.Fast, oneKey(command.AccessRW|command.AccessDelete),
		"SREM key member [member ...]", "O(N) members given", "Removes members from a set, and the set with its last.",
		sRem),
	setFamily.command("SCARD", "1.0.0", 2, readFast, oneKey(command.AccessRO), "SCARD key", "O(1)",
		"Answers the number of members of a set.", sCard),
	setFamily.command("SISMEMBER", "1.0.0", 3, readFast, oneKey(command.AccessRO), "SISMEMBER key member", "O(1)",
		"Tells whether a set has a member.", sIsMember),
	setFamily.command("SMISMEMBER", "6.2.0", -3, readFast, oneKey(accessGet),
		"SMISMEMBER key member [member ...]", "O(N) members given", "Tells which of the members a set has.", sMIsMember),
	setFamily.command("SMEMBERS", "1.0.0", 2, command.ReadOnly, oneKey(accessGet), "SMEMBERS key", "O(N) members",
		"Answers all members of a set.", sMembers).differs(setOrder),
	setFamily.command("SPOP", "1.0.0", -2, command.Write|command.Fast, oneKey(accessTake), "SPOP key [count]",
		"O(1) for every member wanted; O(N) members of the set if that is less.",
		"Removes members chosen at random, and answers them.", sPop),
	setFamily.command("SRANDMEMBER", "1.0.0", -2, command.ReadOnly, oneKey(accessGet), "SRANDMEMBER key [count]",
		"O(1) for every member wanted; O(N) members of the set if that is less.",
		"Answers members chosen at random.", sRandMember).
		differs("A negative count below -1048576 is refused, to bound the reply."),
	setFamily.command("SMOVE", "1.0.0", 4, command.Write|command.Fast, command.KeySpec{},
		"SMOVE source destination member", "O(1)", "Moves a member from one set to another.", sMove).
		twoKeys(accessTake, command.AccessRW|command.AccessInsert),
	setFamily.command("SSCAN", "2.8.0", -3, command.ReadOnly, oneKey(accessGet),
		"SSCAN key cursor [MATCH pattern] [COUNT count]", "O(COUNT) for every call",
		"Walks the members of a set in steps.", sScan).differs(foreignCursor),
	setFamily.command("SINTER", "1.0.0", -2, command.ReadOnly, allKeys(accessGet), "SINTER key [key ...]", algebraCost,
		"Answers the members that all sets have.", answerSets(set.Intersect)).differs(setOrder),
	setFamily.command("SUNION", "1.0.0", -2, command.ReadOnly, allKeys(accessGet), "SUNION key [key ...]",
		"O(N) members of all sets", "Answers the members of all sets, each once.", answerSets(set.Union)).
		differs(setOrder),
	setFamily.command("SDIFF", "1.0.0", -2, command.ReadOnly, allKeys(accessGet), "SDIFF key [key ...]", algebraCost,
		"Answers the members of the first set that no other has.", answerSets(set.Diff)).differs(setOrder),
	setFamily.command("SINTERSTORE", "1.0.0", -3, writeGrow, command.KeySpec{}, "SINTERSTORE destination key [key ...]",
		algebraCost, "Stores the members that all sets have.", storeSets(set.Intersect)).storesKeys(accessChange),
	setFamily.command("SUNIONSTORE", "1.0.0", -3, writeGrow, command.KeySpec{}, "SUNIONSTORE destination key [key ...]",
		"O(N) members of all sets", "Stores the members of all sets.", storeSets(set.Union)).storesKeys(accessStore),
	setFamily.command("SDIFFSTORE", "1.0.0", -3, writeGrow, command.KeySpec{}, "SDIFFSTORE destination key [key ...]",
		algebraCost, "Stores the members of the first set that no other has.", storeSets(set.Diff)).storesKeys(accessStore),
	setFamily.command("SINTERCARD", "7.0.0", -3, command.ReadOnly, command.KeySpec{},
		"SINTERCARD numkeys key [key ...] [LIMIT limit]", algebraCost,
		"Counts the members that all sets have.", sInterCard).countedKeys(1, accessGet),
}

const algebraCost = "O(N) members of all sets; O(N*M) for N members of the smallest of M sets if that is less."

// storesKeys gives the command a destination and sources behind it.
func (c *Command) storesKeys(destination command.Access) *Command {
	c.Keys = []command.KeySpec{command.One(1, destination), command.Range(2, -1, 1, accessGet)}
	return c
}

// openSet reads the set at args[i].
func (c *Call) openSet(i int) (set.Set, error) {
	s, err := set.Open(c.Tx, c.Args[i])
	if errors.Is(err, members.ErrWrongType) {
		err = Error(resp.ErrWrongType)
	}
	return s, err
}

// openSets reads those at args[from:to].
func (c *Call) openSets(from, to int) ([]*set.Set, error) {
	sets := make([]*set.Set, 0, to-from)
	for i := from; i < to; i++ {
		s, err := c.openSet(i)
		if err != nil {
			return nil, err
		}
		sets = append(sets, &s)
	}
	return sets, nil
}

// saveSet stores a set that was changed and tells of it.
func (c *Call) saveSet(s *set.Set, event string) error {
	return c.saveMembers(&s.Members, keyevent.Set, event)
}

func sAdd(c *Call) error {
	s, err := c.openSet(1)
	if err != nil {
		return err
	}
	added := int64(0)
	for _, m := range c.Args[2:] {
		isNew, err := s.Insert(m)
		if err != nil {
			return err
		}
		added += bit(isNew)
	}
	c.Out.Int(added)
	if added == 0 {
		return nil
	}
	return c.saveSet(&s, "sadd")
}

func sRem(c *Call) error {
	s, err := c.openSet(1)
	if err != nil {
		return err
	}
	removed := int64(0)
	for _, m := range c.Args[2:] {
		was, err := s.Delete(m)
		if err != nil {
			return err
		}
		removed += bit(was)
	}
	c.Out.Int(removed)
	if removed == 0 {
		return nil
	}
	return c.saveSet(&s, "srem")
}

func sCard(c *Call) error {
	s, err := c.openSet(1)
	if err != nil {
		return err
	}
	c.Out.Int(int64(s.Len()))
	return nil
}

func sIsMember(c *Call) error {
	s, err := c.openSet(1)
	if err != nil {
		return err
	}
	has, err := s.Has(c.Args[2])
	if err != nil {
		return err
	}
	c.Out.Int(bit(has))
	return nil
}

func sMIsMember(c *Call) error {
	s, err := c.openSet(1)
	if err != nil {
		return err
	}
	c.Out.Array(len(c.Args) - 2)
	for _, m := range c.Args[2:] {
		has, err := s.Has(m)
		if err != nil {
			return err
		}
		c.Out.Int(bit(has))
	}
	return nil
}

func sMembers(c *Call) error {
	s, err := c.openSet(1)
	if err != nil {
		return err
	}
	all, n := c.Out.DeferSet(int(s.Len())), 0
	err = s.Scan(0, func(el keyspace.Element) bool {
		c.Out.Bulk(el.Member)
		n++
		return true
	})
	c.Out.EndSet(all, n)
	return err
}

// answerSets makes the function of a command that answers what visits find in the sets of all its arguments.
func answerSets(op func([]*set.Set, func([]byte) bool) error) func(*Call) error {
	return func(c *Call) error {
		sets, err := c.openSets(1, len(c.Args))
		if err != nil {
			return err
		}
		all, n := c.Out.Defer(), 0
		err = op(sets, func(member []byte) bool {
			c.Out.Bulk(member)
			n++
			return true
		})
		c.Out.EndSet(all, n)
		return err
	}
}

// storeSets makes the function of a command that stores that in its first key. The destination may be a source: the
// new set has a collection of its own until it is saved.
func storeSets(op func([]*set.Set, func([]byte) bool) error) func(*Call) error {
	return func(c *Call) error {
		sets, err := c.openSets(2, len(c.Args))
		if err != nil {
			return err
		}
		for _, s := range sets {
			c.notifyMiss(s.Key())
		}
		e, err := c.Tx.Lookup(c.Args[1])
		if err != nil {
			return err
		}
		dst := set.Begin(c.Tx, e, 0)
		err = op(sets, func(member []byte) bool {
			dst.Add(member, nil)
			return true
		})
		if err != nil {
			return err
		}
		return c.storeWhole(&e, dst.Len(), func(event string) error { return c.saveSet(&dst, event) })
	}
}

// storeWhole ends a command that has made a new value of n members for a key: it saves it, as the event named like the
// command, or removes the key if the value is empty, and answers n.
func (c *Call) storeWhole(e *keyspace.Entry, n uint64, save func(event string) error) error {
	var err error
	if n == 0 {
		var was bool
		if was, err = c.Tx.Remove(e); was {
			c.notify(keyevent.Generic, "del", e.User)
		}
	} else {
		err = save(string(lowerASCII([]byte(c.Cmd.Name))))
	}
	c.Out.Int(int64(n))
	return err
}

// maxStoredBytes bounds what one command holds in memory of others' members: those that it has to sort.
const maxStoredBytes = 512 << 20

// errTooLarge refuses more.
const errTooLarge = Error("ERR the elements are too large to be held in memory at once")

func sInterCard(c *Call) error {
	n, ok := resp.ParseInt(c.Args[1])
	switch {
	case !ok || n <= 0 || n > math.MaxInt32:
		return Error(resp.ErrNumKeys)
	case n > int64(len(c.Args)-2):
		return Error(resp.ErrTooManyKeys)
	}
	to, limit := 2+int(n), int64(0)
	for i := to; i < len(c.Args); i += 2 {
		if !c.Is(i, "LIMIT") || i+1 == len(c.Args) {
			return Error(resp.ErrSyntax)
		}
		if limit, ok = resp.ParseInt(c.Args[i+1]); !ok || limit < 0 {
			return Error(resp.ErrLimitNegative)
		}
	}
	sets, err := c.openSets(2, to)
	if err != nil {
		return err
	}
	found := int64(0)
	err = set.Intersect(sets, func([]byte) bool {
		found++
		return limit == 0 || found < limit
	})
	c.Out.Int(found)
	return err
}

func sMove(c *Call) error {
	src, err := c.openSet(1)
	if err != nil {
		return err
	}
	if src.Len() == 0 {
		c.Out.Int(0)
		return nil
	}
	if string(c.Args[1]) == string(c.Args[2]) {
		has, err := src.Has(c.Args[3])
		c.Out.Int(bit(has))
		return err
	}
	dst, err := c.openSet(2)
	if err != nil {
		return err
	}
	had, err := src.Delete(c.Args[3])
	c.Out.Int(bit(had))
	if err != nil || !had {
		return err
	}
	if err := c.saveSet(&src, "srem"); err != nil {
		return err
	}
	added, err := dst.Insert(c.Args[3])
	if err != nil || !added {
		return err
	}
	return c.saveSet(&dst, "sadd")
}

func sScan(c *Call) error {
	return c.scanMembers(func() (*members.Members, error) {
		s, err := c.openSet(1)
		return &s.Members, err
	}, c.Node.Config().Int(option.SetMaxListpackEntries), nil)
}
