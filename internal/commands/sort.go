package commands

import (
	"bytes"
	"cmp"
	"slices"

	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
	"haypile/internal/types/hash"
	"haypile/internal/types/list"
	"haypile/internal/types/set"
	"haypile/internal/types/zset"
)

const sortDiffers = "Names are compared byte by byte, whatever the locale. Patterns of BY and GET are refused by a proxy " +
	"of several shards, and only there. Members of a set that are not sorted come in the order of their hashes."

var sortCommands = []*Command{
	genericFamily.command("SORT", "1.0.0", -2, writeGrow|command.Heavy, command.KeySpec{},
		"SORT key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]",
		sortCost, "Answers or stores the elements of a list, set or sorted set, sorted.", sortRun(true)).sorts(true),
	genericFamily.command("SORT_RO", "7.0.0", -2, command.ReadOnly|command.Heavy, command.KeySpec{},
		"SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]",
		sortCost, "Answers the elements of a list, set or sorted set, sorted.", sortRun(false)).sorts(false),
}

const sortCost = "O(N*log(N)) for N elements, in memory; a look-up for every element and pattern."

// sorts gives SORT its keys: the first argument, the last STORE, and those that patterns name, which nobody can know
// before.
func (c *Command) sorts(stores bool) *Command {
	c.ACL = []string{"set", "sortedset", "list", "dangerous"}
	c.Differs = sortDiffers
	unknown := func(a command.Access) command.KeySpec { return command.KeySpec{Find: command.FindUnknown, Access: a} }
	c.Keys = []command.KeySpec{command.One(1, accessGet), unknown(accessGet)}
	if stores {
		c.Keys = append(c.Keys, unknown(accessStore))
	}
	c.KeysFunc = func(dst []command.KeyRef, args [][]byte) ([]command.KeyRef, error) {
		if len(args) < 2 {
			return dst, command.ErrBadKeys
		}
		dst, to := append(dst, command.KeyRef{Pos: 1, Access: accessGet}), 0
		for i := 2; i < len(args); i++ {
			switch {
			case EqualWord(args[i], "LIMIT"):
				i += 2
			case EqualWord(args[i], "GET"), EqualWord(args[i], "BY"):
				i++
			case stores && EqualWord(args[i], "STORE") && i+1 < len(args):
				to = i + 1
			}
		}
		if to > 0 {
			dst = append(dst, command.KeyRef{Pos: to, Access: accessStore})
		}
		return dst, nil
	}
	c.Beyond = func(args [][]byte) string {
		for i := 2; i+1 < len(args); i++ {
			for _, option := range []string{"BY", "GET"} {
				if EqualWord(args[i], option) && bytes.IndexByte(args[i+1], '*') >= 0 {
					return option
				}
			}
		}
		return ""
	}
	return c
}

// sortQuery is what SORT asks for.
type sortQuery struct {
	desc, alpha bool
	// unsorted: BY names no key. The elements come in their own order.
	unsorted     bool
	by           *pattern
	gets         []pattern
	start, count int64 // a negative count is no limit
	to           []byte
}

// pattern names a key, or a field of a hash, for an element.
type pattern struct {
	self, names           bool // the element itself; none of both is nothing
	prefix, suffix, field []byte
}

func parsePattern(p []byte) pattern {
	star := bytes.IndexByte(p, '*')
	switch {
	case string(p) == "#":
		return pattern{self: true}
	case star < 0:
		return pattern{}
	}
	q := pattern{names: true, prefix: p[:star], suffix: p[star+1:]}
	if at := bytes.Index(q.suffix, []byte("->")); at >= 0 && at+2 < len(q.suffix) {
		q.suffix, q.field = q.suffix[:at], q.suffix[at+2:]
	}
	return q
}

// lookup reads what a pattern stands for.
func (p *pattern) lookup(tx *keyspace.Txn, element []byte) (value []byte, found bool, err error) {
	if !p.names {
		return element, p.self, nil
	}
	e, err := tx.Lookup(slices.Concat(p.prefix, element, p.suffix))
	switch {
	case err != nil || !e.Found:
		return nil, false, err
	case p.field == nil:
		if e.Meta.Type != encoding.String {
			return nil, false, nil
		}
		value, err = tx.String(&e)
		return value, err == nil, err
	case e.Meta.Type != encoding.Hash:
		return nil, false, nil
	}
	h, err := hash.At(tx, e)
	if err != nil {
		return nil, false, err
	}
	return h.Get(p.field)
}

