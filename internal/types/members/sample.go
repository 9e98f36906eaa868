package members

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
)

// sample is the form of a set or a hash in memory (see keyspace.Form), from which members are drawn. It cuts the hash
// space into equal buckets of some 16 members each, or one for a small value. A bucket that is there has the members
// of its rows, all of them and without their values; the others are read when they are needed. Readers share the form
// and complete it; only who owns it changes what it has. Only who draws makes one: a value that nobody draws from has
// none, and its changes cost nothing.
type sample struct {
	bits    int // the logarithm of the number of buckets
	buckets []atomic.Pointer[bucket]
	// old are the buckets before the space was cut anew, as long as there are such: see get.
	old    *former
	size   atomic.Int64
	loaded atomic.Int64 // buckets that are there
	most   atomic.Int64 // members of the fullest bucket that was seen
	// crowded: there is a bucket that is too large. It stays so until the buckets are cut anew.
	crowded atomic.Bool
}

// former are buckets of another size. One that is there has the members of its rows, too: it is gone before these
// change.
type former struct {
	bits    int
	buckets []atomic.Pointer[bucket]
	there   atomic.Int64
}

// bucket has members one after the other, each behind its length.
type bucket struct {
	data []byte
	n    int
	used atomic.Bool // somebody has drawn from it since the form was shrunk
}

const (
	// bucketMean is the number of members up to which buckets have on average when they are cut; bucketOnce is how
	// many are in one bucket.
	bucketMean = 16
	bucketOnce = 64
	// bucketMost and bucketBytes bound a bucket. Members can be contrived so that one has all of them.
	bucketMost  = 1024
	bucketBytes = 128 << 10
	// sampleOverhead and bucketOverhead are the memory of a form and of a bucket beside their bytes.
	sampleOverhead = 250
	bucketOverhead = 56
	// loadTogether is how many buckets are read at once: the iterator costs as much as they do.
	loadTogether = 8
	// fillMost is up to how many members a form is filled as a whole; beyond, wishes for many are met by a walk.
	fillMost = 1 << 16
	// sampleShare: one form may take one byte for so many of what all may take, where it is known before.
	sampleShare = 4
	// hotDraws and hotWalk bound what is done where nothing may take long: draws, and members walked over in memory.
	hotDraws = 4 << 10
	hotWalk  = 16 << 10
)

// recutMost is up to how many members are put into new buckets in one go, which takes milliseconds; those of a larger
// value are when they are looked at. A variable, so that a test need not have so many.
var recutMost uint64 = 1 << 17

// cut is the logarithm of the number of buckets for a number of members.
func cut(count uint64) int {
	if count <= bucketOnce {
		return 0
	}
	return bits.Len64((count - 1) / bucketMean)
}

// fits reports whether buckets need not be cut anew. The number of members must have doubled, or halved, since they
// were.
func fits(logarithm int, count uint64) bool {
	if logarithm == 0 {
		return count <= 2*bucketOnce
	}
	return count <= 2*bucketMean<<logarithm && count >= bucketMean/2<<logarithm
}

func (m *Members) newSample() keyspace.Form {
	s := &sample{}
	s.reset(cut(m.meta.Count))
	return s
}

// reset gives a form new buckets, none of which is there.
func (s *sample) reset(logarithm int) {
	s.bits, s.buckets = logarithm, make([]atomic.Pointer[bucket], 1<<logarithm)
	s.loaded.Store(0)
	s.most.Store(0)
	s.crowded.Store(false)
	s.size.Store(sampleOverhead + int64(len(s.buckets))*8)
}

// Size implements keyspace.Form.
func (s *sample) Size() int64 { return s.size.Load() }

