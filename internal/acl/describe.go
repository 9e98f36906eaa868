package acl

import (
	"strings"

	"haypile/internal/quote"
)

// Selector is a set of rights as ACL GETUSER prints it.
type Selector struct{ Commands, Keys, Channels string }

// Selectors are the user's own rights, and those that stand in parentheses.
func (u *User) Selectors() []Selector {
	all := make([]Selector, 0, len(u.selectors))
	for i := range u.selectors {
		s := &u.selectors[i]
		keys, channels := s.keyWords(), s.channelWords()
		all = append(all, Selector{strings.Join(s.commandWords(), " "), strings.Join(keys, " "), strings.Join(channels, " ")})
	}
	return all
}

// Flags are the rules about the user as a whole but for passwords, in Redis' order.
func (u *User) Flags() []string {
	flags := []string{"off"}
	if u.enabled {
		flags[0] = "on"
	}
	if u.noPass {
		flags = append(flags, "nopass")
	}
	if u.trusted {
		return append(flags, "skip-sanitize-payload")
	}
	return append(flags, "sanitize-payload")
}

// Words are rules that make the user of a new one. A selector is one word.
func (u *User) Words() []string {
	words := u.Flags()
	for _, p := range u.passwords {
		words = append(words, "#"+p)
	}
	words = append(words, u.selectors[0].words()...)
	for i := range u.selectors[1:] {
		inner := u.selectors[i+1].words()
		for k, w := range inner {
			inner[k] = quoteInner(w)
		}
		words = append(words, "("+strings.Join(inner, " ")+")")
	}
	return words
}

// Describe is the user as ACL LIST and an ACL file have it.
func (u *User) Describe() string { return "user " + u.name + " " + strings.Join(u.Words(), " ") }

// ConfigLine is what stands behind the word user in a configuration file, where words may be quoted.
func (u *User) ConfigLine() string {
	words := []string{u.name}
	for _, w := range u.Words() {
		words = append(words, strings.Split(w, " ")...)
	}
	return quote.Join(words)
}

// quoteInner makes a word safe inside a selector, where quotes are understood and a ) at the end of a word ends
// the selector.
func quoteInner(word string) string {
	if q := quote.Word(word); q != word || !strings.HasSuffix(word, ")") {
		return q
	}
	return `"` + word + `"`
}

func (s *selector) words() []string {
	words := s.keyWords()
	if !s.allChannels {
		words = append(words, "resetchannels")
	}
	words = append(words, s.channelWords()...)
	return append(words, s.commandWords()...)
}

func (s *selector) keyWords() []string {
	if s.allKeys {
		return []string{"~*"}
	}
	words := make([]string, 0, len(s.keys)+2)
	for _, k := range s.keys {
		prefix := map[access]string{mayRead: "%R~", mayWrite: "%W~", mayRead | mayWrite: "~"}[k.access]
		words = append(words, prefix+k.pattern)
	}
	return words
}

func (s *selector) channelWords() []string {
	if s.allChannels {
		return []string{"&*"}
	}
	words := make([]string, 0, len(s.channels))
	for _, c := range s.channels {
		words = append(words, "&"+c)
	}
	return words
}

func (s *selector) commandWords() []string {
	words := []string{"-@all"}
	if s.base {
		words[0] = "+@all"
	}
	for _, r := range s.rules {
		sign := "-"
		if r.allow {
			sign = "+"
		}
		words = append(words, sign+r.name)
	}
	return words
}
