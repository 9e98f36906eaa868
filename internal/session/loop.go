package session

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"haypile/internal/exec"
)

// Loops are event loops over which connections are spread. A loop waits for all its connections at once, reads
// from those that have sent something, runs their commands one after another in one shared transaction
// (exec.Round), commits it as one group, and writes the replies: a turn. With many clients that wait for each
// reply a turn costs little more than their system calls. What may block never runs on a loop: Session.TryDo
// refuses it, and the connection is away from the loop, with a goroutine of its own, until it has run.
type Loops struct {
	loops   []*Loop
	next    atomic.Uint32
	wg      sync.WaitGroup
	workers *workers
}

// maxEvents is how many connections one turn serves at most.
const maxEvents = 256

// StartLoops starts n event loops. Close ends them.
func StartLoops(n int, x *exec.Executor, log *slog.Logger) (*Loops, error) {
	ls := &Loops{workers: newWorkers()}
	for range n {
		l, err := newLoop(x, log, ls.workers)
		if err != nil {
			ls.Close()
			return nil, err
		}
		ls.loops = append(ls.loops, l)
		ls.wg.Go(l.run)
	}
	return ls, nil
}

// Close ends the loops. REQUIRES: all their connections have ended.
func (ls *Loops) Close() {
	for _, l := range ls.loops {
		l.stop.Store(true)
		l.wake()
	}
	ls.wg.Wait()
	ls.workers.close()
	for _, l := range ls.loops {
		l.close()
	}
}

// Add gives a connection to one of the loops. It returns false, and has done nothing, if the connection is no
// socket; then Serve is for it. ended is called, on a goroutine of its own, when the connection has ended and is
// closed or detached.
func (ls *Loops) Add(k *Conn, ended func()) bool {
	fd, ok := dupSocket(k.nc)
	if !ok {
		return false
	}
	l := ls.loops[int(ls.next.Add(1))%len(ls.loops)]
	k.deadline.Lock()
	k.sock = &socket{fd: fd, loop: l, writable: make(chan struct{}, 1), ended: ended}
	if k.killed.Load() {
		k.sock.shutdown()
	}
	k.deadline.Unlock()
	_ = k.nc.Close() // the descriptor that the runtime watches; the socket lives on in fd
	l.give(k)
	return true
}

// Loop is one event loop. All fields but those under mu and the atomic ones belong to its goroutine.
type Loop struct {
	epfd, wakefd int
	log          *slog.Logger
	workers      *workers
	round        *exec.Round
	conns        map[int32]*Conn
	nextID       int32
	events       [maxEvents]syscall.EpollEvent
	now          time.Time
	yielded      time.Time

	ready   []*Conn // to be served in this turn
	again   []*Conn // to be served in the next one, whatever epoll says
	leaving []*Conn // go away at the end of the turn
	waiting []*Conn // whose replies wait for durability
	inbox   []*Conn

	sleeping, stop atomic.Bool
	mu             struct {
		sync.Mutex
		inbox  []*Conn // new connections, and those that come back or have ended
		pushes []*Conn // a message waits for them: see Conn.Push
	}
}

// yieldEvery bounds how long goroutines wait for a processor on which a loop does nothing.
const yieldEvery = time.Millisecond

// wakeID is the id of the loop's own event.
const wakeID = 0

const efdFlags = syscall.O_CLOEXEC | syscall.O_NONBLOCK

func newLoop(x *exec.Executor, log *slog.Logger, w *workers) (*Loop, error) {
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("event loop: %w", err)
	}
	wakefd, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, efdFlags, 0)
	if errno != 0 {
		_ = syscall.Close(epfd)
		return nil, fmt.Errorf("event loop: %w", errno)
	}
	l := &Loop{epfd: epfd, wakefd: int(wakefd), log: log, workers: w, round: x.NewRound(), conns: map[int32]*Conn{}}
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: wakeID}
	if err := syscall.EpollCtl(epfd, syscall.EPOLL_CTL_ADD, l.wakefd, &ev); err != nil {
		l.close()
		return nil, fmt.Errorf("event loop: %w", err)
	}
	return l, nil
}

func (l *Loop) close() {
	_ = syscall.Close(l.epfd)
	_ = syscall.Close(l.wakefd)
}

// give hands a connection to the loop; any goroutine.
func (l *Loop) give(k *Conn) {
	l.mu.Lock()
	l.mu.inbox = append(l.mu.inbox, k)
	l.mu.Unlock()
	if l.sleeping.Load() {
		l.wake()
	}
}

// startPushing makes a connection send the messages that wait for it; any goroutine.
func (l *Loop) startPushing(k *Conn) {
	l.mu.Lock()
	l.mu.pushes = append(l.mu.pushes, k)
	l.mu.Unlock()
	if l.sleeping.Load() {
		l.wake()
	}
}

