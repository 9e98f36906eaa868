package scripts

import (
	"reflect"
	"strings"
	"testing"

	"haypile/internal/testcluster/wire"
)

func TestNotationRoundTrip(t *testing.T) {
	bulk := func(s string) wire.Value { return wire.Value{Kind: wire.Bulk, Str: s} }
	agg := func(k wire.Kind, e ...wire.Value) wire.Value {
		if e == nil {
			e = []wire.Value{}
		}
		return wire.Value{Kind: k, Elems: e}
	}
	values := []wire.Value{
		{Kind: wire.Simple, Str: "OK"}, {Kind: wire.Simple, Str: "Background saving, started]"},
		{Kind: wire.Error, Str: "ERR a: b, [c] {d}"}, {Kind: wire.Int, Int: -7}, {Kind: wire.Int, Int: 0},
		bulk(""), bulk("a \"b\"\\\r\n\x00\xff]"), {Kind: wire.NullBulk}, {Kind: wire.NullArray}, {Kind: wire.Null},
		{Kind: wire.Double, Str: "-inf"}, {Kind: wire.BigNumber, Str: "12345678901234567890123"},
		{Kind: wire.Bool, Int: 1}, {Kind: wire.Bool}, {Kind: wire.Verbatim, Str: "txt:a\nb"},
		{Kind: wire.BulkError, Str: "SYNTAX x"}, {Kind: wire.Closed}, agg(wire.Array), agg(wire.Map),
		agg(wire.Array, bulk("a"), wire.Value{Kind: wire.Int, Int: -1}, wire.Value{Kind: wire.NullBulk}),
		agg(wire.Array, bulk("a, b]"), wire.Value{Kind: wire.Simple, Str: "QUEUED"}),
		agg(wire.Array, wire.Value{Kind: wire.Error, Str: "ERR x, y]"}, wire.Value{Kind: wire.Simple, Str: "a b"}),
		agg(wire.Map, bulk("k"), agg(wire.Set, bulk("x"), bulk("y")), bulk("l"),
			wire.Value{Kind: wire.Double, Str: "1.5"}),
		agg(wire.Push, bulk("message"), agg(wire.Array, agg(wire.Array, bulk(strings.Repeat("x", 120))), bulk("z"))),
		agg(wire.Map, bulk("k"), wire.Value{Kind: wire.Error, Str: "ERR"}),
	}
	var texts []string
	for _, v := range values {
		text := Format(v)
		got, err := ParseReplies(text)
		if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], v) {
			t.Errorf("%s: parsed as %+v, %v", text, got, err)
		}
		texts = append(texts, text)
	}
	all, err := ParseReplies(strings.Join(texts, "\n"))
	if err != nil || !reflect.DeepEqual(all, values) {
		t.Errorf("values one after another: %v", err)
	}
}

func TestNotationTellsTypesApart(t *testing.T) {
	seen := map[string]wire.Kind{}
	for _, k := range []wire.Kind{
		wire.Simple, wire.Error, wire.Int, wire.Bulk, wire.Array, wire.Null, wire.Bool, wire.Double, wire.BigNumber,
		wire.BulkError, wire.Verbatim, wire.Map, wire.Set, wire.Push, wire.Attribute, wire.NullBulk, wire.NullArray,
		wire.Closed,
	} {
		text := Format(wire.Value{Kind: k})
		if other, dup := seen[text]; dup {
			t.Errorf("kinds %c and %c are both written %q", k, other, text)
		}
		seen[text] = k
	}
}

func TestSplitArgs(t *testing.T) {
	got, err := SplitArgs(`SET "a b\x41\n" 'it\'s "x"' plain "" \x`)
	want := []string{"SET", "a bA\n", `it's "x"`, "plain", "", `\x`}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{`"a`, `'a`, `"a"b`, `"\xzz"`} {
		if got, err := SplitArgs(bad); err == nil {
			t.Errorf("%s: accepted as %q", bad, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("> SET k v\n+OK\n\n# text\nc2> GET k\n# unordered inner pairs\n[\"0\", [\"a\", 1]]\n")
	f.Add("> X\n# differs: y\nmap{\n  \"a\": -ERR\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse(text)
		if err != nil {
			return
		}
		once := file.String()
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("cannot read back:\n%s\n%v", once, err)
		}
		if again.String() != once {
			t.Fatalf("not stable:\n%s\n---\n%s", once, again.String())
		}
	})
}
