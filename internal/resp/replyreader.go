package resp

import (
	"bytes"
	"io"
	"math"
	"slices"
	"strconv"
)

const (
	replyBuffer = 16 << 10
	// readDirect is the size from which the rest of a string is read to where it belongs, past the buffer,
	// and the least room that such a read is given.
	readDirect = 32 << 10
)

// ReplyReader reads replies from a connection, decoded (ReadValue) or as exact bytes (ReadRaw). It reads
// ahead. Where something else than replies follows on the connection (the payload of a full
// synchronisation, the replication stream), go on with Read or ReadLine, which begin with what was read
// ahead.
//
// After an error nothing more can be read: the position in the stream is lost.
type ReplyReader struct {
	rd       io.Reader
	lim      ReplyLimits
	buf      []byte // buf[pos:end] is read ahead
	pos, end int
	scan     scanner
	err      error // final
}

// NewReplyReader returns a reader with the default limits.
func NewReplyReader(r io.Reader) *ReplyReader {
	return &ReplyReader{rd: r, lim: DefaultReplyLimits(), buf: make([]byte, replyBuffer)}
}

// SetLimits changes the limits from the next reply on.
func (r *ReplyReader) SetLimits(lim ReplyLimits) { r.lim = lim }

// Buffered is the number of bytes read ahead. If it is positive a reply may be there without waiting.
func (r *ReplyReader) Buffered() int { return r.end - r.pos }

