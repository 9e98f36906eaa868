package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
)

// session is one client connection.
type session struct {
	p       *Proxy
	id      int64
	nc      net.Conn
	raw     syscall.RawConn // nil if nc has none
	tryRead func(fd uintptr) bool
	readN   int // result of the last tryRead
	readErr error
	created time.Time
	lastUse atomic.Int64 // coarse time of the last bytes from the client
	writing atomic.Int64 // coarse time since when the client has taken nothing; 0 = nothing is being sent

	// Owned by the reader goroutine. Those that CLIENT LIST shows are written under mu.
	rd      *resp.Reader
	authed  bool
	proto   uint8
	db      uint16
	name    string
	libName string
	libVer  string
	last    string // last command
	tx      *transaction
	watched *shard // of the keys watched; nil if none
	replies replyMode
	noEvict bool
	noTouch bool
	leaving bool           // nothing more is read after this command
	subs    *subscriptions // nil until the first SUBSCRIBE
	lanes   map[*shard]*lane
	batch   []*request // parsed and not yet submitted
	spare   *request   // free list
	keys    []command.KeyRef

	wrote sync.Cond // on mu: the writer waits for something to send
	room  sync.Cond // on mu: the reader waits until there is room, or nothing is queued
	// drained is signalled when something was sent while the proxy is stopping.
	drained sync.Cond
	taken   sync.Cond // on mu: a connection waits for the client to take what there is of a large reply

	mu struct {
		sync.Mutex
		head, tail *request // the queue
		queued     int
		bytes      int      // of the queue's requests
		free       *request // at most freeKeep
		freed      int
		out        output
		pushes     []byte // messages that came in the middle of a reply
		sending    int    // bytes taken by the writer and not yet sent
		idle       bool   // the writer waits
		woken      bool   // somebody will wake it
		blocked    bool   // the reader waits
		pubsub     int    // subscriptions
		finishing  bool   // nothing more is read: end when everything is answered and sent
		stopping   bool   // Close waits for what is queued
		closed     bool
		lanes      []*lane
	}
}

// freeKeep is the number of requests that a session keeps for reuse.
const freeKeep = 128

type replyMode uint8

const (
	replyOn replyMode = iota
	replyOff
	replySkipNext // this command answered nothing, nor will the next
	replySkip
)

func newSession(p *Proxy, id int64, nc net.Conn) *session {
	s := &session{
		p: p, id: id, nc: nc, created: time.Now(), proto: 2, authed: p.opt.Password == "",
		lanes: map[*shard]*lane{},
	}
	s.wrote.L, s.room.L, s.drained.L, s.taken.L = &s.mu, &s.mu, &s.mu, &s.mu
	s.lastUse.Store(p.now())
	if sc, ok := nc.(syscall.Conn); ok {
		s.raw, _ = sc.SyscallConn()
		s.tryRead = s.readReady
	}
	s.rd = resp.NewReader(p.opt.Limits)
	if !s.authed {
		s.rd.SetLimits(resp.UnauthLimits())
	}
	return s
}

// fill reads what the client sent. While there is nothing, no buffer is held.
func (s *session) fill() error {
	if s.raw == nil {
		s.readN, s.readErr = s.nc.Read(s.rd.Space(1))
	} else if err := s.raw.Read(s.tryRead); err != nil {
		s.readN, s.readErr = 0, err
	} else if s.readN == 0 && s.readErr == nil {
		s.readErr = io.EOF
	}
	if s.readN > 0 {
		s.rd.Advance(s.readN)
		s.p.metrics.bytesIn.Add(int64(s.readN))
	}
	s.lastUse.Store(s.p.now())
	return s.readErr
}

// readReady is called when there may be something to read; false means to wait until there is.
func (s *session) readReady(fd uintptr) bool {
	for {
		s.readN, s.readErr = syscall.Read(int(fd), s.rd.Space(1))
		if s.readErr != syscall.EINTR {
			break
		}
	}
	if s.readErr == syscall.EAGAIN {
		s.rd.Release()
		return false
	}
	return true
}

