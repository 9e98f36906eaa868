package proxy

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/slot"
)

// subKind is what a client subscribes to.
type subKind uint8

const (
	channels subKind = iota
	patterns
	shardChannels
	subKinds
)

var subWords = [subKinds][2]string{
	{"subscribe", "unsubscribe"}, {"psubscribe", "punsubscribe"}, {"ssubscribe", "sunsubscribe"},
}

// subscriptions are those of one session. Channels and patterns of all clients live on one shard, the first
// of the cluster, so that publisher and subscriber meet; shard channels live where their slot does.
//
// The proxy survives a change of the primary: it subscribes again at the new one. What is published
// meanwhile is lost, as the protocol allows; the client is not told.
type subscriptions struct {
	s      *session
	links  map[*shard]*link // owned by the reader goroutine
	counts [subKinds]atomic.Int64
}

// count is the number of subscriptions; 0 on nil.
func (u *subscriptions) count() int64 {
	if u == nil {
		return 0
	}
	return u.counts[channels].Load() + u.counts[patterns].Load() + u.counts[shardChannels].Load()
}

func (u *subscriptions) close() {
	for _, l := range u.links {
		l.close()
	}
}

// subRequest is a SUBSCRIBE or the like whose confirmations are awaited.
type subRequest struct {
	r    *request
	left int // confirmations to come; guarded by session.mu
}

// subscription handles the SUBSCRIBE family. What came before is answered first: confirmations and messages
// are passed on as they come. It reports false if the session is over.
func (s *session) subscription(spec *command.Spec, args [][]byte) bool {
	kind, add := subCommand(spec.FullName())
	if s.subs == nil {
		s.subs = &subscriptions{s: s, links: map[*shard]*link{}}
	}
	if !s.drain() {
		return false
	}
	rt, ok := s.p.routesFor(s)
	if !ok {
		s.replyError(spec, resp.ErrClusterDown)
		return true
	}
	if add && s.subs.count()+int64(len(args)) > int64(s.p.opt.MaxSubscriptions) {
		s.replyError(spec, "ERR too many subscriptions for one client of the proxy")
		return true
	}
	byLink, text := s.subs.assign(rt, kind, add, args[1:])
	if text != "" {
		s.replyError(spec, text)
		return true
	}
	sr := &subRequest{r: s.newRequest(spec)}
	for _, names := range byLink {
		sr.left += len(names)
	}
	s.add(sr.r)
	if sr.left == 0 { // nothing that a node knows of: the confirmations are the reply
		sr.r.reply, sr.r.done = s.subs.confirmUnknown(sr.r.reply[:0], kind, args[1:]), true
		return true
	}
	s.submit()
	for l, names := range byLink {
		l.send(kind, add, names, sr)
	}
	return true
}

func subCommand(name string) (subKind, bool) {
	for k, words := range subWords {
		switch name {
		case words[0]:
			return subKind(k), true
		case words[1]:
			return subKind(k), false
		}
	}
	panic("proxy: not a subscribing command: " + name)
}

// assign finds the link that each name goes to. To unsubscribe, names that nobody subscribed to are left
// out unless others go with them.
func (u *subscriptions) assign(rt *routes, kind subKind, add bool,
	args [][]byte) (map[*link][]string, string) {
	out := map[*link][]string{}
	if add {
		for _, name := range args {
			at := 0
			if kind == shardChannels {
				if at = int(rt.owner[slot.Of(name)]); at == none {
					return nil, resp.ErrClusterDown
				}
			}
			l := u.link(rt.shards[at])
			if l == nil {
				return nil, replyCrowded[1 : len(replyCrowded)-2]
			}
			out[l] = append(out[l], string(name))
		}
		return out, ""
	}
	known := map[string]bool{}
	for _, l := range u.links {
		names := l.subscribed(kind)
		for n := range names {
			known[n] = true
			if len(args) == 0 {
				out[l] = append(out[l], n)
			}
		}
		for _, a := range args {
			if _, ok := names[string(a)]; ok {
				out[l] = append(out[l], string(a))
			}
		}
	}
	for l := range out { // a node confirms unknown names too
		for _, a := range args {
			if !known[string(a)] {
				out[l] = append(out[l], string(a))
			}
		}
		break
	}
	return out, ""
}

