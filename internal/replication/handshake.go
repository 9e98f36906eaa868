package replication

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"

	"haypile/internal/replog"
	"haypile/internal/resp"
)

// Capability is the word in REPLCONF capa by which a Haypile node makes itself known; Redis ignores it.
const Capability = "haypile1"

const (
	// helloVersion is the version of the Hello exchange. A node answers its own version; fields may be added
	// without raising it.
	helloVersion = 1
	// tailBytes is how much of the log before the offset asked for both sides compare.
	tailBytes = 4 << 10
	// maxHelloBytes bounds a hello: a lineage of some thousand reigns.
	maxHelloBytes = 1 << 20
)

// castagnoli is the polynomial of every checksum in this package.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Hello is what Haypile nodes tell each other before PSYNC, as JSON: the replica in REPLCONF haypile, the
// primary in the reply.
type Hello struct {
	Version int `json:"v"`
	// Format is the version of the engine's files; a full sync by checkpoint files needs the same one.
	Format int    `json:"format"`
	Node   string `json:"node"`
	// Epoch is the highest epoch that the replica has promised, or the epoch that the primary reigns in.
	Epoch  uint64               `json:"epoch"`
	Reigns []replog.ReignRecord `json:"reigns"`
	Start  replog.Offset        `json:"start"`
	End    replog.Offset        `json:"end"`
	// Tail is sent by the replica only.
	Tail *Tail `json:"tail,omitempty"`
}

// Tail is the CRC-32C of the Len bytes of log before the sender's end.
type Tail struct {
	Len int    `json:"len"`
	CRC uint32 `json:"crc"`
}

// parseHello reads a hello and refuses one that could not be used.
func parseHello(b []byte) (*Hello, error) {
	if len(b) > maxHelloBytes {
		return nil, fmt.Errorf("hello of %d bytes", len(b))
	}
	var h Hello
	if err := json.Unmarshal(b, &h); err != nil {
		return nil, fmt.Errorf("decoding the hello: %w", err)
	}
	if h.Version < 1 {
		return nil, fmt.Errorf("hello of version %d", h.Version)
	}
	for _, r := range h.Reigns {
		if !replog.ValidReplID(r.ReplID) || r.Start < 0 {
			return nil, fmt.Errorf("hello with the reign %q at %d", r.ReplID, r.Start)
		}
	}
	if h.Tail != nil && (h.Tail.Len < 0 || h.Tail.Len > tailBytes) {
		return nil, fmt.Errorf("hello with a tail of %d bytes", h.Tail.Len)
	}
	return &h, nil
}

// Handshake is what one connection has said about itself before PSYNC. The session keeps one per connection
// that has sent REPLCONF; it belongs to the connection's goroutine.
type Handshake struct {
	// Port and IP are what the replica announced; zero and empty if it did not.
	Port int
	IP   string
	// EOF and PSYNC2 are Redis' capabilities of the same names.
	EOF, PSYNC2 bool
	// Hello is set for a Haypile replica.
	Hello *Hello
}

// errReplconf carries the reply to a REPLCONF that is refused.
var errReplconf = errors.New(resp.ErrSyntax)

// replconf takes the options of one REPLCONF (args[0] is the command's name). It returns whether a hello was
// among them, and whether the command wants a reply at all: ACK does not.
func (h *Handshake) replconf(args [][]byte) (hello, reply bool, err error) {
	if len(args)%2 == 0 {
		return false, true, errReplconf
	}
	for i := 1; i < len(args); i += 2 {
		opt, val := args[i], args[i+1]
		switch {
		case equalFold(opt, "LISTENING-PORT"):
			port, err := strconv.ParseUint(string(val), 10, 16)
			if err != nil {
				return false, true, errors.New(resp.ErrNotInteger)
			}
			h.Port = int(port)
		case equalFold(opt, "IP-ADDRESS"):
			if len(val) > 255 {
				return false, true, fmt.Errorf(
					"ERR REPLCONF ip-address provided by replica instance is too long: %d bytes", len(val))
			}
			h.IP = string(val)
		case equalFold(opt, "CAPA"):
			h.EOF = h.EOF || bytes.EqualFold(val, []byte("eof"))
			h.PSYNC2 = h.PSYNC2 || bytes.EqualFold(val, []byte("psync2"))
		case equalFold(opt, "VERSION"):
		case equalFold(opt, "ACK"), equalFold(opt, "FACK"), equalFold(opt, "GETACK"):
			return false, false, nil // only a replica that is being fed says this; here it means nothing
		case equalFold(opt, "HAYPILE"):
			hello, err := parseHello(val)
			if err != nil {
				return false, true, fmt.Errorf("ERR %v", err)
			}
			h.Hello = hello
			return true, true, nil
		default:
			return false, true, fmt.Errorf("ERR Unrecognized REPLCONF option: %s", clip(opt, 128))
		}
	}
	return false, true, nil
}

