package keyspace

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// rowCache is the hot cache: engine rows by key, decoded from nothing, under one memory budget. It also
// remembers rows that are absent. It holds no pointers that the garbage collector would have to follow: a
// shard is one byte ring with an open-addressing index over it.
//
// Coherence: every reader that fills it holds the lock of the user key to which the row belongs, at least
// shared; every writer updates it while it holds that lock exclusively, after the engine has applied the
// row. So a fill can never overwrite a newer row.
//
// Eviction is first in, first out with one second chance: an entry that was read since it was written or
// last spared moves to the front again, at most sparesPerPut times a put, so that a put costs O(1).
//
// The rings lie outside the Go heap, where their size would let as much garbage pile up, and mostly on huge pages,
// as nearly every look-up goes to another page. What was never used costs no memory.
type rowCache struct {
	shards [cacheShards]cacheShard
	region *region
	hits   atomic.Int64
	misses atomic.Int64
}

const (
	cacheShards  = 1 << cacheBits
	cacheBits    = 5
	sparesPerPut = 4
	// Layout of an entry in the ring; entries are multiples of 8 bytes and never wrap.
	//	u32 size of the entry | u16 key length | u8 flags | u8 0 | u32 value length | u64 hash at 12.. | key | value
	entryHead   = 24
	flagLive    = 1
	flagAbsent  = 2
	flagRead    = 4
	flagFiller  = 8
	indexMin    = 1024
	tagShift    = 32
	positionMax = 1<<32 - 1
)

type cacheShard struct {
	mu struct {
		sync.Mutex
		ring []byte
		// limit is the size of the ring; top how much of it was ever used.
		limit, top int
		// tail is the oldest entry, head where the next goes; used counts the bytes between.
		tail, head, used int
		// index is a power of two long; a slot holds hash bits above position/8+1, or 0.
		index []uint64
		count int
	}
	_ [32]byte // keep neighbours' locks off one cache line
}

// newRowCache makes a cache of the given budget in bytes; 0 or less caches nothing.
func newRowCache(budget int64) *rowCache {
	c := &rowCache{}
	c.resize(budget)
	return c
}

// resize sets a new budget and drops the contents.
func (c *rowCache) resize(budget int64) {
	per := max(0, int(budget/cacheShards))
	per = min(per, positionMax) * 4 / 5 &^ (pageBytes - 1) // the rest pays for the index
	old := c.region
	c.region = newRegion(per * cacheShards)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.clearLocked()
		s.mu.ring, s.mu.limit = nil, 0
		if c.region != nil {
			s.mu.ring, s.mu.limit = c.region.bytes[i*per:(i+1)*per:(i+1)*per], per
			adviseHuge(s.mu.ring)
		}
		s.mu.Unlock()
	}
	old.free()
}

// clear drops everything.
func (c *rowCache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.clearLocked()
		discard(s.mu.ring)
		s.mu.Unlock()
	}
}

// free gives the memory back. REQUIRES: nobody uses the cache any more, nor will.
func (c *rowCache) free() { c.resize(0) }

func (s *cacheShard) clearLocked() {
	m := &s.mu
	m.index = nil
	m.tail, m.head, m.used, m.count, m.top = 0, 0, 0, 0, 0
}

func (c *rowCache) shard(hash uint64) *cacheShard { return &c.shards[hash>>(64-cacheBits)] }

// get appends the cached value of a row to dst. known is false if the cache can't tell; present says
// whether the row exists.
func (c *rowCache) get(dst []byte, hash uint64, key []byte) (v []byte, present, known bool) {
	s := c.shard(hash)
	s.mu.Lock()
	_, at := s.findLocked(hash, key)
	if at < 0 {
		s.mu.Unlock()
		c.misses.Add(1)
		return dst, false, false
	}
	e := s.mu.ring[at:]
	flags := e[6]
	if flags&flagRead == 0 {
		e[6] |= flagRead
	}
	if flags&flagAbsent == 0 {
		klen := int(binary.LittleEndian.Uint16(e[4:]))
		vlen := int(binary.LittleEndian.Uint32(e[8:]))
		dst = append(dst, e[entryHead+klen:entryHead+klen+vlen]...)
	}
	s.mu.Unlock()
	c.hits.Add(1)
	return dst, flags&flagAbsent == 0, true
}

