// Package command describes commands as data: name, arity, flags, keys, routing, merging, ACL categories
// and documentation. A description is written once, beside the function that runs it (package commands);
// everything else that knows a command by name derives from the description: arity errors, the admission
// list of the gate, COMMAND and its sub-commands, MULTI rules, the proxy's routing and docs/commands.
//
// The package holds no table of its own and no function of a command, so that the proxy can be handed a
// table without reaching the code that runs commands. All values are immutable after NewTable.
package command

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// Flags are the properties that admission, routing and documentation read. The names that COMMAND prints
// are Redis 7.2's; see flagNames.
type Flags uint64

// The flags of Redis 7.2 (server.h, CMD_*), and below them Haypile's own.
const (
	Write           Flags = 1 << iota // may change data; refused on a read-only replica
	ReadOnly                          // reads keys and changes none
	DenyOOM                           // may grow the data set; refused when the disk is nearly full
	Admin                             // administration
	PubSub                            // about channels
	NoScript                          // refused in scripts
	Blocking                          // may park the client
	Loading                           // allowed while the node loads or is not settled
	Stale                             // allowed on a replica whose link is down, whatever replica-serve-stale-data
	SkipMonitor                       // not shown by MONITOR
	SkipSlowlog                       // not kept in the slow log
	Fast                              // O(1) or O(log n)
	NoAuth                            // allowed before authentication
	MayReplicate                      // no write, but may enter the replication stream (PUBLISH)
	NoAsyncLoading                    // as in Redis
	NoMulti                           // refused inside MULTI
	AllowBusy                         // allowed while a script is busy
	MovableKeys                       // key positions depend on arguments (derived by NewTable)
	NoMandatoryKeys                   // may be called without a key
	TouchesArbitraryKeys
	NoPropagate // never enters the stream
	Sentinel
	OnlySentinel

	// Exclusive: runs under the store latch held exclusively (FLUSHALL, SWAPDB).
	Exclusive
	// Keyless reads of the key space that take no key locks (SCAN, KEYS, DBSIZE, RANDOMKEY).
	WholeSpace
	// Session: handled with the connection's state; never extends a write transaction of the pipeline.
	Session
	// Heavy: may compute for long on values that are in memory; an event loop leaves it to a goroutine.
	Heavy
	// Script: runs other commands. It has a transaction of its own, and errors take nothing back.
	Script
)

// flagNames is the order and spelling in which COMMAND prints flags; Haypile's own are not printed.
var flagNames = []struct {
	flag Flags
	name string
}{
	{Write, "write"}, {ReadOnly, "readonly"}, {DenyOOM, "denyoom"}, {Admin, "admin"}, {PubSub, "pubsub"},
	{NoScript, "noscript"}, {Blocking, "blocking"}, {Loading, "loading"}, {Stale, "stale"},
	{SkipMonitor, "skip_monitor"}, {SkipSlowlog, "skip_slowlog"}, {Fast, "fast"}, {NoAuth, "no_auth"},
	{MayReplicate, "may_replicate"}, {NoAsyncLoading, "no_async_loading"}, {NoMulti, "no_multi"},
	{AllowBusy, "allow_busy"}, {MovableKeys, "movablekeys"}, {NoMandatoryKeys, "no_mandatory_keys"},
	{TouchesArbitraryKeys, "touches_arbitrary_keys"}, {Sentinel, "sentinel"}, {OnlySentinel, "only_sentinel"},
}

