package replog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"haypile/internal/disk"
)

// process is a log whose process can be killed: from then on it cannot reach the disk, while the disk
// keeps what the operating system has not written yet.
type process struct {
	*Log
	faults *disk.Faults
}

func startProcess(mem *disk.Mem) (process, Recovery, error) {
	faults := disk.NewFaults(mem)
	l, rec, err := Open(testOptions(faults))
	return process{l, faults}, rec, err
}

func (p process) kill() {
	p.faults.Before(func(disk.Op, string) error { return errors.New("killed") })
	p.Close()
}

// killIdle ends a log that has nothing under way as if its process had been killed.
func killIdle(l *Log) {
	_ = l.fail(fmt.Errorf("%w: killed", ErrLogFailed))
	l.Close()
}

// TestCrashKeepsWhatWasSynced appends, syncs, rolls and trims at random, then kills the process or takes
// the power away, and opens what is left: every synced byte is there, after a kill every byte; what is
// there is a prefix of the stream; and a torn tail is never taken for damage. Then the survivor goes on
// and crashes again.
func TestCrashKeepsWhatWasSynced(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() {
		seeds = 20
	}
	var torn, rolled int
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 7))
		mem := disk.NewMem()
		l, err := Create(testOptions(mem), Offset(rng.IntN(1000)))
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		p, _, err := startProcess(mem)
		for life := range 5 {
			what := fmt.Sprintf("seed %d life %d", seed, life)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			live(t, p, rng)
			// Synced and start first: work in the background may still raise them.
			least, start, most := p.Synced(), p.Start(), p.End()
			rolled += len(p.Segments()) - 1
			if rng.IntN(3) == 0 {
				least = most
				p.kill()
			} else {
				mem = mem.CrashClone(rng, []float64{0, 0.1, 0.5, 0.9, 1}[rng.IntN(5)])
				p.kill()
			}
			var rec Recovery
			p, rec, err = startProcess(mem)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if p.End() < least || p.End() > most || p.Start() != start {
				t.Fatalf("%s: log is [%d,%d), want start %d, end %d to %d", what, p.Start(), p.End(), start, least, most)
			}
			if rec.TornBytes > 0 {
				torn++
			}
			checkStream(t, what, p.Start(), replayAll(t, p.Log, p.Start()))
			checkStream(t, what, p.Start(), readAll(t, p.Log, p.Start(), 700))
		}
		p.kill()
	}
	t.Logf("%d torn tails, %d rolls", torn, rolled)
	if torn == 0 || rolled == 0 {
		t.Fatal("the test did not meet what it is about")
	}
}

// live does up to a hundred random things; every other time syncs take forever.
func live(t *testing.T, p process, rng *rand.Rand) {
	t.Helper()
	r := p.BeginReign()
	stuck := make(chan struct{})
	defer close(stuck)
	slow := rng.IntN(2) == 0
	if slow {
		p.faults.Before(func(op disk.Op, _ string) error {
			if op == disk.OpSync || op == disk.OpSyncDir {
				<-stuck
				return errors.New("killed")
			}
			return nil
		})
	}
	for range rng.IntN(100) {
		switch n := rng.IntN(12); {
		case n == 0 && !slow:
			if err := p.Sync(p.End()); err != nil {
				t.Fatal(err)
			}
		case n == 1 && !slow:
			if err := p.TrimTo(p.Synced()); err != nil {
				t.Fatal(err)
			}
		case n == 2:
			mustAppend(t, p.Log, r, 1+rng.IntN(12_000))
		default:
			mustAppend(t, p.Log, r, 1+rng.IntN(800))
		}
	}
}

