package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"haypile/internal/topology"
)

const (
	writeTimeout = 2 * time.Second
	queueLength  = 64 // lines; a peer that lets so many pile up is cut off
)

// lineConn carries JSON lines. One goroutine reads, any may write: lines go through a bounded queue to
// writeLoop, so no writer waits on the network.
type lineConn struct {
	nc    net.Conn
	r     *bufio.Reader
	queue chan []byte
	done  chan struct{}
	once  sync.Once
}

func newLineConn(nc net.Conn) *lineConn {
	return &lineConn{nc: nc, r: bufio.NewReaderSize(nc, 4096), queue: make(chan []byte, queueLength),
		done: make(chan struct{})}
}

// close cuts the connection; safe to repeat.
func (c *lineConn) close() {
	c.once.Do(func() { close(c.done) })
	c.nc.Close()
}

// flushAndClose lets writeLoop send what is queued (a refusal), then closes.
func (c *lineConn) flushAndClose() {
	select {
	case c.queue <- nil:
	default:
		c.close()
	}
	select {
	case <-c.done:
	case <-time.After(writeTimeout):
		c.close()
	}
}

// read decodes the next line into v.
func (c *lineConn) read(v any) error {
	var line []byte
	for {
		part, err := c.r.ReadSlice('\n')
		if len(line)+len(part) > topology.MaxFrame {
			return errors.New("line too long")
		}
		switch {
		case err == nil && line == nil:
			return decode(part, v)
		case err == nil:
			return decode(append(line, part...), v)
		case errors.Is(err, bufio.ErrBufferFull):
			line = append(line, part...)
		default:
			return err
		}
	}
}

func decode(line []byte, v any) error {
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("bad line: %w", err)
	}
	return nil
}

// write queues a line. A full queue means a peer that takes nothing: the connection is cut.
func (c *lineConn) write(ctx context.Context, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode line: %w", err)
	}
	select {
	case <-c.done:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case c.queue <- append(line, '\n'):
		return nil
	default:
		c.close()
		return errors.New("peer takes no lines")
	}
}

// writeLoop sends queued lines until the connection is closed; a nil line closes it.
func (c *lineConn) writeLoop(ctx context.Context) {
	defer c.close()
	for {
		select {
		case line := <-c.queue:
			if line == nil {
				return
			}
			c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := c.nc.Write(line); err != nil {
				return
			}
		case <-c.done:
			return
		case <-ctx.Done():
			return
		}
	}
}

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}
