package demo

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
)

// MaxReplicas bounds the size of a demo.
const MaxReplicas = 8

// Places of the ports from the base on. Agents stand where a node expects its own by default: no rule is
// needed for them.
const (
	portProxy     = 0
	portDashboard = 1
	portNodes     = 10
	portAgents    = 20
	portSpan      = 30
)

const (
	// firstBase to lastBase is where a free base is looked for, below the ports that the kernel gives to outgoing
	// connections: one of those could take a killed node's port.
	firstBase = 7000
	lastBase  = 32000
	baseStep  = 100
)

// Config is what is asked for.
type Config struct {
	Binary       string // the executable
	Dir          string
	Cluster      string
	Replicas     int
	Base         int // first port
	SyncReplicas int
	// NodeArgs are further arguments of the data nodes.
	NodeArgs []string
}

// Node is a data node of the demo.
type Node struct {
	ID        string `json:"id"`
	Addr      string `json:"addr"`
	AgentAddr string `json:"agent_addr"`
	Dir       string `json:"dir"`
	Log       string `json:"log"`
	PID       int    `json:"pid"`
}

// Spec is a process to run.
type Spec struct {
	Name string
	Path string
	Args []string
	Log  string // file that its output is appended to
}

// Plan is a laid-out demo.
type Plan struct {
	Shard     string
	ProxyAddr string
	Dashboard string // URL
	Nodes     []Node // the first is to become the first primary
	// Specs are the processes in the order of their start.
	Specs []Spec
	// Dirs have to exist.
	Dirs []string
}

// Names of the processes that are no data nodes.
const (
	ProxyName     = "proxy"
	DashboardName = "dashboard"
)

// NewPlan lays a demo out.
func NewPlan(c Config) (Plan, error) {
	switch {
	case c.Replicas < 0 || c.Replicas > MaxReplicas:
		return Plan{}, fmt.Errorf("between 0 and %d replicas are possible", MaxReplicas)
	case c.SyncReplicas < 0 || c.SyncReplicas > c.Replicas:
		return Plan{}, fmt.Errorf("%d synchronous replicas are not possible with %d replicas", c.SyncReplicas, c.Replicas)
	case c.Base < 1 || c.Base+portSpan > 65536:
		return Plan{}, fmt.Errorf("ports from %d on are not possible", c.Base)
	case c.Binary == "" || !filepath.IsAbs(c.Dir):
		return Plan{}, errors.New("an executable and an absolute directory are needed")
	}
	at := func(place int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Base+place)) }
	logs := filepath.Join(c.Dir, "logs")
	p := Plan{Shard: "s1", ProxyAddr: at(portProxy), Dashboard: "http://" + at(portDashboard), Dirs: []string{logs}}
	add := func(name, dir string, args ...string) string {
		log := filepath.Join(logs, name+".log")
		p.Dirs = append(p.Dirs, dir)
		p.Specs = append(p.Specs, Spec{Name: name, Path: c.Binary, Args: args, Log: log})
		return log
	}
	dir := filepath.Join(c.Dir, DashboardName)
	add(DashboardName, dir, "dashboard", "--listen", at(portDashboard), "--dir", dir, "--cluster", c.Cluster)
	for i := range c.Replicas + 1 {
		n := Node{ID: fmt.Sprintf("%s-%d", p.Shard, i+1), Addr: at(portNodes + i), AgentAddr: at(portAgents + i)}
		n.Dir = filepath.Join(c.Dir, n.ID)
		args := []string{"server", "--bind", "127.0.0.1", "--port", strconv.Itoa(c.Base + portNodes + i),
			"--agent-port", strconv.Itoa(c.Base + portAgents + i), "--dir", n.Dir, "--node-id", n.ID,
			"--cluster-name", c.Cluster, "--managed", "yes", "--sync-replicas", strconv.Itoa(c.SyncReplicas),
			"--enable-debug-command", "local", "--maxmemory", "256mb"}
		n.Log = add(n.ID, n.Dir, append(args, c.NodeArgs...)...)
		p.Nodes = append(p.Nodes, n)
	}
	dir = filepath.Join(c.Dir, ProxyName)
	add(ProxyName, dir, "proxy", "--listen", p.ProxyAddr, "--dashboard", p.Dashboard,
		"--topology-file", filepath.Join(dir, "topology.json"))
	return p, nil
}

// StopOrder is the order of stopping: first who brings requests, then who would take a stopping primary for a
// dead one, then the nodes, replicas first.
func (p Plan) StopOrder() []string {
	names := []string{ProxyName, DashboardName}
	for i := len(p.Nodes) - 1; i >= 0; i-- {
		names = append(names, p.Nodes[i].ID)
	}
	return names
}

// FreeBase finds a base whose ports are all free.
func FreeBase() (int, error) {
	for base := firstBase; base+portSpan <= lastBase; base += baseStep {
		if CheckBase(base) == nil {
			return base, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports between %d and %d", portSpan, firstBase, lastBase)
}

// CheckBase returns an error if a port of the base is in use.
func CheckBase(base int) error {
	for port := base; port < base+portSpan; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}
