package commands

import (
	"errors"
	"math"

	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/types/list"
	"haypile/internal/types/members"
)

var listFamily = family{group: "list", category: "list"}

// Costs that several commands share.
const (
	pushCost = "O(N) elements pushed"
	popCost  = "O(N) elements popped"
	seekCost = "O(log N) extents of the list; O(1) while it was not divided by changes in the middle"
)

var listCommands = []*Command{
	listFamily.command("LPUSH", "1.0.0", -3, writeGrowFast, oneKey(accessAdd), "LPUSH key element [element ...]",
		pushCost, "Adds elements at the beginning of a list, one after another.",
		func(c *Call) error { return push(c, true, false) }),
	listFamily.command("RPUSH", "1.0.0", -3, writeGrowFast, oneKey(accessAdd), "RPUSH key element [element ...]",
		pushCost, "Adds elements at the end of a list.", func(c *Call) error { return push(c, false, false) }),
	listFamily.command("LPUSHX", "2.2.0", -3, writeGrowFast, oneKey(accessAdd), "LPUSHX key element [element ...]",
		pushCost, "Adds elements at the beginning of a list if the list exists.",
		func(c *Call) error { return push(c, true, true) }),
	listFamily.command("RPUSHX", "2.2.0", -3, writeGrowFast, oneKey(accessAdd), "RPUSHX key element [element ...]",
		pushCost, "Adds elements at the end of a list if the list exists.",
		func(c *Call) error { return push(c, false, true) }),
	listFamily.command("LPOP", "1.0.0", -2, command.Write|command.Fast, oneKey(accessTake), "LPOP key [count]",
		popCost, "Removes elements from the beginning of a list and answers them.",
		func(c *Call) error { return pop(c, true) }),
	listFamily.command("RPOP", "1.0.0", -2, command.Write|command.Fast, oneKey(accessTake), "RPOP key [count]",
		popCost, "Removes elements from the end of a list and answers them.",
		func(c *Call) error { return pop(c, false) }),
	listFamily.command("LLEN", "1.0.0", 2, readFast, oneKey(command.AccessRO), "LLEN key", "O(1)",
		"Answers the number of elements of a list.", lLen),
	listFamily.command("LINDEX", "1.0.0", 3, command.ReadOnly, oneKey(accessGet), "LINDEX key index", seekCost,
		"Answers the element at a position of a list.", lIndex),
	listFamily.command("LSET", "1.0.0", 4, writeGrow, oneKey(accessChange), "LSET key index element", seekCost,
		"Replaces the element at a position of a list.", lSet),
	listFamily.command("LRANGE", "1.0.0", 4, command.ReadOnly, oneKey(accessGet), "LRANGE key start stop",
		"O(N) elements answered", "Answers the elements between two positions of a list.", lRange),
	listFamily.command("LTRIM", "1.0.0", 4, command.Write, oneKey(command.AccessRW|command.AccessDelete),
		"LTRIM key start stop", "O(N) elements removed; of more than 4096, elements kept if they are fewer.",
		"Removes all elements of a list but those between two positions.", lTrim),
	listFamily.command("LINSERT", "2.2.0", 5, writeGrow, oneKey(accessAdd),
		"LINSERT key <BEFORE | AFTER> pivot element", "O(N) elements before the pivot",
		"Adds an element beside the first one that equals another.", lInsert),
	listFamily.command("LREM", "1.0.0", 4, command.Write, oneKey(command.AccessRW|command.AccessDelete),
		"LREM key count element", "O(N) elements looked at",
		"Removes elements that equal one from a list: the first or last of them, or all.", lRem),
	listFamily.command("LPOS", "6.0.6", -3, command.ReadOnly, oneKey(accessGet),
		"LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]", "O(N) elements looked at",
		"Answers the positions of elements of a list that equal one.", lPos),
	listFamily.command("LMOVE", "6.2.0", 5, writeGrow, command.KeySpec{},
		"LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>", "O(1)",
		"Moves an element from an end of one list to an end of another.", lMove).twoKeys(accessTake, accessAdd),
	listFamily.command("RPOPLPUSH", "1.2.0", 3, writeGrow, command.KeySpec{}, "RPOPLPUSH source destination", "O(1)",
		"Moves the last element of one list to the beginning of another.",
		func(c *Call) error { return moveElement(c, false, true) }).twoKeys(accessTake, accessAdd),
	listFamily.command("LMPOP", "7.0.0", -4, command.Write, command.KeySpec{},
		"LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count]", "O(N+M) for N keys looked at and M elements popped",
		"Removes elements from the first of several lists that is not empty, and answers them.",
		lMPop).countedKeys(1, accessTake),
}

// accessAdd is that of commands that add to a value.
const accessAdd = command.AccessRW | command.AccessInsert

// openList reads the list at args[i].
func (c *Call) openList(i int) (*list.List, error) {
	l, err := list.Open(c.Tx, c.Args[i])
	if errors.Is(err, members.ErrWrongType) {
		err = Error(resp.ErrWrongType)
	}
	return l, err
}

