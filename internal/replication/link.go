package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/replog"
	"haypile/internal/resp"
)

// LinkConfig is what a Link needs to know. It is fixed for the link's life: another primary is another link.
type LinkConfig struct {
	Host string
	Port int
	// Dial opens the connection; it may wrap it in TLS.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// User and Password authenticate with the primary if Password is set.
	User, Password string
	// AnnounceIP and AnnouncePort are what the primary is told about this node.
	AnnounceIP   string
	AnnouncePort int
	// Timeout ends a connection on which nothing is received.
	Timeout time.Duration
	// Changed, if set, is called when the link comes up or is lost; it must not block.
	Changed func()
	// MaxBackoff bounds the wait between attempts; 0 is one second.
	MaxBackoff time.Duration
	// MaxUnit bounds one command or transaction of the stream, in bytes; 0 is 1 GiB.
	MaxUnit int
	Logger  *slog.Logger
}

// Times of a link.
const (
	dialTimeout = 5 * time.Second
	// handshakeSilence bounds the wait for each line before the stream; a primary that prepares something
	// sends an empty line each second.
	handshakeSilence = 10 * time.Second
	writeTimeout     = 5 * time.Second
	ackPeriod        = time.Second
	// minBackoff is the first wait between attempts; it doubles, and is shortened at random by up to a quarter,
	// so that replicas of a dead primary do not return in step.
	minBackoff        = 100 * time.Millisecond
	defaultMaxBackoff = time.Second

	defaultMaxUnit = 1 << 30
)

// LinkState is the state of a link in the words of ROLE.
type LinkState string

// The states of a link.
const (
	LinkConnect    LinkState = "connect"
	LinkConnecting LinkState = "connecting"
	LinkHandshake  LinkState = "handshake"
	LinkSync       LinkState = "sync"
	LinkConnected  LinkState = "connected"
)

// LinkStatus describes a link for INFO, ROLE and the control plane.
type LinkStatus struct {
	Host  string
	Port  int
	State LinkState
	// DownSince is when the link was lost, or made; zero while it is up.
	DownSince time.Time
	// LastIO is when the last byte came; zero if none has.
	LastIO time.Time
	// SyncTotal and SyncRead are the bytes of the full sync that is running.
	SyncTotal, SyncRead int64
	// Read is the offset of the stream read so far, applied or not.
	Read replog.Offset
	// Upstream is the primary's description of itself; empty before the first handshake.
	Upstream Upstream
	// Halted is true once the link has stopped for good.
	Halted bool
	// Err is why the last attempt ended.
	Err error
}

// Link keeps a node following its primary until Close.
type Link struct {
	cfg    LinkConfig
	node   Follower
	cancel context.CancelFunc
	done   chan struct{}
	ackNow chan struct{} // capacity 1

	lastIO    atomic.Int64 // Unix nanoseconds
	read      atomic.Int64
	syncTotal atomic.Int64
	syncRead  atomic.Int64

	mu struct {
		sync.Mutex
		state     LinkState
		downSince time.Time
		upstream  Upstream
		err       error
		halted    bool
	}

	// Owned by the link's goroutine.
	forceFull bool
}

