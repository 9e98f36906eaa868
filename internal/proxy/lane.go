package proxy

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"haypile/internal/command"
)

// lane carries the requests of one session to one shard in order. Guarded by session.mu.
//
// Its requests are, oldest first: in flight on conn, then held. When some of those in flight come back
// unexecuted they gather in retry until none is in flight any more, and then go in front of held. Nothing is
// sent meanwhile.
type lane struct {
	s     *session
	shard *shard

	conn     *conn
	inflight int
	nextSeq  uint64
	held     []*request // to be sent, in order
	retry    []*request // came back unexecuted, in the order of their return
	waiting  bool       // registered in shard.mu.waiting

	// pinned says that conn watches keys for this lane, unpinning that the request that ends this is in
	// flight. If the connection is lost before, the transaction that relies on it is answered as if a key
	// had changed.
	pinned, unpinning bool
}

// submitLocked sends a new request, or holds it behind what is already waiting.
func (l *lane) submitLocked(r *request) {
	r.seq = l.nextSeq
	l.nextSeq++
	if len(l.held) == 0 && len(l.retry) == 0 && l.sendLocked(r) {
		return
	}
	if !l.s.p.held.take(len(r.raw)) {
		l.s.p.metrics.holdOverload.Inc()
		l.s.failLocked(r, replyOverload)
		return
	}
	if l.waiting {
		r.startWaiting(time.Now().UnixNano())
	}
	l.held = append(l.held, r)
}

func (r *request) startWaiting(now int64) {
	if r.waitStart == 0 {
		r.waitStart = now
	}
}

// sendLocked sends a request if there is a connection for it now. It reports false if the request must
// wait: for earlier requests of the lane, or for the shard.
func (l *lane) sendLocked(r *request) bool {
	for {
		if r.unpin && !l.pinned {
			l.s.answerUnwatchedLocked(r)
			return true
		}
		if !l.fits(r) {
			if l.inflight > 0 {
				return false
			}
			l.leaveConnLocked()
			if r.unpin {
				continue
			}
			c, err := l.shard.acquire(l, r)
			if err != nil {
				l.s.failLocked(r, replyCrowded)
				return true
			}
			if c == nil {
				r.startWaiting(time.Now().UnixNano())
				return false
			}
			l.conn = c
		}
		r.left, r.refusedInside = r.replies, false
		if r.strict {
			r.instead = ""
		}
		if l.conn.dedicated {
			l.conn.patient.Store(r.spec.Flags.Has(command.Blocking))
		}
		switch err := l.conn.push(r); {
		case err == nil:
			l.inflight++
			l.pinned = l.pinned || r.pin
			l.unpinning = l.unpinning || r.unpin
			return true
		case errors.Is(err, errOverload):
			l.s.failLocked(r, replyOverload)
			return true
		case l.inflight > 0:
			return false // they come back soon: the connection is closed
		}
	}
}

// fits reports whether a request may be sent on the lane's connection now.
func (l *lane) fits(r *request) bool {
	c := l.conn
	switch {
	case c == nil || !c.usable.Load() || l.unpinning || c.key != r.key:
		return false
	case l.pinned:
		return true
	}
	return c.dedicated == r.dedicated && !(c.dedicated && l.inflight > 0)
}

// leaveConnLocked gives up the connection; nothing is in flight. A dedicated one goes back to the shard, or
// is closed if it still watches keys.
func (l *lane) leaveConnLocked() {
	c := l.conn
	l.conn = nil
	switch {
	case c == nil || !c.dedicated:
	case l.pinned:
		l.pinned, l.unpinning = false, false
		c.close(errAbandoned)
	default:
		l.shard.release(c)
	}
}

