package commands_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"haypile/internal/option"
)

// bitCommand makes a bit command; most of what it makes is valid.
func bitCommand(rng *rand.Rand) []string {
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	key := func() string { return fmt.Sprintf("k%d", rng.IntN(6)) }
	number := func() string { return fmt.Sprint(rng.IntN(60) - 25) }
	offset := func() string { return fmt.Sprint(rng.IntN(300)) }
	field := func() string {
		if n := rng.IntN(66); rng.IntN(2) == 0 {
			return fmt.Sprintf("i%d", n)
		} else {
			return fmt.Sprintf("u%d", n%65)
		}
	}
	large := func() string { return fmt.Sprint(int64(rng.Uint64()) >> rng.IntN(64)) }
	fields := func(name string, writes bool) []string {
		args := []string{name, key()}
		for range rng.IntN(4) {
			at := offset()
			if rng.IntN(3) == 0 {
				at = "#" + fmt.Sprint(rng.IntN(10))
			}
			switch kind := rng.IntN(4); {
			case kind == 0 || !writes:
				args = append(args, "GET", field(), at)
			case kind == 1:
				args = append(args, "OVERFLOW", pick("WRAP", "SAT", "FAIL", "sat"))
			default:
				args = append(args, pick("SET", "INCRBY"), field(), at, large())
			}
		}
		return args
	}
	options := [][]string{
		{"SETBIT", key(), offset(), pick("0", "1")}, {"SETBIT", key(), offset(), pick("0", "1")},
		{"GETBIT", key(), offset()}, {"BITCOUNT", key()}, {"BITCOUNT", key(), number(), number()},
		{"BITCOUNT", key(), number(), number(), "BIT"}, {"BITCOUNT", key(), offset(), offset(), "BIT"},
		{"BITPOS", key(), pick("0", "1")}, {"BITPOS", key(), pick("0", "1"), number()},
		{"BITPOS", key(), pick("0", "1"), number(), number()},
		{"BITPOS", key(), pick("0", "1"), number(), number(), pick("BIT", "BYTE")},
		{"BITPOS", key(), pick("0", "1"), offset(), offset(), "BIT"},
		{"BITOP", pick("AND", "OR", "XOR"), key(), key(), key()}, {"BITOP", "NOT", key(), key()},
		{"BITOP", pick("AND", "OR", "XOR"), key(), key(), key(), key(), key()},
		fields("BITFIELD", true), fields("BITFIELD", true), fields("BITFIELD", true), fields("BITFIELD_RO", false),
		{"DEL", key()}, {"APPEND", key(), pick("\xff\xff\xff\xff\xff\xff\xff\xff", "\x00", "abc")},
		{"SET", key(), pick("", "\xff\xff", "\x00\x00\x00\x00\x00\x00\x00\x00\x00", "12345")},
	}
	return options[rng.IntN(len(options))]
}

// TestRandomBitsAgainstRedis compares random bit commands on few keys, and what a replica makes of the log.
func TestRandomBitsAgainstRedis(t *testing.T) {
	p := newPair(t)
	replica := newGate(t)
	rng := rand.New(rand.NewPCG(5, 1))
	for i := range 6000 {
		p.same(bitCommand(rng)...)
		if t.Failed() {
			t.FailNow()
		}
		for _, f := range p.gate.log {
			replica.apply(f)
		}
		p.gate.log = nil
		if i%500 == 499 {
			p.sameDigest()
			if replica.digest() != p.gate.digest() {
				t.Fatal("the replica has other data")
			}
		}
	}
}

// A write that changes no bit changes and logs nothing.
func TestBitEffects(t *testing.T) {
	g := newGate(t)
	g.do("SETBIT", "k", "9", "1")
	g.do("SETBIT", "k", "9", "1")
	g.do("BITFIELD", "k", "SET", "u8", "0", "0", "GET", "u8", "0")
	g.do("BITFIELD", "k", "OVERFLOW", "FAIL", "INCRBY", "u1", "0", "5")
	g.do("BITOP", "AND", "none", "none", "missing")
	g.do("BITOP", "AND", "k", "missing")
	want := []string{"SETBIT k 9 1", "DEL k"}
	if got := g.effects(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// FuzzBitField: no arguments make BITFIELD panic, or make it touch what it should not.
func FuzzBitField(f *testing.F) {
	for _, s := range [][4]string{
		{"SET", "u8", "0", "255"}, {"INCRBY", "i64", "#1", "-9223372036854775808"}, {"GET", "u63", "7", "GET"},
		{"OVERFLOW", "SAT", "SET", "u8"},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	g := newGate(f)
	if err := g.config.Assign(option.ProtoMaxBulkLen, "1mb"); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		g.tb, g.log = t, nil
		g.do("SET", "k", "0123456789")
		g.do("BITFIELD_RO", "k", a, b, c)
		g.do("BITFIELD", "k", a, b, c, d)
		g.do("BITFIELD", "k", "OVERFLOW", "FAIL", a, b, c, d)
	})
}
