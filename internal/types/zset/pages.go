package zset

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"haypile/internal/encoding"
)

// Pages count entries, so that ranks need no walk over all of them. They are a skip list that is kept in the store:
// on level 1 some entries, one in pageMean on average, are separators, chosen at random when they are inserted; a
// page reaches from its separator to the next one, and its row holds the number of entries in it. On level 2 some
// separators of level 1 are separators, and so on; each level has a first page, whose separator is the empty
// order. A new entry costs one count per level. The tree (tree.go) is what is kept of them in memory.
//
// The choice is local: a replica's pages differ from its primary's. Nothing but the time of a rank depends on it,
// and nobody can contrive members that make it long.
const (
	pageBits = 6
	pageMean = 1 << pageBits
	// pageFirst is the number of entries, and of separators of the highest level, from which on there is another
	// level.
	pageFirst = 4 * pageMean
	// maxLevels is more than entries can fill.
	maxLevels = 10
)

// pageKey is the sort key of a page; a nil separator is that of the first.
func pageKey(level int, separator []byte) []byte {
	return append([]byte{tableCount, byte(level)}, separator...)
}

// putPage stores a page. The first of a level is looked up, the others are only walked over.
func (z *ZSet) putPage(level int, separator []byte, count uint64) {
	tx, key, meta := z.Parts()
	if len(separator) == 0 {
		tx.PutOrdered(key, meta, pageKey(level, nil), binary.AppendUvarint(nil, count))
	} else {
		tx.PutIndex(key, meta, pageKey(level, separator), binary.AppendUvarint(nil, count))
	}
}

