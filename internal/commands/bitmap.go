package commands

import (
	"errors"
	"math"

	"haypile/internal/command"
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/types/bitmap"
)

var bitmapFamily = family{group: "bitmap", category: "bitmap"}

// bitOrder is the difference of the commands that look at their arguments before they look at the key.
const bitOrder = "As in Redis 7.2, arguments are checked before the key is looked at."

var bitmapCommands = []*Command{
	bitmapFamily.command("SETBIT", "2.2.0", 4, writeGrow, oneKey(accessBoth), "SETBIT key offset value",
		"O(1); of a string of up to 32 KiB all bytes, of a longer one a piece of 4 KiB, are written anew.",
		"Changes a bit of a string, which grows up to it, and answers what it was.", setBit),
	bitmapFamily.command("GETBIT", "2.2.0", 3, readFast, oneKey(accessGet), "GETBIT key offset",
		"O(1)", "Answers a bit of a string.", getBit),
	bitmapFamily.command("BITCOUNT", "2.6.0", -2, command.ReadOnly, oneKey(accessGet),
		"BITCOUNT key [start end [BYTE | BIT]]", "O(N) bytes of the range",
		"Counts the ones among the bits of a string.", bitCount).differs(bitOrder),
	bitmapFamily.command("BITPOS", "2.8.7", -3, command.ReadOnly, oneKey(accessGet),
		"BITPOS key bit [start [end [BYTE | BIT]]]", "O(N) bytes of the range",
		"Finds the first one, or the first zero, among the bits of a string.", bitPos).differs(bitOrder),
	bitmapFamily.command("BITOP", "2.6.0", -4, writeGrow, command.KeySpec{},
		"BITOP <AND | OR | XOR | NOT> destkey key [key ...]", "O(N) bytes of all strings",
		"Stores the combination of strings, bit by bit.", bitOp).combinesKeys(),
	bitmapFamily.command("BITFIELD", "3.2.0", -2, writeGrow, oneKey(accessBoth|command.AccessVariable),
		"BITFIELD key [<GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] "+
			"<SET encoding offset value | INCRBY encoding offset increment>> ...]",
		"O(N) operations; of a string of up to 32 KiB all bytes, of a longer one the pieces of 4 KiB that change, are written "+
			"anew.",
		"Reads, stores and adds to integers of any width within a string.",
		func(c *Call) error { return bitField(c, false) }).accessBy(bitFieldAccess),
	bitmapFamily.command("BITFIELD_RO", "6.0.0", -2, readFast, oneKey(accessGet),
		"BITFIELD_RO key [GET encoding offset [GET encoding offset ...]]",
		"O(N) operations", "Reads integers of any width within a string.",
		func(c *Call) error { return bitField(c, true) }),
}

// combinesKeys gives the command the keys of BITOP.
func (c *Command) combinesKeys() *Command {
	c.Keys = []command.KeySpec{command.One(2, accessStore), command.Range(3, -1, 1, accessGet)}
	return c
}

// bitFieldAccess: BITFIELD with nothing but GET only reads. As in Redis, three arguments are looked at at a time, and
// operations that are not spelled right count as writes.
func bitFieldAccess(args [][]byte, keys []command.KeyRef) {
	a := accessGet
	for i := 2; i < len(args); i += 3 {
		if !EqualWord(args[i], "GET") || i+2 >= len(args) {
			a = accessBoth
		}
	}
	for i := range keys {
		keys[i].Access = a
	}
}

// bitOffset reads an argument as the place of a bit. width, if not 0, allows the form #n: n fields of that
// width from the beginning. The stream is not held to the limit: its origin may be configured differently.
func (c *Call) bitOffset(arg []byte, width uint) (int64, error) {
	factor := int64(1)
	if width > 0 && len(arg) > 0 && arg[0] == '#' {
		factor, arg = int64(width), arg[1:]
	}
	n, ok := resp.ParseInt(arg)
	if !ok || n < 0 || n > math.MaxInt64/factor {
		return 0, Error(resp.ErrBitOffset)
	}
	n *= factor
	if !c.Tx.Applying() && n>>3 >= c.Node.Config().Bytes(option.ProtoMaxBulkLen) {
		return 0, Error(resp.ErrBitOffset)
	}
	return n, nil
}

