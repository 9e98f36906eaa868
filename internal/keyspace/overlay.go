package keyspace

import (
	"bytes"
	"slices"
	"sort"

	"github.com/cespare/xxhash/v2"
)

// rowHash is the hash by which overlay, hot cache and filter find a row.
func rowHash(key []byte) uint64 { return xxhash.Sum64(key) }

// arena hands out byte slices that live until reset. Small pieces share chunks; a chunk is never moved, so
// views stay valid.
type arena struct {
	chunk []byte // len is what is used
	// kept are chunks that are used again after a reset; those before next are in use.
	kept [][]byte
	next int
	used int // bytes of chunks that are full, and of pieces that have their own
}

const (
	arenaFirst = 8 << 10
	arenaChunk = 64 << 10
	// arenaKept is how many chunks survive a reset.
	arenaKept = 8
)

// take returns an empty slice with room for n bytes, for appending at most n.
func (a *arena) take(n int) []byte {
	if n > cap(a.chunk)-len(a.chunk) {
		if n > arenaChunk/4 || n > arenaFirst && a.next == 0 {
			a.used += n
			return make([]byte, 0, n)
		}
		a.used += len(a.chunk)
		if a.next == len(a.kept) {
			size := arenaChunk
			if a.next == 0 {
				size = arenaFirst
			}
			c := make([]byte, 0, size)
			if a.chunk = c; a.next < arenaKept {
				a.kept = append(a.kept, c)
				a.next++
			}
		} else {
			a.chunk = a.kept[a.next]
			a.next++
		}
	}
	at := len(a.chunk)
	return a.chunk[at:at:cap(a.chunk)]
}

// size is how many bytes are held, about.
func (a *arena) size() int { return a.used + len(a.chunk) }

// keep makes what was appended to the last slice taken permanent until reset.
func (a *arena) keep(b []byte) []byte {
	at := len(a.chunk)
	if cap(a.chunk)-at >= len(b) && len(b) > 0 && at+len(b) <= cap(a.chunk) {
		full := a.chunk[:at+len(b)]
		if &full[at] == &b[0] {
			a.chunk = full
		}
	}
	return b[:len(b):len(b)]
}

// copyOf stores a copy of b.
func (a *arena) copyOf(b []byte) []byte {
	return a.keep(append(a.take(len(b)), b...))
}

func (a *arena) reset() { a.chunk, a.next, a.used = nil, 0, 0 }

// row is a pending change of one engine row.
type row struct {
	hash uint64
	key  []byte
	val  []byte
	del  bool
	// known: the row was there before, so the filter of absent rows has it.
	known bool
	// point rows are read by key and so belong into the hot cache; index rows do not.
	point bool
	// dense: a point row that nobody looks for unless it is there; see PutDense.
	dense bool
	// bulk: a point row of a value so large that it would take the place of everything else in the hot cache.
	bulk bool
	// own: val is memory of the transaction that nobody else looks at, to be changed in place by patch.
	own bool
	// formed: a dense row that a form has, so that the hot cache need not.
	formed bool
}

// overlay is what a transaction has changed: the last version of each row, found by key.
type overlay struct {
	rows []row
	// index is a power of two long, at most half full; holds position+1 in rows.
	index []int32
	undo  []undoRow
	// sorted are positions of rows in the order of keys, for walks; it covers rows[:len(sorted)].
	sorted []int32
}

// undoRow restores rows[at] to old; fresh rows are removed instead, and of patched ones the length, and from a place
// on the bytes that old has as its value.
type undoRow struct {
	at             int32
	fresh, patched bool
	length, from   int32
	old            row
}

const overlaySmall = 8 // up to here rows are searched one by one

func (o *overlay) reset() {
	if len(o.rows) > overlaySmall {
		clear(o.index)
	}
	if cap(o.rows) > 4096 {
		o.rows, o.index, o.undo, o.sorted = nil, nil, nil, nil
	}
	// Transactions are kept for later use; the values of this one must not be.
	clear(o.rows)
	clear(o.undo)
	o.rows, o.undo, o.sorted = o.rows[:0], o.undo[:0], o.sorted[:0]
}

func (o *overlay) find(hash uint64, key []byte) int {
	if len(o.rows) <= overlaySmall {
		for i := range o.rows {
			if o.rows[i].hash == hash && string(o.rows[i].key) == string(key) {
				return i
			}
		}
		return -1
	}
	mask := len(o.index) - 1
	for i := int(hash) & mask; o.index[i] != 0; i = (i + 1) & mask {
		r := int(o.index[i] - 1)
		if o.rows[r].hash == hash && string(o.rows[r].key) == string(key) {
			return r
		}
	}
	return -1
}

