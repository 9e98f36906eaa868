package commands_test

import (
	"fmt"
	"math/rand/v2"
)

// randomCommand makes a command whose reply does not depend on the time. Few keys and fields, so that types
// clash and keys are renamed onto each other.
func randomCommand(rng *rand.Rand) []string {
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	key := func() string { return fmt.Sprintf("k%d", rng.IntN(12)) }
	field := func() string { return fmt.Sprintf("f%d", rng.IntN(30)) }
	value := func() string {
		switch rng.IntN(4) {
		case 0:
			return fmt.Sprint(rng.IntN(1000) - 500)
		case 1:
			return fmt.Sprintf("%.3f", rng.Float64()*100)
		case 2:
			return ""
		}
		return fmt.Sprintf("v%d", rng.Uint64())
	}
	number := func() string { return fmt.Sprint(rng.IntN(40) - 20) }
	score := func() string {
		return pick("inf", "-inf", fmt.Sprint(rng.IntN(6)-3), fmt.Sprint(float64(rng.IntN(64)-32)/8))
	}
	place := func() string { return fmt.Sprint(rng.Float64()*160 - 80) }
	far := func() string { return fmt.Sprint(20_000_000_000_000 + rng.Int64N(1000)) }
	// IDs mostly rise; streams are short, so that trimming with ~ goes as in Redis.
	id := func() string { return fmt.Sprintf("%d-%d", rng.IntN(300), rng.IntN(3)) }
	options := [][]string{
		{"SET", key(), value()}, {"SET", key(), value(), pick("NX", "XX", "GET", "KEEPTTL")},
		{"SET", key(), value(), "PXAT", far(), pick("NX", "XX", "GET")},
		{"GET", key()}, {"GETSET", key(), value()}, {"GETDEL", key()}, {"SETNX", key(), value()},
		{"GETEX", key(), "PXAT", far()}, {"GETEX", key(), "PERSIST"}, {"GETEX", key(), "EXAT", "1"},
		{"MSET", key(), value(), key(), value()}, {"MSETNX", key(), value(), key(), value()},
		{"MGET", key(), key(), key()}, {"APPEND", key(), value()}, {"STRLEN", key()},
		{"GETRANGE", key(), number(), number()}, {"SETRANGE", key(), number(), value()},
		{"INCR", key()}, {"DECR", key()}, {"INCRBY", key(), number()}, {"DECRBY", key(), number()},
		{"INCRBYFLOAT", key(), value()}, {"LCS", key(), key()}, {"LCS", key(), key(), "IDX", "WITHMATCHLEN"},
		{"DEL", key()}, {"DEL", key(), key()}, {"UNLINK", key()}, {"EXISTS", key(), key()}, {"TYPE", key()},
		{"RENAME", key(), key()}, {"RENAMENX", key(), key()}, {"COPY", key(), key()},
		{"COPY", key(), key(), "REPLACE"}, {"COPY", key(), key(), "DB", pick("1", "2"), "REPLACE"},
		{"MOVE", key(), pick("1", "2")},
		{"PEXPIREAT", key(), far()}, {"PEXPIREAT", key(), far(), pick("NX", "XX", "GT", "LT")},
		{"EXPIRE", key(), "-1"}, {"PERSIST", key()}, {"PEXPIRETIME", key()}, {"KEYS", "k1*"},
		{"HSET", key(), field(), value()}, {"HSET", key(), field(), value(), field(), value(), field(), value()},
		{"HMSET", key(), field(), value(), field(), value()}, {"HSETNX", key(), field(), value()},
		{"HGET", key(), field()}, {"HMGET", key(), field(), field()}, {"HDEL", key(), field(), field()},
		{"HLEN", key()}, {"HEXISTS", key(), field()}, {"HSTRLEN", key(), field()}, {"HGETALL", key()},
		{"HKEYS", key()}, {"HVALS", key()}, {"HINCRBY", key(), field(), number()},
		{"HINCRBYFLOAT", key(), field(), value()},
		{"SADD", key(), field()}, {"SADD", key(), field(), field(), number(), number()}, {"SREM", key(), field(), number()},
		{"SADD", key(), number(), number(), number()}, {"SMOVE", key(), key(), pick(field(), number())},
		{"SCARD", key()}, {"SISMEMBER", key(), field()}, {"SMISMEMBER", key(), field(), number()}, {"SMEMBERS", key()},
		{"SINTER", key(), key()}, {"SUNION", key(), key(), key()}, {"SDIFF", key(), key(), key()},
		{"SINTERSTORE", key(), key(), key()}, {"SUNIONSTORE", key(), key(), key()}, {"SDIFFSTORE", key(), key(), key()},
		{"SINTERCARD", "2", key(), key()}, {"SINTERCARD", "2", key(), key(), "LIMIT", "2"},
		{"ZADD", key(), score(), field()}, {"ZADD", key(), score(), field(), score(), field(), score(), field()},
		{"ZADD", key(), pick("NX", "XX", "GT", "LT"), "CH", score(), field(), score(), field()},
		{"ZADD", key(), pick("XX", "GT", "CH"), "INCR", number(), field()}, {"ZINCRBY", key(), number(), field()},
		{"ZREM", key(), field(), field()}, {"ZCARD", key()}, {"ZSCORE", key(), field()}, {"ZMSCORE", key(), field(), field()},
		{"ZRANK", key(), field()}, {"ZREVRANK", key(), field()}, {"ZCOUNT", key(), score(), "(" + score()},
		{"ZRANGE", key(), number(), number(), "WITHSCORES"}, {"ZREVRANGE", key(), number(), number()},
		{"ZRANGE", key(), score(), score(), "BYSCORE", "LIMIT", "1", "3"},
		{"ZRANGE", key(), score(), "-inf", "BYSCORE", "REV", "WITHSCORES"},
		{"ZRANGEBYSCORE", key(), "-inf", "(" + score(), "WITHSCORES"}, {"ZRANGESTORE", key(), key(), number(), number()},
		{"ZREMRANGEBYRANK", key(), number(), number()}, {"ZREMRANGEBYSCORE", key(), score(), score()},
		{"ZPOPMIN", key()}, {"ZPOPMAX", key(), "2"}, {"ZMPOP", "2", key(), key(), pick("MIN", "MAX"), "COUNT", "2"},
		{"ZUNION", "2", key(), key(), "WITHSCORES"}, {"ZINTER", "2", key(), key(), "WITHSCORES"},
		{"ZDIFF", "2", key(), key(), "WITHSCORES"}, {"ZINTERCARD", "2", key(), key()},
		{"ZUNIONSTORE", key(), "2", key(), key(), "WEIGHTS", "2", "-1", "AGGREGATE", pick("MIN", "MAX", "SUM")},
		{"ZINTERSTORE", key(), "2", key(), key()}, {"ZDIFFSTORE", key(), "2", key(), key()},
		{"SORT", key()}, {"SORT", key(), "ALPHA", "DESC"}, {"SORT", key(), "ALPHA", "LIMIT", number(), number()},
		{"SORT", key(), "ALPHA", "GET", "#", "GET", "k*", "GET", "k*->f1"}, {"SORT", key(), "ALPHA", "STORE", key()},
		{"SORT_RO", key(), "ALPHA"}, {"SORT", key(), "ALPHA", "GET", "#", "GET", "k1*->" + field(), "STORE", key()},
		{"GEOADD", key(), place(), place(), field(), place(), place(), field()}, {"GEOPOS", key(), field(), field()},
		{"GEOADD", key(), pick("NX", "XX"), "CH", place(), place(), field()}, {"GEODIST", key(), field(), field(), "km"},
		{"GEOHASH", key(), field()}, {"GEOSEARCH", key(), "FROMMEMBER", field(), "BYRADIUS", score(), "km", "ASC", "WITHDIST"},
		{"GEOSEARCHSTORE", key(), key(), "FROMLONLAT", place(), place(), "BYBOX", "5000", "5000", "km"},
		{"GEORADIUS", key(), place(), place(), "5000", "km", "STORE", key()},
		{"SPOP", key(), "1000"}, {"SRANDMEMBER", key(), "0"}, {"SDIFFSTORE", key(), key()},
		{"XADD", key(), id(), field(), value()}, {"XADD", key(), id(), field(), value(), field(), value()},
		{"XADD", key(), fmt.Sprintf("%d-*", rng.IntN(300)), field(), value()}, {"XADD", key(), "NOMKSTREAM", id(), "f", "v"},
		{"XADD", key(), "MAXLEN", fmt.Sprint(rng.IntN(6)), id(), field(), value()},
		{"XADD", key(), "MINID", pick("=", "~"), id(), id(), field(), value()},
		{"XADD", key(), "MAXLEN", "~", pick("0", "3"), id(), field(), value()},
		{"XLEN", key()}, {"XDEL", key(), id(), id(), id()}, {"XRANGE", key(), "-", "+"}, {"XRANGE", key(), id(), "+"},
		{"XREVRANGE", key(), id(), id(), "COUNT", "2"}, {"XREAD", "COUNT", "2", "STREAMS", key(), key(), id(), id()},
		{"XTRIM", key(), "MAXLEN", fmt.Sprint(rng.IntN(6))}, {"XTRIM", key(), "MINID", id()},
		{"XTRIM", key(), "MAXLEN", "~", "0"},
		{"XSETID", key(), fmt.Sprintf("%d-0", rng.IntN(200)), "ENTRIESADDED", "50"},
		{"RPUSH", key(), field()}, {"LPUSH", key(), field(), field(), number()}, {"RPUSH", key(), field(), field(), field()},
		{pick("LPUSHX", "RPUSHX"), key(), field(), value()}, {pick("LPOP", "RPOP"), key()},
		{pick("LPOP", "RPOP"), key(), pick("0", "1", "3")}, {"LLEN", key()}, {"LINDEX", key(), number()},
		{"LSET", key(), number(), field()}, {"LRANGE", key(), number(), number()}, {"LTRIM", key(), number(), number()},
		{"LINSERT", key(), pick("BEFORE", "AFTER"), field(), value()}, {"LREM", key(), pick("0", "1", "-2"), field()},
		{"LPOS", key(), field()}, {"LPOS", key(), field(), "RANK", pick("1", "-1", "2"), "COUNT", "2", "MAXLEN", "5"},
		{"LMOVE", key(), key(), pick("LEFT", "RIGHT"), pick("LEFT", "RIGHT")}, {"RPOPLPUSH", key(), key()},
		{"LMPOP", "2", key(), key(), pick("LEFT", "RIGHT"), "COUNT", pick("1", "4")},
	}
	return options[rng.IntN(len(options))]
}

