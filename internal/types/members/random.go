package members

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
)

// Pair is a member with its value.
type Pair struct{ Member, Value []byte }

// Random sampling draws a window of the hash space and takes one of the members in it. Members are spread
// evenly over that space but not at equal distances; so a window is accepted with a probability that grows
// with the number of members in it, which gives every member the same chance. The work for one member does not
// depend on the size of the value. Where many are wanted, the windows are looked at in the order of hashes.
const (
	hashSpace = encoding.HashEnd
	// windowMean is the number of members that a window has on average, windowMost the number up to which
	// chances are equal: a window with more occurs once in 10^7.
	windowMean = 16
	windowMost = 40
	// windowTries bounds the rounds of windows; only values with contrived members reach it: a round accepts 40 %.
	windowTries = 100
	// drawBatch is how many members are drawn together, and so how many are held in memory.
	drawBatch = 1024
	// walkShare: if more than one member in so many is wanted, walking the value is cheaper than drawing: a
	// member drawn costs as much as some 50 walked over.
	walkShare = 32
	// drawTries bounds how often, on average, a distinct member is drawn.
	drawTries = 20
	// smallValue is the number of members up to which the whole value is read instead.
	smallValue = 64
)

// Random visits n members drawn at random, each with the same chance every time. It keeps what it visits in
// memory only if it is cheaper to walk the value. Pairs are valid during the call only.
func (m *Members) Random(n uint64, visit func(Pair)) error {
	count, err := m.Live()
	if count == 0 || err != nil {
		return err
	}
	if walks(n, count) {
		return m.randomWalk(n, count, visit)
	}
	d, err := m.newDrawing(count)
	if err != nil {
		return err
	}
	for n > 0 && err == nil {
		var pairs []Pair
		pairs, err = d.draw(int(min(n, drawBatch)))
		for _, p := range pairs {
			visit(p)
		}
		n -= uint64(len(pairs))
	}
	return errors.Join(err, d.close())
}

// walks reports whether n of count members are found faster by walking the value than by drawing.
func walks(n, count uint64) bool { return count <= smallValue || n > count/walkShare }

// randomWalk draws n positions first and then walks the value once.
func (m *Members) randomWalk(n, count uint64, visit func(Pair)) error {
	type draw struct {
		at   uint64 // position of the member in the value
		turn int    // when it is to be visited
	}
	draws := make([]draw, n)
	for i := range draws {
		draws[i] = draw{rand.Uint64N(count), i}
	}
	slices.SortFunc(draws, func(a, b draw) int { return cmp.Compare(a.at, b.at) })
	pairs := make([]Pair, n)
	at, next := uint64(0), 0
	err := m.Scan(0, func(el keyspace.Element) bool {
		if next < len(draws) && draws[next].at == at {
			p := Pair{bytes.Clone(el.Member), bytes.Clone(el.Value)}
			for ; next < len(draws) && draws[next].at == at; next++ {
				pairs[draws[next].turn] = p
			}
		}
		at++
		return next < len(draws)
	})
	for _, p := range pairs {
		if err == nil {
			visit(p)
		}
	}
	return err
}

// RandomDistinct visits n different members drawn at random, all members if there are no more than n. Pairs
// are valid during the call only.
func (m *Members) RandomDistinct(n uint64, visit func(Pair)) error {
	count, err := m.Live()
	if count == 0 || err != nil {
		return err
	}
	if walks(n, count) {
		return m.choose(n, count, nil, visit)
	}
	drawn := make(map[string]struct{}, n)
	if err := m.drawDistinct(n, count, drawn, visit); err != nil {
		return err
	}
	if left := n - uint64(len(drawn)); left > 0 {
		return m.choose(left, count, drawn, visit)
	}
	return nil
}

