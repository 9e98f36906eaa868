package proxy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
)

// client answers the CLIENT family. It concerns the clients of this proxy.
func (s *session) client(spec *command.Spec, args [][]byte) {
	switch spec.Name {
	case "ID":
		s.answer(spec, func(w *resp.Writer) { w.Int(s.id) })
	case "GETNAME":
		s.answer(spec, func(w *resp.Writer) {
			if s.name == "" {
				w.Null()
			} else {
				w.BulkString(s.name)
			}
		})
	case "SETNAME":
		s.setText(spec, &s.name, args[2], resp.ErrClientName)
	case "SETINFO":
		s.setInfo(spec, args)
	case "INFO":
		line := s.line(time.Now())
		s.answer(spec, func(w *resp.Writer) { w.Verbatim("txt", line+"\n") })
	case "LIST":
		s.clientList(spec, args)
	case "KILL":
		s.clientKill(spec, args)
	case "REPLY":
		s.clientReply(spec, args[2])
	case "NO-EVICT":
		s.toggle(spec, &s.noEvict, args[2])
	case "NO-TOUCH":
		s.toggle(spec, &s.noTouch, args[2])
	case "HELP":
		s.answer(spec, func(w *resp.Writer) { w.BulkStringArray(clientHelp...) })
	default:
		s.replyError(spec, notHere(spec, "clients share the proxy's connections to the nodes"))
	}
}

var clientHelp = []string{
	"CLIENT <subcommand> [<arg> [value] [opt] ...]. Through the proxy, these are:",
	"GETNAME, SETNAME <name>, SETINFO <option> <value>",
	"    The name and library of this connection.",
	"ID, INFO, LIST [TYPE type] [ID id [id ...]]",
	"    Connections to this proxy.",
	"KILL (<ip:port> | [ID id] [ADDR addr] [LADDR addr] [TYPE type] [USER name] [SKIPME (YES|NO)])",
	"    Close connections to this proxy.",
	"REPLY (ON|OFF|SKIP)",
	"    Control the replies sent to this connection.",
	"NO-EVICT (ON|OFF), NO-TOUCH (ON|OFF)",
	"    Accepted without effect.",
}

func (s *session) setText(spec *command.Spec, to *string, value []byte, invalid string) {
	if !validName(value) {
		s.replyError(spec, invalid)
		return
	}
	s.mu.Lock()
	*to = string(value)
	s.mu.Unlock()
	s.replyOK(spec)
}

func (s *session) setInfo(spec *command.Spec, args [][]byte) {
	switch {
	case is(args[2], "LIB-NAME"):
		s.setText(spec, &s.libName, args[3], "ERR lib-name cannot contain spaces, newlines or special characters.")
	case is(args[2], "LIB-VER"):
		s.setText(spec, &s.libVer, args[3], "ERR lib-ver cannot contain spaces, newlines or special characters.")
	default:
		s.replyError(spec, "ERR Unrecognized option '"+printable(args[2])+"'")
	}
}

func (s *session) toggle(spec *command.Spec, to *bool, arg []byte) {
	on := is(arg, "ON")
	if !on && !is(arg, "OFF") {
		s.replyError(spec, resp.ErrSyntax)
		return
	}
	*to = on
	s.replyOK(spec)
}

func (s *session) clientReply(spec *command.Spec, arg []byte) {
	switch {
	case is(arg, "ON"):
		s.replies = replyOn
		s.replyOK(spec)
	case is(arg, "OFF"):
		s.replies = replyOff
	case is(arg, "SKIP"):
		if s.replies != replyOff {
			s.replies = replySkipNext
		}
	default:
		s.replyError(spec, resp.ErrSyntax)
	}
}

// line is the session in CLIENT LIST.
func (s *session) line(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	flags := "N"
	if s.mu.pubsub > 0 {
		flags = "P"
	}
	if s.mu.finishing {
		flags += "c"
	}
	idle := time.Duration(s.p.now() - s.lastUse.Load())
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=0 name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=0 ssub=0 "+
		"multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=%d multi-mem=0 rbs=0 rbp=0 obl=0 oll=%d omem=%d "+
		"tot-mem=%d events=r cmd=%s user=default redir=-1 resp=%d lib-name=%s lib-ver=%s",
		s.id, s.nc.RemoteAddr(), s.nc.LocalAddr(), s.name, int(now.Sub(s.created).Seconds()),
		int(max(idle, 0).Seconds()), flags, s.db, s.mu.pubsub, s.mu.bytes, s.mu.queued,
		s.mu.out.size+s.mu.sending, s.mu.bytes+s.mu.out.size+s.mu.sending, s.last, s.proto, s.libName, s.libVer)
}

