// Package commands holds the commands: for each, description and function side by side, one small file per
// family. A function parses its options, calls type operations on the transaction it is given, and writes
// the reply. It knows no sockets, no locks and no log: the gate (package exec) has admitted the call, holds
// the locks of the keys that the description names, and commits afterwards. What an administration command
// needs of the node comes through the narrow interface Node.
//
// State ownership: the tables are immutable; a Call and its Client belong to the goroutine that runs it.
package commands

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/acl"
	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/pubsub"
	"haypile/internal/resp"
	"haypile/internal/script"
	"haypile/internal/tracking"
)

// Error is a reply error: its text goes to the client as it stands, code word included. A command that
// returns one has changed nothing: the gate rolls its changes back.
type Error string

func (e Error) Error() string { return string(e) }

// Command is a description with its function. Sub-commands of a container stand in Sub; the container's own
// Run is nil unless it can be called alone.
type Command struct {
	command.Spec
	Run func(*Call) error
	Sub []*Command
	// Stats counts the calls; the gate keeps it.
	Stats Stats
}

// Stats are the counters of one command, as INFO commandstats shows them.
type Stats struct {
	Calls, Rejected, Failed atomic.Int64
	// Nanos is the time spent, in nanoseconds.
	Nanos atomic.Int64
	Hist  Histogram
}

// Call is one execution of a command.
type Call struct {
	// Args are the arguments, the command's name first. Views: valid during the call.
	Args [][]byte
	Cmd  *Command
	// Tx reads and changes keys. Nil for commands without the flags Write, ReadOnly or MayReplicate.
	Tx     *keyspace.Txn
	Out    *resp.Writer
	Client *Client
	Node   Node
	// InMulti is set while EXEC runs the command: nothing may block.
	InMulti bool
	// Again is set for a reading command that has waited: a key that is of another type now is one that brings
	// nothing.
	Again bool
	// Ctx ends when the client's connection does. Only for commands that block.
	Ctx context.Context

	after   []func()
	silent  bool
	nothing bool
	wait    *Wait
}

// Wait is what a blocking command wants to wait for that has found nothing to do, has written no reply and has
// changed nothing.
type Wait struct {
	// Keys of the selected database: the command is run again when one of them, by its creation or a change, is
	// of the type; with OnGone also when one is gone or of another type.
	Keys   [][]byte
	Type   encoding.Type
	OnGone bool
	// Args is the command to be run then, nil for the same.
	Args [][]byte
	// Timeout, 0 for never, after which TimedOut writes the reply.
	Timeout  time.Duration
	TimedOut func(*resp.Writer)
}

// Block makes the client wait. Where nothing may wait, in a transaction, it is over at once.
func (c *Call) Block(w Wait) {
	if c.InMulti {
		w.TimedOut(c.Out)
		return
	}
	c.wait = &w
}

// Waits reports whether the command that ran wants to wait; TakeWait hands out for what.
func (c *Call) Waits() bool { return c.wait != nil }

// TakeWait: see Waits.
func (c *Call) TakeWait() *Wait {
	w := c.wait
	c.wait = nil
	return w
}

// After registers f to run once the transaction has been committed and all locks and the latch are free: for
// role changes, which may wait for everybody else.
func (c *Call) After(f func()) { c.after = append(c.after, f) }

// TakeAfter hands out what After collected.
func (c *Call) TakeAfter() []func() {
	f := c.after
	c.after = nil
	return f
}

// NoPropagate keeps the call out of the log although it changed rows: nothing logical changed.
func (c *Call) NoPropagate() { c.nothing = true }

// Propagates reports whether the gate should log the call as it was sent if it logged nothing itself.
func (c *Call) Propagates() bool { return !c.nothing }

// Reset prepares the Call for the next command; InMulti stays, whoever sets it ends it.
func (c *Call) Reset() {
	c.after, c.silent, c.nothing, c.wait = c.after[:0], false, false, nil
	c.Again = false
}

// Arg is an argument in upper case, for comparing words.
func (c *Call) Arg(i int) string { return strings.ToUpper(string(c.Args[i])) }

// Is reports whether argument i is the word, in any case.
func (c *Call) Is(i int, word string) bool { return EqualWord(c.Args[i], word) }