func (l *Loop) wake() {
	one := [8]byte{0: 1}
	_, _ = syscall.Write(l.wakefd, one[:])
}

func (l *Loop) run() {
	for !l.stop.Load() {
		n := l.wait()
		for i := range l.events[:n] {
			l.event(&l.events[i])
		}
		l.takeInbox()
		l.turn()
	}
}

// wait returns events; without any, and with nothing else to do, it blocks.
func (l *Loop) wait() int {
	if n := pollEvents(l.epfd, l.events[:]); n > 0 || len(l.again) > 0 {
		return n
	}
	// Goroutines that a turn has started may wait for this processor, which blocks in the kernel now. Yielding wakes
	// another one, so it is not done each time.
	if now := time.Now(); now.Sub(l.yielded) > yieldEvery {
		l.yielded = now
		runtime.Gosched()
	}
	l.sleeping.Store(true)
	defer l.sleeping.Store(false)
	l.mu.Lock()
	waiting := len(l.mu.inbox)+len(l.mu.pushes) > 0
	l.mu.Unlock()
	if waiting || l.stop.Load() {
		return pollEvents(l.epfd, l.events[:])
	}
	n, err := syscall.EpollWait(l.epfd, l.events[:], -1)
	if err != nil && !errors.Is(err, syscall.EINTR) {
		l.log.Error("event loop", "err", err)
	}
	return max(n, 0)
}

// event takes note of what happened to a connection. All are watched edge-triggered: an event comes once.
func (l *Loop) event(ev *syscall.EpollEvent) {
	if ev.Fd == wakeID {
		var b [8]byte
		_, _ = syscall.Read(l.wakefd, b[:])
		return
	}
	k := l.conns[ev.Fd]
	if k == nil {
		return // it has ended meanwhile
	}
	s := k.sock
	if ev.Events&syscall.EPOLLOUT != 0 && s.wantWrite.Load() {
		s.signalWritable()
	}
	const end = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
	if ev.Events&(syscall.EPOLLIN|end) == 0 {
		return
	}
	s.readable = true
	if ev.Events&end != 0 {
		s.half = true
		k.peerEnded()
	}
	if !s.away {
		l.makeReady(k)
	}
}

func (l *Loop) makeReady(k *Conn) {
	if !k.sock.ready {
		k.sock.ready = true
		l.ready = append(l.ready, k)
	}
}

// takeInbox takes new connections in and lets those that were away come back.
func (l *Loop) takeInbox() {
	l.mu.Lock()
	l.inbox, l.mu.inbox = l.mu.inbox, l.inbox[:0]
	pushes := l.mu.pushes
	l.mu.pushes = nil
	l.mu.Unlock()
	for i, k := range l.inbox {
		l.inbox[i] = nil
		s := k.sock
		switch {
		case s.id == 0:
			l.watch(k)
			pushes = append(pushes, k)
		case s.dead:
			delete(l.conns, s.id)
		default:
			s.away = false
			if k.over() {
				l.end(k)
				continue
			}
			pushes = append(pushes, k)
			k.gate.Share(l.round)
			if s.readable || s.more {
				l.makeReady(k)
			}
		}
	}
	for _, k := range pushes {
		// One that is away begins when it comes back, or with its next command; nothing waits for a reply here.
		if s := k.sock; s.id != 0 && !s.away && k.wantsPush.Load() && !k.pushing.Load() {
			k.beginPushing()
		}
	}
	for i, k := range l.again {
		l.again[i] = nil
		if !k.sock.away {
			l.makeReady(k)
		}
	}
	l.again = l.again[:0]
}

// watch begins with a new connection.
func (l *Loop) watch(k *Conn) {
	s := k.sock
	for {
		if l.nextID++; l.nextID < 0 {
			l.nextID = 1
		}
		if l.nextID != wakeID && l.conns[l.nextID] == nil {
			break
		}
	}
	s.id = l.nextID
	l.conns[s.id] = k
	k.gate.Share(l.round)
	const edge = 1 << 31 // EPOLLET, which package syscall has as a negative number
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | edge, Fd: s.id}
	if err := syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_ADD, s.fd, &ev); err != nil {
		l.log.Warn("a connection cannot be watched", "err", err)
		l.end(k)
	}
}

