// Package storage is the only package that knows the LSM engine (Pebble v2). It opens it with its own
// write-ahead log off, because the replication log is the log: a batch is durable when the memtable that
// holds it has been flushed, batches become durable in the order in which they were applied, and after a
// crash exactly a prefix of them survives. The last batch's state row says which.
//
// The engine must never become durable ahead of the log. Its file system is therefore wrapped: before a
// flush's table is first synced, Options.BeforeFlush is called, which syncs the log.
//
// Goroutines: the engine's own, stopped by Close, and none of this package's. Locks: none held over engine
// calls; mu guards the list of open durable readers against Close.
package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure an engine.
type Options struct {
	Dir string
	// Mem replaces the operating system's files in tests.
	Mem *Mem
	// CacheBytes bounds the block cache, MemtableBytes one memtable; Memtables is how many may exist.
	CacheBytes    int64
	MemtableBytes uint64
	Memtables     int
	// Compression is "none", "snappy" or "zstd".
	Compression string
	// BeforeFlush runs before the first sync of each flushed table; a failure fails the flush.
	BeforeFlush func() error
	// Flushed is told, without locks held by the engine, that more has become durable. May be nil.
	Flushed func()
	// Fatal is called when the engine can't go on; it must not return. nil exits the process.
	Fatal  func(msg string)
	Logger *slog.Logger
}

// Engine is an open store. Safe for concurrent use.
type Engine struct {
	db     *pebble.DB
	cache  *pebble.Cache
	fs     vfs.FS
	dir    string
	notify chan struct{} // holds a token when a flush has ended; bounded to one
	done   chan struct{}
	wg     sync.WaitGroup
	stalls stallCounter
	// failing is what flushes and compactions meet at present.
	failing failing
	// hold keeps the block cache from growing while long walks go on.
	hold hold
}

// formatVersion is the engine's on-disk format; raising it is a one-way step for a data directory.
const formatVersion = pebble.FormatValueSeparation

// Open opens or creates the engine in opt.Dir.
func Open(opt Options) (*Engine, error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	fs := vfs.Default
	if opt.Mem != nil {
		fs = opt.Mem.fs
	}
	e := &Engine{fs: fs, dir: opt.Dir, notify: make(chan struct{}, 1), done: make(chan struct{})}
	e.cache = pebble.NewCache(max(opt.CacheBytes, 8<<20))
	logger := engineLogger{log: opt.Logger, fatal: opt.Fatal}
	po := &pebble.Options{
		FS:                          &orderedFS{FS: fs, beforeFlush: opt.BeforeFlush, pause: func() { e.failing.pause(e.done) }},
		Cache:                       e.cache,
		DisableWAL:                  true,
		FormatMajorVersion:          formatVersion,
		MemTableSize:                max(opt.MemtableBytes, 1<<20),
		MemTableStopWritesThreshold: max(opt.Memtables, 2),
		// Memtables are small, so that inserting finds its way in the processor's caches, and level 0 may
		// hold many flushes before they are merged downwards: both measured with random overwrites. Reads
		// rarely meet level 0, behind the hot cache and the filter of absent rows.
		L0CompactionThreshold:      12,
		L0CompactionFileThreshold:  500,
		L0StopWritesThreshold:      60,
		LBaseMaxBytes:              64 << 20,
		MaxOpenFiles:               4000,
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
		Logger:                     logger,
		EventListener:              e.listener(opt),
	}
	po.TargetFileSizes[0] = 4 << 20
	for i := range po.Levels {
		l := &po.Levels[i]
		l.BlockSize = 8 << 10
		l.IndexBlockSize = 64 << 10
		l.FilterPolicy = bloom.FilterPolicy(10)
		l.FilterType = pebble.TableFilter
	}
	switch opt.Compression {
	case "none":
		po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	case "zstd":
		po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionGood })
	default:
		po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	}
	db, err := pebble.Open(opt.Dir, po)
	if err != nil {
		e.cache.Unref()
		return nil, fmt.Errorf("open engine in %s: %w", opt.Dir, err)
	}
	e.db = db
	if opt.Flushed != nil {
		e.wg.Add(1)
		go e.tellFlushed(opt.Flushed)
	}
	return e, nil
}

