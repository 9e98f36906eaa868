package resp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func words(args [][]byte) string { return fmt.Sprintf("%q", args) }

func TestSplitArgs(t *testing.T) {
	for _, tc := range []struct {
		line string
		want []string
		ok   bool
	}{
		{"", nil, true},
		{" \t ", nil, true},
		{"a  b\tc ", []string{"a", "b", "c"}, true},
		{`"a b" 'c d'`, []string{"a b", "c d"}, true},
		{`pre"a b"`, []string{"prea b"}, true},
		{`"\x41\x4g\n\q\\\""`, []string{"A" + "x4g\nq\\\""}, true},
		{`'\n\''`, []string{`\n'`}, true},
		{`"" ''`, []string{"", ""}, true},
		{"a\vb \vc", []string{"a\vb", "c"}, true},
		{`"a`, nil, false},
		{`'a`, nil, false},
		{`"a"b`, nil, false},
		{`'a'"b"`, nil, false},
		{`"a\`, nil, false},
	} {
		got, ok := SplitArgs([]byte(tc.line))
		if ok != tc.ok || ok && fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tc.want) {
			t.Errorf("%q: %q, %v; want %q, %v", tc.line, got, ok, tc.want, tc.ok)
		}
	}
}

// A line without quotes costs no allocation, as inline requests of a health check come often.
func TestSplitArgsAllocates(t *testing.T) {
	line, args := []byte("SET key value"), make([][]byte, 0, 8)
	if n := testing.AllocsPerRun(100, func() { args, _ = splitArgs(args[:0], line) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// FuzzInline checks that every word that was split off can be quoted and is then split off again, that
// words do not overlap, and that a line without quotes is split at white space only.
func FuzzInline(f *testing.F) {
	for _, s := range []string{"SET k v", `a "b c" 'd\'e'`, `"\x41\n"`, `"a"b`, "a\vb", `x"y`, "'", "\"\\",
		"\x00 \xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		args, ok := SplitArgs(line)
		if !bytes.Equal(line, before) {
			t.Fatalf("%q was changed to %q", before, line)
		}
		if !ok {
			if !bytes.ContainsAny(line, `"'`) {
				t.Fatalf("%q refused", line)
			}
			return
		}
		var quoted strings.Builder
		for _, a := range args {
			quoted.WriteString(` "`)
			for _, c := range a {
				fmt.Fprintf(&quoted, `\x%02x`, c)
			}
			quoted.WriteString(`" `)
		}
		if again, ok := SplitArgs([]byte(quoted.String())); !ok || words(again) != words(args) {
			t.Fatalf("%q gives %q, quoted %q", line, args, again)
		}
		if !bytes.ContainsAny(line, `"'`) && !bytes.ContainsAny(line, "\v\f") {
			want := bytes.FieldsFunc(line, func(c rune) bool { return strings.ContainsRune(" \t\r\n", c) })
			if words(args) != words(want) {
				t.Fatalf("%q gives %q, want %q", line, args, want)
			}
		}
		want := words(args)
		for i := range args {
			_ = append(args[i], "overrun"...)
		}
		if words(args) != want {
			t.Fatalf("words of %q share room", line)
		}
	})
}
