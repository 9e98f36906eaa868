package resp

import (
	"bytes"
	"math"
)

// ReplyLimits bound what a peer can make a ReplyReader hold.
type ReplyLimits struct {
	MaxBulk  int64 // bytes of one string
	MaxBytes int64 // bytes of one reply
	MaxDepth int   // aggregates inside each other
}

// DefaultReplyLimits leave room for every reply of a server with default limits.
func DefaultReplyLimits() ReplyLimits {
	return ReplyLimits{MaxBulk: 512 << 20, MaxBytes: 4 << 30, MaxDepth: 128}
}

// maxLine bounds a line of a reply: a status, an error, a number, a length.
const maxLine = 1 << 20

// replyError reports a reply that is not the protocol.
func replyError(what string) error { return &ProtocolError{Text: "Protocol error: " + what} }

// scanner finds the end of one reply without decoding it. It is a state machine over pieces of input: what
// it consumed is never looked at again, and all that it keeps is how many elements are still open.
type scanner struct {
	lim   ReplyLimits
	open  []int64 // elements to come in each open aggregate, outermost first
	bulk  int64   // bytes to come of a string; -1 = not in one
	total int64   // bytes consumed
}

func (s *scanner) reset(lim ReplyLimits) {
	s.lim = lim
	s.open = append(s.open[:0], 1) // the reply itself
	s.bulk = -1
	s.total = 0
}

// scan consumes as much of b as it can and reports whether that ends the reply. What is left over is the
// beginning of a line or of the CR LF behind a string, and must be offered again with more behind it.
func (s *scanner) scan(b []byte) (n int, done bool, err error) {
	for !done {
		var used int
		if s.bulk >= 0 {
			used, done, err = s.inBulk(b[n:])
		} else {
			used, done, err = s.line(b[n:])
		}
		n += used
		s.total += int64(used)
		if err != nil || used == 0 {
			return n, false, err
		}
		if max(s.bulk, 0) > s.lim.MaxBytes-s.total {
			return n, false, replyError("reply too large")
		}
	}
	return n, true, nil
}

// inBulk consumes bytes of a string, and with the last of them the CR LF behind it.
func (s *scanner) inBulk(b []byte) (n int, done bool, err error) {
	if int64(len(b))-2 < s.bulk {
		n = int(min(int64(len(b)), s.bulk))
		s.bulk -= int64(n)
		return n, false, nil
	}
	n = int(s.bulk) + 2
	if b[n-2] != '\r' || b[n-1] != '\n' {
		return 0, false, replyError("string longer than announced")
	}
	s.bulk = -1
	return n, s.element(), nil
}

// line consumes one line.
func (s *scanner) line(b []byte) (n int, done bool, err error) {
	line, n, err := cutLine(b)
	if n == 0 || err != nil {
		return 0, false, err
	}
	switch line[0] {
	case '+', '-', ':', ',', '#', '(', '_':
		return n, s.element(), nil
	}
	size, class, err := replyLength(line, s.lim.MaxBulk)
	if err != nil {
		return 0, false, err
	}
	switch class {
	case lengthString:
		s.bulk = size
		return n, false, nil
	case lengthElements:
		if size == 0 {
			return n, s.element(), nil
		}
		if len(s.open) > s.lim.MaxDepth {
			return 0, false, replyError("reply nested too deeply")
		}
		s.open = append(s.open, size)
		return n, false, nil
	}
	return n, s.element(), nil // null
}

// element counts one complete element, and the aggregates that it completes. It reports whether it was the
// reply itself.
func (s *scanner) element() bool {
	for i := len(s.open) - 1; i >= 0; i-- {
		if s.open[i]--; s.open[i] > 0 {
			s.open = s.open[:i+1]
			return false
		}
	}
	s.open = s.open[:0]
	return true
}

// RawElements appends to dst the exact bytes of each element of an aggregate reply, as views into raw, which
// is one whole reply as ReadRaw gives it; of a map keys and values alternate. It is how replies of several
// servers are made one without decoding them. A reply that is no aggregate, and one behind an attribute, is
// an error.
func RawElements(dst [][]byte, raw []byte) ([][]byte, error) {
	line, i, err := cutLine(raw)
	if err != nil || i == 0 {
		return dst, replyError("incomplete reply")
	}
	n, class, err := replyLength(line, math.MaxInt64)
	if err != nil || class != lengthElements || line[0] == '|' {
		return dst, replyError("no aggregate in " + quoted(line))
	}
	s := scanner{}
	for range n {
		s.reset(ReplyLimits{MaxBulk: math.MaxInt64, MaxBytes: math.MaxInt64, MaxDepth: math.MaxInt})
		used, done, err := s.scan(raw[i:])
		if err != nil || !done {
			return dst, replyError("incomplete reply")
		}
		dst = append(dst, raw[i:i+used:i+used])
		i += used
	}
	if i != len(raw) {
		return dst, replyError("more than one reply")
	}
	return dst, nil
}

// cutLine returns the first line of b without its end, and its length with it; 0 if it is not complete.
func cutLine(b []byte) (line []byte, n int, err error) {
	eol := bytes.IndexByte(b, '\n')
	switch {
	case eol < 0 && len(b) > maxLine, eol > maxLine:
		return nil, 0, replyError("line too long")
	case eol < 0:
		return nil, 0, nil
	case eol < 2 || b[eol-1] != '\r':
		return nil, 0, replyError("line without CR LF")
	}
	return b[:eol-1], eol + 1, nil
}

type lengthClass uint8

const (
	lengthNull lengthClass = iota
	lengthString
	lengthElements
)

// replyLength reads a line that announces a string or elements. An attribute counts as its keys and values
// together with the one reply that it belongs to and that follows it.
func replyLength(line []byte, maxBulk int64) (int64, lengthClass, error) {
	class := lengthElements
	switch line[0] {
	case '$', '!', '=':
		class = lengthString
	case '*', '~', '>', '%', '|':
	default:
		return 0, 0, replyError("unknown reply type in " + quoted(line))
	}
	n, ok := ParseInt(line[1:])
	switch {
	case n == -1 && (line[0] == '$' || line[0] == '*'):
		return 0, lengthNull, nil
	case !ok, n < 0:
		return 0, 0, replyError("invalid length in " + quoted(line))
	case class == lengthString && n > maxBulk:
		return 0, 0, replyError("string too large")
	case class == lengthElements && n > maxElements:
		return 0, 0, replyError("too many elements")
	case line[0] == '%':
		n *= 2
	case line[0] == '|':
		n = 2*n + 1
	}
	return n, class, nil
}

// maxElements bounds one aggregate; it is what a Redis server can send.
const maxElements = 1<<32 - 1
