package commands_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"haypile/internal/resp"
)

// rangeReply is a page as the commands of Pika answer it.
func rangeReply(t *testing.T, reply string) (next string, page []string) {
	t.Helper()
	v, err := resp.NewReplyReader(strings.NewReader(reply)).ReadValue()
	if err != nil || len(v.Elems) != 2 {
		t.Fatalf("%q: %v", reply, err)
	}
	for _, e := range v.Elems[1].Elems {
		page = append(page, string(e.Str))
	}
	return string(v.Elems[0].Str), page
}

// TestNameRanges compares pages of keys and of fields with a sorted list, in both directions, with limits and
// patterns; and walks that go on where a page ended.
func TestNameRanges(t *testing.T) {
	g := newGate(t)
	rng := rand.New(rand.NewPCG(8, 1))
	var names []string
	for len(names) < 300 {
		name := fmt.Sprintf("%c%d", 'a'+rng.IntN(5), rng.IntN(2000))
		if slices.Contains(names, name) {
			continue
		}
		names = append(names, name)
		g.do("SET", name, "v"+name)
		g.do("HSET", "fields", name, "v"+name)
		g.do("SADD", "set"+name, "m")
	}
	slices.Sort(names)
	for i := range 400 {
		start, end := names[rng.IntN(len(names))], names[rng.IntN(len(names))]
		if rng.IntN(4) == 0 {
			start = ""
		}
		if rng.IntN(4) == 0 {
			end = ""
		}
		down, limit, pattern := i%2 == 1, 1+rng.IntN(40), []string{"*", "a*", "*1*"}[rng.IntN(3)]
		keys, fields, before := "PKSCANRANGE", "PKHSCANRANGE", func(a, b string) bool { return a <= b }
		order := slices.Clone(names)
		if down {
			keys, fields, before = "PKRSCANRANGE", "PKHRSCANRANGE", func(a, b string) bool { return a >= b }
			slices.Reverse(order)
		}
		options := []string{"MATCH", pattern, "LIMIT", fmt.Sprint(limit)}
		if start != "" && end != "" && !before(start, end) {
			g.want("-ERR Invalid argument: error in given range", keys, "string", start, end)
			g.want("-ERR Invalid argument: error in given range", fields, "fields", start, end)
			continue
		}
		var inside, want []string
		for _, n := range order {
			if (start == "" || before(start, n)) && (end == "" || before(n, end)) {
				inside = append(inside, n)
			}
		}
		next := ""
		if len(inside) > limit {
			next, inside = inside[limit], inside[:limit]
		}
		for _, n := range inside {
			if pattern == "*" || pattern == "a*" && n[0] == 'a' || pattern == "*1*" && strings.Contains(n, "1") {
				want = append(want, n, "v"+n)
			}
		}
		for _, args := range [][]string{{keys, "string_with_value", start, end}, {fields, "fields", start, end}} {
			if gotNext, got := rangeReply(t, g.do(append(args, options...)...)); gotNext != next || !slices.Equal(got, want) {
				t.Fatalf("%v %v: %q %q, want %q %q", args, options, gotNext, got, next, want)
			}
		}
	}
	for _, walk := range [][]string{{"SCANX", "string"}, {"HSCANX", "fields"}} {
		var all []string
		for at, first := "", true; first || at != ""; first = false {
			next, page := rangeReply(t, g.do(append(walk, at, "COUNT", "7")...))
			for i, n := range page {
				if walk[0] == "SCANX" || i%2 == 0 {
					all = append(all, n)
				}
			}
			at = next
		}
		if !slices.Equal(all, names) {
			t.Errorf("%v walks over %d names of %d", walk, len(all), len(names))
		}
	}
}

// A page that would take much memory ends earlier, and nothing is lost between two pages.
func TestNameRangeIsBounded(t *testing.T) {
	g := newGate(t)
	value := strings.Repeat("x", 3<<20)
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprintf("k%02d", i))
		g.do("SET", names[i], value)
	}
	var all []string
	pages := 0
	for at, first := "", true; first || at != ""; first = false {
		next, page := rangeReply(t, g.do("PKSCANRANGE", "string_with_value", at, "", "LIMIT", "100"))
		for i := 0; i < len(page); i += 2 {
			all = append(all, page[i])
		}
		at = next
		pages++
	}
	if !slices.Equal(all, names) || pages < 3 {
		t.Errorf("%d pages with %q", pages, all)
	}
}

func TestPatternMatchDel(t *testing.T) {
	g := newGate(t)
	for i := range 30 {
		g.do("SET", fmt.Sprintf("s%d", i), "v")
		g.do("HSET", fmt.Sprintf("h%d", i), "f", "v")
	}
	g.effects()
	g.want(":0", "PKPATTERNMATCHDEL", "x*")
	g.want(":1", "PKPATTERNMATCHDEL", "s7")
	if got := g.effects(); !slices.Equal(got, []string{"DEL s7"}) {
		t.Errorf("logged %q", got)
	}
	g.want(":5", "PKPATTERNMATCHDEL", "*", "5")
	g.want(":0", "PKPATTERNMATCHDEL", "*", "zset")
	for g.do("PKPATTERNMATCHDEL", "*", "hash") != ":0\r\n" {
	}
	if n, _ := g.store.Counts(0); n == 0 || n > 29 {
		t.Errorf("%d keys are left", n)
	}
	g.do("PKPATTERNMATCHDEL", "s*")
	if n, _ := g.store.Counts(0); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}
