package acl

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"haypile/internal/command"
	"haypile/internal/option"
)

// Why a rule is refused. The texts are Redis'.
var (
	errUnknown = errors.New("Unknown command or category name in ACL")
	errSyntax  = errors.New("Syntax error")
	errAllKeys = errors.New("Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not " +
		"have any effect. Try 'resetkeys' to start with an empty list of patterns")
	errAllChannels = errors.New("Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and " +
		"does not have any effect. Try 'resetchannels' to start with an empty list of channels")
	errNoPassword = errors.New("The password you are trying to remove from the user does not exist")
	errHash       = errors.New("The password hash must be exactly 64 characters and contain only lowercase " +
		"hexadecimal characters")
	errFirstArg = errors.New("Allowing first-arg of a subcommand is not supported")
)

// RuleError refuses a rule.
type RuleError struct {
	Rule string
	Err  error
}

func (e *RuleError) Error() string {
	return "Error in ACL SETUSER modifier '" + e.Rule + "': " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *RuleError) Unwrap() error { return e.Err }

// UnmatchedError refuses rules in which a selector is not closed.
type UnmatchedError struct{ Start string }

func (e *UnmatchedError) Error() string {
	return "Unmatched parenthesis in acl selector starting at '" + e.Start + "'."
}

// Rules makes users of rules. The zero value of AllChannels is the default of acl-pubsub-default: a new user or
// selector may use no channel.
type Rules struct {
	Table       *command.Table
	AllChannels bool
}

// New returns a user without rights, who is off.
func (r Rules) New(name string) *User {
	u := &User{name: name, selectors: []selector{r.selector()}}
	return r.finish(u)
}

// Default returns the user of connections that do not log in, as it is if nothing is configured: it may do
// everything.
func (r Rules) Default() *User {
	u, err := r.Apply(r.New(DefaultName), "+@all", "~*", "&*", "on", "nopass")
	if err != nil {
		panic(err) // these rules are right
	}
	return u
}

// finish derives what is kept for speed.
func (r Rules) finish(u *User) *User {
	u.all = false
	for i := range u.selectors {
		s := &u.selectors[i]
		u.all = u.all || s.allKeys && s.allChannels && s.full(r.Table.IDs())
	}
	return u
}

func (s *selector) full(ids int) bool {
	for id := range ids {
		if !s.has(id) {
			return false
		}
	}
	return true
}

func (r Rules) selector() selector {
	return selector{bits: make([]uint64, (r.Table.IDs()+63)/64), allChannels: r.AllChannels}
}

// clone copies what Apply changes in place.
func (u *User) clone() *User {
	n := *u
	n.passwords = slices.Clone(u.passwords)
	n.selectors = slices.Clone(u.selectors)
	for i := range n.selectors {
		s := &n.selectors[i]
		s.bits, s.rules = slices.Clone(s.bits), slices.Clone(s.rules)
		s.keys, s.channels = slices.Clone(s.keys), slices.Clone(s.channels)
		s.firstArgs = maps.Clone(s.firstArgs)
		for id := range s.firstArgs {
			s.firstArgs[id] = slices.Clone(s.firstArgs[id])
		}
	}
	return &n
}

// Apply returns the user that rules make of u: all of them, or an error and no user. The words of a selector
// may stand apart, as they do in a command and in a file.
func (r Rules) Apply(u *User, words ...string) (*User, error) {
	rules, open := Merge(words)
	if open >= 0 {
		return nil, &UnmatchedError{words[open]}
	}
	n := u.clone()
	for _, rule := range rules {
		if err := r.apply(n, rule); err != nil {
			return nil, &RuleError{rule, err}
		}
	}
	return r.finish(n), nil
}

