package disk

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// pageSize is the unit in which unsynced bytes reach a disk or do not.
const pageSize = 4096

// Mem is a file system in memory that knows what a power loss would leave of it. Durable are the bytes and
// sizes at the last Sync of each file, and the names at the last SyncDir of each directory; everything
// later is only seen by the living process. Stricter than most real file systems: syncing a file does not
// make its name durable.
type Mem struct {
	mu struct {
		sync.Mutex
		root *memNode
		// ops are the directory changes that no SyncDir has covered yet, oldest first.
		ops   []memOp
		locks map[string]bool
		free  uint64
		now   time.Time
	}
}

// memNode is a file or a directory. Names point to nodes, so a file lives on while it is open.
type memNode struct {
	isDir   bool
	modTime time.Time

	data    []byte         // file: what the process sees
	durable []byte         // file: what the last Sync left
	dirty   map[int64]bool // file: pages written or cut since

	names        map[string]*memNode // directory: what the process sees
	durableNames map[string]*memNode // directory: what the last SyncDir left
}

// memOp is one atomic change of names: node appears as (to, toName) and disappears from (from, fromName);
// either may be absent.
type memOp struct {
	node             *memNode
	from, to         *memNode
	fromName, toName string
}

// NewMem makes an empty file system with the directory "/" and the working directory ".".
func NewMem() *Mem {
	m := &Mem{}
	m.mu.root = newMemDir()
	m.mu.locks = map[string]bool{}
	m.mu.free = 1 << 40
	m.mu.now = time.Unix(1_700_000_000, 0)
	return m
}

func newMemDir() *memNode {
	return &memNode{isDir: true, names: map[string]*memNode{}, durableNames: map[string]*memNode{}}
}

// SetFree sets what Free answers; writing does not change it.
func (m *Mem) SetFree(n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.free = n
}

// SetTime sets the modification time of what is written from now on.
func (m *Mem) SetTime(t time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.now = t
}

// Absolute and relative names share one tree: "/a" and "a" are the same file.
func splitPath(name string) []string {
	name = strings.Trim(filepath.ToSlash(filepath.Clean(name)), "/")
	if name == "" || name == "." {
		return nil
	}
	return strings.Split(name, "/")
}

func notExist(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist} }

func (m *Mem) findLocked(op, name string) (*memNode, error) {
	n := m.mu.root
	for _, part := range splitPath(name) {
		next := n.names[part]
		if next == nil {
			return nil, notExist(op, name)
		}
		n = next
	}
	return n, nil
}

// parentLocked finds the directory that holds name, and the last part of name.
func (m *Mem) parentLocked(op, name string) (*memNode, string, error) {
	parts := splitPath(name)
	if len(parts) == 0 {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	last := len(parts) - 1
	dir, err := m.findLocked(op, strings.Join(parts[:last], "/"))
	if err != nil {
		return nil, "", notExist(op, name)
	}
	if !dir.isDir {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return dir, parts[last], nil
}

func (m *Mem) doLocked(op memOp) {
	op.applyTo(func(d *memNode) map[string]*memNode { return d.names })
	m.mu.ops = append(m.mu.ops, op)
}

// applyTo performs the change on one set of directory contents. A removal only removes the node that it
// was made for, so that changes can be applied in part.
func (op memOp) applyTo(names func(*memNode) map[string]*memNode) {
	if op.from != nil && names(op.from)[op.fromName] == op.node {
		delete(names(op.from), op.fromName)
	}
	if op.to != nil {
		names(op.to)[op.toName] = op.node
	}
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked("create", name)
	if err != nil {
		return nil, err
	}
	n := dir.names[base]
	switch {
	case n == nil:
		n = &memNode{dirty: map[int64]bool{}, modTime: m.mu.now}
		m.doLocked(memOp{node: n, to: dir, toName: base})
	case n.isDir:
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	default:
		n.truncate(0)
	}
	return &memFile{fs: m, node: n, name: name, writable: true}, nil
}

func (m *Mem) open(name string, writable bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("open", name)
	if err != nil {
		return nil, err
	}
	if n.isDir {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return &memFile{fs: m, node: n, name: name, writable: writable}, nil
}

// OpenAppend implements FS.
func (m *Mem) OpenAppend(name string) (File, error) { return m.open(name, true) }

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open(name, false) }

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked("remove", name)
	if err != nil {
		return err
	}
	n := dir.names[base]
	if n == nil {
		return notExist("remove", name)
	}
	if n.isDir && len(n.names) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrInvalid}
	}
	m.doLocked(memOp{node: n, from: dir, fromName: base})
	return nil
}

// RemoveAll implements FS. Each name below is removed by itself, as the operating system does it: a power
// loss may leave a part.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked("remove", name)
	if err != nil {
		return nil
	}
	if n := dir.names[base]; n != nil {
		m.removeTreeLocked(dir, base, n)
	}
	return nil
}

func (m *Mem) removeTreeLocked(dir *memNode, base string, n *memNode) {
	for _, child := range slices.Sorted(maps.Keys(n.names)) {
		m.removeTreeLocked(n, child, n.names[child])
	}
	m.doLocked(memOp{node: n, from: dir, fromName: base})
}

