package zset

import (
	"encoding/binary"
	"math"

	"haypile/internal/encoding"
)

// Tables of the ordered rows of a sorted set. The format is permanent; a test holds its bytes.
//
//	's' | score (8) | member                -> nothing; negativeZero for the score -0
//	'c' | level (1) | score (8) | member    -> uvarint: entries of the page
//	'c' | level (1)                         -> the same for the first page of a level
const (
	tableScore = 's'
	tableCount = 'c'
)

const scoreLen = 8

// negativeZero is the value of a score row whose score is -0: it sorts as 0 does but is shown as -0.
var negativeZero = []byte{1}

// sortable maps scores to numbers that compare as the scores do. -0 and 0 are equal.
func sortable(score float64) uint64 {
	b := math.Float64bits(score + 0) // -0 + 0 is 0
	if b>>63 != 0 {
		return ^b
	}
	return b | 1<<63
}

func fromSortable(n uint64) float64 {
	if n>>63 != 0 {
		return math.Float64frombits(n &^ (1 << 63))
	}
	return math.Float64frombits(^n)
}

// An order is the position of an entry: score and member, in bytes that compare as entries do. Positions between
// entries are orders too. The empty one stands before all.
func appendOrder(dst []byte, score float64, member []byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, sortable(score)), member...)
}

func parseOrder(order, value []byte) (Entry, error) {
	if len(order) < scoreLen {
		return Entry{}, encoding.ErrCorrupt
	}
	e := Entry{Score: fromSortable(binary.BigEndian.Uint64(order)), Member: order[scoreLen:]}
	if len(value) > 0 {
		e.Score = math.Copysign(0, -1)
	}
	return e, nil
}

// Range is a stretch of entries: those at or behind From and before To; nil To means to the last.
type Range struct{ From, To []byte }

// All is every entry.
var All = Range{}

// Scores is the range of scores from min to max, each without the bound itself if its flag is set.
func Scores(min, max float64, above, below bool) Range {
	from, to := sortable(min), sortable(max)
	if above {
		from++
	}
	if !below {
		to++ // of +inf, the greatest score, too: NaN is no score
	}
	return Range{binary.BigEndian.AppendUint64(nil, from), binary.BigEndian.AppendUint64(nil, to)}
}

// Empty reports whether no entry can be in the range.
func (r Range) Empty() bool { return r.To != nil && string(r.From) >= string(r.To) }

// successor is the first order behind the one given.
func successor(order []byte) []byte {
	return append(append(make([]byte, 0, len(order)+1), order...), 0)
}
