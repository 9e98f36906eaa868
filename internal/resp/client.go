package resp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// DialOptions say how a Client connects. The zero value is a plain connection that speaks version 2.
type DialOptions struct {
	User, Password string // AUTH, if Password is set; without User for the default user
	ClientName     string // CLIENT SETNAME, if set
	Proto          int    // 3: HELLO 3; else version 2 without a HELLO
	DB             int    // SELECT, if not 0

	// Timeout bounds connecting with all that belongs to it, and every call whose context has no deadline
	// of its own. 0 means DefaultTimeout; negative means none.
	Timeout time.Duration
	TLS     *tls.Config // not nil: TLS; ServerName is taken from the address if not set
	// Dial replaces the net.Dialer, for tests and for connections through something.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// OnPush receives the out-of-band messages (version 3) that arrive in front of a reply that Do and
	// Pipeline wait for; without it they are dropped. Receive returns them instead.
	OnPush func(Value)
}

// DefaultTimeout is the bound of DialOptions.Timeout 0.
const DefaultTimeout = 5 * time.Second

// Client is a connection to a server that sends commands and waits for their replies. It is for one
// goroutine at a time. After an error of the connection (not after an error reply) it is closed and every
// further call returns that error: which replies are still to come is not known any more.
type Client struct {
	conn    net.Conn
	replies *ReplyReader
	timeout time.Duration
	onPush  func(Value)
	out     []byte
	err     error // final
}

// Dial connects to "host:port", or to the unix socket at a path that begins with '/', and authenticates.
func Dial(ctx context.Context, addr string, opt DialOptions) (*Client, error) {
	if opt.Timeout == 0 {
		opt.Timeout = DefaultTimeout
	}
	if _, has := ctx.Deadline(); !has && opt.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opt.Timeout)
		defer cancel()
	}
	conn, err := opt.connect(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	c := NewClient(conn, opt.Timeout)
	c.onPush = opt.OnPush
	if err := c.greet(ctx, opt); err != nil {
		c.Close()
		return nil, fmt.Errorf("greet %s: %w", addr, err)
	}
	return c, nil
}

func (opt DialOptions) connect(ctx context.Context, addr string) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	dial := opt.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, addr)
	if err != nil || opt.TLS == nil {
		return conn, err
	}
	config := opt.TLS
	if host, _, err := net.SplitHostPort(addr); err == nil && config.ServerName == "" {
		config = config.Clone()
		config.ServerName = host
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return secure, nil
}

// greet sends HELLO, AUTH, CLIENT SETNAME and SELECT as far as they are asked for, in one go.
func (c *Client) greet(ctx context.Context, opt DialOptions) error {
	var cmds [][]any
	auth := []any{"AUTH", opt.Password}
	if opt.User != "" {
		auth = []any{"AUTH", opt.User, opt.Password}
	}
	switch {
	case opt.Proto == 3 && opt.Password != "":
		user := opt.User
		if user == "" {
			user = "default"
		}
		cmds = append(cmds, []any{"HELLO", 3, "AUTH", user, opt.Password})
	case opt.Proto == 3:
		cmds = append(cmds, []any{"HELLO", 3})
	case opt.Password != "":
		cmds = append(cmds, auth)
	}
	if opt.ClientName != "" {
		cmds = append(cmds, []any{"CLIENT", "SETNAME", opt.ClientName})
	}
	if opt.DB != 0 {
		cmds = append(cmds, []any{"SELECT", opt.DB})
	}
	if len(cmds) == 0 {
		return nil
	}
	replies, err := c.Pipeline(ctx, cmds)
	if err != nil {
		return err
	}
	for i, v := range replies {
		if err := v.Err(); err != nil {
			return fmt.Errorf("%v: %w", cmds[i][0], err)
		}
	}
	return nil
}

// NewClient makes a Client of a connection that exists. timeout is as in DialOptions.
func NewClient(conn net.Conn, timeout time.Duration) *Client {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return &Client{conn: conn, replies: NewReplyReader(conn), timeout: timeout}
}

// Conn is the connection itself, for a caller that goes on with another protocol than request and reply.
// Deadlines set by earlier calls are still on it.
func (c *Client) Conn() net.Conn { return c.conn }

