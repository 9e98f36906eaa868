// Package extent is a sequence of extents, runs of consecutive ordinals, found by the position of their elements: a
// counted B+tree. Its root is small and belongs to its owner; the other nodes are rows of their own.
//
// Every operation costs the height of the tree, and what it visits or drops. A Tree belongs to one goroutine. It
// trusts its callers with the order: positions beyond Len are a mistake of theirs and panic.
package extent

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Entry is an extent, N ordinals from Ref on, or in a node above the leaves a child: node Ref with N ordinals below.
type Entry struct{ Ref, N uint64 }

// End is the ordinal behind an extent.
func (e Entry) End() uint64 { return e.Ref + e.N }

// Store keeps the nodes below the root, by id.
type Store interface {
	Load(id uint64) ([]Entry, error)
	Save(id uint64, node []Entry)
	Drop(id uint64)
}

// Limits of nodes. The root is written with every change of a list, so it is small.
const (
	RootMost = 16
	NodeMost = 64
)

// Tree is a sequence of extents. The exported fields are its state; Store, and the limits where they are not
// the usual ones, are to be set before use.
type Tree struct {
	Root []Entry
	// Height is the number of levels below the root; at 0 the root holds extents.
	Height int
	// NextID is the id of the next new node.
	NextID uint64

	Store              Store
	RootMost, NodeMost int
}

func sum(es []Entry) (n uint64) {
	for _, e := range es {
		n += e.N
	}
	return n
}

// Len is the number of elements.
func (t *Tree) Len() uint64 { return sum(t.Root) }

func (t *Tree) rootMost() int {
	if t.RootMost == 0 {
		return RootMost
	}
	return t.RootMost
}

func (t *Tree) nodeMost() int {
	if t.NodeMost == 0 {
		return NodeMost
	}
	return t.NodeMost
}

// Insert puts an extent before the element at a position, which may be Len. An extent around the position is
// divided; one that e continues, or that continues e, takes it in.
func (t *Tree) Insert(at uint64, e Entry) error {
	root, err := t.insert(slices.Clone(t.Root), t.Height, at, e)
	if err != nil {
		return err
	}
	t.Root = root
	t.shape()
	return nil
}

func (t *Tree) insert(es []Entry, height int, at uint64, e Entry) ([]Entry, error) {
	if height == 0 {
		return insertExtent(es, at, e), nil
	}
	i := 0
	for i < len(es)-1 && at > es[i].N {
		at -= es[i].N
		i++
	}
	below, err := t.Store.Load(es[i].Ref)
	if err != nil {
		return nil, err
	}
	if below, err = t.insert(below, height-1, at, e); err != nil {
		return nil, err
	}
	return t.replace(es, i, i+1, below), nil
}

func insertExtent(es []Entry, at uint64, e Entry) []Entry {
	i := 0
	for i < len(es) && at >= es[i].N {
		at -= es[i].N
		i++
	}
	if at > 0 { // inside extent i
		left, right := Entry{es[i].Ref, at}, Entry{es[i].Ref + at, es[i].N - at}
		return slices.Replace(es, i, i+1, left, e, right)
	}
	switch {
	case i > 0 && es[i-1].End() == e.Ref:
		es[i-1].N += e.N
		return fuse(es, i)
	case i < len(es) && e.End() == es[i].Ref:
		es[i].Ref, es[i].N = e.Ref, es[i].N+e.N
		return es
	}
	return slices.Insert(es, i, e)
}

// fuse makes one extent of those at i-1 and i if they are one.
func fuse(es []Entry, i int) []Entry {
	if i > 0 && i < len(es) && es[i-1].End() == es[i].Ref {
		es[i-1].N += es[i].N
		return slices.Delete(es, i, i+1)
	}
	return es
}

// replace stores the entries below in place of the children from:to, in as many nodes as they need. Ids of
// the former children are used again.
func (t *Tree) replace(es []Entry, from, to int, below []Entry) []Entry {
	most := t.nodeMost()
	parts := (len(below) + most - 1) / most
	fresh := make([]Entry, 0, parts)
	for p := range parts {
		part := below[p*len(below)/parts : (p+1)*len(below)/parts]
		id := t.NextID
		if from+p < to {
			id = es[from+p].Ref
		} else {
			t.NextID++
		}
		t.Store.Save(id, part)
		fresh = append(fresh, Entry{id, sum(part)})
	}
	for i := from + parts; i < to; i++ {
		t.Store.Drop(es[i].Ref)
	}
	return slices.Replace(es, from, to, fresh...)
}

// shape gives a root that is too large a level below it. Where nodes are so small that their parents do not fit
// into the root either, it goes on.
func (t *Tree) shape() {
	for len(t.Root) > t.rootMost() {
		t.Root = t.replace(nil, 0, 0, t.Root)
		t.Height++
	}
}

// Remove takes the elements from:to out and tells which ordinals they had, in order.
func (t *Tree) Remove(from, to uint64, gone func(Entry)) error {
	if from == to {
		return nil
	}
	root, err := t.remove(slices.Clone(t.Root), t.Height, from, to, gone)
	if err != nil {
		return err
	}
	t.Root = root
	t.shape()
	for t.Height > 0 {
		switch len(t.Root) {
		case 0:
			t.Height = 0
			return nil
		case 1:
		default:
			return nil
		}
		below, err := t.Store.Load(t.Root[0].Ref)
		if err != nil {
			return err
		}
		// Half full, so that the next change does not undo it.
		if len(below) > t.rootMost()/2 {
			return nil
		}
		t.Store.Drop(t.Root[0].Ref)
		t.Root = below
		t.Height--
	}
	return nil
}

