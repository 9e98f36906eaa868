package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

// pieces is a reader that gives its content in pieces of the sizes that size returns.
type pieces struct {
	rest []byte
	size func() int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size())], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func replyReader(in string, size func() int) *ReplyReader {
	return NewReplyReader(&pieces{[]byte(in), size})
}

// show prints a value so that its kind can be seen.
func show(v Value) string {
	if !v.IsAggregate() {
		return fmt.Sprintf("%d:%q", v.Kind, v.String())
	}
	s := make([]string, len(v.Elems))
	for i, e := range v.Elems {
		s[i] = show(e)
	}
	return fmt.Sprintf("%d[%s]", v.Kind, strings.Join(s, " "))
}

func TestReplies(t *testing.T) {
	bulk := func(s string) Value { return Value{Kind: KindBulk, Str: []byte(s)} }
	simple := func(s string) Value { return Value{Kind: KindSimpleString, Str: []byte(s)} }
	list := func(k Kind, elems ...Value) Value { return Value{Kind: k, Elems: elems} }
	num := func(n int64) Value { return Value{Kind: KindInt, Int: n} }
	for _, tc := range []struct {
		in   string
		want Value
		err  string // instead of want, a part of the error
	}{
		{"+OK\r\n", simple("OK"), ""},
		{"+\r\n", simple(""), ""},
		{"-ERR x\r\n", Value{Kind: KindError, Str: []byte("ERR x")}, ""},
		{":-12\r\n", num(-12), ""},
		{":+12\r\n", num(12), ""},
		{"$3\r\na\r\n\r\n", bulk("a\r\n"), ""},
		{"$0\r\n\r\n", bulk(""), ""},
		{"$-1\r\n", Value{}, ""},
		{"*-1\r\n", Value{Kind: KindNullArray}, ""},
		{"_\r\n", Value{}, ""},
		{"*0\r\n", Value{Kind: KindArray}, ""},
		{"*2\r\n:1\r\n*1\r\n$1\r\na\r\n", list(KindArray, num(1), list(KindArray, bulk("a"))), ""},
		{"%1\r\n+k\r\n:1\r\n", list(KindMap, simple("k"), num(1)), ""},
		{"~1\r\n:1\r\n", list(KindSet, num(1)), ""},
		{">1\r\n:1\r\n", list(KindPush, num(1)), ""},
		{",1.5\r\n", Value{Kind: KindDouble, Num: 1.5}, ""},
		{",inf\r\n", Value{Kind: KindDouble, Num: math.Inf(1)}, ""},
		{",nan\r\n", Value{Kind: KindDouble, Num: math.NaN()}, ""},
		{"#t\r\n", Value{Kind: KindBool, Int: 1}, ""},
		{"#f\r\n", Value{Kind: KindBool}, ""},
		{"(123456789012345678901\r\n", Value{Kind: KindBigNumber, Str: []byte("123456789012345678901")}, ""},
		{"=6\r\ntxt:hi\r\n", Value{Kind: KindVerbatim, Str: []byte("hi")}, ""},
		{"!5\r\nERR x\r\n", Value{Kind: KindError, Str: []byte("ERR x")}, ""},
		{"|1\r\n+ttl\r\n:3\r\n:1\r\n", num(1), ""},
		{"|0\r\n:1\r\n", num(1), ""},
		{"*1\r\n|1\r\n+a\r\n*1\r\n:2\r\n:1\r\n", list(KindArray, num(1)), ""},

		{"?\r\n", Value{}, "unknown reply type"},
		{"\r\n", Value{}, "line without CR LF"},
		{"+a\n", Value{}, "line without CR LF"},
		{"$1\r\nab\r\n", Value{}, "string longer than announced"},
		{"$x\r\n", Value{}, "invalid length"},
		{"$-2\r\n", Value{}, "invalid length"},
		{"%-1\r\n", Value{}, "invalid length"},
		{"$600000000\r\n", Value{}, "string too large"},
		{"*4294967296\r\n", Value{}, "too many elements"},
		{strings.Repeat("*1\r\n", 129), Value{}, "nested too deeply"},
		{"", Value{}, "EOF"},
		{"+O", Value{}, "unexpected EOF"},
		{"*1\r\n", Value{}, "unexpected EOF"},
		{"$3\r\nab", Value{}, "unexpected EOF"},
		{"$3\r\nabc", Value{}, "unexpected EOF"},
		{"$100000\r\nabc", Value{}, "unexpected EOF"},
	} {
		for _, size := range []func() int{whole, single} {
			got, err := replyReader(tc.in, size).ReadValue()
			raw, rawErr := replyReader(tc.in, size).ReadRaw([]byte("x"))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("%.40q: ReadValue error %v, want %s", tc.in, err, tc.err)
				}
				if rawErr == nil || !strings.Contains(rawErr.Error(), tc.err) {
					t.Errorf("%.40q: ReadRaw error %v, want %s", tc.in, rawErr, tc.err)
				}
				continue
			}
			if err != nil || show(got) != show(tc.want) {
				t.Errorf("%.40q: %s, %v; want %s", tc.in, show(got), err, show(tc.want))
			}
			if rawErr != nil || string(raw) != "x"+tc.in {
				t.Errorf("%.40q: ReadRaw %q, %v", tc.in, raw, rawErr)
			}
		}
	}
}

