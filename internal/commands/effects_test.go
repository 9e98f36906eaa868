package commands_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"haypile/internal/keyspace"
)

// The log holds what a command did, with time and conditions resolved.
func TestEffects(t *testing.T) {
	g := newGate(t)
	const now = testStart
	at := func(ms int64) string { return fmt.Sprint(now + ms) }
	for _, c := range []struct {
		command string
		log     string // commands separated by |
	}{
		{"SET a 1", "SET a 1"},
		{"set a 1", "set a 1"},
		{"SET a 1 NX", ""},
		{"SET b 1 NX", "SET b 1"},
		{"SET b 2 XX GET", "SET b 2"},
		{"SET c 2 XX GET", ""},
		{"SET a 1 GET", "SET a 1"},
		{"SET a 1 EX 10", "SET a 1 PXAT " + at(10_000)},
		{"SET a 1 KEEPTTL", "SET a 1 KEEPTTL"},
		{"SET a 1 PX 10 NX", ""},
		{"SET a 1 PX 10 XX GET", "SET a 1 PXAT " + at(10)},
		{"SET a 1 PXAT 99999999999999 XX", "SET a 1 PXAT 99999999999999"},
		{"SETEX a 10 x", "SET a x PXAT " + at(10_000)},
		{"PSETEX a 10 x", "SET a x PXAT " + at(10)},
		{"PKSETEXAT a 99999999999 x", "SET a x PXAT 99999999999000"},
		{"SETNX a x", ""},
		{"SETNX d x", "SETNX d x"},
		{"GETSET d y", "SET d y"},
		{"GETEX d", ""},
		{"GETEX d PERSIST", ""},
		{"GETEX d EX 5", "PEXPIREAT d " + at(5_000)},
		{"GETEX d PERSIST", "PERSIST d"},
		{"GETEX d EXAT 1", "DEL d"},
		{"GETDEL d", ""},
		{"SET d 1", "SET d 1"},
		{"GETDEL d", "DEL d"},
		{"INCRBY n 5", "INCRBY n 5"},
		{"INCRBYFLOAT n 0.5", "SET n 5.5 KEEPTTL"},
		{"INCR n", ""},
		{"MSET x 1 y 2", "MSET x 1 y 2"},
		{"MSETNX x 1 z 2", ""},
		{"APPEND x 0", "APPEND x 0"},
		{"SETRANGE x 0 ", ""},
		{"EXPIRE x 10", "PEXPIREAT x " + at(10_000)},
		{"EXPIRE x 20 NX", ""},
		{"EXPIRE x 20 GT", "PEXPIREAT x " + at(20_000)},
		{"PERSIST x", "PERSIST x"},
		{"PERSIST x", ""},
		{"EXPIRE x 0", "DEL x"},
		{"EXPIRE x 10", ""},
		{"EXPIREAT y 1", "DEL y"},
		{"DEL y", ""},
		{"HSET h f 1 g 2", "HSET h f 1 g 2"},
		{"HSETNX h f 1", ""},
		{"HINCRBY h f 2", "HINCRBY h f 2"},
		{"HINCRBYFLOAT h f 0.5", "HSET h f 3.5"},
		{"HDEL h nothing", ""},
		{"HDEL h f", "HDEL h f"},
		{"RPUSH l 1 2 3 4 5", "RPUSH l 1 2 3 4 5"},
		{"LPUSHX none 1", ""},
		{"LPOP l", "LPOP l"},
		{"LPOP l 0", ""},
		{"LPOP none", ""},
		{"LMPOP 2 none l RIGHT COUNT 2", "RPOP l 2"},
		{"LMPOP 1 l LEFT COUNT 9", "LPOP l 2"},
		{"LMPOP 1 l LEFT", ""},
		{"RPUSH l 1 2", "RPUSH l 1 2"},
		{"RPOPLPUSH l l", "RPOPLPUSH l l"},
		{"LMOVE l m LEFT RIGHT", "LMOVE l m LEFT RIGHT"},
		{"LREM l 0 nothing", ""},
		{"LINSERT l BEFORE nothing x", ""},
		{"LTRIM l 0 -1", ""},
		{"LTRIM l 1 0", "LTRIM l 1 0"},
		{"RENAME h h", ""},
		{"RENAME h i", "RENAME h i"},
		{"RENAMENX i a", ""},
		{"COPY i a", ""},
		{"COPY i a REPLACE", "COPY i a REPLACE"},
		{"MOVE i 1", "MOVE i 1"},
		{"MOVE i 1", ""},
		{"DEL a i none", "DEL a i none"},
		{"GET a", ""},
		{"GEOADD g 1 1 p 2 2 q", "GEOADD g 1 1 p 2 2 q"},
		{"GEOADD g NX 3 3 p", ""},
		{"RPUSH l 2 1", "RPUSH l 2 1"},
		{"SORT l", ""},
		{"SORT l STORE to", "RPUSH to 1 2"},
		{"SORT l DESC GET # GET w_* STORE to", "DEL to|RPUSH to 2  1 "},
		{"SORT l LIMIT 5 5 STORE to", "DEL to"},
		{"SORT l LIMIT 5 5 STORE to", ""},
		{"SET to 1", "SET to 1"},
		{"GEOSEARCHSTORE to g FROMLONLAT 1 1 BYRADIUS 200 km",
			"DEL to|ZADD to 3377822707026402 p 3378191666521995 q"},
		{"GEORADIUS g 50 50 1 km STORE to", "DEL to"},
		{"GEORADIUS g 50 50 1 km STORE to", ""},
		{"GEORADIUSBYMEMBER g p 0 km STOREDIST to", "ZADD to 0 p"},
		{"XADD s 1-1 f v", "XADD s 1-1 f v"},
		{"XADD s * f v", "XADD s " + at(0) + "-0 f v"},
		{"XADD s * f v", "XADD s " + at(0) + "-1 f v"},
		{"XADD s NOMKSTREAM " + at(1) + "-* f v", "XADD s " + at(1) + "-0 f v"},
		{"XADD s MAXLEN ~ 0 LIMIT 2 * f v", "XADD s MAXLEN = 5 " + at(1) + "-1 f v"},
		{"XADD s MAXLEN ~ 0 * f v", "XADD s MAXLEN = 0 " + at(1) + "-2 f v"},
		{"XADD s 99999999999999-5 f v", "XADD s 99999999999999-5 f v"},
		{"XADD s MINID ~ 1 99999999999999-* f v", "XADD s MINID = 99999999999999-5 99999999999999-6 f v"},
		{"XADD s MAXLEN 2 99999999999999-7 f v", "XADD s MAXLEN 2 99999999999999-7 f v"},
		{"XTRIM s MAXLEN ~ 5", ""},
		{"XTRIM s MINID ~ 99999999999999-8", "XTRIM s MINID = 18446744073709551615-18446744073709551615"},
		{"XTRIM s MAXLEN 5", ""},
		{"HSET t a 1 b 2 c 3", "HSET t a 1 b 2 c 3"},
		{"HEXPIRE t 10 FIELDS 3 a b x", "HPEXPIREAT t " + at(10_000) + " FIELDS 2 a b"},
		{"HEXPIRE t 20 NX FIELDS 2 a c", "HPEXPIREAT t " + at(20_000) + " FIELDS 1 c"},
		{"HEXPIRE t 5 GT FIELDS 2 a b", ""},
		{"HPEXPIREAT t 99999999999 FIELDS 0 a", ""},
		{"HINCRBY t a 1", "HINCRBY t a 1"},
		{"HINCRBYFLOAT t a 1.5", "HSET t a 3.5|HPEXPIREAT t " + at(10_000) + " FIELDS 1 a"},
		{"HGETEX t FIELDS 1 a", ""},
		{"HGETEX t PERSIST FIELDS 2 a x", "HPERSIST t FIELDS 1 a"},
		{"HGETEX t PERSIST FIELDS 1 a", ""},
		{"HGETEX t PX 7 FIELDS 2 a x", "HPEXPIREAT t " + at(7) + " FIELDS 1 a"},
		{"HGETEX t PXAT 7 FIELDS 2 a x", "HDEL t a"},
		{"HPERSIST t FIELDS 3 b x c", "HPERSIST t FIELDS 2 b c"},
		{"HPERSIST t FIELDS 1 b", ""},
		{"HSETEX t FIELDS 1 a 1", "HSET t a 1"},
		{"HSETEX t FNX FIELDS 1 a 1", ""},
		{"HSETEX t FXX EX 3 FIELDS 2 a 1 b 2", "HSET t a 1 b 2|HPEXPIREAT t " + at(3_000) + " FIELDS 2 a b"},
		{"HSETEX t KEEPTTL FIELDS 2 a 3 c 4", "HSET t a 3 c 4|HPEXPIREAT t " + at(3_000) + " FIELDS 1 a"},
		{"HSETEX t EXAT 1 FIELDS 2 a 3 x 4", "HDEL t a"},
		{"HSETEX u EXAT 1 FIELDS 2 a 3 x 4", ""},
		{"HEXPIREAT t 1 FIELDS 3 b c x", "HDEL t b c"},
		{"XDEL s 1-1", ""},
		{"XGROUP CREATE gs g 0 MKSTREAM", "XGROUP CREATE gs g 0 MKSTREAM"},
		{"XGROUP CREATE gs g 0", ""},
		{"XADD gs 1-1 f v", "XADD gs 1-1 f v"},
		{"XADD gs 2-1 f v", "XADD gs 2-1 f v"},
		{"XREADGROUP GROUP g c COUNT 1 STREAMS gs >", "XGROUP CREATECONSUMER gs g c|XCLAIM gs g c 0 1-1 TIME " + at(0) +
			" RETRYCOUNT 1 FORCE JUSTID LASTID 1-1|XGROUP SETID gs g 1-1 ENTRIESREAD 1"},
		{"XREADGROUP GROUP g c STREAMS gs 0", "XCLAIM gs g c 0 1-1 TIME " + at(0) + " RETRYCOUNT 2 FORCE JUSTID LASTID 1-1"},
		{"XREADGROUP GROUP g c NOACK STREAMS gs >", "XGROUP SETID gs g 2-1 ENTRIESREAD 2"},
		{"XREADGROUP GROUP g c STREAMS gs >", ""},
		{"XREADGROUP GROUP g d STREAMS gs >", "XGROUP CREATECONSUMER gs g d"},
		{"XCLAIM gs g d 0 1-1 IDLE 50", "XCLAIM gs g d 0 1-1 TIME " + at(-50) + " RETRYCOUNT 3 FORCE JUSTID LASTID 2-1"},
		{"XCLAIM gs g d 1000 1-1", ""},
		{"XCLAIM gs g d 1000 1-1 LASTID 3-0", "XGROUP SETID gs g 3-0 ENTRIESREAD 2"},
		{"XAUTOCLAIM gs g c 0 0", "XCLAIM gs g c 0 1-1 TIME " + at(0) + " RETRYCOUNT 4 FORCE JUSTID LASTID 3-0"},
		{"XAUTOCLAIM gs g c 1000 0", ""},
		{"XDEL gs 1-1", "XDEL gs 1-1"},
		{"XAUTOCLAIM gs g d 0 0", "XCLAIM gs g c 0 1-1 TIME " + at(0) + " RETRYCOUNT 4 FORCE JUSTID LASTID 3-0"},
		{"XACK gs g 1-1", ""},
		{"XGROUP DELCONSUMER gs g d", "XGROUP DELCONSUMER gs g d"},
		{"XGROUP DELCONSUMER gs g d", ""},
		{"XGROUP DESTROY gs g", "XGROUP DESTROY gs g"},
	} {
		g.do(strings.Split(c.command, " ")...)
		if got := strings.Join(g.effects(), "|"); got != c.log {
			t.Errorf("%s logged %q, want %q", c.command, got, c.log)
		}
	}
}

