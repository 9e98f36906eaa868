package commands

import (
	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
)

// setOptions are those of SET and GETEX.
type setOptions struct {
	nx, xx, get, keepTTL, persist bool
	cond                          valueCondition
	form                          timeForm
	time                          []byte
}

// parseSetOptions reads the options from argument i on, with the combinations that Redis allows; of them,
// forSet tells those of SET from those of GETEX.
func (c *Call) parseSetOptions(i int, forSet bool) (o setOptions, err error) {
	for ; i < len(c.Args); i++ {
		last := i+1 == len(c.Args)
		switch {
		case forSet && !o.xx && o.cond.kind == anyValue && c.Is(i, "NX"):
			o.nx = true
		case forSet && !o.nx && o.cond.kind == anyValue && c.Is(i, "XX"):
			o.xx = true
		case forSet && !last && !o.nx && !o.xx && o.cond.kind == anyValue && c.conditionAt(i) != anyValue:
			o.cond = valueCondition{c.conditionAt(i), c.Args[i+1]}
			i++
		case forSet && c.Is(i, "GET"):
			o.get = true
		case forSet && o.form == noTime && c.Is(i, "KEEPTTL"):
			o.keepTTL = true
		case !forSet && o.form == noTime && c.Is(i, "PERSIST"):
			o.persist = true
		default:
			form := c.timeWordAt(i)
			if form == noTime || last || o.keepTTL || o.persist || o.form != noTime && o.form != form {
				return o, Error(resp.ErrSyntax)
			}
			i++
			o.form, o.time = form, c.Args[i]
		}
	}
	return o, nil
}

func (c *Call) timeWordAt(i int) timeForm {
	for _, w := range timeWords {
		if c.Is(i, w.word) {
			return w.form
		}
	}
	return noTime
}

// setAccess: SET with GET or a condition on the value reads, too. As in Redis, the word counts wherever it stands
// behind the value.
func setAccess(args [][]byte, keys []command.KeyRef) {
	a := accessStore
	for _, arg := range args[min(3, len(args)):] {
		if EqualWord(arg, "GET") || conditionOf(arg) != anyValue {
			a = accessBoth
		}
	}
	for i := range keys {
		keys[i].Access = a
	}
}

func setString(c *Call) error {
	key, value := c.Args[1], c.Args[2]
	if len(c.Args) == 3 {
		e, err := c.Tx.Lookup(key)
		if err != nil {
			return err
		}
		c.Out.OK()
		return c.putString(&e, value, 0, "set")
	}
	o, err := c.parseSetOptions(3, true)
	if err != nil {
		return err
	}
	var deadline int64
	if o.form != noTime {
		if deadline, err = c.deadlineFrom(o.time, o.form, "set"); err != nil {
			return err
		}
	}
	e, err := c.Tx.Lookup(key)
	if err != nil {
		return err
	}
	if o.get {
		if e.Found && e.Meta.Type != encoding.String {
			return Error(resp.ErrWrongType)
		}
		if err := c.writeStored(&e); err != nil {
			return err
		}
		c.notifyMiss(&e)
	}
	stored, err := o.wants(c, &e)
	if err != nil {
		return err
	}
	// What comes from the stream was done where it came from, whatever the condition finds here.
	if !c.Tx.Applying() && !stored {
		if !o.get {
			c.Out.Null()
		}
		return nil
	}
	if !o.get {
		c.Out.OK()
	}
	return c.store(&e, value, deadline, &o)
}

// store is what SET does to a key whose conditions hold: it stores, logs and tells.
func (c *Call) store(e *keyspace.Entry, value []byte, deadline int64, o *setOptions) error {
	switch {
	case deadline != 0:
		c.effect(wordSet, e.User, value, wordPXAt, decimal(deadline))
	case o.keepTTL:
		deadline = e.Meta.Deadline
		c.effect(wordSet, e.User, value, wordKeepTTL)
	default:
		c.effect(wordSet, e.User, value)
	}
	return c.putUntil(e, value, deadline, o.form != noTime)
}

