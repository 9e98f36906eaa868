package session

import (
	"sync"
	"sync/atomic"
)

// workers are goroutines that serve connections which are away from their loops, one at a time. Some of them stay
// when there is nothing to do: a new goroutine begins with a small stack, and growing it costs more than a command.
type workers struct {
	conns chan *Conn
	idle  atomic.Int32
	wg    sync.WaitGroup
}

// maxIdleWorkers is how many stay.
const maxIdleWorkers = 64

func newWorkers() *workers { return &workers{conns: make(chan *Conn)} }

// serve has a connection served that is away.
func (w *workers) serve(k *Conn) {
	select {
	case w.conns <- k:
	default:
		w.wg.Go(func() { w.run(k) })
	}
}

func (w *workers) run(k *Conn) {
	for ok := true; ok; {
		k.serveAway()
		k = nil // it may end while this waits
		if w.idle.Add(1) > maxIdleWorkers {
			w.idle.Add(-1)
			return
		}
		k, ok = <-w.conns
		w.idle.Add(-1)
	}
}

// close ends them. REQUIRES: there are no connections any more.
func (w *workers) close() {
	close(w.conns)
	w.wg.Wait()
}
