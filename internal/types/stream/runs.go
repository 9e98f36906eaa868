package stream

import (
	"cmp"
	"errors"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"haypile/internal/keyspace"
)

// runs is the form of a stream in memory (see keyspace.Form): entries that were added or read last, in runs of
// neighbours. So who reads what has just been added, who reads on in small steps, and who trims a little with each
// entry need not ask the engine. Readers share the form and add the runs that they have read; only who owns it changes
// a run.
type runs struct {
	mu struct {
		sync.RWMutex
		all []*run // ascending; their intervals do not overlap
	}
	size atomic.Int64
}

// run has all entries of an interval of IDs, both ends included. Of those before the first entry of the stream it may
// have some that are gone. One that reaches to Max grows with the stream.
type run struct {
	from, to ID
	ids      []ID
	rows     []extent // of each entry in data
	data     []byte   // never changed, so that views stay right
	used     atomic.Bool
}

type extent struct{ start, end uint32 }

const (
	// runEntries and runBytes bound what is read at once, and a run but for its last entry.
	runEntries = 128
	runBytes   = 16 << 10
	// runsAhead is how many runs a walk adds: what is longer than that is read once, and not kept.
	runsAhead = 4
	// runOverhead and rowOverhead are the memory of a run and of an entry beside its bytes.
	runOverhead = 200
	rowOverhead = 24
	// formMost bounds a form, in bytes, beside formShare, the share of what all forms may take.
	formMost  = 8 << 20
	formShare = 4
)

// Size implements keyspace.Form.
func (f *runs) Size() int64 { return runOverhead + f.size.Load() }

// Shrink implements keyspace.Shrinker: runs go, first those that nobody looked at since the last time.
func (f *runs) Shrink(target int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, unused := range []bool{true, false} {
		f.mu.all = slices.DeleteFunc(f.mu.all, func(r *run) bool {
			if f.size.Load() <= target || unused && r.used.Swap(false) {
				return false
			}
			f.size.Add(-r.size())
			return true
		})
	}
}

func (r *run) size() int64 { return int64(runOverhead + rowOverhead*cap(r.ids) + cap(r.data)) }

func (r *run) full() bool { return len(r.ids) >= runEntries || len(r.data) >= runBytes }

func (r *run) add(id ID, row []byte) {
	start := uint32(len(r.data))
	r.data = append(r.data, row...)
	r.ids = append(r.ids, id)
	r.rows = append(r.rows, extent{start, uint32(len(r.data))})
}

func (r *run) row(i int) []byte { return r.data[r.rows[i].start:r.rows[i].end:r.rows[i].end] }

// at is the position of the first entry at or behind an ID.
func (r *run) at(id ID) int {
	i, _ := slices.BinarySearchFunc(r.ids, id, ID.Compare)
	return i
}

// visit visits the entries from an ID to another until visit says stop.
func (r *run) visit(from, to ID, up bool, visit func(ID, Fields) bool) (more bool, err error) {
	r.used.Store(true)
	first, step := r.at(from), 1
	if !up {
		if first, step = r.at(to), -1; first == len(r.ids) || r.ids[first] != to {
			first--
		}
	}
	for i := first; i >= 0 && i < len(r.ids) && !r.ids[i].Less(from) && !to.Less(r.ids[i]); i += step {
		f, err := parseEntry(r.row(i))
		if err != nil || !visit(r.ids[i], f) {
			return false, err
		}
	}
	return true, nil
}

// place is the number of runs that begin at or before an ID. REQUIRES: mu.
func (f *runs) placeLocked(id ID) int {
	return sort.Search(len(f.mu.all), func(i int) bool { return id.Less(f.mu.all[i].from) })
}

// find is the run that has an ID in its interval, nil if there is none; below and above are then where the
// runs before and behind it end and begin, ID{} and Max if there are none.
func (f *runs) find(id ID) (r *run, below, above ID) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	at := f.placeLocked(id)
	above = Max
	if at > 0 {
		if r = f.mu.all[at-1]; !r.to.Less(id) {
			return r, below, above
		}
		below, _ = r.to.Next()
	}
	if at < len(f.mu.all) {
		above, _ = f.mu.all[at].from.Prev()
	}
	return nil, below, above
}

