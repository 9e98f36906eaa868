package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"haypile/internal/testcluster"
	"haypile/internal/testcluster/wire"
)

// test is one kind of load. Without a command it is redis-benchmark's own of that name (its -t).
type test struct {
	name string
	// prepare builds what the command needs, before each measurement.
	prepare func(c *wire.Conn) error
	command []string
	// pipeline is the only depth at which the test is run; 0: those of the flags.
	pipeline int
}

// suites are the values of -suite: what is loaded together, with which defaults. The keys are 0 where
// redis-benchmark's own tests run as they do without -r: each on the one key that it has for it.
var suites = map[string]config{
	"strings": {tests: named("set,get"), pipelines: []int{1, 16}, rounds: 5, requests: 300_000, keys: 1_000_000, size: 128},
	"types": {tests: named("incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,mset,xadd," +
		"lrange_100,lrange_300,lrange_500,lrange_600,zrange_100,hgetall_100,eval"),
		pipelines: []int{16}, rounds: 5, requests: 50_000, size: 3},
	"bits": {tests: named("setbit,append,pfadd,getrange"), pipelines: []int{16}, rounds: 5, requests: 50_000, keys: 100_000,
		size: 3},
	"more": {tests: named("setex,expire,hget,hincrby,hrandfield,sismember,srandmember,lmove,zscore,zrank,zincrby,zrangebyscore," +
		"xadd_maxlen,xadd_nodes,xrange_100,xreadgroup"), pipelines: []int{16}, rounds: 5, requests: 50_000, keys: 100_000, size: 3},
}

