package command

import (
	"reflect"
	"strings"
	"testing"
)

// argumentsOf describes a command CMD with that syntax behind its name.
func argumentsOf(syntax string, keys ...KeySpec) ([]Argument, error) {
	s := Spec{Name: "CMD", lower: "cmd", Group: "generic", Syntax: "CMD " + syntax, Keys: keys}
	err := s.parseArguments()
	return s.arguments, err
}

func TestArguments(t *testing.T) {
	token := func(word string) Argument {
		return Argument{Name: strings.ToLower(word), Display: strings.ToLower(word), Type: TypePureToken, Token: word, KeySpec: -1}
	}
	text := func(name string) Argument { return Argument{Name: name, Display: name, Type: TypeString, KeySpec: -1} }
	number := func(name string) Argument { return Argument{Name: name, Display: name, Type: TypeInteger, KeySpec: -1} }
	key := func(name string, spec int) Argument {
		return Argument{Name: name, Display: name, Type: TypeKey, KeySpec: spec}
	}
	group := func(name string, typ ArgumentType, parts ...Argument) Argument {
		return Argument{Name: name, Type: typ, KeySpec: -1, Arguments: parts}
	}
	behind := func(word string, a Argument) Argument { a.Token = word; return a }
	optional := func(a Argument) Argument { a.Optional = true; return a }
	multiple := func(a Argument) Argument { a.Multiple = true; return a }
	eachToken := func(a Argument) Argument { a.Multiple, a.MultipleToken = true, true; return a }
	one := func(at int) KeySpec { return One(at, AccessRW) }

	for _, c := range []struct {
		syntax string
		keys   []KeySpec
		want   []Argument
	}{
		{"", nil, nil},
		{"key", nil, []Argument{text("key")}},
		{"source destination key", []KeySpec{one(1), one(2)}, []Argument{key("source", 0), key("destination", 1), key("key", 1)}},
		{"FORCE", nil, []Argument{token("FORCE")}},
		{"[FORCE]", nil, []Argument{optional(token("FORCE"))}},
		{"NO ONE", nil, []Argument{token("NO"), token("ONE")}},
		{"[COUNT count]", nil, []Argument{optional(behind("COUNT", number("count")))}},
		{"[COUNT count [ANY]]", nil, []Argument{optional(
			group("count-any", TypeBlock, behind("COUNT", number("count")), optional(token("ANY"))))}},
		{"[LIMIT offset count]", nil, []Argument{optional(
			behind("LIMIT", group("limit", TypeBlock, number("offset"), number("count"))))}},
		{"[FULL [COUNT count]]", nil, []Argument{optional(
			group("full-count", TypeBlock, token("FULL"), optional(behind("COUNT", number("count")))))}},
		{"<NX | XX>", nil, []Argument{group("condition", TypeOneOf, token("NX"), token("XX"))}},
		{"[EX seconds|KEEPTTL]", nil, []Argument{optional(
			group("expiration", TypeOneOf, behind("EX", number("seconds")), token("KEEPTTL")))}},
		{"OVERFLOW <WRAP | SAT>", nil, []Argument{behind("OVERFLOW", group("overflow", TypeOneOf, token("WRAP"), token("SAT")))}},
		{"key [key ...]", []KeySpec{Range(1, -1, 1, AccessRW)}, []Argument{multiple(key("key", 0))}},
		{"[key [key ...]]", []KeySpec{Range(1, -1, 1, AccessRW)}, []Argument{optional(multiple(key("key", 0)))}},
		{"field value [field value ...]", nil, []Argument{
			multiple(group("field-value", TypeBlock, text("field"), text("value")))}},
		{"[GET rank [GET rank ...]]", nil, []Argument{optional(eachToken(behind("GET", number("rank"))))}},
		{"[ID id [id ...]]", nil, []Argument{optional(behind("ID", multiple(text("id"))))}},
		{"STREAMS key [key ...] id [id ...]", []KeySpec{one(1)}, []Argument{
			behind("STREAMS", group("streams", TypeBlock, multiple(key("key", 0)), multiple(text("id"))))}},
		{"<LEFT | RIGHT> <LEFT | RIGHT>", nil, []Argument{
			group("where", TypeOneOf, token("LEFT"), token("RIGHT")), group("where-2", TypeOneOf, token("LEFT"), token("RIGHT"))}},
		{"[<A | b> ...]", nil, []Argument{optional(multiple(group("a-b", TypeOneOf, token("A"), text("b"))))}},
		{"<* | id>", nil, []Argument{group("id-selector", TypeOneOf,
			Argument{Name: "auto-id", Display: "auto-id", Type: TypePureToken, Token: "*", KeySpec: -1}, text("id"))}},
		{"key [BY pattern] [GET pattern] [STORE destination]", []KeySpec{one(1), {Find: FindUnknown}, {Find: FindUnknown}},
			[]Argument{
				key("key", 0), optional(Argument{Name: "pattern", Display: "pattern", Type: TypePattern, Token: "BY", KeySpec: 1}),
				optional(Argument{Name: "get-pattern", Display: "pattern", Type: TypePattern, Token: "GET", KeySpec: 1}),
				optional(behind("STORE", key("destination", 2))),
			}},
	} {
		got, err := argumentsOf(c.syntax, c.keys...)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", c.syntax, err, got, c.want)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, syntax := range []string{
		"[", "]", "[a", "a]", "[a>", "<a]", "[]", "<>", "[a |]", "[| a]", "a | b", "...", "[...]", "a ... ...", "key...",
		"Key", "(a)", "a, b", "-", strings.Repeat("[", 20) + "a" + strings.Repeat("]", 20),
	} {
		if got, err := argumentsOf(syntax); err == nil {
			t.Errorf("%s: %+v", syntax, got)
		}
	}
	for _, syntax := range []string{"", "CM key", "key", "CMD ...", "[CMD]"} {
		s := Spec{Name: "CMD", lower: "cmd", Syntax: syntax}
		if s.parseArguments() == nil {
			t.Errorf("%q has no name in front", syntax)
		}
	}
}

