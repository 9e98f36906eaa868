package commands

import (
	"errors"

	"haypile/internal/command"
	"haypile/internal/keyevent"
	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/types/members"
	"haypile/internal/types/zset"
)

var zsetFamily = family{group: "sorted-set", category: "sortedset"}

// rankCost is the cost of whatever asks for a rank or counts entries.
const (
	rankCost  = "O(log(N))"
	rangeCost = "O(log(N)+M) for M entries answered"
	mergeCost = "O(N) members of all inputs, plus O(M*log(M)) for M members answered"
)

var zsetCommands = []*Command{
	zsetFamily.command("ZADD", "1.2.0", -4, writeGrowFast, oneKey(accessChange),
		"ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]", "O(log(N)) for every member",
		"Adds members to a sorted set, or changes their scores.", zAdd),
	zsetFamily.command("ZINCRBY", "1.2.0", 4, writeGrowFast, oneKey(accessBoth), "ZINCRBY key increment member", rankCost,
		"Adds to the score of a member.", zIncrBy),
	zsetFamily.command("ZREM", "1.2.0", -3, command.Write|command.Fast, oneKey(command.AccessRW|command.AccessDelete),
		"ZREM key member [member ...]", "O(log(N)) for every member",
		"Removes members from a sorted set, and the set with its last.", zRem),
	zsetFamily.command("ZCARD", "1.2.0", 2, readFast, oneKey(command.AccessRO), "ZCARD key", "O(1)",
		"Answers the number of members of a sorted set.", zCard),
	zsetFamily.command("ZSCORE", "1.2.0", 3, readFast, oneKey(accessGet), "ZSCORE key member", "O(1)",
		"Answers the score of a member.", zScore),
	zsetFamily.command("ZMSCORE", "6.2.0", -3, readFast, oneKey(accessGet), "ZMSCORE key member [member ...]",
		"O(N) members given", "Answers the scores of members.", zMScore),
	zsetFamily.command("ZRANK", "2.0.0", -3, readFast, oneKey(accessGet), "ZRANK key member [WITHSCORE]", rankCost,
		"Answers how many entries are before a member.", rankOf(false)),
	zsetFamily.command("ZREVRANK", "2.0.0", -3, readFast, oneKey(accessGet), "ZREVRANK key member [WITHSCORE]", rankCost,
		"Answers how many entries are behind a member.", rankOf(true)),
	zsetFamily.command("ZCOUNT", "2.0.0", 4, readFast, oneKey(accessGet), "ZCOUNT key min max", rankCost,
		"Counts the members with scores in a range.", zCount),
	zsetFamily.command("ZLEXCOUNT", "2.8.9", 4, readFast, oneKey(accessGet), "ZLEXCOUNT key min max", rankCost,
		"Counts the members in a range of names, where all scores are equal.", zLexCount),
	zsetFamily.command("ZRANGE", "1.2.0", -4, command.ReadOnly, oneKey(accessGet),
		"ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]", rangeCost,
		"Answers the entries in a range of ranks, scores or names.", rangeQuery{}.answer),
	zsetFamily.command("ZREVRANGE", "1.2.0", -4, command.ReadOnly, oneKey(accessGet),
		"ZREVRANGE key start stop [WITHSCORES]", rangeCost,
		"Answers the entries in a range of ranks, from the last one on.", rangeQuery{by: byRank, fixed: true, rev: true}.answer),
	zsetFamily.command("ZRANGEBYSCORE", "1.0.5", -4, command.ReadOnly, oneKey(accessGet),
		"ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]", rangeCost,
		"Answers the entries in a range of scores.", rangeQuery{by: byScore, fixed: true}.answer),
	zsetFamily.command("ZREVRANGEBYSCORE", "2.2.0", -4, command.ReadOnly, oneKey(accessGet),
		"ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]", rangeCost,
		"Answers the entries in a range of scores, from the greatest on.", rangeQuery{by: byScore, fixed: true, rev: true}.answer),
	zsetFamily.command("ZRANGEBYLEX", "2.8.9", -4, command.ReadOnly, oneKey(accessGet),
		"ZRANGEBYLEX key min max [LIMIT offset count]", rangeCost,
		"Answers the members in a range of names, where all scores are equal.", rangeQuery{by: byLex, fixed: true}.answer),
	zsetFamily.command("ZREVRANGEBYLEX", "2.8.9", -4, command.ReadOnly, oneKey(accessGet),
		"ZREVRANGEBYLEX key max min [LIMIT offset count]", rangeCost,
		"Answers the members in a range of names, from the last on, where all scores are equal.",
		rangeQuery{by: byLex, fixed: true, rev: true}.answer),
	zsetFamily.command("ZRANGESTORE", "6.2.0", -5, writeGrow, command.KeySpec{},
		"ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
		"O(log(N)+M*log(M)) for M entries stored",
		"Stores the entries in a range of ranks, scores or names.", zRangeStore).twoKeys(accessStore, accessGet),
	zsetFamily.command("ZREMRANGEBYRANK", "2.0.0", 4, command.Write, oneKey(command.AccessRW|command.AccessDelete),
		"ZREMRANGEBYRANK key start stop", "O(M*log(N)) for M entries removed",
		"Removes the entries in a range of ranks.", removeRange(byRank)),
	zsetFamily.command("ZREMRANGEBYSCORE", "1.2.0", 4, command.Write, oneKey(command.AccessRW|command.AccessDelete),
		"ZREMRANGEBYSCORE key min max", "O(M*log(N)) for M entries removed",
		"Removes the entries in a range of scores.", removeRange(byScore)),
	zsetFamily.command("ZREMRANGEBYLEX", "2.8.9", 4, command.Write, oneKey(command.AccessRW|command.AccessDelete),
		"ZREMRANGEBYLEX key min max", "O(M*log(N)) for M entries removed",
		"Removes the entries in a range of names, where all scores are equal.", removeRange(byLex)),
	zsetFamily.command("ZPOPMIN", "5.0.0", -2, command.Write|command.Fast, oneKey(accessTake), "ZPOPMIN key [count]",
		"O(M*log(N)) for M entries removed", "Removes the entries with the lowest scores, and answers them.", zPop(false)),
	zsetFamily.command("ZPOPMAX", "5.0.0", -2, command.Write|command.Fast, oneKey(accessTake), "ZPOPMAX key [count]",
		"O(M*log(N)) for M entries removed", "Removes the entries with the highest scores, and answers them.", zPop(true)),
	zsetFamily.command("ZMPOP", "7.0.0", -4, command.Write, command.KeySpec{},
		"ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]", "O(K) + O(M*log(N)) for K keys and M entries removed",
		"Removes entries from the first sorted set that is not empty, and answers them.", zMPop).countedKeys(1, accessTake),
	zsetFamily.command("ZUNION", "6.2.0", -3, command.ReadOnly, command.KeySpec{},
		"ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]", mergeCost,
		"Answers the members of several sorted sets, with aggregated scores.",
		answerMerged(zset.Union, true)).countedKeys(1, accessGet),
	zsetFamily.command("ZINTER", "6.2.0", -3, command.ReadOnly, command.KeySpec{},
		"ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]", mergeCost,
		"Answers the members that all of several sorted sets have, with aggregated scores.",
		answerMerged(zset.Intersect, true)).countedKeys(1, accessGet),
	zsetFamily.command("ZDIFF", "6.2.0", -3, command.ReadOnly, command.KeySpec{},
		"ZDIFF numkeys key [key ...] [WITHSCORES]", mergeCost,
		"Answers the members of the first sorted set that no other has.",
		answerMerged(zset.Diff, false)).countedKeys(1, accessGet),
	zsetFamily.command("ZUNIONSTORE", "2.0.0", -4, writeGrow, command.KeySpec{},
		"ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]", mergeCost,
		"Stores the members of several sorted sets, with aggregated scores.",
		storeMerged(zset.Union, true)).storesCounted(),
	zsetFamily.command("ZINTERSTORE", "2.0.0", -4, writeGrow, command.KeySpec{},
		"ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]", mergeCost,
		"Stores the members that all of several sorted sets have, with aggregated scores.",
		storeMerged(zset.Intersect, true)).storesCounted(),
	zsetFamily.command("ZDIFFSTORE", "6.2.0", -4, writeGrow, command.KeySpec{},
		"ZDIFFSTORE destination numkeys key [key ...]", mergeCost,
		"Stores the members of the first sorted set that no other has.", storeMerged(zset.Diff, false)).storesCounted(),
	zsetFamily.command("ZINTERCARD", "7.0.0", -3, command.ReadOnly, command.KeySpec{},
		"ZINTERCARD numkeys key [key ...] [LIMIT limit]", "O(N) members of all inputs",
		"Counts the members that all of several sorted sets have.", zInterCard).countedKeys(1, accessGet),
	zsetFamily.command("ZRANDMEMBER", "6.2.0", -2, command.ReadOnly, oneKey(accessGet),
		"ZRANDMEMBER key [count [WITHSCORES]]", "O(1) for every member wanted; O(N) members of the set if that is less.",
		"Answers members chosen at random.", zRandMember).
		differs("A negative count below -1048576 is refused, to bound the reply."),
	zsetFamily.command("ZSCAN", "2.8.0", -3, command.ReadOnly, oneKey(accessGet),
		"ZSCAN key cursor [MATCH pattern] [COUNT count]", "O(COUNT) for every call",
		"Walks the members of a sorted set in steps.", zScan).differs(foreignCursor),
}