// StartLink starts following the primary.
func StartLink(cfg LinkConfig, node Follower) *Link {
	if cfg.MaxUnit == 0 {
		cfg.MaxUnit = defaultMaxUnit
	}
	if cfg.MaxBackoff == 0 {
		cfg.MaxBackoff = defaultMaxBackoff
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Link{cfg: cfg, node: node, cancel: cancel, done: make(chan struct{}), ackNow: make(chan struct{}, 1)}
	l.mu.state = LinkConnect
	l.mu.downSince = time.Now()
	go l.run(ctx)
	return l
}

// Close ends the link and returns when everything that it appended has been applied.
func (l *Link) Close() {
	l.cancel()
	<-l.done
}

// Stop begins to end the link without waiting.
func (l *Link) Stop() { l.cancel() }

// AckNow sends an acknowledgement soon, for a log that was fsynced without new bytes.
func (l *Link) AckNow() {
	select {
	case l.ackNow <- struct{}{}:
	default:
	}
}

// Addr is the primary's address as configured.
func (l *Link) Addr() (host string, port int) { return l.cfg.Host, l.cfg.Port }

// Status describes the link at this moment.
func (l *Link) Status() LinkStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LinkStatus{Host: l.cfg.Host, Port: l.cfg.Port, State: l.mu.state, DownSince: l.mu.downSince,
		SyncTotal: l.syncTotal.Load(), SyncRead: l.syncRead.Load(), Read: replog.Offset(l.read.Load()),
		Upstream: l.mu.upstream, Halted: l.mu.halted, Err: l.mu.err}
	if ns := l.lastIO.Load(); ns != 0 {
		s.LastIO = time.Unix(0, ns)
	}
	return s
}

func (l *Link) setState(s LinkState) {
	l.mu.Lock()
	changed := l.mu.state != s
	if s == LinkConnected {
		l.mu.downSince, l.mu.err = time.Time{}, nil
	} else if l.mu.downSince.IsZero() {
		l.mu.downSince = time.Now()
	}
	l.mu.state = s
	l.mu.Unlock()
	if changed && l.cfg.Changed != nil {
		l.cfg.Changed()
	}
}

// run connects again and again.
func (l *Link) run(ctx context.Context) {
	defer close(l.done)
	backoff := time.Duration(0)
	lastText := ""
	for ctx.Err() == nil {
		began := time.Now()
		wasUp, again, err := l.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		l.mu.err = err
		l.mu.halted = errors.Is(err, ErrHalted)
		halted := l.mu.halted
		l.mu.Unlock()
		l.setState(LinkConnect)
		level := slog.LevelDebug
		if text := err.Error(); text != lastText { // the same failure each second is told once
			level, lastText = slog.LevelWarn, text
		}
		l.cfg.Logger.Log(ctx, level, "link to the primary lost", "primary", l.address(),
			"was_up", wasUp, "err", err)
		if halted {
			l.cfg.Logger.Error("link to the primary halted: data and log do not agree any more", "err", err)
			return
		}
		if again || wasUp && time.Since(began) > l.cfg.MaxBackoff {
			// One quick attempt: the primary may just have closed the connection to announce a new id. A link
			// that fails as soon as it is up is no reason to hurry.
			backoff, lastText = 0, ""
		}
		if !wait(ctx, backoff-time.Duration(rand.Int64N(int64(backoff/4)+1))) {
			return
		}
		backoff = min(max(2*backoff, minBackoff), l.cfg.MaxBackoff)
	}
}

// wait sleeps; it is false if the context ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *Link) address() string { return net.JoinHostPort(l.cfg.Host, strconv.Itoa(l.cfg.Port)) }

// attempt is one connection from dial to loss. again asks for the next attempt at once.
func (l *Link) attempt(ctx context.Context) (wasUp, again bool, err error) {
	l.setState(LinkConnecting)
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, err := l.cfg.Dial(dialCtx, l.address())
	cancel()
	if err != nil {
		return false, false, fmt.Errorf("connecting to the primary: %w", err)
	}
	s := newLinkConn(l, conn)
	defer s.close()
	stopWatch := context.AfterFunc(ctx, func() { conn.Close() })
	defer stopWatch()

	l.setState(LinkHandshake)
	pos := l.node.Position()
	up, err := s.handshake(pos)
	if err != nil {
		return false, false, err
	}
	if !up.Foreign() && up.Epoch < pos.Promised {
		return false, false, fmt.Errorf("%w: %d < %d", ErrStalePrimary, up.Epoch, pos.Promised)
	}
	answer, err := s.psync(pos, l.forceFull)
	if err != nil {
		return false, false, err
	}
	switch answer.kind {
	case answerDiverged:
		return l.rewind(ctx, answer.offset, up)
	case answerFull:
		up.ReplID = answer.replID
		l.setState(LinkSync)
		if err := s.fullSync(ctx, up, answer.offset, pos.Format); err != nil {
			return false, false, err
		}
		l.forceFull = false
	case answerContinue:
		if err := l.resume(ctx, pos, up, answer); err != nil {
			return false, false, err
		}
	}
	l.mu.Lock()
	l.mu.upstream = *up
	l.mu.Unlock()
	return true, false, s.follow()
}

