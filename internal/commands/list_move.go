package commands

import (
	"haypile/internal/resp"
	"haypile/internal/types/list"
)

// sideAt reads argument i, LEFT or RIGHT.
func (c *Call) sideAt(i int) (left bool, err error) {
	switch {
	case c.Is(i, "LEFT"):
		return true, nil
	case c.Is(i, "RIGHT"):
		return false, nil
	}
	return false, Error(resp.ErrSyntax)
}

func (c *Call) sidesAt(i int) (from, to bool, err error) {
	if from, err = c.sideAt(i); err == nil {
		to, err = c.sideAt(i + 1)
	}
	return from, to, err
}

func lMove(c *Call) error {
	from, to, err := c.sidesAt(3)
	if err != nil {
		return err
	}
	return moveElement(c, from, to)
}

// moveElement moves an element from an end of args[1] to an end of args[2], which may be the same key.
func moveElement(c *Call, fromLeft, toLeft bool) error {
	moved, err := c.tryMove(fromLeft, toLeft)
	if err == nil && !moved {
		c.Out.Null()
	}
	return err
}

// tryMove is moveElement, unless there is nothing to move: then it has replied nothing.
func (c *Call) tryMove(fromLeft, toLeft bool) (moved bool, err error) {
	src, err := c.openList(1)
	if err != nil || src.Len() == 0 {
		return false, err
	}
	dst := src
	if string(c.Args[1]) != string(c.Args[2]) {
		if dst, err = c.openList(2); err != nil {
			return false, err
		}
	}
	var v []byte
	if fromLeft {
		v, err = src.Get(0)
	} else {
		v, err = src.Get(src.Len() - 1)
	}
	if err != nil {
		return false, err
	}
	// Pushed before it is popped, so that a list of one element stays a key.
	if err := pushTo(dst, toLeft, v); err != nil {
		return false, err
	}
	at := uint64(1)
	if dst != src || fromLeft != toLeft {
		at = 0
	}
	if err := dropFrom(src, fromLeft, at); err != nil {
		return false, err
	}
	c.Out.Bulk(v)
	if err := c.saveList(dst, pushEvent(toLeft)); err != nil {
		return false, err
	}
	return true, c.saveList(src, popEvent(fromLeft))
}

// dropFrom removes the element of a list that stands at a position counted from an end, 0 or 1.
func dropFrom(l *list.List, left bool, at uint64) error {
	switch {
	case at > 0 && left:
		return l.Remove(at)
	case at > 0:
		return l.Remove(l.Len() - 1 - at)
	case left:
		return l.DropLeft(1)
	}
	return l.DropRight(1)
}

// multiPop is what LMPOP and BLMPOP are asked for.
type multiPop struct {
	keys  [][]byte
	at    int // position of the first key among the arguments
	left  bool
	count int64
}

// parseMultiPop reads arguments from the number of keys, argument i, on.
func (c *Call) parseMultiPop(i int) (p multiPop, err error) {
	n, ok := resp.ParseInt(c.Args[i])
	if !ok || n <= 0 {
		return p, Error(resp.ErrNumKeys)
	}
	p.at, p.count = i+1, 1
	if n >= int64(len(c.Args)-p.at) {
		return p, Error(resp.ErrSyntax)
	}
	p.keys = c.Args[p.at : p.at+int(n)]
	i = p.at + int(n)
	if p.left, err = c.sideAt(i); err != nil {
		return p, err
	}
	counted := false
	for i++; i < len(c.Args); i += 2 {
		if counted || !c.Is(i, "COUNT") || i+1 == len(c.Args) {
			return p, Error(resp.ErrSyntax)
		}
		if p.count, ok = resp.ParseInt(c.Args[i+1]); !ok || p.count <= 0 {
			return p, Error(resp.ErrCountZero)
		}
		counted = true
	}
	return p, nil
}

func lMPop(c *Call) error {
	p, err := c.parseMultiPop(1)
	if err != nil {
		return err
	}
	popped, err := c.tryMultiPop(p)
	if err == nil && !popped {
		c.Out.NullArray()
	}
	return err
}

// tryMultiPop pops from the first list that is there; if there is none it has replied nothing.
func (c *Call) tryMultiPop(p multiPop) (popped bool, err error) {
	for i, key := range p.keys {
		l, err := c.openList(p.at + i)
		if err != nil {
			return false, err
		}
		if l.Len() == 0 {
			continue
		}
		n := min(uint64(p.count), l.Len())
		c.Out.Array(2)
		c.Out.Bulk(key)
		c.Out.Array(int(n))
		if err = c.popFrom(l, p.left, n); err != nil {
			return false, err
		}
		c.effect(popWord(p.left), key, decimal(int64(n)))
		return true, nil
	}
	return false, nil
}

// popWord is the command that pops from an end, for the log.
func popWord(left bool) []byte {
	if left {
		return wordLPop
	}
	return wordRPop
}
