package archtest

import (
	"fmt"
	"go/ast"
	"strings"
)

// PackageDocs checks that each package explains itself, once.
func PackageDocs(t *Tree) []string {
	var bad []string
	for _, p := range t.Sorted() {
		var with []string
		code := false
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			code = true
			if f.AST.Doc == nil || isDirective(f.AST.Doc.Text()) {
				continue
			}
			with = append(with, f.Path)
			want := "Package " + p.Name + " "
			if text := f.AST.Doc.Text(); p.Name != "main" && !strings.HasPrefix(text, want) {
				bad = append(bad, fmt.Sprintf("%s: the package documentation begins with %q", f.Path, want))
			}
		}
		switch {
		case code && len(with) == 0:
			bad = append(bad, fmt.Sprintf("%s: no package documentation", p.Dir))
		case len(with) > 1:
			bad = append(bad, fmt.Sprintf("%s: package documentation in %s", p.Dir, strings.Join(with, " and ")))
		}
	}
	return bad
}

// isDirective: Text() drops //go: lines, so that nothing is left of a comment with directives alone.
func isDirective(text string) bool { return strings.TrimSpace(text) == "" }

// obvious are methods whose meaning an interface of the standard library fixes.
var obvious = map[string]bool{
	"String": true, "Error": true, "Unwrap": true, "Is": true, "Len": true, "Less": true, "Swap": true,
	"MarshalJSON": true, "UnmarshalJSON": true, "MarshalText": true, "UnmarshalText": true, "ServeHTTP": true,
	"Read": true, "Write": true, "Close": true, "Format": true, "Push": true, "Pop": true,
}

// ExportedDocs checks that exported identifiers outside of main packages and tests are documented. It also
// returns how many there are and how many are documented.
func ExportedDocs(t *Tree) (bad []string, documented, total int) {
	for _, p := range t.Sorted() {
		if p.Name == "main" {
			continue
		}
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			for _, d := range exported(f.AST) {
				total++
				if d.documented {
					documented++
				} else {
					bad = append(bad, fmt.Sprintf("%s: %s is exported and not documented", t.at(d.node.Pos()), d.name))
				}
			}
		}
	}
	return bad, documented, total
}

type declared struct {
	name       string
	node       ast.Node
	documented bool
}

func exported(f *ast.File) []declared {
	var all []declared
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			name, ok := exportedFunc(d)
			if ok {
				all = append(all, declared{name, d, d.Doc != nil || d.Recv != nil && obvious[d.Name.Name]})
			}
		case *ast.GenDecl:
			all = append(all, exportedSpecs(d)...)
		}
	}
	return all
}

// exportedFunc names an exported function, or an exported method of an exported type.
func exportedFunc(d *ast.FuncDecl) (string, bool) {
	if !d.Name.IsExported() {
		return "", false
	}
	if d.Recv == nil {
		return d.Name.Name, true
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name + "." + d.Name.Name, x.IsExported()
		default:
			return "", false
		}
	}
}

// exportedSpecs: in a group, the group's comment, the spec's own or one behind it on its line will do.
func exportedSpecs(d *ast.GenDecl) []declared {
	var all []declared
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() {
				all = append(all, declared{s.Name.Name, s, d.Doc != nil || s.Doc != nil || s.Comment != nil})
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() {
					all = append(all, declared{name.Name, name, d.Doc != nil || s.Doc != nil || s.Comment != nil})
				}
			}
		}
	}
	return all
}
