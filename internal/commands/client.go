package commands

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"haypile/internal/acl"
	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/tracking"
)

func clientSub(name, since string, arity int, syntax, summary string, run func(*Call) error) *Command {
	return &Command{Spec: command.Spec{
		Name: name, Group: "connection", Since: since, Arity: arity, Syntax: "CLIENT " + syntax, Summary: summary,
		Complexity: "O(1), O(N) connections for LIST and KILL.",
		Flags:      command.NoScript | command.Loading | command.Stale, ACL: []string{"connection"}, Route: command.RouteLocal,
	}, Run: run}
}

func admin(c *Command) *Command {
	c.Flags |= command.Admin
	return c
}

var clientCommand = &Command{
	Spec: command.Spec{
		Name: "CLIENT", Group: "connection", Since: "2.4.0", Arity: -2, Syntax: "CLIENT subcommand",
		Complexity: "Depends on the sub-command.", Summary: "Tells about connections and controls them.",
		Flags: command.NoScript | command.Loading | command.Stale, Route: command.RouteLocal,
	},
	Sub: []*Command{
		clientSub("ID", "5.0.0", 2, "ID", "The id of the connection.", func(c *Call) error {
			c.Out.Int(c.Client.ID)
			return nil
		}),
		clientSub("GETNAME", "2.6.9", 2, "GETNAME", "The name of the connection.", func(c *Call) error {
			if c.Client.Name == "" {
				c.Out.Null()
			} else {
				c.Out.BulkString(c.Client.Name)
			}
			return nil
		}),
		clientSub("SETNAME", "2.6.9", 3, "SETNAME connection-name", "Names the connection.", func(c *Call) error {
			if !validName(c.Args[2]) {
				return Error(resp.ErrClientName)
			}
			c.Client.Name = string(c.Args[2])
			c.Out.OK()
			return nil
		}),
		clientSub("SETINFO", "7.2.0", 4, "SETINFO <LIB-NAME libname | LIB-VER libver>",
			"Tells which library the client uses.", clientSetInfo),
		clientSub("INFO", "6.2.0", 2, "INFO", "Describes the connection.", func(c *Call) error {
			c.Client.Publish("client|info")
			c.Out.Verbatim("txt", describe(c.Node, c.Client)+"\n")
			return nil
		}),
		admin(clientSub("LIST", "2.4.0", -2, "LIST [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
			"Describes connections.", clientList)),
		admin(clientSub("KILL", "2.4.0", -3, "KILL <ip:port | <ID client-id | "+
			"TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB> | USER username | ADDR ip:port | LADDR ip:port | "+
			"SKIPME <YES | NO> | MAXAGE seconds> ...>", "Closes connections.", clientKill)),
		admin(clientSub("PAUSE", "3.0.0", -3, "PAUSE timeout [WRITE | ALL]", "Holds back commands for a while.", clientPause)),
		admin(clientSub("UNPAUSE", "6.2.0", 2, "UNPAUSE", "Ends PAUSE.", func(c *Call) error {
			c.Node.Pause(time.Time{}, false)
			c.Out.OK()
			return nil
		})),
		clientSub("REPLY", "3.2.0", 3, "REPLY <ON | OFF | SKIP>", "Turns replies off and on.", clientReply),
		admin(clientSub("NO-EVICT", "7.0.0", 3, "NO-EVICT <ON | OFF>", "Accepted: nothing is evicted.", func(c *Call) error {
			return onOff(c, &c.Client.NoEvict)
		})),
		clientSub("NO-TOUCH", "7.2.0", 3, "NO-TOUCH <ON | OFF>", "Keeps reads from counting as use.", func(c *Call) error {
			return onOff(c, &c.Client.NoTouch)
		}),
		admin(clientSub("UNBLOCK", "5.0.0", -3, "UNBLOCK client-id [TIMEOUT | ERROR]",
			"Ends the blocking command of another connection.", clientUnblock)),
		clientSub("GETREDIR", "6.0.0", 2, "GETREDIR", "Where invalidations go; -1: caching is off.", func(c *Call) error {
			c.Out.Int(redirection(c.Client.Tracking))
			return nil
		}),
		clientSub("TRACKINGINFO", "6.2.0", 2, "TRACKINGINFO", "Tells about client-side caching.", clientTrackingInfo),
		clientSub("TRACKING", "6.0.0", -3, "TRACKING <ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] "+
			"[BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
			"Client-side caching: the connection is told which keys that it has read were changed.", clientTracking),
		clientSub("CACHING", "6.0.0", 3, "CACHING <YES | NO>",
			"Says whether the keys of the next command will be cached by the client.", clientCaching),
		helpSub("CLIENT", "connection",
			"CACHING (YES|NO)",
			"    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
			"GETREDIR", "    Return the client ID we are redirecting to when tracking is enabled.",
			"GETNAME", "    Return the name of the current connection.",
			"ID", "    Return the ID of the current connection.",
			"INFO", "    Return information about the current client connection.",
			"KILL <ip:port>", "    Kill connection made from <ip:port>.",
			"KILL <option> <value> [<option> <value> [...]]", "    Kill connections. Options are:",
			"    * ADDR (<ip:port>|<unixsocket>:0)", "      Kill connections made from the specified address",
			"    * LADDR (<ip:port>|<unixsocket>:0)", "      Kill connections made to specified local address",
			"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "      Kill connections by type.",
			"    * USER <username>", "      Kill connections authenticated by <username>.",
			"    * SKIPME (YES|NO)", "      Skip killing current connection (default: yes).",
			"    * MAXAGE <maxage>", "      Kill connections older than the specified age.",
			"LIST [options ...]", "    Return information about client connections. Options:",
			"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "      Return clients of specified type.",
			"UNPAUSE", "    Stop the current client pause, resuming traffic.",
			"PAUSE <timeout> [WRITE|ALL]", "    Suspend all, or just write, clients for <timeout> milliseconds.",
			"REPLY (ON|OFF|SKIP)", "    Control the replies sent to the current connection.",
			"SETNAME <name>", "    Assign the name <name> to the current connection.",
			"SETINFO <option> <value>", "    Set client meta attr. Options are:",
			"    * LIB-NAME: the client lib name.", "    * LIB-VER: the client lib version.",
			"UNBLOCK <clientid> [TIMEOUT|ERROR]", "    Unblock the specified blocked client.",
			"TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
			"         [OPTIN] [OPTOUT] [NOLOOP]", "    Control server assisted client side caching.",
			"TRACKINGINFO", "    Report tracking status for the current connection.",
			"NO-EVICT (ON|OFF)", "    Protect current client connection from eviction.",
			"NO-TOUCH (ON|OFF)", "    Will not touch LRU/LFU stats when this mode is on."),
	},
}

