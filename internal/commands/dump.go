package commands

import (
	"errors"
	"slices"

	"haypile/internal/encoding"
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
	"haypile/internal/rdb"
	"haypile/internal/resp"
	"haypile/internal/types/hash"
	"haypile/internal/types/list"
	"haypile/internal/types/set"
	"haypile/internal/types/zset"
)

func dump(c *Call) error {
	e, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	if !e.Found {
		c.Out.Null()
		return nil
	}
	var payload []byte
	switch e.Meta.Type {
	case encoding.String:
		payload = rdb.AppendLength([]byte{rdb.TypeString}, uint64(e.Meta.Length()))
		payload = slices.Grow(payload, int(e.Meta.Length())+rdb.SealLen)
		if err := c.Tx.EachPart(&e, 0, e.Meta.Length(), func(part []byte) error {
			payload = append(payload, part...)
			return nil
		}); err != nil {
			return err
		}
	case encoding.Hash:
		if payload, err = c.dumpHash(e); err != nil {
			return err
		}
		if payload == nil {
			c.Out.Null()
			return nil
		}
	case encoding.Set:
		s, err := set.At(c.Tx, e)
		if err != nil {
			return err
		}
		payload = rdb.AppendLength([]byte{rdb.TypeSet}, s.Len())
		if err := s.Scan(0, func(el keyspace.Element) bool {
			payload = rdb.AppendString(payload, el.Member)
			return true
		}); err != nil {
			return err
		}
	case encoding.ZSet:
		z, err := zset.At(c.Tx, e)
		if err != nil {
			return err
		}
		payload = rdb.AppendLength([]byte{rdb.TypeZSet2}, z.Len())
		// Backwards, as Redis does: whoever loads it adds each entry before all that it has.
		if err := z.Walk(zset.All, true, func(e zset.Entry) bool {
			payload = rdb.AppendScore(rdb.AppendString(payload, e.Member), e.Score)
			return true
		}); err != nil {
			return err
		}
	case encoding.List:
		payload = rdb.AppendLength([]byte{rdb.TypeList}, e.Meta.Count)
		if err := list.Scan(&e.Meta, c.Tx.Rows(&e, &e.Meta), func(v []byte) bool {
			payload = rdb.AppendString(payload, v)
			return true
		}); err != nil {
			return err
		}
	case encoding.Stream:
		if payload, err = c.dumpStream(e); err != nil {
			return err
		}
	default:
		return Error(resp.ErrBadData)
	}
	c.Out.Bulk(rdb.Seal(payload))
	return nil
}

// dumpHash is a hash without what is past its deadline, nil if that is all of it.
func (c *Call) dumpHash(e keyspace.Entry) ([]byte, error) {
	h, err := hash.At(c.Tx, e)
	if err != nil {
		return nil, err
	}
	fields, err := h.Live()
	if fields == 0 || err != nil {
		return nil, err
	}
	first, err := h.FirstDeadline(c.Tx.Now())
	if err != nil {
		return nil, err
	}
	if first == 0 {
		payload := rdb.AppendLength([]byte{rdb.TypeHash}, fields)
		err = h.Scan(0, func(el keyspace.Element) bool {
			payload = rdb.AppendString(rdb.AppendString(payload, el.Member), el.Value)
			return true
		})
		return payload, err
	}
	payload := rdb.AppendTimedHead([]byte{rdb.TypeHashTimed}, first, fields)
	err = h.Scan(0, func(el keyspace.Element) bool {
		payload = rdb.AppendTimedField(payload, first, el.Deadline, el.Member, el.Value)
		return true
	})
	return payload, err
}

// restoreOptions are those of RESTORE. IDLETIME and FREQ are checked only.
type restoreOptions struct{ replace, absolute, idle, freq bool }

func (c *Call) parseRestore(i int) (o restoreOptions, err error) {
	for ; i < len(c.Args); i++ {
		more := i+1 < len(c.Args)
		switch {
		case c.Is(i, "REPLACE"):
			o.replace = true
		case c.Is(i, "ABSTTL"):
			o.absolute = true
		case c.Is(i, "IDLETIME") && more && !o.freq:
			i++
			n, err := c.int64At(i)
			if err != nil {
				return o, err
			}
			if n < 0 {
				return o, Error(resp.ErrInvalidIdle)
			}
			o.idle = true
		case c.Is(i, "FREQ") && more && !o.idle:
			i++
			n, err := c.int64At(i)
			if err != nil {
				return o, err
			}
			if n < 0 || n > 255 {
				return o, Error(resp.ErrInvalidFreq)
			}
			o.freq = true
		default:
			return o, Error(resp.ErrSyntax)
		}
	}
	return o, nil
}

