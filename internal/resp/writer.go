package resp

import (
	"slices"
	"strconv"
	"strings"
)

// Writer builds replies for a client that speaks protocol version Proto, 2 or 3 (the zero value builds
// replies of version 2). It only appends to Buf: the owner sends Buf and sets it to Buf[:0] again, and may
// cut it back to an earlier length to take a reply back. A reply that may be long can be bounded: see Attempt.
//
// Types that exist only in version 3 are sent to clients of version 2 as Redis does: a map as an array of
// keys and values, a set and a push as an array, a double, a big number and a verbatim string as a bulk
// string, a bool as an integer.
type Writer struct {
	Buf   []byte
	Proto int

	bounds bounds
}

// OK appends +OK.
func (w *Writer) OK() { w.Buf = append(w.Buf, "+OK\r\n"...) }

// SimpleString appends a status reply. Line ends in s become spaces.
func (w *Writer) SimpleString(s string) { w.line('+', s) }

// Error appends an error reply. text begins with the code word ("ERR ..."); line ends in it become spaces,
// so that text may quote what a client sent.
func (w *Writer) Error(text string) { w.line('-', text) }

func (w *Writer) line(marker byte, s string) {
	w.Buf = append(w.Buf, marker)
	from := len(w.Buf)
	w.Buf = append(w.Buf, s...)
	if strings.ContainsAny(s, "\r\n") {
		for i, c := range w.Buf[from:] {
			if c == '\r' || c == '\n' {
				w.Buf[from+i] = ' '
			}
		}
	}
	w.Buf = append(w.Buf, '\r', '\n')
}

// Int appends an integer.
func (w *Writer) Int(n int64) {
	w.Buf = appendHeader(w.Buf, ':', n)
	if w.full() {
		w.pass()
	}
}

// Bulk appends a bulk string. A nil slice is the empty string; for a missing value call Null.
func (w *Writer) Bulk(b []byte) {
	if w.bounds.limit != 0 && len(b) >= largeBulk {
		w.large(b)
	} else {
		w.Buf = AppendBulk(w.Buf, b)
	}
	if w.full() {
		w.pass()
	}
}

// largeBulk is the size from which on a string is not copied if it can be sent as it is.
const largeBulk = 64 << 10

// BulkHead begins a bulk string of n bytes; they follow in calls of Raw, and BulkEnd.
func (w *Writer) BulkHead(n int64) {
	room := int(n) + 24
	if w.bounds.limit != 0 { // what is longer does not stay
		room = min(room, max(0, w.bounds.limit-len(w.Buf)))
	}
	w.Buf = appendHeader(slices.Grow(w.Buf, room), '$', n)
}

// BulkEnd: see BulkHead.
func (w *Writer) BulkEnd() { w.Buf = append(w.Buf, '\r', '\n') }

// BulkString appends a bulk string.
func (w *Writer) BulkString(s string) {
	w.Buf = AppendBulkString(w.Buf, s)
	if w.full() {
		w.pass()
	}
}

// BulkInt appends an integer as a bulk string.
func (w *Writer) BulkInt(n int64) {
	var tmp [20]byte
	w.Bulk(strconv.AppendInt(tmp[:0], n, 10))
}

// Null appends the missing value.
func (w *Writer) Null() {
	if w.Proto >= 3 {
		w.Buf = append(w.Buf, "_\r\n"...)
	} else {
		w.Buf = append(w.Buf, "$-1\r\n"...)
	}
	if w.full() {
		w.pass()
	}
}

// NullArray appends the missing array (an aborted EXEC, a blocking command that timed out).
func (w *Writer) NullArray() {
	if w.Proto >= 3 {
		w.Buf = append(w.Buf, "_\r\n"...)
	} else {
		w.Buf = append(w.Buf, "*-1\r\n"...)
	}
}

// Array begins an array; n elements must follow.
func (w *Writer) Array(n int) { w.Buf = appendHeader(w.Buf, '*', int64(n)) }

// Map begins a map; n keys, each with its value behind it, must follow.
func (w *Writer) Map(n int) {
	if w.Proto >= 3 {
		w.Buf = appendHeader(w.Buf, '%', int64(n))
	} else {
		w.Array(2 * n)
	}
}

// Set begins a set; n elements must follow.
func (w *Writer) Set(n int) { w.Buf = appendHeader(w.Buf, w.only3('~'), int64(n)) }

// Push begins an out-of-band message; n elements must follow, the first of them its kind.
// Attribute appends the header of n pairs about the reply that follows. Only in version 3.
func (w *Writer) Attribute(n int) { w.Buf = appendHeader(w.Buf, '|', int64(n)) }

func (w *Writer) Push(n int) { w.Buf = appendHeader(w.Buf, w.only3('>'), int64(n)) }

// only3 is the marker in version 3, and that of an array in version 2.
func (w *Writer) only3(marker byte) byte {
	if w.Proto >= 3 {
		return marker
	}
	return '*'
}

// Double appends a floating point number; see AppendFloat for its form.
func (w *Writer) Double(f float64) {
	var tmp [32]byte
	w.DoubleText(AppendFloat(tmp[:0], f))
}