func (c *Call) parseSort(stores bool) (q sortQuery, err error) {
	q.count = -1
	for i := 2; i < len(c.Args); i++ {
		more := len(c.Args) - 1 - i
		switch {
		case c.Is(i, "ASC"):
			q.desc = false
		case c.Is(i, "DESC"):
			q.desc = true
		case c.Is(i, "ALPHA"):
			q.alpha = true
		case c.Is(i, "LIMIT") && more >= 2:
			if q.start, err = c.int64At(i + 1); err != nil {
				return q, err
			}
			if q.count, err = c.int64At(i + 2); err != nil {
				return q, err
			}
			i += 2
		case stores && c.Is(i, "STORE") && more >= 1:
			q.to = c.Args[i+1]
			i++
		case c.Is(i, "BY") && more >= 1:
			p := parsePattern(c.Args[i+1])
			if bytes.IndexByte(c.Args[i+1], '*') < 0 {
				q.unsorted = true
			} else if !c.mayReadAll() {
				return q, Error(resp.SortDenied("BY"))
			}
			q.by = &p
			i++
		case c.Is(i, "GET") && more >= 1:
			if !c.mayReadAll() {
				return q, Error(resp.SortDenied("GET"))
			}
			q.gets = append(q.gets, parsePattern(c.Args[i+1]))
			i++
		default:
			return q, Error(resp.ErrSyntax)
		}
	}
	return q, nil
}

// mayReadAll reports whether the client may read every key, as patterns ask for.
func (c *Call) mayReadAll() bool {
	if c.Tx.Applying() || c.Client == nil {
		return true
	}
	a := c.Client.Account()
	return a == nil || a.User().MayReadAll(&c.Cmd.Spec, c.Args)
}

// within is the range of n elements that LIMIT leaves.
func (q *sortQuery) within(n int64) (from, to int64) {
	from, to = min(max(q.start, 0), n), n
	if q.count >= 0 {
		to = from + min(q.count, n-from)
	}
	return from, to
}

// sortItem is an element with what it is sorted by.
type sortItem struct {
	value  []byte
	score  float64
	weight []byte // nil: there is none
}

// sortRun makes the function of SORT and SORT_RO.
func sortRun(stores bool) func(*Call) error {
	return func(c *Call) error {
		q, err := c.parseSort(stores)
		if err != nil {
			return err
		}
		e, err := c.Tx.Lookup(c.Args[1])
		if err != nil {
			return err
		}
		c.notifyMiss(&e)
		if e.Found && e.Meta.Type == encoding.Set && q.unsorted && q.to != nil {
			// What is stored must not depend on an order that is our own.
			q.unsorted, q.alpha, q.by = false, true, nil
		}
		items, err := c.sortItems(&q, e)
		if err != nil {
			return err
		}
		if q.to != nil {
			return c.storeSorted(&q, items)
		}
		return c.answerSorted(&q, items)
	}
}

// sortItems are the elements to answer or store, in order.
func (c *Call) sortItems(q *sortQuery, e keyspace.Entry) (items []sortItem, err error) {
	size := 0
	add := func(v []byte) bool {
		size += len(v)
		items = append(items, sortItem{value: append([]byte{}, v...)})
		return size <= maxStoredBytes
	}
	limited, err := q.collect(c.Tx, e, add)
	switch {
	case err != nil:
		return nil, typed(err)
	case q.unsorted && limited:
		return items, checkSize(size)
	case !q.unsorted:
		if err := c.weigh(q, items, &size); err != nil {
			return nil, err
		}
		slices.SortStableFunc(items, q.compare)
	}
	from, to := q.within(int64(len(items)))
	return items[from:to], checkSize(size)
}

// checkSize refuses what would not fit into one transaction.
func checkSize(size int) error {
	if size > maxStoredBytes {
		return errTooLarge
	}
	return nil
}

// collect visits the elements of the value; limited says that they are what LIMIT leaves, in the order wanted.
func (q *sortQuery) collect(tx *keyspace.Txn, e keyspace.Entry, add func([]byte) bool) (limited bool, err error) {
	if !e.Found {
		return false, nil
	}
	switch e.Meta.Type {
	case encoding.Set:
		s, err := set.At(tx, e)
		if err != nil {
			return false, err
		}
		return false, s.Scan(0, func(el keyspace.Element) bool { return add(el.Member) })
	case encoding.List:
		l, err := list.At(tx, e)
		if err != nil {
			return false, err
		}
		from, to := int64(0), int64(l.Len())
		if q.unsorted {
			from, to = q.within(to)
			if q.desc {
				return true, l.WalkBack(l.Len()-uint64(from), uint64(to-from), add)
			}
		}
		return q.unsorted, l.Walk(uint64(from), uint64(to-from), add)
	case encoding.ZSet:
		z, err := zset.At(tx, e)
		if err != nil {
			return false, err
		}
		if !q.unsorted {
			return false, z.Walk(zset.All, false, func(m zset.Entry) bool { return add(m.Member) })
		}
		from, to := q.within(int64(z.Len()))
		if from >= to {
			return true, nil
		}
		r, err := z.From(uint64(from), q.desc)
		if err != nil {
			return false, err
		}
		return true, z.Walk(r, q.desc, func(m zset.Entry) bool {
			from++
			return add(m.Member) && from < to
		})
	}
	return false, zset.ErrWrongType
}

