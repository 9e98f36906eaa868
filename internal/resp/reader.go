package resp

import (
	"bytes"
	"fmt"
	"math"
	"sync"

	"haypile/internal/quote"
)

// Limits bound what one client can make a Reader hold. Length lines and inline requests have the same
// bound, as in Redis (PROTO_INLINE_MAX_SIZE).
type Limits struct {
	MaxBulk   int64 // bytes of one argument (proto-max-bulk-len)
	MaxArgs   int   // arguments of one command
	MaxInline int   // bytes of one line without its end

	// Unauthenticated says that the limits are the tight ones of a client that has still to
	// authenticate. What breaks them but would be fine afterwards is refused in those words.
	Unauthenticated bool
}

// DefaultLimits are those of Redis 7.2 for an authenticated client.
func DefaultLimits() Limits {
	return Limits{MaxBulk: 512 << 20, MaxArgs: math.MaxInt32, MaxInline: 64 << 10}
}

// UnauthLimits are those of Redis 7.2 for a client that has still to authenticate.
func UnauthLimits() Limits {
	return Limits{MaxBulk: 16 << 10, MaxArgs: 10, MaxInline: 64 << 10, Unauthenticated: true}
}

// TrustedLimits are those for the stream of a replication link: Redis does not hold its primary to
// proto-max-bulk-len either.
func TrustedLimits() Limits {
	return Limits{MaxBulk: math.MaxInt64, MaxArgs: math.MaxInt32, MaxInline: 64 << 10}
}

// ProtocolError reports input that is not the protocol. The connection can only be closed after it, with
// Reply as its last answer.
type ProtocolError struct {
	Text string // "Protocol error: ..."
}

func (e *ProtocolError) Error() string { return e.Text }

// Reply is the text of the error reply, code word included.
func (e *ProtocolError) Reply() string { return "ERR " + e.Text }

// Command is one parsed command.
type Command struct {
	// Args holds at least one argument. The slice is reused by the next call of Reader.Next; the bytes of
	// its elements stay valid until the next call of Reader.Space, and may be changed (a caller that puts
	// the name in upper case in place changes Raw with it).
	Args [][]byte
	// Raw is the command exactly as received, valid as long as the bytes of Args.
	Raw []byte
	// Inline tells that Raw is a line of text and not an array of bulk strings.
	Inline bool
}

const (
	// pooledSize is the size of the buffers that wait in the pool, and the first size of a Reader's buffer.
	pooledSize = 16 << 10
	// minRead is the free room below which Space makes more: a read of fewer bytes is not worth a system
	// call unless it completes an argument.
	minRead = 2 << 10
	// keepSize is the buffer size that a Reader may keep for good; a larger one is given up after
	// shrinkAfter fillings in a row that used less than a quarter of it.
	keepSize    = 64 << 10
	shrinkAfter = 64
	// keepArgs is the length of the argument slice that an idle Reader may keep; a busy one keeps up to four
	// times that.
	keepArgs = 1024
)

var bufferPool = sync.Pool{New: func() any { return new([pooledSize]byte) }}

// Reader parses commands out of bytes that its owner puts into it. The zero value is not usable; call
// NewReader. The cycle is: read into Space, tell Advance how much it was, call Next until it reports that
// it needs more. A Reader without input holds no buffer after Release.
//
// Parsing is resumed, never repeated: an argument that arrives in a thousand reads is looked at once.
type Reader struct {
	lim Limits
	err *ProtocolError // final

	// buf[pos:end] is received and not yet returned by Next. pos is the first byte of the command in
	// progress; next, scanned and starts count from there, so that moving the data changes only pos.
	buf      []byte
	pos, end int

	next    int      // where parsing goes on
	scanned int      // no line end is in front of this; 0 = not looked yet
	left    int      // arguments of the command in progress that are still to come; 0 = none in progress
	bulk    int64    // length of the argument being received; -1 = its length line is not complete
	args    [][]byte // arguments found so far
	starts  []int    // where each of them begins

	peak     int // most bytes that the buffer held in the last `fillings` fillings
	fillings int
}

// NewReader returns a Reader that holds no buffer yet.
func NewReader(lim Limits) *Reader { return &Reader{lim: lim, bulk: -1} }

// SetLimits changes the limits from the next length line on. They must not be lowered below what the
// command in progress has already announced; raising them is always possible.
func (r *Reader) SetLimits(lim Limits) { r.lim = lim }

// Buffered is the number of bytes received and not yet returned as a command. Bytes that carry no command
// (empty lines, empty arrays) leave it uncounted in any Raw: a replication link computes its position
// from the bytes that it read and Buffered, not from Raw.
func (r *Reader) Buffered() int { return r.end - r.pos }

// InCommand reports whether the received bytes end inside a command.
func (r *Reader) InCommand() bool { return r.end > r.pos }

// Cap is the size of the buffer held, for accounting.
func (r *Reader) Cap() int { return len(r.buf) }

