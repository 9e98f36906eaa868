package commands

import (
	"errors"
	"math"

	"haypile/internal/command"
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/types/hll"
)

var hllFamily = family{group: "hyperloglog", category: "hyperloglog"}

const sketchLog = "An addition that makes the value dense because of hll-sparse-max-bytes is logged as SET, so that " +
	"replicas with another value of that option hold the same bytes."

var hllCommands = []*Command{
	hllFamily.command("PFADD", "2.8.9", -2, writeGrowFast, oneKey(command.AccessRW|command.AccessInsert),
		"PFADD key [element [element ...]]", "O(1) for each element; the value, at most 12 KiB, is written anew by a transaction that changes it.",
		"Adds elements to a HyperLogLog, and tells whether its estimate may have changed.", pfAdd).differs(sketchLog),
	hllFamily.command("PFCOUNT", "2.8.9", -2, command.ReadOnly|command.MayReplicate,
		allKeys(command.AccessRW|command.AccessRead), "PFCOUNT key [key ...]",
		"O(N) keys, with 16384 registers each; O(1) for one key whose estimate is cached.",
		"Estimates how many different elements were added to HyperLogLogs together.", pfCount).
		differs("The estimate is cached only where writes are allowed; a replica answers without caching it."),
	hllFamily.command("PFMERGE", "2.8.9", -2, writeGrow, command.KeySpec{},
		"PFMERGE destkey [sourcekey [sourcekey ...]]", "O(N) keys, with 16384 registers each",
		"Merges HyperLogLogs into one.", pfMerge).mergesKeys().differs(sketchLog),
	hllFamily.command("PFDEBUG", "2.8.9", 3, writeGrow|command.Admin,
		command.One(2, command.AccessRW|command.AccessRead), "PFDEBUG <GETREG | DECODE | ENCODING | TODENSE> key",
		"O(1): 16384 registers", "Shows what a HyperLogLog is made of.", pfDebug),
	hllFamily.command("PFSELFTEST", "2.8.9", 1, command.Admin, command.KeySpec{}, "PFSELFTEST",
		"O(1): 200000 elements", "Tests the HyperLogLog on this machine.", pfSelfTest),
}

// mergesKeys gives the command the keys of PFMERGE.
func (c *Command) mergesKeys() *Command {
	c.Keys = []command.KeySpec{
		command.One(1, command.AccessRW|command.AccessRead|command.AccessInsert), command.Range(2, -1, 1, accessGet),
	}
	return c
}

// openSketch reads the HyperLogLog at a key; found is false if there is no key.
func (c *Call) openSketch(key []byte) (e keyspace.Entry, s hll.Sketch, found bool, err error) {
	if e, err = c.lookupString(key); err != nil || !e.Found {
		return e, s, false, err
	}
	v, whole := e.Meta.Whole()
	if !whole {
		// No sketch is that long; but what is wrong about it depends on its beginning.
		long := e // so that e need not be on the heap
		if v, err = c.Tx.StringPart(&long, 0, sketchPrefix); err != nil {
			return e, s, false, err
		}
	}
	s, err = hll.Open(v)
	return e, s, true, sketchError(err)
}

// sketchPrefix is more than the registers of any sketch take.
const sketchPrefix = 64 << 10

func sketchError(err error) error {
	switch {
	case errors.Is(err, hll.ErrNotSketch):
		return Error(resp.ErrHLLInvalid)
	case errors.Is(err, hll.ErrCorrupt):
		return Error(resp.ErrHLLCorrupt)
	}
	return err
}

// sparseLimit is the size up to which a sketch may be sparse. The stream decides by itself: where it came from
// it logged the value when the limit was reached.
func (c *Call) sparseLimit() int64 {
	if c.Tx.Applying() {
		return math.MaxInt64
	}
	return c.Node.Config().Bytes(option.HLLSparseMaxBytes)
}

// putSketch stores a sketch that was added to.
func (c *Call) putSketch(e *keyspace.Entry, s *hll.Sketch) error {
	s.Outdate()
	if s.Outgrown {
		c.effect(wordSet, e.User, s.Bytes(), wordKeepTTL)
	}
	return c.putString(e, s.Bytes(), e.Meta.Deadline, "pfadd")
}

func pfAdd(c *Call) error {
	e, s, found, err := c.openSketch(c.Args[1])
	if err != nil {
		return err
	}
	if found && s.Dense() {
		return c.addDense(&e, s)
	}
	changed, limit := !found, c.sparseLimit()
	if !found {
		s = hll.New()
	}
	for _, element := range c.Args[2:] {
		raised, err := s.Add(element, limit)
		if err != nil {
			return sketchError(err)
		}
		changed = changed || raised
	}
	c.Out.Int(bit(changed))
	if !changed {
		return nil
	}
	return c.putSketch(&e, &s)
}

