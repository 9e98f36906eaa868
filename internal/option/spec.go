package option

import (
	"fmt"
	"strings"
	"time"
)

// Type says how an option's text is read and printed.
type Type uint8

// The types. TypeShare is a memory size or a percentage of some budget that the option's Help names.
const (
	TypeBool Type = iota
	TypeInt
	TypeOctal
	TypeMemory
	TypeDuration
	TypeShare
	TypeString
	TypeEnum
	TypeList
)

var typeNames = [...]string{"yes/no", "integer", "octal integer", "memory size", "duration",
	"memory size or percent", "text", "one of", "list"}

// String returns the type as documentation calls it.
func (t Type) String() string { return typeNames[t] }

// Group is a chapter of the documentation.
type Group string

// The groups in the order of the documentation.
const (
	GroupNetwork     Group = "Network"
	GroupClients     Group = "Clients and limits"
	GroupSecurity    Group = "Security"
	GroupProcess     Group = "Process and logging"
	GroupDurability  Group = "Durability and the log"
	GroupStorage     Group = "Storage engine and memory"
	GroupReplication Group = "Replication"
	GroupManaged     Group = "Managed shards"
	GroupObserve     Group = "Observation"
	GroupEncoding    Group = "Reported encodings"
)

var groups = []Group{GroupNetwork, GroupClients, GroupSecurity, GroupProcess, GroupDurability, GroupStorage,
	GroupReplication, GroupManaged, GroupObserve, GroupEncoding}

// Groups returns the groups in the order of the documentation.
func Groups() []Group { return append([]Group(nil), groups...) }

// Spec describes one option. Specs are immutable once the package is initialised.
type Spec struct {
	Name    string
	Aliases []string // other spellings (slave-..., Pika, older Redis), accepted wherever the name is
	Group   Group
	Type    Type // set by the constructor of the handle
	Default string
	Min     int64         // smallest number: of units, for a duration; of bytes, for a size
	Max     int64         // largest number
	Unit    time.Duration // of a duration: what the number counts
	Enum    []string      // the words of an enum in the order of its error text; the number is the position
	// Clamp moves a number outside Min..Max to the edge instead of refusing it (Redis: hz).
	Clamp bool
	// Immutable options are refused by CONFIG SET; they are fixed at start or changed by another command.
	Immutable bool
	// Hidden options answer CONFIG GET only by their full name.
	Hidden bool
	// Multi options may stand on several lines of a file, whose values add up.
	Multi bool
	// Sensitive values are masked wherever they could be shown other than by CONFIG GET.
	Sensitive bool
	Since     string // first version of Haypile with the option
	Help      string
	// DiffersFromRedis says what a Redis user would not expect; empty if nothing. It is not used for
	// options that Redis lacks.
	DiffersFromRedis string

	// check refuses a parsed value with a reason; nil accepts.
	check func(val value) string
	// list holds the rules of a TypeList.
	list *listRules
}

// Mutable reports whether CONFIG SET may change the option.
func (s *Spec) Mutable() bool { return !s.Immutable }

// Names returns the name and the aliases.
func (s *Spec) Names() []string { return append([]string{s.Name}, s.Aliases...) }

// table holds the specs in the order of their declaration; a handle is an index into it. It is written only
// by the initialisation of this package's variables.
var table []*Spec

// byName finds the index of an option by name or alias.
var byName = map[string]int{}

// declare adds a description to the table. It panics on a name used twice and on a default that does not
// parse: the table is part of the program text.
func declare(typ Type, s Spec) int {
	s.Type = typ
	if s.Since == "" {
		s.Since = "0.1"
	}
	id := len(table)
	for _, name := range s.Names() {
		if _, dup := byName[name]; dup || name != strings.ToLower(name) {
			panic(fmt.Sprintf("option: bad or repeated name %q", name))
		}
		byName[name] = id
	}
	if _, err := s.parse(s.Default); err != nil {
		panic(fmt.Sprintf("option: default of %q: %v", s.Name, err))
	}
	table = append(table, &s)
	return id
}

// Specs returns the table: grouped in the order of Groups, and inside a group as declared.
func Specs() []*Spec {
	out := make([]*Spec, 0, len(table))
	for _, g := range groups {
		for _, s := range table {
			if s.Group == g {
				out = append(out, s)
			}
		}
	}
	return out
}

// Lookup finds an option by name or alias in any case; nil if there is none.
func Lookup(name string) *Spec {
	if id, ok := byName[strings.ToLower(name)]; ok {
		return table[id]
	}
	return nil
}

// Sensitive reports whether the named option holds a secret, so that logs, MONITOR and the slow log mask
// it.
func Sensitive(name string) bool {
	s := Lookup(name)
	return s != nil && s.Sensitive
}

// Option is any typed handle.
type Option interface {
	// Spec returns the option's description.
	Spec() *Spec
	index() int
}

// The typed handles. A handle is declared once, beside its Spec, and names the option everywhere in the
// program.
type (
	Bool     int // yes or no
	Int      int // a number
	Bytes    int // a number of bytes
	Duration int // a time
	Share    int // bytes, or a percentage of a budget
	String   int // text
	Enum     int // one of a few words, read as its position among them
	// List is read with its Get method as a T.
	List[T any] int
)

// Spec returns the option's description.
func (o Bool) Spec() *Spec { return table[o] }

// Spec returns the option's description.
func (o Int) Spec() *Spec { return table[o] }

// Spec returns the option's description.
func (o Bytes) Spec() *Spec { return table[o] }

// Spec returns the option's description.
func (o Duration) Spec() *Spec { return table[o] }

// Spec returns the option's description.
func (o Share) Spec() *Spec { return table[o] }

// Spec returns the option's description.
func (o String) Spec() *Spec { return table[o] }

// Spec returns the option's description.
func (o Enum) Spec() *Spec { return table[o] }

// Spec returns the option's description.
func (o List[T]) Spec() *Spec { return table[o] }

func (o Bool) index() int     { return int(o) }
func (o Int) index() int      { return int(o) }
func (o Bytes) index() int    { return int(o) }
func (o Duration) index() int { return int(o) }
func (o Share) index() int    { return int(o) }
func (o String) index() int   { return int(o) }
func (o Enum) index() int     { return int(o) }
func (o List[T]) index() int  { return int(o) }

func boolOption(s Spec) Bool         { return Bool(declare(TypeBool, s)) }
func intOption(s Spec) Int           { return Int(declare(TypeInt, s)) }
func octalOption(s Spec) Int         { return Int(declare(TypeOctal, s)) }
func bytesOption(s Spec) Bytes       { return Bytes(declare(TypeMemory, s)) }
func durationOption(s Spec) Duration { return Duration(declare(TypeDuration, s)) }
func shareOption(s Spec) Share       { return Share(declare(TypeShare, s)) }
func stringOption(s Spec) String     { return String(declare(TypeString, s)) }
func enumOption(s Spec) Enum         { return Enum(declare(TypeEnum, s)) }

func listOption[T any](s Spec, rules listRules) List[T] {
	s.list = &rules
	return List[T](declare(TypeList, s))
}
