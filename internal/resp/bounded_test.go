package resp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// boundedReply appends a reply of aggregates of every kind, nested, the same for the same seed.
func boundedReply(w *Writer, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	var value func(depth int)
	elements := func(depth, n int) {
		for range n {
			value(depth + 1)
		}
	}
	value = func(depth int) {
		kind := rng.IntN(12)
		if depth > 3 {
			kind = 6 + kind%6
		}
		n := rng.IntN(12)
		switch kind {
		case 0:
			w.Array(n)
			elements(depth, n)
		case 1:
			a := w.Defer()
			elements(depth, n)
			w.EndArray(a, n)
		case 2:
			a := w.DeferMap(n)
			elements(depth, 2*n)
			w.EndMap(a, n)
		case 3:
			a := w.Defer()
			elements(depth, n)
			w.EndSet(a, n)
		case 4:
			a := w.DeferSet(n)
			elements(depth, n)
			w.EndSet(a, n)
		case 5: // an aggregate that is taken back
			a := w.Defer()
			elements(depth, n)
			w.Drop(a)
			w.OK()
		case 6:
			w.Int(rng.Int64())
		case 7:
			w.Null()
		case 8:
			w.Double(rng.Float64())
		case 9:
			w.Raw([]byte("+raw\r\n"))
		case 10:
			w.Bulk(bytes.Repeat([]byte("x"), rng.IntN(2)*(largeBulk-1+rng.IntN(3))))
		default:
			w.BulkString(fmt.Sprint("value ", rng.IntN(1000)))
		}
	}
	a := w.DeferArray(20)
	elements(0, 20)
	w.EndArray(a, 20)
}

// A reply in parts is the whole reply, whatever the size of the parts; and no part is much larger than that.
func TestStreamIsTheWholeReply(t *testing.T) {
	for seed := range uint64(30) {
		proto := 2 + int(seed%2)
		whole := Writer{Proto: proto}
		boundedReply(&whole, seed)
		for _, part := range []int{1, 100, 70_000, 2*len(whole.Buf) + 1<<22} {
			w := Writer{Proto: proto}
			w.Buf = append(w.Buf, "before"...)
			w.Attempt(part)
			boundedReply(&w, seed)
			// What is taken back counts while it is there.
			long := len(whole.Buf) > part
			if w.Err() == nil {
				if string(w.Buf) != "before"+string(whole.Buf) || long {
					t.Fatalf("seed %d: an attempt of %d bytes", seed, part)
				}
				continue
			}
			if w.Err() != ErrLong || len(w.Buf) < len("before") || part > 1<<22 {
				t.Fatalf("seed %d: an attempt of more than %d bytes: %v", seed, part, w.Err())
			}
			w.Buf = w.Buf[:0]
			asked := 0
			w.Count(part, func() error { asked++; return nil })
			boundedReply(&w, seed)
			if w.Err() != nil || long && asked == 0 {
				t.Fatalf("seed %d: %v, asked %d times", seed, w.Err(), asked)
			}
			w.Buf = w.Buf[:0]
			var got []byte
			parts := 0
			w.Stream(part, func(p []byte) error { got = append(got, p...); parts++; return nil })
			boundedReply(&w, seed)
			if w.Err() != nil || int(w.Sent()) != len(got) || long && parts == 0 {
				t.Fatalf("seed %d: %v, %d bytes sent, %d", seed, w.Err(), len(got), w.Sent())
			}
			got = append(got, w.Buf...)
			if !bytes.Equal(got, whole.Buf) {
				t.Fatalf("seed %d, parts of %d: %.300q\nwant %.300q", seed, part, got, whole.Buf)
			}
			w.Whole()
			w.Buf = w.Buf[:0]
			boundedReply(&w, seed)
			if !bytes.Equal(w.Buf, whole.Buf) {
				t.Fatalf("seed %d: another reply after Whole", seed)
			}
		}
	}
}

// What goes wrong is told, and what follows goes nowhere.
func TestStreamFails(t *testing.T) {
	failed := errors.New("gone")
	var w Writer
	w.Stream(10, func([]byte) error { return failed })
	a := w.DeferArray(100)
	for range 100 {
		w.BulkString("0123456789")
	}
	w.EndArray(a, 100)
	if w.Err() != failed || len(w.Buf) > 30 {
		t.Errorf("%v, %d bytes", w.Err(), len(w.Buf))
	}
	for _, n := range []int{99, 101} {
		w = Writer{}
		w.Stream(10, func([]byte) error { return nil })
		a = w.DeferArray(n)
		for range 100 {
			w.BulkString("0123456789")
		}
		if w.EndArray(a, 100); !errors.Is(w.Err(), errChanged) {
			t.Errorf("%d promised: %v", n, w.Err())
		}
	}
	w = Writer{}
	w.Count(10, func() error { return failed })
	for range 10 {
		w.BulkString("0123456789")
	}
	if w.Err() != failed {
		t.Errorf("%v", w.Err())
	}
	// What was not counted is held until its end.
	w = Writer{}
	parts := 0
	w.Stream(10, func(p []byte) error { parts++; return nil })
	a = w.Defer()
	for range 100 {
		w.BulkString("0123456789")
	}
	if parts > 0 {
		t.Error("an aggregate was sent before its length was known")
	}
	w.EndArray(a, 100)
	w.Int(1)
	if parts != 1 || w.Sent() != int64(len("*100\r\n")+100*len("$10\r\n0123456789\r\n")+4) {
		t.Errorf("%d parts, %d bytes", parts, w.Sent())
	}
}
