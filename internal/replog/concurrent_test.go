package replog

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/disk"
)

// TestConcurrent lets one appender, syncers, feeds that follow, readers of old bytes, replays and trims
// work at once; every byte that anyone reads is checked.
func TestConcurrent(t *testing.T) {
	opt := testOptions(disk.NewMem())
	opt.SegmentBytes, opt.TailBytes = 64<<10, 16<<10
	l := mustCreate(t, opt, 0)
	const total = 3 << 20
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var held atomic.Int64 // lowest offset that a feed still needs
	fail := func(what string, err error) {
		t.Errorf("%s: %v", what, err)
	}
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(1, 1))
		r := l.BeginReign()
		for l.End() < total {
			if _, err := l.Append(r, 0, stream(l.End(), 1+rng.IntN(3000))); err != nil {
				fail("append", err)
				return
			}
		}
	})
	done := func() bool { return l.End() >= total || t.Failed() }
	for range 3 {
		wg.Go(func() {
			for !done() {
				end := l.End()
				if err := l.Sync(end); err != nil || l.Synced() < end {
					fail("sync", err)
					return
				}
			}
		})
	}
	feeds := make([]atomic.Int64, 3)
	for i := range feeds {
		wg.Go(func() { // feeds of different appetite: the last is always behind
			p := make([]byte, 500+i*3000)
			for off := Offset(0); off < total && !t.Failed(); {
				if _, err := l.WaitEnd(ctx, off); err != nil {
					fail("wait", err)
					return
				}
				n, err := l.ReadAt(p, off)
				if err != nil || n == 0 || !bytes.Equal(p[:n], stream(off, n)) {
					t.Errorf("feed at %d: %d bytes, %v", off, n, err)
					return
				}
				off += Offset(n)
				feeds[i].Store(int64(off))
			}
			feeds[i].Store(total)
		})
	}
	wg.Go(func() {
		for !done() {
			low := min(feeds[0].Load(), feeds[1].Load(), feeds[2].Load())
			held.Store(low)
			if err := l.TrimTo(Offset(low)); err != nil {
				fail("trim", err)
				return
			}
			if segs := l.Segments(); segs[0].Start > Offset(low) {
				t.Errorf("trimmed to %d, %d is held", segs[0].Start, low)
				return
			}
		}
	})
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(2, 2))
		p := make([]byte, 5000)
		for !done() {
			start, end := l.Start(), l.End()
			if end == start {
				continue
			}
			off := start + Offset(rng.Int64N(int64(end-start)))
			n, err := l.ReadAt(p, off)
			if err != nil && !errors.Is(err, ErrTrimmed) || !bytes.Equal(p[:n], stream(off, n)) {
				t.Errorf("read at %d: %d bytes, %v", off, n, err)
				return
			}
		}
	})
	wg.Go(func() {
		for !done() {
			err := l.Replay(l.Start(), func(f Frame) error {
				if !bytes.Equal(f.Payload, stream(f.Start, len(f.Payload))) {
					return errors.New("wrong bytes")
				}
				return nil
			})
			if err != nil && !errors.Is(err, ErrTrimmed) {
				fail("replay", err)
				return
			}
		}
	})
	wg.Wait()
}

// TestConcurrentTruncate reads while the log is cut and grows again: a reader gets bytes of the history
// before or after, or an error, and never a mixture inside a byte's worth of offset.
func TestConcurrentTruncate(t *testing.T) {
	opt := testOptions(disk.NewMem())
	l := mustCreate(t, opt, 0)
	// Bytes say which history they are of; histories share what lies below the cuts.
	const shared, rounds = 30_000, 40
	r := l.BeginReign()
	for l.End() < shared {
		mustAppend(t, l, r, 500)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer func() {
		close(stop)
		wg.Wait()
	}()
	for i := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 9))
			p := make([]byte, 3000)
			for {
				select {
				case <-stop:
					return
				default:
				}
				off := Offset(rng.Int64N(shared + 5000))
				n, err := l.ReadAt(p, off)
				if err != nil && !errors.Is(err, ErrBeyondEnd) {
					t.Errorf("read at %d: %v", off, err)
					return
				}
				if low := min(n, max(0, int(shared-off))); !bytes.Equal(p[:low], stream(off, low)) {
					t.Errorf("read at %d: wrong bytes below the cut", off)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := l.Sync(l.End()); err != nil && !errors.Is(err, ErrBeyondEnd) {
				t.Errorf("sync: %v", err)
				return
			}
		}
	})
	for i := range rounds {
		r := l.BeginReign()
		for range 20 {
			if _, err := l.Append(r, 0, bytes.Repeat([]byte{byte(i)}, 450)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Truncate(shared, ""); err != nil {
			t.Fatal(err)
		}
	}
	checkStream(t, "in the end", 0, replayAll(t, l, 0))
}

// TestSyncIsShared: callers that come while a sync runs cost one more sync together.
func TestSyncIsShared(t *testing.T) {
	faults := disk.NewFaults(disk.NewMem())
	l := mustCreate(t, testOptions(faults), 0)
	r := l.BeginReign()
	mustAppend(t, l, r, 10)
	var syncs atomic.Int32
	entered, release := make(chan struct{}, 1), make(chan struct{})
	faults.Before(func(op disk.Op, _ string) error {
		if op == disk.OpSync && syncs.Add(1) == 1 {
			entered <- struct{}{}
			<-release
		}
		return nil
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Sync(10); err != nil {
			t.Error(err)
		}
	})
	<-entered
	mustAppend(t, l, r, 10) // not held up by the sync that runs
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Add(1)
		wg.Go(func() {
			waiting.Done()
			if err := l.Sync(20); err != nil {
				t.Error(err)
			}
		})
	}
	waiting.Wait()
	close(release)
	wg.Wait()
	if n := syncs.Load(); n != 2 || l.Synced() != 20 {
		t.Fatalf("%d syncs, synced %d", n, l.Synced())
	}
}