// read is the reader goroutine: it parses, routes and submits.
func (s *session) read() {
	defer s.p.wg.Done()
	for s.fill() == nil {
		if !s.parse() {
			break
		}
	}
	s.finishReading()
}

// maxBatch bounds what is parsed before it is submitted.
const maxBatch = 256

// parse handles the commands that were received whole. It reports false when no more shall be read.
func (s *session) parse() bool {
	for {
		cmd, ok, err := s.rd.Next()
		if err != nil {
			var pe *resp.ProtocolError
			if errors.As(err, &pe) {
				s.p.metrics.protocolErrors.Inc()
				s.replyError(nil, pe.Reply())
			}
			s.submit()
			return false
		}
		if !ok {
			break
		}
		if !s.handle(cmd.Args) {
			s.submit()
			return false
		}
		if len(s.batch) >= min(maxBatch, s.p.opt.PipelineRequests) {
			if s.submit(); !s.waitForRoom() {
				return false
			}
		}
	}
	s.submit()
	return s.waitForRoom()
}

// newRequest takes a request for a command; it is complete if the caller sets done.
func (s *session) newRequest(spec *command.Spec) *request {
	r := s.spare
	if r == nil {
		r = new(request)
	} else {
		s.spare = r.next
		r.next = nil
	}
	r.s, r.spec, r.replies = s, spec, 1
	r.key = connKey{s.proto, s.db}
	r.silent = s.replies != replyOn
	return r
}

// add appends a request to the batch.
func (s *session) add(r *request) { s.batch = append(s.batch, r) }

// submit queues the batch and sends what is to be sent.
func (s *session) submit() {
	if len(s.batch) == 0 {
		return
	}
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		s.batch = s.batch[:0]
		return
	}
	for i, r := range s.batch {
		s.batch[i] = nil
		s.enqueueLocked(r)
		switch {
		case r.done:
			s.completeLocked(r)
		case r.parts != nil:
			for _, part := range r.parts.parts {
				part.lane.submitLocked(part)
			}
		case r.lane != nil:
			r.lane.submitLocked(r)
		}
	}
	s.batch = s.batch[:0]
	if s.spare == nil {
		s.spare, s.mu.free, s.mu.freed = s.mu.free, nil, 0
	}
	wake := s.wakeLocked()
	s.mu.Unlock()
	if wake {
		s.wakeWriter()
	}
}

func (s *session) enqueueLocked(r *request) {
	if s.mu.tail == nil {
		s.mu.head = r
	} else {
		s.mu.tail.next = r
	}
	s.mu.tail = r
	s.mu.queued++
	s.mu.bytes += r.size
}

// finish is called by a connection that is done with a request. It returns the session if its writer must
// be woken, which the caller does when it has no more for it.
func (s *session) finish(r *request, how outcome) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		r.lane.inflight--
		return nil
	}
	r.lane.finishLocked(r, how)
	if s.wakeLocked() {
		return s
	}
	return nil
}

// pump lets a lane that waited for its shard try again.
func (s *session) pump(l *lane) {
	s.mu.Lock()
	l.shard.forget(l)
	if !s.mu.closed && l.inflight == 0 {
		l.pumpLocked()
	}
	wake := s.wakeLocked()
	s.mu.Unlock()
	if wake {
		s.wakeWriter()
	}
}

// expire ends the requests of a lane that waited for too long.
func (s *session) expire(l *lane, now int64) {
	s.mu.Lock()
	if !s.mu.closed {
		l.expireLocked(now)
	}
	if len(l.held) == 0 {
		l.shard.forget(l)
	}
	wake := s.wakeLocked()
	s.mu.Unlock()
	if wake {
		s.wakeWriter()
	}
}

