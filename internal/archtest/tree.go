// Package archtest holds the tests about the code: which package may import which, what must be documented,
// which words are banned. The rules are functions from parsed sources to violations, so that each of them is
// also shown to fail on a source made for it.
//
// The sources are read and parsed here, at each run. A test that asks `go list` instead can pass from the
// test cache after the rule was broken, because the cache does not see what a child process reads.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// module is the path of this module, the prefix of its imports.
const module = "haypile"

// File is one parsed Go file.
type File struct {
	Path string // relative to the module, with slashes
	Test bool
	Text string
	AST  *ast.File
}

// Imports returns the import paths of the file.
func (f *File) Imports() []string {
	paths := make([]string, 0, len(f.AST.Imports))
	for _, spec := range f.AST.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			p = spec.Path.Value
		}
		paths = append(paths, p)
	}
	return paths
}

// Package is a directory with Go files.
type Package struct {
	Dir   string // relative to the module, with slashes
	Name  string // of the non-test files
	Files []*File
}

// Imports returns the sorted import paths of the package's non-test files, those of the module without
// its prefix ("internal/resp").
func (p *Package) Imports() (own, foreign []string) {
	seen := map[string]bool{}
	for _, f := range p.Files {
		if f.Test {
			continue
		}
		for _, imp := range f.Imports() {
			if seen[imp] {
				continue
			}
			seen[imp] = true
			if rest, ok := strings.CutPrefix(imp, module+"/"); ok {
				own = append(own, rest)
			} else {
				foreign = append(foreign, imp)
			}
		}
	}
	sort.Strings(own)
	sort.Strings(foreign)
	return own, foreign
}

// Tree is the parsed module.
type Tree struct {
	Fset     *token.FileSet
	Packages map[string]*Package // by Dir
}

// Load parses all Go files below root, except in nested modules, testdata and hidden directories.
func Load(root string) (*Tree, error) {
	sources := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipDir(p, rel, d.Name())
		}
		if strings.HasSuffix(p, ".go") {
			text, err := os.ReadFile(p)
			sources[filepath.ToSlash(rel)] = string(text)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the sources: %w", err)
	}
	return Parse(sources)
}

func skipDir(p, rel, name string) error {
	if rel == "." {
		return nil
	}
	if name == "testdata" || name[0] == '.' || name[0] == '_' {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

// Parse parses sources given as path -> text.
func Parse(sources map[string]string) (*Tree, error) {
	t := &Tree{Fset: token.NewFileSet(), Packages: map[string]*Package{}}
	paths := make([]string, 0, len(sources))
	for p := range sources {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for _, p := range paths {
		parsed, err := parser.ParseFile(t.Fset, p, sources[p], parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		dir := path.Dir(p)
		pkg := t.Packages[dir]
		if pkg == nil {
			pkg = &Package{Dir: dir}
			t.Packages[dir] = pkg
		}
		f := &File{Path: p, Test: strings.HasSuffix(p, "_test.go"), Text: sources[p], AST: parsed}
		if !f.Test {
			pkg.Name = parsed.Name.Name
		}
		pkg.Files = append(pkg.Files, f)
	}
	return t, nil
}

// Sorted returns the packages in order of their directories.
func (t *Tree) Sorted() []*Package {
	pkgs := make([]*Package, 0, len(t.Packages))
	for _, p := range t.Packages {
		pkgs = append(pkgs, p)
	}
	sort.Slice(pkgs, func(i, j int) bool { return pkgs[i].Dir < pkgs[j].Dir })
	return pkgs
}

// at renders a position as path:line.
func (t *Tree) at(pos token.Pos) string {
	p := t.Fset.Position(pos)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}
