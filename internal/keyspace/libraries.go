package keyspace

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"haypile/internal/encoding"
)

// Libraries of functions are rows beside the databases: FLUSHALL leaves them, a replay and a full sync bring them.
// They change under the store latch held exclusively only.

// LibrariesVersion names the present state of all libraries. It follows from the changes made since they began, so
// that two states of the same version, in the same store, are the same.
func (t *Txn) LibrariesVersion() (store *Store, version uint64, err error) {
	v, ok, err := t.read(rowHash(encoding.LibrariesRow), encoding.LibrariesRow)
	if err != nil || !ok || len(v) != 8 {
		return t.store, 0, err
	}
	return t.store, binary.BigEndian.Uint64(v), nil
}

// Libraries walks over all libraries, in the order of their names. The views are valid during the call of f only.
func (t *Txn) Libraries(f func(name, code []byte)) error {
	lower := encoding.AppendLibrary(nil, nil)
	return t.scan(lower, encoding.PrefixEnd(lower), func(k, v []byte) bool {
		f(k[len(lower):], v)
		return true
	})
}

// Library reads the source of one.
func (t *Txn) Library(name []byte) ([]byte, bool, error) {
	k := encoding.AppendLibrary(nil, name)
	return t.read(rowHash(k), k)
}

// PutLibrary stores one. REQUIRES: store latch held exclusively.
func (t *Txn) PutLibrary(name, code []byte) error {
	k := t.mem.copyOf(encoding.AppendLibrary(nil, name))
	t.write(row{hash: rowHash(k), key: k, val: t.mem.copyOf(code), point: true})
	return t.librariesChanged(k, code)
}

// DropLibrary deletes one. REQUIRES: as PutLibrary.
func (t *Txn) DropLibrary(name []byte) error {
	k := t.mem.copyOf(encoding.AppendLibrary(nil, name))
	t.write(row{hash: rowHash(k), key: k, del: true, point: true})
	return t.librariesChanged(k, nil)
}

func (t *Txn) librariesChanged(key, code []byte) error {
	_, version, err := t.LibrariesVersion()
	if err != nil {
		return err
	}
	d := xxhash.New()
	_, _ = d.Write(binary.BigEndian.AppendUint64(nil, version))
	_, _ = d.Write(key)
	_, _ = d.Write(code)
	v := binary.BigEndian.AppendUint64(t.mem.take(8), d.Sum64())
	t.write(row{hash: rowHash(encoding.LibrariesRow), key: encoding.LibrariesRow, val: t.mem.keep(v), point: true})
	t.changes++
	return nil
}
