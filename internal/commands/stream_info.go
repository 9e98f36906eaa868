package commands

import (
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/types/stream"
)

// streamRowBytes is the mean size of the rows of a stream's first entries, for MEMORY USAGE. Groups are left out: they
// are few, and what they have pending is not counted as entries.
func streamRowBytes(t *keyspace.Txn, e *keyspace.Entry, samples int) (float64, error) {
	s, err := stream.At(t, *e)
	if err != nil {
		return 0, err
	}
	head := len(encoding.AppendOrdered(nil, 0, e.Meta.Birth, e.Meta.ID, nil))
	seen, bytes := 0, 0
	err = t.ScanOrdered(e, &e.Meta, s.RowsFrom(), nil, func(k, v []byte) bool {
		seen++
		bytes += head + len(k) + len(v)
		return seen < samples
	})
	return float64(bytes) / float64(max(seen, 1)), err
}
