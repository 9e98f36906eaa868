package commands

import (
	"math"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/types/str"
)

// Refusals of LCS that no other command shares.
const (
	errLCSTooLong = Error("ERR String too long for LCS")
	errLCSMemory  = Error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
)

// lcsOptions are the options of LCS.
type lcsOptions struct {
	length, ranges, withLength bool
	least                      int64
}

func (c *Call) parseLCS() (o lcsOptions, err error) {
	for i := 3; i < len(c.Args); i++ {
		switch {
		case c.Is(i, "IDX"):
			o.ranges = true
		case c.Is(i, "LEN"):
			o.length = true
		case c.Is(i, "WITHMATCHLEN"):
			o.withLength = true
		case c.Is(i, "MINMATCHLEN") && i+1 < len(c.Args):
			i++
			if o.least, err = c.int64At(i); err != nil {
				return o, err
			}
		default:
			return o, Error(resp.ErrSyntax)
		}
	}
	if o.ranges && o.length {
		return o, Error(resp.ErrLCSLenAndIdx)
	}
	return o, nil
}

func longestCommon(c *Call) error {
	var keys [2]keyspace.Entry
	for i := range keys {
		var err error
		if keys[i], err = c.Tx.Lookup(c.Args[1+i]); err != nil {
			return err
		}
		if e := &keys[i]; e.Found && e.Meta.Type != encoding.String {
			return Error(resp.ErrLCSWrongType)
		}
	}
	o, err := c.parseLCS()
	if err != nil {
		return err
	}
	aLen, bLen := keys[0].Meta.Length(), keys[1].Meta.Length()
	if max(aLen, bLen) >= math.MaxUint32-1 {
		return errLCSTooLong
	}
	if limit := c.Node.Config().Bytes(option.ProtoMaxBulkLen); str.LCSBytes(aLen, bLen) > limit {
		return errLCSMemory
	}
	a, err := c.Tx.String(&keys[0])
	if err != nil {
		return err
	}
	b, err := c.Tx.String(&keys[1])
	if err != nil {
		return err
	}
	l := str.NewLCS(a, b)
	switch {
	case o.ranges:
		c.writeLCSRanges(l, o)
	case o.length:
		c.Out.Int(int64(l.Len()))
	default:
		c.Out.Bulk(l.Bytes())
	}
	return nil
}

func (c *Call) writeLCSRanges(l *str.LCS, o lcsOptions) {
	c.Out.Map(2)
	c.Out.BulkString("matches")
	list, n := c.Out.Defer(), 0
	l.Ranges(func(m str.Match) {
		if int64(m.Len) < o.least {
			return
		}
		n++
		if o.withLength {
			c.Out.Array(3)
		} else {
			c.Out.Array(2)
		}
		for _, at := range [...]int{m.A, m.B} {
			c.Out.Array(2)
			c.Out.Int(int64(at))
			c.Out.Int(int64(at + m.Len - 1))
		}
		if o.withLength {
			c.Out.Int(int64(m.Len))
		}
	})
	c.Out.EndArray(list, n)
	c.Out.BulkString("len")
	c.Out.Int(int64(l.Len()))
}
