package commands_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"haypile/internal/resp"
)

// randomStreamCommand makes a command on few streams, groups and consumers. What it answers depends on the time only
// where timeless knows.
func randomStreamCommand(rng *rand.Rand) []string {
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	key := pick("s", "s", "s", "t")
	group, consumer := pick("g", "h"), pick("a", "b", "c")
	id := func() string { return fmt.Sprintf("%d-%d", rng.IntN(400), rng.IntN(2)) }
	few := func() string { return fmt.Sprint(rng.IntN(6) + 1) }
	read := func(more ...string) []string {
		return slices.Concat([]string{"XREADGROUP", "GROUP", group, consumer}, more)
	}
	claim := func(more ...string) []string {
		return slices.Concat([]string{"XCLAIM", key, group, consumer, pick("0", "0", "1000000"), id(), id(), id()}, more)
	}
	options := [][]string{
		{"XADD", key, "*", "f", "v"}, // stands for a rising ID; see TestRandomStreamsAgainstRedis
		{"XADD", key, "*", "f", "v"}, {"XADD", key, "*", "f", "v", "g", "w"}, {"XADD", key, "*", "f", "v"},
		{"XADD", key, id(), "f", "v"}, {"XDEL", key, id(), id()}, {"XDEL", key, id()},
		{"XTRIM", key, "MAXLEN", fmt.Sprint(rng.IntN(30))}, {"XTRIM", key, "MINID", id()},
		{"XGROUP", "CREATE", key, group, pick("0", "$", id()), "MKSTREAM"},
		{"XGROUP", "CREATE", key, group, "0", "ENTRIESREAD", pick("0", "3", "-1")},
		{"XGROUP", "SETID", key, group, pick("0", "$", id())},
		{"XGROUP", "SETID", key, group, id(), "ENTRIESREAD", few()},
		{"XGROUP", "DELCONSUMER", key, group, consumer}, {"XGROUP", "CREATECONSUMER", key, group, consumer},
		read("STREAMS", key, ">"), read("COUNT", few(), "STREAMS", key, ">"), read("COUNT", few(), "STREAMS", key, ">"),
		read("COUNT", "2", "NOACK", "STREAMS", key, ">"), read("STREAMS", key, id()), read("COUNT", few(), "STREAMS", key, "0"),
		read("COUNT", "1", "STREAMS", "s", "t", "s", ">", ">", ">"),
		{"XACK", key, group, id(), id(), id(), id()}, {"XACK", key, group, id()},
		{"XPENDING", key, group}, {"XPENDING", key, group, "-", "+", few()}, {"XPENDING", key, group, id(), id(), "10", consumer},
		{"XPENDING", key, group, "IDLE", "1000000", "-", "+", few()},
		claim(), claim("JUSTID"), claim("FORCE"), claim("FORCE", "JUSTID"), claim("RETRYCOUNT", few(), "IDLE", "5000000"),
		claim("LASTID", id()), claim("TIME", "5", "FORCE"),
		{"XAUTOCLAIM", key, group, consumer, "0", id(), "COUNT", few()},
		{"XAUTOCLAIM", key, group, consumer, "1000000", "-", "COUNT", few()},
		{"XAUTOCLAIM", key, group, consumer, "0", "0", "COUNT", few(), "JUSTID"},
		{"XINFO", "GROUPS", key}, {"XINFO", "STREAM", key}, {"XRANGE", key, id(), "+", "COUNT", "3"},
	}
	if rng.IntN(60) == 0 {
		options = [][]string{{"DEL", key}, {"XGROUP", "DESTROY", key, group}, {"COPY", "s", "t", "REPLACE"},
			{"RENAME", "t", "s"}, {"XTRIM", key, "MAXLEN", "0"}, {"XSETID", key, "399-9", "ENTRIESADDED", "1000"}}
	}
	return options[rng.IntN(len(options))]
}