// getPart is get for the bytes [from, to) of the value, as far as it has them.
func (c *rowCache) getPart(dst []byte, hash uint64, key []byte, from, to int) (v []byte, present, known bool) {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, at := s.findLocked(hash, key)
	if at < 0 {
		c.misses.Add(1)
		return dst, false, false
	}
	c.hits.Add(1)
	e := s.mu.ring[at:]
	e[6] |= flagRead
	if e[6]&flagAbsent != 0 {
		return dst, false, true
	}
	klen := int(binary.LittleEndian.Uint16(e[4:]))
	vlen := int(binary.LittleEndian.Uint32(e[8:]))
	return append(dst, within(e[entryHead+klen:entryHead+klen+vlen], from, to)...), true, true
}

// put stores the value of a row, or with absent that there is none. Too large rows are dropped instead.
func (c *rowCache) put(hash uint64, key, value []byte, absent bool) {
	s := c.shard(hash)
	need := (entryHead + len(key) + len(value) + 7) &^ 7
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.mu
	slot, at := s.findLocked(hash, key)
	if len(key) > 1<<16-1 || need > m.limit/8 {
		if at >= 0 {
			s.dropLocked(slot, at)
		}
		return
	}
	if at >= 0 {
		if size := int(binary.LittleEndian.Uint32(m.ring[at:])); size >= need {
			s.writeLocked(at, size, hash, key, value, absent, flagRead)
			return
		}
		s.dropLocked(slot, at)
	}
	if at = s.roomLocked(need); at < 0 {
		return
	}
	s.writeLocked(at, need, hash, key, value, absent, 0)
	s.insertLocked(hash, at)
}

// drop forgets a row.
func (c *rowCache) drop(hash uint64, key []byte) {
	s := c.shard(hash)
	s.mu.Lock()
	if slot, at := s.findLocked(hash, key); at >= 0 {
		s.dropLocked(slot, at)
	}
	s.mu.Unlock()
}

func (s *cacheShard) writeLocked(at, size int, hash uint64, key, value []byte, absent bool, flags byte) {
	e := s.mu.ring[at : at+size]
	flags |= flagLive
	if absent {
		flags |= flagAbsent
		value = nil
	}
	binary.LittleEndian.PutUint32(e, uint32(size))
	binary.LittleEndian.PutUint16(e[4:], uint16(len(key)))
	e[6], e[7] = flags, 0
	binary.LittleEndian.PutUint32(e[8:], uint32(len(value)))
	binary.LittleEndian.PutUint64(e[12:], hash)
	copy(e[entryHead:], key)
	copy(e[entryHead+len(key):], value)
}

// findLocked returns the index slot and the position of the row's entry, or -1.
func (s *cacheShard) findLocked(hash uint64, key []byte) (slot, at int) {
	m := &s.mu
	if m.count == 0 {
		return -1, -1
	}
	mask := len(m.index) - 1
	for i := int(hash) & mask; ; i = (i + 1) & mask {
		x := m.index[i]
		if x == 0 {
			return -1, -1
		}
		if x>>tagShift != hash>>tagShift {
			continue
		}
		at := int(x&positionMax-1) << 3
		e := m.ring[at:]
		klen := int(binary.LittleEndian.Uint16(e[4:]))
		if string(e[entryHead:entryHead+klen]) == string(key) {
			return i, at
		}
	}
}

// slotOfLocked finds the index slot that points to the entry at a position.
func (s *cacheShard) slotOfLocked(hash uint64, at int) int {
	m := &s.mu
	mask := len(m.index) - 1
	want := hash>>tagShift<<tagShift | uint64(at>>3+1)
	i := int(hash) & mask
	for m.index[i] != want {
		i = (i + 1) & mask
	}
	return i
}

func (s *cacheShard) insertLocked(hash uint64, at int) {
	m := &s.mu
	if (m.count+1)*4 > len(m.index)*3 {
		s.growIndexLocked()
	}
	mask := len(m.index) - 1
	i := int(hash) & mask
	for m.index[i] != 0 {
		i = (i + 1) & mask
	}
	m.index[i] = hash>>tagShift<<tagShift | uint64(at>>3+1)
	m.count++
}

