package commands_test

import (
	"bufio"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"haypile/internal/encoding"
	"haypile/internal/resp"
)

// page decodes a reply of SCAN.
func page(t testing.TB, reply string) (cursor string, elements []string) {
	t.Helper()
	v, err := resp.NewReplyReader(bufio.NewReader(strings.NewReader(reply))).ReadValue()
	if err != nil || len(v.Elems) != 2 {
		t.Fatalf("%q: %v", reply, err)
	}
	for _, e := range v.Elems[1].Elems {
		elements = append(elements, string(e.Str))
	}
	return string(v.Elems[0].Str), elements
}

// walk collects the whole of a SCAN; between is called after each page.
func walk(t testing.TB, g *gate, between func(), command func(cursor string) []string) (all []string,
	pages int) {
	t.Helper()
	cursor := "0"
	for {
		next, elements := page(t, g.do(command(cursor)...))
		all = append(all, elements...)
		pages++
		if next == "0" {
			return all, pages
		}
		if next == cursor || pages > 100_000 {
			t.Fatalf("cursor %s does not move", cursor)
		}
		cursor = next
		between()
	}
}

func TestScanMeetsAllOnce(t *testing.T) {
	g := newGate(t)
	want := map[string]bool{}
	for i := range 1500 {
		key := fmt.Sprintf("key:%d", i)
		switch i % 3 {
		case 0:
			g.do("SET", key, "v")
		case 1:
			g.do("HSET", key, "f", "v", "g", "w")
		case 2:
			g.do("SET", key, "v", "PX", "10")
		}
		if i%3 != 2 {
			want[key] = true
		}
	}
	// Elements between the keys of a slot must not disturb.
	many := []string{"HSET", "big"}
	for i := range 3000 {
		many = append(many, fmt.Sprint(i), "v")
	}
	g.do(many...)
	want["big"] = true
	g.now += 10 // a third is past its deadline and hidden
	for _, count := range []string{"1", "7", "100", "5000"} {
		got, pages := walk(t, g, func() {}, func(c string) []string { return []string{"SCAN", c, "COUNT", count} })
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Errorf("COUNT %s: %d keys of %d", count, len(got), len(want))
		}
		if count == "7" && (pages < len(want)/7 || pages > len(want)/7+2) {
			t.Errorf("%d pages of 7", pages)
		}
	}
	hashes, _ := walk(t, g, func() {}, func(c string) []string {
		return []string{"SCAN", c, "TYPE", "hash",
			"MATCH", "*key*1*", "COUNT", "50"}
	})
	n := 0
	for key := range want {
		if strings.HasPrefix(key, "key") && strings.Contains(key[4:], "1") && g.do("TYPE", key) == "+hash\r\n" {
			n++
		}
	}
	if len(hashes) != n || n == 0 {
		t.Errorf("%d hashes with a 1, want %d", len(hashes), n)
	}
}

// What is there from the beginning of a walk to its end is met exactly once, whatever else comes and goes.
func TestScanWhileKeysChange(t *testing.T) {
	g := newGate(t)
	rng := rand.New(rand.NewPCG(1, 1))
	fields := []string{"HSET", "hash"}
	for i := range 700 {
		g.do("SET", fmt.Sprint("stay", i), "v")
		fields = append(fields, fmt.Sprint("stay", i), "v")
	}
	g.do(fields...)
	churn := func() {
		for range 20 {
			name := fmt.Sprint("churn", rng.IntN(500))
			if rng.IntN(2) == 0 {
				g.do("SET", name, "v")
				g.do("HSET", "hash", name, "v")
			} else {
				g.do("DEL", name)
				g.do("HDEL", "hash", name)
			}
		}
	}
	churn()
	check := func(what string, got []string) {
		t.Helper()
		seen := map[string]int{}
		for _, name := range got {
			if strings.HasPrefix(name, "stay") {
				seen[name]++
			}
		}
		for i := range 700 {
			if n := seen[fmt.Sprint("stay", i)]; n != 1 {
				t.Fatalf("%s met stay%d %d times", what, i, n)
			}
		}
	}
	got, _ := walk(t, g, churn, func(c string) []string { return []string{"SCAN", c} })
	check("SCAN", got)
	got, pages := walk(t, g, churn, func(c string) []string {
		return []string{"HSCAN", "hash", c, "COUNT",
			"10"}
	})
	var names []string
	for i := 0; i < len(got); i += 2 {
		names = append(names, got[i])
	}
	check("HSCAN", names)
	if pages < 70 {
		t.Errorf("HSCAN took %d pages", pages)
	}
}

// collisions are pairs of names in one slot whose 48-bit hashes are equal, found by trying 70 million.
var collisions = [][2]int{
	{14862970, 40365348}, {51372762, 50926752}, {60110229, 43542195}, {64983373, 23316143},
	{67459770, 11545659}, {47223458, 62198680}, {17162640, 53928620}, {55784903, 25692928},
}

