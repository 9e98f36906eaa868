package zset

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"haypile/internal/encoding"
)

// Pages count entries, so that ranks need no walk over all of them. They are a skip list that is kept in the store:
// on level 1 some entries, one in pageMean on average, are separators, chosen at random when they are inserted; a
// page reaches from its separator to the next one, and its row holds the number of entries in it. On level 2 some
// separators of level 1 are separators, and so on; each level has a first page, whose separator is the empty
// order. A new entry costs one count per level, a rank some pageMean rows per level.
//
// The choice is local: a replica's pages differ from its primary's. Nothing but the time of a rank depends on it,
// and nobody can contrive members that make it long.
const (
	pageBits = 6
	pageMean = 1 << pageBits
	// pageFirst is the number of entries, and of separators of the highest level, from which on there is another
	// level. Below it a walk is cheap.
	pageFirst = 4 * pageMean
	// maxLevels is more than entries can fill.
	maxLevels = 10
)

// pageKey is the sort key of a page; a nil separator is that of the first.
func pageKey(level int, separator []byte) []byte {
	return append([]byte{tableCount, byte(level)}, separator...)
}

func (z *ZSet) putPage(level int, separator []byte, count uint64) {
	tx, key, meta := z.Parts()
	tx.PutOrdered(key, meta, pageKey(level, separator), binary.AppendUvarint(nil, count))
}

func (z *ZSet) removePage(level int, separator []byte) {
	tx, key, meta := z.Parts()
	tx.RemoveOrdered(key, meta, pageKey(level, separator))
}

func parseCount(v []byte) (uint64, error) {
	n, size := binary.Uvarint(v)
	if size <= 0 {
		return 0, encoding.ErrCorrupt
	}
	return n, nil
}

// page is a page of a level.
type page struct {
	separator []byte // nil: the first
	count     uint64
}

// first is the first page of a level.
func (z *ZSet) first(level int) (page, error) {
	tx, key, meta := z.Parts()
	v, ok, err := tx.GetOrdered(key, meta, pageKey(level, nil))
	if err != nil {
		return page{}, err
	}
	if !ok {
		return page{}, fmt.Errorf("a sorted set without the first page of level %d: %w", level, encoding.ErrCorrupt)
	}
	n, err := parseCount(v)
	return page{count: n}, err
}

// lowest is where the separators of a level can begin.
func (z *ZSet) lowest(level int) []byte {
	if z.x.low != nil {
		return pageKey(level, z.x.low)
	}
	return pageKey(level, []byte{0})
}

// floor is the page of a level that holds an order; with before set, the page of what is before it.
func (z *ZSet) floor(level int, order []byte, before bool) (page, error) {
	end := pageKey(level, order)
	if !before {
		end = append(end, 0)
	}
	p, found := page{}, false
	tx, key, meta := z.Parts()
	var bad error
	if from := z.lowest(level); string(from) < string(end) {
		err := tx.ScanOrderedBack(key, meta, from, end, func(k, v []byte) bool {
			p.separator = append([]byte(nil), k[2:]...)
			p.count, bad = parseCount(v)
			found = true
			return false
		})
		if err != nil || bad != nil {
			return p, firstError(err, bad)
		}
	}
	if found {
		return p, nil
	}
	return z.first(level)
}

func firstError(err, bad error) error {
	if err != nil {
		return err
	}
	return bad
}

// insert counts an entry whose row has been stored.
func (z *ZSet) insert(order []byte) error {
	if z.bulk {
		return nil
	}
	if z.x.levels == 0 {
		if z.Len() < pageFirst {
			return nil
		}
		return z.build()
	}
	height := randomHeight(z.x.levels)
	if height == 0 {
		return z.adjust(1, order, +1)
	}
	path, rank, err := z.descend(order)
	if err != nil {
		return err
	}
	for level := 1; level <= z.x.levels; level++ {
		p := path[level]
		if level > height {
			z.putPage(level, p.separator, p.count+1)
			continue
		}
		left := rank - p.before
		z.putPage(level, p.separator, left)
		z.putPage(level, order, p.count-left+1)
	}
	if height == z.x.levels {
		return z.grow()
	}
	return nil
}

