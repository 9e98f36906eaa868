package commands

import (
	"math"

	"haypile/internal/resp"
	"haypile/internal/types/zset"
)

// rangeBy is what the bounds of a range of entries are.
type rangeBy uint8

const (
	byRank rangeBy = iota
	byScore
	byLex
)

// rangeQuery is what ZRANGE and its kin ask for.
type rangeQuery struct {
	by     rangeBy
	rev    bool
	fixed  bool // by and rev come of the command's name, not of options
	stores bool
	scores bool
	// skip and count are of LIMIT; a negative count is no limit.
	limited     bool
	skip, count int64
}

// parse reads the options from args[i] on.
func (q *rangeQuery) parse(c *Call, i int) error {
	q.count = -1
	for ; i < len(c.Args); i++ {
		switch {
		case !q.stores && c.Is(i, "WITHSCORES"):
			q.scores = true
		case c.Is(i, "LIMIT") && i+2 < len(c.Args):
			var err error
			if q.skip, err = c.int64At(i + 1); err != nil {
				return err
			}
			if q.count, err = c.int64At(i + 2); err != nil {
				return err
			}
			q.limited = true
			i += 2
		case !q.fixed && c.Is(i, "REV"):
			q.rev = true
		case !q.fixed && q.by == byRank && c.Is(i, "BYLEX"):
			q.by = byLex
		case !q.fixed && q.by == byRank && c.Is(i, "BYSCORE"):
			q.by = byScore
		default:
			return Error(resp.ErrSyntax)
		}
	}
	switch {
	case q.limited && q.count != -1 && q.by == byRank:
		return Error(resp.ErrZRangeLimit)
	case q.scores && q.by == byLex:
		return Error(resp.ErrZRangeScoresLex)
	}
	return nil
}

// bound is the start or the end of a range of scores or names.
type bound struct {
	score     float64
	name      []byte
	exclusive bool
	infinite  int // -1 and 1: before and behind all names
}

func parseScoreBound(b []byte) (bound, error) {
	var v bound
	if len(b) > 0 && b[0] == '(' {
		v.exclusive, b = true, b[1:]
	}
	if len(b) == 0 {
		return v, nil // Redis reads nothing as 0
	}
	var ok bool
	if v.score, ok = resp.ParseFloat(b); !ok {
		return v, Error(resp.ErrMinMaxFloat)
	}
	return v, nil
}

func parseLexBound(b []byte) (bound, error) {
	switch {
	case string(b) == "-":
		return bound{infinite: -1}, nil
	case string(b) == "+":
		return bound{infinite: 1}, nil
	case len(b) > 0 && (b[0] == '(' || b[0] == '['):
		return bound{name: b[1:], exclusive: b[0] == '('}, nil
	}
	return bound{}, Error(resp.ErrMinMaxLex)
}

// bounds are those at args[at] and args[at+1], in the order in which they stand for the direction.
type bounds struct {
	by          rangeBy
	min, max    bound
	start, stop int64
}

func (c *Call) parseBounds(at int, by rangeBy, rev bool) (b bounds, err error) {
	b.by = by
	if by == byRank {
		if b.start, err = c.int64At(at); err == nil {
			b.stop, err = c.int64At(at + 1)
		}
		return b, err
	}
	parse := parseScoreBound
	if by == byLex {
		parse = parseLexBound
	}
	low, high := at, at+1
	if rev {
		low, high = high, low
	}
	if b.min, err = parse(c.Args[low]); err == nil {
		b.max, err = parse(c.Args[high])
	}
	return b, err
}

// resolve finds where in the set the bounds are, and how many entries a range of ranks may have at most. Ranks count
// from the end if rev is set; the range is then to be walked backwards.
func (b *bounds) resolve(z *zset.ZSet, rev bool) (r zset.Range, most uint64, err error) {
	if z.Len() == 0 {
		return r, 0, nil
	}
	switch b.by {
	case byScore:
		return zset.Scores(b.min.score, b.max.score, b.min.exclusive, b.max.exclusive), math.MaxUint64, nil
	case byLex:
		r, err := b.names(z)
		return r, math.MaxUint64, err
	}
	start, most := b.ranks(z.Len())
	if most == 0 {
		return r, 0, nil
	}
	r, err = z.From(start, rev)
	return r, most, err
}

// ranks is the first of a range of ranks among n entries, and how many it has.
func (b *bounds) ranks(n uint64) (first, most uint64) {
	length := int64(n)
	start, stop := b.start, b.stop
	if start < 0 {
		start = max(start+length, 0)
	}
	if stop < 0 {
		stop += length
	}
	stop = min(stop, length-1)
	if start > stop || start >= length {
		return 0, 0
	}
	return uint64(start), uint64(stop - start + 1)
}

// names is the range of members between two names, among those with the score of the first entry.
func (b *bounds) names(z *zset.ZSet) (zset.Range, error) {
	var r zset.Range
	empty := zset.Range{From: []byte{1}, To: []byte{0}}
	if b.min.infinite > 0 || b.max.infinite < 0 {
		return empty, nil
	}
	err := z.Walk(zset.All, false, func(e zset.Entry) bool {
		if b.min.infinite == 0 {
			r.From = zset.Position(e.Score, b.min.name, b.min.exclusive)
		}
		if b.max.infinite == 0 {
			r.To = zset.Position(e.Score, b.max.name, !b.max.exclusive)
		}
		return false
	})
	return r, err
}

