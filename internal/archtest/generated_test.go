package archtest

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"testing"

	"haypile/internal/commands"
	"haypile/internal/option"
)

// TestGeneratedDocs: docs/config.md and docs/commands/ say what the tables say.
func TestGeneratedDocs(t *testing.T) {
	pages, err := commands.Markdown(commands.All())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"config.md": option.Markdown()}
	for name, text := range pages {
		want[path.Join("commands", name)] = text
	}
	for _, problem := range stale("../../docs", want) {
		t.Errorf("%s (make docs writes it)", problem)
	}
}

// stale lists the generated pages that are missing, differ, or have lost their command.
func stale(dir string, want map[string][]byte) []string {
	var bad []string
	for name, text := range want {
		switch got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); {
		case err != nil:
			bad = append(bad, err.Error())
		case !bytes.Equal(got, text):
			bad = append(bad, name+": differs from the table")
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "commands", "*.md"))
	if err != nil {
		return append(bad, err.Error())
	}
	for _, p := range found {
		if name := "commands/" + filepath.Base(p); want[name] == nil {
			bad = append(bad, name+": no such command in the table")
		}
	}
	return bad
}

// TestStaleCanFail: each kind of staleness is reported.
func TestStaleCanFail(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "commands"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"config.md": "old", "commands/gone.md": "x", "commands/get.md": "right"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bad := stale(dir, map[string][]byte{
		"config.md": []byte("new"), "commands/get.md": []byte("right"), "commands/set.md": []byte("x"),
	})
	if len(bad) != 3 {
		t.Errorf("reported: %q; want a changed, a missing and a superfluous page", bad)
	}
}
