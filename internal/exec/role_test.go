package exec

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/disk"
	"haypile/internal/option"
	"haypile/internal/replog"
	"haypile/internal/resp"
)

// TestRoleChangeUnderLoad: what a client was told to be written stands in the log of the reign in which it
// was written; after the change everything is refused, and nothing more is appended.
func TestRoleChangeUnderLoad(t *testing.T) {
	g := newGate(t, gateOptions{})
	for range 10 {
		var acked, refused [4]int
		var wg sync.WaitGroup
		var going atomic.Int64
		for i := range acked {
			c := g.client()
			wg.Go(func() {
				defer c.Close()
				for n := 1; ; n++ {
					got := c.batch(fmt.Sprintf("SET w%d %d", i, n), "SET x 1")
					switch got[0] {
					case "OK":
						acked[i] = n
						going.Add(1)
					case "-" + resp.ErrReadOnly:
						refused[i]++
						if got[1] != got[0] || c.do("MULTI") != "OK" || c.do("SET a 1")[0] != '-' {
							t.Errorf("after a refusal: %q", got)
						}
						return
					default:
						t.Errorf("%q", got)
						return
					}
				}
			})
		}
		eventually(t, "writes", func() bool { return going.Load() > 40 || t.Failed() })
		g.follow()
		end := g.log.End()
		wg.Wait()
		if g.log.End() != end {
			t.Fatalf("the log went on from %d to %d", end, g.log.End())
		}
		r := g.client()
		for i, n := range acked {
			if n > 0 {
				r.want(fmt.Sprint(n), fmt.Sprintf("GET w%d", i))
			}
			if refused[i] != 1 {
				t.Errorf("client %d was refused %d times", i, refused[i])
			}
		}
		g.lead()
	}
}

// TestQueuedBeforeRoleChange: a transaction queued as a primary does not run on a replica.
func TestQueuedBeforeRoleChange(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	c.batch("MULTI", "SET a 1")
	g.follow()
	if got := c.do("EXEC"); !strings.HasPrefix(got, "-EXECABORT") || !strings.Contains(got, "read only replica") {
		t.Errorf("EXEC on a replica: %q", got)
	}
	c.want("nil", "GET a")
	c.batch("MULTI", "GET a", "PUBLISH a b")
	c.want("[nil 0]", "EXEC") // a replica's readers and publishers may use MULTI
}

// TestPark: once ParkFor has told where the log ends nothing is written behind it, whatever was on its way.
func TestPark(t *testing.T) {
	g := newGate(t, gateOptions{})
	var stop atomic.Bool
	var wg sync.WaitGroup
	lines := [][]string{{"SET a 1"}, {"GET a", "SET b 1", "SET c 2"}, {"MULTI", "SET d 1", "EXEC"}, {"FLUSHDB"},
		{"MULTI", "SET d 1", "FLUSHDB", "EXEC"}, {"SET e 1 PX 1"}}
	var writers []*client
	for _, l := range lines {
		c := g.client()
		writers = append(writers, c)
		wg.Go(func() {
			defer c.Close()
			for !stop.Load() {
				if got := c.batch(l...); strings.HasPrefix(got[len(got)-1], "-") {
					t.Errorf("%q: %q", l, got)
				}
			}
		})
	}
	cron := g.client()
	wg.Go(func() {
		for !stop.Load() {
			if _, err := g.x.Expire(context.Background(), cron.Session, 10); err != nil {
				t.Error(err)
			}
		}
	})
	reader := g.client()
	for range 60 {
		end := g.x.ParkFor(time.Minute)
		reader.do("GET a") // reads go on
		eventually(t, "every writer waits", func() bool {
			return !slices.ContainsFunc(writers, func(c *client) bool { return !c.Client.Blocked.Load() })
		})
		if now := g.log.End(); now != end {
			t.Fatalf("parked at %d, but the log ends at %d", end, now)
		}
		g.x.Unpark()
		eventually(t, "writes go on", func() bool { return g.log.End() != end })
	}
	stop.Store(true)
	within(t, "writers", wg.Wait)
}

// TestParkMeetsAWriter: a write that was let through before the park, and waits for the latch meanwhile, is
// held back too.
func TestParkMeetsAWriter(t *testing.T) {
	var seen atomic.Int64
	g := newGate(t, gateOptions{
		config: map[option.Option]string{option.MinReplicasToWrite: "1"},
		exec: func(o *Options) {
			o.Online = func() int { seen.Add(1); return 1 } // asked when a write is admitted
		}})
	for _, lines := range [][]string{{"SET a 1"}, {"FLUSHALL"}, {"MULTI", "SET a 1", "EXEC"}} {
		c := g.client()
		done := make(chan []string, 1)
		var end replog.Offset
		_ = g.x.Exclusive(func() error {
			seen.Store(0)
			go func() { done <- c.batch(lines...) }()
			eventually(t, "the write", func() bool { return seen.Load() > 0 })
			<-time.After(5 * time.Millisecond) // it has reached the latch
			g.x.pause.set(func() { g.x.pause.mu.parked = time.Now().Add(time.Minute) })
			end = g.log.End()
			return nil
		})
		eventually(t, "it is held back", func() bool { return c.Client.Blocked.Load() || g.log.End() != end })
		if now := g.log.End(); now != end {
			t.Errorf("%q: parked at %d, but the log ends at %d", lines, end, now)
		}
		g.x.Unpark()
		if got := <-done; strings.HasPrefix(got[len(got)-1], "-") {
			t.Errorf("%q: %q", lines, got)
		}
	}
}

