package commands

import (
	"math"

	"haypile/internal/resp"
	"haypile/internal/types/zset"
)

// addMode are the options of ZADD.
type addMode struct{ nx, xx, gt, lt, ch, incr bool }

// parseAddMode reads the options of ZADD; the scores begin at args[next].
func (c *Call) parseAddMode() (m addMode, next int, err error) {
	for next = 2; next < len(c.Args); next++ {
		switch {
		case c.Is(next, "NX"):
			m.nx = true
		case c.Is(next, "XX"):
			m.xx = true
		case c.Is(next, "GT"):
			m.gt = true
		case c.Is(next, "LT"):
			m.lt = true
		case c.Is(next, "CH"):
			m.ch = true
		case c.Is(next, "INCR"):
			m.incr = true
		default:
			return m, next, m.check(len(c.Args) - next)
		}
	}
	return m, next, Error(resp.ErrSyntax)
}

func (m addMode) check(words int) error {
	switch {
	case words%2 != 0 || words == 0:
		return Error(resp.ErrSyntax)
	case m.nx && m.xx:
		return Error(resp.ErrZAddXXAndNX)
	case m.gt && m.nx, m.lt && m.nx, m.gt && m.lt:
		return Error(resp.ErrZAddGTLTNX)
	case m.incr && words > 2:
		return Error(resp.ErrZAddIncr)
	}
	return nil
}

func zAdd(c *Call) error {
	m, at, err := c.parseAddMode()
	if err != nil {
		return err
	}
	scores := make([]float64, 0, (len(c.Args)-at)/2)
	for i := at; i < len(c.Args); i += 2 {
		score, ok := resp.ParseFloat(c.Args[i])
		if !ok {
			return Error(resp.ErrNotFloat)
		}
		scores = append(scores, score)
	}
	return c.add(m, scores, func(i int) []byte { return c.Args[at+2*i+1] })
}

func zIncrBy(c *Call) error {
	score, ok := resp.ParseFloat(c.Args[2])
	if !ok {
		return Error(resp.ErrNotFloat)
	}
	return c.add(addMode{incr: true}, []float64{score}, func(int) []byte { return c.Args[3] })
}

// add gives the members their scores, as far as the mode lets it.
func (c *Call) add(m addMode, scores []float64, member func(int) []byte) error {
	z, err := c.openZSet(1)
	if err != nil {
		return err
	}
	if len(scores) > 1 {
		if err := z.Several(); err != nil {
			return err
		}
	}
	var added, updated int64
	skipped, result := false, 0.0
	for i, score := range scores {
		old, found, err := z.Score(member(i))
		if err != nil {
			return err
		}
		result, skipped, err = m.decide(score, old, found)
		if err != nil {
			return err
		}
		if skipped {
			continue
		}
		if err := z.Put(member(i), result, old, found); err != nil {
			return err
		}
		added += bit(!found)
		updated += bit(found && old != result)
	}
	switch {
	case m.incr && skipped:
		c.Out.Null()
	case m.incr:
		c.Out.Double(result)
	case m.ch:
		c.Out.Int(added + updated)
	default:
		c.Out.Int(added)
	}
	event := "zadd"
	if m.incr {
		event = "zincr"
	}
	return c.saveZSet(&z, event, added+updated > 0)
}

// decide is the score that a member gets, or that it is left alone.
func (m addMode) decide(score, old float64, found bool) (result float64, skip bool, err error) {
	if !found {
		return score, m.xx, nil
	}
	if m.nx {
		return 0, true, nil
	}
	if m.incr {
		if score += old; math.IsNaN(score) {
			return 0, false, Error(resp.ErrScoreNaN)
		}
	}
	return score, m.gt && score <= old || m.lt && score >= old, nil
}

// zPop makes the function of ZPOPMIN and ZPOPMAX.
func zPop(max bool) func(*Call) error {
	return func(c *Call) error {
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
		z, err := c.openZSet(1)
		if err != nil {
			return err
		}
		_, err = c.popEntries(&z, max, uint64(count), len(c.Args) == 3 && c.Out.Proto >= 3)
		return err
	}
}

// popEntries removes and answers entries from an end: each as an array of its own, or all in one.
func (c *Call) popEntries(z *zset.ZSet, max bool, count uint64, nested bool) (uint64, error) {
	list, n := c.Out.Defer(), 0
	removed, err := z.RemoveRange(zset.All, max, count, func(e zset.Entry) { n += c.writeEntry(e, true, nested) })
	if err != nil {
		return 0, err
	}
	c.Out.EndArray(list, n)
	return removed, c.saveZSet(z, eventsZPop[max], removed > 0)
}

// writeEntry answers an entry and returns how many elements of the enclosing array it took.
func (c *Call) writeEntry(e zset.Entry, score, nested bool) int {
	if nested {
		c.Out.Array(2)
	}
	c.Out.Bulk(e.Member)
	if score {
		c.Out.Double(e.Score)
	}
	if score && !nested {
		return 2
	}
	return 1
}

var eventsZPop = map[bool]string{false: "zpopmin", true: "zpopmax"}

var wordsZPop = map[bool][]byte{false: []byte("ZPOPMIN"), true: []byte("ZPOPMAX")}

// popQuery is what ZMPOP asks for.
type popQuery struct {
	keys  [][]byte
	max   bool
	count uint64
}

// parsePop reads numkeys key [key ...] MIN|MAX [COUNT count] from args[at] on.
func (c *Call) parsePop(at int) (q popQuery, err error) {
	n, ok := resp.ParseInt(c.Args[at])
	if !ok || n <= 0 {
		return q, Error(resp.ErrNumKeys)
	}
	where := at + 1 + int(min(n, int64(len(c.Args))))
	if where >= len(c.Args) {
		return q, Error(resp.ErrSyntax)
	}
	q.keys, q.count = c.Args[at+1:where], 1
	switch {
	case c.Is(where, "MIN"):
	case c.Is(where, "MAX"):
		q.max = true
	default:
		return q, Error(resp.ErrSyntax)
	}
	counted := false
	for i := where + 1; i < len(c.Args); i += 2 {
		if counted || !c.Is(i, "COUNT") || i+1 == len(c.Args) {
			return q, Error(resp.ErrSyntax)
		}
		count, ok := resp.ParseInt(c.Args[i+1])
		if !ok || count <= 0 {
			return q, Error(resp.ErrCountPositive)
		}
		q.count, counted = uint64(count), true
	}
	return q, nil
}

func zMPop(c *Call) error {
	q, err := c.parsePop(1)
	if err != nil {
		return err
	}
	served, err := c.popFirst(q)
	if err == nil && !served {
		c.Out.NullArray()
	}
	return err
}

// popFirst pops from the first of the keys that is not empty, and answers its name and the entries.
func (c *Call) popFirst(q popQuery) (served bool, err error) {
	for _, key := range q.keys {
		z, err := zset.Open(c.Tx, key)
		if err != nil {
			return false, typed(err)
		}
		if z.Len() == 0 {
			continue
		}
		c.Out.Array(2)
		c.Out.Bulk(key)
		n, err := c.popEntries(&z, q.max, q.count, true)
		if err != nil {
			return false, err
		}
		c.effect(wordsZPop[q.max], key, decimal(int64(n)))
		return true, nil
	}
	return false, nil
}
