package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/replog"
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
	// MaxBehind is how many bytes of the log may wait to be executed before reading waits too: it bounds the
	// time of a promotion. 0 is 64 MiB.
	MaxBehind int64
	// Drain bounds how long Close goes on reading what the primary still sends; 0 is half a second.
	Drain  time.Duration
	Logger *slog.Logger
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

	defaultMaxUnit   = 1 << 30
	defaultMaxBehind = 64 << 20

	defaultDrain = 500 * time.Millisecond
	// drainQuiet is how long nothing may have come for a connection to count as drained. A dead process needs
	// less: its kernel sends the end of the stream behind the last byte.
	drainQuiet = 5 * time.Millisecond
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

	// abrupt says that nothing is to be drained.
	abrupt    atomic.Bool
	lastIO    atomic.Int64 // Unix nanoseconds
	read      atomic.Int64
	applied   atomic.Int64 // everything before it has been executed; -1 before the first stream
	syncTotal atomic.Int64
	syncRead  atomic.Int64

	mu struct {
		sync.Mutex
		state     LinkState
		downSince time.Time
		upstream  Upstream
		err       error
		halted    bool
		// receiving is closed when the attempt that is under way will not change the log any more; nil
		// between attempts.
		receiving chan struct{}
		// progress, if not nil, is closed when applied has risen.
		progress chan struct{}
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
	if cfg.MaxBehind == 0 {
		cfg.MaxBehind = defaultMaxBehind
	}
	if cfg.Drain == 0 {
		cfg.Drain = defaultDrain
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Link{cfg: cfg, node: node, cancel: cancel, done: make(chan struct{}), ackNow: make(chan struct{}, 1)}
	l.mu.state = LinkConnect
	l.mu.downSince = time.Now()
	l.applied.Store(-1)
	go l.run(ctx)
	return l
}

// Drain ends the link and returns when nothing more will be appended, which may be before everything is
// applied. A stream is read on until nothing more of it is there: what a primary wrote to its socket before
// it died is in this machine's kernel, and its clients may have been told that it is done.
func (l *Link) Drain() {
	l.cancel()
	l.mu.Lock()
	receiving := l.mu.receiving
	l.mu.Unlock()
	if receiving != nil {
		<-receiving
	}
}

// Close drains the link and returns when everything that it appended has been applied.
func (l *Link) Close() {
	l.cancel()
	<-l.done
}

// Stop begins to end the link without draining it and without waiting: for a stream that is of no use to
// this node any more, or that it can ask for again.
func (l *Link) Stop() {
	l.abrupt.Store(true)
	l.cancel()
}

// WaitApplied waits until everything before off has been applied, the context ends or the link does.
func (l *Link) WaitApplied(ctx context.Context, off replog.Offset) error {
	for {
		l.mu.Lock()
		if l.mu.progress == nil {
			l.mu.progress = make(chan struct{})
		}
		progress := l.mu.progress
		l.mu.Unlock()
		if l.applied.Load() >= int64(off) {
			return nil
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %d is applied: %w", off, ctx.Err())
		case <-l.done:
			if l.applied.Load() >= int64(off) {
				return nil
			}
			return fmt.Errorf("waiting until %d is applied: %w", off, ErrLinkEnded)
		}
	}
}

// setApplied is called by the applier, and by the link's goroutine while there is none.
func (l *Link) setApplied(off replog.Offset) {
	l.applied.Store(int64(off))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.progress != nil {
		close(l.mu.progress)
		l.mu.progress = nil
	}
}

// beginReceiving is called at the start of an attempt; it is false if the link has been ended: then nothing
// may be appended any more.
func (l *Link) beginReceiving(ctx context.Context) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	l.mu.receiving = make(chan struct{})
	return true
}

// endReceiving says that the attempt will not change the log any more; it may be called twice.
func (l *Link) endReceiving() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.receiving != nil {
		close(l.mu.receiving)
		l.mu.receiving = nil
	}
}

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

// setLost records that the connection is gone, and why.
func (l *Link) setLost(err error) {
	l.mu.Lock()
	l.mu.err = err
	l.mu.Unlock()
	l.setState(LinkConnect)
}

// run connects again and again.
func (l *Link) run(ctx context.Context) {
	defer close(l.done)
	backoff := time.Duration(0)
	lastText := ""
	for l.beginReceiving(ctx) {
		began := time.Now()
		wasUp, again, err := l.attempt(ctx)
		l.endReceiving()
		halted := errors.Is(err, ErrHalted)
		l.mu.Lock()
		l.mu.halted = halted
		l.mu.Unlock()
		l.setLost(err)
		if ctx.Err() != nil && !halted {
			return
		}
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
	stopWatch := context.AfterFunc(ctx, func() { s.end(context.Canceled) })
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
	return true, false, s.follow(ctx)
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
