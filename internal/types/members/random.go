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
// depend on the size of the value. Windows are the buckets of a form in memory (sample.go); or else rows, and where
// many are wanted these are looked at in the order of hashes.
const (
	hashSpace = encoding.HashEnd
	// windowMean is the number of members that a window of rows has on average, windowMost the number up to which
	// chances are equal: a window with more occurs once in 10^7.
	windowMean = 32
	windowMost = 66
	// windowTries bounds the rounds of windows; only values with contrived members reach it: a round accepts half.
	// Buckets in memory may be fuller, and to look at one costs next to nothing.
	windowTries = 100
	bucketTries = 2000
	// drawBatch is how many members are drawn together, and so how many are held in memory.
	drawBatch = 1024
	// walkShare: if more than one member in so many is wanted, walking the value is cheaper than drawing: a
	// member drawn costs as much as some 50 walked over, of rows and in memory alike.
	walkShare = 32
	// drawTries bounds how often, on average, a distinct member is drawn.
	drawTries = 20
	// smallValue is the number of members up to which the whole value is read instead.
	smallValue = 64
)

// Random visits n members drawn at random, each with the same chance every time, with their values only if that is
// said. It keeps what it visits in memory only if it is cheaper to walk the value. Pairs are valid during the call only.
func (m *Members) Random(n uint64, values bool, visit func(Pair)) error {
	count, err := m.Live()
	if n == 0 || count == 0 || err != nil {
		return err
	}
	s, err := m.sample(n, count, values)
	if err != nil {
		return err
	}
	if s == nil && walks(n, count) {
		return m.randomWalk(n, count, visit)
	}
	d := m.newDrawing(s, count, values)
	for n > 0 && err == nil {
		var pairs []Pair
		pairs, err = d.draw(int(min(n, drawBatch)))
		for i := 0; i < len(pairs) && err == nil; i++ {
			err = d.visit(pairs[i], visit)
		}
		n -= uint64(len(pairs))
		if err == nil {
			err = m.tx.Stopped()
		}
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

// RandomDistinct visits n different members drawn at random, all members if there are no more than n, with their
// values only if that is said. Pairs are valid during the call only.
func (m *Members) RandomDistinct(n uint64, values bool, visit func(Pair)) error {
	if n == 1 {
		return m.Random(1, values, visit)
	}
	count, err := m.Live()
	if n == 0 || count == 0 || err != nil {
		return err
	}
	s, err := m.sample(n, count, values)
	if err != nil {
		return err
	}
	d := m.newDrawing(s, count, values)
	var drawn map[string]struct{}
	switch {
	case !walks(n, count):
		drawn = make(map[string]struct{}, n)
		err = d.drawDistinct(n, drawn, visit)
	case s != nil:
		if err = d.choose(n, count, visit); !errors.Is(err, errCrowded) {
			return errors.Join(err, d.close())
		}
		err = nil // all are in one bucket, and none was visited
	}
	err = errors.Join(err, d.close())
	if left := n - uint64(len(drawn)); err == nil && left > 0 {
		return m.choose(left, count, drawn, visit)
	}
	return err
}

// drawDistinct draws until n different members were drawn, or the same are drawn again and again; see draw.
func (d *drawing) drawDistinct(n uint64, drawn map[string]struct{}, visit func(Pair)) error {
	for tries := uint64(0); uint64(len(drawn)) < n && tries < drawTries*n; {
		pairs, err := d.draw(int(min(n-uint64(len(drawn)), drawBatch)))
		if err != nil {
			return err
		}
		tries += uint64(len(pairs))
		for _, p := range pairs {
			if _, again := drawn[string(p.Member)]; !again {
				drawn[string(p.Member)] = struct{}{}
				if err := d.visit(p, visit); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// choice takes n of left members, which are seen one after the other.
type choice struct{ n, left uint64 }

// next decides on a member; more reports whether another is wanted.
func (c *choice) next() (take, more bool) {
	if take = c.n > 0 && c.left > 0 && (c.n >= c.left || rand.Uint64N(c.left) < c.n); take {
		c.n--
	}
	c.left--
	return take, c.n > 0 && c.left > 0
}

// choose is the choice from the buckets of the form.
func (d *drawing) choose(n, count uint64, visit func(Pair)) error {
	c, more := choice{n, count}, true
	for at := 0; at < len(d.s.buckets) && more; at++ {
		b, err := d.bucket(at)
		if err == nil {
			err = d.m.tx.Stopped()
		}
		if err != nil {
			return err
		}
		b.each(func(_, _ int, member []byte) bool {
			var take bool
			if take, more = c.next(); take {
				err = d.visit(Pair{Member: member}, visit)
			}
			return more && err == nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// choose walks the value and takes each member that is not left out with the chance that leaves n in the end.
func (m *Members) choose(n, count uint64, without map[string]struct{}, visit func(Pair)) error {
	c := choice{n, count - uint64(len(without))}
	return m.Scan(0, func(el keyspace.Element) bool {
		if _, out := without[string(el.Member)]; out {
			return true
		}
		take, more := c.next()
		if take {
			visit(Pair{el.Member, el.Value})
		}
		return more
	})
}

// drawing draws from one value: from its form, if it has one, and from its rows, with one iterator.
type drawing struct {
	m      *Members
	s      *sample // nil: from the rows
	count  uint64
	values bool   // are to be looked up
	width  uint64 // of a window of rows
	due    bool   // there may be members past their deadline
	rows   keyspace.Elements
	opened bool
}

func (m *Members) newDrawing(s *sample, count uint64, values bool) *drawing {
	return &drawing{m: m, s: s, count: count, values: values && s != nil, width: max(1, hashSpace/count*windowMean),
		due: m.mayBeDue()}
}

func (d *drawing) open() (err error) {
	if !d.opened {
		d.rows, err = d.m.tx.WalkElements(&d.m.key, &d.m.meta)
		d.opened = err == nil
	}
	return err
}

func (d *drawing) close() error {
	if !d.opened {
		return nil
	}
	return d.rows.Close()
}

// visit visits a member that was drawn, with its value if that is wanted.
func (d *drawing) visit(p Pair, visit func(Pair)) error {
	if !d.values {
		visit(p)
		return nil
	}
	mem := d.m.tx.Scratch()
	value, _, found, err := d.m.tx.GetTimed(&d.m.key, &d.m.meta, p.Member)
	if err == nil && !found {
		err = fmt.Errorf("member %q is in memory only: %w", p.Member, encoding.ErrCorrupt)
	}
	if err == nil {
		visit(Pair{p.Member, value})
	}
	d.m.tx.Forget(mem)
	return err
}

// draw takes n members, each at random.
func (d *drawing) draw(n int) ([]Pair, error) {
	pairs := make([]Pair, 0, n)
	starts := make([]uint64, 0, n)
	tries, window := windowTries, d.window
	if d.s != nil {
		tries, window = bucketTries, d.pick
	}
	for round := 0; len(pairs) < n && round < tries; round++ {
		starts = starts[:0]
		for range n - len(pairs) {
			starts = append(starts, rand.Uint64N(hashSpace))
		}
		slices.Sort(starts)
		for _, start := range starts {
			p, ok, err := window(start)
			if errors.Is(err, errCrowded) {
				d.s, d.values = nil, false
				return d.draw(n)
			}
			if err != nil {
				return nil, err
			}
			if ok {
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

// bucket is one of the form, read if it is not there.
func (d *drawing) bucket(at int) (*bucket, error) {
	b := d.s.get(at)
	if b == nil {
		err := d.open()
		if err == nil {
			first := at &^ (loadTogether - 1)
			b, err = d.s.read(&d.rows, first, min(first+loadTogether, len(d.s.buckets)), at)
		}
		if err != nil {
			return nil, err
		}
	}
	if !b.used.Load() {
		b.used.Store(true)
	}
	return b, nil
}

// pick takes one of the members of the bucket in which a hash lies, or none.
func (d *drawing) pick(hash uint64) (p Pair, ok bool, err error) {
	b, err := d.bucket(d.s.at(hash))
	if err != nil {
		return p, false, err
	}
	most := b.n
	if d.s.bits > 0 {
		most = d.s.limit(d.count)
	}
	if most == 0 {
		return p, false, nil
	}
	k := rand.N(most)
	if ok = k < b.n; ok {
		p.Member = b.member(k)
	}
	return p, ok, nil
}

// window takes one of the members whose hashes lie in the width hashes from one on, round the end of the hash
// space, or none: the more there are, up to windowMost, the likelier one is taken.
func (d *drawing) window(from uint64) (p Pair, ok bool, err error) {
	var c candidate
	end := from + d.width
	err = d.collect(&c, from, end, windowMost)
	if err == nil && end > hashSpace {
		err = d.collect(&c, 0, end-hashSpace, windowMost)
	}
	return c.pair, rand.N(windowMost) < c.seen, err
}

// candidate is one of the members seen, each with the same chance: the k-th displaces the one before it with the
// chance 1/k.
type candidate struct {
	pair Pair
	seen int
}

// collect looks at members with hashes of [from, end) until most were seen.
func (d *drawing) collect(c *candidate, from, end uint64, most int) error {
	if err := d.open(); err != nil {
		return err
	}
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