// weigh finds what each element is sorted by.
func (c *Call) weigh(q *sortQuery, items []sortItem, size *int) error {
	invalid := false
	mem := c.Tx.Scratch()
	for i := range items {
		c.Tx.Forget(mem)
		it := &items[i]
		by, found := it.value, true
		if q.by != nil {
			var err error
			if by, found, err = q.by.lookup(c.Tx, it.value); err != nil {
				return err
			}
		}
		switch {
		case !found:
		case !q.alpha:
			var ok bool
			if it.score, ok = weight(by); !ok {
				invalid = true
			}
		case q.by != nil:
			it.weight = append([]byte{}, by...)
			if *size += len(by); *size > maxStoredBytes {
				return checkSize(*size)
			}
		default:
			it.weight = it.value
		}
	}
	if invalid {
		return Error(resp.ErrSortNotDouble)
	}
	return nil
}

// weight reads a number as C's strtod does: nothing is 0, and space may come before it.
func weight(b []byte) (float64, bool) {
	if len(b) == 0 {
		return 0, true
	}
	return resp.ParseFloat(bytes.TrimLeft(b, " \t\n\v\f\r"))
}

func (q *sortQuery) compare(a, b sortItem) int {
	var c int
	switch {
	case !q.alpha:
		c = cmp.Or(cmp.Compare(a.score, b.score), bytes.Compare(a.value, b.value))
	case a.weight == nil || b.weight == nil:
		c = cmp.Compare(bit(a.weight != nil), bit(b.weight != nil))
	default:
		c = bytes.Compare(a.weight, b.weight)
	}
	if q.desc {
		return -c
	}
	return c
}

// each visits the values of the reply: the elements, or what the patterns of GET stand for; nil is nothing.
func (q *sortQuery) each(tx *keyspace.Txn, items []sortItem, f func(value []byte) error) error {
	mem := tx.Scratch()
	for i := range items {
		tx.Forget(mem)
		if len(q.gets) == 0 {
			if err := f(items[i].value); err != nil {
				return err
			}
		}
		for j := range q.gets {
			v, found, err := q.gets[j].lookup(tx, items[i].value)
			switch {
			case err != nil:
				return err
			case !found:
				v = nil
			case v == nil:
				v = []byte{}
			}
			if err := f(v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Call) answerSorted(q *sortQuery, items []sortItem) error {
	c.Out.Array(len(items) * max(len(q.gets), 1))
	from := len(c.Out.Buf)
	return q.each(c.Tx, items, func(v []byte) error {
		c.writeString(v != nil, v)
		return checkSize(len(c.Out.Buf) - from)
	})
}

var wordRPush = []byte("RPUSH")

// sortBatch is the number of elements in one RPUSH of the log.
const sortBatch = 512

// storeSorted replaces the destination. The log gets the elements: a replica's patterns would find other keys if the
// log were not the only one to change them.
func (c *Call) storeSorted(q *sortQuery, items []sortItem) error {
	e, err := c.Tx.Lookup(q.to)
	if err != nil {
		return err
	}
	existed := e.Found
	dst, size := list.Begin(c.Tx, e, 0), 0
	var effects [][][]byte
	err = q.each(c.Tx, items, func(v []byte) error {
		if dst.Len()%sortBatch == 0 {
			effects = append(effects, [][]byte{wordRPush, q.to})
		}
		last := &effects[len(effects)-1]
		*last = append(*last, slices.Clone(v))
		size += len(v)
		if err := checkSize(size); err != nil {
			return err
		}
		return dst.PushRight(v)
	})
	if err != nil {
		return err
	}
	if existed {
		c.effect(wordDel, q.to)
	}
	c.Out.Int(int64(dst.Len()))
	if dst.Len() == 0 {
		if existed {
			_, err = c.Tx.Remove(&e)
			c.notify(keyevent.Generic, "del", q.to)
		}
		return err
	}
	for _, args := range effects {
		c.effect(args...)
	}
	if err := dst.Save(); err != nil {
		return err
	}
	c.notify(keyevent.List, "sortstore", q.to)
	return nil
}