// Shrink implements keyspace.Shrinker: buckets go, first those that nobody drew from since the last time.
func (s *sample) Shrink(target int64) {
	s.dropOld(target)
	start := rand.N(len(s.buckets)) // so that not always the same end is spared
	for _, unused := range []bool{true, false} {
		for i := range s.buckets {
			if s.Size() <= target {
				return
			}
			at := (start + i) % len(s.buckets)
			if b := s.buckets[at].Load(); b != nil && !(unused && b.used.Swap(false)) {
				s.drop(at, b)
			}
		}
	}
}

// Forget implements keyspace.Forgetter; the part is the hash of a member.
func (s *sample) Forget(part uint64) {
	at := s.at(part)
	if b := s.change(at); b != nil {
		s.drop(at, b)
	}
}

func (s *sample) drop(at int, b *bucket) {
	if s.buckets[at].CompareAndSwap(b, nil) {
		s.loaded.Add(-1)
		s.size.Add(-b.size())
	}
}

func (b *bucket) size() int64 { return int64(cap(b.data)) + bucketOverhead }

// at is the number of the bucket of a hash.
func (s *sample) at(hash uint64) int { return int(hash >> (encoding.HashBits - s.bits)) }

// from is the first hash of a bucket.
func (s *sample) from(at int) uint64 { return uint64(at) << (encoding.HashBits - s.bits) }

// get is a bucket, made of former ones if it can be; nil if it is not there.
func (s *sample) get(at int) *bucket {
	b := s.buckets[at].Load()
	if b == nil && s.old != nil && s.old.there.Load() > 0 {
		b = s.adopt(at)
	}
	return b
}

// change is get for a bucket that is about to change: there are no former ones with its members any more. REQUIRES:
// the form is owned.
func (s *sample) change(at int) *bucket {
	if s.old != nil {
		if s.old.there.Load() > 0 {
			s.adopt(at)
		} else {
			s.size.Add(-8 * int64(len(s.old.buckets)))
			s.old = nil
		}
	}
	return s.buckets[at].Load()
}

// adopt makes a bucket of the former ones with its members if all of them are there, and the others that have members
// of these. The former ones go.
func (s *sample) adopt(at int) (wanted *bucket) {
	first, n, from, of := at, 1, at, 1 // buckets to be made, and former ones
	if d := s.bits - s.old.bits; d > 0 {
		first, n, from = at>>d<<d, 1<<d, at>>d
	} else {
		from, of = at<<-d, 1<<-d
	}
	made, bytes, all := make([]*bucket, n), 0, true
	parts := make([]*bucket, of)
	for i := range parts {
		if parts[i] = s.old.buckets[from+i].Load(); parts[i] != nil {
			bytes += len(parts[i].data)
		}
		all = all && parts[i] != nil
	}
	if all {
		for i := range made {
			made[i] = &bucket{data: make([]byte, 0, bytes/n)}
		}
		for _, b := range parts {
			b.each(func(_, _ int, member []byte) bool {
				made[s.at(encoding.Hash48(member))-first].append(member)
				return true
			})
		}
		for i, b := range made {
			if !b.full() { // else whoever reads it will see
				s.complete(first+i, b)
			}
		}
		if wanted = made[at-first]; wanted.full() {
			wanted = nil
		}
	}
	for i, b := range parts {
		if b != nil {
			s.dropFormer(from+i, b)
		}
	}
	return wanted
}

func (s *sample) dropFormer(at int, b *bucket) {
	if s.old.buckets[at].CompareAndSwap(b, nil) {
		s.old.there.Add(-1)
		s.size.Add(-b.size())
	}
}

// dropOld gives former buckets up until the form takes about target bytes.
func (s *sample) dropOld(target int64) {
	if s.old == nil {
		return
	}
	for i := range s.old.buckets {
		if s.Size() <= target || s.old.there.Load() == 0 {
			return
		}
		if b := s.old.buckets[i].Load(); b != nil {
			s.dropFormer(i, b)
		}
	}
}

// whole reports whether all buckets are there. Where the form is shared, some may be gone at once.
func (s *sample) whole() bool { return s.loaded.Load() == int64(len(s.buckets)) }