// Read reads what follows, beginning with what was read ahead.
func (r *ReplyReader) Read(p []byte) (int, error) {
	if r.end > r.pos {
		n := copy(p, r.buf[r.pos:r.end])
		r.pos += n
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	return r.rd.Read(p)
}

// ReadLine reads one line and returns it without its end, CR LF or LF alone (a primary that prepares a full
// synchronisation sends empty lines of the second kind to show that it lives). The line is valid until the
// next call.
func (r *ReplyReader) ReadLine() ([]byte, error) {
	for looked := 0; ; {
		b := r.buf[r.pos:r.end]
		if i := bytes.IndexByte(b[looked:], '\n'); i >= 0 {
			i += looked
			r.pos += i + 1
			if i > 0 && b[i-1] == '\r' {
				i--
			}
			return b[:i], nil
		}
		if looked = len(b); looked > maxLine {
			return nil, r.fail(replyError("line too long"))
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// ReadRaw appends the exact bytes of one reply to dst. It does not decode them; of a large string it reads
// the rest directly into dst, which grows as data arrives. Attributes go with the reply behind them. If it
// fails, what it returns ends somewhere inside the reply.
func (r *ReplyReader) ReadRaw(dst []byte) ([]byte, error) { return r.ReadRawParts(dst, 0, nil) }

// ReadRawParts is ReadRaw, but it asks take whenever dst has grown to part bytes: take returns what to go on with, which
// is dst, if the reply is to be kept whole so far, or something empty, if it has taken dst. What is returned at the end is
// what was not taken.
func (r *ReplyReader) ReadRawParts(dst []byte, part int, take func([]byte) []byte) ([]byte, error) {
	from := len(dst)
	dst, err := r.raw(dst, part, take)
	if err == io.EOF && len(dst) > from {
		r.err = io.ErrUnexpectedEOF
		err = r.err
	}
	return dst, err
}

func (r *ReplyReader) raw(dst []byte, part int, take func([]byte) []byte) ([]byte, error) {
	r.scan.reset(r.lim)
	for {
		n, done, err := r.scan.scan(r.buf[r.pos:r.end])
		dst = append(dst, r.buf[r.pos:r.pos+n]...)
		r.pos += n
		if err != nil {
			return dst, r.fail(err)
		}
		if done {
			return dst, nil
		}
		if part > 0 && len(dst) >= part {
			dst = take(dst)
		}
		if r.pos == r.end && r.scan.bulk >= readDirect {
			n := r.scan.bulk
			if part > 0 {
				n = min(n, int64(max(part, readDirect)))
			}
			if dst, err = r.appendDirect(dst, n); err != nil {
				return dst, err
			}
			r.scan.total += n
			r.scan.bulk -= n
			continue
		}
		if err := r.fill(); err != nil {
			return dst, err
		}
	}
}

// appendDirect appends the next n bytes of the connection to dst; nothing may be read ahead. The capacity
// grows with what arrives: at most the size reached so far, or readDirect, is made room for at a time.
func (r *ReplyReader) appendDirect(dst []byte, n int64) ([]byte, error) {
	if r.err != nil {
		return dst, r.err
	}
	for n > 0 {
		if free := cap(dst) - len(dst); free < readDirect && int64(free) < n {
			dst = slices.Grow(dst, int(min(n, int64(max(len(dst), readDirect)))))
		}
		room := dst[len(dst):cap(dst)]
		room = room[:min(int64(len(room)), n)]
		got, err := io.ReadAtLeast(r.rd, room, 1)
		dst = dst[:len(dst)+got]
		n -= int64(got)
		if err != nil {
			return dst, r.fail(unexpected(err))
		}
	}
	return dst, nil
}

// ReadValue reads and decodes one reply. Attributes are read and dropped.
func (r *ReplyReader) ReadValue() (Value, error) {
	budget := r.lim.MaxBytes
	v, err := r.value(0, &budget)
	if err == io.EOF && budget < r.lim.MaxBytes {
		r.err = io.ErrUnexpectedEOF
		err = r.err
	}
	return v, err
}

func (r *ReplyReader) value(depth int, budget *int64) (Value, error) {
	line, err := r.line(budget)
	if err != nil {
		return Value{}, err
	}
	if v, ok, err := scalar(line); ok || err != nil {
		if err != nil {
			err = r.fail(err)
		}
		return v, err
	}
	marker := line[0]
	size, class, err := replyLength(line, r.lim.MaxBulk)
	switch {
	case err != nil:
		return Value{}, r.fail(err)
	case class == lengthString:
		return r.text(marker, size, budget)
	case class == lengthNull && marker == '$':
		return Value{Kind: KindNull}, nil
	case class == lengthNull:
		return Value{Kind: KindNullArray}, nil
	case depth >= r.lim.MaxDepth:
		return Value{}, r.fail(replyError("reply nested too deeply"))
	}
	if marker == '|' {
		for range size - 1 {
			if _, err := r.value(depth+1, budget); err != nil {
				return Value{}, err
			}
		}
		return r.value(depth+1, budget)
	}
	// The announced size is a hint only until the elements are there.
	v := Value{Kind: aggregateKind(marker), Elems: make([]Value, 0, min(size, 1024))}
	for range size {
		e, err := r.value(depth+1, budget)
		if err != nil {
			return Value{}, err
		}
		v.Elems = append(v.Elems, e)
	}
	return v, nil
}

func aggregateKind(marker byte) Kind {
	switch marker {
	case '%':
		return KindMap
	case '~':
		return KindSet
	case '>':
		return KindPush
	}
	return KindArray
}

// scalar decodes a reply that is one line. It reports false if the line announces a string or elements.
func scalar(line []byte) (Value, bool, error) {
	text := line[1:]
	switch line[0] {
	case '+':
		return Value{Kind: KindSimpleString, Str: slices.Clone(text)}, true, nil
	case '-':
		return Value{Kind: KindError, Str: slices.Clone(text)}, true, nil
	case '(':
		return Value{Kind: KindBigNumber, Str: slices.Clone(text)}, true, nil
	case '_':
		return Value{Kind: KindNull}, true, nil
	case ':':
		digits := text
		if len(digits) > 1 && digits[0] == '+' {
			digits = digits[1:]
		}
		if n, ok := ParseInt(digits); ok {
			return Value{Kind: KindInt, Int: n}, true, nil
		}
	case '#':
		if len(text) == 1 && (text[0] == 't' || text[0] == 'f') {
			v := Value{Kind: KindBool}
			if text[0] == 't' {
				v.Int = 1
			}
			return v, true, nil
		}
	case ',':
		if s := string(text); s == "nan" || s == "-nan" {
			return Value{Kind: KindDouble, Num: math.NaN()}, true, nil
		}
		if f, ok := ParseFloat(text); ok {
			return Value{Kind: KindDouble, Num: f}, true, nil
		}
	default:
		return Value{}, false, nil
	}
	return Value{}, false, replyError("invalid reply " + quoted(line))
}

// text decodes a string of size bytes.
func (r *ReplyReader) text(marker byte, size int64, budget *int64) (Value, error) {
	if size > *budget-2 {
		return Value{}, r.fail(replyError("reply too large"))
	}
	*budget -= size + 2
	var s []byte
	if have := r.end - r.pos; size <= int64(have) {
		s = append(make([]byte, 0, size), r.buf[r.pos:r.pos+int(size)]...)
		r.pos += int(size)
	} else {
		s = append(make([]byte, 0, min(size, readDirect)), r.buf[r.pos:r.end]...)
		r.pos = r.end
		var err error
		if s, err = r.appendDirect(s, size-int64(len(s))); err != nil {
			return Value{}, err
		}
	}
	for r.end-r.pos < 2 {
		if err := r.fill(); err != nil {
			return Value{}, err
		}
	}
	if r.buf[r.pos] != '\r' || r.buf[r.pos+1] != '\n' {
		return Value{}, r.fail(replyError("string longer than announced"))
	}
	r.pos += 2
	switch marker {
	case '!':
		return Value{Kind: KindError, Str: s}, nil
	case '=':
		if len(s) < 4 || s[3] != ':' {
			return Value{}, r.fail(replyError("verbatim string without format"))
		}
		return Value{Kind: KindVerbatim, Str: s[4:]}, nil
	}
	return Value{Kind: KindBulk, Str: s}, nil
}

// line reads one line of a reply. It is valid until more is read.
func (r *ReplyReader) line(budget *int64) ([]byte, error) {
	for {
		line, n, err := cutLine(r.buf[r.pos:r.end])
		if err != nil {
			return nil, r.fail(err)
		}
		if n > 0 {
			r.pos += n
			if *budget -= int64(n); *budget < 0 {
				return nil, r.fail(replyError("reply too large"))
			}
			return line, nil
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads at least one byte more. The buffer grows only for a line that is longer than it.
func (r *ReplyReader) fill() error {
	if r.err != nil {
		return r.err
	}
	held := copy(r.buf, r.buf[r.pos:r.end])
	r.pos, r.end = 0, held
	if held == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := io.ReadAtLeast(r.rd, r.buf[held:], 1)
	r.end += n
	if err != nil {
		if held > 0 {
			err = unexpected(err)
		}
		return r.fail(err)
	}
	return nil
}

// fail makes err final.
func (r *ReplyReader) fail(err error) error {
	if r.err == nil {
		r.err = err
	}
	return r.err
}

// unexpected is err, or io.ErrUnexpectedEOF for an end inside a reply.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func quoted(b []byte) string {
	if len(b) > 32 {
		b = b[:32]
	}
	return strconv.Quote(string(b))
}
