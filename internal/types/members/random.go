package members

import (
	"bytes"
	"cmp"
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
// depend on the size of the value.
const (
	hashSpace = encoding.HashEnd
	// windowMean is the number of members that a window has on average, windowMost the number up to which
	// chances are equal: a window with more occurs once in 10^7.
	windowMean = 16
	windowMost = 40
	// windowTries bounds the number of windows for one member; only values with contrived members reach it.
	windowTries = 100
	// walkShare: if more than one member in so many is wanted, walking the value is cheaper than drawing: a
	// member drawn costs as much as some 50 walked over.
	walkShare = 32
	// drawTries bounds how often, on average, a distinct member is drawn.
	drawTries = 20
	// smallValue is the number of members up to which the whole value is read instead.
	smallValue = 64
)

// Random visits n members drawn at random, each with the same chance every time. It keeps what it visits in
// memory if it is cheaper to walk the value. Pairs are valid during the call only.
func (m *Members) Random(n uint64, visit func(Pair)) error {
	count, err := m.Live()
	if count == 0 || err != nil {
		return err
	}
	if walks(n, count) {
		return m.randomWalk(n, count, visit)
	}
	var d drawing
	for range n {
		if err := m.draw(&d, count); err != nil {
			return err
		}
		visit(d.pair)
	}
	return nil
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
	var d drawing
	drawn := make(map[string]struct{}, n)
	for tries := 0; uint64(len(drawn)) < n; tries++ {
		if tries > drawTries*int(n) {
			// Drawing finds the same members again and again; see draw.
			return m.choose(n-uint64(len(drawn)), count, drawn, visit)
		}
		if err := m.draw(&d, count); err != nil {
			return err
		}
		if _, again := drawn[string(d.pair.Member)]; !again {
			drawn[string(d.pair.Member)] = struct{}{}
			visit(d.pair)
		}
	}
	return nil
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

// drawing is one draw and its buffers. seen counts the members of the window.
type drawing struct {
	pair Pair
	seen int
}

// draw takes one of count members at random into d.
func (m *Members) draw(d *drawing, count uint64) error {
	width := max(1, hashSpace/count*windowMean)
	for range windowTries {
		if err := m.window(d, rand.Uint64N(hashSpace), width); err != nil {
			return err
		}
		if rand.N(windowMost) < d.seen {
			return nil
		}
	}
	// The members are crowded in a few places. Equal chances are lost, an answer must come.
	d.seen = 0
	if err := m.collect(d, rand.Uint64N(hashSpace), hashSpace, 1); err != nil || d.seen > 0 {
		return err
	}
	return m.collect(d, 0, hashSpace, 1)
}

// window looks at the members whose hashes lie in the width hashes from from on, round the end of the hash
// space, and takes one of them.
func (m *Members) window(d *drawing, from, width uint64) error {
	d.seen = 0
	err := m.collect(d, from, from+width, windowMost)
	if end := from + width; err == nil && end > hashSpace {
		err = m.collect(d, 0, end-hashSpace, windowMost)
	}
	return err
}

// collect takes one of up to most members with hashes of [from, end), each with the same chance: the k-th
// that it sees displaces the one taken before with the chance 1/k.
func (m *Members) collect(d *drawing, from, end uint64, most int) error {
	return m.Scan(from, func(el keyspace.Element) bool {
		if el.Hash >= end || d.seen >= most {
			return false
		}
		d.seen++
		if rand.N(d.seen) == 0 {
			d.pair.Member = append(d.pair.Member[:0], el.Member...)
			d.pair.Value = append(d.pair.Value[:0], el.Value...)
		}
		return d.seen < most
	})
}
