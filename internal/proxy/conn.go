package proxy

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/resp"
)

var (
	errRetired     = errors.New("connection retired after a change of the primary")
	errBackendHung = errors.New("no reply within the backend timeout")
	errIdle        = errors.New("idle connection closed")
	errAbandoned   = errors.New("the client of a pinned connection is gone")
)

// conn is a pipelined connection to a node. A shared one carries the requests of many sessions; a dedicated
// one serves a single lane at a time.
//
// Requests are answered in the order in which they were queued. The numbers of a request in that order
// (taken, answered, whole) say what has become of it when the connection fails.
type conn struct {
	target    *target
	key       connKey
	dedicated bool
	nc        net.Conn
	replies   *resp.ReplyReader

	// usable is false as soon as nothing new may be sent here: the connection failed, its node refuses, or
	// is no longer the primary. It becomes true again only under mu while closed is false.
	usable atomic.Bool

	// patient says that a blocking command may take any time to answer.
	patient atomic.Bool

	wake       chan struct{}
	stop       chan struct{} // closed by close
	writerDone chan struct{}

	taken    atomic.Int64 // requests that the writer has begun to write
	answered atomic.Int64
	progress atomic.Int64 // coarse time of the last sign of life while replies are due
	used     atomic.Int64 // coarse time of the last use

	// whole is the number of requests that the kernel took whole; final once writerDone is closed.
	whole int64

	mu struct {
		sync.Mutex
		queue  []*request // to be written
		bytes  int        // in queue
		sent   []*request // taken by the writer and not yet by the reader
		closed bool       // nothing is accepted any more
		cause  error
	}

	// passing says that the reader waits for a client, and not for the node.
	passing atomic.Bool

	// Owned by the reader goroutine.
	waiting []*request // oldest first; from at on
	at      int
	scratch []byte
	wakes   []*session
}

func newConn(t *target, key connKey, dedicated bool, nc net.Conn) *conn {
	c := &conn{
		target: t, key: key, dedicated: dedicated, nc: nc,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), writerDone: make(chan struct{}),
	}
	c.replies = resp.NewReplyReader(c)
	c.usable.Store(true)
	c.used.Store(t.shard.p.now())
	return c
}

// run starts the goroutines; they are counted in Proxy.wg.
func (c *conn) run() {
	p := c.target.shard.p
	p.wg.Add(2)
	p.metrics.backendConns.Inc()
	go c.write()
	go c.read()
}

