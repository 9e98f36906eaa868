package proxy

import (
	"haypile/internal/command"
	"haypile/internal/resp"
)

// transaction is what a client queued since MULTI. The proxy keeps it until EXEC and sends it in one piece,
// so that it needs no connection of its own and can be held during a change of the primary like any other
// request: either all of it reaches the node or nothing.
//
// After WATCH, the lane of the shard is pinned to a connection that watches the keys, and the transaction
// goes there. If that connection is lost, EXEC answers null, as if a key had changed.
type transaction struct {
	raw    []byte // the commands, without MULTI and EXEC
	count  int
	shard  *shard // of the keys; nil until there is one
	broken bool   // a command was refused: EXEC answers with an error
	effect bool   // not all of it is repeatable
}

// pinned handles the commands that need state of the connection.
func (s *session) pinned(spec *command.Spec, args [][]byte) bool {
	switch spec.FullName() {
	case "multi":
		s.tx = &transaction{shard: s.watched}
		s.replyOK(spec)
	case "exec":
		s.replyError(spec, resp.ErrExecNoMulti)
	case "discard":
		s.replyError(spec, resp.ErrDiscardNoMulti)
	case "watch":
		s.watch(spec, args)
	case "unwatch":
		s.unwatch(spec)
	case "wait", "waitaof":
		s.wait(spec, args)
	case "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe":
		return s.subscription(spec, args)
	default:
		s.forward(spec, args)
	}
	return true
}

// queueInTransaction handles a command inside MULTI. It reports false for those that are run at once.
func (s *session) queueInTransaction(spec *command.Spec, args [][]byte) bool {
	switch spec.FullName() {
	case "quit", "reset":
		return false
	case "multi":
		s.replyError(spec, resp.ErrNestedMulti)
		return true
	case "watch":
		s.replyError(spec, resp.ErrWatchInMulti)
		return true
	case "exec":
		s.exec(spec)
		return true
	case "discard":
		s.tx = nil
		s.unwatch(spec)
		return true
	}
	if text := s.tx.queue(s, spec, args); text != "" {
		s.tx.broken = true
		s.replyError(spec, text)
		return true
	}
	s.answer(spec, func(w *resp.Writer) { w.SimpleString("QUEUED") })
	return true
}

// queue appends a command. It returns the text of an error, or "".
func (t *transaction) queue(s *session, spec *command.Spec, args [][]byte) string {
	if spec.Flags.Has(command.NoMulti) {
		return resp.ErrNotInMulti
	}
	rt, ok := s.p.routesFor(s)
	if !ok {
		return resp.ErrClusterDown
	}
	var at *shard
	switch spec.Route {
	case command.RouteLocal:
		if spec.Name != "PING" && spec.Name != "ECHO" {
			return "ERR " + commandWords(spec) + " inside MULTI is not available through the proxy: " +
				"it is answered by the proxy, not by a node"
		}
	case command.RouteAllShards, command.RouteAllNodes, command.RouteCursor:
		if len(rt.shards) > 1 {
			return "ERR " + commandWords(spec) + " inside MULTI is not available through the proxy: " +
				"it concerns several shards"
		}
	case command.RouteAny:
		if spec.Flags.Has(command.PubSub) {
			at = rt.shards[0]
		}
	case command.RoutePinned:
		// A blocking command does not block inside MULTI. What changes the state of the connection would
		// change it for all clients.
		if !spec.Flags.Has(command.Blocking) && spec.Name != "UNWATCH" {
			return "ERR " + commandWords(spec) + " inside MULTI is not available through the proxy: " +
				"it needs a connection of its own"
		}
		fallthrough
	default:
		i, keys, err := rt.locate(spec, args, s.keys)
		s.keys = keys
		if err != nil {
			return err.Error()
		}
		if i >= 0 {
			at = rt.shards[i]
		}
	}
	if at != nil && t.shard != nil && at != t.shard {
		return resp.ErrCrossSlot
	}
	if len(t.raw) > s.p.opt.TransactionBytes {
		return "ERR the transaction is too large for the proxy"
	}
	if at != nil {
		t.shard = at
	}
	t.effect = t.effect || !repeatable(spec)
	t.raw = resp.AppendCommand(t.raw, args...)
	t.count++
	return ""
}

// exec sends the transaction.
func (s *session) exec(spec *command.Spec) {
	t := s.tx
	s.tx = nil
	switch {
	case t.broken:
		r := s.newRequest(spec)
		if s.watched == nil {
			r.reply, r.done = append(r.reply[:0], "-"+resp.ErrExecAbort+"\r\n"...), true
			s.add(r)
			return
		}
		// The node must forget what it watches; its answer is replaced.
		s.endWatch(r)
		r.instead = "-" + resp.ErrExecAbort + "\r\n"
		s.add(r)
		return
	case t.count == 0 && s.watched == nil:
		s.answer(spec, func(w *resp.Writer) { w.Array(0) })
		return
	case t.shard == nil:
		rt, ok := s.p.routesFor(s)
		if !ok {
			s.replyError(spec, resp.ErrClusterDown)
			return
		}
		t.shard = rt.shards[s.anyShard(rt, spec)]
	}
	r := s.newRequest(spec)
	r.raw = resp.AppendCommandStrings(r.raw[:0], "MULTI")
	r.raw = append(r.raw, t.raw...)
	r.raw = resp.AppendCommandStrings(r.raw, "EXEC")
	r.replies = t.count + 2
	r.size = len(r.raw)
	r.lane = s.laneOf(t.shard)
	r.exec = true
	r.repeatable = !t.effect && s.watched == nil
	if s.watched != nil {
		r.dedicated, r.unpin = true, true
		s.watched = nil
	}
	s.add(r)
}

func (s *session) watch(spec *command.Spec, args [][]byte) {
	rt, ok := s.p.routesFor(s)
	if !ok {
		s.replyError(spec, resp.ErrClusterDown)
		return
	}
	at, keys, err := rt.locate(spec, args, s.keys)
	s.keys = keys
	switch {
	case err != nil:
		s.replyError(spec, err.Error())
		return
	case at < 0:
		s.replyError(spec, resp.ErrSyntax)
		return
	case s.watched != nil && s.watched != rt.shards[at]:
		s.replyError(spec, resp.ErrCrossSlot)
		return
	}
	s.watched = rt.shards[at]
	r := s.newRequest(spec)
	s.route(r, s.watched, args)
	r.size = len(r.raw)
	r.dedicated, r.pin, r.repeatable = true, true, false
	s.add(r)
}

// unwatch ends a WATCH; it answers DISCARD too.
func (s *session) unwatch(spec *command.Spec) {
	if s.watched == nil {
		s.replyOK(spec)
		return
	}
	r := s.newRequest(spec)
	s.endWatch(r)
	s.add(r)
}

// endWatch makes r the request that ends the WATCH.
func (s *session) endWatch(r *request) {
	r.raw = resp.AppendCommandStrings(r.raw[:0], "UNWATCH")
	r.size = len(r.raw)
	r.lane = s.laneOf(s.watched)
	r.dedicated, r.unpin = true, true
	s.watched = nil
}
