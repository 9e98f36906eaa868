// Package agenttest has a network in memory and a model of data nodes, with which the control plane is
// tested under testing/synctest. The model keeps what agent.Node demands, counts bytes instead of storing
// them, and has switches to break things.
package agenttest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// Network connects names by pipes. A pipe is synchronous and knows deadlines, so that a bubble of
// testing/synctest sees who waits.
type Network struct {
	mu struct {
		sync.Mutex
		listeners map[string]*Listener
		frozen    map[string]bool
		cut       map[[2]string]bool
		lines     []line
	}
}

// line is a connection and the names of its ends.
type line struct {
	from, to string
	gate     *gate
}

// NewNetwork makes an empty network.
func NewNetwork() *Network {
	n := &Network{}
	n.mu.listeners = map[string]*Listener{}
	n.mu.frozen = map[string]bool{}
	n.mu.cut = map[[2]string]bool{}
	return n
}

// Listen takes an address.
func (n *Network) Listen(addr string) *Listener {
	l := &Listener{net: n, addr: addr, queue: make(chan net.Conn, 16), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.listeners[addr] = l
	return l
}

// Freeze makes an address silent: dials from and to it hang and nothing arrives over its connections, in
// both directions, until it is thawed. Connections stay.
func (n *Network) Freeze(addr string, frozen bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.frozen[addr] = frozen
	n.updateLocked()
}

// Cut does the same between two addresses.
func (n *Network) Cut(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.cut[[2]string{a, b}], n.mu.cut[[2]string{b, a}] = cut, cut
	n.updateLocked()
}

func (n *Network) silentLocked(a, b string) bool {
	return n.mu.frozen[a] || n.mu.frozen[b] || n.mu.cut[[2]string{a, b}]
}

func (n *Network) updateLocked() {
	for _, l := range n.mu.lines {
		l.gate.set(n.silentLocked(l.from, l.to))
	}
}

// DialFrom is the way of an address into the network; refused as TCP refuses.
func (n *Network) DialFrom(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		n.mu.Lock()
		l, silent := n.mu.listeners[to], n.silentLocked(from, to)
		n.mu.Unlock()
		if silent {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if l == nil {
			return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
		}
		g := newGate()
		a, b := net.Pipe()
		select {
		case l.queue <- newConn(b, g):
			n.mu.Lock()
			n.mu.lines = append(n.mu.lines, line{from, to, g})
			n.updateLocked()
			n.mu.Unlock()
			return newConn(a, g), nil
		case <-l.done:
			return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Listener is one address.
type Listener struct {
	net   *Network
	addr  string
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Accept waits for a connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close frees the address.
func (l *Listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.mu.Lock()
		if l.net.mu.listeners[l.addr] == l {
			delete(l.net.mu.listeners, l.addr)
		}
		l.net.mu.Unlock()
	})
	return nil
}

// Addr is the address as text.
func (l *Listener) Addr() net.Addr { return address(l.addr) }

type address string

func (a address) Network() string { return "mem" }
func (a address) String() string  { return string(a) }

// gate holds writers while it is shut.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed while open
	shut bool
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if shut == g.shut {
		return
	}
	g.shut = shut
	if shut {
		g.open = make(chan struct{})
	} else {
		close(g.open)
	}
}

func (g *gate) wait() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// conn is one end. Bytes written while the gate is shut wait in order behind it, as they would in a
// socket's buffer.
type conn struct {
	net.Conn
	gate *gate

	start sync.Once
	stop  sync.Once
	queue chan []byte
	done  chan struct{}
}

func newConn(nc net.Conn, g *gate) *conn {
	return &conn{Conn: nc, gate: g, queue: make(chan []byte, 1024), done: make(chan struct{})}
}

// run starts the goroutine that carries what is written; it ends with Close.
func (c *conn) run() {
	c.start.Do(func() {
		go func() {
			for {
				select {
				case b := <-c.queue:
					if open := c.gate.wait(); !isClosed(open) {
						select {
						case <-open:
						case <-c.done:
							c.Conn.Close()
							return
						}
					}
					c.Conn.Write(b)
				case <-c.done:
					c.drain()
					return
				}
			}
		}()
	})
}

// drain sends the rest, as a kernel does after close, and closes the pipe.
func (c *conn) drain() {
	defer c.Conn.Close()
	c.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	for len(c.queue) > 0 {
		if !isClosed(c.gate.wait()) {
			return
		}
		if _, err := c.Conn.Write(<-c.queue); err != nil {
			return
		}
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func (c *conn) Write(p []byte) (int, error) {
	c.run()
	select {
	case c.queue <- append([]byte(nil), p...):
		return len(p), nil
	case <-c.done:
		return 0, net.ErrClosed
	}
}

// Close ends the connection for its owner at once; what is queued still goes out.
func (c *conn) Close() error {
	c.run()
	c.stop.Do(func() {
		c.Conn.SetReadDeadline(time.Unix(1, 0))
		close(c.done)
	})
	return nil
}
