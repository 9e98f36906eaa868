package replica

import (
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"haypile/internal/testcluster"
	"haypile/internal/testcluster/wire"
)

var (
	rounds = flag.Int("rounds", 7, "how often something happens to the pair under load")
	seed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the load")
)

func TestMain(m *testing.M) { testcluster.Main(m) }

const settling = 60 * time.Second

// pair starts a primary and a replica of it.
func pair(t *testing.T, args ...string) (primary, replica *testcluster.Process) {
	t.Helper()
	primary = testcluster.RunServer(t, args...)
	host, port, err := net.SplitHostPort(primary.Spec.Addr)
	if err != nil {
		t.Fatal(err)
	}
	replica = testcluster.RunServer(t, append(slices.Clone(args), "--replicaof", host+" "+port)...)
	linked(t, replica)
	return primary, replica
}

// linked waits until the replica has the stream.
func linked(t *testing.T, replica *testcluster.Process) {
	t.Helper()
	testcluster.Eventually(t, settling, func() error {
		if text := ask(replica, "INFO", "replication"); !strings.Contains(text, "master_link_status:up") {
			return fmt.Errorf("not linked: %s", text)
		}
		return nil
	})
}

// ask sends one command on a connection of its own and returns the reply as a text, or the error.
func ask(p *testcluster.Process, args ...string) string {
	return askIn(p, 0, args...)
}

func askIn(p *testcluster.Process, db int, args ...string) string {
	c, err := p.Dial()
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	if _, err := c.Must("SELECT", fmt.Sprint(db)); err != nil {
		return err.Error()
	}
	v, err := c.Do(args...)
	if err != nil {
		return err.Error()
	}
	return v.String()
}

// seen is when a consumer was seen, which is no part of the data.
var seen = regexp.MustCompile(`(seen|active)-time -?\d+`)

// contents is what both must agree on: the digest, the numbers of keys, the groups of streams, the libraries.
func contents(p *testcluster.Process) string {
	all := []string{ask(p, "DEBUG", "DIGEST"), ask(p, "FUNCTION", "LIST", "WITHCODE")}
	for db := range 3 {
		all = append(all, askIn(p, db, "DBSIZE"))
		for i := range 4 {
			text := askIn(p, db, "XINFO", "STREAM", fmt.Sprintf("x%d", i), "FULL")
			all = append(all, seen.ReplaceAllString(text, ""))
		}
	}
	return strings.Join(all, "\n")
}

// same waits until both hold the same.
func same(t *testing.T, primary, replica *testcluster.Process) {
	t.Helper()
	testcluster.Eventually(t, settling, func() error {
		a, b := contents(primary), contents(replica)
		if a == b {
			return nil
		}
		x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
		for i := range min(len(x), len(y)) {
			if x[i] != y[i] {
				return fmt.Errorf("the primary has\n%s\nand the replica\n%s", x[i], y[i])
			}
		}
		return fmt.Errorf("the primary has\n%s\nand the replica\n%s", a, b)
	})
}

