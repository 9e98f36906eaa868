package commands

import (
	"errors"
	"math"
	"slices"

	"haypile/internal/command"
	"haypile/internal/keyevent"
	"haypile/internal/resp"
	"haypile/internal/types/stream"
)

var streamFamily = family{group: "stream", category: "stream"}

var streamCommands = slices.Concat(entryCommands, pendingCommands, []*Command{xGroupCommand, xInfoCommand})

var entryCommands = []*Command{
	streamFamily.command("XADD", "5.0.0", -5, writeGrowFast, oneKey(accessChange),
		"XADD key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]",
		"O(1), and O(N) entries that trimming removes", "Appends an entry to a stream.", xAdd).differs(approximate),
	streamFamily.command("XTRIM", "5.0.0", -4, command.Write,
		oneKey(command.AccessRW|command.AccessDelete),
		"XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]", "O(N) entries removed",
		"Removes the oldest entries of a stream.", xTrim).differs(approximate),
	streamFamily.command("XDEL", "5.0.0", -3, command.Write|command.Fast, oneKey(command.AccessRW|command.AccessDelete),
		"XDEL key id [id ...]", "O(1) for every ID", "Removes entries from a stream.", xDel),
	streamFamily.command("XLEN", "5.0.0", 2, readFast, oneKey(command.AccessRO), "XLEN key", "O(1)",
		"Answers the number of entries of a stream.", xLen),
	streamFamily.command("XRANGE", "5.0.0", -4, command.ReadOnly, oneKey(accessGet),
		"XRANGE key start end [COUNT count]", "O(N) entries answered", "Answers the entries between two IDs.",
		func(c *Call) error { return xRange(c, 2, 3, (*stream.Stream).Range) }),
	streamFamily.command("XREVRANGE", "5.0.0", -4, command.ReadOnly, oneKey(accessGet),
		"XREVRANGE key end start [COUNT count]", "O(N) entries answered",
		"Answers the entries between two IDs, the newest first.",
		func(c *Call) error { return xRange(c, 3, 2, (*stream.Stream).RangeBack) }),
	streamFamily.command("XREAD", "5.0.0", -4, command.ReadOnly|command.Blocking,
		command.FirstHalf("STREAMS", 1, accessGet),
		"XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]", "O(N) entries answered",
		"Answers what follows an ID in each of several streams.", xRead),
	streamFamily.command("XSETID", "5.0.0", -3, command.Write|command.DenyOOM|command.Fast,
		oneKey(accessChange), "XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
		"O(1)", "Sets the last ID of a stream, and what it counts.", xSetID),
}

const approximate = "Trimming with ~ goes by nodes of 100 entries, whatever their size in bytes."

// openStream reads the stream at args[i].
func (c *Call) openStream(i int) (*stream.Stream, error) {
	s, err := stream.Open(c.Tx, c.Args[i])
	if errors.Is(err, stream.ErrWrongType) {
		err = Error(resp.ErrWrongType)
	}
	return s, err
}

// saveStream stores the stream and tells of what happened to it, if it did.
func (c *Call) saveStream(s *stream.Stream, event string, happened bool) error {
	if err := s.Save(); err != nil {
		return err
	}
	if happened {
		c.notify(keyevent.Stream, event, s.Key())
	}
	return nil
}

// idAt reads argument i as an ID.
func (c *Call) idAt(i int) (stream.ID, error) {
	id, ok := stream.Parse(c.Args[i], 0)
	if !ok {
		return id, Error(resp.ErrStreamID)
	}
	return id, nil
}

// interval reads arguments start and end as the ends of a range, each perhaps with "(" for one that is left out.
func (c *Call) interval(start, end int) (from, to stream.ID, err error) {
	from, err = c.startAt(start)
	if err != nil {
		return from, to, err
	}
	to, open, err := c.boundAt(end, math.MaxUint64)
	if err == nil && open {
		var ok bool
		if to, ok = to.Prev(); !ok {
			err = Error(resp.ErrStreamRangeEnd)
		}
	}
	return from, to, err
}

