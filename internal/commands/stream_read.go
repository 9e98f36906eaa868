package commands

import (
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

// errBlock: what a client that would wait gets.
const errBlock = Error("ERR BLOCK is not supported yet: no entry is there, and the client can't wait for one")

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
		if streams[i], err = c.openStream(o.keys + i); err != nil {
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
	case o.block >= 0 && !c.InMulti:
		return errBlock
	}
	c.Out.NullArray()
	return nil
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
