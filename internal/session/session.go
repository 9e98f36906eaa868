// Package session is the connection of a client: it reads, hands whole pipelines to the gate (package
// exec), and writes the replies. It decides nothing about commands.
//
// Goroutines: one per connection (Serve), ended by the peer, by Kill or by the server's Close; for a
// connection that gets messages which are no replies (pub/sub, MONITOR) a writer, ended with it; while a
// command blocks one that looks after the peer, ended with the command. A plain
// connection that is idle keeps no buffer: it waits for readiness, and takes memory from a pool only when
// there is something to read.
//
// State ownership: the gate's session and the reader belong to the connection's goroutine; what others may
// touch stands under mu or is atomic. Lock order: pubsub.Hub.mu, Conn.mu.
package session

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"haypile/internal/commands"
	"haypile/internal/exec"
	"haypile/internal/option"
	"haypile/internal/pubsub"
	"haypile/internal/resp"
)

// Bounds of a connection.
const (
	readChunk = 16 << 10
	// flushAt is how many reply bytes collect before they are sent in the middle of a pipeline.
	flushAt = 256 << 10
	// outKeep is the largest reply buffer that is kept for the next burst, outIdle the largest that the
	// connection keeps itself while it is idle.
	outKeep = 64 << 10
	outIdle = 1 << 10
	// writeTimeout bounds the write of writePart bytes that the peer does not take; beyond it the connection
	// is closed.
	writeTimeout = 60 * time.Second
	writePart    = 256 << 10
	// maxPending is how many bytes may wait for the writer before the connection works on no more commands.
	maxPending = 1 << 20
)

// Stats counts bytes and connections of a node.
type Stats struct {
	InBytes, OutBytes          atomic.Int64
	Accepted, Rejected         atomic.Int64
	QueryLimitKills, OutKills  atomic.Int64
	ReadsProcessed, WritesDone atomic.Int64
}

// Conn is a client's connection.
type Conn struct {
	client *commands.Client
	gate   *exec.Session
	nc     net.Conn
	raw    syscall.RawConn
	in     *resp.Reader
	cfg    *option.Config
	stats  *Stats
	hub    *pubsub.Hub
	ctx    context.Context
	cancel context.CancelFunc

	readBuf  func(fd uintptr) bool
	readN    int
	readErr  error
	writeBuf func(fd uintptr) bool
	writeP   []byte
	writeN   int
	writeErr error

	// out is the box in which the reply buffer came from outPool, if it did.
	out      *outBuffer
	detached bool
	killed   atomic.Bool
	deadline sync.Mutex // over killed and the socket's deadlines
	proto    atomic.Int32
	// pushing is set once messages may come that are no replies; then all output goes through the writer.
	pushing atomic.Bool
	mu      struct {
		sync.Mutex
		pending []byte
		// sending is what the writer has taken and not sent yet, in bytes.
		sending int
		// corked: a batch of commands is being worked on; messages wait until its replies are written.
		corked   bool
		messages []byte
		// over is since when the output is above the soft limit.
		over   time.Time
		wake   chan struct{}
		room   chan struct{} // holds a token when the writer has taken what was pending
		closed bool
	}
	writer sync.WaitGroup
}

// New prepares a connection; Serve runs it.
func New(ctx context.Context, nc net.Conn, c *commands.Client, x *exec.Executor, hub *pubsub.Hub, st *Stats) *Conn {
	k := &Conn{client: c, nc: nc, cfg: x.Config, stats: st, hub: hub}
	k.ctx, k.cancel = context.WithCancel(ctx)
	k.gate = x.NewSession(k.ctx, c)
	c.Conn, c.Gate = k, k.gate
	c.Proto = 2
	k.proto.Store(2)
	k.in = resp.NewReader(k.limits())
	k.mu.wake, k.mu.room = make(chan struct{}, 1), make(chan struct{}, 1)
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			k.raw = raw
			k.readBuf, k.writeBuf = k.readReady, k.writeReady
		}
	}
	return k
}

