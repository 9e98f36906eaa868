package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/replog"
	"haypile/internal/resp"
)

// linkConn is one connection of a link. Its watcher goroutine sends acknowledgements each second and ends
// the connection when it has been silent for too long; net.Conn lets it write beside the link's goroutine.
type linkConn struct {
	link *Link
	conn net.Conn
	in   *resp.ReplyReader
	out  []byte
	mute bool // an acknowledgement could not be sent
	stop chan struct{}
	done chan struct{}
	once sync.Once
	// log is the log whose end is acknowledged; nil before the stream.
	log atomic.Pointer[logBox]
	// idle asks the watcher for an empty line each second: the link works and the primary waits.
	idle atomic.Bool
	// silence is how long nothing may be received, in nanoseconds; full says that nothing is received because
	// too much waits to be applied.
	silence atomic.Int64
	full    atomic.Bool

	// ending is closed by the first end.
	ending chan struct{}
	mu     struct {
		sync.Mutex
		// streaming: what arrives goes into the log, so it is read to its end. ended: end was called, because of
		// why. draining: no more than what is there by now is read, at most until then.
		streaming, ended, draining bool
		until                      time.Time
		why                        error
	}
}

// logBox makes an interface fit into an atomic pointer.
type logBox struct{ Log }

// errDrained ends the reading of a stream of which nothing more is there.
var errDrained = errors.New("replication: the connection has been drained")

func newLinkConn(l *Link, conn net.Conn) *linkConn {
	s := &linkConn{link: l, conn: conn, stop: make(chan struct{}), done: make(chan struct{}),
		ending: make(chan struct{})}
	s.in = resp.NewReplyReader(s)
	s.silence.Store(int64(min(handshakeSilence, l.cfg.Timeout)))
	l.lastIO.Store(time.Now().UnixNano())
	go s.watch()
	return s
}

// close ends the connection and its watcher. It may be called twice.
func (s *linkConn) close() {
	s.once.Do(func() {
		close(s.stop)
		s.conn.Close()
	})
	<-s.done
}

// end ends the connection because of why: at once, or in the stream when what has arrived has been read.
func (s *linkConn) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.ended {
		s.mu.ended, s.mu.why = true, why
		close(s.ending)
	}
	if !s.mu.streaming || s.link.abrupt.Load() {
		s.conn.Close()
		return
	}
	if s.mu.draining {
		return
	}
	s.mu.draining, s.mu.until = true, time.Now().Add(s.link.cfg.Drain)
	// A read that is waiting returns and looks at draining. The error would be that of a closed connection.
	_ = s.conn.SetReadDeadline(time.Unix(1, 0))
}

// beginStream lets end drain from here on; it fails if the link has been ended.
func (s *linkConn) beginStream(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.streaming = true
	return ctx.Err()
}

// Read is the connection's, noting the time. It has no deadline of its own: the watcher ends the connection.
func (s *linkConn) Read(p []byte) (int, error) {
	n, err := s.conn.Read(p)
	if n > 0 {
		s.link.lastIO.Store(time.Now().UnixNano())
	}
	return n, err
}

// readStream is Read for the stream. While the connection is drained, errDrained says that nothing has come
// for drainQuiet, or that it has taken long enough.
func (s *linkConn) readStream(p []byte) (int, error) {
	for {
		s.mu.Lock()
		draining, until := s.mu.draining, s.mu.until
		var err error
		if draining {
			now := time.Now()
			if !now.Before(until) {
				s.mu.Unlock()
				return 0, errDrained
			}
			err = s.conn.SetReadDeadline(now.Add(min(drainQuiet, until.Sub(now))))
		}
		s.mu.Unlock()
		if err != nil {
			return 0, err
		}
		n, err := s.in.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if draining {
			return 0, errDrained
		}
	}
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
		silent := now.Sub(time.Unix(0, s.link.lastIO.Load())) > time.Duration(s.silence.Load())
		if silent && !s.full.Load() {
			s.end(ErrSilent)
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
			s.end(err)
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

// follow appends, acknowledges and applies the stream until the connection ends. When it returns, everything
// that was appended has been applied, or data and log do not agree any more.
func (s *linkConn) follow(ctx context.Context) error {
	if err := s.beginStream(ctx); err != nil {
		return err
	}
	pos := s.link.node.Position()
	log := pos.Log
	s.primaryWaits(false)
	s.link.read.Store(int64(log.End()))
	s.link.setApplied(log.End())
	s.idle.Store(false)
	s.log.Store(&logBox{log})
	s.acknowledge(log)
	s.link.setState(LinkConnected)
	s.link.cfg.Logger.Info("link to the primary up", "primary", s.link.address(), "offset", int64(log.End()))
	a := startApplier(s, pos)
	err := s.receiveStream(NewFramer(log.End(), pos.DB, s.link.cfg.MaxUnit), log, a)
	// From here on nothing is appended or acknowledged, and whoever watches the link must not wait for the
	// applier to hear that it is down.
	s.close()
	s.link.setLost(err)
	s.link.endReceiving()
	if end := log.End(); ctx.Err() != nil {
		s.link.cfg.Logger.Info("link to the primary ended", "primary", s.link.address(), "offset", int64(end),
			"to_apply", int64(end)-s.link.applied.Load())
	}
	if applyErr := a.finish(); applyErr != nil {
		return applyErr
	}
	return err
}

// receiveStream reads and appends until the connection ends.
func (s *linkConn) receiveStream(sp *Splitter, log Log, a *applier) error {
	var b Batch
	for {
		a.waitRoom()
		room, err := sp.Space()
		if err != nil {
			return err
		}
		n, err := s.readStream(room)
		if n > 0 {
			sp.Advance(n)
			s.link.read.Add(int64(n))
			if takeErr := s.take(sp, &b, log, a); takeErr != nil {
				return takeErr
			}
		}
		if err == nil {
			continue
		}
		s.mu.Lock()
		why := s.mu.why
		s.mu.Unlock()
		switch {
		case errors.Is(err, errDrained) && why != nil:
			return why
		case err == io.EOF:
			return fmt.Errorf("the primary closed the connection: %w", err)
		}
		return fmt.Errorf("reading the stream: %w", err)
	}
}

// take handles the whole units that one read completed. The acknowledgement leaves as soon as the bytes are
// in the log: from there on a crash of this node does not lose them, and applying them is only work.
func (s *linkConn) take(sp *Splitter, b *Batch, log Log, a *applier) error {
	for {
		ok, err := sp.Next(b)
		if err != nil || !ok {
			return err
		}
		if err := s.link.node.Append(b); err != nil {
			return fmt.Errorf("appending the stream at %d: %w", b.Start, err)
		}
		a.more()
		s.acknowledge(log)
	}
}

// acknowledge says what is in the log. If that can't be sent it is no reason to drop what the primary sent
// before: the connection is read to its end.
func (s *linkConn) acknowledge(log Log) {
	if s.mute {
		return
	}
	s.out = appendAck(s.out[:0], log.End(), log.Synced())
	if err := s.write(s.out); err != nil {
		s.mute = true
		s.end(err)
	}
}