// set records a change; key and val must live as long as the overlay.
func (o *overlay) set(r row) {
	if i := o.find(r.hash, r.key); i >= 0 {
		r.known = o.rows[i].known // what was there before the transaction counts
		o.undo = append(o.undo, undoRow{at: int32(i), old: o.rows[i]})
		o.rows[i] = r
		return
	}
	o.undo = append(o.undo, undoRow{at: int32(len(o.rows)), fresh: true})
	o.rows = append(o.rows, r)
	switch n := len(o.rows); {
	case n <= overlaySmall:
	case n == overlaySmall+1 || n*2 > len(o.index):
		size := max(64, len(o.index))
		for size < n*4 {
			size *= 2
		}
		if size == len(o.index) {
			clear(o.index)
		} else {
			o.index = make([]int32, size)
		}
		for i := range o.rows {
			o.link(i)
		}
	default:
		o.link(n - 1)
	}
}

// patch changes bytes of a row whose value is its own from a place on; the row grows, with zeros before part, as far
// as its memory goes. before must live as long as the overlay; it has what part overwrites.
func (o *overlay) patch(i, from int, part, before []byte) {
	r := &o.rows[i]
	o.undo = append(o.undo, undoRow{at: int32(i), patched: true, length: int32(len(r.val)), from: int32(from),
		old: row{val: before}})
	n := len(r.val)
	if end := from + len(part); end > n {
		r.val = r.val[:end]
		clear(r.val[n:end])
	}
	copy(r.val[from:], part)
}

// note adds an entry to the undo log that stands for something else than a row: what has come after it is told from
// what was before by the number of entries.
func (o *overlay) note() { o.undo = append(o.undo, undoRow{at: -1}) }

func (o *overlay) link(r int) {
	mask := len(o.index) - 1
	i := int(o.rows[r].hash) & mask
	for o.index[i] != 0 {
		i = (i + 1) & mask
	}
	o.index[i] = int32(r + 1)
}

// rollback undoes all changes since the undo log had n entries.
func (o *overlay) rollback(n int) {
	for len(o.undo) > n {
		u := o.undo[len(o.undo)-1]
		o.undo = o.undo[:len(o.undo)-1]
		if u.at < 0 {
			continue
		}
		if u.patched {
			r := &o.rows[u.at]
			r.val = r.val[:u.length]
			copy(r.val[min(u.from, u.length):], u.old.val)
			continue
		}
		if !u.fresh {
			o.rows[u.at] = u.old
			continue
		}
		o.rows = o.rows[:u.at]
	}
	if len(o.sorted) > len(o.rows) {
		o.sorted = nil
	}
	// Fresh rows leave the index last in first out, but a rebuild is simpler and rollbacks are rare.
	clear(o.index)
	if len(o.rows) > overlaySmall {
		for i := range o.rows {
			o.link(i)
		}
	}
}

// between are the positions of the rows with keys of [lower, upper), in order; nil upper means no end. The
// slice stays as it is when rows are added; rows that are changed show their new version.
func (o *overlay) between(lower, upper []byte) []int32 {
	if n := len(o.sorted); n < len(o.rows) {
		byKey := func(a, b int32) int { return bytes.Compare(o.rows[a].key, o.rows[b].key) }
		fresh := make([]int32, 0, len(o.rows)-n)
		for i := n; i < len(o.rows); i++ {
			fresh = append(fresh, int32(i))
		}
		slices.SortFunc(fresh, byKey)
		// A walk that is still going on looks at the old slice.
		merged := make([]int32, 0, len(o.rows)+len(o.rows)/4)
		old := o.sorted
		for len(old) > 0 && len(fresh) > 0 {
			if byKey(old[0], fresh[0]) < 0 {
				merged, old = append(merged, old[0]), old[1:]
			} else {
				merged, fresh = append(merged, fresh[0]), fresh[1:]
			}
		}
		o.sorted = append(append(merged, old...), fresh...)
	}
	at := func(key []byte) int {
		return sort.Search(len(o.sorted), func(i int) bool {
			return bytes.Compare(o.rows[o.sorted[i]].key, key) >= 0
		})
	}
	from, to := at(lower), len(o.sorted)
	if upper != nil {
		to = at(upper)
	}
	return o.sorted[from:max(from, to)]
}
