package replication

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"haypile/internal/replog"
	"haypile/internal/resp"
)

// handshake says who this node is and learns who the primary is. Everything goes out in one write; the
// replies come in order. Errors to REPLCONF are tolerated, as Redis does: an option that the other side does
// not know is no obstacle.
func (s *linkConn) handshake(pos Position) (*Upstream, error) {
	cfg := &s.link.cfg
	hello, err := encodeHello(helloOf(pos))
	if err != nil {
		return nil, err
	}
	b := resp.AppendCommandStrings(s.out[:0], "PING")
	if cfg.Password != "" {
		if cfg.User != "" {
			b = resp.AppendCommandStrings(b, "AUTH", cfg.User, cfg.Password)
		} else {
			b = resp.AppendCommandStrings(b, "AUTH", cfg.Password)
		}
	}
	options := [][]string{{"listening-port", strconv.Itoa(cfg.AnnouncePort)}}
	if cfg.AnnounceIP != "" {
		options = append(options, []string{"ip-address", cfg.AnnounceIP})
	}
	options = append(options, []string{"capa", "eof", "capa", "psync2", "capa", Capability})
	for _, o := range options {
		b = resp.AppendCommandStrings(b, append([]string{"REPLCONF"}, o...)...)
	}
	s.out = resp.AppendCommandStrings(b, "REPLCONF", "haypile", string(hello))
	if err := s.write(s.out); err != nil {
		return nil, err
	}

	line, err := s.line()
	if err != nil {
		return nil, err
	}
	if line[0] == '-' && !tolerable(line) {
		return nil, fmt.Errorf("PING: the primary answered %q", clip(line, 256))
	}
	if cfg.Password != "" {
		if line, err = s.line(); err != nil {
			return nil, err
		}
		if line[0] == '-' {
			return nil, fmt.Errorf("AUTH: the primary answered %q", clip(line, 256))
		}
	}
	for range options {
		if _, err := s.line(); err != nil {
			return nil, err
		}
	}
	return s.upstream()
}

// tolerable tells whether an error reply to PING only says that authentication is missing.
func tolerable(line []byte) bool {
	for _, p := range []string{"-NOAUTH", "-NOPERM", "-ERR operation not permitted"} {
		if bytes.HasPrefix(line, []byte(p)) {
			return true
		}
	}
	return false
}

func helloOf(pos Position) *Hello {
	h := &Hello{Version: helloVersion, Format: pos.Format, Node: pos.NodeID, Epoch: pos.Promised,
		Reigns: pos.Reigns}
	if len(pos.Reigns) > 0 && pos.Log != nil {
		h.Start, h.End, h.Tail = pos.Log.Start(), pos.Log.End(), tailOf(pos.Log)
	}
	return h
}

// upstream reads the reply to the hello: a bulk with the primary's own, or anything else from a Redis.
func (s *linkConn) upstream() (*Upstream, error) {
	line, err := s.line()
	if err != nil {
		return nil, err
	}
	if line[0] != '$' {
		return &Upstream{}, nil
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < 0 || n > maxHelloBytes {
		return nil, fmt.Errorf("the primary's hello has the length %q", clip(line[1:], 32))
	}
	doc := make([]byte, n+2)
	if _, err := io.ReadFull(s.in, doc); err != nil {
		return nil, fmt.Errorf("reading the primary's hello: %w", err)
	}
	h, err := parseHello(doc[:n])
	if err != nil {
		return nil, fmt.Errorf("the primary's hello: %w", err)
	}
	up := &Upstream{NodeID: h.Node, Epoch: h.Epoch, Reigns: h.Reigns}
	if k := len(up.Reigns); k > 0 {
		up.ReplID = up.Reigns[k-1].ReplID
	}
	return up, nil
}

// line reads the next line that is not empty.
func (s *linkConn) line() ([]byte, error) {
	for {
		line, err := s.in.ReadLine()
		if err != nil {
			return nil, fmt.Errorf("waiting for the primary's reply: %w", err)
		}
		if len(line) > 0 {
			return line, nil
		}
	}
}

// The kinds of answers to PSYNC.
const (
	answerContinue = iota
	answerFull
	answerDiverged
)

// psyncAnswer is the primary's answer to PSYNC, if it was no refusal.
type psyncAnswer struct {
	kind   int
	replID string
	// offset is where a full sync ends, or the fork.
	offset replog.Offset
}

// psync asks for the stream from the log's end on, or for a full sync.
func (s *linkConn) psync(pos Position, full bool) (psyncAnswer, error) {
	id, from := "?", "-1"
	if len(pos.Reigns) > 0 && !full {
		id = pos.Reigns[len(pos.Reigns)-1].ReplID
		from = strconv.FormatInt(int64(pos.Log.End())+1, 10)
	}
	s.out = resp.AppendCommandStrings(s.out[:0], "PSYNC", id, from)
	if err := s.write(s.out); err != nil {
		return psyncAnswer{}, err
	}
	line, err := s.line()
	if err != nil {
		return psyncAnswer{}, err
	}
	return parsePsyncAnswer(line)
}

// parsePsyncAnswer reads the line that answers PSYNC.
func parsePsyncAnswer(line []byte) (psyncAnswer, error) {
	words := bytes.Fields(line)
	bad := func() (psyncAnswer, error) {
		return psyncAnswer{}, fmt.Errorf("PSYNC: the primary answered %q", clip(line, 256))
	}
	if len(words) == 0 {
		return bad()
	}
	number := func(b []byte) (replog.Offset, bool) {
		n, err := strconv.ParseInt(string(b), 10, 64)
		return replog.Offset(n), err == nil && n >= 0
	}
	switch {
	case equalFold(words[0], "+CONTINUE"):
		a := psyncAnswer{kind: answerContinue}
		if len(words) > 1 {
			a.replID = string(words[1])
			if !replog.ValidReplID(a.replID) {
				return bad()
			}
		}
		return a, nil
	case equalFold(words[0], "+FULLRESYNC") && len(words) >= 3:
		off, ok := number(words[2])
		if !ok || !replog.ValidReplID(string(words[1])) {
			return bad()
		}
		return psyncAnswer{kind: answerFull, replID: string(words[1]), offset: off}, nil
	case equalFold(words[0], "-DIVERGED") && len(words) >= 2:
		fork, ok := number(words[1])
		if !ok {
			return bad()
		}
		return psyncAnswer{kind: answerDiverged, offset: fork}, nil
	}
	return bad()
}

// errSnapshotForm says that what follows +FULLRESYNC is neither a manifest nor a snapshot.
var errSnapshotForm = errors.New("replication: unknown form of full sync")
