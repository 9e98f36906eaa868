package stream

import (
	"bytes"
	"errors"
	"slices"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
)

// Unknown is the number of entries read by a group of which that can't be told.
const Unknown = -1

// Group is a consumer group of a stream. It stays right while the group is changed through it alone. Changes reach
// the transaction with Save, and then with the stream's.
type Group struct {
	groupRow
	Name []byte
	s    *Stream
	// loaded are the consumers that were asked for, nil if there is none of the name.
	loaded map[string]*Consumer
	// dirty: the row must be stored; changed: what it says has changed, and watchers need to know.
	dirty, changed bool
}

// groupRow is what the row of a group holds.
type groupRow struct {
	// Last is the highest ID that was delivered.
	Last ID
	// low is a lower bound of the IDs that are pending, so that no walk begins among the tombstones of what was
	// acknowledged; top is the highest ID that ever was: what is above it is not pending, which needs no look-up.
	low, top ID
	// Read counts the entries of the stream up to Last, or is Unknown.
	Read int64
	// Pending and Consumers count the rows of the group.
	Pending, Consumers uint64
}

func appendGroup(dst []byte, g *groupRow) []byte {
	return appendUvarints(append(dst, format), g.Last.MS, g.Last.Seq, g.low.MS, g.low.Seq, g.top.MS, g.top.Seq,
		uint64(g.Read+1), g.Pending, g.Consumers)
}

func parseGroup(b []byte, g *groupRow) error {
	var read uint64
	rest, ok := readUvarints(b, &g.Last.MS, &g.Last.Seq, &g.low.MS, &g.low.Seq, &g.top.MS, &g.top.Seq, &read,
		&g.Pending, &g.Consumers)
	g.Read = int64(read - 1)
	if !ok || len(rest) > 0 || g.Read < Unknown {
		return corrupt("group of a stream")
	}
	return nil
}

// Consumer is a member of a group.
type Consumer struct {
	consumerRow
	Name    []byte
	g       *Group
	changed bool
}

// consumerRow is what the row of a consumer holds.
type consumerRow struct {
	// Seen is when the consumer last asked for something, Active when it last got something, -1 if it never did; Unix
	// milliseconds.
	Seen, Active int64
	// Pending counts what was delivered to it and not acknowledged.
	Pending uint64
}

func appendConsumer(dst []byte, c *consumerRow) []byte {
	return appendUvarints(append(dst, format), uint64(c.Seen), uint64(c.Active+1), c.Pending)
}

func parseConsumer(b []byte, c *consumerRow) error {
	var seen, active uint64
	rest, ok := readUvarints(b, &seen, &active, &c.Pending)
	c.Seen, c.Active = int64(seen), int64(active-1)
	if !ok || len(rest) > 0 {
		return corrupt("consumer of a stream")
	}
	return nil
}

// Delivery is an entry that was delivered and not acknowledged: a row of a group's pending list.
type Delivery struct {
	ID       ID
	Consumer []byte
	// Time is when it was delivered last, Unix milliseconds; Count how often it was.
	Time  int64
	Count uint64
}

func appendDelivery(dst []byte, d *Delivery) []byte {
	return append(appendUvarints(append(dst, format), uint64(d.Time), d.Count), d.Consumer...)
}

func parseDelivery(id ID, b []byte) (Delivery, error) {
	d := Delivery{ID: id}
	var at uint64
	var ok bool
	if d.Consumer, ok = readUvarints(b, &at, &d.Count); !ok {
		return d, corrupt("pending entry of a stream")
	}
	d.Time = int64(at)
	return d, nil
}

// Group finds a group, nil if there is none.
func (s *Stream) Group(name []byte) (*Group, error) {
	if s.Groups == 0 {
		return nil, nil
	}
	v, found, err := s.tx.GetOrdered(&s.key, &s.meta, groupKey(name))
	if err != nil || !found {
		return nil, err
	}
	g := &Group{s: s, Name: name}
	return g, parseGroup(v, &g.groupRow)
}

// CreateGroup makes a group whose next new entry is the one behind last; nil if there is one of the name.
func (s *Stream) CreateGroup(name []byte, last ID, read int64) (*Group, error) {
	old, err := s.Group(name)
	if err != nil || old != nil {
		return nil, err
	}
	s.Create()
	s.Groups++
	s.changed = true
	return &Group{s: s, Name: name, groupRow: groupRow{Last: last, Read: read}, changed: true}, nil
}

