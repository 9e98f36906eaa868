package keyspace

import (
	"errors"

	"haypile/internal/storage"
)

// cursor walks rows of the engine for a transaction. It ends early, with an error from Close, if the transaction is
// stopped (see Txn.StopOn). In a pinned transaction it can let go of the engine's memory between two moves (see
// Pin.Rest), and goes on where it was: so what it shows is its own copy there.
type cursor struct {
	t            *Txn // nil: nobody stops it
	it           *storage.Iter
	lower, upper []byte
	key, value   []byte // copies, in a pinned transaction
	valid        bool   // key is that of a row on which it stands
	err          error
	// plain: nothing is pinned, and only stop, if it is not nil, ends the walk.
	plain bool
	stop  *error
}

// cursor makes one over [lower, upper).
func (t *Txn) cursor(lower, upper []byte) (*cursor, error) {
	c := &cursor{t: t, lower: lower, upper: upper, plain: t.pin == nil && t.check == nil && !t.removes(),
		stop: t.stop}
	if err := c.open(); err != nil {
		return nil, err
	}
	if t.pin != nil {
		t.pin.cursors = append(t.pin.cursors, c)
	}
	return c, nil
}

func (c *cursor) open() (err error) {
	if p := c.t.pin; p != nil {
		c.it, err = p.snap.Iter(c.lower, c.upper)
	} else {
		c.it, err = c.t.store.engine.Iter(c.lower, c.upper)
	}
	return err
}

// ready reports whether the cursor may move.
func (c *cursor) ready() bool {
	if c.t == nil {
		return true
	}
	if c.err == nil {
		c.err = c.t.stopped()
	}
	if c.err != nil || c.it != nil {
		return c.err == nil
	}
	if c.err = c.open(); c.err != nil {
		return false
	}
	return !c.valid || c.it.SeekGE(c.key)
}

// at takes the row on which a move has ended.
func (c *cursor) at(ok bool) bool {
	if c.t != nil && c.t.pin != nil {
		if c.valid = ok; ok {
			c.key, c.value = append(c.key[:0], c.it.Key()...), append(c.value[:0], c.it.Value()...)
		}
	}
	return ok
}

// rest closes the iterator until the next move.
func (c *cursor) rest() {
	if c.it != nil {
		c.err = errors.Join(c.err, c.it.Close())
		c.it = nil
	}
}

// seen moves on from rows that the transaction has removed otherwise than one by one.
func (c *cursor) seen(ok, up bool) bool {
	if c.t == nil || !c.t.removes() {
		return ok
	}
	for ok && c.err == nil {
		var gone bool
		if at := c.t.cutAt(c.it.Key()); at != nil {
			if gone = true; up {
				ok = c.it.SeekGE(at.upper)
			} else {
				ok = c.it.SeekLT(at.lower)
			}
		} else if gone, c.err = c.t.removed(c.it.Key()); gone && up {
			ok = c.it.Next()
		} else if gone {
			ok = c.it.Prev()
		}
		if !gone {
			break
		}
	}
	return ok && c.err == nil
}

// First, Last, SeekGE, Next and Prev move, and report whether there is a row.
func (c *cursor) First() bool { return c.ready() && c.at(c.seen(c.it.First(), true)) }

func (c *cursor) Last() bool { return c.ready() && c.at(c.seen(c.it.Last(), false)) }

func (c *cursor) SeekGE(key []byte) bool { return c.ready() && c.at(c.seen(c.it.SeekGE(key), true)) }

func (c *cursor) Next() bool {
	if c.plain && (c.stop == nil || *c.stop == nil) {
		return c.it.Next()
	}
	return c.ready() && c.at(c.seen(c.it.Next(), true))
}

func (c *cursor) Prev() bool { return c.ready() && c.at(c.seen(c.it.Prev(), false)) }

// Key and Value are views until the next move.
func (c *cursor) Key() []byte {
	if c.valid {
		return c.key
	}
	return c.it.Key()
}

func (c *cursor) Value() []byte {
	if c.valid {
		return c.value
	}
	return c.it.Value()
}

// Close returns why the walk ended early, if it did.
func (c *cursor) Close() error {
	c.rest()
	if c.t != nil && c.t.pin != nil {
		c.t.pin.forget(c)
	}
	return c.err
}
