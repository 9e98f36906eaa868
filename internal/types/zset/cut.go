package zset

import (
	"bytes"
	"cmp"

	"haypile/internal/keyspace"
)

// cutMany removes the first entries of a range, up to limit, if those are many, and returns how many they are; otherwise
// it removes none. Their rows and pages follow one another and are cut out; their members are erased. See
// keyspace.Txn.CutOrdered and keyspace.Eraser.
func (z *ZSet) cutMany(r Range, limit uint64) (n uint64, err error) {
	tx, _, _ := z.Parts()
	if z.x.levels == 0 || !tx.Many(min(limit, z.Len())) || r.Empty() {
		return 0, nil
	}
	before, end, err := z.ranks(r)
	if err != nil {
		return 0, err
	}
	if n = end - before; n > limit {
		n, end = limit, before+limit
		if r.To, err = z.at(end); err != nil {
			return 0, err
		}
	}
	switch {
	case !tx.Many(n):
		return 0, nil
	case tx.InMemory():
		return 0, keyspace.ErrCold
	case n == z.Len():
		z.own()
		z.dropTree()
		z.x, z.changed = extra{}, false
		return n, z.Clear()
	}
	return n, z.cut(r, before, end)
}

// cut removes the entries of a range, not all, which are those of the ranks [before, end).
func (z *ZSet) cut(r Range, before, end uint64) error {
	if len(r.From) == 0 {
		r.From = []byte{0} // before all orders, and behind the separator of the first pages
	}
	if err := z.cutPages(r, before, end); err != nil {
		return err
	}
	z.own()
	z.dropTree()
	tx, key, meta := z.Parts()
	gone := tx.Eraser(key, meta)
	var bad error
	err := z.scan(r, false, func(order []byte) bool {
		var e Entry
		if e, bad = parseOrder(order); bad == nil {
			gone.Element(e.Member)
		}
		return bad == nil
	})
	if err = cmp.Or(err, bad, gone.Done()); err != nil {
		return err
	}
	to := []byte{tableScore + 1}
	if r.To != nil {
		to = append([]byte{tableScore}, r.To...)
	}
	tx.CutOrdered(key, meta, append([]byte{tableScore}, r.From...), to)
	z.Removed(end - before)
	z.changed = true
	return z.tighten()
}

// cutPages removes the pages that begin in a range and makes the one before them on each level reach to what follows.
func (z *ZSet) cutPages(r Range, before, end uint64) error {
	t := z.form()
	left, err := z.descendBefore(t, r.From)
	if err != nil {
		return err
	}
	right := path{}
	if r.To != nil {
		if right, err = z.descend(t, r.To, false); err != nil {
			return err
		}
	}
	tx, key, meta := z.Parts()
	// leftStart and rightStart are the numbers of entries before the pages.
	leftStart, rightStart := uint64(0), uint64(0)
	for level := left.levels; level > 0; level-- {
		s := left.step[level]
		leftStart += s.n.before(s.page)
		count := before - leftStart
		to := []byte{tableCount, byte(level) + 1}
		if r.To != nil {
			e := right.step[level]
			rightStart += e.n.before(e.page)
			if !bytes.Equal(e.separator(), r.To) {
				count += rightStart + e.n.counts[e.page] - end
			}
			to = pageKey(level, r.To)
		}
		tx.CutOrdered(key, meta, pageKey(level, r.From), to)
		z.putPage(level, bytes.Clone(s.separator()), count)
	}
	return nil
}
