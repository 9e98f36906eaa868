package exec

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/replog"
	"haypile/internal/resp"
)

type (
	mutex      = sync.Mutex
	atomicBool = atomic.Bool
)

// commandPauseExempt are the commands that a pause never holds back.
const commandPauseExempt = command.Admin | command.NoAuth

// inline reports whether a command may be run by an event loop, among those of other connections: it is one of
// the data commands that need no more than their own keys, or about nothing but its connection, or runs a script. One
// that may wait for keys is run if it need not; see invokeHot.
func inline(cmd *commands.Command) bool {
	never := command.Exclusive | command.WholeSpace | command.Blocking | command.Admin | command.NoScript |
		command.NoAuth | command.MayReplicate | command.PubSub | command.Heavy
	const plain = command.Fast | command.Session
	if blocks(cmd) {
		never &^= command.Blocking | command.NoScript
	}
	f := cmd.Flags
	if f&command.Script != 0 {
		return len(cmd.Sub) == 0
	}
	return f&never == 0 && len(cmd.Sub) == 0 && (f&(command.Write|command.ReadOnly) != 0 || f&plain == plain)
}

const (
	keyedRead  = command.ReadOnly
	keyedWrite = command.Write
)

// alone reports whether nothing else may run beside a call: it changes databases as a whole, or touches keys that it
// does not name, so that their locks cannot be had.
func alone(cmd *commands.Command, args [][]byte) bool {
	return cmd.Flags&command.Exclusive != 0 || cmd.GoesBeyond(args)
}

func writes(cmd *commands.Command) bool {
	f := cmd.Flags
	return f&(command.Write|command.MayReplicate|command.Exclusive) != 0 ||
		f&(command.Script|command.ReadOnly) == command.Script
}

// committer is group commit. Whoever submits while nobody leads becomes the leader: it takes everything
// that waits, appends it to the log as one frame, hands the bytes to the replicas, applies one engine batch
// that carries the new offset, and wakes the others. Work that came meanwhile gets a new leader from among
// its own, so that nobody leads for longer than one group.
//
// The order of transactions in the log is the order in the engine: leadership is held over both.
type committer struct {
	x  *Executor
	mu struct {
		sync.Mutex
		queue   []*ticket
		leading bool
	}
	// The rest belongs to the leader.
	group  []*ticket
	txns   []*keyspace.Txn
	stream []byte
	logDB  int // database selected at the log's end
	// selects: the next frame says which database it begins with, whatever logDB is.
	selects bool
}

// ticket is a transaction that waits for its commit.
type ticket struct {
	txn *keyspace.Txn
	// logged says that the log holds the transaction already, up to end, where db is selected: what a link
	// or a replay executes.
	logged bool
	db     int
	end    replog.Offset
	err    error
	wake   chan bool // true: lead
}

var ticketPool = sync.Pool{New: func() any { return &ticket{wake: make(chan bool, 1)} }}

// submit commits t and returns the log offset behind it.
func (c *committer) submit(t *keyspace.Txn) (replog.Offset, error) {
	k := ticketPool.Get().(*ticket)
	k.txn, k.logged, k.err = t, false, nil
	return c.wait(k)
}

// submitLogged applies t, whose effects the log holds up to end.
func (c *committer) submitLogged(t *keyspace.Txn, end replog.Offset, db int) error {
	k := ticketPool.Get().(*ticket)
	k.txn, k.logged, k.end, k.db, k.err = t, true, end, db, nil
	_, err := c.wait(k)
	return err
}

func (c *committer) wait(k *ticket) (replog.Offset, error) {
	c.mu.Lock()
	c.mu.queue = append(c.mu.queue, k)
	lead := !c.mu.leading
	c.mu.leading = true
	c.mu.Unlock()
	if lead {
		// Give other sessions that are ready to run the chance to join this group: one system call
		// then serves them all.
		runtime.Gosched()
	} else {
		lead = <-k.wake
	}
	if lead {
		c.lead()
	}
	end, err := k.end, k.err
	k.txn = nil
	ticketPool.Put(k)
	return end, err
}

// maxGroupBytes bounds what several transactions put into one frame and one batch; the engine ends the
// process at 4 GiB a batch. One transaction alone may be larger.
const maxGroupBytes = 64 << 20

