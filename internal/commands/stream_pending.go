package commands

import (
	"errors"
	"math"

	"haypile/internal/command"
	"haypile/internal/keyevent"
	"haypile/internal/resp"
	"haypile/internal/types/stream"
)

var pendingCommands = []*Command{
	streamFamily.command("XREADGROUP", "5.0.0", -7, command.Write|command.Blocking,
		command.FirstHalf("STREAMS", 4, accessGet),
		"XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]",
		"O(N) entries answered",
		"Hands a consumer of a group the new entries of streams, or again those that it has not acknowledged.", xReadGroup),
	streamFamily.command("XACK", "5.0.0", -4, command.Write|command.Fast, oneKey(accessChange),
		"XACK key group id [id ...]", "O(1) for every ID", "Acknowledges entries delivered to a group.", xAck),
	streamFamily.command("XPENDING", "5.0.0", -3, command.ReadOnly, oneKey(command.AccessRO|command.AccessRead),
		"XPENDING key group [[IDLE min-idle-time] start end count [consumer]]",
		"O(N) entries answered or passed over; O(N) consumers for the summary",
		"Tells what was delivered to a group and not acknowledged.", xPending),
	streamFamily.command("XCLAIM", "5.0.0", -6, command.Write|command.Fast, oneKey(accessChange),
		"XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] "+
			"[FORCE] [JUSTID] [LASTID lastid]",
		"O(1) for every ID", "Makes a consumer the owner of entries that another has not acknowledged.", xClaim),
	streamFamily.command("XAUTOCLAIM", "6.2.0", -6, command.Write|command.Fast, oneKey(command.AccessRW|command.AccessDelete),
		"XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]",
		"O(1) for every entry answered or passed over, of which there are at most ten for each one wanted",
		"Makes a consumer the owner of entries that others have not acknowledged for some time.", xAutoClaim),
}

// openGroupOf reads the stream at args[1] and its group args[2]; the group is nil if either does not exist.
func (c *Call) openGroupOf() (*stream.Stream, *stream.Group, error) {
	s, err := c.openStream(1)
	if err != nil || !s.Exists() {
		return s, nil, err
	}
	g, err := s.Group(c.Args[2])
	return s, g, err
}

// errNoGroup says that args[1] or its group args[2] does not exist.
func (c *Call) errNoGroup() error { return Error(resp.NoGroup(c.Args[1], c.Args[2])) }

func xAck(c *Call) error {
	s, g, err := c.openGroupOf()
	if err != nil {
		return err
	}
	if g == nil {
		if !s.Exists() {
			c.notify(keyevent.Miss, "keymiss", s.Key())
		}
		c.Out.Int(0)
		return nil
	}
	ids, err := c.idsFrom(3)
	if err != nil {
		return err
	}
	acked := int64(0)
	for _, id := range ids {
		d, found, err := g.Delivery(id)
		if err != nil {
			return err
		}
		if found {
			if err := g.Release(&d); err != nil {
				return err
			}
			acked++
		}
	}
	c.Out.Int(acked)
	return c.saveGroup(s, g, "")
}

// pendingOptions are those of XPENDING with a range.
type pendingOptions struct {
	idle, count int64
	from, to    stream.ID
	consumer    []byte
}

func (c *Call) parsePending() (o pendingOptions, err error) {
	at := 3
	if c.Is(3, "IDLE") {
		if o.idle, err = c.int64At(4); err != nil {
			return o, err
		}
		if len(c.Args) < 8 {
			return o, Error(resp.ErrSyntax)
		}
		at += 2
	}
	if o.count, err = c.int64At(at + 2); err != nil {
		return o, err
	}
	if o.from, o.to, err = c.interval(at, at+1); err != nil {
		return o, err
	}
	if at+3 < len(c.Args) {
		o.consumer = c.Args[at+3]
		if o.consumer == nil {
			o.consumer = []byte{}
		}
	}
	return o, nil
}

func xPending(c *Call) error {
	var o pendingOptions
	summary := len(c.Args) == 3
	if !summary {
		if len(c.Args) < 6 || len(c.Args) > 9 {
			return Error(resp.ErrSyntax)
		}
		var err error
		if o, err = c.parsePending(); err != nil {
			return err
		}
	}
	_, g, err := c.openGroupOf()
	switch {
	case err != nil:
		return err
	case g == nil:
		return c.errNoGroup()
	case summary:
		return c.pendingSummary(g)
	}
	walk := g.Deliveries
	if o.consumer != nil {
		consumer, err := g.Consumer(o.consumer)
		if err != nil {
			return err
		}
		if consumer == nil {
			c.Out.Array(0)
			return nil
		}
		walk = consumer.Deliveries
	}
	all, n := c.Out.Defer(), int64(0)
	if o.count > 0 {
		err = walk(o.from, o.to, func(d stream.Delivery) bool {
			idle := c.Tx.Now() - d.Time
			if o.idle != 0 && idle < o.idle {
				return true
			}
			c.Out.Array(4)
			c.writeID(d.ID)
			c.Out.Bulk(d.Consumer)
			c.Out.Int(max(idle, 0))
			c.Out.Int(int64(d.Count))
			n++
			return n != o.count
		})
	}
	c.Out.EndArray(all, int(n))
	return err
}

