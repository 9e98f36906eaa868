// Package acl is access control: users, the rules that make them, and the decision whether a user may run a
// command on its keys and channels. A User is immutable, so that a decision needs no lock; whoever changes one
// makes another and puts it in its place (Users). The package knows no connection and no file: who is told of a
// change, and what becomes of connections, is decided by package commands.
//
// State ownership: the accounts stand under Users.mu, each account's present user is atomic; the log under
// Log.mu. Both mutexes are leaves.
package acl

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"

	"haypile/internal/command"
	"haypile/internal/glob"
)

// DefaultName is the user that a connection has before it logs in.
const DefaultName = "default"

// User is a user with its rights. Immutable.
type User struct {
	name    string
	enabled bool
	noPass  bool
	// trusted is the flag skip-sanitize-payload. It is kept and printed only: payloads of RESTORE are always
	// looked into.
	trusted bool
	// passwords are SHA-256 sums in hexadecimal digits, in the order in which they were given.
	passwords []string
	// selectors are alternatives: what any of them allows is allowed. The first is the user's own and always
	// there.
	selectors []selector
	// all: some selector allows everything that exists.
	all bool
}

// selector is a set of rights. Commands, keys and channels must be allowed by the same one.
type selector struct {
	// bits has one bit for each command and sub-command, by Spec.ID.
	bits []uint64
	// firstArgs are the arguments, in lower case, with which a command that is not allowed otherwise may be called, by ID.
	firstArgs map[int][]string
	// base is what applies to commands that do not exist yet; rules came after it.
	base  bool
	rules []commandRule

	allKeys     bool
	keys        []keyPattern
	allChannels bool
	channels    []string
}

// commandRule is a rule about commands as it is printed: "get", "config|get", "select|0", "@read".
type commandRule struct {
	allow bool
	name  string
}

// access is what a pattern allows to do with a key.
type access uint8

const (
	mayRead access = 1 << iota
	mayWrite
)

type keyPattern struct {
	access  access
	pattern string
}

// Name is the user's name.
func (u *User) Name() string { return u.name }

// Enabled reports whether it is possible to log in as the user.
func (u *User) Enabled() bool { return u.enabled }

// NoPass reports whether any password is right.
func (u *User) NoPass() bool { return u.noPass }

// All reports whether the user may do everything, so that nothing needs to be checked.
func (u *User) All() bool { return u.all }

// Passwords are the sums of the passwords, in hexadecimal digits.
func (u *User) Passwords() []string { return u.passwords }

// Login reports whether one may log in with the password. It takes the same time for any wrong one.
func (u *User) Login(password []byte) bool {
	if !u.enabled {
		return false
	}
	if u.noPass {
		return true
	}
	sum := []byte(hash(password))
	ok := 0
	for _, p := range u.passwords {
		ok |= subtle.ConstantTimeCompare(sum, []byte(p))
	}
	return ok == 1
}

func hash(password []byte) string {
	sum := sha256.Sum256(password)
	return hex.EncodeToString(sum[:])
}

// Denied says what a call was refused for. The order is that of importance: of several selectors that refuse,
// the reason of the one that came furthest is told.
type Denied uint8

// The reasons.
const (
	Allowed Denied = iota
	DeniedCommand
	DeniedKey
	DeniedAuth // a log-in: only in the log
	DeniedChannel
)

// String is the reason as ACL LOG spells it.
func (d Denied) String() string {
	return [...]string{"", "command", "key", "auth", "channel"}[d]
}

// Verdict is a decision; Pos is the argument that is to blame, the command's name if no other.
type Verdict struct {
	Denied Denied
	Pos    int
}

// OK reports whether the call is allowed.
func (v Verdict) OK() bool { return v.Denied == Allowed }

