// Package session is the connection of a client: it reads, hands whole pipelines to the gate (package
// exec), and writes the replies. It decides nothing about commands.
//
// Sockets are served by a few event loops (Loops), anything else by a goroutine each (Serve). A connection of a
// loop whose next command may block goes away from the loop, to a goroutine that ends when the commands received
// have run; so a loop never waits for a lock, a disk or a replica. An idle connection keeps no buffer.
//
// Goroutines: one per loop, ended by Loops.Close; one per connection that is away or not in a loop, ended by the
// peer, by Kill or by the server's Close; for a connection that gets messages which are no replies (pub/sub,
// MONITOR) a writer, ended with it.
//
// State ownership: the gate's session and the reader belong to whoever works on the connection, the loop or the
// goroutine while it is away; what others may touch stands under mu or is atomic. Lock order: pubsub.Hub.mu,
// Conn.mu; Conn.deadline, socket.mu.
package session

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
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
	sock   *socket // in an event loop; nil: Serve's goroutine works on nc
	in     *resp.Reader
	cfg    *option.Config
	stats  *Stats
	hub    *pubsub.Hub
	ctx    context.Context
	cancel context.CancelFunc

	// out is the box in which the reply buffer came from outPool, if it did.
	out           *outBuffer
	authenticated bool
	detached      bool
	killed        atomic.Bool
	deadline      sync.Mutex // over killed, given, the socket's deadlines and, for others, sock
	given         net.Conn   // what Detach gave away: Kill closes it
	proto         atomic.Int32
	// pushing is set once messages may come that are no replies; then all output goes through the writer.
	pushing atomic.Bool
	// wantsPush: a message waits for the connection to begin to push.
	wantsPush atomic.Bool
	mu        struct {
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
	k.authenticated = c.Authenticated
	k.in = resp.NewReader(k.limits())
	k.mu.wake, k.mu.room = make(chan struct{}, 1), make(chan struct{}, 1)
	return k
}

func (k *Conn) limits() resp.Limits {
	l := resp.DefaultLimits()
	if !k.authenticated {
		l = resp.UnauthLimits()
	}
	l.MaxBulk = min(l.MaxBulk, k.cfg.Bytes(option.ProtoMaxBulkLen))
	return l
}

// Serve reads and answers until the connection ends; it closes the socket unless it was detached.
func (k *Conn) Serve() {
	defer func() {
		k.end()
		if !k.detached {
			_ = k.nc.Close()
		}
	}()
	for !k.over() {
		buf := k.in.Space(readChunk)
		n, err := k.nc.Read(buf)
		k.in.Advance(n)
		k.stats.InBytes.Add(int64(n))
		if err != nil {
			return
		}
		k.takeOutput()
		now := time.Now()
		k.client.LastActive.Store(now.UnixNano())
		k.gate.Tick(now)
		if k.work(nil) != nil {
			return
		}
	}
}

// over reports whether no more commands are to be run.
func (k *Conn) over() bool {
	return k.client.Close || k.detached || k.killed.Load() || k.sock != nil && k.sock.broken
}

// work runs the commands that have been received, after first if that is one, and sends their replies. It may
// block. An error ends the connection.
func (k *Conn) work(first [][]byte) error {
	if k.wantsPush.Load() {
		k.StartPushing()
	}
	k.cork(true)
	last := ""
	for args := first; !k.over(); args = nil {
		if args == nil {
			cmd, ok, err := k.in.Next()
			if err != nil {
				k.protocolError(err)
				return err
			}
			if !ok {
				break
			}
			if args = cmd.Args; len(args) == 0 {
				continue
			}
		}
		k.gate.Do(args)
		last = k.gate.LastCommand()
		if in := !k.gate.LoginNeeded(); in != k.authenticated {
			k.authenticated = in
			k.in.SetLimits(k.limits())
		}
		if len(k.gate.Out.Buf) >= flushAt {
			if err := k.FlushReplies(); err != nil {
				return err
			}
		}
	}
	if k.detached {
		return nil
	}
	if last != "" {
		k.client.Publish(last)
	}
	if err := k.flush(); err != nil {
		return err
	}
	if k.tooLong() {
		return errOver
	}
	k.idle()
	return nil
}

// idle gives the buffers back if nothing is in them.
func (k *Conn) idle() {
	if k.in.Buffered() == 0 {
		k.in.Release()
		k.giveOutput()
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
	k.in.Release()
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
	if k.sock != nil {
		return k.sock.write(k, p, nil, false)
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

// FlushReplies sends the replies so far in the middle of a pipeline. The connection's goroutine only.
func (k *Conn) FlushReplies() error {
	err := k.flush()
	k.cork(true)
	return err
}

// Stream sends a part of a reply in the middle of a command. The connection's goroutine only.
func (k *Conn) Stream(p []byte, over <-chan struct{}) error {
	switch {
	case k.pushing.Load():
		k.mu.Lock()
		k.mu.pending = append(k.mu.pending, p...) // messages have to wait for the end of the reply
		k.mu.Unlock()
		k.wake()
		return k.awaitRoom(over)
	case k.sock != nil:
		k.stats.OutBytes.Add(int64(len(p)))
		return k.sock.write(k, p, over, true)
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-over:
			k.Kill()
		case <-done:
		}
	}()
	return k.write(p)
}

// Kill closes the connection; any goroutine. A command that runs is not interrupted unless it waits. The socket
// of a connection that was taken over, by a replica's feed, is closed.
func (k *Conn) Kill() {
	k.deadline.Lock()
	defer k.deadline.Unlock()
	k.killed.Store(true)
	switch {
	case k.given != nil:
		_ = k.given.Close()
	case k.sock != nil:
		k.sock.shutdown()
	default:
		_ = k.nc.SetReadDeadline(time.Unix(1, 0))
		_ = k.nc.SetWriteDeadline(time.Unix(1, 0))
	}
	k.cancel() // last: what this wakes must find the socket shut, or it would still send its reply
}

// WatchPeer kills the connection if the peer closes it before the function returned is called. It is for the
// time in which the connection's goroutine waits for something else than the socket. A peer that has sent
// more commands is taken to be there.
func (k *Conn) WatchPeer() (stop func()) {
	if k.sock == nil {
		return func() {}
	}
	if k.sock.watch(true) {
		k.Kill()
	}
	return func() { k.sock.watch(false) }
}

// Detach gives the socket away after the replies so far have been sent; the connection's goroutine only.
func (k *Conn) Detach() commands.Detached {
	_ = k.flush()
	k.detached = true
	nc := k.nc
	if k.sock != nil {
		var err error
		if nc, err = k.sock.detach(); err != nil {
			nc, _ = net.Pipe() // out of descriptors: whoever takes it over finds a peer that never answers
			_ = nc.Close()
		}
	}
	k.deadline.Lock()
	k.given = nc
	if k.killed.Load() {
		_ = nc.Close()
	}
	k.deadline.Unlock()
	return commands.Detached{Conn: nc, Unread: k.in.Unread()}
}
