package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/replog"
	"haypile/internal/resp"
)

// Options are the settings of the primary's side that may change while it runs.
type Options struct {
	// PingPeriod is the time between keepalives in the stream; Timeout that after which a silent replica, or
	// one that takes no bytes, is dropped.
	PingPeriod, Timeout time.Duration
	// FullSyncRate bounds all full syncs together, in bytes per second; 0 is no bound.
	FullSyncRate int64
	// FullSyncs is how many run at the same time; others wait.
	FullSyncs int
	// MaxHold is how many bytes of log one replica or full sync may keep from being trimmed; 0 is no bound.
	MaxHold int64
}

// DefaultOptions returns Redis' periods and a bound of two full syncs.
func DefaultOptions() Options {
	return Options{PingPeriod: 10 * time.Second, Timeout: 60 * time.Second, FullSyncs: 2, MaxHold: 64 << 30}
}

// tickPeriod is how often Feeds looks after its replicas.
const tickPeriod = time.Second

// Reasons for which a feed ends.
var (
	// ErrDisconnected: the node's role or history changed, the replica must ask again.
	ErrDisconnected = errors.New("replication: the node's role or history changed")
	// ErrLetGo: the replica kept more of the log from being trimmed than allowed.
	ErrLetGo = errors.New("replication: the replica held back the log's trimming past the bound")
	// ErrSilent: nothing was heard for the timeout.
	ErrSilent = errors.New("replication: nothing heard within the timeout")

	errReplaced = errors.New("replication: the same node connected again")
	errClosed   = errors.New("replication: closed")
)

// Stats counts what INFO stats reports about replication.
type Stats struct {
	SyncFull, SyncPartialOK, SyncPartialErr int64
	// LetGo is the number of replicas dropped because they fell behind the log's start or held it back.
	LetGo int64
}

// Feeds is the set of connected replicas of a node, primary or not: a replica feeds others from its own log.
type Feeds struct {
	node   Node
	logger *slog.Logger
	opt    atomic.Pointer[Options]
	acks   acks
	pace   pace
	retime chan struct{} // capacity 1: the ticker's period may have changed
	stats  struct{ full, partialOK, partialErr, letGo atomic.Int64 }

	// online is a copy of the feeds that take the stream, for Push, which takes no lock of the registry.
	online atomic.Pointer[[]*Feed]
	// foreign counts the online feeds that acknowledge only when asked.
	foreign atomic.Int32
	// getAck is about asking them: the highest offset waited for, the log's end behind the last GETACK, and
	// whether one is being appended.
	getAck struct {
		wanted, end atomic.Int64
		busy        atomic.Bool
	}

	mu struct {
		sync.Mutex
		feeds map[*Feed]struct{}
		pins  map[*pin]struct{}
		// gen rises with every DisconnectAll: a feed accepted before it may not start after it.
		gen     uint64
		closed  bool
		syncing int
		// slotFree is closed and replaced when a full sync ends.
		slotFree chan struct{}
	}
	running sync.WaitGroup
	stop    context.CancelFunc
	ctx     context.Context
}

// pin keeps the log from off on. lose, if set, ends its holder.
type pin struct {
	off  replog.Offset
	lose func(error)
}

// NewFeeds returns a running registry; Close stops it.
func NewFeeds(node Node, opt Options, logger *slog.Logger) *Feeds {
	fs := &Feeds{node: node, logger: logger, retime: make(chan struct{}, 1)}
	fs.SetOptions(opt)
	fs.online.Store(&[]*Feed{})
	fs.ctx, fs.stop = context.WithCancel(context.Background())
	fs.mu.feeds = make(map[*Feed]struct{})
	fs.mu.pins = make(map[*pin]struct{})
	fs.mu.slotFree = make(chan struct{})
	fs.running.Add(1)
	go fs.tick()
	return fs
}

// SetOptions changes the settings.
func (fs *Feeds) SetOptions(opt Options) {
	fs.opt.Store(&opt)
	fs.pace.setRate(opt.FullSyncRate)
	select {
	case fs.retime <- struct{}{}:
	default:
	}
}

// Close drops every replica and waits until their goroutines have ended.
func (fs *Feeds) Close() {
	fs.mu.Lock()
	fs.mu.closed = true
	fs.mu.Unlock()
	fs.DisconnectAll(errClosed)
	fs.stop()
	fs.running.Wait()
}

