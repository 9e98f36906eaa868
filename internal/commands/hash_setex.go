package commands

import (
	"math"

	"haypile/internal/keyevent"
	"haypile/internal/resp"
	"haypile/internal/types/hash"
)

// hashSetQuery is what HSETEX asks for.
type hashSetQuery struct {
	fnx, fxx, keep bool
	form           timeForm
	deadline       int64
	pairs          [][]byte // field, value, ...
}

func (c *Call) parseHSetEx() (q hashSetQuery, err error) {
	wrong := Error(resp.WrongArity(c.Cmd.FullName()))
	for i := 2; i < len(c.Args); i++ {
		form := noTime
		for _, w := range timeWords {
			if c.Is(i, w.word) {
				form = w.form
			}
		}
		timed := q.form != noTime || q.keep
		switch {
		case c.Is(i, "FIELDS"):
			if i >= len(c.Args)-3 {
				return q, wrong
			}
			n, ok := resp.ParseInt(c.Args[i+1])
			if !ok || n < 1 || n > math.MaxInt32 {
				return q, Error(resp.ErrFieldsInvalid)
			}
			if q.pairs = c.Args[i+2:]; int64(len(q.pairs)) != 2*n {
				return q, wrong
			}
			return q, nil
		case form != noTime || c.Is(i, "KEEPTTL"):
			if timed {
				return q, Error(resp.ErrFieldTimes)
			}
			if q.form, q.keep = form, form == noTime; q.keep {
				break
			}
			if i++; i == len(c.Args) {
				return q, Error(resp.ErrFieldTimeMissing)
			}
			if q.deadline, err = c.fieldDeadline(i, form); err != nil {
				return q, err
			}
		case c.Is(i, "FNX"), c.Is(i, "FXX"):
			if q.fnx || q.fxx {
				return q, Error(resp.ErrFieldConditions)
			}
			q.fnx = c.Is(i, "FNX")
			q.fxx = !q.fnx
		default:
			return q, Error(resp.UnknownArgument(c.Args[i]))
		}
	}
	return q, wrong
}

// met reports whether the hash has the fields as the conditions want it.
func (q *hashSetQuery) met(h *hash.Hash) (bool, error) {
	if !q.fnx && !q.fxx {
		return true, nil
	}
	for i := 0; i < len(q.pairs); i += 2 {
		if _, found, err := h.Get(q.pairs[i]); err != nil || found != q.fxx {
			return false, err
		}
	}
	return true, nil
}

func hSetEx(c *Call) error {
	q, err := c.parseHSetEx()
	if err != nil {
		return err
	}
	h, err := c.openHash()
	if err == nil {
		err = h.Meet(q.pairs, 2)
	}
	if err != nil {
		return err
	}
	met, err := q.met(&h)
	if err != nil {
		return err
	}
	if !met && !c.Tx.Applying() {
		c.Out.Int(fieldNotMet)
		return nil
	}
	c.Out.Int(fieldsWritten)
	if q.form != noTime && c.past(q.deadline) {
		return c.setEnded(&h, q.pairs)
	}
	var fields, kept [][]byte
	var deadlines []int64
	for i := 0; i < len(q.pairs); i += 2 {
		field := q.pairs[i]
		_, old, found, err := h.GetTimed(field)
		if err != nil {
			return err
		}
		deadline := int64(0)
		switch {
		case q.form != noTime:
			deadline, fields = storedDeadline(q.deadline), append(fields, field)
		case q.keep && old != 0:
			deadline, kept, deadlines = old, append(kept, field), append(deadlines, old)
		}
		h.SetTimed(field, q.pairs[i+1], !found, old, deadline)
	}
	c.effect(append([][]byte{wordHSet, c.Args[1]}, q.pairs...)...)
	c.expireFields(q.deadline, fields)
	for i := range kept {
		c.expireFields(deadlines[i], kept[i:i+1])
	}
	if err := c.saveHash(&h, "hset"); err != nil {
		return err
	}
	if q.form != noTime {
		c.notify(keyevent.Hash, "hexpire", h.Key().User)
	}
	return nil
}

// setEnded stores fields that are past their deadline at once: those that exist are deleted.
func (c *Call) setEnded(h *hash.Hash, pairs [][]byte) error {
	var gone [][]byte
	for i := 0; i < len(pairs); i += 2 {
		was, err := h.Delete(pairs[i])
		if err != nil {
			return err
		}
		if was {
			gone = append(gone, pairs[i])
		}
	}
	c.deleteFields(gone)
	if err := h.Save(); err != nil {
		return err
	}
	c.notify(keyevent.Hash, "hset", h.Key().User)
	return c.saveHash(h, "hdel")
}