// drawDistinct draws until n different members were drawn, or the same are drawn again and again; see draw.
func (m *Members) drawDistinct(n, count uint64, drawn map[string]struct{}, visit func(Pair)) error {
	d, err := m.newDrawing(count)
	if err != nil {
		return err
	}
	for tries := uint64(0); uint64(len(drawn)) < n && tries < drawTries*n && err == nil; {
		var pairs []Pair
		pairs, err = d.draw(int(min(n-uint64(len(drawn)), drawBatch)))
		tries += uint64(len(pairs))
		for _, p := range pairs {
			if _, again := drawn[string(p.Member)]; !again {
				drawn[string(p.Member)] = struct{}{}
				visit(p)
			}
		}
	}
	return errors.Join(err, d.close())
}

// choose walks the value and takes each member that is not left out with the chance that leaves n in the end.
func (m *Members) choose(n, count uint64, without map[string]struct{}, visit func(Pair)) error {
	left := count - uint64(len(without))
	return m.Scan(0, func(el keyspace.Element) bool {
		if _, out := without[string(el.Member)]; out {
			return true
		}
		if n > 0 && left > 0 && (n >= left || rand.Uint64N(left) < n) {
			visit(Pair{el.Member, el.Value})
			n--
		}
		left--
		return n > 0 && left > 0
	})
}

// drawing draws from one value, with one iterator.
type drawing struct {
	m     *Members
	rows  keyspace.Elements
	width uint64 // of a window
	due   bool   // there may be members past their deadline
}

func (m *Members) newDrawing(count uint64) (*drawing, error) {
	rows, err := m.tx.WalkElements(&m.key, &m.meta)
	return &drawing{m, rows, max(1, hashSpace/count*windowMean), m.mayBeDue()}, err
}

func (d *drawing) close() error { return d.rows.Close() }

// draw takes n members, each at random.
func (d *drawing) draw(n int) ([]Pair, error) {
	pairs := make([]Pair, 0, n)
	starts := make([]uint64, 0, n)
	for round := 0; len(pairs) < n && round < windowTries; round++ {
		starts = starts[:0]
		for range n - len(pairs) {
			starts = append(starts, rand.Uint64N(hashSpace))
		}
		slices.Sort(starts)
		for _, start := range starts {
			p, seen, err := d.window(start)
			if err != nil {
				return nil, err
			}
			if rand.N(windowMost) < seen {
				pairs = append(pairs, p)
			}
		}
	}
	for len(pairs) < n {
		// The members are crowded in a few places. Equal chances are lost, an answer must come.
		var c candidate
		err := d.collect(&c, rand.Uint64N(hashSpace), hashSpace, 1)
		if err == nil && c.seen == 0 {
			err = d.collect(&c, 0, hashSpace, 1)
		}
		if err == nil && c.seen == 0 {
			err = fmt.Errorf("no member of %d is there: %w", d.m.Len(), encoding.ErrCorrupt)
		}
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, c.pair)
	}
	rand.Shuffle(n, func(i, k int) { pairs[i], pairs[k] = pairs[k], pairs[i] })
	return pairs, nil
}

// window takes one of the members whose hashes lie in the width hashes from one on, round the end of the hash
// space, and tells how many there are, up to windowMost.
func (d *drawing) window(from uint64) (p Pair, seen int, err error) {
	var c candidate
	end := from + d.width
	err = d.collect(&c, from, end, windowMost)
	if err == nil && end > hashSpace {
		err = d.collect(&c, 0, end-hashSpace, windowMost)
	}
	return c.pair, c.seen, err
}

// candidate is one of the members seen, each with the same chance: the k-th displaces the one before it with the
// chance 1/k.
type candidate struct {
	pair Pair
	seen int
}

// collect looks at members with hashes of [from, end) until most were seen.
func (d *drawing) collect(c *candidate, from, end uint64, most int) error {
	return d.rows.From(from, func(el keyspace.Element) bool {
		if el.Hash >= end || c.seen >= most {
			return false
		}
		if d.due && d.m.tx.Expired(el.Deadline) {
			return true
		}
		c.seen++
		if rand.N(c.seen) == 0 {
			c.pair.Member = append(c.pair.Member[:0], el.Member...)
			c.pair.Value = append(c.pair.Value[:0], el.Value...)
		}
		return c.seen < most
	})
}
