package members

import (
	"bytes"
	"cmp"
	"iter"

	"haypile/internal/keyspace"
)

// stream is a value that is walked beside others.
type stream struct {
	next func() (keyspace.Element, bool)
	stop func()
	el   keyspace.Element
	ok   bool
	err  error
}

func (m *Members) stream() *stream {
	st := &stream{}
	st.next, st.stop = iter.Pull(func(yield func(keyspace.Element) bool) { st.err = m.Scan(0, yield) })
	st.advance()
	return st
}

func (st *stream) advance() { st.el, st.ok = st.next() }

func byHash(a, b *keyspace.Element) int {
	return cmp.Or(cmp.Compare(a.Hash, b.Hash), bytes.Compare(a.Member, b.Member))
}

// Merge visits each member of any of the values once, in the order of hashes, with the element that each value has
// for it (nil if it has none), until visit says stop. It ends early when the first value does, if onlyFirst is
// set. One element of each value is in memory at a time; views live during the visit.
func Merge(values []*Members, onlyFirst bool, visit func(in []*keyspace.Element) (more bool)) error {
	streams := make([]*stream, 0, len(values))
	defer func() {
		for _, st := range streams {
			st.stop()
		}
	}()
	for _, m := range values {
		streams = append(streams, m.stream())
	}
	in := make([]*keyspace.Element, len(values))
	for {
		var least *keyspace.Element
		for _, st := range streams {
			if st.err != nil {
				return st.err
			}
			if st.ok && (least == nil || byHash(&st.el, least) < 0) {
				least = &st.el
			}
		}
		if least == nil || onlyFirst && !streams[0].ok {
			return nil
		}
		for i, st := range streams {
			if in[i] = nil; st.ok && byHash(&st.el, least) == 0 {
				in[i] = &st.el
			}
		}
		if !visit(in) {
			return nil
		}
		for i, st := range streams {
			if in[i] != nil {
				st.advance()
			}
		}
	}
}