// wouldFit reports whether the form would take no more than some bytes if all buckets were there. Otherwise most that
// is read would be given up before it is looked at again.
func (s *sample) wouldFit(most int64) bool {
	all := int64(len(s.buckets))
	empty := sampleOverhead + 8*all
	return empty+(s.Size()-empty)/max(s.loaded.Load(), 1)*all <= most
}

// limit is the number of members up to which the chances of all are equal: that of the fullest bucket, or, as long
// as it is not known, one that a bucket of the mean exceeds once in 10^7.
func (s *sample) limit(count uint64) int {
	most := int(s.most.Load())
	if s.bits > 0 && !s.whole() {
		mean := float64(count) / float64(len(s.buckets))
		most = max(most, int(mean+6*math.Sqrt(mean)))
	}
	return max(most, 1)
}

// append puts a member into a bucket.
func (b *bucket) append(member []byte) {
	b.data = append(binary.AppendUvarint(b.data, uint64(len(member))), member...)
	b.n++
}

// full reports whether a bucket is too large.
func (b *bucket) full() bool { return b.n > bucketMost || len(b.data) > bucketBytes }

// each visits the members until f says stop; at is where one begins, end where it ends.
func (b *bucket) each(f func(at, end int, member []byte) (more bool)) {
	for at := 0; at < len(b.data); {
		n, size := binary.Uvarint(b.data[at:])
		end := at + size + int(n)
		if !f(at, end, b.data[at+size:end:end]) {
			return
		}
		at = end
	}
}

// member is the k-th member.
func (b *bucket) member(k int) (m []byte) {
	b.each(func(_, _ int, member []byte) bool {
		m = member
		k--
		return k >= 0
	})
	return m
}

// complete puts a bucket that was read where it belongs, unless somebody else did.
func (s *sample) complete(at int, b *bucket) {
	if s.buckets[at].CompareAndSwap(nil, b) {
		s.loaded.Add(1)
		s.size.Add(b.size())
	}
	s.seen(b)
}

// seen notes how full a bucket is.
func (s *sample) seen(b *bucket) {
	for n := int64(b.n); ; {
		most := s.most.Load()
		if n <= most || s.most.CompareAndSwap(most, n) {
			return
		}
	}
}

// insert adds a member. REQUIRES: the form is owned.
func (s *sample) insert(hash uint64, member []byte) {
	b := s.change(s.at(hash))
	if b == nil {
		return
	}
	was := b.size()
	b.append(member)
	s.size.Add(b.size() - was)
	s.seen(b)
	if b.full() {
		s.crowd()
	}
}

// remove takes a member out. REQUIRES: the form is owned.
func (s *sample) remove(hash uint64, member []byte) {
	b := s.change(s.at(hash))
	if b == nil {
		return
	}
	b.each(func(at, end int, m []byte) bool {
		if !bytes.Equal(m, member) {
			return true
		}
		b.data = slices.Delete(b.data, at, end)
		b.n--
		return false
	})
}

// crowd gives the buckets up: members are drawn from the rows.
func (s *sample) crowd() {
	s.crowded.Store(true)
	s.dropOld(0)
	for i := range s.buckets {
		if b := s.buckets[i].Load(); b != nil {
			s.drop(i, b)
		}
	}
}

// recut makes buckets for another number of members. REQUIRES: the form is owned.
func (s *sample) recut(count uint64) {
	s.dropOld(0) // hardly any: the number of members has doubled, or halved, since
	old := &former{bits: s.bits, buckets: s.buckets}
	old.there.Store(s.loaded.Load())
	kept := s.Size() - sampleOverhead // with 8 bytes for each
	if s.old != nil {
		kept -= 8 * int64(len(s.old.buckets))
	}
	s.reset(cut(count))
	s.old = old
	s.size.Add(kept)
	for at := 0; at < len(s.buckets) && count <= recutMost; at++ {
		s.get(at)
	}
}

