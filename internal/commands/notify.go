package commands

import (
	"haypile/internal/keyevent"
	"haypile/internal/keyspace"
	"haypile/internal/types/list"
	"haypile/internal/types/members"
)

// notify tells subscribers what the call did to a key of the selected database: see package keyevent. It comes
// behind the change, so that the event of a new key is before it.
func (c *Call) notify(class keyevent.Class, event string, key []byte) {
	c.Tx.Event(class, event, c.Tx.DB(), key)
}

// notifyMiss tells that a writing command wanted to read a key that does not exist. In a transaction that only
// reads the look-up has told.
func (c *Call) notifyMiss(e *keyspace.Entry) {
	if !e.Found && c.Tx.Writable() {
		c.notify(keyevent.Miss, "keymiss", e.User)
	}
}

// putString stores a string and tells of it.
func (c *Call) putString(e *keyspace.Entry, value []byte, deadline int64, event string) error {
	if err := c.Tx.PutString(e, value, deadline); err != nil {
		return err
	}
	c.notify(keyevent.String, event, e.User)
	return nil
}

// setDeadline changes when a key expires, 0 for never, and tells of it.
func (c *Call) setDeadline(e *keyspace.Entry, deadline int64) error {
	event := "expire"
	if deadline == 0 {
		event = "persist"
	}
	if err := c.Tx.SetDeadline(e, deadline); err != nil {
		return err
	}
	c.notify(keyevent.Generic, event, e.User)
	return nil
}

// saveList is saveMembers for a list.
func (c *Call) saveList(l *list.List, event string) error {
	if err := l.Save(); err != nil {
		return err
	}
	c.notify(keyevent.List, event, l.Key().User)
	if l.Len() == 0 {
		c.notify(keyevent.Generic, "del", l.Key().User)
	}
	return nil
}

// saveMembers stores a hash or set that was changed and tells of it, and of the key's end if it is empty now.
func (c *Call) saveMembers(m *members.Members, class keyevent.Class, event string) error {
	if err := m.Save(); err != nil {
		return err
	}
	c.notify(class, event, m.Key().User)
	if m.Len() == 0 {
		c.notify(keyevent.Generic, "del", m.Key().User)
	}
	return nil
}