// errDone ends a walk over a string.
var errDone = errors.New("done")

func setBit(c *Call) error {
	offset, err := c.bitOffset(c.Args[2], 0)
	if err != nil {
		return err
	}
	on, ok := resp.ParseInt(c.Args[3])
	if !ok || on != 0 && on != 1 {
		return Error(resp.ErrBitValue)
	}
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	part, err := c.Tx.StringPart(&e, offset>>3, 1)
	if err != nil {
		return err
	}
	was := bitmap.Get(part, offset&7)
	c.Out.Int(bit(was))
	if was == (on == 1) && e.Meta.Length() >= bitmap.Size(offset) {
		return nil
	}
	var changed [1]byte
	copy(changed[:], part)
	bitmap.Set(changed[:], offset&7, on == 1)
	return c.changeString(&e, offset>>3, changed[:], "setbit")
}

func getBit(c *Call) error {
	offset, err := c.bitOffset(c.Args[2], 0)
	if err != nil {
		return err
	}
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	part, err := c.Tx.StringPart(&e, offset>>3, 1)
	c.Out.Int(bit(bitmap.Get(part, offset&7)))
	return err
}

// bitRange is a range of bits as a client gave it.
type bitRange struct {
	start, end int64 // inclusive; negative: from the end
	toEnd      bool  // the client gave no end
	bits       bool  // start and end count bits, not bytes
}

// bitRangeAt reads the range from argument i on: nothing, or start, end and the unit; openEnd allows a start
// alone.
func (c *Call) bitRangeAt(i int, openEnd bool) (r bitRange, err error) {
	n := len(c.Args) - i
	if n == 0 {
		return bitRange{end: -1, toEnd: true}, nil
	}
	if n > 3 || n == 1 && !openEnd {
		return r, Error(resp.ErrSyntax)
	}
	if r.start, err = c.int64At(i); err != nil {
		return r, err
	}
	if n == 1 {
		r.end, r.toEnd = -1, true
		return r, nil
	}
	if n == 3 {
		switch {
		case c.Is(i+2, "BIT"):
			r.bits = true
		case !c.Is(i+2, "BYTE"):
			return r, Error(resp.ErrSyntax)
		}
	}
	r.end, err = c.int64At(i + 1)
	return r, err
}

// within is the range in bits of a string of n bytes: from (inclusive) to end (exclusive).
func (r bitRange) within(n int64) (from, end int64) {
	unit := int64(8)
	if r.bits {
		n, unit = n*8, 1
	}
	from, end = r.start, r.end
	if from < 0 {
		from = max(0, n+from)
	}
	if end < 0 {
		end = max(0, n+end)
	}
	end = min(end, n-1)
	if from > end {
		return 0, 0
	}
	return from * unit, (end + 1) * unit
}

func bitCount(c *Call) error {
	r, err := c.bitRangeAt(2, false)
	if err != nil {
		return err
	}
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	from, end := r.within(e.Meta.Length())
	// BITPOS does not ask that: a range that ends before it begins, both before the string, is its first byte or bit.
	if r.start < 0 && r.end < 0 && r.start > r.end {
		from, end = 0, 0
	}
	ones := int64(0)
	err = c.eachBits(&e, from, end, func(v []byte, _, from, end int64) error {
		if !keyspace.AllZero(v) {
			ones += bitmap.Count(v, from, end)
		}
		return nil
	})
	c.Out.Int(ones)
	return err
}