// wipe makes the next start of a node that is down a first one.
func wipe(t *testing.T, p *testcluster.Process) {
	t.Helper()
	entries, err := os.ReadDir(p.Spec.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".log") || e.IsDir() {
			if err := os.RemoveAll(filepath.Join(p.Spec.Dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRandomCommands: commands of all types, scripts, functions and blocking pops at random on a primary, while its
// replica or the primary itself is killed, the link cut, the replica begun anew, or made a primary for a moment, in which
// it writes something of its own or nothing. At rest both hold the same, after each.
func TestRandomCommands(t *testing.T) {
	t.Logf("seed %d", *seed)
	primary, replica := pair(t, "--memtable-size", "1mb")
	happenings := []struct {
		what string
		do   func()
	}{
		{"the replica is killed", func() {
			must(t, replica.Kill())
			must(t, replica.Start())
		}},
		{"the replica begins anew", func() {
			must(t, replica.Kill())
			wipe(t, replica)
			must(t, replica.Start())
		}},
		{"the link is cut", func() {
			for range 3 {
				ask(primary, "CLIENT", "KILL", "TYPE", "replica")
				linked(t, replica)
			}
		}},
		{"the primary is killed", func() {
			must(t, primary.Kill())
			must(t, primary.Start())
		}},
		{"the replica leaves and comes back", func() {
			ask(replica, "REPLICAOF", "NO", "ONE")
			host, port, _ := net.SplitHostPort(primary.Spec.Addr)
			if got := ask(replica, "REPLICAOF", host, port); got != "OK" {
				t.Fatal(got)
			}
		}},
		{"the replica goes its own way and comes back", func() {
			ask(replica, "REPLICAOF", "NO", "ONE")
			for i := range 20 {
				if got := askIn(replica, i%3, "SET", "own", "way"); got != "OK" {
					t.Fatal(got)
				}
			}
			host, port, _ := net.SplitHostPort(primary.Spec.Addr)
			if got := ask(replica, "REPLICAOF", host, port); got != "OK" {
				t.Fatal(got)
			}
		}},
		{"the replica ends and comes back", func() {
			must(t, replica.Terminate())
			must(t, replica.Start())
		}},
	}
	for i := range *rounds {
		h := happenings[i%len(happenings)]
		l := startLoad(primary.Spec.Addr, *seed+uint64(i), 5)
		<-time.After(300 * time.Millisecond) // as much as comes
		h.do()
		linked(t, replica)
		<-time.After(200 * time.Millisecond)
		must(t, l.end())
		same(t, primary, replica)
		t.Logf("%s: %s", h.what, strings.ReplaceAll(ask(primary, "DBSIZE"), "\n", " "))
	}
	// The replica bears witness of what the primary held before it is killed at rest.
	must(t, primary.Kill())
	must(t, primary.Start())
	linked(t, replica)
	same(t, primary, replica)
}

// TestLibraries: libraries of functions survive a kill, are in a full sync and in the stream, and in a resync what was
// done to them meanwhile.
func TestLibraries(t *testing.T) {
	primary := testcluster.RunServer(t)
	lib := func(name, answer string) string {
		return "#!lua name=" + name + "\nredis.register_function{function_name='" + name + "', callback=function() return '" +
			answer + "' end, flags={'no-writes'}}"
	}
	want := func(p *testcluster.Process, want string, args ...string) {
		t.Helper()
		testcluster.Eventually(t, settling, func() error {
			if got := ask(p, args...); got != want {
				return fmt.Errorf("%s: %q: %q, want %q", p.Spec.Name, args, got, want)
			}
			return nil
		})
	}
	want(primary, "a", "FUNCTION", "LOAD", lib("a", "first"))
	want(primary, "b", "FUNCTION", "LOAD", lib("b", "second"))
	must(t, primary.Kill())
	must(t, primary.Start())
	want(primary, "first", "FCALL_RO", "a", "0")

	// a full sync
	host, port, _ := net.SplitHostPort(primary.Spec.Addr)
	replica := testcluster.RunServer(t, "--replicaof", host+" "+port)
	linked(t, replica)
	want(replica, "first", "FCALL_RO", "a", "0")
	want(replica, "second", "FCALL_RO", "b", "0")
	want(replica, "-READONLY You can't write against a read only replica.", "FUNCTION", "DELETE", "a")

	// the stream
	want(primary, "a", "FUNCTION", "LOAD", "REPLACE", lib("a", "third"))
	want(replica, "third", "FCALL_RO", "a", "0")
	c, err := primary.Dial()
	must(t, err)
	defer c.Close()
	dump, err := c.Must("FUNCTION", "DUMP")
	must(t, err)
	want(primary, "OK", "FUNCTION", "DELETE", "b")
	want(replica, "-ERR Function not found", "FCALL_RO", "b", "0")
	want(primary, "OK", "FUNCTION", "FLUSH")
	want(replica, "-ERR Function not found", "FCALL_RO", "a", "0")
	want(primary, "OK", "FUNCTION", "RESTORE", dump.Str)
	want(replica, "second", "FCALL_RO", "b", "0")

	// a partial resync, across a kill of the replica
	for _, step := range []struct {
		do   [][]string
		a, b string
	}{
		{[][]string{{"FUNCTION", "DELETE", "a"}}, "-ERR Function not found", "second"},
		{[][]string{{"FUNCTION", "FLUSH"}, {"FUNCTION", "LOAD", lib("a", "fourth")}}, "fourth", "-ERR Function not found"},
		{[][]string{{"FUNCTION", "RESTORE", dump.Str, "REPLACE"}, {"FLUSHALL"}}, "third", "second"},
		{[][]string{{"FUNCTION", "RESTORE", dump.Str, "FLUSH"}, {"FUNCTION", "FLUSH"}}, "-ERR Function not found",
			"-ERR Function not found"},
	} {
		must(t, replica.Kill())
		for _, args := range step.do {
			if got := ask(primary, args...); strings.HasPrefix(got, "-") {
				t.Fatalf("%q: %s", args, got)
			}
		}
		must(t, replica.Start())
		linked(t, replica)
		for _, p := range []*testcluster.Process{primary, replica} {
			want(p, step.a, "FCALL_RO", "a", "0")
			want(p, step.b, "FCALL_RO", "b", "0")
		}
		if a, b := ask(primary, "FUNCTION", "DUMP"), ask(replica, "FUNCTION", "DUMP"); a != b {
			t.Errorf("dumps %q and %q", a, b)
		}
	}
	if text := ask(primary, "INFO", "stats"); !strings.Contains(text, "sync_full:1\r\n") {
		t.Errorf("more full syncs than the first: %s", text)
	}

	// again a full sync, and then the replica alone
	want(primary, "b", "FUNCTION", "LOAD", lib("b", "last"))
	must(t, replica.Kill())
	wipe(t, replica)
	must(t, replica.Start())
	linked(t, replica)
	want(replica, "last", "FCALL_RO", "b", "0")
	want(replica, "OK", "REPLICAOF", "NO", "ONE")
	must(t, replica.Kill())
	must(t, replica.Start())
	want(replica, "last", "FCALL_RO", "b", "0")
}

// tracker is a client that caches what it reads.
type tracker struct {
	t *testing.T
	*wire.Conn
}

func track(t *testing.T, p *testcluster.Process, options ...string) tracker {
	t.Helper()
	c, err := p.Dial()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = c.Must("HELLO", "3")
	must(t, err)
	_, err = c.Must(append([]string{"CLIENT", "TRACKING", "ON"}, options...)...)
	must(t, err)
	return tracker{t, c}
}

// reads waits until the replica answers a key with a value, which the client then has in its cache. Invalidations that
// arrive meanwhile are of earlier values.
func (c tracker) reads(key, want string) {
	c.t.Helper()
	testcluster.Eventually(c.t, settling, func() error {
		must(c.t, c.Send("GET", key))
		for {
			v, err := c.Read()
			must(c.t, err)
			if v.Kind == wire.Push {
				continue
			}
			if v.Str != want {
				return fmt.Errorf("%s is %v, want %s", key, v, want)
			}
			return nil
		}
	})
}

// told waits for one invalidation: of a key, or of everything.
func (c tracker) told(want string) {
	c.t.Helper()
	v, err := c.Read()
	if err != nil {
		c.t.Fatalf("waiting for the end of %s: %v", want, err)
	}
	if got := v.String(); got != ">[invalidate "+want+"]" {
		c.t.Errorf("told %s, want %s", got, want)
	}
}

// TestTrackingOnReplica: what the stream changes on a replica ends what its clients have cached: commands, scripts,
// transactions, expiry, databases that are flushed or exchanged, and a full sync.
func TestTrackingOnReplica(t *testing.T) {
	primary, replica := pair(t)
	do := func(args ...string) {
		t.Helper()
		if got := ask(primary, args...); strings.HasPrefix(got, "-") {
			t.Fatalf("%q: %s", args, got)
		}
	}
	do("SET", "k", "0")
	c := track(t, replica)
	broad := track(t, replica, "BCAST", "PREFIX", "pre:")
	noLoop := track(t, replica, "NOLOOP")
	for i, args := range [][]string{
		{"SET", "k", "1"},
		{"EVAL", "redis.call('set', KEYS[1], 2) return redis.call('set', KEYS[2], 2)", "2", "k", "pre:x"},
		{"INCR", "k"},
		{"DEL", "k"},
	} {
		value := []string{"0", "1", "2", "3"}[i]
		c.reads("k", value)
		noLoop.reads("k", value)
		do(args...)
		c.told("*[k]")
		noLoop.told("*[k]")
	}
	broad.told("*[pre:x]")
	do("SET", "pre:y", "1")
	broad.told("*[pre:y]")

	// by time: the replica hides the key by itself, and the DEL of the primary ends what was cached
	do("SET", "k", "short", "PX", "1500")
	c.reads("k", "short")
	c.told("*[k]")
	do("SET", "pre:z", "short", "PX", "1")
	broad.told("*[pre:z]")
	broad.told("*[pre:z]")

	for i, args := range [][]string{{"FLUSHALL"}, {"FLUSHDB"}, {"SWAPDB", "0", "1"}} {
		do("SET", "k", fmt.Sprint("v", i))
		c.reads("k", fmt.Sprint("v", i))
		do(args...)
		c.told("(nil)")
	}

	// A full sync replaces everything.
	do("SET", "k", "before")
	c.reads("k", "before")
	host, port, _ := net.SplitHostPort(primary.Spec.Addr)
	other := testcluster.RunServer(t)
	if got := ask(other, "SET", "k", "other"); got != "OK" {
		t.Fatal(got)
	}
	otherHost, otherPort, _ := net.SplitHostPort(other.Spec.Addr)
	if got := ask(replica, "REPLICAOF", otherHost, otherPort); got != "OK" {
		t.Fatal(got)
	}
	c.told("(nil)")
	c.reads("k", "other")
	if got := ask(replica, "REPLICAOF", host, port); got != "OK" {
		t.Fatal(got)
	}
	c.told("(nil)")
	c.reads("k", "before")
}
