// Package tracking is the table of client-side caching (CLIENT TRACKING): which client has read which key, and
// which client listens to which prefix of keys. It knows neither connections nor the protocol: a client takes
// what became invalid through a Sink, whose Invalidate must not block.
//
// A client never keeps a value that is not current any more. The argument has three steps.
//
//   - A reading command remembers its keys (Remember) while it holds their locks, shared; a change invalidates
//     them (Apply) while it holds them exclusively, after it can be seen. So a read either saw the change, or it
//     is found in the table by the change. Within one transaction reads and changes stand in one list, and are
//     applied in their order.
//   - What the Sink is given comes behind the reply of the read: a connection sends messages only between
//     batches of replies (package session). A message may so come behind a newer value, which the client then
//     reads once more; it never comes before an older one.
//   - An entry leaves the table only with a message to the client (a change, a flush, the bound), or with the
//     client itself.
//
// With a redirection the message goes over another connection, and nothing orders the two: as in Redis the
// client has to see to that. Keys are known by name alone, whatever their database, as in Redis.
//
// State ownership: all of a Table stands under its mu; sinks are called with it held, so that the messages to one
// client have the order of the changes. Lock order: key locks, Table.mu, whatever a sink takes.
package tracking

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Mode is what a client asked for.
type Mode struct {
	On                           bool
	BCast, OptIn, OptOut, NoLoop bool
	// Redirect is the id of the client that gets the messages; 0: this one.
	Redirect int64
}

// Remembers reports whether the keys of a reading command enter the table. caching: CLIENT CACHING was called
// for it.
func (m Mode) Remembers(caching bool) bool {
	return m.On && !m.BCast && (!m.OptIn || caching) && (!m.OptOut || !caching)
}

// Sink takes messages. Invalidate must not block and must copy what it keeps; keys are nil if all are invalid. It
// returns false if the client to which messages are redirected is gone.
type Sink interface {
	Invalidate(keys [][]byte) (delivered bool)
}

// Change is a key that a transaction has changed, or read, and by whom; 0 is nobody.
type Change struct {
	Key  []byte
	By   int64
	Read bool
}

// Table is the table of one node. New makes one.
type Table struct {
	// observers counts those who want to be told what changes: while it is 0 nobody collects it.
	observers *atomic.Int64
	clients   atomic.Int64
	mu        struct {
		sync.Mutex
		clients map[int64]*client
		// keys are the keys that were read, each with the ids of its readers, ascending. Ids of clients that are
		// gone, or do not track any more, stay until the key is invalidated.
		keys  map[string][]int64
		items int
		// most bounds the keys, 0: not at all.
		most int
		// prefixes are those of clients in the mode BCast; lengths are the lengths that occur, ascending.
		prefixes map[string]map[int64]struct{}
		lengths  []int
	}
}

type client struct {
	mode     Mode
	sink     Sink
	broken   bool     // the redirection leads nowhere
	prefixes []string // sorted
}

// New makes a table. It adds its clients to observers.
func New(observers *atomic.Int64) *Table {
	t := &Table{observers: observers}
	t.mu.clients = map[int64]*client{}
	t.mu.keys = map[string][]int64{}
	t.mu.prefixes = map[string]map[int64]struct{}{}
	return t
}

// Enable begins to track for a client, or changes its mode. In the mode BCast the prefixes are added to those
// that it has; none at all is the empty one.
func (t *Table) Enable(id int64, m Mode, prefixes []string, s Sink) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.mu.clients[id]
	if c == nil {
		c = &client{}
		t.mu.clients[id] = c
		t.clients.Add(1)
		t.observers.Add(1)
	}
	c.mode, c.sink, c.broken = m, s, false
	if !m.BCast {
		return
	}
	if len(prefixes) == 0 {
		prefixes = []string{""}
	}
	for _, p := range prefixes {
		set := t.mu.prefixes[p]
		if set == nil {
			set = map[int64]struct{}{}
			t.mu.prefixes[p] = set
			if i, found := slices.BinarySearch(t.mu.lengths, len(p)); !found {
				t.mu.lengths = slices.Insert(t.mu.lengths, i, len(p))
			}
		}
		if _, had := set[id]; !had {
			set[id] = struct{}{}
			at, _ := slices.BinarySearch(c.prefixes, p)
			c.prefixes = slices.Insert(c.prefixes, at, p)
		}
	}
}

// Disable ends it. What the client has read is forgotten with the keys.
func (t *Table) Disable(id int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.mu.clients[id]
	if c == nil {
		return
	}
	delete(t.mu.clients, id)
	t.clients.Add(-1)
	t.observers.Add(-1)
	for _, p := range c.prefixes {
		set := t.mu.prefixes[p]
		delete(set, id)
		if len(set) == 0 {
			delete(t.mu.prefixes, p)
		}
	}
	if len(c.prefixes) > 0 {
		t.mu.lengths = t.mu.lengths[:0]
		for p := range t.mu.prefixes {
			if i, found := slices.BinarySearch(t.mu.lengths, len(p)); !found {
				t.mu.lengths = slices.Insert(t.mu.lengths, i, len(p))
			}
		}
	}
}