func restore(c *Call) error {
	o, err := c.parseRestore(4)
	if err != nil {
		return err
	}
	e, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	if e.Found && !o.replace && !c.Tx.Applying() {
		return Error(resp.ErrBusyKey)
	}
	deadline, err := c.int64At(2)
	if err != nil {
		return err
	}
	if deadline < 0 {
		return Error(resp.ErrInvalidTTL)
	}
	body, ok := rdb.Open(c.Args[3])
	if !ok {
		return Error(resp.ErrDumpPayload)
	}
	if deadline != 0 && !o.absolute {
		deadline += c.Tx.Now()
	}
	existed := e.Found
	if _, err := c.Tx.Remove(&e); err != nil {
		return err
	}
	empty := c.Tx.Mark()
	if err := c.load(e, body, deadline); err != nil {
		return err
	}
	c.Out.OK()
	if deadline != 0 && c.past(deadline) {
		c.Tx.Rollback(&empty)
		if existed {
			c.effect(wordDel, e.User)
			c.notify(keyevent.Generic, "del", e.User)
		}
		return nil
	}
	c.notify(keyevent.Generic, "restore", e.User)
	if deadline != 0 && !o.absolute {
		args := [][]byte{wordRestore, e.User, decimal(deadline), c.Args[3], wordAbsTTL}
		if o.replace {
			args = append(args, wordReplace)
		}
		c.effect(args...)
	}
	return nil
}

// load stores the value of a payload's body at a key that does not exist.
func (c *Call) load(e keyspace.Entry, body []byte, deadline int64) error {
	bad := Error(resp.ErrBadData)
	if len(body) == 0 {
		return bad
	}
	r := rdb.NewReader(body[1:])
	switch body[0] {
	case rdb.TypeString:
		v, err := r.String()
		if err != nil || r.Left() != 0 {
			return bad
		}
		return c.Tx.PutString(&e, v, deadline)
	case rdb.TypeSet, rdb.TypeSetIntset, rdb.TypeSetListpack:
		s := set.Begin(c.Tx, e, deadline)
		seen := map[string]struct{}{}
		err := r.Members(body[0], func(member []byte) error {
			if _, twice := seen[string(member)]; twice {
				return rdb.ErrFormat
			}
			seen[string(member)] = struct{}{}
			s.Add(member, nil)
			return nil
		})
		if err != nil || r.Left() != 0 || s.Len() == 0 {
			return bad
		}
		return s.Save()
	case rdb.TypeList, rdb.TypeListZiplist, rdb.TypeListQuicklist, rdb.TypeListQuicklist2:
		l := list.Begin(c.Tx, e, deadline)
		err := r.Elements(body[0], l.PushRight)
		if err != nil || r.Left() != 0 || l.Len() == 0 {
			return bad
		}
		return l.Save()
	case rdb.TypeHash, rdb.TypeHashZiplist, rdb.TypeHashListpack, rdb.TypeHashTimed, rdb.TypeHashListpackEx:
		h := hash.Begin(c.Tx, e, deadline)
		seen := map[string]struct{}{}
		add := func(field, value []byte, deadline int64) error {
			if _, twice := seen[string(field)]; twice {
				return rdb.ErrFormat
			}
			seen[string(field)] = struct{}{}
			h.AddTimed(field, value, deadline)
			return nil
		}
		var err error
		if body[0] == rdb.TypeHashTimed || body[0] == rdb.TypeHashListpackEx {
			err = r.TimedPairs(body[0], add)
		} else {
			err = r.Pairs(body[0], func(field, value []byte) error { return add(field, value, 0) })
		}
		if err != nil || r.Left() != 0 || h.Len() == 0 {
			return bad
		}
		return h.Save()
	case rdb.TypeZSet, rdb.TypeZSet2, rdb.TypeZSetZiplist, rdb.TypeZSetListpack:
		z := zset.Begin(c.Tx, e, deadline)
		seen := map[string]struct{}{}
		err := r.Entries(body[0], func(member []byte, score float64) error {
			if _, twice := seen[string(member)]; twice {
				return rdb.ErrFormat
			}
			seen[string(member)] = struct{}{}
			z.Fill(member, score)
			return nil
		})
		if err != nil || r.Left() != 0 || z.Len() == 0 {
			return bad
		}
		return z.Save()
	case rdb.TypeStream, rdb.TypeStream2, rdb.TypeStream3:
		err := c.loadStream(e, body[0], r, deadline)
		if errors.Is(err, rdb.ErrFormat) {
			err = bad
		}
		return err
	}
	return bad
}
