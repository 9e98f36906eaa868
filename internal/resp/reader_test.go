package resp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// outcome is what a Reader made of an input: the commands, and the error that ended it.
type outcome struct {
	cmds [][]string
	raws []string
	err  string
	left int
}

func (o outcome) String() string {
	var s strings.Builder
	for i, c := range o.cmds {
		fmt.Fprintf(&s, "%q raw %q\n", c, o.raws[i])
	}
	if o.err != "" {
		fmt.Fprintf(&s, "error %s\n", o.err)
	} else if o.left > 0 {
		fmt.Fprintf(&s, "left %d\n", o.left)
	}
	return s.String()
}

// feed gives input to a new Reader in pieces of the sizes that size returns.
func feed(lim Limits, input []byte, size func() int) outcome {
	var o outcome
	r := NewReader(lim)
	for {
		for {
			cmd, ok, err := r.Next()
			if err != nil {
				o.err = err.Error()
				return o
			}
			if !ok {
				break
			}
			args := make([]string, len(cmd.Args))
			for i, a := range cmd.Args {
				args[i] = string(a)
			}
			o.cmds = append(o.cmds, args)
			o.raws = append(o.raws, string(cmd.Raw))
		}
		if len(input) == 0 {
			o.left = r.Buffered()
			return o
		}
		n := min(size(), len(input))
		n = copy(r.Space(1)[:], input[:n])
		r.Advance(n)
		input = input[n:]
	}
}

func whole() int  { return 1 << 30 }
func single() int { return 1 }

func bulks(args ...string) string { return string(AppendCommandStrings(nil, args...)) }

func TestReader(t *testing.T) {
	small := Limits{MaxBulk: 20, MaxArgs: 12, MaxInline: 30}
	unauth := UnauthLimits()
	long := strings.Repeat("a", 31)
	for _, tc := range []struct {
		name, in string
		lim      Limits
		want     string // commands with their words separated by |, each ended by ';'
		err      string
	}{
		{"one", bulks("SET", "k", "v"), small, "SET|k|v;", ""},
		{"pipeline", bulks("GET", "a") + bulks("GET", "b"), small, "GET|a;GET|b;", ""},
		{"empty argument", bulks("SET", "", ""), small, "SET||;", ""},
		{"binary", bulks("a\r\nb", "\x00$*"), small, "a\r\nb|\x00$*;", ""},
		{"ten arguments", "*10\r\n" + strings.Repeat("$1\r\nx\r\n", 10), small, "x|x|x|x|x|x|x|x|x|x;", ""},
		{"empty array", "*0\r\n" + bulks("PING"), small, "PING;", ""},
		{"null array", "*-1\r\n*-100\r\n" + bulks("PING"), small, "PING;", ""},
		{"inline", "PING\r\nGET  a \n", small, "PING;GET|a;", ""},
		{"inline empty", "\r\n\n  \r\nPING\r\n", small, "PING;", ""},
		{"inline and array", "PING\r\n" + bulks("GET", "a") + "ECHO x\n", small, "PING;GET|a;ECHO|x;", ""},
		{"inline quotes", `SET "a b" 'c d'` + "\n", small, "SET|a b|c d;", ""},
		{"inline dollar", "$3\r\nfoo\r\n", small, "$3;foo;", ""},
		// Redis looks at the position of line ends only, and so must we (see the package comment).
		{"any line ends", "*1\rX$4\rYPINGab" + bulks("GET", "a"), small, "PING;GET|a;", ""},

		{"count not a number", "*a\r\n", small, "", "invalid multibulk length"},
		{"count empty", "*\r\n", small, "", "invalid multibulk length"},
		{"count plus", "*+1\r\n", small, "", "invalid multibulk length"},
		{"count leading zero", "*01\r\n", small, "", "invalid multibulk length"},
		{"count space", "* 1\r\n", small, "", "invalid multibulk length"},
		{"count too large", "*13\r\n", small, "", "invalid multibulk length"},
		{"count overflow", "*99999999999999999999\r\n", small, "", "invalid multibulk length"},
		{"count beyond default", "*2147483648\r\n", DefaultLimits(), "", "invalid multibulk length"},
		{"count line too long", "*" + long, small, "", "too big mbulk count string"},
		{"bulk not a number", "*1\r\n$x\r\n", small, "", "invalid bulk length"},
		{"bulk negative", "*1\r\n$-1\r\n", small, "", "invalid bulk length"},
		{"bulk too large", "*1\r\n$21\r\n", small, "", "invalid bulk length"},
		{"bulk far too large", "*1\r\n$536870913\r\n", DefaultLimits(), "", "invalid bulk length"},
		{"bulk line too long", "*1\r\n$" + long, small, "", "too big bulk count string"},
		{"bulk marker", "*1\r\nfoo\r\n", small, "", "expected '$', got 'f'"},
		{"bulk marker empty", "*1\r\n\r\n", small, "", "expected '$', got ' '"},
		{"bulk marker array", "*2\r\n$1\r\na\r\n*1\r\n", small, "", "expected '$', got '*'"},
		{"inline too long", long, small, "", "too big inline request"},
		{"inline too long with end", long + "\n", small, "", "too big inline request"},
		{"inline quotes open", "SET \"a\n", small, "", "unbalanced quotes in request"},
		{"error behind commands", bulks("PING") + "*1\r\n!\r\n", small, "PING;", "expected '$', got '!'"},

		{"unauth ten", "*10\r\n" + strings.Repeat("$1\r\nx\r\n", 10), unauth, "x|x|x|x|x|x|x|x|x|x;", ""},
		{"unauth eleven", "*11\r\n", unauth, "", "unauthenticated multibulk length"},
		{"unauth never allowed", "*2147483648\r\n", unauth, "", "invalid multibulk length"},
		{"unauth bulk", "*1\r\n$16385\r\n", unauth, "", "unauthenticated bulk length"},
		{"unauth bulk never allowed", "*1\r\n$536870913\r\n", unauth, "", "invalid bulk length"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, size := range []func() int{whole, single} {
				o := feed(tc.lim, []byte(tc.in), size)
				var got strings.Builder
				for _, c := range o.cmds {
					got.WriteString(strings.Join(c, "|") + ";")
				}
				if got.String() != tc.want {
					t.Errorf("commands %q, want %q", got.String(), tc.want)
				}
				want := tc.err
				if want != "" {
					want = "Protocol error: " + want
				}
				if o.err != want {
					t.Errorf("error %q, want %q", o.err, want)
				}
				if tc.err == "" && o.left != 0 {
					t.Errorf("%d bytes left", o.left)
				}
			}
		})
	}
}

