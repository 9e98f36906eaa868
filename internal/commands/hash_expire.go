package commands

import (
	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/types/hash"
)

// Commands on the deadlines of a hash's fields. The log knows of them HPEXPIREAT and HPERSIST, of Redis 7.4, with the
// fields for which something has changed, and HDEL for fields that are past their deadline: what other commands do
// (HSETEX, HGETEX, HINCRBYFLOAT) is logged as these and HSET.
var hashExpireCommands = []*Command{
	hExpireCommand("HEXPIRE", "seconds", inSeconds, "Lets fields of a hash expire after a number of seconds."),
	hExpireCommand("HPEXPIRE", "milliseconds", inMillis, "Lets fields of a hash expire after a number of milliseconds."),
	hExpireCommand("HEXPIREAT", "unix-time-seconds", atUnixTime,
		"Lets fields of a hash expire at a point in time, in Unix seconds."),
	hExpireCommand("HPEXPIREAT", "unix-time-milliseconds", atUnixMillis,
		"Lets fields of a hash expire at a point in time, in Unix milliseconds."),
	hTTLCommand("HTTL", inSeconds, "Answers in how many seconds fields of a hash will expire."),
	hTTLCommand("HPTTL", inMillis, "Answers in how many milliseconds fields of a hash will expire."),
	hTTLCommand("HEXPIRETIME", atUnixTime, "Answers when fields of a hash will expire, in Unix seconds."),
	hTTLCommand("HPEXPIRETIME", atUnixMillis, "Answers when fields of a hash will expire, in Unix milliseconds."),
	hashFamily.command("HPERSIST", "7.4.0", -5, command.Write|command.Fast, oneKey(accessChange),
		"HPERSIST key FIELDS numfields field [field ...]", "O(N) fields given", "Lets fields of a hash live for ever.",
		hPersist),
	hashFamily.command("HGETEX", "8.0.0", -5, command.Write|command.Fast, oneKey(accessBoth),
		"HGETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] "+
			"FIELDS numfields field [field ...]", "O(N) fields given",
		"Answers the values of fields of a hash and changes when the fields expire.", hGetEx),
	hashFamily.command("HSETEX", "8.0.0", -6, writeGrowFast, oneKey(accessChange),
		"HSETEX key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | "+
			"KEEPTTL] FIELDS numfields field value [field value ...]", "O(N) fields given",
		"Stores fields of a hash, and when they expire.", hSetEx),
}

func hExpireCommand(name, argument string, form timeForm, summary string) *Command {
	return hashFamily.command(name, "7.4.0", -6, writeGrowFast, oneKey(accessChange),
		name+" key "+argument+" [NX | XX | GT | LT] FIELDS numfields field [field ...]", "O(N) fields given", summary,
		func(c *Call) error { return hExpire(c, form) })
}

func hTTLCommand(name string, form timeForm, summary string) *Command {
	return hashFamily.command(name, "7.4.0", -5, readFast, oneKey(accessGet),
		name+" key FIELDS numfields field [field ...]", "O(N) fields given", summary,
		func(c *Call) error { return hTTL(c, form) })
}

// maxFieldDeadline is the last deadline that Redis gives to a field.
const maxFieldDeadline = 1<<46 - 1

// fieldDeadline reads argument i as the deadline of fields, in Unix milliseconds.
func (c *Call) fieldDeadline(i int, form timeForm) (int64, error) {
	n, err := c.int64At(i)
	if err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, Error(resp.ErrFieldTimeNegative)
	}
	bad := Error(resp.InvalidExpire(string(lowerASCII([]byte(c.Cmd.Name)))))
	if form.inSeconds() {
		if n > maxFieldDeadline/1000 {
			return 0, bad
		}
		n *= 1000
	}
	base := int64(0)
	if form.relative() {
		base = c.Tx.Now()
	}
	if n > maxFieldDeadline-base {
		return 0, bad
	}
	return n + base, nil
}

// fieldTimes collects what a command did to the deadlines of fields: to which it gave one, and which it deleted
// because theirs would have passed.
type fieldTimes struct{ set, gone [][]byte }

// put gives a field that exists a deadline, which deletes it if it has passed.
func (t *fieldTimes) put(c *Call, h *hash.Hash, field, value []byte, old, deadline int64) (gone bool, err error) {
	if c.past(deadline) {
		t.gone = append(t.gone, field)
		_, err = h.Delete(field)
		return true, err
	}
	h.SetTimed(field, value, false, old, storedDeadline(deadline))
	t.set = append(t.set, field)
	return false, nil
}

// save stores the hash and logs and tells what has happened, if anything has.
func (t *fieldTimes) save(c *Call, h *hash.Hash, deadline int64) error {
	c.deleteFields(t.gone)
	c.expireFields(deadline, t.set)
	switch {
	case len(t.gone) > 0:
		return c.saveHash(h, "hdel")
	case len(t.set) > 0:
		return c.saveHash(h, "hexpire")
	}
	return nil
}