// timedCommand is randomCommand with short lives.
func timedCommand(rng *rand.Rand) []string {
	key := fmt.Sprintf("k%d", rng.IntN(12))
	ms := fmt.Sprint(rng.IntN(200) + 1)
	options := [][]string{
		{"SET", key, "v", "PX", ms}, {"SET", key, "v", "NX", "PX", ms}, {"PSETEX", key, ms, "v"},
		{"GETEX", key, "PX", ms}, {"PEXPIRE", key, ms}, {"PEXPIRE", key, ms, "GT"}, {"PEXPIRE", key, ms, "XX"},
		{"SET", key, "w", "KEEPTTL"},
	}
	if rng.IntN(3) == 0 {
		return timedFields(rng, key, ms)
	}
	if rng.IntN(3) == 0 {
		return options[rng.IntN(len(options))]
	}
	return randomCommand(rng)
}

// timedFields is a command on the deadlines of a hash's fields.
func timedFields(rng *rand.Rand, key, ms string) []string {
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	field := func() string { return fmt.Sprintf("f%d", rng.IntN(30)) }
	options := [][]string{
		{"HPEXPIRE", key, ms, "FIELDS", "2", field(), field()}, {"HPEXPIRE", key, ms, "FIELDS", "1", field()},
		{"HPEXPIRE", key, ms, pick("NX", "XX", "GT", "LT"), "FIELDS", "3", field(), field(), field()},
		{"HEXPIREAT", key, "1", "FIELDS", "2", field(), field()},
		{"HEXPIRE", key, "0", "FIELDS", "1", field()},
		{"HPERSIST", key, "FIELDS", "2", field(), field()},
		{"HGETEX", key, pick("PX", "EX"), ms, "FIELDS", "2", field(), field()},
		{"HGETEX", key, "PXAT", "1", "FIELDS", "1", field()}, {"HGETEX", key, "PERSIST", "FIELDS", "2", field(), field()},
		{"HGETEX", key, "FIELDS", "2", field(), field()},
		{"HSETEX", key, "PX", ms, "FIELDS", "2", field(), "1", field(), "2"},
		{"HSETEX", key, pick("FNX", "FXX"), "PX", ms, "FIELDS", "1", field(), "3"},
		{"HSETEX", key, "KEEPTTL", "FIELDS", "3", field(), "4", field(), "5", field(), "6"},
		{"HSETEX", key, "FIELDS", "1", field(), "7"}, {"HSETEX", key, "PX", "0", "FIELDS", "2", field(), "8", field(), "9"},
		{"HINCRBY", key, field(), "1"}, {"HINCRBYFLOAT", key, field(), "0.5"}, {"HSET", key, field(), "1", field(), "2"},
		{"HDEL", key, field(), field(), field()}, {"HGETDEL", key, "FIELDS", "2", field(), field()},
		{"HSETNX", key, field(), "1"}, {"COPY", key, fmt.Sprintf("k%d", rng.IntN(12)), "REPLACE"},
	}
	return options[rng.IntN(len(options))]
}