// Release gives the buffer back if nothing is in it; otherwise it does nothing. It invalidates the views of
// earlier commands. The next Space takes a buffer again.
func (r *Reader) Release() {
	if r.end > r.pos {
		return
	}
	r.dropBuffer()
	if cap(r.args) > keepArgs {
		r.args, r.starts = nil, nil
	} else {
		clear(r.args[:cap(r.args)]) // they would keep the buffer alive
	}
}

func (r *Reader) dropBuffer() {
	if len(r.buf) == pooledSize {
		bufferPool.Put((*[pooledSize]byte)(r.buf))
	}
	r.buf = nil
	r.pos, r.end, r.peak, r.fillings = 0, 0, 0, 0
}

// Space returns free room of at least min bytes, and of a useful size whatever min is, to read into. It
// may move or replace the buffer: views of earlier commands are invalid from here on. The buffer grows as
// data arrives, at most doubling, never because a length line announces much.
func (r *Reader) Space(min int) []byte {
	if min < 1 {
		min = 1
	}
	if r.pos == r.end {
		r.rewind()
	}
	missing := minRead
	if r.left > 0 && r.bulk >= 0 {
		// At least one byte is missing, else Next would have taken the argument.
		if m := r.bulk + 2 - int64(r.end-r.pos-r.next); m > 0 && m < minRead {
			missing = int(m)
		}
	}
	if missing < min {
		missing = min
	}
	if len(r.buf)-r.end < missing {
		r.makeRoom(missing)
	}
	return r.buf[r.end:]
}

// rewind starts the empty buffer again at its front, and gives up one that is much too large.
func (r *Reader) rewind() {
	r.peak = max(r.peak, r.end)
	r.pos, r.end = 0, 0
	if len(r.buf) <= keepSize {
		return
	}
	if r.fillings++; r.fillings < shrinkAfter {
		return
	}
	if r.peak < len(r.buf)/4 {
		r.dropBuffer()
	}
	r.peak, r.fillings = 0, 0
}

// makeRoom moves the data to the front of the buffer, or of a larger one, so that room bytes are free.
func (r *Reader) makeRoom(room int) {
	held := r.end - r.pos
	if held <= len(r.buf)/2 && len(r.buf)-held >= room {
		copy(r.buf, r.buf[r.pos:r.end])
		r.moved(r.buf)
		return
	}
	size := max(2*len(r.buf), pooledSize)
	if r.left > 0 && r.bulk >= 0 {
		// No further than the argument in progress needs, plus room for what follows it.
		if want := int64(r.next) + r.bulk + 2 + minRead; want < int64(size) {
			size = max(int(want), pooledSize)
		}
	}
	size = max(size, held+room)
	var to []byte
	if size == pooledSize {
		to = bufferPool.Get().(*[pooledSize]byte)[:]
	} else {
		to = make([]byte, size)
	}
	copy(to, r.buf[r.pos:r.end])
	if len(r.buf) == pooledSize {
		bufferPool.Put((*[pooledSize]byte)(r.buf))
	}
	r.moved(to)
}

// moved takes over buf, which holds the data from its front on, and repeats the views of the command in
// progress there.
func (r *Reader) moved(buf []byte) {
	r.buf = buf
	r.end -= r.pos
	r.pos = 0
	if r.left == 0 {
		return
	}
	for i, s := range r.starts {
		e := s + len(r.args[i])
		r.args[i] = buf[s:e:e]
	}
}

// Advance tells that n bytes were read into the room that Space returned.
func (r *Reader) Advance(n int) {
	if n < 0 || n > len(r.buf)-r.end {
		panic(fmt.Sprintf("resp: Reader.Advance(%d) with %d bytes of room", n, len(r.buf)-r.end))
	}
	r.end += n
}

// Next returns the next complete command. It reports false without an error when more bytes are needed,
// and a *ProtocolError, from then on always the same, when the input cannot be understood. Empty lines and
// empty or null arrays are passed over.
func (r *Reader) Next() (Command, bool, error) {
	if r.err != nil {
		return Command{}, false, r.err
	}
	for r.end > r.pos {
		if r.left == 0 {
			if r.buf[r.pos] != '*' {
				cmd, found, more := r.inline()
				if found || !more {
					return cmd, found, r.final()
				}
				continue
			}
			n, ok := r.length(r.buf[r.pos:r.end], 0, kindArray)
			if !ok {
				return Command{}, false, r.final()
			}
			if n <= 0 {
				r.pos += r.next
				r.next = 0
				continue
			}
			r.begin(int(n))
		}
		if !r.bulks() {
			return Command{}, false, r.final()
		}
		raw := r.buf[r.pos : r.pos+r.next : r.pos+r.next]
		r.pos += r.next
		r.next = 0
		return Command{Args: r.args, Raw: raw}, true, nil
	}
	return Command{}, false, nil
}

// final is r.err as an interface that is nil if there is none.
func (r *Reader) final() error {
	if r.err != nil {
		return r.err
	}
	return nil
}

func (r *Reader) fail(text string) { r.err = &ProtocolError{Text: "Protocol error: " + text} }

// begin starts a command of n arguments. Room for them is made as they arrive.
func (r *Reader) begin(n int) {
	r.left, r.bulk = n, -1
	if cap(r.args) > 4*keepArgs && n <= keepArgs {
		r.args, r.starts = nil, nil
	}
	r.args, r.starts = r.args[:0], r.starts[:0]
}

