package datadir

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"haypile/internal/disk"
)

func mustOpen(t *testing.T, fsys disk.FS, path string) *Dir {
	t.Helper()
	d, err := Open(fsys, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// build makes the next pair with a marker in both directories.
func build(t *testing.T, d *Dir, fsys disk.FS) Pair {
	t.Helper()
	p, err := d.NewPair()
	must(t, err)
	must(t, disk.WriteFileAtomic(fsys, filepath.Join(p.Engine, "e"), []byte("e")))
	must(t, disk.WriteFileAtomic(fsys, filepath.Join(p.Log, "l"), []byte("l")))
	return p
}

func TestLife(t *testing.T) {
	for name, start := range map[string]func() (disk.FS, string){
		"mem": func() (disk.FS, string) { return disk.NewMem(), "/srv/haypile" },
		"os":  func() (disk.FS, string) { return disk.OS(), filepath.Join(t.TempDir(), "new", "data") },
	} {
		t.Run(name, func(t *testing.T) {
			fsys, path := start()
			d := mustOpen(t, fsys, path)
			if p, ok := d.Current(); ok {
				t.Fatalf("new directory has pair %+v", p)
			}
			if _, err := Open(fsys, path); !errors.Is(err, disk.ErrLocked) {
				t.Fatalf("second Open: %v", err)
			}
			if err := d.Flip(1); err == nil {
				t.Fatal("flipped to a pair that does not exist")
			}
			one := build(t, d, fsys)
			must(t, d.Flip(one.N))
			if p, ok := d.Current(); !ok || p != one || p.N != 1 || filepath.Base(p.Log) != "log-1" {
				t.Fatalf("current %+v", p)
			}
			must(t, disk.WriteFileAtomic(fsys, d.LineagePath(), []byte("l")))
			must(t, fsys.MkdirAll(filepath.Join(path, "checkpoint-5")))
			build(t, d, fsys) // never finished
			must(t, d.Close())

			d = mustOpen(t, fsys, path)
			if p, ok := d.Current(); !ok || p != one {
				t.Fatalf("current %+v after reopening", p)
			}
			for _, gone := range []string{"engine-2", "log-2"} {
				if disk.Exists(fsys, filepath.Join(path, gone)) {
					t.Errorf("%s of an unfinished build is still there", gone)
				}
			}
			two := build(t, d, fsys)
			if two.N != 2 || !disk.Exists(fsys, filepath.Join(one.Engine, "e")) {
				t.Fatalf("second pair %+v", two)
			}
			must(t, d.Flip(two.N))
			must(t, d.RemoveOld())
			must(t, d.RemoveOld())
			for name, want := range map[string]bool{one.Engine: false, one.Log: false, two.Engine: true, two.Log: true,
				d.LineagePath(): true, filepath.Join(path, "checkpoint-5"): true} {
				if disk.Exists(fsys, name) != want {
					t.Errorf("%s exists: %v", name, !want)
				}
			}
			if n, err := d.Free(); err != nil || n == 0 {
				t.Errorf("Free = %d, %v", n, err)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  error
	}{
		"newer":             {map[string]string{"FORMAT": "haypile 2\n", "CURRENT": "1\n"}, ErrNewerFormat},
		"garbage format":    {map[string]string{"FORMAT": "7\n"}, ErrForeign},
		"other engine":      {map[string]string{"CURRENT": "MANIFEST-000001\n"}, ErrForeign},
		"format lost":       {map[string]string{"engine-1/x": ""}, ErrForeign},
		"current unreadble": {map[string]string{"FORMAT": "haypile 1\n", "CURRENT": "x\n"}, nil},
		"pair missing":      {map[string]string{"FORMAT": "haypile 1\n", "CURRENT": "1\n", "log-1/x": ""}, nil},
	} {
		m := disk.NewMem()
		for file, text := range c.files {
			must(t, disk.MkdirSynced(m, filepath.Dir("/d/"+file)))
			must(t, disk.WriteFileAtomic(m, "/d/"+file, []byte(text)))
		}
		_, err := Open(m, "/d")
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		for file, text := range c.files {
			if b, err := disk.ReadFile(m, "/d/"+file); err != nil || string(b) != text {
				t.Errorf("%s: %s is now %q, %v", name, file, b, err)
			}
		}
		if lock, err := m.Lock("/d/LOCK"); err != nil {
			t.Errorf("%s: the lock was kept", name)
		} else {
			must(t, lock.Close())
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := Open(disk.OS(), file); err == nil {
		t.Error("opened a file")
	}
	// Unknown files beside are the operator's.
	m := disk.NewMem()
	must(t, disk.WriteFileAtomic(m, "/haypile.conf", nil))
	mustOpen(t, m, "/")
}

// TestCrashAtEveryStep builds, flips and removes with a crash at every step: what CURRENT names is there
// whole, and it is the old pair before the flip and the new one after.
func TestCrashAtEveryStep(t *testing.T) {
	steps := 1
	for seed := range uint64(8) {
		for step := 0; step < steps; step++ {
			rng := rand.New(rand.NewPCG(seed, uint64(step)))
			mem := disk.NewMem()
			faults := disk.NewFaults(mem)
			var crashed *disk.Mem
			n, flipped, wanted := 0, 0, 0
			crash := func() {
				crashed = mem.CrashClone(rng, rng.Float64())
				wanted = flipped
			}
			faults.Before(func(disk.Op, string) error {
				if n == step {
					crash()
				}
				n++
				return nil
			})
			d, err := Open(faults, "/data/dir")
			must(t, err)
			for range 3 {
				p := build(t, d, faults)
				must(t, d.Flip(p.N))
				flipped = p.N
				must(t, d.RemoveOld())
			}
			if crashed == nil {
				crash()
			}
			steps = n + 1
			must(t, d.Close())
			again, err := Open(crashed, "/data/dir")
			if err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			p, ok := again.Current()
			if p.N != wanted && p.N != wanted+1 || ok != (p.N > 0) {
				t.Fatalf("seed %d step %d: pair %d, want %d or the next", seed, step, p.N, wanted)
			}
			if ok && (!disk.Exists(crashed, p.Engine+"/e") || !disk.Exists(crashed, p.Log+"/l")) {
				t.Fatalf("seed %d step %d: pair %d is not whole", seed, step, p.N)
			}
			build(t, again, crashed)
			must(t, again.Close())
		}
	}
}

func TestFailedFlipRemovesNothing(t *testing.T) {
	mem := disk.NewMem()
	faults := disk.NewFaults(mem)
	d := mustOpen(t, faults, "/d")
	one := build(t, d, faults)
	must(t, d.Flip(one.N))
	two := build(t, d, faults)
	faults.Fail(disk.OpSyncDir, 1, syscall.EIO) // after the rename
	if err := d.Flip(two.N); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Flip = %v", err)
	}
	if err := d.RemoveOld(); err == nil || !disk.Exists(mem, one.Log) || !disk.Exists(mem, two.Log) {
		t.Fatalf("RemoveOld = %v", err)
	}
	must(t, d.Flip(two.N))
	must(t, d.RemoveOld())
	if disk.Exists(mem, one.Log) {
		t.Fatal("the old pair is still there")
	}
}
