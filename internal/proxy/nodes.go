package proxy

import (
	"fmt"
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
)

// maxNodeCalls bounds the commands to all nodes that are under way at a time.
const maxNodeCalls = 64

// allNodes sends a command to every node, replicas too, each over a connection of its own: such commands
// are rare. What the client sent before is answered first.
func (s *session) allNodes(rt *routes, spec *command.Spec, args [][]byte) {
	if !s.drain() {
		return
	}
	whole := s.newRequest(spec)
	whole.raw = resp.AppendCommand(whole.raw[:0], args...)
	raw := append([]byte(nil), whole.raw...)
	f := &fan{whole: whole, pending: len(rt.nodes), merge: spec.Merge}
	for range rt.nodes {
		f.parts = append(f.parts, &request{s: s, spec: spec, key: whole.key, parent: f})
	}
	whole.size = len(raw)
	s.add(whole)
	s.submit()
	for i, addr := range rt.nodes {
		s.p.wg.Add(1)
		go s.callNode(f.parts[i], addr, raw)
	}
}

// callNode runs a command on one node and completes the part that stands for it.
func (s *session) callNode(part *request, addr string, raw []byte) {
	defer s.p.wg.Done()
	reply, err := s.p.exchange(addr, part.key, raw)
	if err != nil {
		reply = append([]byte("-ERR node "+addr+": "), printable([]byte(err.Error()))...)
		reply = append(reply, '\r', '\n')
	}
	s.mu.Lock()
	part.reply = reply
	s.completeLocked(part)
	wake := s.wakeLocked()
	s.mu.Unlock()
	if wake {
		s.wakeWriter()
	}
}

// exchange sends one command to a node and returns its raw reply.
func (p *Proxy) exchange(addr string, key connKey, raw []byte) ([]byte, error) {
	select {
	case p.nodeCalls <- struct{}{}:
		defer func() { <-p.nodeCalls }()
	case <-p.ctx.Done():
		return nil, p.ctx.Err()
	}
	cl, err := resp.Dial(p.ctx, addr, p.dialOptions(key))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	if err := cl.Conn().SetDeadline(time.Now().Add(p.opt.BackendTimeout)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	if _, err := cl.Conn().Write(raw); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	reply, err := cl.Replies().ReadRaw(nil)
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	return reply, nil
}
