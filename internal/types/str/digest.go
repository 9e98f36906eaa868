package str

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/zeebo/xxh3"
)

// DigestLen is the length of a digest.
const DigestLen = 16

// Digester computes the digest of a string that is given in parts.
type Digester struct{ h *xxh3.Hasher }

// NewDigester makes one.
func NewDigester() Digester { return Digester{xxh3.New()} }

// Add adds the next part.
func (d Digester) Add(part []byte) { _, _ = d.h.Write(part) }

// Digest is the 64-bit XXH3 of the string in hexadecimal digits, lower case: what DIGEST answers.
func (d Digester) Digest() []byte {
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, DigestLen/2), d.h.Sum64())
	return hex.AppendEncode(make([]byte, 0, DigestLen), raw)
}
