package keyspace

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"haypile/internal/encoding"
	"haypile/internal/keyevent"
	"haypile/internal/resp"
	"haypile/internal/slot"
)

// Mode says under which rules a transaction reads and writes.
type Mode uint8

// The modes.
const (
	// ModeRead hides keys that are past their deadline and changes nothing.
	ModeRead Mode = iota
	// ModeWrite is a client's write on a primary: a key found past its deadline is deleted first.
	ModeWrite
	// ModeApply executes the replication stream: deadlines are data and hide nothing, since the primary
	// has decided already.
	ModeApply
)

// Txn is what one command, a pipeline's commands or a MULTI reads and changes. Reads see its own changes.
// Nothing is visible to others until the commit leader applies it. The owner holds the locks of all keys
// that it touches. Not safe for concurrent use.
//
// Byte slices that a Txn returns live until Reset.
type Txn struct {
	store *Store
	// refs counts who needs it: the owner, and the store until the engine has what it changed.
	refs atomic.Int32
	mode Mode
	db   int
	now  int64
	by   int64 // see Client

	mem     arena
	rows    overlay
	forms   []ownForm
	formAt  map[encoding.Collection]int // positions in forms, once there are many
	effects []byte
	segs    []segment
	deltas  []delta
	touched []Touched
	events  []Event
	// dbs is the transaction's own view of which space each database has, after FLUSHDB or SWAPDB in it.
	dbs []encoding.SpaceCount
	// changes counts logical changes, as Redis' server.dirty.
	changes int64
	// expirations and expirationBytes are what expire contributed to changes and effects.
	expirations, expirationBytes int64
	// hits and misses count keys looked up since CountLookups, while counting.
	hits, misses int64
	// commands counts the effects.
	commands int
	// hot: the engine is not asked; see HotOnly.
	hot bool
	// pin, if set, is the point in time that is read, and nothing newer: see Store.Pin.
	pin *Pin
	// stop and check end reads early: see StopOn. moves counts those of cursors since.
	stop  *error
	check func() error
	moves uint
	// seen is the large row that was read last under a lock that is held until the commit.
	seen seenRow
	// large is the memory that rows take which are changed in place.
	large int
	// piece is where pieces of strings are read into.
	piece []byte
	// fills are the collections filled, the last of them filling if that is not ended; cuts and erased what was removed
	// otherwise than row by row.
	fills   []*fill
	filling *fill
	cuts    []cut
	erased  []erasure
	// flushed are databases changed as a whole.
	flushed, swapped []int
}

// segment is a stretch of effects that belong to one database.
type segment struct {
	db int
	at int // where it begins in effects
}

// delta is the change of a space's counters.
type delta struct {
	space                encoding.Space
	keys, expires, timed int64
}

// Touched names a changed key, for WATCH and client-side caching, and the client whose command changed it (0:
// nobody's, as a deadline). With Read it is a key that the client has read.
type Touched struct {
	DB   int
	Key  []byte
	By   int64
	Read bool
}

// NewTxn lends a transaction of this store; Done gives it back.
func (s *Store) NewTxn() *Txn {
	t, ok := s.txns.Get().(*Txn)
	if !ok {
		t = &Txn{store: s}
	}
	t.refs.Store(1)
	return t
}

// Done gives the transaction back. One that has been applied lives on until the engine has it: the owner may
// still read it before Done, but must not change it.
func (t *Txn) Done() {
	if t.refs.Add(-1) == 0 {
		t.Reset()
		t.store.txns.Put(t)
	}
}

// Applied reports that the store may still need the transaction as it is: another one must be used.
func (t *Txn) Applied() bool { return t.refs.Load() > 1 }

// Begin sets the rules for what follows: mode, database and the present time in Unix milliseconds. It may
// be called again between the commands of a pipeline.
func (t *Txn) Begin(mode Mode, db int, now int64) { t.mode, t.db, t.now, t.by = mode, db, now, 0 }

// Client says whose command follows, until the next Begin.
func (t *Txn) Client(id int64) { t.by = id }

// NoteRead puts a key that the client has read among those touched.
func (t *Txn) NoteRead(key []byte) {
	t.touched = append(t.touched, Touched{t.db, t.mem.copyOf(key), t.by, true})
}

