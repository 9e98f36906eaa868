package drill

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child starts a shell that waits for ever under the name of a script.
func child(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, script), []byte("echo up\nread x\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", script)
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestKillProcess(t *testing.T) {
	cmd := child(t, "server")
	began := time.Now()
	k, err := KillProcess(t.Context(), "127.0.0.1:1", cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if k.Sent.Before(began) || k.Dead.Before(k.Sent) {
		t.Errorf("killed %+v, began %v", k, began)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the process ended with %v", err)
	}
}

func TestKillProcessSparesOthers(t *testing.T) {
	cmd := child(t, "editor")
	if _, err := KillProcess(t.Context(), "127.0.0.1:1", cmd.Process.Pid); err == nil ||
		!strings.Contains(err.Error(), "no data node") {
		t.Errorf("killing something else: %v", err)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("it is gone: %v", err)
	}
}
