package disk

import (
	"io"
	"sync"
	"syscall"
)

// Op names an operation that Faults can disturb: everything that changes what is on disk.
type Op string

// The operations.
const (
	OpCreate   Op = "create"
	OpWrite    Op = "write"
	OpSync     Op = "sync"
	OpTruncate Op = "truncate"
	OpRemove   Op = "remove"
	OpRename   Op = "rename"
	OpLink     Op = "link"
	OpMkdir    Op = "mkdir"
	OpSyncDir  Op = "syncdir"
)

// Faults wraps a file system and disturbs it: it fails the n-th operation of a kind, runs out of space
// after so many bytes, or calls a hook before each operation (which may wait, fail it, or take a
// CrashClone of the file system below at exactly that step).
type Faults struct {
	FS
	mu struct {
		sync.Mutex
		hook    func(op Op, name string) error
		failing map[Op]*fault
		limited bool
		room    int64
	}
}

type fault struct {
	after int
	err   error
}

// NewFaults wraps a file system; until told otherwise it changes nothing.
func NewFaults(below FS) *Faults {
	f := &Faults{FS: below}
	f.mu.failing = map[Op]*fault{}
	return f
}

// Before sets the hook; nil removes it. It runs without any lock of Faults.
func (f *Faults) Before(hook func(op Op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.hook = hook
}

// Fail lets n operations of a kind pass and fails the next one with err, once.
func (f *Faults) Fail(op Op, n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.failing[op] = &fault{n, err}
}

// Limit lets n more bytes be written; the write that crosses the limit is short and fails with ENOSPC, as
// all later ones do. A negative n lifts the limit.
func (f *Faults) Limit(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.limited, f.mu.room = n >= 0, n
}

func (f *Faults) check(op Op, name string) error {
	f.mu.Lock()
	hook := f.mu.hook
	var err error
	if x := f.mu.failing[op]; x != nil {
		if x.after == 0 {
			err = x.err
			delete(f.mu.failing, op)
		}
		x.after--
	}
	f.mu.Unlock()
	if hook != nil {
		if herr := hook(op, name); herr != nil {
			return herr
		}
	}
	return err
}

// take returns how many of n bytes still fit.
func (f *Faults) take(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.mu.limited {
		return n
	}
	n = int(min(int64(n), f.mu.room))
	f.mu.room -= int64(n)
	return n
}

// Create implements FS.
func (f *Faults) Create(name string) (File, error) {
	if err := f.check(OpCreate, name); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.FS.Create(name))
}

// OpenAppend implements FS.
func (f *Faults) OpenAppend(name string) (File, error) { return f.wrap(name)(f.FS.OpenAppend(name)) }

func (f *Faults) wrap(name string) func(File, error) (File, error) {
	return func(below File, err error) (File, error) {
		if err != nil {
			return nil, err
		}
		return &faultFile{below, f, name}, nil
	}
}

// Remove implements FS.
func (f *Faults) Remove(name string) error {
	if err := f.check(OpRemove, name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// RemoveAll implements FS.
func (f *Faults) RemoveAll(name string) error {
	if err := f.check(OpRemove, name); err != nil {
		return err
	}
	return f.FS.RemoveAll(name)
}

// Rename implements FS.
func (f *Faults) Rename(from, to string) error {
	if err := f.check(OpRename, to); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

// Link implements FS.
func (f *Faults) Link(from, to string) error {
	if err := f.check(OpLink, to); err != nil {
		return err
	}
	return f.FS.Link(from, to)
}

// MkdirAll implements FS.
func (f *Faults) MkdirAll(dir string) error {
	if err := f.check(OpMkdir, dir); err != nil {
		return err
	}
	return f.FS.MkdirAll(dir)
}

// SyncDir implements FS.
func (f *Faults) SyncDir(dir string) error {
	if err := f.check(OpSyncDir, dir); err != nil {
		return err
	}
	return f.FS.SyncDir(dir)
}

type faultFile struct {
	File
	fs   *Faults
	name string
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.fs.check(OpWrite, f.name); err != nil {
		return 0, err
	}
	fits := f.fs.take(len(p))
	n, err := f.File.Write(p[:fits])
	if err == nil && n < len(p) {
		err = syscall.ENOSPC
	}
	return n, err
}

func (f *faultFile) Sync() error {
	if err := f.fs.check(OpSync, f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fs.check(OpTruncate, f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

var (
	_ FS        = (*Mem)(nil)
	_ FS        = (*Faults)(nil)
	_ io.Writer = (*faultFile)(nil)
)
