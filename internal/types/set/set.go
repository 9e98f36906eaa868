// Package set is the set type: members without values, see package members, and the algebra of several sets.
//
// The algebra walks its operands side by side in the order of their members' hashes, which is that of their rows,
// and so holds one member of each in memory, whatever their sizes.
package set

import (
	"cmp"
	"slices"
	"strconv"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/types/members"
)

// Set is the set at a key, perhaps empty.
type Set struct{ members.Members }

// Open reads the set at key; a missing key is an empty set.
func Open(tx *keyspace.Txn, key []byte) (Set, error) {
	m, err := members.Open(tx, key, encoding.Set)
	return Set{m}, err
}

// At is the set at a key that was looked up.
func At(tx *keyspace.Txn, e keyspace.Entry) (Set, error) {
	m, err := members.At(tx, e, encoding.Set)
	return Set{m}, err
}

// Begin makes a new, empty set that will replace whatever is at the key, with a deadline (0 = none).
func Begin(tx *keyspace.Txn, e keyspace.Entry, deadline int64) Set {
	return Set{members.Begin(tx, e, encoding.Set, deadline)}
}

// Has reports whether the set has a member.
func (s *Set) Has(member []byte) (bool, error) {
	_, found, err := s.Get(member)
	return found, err
}

// Insert adds a member and reports whether it is new; one that is there stays untouched.
func (s *Set) Insert(member []byte) (added bool, err error) {
	found, err := s.Has(member)
	if err != nil || found {
		return false, err
	}
	s.Add(member, nil)
	return true, nil
}

// Limits are those up to which Redis keeps a set in a compact encoding.
type Limits struct{ IntsetEntries, ListpackEntries, ListpackValue int64 }

// Encoding names the encoding that Redis would have for the set. It looks at no more members than the limits.
func (s *Set) Encoding(l Limits) (string, error) {
	n := int64(min(s.Len(), 1<<62))
	ints, small := n <= l.IntsetEntries, n <= l.ListpackEntries
	if !ints && !small {
		return "hashtable", nil
	}
	err := s.Scan(0, func(el keyspace.Element) bool {
		if ints {
			ints = isInt(el.Member)
		}
		small = small && int64(len(el.Member)) <= l.ListpackValue
		return ints || small
	})
	switch {
	case err != nil:
		return "", err
	case ints:
		return "intset", nil
	case small:
		return "listpack", nil
	}
	return "hashtable", nil
}

// isInt reports whether b is a 64-bit integer as it would be printed.
func isInt(b []byte) bool {
	n, err := strconv.ParseInt(string(b), 10, 64)
	return err == nil && string(strconv.AppendInt(nil, n, 10)) == string(b)
}

// merge visits each member of any of the sets once, with the number of sets that have it and whether the first is
// one of them, until visit says stop. It ends early when the first set does, if onlyFirst is set.
func merge(sets []*Set, onlyFirst bool, visit func(member []byte, in int, first bool) (more bool)) error {
	values := make([]*members.Members, len(sets))
	for i, s := range sets {
		values[i] = &s.Members
	}
	return members.Merge(values, onlyFirst, func(els []*keyspace.Element) bool {
		var member []byte
		in := 0
		for _, el := range els {
			if el != nil {
				member, in = el.Member, in+1
			}
		}
		return visit(member, in, els[0] != nil)
	})
}

// lookupShare: where one set has so many times fewer members than the others together, looking each of its members
// up in the others is cheaper than walking them all.
const lookupShare = 16

// fewer reports whether s is that much smaller than the sets together.
func fewer(s *Set, sets []*Set) bool {
	total := uint64(0)
	for _, o := range sets {
		total += o.Len()
	}
	return s.Len() < total/lookupShare
}

// Union visits the members of all sets, each once.
func Union(sets []*Set, visit func(member []byte) (more bool)) error {
	return merge(sets, false, func(m []byte, _ int, _ bool) bool { return visit(m) })
}

// Intersect visits the members that all sets have, until visit says stop.
func Intersect(sets []*Set, visit func(member []byte) (more bool)) error {
	least := slices.MinFunc(sets, func(a, b *Set) int { return cmp.Compare(a.Len(), b.Len()) })
	if least.Len() == 0 {
		return nil
	}
	if !fewer(least, sets) {
		return merge(sets, true, func(m []byte, in int, _ bool) bool { return in < len(sets) || visit(m) })
	}
	return least.filter(sets, true, visit)
}

// Diff visits the members of the first set that no other has.
func Diff(sets []*Set, visit func(member []byte) (more bool)) error {
	if !fewer(sets[0], sets) {
		return merge(sets, true, func(m []byte, in int, first bool) bool { return !first || in > 1 || visit(m) })
	}
	return sets[0].filter(sets, false, visit)
}

// filter visits the members of s that all other sets have, or that none has.
func (s *Set) filter(sets []*Set, all bool, visit func(member []byte) (more bool)) error {
	var failed error
	tx, _, _ := s.Parts()
	mem := tx.Scratch()
	err := s.Scan(0, func(el keyspace.Element) bool {
		for _, o := range sets {
			if o == s {
				continue
			}
			has, err := o.Has(el.Member)
			tx.Forget(mem)
			if err != nil {
				failed = err
				return false
			}
			if has != all {
				return true
			}
		}
		return visit(el.Member)
	})
	return cmp.Or(failed, err)
}