func TestReaderRawIsExact(t *testing.T) {
	in := bulks("SET", "k", "v") + "*0\r\n" + "\r\n" + "PING  'x'\r\n" + bulks("GET", "k") + "ECHO y\n"
	o := feed(DefaultLimits(), []byte(in), single)
	want := []string{bulks("SET", "k", "v"), "PING  'x'\r\n", bulks("GET", "k"), "ECHO y\n"}
	if fmt.Sprintf("%q", o.raws) != fmt.Sprintf("%q", want) {
		t.Fatalf("raw %q, want %q", o.raws, want)
	}
}

func TestReaderErrorIsFinal(t *testing.T) {
	r := NewReader(DefaultLimits())
	put(r, "*1\r\n!\r\n"+bulks("PING"))
	_, _, first := r.Next()
	for range 3 {
		if _, ok, err := r.Next(); ok || err != first || err == nil {
			t.Fatalf("Next after an error: %v, %v", ok, err)
		}
	}
	if perr, is := first.(*ProtocolError); !is || perr.Reply() != "ERR Protocol error: expected '$', got '!'" {
		t.Fatalf("error %#v", first)
	}
}

func put(r *Reader, s string) {
	for len(s) > 0 {
		n := copy(r.Space(1), s)
		r.Advance(n)
		s = s[n:]
	}
}

// The limits of a client change when it authenticates, with the rest of its pipeline already received.
func TestReaderSetLimits(t *testing.T) {
	r := NewReader(UnauthLimits())
	many := make([]string, 20)
	put(r, bulks("AUTH", "secret")+bulks(many...))
	if cmd, ok, err := r.Next(); !ok || err != nil || string(cmd.Args[0]) != "AUTH" {
		t.Fatalf("first command: %q %v %v", cmd.Args, ok, err)
	}
	r.SetLimits(DefaultLimits())
	if cmd, ok, err := r.Next(); !ok || err != nil || len(cmd.Args) != 20 {
		t.Fatalf("second command: %d arguments, %v %v", len(cmd.Args), ok, err)
	}
}

// Views of all commands of one pipeline hold until the next Space, also those of commands that are not the
// last one, and of unquoted text.
func TestReaderViewsHold(t *testing.T) {
	r := NewReader(DefaultLimits())
	put(r, bulks("SET", "key1", "value1")+"ECHO \"quoted 1\"\r\n"+"ECHO 'quoted 2' plain\r\n")
	put(r, bulks("GET", "key2"))
	var views [][]byte
	for {
		cmd, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		views = append(views, cmd.Args...)
	}
	got := string(bytes.Join(views, []byte("|")))
	if want := "SET|key1|value1|ECHO|quoted 1|ECHO|quoted 2|plain|GET|key2"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	// Appending to a view must not reach its neighbour.
	_ = append(views[1], "XXXXXXXX"...)
	if string(views[2]) != "value1" {
		t.Fatalf("append to one argument changed the next to %q", views[2])
	}
}