// turn serves the connections that are ready.
func (l *Loop) turn() {
	if len(l.ready) == 0 {
		return
	}
	l.now = time.Now()
	for _, k := range l.ready {
		k.sock.ready = false
		l.serve(k)
	}
	l.round.Commit()
	for i, k := range l.ready {
		l.ready[i] = nil
		l.finish(k)
	}
	l.ready = l.ready[:0]
	l.round.Release()
	if len(l.waiting) > 0 {
		go settle(append([]*Conn(nil), l.waiting...))
		clear(l.waiting)
		l.waiting = l.waiting[:0]
	}
	for i, k := range l.leaving {
		l.leaving[i] = nil
		l.workers.serve(k)
	}
	l.leaving = l.leaving[:0]
}

// serve reads what a connection has sent, and runs its commands as far as that can be done here.
func (l *Loop) serve(k *Conn) {
	s := k.sock
	s.more = false
	if s.readable {
		if err := k.fill(); err != nil {
			l.leave(k, nil, err)
			return
		}
	}
	k.takeOutput()
	k.client.LastActive.Store(l.now.UnixNano())
	k.gate.Tick(l.now)
	last := ""
	for !k.over() {
		cmd, ok, err := k.in.Next()
		if err != nil {
			l.leave(k, nil, err)
			break
		}
		if !ok {
			break
		}
		if len(cmd.Args) == 0 {
			continue
		}
		if k.pushing.Load() || !k.gate.TryDo(cmd.Args) {
			l.leave(k, cmd.Args, nil)
			break
		}
		last = k.gate.LastCommand()
		if len(k.gate.Out.Buf) >= flushAt {
			s.more = true
			break
		}
	}
	if last != "" {
		k.client.Publish(last)
	}
	l.now = k.gate.Now()
}

// leave makes a connection go away at the end of the turn: its goroutine begins with the command, or with the
// error that reading or parsing met.
func (l *Loop) leave(k *Conn, first [][]byte, err error) {
	k.sock.away, k.sock.first, k.sock.err = true, first, err
	l.leaving = append(l.leaving, k)
}

// finish sends the replies of a connection that was served in this turn, whose transaction has committed.
func (l *Loop) finish(k *Conn) {
	s := k.sock
	switch {
	case s.away:
		return
	case k.over() || k.tooLong():
		l.leave(k, nil, errOver)
		return
	case k.gate.MustWait():
		s.away = true
		l.waiting = append(l.waiting, k)
		return
	}
	_ = k.gate.Flush() // waits for nothing, and cannot fail
	if out := k.gate.Out.Buf; len(out) > 0 {
		n, err := s.tryWrite(out)
		k.stats.OutBytes.Add(int64(n))
		if err != nil || n < len(out) {
			k.gate.Out.Buf = append(out[:0], out[n:]...)
			l.leave(k, nil, err) // a slow reader: the rest takes a goroutine
			return
		}
		k.recycle()
	}
	if s.readable || s.more {
		l.again = append(l.again, k)
		return
	}
	k.idle()
}

// end lets go of a connection: what that takes may block.
func (l *Loop) end(k *Conn) {
	k.sock.away = true
	go k.endAway()
}

// settle waits for the durability of the replies of several connections, sends them, and lets the connections
// go on: with those that sent something meanwhile it goes on itself.
func settle(ks []*Conn) {
	gates := make([]*exec.Session, len(ks))
	for i, k := range ks {
		gates[i] = k.gate
	}
	exec.FlushAll(gates)
	for _, k := range ks {
		n, err := k.sock.tryWrite(k.gate.Out.Buf)
		k.stats.OutBytes.Add(int64(n))
		if err != nil || n < len(k.gate.Out.Buf) {
			k.gate.Out.Buf = append(k.gate.Out.Buf[:0], k.gate.Out.Buf[n:]...)
			k.sock.err = err
			k.sock.loop.workers.serve(k)
			continue
		}
		k.recycle()
		k.idle()
		k.comeBack()
	}
}

// serveAway runs, on one of the workers, what a connection that is away has to do: it sends the replies so far, runs the command that a
// loop could not run, and those behind it that have arrived.
func (k *Conn) serveAway() {
	s := k.sock
	first, err := s.first, s.err
	s.first, s.err = nil, nil
	k.gate.Share(nil)
	k.gate.Tick(time.Now())
	if err == nil {
		err = k.work(first)
	} else {
		k.protocolError(err)
	}
	if err != nil {
		s.broken = true
	}
	k.comeBack()
}

// comeBack gives the connection back to its loop.
func (k *Conn) comeBack() {
	s := k.sock
	if !k.over() {
		// More may have been announced than one read takes; the loop finds out.
		s.loop.give(k)
		return
	}
	k.endAway()
}

// endAway is the last goroutine of a connection.
func (k *Conn) endAway() {
	s := k.sock
	k.gate.Share(nil)
	k.end()
	s.close(k)
	s.dead = true
	s.loop.give(k)
	s.ended()
}
