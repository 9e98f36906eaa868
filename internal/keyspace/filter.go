package keyspace

import (
	"context"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"haypile/internal/encoding"
)

// rowFilter knows which rows certainly do not exist: a Bloom filter in memory over the keys of all rows that
// Txn.read looks up: the data, and the libraries of functions. Without it every insert of a new key, field or
// member pays for a search of all memtables and levels that finds nothing, which costs more than the insert.
//
// It is ready at once in a store that began empty; otherwise after a scan in the background (fill). It grows
// by layers, each twice the size of the one before; a store whose rows would need more than the budget goes
// without. Rows that are deleted stay in it and cost only false positives.
//
// Coherence: a row is added under the lock of its key before anybody else can look for it, as with the hot
// cache; so "absent" is never wrong once the filter is ready.
type rowFilter struct {
	ready  atomic.Bool
	layers atomic.Pointer[[]*filterLayer]
	max    int64 // bytes
	mu     struct {
		sync.Mutex
		off bool // too many rows: not to be used any more
	}
}

// filterLayer is a blocked Bloom filter: all bits of a row lie in one cache line.
type filterLayer struct {
	words []atomic.Uint64
	// memory has the words: outside the Go heap, whose collector would keep as much again for new objects.
	memory *region
	shift  uint // 64 - log2 of the number of lines
	rows   atomic.Int64
	limit  int64
}

const (
	filterLineWords = 8 // 64 bytes
	filterProbes    = 6
	filterRowBits   = 12
	filterFirst     = 1 << 20 // bytes of the first layer
)

func newFilterLayer(bytes int64) *filterLayer {
	lines := uint64(bytes / 64)
	l := &filterLayer{shift: uint(64 - bits.Len64(lines-1)), limit: bytes * 8 / filterRowBits}
	if l.memory = newRegion(int(lines * filterLineWords * 8)); l.memory != nil {
		adviseHuge(l.memory.bytes)
		l.words = unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&l.memory.bytes[0])), lines*filterLineWords)
	} else {
		l.words = make([]atomic.Uint64, lines*filterLineWords)
	}
	return l
}

func newRowFilter(maxBytes int64) *rowFilter {
	f := &rowFilter{max: maxBytes}
	f.reset()
	return f
}

// reset forgets all rows. REQUIRES: no rows exist, nobody looks.
func (f *rowFilter) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.off = f.max < filterFirst
	f.layers.Store(&[]*filterLayer{})
	if !f.mu.off {
		f.layers.Store(&[]*filterLayer{newFilterLayer(filterFirst)})
	}
}

// line is where the bits of a row lie. The multiplication spreads the hash anew: its own bits choose the
// bits within the line.
func (l *filterLayer) line(hash uint64) []atomic.Uint64 {
	at := hash * 0x9E3779B97F4A7C15 >> l.shift * filterLineWords
	return l.words[at : at+filterLineWords : at+filterLineWords]
}

func (l *filterLayer) has(hash uint64) bool {
	line := l.line(hash)
	for range filterProbes {
		if line[hash>>6&7].Load()&(1<<(hash&63)) == 0 {
			return false
		}
		hash >>= 9
	}
	return true
}

func (l *filterLayer) add(hash uint64) {
	line := l.line(hash)
	for range filterProbes {
		line[hash>>6&7].Or(1 << (hash & 63))
		hash >>= 9
	}
}

// absent reports that the row certainly does not exist.
func (f *rowFilter) absent(hash uint64) bool {
	if !f.ready.Load() {
		return false
	}
	// A filter that has just given up has no layers, and says nothing.
	layers := *f.layers.Load()
	return len(layers) > 0 && !containedIn(layers, hash)
}

func containedIn(layers []*filterLayer, hash uint64) bool {
	for _, l := range layers {
		if l.has(hash) {
			return true
		}
	}
	return false
}

// add notes a row.
func (f *rowFilter) add(hash uint64) {
	layers := *f.layers.Load()
	if len(layers) == 0 {
		return
	}
	if containedIn(layers, hash) {
		return
	}
	newest := layers[len(layers)-1]
	newest.add(hash)
	if newest.rows.Add(1) > newest.limit {
		f.grow(newest)
	}
}

// grow adds a layer behind full, or gives up.
func (f *rowFilter) grow(full *filterLayer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	layers := *f.layers.Load()
	if f.mu.off || layers[len(layers)-1] != full {
		return
	}
	size := int64(len(full.words)) * 8 * 2
	if size*2 > f.max {
		f.mu.off = true
		f.ready.Store(false)
		f.layers.Store(&[]*filterLayer{})
		return
	}
	next := append(append([]*filterLayer(nil), layers...), newFilterLayer(size))
	f.layers.Store(&next)
}

// bytes is the memory held.
func (f *rowFilter) bytes() (n int64) {
	for _, l := range *f.layers.Load() {
		n += int64(len(l.words)) * 8
	}
	return n
}

// FillFilter makes the filter of absent rows ready by a scan of all rows. Rows written meanwhile are added
// by those who write them. Background work; it may be given up at any time.
func (s *Store) FillFilter(ctx context.Context) error {
	f := s.filter
	if f.ready.Load() {
		return nil
	}
	// Libraries of functions are looked up like keys, but stand in the table of the system.
	it, err := s.engine.Iter([]byte{byte(encoding.TableSystem)}, encoding.PrefixEnd([]byte{byte(encoding.TableData)}))
	if err != nil {
		return fmt.Errorf("fill the filter of absent rows: %w", err)
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		f.add(rowHash(it.Key()))
		if n++; n&1023 == 0 && (ctx.Err() != nil || len(*f.layers.Load()) == 0) {
			break
		}
	}
	if err := it.Close(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() == nil && !f.mu.off {
		f.ready.Store(true)
	}
	return ctx.Err()
}
