package replog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"

	"haypile/internal/disk"
)

const rescuePath = "/data/rescue/surplus"

func readRescue(t *testing.T, fsys disk.FS) (Rescue, []byte) {
	t.Helper()
	r, in, closer, err := ReadRescue(fsys, rescuePath)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return r, b
}

// cutLog makes a log of four segments with frames of 700 bytes, six of them in the newest and not synced.
func cutLog(t *testing.T, opt Options) *Log {
	t.Helper()
	l := mustCreate(t, opt, 50)
	r := l.BeginReign()
	for after := 0; after < 6; {
		if _, err := l.Append(r, 5, stream(l.End(), 700)); err != nil {
			t.Fatal(err)
		}
		if l.End()%3 == 0 {
			waitSealed(t, l)
		}
		if len(l.Segments()) == 4 {
			after++
		}
	}
	return l
}

func TestTruncate(t *testing.T) {
	probe := cutLog(t, testOptions(disk.NewMem()))
	segs := probe.Segments()
	last := segs[len(segs)-1]
	for name, pick := range map[string]func(l *Log) Offset{
		"at the end":           func(l *Log) Offset { return l.End() },
		"one byte":             func(l *Log) Offset { return l.End() - 1 },
		"between frames":       func(l *Log) Offset { return l.End() - 700 },
		"inside newest":        func(l *Log) Offset { return l.End() - 1000 },
		"at segment start":     func(l *Log) Offset { s := l.Segments(); return s[len(s)-1].Start },
		"behind segment start": func(l *Log) Offset { s := l.Segments(); return s[len(s)-1].Start + 1 },
		"inside sealed":        func(l *Log) Offset { return l.Segments()[1].Start + 1234 },
		"first frame":          func(l *Log) Offset { return l.Start() + 3 },
		"everything":           func(l *Log) Offset { return l.Start() },
	} {
		t.Run(name, func(t *testing.T) {
			opt := testOptions(disk.NewMem())
			l := cutLog(t, opt)
			at, end := pick(l), l.End()
			old := l.BeginReign()
			if err := l.Truncate(at, rescuePath); err != nil {
				t.Fatal(err)
			}
			if l.End() != at || l.Synced() > at || l.Start() != 50 {
				t.Fatalf("log is [%d,%d) synced %d, want end %d", l.Start(), l.End(), l.Synced(), at)
			}
			if _, err := l.Append(old, 0, []byte("x")); !errors.Is(err, ErrReignOver) {
				t.Fatalf("append of the reign before: %v", err)
			}
			if at < end {
				r, b := readRescue(t, opt.FS)
				if r.Start != at || r.End != end || r.DB != 5 || r.Frame > at || at-r.Frame >= 700 {
					t.Fatalf("rescue header %+v", r)
				}
				checkStream(t, "rescue", at, b)
				if l.Synced() != at {
					t.Fatalf("synced %d, want %d", l.Synced(), at)
				}
			} else if disk.Exists(opt.FS, rescuePath) {
				t.Fatal("rescue file without surplus")
			}
			checkStream(t, "cut", 50, readAll(t, l, 50, 999))
			checkStream(t, "cut", 50, replayAll(t, l, 50))
			waitSealed(t, l)
			if l.DiskBytes() != diskBytes(t, opt) {
				t.Fatalf("DiskBytes = %d, the files have %d", l.DiskBytes(), diskBytes(t, opt))
			}
			// Another history from here on, over a segment border.
			other := bytes.Repeat([]byte("other"), 100)
			r := l.BeginReign()
			for range 40 {
				if _, err := l.Append(r, 0, other); err != nil {
					t.Fatal(err)
				}
			}
			want := append(stream(50, int(at-50)), bytes.Repeat(other, 40)...)
			if got := readAll(t, l, 50, 4096); !bytes.Equal(got, want) {
				t.Fatal("content differs after appending another history")
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l, rec := mustOpen(t, opt)
			if got := replayAll(t, l, 50); !bytes.Equal(got, want) || rec.TornBytes != 0 {
				t.Fatalf("content differs after reopening: %+v", rec)
			}
		})
	}
	if err := probe.Truncate(49, ""); !errors.Is(err, ErrTrimmed) {
		t.Fatalf("below the start: %v", err)
	}
	if err := probe.Truncate(probe.End()+1, ""); !errors.Is(err, ErrBeyondEnd) {
		t.Fatalf("above the end: %v", err)
	}
	if err := probe.Truncate(last.Start, ""); err != nil || probe.End() != last.Start {
		t.Fatalf("without rescue: %v", err)
	}
}

// TestTruncateCrash crashes at every step of truncations: the log is whole or cut, nothing that stays is
// lost, and if it is cut the surplus is in the rescue file.
func TestTruncateCrash(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 5))
		pick := func(l *Log) Offset {
			segs := l.Segments()
			newest := segs[len(segs)-1]
			switch seed % 6 {
			case 0: // everything
				return l.Start()
			case 1: // inside the first frame: no segment before the cut
				return l.Start() + 3
			case 2:
				return newest.Start
			case 3: // between frames
				return newest.Start + 2*700
			case 4:
				return newest.Start + Offset(rng.Int64N(int64(newest.End-newest.Start)))
			}
			return l.Start() + Offset(rng.Int64N(int64(l.End()-l.Start())))
		}
		var c crashedCut
		for step, steps := 0, 1; step < steps; step++ {
			mem := disk.NewMem()
			faults := disk.NewFaults(mem)
			l := cutLog(t, testOptions(faults))
			l.sealers.Wait() // it would take steps of its own
			if step == 0 {
				c.at, c.end = pick(l), l.End()
			}
			c.synced = l.Synced()
			var crashed *disk.Mem
			n := 0
			faults.Before(func(disk.Op, string) error {
				if n == step {
					crashed = mem.CrashClone(rng, rng.Float64())
				}
				n++
				return nil
			})
			if err := l.Truncate(c.at, rescuePath); err != nil {
				t.Fatal(err)
			}
			steps = n + 1 // the last crash comes after all of it
			if crashed == nil {
				crashed = mem.CrashClone(rng, 0)
			}
			faults.Before(nil)
			l.Close()
			c.done = step == steps-1
			c.check(t, fmt.Sprintf("seed %d step %d/%d", seed, step, steps), crashed, rng)
		}
	}
}

