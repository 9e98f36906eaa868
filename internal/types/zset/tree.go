package zset

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"sort"
	"sync/atomic"

	"haypile/internal/keyspace"
)

// tree is the form of a sorted set in memory (see keyspace.Form): its pages, and the entries of some of them. It
// is a search tree over the pages of all levels; below a page of level 1 stand the page's entries. What is not
// there yet is read when it is needed. Readers share the tree and complete it; only who owns it changes what it
// has.
type tree struct {
	root atomic.Pointer[node]
	size atomic.Int64
	// whole: everything is there, since the set was empty.
	whole atomic.Bool
}

// Size implements keyspace.Form.
func (t *tree) Size() int64 { return t.size.Load() }

// Shrink implements keyspace.Shrinker: the entries of pages go, first those that nobody looked at since the last
// time. The branches stay: who has read the way to a page relies on it (see own).
func (t *tree) Shrink(target int64) {
	for _, unused := range []bool{true, false} {
		if root := t.root.Load(); root != nil && !root.leaf {
			t.shrink(root, target, unused)
		}
	}
}

func (t *tree) shrink(branch *node, target int64, unused bool) {
	start := rand.N(len(branch.children)) // so that not always the same end is spared
	for i := range branch.children {
		if t.Size() <= target {
			return
		}
		at := &branch.children[(start+i)%len(branch.children)]
		switch n := at.Load(); {
		case n == nil:
		case !n.leaf:
			t.shrink(n, target, unused)
		case unused && n.used.Swap(false):
		case at.CompareAndSwap(n, nil):
			t.size.Add(-n.size())
		}
	}
}

// use marks a leaf as looked at.
func (n *node) use() *node {
	if n.leaf && !n.used.Load() {
		n.used.Store(true)
	}
	return n
}

// node is a leaf or a branch.
type node struct {
	// A branch has the pages of one level that stand in one page of the level above, or, as the root, all of the
	// highest level: their separators, counts, and what is in them, nil if that was not read.
	separators [][]byte
	counts     []uint64
	children   []atomic.Pointer[node]

	// A leaf has the orders of the entries of a page: entry i ends at ends[i].
	buf  []byte
	ends []uint32
	leaf bool
	// used is set when somebody looks at a leaf, and taken back when the tree shrinks.
	used atomic.Bool
}

// nodeOverhead and pageOverhead are the memory that a node and a page in it take beside their bytes.
const (
	nodeOverhead = 150
	pageOverhead = 48
)

func (n *node) size() int64 {
	size := nodeOverhead + len(n.buf) + 4*len(n.ends)
	for _, s := range n.separators {
		size += len(s) + pageOverhead
	}
	return int64(size)
}

// page is the number of the page of a branch that holds an order.
func (n *node) page(order []byte) int {
	return sort.Search(len(n.separators)-1, func(i int) bool { return bytes.Compare(n.separators[i+1], order) > 0 })
}

// before is the number of entries in the pages of a branch before one.
func (n *node) before(page int) (entries uint64) {
	for _, c := range n.counts[:page] {
		entries += c
	}
	return entries
}

// insertPage puts a page into a branch.
func (n *node) insertPage(at int, separator []byte, count uint64, child *node) {
	n.separators = slices.Insert(n.separators, at, separator)
	n.counts = slices.Insert(n.counts, at, count)
	moved := make([]atomic.Pointer[node], len(n.children)+1, len(n.children)+1+len(n.children)/4)
	if cap(n.children) > len(n.children) {
		moved = n.children[:len(n.children)+1]
	} else {
		for i := range at {
			moved[i].Store(n.children[i].Load())
		}
	}
	for i := len(n.children); i > at; i-- {
		moved[i].Store(n.children[i-1].Load())
	}
	moved[at].Store(child)
	n.children = moved
}

// removePage takes a page out of a branch.
func (n *node) removePage(at int) {
	n.separators = slices.Delete(n.separators, at, at+1)
	n.counts = slices.Delete(n.counts, at, at+1)
	for i := at; i < len(n.children)-1; i++ {
		n.children[i].Store(n.children[i+1].Load())
	}
	n.children[len(n.children)-1].Store(nil)
	n.children = n.children[:len(n.children)-1]
}

// splitBranch moves the pages from one on into a new branch.
func (n *node) splitBranch(at int) *node {
	right := &node{separators: slices.Clone(n.separators[at:]), counts: slices.Clone(n.counts[at:]),
		children: make([]atomic.Pointer[node], len(n.children)-at)}
	for i := range right.children {
		right.children[i].Store(n.children[at+i].Load())
		n.children[at+i].Store(nil)
	}
	clear(n.separators[at:])
	n.separators, n.counts, n.children = n.separators[:at], n.counts[:at], n.children[:at]
	return right
}

