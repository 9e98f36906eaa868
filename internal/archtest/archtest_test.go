package archtest

import (
	"strings"
	"testing"
)

// rules are applied to the repository, and each is shown to fail on its example.
var rules = []struct {
	name  string
	check func(*Tree) []string
	// fails is a tree that breaks the rule; want stands in the violation.
	fails map[string]string
	want  string
}{
	{"Layers/upwards", Layers, map[string]string{
		"internal/resp/a.go": "package resp\nimport _ \"haypile/internal/keyspace\"\n",
	}, "imports upwards"},
	{"Layers/sideways", Layers, map[string]string{
		"internal/session/a.go": "package session\nimport _ \"haypile/internal/agent\"\n",
	}, "of the same layer"},
	{"Layers/unknown", Layers, map[string]string{
		"internal/newthing/a.go": "package newthing\n",
	}, "not in the layer table"},
	{"Bans/direct", Bans, map[string]string{
		"internal/proxy/a.go": "package proxy\nimport _ \"haypile/internal/commands\"\n",
	}, "internal/proxy -> internal/commands"},
	{"Bans/indirect", Bans, map[string]string{
		"internal/proxy/a.go":     "package proxy\nimport _ \"haypile/internal/metastore\"\n",
		"internal/metastore/a.go": "package metastore\nimport _ \"haypile/internal/storage\"\n",
	}, "internal/proxy -> internal/metastore -> internal/storage"},
	{"Bans/types", Bans, map[string]string{
		"internal/types/hash/a.go": "package hash\nimport _ \"haypile/internal/resp\"\n",
	}, "internal/types must not reach internal/resp"},
	{"Foreign/engine", Foreign, map[string]string{
		"internal/keyspace/a.go": "package keyspace\nimport _ \"github.com/cockroachdb/pebble/v2\"\n",
	}, "only internal/storage may"},
	{"Foreign/layer0", Foreign, map[string]string{
		"internal/option/a.go": "package option\nimport _ \"golang.org/x/sys/unix\"\n",
	}, "standard library alone"},
	{"Words/sleep", Words, map[string]string{
		"internal/agent/a.go": "package agent\nimport \"time\"\nfunc f() { time.Sleep(1) }\n",
	}, "time.Sleep"},
	{"Words/sleep in a test", Words, map[string]string{
		"internal/agent/a_test.go": "package agent\nimport \"time\"\nfunc f() { time.Sleep(1) }\n",
	}, "time.Sleep"},
	{"Words/context", Words, map[string]string{
		"internal/agent/a.go": "package agent\nimport \"context\"\nvar c = context.Background()\n",
	}, "context.Background"},
	{"Words/name", Words, map[string]string{
		"internal/session/util/a.go": "package util\n",
	}, "package util"},
	{"Words/unfinished", Words, map[string]string{
		"internal/session/a.go": "package session\n\n// TODO: later.\n",
	}, `"TODO"`},
	{"PackageDocs/none", PackageDocs, map[string]string{
		"internal/session/a.go": "package session\n",
	}, "no package documentation"},
	{"PackageDocs/two", PackageDocs, map[string]string{
		"internal/session/a.go": "// Package session is a.\npackage session\n",
		"internal/session/b.go": "// Package session is b.\npackage session\n",
	}, "a.go and internal/session/b.go"},
	{"PackageDocs/form", PackageDocs, map[string]string{
		"internal/session/a.go": "// Sessions.\npackage session\n",
	}, "begins with"},
	{"ExportedDocs/func", exportedDocs, map[string]string{
		"internal/session/a.go": "package session\nfunc F() {}\n",
	}, "F is exported and not documented"},
	{"ExportedDocs/method", exportedDocs, map[string]string{
		"internal/session/a.go": "package session\ntype T[K any] struct{}\nfunc (t *T[K]) M() {}\n",
	}, "T.M is exported and not documented"},
	{"ExportedDocs/const", exportedDocs, map[string]string{
		"internal/session/a.go": "package session\nconst C = 1\n",
	}, "C is exported and not documented"},
	{"Columns", Columns, map[string]string{
		"internal/session/a.go": "package session\n\n// " + strings.Repeat("x", maxColumns) + "\n",
	}, "columns, at most"},
}

func exportedDocs(t *Tree) []string {
	bad, _, _ := ExportedDocs(t)
	return bad
}

func load(t *testing.T) *Tree {
	t.Helper()
	tree, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if tree.Packages["internal/archtest"] == nil || tree.Packages["internal/command"] == nil {
		t.Fatalf("the module was not found: %d packages", len(tree.Packages))
	}
	return tree
}

func TestRepository(t *testing.T) {
	tree := load(t)
	done := map[string]bool{}
	for _, r := range rules {
		name, _, _ := strings.Cut(r.name, "/")
		if done[name] {
			continue
		}
		done[name] = true
		t.Run(name, func(t *testing.T) {
			for _, v := range r.check(tree) {
				t.Error(v)
			}
		})
	}
	_, documented, total := ExportedDocs(tree)
	t.Logf("%d packages; %d of %d exported identifiers documented", len(tree.Packages), documented, total)
}

// TestRulesCanFail: every rule reports its example.
func TestRulesCanFail(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			tree, err := Parse(r.fails)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(r.check(tree), "\n")
			if !strings.Contains(got, r.want) {
				t.Errorf("violations %q do not contain %q", got, r.want)
			}
		})
	}
}

// TestAllowListsAreUsed: an allowed import or call that is not there any more is removed from its list.
func TestAllowListsAreUsed(t *testing.T) {
	tree := load(t)
	for pair := range sideways {
		used := false
		for _, p := range tree.Sorted() {
			own, _ := p.Imports()
			for _, imp := range own {
				used = used || within(p.Dir, pair[0]) && within(imp, pair[1])
			}
		}
		if !used {
			t.Errorf("sideways import %s -> %s is allowed and not used", pair[0], pair[1])
		}
	}
	for _, b := range bannedCalls {
		for place := range b.allowed {
			if !called(tree, place, b.pkg+"."+b.name+"(") {
				t.Errorf("%s.%s is allowed in %s and not used there", b.pkg, b.name, place)
			}
		}
	}
}

func called(tree *Tree, place, call string) bool {
	for _, p := range tree.Sorted() {
		for _, f := range p.Files {
			if (f.Path == place || within(p.Dir, place)) && strings.Contains(f.Text, call) {
				return true
			}
		}
	}
	return false
}