// tellFlushed calls the owner after flushes, outside the engine's locks, until Close.
func (e *Engine) tellFlushed(f func()) {
	defer e.wg.Done()
	for {
		select {
		case <-e.notify:
			f()
		case <-e.done:
			return
		}
	}
}

func (e *Engine) listener(opt Options) *pebble.EventListener {
	l := &pebble.EventListener{
		FlushEnd: func(i pebble.FlushInfo) {
			if i.Err == nil {
				e.failing.succeeded()
			}
			select {
			case e.notify <- struct{}{}:
			default:
			}
		},
		BackgroundError: func(err error) { e.failing.failed(err, opt.Logger) },
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			e.stalls.begin()
			opt.Logger.Warn("engine: writes stalled", "reason", i.Reason)
		},
		WriteStallEnd: func() { e.stalls.end() },
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			opt.Logger.Error("engine: data corruption", "path", i.Path, "details", i.Details)
		},
	}
	l.EnsureDefaults(nil)
	return l
}

// Get appends the value of key to dst. A missing key is found out by filters in all levels: the engine's
// own Get reads a data block for each miss.
func (e *Engine) Get(dst, key []byte) ([]byte, bool, error) { return get(e.db, dst, key) }

type iterMaker interface {
	NewIter(*pebble.IterOptions) (*pebble.Iterator, error)
}

func get(r iterMaker, dst, key []byte) ([]byte, bool, error) {
	p, err := newPoint(r)
	if err != nil {
		return dst, false, err
	}
	v, found, err := p.Get(dst, key)
	return v, found, errors.Join(err, p.Close())
}

// Point looks rows up by key in the engine as it was when the Point was made: cheaper than Engine.Get where one is
// used again and again. It pins what it sees, so keep it for moments only. One goroutine at a time.
type Point struct{ it *pebble.Iterator }

// Point makes one.
func (e *Engine) Point() (*Point, error) { return newPoint(e.db) }

func newPoint(r iterMaker) (*Point, error) {
	it, err := r.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return nil, fmt.Errorf("engine get: %w", err)
	}
	return &Point{it}, nil
}

// Get is Engine.Get as of the Point. After an error it can only be closed.
func (p *Point) Get(dst, key []byte) ([]byte, bool, error) {
	if !p.it.SeekPrefixGE(key) || string(p.it.Key()) != string(key) {
		if err := p.it.Error(); err != nil {
			return dst, false, fmt.Errorf("engine get: %w", err)
		}
		return dst, false, nil
	}
	v, err := p.it.ValueAndErr()
	if err != nil {
		return dst, false, fmt.Errorf("engine get: %w", err)
	}
	return append(dst, v...), true, nil
}

// Close lets go of what the Point pins.
func (p *Point) Close() error {
	if err := p.it.Close(); err != nil {
		return fmt.Errorf("engine get: %w", err)
	}
	return nil
}

// Durable reads key as it would be after a power loss now.
func (e *Engine) Durable(key []byte) ([]byte, bool, error) {
	it, err := e.db.NewIter(&pebble.IterOptions{OnlyReadGuaranteedDurable: true})
	if err != nil {
		return nil, false, fmt.Errorf("engine read durable: %w", err)
	}
	var v []byte
	found := it.SeekGE(key) && string(it.Key()) == string(key)
	if found {
		v = append(v, it.Value()...)
	}
	return v, found, it.Close()
}

// Reader is a view that can be read by key and in order: the engine itself or a snapshot.
type Reader interface {
	Get(dst, key []byte) ([]byte, bool, error)
	Iter(lower, upper []byte) (*Iter, error)
}

