// Package disk is the file system as the log, the data directory and (through an adapter) the storage
// engine see it: an interface small enough to stand on the operating system, in memory with the rules of
// a power loss, or on another library's file system.
//
// Three implementations live here. OS is the real one. Mem keeps everything in memory and can be cloned as
// a power loss would leave it: whatever was not synced is lost, kept or torn, page by page. Faults wraps
// any of them and fails, fills up or delays at a chosen operation.
//
// The package has no goroutines. All file systems may be used by several goroutines at once; one File may
// be read by many and written by one.
package disk

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// ErrLocked says that somebody else holds the lock file.
var ErrLocked = errors.New("locked by another process")

// File is an open file. Writes go to its end; reads say where.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	// Sync returns once all bytes written so far, and the size, would survive a power loss. The name does
	// so only after SyncDir of its directory. After an error nothing may be assumed about the bytes.
	Sync() error
	// Truncate cuts the file to size bytes; later writes continue there.
	Truncate(size int64) error
	Size() (int64, error)
}

// Info is what Stat tells about a name.
type Info struct {
	Size    int64
	ModTime time.Time
	Dir     bool
}

// FS is a file system. Errors satisfy errors.Is with fs.ErrNotExist and fs.ErrExist where they apply.
type FS interface {
	// Create makes an empty file for appending and reading; a file of that name is replaced.
	Create(name string) (File, error)
	// OpenAppend opens an existing file for appending and reading.
	OpenAppend(name string) (File, error)
	// Open opens an existing file for reading.
	Open(name string) (File, error)

	Remove(name string) error
	// RemoveAll removes a name with all below it; an absent one is no error.
	RemoveAll(name string) error
	// Rename is atomic and replaces a file of the new name.
	Rename(from, to string) error
	// Link makes a second name for the same file.
	Link(from, to string) error
	MkdirAll(dir string) error
	// List returns the names in a directory, sorted.
	List(dir string) ([]string, error)
	Stat(name string) (Info, error)
	// SyncDir makes creations, removals and renames in a directory survive a power loss.
	SyncDir(dir string) error
	// Lock takes an exclusive lock that ends with the process, creating the file; ErrLocked if it is taken.
	Lock(name string) (io.Closer, error)
	// Free returns the bytes that an unprivileged process may still write below dir.
	Free(dir string) (uint64, error)
}

// ReadFile returns a file's whole content.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", name, err)
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && !(errors.Is(err, io.EOF) && int64(n) == size) {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return b[:n], nil
}

// WriteFileAtomic replaces a file's content so that a crash leaves the old or the new one, and returns
// once the new one would survive a power loss. name+".tmp" is used on the way.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	if err := writeSynced(fsys, tmp, data); err != nil {
		return errors.Join(err, removeIfThere(fsys, tmp))
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return fmt.Errorf("replacing %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("syncing the directory of %s: %w", name, err)
	}
	return nil
}

func writeSynced(fsys FS, name string, data []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", name, err), f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("syncing %s: %w", name, err), f.Close())
	}
	return f.Close()
}

func removeIfThere(fsys FS, name string) error {
	if !Exists(fsys, name) {
		return nil
	}
	return fsys.Remove(name)
}

// Exists reports whether a name exists; one that cannot be looked at counts as absent.
func Exists(fsys FS, name string) bool {
	_, err := fsys.Stat(name)
	return err == nil
}

// MkdirSynced creates a directory with its parents so that all of them survive a power loss.
func MkdirSynced(fsys FS, dir string) error {
	dir = filepath.Clean(dir)
	if Exists(fsys, dir) {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirSynced(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return fmt.Errorf("creating %s: %w", dir, err)
	}
	if err := fsys.SyncDir(parent); err != nil {
		return fmt.Errorf("syncing %s: %w", parent, err)
	}
	return nil
}
