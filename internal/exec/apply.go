package exec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/replog"
	"haypile/internal/types/hash"
)

// ErrApply marks a command of the stream that could not be executed: the node's data has diverged from the
// stream's.
var ErrApply = errors.New("the replication stream could not be applied")

// Applier executes the replication stream: on a replica after the link has appended it to the log, in
// recovery for what the log holds. It belongs to one goroutine. Commands run with expiry off, units are
// atomic, and many of them share one engine batch as long as their key locks can be had without waiting for
// a reader that may be waiting for us.
type Applier struct {
	s *Session
	// Units counts what was executed.
	Units int64
	// OnError decides about a command of the stream that fails; nil: the Applier fails with ErrApply. A
	// stream from a foreign primary is counted and goes on, as Redis does.
	OnError func(args [][]byte, err error) error
	// Quiet publishes no events: what a start replays has been published before.
	Quiet bool
}

// NewApplier makes one.
func (x *Executor) NewApplier() *Applier {
	c := &commands.Client{Authenticated: true, Proto: 2, Name: "stream"}
	return &Applier{s: x.NewSession(context.Background(), c)}
}

// StreamCommand is a command of the stream with the database selected for it.
type StreamCommand struct {
	DB   int
	Args [][]byte
}

// Unit is what must be applied whole: a command outside MULTI, or the commands of a MULTI..EXEC. End is the
// log offset behind it, DB the database selected there.
type Unit struct {
	End      replog.Offset
	DB       int
	Commands []StreamCommand
}

// An applier's batch is bounded in locks and bytes.
const (
	applyLocks = 2048
	applyBytes = 4 << 20
)

// Apply executes units that the log holds already, in order. After an error data and log do not agree.
func (a *Applier) Apply(units []Unit) error {
	s := a.s
	s.Tick(time.Now())
	s.x.latch.RLock()
	t := s.own.txn()
	t.Reset()
	defer func() {
		s.own.held.Release()
		s.x.latch.RUnlock()
	}()
	done := 0 // units[:done] are committed
	commit := func(n int) error {
		if n == done {
			return nil
		}
		last := &units[n-1]
		err := s.x.commit.submitLogged(t, last.End, last.DB)
		if err == nil {
			if a.Quiet {
				t.DropEvents(0)
			}
			s.x.settle(t)
		}
		done = n
		s.own.held.Release()
		t = s.own.txn()
		t.Reset()
		return err
	}
	for i := range units {
		u := &units[i]
		exclusive := a.wants(u)
		if exclusive || !s.own.held.TryAcquire(s.want) {
			if err := commit(i); err != nil {
				return err
			}
			if exclusive {
				s.x.latch.RUnlock()
				s.x.latch.Lock()
			} else {
				s.own.held.Acquire(s.want)
			}
		}
		err := a.runUnit(t, u)
		if exclusive {
			if err == nil {
				err = commit(i + 1)
			}
			s.x.latch.Unlock()
			s.x.latch.RLock()
		}
		if err != nil {
			return err
		}
		a.Units++
		if t.Size() > applyBytes || s.own.held.Len() > applyLocks {
			if err := commit(i + 1); err != nil {
				return err
			}
		}
	}
	return commit(len(units))
}

// wants lists the locks of a unit; exclusive if it must run alone.
func (a *Applier) wants(u *Unit) (exclusive bool) {
	s := a.s
	s.want = s.want[:0]
	for i := range u.Commands {
		args := u.Commands[i].Args
		cmd, _ := s.x.find(args)
		if cmd == nil {
			continue
		}
		if alone(cmd, args) {
			return true
		}
		s.refs, _ = cmd.AppendKeys(s.refs[:0], args)
		for _, r := range s.refs {
			s.want = append(s.want, keyspace.Want{Lock: keyspace.LockOf(args[r.Pos])})
		}
	}
	return false
}

// runUnit executes the commands of a unit.
func (a *Applier) runUnit(t *keyspace.Txn, u *Unit) error {
	for i := range u.Commands {
		c := &u.Commands[i]
		if c.DB < 0 || c.DB >= a.s.x.Store().Databases() {
			return fmt.Errorf("%w: database %d does not exist here", ErrApply, c.DB)
		}
		if err := a.runOne(t, c.DB, c.Args); err != nil {
			if a.OnError != nil {
				err = a.OnError(c.Args, err)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Applier) runOne(t *keyspace.Txn, db int, args [][]byte) error {
	s := a.s
	cmd, sub := s.x.find(args)
	if cmd == nil || !s.target(cmd, sub).ArityOK(len(args)) {
		return fmt.Errorf("%w: unknown command or arity: %q", ErrApply, args[0])
	}
	cmd = s.target(cmd, sub)
	if cmd.Flags&(command.Write|command.MayReplicate) == 0 {
		return nil // PING, REPLCONF GETACK and the like: not data
	}
	t.Begin(keyspace.ModeApply, db, s.timer.nowMillis())
	s.call.Reset()
	s.call.Tx, s.call.Args, s.call.Cmd, s.call.InMulti = t, args, cmd, true
	m := t.Mark()
	s.Out.Buf = s.Out.Buf[:0]
	effects := t.EffectBytes()
	err := cmd.Run(&s.call)
	t.DropEffects(effects)
	if err != nil {
		t.Rollback(&m)
		return fmt.Errorf("%w: %q: %v", ErrApply, args[0], err)
	}
	return nil
}

// Expire deletes up to limit keys and fields that are past their deadline and logs that; it returns how many it
// looked at. Nothing happens on a replica, where the primary's deletions arrive by the stream.
func (x *Executor) Expire(ctx context.Context, s *Session, limit int) (int, error) {
	if !x.expiry.Load() || !x.Role().Writable || x.Parked() || x.leaseOver() {
		return 0, nil
	}
	now := time.Now()
	due, err := x.Store().Due(now.UnixMilli(), limit)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	s.Tick(now)
	looked := 0
	for i := 0; i < len(due) && looked < limit; {
		k := &due[i]
		s.want = append(s.want[:0], keyspace.Want{Lock: keyspace.LockOf(k.User)})
		r := s.r
		if r.open && !r.held.TryAcquire(s.want) {
			r.Commit()
		}
		if !r.open {
			x.latch.RLock()
			if !x.Role().Writable || x.Parked() { // see Session.enter
				x.latch.RUnlock()
				return looked, nil
			}
			r.begin()
			r.held.Acquire(s.want)
		}
		r.tx.Begin(keyspace.ModeWrite, k.DB, now.UnixMilli())
		n, err := expireKey(r.tx, k.User)
		if err != nil {
			s.commitOpen()
			return looked, err
		}
		if looked += max(n, 1); n < fieldsPerStep {
			i++ // else there may be more of this hash
		}
		if r.wrote++; r.full() {
			r.Commit()
		}
	}
	s.commitOpen()
	x.Stats.ExpireCycles.Add(1)
	return looked, ctx.Err()
}

// What one step of expiry takes away from one hash: a transaction holds a few steps.
const (
	fieldsPerStep = 256
	fieldBytes    = 1 << 20
)

// expireKey deletes a key if it is past its deadline, or else some fields of it that are; it returns how many.
func expireKey(t *keyspace.Txn, key []byte) (fields int, err error) {
	e, err := t.Lookup(key)
	if err != nil || e.Type() != encoding.Hash {
		return 0, err
	}
	h, err := hash.At(t, e)
	if err != nil {
		return 0, err
	}
	return h.ExpireDue(fieldsPerStep, fieldBytes)
}