// Iter walks rows of [lower, upper) in order; nil upper is the end.
func (e *Engine) Iter(lower, upper []byte) (*Iter, error) { return newIter(e.db, lower, upper) }

// Snapshot is an unchanging view; it pins data, so keep it for seconds only. Close it.
type Snapshot struct{ s *pebble.Snapshot }

// Snapshot takes one.
func (e *Engine) Snapshot() *Snapshot { return &Snapshot{e.db.NewSnapshot()} }

// Get is Engine.Get at the snapshot.
func (s *Snapshot) Get(dst, key []byte) ([]byte, bool, error) { return get(s.s, dst, key) }

// Point is Engine.Point at the snapshot.
func (s *Snapshot) Point() (*Point, error) { return newPoint(s.s) }

// Iter is Engine.Iter at the snapshot.
func (s *Snapshot) Iter(lower, upper []byte) (*Iter, error) { return newIter(s.s, lower, upper) }

// Close releases what the snapshot pins.
func (s *Snapshot) Close() error { return s.s.Close() }

// Iter is an ordered cursor. Key and Value are views that the next move invalidates.
type Iter struct{ it *pebble.Iterator }

func newIter(r iterMaker, lower, upper []byte) (*Iter, error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("engine iterate: %w", err)
	}
	return &Iter{it}, nil
}

// First moves to the first row; like the other moves it reports whether there is one.
func (i *Iter) First() bool { return i.it.First() }

// Last moves to the last row.
func (i *Iter) Last() bool { return i.it.Last() }

// SeekGE moves to the first row at or behind key.
func (i *Iter) SeekGE(key []byte) bool { return i.it.SeekGE(key) }

// SeekLT moves to the last row before key.
func (i *Iter) SeekLT(key []byte) bool { return i.it.SeekLT(key) }

// Next moves on.
func (i *Iter) Next() bool { return i.it.Next() }

// Prev moves back.
func (i *Iter) Prev() bool { return i.it.Prev() }

// Valid reports whether the cursor stands on a row.
func (i *Iter) Valid() bool { return i.it.Valid() }

// Key of the row.
func (i *Iter) Key() []byte { return i.it.Key() }

// Value of the row.
func (i *Iter) Value() []byte { return i.it.Value() }

// Close ends the walk and returns the error that ended it early, if one did.
func (i *Iter) Close() error {
	if err := i.it.Close(); err != nil {
		return fmt.Errorf("engine iterate: %w", err)
	}
	return nil
}

// Batch collects changes that Apply makes at once. Not safe for concurrent use.
type Batch struct{ b *pebble.Batch }

// NewBatch makes an empty batch of this engine.
func (e *Engine) NewBatch() *Batch { return &Batch{e.db.NewBatch()} }

// Set adds the row key = value; both are copied.
func (b *Batch) Set(key, value []byte) {
	op := b.b.SetDeferred(len(key), len(value))
	copy(op.Key, key)
	copy(op.Value, value)
	_ = op.Finish() // fails only for indexed batches
}

// Delete adds the removal of the row.
func (b *Batch) Delete(key []byte) {
	op := b.b.DeleteDeferred(len(key))
	copy(op.Key, key)
	_ = op.Finish()
}

// DeleteRange adds the removal of all rows of [lower, upper) that the engine has by then. It costs reads of the range
// something until it is compacted away: it is for rows by the thousand.
func (b *Batch) DeleteRange(lower, upper []byte) {
	op := b.b.DeleteRangeDeferred(len(lower), len(upper))
	copy(op.Key, lower)
	copy(op.Value, upper)
	_ = op.Finish()
}

// Reset empties the batch for reuse.
func (b *Batch) Reset() { b.b.Reset() }

// Len is the size of the batch in bytes.
func (b *Batch) Len() int { return b.b.Len() }

// Close frees a batch that will not be used again.
func (b *Batch) Close() { _ = b.b.Close() }