// storesCounted gives the command a destination and keys that follow their number.
func (c *Command) storesCounted() *Command {
	c.Keys = []command.KeySpec{command.One(1, accessStore), command.Counted(2, accessGet)}
	return c
}

// typed makes the wire's error of a type that was met where another was wanted.
func typed(err error) error {
	if errors.Is(err, members.ErrWrongType) {
		return Error(resp.ErrWrongType)
	}
	return err
}

// openZSet reads the sorted set at args[i].
func (c *Call) openZSet(i int) (zset.ZSet, error) {
	z, err := zset.Open(c.Tx, c.Args[i])
	return z, typed(err)
}

func zRem(c *Call) error {
	z, err := c.openZSet(1)
	if err != nil {
		return err
	}
	if len(c.Args) > 3 {
		if err := z.Several(); err != nil {
			return err
		}
	}
	n := int64(0)
	for _, m := range c.Args[2:] {
		removed, err := z.Remove(m)
		if err != nil {
			return err
		}
		n += bit(removed)
	}
	c.Out.Int(n)
	return c.saveZSet(&z, "zrem", n > 0)
}

// saveZSet stores a sorted set and tells of what happened to it, if it did, and of the key's end if it is empty now.
func (c *Call) saveZSet(z *zset.ZSet, event string, happened bool) error {
	if err := z.Save(); err != nil || !happened {
		return err
	}
	c.notify(keyevent.ZSet, event, z.Key().User)
	if z.Len() == 0 {
		c.notify(keyevent.Generic, "del", z.Key().User)
	}
	return nil
}

