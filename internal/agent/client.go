package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"haypile/internal/topology"
)

// ClientOptions configure Connect.
type ClientOptions struct {
	// Hello introduces the caller; Protocol is filled in.
	Hello topology.PeerHello
	Dial  DialFunc // a net.Dialer if nil
	// OnHeartbeat is called for each heartbeat, on the client's reading goroutine: it must not block.
	OnHeartbeat func(*Client, topology.Heartbeat)
}

// Client is a connection to the agent of a node. It owns two goroutines that end with Close or with the
// connection.
type Client struct {
	Hello topology.AgentHello // as the agent answered

	lc          *lineConn
	onHeartbeat func(*Client, topology.Heartbeat)
	cancel      context.CancelFunc
	wg          sync.WaitGroup
	ended       chan struct{}

	mu struct {
		sync.Mutex
		id      uint64
		waiting map[uint64]chan topology.Answer // each with room for one
		err     error                           // why the connection ended
	}
}

// Connect dials an agent and exchanges hellos within ctx's deadline.
func Connect(ctx context.Context, addr string, opt ClientOptions) (*Client, error) {
	dial := opt.Dial
	if dial == nil {
		dial = dialTCP
	}
	nc, err := dial(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("dial agent: %w", err)
	}
	c := &Client{lc: newLineConn(nc), onHeartbeat: opt.OnHeartbeat, ended: make(chan struct{})}
	c.mu.waiting = map[uint64]chan topology.Answer{}
	var run context.Context
	run, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(func() { c.lc.writeLoop(run) })
	if err := c.greet(ctx, opt.Hello); err != nil {
		c.cancel()
		c.lc.close()
		c.wg.Wait()
		return nil, fmt.Errorf("agent %s: %w", addr, err)
	}
	c.wg.Go(c.readLoop)
	return c, nil
}

func (c *Client) greet(ctx context.Context, h topology.PeerHello) error {
	stop := context.AfterFunc(ctx, func() { c.lc.nc.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	h.Protocol = topology.AgentProtocol
	if err := c.lc.write(ctx, topology.PeerFrame{Hello: &h}); err != nil {
		return err
	}
	var f topology.AgentFrame
	if err := c.lc.read(&f); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("read hello: %w", err)
	}
	switch {
	case f.Hello == nil:
		return errors.New("first line is not a hello")
	case f.Hello.Error != "":
		return errors.New(f.Hello.Error)
	}
	c.Hello = *f.Hello
	return nil
}

func (c *Client) readLoop() {
	for {
		var f topology.AgentFrame
		if err := c.lc.read(&f); err != nil {
			c.mu.Lock()
			if c.mu.err == nil {
				c.mu.err = err
			}
			c.mu.Unlock()
			close(c.ended)
			c.lc.close()
			return
		}
		switch {
		case f.Heartbeat != nil && c.onHeartbeat != nil:
			c.onHeartbeat(c, *f.Heartbeat)
		case f.Answer != nil:
			c.mu.Lock()
			ch := c.mu.waiting[f.Answer.ID]
			delete(c.mu.waiting, f.Answer.ID)
			c.mu.Unlock()
			if ch != nil {
				ch <- *f.Answer
			}
		}
	}
}

// Call sends a request and waits for its answer or ctx. A refusal by the node comes back as a
// *topology.AnswerError. Without a TimeoutMs of its own the request carries ctx's deadline.
func (c *Client) Call(ctx context.Context, q topology.Request) (topology.Answer, error) {
	if d, ok := ctx.Deadline(); ok && q.TimeoutMs == 0 {
		q.TimeoutMs = max(1, time.Until(d).Milliseconds())
	}
	ch := make(chan topology.Answer, 1)
	c.mu.Lock()
	c.mu.id++
	q.ID = c.mu.id
	c.mu.waiting[q.ID] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.mu.waiting, q.ID)
		c.mu.Unlock()
	}()
	if err := c.lc.write(ctx, topology.PeerFrame{Request: &q}); err != nil {
		return topology.Answer{}, fmt.Errorf("%s: %w", q.Op, err)
	}
	select {
	case ans := <-ch:
		if ans.Error != nil {
			return ans, fmt.Errorf("%s: %w", q.Op, ans.Error)
		}
		return ans, nil
	case <-c.ended:
		return topology.Answer{}, fmt.Errorf("%s: connection ended: %w", q.Op, c.Err())
	case <-ctx.Done():
		return topology.Answer{}, fmt.Errorf("%s: %w", q.Op, ctx.Err())
	}
}

// Grant answers a heartbeat. It doesn't wait.
func (c *Client) Grant(g topology.Grant) {
	c.lc.write(context.Background(), topology.PeerFrame{Grant: &g})
}

// Done is closed when the connection has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.ended }

// Err is nil while the connection stands.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.err
}

// Close ends the connection and waits for the goroutines. Not to be called from OnHeartbeat.
func (c *Client) Close() {
	c.mu.Lock()
	if c.mu.err == nil {
		c.mu.err = errors.New("closed")
	}
	c.mu.Unlock()
	c.cancel()
	c.lc.close()
	c.wg.Wait()
}