// What ReadRaw does not decode it does not check either; ReadValue does.
func TestReadValueChecksScalars(t *testing.T) {
	for _, in := range []string{":x\r\n", ":\r\n", "#x\r\n", ",x\r\n", "=1\r\nx\r\n"} {
		if v, err := replyReader(in, whole).ReadValue(); err == nil {
			t.Errorf("%q: %s", in, show(v))
		}
	}
}

func TestReadRawPipeline(t *testing.T) {
	replies := []string{"+OK\r\n", "$100000\r\n" + strings.Repeat("x", 100000) + "\r\n",
		"*2\r\n$1\r\na\r\n:1\r\n",
		"$40000\r\n" + strings.Repeat("y", 40000) + "\r\n", ":7\r\n"}
	r := replyReader(strings.Join(replies, ""), randomPieces(1))
	for i, want := range replies {
		if got, err := r.ReadRaw(nil); err != nil || string(got) != want {
			t.Fatalf("reply %d: %.40q, %v", i, got, err)
		}
	}
	if _, err := r.ReadRaw(nil); err != io.EOF {
		t.Fatalf("at the end: %v", err)
	}
	if _, err := r.ReadValue(); err != io.EOF {
		t.Fatalf("behind the end: %v", err)
	}
}

// An announced size costs no memory before the data is there.
func TestRepliesGrowWithData(t *testing.T) {
	in := "$500000000\r\n" + strings.Repeat("x", 50000)
	raw, err := replyReader(in, whole).ReadRaw(nil)
	if !errors.Is(err, io.ErrUnexpectedEOF) || cap(raw) > 300000 {
		t.Errorf("ReadRaw: room for %d bytes, %v", cap(raw), err)
	}
	n := testing.AllocsPerRun(1, func() {
		if _, err := replyReader("*4000000000\r\n:1\r\n", whole).ReadValue(); err != io.ErrUnexpectedEOF {
			t.Errorf("ReadValue: %v", err)
		}
	})
	if n > 20 {
		t.Errorf("%v allocations", n)
	}
}

func TestReplyLimits(t *testing.T) {
	lim := ReplyLimits{MaxBulk: 10, MaxBytes: 40, MaxDepth: 2}
	for _, tc := range []struct{ in, err string }{
		{"$10\r\n0123456789\r\n", ""},
		{"$11\r\n01234567890\r\n", "string too large"},
		{"*3\r\n$6\r\n012345\r\n$6\r\n012345\r\n:1\r\n", ""},
		{"*3\r\n$7\r\n0123456\r\n$7\r\n0123456\r\n$7\r\n0123456\r\n", "reply too large"},
		{"*1\r\n*1\r\n:1\r\n", ""},
		{"*1\r\n*1\r\n*1\r\n:1\r\n", "nested too deeply"},
		{"*1\r\n*0\r\n", ""},
	} {
		for _, read := range []func(*ReplyReader) error{
			func(r *ReplyReader) error { _, err := r.ReadValue(); return err },
			func(r *ReplyReader) error { _, err := r.ReadRaw(nil); return err },
		} {
			r := replyReader(tc.in, whole)
			r.SetLimits(lim)
			err := read(r)
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("%q: %v, want %q", tc.in, err, tc.err)
			}
		}
	}
}

// A replication link reads replies, then lines, then a payload, then the stream, from one reader.
func TestReplyReaderGoesOn(t *testing.T) {
	in := "+PONG\r\n+FULLRESYNC abc 0\r\n\n\n$5\r\nhelloREST"
	for _, size := range []func() int{whole, single} {
		r := replyReader(in, size)
		if v, err := r.ReadValue(); err != nil || v.String() != "PONG" {
			t.Fatal(v, err)
		}
		for _, want := range []string{"+FULLRESYNC abc 0", "", "", "$5"} {
			if line, err := r.ReadLine(); err != nil || string(line) != want {
				t.Fatalf("line %q, %v; want %q", line, err, want)
			}
		}
		payload := make([]byte, 5)
		if _, err := io.ReadFull(r, payload); err != nil || string(payload) != "hello" {
			t.Fatalf("payload %q, %v", payload, err)
		}
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "REST" {
			t.Fatalf("rest %q, %v", rest, err)
		}
	}
}