func zCard(c *Call) error {
	z, err := c.openZSet(1)
	if err != nil {
		return err
	}
	c.Out.Int(int64(z.Len()))
	return nil
}

func zScore(c *Call) error {
	z, err := c.openZSet(1)
	if err != nil {
		return err
	}
	return c.writeScore(&z, c.Args[2])
}

func (c *Call) writeScore(z *zset.ZSet, member []byte) error {
	score, found, err := z.Score(member)
	switch {
	case err != nil:
		return err
	case found:
		c.Out.Double(score)
	default:
		c.Out.Null()
	}
	return nil
}

func zMScore(c *Call) error {
	z, err := c.openZSet(1)
	if err != nil {
		return err
	}
	c.Out.Array(len(c.Args) - 2)
	for _, m := range c.Args[2:] {
		if err := c.writeScore(&z, m); err != nil {
			return err
		}
	}
	return nil
}

// rankOf makes the function of ZRANK or, counted from the end, ZREVRANK.
func rankOf(rev bool) func(*Call) error {
	return func(c *Call) error {
		if len(c.Args) > 4 {
			return Error(resp.WrongArity(c.Cmd.FullName()))
		}
		withScore := len(c.Args) == 4
		if withScore && !c.Is(3, "WITHSCORE") {
			return Error(resp.ErrSyntax)
		}
		z, err := c.openZSet(1)
		if err != nil {
			return err
		}
		score, found, err := z.Score(c.Args[2])
		if err != nil {
			return err
		}
		if !found {
			if withScore {
				c.Out.NullArray()
			} else {
				c.Out.Null()
			}
			return nil
		}
		rank, err := z.Rank(zset.Entry{Member: c.Args[2], Score: score})
		if err != nil {
			return err
		}
		if rev {
			rank = z.Len() - 1 - rank
		}
		if withScore {
			c.Out.Array(2)
		}
		c.Out.Int(int64(rank))
		if withScore {
			c.Out.Double(score)
		}
		return nil
	}
}

func zScan(c *Call) error {
	var bad error
	err := c.scanMembers(func() (*members.Members, error) {
		z, err := c.openZSet(1)
		return &z.Members, err
	}, c.Node.Config().Int(option.ZsetMaxListpackEntries), func(out *resp.Writer, value []byte) {
		score, err := zset.ParseScore(value)
		if err != nil {
			bad = err
		}
		out.BulkString(resp.FormatFloat(score))
	})
	if err == nil {
		err = bad
	}
	return err
}

func zRandMember(c *Call) error {
	p, err := c.parseRandom("WITHSCORES")
	if err != nil {
		return err
	}
	z, err := c.openZSet(1)
	if err != nil {
		return err
	}
	var bad error
	err = c.writeRandom(&z, p, func(value []byte) {
		score, err := zset.ParseScore(value)
		if err != nil {
			bad = err
		}
		c.Out.Double(score)
	})
	if err == nil {
		err = bad
	}
	return err
}