// ErrCold is returned, under HotOnly, for what is not in memory.
var ErrCold = errors.New("not in memory")

// HotOnly makes reads fail with ErrCold where the engine would have to be asked, which may take a disk's time.
func (t *Txn) HotOnly(on bool) { t.hot = on }

// InMemory reports HotOnly: who would be long about something, even in memory, fails with ErrCold too.
func (t *Txn) InMemory() bool { return t.hot }

// DB is the database selected.
func (t *Txn) DB() int { return t.db }

// Select changes the database; the caller checks the range.
func (t *Txn) Select(db int) { t.db = db }

// Now is the time of the command, Unix milliseconds.
func (t *Txn) Now() int64 { return t.now }

// Applying reports ModeApply.
func (t *Txn) Applying() bool { return t.mode == ModeApply }

// Writable reports whether changes are allowed.
func (t *Txn) Writable() bool { return t.mode != ModeRead }

// Changes counts the logical changes so far.
func (t *Txn) Changes() int64 { return t.changes }

// Databases is the number of databases.
func (t *Txn) Databases() int { return len(t.store.dbs) }

// CountLookups starts to count which keys are found; Lookups returns the counts. For INFO stats.
func (t *Txn) CountLookups() { t.hits, t.misses = 0, 0 }

// Lookups: see CountLookups.
func (t *Txn) Lookups() (hits, misses int64) { return t.hits, t.misses }

// Empty reports whether a commit would change anything or log anything.
func (t *Txn) Empty() bool { return len(t.rows.rows) == 0 && len(t.effects) == 0 && t.dbs == nil }

// Size estimates the bytes that a commit carries.
func (t *Txn) Size() int { return len(t.effects) + len(t.rows.rows)*64 + t.large }

// Reset forgets everything.
func (t *Txn) Reset() {
	t.endFills(0)
	t.mem.reset()
	t.rows.reset()
	clear(t.cuts)
	clear(t.erased)
	t.cuts, t.erased = t.cuts[:0], t.erased[:0]
	t.seen, t.large = seenRow{}, 0
	t.resetForms(0)
	if cap(t.effects) > 1<<20 {
		t.effects = nil
	}
	t.effects, t.segs, t.deltas = t.effects[:0], t.segs[:0], t.deltas[:0]
	t.touched, t.dbs, t.changes, t.flushed, t.swapped = t.touched[:0], nil, 0, nil, nil
	t.expirations, t.expirationBytes, t.commands = 0, 0, 0
	t.events = t.events[:0]
	t.stop, t.check = nil, nil
}

// Of reports whether the transaction belongs to the store.
func (t *Txn) Of(s *Store) bool { return t.store == s }

// Mark is a point to which a failed command is rolled back.
type Mark struct {
	undo, effects, segs, touched, events, flushed, swapped, commands int
	changes, expirations, expirationBytes                            int64

	deltas  [4]delta
	ndeltas int
	more    []delta
	dbs     []encoding.SpaceCount
}

// Mark remembers the present state.
func (t *Txn) Mark() Mark {
	m := Mark{undo: len(t.rows.undo), effects: len(t.effects), segs: len(t.segs), touched: len(t.touched),
		events: len(t.events), flushed: len(t.flushed), swapped: len(t.swapped), commands: t.commands, changes: t.changes,
		expirations: t.expirations, expirationBytes: t.expirationBytes, ndeltas: len(t.deltas), dbs: t.dbs}
	if len(t.deltas) <= len(m.deltas) {
		copy(m.deltas[:], t.deltas)
	} else {
		m.more = append([]delta(nil), t.deltas...)
	}
	return m
}

// Rollback returns to m: the changes since are forgotten.
func (t *Txn) Rollback(m *Mark) {
	t.rollbackForms(m.undo)
	t.rows.rollback(m.undo)
	t.restore(m.undo)
	t.endFills(m.undo)
	t.seen = seenRow{}
	t.effects, t.segs, t.touched = t.effects[:m.effects], t.segs[:m.segs], t.touched[:m.touched]
	t.events = t.events[:m.events]
	t.changes, t.dbs, t.flushed = m.changes, m.dbs, t.flushed[:m.flushed]
	t.swapped = t.swapped[:m.swapped]
	t.expirations, t.expirationBytes, t.commands = m.expirations, m.expirationBytes, m.commands
	t.deltas = t.deltas[:0]
	if m.more != nil {
		t.deltas = append(t.deltas, m.more...)
	} else {
		t.deltas = append(t.deltas, m.deltas[:m.ndeltas]...)
	}
}

