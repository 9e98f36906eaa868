// Package wire is the RESP client of the tests: strict, complete for RESP2 and RESP3, and independent of
// package resp on purpose. A reader and a writer that share a mistake agree with each other; a second
// implementation, checked against the reference server, does not share it.
//
// A Conn belongs to one goroutine. Every read and write has a deadline (Conn.Timeout).
package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Kind is the type byte of a RESP value, with three values of our own for what has no byte.
type Kind byte

// The kinds. NullBulk and NullArray are RESP2's two nulls, which RESP3's Null replaces.
const (
	Simple    Kind = '+'
	Error     Kind = '-'
	Int       Kind = ':'
	Bulk      Kind = '$'
	Array     Kind = '*'
	Null      Kind = '_'
	Bool      Kind = '#'
	Double    Kind = ','
	BigNumber Kind = '('
	BulkError Kind = '!'
	Verbatim  Kind = '='
	Map       Kind = '%'
	Set       Kind = '~'
	Push      Kind = '>'
	Attribute Kind = '|'
	NullBulk  Kind = 'n'
	NullArray Kind = 'N'
	// Closed stands for the end of the connection where a value was expected.
	Closed Kind = 'c'
)

// Value is one decoded value, with everything the wire said. Str holds the text of Simple, Error, Bulk,
// BulkError, Verbatim (with its "txt:" prefix), BigNumber and Double (as written by the server). Elems
// holds the elements of aggregates; of a Map or Attribute keys and values alternate.
type Value struct {
	Kind  Kind
	Str   string
	Int   int64 // Int; Bool as 0 or 1
	Elems []Value
}

// maxLen bounds the lengths that a test accepts from a server: more is a framing error.
const maxLen = 1 << 30

// IsNull reports whether v is one of the three nulls.
func (v Value) IsNull() bool { return v.Kind == Null || v.Kind == NullBulk || v.Kind == NullArray }

// IsError reports whether v is an error reply.
func (v Value) IsError() bool { return v.Kind == Error || v.Kind == BulkError }

// Err returns an error reply as an error.
func (v Value) Err() error {
	if v.IsError() {
		return ReplyError(v.Str)
	}
	return nil
}

// ReplyError is an error reply of the server, as opposed to a failure of the connection.
type ReplyError string

func (e ReplyError) Error() string { return string(e) }

// String is a short rendering for messages of tests.
func (v Value) String() string {
	switch v.Kind {
	case Int:
		return strconv.FormatInt(v.Int, 10)
	case Bool:
		return strconv.FormatBool(v.Int == 1)
	case Null, NullBulk, NullArray:
		return "(nil)"
	case Closed:
		return "(closed)"
	case Array, Set, Push, Map, Attribute:
		var b strings.Builder
		b.WriteByte(byte(v.Kind))
		b.WriteByte('[')
		for i, e := range v.Elems {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(e.String())
		}
		b.WriteByte(']')
		return b.String()
	case Error:
		return "-" + v.Str
	}
	return v.Str
}

// Conn is one client connection.
type Conn struct {
	// Timeout bounds every single write and read; Dial sets 10 s.
	Timeout time.Duration
	nc      net.Conn
	br      *bufio.Reader
	out     []byte
}

// Dial connects to host:port.
func Dial(addr string) (*Conn, error) {
	const timeout = 10 * time.Second
	nc, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return &Conn{Timeout: timeout, nc: nc, br: bufio.NewReaderSize(nc, 32<<10)}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.nc.Close() }

// LocalAddr is the address of this end, as CLIENT LIST prints it.
func (c *Conn) LocalAddr() string { return c.nc.LocalAddr().String() }

// AppendCommand appends the RESP form of a command.
func AppendCommand(dst []byte, args ...string) []byte {
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(len(args)), 10)
	dst = append(dst, '\r', '\n')
	for _, a := range args {
		dst = append(dst, '$')
		dst = strconv.AppendInt(dst, int64(len(a)), 10)
		dst = append(dst, '\r', '\n')
		dst = append(dst, a...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// Send writes one command without reading its reply.
func (c *Conn) Send(args ...string) error {
	c.out = AppendCommand(c.out[:0], args...)
	return c.SendRaw(c.out)
}

// SendRaw writes bytes as they are.
func (c *Conn) SendRaw(p []byte) error {
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(p)
	return err
}

// Do sends one command and reads one value. A reply that is an error is a value, not an error.
func (c *Conn) Do(args ...string) (Value, error) {
	if err := c.Send(args...); err != nil {
		return Value{}, err
	}
	return c.Read()
}

// Must is Do for commands that are expected to succeed: an error reply is returned as a ReplyError.
func (c *Conn) Must(args ...string) (Value, error) {
	v, err := c.Do(args...)
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		return v, fmt.Errorf("%s: %w", strings.Join(args[:min(len(args), 3)], " "), err)
	}
	return v, nil
}

// Read reads the next value, whatever it is (replies and pushes alike).
func (c *Conn) Read() (Value, error) {
	if err := c.nc.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
		return Value{}, err
	}
	return ReadValue(c.br)
}

