package commands_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"haypile/internal/keyspace"
	"haypile/internal/rdb"
	"haypile/internal/types/digest"
)

// bulk is the content of a bulk reply.
func bulk(t testing.TB, reply string) string {
	t.Helper()
	if reply == "" || reply[0] != '$' || reply == "$-1\r\n" {
		t.Fatalf("no bulk reply: %q", reply)
	}
	return reply[strings.Index(reply, "\n")+1 : len(reply)-2]
}

// digestValue is DEBUG DIGEST-VALUE.
func (g *gate) digestValue(key string) string {
	g.tb.Helper()
	g.tx.Reset()
	g.tx.Begin(keyspace.ModeRead, g.db, g.now)
	d, err := digest.Value(g.tx, []byte(key))
	if err != nil {
		g.tb.Fatal(err)
	}
	return d
}

// dumpedKeys creates values in every encoding that a redis-server of strings, hashes and sets has.
func dumpedKeys(rng *rand.Rand) map[string][]string {
	long := strings.Repeat("compressible ", 400)
	noise := make([]byte, 20_000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	keys := map[string][]string{
		"empty": {"SET", "empty", ""}, "text": {"SET", "text", "hello"}, "long": {"SET", "long", long},
		"noise": {"SET", "noise", string(noise)}, "zeros": {"SET", "zeros", strings.Repeat("\x00", 70_000)},
	}
	for i, n := range []string{"0", "-1", "127", "-128", "128", "-129", "32767", "-32768", "32768",
		"2147483647", "-2147483648",
		"2147483648", "9223372036854775807", "-9223372036854775808", "00", "-0", "1.5"} {
		key := fmt.Sprint("number", i)
		keys[key] = []string{"SET", key, n}
	}
	small := []string{"HSET", "small"}
	for i, n := range []int64{0, 1, -1, 63, 127, 128, -128, 4095, -4096, 4096, 32767, -32768, 1 << 22,
		-1 << 23, 1 << 30, -1 << 31, 1 << 40, -1 << 62} {
		small = append(small, fmt.Sprint("f", i), fmt.Sprint(n))
	}
	keys["small"] = append(small, "text", "x", "empty", "", "", "no field", "sixty-three", strings.Repeat("y",
		63))
	keys["wide"] = []string{"HSET", "wide", "f", long, "g", string(noise), strings.Repeat("k", 300), "v"}
	many := []string{"HSET", "many"}
	for i := range 2000 {
		many = append(many, fmt.Sprint("field", i), fmt.Sprint(i*i))
	}
	keys["many"] = many
	keys["int16"] = []string{"SADD", "int16", "1", "-32768", "32767", "0"}
	keys["int32"] = []string{"SADD", "int32", "1", "-32769", "2147483647"}
	keys["int64"] = []string{"SADD", "int64", "1", "-2147483649", "9223372036854775807", "-9223372036854775808"}
	keys["words"] = []string{"SADD", "words", "a", "", "17", "-0", long}
	set := []string{"SADD", "set"}
	for i := range 2000 {
		set = append(set, fmt.Sprint(i*7))
	}
	keys["set"] = set
	keys["small list"] = append([]string{"RPUSH", "small list"}, small[2:]...)
	list := []string{"RPUSH", "list"}
	for i := range 3000 {
		list = append(list, fmt.Sprint("element", i*i), fmt.Sprint(i*i*i))
	}
	keys["list"] = list
	keys["wide list"] = []string{"RPUSH", "wide list", long, string(noise), "", long}
	keys["scores"] = []string{"ZADD", "scores", "1", "a", "-inf", "b", "inf", "c", "0.1", "", "-1e300", "17", "3", long}
	zset := []string{"ZADD", "zset"}
	for i := range 2000 {
		zset = append(zset, fmt.Sprint(rng.NormFloat64()*1000), fmt.Sprint("m", i))
	}
	keys["zset"] = zset
	return keys
}

func TestDumpAgainstRedis(t *testing.T) {
	p := newPair(t)
	for key, create := range dumpedKeys(rand.New(rand.NewPCG(1, 1))) {
		p.same(create...)
		want := flat(p.real.do("DEBUG", "DIGEST-VALUE", key))
		want = want[len(want)-40:]
		if got := p.digestValue(key); got != want {
			t.Errorf("%s: digest %s, want %s", key, got, want)
		}
		theirs, ours := bulk(t, p.real.do("DUMP", key)), bulk(t, p.gate.do("DUMP", key))
		p.gate.want("+OK", "RESTORE", "from redis", "0", theirs, "REPLACE")
		if got := p.digestValue("from redis"); got != want {
			t.Errorf("%s: RESTORE of redis' DUMP (type %d) has digest %s, want %s", key, theirs[0], got, want)
		}
		p.real.do("DEL", "from haypile")
		if got := p.real.do("RESTORE", "from haypile", "0", ours); got != "+OK\r\n" {
			t.Errorf("%s: redis answers %q to RESTORE of our DUMP", key, got)
			continue
		}
		got := flat(p.real.do("DEBUG", "DIGEST-VALUE", "from haypile"))
		if got = got[len(got)-40:]; got != want {
			t.Errorf("%s: redis' RESTORE of our DUMP has digest %s, want %s", key, got, want)
		}
	}
	if d := p.digestValue("missing"); d != strings.Repeat("0", 40) {
		t.Errorf("digest of a missing key %s", d)
	}
	// Payloads that both refuse, and for the same reason.
	good := bulk(t, p.real.do("DUMP", "small"))
	wrongSum := good[:len(good)-1] + "x"
	for _, payload := range []string{wrongSum, "", "x", good[:20], string(rdb.Seal([]byte{rdb.TypeString, 200})),
		string(rdb.Seal([]byte{rdb.TypeHash, 0})), string(rdb.Seal([]byte{rdb.TypeHash, 2, 1, 'a', 1, 'b'})),
		string(rdb.Seal([]byte{99, 0})), string(rdb.Seal([]byte{rdb.TypeSet, 0})),
		string(rdb.Seal([]byte{rdb.TypeSet, 2, 1, 'a', 40})),
		string(rdb.Seal([]byte{rdb.TypeSetIntset, 8, 3, 0, 0, 0, 1, 0, 0, 0})),
		string(rdb.Seal([]byte{rdb.TypeList, 0})), string(rdb.Seal([]byte{rdb.TypeList, 2, 1, 'a', 40})),
		string(rdb.Seal([]byte{rdb.TypeListQuicklist2, 1, 3, 1, 'a'})),
		string(rdb.Seal([]byte{rdb.TypeString, 0xc3, 1, 200, 0}))} {
		p.same("RESTORE", "bad", "0", payload)
		p.same("EXISTS", "bad")
	}
	twice := string(rdb.Seal([]byte{rdb.TypeHash, 2, 1, 'a', 1, 'b', 1, 'a', 1, 'b'}))
	for _, payload := range []string{
		string(rdb.Seal([]byte{rdb.TypeZSet2, 0})), string(rdb.Seal([]byte{rdb.TypeZSet2, 1, 1, 'a', 0, 0, 0})),
		string(rdb.Seal([]byte{rdb.TypeZSet2, 1, 1, 'a', 0, 0, 0, 0, 0, 0, 0xf8, 0x7f})),
		string(rdb.Seal([]byte{rdb.TypeZSet, 1, 1, 'a', 1, 'x'})), string(rdb.Seal([]byte{rdb.TypeZSet, 1, 1, 'a', 253})),
	} {
		p.gate.want("-ERR Bad data format", "RESTORE", "bad", "0", payload)
	}
	p.gate.want("+OK", "RESTORE", "old", "0", string(rdb.Seal([]byte{rdb.TypeZSet, 2, 1, 'a', 3, '1', '.', '5', 1, 'b', 254})))
	p.gate.want("*4 $1 a $3 1.5 $1 b $3 inf", "ZRANGE", "old", "0", "-1", "WITHSCORES")
	twin := string(rdb.Seal([]byte{rdb.TypeSet, 2, 1, 'a', 1, 'a'}))
	unsorted := string(rdb.Seal([]byte{rdb.TypeSetIntset, 12, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 1, 0}))
	for _, payload := range []string{twice, twin, unsorted} {
		p.gate.want("-ERR Bad data format", "RESTORE", "bad", "0", payload)
	}
}

func TestRestoreTTL(t *testing.T) {
	g := newGate(t)
	g.do("HSET", "h", "f", "v")
	payload := bulk(t, g.do("DUMP", "h"))
	g.effects()
	check := func(want string) {
		t.Helper()
		if got := strings.Join(g.effects(), "|"); got != want {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
	now := fmt.Sprint(g.now + 500)
	g.want("-BUSYKEY Target key name already exists.", "RESTORE", "h", "0", payload)
	g.want("+OK", "RESTORE", "a", "500", payload)
	check("RESTORE a " + now + " " + payload + " ABSTTL")
	g.want("+OK", "RESTORE", "a", "500", payload, "replace")
	check("RESTORE a " + now + " " + payload + " ABSTTL REPLACE")
	g.want(":500", "PTTL", "a")
	g.want("+OK", "restore", "a", now, payload, "REPLACE", "ABSTTL", "FREQ", "5")
	check("restore a " + now + " " + payload + " REPLACE ABSTTL FREQ 5")
	// In the past: the key is only deleted.
	g.want("+OK", "RESTORE", "a", "1", payload, "REPLACE", "ABSTTL")
	check("DEL a")
	g.want(":0", "EXISTS", "a")
	g.want("+OK", "RESTORE", "a", "1", payload, "ABSTTL")
	check("")
	g.want("-ERR Bad data format", "RESTORE", "a", "1", string(rdb.Seal([]byte{99})), "ABSTTL")
	g.want("*2 $1 f $1 v", "HGETALL", "h")
	if keys, expires := g.store.Counts(0); keys != 1 || expires != 0 {
		t.Errorf("%d keys, %d with a deadline", keys, expires)
	}
}

// ziplist encodes values as Redis up to 6.2 did in small hashes.
func ziplist(values ...string) string {
	var entries []byte
	before, last := 0, 0
	for _, v := range values {
		last = len(entries)
		at := len(entries)
		if before < 254 {
			entries = append(entries, byte(before))
		} else {
			entries = binary.LittleEndian.AppendUint32(append(entries, 254), uint32(before))
		}
		switch n := 0; {
		case v == "7":
			entries = append(entries, 0xf8)
		case len(v) > 1 && v[0] == '#': // an integer of the named width
			var i int64
			if _, err := fmt.Sscanf(v, "#%d:%d", &n, &i); err != nil {
				panic(err)
			}
			entries = append(entries, map[int]byte{1: 0xfe, 2: 0xc0, 3: 0xf0, 4: 0xd0, 8: 0xe0}[n])
			for range n {
				entries = append(entries, byte(i))
				i >>= 8
			}
		case len(v) < 64:
			entries = append(append(entries, byte(len(v))), v...)
		case len(v) < 1<<14:
			entries = append(append(entries, 0x40|byte(len(v)>>8), byte(len(v))), v...)
		default:
			entries = append(binary.BigEndian.AppendUint32(append(entries, 0x80), uint32(len(v))), v...)
		}
		before = len(entries) - at
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(entries)+11))
	b = binary.LittleEndian.AppendUint32(b, uint32(10+last))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(values)))
	return string(append(append(b, entries...), 0xff))
}

