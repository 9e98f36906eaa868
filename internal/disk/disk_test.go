package disk

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// everyFS runs a test on the real file system, in memory, and through an idle Faults.
func everyFS(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, OS(), t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		if err := m.MkdirAll("/tmp/x"); err != nil {
			t.Fatal(err)
		}
		test(t, m, "/tmp/x")
	})
	t.Run("faults", func(t *testing.T) { test(t, NewFaults(OS()), t.TempDir()) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustFile(t *testing.T) func(File, error) File {
	return func(f File, err error) File {
		t.Helper()
		must(t, err)
		return f
	}
}

func mustWrite(t *testing.T, f File, s string) {
	t.Helper()
	n, err := f.Write([]byte(s))
	if err != nil || n != len(s) {
		t.Fatalf("Write = %d, %v", n, err)
	}
}

func content(t *testing.T, fsys FS, name string) string {
	t.Helper()
	b, err := ReadFile(fsys, name)
	must(t, err)
	return string(b)
}

func TestFiles(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		for _, open := range []func(string) (File, error){fsys.Open, fsys.OpenAppend} {
			if _, err := open(name); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("open of an absent file: %v", err)
			}
		}
		f := mustFile(t)(fsys.Create(name))
		mustWrite(t, f, "hello ")
		mustWrite(t, f, "world")
		p := make([]byte, 5)
		if n, err := f.ReadAt(p, 6); n != 5 || err != nil || string(p) != "world" {
			t.Fatalf("ReadAt = %d %q, %v", n, p, err)
		}
		if n, err := f.ReadAt(p, 9); n != 2 || !errors.Is(err, io.EOF) {
			t.Fatalf("ReadAt over the end = %d, %v", n, err)
		}
		if n, err := f.ReadAt(p, 99); n != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("ReadAt behind the end = %d, %v", n, err)
		}
		must(t, f.Truncate(5))
		mustWrite(t, f, "!") // goes to the new end
		must(t, f.Sync())
		if size, err := f.Size(); size != 6 || err != nil {
			t.Fatalf("Size = %d, %v", size, err)
		}
		must(t, f.Truncate(8))
		if got := content(t, fsys, name); got != "hello!\x00\x00" {
			t.Fatalf("content %q", got)
		}
		must(t, f.Close())
		if _, err := f.Write([]byte("x")); err == nil {
			t.Fatal("write to a closed file")
		}
		f = mustFile(t)(fsys.OpenAppend(name))
		mustWrite(t, f, "more")
		must(t, f.Close())
		r := mustFile(t)(fsys.Open(name))
		if _, err := r.Write([]byte("x")); err == nil {
			t.Fatal("write to a file opened for reading")
		}
		must(t, fsys.Remove(name)) // who has it open keeps it
		if n, err := r.ReadAt(p, 0); n != 5 || err != nil || string(p) != "hello" {
			t.Fatalf("ReadAt of a removed file = %d %q, %v", n, p, err)
		}
		must(t, r.Close())
		f = mustFile(t)(fsys.Create(name))
		mustWrite(t, f, "old")
		must(t, f.Close())
		f = mustFile(t)(fsys.Create(name))
		must(t, f.Close())
		if got := content(t, fsys, name); got != "" {
			t.Fatalf("Create left %q", got)
		}
	})
}

func TestNames(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		at := func(name string) string { return filepath.Join(dir, name) }
		must(t, MkdirSynced(fsys, at("a/b/c")))
		must(t, MkdirSynced(fsys, at("a/b/c")))
		must(t, fsys.MkdirAll(at("a/b")))
		for _, name := range []string{"a/z", "a/y", "a/b/f"} {
			must(t, WriteFileAtomic(fsys, at(name), []byte(name)))
		}
		if names, err := fsys.List(at("a")); err != nil || !slices.Equal(names, []string{"b", "y", "z"}) {
			t.Fatalf("List = %v, %v", names, err)
		}
		must(t, fsys.Rename(at("a/z"), at("a/y")))
		if got := content(t, fsys, at("a/y")); got != "a/z" || Exists(fsys, at("a/z")) {
			t.Fatalf("after rename: %q", got)
		}
		must(t, fsys.Rename(at("a/b"), at("a/d"))) // a directory with all below it
		if got := content(t, fsys, at("a/d/f")); got != "a/b/f" {
			t.Fatalf("in a renamed directory: %q", got)
		}
		must(t, fsys.Link(at("a/y"), at("l")))
		if err := fsys.Link(at("a/y"), at("l")); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("link over a name: %v", err)
		}
		f := mustFile(t)(fsys.OpenAppend(at("l")))
		mustWrite(t, f, "+")
		must(t, f.Close())
		if got := content(t, fsys, at("a/y")); got != "a/z+" {
			t.Fatalf("through a link: %q", got)
		}
		if info, err := fsys.Stat(at("l")); err != nil || info.Size != 4 || info.Dir || info.ModTime.IsZero() {
			t.Fatalf("Stat = %+v, %v", info, err)
		}
		if info, err := fsys.Stat(at("a")); err != nil || !info.Dir {
			t.Fatalf("Stat of a directory = %+v, %v", info, err)
		}
		for what, err := range map[string]error{
			"remove": fsys.Remove(at("none")), "rename": fsys.Rename(at("none"), at("x")),
			"link": fsys.Link(at("none"), at("x")), "syncdir": fsys.SyncDir(at("none")),
		} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s of an absent name: %v", what, err)
			}
		}
		if err := fsys.Remove(at("a")); err == nil {
			t.Error("removed a directory that is not empty")
		}
		must(t, fsys.SyncDir(dir))
		must(t, fsys.RemoveAll(at("a")))
		must(t, fsys.RemoveAll(at("a")))
		if Exists(fsys, at("a")) || !Exists(fsys, at("l")) {
			t.Error("RemoveAll removed the wrong names")
		}
		if n, err := fsys.Free(dir); err != nil || n == 0 {
			t.Errorf("Free = %d, %v", n, err)
		}
	})
}

