package command

import (
	"bytes"
	"errors"
	"strconv"
)

// Access says what a command does with a key: the key flags of COMMAND INFO.
type Access uint16

// The access flags of Redis 7.2's key specifications.
const (
	AccessRO         Access = 1 << iota // reads the value
	AccessRW                            // reads and changes the value
	AccessOW                            // overwrites without reading
	AccessRM                            // deletes
	AccessRead                          // "access": returns data of the value
	AccessUpdate                        // "update": result depends on the value
	AccessInsert                        // "insert"
	AccessDelete                        // "delete"
	AccessNotKey                        // not a key, but routed like one (sharded channels)
	AccessIncomplete                    // the specification may miss keys
	AccessVariable                      // the other flags depend on arguments
)

var accessNames = []string{
	"RO", "RW", "OW", "RM", "access", "update", "insert", "delete", "not_key", "incomplete", "variable_flags",
}

// Names spells the flags as COMMAND INFO does.
func (a Access) Names() []string {
	var names []string
	for i, n := range accessNames {
		if a&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

// Writes reports whether the key may be changed, and so needs its lock exclusively.
func (a Access) Writes() bool { return a&(AccessRW|AccessOW|AccessRM) != 0 }

// Find is the way in which a KeySpec finds keys.
type Find uint8

// The ways. With these three every command of Redis 7.2 but SORT, MIGRATE and the like is described.
const (
	FindRange   Find = iota // positions First..Last (negative: from the end) in steps of Step
	FindCounted             // args[First] is the number of keys, which follow it in steps of Step
	FindWord                // the keys follow the word Word: First is where the search begins
	FindUnknown             // no description can tell; Spec.KeysFunc may
)

// KeySpec finds keys among the arguments. Positions count the command name as 0 (for a sub-command the
// container's name), as in Redis.
type KeySpec struct {
	Find  Find
	First int
	Last  int
	Step  int
	Word  string
	// Limit divides the arguments behind Word: 2 means that only their first half are keys (0: all).
	Limit  int
	Access Access
}

// Range is the KeySpec of keys at positions first to last (negative: from the end, -1 the last) by step.
func Range(first, last, step int, a Access) KeySpec {
	return KeySpec{Find: FindRange, First: first, Last: last, Step: step, Access: a}
}

// One is the KeySpec of a single key at position at.
func One(at int, a Access) KeySpec { return Range(at, at, 1, a) }

// FirstHalf is the KeySpec of keys that are the first half of what follows a word, sought from position from on.
func FirstHalf(word string, from int, a Access) KeySpec {
	return KeySpec{Find: FindWord, First: from, Last: -1, Step: 1, Word: word, Limit: 2, Access: a}
}

// Counted is the KeySpec of keys that follow their count, which stands at position at.
func Counted(at int, a Access) KeySpec {
	return KeySpec{Find: FindCounted, First: at, Step: 1, Access: a}
}

// Errors of Keys; the texts are COMMAND GETKEYS'.
var (
	ErrNoKeys  = errors.New("The command has no key arguments")
	ErrBadKeys = errors.New("Invalid arguments specified for command")
)

// KeyRef is a key of a call: its position among the arguments, and what the command does with it.
type KeyRef struct {
	Pos    int
	Access Access
}

// AppendKeys appends the keys of the call args to dst. It fails with ErrBadKeys where the arguments cannot
// be right (a count larger than the arguments); such a call fails with its own error when it runs.
func (s *Spec) AppendKeys(dst []KeyRef, args [][]byte) ([]KeyRef, error) {
	if s.KeysFunc != nil {
		return s.KeysFunc(dst, args)
	}
	for i := range s.Keys {
		var err error
		if dst, err = s.Keys[i].appendTo(dst, args); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// AppendAccess is AppendKeys with the access that this very call has.
func (s *Spec) AppendAccess(dst []KeyRef, args [][]byte) ([]KeyRef, error) {
	n := len(dst)
	dst, err := s.AppendKeys(dst, args)
	if s.AccessFunc != nil {
		s.AccessFunc(args, dst[n:])
	}
	return dst, err
}

func (k *KeySpec) appendTo(dst []KeyRef, args [][]byte) ([]KeyRef, error) {
	switch k.Find {
	case FindRange:
		last := k.Last
		if last < 0 {
			last += len(args)
		}
		for p := k.First; p <= last; p += k.Step {
			if p >= len(args) {
				return dst, ErrBadKeys
			}
			dst = append(dst, KeyRef{p, k.Access})
		}
	case FindCounted:
		if k.First >= len(args) {
			return dst, ErrBadKeys
		}
		n, err := strconv.Atoi(string(args[k.First]))
		if err != nil || n < 0 || n > (len(args)-k.First-1)/k.Step {
			return dst, ErrBadKeys
		}
		for i := range n {
			dst = append(dst, KeyRef{k.First + 1 + i*k.Step, k.Access})
		}
	case FindWord:
		for p := k.First; p < len(args)-1; p++ {
			if bytes.EqualFold(args[p], []byte(k.Word)) {
				last := k.Last
				if last < 0 {
					last += len(args)
				}
				if k.Limit > 1 {
					last = p + (last-p)/k.Limit
				}
				for q := p + 1; q <= last; q += k.Step {
					dst = append(dst, KeyRef{q, k.Access})
				}
				break
			}
		}
	}
	return dst, nil
}

// Channels says which arguments of a command are channels, for access control. Ending a subscription needs no
// permission.
type Channels uint8

// The kinds.
const (
	ChannelsNone      Channels = iota
	ChannelsPublish            // the first argument, a name
	ChannelsSubscribe          // all arguments, names
	ChannelsPatterns           // all arguments, patterns
)
