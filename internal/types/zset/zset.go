// Package zset is the sorted set type over a keyspace transaction. An entry is two rows: the member with its score,
// as in package members, and an ordered row of score and member. Order statistics stand in further ordered rows,
// the pages; see pages.go.
//
// A ZSet belongs to the goroutine of its transaction; the package keeps no state. Byte slices that it hands to
// callbacks live during the call only.
package zset

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/types/members"
)

// ErrWrongType is returned for a key that holds another type.
var ErrWrongType = members.ErrWrongType

// ZSet is the sorted set at a key, perhaps empty.
type ZSet struct {
	members.Members
	x extra
	// bulk: the pages are built by Save, all at once.
	bulk bool
	// takes: entries are being removed in their order; the next to go are read ahead.
	takes   bool
	changed bool
}

// Entry is a member with its score.
type Entry struct {
	Member []byte
	Score  float64
}

// Open reads the sorted set at key; a missing key is an empty one.
func Open(tx *keyspace.Txn, key []byte) (ZSet, error) {
	e, err := tx.Lookup(key)
	if err != nil {
		return ZSet{}, err
	}
	return At(tx, e)
}

// At is the sorted set at a key that was looked up.
func At(tx *keyspace.Txn, e keyspace.Entry) (ZSet, error) {
	m, err := members.At(tx, e, encoding.ZSet)
	if err != nil {
		return ZSet{Members: m}, err
	}
	z := ZSet{Members: m}
	_, _, meta := z.Parts()
	z.x, err = parseExtra(meta.Extra)
	return z, err
}

// Begin makes a new, empty sorted set that will replace whatever is at the key, with a deadline (0 = none). Its
// members are given with Fill.
func Begin(tx *keyspace.Txn, e keyspace.Entry, deadline int64) ZSet {
	return ZSet{Members: members.Begin(tx, e, encoding.ZSet, deadline), bulk: true}
}

// Fill stores a member that a set made by Begin does not have yet.
func (z *ZSet) Fill(member []byte, score float64) {
	z.Add(member, scoreValue(score))
	z.putScore(appendOrder(nil, score, member))
	z.changed = true
}

func scoreValue(score float64) []byte {
	return binary.BigEndian.AppendUint64(nil, math.Float64bits(plain(score)))
}

// ParseScore decodes the value of a member's row.
func ParseScore(value []byte) (float64, error) {
	if len(value) != scoreLen {
		return 0, encoding.ErrCorrupt
	}
	return math.Float64frombits(binary.BigEndian.Uint64(value)), nil
}

// prepare gives a set that is new its collection, by whose id the tree is known.
func (z *ZSet) prepare() {
	tx, key, meta := z.Parts()
	if meta.ID == 0 {
		*meta = tx.NewCollection(key, encoding.ZSet)
	}
}

// Score reads the score of a member.
func (z *ZSet) Score(member []byte) (score float64, found bool, err error) {
	v, found, err := z.Get(member)
	if err != nil || !found {
		return 0, false, err
	}
	score, err = ParseScore(v)
	return score, err == nil, err
}

// Put gives a member a score. old is the score that it has, if found: what Score said.
func (z *ZSet) Put(member []byte, score float64, old float64, found bool) error {
	if found && old == score {
		return nil
	}
	order := appendOrder(nil, score, member)
	if found {
		was := appendOrder(nil, old, member)
		if err := z.move(was, order); err != nil {
			return err
		}
		z.removeScore(was)
	} else {
		z.prepare()
		if err := z.insert(order); err != nil {
			return err
		}
	}
	z.putScore(order)
	z.x.include(order)
	z.changed = true
	z.SetTimed(member, scoreValue(score), !found, 0, 0)
	if z.x.levels == 0 && !z.bulk && z.Len() >= pageFirst {
		z.own()
		z.dropTree()
		return z.build()
	}
	return nil
}

