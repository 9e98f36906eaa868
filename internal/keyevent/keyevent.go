// Package keyevent is the vocabulary of keyspace notifications: the classes of events, the letters that name
// them in the option notify-keyspace-events, and the channels on which an event is published. Values only.
//
// How a command tells of what it does: its function calls
//
//	c.notify(keyevent.Hash, "hset", key)
//
// on its commands.Call once the change is made, with the class and the name that Redis uses. It may be called
// for every change and costs one atomic load while nobody asked for the class. The event belongs to the
// transaction: a command that fails afterwards takes it back, and it is published when the transaction has been
// committed, under the key's lock, in the order of the calls. The same function runs on a replica when the
// stream brings the command, and its events are published there, too; so they must follow from what the call
// did, never from who called.
//
// What a command need not tell of, because the transaction does: New for a key that was made (Txn.Put), Expired
// for one that was found past its deadline, Miss for one that a reading command did not find. A writing command
// that also reads, such as GETEX, calls c.notifyMiss for the key that it wanted to read. A collection that lost
// its last element is followed by c.notify(keyevent.Generic, "del", key), behind the event of the removal.
package keyevent

import (
	"errors"
	"strconv"
	"strings"
)

// Class is a set of classes of events. The zero value is none.
type Class uint32

// The classes: by the type of the key or the kind of the event. Keyspace and Keyevent are no classes but the
// two sorts of channels; an event is published on those that are asked for.
const (
	Generic  Class = 1 << iota // g: DEL, EXPIRE, RENAME and others that are about any type
	String                     // $
	List                       // l
	Set                        // s
	Hash                       // h
	ZSet                       // z
	Expired                    // x
	Evicted                    // e: never, as nothing is evicted
	Stream                     // t
	Module                     // d: never, as there are no modules
	New                        // n: a key was made
	Keyspace                   // K
	Keyevent                   // E
	Miss                       // m: a key was read that does not exist
)

// all is what the letter A stands for.
const all = Generic | String | List | Set | Hash | ZSet | Expired | Evicted | Stream | Module

// letters are the classes in the order in which Redis prints them.
var letters = []struct {
	class  Class
	letter byte
}{
	{Generic, 'g'}, {String, '$'}, {List, 'l'}, {Set, 's'}, {Hash, 'h'}, {ZSet, 'z'}, {Expired, 'x'}, {Evicted, 'e'},
	{Stream, 't'}, {Module, 'd'}, {New, 'n'}, {Keyspace, 'K'}, {Keyevent, 'E'}, {Miss, 'm'},
}

// errClass is Redis' text.
var errClass = errors.New("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")

// Parse reads the letters of the option, in any order.
func Parse(text string) (Class, error) {
	var c Class
next:
	for i := range len(text) {
		if text[i] == 'A' {
			c |= all
			continue
		}
		for _, l := range letters {
			if l.letter == text[i] {
				c |= l.class
				continue next
			}
		}
		return 0, errClass
	}
	return c, nil
}

// String is the normal form of the letters.
func (c Class) String() string {
	var b strings.Builder
	if c&all == all {
		b.WriteByte('A')
		c &^= all
	}
	for _, l := range letters {
		if c&l.class != 0 {
			b.WriteByte(l.letter)
		}
	}
	return b.String()
}

// Wants reports whether events of a class are published while c is set: it is among the classes, and one of the
// two sorts of channels is wanted.
func (c Class) Wants(class Class) bool { return c&class != 0 && c&(Keyspace|Keyevent) != 0 }

// AppendKeyspace appends the channel that tells what happens to a key; the message is the name of the event.
func AppendKeyspace(dst []byte, db int, key []byte) []byte {
	dst = strconv.AppendInt(append(dst, "__keyspace@"...), int64(db), 10)
	return append(append(dst, "__:"...), key...)
}

// AppendKeyevent appends the channel that tells to which keys something happens; the message is the key.
func AppendKeyevent(dst []byte, db int, event string) []byte {
	dst = strconv.AppendInt(append(dst, "__keyevent@"...), int64(db), 10)
	return append(append(dst, "__:"...), event...)
}