func TestLock(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "LOCK")
		lock, err := fsys.Lock(name)
		must(t, err)
		if _, err := fsys.Lock(name); !errors.Is(err, ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		must(t, lock.Close())
		lock, err = fsys.Lock(name)
		must(t, err)
		must(t, lock.Close())
	})
}

func TestWriteFileAtomicFails(t *testing.T) {
	m := NewMem()
	f := NewFaults(m)
	must(t, WriteFileAtomic(f, "/x", []byte("old")))
	for _, op := range []Op{OpCreate, OpWrite, OpSync, OpRename} {
		f.Fail(op, 0, syscall.EIO)
		if err := WriteFileAtomic(f, "/x", []byte("new")); !errors.Is(err, syscall.EIO) {
			t.Fatalf("%s: %v", op, err)
		}
		if got := content(t, m, "/x"); got != "old" {
			t.Fatalf("%s: content %q", op, got)
		}
	}
}

func TestFaults(t *testing.T) {
	f := NewFaults(NewMem())
	f.Fail(OpWrite, 2, syscall.EIO)
	file := mustFile(t)(f.Create("/x"))
	mustWrite(t, file, "1")
	mustWrite(t, file, "2")
	if n, err := file.Write([]byte("3")); n != 0 || !errors.Is(err, syscall.EIO) {
		t.Fatalf("third write = %d, %v", n, err)
	}
	mustWrite(t, file, "4")
	f.Limit(5)
	mustWrite(t, file, "567")
	if n, err := file.Write([]byte("89x")); n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("write over the limit = %d, %v", n, err)
	}
	if n, err := file.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("write after the limit = %d, %v", n, err)
	}
	f.Limit(-1)
	mustWrite(t, file, "!")
	if got := content(t, f, "/x"); got != "12456789!" {
		t.Fatalf("content %q", got)
	}
	var seen []Op
	f.Before(func(op Op, name string) error {
		seen = append(seen, op)
		if op == OpRemove {
			return syscall.EPERM
		}
		return nil
	})
	must(t, file.Sync())
	must(t, file.Truncate(0))
	must(t, f.MkdirAll("/d"))
	must(t, f.Link("/x", "/d/y"))
	must(t, f.Rename("/d/y", "/d/z"))
	must(t, f.SyncDir("/d"))
	for _, err := range []error{f.Remove("/x"), f.RemoveAll("/x")} {
		if !errors.Is(err, syscall.EPERM) {
			t.Fatalf("remove: %v", err)
		}
	}
	want := []Op{OpSync, OpTruncate, OpMkdir, OpLink, OpRename, OpSyncDir, OpRemove, OpRemove}
	if !slices.Equal(seen, want) {
		t.Fatalf("hook saw %v, want %v", seen, want)
	}
}

func TestMemExtras(t *testing.T) {
	m := NewMem()
	m.SetFree(77)
	if n, err := m.Free("/"); n != 77 || err != nil {
		t.Fatalf("Free = %d, %v", n, err)
	}
	now := time.UnixMilli(123456)
	m.SetTime(now)
	must(t, WriteFileAtomic(m, "/x", bytes.Repeat([]byte{'a'}, 10)))
	if info, err := m.Stat("/x"); err != nil || !info.ModTime.Equal(now) {
		t.Fatalf("%+v, %v", info, err)
	}
	must(t, m.Corrupt("/x", 4, 1))
	if got := content(t, m, "/x"); got != "aaaa`aaaaa" {
		t.Fatalf("content %q", got)
	}
	if m.Corrupt("/x", 10, 1) == nil || m.Corrupt("/y", 0, 1) == nil {
		t.Fatal("corrupted what is not there")
	}
}
