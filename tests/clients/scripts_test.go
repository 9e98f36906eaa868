package clients

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"haypile/internal/testcluster"
)

// missing skips a test for which a tool is not there; in CI, which installs it, that is a failure.
func missing(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s: %v (.ci/run installs it)", what, err)
	}
	t.Skipf("%s: %v", what, err)
}

// run runs a program until it ends, and fails the test with its output if it does not end well in time.
func run(t *testing.T, dir string, bound time.Duration, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done after %v", bound)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(append([]string{filepath.Base(name)}, args...), " "), err, out)
	}
	return string(out)
}

// targets are a node and a proxy in front of it; see TestGoRedis. The work below is the same for both.
func targets(t *testing.T) map[string]string {
	t.Helper()
	server, proxy := os.Getenv("HAYPILE_SERVER_ADDR"), os.Getenv("HAYPILE_PROXY_ADDR")
	if server == "" && proxy == "" {
		cluster := testcluster.RunCluster(t, testcluster.ClusterOptions{})
		server, proxy = cluster.Nodes[0].Spec.Addr, cluster.Proxy.Spec.Addr
	}
	return map[string]string{"server": server, "proxy": proxy}
}

// modules installs the packages of node/package-lock.json, once.
var modules = sync.OnceValue(func() error {
	lock, err := os.Stat(filepath.Join("node", "package-lock.json"))
	if err != nil {
		return err
	}
	if have, err := os.Stat(filepath.Join("node", "node_modules", ".package-lock.json")); err == nil &&
		!have.ModTime().Before(lock.ModTime()) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = "node"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})

// TestNode runs the scripts of Node.js: ioredis, locks made of Lua scripts, and BullMQ's queues.
func TestNode(t *testing.T) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool, err)
		}
	}
	if err := modules(); err != nil {
		missing(t, "packages from the npm registry", err)
	}
	// ioredis 6 needs Node.js 20; Debian 12 has 18.
	major, err := strconv.Atoi(strings.TrimSpace(run(t, "node", time.Minute, "node", "-p",
		"process.versions.node.split('.')[0]")))
	if err != nil {
		t.Fatal(err)
	}
	for kind, addr := range targets(t) {
		if addr == "" {
			continue
		}
		for _, script := range []string{"ioredis.js", "locks.js", "bullmq.js"} {
			t.Run(kind+"/"+script, func(t *testing.T) {
				t.Log(run(t, "node", 2*time.Minute, "node", script, addr, kind))
			})
		}
		if major >= 20 {
			t.Run(kind+"/ioredis.js with RESP3", func(t *testing.T) {
				t.Log(run(t, "node", 2*time.Minute, "env", "IOREDIS=ioredis6", "node", "ioredis.js", addr, kind))
			})
		}
	}
}

// python finds an interpreter that has the module redis: Debian's, for which python3-redis is made, or another.
func python() (string, error) {
	for _, path := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(path, "-c", "import redis").Run() == nil {
			return path, nil
		}
	}
	return "", errors.New("no python3 with the module redis (Debian: python3-redis)")
}

// TestPython runs redis-py.
func TestPython(t *testing.T) {
	path, err := python()
	if err != nil {
		missing(t, "redis-py", err)
	}
	for kind, addr := range targets(t) {
		if addr == "" {
			continue
		}
		t.Run(kind, func(t *testing.T) {
			t.Log(run(t, "python", time.Minute, path, "redispy.py", addr, kind))
		})
	}
}

// lines runs a program that does not end by itself until it has printed what ok wants to see, and ends it.
func lines(t *testing.T, ok func(text string) bool, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for r := bufio.NewReader(out); ; {
		b, err := r.ReadByte()
		if err != nil {
			printed := text.String()
			t.Errorf("%v ended or took too long; its last words: %q", args, printed[max(0, len(printed)-1000):])
			break
		}
		if text.WriteByte(b); b == '\n' && ok(text.String()) {
			break
		}
	}
	cancel()
	_ = cmd.Wait() // it was killed
}