// adjust adds d to the pages of an order from a level on up.
func (z *ZSet) adjust(level int, order []byte, d int64) error {
	for ; level <= z.x.levels; level++ {
		p, err := z.floor(level, order, false)
		if err != nil {
			return err
		}
		z.putPage(level, p.separator, p.count+uint64(d))
	}
	return nil
}

// remove counts an entry whose row has been removed.
func (z *ZSet) remove(order []byte) error {
	if z.bulk {
		return nil
	}
	for level := 1; level <= z.x.levels; level++ {
		p, err := z.floor(level, order, false)
		if err != nil {
			return err
		}
		if string(p.separator) != string(order) {
			return z.adjust(level, order, -1) // it is no separator of the levels above either
		}
		prev, err := z.floor(level, order, true)
		if err != nil {
			return err
		}
		z.removePage(level, order)
		z.putPage(level, prev.separator, prev.count+p.count-1)
	}
	return nil
}

// move counts an entry that has another order. Inside a page nothing changes.
func (z *ZSet) move(was, order []byte) error {
	if z.x.levels == 0 || z.bulk {
		return nil
	}
	from, err := z.floor(1, was, false)
	if err != nil {
		return err
	}
	to, err := z.floor(1, order, false)
	if err != nil {
		return err
	}
	if string(from.separator) == string(to.separator) && string(from.separator) != string(was) {
		return nil
	}
	if err := z.remove(was); err != nil {
		return err
	}
	return z.insert(order)
}

// step is a page on the way to an order.
type step struct {
	page
	before uint64 // entries before the page
}

// descend finds the page of an order on each level, and its rank: the number of entries before it.
func (z *ZSet) descend(order []byte) (path [maxLevels + 1]step, rank uint64, err error) {
	var at []byte
	for level := z.x.levels; level >= 1; level-- {
		s := step{before: rank}
		err := z.pages(level, at, func(p page) bool {
			if string(p.separator) > string(order) {
				return false
			}
			s.before += s.count // the page before, if there is one
			s.page = page{append([]byte(nil), p.separator...), p.count}
			return true
		})
		if err != nil {
			return path, 0, err
		}
		path[level], rank, at = s, s.before, s.separator
	}
	err = z.walk(Range{at, order}, false, func([]byte) bool { rank++; return true })
	return path, rank, err
}

// pages visits the pages of a level from one on, until f says stop.
func (z *ZSet) pages(level int, from []byte, f func(page) (more bool)) error {
	if len(from) == 0 {
		p, err := z.first(level)
		if err != nil || !f(p) {
			return err
		}
	}
	start := z.lowest(level)
	if len(from) > 0 {
		start = pageKey(level, from)
	}
	tx, key, meta := z.Parts()
	var bad error
	err := tx.ScanOrdered(key, meta, start, []byte{tableCount, byte(level) + 1}, func(k, v []byte) bool {
		p := page{separator: k[2:]}
		if p.count, bad = parseCount(v); bad != nil {
			return false
		}
		return f(p)
	})
	return firstError(err, bad)
}

// rank is the number of entries before an order.
func (z *ZSet) rank(order []byte) (uint64, error) {
	if len(order) == 0 {
		return 0, nil
	}
	_, rank, err := z.descend(order)
	return rank, err
}

// Rank is the number of entries before an entry of the set.
func (z *ZSet) Rank(e Entry) (uint64, error) { return z.rank(appendOrder(nil, e.Score, e.Member)) }

// Count is the number of entries in a range.
func (z *ZSet) Count(r Range) (uint64, error) {
	if r.Empty() || z.Len() == 0 {
		return 0, nil
	}
	if z.x.levels == 0 {
		n := uint64(0)
		err := z.walk(r, false, func([]byte) bool { n++; return true })
		return n, err
	}
	from, err := z.rank(r.From)
	if err != nil {
		return 0, err
	}
	to := z.Len()
	if r.To != nil {
		if to, err = z.rank(r.To); err != nil {
			return 0, err
		}
	}
	return to - from, nil
}

