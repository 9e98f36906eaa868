package zset

import (
	"encoding/binary"
	"slices"

	"haypile/internal/encoding"
)

// extra is what the metadata of a sorted set keeps beside the count:
//
//	format (1) = 1 | levels (1) | uvarint length, low | uvarint length, high
//
// It is empty for a set with neither levels nor bounds.
type extra struct {
	// levels is the number of levels of pages.
	levels int
	// low and high bound the entries: none is before low, none at or behind high. nil is no bound. Entries that were
	// taken from an end leave tombstones in the engine; a walk that begins at the bound does not meet them.
	low, high []byte
}

const extraFormat = 1

// boundMax is how many bytes of an order a bound keeps.
const boundMax = 40

func (x *extra) encode() []byte {
	if x.levels == 0 && x.low == nil && x.high == nil {
		return nil
	}
	b := []byte{extraFormat, byte(x.levels)}
	b = append(binary.AppendUvarint(b, uint64(len(x.low))), x.low...)
	return append(binary.AppendUvarint(b, uint64(len(x.high))), x.high...)
}

func parseExtra(b []byte) (x extra, err error) {
	if len(b) == 0 {
		return x, nil
	}
	if len(b) < 4 || b[0] != extraFormat || b[1] > maxLevels {
		return x, encoding.ErrCorrupt
	}
	x.levels, b = int(b[1]), b[2:]
	for _, bound := range []*[]byte{&x.low, &x.high} {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return extra{}, encoding.ErrCorrupt
		}
		if n > 0 {
			*bound = b[size : size+int(n) : size+int(n)]
		}
		b = b[size+int(n):]
	}
	return x, nil
}

// include widens the bounds so that they hold an order.
func (x *extra) include(order []byte) {
	if x.low != nil && string(order) < string(x.low) {
		x.setLow(order)
	}
	if x.high != nil && string(order) >= string(x.high) {
		x.setHigh(successor(order))
	}
}

// setLow says that no entry is before order.
func (x *extra) setLow(order []byte) { x.low = slices.Clone(order[:min(len(order), boundMax)]) }

// setHigh says that no entry is at or behind order.
func (x *extra) setHigh(order []byte) {
	if len(order) <= boundMax {
		x.high = slices.Clone(order)
		return
	}
	x.high = encoding.PrefixEnd(order[:boundMax])
}
