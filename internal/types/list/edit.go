package list

import "haypile/internal/types/list/extent"

// shiftMost is the number of elements up to which a change near an end moves them by one rather than divide an
// extent.
const shiftMost = 32

// Set replaces the element at a position, which must exist.
func (l *List) Set(at uint64, value []byte) error {
	o, err := l.ordinal(at)
	if err != nil {
		return err
	}
	l.put(o, value)
	return nil
}

// collect reads n elements from a position on.
func (l *List) collect(at, n uint64) (values [][]byte, err error) {
	for i := range n {
		v, err := l.Get(at + i)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

// setAll replaces the elements from a position on.
func (l *List) setAll(at uint64, values [][]byte) error {
	for i, v := range values {
		if err := l.Set(at+uint64(i), v); err != nil {
			return err
		}
	}
	return nil
}

// Insert adds an element before a position, which may be Len.
func (l *List) Insert(at uint64, value []byte) error {
	behind := l.Len() - at
	switch {
	case at == 0:
		return l.PushLeft(value)
	case behind == 0:
		return l.PushRight(value)
	case at <= shiftMost && at <= behind:
		values, err := l.collect(0, at)
		if err != nil {
			return err
		}
		if err := l.PushLeft(values[0]); err != nil {
			return err
		}
		return l.setAll(1, append(values[1:], value))
	case behind <= shiftMost:
		values, err := l.collect(at, behind)
		if err != nil {
			return err
		}
		if err := l.PushRight(values[behind-1]); err != nil {
			return err
		}
		return l.setAll(at, append([][]byte{value}, values[:behind-1]...))
	}
	o, err := l.between(at)
	if err != nil {
		return err
	}
	l.put(o, value)
	l.meta.Count++
	return l.divide(func(t *extent.Tree) error { return t.Insert(at, extent.Entry{Ref: o, N: 1}) })
}

// between finds an ordinal for an element that comes between those at positions at-1 and at: that beside one of
// them if it is in a block of insertions and free, else one in a new block.
func (l *List) between(at uint64) (uint64, error) {
	left, err := l.ordinal(at - 1)
	if err != nil {
		return 0, err
	}
	right, err := l.ordinal(at)
	if err != nil {
		return 0, err
	}
	if left+1 != right {
		for _, c := range []struct{ beside, ordinal uint64 }{{left, left + 1}, {right, right - 1}} {
			if c.beside < insertFrom || c.beside/insertBlock != c.ordinal/insertBlock {
				continue
			}
			k := sortKeyOf(tableElement, c.ordinal)
			if _, taken, err := l.tx.GetDense(&l.key, &l.meta, k[:]); err != nil || !taken {
				return c.ordinal, err
			}
		}
	}
	block := l.nextInsert
	if block > block+insertBlock {
		return 0, ErrExhausted
	}
	l.nextInsert += insertBlock
	return block + insertMiddle, nil
}

// divide lets f change the sequence of all extents, and takes the first and the last out of the tree again.
func (l *List) divide(f func(*extent.Tree) error) error {
	head, last := l.head, *l.last()
	if err := l.tree.Insert(0, l.head); err != nil {
		return err
	}
	if l.tail.N > 0 {
		if err := l.tree.Insert(l.tree.Len(), l.tail); err != nil {
			return err
		}
	}
	l.head, l.tail = extent.Entry{}, extent.Entry{}
	if err := f(&l.tree); err != nil {
		return err
	}
	if l.tree.Len() == 0 {
		return nil
	}
	floor, ceil := l.floor, l.ceil
	if err := l.refillHead(); err != nil {
		return err
	}
	if err := l.refillTail(); err != nil {
		return err
	}
	// What is free beside an end stays so while the end is a piece of the same extent.
	if floor <= l.head.Ref && l.head.Ref < head.End() {
		l.floor = floor
	}
	if end := l.last().End(); last.Ref < end && end <= ceil {
		l.ceil = ceil
	}
	return nil
}

// Remove takes out the element at a position, which must exist.
func (l *List) Remove(at uint64) error {
	behind := l.Len() - at - 1
	switch {
	case at <= shiftMost && at <= behind:
		values, err := l.collect(0, at)
		if err != nil {
			return err
		}
		if err := l.setAll(1, values); err != nil {
			return err
		}
		return l.DropLeft(1)
	case behind <= shiftMost:
		values, err := l.collect(at+1, behind)
		if err != nil {
			return err
		}
		if err := l.setAll(at, values); err != nil {
			return err
		}
		return l.DropRight(1)
	}
	return l.divide(func(t *extent.Tree) error { return t.Remove(at, at+1, l.remove) })
}

// trimMost is the number of elements up to which Trim deletes what it cuts off in any case.
const trimMost = 4096

// Trim keeps the elements from:to and removes all others. The cost is that of the smaller part: of what goes, or of
// what stays, which is then written anew.
func (l *List) Trim(from, to uint64) error {
	keep, cut := to-from, l.Len()-(to-from)
	if err := l.long(cut); err != nil || cut == 0 {
		return err
	}
	if keep > 0 && (cut <= trimMost || cut <= keep) {
		if err := l.DropRight(l.Len() - to); err != nil {
			return err
		}
		return l.DropLeft(from)
	}
	l.changed = true
	if keep == 0 {
		_, err := l.tx.Remove(&l.key)
		*l = List{tx: l.tx, key: l.key}
		return err
	}
	fresh := Begin(l.tx, l.key, l.meta.Deadline)
	var failed error
	err := l.Walk(from, keep, func(v []byte) bool {
		failed = fresh.PushRight(v)
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		err = l.tx.Filled(&fresh.meta)
	}
	buf := l.buf
	*l = *fresh
	l.buf, l.tree.Store = buf, nodes{l}
	return err
}
