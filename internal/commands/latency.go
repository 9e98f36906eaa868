package commands

import (
	"sort"
	"strconv"
	"sync"
	"time"
)

// LatencySample is the worst latency of an event within one second.
type LatencySample struct {
	At     int64 // Unix seconds
	Millis int64
}

// latencyLen is how many samples an event keeps, as in Redis.
const latencyLen = 160

// LatencyMonitor keeps time series of slow events (latency-monitor-threshold). Safe for concurrent use.
type LatencyMonitor struct {
	mu struct {
		sync.Mutex
		events map[string]*latencyEvent
	}
}

type latencyEvent struct {
	samples []LatencySample
	max     int64
}

// Add notes an event that took d.
func (l *LatencyMonitor) Add(event string, d time.Duration) {
	ms, now := d.Milliseconds(), time.Now().Unix()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.events == nil {
		l.mu.events = map[string]*latencyEvent{}
	}
	e := l.mu.events[event]
	if e == nil {
		e = &latencyEvent{}
		l.mu.events[event] = e
	}
	e.max = max(e.max, ms)
	if n := len(e.samples); n > 0 && e.samples[n-1].At == now {
		e.samples[n-1].Millis = max(e.samples[n-1].Millis, ms)
		return
	}
	e.samples = append(e.samples, LatencySample{now, ms})
	if len(e.samples) > latencyLen {
		e.samples = append(e.samples[:0:0], e.samples[1:]...)
	}
}

// Events are the names that have samples, sorted.
func (l *LatencyMonitor) Events() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for n := range l.mu.events {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// History returns an event's samples, oldest first, and its all-time maximum in milliseconds.
func (l *LatencyMonitor) History(event string) ([]LatencySample, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.mu.events[event]
	if e == nil {
		return nil, 0
	}
	return append([]LatencySample(nil), e.samples...), e.max
}

// Reset drops the named events, all without names; it returns how many.
func (l *LatencyMonitor) Reset(events ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(events) == 0 {
		n := len(l.mu.events)
		l.mu.events = nil
		return n
	}
	n := 0
	for _, e := range events {
		if _, ok := l.mu.events[e]; ok {
			delete(l.mu.events, e)
			n++
		}
	}
	return n
}

func itoa(n int) string { return strconv.Itoa(n) }
