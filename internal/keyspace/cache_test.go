package keyspace

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// A cache may forget, but what it tells must be what was put last.
func TestCacheTellsTheLatest(t *testing.T) {
	type row struct {
		value  string
		absent bool
	}
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(seed, 5))
		const budget = 70 << 10 * cacheShards
		c := newRowCache(budget)
		want := map[string]row{}
		// All rows in one shard, and few distinct home slots, so that index runs grow long and wrap.
		hash := func(key string) uint64 {
			h := uint64(0)
			for _, b := range []byte(key) {
				h = h*31 + uint64(b)
			}
			return h<<40>>6&^(uint64(63)<<58) | uint64(1023-h%7)
		}
		hits := 0
		for i := range 25_000 {
			key := fmt.Sprintf("key%d%s", rng.IntN(600), strings.Repeat("x", rng.IntN(2)*rng.IntN(40)))
			switch rng.IntN(5) {
			case 0, 1:
				r := row{absent: rng.IntN(4) == 0}
				if !r.absent {
					r.value = strings.Repeat(fmt.Sprint(i), rng.IntN(60))
				}
				c.put(hash(key), []byte(key), []byte(r.value), r.absent)
				want[key] = r
			case 2:
				if rng.IntN(1500) == 0 {
					c.resize([]int64{0, budget / 2, budget}[rng.IntN(3)])
				}
				if rng.IntN(1500) == 0 {
					c.clear()
				}
			default:
				v, present, known := c.get([]byte("prefix"), hash(key), []byte(key))
				if !strings.HasPrefix(string(v), "prefix") {
					t.Fatalf("%s: what stood in the buffer is gone", key)
				}
				if !known {
					continue
				}
				hits++
				r, ever := want[key]
				if !ever || present == r.absent || string(v) != "prefix"+r.value {
					t.Fatalf("%s is %.60q present %v, want %.60q absent %v", key, v, present, r.value, r.absent)
				}
			}
			if i%500 == 0 {
				checkShards(t, c)
			}
		}
		if hits < 500 {
			t.Errorf("seed %d: only %d hits", seed, hits)
		}
	}
}

// checkShards checks what must hold of ring and index.
func checkShards(t *testing.T, c *rowCache) {
	t.Helper()
	for i := range c.shards {
		m := &c.shards[i].mu
		if len(m.ring) > max(m.limit, 0) && m.used > 0 {
			t.Fatalf("shard %d: ring of %d bytes, limit %d", i, len(m.ring), m.limit)
		}
		walked, at := 0, m.tail
		for walked < m.used {
			size := int(binary.LittleEndian.Uint32(m.ring[at:]))
			walked += size
			if at += size; at == len(m.ring) {
				at = 0
			}
		}
		if walked != m.used || m.used > 0 && at != m.head%len(m.ring) {
			t.Fatalf("shard %d: entries from %d end at %d after %d bytes, head is %d, used %d", i, m.tail, at,
				walked, m.head, m.used)
		}
		pointers := 0
		for _, x := range m.index {
			if x != 0 {
				pointers++
				if at := int(x&positionMax-1) << 3; m.ring[at+6]&flagLive == 0 {
					t.Fatalf("shard %d: the index points to a dead entry", i)
				}
			}
		}
		if pointers != m.count {
			t.Fatalf("shard %d: %d entries in the index, %d counted", i, pointers, m.count)
		}
	}
}

func TestCacheKeepsWithinItsBudget(t *testing.T) {
	const budget = 4 << 20 // a shard's ring begins with 64 KB, if it may
	c := newRowCache(budget)
	value := make([]byte, 100)
	for i := range 60_000 {
		key := fmt.Appendf(nil, "key:%d", i)
		c.put(uint64(i)*0x9e3779b97f4a7c15, key, value, false)
	}
	if n := c.bytes(); n > budget || n < budget/2 {
		t.Errorf("%d bytes held, budget %d", n, budget)
	}
	c.resize(budget / 4)
	if n := c.bytes(); n > budget/4 {
		t.Errorf("%d bytes held after shrinking to %d", n, budget/4)
	}
	c.resize(0)
	c.put(1, []byte("k"), value, false)
	if _, _, known := c.get(nil, 1, []byte("k")); known || c.bytes() != 0 {
		t.Error("a cache without budget caches")
	}
}

// Rows that are read again survive a flood of rows that are not.
func TestCacheSecondChance(t *testing.T) {
	c := newRowCache(6 << 20)
	value := make([]byte, 200)
	hot := func(i int) (uint64, []byte) { return uint64(i) * 0x9e3779b97f4a7c15, fmt.Appendf(nil, "hot:%d", i) }
	for i := range 1000 {
		h, k := hot(i)
		c.put(h, k, value, false)
	}
	kept := 0
	for i := range 60_000 {
		c.put(uint64(i)*0xbf58476d1ce4e5b9+77, fmt.Appendf(nil, "cold:%d", i), value, false)
		h, k := hot(i % 1000)
		if _, _, known := c.get(nil, h, k); known && i >= 59_000 {
			kept++
		}
	}
	// The hot rows stand side by side at first; of five in a row one is given up, see sparesPerPut.
	if kept < 700 {
		t.Errorf("%d of 1000 hot rows are left", kept)
	}
}

func TestCacheRefusesOddSizes(t *testing.T) {
	c := newRowCache(64 << 20)
	long := []byte(strings.Repeat("k", 1<<16))
	c.put(1, long, []byte("v"), false)
	if _, _, known := c.get(nil, 1, long); known {
		t.Error("a key whose length the entry can't hold was kept")
	}
	c.put(2, []byte("k"), []byte("small"), false)
	c.put(2, []byte("k"), make([]byte, 1<<20), false)
	if v, _, known := c.get(nil, 2, []byte("k")); known && len(v) != 1<<20 {
		t.Error("a row too large to be kept left the old one behind")
	}
}