// confirmUnknown answers an UNSUBSCRIBE of names that are not subscribed.
func (u *subscriptions) confirmUnknown(dst []byte, kind subKind, names [][]byte) []byte {
	w := resp.Writer{Buf: dst, Proto: int(u.s.proto)}
	if len(names) == 0 {
		names = [][]byte{nil}
	}
	for _, n := range names {
		u.confirm(&w, kind, false, n)
	}
	return w.Buf
}

// confirm appends a confirmation; a nil name is null.
func (u *subscriptions) confirm(w *resp.Writer, kind subKind, add bool, name []byte) {
	word := subWords[kind][1]
	if add {
		word = subWords[kind][0]
	}
	n := u.counts[shardChannels].Load()
	if kind != shardChannels {
		n = u.counts[channels].Load() + u.counts[patterns].Load()
	}
	w.Push(3)
	w.BulkString(word)
	if name == nil {
		w.Null()
	} else {
		w.Bulk(name)
	}
	w.Int(n)
}

// link finds or makes the link to a shard; nil if there are too many.
func (u *subscriptions) link(sh *shard) *link {
	l := u.links[sh]
	if l != nil && !l.isClosed() {
		return l
	}
	p := u.s.p
	if p.links.Add(1) > int64(p.opt.MaxDedicated) {
		p.links.Add(-1)
		return nil
	}
	l = &link{u: u, shard: sh, key: connKey{proto: u.s.proto}, wake: make(chan struct{}, 1)}
	l.ctx, l.cancel = context.WithCancel(p.ctx)
	for k := range l.mu.names {
		l.mu.names[k] = map[string]struct{}{}
	}
	u.links[sh] = l
	sh.mu.Lock()
	sh.mu.links[l] = struct{}{}
	sh.mu.Unlock()
	p.wg.Add(1)
	go l.run()
	return l
}

// link is a connection of a subscribing client to the primary of one shard. run owns the reading side and
// connects again until close.
type link struct {
	u      *subscriptions
	shard  *shard
	key    connKey
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // there is something to write, or the primary changed

	mu struct {
		sync.Mutex
		nc      net.Conn // nil while not connected
		names   [subKinds]map[string]struct{}
		pending []pendingSub // confirmations awaited, in order
		out     []byte       // to be written
		closed  bool
	}
}

type pendingSub struct {
	kind subKind
	add  bool
	name string
	sr   *subRequest // nil: subscribed again after a change of the primary
}

func (l *link) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.closed
}

func (l *link) subscribed(kind subKind) map[string]struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make(map[string]struct{}, len(l.mu.names[kind]))
	for n := range l.mu.names[kind] {
		names[n] = struct{}{}
	}
	return names
}

// send queues the command for some names.
func (l *link) send(kind subKind, add bool, names []string, sr *subRequest) {
	l.mu.Lock()
	for _, n := range names {
		l.expectLocked(pendingSub{kind, add, n, sr})
	}
	l.mu.Unlock()
	l.kick()
	time.AfterFunc(l.u.s.p.opt.HoldTimeout, func() { l.expire(sr) })
}

func (l *link) expectLocked(p pendingSub) {
	l.mu.pending = append(l.mu.pending, p)
	if l.mu.nc != nil {
		l.writeLocked(p)
	}
}

func (l *link) writeLocked(p pendingSub) {
	word := subWords[p.kind][1]
	if p.add {
		word = subWords[p.kind][0]
	}
	l.mu.out = resp.AppendCommandStrings(l.mu.out, word, p.name)
}

