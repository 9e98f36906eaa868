package commands

import (
	"math"

	"haypile/internal/command"
	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/types/bitmap"
)

var bitmapFamily = family{group: "bitmap", category: "bitmap"}

// bitOrder is the difference of the commands that look at their arguments before they look at the key.
const bitOrder = "As in Redis 7.2, arguments are checked before the key is looked at."

var bitmapCommands = []*Command{
	bitmapFamily.command("SETBIT", "2.2.0", 4, writeGrow, oneKey(accessBoth), "SETBIT key offset value",
		"O(N) bytes of the resulting string: the value is written anew.",
		"Changes a bit of a string, which grows up to it, and answers what it was.", setBit),
	bitmapFamily.command("GETBIT", "2.2.0", 3, readFast, oneKey(accessGet), "GETBIT key offset",
		"O(N) bytes of the string", "Answers a bit of a string.", getBit),
	bitmapFamily.command("BITCOUNT", "2.6.0", -2, command.ReadOnly, oneKey(accessGet),
		"BITCOUNT key [start end [BYTE | BIT]]", "O(N) bytes of the string",
		"Counts the ones among the bits of a string.", bitCount).differs(bitOrder),
	bitmapFamily.command("BITPOS", "2.8.7", -3, command.ReadOnly, oneKey(accessGet),
		"BITPOS key bit [start [end [BYTE | BIT]]]", "O(N) bytes of the string",
		"Finds the first one, or the first zero, among the bits of a string.", bitPos).differs(bitOrder),
	bitmapFamily.command("BITOP", "2.6.0", -4, writeGrow, command.KeySpec{},
		"BITOP <AND | OR | XOR | NOT> destkey key [key ...]", "O(N) bytes of all strings",
		"Stores the combination of strings, bit by bit.", bitOp).combinesKeys(),
	bitmapFamily.command("BITFIELD", "3.2.0", -2, writeGrow, oneKey(accessBoth|command.AccessVariable),
		"BITFIELD key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] "+
			"<SET encoding offset value | INCRBY encoding offset increment> ...]",
		"O(N) operations, and O(M) bytes of the resulting string, which is written anew if it changes.",
		"Reads, stores and adds to integers of any width within a string.",
		func(c *Call) error { return bitField(c, false) }).accessBy(bitFieldAccess),
	bitmapFamily.command("BITFIELD_RO", "6.0.0", -2, readFast, oneKey(accessGet),
		"BITFIELD_RO key [GET encoding offset [GET encoding offset ...]]",
		"O(N) operations, and O(M) bytes of the string", "Reads integers of any width within a string.",
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

// grown is a copy of a string that has at least n bytes.
func grown(v []byte, n int64) []byte {
	value := make([]byte, max(int64(len(v)), n))
	copy(value, v)
	return value
}

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
	was, size := bitmap.Get(e.Meta.Value, offset), bitmap.Size(offset)
	c.Out.Int(bit(was))
	if was == (on == 1) && int64(len(e.Meta.Value)) >= size {
		return nil
	}
	value := grown(e.Meta.Value, size)
	bitmap.Set(value, offset, on == 1)
	return c.putString(&e, value, e.Meta.Deadline, "setbit")
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
	c.Out.Int(bit(bitmap.Get(e.Meta.Value, offset)))
	return nil
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
	if r.start < 0 && r.end < 0 && r.start > r.end {
		return 0, 0
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
	from, end := r.within(int64(len(e.Meta.Value)))
	c.Out.Int(bitmap.Count(e.Meta.Value, from, end))
	return nil
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
	from, end := r.within(int64(len(e.Meta.Value)))
	pos := bitmap.Find(e.Meta.Value, want == 1, from, end)
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
	// One source after the other is combined into the result, so that no more than two are looked at at once.
	var result []byte
	for i, key := range c.Args[3:] {
		e, err := c.lookupString(key)
		if err != nil {
			return err
		}
		c.notifyMiss(&e)
		if i == 0 {
			result = grown(e.Meta.Value, 0)
		} else {
			result = bitmap.Combine(op, result, e.Meta.Value)
		}
	}
	if not {
		bitmap.Not(result)
	}
	e, err := c.Tx.Lookup(c.Args[2])
	if err != nil {
		return err
	}
	c.Out.Int(int64(len(result)))
	if len(result) > 0 {
		return c.putString(&e, result, 0, "set")
	}
	if !e.Found {
		return nil
	}
	return c.remove(&e)
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
	// The string is copied once something is written, and grows up to the last bit that may be.
	value, changed := e.Meta.Value, false
	if size > 0 {
		value, changed = grown(value, size), int64(len(value)) < size
	}
	c.Out.Array(len(ops))
	for _, op := range ops {
		changed = c.fieldOp(op, value) || changed
	}
	if !changed {
		return nil
	}
	return c.putString(&e, value, e.Meta.Deadline, "setbit")
}

// fieldOp executes one operation of BITFIELD on a string, replies, and reports whether the string has changed.
func (c *Call) fieldOp(op fieldOp, value []byte) (changed bool) {
	old := op.field.Read(value, op.offset)
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
		return false
	}
	c.Out.Int(reply)
	if stored == old {
		return false
	}
	op.field.Write(value, op.offset, stored)
	return true
}
