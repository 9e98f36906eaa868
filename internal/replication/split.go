package replication

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"haypile/internal/replog"
)

// Cmd is one data command of the stream. Args are views into the splitter's buffer and end with the batch.
type Cmd struct {
	// DB is the database that the stream had selected.
	DB   int
	Args [][]byte
}

// Unit is what has to be applied whole: one command outside MULTI, or one MULTI..EXEC. Commands that carry
// no data (SELECT, PING, REPLCONF, MULTI and EXEC themselves) are not in Cmds; units without data are left
// out and their bytes count to the next unit, or to the end of the batch.
type Unit struct {
	// Start is the offset behind the unit before it that had data; End that behind this one's last byte.
	Start, End replog.Offset
	// EndDB is the database selected at End.
	EndDB int
	// Multi is true for MULTI..EXEC.
	Multi bool
	Cmds  []Cmd
}

// Batch is a run of whole units: Raw is the exact stream between Start and End. Everything in it is valid
// until the next use of the splitter that made it.
type Batch struct {
	Start, End replog.Offset
	// StartDB and EndDB are the databases selected at Start and End.
	StartDB, EndDB int
	Raw            []byte
	Units          []Unit
	// GetAck is true if the primary asked for an acknowledgement inside.
	GetAck bool
}

const (
	// splitMinBuf is the buffer's first size, splitMaxRoom its size under load, and so the bound of a batch of
	// ordinary commands.
	splitMinBuf  = 64 << 10
	splitMaxRoom = 1 << 20
	// maxStreamArgs bounds the argument count that a command header may claim, as Redis does.
	maxStreamArgs = math.MaxInt32
)

// errUnitTooLarge says that a command or transaction exceeds what the splitter may hold.
var errUnitTooLarge = errors.New("replication stream: a command or transaction exceeds the limit")

// Splitter cuts a replication stream into units. It is a buffer and a parse position, without I/O: read into
// Space, tell Advance, take batches from Next. A command that has arrived in part is not parsed again from
// its start when more of it comes.
type Splitter struct {
	buf []byte
	// buf[start:pos] is parsed but not yet handed out (an open MULTI, or a command in part); buf[pos:end]
	// is unparsed.
	start, pos, end int
	maxUnit         int
	err             error
	// frames leaves Units of a batch empty.
	frames bool
	// room is how much the next Space should offer: it grows while reads fill what they are offered.
	room int

	// off is the stream offset of buf[start]; db the database selected there.
	off replog.Offset
	db  int

	// The command being read: args still missing (0 = between commands) and its first argument in refs.
	argsLeft int
	cmdRef   int
	// inMulti is true between MULTI and EXEC; curDB the database at pos.
	inMulti bool
	curDB   int

	// refs and cmds describe the commands of the unit being read, relative to buf[start], so that the buffer
	// may move; units those that are whole.
	refs  []argRef
	cmds  []cmdRef
	units []unitRef
	// closed is the position behind the last whole unit, with or without data, and closedDB the database.
	closed   int
	closedDB int
	getAck   bool

	// Backing arrays of the batch handed out last.
	out struct {
		args  [][]byte
		cmds  []Cmd
		units []Unit
	}
}

// argRef is an argument's place relative to buf[start].
type argRef struct{ off, n int }

// cmdRef is a command: refs[first:last], in database db.
type cmdRef struct{ first, last, db int }

// unitRef is a unit: cmds[first:last], ending at end relative to buf[start].
type unitRef struct {
	first, last int
	end         int
	db          int
	multi       bool
}

// NewSplitter returns a splitter for the stream from off on, where db is selected. No unit may be longer
// than maxUnit bytes.
func NewSplitter(off replog.Offset, db, maxUnit int) *Splitter {
	s := &Splitter{maxUnit: maxUnit, room: splitMinBuf}
	s.Reset(off, db)
	return s
}

// NewFramer returns a splitter whose batches have no Units, for who only needs to know where they end.
func NewFramer(off replog.Offset, db, maxUnit int) *Splitter {
	s := NewSplitter(off, db, maxUnit)
	s.frames = true
	return s
}

// Reset forgets everything buffered and starts at another place in the stream.
func (s *Splitter) Reset(off replog.Offset, db int) {
	s.start, s.pos, s.end, s.closed = 0, 0, 0, 0
	s.off, s.db, s.curDB, s.closedDB = off, db, db, db
	s.argsLeft, s.inMulti, s.getAck, s.err = 0, false, false, nil
	s.refs, s.cmds, s.units = s.refs[:0], s.cmds[:0], s.units[:0]
}