// EachGroup visits the groups in the order of their names.
func (s *Stream) EachGroup(visit func(*Group) error) error {
	if s.Groups == 0 {
		return nil
	}
	var failed error
	err := s.tx.ScanOrdered(&s.key, &s.meta, groupKey(nil), []byte{tableGroup + 1}, func(k, v []byte) bool {
		g := &Group{s: s, Name: bytes.Clone(k[1:])}
		if failed = parseGroup(v, &g.groupRow); failed == nil {
			failed = visit(g)
		}
		return failed == nil
	})
	return errors.Join(err, failed)
}

// Save stores what has changed of the group and of the consumers that were loaded.
func (g *Group) Save() {
	for _, c := range g.loaded {
		if c != nil && c.changed {
			c.changed = false
			g.s.tx.PutOrdered(&g.s.key, &g.s.meta, consumerKey(g.Name, c.Name), appendConsumer(nil, &c.consumerRow))
		}
	}
	g.s.touched = g.s.touched || g.changed
	if g.dirty || g.changed {
		g.dirty, g.changed = false, false
		g.s.tx.PutOrdered(&g.s.key, &g.s.meta, groupKey(g.Name), appendGroup(nil, &g.groupRow))
	}
}

// Destroy removes the group, its consumers and all that it has pending.
func (g *Group) Destroy() error {
	s := g.s
	var err, failed error
	if s.tx.Many(g.Pending) {
		for _, rows := range [][]byte{pendingOf(g.Name), appendName([]byte{tableOwned}, g.Name)} {
			s.tx.CutOrdered(&s.key, &s.meta, rows, encoding.PrefixEnd(rows))
		}
	} else if g.Pending > 0 {
		err = g.Deliveries(ID{}, Max, func(d Delivery) bool {
			s.tx.RemoveIndex(&s.key, &s.meta, appendID(pendingOf(g.Name), d.ID))
			s.tx.RemoveIndex(&s.key, &s.meta, appendID(ownedBy(g.Name, d.Consumer), d.ID))
			return true
		})
	}
	if err == nil {
		failed = g.EachConsumer(func(c *Consumer) error {
			s.tx.RemoveOrdered(&s.key, &s.meta, consumerKey(g.Name, c.Name))
			return nil
		})
	}
	s.tx.RemoveOrdered(&s.key, &s.meta, groupKey(g.Name))
	s.Groups--
	s.changed = true
	return errors.Join(err, failed)
}

// SetID sets where the group stands.
func (g *Group) SetID(last ID, read int64) { g.Last, g.Read, g.changed = last, read, true }

// Raise lifts the last ID, if id is higher, and reports whether it is.
func (g *Group) Raise(id ID) bool {
	if !g.Last.Less(id) {
		return false
	}
	g.Last, g.changed = id, true
	return true
}

// Advance notes that the entry id is delivered as a new one.
func (g *Group) Advance(id ID) {
	if g.Read != Unknown && !g.s.deletedFrom(id) {
		g.Read++
	} else if g.s.Added > 0 {
		g.Read = g.s.ReadAt(id)
	}
	g.Last, g.changed = id, true
}

// deletedFrom reports whether XDEL has removed entries at or behind an ID, as far as is known: the stream remembers
// only the last one removed.
func (s *Stream) deletedFrom(id ID) bool {
	return s.Len() > 0 && !s.MaxDeleted.IsZero() && !s.MaxDeleted.Less(s.First) && !s.MaxDeleted.Less(id)
}

// ReadAt is the number of entries ever added up to an ID, or Unknown. It is known at the ends of the stream only, as in
// Redis: behind the last entry, before the first and at it.
func (s *Stream) ReadAt(id ID) int64 {
	switch order := id.Compare(s.Last); {
	case s.Added == 0:
		return 0
	case order == 0, s.Len() == 0 && order < 0:
		return int64(s.Added)
	case order > 0, !s.MaxDeleted.IsZero() && !s.MaxDeleted.Less(s.First):
		return Unknown
	case id.Less(s.First):
		return int64(s.Added - s.Len())
	case id == s.First:
		return int64(s.Added - s.Len() + 1)
	}
	return Unknown
}

// Lag is how many entries the group has still to read; false if that can't be told.
func (g *Group) Lag() (int64, bool) {
	switch {
	case g.s.Added == 0:
		return 0, true
	case g.Read != Unknown && !g.s.deletedFrom(g.Last):
		return int64(g.s.Added) - g.Read, true
	}
	read := g.s.ReadAt(g.Last)
	return int64(g.s.Added) - read, read != Unknown
}