// clip shortens what goes into an error text and keeps it one line.
func clip(b []byte, n int) string {
	if len(b) > n {
		b = b[:n]
	}
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, b))
}

// Request is a PSYNC or SYNC as Decide sees it.
type Request struct {
	// ReplID is empty and From -1 if the replica has nothing to continue from.
	ReplID string
	// From is the offset of the first byte wanted.
	From  replog.Offset
	Hello *Hello
}

// ParsePSYNC reads the arguments of PSYNC or SYNC (args[0] is the command's name).
func ParsePSYNC(args [][]byte, h *Handshake) (Request, error) {
	req := Request{From: -1, Hello: h.Hello}
	if equalFold(args[0], "SYNC") {
		return req, nil
	}
	if len(args) < 3 {
		return req, errors.New(resp.WrongArity("psync"))
	}
	n, err := strconv.ParseInt(string(args[2]), 10, 64)
	if err != nil {
		return req, errors.New(resp.ErrNotInteger)
	}
	if id := string(args[1]); id != "?" && n > 0 {
		req.ReplID, req.From = id, replog.Offset(n-1)
	}
	return req, nil
}

// Local is what Decide knows about this node.
type Local struct {
	// Primary is true if this node is one; a replica serves others from its own log.
	Primary    bool
	Node       string
	Epoch      uint64
	Format     int
	Reigns     []replog.ReignRecord
	Start, End replog.Offset
	// SumBefore is the CRC-32C of the bytes before an offset that the log holds, at most n; of is how many.
	SumBefore func(at replog.Offset, n int) (sum uint32, of int, err error)
}

// Verdict is the kind of a Decision.
type Verdict int

// The verdicts on a PSYNC.
const (
	// Continue: the stream goes on at the offset asked for.
	Continue Verdict = iota
	// FullFiles: a checkpoint's files first.
	FullFiles
	// FullRDB: a snapshot that any Redis understands first.
	FullRDB
	// Diverged: the replica holds bytes that this node does not; it is told the fork and asks again.
	Diverged
	// Refuse: an error; the replica tries again later, or its operator has to act.
	Refuse
)

func (v Verdict) String() string {
	switch v {
	case Continue:
		return "continue"
	case FullFiles:
		return "full-files"
	case FullRDB:
		return "full-rdb"
	case Diverged:
		return "diverged"
	}
	return "refuse"
}

// Decision answers a PSYNC.
type Decision struct {
	Verdict Verdict
	// ReplID is this node's present id, for Continue.
	ReplID string
	// From is where the stream goes on for Continue, the fork for Diverged.
	From replog.Offset
	// Reason says why, for the log; for Refuse it is the error reply, code included.
	Reason string
	// HigherEpoch is the epoch that the replica has promised, if above this node's, whose reign is over then.
	HigherEpoch uint64
}