// crashedCut is a truncation of [50, end) at an offset that was interrupted, or done.
type crashedCut struct {
	at, end, synced Offset
	done            bool
}

func (c crashedCut) check(t *testing.T, what string, crashed *disk.Mem, rng *rand.Rand) {
	t.Helper()
	l, rec, err := Open(testOptions(crashed))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer l.Close()
	cut := l.End() == c.at
	if (c.done || rec.FinishedCut) && !cut {
		t.Fatalf("%s: end %d, want %d, %+v", what, l.End(), c.at, rec)
	}
	// Before the decision the unsynced end may be torn as ever.
	if l.End() < min(c.at, c.synced) || l.End() > c.end {
		t.Fatalf("%s: end %d, cut at %d of %d, synced %d, %+v", what, l.End(), c.at, c.end, c.synced, rec)
	}
	checkStream(t, what, 50, replayAll(t, l, 50))
	if rec.FinishedCut || c.done {
		r, b := readRescue(t, crashed)
		if r.Start != c.at || r.End != c.end {
			t.Fatalf("%s: rescue %+v", what, r)
		}
		checkStream(t, what+": rescue", c.at, b)
	}
	// And once more, at a random place, from where it is now.
	mustAppend(t, l, l.BeginReign(), 100)
	again := l.Start() + Offset(rng.Int64N(int64(l.End()-l.Start())))
	if err := l.Truncate(again, ""); err != nil || l.End() != again {
		t.Fatalf("%s: second truncation: %v", what, err)
	}
}

// TestTruncateFailures fails each disk operation of a truncation in turn: either the log is whole and
// works, or it has failed and the next Open finds it whole or cut.
func TestTruncateFailures(t *testing.T) {
	for step := 0; ; step++ {
		mem := disk.NewMem()
		faults := disk.NewFaults(mem)
		l := cutLog(t, testOptions(faults))
		l.sealers.Wait()
		at, end := l.Segments()[1].Start+1000, l.End()
		n := 0
		faults.Before(func(disk.Op, string) error {
			n++
			if n == step+1 {
				return syscall.EIO
			}
			return nil
		})
		err := l.Truncate(at, rescuePath)
		faults.Before(nil)
		if err == nil && n <= step {
			l.Close()
			return // all steps have had their turn
		}
		what := fmt.Sprintf("step %d: %v", step, err)
		switch {
		case errors.Is(err, ErrLogFailed):
			if _, err := l.Append(l.BeginReign(), 0, []byte("x")); !errors.Is(err, ErrLogFailed) {
				t.Fatalf("%s: then append: %v", what, err)
			}
		case err != nil:
			if l.End() != end {
				t.Fatalf("%s: end %d, want %d", what, l.End(), end)
			}
			mustAppend(t, l, l.BeginReign(), 10)
			checkStream(t, what, 50, readAll(t, l, 50, 5000))
			end += 10
			if err := l.Truncate(at, rescuePath); err != nil || l.End() != at {
				t.Fatalf("%s: again: %v", what, err)
			}
		}
		l.Close()
		again, _, err := Open(testOptions(mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 1)))
		if err != nil {
			t.Fatalf("%s: reopen: %v", what, err)
		}
		if again.End() != at && again.End() != end {
			t.Fatalf("%s: reopened with end %d, want %d or %d", what, again.End(), at, end)
		}
		checkStream(t, what, 50, replayAll(t, again, 50))
		again.Close()
	}
}

func TestReadRescueRefuses(t *testing.T) {
	mem := disk.NewMem()
	for name, content := range map[string]string{
		"empty":     "",
		"no line":   "haypile-rescue 1 start=1 end=3 frame=0 db=0",
		"foreign":   "REDIS0011\nab",
		"too short": "haypile-rescue 1 start=1 end=3 frame=0 db=0\na",
		"too long":  "haypile-rescue 1 start=1 end=3 frame=0 db=0\nabc",
		"newer":     "haypile-rescue 2 start=1 end=3 frame=0 db=0\nab",
	} {
		if err := disk.WriteFileAtomic(mem, "/r", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := ReadRescue(mem, "/r"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	good := []byte("haypile-rescue 1 start=1 end=3 frame=0 db=2\nab")
	if err := disk.WriteFileAtomic(mem, "/r", good); err != nil {
		t.Fatal(err)
	}
	if r, _, _, err := ReadRescue(mem, "/r"); err != nil || r != (Rescue{1, 3, 0, 2}) {
		t.Fatalf("%+v, %v", r, err)
	}
}