// Merge joins the words of selectors: from one that begins with ( to one that ends with ). open is the word
// with which a selector begins that does not end, -1 if there is none.
func Merge(words []string) (rules []string, open int) {
	open = -1
	for i, w := range words {
		switch {
		case open >= 0:
			last := len(rules) - 1
			rules[last] += " " + w
			if strings.HasSuffix(w, ")") {
				open = -1
			}
			continue
		case strings.HasPrefix(w, "(") && !strings.HasSuffix(w, ")"):
			open = i
		}
		rules = append(rules, w)
	}
	return rules, open
}

// apply takes one rule about the user as a whole, or one of its own selector.
func (r Rules) apply(u *User, rule string) error {
	if rule == "" {
		return nil
	}
	switch lower(rule) {
	case "on":
		u.enabled = true
	case "off":
		u.enabled = false
	case "nopass":
		u.noPass, u.passwords = true, nil
	case "resetpass":
		u.noPass, u.passwords = false, nil
	case "sanitize-payload":
		u.trusted = false
	case "skip-sanitize-payload":
		u.trusted = true
	case "clearselectors":
		u.selectors = u.selectors[:1]
	case "reset":
		*u = *r.New(u.name)
	default:
		switch rule[0] {
		case '>', '#', '<', '!':
			return u.password(rule)
		case '(':
			if strings.HasSuffix(rule, ")") {
				return r.addSelector(u, rule[1:len(rule)-1])
			}
		}
		return r.applyTo(&u.selectors[0], rule)
	}
	return nil
}

func (u *User) password(rule string) error {
	sum := rule[1:]
	if rule[0] == '>' || rule[0] == '<' {
		sum = hash([]byte(sum))
	} else if len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" {
		return errHash
	}
	at := slices.Index(u.passwords, sum)
	if rule[0] == '<' || rule[0] == '!' {
		if at < 0 {
			return errNoPassword
		}
		u.passwords = slices.Delete(u.passwords, at, at+1)
		return nil
	}
	if at < 0 {
		u.passwords = append(u.passwords, sum)
	}
	u.noPass = false
	return nil
}

func (r Rules) addSelector(u *User, text string) error {
	words, err := option.SplitWords(text)
	if err != nil {
		return errSyntax
	}
	s := r.selector()
	for _, w := range words {
		if err := r.applyTo(&s, w); err != nil {
			return err
		}
	}
	u.selectors = append(u.selectors, s)
	return nil
}

// applyTo takes a rule about commands, keys or channels.
func (r Rules) applyTo(s *selector, rule string) error {
	switch lower(rule) {
	case "allkeys", "~*":
		s.allKeys, s.keys = true, nil
		return nil
	case "resetkeys":
		s.allKeys, s.keys = false, nil
		return nil
	case "allchannels", "&*":
		s.allChannels, s.channels = true, nil
		return nil
	case "resetchannels":
		s.allChannels, s.channels = false, nil
		return nil
	case "allcommands", "+@all":
		s.setAll(true)
		return nil
	case "nocommands", "-@all":
		s.setAll(false)
		return nil
	case "":
		return errSyntax
	}
	switch rule[0] {
	case '~':
		return s.addKeys(rule[1:], mayRead|mayWrite)
	case '%':
		a, pattern, ok := keyPermissions(rule[1:])
		if s.allKeys {
			return errAllKeys
		}
		if !ok {
			return errSyntax
		}
		return s.addKeys(pattern, a)
	case '&':
		return s.addChannel(rule[1:])
	case '+', '-':
		if strings.HasPrefix(rule[1:], "@") {
			return r.category(s, rule[2:], rule[0] == '+')
		}
		if rule[0] == '+' && strings.Contains(rule, "|") {
			return r.allowPart(s, rule[1:])
		}
		spec := r.lookup(rule[1:])
		if spec == nil {
			return errUnknown
		}
		s.set(spec, rule[0] == '+')
		s.note(spec.FullName(), rule[0] == '+')
		return nil
	}
	return errSyntax
}

// lookup finds a command, or a sub-command by "container|name".
func (r Rules) lookup(name string) *command.Spec { return r.Table.LookupName(name) }