// Names returns the flags as COMMAND spells them.
func (f Flags) Names() []string {
	var names []string
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// Has reports whether all of g are set.
func (f Flags) Has(g Flags) bool { return f&g == g }

// Route says where the proxy sends a command. The words are those of Redis' command tips
// (request_policy), with three more for commands that a proxy answers or refuses itself.
type Route uint8

// The routes.
const (
	// RouteKeys sends the command to the shard that owns its keys; keys in different slots are refused
	// with CROSSSLOT when they live on different shards. A command without keys goes to any shard.
	RouteKeys Route = iota
	// RouteMultiShard splits the command by key over shards and merges the replies (MGET, DEL).
	RouteMultiShard
	// RouteAllShards sends it to the primary of every shard and merges (DBSIZE, FLUSHALL).
	RouteAllShards
	// RouteAllNodes sends it to every node.
	RouteAllNodes
	// RouteAny sends it to any one shard (TIME, COMMAND).
	RouteAny
	// RouteLocal is answered by the proxy itself (PING, HELLO, CLIENT, SELECT).
	RouteLocal
	// RoutePinned needs a backend connection of the client's own (MULTI, SUBSCRIBE, blocking commands).
	RoutePinned
	// RouteCursor walks the shards one after another behind one cursor (SCAN).
	RouteCursor
	// RouteDenied is refused through a proxy, with Spec.DeniedReason.
	RouteDenied
)

// Merge says how the proxy makes one reply of many: Redis' response_policy.
type Merge uint8

// The merge policies.
const (
	MergeNone         Merge = iota // one shard answers
	MergeKeyOrder                  // array with one element per key, put back in the order of the keys (MGET)
	MergeAllSucceeded              // OK if all said so, else the first error (MSET, FLUSHALL)
	MergeSum                       // sum of integers (DEL, EXISTS, DBSIZE)
	MergeMin                       // smallest integer (WAIT)
	MergeLogicalAnd                // array of 0/1, element-wise and (SCRIPT EXISTS)
	MergeConcat                    // arrays one after another (KEYS)
	MergeOneSucceeded              // first reply that is no error (SCRIPT KILL)
	MergeFirstNonNull              // first reply that is not null, shards in random order (RANDOMKEY)
	MergeSpecial                   // code of its own in the proxy (INFO)
)

// Spec describes one command or, in Sub, one sub-command.
type Spec struct {
	Name    string // upper case; of a sub-command the last word only ("GETNAME")
	Group   string // string, generic, hash, transactions, pubsub, connection, server, ...
	Since   string // version of Redis (or Haypile) that introduced it
	Arity   int    // as Redis: with the command name counted; negative = at least
	Syntax  string // "SET key value [NX | XX] ..."; its grammar is in syntax.go, Arguments derives from it
	Summary string // one sentence, our own words
	// Complexity on disk, in our own words: "O(1)".
	Complexity string
	Flags      Flags
	// ACL lists the categories beyond those that follow from Flags and Group (see Categories).
	ACL  []string
	Keys []KeySpec
	// KeysFunc appends the keys of a call to dst where Keys cannot say it. args includes the command name.
	KeysFunc func(dst []KeyRef, args [][]byte) ([]KeyRef, error)
	// Beyond names the option with which a call touches keys that nothing in it names, "" if it does not. Such a call
	// runs alone, and not through a proxy of several shards.
	Beyond func(args [][]byte) (option string)
	// AccessFunc corrects what AppendKeys says of the keys' access, where that depends on arguments.
	AccessFunc func(args [][]byte, keys []KeyRef)
	// Channels says which arguments are channels that access control has to allow.
	Channels Channels
	Route    Route
	Merge    Merge
	// DeniedReason tells why a proxy refuses the command.
	DeniedReason string
	// Differs documents every deviation from Redis 7.2; empty if there is none.
	Differs string
	Sub     []*Spec

	parent    *Spec
	id        int
	arguments []Argument
	// lower is Name in lower case with "parent|" before it, as ACL and COMMAND print it.
	lower string
}

// FullName is the name as COMMAND prints it: "get", "client|getname". Valid after NewTable.
func (s *Spec) FullName() string { return s.lower }

// ID numbers the commands and sub-commands of a table, from 0. Valid after NewTable.
func (s *Spec) ID() int { return s.id }

// Parent is the container of a sub-command, else nil. Valid after NewTable.
func (s *Spec) Parent() *Spec { return s.parent }

// ArityOK reports whether a call with n arguments, command name included (for a sub-command: container
// and sub-command names included), has an allowed count.
func (s *Spec) ArityOK(n int) bool {
	if s.Arity >= 0 {
		return n == s.Arity
	}
	return n >= -s.Arity
}

// GoesBeyond reports whether the call touches keys that nothing in it names.
func (s *Spec) GoesBeyond(args [][]byte) bool { return s.Beyond != nil && s.Beyond(args) != "" }

// Categories are the ACL categories: those that follow from flags and group as Redis derives them
// (setImplicitACLCategories), and Spec.ACL.
func (s *Spec) Categories() []string {
	set := map[string]bool{}
	for _, c := range s.ACL {
		set[c] = true
	}
	f := s.Flags
	if f.Has(Write) {
		set["write"] = true
	}
	// WATCH has the flag for the gate's sake; Redis does not count it among the reads.
	if f.Has(ReadOnly) && !set["scripting"] && !set["transaction"] {
		set["read"] = true
	}
	if f.Has(Admin) {
		set["admin"], set["dangerous"] = true, true
	}
	if f.Has(PubSub) {
		set["pubsub"] = true
	}
	if f.Has(Blocking) {
		set["blocking"] = true
	}
	if f.Has(Fast) {
		set["fast"] = true
	} else {
		set["slow"] = true
	}
	names := make([]string, 0, len(set))
	for _, c := range aclOrder {
		if set[c] {
			names = append(names, c)
		}
	}
	return names
}

// aclOrder is the order of Redis' ACLCommandCategories.
var aclOrder = []string{
	"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
	"stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
}

// Table finds descriptions by name. Immutable.
type Table struct {
	byName map[string]*Spec
	sorted []*Spec
	ids    int
}

// NewTable checks the descriptions and indexes them. It fails on anything that a description must not
// leave open: a duplicate name, a write that is also read-only, missing documentation, a multi-shard route
// without a merge policy, a denial without a reason.
func NewTable(specs []*Spec) (*Table, error) {
	t := &Table{byName: make(map[string]*Spec, len(specs))}
	var errs []error
	for _, s := range specs {
		if _, dup := t.byName[s.Name]; dup {
			errs = append(errs, fmt.Errorf("command %s: described twice", s.Name))
			continue
		}
		s.lower = strings.ToLower(s.Name)
		t.number(s)
		errs = append(errs, s.check()...)
		for _, sub := range s.Sub {
			sub.parent = s
			t.number(sub)
			sub.lower = s.lower + "|" + strings.ToLower(sub.Name)
			errs = append(errs, sub.check()...)
		}
		t.byName[s.Name] = s
		t.sorted = append(t.sorted, s)
	}
	sort.Slice(t.sorted, func(i, j int) bool { return t.sorted[i].Name < t.sorted[j].Name })
	return t, errors.Join(errs...)
}

func (t *Table) number(s *Spec) { s.id, t.ids = t.ids, t.ids+1 }

func (s *Spec) check() []error {
	var errs []error
	bad := func(format string, a ...any) {
		errs = append(errs, fmt.Errorf("command %s: "+format, append([]any{s.lower}, a...)...))
	}
	if s.Name == "" || s.Name != strings.ToUpper(s.Name) {
		bad("name must be upper case")
	}
	if s.Arity == 0 {
		bad("no arity")
	}
	if s.Flags.Has(Write) && s.Flags.Has(ReadOnly) {
		bad("both write and readonly")
	}
	if s.Summary == "" || s.Since == "" || s.Group == "" || s.Complexity == "" || s.Syntax == "" {
		bad("summary, since, group, complexity and syntax are mandatory")
	}
	if err := s.parseArguments(); err != nil {
		bad("%w", err)
	}
	if (s.Route == RouteMultiShard || s.Route == RouteAllShards || s.Route == RouteAllNodes) && s.Merge == MergeNone {
		bad("route over several shards without a merge policy")
	}
	if s.Route == RouteDenied && s.DeniedReason == "" {
		bad("denied without a reason")
	}
	if s.Route == RouteMultiShard && len(s.Keys) == 0 {
		bad("multi-shard route without keys")
	}
	for _, k := range s.Keys {
		if k.Find != FindRange {
			s.Flags |= MovableKeys
		}
	}
	if s.KeysFunc != nil {
		s.Flags |= MovableKeys
	}
	return errs
}

// All returns the top-level descriptions, sorted by name. Not to be modified.
func (t *Table) All() []*Spec { return t.sorted }

// Len is the number of top-level commands: COMMAND COUNT.
func (t *Table) Len() int { return len(t.sorted) }

// IDs is how many numbers ID has given out.
func (t *Table) IDs() int { return t.ids }

// LookupName finds a command by its full name, "get" or "config|get", in any case; nil if there is none.
func (t *Table) LookupName(name string) *Spec {
	top, sub, dotted := strings.Cut(name, "|")
	s := t.Lookup([]byte(top))
	if s == nil || !dotted {
		return s
	}
	return s.FindSub([]byte(sub))
}

// maxName is longer than any command name; a longer word is not looked up.
const maxName = 64

// Lookup finds a top-level command by name in any case, without allocating.
func (t *Table) Lookup(name []byte) *Spec {
	if len(name) > maxName {
		return nil
	}
	var upper [maxName]byte
	return t.byName[string(toUpper(upper[:0], name))]
}

// Find returns the description that applies to args: the sub-command's if the command is a container and
// args names one. It returns the container and false if the sub-command is unknown, nil if the command is.
func (t *Table) Find(args [][]byte) (*Spec, bool) {
	s := t.Lookup(args[0])
	if s == nil {
		return nil, false
	}
	if len(s.Sub) == 0 || len(args) < 2 {
		return s, true
	}
	if sub := s.FindSub(args[1]); sub != nil {
		return sub, true
	}
	return s, false
}

// FindSub finds a sub-command by name in any case.
func (s *Spec) FindSub(name []byte) *Spec {
	if len(name) > maxName {
		return nil
	}
	var buf [maxName]byte
	upper := toUpper(buf[:0], name)
	for _, sub := range s.Sub {
		if sub.Name == string(upper) {
			return sub
		}
	}
	return nil
}

func toUpper(dst, src []byte) []byte {
	for _, c := range src {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
