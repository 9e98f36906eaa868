package proxy

import (
	"haypile/internal/command"
	"haypile/internal/resp"
)

// wait handles WAIT and WAITAOF, which are about what their own connection wrote. The client's writes went
// over shared connections and are answered; a dedicated connection waits for all that the node has written
// by then. To make it that connection's own concern it first deletes a key that does not exist: a node waits
// for the end of its log on behalf of a write, though it changed nothing.
//
// The writes may have gone to any shard, so all are asked, and the smallest number is the answer.
func (s *session) wait(spec *command.Spec, args [][]byte) {
	rt, ok := s.p.routesFor(s)
	if !ok {
		s.replyError(spec, resp.ErrClusterDown)
		return
	}
	whole := s.newRequest(spec)
	f := &fan{whole: whole, pending: len(rt.shards), merge: command.MergeMin}
	for _, sh := range rt.shards {
		whole.size += s.addPart(f, sh, args)
	}
	for _, r := range f.parts {
		wait := r.raw
		r.raw = resp.AppendCommandStrings(nil, "DEL", s.p.absentKey)
		r.raw = append(r.raw, wait...)
		r.replies, r.strict, r.dedicated = 2, true, true
	}
	whole.parts = f
	s.add(whole)
}
