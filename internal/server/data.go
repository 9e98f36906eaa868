package server

import (
	"context"
	"sync"
)

// dataUse keeps the pair in service from being closed while somebody reads it in the background, outside the
// gate's latch. Who closes a pair takes it exclusively, and then waits for short uses only: long ones get a
// context that ends.
type dataUse struct {
	use sync.RWMutex
	mu  struct {
		sync.Mutex
		closing bool
		scans   map[*context.CancelFunc]struct{}
	}
}

func (d *dataUse) rlock()   { d.use.RLock() }
func (d *dataUse) runlock() { d.use.RUnlock() }

// scan is rlock for what may take long. done must be called.
func (d *dataUse) scan(parent context.Context) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancel(parent)
	d.use.RLock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closing {
		cancel() // somebody waits for us already
	}
	if d.mu.scans == nil {
		d.mu.scans = make(map[*context.CancelFunc]struct{})
	}
	d.mu.scans[&cancel] = struct{}{}
	return ctx, func() {
		d.mu.Lock()
		delete(d.mu.scans, &cancel)
		d.mu.Unlock()
		d.use.RUnlock()
		cancel()
	}
}

// lock ends the scans and waits until nobody uses the pair.
func (d *dataUse) lock() {
	d.mu.Lock()
	d.mu.closing = true
	for cancel := range d.mu.scans {
		(*cancel)()
	}
	d.mu.Unlock()
	d.use.Lock()
	d.mu.Lock()
	d.mu.closing = false
	d.mu.Unlock()
}

func (d *dataUse) unlock() { d.use.Unlock() }
