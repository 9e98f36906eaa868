package stream

import (
	"slices"

	"haypile/internal/keyspace"
)

// front is the form of a stream in memory (see keyspace.Form): the IDs of its first entries, without a gap, so that
// a stream that is trimmed a little with every entry added need not walk over its rows each time.
type front struct{ ids []ID }

// frontMost is the number of IDs that are read at once.
const frontMost = 256

// Size implements keyspace.Form.
func (f *front) Size() int64 { return int64(16*cap(f.ids)) + 64 }

func newFront() keyspace.Form { return &front{} }

// front is that of the stream, to change.
func (s *Stream) front() *front { return s.tx.OwnForm(s.meta.ID, newFront).(*front) }

// fill reads the IDs of the first entries, unless more than n are known.
func (s *Stream) fill(f *front, n uint64) error {
	if known := uint64(len(f.ids)); known > n || known == s.meta.Count {
		return nil
	}
	f.ids = slices.Grow(f.ids[:0], frontMost)
	return s.Range(s.First, Max, func(id ID, _ Fields) bool {
		f.ids = append(f.ids, id)
		return len(f.ids) < frontMost
	})
}

// forget takes an entry that is deleted out of the front.
func (s *Stream) forget(id ID) {
	f := s.front()
	if at, known := slices.BinarySearchFunc(f.ids, id, ID.Compare); known {
		f.ids = slices.Delete(f.ids, at, at+1)
	}
}

// before counts the entries before an ID, if they are so few that the front knows.
func (s *Stream) before(id ID) (n uint64, known bool, err error) {
	f := s.front()
	if err := s.fill(f, 0); err != nil {
		return 0, false, err
	}
	at, _ := slices.BinarySearchFunc(f.ids, id, ID.Compare)
	if at == len(f.ids) && uint64(at) < s.meta.Count {
		return s.meta.Count, false, nil
	}
	return uint64(at), true, nil
}

// dropFirst removes the first n entries, fewer than frontMost.
func (s *Stream) dropFirst(n uint64) error {
	f := s.front()
	if err := s.fill(f, n); err != nil {
		return err
	}
	if uint64(len(f.ids)) < n {
		return corrupt("entries of a stream are missing")
	}
	for _, id := range f.ids[:n] {
		s.tx.RemoveIndex(&s.key, &s.meta, entryKey(id))
	}
	f.ids = f.ids[n:]
	s.meta.Count -= n
	s.First, s.changed = ID{}, true
	if len(f.ids) > 0 {
		s.First = f.ids[0]
	}
	return nil
}