// Apply makes the batch's changes visible, atomically and in the order of the calls. Durable later.
func (e *Engine) Apply(b *Batch) error {
	if err := e.db.Apply(b.b, pebble.NoSync); err != nil {
		return fmt.Errorf("engine apply: %w", err)
	}
	return nil
}

// Flush makes all that is applied durable. It fails if the disk refuses that again and again; the engine goes on trying.
func (e *Engine) Flush() error {
	flushed, err := e.db.AsyncFlush()
	for err == nil {
		var again <-chan struct{}
		if again, err = e.failing.state(); err != nil {
			break
		}
		select {
		case <-flushed:
			return nil
		case <-again:
		}
	}
	return fmt.Errorf("engine flush: %w", err)
}

// AsyncFlush starts a flush without waiting.
func (e *Engine) AsyncFlush() error {
	if _, err := e.db.AsyncFlush(); err != nil {
		return fmt.Errorf("engine flush: %w", err)
	}
	return nil
}

// Checkpoint writes an openable copy of the engine (hard links where possible) into dir, which must not
// exist. It flushes first: with the engine's log off a checkpoint holds nothing else.
func (e *Engine) Checkpoint(dir string) error {
	if err := e.Flush(); err != nil {
		return err
	}
	if err := e.db.Checkpoint(dir); err != nil {
		return fmt.Errorf("engine checkpoint to %s: %w", dir, err)
	}
	return nil
}

// Excise drops all rows of [lower, upper) at once. Only for ranges that nothing refers to: it may become
// durable before batches that were applied earlier. It is not durable before the next flush if a memtable
// holds rows of the range.
func (e *Engine) Excise(ctx context.Context, lower, upper []byte) error {
	if err := e.db.Excise(ctx, pebble.KeyRange{Start: lower, End: upper}); err != nil {
		return fmt.Errorf("engine excise: %w", err)
	}
	return nil
}

// Compact rewrites [lower, upper).
func (e *Engine) Compact(ctx context.Context, lower, upper []byte) error {
	if err := e.db.Compact(ctx, lower, upper, true); err != nil {
		return fmt.Errorf("engine compact: %w", err)
	}
	return nil
}

// Close flushes and closes.
func (e *Engine) Close() error { return errors.Join(e.Flush(), e.CloseUnflushed()) }

// CloseUnflushed closes and forgets what is not durable, as a crash would: for rewinding.
func (e *Engine) CloseUnflushed() error {
	close(e.done)
	e.wg.Wait()
	err := e.db.Close()
	e.cache.Unref()
	if err != nil {
		return fmt.Errorf("engine close: %w", err)
	}
	return nil
}

// engineLogger sends the engine's talk to slog. Info is chatter of compactions: debug level.
type engineLogger struct {
	log   *slog.Logger
	fatal func(string)
}

func (l engineLogger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("engine: " + fmt.Sprintf(format, args...))
	}
}

func (l engineLogger) Errorf(format string, args ...any) {
	l.log.Error("engine: " + fmt.Sprintf(format, args...))
}

func (l engineLogger) Fatalf(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	l.log.Error("engine: cannot go on: " + msg)
	if l.fatal != nil {
		l.fatal(msg)
	}
	os.Exit(1)
}

// ReadFrom opens the engine files in dir for reading, reads one row, and closes them again: what a
// checkpoint holds.
func ReadFrom(dir string, key []byte) ([]byte, bool, error) {
	db, err := pebble.Open(dir, &pebble.Options{FS: vfs.Default, ReadOnly: true, FormatMajorVersion: formatVersion,
		DisableWAL: true, Logger: engineLogger{log: slog.New(slog.DiscardHandler)}})
	if err != nil {
		return nil, false, fmt.Errorf("open checkpoint %s: %w", dir, err)
	}
	v, ok, err := get(db, nil, key)
	if cerr := db.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close checkpoint %s: %w", dir, cerr)
	}
	return v, ok, err
}
