package commands_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"haypile/internal/option"
)

// hllCommand makes a HyperLogLog command; some of the strings that it works on are broken.
func hllCommand(rng *rand.Rand) []string {
	key := func() string { return fmt.Sprintf("k%d", rng.IntN(8)) }
	elements := func() []string {
		args := []string{"PFADD", key()}
		// Few elements leave the sketch sparse, many fill it.
		n := rng.IntN(4)
		if rng.IntN(12) == 0 {
			n = rng.IntN(600)
		}
		for range n {
			args = append(args, fmt.Sprintf("%.*d", 1+rng.IntN(20), rng.IntN(1<<(4+rng.IntN(16)))))
		}
		return args
	}
	header := "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80"
	options := [][]string{
		elements(), elements(), elements(), elements(), elements(), {"PFCOUNT", key()}, {"PFCOUNT", key()},
		{"PFCOUNT", key(), key()}, {"PFCOUNT", key(), key(), key()}, {"PFMERGE", key()}, {"PFMERGE", key(), key()},
		{"PFMERGE", key(), key(), key()}, {"PFDEBUG", "ENCODING", key()}, {"PFDEBUG", "DECODE", key()}, {"GET", key()},
		{"GET", key()}, {"STRLEN", key()},
	}
	if rng.IntN(25) == 0 {
		options = [][]string{
			{"DEL", key()}, {"DEL", key()}, {"PFDEBUG", "TODENSE", key()},
			{"PFDEBUG", "GETREG", key()}, {"SET", key(), header + "\x7f\xff"},
			{"SET", key(), header + "\x5f\xff\x84\x5f\xfe"}, {"SET", key(), header[:15]}, {"SET", key(), "x"},
			{"SET", key(), strings.Replace(header, "\x01", "\x02", 1)}, {"EXPIRE", key(), "1000"}, {"HSET", "h", "f", "v"},
			{"SET", key(), strings.Replace(header, "\x80", "\x07", 1) + "\x7f\xff"},
			// Runs that could be joined: what a change leaves of them is part of the representation.
			{"SET", key(), header + strings.Repeat("\x84", 60) + "\x7f\xc3"},
		}
	}
	return options[rng.IntN(len(options))]
}

// TestRandomSketchesAgainstRedis compares what GET and PFDEBUG show of HyperLogLogs, byte by byte, and what a
// replica makes of the log, with several limits for the sparse form.
func TestRandomSketchesAgainstRedis(t *testing.T) {
	for seed, limit := range []string{"3000", "200", "0", "20000"} {
		p := newPair(t)
		p.real.do("CONFIG", "SET", "hll-sparse-max-bytes", limit)
		if err := p.gate.config.Assign(option.HLLSparseMaxBytes, limit); err != nil {
			t.Fatal(err)
		}
		replica := newGate(t) // with the default limit
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		for i := range 1000 {
			args := hllCommand(rng)
			p.same(args...)
			if len(args) > 1 && args[0] != "PFDEBUG" {
				p.same("GET", args[1])
			}
			if t.Failed() {
				t.Fatalf("command %d with a limit of %s", i, limit)
			}
			for _, f := range p.gate.log {
				replica.apply(f)
			}
			p.gate.log = nil
			if i%200 == 199 {
				p.sameDigest()
				if replica.digest() != p.gate.digest() {
					t.Fatalf("limit %s: the replica has other data", limit)
				}
			}
		}
	}
}

// What enters the log: additions as they were sent, but for the one that outgrows the sparse form; a count that is
// cached; nothing for a count that was.
func TestSketchEffects(t *testing.T) {
	g := newGate(t)
	g.do("PFADD", "k", "a")
	g.do("PFADD", "k", "a")
	g.do("PFCOUNT", "k")
	g.do("PFCOUNT", "k")
	g.do("PFCOUNT", "k", "k")
	g.do("PFMERGE", "d", "k")
	want := []string{"PFADD k a", "PFCOUNT k", "PFMERGE d k"}
	if got := g.effects(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("logged %q, want %q", got, want)
	}
	if err := g.config.Assign(option.HLLSparseMaxBytes, "20"); err != nil {
		t.Fatal(err)
	}
	g.do("PFADD", "k", "b", "c", "d")
	if got := g.effects(); len(got) != 1 || !strings.HasPrefix(got[0], "SET k HYLL\x00") ||
		!strings.HasSuffix(got[0], " KEEPTTL") {
		t.Errorf("logged %.40q", got)
	}
}
