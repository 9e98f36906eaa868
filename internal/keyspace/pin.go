package keyspace

import (
	"errors"
	"slices"
	"sync"

	"haypile/internal/encoding"
	"haypile/internal/storage"
)

// Pin is a point in time of the store, for one reading transaction that goes on when all locks have been given up, at
// the pace of a client. It costs no memory that grows: the engine keeps on disk what was overwritten meanwhile, as
// long as the pin is there. One goroutine at a time.
type Pin struct {
	store *Store
	snap  *storage.Snapshot
	tx    *Txn
	// point looks rows up; nil until one is asked for.
	point *storage.Point
	// cursors are those that are open.
	cursors []*cursor
	// unhold lets the engine's block cache grow again.
	unhold func()
}

// pins are the pins that are there. Who closes the store ends them first.
type pins struct {
	once sync.Once
	mu   struct {
		sync.Mutex
		closed bool
		end    chan struct{} // closed when they have to go
	}
	wg sync.WaitGroup
}

func (p *pins) ended() chan struct{} {
	p.once.Do(func() { p.mu.end = make(chan struct{}) })
	return p.mu.end
}

// close asks all pins to go and waits for that.
func (p *pins) close() {
	end := p.ended()
	p.mu.Lock()
	if !p.mu.closed {
		p.mu.closed = true
		close(end)
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// ErrClosed is returned by Pin for a store that is being closed.
var ErrClosed = errors.New("the store is being closed")

// Pin takes the present state: all that has been applied. now is the time at which the transaction reads, db the
// database. Of a key it is what the holder of the key's lock sees if the caller has the lock. Close it.
func (s *Store) Pin(db int, now int64) (*Pin, error) {
	s.pins.ended()
	s.pins.mu.Lock()
	closed := s.pins.mu.closed
	if !closed {
		s.pins.wg.Add(1)
	}
	s.pins.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	snap, err := s.snapshot()
	if err != nil {
		s.pins.wg.Done()
		return nil, err
	}
	p := &Pin{store: s, snap: snap.snap, tx: s.NewTxn(), unhold: s.engine.HoldCache()}
	p.tx.Reset()
	p.tx.Begin(ModeRead, db, now)
	p.tx.pin, p.tx.dbs = p, slices.Clone(snap.State.Databases)
	return p, nil
}

// Txn is the transaction that reads. Only Close ends it.
func (p *Pin) Txn() *Txn { return p.tx }

// Ended is closed when the pin has to be closed soon: the store is about to be.
func (p *Pin) Ended() <-chan struct{} { return p.store.pins.ended() }

// Rest lets go of the engine's memory, which iterators hold, until the transaction reads on. To be called where that
// may be long. What was read stays as it is.
func (p *Pin) Rest() error {
	for _, c := range p.cursors {
		c.rest()
	}
	return p.dropPoint()
}

func (p *Pin) forget(c *cursor) {
	if at := slices.Index(p.cursors, c); at >= 0 {
		p.cursors = slices.Delete(p.cursors, at, at+1)
	}
}

func (p *Pin) dropPoint() error {
	if p.point == nil {
		return nil
	}
	err := p.point.Close()
	p.point = nil
	return err
}

// Close lets go of everything.
func (p *Pin) Close() error {
	p.tx.pin = nil
	p.tx.Reset()
	p.tx.Done()
	err := errors.Join(p.dropPoint(), p.snap.Close())
	p.unhold()
	p.store.snapshots.Add(-1)
	p.store.pins.wg.Done()
	return err
}

// get reads a row as it was.
func (p *Pin) get(dst, key []byte) ([]byte, bool, error) {
	if p.point == nil {
		var err error
		if p.point, err = p.snap.Point(); err != nil {
			return dst, false, err
		}
	}
	v, ok, err := p.point.Get(dst, key)
	if err != nil {
		err = errors.Join(err, p.dropPoint())
	}
	return v, ok, err
}

// pinnedForm is the form of a collection in a pinned transaction: its own, for the store's may be ahead.
func (t *Txn) pinnedForm(id encoding.Collection, make func() Form) Form {
	f := make()
	t.forms = append(t.forms, ownForm{id: id, form: f})
	return f
}

// StopOn makes reads fail once *err is not nil, with that error, or once check says so, which is asked from time to
// time. Reset forgets it.
func (t *Txn) StopOn(err *error, check func() error) { t.stop, t.check = err, check }

// checkEvery is how many moves of cursors lie between two questions whether to go on.
const checkEvery = 1024

// stopped is why reads must fail, nil if they need not.
func (t *Txn) stopped() error {
	if t.stop == nil {
		return nil
	}
	if *t.stop != nil {
		return *t.stop
	}
	if t.check != nil {
		if t.moves++; t.moves%checkEvery == 0 {
			return t.check()
		}
	}
	return nil
}

// Stopped is why a walk over what is in memory must end, as reads must; nil if it need not.
func (t *Txn) Stopped() error { return t.stopped() }

// Scratch is a mark in the memory that reads of a transaction take; see Forget.
type Scratch struct {
	a                     arena
	undo, touched, events int
}

// Scratch marks what has been read so far.
func (t *Txn) Scratch() Scratch {
	return Scratch{t.mem, len(t.rows.undo), len(t.touched), len(t.events)}
}

// Forget gives the memory back that reads have taken since the mark: what they returned is gone. It does nothing if
// the transaction has noted or changed something since, which lives there. For those who look up more than they want
// to hold in memory.
func (t *Txn) Forget(s Scratch) {
	if len(t.rows.undo) == s.undo && len(t.touched) == s.touched && len(t.events) == s.events &&
		(t.filling == nil || t.filling.spilled || len(t.filling.rows) == 0) {
		kept := t.mem.kept
		t.mem = s.a
		t.mem.kept = kept // chunks that were made meanwhile may be used again
		t.seen = seenRow{}
	}
}
