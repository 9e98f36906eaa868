package resp

import (
	"errors"
	"fmt"
)

// A long reply should not stand in memory as a whole. Its command is run up to three times: as an Attempt, which is
// given up once the reply has outgrown a bound; if the length of an aggregate is found out only at its end (Defer), once
// more to Count, which keeps nothing; and then to Stream, which sends what there is whenever that is a part's worth. So
// all three must produce the same reply: the caller sees to it that the command reads the same data.

// writerMode is what a Writer does when its reply passes the limit.
type writerMode uint8

const (
	modeWhole   writerMode = iota // nothing: there is no limit
	modeAttempt                   // it is given up
	modeCount                     // what there is is forgotten
	modeStream                    // what there is is sent
)

// ErrLong says that a reply has outgrown the bound of an Attempt.
var ErrLong = errors.New("the reply is longer than its bound")

// errChanged says that an aggregate has another length than was promised.
var errChanged = errors.New("the reply is not what it was when it was counted")

// bounds are what a Writer knows of a bounded reply.
type bounds struct {
	mode  writerMode
	limit int // length of Buf from which on something is done; 0: none
	part  int // bytes of a part
	from  int // where in Buf the reply begins
	err   error
	// deferred: the length of some aggregate was not known when it began.
	deferred bool
	// counted are the aggregates that Defer began, in order; next is the next one to begin.
	counted []header
	next    int
	// open counts aggregates that wait for their length: nothing can be sent meanwhile.
	open int
	send func([]byte) error // of Stream
	more func() error       // of Count
	sent int64
}

// header is the beginning of an aggregate.
type header struct {
	marker byte // 0: the aggregate was dropped
	n      int
}

// Attempt bounds the reply that follows: one of more than limit bytes is given up, and Err is ErrLong from then on.
func (w *Writer) Attempt(limit int) {
	b := &w.bounds
	b.mode, b.from, b.limit, b.err, b.deferred = modeAttempt, len(w.Buf), len(w.Buf)+limit, nil, false
}

// Count makes the Writer forget the reply that follows but for the lengths of its aggregates, for Stream. It asks more
// now and then whether to go on. REQUIRES: Buf is empty.
func (w *Writer) Count(part int, more func() error) {
	w.bounds = bounds{mode: modeCount, limit: part, part: part, more: more, deferred: w.bounds.deferred}
}

// Stream makes the Writer send the reply that follows in parts of about so many bytes; what is left of it in Buf at the
// end is the caller's to send. REQUIRES: Buf is empty.
func (w *Writer) Stream(part int, send func([]byte) error) {
	counted := w.bounds.counted
	w.bounds = bounds{mode: modeStream, limit: part, part: part, send: send, counted: counted}
}

// Whole ends Attempt, Count or Stream: replies have no limit.
func (w *Writer) Whole() {
	b := &w.bounds
	if b.mode == modeCount || b.mode == modeStream {
		*b = bounds{}
		return
	}
	b.mode, b.limit, b.err = modeWhole, 0, nil
}

// Err is why what is appended goes nowhere, nil if it does not. It stays until the next call of Attempt, Count, Stream or
// Whole. A command need not look at it, but should not go on for long.
func (w *Writer) Err() error { return w.bounds.err }

// ErrAt is where Err stands.
func (w *Writer) ErrAt() *error { return &w.bounds.err }

// Deferred reports whether, since Attempt, an aggregate began whose length was not known.
func (w *Writer) Deferred() bool { return w.bounds.deferred }

// Sent is the number of bytes of the reply that Stream has sent.
func (w *Writer) Sent() int64 { return w.bounds.sent }

// full reports whether check has something to do.
func (w *Writer) full() bool { return w.bounds.limit != 0 && len(w.Buf) > w.bounds.limit }

// pass is what happens at the limit.
func (w *Writer) pass() {
	b := &w.bounds
	switch {
	case b.err != nil:
		w.Buf = w.Buf[:b.from]
	case b.mode == modeAttempt:
		b.err = ErrLong
		w.Buf = w.Buf[:b.from]
	case b.mode == modeCount:
		b.err = b.more()
		w.Buf = w.Buf[:b.from]
	case b.open == 0:
		w.sendNow(w.Buf)
		w.Buf = w.Buf[:0]
	}
}

func (w *Writer) sendNow(p []byte) {
	b := &w.bounds
	b.sent += int64(len(p))
	b.err = b.send(p)
}

// large appends a string of a part's size and more, or does at once what its bytes would lead to.
func (w *Writer) large(p []byte) {
	b := &w.bounds
	switch {
	case b.err != nil || b.mode == modeCount:
	case b.mode == modeAttempt && len(w.Buf)+len(p) > b.limit:
		w.pass()
	case b.mode == modeStream && b.open == 0:
		w.Buf = appendHeader(w.Buf, '$', int64(len(p)))
		w.sendNow(w.Buf)
		for len(p) > 0 && b.err == nil {
			n := min(len(p), max(b.part, largeBulk))
			w.sendNow(p[:n])
			p = p[n:]
		}
		w.Buf = append(w.Buf[:0], '\r', '\n')
	default:
		w.Buf = AppendBulk(w.Buf, p)
	}
}

// begin is Defer in a bounded reply: it reports whether the header could be appended.
func (w *Writer) begin(a *Aggregate) bool {
	b := &w.bounds
	switch b.mode {
	case modeAttempt:
		b.deferred = true
	case modeCount:
		b.counted = append(b.counted, header{})
		a.number = len(b.counted)
	case modeStream:
		if b.next < len(b.counted) {
			a.promised = b.counted[b.next]
			b.next++
		}
		if a.promised.marker != 0 {
			w.Buf = appendHeader(w.Buf, a.promised.marker, int64(a.promised.n))
			return true
		}
		b.open++
		a.held = true
	}
	return false
}

// ended is end in a bounded reply: it reports whether the header has still to be put in.
func (w *Writer) ended(a Aggregate, is header) bool {
	b := &w.bounds
	switch {
	case b.err != nil:
		return false
	case a.number > 0:
		b.counted[a.number-1] = is
		return false
	case b.mode == modeCount:
		return false
	case a.promised.marker != 0:
		if a.promised != is {
			b.err = fmt.Errorf("%w: %d elements, %d were promised", errChanged, is.n, a.promised.n)
		}
		return false
	}
	if a.held {
		b.open--
	}
	return true
}
