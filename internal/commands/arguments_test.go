package commands_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"haypile/internal/command"
	"haypile/internal/resp"
)

// otherWords are arguments that we describe in another way than Redis 7.0.15 does, wherever they appear.
var otherWords = []struct{ theirs, ours, reason string }{
	{"groupname", "group", "as in Redis 7.2"},
	{"consumername", "consumer", "as in Redis 7.2"},
	{"categoryname", "category", "as in Redis 7.2"},
	{"entries_read", "entries-read", "as in Redis 7.2"},
	{"entries_added", "entries-added", "as in Redis 7.2"},
	{"max_deleted_entry_id", "max-deleted-id", "as in Redis 7.2"},
	{"cluster_bus_port", "cluster-bus-port", "as in Redis 7.2"},
	{"MINMATCHLEN len", "MINMATCHLEN min-match-len", "as in Redis 7.2"},
	{"LASTID id", "LASTID lastid", "as in Redis 7.2"},
	{"STORE key:key#1] [STOREDIST", "STORE key:key#1 | STOREDIST", "as in Redis 7.2: there is one destination"},
	{"min-idle-time:string", "min-idle-time:integer", "milliseconds, as XPENDING has it"},
	{"weight:integer", "weight:double", "any number"},
}

// otherArguments are the commands whose arguments are not those of Redis 7.0.15 but for otherWords, each with its reason.
var otherArguments = map[string]string{
	"bitop":   "as in Redis 7.2: names the operations",
	"geohash": "as in Redis 7.2: no member is allowed",
	"geopos":  "as geohash",
	"pfmerge": "as in Redis 7.2: no source is allowed",

	"command|getkeys":         "Redis 7.0 describes none",
	"command|getkeysandflags": "as command|getkeys",
	"debug":                   "as command|getkeys",
	"replconf":                "as command|getkeys",

	"set":      "IFEQ and the like of Redis 8.4",
	"zrank":    "WITHSCORE of Redis 7.2",
	"zrevrank": "as zrank",

	"client|kill": "MAXAGE of Redis 7.4, the values of SKIPME, and a filter may not be left out",
	"lolwut":      "the size of the picture",
	"migrate":     "refused, so it has no keys; AUTH and AUTH2 exclude each other in 7.0 too",
	"pfdebug":     "names the sub-commands",
	"psync":       "FAILOVER, which replicas send",
	"zincrby":     "the increment may be a fraction",
}

// TestArgumentsHaveNamesOfTheirOwn: generators of clients make parameters of them.
func TestArgumentsHaveNamesOfTheirOwn(t *testing.T) {
	table, _ := newTable(t)
	var check func(name string, args []command.Argument)
	check = func(name string, args []command.Argument) {
		used := map[string]bool{}
		for _, a := range args {
			if a.Name == "" || used[a.Name] || a.Name != strings.ToLower(a.Name) {
				t.Errorf("%s: name %q", name, a.Name)
			}
			used[a.Name] = true
			check(name, a.Arguments)
		}
	}
	for _, top := range table.All() {
		for _, s := range append([]*command.Spec{top}, top.Sub...) {
			check(s.FullName(), s.Arguments())
		}
	}
}

// TestArgumentsAreThoseOfRedis compares the whole trees of COMMAND DOCS. Names of blocks and of alternatives are ours,
// and how arguments are put into blocks is as good one way as the other; what a client may send is compared.
func TestArgumentsAreThoseOfRedis(t *testing.T) {
	redis := map[string]string{}
	collectArguments(decode(t, startRedis(t).do("COMMAND", "DOCS")), redis)
	own := map[string]string{}
	collectArguments(decode(t, newAdmin(t).run("COMMAND", "DOCS")), own)
	used := map[string]bool{}
	for name, mine := range own {
		theirs, known := redis[name]
		for _, w := range otherWords {
			if strings.Contains(theirs, w.theirs) {
				theirs = strings.ReplaceAll(theirs, w.theirs, w.ours)
				used[w.theirs] = true
			}
		}
		if !known || mine == theirs {
			continue
		}
		used[name] = true
		if otherArguments[name] == "" {
			t.Errorf("%s:\n ours  %s\n Redis %s", name, mine, theirs)
		}
	}
	for _, w := range otherWords {
		if !used[w.theirs] {
			t.Errorf("%s: not in Redis any more", w.theirs)
		}
	}
	for name := range otherArguments {
		if !used[name] {
			t.Errorf("%s: does not differ any more", name)
		}
	}
	if len(own) < 300 || len(redis) < 300 {
		t.Errorf("%d and %d commands are not all", len(own), len(redis))
	}
}

