package exec

import (
	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/tracking"
)

// remembers reports whether what the command reads enters the table of client-side caching.
func (s *Session) remembers(cmd *commands.Command) bool {
	c := s.Client
	return c.Tracking.On && cmd.Flags&command.ReadOnly != 0 && cmd.Name != "WATCH" && c.Tracking.Remembers(c.Caching)
}

// separate commits the open transaction if the command is to be remembered and reads a key that the transaction has
// locked: its changes are invalidated when it commits, and what was read after them must be remembered after that.
// REQUIRES: s.want are the locks of the command.
func (s *Session) separate(cmd *commands.Command) {
	r := s.r
	if !r.open || !s.remembers(cmd) {
		return
	}
	n := r.held.Len()
	if r.held.TryAcquire(s.want) {
		locked := r.held.Len()-n < len(s.want)
		r.held.ReleaseTo(n)
		if !locked {
			return
		}
	}
	r.Commit()
}

// remember enters the keys that the command has read. REQUIRES: their locks.
func (s *Session) remember(cmd *commands.Command, args [][]byte) {
	if s.remembers(cmd) {
		s.x.Tracking.Remember(s.Client.ID, s.keysOf(cmd, args))
	}
}

// noteReads is remember within a transaction that has not been committed: the keys enter the table in their order
// among its changes.
func (s *Session) noteReads(cmd *commands.Command, args [][]byte) {
	if s.remembers(cmd) {
		for _, k := range s.keysOf(cmd, args) {
			s.r.tx.NoteRead(k)
		}
	}
}

// keysOf are the keys that the description of the command finds in its arguments.
func (s *Session) keysOf(cmd *commands.Command, args [][]byte) [][]byte {
	s.refs, _ = cmd.AppendKeys(s.refs[:0], args)
	keys := make([][]byte, 0, len(s.refs))
	for _, r := range s.refs {
		if r.Access&command.AccessNotKey == 0 {
			keys = append(keys, args[r.Pos])
		}
	}
	return keys
}

// tell invalidates what a transaction changed at the clients that have cached it, and publishes its events.
// REQUIRES: the locks under which it was made, and that its changes can be seen.
func (x *Executor) tell(t *keyspace.Txn) {
	x.invalidate(t)
	x.publishEvents(t)
}

func (x *Executor) invalidate(t *keyspace.Txn) {
	if !x.Tracking.Active() {
		return
	}
	if flushed, swapped := t.TouchedDBs(); len(flushed)+len(swapped) > 0 {
		x.Tracking.Flush()
	}
	touched := t.Touched()
	if len(touched) == 0 {
		return
	}
	changes := make([]tracking.Change, len(touched))
	for i, c := range touched {
		changes[i] = tracking.Change{Key: c.Key, By: c.By, Read: c.Read}
	}
	x.Tracking.Apply(changes)
}

// endCaching ends what CLIENT CACHING said, which is for one command that is not CLIENT itself, or for all of a
// MULTI.
func (s *Session) endCaching(cmd *commands.Command) {
	if !s.multi.on && (cmd == nil || cmd.Name != "CLIENT") {
		s.Client.Caching = false
	}
}
