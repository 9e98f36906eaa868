package testcluster

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

func TestProcessLife(t *testing.T) {
	p := RunRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	set := func(key string) {
		t.Helper()
		c, err := p.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Must("SET", key, "v"); err != nil {
			t.Fatal(err)
		}
	}
	set("a")
	if err := p.Kill(); err != nil || p.Alive() {
		t.Fatalf("kill: %v, alive %v", err, p.Alive())
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	set("b")
	cpu, err := p.CPU()
	if err != nil || cpu < 0 || cpu > time.Minute {
		t.Errorf("CPU: %v, %v", cpu, err)
	}
	if rss, err := p.RSS(); err != nil || rss < 1<<20 {
		t.Errorf("RSS: %d, %v", rss, err)
	}
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c, err := p.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if v, err := c.Must("DBSIZE"); err != nil || v.Int != 2 {
		t.Errorf("DBSIZE after restart: %v, %v", v, err)
	}
	if err := p.Terminate(); err != nil {
		t.Error(err)
	}
}

func TestStartReportsLog(t *testing.T) {
	RequireRedis(t)
	spec, err := RedisSpec(t.TempDir(), "--no-such-option", "1")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Launch(spec)
	if err == nil {
		_ = p.Kill()
		t.Fatal("a server with an unknown option became ready")
	}
	if !strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("the error does not show the log: %v", err)
	}
}

func TestFreePortReserves(t *testing.T) {
	port, err := FreePort(3)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(os.TempDir(), "haypile-test-ports")
	if files := reserve(dir, port+2, 1); files != nil {
		t.Errorf("port %d was reserved twice", port+2)
	}
}
