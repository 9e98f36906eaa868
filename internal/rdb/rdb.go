// Package rdb reads and writes single values in the format of Redis' snapshot files: the payloads of DUMP
// and RESTORE. It writes the oldest encodings, which every version reads, and reads those in which a Redis
// up to 8.0 dumps strings, lists, hashes, sets, sorted sets and streams.
//
// Pure functions over bytes. Input is not trusted: no length in it makes the reader allocate more than the
// input can account for.
package rdb

import (
	"encoding/binary"
	"errors"
	"strconv"
)

// Types of values, the first byte of a payload.
const (
	TypeString         = 0
	TypeList           = 1
	TypeSet            = 2
	TypeZSet           = 3
	TypeHash           = 4
	TypeZSet2          = 5
	TypeListZiplist    = 10
	TypeSetIntset      = 11
	TypeZSetZiplist    = 12
	TypeHashZiplist    = 13
	TypeListQuicklist  = 14
	TypeHashListpack   = 16
	TypeZSetListpack   = 17
	TypeListQuicklist2 = 18
	TypeSetListpack    = 20
	TypeHashTimed      = 24 // RDB_TYPE_HASH_METADATA: with deadlines of fields
	TypeHashListpackEx = 25 // the same in a listpack
)

const (
	// writtenVersion stands in payloads that we write: Redis 5 and later read it. Streams need Redis 7.0, deadlines of
	// fields Redis 7.4. readVersion is that of Redis 8.0, up to which we read.
	writtenVersion = 9
	streamVersion  = 10
	timedVersion   = 12
	readVersion    = 12
	// footer is the version, 2 bytes, and the checksum, 8 bytes, both little-endian.
	footer = 2 + 8
)

// ErrFormat is returned for input that is no value.
var ErrFormat = errors.New("bad data format")

// SealLen is how many bytes Seal appends.
const SealLen = 2 + 8

// Seal appends version and checksum to type and value.
func Seal(payload []byte) []byte {
	version := uint16(writtenVersion)
	if len(payload) > 0 {
		switch payload[0] {
		case TypeStream2:
			version = streamVersion
		case TypeHashTimed:
			version = timedVersion
		}
	}
	payload = binary.LittleEndian.AppendUint16(payload, version)
	return binary.LittleEndian.AppendUint64(payload, CRC64(0, payload))
}

// Open checks version and checksum and returns type and value. A checksum of 0 was not computed.
func Open(payload []byte) (body []byte, ok bool) {
	if len(payload) < footer {
		return nil, false
	}
	body = payload[:len(payload)-footer]
	if binary.LittleEndian.Uint16(payload[len(body):]) > readVersion {
		return nil, false
	}
	sum := binary.LittleEndian.Uint64(payload[len(body)+2:])
	return body, sum == CRC64(0, payload[:len(body)+2])
}

// Forms of a length, in the high two bits of its first byte.
const (
	len6   = 0 << 6
	len14  = 1 << 6
	len32  = 0x80
	len64  = 0x81
	coded  = 3 << 6
	int8c  = coded | 0
	int16c = coded | 1
	int32c = coded | 2
	lzfc   = coded | 3
)

// AppendLength appends a length.
func AppendLength(dst []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(dst, byte(n)|len6)
	case n < 1<<14:
		return append(dst, byte(n>>8)|len14, byte(n))
	case n <= 1<<32-1:
		return binary.BigEndian.AppendUint32(append(dst, len32), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, len64), n)
	}
}

// AppendString appends a string as it is.
func AppendString(dst, s []byte) []byte { return append(AppendLength(dst, uint64(len(s))), s...) }

// Reader reads from a payload's body.
type Reader struct{ b []byte }

// NewReader reads b.
func NewReader(b []byte) *Reader { return &Reader{b} }

// Left is the number of bytes not read yet.
func (r *Reader) Left() int { return len(r.b) }

func (r *Reader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.b)) {
		return nil, ErrFormat
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p, nil
}

