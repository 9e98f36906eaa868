package proxy

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
)

// handle takes one command of the client. It reports false if the client shall be answered and left.
func (s *session) handle(args [][]byte) bool {
	switch s.replies {
	case replySkipNext:
		s.replies = replySkip
	case replySkip:
		s.replies = replyOn
	}
	spec, known := s.p.opt.Table.Find(args)
	if spec == nil && isHTTP(args[0]) {
		return false // a browser was made to talk to us: nothing that follows may be taken for commands
	}
	if err := s.admit(spec, known, args); err != "" {
		if s.tx != nil {
			s.tx.broken = true
		}
		if spec != nil && spec.Name == "EXEC" {
			s.tx = nil
			err = resp.ExecAborted(err)
		}
		s.replyError(spec, err)
		return true
	}
	traits := s.p.traits[spec]
	traits.calls.Add(1)
	if s.last != spec.FullName() {
		s.mu.Lock()
		s.last = spec.FullName()
		s.mu.Unlock()
	}
	if s.tx != nil && s.queueInTransaction(spec, args) {
		return true
	}
	switch {
	case traits.local:
		return s.local(spec, args)
	case spec.Route == command.RoutePinned:
		return s.pinned(spec, args)
	}
	s.forward(spec, args)
	return true
}

// isHTTP recognises the first words of HTTP requests, as Redis does.
func isHTTP(name []byte) bool {
	return bytes.EqualFold(name, []byte("post")) || bytes.EqualFold(name, []byte("host:"))
}

// admit checks what Redis checks before a command is queued or run. It returns the error text, or "".
func (s *session) admit(spec *command.Spec, known bool, args [][]byte) string {
	switch {
	case spec == nil:
		return resp.UnknownCommand(args[0], args[1:])
	case !known:
		return resp.UnknownSubcommand(args[1], spec.Name)
	case !spec.ArityOK(len(args)):
		return resp.WrongArity(spec.FullName())
	case !s.authed && !spec.Flags.Has(command.NoAuth):
		return resp.ErrNoAuth
	case spec.Route == command.RouteDenied:
		return notHere(spec, spec.DeniedReason)
	case s.p.traits[spec].unsafe:
		return notHere(spec, "it changes the state of a connection that clients share")
	}
	if s.proto == 2 && s.subs.count() > 0 {
		switch spec.Name {
		case "PING", "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE",
			"QUIT", "RESET":
		default:
			return resp.OnlyPubSub(spec.FullName())
		}
	}
	return ""
}

// commandWords is the command as a user writes it: "CLIENT KILL".
func commandWords(spec *command.Spec) string {
	return strings.ToUpper(strings.ReplaceAll(spec.FullName(), "|", " "))
}

func notHere(spec *command.Spec, reason string) string {
	return "ERR " + commandWords(spec) + " is not available through the proxy: " + reason
}

// forward routes a command that nodes execute.
func (s *session) forward(spec *command.Spec, args [][]byte) {
	rt, ok := s.p.routesFor(s)
	if !ok {
		s.replyError(spec, resp.ErrClusterDown)
		return
	}
	err := s.place(rt, spec, args)
	if errors.Is(err, errUnowned) {
		// A slot without an owner is a topology in the making: wait for the next one.
		s.submit()
		deadline := time.Now().Add(s.p.opt.HoldTimeout)
		for errors.Is(err, errUnowned) {
			if rt, ok = s.p.newerRoutes(rt, deadline); !ok {
				break
			}
			err = s.place(rt, spec, args)
		}
	}
	if err != nil {
		s.replyError(spec, err.Error())
	}
}

