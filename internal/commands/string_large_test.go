package commands_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"haypile/internal/commands"
	"haypile/internal/keyspace"
)

// largeCommand makes a command on strings about as long as those that are stored in pieces begin to be.
func largeCommand(rng *rand.Rand) []string {
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	key := func() string { return fmt.Sprintf("k%d", rng.IntN(5)) }
	place := func() int {
		near := []int{0, 4 << 10, 12 << 10, 32 << 10, 36 << 10, 100 << 10, 300 << 10}
		return max(0, near[rng.IntN(len(near))]+rng.IntN(13)-6)
	}
	at := func() string { return fmt.Sprint(place()) }
	bits := func() string { return fmt.Sprint(place()*8 + rng.IntN(20)) }
	signed := func() string { return fmt.Sprint(place() * (1 - 2*rng.IntN(2))) }
	value := func() string {
		switch rng.IntN(4) {
		case 0:
			return strings.Repeat(pick("\x00", "\xff", "ab"), place()/2)
		case 1:
			return strings.Repeat("\x00", rng.IntN(100))
		}
		return strings.Repeat(pick("x", "\x01", "\x80"), rng.IntN(40))
	}
	field := func() []string {
		return []string{pick("u8", "i5", "u63", "i64", "u1", "i33"), bits()}
	}
	number := func() string { return fmt.Sprint(int64(rng.Uint64()) >> rng.IntN(64)) }
	switch rng.IntN(44) {
	case 0, 1, 2:
		return []string{"SET", key(), value()}
	case 3, 4, 5, 6:
		return []string{"SETRANGE", key(), at(), value()}
	case 7, 8, 9:
		return []string{"APPEND", key(), value()}
	case 10, 11, 12:
		return []string{"SETBIT", key(), bits(), pick("0", "1")}
	case 13, 14:
		return []string{"GETBIT", key(), bits()}
	case 15, 16, 17:
		return []string{"GETRANGE", key(), signed(), signed()}
	case 18:
		return []string{"STRLEN", key()}
	case 19, 20:
		return append(append([]string{"BITFIELD", key(), "SET"}, field()...), number(), "INCRBY", "u7", bits(), number())
	case 21:
		return append([]string{"BITFIELD_RO", key(), "GET"}, field()...)
	case 22, 23:
		return []string{"BITCOUNT", key(), signed(), signed(), pick("BIT", "BYTE")}
	case 24, 25:
		return []string{"BITPOS", key(), pick("0", "1"), signed(), signed(), pick("BIT", "BYTE")}
	case 26:
		return []string{"BITPOS", key(), pick("0", "1")}
	case 27, 28, 29:
		return []string{"BITOP", pick("AND", "OR", "XOR"), key(), key(), key(), key()}
	case 30:
		return []string{"BITOP", "NOT", key(), key()}
	case 31:
		return []string{"COPY", key(), key(), "REPLACE"}
	case 32:
		return []string{"RENAME", key(), key()}
	case 33:
		return []string{"GETSET", key(), value()}
	case 34:
		return []string{"GETDEL", key()}
	case 35:
		return []string{"MGET", key(), key()}
	case 36:
		return []string{"SET", key(), value(), "KEEPTTL", "GET"}
	case 37:
		return []string{"EXPIRE", key(), "1000"}
	case 38:
		return []string{"PERSIST", key()}
	case 39:
		return []string{"INCR", key()}
	case 40:
		return []string{"GET", key()}
	case 41:
		return []string{"MSET", key(), value(), key(), value()}
	case 42:
		return []string{"LCS", key(), key(), "LEN"}
	default:
		return []string{"DEL", key()}
	}
}

// TestLargeStringsAgainstRedis compares random commands on long strings, and what a replica makes of the log.
func TestLargeStringsAgainstRedis(t *testing.T) {
	p := newPair(t)
	replica := newGate(t)
	rng := rand.New(rand.NewPCG(8, 3))
	for i := range 3000 {
		p.same(largeCommand(rng)...)
		if t.Failed() {
			t.FailNow()
		}
		for _, f := range p.gate.log {
			replica.apply(f)
		}
		p.gate.log = nil
		if i%300 == 299 {
			p.sameDigest()
			if replica.digest() != p.gate.digest() {
				t.Fatal("the replica has other data")
			}
		}
	}
	// What is dumped can be restored.
	for _, key := range []string{"k0", "k1", "k2", "k3", "k4"} {
		dump := p.gate.do("DUMP", key)
		if strings.HasPrefix(dump, "$-1") {
			continue
		}
		payload := dump[strings.Index(dump, "\r\n")+2 : len(dump)-2]
		before := p.gate.do("GET", key)
		p.gate.want("+OK", "RESTORE", key, "0", payload, "REPLACE")
		if p.gate.do("GET", key) != before {
			t.Errorf("%s is not what was dumped", key)
		}
	}
}

