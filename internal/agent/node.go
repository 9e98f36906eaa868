package agent

import (
	"context"
	"errors"
	"time"

	"haypile/internal/topology"
)

// Errors by which a Node's refusals are told apart; wrap them. Any other error is passed on as text.
var (
	// ErrStaleEpoch: the node has promised a higher epoch than the request's.
	ErrStaleEpoch = errors.New("a higher epoch has been promised")
	// ErrWrongRole: the request makes no sense in the node's role (park on a replica, follow on the open
	// primary of the same epoch).
	ErrWrongRole = errors.New("not possible in this role")
)

// Node is the data node as its agent sees it. All methods may be called at the same time from several
// goroutines, while the node is still starting (pending, -LOADING) and until Agent.Close has returned. All
// are idempotent: a dashboard that has crashed repeats them. "Promised" is the highest epoch ever given to
// Fence, Open or Follow; it is persisted (LINEAGE, fsynced) before any of them returns nil, and a call with
// a lower epoch fails with ErrStaleEpoch and changes nothing. The first of these calls makes the node
// managed, for good.
type Node interface {
	// Report describes the node now. It must not block: no I/O, no lock that is held over I/O or over the
	// execution of commands. The agent calls it for every heartbeat and fills in NodeID, LeaseMs, Members.
	Report() topology.NodeReport

	// Fence promises epoch. When it returns nil, and for good: no write admitted under a lower epoch gets a
	// positive reply (writes in flight are waited for or refused), no bytes from a primary of a lower epoch
	// are appended to the log, and none are acknowledged to one. A primary becomes read-only at once (its
	// role may stay "primary" until Follow), a replica drops its link but keeps its role and serves reads
	// and its log. A pending node stays pending. Repeated with the same epoch it answers the same, unless
	// the node has been opened or told to follow in it meanwhile: then it changes nothing and answers the
	// current state. The log's end in the answer is final until the node is told to follow or to open.
	Fence(ctx context.Context, epoch topology.Epoch) (topology.FenceAnswer, error)

	// Open makes the node the primary of a new reign in epoch: everything in its log is applied (a pending
	// node recovers first), the lineage is on disk, then writes are taken, as far as the lease allows. nil
	// at once if it already is the open primary of this epoch. If the node follows someone in this same
	// epoch (catching up before its promotion) it stops that first. Chained replicas stay attached or can
	// resume. A Fence with a higher epoch that comes while Open works makes Open fail with ErrStaleEpoch.
	Open(ctx context.Context, epoch topology.Epoch) error

	// Follow makes the node a replica of addr (host:port of the client port). It returns once that is
	// recorded and the old reign is over; connecting, rewinding behind a fork and copying happen behind
	// it and show in Report().Link. nil without effect if it follows addr in epoch already. Fails with
	// ErrWrongRole if it is the open primary of the same epoch. The node at addr may itself be a fenced
	// replica that is not open yet: it serves its log.
	Follow(ctx context.Context, epoch topology.Epoch, addr string) error

	// Park holds new writes of the primary (neither executed nor answered), waits until those under way
	// are in the log, and returns the log's end: nothing is appended past it until Unpark, Open or max,
	// after which the node unparks by itself. Reads go on. Parked writes of a node that then gets a Fence
	// are answered as a replica answers writes. Parking again extends the time.
	Park(ctx context.Context, max time.Duration) (offset int64, err error)

	// Unpark lets parked writes go on. Does nothing if the node is not parked.
	Unpark()

	// WaitOffset returns when the log is fsynced and applied up to offset, or with ctx's error.
	WaitOffset(ctx context.Context, offset int64) error

	// SetLease says until when (monotonic clock; already shortened by the safety margin) a managed primary
	// may acknowledge writes in epoch. The node compares time.Now() with it when it admits a write and
	// again before the reply leaves; past it, writes wait or are refused, and it goes on when the lease
	// comes back. A later call replaces an earlier one and may be for an earlier time. Ignored by a node
	// whose current epoch is another one. Must not block. A node that was never managed needs no lease.
	SetLease(epoch topology.Epoch, until time.Time)
}
