// Package keyspace is what a database looks like to the types above it: keys with type and deadline,
// collections with elements, transactions over both, counters that never lie, the hot cache, the key locks
// and the expiry index. It knows nothing of commands, replies or the log; a commit leader (package exec)
// hands it groups of transactions together with the log offset that they bring the state to.
//
// State ownership: Store.state belongs to the commit leader (Apply). The mapping of databases to spaces
// changes only in Apply of a transaction whose owner holds the store latch exclusively, so readers under
// the shared latch see it unchanged. A Txn belongs to one goroutine.
//
// Lock order: store latch (package exec), key locks in ascending order, commit leadership, a cache shard.
package keyspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"haypile/internal/encoding"
	"haypile/internal/storage"
)

// Options configure a Store.
type Options struct {
	Databases int
	// CacheBytes bounds the hot cache.
	CacheBytes int64
	// StartOffset is the log offset of an empty store.
	StartOffset int64
	// Defer lets groups wait in memory until there are enough of them for the engine; Close is needed then.
	// Without it the engine has a group when Apply returns.
	Defer bool
	// Many is how many rows of one collection a transaction holds in memory; 0 is the default.
	Many int
	// Watching is shared by the stores that follow one another on a node; nil: one of its own.
	Watching *atomic.Int64
	// Events, too: see Store.Events.
	Events *atomic.Uint32
}

// Store is the key space of a node over one engine.
type Store struct {
	engine *storage.Engine
	cache  *rowCache
	filter *rowFilter
	dbs    []dbState

	// Watching counts watched keys and clients with client-side caching: while it is 0, transactions do not
	// collect what they touch.
	Watching *atomic.Int64
	// Events are the classes of events (keyevent.Class) that transactions collect.
	Events *atomic.Uint32
	// Expired counts keys deleted because of their deadline, ExpiredFields fields of hashes.
	Expired, ExpiredFields atomic.Int64

	txns sync.Pool // of *Txn

	// snapshots counts open snapshots: while there are any, no space is cut out of the engine, because that
	// would take rows away from them too.
	snapshots atomic.Int64

	nextColl  atomic.Uint64
	nextSpace atomic.Uint32
	applied   atomic.Int64
	durable   atomic.Int64

	// state belongs to the commit leader.
	state   encoding.State
	opt     Options
	pending pending
	points  points
	pins    pins
	forms   forms
	fills   fills
	erasing erasing
	batch   *storage.Batch
	many    int // see Txn.Many
}

// dbState is what readers see of a database.
type dbState struct {
	id atomic.Uint32

	keys, expires, timed atomic.Int64
}

func (d *dbState) space() encoding.Space { return encoding.Space(d.id.Load()) }

// Open reads the state of the engine, or begins a new one in an empty engine.
func Open(engine *storage.Engine, opt Options) (*Store, error) {
	s := &Store{engine: engine, cache: newRowCache(opt.CacheBytes), filter: newRowFilter(opt.CacheBytes / 4),
		batch: engine.NewBatch(), opt: opt, many: cmp.Or(opt.Many, manyRows)}
	s.erasing.init()
	s.pending.mu.room.L = &s.pending.mu
	s.forms.budget.Store(opt.CacheBytes / formsShare)
	if s.Watching = opt.Watching; s.Watching == nil {
		s.Watching = new(atomic.Int64)
	}
	if s.Events = opt.Events; s.Events == nil {
		s.Events = new(atomic.Uint32)
	}
	v, ok, err := engine.Get(nil, encoding.StateRow)
	if err != nil {
		return nil, fmt.Errorf("read the store's state: %w", err)
	}
	if ok {
		if s.state, err = encoding.ParseState(v); err != nil {
			return nil, fmt.Errorf("read the store's state: %w", err)
		}
	} else {
		s.state = encoding.State{Offset: opt.StartOffset, NextCollection: 1, NextSpace: 1}
		s.filter.ready.Store(true) // nothing exists yet
	}
	for len(s.state.Databases) < opt.Databases {
		s.state.Databases = append(s.state.Databases, encoding.SpaceCount{Space: s.state.NextSpace})
		s.state.NextSpace++
	}
	s.dbs = make([]dbState, len(s.state.Databases))
	if err := s.reserved(); err != nil {
		return nil, err
	}
	s.nextColl.Store(uint64(s.state.NextCollection))
	s.nextSpace.Store(uint32(s.state.NextSpace))
	s.publish()
	if !ok {
		// The row must exist even before the first write: a checkpoint of an empty store says where it is.
		if err := s.Apply(nil, s.state.Offset, 0); err != nil {
			return nil, fmt.Errorf("write the store's first state: %w", err)
		}
	}
	if err := s.resumeErasures(); err != nil {
		return nil, fmt.Errorf("delete rows that were removed: %w", err)
	}
	s.applied.Store(s.state.Offset)
	if ok {
		s.durable.Store(s.state.Offset)
	} else {
		s.durable.Store(opt.StartOffset)
	}
	return s, nil
}