// insert adds a run that was read, unless somebody has read a part of it meanwhile.
func (f *runs) insert(r *run, most int64) {
	f.mu.Lock()
	at := f.placeLocked(r.from)
	ok := (at == 0 || f.mu.all[at-1].to.Less(r.from)) && (at == len(f.mu.all) || r.to.Less(f.mu.all[at].from))
	if ok {
		f.mu.all = slices.Insert(f.mu.all, at, r)
		f.size.Add(r.size())
	}
	f.mu.Unlock()
	f.bound(most)
}

// bound sees to it that the form takes at most a number of bytes.
func (f *runs) bound(most int64) {
	if f.size.Load() > most {
		f.Shrink(most - most/4)
	}
}

// append adds a new entry behind all. REQUIRES: the form is owned.
func (f *runs) append(id ID, row []byte, most int64) {
	f.mu.Lock()
	var last *run
	if n := len(f.mu.all); n > 0 && f.mu.all[n-1].to == Max {
		last = f.mu.all[n-1]
	}
	if last == nil || last.full() {
		if last != nil {
			last.to, _ = id.Prev()
		}
		last = &run{from: id, to: Max}
		f.mu.all = append(f.mu.all, last)
		f.size.Add(last.size())
	}
	was := last.size()
	last.add(id, row)
	f.size.Add(last.size() - was)
	f.mu.Unlock()
	f.bound(most)
}

// remove takes an entry out. REQUIRES: the form is owned.
func (f *runs) remove(id ID) {
	r, _, _ := f.find(id)
	if r == nil {
		return
	}
	if i := r.at(id); i < len(r.ids) && r.ids[i] == id {
		r.ids, r.rows = slices.Delete(r.ids, i, i+1), slices.Delete(r.rows, i, i+1)
	}
}

// removeBefore takes out the runs before an ID. REQUIRES: the form is owned.
func (f *runs) removeBefore(id ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for ; n < len(f.mu.all) && f.mu.all[n].to.Less(id); n++ {
		f.size.Add(-f.mu.all[n].size())
	}
	f.mu.all = slices.Delete(f.mu.all, 0, n)
}

// form is that of the stream to read; nil where none is kept.
func (s *Stream) form() *runs {
	if s.tx.FormBudget() == 0 {
		return nil
	}
	return s.tx.Form(s.meta.ID, s.newRuns).(*runs)
}

// own is the form of the stream to change. What a change is about to read should have been read before: where that
// fails, the form is lost (see keyspace.Txn.OwnForm).
func (s *Stream) own() *runs { return s.tx.OwnForm(s.meta.ID, s.newRuns).(*runs) }

// newRuns knows nothing, except where there is nothing.
func (s *Stream) newRuns() keyspace.Form {
	f := &runs{}
	if s.meta.Count == 0 {
		r := &run{to: Max}
		f.mu.all = []*run{r}
		f.size.Store(r.size())
	}
	return f
}

// room is how much a form may take.
func (s *Stream) room() int64 { return min(formMost, s.tx.FormBudget()/formShare) }

// walk visits the entries from an ID to another, in memory as far as they are there.
func (s *Stream) walk(from, to ID, up bool, visit func(ID, Fields) bool) error {
	if from.Less(s.First) {
		from = s.First
	}
	if s.Last.Less(to) {
		to = s.Last
	}
	if s.meta.Count == 0 || to.Less(from) {
		return nil
	}
	f := s.form()
	if f == nil {
		return s.scan(from, to, up, visit)
	}
	for loaded := 0; ; {
		id := from
		if !up {
			id = to
		}
		r, below, above := f.find(id)
		if r == nil {
			if loaded++; loaded > runsAhead {
				return s.scan(from, to, up, visit)
			}
			var err error
			if r, err = s.load(below, above, id, up); err != nil {
				return err
			}
			f.insert(r, s.room())
		}
		more, err := r.visit(from, to, up, visit)
		if err != nil || !more {
			return err
		}
		ok := false
		if up {
			from, ok = r.to.Next()
		} else {
			to, ok = r.from.Prev()
		}
		if !ok || to.Less(from) {
			return nil
		}
	}
}

