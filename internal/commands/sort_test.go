package commands_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestSortAgainstRedis compares random calls on lists and sorted sets, and on sets where the order is decided.
func TestSortAgainstRedis(t *testing.T) {
	p := newPair(t)
	rng := rand.New(rand.NewPCG(21, 1))
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	element := func() string { return fmt.Sprint(rng.IntN(60) - 10) }
	for i := range 60 {
		e := fmt.Sprint(i - 10)
		p.same("RPUSH", "l", element(), element())
		p.same("SADD", "s", element())
		p.same("ZADD", "z", element(), element())
		// Each weight is of one element only: among equals the order depends on Redis' sorting.
		p.same("SET", "w_"+e, fmt.Sprintf("%d.%d", rng.IntN(100), i))
		p.same("HSET", "h_"+e, "f", fmt.Sprint(i*7%60), "g", "")
		if i%3 == 0 {
			p.same("SET", "n_"+e, "name"+e)
		}
	}
	for i := range 6000 {
		if i%1000 == 0 {
			p.proto(2 + i/1000%2)
		}
		key := pick("l", "z", "s", "none")
		args := []string{pick("SORT", "SORT", "SORT_RO"), key}
		switch rng.IntN(5) {
		case 0:
			args = append(args, "BY", "w_*")
		case 1:
			args = append(args, "BY", "h_*->f")
		case 2:
			args = append(args, "ALPHA")
		case 3:
			if key != "s" {
				args = append(args, "BY", "nosort")
			}
		}
		for range rng.IntN(3) {
			args = append(args, "GET", pick("#", "n_*", "h_*->f", "h_*->g", "h_*->none", "h_*", "constant", "w_*->f"))
		}
		if rng.IntN(2) == 0 {
			args = append(args, "LIMIT", fmt.Sprint(rng.IntN(80)-4), fmt.Sprint(rng.IntN(40)-4))
		}
		if rng.IntN(2) == 0 {
			args = append(args, pick("ASC", "DESC"))
		}
		if args[0] == "SORT" && rng.IntN(4) == 0 {
			p.same(append(args, "STORE", "to")...)
			p.same("LRANGE", "to", "0", "-1")
			continue
		}
		p.same(args...)
		if t.Failed() {
			t.FailNow()
		}
	}
}
