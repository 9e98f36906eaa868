//go:build e2e

package cluster

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"haypile/internal/testcluster"
	"haypile/internal/testcluster/wire"
)

// TestDemoAndDrill: what README promises first. The demo comes up, the drills pass, Ctrl-C leaves nothing behind.
func TestDemoAndDrill(t *testing.T) {
	path, err := testcluster.Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	state := filepath.Join(dir, "state.json")
	demo := testcluster.Run(t, testcluster.Spec{
		Name: "demo", Path: path, Dir: dir,
		Args:  []string{"demo", "--ports", "0", "--json", "--state", state, "--dir", dir, "--sync-replicas", "1"},
		Ready: func(*testcluster.Process) error { _, err := demoAddresses(state); return err },
	})
	addr, err := demoAddresses(state)
	if err != nil {
		t.Fatal(err)
	}
	for _, drill := range []string{"kill-primary", "switchover"} {
		args := []string{"drill", drill, "--state", state, "--before", "500ms", "--after", "500ms", "--count", "2"}
		out, err := exec.Command(path, args...).CombinedOutput()
		t.Logf("haypile %s\n%s", strings.Join(args, " "), out)
		if err != nil {
			t.Fatalf("the drill failed: %v\n%s", err, demo.LogTail())
		}
	}
	if err := demo.Terminate(); err != nil {
		t.Fatal(err)
	}
	for _, a := range addr {
		if c, err := wire.Dial(a); err == nil {
			c.Close()
			t.Errorf("after the end of the demo something still listens on %s", a)
		}
	}
}

// demoAddresses reads the addresses of proxy and nodes from the demo's state file, once all of them answer.
func demoAddresses(state string) ([]string, error) {
	text, err := os.ReadFile(state)
	if err != nil {
		return nil, err
	}
	var s struct {
		Proxy string `json:"proxy"`
		Nodes []struct {
			Addr string `json:"addr"`
		} `json:"nodes"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	addr := []string{s.Proxy}
	for _, n := range s.Nodes {
		addr = append(addr, n.Addr)
	}
	for _, a := range addr {
		c, err := wire.Dial(a)
		if err != nil {
			return nil, err
		}
		_, err = c.Must("EXISTS", "k")
		c.Close()
		if err != nil {
			return nil, err
		}
	}
	return addr, nil
}
