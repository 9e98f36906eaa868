// Package datadir owns the layout of a node's data directory:
//
//	LOCK       held by the process that uses the directory
//	FORMAT     format of the whole directory; a newer one is refused
//	CURRENT    number N of the pair in use
//	engine-N/  files of the storage engine
//	log-N/     segments of the log
//	LINEAGE    the node's reigns and role (package replog)
//
// Engine and log belong together: a full sync builds the pair with the next number beside the one in use,
// which goes on serving, and then flips CURRENT. A pair that CURRENT does not name is garbage: half built
// when the process died, or replaced. Everything else in the directory (checkpoints, rescue files) is
// left alone.
//
// The package has no goroutines; a Dir may be used by several.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"haypile/internal/disk"
)

// Format is the newest format of the directory that this program reads, and the one it writes.
const Format = 1

const (
	lockFile    = "LOCK"
	formatFile  = "FORMAT"
	currentFile = "CURRENT"
	lineageFile = "LINEAGE"
	engineStem  = "engine-"
	logStem     = "log-"
)

var (
	// ErrNewerFormat: a newer program wrote the directory.
	ErrNewerFormat = errors.New("data directory has a newer format")
	// ErrForeign: the directory holds something else.
	ErrForeign = errors.New("not a haypile data directory")
)

// Pair is an engine directory and the log directory that belongs to it.
type Pair struct {
	N           int
	Engine, Log string // paths
}

// Dir is an open, locked data directory.
type Dir struct {
	fs   disk.FS
	path string
	lock io.Closer
	mu   struct {
		sync.Mutex
		current int // 0: no pair yet
		newest  int // highest number given out
		// unsure: a flip failed half-way, so CURRENT on disk may name another pair than current.
		unsure bool
	}
}