// length reads a length, or the form byte of a coded string with special set.
func (r *Reader) length() (n uint64, special bool, err error) {
	p, err := r.take(1)
	if err != nil {
		return 0, false, err
	}
	head := p[0]
	switch {
	case head&coded == coded:
		return uint64(head), true, nil
	case head&coded == len6:
		return uint64(head), false, nil
	case head&coded == len14:
		p, err := r.take(1)
		if err != nil {
			return 0, false, err
		}
		return uint64(head&^coded)<<8 | uint64(p[0]), false, nil
	case head == len32:
		p, err := r.take(4)
		if err != nil {
			return 0, false, err
		}
		return uint64(binary.BigEndian.Uint32(p)), false, nil
	case head == len64:
		p, err := r.take(8)
		if err != nil {
			return 0, false, err
		}
		return binary.BigEndian.Uint64(p), false, nil
	}
	return 0, false, ErrFormat
}

// Length reads a length.
func (r *Reader) Length() (uint64, error) {
	n, special, err := r.length()
	if special {
		err = ErrFormat
	}
	return n, err
}

// String reads a string in any of its encodings. The result may be a view into the input.
func (r *Reader) String() ([]byte, error) {
	n, special, err := r.length()
	if err != nil {
		return nil, err
	}
	if !special {
		return r.take(n)
	}
	switch n {
	case int8c:
		p, err := r.take(1)
		if err != nil {
			return nil, err
		}
		return decimal(int64(int8(p[0]))), nil
	case int16c:
		p, err := r.take(2)
		if err != nil {
			return nil, err
		}
		return decimal(int64(int16(binary.LittleEndian.Uint16(p)))), nil
	case int32c:
		p, err := r.take(4)
		if err != nil {
			return nil, err
		}
		return decimal(int64(int32(binary.LittleEndian.Uint32(p)))), nil
	case lzfc:
		return r.compressed()
	}
	return nil, ErrFormat
}

func decimal(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// compressed reads a string packed by LZF.
func (r *Reader) compressed() ([]byte, error) {
	packed, err := r.Length()
	if err != nil {
		return nil, err
	}
	size, err := r.Length()
	if err != nil {
		return nil, err
	}
	p, err := r.take(packed)
	if err != nil || size > packed*lzfRatio {
		return nil, ErrFormat
	}
	out, ok := unpackLZF(make([]byte, 0, size), p, int(size))
	if !ok {
		return nil, ErrFormat
	}
	return out, nil
}

// Pairs reads the value of a hash in one of its encodings and visits its fields. The views are valid as long
// as the input is, and during the call.
func (r *Reader) Pairs(typ byte, visit func(field, value []byte) error) error {
	if typ == TypeHash {
		n, err := r.Length()
		if err != nil {
			return err
		}
		for ; n > 0; n-- {
			field, err := r.String()
			if err != nil {
				return err
			}
			value, err := r.String()
			if err != nil {
				return err
			}
			if err := visit(field, value); err != nil {
				return err
			}
		}
		return nil
	}
	packed, err := r.String()
	if err != nil {
		return err
	}
	entries := readListpack
	if typ == TypeHashZiplist {
		entries = readZiplist
	}
	var field []byte
	odd := false
	err = entries(packed, func(v []byte) error {
		if odd = !odd; odd {
			field = v
			return nil
		}
		return visit(field, v)
	})
	if err == nil && odd {
		err = ErrFormat
	}
	return err
}

// Members reads the value of a set in one of its encodings and visits its members. The views are valid as long as
// the input is, and during the call.
func (r *Reader) Members(typ byte, visit func(member []byte) error) error {
	if typ == TypeSet {
		n, err := r.Length()
		if err != nil {
			return err
		}
		for ; n > 0; n-- {
			member, err := r.String()
			if err != nil {
				return err
			}
			if err := visit(member); err != nil {
				return err
			}
		}
		return nil
	}
	packed, err := r.String()
	if err != nil {
		return err
	}
	if typ == TypeSetIntset {
		return readIntset(packed, visit)
	}
	return readListpack(packed, visit)
}
