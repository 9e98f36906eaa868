package commands

import (
	"math"
	"strconv"

	"haypile/internal/encoding"
	"haypile/internal/glob"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
	"haypile/internal/slot"
	"haypile/internal/types/members"
)

// scanOptions are those of SCAN and its kin.
type scanOptions struct {
	count   int
	pattern []byte // nil: everything matches
	typ     []byte // nil: any
}

// defaultCount is the number of elements that a page looks at unless COUNT says otherwise.
const defaultCount = 10

// parseScan reads the options from argument i on; TYPE is one if keys are scanned.
func (c *Call) parseScan(i int, keys bool) (o scanOptions, err error) {
	o.count = defaultCount
	for ; i < len(c.Args); i += 2 {
		if i+1 == len(c.Args) {
			return o, Error(resp.ErrSyntax)
		}
		value := c.Args[i+1]
		switch {
		case c.Is(i, "COUNT"):
			n, ok := resp.ParseInt(value)
			if !ok {
				return o, Error(resp.ErrNotInteger)
			}
			if n < 1 {
				return o, Error(resp.ErrSyntax)
			}
			o.count = int(min(n, math.MaxInt32))
		case c.Is(i, "MATCH"):
			if o.pattern = value; string(value) == "*" {
				o.pattern = nil
			}
		case keys && c.Is(i, "TYPE"):
			o.typ = value
		default:
			return o, Error(resp.ErrSyntax)
		}
	}
	return o, nil
}

func (o *scanOptions) matches(name []byte) bool {
	return o.pattern == nil || glob.Match(o.pattern, name, false)
}

func (o *scanOptions) matchesType(t encoding.Type) bool {
	return o.typ == nil || string(lowerASCII(o.typ)) == t.String()
}

// lowerASCII is b in lower case.
func lowerASCII(b []byte) []byte {
	out := make([]byte, len(b))
	for i, ch := range b {
		if 'A' <= ch && ch <= 'Z' {
			ch += 'a' - 'A'
		}
		out[i] = ch
	}
	return out
}

// cursorAt reads argument i as a cursor.
func (c *Call) cursorAt(i int) (uint64, error) {
	n, err := strconv.ParseUint(string(c.Args[i]), 10, 64)
	if err != nil {
		return 0, Error(resp.ErrInvalidCursor)
	}
	return n, nil
}

// writePage replies with a cursor and the n elements that fill writes.
func (c *Call) writePage(fill func(out *resp.Writer) (next uint64, n int, err error)) error {
	page := resp.Writer{Proto: c.Out.Proto}
	next, n, err := fill(&page)
	if err != nil {
		return err
	}
	c.Out.Array(2)
	c.Out.BulkString(strconv.FormatUint(next, 10))
	c.Out.Array(n)
	c.Out.Raw(page.Buf)
	return nil
}

// scan answers a page of keys. The cursor is the position of the next key: its slot and hash. A page never
// ends between keys of equal slot and hash, so that what exists from the beginning to the end of a walk is
// met exactly once.
func scan(c *Call) error {
	cursor, err := c.cursorAt(1)
	if err != nil {
		return err
	}
	n, hash, ok := encoding.ParseCursor(cursor)
	if !ok {
		return Error(resp.ErrInvalidCursor)
	}
	o, err := c.parseScan(2, true)
	if err != nil {
		return err
	}
	return c.writePage(func(out *resp.Writer) (next uint64, found int, err error) {
		seen, last := 0, uint64(0)
		err = c.Tx.ScanKeys(c.Tx.DB(), n, hash, func(k *keyspace.FoundKey) bool {
			at := encoding.Cursor(k.Slot, k.Hash)
			full := seen >= o.count || seen >= pageLeast && len(out.Buf) >= maxPageBytes
			if full && at != last {
				next = at
				return false
			}
			seen, last = seen+1, at
			if o.matches(k.User) && o.matchesType(k.Meta.Type) {
				out.Bulk(k.User)
				found++
			}
			return true
		})
		return next, found, err
	})
}

func keys(c *Call) error {
	o := scanOptions{pattern: c.Args[1]}
	if string(o.pattern) == "*" {
		o.pattern = nil
	}
	all, n := c.Out.Defer(), 0
	err := c.Tx.ScanKeys(c.Tx.DB(), slot.Slot(0), 0, func(k *keyspace.FoundKey) bool {
		if o.matches(k.User) {
			c.Out.Bulk(k.User)
			n++
		}
		return true
	})
	c.Out.EndArray(all, n)
	return err
}

func randomKey(c *Call) error {
	k, err := c.Tx.RandomKey()
	if err != nil {
		return err
	}
	c.writeString(k != nil, k)
	return nil
}

// maxPageBytes bounds a page of HSCAN or SSCAN that would answer a small value whole, as Redis does, and any page of more
// than pageLeast elements, whatever COUNT says.
const (
	maxPageBytes = 1 << 20
	pageLeast    = 64 << 10
)

// scanMembers answers a page of the members of the hash, set or sorted set at args[1], with what value writes for
// each, if it is not nil. One of up to entries members is answered whole if it is not large.
func (c *Call) scanMembers(open func() (*members.Members, error), entries int64, value func(*resp.Writer, []byte)) error {
	cursor, err := c.cursorAt(2)
	if err == nil && cursor >= encoding.HashEnd {
		err = Error(resp.ErrInvalidCursor)
	}
	if err != nil {
		return err
	}
	m, err := open()
	if err != nil {
		return err
	}
	if m.Len() == 0 {
		return c.writePage(func(*resp.Writer) (next uint64, n int, err error) { return 0, 0, nil })
	}
	o, err := c.parseScan(3, false)
	if err != nil {
		return err
	}
	page := o.count
	if m.Len() <= uint64(entries) {
		page = max(page, int(entries))
	}
	return c.writePage(func(out *resp.Writer) (next uint64, n int, err error) {
		next, err = m.Page(cursor, page, min(o.count, pageLeast), maxPageBytes, func(el keyspace.Element) {
			if !o.matches(el.Member) {
				return
			}
			out.Bulk(el.Member)
			n++
			if value != nil {
				value(out, el.Value)
				n++
			}
		})
		return next, n, err
	})
}
