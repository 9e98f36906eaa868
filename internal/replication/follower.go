package replication

import (
	"context"
	"errors"

	"haypile/internal/disk"
	"haypile/internal/replog"
)

// Position is where the local node stands when a link asks its primary for more.
type Position struct {
	// Reigns is empty if the node has never held any history; then Log may be nil.
	Reigns []replog.ReignRecord
	Log    Log
	// DB is the database selected at the log's end.
	DB     int
	NodeID string
	// Promised is the highest epoch that this node has promised: no primary below it is followed.
	Promised uint64
	// Format is the version of the engine's files.
	Format int
}

// Upstream is the primary as its handshake described it. For a foreign one only ReplID is set.
type Upstream struct {
	ReplID string
	NodeID string
	Epoch  uint64
	Reigns []replog.ReignRecord
}

// Foreign tells that the primary is no Haypile node.
func (u *Upstream) Foreign() bool { return u.Reigns == nil }

// Meta describes a full sync.
type Meta struct {
	Upstream Upstream
	// Offset and DB are where the log goes on behind the files.
	Offset replog.Offset
	DB     int
	// Bytes is the size of all files.
	Bytes int64
}

// Target is the directory that a full sync writes into. It may hold files from an interrupted attempt; those
// of no use are removed. It may be anything that is not in service.
type Target struct {
	FS  disk.FS
	Dir string
}

// Follower is the local node as a Link needs it. The data node implements it. All calls but those of Apply
// come from the link's goroutine, one at a time. Apply is called by the link's applier while Append may be
// called for what comes behind; during all other calls nothing is being applied, and everything in the log
// has been.
type Follower interface {
	Position() Position
	// Adopt takes over the primary's history at the log's present end, durably, before the first byte of it is
	// appended. It is called at each partial resync; replicas of this node are disconnected if the id changed.
	Adopt(ctx context.Context, up *Upstream) error
	// Append appends b.Raw to the log as one frame, written to the operating system when it returns, and
	// pushes it to this node's own replicas. b has no Units.
	Append(b *Batch) error
	// Apply executes b.Units, each atomically, with expiry switched off, and records each unit's End and
	// EndDB with its effects. It is called for everything that Append took, in order but cut differently,
	// whatever happens to the link. An error means that data and log do not agree any more: the link stops for
	// good.
	Apply(b *Batch) error
	// Rewind brings log and data back to fork, the last offset that this node and the primary share.
	// ErrFullSyncNeeded means that it cannot.
	Rewind(ctx context.Context, fork replog.Offset, up *Upstream) error
	// Begin prepares a directory for a full sync; Install puts the files received there in service, with an
	// empty log at m.Offset and the primary's history; Abort says that Install will not be called: the
	// directory may stay for the next attempt.
	Begin(ctx context.Context, m Meta) (Target, error)
	Install(ctx context.Context, m Meta) error
	Abort(m Meta)
}

// Reasons that a Follower gives and a Link reports.
var (
	// ErrFullSyncNeeded is Rewind's answer if neither log nor checkpoints reach back to the fork.
	ErrFullSyncNeeded = errors.New("replication: the fork is out of reach, a full sync is needed")
	// ErrStalePrimary: the primary's epoch is below what this node has promised.
	ErrStalePrimary = errors.New("replication: the primary's epoch is below the one promised")
	// ErrHalted: an apply error; the link does not try again.
	ErrHalted = errors.New("replication: the stream could not be applied")
	// ErrLinkEnded: the link was closed, or has halted.
	ErrLinkEnded = errors.New("replication: the link has ended")
	// ErrForeignSnapshot: the primary sends a snapshot in RDB form.
	ErrForeignSnapshot = errors.New("replication: the primary sends an RDB snapshot, no checkpoint")
)