func onOff(c *Call, flag *bool) error {
	switch {
	case c.Is(2, "ON"):
		*flag = true
	case c.Is(2, "OFF"):
		*flag = false
	default:
		return Error(resp.ErrSyntax)
	}
	c.Out.OK()
	return nil
}

func clientSetInfo(c *Call) error {
	attr := c.Arg(2)
	if attr != "LIB-NAME" && attr != "LIB-VER" {
		return Error("ERR Unrecognized option '" + string(c.Args[2]) + "'")
	}
	if !validName(c.Args[3]) {
		return Error("ERR " + strings.ToLower(attr) + " cannot contain spaces, newlines or special characters.")
	}
	if attr == "LIB-NAME" {
		c.Client.LibName = string(c.Args[3])
	} else {
		c.Client.LibVer = string(c.Args[3])
	}
	c.Out.OK()
	return nil
}

// describe is the line of CLIENT LIST, with Redis' fields in Redis' order.
func describe(n Node, cl *Client) string {
	i := cl.Info()
	now := time.Now()
	idle := int64(0)
	if last := cl.LastActive.Load(); last != 0 {
		idle = int64(now.Sub(time.Unix(0, last)).Seconds())
	}
	mode, broken, _ := n.Tracking().State(cl.ID)
	cmd := i.Cmd
	if cmd == "" {
		cmd = "NULL"
	}
	multi := i.MultiLen
	if i.Cmd == "" {
		multi = -1
	}
	out := cl.Held.Load()
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=%d ssub=%d "+
		"multi=%d qbuf=%d qbuf-free=%d argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=%d tot-mem=%d events=r "+
		"cmd=%s user=%s redir=%d resp=%d lib-name=%s lib-ver=%s",
		cl.ID, cl.Addr, cl.LAddr, cl.FD, i.Name, int64(now.Sub(cl.Created).Seconds()), idle, cl.letters(&i, mode, broken), i.DB,
		i.Sub, i.PSub, i.SSub, multi, i.QueryBuf, i.QueryFree, out, out+int64(i.QueryBuf), cmd, cl.UserName(),
		redirection(mode), max(2, i.Proto),
		i.LibName, i.LibVer)
}