// DoubleText appends a floating point number in the digits that the caller chose.
func (w *Writer) DoubleText(s []byte) {
	if w.Proto < 3 {
		w.Bulk(s)
		return
	}
	w.Buf = append(w.Buf, ',')
	w.Buf = append(w.Buf, s...)
	w.Buf = append(w.Buf, '\r', '\n')
	if w.full() {
		w.pass()
	}
}

// Bool appends a truth value.
func (w *Writer) Bool(v bool) {
	switch {
	case w.Proto >= 3 && v:
		w.Buf = append(w.Buf, "#t\r\n"...)
	case w.Proto >= 3:
		w.Buf = append(w.Buf, "#f\r\n"...)
	case v:
		w.Int(1)
	default:
		w.Int(0)
	}
}

// BigNumber appends an integer of any size, given as its decimal digits.
func (w *Writer) BigNumber(digits string) {
	if w.Proto < 3 {
		w.BulkString(digits)
		return
	}
	w.line('(', digits)
}

// Verbatim appends text with its format, a word of three letters ("txt", "mkd").
func (w *Writer) Verbatim(format, s string) {
	if w.Proto < 3 {
		w.BulkString(s)
		return
	}
	w.Buf = appendHeader(w.Buf, '=', int64(len(format)+1+len(s)))
	w.Buf = append(w.Buf, format...)
	w.Buf = append(w.Buf, ':')
	w.Buf = append(w.Buf, s...)
	w.Buf = append(w.Buf, '\r', '\n')
}

// BulkArray appends an array of bulk strings.
func (w *Writer) BulkArray(elems ...[]byte) {
	w.Array(len(elems))
	for _, e := range elems {
		w.Bulk(e)
	}
}

// BulkStringArray appends an array of bulk strings.
func (w *Writer) BulkStringArray(elems ...string) {
	w.Array(len(elems))
	for _, e := range elems {
		w.BulkString(e)
	}
}

// Raw appends bytes that are replies already.
func (w *Writer) Raw(b []byte) {
	w.Buf = append(w.Buf, b...)
	if w.full() {
		w.pass()
	}
}

// Aggregate is the place of an aggregate whose length is not known yet; see Defer.
type Aggregate struct {
	at int
	// In a bounded reply: the number of the header that Count keeps, or the header that was appended, or that nothing
	// can be sent until the end.
	number   int
	promised header
	held     bool
}

// deferredHeader is what Defer keeps free: the header of an aggregate with fewer than ten elements.
const deferredHeader = len("*0\r\n")

// Defer begins an aggregate whose length becomes known only when its elements have been appended. Exactly
// one of EndArray, EndMap and EndSet must follow; several may be open at a time if they are nested. An
// aggregate of ten and more elements is moved once, by the length of its header.
func (w *Writer) Defer() Aggregate {
	a := Aggregate{at: len(w.Buf)}
	if w.bounds.mode == modeWhole || !w.begin(&a) {
		w.Buf = append(w.Buf, "    "...)
	}
	return a
}

// DeferArray is Defer for an array of which the caller believes to know that it will have n elements: a reply that is
// sent in parts needs no counting then, and breaks if it is not so.
func (w *Writer) DeferArray(n int) Aggregate { return w.promise('*', n) }

// DeferSet is that for a set.
func (w *Writer) DeferSet(n int) Aggregate { return w.promise(w.only3('~'), n) }

// DeferMap is that for a map.
func (w *Writer) DeferMap(n int) Aggregate {
	if w.Proto >= 3 {
		return w.promise('%', n)
	}
	return w.promise('*', 2*n)
}

func (w *Writer) promise(marker byte, n int) Aggregate {
	a := Aggregate{at: len(w.Buf)}
	if w.bounds.mode == modeStream {
		a.promised = header{marker, n}
		w.Buf = appendHeader(w.Buf, marker, int64(n))
	} else {
		w.Buf = append(w.Buf, "    "...)
	}
	return a
}

// EndArray makes what was appended since Defer an array of n elements.
func (w *Writer) EndArray(a Aggregate, n int) { w.end(a, '*', n) }

// EndMap makes what was appended since Defer a map of n keys and values.
func (w *Writer) EndMap(a Aggregate, n int) {
	if w.Proto >= 3 {
		w.end(a, '%', n)
	} else {
		w.end(a, '*', 2*n)
	}
}

// EndSet makes what was appended since Defer a set of n elements.
func (w *Writer) EndSet(a Aggregate, n int) { w.end(a, w.only3('~'), n) }

// Drop takes back what was appended since Defer, and Defer itself.
func (w *Writer) Drop(a Aggregate) {
	if w.bounds.mode == modeWhole || w.ended(a, header{}) {
		w.Buf = w.Buf[:a.at]
	}
}

func (w *Writer) end(a Aggregate, marker byte, n int) {
	if w.bounds.mode != modeWhole && !w.ended(a, header{marker, n}) {
		return
	}
	var tmp [32]byte
	header := appendHeader(tmp[:0], marker, int64(n))
	if more := len(header) - deferredHeader; more > 0 {
		from := a.at + deferredHeader
		w.Buf = append(w.Buf, tmp[:more]...) // room only; what stands there is overwritten
		copy(w.Buf[from+more:], w.Buf[from:len(w.Buf)-more])
	}
	copy(w.Buf[a.at:], header)
}