// Space returns room to read into; batches handed out before are invalid from here on. It fails if the unit
// being read has reached its limit.
func (s *Splitter) Space() ([]byte, error) {
	if s.start > 0 {
		// Move what is unfinished to the front. It is short, except inside a large unit, and then start
		// stays 0 until that unit is whole.
		copy(s.buf, s.buf[s.start:s.end])
		s.pos -= s.start
		s.end -= s.start
		s.closed -= s.start
		s.start = 0
	}
	if s.end == 0 && (len(s.buf) > 2*splitMaxRoom || len(s.buf) < s.room) {
		// A large unit is over, or more is coming than fits: keep neither the buffer nor the views into it.
		s.buf = nil
		s.out.args, s.out.cmds, s.out.units = nil, nil, nil
	}
	if len(s.buf)-s.end < splitMinBuf/4 {
		if s.end >= s.maxUnit {
			return nil, fmt.Errorf("%w: %d bytes", errUnitTooLarge, s.maxUnit)
		}
		size := min(max(2*len(s.buf), s.room), s.maxUnit+splitMaxRoom)
		next := make([]byte, size)
		copy(next, s.buf[:s.end])
		s.buf = next
	}
	return s.buf[s.end:], nil
}

// Advance says that n bytes have been read into Space.
func (s *Splitter) Advance(n int) {
	s.end += n
	if s.end == len(s.buf) && s.room < splitMaxRoom {
		s.room *= 2
	}
}

// Write copies bytes in, for what was read before the stream began.
func (s *Splitter) Write(p []byte) error {
	for len(p) > 0 {
		room, err := s.Space()
		if err != nil {
			return err
		}
		n := copy(room, p)
		s.Advance(n)
		p = p[n:]
	}
	return nil
}

// Frame cuts the payload of one log frame, which always holds whole units, for a replay. The batch is a view
// of the payload. The splitter keeps nothing of either.
func (s *Splitter) Frame(f replog.Frame, b *Batch) error {
	s.Reset(f.Start, f.DB)
	own := s.buf
	s.buf, s.end = f.Payload, len(f.Payload)
	ok, err := s.Next(b)
	left := s.Pending()
	s.buf = own
	s.Reset(f.Start, f.DB)
	if err == nil && (!ok || left > 0) {
		err = errors.New("the frame does not end behind a whole command or transaction")
	}
	if err != nil {
		return fmt.Errorf("log frame at offset %d: %w", f.Start, err)
	}
	return nil
}

// Pending is the number of bytes read that no batch has covered yet.
func (s *Splitter) Pending() int { return s.end - s.start }

// Next parses what has been read and fills b with all whole units. It returns false if there is none.
// An error is final: the stream is not one that can be applied. What was whole before it comes first.
func (s *Splitter) Next(b *Batch) (bool, error) {
	for s.err == nil {
		ok, err := s.parse()
		if err != nil {
			s.err = fmt.Errorf("replication stream at offset %d: %w", s.off+replog.Offset(s.pos-s.start), err)
		}
		if !ok {
			break
		}
	}
	if s.closed == s.start {
		return false, s.err
	}
	s.fill(b)
	return true, nil
}

// fill turns the references of all whole units into views and moves the start behind them.
func (s *Splitter) fill(b *Batch) {
	base := s.buf[s.start:]
	nArgs, nCmds := 0, 0
	if k := len(s.units); k > 0 {
		nCmds = s.units[k-1].last
		nArgs = s.cmds[nCmds-1].last
	}
	n := s.closed - s.start
	*b = Batch{Start: s.off, End: s.off + replog.Offset(n), StartDB: s.db, EndDB: s.closedDB,
		Raw: s.buf[s.start:s.closed:s.closed], GetAck: s.getAck}
	if !s.frames {
		b.Units = s.views(base, nArgs, nCmds)
	}
	s.rebase(n, nArgs, nCmds)
}

// views makes the units of a batch.
func (s *Splitter) views(base []byte, nArgs, nCmds int) []Unit {
	out := &s.out
	out.args, out.cmds, out.units = out.args[:0], out.cmds[:0], out.units[:0]
	for _, r := range s.refs[:nArgs] {
		out.args = append(out.args, base[r.off:r.off+r.n:r.off+r.n])
	}
	for _, c := range s.cmds[:nCmds] {
		out.cmds = append(out.cmds, Cmd{DB: c.db, Args: out.args[c.first:c.last:c.last]})
	}
	at := s.off
	for _, u := range s.units {
		end := s.off + replog.Offset(u.end)
		out.units = append(out.units, Unit{Start: at, End: end, EndDB: u.db, Multi: u.multi,
			Cmds: out.cmds[u.first:u.last:u.last]})
		at = end
	}
	return out.units
}

// rebase makes buf[start+n] the new start and drops the references that were handed out. What remains
// belongs to a transaction or command still being read.
func (s *Splitter) rebase(n, nArgs, nCmds int) {
	s.refs = append(s.refs[:0], s.refs[nArgs:]...)
	for i := range s.refs {
		s.refs[i].off -= n
	}
	s.cmds = append(s.cmds[:0], s.cmds[nCmds:]...)
	for i := range s.cmds {
		s.cmds[i].first -= nArgs
		s.cmds[i].last -= nArgs
	}
	s.cmdRef -= nArgs
	s.units = s.units[:0]
	s.start += n
	s.off += replog.Offset(n)
	s.db = s.closedDB
	s.getAck = false
}

