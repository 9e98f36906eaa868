package proxy

import (
	"haypile/internal/command"
	"haypile/internal/resp"
)

// connKey tells connections to a node apart: replies look different in each protocol version, and the
// selected database is a property of the connection.
type connKey struct {
	proto uint8
	db    uint16
}

// request is one command of a client, or a part of one that was split.
type request struct {
	next   *request // in the session's queue or free list
	s      *session
	lane   *lane
	spec   *command.Spec
	parent *fan // of a part
	parts  *fan // of a command that was split

	raw     []byte // what is sent to the node
	reply   []byte
	replies int // that raw yields; only the last one is the client's
	left    int // of them still to come
	key     connKey
	seq     uint64 // order in the lane
	// waitStart is when the request first waited for a primary (UnixNano), 0 if it never did.
	waitStart int64
	size      int // bytes counted against the session's bound

	done       bool // reply is complete
	passing    bool // a part of the reply has been sent to the client; reply is what follows it
	silent     bool // CLIENT REPLY OFF: no reply is sent
	repeatable bool
	retried    bool
	dedicated  bool // must have a connection of its own
	// pin takes the lane's connection for the lane alone (WATCH), unpin gives it back (EXEC, UNWATCH).
	pin, unpin bool
	exec       bool // a whole transaction
	// instead, if set, is what the client gets, whatever the node answers.
	instead string
	// fix, if set, changes the reply.
	fix func([]byte) []byte
	// refusedInside says that a command of a transaction was refused; EXEC then answers with an error.
	refusedInside bool
	// strict says that an error among the replies before the last is the client's reply.
	strict bool
}

// bufferKeep is the largest buffer that a request keeps for the next one. Larger ones belong to the reply
// or the write under way and are never used again.
const bufferKeep = 16 << 10

func (r *request) reset() {
	raw, reply := r.raw[:0], r.reply[:0]
	if cap(raw) > bufferKeep {
		raw = nil
	}
	if cap(reply) > bufferKeep {
		reply = nil
	}
	*r = request{raw: raw, reply: reply}
}

// outcome is how a connection ended with a request.
type outcome uint8

const (
	answered outcome = iota // reply holds the node's answer
	refused                 // the node answered that it did not execute the request
	unsent                  // the node cannot have received it whole
	lost                    // sent, and the connection was lost before the reply
)

// Replies of the proxy to requests that found no answer.
const (
	replyLost     = "-ERR outcome unknown: connection to the primary was lost before the reply\r\n"
	replyLostRead = "-ERR connection to the primary was lost before the reply\r\n"
	replyOverload = "-ERR overloaded: too many requests are waiting for a primary\r\n"
	replyCrowded  = "-ERR overloaded: too many connections for blocking commands and WATCH\r\n"
	replyClosing  = "-ERR the proxy is shutting down\r\n"
)

// refusals are the replies by which a node says that it did not execute the command and that another node,
// or the same one later, will. Only these very words count: other errors with the same code can come after
// the command was executed, of a script or of a primary that could not confirm a write.
var refusals = func() map[string]bool {
	all := map[string]bool{"-" + resp.ErrUnblockedRole + "\r\n": true}
	for _, text := range []string{resp.ErrReadOnly, resp.ErrLeaseLost, resp.ErrLoading, resp.ErrMasterDown} {
		all["-"+text+"\r\n"] = true
		all["-"+resp.ExecAborted(text)+"\r\n"] = true
		all["-EXECABORT Transaction discarded because of: "+text+"\r\n"] = true // Redis keeps the code word
	}
	return all
}()

func isRefusal(reply []byte) bool {
	return len(reply) > 0 && reply[0] == '-' && refusals[string(reply)]
}

// fan gathers the replies of the parts of one command. Guarded by session.mu.
type fan struct {
	whole   *request // in the session's queue
	parts   []*request
	orders  [][]int
	total   int
	pending int
	merge   command.Merge
}

// collect merges the replies when the last part is done.
func (f *fan) collect() {
	replies := make([][]byte, len(f.parts))
	for i, p := range f.parts {
		replies[i] = p.reply
	}
	f.whole.reply = append(f.whole.reply[:0], merge(f.merge, replies, f.orders, f.total)...)
}

// output is what a session has to send. Small replies are gathered in tail; large ones are passed on as
// they are.
type output struct {
	chunks [][]byte
	tail   []byte
	size   int
}

// add appends a reply. It takes over b if it is large.
func (o *output) add(b []byte) {
	o.size += len(b)
	if len(b) <= bufferKeep {
		o.tail = append(o.tail, b...)
		return
	}
	if len(o.tail) > 0 {
		o.chunks = append(o.chunks, o.tail)
		o.tail = nil
	}
	o.chunks = append(o.chunks, b)
}
