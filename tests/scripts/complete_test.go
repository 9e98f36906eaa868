package scripts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"haypile/internal/command"
	"haypile/internal/commands"
)

// elsewhere are commands that need more than one server and clients, with the place of their tests.
var elsewhere = map[string]string{
	"PSYNC":    "internal/replication",
	"SYNC":     "internal/replication",
	"REPLCONF": "internal/replication",
	"FAILOVER": "tests/cluster",
	"BGSAVE":   "internal/server",
	"SAVE":     "internal/server",
}

// TestEveryCommandHasATranscript: a command is done when it is described, runs, and has been compared with
// the reference.
func TestEveryCommandHasATranscript(t *testing.T) {
	table, err := commands.NewTable(commands.All())
	if err != nil {
		t.Fatal(err)
	}
	shown := shownCommands(t)
	for _, s := range table.All() {
		if len(s.Sub) == 0 {
			requireShown(t, shown, s, s.Name)
		}
		for _, sub := range s.Sub {
			requireShown(t, shown, s, s.Name+" "+sub.Name)
		}
	}
}

func requireShown(t *testing.T, shown map[string]bool, s *command.Spec, name string) {
	t.Helper()
	_, excused := elsewhere[s.Name]
	switch {
	case !shown[name] && !excused:
		t.Errorf("%s: no transcript in tests/scripts sends it", name)
	case shown[name] && excused:
		t.Errorf("%s: has a transcript, and an excuse in elsewhere", name)
	}
}

// shownCommands collects "NAME" and "NAME SUB" of every line of every transcript.
func shownCommands(t *testing.T) map[string]bool {
	t.Helper()
	shown := map[string]bool{}
	for _, path := range transcripts(t) {
		f, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range f.Steps {
			if s.Op == OpRead || s.Op == OpRaw {
				continue
			}
			name := strings.ToUpper(s.Args[0])
			shown[name] = true
			if len(s.Args) > 1 {
				shown[name+" "+strings.ToUpper(s.Args[1])] = true
			}
		}
	}
	return shown
}

// TestGroupsAreDirectories: nothing in here that the runner would overlook.
func TestGroupsAreDirectories(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".txt" && strings.Count(filepath.ToSlash(path), "/") != 1 {
			t.Errorf("%s: transcripts are tests/scripts/<group>/<name>.txt", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
