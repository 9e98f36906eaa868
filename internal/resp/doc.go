// Package resp speaks the Redis serialization protocol, versions 2 and 3, on both sides of a connection.
//
// The server side is Reader, which turns received bytes into commands, and Writer, which builds replies.
// Neither does any I/O: a caller reads into Reader.Space and sends Writer.Buf, so both are functions of
// their input and can be tested and fuzzed without sockets. The client side is ReplyReader, which takes
// replies from an io.Reader, decoded or as exact bytes, and Client, a small blocking client on top of it.
//
// The package also declares, once, every error text that the product sends (errors.go), and the number
// formats of Redis that both server and proxy need (number.go).
//
// The reference for behaviour is Redis 7.2. A Reader frames its input as Redis does: of the two bytes that
// end a line or a bulk only the position counts, not the value (the first CR ends a length line). Framing
// that differs from the server's behind a proxy would let one request be taken for another.
//
// Nothing here starts a goroutine that outlives the call, or takes a lock; a value of any type belongs to
// one goroutine at a time.
package resp