// TestKilledWhileParked: a write whose connection ends while it is held back is not executed.
func TestKilledWhileParked(t *testing.T) {
	g := newGate(t, gateOptions{})
	end := g.x.ParkFor(time.Minute)
	for _, lines := range [][]string{{"SET a 1"}, {"MULTI", "SET a 1", "EXEC"}, {"FLUSHALL"}} {
		c := g.client()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, l := range lines {
				c.Do(words(l))
			}
			c.Close()
		}()
		eventually(t, "it waits", func() bool { return c.Client.Blocked.Load() })
		c.cancel()
		within(t, "the killed connection", func() { <-done })
		if g.log.End() != end || !c.Client.Close {
			t.Errorf("%q: the log went on from %d to %d", lines, end, g.log.End())
		}
	}
}

// TestPause: CLIENT PAUSE holds back writes, or everything, for its time; what waited begins afterwards.
func TestPause(t *testing.T) {
	g := newGate(t, gateOptions{})
	c, admin := g.client(), g.client()
	admin.want("OK", "CLIENT PAUSE 60000 WRITE")
	c.want("nil", "GET a")
	done := make(chan string, 2)
	go func() { done <- c.do("SET a 1 PX 60000") }()
	eventually(t, "the write waits", func() bool { return c.Client.Blocked.Load() })
	admin.want("OK", "CLIENT PAUSE 60000 ALL")
	r := g.client()
	go func() { done <- r.do("GET b") }()
	eventually(t, "the read waits", func() bool { return r.Client.Blocked.Load() })
	admin.want("OK", "CLIENT UNPAUSE")
	for range 2 {
		if got := <-done; got != "OK" && got != "nil" {
			t.Errorf("%q", got)
		}
	}
	admin.want("OK", "CLIENT PAUSE 30 WRITE")
	began := time.Now()
	// Its deadline counts from when it runs, and its reply may be hidden though earlier ones were sent.
	if got := c.batch("SET a 1 PX 1000", "CLIENT REPLY SKIP", "SET b 1", "PTTL a"); len(got) != 2 || got[1] < "9" && len(got[1]) < 4 {
		t.Errorf("%q", got)
	}
	if d := time.Since(began); d < 20*time.Millisecond {
		t.Errorf("paused for %v only", d)
	}
}

// TestLeaseEnds: a primary whose lease ended writes nothing; and when it ended during the wait for
// durability the reply is an error that does not promise that nothing happened.
func TestLeaseEnds(t *testing.T) {
	g := newGate(t, gateOptions{fsync: "always"})
	c := g.client()
	g.x.SetLease(time.Now().Add(time.Hour))
	c.want("OK", "SET a 1")
	g.x.SetLease(time.Now().Add(-time.Second))
	end := g.log.End()
	c.want("-"+resp.ErrLeaseLost, "SET a 2")
	c.want("-"+resp.ErrLeaseLost, "FLUSHALL")
	c.want("1", "GET a")
	if n, err := g.x.Expire(context.Background(), c.Session, 10); n != 0 || err != nil {
		t.Errorf("expiry without a lease: %d, %v", n, err)
	}
	if _, err := g.x.AppendRaw([]byte("*1\r\n$4\r\nPING\r\n")); err == nil {
		t.Error("PING was appended without a lease")
	}
	// Admitted under the lease, committed after it.
	g.x.SetLease(time.Now().Add(time.Hour))
	c.Do(words("SET a 3"))
	g.x.SetLease(time.Now().Add(-time.Second))
	_ = c.Flush()
	if got := c.replies(); got[0] != "-"+resp.ErrLeaseLost || g.log.End() != end {
		t.Errorf("%q, log %d to %d", got, end, g.log.End())
	}
	c.want("1", "GET a")
	// It ends while the log is being synced.
	g.x.SetLease(time.Now().Add(time.Hour))
	g.faults.Before(func(op disk.Op, _ string) error {
		if op == disk.OpSync {
			g.x.SetLease(time.Now().Add(-time.Second))
		}
		return nil
	})
	if got := c.do("SET a 4"); got != "-"+string(errLeaseAfter) {
		t.Errorf("%q", got)
	}
	c.want("4", "GET a")
	g.faults.Before(nil)
	g.x.SetLease(time.Time{})
	c.want("OK", "SET a 5")
}

