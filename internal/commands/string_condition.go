package commands

import (
	"bytes"
	"errors"
	"math"

	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
	"haypile/internal/types/str"
)

// valueCondition is what SET and DELEX can ask of the string that is there (Redis 8.4).
type valueCondition struct {
	kind    conditionKind
	operand []byte
}

type conditionKind uint8

const (
	anyValue    conditionKind = iota
	equal                     // IFEQ: it is the operand
	different                 // IFNE: it is not, or there is none
	digestEqual               // IFDEQ: its digest is the operand
	digestOther               // IFDNE: its digest is not, or there is none
)

// conditionOf reads a condition's word.
func conditionOf(word []byte) conditionKind {
	switch {
	case EqualWord(word, "IFEQ"):
		return equal
	case EqualWord(word, "IFNE"):
		return different
	case EqualWord(word, "IFDEQ"):
		return digestEqual
	case EqualWord(word, "IFDNE"):
		return digestOther
	}
	return anyValue
}

func (c *Call) conditionAt(i int) conditionKind { return conditionOf(c.Args[i]) }

// holds reports whether the key's value meets the condition. As in Redis, of a digest no more than the length is
// checked, and only if there is a string to compare it with.
func (v valueCondition) holds(c *Call, e *keyspace.Entry) (bool, error) {
	switch {
	case v.kind == anyValue:
		return true, nil
	case !e.Found:
		return v.kind == different || v.kind == digestOther, nil
	case e.Meta.Type != encoding.String:
		return false, Error(resp.ErrWrongType)
	case v.kind == equal || v.kind == different:
		same, err := c.stringIs(e, v.operand)
		return same == (v.kind == equal), err
	case len(v.operand) != str.DigestLen:
		return false, Error(resp.ErrDigestLength)
	}
	digest, err := c.stringDigest(e)
	return bytes.EqualFold(digest, v.operand) == (v.kind == digestEqual), err
}

// errDifferent ends a comparison.
var errDifferent = errors.New("different")

// stringIs reports whether a string is v.
func (c *Call) stringIs(e *keyspace.Entry, v []byte) (bool, error) {
	if e.Meta.Length() != int64(len(v)) {
		return false, nil
	}
	err := c.Tx.EachPart(e, 0, int64(len(v)), func(part []byte) error {
		if !bytes.Equal(part, v[:len(part)]) {
			return errDifferent
		}
		v = v[len(part):]
		return nil
	})
	if errors.Is(err, errDifferent) {
		return false, nil
	}
	return err == nil, err
}

func (c *Call) stringDigest(e *keyspace.Entry) ([]byte, error) {
	d := str.NewDigester()
	err := c.Tx.EachPart(e, 0, e.Meta.Length(), func(part []byte) error {
		d.Add(part)
		return nil
	})
	return d.Digest(), err
}

// delExAccess: DELEX without a condition is DEL; with one it reads.
func delExAccess(args [][]byte, keys []command.KeyRef) {
	a := command.AccessRM | command.AccessDelete
	if len(args) > 2 {
		a = accessTake
	}
	for i := range keys {
		keys[i].Access = a
	}
}

func delEx(c *Call) error {
	if len(c.Args) != 2 && len(c.Args) != 4 {
		return Error(resp.WrongArity("delex"))
	}
	e, err := c.Tx.Lookup(c.Args[1])
	if err != nil {
		return err
	}
	remove := e.Found
	if e.Found && len(c.Args) == 4 {
		cond := valueCondition{c.conditionAt(2), c.Args[3]}
		switch {
		case e.Meta.Type != encoding.String:
			return Error(resp.ErrDelExType)
		case cond.kind == anyValue:
			return Error(resp.ErrDelExCondition)
		}
		if remove, err = cond.holds(c, &e); err != nil {
			return err
		}
	}
	c.Out.Int(bit(remove))
	if !remove {
		return nil
	}
	return c.remove(&e)
}

func digestOf(c *Call) error {
	e, err := c.lookupString(c.Args[1])
	if err != nil {
		return err
	}
	if !e.Found {
		c.Out.Null()
		return nil
	}
	digest, err := c.stringDigest(&e)
	c.Out.Bulk(digest)
	return err
}

func mSetEx(c *Call) error {
	n, ok := resp.ParseInt(c.Args[1])
	if !ok || n < 1 || n > math.MaxInt32 {
		return Error(resp.ErrMSetExNumKeys)
	}
	if n > int64(len(c.Args)-2)/2 {
		return Error(resp.ErrKeyValuePairs)
	}
	pairs := c.Args[2 : 2+2*n]
	o, err := c.parseSetOptions(2+2*int(n), true)
	if err != nil {
		return err
	}
	if o.get || o.cond.kind != anyValue {
		return Error(resp.ErrSyntax)
	}
	var deadline int64
	if o.form != noTime {
		if deadline, err = c.deadlineFrom(o.time, o.form, "msetex"); err != nil {
			return err
		}
	}
	for i := 0; i < len(pairs) && (o.nx || o.xx); i += 2 {
		found, err := c.Tx.Exists(pairs[i])
		if err != nil {
			return err
		}
		if found == o.nx {
			c.Out.Int(0)
			return nil
		}
	}
	c.Out.Int(1)
	for i := 0; i < len(pairs); i += 2 {
		e, err := c.Tx.Lookup(pairs[i])
		if err != nil {
			return err
		}
		if err := c.store(&e, pairs[i+1], deadline, &o); err != nil {
			return err
		}
	}
	return nil
}