// reserved reads which ids of collections must not be given out although the state says so.
func (s *Store) reserved() error {
	v, ok, err := s.engine.Get(nil, encoding.CollectionsRow)
	if err == nil && ok {
		s.fills.reserved, err = encoding.ParseCollections(v)
	}
	if err != nil {
		return fmt.Errorf("read the store's state: %w", err)
	}
	s.state.NextCollection = max(s.state.NextCollection, s.fills.reserved)
	return nil
}

func (d *dbState) show(c *encoding.SpaceCount) {
	d.keys.Store(c.Keys)
	d.expires.Store(c.Expires)
	d.timed.Store(c.Timed)
}

func (s *Store) publish() {
	for i := range s.dbs {
		c := &s.state.Databases[i]
		s.dbs[i].id.Store(uint32(c.Space))
		s.dbs[i].show(c)
	}
}

// publishCounts shows the counters that a transaction changed; the mapping of databases is as it was.
func (s *Store) publishCounts(t *Txn) {
	for _, d := range t.deltas {
		for i := range s.state.Databases {
			if c := &s.state.Databases[i]; c.Space == d.space {
				s.dbs[i].show(c)
			}
		}
	}
}

// Databases is the number of databases.
func (s *Store) Databases() int { return len(s.dbs) }

// Counts are the numbers of keys, and of keys with a deadline, in a database.
func (s *Store) Counts(db int) (keys, expires int64) {
	return s.dbs[db].keys.Load(), s.dbs[db].expires.Load()
}

// TimedHashes is the number of hashes with deadlines of fields in a database.
func (s *Store) TimedHashes(db int) int64 { return s.dbs[db].timed.Load() }

// Crowded reports that a commit may soon have to wait for the engine.
func (s *Store) Crowded() bool { return s.pending.crowded.Load() }

// Applied is the log offset that the contents reflect; DB the database selected there (commit leader only).
func (s *Store) Applied() int64 { return s.applied.Load() }

// AppliedDB is the database selected in the log at Applied. REQUIRES: commit leadership, or no commits.
func (s *Store) AppliedDB() int { return int(s.state.DB) }

// Durable is the log offset that the engine would have after a power loss. RefreshDurable reads it anew.
func (s *Store) Durable() int64 { return s.durable.Load() }

// RefreshDurable reads the durable offset from the engine; to be called after a flush.
func (s *Store) RefreshDurable() (int64, error) {
	v, ok, err := s.engine.Durable(encoding.StateRow)
	if err != nil || !ok {
		return s.durable.Load(), err
	}
	st, err := encoding.ParseState(v)
	if err != nil {
		return s.durable.Load(), err
	}
	for {
		old := s.durable.Load()
		if st.Offset <= old || s.durable.CompareAndSwap(old, st.Offset) {
			return max(old, st.Offset), nil
		}
	}
}

func (s *Store) newCollection() encoding.Collection {
	return encoding.Collection(s.nextColl.Add(1) - 1)
}

func (s *Store) newSpace() encoding.Space { return encoding.Space(s.nextSpace.Add(1) - 1) }

// Apply makes a group of transactions visible, in order, with the log offset that they bring the state to and the
// database selected there. The engine gets them as part of one batch that carries the offset, perhaps later and
// with those of other groups. REQUIRES: commit leadership.
func (s *Store) Apply(txns []*Txn, offset int64, db int) error {
	for _, t := range txns {
		s.addCounts(t)
		if len(t.erased) > 0 {
			s.erasing.begin() // until Settle
		}
	}
	s.state.Offset, s.state.DB = offset, uint32(db)
	s.state.NextCollection = encoding.Collection(s.nextColl.Load())
	s.state.NextSpace = encoding.Space(s.nextSpace.Load())
	err := s.push(txns)
	if err == nil && !s.opt.Defer {
		err = s.Drain()
	}
	if err != nil {
		return err
	}
	for _, t := range txns {
		if t.dbs != nil {
			s.publish()
			break
		}
		s.publishCounts(t)
	}
	s.applied.Store(offset)
	return nil
}

// Advance moves the applied offset over a stretch of log that carries no data. The engine's own row follows
// with the next batch, so a crash replays the stretch again, which changes nothing. REQUIRES: no commits.
func (s *Store) Advance(offset int64, db int) {
	if offset > s.state.Offset {
		s.state.Offset, s.state.DB = offset, uint32(db)
		s.applied.Store(offset)
	}
}

func (s *Store) addCounts(t *Txn) {
	if t.dbs != nil {
		next := make([]encoding.SpaceCount, len(t.dbs))
		for i, want := range t.dbs {
			next[i].Space = want.Space
			for _, have := range s.state.Databases {
				if have.Space == want.Space {
					next[i] = have
				}
			}
		}
		s.state.Databases = next
	}
	for _, d := range t.deltas {
		for i := range s.state.Databases {
			if c := &s.state.Databases[i]; c.Space == d.space {
				c.Keys += d.keys
				c.Expires += d.expires
				c.Timed += d.timed
				break
			}
		}
	}
}