// Effect adds a command to what the log will carry for this transaction: resolved, deterministic.
func (t *Txn) Effect(args ...[]byte) {
	t.segment()
	t.commands++
	t.effects = resp.AppendCommand(t.effects, args...)
}

// EffectStrings is Effect for words.
func (t *Txn) EffectStrings(args ...string) {
	t.segment()
	t.commands++
	t.effects = resp.AppendCommandStrings(t.effects, args...)
}

// EffectRaw adds encoded commands.
func (t *Txn) EffectRaw(stream []byte) {
	t.segment()
	t.commands++
	t.effects = append(t.effects, stream...)
}

// EffectBytes is the size of the effects so far; a command that left it alone but changed something is
// logged as it was sent.
func (t *Txn) EffectBytes() int { return len(t.effects) }

func (t *Txn) segment() {
	if n := len(t.segs); n == 0 || t.segs[n-1].db != t.db {
		t.segs = append(t.segs, segment{t.db, len(t.effects)})
	}
}

// space is the space of a database as the transaction sees it.
func (t *Txn) space(db int) encoding.Space {
	if t.dbs != nil {
		return t.dbs[db].Space
	}
	return t.store.dbs[db].space()
}

// Entry is a key as a transaction found it. It stays right while only this transaction's calls on this
// entry change the key.
type Entry struct {
	User []byte
	Meta encoding.Meta
	// Found reports whether the key logically exists.
	Found bool

	physical bool // has a row, perhaps past its deadline
	hash     uint64
	rowHash  uint64
	slot     slot.Slot
	space    encoding.Space
	db       int
	row      []byte
}

// Type is the type of the value, None if the key does not exist.
func (e *Entry) Type() encoding.Type {
	if !e.Found {
		return encoding.None
	}
	return e.Meta.Type
}

// Slot is the key's slot.
func (e *Entry) Slot() slot.Slot { return e.slot }

// Lookup reads a key of the selected database. In ModeWrite a key past its deadline is deleted on the way; in
// ModeRead one that is missing is an event.
func (t *Txn) Lookup(user []byte) (Entry, error) {
	e, err := t.LookupIn(t.db, user)
	if t.mode == ModeRead && !e.Found && err == nil {
		t.Event(keyevent.Miss, "keymiss", t.db, user)
	}
	return e, err
}

// LookupIn reads a key of any database, without the event of a missing one.
func (t *Txn) LookupIn(db int, user []byte) (Entry, error) {
	e := Entry{User: user, hash: encoding.Hash48(user), slot: slot.Of(user), space: t.space(db), db: db}
	e.row = t.mem.keep(encoding.AppendKey(t.mem.take(len(user)+keyRowMax), e.space, e.slot, e.hash, user))
	e.rowHash = rowHash(e.row)
	v, ok, err := t.read(e.rowHash, e.row)
	if err != nil || !ok {
		t.misses++
		return e, err
	}
	if err := encoding.ParseMeta(v, &e.Meta); err != nil {
		return e, fmt.Errorf("key %q: %w", user, err)
	}
	e.physical, e.Found = true, true
	if t.Expired(e.Meta.Deadline) {
		e.Found = false
		if t.mode == ModeWrite {
			err = t.expire(&e)
		} else {
			e.Meta = encoding.Meta{Deadline: e.Meta.Deadline} // nobody takes the value for one that is there
		}
		t.misses++
		return e, err
	}
	t.hits++
	return e, err
}

// keyRowMax is more than the fixed part of a key's or element's row.
const keyRowMax = 32

// Exists is Lookup for callers that need no more.
func (t *Txn) Exists(user []byte) (bool, error) {
	e, err := t.Lookup(user)
	return e.Found, err
}

// read finds a row: own changes, then the hot cache, then the engine.
func (t *Txn) read(hash uint64, key []byte) ([]byte, bool, error) { return t.readRow(hash, key, false) }