func (z *ZSet) removePage(level int, separator []byte) {
	tx, key, meta := z.Parts()
	if len(separator) == 0 {
		tx.RemoveOrdered(key, meta, pageKey(level, nil))
	} else {
		tx.RemoveIndex(key, meta, pageKey(level, separator))
	}
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

// pages reads the pages of a level with separators of [from, to); a nil from is the first page, a nil to no end.
func (z *ZSet) pages(level int, from, to []byte, f func(page) (more bool)) error {
	tx, key, meta := z.Parts()
	start := pageKey(level, from)
	if len(from) == 0 {
		v, ok, err := tx.GetOrdered(key, meta, start)
		if err == nil && !ok {
			err = fmt.Errorf("a sorted set without the first page of level %d: %w", level, encoding.ErrCorrupt)
		}
		if err != nil {
			return err
		}
		n, err := parseCount(v)
		if err != nil || !f(page{count: n}) {
			return err
		}
		// No separator is before the bound; what was is a tombstone.
		if start = pageKey(level, []byte{0}); z.x.low != nil {
			start = pageKey(level, z.x.low)
		}
	}
	end := []byte{tableCount, byte(level) + 1}
	if to != nil {
		end = pageKey(level, to)
	}
	if string(start) >= string(end) {
		return nil
	}
	var bad error
	err := tx.ScanOrdered(key, meta, start, end, func(k, v []byte) bool {
		p := page{separator: k[2:]}
		if p.count, bad = parseCount(v); bad != nil {
			return false
		}
		return f(p)
	})
	return cmp.Or(err, bad)
}

// insert counts an entry whose row has not been stored yet.
func (z *ZSet) insert(order []byte) error {
	if z.bulk {
		return nil
	}
	height := randomHeight(z.x.levels)
	if _, err := z.descend(z.form(), order, height > 0); err != nil {
		return err
	}
	return z.insertAt(order, height)
}

// insertAt inserts an entry that is a separator on as many levels as height says. Where to was read before.
func (z *ZSet) insertAt(order []byte, height int) error {
	t := z.own()
	p, err := z.descend(t, order, height > 0)
	if err != nil {
		return err
	}
	// right is the part of a page that is cut off at a new separator, left the number of entries of that page
	// before it.
	var right *node
	left := uint64(0)
	if p.leaf != nil {
		t.size.Add(int64(len(order)) + 4)
		at := p.leaf.find(order)
		left = uint64(at)
		if height > 0 {
			right = p.leaf.splitLeaf(at)
			right.insertEntry(0, order)
			t.size.Add(nodeOverhead)
		} else {
			p.leaf.insertEntry(at, order)
		}
	}
	for level := 1; level <= p.levels; level++ {
		s := p.step[level]
		count := s.n.counts[s.page] + 1
		before := s.n.before(s.page)
		if level > height {
			s.n.counts[s.page] = count
			z.putPage(level, s.separator(), count)
			continue
		}
		s.n.counts[s.page] = left
		z.putPage(level, s.separator(), left)
		separator := append([]byte(nil), order...)
		s.n.insertPage(s.page+1, separator, count-left, right)
		z.putPage(level, separator, count-left)
		t.size.Add(int64(len(order)) + pageOverhead)
		if level < height {
			right = s.n.splitBranch(s.page + 1)
			t.size.Add(nodeOverhead)
		}
		left += before
	}
	if height > 0 && height == p.levels && len(p.step[height].n.counts) >= pageFirst {
		return z.grow(p.step[height].n)
	}
	return nil
}

// remove counts an entry whose row has not been removed yet.
func (z *ZSet) remove(order []byte) error {
	if z.bulk {
		return nil
	}
	if err := z.prepareRemove(z.form(), order); err != nil {
		return err
	}
	t := z.own()
	p, err := z.descend(t, order, false)
	if err != nil {
		return err
	}
	if p.leaf != nil {
		if at := p.leaf.find(order); at < len(p.leaf.ends) && string(p.leaf.order(at)) == string(order) {
			p.leaf.removeEntry(at)
			t.size.Add(-int64(len(order)) - 4)
		}
	}
	height := p.height(order)
	for level := p.levels; level > height; level-- {
		s := p.step[level]
		s.n.counts[s.page]--
		z.putPage(level, s.separator(), s.n.counts[s.page])
	}
	if height > 0 {
		return z.merge(t, p.step[height].n, height, p.step[height].page)
	}
	return nil
}

// height is the number of levels on which an order is a separator.
func (p *path) height(order []byte) (h int) {
	for h < p.levels && string(p.step[h+1].separator()) == string(order) {
		h++
	}
	return h
}

// prepareRemove reads what remove needs: the way to the order, and, if it is a separator, that to its predecessor.
func (z *ZSet) prepareRemove(t *tree, order []byte) error {
	p, err := z.descend(t, order, false)
	if err != nil {
		return err
	}
	h := p.height(order)
	if h == 0 {
		return nil
	}
	s := p.step[h]
	n, err := z.lastBranch(t, s.n, h, s.page-1)
	if err != nil {
		return err
	}
	page := s.page - 1
	if h > 1 {
		page = len(n.children) - 1
	}
	return z.completePair(t, &p, &n.children[page], n.separators[page])
}

// completePair reads the entries of one of two pages that are going to be merged, those of the page where a path ends
// and of the one before it, if the other's are there: of one page made of both they would be of no use. That goes on
// until all are there, so it is done only where there is room for them.
func (z *ZSet) completePair(t *tree, p *path, before *atomic.Pointer[node], from []byte) error {
	s := p.step[1]
	at := &s.n.children[s.page]
	tx, _, _ := z.Parts()
	if (before.Load() == nil) == (at.Load() == nil) || t.Size() > tx.FormBudget()/2 {
		return nil
	}
	missing, to := before, s.separator()
	if before.Load() != nil {
		missing, from, to = at, to, p.end
	}
	n, err := z.load(0, from, to)
	if err == nil {
		t.complete(missing, n)
	}
	return err
}

// lastBranch reads the branches from a page on the given level down to its last page of level 1.
func (z *ZSet) lastBranch(t *tree, n *node, level, page int) (*node, error) {
	for ; level > 1; level-- {
		child := n.children[page].Load()
		if child == nil {
			var end []byte
			if page+1 < len(n.separators) {
				end = n.separators[page+1]
			}
			loaded, err := z.load(level-1, n.separators[page], end)
			if err != nil {
				return nil, err
			}
			child = t.complete(&n.children[page], loaded)
		}
		n, page = child, len(child.separators)-1
	}
	return n, nil
}

// merge makes one of a page and the one before it, whose separator is no entry any more, on the level and those
// below. One entry less is counted.
func (z *ZSet) merge(t *tree, n *node, level, page int) error {
	if page == 0 {
		return fmt.Errorf("the first page of level %d has the separator %x: %w", level, n.separators[0], encoding.ErrCorrupt)
	}
	n.counts[page-1] += n.counts[page] - 1
	z.putPage(level, n.separators[page-1], n.counts[page-1])
	z.removePage(level, n.separators[page])
	t.size.Add(-int64(len(n.separators[page])) - pageOverhead)
	a, b := n.children[page-1].Load(), n.children[page].Load()
	n.removePage(page)
	if level == 1 {
		// Half a page is of no use.
		switch {
		case a != nil && b != nil:
			for i := range b.ends {
				a.appendEntry(b.order(i))
			}
			t.size.Add(-nodeOverhead)
		case a != nil:
			n.children[page-1].Store(nil)
			t.size.Add(-a.size())
			t.whole.Store(false)
		case b != nil:
			t.size.Add(-b.size())
		}
		return nil
	}
	if a == nil || b == nil {
		return fmt.Errorf("merging pages of level %d that were not read", level)
	}
	at := len(a.separators)
	a.joinBranch(b)
	return z.merge(t, a, level-1, at)
}

// move counts an entry that gets another order. Inside a page only its entries change. A separator stays one: chosen
// anew it would mostly become none, and a set whose scores change without end would lose its pages.
func (z *ZSet) move(was, order []byte) error {
	if z.bulk {
		return nil
	}
	t := z.form()
	from, err := z.descend(t, was, false)
	if err != nil {
		return err
	}
	if height := from.height(was); height > 0 || !from.holds(order) {
		if _, err := z.descend(t, order, false); err != nil {
			return err
		}
		// All is read before the first change: the tree is lost if that fails later.
		if height > 0 {
			if _, err := z.descend(t, order, true); err != nil {
				return err
			}
		}
		if err := z.remove(was); err != nil {
			return err
		}
		return z.insertAt(order, height)
	}
	if owned := z.own(); owned != t {
		// The store has forgotten the tree meanwhile.
		if from, err = z.descend(owned, was, false); err != nil {
			return err
		}
		t = owned
	}
	at := &t.root
	if s := from.step[1]; from.levels > 0 {
		at = &s.n.children[s.page]
	}
	// One that is not there, perhaps taken out of the tree meanwhile, is read from the rows when it is needed.
	if leaf := at.Load(); leaf != nil {
		leaf.replaceEntry(was, order)
		t.size.Add(int64(len(order) - len(was)))
	}
	return nil
}

// holds reports whether the page of level 1 at which a path ends is that of an order, too.
func (p *path) holds(order []byte) bool {
	return bytes.Compare(p.from(), order) <= 0 && (p.end == nil || bytes.Compare(order, p.end) < 0)
}

// rank is the number of entries before an order.
func (z *ZSet) rank(order []byte) (uint64, error) {
	if len(order) == 0 || z.Len() == 0 {
		return 0, nil
	}
	if z.bulk {
		n := uint64(0)
		err := z.scan(Range{To: order}, false, func([]byte) bool { n++; return true })
		return n, err
	}
	p, err := z.descend(z.form(), order, true)
	if err != nil {
		return 0, err
	}
	return p.rank + uint64(p.leaf.find(order)), nil
}

// Rank is the number of entries before an entry of the set.
func (z *ZSet) Rank(e Entry) (uint64, error) { return z.rank(appendOrder(nil, e.Score, e.Member)) }

// Count is the number of entries in a range.
func (z *ZSet) Count(r Range) (uint64, error) {
	if r.Empty() || z.Len() == 0 {
		return 0, nil
	}
	from, to, err := z.ranks(r)
	return to - from, err
}

// ranks are the numbers of entries before a range, and before its end.
func (z *ZSet) ranks(r Range) (from, to uint64, err error) {
	if from, err = z.rank(r.From); err != nil {
		return 0, 0, err
	}
	if to = z.Len(); r.To != nil {
		if to, err = z.rank(r.To); err != nil {
			return 0, 0, err
		}
	}
	return from, to, nil
}

// From is the range that begins with the entry of a rank, which must be less than Len; backwards, the range that
// ends with the entry that has this rank from the end.
func (z *ZSet) From(rank uint64, back bool) (Range, error) {
	if back {
		order, err := z.at(z.Len() - 1 - rank)
		return Range{To: successor(order)}, err
	}
	order, err := z.at(rank)
	return Range{From: order}, err
}

// at is the order of the entry with a rank.
func (z *ZSet) at(rank uint64) ([]byte, error) {
	t := z.form()
	at, from, to := &t.root, []byte(nil), []byte(nil)
	for level := z.x.levels; ; level-- {
		n := at.Load()
		if n == nil {
			loaded, err := z.load(level, from, to)
			if err != nil {
				return nil, err
			}
			n = t.complete(at, loaded)
		}
		if level == 0 {
			if rank >= uint64(len(n.ends)) {
				return nil, fmt.Errorf("a page of a sorted set has fewer entries than it counts: %w", encoding.ErrCorrupt)
			}
			return bytes.Clone(n.order(int(rank))), nil
		}
		i := 0
		for i < len(n.counts)-1 && rank >= n.counts[i] {
			rank -= n.counts[i]
			i++
		}
		if from = n.separators[i]; i+1 < len(n.separators) {
			to = n.separators[i+1]
		}
		at = &n.children[i]
	}
}

// randomHeight is the number of levels on which a new entry is a separator.
func randomHeight(levels int) (height int) {
	for height < levels && rand.N(pageMean) == 0 {
		height++
	}
	return height
}

// grow adds a level when the highest, which is the root, has become long.
func (z *ZSet) grow(root *node) error {
	if z.x.levels == maxLevels {
		return nil
	}
	b := builder{z: z, from: z.x.levels + 1, levels: z.x.levels + 1}
	for i, s := range root.separators {
		if i > 0 && rand.N(pageMean) == 0 {
			b.separate(s, b.levels)
		}
		b.add(root.counts[i])
	}
	b.finish()
	z.dropTree()
	return nil
}

// build makes all levels from the entries, whose rows have been stored.
func (z *ZSet) build() error {
	b := builder{z: z, from: 1, levels: 1}
	for n := z.Len(); n >= pageFirst*pageMean; n /= pageMean {
		b.levels++
	}
	first := true
	err := z.scan(All, false, func(order []byte) bool {
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
	b.finish()
	return nil
}

// removeLevels deletes the first pages, the only ones that an empty set still has, and forgets the tree.
func (z *ZSet) removeLevels() {
	for level := 1; level <= z.x.levels; level++ {
		z.removePage(level, nil)
	}
	z.x = extra{}
	z.dropTree()
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

func (b *builder) finish() {
	for l := b.from; l <= b.levels; l++ {
		b.z.putPage(l, b.open[l].separator, b.open[l].count)
	}
	b.z.x.levels, b.z.changed = b.levels, true
}
