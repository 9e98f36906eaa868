package disk

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashClone returns the file system as a power loss at this moment could leave it. Each change that was
// not synced is kept with probability keep, independently of the others: directory changes one by one,
// file contents page by page, sizes by themselves; some pages are torn inside. keep 0 leaves exactly what
// was synced, keep 1 everything. The clone shares nothing with m, holds no locks, and everything in it is
// durable.
func (m *Mem) CrashClone(rng *rand.Rand, keep float64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	contents := map[*memNode]map[string]*memNode{}
	names := func(d *memNode) map[string]*memNode {
		if contents[d] == nil {
			contents[d] = maps.Clone(d.durableNames)
		}
		return contents[d]
	}
	for _, op := range m.mu.ops {
		if rng.Float64() < keep {
			op.applyTo(names)
		}
	}
	c := NewMem()
	c.mu.free, c.mu.now = m.mu.free, m.mu.now
	copies := map[*memNode]*memNode{}
	var clone func(n *memNode) *memNode
	clone = func(n *memNode) *memNode {
		if done := copies[n]; done != nil {
			return done
		}
		if !n.isDir {
			data := n.crashed(rng, keep)
			copies[n] = &memNode{data: data, durable: bytes.Clone(data), dirty: map[int64]bool{},
				modTime: n.modTime}
			return copies[n]
		}
		d := newMemDir()
		copies[n] = d
		kept := names(n)
		for _, name := range slices.Sorted(maps.Keys(kept)) { // sorted: the same seed, the same crash
			d.names[name] = clone(kept[name])
		}
		d.durableNames = maps.Clone(d.names)
		return d
	}
	c.mu.root = clone(m.mu.root)
	return c
}

// crashed returns the bytes that a power loss leaves of a file.
func (n *memNode) crashed(rng *rand.Rand, keep float64) []byte {
	out := resize(bytes.Clone(n.durable), max(len(n.durable), len(n.data)))
	lastKept := 0
	for _, page := range slices.Sorted(maps.Keys(n.dirty)) {
		from := int(page * pageSize)
		to := min(from+pageSize, len(n.data))
		if from >= to || rng.Float64() >= keep {
			continue
		}
		if keep < 1 && rng.IntN(8) == 0 { // a torn page: only its beginning or only its end arrived
			cut := from + rng.IntN(to-from)
			if rng.IntN(2) == 0 {
				to = cut
			} else {
				from = cut
			}
		}
		copy(out[from:to], n.data[from:to])
		lastKept = max(lastKept, to)
	}
	return resize(out, n.crashedSize(rng, keep, lastKept))
}

// crashedSize picks the size: the durable one, the newest one, the end of the last page that arrived, or
// anything between.
func (n *memNode) crashedSize(rng *rand.Rand, keep float64, lastKept int) int {
	lo, hi := min(len(n.durable), len(n.data)), max(len(n.durable), len(n.data))
	switch {
	case lo == hi || keep <= 0:
		return len(n.durable)
	case keep >= 1:
		return len(n.data)
	case rng.Float64() < keep:
		return len(n.data)
	case rng.IntN(3) == 0:
		return lo + rng.IntN(hi-lo+1)
	case rng.IntN(2) == 0 && lastKept > lo:
		return min(lastKept, hi)
	}
	return len(n.durable)
}