// Replies reads from the connection. What Conn has to read begins in here.
func (c *Client) Replies() *ReplyReader { return c.replies }

// Close closes the connection. It may be called from any goroutine and ends a call that is waiting.
func (c *Client) Close() error { return c.conn.Close() }

// Do sends one command and waits for its reply. The arguments are those of AppendCommandArgs. An error reply
// is returned both as the value and as an error of type Error; any other error is one of the connection.
func (c *Client) Do(ctx context.Context, args ...any) (Value, error) {
	c.out = AppendCommandArgs(c.out[:0], args...)
	values, err := c.Exchange(ctx, c.out, 1)
	if err != nil {
		return Value{}, err
	}
	return values[0], values[0].Err()
}

// Pipeline sends commands in one go and returns their replies. Error replies are among the values; the error
// is one of the connection.
func (c *Client) Pipeline(ctx context.Context, cmds [][]any) ([]Value, error) {
	c.out = c.out[:0]
	for _, args := range cmds {
		c.out = AppendCommandArgs(c.out, args...)
	}
	return c.Exchange(ctx, c.out, len(cmds))
}

// safeWrite is how much is written before anything is read. A server that cannot get rid of its replies
// stops reading, so that more than the socket buffers hold has to be written while reading.
const safeWrite = 32 << 10

// Exchange sends encoded commands and waits for n replies.
func (c *Client) Exchange(ctx context.Context, encoded []byte, n int) ([]Value, error) {
	end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	var written chan error // from the goroutine that writes, if there is one
	if len(encoded) <= safeWrite {
		_, err = c.conn.Write(encoded)
	} else {
		written = make(chan error, 1)
		go func() {
			_, err := c.conn.Write(encoded)
			if err != nil {
				c.conn.Close() // no reply will come for what was not sent
			}
			written <- err
		}()
	}
	values := make([]Value, 0, min(n, 1024))
	for err == nil && len(values) < n {
		var v Value
		v, err = c.replies.ReadValue()
		switch {
		case err != nil:
		case v.Kind != KindPush:
			values = append(values, v)
		case c.onPush != nil:
			c.onPush(v)
		}
	}
	if written != nil {
		if err != nil {
			c.conn.Close() // ends the writer
		}
		if werr := <-written; werr != nil && (err == nil || errors.Is(err, net.ErrClosed)) {
			err = werr
		}
	}
	if err = end(err); err != nil {
		return nil, err
	}
	return values, nil
}

// Send sends one command without waiting for a reply.
func (c *Client) Send(ctx context.Context, args ...any) error {
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	c.out = AppendCommandArgs(c.out[:0], args...)
	_, err = c.conn.Write(c.out)
	return end(err)
}

// Receive waits for one reply or out-of-band message.
func (c *Client) Receive(ctx context.Context) (Value, error) {
	end, err := c.begin(ctx)
	if err != nil {
		return Value{}, err
	}
	v, err := c.replies.ReadValue()
	if err = end(err); err != nil {
		return Value{}, err
	}
	return v, nil
}

// begin puts the bounds of ctx on the connection. The function that it returns takes them off, and turns the
// error of the call into that of the Client.
func (c *Client) begin(ctx context.Context) (end func(error) error, err error) {
	if c.err != nil {
		return nil, c.err
	}
	if err := ctx.Err(); err != nil {
		return nil, err // nothing was sent; the connection stays good
	}
	deadline, has := ctx.Deadline()
	if !has && c.timeout > 0 {
		deadline = time.Now().Add(c.timeout)
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return nil, c.fail(err)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.conn.SetDeadline(time.Unix(1, 0)) // in the past: whatever waits returns
		close(interrupted)
	})
	return func(err error) error {
		if !stop() {
			<-interrupted // else it could hit the next call
		}
		if err == nil {
			return nil
		}
		cause := context.Cause(ctx)
		if cause == nil && has && errors.Is(err, os.ErrDeadlineExceeded) {
			cause = context.DeadlineExceeded // the connection's clock went off before the context's
		}
		if cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		return c.fail(err)
	}, nil
}

func (c *Client) fail(err error) error {
	c.conn.Close()
	if c.err == nil {
		c.err = fmt.Errorf("connection to %v: %w", c.conn.RemoteAddr(), err)
	}
	return c.err
}