// collectArguments reads a reply of COMMAND DOCS; a container has no arguments of its own to compare.
func collectArguments(docs resp.Value, into map[string]string) {
	for i := 0; i+1 < len(docs.Elems); i += 2 {
		doc := docs.Elems[i+1]
		if sub, ok := doc.Lookup("subcommands"); ok {
			collectArguments(sub, into)
			continue
		}
		args, _ := doc.Lookup("arguments")
		into[string(docs.Elems[i].Str)] = spellAll(args, " ")
	}
}

func spellAll(args resp.Value, between string) string {
	var all []string
	for _, a := range args.Elems {
		all = append(all, spellArgument(a))
	}
	return strings.Join(all, between)
}

// spellArgument writes an argument with its type and key specification, in one way for all trees that mean the same.
func spellArgument(a resp.Value) string {
	field := func(name string) string {
		v, _ := a.Lookup(name)
		return string(v.Str)
	}
	flag := func(name string) bool {
		v, _ := a.Lookup("flags")
		return slices.ContainsFunc(v.Elems, func(e resp.Value) bool { return string(e.Str) == name })
	}
	parts, _ := a.Lookup("arguments")
	token := field("token")
	var text string
	optional, several := flag("optional"), false
	switch field("type") {
	case "pure-token":
		text, token = token, ""
	case "oneof":
		if text = spellAll(parts, " | "); !optional || token != "" || flag("multiple") {
			text = "<" + text + ">"
		}
	case "block":
		text, several = spellAll(parts, " "), len(parts.Elems) > 1
	default:
		if text = field("display_text"); text == "" {
			text = field("name") // Redis 7.0
		}
		text += ":" + field("type")
		if k, ok := a.Lookup("key_spec_index"); ok {
			text += "#" + strconv.FormatInt(k.Int, 10)
		}
	}
	repeat := func() {
		if several {
			text = "(" + text + ")"
		}
		text += "..."
	}
	if flag("multiple") && !flag("multiple_token") {
		repeat()
		several = false
	}
	if token != "" {
		text, several = token+" "+text, true
	}
	if flag("multiple_token") {
		repeat()
	}
	if optional {
		text = "[" + text + "]"
	}
	return text
}

// otherMinimum are commands that demand more, or less, than their arguments tell.
var otherMinimum = map[string]string{
	"quit":     "Redis takes arguments, which mean nothing",
	"replconf": "Redis takes a call without options",
}

// TestArityIsThatOfTheArguments: the fewest arguments that the syntax allows are those that the arity asks for.
func TestArityIsThatOfTheArguments(t *testing.T) {
	table, _ := newTable(t)
	used := map[string]bool{}
	for _, top := range table.All() {
		specs := top.Sub
		if len(specs) == 0 {
			specs = []*command.Spec{top}
		}
		for _, s := range specs {
			least, exact := fewest(s.Arguments())
			least += 1 + strings.Count(s.FullName(), "|")
			if arity := max(s.Arity, -s.Arity); least == arity && exact == (s.Arity > 0) {
				continue
			}
			used[s.FullName()] = true
			if otherMinimum[s.FullName()] == "" {
				t.Errorf("%s: arity %d, but at least %d arguments (exactly: %t): %s", s.FullName(), s.Arity, least, exact, s.Syntax)
			}
		}
	}
	for name := range otherMinimum {
		if !used[name] {
			t.Errorf("%s: does not differ any more", name)
		}
	}
}

// fewest counts the words that the arguments need, and tells whether there can be no more.
func fewest(args []command.Argument) (n int, exact bool) {
	exact = true
	for _, a := range args {
		least, same := 1, true
		switch a.Type {
		case command.TypeBlock:
			least, same = fewest(a.Arguments)
		case command.TypeOneOf:
			least, same = fewest(a.Arguments[:1])
			for i := range a.Arguments[1:] {
				m, exactly := fewest(a.Arguments[i+1 : i+2])
				same = same && exactly && m == least
				least = min(least, m)
			}
		}
		if a.Token != "" && a.Type != command.TypePureToken {
			least++
		}
		if a.Optional {
			least = 0
		}
		n += least
		exact = exact && same && !a.Optional && !a.Multiple
	}
	return n, exact
}
