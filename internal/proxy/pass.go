package proxy

import (
	"time"
)

// A large reply is passed on while it is being read, so that neither its size nor a slow client costs memory: the node
// is not read while the client takes nothing. That may hold up others whose replies follow on the same connection: no
// more requests are given to it, and a client that keeps those waiting for too long is closed.
//
// Only the reply that the client waits for next is passed on, never that of a part of a command, nor one that is changed on
// the way; others are read whole, up to the limits of replies.

const (
	// passPart is how much of a reply is passed on at once; smaller replies are read whole.
	passPart = 256 << 10
	// passAhead is how much may wait for the client.
	passAhead = 1 << 20
)

// passWait is how long in all a client may keep others waiting. A variable for tests.
var passWait = 5 * time.Second

// passable reports whether the reply may be passed on in parts.
func (r *request) passable() bool {
	return r.parent == nil && r.fix == nil && r.instead == "" && r.left <= 1 && !r.silent && !r.strict && !r.pin &&
		!r.unpin && !r.refusedInside
}

// pass gets a part of the reply that is being read.
func (c *conn) pass(part []byte) []byte {
	r := c.oldest()
	if r == nil || !r.passing && (part[0] == '>' || part[0] == '-' || !r.passable()) {
		return part
	}
	s := r.s
	taken, wait := s.pass(r, part)
	if !taken {
		return part
	}
	s.wakeWriter()
	if wait {
		c.flushWakes()
		if !c.dedicated {
			c.keepFree()
		}
		c.passing.Store(true)
		s.awaitTaken(c)
		c.alive()
		c.passing.Store(false)
	}
	return nil
}

// pass takes a part if the client waits for nothing before it. wait says that there is too much for the client already.
func (s *session) pass(r *request, part []byte) (taken, wait bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.closed:
		r.passing = true
		return true, false // nobody wants it any more, nor the rest
	case s.mu.head != r:
		return false, false
	}
	r.passing = true
	s.mu.out.add(part)
	return true, s.mu.out.size+s.mu.sending > passAhead
}

// awaitTaken waits until the client has taken most of what there is for it, or is closed.
func (s *session) awaitTaken(c *conn) {
	began := time.Now()
	timer := time.AfterFunc(passWait, s.taken.Broadcast)
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.mu.closed && s.mu.out.size+s.mu.sending > passAhead {
		if time.Since(began) >= passWait {
			if c.others() {
				s.p.metrics.slowConsumer.Inc()
				s.closeLocked("keeps others waiting")
				return
			}
			timer.Reset(passWait)
		}
		s.taken.Wait()
	}
}

// others reports whether requests wait behind the oldest.
func (c *conn) others() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)-c.at+len(c.mu.sent)+len(c.mu.queue) > 1
}

// keepFree gives the connection no more requests; it ends with the last reply that is due.
func (c *conn) keepFree() {
	c.mu.Lock()
	c.mu.closed = true
	c.usable.Store(false)
	queue := c.mu.queue
	c.mu.queue = nil
	c.mu.Unlock()
	c.giveBack(queue, unsent)
}