// TestRandomStreamsAgainstRedis compares random operations on streams and their groups, and all that XINFO tells of
// them.
func TestRandomStreamsAgainstRedis(t *testing.T) {
	p := newPair(t)
	rng := rand.New(rand.NewPCG(11, 2))
	next := 0
	for i := range 12_000 {
		if i%3000 == 0 {
			next = 0
			p.clear()
			p.proto(2 + i/3000%2)
		}
		args := randomStreamCommand(rng)
		if args[0] == "XADD" && args[2] == "*" {
			next++
			args[2] = fmt.Sprintf("%d-%d", next/3, next%3)
		}
		p.sameStream(args...)
		if i%50 == 0 {
			for _, key := range []string{"s", "t"} {
				p.sameStream("XINFO", "STREAM", key, "FULL", "COUNT", "0")
			}
		}
		if t.Failed() {
			t.Fatalf("step %d", i)
		}
	}
}

// sameStream is same for commands on streams. Redis 7.0 makes the consumers that 7.2 makes at once only when they get
// something, so they are made before.
func (p *pair) sameStream(args ...string) {
	p.tb.Helper()
	switch args[0] {
	case "XREADGROUP":
		keys := args[slices.Index(args, "STREAMS")+1:]
		for _, key := range keys[:len(keys)/2] {
			p.same("XGROUP", "CREATECONSUMER", key, args[2], args[3])
		}
	case "XCLAIM", "XAUTOCLAIM":
		p.same("XGROUP", "CREATECONSUMER", args[1], args[2], args[3])
	}
	want, got := p.real.do(args...), p.gate.do(args...)
	if a, b := timeless(p.tb, got), timeless(p.tb, want); a != b {
		p.tb.Errorf("%q:\n got %s\nwant %s", args, a, b)
	}
}

// timeless spells a reply without times, and without what Redis tells of its own memory: numbers beside an ID that are
// no count of deliveries, and some fields of XINFO.
func timeless(tb testing.TB, reply string) string {
	tb.Helper()
	v, err := resp.NewReplyReader(strings.NewReader(reply)).ReadValue()
	if err != nil {
		tb.Fatalf("%v in %q", err, reply)
	}
	return spell(v)
}

func spell(v resp.Value) string {
	if v.Elems == nil {
		return v.String()
	}
	var parts []string
	pending := len(v.Elems) == 4 && v.Elems[3].Kind == resp.KindInt || len(v.Elems) == 3 && v.Elems[2].Kind == resp.KindInt
	for i := 0; i < len(v.Elems); i++ {
		e := v.Elems[i]
		switch {
		case strings.HasPrefix(string(e.Str), "radix-tree-"), string(e.Str) == "seen-time", string(e.Str) == "active-time":
			i++
		case pending && i == len(v.Elems)-2 && e.Kind == resp.KindInt:
			parts = append(parts, "time")
		default:
			parts = append(parts, spell(e))
		}
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// TestStreamReplicaEqualsPrimary: a replica that applies the log has the streams, groups and pending entries of the
// primary, times of delivery included, also if it crashes and goes on where its engine was durable.
func TestStreamReplicaEqualsPrimary(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 9))
		primary, replica := newGate(t), newGate(t)
		replica.now = 1 // a replica's clock does not matter
		var frames []frame
		next := 0
		for i := range 4000 {
			args := randomStreamCommand(rng)
			if args[0] == "XADD" && args[2] == "*" {
				next++
				args[2] = fmt.Sprintf("%d-%d", next/9, next%9)
			}
			primary.now += rng.Int64N(3)
			primary.do(args...)
			for _, f := range primary.log {
				replica.apply(f)
			}
			frames = append(frames, primary.log...)
			primary.log = nil
			if i%500 == 499 {
				replica.crash()
				for _, f := range frames {
					if f.end > replica.offset {
						replica.apply(f)
					}
				}
			}
			if i%100 == 0 || i == 3999 {
				samePendings(t, primary, replica)
			}
		}
	}
}

// crash loses what the engine has not made durable.
func (g *gate) crash() {
	g.tb.Helper()
	g.tx.Done()
	if err := g.engine.CloseUnflushed(); err != nil {
		g.tb.Fatal(err)
	}
	g.open()
}

func samePendings(t *testing.T, primary, replica *gate) {
	t.Helper()
	if a, b := primary.digest(), replica.digest(); a != b {
		t.Fatalf("digests differ: %s, %s", a, b)
	}
	for _, key := range []string{"s", "t"} {
		a, b := primary.do("XINFO", "STREAM", key, "FULL", "COUNT", "0"), replica.do("XINFO", "STREAM", key, "FULL", "COUNT", "0")
		if a, b := unseen(t, a), unseen(t, b); a != b {
			t.Fatalf("%s\nis on the replica\n%s", a, b)
		}
	}
}