// eachBits walks over the bits [from, end) of a string: f gets its parts one after the other, the place of each part's
// first bit, and which bits of the part are meant.
func (c *Call) eachBits(e *keyspace.Entry, from, end int64, f func(v []byte, at, from, end int64) error) error {
	at := from &^ 7
	return c.Tx.EachPart(e, from>>3, (end+7)>>3, func(part []byte) error {
		here := at
		at += int64(len(part)) * 8
		return f(part, here, max(from-here, 0), min(end, at)-here)
	})
}

func bitPos(c *Call) error {
	want, err := c.int64At(2)
	if err != nil {
		return err
	}
	if want != 0 && want != 1 {
		return Error(resp.ErrBitArgument)
	}
	r, err := c.bitRangeAt(3, true)
	if err != nil {
		return err
	}
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	if !e.Found {
		c.Out.Int(-want) // a missing string is zeros without end
		return nil
	}
	from, end := r.within(e.Meta.Length())
	pos := int64(-1)
	err = c.eachBits(&e, from, end, func(v []byte, at, from, end int64) error {
		if want == 1 && keyspace.AllZero(v) {
			return nil
		}
		if found := bitmap.Find(v, want == 1, from, end); found >= 0 {
			pos = at + found
			return errDone
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDone) {
		return err
	}
	if pos < 0 && want == 0 && r.toEnd && from < end {
		pos = end // the first of the zeros behind the string
	}
	c.Out.Int(pos)
	return nil
}

func bitOp(c *Call) error {
	op, not := bitmap.And, false
	switch {
	case c.Is(1, "AND"):
	case c.Is(1, "OR"):
		op = bitmap.Or
	case c.Is(1, "XOR"):
		op = bitmap.Xor
	case c.Is(1, "NOT"):
		not = true
	default:
		return Error(resp.ErrSyntax)
	}
	if not && len(c.Args) != 4 {
		return Error(resp.ErrBitOpNot)
	}
	sources, length := make([]keyspace.Entry, len(c.Args)-3), int64(0)
	for i, key := range c.Args[3:] {
		var err error
		if sources[i], err = c.lookupString(key); err != nil {
			return err
		}
		c.notifyMiss(&sources[i])
		length = max(length, sources[i].Meta.Length())
	}
	e, err := c.Tx.Lookup(c.Args[2])
	if err != nil {
		return err
	}
	c.Out.Int(length)
	if length > 0 {
		return c.combine(op, not, sources, &e, length)
	}
	if !e.Found {
		return nil
	}
	return c.remove(&e)
}

// bitOpStep is how many bytes of each source BITOP looks at at once; hotBitOp how many it combines where nothing may take
// long.
const (
	bitOpStep = 512 << 10
	hotBitOp  = 64 << 10
)

// combine stores the combination of strings, the longest of which has length bytes, at a key that may be among theirs.
func (c *Call) combine(op bitmap.Operation, not bool, sources []keyspace.Entry, e *keyspace.Entry, length int64) error {
	if c.Tx.InMemory() && length > hotBitOp {
		return keyspace.ErrCold
	}
	w := c.Tx.NewString(e, length)
	result, part := make([]byte, min(length, bitOpStep)), make([]byte, min(length, bitOpStep))
	for at := int64(0); at < length; at += bitOpStep {
		n := min(bitOpStep, length-at)
		for i := range sources {
			into := part[:n]
			if i == 0 {
				into = result[:n]
			}
			if err := c.Tx.ReadString(&sources[i], at, into); err != nil {
				return err
			}
			if i > 0 {
				bitmap.Combine(op, result[:n], into)
			}
		}
		if not {
			bitmap.Not(result[:n])
		}
		if err := w.Append(result[:n]); err != nil {
			return err
		}
	}
	if err := w.Save(0); err != nil {
		return err
	}
	c.notify(keyevent.String, "set", e.User)
	return nil
}

// fieldOp is one operation of BITFIELD.
type fieldOp struct {
	kind     fieldKind
	field    bitmap.Field
	offset   int64
	overflow bitmap.Overflow
	operand  int64 // of SET and INCRBY
}

type fieldKind uint8

const (
	fieldGet fieldKind = iota
	fieldSet
	fieldAdd
)

// fieldOps reads the operations of BITFIELD. size is the length that the string needs for what is written.
func (c *Call) fieldOps() (ops []fieldOp, size int64, err error) {
	overflow := bitmap.Wrap
	for i := 2; i < len(c.Args); {
		op, rest := fieldOp{overflow: overflow}, len(c.Args)-i-1
		switch {
		case rest >= 1 && c.Is(i, "OVERFLOW"):
			if overflow, err = c.overflowAt(i + 1); err != nil {
				return nil, 0, err
			}
			i += 2
			continue
		case rest >= 2 && c.Is(i, "GET"):
		case rest >= 3 && c.Is(i, "SET"):
			op.kind = fieldSet
		case rest >= 3 && c.Is(i, "INCRBY"):
			op.kind = fieldAdd
		default:
			return nil, 0, Error(resp.ErrSyntax)
		}
		var ok bool
		if op.field, ok = bitmap.ParseField(c.Args[i+1]); !ok {
			return nil, 0, Error(resp.ErrBitfieldType)
		}
		if op.offset, err = c.bitOffset(c.Args[i+2], op.field.Bits); err != nil {
			return nil, 0, err
		}
		i += 3
		if op.kind != fieldGet {
			if op.operand, err = c.int64At(i); err != nil {
				return nil, 0, err
			}
			i++
			size = max(size, bitmap.Size(op.offset+int64(op.field.Bits)-1))
		}
		ops = append(ops, op)
	}
	return ops, size, nil
}

func (c *Call) overflowAt(i int) (bitmap.Overflow, error) {
	switch {
	case c.Is(i, "WRAP"):
		return bitmap.Wrap, nil
	case c.Is(i, "SAT"):
		return bitmap.Saturate, nil
	case c.Is(i, "FAIL"):
		return bitmap.Fail, nil
	}
	return 0, Error(resp.ErrBitfieldMode)
}

func bitField(c *Call, readOnly bool) error {
	ops, size, err := c.fieldOps()
	if err != nil {
		return err
	}
	if readOnly && size > 0 {
		return Error(resp.ErrBitfieldRO)
	}
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	if size == 0 && !readOnly {
		c.notifyMiss(&e)
	}
	// The string grows up to the last bit that may be written, whatever comes of the operations.
	changed := size > e.Meta.Length()
	if err := c.Tx.GrowString(&e, size); err != nil {
		return err
	}
	c.Out.Array(len(ops))
	for _, op := range ops {
		wrote, err := c.fieldOp(op, &e)
		if err != nil {
			return err
		}
		changed = changed || wrote
	}
	if changed {
		c.notify(keyevent.String, "setbit", e.User)
	}
	return nil
}

// fieldOp executes one operation of BITFIELD on a string, replies, and reports whether the string has changed.
func (c *Call) fieldOp(op fieldOp, e *keyspace.Entry) (changed bool, err error) {
	at, shift := op.offset>>3, op.offset&7
	var part [9]byte // 64 bits that do not begin with a byte lie in nine of them
	v, err := c.Tx.StringPart(e, at, int64(len(part)))
	if err != nil {
		return false, err
	}
	copy(part[:], v)
	old := op.field.Read(part[:], shift)
	stored, reply, ok := old, old, true
	switch op.kind {
	case fieldSet:
		stored, ok = op.field.Fit(op.operand, op.overflow)
	case fieldAdd:
		stored, ok = op.field.Add(old, op.operand, op.overflow)
		reply = stored
	}
	if !ok {
		c.Out.Null()
		return false, nil
	}
	c.Out.Int(reply)
	if stored == old {
		return false, nil
	}
	op.field.Write(part[:], shift, stored)
	return true, c.Tx.WriteString(e, at, part[:bitmap.Size(shift+int64(op.field.Bits)-1)])
}
