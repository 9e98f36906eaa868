package replication

import (
	"context"

	"haypile/internal/disk"
	"haypile/internal/replog"
)

// Log is what replication reads of the log: replog.Log has it.
type Log interface {
	// Start is the first offset held, End the offset behind the last byte appended, Synced that behind the
	// last one known to be fsynced.
	Start() replog.Offset
	End() replog.Offset
	Synced() replog.Offset
	// ReadAt reads stream bytes; it may return fewer than asked for, and fails before Start.
	ReadAt(p []byte, off replog.Offset) (int, error)
	// SumBefore returns the CRC-32C of the bytes before an offset that are held, at most n, and how many.
	SumBefore(at replog.Offset, n int) (sum uint32, of int, err error)
}

var _ Log = (*replog.Log)(nil)

// State is the node as a replica that asks to be fed sees it.
type State struct {
	// Primary is true if this node is one.
	Primary bool
	// NodeID names this node's data; Epoch is that of its reign, of the primary it follows, or the higher one
	// that it has promised.
	NodeID string
	Epoch  uint64
	// Format is the version of the engine's files.
	Format int
	Reigns []replog.ReignRecord
	Log    Log
	// Unfit, if not empty, is the error reply (code included) to every PSYNC: loading, or a replica whose
	// own link has never synced.
	Unfit string
}

// Node is this node as Feeds needs it. The data node implements it.
type Node interface {
	// State must be consistent: log and reigns of the same pair.
	State() State
	// Checkpoint makes an immutable copy of the engine at some offset not below the log's present start.
	Checkpoint(ctx context.Context) (*Checkpoint, error)
	// AppendPing and AppendGetAck append a PING or a REPLCONF GETACK * to the log, as any other entry, with
	// Push behind it, and return the log's end. They fail on a node that is not an open primary.
	AppendPing() (replog.Offset, error)
	AppendGetAck() (replog.Offset, error)
	// HeardEpoch is called if a replica has promised a higher epoch than this node's: this node must stop
	// writing before it returns.
	HeardEpoch(epoch uint64)
}

// Checkpoint is a directory of immutable files that hold the engine at Offset.
type Checkpoint struct {
	FS  disk.FS
	Dir string
	// Files are the files in Dir, by name relative to it.
	Files []FileInfo
	// Offset is the log offset that the files bring the state to, DB the database selected there.
	Offset replog.Offset
	DB     int
	// Release removes the directory. It is called once.
	Release func()
}

// FileInfo is a file of a checkpoint or what a replica has of one.
type FileInfo struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	// CRC is the CRC-32C of the Size bytes; in a manifest it is absent, and follows each file instead.
	CRC uint32 `json:"crc,omitempty"`
}
