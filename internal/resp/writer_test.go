package resp

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestWriter(t *testing.T) {
	for _, tc := range []struct {
		name         string
		write        func(w *Writer)
		want2, want3 string // want3 empty: the same
	}{
		{"ok", func(w *Writer) { w.OK() }, "+OK\r\n", ""},
		{"simple string", func(w *Writer) { w.SimpleString("PONG") }, "+PONG\r\n", ""},
		{"simple string of two lines", func(w *Writer) { w.SimpleString("a\r\nb") }, "+a  b\r\n", ""},
		{"error", func(w *Writer) { w.Error(ErrSyntax) }, "-ERR syntax error\r\n", ""},
		{"error of two lines", func(w *Writer) { w.Error("ERR a\r\n+OK\n") }, "-ERR a  +OK \r\n", ""},
		{"int", func(w *Writer) { w.Int(7) }, ":7\r\n", ""},
		{"int of two digits", func(w *Writer) { w.Int(42) }, ":42\r\n", ""},
		{"int of three digits", func(w *Writer) { w.Int(100) }, ":100\r\n", ""},
		{"int negative", func(w *Writer) { w.Int(-1) }, ":-1\r\n", ""},
		{"int smallest", func(w *Writer) { w.Int(math.MinInt64) }, ":-9223372036854775808\r\n", ""},
		{"bulk", func(w *Writer) { w.Bulk([]byte("a\r\nb")) }, "$4\r\na\r\nb\r\n", ""},
		{"bulk nil", func(w *Writer) { w.Bulk(nil) }, "$0\r\n\r\n", ""},
		{"bulk string", func(w *Writer) { w.BulkString(strings.Repeat("x", 12)) }, "$12\r\nxxxxxxxxxxxx\r\n", ""},
		{"bulk int", func(w *Writer) { w.BulkInt(-12) }, "$3\r\n-12\r\n", ""},
		{"null", func(w *Writer) { w.Null() }, "$-1\r\n", "_\r\n"},
		{"null array", func(w *Writer) { w.NullArray() }, "*-1\r\n", "_\r\n"},
		{"array", func(w *Writer) { w.Array(123) }, "*123\r\n", ""},
		{"map", func(w *Writer) { w.Map(2) }, "*4\r\n", "%2\r\n"},
		{"set", func(w *Writer) { w.Set(2) }, "*2\r\n", "~2\r\n"},
		{"push", func(w *Writer) { w.Push(3) }, "*3\r\n", ">3\r\n"},
		{"double", func(w *Writer) { w.Double(1.5) }, "$3\r\n1.5\r\n", ",1.5\r\n"},
		{"double inf", func(w *Writer) { w.Double(math.Inf(-1)) }, "$4\r\n-inf\r\n", ",-inf\r\n"},
		{"true", func(w *Writer) { w.Bool(true) }, ":1\r\n", "#t\r\n"},
		{"false", func(w *Writer) { w.Bool(false) }, ":0\r\n", "#f\r\n"},
		{"big number", func(w *Writer) { w.BigNumber("123456789012345678901") },
			"$21\r\n123456789012345678901\r\n",
			"(123456789012345678901\r\n"},
		{"verbatim", func(w *Writer) { w.Verbatim("txt", "hi") }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"},
		{"bulk array", func(w *Writer) { w.BulkArray([]byte("a"), nil) }, "*2\r\n$1\r\na\r\n$0\r\n\r\n", ""},
		{"bulk string array", func(w *Writer) { w.BulkStringArray("a", "b") }, "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
			""},
		{"raw", func(w *Writer) { w.Raw([]byte("+x\r\n")) }, "+x\r\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.want3 == "" {
				tc.want3 = tc.want2
			}
			for proto, want := range map[int]string{0: tc.want2, 2: tc.want2, 3: tc.want3} {
				w := Writer{Buf: []byte("before"), Proto: proto}
				tc.write(&w)
				if got := string(w.Buf); got != "before"+want {
					t.Errorf("version %d: %q, want %q", proto, got, want)
				}
			}
		})
	}
}