// DisconnectAll drops every replica, as Redis does at a change of role or history, so that they ask again and
// learn the new id. Callers that wait for acknowledgements return. The node's State must show the change
// before the call.
func (fs *Feeds) DisconnectAll(reason error) {
	fs.mu.Lock()
	fs.mu.gen++
	feeds := make([]*Feed, 0, len(fs.mu.feeds))
	for f := range fs.mu.feeds {
		feeds = append(feeds, f)
	}
	fs.getAck.wanted.Store(0)
	fs.getAck.end.Store(0)
	fs.mu.Unlock()
	for _, f := range feeds {
		f.close(reason)
	}
	fs.acks.releaseAll()
}

// Replconf takes a REPLCONF on a connection that is not fed yet and appends the reply to dst.
func (fs *Feeds) Replconf(dst []byte, h *Handshake, args [][]byte) []byte {
	hello, reply, err := h.replconf(args)
	switch {
	case err != nil:
		return fmt.Appendf(dst, "-%s\r\n", clip([]byte(err.Error()), 512))
	case !reply:
		return dst
	case !hello:
		return append(dst, "+OK\r\n"...)
	}
	st := fs.node.State()
	if h.Hello.Epoch > st.Epoch {
		fs.node.HeardEpoch(h.Hello.Epoch)
	}
	b, err := encodeHello(&Hello{Version: helloVersion, Format: st.Format, Node: st.NodeID, Epoch: st.Epoch,
		Reigns: st.Reigns, Start: logStart(st.Log), End: logEnd(st.Log)})
	if err != nil {
		return fmt.Appendf(dst, "-ERR %v\r\n", err)
	}
	dst = fmt.Appendf(dst, "$%d\r\n", len(b))
	return append(append(dst, b...), '\r', '\n')
}

func logStart(l Log) replog.Offset {
	if l == nil {
		return 0
	}
	return l.Start()
}

func logEnd(l Log) replog.Offset {
	if l == nil {
		return 0
	}
	return l.End()
}

// ReplyError is a refusal whose text is the error reply.
type ReplyError string

func (e ReplyError) Error() string { return string(e) }

// Accept decides a PSYNC or SYNC (args[0] is the command's name). Either it returns a feed, which the session
// runs in place of its own loop, with nothing of its own left to send; or a ReplyError to be sent to the
// client.
func (fs *Feeds) Accept(h *Handshake, args [][]byte) (*Feed, error) {
	req, err := ParsePSYNC(args, h)
	if err != nil {
		return nil, ReplyError(err.Error())
	}
	fs.mu.Lock()
	gen, closed := fs.mu.gen, fs.mu.closed
	fs.mu.Unlock()
	st := fs.node.State()
	if closed {
		return nil, ReplyError("ERR the node is shutting down")
	}
	if st.Unfit != "" {
		return nil, ReplyError(st.Unfit)
	}
	if st.Log == nil {
		return nil, ReplyError(resp.ErrNoMasterLink)
	}
	d := Decide(req, Local{Primary: st.Primary, Node: st.NodeID, Epoch: st.Epoch, Format: st.Format,
		Reigns: st.Reigns, Start: logStart(st.Log), End: logEnd(st.Log),
		SumBefore: st.Log.SumBefore})
	level := slog.LevelInfo
	if d.Verdict == Refuse {
		level = slog.LevelDebug // asked again each second
	}
	fs.logger.Log(fs.ctx, level, "replica asks to be fed", "replid", clip([]byte(req.ReplID), 40),
		"from", int64(req.From), "verdict", d.Verdict.String(), "reason", d.Reason)
	if req.From >= 0 && (d.Verdict == FullFiles || d.Verdict == FullRDB) {
		fs.stats.partialErr.Add(1)
	}
	switch d.Verdict {
	case Refuse:
		if d.HigherEpoch > 0 {
			fs.node.HeardEpoch(d.HigherEpoch)
		}
		return nil, ReplyError(d.Reason)
	case Diverged:
		return nil, ReplyError(divergedReply(d.From))
	case FullRDB:
		return nil, ReplyError("ERR a full sync needs a replica with the same file format: " + d.Reason)
	}
	return newFeed(fs, gen, st, *h, d), nil
}

// divergedReply tells a Haypile replica where its history leaves this node's.
func divergedReply(fork replog.Offset) string {
	return "DIVERGED " + strconv.FormatInt(int64(fork), 10) + " histories part here"
}