// Consumer finds a consumer, nil if there is none.
func (g *Group) Consumer(name []byte) (*Consumer, error) {
	if c, known := g.loaded[string(name)]; known {
		return c, nil
	}
	if g.loaded == nil {
		g.loaded = map[string]*Consumer{}
	}
	var c *Consumer
	if g.Consumers > 0 {
		v, found, err := g.s.tx.GetOrdered(&g.s.key, &g.s.meta, consumerKey(g.Name, name))
		if err != nil {
			return nil, err
		}
		if found {
			c = &Consumer{g: g, Name: bytes.Clone(name)}
			if err := parseConsumer(v, &c.consumerRow); err != nil {
				return nil, err
			}
		}
	}
	g.loaded[string(name)] = c
	return c, nil
}

// CreateConsumer makes a consumer that does not exist.
func (g *Group) CreateConsumer(name []byte, seen, active int64) *Consumer {
	c := &Consumer{g: g, Name: bytes.Clone(name), consumerRow: consumerRow{Seen: seen, Active: active}, changed: true}
	if g.loaded == nil {
		g.loaded = map[string]*Consumer{}
	}
	g.loaded[string(name)] = c
	g.Consumers++
	g.changed = true
	return c
}

// EachConsumer visits the consumers in the order of their names, as they were saved last.
func (g *Group) EachConsumer(visit func(*Consumer) error) error {
	if g.Consumers == 0 {
		return nil
	}
	from := consumersOf(g.Name)
	var failed error
	err := g.s.tx.ScanOrdered(&g.s.key, &g.s.meta, from, encoding.PrefixEnd(from), func(k, v []byte) bool {
		c := &Consumer{g: g, Name: bytes.Clone(k[len(from):])}
		if failed = parseConsumer(v, &c.consumerRow); failed == nil {
			failed = visit(c)
		}
		return failed == nil
	})
	return errors.Join(err, failed)
}

// Delete removes the consumer and what it has pending.
func (c *Consumer) Delete() error {
	g := c.g
	s := g.s
	err := c.release()
	s.tx.RemoveOrdered(&s.key, &s.meta, consumerKey(g.Name, c.Name))
	g.loaded[string(c.Name)] = nil
	g.Pending -= c.Pending
	g.Consumers--
	g.changed = true
	return err
}

// release ends that anything is pending for the consumer; counting is the caller's.
func (c *Consumer) release() error {
	g, s := c.g, c.g.s
	pending, owned := slices.Clip(pendingOf(g.Name)), slices.Clip(ownedBy(g.Name, c.Name))
	if !s.tx.Many(c.Pending) {
		return c.Owned(ID{}, Max, func(id ID) bool {
			s.tx.RemoveIndex(&s.key, &s.meta, appendID(pending, id))
			s.tx.RemoveIndex(&s.key, &s.meta, appendID(owned, id))
			return true
		})
	}
	var err error
	if c.Pending == g.Pending {
		s.tx.CutOrdered(&s.key, &s.meta, pending, encoding.PrefixEnd(pending))
	} else {
		gone := s.tx.Eraser(&s.key, &s.meta)
		err = c.Owned(ID{}, Max, func(id ID) bool {
			gone.Index(appendID(pending, id))
			return true
		})
		err = errors.Join(err, gone.Done())
	}
	s.tx.CutOrdered(&s.key, &s.meta, owned, encoding.PrefixEnd(owned))
	return err
}

// See notes that the consumer has asked for something. That alone is no change of which anybody is told.
func (c *Consumer) See(now int64) {
	if c.Seen != now {
		c.Seen, c.changed = now, true
	}
}

// Act notes that it got something.
func (c *Consumer) Act(now int64) {
	if c.Active != now {
		c.Active, c.changed = now, true
	}
}

// Delivery finds what a group has pending of an ID.
func (g *Group) Delivery(id ID) (d Delivery, found bool, err error) {
	if g.Pending == 0 || g.top.Less(id) || id.Less(g.low) {
		return d, false, nil
	}
	v, found, err := g.s.tx.GetIndex(&g.s.key, &g.s.meta, appendID(pendingOf(g.Name), id))
	if err != nil || !found {
		return d, false, err
	}
	d, err = parseDelivery(id, v)
	return d, err == nil, err
}

// NeverPending reports, without a look-up, that an ID is certainly not pending and never was.
func (g *Group) NeverPending(id ID) bool { return g.top.Less(id) }

