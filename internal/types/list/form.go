package list

import (
	"sync"
	"sync/atomic"

	"haypile/internal/keyspace"
)

// form is the form of a list in memory (see keyspace.Form): copies of elements, by their ordinals, so that neighbours
// lie together and none takes an entry of the hot cache. What a form has no room for, or has not seen, is looked up
// row by row. Readers share a form and add what they have read; only who owns it changes what it has.
//
// Invariants: an element in a form is that of its row. Only a list of at least formLeast elements has one, or its
// changes would miss it: Save drops the form of a list that has become shorter.
type form struct {
	mu     sync.RWMutex
	chunks map[uint64]*chunk // by ordinal / chunkLen
	size   atomic.Int64
}

const (
	chunkBits = 6
	chunkLen  = 1 << chunkBits
	// chunkOverhead is the memory of a chunk beside the bytes of its elements.
	chunkOverhead = 8*chunkLen + 120

	// formLeast is the number of elements from which on a list has a form: that of a shorter one would take more
	// memory than its entries in the hot cache.
	formLeast = chunkLen
	// formMost bounds a form, in bytes, beside formShare, the share of what all forms may take; formValue bounds the
	// elements in it.
	formMost  = 32 << 20
	formShare = 4
	formValue = 4 << 10
)

// chunk has the elements of chunkLen neighbouring ordinals, as far as they are known. Bytes in data are never
// changed, so that views stay right.
type chunk struct {
	data []byte
	at   [chunkLen]struct{ end, size uint32 } // of each element in data; end 0: not known
	// known counts the elements, live their bytes; each takes one more than its own, so that no end is 0.
	known, live int
}

func newForm() keyspace.Form { return &form{chunks: map[uint64]*chunk{}} }

// Size implements keyspace.Form.
func (f *form) Size() int64 { return f.size.Load() }

func (c *chunk) get(i uint64) (v []byte, ok bool) {
	e := c.at[i]
	if e.end == 0 {
		return nil, false
	}
	return c.data[e.end-e.size : e.end : e.end], true
}

// set makes v element i.
func (c *chunk) set(i uint64, v []byte) {
	if len(c.data) > 2*(c.live+len(v))+chunkLen { // mostly what was replaced or removed
		old := c.data
		c.data = make([]byte, 0, c.live+len(v)+1)
		for k := range c.at {
			if e := &c.at[k]; e.end != 0 {
				c.data = append(append(c.data, 0), old[e.end-e.size:e.end]...)
				e.end = uint32(len(c.data))
			}
		}
	}
	c.data = append(append(c.data, 0), v...)
	c.at[i].end, c.at[i].size = uint32(len(c.data)), uint32(len(v))
	c.known++
	c.live += len(v) + 1
}

func (c *chunk) clear(i uint64) {
	if e := &c.at[i]; e.end != 0 {
		c.known--
		c.live -= int(e.size) + 1
		e.end = 0
	}
}

// get is a known element. The view stays right.
func (f *form) get(ordinal uint64) (v []byte, ok bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	c := f.chunks[ordinal>>chunkBits]
	if c == nil {
		return nil, false
	}
	return c.get(ordinal % chunkLen)
}

// piece collects the known elements from an ordinal on, up to the end of its chunk, before end; step is 1, or -1 for
// those from the ordinal down to end.
func (f *form) piece(views [][]byte, ordinal, end, step uint64) [][]byte {
	f.mu.RLock()
	defer f.mu.RUnlock()
	c := f.chunks[ordinal>>chunkBits]
	if c == nil {
		return views
	}
	for o := ordinal; o != end && o>>chunkBits == ordinal>>chunkBits; o += step {
		v, ok := c.get(o % chunkLen)
		if !ok {
			break
		}
		views = append(views, v)
	}
	return views
}

// put makes v the element of an ordinal, or, if the form would take more than most bytes, makes that unknown.
func (f *form) put(ordinal uint64, v []byte, most int64) (kept bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, i := ordinal>>chunkBits, ordinal%chunkLen
	c := f.chunks[at]
	if len(v) > formValue || f.size.Load()+int64(len(v))+chunkOverhead > most {
		f.clearLocked(at, c, i)
		return false
	}
	if c == nil {
		c = &chunk{data: make([]byte, 0, min(chunkLen*(len(v)+1), formValue+1))}
		f.chunks[at] = c
		f.size.Add(chunkOverhead + int64(cap(c.data)))
	}
	size := cap(c.data)
	c.clear(i)
	c.set(i, v)
	f.size.Add(int64(cap(c.data) - size))
	return true
}

// remove forgets an element.
func (f *form) remove(ordinal uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := ordinal >> chunkBits
	f.clearLocked(at, f.chunks[at], ordinal%chunkLen)
}

func (f *form) clearLocked(at uint64, c *chunk, i uint64) {
	if c == nil {
		return
	}
	if c.clear(i); c.known == 0 {
		delete(f.chunks, at)
		f.size.Add(-chunkOverhead - int64(cap(c.data)))
	}
}

// form is that of the list to read; nil if it has none.
func (l *List) form() *form {
	if !l.formed {
		return nil
	}
	return l.tx.Form(l.meta.ID, newForm).(*form)
}

// room is how large the form may become.
func (l *List) room() int64 { return min(l.tx.FormBudget()/formShare, formMost) }

// ownForm is the form to change, to be asked for before each change of a row; nil if the list has none.
func (l *List) ownForm() *form {
	if !l.formed {
		return nil
	}
	return l.tx.OwnForm(l.meta.ID, newForm).(*form)
}
