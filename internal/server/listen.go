package server

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"haypile/internal/commands"
	"haypile/internal/option"
	"haypile/internal/quote"
	"haypile/internal/resp"
	"haypile/internal/session"
)

// accept takes connections until the listener is closed.
func (s *Server) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return
			}
			s.log.Warn("accept", "err", err)
			select {
			case <-time.After(20 * time.Millisecond): // out of descriptors: let some close
				continue
			case <-s.ctx.Done():
				return
			}
		}
		s.sessions.Accepted.Add(1)
		if refusal := s.refuse(nc); refusal != "" {
			s.sessions.Rejected.Add(1)
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = nc.Write([]byte("-" + refusal + "\r\n"))
			_ = nc.Close()
			continue
		}
		s.serve(nc)
	}
}

const protectedMode = "DENIED Redis is running in protected mode because protected mode is enabled and no password is " +
	"set for the default user. In this mode connections are only accepted from the loopback interface. Set a password " +
	"(option requirepass), or turn the protection off with CONFIG SET protected-mode no from the loopback interface."

// refuse is the reason for which a connection is not taken, or "".
func (s *Server) refuse(nc net.Conn) string {
	if int64(s.clients.Count()) >= s.cfg.Int(option.MaxClients) {
		return resp.ErrMaxClients
	}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok && s.cfg.Bool(option.ProtectedMode) &&
		s.users.Default().User().NoPass() && !a.IP.IsLoopback() {
		return protectedMode
	}
	return ""
}

// serve begins with a connection: one of an event loop, or one with a goroutine of its own.
func (s *Server) serve(nc net.Conn) {
	c := &commands.Client{Created: time.Now()}
	c.Logout(s.users)
	s.describe(c, nc)
	k := session.New(s.ctx, nc, c, s.x, &s.hub, &s.sessions)
	s.clients.Add(c)
	if s.ctx.Err() != nil {
		k.Kill() // Close may have looked for connections before this one was there
	}
	c.LastActive.Store(c.Created.UnixNano())
	s.wg.Add(1)
	ended := func() {
		defer s.wg.Done()
		if c.Monitor {
			s.MonitorStop(c)
		}
		if c.Takeover != nil {
			c.Takeover() // a replica's feed runs here in place of the session
		}
		s.tracking.Disable(c.ID)
		s.clients.Remove(c)
	}
	if s.loops.Add(k, ended) {
		return
	}
	go func() {
		k.Serve()
		ended()
	}()
}

func (s *Server) describe(c *commands.Client, nc net.Conn) {
	switch t := nc.(type) {
	case *net.TCPConn:
		c.Addr, c.LAddr = t.RemoteAddr().String(), t.LocalAddr().String()
		if d := s.cfg.Duration(option.TCPKeepalive); d > 0 {
			_ = t.SetKeepAlivePeriod(d)
		}
	case *net.UnixConn:
		c.Addr, c.LAddr = t.LocalAddr().String()+":0", t.LocalAddr().String()+":0"
	}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { c.FD = int(fd) })
		}
	}
}

// monitorSet are the clients in MONITOR.
type monitorSet struct {
	sync.Mutex
	clients map[*commands.Client]bool
}

// MonitorStart implements commands.Node.
func (s *Server) MonitorStart(c *commands.Client) {
	s.monitors.Lock()
	defer s.monitors.Unlock()
	if s.monitors.clients == nil {
		s.monitors.clients = map[*commands.Client]bool{}
	}
	if !s.monitors.clients[c] {
		s.monitors.clients[c] = true
		s.x.Monitors.Add(1)
	}
}

// MonitorStop implements commands.Node.
func (s *Server) MonitorStop(c *commands.Client) {
	s.monitors.Lock()
	defer s.monitors.Unlock()
	if s.monitors.clients[c] {
		delete(s.monitors.clients, c)
		s.x.Monitors.Add(-1)
	}
}

// feedMonitors shows a command to the monitors.
func (s *Server) feedMonitors(c *commands.Client, db int, args [][]byte) {
	now := time.Now()
	line := append([]byte("+"), unixMicros(now)...)
	line = append(line, " ["+itoa(db)+" "+c.Addr+"]"...)
	for _, a := range args {
		line = quote.Append(append(line, ' '), a)
	}
	line = append(line, "\r\n"...)
	s.monitors.Lock()
	defer s.monitors.Unlock()
	for m := range s.monitors.clients {
		m.Conn.Push(line)
	}
}