// Deliver makes d pending, for the consumer c. If old is not nil it was pending already, as old says.
func (g *Group) Deliver(d Delivery, c *Consumer, old *Delivery) error {
	s := g.s
	d.Consumer = c.Name
	s.tx.PutIndex(&s.key, &s.meta, appendID(pendingOf(g.Name), d.ID), appendDelivery(nil, &d))
	g.changed = true
	if old != nil && bytes.Equal(old.Consumer, c.Name) {
		return nil
	}
	if old != nil {
		if err := g.disown(old); err != nil {
			return err
		}
	} else {
		if g.Pending == 0 || d.ID.Less(g.low) {
			g.low = d.ID
		}
		if g.top.Less(d.ID) {
			g.top = d.ID
		}
		g.Pending++
	}
	s.tx.PutIndex(&s.key, &s.meta, appendID(ownedBy(g.Name, c.Name), d.ID), []byte{format})
	c.Pending++
	c.changed = true
	return nil
}

// disown takes d from its consumer.
func (g *Group) disown(d *Delivery) error {
	owner, err := g.Consumer(d.Consumer)
	if err != nil {
		return err
	}
	if owner == nil || owner.Pending == 0 {
		return corrupt("pending entry without a consumer")
	}
	g.s.tx.RemoveIndex(&g.s.key, &g.s.meta, appendID(ownedBy(g.Name, d.Consumer), d.ID))
	owner.Pending--
	owner.changed = true
	return nil
}

// Release ends that d is pending.
func (g *Group) Release(d *Delivery) error {
	if err := g.disown(d); err != nil {
		return err
	}
	g.s.tx.RemoveIndex(&g.s.key, &g.s.meta, appendID(pendingOf(g.Name), d.ID))
	g.Pending--
	g.changed = true
	return nil
}

// Lift tells that a walk has found nothing pending before id.
func (g *Group) Lift(id ID) {
	if g.low.Less(id) {
		g.low, g.dirty = id, true
	}
}

// bounds are the sort keys of a range of IDs behind a prefix, cut to what can be pending.
func (g *Group) bounds(prefix []byte, from, to ID) (lower, upper []byte, any bool) {
	if from.Less(g.low) {
		from = g.low
	}
	if g.top.Less(to) {
		to = g.top
	}
	if g.Pending == 0 || to.Less(from) {
		return nil, nil, false
	}
	prefix = prefix[:len(prefix):len(prefix)]
	lower = appendID(prefix, from)
	next, ok := to.Next()
	if !ok {
		return lower, encoding.PrefixEnd(prefix), true
	}
	return lower, appendID(prefix, next), true
}

// Deliveries visits what the group has pending from an ID to another, both included, until visit says stop.
func (g *Group) Deliveries(from, to ID, visit func(Delivery) (more bool)) error {
	return g.walk(from, to, g.s.tx.ScanOrdered, visit)
}

func (g *Group) walk(from, to ID, scan scanFunc, visit func(Delivery) bool) error {
	prefix := pendingOf(g.Name)
	lower, upper, any := g.bounds(prefix, from, to)
	if !any {
		return nil
	}
	var failed error
	err := scan(&g.s.key, &g.s.meta, lower, upper, func(k, v []byte) bool {
		var d Delivery
		d, failed = parseDelivery(DecodeID(k[len(prefix):]), v)
		return failed == nil && visit(d)
	})
	return errors.Join(err, failed)
}

// Ends are the lowest and the highest ID that are pending.
func (g *Group) Ends() (first, last ID, err error) {
	err = g.Deliveries(ID{}, Max, func(d Delivery) bool {
		first = d.ID
		return false
	})
	if err == nil {
		err = g.walk(ID{}, Max, g.s.tx.ScanOrderedBack, func(d Delivery) bool {
			last = d.ID
			return false
		})
	}
	return first, last, err
}

// Owned visits the IDs that the consumer has pending.
func (c *Consumer) Owned(from, to ID, visit func(ID) bool) error {
	g := c.g
	prefix := ownedBy(g.Name, c.Name)
	lower, upper, any := g.bounds(prefix, from, to)
	if !any || c.Pending == 0 {
		return nil
	}
	return g.s.tx.ScanOrdered(&g.s.key, &g.s.meta, lower, upper, func(k, _ []byte) bool {
		return visit(DecodeID(k[len(prefix):]))
	})
}

// Deliveries visits what the consumer has pending from an ID to another, both included, until visit says stop.
func (c *Consumer) Deliveries(from, to ID, visit func(Delivery) (more bool)) error {
	var failed error
	err := c.Owned(from, to, func(id ID) bool {
		d, found, err := c.g.Delivery(id)
		switch {
		case err != nil:
			failed = err
		case !found || !bytes.Equal(d.Consumer, c.Name):
			failed = corrupt("pending entry of a consumer")
		default:
			return visit(d)
		}
		return false
	})
	return errors.Join(err, failed)
}

// scanFunc is a walk over ordered rows, in either direction.
type scanFunc func(*keyspace.Entry, *encoding.Meta, []byte, []byte, func(k, v []byte) bool) error