// startAt reads argument i as the start of a range.
func (c *Call) startAt(i int) (stream.ID, error) {
	from, open, err := c.boundAt(i, 0)
	if err == nil && open {
		var ok bool
		if from, ok = from.Next(); !ok {
			err = Error(resp.ErrStreamRangeStart)
		}
	}
	return from, err
}

// boundAt reads argument i as an end of a range; open if it stands behind "(".
func (c *Call) boundAt(i int, missing uint64) (id stream.ID, open bool, err error) {
	b := c.Args[i]
	ok := false
	if open = len(b) > 1 && b[0] == '('; open {
		id, ok = stream.Parse(b[1:], missing)
	} else {
		id, ok = stream.ParseBound(b, missing)
	}
	if !ok {
		err = Error(resp.ErrStreamID)
	}
	return id, open, err
}

// writeStreamEntry answers an entry.
func (c *Call) writeStreamEntry(id stream.ID, f stream.Fields) {
	c.Out.Array(2)
	c.writeID(id)
	c.Out.Array(f.Len())
	f.All(c.Out.Bulk)
}

func (c *Call) writeID(id stream.ID) {
	var buf [48]byte
	c.Out.Bulk(id.Append(buf[:0]))
}

// addOptions are those of XADD and XTRIM.
type addOptions struct {
	trims, noMkStream bool
	trim              stream.Trimming
	// at is the position of the ID; all: it is to be chosen as a whole, seq: its second part.
	at       int
	all, seq bool
	id       stream.ID
}

// defaultTrimLimit bounds the work of trimming with ~.
const defaultTrimLimit = 100 * stream.NodeEntries

func (c *Call) parseAdd(add bool) (o addOptions, err error) {
	limit, limited := int64(0), false
	for o.at = 2; o.at < len(c.Args); o.at++ {
		more := len(c.Args) - 1 - o.at
		arg := c.Args[o.at]
		if add && len(arg) == 1 && arg[0] == '*' {
			o.all = true
			break
		}
		switch byID := c.Is(o.at, "MINID"); {
		case (byID || c.Is(o.at, "MAXLEN")) && more > 0:
			if o.trims {
				return o, Error(resp.ErrStreamTrimBoth)
			}
			o.trims, o.trim.ByID = true, byID
			if err := c.parseThreshold(&o, more); err != nil {
				return o, err
			}
			continue
		case c.Is(o.at, "LIMIT") && more > 0:
			o.at++
			if limit, err = c.int64At(o.at); err != nil {
				return o, err
			}
			if limit < 0 {
				return o, Error(resp.ErrStreamLimitSign)
			}
			limited = true
			continue
		case add && c.Is(o.at, "NOMKSTREAM"):
			o.noMkStream = true
			continue
		case !add:
			return o, Error(resp.ErrSyntax)
		}
		var ok bool
		if o.id, o.seq, ok = stream.ParseAdd(arg); !ok {
			return o, Error(resp.ErrStreamID)
		}
		break
	}
	switch {
	case limit != 0 && !o.trims:
		return o, Error(resp.ErrStreamTrimLimit)
	case !add && !o.trims:
		return o, Error(resp.ErrStreamTrimNone)
	case c.Tx.Applying():
		// The origin of the stream has cut already.
	case limited && !o.trim.Approx:
		return o, Error(resp.ErrStreamTrimExact)
	case limited:
		o.trim.Limit = uint64(limit)
	case o.trim.Approx:
		o.trim.Limit = defaultTrimLimit
	}
	return o, nil
}