// completeLocked marks a request as answered and moves what is complete at the head of the queue to the
// output.
func (s *session) completeLocked(r *request) {
	r.done = true
	if r.instead != "" {
		r.reply = append(r.reply[:0], r.instead...)
	}
	if r.fix != nil {
		r.reply = r.fix(r.reply)
	}
	if f := r.parent; f != nil {
		if f.pending--; f.pending > 0 {
			return
		}
		f.collect()
		r = f.whole
		r.done = true
	}
	for h := s.mu.head; h != nil && h.done; h = s.mu.head {
		passed := h.passing
		s.mu.head = h.next
		if s.mu.head == nil {
			s.mu.tail = nil
		}
		s.mu.queued--
		s.mu.bytes -= h.size
		if !passed && isError(h.reply) {
			s.p.metrics.errorReplies.Add(1)
		}
		if !h.silent {
			s.mu.out.add(h.reply)
		}
		if passed {
			s.mu.out.add(s.mu.pushes)
			s.mu.pushes = nil
		}
		if s.mu.freed < freeKeep {
			h.reset()
			h.next = s.mu.free
			s.mu.free = h
			s.mu.freed++
		}
	}
	if s.mu.out.size+s.mu.sending > s.p.opt.OutputHard && len(s.mu.out.chunks) > 1 {
		s.p.metrics.slowConsumer.Inc()
		s.closeLocked("output limit")
	}
}

func (s *session) failLocked(r *request, reply string) {
	r.reply = append(r.reply[:0], reply...)
	s.completeLocked(r)
}

// failLostLocked ends a request whose connection was lost.
func (s *session) failLostLocked(r *request) {
	if r.repeatable {
		s.failLocked(r, replyLostRead)
		return
	}
	s.p.metrics.unknownOutcomes.Inc()
	s.failLocked(r, replyLost)
}

// answerUnwatchedLocked answers what ends a WATCH whose connection is gone: nothing is executed.
func (s *session) answerUnwatchedLocked(r *request) {
	switch {
	case !r.exec:
		s.failLocked(r, "+OK\r\n")
	case r.key.proto == 3:
		s.failLocked(r, "_\r\n")
	default:
		s.failLocked(r, "*-1\r\n")
	}
}

// wakeLocked reports whether the writer must be woken, and notes that the caller does it.
func (s *session) wakeLocked() bool {
	if s.mu.blocked && s.roomLocked() {
		s.room.Signal()
	}
	if !s.mu.idle || s.mu.woken || s.mu.out.size == 0 && !s.mu.finishing && !s.mu.closed {
		return false
	}
	s.mu.woken = true
	return true
}

func (s *session) wakeWriter() { s.wrote.Signal() }

// roomLocked reports whether the client may send more.
func (s *session) roomLocked() bool {
	o := &s.p.opt
	return s.mu.queued < o.PipelineRequests && s.mu.bytes < o.PipelineBytes &&
		s.mu.out.size+s.mu.sending < o.OutputSoft
}

// waitForRoom stops the reader while the client has too much unanswered or untaken. It reports false if the
// session is over.
func (s *session) waitForRoom() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.mu.closed && !s.roomLocked() {
		s.mu.blocked = true
		s.room.Wait()
		s.mu.blocked = false
	}
	return !s.mu.closed
}

// drain submits the batch and waits until everything is answered.
func (s *session) drain() bool {
	s.submit()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.mu.closed && s.mu.queued > 0 {
		s.mu.blocked = true
		s.room.Wait()
		s.mu.blocked = false
	}
	return !s.mu.closed
}

