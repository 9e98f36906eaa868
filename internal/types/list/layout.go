package list

import (
	"encoding/binary"
	"fmt"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/types/list/extent"
)

// Rows of a list, by the first byte of their sort keys.
const (
	tableElement = 1 // | ordinal u64   -> flags, 0 | value
	tableNode    = 2 // | id u64        -> format, 0 | entries
)

// Ordinals are given out in blocks. A list begins in the middle of the first. What is pushed to an end whose
// block is used up begins another; what is inserted in between begins a small one.
const (
	firstMiddle = 1 << 61
	firstEnd    = 1 << 62

	pushBlock = 1 << 32
	pushEnd   = 1 << 63

	insertBlock  = 64
	insertMiddle = insertBlock / 2
	insertFrom   = pushEnd
)

// layout says which ordinals the elements of a list have, in order: those of head, of the tree, of tail. Pieces
// of one block always stand in ascending order.
//
// Invariant: head is empty only in an empty list; tail is empty only if the tree is.
type layout struct {
	head, tail extent.Entry
	tree       extent.Tree
	// floor is the lowest ordinal that may be pushed in front of head, ceil the end of those behind the last.
	floor, ceil uint64
	// nextPush and nextInsert are where the next blocks begin.
	nextPush, nextInsert uint64
}

func newLayout() layout {
	return layout{head: extent.Entry{Ref: firstMiddle}, ceil: firstEnd, nextPush: firstEnd, nextInsert: insertFrom}
}

// Formats of encoding.Meta.Extra: the format byte 1, then a byte that says what follows. Nearly every list is one
// extent in the first block: then it is the first ordinal, u64. Otherwise it is everything, as uvarints.
const (
	formatList = 1

	layoutPlain = 0
	layoutFull  = 1
)

func (l *layout) plain() bool {
	return l.tail.N == 0 && len(l.tree.Root) == 0 && l.tree.NextID == 0 && l.floor == 0 && l.ceil == firstEnd &&
		l.nextPush == firstEnd && l.nextInsert == insertFrom
}

func (l *layout) append(dst []byte) []byte {
	if l.plain() {
		return binary.BigEndian.AppendUint64(append(dst, formatList, layoutPlain), l.head.Ref)
	}
	dst = append(dst, formatList, layoutFull)
	for _, n := range []uint64{l.head.Ref, l.head.N, l.tail.Ref, l.tail.N, l.floor, l.ceil, l.nextPush, l.nextInsert,
		l.tree.NextID, uint64(l.tree.Height)} {
		dst = binary.AppendUvarint(dst, n)
	}
	return extent.AppendEntries(dst, l.tree.Root)
}

func badLayout(extra []byte, count uint64) error {
	return fmt.Errorf("layout %x of a list of %d: %w", extra[:min(len(extra), 64)], count, encoding.ErrCorrupt)
}

// maxHeight is more than any tree of 2^64 elements has.
const maxHeight = 32

func parseLayout(extra []byte, count uint64) (l layout, err error) {
	if len(extra) < 2 || extra[0] != formatList {
		return l, badLayout(extra, count)
	}
	b := extra[2:]
	switch extra[1] {
	case layoutPlain:
		if len(b) != 8 {
			return l, badLayout(extra, count)
		}
		l = newLayout()
		l.head = extent.Entry{Ref: binary.BigEndian.Uint64(b), N: count}
		if l.head.End() > firstEnd || l.head.End() < l.head.Ref {
			return l, badLayout(extra, count)
		}
		return l, nil
	case layoutFull:
		var height uint64
		for _, n := range []*uint64{&l.head.Ref, &l.head.N, &l.tail.Ref, &l.tail.N, &l.floor, &l.ceil, &l.nextPush,
			&l.nextInsert, &l.tree.NextID, &height} {
			var size int
			if *n, size = binary.Uvarint(b); size <= 0 {
				return l, badLayout(extra, count)
			}
			b = b[size:]
		}
		l.tree.Height = int(min(height, maxHeight))
		var rest []byte
		l.tree.Root, rest, err = extent.ParseEntries(b)
		if err != nil || len(rest) > 0 || height >= maxHeight || l.head.N+l.tree.Len()+l.tail.N != count {
			return l, badLayout(extra, count)
		}
		return l, nil
	}
	return l, badLayout(extra, count)
}

// last is the extent at the end.
func (l *layout) last() *extent.Entry {
	if l.tail.N > 0 {
		return &l.tail
	}
	return &l.head
}