// joinBranch appends the pages of another branch.
func (n *node) joinBranch(o *node) {
	for i := range o.separators {
		n.insertPage(len(n.separators), o.separators[i], o.counts[i], o.children[i].Load())
	}
}

// order is that of entry i of a leaf.
func (n *node) order(i int) []byte {
	return n.buf[n.start(i):n.ends[i]:n.ends[i]]
}

func (n *node) start(i int) uint32 {
	if i == 0 {
		return 0
	}
	return n.ends[i-1]
}

// find is the number of entries of a leaf before an order.
func (n *node) find(order []byte) int {
	return sort.Search(len(n.ends), func(i int) bool { return bytes.Compare(n.order(i), order) >= 0 })
}

// appendEntry puts an entry behind all of a leaf.
func (n *node) appendEntry(order []byte) {
	n.buf = append(n.buf, order...)
	n.ends = append(n.ends, uint32(len(n.buf)))
}

// insertEntry puts an entry into a leaf.
func (n *node) insertEntry(at int, order []byte) {
	start := n.start(at)
	n.buf = slices.Insert(n.buf, int(start), order...)
	n.ends = slices.Insert(n.ends, at, start)
	for i := at; i < len(n.ends); i++ {
		n.ends[i] += uint32(len(order))
	}
}

// removeEntry takes entry at out of a leaf.
func (n *node) removeEntry(at int) {
	start, end := n.start(at), n.ends[at]
	n.buf = slices.Delete(n.buf, int(start), int(end))
	n.ends = slices.Delete(n.ends, at, at+1)
	for i := at; i < len(n.ends); i++ {
		n.ends[i] -= end - start
	}
}

// replaceEntry puts an entry in the place of another one, which it is if that is there.
func (n *node) replaceEntry(was, order []byte) {
	at := n.find(was)
	if at == len(n.ends) || string(n.order(at)) != string(was) {
		n.insertEntry(n.find(order), order)
		return
	}
	stays := len(order) == len(was) && (at == 0 || bytes.Compare(n.order(at-1), order) < 0) &&
		(at+1 == len(n.ends) || bytes.Compare(order, n.order(at+1)) < 0)
	if stays {
		copy(n.order(at), order)
		return
	}
	n.removeEntry(at)
	n.insertEntry(n.find(order), order)
}

// splitLeaf moves the entries from one on into a new leaf.
func (n *node) splitLeaf(at int) *node {
	right := &node{leaf: true}
	for i := at; i < len(n.ends); i++ {
		right.appendEntry(n.order(i))
	}
	n.buf, n.ends = n.buf[:n.start(at)], n.ends[:at]
	return right
}

// step is a branch on the way to an order, and the page there.
type step struct {
	n    *node
	page int
}

// separator is that of the page.
func (s step) separator() []byte { return s.n.separators[s.page] }

// path is the way to an order: path[l] is the step on level l.
type path struct {
	levels int
	step   [maxLevels + 1]step
	// rank is the number of entries before the page of level 1.
	rank uint64
	// end is where that page ends; nil if it is the last.
	end  []byte
	leaf *node // nil if it was not read
}

// from is where the page of level 1 begins; nil for the first, or if there are no pages.
func (p *path) from() []byte {
	if p.levels == 0 {
		return nil
	}
	return p.step[1].separator()
}

// form is the tree to read.
func (z *ZSet) form() *tree {
	tx, _, meta := z.Parts()
	return tx.Form(meta.ID, z.newTree).(*tree)
}

// own is the tree to change. What a change needs of it must have been read before: a form that was taken and not
// changed is lost.
func (z *ZSet) own() *tree {
	tx, _, meta := z.Parts()
	return tx.OwnForm(meta.ID, z.newTree).(*tree)
}

// newTree has nothing, except where there is nothing.
func (z *ZSet) newTree() keyspace.Form {
	t := &tree{}
	if z.Len() == 0 && z.x.levels == 0 {
		t.root.Store(&node{leaf: true})
		t.whole.Store(true)
	}
	return t
}

// Several is asked before a command changes several members. Under HotOnly it fails with ErrCold unless all is in
// memory: noticed after the first change, a page that is not would cost the tree, which cannot be rolled back.
func (z *ZSet) Several() error {
	if tx, _, _ := z.Parts(); tx.InMemory() && z.x.levels > 0 && !z.form().whole.Load() {
		return keyspace.ErrCold
	}
	return nil
}