func TestRawElements(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"*0\r\n", `[]`},
		{"*3\r\n$1\r\na\r\n*1\r\n:1\r\n$-1\r\n", `["$1\r\na\r\n" "*1\r\n:1\r\n" "$-1\r\n"]`},
		{"%1\r\n+k\r\n:1\r\n", `["+k\r\n" ":1\r\n"]`},
		{"~1\r\n|1\r\n+a\r\n:1\r\n:2\r\n", `["|1\r\n+a\r\n:1\r\n:2\r\n"]`},
		{":1\r\n", ""}, {"$-1\r\n", ""}, {"*-1\r\n", ""}, {"", ""}, {"*1\r\n", ""}, {"*1\r\n:1\r\n:2\r\n", ""},
		{"*1\r\n$5\r\nab", ""}, {"|1\r\n+a\r\n:1\r\n:1\r\n", ""}, {"*2\r\n$9223372036854775807\r\na\r\n", ""},
	} {
		got, err := RawElements(nil, []byte(tc.in))
		if (err != nil) != (tc.want == "") || err == nil && fmt.Sprintf("%q", got) != tc.want {
			t.Errorf("%q: %q, %v; want %s", tc.in, got, err, tc.want)
		}
	}
}

func TestValueHelpers(t *testing.T) {
	read := func(s string) Value {
		v, err := replyReader(s, whole).ReadValue()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if err := read("-" + ErrNoAuth + "\r\n").Err(); !errors.Is(err, Error(ErrNoAuth)) {
		t.Errorf("Err %v", err)
	}
	if err := read("+OK\r\n").Err(); err != nil {
		t.Errorf("Err %v", err)
	}
	for in, want := range map[string]int64{":5\r\n": 5, "$2\r\n42\r\n": 42, "+7\r\n": 7, ",3\r\n": 3} {
		if n, err := read(in).Int64(); err != nil || n != want {
			t.Errorf("%q: %d, %v", in, n, err)
		}
	}
	for _, in := range []string{"$1\r\nx\r\n", "$-1\r\n", ",1.5\r\n", "*0\r\n", "-ERR 1\r\n"} {
		if n, err := read(in).Int64(); err == nil {
			t.Errorf("%q: %d", in, n)
		}
	}
	for _, in := range []string{"%1\r\n+a\r\n:1\r\n", "*2\r\n$1\r\na\r\n:1\r\n"} {
		if v, ok := read(in).Lookup("a"); !ok || v.Int != 1 {
			t.Errorf("%q: Lookup %v, %v", in, v, ok)
		}
		if _, ok := read(in).Lookup("b"); ok {
			t.Errorf("%q: Lookup finds b", in)
		}
	}
}

// A decoded reply written again is the same reply, and what one client version gets from the other is what
// Redis would have sent it.
func TestWriterValue(t *testing.T) {
	in := "*11\r\n+a\r\n-ERR b\r\n:3\r\n$1\r\nc\r\n_\r\n%1\r\n+k\r\n:1\r\n" +
		"~1\r\n:1\r\n,1.5\r\n#t\r\n(12\r\n=5\r\ntxt:v\r\n"
	v, err := replyReader(in, whole).ReadValue()
	if err != nil {
		t.Fatal(err)
	}
	w := Writer{Proto: 3}
	if w.Value(v); string(w.Buf) != in {
		t.Errorf("version 3: %q", w.Buf)
	}
	w = Writer{Proto: 2}
	w.Value(v)
	want := "*11\r\n+a\r\n-ERR b\r\n:3\r\n$1\r\nc\r\n$-1\r\n*2\r\n+k\r\n:1\r\n" +
		"*1\r\n:1\r\n$3\r\n1.5\r\n:1\r\n$2\r\n12\r\n$1\r\nv\r\n"
	if string(w.Buf) != want {
		t.Errorf("version 2: %q", w.Buf)
	}
}

func FuzzReplyReader(f *testing.F) {
	for i, s := range []string{
		"+OK\r\n-ERR\r\n:1\r\n$3\r\nabc\r\n$-1\r\n*-1\r\n*2\r\n:1\r\n:2\r\n",
		"%1\r\n+k\r\n~1\r\n:1\r\n>1\r\n#t\r\n,1.5\r\n(12\r\n=5\r\ntxt:v\r\n!3\r\nERR\r\n_\r\n",
		"|1\r\n+a\r\n:1\r\n:2\r\n", "*1\r\n|0\r\n:1\r\n", "*1\r\n*1\r\n*0\r\n", "$5\r\nab", "*3\r\n:1\r\n",
		"$1\r\nabc\r\n",
		strings.Repeat("*1\r\n", 10) + ":1\r\n", ",nan\r\n,-inf\r\n",
	} {
		f.Add([]byte(s), uint64(i))
	}
	f.Fuzz(func(t *testing.T, input []byte, seed uint64) {
		lim := ReplyLimits{MaxBulk: 1000, MaxBytes: 5000, MaxDepth: 5}
		values := replyReader(string(input), whole)
		raws := replyReader(string(input), randomPieces(seed))
		split := replyReader(string(input), randomPieces(seed+1))
		for _, r := range []*ReplyReader{values, raws, split} {
			r.SetLimits(lim)
		}
		for rest := input; ; {
			v, err := values.ReadValue()
			again, errAgain := split.ReadValue()
			if fmt.Sprint(err) != fmt.Sprint(errAgain) || show(v) != show(again) {
				t.Fatalf("in one piece %s, %v; in many %s, %v", show(v), err, show(again), errAgain)
			}
			raw, errRaw := raws.ReadRaw(nil)
			if !bytes.HasPrefix(rest, raw) {
				t.Fatalf("ReadRaw %q of %q", raw, rest)
			}
			rest = rest[len(raw):]
			if err != nil {
				return
			}
			if errRaw != nil {
				t.Fatalf("ReadValue %s, ReadRaw %v", show(v), errRaw)
			}
			if v.IsAggregate() && raw[0] != '|' {
				if elems, err := RawElements(nil, raw); err != nil || len(elems) != len(v.Elems) {
					t.Fatalf("%q: RawElements %q, %v", raw, elems, err)
				}
			}
			if have := len(rest); have < values.Buffered() || have != len(values.rd.(*pieces).rest)+values.Buffered() {
				t.Fatalf("ReadRaw leaves %d bytes, ReadValue %d", have, values.Buffered())
			}
			w := Writer{Proto: 3}
			w.Value(v)
			back, err := replyReader(string(w.Buf), whole).ReadValue()
			if err != nil || !strings.Contains(show(v), "\r") && show(plain(back)) != show(plain(v)) {
				t.Fatalf("%s written and read: %s, %v", show(v), show(back), err)
			}
		}
	})
}

// plain is v without the differences that writing it makes: a missing array becomes a missing value, and
// line ends in errors become spaces.
func plain(v Value) Value {
	if v.Kind == KindNullArray {
		v.Kind = KindNull
	}
	if v.Kind <= KindError || v.Kind == KindBigNumber {
		v.Str = bytes.Map(func(c rune) rune {
			if c == '\r' || c == '\n' {
				return ' '
			}
			return c
		}, v.Str)
	}
	elems := make([]Value, len(v.Elems))
	for i, e := range v.Elems {
		elems[i] = plain(e)
	}
	v.Elems = elems
	return v
}

func benchmarkReplies(b *testing.B, in string, read func(r *ReplyReader) error) {
	const n = 16
	all := []byte(strings.Repeat(in, n))
	p := &pieces{size: whole}
	r := NewReplyReader(p)
	b.SetBytes(int64(len(all)))
	b.ReportAllocs()
	for b.Loop() {
		p.rest = all
		for range n {
			if err := read(r); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "replies/s")
}

func BenchmarkReadRawBulk(b *testing.B) {
	var dst []byte
	benchmarkReplies(b, "$20\r\n01234567890123456789\r\n", func(r *ReplyReader) (err error) {
		dst, err = r.ReadRaw(dst[:0])
		return err
	})
}

func BenchmarkReadRawArray100(b *testing.B) {
	var dst []byte
	benchmarkReplies(b, "*100\r\n"+strings.Repeat("$20\r\n01234567890123456789\r\n", 100),
		func(r *ReplyReader) (err error) {
			dst, err = r.ReadRaw(dst[:0])
			return err
		})
}

func BenchmarkReadRaw1MB(b *testing.B) {
	var dst []byte
	benchmarkReplies(b, "$1048576\r\n"+strings.Repeat("x", 1<<20)+"\r\n", func(r *ReplyReader) (err error) {
		dst, err = r.ReadRaw(dst[:0])
		return err
	})
}

func BenchmarkReadValueBulk(b *testing.B) {
	benchmarkReplies(b, "$20\r\n01234567890123456789\r\n", func(r *ReplyReader) error {
		_, err := r.ReadValue()
		return err
	})
}
