package list

import "strconv"

// Listpack limits of Redis: bytes for list-max-listpack-size -1 to -5, and the bytes up to which a limit of
// elements holds.
var listpackBytes = [...]uint64{4096, 8192, 16384, 32768, 65536}

const listpackSafe = 8192

// Compact reports whether Redis would keep the list in one listpack under list-max-listpack-size. It looks at no
// more elements than fit into one.
func (l *List) Compact(size int64) (bool, error) {
	most, n := uint64(listpackSafe), uint64(max(size, 0))
	if size < 0 {
		most, n = listpackBytes[min(-size, int64(len(listpackBytes)))-1], l.Len()
	}
	if l.Len() > n || l.Len() > most {
		return false, nil
	}
	used := uint64(listpackHead)
	err := l.Walk(0, l.Len(), func(v []byte) bool {
		used += listpackSize(v)
		return used <= most
	})
	return used <= most, err
}

// listpackHead is the size of an empty listpack.
const listpackHead = 7

// listpackSize is the number of bytes that an element takes in a listpack of Redis.
func listpackSize(v []byte) uint64 {
	n := uint64(len(v))
	switch i, isInt := integer(v); {
	case isInt && i >= 0 && i < 1<<7:
		n = 1
	case isInt && i >= -1<<12 && i < 1<<12:
		n = 2
	case isInt && i >= -1<<15 && i < 1<<15:
		n = 3
	case isInt && i >= -1<<23 && i < 1<<23:
		n = 4
	case isInt && i >= -1<<31 && i < 1<<31:
		n = 5
	case isInt:
		n = 9
	case n < 1<<6:
		n++
	case n < 1<<12:
		n += 2
	default:
		n += 5
	}
	for back := n; ; back >>= 7 {
		if n++; back < 1<<7 {
			return n
		}
	}
}

// integer reads a 64-bit integer that is spelled as it would be printed.
func integer(v []byte) (int64, bool) {
	if len(v) > 20 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	return n, err == nil && string(strconv.AppendInt(nil, n, 10)) == string(v)
}
