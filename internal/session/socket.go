package session

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// socket is a connection's descriptor in an event loop. The fields up to away belong to the loop's goroutine,
// away included: while it is set, the next ones belong to the goroutine that the connection has instead.
type socket struct {
	fd       int
	id       int32 // in the loop; 0: not watched yet
	loop     *Loop
	ready    bool // in the list of the turn
	readable bool // there may be something to read
	half     bool // the peer has sent its last: read until the end is found
	away     bool

	more   bool // commands have been received that are not run yet
	first  [][]byte
	err    error
	broken bool // the connection is to be ended
	dead   bool // it has been: fd is closed

	// wantWrite: somebody waits for writable, which holds a token when the peer takes more.
	wantWrite atomic.Bool
	writable  chan struct{}
	ended     func()

	mu struct {
		sync.Mutex
		closed   bool
		watching bool // a command waits for something else than the socket: see Conn.WatchPeer
		half     bool
	}
}

// errOver ends a connection whose time has come, for whatever reason.
var errOver = errors.New("the connection is over")

// dupSocket makes a descriptor of our own of a connection's socket.
func dupSocket(nc net.Conn) (fd int, ok bool) {
	sc, is := nc.(syscall.Conn)
	if !is {
		return 0, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(old uintptr) {
		n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
		fd, ok = int(n), errno == 0
	})
	return fd, ok && err == nil
}

// The calls below never block, so that the scheduler need not hear of them.

func pollEvents(epfd int, events []syscall.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

func readNow(fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

func writeNow(fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// fill reads once. A read that leaves room has taken all there was, so no other is needed to find that out.
func (k *Conn) fill() error {
	s := k.sock
	p := k.in.Space(readChunk)
	n, errno := readNow(s.fd, p)
	switch {
	case errno == syscall.EAGAIN:
		s.readable = s.half
		return nil
	case errno != 0:
		return os.NewSyscallError("read", errno)
	case n == 0:
		return io.EOF
	}
	k.in.Advance(n)
	k.stats.InBytes.Add(int64(n))
	s.readable = n == len(p) || s.half
	return nil
}

// tryWrite sends as much of p as the socket takes at once.
func (s *socket) tryWrite(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, errno := writeNow(s.fd, p)
	switch {
	case errno == syscall.EAGAIN:
		return 0, nil
	case errno != 0:
		return 0, os.NewSyscallError("write", errno)
	}
	return n, nil
}

// write sends all of p and waits for the peer to take it, for at most writeTimeout each time, or until over is closed.
// within bounds the whole by writeTimeout.
func (s *socket) write(k *Conn, p []byte, over <-chan struct{}, within bool) error {
	var timer *time.Timer
	for len(p) > 0 {
		n, err := s.tryWrite(p)
		if err != nil {
			return err
		}
		if n == 0 {
			// The loop tells of room only to those who have said that they wait; look again after that.
			s.wantWrite.Store(true)
			if n, err = s.tryWrite(p); err != nil {
				return err
			}
		}
		if p = p[n:]; n > 0 {
			continue
		}
		if timer == nil {
			timer = time.NewTimer(writeTimeout)
			defer timer.Stop()
		} else if !within {
			timer.Reset(writeTimeout)
		}
		select {
		case <-s.writable:
		case <-timer.C:
			return os.ErrDeadlineExceeded
		case <-k.ctx.Done():
			return net.ErrClosed
		case <-over:
			return errOver
		}
	}
	s.wantWrite.Store(false)
	return nil
}

func (s *socket) signalWritable() {
	select {
	case s.writable <- struct{}{}:
	default:
	}
}

// shutdown ends both directions, which the loop notices.
func (s *socket) shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.closed {
		_ = syscall.Shutdown(s.fd, syscall.SHUT_RDWR)
	}
}

// close closes the descriptor, unless somebody else has the socket now: that one has a descriptor of its own.
func (s *socket) close(k *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	_ = syscall.EpollCtl(s.loop.epfd, syscall.EPOLL_CTL_DEL, s.fd, &syscall.EpollEvent{})
	_ = syscall.Close(s.fd)
}

// detach makes a net.Conn of the socket, which the loop stops watching.
func (s *socket) detach() (net.Conn, error) {
	_ = syscall.EpollCtl(s.loop.epfd, syscall.EPOLL_CTL_DEL, s.fd, &syscall.EpollEvent{})
	n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(s.fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("fcntl", errno)
	}
	f := os.NewFile(n, "socket")
	defer f.Close()
	return net.FileConn(f)
}

// peerEnded is told that the peer sends nothing more: a command that waits while nothing is left to be read
// waits for nobody. A peer that has sent more commands is taken to be there.
func (k *Conn) peerEnded() {
	s := k.sock
	s.mu.Lock()
	s.mu.half = true
	gone := s.goneLocked()
	s.mu.Unlock()
	if gone {
		k.Kill()
	}
}

func (s *socket) watch(on bool) (gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.watching = on
	return s.goneLocked()
}

func (s *socket) goneLocked() bool {
	if !s.mu.watching || !s.mu.half || s.mu.closed {
		return false
	}
	var b [1]byte
	n, _, err := syscall.Recvfrom(s.fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n <= 0 && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
}