func (s *selector) setAll(allow bool) {
	var word uint64
	if allow {
		word = ^word
	}
	for i := range s.bits {
		s.bits[i] = word
	}
	s.base, s.rules, s.firstArgs = allow, nil, nil
}

// set allows or forbids a command with its sub-commands.
func (s *selector) set(spec *command.Spec, allow bool) {
	id := spec.ID()
	if allow {
		s.bits[id/64] |= 1 << (id % 64)
	} else {
		s.bits[id/64] &^= 1 << (id % 64)
	}
	delete(s.firstArgs, id)
	for _, sub := range spec.Sub {
		s.set(sub, allow)
	}
}

func (r Rules) category(s *selector, name string, allow bool) error {
	name = lower(name)
	if !slices.Contains(command.ACLCategories(), name) {
		return errUnknown
	}
	for _, spec := range r.Table.All() {
		if slices.Contains(spec.Categories(), name) {
			s.set(spec, allow)
		}
		for _, sub := range spec.Sub {
			if slices.Contains(sub.Categories(), name) {
				s.set(sub, allow)
			}
		}
	}
	s.note("@"+name, allow)
	return nil
}

// allowPart takes +container|sub-command, and +command|argument for a command without sub-commands.
func (r Rules) allowPart(s *selector, name string) error {
	at := strings.LastIndexByte(name, '|')
	first := name[at+1:]
	spec := r.lookup(name[:at])
	switch {
	case spec == nil:
		return errUnknown
	case spec.Parent() != nil:
		return errFirstArg
	case first == "" || hasSpace(first):
		return errSyntax
	case len(spec.Sub) > 0:
		sub := spec.FindSub([]byte(first))
		if sub == nil {
			return errUnknown
		}
		s.set(sub, true)
	default:
		if s.firstArgs == nil {
			s.firstArgs = map[int][]string{}
		}
		id, arg := spec.ID(), lower(first)
		if !slices.Contains(s.firstArgs[id], arg) {
			s.firstArgs[id] = append(s.firstArgs[id], arg)
		}
	}
	s.note(name, true)
	return nil
}

// note keeps a rule for printing. It takes the place of earlier ones about the same command and of those about
// its parts, which it overrides.
func (s *selector) note(name string, allow bool) {
	name = lower(name)
	s.rules = slices.DeleteFunc(s.rules, func(r commandRule) bool {
		return r.name == name || strings.HasPrefix(r.name, name+"|")
	})
	s.rules = append(s.rules, commandRule{allow, name})
}

// lower changes ASCII letters only: arguments may be any bytes.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// keyPermissions reads what stands between % and the pattern. Redis takes letters without a ~ for an empty
// pattern.
func keyPermissions(text string) (a access, pattern string, ok bool) {
	for i := range len(text) {
		switch c := text[i]; {
		case (c == 'R' || c == 'r') && a&mayRead == 0:
			a |= mayRead
		case (c == 'W' || c == 'w') && a&mayWrite == 0:
			a |= mayWrite
		case c == '~':
			return a, text[i+1:], a != 0
		default:
			return 0, "", false
		}
	}
	return a, "", a != 0
}

func (s *selector) addKeys(pattern string, a access) error {
	if s.allKeys {
		return errAllKeys
	}
	if hasSpace(pattern) {
		return errSyntax
	}
	for i := range s.keys {
		if s.keys[i].pattern == pattern {
			s.keys[i].access |= a
			return nil
		}
	}
	s.keys = append(s.keys, keyPattern{a, pattern})
	return nil
}

func (s *selector) addChannel(pattern string) error {
	switch {
	case s.allChannels:
		return errAllChannels
	case hasSpace(pattern):
		return errSyntax
	case !slices.Contains(s.channels, pattern):
		s.channels = append(s.channels, pattern)
	}
	return nil
}

// hasSpace reports what must not stand in names and patterns, because it ends a word or a line of a file.
func hasSpace(s string) bool {
	return strings.ContainsAny(s, " \t\n\v\f\r\x00")
}
