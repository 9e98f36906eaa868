package commands

import (
	"context"
	"net"
	"time"

	"haypile/internal/acl"
	"haypile/internal/command"
	"haypile/internal/option"
	"haypile/internal/pubsub"
	"haypile/internal/resp"
	"haypile/internal/tracking"
)

// Node is what commands may ask of the data node that runs them. Package server implements it.
type Node interface {
	Table() *command.Table
	// All is every command with its function and counters.
	All() []*Command
	Config() *option.Config
	// Info renders the named sections; none means the default ones.
	Info(sections []string) string
	Clients() Clients
	PubSub() *pubsub.Hub
	// Tracking is the table of client-side caching.
	Tracking() *tracking.Table
	// Writes to the stream go through Tx; these are about the stream as a whole.
	Replication() Replication
	SlowLog() *SlowLog
	Latency() *LatencyMonitor
	// Users are the accounts, ACLLog what they were refused.
	Users() *acl.Users
	ACLLog() *acl.Log
	// ReadFile reads a file of bounded length. ReplaceFile writes one beside it, forces that to disk and renames it
	// into place. Both are for the ACL file.
	ReadFile(path string) ([]byte, error)
	ReplaceFile(path string, data []byte) error
	// Pause holds back clients until the time: writes only, or all. A zero time ends it.
	Pause(until time.Time, all bool)
	// Checkpoint writes a checkpoint; background returns at once. LastSave is the time of the last good one.
	Checkpoint(background bool) error
	LastSave() time.Time
	// Shutdown stops the node; it returns an error if it can't. The reply is never sent on success.
	Shutdown(ctx context.Context, opt ShutdownOptions) error
	AbortShutdown() error
	ResetStats()
	// Digest is DEBUG DIGEST of a snapshot: 40 hex digits and the log offset of the snapshot.
	Digest(ctx context.Context) (digest string, offset int64, err error)
	// DigestValue is the digest of one key of the database, 40 zeros if it is missing.
	DigestValue(db int, key []byte) (string, error)
	// SetActiveExpire is DEBUG SET-ACTIVE-EXPIRE.
	SetActiveExpire(on bool)
	// Reload flushes the engine and drops the caches: DEBUG RELOAD.
	Reload() error
	// Compact rewrites the whole engine.
	Compact(ctx context.Context) error
	// FlushEngine makes the engine durable up to the log's end, so that a restart replays nothing older and
	// the log before it may be trimmed.
	FlushEngine(ctx context.Context) error
	// Background runs f in a goroutine that the node owns, logs its error under the name, and ends its
	// context at shutdown. It returns false if a job of that name still runs or the node is stopping.
	Background(name string, f func(ctx context.Context) error) bool
	// DescribeKey is DescribeEntry of a key, under the key's lock; "" if there is no such key.
	DescribeKey(db int, key []byte) (string, error)
	// MonitorStart adds the client to those that see all commands; MonitorStop removes it.
	MonitorStart(c *Client)
	MonitorStop(c *Client)
	// Publishes reports whether PUBLISH enters the stream: only on a primary that has had replicas.
	Publishes() bool
	RunID() string
}

// ShutdownOptions are those of SHUTDOWN.
type ShutdownOptions struct{ NoSave, Save, Now, Force bool }

// Clients is the registry of connections.
type Clients interface {
	// Each calls f for every connection, in the order of ids.
	Each(f func(*Client) (more bool))
	Get(id int64) *Client
	Count() int
}

// Replication is the node's part in replication.
type Replication interface {
	// Follow makes the node a replica of host:port; host "" makes it a primary (NO ONE). It returns when
	// the new role is in force, and has logged the error that it returns; REQUIRES: no locks or latch held
	// (use Call.After).
	Follow(host, port string) error
	// Intend notes the role that Follow will set, so that CONFIG REWRITE in the same transaction writes it.
	// It returns false if the node already follows that primary.
	Intend(host, port string) (changes bool)
	// Role writes the reply of ROLE.
	Role(out *resp.Writer)
	// Offset is the end of the log.
	Offset() int64
	IsReplica() bool
	// Wait blocks until n replicas have acknowledged offset, or the context ends, or the node becomes a
	// replica; returns how many have. With a context that has ended it only looks.
	Wait(ctx context.Context, offset int64, n int) int
	// WaitDurable is Wait for offsets that replicas have fsynced.
	WaitDurable(ctx context.Context, offset int64, n int) int
	// WaitLocal blocks until the own log is fsynced up to offset, and sees to it that it will be. With a
	// context that has ended it only looks: nil if it is.
	WaitLocal(ctx context.Context, offset int64) error
	// Replconf takes a REPLCONF of a connection that may become a replica's, and appends the reply.
	Replconf(c *Client, args [][]byte, dst []byte) []byte
	// Serve decides a PSYNC or SYNC (args[0] is its name): it takes the connection over, or refuses with a
	// reply error.
	Serve(c *Client, args [][]byte) error
	// Failover starts a planned switch-over to a replica, as the command FAILOVER, or aborts one. It returns
	// before anything is waited for: the caller may hold the store latch shared. Refusals are an Error.
	Failover(opt FailoverOptions) error
	// ChangeID begins a new reign, and so a new replication id, at the log's end: DEBUG CHANGE-REPL-ID.
	// REQUIRES: no locks or latch held.
	ChangeID() error
}

// FailoverOptions are those of FAILOVER.
type FailoverOptions struct {
	Host, Port   string
	Force, Abort bool
	Timeout      time.Duration
}

// Detached is a socket that a session gave away, with what had been read from it but not parsed.
type Detached struct {
	Conn   net.Conn
	Unread []byte
}
