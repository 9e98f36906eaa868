package zset

import (
	"encoding/binary"
	"math"

	"haypile/internal/encoding"
)

// Tables of the ordered rows of a sorted set. The format is permanent; a test holds its bytes.
//
//	's' | score (8) | member                -> nothing
//	'c' | level (1) | score (8) | member    -> uvarint: entries of the page
//	'c' | level (1)                         -> the same for the first page of a level
const (
	tableScore = 's'
	tableCount = 'c'
)

const scoreLen = 8

// plain makes 0 of -0. The two are equal and so cannot have two places; Redis shows 0 for both in small sets.
func plain(score float64) float64 { return score + 0 }

// sortable maps scores to numbers that compare as the scores do.
func sortable(score float64) uint64 {
	b := math.Float64bits(plain(score))
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

func parseOrder(order []byte) (Entry, error) {
	if len(order) < scoreLen {
		return Entry{}, encoding.ErrCorrupt
	}
	return Entry{Score: fromSortable(binary.BigEndian.Uint64(order)), Member: order[scoreLen:]}, nil
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

// Position is the order of an entry, or, with behind set, the first one behind it: the bounds of ranges of members with
// one score.
func Position(score float64, member []byte, behind bool) []byte {
	order := appendOrder(nil, score, member)
	if behind {
		order = append(order, 0)
	}
	return order
}