// unseen spells a reply without what only one node knows: when consumers asked for something.
func unseen(t *testing.T, reply string) string {
	t.Helper()
	lines := strings.Split(reply, "\r\n")
	for i, l := range lines {
		if (l == "seen-time" || l == "active-time") && i+1 < len(lines) {
			lines[i+1] = ""
		}
	}
	return strings.Join(lines, " ")
}

// TestStreamDumpsAgainstRedis exchanges random streams with redis-server, in both directions: with deleted entries and
// fields that change, groups, and pending entries of several consumers.
func TestStreamDumpsAgainstRedis(t *testing.T) {
	p := newPair(t)
	rng := rand.New(rand.NewPCG(5, 5))
	full := func(key string) []string { return []string{"XINFO", "STREAM", key, "FULL", "COUNT", "0"} }
	for round := range 30 {
		p.clear()
		for i := range rng.IntN(400) {
			args := []string{"XADD", "s", fmt.Sprintf("%d-%d", i/7+rng.IntN(2)*1000*round, rng.Uint64N(1<<rng.IntN(60))+1)}
			for f := range rng.IntN(3) + 1 {
				value := strings.Repeat("x", rng.IntN(40))
				if rng.IntN(100) == 0 {
					value = strings.Repeat("y", 16_000+rng.IntN(1000))
				}
				args = append(args, fmt.Sprint("f", f+rng.IntN(20)/19), pickOne(rng, value, fmt.Sprint(rng.Int64N(1<<rng.IntN(62)))))
			}
			p.sameStream(args...)
		}
		p.sameStream("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM")
		p.sameStream("XGROUP", "CREATE", "s", "h", "$", "ENTRIESREAD", "7")
		for range rng.IntN(40) {
			args := randomStreamCommand(rng)
			if args[0] != "XADD" {
				p.sameStream(args...)
			}
		}
		p.sameStream(full("s")...)
		if flat(p.gate.do("EXISTS", "s")) == ":0" {
			continue
		}
		theirs, ours := bulk(t, p.real.do("DUMP", "s")), bulk(t, p.gate.do("DUMP", "s"))
		p.gate.want("+OK", "RESTORE", "from redis", "0", theirs, "REPLACE")
		if got := p.real.do("RESTORE", "from haypile", "0", ours, "REPLACE"); got != "+OK\r\n" {
			t.Fatalf("round %d: redis answers %q to RESTORE of our DUMP", round, got)
		}
		want := timeless(t, p.real.do(full("s")...))
		if got := timeless(t, p.real.do(full("from haypile")...)); got != want {
			t.Fatalf("round %d: redis restored\n%s, want\n%s", round, got, want)
		}
		if got := timeless(t, p.gate.do(full("from redis")...)); got != want {
			t.Fatalf("round %d: restored\n%s, want\n%s", round, got, want)
		}
		p.sameStream("XADD", "s", "999999999-1", "more", "x")
		if t.Failed() {
			t.FailNow()
		}
	}
}

func pickOne(rng *rand.Rand, words ...string) string { return words[rng.IntN(len(words))] }

// TestStreamsAreHot: adding to a stream asks the engine for nothing, so that an event loop can run it, as long as
// nothing is to be trimmed.
func TestStreamsAreHot(t *testing.T) {
	g := newGate(t)
	for i := range 150 {
		g.do("XADD", "s", fmt.Sprint(i+1), "f", "v")
	}
	g.tx.HotOnly(true)
	g.want("$5 151-0", "XADD", "s", "151", "f", "v")
	g.want("$5 152-0", "XADD", "s", "MAXLEN", "~", "100", "152", "f", "v")
	g.want("$5 153-0", "XADD", "s", "MINID", "1", "153", "f", "v")
	g.want(":0", "XTRIM", "s", "MAXLEN", "153")
	g.want(":153", "XLEN", "s")
	g.want("*-1", "XREAD", "STREAMS", "s", "$")
	g.want("+OK", "XGROUP", "CREATE", "s", "g", "$")
	g.want("*-1", "XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
	g.want(":0", "XACK", "s", "g", "1-0", "2-0")
	g.want(":1", "DEL", "s")
}