// Remove deletes a member and reports whether there was one.
func (z *ZSet) Remove(member []byte) (bool, error) {
	score, found, err := z.Score(member)
	if err != nil || !found {
		return false, err
	}
	return true, z.drop(Entry{member, score})
}

// tightenEvery is how many removals, on average, pass between two looks for the first and the last entry.
const tightenEvery = 32

// drop deletes an entry.
func (z *ZSet) drop(e Entry) error {
	order := appendOrder(nil, e.Score, e.Member)
	if err := z.remove(order); err != nil {
		return err
	}
	z.removeScore(order)
	z.changed = true
	if _, err := z.Delete(e.Member); err != nil || z.Len() == 0 {
		return err
	}
	if rand.N(tightenEvery) == 0 {
		return z.tighten()
	}
	return nil
}

// tighten moves the bounds to the first and the last entry.
func (z *ZSet) tighten() error {
	err := z.walk(All, false, func(order []byte) bool { z.x.setLow(order); return false })
	if err != nil {
		return err
	}
	return z.walk(All, true, func(order []byte) bool { z.x.setHigh(successor(order)); return false })
}

// Compact reports whether Redis would keep the set in its compact encoding: at most entries members, none longer than
// size. It looks at no more than entries members.
func (z *ZSet) Compact(entries, size int64) (bool, error) {
	if z.Len() > uint64(max(entries, 0)) {
		return false, nil
	}
	small := true
	err := z.Scan(0, func(el keyspace.Element) bool {
		small = int64(len(el.Member)) <= size
		return small
	})
	return small, err
}

// Save stores the metadata if something has changed; a set without members is no key.
func (z *ZSet) Save() error {
	if !z.changed {
		return z.Members.Save()
	}
	z.changed = false
	if z.bulk && z.Len() >= pageFirst {
		tx, _, meta := z.Parts()
		if err := tx.Flushed(meta); err != nil {
			return err
		}
		if err := z.build(); err != nil {
			return err
		}
	}
	if z.Len() == 0 {
		z.removeLevels()
	}
	_, _, meta := z.Parts()
	meta.Extra = z.x.encode()
	return z.Members.Save()
}

func (z *ZSet) putScore(order []byte) {
	tx, key, meta := z.Parts()
	tx.PutIndex(key, meta, append([]byte{tableScore}, order...), nil)
}

func (z *ZSet) removeScore(order []byte) {
	tx, key, meta := z.Parts()
	tx.RemoveIndex(key, meta, append([]byte{tableScore}, order...))
}

// scan visits the rows of entries in a range, forwards or backwards, until f says stop.
func (z *ZSet) scan(r Range, back bool, f func(order []byte) (more bool)) error {
	if z.Len() == 0 {
		return nil
	}
	if z.x.low != nil && string(r.From) < string(z.x.low) {
		r.From = z.x.low
	}
	if z.x.high != nil && (r.To == nil || string(r.To) > string(z.x.high)) {
		r.To = z.x.high
	}
	if r.Empty() {
		return nil
	}
	from, to := append([]byte{tableScore}, r.From...), []byte{tableScore + 1}
	if r.To != nil {
		to = append([]byte{tableScore}, r.To...)
	}
	tx, key, meta := z.Parts()
	visit := func(k, _ []byte) bool { return f(k[1:]) }
	if back {
		return tx.ScanOrderedBack(key, meta, from, to, visit)
	}
	return tx.ScanOrdered(key, meta, from, to, visit)
}

// treeWalk is the number of pages that a walk reads into the tree; what is behind them is walked over by rows, so that
// whoever reads all of a large set does not push everything else out of memory.
const treeWalk = 16

