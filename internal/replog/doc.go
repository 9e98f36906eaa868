// Package replog is the database's log: the Redis replication stream on disk, addressed by byte offset.
// The same bytes are the write-ahead log, the replication backlog, the change feed and the archive.
//
// # Offsets
//
// An Offset counts bytes of the raw stream, exactly what PSYNC sends; headers on disk do not count. The log
// holds [Start, End). Bytes below Synced survive a power loss.
//
// # Files
//
// A log is a directory of segments named <start>-<seed>.log: start is the offset of the first byte, 19
// digits, seed 8 hex digits that every header checksum begins with. The seed is random and never leaves
// the machine, so no value that a client stores can look like a frame of this segment, nor can the remains
// of another file. A segment is frames back to back; a frame is one Append:
//
//	 0  4  "HPL" and the format, 1
//	 4  4  CRC-32C, begun with the seed, of bytes 8 to 39
//	 8  4  CRC-32C of the payload
//	12  4  length of the payload, at least 1
//	16  8  offset of the payload's first byte
//	24  8  synced-through: how far the log was known to be synced when the frame was written
//	32  6  time of the append, ms since 1970
//	38  2  database selected at the payload's start
//	40     payload: raw bytes of the stream
//
// All numbers are little-endian. A segment that is not the newest is sealed: after everything in it and
// the name of its successor were synced, a footer is added and synced too. A segment is not left before
// its predecessor is sealed, so at most the two newest lack a footer; after a clean Close at most an empty
// one does:
//
//	 0  4  "HPS" and the format, 1
//	 4  4  CRC-32C, begun with the seed, of bytes 8 to 39
//	 8  8  number of frames
//	16  8  first offset of the segment
//	24  8  end offset of the segment
//	32  8  time of its newest frame, ms since 1970
//
// Other files in the directory: torn-*.tail, copies of what recovery cut; <offset>-<seed>.cut, a
// truncation that has been decided and may not be finished; *.tmp, leftovers of a crash.
//
// # Torn or damaged
//
// After a power loss the pages that were not synced are there or not, in any order. Recovery reads the
// segments without a footer; the sealed ones it believes if their footers are right and join up. A bad
// frame at or past the highest synced-through found anywhere in what it read is a torn tail: nobody was
// promised those bytes; they are copied aside and cut. A bad frame below that, or a gap or overlap between
// segments, is damage: Open fails with *DamageError. Replay verifies every checksum, sealed or not.
//
// # Goroutines and locks
//
// A Log owns one kind of goroutine, the sealer of a segment that was just left: at most one at a time,
// waited for by Close. Lock order: maint -> app -> flight -> segs -> a segment's own locks. tail.mu and
// wait.mu are leaves.
//
//	maint   one of seal, TrimTo, Truncate, Close at a time; held over disk waits, never asked for by
//	        Append, Sync or a reader
//	app     Append, BeginReign; held over the one write(2) of a frame, never over a sync
//	flight  who may sync next; waiting and running syncs do not hold it
//	segs    the list of segments; memory only
//
// Start, End and Synced are atomics. Append is the only writer of the tail and of the newest segment; a
// reader takes bytes below End only, so they meet at atomics, not at locks.
package replog
