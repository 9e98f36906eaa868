package keyspace

import (
	"slices"

	"haypile/internal/keyevent"
)

// Event is something that a transaction does to a key, to be published once it is committed.
type Event struct {
	Class keyevent.Class
	DB    int
	Name  string
	Key   []byte
}

// Event notes an event if its class is wanted. It costs one atomic load if not. The key is copied:
// not into the memory that Forget gives back.
func (t *Txn) Event(class keyevent.Class, name string, db int, key []byte) {
	if want := keyevent.Class(t.store.Events.Load()); want != 0 && want.Wants(class) {
		t.events = append(t.events, Event{class, db, name, slices.Clone(key)})
	}
}

// Events are the events noted, in order.
func (t *Txn) Events() []Event { return t.events }

// DropEvents forgets the events behind the first n.
func (t *Txn) DropEvents(n int) { t.events = t.events[:min(n, len(t.events))] }
