package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestPlan(t *testing.T) {
	p, err := NewPlan(Config{Binary: "/bin/haypile", Dir: "/d", Cluster: "c", Replicas: 2, Base: 7000, SyncReplicas: 1,
		NodeArgs: []string{"--appendfsync", "always"}})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range p.Specs {
		lines = append(lines, s.Name+": "+strings.Join(s.Args, " ")+" > "+s.Log)
	}
	node := "s1-%d: server --bind 127.0.0.1 --port 701%d --agent-port 702%d --dir /d/s1-%d --node-id s1-%d " +
		"--cluster-name c --managed yes --sync-replicas 1 --enable-debug-command local --maxmemory 256mb " +
		"--appendfsync always > /d/logs/s1-%d.log"
	want := []string{"dashboard: dashboard --listen 127.0.0.1:7001 --dir /d/dashboard --cluster c > /d/logs/dashboard.log"}
	for i := range 3 {
		want = append(want, fmt.Sprintf(node, i+1, i, i, i+1, i+1, i+1))
	}
	want = append(want, "proxy: proxy --listen 127.0.0.1:7000 --dashboard http://127.0.0.1:7001 "+
		"--topology-file /d/proxy/topology.json > /d/logs/proxy.log")
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if got := strings.Join(p.StopOrder(), " "); got != "proxy dashboard s1-3 s1-2 s1-1" {
		t.Errorf("order of stopping: %s", got)
	}
	if p.Nodes[2].Addr != "127.0.0.1:7012" || p.Nodes[2].AgentAddr != "127.0.0.1:7022" {
		t.Errorf("node: %+v", p.Nodes[2])
	}
}

func TestPlanRefuses(t *testing.T) {
	good := Config{Binary: "/b", Dir: "/d", Cluster: "c", Replicas: 2, Base: 7000}
	for name, change := range map[string]func(*Config){
		"too many replicas": func(c *Config) { c.Replicas = MaxReplicas + 1 }, "negative": func(c *Config) { c.Replicas = -1 },
		"more synchronous ones than there are": func(c *Config) { c.SyncReplicas = 3 },
		"ports past the end":                   func(c *Config) { c.Base = 65520 }, "no ports": func(c *Config) { c.Base = 0 },
		"a relative directory": func(c *Config) { c.Dir = "d" },
	} {
		c := good
		change(&c)
		if _, err := NewPlan(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestFreeBase(t *testing.T) {
	base, err := FreeBase()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+portSpan-1))
	if err != nil {
		t.Skip("somebody else took the port:", err)
	}
	defer l.Close()
	if CheckBase(base) == nil {
		t.Error("a base with an occupied port is free")
	}
}

func TestState(t *testing.T) {
	file := filepath.Join(t.TempDir(), "demo.json")
	if _, running, err := Running(file); running || err != nil {
		t.Errorf("without a file: %v, %v", running, err)
	}
	if _, err := ReadState(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	s := State{PID: os.Getpid(), Dir: "/d", Base: 7000, Nodes: []Node{{ID: "s1-1", PID: 5}}, PIDs: map[string]int{"proxy": 6}}
	if err := s.Write(file); err != nil {
		t.Fatal(err)
	}
	got, running, err := Running(file) // this process is a test, not a demo
	if err != nil || running || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, %v, %v", got, running, err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Running(file); err == nil {
		t.Error("half a file is accepted")
	}
	if names, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".demo-*")); len(names) > 0 {
		t.Errorf("left over: %v", names)
	}
}

// recorder hears of changes and lines.
type recorder struct {
	changes chan Change
	lines   chan string
}

func newRecorder() *recorder {
	return &recorder{changes: make(chan Change, 16), lines: make(chan string, 16)}
}

func (r *recorder) options(restart bool) Options {
	return Options{Restart: restart, Delay: 10 * time.Millisecond, Changed: func(c Change) { r.changes <- c },
		Line: func(name, line string) { r.lines <- name + "|" + line }}
}

func (r *recorder) next(t *testing.T) Change {
	t.Helper()
	select {
	case c := <-r.changes:
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happens")
		return Change{}
	}
}

// shell is a child that runs a script.
func shell(t *testing.T, script string) Spec {
	return Spec{Name: "child", Path: "/bin/sh", Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log")}
}

func TestSupervisorRestarts(t *testing.T) {
	r := newRecorder()
	s := NewSupervisor(r.options(true))
	spec := shell(t, "echo here; exec sleep 1000")
	if err := s.Start(spec); err != nil {
		t.Fatal(err)
	}
	defer s.Stop("child")
	up := r.next(t)
	if up.Ended || up.PID == 0 || s.PIDs()["child"] != up.PID {
		t.Fatalf("first start: %+v, %v", up, s.PIDs())
	}
	if err := s.Start(spec); err == nil {
		t.Error("a second child of the same name is started")
	}
	if line := <-r.lines; line != "child|here" {
		t.Errorf("line %q", line)
	}
	if err := syscall.Kill(up.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if down := r.next(t); !down.Ended || down.PID != up.PID || down.Again == 0 || !strings.Contains(down.Reason, "killed") {
		t.Errorf("after the kill: %+v", down)
	}
	again := r.next(t)
	if again.Ended || again.PID == up.PID || s.PIDs()["child"] != again.PID {
		t.Errorf("restart: %+v", again)
	}
	s.Stop("child")
	if end := r.next(t); !end.Ended || !strings.HasPrefix(end.Reason, "stopped") || end.Again != 0 || len(s.PIDs()) > 0 {
		t.Errorf("at the end: %+v, %v", end, s.PIDs())
	}
	if err := syscall.Kill(again.PID, 0); err == nil {
		t.Error("the child still runs")
	}
	s.Stop("child") // twice is fine
	log, err := os.ReadFile(spec.Log)
	if err != nil || !strings.HasPrefix(string(log), "here\n") {
		t.Errorf("log: %q, %v", log, err)
	}
}

func TestSupervisorLeavesAlone(t *testing.T) {
	r := newRecorder()
	opt := r.options(false)
	opt.Line = nil
	s := NewSupervisor(opt)
	spec := shell(t, "echo once; exit 3")
	if err := s.Start(spec); err != nil {
		t.Fatal(err)
	}
	defer s.Stop("child")
	r.next(t)
	if down := r.next(t); !down.Ended || down.Again != 0 || down.Reason != "exit status 3" {
		t.Fatalf("end: %+v", down)
	}
	s.Wake()
	if up := r.next(t); up.Ended {
		t.Errorf("after waking: %+v", up)
	}
	if down := r.next(t); !down.Ended {
		t.Errorf("second end: %+v", down)
	}
	if log, err := os.ReadFile(spec.Log); err != nil || string(log) != "once\nonce\n" {
		t.Errorf("log: %q, %v", log, err)
	}
}

func TestSupervisorCannotStart(t *testing.T) {
	s := NewSupervisor(Options{})
	spec := shell(t, "")
	spec.Path = filepath.Join(t.TempDir(), "none")
	if err := s.Start(spec); err == nil || len(s.PIDs()) > 0 {
		t.Errorf("starting nothing: %v", err)
	}
	spec = shell(t, "exit 0")
	if err := s.Start(spec); err != nil {
		t.Errorf("the name is still taken: %v", err)
	}
	s.Stop("child")
}
