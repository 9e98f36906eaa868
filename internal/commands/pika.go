package commands

import (
	"bytes"
	"container/heap"
	"math"
	"slices"

	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
	"haypile/internal/slot"
)

// The commands of Pika that walk keys and fields in the order of their names. Pika stores them in that order; here
// they stand in the order of hashes, so that a page is found by looking at all of them and keeping its own.

const (
	pikaOnly  = "Not in Redis; known from Pika. "
	nameCost  = "O(N*log(LIMIT)) for all N keys of the database, for every page: names are not what keys are ordered by"
	fieldCost = "O(N*log(LIMIT)) for all N fields of the hash, for every page: names are not what fields are ordered by"
	rangeSlow = pikaOnly + "Pika's cost is that of the page; here each page looks at everything. SCAN and HSCAN do not."
)

var pikaCommands = []*Command{
	genericFamily.command("PKSCANRANGE", "3.0.0", -4, wholeSpace, command.KeySpec{},
		"PKSCANRANGE <STRING | STRING_WITH_VALUE | HASH | LIST | SET | ZSET> start end [MATCH pattern] [LIMIT limit]",
		nameCost, "Answers keys of a type from one name to another, in ascending order.",
		func(c *Call) error { return pkScanRange(c, false) }).ofOneNode().differs(rangeSlow),
	genericFamily.command("PKRSCANRANGE", "3.0.0", -4, wholeSpace, command.KeySpec{},
		"PKRSCANRANGE <STRING | STRING_WITH_VALUE | HASH | LIST | SET | ZSET> start end [MATCH pattern] [LIMIT limit]",
		nameCost, "Answers keys of a type from one name down to another, in descending order.",
		func(c *Call) error { return pkScanRange(c, true) }).ofOneNode().differs(rangeSlow),
	genericFamily.command("SCANX", "2.3.0", -3, wholeSpace, command.KeySpec{},
		"SCANX <STRING | HASH | LIST | SET | ZSET> start [MATCH pattern] [COUNT count]",
		nameCost, "Answers keys of a type from a name on, in ascending order.", scanX).ofOneNode().differs(rangeSlow),
	hashFamily.command("PKHSCANRANGE", "3.0.0", -4, command.ReadOnly, oneKey(accessGet),
		"PKHSCANRANGE key start end [MATCH pattern] [LIMIT limit]", fieldCost,
		"Answers fields of a hash from one name to another, in ascending order.",
		func(c *Call) error { return pkHScanRange(c, false) }).differs(rangeSlow),
	hashFamily.command("PKHRSCANRANGE", "3.0.0", -4, command.ReadOnly, oneKey(accessGet),
		"PKHRSCANRANGE key start end [MATCH pattern] [LIMIT limit]", fieldCost,
		"Answers fields of a hash from one name down to another, in descending order.",
		func(c *Call) error { return pkHScanRange(c, true) }).differs(rangeSlow),
	hashFamily.command("HSCANX", "2.3.0", -3, command.ReadOnly, oneKey(accessGet),
		"HSCANX key start [MATCH pattern] [COUNT count]", fieldCost,
		"Answers fields of a hash from a name on, in ascending order.", hScanX).differs(rangeSlow),
	genericFamily.command("PKPATTERNMATCHDEL", "2.3.0", -2, command.Write|command.Exclusive, command.KeySpec{},
		"PKPATTERNMATCHDEL pattern [type | count]",
		"O(N) keys of the database, while everything else waits",
		"Deletes keys whose names match a pattern, and answers how many.", pkPatternMatchDel).
		allShards(command.MergeSum).dangerous().
		differs(pikaOnly + "One call deletes at most 10000 keys, or count if it is given: call it until it answers 0."),
}

// ofOneNode refuses the command through a proxy.
func (c *Command) ofOneNode() *Command {
	c.Route, c.DeniedReason = command.RouteDenied, "it is about the keys of one node: use SCAN, or ask each node itself"
	return c
}

// allShards sends the command to all shards.
func (c *Command) allShards(m command.Merge) *Command {
	c.Route, c.Merge = command.RouteAllShards, m
	return c
}

