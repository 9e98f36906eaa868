package exec

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/commands"
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
	"haypile/internal/types/hash"
)

// watchers finds the sessions that watch a key. Lock order: key locks, then mu.
type watchers struct {
	mu struct {
		sync.Mutex
		keys map[watchKey][]*Session
	}
}

type watchKey struct {
	db  int
	key string
}

// watchState is what a session watches. dirty is set by whoever changes one of the keys. The keys belong to the
// session's goroutine; under watchers.mu others read them, and change them if they hold the key's lock or the
// latch exclusively.
type watchState struct {
	keys  []watchedKey
	dirty atomic.Bool
}

type watchedKey struct {
	watchKey
	// expired: the key was past its deadline already when the watch began, and is still there.
	expired bool
	// existed: the key existed when the watch began.
	existed bool
	// at is when the watch began, Unix milliseconds.
	at int64
}

// find returns the session's watch of a key, nil if it does not watch it. REQUIRES: watchers.mu, or the
// session's goroutine.
func (w *watchState) find(k watchKey) *watchedKey {
	for i := range w.keys {
		if w.keys[i].watchKey == k {
			return &w.keys[i]
		}
	}
	return nil
}

// wants adds the locks of the watched keys, shared, so that EXEC and changes of them exclude each other.
func (w *watchState) wants(want []keyspace.Want) []keyspace.Want {
	for i := range w.keys {
		want = append(want, keyspace.Want{Lock: keyspace.LockOf([]byte(w.keys[i].key)), Shared: true})
	}
	return want
}

// Watch adds keys: the command WATCH, which runs under their locks.
func (s *Session) Watch(call *commands.Call) error {
	if s.multi.on {
		return commands.Error(resp.ErrWatchInMulti)
	}
	w := &s.x.watch
	for _, key := range call.Args[1:] {
		k := watchedKey{watchKey: watchKey{s.Client.DB, string(key)}}
		if s.watch.find(k.watchKey) != nil {
			continue
		}
		e, err := call.Tx.LookupIn(k.db, key)
		if err != nil {
			return err
		}
		k.expired, k.existed, k.at = !e.Found && e.Meta.Deadline != 0, e.Found, call.Tx.Now()
		w.mu.Lock()
		s.watch.keys = append(s.watch.keys, k)
		if w.mu.keys == nil {
			w.mu.keys = map[watchKey][]*Session{}
		}
		w.mu.keys[k.watchKey] = append(w.mu.keys[k.watchKey], s)
		w.mu.Unlock()
		s.x.Store().Watching.Add(1)
	}
	s.Client.Watched = len(s.watch.keys)
	s.Out.OK()
	return nil
}

// Unwatch drops all watches: the command UNWATCH.
func (s *Session) Unwatch() error {
	s.unwatch()
	s.Out.OK()
	return nil
}

func (s *Session) unwatch() {
	if len(s.watch.keys) > 0 {
		w := &s.x.watch
		w.mu.Lock()
		for _, k := range s.watch.keys {
			list := w.mu.keys[k.watchKey]
			if i := slices.Index(list, s); i >= 0 {
				list = slices.Delete(list, i, i+1)
			}
			if len(list) == 0 {
				delete(w.mu.keys, k.watchKey)
			} else {
				w.mu.keys[k.watchKey] = list
			}
		}
		n := len(s.watch.keys)
		s.watch.keys = nil
		w.mu.Unlock()
		s.x.Store().Watching.Add(-int64(n))
		s.Client.Watched = 0
	}
	s.watch.dirty.Store(false)
}

// touch marks the sessions dirty that watch what t, which has been applied, changed. REQUIRES: the locks under
// which it was made.
func (x *Executor) touch(t *keyspace.Txn) {
	w := &x.watch
	for _, c := range t.Touched() {
		if c.Read {
			continue
		}
		k := watchKey{c.DB, string(c.Key)}
		now := present
		w.each(k, func(own *watchedKey) (dirty bool) {
			if own.expired {
				now = past // to be looked at
			}
			return !own.expired
		})
		if now == present {
			continue
		}
		// That a key past its deadline is deleted at last changes nothing that could be seen.
		now = x.look(k)
		w.each(k, func(own *watchedKey) (dirty bool) {
			dirty = !own.expired || now != absent
			own.expired = false
			return dirty
		})
	}
	flushed, swapped := t.TouchedDBs()
	if len(flushed)+len(swapped) == 0 {
		return
	}
	var keys []watchKey
	w.mu.Lock()
	for k := range w.mu.keys {
		if slices.Contains(flushed, k.db) || slices.Contains(swapped, k.db) {
			keys = append(keys, k)
		}
	}
	w.mu.Unlock()
	for _, k := range keys {
		// A key that did not exist when it was watched, and has not been touched since, is changed only if the
		// exchange of its database has brought one.
		now := x.look(k)
		w.each(k, func(own *watchedKey) (dirty bool) {
			own.expired = now == past
			return own.existed || now == present
		})
	}
}

// each runs f for all watches of a key, and marks the sessions dirty for which it returns true.
func (w *watchers) each(k watchKey, f func(*watchedKey) (dirty bool)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.mu.keys[k] {
		if f(s.watch.find(k)) {
			s.watch.dirty.Store(true)
		}
	}
}

// presence is whether a key can be seen, or only its row is left because nobody deleted it at its deadline.
type presence uint8

const (
	absent presence = iota
	past
	present
)

// look reads a key as it is now. REQUIRES: its lock, or the latch exclusively.
func (x *Executor) look(k watchKey) presence {
	t := x.Store().NewTxn()
	defer t.Done()
	t.Begin(keyspace.ModeRead, k.db, time.Now().UnixMilli())
	switch e, err := t.LookupIn(k.db, []byte(k.key)); {
	case err == nil && !e.Found && e.Meta.Deadline != 0:
		return past
	case err == nil && !e.Found:
		return absent
	}
	return present
}

// touchAll marks every session dirty that watches anything: the data was replaced.
func (w *watchers) touchAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, list := range w.mu.keys {
		for _, s := range list {
			s.watch.dirty.Store(true)
		}
	}
}

// watchExpired reports whether a watched key, or a field of it, has passed its deadline since it was watched.
func (s *Session) watchExpired() bool {
	if len(s.watch.keys) == 0 {
		return false
	}
	t := s.r.txn()
	t.Reset()
	for _, k := range s.watch.keys {
		t.Begin(keyspace.ModeRead, k.db, s.timer.nowMillis())
		e, err := t.LookupIn(k.db, []byte(k.key))
		if err != nil || !k.expired && !e.Found && e.Meta.Deadline != 0 {
			return true
		}
		if fields, err := fieldsExpired(t, e, k.at); err != nil || fields {
			return true
		}
	}
	return false
}

// fieldsExpired reports whether a field of a hash has passed its deadline since a point in time.
func fieldsExpired(t *keyspace.Txn, e keyspace.Entry, since int64) (bool, error) {
	if e.Type() != encoding.Hash {
		return false, nil
	}
	h, err := hash.At(t, e)
	if err != nil {
		return false, err
	}
	first, err := h.FirstDeadline(since)
	return t.Expired(first), err
}