func TestEffectsOfExpiry(t *testing.T) {
	g := newGate(t)
	check := func(want ...string) {
		t.Helper()
		if got := g.effects(); !slices.Equal(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
	g.do("SET", "a", "1", "PX", "10")
	g.do("HSET", "h", "f", "1")
	g.do("PEXPIRE", "h", "10")
	g.effects()
	g.now += 9
	g.want("$1 1", "GET", "a")
	g.now++
	g.want("$-1", "GET", "a")
	check()
	if n, _ := g.store.Counts(0); n != 2 {
		t.Errorf("%d keys: a read must not delete", n)
	}
	g.want(":1", "SETNX", "a", "2")
	check("DEL a", "SETNX a 2")
	// A command that does nothing else still logs that it met an expired key.
	g.want("-ERR no such key", "RENAME", "h", "x")
	check()
	g.want(":0", "HDEL", "h", "f")
	check("DEL h")
	g.do("SET", "b", "1", "PX", "10")
	g.db = 1
	g.do("SET", "c", "1")
	g.effects()
	g.now += 10
	g.db = 1
	g.do("COPY", "c", "b", "DB", "0")
	if len(g.log) != 2 || g.log[0].db != 0 || g.log[1].db != 1 {
		t.Errorf("frames %+v", g.log)
	}
	check("DEL b", "COPY c b DB 0")
	if n, m := g.store.Counts(0); n != 2 || m != 0 {
		t.Errorf("%d keys, %d with a deadline", n, m)
	}
}

// What comes by the stream happens as it stands there, whatever clock and keys say.
func TestApplyIsUnconditional(t *testing.T) {
	g := newGate(t)
	apply := func(db int, args ...string) {
		t.Helper()
		stream := g.tx // any transaction: only its encoder is wanted
		stream.Reset()
		stream.Begin(keyspace.ModeApply, db, g.now)
		stream.Effect(byteArgs(args)...)
		var f frame
		stream.Effects(func(db int, b []byte) { f = frame{db, string(b), g.offset + int64(len(b))} })
		g.apply(f)
	}
	ttl := func(key string) int64 {
		g.tx.Reset()
		g.tx.Begin(keyspace.ModeApply, 0, g.now)
		e, err := g.tx.Lookup([]byte(key))
		if err != nil || !e.Found {
			t.Fatalf("%s: %v, found %v", key, err, e.Found)
		}
		return e.Meta.Deadline
	}
	apply(0, "SET", "a", "1", "PXAT", "5")
	if d := ttl("a"); d != 5 {
		t.Errorf("deadline %d", d)
	}
	apply(0, "APPEND", "a", "2")
	apply(0, "PEXPIREAT", "a", "-7")
	if d := ttl("a"); d != 1 {
		t.Errorf("deadline %d", d)
	}
	apply(0, "SET", "a", "9", "NX", "KEEPTTL")
	if d := ttl("a"); d != 1 {
		t.Errorf("deadline %d", d)
	}
	apply(0, "SETNX", "a", "3")
	g.want("$1 3", "GET", "a")
	apply(0, "SET", "nokey", "1", "XX")
	g.want("$1 1", "GET", "nokey")
	apply(0, "MSETNX", "a", "4", "b", "5")
	g.want("$1 4", "GET", "a")
	apply(0, "RENAMENX", "b", "a")
	g.want("$1 5", "GET", "a")
	apply(0, "COPY", "nokey", "a")
	g.want("$1 1", "GET", "a")
	payload := g.do("DUMP", "a")
	payload = payload[strings.Index(payload, "\n")+1 : len(payload)-2]
	apply(0, "RESTORE", "a", "6", payload, "ABSTTL")
	if d := ttl("a"); d != 6 {
		t.Errorf("deadline %d", d)
	}
	g.want("$-1", "GET", "a")
	apply(0, "DEL", "a")
	if n, m := g.store.Counts(0); n != 1 || m != 0 {
		t.Errorf("%d keys, %d with a deadline", n, m)
	}
}

// A replica that applies the log has what the primary has, at every moment.
func TestReplicaEqualsPrimary(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 7))
		primary, replica := newGate(t), newGate(t)
		replica.now = 1 // a replica's clock does not matter
		for i := range 3000 {
			if rng.IntN(20) == 0 {
				primary.db = rng.IntN(3)
			}
			primary.now += rng.Int64N(30)
			primary.do(timedCommand(rng)...)
			if rng.IntN(10) == 0 {
				primary.expire(5)
			}
			for _, f := range primary.log {
				replica.apply(f)
			}
			primary.log = nil
			if i%300 == 0 || i == 2999 {
				if a, b := primary.digest(), replica.digest(); a != b {
					t.Fatalf("seed %d: digests differ after %d commands", seed, i)
				}
				if a, b := primary.fields(), replica.fields(); a != b {
					t.Fatalf("seed %d: fields differ after %d commands:\n%s\nand\n%s", seed, i, a, b)
				}
				for db := range 3 {
					k, e := primary.store.Counts(db)
					k2, e2 := replica.store.Counts(db)
					if k != k2 || e != e2 {
						t.Fatalf("seed %d: database %d has %d/%d keys, replica %d/%d", seed, db, k, e, k2, e2)
					}
				}
			}
		}
	}
}
