//go:build e2e

// Package cluster tests whole clusters of real processes: a dashboard, a proxy, one primary and two replicas,
// with kill -9, frozen processes and a dead dashboard, under a load that remembers what was acknowledged.
package cluster

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"haypile/internal/testcluster"
	"haypile/internal/testcluster/wire"
)

func TestMain(m *testing.M) { testcluster.Main(m) }

// twoReplicas of which one confirms each write.
var twoReplicas = testcluster.ClusterOptions{Replicas: 2, ServerArgs: []string{"--sync-replicas", "1"}}

const (
	clients  = 4
	settling = 60 * time.Second
)

// load is a number of clients that write through one address until they are stopped.
type load struct {
	addr string
	stop chan struct{}
	wg   sync.WaitGroup

	mu struct {
		sync.Mutex
		acknowledged map[string]string // key -> the last acknowledged value
		inDoubt      map[string]string // key -> a value whose outcome the client does not know
		writes       int               // acknowledged ones
		errors       []error
		longestGap   time.Duration
		lastDone     time.Time
	}
}

func startLoad(addr string) *load {
	l := &load{addr: addr, stop: make(chan struct{})}
	l.mu.acknowledged, l.mu.inDoubt = map[string]string{}, map[string]string{}
	l.mu.lastDone = time.Now()
	for i := range clients {
		l.wg.Go(func() { l.run(i) })
	}
	return l
}

// run writes a counter into key after key. After an error it goes on with a new key: the outcome of the
// write that failed is in doubt, and a later value of the same key would hide it.
func (l *load) run(id int) {
	var c *wire.Conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	generation := 0
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		key, value := fmt.Sprintf("c%d:%d:%d", id, generation, n%50), strconv.Itoa(n)
		var err error
		if c == nil {
			c, err = wire.Dial(l.addr)
		}
		if err == nil {
			_, err = c.Must("SET", key, value)
		}
		l.note(key, value, err)
		if err == nil {
			continue
		}
		generation++
		var refused wire.ReplyError
		if !errors.As(err, &refused) && c != nil {
			c.Close()
			c = nil
		}
		<-time.After(10 * time.Millisecond)
	}
}

func (l *load) note(key, value string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.mu.inDoubt[key] = value
		l.mu.errors = append(l.mu.errors, err)
		return
	}
	now := time.Now()
	l.mu.longestGap = max(l.mu.longestGap, now.Sub(l.mu.lastDone))
	l.mu.lastDone = now
	l.mu.acknowledged[key] = value
	l.mu.writes++
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.writes
}

// end stops the clients.
func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

// lost reads everything back and returns the keys whose acknowledged value is gone.
func (l *load) lost(t *testing.T, addr string) []string {
	t.Helper()
	c, err := wire.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var missing []string
	for key, want := range l.mu.acknowledged {
		v, err := c.Must("GET", key)
		if err != nil {
			t.Fatal(err)
		}
		if v.Str != want && v.Str != l.mu.inDoubt[key] {
			missing = append(missing, fmt.Sprintf("%s: %v, acknowledged %s", key, v, want))
		}
	}
	slices.Sort(missing)
	return missing
}

// report fails the test on loss, and prints what the clients saw.
func (l *load) report(t *testing.T, addr string) {
	t.Helper()
	missing := l.lost(t, addr)
	t.Logf("%d writes acknowledged, %d errors, longest time without an acknowledgement %v",
		l.mu.writes, len(l.mu.errors), l.mu.longestGap.Round(time.Millisecond))
	for i, err := range l.mu.errors {
		if i == 5 {
			break
		}
		t.Logf("a client saw: %v", err)
	}
	if len(missing) > 0 {
		t.Errorf("%d acknowledged writes are lost, such as %s", len(missing), missing[0])
	}
}

// more waits until n more writes are acknowledged.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	goal := l.count() + n
	testcluster.Eventually(t, settling, func() error {
		if got := l.count(); got < goal {
			return fmt.Errorf("%d writes acknowledged, waiting for %d", got, goal)
		}
		return nil
	})
}

// equalDigests waits until all nodes hold the same data.
func equalDigests(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	testcluster.Eventually(t, settling, func() error {
		var first string
		for i, n := range c.Nodes {
			conn, err := n.Dial()
			if err != nil {
				return err
			}
			v, err := conn.Must("DEBUG", "DIGEST")
			conn.Close()
			if err != nil {
				return err
			}
			if i == 0 {
				first = v.Str
			}
			if v.Str != first {
				return fmt.Errorf("%s has digest %s, %s has %s", c.Nodes[0].Spec.Name, first, n.Spec.Name, v.Str)
			}
		}
		return nil
	})
}

// newPrimary waits until another node than old is the primary.
func newPrimary(t *testing.T, c *testcluster.Cluster, old *testcluster.Process) *testcluster.Process {
	t.Helper()
	var now *testcluster.Process
	testcluster.Eventually(t, settling, func() error {
		var err error
		now, err = c.Primary()
		if err == nil && now == old {
			err = fmt.Errorf("%s is still the primary", old.Spec.Name)
		}
		return err
	})
	return now
}