// readRow is read for rows that may be dense: the filter of absent rows does not know those.
func (t *Txn) readRow(hash uint64, key []byte, dense bool) ([]byte, bool, error) {
	if i := t.rows.find(hash, key); i >= 0 {
		r := &t.rows.rows[i]
		return r.val, !r.del, nil
	}
	if t.stop != nil && *t.stop != nil {
		return nil, false, *t.stop
	}
	if t.removes() {
		if gone, err := t.removed(key); err != nil || gone {
			return nil, false, err
		}
	}
	if t.seen.is(hash, key) {
		return t.seen.val, true, nil
	}
	v, ok, err := t.readStored(hash, key, dense)
	if ok && len(v) > largeRow && t.mode != ModeRead {
		t.seen = seenRow{hash, key, v}
	}
	return v, ok, err
}

// readStored is read without the transaction's own changes.
func (t *Txn) readStored(hash uint64, key []byte, dense bool) ([]byte, bool, error) {
	dst := t.mem.take(1024)
	if t.pin != nil {
		v, ok, err := t.pin.get(dst, key)
		return t.mem.keep(v), ok, err
	}
	c := t.store.cache
	v, present, known := c.get(dst, hash, key)
	if known {
		return t.mem.keep(v), present, nil
	}
	if !dense && t.store.filter.absent(hash) {
		return nil, false, nil
	}
	if v, present, known := t.store.pending.find(dst, hash, key); known {
		v = t.mem.keep(v)
		c.put(hash, key, v, !present)
		return v, present, nil
	}
	if t.hot {
		return nil, false, ErrCold
	}
	v, ok, err := t.store.engineGet(dst, key)
	if err != nil {
		return nil, false, err
	}
	v = t.mem.keep(v)
	c.put(hash, key, v, !ok)
	return v, ok, nil
}

func (t *Txn) write(r row) {
	t.rows.set(r)
	if len(t.erased) > 0 && !r.del {
		t.keep(r.key)
	}
}

// count changes the counters of a space.
func (t *Txn) count(c delta) {
	if c == (delta{space: c.space}) {
		return
	}
	for i := range t.deltas {
		if d := &t.deltas[i]; d.space == c.space {
			d.keys += c.keys
			d.expires += c.expires
			d.timed += c.timed
			return
		}
	}
	t.deltas = append(t.deltas, c)
}

// expiring is what a key with the metadata counts for.
func expiring(m *encoding.Meta) (expires, timed int64) {
	if m.Deadline != 0 {
		expires = 1
	}
	if m.HasTimed() {
		timed = 1
	}
	return expires, timed
}

// Touch notes a change of the elements of a key whose metadata stays as it is.
func (t *Txn) Touch(e *Entry) { t.touch(e) }

// touch notes a change of the key for its watchers.
func (t *Txn) touch(e *Entry) {
	t.changes++
	if t.store.Watching.Load() > 0 {
		t.touched = append(t.touched, Touched{e.db, t.mem.copyOf(e.User), t.by, false})
	}
}

// Put stores metadata, and with it the value of a string that is whole, for the key: created or overwritten. A
// collection that it replaces (another id) is dropped. What m has views of is copied.
func (t *Txn) Put(e *Entry, m encoding.Meta) error {
	if err := t.PutUnseen(e, m); err != nil {
		return err
	}
	t.touch(e)
	return nil
}

// PutUnseen is Put for a change of metadata that nobody can see: it is none for watchers and the log.
func (t *Txn) PutUnseen(e *Entry, m encoding.Meta) error {
	c := delta{space: e.space, keys: 1}
	c.expires, c.timed = expiring(&m)
	due, wasDue := m.Due(), int64(0)
	if !e.physical {
		t.Event(keyevent.New, "new", e.db, e.User)
	} else {
		old := &e.Meta
		expires, timed := expiring(old)
		c.keys, c.expires, c.timed = 0, c.expires-expires, c.timed-timed
		wasDue = old.Due()
		if old.InRows() && m.ID != old.ID {
			if err := t.dropCollection(e.space, old); err != nil {
				return err
			}
		}
	}
	if wasDue != due {
		if wasDue != 0 {
			t.writeExpiry(e, wasDue, true)
		}
		if due != 0 {
			t.writeExpiry(e, due, false)
		}
	}
	t.count(c)
	buf := t.mem.keep(encoding.AppendMeta(t.mem.take(m.SizeHint()), &m))
	t.write(row{hash: e.rowHash, key: e.row, val: buf, point: true, known: e.physical})
	m.ViewIn(buf)
	e.Meta, e.Found, e.physical = m, true, true
	return nil
}