// parse takes one step: a header line, an argument, or an empty line; false if more bytes are needed.
func (s *Splitter) parse() (bool, error) {
	if s.argsLeft > 0 {
		return s.parseArg()
	}
	if s.pos == s.end {
		return false, nil
	}
	switch s.buf[s.pos] {
	case '*':
		n, next, err := s.number(maxStreamArgs)
		if next == 0 || err != nil {
			return false, err
		}
		if n < 1 {
			return false, fmt.Errorf("command of %d arguments", n)
		}
		s.pos, s.argsLeft, s.cmdRef = next, n, len(s.refs)
		return true, nil
	case '\n': // a keepalive line; its bytes are part of the stream like any other
		s.pos++
		s.closeIfOutside()
		return true, nil
	case '\r':
		if s.pos+1 == s.end {
			return false, nil
		}
		if s.buf[s.pos+1] != '\n' {
			return false, errors.New("bare CR")
		}
		s.pos += 2
		s.closeIfOutside()
		return true, nil
	}
	return false, fmt.Errorf("expected '*', got %q", s.buf[s.pos])
}

// parseArg reads one argument of the command being read.
func (s *Splitter) parseArg() (bool, error) {
	if s.pos == s.end {
		return false, nil
	}
	if s.buf[s.pos] != '$' {
		return false, fmt.Errorf("expected '$', got %q", s.buf[s.pos])
	}
	n, body, err := s.number(s.maxUnit)
	if body == 0 || err != nil {
		return false, err
	}
	if s.end-body < n+2 {
		return false, nil
	}
	if s.buf[body+n] != '\r' || s.buf[body+n+1] != '\n' {
		return false, errors.New("argument not followed by CRLF")
	}
	s.refs = append(s.refs, argRef{off: body - s.start, n: n})
	s.pos = body + n + 2
	s.argsLeft--
	if s.argsLeft == 0 {
		return true, s.finish()
	}
	return true, nil
}

// number reads the decimal behind the type byte at pos; next is the position behind its CRLF, 0 if the line
// is not whole yet.
func (s *Splitter) number(limit int) (n, next int, err error) {
	const longest = 16
	i := s.pos + 1
	for ; i < s.end; i++ {
		c := s.buf[i]
		if c == '\r' {
			break
		}
		if c < '0' || c > '9' || i-s.pos > longest {
			return 0, 0, fmt.Errorf("bad length %q", s.buf[s.pos:i+1])
		}
		n = n*10 + int(c-'0')
	}
	if i+1 >= s.end {
		return 0, 0, nil
	}
	if s.buf[i+1] != '\n' || i == s.pos+1 {
		return 0, 0, fmt.Errorf("bad length %q", s.buf[s.pos:i+2])
	}
	if n > limit {
		return 0, 0, fmt.Errorf("%w: length %d", errUnitTooLarge, n)
	}
	return n, i + 2, nil
}

// finish sorts a whole command: control commands change the splitter's state, data joins the unit.
func (s *Splitter) finish() error {
	args := s.refs[s.cmdRef:]
	name := s.view(args[0])
	switch {
	case equalFold(name, "SELECT"):
		if len(args) != 2 {
			return errors.New("SELECT with a wrong number of arguments")
		}
		db, err := strconv.Atoi(string(s.view(args[1])))
		if err != nil || db < 0 {
			return fmt.Errorf("SELECT of database %q", s.view(args[1]))
		}
		s.curDB = db
	case equalFold(name, "MULTI"):
		if s.inMulti {
			return errors.New("MULTI inside MULTI")
		}
		s.inMulti = true
	case equalFold(name, "EXEC"):
		if !s.inMulti {
			return errors.New("EXEC without MULTI")
		}
		s.inMulti = false
		s.refs = s.refs[:s.cmdRef]
		s.close(true)
		return nil
	case equalFold(name, "PING"):
	case equalFold(name, "REPLCONF"):
		s.getAck = s.getAck || len(args) > 1 && equalFold(s.view(args[1]), "GETACK")
	default:
		s.cmds = append(s.cmds, cmdRef{first: s.cmdRef, last: len(s.refs), db: s.curDB})
		if !s.inMulti {
			s.close(false)
		}
		return nil
	}
	s.refs = s.refs[:s.cmdRef]
	s.closeIfOutside()
	return nil
}

// close ends the unit at pos. One without data only moves the closed position.
func (s *Splitter) close(multi bool) {
	first := 0
	if k := len(s.units); k > 0 {
		first = s.units[k-1].last
	}
	if first < len(s.cmds) {
		s.units = append(s.units, unitRef{first: first, last: len(s.cmds), end: s.pos - s.start,
			db: s.curDB, multi: multi})
	}
	s.closed, s.closedDB = s.pos, s.curDB
}

// closeIfOutside moves the closed position behind bytes that carry no data.
func (s *Splitter) closeIfOutside() {
	if !s.inMulti {
		s.close(false)
	}
}

func (s *Splitter) view(r argRef) []byte { return s.buf[s.start+r.off : s.start+r.off+r.n] }

// equalFold compares ASCII case-insensitively; upper is in capitals.
func equalFold(b []byte, upper string) bool {
	if len(b) != len(upper) {
		return false
	}
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}
