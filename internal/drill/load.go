package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"haypile/internal/resp"
)

const (
	// redialMin and redialMax bound the pause of a client whose connection failed.
	redialMin = 5 * time.Millisecond
	redialMax = 200 * time.Millisecond
	// refusedPause keeps a client that is refused at once from doing nothing but asking again.
	refusedPause = 5 * time.Millisecond
	maxErrorText = 100
)

// load is a running set of writers.
type load struct {
	opt     Options
	began   time.Time
	stop    chan struct{} // closed: finish the write under way and end
	acked   atomic.Int64
	writers []*writer
	wg      sync.WaitGroup
	// firstAfter is when the first write was acknowledged that was sent at safe (since began) or later.
	safe       atomic.Int64
	firstAfter chan struct{}
	once       sync.Once
}

// writer is one client of the load.
type writer struct {
	load   *load
	ledger Ledger
	acks   []Ack
	errors map[string]int // by text
	conn   *resp.Client
}

// startLoad starts the writers; prefix begins all keys.
func startLoad(ctx context.Context, opt Options, prefix string) *load {
	l := &load{opt: opt, began: time.Now(), stop: make(chan struct{}), firstAfter: make(chan struct{})}
	l.safe.Store(int64(1) << 62)
	for i := range opt.Clients {
		w := &writer{load: l, ledger: Ledger{Prefix: fmt.Sprintf("%s:%d", prefix, i)}, errors: map[string]int{}}
		l.writers = append(l.writers, w)
	}
	for _, w := range l.writers {
		l.wg.Go(func() { w.run(ctx) })
	}
	return l
}

// end stops the writers, waits for them and returns when the last one had ended.
func (l *load) end() time.Duration {
	close(l.stop)
	l.wg.Wait()
	return time.Since(l.began)
}

// since is a moment on the load's clock.
func (l *load) since(at time.Time) time.Duration { return at.Sub(l.began) }

func (w *writer) run(ctx context.Context) {
	defer func() {
		if w.conn != nil {
			w.conn.Close()
		}
	}()
	var interval time.Duration
	if w.load.opt.Rate > 0 {
		interval = time.Duration(float64(w.load.opt.Clients) / float64(w.load.opt.Rate) * float64(time.Second))
	}
	next, redial := time.Now(), redialMin
	for !w.stopped(ctx, 0) {
		if w.conn == nil && !w.dial(ctx) {
			if w.stopped(ctx, redial) {
				return
			}
			redial = min(2*redial, redialMax)
			continue
		}
		redial = redialMin
		if interval > 0 {
			if w.stopped(ctx, time.Until(next)) {
				return
			}
			next = next.Add(interval)
			if now := time.Now(); next.Before(now) {
				next = now // what was missed is not made up for
			}
		}
		if w.write(ctx) == Refused && w.stopped(ctx, refusedPause) {
			return
		}
	}
}

// stopped waits; true if the load ends meanwhile.
func (w *writer) stopped(ctx context.Context, pause time.Duration) bool {
	if pause <= 0 {
		select {
		case <-w.load.stop:
			return true
		case <-ctx.Done():
			return true
		default:
			return false
		}
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-w.load.stop:
		return true
	case <-ctx.Done():
		return true
	case <-t.C:
		return false
	}
}

func (w *writer) dial(ctx context.Context) bool {
	c, err := resp.Dial(ctx, w.load.opt.Proxy, w.load.opt.ProxyDial)
	if err != nil {
		w.failed("cannot connect: " + errorText(err))
		return false
	}
	w.conn = c
	return true
}

func (w *writer) failed(text string) { w.errors[text]++ }

// write sends the ledger's next write and enters its outcome.
func (w *writer) write(ctx context.Context) Outcome {
	l := w.load
	cctx, cancel := context.WithTimeout(ctx, l.opt.ReplyTimeout)
	defer cancel()
	sent := time.Since(l.began)
	v, err := w.conn.Do(cctx, w.ledger.Command()...)
	came := time.Since(l.began)
	var reply resp.Error
	if errors.As(err, &reply) {
		err = nil
	}
	o := w.ledger.Reply(v, err)
	switch {
	case err != nil:
		w.failed(errorText(err))
		w.conn.Close()
		w.conn = nil
	case o != Acked:
		w.failed(cutText(v.String()))
	default:
		w.acks = append(w.acks, Ack{sent, came})
		l.acked.Add(1)
		if int64(sent) >= l.safe.Load() {
			l.once.Do(func() { close(l.firstAfter) })
		}
	}
	return o
}

// errorText names a broken connection without addresses, so that equal causes are counted together.
func errorText(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no reply in time"
	}
	return cutText(err.Error())
}

func cutText(s string) string {
	if len(s) > maxErrorText {
		return s[:maxErrorText] + "..."
	}
	return s
}

// clients are the acknowledgements by client. The load has ended.
func (l *load) clients() [][]Ack {
	out := make([][]Ack, len(l.writers))
	for i, w := range l.writers {
		out[i] = w.acks
	}
	return out
}

// failures sums the errors that clients saw. The load has ended.
func (l *load) failures() map[string]int {
	sum := map[string]int{}
	for _, w := range l.writers {
		for text, n := range w.errors {
			sum[text] += n
		}
	}
	return sum
}