// pendingSummary answers XPENDING without a range.
func (c *Call) pendingSummary(g *stream.Group) error {
	c.Out.Array(4)
	c.Out.Int(int64(g.Pending))
	if g.Pending == 0 {
		c.Out.Null()
		c.Out.Null()
		c.Out.NullArray()
		return nil
	}
	first, last, err := g.Ends()
	if err != nil {
		return err
	}
	c.writeID(first)
	c.writeID(last)
	all, n := c.Out.Defer(), 0
	err = g.EachConsumer(func(consumer *stream.Consumer) error {
		if consumer.Pending > 0 {
			c.Out.Array(2)
			c.Out.Bulk(consumer.Name)
			c.Out.BulkInt(int64(consumer.Pending))
			n++
		}
		return nil
	})
	c.Out.EndArray(all, n)
	return err
}

// claimOptions are those of XCLAIM. The IDs are the arguments from 5 on, before to.
type claimOptions struct {
	minIdle int64
	to      int
	time    int64 // when the entries count as delivered
	timed   bool  // TIME or IDLE was given
	retries int64 // -1: one more than before
	force   bool
	justID  bool
	last    stream.ID
}

func (c *Call) parseClaim() (o claimOptions, err error) {
	var ok bool
	if o.minIdle, ok = resp.ParseInt(c.Args[4]); !ok {
		return o, Error(resp.ErrStreamClaimIdle)
	}
	o.minIdle = max(o.minIdle, 0)
	for o.to = 5; o.to < len(c.Args); o.to++ {
		if _, ok := stream.Parse(c.Args[o.to], 0); !ok {
			break
		}
	}
	now := c.Tx.Now()
	o.time, o.retries = -1, -1
	for i := o.to; i < len(c.Args); i++ {
		more := i+1 < len(c.Args)
		switch {
		case c.Is(i, "FORCE"):
			o.force = true
		case c.Is(i, "JUSTID"):
			o.justID = true
		case c.Is(i, "IDLE") && more:
			i++
			if o.time, ok = resp.ParseInt(c.Args[i]); !ok {
				return o, Error(resp.ErrStreamIdle)
			}
			o.time = now - o.time
		case c.Is(i, "TIME") && more:
			i++
			if o.time, ok = resp.ParseInt(c.Args[i]); !ok {
				return o, Error(resp.ErrStreamTime)
			}
		case c.Is(i, "RETRYCOUNT") && more:
			i++
			if o.retries, ok = resp.ParseInt(c.Args[i]); !ok {
				return o, Error(resp.ErrStreamRetryCount)
			}
		case c.Is(i, "LASTID") && more:
			i++
			if o.last, err = c.idAt(i); err != nil {
				return o, err
			}
		default:
			return o, Error(resp.UnknownClaimOption(c.Args[i]))
		}
	}
	// Clients compute times by their own clocks: what is in the future counts as now. The stream's times stand as they
	// are.
	if o.timed = o.time != -1; !o.timed || !c.Tx.Applying() && (o.time < 0 || o.time > now) {
		o.time = now
	}
	return o, nil
}

func xClaim(c *Call) error {
	s, g, err := c.openGroupOf()
	if err != nil {
		return err
	}
	if g == nil {
		return c.errNoGroup()
	}
	o, err := c.parseClaim()
	if err != nil {
		return err
	}
	now := c.Tx.Now()
	if c.Tx.Applying() && o.timed {
		now = o.time // the clock of a replica does not matter
	}
	raised := g.Raise(o.last)
	consumer, err := c.demandConsumer(c.Args[1], g, c.Args[3], now)
	if err != nil {
		return err
	}
	all, n, logged := c.Out.Defer(), 0, false
	for i := 5; i < o.to; i++ {
		id, _ := stream.Parse(c.Args[i], 0)
		claimed, changed, err := c.claim(s, g, consumer, id, &o, now)
		if err != nil {
			return err
		}
		n += int(bit(claimed))
		logged = logged || changed
	}
	c.Out.EndArray(all, n)
	if raised && !logged {
		c.logGroupID(c.Args[1], g)
	}
	return c.saveGroup(s, g, "")
}

