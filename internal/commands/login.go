package commands

import (
	"time"

	"haypile/internal/acl"
	"haypile/internal/option"
	"haypile/internal/pubsub"
)

// Contexts of refused calls, as ACL LOG names them.
const (
	ContextTop    = "toplevel"
	ContextMulti  = "multi"
	ContextScript = "script"
)

// Account is who the connection acts as; nil may do everything.
func (c *Client) Account() *acl.Account { return c.account.Load() }

// Act makes the connection act as an account without logging it in. The connection's goroutine only.
func (c *Client) Act(a *acl.Account) { c.account.Store(a) }

// Logout brings the connection back to the default user, as which it may act at once if no password is asked for.
func (c *Client) Logout(us *acl.Users) {
	c.account.Store(us.Default())
	c.Authenticated = us.Open()
}

// UserName is the name of the user, for CLIENT LIST.
func (c *Client) UserName() string {
	if a := c.Account(); a != nil {
		return a.User().Name()
	}
	return "(superuser)"
}

// login logs the connection in. A wrong password changes nothing but the log of refusals.
func (c *Call) login(user string, password []byte) bool {
	us := c.Node.Users()
	a := us.Login(user, password)
	if a == nil {
		context := ContextTop
		if c.InMulti {
			context = ContextMulti
		}
		LogRefusal(c.Node, c.Client, c.Cmd, acl.Entry{Reason: acl.DeniedAuth, Context: context,
			Object: string(c.Args[0]), User: user})
		return false
	}
	c.Client.Act(a)
	c.Client.Authenticated = true
	// Whoever deletes the account looks for its connections after it is gone.
	if a.Gone() {
		c.Client.Act(us.Default())
		c.Client.Authenticated = false
		return false
	}
	return true
}

// LogRefusal notes in the node's log that a client was refused something.
func LogRefusal(n Node, cl *Client, cmd *Command, e acl.Entry) {
	cl.Publish(cmd.FullName())
	e.Client, e.Updated = describe(n, cl), time.Now()
	n.ACLLog().Add(e, int(n.Config().Int(option.ACLLogMaxLen)))
}

// disconnect closes a connection: one's own after the replies.
func (c *Call) disconnect(cl *Client) {
	if cl == c.Client {
		cl.Close = true
	} else if cl.Conn != nil {
		cl.Conn.Kill()
	}
}

// disconnectUsers closes the connections of accounts that are gone.
func (c *Call) disconnectUsers(gone []*acl.Account) {
	if len(gone) == 0 {
		return
	}
	c.Node.Clients().Each(func(cl *Client) bool {
		if a := cl.Account(); a != nil && a.Gone() {
			c.disconnect(cl)
		}
		return true
	})
}

// disconnectSubscribers closes those connections of an account that are subscribed to what it must not hear any
// more. before is what the account was.
func (c *Call) disconnectSubscribers(a *acl.Account, before *acl.User) {
	u := a.User()
	if before == nil || before.KeepsChannels(u) {
		return
	}
	refused := map[pubsub.Subscriber]bool{}
	c.Node.PubSub().Each(func(k pubsub.Kind, name string, s pubsub.Subscriber) {
		if !u.ChannelAllowed([]byte(name), k == pubsub.Pattern) {
			refused[s] = true
		}
	})
	c.Node.Clients().Each(func(cl *Client) bool {
		if cl.Account() == a && cl.Conn != nil && refused[cl.Conn] {
			c.disconnect(cl)
		}
		return true
	})
}

// recheckSubscriptions closes the connection if the user lost a channel between the check of the call and the
// subscription, when disconnectSubscribers may have looked in vain.
func (c *Call) recheckSubscriptions(kind pubsub.Kind) {
	a := c.Client.Account()
	if a == nil || a.User().All() {
		return
	}
	u := a.User()
	for _, name := range c.Args[1:] {
		if !u.ChannelAllowed(name, kind == pubsub.Pattern) {
			c.Client.Close = true
		}
	}
}
