// Package slot maps keys to slots. The function is Redis Cluster's: CRC16/XMODEM of the key, or of its
// hash tag, modulo 16384. Pure; no state.
package slot

import "bytes"

// Slot is a hash slot, 0 to Count-1.
type Slot uint16

// Count is the number of slots of the default slot function.
const Count = 16384

var crcTable = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
		t[i] = c
	}
	return t
}()

// Tag is the part of the key that is hashed: what stands between the first '{' and the first '}' behind it
// if that is not empty, else the whole key.
func Tag(key []byte) []byte {
	open := bytes.IndexByte(key, '{')
	if open < 0 {
		return key
	}
	n := bytes.IndexByte(key[open+1:], '}')
	if n <= 0 {
		return key
	}
	return key[open+1 : open+1+n]
}

// Of is the slot of a key.
func Of(key []byte) Slot {
	var crc uint16
	for _, b := range Tag(key) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^b]
	}
	return Slot(crc % Count)
}