// parseThreshold reads what follows MAXLEN or MINID, which stands at o.at with more arguments behind it.
func (c *Call) parseThreshold(o *addOptions, more int) error {
	if next := c.Args[o.at+1]; more >= 2 && len(next) == 1 && (next[0] == '~' || next[0] == '=') {
		o.trim.Approx = next[0] == '~'
		o.at++
	}
	o.at++
	if o.trim.ByID {
		id, err := c.idAt(o.at)
		o.trim.MinID = id
		return err
	}
	n, err := c.int64At(o.at)
	if err == nil && n < 0 {
		err = Error(resp.ErrStreamMaxLenSign)
	}
	o.trim.MaxLen = uint64(n)
	return err
}

// exactTrim are the arguments that have another node trim to where s was trimmed to.
func exactTrim(s *stream.Stream, t stream.Trimming) [][]byte {
	if !t.ByID {
		return [][]byte{wordMaxLen, wordExact, decimal(int64(s.Len()))}
	}
	first := s.First
	if s.Len() == 0 {
		first = stream.Max
	}
	return [][]byte{wordMinID, wordExact, first.Append(nil)}
}

func xAdd(c *Call) error {
	o, err := c.parseAdd(true)
	if err != nil {
		return err
	}
	if n := len(c.Args) - o.at - 1; n < 2 || n%2 != 0 {
		return Error(resp.WrongArity(c.Cmd.FullName()))
	}
	if !o.all && !o.seq && o.id.IsZero() {
		return Error(resp.ErrStreamIDZero)
	}
	s, err := c.openStream(1)
	if err != nil {
		return err
	}
	if !s.Exists() && o.noMkStream {
		c.Out.Null()
		return nil
	}
	if s.Last == stream.Max {
		return Error(resp.ErrStreamExhausted)
	}
	if o.seq && o.id == (stream.ID{MS: s.Last.MS}) && s.Last.Seq == math.MaxUint64 {
		return Error(resp.ErrStreamTooLarge) // so says Redis
	}
	id, ok := o.choose(s.Last, uint64(c.Tx.Now()))
	if !ok {
		return Error(resp.ErrStreamIDSmall)
	}
	if o.trims {
		if err := s.Foresee(o.trim); err != nil {
			return err
		}
	}
	s.Add(id, c.Args[o.at+1:])
	trimmed := uint64(0)
	if o.trims {
		if trimmed, err = s.Trim(o.trim); err != nil {
			return err
		}
	}
	c.writeID(id)
	if o.all || o.seq || o.trim.Approx {
		args := append(make([][]byte, 0, len(c.Args)), wordXAdd, c.Args[1])
		if o.trims {
			args = append(args, exactTrim(s, o.trim)...)
		}
		args = append(args, id.Append(nil))
		c.effect(append(args, c.Args[o.at+1:]...)...)
	}
	if err := c.saveStream(s, "xadd", true); err != nil {
		return err
	}
	return c.saveStream(s, "xtrim", trimmed > 0)
}

// choose is the ID of a new entry behind last; false if there can be none.
func (o *addOptions) choose(last stream.ID, now uint64) (stream.ID, bool) {
	switch {
	case o.all && now > last.MS:
		return stream.ID{MS: now}, true
	case o.all:
		return last.Next()
	case o.seq && o.id.MS == last.MS:
		return last.Next()
	}
	return o.id, last.Less(o.id)
}

func xTrim(c *Call) error {
	o, err := c.parseAdd(false)
	if err != nil {
		return err
	}
	s, err := c.openStream(1)
	if err != nil {
		return err
	}
	removed, err := s.Trim(o.trim)
	if err != nil {
		return err
	}
	c.Out.Int(int64(removed))
	if removed > 0 && o.trim.Approx {
		c.effect(append([][]byte{wordXTrim, c.Args[1]}, exactTrim(s, o.trim)...)...)
	}
	return c.saveStream(s, "xtrim", removed > 0)
}

