package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"haypile/internal/testcluster/wire"
)

// key is the collection.
const key = "large"

// op is one operation at fixed rate: its command for random choices.
type op struct {
	name string
	make func(r *rand.Rand, n int) []string
}

// kind is a type: how elements get in, what is done with single ones and with ranges, and how all are read.
type kind struct {
	name string
	// element appends what the i-th element adds to the command insert.
	insert  []string
	element func(args []string, i int) []string
	// perCommand is how many elements one command adds; 0: batch.
	perCommand int
	// points are done at the rate of the flags; a range is a hundred elements, and comes five times less often; a draw
	// is a hundred in a hundred places, and comes fifty times less often.
	points, ranges, draws []op
	// page asks for the next part of an iteration; it is given the state that the last one returned, "" at first,
	// and returns how many elements came and "" at the end.
	page func(c *wire.Conn, state string, n int) (next string, count int, err error)
	// whole is the command whose reply is everything; width is how many values an element is in it.
	whole []string
	width int
	// write changes the collection while the whole is read.
	write []string
}

// batch is how many elements one command adds.
const batch = 100

func member(i int) string { return fmt.Sprintf("member:%010d", i) }

func random(r *rand.Rand, n int) string { return member(r.IntN(n)) }

var kinds = []kind{
	{
		name: "hash", insert: []string{"HSET", key},
		element: func(args []string, i int) []string { return append(args, member(i), "value of "+member(i)) },
		points: []op{
			{"HGET", func(r *rand.Rand, n int) []string { return []string{"HGET", key, random(r, n)} }},
			{"HSET", func(r *rand.Rand, n int) []string { return []string{"HSET", key, random(r, n), "another value"} }},
			{"HINCRBY", func(r *rand.Rand, n int) []string {
				return []string{"HINCRBY", key, "n:" + random(r, n), "1"}
			}},
		},
		ranges: []op{
			{"HMGET of 100", func(r *rand.Rand, n int) []string {
				args := []string{"HMGET", key}
				for range 100 {
					args = append(args, random(r, n))
				}
				return args
			}},
		},
		draws: []op{{"HRANDFIELD 100", func(*rand.Rand, int) []string { return []string{"HRANDFIELD", key, "100", "WITHVALUES"} }}},
		page:  scanPage("HSCAN", 2), whole: []string{"HGETALL", key}, width: 2,
		write: []string{"HSET", key, member(0), "changed"},
	},
	{
		name: "list", insert: []string{"RPUSH", key},
		element: func(args []string, i int) []string { return append(args, member(i)) },
		points: []op{
			{"LINDEX", func(r *rand.Rand, n int) []string { return []string{"LINDEX", key, strconv.Itoa(r.IntN(n))} }},
			{"LSET", func(r *rand.Rand, n int) []string {
				return []string{"LSET", key, strconv.Itoa(r.IntN(n)), random(r, n)}
			}},
			{"RPUSH", func(r *rand.Rand, n int) []string { return []string{"RPUSH", key, random(r, n)} }},
			{"LPOP", func(*rand.Rand, int) []string { return []string{"LPOP", key} }},
		},
		ranges: []op{{"LRANGE of 100", func(r *rand.Rand, n int) []string {
			from := r.IntN(n - 100)
			return []string{"LRANGE", key, strconv.Itoa(from), strconv.Itoa(from + 99)}
		}}},
		page: func(c *wire.Conn, state string, _ int) (string, int, error) {
			from, _ := strconv.Atoi(state)
			v, err := c.Must("LRANGE", key, strconv.Itoa(from), strconv.Itoa(from+999))
			if err != nil || len(v.Elems) == 0 {
				return "", 0, err
			}
			return strconv.Itoa(from + len(v.Elems)), len(v.Elems), nil
		},
		whole: []string{"LRANGE", key, "0", "-1"}, width: 1, write: []string{"LSET", key, "0", "changed"},
	},
	{
		name: "set", insert: []string{"SADD", key},
		element: func(args []string, i int) []string { return append(args, member(i)) },
		points: []op{
			{"SISMEMBER", func(r *rand.Rand, n int) []string { return []string{"SISMEMBER", key, random(r, n)} }},
			{"SADD", func(r *rand.Rand, n int) []string { return []string{"SADD", key, "n:" + random(r, n)} }},
			{"SREM", func(r *rand.Rand, n int) []string { return []string{"SREM", key, "n:" + random(r, n)} }},
			{"SRANDMEMBER", func(*rand.Rand, int) []string { return []string{"SRANDMEMBER", key} }},
		},
		draws: []op{{"SRANDMEMBER 100", func(*rand.Rand, int) []string { return []string{"SRANDMEMBER", key, "100"} }}},
		page:  scanPage("SSCAN", 1), whole: []string{"SMEMBERS", key}, width: 1, write: []string{"SREM", key, member(0)},
	},
	{
		name: "zset", insert: []string{"ZADD", key},
		element: func(args []string, i int) []string {
			// Members come in no order of their scores, as in life.
			return append(args, strconv.Itoa(int(uint32(i)*2654435761>>3)), member(i))
		},
		points: []op{
			{"ZADD", func(r *rand.Rand, n int) []string {
				return []string{"ZADD", key, strconv.Itoa(r.IntN(1 << 29)), random(r, n)}
			}},
			{"ZRANK", func(r *rand.Rand, n int) []string { return []string{"ZRANK", key, random(r, n)} }},
			{"ZSCORE", func(r *rand.Rand, n int) []string { return []string{"ZSCORE", key, random(r, n)} }},
			{"ZINCRBY", func(r *rand.Rand, n int) []string { return []string{"ZINCRBY", key, "1000", random(r, n)} }},
			{"ZCOUNT", func(r *rand.Rand, _ int) []string {
				a, b := r.IntN(1<<29), r.IntN(1<<29)
				return []string{"ZCOUNT", key, strconv.Itoa(min(a, b)), strconv.Itoa(max(a, b))}
			}},
		},
		ranges: []op{
			{"ZRANGE of 100 by rank", func(r *rand.Rand, n int) []string {
				from := r.IntN(n - 100)
				return []string{"ZRANGE", key, strconv.Itoa(from), strconv.Itoa(from + 99), "WITHSCORES"}
			}},
			{"ZRANGE of 100 by score", func(r *rand.Rand, _ int) []string {
				return []string{"ZRANGE", key, strconv.Itoa(r.IntN(1 << 29)), "+inf", "BYSCORE", "LIMIT", "0", "100"}
			}},
		},
		page: scanPage("ZSCAN", 2), whole: []string{"ZRANGE", key, "0", "-1", "WITHSCORES"}, width: 2,
		write: []string{"ZADD", key, "1", member(0)},
	},
	{
		name: "stream", insert: []string{"XADD", key}, perCommand: 1,
		element: func(args []string, i int) []string {
			return append(args, strconv.Itoa(i+1)+"-0", "field", member(i))
		},
		points: []op{
			{"XADD", func(r *rand.Rand, n int) []string { return []string{"XADD", key, "*", "field", random(r, n)} }},
			{"XRANGE of 1", func(r *rand.Rand, n int) []string {
				id := strconv.Itoa(1 + r.IntN(n))
				return []string{"XRANGE", key, id, id}
			}},
			{"XDEL", func(r *rand.Rand, n int) []string { return []string{"XDEL", key, strconv.Itoa(1+r.IntN(n)) + "-0"} }},
		},
		ranges: []op{{"XRANGE of 100", func(r *rand.Rand, n int) []string {
			return []string{"XRANGE", key, strconv.Itoa(1 + r.IntN(n)), "+", "COUNT", "100"}
		}}},
		page: func(c *wire.Conn, state string, _ int) (string, int, error) {
			if state == "" {
				state = "-"
			}
			v, err := c.Must("XRANGE", key, state, "+", "COUNT", "1000")
			if err != nil || len(v.Elems) == 0 {
				return "", 0, err
			}
			return "(" + v.Elems[len(v.Elems)-1].Elems[0].Str, len(v.Elems), nil
		},
		whole: []string{"XRANGE", key, "-", "+"}, width: 1, write: []string{"XADD", key, "*", "field", "x"},
	},
}

// scanPage iterates by one of the SCAN commands, of which an element is width values.
func scanPage(command string, width int) func(*wire.Conn, string, int) (string, int, error) {
	return func(c *wire.Conn, state string, _ int) (string, int, error) {
		if state == "" {
			state = "0"
		}
		v, err := c.Must(command, key, state, "COUNT", "1000")
		if err != nil {
			return "", 0, err
		}
		next := v.Elems[0].Str
		if next == "0" {
			next = ""
		}
		return next, len(v.Elems[1].Elems) / width, nil
	}
}

func kindNamed(name string) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}