// errCrowded ends the reading of a bucket that is too large.
var errCrowded = errors.New("too many members have nearly the same hash")

// read completes the buckets from one to before another, from the rows. It returns one of them, which may have been
// forgotten again (see Shrink).
func (s *sample) read(rows *keyspace.Elements, from, to, want int) (wanted *bucket, err error) {
	var b bucket // is used again and again, so that what is kept is no larger than it must be
	at, end := from, s.from(from+1)
	next := func() {
		kept := &bucket{data: bytes.Clone(b.data), n: b.n}
		s.complete(at, kept)
		if at == want {
			wanted = kept
		}
		at++
		b.data, b.n, end = b.data[:0], 0, s.from(at+1)
	}
	crowded := false
	err = rows.From(s.from(from), func(el keyspace.Element) bool {
		for el.Hash >= end {
			if next(); at == to {
				return false
			}
		}
		b.append(el.Member)
		crowded = b.full()
		return !crowded
	})
	if err == nil && crowded {
		s.crowded.Store(true)
		err = errCrowded
	}
	if err != nil {
		return nil, err
	}
	for at < to {
		next()
	}
	return wanted, nil
}

// sample is the form of the value to draw n of its members from, nil if they are to be taken from the rows.
func (m *Members) sample(n, count uint64, values bool) (*sample, error) {
	budget := m.tx.FormBudget() / sampleShare
	// Values are looked up one by one, which is right for a few.
	if m.typ == encoding.ZSet || m.mayBeDue() || values && n > drawBatch || int64(8)<<cut(count) > budget {
		return nil, nil
	}
	s := m.tx.Form(m.meta.ID, m.newSample).(*sample)
	if s.crowded.Load() || !s.wouldFit(m.tx.FormBudget()/2) {
		return nil, nil
	}
	if s.bits > 0 && walks(n, count) && !s.whole() {
		if m.tx.InMemory() {
			return nil, keyspace.ErrCold
		}
		if n >= count || count > fillMost {
			return nil, nil
		}
		if ok, err := m.fill(s, budget); !ok || err != nil {
			return nil, err
		}
	}
	if m.tx.InMemory() && (n > hotDraws || walks(n, count) && count > hotWalk) {
		return nil, keyspace.ErrCold
	}
	return s, nil
}

// fill reads all buckets that are not there, as long as the form takes no more than most bytes.
func (m *Members) fill(s *sample, most int64) (bool, error) {
	rows, err := m.tx.WalkElements(&m.key, &m.meta)
	if err != nil {
		return false, err
	}
	for at := 0; at < len(s.buckets) && err == nil && s.Size() <= most; at += loadTogether {
		if to := min(at+loadTogether, len(s.buckets)); !s.present(at, to) {
			_, err = s.read(&rows, at, to, at)
		}
	}
	err = errors.Join(err, rows.Close())
	if errors.Is(err, errCrowded) {
		return false, nil
	}
	return s.Size() <= most, err
}

// present reports whether all of some buckets are there.
func (s *sample) present(from, to int) bool {
	for at := from; at < to; at++ {
		if s.get(at) == nil {
			return false
		}
	}
	return true
}

// note keeps the form, if there is one, with a member that is about to be added, or removed.
func (m *Members) note(member []byte, added bool) {
	if m.typ == encoding.ZSet {
		return
	}
	hash := encoding.Hash48(member)
	s, ok := m.tx.ChangeForm(m.meta.ID, hash).(*sample)
	if !ok {
		return
	}
	count := m.meta.Count - 1
	if added {
		s.insert(hash, member)
		count = m.meta.Count + 1
	} else {
		s.remove(hash, member)
	}
	if !fits(s.bits, count) {
		s.recut(count)
		m.tx.OwnForm(m.meta.ID, m.newSample) // taken back, it must not stay cut like this
	}
}
