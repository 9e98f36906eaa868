package commands_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/resp"
)

func newTable(t testing.TB) (*command.Table, []*commands.Command) {
	t.Helper()
	all := commands.All()
	table, err := commands.NewTable(all)
	if err != nil {
		t.Fatal(err)
	}
	return table, all
}

func TestTableIsComplete(t *testing.T) {
	table, all := newTable(t)
	for _, c := range all {
		if c.Run == nil && len(c.Sub) == 0 {
			t.Errorf("%s: no function", c.Name)
		}
		for _, sub := range c.Sub {
			if sub.Run == nil {
				t.Errorf("%s: no function", sub.FullName())
			}
			if len(sub.Sub) > 0 {
				t.Errorf("%s: sub-commands have none of their own", sub.FullName())
			}
		}
		if c.Flags.Has(command.Exclusive) && !c.Flags.Has(command.Write) {
			t.Errorf("%s: exclusive but no write", c.Name)
		}
	}
	if table.Len() != len(all) {
		t.Errorf("table has %d of %d commands", table.Len(), len(all))
	}
}

// Nodes in one process must not share counters or descriptions.
func TestAllIsFreshEachTime(t *testing.T) {
	_, a := newTable(t)
	_, b := newTable(t)
	for i := range a {
		if a[i] == b[i] {
			t.Fatalf("%s is shared", a[i].Name)
		}
		for j := range a[i].Sub {
			if a[i].Sub[j] == b[i].Sub[j] || a[i].Spec.Sub[j] == b[i].Spec.Sub[j] {
				t.Fatalf("%s is shared", a[i].Sub[j].FullName())
			}
			if a[i].Spec.Sub[j] != &a[i].Sub[j].Spec || a[i].Sub[j].Parent() != &a[i].Spec {
				t.Fatalf("%s is not linked to its container", a[i].Sub[j].FullName())
			}
		}
	}
}

// What stock Sentinel sends must be admitted on a replica whose link is down and on a node that loads, and be
// queued by MULTI. PING is not among it: -LOADING and -MASTERDOWN tell Sentinel that the node is alive, and more.
func TestSentinelIsAdmitted(t *testing.T) {
	table, _ := newTable(t)
	for _, line := range []string{
		"INFO", "AUTH x", "CLIENT SETNAME x", "SUBSCRIBE c", "PUBLISH c m", "MULTI", "SLAVEOF NO ONE",
		"REPLICAOF h 1", "CONFIG REWRITE", "CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub", "EXEC", "ROLE",
	} {
		var args [][]byte
		for _, w := range strings.Fields(line) {
			args = append(args, []byte(w))
		}
		s, ok := table.Find(args)
		if s == nil || !ok || !s.ArityOK(len(args)) {
			t.Errorf("%s: no such command", line)
			continue
		}
		if !s.Flags.Has(command.Loading) || !s.Flags.Has(command.Stale) || s.Flags.Has(command.NoMulti) {
			t.Errorf("%s: flags %v", line, s.Flags.Names())
		}
		if s.Flags.Has(command.Write) {
			t.Errorf("%s: refused on a replica", line)
		}
	}
}

// described is one entry of COMMAND, as far as it is compared.
type described struct {
	arity             int64
	flags, categories string
	first, last, step int64
	keys              string
}

// allowed are the deviations of our table from Redis 7.0.15's, each with its reason. A field is one of those
// that compare names.
var allowed = map[string]map[string]string{
	"auth":           {"flags": "passwords reach neither MONITOR nor the slow log, not even redacted"},
	"watch":          {"flags": "readonly: the gate locks and reads the keys"},
	"client":         {"flags": "a container's own flags are read by nobody"},
	"pubsub":         {"flags": "as client"},
	"migrate":        {"flags": "refused, so it has no keys", "positions": "as flags", "keys": "as flags"},
	"restore-asking": {"flags": "asking: there is no cluster mode"},
	"replicaof": {
		"flags": "loading: a node whose role is not settled must hear who its primary is",
	},
	"slaveof": {"flags": "as replicaof"},

	"publish":  {"flags": "may_replicate: Redis has the flag and does not print it"},
	"spublish": {"flags": "as publish"},
	"pfcount":  {"flags": "as publish"},

	"function|list":  {"flags": "readonly: the gate reads rows"},
	"function|dump":  {"flags": "as function|list"},
	"function|stats": {"flags": "as function|list"},

	"wait": {"flags": "blocking, as in Redis 7.2", "categories": "as flags"},

	"zrank":    {"arity": "WITHSCORE, as in Redis 7.2"},
	"zrevrank": {"arity": "as zrank"},

	"command|getkeys":         {"arity": "as in Redis 7.2: a command may have no arguments"},
	"command|getkeysandflags": {"arity": "as command|getkeys"},
}