// place finds the shards of a command and adds the requests for them.
func (s *session) place(rt *routes, spec *command.Spec, args [][]byte) error {
	switch spec.Route {
	case command.RouteMultiShard:
		if len(rt.shards) == 1 {
			break
		}
		parts, split, err := rt.split(spec, args)
		if err != nil {
			return err
		}
		if split {
			s.addParts(spec, rt, parts)
			return nil
		}
	case command.RouteAllShards, command.RouteAllNodes:
		if spec.Route == command.RouteAllNodes && len(rt.nodes) > 1 {
			s.allNodes(rt, spec, args)
			return nil
		}
		if len(rt.shards) > 1 {
			s.addAll(spec, rt, args)
			return nil
		}
	case command.RouteCursor:
		if len(rt.shards) > 1 {
			return s.scan(rt, spec, args)
		}
	case command.RouteAny:
		s.addOne(spec, rt.shards[s.anyShard(rt, spec)], args)
		return nil
	}
	at, keys, err := rt.locate(spec, args, s.keys)
	s.keys = keys
	if err != nil {
		// Split commands with arguments that do not fit go where their first key lives.
		if !errors.Is(err, errCrossSlot) || spec.Route != command.RouteMultiShard {
			return err
		}
		at, _, _ = rt.locate(spec, args[:min(len(args), keys[0].Pos+1)], nil)
	}
	if at < 0 {
		at = s.anyShard(rt, spec)
	}
	s.addOne(spec, rt.shards[at], args)
	return nil
}

// anyShard chooses a shard for a command without keys. What concerns channels goes to one and the same, for
// all clients of all proxies.
func (s *session) anyShard(rt *routes, spec *command.Spec) int {
	if spec.Flags.Has(command.PubSub) || spec.Group == "pubsub" {
		return 0
	}
	n := len(rt.shards)
	first := int(s.id % int64(n))
	for i := range n {
		at := (first + i) % n
		if _, ok := rt.shards[at].primary(); ok {
			return at
		}
	}
	return first
}

func (s *session) addOne(spec *command.Spec, sh *shard, args [][]byte) {
	r := s.newRequest(spec)
	s.route(r, sh, args)
	r.size = len(r.raw)
	s.add(r)
}

// route makes r a request for a shard.
func (s *session) route(r *request, sh *shard, args [][]byte) {
	r.raw = resp.AppendCommand(r.raw[:0], args...)
	r.lane = s.laneOf(sh)
	t := s.p.traits[r.spec]
	r.repeatable, r.dedicated = t.repeatable, t.dedicated
}

// addParts adds a command of which several shards get a part each.
func (s *session) addParts(spec *command.Spec, rt *routes, parts []part) {
	whole := s.newRequest(spec)
	f := &fan{whole: whole, pending: len(parts), merge: spec.Merge}
	for _, p := range parts {
		f.orders = append(f.orders, p.order)
		f.total += len(p.order)
		whole.size += s.addPart(f, rt.shards[p.shard], p.args)
	}
	whole.parts = f
	s.add(whole)
}

// addAll adds a command that every shard gets.
func (s *session) addAll(spec *command.Spec, rt *routes, args [][]byte) {
	whole := s.newRequest(spec)
	f := &fan{whole: whole, pending: len(rt.shards), merge: spec.Merge}
	from := 0
	if spec.Merge == command.MergeFirstNonNull {
		from = s.p.random(len(rt.shards))
	}
	for i := range rt.shards {
		whole.size += s.addPart(f, rt.shards[(from+i)%len(rt.shards)], args)
	}
	whole.parts = f
	s.add(whole)
}

func (s *session) addPart(f *fan, sh *shard, args [][]byte) int {
	r := &request{s: s, spec: f.whole.spec, replies: 1, key: f.whole.key, parent: f}
	s.route(r, sh, args)
	f.parts = append(f.parts, r)
	return len(r.raw)
}

// answer adds a reply of the proxy itself, built by fn.
func (s *session) answer(spec *command.Spec, fn func(w *resp.Writer)) {
	r := s.newRequest(spec)
	w := resp.Writer{Buf: r.reply[:0], Proto: int(s.proto)}
	fn(&w)
	r.reply, r.done = w.Buf, true
	s.add(r)
}

func (s *session) replyError(spec *command.Spec, text string) {
	s.answer(spec, func(w *resp.Writer) { w.Error(text) })
}

func (s *session) replyOK(spec *command.Spec) {
	s.answer(spec, func(w *resp.Writer) { w.OK() })
}