func (l *link) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// expire fails a request that was not confirmed in time. The connection is given up, so that what it may
// still confirm is forgotten.
func (l *link) expire(sr *subRequest) {
	l.mu.Lock()
	kept := l.mu.pending[:0:0]
	for _, p := range l.mu.pending {
		if p.sr != sr {
			kept = append(kept, p)
		}
	}
	late := len(kept) < len(l.mu.pending)
	l.mu.pending = kept
	if late && l.mu.nc != nil {
		l.mu.nc.Close()
	}
	l.mu.Unlock()
	if late {
		l.u.s.finishSub(sr, l.shard.noPrimary)
	}
}

// primaryChanged gives up the connection to the old primary.
func (l *link) primaryChanged() {
	l.mu.Lock()
	if l.mu.nc != nil {
		l.mu.nc.Close()
	}
	l.mu.Unlock()
	l.kick()
}

func (l *link) close() {
	l.mu.Lock()
	l.mu.closed = true
	if l.mu.nc != nil {
		l.mu.nc.Close()
	}
	l.mu.Unlock()
	l.cancel()
}

// run connects, and relays what comes, until the link is closed.
func (l *link) run() {
	p := l.u.s.p
	defer p.wg.Done()
	defer func() {
		l.shard.mu.Lock()
		delete(l.shard.mu.links, l)
		l.shard.mu.Unlock()
		p.links.Add(-1)
	}()
	wait := dialBackoffMin
	for l.ctx.Err() == nil {
		addr, ok := l.shard.primary()
		if ok {
			cl, err := resp.Dial(l.ctx, addr, p.dialOptions(l.key))
			if err == nil {
				wait = dialBackoffMin
				l.serve(cl)
				continue
			}
		}
		select {
		case <-l.ctx.Done():
		case <-l.wake:
		case <-time.After(wait):
			wait = min(2*wait, dialBackoffMax)
		}
	}
}

// serve uses one connection until it fails.
func (l *link) serve(cl *resp.Client) {
	nc := cl.Conn()
	nc.SetDeadline(time.Time{})
	done := make(chan struct{})
	l.u.s.p.wg.Add(1)
	go l.writer(nc, done)
	if l.connected(nc) {
		l.relay(cl.Replies())
	}
	nc.Close()
	close(done)
	l.disconnected()
}

// connected subscribes again to everything. It reports false if the link was closed meanwhile.
func (l *link) connected(nc net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return false
	}
	l.mu.nc = nc
	l.mu.out = nil
	pending := l.mu.pending
	l.mu.pending = nil
	for k := range l.mu.names {
		for n := range l.mu.names[k] {
			l.expectLocked(pendingSub{subKind(k), true, n, nil})
		}
	}
	for _, p := range pending {
		l.expectLocked(p)
	}
	l.kick()
	return true
}

// disconnected ends what the loss of the connection ends: what was to be unsubscribed is.
func (l *link) disconnected() {
	l.mu.Lock()
	l.mu.nc = nil
	var kept, gone []pendingSub
	for _, p := range l.mu.pending {
		switch {
		case p.sr == nil:
		case p.add:
			kept = append(kept, p)
		default:
			gone = append(gone, p)
		}
	}
	l.mu.pending = kept
	l.mu.Unlock()
	for _, p := range gone {
		l.confirmed(p)
	}
}

// writer sends what is queued until done is closed.
func (l *link) writer(nc net.Conn, done chan struct{}) {
	p := l.u.s.p
	defer p.wg.Done()
	for {
		select {
		case <-done:
			return
		case <-l.wake:
		}
		l.mu.Lock()
		out := l.mu.out
		if l.mu.nc != nc {
			out = nil
		} else {
			l.mu.out = nil
		}
		l.mu.Unlock()
		if len(out) == 0 {
			continue
		}
		nc.SetWriteDeadline(time.Now().Add(p.opt.BackendTimeout))
		if _, err := nc.Write(out); err != nil {
			nc.Close()
			return
		}
	}
}

