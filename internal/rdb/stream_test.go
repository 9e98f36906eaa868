package rdb

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// recorded writes down what a stream visits.
type recorded []string

func (r *recorded) add(format string, a ...any) error {
	*r = append(*r, fmt.Sprintf(format, a...))
	return nil
}

func (r *recorded) Entry(id StreamID, fields [][]byte) error { return r.add("entry %v %q", id, fields) }
func (r *recorded) Head(h StreamHead) error                  { return r.add("head %v", h) }
func (r *recorded) Group(g StreamGroup) error {
	return r.add("group %q %v %d", g.Name, g.Last, g.Read)
}
func (r *recorded) Consumer(c StreamConsumer) error {
	return r.add("consumer %q %d %d", c.Name, c.Seen, c.Active)
}
func (r *recorded) Delivery(d StreamDelivery) error { return r.add("delivery %v", d) }

// nothing forgets it.
type nothing struct{}

func (nothing) Entry(StreamID, [][]byte) error { return nil }
func (nothing) Head(StreamHead) error          { return nil }
func (nothing) Group(StreamGroup) error        { return nil }
func (nothing) Consumer(StreamConsumer) error  { return nil }
func (nothing) Delivery(StreamDelivery) error  { return nil }

func byteFields(words string) (fields [][]byte) {
	for _, w := range strings.Fields(words) {
		fields = append(fields, []byte(w))
	}
	return fields
}

// goldenStream is a small stream with a group.
func goldenStream() []byte {
	var w StreamWriter
	w.Entry(StreamID{5, 1}, byteFields("f v"))
	w.Entry(StreamID{5, 0xffff}, byteFields("f w"))
	w.Entry(StreamID{6, 0}, byteFields("g x"))
	w.Head(StreamHead{3, StreamID{7, 0}, StreamID{5, 1}, StreamID{6, 9}, 8}, 1)
	w.Group(StreamGroup{[]byte("gr"), StreamID{6, 0}, -1}, 1)
	w.Pending(StreamDelivery{StreamID{5, 1}, 1000, 2})
	w.Consumers(1)
	w.Consumer(StreamConsumer{Name: []byte("c"), Seen: 2000}, 1)
	w.Owned(StreamID{5, 1})
	return w.Payload()
}

func TestStream(t *testing.T) {
	const want = "13 01 10 0000000000000005 0000000000000001 3c" +
		"3c000000 1600 0301 0001 0101 816602 0001" + // header, count, deleted, fields, name, end
		"0201 0001 0001 817602 0401" + "0201 0001 f2feff0004 817702 0401" + "0001 0101 dfff02 0101 816702 817802 0601" +
		"ff" + "03 07 00 05 01 06 09 08 01" +
		"02 6772 06 00 81ffffffffffffffff 01 0000000000000005 0000000000000001 e803000000000000 02" +
		"01 01 63 d007000000000000 01 0000000000000005 0000000000000001"
	payload := goldenStream()
	if got := hex.EncodeToString(payload); got != strings.ReplaceAll(want, " ", "") {
		t.Errorf("payload\n%s, want\n%s", got, strings.ReplaceAll(want, " ", ""))
	}
	var r recorded
	if err := NewReader(payload[1:]).Stream(TypeStream2, &r); err != nil {
		t.Fatal(err)
	}
	visits := []string{`entry {5 1} ["f" "v"]`, `entry {5 65535} ["f" "w"]`, `entry {6 0} ["g" "x"]`,
		`head {3 {7 0} {5 1} {6 9} 8}`, `group "gr" {6 0} -1`, `consumer "c" 2000 2000`, `delivery {{5 1} 1000 2}`}
	if !slices.Equal(r, visits) {
		t.Errorf("visited %q", []string(r))
	}
	for n := range payload[1:] {
		if err := NewReader(payload[1:1+n]).Stream(TypeStream2, nothing{}); err == nil {
			t.Errorf("%d bytes of it are read as a stream", n)
		}
	}
}

// Redis 7.2 adds when a consumer was active, Redis 5 has neither counters nor that.
func TestStreamVersions(t *testing.T) {
	payload := goldenStream()
	at := len(payload) - 1 - 16 // behind the time seen
	newer := slices.Concat(payload[1:at], []byte{9, 0, 0, 0, 0, 0, 0, 0}, payload[at:])
	var r recorded
	if err := NewReader(newer).Stream(TypeStream3, &r); err != nil || !slices.Contains(r, `consumer "c" 2000 9`) {
		t.Errorf("%v, visited %q", err, []string(r))
	}
	head := strings.Index(string(payload), "\x03\x07\x00\x05\x01\x06\x09\x08\x01")
	group := strings.Index(string(payload), "\x81\xff\xff\xff\xff\xff\xff\xff\xff")
	older := slices.Concat(payload[1:head+3], payload[head+8:group], payload[group+9:])
	r = nil
	if err := NewReader(older).Stream(TypeStream, &r); err != nil || !slices.Contains(r, `group "gr" {6 0} 0`) {
		t.Errorf("%v, visited %q", err, []string(r))
	}
}

// Every number in every form that a listpack has, and texts of the sizes where the form changes.
func TestListpackEntries(t *testing.T) {
	for _, n := range []int64{0, 1, 127, 128, -1, 4095, -4096, 4096, -4097, math.MaxInt16, math.MinInt16, math.MaxInt16 + 1,
		1<<23 - 1, -1 << 23, 1 << 23, math.MaxInt32, math.MinInt32, math.MaxInt32 + 1, math.MaxInt64, math.MinInt64} {
		b := appendListpackNumber(nil, n)
		v, size, ok := listpackEntry(b)
		if !ok || string(v) != fmt.Sprint(n) || size+backLength(size) != len(b) {
			t.Errorf("%d: %q, %d bytes of %d, %v", n, v, size, len(b), ok)
		}
	}
	for _, n := range []int{0, 1, 63, 64, 125, 126, 4095, 4096, 1<<14 - 7, 1<<14 - 6, 1<<14 - 5, 1<<21 - 6} {
		b := appendListpackText(nil, make([]byte, n))
		v, size, ok := listpackEntry(b)
		if !ok || len(v) != n || size+backLength(size) != len(b) {
			t.Errorf("text of %d: %d, %d bytes of %d, %v", n, len(v), size, len(b), ok)
		}
	}
}
