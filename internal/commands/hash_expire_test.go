package commands_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/rdb"
	"haypile/internal/types/hash"
)

// expire removes what is due as package exec does: keys, and up to some fields of each hash.
func (g *gate) expire(fields int) {
	g.tb.Helper()
	due, err := g.store.Due(g.now, 1000)
	if err != nil {
		g.tb.Fatal(err)
	}
	for _, k := range due {
		g.tx.Reset()
		g.tx.Begin(keyspace.ModeWrite, k.DB, g.now)
		e, err := g.tx.Lookup(k.User)
		if err == nil && e.Found {
			var h hash.Hash
			if h, err = hash.At(g.tx, e); err == nil {
				_, err = h.ExpireDue(fields, 1<<20)
			}
		}
		if err != nil {
			g.tb.Fatal(err)
		}
		changes, bytes := g.tx.Expirations()
		if g.tx.Changes() != changes || int64(g.tx.EffectBytes()) != bytes {
			g.tb.Fatal("expiry of a key counts as a command")
		}
		g.commit()
	}
}

// fields lists all fields of hashes with their deadlines, past or not, and checks what is kept about these.
func (g *gate) fields() string {
	g.tb.Helper()
	snap, err := g.store.Snapshot()
	if err != nil {
		g.tb.Fatal(err)
	}
	defer snap.Close()
	var all []string
	for db := range 3 {
		timed := int64(0)
		index := map[string]int64{}
		err := snap.Keys(db, func(k *keyspace.FoundKey) bool {
			if due := k.Meta.Due(); due != 0 {
				index[string(k.User)] = due
			}
			if k.Meta.Type != encoding.Hash {
				return true
			}
			own := g.timedFields(snap, db, k)
			if k.Meta.HasTimed() {
				timed++
			}
			all = append(all, own...)
			return true
		})
		if err != nil {
			g.tb.Fatal(err)
		}
		if n := g.store.TimedHashes(db); n != timed {
			g.tb.Fatalf("database %d: the counter says %d hashes with deadlines, there are %d", db, n, timed)
		}
		due, err := g.store.Due(math.MaxInt64, math.MaxInt)
		if err != nil {
			g.tb.Fatal(err)
		}
		found := map[string]int64{}
		for _, k := range due {
			if k.DB == db {
				found[string(k.User)] = k.Deadline
			}
		}
		if !maps.Equal(found, index) {
			g.tb.Fatalf("database %d: the expiry index has %v, the keys %v", db, found, index)
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func (g *gate) timedFields(snap *keyspace.Snapshot, db int, k *keyspace.FoundKey) (all []string) {
	g.tb.Helper()
	m := k.Meta
	m.Extra = bytes.Clone(m.Extra)
	user := string(k.User)
	deadlines := map[string]int64{}
	next := int64(math.MaxInt64)
	err := snap.Elements(db, &m, func(el keyspace.Element) bool {
		if el.Deadline != 0 {
			deadlines[string(el.Member)] = el.Deadline
			next = min(next, el.Deadline)
		}
		all = append(all, fmt.Sprintf("%d %s deadline %d: %s=%s until %d", db, user, m.Deadline, el.Member, el.Value, el.Deadline))
		return true
	})
	if err != nil {
		g.tb.Fatal(err)
	}
	rows := map[string]int64{}
	timed, timedErr := m.Timed()
	from := encoding.AppendTimedKey(nil, timed.Next, timed.After)
	err = snap.ScanOrdered(db, &m, nil, nil, func(sortKey, _ []byte) bool {
		if bytes.Compare(sortKey, from) < 0 {
			g.tb.Fatalf("%s has the row %q before %q", user, sortKey, from)
		}
		d, field, _ := encoding.ParseTimedKey(sortKey)
		rows[string(field)] = d
		return true
	})
	if err = errors.Join(err, timedErr); err != nil || !maps.Equal(rows, deadlines) || timed.Count != uint64(len(rows)) || timed.Next > next ||
		m.Count != uint64(len(all)) {
		g.tb.Fatalf("%s: fields have %v, rows say %v, the metadata %+v of %d: %v", user, deadlines, rows, timed, m.Count, err)
	}
	return all
}

// timedModel is hashes with deadlines as plain maps.
type timedModel struct {
	now  int64
	keys map[string]*timedHash
}

type timedHash struct {
	deadline int64
	fields   map[string]timedField
}

type timedField struct {
	value    string
	deadline int64
}

// settle drops what is past its deadline, for good.
func (m *timedModel) settle() {
	for name, h := range m.keys {
		if h.deadline != 0 && h.deadline <= m.now {
			delete(m.keys, name)
			continue
		}
		for f, v := range h.fields {
			if v.deadline != 0 && v.deadline <= m.now {
				delete(h.fields, f)
			}
		}
	}
}

// tidy drops hashes without fields.
func (m *timedModel) tidy() {
	maps.DeleteFunc(m.keys, func(_ string, h *timedHash) bool { return len(h.fields) == 0 })
}

func (m *timedModel) open(key string) *timedHash {
	h := m.keys[key]
	if h == nil {
		h = &timedHash{fields: map[string]timedField{}}
		m.keys[key] = h
	}
	return h
}

func bulkOf(s string, found bool) string {
	if !found {
		return "$-1"
	}
	return fmt.Sprintf("$%d %s", len(s), s)
}

// do runs a command and returns the reply in the notation of flat.
func (m *timedModel) do(a []string) string {
	m.settle()
	defer m.tidy()
	key := a[1]
	h := m.keys[key]
	if h == nil {
		h = &timedHash{fields: map[string]timedField{}}
	}
	number := func(s string) (n int64) {
		_, _ = fmt.Sscan(s, &n)
		return n
	}
	reply := func(each []string, of func(string) string) string {
		out := fmt.Sprintf("*%d", len(each))
		for _, f := range each {
			out += " " + of(f)
		}
		return out
	}
	get := func(f string) string {
		v, ok := h.fields[f]
		return bulkOf(v.value, ok)
	}
	switch a[0] {
	case "HSET":
		h = m.open(key)
		n := 0
		for i := 2; i < len(a); i += 2 {
			if _, ok := h.fields[a[i]]; !ok {
				n++
			}
			h.fields[a[i]] = timedField{value: a[i+1]}
		}
		return fmt.Sprintf(":%d", n)
	case "HDEL":
		n := 0
		for _, f := range a[2:] {
			if _, ok := h.fields[f]; ok {
				n++
			}
			delete(h.fields, f)
		}
		return fmt.Sprintf(":%d", n)
	case "HGET":
		return get(a[2])
	case "HMGET":
		return reply(a[2:], get)
	case "HEXISTS":
		_, ok := h.fields[a[2]]
		return fmt.Sprintf(":%d", map[bool]int{true: 1}[ok])
	case "HSTRLEN":
		return fmt.Sprintf(":%d", len(h.fields[a[2]].value))
	case "HLEN":
		return fmt.Sprintf(":%d", len(h.fields))
	case "HINCRBY":
		h = m.open(key)
		f := h.fields[a[2]]
		f.value = fmt.Sprint(number(f.value) + number(a[3]))
		h.fields[a[2]] = f
		return ":" + f.value
	case "HSETNX":
		if _, ok := h.fields[a[2]]; ok {
			return ":0"
		}
		m.open(key).fields[a[2]] = timedField{value: a[3]}
		return ":1"
	case "HPEXPIRE":
		at, cond, fields := m.now+number(a[2]), "", a[5:]
		if a[3] != "FIELDS" {
			cond, fields = a[3], a[6:]
		}
		return reply(fields, func(f string) string {
			v, ok := h.fields[f]
			switch {
			case !ok:
				return ":-2"
			case cond == "NX" && v.deadline != 0, cond == "XX" && v.deadline == 0,
				cond == "GT" && (v.deadline == 0 || at <= v.deadline), cond == "LT" && v.deadline != 0 && at >= v.deadline:
				return ":0"
			case at <= m.now:
				delete(h.fields, f)
				return ":2"
			}
			v.deadline = at
			h.fields[f] = v
			return ":1"
		})
	case "HPTTL":
		return reply(a[4:], func(f string) string {
			v, ok := h.fields[f]
			switch {
			case !ok:
				return ":-2"
			case v.deadline == 0:
				return ":-1"
			}
			return fmt.Sprintf(":%d", v.deadline-m.now)
		})
	case "HPERSIST":
		return reply(a[4:], func(f string) string {
			v, ok := h.fields[f]
			switch {
			case !ok:
				return ":-2"
			case v.deadline == 0:
				return ":-1"
			}
			h.fields[f] = timedField{value: v.value}
			return ":1"
		})
	case "HGETEX":
		return reply(a[6:], func(f string) string {
			out := get(f)
			if v, ok := h.fields[f]; ok {
				if v.deadline = m.now + number(a[3]); v.deadline <= m.now {
					delete(h.fields, f)
				} else {
					h.fields[f] = v
				}
			}
			return out
		})
	case "HSETEX": // key [PX ms | KEEPTTL] FIELDS 2 f v g w
		h = m.open(key)
		px, keep := a[2] == "PX", a[2] == "KEEPTTL"
		for i := len(a) - 4; i < len(a); i += 2 {
			v := timedField{value: a[i+1]}
			if px {
				v.deadline = m.now + number(a[3])
			} else if keep {
				v.deadline = h.fields[a[i]].deadline
			}
			if h.fields[a[i]] = v; px && v.deadline <= m.now {
				delete(h.fields, a[i])
			}
		}
		return ":1"
	case "PEXPIRE":
		if len(h.fields) == 0 {
			return ""
		}
		h.deadline = m.now + number(a[2])
	case "DEL":
		delete(m.keys, key)
	case "RENAME":
		if len(h.fields) > 0 && key != a[2] {
			delete(m.keys, key)
			m.keys[a[2]] = h
		}
	case "COPY":
		if len(h.fields) > 0 && key != a[2] {
			m.keys[a[2]] = &timedHash{h.deadline, maps.Clone(h.fields)}
		}
	default:
		panic(a[0])
	}
	return ""
}

// all is what HGETALL shows of a key, with the deadlines, sorted.
func (h *timedHash) all() string {
	var out []string
	for f, v := range h.fields {
		out = append(out, fmt.Sprintf("%s=%s/%d", f, v.value, v.deadline))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// A random walk with a clock that moves, beside a model: every reader sees what the model has, whether anybody has
// deleted what is past its deadline or not; on a replica, too, by its own clock, and after a crash.
func TestFieldsExpireAsInModel(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 11))
		g, replica := newGate(t), newGate(t)
		m := &timedModel{keys: map[string]*timedHash{}}
		for i := range 2000 {
			g.now += rng.Int64N(12)
			m.now, replica.now = g.now, g.now
			a := modelCommand(rng)
			// The model has no hashes that are there only because nobody has deleted their last field yet.
			if a[0] == "PEXPIRE" || a[0] == "RENAME" || a[0] == "COPY" {
				for range 10 {
					g.expire(100)
				}
			}
			want := m.do(a)
			if got := flat(g.do(a...)); want != "" && got != want {
				t.Fatalf("seed %d, command %d %q: %q, want %q", seed, i, a, got, want)
			}
			if rng.IntN(6) == 0 {
				g.expire(1 + rng.IntN(4))
			}
			for _, f := range g.log {
				replica.apply(f)
			}
			g.log = nil
			if rng.IntN(60) == 0 {
				compareFields(t, g, m)
				compareFields(t, replica, m)
				if a, b := g.fields(), replica.fields(); a != b {
					t.Fatalf("seed %d, command %d: primary has\n%s\nreplica\n%s", seed, i, a, b)
				}
				if a, b := g.digest(), replica.digest(); a != b {
					t.Fatalf("seed %d, command %d: digests %s and %s", seed, i, a, b)
				}
			}
			if i%500 == 499 {
				// The log would bring back what is not flushed.
				if err := g.engine.Flush(); err != nil {
					t.Fatal(err)
				}
				g.crash()
			}
		}
	}
}

func modelCommand(rng *rand.Rand) []string {
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	key := func() string { return fmt.Sprintf("h%d", rng.IntN(4)) }
	field := func() string { return fmt.Sprintf("f%d", rng.IntN(12)) }
	ms := fmt.Sprint(rng.IntN(150))
	options := [][]string{
		{"HSET", key(), field(), "1"}, {"HSET", key(), field(), "2", field(), "3", field(), "4"},
		{"HDEL", key(), field(), field()}, {"HGET", key(), field()}, {"HMGET", key(), field(), field()},
		{"HEXISTS", key(), field()}, {"HSTRLEN", key(), field()}, {"HLEN", key()}, {"HINCRBY", key(), field(), "5"},
		{"HSETNX", key(), field(), "7"}, {"HPEXPIRE", key(), ms, "FIELDS", "3", field(), field(), field()},
		{"HPEXPIRE", key(), ms, pick("NX", "XX", "GT", "LT"), "FIELDS", "2", field(), field()},
		{"HPTTL", key(), "FIELDS", "2", field(), field()}, {"HPERSIST", key(), "FIELDS", "2", field(), field()},
		{"HGETEX", key(), "PX", ms, "FIELDS", "2", field(), field()},
		{"HSETEX", key(), "PX", ms, "FIELDS", "2", field(), "8", field(), "9"},
		{"HSETEX", key(), "KEEPTTL", "FIELDS", "2", field(), "10", field(), "11"},
		{"HSETEX", key(), "FIELDS", "2", field(), "12", field(), "13"},
	}
	if rng.IntN(12) == 0 {
		options = [][]string{{"PEXPIRE", key(), ms}, {"DEL", key()}, {"RENAME", key(), key()}, {"COPY", key(), key(), "REPLACE"}}
	}
	return options[rng.IntN(len(options))]
}

// compareFields looks at all hashes through every reader of whole hashes.
func compareFields(t *testing.T, g *gate, m *timedModel) {
	t.Helper()
	m.settle()
	m.tidy()
	lines := strings.Split(g.fields(), "\n")
	for i := range 4 {
		key := fmt.Sprintf("h%d", i)
		want := m.keys[key]
		if want == nil {
			want = &timedHash{}
		}
		var names, values []string
		for f, v := range want.fields {
			names = append(names, fmt.Sprintf("$%d %s", len(f), f))
			values = append(values, fmt.Sprintf("$%d %s", len(v.value), v.value))
		}
		same := func(what string, got, want []string) {
			t.Helper()
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("%s of %s at %d: %q, want %q", what, key, g.now, got, want)
			}
		}
		same("HKEYS", g.bulks(1, "HKEYS", key), names)
		same("HVALS", g.bulks(1, "HVALS", key), values)
		var pairs, scanned []string
		for f, v := range want.fields {
			pairs = append(pairs, fmt.Sprintf("$%d %s", len(f), f), fmt.Sprintf("$%d %s", len(v.value), v.value))
		}
		same("HGETALL", g.bulks(1, "HGETALL", key), pairs)
		same("HRANDFIELD", g.bulks(1, "HRANDFIELD", key, "100", "WITHVALUES"), pairs)
		for cursor := "0"; ; {
			page := g.bulks(1, "HSCAN", key, cursor, "COUNT", "3")
			scanned = append(scanned, page[1:]...)
			if cursor = page[0][strings.Index(page[0], " ")+1:]; cursor == "0" {
				break
			}
		}
		same("HSCAN", scanned, pairs)
		for _, f := range g.bulks(0, "HRANDFIELD", key, "-20") {
			if !slices.Contains(names, f) {
				t.Fatalf("HRANDFIELD of %s gave %q of %q", key, f, names)
			}
		}
		var have []string
		for _, line := range lines {
			var until int64
			var db int
			var k, w, f string
			if _, err := fmt.Sscanf(line, "%d %s deadline %s %s until %d", &db, &k, &w, &f, &until); err == nil && k == key &&
				(until == 0 || until > g.now) {
				have = append(have, fmt.Sprintf("%s/%d", f, until))
			}
		}
		slices.Sort(have)
		// A key past its own deadline is there, too, as long as nobody has deleted it.
		if got := strings.Join(have, " "); m.keys[key] != nil && got != want.all() {
			t.Fatalf("%s at %d has %q, want %q", key, g.now, got, want.all())
		}
	}
}

// bulks runs a command and returns the bulk strings of the reply, as "$length text".
func (g *gate) bulks(least int, args ...string) (all []string) {
	g.tb.Helper()
	parts := strings.Split(strings.TrimSuffix(g.do(args...), "\r\n"), "\r\n")
	if len(parts) < least {
		g.tb.Fatalf("%q: %q", args, parts)
	}
	for i := 0; i+1 < len(parts); i++ {
		if parts[i][0] == '$' {
			all = append(all, parts[i]+" "+parts[i+1])
			i++
		}
	}
	return all
}

// DUMP and RESTORE keep the deadlines of fields. What is past is not dumped, and what is restored past is not seen.
func TestDumpOfTimedFields(t *testing.T) {
	g := newGate(t)
	at := func(ms int64) string { return fmt.Sprint(testStart + ms) }
	g.do("HSET", "h", "a", "1", "b", "2", "c", "3")
	g.do("HPEXPIREAT", "h", at(50), "FIELDS", "1", "a")
	g.do("HPEXPIREAT", "h", at(1000), "FIELDS", "1", "b")
	payload := bulk(t, g.do("DUMP", "h"))
	if payload[0] != rdb.TypeHashTimed {
		t.Fatalf("type %d", payload[0])
	}
	g.want("+OK", "RESTORE", "copy", "0", payload)
	g.want(fmt.Sprintf("*3 :%s :%s :-1", at(50), at(1000)), "HPEXPIRETIME", "copy", "FIELDS", "3", "a", "b", "c")
	if a, b := g.digestValue("h"), g.digestValue("copy"); a != b {
		t.Errorf("digests %s and %s", a, b)
	}
	g.now += 100
	g.want("+OK", "RESTORE", "later", "0", payload)
	g.want("*3 $-1 $1 2 $1 3", "HMGET", "later", "a", "b", "c")
	g.want(":2", "HLEN", "later")
	payload = bulk(t, g.do("DUMP", "h"))
	g.now += 1000
	g.want("+OK", "RESTORE", "two", "0", payload)
	g.want("*3 $-1 $-1 $1 3", "HMGET", "two", "a", "b", "c")
	if payload = bulk(t, g.do("DUMP", "h")); payload[0] != rdb.TypeHash {
		t.Errorf("type %d without a deadline that is left", payload[0])
	}
	g.do("HPEXPIRE", "h", "10", "FIELDS", "1", "c")
	g.now += 10
	g.want("$-1", "DUMP", "h")
	g.expire(10)
	g.want(":0", "EXISTS", "h")
	g.fields()
	// As Redis 7.4 writes them: a hash, and a small one in a listpack.
	seal := func(body string) string { return string(rdb.Seal([]byte(body))) }
	table := "\x18\x00\x68\xe5\xcf\x8b\x01\x00\x00\x02\x00\x01a\x011\x81\x00\x00\x01\x00\x00\x00\x00\x01\x01b\x012"
	listpack := "\x19\x00\x68\xe5\xcf\x8b\x01\x00\x00\x1b" + "\x1b\x00\x00\x00\x06\x00" + "\x81b\x02\x02\x01" +
		"\xf4\x00\x00\x00\x00\x00\x10\x00\x00\x09" + "\x81a\x02\x01\x01\x00\x01" + "\xff"
	listpack = strings.Replace(listpack, "\x00\x00\x1b\x1b", "\x00\x00"+string([]byte{byte(len(listpack) - 10), byte(len(listpack) - 10)}), 1)
	g.want("+OK", "RESTORE", "table", "0", seal(table))
	g.want(fmt.Sprintf("*2 :-1 :%d", int64(testStart+1<<40)), "HPEXPIRETIME", "table", "FIELDS", "2", "a", "b")
	g.want("+OK", "RESTORE", "listpack", "0", seal(listpack))
	g.want(fmt.Sprintf("*2 :-1 :%d", int64(1)<<44), "HPEXPIRETIME", "listpack", "FIELDS", "2", "a", "b")
	g.want("*2 $1 1 $1 2", "HMGET", "listpack", "a", "b")
	g.fields()
	for _, bad := range []string{table[:len(table)-1], listpack[:len(listpack)-1], table + "x", "\x18", "\x19",
		"\x18\x00\x00\x00\x00\x00\x00\x00\x00\x00", strings.Replace(table, "\x01b", "\x01a", 1)} {
		g.want("-ERR Bad data format", "RESTORE", "bad", "0", seal(bad))
	}
	payload = seal(table)
	payload = payload[:len(payload)-10] + "\x0d" + payload[len(payload)-9:]
	g.want("-ERR DUMP payload version or checksum are wrong", "RESTORE", "bad", "0", payload)
}

// What a write meets past its deadline is deleted first, with the log in the order of what happened: a key that ends
// and begins anew has lost its own deadline.
func TestEffectsOfFieldExpiry(t *testing.T) {
	for _, c := range []struct{ command, reply, log string }{
		{"HGET h a", "$-1", ""}, {"HLEN h", ":1", ""}, {"HDEL h a", ":0", "HDEL h a"},
		{"HDEL h b a", ":1", "HDEL h a|HDEL h b a"}, {"HSET h a 3 c 4", ":2", "HDEL h a|HSET h a 3 c 4"},
		{"HSET h b 3 a 4", ":1", "HDEL h a|HSET h b 3 a 4"}, {"HSETNX h a 3", ":1", "HDEL h a|HSETNX h a 3"},
		{"HINCRBY h a 3", ":3", "HDEL h a|HINCRBY h a 3"}, {"HINCRBYFLOAT h a 3", "$1 3", "HDEL h a|HSET h a 3"},
		{"HGETDEL h FIELDS 2 b a", "*2 $1 2 $-1", "HDEL h a|HDEL h b"},
		{"HGETEX h FIELDS 2 b a", "*2 $1 2 $-1", "HDEL h a"},
		{"HPERSIST h FIELDS 2 b a", "*2 :-1 :-2", "HDEL h a"},
		{"HEXPIREAT h 1 FIELDS 2 b a", "*2 :2 :-2", "HDEL h a|HDEL h b"},
		{"HSETEX h FXX FIELDS 2 b 1 a 2", ":0", "HDEL h a"},
		{"HSETEX h FNX FIELDS 1 a 2", ":1", "HDEL h a|HSET h a 2"},
		{"HSETEX h KEEPTTL FIELDS 1 a 2", ":1", "HDEL h a|HSET h a 2"},
	} {
		g, replica := newGate(t), newGate(t)
		g.do("HSET", "h", "a", "1", "b", "2")
		g.do("HSET", "only", "a", "1")
		g.do("PEXPIRE", "only", "1000000")
		for _, key := range []string{"h", "only"} {
			g.do("HPEXPIRE", key, "10", "FIELDS", "1", "a")
		}
		g.now += 10
		log := g.log
		g.log = nil
		g.want(c.reply, strings.Split(c.command, " ")...)
		log = append(log, g.log...)
		if got := strings.Join(g.effects(), "|"); got != c.log {
			t.Errorf("%s logged %q, want %q", c.command, got, c.log)
		}
		only := strings.Replace(strings.Replace(c.command, " h ", " only ", 1), "HDEL only b a", "HDEL only a b", 1)
		g.do(strings.Split(only, " ")...)
		for _, f := range append(log, g.log...) {
			replica.apply(f)
		}
		if a, b := g.fields(), replica.fields(); a != b {
			t.Errorf("%s: primary has\n%s\nreplica\n%s", c.command, a, b)
		}
		if ttl := flat(g.do("PTTL", "only")); c.command[:4] != "HGET" && c.command[:4] != "HLEN" && ttl == ":999990" {
			t.Errorf("%s: a hash that ended keeps its deadline", c.command)
		}
		g.fields()
	}
}

// A hash that is left with fields past their deadline only gives nothing to anybody.
func TestHashOfExpiredFields(t *testing.T) {
	g := newGate(t)
	for _, n := range []int{1, 70, 3000} {
		args := []string{"HSETEX", "h", "PX", "10", "FIELDS", fmt.Sprint(n)}
		for i := range n {
			args = append(args, fmt.Sprint("f", i), "v")
		}
		g.want(":1", args...)
		g.do("HSET", "h", "keep", "1")
		g.want(fmt.Sprintf(":%d", n+1), "HLEN", "h")
		g.now += 10
		g.want(":1", "HLEN", "h")
		g.want("*1 $4 keep", "HRANDFIELD", "h", "5")
		g.want("*3 $4 keep $4 keep $4 keep", "HRANDFIELD", "h", "-3")
		g.want("$4 keep", "HRANDFIELD", "h")
		g.do("HDEL", "h", "keep")
		g.want("$-1", "HRANDFIELD", "h")
		g.want("*0", "HRANDFIELD", "h", "-5")
		g.want("*0", "HRANDFIELD", "h", "5", "WITHVALUES")
		g.want("*0", "HGETALL", "h")
		g.want("*2 $1 0 *0", "HSCAN", "h", "0")
		g.want(":0", "HLEN", "h")
		steps := 0
		for ; flat(g.do("EXISTS", "h")) == ":1"; steps++ {
			g.expire(100)
		}
		if want := (n + 99) / 100; steps != want {
			t.Errorf("%d fields are gone after %d steps, want %d", n, steps, want)
		}
		g.fields()
	}
}

// Who takes the earliest deadline away does not look for the next one; expiry does, once, and changes nothing else.
func TestEarliestDeadlineIsFoundLater(t *testing.T) {
	g := newGate(t)
	g.do("HSET", "h", "a", "1", "b", "2", "c", "3")
	g.do("HPEXPIRE", "h", "10", "FIELDS", "1", "a")
	g.do("HPEXPIRE", "h", "1000", "FIELDS", "1", "b")
	g.do("HSET", "h", "a", "2")
	g.now += 10
	g.effects()
	due := func() int {
		keys, err := g.store.Due(g.now, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	if due() != 1 {
		t.Error("the test does not meet what it is about")
	}
	g.expire(10)
	if log := g.effects(); due() != 0 || len(log) != 0 {
		t.Errorf("%d keys are due, logged %q", due(), log)
	}
	g.want("*3 $1 2 $1 2 $1 3", "HMGET", "h", "a", "b", "c")
	g.now += 1000
	g.expire(10)
	if log := strings.Join(g.effects(), "|"); log != "HDEL h b" || due() != 0 {
		t.Errorf("logged %q", log)
	}
	g.fields()
}

// Many fields with one deadline: expiry goes on behind what it has deleted, and a field that gets the same deadline
// later, before that place, is found all the same.
func TestFieldsOfOneDeadline(t *testing.T) {
	g := newGate(t)
	at := fmt.Sprint(g.now + 100)
	args := []string{"HSETEX", "h", "PXAT", at, "FIELDS", "50"}
	for i := range 50 {
		args = append(args, fmt.Sprintf("f%02d", i), "v")
	}
	g.want(":1", args...)
	// Expiry finds the first of them behind a field that has lost its deadline, and remembers where.
	g.want(":1", "HSETEX", "h", "PX", "10", "FIELDS", "1", "a", "v")
	g.do("HPERSIST", "h", "FIELDS", "1", "a")
	g.now += 10
	g.expire(10)
	g.fields()
	g.do("HPEXPIREAT", "h", at, "FIELDS", "1", "a")
	g.fields()
	g.now += 90
	for left := 50; left > 0; left -= 7 {
		g.expire(7)
		g.fields()
		g.want("*0", "HGETALL", "h")
	}
	g.expire(7)
	g.want(":0", "EXISTS", "h")
}
