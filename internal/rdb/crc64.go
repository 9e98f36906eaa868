package rdb

// crc64Table is that of the polynomial ad93d23594c935a9 in reflected form ("Jones"), which Redis uses; the
// polynomials of the standard library are others.
var crc64Table = func() (t [256]uint64) {
	const reflected = 0x95ac9329ac4bc9b5
	for i := range t {
		c := uint64(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ reflected
			} else {
				c >>= 1
			}
		}
		t[i] = c
	}
	return t
}()

// CRC64 continues the checksum crc with b; it begins with 0, and nothing is inverted.
func CRC64(crc uint64, b []byte) uint64 {
	for _, x := range b {
		crc = crc64Table[byte(crc)^x] ^ crc>>8
	}
	return crc
}