// addDense is PFADD for a dense sketch: it changes bytes of the value in place.
func (c *Call) addDense(e *keyspace.Entry, s hll.Sketch) error {
	changed := false
	for _, element := range c.Args[2:] {
		at, part, raised := s.AddDense(element)
		if !raised {
			continue
		}
		if _, cached := s.Cached(); cached {
			flag, b := s.Stale()
			if err := c.Tx.WriteString(e, flag, b); err != nil {
				return err
			}
		}
		changed = true
		if err := c.Tx.WriteString(e, at, part); err != nil {
			return err
		}
		v, _ := e.Meta.Whole()
		var err error
		if s, err = hll.Open(v); err != nil {
			return sketchError(err)
		}
	}
	c.Out.Int(bit(changed))
	if changed {
		c.notify(keyevent.String, "pfadd", e.User)
	}
	return nil
}

func pfCount(c *Call) error {
	if len(c.Args) == 2 {
		return pfCountOne(c)
	}
	var all hll.Registers
	for _, key := range c.Args[1:] {
		if _, err := c.readSketch(key, &all); err != nil {
			return err
		}
	}
	c.Out.Int(int64(all.Count()))
	return nil
}

// readSketch raises the registers to those of the HyperLogLog at a key, if there is one.
func (c *Call) readSketch(key []byte, all *hll.Registers) (dense bool, err error) {
	e, s, found, err := c.openSketch(key)
	if err != nil {
		return false, err
	}
	if !found {
		c.notifyMiss(&e)
		return false, nil
	}
	return s.Dense(), sketchError(all.Read(&s))
}

// pfCountOne answers the cached estimate; a new one is stored where this node may write.
func pfCountOne(c *Call) error {
	e, s, found, err := c.openSketch(c.Args[1])
	if err != nil {
		return err
	}
	if !found {
		c.notifyMiss(&e)
		c.Out.Int(0)
		return nil
	}
	n, ok := s.Cached()
	if !ok {
		if n, err = s.Count(); err != nil {
			return sketchError(err)
		}
	}
	c.Out.Int(int64(n))
	if ok || !c.Tx.Writable() {
		return nil
	}
	return c.Tx.WriteString(&e, hll.CacheAt, hll.Cache(n))
}

func pfMerge(c *Call) error {
	var all hll.Registers
	anyDense := false
	for _, key := range c.Args[1:] {
		dense, err := c.readSketch(key, &all)
		if err != nil {
			return err
		}
		anyDense = anyDense || dense
	}
	e, s, found, err := c.openSketch(c.Args[1])
	if err != nil {
		return err
	}
	if !found {
		s = hll.New()
	}
	if anyDense {
		if _, err := s.Densify(); err != nil {
			return sketchError(err)
		}
	}
	if err := s.Merge(&all, c.sparseLimit()); err != nil {
		return sketchError(err)
	}
	c.Out.OK()
	return c.putSketch(&e, &s)
}

func pfDebug(c *Call) error {
	e, s, found, err := c.openSketch(c.Args[2])
	if err != nil {
		return err
	}
	if !found {
		return Error(resp.ErrHLLNoKey)
	}
	debug := map[string]func(*Call, *keyspace.Entry, *hll.Sketch) error{
		"GETREG": pfRegisters, "DECODE": pfDecode, "ENCODING": pfEncoding, "TODENSE": pfDensify,
	}[c.Arg(1)]
	if debug == nil {
		return Error(resp.UnknownPFDebug(c.Args[1]))
	}
	return debug(c, &e, &s)
}

// pfRegisters answers all registers, and makes the value dense as Redis does.
func pfRegisters(c *Call, e *keyspace.Entry, s *hll.Sketch) error {
	var all hll.Registers
	if err := all.Read(s); err != nil {
		return sketchError(err)
	}
	c.Out.Array(len(all))
	for _, rank := range all {
		c.Out.Int(int64(rank))
	}
	_, err := c.densify(e, s)
	return err
}

func pfDecode(c *Call, _ *keyspace.Entry, s *hll.Sketch) error {
	if s.Dense() {
		return Error(resp.ErrHLLNotSparse)
	}
	text, err := s.Decode()
	if err != nil {
		return sketchError(err)
	}
	c.Out.BulkString(text)
	return nil
}

func pfEncoding(c *Call, _ *keyspace.Entry, s *hll.Sketch) error {
	if s.Dense() {
		c.Out.SimpleString("dense")
	} else {
		c.Out.SimpleString("sparse")
	}
	return nil
}

func pfDensify(c *Call, e *keyspace.Entry, s *hll.Sketch) error {
	changed, err := c.densify(e, s)
	if err != nil {
		return err
	}
	c.Out.Int(bit(changed))
	return nil
}

func (c *Call) densify(e *keyspace.Entry, s *hll.Sketch) (changed bool, err error) {
	if changed, err = s.Densify(); err != nil || !changed {
		return false, sketchError(err)
	}
	return true, c.Tx.PutString(e, s.Bytes(), e.Meta.Deadline)
}

func pfSelfTest(c *Call) error {
	if err := hll.SelfTest(); err != nil {
		return Error("TESTFAILED " + err.Error())
	}
	c.Out.OK()
	return nil
}