// Allowed decides whether the user may make a call. spec is the description that applies to args, the
// sub-command's if the command is a container; args are the whole call, name first, and of a right number.
func (u *User) Allowed(spec *command.Spec, args [][]byte) Verdict {
	if u.all {
		return Verdict{}
	}
	worst := Verdict{Denied: DeniedCommand}
	for i := range u.selectors {
		v := u.selectors[i].allows(spec, args)
		if v.OK() {
			return v
		}
		if v.Denied > worst.Denied || v.Denied == worst.Denied && v.Pos > worst.Pos {
			worst = v
		}
	}
	return worst
}

// MayReadAll reports whether the user may make the call with every key that it could read.
func (u *User) MayReadAll(spec *command.Spec, args [][]byte) bool {
	return u.all || slices.ContainsFunc(u.selectors, func(s selector) bool {
		return (s.allKeys || s.readsAll()) && s.allows(spec, args).OK()
	})
}

func (s *selector) readsAll() bool {
	return slices.ContainsFunc(s.keys, func(p keyPattern) bool { return p.access&mayRead != 0 && p.pattern == "*" })
}

func (s *selector) allows(spec *command.Spec, args [][]byte) Verdict {
	if !spec.Flags.Has(command.NoAuth) && !s.has(spec.ID()) && !s.firstArgAllowed(spec, args) {
		return Verdict{Denied: DeniedCommand}
	}
	if !s.allKeys {
		var few [8]command.KeyRef
		refs, _ := spec.AppendAccess(few[:0], args) // a call that is wrong fails with its own error
		for _, r := range refs {
			if r.Access&command.AccessNotKey == 0 && !s.keyAllowed(args[r.Pos], needed(r.Access)) {
				return Verdict{DeniedKey, r.Pos}
			}
		}
	}
	if spec.Channels != command.ChannelsNone && !s.allChannels {
		last := len(args)
		if spec.Channels == command.ChannelsPublish {
			last = min(last, 2)
		}
		for i := 1; i < last; i++ {
			if !s.channelAllowed(args[i], spec.Channels == command.ChannelsPatterns) {
				return Verdict{DeniedChannel, i}
			}
		}
	}
	return Verdict{}
}

func (s *selector) has(id int) bool { return s.bits[id/64]&(1<<(id%64)) != 0 }

func (s *selector) firstArgAllowed(spec *command.Spec, args [][]byte) bool {
	at := 1
	if spec.Parent() != nil {
		at = 2
	}
	return at < len(args) && slices.Contains(s.firstArgs[spec.ID()], lower(string(args[at])))
}

// needed is the permission that an access of a key asks for. A command that only asks whether a key is there,
// or of which type, needs none but that some pattern names the key.
func needed(a command.Access) access {
	var n access
	if a&command.AccessRead != 0 {
		n |= mayRead
	}
	if a&(command.AccessInsert|command.AccessUpdate|command.AccessDelete) != 0 {
		n |= mayWrite
	}
	return n
}

func (s *selector) keyAllowed(key []byte, need access) bool {
	for _, p := range s.keys {
		if p.access&need == need && glob.Match([]byte(p.pattern), key, false) {
			return true
		}
	}
	return false
}

// channelAllowed: a pattern that is subscribed to must be one of the rules literally.
func (s *selector) channelAllowed(name []byte, pattern bool) bool {
	if s.allChannels {
		return true
	}
	for _, c := range s.channels {
		if c == string(name) || !pattern && glob.Match([]byte(c), name, false) {
			return true
		}
	}
	return false
}

// ChannelAllowed reports whether the user may be subscribed to a channel, or to a pattern.
func (u *User) ChannelAllowed(name []byte, pattern bool) bool {
	for i := range u.selectors {
		if u.selectors[i].channelAllowed(name, pattern) {
			return true
		}
	}
	return false
}

// KeepsChannels reports whether next may be subscribed to all that u may be subscribed to, as far as the rules
// tell.
func (u *User) KeepsChannels(next *User) bool {
	var names []string
	for _, s := range next.selectors {
		if s.allChannels {
			return true
		}
		names = append(names, s.channels...)
	}
	for _, s := range u.selectors {
		if s.allChannels {
			return false
		}
		for _, c := range s.channels {
			if !slices.Contains(names, c) {
				return false
			}
		}
	}
	return true
}
