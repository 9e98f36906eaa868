package stream

import (
	"encoding/binary"
	"fmt"

	"haypile/internal/encoding"
)

// The rows of a stream. They are permanent: golden tests hold their bytes. A sort key begins with the number of its
// table; names in it have their length before them where something follows, so that no name is the beginning of
// another. Values begin with their format.
//
//	1 | id                                          entry: number of fields and values, each with its length
//	2 | group                                       last id, highest id ever pending, entries read, pending, consumers
//	3 | len group | group | consumer                seen, active, pending
//	4 | len group | group | id                      pending: delivered at, times delivered, consumer
//	5 | len group | group | len consumer | consumer | id   pending of a consumer: nothing more
const (
	tableEntry    = 1
	tableGroup    = 2
	tableConsumer = 3
	tablePending  = 4
	tableOwned    = 5

	format = 0
)

func corrupt(what string) error { return fmt.Errorf("%s: %w", what, encoding.ErrCorrupt) }

func entryKey(id ID) []byte { return appendID([]byte{tableEntry}, id) }

// entriesEnd is behind the last entry.
var entriesEnd = []byte{tableEntry + 1}

func appendName(dst, name []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(name))), name...)
}

func groupKey(group []byte) []byte { return append([]byte{tableGroup}, group...) }

// consumersOf begins the keys of a group's consumers.
func consumersOf(group []byte) []byte { return appendName([]byte{tableConsumer}, group) }

func consumerKey(group, consumer []byte) []byte { return append(consumersOf(group), consumer...) }

// pendingOf begins the keys of what a group has pending.
func pendingOf(group []byte) []byte { return appendName([]byte{tablePending}, group) }

// ownedBy begins those of what a consumer has pending.
func ownedBy(group, consumer []byte) []byte {
	return appendName(appendName([]byte{tableOwned}, group), consumer)
}

// head is what the metadata keeps beside the number of entries.
type head struct {
	// Last is the highest ID that was ever given out, First that of the first entry, 0-0 if there is none.
	Last, First ID
	// MaxDeleted is the highest ID that XDEL has removed.
	MaxDeleted ID
	// Added counts the entries ever added.
	Added uint64
	// Groups is the number of consumer groups.
	Groups uint64
}

func appendUvarints(dst []byte, values ...uint64) []byte {
	for _, v := range values {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

func appendHead(dst []byte, h *head) []byte {
	return appendUvarints(append(dst, format), h.Last.MS, h.Last.Seq, h.First.MS, h.First.Seq, h.MaxDeleted.MS,
		h.MaxDeleted.Seq, h.Added, h.Groups)
}

// readUvarints reads values behind the format, and returns what follows them.
func readUvarints(b []byte, values ...*uint64) (rest []byte, ok bool) {
	if len(b) == 0 || b[0] != format {
		return nil, false
	}
	b = b[1:]
	for _, v := range values {
		var n int
		if *v, n = binary.Uvarint(b); n <= 0 {
			return nil, false
		}
		b = b[n:]
	}
	return b, true
}

func parseHead(b []byte, h *head) error {
	rest, ok := readUvarints(b, &h.Last.MS, &h.Last.Seq, &h.First.MS, &h.First.Seq, &h.MaxDeleted.MS, &h.MaxDeleted.Seq,
		&h.Added, &h.Groups)
	if !ok || len(rest) > 0 {
		return corrupt("head of a stream")
	}
	return nil
}

// Fields are the fields and values of an entry, packed.
type Fields struct {
	n uint64
	b []byte
}

// Len is the number of fields and values together.
func (f Fields) Len() int { return int(f.n) }

// All visits fields and values, each field before its value. They are views.
func (f Fields) All(visit func([]byte)) {
	for b := f.b; len(b) > 0; {
		n, size := binary.Uvarint(b) // parseEntry has checked it
		visit(b[size : size+int(n)])
		b = b[size+int(n):]
	}
}

func appendEntry(dst []byte, fields [][]byte) []byte {
	dst = binary.AppendUvarint(append(dst, format), uint64(len(fields)))
	for _, f := range fields {
		dst = appendName(dst, f)
	}
	return dst
}

// entrySize is an upper bound of what appendEntry appends.
func entrySize(fields [][]byte) int {
	n := 1 + binary.MaxVarintLen64
	for _, f := range fields {
		n += len(f) + binary.MaxVarintLen32
	}
	return n
}

func parseEntry(b []byte) (f Fields, err error) {
	var ok bool
	if f.b, ok = readUvarints(b, &f.n); !ok {
		return f, corrupt("entry of a stream")
	}
	n := uint64(0)
	for b := f.b; len(b) > 0; n++ {
		length, size := binary.Uvarint(b)
		if size <= 0 || length > uint64(len(b)-size) {
			return f, corrupt("entry of a stream")
		}
		b = b[size+int(length):]
	}
	if n != f.n || n%2 != 0 {
		return f, corrupt("entry of a stream")
	}
	return f, nil
}
