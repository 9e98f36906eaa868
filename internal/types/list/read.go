package list

import (
	"encoding/binary"

	"haypile/internal/keyspace"
	"haypile/internal/types/list/extent"
)

// scanLeast is the number of neighbouring elements from which on it is cheaper to walk over rows than to look each
// of them up, which would find them in memory if they are there.
const scanLeast = 512

// longWalk is the number of elements from which on an event loop leaves an operation to a goroutine.
const longWalk = 4096

// long fails where n elements are too many for whoever runs the transaction.
func (l *List) long(n uint64) error {
	if n > longWalk && l.tx.InMemory() {
		return keyspace.ErrCold
	}
	return nil
}

// Get is the element at a position, which must exist.
func (l *List) Get(at uint64) ([]byte, error) {
	o, err := l.ordinal(at)
	if err != nil {
		return nil, err
	}
	return l.get(o)
}

// Walk visits up to n elements from a position on, until f says stop.
func (l *List) Walk(at, n uint64, f func(value []byte) (more bool)) error {
	n = min(n, l.Len()-min(at, l.Len()))
	if err := l.long(n); err != nil || n == 0 {
		return err
	}
	var failed error
	err := l.runs(at, func(e extent.Entry) bool {
		e.N = min(e.N, n)
		n -= e.N
		var more bool
		more, failed = l.walkRun(e, f)
		return more && failed == nil && n > 0
	})
	if failed != nil {
		return failed
	}
	return err
}

func (l *List) walkRun(e extent.Entry, f func([]byte) bool) (more bool, err error) {
	if l.formed {
		return l.walkForm(e.Ref, e.End(), 1, f)
	}
	for o := e.Ref; o < e.End(); o++ {
		v, err := l.read(o)
		if err != nil || !f(v) {
			return false, err
		}
	}
	return true, nil
}

// walkForm visits the elements of the ordinals from first by step to before end: what the form knows, and what it
// does not know from rows.
func (l *List) walkForm(first, end, step uint64, f func([]byte) bool) (more bool, err error) {
	form := l.form()
	var buf [chunkLen][]byte
	mem := l.tx.Scratch()
	for o := first; o != end; {
		if err := l.tx.Stopped(); err != nil {
			return false, err
		}
		views := form.piece(buf[:0], o, end, step)
		for _, v := range views {
			if !f(v) {
				return false, nil
			}
		}
		o += uint64(len(views)) * step
		if len(views) > 0 {
			continue
		}
		left := (end - o) * step
		if left >= scanLeast && !l.tx.InMemory() {
			return l.scanRun(o, end, step, func(o uint64, v []byte) bool {
				if left <= longWalk {
					form.put(o, v, l.room())
				}
				return f(v)
			})
		}
		v, err := l.learn(form, o)
		if err != nil || !f(v) {
			return false, err
		}
		l.tx.Forget(mem)
		o += step
	}
	return true, nil
}

// scanRun visits the elements of the ordinals from first by step to before end by walking over their rows.
func (l *List) scanRun(first, end, step uint64, f func(o uint64, v []byte) bool) (more bool, err error) {
	from, to := sortKeyOf(tableElement, first), sortKeyOf(tableElement, end)
	scan := l.tx.ScanOrdered
	if step != 1 {
		from, to = sortKeyOf(tableElement, end+1), sortKeyOf(tableElement, first+1)
		scan = l.tx.ScanOrderedBack
	}
	next, more := first, true
	var failed error
	err = scan(&l.key, &l.meta, from[:], to[:], func(key, row []byte) bool {
		if len(key) != len(from) || binary.BigEndian.Uint64(key[1:]) != next {
			return false
		}
		var v []byte
		if v, failed = parseElement(row); failed != nil {
			return false
		}
		more = f(next, v)
		next += step
		return more
	})
	switch {
	case err != nil:
		return false, err
	case failed == nil && more && next != end:
		failed = missing(tableElement, next)
	}
	return more, failed
}

// WalkBack visits up to n elements before a position, the last first, until f says stop.
func (l *List) WalkBack(before, n uint64, f func(value []byte) (more bool)) error {
	n = min(n, before)
	if err := l.long(n); err != nil || n == 0 {
		return err
	}
	var failed error
	err := l.runsBack(before, func(e extent.Entry) bool {
		cut := min(e.N, n)
		n -= cut
		var more bool
		more, failed = l.walkRunBack(extent.Entry{Ref: e.End() - cut, N: cut}, f)
		return more && failed == nil && n > 0
	})
	if failed != nil {
		return failed
	}
	return err
}

func (l *List) walkRunBack(e extent.Entry, f func([]byte) bool) (more bool, err error) {
	if l.formed {
		return l.walkForm(e.End()-1, e.Ref-1, ^uint64(0), f)
	}
	for o := e.End(); o > e.Ref; o-- {
		v, err := l.read(o - 1)
		if err != nil || !f(v) {
			return false, err
		}
	}
	return true, nil
}
