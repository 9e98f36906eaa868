package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"haypile/internal/replog"
	"haypile/internal/resp"
)

// FeedState is how far a replica has come, in the words of INFO.
type FeedState string

// The states of a feed.
const (
	FeedWaitCheckpoint FeedState = "wait_bgsave"
	FeedSendFiles      FeedState = "send_bulk"
	FeedOnline         FeedState = "online"
)

const (
	// pumpChunk is how much of the log the pump reads and writes at once.
	pumpChunk = 256 << 10
	// keepalivePeriod is the time between the empty lines that a waiting peer gets.
	keepalivePeriod = time.Second
)

// feedSeq numbers the feeds of a process, for a stable order in INFO.
var feedSeq atomic.Int64

// turn says who may write to a feed's socket.
type turn int

const (
	// pumpTurn: the pump. Push only wakes it.
	pumpTurn turn = iota
	// pushTurn: the pump sleeps with nothing left to send, Push writes.
	pushTurn
)

// Feed is one replica's connection.
type Feed struct {
	fs      *Feeds
	seq     int64
	gen     uint64
	haypile bool
	nodeID  string
	hs      Handshake
	primary bool
	st      State
	dec     Decision

	conn   net.Conn
	raw    syscall.RawConn // nil if the connection has no file descriptor; then only the pump writes
	cancel context.CancelFunc
	// wake has capacity 1: "the log has grown, or it is your turn".
	wake chan struct{}
	// files carries the replica's answer to the manifest, firstAck its first acknowledgement.
	files    chan []byte
	firstAck chan struct{}
	// heard is when the last byte came from the replica, in Unix nanoseconds.
	heard atomic.Int64

	mu struct {
		sync.Mutex
		turn  turn
		state FeedState
		// next is the first offset not yet given to the kernel; limit is not below what has been given to it.
		next, limit replog.Offset
		ack         acked
		lastAck     time.Time
		reason      error // why it ended
		conn        net.Conn
		// The write that push is making. The function is made once, so that a push allocates nothing.
		pushing []byte
		pushed  int
	}
	pushFn func(fd uintptr) bool
}

func newFeed(fs *Feeds, gen uint64, st State, hs Handshake, d Decision) *Feed {
	f := &Feed{fs: fs, seq: feedSeq.Add(1), gen: gen, hs: hs, st: st, dec: d, haypile: hs.Hello != nil,
		wake: make(chan struct{}, 1), files: make(chan []byte, 1), firstAck: make(chan struct{})}
	if hs.Hello != nil {
		f.nodeID = hs.Hello.Node
	}
	f.mu.state = FeedWaitCheckpoint
	f.pushFn = f.writeNow
	return f
}

// Run feeds the replica until the connection ends, and returns why. The session hands over the connection
// with everything that it has read; nothing else may use them any more. The connection is closed on return.
func (f *Feed) Run(ctx context.Context, conn net.Conn, rd *resp.Reader) error {
	ctx, f.cancel = context.WithCancel(ctx)
	defer f.cancel()
	f.conn = conn
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			f.raw = raw
			wideSend(raw)
		}
	}
	f.mu.Lock()
	f.mu.conn = conn
	f.mu.Unlock()
	// The session's deadlines end here; every write below sets its own, silence is watched by check.
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("taking over a replica's connection: %w", err)
	}
	f.heard.Store(time.Now().UnixNano())
	stopWatch := context.AfterFunc(ctx, func() { f.close(context.Cause(ctx)) })
	defer stopWatch()
	if err := f.fs.add(f); err != nil {
		conn.Close()
		return err
	}
	defer f.fs.remove(f)

	done := make(chan struct{})
	go func() {
		defer close(done)
		f.close(f.pump(ctx))
	}()
	f.close(f.listen(rd))
	<-done
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fs.logger.Info("replica disconnected", "addr", conn.RemoteAddr().String(), "node", f.nodeID,
		"sent", int64(f.mu.next), "acknowledged", int64(f.mu.ack.written), "err", f.mu.reason)
	return f.mu.reason
}

// close ends the feed; the first reason stays.
func (f *Feed) close(reason error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.reason != nil {
		return
	}
	if reason == nil {
		reason = errClosed
	}
	f.mu.reason = reason
	if f.mu.conn != nil {
		f.cancel()
		f.mu.conn.Close()
	}
}

