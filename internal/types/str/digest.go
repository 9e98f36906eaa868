package str

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/zeebo/xxh3"
)

// DigestLen is the length of a digest.
const DigestLen = 16

// Digest is the 64-bit XXH3 of a string in hexadecimal digits, lower case: what DIGEST answers.
func Digest(v []byte) []byte {
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, DigestLen/2), xxh3.Hash(v))
	return hex.AppendEncode(make([]byte, 0, DigestLen), raw)
}