// relay passes on messages and confirmations until the connection fails.
func (l *link) relay(rr *resp.ReplyReader) {
	var raw []byte
	for {
		var err error
		if raw, err = rr.ReadRaw(raw[:0]); err != nil {
			return
		}
		switch word := firstWord(raw); {
		case raw[0] == '-':
			l.rejected(raw)
		case bytes.HasSuffix(word, []byte("message")):
			l.u.s.push(raw)
		case bytes.HasSuffix(word, []byte("subscribe")):
			if !l.confirmation(raw) {
				return
			}
		}
		if cap(raw) > batchKeep {
			raw = nil
		}
	}
}

// firstWord is the first element of a message or confirmation.
func firstWord(raw []byte) []byte {
	_, at, ok := header(raw)
	if !ok || at >= len(raw) || raw[at] != '$' {
		return nil
	}
	size := replySize(raw[at:])
	eol := bytes.IndexByte(raw[at:], '\n')
	if size < eol+3 {
		return nil
	}
	return raw[at+eol+1 : at+size-2]
}

// confirmation takes a confirmation of the node for the oldest that is awaited. It reports false when
// nothing is left to listen for.
func (l *link) confirmation(raw []byte) bool {
	l.mu.Lock()
	if len(l.mu.pending) == 0 {
		l.mu.Unlock()
		l.u.s.p.log.Warn("confirmation without a subscription", "shard", l.shard.id,
			"reply", fmt.Sprintf("%.64q", raw))
		return true
	}
	p := l.mu.pending[0]
	l.mu.pending = l.mu.pending[1:]
	l.mu.Unlock()
	return l.confirmed(p)
}

// confirmed notes a subscription or its end and tells the client.
func (l *link) confirmed(p pendingSub) bool {
	if p.sr == nil {
		return true
	}
	l.mu.Lock()
	_, had := l.mu.names[p.kind][p.name]
	switch {
	case p.add && !had:
		l.mu.names[p.kind][p.name] = struct{}{}
		l.u.counts[p.kind].Add(1)
	case !p.add && had:
		delete(l.mu.names[p.kind], p.name)
		l.u.counts[p.kind].Add(-1)
	}
	left := len(l.mu.pending)
	for _, names := range l.mu.names {
		left += len(names)
	}
	if left == 0 {
		l.mu.closed = true
		l.cancel()
	}
	l.mu.Unlock()

	w := resp.Writer{Proto: int(l.key.proto)}
	l.u.confirm(&w, p.kind, p.add, []byte(p.name))
	s := l.u.s
	s.mu.Lock()
	s.mu.pubsub = int(l.u.count())
	s.mu.Unlock()
	s.push(w.Buf)
	s.confirmSub(p.sr)
	return left > 0
}

// rejected takes an error reply: it is the answer to one command, that is to one name.
func (l *link) rejected(raw []byte) {
	l.mu.Lock()
	if len(l.mu.pending) == 0 {
		l.mu.Unlock()
		return
	}
	p := l.mu.pending[0]
	l.mu.pending = l.mu.pending[1:]
	if p.sr == nil {
		// No longer allowed: the client finds out as with a lost connection.
		delete(l.mu.names[p.kind], p.name)
		l.u.counts[p.kind].Add(-1)
	}
	l.mu.Unlock()
	if p.sr == nil {
		l.u.s.close("subscription refused after a change of the primary")
		return
	}
	l.u.s.finishSub(p.sr, string(raw))
}

// confirmSub counts a confirmation that the client has been sent.
func (s *session) confirmSub(sr *subRequest) {
	s.mu.Lock()
	if sr.left--; sr.left == 0 && sr.r != nil {
		sr.r.reply = sr.r.reply[:0]
		s.completeLocked(sr.r)
		sr.r = nil
	}
	wake := s.wakeLocked()
	s.mu.Unlock()
	if wake {
		s.wakeWriter()
	}
}

// finishSub ends a request with a reply, if it is not ended already.
func (s *session) finishSub(sr *subRequest, reply string) {
	s.mu.Lock()
	if sr.r != nil {
		s.failLocked(sr.r, reply)
		sr.r = nil
	}
	wake := s.wakeLocked()
	s.mu.Unlock()
	if wake {
		s.wakeWriter()
	}
}