func primary(t *testing.T, c *testcluster.Cluster) *testcluster.Process {
	t.Helper()
	p, err := c.Primary()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestKillPrimary: the primary dies by kill -9 under load, twice; with sync-replicas 1 nothing is lost.
func TestKillPrimary(t *testing.T) {
	c := testcluster.RunCluster(t, twoReplicas)
	l := startLoad(c.Proxy.Spec.Addr)
	for range 2 {
		l.more(t, 200)
		old := primary(t, c)
		if err := old.Kill(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		now := newPrimary(t, c, old)
		l.more(t, 1)
		t.Logf("%s took over from %s; a write was acknowledged %v after the kill", now.Spec.Name,
			old.Spec.Name, time.Since(begin).Round(time.Millisecond))
		if err := old.Start(); err != nil {
			t.Fatal(err)
		}
		l.more(t, 200)
	}
	l.end()
	equalDigests(t, c)
	l.report(t, c.Proxy.Spec.Addr)
}

// TestFrozenPrimary: a primary that hangs is replaced, and acknowledges nothing when it wakes up.
func TestFrozenPrimary(t *testing.T) {
	c := testcluster.RunCluster(t, twoReplicas)
	l := startLoad(c.Proxy.Spec.Addr)
	l.more(t, 200)
	old := primary(t, c)
	direct, err := old.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if _, err := direct.Must("SET", "direct", "before"); err != nil {
		t.Fatal(err)
	}
	if err := old.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// A node that does not answer is no candidate for c.Primary: ask the others.
	isOld := func(p *testcluster.Process) bool { return p == old }
	rest := &testcluster.Cluster{Nodes: slices.DeleteFunc(slices.Clone(c.Nodes), isOld)}
	newPrimary(t, rest, old)
	l.more(t, 100)
	// This write waits in the socket of the frozen process and is the first thing that it sees.
	if err := direct.Send("SET", "direct", "stale"); err != nil {
		t.Fatal(err)
	}
	if err := old.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	switch v, err := direct.Read(); {
	case err == nil && !v.IsError():
		t.Errorf("the old primary acknowledged a write after it was replaced: %v", v)
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.Errorf("the old primary left a write without an answer: %v", err)
	default:
		t.Logf("the old primary answered the late write: %v %v", v, err)
	}
	l.more(t, 100)
	l.end()
	equalDigests(t, c)
	l.report(t, c.Proxy.Spec.Addr)
}

// TestSwitchover: a planned hand-over under load; no client sees an error.
func TestSwitchover(t *testing.T) {
	c := testcluster.RunCluster(t, testcluster.ClusterOptions{Replicas: 2})
	l := startLoad(c.Proxy.Spec.Addr)
	for range 3 {
		l.more(t, 200)
		old := primary(t, c)
		if _, err := c.Ctl("switchover", "s1"); err != nil {
			t.Fatal(err)
		}
		newPrimary(t, c, old)
	}
	l.more(t, 200)
	l.end()
	equalDigests(t, c)
	l.report(t, c.Proxy.Spec.Addr)
	if len(l.mu.errors) > 0 {
		t.Errorf("%d errors during planned hand-overs, such as %v", len(l.mu.errors), l.mu.errors[0])
	}
}

// TestDeadDashboard: without its dashboard the cluster goes on serving, and fails over once it is back.
func TestDeadDashboard(t *testing.T) {
	c := testcluster.RunCluster(t, twoReplicas)
	l := startLoad(c.Proxy.Spec.Addr)
	l.more(t, 100)
	if err := c.Dashboard.Kill(); err != nil {
		t.Fatal(err)
	}
	// Three leases long: what an outage must not end is over by then if it ends.
	<-time.After(3 * time.Second)
	l.more(t, 500)
	if n := len(l.mu.errors); n > 0 {
		t.Errorf("%d errors while only the dashboard was dead, such as %v", n, l.mu.errors[0])
	}
	if err := c.Dashboard.Start(); err != nil {
		t.Fatal(err)
	}
	old := primary(t, c)
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	newPrimary(t, c, old)
	if err := old.Start(); err != nil {
		t.Fatal(err)
	}
	l.more(t, 100)
	l.end()
	equalDigests(t, c)
	l.report(t, c.Proxy.Spec.Addr)
}

// TestRestartOfEverything: all processes end by SIGTERM and come back; nothing is lost and one node is primary.
func TestRestartOfEverything(t *testing.T) {
	c := testcluster.RunCluster(t, testcluster.ClusterOptions{Replicas: 1})
	l := startLoad(c.Proxy.Spec.Addr)
	l.more(t, 300)
	l.end()
	all := append([]*testcluster.Process{c.Proxy, c.Dashboard}, c.Nodes...)
	for _, p := range all {
		if err := p.Terminate(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Reverse(all)
	for _, p := range all {
		if err := p.StartOnly(); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range all {
		if err := p.WaitReady(settling); err != nil {
			t.Fatal(err)
		}
	}
	testcluster.Eventually(t, settling, func() error { _, err := c.Primary(); return err })
	equalDigests(t, c)
	l.report(t, c.Proxy.Spec.Addr)
}
