package crash

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"haypile/internal/testcluster"
	"haypile/internal/testcluster/wire"
)

// counterKey is incremented by all writers.
const counterKey = "shared:counter"

// counter is what one writer knows of the shared counter.
type counter struct {
	acknowledged, inFlight int
	highest                int64         // reply seen
	all                    *atomic.Int64 // batches acknowledged to all writers
}

// load writes until the connection breaks, which is what it is for. It returns an error for anything else:
// an error reply, or a reply that does not fit.
func (w *writer) load(addr string, shared *counter) error {
	c, err := wire.Dial(addr)
	if err != nil {
		return nil // died before we came
	}
	defer c.Close()
	var buf []byte
	for {
		buf = buf[:0]
		depth := 1 + w.rng.IntN(16)
		for range depth {
			o := w.next()
			w.pending = append(w.pending, o)
			buf = o.append(buf)
		}
		buf = wire.AppendCommand(buf, "INCR", counterKey)
		shared.inFlight++
		if err := c.SendRaw(buf); err != nil {
			return nil
		}
		for range depth {
			v, err := w.pending[0].read(c)
			if err != nil {
				return nil
			}
			if err := firstError(v); err != nil {
				return fmt.Errorf("%v answered: %w", w.pending[0].commands[0][:2], err)
			}
			w.acknowledge(1)
		}
		v, err := c.Read()
		if err != nil {
			return nil
		}
		if v.Kind != wire.Int || v.Int <= shared.highest {
			return fmt.Errorf("INCR of the shared counter answered %v after %d", v, shared.highest)
		}
		shared.inFlight--
		shared.acknowledged++
		shared.all.Add(1)
		shared.highest = v.Int
	}
}

// append appends the commands of the operation.
func (o op) append(buf []byte) []byte {
	if len(o.commands) > 1 {
		buf = wire.AppendCommand(buf, "MULTI")
	}
	for _, c := range o.commands {
		buf = wire.AppendCommand(buf, c...)
	}
	if len(o.commands) > 1 {
		buf = wire.AppendCommand(buf, "EXEC")
	}
	return buf
}

// read reads the reply that acknowledges the operation; replies before it (OK, QUEUED) only if they are errors.
func (o op) read(c *wire.Conn) (wire.Value, error) {
	if len(o.commands) == 1 {
		return c.Read()
	}
	for range len(o.commands) + 1 {
		if v, err := c.Read(); err != nil || v.IsError() {
			return v, err
		}
	}
	return c.Read()
}

func firstError(v wire.Value) error {
	if v.IsNull() {
		return errors.New("null")
	}
	for _, e := range v.Elems {
		if err := firstError(e); err != nil {
			return err
		}
	}
	return v.Err()
}

// fetch reads the given keys, in pipelines.
func fetch(c *wire.Conn, keys []string) (state, error) {
	got := state{}
	const batch = 200
	for len(keys) > 0 {
		n := min(batch, len(keys))
		if err := fetchBatch(c, keys[:n], got); err != nil {
			return nil, err
		}
		keys = keys[n:]
	}
	return got, nil
}

func fetchBatch(c *wire.Conn, keys []string, got state) error {
	var ask [][]string
	for _, k := range keys {
		ask = append(ask, []string{"TYPE", k}, []string{"PEXPIRETIME", k})
	}
	meta, err := pipeline(c, ask)
	if err != nil {
		return err
	}
	ask = nil
	var present []string
	for i, k := range keys {
		switch typ := meta[2*i].Str; typ {
		case "none":
			continue
		case "string":
			ask = append(ask, []string{"GET", k})
		case "hash":
			ask = append(ask, []string{"HGETALL", k})
		default:
			return fmt.Errorf("%s is of type %q", k, typ)
		}
		v := value{pxat: max(0, meta[2*i+1].Int)}
		got[k] = v
		present = append(present, k)
	}
	values, err := pipeline(c, ask)
	if err != nil {
		return err
	}
	for i, k := range present {
		v := got[k]
		if values[i].Kind == wire.Bulk {
			v.str = values[i].Str
		} else {
			v.hash = map[string]string{}
			for j := 0; j+1 < len(values[i].Elems); j += 2 {
				v.hash[values[i].Elems[j].Str] = values[i].Elems[j+1].Str
			}
		}
		got[k] = v
	}
	return nil
}

// pipeline sends all commands and reads all replies; an error reply is an error.
func pipeline(c *wire.Conn, commands [][]string) ([]wire.Value, error) {
	var buf []byte
	for _, cmd := range commands {
		buf = wire.AppendCommand(buf, cmd...)
	}
	if err := c.SendRaw(buf); err != nil {
		return nil, err
	}
	replies := make([]wire.Value, len(commands))
	for i := range replies {
		v, err := c.Read()
		if err = errors.Join(err, v.Err()); err != nil {
			return nil, fmt.Errorf("%v: %w", commands[i][:2], err)
		}
		replies[i] = v
	}
	return replies, nil
}

// verify compares a restarted server with the writers' models. It returns how many unacknowledged operations
// turned out to have happened.
func verify(p *testcluster.Process, writers []*writer, counters []*counter) (late int, err error) {
	c, err := p.Dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	total := 0
	for _, w := range writers {
		got, err := fetch(c, w.keys())
		if err != nil {
			return 0, err
		}
		n, err := w.reconcile(got)
		if err != nil {
			return 0, err
		}
		late += n
		total += len(w.model)
	}
	return late, verifyTotals(c, counters, total)
}

func verifyTotals(c *wire.Conn, counters []*counter, total int) error {
	var low, high int
	for _, s := range counters {
		low += s.acknowledged
		high += s.acknowledged + s.inFlight
	}
	v, err := c.Must("GET", counterKey)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(v.Str)
	if n < low || n > high {
		return fmt.Errorf("the shared counter is %d: %d increments were acknowledged, %d sent", n, low, high)
	}
	if n > 0 {
		total++
	}
	// What was in flight is now known: account it to the first writer.
	for _, s := range counters {
		s.inFlight = 0
	}
	counters[0].acknowledged += n - low
	if v, err = c.Must("DBSIZE"); err != nil {
		return err
	}
	if int(v.Int) != total {
		return fmt.Errorf("DBSIZE is %d, the model has %d keys", v.Int, total)
	}
	return nil
}