// push queues requests; it reports false if the connection takes none, or not so many bytes.
// The caller holds session.mu, so that nothing of the lane gets in between.
func (c *conn) push(r *request) error {
	c.mu.Lock()
	if c.mu.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	if c.mu.bytes > c.target.shard.p.opt.QueueBytes {
		c.mu.Unlock()
		return errOverload
	}
	first := len(c.mu.queue) == 0
	c.mu.queue = append(c.mu.queue, r)
	c.mu.bytes += len(r.raw)
	c.mu.Unlock()
	if first {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

var errOverload = errors.New("too many bytes queued for a node")

// close ends the connection; the reader then disposes of its requests. Idempotent.
func (c *conn) close(cause error) {
	c.mu.Lock()
	first := c.mu.cause == nil
	if first {
		c.mu.cause = cause
	}
	c.mu.closed = true
	c.usable.Store(false)
	c.mu.Unlock()
	if first {
		close(c.stop)
		c.nc.Close()
	}
}

// retire stops sending: what was not written goes back to its lanes at once, what is in flight has grace to
// be answered.
func (c *conn) retire(grace time.Duration) {
	c.mu.Lock()
	c.mu.closed = true
	c.usable.Store(false)
	queue := c.mu.queue
	c.mu.queue = nil
	idle := c.taken.Load() == c.answered.Load() && len(c.mu.sent) == 0
	c.mu.Unlock()
	if idle {
		c.close(errRetired)
	} else {
		time.AfterFunc(grace, func() { c.close(errRetired) })
	}
	c.giveBack(queue, unsent)
}

// writeCopy is the size up to which a request is copied into the batch. A larger one is written from where
// it is: its memory is not used again (see bufferKeep).
const writeCopy = bufferKeep

// batchKeep is the largest batch buffer kept for the next batch.
const batchKeep = 256 << 10

func (c *conn) write() {
	defer c.target.shard.p.wg.Done()
	defer close(c.writerDone)
	var w batchWriter
	var batch []*request
	for {
		select {
		case <-c.wake:
		case <-c.stop:
			return
		}
		// Sessions that are ready to run add their requests to this batch.
		runtime.Gosched()
		for {
			if batch = c.take(batch); len(batch) == 0 {
				break
			}
			w.load(batch)
			// From here on the reader may finish the requests: the writer touches them no more.
			c.mu.Lock()
			c.mu.sent = append(c.mu.sent, batch...)
			c.mu.Unlock()
			clear(batch)
			whole, err := w.flush(c.nc, c.alive)
			c.whole += int64(whole)
			if err != nil {
				c.close(fmt.Errorf("write: %w", err))
				return
			}
		}
	}
}

// take empties the queue into batch, whose memory becomes the queue.
func (c *conn) take(batch []*request) []*request {
	now := c.target.shard.p.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	batch, c.mu.queue = c.mu.queue, batch[:0]
	c.mu.bytes = 0
	if c.taken.Load() == c.answered.Load() {
		c.progress.Store(now)
	}
	c.used.Store(now)
	c.taken.Add(int64(len(batch)))
	return batch
}

// batchWriter puts many requests into one write.
type batchWriter struct {
	buf  []byte   // of copied requests
	bufs [][]byte // what is written: runs of copied requests, and large ones as they are
	ends []int    // where each request of the batch ends
}

// load copies the requests, or refers to large ones.
func (w *batchWriter) load(batch []*request) {
	if cap(w.buf) > batchKeep {
		w.buf = nil
	}
	w.buf, w.bufs, w.ends = w.buf[:0], w.bufs[:0], w.ends[:0]
	end := 0
	for _, r := range batch {
		end += len(r.raw)
		w.ends = append(w.ends, end)
		if cap(r.raw) <= writeCopy {
			w.buf = append(w.buf, r.raw...)
			continue
		}
		if len(w.buf) > 0 {
			w.bufs = append(w.bufs, w.buf)
			w.buf = w.buf[len(w.buf):]
		}
		w.bufs = append(w.bufs, r.raw)
	}
	if len(w.buf) > 0 {
		w.bufs = append(w.bufs, w.buf)
	}
}

// writePiece is what is written at once of a large batch, so that its progress can be seen.
const writePiece = 1 << 20

// flush writes the batch and returns how many of its requests the kernel took whole. progress is called as
// the batch gets on.
func (w *batchWriter) flush(nc net.Conn, progress func()) (int, error) {
	done := 0
	for _, b := range w.bufs {
		for len(b) > 0 {
			n, err := nc.Write(b[:min(len(b), writePiece)])
			done += n
			if err != nil {
				return w.wholeAt(done), err
			}
			if b = b[n:]; len(b) > 0 {
				progress()
			}
		}
	}
	if len(w.bufs) > 1 {
		w.buf = nil // it begins somewhere behind the last run
	}
	clear(w.bufs)
	return len(w.ends), nil
}

// wholeAt is the number of requests that end within the first n bytes of the batch.
func (w *batchWriter) wholeAt(n int) int {
	whole := 0
	for whole < len(w.ends) && w.ends[whole] <= n {
		whole++
	}
	return whole
}

// Read is the reply reader's source. Sessions are woken only when the replies at hand are used up, so that
// what belongs to one client leaves in one write.
func (c *conn) Read(p []byte) (int, error) {
	c.flushWakes()
	n, err := c.nc.Read(p)
	c.alive()
	return n, err
}

// alive notes a sign of life of the node.
func (c *conn) alive() { c.progress.Store(c.target.shard.p.now()) }

func (c *conn) flushWakes() {
	for i, s := range c.wakes {
		s.wakeWriter()
		c.wakes[i] = nil
	}
	c.wakes = c.wakes[:0]
}

// giveBack finishes requests outside of the reply stream.
func (c *conn) giveBack(rs []*request, how outcome) {
	for _, r := range rs {
		if s := r.s.finish(r, how); s != nil {
			s.wakeWriter()
		}
	}
}

func (c *conn) read() {
	p := c.target.shard.p
	defer p.wg.Done()
	for {
		raw, err := c.replies.ReadRawParts(c.scratch[:0], passPart, c.pass)
		if err != nil {
			c.fail(fmt.Errorf("read: %w", err))
			return
		}
		c.scratch = raw
		r := c.oldest()
		passing := r != nil && r.passing
		if !passing && raw[0] == '>' {
			continue // a push is nobody's reply
		}
		if r == nil {
			c.fail(fmt.Errorf("reply without a request: %.64q", raw))
			return
		}
		if r.left > 1 {
			r.left--
			r.refusedInside = r.refusedInside || isRefusal(raw)
			if r.strict && r.instead == "" && isError(raw) {
				r.instead = string(raw)
			}
			continue
		}
		c.at++
		c.answered.Add(1)
		r.reply, c.scratch = c.scratch, r.reply
		how := answered
		if !passing && (isRefusal(r.reply) || r.refusedInside && (r.strict || isError(r.reply)) ||
			c.target.lacksReplicas(r.reply)) {
			how = refused
			c.target.refuses()
		}
		if s := r.s.finish(r, how); s != nil {
			c.wakes = append(c.wakes, s)
		}
		if !c.usable.Load() {
			c.closeIfDone()
		}
	}
}

// closeIfDone closes a retired connection whose last reply has come.
func (c *conn) closeIfDone() {
	c.mu.Lock()
	done := c.mu.closed && c.taken.Load() == c.answered.Load()
	c.mu.Unlock()
	if done {
		c.close(errRetired)
	}
}

// oldest is the request that the next reply belongs to.
func (c *conn) oldest() *request {
	if c.at < len(c.waiting) {
		return c.waiting[c.at]
	}
	clear(c.waiting)
	c.mu.Lock()
	c.waiting, c.mu.sent = c.mu.sent, c.waiting[:0]
	c.mu.Unlock()
	c.at = 0
	if len(c.waiting) == 0 {
		return nil
	}
	return c.waiting[0]
}

// fail closes the connection and disposes of every request that it still has.
func (c *conn) fail(cause error) {
	p := c.target.shard.p
	c.close(cause)
	<-c.writerDone
	c.target.shard.drop(c)
	c.mu.Lock()
	cause = c.mu.cause
	sent := append(c.waiting[c.at:], c.mu.sent...)
	queue := c.mu.queue
	c.mu.sent, c.mu.queue = nil, nil
	c.mu.Unlock()
	if len(sent) > 0 {
		p.log.Warn("connection lost with requests in flight", "shard", c.target.shard.id,
			"addr", c.target.addr, "requests", len(sent), "cause", cause)
	}
	whole := min(max(c.whole-c.answered.Load(), 0), int64(len(sent)))
	c.giveBack(sent[:whole], lost)
	c.giveBack(sent[whole:], unsent)
	c.giveBack(queue, unsent)
	c.flushWakes()
	p.metrics.backendConns.Dec()
}

// slowFactor is how much longer than on a shared connection a reply may take on a dedicated one, which only
// carries what may be slow.
const slowFactor = 6

// check is called by the sweeper: it closes a connection that owes replies for too long, or is idle.
func (c *conn) check(now int64, timeout time.Duration) {
	due := c.taken.Load() > c.answered.Load()
	if c.dedicated {
		timeout *= slowFactor
	}
	switch {
	case due && !c.patient.Load() && !c.passing.Load() && now-c.progress.Load() > int64(timeout):
		c.target.shard.p.metrics.backendHung.Inc()
		c.close(errBackendHung)
	case !due && !c.dedicated && now-c.used.Load() > int64(idleConn):
		c.close(errIdle)
	}
}
