package storage

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"haypile/internal/disk"
)

// flushCategory is what the engine calls the files that a memtable flush writes.
const flushCategory = "pebble-memtable-flush"

// orderedFS keeps the engine behind the log: the first sync of a flush's file waits for the log's. Before a new table
// it pauses where the ones before have failed.
type orderedFS struct {
	vfs.FS
	beforeFlush func() error
	pause       func()
}

func (f *orderedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(name, ".sst") { // made without the engine's lock
		f.pause()
	}
	file, err := f.FS.Create(name, category)
	if err != nil || f.beforeFlush == nil || category != flushCategory {
		return file, err
	}
	return &flushFile{File: file, before: f.beforeFlush}, nil
}

func (f *orderedFS) Unwrap() vfs.FS { return f.FS }

// flushFile calls before ahead of its first sync of any form.
type flushFile struct {
	vfs.File
	before func() error
	done   atomic.Bool
}

func (f *flushFile) ready() error {
	if f.done.Load() {
		return nil
	}
	if err := f.before(); err != nil {
		return err
	}
	f.done.Store(true)
	return nil
}

func (f *flushFile) Sync() error {
	if err := f.ready(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *flushFile) SyncData() error {
	if err := f.ready(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *flushFile) SyncTo(n int64) (bool, error) {
	if err := f.ready(); err != nil {
		return false, err
	}
	return f.File.SyncTo(n)
}

// stallCounter counts write stalls for INFO and metrics.
type stallCounter struct{ count, active atomic.Int64 }

func (s *stallCounter) begin() { s.count.Add(1); s.active.Store(1) }
func (s *stallCounter) end()   { s.active.Store(0) }

// Mem is an in-memory file system that can be cloned as a crash would leave it. It serves the engine and,
// through Disk, the log, so that both lose power at the same moment.
type Mem struct{ fs *vfs.MemFS }

// NewMem makes an empty one.
func NewMem() *Mem { return &Mem{vfs.NewCrashableMem()} }

// CrashClone is what a power loss now would leave: all that is synced, and of the rest each block or
// directory entry with the given probability in percent.
func (m *Mem) CrashClone(rng *rand.Rand, unsyncedPercent int) *Mem {
	return &Mem{m.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsyncedPercent, RNG: rng})}
}

// Disk is the file system as the log sees it.
func (m *Mem) Disk() disk.FS { return memDisk{m.fs} }

// memDisk adapts a MemFS to disk.FS.
type memDisk struct{ fs *vfs.MemFS }

// memFile appends: the file's cursor stands at its end. Truncate rewrites the file, which a MemFS can't cut,
// so mu guards what the name stands for.
type memFile struct {
	fs   *vfs.MemFS
	name string
	mu   struct {
		sync.Mutex
		file vfs.File
	}
}

func (d memDisk) file(name string, f vfs.File) *memFile {
	m := &memFile{fs: d.fs, name: name}
	m.mu.file = f
	return m
}

func (f *memFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.file.Write(bytes.Clone(p)) // with the race detector on, a MemFS scribbles over what it is given
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.file.ReadAt(p, off)
}

func (f *memFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.file.Sync()
}

func (f *memFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.file.Close()
}

func (f *memFile) Size() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	st, err := f.mu.file.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f *memFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	buf := make([]byte, size) // what is behind the present end stays zero
	if _, err := f.mu.file.ReadAt(buf, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	tmp := f.name + ".truncate"
	nf, err := f.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := nf.Write(buf); err != nil {
		return err
	}
	if err := errors.Join(nf.Sync(), f.fs.Rename(tmp, f.name), f.mu.file.Close()); err != nil {
		return err
	}
	f.mu.file = nf
	// The name must reach the disk with the new file: a later Sync of the file would not see to it.
	return memDisk{f.fs}.SyncDir(f.fs.PathDir(f.name))
}

func (d memDisk) Create(name string) (disk.File, error) {
	f, err := d.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return d.file(name, f), nil
}

func (d memDisk) OpenAppend(name string) (disk.File, error) {
	f, err := d.fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	// A MemFS file opened for writing writes from the start; reading all of it moves its cursor.
	if _, err := io.Copy(io.Discard, f); err != nil {
		return nil, err
	}
	return d.file(name, f), nil
}

func (d memDisk) Open(name string) (disk.File, error) {
	f, err := d.fs.Open(name)
	if err != nil {
		return nil, err
	}
	return d.file(name, f), nil
}

func (d memDisk) Remove(name string) error            { return d.fs.Remove(name) }
func (d memDisk) RemoveAll(name string) error         { return d.fs.RemoveAll(name) }
func (d memDisk) Rename(from, to string) error        { return d.fs.Rename(from, to) }
func (d memDisk) MkdirAll(dir string) error           { return d.fs.MkdirAll(dir, 0o755) }
func (d memDisk) List(dir string) ([]string, error)   { return d.fs.List(dir) }
func (d memDisk) Link(from, to string) error          { return d.fs.Link(from, to) }
func (d memDisk) Lock(name string) (io.Closer, error) { return d.fs.Lock(name) }
func (d memDisk) Free(string) (uint64, error)         { return 1 << 50, nil }
func (d memDisk) Stat(name string) (disk.Info, error) {
	st, err := d.fs.Stat(name)
	if err != nil {
		return disk.Info{}, err
	}
	return disk.Info{Size: st.Size(), ModTime: st.ModTime(), Dir: st.IsDir()}, nil
}

func (d memDisk) SyncDir(dir string) error {
	f, err := d.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
