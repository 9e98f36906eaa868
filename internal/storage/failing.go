package storage

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// failing is what the engine's flushes and compactions meet. Pebble tries again at once, for ever; so the next try waits,
// longer each time, the log is told less and less often, and who waits for a flush is told in the end.
type failing struct {
	mu struct {
		sync.Mutex
		times int // in a row
		err   error
		again chan struct{} // closed with the next failure
	}
}

const (
	// firstWait and longestWait bound the wait before a try; it doubles each time.
	firstWait, longestWait = 10 * time.Millisecond, time.Second
	// flushTries is after how many failures in a row nobody waits for a flush any more.
	flushTries = 6
)

// failed notes an error, and reports it the first, second, fourth, eighth ... time.
func (f *failing) failed(err error, log *slog.Logger) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.times++
	f.mu.err = err
	if f.mu.again != nil {
		close(f.mu.again)
		f.mu.again = nil
	}
	if n := f.mu.times; n&(n-1) == 0 {
		log.Error("engine: background error", "err", err, "times", n)
	}
}

func (f *failing) succeeded() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.times, f.mu.err = 0, nil
}

// pause waits before a try, until done is closed.
func (f *failing) pause(done <-chan struct{}) {
	f.mu.Lock()
	n := f.mu.times
	f.mu.Unlock()
	if n == 0 {
		return
	}
	wait := time.NewTimer(min(firstWait<<min(n-1, 10), longestWait))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-done:
	}
}

// state is the error if there is no hope, and a channel that is closed with the next failure.
func (f *failing) state() (again <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.again == nil {
		f.mu.again = make(chan struct{})
	}
	if f.mu.times >= flushTries {
		err = fmt.Errorf("failed %d times: %w", f.mu.times, f.mu.err)
	}
	return f.mu.again, err
}
