package exec

import (
	"errors"
	"time"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/keyspace"
)

// loopScriptTime is how long a script may keep an event loop from its other connections. One that runs for longer is
// taken back and begins anew away from the loop. A variable, so that tests need not be fast.
var loopScriptTime = 500 * time.Microsecond

// loopScriptSource bounds the script that an event loop compiles.
const loopScriptSource = 16 << 10

// tryScript runs a script on an event loop, as a part of the open transaction: what runScript does, where nothing has
// to wait. It returns false, with nothing changed, for a script that needs more than its locks and what is in memory,
// or more time.
func (s *Session) tryScript(cmd *commands.Command, args [][]byte) bool {
	// What was shown in MONITOR could not be taken back.
	if s.x.Monitors.Load() > 0 || len(args[1]) > loopScriptSource {
		return false
	}
	s.wants(cmd, args, cmd.Flags&command.ReadOnly != 0)
	locks, ok := s.tryJoin(cmd)
	if !ok {
		return false
	}
	r, t := s.r, s.r.tx
	t.Begin(keyspace.ModeRead, s.Client.DB, s.timer.nowMillis())
	from, touched := len(s.Out.Buf), len(t.Touched())
	changes, logged := t.Changes(), t.EffectBytes()
	m := t.Mark()
	s.call.Reset()
	s.call.Tx, s.call.Args, s.call.Cmd = t, args, cmd
	s.script.onLoop = true
	t.HotOnly(true)
	err := cmd.Run(&s.call)
	t.HotOnly(false)
	s.script.onLoop = false
	if errors.Is(err, errAgain) || errors.Is(err, keyspace.ErrCold) { // cold: FCALL reads the libraries
		t.Rollback(&m)
		s.Out.Buf = s.Out.Buf[:from]
		r.held.ReleaseTo(locks)
		return false
	}
	s.ran(cmd, nil, from, err)
	if t.Changes() == changes && t.EffectBytes() == logged {
		// It may have read what the transaction has changed before.
		r.held.ReleaseTo(locks)
		r.join(s)
		s.marks = append(s.marks, mark{from, len(s.Out.Buf), true})
		return true
	}
	t.FrameFrom(&m)
	s.wroteIn(cmd, from)
	s.keyed = true
	r.serve(touched, true)
	return true
}

// late reports that a script on an event loop has had its time.
func (h *scriptHost) late(now time.Time) bool {
	return h.s.script.onLoop && now.Sub(h.start) >= loopScriptTime
}
