package session

import (
	"sort"
	"sync"
	"sync/atomic"

	"haypile/internal/commands"
)

// Registry knows all connections of a node. Safe for concurrent use.
type Registry struct {
	next atomic.Int64
	mu   struct {
		sync.Mutex
		clients map[int64]*commands.Client
	}
}

// Add gives the client an id and registers it.
func (r *Registry) Add(c *commands.Client) {
	c.ID = r.next.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.clients == nil {
		r.mu.clients = map[int64]*commands.Client{}
	}
	r.mu.clients[c.ID] = c
}

// Remove forgets it.
func (r *Registry) Remove(c *commands.Client) {
	r.mu.Lock()
	delete(r.mu.clients, c.ID)
	r.mu.Unlock()
}

// Each calls f for every client in the order of ids until it returns false.
func (r *Registry) Each(f func(*commands.Client) bool) {
	r.mu.Lock()
	all := make([]*commands.Client, 0, len(r.mu.clients))
	for _, c := range r.mu.clients {
		all = append(all, c)
	}
	r.mu.Unlock()
	sort.Slice(all, func(i, j int) bool { return all[i].ID < all[j].ID })
	for _, c := range all {
		if !f(c) {
			return
		}
	}
}

// Get finds a client by id, nil if it is gone.
func (r *Registry) Get(id int64) *commands.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.clients[id]
}

// Count is the number of connections.
func (r *Registry) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.mu.clients)
}