// nameRange is a range of names, and the page of it that is being gathered: the first limit names. Both ends are
// inclusive; an empty one is no bound.
type nameRange struct {
	start, end []byte
	down       bool
	limit      int

	page  []named // a heap, the last of the page on top
	bytes int
	// next is the first name behind the page.
	next []byte
	more bool
}

type named struct{ name, value []byte }

// maxRangeBytes bounds a page in memory; a larger one ends earlier.
const maxRangeBytes = 16 << 20

// compare orders names in the direction of the range.
func (r *nameRange) compare(a, b []byte) int {
	if r.down {
		a, b = b, a
	}
	return bytes.Compare(a, b)
}

// check refuses a range that ends before it starts.
func (r *nameRange) check() error {
	if len(r.start) > 0 && len(r.end) > 0 && r.compare(r.start, r.end) > 0 {
		return Error(resp.ErrPikaRange)
	}
	return nil
}

// Len, Less, Swap, Push and Pop make the page a heap.
func (r *nameRange) Len() int           { return len(r.page) }
func (r *nameRange) Less(i, j int) bool { return r.compare(r.page[i].name, r.page[j].name) > 0 }
func (r *nameRange) Swap(i, j int)      { r.page[i], r.page[j] = r.page[j], r.page[i] }
func (r *nameRange) Push(x any)         { r.page = append(r.page, x.(named)) }

// Pop takes the last element of the slice: see container/heap.
func (r *nameRange) Pop() any {
	last := r.page[len(r.page)-1]
	r.page = r.page[:len(r.page)-1]
	return last
}

// takes reports whether a name belongs into the page as it is; otherwise add needs no value.
func (r *nameRange) takes(name []byte) bool {
	return (len(r.start) == 0 || r.compare(name, r.start) >= 0) && (len(r.end) == 0 || r.compare(name, r.end) <= 0) &&
		(!r.more || r.compare(name, r.next) <= 0) &&
		(len(r.page) < r.limit || r.compare(name, r.page[0].name) <= 0)
}

// add offers a name, which is copied, with its value.
func (r *nameRange) add(name, value []byte) {
	if len(r.start) > 0 && r.compare(name, r.start) < 0 || len(r.end) > 0 && r.compare(name, r.end) > 0 ||
		r.more && r.compare(name, r.next) > 0 {
		return
	}
	heap.Push(r, named{bytes.Clone(name), bytes.Clone(value)})
	r.bytes += len(name) + len(value)
	for len(r.page) > r.limit || r.bytes > maxRangeBytes && len(r.page) > 1 {
		last := heap.Pop(r).(named)
		r.bytes -= len(last.name) + len(last.value)
		// What is taken out is before whatever was taken out earlier: the page was whole up to there.
		r.next, r.more = last.name, true
	}
}

// write replies with the first name behind the page and with what of the page matches.
func (r *nameRange) write(c *Call, o *scanOptions, values bool) {
	slices.SortFunc(r.page, func(a, b named) int { return r.compare(a.name, b.name) })
	c.Out.Array(2)
	c.Out.Bulk(r.next)
	all, n := c.Out.Defer(), 0
	for _, el := range r.page {
		if !o.matches(el.name) {
			continue
		}
		c.Out.Bulk(el.name)
		n++
		if values {
			c.Out.Bulk(el.value)
			n++
		}
	}
	c.Out.EndArray(all, n)
}

// rangeOptions reads MATCH and the option that bounds the page from argument i on.
func (c *Call) rangeOptions(i int, bound string) (o scanOptions, err error) {
	o.count = defaultCount
	for ; i < len(c.Args); i += 2 {
		switch {
		case i+1 == len(c.Args):
			return o, Error(resp.ErrSyntax)
		case c.Is(i, "MATCH"):
			o.pattern = c.Args[i+1]
		case c.Is(i, bound):
			n, ok := resp.ParseInt(c.Args[i+1])
			if !ok || n < 1 {
				return o, Error(resp.ErrNotInteger)
			}
			o.count = int(min(n, math.MaxInt32))
		default:
			return o, Error(resp.ErrSyntax)
		}
	}
	return o, nil
}