// TestCrashWhileRecovering takes the power away at every step of a recovery that finds two unsealed
// segments: after a power loss, torn in the older one; or after a kill, whole but not yet on the disk.
func TestCrashWhileRecovering(t *testing.T) {
	for seed := range uint64(24) {
		for step := 0; ; step++ {
			what := fmt.Sprintf("seed %d step %d", seed, step)
			rng := rand.New(rand.NewPCG(seed, 3))
			mem, synced, end := twoUnsealed(t)
			if seed%2 == 0 {
				mem = mem.CrashClone(rng, 0.6)
			}
			rng = rand.New(rand.NewPCG(seed, uint64(step)))
			var crashed *disk.Mem
			faults := disk.NewFaults(mem)
			left := step
			faults.Before(func(disk.Op, string) error {
				if left == 0 {
					crashed = mem.CrashClone(rng, rng.Float64())
				}
				left--
				return nil
			})
			l, rec, err := Open(testOptions(faults))
			if err != nil {
				t.Fatal(err)
			}
			if seed%2 == 1 && (l.End() != end || rec.TornBytes > 0) {
				t.Fatalf("%s: end %d after a kill, want %d, %+v", what, l.End(), end, rec)
			}
			last := crashed == nil
			if last { // recovered, so durable: the next power loss takes nothing
				crashed, synced, end = mem.CrashClone(rng, 0), l.End(), l.End()
			}
			l.Close()
			l, _, err = Open(testOptions(crashed))
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if l.End() < synced || l.End() > end {
				t.Fatalf("%s: end %d, synced %d, end was %d", what, l.End(), synced, end)
			}
			checkStream(t, what, 0, replayAll(t, l, 0))
			l.Close()
			if last {
				break
			}
		}
	}
}

// twoUnsealed leaves a log whose process was killed before it could sync the second newest segment.
func twoUnsealed(t *testing.T) (mem *disk.Mem, synced, end Offset) {
	t.Helper()
	mem = disk.NewMem()
	l, err := Create(testOptions(mem), 0)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p, _, err := startProcess(mem)
	if err != nil {
		t.Fatal(err)
	}
	r := p.BeginReign()
	mustAppend(t, p.Log, r, 500)
	if err := p.Sync(500); err != nil {
		t.Fatal(err)
	}
	p.faults.Before(func(op disk.Op, _ string) error {
		if op == disk.OpSync || op == disk.OpSyncDir {
			return errors.New("killed")
		}
		return nil
	})
	// The sync that fails in the background would end the log: it may fill the new segment, not get to it.
	p.maint.Lock()
	for len(p.Segments()) < 2 || p.Segments()[1].Bytes < 4000 {
		mustAppend(t, p.Log, r, 700)
	}
	synced, end = p.Synced(), p.End()
	p.maint.Unlock()
	p.kill()
	return mem, synced, end
}

// TestCrashWhileClosing takes the power away at every step of Close: a footer never stands over bytes that
// are not there.
func TestCrashWhileClosing(t *testing.T) {
	for seed := range uint64(20) {
		for step, last := 0, false; !last; step++ {
			what := fmt.Sprintf("seed %d step %d", seed, step)
			rng := rand.New(rand.NewPCG(seed, uint64(step)))
			mem := disk.NewMem()
			faults := disk.NewFaults(mem)
			l := mustCreate(t, testOptions(faults), 0)
			r := l.BeginReign()
			for range 20 {
				mustAppend(t, l, r, 700)
			}
			l.sealers.Wait()
			synced, end := l.Synced(), l.End()
			var crashed *disk.Mem
			left := step
			faults.Before(func(disk.Op, string) error {
				if left == 0 {
					crashed = mem.CrashClone(rng, rng.Float64())
				}
				left--
				return nil
			})
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if last = crashed == nil; last {
				crashed, synced = mem.CrashClone(rng, 0), end
			}
			l, _, err := Open(testOptions(crashed))
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if l.End() < synced || l.End() > end {
				t.Fatalf("%s: end %d, synced %d of %d", what, l.End(), synced, end)
			}
			checkStream(t, what, 0, replayAll(t, l, 0))
			l.Close()
		}
	}
}

