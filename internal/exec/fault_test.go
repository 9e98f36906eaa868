package exec

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"haypile/internal/disk"
	"haypile/internal/option"
	"haypile/internal/replog"
	"haypile/internal/storage"
)

// TestNoRoomForTheLog: a write that the disk has no room for is refused and leaves nothing, reads go on, and
// so do writes once there is room again.
func TestNoRoomForTheLog(t *testing.T) {
	for _, fsync := range []string{"always", "everysec"} {
		g := newGate(t, gateOptions{fsync: fsync})
		c := g.client()
		c.want("OK", "SET a 1")
		c.want("1", "HSET h f v")
		end := g.log.End()
		g.faults.Limit(20)
		const full = "-MISCONF No space left on device: the write was refused"
		got := c.batch("SET a 2", "GET a", "HSET h g w", "HLEN h", "SELECT 1", "DBSIZE")
		if got[0] != full || got[2] != full || got[4] != "OK" || got[5] != "0" {
			t.Errorf("%q", got)
		}
		// What readers of the same pipeline saw of it never was.
		if got[1] != full || got[3] != full {
			t.Errorf("reads of what was not written: %q", got)
		}
		if got := c.batch("SELECT 0", "MULTI", "INCR a", "DEL h", "EXEC", "FLUSHALL", "PUBLISH a b"); got[4] != full ||
			got[5] != full || got[6] != full {
			t.Errorf("%q", got)
		}
		if got := strings.Join(c.batch("GET a", "HLEN h", "DBSIZE"), " "); got != "1 1 2" || g.log.End() != end {
			t.Errorf("%q, the log went on from %d to %d", got, end, g.log.End())
		}
		if g.x.Failed() != nil {
			t.Error("a full disk is no failure of the log")
		}
		g.faults.Limit(-1)
		if got := strings.Join(c.batch("INCR a", "SELECT 1", "SET a 5", "GET a"), " "); got != "2 OK OK 5" {
			t.Errorf("with room again: %q", got)
		}
		ref := newReplayed(t, g)
		if d := g.must().differs(ref.must()); d != "" {
			t.Error(d)
		}
		g.close()
		ref.close()
	}
}

// TestDiskNearlyFull: commands that may grow the data set are refused, others are not.
func TestDiskNearlyFull(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	c.batch("SET a 1", "SET b 2")
	g.x.SetDiskFull(true)
	c.want("-"+string(errDiskFull), "SET a 2")
	c.want("1", "DEL b")
	if got := c.batch("MULTI", "SET a 2", "EXEC"); got[1] != "-"+string(errDiskFull) || !strings.HasPrefix(got[2], "-EXECABORT") {
		t.Errorf("%q", got)
	}
	c.want("1", "GET a")
	g.x.SetDiskFull(false)
	c.want("OK", "SET a 2")
}

// TestFailedSync: after a failed fsync nobody is told that a write is durable, and nothing more is written.
func TestFailedSync(t *testing.T) {
	g := newGate(t, gateOptions{fsync: "always"})
	var wg sync.WaitGroup
	var going atomic.Int64
	var acked [4]int64
	for i := range acked {
		c := g.client()
		wg.Go(func() {
			defer c.Close()
			for n := int64(1); ; n++ {
				got := append(c.batch(fmt.Sprintf("SET w%d %d", i, n)), c.do("GET none"))
				if got[1] != "nil" {
					t.Errorf("a read failed: %q", got)
				}
				if strings.HasPrefix(got[0], "-MISCONF") {
					for range 3 {
						if again := c.batch("SET other 1", "MULTI", "DEL a", "EXEC"); again[0][0] != '-' || again[3][0] != '-' {
							t.Errorf("after a failed sync: %q", again)
						}
					}
					return
				}
				acked[i] = n
				going.Add(1)
			}
		})
	}
	eventually(t, "writes", func() bool { return going.Load() > 50 })
	g.faults.Fail(disk.OpSync, 0, errors.New("the disk is gone"))
	within(t, "writers", wg.Wait)
	if g.x.Failed() == nil {
		t.Error("the failure is not known")
	}
	// What was acknowledged had been synced before.
	mem := g.mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)
	g.close()
	again, err := openGate(t, mem, gateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := again.client()
	again.lead()
	for i, n := range acked {
		var have int64
		if _, err := fmt.Sscan(c.do(fmt.Sprintf("GET w%d", i)), &have); n > 0 && (err != nil || have < n) {
			t.Errorf("client %d: %d acknowledged, %d there", i, n, have)
		}
	}
}

// TestFailedWrite: a write error other than a full disk ends the log, not the reading.
func TestFailedWrite(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	c.want("OK", "SET a 1")
	g.faults.Fail(disk.OpWrite, 0, errors.New("the disk is gone"))
	for range 2 {
		if got := c.do("SET a 2"); !strings.HasPrefix(got, "-MISCONF ") {
			t.Errorf("%q", got)
		}
	}
	c.want("1", "GET a")
}

