// Package proxy gives any Redis client one address for a whole cluster. It is stateless apart from its
// clients: the topology comes from the dashboards and is kept in a file, so that a proxy starts and serves
// while no dashboard answers.
//
// A command is routed only by its description in the command table it is handed; one that the table does
// not know is refused and never forwarded, and neither is one that would change the state of a connection
// that clients share. Commands are sent in canonical encoding, never as the bytes the client sent, so that
// framing cannot differ between proxy and node.
//
// # A request's way
//
// session.read parses what a client sent into requests and appends them to the session's queue, which
// holds them in the order of arrival until they are answered. A request for a node goes through the lane
// of its session and shard into the queue of a backend connection, shared by many sessions. conn.write
// puts everything queued into one write, conn.read hands the replies, in order and undecoded, back to the
// sessions; session.write sends what is complete at the head of the queue.
//
// At any time a request has one owner: the lane (held, not sent), a conn (queued or in flight), or, once
// done, the session's queue. Only the owner may complete it.
//
// Blocking commands, WATCH and what may take long have a connection of their own meanwhile. A transaction
// needs none: the proxy keeps it until EXEC and sends it in one piece.
//
// # Order
//
// Requests of one client to one shard never overtake each other. All requests in flight of a lane are on
// one connection; the lane changes the connection (another database, another protocol version, one of its
// own, a new primary) only when none is in flight. A held request holds the later ones of its lane.
//
// # What happens when a primary fails
//
// A request that no node has executed is held up to HoldTimeout: it was never sent, or the node refused it
// in the very words that mean so (see refusals). A write in flight on a connection that dies gets an error
// that says its outcome is unknown and is never sent again. A read in flight is repeated once. If a later
// write of the lane was or may have been executed already, an earlier request is not repeated behind it: it
// gets its error. A new primary is used at once; what is in flight to the old one has SwitchGrace to be
// answered. EXEC after a WATCH whose connection is gone answers null, as if a key had changed.
//
// # Goroutines
//
// Per client one reads and one writes; both end with the session. Per backend connection one reads and one
// writes; they end when it is closed. Per shard one watches over held requests, and one probes a primary
// that refuses; per subscribing client and shard one relays messages and one writes. One accepts, some
// follow the topology, one keeps it, one sweeps for timeouts. All are counted in Proxy.wg and end with Close.
//
// # Locks
//
// In this order: Proxy.topoMu, session.mu, shard.mu, conn.mu or link.mu. Proxy.mu is a leaf. Nothing blocks
// on network or disk under any of them. A function that finishes requests or pumps lanes takes session.mu and
// so must be called with none of the last four held.
package proxy
