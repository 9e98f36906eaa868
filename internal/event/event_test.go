package event

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// TestNamesIsWhole compares the list with the constants in the source.
func TestNamesIsWhole(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		l, ok := n.(*ast.BasicLit)
		if ok && l.Kind == token.STRING && len(l.Value) > 2 && strings.ContainsAny(l.Value[1:2], "+-") {
			declared[strings.Trim(l.Value, `"`)] = true
		}
		return true
	})
	listed := map[string]bool{}
	for _, n := range Names() {
		if listed[string(n)] {
			t.Errorf("%s is listed twice", n)
		}
		listed[string(n)] = true
		if !declared[string(n)] {
			t.Errorf("%s is listed but not declared", n)
		}
	}
	for d := range declared {
		if !listed[d] {
			t.Errorf("%s is declared but not listed", d)
		}
	}
}

func TestString(t *testing.T) {
	e := Event{Name: Promoted, Shard: "s1", Node: "n2", Epoch: 7, Text: "offset 12"}
	if got, want := e.String(), "+promoted shard=s1 node=n2 epoch=7 (offset 12)"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}