// lead commits what waits, the leader's own ticket included, and passes leadership on.
func (c *committer) lead() {
	c.mu.Lock()
	c.group, c.mu.queue = c.mu.queue, c.group[:0]
	c.mu.Unlock()
	group := c.group
	for len(group) > 0 {
		n := 1
		if !group[0].logged {
			for bytes := group[0].txn.EffectBytes(); n < len(group) && !group[n].logged; n++ {
				if bytes += group[n].txn.EffectBytes(); bytes > maxGroupBytes {
					break
				}
			}
		}
		c.commit(group[:n])
		group = group[n:]
	}
	for _, k := range c.group[1:] { // the first is the leader's own
		k.wake <- false
	}
	c.mu.Lock()
	var next *ticket
	if len(c.mu.queue) > 0 {
		next = c.mu.queue[0]
	} else {
		c.mu.leading = false
	}
	c.mu.Unlock()
	if next != nil {
		next.wake <- true
	}
}

// commit appends and applies one group: one ticket that is in the log already, or any number that are not.
func (c *committer) commit(group []*ticket) {
	x := c.x
	end, db, err := group[0].end, group[0].db, error(nil)
	if !group[0].logged {
		if end, db, err = c.append(group); err != nil {
			for _, k := range group {
				k.err = err
			}
			return
		}
	}
	if db >= 0 { // else it appended nothing
		c.logDB, c.selects = db, false
	}
	c.txns = c.txns[:0]
	for _, k := range group {
		c.txns = append(c.txns, k.txn)
		k.end = end
	}
	if err := x.Store().Apply(c.txns, int64(end), c.logDB); err != nil {
		// The log holds what the engine does not: only a replay can bring them together.
		x.Fatal("the engine failed after the log was written", err)
	}
	x.Stats.Groups.Add(1)
	x.Stats.GroupTxns.Add(int64(len(group)))
}

// append writes the effects of a group to the log as one frame and hands them to the replicas.
func (c *committer) append(group []*ticket) (end replog.Offset, db int, err error) {
	x := c.x
	log := x.Log()
	stream := c.stream[:0]
	if db = c.logDB; c.selects {
		db = -1
	}
	for _, k := range group {
		stream, db = appendEffects(stream, k.txn, db)
	}
	c.stream = stream
	if cap(stream) > 8<<20 {
		c.stream = nil
	}
	start := log.End()
	if len(stream) == 0 {
		return start, db, nil
	}
	if x.leaseOver() { // since the commands were admitted: waiting for locks takes time
		return start, db, commands.Error(resp.ErrLeaseLost)
	}
	if end, err = log.Append(x.Role().Reign, c.logDB, stream); err != nil {
		return end, db, err
	}
	if x.Push != nil {
		x.Push(start, stream)
	}
	return end, db, nil
}

// appendEffects adds what a transaction logs, with SELECT where the database changes. MULTI and EXEC are
// among the effects where EXEC put them.
func appendEffects(stream []byte, t *keyspace.Txn, db int) ([]byte, int) {
	t.Effects(func(want int, effects []byte) {
		if want != db {
			stream = resp.AppendCommandStrings(stream, "SELECT", itoa(want))
			db = want
		}
		stream = append(stream, effects...)
	})
	return stream, db
}

// AppendRaw appends bytes that carry no data (PING, GETACK) to the stream, between groups. The engine's
// offset follows with the next group.
func (x *Executor) AppendRaw(stream []byte) (replog.Offset, error) {
	s := x.NewSession(context.Background(), &commands.Client{})
	defer s.Close()
	x.latch.RLock()
	defer x.latch.RUnlock()
	if role := x.Role(); !role.Writable || x.leaseOver() {
		return 0, replog.ErrReignOver
	}
	t := s.own.txn()
	t.Reset()
	t.EffectRaw(stream)
	return x.commit.submit(t)
}

// SelectNext makes the next frame begin with SELECT: the first of a reign. REQUIRES: nothing runs.
func (x *Executor) SelectNext() { x.commit.selects = true }

// LogDB is the database selected at the log's end. REQUIRES: the caller is the only one that appends.
func (x *Executor) LogDB() int { return x.commit.logDB }

// Advance notes that the log is applied up to end, where db is selected, although nothing in it carried
// data. REQUIRES: as LogDB.
func (x *Executor) Advance(end replog.Offset, db int) {
	x.Store().Advance(int64(end), db)
	x.commit.logDB = db
}