// Decide answers a PSYNC. A Haypile replica is judged by its lineage, any other by the id it names; every id
// of the lineage is good up to the end of its reign.
func Decide(req Request, local Local) Decision {
	if len(local.Reigns) == 0 {
		return Decision{Verdict: Refuse, Reason: resp.ErrNoMasterLink}
	}
	full := func(format string, a ...any) Decision {
		d := Decision{Verdict: FullRDB, Reason: fmt.Sprintf(format, a...)}
		if req.Hello != nil && req.Hello.Format == local.Format {
			d.Verdict = FullFiles
		}
		return d
	}
	replID := local.Reigns[len(local.Reigns)-1].ReplID
	if h := req.Hello; h != nil {
		if d, refused := refuseHello(h, local); refused {
			return d
		}
		if req.From < 0 {
			return full("the replica asked for it")
		}
		// The present reign of a primary ends at its log's end. A replica's may go on: what the other is ahead
		// by may be on its way here.
		end := local.End
		if !local.Primary {
			end = math.MaxInt64
		}
		fork, related := replog.ForkPoint(local.Reigns, end, h.Reigns, req.From)
		if !related {
			return full("no reign in common")
		}
		if req.From > fork {
			if fork < local.Start {
				return full("the fork at %d is before the log's start %d", fork, local.Start)
			}
			return Decision{Verdict: Diverged, From: fork,
				Reason: fmt.Sprintf("asked for %d, histories part at %d", req.From, fork)}
		}
	} else {
		if req.From < 0 {
			return full("the replica asked for it")
		}
		end, known := reignEnd(local.Reigns, req.ReplID)
		if !known {
			return full("replication id %s is not of this history", clip([]byte(req.ReplID), 40))
		}
		if req.From > end {
			return full("replication id %s ends at %d, asked for %d", req.ReplID, end, req.From)
		}
	}
	return decideOffset(req, local, replID, full)
}

// refuseHello turns away a replica that must not follow this node.
func refuseHello(h *Hello, local Local) (Decision, bool) {
	switch {
	case h.Node != "" && h.Node == local.Node:
		return Decision{Verdict: Refuse, Reason: "ERR a node cannot replicate from itself"}, true
	case h.Epoch > local.Epoch:
		return Decision{Verdict: Refuse, HigherEpoch: h.Epoch, Reason: fmt.Sprintf(
			"STALEEPOCH this node is at epoch %d, the replica has promised %d", local.Epoch, h.Epoch)}, true
	}
	return Decision{}, false
}

// decideOffset answers a request whose history agrees: is the offset in the log, is the tail before it equal?
func decideOffset(req Request, local Local, replID string, full func(string, ...any) Decision) Decision {
	if req.From < local.Start {
		return full("asked for %d, the log starts at %d", req.From, local.Start)
	}
	if req.From > local.End {
		if req.Hello != nil {
			// A replica that is ahead of a replica: this one will have the bytes soon.
			return Decision{Verdict: Refuse, Reason: fmt.Sprintf(
				"NOMASTERLINK asked for %d, the log ends at %d: catching up", req.From, local.End)}
		}
		return full("asked for %d, the log ends at %d", req.From, local.End)
	}
	if req.Hello != nil && req.Hello.Tail != nil && local.SumBefore != nil {
		// A log that does not reach back as far has nothing to compare: the lineage decides alone.
		t := req.Hello.Tail
		if crc, of, err := local.SumBefore(req.From, t.Len); err == nil && of == t.Len && crc != t.CRC {
			return full("the %d bytes before %d differ", t.Len, req.From)
		}
	}
	return Decision{Verdict: Continue, ReplID: replID, From: req.From, Reason: "history and offset agree"}
}

// reignEnd finds the reign with an id and returns its end; an open one counts as the largest offset.
func reignEnd(rs []replog.ReignRecord, id string) (replog.Offset, bool) {
	for i := len(rs) - 1; i >= 0; i-- {
		switch {
		case rs[i].ReplID != id:
		case i+1 < len(rs):
			return rs[i+1].Start, true
		default:
			return math.MaxInt64, true
		}
	}
	return 0, false
}

// tailOf makes the replica's Tail: as much of the log before its end as there is, at most tailBytes.
func tailOf(log Log) *Tail {
	crc, n, err := log.SumBefore(log.End(), tailBytes)
	if err != nil {
		return nil
	}
	return &Tail{Len: n, CRC: crc}
}
