package exec

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// model is the key space as plain maps, with the commands of this test: what the gate is compared with.
type model struct {
	dbs [testDatabases]map[string]*modelValue
	db  int
	// queue holds the commands of a MULTI; nil outside.
	queue []string
	multi bool
}

// modelValue is a string, or a hash or a list if that is set. Deadlines are far away: only whether there is one counts.
type modelValue struct {
	str      string
	hash     map[string]string
	list     []string
	deadline bool
}

func newModel() *model {
	m := &model{}
	for i := range m.dbs {
		m.dbs[i] = map[string]*modelValue{}
	}
	return m
}

const (
	wrongType  = "-WRONGTYPE Operation against a key holding the wrong kind of value"
	notInteger = "-ERR value is not an integer or out of range"
)

// do executes a line and returns the reply in the notation of short.
func (m *model) do(line string) string {
	w := strings.Fields(line)
	switch {
	case w[0] == "MULTI":
		m.multi, m.queue = true, nil
		return "OK"
	case w[0] == "EXEC":
		var replies []string
		m.multi = false
		for _, q := range m.queue {
			replies = append(replies, m.do(q))
		}
		return "[" + strings.Join(replies, " ") + "]"
	case w[0] == "DISCARD":
		m.multi = false
		return "OK"
	case m.multi:
		m.queue = append(m.queue, line)
		return "QUEUED"
	}
	keys := m.dbs[m.db]
	switch w[0] {
	case "SELECT":
		m.db, _ = strconv.Atoi(w[1])
		return "OK"
	case "DBSIZE":
		return strconv.Itoa(len(keys))
	case "FLUSHDB":
		m.dbs[m.db] = map[string]*modelValue{}
		return "OK"
	case "SWAPDB":
		a, _ := strconv.Atoi(w[1])
		b, _ := strconv.Atoi(w[2])
		m.dbs[a], m.dbs[b] = m.dbs[b], m.dbs[a]
		return "OK"
	case "DEL":
		n := 0
		for _, k := range w[1:] {
			if keys[k] != nil {
				n++
			}
			delete(keys, k)
		}
		return strconv.Itoa(n)
	case "MSET":
		for i := 1; i < len(w); i += 2 {
			keys[w[i]] = &modelValue{str: w[i+1]}
		}
		return "OK"
	case "RENAME", "RENAMENX", "COPY", "MOVE":
		return m.transfer(w)
	}
	switch {
	case strings.HasPrefix(w[0], "H"):
		return m.hash(w)
	case isListCommand(w[0]):
		return m.list(w)
	}
	return m.single(w)
}

// transfer moves or copies a value.
func (m *model) transfer(w []string) string {
	keys := m.dbs[m.db]
	v, to := keys[w[1]], keys
	name := w[2]
	if w[0] == "MOVE" {
		n, _ := strconv.Atoi(w[2])
		if to, name = m.dbs[n], w[1]; n == m.db {
			return "-ERR source and destination objects are the same"
		}
	}
	switch {
	case w[0] == "COPY" && w[1] == w[2]:
		return "-ERR source and destination objects are the same"
	case v == nil && strings.HasPrefix(w[0], "RENAME"):
		return "-ERR no such key"
	case v == nil, w[0] != "RENAME" && to[name] != nil && !strings.HasSuffix(strings.Join(w, " "), "REPLACE"):
		return "0"
	}
	if w[0] == "COPY" {
		c := *v
		c.hash = maps.Clone(v.hash)
		to[name] = &c
		return "1"
	}
	delete(keys, w[1])
	to[name] = v
	if w[0] == "RENAME" {
		return "OK"
	}
	return "1"
}

// single are the commands of one string key, and those of any key.
func (m *model) single(w []string) string {
	keys := m.dbs[m.db]
	v := keys[w[1]]
	switch w[0] {
	case "SET":
		keys[w[1]] = &modelValue{str: w[2], deadline: len(w) > 3}
		return "OK"
	case "TYPE":
		switch {
		case v == nil:
			return "none"
		case v.hash != nil:
			return "hash"
		case v.list != nil:
			return "list"
		}
		return "string"
	case "EXPIRE", "PERSIST":
		if v == nil || w[0] == "PERSIST" && !v.deadline {
			return "0"
		}
		v.deadline = w[0] == "EXPIRE"
		return "1"
	}
	if v != nil && (v.hash != nil || v.list != nil) {
		return wrongType
	}
	switch w[0] {
	case "GET":
		if v == nil {
			return "nil"
		}
		return v.str
	case "GETDEL":
		if v == nil {
			return "nil"
		}
		delete(keys, w[1])
		return v.str
	}
	created := v == nil
	if created {
		v = &modelValue{}
	}
	switch w[0] {
	case "APPEND":
		v.str += w[2]
		keys[w[1]] = v
		return strconv.Itoa(len(v.str))
	case "INCRBY":
		n, err := strconv.ParseInt("0"+v.str, 10, 64)
		if err != nil || strings.HasPrefix(v.str, "0") && v.str != "0" {
			return notInteger
		}
		by, _ := strconv.ParseInt(w[2], 10, 64)
		v.str = strconv.FormatInt(n+by, 10)
		keys[w[1]] = v
		return v.str
	}
	panic("no model of " + w[0])
}