// spell writes arguments as a syntax with brackets around everything.
func spell(args []Argument) string {
	var all []string
	for _, a := range args {
		text := a.Display
		switch a.Type {
		case TypePureToken:
			text = a.Token
		case TypeBlock:
			text = "<" + spell(a.Arguments) + ">"
		case TypeOneOf:
			var alts []string
			for i := range a.Arguments {
				alts = append(alts, spell(a.Arguments[i:i+1]))
			}
			text = "<" + strings.Join(alts, " | ") + ">"
		}
		if a.Multiple && !a.MultipleToken {
			text += " ..."
		}
		if a.Token != "" && a.Type != TypePureToken {
			text = a.Token + " " + text
		}
		if a.MultipleToken {
			text = "<" + text + "> ..."
		}
		if text = "<" + text + ">"; a.Optional {
			text = "[" + text + "]"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// FuzzSyntax: what parses means the same when it is written in another way.
func FuzzSyntax(f *testing.F) {
	for _, s := range []string{
		"key [BYTE | BIT] value [value ...]", "<A b c|[D <e|F>] <g>> ...", "[GET pattern [GET pattern ...]] = ~ * $ \"\"",
		"STREAMS key [key ...] id [id ...]", "[[a ...] ...]", "A <b ...> ...", "T <<a b> c> [T <<a b> c> ...]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, syntax string) {
		args, err := argumentsOf(syntax, One(1, AccessRW))
		if err != nil || strings.Count(syntax, "[")+strings.Count(syntax, "<") > maxSyntaxDepth/4 {
			return
		}
		again, err := argumentsOf(spell(args), One(1, AccessRW))
		if err != nil || !reflect.DeepEqual(args, again) {
			t.Errorf("%q is %+v; %q is %+v: %v", syntax, args, spell(args), again, err)
		}
	})
}