// ours do not exist in Redis 7.0.15.
var ours = map[string]string{
	"compact": "Pika's", "pksetexat": "Pika's", "waitaof": "Redis 7.2",
	"pkscanrange": "Pika's", "pkrscanrange": "Pika's", "scanx": "Pika's", "pkhscanrange": "Pika's",
	"pkhrscanrange": "Pika's", "hscanx": "Pika's", "pkpatternmatchdel": "Pika's", "compactrange": "Pika's",
	"hgetdel": "Redis 8.0", "hgetex": "Redis 8.0", "hsetex": "Redis 8.0",
	"hexpire": "Redis 7.4", "hpexpire": "Redis 7.4", "hexpireat": "Redis 7.4", "hpexpireat": "Redis 7.4", "httl": "Redis 7.4",
	"hpttl": "Redis 7.4", "hexpiretime": "Redis 7.4", "hpexpiretime": "Redis 7.4", "hpersist": "Redis 7.4",
	"msetex": "Redis 8.4", "delex": "Redis 8.4", "digest": "Redis 8.4",
	"client|setinfo": "Redis 7.2", "client|no-touch": "Redis 7.2", "cluster|myshardid": "Redis 7.2",
}

func TestDescriptionsAreThoseOfRedis(t *testing.T) {
	redis := redisCommands(t)
	a := newAdmin(t)
	used := map[string]bool{}
	for _, top := range a.node.table.All() {
		for _, s := range append([]*command.Spec{top}, top.Sub...) {
			name := s.FullName()
			theirs, known := redis[name]
			if !known {
				if ours[name] == "" {
					t.Errorf("%s: not in Redis", name)
				}
				continue
			}
			mine := describeValue(decode(t, a.run("COMMAND", "INFO", name)).Elems[0])
			for field, pair := range compareWith(mine, theirs) {
				used[name+" "+field] = true
				if allowed[name][field] == "" {
					t.Errorf("%s: %s is %s, in Redis %s", name, field, pair[0], pair[1])
				}
			}
		}
	}
	for name, fields := range allowed {
		for field := range fields {
			if !used[name+" "+field] {
				t.Errorf("%s: %s does not differ any more", name, field)
			}
		}
	}
}

// newIn72 are the commands that Redis 7.2 has and 7.0 has not.
var newIn72 = []string{"waitaof", "client|setinfo", "client|no-touch", "cluster|myshardid"}

// refusal is what the summary of a command looks like that does nothing here.
var refusal = regexp.MustCompile(`^Refused[.:]`)

// TestEveryCommandOfRedisIsThere: each is in the table, where it works or is refused with a reason.
func TestEveryCommandOfRedisIsThere(t *testing.T) {
	table, _ := newTable(t)
	specs := map[string]*command.Spec{}
	for _, top := range table.All() {
		specs[top.FullName()] = top
		for _, s := range top.Sub {
			specs[s.FullName()] = s
		}
	}
	names := newIn72
	for name := range redisCommands(t) {
		names = append(names, name)
	}
	for _, name := range names {
		s := specs[name]
		switch {
		case s == nil:
			t.Errorf("%s: not in the table", name)
		case refusal.MatchString(s.Summary) && s.Differs == "":
			t.Errorf("%s: refused without a reason", name)
		}
	}
}

func compareWith(a, b described) map[string][2]string {
	diff := map[string][2]string{}
	add := func(field string, x, y any) {
		if x != y {
			diff[field] = [2]string{fmt.Sprint(x), fmt.Sprint(y)}
		}
	}
	add("arity", a.arity, b.arity)
	add("flags", a.flags, b.flags)
	add("categories", a.categories, b.categories)
	add("positions", [3]int64{a.first, a.last, a.step}, [3]int64{b.first, b.last, b.step})
	add("keys", a.keys, b.keys)
	return diff
}

// decode reads a reply.
func decode(t *testing.T, reply string) resp.Value {
	t.Helper()
	v, err := resp.NewReplyReader(strings.NewReader(reply)).ReadValue()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func describeValue(v resp.Value) described {
	e := v.Elems
	return described{
		arity: e[1].Int, flags: words(e[2]), first: e[3].Int, last: e[4].Int, step: e[5].Int,
		categories: words(e[6]), keys: keySpecs(e[8]),
	}
}

// keySpecs spells key specifications without the notes that some of them carry.
func keySpecs(v resp.Value) string {
	var all []string
	for _, spec := range v.Elems {
		var parts []string
		for i := 0; i+1 < len(spec.Elems); i += 2 {
			switch name := string(spec.Elems[i].Str); name {
			case "notes":
			case "flags":
				parts = append(parts, words(spec.Elems[i+1]))
			default:
				parts = append(parts, name+nested(spec.Elems[i+1]))
			}
		}
		all = append(all, strings.Join(parts, " "))
	}
	return strings.Join(all, "; ")
}

func nested(v resp.Value) string {
	if v.Elems == nil && v.Kind != resp.KindArray {
		return v.String()
	}
	var parts []string
	for _, e := range v.Elems {
		parts = append(parts, nested(e))
	}
	return "(" + strings.Join(parts, " ") + ")"
}

func words(v resp.Value) string {
	var all []string
	for _, e := range v.Elems {
		all = append(all, string(e.Str))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// redisCommands asks a real redis-server for its table.
func redisCommands(t *testing.T) map[string]described {
	t.Helper()
	all := map[string]described{}
	for _, e := range decode(t, startRedis(t).do("COMMAND")).Elems {
		all[string(e.Elems[0].Str)] = describeValue(e)
		for _, sub := range e.Elems[9].Elems {
			all[string(sub.Elems[0].Str)] = describeValue(sub)
		}
	}
	return all
}