// EqualWord compares an argument with a word in upper case, without allocating.
func EqualWord(b []byte, upper string) bool {
	if len(b) != len(upper) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

// ReplyMode is what CLIENT REPLY set.
type ReplyMode uint8

// The modes.
const (
	ReplyOn ReplyMode = iota
	ReplyOff
	ReplySkipNext // SKIP was called: the next command is silent
	ReplySkip     // this command is silent
)

// Client is the state of a connection as commands see it. The fields outside mu belong to the connection's
// goroutine; others read what Publish last stored.
type Client struct {
	ID      int64
	Addr    string
	LAddr   string
	FD      int
	Created time.Time
	// Kind is "normal", "pubsub", "replica" or "master".
	DB            int
	Proto         int
	Authenticated bool
	Name          string
	LibName       string
	LibVer        string
	Reply         ReplyMode
	NoEvict       bool
	NoTouch       bool
	Monitor       bool
	// Tracking is the mode of client-side caching. Caching: CLIENT CACHING was called for the next command.
	Tracking tracking.Mode
	Caching  bool
	// Close asks the session to close the connection after the replies have been sent.
	Close bool
	// Subs are the names subscribed to, by kind.
	Subs [3]map[string]struct{}
	// Replica describes the replica behind this connection during its handshake: the node's own type.
	Replica any
	// Takeover, if set, runs on the connection's goroutine after the session has given the socket away.
	Takeover func()
	// MultiLen is the number of commands queued, -1 outside MULTI.
	MultiLen int
	Watched  int

	// Conn is the connection's own side, for pushing messages and killing. Gate is the gate's, for the
	// commands of transactions.
	Conn Conn
	Gate Gate

	// account is who the connection acts as; nil may do everything: the stream, the node itself.
	account atomic.Pointer[acl.Account]

	mu struct {
		sync.Mutex
		info    ClientInfo
		unblock func(asError bool)
	}
	// LastActive is Unix nanoseconds of the last command.
	LastActive atomic.Int64
	Blocked    atomic.Bool
	// Held is the memory, in bytes, of a reply that is being sent in parts.
	Held atomic.Int64
	// PubSub is Subscribed for other goroutines.
	PubSub atomic.Bool
	// Leaving is set by QUIT: to others the client is gone when it has the reply, though its connection may be closed
	// a little later.
	Leaving atomic.Bool
}

// ClientInfo is what CLIENT LIST shows of a connection to others.
type ClientInfo struct {
	Name, LibName, LibVer, Cmd           string
	DB, Proto, Sub, PSub, SSub, MultiLen int
	Watched                              int
	Kind                                 string
	Monitor, NoEvict, NoTouch            bool
	QueryBuf, QueryFree                  int
}

// Publish stores the connection's present state for other goroutines.
func (c *Client) Publish(cmd string) {
	i := ClientInfo{Name: c.Name, LibName: c.LibName, LibVer: c.LibVer, Cmd: cmd, DB: c.DB,
		Proto: c.Proto, Sub: len(c.Subs[pubsub.Channel]), PSub: len(c.Subs[pubsub.Pattern]), SSub: len(c.Subs[pubsub.Shard]), MultiLen: c.MultiLen,
		Watched: c.Watched, Kind: "normal", Monitor: c.Monitor, NoEvict: c.NoEvict, NoTouch: c.NoTouch}
	if c.Subscribed() {
		i.Kind = "pubsub"
	}
	c.mu.Lock()
	if k := c.mu.info.Kind; k == "replica" || k == "master" {
		i.Kind = k
	}
	c.mu.info = i
	c.mu.Unlock()
}

// SetKind marks the connection as a replica's or the primary's.
func (c *Client) SetKind(kind string) {
	c.mu.Lock()
	c.mu.info.Kind = kind
	c.mu.Unlock()
}

// Info returns what Publish stored.
func (c *Client) Info() ClientInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.info
}

// noteSubscribed tells other goroutines whether any subscription is held.
func (c *Client) noteSubscribed() { c.PubSub.Store(c.Subscribed()) }

// Subscribed reports whether any subscription is held.
func (c *Client) Subscribed() bool { return len(c.Subs[0])+len(c.Subs[1])+len(c.Subs[2]) > 0 }

// Gate is what the gate does for the commands of transactions, which are about its own state.
type Gate interface {
	Multi() error
	Exec() error
	Discard() error
	Watch(c *Call) error
	Unwatch() error
	// Scripts is the engine of the node. RunScript runs a script for the call; KillScript ends the one that keeps
	// others from working; ScriptStats describes it.
	Scripts() *script.Engine
	RunScript(c *Call, r ScriptRun) error
	KillScript(function bool) error
	// BusyScript is the refusal while a script runs for long, "" otherwise.
	BusyScript() Error
	ScriptStats() (ScriptStats, bool)
	Reset()
	// WaitEnd is the log offset that the connection's latest write needs.
	WaitEnd() int64
}

// Conn is what a session lends to commands.
type Conn interface {
	// Push sends a message that is no reply, in order behind what was sent before. Any goroutine.
	Push(encoded []byte)
	// Invalidate sends keys that the client, or one that redirects to it, must not have cached any more; nil:
	// all. Any goroutine.
	Invalidate(keys [][]byte, redirected bool)
	// RedirectionBroken tells a client that the one which got its invalidations is gone. Any goroutine.
	RedirectionBroken(id int64)
	// Kill closes the connection. Any goroutine.
	Kill()
	// FlushReplies sends the replies so far; the connection's goroutine only.
	FlushReplies() error
	// Stream sends a part of a reply and waits for the peer to take it, or most of it; over, once closed, ends that.
	// The connection's goroutine only.
	Stream(part []byte, over <-chan struct{}) error
	// StartPushing must be called before the first subscription; it sends the replies so far.
	StartPushing()
	// Deliver takes a published message.
	Deliver(m *pubsub.Message)
	// TakeMessages moves messages that wait for the end of the batch to the reply buffer. The
	// connection's goroutine only.
	TakeMessages(out *resp.Writer)
	// SetProto tells the connection the protocol for messages.
	SetProto(n int)
	// Detach hands the socket over (replication); the session ends without closing it.
	Detach() Detached
}
