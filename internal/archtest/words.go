package archtest

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxColumns is the longest line of a Go file, a tab counted as one column. The aim is 110.
const maxColumns = 144

// banned calls, with the places that may have them. A place is a directory or a file; every one of them
// needs its reason.
var bannedCalls = []struct {
	pkg, name, reason string
	allowed           map[string]string
}{
	{"time", "Sleep", "wait for a condition, a timer in a select, or a context", map[string]string{}},
	{"context", "Background", "take the context from the caller, so that stopping reaches everything", map[string]string{
		"cmd":                             "a process is the root of its contexts",
		"internal/testcluster":            "the harness is the root of its waits",
		"internal/exec":                   "work of the node itself has no client whose end could cancel it",
		"internal/dashboard/dashboard.go": "what is under way at the end gets a bounded time of its own",
		"internal/agent/client.go":        "a grant is put into a queue and never waits",
	}},
	{"context", "TODO", "take the context from the caller", map[string]string{}},
}

// bannedNames are names of packages that say nothing.
var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "base", "misc", "shared", "impl"}

var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b|(?i:not (yet )?implemented)`)

// Words checks for banned calls, banned package names and unfinished work.
func Words(t *Tree) []string {
	var bad []string
	for _, p := range t.Sorted() {
		for _, name := range bannedNames {
			if p.Name == name {
				bad = append(bad, fmt.Sprintf("%s: package %s: a name says what is inside", p.Dir, name))
			}
		}
		for _, f := range p.Files {
			bad = append(bad, t.calls(p, f)...)
			for _, group := range f.AST.Comments {
				for _, c := range group.List {
					if m := unfinished.FindString(c.Text); m != "" {
						bad = append(bad, fmt.Sprintf("%s: %q: it is built, or it is absent", t.at(c.Pos()), m))
					}
				}
			}
		}
	}
	return bad
}

func (t *Tree) calls(p *Package, f *File) []string {
	var bad []string
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && ownRoot(call) {
			return false
		}
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		for _, b := range bannedCalls {
			if x.Name != b.pkg || sel.Sel.Name != b.name || f.Test && testMay(f, b.pkg) {
				continue
			}
			if !allowedIn(b.allowed, p.Dir, f.Path) {
				bad = append(bad, fmt.Sprintf("%s: %s.%s: %s", t.at(sel.Pos()), b.pkg, b.name, b.reason))
			}
		}
		return true
	})
	return bad
}

// testMay says which of the calls a test file may have: contexts of its own, and sleeps where time is virtual.
func testMay(f *File, pkg string) bool {
	return pkg == "context" || pkg == "time" && slices.Contains(f.Imports(), "testing/synctest")
}

// ownRoot recognises the two uses of context.Background that need no excuse: the root of an object that owns
// goroutines and cancels it when it is stopped, and the argument that slog wants and ignores.
func ownRoot(call *ast.CallExpr) bool {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	if fun.Sel.Name == "Enabled" {
		return true
	}
	x, ok := fun.X.(*ast.Ident)
	return ok && x.Name == "context" && strings.HasPrefix(fun.Sel.Name, "WithCancel")
}

func allowedIn(allowed map[string]string, dir, file string) bool {
	for place := range allowed {
		if file == place || within(dir, place) {
			return true
		}
	}
	return false
}

// Columns checks the length of lines.
func Columns(t *Tree) []string {
	var bad []string
	for _, p := range t.Sorted() {
		for _, f := range p.Files {
			n := 0
			for line := range strings.Lines(f.Text) {
				n++
				line = strings.TrimRight(line, "\n")
				if width := utf8.RuneCountInString(line); width > maxColumns {
					bad = append(bad, fmt.Sprintf("%s:%d: %d columns, at most %d", f.Path, n, width, maxColumns))
				}
			}
		}
	}
	return bad
}
