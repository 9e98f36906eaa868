package commands

import (
	"math"

	"haypile/internal/resp"
	"haypile/internal/types/str"
)

func incrBy(c *Call) error {
	by, err := c.int64At(2)
	if err != nil {
		return err
	}
	return add(c, by)
}

func decrBy(c *Call) error {
	by, err := c.int64At(2)
	if err != nil {
		return err
	}
	if by == math.MinInt64 {
		return Error(resp.ErrDecrOverflow)
	}
	return add(c, -by)
}

// add adds to the integer at args[1]; a missing key counts as 0.
func add(c *Call, by int64) error {
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	var n int64
	if e.Found {
		// A string in pieces is none.
		v, whole := e.Meta.Whole()
		var ok bool
		if n, ok = resp.ParseInt(v); !ok || !whole {
			return Error(resp.ErrNotInteger)
		}
	}
	if by < 0 && n < math.MinInt64-by || by > 0 && n > math.MaxInt64-by {
		return Error(resp.ErrOverflow)
	}
	n += by
	c.Out.Int(n)
	return c.putString(&e, decimal(n), e.Meta.Deadline, "incrby")
}

func incrByFloat(c *Call) error {
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	old := []byte("0")
	if e.Found {
		old, _ = e.Meta.Whole() // a string in pieces is no number, as nil is none
	}
	n, ok := str.ParseFloat(old)
	by, okBy := str.ParseFloat(c.Args[2])
	if !ok || !okBy {
		return Error(resp.ErrNotFloat)
	}
	sum, ok := n.Add(by)
	if !ok {
		return Error(resp.ErrNaNOrInf)
	}
	c.Out.Bulk(sum)
	c.effect(wordSet, e.User, sum, wordKeepTTL)
	return c.putString(&e, sum, e.Meta.Deadline, "incrbyfloat")
}