// TestRoleChangesDuringTheWait: a write whose primary was demoted while it waited for durability is not
// acknowledged, whatever the log holds at its offset by then.
func TestRoleChangesDuringTheWait(t *testing.T) {
	g := newGate(t, gateOptions{fsync: "always"})
	c := g.client()
	c.want("OK", "SET a 1")
	g.faults.Before(func(op disk.Op, _ string) error {
		if op == disk.OpSync {
			g.faults.Before(nil)
			g.follow()
		}
		return nil
	})
	if got := c.batch("SET a 2", "GET a"); got[0] != "-"+string(errRoleAfter) || got[1] != "2" {
		t.Errorf("%q", got)
	}
	g.lead()
	c.want("OK", "SET a 3")
	// A rewind has cut the log below the offset that the reply waits for: that is no failure of the log.
	c.Do(words("SET a 4"))
	c.commitOpen()
	g.follow()
	if err := g.log.Truncate(g.log.End()-1, ""); err != nil {
		t.Fatal(err)
	}
	_ = c.Flush()
	if got := c.replies(); got[0] != "-"+string(errRoleAfter) || g.x.Failed() != nil {
		t.Errorf("%q, failed %v", got, g.x.Failed())
	}
}

// TestSyncReplicas: a write waits for the replicas once per flush of replies; without enough of them it is
// refused before, and without their word it is an error that says what happened.
func TestSyncReplicas(t *testing.T) {
	var online, waits atomic.Int64
	have := make(chan int, 10)
	g := newGate(t, gateOptions{
		config: map[option.Option]string{option.SyncReplicas: "2", option.SyncReplicasTimeout: "20000"},
		exec: func(o *Options) {
			o.Online = func() int { return int(online.Load()) }
			o.WaitAcked = func(ctx context.Context, end replog.Offset, n int) int {
				waits.Add(1)
				if _, ok := ctx.Deadline(); !ok || n != 2 {
					t.Errorf("waiting for %d without a deadline", n)
				}
				return <-have
			}
		}})
	c := g.client()
	online.Store(1)
	c.want("-"+resp.ErrNoReplicas, "SET a 1")
	c.want("nil", "GET a")
	online.Store(2)
	have <- 2
	if got := c.batch("SET a 1", "INCR a", "GET a", "SET b 1"); strings.Join(got, " ") != "OK 2 2 OK" || waits.Load() != 1 {
		t.Errorf("%q after %d waits", got, waits.Load())
	}
	have <- 1
	if got := c.batch("GET a", "INCR a", "GET a", "MULTI", "INCR a", "EXEC"); strings.Join(got, "|") !=
		"2|-NOTCONFIRMED The command was executed here but confirmed by 1 of 2 replicas only.|3|OK|QUEUED|"+
			"-NOTCONFIRMED The command was executed here but confirmed by 1 of 2 replicas only." {
		t.Errorf("%q", got)
	}
	c.want("4", "GET a") // applied
	// What changes nothing promises what it saw.
	have <- 0
	if got := c.do("SETNX a 9"); !strings.HasPrefix(got, "-NOTCONFIRMED") {
		t.Errorf("%q", got)
	}
	have <- 0
	if got := c.batch("MULTI", "SETNX a 9", "EXEC"); !strings.HasPrefix(got[2], "-NOTCONFIRMED") {
		t.Errorf("%q", got)
	}
	waits.Store(0)
	c.want("0", "PUBLISH a b") // a message promises nothing
	c.batch("MULTI", "GET a", "EXEC")
	if waits.Load() != 0 {
		t.Error("readers waited")
	}
}

// TestAwaitConfirmed: a planned change of the role waits for the replies that wait for replicas, and no longer
// than it was told to.
func TestAwaitConfirmed(t *testing.T) {
	g := newGate(t, gateOptions{
		config: map[option.Option]string{option.SyncReplicas: "1"},
		exec: func(o *Options) {
			o.Online = func() int { return 1 }
			o.WaitAcked = func(context.Context, replog.Offset, int) int { return 1 }
		}})
	c := g.client()
	c.want("OK", "SET a 1")
	g.x.AwaitConfirmed(t.Context()) // at once
	c.Do(words("SET a 2"))
	c.commitOpen()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	g.x.AwaitConfirmed(short)
	if short.Err() == nil {
		t.Fatal("a write waits for its replica, and it did not wait for that")
	}
	_ = c.Flush()
	g.x.AwaitConfirmed(t.Context())
	if got := c.replies(); len(got) != 1 || got[0] != "OK" {
		t.Errorf("%q", got)
	}
}

// TestDatabaseAtTheEnd: a reign that wrote nothing, or only what changes no database, leaves it known which one is selected
// at the log's end: a follower goes on from there, in the middle of another's stream.
func TestDatabaseAtTheEnd(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	c.batch("SELECT 2", "SET k 1")
	for _, during := range []func(){
		func() {},
		func() { c.want("nil", "GET none") },
		func() { c.want("0", "DEL none") },
	} {
		g.follow()
		g.lead()
		during()
		g.follow()
		if db := g.x.LogDB(); db != 2 {
			t.Errorf("database %d is selected at the log's end, want 2", db)
		}
		if db := g.store.AppliedDB(); db != 2 {
			t.Errorf("the store says %d, want 2", db)
		}
	}
	g.lead()
	at := g.log.End()
	c.want("2", "INCR k")
	if got := g.logged(at); got != "SELECT 2, INCR k" {
		t.Errorf("the first frame of a reign: %s", got)
	}
}
