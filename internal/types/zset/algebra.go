package zset

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/types/members"
)

// Source is a set or sorted set that takes part in an operation on several.
type Source struct {
	*members.Members
	Weight float64
	// Scored: the members' values are scores; the members of a set all have the score 1.
	Scored bool
}

// OpenSource reads the set or sorted set at a key.
func OpenSource(tx *keyspace.Txn, key []byte) (Source, error) {
	e, err := tx.Lookup(key)
	if err != nil {
		return Source{}, err
	}
	m, err := members.At(tx, e, encoding.ZSet)
	if err == nil {
		return Source{&m, 1, true}, nil
	}
	if !errors.Is(err, ErrWrongType) {
		return Source{}, err
	}
	m, err = members.At(tx, e, encoding.Set)
	return Source{&m, 1, false}, err
}

// score is that of a member with its row's value, weighted.
func (s *Source) score(value []byte) (float64, error) {
	score := 1.0
	if s.Scored {
		var err error
		if score, err = ParseScore(value); err != nil {
			return 0, err
		}
	}
	return number(score * s.Weight), nil
}

// number makes of what is none, as infinity times 0 and infinity minus itself, 0: as Redis does.
func number(score float64) float64 {
	if math.IsNaN(score) {
		return 0
	}
	return score
}

// Aggregate makes one score of two.
type Aggregate func(a, b float64) float64

// Sum adds.
func Sum(a, b float64) float64 { return number(a + b) }

// Min takes the smaller.
func Min(a, b float64) float64 { return min(a, b) }

// Max takes the greater.
func Max(a, b float64) float64 { return max(a, b) }

// Operation visits what comes of several sources, until visit says stop: no member twice, in no order of scores.
type Operation func(sources []Source, agg Aggregate, visit func(Entry) (more bool)) error

// Union visits the members of any source.
func Union(sources []Source, agg Aggregate, visit func(Entry) bool) error {
	return combine(sources, false, agg, func(e Entry, _ int, _ bool) bool { return visit(e) })
}

// lookupShare: where one source has so many times fewer members than the others together, looking each of its members
// up in the others is cheaper than walking them all.
const lookupShare = 16

func fewer(s *Source, sources []Source) bool {
	total := uint64(0)
	for i := range sources {
		total += sources[i].Len()
	}
	return s.Len() < total/lookupShare
}

// Intersect visits the members that all sources have.
func Intersect(sources []Source, agg Aggregate, visit func(Entry) bool) error {
	least := slices.MinFunc(sources, func(a, b Source) int { return cmp.Compare(a.Len(), b.Len()) })
	if least.Len() == 0 {
		return nil
	}
	if !fewer(&least, sources) {
		return combine(sources, true, agg, func(e Entry, in int, _ bool) bool { return in < len(sources) || visit(e) })
	}
	var bad error
	tx, _, _ := least.Parts()
	mem := tx.Scratch()
	err := least.Scan(0, func(el keyspace.Element) bool {
		tx.Forget(mem)
		e := Entry{Member: el.Member}
		for i := range sources {
			s, value := &sources[i], el.Value
			if s.Members != least.Members {
				v, found, err := s.Get(el.Member)
				if err != nil || !found {
					bad = err
					return err == nil
				}
				value = v
			}
			score, err := s.score(value)
			if err != nil {
				bad = err
				return false
			}
			if e.Score = agg(e.Score, score); i == 0 {
				e.Score = score
			}
		}
		return visit(e)
	})
	return cmp.Or(err, bad)
}

// Diff visits the members of the first source that no other has.
func Diff(sources []Source, _ Aggregate, visit func(Entry) bool) error {
	first := &sources[0]
	if !fewer(first, sources) {
		return combine(sources, true, Sum, func(e Entry, in int, inFirst bool) bool { return !inFirst || in > 1 || visit(e) })
	}
	var bad error
	tx, _, _ := first.Parts()
	mem := tx.Scratch()
	err := first.Scan(0, func(el keyspace.Element) bool {
		tx.Forget(mem)
		for i := range sources[1:] {
			_, found, err := sources[1+i].Get(el.Member)
			if err != nil || found {
				bad = err
				return err == nil
			}
		}
		score, err := first.score(el.Value)
		if err != nil {
			bad = err
			return false
		}
		return visit(Entry{el.Member, score})
	})
	return cmp.Or(err, bad)
}

// combine walks all sources side by side: visit gets each member, its aggregated score, how many sources have it,
// and whether the first does.
func combine(sources []Source, onlyFirst bool, agg Aggregate, visit func(e Entry, in int, first bool) bool) error {
	values := make([]*members.Members, len(sources))
	for i := range sources {
		values[i] = sources[i].Members
	}
	var bad error
	err := members.Merge(values, onlyFirst, func(els []*keyspace.Element) bool {
		var e Entry
		in := 0
		for i, el := range els {
			if el == nil {
				continue
			}
			score, err := sources[i].score(el.Value)
			if err != nil {
				bad = err
				return false
			}
			if in++; in == 1 {
				e = Entry{el.Member, score}
			} else {
				e.Score = agg(e.Score, score)
			}
		}
		return visit(e, in, els[0] != nil)
	})
	return cmp.Or(err, bad)
}
