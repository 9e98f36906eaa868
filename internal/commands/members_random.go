package commands

import (
	"math"

	"haypile/internal/resp"
	"haypile/internal/types/members"
)

// maxRepeated bounds how many members, some of them again and again, one command may answer.
const maxRepeated = 1 << 20

// randomQuery is what HRANDFIELD and ZRANDMEMBER ask for.
type randomQuery struct {
	one    bool // no count was given
	count  int64
	values bool
}

// parseRandom reads [count [word]] behind the key.
func (c *Call) parseRandom(word string) (randomQuery, error) {
	if len(c.Args) == 2 {
		return randomQuery{one: true, count: 1}, nil
	}
	count, ok := resp.ParseInt(c.Args[2])
	if !ok {
		return randomQuery{}, Error(resp.ErrNotInteger)
	}
	if count == math.MinInt64 {
		return randomQuery{}, Error(resp.Range(-math.MaxInt64, math.MaxInt64))
	}
	q := randomQuery{count: count, values: len(c.Args) == 4}
	if len(c.Args) > 4 || q.values && !c.Is(3, word) {
		return q, Error(resp.ErrSyntax)
	}
	if q.values && (count < -math.MaxInt64/2 || count > math.MaxInt64/2) || count < -maxRepeated {
		return q, Error(resp.ErrOutOfRange)
	}
	return q, nil
}

// drawn is how many members a count asks for, of as many as there are.
func drawn(count int64, members uint64) int {
	switch {
	case members == 0:
		return 0
	case count < 0:
		return int(-count)
	}
	return int(min(uint64(count), members))
}

// sampled is a value whose members can be drawn.
type sampled interface {
	Live() (uint64, error)
	Random(n uint64, values bool, visit func(members.Pair)) error
	RandomDistinct(n uint64, values bool, visit func(members.Pair)) error
}

// writeRandom answers a query; value writes the value of a member.
func (c *Call) writeRandom(m sampled, q randomQuery, value func([]byte)) error {
	if q.one {
		found := false
		err := m.Random(1, false, func(p members.Pair) {
			found = true
			c.Out.Bulk(p.Member)
		})
		if err == nil && !found {
			c.Out.Null()
		}
		return err
	}
	live, err := m.Live()
	if err != nil {
		return err
	}
	want := drawn(q.count, live)
	if q.values && c.Out.Proto < 3 {
		want *= 2
	}
	list, n := c.Out.DeferArray(want), 0
	visit := func(p members.Pair) {
		n++
		if q.values && c.Out.Proto >= 3 {
			c.Out.Array(2)
		}
		c.Out.Bulk(p.Member)
		if q.values {
			value(p.Value)
		}
	}
	if q.count >= 0 {
		err = m.RandomDistinct(uint64(q.count), q.values, visit)
	} else {
		err = m.Random(uint64(-q.count), q.values, visit)
	}
	if q.values && c.Out.Proto < 3 {
		n *= 2
	}
	c.Out.EndArray(list, n)
	return err
}