// walk visits the entries of a range, forwards or backwards, until f says stop: those in memory there.
func (z *ZSet) walk(r Range, back bool, f func(order []byte) (more bool)) error {
	if z.Len() == 0 || r.Empty() {
		return nil
	}
	if z.bulk {
		return z.scan(r, back, f)
	}
	t := z.form()
	for read := 0; read < treeWalk; {
		order := r.From
		if back {
			order = r.To
		}
		p, err := z.edge(t, order, back)
		if err != nil {
			return err
		}
		if p.leaf == nil {
			if p.leaf, err = z.loadLeaf(t, &p, back); err != nil {
				return err
			}
			read++
		}
		if !p.leaf.visit(r, back, f) {
			return nil
		}
		if back {
			if r.To = p.from(); len(r.To) == 0 {
				return nil
			}
		} else if r.From = p.end; r.From == nil {
			return nil
		}
		if r.Empty() {
			return nil
		}
	}
	return z.scan(r, back, f)
}

// edge is the way to the first page of a walk from an order on, or, backwards, to the last page before one.
func (z *ZSet) edge(t *tree, order []byte, back bool) (path, error) {
	if !back {
		return z.descend(t, order, false)
	}
	return z.descendBefore(t, order)
}

// visit visits the entries of a leaf that are in a range; it returns whether f wants more.
func (n *node) visit(r Range, back bool, f func(order []byte) bool) bool {
	from, to := 0, len(n.ends)
	if len(r.From) > 0 {
		from = n.find(r.From)
	}
	if r.To != nil {
		to = n.find(r.To)
	}
	if back {
		for i := to - 1; i >= from; i-- {
			if !f(n.order(i)) {
				return false
			}
		}
		return true
	}
	for i := from; i < to; i++ {
		if !f(n.order(i)) {
			return false
		}
	}
	return true
}

// Walk visits the entries of a range in ascending order, or descending, until f says stop.
func (z *ZSet) Walk(r Range, back bool, f func(Entry) (more bool)) error {
	var bad error
	err := z.walk(r, back, func(order []byte) bool {
		e, err := parseOrder(order)
		if err != nil {
			bad = err
			return false
		}
		return f(e)
	})
	if err == nil {
		err = bad
	}
	return err
}

// removeBatch bounds the entries that a removal of a range holds in memory.
const removeBatch = 256

// RemoveRange deletes up to limit entries of a range, from its start or, backwards, from its end; visit sees each
// before it is gone, in that order.
func (z *ZSet) RemoveRange(r Range, back bool, limit uint64, visit func(Entry)) (removed uint64, err error) {
	if visit == nil && !back {
		if n, err := z.cutMany(r, limit); n > 0 || err != nil {
			return n, err
		}
	}
	z.takes = true
	if min(limit, z.Len()) > 1 {
		if err := z.Several(); err != nil {
			return 0, err
		}
	}
	for limit > 0 && z.Len() > 0 {
		var batch []Entry
		most := min(limit, removeBatch)
		err := z.Walk(r, back, func(e Entry) bool {
			batch = append(batch, Entry{append([]byte(nil), e.Member...), e.Score})
			return uint64(len(batch)) < most
		})
		if err != nil {
			return removed, err
		}
		for _, e := range batch {
			if visit != nil {
				visit(e)
			}
			if err := z.drop(e); err != nil {
				return removed, err
			}
		}
		n := uint64(len(batch))
		if n > 0 {
			z.removedFrom(r, back, batch[n-1])
		}
		removed, limit = removed+n, limit-n
		if n < most {
			break
		}
		last := appendOrder(nil, batch[n-1].Score, batch[n-1].Member)
		if back {
			r.To = last
		} else {
			r.From = last
		}
	}
	return removed, nil
}

// removedFrom moves a bound after a removal that began at an end of the set; last went last.
func (z *ZSet) removedFrom(r Range, back bool, last Entry) {
	order := appendOrder(nil, last.Score, last.Member)
	switch {
	case !back && (len(r.From) == 0 || z.x.low != nil && string(r.From) <= string(z.x.low)):
		z.x.setLow(order)
	case back && (r.To == nil || z.x.high != nil && string(r.To) >= string(z.x.high)):
		z.x.setHigh(order)
	}
}
