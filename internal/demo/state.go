package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// State tells other commands about a running demo, and a later demo in the same directory about its ports.
type State struct {
	PID       int    `json:"pid"` // of the demo itself
	Dir       string `json:"dir"`
	Base      int    `json:"base"` // first port
	Replicas  int    `json:"replicas"`
	Restarts  bool   `json:"restarts"` // children that die are started again
	Cluster   string `json:"cluster"`
	Shard     string `json:"shard"`
	Proxy     string `json:"proxy"`     // host:port
	Dashboard string `json:"dashboard"` // URL
	Nodes     []Node `json:"nodes"`
	// PIDs are those of all children, by name.
	PIDs map[string]int `json:"pids"`
}

// DefaultStateFile is where a demo describes itself unless told otherwise.
func DefaultStateFile() string { return filepath.Join(os.TempDir(), "haypile-demo.json") }

// FileInDir is the copy of the state that stays with the data.
func FileInDir(dir string) string { return filepath.Join(dir, "demo.json") }

// ReadState reads a state file; an error that is fs.ErrNotExist if there is none.
func ReadState(path string) (State, error) {
	var s State
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Write replaces a state file; a reader sees the old one or the new one.
func (s State) Write(path string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".demo-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = tmp.Write(append(text, '\n'))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp.Name()))
	}
	return nil
}

// Running returns the demo that a state file speaks of if its process exists, or false.
func Running(path string) (State, bool, error) {
	s, err := ReadState(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, err
	}
	return s, isDemo(s.PID), nil
}

// isDemo: the process id may belong to something else by now.
func isDemo(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := splitZero(line)
	for _, a := range args[min(1, len(args)):] {
		if a == "demo" {
			return true
		}
	}
	return false
}

func splitZero(b []byte) []string {
	var out []string
	start := 0
	for i, c := range b {
		if c == 0 {
			out = append(out, string(b[start:i]))
			start = i + 1
		}
	}
	return out
}