// Remove deletes the key whatever its type; it reports whether there was one.
func (t *Txn) Remove(e *Entry) (bool, error) {
	if !e.physical {
		return false, nil
	}
	if e.Meta.InRows() {
		if err := t.dropCollection(e.space, &e.Meta); err != nil {
			return false, err
		}
	}
	t.unlink(e)
	return true, nil
}

// RemoveEmpty deletes a key whose collection has no rows any more: all were removed one by one. A search for what
// is left would walk over all of them once more.
func (t *Txn) RemoveEmpty(e *Entry) {
	if e.physical {
		t.unlink(e)
	}
}

// unlink removes the key's rows but not the collection behind it.
func (t *Txn) unlink(e *Entry) {
	if due := e.Meta.Due(); due != 0 {
		t.writeExpiry(e, due, true)
	}
	expires, timed := expiring(&e.Meta)
	t.count(delta{e.space, -1, -expires, -timed})
	t.write(row{hash: e.rowHash, key: e.row, del: true, point: true})
	e.Meta, e.Found, e.physical = encoding.Meta{}, false, false
	t.touch(e)
}

// expire deletes a key that is past its deadline and logs that.
func (t *Txn) expire(e *Entry) error {
	defer t.Client(t.by)
	t.by = 0
	if _, err := t.Remove(e); err != nil {
		return err
	}
	if t.db != e.db {
		defer t.Select(t.db)
		t.Select(e.db)
	}
	n := len(t.effects)
	t.Effect(wordDel, e.User)
	t.Event(keyevent.Expired, "expired", e.db, e.User)
	t.expirationBytes += int64(len(t.effects) - n)
	t.expirations++
	t.store.Expired.Add(1)
	return nil
}

// Expired reports whether a deadline hides what has it: one that is set and has passed, unless the stream is applied.
func (t *Txn) Expired(deadline int64) bool {
	return deadline != 0 && deadline <= t.now && t.mode != ModeApply
}

// ExpireFields logs that fields of the hash e, which are past their deadline, were removed; save stores the hash
// without them.
func (t *Txn) ExpireFields(e *Entry, fields [][]byte, save func() error) error {
	defer t.Client(t.by)
	t.by = 0
	if err := save(); err != nil {
		return err
	}
	if t.db != e.db {
		defer t.Select(t.db)
		t.Select(e.db)
	}
	n := len(t.effects)
	t.Effect(append([][]byte{wordHDel, e.User}, fields...)...)
	t.Event(keyevent.Hash, "hexpired", e.db, e.User)
	if !e.Found {
		t.Event(keyevent.Generic, "del", e.db, e.User)
	}
	t.expirationBytes += int64(len(t.effects) - n)
	t.expirations++
	t.store.ExpiredFields.Add(int64(len(fields)))
	return nil
}

// Expirations counts the changes that deletions of keys and fields past their deadline made, and the bytes that they
// logged: both are no doing of the command that met them.
func (t *Txn) Expirations() (changes, bytes int64) { return t.expirations, t.expirationBytes }

// DropEffects cuts the effects back to n bytes: in ModeApply the stream itself is what the log carries.
func (t *Txn) DropEffects(n int) {
	t.effects = t.effects[:n]
	for len(t.segs) > 0 && t.segs[len(t.segs)-1].at >= n {
		t.segs = t.segs[:len(t.segs)-1]
	}
}

// Frame makes the effects so far one unit of the stream: MULTI around them if there is more than one
// command, so that a replica applies all or none.
func (t *Txn) Frame() {
	if t.commands > 1 {
		t.frame(0)
	}
}

// maxFramed bounds what FrameFrom makes one unit: replicas hold a whole one in memory, and refuse one of more than
// a gigabyte. A variable, so that a test need not log so much.
var maxFramed = 256 << 20