// Rename implements FS.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fromDir, fromBase, err := m.parentLocked("rename", from)
	if err != nil {
		return err
	}
	toDir, toBase, err := m.parentLocked("rename", to)
	if err != nil {
		return err
	}
	n := fromDir.names[fromBase]
	if n == nil {
		return notExist("rename", from)
	}
	if old := toDir.names[toBase]; old != nil && old.isDir && len(old.names) > 0 {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	m.doLocked(memOp{node: n, from: fromDir, fromName: fromBase, to: toDir, toName: toBase})
	return nil
}

// Link implements FS.
func (m *Mem) Link(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("link", from)
	if err != nil {
		return err
	}
	dir, base, err := m.parentLocked("link", to)
	if err != nil {
		return err
	}
	if n.isDir || dir.names[base] != nil {
		return &fs.PathError{Op: "link", Path: to, Err: fs.ErrExist}
	}
	m.doLocked(memOp{node: n, to: dir, toName: base})
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.mu.root
	for _, part := range splitPath(name) {
		next := n.names[part]
		if next == nil {
			next = newMemDir()
			m.doLocked(memOp{node: next, to: n, toName: part})
		}
		if !next.isDir {
			return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
		}
		n = next
	}
	return nil
}

// List implements FS.
func (m *Mem) List(name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("list", name)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(n.names)), nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("stat", name)
	if err != nil {
		return Info{}, err
	}
	return Info{Size: int64(len(n.data)), ModTime: n.modTime, Dir: n.isDir}, nil
}

// SyncDir implements FS. A rename between two directories becomes durable with either of them.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, err := m.findLocked("syncdir", name)
	if err != nil {
		return err
	}
	m.mu.ops = slices.DeleteFunc(m.mu.ops, func(op memOp) bool {
		if op.from != dir && op.to != dir {
			return false
		}
		op.applyTo(func(d *memNode) map[string]*memNode { return d.durableNames })
		return true
	})
	return nil
}

type memLock struct {
	fs   *Mem
	name string
}

func (l memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.mu.locks, l.name)
	return nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.OpenAppend(name)
	if err != nil {
		f, err = m.Create(name)
	}
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.Join(splitPath(name), "/")
	if m.mu.locks[key] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	m.mu.locks[key] = true
	return memLock{m, key}, nil
}

// Free implements FS.
func (m *Mem) Free(string) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.free, nil
}

func (n *memNode) write(p []byte) {
	first, last := int64(len(n.data))/pageSize, int64(len(n.data)+len(p)-1)/pageSize
	for page := first; page <= last && len(p) > 0; page++ {
		n.dirty[page] = true
	}
	n.data = append(n.data, p...)
}

func (n *memNode) truncate(size int64) {
	for page := min(size, int64(len(n.data))) / pageSize; page*pageSize < int64(len(n.data)); page++ {
		n.dirty[page] = true
	}
	if size <= int64(len(n.data)) {
		n.data = n.data[:size:size]
		return
	}
	n.write(make([]byte, size-int64(len(n.data))))
}

func (n *memNode) sync() {
	n.durable = resize(n.durable, len(n.data))
	for page := range n.dirty {
		if at := page * pageSize; at < int64(len(n.data)) {
			copy(n.durable[at:min(at+pageSize, int64(len(n.durable)))], n.data[at:])
		}
	}
	clear(n.dirty)
}

// resize cuts b, or extends it with zeros.
func resize(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size]
	}
	old := len(b)
	b = slices.Grow(b, size-old)[:size]
	clear(b[old:])
	return b
}

type memFile struct {
	fs       *Mem
	node     *memNode
	name     string
	writable bool
	closed   bool
}

func (f *memFile) checkLocked(op string, write bool) error {
	if f.closed {
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	}
	if write && !f.writable {
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrPermission}
	}
	return nil
}

func (f *memFile) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkLocked("write", true); err != nil {
		return 0, err
	}
	f.node.write(p)
	f.node.modTime = f.fs.mu.now
	return len(p), nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkLocked("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrInvalid}
	}
	if off > int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkLocked("sync", false); err != nil {
		return err
	}
	f.node.sync()
	return nil
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkLocked("truncate", true); err != nil {
		return err
	}
	f.node.truncate(size)
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), f.checkLocked("size", false)
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkLocked("close", false); err != nil {
		return err
	}
	f.closed = true
	return nil
}

// Corrupt flips the bits of mask in one byte of a file, in memory and on disk: for tests of damage.
func (m *Mem) Corrupt(name string, at int64, mask byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("corrupt", name)
	if err != nil {
		return err
	}
	if at < 0 || at >= int64(len(n.data)) {
		return &fs.PathError{Op: "corrupt", Path: name, Err: fs.ErrInvalid}
	}
	n.data = bytes.Clone(n.data) // a reader may share the old array through a crash clone
	n.data[at] ^= mask
	if at < int64(len(n.durable)) {
		n.durable[at] ^= mask
	}
	return nil
}
