// Package pubsub keeps who listens to which channel and hands messages to them. It knows neither
// connections nor the protocol: a subscriber takes messages through the interface Subscriber, whose Deliver
// must not block.
//
// State ownership: all maps stand under Hub.mu; Deliver is called with it held shared, so that a message is
// either before or behind a change of subscriptions for everybody. Lock order: Hub.mu, then whatever
// Deliver takes.
package pubsub

import (
	"sort"
	"sync"

	"haypile/internal/glob"
)

// Kind is a sort of subscription.
type Kind uint8

// The kinds.
const (
	Channel Kind = iota
	Pattern
	Shard
)

// Message is what a subscriber gets. Pattern is set for a match of a pattern.
type Message struct {
	Kind             Kind
	Pattern, Channel string
	Payload          []byte
}

// Subscriber takes messages. Deliver must not block and must copy what it keeps.
type Subscriber interface{ Deliver(m *Message) }

// Hub is the registry of one node. The zero value is ready.
type Hub struct {
	mu struct {
		sync.RWMutex
		subs [3]map[string]map[Subscriber]struct{}
	}
}

// Subscribe adds a subscription; it reports false if it was there.
func (h *Hub) Subscribe(k Kind, name string, s Subscriber) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.subs[k] == nil {
		h.mu.subs[k] = map[string]map[Subscriber]struct{}{}
	}
	set := h.mu.subs[k][name]
	if set == nil {
		set = map[Subscriber]struct{}{}
		h.mu.subs[k][name] = set
	}
	_, had := set[s]
	set[s] = struct{}{}
	return !had
}

// Unsubscribe removes a subscription; it reports whether it was there.
func (h *Hub) Unsubscribe(k Kind, name string, s Subscriber) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	set := h.mu.subs[k][name]
	if _, had := set[s]; !had {
		return false
	}
	delete(set, s)
	if len(set) == 0 {
		delete(h.mu.subs[k], name)
	}
	return true
}

// Publish delivers a message to a channel (or, with shard, to a sharded channel) and returns to how many
// subscriptions.
func (h *Hub) Publish(channel, payload []byte, shard bool) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	kind := Channel
	if shard {
		kind = Shard
	}
	n := 0
	if set := h.mu.subs[kind][string(channel)]; len(set) > 0 {
		m := &Message{Kind: kind, Channel: string(channel), Payload: payload}
		for s := range set {
			s.Deliver(m)
			n++
		}
	}
	if shard || len(h.mu.subs[Pattern]) == 0 {
		return n
	}
	for p, set := range h.mu.subs[Pattern] {
		if !glob.Match([]byte(p), channel, false) {
			continue
		}
		m := &Message{Kind: Pattern, Pattern: p, Channel: string(channel), Payload: payload}
		for s := range set {
			s.Deliver(m)
			n++
		}
	}
	return n
}

// Names lists the subscribed names of a kind that match the pattern (empty: all), sorted.
func (h *Hub) Names(k Kind, pattern []byte) []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var names []string
	for n := range h.mu.subs[k] {
		if len(pattern) == 0 || glob.Match(pattern, []byte(n), false) {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	return names
}

// Each calls f for every subscription, which must change none.
func (h *Hub) Each(f func(k Kind, name string, s Subscriber)) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for k := range h.mu.subs {
		for name, set := range h.mu.subs[k] {
			for s := range set {
				f(Kind(k), name, s)
			}
		}
	}
}

// Count is the number of subscribers of a name.
func (h *Hub) Count(k Kind, name string) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.mu.subs[k][name])
}

// Len is the number of subscribed names of a kind.
func (h *Hub) Len(k Kind) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.mu.subs[k])
}
