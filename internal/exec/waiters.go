package exec

import (
	"slices"
	"sync"
	"sync/atomic"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
)

// waiters are the clients that blocking commands hold until a key brings what they want. Lock order: key locks,
// then mu.
//
// Who makes such a key serves its waiters: in the same transaction, right behind the command, in the order in which
// they began to wait. Serving is running the waiter's command again, on the waiter's session, whose own goroutine
// sleeps meanwhile. Where that is not possible at once, because it takes another lock or a row from disk, the
// waiter is nudged: its own goroutine runs the command again, and serves those behind it if something is left.
type waiters struct {
	// n counts them; while it is 0, nobody looks for any.
	n  atomic.Int64
	mu struct {
		sync.Mutex
		keys map[watchKey][]*waiter // in the order of seq
		seq  uint64
	}
}

// waiter is one blocked client. All but the constant fields are guarded by waiters.mu; the session belongs to
// whoever claimed it.
type waiter struct {
	s    *Session
	cmd  *commands.Command
	args [][]byte
	keys []watchKey
	typ  encoding.Type
	// onGone: it wants to know, too, when the key is gone or of another type.
	onGone bool
	seq    uint64
	wake   chan verdict // holds at most one

	state waiterState
	// done: its own goroutine has written the reply.
	done bool
	// over is what CLIENT UNBLOCK wants of it while it is not asleep.
	over verdict
}

type waiterState uint8

const (
	asleep  waiterState = iota
	claimed             // somebody runs its command for it
	nudged              // its own goroutine is about to run it
	gone                // it has left
)

// verdict is why a waiter wakes up.
type verdict uint8

const (
	nothing    verdict = iota
	served             // the reply is in its Out
	tryAgain           // nudged
	timedOut           // CLIENT UNBLOCK TIMEOUT, and its own timer
	unblocked          // CLIENT UNBLOCK ERROR
	roleEnded          // the node stopped being primary
	connection         // its connection ended
)

// readOnly reports that what the waiter does takes nothing from others, so that no order need be kept.
func (w *waiter) readOnly() bool { return w.cmd.Flags&command.Write == 0 }

// wants reports whether a key that is of a type now, None if it is gone, concerns the waiter.
func (w *waiter) wants(now encoding.Type) bool { return now == w.typ || w.onGone }

// add makes w wait. REQUIRES: the locks of its keys, so that nothing happens to them unseen.
func (ws *waiters) add(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.mu.seq++
	w.seq = ws.mu.seq
	if ws.mu.keys == nil {
		ws.mu.keys = map[watchKey][]*waiter{}
	}
	for _, k := range w.keys {
		ws.mu.keys[k] = append(ws.mu.keys[k], w)
	}
	ws.n.Add(1)
}

// leaveLocked ends the wait. One that was nudged leaves its turn to those behind it.
func (ws *waiters) leaveLocked(w *waiter) {
	before := w.state
	w.state = gone
	ws.n.Add(-1)
	for _, k := range w.keys {
		list := ws.mu.keys[k]
		if i := slices.Index(list, w); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		if len(list) == 0 {
			delete(ws.mu.keys, k)
			continue
		}
		ws.mu.keys[k] = list
		if before == nudged {
			for _, next := range list {
				if !next.readOnly() {
					ws.nudgeLocked(next)
					break
				}
			}
		}
	}
}

func (ws *waiters) nudgeLocked(w *waiter) {
	if w.state == asleep {
		w.state = nudged
		w.wake <- tryAgain
	}
}

// leave ends the wait of one that was nudged and does not try again: its own goroutine.
func (ws *waiters) leave(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.leaveLocked(w)
}

// sleep lets a waiter that was nudged wait on, at its old place. If it was unblocked meanwhile it has left instead.
func (ws *waiters) sleep(w *waiter) verdict {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.state = asleep
	if w.over != nothing {
		ws.leaveLocked(w)
	}
	return w.over
}

// finish ends the wait of one that has got what it wanted. REQUIRES: it is claimed, or nudged and this is its own
// goroutine, which serves those behind it.
func (ws *waiters) finish(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.state = claimed
	ws.leaveLocked(w)
}

// claim takes the first waiter behind seq that wants a key of a type, to run its command. It returns nil if there is
// none, or if another is before it whose turn has come already.
func (ws *waiters) claim(k watchKey, seq uint64, now encoding.Type) *waiter {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.mu.keys[k] {
		if w.seq <= seq || w.readOnly() || !w.wants(now) {
			continue
		}
		switch {
		case w.state == nudged:
			return nil
		case w.state == claimed || w.s.ctx.Err() != nil:
			// Whoever has claimed it serves it or nudges it; whose connection has ended is about to leave.
			continue
		}
		w.state = claimed
		return w
	}
	return nil
}

// unclaim takes a claim back; again: its own goroutine shall try.
func (ws *waiters) unclaim(w *waiter, again bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.state = asleep
	switch {
	case w.over != nothing:
		ws.wakeLocked(w, w.over)
	case again:
		ws.nudgeLocked(w)
	}
}

// wakeLocked ends the wait of one that is asleep.
func (ws *waiters) wakeLocked(w *waiter, v verdict) {
	ws.leaveLocked(w)
	w.wake <- v
}

// unblock ends the wait of w with a verdict, at once or as soon as it would sleep again.
func (ws *waiters) unblock(w *waiter, v verdict) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	switch w.state {
	case asleep:
		ws.wakeLocked(w, v)
	case claimed, nudged:
		w.over = v
	}
}

// unblockAll ends all waits: the role has changed.
func (ws *waiters) unblockAll(v verdict) {
	ws.mu.Lock()
	var all []*waiter
	for _, list := range ws.mu.keys {
		all = append(all, list...)
	}
	ws.mu.Unlock()
	for _, w := range all {
		ws.unblock(w, v)
	}
}

// noteChanged nudges those who only read a key that t, which has been applied, changed, and those who wait for
// its end, which nobody served yet if the key was past its deadline.
func (ws *waiters) noteChanged(t *keyspace.Txn) {
	if ws.n.Load() == 0 {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	// Of those who take something only the first: it serves those behind it, and one who overtook it would take
	// what is its.
	nudge := func(list []*waiter) {
		first := true
		for _, w := range list {
			if w.readOnly() || w.onGone && first {
				ws.nudgeLocked(w)
			}
			first = first && w.readOnly()
		}
	}
	for _, c := range t.Touched() {
		if c.Read {
			continue
		}
		nudge(ws.mu.keys[watchKey{c.DB, string(c.Key)}])
	}
	flushed, swapped := t.TouchedDBs()
	if len(flushed)+len(swapped) == 0 {
		return
	}
	for k, list := range ws.mu.keys {
		if slices.Contains(flushed, k.db) || slices.Contains(swapped, k.db) {
			nudge(list)
		}
	}
}

// nudgeAll lets everybody look again: the data was replaced.
func (ws *waiters) nudgeAll() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, list := range ws.mu.keys {
		for _, w := range list {
			ws.nudgeLocked(w)
		}
	}
}

// of lists the keys of databases that somebody waits for, in the order of who waits longest.
func (ws *waiters) of(dbs ...int) (keys []watchKey) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	first := map[watchKey]uint64{}
	for k, list := range ws.mu.keys {
		if slices.Contains(dbs, k.db) {
			keys = append(keys, k)
			first[k] = list[0].seq
		}
	}
	slices.SortFunc(keys, func(a, b watchKey) int {
		if d := int64(first[a]) - int64(first[b]); d != 0 {
			return int(d)
		}
		if a.key < b.key {
			return -1
		}
		return 1
	})
	return keys
}