// An aggregate whose header comes last is the same as one whose header came first, at every length of the
// header, nested and with replies around it.
func TestWriterDefer(t *testing.T) {
	for _, n := range []int{0, 1, 9, 10, 99, 100, 12345} {
		for _, proto := range []int{2, 3} {
			later, first := Writer{Proto: proto}, Writer{Proto: proto}
			for _, w := range []*Writer{&later, &first} {
				w.OK()
				var outer, inner Aggregate
				if w == &later {
					outer = w.Defer()
				} else {
					w.Map(n + 1)
				}
				for range n {
					w.Int(1)
					w.Int(2)
				}
				w.BulkString("inner")
				if w == &later {
					inner = w.Defer()
				} else {
					w.Set(n)
				}
				for range n {
					w.BulkString("member")
				}
				if w == &later {
					w.EndSet(inner, n)
					w.EndMap(outer, n+1)
					empty := w.Defer()
					w.EndArray(empty, 0)
				} else {
					w.Array(0)
				}
				w.OK()
			}
			if string(later.Buf) != string(first.Buf) {
				t.Fatalf("version %d, %d elements: %.200q, want %.200q", proto, n, later.Buf, first.Buf)
			}
		}
	}
}

func TestErrorTexts(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, tc := range []struct{ got, want string }{
		{WrongArity("config|get"), "ERR wrong number of arguments for 'config|get' command"},
		{UnknownCommand([]byte("fOo"), nil), "ERR unknown command 'fOo', with args beginning with: "},
		{UnknownCommand([]byte("foo"), [][]byte{[]byte("a"), []byte("b\r\nc")}),
			"ERR unknown command 'foo', with args beginning with: 'a' 'b  c' "},
		{UnknownCommand([]byte(long), [][]byte{[]byte(long), []byte("b")}),
			"ERR unknown command '" + long[:128] + "', with args beginning with: '" + long[:128] + "' "},
		{UnknownCommand([]byte("foo"), [][]byte{[]byte(long[:120]), []byte(long)}),
			"ERR unknown command 'foo', with args beginning with: '" + long[:120] + "' 'xxxxx' "},
		{UnknownSubcommand([]byte("x\n"), "config"), "ERR unknown subcommand 'x '. Try CONFIG HELP."},
		{ExecAborted(ErrNoReplicas),
			"EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write."},
		{OnlyPubSub("get"), "ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / " +
			"RESET are allowed in this context"},
		{InvalidExpire("set"), "ERR invalid expire time in 'set' command"},
		{Internal(errors.New("disk\nfull")), "ERR internal error: disk full"},
	} {
		if tc.got != tc.want {
			t.Errorf("got  %q\nwant %q", tc.got, tc.want)
		}
	}
	if c := Error(ErrWrongType).Code(); c != "WRONGTYPE" {
		t.Errorf("code %q", c)
	}
}

func TestUnknownCommandAgainstRedis(t *testing.T) {
	socket := startRedis(t)
	long := strings.Repeat("x", 200)
	for _, words := range [][]string{
		{"foo"}, {"fOo", "a", "b"}, {"foo", "a\r\nb", ""}, {long, long, "b"}, {"foo", long[:120], long, "c"},
		{"foo", long[:124], "ccc", "d"}, {"foo", long[:125], "c"}, {"foo", long[:126], "c"},
	} {
		args := make([][]byte, len(words))
		for i, w := range words {
			args[i] = []byte(w)
		}
		want := askRedis(t, socket, string(AppendCommand(nil, args...)), 1)
		if got := UnknownCommand(args[0], args[1:]); len(want) != 1 || got != want[0] {
			t.Errorf("%.50q: got  %q\nwant %q", words, got, want)
		}
	}
}

func BenchmarkWriterPipeline16(b *testing.B) {
	w := Writer{Proto: 2}
	value := []byte("value-of-20-bytes..")
	b.ReportAllocs()
	for b.Loop() {
		w.Buf = w.Buf[:0]
		for range 4 {
			w.OK()
			w.Bulk(value)
			w.Int(12345)
			w.Null()
		}
	}
	b.ReportMetric(float64(b.N*16)/b.Elapsed().Seconds(), "replies/s")
}

func BenchmarkWriterArray100(b *testing.B) {
	w := Writer{Proto: 3}
	value := []byte("value-of-20-bytes..")
	b.ReportAllocs()
	for b.Loop() {
		w.Buf = w.Buf[:0]
		w.Array(100)
		for range 100 {
			w.Bulk(value)
		}
	}
}

func BenchmarkWriterDouble(b *testing.B) {
	w := Writer{Proto: 2}
	b.ReportAllocs()
	for b.Loop() {
		w.Buf = w.Buf[:0]
		w.Double(0.30000000000000004)
		w.Double(17)
	}
}

func BenchmarkWriterDefer1000(b *testing.B) {
	w := Writer{Proto: 2}
	value := []byte("value-of-20-bytes..")
	b.ReportAllocs()
	for b.Loop() {
		w.Buf = w.Buf[:0]
		a := w.Defer()
		for range 1000 {
			w.Bulk(value)
		}
		w.EndArray(a, 1000)
	}
}