// push adds the arguments behind the key; with onlyIf the list must exist.
func push(c *Call, left, onlyIf bool) error {
	l, err := c.openList(1)
	if err != nil {
		return err
	}
	defer l.Release()
	if onlyIf && l.Len() == 0 {
		c.Out.Int(0)
		return nil
	}
	for _, v := range c.Args[2:] {
		if err := pushTo(l, left, v); err != nil {
			return err
		}
	}
	c.Out.Int(int64(l.Len()))
	return c.saveList(l, pushEvent(left))
}

// pushEvent and popEvent are what is told of changes at an end.
func pushEvent(left bool) string {
	if left {
		return "lpush"
	}
	return "rpush"
}

func popEvent(left bool) string {
	if left {
		return "lpop"
	}
	return "rpop"
}

func pushTo(l *list.List, left bool, v []byte) error {
	if left {
		return l.PushLeft(v)
	}
	return l.PushRight(v)
}

// visitEnd visits n elements in the order in which they are popped.
func visitEnd(l *list.List, left bool, n uint64, f func([]byte)) error {
	if left {
		return l.Walk(0, n, func(v []byte) bool {
			f(v)
			return true
		})
	}
	return l.WalkBack(l.Len(), n, func(v []byte) bool {
		f(v)
		return true
	})
}

// popFrom removes n elements, of those that there are, from an end, and replies with them.
func (c *Call) popFrom(l *list.List, left bool, n uint64) (err error) {
	if n == 0 {
		return nil
	}
	if err := visitEnd(l, left, n, c.Out.Bulk); err != nil {
		return err
	}
	if left {
		err = l.DropLeft(n)
	} else {
		err = l.DropRight(n)
	}
	if err != nil {
		return err
	}
	return c.saveList(l, popEvent(left))
}

func pop(c *Call, left bool) error {
	if len(c.Args) > 3 {
		return Error(resp.WrongArity(c.Cmd.FullName()))
	}
	n, counted := int64(1), len(c.Args) == 3
	if counted {
		var ok bool
		if n, ok = resp.ParseInt(c.Args[2]); !ok || n < 0 {
			return Error(resp.ErrNotPositive)
		}
	}
	l, err := c.openList(1)
	if err != nil {
		return err
	}
	defer l.Release()
	switch {
	case l.Len() == 0 && counted:
		c.Out.NullArray()
		return nil
	case l.Len() == 0:
		c.Out.Null()
		return nil
	case counted:
		c.Out.Array(int(min(uint64(n), l.Len())))
	}
	return c.popFrom(l, left, min(uint64(n), l.Len()))
}

func lLen(c *Call) error {
	l, err := c.openList(1)
	if err != nil {
		return err
	}
	defer l.Release()
	c.Out.Int(int64(l.Len()))
	return nil
}

// position makes an index, which counts from the end if it is negative, the position of an element.
func position(index int64, length uint64) (at uint64, ok bool) {
	if index < 0 {
		index += int64(length)
	}
	return uint64(index), index >= 0 && uint64(index) < length
}

func lIndex(c *Call) error {
	l, err := c.openList(1)
	if err != nil {
		return err
	}
	defer l.Release()
	if l.Len() == 0 {
		c.Out.Null()
		return nil
	}
	index, err := c.int64At(2)
	if err != nil {
		return err
	}
	at, ok := position(index, l.Len())
	if !ok {
		c.Out.Null()
		return nil
	}
	v, err := l.Get(at)
	c.Out.Bulk(v)
	return err
}

func lSet(c *Call) error {
	l, err := c.openList(1)
	if err != nil {
		return err
	}
	defer l.Release()
	if l.Len() == 0 {
		return Error(resp.ErrNoSuchKey)
	}
	index, err := c.int64At(2)
	if err != nil {
		return err
	}
	at, ok := position(index, l.Len())
	if !ok {
		return Error(resp.ErrIndexRange)
	}
	if err := l.Set(at, c.Args[3]); err != nil {
		return err
	}
	c.Out.OK()
	return c.saveList(l, "lset")
}

// rangeAt reads the first and the last index of a range, arguments i and i+1.
func (c *Call) rangeAt(i int) (first, last int64, err error) {
	if first, err = c.int64At(i); err == nil {
		last, err = c.int64At(i + 1)
	}
	return first, last, err
}

// within makes first and last index of a range the positions from:to of a list.
func within(first, last int64, length uint64) (from, to uint64) {
	n := int64(min(length, math.MaxInt64))
	if first < 0 {
		first = max(0, first+n)
	}
	if last < 0 {
		last += n
	}
	last = min(last, n-1)
	if first > last {
		return 0, 0
	}
	return uint64(first), uint64(last) + 1
}

func lRange(c *Call) error {
	first, last, err := c.rangeAt(2)
	if err != nil {
		return err
	}
	l, err := c.openList(1)
	if err != nil {
		return err
	}
	defer l.Release()
	from, to := within(first, last, l.Len())
	c.Out.Array(int(to - from))
	return l.Walk(from, to-from, func(v []byte) bool {
		c.Out.Bulk(v)
		return true
	})
}

func lTrim(c *Call) error {
	first, last, err := c.rangeAt(2)
	if err != nil {
		return err
	}
	l, err := c.openList(1)
	if err != nil {
		return err
	}
	defer l.Release()
	c.Out.OK()
	if l.Len() == 0 {
		return nil
	}
	from, to := within(first, last, l.Len())
	if err := l.Trim(from, to); err != nil {
		return err
	}
	return c.saveList(l, "ltrim")
}
