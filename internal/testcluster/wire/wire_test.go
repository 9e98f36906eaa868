package wire

import (
	"bufio"
	"reflect"
	"strings"
	"testing"
)

func decode(s string) (Value, error) { return ReadValue(bufio.NewReader(strings.NewReader(s))) }

func TestReadValue(t *testing.T) {
	for in, want := range map[string]Value{
		"+OK\r\n":                    {Kind: Simple, Str: "OK"},
		"-ERR x\r\n":                 {Kind: Error, Str: "ERR x"},
		":-12\r\n":                   {Kind: Int, Int: -12},
		"$3\r\na\r\n\r\n":            {Kind: Bulk, Str: "a\r\n"},
		"$-1\r\n":                    {Kind: NullBulk},
		"*-1\r\n":                    {Kind: NullArray},
		"_\r\n":                      {Kind: Null},
		"#t\r\n":                     {Kind: Bool, Int: 1},
		",inf\r\n":                   {Kind: Double, Str: "inf"},
		"=7\r\ntxt:abc\r\n":          {Kind: Verbatim, Str: "txt:abc"},
		"*0\r\n":                     {Kind: Array, Elems: []Value{}},
		"%1\r\n+a\r\n:1\r\n":         {Kind: Map, Elems: []Value{{Kind: Simple, Str: "a"}, {Kind: Int, Int: 1}}},
		">2\r\n$1\r\na\r\n*-1\r\n":   {Kind: Push, Elems: []Value{{Kind: Bulk, Str: "a"}, {Kind: NullArray}}},
		"(123456789012345678901\r\n": {Kind: BigNumber, Str: "123456789012345678901"},
	} {
		got, err := decode(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestReadValueRefuses(t *testing.T) {
	for _, in := range []string{
		"", "\r\n", "+OK\n", "+OK", "$3\r\nabcd\r\n", "$03\r\nabc\r\n", "$-2\r\n", "$3\r\nab", "*1\r\n", "%-1\r\n",
		"#x\r\n", "?1\r\n", ":1x\r\n", "$99999999999\r\n",
	} {
		if v, err := decode(in); err == nil {
			t.Errorf("%q: accepted as %v", in, v)
		}
	}
}

func FuzzReadValue(f *testing.F) {
	for _, s := range []string{"+OK\r\n", "*2\r\n:1\r\n$1\r\na\r\n", "%1\r\n_\r\n#t\r\n", "$-1\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1<<12 || strings.Contains(s, "$9") { // no gigabyte allocations while fuzzing
			return
		}
		_, _ = decode(s)
	})
}