// letters are the flags of CLIENT LIST, in Redis' order.
func (c *Client) letters(i *ClientInfo, mode tracking.Mode, broken bool) string {
	var b strings.Builder
	for _, f := range []struct {
		set    bool
		letter byte
	}{
		{i.Monitor, 'O'}, {i.Kind == "replica", 'S'}, {i.Kind == "master", 'M'}, {i.Sub+i.PSub+i.SSub > 0, 'P'},
		{i.Cmd != "" && i.MultiLen >= 0, 'x'}, {c.Blocked.Load(), 'b'}, {mode.On, 't'}, {broken, 'R'}, {mode.BCast, 'B'},
		{strings.HasSuffix(c.LAddr, ":0"), 'U'}, // a Unix socket: TCP has no such port
		{i.NoEvict, 'e'}, {i.NoTouch, 'T'},
	} {
		if f.set {
			b.WriteByte(f.letter)
		}
	}
	if b.Len() == 0 {
		return "N"
	}
	return b.String()
}

// clientKind is a TYPE argument as connections carry it; "" if there is no such type.
func clientKind(word []byte) string {
	switch strings.ToLower(string(word)) {
	case "normal":
		return "normal"
	case "master":
		return "master"
	case "slave", "replica":
		return "replica"
	case "pubsub":
		return "pubsub"
	}
	return ""
}

// Kind is the class of the connection: normal, pubsub, replica or master.
func (c *Client) Kind() string {
	if k := c.Info().Kind; k != "" {
		return k
	}
	return "normal"
}

func clientList(c *Call) error {
	kind, ids := "", map[int64]bool(nil)
	switch {
	case len(c.Args) == 2:
	case len(c.Args) == 4 && c.Is(2, "TYPE"):
		if kind = clientKind(c.Args[3]); kind == "" {
			return Error("ERR Unknown client type '" + string(c.Args[3]) + "'")
		}
	case len(c.Args) > 3 && c.Is(2, "ID"):
		ids = map[int64]bool{}
		for _, a := range c.Args[3:] {
			id, ok := resp.ParseInt(a)
			if !ok {
				return Error(resp.ErrInvalidClientID)
			}
			ids[id] = true
		}
	default:
		return Error(resp.ErrSyntax)
	}
	c.Client.Publish("client|list")
	var b strings.Builder
	c.Node.Clients().Each(func(cl *Client) bool {
		if (kind == "" || cl.Kind() == kind) && (ids == nil || ids[cl.ID]) {
			b.WriteString(describe(c.Node, cl))
			b.WriteByte('\n')
		}
		return true
	})
	c.Out.Verbatim("txt", b.String())
	return nil
}

// killFilter is what CLIENT KILL looks for; zero fields match all.
type killFilter struct {
	id                int64
	addr, laddr, kind string
	account           *acl.Account
	skipMe            bool
	minAge            time.Duration
}

func (f *killFilter) match(cl, me *Client) bool {
	return (f.id == 0 || cl.ID == f.id) && (f.addr == "" || cl.Addr == f.addr) && (f.laddr == "" || cl.LAddr == f.laddr) &&
		(f.account == nil || cl.Account() == f.account) && (f.kind == "" || cl.Kind() == f.kind) && (!f.skipMe || cl != me) &&
		(f.minAge == 0 || time.Since(cl.Created) >= f.minAge)
}

