package replog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"haypile/internal/disk"
)

// stream returns n bytes of the test stream from an offset on: a function of the offset, so that any
// reader can check what it got.
func stream(off Offset, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		x := uint64(off) + uint64(i)
		b[i] = byte((x * 0x9E3779B97F4A7C15) >> 56)
	}
	return b
}

func checkStream(t *testing.T, what string, off Offset, got []byte) {
	t.Helper()
	if want := stream(off, len(got)); !bytes.Equal(got, want) {
		i := 0
		for got[i] == want[i] {
			i++
		}
		t.Fatalf("%s: byte at offset %d is %#x, want %#x", what, int(off)+i, got[i], want[i])
	}
}

func testOptions(fsys disk.FS) Options {
	return Options{FS: fsys, Dir: "/data/log-1", SegmentBytes: 8 << 10, TailBytes: 4 << 10}
}

func mustCreate(t *testing.T, opt Options, start Offset) *Log {
	t.Helper()
	l, err := Create(opt, start)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustOpen(t *testing.T, opt Options) (*Log, Recovery) {
	t.Helper()
	l, rec, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, rec
}

func mustAppend(t *testing.T, l *Log, r Reign, n int) Offset {
	t.Helper()
	end, err := l.Append(r, 0, stream(l.End(), n))
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// readAll reads [from, end) by ReadAt in pieces.
func readAll(t *testing.T, l *Log, from Offset, piece int) []byte {
	t.Helper()
	var out []byte
	p := make([]byte, piece)
	for off := from; off < l.End(); {
		n, err := l.ReadAt(p, off)
		if err != nil || n == 0 {
			t.Fatalf("ReadAt(%d) = %d, %v", off, n, err)
		}
		out = append(out, p[:n]...)
		off += Offset(n)
	}
	return out
}

func replayAll(t *testing.T, l *Log, from Offset) []byte {
	t.Helper()
	var out []byte
	next := from
	err := l.Replay(from, func(f Frame) error {
		if f.Start != next {
			return fmt.Errorf("frame starts at %d, want %d", f.Start, next)
		}
		next = f.End()
		out = append(out, f.Payload...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// waitSealed waits until all segments but the newest are sealed.
func waitSealed(t *testing.T, l *Log) {
	t.Helper()
	l.sealers.Wait()
	segs := l.Segments()
	for _, s := range segs[:len(segs)-1] {
		if !s.Sealed {
			t.Fatalf("segment %s is not sealed", s.Path)
		}
	}
}

func TestAppendReadReplayReopen(t *testing.T) {
	for _, start := range []Offset{0, 1, 123456789012345} {
		opt := testOptions(disk.NewMem())
		l := mustCreate(t, opt, start)
		if l.Start() != start || l.End() != start || l.Synced() != start {
			t.Fatalf("new log is [%d,%d) synced %d, want %d", l.Start(), l.End(), l.Synced(), start)
		}
		reign := l.BeginReign()
		rng := rand.New(rand.NewPCG(1, uint64(start)))
		for i := range 300 {
			size := 1 + rng.IntN(300)
			if i%50 == 0 {
				size = 20_000 // larger than segment and tail
			}
			mustAppend(t, l, reign, size)
			if i%20 == 0 {
				waitSealed(t, l)
			}
		}
		waitSealed(t, l)
		if n := len(l.Segments()); n < 5 {
			t.Fatalf("only %d segments", n)
		}
		for _, piece := range []int{1 << 20, 1000, 37} {
			checkStream(t, "ReadAt", start, readAll(t, l, start, piece))
		}
		checkStream(t, "Replay", start, replayAll(t, l, start))
		end := l.End()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(reign, 0, []byte("x")); !errors.Is(err, ErrClosed) {
			t.Fatalf("append to a closed log: %v", err)
		}

		l, rec := mustOpen(t, opt)
		if l.Start() != start || l.End() != end || l.Synced() != end || rec.End != end || rec.TornBytes != 0 ||
			rec.ScannedBytes != 0 {
			t.Fatalf("reopened as [%d,%d) synced %d (%+v), want end %d", l.Start(), l.End(), l.Synced(), rec, end)
		}
		for range 200 {
			off := start + Offset(rng.Int64N(int64(end-start)))
			p := make([]byte, 1+rng.IntN(5000))
			n, err := l.ReadAt(p, off)
			if err != nil || n == 0 {
				t.Fatalf("ReadAt(%d) = %d, %v", off, n, err)
			}
			checkStream(t, "ReadAt after reopen", off, p[:n])
			if off%7 == 0 {
				checkStream(t, "Replay after reopen", off, replayAll(t, l, off))
			}
		}
		mustAppend(t, l, l.BeginReign(), 100)
		checkStream(t, "after appending to the reopened log", start, readAll(t, l, start, 4096))
		waitSealed(t, l)
		if got := l.DiskBytes(); got != diskBytes(t, opt) {
			t.Fatalf("DiskBytes = %d, the files have %d", got, diskBytes(t, opt))
		}
	}
}

func diskBytes(t *testing.T, opt Options) int64 {
	t.Helper()
	rep, err := Verify(opt.FS, opt.Dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rep.FileBytes
}

func TestFrameFieldsSurvive(t *testing.T) {
	opt := testOptions(disk.NewMem())
	now := time.UnixMilli(1_700_000_123_456)
	opt.Now = func() time.Time { return now }
	l := mustCreate(t, opt, 10)
	r := l.BeginReign()
	frame := append(make([]byte, HeaderSize), "in place"...)
	if end, err := l.AppendFrame(r, MaxDB, frame); err != nil || end != 18 {
		t.Fatalf("AppendFrame = %d, %v", end, err)
	}
	if end, err := l.Append(r, 3, []byte("copied")); err != nil || end != 24 {
		t.Fatalf("Append = %d, %v", end, err)
	}
	if end, err := l.Append(r, 3, nil); err != nil || end != 24 {
		t.Fatalf("empty Append = %d, %v", end, err)
	}
	if _, err := l.Append(r, MaxDB+1, []byte("x")); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("database too large: %v", err)
	}
	var got []string
	if err := l.Replay(13, func(f Frame) error {
		got = append(got, fmt.Sprint(f.Start, f.DB, string(f.Payload), f.TimeMS))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprint(Offset(13), MaxDB, "place", now.UnixMilli()),
		fmt.Sprint(Offset(18), 3, "copied", now.UnixMilli()),
	}
	if !slices.Equal(got, want) {
		t.Fatalf("replayed %v, want %v", got, want)
	}
	stop := errors.New("stop")
	if err := l.Replay(10, func(Frame) error { return stop }); err != stop {
		t.Fatalf("Replay returned %v, want the callback's error", err)
	}
}

func TestReigns(t *testing.T) {
	l := mustCreate(t, testOptions(disk.NewMem()), 0)
	if _, err := l.Append(0, 0, []byte("x")); !errors.Is(err, ErrReignOver) {
		t.Fatalf("append without a reign: %v", err)
	}
	first := l.BeginReign()
	mustAppend(t, l, first, 5)
	second := l.BeginReign()
	if l.Reigning(first) || !l.Reigning(second) || l.Reigning(0) {
		t.Fatal("Reigning does not follow BeginReign")
	}
	if end, err := l.Append(first, 0, []byte("x")); !errors.Is(err, ErrReignOver) || end != 5 {
		t.Fatalf("append of an old reign: %d, %v", end, err)
	}
	mustAppend(t, l, second, 5)
}

func TestReadBounds(t *testing.T) {
	l := mustCreate(t, testOptions(disk.NewMem()), 100)
	mustAppend(t, l, l.BeginReign(), 50)
	p := make([]byte, 10)
	if _, err := l.ReadAt(p, 99); !errors.Is(err, ErrTrimmed) {
		t.Fatalf("below the start: %v", err)
	}
	if n, err := l.ReadAt(p, 150); n != 0 || err != nil {
		t.Fatalf("at the end: %d, %v", n, err)
	}
	if _, err := l.ReadAt(p, 151); !errors.Is(err, ErrBeyondEnd) {
		t.Fatalf("above the end: %v", err)
	}
	if n, err := l.ReadAt(p, 145); n != 5 || err != nil {
		t.Fatalf("near the end: %d, %v", n, err)
	}
	fn := func(Frame) error { t.Error("called"); return nil }
	if err := l.Replay(99, fn); !errors.Is(err, ErrTrimmed) {
		t.Fatalf("replay below the start: %v", err)
	}
	if err := l.Replay(151, fn); !errors.Is(err, ErrBeyondEnd) {
		t.Fatalf("replay above the end: %v", err)
	}
	if err := l.Replay(150, fn); err != nil {
		t.Fatalf("replay at the end: %v", err)
	}
	if err := l.Sync(151); !errors.Is(err, ErrBeyondEnd) {
		t.Fatalf("sync above the end: %v", err)
	}
}

func TestWaitEnd(t *testing.T) {
	l := mustCreate(t, testOptions(disk.NewMem()), 0)
	r := l.BeginReign()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	type result struct {
		end Offset
		err error
	}
	got := make(chan result, 1)
	wait := func(ctx context.Context, past Offset) {
		end, err := l.WaitEnd(ctx, past)
		got <- result{end, err}
	}
	registered := func() {
		t.Helper()
		deadline := time.Now().Add(5 * time.Second)
		for l.waiters.count.Load() == 0 {
			if time.Now().After(deadline) {
				t.Fatal("waiter never registered")
			}
		}
	}
	go wait(ctx, 14)
	registered()
	mustAppend(t, l, r, 10) // not past it yet
	mustAppend(t, l, r, 10)
	if res := <-got; res.end != 20 || res.err != nil {
		t.Fatalf("WaitEnd = %+v", res)
	}
	wait(ctx, 19)
	if res := <-got; res.end != 20 || res.err != nil {
		t.Fatalf("WaitEnd below the end = %+v", res)
	}
	go wait(ctx, 20)
	registered()
	cancel()
	if res := <-got; !errors.Is(res.err, context.Canceled) {
		t.Fatalf("cancelled WaitEnd = %+v", res)
	}
	go wait(t.Context(), 20)
	registered()
	l.Close()
	if res := <-got; !errors.Is(res.err, ErrClosed) {
		t.Fatalf("WaitEnd of a closed log = %+v", res)
	}
	if n := l.waiters.count.Load(); n != 0 {
		t.Fatalf("%d waiters left", n)
	}
}

func TestFullDiskRollsBack(t *testing.T) {
	mem := disk.NewMem()
	faults := disk.NewFaults(mem)
	opt := testOptions(faults)
	l := mustCreate(t, opt, 0)
	r := l.BeginReign()
	mustAppend(t, l, r, 100)
	for _, room := range []int64{0, 1, HeaderSize - 1, HeaderSize, HeaderSize + 50} {
		faults.Limit(room)
		end, err := l.Append(r, 0, stream(100, 100))
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrLogFailed) || end != 100 || l.End() != 100 {
			t.Fatalf("room %d: Append = %d, %v", room, end, err)
		}
	}
	faults.Limit(-1)
	mustAppend(t, l, r, 100)
	checkStream(t, "after full disk", 0, readAll(t, l, 0, 64))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, rec := mustOpen(t, opt)
	if l.End() != 200 || rec.TornBytes != 0 {
		t.Fatalf("end %d, recovery %+v", l.End(), rec)
	}
}

// TestFullDiskWhileSealing: a segment that cannot be sealed for want of space is sealed later.
func TestFullDiskWhileSealing(t *testing.T) {
	faults := disk.NewFaults(disk.NewMem())
	opt := testOptions(faults)
	l := mustCreate(t, opt, 0)
	r := l.BeginReign()
	mustAppend(t, l, r, 9000)
	names, err := faults.List(opt.Dir)
	if err != nil || len(names) != 1 {
		t.Fatalf("%q, %v", names, err)
	}
	// The room is for one more frame and half a footer; the footer, written beside, must not come first.
	appended := make(chan struct{})
	faults.Before(func(op disk.Op, name string) error {
		if op == disk.OpWrite && filepath.Base(name) == names[0] {
			<-appended
		}
		return nil
	})
	faults.Limit(HeaderSize + 100 + HeaderSize/2)
	mustAppend(t, l, r, 100)
	close(appended)
	l.sealers.Wait()
	faults.Before(nil)
	if segs := l.Segments(); len(segs) != 2 || segs[0].Sealed || l.Err() != nil {
		t.Fatalf("%d segments, the first sealed: %v, %v", len(segs), segs[0].Sealed, l.Err())
	}
	faults.Limit(-1)
	for len(l.Segments()) < 4 {
		mustAppend(t, l, r, 1000)
		l.sealers.Wait()
	}
	waitSealed(t, l)
	faults.Limit(0)
	if err := l.Close(); err != nil { // synced, if not sealed
		t.Fatal(err)
	}
	faults.Limit(-1)
	l, rec := mustOpen(t, opt)
	if rec.TornBytes != 0 || rec.Resealed != 0 || rec.ScannedBytes == 0 {
		t.Fatalf("%+v", rec)
	}
	checkStream(t, "after all", 0, replayAll(t, l, 0))
	if l.DiskBytes() != diskBytes(t, opt) {
		t.Fatalf("DiskBytes = %d, the files have %d", l.DiskBytes(), diskBytes(t, opt))
	}
}

func TestWriteErrorIsFinal(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(f *disk.Faults)
	}{
		{"write", func(f *disk.Faults) { f.Fail(disk.OpWrite, 0, syscall.EIO) }},
		{"full disk, part cannot be removed", func(f *disk.Faults) {
			f.Limit(10)
			f.Fail(disk.OpTruncate, 0, syscall.EIO)
		}},
	} {
		faults := disk.NewFaults(disk.NewMem())
		l := mustCreate(t, testOptions(faults), 0)
		r := l.BeginReign()
		mustAppend(t, l, r, 10)
		c.spoil(faults)
		for range 2 {
			if end, err := l.Append(r, 0, []byte("x")); !errors.Is(err, ErrLogFailed) || end != 10 {
				t.Fatalf("%s: Append = %d, %v", c.name, end, err)
			}
			faults.Limit(-1)
		}
		if err := l.Sync(10); !errors.Is(err, ErrLogFailed) {
			t.Fatalf("%s: Sync = %v", c.name, err)
		}
		checkStream(t, c.name, 0, readAll(t, l, 0, 64))
	}
}

func TestSyncErrorIsFinal(t *testing.T) {
	for _, op := range []disk.Op{disk.OpSync, disk.OpSyncDir} {
		faults := disk.NewFaults(disk.NewMem())
		l := mustCreate(t, testOptions(faults), 0)
		r := l.BeginReign()
		mustAppend(t, l, r, 9000)
		if err := l.Sync(9000); err != nil {
			t.Fatal(err)
		}
		synced := l.Synced()
		faults.Fail(op, 0, syscall.EIO)
		mustAppend(t, l, r, 10) // in a new segment, whose name is not synced yet
		for range 2 {
			if err := l.Sync(9010); !errors.Is(err, ErrSyncFailed) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("%s: Sync = %v", op, err)
			}
		}
		if l.Synced() != synced {
			t.Fatalf("%s: Synced moved to %d", op, l.Synced())
		}
		if _, err := l.Append(r, 0, []byte("x")); !errors.Is(err, ErrSyncFailed) || !errors.Is(err, ErrLogFailed) {
			t.Fatalf("%s: Append = %v", op, err)
		}
		if err := l.Sync(synced); err != nil {
			t.Fatalf("%s: Sync of what was synced = %v", op, err)
		}
	}
}

func TestTrim(t *testing.T) {
	mem := disk.NewMem()
	opt := testOptions(mem)
	l := mustCreate(t, opt, 0)
	r := l.BeginReign()
	for range 100 {
		mustAppend(t, l, r, 1000)
		waitSealed(t, l)
	}
	segs := l.Segments()
	if err := l.TrimTo(segs[3].Start - 1); err != nil {
		t.Fatal(err)
	}
	if l.Start() != segs[2].Start {
		t.Fatalf("start %d, want %d: a segment that is needed must stay", l.Start(), segs[2].Start)
	}
	if err := l.TrimTo(segs[3].Start); err != nil {
		t.Fatal(err)
	}
	if l.Start() != segs[3].Start || l.DiskBytes() != diskBytes(t, opt) {
		t.Fatalf("start %d, %d bytes; want start %d, %d bytes", l.Start(), l.DiskBytes(), segs[3].Start,
			diskBytes(t, opt))
	}
	if _, err := l.ReadAt(make([]byte, 10), l.Start()-1); !errors.Is(err, ErrTrimmed) {
		t.Fatalf("read below: %v", err)
	}
	checkStream(t, "after trim", l.Start(), readAll(t, l, l.Start(), 3000))
	if err := l.TrimTo(l.End()); err != nil {
		t.Fatal(err)
	}
	if n := len(l.Segments()); n != 1 {
		t.Fatalf("%d segments left", n)
	}
	checkStream(t, "newest", l.Start(), readAll(t, l, l.Start(), 3000))
	for seed := range uint64(20) { // trimming is durable, or not done, never a gap
		c := opt
		c.FS = mem.CrashClone(rand.New(rand.NewPCG(seed, 0)), 0.5)
		again, _ := mustOpen(t, c)
		if again.Start() != l.Start() {
			t.Fatalf("start %d after a crash, want %d", again.Start(), l.Start())
		}
	}
}

func TestTrimFloor(t *testing.T) {
	t0 := time.UnixMilli(1_000_000)
	seg := func(start, end Offset, age time.Duration, sealed bool) SegmentInfo {
		return SegmentInfo{Start: start, End: end, Bytes: int64(end - start), Sealed: sealed, Newest: t0.Add(-age)}
	}
	segs := []SegmentInfo{seg(100, 200, 4*time.Hour, true), seg(200, 300, 3*time.Hour, true),
		seg(300, 400, 2*time.Hour, true), seg(400, 450, time.Hour, false)}
	for _, c := range []struct {
		name  string
		keep  Retention
		holds []Offset
		want  Offset
	}{
		{"nothing held", Retention{}, nil, 400},
		{"held inside", Retention{}, []Offset{450, 250}, 200},
		{"held at a border", Retention{}, []Offset{300}, 300},
		{"held at the start", Retention{}, []Offset{100}, 100},
		{"held before the start", Retention{}, []Offset{5}, 100},
		{"bytes", Retention{Bytes: 150}, nil, 300},
		{"bytes, inside a segment", Retention{Bytes: 151}, nil, 200},
		{"all bytes", Retention{Bytes: 1000}, nil, 100},
		{"age", Retention{Age: 150 * time.Minute}, nil, 300},
		{"bytes and age", Retention{Bytes: 10, Age: 210 * time.Minute}, nil, 200},
	} {
		if got := TrimFloor(segs, c.keep, t0, c.holds...); got != c.want {
			t.Errorf("%s: floor %d, want %d", c.name, got, c.want)
		}
	}
	if got := TrimFloor(nil, Retention{}, t0); got != 0 {
		t.Errorf("no segments: floor %d", got)
	}
}

func TestCreateAndOpenRefuse(t *testing.T) {
	opt := testOptions(disk.NewMem())
	if _, _, err := Open(opt); !errors.Is(err, ErrNoLog) {
		t.Fatalf("open of nothing: %v", err)
	}
	l := mustCreate(t, opt, 0)
	l.Close()
	if _, err := Create(opt, 0); !errors.Is(err, ErrExists) {
		t.Fatalf("second create: %v", err)
	}
	if _, err := Create(Options{FS: disk.NewMem(), Dir: "x"}, -1); err == nil {
		t.Fatal("create at a negative offset")
	}
}

func TestSumBefore(t *testing.T) {
	optA, optB := testOptions(disk.NewMem()), testOptions(disk.NewMem())
	a, b := mustCreate(t, optA, 1000), mustCreate(t, optB, 1000)
	ra, rb := a.BeginReign(), b.BeginReign()
	for range 50 {
		mustAppend(t, a, ra, 500)
	}
	for range 25 {
		mustAppend(t, b, rb, 1000)
	}
	for _, at := range []Offset{1000, 1001, 5000, 26000} {
		sa, na, err := a.SumBefore(at, 4096)
		if err != nil {
			t.Fatal(err)
		}
		sb, nb, err := b.SumBefore(at, 4096)
		if err != nil || sa != sb || na != nb || na != min(4096, int(at-1000)) {
			t.Fatalf("at %d: %x of %d and %x of %d, %v", at, sa, na, sb, nb, err)
		}
	}
	if _, err := b.Append(rb, 0, bytes.Repeat([]byte{'x'}, 10)); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, a, ra, 10)
	sa, _, _ := a.SumBefore(26010, 4096)
	if sb, _, _ := b.SumBefore(26010, 4096); sa == sb {
		t.Fatal("different bytes, same sum")
	}
	if _, _, err := a.SumBefore(999, 4096); !errors.Is(err, ErrTrimmed) {
		t.Fatalf("below the start: %v", err)
	}
	if _, _, err := a.SumBefore(30000, 4096); !errors.Is(err, ErrBeyondEnd) {
		t.Fatalf("above the end: %v", err)
	}
}
