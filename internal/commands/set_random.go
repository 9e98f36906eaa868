package commands

import (
	"math"

	"haypile/internal/resp"
	"haypile/internal/types/members"
)

var wordSRem = []byte("SREM")

func sRandMember(c *Call) error {
	if len(c.Args) > 3 {
		return Error(resp.ErrSyntax)
	}
	count := int64(1)
	if len(c.Args) == 3 {
		var ok bool
		switch count, ok = resp.ParseInt(c.Args[2]); {
		case !ok:
			return Error(resp.ErrNotInteger)
		case count == math.MinInt64:
			return Error(resp.Range(-math.MaxInt64, math.MaxInt64))
		case count < -maxRepeated:
			return Error(resp.ErrOutOfRange)
		}
	}
	s, err := c.openSet(1)
	if err != nil {
		return err
	}
	if len(c.Args) == 2 {
		found := false
		err = s.Random(1, false, func(p members.Pair) {
			found = true
			c.Out.Bulk(p.Member)
		})
		if err == nil && !found {
			c.Out.Null()
		}
		return err
	}
	list, n := c.Out.DeferArray(drawn(count, s.Len())), 0
	visit := func(p members.Pair) {
		c.Out.Bulk(p.Member)
		n++
	}
	if count >= 0 {
		err = s.RandomDistinct(uint64(count), false, visit)
	} else {
		err = s.Random(uint64(-count), false, visit)
	}
	c.Out.EndArray(list, n)
	return err
}

// sPop removes and answers. The log gets what was removed; all of it, which the key does not survive, as a DEL.
func sPop(c *Call) error {
	if len(c.Args) > 3 {
		return Error(resp.ErrSyntax)
	}
	count := int64(1)
	if len(c.Args) == 3 {
		var ok bool
		if count, ok = resp.ParseInt(c.Args[2]); !ok || count < 0 {
			return Error(resp.ErrNotPositive)
		}
	}
	s, err := c.openSet(1)
	if err != nil {
		return err
	}
	effect := [][]byte{wordSRem, c.Args[1]}
	many := len(c.Args) == 3
	var list resp.Aggregate
	if many {
		list = c.Out.Defer()
	}
	if err := s.RandomDistinct(min(uint64(count), s.Len()), false, func(p members.Pair) {
		c.Out.Bulk(p.Member)
		effect = append(effect, append([]byte(nil), p.Member...))
	}); err != nil {
		return err
	}
	taken := effect[2:]
	for _, m := range taken {
		s.Take(m)
	}
	switch {
	case many:
		c.Out.EndSet(list, len(taken))
	case len(taken) == 0:
		c.Out.Null()
	}
	switch {
	case len(taken) == 0:
		return nil
	case many && s.Len() == 0:
		c.effect(wordDel, c.Args[1])
	default:
		c.effect(effect...)
	}
	return c.saveSet(&s, "spop")
}
