package crash

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/testcluster"
	"haypile/internal/testcluster/wire"
)

var (
	kills  = flag.Int("kills", 3, "how often the server is killed under load")
	server = flag.String("server", "haypile", "what is killed: haypile, or redis (a check of this test itself)")
	seed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the load and of the moments")
)

func TestMain(m *testing.M) { testcluster.Main(m) }

const writerCount = 8

// TestKill: 8 writers under `appendfsync always`, kill -9 at a random moment, restart, compare, again. Every
// third time a second restart without writes must find the same digest.
func TestKill(t *testing.T) {
	t.Logf("seed %d", *seed)
	p := start(t, *server)
	f := newFleet(*seed)
	rng := rand.New(rand.NewPCG(*seed, 99))
	var recoveries []time.Duration
	for round := range *kills {
		recovery := f.round(t, p, time.Duration(20+rng.IntN(400))*time.Millisecond)
		recoveries = append(recoveries, recovery)
		late, err := verify(p, f.writers, f.counters)
		if err != nil {
			t.Fatalf("round %d, seed %d: %v\n%s", round+1, *seed, err, p.LogTail())
		}
		t.Logf("round %d: recovered in %v, %d batches acknowledged so far, %d unacknowledged operations had happened",
			round+1, recovery.Round(time.Millisecond), f.acknowledged(), late)
		if round%3 == 2 || round == *kills-1 {
			stableDigest(t, p, round%2 == 0)
		}
	}
	slices.Sort(recoveries)
	t.Logf("recovery: median %v, longest %v", recoveries[len(recoveries)/2].Round(time.Millisecond),
		recoveries[len(recoveries)-1].Round(time.Millisecond))
}

// TestHarnessSeesLoss: a server that keeps nothing across a kill is found out.
func TestHarnessSeesLoss(t *testing.T) {
	p := testcluster.RunRedis(t)
	f := newFleet(*seed)
	f.round(t, p, 100*time.Millisecond)
	if _, err := verify(p, f.writers, f.counters); err == nil {
		t.Fatal("a server that lost everything passed")
	}
}

// TestReconcile: the model accepts exactly the prefixes of what was in flight.
func TestReconcile(t *testing.T) {
	set := func(k, v string) op { return one(func(s state) { s[k] = value{str: v} }, "SET", k, v) }
	make3 := func() *writer {
		w := newWriter(0, 1)
		w.model = state{"a": {str: "1"}}
		w.pending = []op{set("b", "1"), set("a", "2"), set("c", "1")}
		return w
	}
	for _, c := range []struct {
		got  state
		want int // -1: refused
	}{
		{state{"a": {str: "1"}}, 0},
		{state{"a": {str: "1"}, "b": {str: "1"}}, 1},
		{state{"a": {str: "2"}, "b": {str: "1"}}, 2},
		{state{"a": {str: "2"}, "b": {str: "1"}, "c": {str: "1"}}, 3},
		{state{"a": {str: "2"}}, -1},
		{state{}, -1},
		{state{"a": {str: "1", pxat: 5}}, -1},
		{state{"a": {hash: map[string]string{}}}, -1},
		{state{"a": {str: "1"}, "c": {str: "1"}}, -1},
	} {
		n, err := make3().reconcile(c.got)
		if err != nil {
			n = -1
		}
		if n != c.want {
			t.Errorf("%v: prefix %d, want %d", c.got, n, c.want)
		}
	}
}

func start(t *testing.T, kind string) *testcluster.Process {
	t.Helper()
	switch kind {
	case "redis":
		return testcluster.RunRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	case "haypile":
		return testcluster.RunServer(t, "--appendfsync", "always")
	}
	t.Fatalf("-server %q", kind)
	return nil
}

type fleet struct {
	writers  []*writer
	counters []*counter
	batches  atomic.Int64 // acknowledged, of all writers
}

// minBatches is the least that a round writes, however slow the machine.
const minBatches = 2 * writerCount

func newFleet(seed uint64) *fleet {
	f := &fleet{}
	for i := range writerCount {
		f.writers = append(f.writers, newWriter(i, seed))
		f.counters = append(f.counters, &counter{all: &f.batches})
	}
	return f
}

func (f *fleet) acknowledged() int {
	n := 0
	for _, c := range f.counters {
		n += c.acknowledged
	}
	return n
}

// round loads the server, kills it after d or a little later, starts it again and returns how long that took.
func (f *fleet) round(t *testing.T, p *testcluster.Process, d time.Duration) time.Duration {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, len(f.writers))
	for i, w := range f.writers {
		wg.Go(func() { errs[i] = w.load(p.Spec.Addr, f.counters[i]) })
	}
	goal := f.batches.Load() + minBatches
	<-time.After(d)
	testcluster.Eventually(t, time.Minute, func() error {
		if n := f.batches.Load(); n < goal {
			return fmt.Errorf("%d batches acknowledged, waiting for %d", n, goal)
		}
		return nil
	})
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatalf("under load: %v\n%s", err, p.LogTail())
		}
	}
	begin := time.Now()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return time.Since(begin)
}

// stableDigest restarts an idle server, by kill -9 or in order, and compares the digests.
func stableDigest(t *testing.T, p *testcluster.Process, kill bool) {
	t.Helper()
	before := digest(t, p)
	stop := p.Terminate
	if kill {
		stop = p.Kill
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if after := digest(t, p); after != before || strings.Trim(after, "0 ") == "" {
		t.Fatalf("DEBUG DIGEST and DBSIZE: %s before the restart, %s after it", before, after)
	}
}

func digest(t *testing.T, p *testcluster.Process) string {
	t.Helper()
	c, err := wire.Dial(p.Spec.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d, err := c.Must("DEBUG", "DIGEST")
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.Must("DBSIZE")
	if err != nil {
		t.Fatal(err)
	}
	return d.Str + " " + n.String()
}