// Quiet reports whether nothing arrives within d. It consumes nothing.
func (c *Conn) Quiet(d time.Duration) bool {
	if c.br.Buffered() > 0 {
		return false
	}
	if err := c.nc.SetReadDeadline(time.Now().Add(d)); err != nil {
		return false
	}
	_, err := c.br.Peek(1)
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// ReadValue decodes one value. It accepts nothing but exact framing: CRLF ends each line, numbers are
// canonical, a bulk ends with CRLF.
func ReadValue(br *bufio.Reader) (Value, error) {
	line, err := readLine(br)
	if err != nil {
		return Value{}, err
	}
	if line == "" {
		return Value{}, errors.New("wire: empty line where a value was expected")
	}
	v := Value{Kind: Kind(line[0])}
	rest := line[1:]
	switch v.Kind {
	case Simple, Error, BigNumber, Double:
		v.Str = rest
		return v, nil
	case Int:
		v.Int, err = strconv.ParseInt(rest, 10, 64)
		return v, err
	case Bool:
		if rest != "t" && rest != "f" {
			return v, fmt.Errorf("wire: bad boolean %q", line)
		}
		if rest == "t" {
			v.Int = 1
		}
		return v, nil
	case Null:
		if rest != "" {
			return v, fmt.Errorf("wire: bad null %q", line)
		}
		return v, nil
	case Bulk, BulkError, Verbatim:
		return readBulk(br, v, rest)
	case Array, Set, Push, Map, Attribute:
		return readAggregate(br, v, rest)
	}
	return v, fmt.Errorf("wire: unknown type byte in %.80q", line)
}

func readBulk(br *bufio.Reader, v Value, rest string) (Value, error) {
	n, err := parseLen(rest)
	if err != nil {
		return v, err
	}
	if n < 0 {
		if v.Kind != Bulk {
			return v, fmt.Errorf("wire: negative length of kind %c", v.Kind)
		}
		v.Kind = NullBulk
		return v, nil
	}
	buf := make([]byte, n+2)
	if _, err := io.ReadFull(br, buf); err != nil {
		return v, fmt.Errorf("wire: inside a bulk: %w", err)
	}
	if buf[n] != '\r' || buf[n+1] != '\n' {
		return v, fmt.Errorf("wire: bulk of %d bytes does not end with CRLF", n)
	}
	v.Str = string(buf[:n])
	return v, nil
}

func readAggregate(br *bufio.Reader, v Value, rest string) (Value, error) {
	n, err := parseLen(rest)
	if err != nil {
		return v, err
	}
	if n < 0 {
		if v.Kind != Array {
			return v, fmt.Errorf("wire: negative length of kind %c", v.Kind)
		}
		v.Kind = NullArray
		return v, nil
	}
	if v.Kind == Map || v.Kind == Attribute {
		n *= 2
	}
	v.Elems = make([]Value, 0, min(n, 1024))
	for range n {
		e, err := ReadValue(br)
		if err != nil {
			return v, fmt.Errorf("wire: inside an aggregate: %w", err)
		}
		v.Elems = append(v.Elems, e)
	}
	return v, nil
}

// parseLen accepts -1 and canonical non-negative lengths.
func parseLen(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < -1 || n > maxLen || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("wire: bad length %q", s)
	}
	return n, nil
}

func readLine(br *bufio.Reader) (string, error) {
	line, err := br.ReadString('\n')
	if err != nil {
		if line != "" {
			return "", fmt.Errorf("wire: line cut off after %.80q: %w", line, err)
		}
		return "", err
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return "", fmt.Errorf("wire: line without CR: %.80q", line)
	}
	return line[:len(line)-2], nil
}