func (k *Conn) limits() resp.Limits {
	l := resp.DefaultLimits()
	if !k.client.Authenticated {
		l = resp.UnauthLimits()
	}
	l.MaxBulk = min(l.MaxBulk, k.cfg.Bytes(option.ProtoMaxBulkLen))
	return l
}

// Serve reads and answers until the connection ends; it closes the socket unless it was detached.
func (k *Conn) Serve() {
	defer k.end()
	authenticated := k.client.Authenticated
	for !k.client.Close && !k.detached {
		if err := k.read(); err != nil {
			return
		}
		k.takeOutput()
		now := time.Now()
		k.client.LastActive.Store(now.UnixNano())
		k.gate.Tick(now)
		k.cork(true)
		last := ""
		for !k.client.Close && !k.detached && !k.killed.Load() {
			cmd, ok, err := k.in.Next()
			if err != nil {
				k.protocolError(err)
				return
			}
			if !ok {
				break
			}
			if len(cmd.Args) == 0 {
				continue
			}
			k.gate.Do(cmd.Args)
			last = k.gate.LastCommand()
			if k.client.Authenticated != authenticated {
				authenticated = k.client.Authenticated
				k.in.SetLimits(k.limits())
			}
			if len(k.gate.Out.Buf) >= flushAt {
				if k.FlushReplies() != nil {
					return
				}
			}
		}
		if k.detached {
			return
		}
		if last != "" {
			k.client.Publish(last)
		}
		if k.flush() != nil || k.tooLong() {
			return
		}
	}
}

// tooLong closes a connection whose unfinished command is larger than client-query-buffer-limit.
func (k *Conn) tooLong() bool {
	if int64(k.in.Buffered()) <= k.cfg.Bytes(option.ClientQueryBufferLimit) {
		return false
	}
	k.stats.QueryLimitKills.Add(1)
	return true
}

func (k *Conn) protocolError(err error) {
	var pe *resp.ProtocolError
	if errors.As(err, &pe) {
		_ = k.gate.Flush()
		k.gate.Out.Error(pe.Reply())
		_ = k.flush()
	}
}

// end releases everything that others could still reach.
func (k *Conn) end() {
	k.gate.Close()
	for _, kind := range []pubsub.Kind{pubsub.Channel, pubsub.Pattern, pubsub.Shard} {
		for name := range k.client.Subs[kind] {
			k.hub.Unsubscribe(kind, name, k)
		}
	}
	if k.pushing.Load() {
		k.mu.Lock()
		k.mu.closed = true
		k.mu.Unlock()
		k.wake()
		k.writer.Wait()
	}
	k.cancel()
	if !k.detached {
		_ = k.nc.Close()
	}
	k.in.Release()
}

// read waits for bytes and takes what is there.
func (k *Conn) read() error {
	if k.raw == nil {
		buf := k.in.Space(readChunk)
		n, err := k.nc.Read(buf)
		k.in.Advance(n)
		k.stats.InBytes.Add(int64(n))
		return err
	}
	k.readN, k.readErr = 0, nil
	if err := k.raw.Read(k.readBuf); err != nil {
		return err
	}
	if k.readErr != nil {
		return k.readErr
	}
	k.in.Advance(k.readN)
	k.stats.InBytes.Add(int64(k.readN))
	return nil
}

// readReady reads without blocking; false makes the runtime wait for readiness, without a buffer held.
func (k *Conn) readReady(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), k.in.Space(readChunk))
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if k.in.Buffered() == 0 {
				k.in.Release()
				k.giveOutput()
			}
			return false
		case err != nil:
			k.readErr = os.NewSyscallError("read", err)
		case n == 0:
			k.readErr = io.EOF
		default:
			k.readN = n
		}
		return true
	}
}

// flush commits what the pipeline left open and sends the replies.
func (k *Conn) flush() error {
	_ = k.gate.Flush() // its failures are replies by now
	out := k.gate.Out.Buf
	if k.pushing.Load() {
		return k.flushPushing(out)
	}
	if len(out) == 0 {
		return nil
	}
	err := k.write(out)
	k.recycle()
	return err
}

