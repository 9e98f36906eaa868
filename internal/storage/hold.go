package storage

import "sync"

// hold is how many walks want the block cache as it is, and what takes its room meanwhile.
type hold struct {
	mu struct {
		sync.Mutex
		n       int
		release func()
	}
}

// heldGrowth is by how much the block cache may grow while it is held: enough for the blocks of many iterators.
const heldGrowth = 16 << 20

// HoldCache keeps the block cache from growing by more than a little until the function that it returns is called: for
// walks over much that nobody will want again soon. What the cache has it may exchange. Several may hold it.
func (e *Engine) HoldCache() (release func()) {
	h := &e.hold
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.n++; h.mu.n == 1 {
		// Memtables have their memory from the cache's budget, too.
		used := e.cache.Size() + int64(e.db.Metrics().MemTable.Size)
		if spare := e.cache.MaxSize() - used - heldGrowth; spare > 0 {
			h.mu.release = e.cache.Reserve(int(spare))
		}
	}
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.mu.n--; h.mu.n == 0 && h.mu.release != nil {
			h.mu.release()
			h.mu.release = nil
		}
	})
}
