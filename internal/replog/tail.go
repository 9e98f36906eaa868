package replog

import (
	"sync"
	"sync/atomic"
)

// tail keeps the newest bytes of the stream in memory. Append writes behind the published end, readers
// read below it, so neither waits for the other; memory is reused only while no reader is inside, and
// given to the garbage collector if one is.
type tail struct {
	blockSize int
	maxBlocks int
	// mu is held for reading by readers while they copy, and for writing by who recycles a block (only
	// if nobody reads at that moment) or cuts the log.
	mu   sync.RWMutex
	view atomic.Pointer[tailView]
	// end is where the next byte goes; Append's.
	end Offset
}

// tailView is immutable: block i holds the bytes from start + i*blockSize on.
type tailView struct {
	start  Offset
	blocks [][]byte
}

func newTail(size int, at Offset) *tail {
	t := &tail{blockSize: min(max(size/16, 512), 256<<10)}
	t.maxBlocks = max(size/t.blockSize, 1) + 1 // one is being filled
	t.view.Store(&tailView{start: at})
	t.end = at
	return t
}

// append adds the bytes that follow the end. One caller at a time; they may be read once the caller has
// published the log's new end.
func (t *tail) append(p []byte) {
	if room := t.maxBlocks * t.blockSize; len(p) > room {
		t.end += Offset(len(p) - room)
		p = p[len(p)-room:]
		t.view.Store(&tailView{start: t.end})
	}
	for len(p) > 0 {
		v := t.view.Load()
		at := int(t.end - v.start)
		if at == len(v.blocks)*t.blockSize {
			v = t.grow(v)
			at = int(t.end - v.start)
		}
		n := copy(v.blocks[at/t.blockSize][at%t.blockSize:], p)
		p = p[n:]
		t.end += Offset(n)
	}
}

// grow publishes a view with one more block, without the oldest if there were enough.
func (t *tail) grow(v *tailView) *tailView {
	next := &tailView{start: v.start, blocks: make([][]byte, 0, t.maxBlocks)}
	if len(v.blocks) < t.maxBlocks {
		next.blocks = append(append(next.blocks, v.blocks...), make([]byte, t.blockSize))
		t.view.Store(next)
		return next
	}
	next.start += Offset(t.blockSize)
	next.blocks = append(next.blocks, v.blocks[1:]...)
	if t.mu.TryLock() {
		// No reader is inside, and later ones will find the new view: the block is ours.
		next.blocks = append(next.blocks, v.blocks[0])
		t.view.Store(next)
		t.mu.Unlock()
		return next
	}
	next.blocks = append(next.blocks, make([]byte, t.blockSize))
	t.view.Store(next)
	return next
}

// read copies bytes from off on, up to the published end; false if off lies below what is kept.
func (t *tail) read(p []byte, off Offset, end *atomic.Int64) (int, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	// The end before the view: every view since then holds what was published.
	limit := Offset(end.Load())
	v := t.view.Load()
	if off < v.start || off >= limit {
		return 0, false
	}
	p = p[:min(int64(len(p)), int64(limit-off))]
	n := 0
	for n < len(p) {
		at := int(off-v.start) + n
		n += copy(p[n:], v.blocks[at/t.blockSize][at%t.blockSize:])
	}
	return n, true
}

// cut makes the log end at a lower offset, forgetting everything kept; publish must lower the log's end.
func (t *tail) cut(at Offset, publish func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.view.Store(&tailView{start: at})
	t.end = at
	publish()
}
