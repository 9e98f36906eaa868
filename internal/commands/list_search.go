package commands

import (
	"bytes"
	"math"
	"slices"

	"haypile/internal/resp"
)

func lInsert(c *Call) error {
	after := c.Is(2, "AFTER")
	if !after && !c.Is(2, "BEFORE") {
		return Error(resp.ErrSyntax)
	}
	l, err := c.openList(1)
	if err != nil {
		return err
	}
	if l.Len() == 0 {
		c.Out.Int(0)
		return nil
	}
	at, found := uint64(0), false
	if err := l.Walk(0, l.Len(), func(v []byte) bool {
		if found = bytes.Equal(v, c.Args[3]); !found {
			at++
		}
		return !found
	}); err != nil {
		return err
	}
	if !found {
		c.Out.Int(-1)
		return nil
	}
	if after {
		at++
	}
	if err := l.Insert(at, c.Args[4]); err != nil {
		return err
	}
	c.Out.Int(int64(l.Len()))
	return c.saveList(l, "linsert")
}

func lRem(c *Call) error {
	n, err := c.int64At(2)
	if err != nil {
		return err
	}
	l, err := c.openList(1)
	if err != nil {
		return err
	}
	most := uint64(math.MaxUint64)
	if n != 0 {
		most = uint64(max(n, -n))
	}
	var found []uint64 // positions, in the order of the walk
	match := func(at uint64, v []byte) bool {
		if bytes.Equal(v, c.Args[3]) {
			found = append(found, at)
		}
		return uint64(len(found)) < most
	}
	if n >= 0 {
		at := uint64(0)
		err = l.Walk(0, l.Len(), func(v []byte) bool {
			at++
			return match(at-1, v)
		})
		slices.Reverse(found) // removals behind a position leave it right
	} else {
		at := l.Len()
		err = l.WalkBack(at, at, func(v []byte) bool {
			at--
			return match(at, v)
		})
	}
	if err != nil {
		return err
	}
	for _, at := range found {
		if err := l.Remove(at); err != nil {
			return err
		}
	}
	c.Out.Int(int64(len(found)))
	if len(found) == 0 {
		return nil
	}
	return c.saveList(l, "lrem")
}

// posOptions are those of LPOS.
type posOptions struct {
	rank    int64
	count   int64
	counted bool
	most    int64 // elements to look at, 0: all
}

func (c *Call) parsePos(i int) (o posOptions, err error) {
	o = posOptions{rank: 1, count: 1}
	for ; i < len(c.Args); i += 2 {
		if i+1 == len(c.Args) {
			return o, Error(resp.ErrSyntax)
		}
		n, ok := resp.ParseInt(c.Args[i+1])
		switch {
		case c.Is(i, "RANK"):
			switch o.rank = n; {
			case !ok:
				return o, Error(resp.ErrNotInteger)
			case n == math.MinInt64:
				return o, Error(resp.Range(-math.MaxInt64, math.MaxInt64))
			case n == 0:
				return o, Error(resp.ErrRankZero)
			}
		case c.Is(i, "COUNT"):
			if o.count, o.counted = n, true; !ok || n < 0 {
				return o, Error(resp.ErrCountNegative)
			}
		case c.Is(i, "MAXLEN"):
			if o.most = n; !ok || n < 0 {
				return o, Error(resp.ErrMaxLenNegative)
			}
		default:
			return o, Error(resp.ErrSyntax)
		}
	}
	if o.count == 0 {
		o.count = math.MaxInt64
	}
	if o.most == 0 {
		o.most = math.MaxInt64
	}
	return o, nil
}

func lPos(c *Call) error {
	o, err := c.parsePos(3)
	if err != nil {
		return err
	}
	l, err := c.openList(1)
	if err != nil {
		return err
	}
	var all resp.Aggregate
	if o.counted {
		all = c.Out.Defer()
	}
	n, skip, looked := int64(0), max(o.rank, -o.rank)-1, int64(0)
	visit := func(at uint64, v []byte) (more bool) {
		if bytes.Equal(v, c.Args[2]) {
			if skip > 0 {
				skip--
			} else {
				c.Out.Int(int64(at))
				n++
			}
		}
		looked++
		return n < o.count && looked < o.most
	}
	if o.rank > 0 {
		at := uint64(0)
		err = l.Walk(0, l.Len(), func(v []byte) bool {
			at++
			return visit(at-1, v)
		})
	} else {
		at := l.Len()
		err = l.WalkBack(at, at, func(v []byte) bool {
			at--
			return visit(at, v)
		})
	}
	if err != nil {
		return err
	}
	if o.counted {
		c.Out.EndArray(all, int(n))
	} else if n == 0 {
		c.Out.Null()
	}
	return nil
}