// rewind goes back to the fork, or asks for a full sync the next time.
func (l *Link) rewind(ctx context.Context, fork replog.Offset, up *Upstream) (wasUp, again bool, err error) {
	l.cfg.Logger.Warn("history differs from the primary's", "primary", l.address(), "fork", int64(fork))
	err = l.node.Rewind(ctx, fork, up)
	switch {
	case err == nil:
		return false, true, fmt.Errorf("rewound to %d, asking again", fork)
	case errors.Is(err, ErrFullSyncNeeded):
		l.forceFull = true
		return false, true, err
	}
	return false, false, fmt.Errorf("rewinding to %d: %w", fork, err)
}

// resume takes the primary's history over after +CONTINUE.
func (l *Link) resume(ctx context.Context, pos Position, up *Upstream, a psyncAnswer) error {
	if len(pos.Reigns) == 0 || l.forceFull {
		return errors.New("the primary continues where a full sync was asked for")
	}
	if up.Foreign() {
		up.ReplID = a.replID
		if up.ReplID == "" {
			up.ReplID = pos.Reigns[len(pos.Reigns)-1].ReplID
		}
	} else {
		// The id that the stream has must be the one that the lineage in the hello ends with: a role that
		// changed between the two would be another history.
		if up.ReplID != a.replID {
			return fmt.Errorf("the primary's id changed during the handshake: %s, then %s", up.ReplID, a.replID)
		}
		end := pos.Log.End()
		if fork, ok := replog.ForkPoint(pos.Reigns, end, up.Reigns, math.MaxInt64); !ok || fork < end {
			return fmt.Errorf("the primary continues at %d, but histories part at %d", end, fork)
		}
	}
	if err := l.node.Adopt(ctx, up); err != nil {
		return fmt.Errorf("adopting the primary's history: %w", err)
	}
	return nil
}

// linkConn is one connection of a link. Its watcher goroutine sends acknowledgements each second and closes
// the connection when it has been silent for too long; net.Conn lets it write beside the link's goroutine.
type linkConn struct {
	link *Link
	conn net.Conn
	in   *resp.ReplyReader
	out  []byte
	stop chan struct{}
	done chan struct{}
	// log is the log whose end is acknowledged; nil before the stream.
	log atomic.Pointer[logBox]
	// idle asks the watcher for an empty line each second: the link works and the primary waits.
	idle atomic.Bool
	// silence is how long nothing may be received, in nanoseconds.
	silence atomic.Int64
}

// logBox makes an interface fit into an atomic pointer.
type logBox struct{ Log }

func newLinkConn(l *Link, conn net.Conn) *linkConn {
	s := &linkConn{link: l, conn: conn, stop: make(chan struct{}), done: make(chan struct{})}
	s.in = resp.NewReplyReader(s)
	s.silence.Store(int64(min(handshakeSilence, l.cfg.Timeout)))
	l.lastIO.Store(time.Now().UnixNano())
	go s.watch()
	return s
}

// close ends the connection and its watcher.
func (s *linkConn) close() {
	close(s.stop)
	s.conn.Close()
	<-s.done
}

// Read is the connection's, noting the time. It has no deadline of its own: the watcher closes the
// connection.
func (s *linkConn) Read(p []byte) (int, error) {
	n, err := s.conn.Read(p)
	if n > 0 {
		s.link.lastIO.Store(time.Now().UnixNano())
	}
	return n, err
}

