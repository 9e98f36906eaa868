package commands

import (
	"sync"
	"time"
)

// SlowEntry is one slow call.
type SlowEntry struct {
	ID       int64
	At       time.Time
	Duration time.Duration
	Args     []string
	Addr     string
	Name     string
}

// SlowLog keeps the newest slow calls, up to a length that the owner sets. Safe for concurrent use.
type SlowLog struct {
	mu struct {
		sync.Mutex
		next    int64
		entries []SlowEntry // oldest first
	}
}

// Limits of an entry, as in Redis.
const (
	slowArgs   = 32
	slowArgLen = 128
)

// Add keeps a call; the arguments are shortened as Redis does.
func (l *SlowLog) Add(args [][]byte, d time.Duration, addr, name string, limit int) {
	e := SlowEntry{At: time.Now(), Duration: d, Addr: addr, Name: name}
	for i, a := range args {
		if i == slowArgs-1 && len(args) > slowArgs {
			e.Args = append(e.Args, "... ("+itoa(len(args)-slowArgs+1)+" more arguments)")
			break
		}
		s := string(a[:min(len(a), slowArgLen)])
		if len(a) > slowArgLen {
			s += "... (" + itoa(len(a)-slowArgLen) + " more bytes)"
		}
		e.Args = append(e.Args, s)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.ID = l.mu.next
	l.mu.next++
	l.mu.entries = append(l.mu.entries, e)
	if over := len(l.mu.entries) - limit; over > 0 {
		l.mu.entries = append(l.mu.entries[:0:0], l.mu.entries[over:]...)
	}
}

// Get returns the newest n entries, newest first; -1 all.
func (l *SlowLog) Get(n int) []SlowEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.mu.entries
	if n < 0 || n > len(all) {
		n = len(all)
	}
	out := make([]SlowEntry, 0, n)
	for i := len(all) - 1; len(out) < n; i-- {
		out = append(out, all[i])
	}
	return out
}

// Len is the number of entries.
func (l *SlowLog) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.entries)
}

// Reset drops all entries.
func (l *SlowLog) Reset() {
	l.mu.Lock()
	l.mu.entries = nil
	l.mu.Unlock()
}
