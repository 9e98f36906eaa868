// Package metastore keeps what a cluster must not lose or disagree on: topology, the journal of plans, and
// who leads. It offers keys with revisions, guarded transactions, watches and elections; what the keys mean
// is the coordinator's business. Two stores do the same: one in memory, for tests, and etcd, embedded or
// external. No other package imports etcd.
//
// A Store is safe for concurrent use. Goroutines: one per watch and per leadership, ended by its context or
// Resign; etcd's own, ended by Close.
package metastore

import (
	"context"
	"errors"
)

// ErrGuard says that a transaction changed nothing because one of its guards didn't hold.
var ErrGuard = errors.New("metastore: guard does not hold")

// ErrClosed says that the store was closed.
var ErrClosed = errors.New("metastore: closed")

// Pair is a key with its value and the revisions at which it was created and last written. Revisions count
// the store's transactions, from 1.
type Pair struct {
	Key      string
	Value    []byte
	Created  int64
	Modified int64
}

// Guard is a condition of a transaction on one key.
type Guard struct {
	Key string
	// Created and Modified are the revisions that the key must have; -1 is not looked at. Created 0 means that
	// the key must not exist.
	Created, Modified int64
}

// Absent demands that a key does not exist.
func Absent(key string) Guard { return Guard{key, 0, -1} }

// Unchanged demands that a key is as it was read.
func Unchanged(p Pair) Guard { return Guard{p.Key, p.Created, p.Modified} }

// Write is one change of a transaction: a put, or a delete. A key may stand in a transaction once.
type Write struct {
	Key    string
	Value  []byte
	Delete bool
}

// Put writes a key.
func Put(key string, value []byte) Write { return Write{Key: key, Value: value} }

// Delete removes a key, if it exists.
func Delete(key string) Write { return Write{Key: key, Delete: true} }

// Event is one change that a watch saw.
type Event struct {
	Pair    Pair // of a deleted key only Key and Modified
	Deleted bool
}

// Store is a metastore. Every call is bounded by its context, and only by it.
type Store interface {
	// Get reads a key; false if it does not exist.
	Get(ctx context.Context, key string) (Pair, bool, error)
	// List reads all keys with a prefix, in order, and the revision at which it read.
	List(ctx context.Context, prefix string) ([]Pair, int64, error)
	// Txn makes all writes at one revision, which it returns, or none: ErrGuard if a guard doesn't hold. After
	// any other error it is unknown whether the writes happened.
	Txn(ctx context.Context, guards []Guard, writes ...Write) (int64, error)
	// Watch delivers the changes under a prefix with a revision above after, those of one transaction
	// together and in order. The channel is closed when ctx ends, and also when the watch can't go on (the
	// reader is too slow, the revision is compacted, the store is closed): then the reader lists again.
	Watch(ctx context.Context, prefix string, after int64) <-chan []Event
	// Campaign waits until id leads the election. A key that an earlier run with the same id has left behind
	// is removed first: the caller sees to it that an id runs once.
	Campaign(ctx context.Context, election, id string) (*Leadership, error)
	// Close ends the store and all watches.
	Close() error
}

// Leadership is held until Lost is closed or Resign is called. As the holder may learn of its loss late,
// every transaction made as a leader carries Guard, which fails from the moment someone else leads.
type Leadership struct {
	Guard  Guard
	Lost   <-chan struct{}
	resign func(context.Context) error
}

// Resign gives the leadership up.
func (l *Leadership) Resign(ctx context.Context) error { return l.resign(ctx) }
