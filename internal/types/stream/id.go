package stream

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"strconv"
)

// ID identifies an entry: milliseconds, and a number among the entries of one millisecond.
type ID struct{ MS, Seq uint64 }

// Max is the highest ID.
var Max = ID{math.MaxUint64, math.MaxUint64}

// idLen is the size of an ID in a row.
const idLen = 16

// Compare orders IDs.
func (a ID) Compare(b ID) int { return cmp.Or(cmp.Compare(a.MS, b.MS), cmp.Compare(a.Seq, b.Seq)) }

// Less reports whether a comes before b.
func (a ID) Less(b ID) bool { return a.Compare(b) < 0 }

// IsZero reports 0-0, which no entry has.
func (a ID) IsZero() bool { return a == ID{} }

// Next is the ID behind a; false at the last one.
func (a ID) Next() (ID, bool) {
	if a == Max {
		return ID{}, false
	}
	if a.Seq++; a.Seq == 0 {
		a.MS++
	}
	return a, true
}

// Prev is the ID before a; false at the first one.
func (a ID) Prev() (ID, bool) {
	if a.IsZero() {
		return Max, false
	}
	if a.Seq--; a.Seq == math.MaxUint64 {
		a.MS--
	}
	return a, true
}

// Append spells a.
func (a ID) Append(dst []byte) []byte {
	return strconv.AppendUint(append(strconv.AppendUint(dst, a.MS, 10), '-'), a.Seq, 10)
}

func (a ID) String() string { return string(a.Append(nil)) }

// Bytes is the fixed form, 16 bytes in the order of IDs, in which rows and payloads hold an ID.
func (a ID) Bytes() []byte { return appendID(nil, a) }

func appendID(dst []byte, a ID) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, a.MS), a.Seq)
}

// DecodeID reads the fixed form; b has at least 16 bytes.
func DecodeID(b []byte) ID {
	return ID{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// maxIDText is the length of text from which on Redis does not look at an ID.
const maxIDText = 127

// Forms of the part behind the dash.
type seqForm byte

const (
	seqGiven seqForm = iota
	seqMissing
	seqStar
)

// Parse reads "ms-seq", or "ms" with the seq that is to stand for a missing one.
func Parse(b []byte, missing uint64) (ID, bool) {
	id, form, ok := parse(b)
	if form == seqMissing {
		id.Seq = missing
	}
	return id, ok && form != seqStar
}

// ParseAdd reads the ID of XADD: "ms-seq", "ms" for "ms-0", or "ms-*", whose seq is to be chosen.
func ParseAdd(b []byte) (id ID, choose, ok bool) {
	id, form, ok := parse(b)
	return id, form == seqStar, ok
}

func parse(b []byte) (id ID, form seqForm, ok bool) {
	if len(b) > maxIDText {
		return id, seqGiven, false
	}
	ms, seq, dash := bytes.Cut(b, []byte{'-'})
	if id.MS, ok = parseNumber(ms); !ok || !dash {
		return id, seqMissing, ok
	}
	if len(seq) == 1 && seq[0] == '*' {
		return id, seqStar, true
	}
	id.Seq, ok = parseNumber(seq)
	return id, seqGiven, ok
}

// ParseBound is Parse for the ends of ranges: also "-" and "+", the lowest and the highest ID.
func ParseBound(b []byte, missing uint64) (ID, bool) {
	if len(b) == 1 && b[0] == '-' {
		return ID{}, true
	}
	if len(b) == 1 && b[0] == '+' {
		return Max, true
	}
	return Parse(b, missing)
}

// parseNumber reads a number as C's strtoull would, but for negative ones: white space and a sign before it, zeros.
func parseNumber(b []byte) (n uint64, ok bool) {
	for len(b) > 0 && (b[0] == ' ' || b[0] >= '\t' && b[0] <= '\r') {
		b = b[1:]
	}
	if len(b) > 0 && b[0] == '+' {
		b = b[1:]
	}
	for _, c := range b {
		c -= '0'
		if c > 9 || n > math.MaxUint64/10 || n == math.MaxUint64/10 && c > 5 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	return n, len(b) > 0
}