// pikaType reads argument i as the name of a type.
func (c *Call) pikaType(i int) (typ encoding.Type, err error) {
	for _, t := range []encoding.Type{encoding.String, encoding.Hash, encoding.List, encoding.Set, encoding.ZSet} {
		if string(lowerASCII(c.Args[i])) == t.String() {
			return t, nil
		}
	}
	return encoding.None, Error(resp.ErrPikaType)
}

func pkScanRange(c *Call, down bool) error {
	typ, values := encoding.String, c.Is(1, "STRING_WITH_VALUE")
	if !values {
		var err error
		if typ, err = c.pikaType(1); err != nil {
			return err
		}
	}
	return c.scanNames(typ, values, &nameRange{start: c.Args[2], end: c.Args[3], down: down}, 4, "LIMIT")
}

func scanX(c *Call) error {
	typ, err := c.pikaType(1)
	if err != nil {
		return err
	}
	return c.scanNames(typ, false, &nameRange{start: c.Args[2]}, 3, "COUNT")
}

// scanNames answers a page of the keys of a type; options begin at argument i.
func (c *Call) scanNames(typ encoding.Type, values bool, r *nameRange, i int, bound string) error {
	o, err := c.rangeOptions(i, bound)
	if err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	r.limit = o.count
	if values {
		err = c.Tx.ScanStrings(c.Tx.DB(), func(k *keyspace.FoundKey, read func() ([]byte, error)) error {
			var value []byte
			if r.takes(k.User) {
				var err error
				if value, err = read(); err != nil {
					return err
				}
			}
			r.add(k.User, value)
			return nil
		})
	} else {
		err = c.Tx.ScanKeys(c.Tx.DB(), slot.Slot(0), 0, func(k *keyspace.FoundKey) bool {
			if k.Meta.Type == typ {
				r.add(k.User, nil)
			}
			return true
		})
	}
	if err != nil {
		return err
	}
	r.write(c, &o, values)
	return nil
}

func pkHScanRange(c *Call, down bool) error {
	return c.scanFields(&nameRange{start: c.Args[2], end: c.Args[3], down: down}, 4, "LIMIT")
}

func hScanX(c *Call) error { return c.scanFields(&nameRange{start: c.Args[2]}, 3, "COUNT") }

// scanFields answers a page of the fields of the hash at args[1]; options begin at argument i.
func (c *Call) scanFields(r *nameRange, i int, bound string) error {
	o, err := c.rangeOptions(i, bound)
	if err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	h, err := c.openHash()
	if err != nil {
		return err
	}
	r.limit = o.count
	err = h.Scan(0, func(el keyspace.Element) bool {
		r.add(el.Member, el.Value)
		return true
	})
	if err != nil {
		return err
	}
	r.write(c, &o, true)
	return nil
}

// patternDeletes bounds how many keys one PKPATTERNMATCHDEL deletes, for it holds everybody else back.
const patternDeletes = 10_000

func pkPatternMatchDel(c *Call) error {
	o, limit := scanOptions{pattern: c.Args[1]}, patternDeletes
	switch {
	case len(c.Args) > 3:
		return Error(resp.ErrSyntax)
	case len(c.Args) == 3:
		n, isCount := resp.ParseInt(c.Args[2])
		if isCount && (n < 1 || n > patternDeletes) {
			return Error(resp.ErrNotInteger)
		}
		if isCount {
			limit = int(n)
			break
		}
		if _, err := c.pikaType(2); err != nil {
			return err
		}
		o.typ = c.Args[2]
	}
	effect := [][]byte{wordDel}
	err := c.Tx.ScanKeys(c.Tx.DB(), slot.Slot(0), 0, func(k *keyspace.FoundKey) bool {
		if o.matches(k.User) && o.matchesType(k.Meta.Type) {
			effect = append(effect, bytes.Clone(k.User))
		}
		return len(effect) <= limit
	})
	if err != nil {
		return err
	}
	keys := effect[1:]
	c.Out.Int(int64(len(keys)))
	if len(keys) == 0 {
		return nil
	}
	for _, k := range keys {
		e, err := c.Tx.Lookup(k)
		if err == nil {
			_, err = c.Tx.Remove(&e)
		}
		if err != nil {
			return err
		}
		c.notify(keyevent.Generic, "del", k)
	}
	c.effect(effect...)
	return nil
}
