package hash

import (
	"math/rand/v2"

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
	// chooseShare: if more than one field in so many is wanted, walking the hash is cheaper than drawing.
	chooseShare = 8
	// smallHash is the number of fields up to which the whole hash is read instead.
	smallHash = 64
)

// Random visits n fields drawn at random, each with the same chance every time. Pairs are valid during the
// call only.
func (h *Hash) Random(n uint64, visit func(Pair)) error {
	if h.meta.Count > smallHash {
		var d drawing
		for range n {
			if err := h.draw(&d); err != nil {
				return err
			}
			visit(d.pair)
		}
		return nil
	}
	all := make([]Pair, 0, h.meta.Count)
	err := h.Scan(0, func(el keyspace.Element) bool {
		all = append(all, Pair{append([]byte(nil), el.Member...), append([]byte(nil), el.Value...)})
		return true
	})
	for range n {
		if err != nil || len(all) == 0 {
			return err
		}
		visit(all[rand.N(len(all))])
	}
	return err
}

// RandomDistinct visits n different fields drawn at random, all fields if there are no more than n. Pairs
// are valid during the call only.
func (h *Hash) RandomDistinct(n uint64, visit func(Pair)) error {
	if h.meta.Count <= smallHash || n > h.meta.Count/chooseShare {
		return h.choose(n, visit)
	}
	var d drawing
	drawn := make(map[string]struct{}, n)
	for uint64(len(drawn)) < n {
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

// choose walks the whole hash and takes each field with the chance that leaves n in the end.
func (h *Hash) choose(n uint64, visit func(Pair)) error {
	left := h.meta.Count
	return h.Scan(0, func(el keyspace.Element) bool {
		if n > 0 && (n >= left || rand.Uint64N(left) < n) {
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
