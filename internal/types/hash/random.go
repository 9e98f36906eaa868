package hash

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
)

// Pair is a field with its value.
type Pair struct{ Field, Value []byte }

// Random sampling draws a window of the hash space and takes one of the fields in it. Fields are spread
// evenly over that space but not at equal distances; so a window is accepted with a probability that grows
// with the number of fields in it, which gives every field the same chance. The work for one field does not
// depend on the size of the hash.
const (
	hashSpace = encoding.HashEnd
	// windowMean is the number of fields that a window has on average, windowMost the number up to which
	// chances are equal: a window with more occurs once in 10^7.
	windowMean = 16
	windowMost = 40
	// windowTries bounds the number of windows for one field; only hashes with contrived fields reach it.
	windowTries = 100
	// walkShare: if more than one field in so many is wanted, walking the hash is cheaper than drawing: a
	// field drawn costs as much as some 50 walked over.
	walkShare = 32
	// drawTries bounds how often, on average, a distinct field is drawn.
	drawTries = 20
	// smallHash is the number of fields up to which the whole hash is read instead.
	smallHash = 64
)

// Random visits n fields drawn at random, each with the same chance every time. It keeps what it visits in
// memory if it is cheaper to walk the hash. Pairs are valid during the call only.
func (h *Hash) Random(n uint64, visit func(Pair)) error {
	if h.meta.Count == 0 {
		return nil
	}
	if h.walks(n) {
		return h.randomWalk(n, visit)
	}
	var d drawing
	for range n {
		if err := h.draw(&d); err != nil {
			return err
		}
		visit(d.pair)
	}
	return nil
}

// walks reports whether n fields are found faster by walking the hash than by drawing.
func (h *Hash) walks(n uint64) bool { return h.meta.Count <= smallHash || n > h.meta.Count/walkShare }

// randomWalk draws n positions first and then walks the hash once.
func (h *Hash) randomWalk(n uint64, visit func(Pair)) error {
	type draw struct {
		at   uint64 // position of the field in the hash
		turn int    // when it is to be visited
	}
	draws := make([]draw, n)
	for i := range draws {
		draws[i] = draw{rand.Uint64N(h.meta.Count), i}
	}
	slices.SortFunc(draws, func(a, b draw) int { return cmp.Compare(a.at, b.at) })
	pairs := make([]Pair, n)
	at, next := uint64(0), 0
	err := h.Scan(0, func(el keyspace.Element) bool {
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

// RandomDistinct visits n different fields drawn at random, all fields if there are no more than n. Pairs
// are valid during the call only.
func (h *Hash) RandomDistinct(n uint64, visit func(Pair)) error {
	if h.walks(n) {
		return h.choose(n, nil, visit)
	}
	var d drawing
	drawn := make(map[string]struct{}, n)
	for tries := 0; uint64(len(drawn)) < n; tries++ {
		if tries > drawTries*int(n) {
			// Drawing finds the same fields again and again; see draw.
			return h.choose(n-uint64(len(drawn)), drawn, visit)
		}
		if err := h.draw(&d); err != nil {
			return err
		}
		if _, again := drawn[string(d.pair.Field)]; !again {
			drawn[string(d.pair.Field)] = struct{}{}
			visit(d.pair)
		}
	}
	return nil
}

// choose walks the hash and takes each field that is not left out with the chance that leaves n in the end.
func (h *Hash) choose(n uint64, without map[string]struct{}, visit func(Pair)) error {
	left := h.meta.Count - uint64(len(without))
	return h.Scan(0, func(el keyspace.Element) bool {
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

// drawing is one draw and its buffers. seen counts the fields of the window.
type drawing struct {
	pair Pair
	seen int
}

// draw takes one field at random into d.
func (h *Hash) draw(d *drawing) error {
	width := max(1, hashSpace/h.meta.Count*windowMean)
	for range windowTries {
		if err := h.window(d, rand.Uint64N(hashSpace), width); err != nil {
			return err
		}
		if rand.N(windowMost) < d.seen {
			return nil
		}
	}
	// The fields are crowded in a few places. Equal chances are lost, an answer must come.
	d.seen = 0
	if err := h.collect(d, rand.Uint64N(hashSpace), hashSpace, 1); err != nil || d.seen > 0 {
		return err
	}
	return h.collect(d, 0, hashSpace, 1)
}

// window looks at the fields whose hashes lie in the width hashes from from on, round the end of the hash
// space, and takes one of them.
func (h *Hash) window(d *drawing, from, width uint64) error {
	d.seen = 0
	err := h.collect(d, from, from+width, windowMost)
	if end := from + width; err == nil && end > hashSpace {
		err = h.collect(d, 0, end-hashSpace, windowMost)
	}
	return err
}

// collect takes one of up to most fields with hashes of [from, end), each with the same chance: the k-th
// that it sees displaces the one taken before with the chance 1/k.
func (h *Hash) collect(d *drawing, from, end uint64, most int) error {
	return h.Scan(from, func(el keyspace.Element) bool {
		if el.Hash >= end || d.seen >= most {
			return false
		}
		d.seen++
		if rand.N(d.seen) == 0 {
			d.pair.Field = append(d.pair.Field[:0], el.Member...)
			d.pair.Value = append(d.pair.Value[:0], el.Value...)
		}
		return d.seen < most
	})
}
