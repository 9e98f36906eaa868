package proxy

import (
	"crypto/sha256"
	"crypto/subtle"

	"haypile/internal/command"
	"haypile/internal/commandinfo"
	"haypile/internal/resp"
)

// local answers a command that the proxy runs itself. It reports false if the client shall be left.
func (s *session) local(spec *command.Spec, args [][]byte) bool {
	switch topName(spec) {
	case "CLIENT":
		s.client(spec, args)
		return !s.leaving
	case "PING":
		s.ping(spec, args)
	case "ECHO":
		s.answer(spec, func(w *resp.Writer) { w.Bulk(args[1]) })
	case "QUIT":
		s.replyOK(spec)
		return false
	case "HELLO":
		s.hello(spec, args)
	case "AUTH":
		s.auth(spec, args)
	case "SELECT":
		s.selectDB(spec, args)
	case "RESET":
		s.reset(spec)
	case "ACL": // WHOAMI
		s.answer(spec, func(w *resp.Writer) { w.BulkString(defaultUser) })
	case "COMMAND":
		s.answer(spec, func(w *resp.Writer) { commandinfo.Append(w, s.p.opt.Table, args) })
	default:
		s.replyError(spec, notHere(spec, "it concerns a single node"))
	}
	return true
}

func (s *session) ping(spec *command.Spec, args [][]byte) {
	if len(args) > 2 {
		s.replyError(spec, resp.WrongArity("ping"))
		return
	}
	s.answer(spec, func(w *resp.Writer) {
		switch {
		case s.proto == 2 && s.subs.count() > 0:
			w.Array(2)
			w.BulkString("pong")
			if len(args) == 2 {
				w.Bulk(args[1])
			} else {
				w.BulkString("")
			}
		case len(args) == 2:
			w.Bulk(args[1])
		default:
			w.SimpleString("PONG")
		}
	})
}

// defaultUser is the only user of the proxy.
const defaultUser = "default"

func (p *Proxy) passwordOK(user, password []byte) bool {
	if string(user) != defaultUser {
		return false
	}
	a, b := sha256.Sum256(password), sha256.Sum256([]byte(p.opt.Password))
	return p.opt.Password == "" || subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func (s *session) authenticated() {
	if !s.authed {
		s.authed = true
		s.rd.SetLimits(s.p.opt.Limits)
	}
}

func (s *session) auth(spec *command.Spec, args [][]byte) {
	user, password := []byte(defaultUser), args[len(args)-1]
	switch {
	case len(args) > 3:
		s.replyError(spec, resp.ErrSyntax)
		return
	case len(args) == 3:
		user = args[1]
	case s.p.opt.Password == "":
		s.replyError(spec, resp.ErrNoPasswordSet)
		return
	}
	if !s.p.passwordOK(user, password) {
		s.p.metrics.authFailures.Inc()
		s.replyError(spec, resp.ErrWrongPass)
		return
	}
	s.authenticated()
	s.replyOK(spec)
}

func (s *session) hello(spec *command.Spec, args [][]byte) {
	proto, name := int64(s.proto), []byte(nil)
	authed := s.authed
	if len(args) > 1 {
		var ok bool
		if proto, ok = resp.ParseInt(args[1]); !ok {
			s.replyError(spec, resp.ErrProtoNotInteger)
			return
		}
		if proto < 2 || proto > 3 {
			s.replyError(spec, resp.ErrNoProto)
			return
		}
	}
	for next := 2; next < len(args); {
		switch left := len(args) - next; {
		case is(args[next], "AUTH") && left >= 3:
			if !s.p.passwordOK(args[next+1], args[next+2]) {
				s.p.metrics.authFailures.Inc()
				s.replyError(spec, resp.ErrWrongPass)
				return
			}
			authed = true
			next += 3
		case is(args[next], "SETNAME") && left >= 2:
			if name = args[next+1]; !validName(name) {
				s.replyError(spec, resp.ErrClientName)
				return
			}
			next += 2
		default:
			s.replyError(spec, "ERR Syntax error in HELLO option '"+printable(args[next])+"'")
			return
		}
	}
	switch {
	case !authed:
		s.replyError(spec, resp.ErrHelloNoAuth)
		return
	case proto != int64(s.proto) && (s.watched != nil || s.subs.count() > 0):
		s.replyError(spec, "ERR HELLO cannot change the protocol version through the proxy while keys are "+
			"watched or channels subscribed")
		return
	}
	s.authenticated()
	s.mu.Lock()
	s.proto = uint8(proto)
	if name != nil {
		s.name = string(name)
	}
	s.mu.Unlock()
	s.answer(spec, func(w *resp.Writer) {
		w.Map(7)
		w.BulkString("server")
		w.BulkString("redis")
		w.BulkString("version")
		w.BulkString(s.p.opt.Version)
		w.BulkString("proto")
		w.Int(proto)
		w.BulkString("id")
		w.Int(s.id)
		w.BulkString("mode")
		w.BulkString("standalone")
		w.BulkString("role")
		w.BulkString("master")
		w.BulkString("modules")
		w.Array(0)
	})
}

func (s *session) selectDB(spec *command.Spec, args [][]byte) {
	n, ok := resp.ParseInt(args[1])
	switch {
	case !ok:
		s.replyError(spec, resp.ErrNotInteger)
		return
	case n < 0 || n >= int64(s.p.opt.Databases):
		s.replyError(spec, resp.ErrDBIndexRange)
		return
	case s.watched != nil && n != int64(s.db):
		s.replyError(spec, "ERR SELECT between WATCH and EXEC is not available through the proxy")
		return
	}
	s.mu.Lock()
	s.db = uint16(n)
	s.mu.Unlock()
	s.replyOK(spec)
}

func (s *session) reset(spec *command.Spec) {
	s.tx = nil
	if s.watched != nil {
		r := s.newRequest(spec)
		s.endWatch(r)
		r.silent = true
		s.add(r)
	}
	if s.subs != nil {
		if !s.drain() {
			return
		}
		s.subs.close()
		s.subs = nil
	}
	s.mu.Lock()
	s.db, s.proto, s.name = 0, 2, ""
	s.noEvict, s.noTouch = false, false
	s.mu.pubsub = 0
	s.mu.Unlock()
	s.replies = replyOn
	if s.authed = s.p.opt.Password == ""; !s.authed {
		s.rd.SetLimits(resp.UnauthLimits())
	}
	s.answer(spec, func(w *resp.Writer) { w.SimpleString("RESET") })
}

func is(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i := range arg {
		c := arg[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

func validName(b []byte) bool {
	for _, c := range b {
		if c < '!' || c > '~' {
			return false
		}
	}
	return true
}

// printable makes bytes of the client fit for an error text.
func printable(b []byte) string {
	out := make([]byte, 0, min(len(b), 64))
	for _, c := range b[:min(len(b), 64)] {
		if c < ' ' || c > '~' {
			c = '?'
		}
		out = append(out, c)
	}
	return string(out)
}
