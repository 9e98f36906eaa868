package replication

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"haypile/internal/replog"
	"haypile/internal/resp"
)

// stream encodes commands, one per line, words separated by spaces.
func stream(lines ...string) []byte {
	var b []byte
	for _, l := range lines {
		b = resp.AppendCommandStrings(b, strings.Fields(l)...)
	}
	return b
}

// render describes the units of a batch: "db:cmd args" joined by " ; ", brackets around MULTI, @end offset.
func render(b *Batch) []string {
	var out []string
	for _, u := range b.Units {
		var cmds []string
		for _, c := range u.Cmds {
			cmds = append(cmds, fmt.Sprintf("%d:%s", c.DB, bytes.Join(c.Args, []byte(" "))))
		}
		s := strings.Join(cmds, " ; ")
		if u.Multi {
			s = "[" + s + "]"
		}
		out = append(out, s)
	}
	return out
}

// splitAll feeds a stream in pieces of the given sizes and checks what must hold of every batch.
func splitAll(
	t testing.TB, raw []byte, start replog.Offset, db int, sizes func() int,
) (units []string, whole []byte) {
	t.Helper()
	s := NewSplitter(start, db, 1<<20)
	var b Batch
	at, atDB := start, db
	for rest := raw; len(rest) > 0; {
		room, err := s.Space()
		if err != nil {
			t.Fatalf("Space: %v", err)
		}
		n := copy(room, rest[:min(len(rest), sizes())])
		s.Advance(n)
		rest = rest[n:]
		for {
			ok, err := s.Next(&b)
			if err != nil {
				t.Fatalf("Next: %v", err)
			}
			if !ok {
				break
			}
			if b.Start != at || b.StartDB != atDB || b.End != at+replog.Offset(len(b.Raw)) {
				t.Fatalf("batch %d..%d db %d of %d bytes, expected start %d db %d",
					b.Start, b.End, b.StartDB, len(b.Raw), at, atDB)
			}
			prev := b.Start
			for _, u := range b.Units {
				if u.Start != prev || u.End <= u.Start || u.End > b.End {
					t.Fatalf("unit %d..%d behind %d in a batch to %d", u.Start, u.End, prev, b.End)
				}
				prev = u.End
			}
			at, atDB = b.End, b.EndDB
			units = append(units, render(&b)...)
			whole = append(whole, b.Raw...)
		}
	}
	return units, whole
}

func TestSplitterUnits(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		want []string
	}{
		"single": {stream("SET a 1"), []string{"0:SET a 1"}},
		"select": {stream("SELECT 3", "SET a 1", "select 0", "DEL a"), []string{"3:SET a 1", "0:DEL a"}},
		"ping":   {stream("PING", "SET a 1", "ping"), []string{"0:SET a 1"}},
		"getack": {stream("REPLCONF GETACK *"), nil},
		"multi": {stream("multi", "SET a 1", "SET b 2", "exec", "SET c 3"),
			[]string{"[0:SET a 1 ; 0:SET b 2]", "0:SET c 3"}},
		"select inside": {stream("MULTI", "SELECT 2", "SET a 1", "EXEC", "SET b 1"),
			[]string{"[2:SET a 1]", "2:SET b 1"}},
		"empty multi": {stream("MULTI", "EXEC", "SET a 1"), []string{"0:SET a 1"}},
		"blank lines": {append([]byte("\n\r\n"), stream("SET a 1")...), []string{"0:SET a 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 7, 1 << 20} {
				units, whole := splitAll(t, c.raw, 100, 0, func() int { return size })
				if fmt.Sprint(units) != fmt.Sprint(c.want) || !bytes.Equal(whole, c.raw) {
					t.Errorf("pieces of %d: units %q, want %q; %d bytes of %d", size, units, c.want, len(whole), len(c.raw))
				}
			}
		})
	}
}

func TestSplitterHoldsBackWhatIsNotWhole(t *testing.T) {
	raw := stream("SET a 1", "MULTI", "SET b 2", "EXEC")
	first := len(stream("SET a 1"))
	s := NewSplitter(0, 0, 1<<20)
	var b Batch
	for n := first; n < len(raw); n++ {
		s.Reset(0, 0)
		if err := s.Write(raw[:n]); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.Next(&b); err != nil || !ok || int(b.End) != first {
			t.Fatalf("after %d bytes: batch to %d (%v, %v), want %d", n, b.End, ok, err, first)
		}
		if ok, _ := s.Next(&b); ok {
			t.Fatalf("after %d bytes: a second batch to %d", n, b.End)
		}
		if s.Pending() != n-first {
			t.Fatalf("pending %d, want %d", s.Pending(), n-first)
		}
	}
}

func TestSplitterGetAckIsReportedOnce(t *testing.T) {
	s := NewSplitter(0, 0, 1<<20)
	var b Batch
	if err := s.Write(stream("REPLCONF GETACK *")); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Next(&b); !ok || err != nil || !b.GetAck || len(b.Units) != 0 {
		t.Fatalf("GETACK: %v %v %+v", ok, err, b)
	}
	if err := s.Write(stream("SET a 1")); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Next(&b); !ok || err != nil || b.GetAck {
		t.Fatalf("behind GETACK: %v %v %+v", ok, err, b)
	}
}

func TestSplitterRefuses(t *testing.T) {
	for _, raw := range []string{
		"GET a\r\n", "*x\r\n", "*0\r\n", "*-1\r\n", "*1\r\n+PING\r\n", "*1\r\n$4\r\nPINGxx", "*1\r\n$-1\r\n",
		"*99999999999999999999\r\n", "*1\r\n$99999999\r\n", "\rx", "*\r\n",
		string(stream("EXEC")), string(stream("MULTI", "MULTI")), string(stream("SELECT x")),
		string(stream("SELECT -1")), string(stream("SELECT")),
	} {
		s := NewSplitter(0, 0, 1<<20)
		if err := s.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		var b Batch
		if ok, err := s.Next(&b); err == nil {
			t.Errorf("%q: no error (%v, %+v)", raw, ok, b)
		}
	}
}

