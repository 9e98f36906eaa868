package quote

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func show(args [][]byte) string { return fmt.Sprintf("%q", args) }

func TestSplit(t *testing.T) {
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
		got, ok := Split([]byte(tc.line))
		if ok != tc.ok || ok && fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tc.want) {
			t.Errorf("%q: %q, %v; want %q, %v", tc.line, got, ok, tc.want, tc.ok)
		}
	}
}

// A line without quotes costs no allocation, as inline requests of a health check come often.
func TestAppendSplitAllocates(t *testing.T) {
	line, args := []byte("SET key value"), make([][]byte, 0, 8)
	if n := testing.AllocsPerRun(100, func() { args, _ = AppendSplit(args[:0], line) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// FuzzSplit checks that every word that was split off can be quoted and is then split off again, that
// words do not overlap, and that a line without quotes is split at white space only.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"SET k v", `a "b c" 'd\'e'`, `"\x41\n"`, `"a"b`, "a\vb", `x"y`, "'", "\"\\",
		"\x00 \xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		args, ok := Split(line)
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
		if again, ok := Split([]byte(quoted.String())); !ok || show(again) != show(args) {
			t.Fatalf("%q gives %q, quoted %q", line, args, again)
		}
		if !bytes.ContainsAny(line, `"'`) && !bytes.ContainsAny(line, "\v\f") {
			want := bytes.FieldsFunc(line, func(c rune) bool { return strings.ContainsRune(" \t\r\n", c) })
			if show(args) != show(want) {
				t.Fatalf("%q gives %q, want %q", line, args, want)
			}
		}
		want := show(args)
		for i := range args {
			_ = append(args[i], "overrun"...)
		}
		if show(args) != want {
			t.Fatalf("words of %q share room", line)
		}
	})
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a", "a b", `"`, `\`, "\x00\xff\n", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		for _, quoted := range []string{Word(word), string(Append(nil, word))} {
			got, ok := Split([]byte("x " + quoted + " y"))
			if !ok || len(got) != 3 || string(got[1]) != word {
				t.Fatalf("%q quoted as %s reads as %q, %v", word, quoted, got, ok)
			}
		}
	})
}