func (m *model) hash(w []string) string {
	keys := m.dbs[m.db]
	v := keys[w[1]]
	if v != nil && v.hash == nil {
		return wrongType
	}
	var fields map[string]string
	if v != nil {
		fields = v.hash
	}
	switch w[0] {
	case "HLEN":
		return strconv.Itoa(len(fields))
	case "HGET":
		if f, ok := fields[w[2]]; ok {
			return f
		}
		return "nil"
	case "HDEL":
		n := 0
		for _, f := range w[2:] {
			if _, ok := fields[f]; ok {
				n++
				delete(fields, f)
			}
		}
		if v != nil && len(fields) == 0 {
			delete(keys, w[1])
		}
		return strconv.Itoa(n)
	case "HINCRBY":
		n, err := strconv.ParseInt("0"+fields[w[2]], 10, 64)
		if err != nil {
			return "-ERR hash value is not an integer"
		}
		if fields == nil {
			fields = map[string]string{}
			keys[w[1]] = &modelValue{hash: fields}
		}
		fields[w[2]] = strconv.FormatInt(n+1, 10)
		return fields[w[2]]
	case "HSET":
		if fields == nil {
			fields = map[string]string{}
			keys[w[1]] = &modelValue{hash: fields}
		}
		n := 0
		for i := 2; i < len(w); i += 2 {
			if _, ok := fields[w[i]]; !ok {
				n++
			}
			fields[w[i]] = w[i+1]
		}
		return strconv.Itoa(n)
	}
	panic("no model of " + w[0])
}

// line is a random command of the model; many of them fail or find the wrong type.
func modelLine(r *rand.Rand) string {
	k := func() string { return fmt.Sprintf("k%d", r.IntN(7)) }
	v := func() string { return []string{"abc", "17", "xyz"}[r.IntN(3)] }
	f := func() string { return fmt.Sprintf("f%d", r.IntN(90)) }
	switch r.IntN(34) {
	case 0, 1:
		return "SET " + k() + " " + v()
	case 2:
		return "SET " + k() + " " + v() + " EX 1000"
	case 3:
		return "GET " + k()
	case 4:
		return "GETDEL " + k()
	case 5:
		return "APPEND " + k() + " " + v()
	case 6, 7:
		return "INCRBY " + k() + " 3"
	case 8, 9:
		return "HSET " + k() + " " + f() + " " + v() + " " + f() + " 1"
	case 10:
		line := "HSET " + k()
		for range 40 {
			line += " " + f() + " " + v()
		}
		return line
	case 11:
		return "HDEL " + k() + " " + f() + " " + f() + " " + f()
	case 12:
		return "HINCRBY " + k() + " " + f() + " 1"
	case 13:
		return "HGET " + k() + " " + f()
	case 14:
		return "HLEN " + k()
	case 15:
		return "DEL " + k() + " " + k()
	case 16:
		return "RENAME " + k() + " " + k()
	case 17:
		return "RENAMENX " + k() + " " + k()
	case 18:
		return "COPY " + k() + " " + k() + []string{"", " REPLACE"}[r.IntN(2)]
	case 19:
		return fmt.Sprintf("MOVE %s %d", k(), r.IntN(testDatabases))
	case 20:
		return "EXPIRE " + k() + " 1000"
	case 21:
		return "PERSIST " + k()
	case 22:
		return "MSET " + k() + " " + v() + " " + k() + " 5"
	case 23:
		return "TYPE " + k()
	case 24:
		return fmt.Sprintf("SELECT %d", r.IntN(testDatabases))
	case 25, 26, 27, 28, 29, 30, 31, 32:
		return listLine(r, k, v)
	default:
		return []string{"DBSIZE", "DBSIZE", "FLUSHDB", "SWAPDB 0 1", "SWAPDB 2 1"}[r.IntN(5)]
	}
}

// TestModel runs random pipelines of one client, with transactions and failing commands in them, and compares
// every reply with plain maps; then the keys, and what a replay of the log gives.
func TestModel(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 5))
		g := newGate(t, gateOptions{})
		c, m := g.client(), newModel()
		var history []string
		for range 300 {
			var lines []string
			for range 1 + rng.IntN(8) {
				if rng.IntN(12) > 0 {
					lines = append(lines, modelLine(rng))
					continue
				}
				lines = append(lines, "MULTI")
				for range rng.IntN(5) {
					lines = append(lines, modelLine(rng))
				}
				lines = append(lines, []string{"EXEC", "EXEC", "DISCARD"}[rng.IntN(3)])
			}
			history = append(history, lines...)
			got := c.batch(lines...)
			for i, l := range lines {
				if want := m.do(l); i >= len(got) || got[i] != want {
					t.Fatalf("seed %d: %q of %q: got %q, want %q; before: %q", seed, l, lines, got, want,
						history[max(0, len(history)-60):])
				}
			}
		}
		c.Close()
		have := g.must()
		for db := range m.dbs {
			if have.dbs[db][0] != int64(len(m.dbs[db])) {
				t.Fatalf("seed %d: database %d has %d keys, want %d", seed, db, have.dbs[db][0], len(m.dbs[db]))
			}
		}
		ref := newReplayed(t, g)
		if d := have.differs(ref.must()); d != "" {
			t.Fatalf("seed %d: a replay gives something else: %s", seed, d)
		}
		ref.close()
		g.close()
	}
}