// FrameFrom is Frame for what one command has logged since m, unless that is very much. Keys that it found past their
// deadline do not count: their deletion stands for itself.
func (t *Txn) FrameFrom(m *Mark) {
	if int64(t.commands-m.commands)-(t.expirations-m.expirations) > 1 && len(t.effects)-m.effects <= maxFramed {
		t.frame(m.effects)
	}
}

func (t *Txn) frame(from int) {
	if len(t.effects) == from {
		return
	}
	head := resp.AppendCommandStrings(nil, "MULTI")
	t.effects = slices.Insert(t.effects, from, head...)
	for i := range t.segs {
		if t.segs[i].at > from {
			t.segs[i].at += len(head)
		}
	}
	t.effects = resp.AppendCommandStrings(t.effects, "EXEC")
}

var wordDel, wordHDel = []byte("DEL"), []byte("HDEL")

// Move gives the value of src, deadline included, to dst, which must not exist physically (Remove it
// first); src is gone after it. The collection stays where it is: this costs O(1).
func (t *Txn) Move(src, dst *Entry) error {
	m := src.Meta
	t.unlink(src)
	if dst.space != src.space && m.InRows() {
		return t.moveCollection(src.space, dst, m)
	}
	return t.Put(dst, m)
}

func (t *Txn) writeExpiry(e *Entry, deadline int64, del bool) {
	k := encoding.AppendExpiry(t.mem.take(len(e.User)+keyRowMax), e.space, deadline, e.slot, e.hash, e.User)
	k = t.mem.keep(k)
	t.write(row{hash: rowHash(k), key: k, del: del})
}

// SetDeadline changes the key's deadline; 0 removes it.
func (t *Txn) SetDeadline(e *Entry, deadline int64) error {
	m := e.Meta
	m.Deadline = deadline
	return t.Put(e, m)
}

// Keys and Expires are the counters of a database as the transaction sees them.
func (t *Txn) Keys(db int) int64 {
	keys, _ := t.counters(db)
	return keys
}

func (t *Txn) counters(db int) (keys, expires int64) {
	sp := t.space(db)
	if t.dbs != nil {
		keys, expires = t.dbs[db].Keys, t.dbs[db].Expires
	} else {
		keys, expires = t.store.Counts(db)
	}
	for _, d := range t.deltas {
		if d.space == sp {
			keys += d.keys
			expires += d.expires
		}
	}
	return keys, expires
}

// own makes the transaction's own view of the databases. The caller holds the store latch exclusively.
func (t *Txn) own() {
	dbs := make([]encoding.SpaceCount, len(t.store.dbs))
	for i := range dbs {
		if t.dbs != nil {
			dbs[i] = t.dbs[i]
			continue
		}
		keys, expires := t.store.Counts(i)
		dbs[i] = encoding.SpaceCount{Space: t.store.dbs[i].space(), Keys: keys, Expires: expires,
			Timed: t.store.TimedHashes(i)}
	}
	t.dbs = dbs
}

// Flush empties a database at once: it points to a new space. REQUIRES: store latch held exclusively.
func (t *Txn) Flush(db int) {
	t.own()
	old := t.dbs[db].Space
	t.dbs[db] = encoding.SpaceCount{Space: t.store.newSpace()}
	k := t.mem.keep(encoding.AppendSpace(t.mem.take(8), encoding.TableRetired, old))
	t.write(row{hash: rowHash(k), key: k})
	t.changes++
	t.flushed = append(t.flushed, db)
}

// Swap exchanges two databases. REQUIRES: store latch held exclusively.
func (t *Txn) Swap(a, b int) {
	t.own()
	t.dbs[a], t.dbs[b] = t.dbs[b], t.dbs[a]
	t.changes++
	t.swapped = append(t.swapped, a, b)
}

// Touched are the keys changed, while Store.Watching said that anybody asks, and those of NoteRead, in order;
// TouchedDBs the databases that were flushed or
// swapped as a whole.
func (t *Txn) Touched() []Touched { return t.touched }

// TouchedDBs: see Touched.
func (t *Txn) TouchedDBs() (flushed, swapped []int) { return t.flushed, t.swapped }