// write sends b within the write timeout.
func (s *linkConn) write(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("writing to the primary: %w", err)
	}
	if _, err := s.conn.Write(b); err != nil {
		return fmt.Errorf("writing to the primary: %w", err)
	}
	return nil
}

// watch is the second goroutine of a connection.
func (s *linkConn) watch() {
	defer close(s.done)
	period := max(min(ackPeriod, time.Duration(s.silence.Load())/4), time.Millisecond)
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	var buf []byte
	lastSent := time.Now()
	for {
		soon := false
		select {
		case <-s.stop:
			return
		case <-s.link.ackNow:
			soon = true
		case <-ticker.C:
		}
		now := time.Now()
		if now.Sub(time.Unix(0, s.link.lastIO.Load())) > time.Duration(s.silence.Load()) {
			s.conn.Close() // the reader sees it
			return
		}
		if !soon && now.Sub(lastSent) < ackPeriod {
			continue
		}
		lastSent = now
		var err error
		if box := s.log.Load(); box != nil {
			buf = appendAck(buf[:0], box.End(), box.Synced())
			err = s.write(buf)
		} else if s.idle.Load() {
			err = s.write([]byte{'\n'})
		}
		if err != nil {
			s.conn.Close()
			return
		}
	}
}

// appendAck encodes an acknowledgement: what is in the log, and what of it is on disk.
func appendAck(dst []byte, end, synced replog.Offset) []byte {
	var a, b [20]byte
	at := strconv.AppendInt(a[:0], int64(end), 10)
	fs := strconv.AppendInt(b[:0], int64(min(end, synced)), 10)
	dst = append(dst, "*5\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n"...)
	dst = resp.AppendBulk(dst, at)
	dst = append(dst, "$4\r\nFACK\r\n"...)
	return resp.AppendBulk(dst, fs)
}

// follow appends, acknowledges and applies the stream until the connection ends.
func (s *linkConn) follow() error {
	pos := s.link.node.Position()
	log := pos.Log
	sp := NewSplitter(log.End(), pos.DB, s.link.cfg.MaxUnit)
	s.primaryWaits(false)
	s.link.read.Store(int64(log.End()))
	s.idle.Store(false)
	s.log.Store(&logBox{log})
	s.out = appendAck(s.out[:0], log.End(), log.Synced())
	if err := s.write(s.out); err != nil {
		return err
	}
	s.link.setState(LinkConnected)
	s.link.cfg.Logger.Info("link to the primary up", "primary", s.link.address(), "offset", int64(log.End()))
	var b Batch
	for {
		room, err := sp.Space()
		if err != nil {
			return err
		}
		n, err := s.in.Read(room)
		if n > 0 {
			sp.Advance(n)
			s.link.read.Add(int64(n))
			if err := s.take(sp, &b, log); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return errors.New("the primary closed the connection")
		}
		if err != nil {
			return fmt.Errorf("reading the stream: %w", err)
		}
	}
}

// take handles the whole units that one read completed. The acknowledgement leaves as soon as the bytes are
// in the log: from there on a crash of this node does not lose them, and applying them is only work.
func (s *linkConn) take(sp *Splitter, b *Batch, log Log) error {
	for {
		ok, err := sp.Next(b)
		if err != nil || !ok {
			return err
		}
		if err := s.link.node.Append(b); err != nil {
			return fmt.Errorf("appending the stream at %d: %w", b.Start, err)
		}
		s.out = appendAck(s.out[:0], log.End(), log.Synced())
		ackErr := s.write(s.out)
		if err := s.link.node.Apply(b); err != nil {
			return fmt.Errorf("%w: at %d: %w", ErrHalted, b.Start, err)
		}
		if ackErr != nil {
			return ackErr
		}
	}
}