// add registers a feed that starts to run. A feed of the same node that is still there is dropped: a node
// counts once among the acknowledgements.
func (fs *Feeds) add(f *Feed) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.mu.closed {
		return errClosed
	}
	if fs.mu.gen != f.gen {
		return ErrDisconnected
	}
	for g := range fs.mu.feeds {
		if f.nodeID != "" && g.nodeID == f.nodeID {
			fs.dropLocked(g)
			g.close(errReplaced)
		}
	}
	fs.mu.feeds[f] = struct{}{}
	fs.running.Add(1)
	return nil
}

// remove forgets a feed whose goroutines have ended.
func (fs *Feeds) remove(f *Feed) {
	fs.mu.Lock()
	fs.dropLocked(f)
	fs.mu.Unlock()
	fs.running.Done()
}

// dropLocked takes a feed out of the registry; it may be called twice.
func (fs *Feeds) dropLocked(f *Feed) {
	delete(fs.mu.feeds, f)
	fs.publishLocked()
	fs.acks.remove(f)
}

// setOnline lets Push and the acknowledgements see a feed; false if the feed has been dropped meanwhile.
func (fs *Feeds) setOnline(f *Feed, at replog.Offset) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if _, ok := fs.mu.feeds[f]; !ok {
		return false
	}
	f.setState(FeedOnline)
	fs.publishLocked()
	fs.acks.add(f, acked{written: at})
	return true
}

// publishLocked makes the copy that Push iterates over.
func (fs *Feeds) publishLocked() {
	list := make([]*Feed, 0, len(fs.mu.feeds))
	foreign := int32(0)
	for f := range fs.mu.feeds {
		if f.state() != FeedOnline {
			continue
		}
		list = append(list, f)
		if !f.haypile {
			foreign++
		}
	}
	fs.foreign.Store(foreign)
	fs.online.Store(&list)
}

// Push hands log bytes that were just appended at start to every online replica whose socket takes them now.
// The committer calls it after each append, before clients see the replies. It never blocks: a replica that
// is behind, or whose socket is full, is left to its pump.
func (fs *Feeds) Push(start replog.Offset, b []byte) {
	for _, f := range *fs.online.Load() {
		f.push(start, b)
	}
}

// Online is the number of replicas that take the stream.
func (fs *Feeds) Online() int { return len(*fs.online.Load()) }

// CountAcked is the number of online replicas that have everything before off in their log, or fsynced.
func (fs *Feeds) CountAcked(off replog.Offset, fsynced bool) int { return fs.acks.count(off, fsynced) }

// WaitAcked waits until n online replicas have everything before off in their log (fsynced: on their disk),
// the context ends, or the replicas are disconnected by a change of role. It returns how many have it then.
func (fs *Feeds) WaitAcked(ctx context.Context, off replog.Offset, n int, fsynced bool) int {
	if fs.foreign.Load() > 0 && fs.acks.count(off, fsynced) < n {
		fs.askAcks(off)
	}
	return fs.acks.wait(ctx, off, n, fsynced)
}

// askAcks puts a GETACK behind off into the stream, for replicas that acknowledge once a second. Whoever
// comes while one is being appended leaves the work to its appender, so that many waiters cost few GETACKs.
func (fs *Feeds) askAcks(off replog.Offset) {
	raise(&fs.getAck.wanted, int64(off))
	missing := func() bool { return fs.getAck.end.Load() <= fs.getAck.wanted.Load() }
	for missing() && fs.getAck.busy.CompareAndSwap(false, true) {
		end, err := fs.node.AppendGetAck()
		if err == nil {
			raise(&fs.getAck.end, int64(end))
		}
		fs.getAck.busy.Store(false)
		if err != nil {
			return // not an open primary any more: the waiters are released with the role
		}
	}
}

// raise stores the larger of two values.
func raise(v *atomic.Int64, to int64) {
	for old := v.Load(); old < to; old = v.Load() {
		if v.CompareAndSwap(old, to) {
			return
		}
	}
}

// Snapshot describes every connected replica, in the order in which they came.
func (fs *Feeds) Snapshot() []FeedInfo {
	fs.mu.Lock()
	feeds := make([]*Feed, 0, len(fs.mu.feeds))
	for f := range fs.mu.feeds {
		feeds = append(feeds, f)
	}
	fs.mu.Unlock()
	slices.SortFunc(feeds, func(a, b *Feed) int { return int(a.seq - b.seq) })
	now := time.Now()
	out := make([]FeedInfo, len(feeds))
	for i, f := range feeds {
		out[i] = f.info(now)
	}
	return out
}

