package commands

import (
	"math"

	"haypile/internal/resp"
	"haypile/internal/types/str"
)

func hIncrBy(c *Call) error {
	by, err := c.int64At(3)
	if err != nil {
		return err
	}
	h, err := c.openHash()
	if err != nil {
		return err
	}
	field := c.Args[2]
	old, deadline, found, err := h.GetTimed(field)
	if err != nil {
		return err
	}
	var n int64
	if found {
		var ok bool
		if n, ok = resp.ParseInt(old); !ok {
			return Error(resp.ErrHashNotInteger)
		}
	}
	if by < 0 && n < math.MinInt64-by || by > 0 && n > math.MaxInt64-by {
		return Error(resp.ErrOverflow)
	}
	n += by
	h.SetTimed(field, decimal(n), !found, deadline, deadline)
	c.Out.Int(n)
	return c.saveHash(&h, "hincrby")
}

func hIncrByFloat(c *Call) error {
	by, ok := str.ParseFloat(c.Args[3])
	if !ok {
		return Error(resp.ErrNotFloat)
	}
	if by.IsInf() {
		return Error(resp.ErrHashNaNOrInf)
	}
	h, err := c.openHash()
	if err != nil {
		return err
	}
	field := c.Args[2]
	old, deadline, found, err := h.GetTimed(field)
	if err != nil {
		return err
	}
	if !found {
		old = []byte("0")
	}
	n, ok := str.ParseFloat(old)
	if !ok {
		return Error(resp.ErrHashNotFloat)
	}
	sum, ok := n.Add(by)
	if !ok {
		return Error(resp.ErrNaNOrInf)
	}
	h.SetTimed(field, sum, !found, deadline, deadline)
	c.effect(wordHSet, c.Args[1], field, sum)
	if deadline != 0 {
		c.expireFields(deadline, [][]byte{field})
	}
	c.Out.Bulk(sum)
	return c.saveHash(&h, "hincrbyfloat")
}