// load reads a run: the entries from an ID up to above, or from the ID down to below, or the first of those.
func (s *Stream) load(below, above, id ID, up bool) (*run, error) {
	r := &run{from: id, to: above}
	r.used.Store(true)
	if !up {
		// Behind the last ID nothing is: such a run may grow, unless there is one that does.
		if r.from, r.to = below, id; s.Last == id {
			r.to = above
		}
	}
	from, to := r.from, r.to
	err := s.scanRows(from, to, up, func(id ID, row []byte) (bool, error) {
		if !r.full() {
			r.add(id, row)
			return true, nil
		}
		if up {
			r.to, _ = id.Prev()
		} else {
			r.from, _ = id.Next()
		}
		return false, nil
	})
	if !up {
		slices.Reverse(r.ids)
		slices.Reverse(r.rows)
	}
	return r, err
}

// scan visits entries in the engine.
func (s *Stream) scan(from, to ID, up bool, visit func(ID, Fields) bool) error {
	return s.scanRows(from, to, up, func(id ID, row []byte) (bool, error) {
		f, err := parseEntry(row)
		return err == nil && visit(id, f), err
	})
}

func (s *Stream) scanRows(from, to ID, up bool, visit func(ID, []byte) (bool, error)) error {
	end := entriesEnd
	if next, ok := to.Next(); ok {
		end = entryKey(next)
	}
	scan := s.tx.ScanOrdered
	if !up {
		scan = s.tx.ScanOrderedBack
	}
	var bad error
	err := scan(&s.key, &s.meta, entryKey(from), end, func(k, v []byte) (more bool) {
		more, bad = visit(DecodeID(k[1:]), v)
		return more
	})
	return errors.Join(err, bad)
}

// known is an entry in memory.
func (s *Stream) known(id ID) (row []byte, found, known bool) {
	f := s.form()
	if f == nil {
		return nil, false, false
	}
	r, _, _ := f.find(id)
	if r == nil {
		return nil, false, false
	}
	r.used.Store(true)
	if i := r.at(id); i < len(r.ids) && r.ids[i] == id {
		return r.row(i), true, true
	}
	return nil, false, true
}

// few is the number of entries up to which those that are trimmed are looked up first.
const few = 512

// firstIDs are up to n IDs of the first entries, and one more.
func (s *Stream) firstIDs(n uint64) (ids []ID, err error) {
	err = s.Range(s.First, Max, func(id ID, _ Fields) bool {
		ids = append(ids, id)
		return uint64(len(ids)) <= n
	})
	return ids, err
}

// before counts the entries before an ID, if they are few.
func (s *Stream) before(id ID) (n uint64, known bool, err error) {
	known = true
	err = s.Range(s.First, Max, func(at ID, _ Fields) bool {
		if !at.Less(id) {
			return false
		}
		n++
		known = n < few
		return known
	})
	if !known {
		n = s.meta.Count
	}
	return n, known, err
}

// dropFirst removes the first n entries, a few.
func (s *Stream) dropFirst(n uint64) error {
	ids, err := s.firstIDs(n)
	switch {
	case err != nil:
		return err
	case uint64(len(ids)) < min(n+1, s.meta.Count):
		return corrupt("entries of a stream are missing")
	}
	for _, id := range ids[:n] {
		s.tx.RemoveIndex(&s.key, &s.meta, entryKey(id))
	}
	s.meta.Count -= n
	s.First = ID{}
	if len(ids) > int(n) {
		s.First = ids[n]
	}
	s.changed = true
	s.own().removeBefore(cmp.Or(s.First, Max))
	return nil
}
