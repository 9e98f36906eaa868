// Package replication joins data nodes over the PSYNC protocol: the primary's side (Feeds), the replica's
// side (Link), the handshake between them, and the full sync by checkpoint files.
//
// The stream is the log: a primary sends the bytes of its log, a replica appends the same bytes at the same
// offsets. Nothing here keeps a second copy of them; a feed that is behind reads the log, a feed that is
// caught up is written to by the committer itself (Feeds.Push), before the clients' replies leave.
//
// # Offsets
//
// replog.Offset counts stream bytes from 0: End is the number of bytes written so far, which is Redis'
// master_repl_offset. On the wire PSYNC asks for the first byte wanted counted from 1, so "PSYNC id n" wants
// Offset n-1; FULLRESYNC and ACK carry plain counts.
//
// # Who owns what
//
//   - Decide is a pure function: it answers a PSYNC from what the replica said and what the log holds.
//   - Feeds owns the set of connected replicas, the pins that keep the log from being trimmed under them,
//     and the callers that wait for acknowledgements. One goroutine (its ticker) writes keepalives into the
//     stream and drops silent replicas.
//   - Feed is one replica's connection. It has two goroutines: the one that called Run reads what the
//     replica says, the pump writes. While the feed is caught up the pump sleeps and Push writes in its
//     place; mu.turn says whose turn it is, so the socket never has two writers.
//   - Link is the replica's connection to its primary. Its goroutine owns the connection: it reads, appends
//     and acknowledges. A second one, as long-lived as the connection, sends acknowledgements each second and
//     watches for silence; a third, the applier, executes behind the first what it finds in the log. A link
//     that is closed reads to the end of what its primary has sent, as long as that takes no longer than a
//     bound, and appends it; it is done when that is applied.
//
// What a node does with the bytes (append, execute, install a checkpoint, rewind) is behind interfaces that
// the data node implements: Node for the primary's side, Follower and Installer for the replica's.
//
// linkConn.mu and Link.mu are leaves. Lock order of the primary's side: Feeds.mu, then Feed.mu, then acks.mu.
// None is held over a network or disk wait; the one write made under Feed.mu is non-blocking.
package replication