// A page never ends between names of equal hashes, which the cursor could not tell apart.
func TestScanOfEqualHashes(t *testing.T) {
	g := newGate(t)
	fields := []string{"HSET", "hash"}
	for _, pair := range collisions {
		for _, n := range pair {
			name := fmt.Sprintf("{a}%d", n)
			if encoding.Hash48([]byte(name)) != encoding.Hash48(fmt.Appendf(nil, "{a}%d", pair[0])) {
				t.Fatal("no collision")
			}
			g.do("SET", name, "v")
			fields = append(fields, name, "v")
		}
	}
	got, pages := walk(t, g, func() {}, func(c string) []string { return []string{"SCAN", c, "COUNT", "1"} })
	if slices.Sort(got); len(slices.Compact(got)) != 16 || pages != 8 {
		t.Errorf("SCAN met %q in %d pages", got, pages)
	}
	for i := range 600 {
		fields = append(fields, fmt.Sprint("other", i), "v")
	}
	g.do(fields...)
	got, _ = walk(t, g, func() {}, func(c string) []string {
		return []string{"HSCAN", "hash", c, "COUNT", "1", "MATCH", "{a}*"}
	})
	if slices.Sort(got); len(got) != 32 || len(slices.Compact(got)) != 17 { // 16 names and "v"
		t.Errorf("HSCAN met %q", got)
	}
}

func TestSmallHashIsScannedWhole(t *testing.T) {
	g := newGate(t)
	line := []string{"HSET", "h"}
	for i := range 512 {
		line = append(line, fmt.Sprint(i), "v")
	}
	g.do(line...)
	if cursor, elements := page(t, g.do("HSCAN", "h", "0")); cursor != "0" || len(elements) != 1024 {
		t.Errorf("cursor %s, %d elements", cursor, len(elements))
	}
	g.do("HSET", "h", "one more", "v")
	if cursor, elements := page(t, g.do("HSCAN", "h", "0")); cursor == "0" || len(elements) != 20 {
		t.Errorf("cursor %s, %d elements", cursor, len(elements))
	}
	// Not if it is large in bytes: the page stops behind COUNT.
	big := strings.Repeat("x", 200_000)
	for i := range 20 {
		g.do("HSET", "wide", fmt.Sprint(i), big)
	}
	if cursor, elements := page(t, g.do("HSCAN", "wide", "0", "COUNT", "2")); cursor == "0" ||
		len(elements) != 12 {
		t.Errorf("cursor %s, %d elements", cursor, len(elements))
	}
	g.want("-ERR invalid cursor", "HSCAN", "h", "281474976710656")
	g.want("-ERR invalid cursor", "SCAN", "4611686018427387904")
	g.want("-ERR invalid cursor", "SCAN", "-1")
}

func TestRandomFields(t *testing.T) {
	g := newGate(t)
	for _, n := range []int{1, 40, 64, 65, 1000} {
		g.do("DEL", "h")
		line := []string{"HSET", "h"}
		for i := range n {
			line = append(line, fmt.Sprint("f", i), fmt.Sprint("v", i))
		}
		g.do(line...)
		for _, count := range []int{1, 2, n / 20, n / 2, n - 1, n, n + 5} {
			reply, err := resp.NewReplyReader(strings.NewReader(g.do("HRANDFIELD", "h", fmt.Sprint(count),
				"WITHVALUES"))).ReadValue()
			if err != nil || len(reply.Elems) != 2*min(count, n) {
				t.Fatalf("%d of %d fields: got %d, %v", count, n, len(reply.Elems), err)
			}
			seen := map[string]bool{}
			for i := 0; i < len(reply.Elems); i += 2 {
				f, v := string(reply.Elems[i].Str), string(reply.Elems[i+1].Str)
				if seen[f] || f[1:] != v[1:] {
					t.Fatalf("%d of %d fields: %s %s", count, n, f, v)
				}
				seen[f] = true
			}
		}
		// Every field has the same chance: each is drawn 100 times on average.
		draws := map[string]int{}
		reply, _ := resp.NewReplyReader(strings.NewReader(g.do("HRANDFIELD", "h", fmt.Sprint(-100*n)))).ReadValue()
		for _, e := range reply.Elems {
			draws[string(e.Str)]++
		}
		for f, k := range draws {
			if k < 40 || k > 180 {
				t.Errorf("%d fields: %s was drawn %d times of 100", n, f, k)
			}
		}
		if len(reply.Elems) != 100*n || len(draws) != n {
			t.Errorf("%d fields: %d draws of %d fields", n, len(reply.Elems), len(draws))
		}
	}
	g.want("-ERR value is out of range", "HRANDFIELD", "h", "-1048577")
}
