package commands

import (
	"errors"
	"slices"
	"time"

	"haypile/internal/encoding"
	"haypile/internal/resp"
	"haypile/internal/types/stream"
)

// readOptions are those of XREAD and XREADGROUP. Keys and IDs follow one another from args[keys] on, n of each.
type readOptions struct {
	group, consumer []byte
	count           int64 // 0: all
	block           int64 // milliseconds, 0 = for ever; -1: the client does not wait
	noAck           bool
	keys, n         int
}

func (c *Call) parseRead(inGroup bool) (o readOptions, err error) {
	o.block = -1
	grouped := false
	i := 1
	for ; i < len(c.Args) && o.keys == 0; i++ {
		more := len(c.Args) - i - 1
		switch {
		case c.Is(i, "BLOCK") && more > 0:
			i++
			if o.block, err = c.timeoutAt(i); err != nil {
				return o, err
			}
		case c.Is(i, "COUNT") && more > 0:
			i++
			if o.count, err = c.int64At(i); err != nil {
				return o, err
			}
			o.count = max(o.count, 0)
		case c.Is(i, "STREAMS") && more > 0:
			o.keys, o.n = i+1, more/2
			if more%2 != 0 {
				symbol := "$"
				if inGroup {
					symbol = ">"
				}
				return o, Error(resp.UnbalancedStreams(c.Cmd.FullName(), symbol))
			}
		case c.Is(i, "GROUP") && more >= 2:
			if !inGroup {
				return o, Error(resp.ErrStreamGroupOption)
			}
			o.group, o.consumer, grouped = c.Args[i+1], c.Args[i+2], true
			i += 2
		case c.Is(i, "NOACK"):
			if !inGroup {
				return o, Error(resp.ErrStreamNoAckOption)
			}
			o.noAck = true
		default:
			return o, Error(resp.ErrSyntax)
		}
	}
	switch {
	case o.keys == 0:
		return o, Error(resp.ErrSyntax)
	case inGroup && !grouped:
		return o, Error(resp.ErrStreamNoGroup)
	}
	return o, nil
}

// timeoutAt reads argument i as a time to wait in milliseconds.
func (c *Call) timeoutAt(i int) (int64, error) {
	n, ok := resp.ParseInt(c.Args[i])
	switch {
	case !ok:
		return 0, Error(resp.ErrTimeoutInteger)
	case n < 0:
		return 0, Error(resp.ErrTimeoutNegative)
	}
	return n, nil
}

// isID reports whether argument i is a word that stands for an ID.
func (c *Call) isID(i int, word byte) bool { return len(c.Args[i]) == 1 && c.Args[i][0] == word }

func xRead(c *Call) error {
	o, err := c.parseRead(false)
	if err != nil {
		return err
	}
	streams, after := make([]*stream.Stream, o.n), make([]stream.ID, o.n)
	for i := range after {
		streams[i], err = c.openStream(o.keys + i)
		if err != nil && (err != Error(resp.ErrWrongType) || !c.Again) {
			return err
		}
		switch id := o.keys + o.n + i; {
		case c.isID(id, '$'):
			after[i] = streams[i].Last
		case c.isID(id, '>'):
			return Error(resp.ErrStreamNewID)
		default:
			if after[i], err = c.idAt(id); err != nil {
				return err
			}
		}
	}
	served, err := c.readStreams(o, streams, after)
	switch {
	case err != nil || served:
		return err
	case o.block >= 0:
		c.Block(o.wait(c, after))
		return nil
	}
	c.Out.NullArray()
	return nil
}

// wait is for what a client waits that has found nothing behind the IDs: each is what it was when it began.
func (o *readOptions) wait(c *Call, after []stream.ID) Wait {
	args := slices.Clone(c.Args)
	for i, id := range after {
		args[o.keys+o.n+i] = id.Append(nil)
	}
	return Wait{Keys: c.Args[o.keys : o.keys+o.n], Type: encoding.Stream, Args: args,
		Timeout:  time.Duration(min(o.block, int64(maxWait/time.Millisecond))) * time.Millisecond,
		TimedOut: (*resp.Writer).NullArray}
}

// readStreams answers what follows the IDs, and reports whether there was anything.
func (c *Call) readStreams(o readOptions, streams []*stream.Stream, after []stream.ID) (served bool, err error) {
	all, found := c.Out.Defer(), 0
	for i, s := range streams {
		from, ok := after[i].Next()
		if !ok || s.Last.Less(from) {
			continue // nothing to find: no need to look
		}
		var entries resp.Aggregate
		n := int64(0)
		err = s.Range(from, stream.Max, func(id stream.ID, f stream.Fields) bool {
			if n == 0 {
				entries = c.beginStream(o.keys + i)
			}
			c.writeStreamEntry(id, f)
			n++
			return n != o.count
		})
		if err != nil {
			return false, err
		}
		if n > 0 {
			c.Out.EndArray(entries, int(n))
			found++
		}
	}
	c.endStreams(all, found)
	return found > 0, nil
}

// beginStream begins the answer about the stream at args[key].
func (c *Call) beginStream(key int) resp.Aggregate {
	if c.Out.Proto < 3 {
		c.Out.Array(2)
	}
	c.Out.Bulk(c.Args[key])
	return c.Out.Defer()
}