func clientKill(c *Call) error {
	f := killFilter{skipMe: true}
	old := len(c.Args) == 3
	if old {
		f.addr, f.skipMe = string(c.Args[2]), false
	}
	for i := 2; !old && i < len(c.Args); i += 2 {
		if i+1 >= len(c.Args) {
			return Error(resp.ErrSyntax)
		}
		v := c.Args[i+1]
		switch c.Arg(i) {
		case "ID":
			id, ok := resp.ParseInt(v)
			if !ok || id < 1 {
				return Error("ERR client-id should be greater than 0")
			}
			f.id = id
		case "TYPE":
			if f.kind = clientKind(v); f.kind == "" {
				return Error("ERR Unknown client type '" + string(v) + "'")
			}
		case "ADDR":
			f.addr = string(v)
		case "LADDR":
			f.laddr = string(v)
		case "USER":
			if f.account = c.Node.Users().Find(string(v)); f.account == nil {
				return Error("ERR No such user '" + string(v) + "'")
			}
		case "MAXAGE":
			seconds, ok := resp.ParseInt(v)
			switch {
			case !ok:
				return Error("ERR maxage is not an integer or out of range")
			case seconds <= 0:
				return Error("ERR maxage should be greater than 0")
			}
			f.minAge = time.Duration(min(seconds, math.MaxInt64/int64(time.Second))) * time.Second
		case "SKIPME":
			switch {
			case EqualWord(v, "YES"):
				f.skipMe = true
			case EqualWord(v, "NO"):
				f.skipMe = false
			default:
				return Error(resp.ErrSyntax)
			}
		default:
			return Error(resp.ErrSyntax)
		}
	}
	n := int64(0)
	c.Node.Clients().Each(func(cl *Client) bool {
		if f.match(cl, c.Client) {
			n++
			c.disconnect(cl)
		}
		return true
	})
	if !old {
		c.Out.Int(n)
		return nil
	}
	if n == 0 {
		return Error(resp.ErrNoSuchClient)
	}
	c.Out.OK()
	return nil
}

func clientPause(c *Call) error {
	all := true
	if len(c.Args) > 4 {
		return Error(resp.SubcommandSyntax(c.Args[1], "CLIENT"))
	}
	ms, ok := resp.ParseInt(c.Args[2])
	if !ok {
		return Error(resp.ErrTimeoutInteger)
	}
	if ms < 0 {
		return Error(resp.ErrTimeoutNegative)
	}
	if len(c.Args) == 4 {
		switch {
		case c.Is(3, "WRITE"):
			all = false
		case !c.Is(3, "ALL"):
			return Error("ERR CLIENT PAUSE mode must be WRITE or ALL")
		}
	}
	const century = 100 * 365 * 24 * time.Hour // longer pauses are not told from this one
	c.Node.Pause(time.Now().Add(min(century, time.Duration(min(ms, century.Milliseconds()))*time.Millisecond)), all)
	c.Out.OK()
	return nil
}

func clientReply(c *Call) error {
	switch {
	case c.Is(2, "ON"):
		c.Client.Reply = ReplyOn
		c.Out.OK()
	case c.Is(2, "OFF"):
		c.Client.Reply = ReplyOff
	case c.Is(2, "SKIP"):
		if c.Client.Reply == ReplyOn {
			c.Client.Reply = ReplySkipNext
		}
	default:
		return Error(resp.ErrSyntax)
	}
	return nil
}

func clientUnblock(c *Call) error {
	id, ok := resp.ParseInt(c.Args[2])
	if !ok {
		return Error(resp.ErrNotInteger)
	}
	asError := false
	switch {
	case len(c.Args) == 3 || len(c.Args) == 4 && c.Is(3, "TIMEOUT"):
	case len(c.Args) == 4 && c.Is(3, "ERROR"):
		asError = true
	case len(c.Args) == 4:
		return Error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
	default:
		return Error(resp.SubcommandSyntax(c.Args[1], "CLIENT"))
	}
	n := int64(0)
	if cl := c.Node.Clients().Get(id); cl != nil && cl.Unblock(asError) {
		n = 1
	}
	c.Out.Int(n)
	return nil
}

// ParkedUntil registers how a blocked client is let go by CLIENT UNBLOCK; nil ends that.
func (c *Client) ParkedUntil(unblock func(asError bool)) {
	c.mu.Lock()
	c.mu.unblock = unblock
	c.mu.Unlock()
	c.Blocked.Store(unblock != nil)
}

// Unblock lets a client go that waits in a blocking command; false if it does not.
func (c *Client) Unblock(asError bool) bool {
	c.mu.Lock()
	f := c.mu.unblock
	c.mu.unblock = nil
	c.mu.Unlock()
	if f == nil {
		return false
	}
	f(asError)
	return true
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
