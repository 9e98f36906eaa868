package commands

import (
	"haypile/internal/acl"
	"haypile/internal/command"
	"haypile/internal/option"
	"haypile/internal/pubsub"
	"haypile/internal/resp"
)

// Version is the version of Redis whose behaviour is implemented; clients choose features by it.
const Version = "7.2.4"

const anyTime = command.Loading | command.Stale | command.NoScript | command.Fast | command.AllowBusy | command.Session

func connection(name, since string, arity int, syntax, summary string, flags command.Flags, run func(*Call) error) *Command {
	return &Command{Spec: command.Spec{
		Name: name, Group: "connection", Since: since, Arity: arity, Syntax: syntax, Summary: summary,
		Complexity: "O(1)", Flags: flags, ACL: []string{"connection"}, Route: command.RouteLocal,
	}, Run: run}
}

var connectionCommands = []*Command{
	connection("PING", "1.0.0", -1, "PING [message]", "Answers PONG, or the message.",
		command.Fast|command.Session, ping),
	connection("ECHO", "1.0.0", 2, "ECHO message", "Answers the message.",
		command.Fast|command.Loading|command.Stale|command.Session, func(c *Call) error {
			c.Out.Bulk(c.Args[1])
			return nil
		}),
	connection("AUTH", "1.0.0", -2, "AUTH [username] password", "Authenticates the connection.",
		anyTime|command.NoAuth|command.SkipSlowlog, auth),
	connection("HELLO", "6.0.0", -1, "HELLO [protover [AUTH username password] [SETNAME clientname]]",
		"Chooses the protocol version and tells about the server.",
		anyTime|command.NoAuth, hello),
	connection("SELECT", "1.0.0", 2, "SELECT index", "Changes the database of the connection.",
		command.Fast|command.Loading|command.Stale|command.Session, selectDB),
	connection("QUIT", "1.0.0", -1, "QUIT", "Closes the connection after the replies have been sent.",
		anyTime|command.NoAuth, func(c *Call) error {
			c.Out.OK()
			c.Client.Close = true
			c.Client.Leaving.Store(true)
			return nil
		}),
	connection("RESET", "6.2.0", 1, "RESET", "Brings the connection back to the state in which it was opened.",
		anyTime|command.NoAuth, reset),
}

func ping(c *Call) error {
	if len(c.Args) > 2 {
		return Error(resp.WrongArity("ping"))
	}
	if c.Client.Proto == 2 && c.Client.Subscribed() {
		c.Out.Array(2)
		c.Out.BulkString("pong")
		if len(c.Args) == 2 {
			c.Out.Bulk(c.Args[1])
		} else {
			c.Out.BulkString("")
		}
		return nil
	}
	if len(c.Args) == 2 {
		c.Out.Bulk(c.Args[1])
	} else {
		c.Out.SimpleString("PONG")
	}
	return nil
}

func auth(c *Call) error {
	if len(c.Args) > 3 {
		return Error(resp.ErrSyntax)
	}
	user, password := acl.DefaultName, c.Args[len(c.Args)-1]
	if len(c.Args) == 3 {
		user = string(c.Args[1])
	} else if c.Node.Users().Default().User().NoPass() {
		return Error(resp.ErrNoPasswordSet)
	}
	if !c.login(user, password) {
		return Error(resp.ErrWrongPass)
	}
	c.Out.OK()
	return nil
}

func hello(c *Call) error {
	proto, name := int64(c.Client.Proto), []byte(nil)
	var login [][]byte
	next := 1
	if len(c.Args) > 1 {
		var ok bool
		if proto, ok = resp.ParseInt(c.Args[1]); !ok {
			return Error(resp.ErrProtoNotInteger)
		}
		if proto < 2 || proto > 3 {
			return Error(resp.ErrNoProto)
		}
		next = 2
	}
	for next < len(c.Args) {
		switch left := len(c.Args) - next; {
		case c.Is(next, "AUTH") && left >= 3:
			login = c.Args[next+1 : next+3]
			next += 3
		case c.Is(next, "SETNAME") && left >= 2:
			if !validName(c.Args[next+1]) {
				return Error(resp.ErrClientName)
			}
			name = c.Args[next+1]
			next += 2
		default:
			return Error("ERR Syntax error in HELLO option '" + string(c.Args[next]) + "'")
		}
	}
	if login != nil && !c.login(string(login[0]), login[1]) {
		return Error(resp.ErrWrongPass)
	}
	if !c.Client.Authenticated {
		return Error(resp.ErrHelloNoAuth)
	}
	cl := c.Client
	if name != nil {
		cl.Name = string(name)
	}
	cl.Proto, c.Out.Proto = int(proto), int(proto)
	cl.Conn.SetProto(int(proto))
	role := "master"
	if c.Node.Replication().IsReplica() {
		role = "replica"
	}
	c.Out.Map(7)
	c.Out.BulkString("server")
	c.Out.BulkString("redis")
	c.Out.BulkString("version")
	c.Out.BulkString(Version)
	c.Out.BulkString("proto")
	c.Out.Int(proto)
	c.Out.BulkString("id")
	c.Out.Int(cl.ID)
	c.Out.BulkString("mode")
	c.Out.BulkString("standalone")
	c.Out.BulkString("role")
	c.Out.BulkString(role)
	c.Out.BulkString("modules")
	c.Out.Array(0)
	return nil
}

func validName(b []byte) bool {
	for _, ch := range b {
		if ch < '!' || ch > '~' {
			return false
		}
	}
	return true
}

func selectDB(c *Call) error {
	n, ok := resp.ParseInt(c.Args[1])
	if !ok {
		return Error(resp.ErrNotInteger)
	}
	if n < 0 || n >= c.Node.Config().Int(option.Databases) {
		return Error(resp.ErrDBIndexRange)
	}
	c.Client.DB = int(n)
	c.Out.OK()
	return nil
}

func reset(c *Call) error {
	cl := c.Client
	cl.Gate.Reset()
	for kind := range cl.Subs {
		for name := range cl.Subs[kind] {
			c.Node.PubSub().Unsubscribe(pubsub.Kind(kind), name, cl.Conn)
		}
		cl.Subs[kind] = nil
	}
	cl.noteSubscribed()
	c.stopTracking()
	if cl.Monitor {
		cl.Monitor = false
		c.Node.MonitorStop(cl)
	}
	cl.DB, cl.Proto, cl.Name, cl.Reply = 0, 2, "", ReplyOn
	cl.NoEvict, cl.NoTouch = false, false
	c.Out.Proto = 2
	cl.Conn.SetProto(2)
	cl.Logout(c.Node.Users())
	c.Out.SimpleString("RESET")
	return nil
}