// dropTree forgets the tree after a change of the rows that it did not see. REQUIRES: own was called.
func (z *ZSet) dropTree() {
	tx, _, meta := z.Parts()
	tx.DropForm(meta.ID)
}

// complete puts a node that was read where it belongs, unless somebody else did. What it returns may have been
// forgotten again (see Shrink) where the tree is shared; where it is owned, it is in the tree.
func (t *tree) complete(at *atomic.Pointer[node], n *node) *node {
	if at.CompareAndSwap(nil, n) {
		t.size.Add(n.size())
		return n
	}
	return cmp.Or(at.Load(), n)
}

// descend finds the way to an order, and reads what is missing of it: the entries only with leaf set.
func (z *ZSet) descend(t *tree, order []byte, leaf bool) (p path, err error) {
	p.levels = z.x.levels
	at, from := &t.root, []byte(nil)
	for level := p.levels; ; level-- {
		n := at.Load()
		if n == nil {
			if level == 0 && !leaf {
				return p, nil
			}
			if n, err = z.load(level, from, p.end); err != nil {
				return p, err
			}
			n = t.complete(at, n)
		}
		if level == 0 {
			p.leaf = n.use()
			return p, nil
		}
		i := n.page(order)
		p.step[level] = step{n, i}
		p.rank += n.before(i)
		if i+1 < len(n.separators) {
			p.end = n.separators[i+1]
		}
		at, from = &n.children[i], n.separators[i]
	}
}

// descendBefore finds the way to the last page that begins before an order; nil is the end.
func (z *ZSet) descendBefore(t *tree, order []byte) (p path, err error) {
	p.levels = z.x.levels
	at, from := &t.root, []byte(nil)
	for level := p.levels; level > 0; level-- {
		n := at.Load()
		if n == nil {
			if n, err = z.load(level, from, p.end); err != nil {
				return p, err
			}
			n = t.complete(at, n)
		}
		i := len(n.separators) - 1
		if order != nil {
			if i = n.page(order); i > 0 && bytes.Equal(n.separators[i], order) {
				i--
			}
		}
		p.step[level] = step{n, i}
		if i+1 < len(n.separators) {
			p.end = n.separators[i+1]
		}
		at, from = &n.children[i], n.separators[i]
	}
	if p.leaf = at.Load(); p.leaf != nil {
		p.leaf.use()
	}
	return p, nil
}

// load reads what is in [from, to): the pages of a level, or, on level 0, the entries.
func (z *ZSet) load(level int, from, to []byte) (*node, error) {
	if level == 0 {
		n := &node{leaf: true}
		err := z.scan(Range{from, to}, false, func(order []byte) bool { n.appendEntry(order); return true })
		return n, err
	}
	n := &node{}
	err := z.pages(level, from, to, func(p page) bool {
		n.separators = append(n.separators, bytes.Clone(p.separator))
		n.counts = append(n.counts, p.count)
		return true
	})
	n.children = make([]atomic.Pointer[node], len(n.separators))
	return n, err
}

// takeAhead is the number of pages that are read at once where entries are taken off one after the other: each
// reading makes the engine take what is pending.
const takeAhead = 8

// loadLeaf reads the entries of the page that a path ends at, and of some that follow if they will be wanted.
func (z *ZSet) loadLeaf(t *tree, p *path, back bool) (*node, error) {
	if p.levels == 0 {
		n, err := z.load(0, nil, nil)
		if err != nil {
			return nil, err
		}
		return t.complete(&t.root, n), nil
	}
	b, first, last := p.step[1].n, p.step[1].page, p.step[1].page
	if z.takes && back {
		first = max(0, first-takeAhead+1)
	} else if z.takes {
		last = min(len(b.separators)-1, last+takeAhead-1)
	}
	end := p.end
	if last > p.step[1].page {
		if last == len(b.separators)-1 {
			last-- // where the last page of the branch ends is not known here
		}
		end = b.separators[last+1]
	}
	leaves := make([]*node, last-first+1)
	for i := range leaves {
		leaves[i] = &node{leaf: true}
	}
	at := 0
	err := z.scan(Range{b.separators[first], end}, false, func(order []byte) bool {
		for at+1 < len(leaves) && bytes.Compare(order, b.separators[first+at+1]) >= 0 {
			at++
		}
		leaves[at].appendEntry(order)
		return true
	})
	if err != nil {
		return nil, err
	}
	for i, n := range leaves {
		n = t.complete(&b.children[first+i], n)
		if first+i == p.step[1].page {
			p.leaf = n.use()
		}
	}
	return p.leaf, nil
}