// TestDamage flips one byte in every region of a log and expects the right verdict.
func TestDamage(t *testing.T) {
	opt := testOptions(disk.NewMem())
	l := mustCreate(t, opt, 0)
	r := l.BeginReign()
	for len(l.Segments()) < 4 {
		mustAppend(t, l, r, 900)
		waitSealed(t, l)
	}
	for range 3 { // the newest: three frames, of which the last knows the first two as synced
		mustAppend(t, l, r, 900)
		if err := l.Sync(l.End()); err != nil {
			t.Fatal(err)
		}
	}
	segs, end := l.Segments(), l.End()
	killIdle(l)
	mem := opt.FS.(*disk.Mem)
	rng := rand.New(rand.NewPCG(1, 1))
	frames := framesOf(t, opt)
	for i, s := range segs {
		newest := i == len(segs)-1
		for pos := int64(0); pos < s.Bytes; pos += 1 + rng.Int64N(80) {
			c := opt
			clone := mem.CrashClone(rng, 1)
			c.FS = clone
			if err := clone.Corrupt(s.Path, pos, 1<<rng.IntN(8)); err != nil {
				t.Fatal(err)
			}
			what := fmt.Sprintf("segment %d byte %d", i, pos)
			frame := frames[s.Path].at(pos)
			rep, err := Verify(clone, opt.Dir, nil)
			footer := !newest && pos >= s.Bytes-HeaderSize
			if err != nil || len(rep.Damage) == 0 {
				t.Fatalf("%s: Verify found %+v, %v", what, rep, err)
			}
			got, rec, err := Open(c)
			var damage *DamageError
			switch {
			case footer: // a footer can be made again
				if err != nil || rec.Resealed != 1 || got.End() != end {
					t.Fatalf("%s: %+v, %v", what, rec, err)
				}
			case newest && frame.end < end: // known to be synced
				if !errors.As(err, &damage) || damage.File != s.Path || damage.Pos != frame.pos ||
					damage.Offset != frame.start {
					t.Fatalf("%s: %v, want damage at byte %d", what, err, frame.pos)
				}
			case newest: // nobody knows: torn
				if err != nil || got.End() != frame.start || rec.TornBytes == 0 || len(rec.TornFiles) != 1 {
					t.Fatalf("%s: end %d, %+v, %v", what, got.End(), rec, err)
				}
				tail, err := disk.ReadFile(clone, rec.TornFiles[0])
				if err != nil || int64(len(tail)) != rec.TornBytes {
					t.Fatalf("%s: copy has %d bytes, %v, %d were cut", what, len(tail), err, rec.TornBytes)
				}
			default: // sealed: opening trusts the footer, reading does not
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				err = got.Replay(got.Start(), func(f Frame) error {
					if f.Start >= frame.start {
						return fmt.Errorf("frame %d delivered", f.Start)
					}
					return nil
				})
				if !errors.As(err, &damage) || damage.File != s.Path || damage.Pos != frame.pos {
					t.Fatalf("%s: replay: %v, want damage at byte %d", what, err, frame.pos)
				}
				if _, err := got.ReadAt(make([]byte, 10), frame.start); !errors.As(err, &damage) {
					t.Fatalf("%s: ReadAt: %v", what, err)
				}
			}
			if got != nil {
				got.Close()
			}
		}
	}
}

type frameSpan struct {
	pos, next  int64
	start, end Offset
}

type frameSpans []frameSpan

func (s frameSpans) at(pos int64) frameSpan {
	for _, f := range s {
		if f.pos <= pos && pos < f.next {
			return f
		}
	}
	return frameSpan{}
}

