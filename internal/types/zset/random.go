package zset

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"haypile/internal/keyspace"
	"haypile/internal/types/members"
)

// Members are drawn by their ranks, which the tree finds. Where many are wanted, walking the set is cheaper.
const (
	// walkShare: if more than one entry in so many is wanted, the set is walked.
	walkShare = 8
	// rankedMost is the number of entries up to which all wishes are met by ranks.
	rankedMost = 8 << 10
	// hotDraws bounds the draws where nothing may take long.
	hotDraws = 2 << 10
)

// drawn reports whether n entries are drawn by rank; if not, package members does it. Pinned transactions, which
// have no tree that others could use again, look at the rows.
func (z *ZSet) drawn(n uint64) (bool, error) {
	tx, _, _ := z.Parts()
	if z.bulk || tx.FormBudget() == 0 {
		return false, nil
	}
	if tx.InMemory() && n > hotDraws {
		return false, keyspace.ErrCold
	}
	return n <= z.Len()/walkShare || z.Len() <= rankedMost, nil
}

// Random visits n members drawn at random, each with the same chance every time, as members.Random does.
func (z *ZSet) Random(n uint64, values bool, visit func(members.Pair)) error {
	byRank, err := z.drawn(n)
	if err != nil {
		return err
	}
	if !byRank {
		return z.Members.Random(n, values, visit)
	}
	for ; n > 0 && z.Len() > 0; n-- {
		if err := z.visitRank(rand.Uint64N(z.Len()), visit); err != nil {
			return err
		}
	}
	return nil
}

// RandomDistinct visits n different members drawn at random, all members if there are no more than n.
func (z *ZSet) RandomDistinct(n uint64, values bool, visit func(members.Pair)) error {
	n = min(n, z.Len())
	byRank, err := z.drawn(n)
	if err != nil {
		return err
	}
	if !byRank {
		return z.Members.RandomDistinct(n, values, visit)
	}
	for _, rank := range distinct(n, z.Len()) {
		if err := z.visitRank(rank, visit); err != nil {
			return err
		}
	}
	return nil
}

// distinct are n different numbers below count, drawn at random.
func distinct(n, count uint64) []uint64 {
	if n > count/walkShare {
		all := make([]uint64, count)
		for i := range all {
			all[i] = uint64(i)
		}
		rand.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		return all[:n]
	}
	ranks := make([]uint64, 0, n)
	seen := make(map[uint64]struct{}, n)
	for uint64(len(ranks)) < n {
		rank := rand.Uint64N(count)
		if _, again := seen[rank]; !again {
			seen[rank] = struct{}{}
			ranks = append(ranks, rank)
		}
	}
	return ranks
}

// visitRank visits the member of a rank, its score as the value of its row.
func (z *ZSet) visitRank(rank uint64, visit func(members.Pair)) error {
	tx, _, _ := z.Parts()
	if err := tx.Stopped(); err != nil {
		return err
	}
	order, err := z.at(rank)
	if err != nil {
		return err
	}
	e, err := parseOrder(order)
	if err != nil {
		return err
	}
	var value [scoreLen]byte
	binary.BigEndian.PutUint64(value[:], math.Float64bits(e.Score))
	visit(members.Pair{Member: e.Member, Value: value[:]})
	return nil
}