func TestRestoreZiplistAgainstRedis(t *testing.T) {
	p := newPair(t)
	body := ziplist("f", "v", "7", "#1:-3", "g", "#2:-300", "h", "#3:-70000", "i", "#4:123456789", "j",
		"#8:-1234567890123",
		strings.Repeat("long", 30), strings.Repeat("x", 300), "after", strings.Repeat("y", 17_000), "last", "")
	payload := string(rdb.Seal(rdb.AppendString([]byte{rdb.TypeHashZiplist}, []byte(body))))
	p.same("RESTORE", "z", "0", payload)
	p.same("HLEN", "z")
	p.same("HGETALL", "z")
	p.sameDigest()
	if n := p.gate.do("HLEN", "z"); n != ":9\r\n" {
		t.Errorf("%q fields", n)
	}
	// Lists of Redis up to 3.0, and up to 6.2.
	p.same("RESTORE", "l", "0", string(rdb.Seal(rdb.AppendString([]byte{rdb.TypeListZiplist}, []byte(body)))))
	p.same("LRANGE", "l", "0", "-1")
	nodes := rdb.AppendString([]byte{rdb.TypeListQuicklist, 2}, []byte(body))
	nodes = rdb.AppendString(nodes, []byte(ziplist("7", "end")))
	p.same("RESTORE", "q", "0", string(rdb.Seal(nodes)))
	p.same("LRANGE", "q", "0", "-1")
	p.sameDigest()
}
