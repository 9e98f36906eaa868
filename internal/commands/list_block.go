package commands

import (
	"math"
	"time"

	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/resp"
)

// blockFlags are those of commands that wait for a key, beside the key and the type.
const blockFlags = command.Write | command.Blocking

var blockingListCommands = []*Command{
	listFamily.command("BLPOP", "2.0.0", -3, blockFlags|command.NoScript, command.Range(1, -2, 1, accessTake),
		"BLPOP key [key ...] timeout", "O(N) keys",
		"Removes the first element of the first of several lists that is not empty; waits until there is one.",
		func(c *Call) error { return blockingPop(c, true) }),
	listFamily.command("BRPOP", "2.0.0", -3, blockFlags|command.NoScript, command.Range(1, -2, 1, accessTake),
		"BRPOP key [key ...] timeout", "O(N) keys",
		"Removes the last element of the first of several lists that is not empty; waits until there is one.",
		func(c *Call) error { return blockingPop(c, false) }),
	listFamily.command("BLMOVE", "6.2.0", 6, blockFlags|command.NoScript|command.DenyOOM, command.KeySpec{},
		"BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout", "O(1)",
		"Moves an element from an end of one list to an end of another; waits until there is one.",
		bLMove).twoKeys(accessTake, accessAdd),
	listFamily.command("BRPOPLPUSH", "2.2.0", 4, blockFlags|command.NoScript|command.DenyOOM, command.KeySpec{},
		"BRPOPLPUSH source destination timeout", "O(1)",
		"Moves the last element of one list to the beginning of another; waits until there is one.",
		bRPopLPush).twoKeys(accessTake, accessAdd),
	listFamily.command("BLMPOP", "7.0.0", -5, blockFlags, command.KeySpec{},
		"BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
		"O(N+M) for N keys looked at and M elements popped",
		"Removes elements from the first of several lists that is not empty; waits until there is one.",
		bLMPop).countedKeys(2, accessTake),
}

// secondsAt reads argument i as seconds, perhaps with a fraction; 0 is for ever.
func (c *Call) secondsAt(i int) (time.Duration, error) {
	f, ok := resp.ParseFloat(c.Args[i])
	if !ok {
		return 0, Error(resp.ErrTimeoutFloat)
	}
	ms := math.Ceil(f * 1000)
	switch {
	case ms < 0:
		return 0, Error(resp.ErrTimeoutNegative)
	case ms > float64(math.MaxInt64-time.Now().UnixMilli()):
		return 0, Error(resp.ErrTimeoutRange)
	}
	return time.Duration(min(int64(ms), int64(maxWait/time.Millisecond))) * time.Millisecond, nil
}

// blockForLists makes the client wait for a list at one of the keys.
func (c *Call) blockForLists(timeout time.Duration, keys ...[]byte) {
	c.Block(Wait{Keys: keys, Type: encoding.List, Timeout: timeout, TimedOut: (*resp.Writer).NullArray})
}

func blockingPop(c *Call, left bool) error {
	last := len(c.Args) - 1
	timeout, err := c.secondsAt(last)
	if err != nil {
		return err
	}
	for i := 1; i < last; i++ {
		l, err := c.openList(i)
		if err != nil {
			return err
		}
		if l.Len() == 0 {
			continue
		}
		c.Out.Array(2)
		c.Out.Bulk(c.Args[i])
		if err := c.popFrom(l, left, 1); err != nil {
			return err
		}
		c.effect(popWord(left), c.Args[i])
		return nil
	}
	c.blockForLists(timeout, c.Args[1:last]...)
	return nil
}

func bLMove(c *Call) error {
	from, to, err := c.sidesAt(3)
	if err != nil {
		return err
	}
	timeout, err := c.secondsAt(5)
	if err != nil {
		return err
	}
	return c.blockingMove(timeout, from, to, wordLMove, c.Args[1], c.Args[2], c.Args[3], c.Args[4])
}

func bRPopLPush(c *Call) error {
	timeout, err := c.secondsAt(3)
	if err != nil {
		return err
	}
	return c.blockingMove(timeout, false, true, wordRPopLPush, c.Args[1], c.Args[2])
}

// blockingMove moves an element, and logs that as effect, or waits for one.
func (c *Call) blockingMove(timeout time.Duration, fromLeft, toLeft bool, effect ...[]byte) error {
	moved, err := c.tryMove(fromLeft, toLeft)
	switch {
	case err != nil:
		return err
	case moved:
		c.effect(effect...)
		return nil
	case c.InMulti:
		c.Out.Null() // not what it answers after its time
		return nil
	}
	c.blockForLists(timeout, c.Args[1])
	return nil
}

func bLMPop(c *Call) error {
	timeout, err := c.secondsAt(1)
	if err != nil {
		return err
	}
	p, err := c.parseMultiPop(2)
	if err != nil {
		return err
	}
	popped, err := c.tryMultiPop(p)
	if err == nil && !popped {
		c.blockForLists(timeout, p.keys...)
	}
	return err
}