// endStreams ends the answer about n streams; about none there is none.
func (c *Call) endStreams(all resp.Aggregate, n int) {
	switch {
	case n == 0:
		c.Out.Drop(all)
	case c.Out.Proto < 3:
		c.Out.EndArray(all, n)
	default:
		c.Out.EndMap(all, n)
	}
}

func xReadGroup(c *Call) error {
	o, err := c.parseRead(true)
	if err != nil {
		return err
	}
	after := make([]stream.ID, o.n)
	for i := range after {
		s, err := c.openStream(o.keys + i)
		if err != nil {
			return err
		}
		if _, err := c.groupToRead(s, o, i); err != nil {
			return err
		}
		switch id := o.keys + o.n + i; {
		case c.isID(id, '$'):
			return Error(resp.ErrStreamLastID)
		case c.isID(id, '>'):
			after[i] = stream.Max
		default:
			if after[i], err = c.idAt(id); err != nil {
				return err
			}
		}
	}
	all, served := c.Out.Defer(), 0
	for i := range after {
		found, err := c.readForGroup(o, i, after[i])
		if err != nil {
			return err
		}
		served += int(bit(found))
	}
	c.endStreams(all, served)
	switch {
	case served > 0:
		return nil
	case o.block >= 0:
		w := o.wait(c, nil)
		w.OnGone = true // without its group the client would wait for ever
		c.Block(w)
		return nil
	}
	c.Out.NullArray()
	return nil
}

// groupToRead finds the group of the i-th stream of XREADGROUP.
func (c *Call) groupToRead(s *stream.Stream, o readOptions, i int) (g *stream.Group, err error) {
	if s.Exists() {
		g, err = s.Group(o.group)
	}
	if err == nil && g == nil {
		err = Error(resp.NoGroupRead(c.Args[o.keys+i], o.group))
	}
	return g, err
}

// readForGroup answers what the consumer gets of the i-th stream: its new entries, or what was delivered to it behind
// an ID. It reports whether that is an answer: what was delivered is one even if there is nothing.
func (c *Call) readForGroup(o readOptions, i int, after stream.ID) (found bool, err error) {
	// Opened again: an earlier key may be the same.
	s, err := c.openStream(o.keys + i)
	if err != nil {
		return false, err
	}
	g, err := c.groupToRead(s, o, i)
	if err != nil {
		return false, err
	}
	key := c.Args[o.keys+i]
	consumer, err := c.demandConsumer(key, g, o.consumer, c.Tx.Now())
	if err != nil {
		return false, err
	}
	if after != stream.Max {
		found, err = true, c.readDelivered(o, i, s, g, consumer, after)
	} else {
		found, err = c.readNew(o, i, s, g, consumer)
	}
	if err != nil {
		return false, err
	}
	return found, c.saveGroup(s, g, "")
}

func (c *Call) readNew(o readOptions, i int, s *stream.Stream, g *stream.Group, consumer *stream.Consumer) (bool, error) {
	from, ok := g.Last.Next()
	if !ok || s.Last.Less(from) {
		return false, nil
	}
	key, now := c.Args[o.keys+i], c.Tx.Now()
	var entries resp.Aggregate
	var failed error
	n := int64(0)
	err := s.Range(from, stream.Max, func(id stream.ID, f stream.Fields) bool {
		if n == 0 {
			entries = c.beginStream(o.keys + i)
		}
		c.writeStreamEntry(id, f)
		n++
		g.Advance(id)
		if o.noAck {
			return n != o.count
		}
		// It may be pending if the group was set back.
		old, pending, err := g.Delivery(id)
		d := stream.Delivery{ID: id, Consumer: consumer.Name, Time: now, Count: 1}
		was := &old
		if !pending {
			was = nil
		}
		if failed = errors.Join(err, g.Deliver(d, consumer, was)); failed != nil {
			return false
		}
		consumer.Act(now)
		c.logDelivery(key, g, &d)
		return n != o.count
	})
	if err = errors.Join(err, failed); err != nil || n == 0 {
		return false, err
	}
	c.Out.EndArray(entries, int(n))
	c.logGroupID(key, g)
	return true, nil
}

// readDelivered answers again what was delivered to the consumer. Redis does not tell its replicas that it was
// delivered once more; the log here does, for it is what a restart goes by.
func (c *Call) readDelivered(o readOptions, i int, s *stream.Stream, g *stream.Group, consumer *stream.Consumer,
	after stream.ID) error {
	entries, n := c.beginStream(o.keys+i), int64(0)
	from, ok := after.Next()
	if !ok {
		c.Out.EndArray(entries, 0)
		return nil
	}
	var failed error
	err := consumer.Deliveries(from, stream.Max, func(d stream.Delivery) bool {
		n++
		f, exists, err := s.Get(d.ID)
		switch {
		case err != nil:
			failed = err
			return false
		case !exists:
			c.Out.Array(2)
			c.writeID(d.ID)
			c.Out.NullArray()
			return n != o.count
		}
		c.writeStreamEntry(d.ID, f)
		old := d
		d.Time, d.Count = c.Tx.Now(), d.Count+1
		failed = g.Deliver(d, consumer, &old)
		c.logDelivery(c.Args[o.keys+i], g, &d)
		return failed == nil && n != o.count
	})
	c.Out.EndArray(entries, int(n))
	return errors.Join(err, failed)
}
