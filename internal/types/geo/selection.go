package geo

import (
	"cmp"
	"container/heap"
	"slices"
)

// Order is how the members that a search found are sorted.
type Order uint8

// The orders.
const (
	AsFound Order = iota
	NearestFirst
	FarthestFirst
)

// Selection keeps the members that a search found; with a limit and an order only the first of them.
type Selection struct {
	Order Order
	// Most is the number of members to keep, 0 for all. Without an order Add must not be called for more.
	Most int
	// Bytes is the length of the members that are kept.
	Bytes int

	seen  int
	items found
}

// item is a member with its place among those found, which decides between equal distances.
type item struct {
	Found
	place int
}

// found is a heap whose first item is the last of the order.
type found struct {
	order Order
	items []item
}

func (f *found) compare(a, b *item) int {
	c := 0
	switch f.order {
	case NearestFirst:
		c = cmp.Compare(a.Distance, b.Distance)
	case FarthestFirst:
		c = cmp.Compare(b.Distance, a.Distance)
	}
	return cmp.Or(c, cmp.Compare(a.place, b.place))
}

func (f *found) Len() int           { return len(f.items) }
func (f *found) Less(i, j int) bool { return f.compare(&f.items[i], &f.items[j]) > 0 }
func (f *found) Swap(i, j int)      { f.items[i], f.items[j] = f.items[j], f.items[i] }
func (f *found) Push(x any)         { f.items = append(f.items, x.(item)) }

func (f *found) Pop() any {
	last := f.items[len(f.items)-1]
	f.items = f.items[:len(f.items)-1]
	return last
}

// Add takes a member, and drops one if there is one too many.
func (s *Selection) Add(f Found) {
	s.items.order = s.Order
	it := item{f, s.seen}
	s.seen++
	limited := s.Most > 0 && s.Order != AsFound
	if limited && len(s.items.items) == s.Most {
		last := &s.items.items[0]
		if s.items.compare(&it, last) > 0 {
			return
		}
		s.Bytes += len(it.Member) - len(last.Member)
		it.Member = slices.Clone(it.Member)
		*last = it
		heap.Fix(&s.items, 0)
		return
	}
	s.Bytes += len(it.Member)
	it.Member = slices.Clone(it.Member)
	if limited {
		heap.Push(&s.items, it)
		return
	}
	s.items.items = append(s.items.items, it)
}

// Full reports whether as many members were added as are wanted.
func (s *Selection) Full() bool { return s.Most > 0 && len(s.items.items) >= s.Most }

// Len is the number of members that are kept.
func (s *Selection) Len() int { return len(s.items.items) }

// All visits what is kept, in order.
func (s *Selection) All(f func(Found)) {
	if s.Order != AsFound {
		slices.SortFunc(s.items.items, func(a, b item) int { return s.items.compare(&a, &b) })
	}
	for i := range s.items.items {
		f(s.items.items[i].Found)
	}
}