func (s *cacheShard) growIndexLocked() {
	m := &s.mu
	old := m.index
	m.index = make([]uint64, max(indexMin, 2*len(old)))
	mask := len(m.index) - 1
	for _, x := range old {
		if x == 0 {
			continue
		}
		at := int(x&positionMax-1) << 3
		i := int(binary.LittleEndian.Uint64(m.ring[at+12:])) & mask
		for m.index[i] != 0 {
			i = (i + 1) & mask
		}
		m.index[i] = x
	}
}

// dropLocked forgets an entry: its index slot is closed by moving later ones of the run back, its bytes
// stay until the tail passes them.
func (s *cacheShard) dropLocked(slot, at int) {
	m := &s.mu
	m.ring[at+6] &^= flagLive
	mask := len(m.index) - 1
	i := slot
	for j := (i + 1) & mask; m.index[j] != 0; j = (j + 1) & mask {
		pos := int(m.index[j]&positionMax-1) << 3
		home := int(binary.LittleEndian.Uint64(m.ring[pos+12:])) & mask
		if (j-home)&mask >= (j-i)&mask {
			m.index[i] = m.index[j]
			i = j
		}
	}
	m.index[i] = 0
	m.count--
}

// roomLocked makes room for need bytes in one piece and returns where; -1 if the budget has none.
func (s *cacheShard) roomLocked(need int) int {
	m := &s.mu
	for spares := 0; ; {
		if at := s.gapLocked(need); at >= 0 {
			return at
		}
		if m.used == 0 {
			return -1
		}
		size := int(binary.LittleEndian.Uint32(m.ring[m.tail:]))
		flags := m.ring[m.tail+6]
		at := m.tail
		m.tail += size
		m.used -= size
		if m.tail == len(m.ring) {
			m.tail = 0
		}
		if flags&flagLive == 0 {
			continue
		}
		hash := binary.LittleEndian.Uint64(m.ring[at+12:])
		s.dropLocked(s.slotOfLocked(hash, at), at)
		if flags&flagRead != 0 && spares < sparesPerPut {
			spares++
			s.spareLocked(at, size, hash)
		}
	}
}

// spareLocked puts the entry just passed by the tail to the front. The gap left by it is at least its size,
// but may be in front of the head only after a wrap; then it is lost.
func (s *cacheShard) spareLocked(at, size int, hash uint64) {
	m := &s.mu
	to := s.gapLocked(size)
	if to < 0 {
		return
	}
	copy(m.ring[to:to+size], m.ring[at:at+size])
	m.ring[to+6] = m.ring[to+6]&^flagRead | flagLive
	s.insertLocked(hash, to)
}

// gapLocked takes need free bytes at the head, perhaps wrapping round, without evicting.
func (s *cacheShard) gapLocked(need int) int {
	m := &s.mu
	if m.used == 0 {
		m.tail, m.head = 0, 0
	}
	free := len(m.ring) - m.head
	if m.used > 0 && m.head <= m.tail {
		free = m.tail - m.head
	}
	if free < need && m.head >= m.tail && (m.head > m.tail || m.used == 0) {
		if m.tail >= need && m.used > 0 {
			// Fill the end with a dead entry and go on at the start.
			if free > 0 {
				e := m.ring[m.head:]
				binary.LittleEndian.PutUint32(e, uint32(free))
				binary.LittleEndian.PutUint16(e[4:], 0)
				e[6] = flagFiller
				m.used += free
			}
			m.head = 0
			free = m.tail
		}
	}
	if free < need {
		return -1
	}
	at := m.head
	m.head += need
	m.used += need
	m.top = max(m.top, m.head)
	if m.head == len(m.ring) && m.tail > 0 {
		m.head = 0
	}
	return at
}

// bytes is the memory held.
func (c *rowCache) bytes() (n int64) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += int64(s.mu.top + 8*len(s.mu.index))
		s.mu.Unlock()
	}
	return n
}