// bulks reads the arguments of the command in progress as far as they are there, and reports whether that
// was all of them.
func (r *Reader) bulks() bool {
	b := r.buf[r.pos:r.end]
	args, starts, left, bulk, i := r.args, r.starts, r.left, r.bulk, r.next
	for left > 0 {
		if bulk < 0 {
			n, ok := r.length(b, i, kindBulk)
			if !ok {
				break
			}
			bulk, i = n, r.next
		}
		if bulk > int64(len(b)-i-2) {
			break
		}
		e := i + int(bulk)
		args, starts = append(args, b[i:e:e]), append(starts, i)
		i, bulk = e+2, -1
		left--
	}
	r.args, r.starts, r.left, r.bulk, r.next = args, starts, left, bulk, i
	return left == 0
}

// The two length lines of a command.
type lineKind struct {
	marker          byte
	tooBig, invalid string
	unauthenticated string
}

var (
	kindArray = &lineKind{'*', "too big mbulk count string", "invalid multibulk length",
		"unauthenticated multibulk length"}
	kindBulk = &lineKind{'$', "too big bulk count string", "invalid bulk length",
		"unauthenticated bulk length"}
)

// length reads the length line that begins at b[i] and sets r.next behind it. It reports false if the line
// is not complete or not valid; then r.err is set.
func (r *Reader) length(b []byte, i int, kind *lineKind) (int64, bool) {
	if len(b)-i >= 4 && b[i] == kind.marker {
		// Nearly every length line is one, two or three digits. What is not this plain takes the slow way.
		n := int64(b[i+1]) - '0'
		if uint64(n) <= 9 {
			j := i + 2
			for j < len(b)-1 && j < i+10 && n != 0 {
				d := int64(b[j]) - '0'
				if uint64(d) > 9 {
					break
				}
				n = n*10 + d
				j++
			}
			if j < len(b)-1 && b[j] == '\r' && r.within(n, kind) {
				r.next, r.scanned = j+2, 0
				return n, true
			}
		}
	}
	return r.lengthSlow(b, i, kind)
}

func (r *Reader) within(n int64, kind *lineKind) bool {
	if kind == kindArray {
		return n <= int64(r.lim.MaxArgs)
	}
	return n <= r.lim.MaxBulk
}

func (r *Reader) lengthSlow(b []byte, i int, kind *lineKind) (int64, bool) {
	eol := r.lineEnd(b, i, '\r', kind.tooBig)
	if eol < 0 || eol+1 >= len(b) {
		return 0, false
	}
	r.scanned = 0
	if b[i] != kind.marker { // cannot be of an array: its first byte was looked at before
		r.fail(fmt.Sprintf("expected '$', got '%c'", printable(b[i])))
		return 0, false
	}
	n, ok := ParseInt(b[i+1 : eol])
	switch {
	case !ok, kind == kindBulk && n < 0:
		r.fail(kind.invalid)
	case r.within(n, kind):
		r.next = eol + 2
		return n, true
	case r.lim.Unauthenticated && n <= r.ceiling(kind):
		r.fail(kind.unauthenticated)
	default:
		r.fail(kind.invalid)
	}
	return 0, false
}

// ceiling is what an authenticated client may do at most, to word the refusal of one that is not.
func (r *Reader) ceiling(kind *lineKind) int64 {
	if kind == kindArray {
		return int64(DefaultLimits().MaxArgs)
	}
	return DefaultLimits().MaxBulk
}

// printable is c, or a space where c would break the line of the error reply.
func printable(c byte) rune {
	if c == '\r' || c == '\n' {
		return ' '
	}
	return rune(c)
}

// lineEnd finds the byte that ends the line beginning at b[i]. It returns -1 if that has not arrived, with
// r.err set if the line is longer than allowed.
func (r *Reader) lineEnd(b []byte, i int, end byte, tooBig string) int {
	from := max(i, r.scanned)
	eol := bytes.IndexByte(b[from:], end)
	length := len(b) - i
	if eol >= 0 {
		eol += from
		length = eol - i
	} else {
		r.scanned = len(b)
	}
	if length > r.lim.MaxInline {
		r.fail(tooBig)
		return -1
	}
	return eol
}

// inline takes one inline request. more tells that nothing was found because the line was empty.
func (r *Reader) inline() (cmd Command, found, more bool) {
	b := r.buf[r.pos:r.end]
	eol := r.lineEnd(b, 0, '\n', "too big inline request")
	if eol < 0 {
		return Command{}, false, false
	}
	r.scanned = 0
	line := b[:eol]
	if eol > 0 && b[eol-1] == '\r' {
		line = b[:eol-1]
	}
	args, ok := quote.AppendSplit(r.args[:0], line)
	if !ok {
		r.fail("unbalanced quotes in request")
		return Command{}, false, false
	}
	r.args = args
	r.pos += eol + 1
	if len(args) == 0 {
		return Command{}, false, true
	}
	return Command{Args: args, Raw: b[: eol+1 : eol+1], Inline: true}, true, false
}