// A command that changes nothing of a HyperLogLog writes nothing, and one that does logs itself.
func TestSketchInPlace(t *testing.T) {
	g := newGate(t)
	for i := range 3000 {
		g.do("PFADD", "k", fmt.Sprint(i))
	}
	g.want("+dense", "PFDEBUG", "ENCODING", "k")
	g.effects()
	for i := range 3000 {
		g.want(":0", "PFADD", "k", fmt.Sprint(i))
	}
	if got := g.effects(); len(got) != 0 {
		t.Errorf("logged %q", got)
	}
	before := g.do("PFCOUNT", "k")
	for i := 3000; i < 4000; i++ {
		g.do("PFADD", "k", fmt.Sprint(i))
	}
	if g.do("PFCOUNT", "k") == before {
		t.Error("the estimate of before is still there")
	}
}

func TestMemoryUsageOfLargeStrings(t *testing.T) {
	g := newGate(t)
	usage := func(key string) (n int) {
		if _, err := fmt.Sscanf(g.do("MEMORY", "USAGE", key), ":%d", &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	g.do("SET", "full", strings.Repeat("x", 1<<20))
	g.do("SETRANGE", "sparse", "1048575", "x")
	if n := usage("full"); n < 1<<20 || n > 1<<20+20_000 {
		t.Errorf("a megabyte takes %d bytes", n)
	}
	if n := usage("sparse"); n > 300_000 {
		t.Errorf("a byte behind a gap takes %d bytes", n)
	}
}

// BenchmarkLargeString changes and reads a string of 100 MB, a commit each.
func BenchmarkLargeString(b *testing.B) {
	g := newGate(b)
	const length = 100 << 20
	part := strings.Repeat("0123456789abcdef", 1<<16)
	for at := 0; at < length; at += len(part) {
		g.do("SETRANGE", "k", fmt.Sprint(at), part)
	}
	for i := range 5000 {
		g.do("PFADD", "sketch", fmt.Sprint(i))
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		name string
		args func() []string
	}{
		{"SETBIT", func() []string {
			return []string{"SETBIT", "k", fmt.Sprint(rng.IntN(length * 8)), fmt.Sprint(rng.IntN(2))}
		}},
		{"GETBIT", func() []string { return []string{"GETBIT", "k", fmt.Sprint(rng.IntN(length * 8))} }},
		{"SETRANGE", func() []string { return []string{"SETRANGE", "k", fmt.Sprint(rng.IntN(length)), "xyz"} }},
		{"GETRANGE", func() []string {
			at := rng.IntN(length - 1000)
			return []string{"GETRANGE", "k", fmt.Sprint(at), fmt.Sprint(at + 999)}
		}},
		{"APPEND", func() []string { return []string{"APPEND", "k", "x"} }},
		{"PFADD", func() []string { return []string{"PFADD", "sketch", fmt.Sprint(rng.Uint64())} }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.do(c.args()...)
				g.log = nil
			}
		})
	}
}

// BenchmarkInPlace runs many changes of one value in a transaction, without the commit.
func BenchmarkInPlace(b *testing.B) {
	for _, args := range [][]string{
		{"SETBIT", "bits", "7", "1"}, {"APPEND", "text", "x"}, {"PFADD", "sketch", "a"}, {"SETRANGE", "bits", "5000", "xyz"},
	} {
		b.Run(args[0], func(b *testing.B) {
			g := newGate(b)
			g.do("SETRANGE", "bits", "125000", "x")
			for i := range 5000 {
				g.do("PFADD", "sketch", fmt.Sprint(i))
			}
			raw := byteArgs(args)
			call := commands.Call{Args: raw, Cmd: g.find(raw), Tx: g.tx, Out: &g.out, Client: &g.client,
				Node: testNode{config: g.config}}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%800 == 0 {
					g.tx.Reset()
				}
				switch args[0] {
				case "SETBIT":
					raw[3] = []byte{byte('0' + i%2)}
				case "PFADD":
					raw[2] = fmt.Append(nil, i)
				}
				g.tx.Begin(keyspace.ModeWrite, 0, g.now)
				g.out.Buf = g.out.Buf[:0]
				if err := call.Cmd.Run(&call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