// near is the number of entries that are walked over rather than looked up.
const near = 2 * pageMean

// From is the range that begins with the entry of a rank, which must be less than Len; backwards, the range that
// ends with the entry that has this rank from the end.
func (z *ZSet) From(rank uint64, back bool) (Range, error) {
	if back {
		order, err := z.find(z.Len()-1-rank, rank)
		return Range{To: successor(order)}, err
	}
	order, err := z.find(rank, z.Len()-1-rank)
	return Range{From: order}, err
}

// find is the order of the entry with a rank; left is how many are behind it.
func (z *ZSet) find(rank, left uint64) (order []byte, err error) {
	back := left < near && left < rank
	if back {
		rank = left
	}
	var at []byte
	if !back && rank >= near {
		for level := z.x.levels; level >= 1; level-- {
			err := z.pages(level, at, func(p page) bool {
				at = append([]byte(nil), p.separator...)
				if rank < p.count {
					return false
				}
				rank -= p.count
				return true
			})
			if err != nil {
				return nil, err
			}
		}
	}
	err = z.walk(Range{From: at}, back, func(o []byte) bool {
		if rank == 0 {
			order = append([]byte(nil), o...)
		}
		rank--
		return order == nil
	})
	if err == nil && order == nil {
		err = fmt.Errorf("a sorted set has fewer entries than it counts: %w", encoding.ErrCorrupt)
	}
	return order, err
}

// randomHeight is the number of levels on which a new entry is a separator.
func randomHeight(levels int) (height int) {
	for height < levels && rand.N(pageMean) == 0 {
		height++
	}
	return height
}

// grow adds a level when the highest has become long.
func (z *ZSet) grow() error {
	if z.x.levels == maxLevels {
		return nil
	}
	top, n := z.x.levels, 0
	if err := z.pages(top, nil, func(page) bool { n++; return n < pageFirst }); err != nil || n < pageFirst {
		return err
	}
	b := builder{z: z, from: top + 1}
	var rows []page
	err := z.pages(top, nil, func(p page) bool {
		rows = append(rows, page{append([]byte(nil), p.separator...), p.count})
		return true
	})
	if err != nil {
		return err
	}
	b.levels = top + 1
	for i, p := range rows {
		if i > 0 && rand.N(pageMean) == 0 {
			b.separate(p.separator, b.levels)
		}
		b.add(p.count)
	}
	return b.finish()
}

// build makes all levels from the entries.
func (z *ZSet) build() error {
	b := builder{z: z, from: 1, levels: 1}
	for n := z.Len(); n >= pageFirst*pageMean; n /= pageMean {
		b.levels++
	}
	first := true
	err := z.walk(All, false, func(order []byte) bool {
		if h := randomHeight(b.levels); h > 0 && !first {
			b.separate(order, h)
		}
		first = false
		b.add(1)
		return true
	})
	if err != nil {
		return err
	}
	return b.finish()
}

// builder makes the pages of the levels from from to levels in one pass.
type builder struct {
	z            *ZSet
	from, levels int
	open         [maxLevels + 1]page
}

func (b *builder) add(n uint64) {
	for l := b.from; l <= b.levels; l++ {
		b.open[l].count += n
	}
}

// separate ends the open pages up to a level.
func (b *builder) separate(order []byte, level int) {
	separator := append([]byte(nil), order...)
	for l := b.from; l <= level; l++ {
		b.z.putPage(l, b.open[l].separator, b.open[l].count)
		b.open[l] = page{separator: separator}
	}
}

func (b *builder) finish() error {
	for l := b.from; l <= b.levels; l++ {
		b.z.putPage(l, b.open[l].separator, b.open[l].count)
	}
	b.z.x.levels, b.z.changed = b.levels, true
	return nil
}

// removeLevels deletes the first pages, the only ones that an empty set still has.
func (z *ZSet) removeLevels() {
	for level := 1; level <= z.x.levels; level++ {
		z.removePage(level, nil)
	}
	z.x = extra{}
}