// State is what others may know of a client: its mode, whether its redirection is broken, and its prefixes.
func (t *Table) State(id int64) (m Mode, broken bool, prefixes []string) {
	if !t.Active() {
		return Mode{}, false, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.mu.clients[id]
	if c == nil {
		return Mode{}, false, nil
	}
	return c.mode, c.broken, slices.Clone(c.prefixes)
}

// Overlap finds two prefixes of which one begins with the other: a new one and one that the client has, or two
// new ones (among).
func (t *Table) Overlap(id int64, prefixes []string) (p, other string, among, found bool) {
	_, _, have := t.State(id)
	for i, p := range prefixes {
		for _, other := range have {
			if overlap(p, other) {
				return p, other, false, true
			}
		}
		for _, other := range prefixes[i+1:] {
			if overlap(p, other) {
				return p, other, true, true
			}
		}
	}
	return "", "", false, false
}

func overlap(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

// Remember notes that a client has read keys. REQUIRES: their locks.
func (t *Table) Remember(id int64, keys [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		t.rememberLocked(id, k)
	}
	t.evictLocked(len(keys))
}

func (t *Table) rememberLocked(id int64, key []byte) {
	ids := t.mu.keys[string(key)]
	i, found := slices.BinarySearch(ids, id)
	if found {
		return
	}
	t.mu.keys[string(key)] = slices.Insert(ids, i, id)
	t.mu.items++
}

// evictLocked invalidates keys chosen at random, at most n, until the table is within its bound.
func (t *Table) evictLocked(n int) {
	for k := range t.mu.keys {
		if t.mu.most <= 0 || len(t.mu.keys) <= t.mu.most || n == 0 {
			return
		}
		n--
		t.invalidateLocked([]byte(k), 0)
	}
}

// SetMost bounds the keys in the table, 0: not at all. It invalidates those that are too many.
func (t *Table) SetMost(most int) {
	const step = 1000 // while commands wait
	for again := true; again; {
		t.mu.Lock()
		t.mu.most = most
		t.evictLocked(step)
		again = most > 0 && len(t.mu.keys) > most
		t.mu.Unlock()
	}
}

// Active reports whether any client tracks.
func (t *Table) Active() bool { return t.clients.Load() > 0 }

// Apply takes what a transaction has read and changed, in order: whoever has read a changed key before is told.
// REQUIRES: the locks of the keys, and that the changes can be seen.
func (t *Table) Apply(changes []Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	reads := 0
	for i := range changes {
		c := &changes[i]
		if c.Read {
			t.rememberLocked(c.By, c.Key)
			reads++
		} else {
			t.invalidateLocked(c.Key, c.By)
		}
	}
	t.broadcastLocked(changes)
	t.evictLocked(reads)
}

// invalidateLocked tells those who have read a key, and forgets it. The client by is not told if it does not want
// to hear of its own changes: it knows that what it has read is old.
func (t *Table) invalidateLocked(key []byte, by int64) {
	ids, ok := t.mu.keys[string(key)]
	if !ok {
		return
	}
	delete(t.mu.keys, string(key))
	t.mu.items -= len(ids)
	for _, id := range ids {
		// In the mode BCast keys that were read before it began mean nothing any more.
		if c := t.mu.clients[id]; c != nil && !c.mode.BCast && !(c.mode.NoLoop && id == by) {
			c.send([][]byte{key})
		}
	}
}

// broadcastLocked tells those who listen to prefixes, in one message for each prefix.
func (t *Table) broadcastLocked(changes []Change) {
	if len(t.mu.lengths) == 0 {
		return
	}
	var changed map[string][]Change
	for _, c := range changes {
		for _, n := range t.mu.lengths {
			if c.Read || n > len(c.Key) {
				break
			}
			if p := string(c.Key[:n]); t.mu.prefixes[p] != nil {
				if changed == nil {
					changed = map[string][]Change{}
				}
				changed[p] = append(changed[p], c)
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(changed)) {
		list := changed[p]
		// Of several changes of a key the last one counts, as in Redis.
		slices.SortStableFunc(list, func(a, b Change) int { return bytes.Compare(a.Key, b.Key) })
		last := list[:0]
		for i, c := range list {
			if i+1 == len(list) || !bytes.Equal(c.Key, list[i+1].Key) {
				last = append(last, c)
			}
		}
		for id := range t.mu.prefixes[p] {
			c := t.mu.clients[id]
			keys := make([][]byte, 0, len(last))
			for _, change := range last {
				if !c.mode.NoLoop || change.By != id {
					keys = append(keys, change.Key)
				}
			}
			if len(keys) > 0 {
				c.send(keys)
			}
		}
	}
}

func (c *client) send(keys [][]byte) {
	if !c.sink.Invalidate(keys) {
		c.broken = true
	}
}

// Flush tells every client that all is invalid: the data was replaced.
func (t *Table) Flush() {
	if !t.Active() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.mu.keys)
	t.mu.items = 0
	for _, c := range t.mu.clients {
		c.send(nil)
	}
}

// Stats are the numbers of clients, of keys, of pairs of a key and a reader, and of prefixes.
func (t *Table) Stats() (clients, keys, items, prefixes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.mu.clients), len(t.mu.keys), t.mu.items, len(t.mu.prefixes)
}
