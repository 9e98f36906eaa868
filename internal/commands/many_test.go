package commands_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestManyAgainstRedis compares commands that make or remove more rows than a transaction of this test holds.
func TestManyAgainstRedis(t *testing.T) {
	p := newPair(t)
	rng := rand.New(rand.NewPCG(5, 23))
	pick := func(name string, n int) string { return name + strconv.Itoa(rng.IntN(n)) }
	several := func(n int, words func() []string, args ...string) {
		for range n {
			args = append(args, words()...)
		}
		p.same(args...)
	}
	number := func(n int) string { return strconv.Itoa(rng.IntN(n)) }
	z, s, l, x := func() string { return pick("z", 3) }, func() string { return pick("s", 3) },
		func() string { return pick("l", 2) }, func() string { return pick("x", 2) }
	id := 0
	for range 800 {
		key := ""
		switch rng.IntN(26) {
		case 0, 1, 2, 3:
			key = z()
			several(200, func() []string { return []string{number(900), pick("m", 1500)} }, "ZADD", key)
		case 4:
			key = z()
			from := rng.IntN(600)
			p.same("ZREMRANGEBYRANK", key, strconv.Itoa(from), strconv.Itoa(from+rng.IntN(300)))
		case 5:
			key = z()
			from := rng.IntN(900)
			p.same("ZREMRANGEBYSCORE", key, "("+strconv.Itoa(from), strconv.Itoa(from+rng.IntN(200)))
		case 6:
			key = z()
			p.same("ZREMRANGEBYRANK", key, "-"+number(100), "-1")
		case 7:
			key = z()
			p.same("ZUNIONSTORE", key, "3", z(), z(), s(), "AGGREGATE", "MIN")
		case 8:
			key = z()
			p.same("ZINTERSTORE", key, "2", z(), z())
		case 9:
			key = z()
			p.same("ZRANGESTORE", key, z(), number(300), number(600))
		case 10:
			key = z()
			p.same("COPY", z(), key, "REPLACE")
		case 11, 12:
			several(60, func() []string { return []string{pick("m", 1500)} }, "SADD", s())
		case 13:
			p.same("SUNIONSTORE", s(), s(), s())
		case 14:
			p.same("SDIFFSTORE", s(), s(), s())
		case 15, 16:
			several(100, func() []string { return []string{pick("v", 50)} }, "RPUSH", l())
		case 17:
			p.same("LTRIM", l(), number(60), "-1")
		case 18:
			p.same("LTRIM", l(), "0", "-"+number(60))
		case 19:
			p.same("LPOP", l(), number(60))
		case 20, 21:
			key := x()
			for range 50 {
				id += 1 + rng.IntN(3)
				p.same("XADD", key, strconv.Itoa(id), "f", number(9))
			}
			p.same("XGROUP", "CREATE", key, pick("g", 2), "0")
			p.same("XREADGROUP", "GROUP", pick("g", 2), pick("c", 3), "COUNT", number(90), "STREAMS", key, ">")
		case 22:
			key := x()
			p.same("XGROUP", "DELCONSUMER", key, pick("g", 2), pick("c", 3))
			p.same("XPENDING", key, pick("g", 2))
		case 23:
			p.same("XGROUP", "DESTROY", x(), pick("g", 2))
		case 24:
			p.same("XTRIM", x(), "MAXLEN", number(300))
		case 25:
			p.same("XTRIM", x(), "MINID", strconv.Itoa(max(0, id-rng.IntN(900))))
		}
		if key != "" {
			p.line("ZCARD " + key)
			p.line("ZRANGE " + key + " 0 -1 WITHSCORES")
			for range 3 {
				p.line(fmt.Sprintf("ZRANK %s m%d", key, rng.IntN(1500)))
				p.line(fmt.Sprintf("ZRANGE %s %d %[2]d", key, rng.IntN(900)))
				p.line(fmt.Sprintf("ZCOUNT %s %d +inf", key, rng.IntN(900)))
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	for i := range 2 {
		p.line(fmt.Sprintf("LRANGE l%d 0 -1", i))
		p.line(fmt.Sprintf("XRANGE x%d - +", i))
		for j := range 2 {
			for k := range 3 {
				p.line(fmt.Sprintf("XREADGROUP GROUP g%d c%d COUNT 10000 STREAMS x%d 0", j, k, i))
			}
		}
	}
	p.same("SORT", "s0", "ALPHA")
}
