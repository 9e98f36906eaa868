package metastore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// watchBuffer is how many transactions a reader of a watch may be behind.
const watchBuffer = 256

// Memory is a Store in memory. It outlives the dashboards of a test: elections end with Resign or Depose.
type Memory struct {
	mu struct {
		sync.Mutex
		rev      int64
		pairs    map[string]Pair
		watchers map[*watcher]struct{}
		leases   map[string]chan struct{} // by election key: closed when it is gone
		closed   bool
	}
}

type watcher struct {
	prefix string
	ch     chan []Event
}

// NewMemory makes an empty store.
func NewMemory() *Memory {
	m := &Memory{}
	m.mu.pairs = map[string]Pair{}
	m.mu.watchers = map[*watcher]struct{}{}
	m.mu.leases = map[string]chan struct{}{}
	return m
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key string) (Pair, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.checkLocked(ctx); err != nil {
		return Pair{}, false, err
	}
	p, ok := m.mu.pairs[key]
	return p, ok, nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, prefix string) ([]Pair, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.checkLocked(ctx); err != nil {
		return nil, 0, err
	}
	return m.listLocked(prefix), m.mu.rev, nil
}

func (m *Memory) listLocked(prefix string) []Pair {
	var ps []Pair
	for k, p := range m.mu.pairs {
		if strings.HasPrefix(k, prefix) {
			ps = append(ps, p)
		}
	}
	slices.SortFunc(ps, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	return ps
}

func (m *Memory) checkLocked(ctx context.Context) error {
	if m.mu.closed {
		return ErrClosed
	}
	return ctx.Err()
}

// Txn implements Store.
func (m *Memory) Txn(ctx context.Context, guards []Guard, writes ...Write) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.checkLocked(ctx); err != nil {
		return 0, err
	}
	return m.txnLocked(guards, writes...)
}

func (m *Memory) txnLocked(guards []Guard, writes ...Write) (int64, error) {
	for _, g := range guards {
		p := m.mu.pairs[g.Key]
		if g.Created >= 0 && p.Created != g.Created || g.Modified >= 0 && p.Modified != g.Modified {
			return 0, fmt.Errorf("%s: %w", g.Key, ErrGuard)
		}
	}
	seen := map[string]bool{}
	for _, w := range writes {
		if seen[w.Key] {
			return 0, fmt.Errorf("metastore: key %s stands twice in a transaction", w.Key)
		}
		seen[w.Key] = true
	}
	var events []Event
	rev := m.mu.rev + 1
	for _, w := range writes {
		old, exists := m.mu.pairs[w.Key]
		switch {
		case w.Delete && !exists:
			continue
		case w.Delete:
			delete(m.mu.pairs, w.Key)
			events = append(events, Event{Pair{Key: w.Key, Modified: rev}, true})
			if lost := m.mu.leases[w.Key]; lost != nil {
				close(lost)
				delete(m.mu.leases, w.Key)
			}
			continue
		case !exists:
			old.Created = rev
		}
		p := Pair{w.Key, slices.Clone(w.Value), old.Created, rev}
		m.mu.pairs[w.Key] = p
		events = append(events, Event{p, false})
	}
	if len(events) == 0 {
		return m.mu.rev, nil
	}
	m.mu.rev = rev
	for w := range m.mu.watchers {
		m.notifyLocked(w, events)
	}
	return rev, nil
}

func (m *Memory) notifyLocked(w *watcher, events []Event) {
	var mine []Event
	for _, e := range events {
		if strings.HasPrefix(e.Pair.Key, w.prefix) {
			mine = append(mine, e)
		}
	}
	if mine == nil {
		return
	}
	select {
	case w.ch <- mine:
	default:
		m.endLocked(w)
	}
}

func (m *Memory) endLocked(w *watcher) {
	if _, ok := m.mu.watchers[w]; ok {
		delete(m.mu.watchers, w)
		close(w.ch)
	}
}

// Watch implements Store. The memory store keeps no history: a watch from a revision that is not the
// current one is closed at once if anything under its prefix has changed since.
func (m *Memory) Watch(ctx context.Context, prefix string, after int64) <-chan []Event {
	w := &watcher{prefix, make(chan []Event, watchBuffer)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.watchers[w] = struct{}{}
	// A deletion leaves no trace, so any change since counts.
	if m.mu.closed || after != m.mu.rev {
		m.endLocked(w)
		return w.ch
	}
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.endLocked(w)
	})
	return w.ch
}

// Campaign implements Store: the key of the election holds the leader's id.
func (m *Memory) Campaign(ctx context.Context, election, id string) (*Leadership, error) {
	if err := m.Depose(election, id); err != nil {
		return nil, err
	}
	key := election + "/leader"
	for {
		m.mu.Lock()
		if err := m.checkLocked(ctx); err != nil {
			m.mu.Unlock()
			return nil, err
		}
		rev, err := m.txnLocked([]Guard{Absent(key)}, Put(key, []byte(id)))
		if err == nil {
			lost := make(chan struct{})
			m.mu.leases[key] = lost
			m.mu.Unlock()
			g := Guard{key, rev, -1}
			return &Leadership{Guard: g, Lost: lost, resign: func(ctx context.Context) error {
				_, err := m.Txn(ctx, []Guard{g}, Delete(key))
				return err
			}}, nil
		}
		gone := m.mu.leases[key]
		m.mu.Unlock()
		select {
		case <-gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Depose ends the leadership of id, as the expiry of its lease would.
func (m *Memory) Depose(election, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return ErrClosed
	}
	if p, ok := m.mu.pairs[election+"/leader"]; ok && string(p.Value) == id {
		_, err := m.txnLocked(nil, Delete(p.Key))
		return err
	}
	return nil
}

// Close implements Store.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.closed = true
	for w := range m.mu.watchers {
		m.endLocked(w)
	}
	for key, lost := range m.mu.leases {
		close(lost)
		delete(m.mu.leases, key)
	}
	return nil
}