func (t *Tree) remove(es []Entry, height int, from, to uint64, gone func(Entry)) ([]Entry, error) {
	if height == 0 {
		return removeExtents(es, from, to, gone), nil
	}
	kept := make([]Entry, 0, len(es))
	var cut []int // those of kept that lost something
	for _, e := range es {
		n := e.N
		a, b := min(from, n), min(to, n)
		from, to = from-a, to-b
		if a == b {
			kept = append(kept, e)
			continue
		}
		if b-a == n {
			if err := t.drop(e, height-1, gone); err != nil {
				return nil, err
			}
			continue
		}
		below, err := t.Store.Load(e.Ref)
		if err != nil {
			return nil, err
		}
		if below, err = t.remove(below, height-1, a, b, gone); err != nil {
			return nil, err
		}
		cut = append(cut, len(kept))
		kept = append(kept, e)
		// One extent of a leaf may have become two.
		kept = t.replace(kept, len(kept)-1, len(kept), below)
	}
	slices.Reverse(cut) // what is joined behind does not move what stands before
	for _, i := range cut {
		var err error
		if kept, err = t.join(kept, i); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// join gives a child that has become small the entries of its neighbour.
func (t *Tree) join(es []Entry, i int) ([]Entry, error) {
	if i >= len(es) || len(es) == 1 {
		return es, nil
	}
	below, err := t.Store.Load(es[i].Ref)
	if err != nil || len(below) > t.nodeMost()/4 {
		return es, err
	}
	if i == len(es)-1 {
		i--
	}
	left, err := t.Store.Load(es[i].Ref)
	if err != nil {
		return nil, err
	}
	right, err := t.Store.Load(es[i+1].Ref)
	if err != nil {
		return nil, err
	}
	return t.replace(es, i, i+2, slices.Concat(left, right)), nil
}

func (t *Tree) drop(e Entry, height int, gone func(Entry)) error {
	below, err := t.Store.Load(e.Ref)
	if err != nil {
		return err
	}
	for _, c := range below {
		if height == 0 {
			gone(c)
		} else if err := t.drop(c, height-1, gone); err != nil {
			return err
		}
	}
	t.Store.Drop(e.Ref)
	return nil
}

func removeExtents(es []Entry, from, to uint64, gone func(Entry)) []Entry {
	kept := make([]Entry, 0, len(es)+1)
	seam := 0
	for _, e := range es {
		a, b := min(from, e.N), min(to, e.N)
		from, to = from-a, to-b
		if a > 0 || a == b {
			n := a
			if a == b {
				n = e.N
			}
			kept = append(kept, Entry{e.Ref, n})
		}
		if a == b {
			continue
		}
		gone(Entry{e.Ref + a, b - a})
		seam = len(kept)
		if b < e.N {
			kept = append(kept, Entry{e.Ref + b, e.N - b})
		}
	}
	return fuse(kept, seam)
}

// Walk visits the extents from the element at a position on until f says stop; the first may begin inside one.
func (t *Tree) Walk(at uint64, f func(Entry) (more bool)) error {
	_, err := t.walk(t.Root, t.Height, at, f)
	return err
}

func (t *Tree) walk(es []Entry, height int, at uint64, f func(Entry) bool) (bool, error) {
	for _, e := range es {
		if at >= e.N {
			at -= e.N
			continue
		}
		if height == 0 {
			if !f(Entry{e.Ref + at, e.N - at}) {
				return false, nil
			}
		} else {
			below, err := t.Store.Load(e.Ref)
			if err != nil {
				return false, err
			}
			if more, err := t.walk(below, height-1, at, f); err != nil || !more {
				return false, err
			}
		}
		at = 0
	}
	return true, nil
}

// WalkBack visits the extents before a position, the last first, until f says stop; the first visited may end
// inside one.
func (t *Tree) WalkBack(before uint64, f func(Entry) (more bool)) error {
	_, err := t.walkBack(t.Root, t.Height, before, f)
	return err
}

func (t *Tree) walkBack(es []Entry, height int, before uint64, f func(Entry) bool) (bool, error) {
	begin := sum(es)
	for i := len(es) - 1; i >= 0; i-- {
		e := es[i]
		if begin -= e.N; before <= begin {
			continue
		}
		n := min(before-begin, e.N)
		if height == 0 {
			if !f(Entry{e.Ref, n}) {
				return false, nil
			}
			continue
		}
		below, err := t.Store.Load(e.Ref)
		if err != nil {
			return false, err
		}
		if more, err := t.walkBack(below, height-1, n, f); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// ErrFormat is returned for bytes that AppendEntries never wrote.
var ErrFormat = errors.New("bad extents")

// AppendEntries encodes entries: their number and for each Ref and N, all uvarint.
func AppendEntries(dst []byte, es []Entry) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(es)))
	for _, e := range es {
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, e.Ref), e.N)
	}
	return dst
}

// ParseEntries decodes what stands at the beginning of b and returns what follows.
func ParseEntries(b []byte) (es []Entry, rest []byte, err error) {
	next := func() (v uint64) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err, b = ErrFormat, nil
			return 0
		}
		b = b[n:]
		return v
	}
	n := next()
	if n > uint64(len(b))/2 {
		return nil, nil, ErrFormat
	}
	es = make([]Entry, 0, n)
	for range n {
		es = append(es, Entry{next(), next()})
	}
	for _, e := range es {
		if e.N == 0 || e.End() < e.Ref {
			return nil, nil, ErrFormat
		}
	}
	return es, b, err
}