func xDel(c *Call) error {
	s, err := c.openStream(1)
	if err != nil {
		return err
	}
	if !s.Exists() {
		c.Out.Int(0)
		return nil
	}
	ids, err := c.idsFrom(2)
	if err != nil {
		return err
	}
	removed := int64(0)
	for _, id := range ids {
		was, err := s.Delete(id)
		if err != nil {
			return err
		}
		removed += bit(was)
	}
	c.Out.Int(removed)
	return c.saveStream(s, "xdel", removed > 0)
}

// idsFrom reads the arguments from i on as IDs.
func (c *Call) idsFrom(i int) ([]stream.ID, error) {
	ids := make([]stream.ID, 0, len(c.Args)-i)
	for ; i < len(c.Args); i++ {
		id, err := c.idAt(i)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func xLen(c *Call) error {
	s, err := c.openStream(1)
	if err != nil {
		return err
	}
	c.Out.Int(int64(s.Len()))
	return nil
}

func xRange(c *Call, start, end int,
	walk func(s *stream.Stream, from, to stream.ID, visit func(stream.ID, stream.Fields) bool) error) error {
	from, to, err := c.interval(start, end)
	if err != nil {
		return err
	}
	count := int64(-1)
	for i := 4; i < len(c.Args); i += 2 {
		if !c.Is(i, "COUNT") || i+1 == len(c.Args) {
			return Error(resp.ErrSyntax)
		}
		if count, err = c.int64At(i + 1); err != nil {
			return err
		}
		count = max(count, 0)
	}
	s, err := c.openStream(1)
	if err != nil {
		return err
	}
	if !s.Exists() {
		c.Out.Array(0)
		return nil
	}
	if count == 0 {
		c.Out.NullArray()
		return nil
	}
	var all resp.Aggregate
	if !s.First.Less(from) && !to.Less(s.Last) { // the whole stream
		all = c.Out.DeferArray(int(min(uint64(count), s.Len())))
	} else {
		all = c.Out.Defer()
	}
	n := int64(0)
	err = walk(s, from, to, func(id stream.ID, f stream.Fields) bool {
		c.writeStreamEntry(id, f)
		n++
		return n != count
	})
	c.Out.EndArray(all, int(n))
	return err
}

func xSetID(c *Call) error {
	id, err := c.idAt(2)
	if err != nil {
		return err
	}
	added, deleted := int64(-1), stream.ID{}
	for i := 3; i < len(c.Args); i += 2 {
		more := i+1 < len(c.Args)
		switch {
		case c.Is(i, "ENTRIESADDED") && more:
			if added, err = c.int64At(i + 1); err != nil {
				return err
			}
			if added < 0 {
				return Error(resp.ErrStreamEntriesAdded)
			}
		case c.Is(i, "MAXDELETEDID") && more:
			if deleted, err = c.idAt(i + 1); err != nil {
				return err
			}
			if id.Less(deleted) {
				return Error(resp.ErrStreamSetMaxDel)
			}
		default:
			return Error(resp.ErrSyntax)
		}
	}
	s, err := c.openStream(1)
	if err != nil {
		return err
	}
	if !s.Exists() {
		return Error(resp.ErrNoSuchKey)
	}
	if id.Less(s.MaxDeleted) && !c.Tx.Applying() {
		return Error(resp.ErrStreamSetDeleted)
	}
	if s.Len() > 0 {
		top, err := s.Top()
		switch {
		case err != nil:
			return err
		case id.Less(top):
			return Error(resp.ErrStreamSetTop)
		case added >= 0 && s.Len() > uint64(added):
			return Error(resp.ErrStreamSetAdded)
		}
	}
	s.SetLast(id)
	if added >= 0 {
		s.SetAdded(uint64(added))
	}
	if !deleted.IsZero() {
		s.SetMaxDeleted(deleted)
	}
	c.Out.OK()
	return c.saveStream(s, "xsetid", true)
}

// Words of effects.
var (
	wordXAdd   = []byte("XADD")
	wordXTrim  = []byte("XTRIM")
	wordMaxLen = []byte("MAXLEN")
	wordMinID  = []byte("MINID")
	wordExact  = []byte("=")
)
