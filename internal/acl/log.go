package acl

import (
	"sync"
	"sync/atomic"
	"time"
)

// Entry is something that was refused: equal refusals within a minute of each other are one entry.
type Entry struct {
	ID      int64
	Count   int64
	Reason  Denied
	Context string // toplevel, multi, lua or module
	Object  string // the command, key or channel
	User    string
	Client  string // the last client, as CLIENT LIST shows it
	Created time.Time
	Updated time.Time
}

// Log keeps what was refused, and counts. Safe for concurrent use.
type Log struct {
	denied [DeniedChannel + 1]atomic.Int64
	mu     struct {
		sync.Mutex
		next    int64
		entries []*Entry // newest first
	}
}

// As in Redis: how far back an equal entry is looked for, in entries and in time.
const (
	logLookBack = 10
	logTogether = time.Minute
)

// Add notes a refusal, of which the log keeps the newest up to the limit.
func (l *Log) Add(e Entry, limit int) {
	l.denied[e.Reason].Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if limit <= 0 {
		l.mu.entries = nil
		return
	}
	for _, old := range l.mu.entries[:min(len(l.mu.entries), logLookBack)] {
		if old.Reason == e.Reason && old.Context == e.Context && old.Object == e.Object && old.User == e.User &&
			e.Updated.Sub(old.Updated) <= logTogether {
			old.Client, old.Updated = e.Client, e.Updated
			old.Count++
			return
		}
	}
	e.ID, e.Count, e.Created = l.mu.next, 1, e.Updated
	l.mu.next++
	keep := min(len(l.mu.entries), limit-1)
	l.mu.entries = append([]*Entry{&e}, l.mu.entries[:keep]...)
}

// Newest returns up to n entries, the newest first.
func (l *Log) Newest(n int) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Entry, 0, min(n, len(l.mu.entries)))
	for _, e := range l.mu.entries[:min(n, len(l.mu.entries))] {
		list = append(list, *e)
	}
	return list
}

// Reset drops all entries.
func (l *Log) Reset() {
	l.mu.Lock()
	l.mu.entries = nil
	l.mu.Unlock()
}

// Denied is how often something was refused for a reason.
func (l *Log) Denied(d Denied) int64 { return l.denied[d].Load() }

// ResetCounts zeroes what Denied tells.
func (l *Log) ResetCounts() {
	for i := range l.denied {
		l.denied[i].Store(0)
	}
}