// own are the tests that redis-benchmark lacks, and its LRANGE tests, which would push as many elements as
// they have requests before each measurement.
var own = []test{
	ranges("lrange_100", 100), ranges("lrange_300", 300), ranges("lrange_500", 450), ranges("lrange_600", 600),
	{name: "zrange_100", prepare: many("ZADD", "bench:zset", 100, func(i int) []string {
		return []string{strconv.Itoa(i), fmt.Sprintf("member:%012d", i)}
	}), command: []string{"ZRANGE", "bench:zset", "0", "99"}},
	{name: "hgetall_100", prepare: many("HSET", "bench:hash", 100, func(i int) []string {
		return []string{fmt.Sprintf("field:%012d", i), "xxx"}
	}), command: []string{"HGETALL", "bench:hash"}},
	{name: "xadd", command: []string{"XADD", "bench:stream", "*", "field", "xxx"}},
	{name: "eval", command: []string{"EVAL", evalScript, "1", "bench:script"}, pipeline: 1},
	{name: "setbit", prepare: megabytes, command: []string{"SETBIT", "bench:string", "40000000", "1"}},
	{name: "append", command: []string{"APPEND", "bench:appended", "xxx"}},
	{name: "pfadd", command: []string{"PFADD", "bench:hll", "__rand_int__"}},
	{name: "getrange", prepare: megabytes, command: []string{"GETRANGE", "bench:string", "4000000", "4000999"}},
	{name: "setex", command: []string{"SETEX", "bench:key:__rand_int__", "1000", "xxx"}},
	{name: "expire", prepare: benchHash, command: []string{"EXPIRE", "bench:fields", "1000"}},
	{name: "hget", prepare: benchHash, command: []string{"HGET", "bench:fields", "__rand_int__"}},
	{name: "hincrby", prepare: benchHash, command: []string{"HINCRBY", "bench:fields", "__rand_int__", "1"}},
	{name: "hrandfield", prepare: benchHash, command: []string{"HRANDFIELD", "bench:fields"}},
	{name: "sismember", prepare: benchSet, command: []string{"SISMEMBER", "bench:members", "__rand_int__"}},
	{name: "srandmember", prepare: benchSet, command: []string{"SRANDMEMBER", "bench:members", "10"}},
	{name: "lmove", prepare: many("RPUSH", "bench:ring", 10_000, func(i int) []string { return []string{strconv.Itoa(i)} }),
		command: []string{"LMOVE", "bench:ring", "bench:ring", "LEFT", "RIGHT"}},
	{name: "zscore", prepare: benchScores, command: []string{"ZSCORE", "bench:scores", "__rand_int__"}},
	{name: "zrank", prepare: benchScores, command: []string{"ZRANK", "bench:scores", "__rand_int__"}},
	{name: "zincrby", prepare: benchScores, command: []string{"ZINCRBY", "bench:scores", "1", "__rand_int__"}},
	{name: "zrangebyscore", prepare: benchScores,
		command: []string{"ZRANGEBYSCORE", "bench:scores", "1__rand_int__", "+inf", "LIMIT", "0", "10"}},
	{name: "xadd_maxlen", command: []string{"XADD", "bench:log", "MAXLEN", "1000", "*", "field", "xxx"}},
	{name: "xadd_nodes", command: []string{"XADD", "bench:nodes", "MAXLEN", "~", "1000", "*", "field", "xxx"}},
	{name: "xrange_100", prepare: entries("bench:entries", 100), command: []string{"XRANGE", "bench:entries", "-", "+", "COUNT", "100"}},
	{name: "xreadgroup", prepare: entries("bench:queue", 200_000),
		command: []string{"XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "bench:queue", ">"}},
}

// benchHash, benchSet and benchScores have 100,000 members: the random numbers of redis-benchmark, which have twelve digits.
var (
	benchHash = many("HSET", "bench:fields", 100_000, func(i int) []string { return []string{fmt.Sprintf("%012d", i), "1"} })
	benchSet  = many("SADD", "bench:members", 100_000, func(i int) []string { return []string{fmt.Sprintf("%012d", i)} })
	// The scores are spread over the numbers with a 1 before the twelve digits.
	benchScores = many("ZADD", "bench:scores", 100_000, func(i int) []string {
		return []string{fmt.Sprintf("1%012d", i), fmt.Sprintf("%012d", i)}
	})
)

// evalScript has ten lines, reads and writes a key, and builds a table.
const evalScript = `local key = KEYS[1]
local n = tonumber(redis.call('GET', key) or '0')
if n >= 1000 then
  n = 0
end
n = n + 1
redis.call('SET', key, n)
local out = {}
out[1], out[2] = n, n * 2
return out`

// ranges reads the first n elements of a list of 10,000.
func ranges(name string, n int) test {
	return test{name: name, prepare: many("RPUSH", "bench:list", 10_000, func(int) []string { return []string{"xxx"} }),
		command: []string{"LRANGE", "bench:list", "0", strconv.Itoa(n - 1)}}
}

// megabytes makes a string of 8 MiB. (Random offsets are not to be had: the numbers of redis-benchmark have
// leading zeros, which Redis does not take for integers.)
func megabytes(c *wire.Conn) error {
	_, err := c.Must("SETRANGE", "bench:string", strconv.Itoa(8<<20), "x")
	return err
}

// many replaces what is at a key by n elements.
func many(command, key string, n int, element func(i int) []string) func(*wire.Conn) error {
	return func(c *wire.Conn) error {
		if _, err := c.Must("DEL", key); err != nil {
			return err
		}
		for i := 0; i < n; i += 100 {
			args := []string{command, key}
			for k := i; k < min(i+100, n); k++ {
				args = append(args, element(k)...)
			}
			if _, err := c.Must(args...); err != nil {
				return err
			}
		}
		return nil
	}
}

// entries makes a stream of n entries and a group that has read none of them.
func entries(key string, n int) func(*wire.Conn) error {
	return func(c *wire.Conn) error {
		const script = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'field', 'xxx') end"
		if _, err := c.Must("DEL", key); err != nil {
			return err
		}
		for left := n; left > 0; left -= 1000 {
			if _, err := c.Must("EVAL", script, "1", key, strconv.Itoa(min(left, 1000))); err != nil {
				return err
			}
		}
		_, err := c.Must("XGROUP", "CREATE", key, "g", "0")
		return err
	}
}

// named are the tests of a list of names, with commas.
func named(list string) (tests []test) {
	for name := range strings.SplitSeq(list, ",") {
		t := test{name: name}
		if i := slices.IndexFunc(own, func(t test) bool { return t.name == name }); i >= 0 {
			t = own[i]
		}
		tests = append(tests, t)
	}
	return tests
}

// at are the pipeline depths of a test.
func (t test) at(pipelines []int) []int {
	if t.pipeline > 0 {
		return []int{t.pipeline}
	}
	return pipelines
}

// args are those of redis-benchmark for the test alone.
func (t test) args() []string {
	if len(t.command) == 0 {
		return []string{"-t", t.name}
	}
	return t.command
}

// ready runs what the test needs before it.
func (t test) ready(p *testcluster.Process) error {
	if t.prepare == nil {
		return nil
	}
	c, err := p.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return t.prepare(c)
}