// A length line alone must not cost memory, and a large argument no more than twice its size.
func TestReaderGrowsWithData(t *testing.T) {
	r := NewReader(DefaultLimits())
	put(r, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n")
	if _, ok, err := r.Next(); ok || err != nil {
		t.Fatal(ok, err)
	}
	r.Space(1)
	if r.Cap() > pooledSize {
		t.Fatalf("buffer of %d bytes for a length line", r.Cap())
	}
	const size = 3 << 20
	r = NewReader(DefaultLimits())
	put(r, "*2\r\n$4\r\nECHO\r\n$"+strconv.Itoa(size)+"\r\n")
	sent, last := 0, 0
	for sent < size+2 {
		if _, ok, err := r.Next(); ok || err != nil {
			t.Fatal(ok, err)
		}
		s := r.Space(1)
		if last > 0 && r.Cap() > 2*last {
			t.Fatalf("buffer grew from %d to %d", last, r.Cap())
		}
		last = r.Cap()
		n := min(len(s), size+2-sent, 1460)
		for i := range s[:n] {
			s[i] = 'x'
		}
		r.Advance(n)
		sent += n
	}
	cmd, ok, err := r.Next()
	if !ok || err != nil || len(cmd.Args[1]) != size || string(cmd.Args[0]) != "ECHO" {
		t.Fatal(ok, err, len(cmd.Args))
	}
	if bytes.Count(cmd.Args[1], []byte("x")) != size {
		t.Fatal("argument damaged")
	}
	if r.Cap() > size+size/16 {
		t.Fatalf("buffer of %d bytes for an argument of %d", r.Cap(), size)
	}
}

// A count of arguments alone must not cost memory either.
func TestReaderManyArgs(t *testing.T) {
	r := NewReader(DefaultLimits())
	put(r, "*2147483647\r\n$1\r\na\r\n")
	if _, ok, err := r.Next(); ok || err != nil {
		t.Fatal(ok, err)
	}
	if cap(r.args) > 1024 {
		t.Fatalf("room for %d arguments", cap(r.args))
	}
	const n = 5000
	words := make([]string, n)
	for i := range words {
		words[i] = strconv.Itoa(i)
	}
	o := feed(DefaultLimits(), []byte(bulks(words...)), func() int { return 777 })
	if len(o.cmds) != 1 || strings.Join(o.cmds[0], " ") != strings.Join(words, " ") {
		t.Fatalf("%d commands", len(o.cmds))
	}
}

// A buffer that one large command needed is given up when commands are small again.
func TestReaderShrinks(t *testing.T) {
	r := NewReader(DefaultLimits())
	put(r, bulks("ECHO", strings.Repeat("x", 1<<20)))
	if _, ok, _ := r.Next(); !ok {
		t.Fatal("no command")
	}
	for range 2*shrinkAfter + 1 {
		put(r, bulks("PING"))
		if _, ok, _ := r.Next(); !ok {
			t.Fatal("no command")
		}
	}
	if r.Cap() > keepSize {
		t.Fatalf("still a buffer of %d bytes", r.Cap())
	}
}

func TestReaderRelease(t *testing.T) {
	r := NewReader(DefaultLimits())
	put(r, bulks("PING")+"*1")
	r.Next()
	r.Next()
	if r.Release(); r.Buffered() != 2 {
		t.Fatal("Release dropped received bytes")
	}
	put(r, "\r\n$4\r\nPING\r\n")
	if cmd, ok, err := r.Next(); !ok || err != nil || string(cmd.Args[0]) != "PING" {
		t.Fatal(ok, err)
	}
	r.Release()
	if r.Cap() != 0 {
		t.Fatal("buffer kept")
	}
	put(r, bulks("GET", "a"))
	if cmd, ok, err := r.Next(); !ok || err != nil || string(cmd.Args[1]) != "a" {
		t.Fatal(ok, err)
	}
}

func TestReaderUnread(t *testing.T) {
	r := NewReader(DefaultLimits())
	put(r, bulks("PING")+"*2\r\n$3\r\nGET")
	for range 2 {
		if _, _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(r.Unread()); got != "*2\r\n$3\r\nGET" || r.Buffered() != len(got) {
		t.Fatalf("unread %q", got)
	}
}

func TestReaderSteadyStateAllocates(t *testing.T) {
	r := NewReader(DefaultLimits())
	batch := bytes.Repeat([]byte(bulks("SET", "key:000001", "value")), 16)
	run := func() {
		r.Advance(copy(r.Space(len(batch)), batch))
		for {
			if _, ok, _ := r.Next(); !ok {
				break
			}
		}
	}
	run()
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Fatalf("%v allocations per batch", n)
	}
}

// randomPieces returns the sizes of pieces, seeded.
func randomPieces(seed uint64) func() int {
	rnd := rand.New(rand.NewPCG(seed, 1))
	return func() int {
		if rnd.IntN(4) == 0 {
			return 1 + rnd.IntN(5000)
		}
		return 1 + rnd.IntN(7)
	}
}

func FuzzReader(f *testing.F) {
	for i, s := range []string{
		bulks("SET", "key", "value") + bulks("GET", "key"),
		"*0\r\n*-1\r\nPING\r\n\r\nSET \"a\\x41\" 'b'\n",
		"*2\r\n$3\r\nfoo\r\n$-1\r\n",
		"*1\r\n$4\r\nPI",
		"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$40\r\n" + strings.Repeat("x", 40) + "\r\n*1\r\n!",
		"*11\r\n", "*1\rX$1\rYaZZ", "*00\r\n", "\x00\x00\n", "$1\r\na\r\n*1\r",
		strings.Repeat("a", 101), "*" + strings.Repeat("1", 101), "*1\r\n$" + strings.Repeat("1", 101),
	} {
		f.Add([]byte(s), uint64(i))
	}
	limits := []Limits{
		{MaxBulk: 50, MaxArgs: 10, MaxInline: 100},
		{MaxBulk: 50, MaxArgs: 10, MaxInline: 100, Unauthenticated: true},
		DefaultLimits(),
	}
	f.Fuzz(func(t *testing.T, input []byte, seed uint64) {
		lim := limits[seed%uint64(len(limits))]
		once := feed(lim, input, whole)
		pieces := feed(lim, input, randomPieces(seed))
		if once.String() != pieces.String() {
			t.Fatalf("in one piece:\n%sin many:\n%s", once, pieces)
		}
		for i, raw := range once.raws {
			again := feed(lim, []byte(raw), whole)
			if len(again.cmds) != 1 || again.err != "" || fmt.Sprint(again.cmds[0]) != fmt.Sprint(once.cmds[i]) {
				t.Fatalf("raw %q of %q gives\n%s", raw, once.cmds[i], again)
			}
			coded := feed(DefaultLimits(), AppendCommandStrings(nil, once.cmds[i]...), whole)
			if len(coded.cmds) != 1 || fmt.Sprint(coded.cmds[0]) != fmt.Sprint(once.cmds[i]) {
				t.Fatalf("%q encoded gives\n%s", once.cmds[i], coded)
			}
		}
	})
}

func benchmarkReader(b *testing.B, batch []byte, commands int) {
	r := NewReader(DefaultLimits())
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	args := 0
	for b.Loop() {
		r.Advance(copy(r.Space(len(batch)), batch))
		for {
			cmd, ok, err := r.Next()
			if err != nil {
				b.Fatal(err)
			}
			if !ok {
				break
			}
			args += len(cmd.Args)
		}
	}
	b.ReportMetric(float64(b.N*commands)/b.Elapsed().Seconds(), "commands/s")
	_ = args
}

func BenchmarkReaderPipeline16SET(b *testing.B) {
	batch := bytes.Repeat([]byte(bulks("SET", "key:000000123456", "value-of-20-bytes..")), 16)
	benchmarkReader(b, batch, 16)
}

func BenchmarkReaderSingleGET(b *testing.B) {
	benchmarkReader(b, []byte(bulks("GET", "key:000000123456")), 1)
}

func BenchmarkReaderInline(b *testing.B) {
	benchmarkReader(b, bytes.Repeat([]byte("SET key:000000123456 value\r\n"), 16), 16)
}

func BenchmarkReaderMSET1000(b *testing.B) {
	words := []string{"MSET"}
	for i := range 500 {
		words = append(words, "key:"+strconv.Itoa(i), "value")
	}
	benchmarkReader(b, []byte(bulks(words...)), 1)
}

// A megabyte that arrives in pieces as large as the Reader asks for.
func BenchmarkReaderBulk1MB(b *testing.B) {
	batch := []byte(bulks("SET", "k", strings.Repeat("x", 1<<20)))
	r := NewReader(DefaultLimits())
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		done := false
		for rest := batch; len(rest) > 0; {
			n := copy(r.Space(1), rest)
			r.Advance(n)
			rest = rest[n:]
			_, done, _ = r.Next()
		}
		if !done {
			b.Fatal("no command")
		}
	}
}