// write is the writer goroutine.
func (s *session) write() {
	defer s.p.wg.Done()
	defer s.end()
	var spare []byte
	for {
		s.mu.Lock()
		for s.mu.out.size == 0 && !s.mu.closed && !(s.mu.finishing && s.mu.queued == 0) {
			s.mu.idle = true
			s.wrote.Wait()
			s.mu.idle, s.mu.woken = false, false
		}
		if s.mu.closed || s.mu.out.size == 0 {
			s.mu.Unlock()
			return
		}
		out := s.mu.out
		s.mu.out = output{tail: spare}
		s.mu.sending = out.size
		s.mu.Unlock()

		err := s.send(out)
		spare = out.tail[:0]
		if cap(spare) > bufferKeep {
			spare = nil
		}
		s.mu.Lock()
		s.mu.sending = 0
		s.taken.Broadcast()
		if s.mu.stopping {
			s.drained.Broadcast()
		}
		if s.mu.blocked && s.roomLocked() {
			s.room.Signal()
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// sendPiece is what is written at once, so that the progress of a slow client can be seen.
const sendPiece = 256 << 10

func (s *session) send(out output) error {
	defer s.writing.Store(0)
	for _, chunk := range out.chunks {
		if err := s.sendChunk(chunk); err != nil {
			return err
		}
	}
	return s.sendChunk(out.tail)
}

func (s *session) sendChunk(chunk []byte) error {
	s.p.metrics.bytesOut.Add(int64(len(chunk)))
	for len(chunk) > 0 {
		piece := chunk[:min(len(chunk), sendPiece)]
		s.writing.Store(s.p.now())
		if _, err := s.nc.Write(piece); err != nil {
			return err
		}
		chunk = chunk[len(piece):]
	}
	return nil
}

// push sends something that is no reply: a message of a subscription.
func (s *session) push(b []byte) {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return
	}
	switch {
	case s.mu.head != nil && s.mu.head.passing: // not in the middle of a reply
		s.mu.pushes = append(s.mu.pushes, b...)
	case len(b) > bufferKeep:
		s.mu.out.add(bytes.Clone(b))
	default:
		s.mu.out.add(b)
	}
	if s.mu.out.size+s.mu.sending+len(s.mu.pushes) > s.p.opt.PubSubHard {
		s.p.metrics.slowConsumer.Inc()
		s.closeLocked("output limit of subscriptions")
	}
	wake := s.wakeLocked()
	s.mu.Unlock()
	if wake {
		s.wakeWriter()
	}
}

// finishReading ends the session when everything is answered and sent. A client that waits in a blocking
// command and is gone will not be answered.
func (s *session) finishReading() {
	s.mu.Lock()
	s.mu.finishing = true
	for _, l := range s.mu.lanes {
		if c := l.conn; c != nil && c.dedicated && l.inflight > 0 && c.patient.Load() {
			s.closeLocked("client left")
			break
		}
	}
	wake := s.wakeLocked()
	s.mu.Unlock()
	if wake {
		s.wakeWriter()
	}
	if s.subs != nil {
		s.subs.close()
	}
}

// close ends the session now.
func (s *session) close(why string) {
	s.mu.Lock()
	s.closeLocked(why)
	s.mu.Unlock()
}

func (s *session) closeLocked(why string) {
	if s.mu.closed {
		return
	}
	s.mu.closed = true
	s.p.log.Debug("client closed", "id", s.id, "why", why)
	s.nc.Close()
	for _, l := range s.mu.lanes {
		l.closeLocked()
	}
	s.wrote.Broadcast()
	s.room.Broadcast()
	s.drained.Broadcast()
	s.taken.Broadcast()
}

// end is the last act of the writer goroutine.
func (s *session) end() {
	s.close("end")
	s.p.removeSession(s)
}

// drainUntil waits for the requests under way, as long as there is time.
func (s *session) drainUntil(deadline time.Time) {
	timer := time.AfterFunc(time.Until(deadline), s.drained.Broadcast)
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.mu.queued+s.mu.out.size+s.mu.sending > 0 && !s.mu.closed && time.Now().Before(deadline) {
		s.mu.stopping = true
		s.drained.Wait()
	}
}

// check is called by the sweeper: it closes a client that is silent, or takes nothing, for too long.
func (s *session) check(now int64) {
	o := &s.p.opt
	if since := s.writing.Load(); since != 0 && now-since > int64(o.WriteTimeout) {
		s.close("takes no replies")
		return
	}
	if o.IdleTimeout == 0 || now-s.lastUse.Load() < int64(o.IdleTimeout) {
		return
	}
	s.mu.Lock()
	if s.mu.queued == 0 && s.mu.pubsub == 0 {
		s.closeLocked("idle")
	}
	s.mu.Unlock()
}

// laneOf finds or makes the lane to a shard. Called by the reader goroutine.
func (s *session) laneOf(sh *shard) *lane {
	l := s.lanes[sh]
	if l == nil {
		l = &lane{s: s, shard: sh}
		s.lanes[sh] = l
		s.mu.Lock()
		s.mu.lanes = append(s.mu.lanes, l)
		s.mu.Unlock()
	}
	return l
}