// finishLocked takes a request back from the connection. It completes the request, or keeps it to be sent
// again.
func (l *lane) finishLocked(r *request, how outcome) {
	l.inflight--
	if r.passing && how != answered {
		l.s.closeLocked("reply cut off") // what was sent of it can't be taken back
		return
	}
	switch {
	case r.pin || r.unpin:
		l.finishPinnedLocked(r, how)
	case how == answered && !(r.repeatable && l.retryBefore(r.seq)):
		l.abandonLocked(r.seq)
		l.s.completeLocked(r)
	case how == lost && (!r.repeatable || r.retried):
		l.abandonLocked(r.seq)
		l.s.failLostLocked(r)
	default:
		// A read that was executed after a request that was not is repeated too, or it would miss the
		// effect of that one.
		r.retried = r.retried || how == lost
		if how == unsent {
			r.reply = r.reply[:0]
		}
		r.startWaiting(time.Now().UnixNano())
		l.retry = append(l.retry, r)
		l.s.p.metrics.retries.Inc()
	}
	if l.inflight == 0 {
		l.resumeLocked()
	}
}

// finishPinnedLocked finishes WATCH, and what ends it. They are never repeated: the connection is lost, and
// with it what was watched.
func (l *lane) finishPinnedLocked(r *request, how outcome) {
	if how != answered {
		l.pinned = false
		l.conn.close(errAbandoned)
	}
	if r.unpin {
		l.pinned, l.unpinning = false, false
	}
	switch {
	case how == answered:
		l.s.completeLocked(r)
	case r.exec && how == lost:
		l.s.failLostLocked(r)
	case r.pin:
		// The transaction will not be run: that is always a right answer to WATCH.
		r.reply = append(r.reply[:0], "+OK\r\n"...)
		l.s.completeLocked(r)
	default:
		l.s.answerUnwatchedLocked(r)
	}
}

// retryBefore reports whether a request older than seq came back unexecuted.
func (l *lane) retryBefore(seq uint64) bool {
	return slices.ContainsFunc(l.retry, func(r *request) bool { return r.seq < seq })
}

// abandonLocked ends the requests older than seq that came back: a later one that cannot be repeated was,
// or may have been, executed, so that sending them now would change the order.
func (l *lane) abandonLocked(seq uint64) {
	if len(l.retry) == 0 {
		return
	}
	l.retry = slices.DeleteFunc(l.retry, func(r *request) bool {
		if r.seq > seq {
			return false
		}
		if len(r.reply) == 0 {
			r.reply = append(r.reply, replyLostRead...)
		}
		l.s.completeLocked(r)
		return true
	})
}

// resumeLocked goes on when nothing is in flight.
func (l *lane) resumeLocked() {
	if len(l.retry) > 0 {
		slices.SortFunc(l.retry, func(a, b *request) int { return cmp.Compare(a.seq, b.seq) })
		for _, r := range l.retry {
			l.s.p.held.force(len(r.raw))
		}
		l.held = append(l.retry, l.held...)
		l.retry = nil
		l.expireLocked(time.Now().UnixNano())
	}
	if l.conn != nil && l.conn.dedicated && !l.pinned {
		l.leaveConnLocked()
	}
	l.pumpLocked()
}

// pumpLocked sends what is held, as far as possible.
func (l *lane) pumpLocked() {
	for len(l.held) > 0 && len(l.retry) == 0 {
		r := l.held[0]
		if !l.sendLocked(r) {
			return
		}
		l.s.p.held.give(len(r.raw))
		l.held[0] = nil
		l.held = l.held[1:]
	}
	if len(l.held) == 0 {
		l.held = nil
	}
}

// expireLocked ends the held requests that have waited for too long.
func (l *lane) expireLocked(now int64) {
	limit := int64(l.s.p.opt.HoldTimeout)
	l.held = slices.DeleteFunc(l.held, func(r *request) bool {
		r.startWaiting(now)
		if now-r.waitStart < limit {
			return false
		}
		l.s.p.held.give(len(r.raw))
		l.s.p.metrics.holdTimeout.Inc()
		l.s.failLocked(r, l.shard.noPrimary)
		return true
	})
}

// closeLocked drops everything when the client is gone.
func (l *lane) closeLocked() {
	for _, r := range l.held {
		l.s.p.held.give(len(r.raw))
	}
	l.held, l.retry = nil, nil
	if c := l.conn; c != nil && c.dedicated {
		l.conn = nil
		if l.pinned || l.inflight > 0 {
			c.close(errAbandoned)
		} else {
			l.shard.release(c)
		}
	}
}
