package coordinator

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"haypile/internal/event"
)

// eventsKept is how many events can be read again.
const eventsKept = 1000

// latest holds a value of which readers only want the newest.
type latest[T any] struct {
	mu struct {
		sync.Mutex
		value   T
		version uint64
		next    chan struct{} // closed when there is a newer value
		closed  bool
	}
}

func (l *latest[T]) init() { l.mu.next = make(chan struct{}) }

func (l *latest[T]) set(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return
	}
	l.mu.value, l.mu.version = v, l.mu.version+1
	close(l.mu.next)
	l.mu.next = make(chan struct{})
}

// close ends all waiting; the value stays.
func (l *latest[T]) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.closed {
		l.mu.closed = true
		close(l.mu.next)
	}
}

// get returns the value once its version is above seen; false when ctx ends or no more will come.
func (l *latest[T]) get(ctx context.Context, seen uint64) (v T, version uint64, ok bool) {
	for {
		l.mu.Lock()
		v, version = l.mu.value, l.mu.version
		next, closed := l.mu.next, l.mu.closed
		l.mu.Unlock()
		if version > seen {
			return v, version, true
		}
		if closed {
			return v, version, false
		}
		select {
		case <-next:
		case <-ctx.Done():
			return v, version, false
		}
	}
}

// events numbers, logs and keeps the last events.
type events struct {
	log *slog.Logger
	mu  struct {
		sync.Mutex
		seq    uint64
		kept   []event.Event
		counts map[event.Name]int
		next   chan struct{}
		closed bool
	}
}

func (s *events) init(log *slog.Logger) {
	s.log = log
	s.mu.counts = map[event.Name]int{}
	s.mu.next = make(chan struct{})
}

func (s *events) emit(e event.Event) {
	s.mu.Lock()
	s.mu.seq++
	s.mu.counts[e.Name]++
	e.Seq, e.Time = s.mu.seq, time.Now().UTC()
	s.mu.kept = append(s.mu.kept, e)
	if n := len(s.mu.kept); n > eventsKept {
		s.mu.kept = append([]event.Event(nil), s.mu.kept[n-eventsKept/2:]...)
	}
	if !s.mu.closed {
		close(s.mu.next)
		s.mu.next = make(chan struct{})
	}
	s.mu.Unlock()
	s.log.Info(string(e.Name), "shard", e.Shard, "node", e.Node, "epoch", e.Epoch, "text", e.Text)
}

func (s *events) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.closed {
		s.mu.closed = true
		close(s.mu.next)
	}
}

// after returns the kept events above seq, waiting for one; nil when ctx ends or no more will come.
func (s *events) after(ctx context.Context, seq uint64) []event.Event {
	for {
		s.mu.Lock()
		var out []event.Event
		if seq > s.mu.seq {
			seq = 0 // the reader's number is from an earlier run of this dashboard
		}
		for i := len(s.mu.kept) - 1; i >= 0 && s.mu.kept[i].Seq > seq; i-- {
			out = append(out, s.mu.kept[i])
		}
		next, closed := s.mu.next, s.mu.closed
		s.mu.Unlock()
		for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
			out[i], out[j] = out[j], out[i]
		}
		if len(out) > 0 || closed {
			return out
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil
		}
	}
}