// TestEngineNeverAhead: a flush makes the engine durable only up to what the log has made durable before.
// Without the hook it is ahead after a loss of power, which recovery refuses: the test can fail.
func TestEngineNeverAhead(t *testing.T) {
	for _, unordered := range []bool{false, true} {
		var ahead, progress int
		for seed := range uint64(6) {
			g := newGate(t, gateOptions{fsync: "everysec", unordered: unordered})
			c := g.client()
			var flushing sync.WaitGroup
			for i := range 40 {
				c.batch(fmt.Sprintf("SET k%d v", i), "HSET h f v g w", "DEL k1")
				if i%10 == 9 {
					flushing.Go(func() {
						if err := errors.Join(g.store.Drain(), g.engine.Flush()); err != nil {
							t.Error(err)
						}
					})
				}
			}
			flushing.Wait()
			clone := g.mem.CrashClone(rand.New(rand.NewPCG(seed, 1)), 0)
			g.close()
			got, err := openGate(t, clone, gateOptions{})
			switch {
			case err != nil:
				ahead++
				if !unordered {
					t.Errorf("seed %d: %v", seed, err)
				}
			default:
				if got.must().offset > 100 {
					progress++
				}
				got.close()
			}
		}
		if !unordered && progress == 0 {
			t.Error("no flush became durable: the test did not meet what it is about")
		}
		if unordered && ahead == 0 {
			t.Error("the engine was never ahead without the hook: the test cannot fail")
		}
	}
}

// TestApplierErrors: after a command of the stream that can't be executed, in a batch, in a transaction or
// beside commands that need the latch alone, no lock is left, and the engine stands at a whole unit.
func TestApplierErrors(t *testing.T) {
	unit := func(end int, lines ...string) Unit {
		u := Unit{End: replog.Offset(end)}
		for _, l := range lines {
			u.Commands = append(u.Commands, StreamCommand{DB: 0, Args: words(l)})
		}
		return u
	}
	cases := []struct {
		name  string
		units []Unit
		at    int64
		keys  int64
	}{
		{"alone", []Unit{unit(110, "NOSUCH a")}, 100, 0},
		{"in a batch", []Unit{unit(110, "SET a 1"), unit(120, "INCRBY a x")}, 100, 0},
		{"behind an exclusive one", []Unit{unit(110, "SET a 1"), unit(115, "FLUSHDB"), unit(120, "SET b 1"),
			unit(130, "SET a")}, 115, 0},
		{"inside an exclusive one", []Unit{unit(110, "SET a 1"), unit(120, "SET b 1", "FLUSHDB", "HSET b f")}, 110, 1},
		{"two exclusive ones", []Unit{unit(110, "FLUSHDB"), unit(120, "SWAPDB 0 77")}, 110, 0},
		{"first is exclusive", []Unit{unit(120, "SWAPDB 0 x")}, 100, 0},
	}
	for _, x := range cases {
		g, err := openGate(t, storage.NewMem(), gateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.x.NewApplier().Apply(x.units); !errors.Is(err, ErrApply) {
			t.Errorf("%s: %v", x.name, err)
		}
		if at := g.store.Applied(); at != x.at {
			t.Errorf("%s: the engine is at %d, want %d", x.name, at, x.at)
		}
		if n, _ := g.store.Counts(0); n != x.keys {
			t.Errorf("%s: %d keys, want %d", x.name, n, x.keys)
		}
		if !g.x.latch.TryLock() {
			t.Errorf("%s: the latch is held", x.name)
		} else {
			g.x.latch.Unlock()
		}
		// The locks are free: what comes after works, and with a judge that goes on so does the batch.
		a := g.x.NewApplier()
		errs := 0
		a.OnError = func([][]byte, error) error { errs++; return nil }
		within(t, x.name, func() {
			if err := a.Apply(append(x.units, unit(200, "SET a 1", "SET b 1"))); err != nil || errs != 1 {
				t.Errorf("%s: going on: %v after %d errors", x.name, err, errs)
			}
		})
		if at := g.store.Applied(); at != 200 {
			t.Errorf("%s: the engine is at %d, want 200", x.name, at)
		}
		g.must()
		g.close()
	}
}

// TestApplierBesideReaders: a replica's readers see transactions whole, whatever batches the stream comes in.
func TestApplierBesideReaders(t *testing.T) {
	g := newGate(t, gateOptions{config: map[option.Option]string{option.AppendFsync: "no"}})
	g.follow()
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		c := g.client()
		wg.Go(func() {
			defer c.Close()
			for !stop.Load() {
				for _, l := range []string{"MGET x y", "PUBLISH a b", "MGET y x"} {
					got := strings.Fields(strings.Trim(c.do(l), "[]"))
					if len(got) == 2 && got[0] != got[1] {
						t.Errorf("%s: saw %q", l, got)
						return
					}
				}
			}
		})
	}
	a := g.x.NewApplier()
	at := replog.Offset(1000)
	for i := range 300 {
		var units []Unit
		for j := range 1 + i%7 {
			u := Unit{End: at}
			v := fmt.Sprintf("%d-%d", i, j)
			for _, l := range []string{"SET x " + v, "SET z " + v, "SET y " + v} {
				u.Commands = append(u.Commands, StreamCommand{Args: words(l)})
			}
			if units = append(units, u); i%20 == 0 {
				units = append(units, Unit{End: at + 1, Commands: []StreamCommand{{Args: words("FLUSHDB")}}})
			}
			at += 10
		}
		if err := a.Apply(units); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	within(t, "readers", wg.Wait)
	g.must()
}