// Stats returns the counters.
func (fs *Feeds) Stats() Stats {
	return Stats{SyncFull: fs.stats.full.Load(), SyncPartialOK: fs.stats.partialOK.Load(),
		SyncPartialErr: fs.stats.partialErr.Load(), LetGo: fs.stats.letGo.Load()}
}

// Pin keeps the log from off on until release is called, for a backup or another reader. The caller makes
// sure afterwards that the log still starts at or below off.
func (fs *Feeds) Pin(off replog.Offset) (release func()) {
	return fs.pin(&pin{off: off})
}

func (fs *Feeds) pin(p *pin) (release func()) {
	fs.mu.Lock()
	fs.mu.pins[p] = struct{}{}
	fs.mu.Unlock()
	return sync.OnceFunc(func() {
		fs.mu.Lock()
		delete(fs.mu.pins, p)
		fs.mu.Unlock()
	})
}

// movePin raises a pin once it is known what is needed.
func (fs *Feeds) movePin(p *pin, off replog.Offset) {
	fs.mu.Lock()
	p.off = off
	fs.mu.Unlock()
}

// Floor is the lowest offset that replicas, full syncs and pins still need: the log must not be trimmed past
// it. Replicas that hold more than MaxHold bytes before end are let go first. It is the largest offset if
// nothing is needed.
func (fs *Feeds) Floor(end replog.Offset) replog.Offset {
	bound := replog.Offset(math.MinInt64)
	if hold := fs.opt.Load().MaxHold; hold > 0 {
		bound = end - replog.Offset(hold)
	}
	floor := replog.Offset(math.MaxInt64)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	need := func(off replog.Offset, lose func(error)) {
		if off < bound && lose != nil {
			fs.stats.letGo.Add(1)
			lose(ErrLetGo)
			return
		}
		floor = min(floor, off)
	}
	for p := range fs.mu.pins {
		need(p.off, p.lose)
	}
	for f := range fs.mu.feeds {
		if off, ok := f.needs(); ok {
			need(off, f.close)
		}
	}
	return floor
}

// tick looks after the replicas each second, or as often as short periods need it.
func (fs *Feeds) tick() {
	defer fs.running.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	lastPing, lastEnd := time.Now(), replog.Offset(-1)
	for {
		select {
		case <-fs.ctx.Done():
			return
		case <-timer.C:
		case <-fs.retime:
		}
		now, opt := time.Now(), fs.opt.Load()
		timer.Reset(max(min(tickPeriod, opt.PingPeriod/2, opt.Timeout/4), time.Millisecond))
		fs.mu.Lock()
		for f := range fs.mu.feeds {
			f.check(now, opt.Timeout)
		}
		fs.mu.Unlock()
		if now.Sub(lastPing) >= opt.PingPeriod && fs.Online() > 0 {
			lastPing, lastEnd = now, fs.keepAlive(lastEnd)
		}
	}
}

// keepAlive puts a PING into a primary's stream and returns the log's end. A stream that has moved since it
// ended at last has kept every replica awake already.
func (fs *Feeds) keepAlive(last replog.Offset) replog.Offset {
	st := fs.node.State()
	if !st.Primary || st.Unfit != "" || st.Log == nil {
		return last
	}
	end := st.Log.End()
	if end != last {
		return end
	}
	end, err := fs.node.AppendPing()
	if err != nil {
		fs.logger.Warn("keepalive for replicas not written", "err", err)
		return last
	}
	return end
}

// acquireSync waits for a place among the full syncs.
func (fs *Feeds) acquireSync(ctx context.Context) (release func(), err error) {
	for {
		fs.mu.Lock()
		if fs.mu.syncing < max(fs.opt.Load().FullSyncs, 1) {
			fs.mu.syncing++
			fs.mu.Unlock()
			return sync.OnceFunc(func() {
				fs.mu.Lock()
				fs.mu.syncing--
				close(fs.mu.slotFree)
				fs.mu.slotFree = make(chan struct{})
				fs.mu.Unlock()
			}), nil
		}
		free := fs.mu.slotFree
		fs.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