func framesOf(t *testing.T, opt Options) map[string]frameSpans {
	t.Helper()
	out := map[string]frameSpans{}
	_, err := Verify(opt.FS, opt.Dir, func(file string, pos int64, f Frame) {
		out[file] = append(out[file], frameSpan{pos, pos + HeaderSize + int64(len(f.Payload)), f.Start, f.End()})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMissingAndDoubledSegments(t *testing.T) {
	opt := testOptions(disk.NewMem())
	l := mustCreate(t, opt, 0)
	r := l.BeginReign()
	for len(l.Segments()) < 5 {
		mustAppend(t, l, r, 900)
		waitSealed(t, l)
	}
	segs := l.Segments()
	l.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	for name, spoil := range map[string]func(m *disk.Mem) error{
		"missing": func(m *disk.Mem) error { return m.Remove(segs[2].Path) },
		"doubled": func(m *disk.Mem) error {
			return m.Link(segs[2].Path, opt.Dir+"/"+segmentName{segs[2].Start, 1}.file(segmentSuffix))
		},
		"foreign": func(m *disk.Mem) error { // right name, content of another segment
			return errors.Join(m.Rename(segs[2].Path, "/x"), m.Rename(segs[1].Path, segs[2].Path),
				m.Rename("/x", segs[1].Path))
		},
		"shortened": func(m *disk.Mem) error {
			f, err := m.OpenAppend(segs[1].Path)
			return errors.Join(err, f.Truncate(segs[1].Bytes-HeaderSize-1))
		},
	} {
		c := opt
		m := opt.FS.(*disk.Mem).CrashClone(rng, 1)
		c.FS = m
		if err := spoil(m); err != nil {
			t.Fatal(err)
		}
		var damage *DamageError
		if _, _, err := Open(c); !errors.As(err, &damage) {
			t.Errorf("%s: %v", name, err)
		}
		if rep, err := Verify(m, opt.Dir, nil); err != nil || len(rep.Damage) == 0 {
			t.Errorf("%s: Verify: %+v, %v", name, rep, err)
		}
		var out bytes.Buffer
		if err := Inspect(&out, m, opt.Dir, true); !errors.As(err, &damage) || out.Len() == 0 {
			t.Errorf("%s: Inspect: %v", name, err)
		}
	}
	// The oldest may be missing: that is a trim.
	m := opt.FS.(*disk.Mem).CrashClone(rng, 1)
	if err := m.Remove(segs[0].Path); err != nil {
		t.Fatal(err)
	}
	c := opt
	c.FS = m
	if l, _ := mustOpen(t, c); l.Start() != segs[1].Start {
		t.Fatalf("start %d, want %d", l.Start(), segs[1].Start)
	}
}

// TestStoredFrameIsNotTaken stores, in a value, bytes that look like a frame claiming that all was synced,
// and tears the tail before it.
func TestStoredFrameIsNotTaken(t *testing.T) {
	opt := testOptions(disk.NewMem())
	l := mustCreate(t, opt, 0)
	r := l.BeginReign()
	mustAppend(t, l, r, 100)
	if err := l.Sync(100); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, r, 100)
	fake := make([]byte, HeaderSize)
	(&header{length: 1, start: 210, synced: 210}).encode(fake, 0)
	if _, err := l.Append(r, 0, fake); err != nil {
		t.Fatal(err)
	}
	seg := l.Segments()[0]
	killIdle(l)
	mem := opt.FS.(*disk.Mem)
	if err := mem.Corrupt(seg.Path, HeaderSize+100+5, 1); err != nil {
		t.Fatal(err)
	}
	l, rec := mustOpen(t, opt)
	if l.End() != 100 || rec.TornBytes != 2*HeaderSize+100+HeaderSize {
		t.Fatalf("end %d, %+v", l.End(), rec)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	opt := testOptions(disk.NewMem())
	l := mustCreate(t, opt, 0)
	mustAppend(t, l, l.BeginReign(), 100)
	seg := l.Segments()[0]
	killIdle(l)
	if err := opt.FS.(*disk.Mem).Corrupt(seg.Path, 3, 1^2); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(opt); err == nil {
		t.Fatal("a newer format was opened")
	}
}

func TestOldTornCopiesAreForgotten(t *testing.T) {
	mem := disk.NewMem()
	opt := testOptions(mem)
	l := mustCreate(t, opt, 0)
	l.Close()
	for range keepTorn + 5 {
		l, _, err := Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		seg := l.Segments()[0]
		l.Close()
		f, err := mem.OpenAppend(seg.Path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("torn")); err != nil {
			t.Fatal(err)
		}
	}
	files, err := listDir(mem, opt.Dir)
	if err != nil || len(files.torn) == 0 || len(files.torn) > keepTorn {
		t.Fatalf("%d copies, %v", len(files.torn), err)
	}
}
