package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func open(tb testing.TB, opt Options) *Engine {
	tb.Helper()
	if opt.Dir == "" {
		opt.Dir = "engine"
	}
	e, err := Open(opt)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// apply makes one batch; a value of "-" deletes.
func apply(tb testing.TB, e *Engine, rows ...string) {
	tb.Helper()
	b := e.NewBatch()
	defer b.Close()
	for i := 0; i < len(rows); i += 2 {
		if rows[i+1] == "-" {
			b.Delete([]byte(rows[i]))
		} else {
			b.Set([]byte(rows[i]), []byte(rows[i+1]))
		}
	}
	if err := e.Apply(b); err != nil {
		tb.Fatal(err)
	}
}

// dump is all rows of a reader, as "k=v k=v".
func dump(tb testing.TB, r Reader, lower, upper string) string {
	tb.Helper()
	bound := func(s string) []byte {
		if s == "" {
			return nil
		}
		return []byte(s)
	}
	it, err := r.Iter(bound(lower), bound(upper))
	if err != nil {
		tb.Fatal(err)
	}
	var rows []string
	for ok := it.First(); ok; ok = it.Next() {
		rows = append(rows, fmt.Sprintf("%s=%s", it.Key(), it.Value()))
	}
	if err := it.Close(); err != nil {
		tb.Fatal(err)
	}
	return strings.Join(rows, " ")
}

func value(tb testing.TB, r Reader, key string) string {
	tb.Helper()
	v, ok, err := r.Get([]byte("dst:"), []byte(key))
	if err != nil {
		tb.Fatal(err)
	}
	if !ok && len(v) != 4 {
		tb.Fatalf("missing, but %q", v)
	}
	if !ok {
		return "none"
	}
	return strings.TrimPrefix(string(v), "dst:")
}

// TestModel compares the engine with a map while rows are written, deleted, flushed and compacted, with every
// compression; then after closing and opening again.
func TestModel(t *testing.T) {
	for i, compression := range []string{"none", "snappy", "zstd"} {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		opt := Options{Mem: NewMem(), Compression: compression}
		e := open(t, opt)
		model := map[string]string{}
		key := func() string { return fmt.Sprintf("k%03d", rng.IntN(200)) }
		check := func() {
			t.Helper()
			for range 50 {
				k := key()
				want, ok := model[k]
				if !ok {
					want = "none"
				}
				if got := value(t, e, k); got != want {
					t.Fatalf("%s: %s is %q, want %q", compression, k, got, want)
				}
				if got := value(t, e, k+"x"); got != "none" {
					t.Fatalf("%sx is %q", k, got)
				}
			}
			var rows []string
			for _, k := range slices.Sorted(maps.Keys(model)) {
				if k >= "k050" && k < "k150" {
					rows = append(rows, k+"="+model[k])
				}
			}
			if got := dump(t, e, "k050", "k150"); got != strings.Join(rows, " ") {
				t.Fatalf("%s: rows %s, want %s", compression, got, rows)
			}
		}
		for round := range 60 {
			var rows []string
			for range rng.IntN(30) {
				k, v := key(), strings.Repeat("v", rng.IntN(100))+fmt.Sprint(round)
				if rng.IntN(3) == 0 {
					v = "-"
					delete(model, k)
				} else {
					model[k] = v
				}
				rows = append(rows, k, v)
			}
			apply(t, e, rows...)
			switch rng.IntN(8) {
			case 0:
				if err := e.Flush(); err != nil {
					t.Fatal(err)
				}
			case 1:
				if err := e.AsyncFlush(); err != nil {
					t.Fatal(err)
				}
			case 2:
				if err := e.Compact(context.Background(), []byte("a"), []byte("z")); err != nil {
					t.Fatal(err)
				}
			}
			check()
		}
		if m := e.Metrics(); m.Flushes == 0 || m.DiskBytes == 0 {
			t.Errorf("metrics %+v", m)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e = open(t, opt)
		check()
		if err := e.CloseUnflushed(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIter moves in all directions within its bounds.
func TestIter(t *testing.T) {
	e := open(t, Options{Mem: NewMem()})
	defer e.CloseUnflushed()
	apply(t, e, "a", "1", "c", "3", "e", "5", "g", "7")
	it, err := e.Iter([]byte("b"), []byte("g"))
	if err != nil {
		t.Fatal(err)
	}
	at := func(ok bool) string {
		if ok != it.Valid() {
			t.Fatalf("moved %v, valid %v", ok, it.Valid())
		}
		if !ok {
			return "end"
		}
		return string(it.Key())
	}
	for _, step := range []struct{ what, got, want string }{
		{"First", at(it.First()), "c"}, {"Next", at(it.Next()), "e"}, {"Next", at(it.Next()), "end"},
		{"Last", at(it.Last()), "e"}, {"Prev", at(it.Prev()), "c"}, {"Prev", at(it.Prev()), "end"},
		{"SeekGE c", at(it.SeekGE([]byte("c"))), "c"}, {"SeekGE d", at(it.SeekGE([]byte("d"))), "e"},
		{"SeekGE f", at(it.SeekGE([]byte("f"))), "end"}, {"SeekLT z", at(it.SeekLT([]byte("z"))), "e"},
		{"SeekLT c", at(it.SeekLT([]byte("c"))), "end"},
	} {
		if step.got != step.want {
			t.Errorf("%s: at %s, want %s", step.what, step.got, step.want)
		}
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, e, "c", ""); got != "c=3 e=5 g=7" {
		t.Errorf("without an upper bound: %s", got)
	}
}

// TestMissingRowsReadNoBlocks: a look-up of a row that is in no level is answered by the filters.
func TestMissingRowsReadNoBlocks(t *testing.T) {
	e := open(t, Options{Mem: NewMem()})
	defer e.CloseUnflushed()
	for i := range 5 {
		var rows []string
		for j := range 400 {
			rows = append(rows, fmt.Sprintf("k%05d", 5*j+i), strings.Repeat("v", 200))
		}
		apply(t, e, rows...)
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Compact(context.Background(), []byte("a"), []byte("z")); err != nil {
		t.Fatal(err)
	}
	touched := func() int64 { m := e.Metrics(); return m.CacheHits + m.CacheMisses }
	value(t, e, "k00001")
	before := touched()
	for i := range 1000 {
		if got := value(t, e, fmt.Sprintf("k%05dx", i)); got != "none" {
			t.Fatal(got)
		}
	}
	missing := touched() - before
	before = touched()
	for i := range 1000 {
		value(t, e, fmt.Sprintf("k%05d", i))
	}
	// Index and filter are blocks, too; a data block on top would make a miss as dear as a hit.
	if found := touched() - before; missing >= found {
		t.Errorf("1000 misses touched %d blocks, 1000 hits %d", missing, found)
	}
}

// TestSnapshot: a snapshot does not change, whatever is written, flushed and compacted behind it.
func TestSnapshot(t *testing.T) {
	e := open(t, Options{Mem: NewMem()})
	defer e.CloseUnflushed()
	apply(t, e, "a", "1", "b", "2")
	s := e.Snapshot()
	apply(t, e, "a", "x", "b", "-", "c", "y")
	if err := errors.Join(e.Flush(), e.Compact(context.Background(), []byte("a"), []byte("z"))); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, s, "", ""); got != "a=1 b=2" || value(t, s, "a") != "1" || value(t, s, "c") != "none" {
		t.Errorf("the snapshot shows %s", got)
	}
	if got := dump(t, e, "", ""); got != "a=x c=y" {
		t.Errorf("the engine shows %s", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDurable: Durable is what a power loss leaves, no more and no less, and a crash leaves a prefix of the
// batches.
func TestDurable(t *testing.T) {
	durable := func(e *Engine) string {
		v, ok, err := e.Durable([]byte("n"))
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return "none"
		}
		return string(v)
	}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		mem := NewMem()
		e := open(t, Options{Mem: mem})
		if got := durable(e); got != "none" {
			t.Fatal(got)
		}
		flushed := 0
		n := 1 + rng.IntN(60)
		for i := 1; i <= n; i++ {
			apply(t, e, "n", fmt.Sprint(i), fmt.Sprintf("r%02d", i), strings.Repeat("v", rng.IntN(3000)))
			if rng.IntN(15) == 0 {
				if err := e.Flush(); err != nil {
					t.Fatal(err)
				}
				flushed = i
			}
		}
		want := "none"
		if flushed > 0 {
			want = fmt.Sprint(flushed)
		}
		if got := durable(e); got != want {
			t.Errorf("seed %d: durable is %s, flushed %s", seed, got, want)
		}
		clone := mem.CrashClone(rng, []int{0, 50, 100}[seed%3])
		if err := e.CloseUnflushed(); err != nil {
			t.Fatal(err)
		}
		// Closing unflushed forgets, as a crash does.
		for _, m := range []*Mem{mem, clone} {
			e := open(t, Options{Mem: m})
			if got := value(t, e, "n"); got != want {
				t.Errorf("seed %d: n is %s after a crash, durable was %s", seed, got, want)
			}
			if got := len(strings.Fields(dump(t, e, "r", "s"))); got != flushed {
				t.Errorf("seed %d: %d rows for %d batches", seed, got, flushed)
			}
			if err := e.CloseUnflushed(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCrashesLeaveAPrefix: with flushes in the background a crash at any moment leaves a prefix of the
// batches, the one that BeforeFlush was told about at most.
func TestCrashesLeaveAPrefix(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 2))
		mem := NewMem()
		var applied, allowed atomic.Int64
		e := open(t, Options{Mem: mem, BeforeFlush: func() error {
			allowed.Store(applied.Load())
			return nil
		}})
		var wg sync.WaitGroup
		var clone *Mem
		var limit int64
		at := 1 + rng.IntN(80)
		for i := 1; i <= 80; i++ {
			applied.Store(int64(i)) // the log comes first
			apply(t, e, "n", fmt.Sprint(i), fmt.Sprintf("r%02d", i), strings.Repeat("v", 500), fmt.Sprintf("r%02d", i-1), "-")
			if rng.IntN(10) == 0 {
				wg.Go(func() { _ = e.Flush() })
			}
			if i == at {
				clone = mem.CrashClone(rng, []int{0, 50, 100}[seed%3])
				limit = allowed.Load()
			}
		}
		wg.Wait()
		_ = e.CloseUnflushed()
		e = open(t, Options{Mem: clone})
		var n int64
		if _, err := fmt.Sscan(value(t, e, "n"), &n); err != nil {
			n = 0
		}
		if n > limit {
			t.Errorf("seed %d: batch %d survived, the log was asked for %d", seed, n, limit)
		}
		want := ""
		if n > 0 {
			want = fmt.Sprintf("r%02d=%s", n, strings.Repeat("v", 500))
		}
		if got := dump(t, e, "r", "s"); got != want {
			t.Errorf("seed %d: after batch %d there is %.60s", seed, n, got)
		}
		_ = e.CloseUnflushed()
	}
}

// TestFlushNeedsTheLog: while the log can't be synced nothing becomes durable; later it does, and Flushed
// is told.
func TestFlushNeedsTheLog(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	told := make(chan struct{}, 100)
	e := open(t, Options{Mem: NewMem(), BeforeFlush: func() error {
		if broken.Load() {
			return errors.New("the log is stuck")
		}
		return nil
	}, Flushed: func() { told <- struct{}{} }})
	defer e.CloseUnflushed()
	apply(t, e, "n", "1")
	done := make(chan error, 1)
	go func() { done <- e.Flush() }()
	for range 3 {
		<-told // attempts that failed
	}
	if _, ok, err := e.Durable([]byte("n")); ok || err != nil {
		t.Errorf("durable without the log: %v", err)
	}
	broken.Store(false)
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the flush never ended")
	}
	if v, ok, err := e.Durable([]byte("n")); !ok || string(v) != "1" || err != nil {
		t.Errorf("not durable after the flush: %q, %v", v, err)
	}
}

// TestCheckpoint: a checkpoint is an engine of its own with all that was applied, and stays as it is.
func TestCheckpoint(t *testing.T) {
	mem := NewMem()
	e := open(t, Options{Mem: mem})
	apply(t, e, "a", "1")
	if err := e.Checkpoint("cp"); err != nil {
		t.Fatal(err)
	}
	apply(t, e, "a", "2", "b", "3")
	if err := errors.Join(e.Flush(), e.Compact(context.Background(), []byte("a"), []byte("z"))); err != nil {
		t.Fatal(err)
	}
	if err := e.Checkpoint("cp"); err == nil {
		t.Error("a checkpoint over another one")
	}
	mem = mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)
	_ = e.CloseUnflushed()
	cp := open(t, Options{Mem: mem, Dir: "cp"})
	if got := dump(t, cp, "", ""); got != "a=1" {
		t.Errorf("the checkpoint holds %s", got)
	}
	apply(t, cp, "c", "4")
	if err := cp.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, Options{Mem: mem})
	defer e.CloseUnflushed()
	if got := dump(t, e, "", ""); got != "a=2 b=3" {
		t.Errorf("the engine holds %s", got)
	}
}

// TestReadFrom reads one row of a checkpoint on disk.
func TestReadFrom(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{Dir: filepath.Join(dir, "engine")})
	apply(t, e, "a", "1")
	cp := filepath.Join(dir, "cp")
	if err := errors.Join(e.Checkpoint(cp), e.CloseUnflushed()); err != nil {
		t.Fatal(err)
	}
	if v, ok, err := ReadFrom(cp, []byte("a")); string(v) != "1" || !ok || err != nil {
		t.Errorf("%q, %v, %v", v, ok, err)
	}
	if _, ok, err := ReadFrom(cp, []byte("b")); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if _, _, err := ReadFrom(filepath.Join(dir, "none"), []byte("a")); err == nil {
		t.Error("a checkpoint that does not exist was read")
	}
}

// TestExcise drops a range at once, wherever its rows are; a flush makes that durable.
func TestExcise(t *testing.T) {
	mem := NewMem()
	e := open(t, Options{Mem: mem})
	apply(t, e, "a", "1", "b1", "2", "b9", "3", "c", "4")
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	apply(t, e, "b5", "in a memtable")
	if err := e.Excise(context.Background(), []byte("b"), []byte("c")); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, e, "", ""); got != "a=1 c=4" || value(t, e, "b5") != "none" {
		t.Errorf("there is %s", got)
	}
	apply(t, e, "b5", "new")
	if got := dump(t, e, "", ""); got != "a=1 b5=new c=4" {
		t.Errorf("there is %s", got)
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	apply(t, e, "b7", "lost")
	clone := mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)
	_ = e.CloseUnflushed()
	e = open(t, Options{Mem: clone})
	defer e.CloseUnflushed()
	if got := dump(t, e, "", ""); got != "a=1 b5=new c=4" {
		t.Errorf("after a crash there is %s", got)
	}
}

// TestConcurrentUse is the race detector's.
func TestConcurrentUse(t *testing.T) {
	e := open(t, Options{Mem: NewMem(), Flushed: func() {}})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 50 {
				apply(t, e, fmt.Sprintf("k%d", j), fmt.Sprint(i), "n", "x")
				_, _, _ = e.Get(nil, []byte("k1"))
				dump(t, e, "k", "")
				if j%20 == i {
					_ = e.AsyncFlush()
					_, _, _ = e.Durable([]byte("n"))
					s := e.Snapshot()
					dump(t, s, "", "")
					_ = s.Close()
					e.Metrics()
				}
			}
		})
	}
	wg.Wait()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBatch: a batch can be used again, and its size tells whether it is empty.