// visit walks the entries that a query at args[at] asks for.
func (q rangeQuery) visit(z *zset.ZSet, b *bounds, f func(zset.Entry) (more bool)) error {
	r, most, err := b.resolve(z, q.rev)
	if err != nil || most == 0 || q.skip < 0 || q.count == 0 && q.by != byRank {
		return err
	}
	skip := uint64(q.skip)
	if q.by != byRank && skip >= skipByRank {
		if r, most, err = q.skipTo(z, r, skip); err != nil || most == 0 {
			return err
		}
		skip = 0
	}
	if q.count > 0 && q.by != byRank {
		most = min(most, uint64(q.count))
	}
	return z.Walk(r, q.rev, func(e zset.Entry) bool {
		if skip > 0 {
			skip--
			return true
		}
		most--
		return f(e) && most > 0
	})
}

// skipByRank is the number of entries from which on LIMIT finds its start by rank, not by walking.
const skipByRank = 256

// skipTo moves the start of a range, or backwards its end, by so many entries; most is 0 if none is left.
func (q rangeQuery) skipTo(z *zset.ZSet, r zset.Range, skip uint64) (zset.Range, uint64, error) {
	n, err := z.Count(r)
	if err != nil || skip >= n {
		return r, 0, err
	}
	var outside uint64
	if q.rev {
		outside, err = z.Count(zset.Range{From: r.To})
		if r.To == nil {
			outside = 0
		}
	} else {
		outside, err = z.Count(zset.Range{To: r.From})
		if len(r.From) == 0 {
			outside = 0
		}
	}
	if err != nil {
		return r, 0, err
	}
	at, err := z.From(outside+skip, q.rev)
	if q.rev {
		r.To = at.To
	} else {
		r.From = at.From
	}
	return r, n - skip, err
}

// answer is the function of the commands that answer a range.
func (q rangeQuery) answer(c *Call) error {
	if err := q.parse(c, 4); err != nil {
		return err
	}
	b, err := c.parseBounds(2, q.by, q.rev)
	if err != nil {
		return err
	}
	z, err := c.openZSet(1)
	if err != nil {
		return err
	}
	nested := q.scores && c.Out.Proto >= 3
	list, n := c.beginRange(q, &b, z.Len(), nested), 0
	err = q.visit(&z, &b, func(e zset.Entry) bool {
		n += c.writeEntry(e, q.scores, nested)
		return true
	})
	c.Out.EndArray(list, n)
	return err
}

// beginRange begins the reply to a query, with its length if it can be told without looking.
func (c *Call) beginRange(q rangeQuery, b *bounds, length uint64, nested bool) resp.Aggregate {
	if q.by != byRank || q.limited {
		return c.Out.Defer()
	}
	_, n := b.ranks(length)
	if q.scores && !nested {
		n *= 2
	}
	return c.Out.DeferArray(int(n))
}

// zRangeStore stores a range. The destination may be the source: the new set has a collection of its own.
func zRangeStore(c *Call) error {
	q := rangeQuery{stores: true}
	if err := q.parse(c, 5); err != nil {
		return err
	}
	b, err := c.parseBounds(3, q.by, q.rev)
	if err != nil {
		return err
	}
	z, err := c.openZSet(2)
	if err != nil {
		return err
	}
	c.notifyMiss(z.Key())
	return c.storeEntries(func(visit func(zset.Entry) bool) error { return q.visit(&z, &b, visit) })
}

// storeEntries stores what walk visits at args[1] and answers how much that is.
func (c *Call) storeEntries(walk func(func(zset.Entry) bool) error) error {
	e, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	dst := zset.Begin(c.Tx, e, 0)
	err = walk(func(e zset.Entry) bool {
		dst.Fill(e.Member, e.Score)
		return true
	})
	if err != nil {
		return err
	}
	return c.storeWhole(&e, dst.Len(), func(event string) error { return c.saveZSet(&dst, event, true) })
}

// openRange reads the sorted set at args[1] and finds the range between args[2] and args[3] in it.
func (c *Call) openRange(by rangeBy) (z zset.ZSet, r zset.Range, most uint64, err error) {
	b, err := c.parseBounds(2, by, false)
	if err != nil {
		return z, r, 0, err
	}
	if z, err = c.openZSet(1); err != nil {
		return z, r, 0, err
	}
	r, most, err = b.resolve(&z, false)
	return z, r, most, err
}

// removeRange makes the function of ZREMRANGEBYRANK and its kin.
func removeRange(by rangeBy) func(*Call) error {
	return func(c *Call) error {
		z, r, most, err := c.openRange(by)
		if err != nil {
			return err
		}
		n := uint64(0)
		if most > 0 && !r.Empty() {
			if n, err = z.RemoveRange(r, false, most, nil); err != nil {
				return err
			}
		}
		c.Out.Int(int64(n))
		return c.saveZSet(&z, string(lowerASCII([]byte(c.Cmd.Name))), n > 0)
	}
}

func zCount(c *Call) error { return c.countRange(byScore) }

func zLexCount(c *Call) error { return c.countRange(byLex) }

func (c *Call) countRange(by rangeBy) error {
	z, r, most, err := c.openRange(by)
	if err != nil {
		return err
	}
	n := uint64(0)
	if most > 0 {
		if n, err = z.Count(r); err != nil {
			return err
		}
	}
	c.Out.Int(int64(n))
	return nil
}