func TestSplitterBound(t *testing.T) {
	const bound = 128 << 10
	s := NewSplitter(0, 0, bound)
	var b Batch
	if err := s.Write(stream("MULTI")); err != nil {
		t.Fatal(err)
	}
	one := stream("SET k " + strings.Repeat("v", 1000))
	for range 10 * bound / len(one) {
		err := s.Write(one)
		if errors.Is(err, errUnitTooLarge) {
			if len(s.buf) > bound+splitMaxRoom {
				t.Fatalf("the buffer grew to %d", len(s.buf))
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := s.Next(&b); ok || err != nil {
			t.Fatalf("inside MULTI: %v %v", ok, err)
		}
	}
	t.Fatal("a transaction of ten times the bound was taken")
}

func TestSplitterLargeCommandLeavesNoBuffer(t *testing.T) {
	s := NewSplitter(0, 0, 64<<20)
	var b Batch
	big := stream("SET k " + strings.Repeat("v", 8<<20))
	if err := s.Write(big); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Next(&b); !ok || err != nil || len(b.Units[0].Cmds[0].Args[2]) != 8<<20 {
		t.Fatalf("large command: %v %v", ok, err)
	}
	room, err := s.Space()
	if err != nil || len(room) > 2*splitMaxRoom {
		t.Fatalf("room of %d bytes afterwards (%v)", len(room), err)
	}
}

func TestSplitterSteadyStateAllocatesNothing(t *testing.T) {
	s := NewSplitter(0, 0, 1<<20)
	raw := stream("SELECT 1", "SET a 1", "MULTI", "SET b 2", "DEL c", "EXEC", "INCR d")
	var b Batch
	if n := testing.AllocsPerRun(1000, func() {
		room, err := s.Space()
		if err != nil {
			t.Fatal(err)
		}
		s.Advance(copy(room, raw))
		if ok, err := s.Next(&b); !ok || err != nil || len(b.Units) != 3 {
			t.Fatal(ok, err, len(b.Units))
		}
	}); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

func TestSplitterFrame(t *testing.T) {
	s := NewSplitter(0, 0, 1<<20)
	var b Batch
	raw := stream("SET a 1", "MULTI", "SELECT 2", "SET b 2", "EXEC")
	for range 2 {
		if err := s.Frame(replog.Frame{Start: 50, DB: 1, Payload: raw}, &b); err != nil {
			t.Fatal(err)
		}
		got, end := fmt.Sprint(render(&b)), 50+replog.Offset(len(raw))
		if got != "[1:SET a 1 [2:SET b 2]]" || b.End != end || b.EndDB != 2 {
			t.Fatalf("%s, %d..%d db %d", got, b.Start, b.End, b.EndDB)
		}
	}
	if err := s.Frame(replog.Frame{Payload: raw[:len(raw)-5]}, &b); err == nil {
		t.Fatal("a frame that ends inside a transaction was taken")
	}
	// The payload is not written to afterwards.
	before := bytes.Clone(raw)
	if err := s.Write(stream("SET zzzzzzzz 1")); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, before) {
		t.Fatal("the payload was changed")
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add(stream("SELECT 1", "SET a 1", "MULTI", "SET b 2", "EXEC", "PING"), uint64(1))
	f.Add([]byte("*1\r\n$4\r\nPING\r\n\n\r\n*2\r\n"), uint64(2))
	f.Add([]byte("*3\r\n$3\r\nSET\r\n$1\r\n"), uint64(3))
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64) {
		// However the bytes are cut, the same units come out, up to the same error.
		run := func(size func() int) (string, int, bool) {
			s := NewSplitter(7, 0, 1<<16)
			var b Batch
			var units []string
			n, failed := 0, false
			for rest := raw; len(rest) > 0 && !failed; {
				room, err := s.Space()
				if err != nil {
					failed = true
					break
				}
				k := copy(room, rest[:min(len(rest), size())])
				s.Advance(k)
				rest = rest[k:]
				for {
					ok, err := s.Next(&b)
					failed = err != nil
					if !ok {
						break
					}
					if !bytes.Equal(b.Raw, raw[n:n+len(b.Raw)]) {
						t.Fatalf("raw bytes at %d differ", n)
					}
					n += len(b.Raw)
					units = append(units, render(&b)...)
				}
			}
			return fmt.Sprint(units), n, failed
		}
		rng := rand.New(rand.NewPCG(seed, 0))
		whole, n, failed := run(func() int { return 1 << 20 })
		cut, m, failed2 := run(func() int { return 1 + rng.IntN(9) })
		if failed != failed2 || whole != cut || n != m {
			t.Fatalf("in one piece %q (%d bytes, failed %v), in many %q (%d bytes, failed %v)",
				whole, n, failed, cut, m, failed2)
		}
	})
}

func BenchmarkSplitter(b *testing.B) {
	var raw []byte
	for i := range 1000 {
		raw = append(raw, stream(fmt.Sprintf("SET key:%d %s", i, strings.Repeat("x", 128)))...)
	}
	s := NewSplitter(0, 0, 1<<30)
	var batch Batch
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		for rest := raw; len(rest) > 0; {
			room, err := s.Space()
			if err != nil {
				b.Fatal(err)
			}
			n := copy(room, rest)
			s.Advance(n)
			rest = rest[n:]
			if _, err := s.Next(&batch); err != nil {
				b.Fatal(err)
			}
		}
	}
}