// runs visits the extents from a position on; the first may begin inside one.
func (l *layout) runs(at uint64, f func(extent.Entry) (more bool)) error {
	if at < l.head.N {
		if !f(extent.Entry{Ref: l.head.Ref + at, N: l.head.N - at}) {
			return nil
		}
		at = l.head.N
	}
	at -= l.head.N
	middle := l.tree.Len()
	if at < middle {
		more := true
		err := l.tree.Walk(at, func(e extent.Entry) bool {
			more = f(e)
			return more
		})
		if err != nil || !more {
			return err
		}
		at = middle
	}
	if at -= middle; at < l.tail.N {
		f(extent.Entry{Ref: l.tail.Ref + at, N: l.tail.N - at})
	}
	return nil
}

// runsBack visits the extents before a position, the last first; the first visited may end inside one.
func (l *layout) runsBack(before uint64, f func(extent.Entry) (more bool)) error {
	middle := l.tree.Len()
	if begin := l.head.N + middle; before > begin {
		if !f(extent.Entry{Ref: l.tail.Ref, N: before - begin}) {
			return nil
		}
		before = begin
	}
	if before > l.head.N {
		more := true
		err := l.tree.WalkBack(before-l.head.N, func(e extent.Entry) bool {
			more = f(e)
			return more
		})
		if err != nil || !more {
			return err
		}
		before = l.head.N
	}
	if before > 0 {
		f(extent.Entry{Ref: l.head.Ref, N: before})
	}
	return nil
}

// ordinal is that of the element at a position, which must exist.
func (l *layout) ordinal(at uint64) (o uint64, err error) {
	if at < l.head.N { // nearly always
		return l.head.Ref + at, nil
	}
	err = l.runs(at, func(e extent.Entry) bool {
		o = e.Ref
		return false
	})
	return o, err
}

type sortKey [9]byte

func sortKeyOf(table byte, n uint64) (k sortKey) {
	k[0] = table
	binary.BigEndian.PutUint64(k[1:], n)
	return k
}

func parseNode(row []byte) ([]extent.Entry, error) {
	if len(row) == 0 || row[0] != 0 {
		return nil, fmt.Errorf("node of a list: %w", encoding.ErrCorrupt)
	}
	es, rest, err := extent.ParseEntries(row[1:])
	if err != nil || len(rest) > 0 || len(es) == 0 {
		return nil, fmt.Errorf("node of a list %x: %w", row[:min(len(row), 64)], encoding.ErrCorrupt)
	}
	return es, nil
}

func missing(table byte, n uint64) error {
	return fmt.Errorf("a list has no row %d of table %d: %w", n, table, encoding.ErrCorrupt)
}

// formatElement is the first byte of an element's row.
const formatElement = 0

func parseElement(row []byte) ([]byte, error) {
	if len(row) == 0 || row[0] != formatElement {
		return nil, fmt.Errorf("element of a list %x: %w", row[:min(len(row), 16)], encoding.ErrCorrupt)
	}
	return row[1:], nil
}

// readNodes are the nodes of a list that is only read.
type readNodes struct{ rows keyspace.Rows }

func (r readNodes) Load(id uint64) ([]extent.Entry, error) {
	k := sortKeyOf(tableNode, id)
	row, ok, err := r.rows.GetOrdered(k[:])
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, missing(tableNode, id)
	}
	return parseNode(row)
}

func (readNodes) Save(uint64, []extent.Entry) { panic("a list that is only read is changed") }
func (readNodes) Drop(uint64)                 { panic("a list that is only read is changed") }

// Scan visits the elements of a list in a transaction or a snapshot, in order, until f says stop. Views are valid
// during the call only.
func Scan(m *encoding.Meta, rows keyspace.Rows, f func(value []byte) (more bool)) error {
	l, err := parseLayout(m.Extra, m.Count)
	if err != nil {
		return err
	}
	l.tree.Store = readNodes{rows}
	var failed error
	err = l.runs(0, func(e extent.Entry) bool {
		more := true
		from, to := sortKeyOf(tableElement, e.Ref), sortKeyOf(tableElement, e.End())
		seen := uint64(0)
		err := rows.ScanOrdered(from[:], to[:], func(_, row []byte) bool {
			var v []byte
			if v, failed = parseElement(row); failed != nil {
				return false
			}
			seen++
			more = f(v)
			return more
		})
		switch {
		case err != nil:
			failed = err
		case failed == nil && more && seen != e.N:
			failed = missing(tableElement, e.Ref)
		}
		return failed == nil && more
	})
	if failed != nil {
		return failed
	}
	return err
}
