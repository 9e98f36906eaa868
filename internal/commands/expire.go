package commands

import (
	"math"

	"haypile/internal/command"
	"haypile/internal/resp"
)

var expireCommands = []*Command{
	expireCommand("EXPIRE", "1.0.0", "seconds", inSeconds, "Lets a key expire after a number of seconds."),
	expireCommand("PEXPIRE", "2.6.0", "milliseconds", inMillis,
		"Lets a key expire after a number of milliseconds."),
	expireCommand("EXPIREAT", "1.2.0", "unix-time-seconds", atUnixTime,
		"Lets a key expire at a point in time, in Unix seconds."),
	expireCommand("PEXPIREAT", "2.6.0", "unix-time-milliseconds", atUnixMillis,
		"Lets a key expire at a point in time, in Unix milliseconds."),
	genericFamily.command("PERSIST", "2.2.0", 2, command.Write|command.Fast, oneKey(accessChange), "PERSIST key",
		"O(1)", "Lets a key live for ever.", persist),
	ttlCommand("TTL", "1.0.0", inSeconds, "Answers in how many seconds a key will expire."),
	ttlCommand("PTTL", "2.6.0", inMillis, "Answers in how many milliseconds a key will expire."),
	ttlCommand("EXPIRETIME", "7.0.0", atUnixTime, "Answers when a key will expire, in Unix seconds."),
	ttlCommand("PEXPIRETIME", "7.0.0", atUnixMillis, "Answers when a key will expire, in Unix milliseconds."),
}

func expireCommand(name, since, argument string, form timeForm, summary string) *Command {
	return genericFamily.command(name, since, -3, command.Write|command.Fast, oneKey(accessChange),
		name+" key "+argument+" [NX | XX | GT | LT]", "O(1)", summary,
		func(c *Call) error { return expire(c, form) })
}

func ttlCommand(name, since string, form timeForm, summary string) *Command {
	return genericFamily.command(name, since, 2, readFast, oneKey(accessGet), name+" key", "O(1)", summary,
		func(c *Call) error { return ttl(c, form) })
}

// expireOptions are the conditions of EXPIRE.
type expireOptions struct{ nx, xx, gt, lt bool }

func (c *Call) parseExpire(i int) (o expireOptions, err error) {
	for ; i < len(c.Args); i++ {
		switch {
		case c.Is(i, "NX"):
			o.nx = true
		case c.Is(i, "XX"):
			o.xx = true
		case c.Is(i, "GT"):
			o.gt = true
		case c.Is(i, "LT"):
			o.lt = true
		default:
			return o, Error(resp.UnsupportedOption(c.Args[i]))
		}
	}
	switch {
	case o.nx && (o.xx || o.gt || o.lt):
		return o, Error(resp.ErrExpireNXAndXX)
	case o.gt && o.lt:
		return o, Error(resp.ErrExpireGTAndLT)
	}
	return o, nil
}

// allow reports whether the conditions admit a new deadline in place of the old one, 0 for none.
func (o expireOptions) allow(old, deadline int64) bool {
	switch {
	case o.nx && old != 0, o.xx && old == 0:
		return false
	case o.gt && (old == 0 || deadline <= old):
		return false
	case o.lt && old != 0 && deadline >= old:
		return false
	}
	return true
}

// expireAt converts the time of EXPIRE and its kin into Unix milliseconds. Unlike that of SET it may be
// negative.
func (c *Call) expireAt(i int, form timeForm) (int64, error) {
	n, err := c.int64At(i)
	if err != nil {
		return 0, err
	}
	bad := Error(resp.InvalidExpire(string(lowerASCII([]byte(c.Cmd.Name)))))
	if form.inSeconds() {
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			return 0, bad
		}
		n *= 1000
	}
	if form.relative() {
		if n > math.MaxInt64-c.Tx.Now() {
			return 0, bad
		}
		n += c.Tx.Now()
	}
	return n, nil
}

func expire(c *Call, form timeForm) error {
	o, err := c.parseExpire(3)
	if err != nil {
		return err
	}
	deadline, err := c.expireAt(2, form)
	if err != nil {
		return err
	}
	e, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	if !e.Found || !c.Tx.Applying() && !o.allow(e.Meta.Deadline, deadline) {
		c.Out.Int(0)
		return nil
	}
	c.Out.Int(1)
	if c.past(deadline) {
		return c.remove(&e)
	}
	deadline = storedDeadline(deadline)
	c.effect(wordPExpireAt, e.User, decimal(deadline))
	return c.setDeadline(&e, deadline)
}

func persist(c *Call) error {
	e, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	if !e.Found || e.Meta.Deadline == 0 {
		c.Out.Int(0)
		return nil
	}
	c.Out.Int(1)
	return c.setDeadline(&e, 0)
}

// ttl answers -2 for a missing key and -1 for one that does not expire. Seconds are rounded.
func ttl(c *Call, form timeForm) error {
	e, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	n := e.Meta.Deadline
	switch {
	case !e.Found:
		c.Out.Int(-2)
		return nil
	case n == 0:
		c.Out.Int(-1)
		return nil
	}
	if form.relative() {
		n = max(0, n-c.Tx.Now())
	}
	if form.inSeconds() {
		n = n/1000 + bit(n%1000 >= 500)
	}
	c.Out.Int(n)
	return nil
}