// expireFields logs that fields of the hash at args[1] got a deadline.
func (c *Call) expireFields(deadline int64, fields [][]byte) {
	c.fieldEffect([][]byte{wordHPExpireAt, c.Args[1], decimal(deadline)}, fields)
}

// fieldEffect logs a command with FIELDS, unless there are none.
func (c *Call) fieldEffect(head, fields [][]byte) {
	if len(fields) > 0 {
		c.effect(append(append(head, wordFields, decimal(int64(len(fields)))), fields...)...)
	}
}

// deleteFields logs that fields of the hash at args[1] were deleted.
func (c *Call) deleteFields(fields [][]byte) {
	if len(fields) > 0 {
		c.effect(append([][]byte{wordHDel, c.Args[1]}, fields...)...)
	}
}

// What commands answer for a field, beside what they are asked for.
const (
	fieldMissing  = -2
	fieldUntimed  = -1
	fieldNotMet   = 0
	fieldTimed    = 1
	fieldDeleted  = 2
	fieldEndless  = 1 // of HPERSIST
	fieldsWritten = 1 // of HSETEX
)

func hExpire(c *Call, form timeForm) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	deadline, err := c.fieldDeadline(2, form)
	if err != nil {
		return err
	}
	i, o := 4, expireOptions{}
	switch {
	case c.Is(3, "NX"):
		o.nx = true
	case c.Is(3, "XX"):
		o.xx = true
	case c.Is(3, "GT"):
		o.gt = true
	case c.Is(3, "LT"):
		o.lt = true
	default:
		i = 3
	}
	fields, err := c.meetFields(&h, i, resp.ErrFieldsPositive)
	if err != nil {
		return err
	}
	var times fieldTimes
	c.Out.Array(len(fields))
	for _, field := range fields {
		value, old, found, err := h.GetTimed(field)
		if err != nil {
			return err
		}
		code := int64(fieldTimed)
		switch {
		case !found:
			code = fieldMissing
		case !o.allow(old, deadline):
			code = fieldNotMet
		default:
			gone, err := times.put(c, &h, field, value, old, deadline)
			if err != nil {
				return err
			}
			if gone {
				code = fieldDeleted
			}
		}
		c.Out.Int(code)
	}
	return times.save(c, &h, deadline)
}

func hTTL(c *Call, form timeForm) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	fields, err := c.fieldsAt(2, resp.ErrFieldsNumber)
	if err != nil {
		return err
	}
	c.Out.Array(len(fields))
	for _, field := range fields {
		_, deadline, found, err := h.GetTimed(field)
		if err != nil {
			return err
		}
		if form.relative() {
			deadline -= c.Tx.Now() * bit(deadline != 0)
		}
		switch {
		case !found:
			c.Out.Int(fieldMissing)
		case deadline == 0:
			c.Out.Int(fieldUntimed)
		case form.inSeconds():
			c.Out.Int((deadline + 999) / 1000)
		default:
			c.Out.Int(deadline)
		}
	}
	return nil
}

func hPersist(c *Call) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	fields, err := c.meetFields(&h, 2, resp.ErrFieldsNumber)
	if err != nil {
		return err
	}
	var done [][]byte
	c.Out.Array(len(fields))
	for _, field := range fields {
		value, old, found, err := h.GetTimed(field)
		switch {
		case err != nil:
			return err
		case !found:
			c.Out.Int(fieldMissing)
		case old == 0:
			c.Out.Int(fieldUntimed)
		default:
			h.SetTimed(field, value, false, old, 0)
			done = append(done, field)
			c.Out.Int(fieldEndless)
		}
	}
	return c.savePersisted(&h, done)
}

// savePersisted stores the hash, of which fields have lost their deadline.
func (c *Call) savePersisted(h *hash.Hash, fields [][]byte) error {
	if len(fields) == 0 {
		return nil
	}
	c.fieldEffect([][]byte{wordHPersist, c.Args[1]}, fields)
	return c.saveHash(h, "hpersist")
}

func hGetEx(c *Call) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	i, form, persist, deadline := 2, noTime, c.Is(2, "PERSIST"), int64(0)
	for _, w := range timeWords {
		if c.Is(i, w.word) {
			form = w.form
		}
	}
	switch {
	case persist:
		i = 3
	case form != noTime:
		if deadline, err = c.fieldDeadline(3, form); err != nil {
			return err
		}
		i = 4
	}
	fields, err := c.meetFields(&h, i, resp.ErrFieldsNumber)
	if err != nil {
		return err
	}
	var times fieldTimes
	c.Out.Array(len(fields))
	for _, field := range fields {
		value, old, found, err := h.GetTimed(field)
		if err != nil {
			return err
		}
		c.writeString(found, value)
		switch {
		case found && persist && old != 0:
			h.SetTimed(field, value, false, old, 0)
			times.set = append(times.set, field)
		case found && form != noTime:
			if _, err := times.put(c, &h, field, value, old, deadline); err != nil {
				return err
			}
		}
	}
	if persist {
		return c.savePersisted(&h, times.set)
	}
	return times.save(c, &h, deadline)
}