func (k *Conn) recycle() {
	if cap(k.gate.Out.Buf) > outKeep {
		k.gate.Out.Buf = nil
	}
	k.gate.Out.Buf = k.gate.Out.Buf[:0]
}

// outPool lends reply buffers of up to outKeep bytes to connections that have something to do.
var outPool = sync.Pool{New: func() any { return new(outBuffer) }}

type outBuffer struct{ buf []byte }

func (k *Conn) takeOutput() {
	if cap(k.gate.Out.Buf) == 0 {
		k.out = outPool.Get().(*outBuffer)
		k.gate.Out.Buf, k.out.buf = k.out.buf[:0], nil
	}
}

// giveOutput gives the reply buffer, which is empty, back if it is large.
func (k *Conn) giveOutput() {
	if cap(k.gate.Out.Buf) <= outIdle {
		return
	}
	if k.out == nil {
		k.out = new(outBuffer)
	}
	k.out.buf, k.gate.Out.Buf = k.gate.Out.Buf[:0], nil
	outPool.Put(k.out)
	k.out = nil
}

// write sends p; what the socket does not take at once gets a deadline.
func (k *Conn) write(p []byte) error {
	k.stats.OutBytes.Add(int64(len(p)))
	if k.raw != nil {
		k.writeP, k.writeN, k.writeErr = p, 0, nil
		if err := k.raw.Write(k.writeBuf); err != nil {
			return err
		}
		if k.writeErr != nil {
			return k.writeErr
		}
		p = p[k.writeN:]
		k.writeP = nil
		if len(p) == 0 {
			return nil
		}
	}
	for len(p) > 0 {
		if err := k.setWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		n, err := k.nc.Write(p[:min(len(p), writePart)])
		if err != nil {
			return err
		}
		p = p[n:]
	}
	// A deadline that stays would end the connection at its next write, however late that comes.
	return k.setWriteDeadline(time.Time{})
}

// setWriteDeadline moves the deadline, but not one that Kill has set.
func (k *Conn) setWriteDeadline(t time.Time) error {
	k.deadline.Lock()
	defer k.deadline.Unlock()
	if k.killed.Load() {
		return net.ErrClosed
	}
	return k.nc.SetWriteDeadline(t)
}

// writeReady writes once without blocking.
func (k *Conn) writeReady(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), k.writeP)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
		case err != nil:
			k.writeErr = os.NewSyscallError("write", err)
		default:
			k.writeN = n
		}
		return true
	}
}

// FlushReplies sends the replies so far in the middle of a pipeline. The connection's goroutine only.
func (k *Conn) FlushReplies() error {
	err := k.flush()
	k.cork(true)
	return err
}

// Kill closes the connection; any goroutine. A command that runs is not interrupted unless it waits.
func (k *Conn) Kill() {
	k.deadline.Lock()
	defer k.deadline.Unlock()
	k.killed.Store(true)
	k.cancel()
	_ = k.nc.SetReadDeadline(time.Unix(1, 0))
	_ = k.nc.SetWriteDeadline(time.Unix(1, 0))
}

// WatchPeer kills the connection if the peer closes it before the function returned is called. It is for the
// time in which the connection's goroutine waits for something else than the socket. A peer that has sent
// more commands is taken to be there.
func (k *Conn) WatchPeer() (stop func()) {
	if k.raw == nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		gone := false
		err := k.raw.Read(func(fd uintptr) bool {
			var b [1]byte
			n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if err == syscall.EAGAIN || err == syscall.EINTR {
				return false
			}
			gone = n <= 0
			return true
		})
		if err == nil && gone {
			k.Kill()
		}
	}()
	return func() {
		_ = k.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the goroutine
		<-done
		k.deadline.Lock()
		defer k.deadline.Unlock()
		if !k.killed.Load() {
			_ = k.nc.SetReadDeadline(time.Time{})
		}
	}
}

// Detach gives the socket away after the replies so far have been sent; the connection's goroutine only.
func (k *Conn) Detach() commands.Detached {
	_ = k.flush()
	k.detached = true
	return commands.Detached{Conn: k.nc, Unread: k.in.Unread()}
}