func TestBatch(t *testing.T) {
	e := open(t, Options{Mem: NewMem()})
	defer e.CloseUnflushed()
	b := e.NewBatch()
	defer b.Close()
	empty := b.Len()
	key, val := []byte("a"), []byte("1")
	b.Set(key, val)
	key[0], val[0] = 'x', 'x' // copied
	b.Set([]byte("empty"), nil)
	b.Delete([]byte("none"))
	if b.Len() <= empty {
		t.Errorf("%d bytes", b.Len())
	}
	if err := e.Apply(b); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if b.Len() > empty {
		t.Errorf("%d bytes after Reset", b.Len())
	}
	b.Delete([]byte("a"))
	if err := e.Apply(b); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, e, "", ""); got != "empty=" {
		t.Errorf("there is %s", got)
	}
}

// TestMemDisk is the file system in memory as the log uses it, with its crashes.
func TestMemDisk(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	mem := NewMem()
	d := mem.Disk()
	if err := errors.Join(d.MkdirAll("dir/sub"), d.SyncDir("dir"), d.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	f, err := d.Create("dir/f")
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		t.Helper()
		p := []byte(s)
		if _, err := f.Write(p); err != nil || string(p) != s {
			t.Fatalf("writing %q left %q: %v", s, p, err)
		}
	}
	content := func(m *Mem) string {
		t.Helper()
		g, err := m.Disk().Open("dir/f")
		if err != nil {
			return "none"
		}
		defer g.Close()
		size, err := g.Size()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		if n, err := g.ReadAt(b, 0); int64(n) != size || err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		return string(b)
	}
	crash := func(keep int) string { t.Helper(); return content(mem.CrashClone(rng, keep)) }
	write("one ")
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := crash(0); got != "none" {
		t.Errorf("the name survived without a sync of its directory: %q", got)
	}
	if err := d.SyncDir("dir"); err != nil {
		t.Fatal(err)
	}
	write("two ")
	if a, b := crash(0), crash(100); a != "one " || b != "one two " {
		t.Errorf("after a crash: %q, %q", a, b)
	}
	// Truncating and going on; what is synced behind it stays.
	if err := f.Truncate(2); err != nil {
		t.Fatal(err)
	}
	write("three")
	if got := content(mem); got != "onthree" {
		t.Errorf("%q", got)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := crash(0); got != "onthree" {
		t.Errorf("synced behind a truncation: %q", got)
	}
	if err := errors.Join(f.Truncate(9), f.Close()); err != nil {
		t.Fatal(err)
	}
	if got := content(mem); got != "onthree\x00\x00" {
		t.Errorf("extended: %q", got)
	}
	if f, err = d.OpenAppend("dir/f"); err != nil {
		t.Fatal(err)
	}
	write("!")
	if got := content(mem); got != "onthree\x00\x00!" {
		t.Errorf("appended: %q", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Rename("dir/f", "dir/g"), d.Link("dir/g", "dir/h"), d.Remove("dir/g")); err != nil {
		t.Fatal(err)
	}
	names, err := d.List("dir")
	slices.Sort(names)
	if err != nil || !bytes.Equal([]byte(strings.Join(names, " ")), []byte("h sub")) {
		t.Errorf("%q, %v", names, err)
	}
	if st, err := d.Stat("dir/h"); err != nil || st.Size != 10 || st.Dir {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := d.Stat("dir/sub"); err != nil || !st.Dir {
		t.Errorf("%+v, %v", st, err)
	}
	lock, err := d.Lock("dir/LOCK")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Lock("dir/LOCK"); err == nil {
		t.Error("locked twice")
	}
	if err := errors.Join(lock.Close(), d.RemoveAll("dir")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open("dir/h"); err == nil {
		t.Error("it is still there")
	}
	if free, err := d.Free("/"); free == 0 || err != nil {
		t.Error(free, err)
	}
}

// TestBrokenDisk: an engine whose directory is gone does not fill the log with its tries, answers who waits for a
// flush, and can be closed. It works again when the directory is there again.
func TestBrokenDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "engine")
	var lines lineCounter
	e := open(t, Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	away := dir + ".away"
	apply(t, e, "k", "v")
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if err := e.Flush(); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("flush without a directory: %v", err)
	}
	if n := lines.n.Load(); n == 0 || n > 8 {
		t.Errorf("%d lines in the log", n)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if err := e.Flush(); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	apply(t, e, "k", "w")
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("close without a directory: %v", err)
	}
}

type lineCounter struct{ n atomic.Int32 }

func (c *lineCounter) Write(b []byte) (int, error) {
	c.n.Add(1)
	return len(b), nil
}

// TestHoldCache: while it is held the block cache does not take in what a walk reads; afterwards it does.
func TestHoldCache(t *testing.T) {
	mem := NewMem()
	e := open(t, Options{Mem: mem, Compression: "none"})
	value := bytes.Repeat([]byte("x"), 1000)
	for i := 0; i < 60_000; i += 1000 {
		b := e.NewBatch()
		for k := range 1000 {
			b.Set(fmt.Appendf(nil, "k%06d", i+k), value)
		}
		if err := e.Apply(b); err != nil {
			t.Fatal(err)
		}
		b.Close()
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, Options{Mem: mem, CacheBytes: 256 << 20, Compression: "none"})
	defer e.Close()
	walk := func() int64 {
		it, err := e.Iter(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			n++
		}
		if err := it.Close(); err != nil || n != 60_000 {
			t.Fatalf("%d rows, %v", n, err)
		}
		return e.cache.Size()
	}
	first, second := e.HoldCache(), e.HoldCache()
	first()
	first() // of no effect
	if size := walk(); size > heldGrowth {
		t.Errorf("%d bytes in the cache while it is held", size)
	}
	second()
	if size := walk(); size < 50_000_000 {
		t.Errorf("%d bytes in the cache afterwards", size)
	}
	if size := e.cache.Size(); size < 50_000_000 {
		t.Errorf("%d bytes", size)
	}
	held := e.HoldCache()
	if size := walk(); size < 50_000_000 {
		t.Errorf("%d bytes when it is held again: what it had is gone", size)
	}
	held()
}
