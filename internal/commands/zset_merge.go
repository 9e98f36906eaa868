package commands

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"haypile/internal/keyevent"
	"haypile/internal/resp"
	"haypile/internal/types/zset"
)

// mergeQuery is what ZUNION and its kin ask for.
type mergeQuery struct {
	sources []zset.Source
	agg     zset.Aggregate
	scores  bool
}

// parseMerge reads numkeys key [key ...] and options from args[at] on. scored operations have weights and an
// aggregation; what is not stored may be asked for with its scores.
func (c *Call) parseMerge(at int, scored, stores bool) (q mergeQuery, err error) {
	n, err := c.int64At(at)
	if err != nil {
		return q, err
	}
	if n < 1 {
		return q, Error(resp.NeedsInputKey(strings.ToLower(c.Cmd.Name)))
	}
	at++
	if n > int64(len(c.Args)-at) {
		return q, Error(resp.ErrSyntax)
	}
	q.agg = zset.Sum
	options := at + int(n)
	for ; at < options; at++ {
		s, err := zset.OpenSource(c.Tx, c.Args[at])
		if err != nil {
			return q, typed(err)
		}
		if stores && s.Len() == 0 {
			c.notify(keyevent.Miss, "keymiss", c.Args[at])
		}
		q.sources = append(q.sources, s)
	}
	for ; at < len(c.Args); at++ {
		switch {
		case scored && c.Is(at, "WEIGHTS") && len(c.Args)-at > int(n):
			for i := range q.sources {
				at++
				weight, ok := resp.ParseFloat(c.Args[at])
				if !ok {
					return q, Error(resp.ErrWeightNotFloat)
				}
				q.sources[i].Weight = weight
			}
		case scored && c.Is(at, "AGGREGATE") && at+1 < len(c.Args):
			at++
			switch c.Arg(at) {
			case "SUM":
				q.agg = zset.Sum
			case "MIN":
				q.agg = zset.Min
			case "MAX":
				q.agg = zset.Max
			default:
				return q, Error(resp.ErrSyntax)
			}
		case !stores && c.Is(at, "WITHSCORES"):
			q.scores = true
		default:
			return q, Error(resp.ErrSyntax)
		}
	}
	if scored {
		// Redis adds up scores in this order, and the sum of floating point numbers depends on it.
		slices.SortStableFunc(q.sources, func(a, b zset.Source) int { return cmp.Compare(a.Len(), b.Len()) })
	}
	return q, nil
}

// answerMerged makes the function of a command that answers what an operation on several sets gives.
func answerMerged(op zset.Operation, scored bool) func(*Call) error {
	return func(c *Call) error {
		q, err := c.parseMerge(1, scored, false)
		if err != nil {
			return err
		}
		var found []zset.Entry
		size := 0
		err = op(q.sources, q.agg, func(e zset.Entry) bool {
			found = append(found, zset.Entry{Member: bytes.Clone(e.Member), Score: e.Score})
			size += len(e.Member)
			return size <= maxStoredBytes
		})
		if err != nil {
			return err
		}
		if size > maxStoredBytes {
			return errTooLarge
		}
		slices.SortFunc(found, func(a, b zset.Entry) int {
			return cmp.Or(cmp.Compare(a.Score, b.Score), bytes.Compare(a.Member, b.Member))
		})
		nested := q.scores && c.Out.Proto >= 3
		size = len(found)
		if q.scores && !nested {
			size *= 2
		}
		list, n := c.Out.DeferArray(size), 0
		for _, e := range found {
			n += c.writeEntry(e, q.scores, nested)
		}
		c.Out.EndArray(list, n)
		return nil
	}
}

// storeMerged makes the function of a command that stores that.
func storeMerged(op zset.Operation, scored bool) func(*Call) error {
	return func(c *Call) error {
		q, err := c.parseMerge(2, scored, true)
		if err != nil {
			return err
		}
		return c.storeEntries(func(visit func(zset.Entry) bool) error { return op(q.sources, q.agg, visit) })
	}
}

func zInterCard(c *Call) error {
	n, err := c.int64At(1)
	switch {
	case err != nil:
		return err
	case n < 1:
		return Error(resp.NeedsInputKey("zintercard"))
	case n > int64(len(c.Args)-2):
		return Error(resp.ErrSyntax)
	}
	to, limit := 2+int(n), int64(0)
	sources := make([]zset.Source, 0, n)
	for _, key := range c.Args[2:to] {
		s, err := zset.OpenSource(c.Tx, key)
		if err != nil {
			return typed(err)
		}
		sources = append(sources, s)
	}
	for i := to; i < len(c.Args); i += 2 {
		if !c.Is(i, "LIMIT") || i+1 == len(c.Args) {
			return Error(resp.ErrSyntax)
		}
		var ok bool
		if limit, ok = resp.ParseInt(c.Args[i+1]); !ok || limit < 0 {
			return Error(resp.ErrLimitNegative)
		}
	}
	found := int64(0)
	err = zset.Intersect(sources, zset.Sum, func(zset.Entry) bool {
		found++
		return limit == 0 || found < limit
	})
	c.Out.Int(found)
	return err
}
