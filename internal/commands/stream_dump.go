package commands

import (
	"errors"

	"haypile/internal/keyspace"
	"haypile/internal/rdb"
	"haypile/internal/types/stream"
)

// dumpStream makes the payload of a stream, without seal.
func (c *Call) dumpStream(e keyspace.Entry) ([]byte, error) {
	s, err := stream.At(c.Tx, e)
	if err != nil {
		return nil, err
	}
	var w rdb.StreamWriter
	var fields [][]byte
	err = s.Range(stream.ID{}, stream.Max, func(id stream.ID, f stream.Fields) bool {
		fields = fields[:0]
		f.All(func(b []byte) { fields = append(fields, b) })
		w.Entry(rdb.StreamID(id), fields)
		return true
	})
	if err != nil {
		return nil, err
	}
	w.Head(rdb.StreamHead{Length: s.Len(), Last: rdb.StreamID(s.Last), First: rdb.StreamID(s.First),
		MaxDeleted: rdb.StreamID(s.MaxDeleted), Added: s.Added}, s.Groups)
	err = s.EachGroup(func(g *stream.Group) error { return dumpGroup(&w, g) })
	return w.Payload(), err
}

func dumpGroup(w *rdb.StreamWriter, g *stream.Group) error {
	w.Group(rdb.StreamGroup{Name: g.Name, Last: rdb.StreamID(g.Last), Read: g.Read}, g.Pending)
	err := g.Deliveries(stream.ID{}, stream.Max, func(d stream.Delivery) bool {
		w.Pending(rdb.StreamDelivery{ID: rdb.StreamID(d.ID), Time: d.Time, Count: d.Count})
		return true
	})
	if err != nil {
		return err
	}
	w.Consumers(g.Consumers)
	return g.EachConsumer(func(consumer *stream.Consumer) error {
		w.Consumer(rdb.StreamConsumer{Name: consumer.Name, Seen: consumer.Seen}, consumer.Pending)
		return consumer.Owned(stream.ID{}, stream.Max, func(id stream.ID) bool {
			w.Owned(rdb.StreamID(id))
			return true
		})
	})
}

// streamLoader makes a stream of a payload.
type streamLoader struct {
	typ      byte
	s        *stream.Stream
	bytes    int // of the entries
	group    *stream.Group
	consumer *stream.Consumer
}

// loadStream stores the stream of a payload at a key that does not exist.
func (c *Call) loadStream(e keyspace.Entry, typ byte, r *rdb.Reader, deadline int64) error {
	l := streamLoader{typ: typ, s: stream.Begin(c.Tx, e, deadline)}
	if err := r.Stream(typ, &l); err != nil {
		return err
	}
	if r.Left() != 0 {
		return rdb.ErrFormat
	}
	l.end()
	return l.s.Save()
}

func (l *streamLoader) Entry(id rdb.StreamID, fields [][]byte) error {
	if !l.s.Last.Less(stream.ID(id)) {
		return rdb.ErrFormat
	}
	// A payload has the names of fields once for many entries, rows have them each time.
	for _, f := range fields {
		l.bytes += len(f)
	}
	if l.bytes > maxStoredBytes {
		return errTooLarge
	}
	l.s.Add(stream.ID(id), fields)
	return nil
}

// Head takes what is counted. The first entry is known already.
func (l *streamLoader) Head(h rdb.StreamHead) error {
	last := stream.ID(h.Last)
	if h.Length != l.s.Len() || last.Less(l.s.Last) {
		return rdb.ErrFormat
	}
	l.s.SetLast(last)
	if l.typ != rdb.TypeStream {
		l.s.SetAdded(h.Added)
		l.s.SetMaxDeleted(stream.ID(h.MaxDeleted))
	}
	return nil
}

func (l *streamLoader) Group(g rdb.StreamGroup) (err error) {
	l.end()
	if l.typ == rdb.TypeStream {
		g.Read = l.s.ReadAt(stream.ID(g.Last))
	}
	if g.Read < stream.Unknown {
		return rdb.ErrFormat
	}
	if l.group, err = l.s.CreateGroup(g.Name, stream.ID(g.Last), g.Read); err == nil && l.group == nil {
		err = rdb.ErrFormat
	}
	return err
}

// end stores the group read last.
func (l *streamLoader) end() {
	if l.group != nil {
		l.group.Save()
	}
}

func (l *streamLoader) Consumer(c rdb.StreamConsumer) error {
	old, err := l.group.Consumer(c.Name)
	if err != nil || old != nil {
		return errors.Join(err, rdb.ErrFormat)
	}
	l.consumer = l.group.CreateConsumer(c.Name, c.Seen, c.Active)
	return nil
}

func (l *streamLoader) Delivery(d rdb.StreamDelivery) error {
	return l.group.Deliver(stream.Delivery{ID: stream.ID(d.ID), Time: d.Time, Count: d.Count}, l.consumer, nil)
}
