package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"haypile/internal/coordinator"
	"haypile/internal/demo"
	"haypile/internal/drill"
	"haypile/internal/topology"
)

// asBinary makes the test binary be haypile: the demo starts itself for all of its processes.
const asBinary = "HAYPILE_TEST_AS_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(asBinary) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// haypile is a command that runs this binary as haypile.
func haypile(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asBinary+"=1")
	return cmd
}

// run runs a command in this process and returns its output.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root, err := newRootCommand()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestEveryCommandIsDescribed(t *testing.T) {
	root, err := newRootCommand()
	if err != nil {
		t.Fatal(err)
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short description %q", c.CommandPath(), c.Short)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	for _, name := range []string{"server", "proxy", "dashboard", "ctl", "demo", "drill", "docs", "debug", "version"} {
		if c, _, err := root.Find([]string{name}); err != nil || c.Name() != name {
			t.Errorf("no command %s", name)
		}
	}
}

func TestVersion(t *testing.T) {
	out, err := run(t, "version")
	if err != nil || !strings.HasPrefix(out, "haypile "+version) {
		t.Errorf("%q, %v", out, err)
	}
}

func TestServerRefusesConfiguration(t *testing.T) {
	_, err := run(t, "server", "--no-such-option", "1")
	if err == nil || !strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("error: %v", err)
	}
	out, err := run(t, "server", "--help")
	if err != nil || !strings.Contains(out, "--port 6380") {
		t.Errorf("help: %q, %v", out, err)
	}
}

func TestDocs(t *testing.T) {
	dir := t.TempDir()
	if _, err := run(t, "docs", dir); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(dir, "commands", "get.md")
	for _, file := range []string{page, filepath.Join(dir, "config.md"), filepath.Join(dir, "commands", "README.md")} {
		if text, err := os.ReadFile(file); err != nil || len(text) == 0 {
			t.Errorf("%s: %d bytes, %v", file, len(text), err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	stale, own := filepath.Join(dir, "commands", "nosuch.md"), filepath.Join(dir, "commands", "notes.md")
	past := time.Unix(1e9, 0)
	for _, err := range []error{os.WriteFile(stale, text, 0o600), os.WriteFile(own, []byte("by hand"), 0o600),
		os.Chtimes(page, past, past)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := run(t, "docs", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the page of a command that does not exist: %v", err)
	}
	if _, err := os.Stat(own); err != nil {
		t.Errorf("a page that was written by hand: %v", err)
	}
	if st, err := os.Stat(page); err != nil || !st.ModTime().Equal(past) {
		t.Errorf("a page that was right has been written again: %v", err)
	}
}

func TestLogDirectory(t *testing.T) {
	dir := t.TempDir()
	if got, err := logDirectory(dir); err != nil || got != dir {
		t.Errorf("a log directory: %s, %v", got, err)
	}
	current := filepath.Join(dir, "CURRENT")
	if err := os.WriteFile(current, []byte("12\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := logDirectory(dir); err != nil || got != filepath.Join(dir, "log-12") {
		t.Errorf("a data directory: %s, %v", got, err)
	}
	if err := os.WriteFile(current, []byte("MANIFEST-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := logDirectory(dir); err == nil {
		t.Error("a directory of something else is accepted")
	}
}

func TestDrillNeedsACluster(t *testing.T) {
	_, err := run(t, "drill", "kill-primary", "--state", filepath.Join(t.TempDir(), "none"))
	if err == nil || !strings.Contains(err.Error(), "no demo is running") {
		t.Errorf("error: %v", err)
	}
	for _, flag := range []string{"--count=0", "--clients=0"} {
		if _, err := run(t, "drill", "switchover", flag); err == nil || !strings.Contains(err.Error(), "positive") {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func TestTrouble(t *testing.T) {
	sh := &topology.Shard{ID: "s1"}
	for _, tt := range []struct {
		st   coordinator.Status
		want string
	}{
		{coordinator.Status{}, "no dashboard leads"},
		{coordinator.Status{Leader: "d"}, ""},
		{coordinator.Status{Leader: "d", Problems: []coordinator.Problem{{Shard: "s2"}}}, ""},
		{coordinator.Status{Leader: "d", Problems: []coordinator.Problem{{Shard: "s1", Summary: "x"}}}, "a problem: "},
		{coordinator.Status{Leader: "d", Plans: []coordinator.Plan{{Shard: "s1", Kind: coordinator.Failover}}},
			"a failover is under way"},
	} {
		if got := trouble(tt.st, sh); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.st, got, tt.want)
		}
	}
}

// TestDemoAndDrills: a whole cluster of processes comes up, survives the death of its primary, hands over without
// an error, and leaves nothing behind.
func TestDemoAndDrills(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	file := filepath.Join(t.TempDir(), "demo.json")
	cluster := haypile(ctx, "demo", "--state", file, "--json", "--sync-replicas", "1", "--restart-delay", "100ms")
	var log bytes.Buffer
	cluster.Stderr = &log
	out, err := cluster.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cluster.Process.Kill() // neither does anything if it has ended as it should
		_ = cluster.Wait()
		if t.Failed() {
			t.Logf("the demo said:\n%s", log.String())
		}
	}()
	var s demo.State
	if err := json.NewDecoder(out).Decode(&s); err != nil {
		_ = cluster.Wait()
		t.Fatalf("the demo did not come up: %v", err)
	}
	if st, running, err := demo.Running(file); err != nil || !running || len(st.PIDs) != 5 {
		t.Errorf("state: %+v, %v, %v", st, running, err)
	}
	for _, ev := range []drill.Event{drill.KillPrimary, drill.Switchover} {
		text, err := haypile(ctx, "drill", string(ev), "--state", file, "--json", "--rate", "2000", "--before", "300ms",
			"--after", "200ms").Output()
		var r drill.Report
		if jerr := json.Unmarshal(text, &r); err != nil || jerr != nil || !r.Passed || r.Summary.Acked == 0 {
			t.Errorf("%s: %v, %v\n%s", ev, err, jerr, text)
		}
	}
	if err := cluster.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Wait(); err != nil {
		t.Errorf("the demo ended with %v", err)
	}
	for _, path := range []string{file, s.Dir} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left over: %v", path, err)
		}
	}
	for name, pid := range s.PIDs {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("%s (process %d) still runs", name, pid)
		}
	}
}