// push is Feeds.Push for one replica.
func (f *Feed) push(start replog.Offset, b []byte) {
	f.mu.Lock()
	if f.mu.turn == pushTurn && f.mu.next == start {
		f.mu.limit = start + replog.Offset(len(b))
		f.mu.pushing, f.mu.pushed = b, 0
		err := f.raw.Write(f.pushFn)
		f.mu.next += replog.Offset(f.mu.pushed)
		f.mu.pushing = nil
		if err == nil && f.mu.pushed == len(b) {
			f.mu.Unlock()
			return
		}
		// The socket is full, or broken: the pump goes on from here and finds out.
		f.mu.turn = pumpTurn
	} else if f.mu.turn == pushTurn {
		f.mu.turn = pumpTurn
	}
	f.mu.Unlock()
	f.wakeUp()
}

// writeNow writes what push holds, as far as the socket takes it without blocking. It always reports true:
// the runtime must not wait for room on the committer's goroutine.
func (f *Feed) writeNow(fd uintptr) bool {
	for f.mu.pushed < len(f.mu.pushing) {
		n, err := syscall.Write(int(fd), f.mu.pushing[f.mu.pushed:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		f.mu.pushed += n
	}
	return true
}

func (f *Feed) wakeUp() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// pump brings the replica online and then sends what Push does not.
func (f *Feed) pump(ctx context.Context) error {
	from := f.dec.From
	if f.dec.Verdict == Continue {
		if err := f.sayContinue(); err != nil {
			return err
		}
		f.fs.stats.partialOK.Add(1)
	} else {
		f.fs.stats.full.Add(1)
		cp, release, err := f.fullSync(ctx)
		if err != nil {
			return fmt.Errorf("full sync to a replica: %w", err)
		}
		defer release() // until Floor sees the feed itself
		from = cp
	}
	f.mu.Lock()
	f.mu.next, f.mu.limit = from, from
	f.mu.ack = acked{written: from}
	f.mu.lastAck = time.Now()
	f.mu.Unlock()
	if !f.fs.setOnline(f, from) {
		return errReplaced
	}
	f.fs.logger.Info("replica online", "addr", f.conn.RemoteAddr().String(), "node", f.nodeID,
		"from", int64(from), "haypile", f.haypile)
	return f.stream(ctx)
}

// sayContinue answers PSYNC; a replica without psync2 keeps the id that it named.
func (f *Feed) sayContinue() error {
	line := "+CONTINUE\r\n"
	if f.hs.PSYNC2 || f.haypile {
		line = "+CONTINUE " + f.dec.ReplID + "\r\n"
	}
	return f.write([]byte(line))
}

// write sends all of b within the timeout.
func (f *Feed) write(b []byte) error {
	if err := f.conn.SetWriteDeadline(time.Now().Add(f.fs.opt.Load().Timeout)); err != nil {
		return fmt.Errorf("writing to a replica: %w", err)
	}
	if _, err := f.conn.Write(b); err != nil {
		return fmt.Errorf("writing to a replica: %w", err)
	}
	return nil
}

// stream sends the log from next on. Between "all sent" and "more to send" it hands the socket to push.
func (f *Feed) stream(ctx context.Context) error {
	var buf []byte
	for {
		f.mu.Lock()
		f.mu.turn = pumpTurn
		next := f.mu.next
		f.mu.Unlock()
		if f.st.Log.End() == next {
			buf = nil // a caught-up feed holds no buffer
			if err := f.handOver(ctx, next); err != nil {
				return err
			}
			continue
		}
		if buf == nil {
			buf = make([]byte, pumpChunk)
		}
		n, err := f.st.Log.ReadAt(buf, next)
		if err != nil {
			if errors.Is(err, replog.ErrTrimmed) {
				f.fs.stats.letGo.Add(1)
			}
			return fmt.Errorf("reading the log at %d for a replica: %w", next, err)
		}
		if n == 0 {
			continue
		}
		f.mu.Lock()
		f.mu.limit = next + replog.Offset(n)
		f.mu.Unlock()
		if err := f.write(buf[:n]); err != nil {
			return err
		}
		f.mu.Lock()
		f.mu.next += replog.Offset(n)
		f.mu.Unlock()
	}
}

// handOver lets push write until it needs the pump again. The log's end is looked at again under the lock
// under which push decides: bytes appended before are seen here, bytes appended after find it is push's turn.
func (f *Feed) handOver(ctx context.Context, next replog.Offset) error {
	if err := f.conn.SetWriteDeadline(time.Time{}); err != nil { // a passed one would fail push
		return fmt.Errorf("writing to a replica: %w", err)
	}
	f.mu.Lock()
	if f.st.Log.End() != next {
		f.mu.Unlock()
		return nil
	}
	if f.raw != nil {
		f.mu.turn = pushTurn
	}
	f.mu.Unlock()
	select {
	case <-f.wake:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// listen reads what the replica says until the connection ends.
func (f *Feed) listen(rd *resp.Reader) error {
	for {
		cmd, ok, err := rd.Next()
		if err != nil {
			return fmt.Errorf("reading from a replica: %w", err)
		}
		if ok {
			if err := f.heed(cmd.Args); err != nil {
				return err
			}
			continue
		}
		n, err := f.conn.Read(rd.Space(512))
		if n > 0 {
			rd.Advance(n)
			f.heard.Store(time.Now().UnixNano())
		}
		if err != nil {
			return fmt.Errorf("reading from a replica: %w", err)
		}
	}
}

// heed takes one command of the replica. What it does not know it ignores, as Redis does.
func (f *Feed) heed(args [][]byte) error {
	if !equalFold(args[0], "REPLCONF") {
		return nil
	}
	at, isAck := acked{}, false
	for i := 1; i+1 < len(args); i += 2 {
		switch {
		case equalFold(args[i], "ACK"), equalFold(args[i], "FACK"):
			n, err := strconv.ParseInt(string(args[i+1]), 10, 64)
			if err != nil {
				return fmt.Errorf("acknowledgement of %q", clip(args[i+1], 32))
			}
			if equalFold(args[i], "ACK") {
				at.written, isAck = replog.Offset(n), true
			} else {
				at.fsynced = replog.Offset(n)
			}
		case equalFold(args[i], "FILES"):
			select {
			case f.files <- append([]byte(nil), args[i+1]...):
			default:
				return errors.New("the replica answered a manifest twice")
			}
		}
	}
	if !isAck {
		return nil
	}
	return f.acknowledge(at)
}

// acknowledge records an ACK. An acknowledgement of bytes that were never sent is not believed.
func (f *Feed) acknowledge(at acked) error {
	f.mu.Lock()
	if f.mu.state != FeedOnline {
		// The end of a full sync: the replica says that it has loaded.
		f.mu.Unlock()
		select {
		case <-f.firstAck:
		default:
			close(f.firstAck)
		}
		return nil
	}
	if at.written > f.mu.limit {
		limit := f.mu.limit
		f.mu.Unlock()
		return fmt.Errorf("the replica acknowledged %d, sent were %d", at.written, limit)
	}
	f.mu.lastAck = time.Now()
	// A replica that comes from further back than it last said is not there any more: acks only rise.
	at.written = max(at.written, f.mu.ack.written)
	at.fsynced = max(min(at.fsynced, at.written), f.mu.ack.fsynced)
	changed := at != f.mu.ack
	f.mu.ack = at
	f.mu.Unlock()
	if changed {
		f.fs.acks.set(f, at)
	}
	return nil
}

// check ends a feed that has been silent for too long and wakes one that is behind.
func (f *Feed) check(now time.Time, timeout time.Duration) {
	f.mu.Lock()
	state, next := f.mu.state, f.mu.next
	f.mu.Unlock()
	if state != FeedOnline {
		return // progress is watched by the pump
	}
	if now.Sub(time.Unix(0, f.heard.Load())) > timeout {
		f.close(ErrSilent)
		return
	}
	if f.st.Log.End() != next {
		f.wakeUp()
	}
}

func (f *Feed) state() FeedState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.state
}

func (f *Feed) setState(s FeedState) {
	f.mu.Lock()
	f.mu.state = s
	f.mu.Unlock()
}

// needs is the offset from which on an online replica needs the log: what it has not acknowledged.
func (f *Feed) needs() (replog.Offset, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.ack.written, f.mu.state == FeedOnline
}

// FeedInfo describes a connected replica for INFO, ROLE and the control plane.
type FeedInfo struct {
	// IP and Port are those announced, or the connection's address and 0.
	IP     string
	Port   int
	Addr   string
	State  FeedState
	NodeID string
	// Haypile is false for a replica of another make.
	Haypile bool
	// Sent, Acked and Fsynced are offsets: given to the kernel, in the replica's log, on its disk.
	Sent, Acked, Fsynced replog.Offset
	// Lag is the time since the last acknowledgement; zero before the replica is online.
	Lag time.Duration
}

func (f *Feed) info(now time.Time) FeedInfo {
	addr := f.conn.RemoteAddr().String()
	ip := f.hs.IP
	if ip == "" {
		ip = addr
		if host, _, err := net.SplitHostPort(addr); err == nil {
			ip = host
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	out := FeedInfo{IP: ip, Port: f.hs.Port, Addr: addr, State: f.mu.state, NodeID: f.nodeID, Haypile: f.haypile,
		Sent: f.mu.next, Acked: f.mu.ack.written, Fsynced: f.mu.ack.fsynced}
	if f.mu.state == FeedOnline {
		out.Lag = now.Sub(f.mu.lastAck)
	}
	return out
}
