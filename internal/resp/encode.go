package resp

import (
	"fmt"
	"strconv"
	"time"
)

// AppendCommand appends a command as an array of bulk strings.
func AppendCommand(dst []byte, args ...[]byte) []byte {
	dst = AppendArray(dst, len(args))
	for _, a := range args {
		dst = AppendBulk(dst, a)
	}
	return dst
}

// AppendCommandStrings is AppendCommand for strings.
func AppendCommandStrings(dst []byte, args ...string) []byte {
	dst = AppendArray(dst, len(args))
	for _, a := range args {
		dst = AppendBulkString(dst, a)
	}
	return dst
}

// AppendCommandArgs is AppendCommand for values: strings, byte slices, integers, floats (with full
// precision), bools (1 and 0), durations (whole milliseconds) and fmt.Stringers. Any other type is a mistake
// in the program and panics.
func AppendCommandArgs(dst []byte, args ...any) []byte {
	dst = AppendArray(dst, len(args))
	var tmp [32]byte
	for _, a := range args {
		switch v := a.(type) {
		case string:
			dst = AppendBulkString(dst, v)
		case []byte:
			dst = AppendBulk(dst, v)
		case int:
			dst = AppendBulk(dst, strconv.AppendInt(tmp[:0], int64(v), 10))
		case int64:
			dst = AppendBulk(dst, strconv.AppendInt(tmp[:0], v, 10))
		case int32:
			dst = AppendBulk(dst, strconv.AppendInt(tmp[:0], int64(v), 10))
		case uint:
			dst = AppendBulk(dst, strconv.AppendUint(tmp[:0], uint64(v), 10))
		case uint16:
			dst = AppendBulk(dst, strconv.AppendUint(tmp[:0], uint64(v), 10))
		case uint32:
			dst = AppendBulk(dst, strconv.AppendUint(tmp[:0], uint64(v), 10))
		case uint64:
			dst = AppendBulk(dst, strconv.AppendUint(tmp[:0], v, 10))
		case float64:
			dst = AppendBulk(dst, AppendFloat(tmp[:0], v))
		case bool:
			if v {
				dst = AppendBulkString(dst, "1")
			} else {
				dst = AppendBulkString(dst, "0")
			}
		case time.Duration:
			dst = AppendBulk(dst, strconv.AppendInt(tmp[:0], v.Milliseconds(), 10))
		case fmt.Stringer:
			dst = AppendBulkString(dst, v.String())
		default:
			panic(fmt.Sprintf("resp: argument of type %T", a))
		}
	}
	return dst
}

// AppendArray appends the header of an array (or command) of n elements.
func AppendArray(dst []byte, n int) []byte { return appendHeader(dst, '*', int64(n)) }

// AppendBulk appends one bulk string.
func AppendBulk(dst, b []byte) []byte {
	dst = appendHeader(dst, '$', int64(len(b)))
	dst = append(dst, b...)
	return append(dst, '\r', '\n')
}

// AppendBulkString appends one bulk string.
func AppendBulkString(dst []byte, s string) []byte {
	dst = appendHeader(dst, '$', int64(len(s)))
	dst = append(dst, s...)
	return append(dst, '\r', '\n')
}

// appendHeader appends a line of one marker and one number.
func appendHeader(dst []byte, marker byte, n int64) []byte {
	if uint64(n) < 10 {
		return append(dst, marker, byte('0'+n), '\r', '\n')
	}
	if uint64(n) < 100 {
		return append(dst, marker, byte('0'+n/10), byte('0'+n%10), '\r', '\n')
	}
	dst = append(dst, marker)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '\r', '\n')
}
