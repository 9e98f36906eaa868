package commands

import (
	"time"

	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/resp"
	"haypile/internal/types/zset"
)

var blockingZSetCommands = []*Command{
	zsetFamily.command("BZPOPMIN", "5.0.0", -3, blockFlags|command.NoScript|command.Fast,
		command.Range(1, -2, 1, accessTake), "BZPOPMIN key [key ...] timeout", rankCost,
		"Removes the entry with the lowest score of the first of several sorted sets that is not empty; waits until "+
			"there is one.", bZPop(false)),
	zsetFamily.command("BZPOPMAX", "5.0.0", -3, blockFlags|command.NoScript|command.Fast,
		command.Range(1, -2, 1, accessTake), "BZPOPMAX key [key ...] timeout", rankCost,
		"Removes the entry with the highest score of the first of several sorted sets that is not empty; waits until "+
			"there is one.", bZPop(true)),
	zsetFamily.command("BZMPOP", "7.0.0", -5, blockFlags, command.KeySpec{},
		"BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
		"O(K) + O(M*log(N)) for K keys and M entries removed",
		"Removes entries from the first of several sorted sets that is not empty; waits until there is one.",
		bZMPop).countedKeys(2, accessTake),
}

func (c *Call) blockForZSets(timeout time.Duration, keys [][]byte) {
	c.Block(Wait{Keys: keys, Type: encoding.ZSet, Timeout: timeout, TimedOut: (*resp.Writer).NullArray})
}

// bZPop makes the function of BZPOPMIN and BZPOPMAX.
func bZPop(max bool) func(*Call) error {
	return func(c *Call) error {
		last := len(c.Args) - 1
		timeout, err := c.secondsAt(last)
		if err != nil {
			return err
		}
		for _, key := range c.Args[1:last] {
			z, err := zset.Open(c.Tx, key)
			if err != nil {
				return typed(err)
			}
			if z.Len() == 0 {
				continue
			}
			c.Out.Array(3)
			c.Out.Bulk(key)
			if _, err := z.RemoveRange(zset.All, max, 1, func(e zset.Entry) { c.writeEntry(e, true, false) }); err != nil {
				return err
			}
			c.effect(wordsZPop[max], key)
			return c.saveZSet(&z, eventsZPop[max], true)
		}
		c.blockForZSets(timeout, c.Args[1:last])
		return nil
	}
}

func bZMPop(c *Call) error {
	timeout, err := c.secondsAt(1)
	if err != nil {
		return err
	}
	q, err := c.parsePop(2)
	if err != nil {
		return err
	}
	served, err := c.popFirst(q)
	if err == nil && !served {
		c.blockForZSets(timeout, q.keys)
	}
	return err
}