// Settle brings the hot cache up to date with an applied transaction, and deletes what it has listed (see Txn.Eraser).
// REQUIRES: the key locks under which it was made. It must follow each Apply.
func (s *Store) Settle(t *Txn) {
	s.settleErased(t)
	for _, f := range t.fills {
		s.fills.end(f)
	}
	s.settleForms(t)
	for i := range t.rows.rows {
		switch r := &t.rows.rows[i]; {
		case !r.point:
		case r.dense && (r.del || r.formed):
			s.cache.drop(r.hash, r.key)
		default:
			if !r.del && !r.known && !r.dense {
				s.filter.add(r.hash)
			}
			if r.bulk {
				s.cache.drop(r.hash, r.key)
				continue
			}
			s.cache.put(r.hash, r.key, r.val, r.del)
		}
	}
}

// SetCacheBytes changes the budget of the hot cache.
func (s *Store) SetCacheBytes(n int64) {
	s.cache.resize(n)
	s.forms.budget.Store(n / formsShare)
	s.forms.mu.Lock()
	s.forms.evictLocked()
	s.forms.mu.Unlock()
}

// formsShare: forms may take one byte for so many of the hot cache, beside it.
const formsShare = 4

// CacheStats are hits, misses and bytes of the hot cache.
func (s *Store) CacheStats() (hits, misses, bytes int64) {
	return s.cache.hits.Load(), s.cache.misses.Load(), s.cache.bytes()
}

// Effects hands out the log bytes of the transaction, database by database.
func (t *Txn) Effects(f func(db int, stream []byte)) {
	for i, seg := range t.segs {
		end := len(t.effects)
		if i+1 < len(t.segs) {
			end = t.segs[i+1].at
		}
		if end > seg.at {
			f(seg.db, t.effects[seg.at:end])
		}
	}
}

// Reclaim deletes up to limit element rows of dropped collections and cuts retired spaces out of the
// engine. It reports whether more is left. Background work: it takes no key locks, since nothing refers to
// what it deletes.
func (s *Store) Reclaim(ctx context.Context, limit int) (more bool, err error) {
	s.fills.settle()
	if err := errors.Join(s.Drain(), s.points.drop(false)); err != nil {
		return false, err
	}
	if err := s.exciseRetired(ctx); err != nil {
		return false, err
	}
	b := s.engine.NewBatch()
	defer b.Close()
	left := limit
	tables := []byte{byte(encoding.TableGarbage)}
	garbage, err := s.engine.Iter(tables, encoding.PrefixEnd(tables))
	if err != nil {
		return false, err
	}
	for ok := garbage.First(); ok && left > 0; ok = garbage.Next() {
		sp, birth, id, valid := encoding.ParseGarbage(garbage.Key())
		if !valid {
			return false, errors.Join(fmt.Errorf("garbage row %x: %w", garbage.Key(), encoding.ErrCorrupt),
				garbage.Close())
		}
		if s.fills.has(id) {
			continue
		}
		lower := encoding.AppendCollection(nil, sp, birth, id)
		rows, err := s.engine.Iter(lower, encoding.PrefixEnd(lower))
		if err != nil {
			return false, errors.Join(err, garbage.Close())
		}
		r := rows.First()
		for ; r && left > 0; r = rows.Next() {
			b.Delete(rows.Key())
			left--
		}
		if !r {
			b.Delete(garbage.Key())
		}
		if err := rows.Close(); err != nil {
			return false, errors.Join(err, garbage.Close())
		}
	}
	if err := garbage.Close(); err != nil {
		return false, err
	}
	if b.Len() == 0 || left == limit {
		return false, s.applyIfAny(b)
	}
	return left == 0, s.engine.Apply(b)
}

func (s *Store) applyIfAny(b *storage.Batch) error {
	if b.Len() <= batchHeader {
		return nil
	}
	return s.engine.Apply(b)
}

// batchHeader is the size of an empty batch.
const batchHeader = 12

// exciseRetired cuts out the spaces whose retirement is durable: an excise jumps the order of batches, and
// must not be durable ahead of the row that stopped referring to the space.
func (s *Store) exciseRetired(ctx context.Context) error {
	if s.snapshots.Load() > 0 {
		return nil
	}
	table := []byte{byte(encoding.TableRetired)}
	var spaces []encoding.Space
	it, err := s.engine.Iter(table, encoding.PrefixEnd(table))
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		if sp, valid := encoding.ParseRetired(it.Key()); valid {
			spaces = append(spaces, sp)
		}
	}
	if err := it.Close(); err != nil {
		return err
	}
	for _, sp := range spaces {
		row := encoding.AppendSpace(nil, encoding.TableRetired, sp)
		if _, durable, err := s.engine.Durable(row); err != nil || !durable {
			return err
		}
		for _, t := range []encoding.Table{encoding.TableData, encoding.TableExpiry, encoding.TableGarbage} {
			lower := encoding.AppendSpace(nil, t, sp)
			if err := s.engine.Excise(ctx, lower, encoding.PrefixEnd(lower)); err != nil {
				return err
			}
		}
		b := s.engine.NewBatch()
		b.Delete(row)
		err := s.engine.Apply(b)
		b.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// DropCache empties the hot cache.
func (s *Store) DropCache() { s.cache.clear() }
