package commands

import (
	"math"

	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/types/members"
)

// maxRepeated bounds how many fields, some of them again and again, one HRANDFIELD may answer.
const maxRepeated = 1 << 20

func hRandField(c *Call) error {
	if len(c.Args) == 2 {
		return c.randomField()
	}
	count, ok := resp.ParseInt(c.Args[2])
	if !ok {
		return Error(resp.ErrNotInteger)
	}
	if count == math.MinInt64 {
		return Error(resp.Range(-math.MaxInt64, math.MaxInt64))
	}
	withValues := len(c.Args) == 4
	if len(c.Args) > 4 || withValues && !c.Is(3, "WITHVALUES") {
		return Error(resp.ErrSyntax)
	}
	if withValues && (count < -math.MaxInt64/2 || count > math.MaxInt64/2) || count < -maxRepeated {
		return Error(resp.ErrOutOfRange)
	}
	h, err := c.openHash()
	if err != nil {
		return err
	}
	list, n := c.Out.Defer(), 0
	visit := func(p members.Pair) {
		n++
		if withValues && c.Out.Proto >= 3 {
			c.Out.Array(2)
		}
		c.Out.Bulk(p.Member)
		if withValues {
			c.Out.Bulk(p.Value)
		}
	}
	if count >= 0 {
		err = h.RandomDistinct(uint64(count), visit)
	} else {
		err = h.Random(uint64(-count), visit)
	}
	if withValues && c.Out.Proto < 3 {
		n *= 2
	}
	c.Out.EndArray(list, n)
	return err
}

// randomField answers one field.
func (c *Call) randomField() error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	found := false
	err = h.Random(1, func(p members.Pair) {
		found = true
		c.Out.Bulk(p.Member)
	})
	if err == nil && !found {
		c.Out.Null()
	}
	return err
}

func hScan(c *Call) error {
	return c.scanMembers(func() (*members.Members, error) {
		h, err := c.openHash()
		return &h.Members, err
	}, c.Node.Config().Int(option.HashMaxListpackEntries), true)
}
