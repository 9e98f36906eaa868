package session

import (
	"net"
	"time"

	"haypile/internal/option"
	"haypile/internal/pubsub"
	"haypile/internal/resp"
)

// StartPushing prepares the connection for messages that are no replies: from now on a writer goroutine
// sends all output, in the order in which it was produced. The connection's goroutine only.
func (k *Conn) StartPushing() {
	if k.pushing.Load() {
		return
	}
	k.mu.Lock()
	k.mu.corked = true
	k.mu.Unlock()
	k.pushing.Store(true)
	k.writer.Add(1)
	go k.writeLoop()
}

// cork marks the beginning of a batch: messages that arrive until its replies are flushed come after them.
func (k *Conn) cork(on bool) {
	if !k.pushing.Load() {
		return
	}
	k.mu.Lock()
	k.mu.corked = on
	k.mu.Unlock()
}

// flushPushing hands the replies of a batch, and the messages that waited for them, to the writer. It waits
// while the peer takes too little: replies have no other bound.
func (k *Conn) flushPushing(out []byte) error {
	k.mu.Lock()
	k.mu.pending = append(k.mu.pending, out...)
	k.mu.pending = append(k.mu.pending, k.mu.messages...)
	k.mu.messages = k.mu.messages[:0]
	k.mu.corked = false
	k.mu.Unlock()
	k.recycle()
	k.wake()
	return k.awaitRoom(nil)
}

// awaitRoom waits until the writer has not much to send, or until over is closed.
func (k *Conn) awaitRoom(over <-chan struct{}) error {
	for {
		k.mu.Lock()
		closed, full := k.mu.closed, len(k.mu.pending) > maxPending
		k.mu.Unlock()
		switch {
		case closed:
			return net.ErrClosed
		case !full:
			return nil
		}
		select {
		case <-k.mu.room:
		case <-k.ctx.Done():
			return net.ErrClosed
		case <-over:
			return errOver
		}
	}
}

// Push sends a message behind what was sent before; any goroutine. A client that does not read and exceeds
// its output limit is disconnected. A connection of a loop that has not begun to push does so now, between two
// batches of replies.
func (k *Conn) Push(encoded []byte) {
	k.mu.Lock()
	if k.mu.closed {
		k.mu.Unlock()
		return
	}
	pushing := k.pushing.Load()
	if k.mu.corked || !pushing {
		k.mu.messages = append(k.mu.messages, encoded...)
	} else {
		k.mu.pending = append(k.mu.pending, encoded...)
	}
	kill := k.overLimitLocked()
	k.mu.Unlock()
	if kill {
		k.stats.OutKills.Add(1)
		k.Kill()
	}
	if pushing {
		k.wake()
	} else if !k.wantsPush.Swap(true) {
		k.deadline.Lock()
		s := k.sock
		k.deadline.Unlock()
		if s != nil { // else the loop will find it when it takes the connection in
			s.loop.startPushing(k)
		}
	}
}

// beginPushing is StartPushing for a connection that is between two batches: messages have been waiting for it.
func (k *Conn) beginPushing() {
	k.StartPushing()
	k.mu.Lock()
	k.mu.pending = append(k.mu.pending, k.mu.messages...)
	k.mu.messages = k.mu.messages[:0]
	k.mu.corked = false
	k.mu.Unlock()
	k.wake()
}

// overLimitLocked applies client-output-buffer-limit: the hard limit at once, the soft one after its time.
func (k *Conn) overLimitLocked() bool {
	lim := option.ClientOutputBufferLimit.Get(k.cfg).PubSub
	n := int64(len(k.mu.pending) + len(k.mu.messages) + k.mu.sending)
	if lim.Hard > 0 && n > lim.Hard {
		return true
	}
	if lim.Soft <= 0 || n <= lim.Soft {
		k.mu.over = time.Time{}
		return false
	}
	if k.mu.over.IsZero() {
		k.mu.over = time.Now()
	}
	return time.Since(k.mu.over) > lim.SoftFor
}

func (k *Conn) wake() {
	select {
	case k.mu.wake <- struct{}{}:
	default:
	}
}

// writeLoop sends what is pending until the connection ends; what is pending then is still sent.
func (k *Conn) writeLoop() {
	defer k.writer.Done()
	var buf []byte
	for {
		k.mu.Lock()
		buf, k.mu.pending = k.mu.pending, buf[:0]
		k.mu.sending = len(buf)
		closed := k.mu.closed
		k.mu.Unlock()
		select {
		case k.mu.room <- struct{}{}:
		default:
		}
		if len(buf) > 0 {
			if err := k.write(buf); err != nil {
				k.mu.Lock()
				k.mu.closed = true
				k.mu.Unlock()
				k.Kill()
				return
			}
			if cap(buf) > 1<<20 {
				buf = nil
			}
			continue
		}
		if closed {
			return
		}
		<-k.mu.wake
	}
}

// Deliver takes a published message: pubsub.Subscriber.
func (k *Conn) Deliver(m *pubsub.Message) {
	w := resp.Writer{Proto: int(k.proto.Load())}
	switch m.Kind {
	case pubsub.Pattern:
		w.Push(4)
		w.BulkString("pmessage")
		w.BulkString(m.Pattern)
	case pubsub.Shard:
		w.Push(3)
		w.BulkString("smessage")
	default:
		w.Push(3)
		w.BulkString("message")
	}
	w.BulkString(m.Channel)
	w.Bulk(m.Payload)
	k.Push(w.Buf)
}

// invalidateChannel is where redirected invalidations seem to come from in RESP2.
const invalidateChannel = "__redis__:invalidate"

// Invalidate sends a message of client-side caching: keys that are not valid any more, all if keys is nil. Without
// RESP3 only a client that subscribes can take one, as a message of a channel, and only by redirection.
func (k *Conn) Invalidate(keys [][]byte, redirected bool) {
	w := resp.Writer{Proto: int(k.proto.Load())}
	switch {
	case w.Proto >= 3:
		w.Push(2)
		w.BulkString("invalidate")
	case redirected && k.client.PubSub.Load():
		w.Array(3)
		w.BulkString("message")
		w.BulkString(invalidateChannel)
	default:
		return
	}
	if keys == nil {
		w.Null()
	} else {
		w.BulkArray(keys...)
	}
	k.Push(w.Buf)
}

// RedirectionBroken tells that the client to which invalidations were redirected is gone.
func (k *Conn) RedirectionBroken(id int64) {
	if w := (resp.Writer{Proto: int(k.proto.Load())}); w.Proto >= 3 {
		w.Push(2)
		w.BulkString("tracking-redir-broken")
		w.Int(id)
		k.Push(w.Buf)
	}
}

// TakeMessages moves waiting messages to the replies.
func (k *Conn) TakeMessages(out *resp.Writer) {
	if !k.pushing.Load() {
		return
	}
	k.mu.Lock()
	out.Buf = append(out.Buf, k.mu.messages...)
	k.mu.messages = k.mu.messages[:0]
	k.mu.Unlock()
}

// SetProto follows HELLO, for messages. Without a loop nobody could make the connection begin to push later.
func (k *Conn) SetProto(n int) {
	k.proto.Store(int32(n))
	if n >= 3 && k.sock == nil {
		k.StartPushing()
	}
}
