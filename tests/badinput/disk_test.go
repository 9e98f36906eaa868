package badinput

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"haypile/internal/testcluster"
	"haypile/internal/testcluster/wire"
)

// onlyOurs skips tests about files whose format is ours.
func onlyOurs(t *testing.T) {
	t.Helper()
	if *server != "haypile" {
		t.Skip("about haypile's files")
	}
}

const logKeys = 2000

// TestDamagedLog: a changed byte in what had been fsynced refuses the start with an error that names file and
// offset; the same byte put right, everything is there. A torn tail is cut without a question.
func TestDamagedLog(t *testing.T) {
	onlyOurs(t)
	p := start(t, "--appendfsync", "always")
	c := dial(t, p)
	for i := range logKeys {
		if _, err := c.Must("SET", fmt.Sprint("k", i), strings.Repeat("v", 200)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	path := largestSegment(t, p.Spec.Dir)
	intact, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(intact)
	damaged[len(damaged)/2] ^= 0x40
	write(t, path, damaged)
	startErr := p.Start()
	if startErr == nil {
		t.Fatal("the server started from a damaged log")
	}
	if p.Alive() {
		t.Fatal("the server neither serves nor ends")
	}
	said := startErr.Error()
	if !strings.Contains(said, filepath.Base(path)) || !regexp.MustCompile(`offset\D{0,3}\d+`).MatchString(said) {
		t.Errorf("the refusal names no file and offset: %v", startErr)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
		t.Errorf("the refused log was changed: %v", err)
	}
	// Repaired, with a torn frame at its end.
	write(t, path, append(intact[:len(intact):len(intact)], intact[:37]...))
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if v, err := dial(t, p).Must("DBSIZE"); err != nil || v.Int != logKeys {
		t.Errorf("DBSIZE after the repair: %v, %v", v, err)
	}
	serves(t, p)
}

func largestSegment(t *testing.T, dir string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "log-*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var largest string
	var size int64
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
	}
	if size < logKeys*200 {
		t.Fatalf("no segment of the expected size among %v", paths)
	}
	return largest
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: with less than disk-free-min left, writes are refused and everything else goes on; with room
// again, so do writes. It needs a file system of its own and so the right to mount one.
func TestFullDisk(t *testing.T) {
	onlyOurs(t)
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a small file system here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	spec, err := testcluster.ServerSpec(dir, "--disk-free-min", "96mb")
	if err != nil {
		t.Fatal(err)
	}
	p := testcluster.Run(t, spec)
	t.Cleanup(func() { _ = p.Kill() }) // before umount
	c := dial(t, p)
	if _, err := c.Must("SET", "first", "v"); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	write(t, ballast, make([]byte, 100*mib))
	refusal := fill(t, c)
	if !strings.HasPrefix(refusal.Error(), "MISCONF ") {
		t.Errorf("writes end with %v, want MISCONF", refusal)
	}
	if v, err := c.Must("GET", "first"); err != nil || v.Str != "v" {
		t.Errorf("GET on the full disk: %v, %v", v, err)
	}
	if _, err := c.Must("DEL", "fill:0"); err != nil {
		t.Errorf("DEL on the full disk: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	testcluster.Eventually(t, 30*time.Second, func() error { _, err := c.Must("SET", "again", "v"); return err })
	serves(t, p)
	// What was written before and after is there when the server comes back.
	if err := p.Terminate(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if v, err := dial(t, p).Must("EXISTS", "first", "again", "fill:1"); err != nil || v.Int != 3 {
		t.Errorf("after a restart: %v of 3 keys, %v", v, err)
	}
}

// fill writes until the server refuses, and returns the refusal.
func fill(t *testing.T, c *wire.Conn) wire.ReplyError {
	t.Helper()
	value := strings.Repeat("x", 10_000)
	for i := range 30_000 {
		_, err := c.Must("SET", fmt.Sprint("fill:", i), value)
		var refused wire.ReplyError
		if errors.As(err, &refused) {
			t.Logf("refused after %d MiB", i*len(value)/mib)
			return refused
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("300 MB were written to a file system of 256 MiB with a ballast of 100")
	return ""
}