// wants reports whether the conditions of SET hold.
func (o *setOptions) wants(c *Call, e *keyspace.Entry) (bool, error) {
	if o.nx && e.Found || o.xx && !e.Found {
		return false, nil
	}
	return o.cond.holds(c, e)
}

// putUntil stores a string for a SET, and tells of the deadline if the command set one.
func (c *Call) putUntil(e *keyspace.Entry, value []byte, deadline int64, timed bool) error {
	if err := c.putString(e, value, deadline, "set"); err != nil {
		return err
	}
	if timed {
		c.notify(keyevent.Generic, "expire", e.User)
	}
	return nil
}

func setNX(c *Call) error {
	e, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	if e.Found && !c.Tx.Applying() {
		c.Out.Int(0)
		return nil
	}
	c.Out.Int(1)
	return c.putString(&e, c.Args[2], 0, "set")
}

// setTimed stores args[3] with the time args[2].
func setTimed(c *Call, form timeForm, name string) error {
	deadline, err := c.deadlineFrom(c.Args[2], form, name)
	if err != nil {
		return err
	}
	e, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	c.effect(wordSet, c.Args[1], c.Args[3], wordPXAt, decimal(deadline))
	c.Out.OK()
	return c.putUntil(&e, c.Args[3], deadline, true)
}

func getSet(c *Call) error {
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	if err := c.writeStored(&e); err != nil {
		return err
	}
	c.notifyMiss(&e)
	c.effect(wordSet, c.Args[1], c.Args[2])
	return c.putString(&e, c.Args[2], 0, "set")
}

func getDel(c *Call) error {
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	if err := c.writeStored(&e); err != nil {
		return err
	}
	if !e.Found {
		c.notifyMiss(&e)
		return nil
	}
	return c.remove(&e)
}

// remove deletes a key that exists, logs it as DEL and tells of it.
func (c *Call) remove(e *keyspace.Entry) error {
	c.effect(wordDel, e.User)
	_, err := c.Tx.Remove(e)
	c.notify(keyevent.Generic, "del", e.User)
	return err
}

func getEx(c *Call) error {
	o, err := c.parseSetOptions(2, false)
	if err != nil {
		return err
	}
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	if !e.Found {
		c.notifyMiss(&e)
		c.Out.Null()
		return nil
	}
	var deadline int64
	if o.form != noTime {
		if deadline, err = c.deadlineFrom(o.time, o.form, "getex"); err != nil {
			return err
		}
	}
	if err := c.writeStored(&e); err != nil {
		return err
	}
	switch {
	case deadline != 0 && c.past(deadline):
		return c.remove(&e)
	case deadline != 0:
		c.effect(wordPExpireAt, e.User, decimal(deadline))
		return c.setDeadline(&e, deadline)
	case o.persist && e.Meta.Deadline != 0:
		c.effect(wordPersist, e.User)
		return c.setDeadline(&e, 0)
	}
	return nil
}

func mSet(c *Call) error {
	if len(c.Args)%2 == 0 {
		return Error(resp.WrongArity("mset"))
	}
	c.Out.OK()
	return c.setPairs()
}

func mSetNX(c *Call) error {
	if len(c.Args)%2 == 0 {
		return Error(resp.WrongArity("msetnx"))
	}
	for i := 1; i < len(c.Args) && !c.Tx.Applying(); i += 2 {
		found, err := c.Tx.Exists(c.Args[i])
		if err != nil {
			return err
		}
		if found {
			c.Out.Int(0)
			return nil
		}
	}
	c.Out.Int(1)
	return c.setPairs()
}

func (c *Call) setPairs() error {
	for i := 1; i < len(c.Args); i += 2 {
		e, err := c.Tx.Lookup(c.Args[i])
		if err != nil {
			return err
		}
		if err := c.putString(&e, c.Args[i+1], 0, "set"); err != nil {
			return err
		}
	}
	return nil
}
