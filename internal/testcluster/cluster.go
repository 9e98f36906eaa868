package testcluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// ClusterOptions says what a cluster consists of, beyond one dashboard, one proxy and one shard.
type ClusterOptions struct {
	Replicas      int
	ServerArgs    []string
	ProxyArgs     []string
	DashboardArgs []string
}

// Cluster is a whole cluster of processes on this machine: one shard, managed by one dashboard, behind one
// proxy. Nodes[0] began as the primary.
type Cluster struct {
	Dashboard, Proxy *Process
	Nodes            []*Process
}

// RunCluster starts a cluster for a test, and returns when writes pass through the proxy and all replicas
// are linked.
func RunCluster(t testing.TB, opt ClusterOptions) *Cluster {
	t.Helper()
	c := &Cluster{}
	base := t.TempDir()
	dashboard, err := DashboardSpec(subdir(t, base, "dashboard"), opt.DashboardArgs...)
	if err != nil {
		t.Fatal(err)
	}
	c.Dashboard = Run(t, dashboard)
	if _, err := c.Ctl("shard", "add", "s1"); err != nil {
		t.Fatal(err)
	}
	for i := range opt.Replicas + 1 {
		spec, err := ServerSpec(subdir(t, base, "node"+strconv.Itoa(i+1)), opt.ServerArgs...)
		if err != nil {
			t.Fatal(err)
		}
		node := Run(t, spec)
		c.Nodes = append(c.Nodes, node)
		if _, err := c.Ctl("node", "add", "s1", node.Spec.Addr, "--agent", spec.AgentAddr); err != nil {
			t.Fatal(err)
		}
	}
	proxy, err := ProxySpec(subdir(t, base, "proxy"), c.Dashboard.Spec.Addr, opt.ProxyArgs...)
	if err != nil {
		t.Fatal(err)
	}
	c.Proxy = Run(t, proxy)
	Eventually(t, time.Minute, func() error { return c.linked(opt.Replicas) })
	return c
}

func subdir(t testing.TB, base, name string) string {
	t.Helper()
	dir := filepath.Join(base, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// linked returns nil when the primary has n replicas online.
func (c *Cluster) linked(n int) error {
	primary, err := c.Primary()
	if err != nil {
		return err
	}
	conn, err := primary.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	v, err := conn.Must("ROLE")
	if err != nil {
		return err
	}
	if len(v.Elems) != 3 || len(v.Elems[2].Elems) != n {
		return fmt.Errorf("%s has the role %v, want %d replicas", primary.Spec.Name, v, n)
	}
	return nil
}

// Primary returns the only living node that says it is a primary.
func (c *Cluster) Primary() (*Process, error) {
	var primary *Process
	for _, n := range c.Nodes {
		if !n.Alive() {
			continue
		}
		conn, err := n.Dial()
		if err != nil {
			continue
		}
		v, err := conn.Do("ROLE")
		conn.Close()
		if err != nil || len(v.Elems) == 0 || v.Elems[0].Str != "master" {
			continue
		}
		if primary != nil {
			return nil, fmt.Errorf("two primaries: %s and %s", primary.Spec.Name, n.Spec.Name)
		}
		primary = n
	}
	if primary == nil {
		return nil, errors.New("no primary")
	}
	return primary, nil
}

// Ctl runs `haypile ctl` against the cluster's dashboard.
func (c *Cluster) Ctl(args ...string) (string, error) {
	path, err := Binary()
	if err != nil {
		return "", err
	}
	args = append([]string{"ctl", "--dashboard", "http://" + c.Dashboard.Spec.Addr}, args...)
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("haypile %v: %w: %s", args, err, out)
	}
	return string(out), nil
}

// DashboardSpec describes a dashboard with an embedded metastore.
func DashboardSpec(dir string, args ...string) (Spec, error) {
	path, port, err := binaryAndPort(1)
	if err != nil {
		return Spec{}, err
	}
	return Spec{
		Name: "dashboard-" + strconv.Itoa(port), Path: path, Dir: dir, Addr: addr(port), Ready: httpReady,
		Args: append([]string{"dashboard", "--listen", addr(port), "--dir", dir}, args...),
	}, nil
}

// ProxySpec describes a proxy that follows a dashboard.
func ProxySpec(dir, dashboard string, args ...string) (Spec, error) {
	path, port, err := binaryAndPort(1)
	if err != nil {
		return Spec{}, err
	}
	return Spec{
		Name: "proxy-" + strconv.Itoa(port), Path: path, Dir: dir, Addr: addr(port),
		Args: append([]string{
			"proxy", "--listen", addr(port), "--dashboard", "http://" + dashboard,
			"--topology-file", filepath.Join(dir, "topology.json"),
		}, args...),
	}, nil
}

func binaryAndPort(ports int) (string, int, error) {
	path, err := Binary()
	if err != nil {
		return "", 0, err
	}
	port, err := FreePort(ports)
	return path, port, err
}

func httpReady(p *Process) error {
	client := http.Client{Timeout: 5 * time.Second}
	res, err := client.Get("http://" + p.Spec.Addr + "/healthz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("/healthz: %s", res.Status)
	}
	return nil
}

// Eventually calls f until it returns nil, and fails the test with its last error when that takes too long.
func Eventually(t testing.TB, bound time.Duration, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %v: %v", bound, err)
		case <-time.After(readyPause):
		}
	}
}