// claim makes the consumer the owner of one entry, if that is pending for long enough, and answers it. An entry that
// exists no more is no longer pending then.
func (c *Call) claim(s *stream.Stream, g *stream.Group, consumer *stream.Consumer, id stream.ID, o *claimOptions,
	now int64) (claimed, changed bool, err error) {
	old, pending, err := g.Delivery(id)
	if err != nil || !pending && !o.force {
		return false, false, err
	}
	var entry stream.Fields
	// The stream's origin has seen that the entry exists when it became pending.
	if pending || !c.Tx.Applying() {
		var exists bool
		if entry, exists, err = s.Get(id); err != nil {
			return false, false, err
		}
		if !exists && pending {
			c.logDelivery(c.Args[1], g, &old)
			return false, true, g.Release(&old)
		}
		if !exists {
			return false, false, nil
		}
	}
	d := stream.Delivery{ID: id, Consumer: consumer.Name, Time: o.time}
	was := &old
	if !pending {
		was, d.Count = nil, 1
	} else if d.Count = old.Count; o.minIdle > 0 && now-old.Time < o.minIdle {
		return false, false, nil
	}
	if o.retries >= 0 {
		d.Count = uint64(o.retries)
	} else if !o.justID {
		d.Count++
	}
	if err := g.Deliver(d, consumer, was); err != nil {
		return false, false, err
	}
	consumer.Act(now)
	if o.justID {
		c.writeID(id)
	} else {
		c.writeStreamEntry(id, entry)
	}
	c.logDelivery(c.Args[1], g, &d)
	return true, true, nil
}

// autoClaimTries is how many pending entries XAUTOCLAIM looks at for each one wanted.
const autoClaimTries = 10

func xAutoClaim(c *Call) error {
	idle, ok := resp.ParseInt(c.Args[4])
	if !ok {
		return Error(resp.ErrStreamAutoClaimIdle)
	}
	from, err := c.startAt(5)
	if err != nil {
		return err
	}
	o := claimOptions{minIdle: max(idle, 0), time: c.Tx.Now(), retries: -1}
	count := int64(100)
	for i := 6; i < len(c.Args); i++ {
		switch {
		case c.Is(i, "COUNT") && i+1 < len(c.Args):
			i++
			if count, ok = resp.ParseInt(c.Args[i]); !ok || count < 1 || count > math.MaxInt64/16 {
				return Error(resp.ErrStreamCount)
			}
		case c.Is(i, "JUSTID"):
			o.justID = true
		default:
			return Error(resp.ErrSyntax)
		}
	}
	s, g, err := c.openGroupOf()
	if err != nil {
		return err
	}
	if g == nil {
		return c.errNoGroup()
	}
	consumer, err := c.demandConsumer(c.Args[1], g, c.Args[3], c.Tx.Now())
	if err != nil {
		return err
	}
	if err := c.autoClaim(s, g, consumer, from, count, &o); err != nil {
		return err
	}
	return c.saveGroup(s, g, "")
}

// autoClaim claims pending entries from an ID on and answers where to go on, the entries, and the IDs of those that
// exist no more.
func (c *Call) autoClaim(s *stream.Stream, g *stream.Group, consumer *stream.Consumer, from stream.ID, count int64,
	o *claimOptions) error {
	// The position to go on with is answered first and known last.
	out := c.Out
	c.Out = &resp.Writer{Proto: out.Proto}
	all, n, tries := c.Out.Defer(), 0, count*autoClaimTries
	var deleted []stream.ID
	end, failed := stream.ID{}, error(nil)
	fromStart, first := from, stream.ID{}
	err := g.Deliveries(from, stream.Max, func(d stream.Delivery) bool {
		if first.IsZero() {
			first = d.ID
		}
		if tries == 0 || count == 0 {
			end = d.ID
			return false
		}
		tries--
		var claimed, changed bool
		if claimed, changed, failed = c.claim(s, g, consumer, d.ID, o, c.Tx.Now()); failed != nil {
			return false
		}
		if claimed {
			n++
		} else if changed {
			deleted = append(deleted, d.ID)
		}
		if changed {
			count--
		}
		return true
	})
	c.Out.EndArray(all, n)
	claims := c.Out.Buf
	c.Out = out
	if err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	if fromStart.IsZero() && !first.IsZero() {
		g.Lift(first)
	}
	c.Out.Array(3)
	c.writeID(end)
	c.Out.Raw(claims)
	c.Out.Array(len(deleted))
	for _, id := range deleted {
		c.writeID(id)
	}
	return nil
}