// Open locks a data directory, creating it if it is absent, and removes pairs that are not in use. It
// fails with disk.ErrLocked, ErrNewerFormat or ErrForeign before it has changed anything.
func Open(fsys disk.FS, path string) (*Dir, error) {
	if err := disk.MkdirSynced(fsys, path); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := checkFormat(fsys, path); err != nil {
		return nil, err
	}
	lock, err := fsys.Lock(filepath.Join(path, lockFile))
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	d := &Dir{fs: fsys, path: path, lock: lock}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// checkFormat refuses a directory that this program must not touch.
func checkFormat(fsys disk.FS, path string) error {
	name := filepath.Join(path, formatFile)
	if !disk.Exists(fsys, name) {
		names, err := fsys.List(path)
		if err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
		for _, n := range names {
			// Other engines keep a CURRENT of their own.
			if _, isPair := pairNumber(n); isPair || n == currentFile || n == lineageFile {
				return fmt.Errorf("%s: %w: it has %s but no %s", path, ErrForeign, n, formatFile)
			}
		}
		return nil
	}
	b, err := disk.ReadFile(fsys, name)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	var format int
	if _, err := fmt.Sscanf(string(b), "haypile %d\n", &format); err != nil || format < 1 {
		return fmt.Errorf("%s: %w: %s says %q", path, ErrForeign, formatFile, b)
	}
	if format > Format {
		return fmt.Errorf("%s: %w: %d, this program knows up to %d; use the version that wrote it or a later one",
			path, ErrNewerFormat, format, Format)
	}
	return nil
}

// load reads CURRENT and removes what it does not name.
func (d *Dir) load() error {
	if !disk.Exists(d.fs, d.file(formatFile)) {
		text := fmt.Appendf(nil, "haypile %d\n", Format)
		if err := disk.WriteFileAtomic(d.fs, d.file(formatFile), text); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if disk.Exists(d.fs, d.file(currentFile)) {
		b, err := disk.ReadFile(d.fs, d.file(currentFile))
		if err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil || n < 1 {
			return fmt.Errorf("data directory %s: %s says %q", d.path, currentFile, b)
		}
		d.mu.current, d.mu.newest = n, n
		for _, dir := range []string{d.pair(n).Engine, d.pair(n).Log} {
			if !disk.Exists(d.fs, dir) {
				return fmt.Errorf("data directory %s: %s names pair %d, but %s is missing", d.path, currentFile, n, dir)
			}
		}
	}
	return d.removeOthersLocked(d.mu.current)
}

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

func (d *Dir) pair(n int) Pair {
	return Pair{N: n, Engine: d.file(engineStem + strconv.Itoa(n)), Log: d.file(logStem + strconv.Itoa(n))}
}

// pairNumber returns the number in the name of an engine or log directory.
func pairNumber(name string) (int, bool) {
	for _, stem := range []string{engineStem, logStem} {
		if digits, ok := strings.CutPrefix(name, stem); ok {
			n, err := strconv.Atoi(digits)
			return n, err == nil && n > 0 && strconv.Itoa(n) == digits
		}
	}
	return 0, false
}

// Path is the directory itself.
func (d *Dir) Path() string { return d.path }

// LineagePath is where the node's lineage is kept.
func (d *Dir) LineagePath() string { return d.file(lineageFile) }

// Current returns the pair in use; false in a new directory, until the first Flip.
func (d *Dir) Current() (Pair, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.current == 0 {
		return Pair{}, false
	}
	return d.pair(d.mu.current), true
}

// NewPair makes the empty directories of the next pair. Numbers are not used twice while the directory is
// open. Nothing refers to the pair until Flip.
func (d *Dir) NewPair() (Pair, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.newest++
	p := d.pair(d.mu.newest)
	for _, dir := range []string{p.Engine, p.Log} {
		if err := d.fs.RemoveAll(dir); err != nil {
			return Pair{}, fmt.Errorf("new pair %d: %w", p.N, err)
		}
		if err := d.fs.MkdirAll(dir); err != nil {
			return Pair{}, fmt.Errorf("new pair %d: %w", p.N, err)
		}
	}
	if err := d.fs.SyncDir(d.path); err != nil {
		return Pair{}, fmt.Errorf("new pair %d: %w", p.N, err)
	}
	return p, nil
}

// Flip makes a pair the one in use, for good when it returns nil. The caller has made its content durable.
// After an error either pair may be in use at the next start, so RemoveOld refuses to remove any.
func (d *Dir) Flip(n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n < 1 || n > d.mu.newest {
		return fmt.Errorf("flip to pair %d: there is no such pair", n)
	}
	// The names of both directories, should they have been made anew by the caller.
	if err := d.fs.SyncDir(d.path); err != nil {
		return fmt.Errorf("flip to pair %d: %w", n, err)
	}
	d.mu.unsure = true
	if err := disk.WriteFileAtomic(d.fs, d.file(currentFile), fmt.Appendf(nil, "%d\n", n)); err != nil {
		return fmt.Errorf("flip to pair %d: %w", n, err)
	}
	d.mu.current, d.mu.unsure = n, false
	return nil
}

// RemoveOld removes all pairs but the one in use, also those under construction.
func (d *Dir) RemoveOld() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.unsure {
		return fmt.Errorf("data directory %s: a flip failed: no pair can be removed before a restart", d.path)
	}
	return d.removeOthersLocked(d.mu.current)
}

func (d *Dir) removeOthersLocked(keep int) error {
	names, err := d.fs.List(d.path)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	leftovers := slices.DeleteFunc(names, func(name string) bool {
		n, isPair := pairNumber(name)
		return !(isPair && n != keep) && name != currentFile+".tmp" && name != formatFile+".tmp" &&
			name != lineageFile+".tmp"
	})
	if len(leftovers) == 0 {
		return nil
	}
	for _, name := range leftovers {
		if err := d.fs.RemoveAll(d.file(name)); err != nil {
			return fmt.Errorf("removing unused %s: %w", name, err)
		}
	}
	if err := d.fs.SyncDir(d.path); err != nil {
		return fmt.Errorf("syncing %s: %w", d.path, err)
	}
	return nil
}

// Free returns the bytes that may still be written in the directory.
func (d *Dir) Free() (uint64, error) { return d.fs.Free(d.path) }

// Close gives the directory free for another process.
func (d *Dir) Close() error { return d.lock.Close() }