// kind is the session's type in TYPE filters.
func (s *session) kind() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.pubsub > 0 {
		return "pubsub"
	}
	return "normal"
}

// parseType checks the name of a client type; slave is an old name of replica.
func parseType(arg []byte) (string, bool) {
	t := strings.ToLower(string(arg))
	if t == "slave" {
		t = "replica"
	}
	return t, slices.Contains([]string{"normal", "master", "replica", "pubsub"}, t)
}

func (s *session) clientList(spec *command.Spec, args [][]byte) {
	match := func(*session) bool { return true }
	switch {
	case len(args) == 2:
	case len(args) == 4 && is(args[2], "TYPE"):
		want, ok := parseType(args[3])
		if !ok {
			s.replyError(spec, "ERR Unknown client type '"+printable(args[3])+"'")
			return
		}
		match = func(c *session) bool { return c.kind() == want }
	case len(args) > 3 && is(args[2], "ID"):
		ids := map[int64]bool{}
		for _, a := range args[3:] {
			id, ok := resp.ParseInt(a)
			if !ok {
				s.replyError(spec, resp.ErrInvalidClientID)
				return
			}
			ids[id] = true
		}
		match = func(c *session) bool { return ids[c.id] }
	default:
		s.replyError(spec, resp.ErrSyntax)
		return
	}
	var b strings.Builder
	now := time.Now()
	for _, c := range s.p.sessions() {
		if match(c) {
			b.WriteString(c.line(now))
			b.WriteByte('\n')
		}
	}
	s.answer(spec, func(w *resp.Writer) { w.Verbatim("txt", b.String()) })
}

// killFilter is what CLIENT KILL looks for; an empty field matches everything.
type killFilter struct {
	id                int64
	addr, laddr, kind string
	me                bool
}

func (f *killFilter) matches(c, me *session) bool {
	return (f.id == 0 || f.id == c.id) && (f.addr == "" || f.addr == c.nc.RemoteAddr().String()) &&
		(f.laddr == "" || f.laddr == c.nc.LocalAddr().String()) && (f.kind == "" || f.kind == c.kind()) &&
		(c != me || f.me)
}

// parseKill reads the options of CLIENT KILL; it returns the text of an error, or "".
func parseKill(args [][]byte) (f killFilter, text string) {
	if len(args)%2 != 0 {
		return f, resp.ErrSyntax
	}
	for i := 0; i < len(args); i += 2 {
		value := args[i+1]
		switch {
		case is(args[i], "ID"):
			id, ok := resp.ParseInt(value)
			if !ok || id < 1 {
				return f, "ERR client-id should be greater than 0"
			}
			f.id = id
		case is(args[i], "ADDR"):
			f.addr = string(value)
		case is(args[i], "LADDR"):
			f.laddr = string(value)
		case is(args[i], "TYPE"):
			var ok bool
			if f.kind, ok = parseType(value); !ok {
				return f, "ERR Unknown client type '" + printable(value) + "'"
			}
		case is(args[i], "USER"):
			if string(value) != defaultUser {
				return f, "ERR No such user '" + printable(value) + "'"
			}
		case is(args[i], "SKIPME") && is(value, "YES"):
			f.me = false
		case is(args[i], "SKIPME") && is(value, "NO"):
			f.me = true
		default:
			return f, resp.ErrSyntax
		}
	}
	return f, ""
}

func (s *session) clientKill(spec *command.Spec, args [][]byte) {
	old := len(args) == 3 // CLIENT KILL addr:port
	f := killFilter{me: true}
	if old {
		f.addr = string(args[2])
	} else {
		var text string
		if f, text = parseKill(args[2:]); text != "" {
			s.replyError(spec, text)
			return
		}
	}
	killed := 0
	myself := false
	for _, c := range s.p.sessions() {
		if !f.matches(c, s) {
			continue
		}
		killed++
		if c == s {
			myself = true
		} else {
			c.close("killed by CLIENT KILL")
		}
	}
	switch {
	case old && killed == 0:
		s.replyError(spec, resp.ErrNoSuchClient)
	case old:
		s.replyOK(spec)
	default:
		s.answer(spec, func(w *resp.Writer) { w.Int(int64(killed)) })
	}
	if myself {
		s.leaving = true
	}
}
