package commands_test

import (
	"errors"

	"math/rand/v2"
	"strings"
	"testing"

	"haypile/internal/command"
	"haypile/internal/option"
)

func TestACL(t *testing.T) {
	a := newAdmin(t)
	a.expect("$7 default", "", "ACL", "WHOAMI")
	a.expect("*1 $7 default", "", "ACL", "USERS")
	a.expect("*1 $51 user default on nopass sanitize-payload ~* &* +@all", "", "ACL", "LIST")
	a.expect("$-1", "", "ACL", "GETUSER", "nosuch")
	a.node.users.SetDefaultPassword("secret")
	const hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
	a.expect("*1 $110 user default on sanitize-payload #"+hash+" ~* &* +@all", "", "ACL", "LIST")
	a.expect("*12 $5 flags *2 $2 on $16 sanitize-payload $9 passwords *1 $64 "+hash+" $8 commands $5 +@all $4 keys $2 ~* "+
		"$8 channels $2 &* $9 selectors *0", "", "ACL", "GETUSER", "default")
	for bits, digits := range map[string]int{"": 64, "5": 2, "1": 1, "4096": 1024} {
		args := []string{"ACL", "GENPASS"}
		if bits != "" {
			args = append(args, bits)
		}
		_, text, _ := strings.Cut(strings.TrimSuffix(a.run(args...), "\r\n"), "\r\n")
		if len(text) != digits {
			t.Errorf("GENPASS %s: %q", bits, text)
		}
	}
}

func TestACLFile(t *testing.T) {
	a := newAdmin(t)
	if got := a.run("ACL", "SAVE"); !strings.HasPrefix(got, "-ERR This Redis instance is not configured to use an ACL file.") {
		t.Errorf("%q", got)
	}
	a.set(option.ACLFile, "/users.acl")
	a.expect("-ERR Error loading ACLs, opening file '/users.acl': No such file or directory", "", "ACL", "LOAD")
	a.expect("+OK", "", "ACL", "SETUSER", "bob", "on", "~a", "(~b", "+get)", "+set")
	a.expect("+OK", "replace /users.acl", "ACL", "SAVE")
	want := "user bob on sanitize-payload ~a resetchannels -@all +set (~b resetchannels -@all +get)\n" +
		"user default on nopass sanitize-payload ~* &* +@all\n"
	if got := a.node.files["/users.acl"]; got != want {
		t.Errorf("%q", got)
	}
	a.expect(":1", "", "ACL", "DELUSER", "bob")
	a.expect("*1 $7 default", "", "ACL", "USERS")
	a.expect("+OK", "", "ACL", "LOAD")
	a.expect("*2 $3 bob $7 default", "", "ACL", "USERS")
	a.node.files["/users.acl"] = "\nuser ann +nosuch +get %%\nann\nuser default off\nuser default on\nuser eve (+get"
	a.expect("-ERR /users.acl:2: Error in applying operation '+nosuch': Unknown command or category name in ACL. "+
		"/users.acl:2: Syntax error. /users.acl:3 should start with user keyword followed by the username. "+
		"WARNING: Duplicate user 'default' found on line 5. /users.acl:6: Unmatched parenthesis in selector definition."+
		"WARNING: ACL errors detected, no change to the previously active ACL rules was performed", "", "ACL", "LOAD")
	a.expect("*2 $3 bob $7 default", "", "ACL", "USERS")
	a.node.fail = errors.New("full")
	a.expect("-ERR There was an error trying to save the ACLs. Please check the server logs for more information",
		"replace /users.acl", "ACL", "SAVE")
}

// randomRule is a rule, mostly of commands and patterns that randomCall meets.
func randomRule(rng *rand.Rand, inner bool) string {
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	name := func() string {
		return pick("get", "set", "SET", "mget", "del", "publish", "subscribe", "psubscribe", "select")
	}
	pattern := func() string { return pick("", "a*", "ab", "[ab]?", "*", "b\\*", "ch?") }
	switch rng.IntN(14) {
	case 0:
		return "+" + name()
	case 1:
		return "-" + name()
	case 2:
		return pick("+", "-") + pick("config", "config|get", "CONFIG|set", "client|id", "acl|whoami", "config|no", "object|help")
	case 3:
		return pick("+", "-") + "@" + pick("all", "read", "Write", "string", "fast", "pubsub", "connection", "no", "admin",
			"dangerous", "keyspace", "hash")
	case 4:
		return "+" + pick("select|0", "get|ab", "GET|Ab", "select|", "config|get|x", "no|x", "get|a|b")
	case 5:
		return pick("~", "%R~", "%W~", "%rw~", "%RR~", "%~", "%R") + pattern()
	case 6:
		return pick("~", "~", "&") + pattern()
	case 7:
		return "&" + pattern()
	case 8:
		return pick("allkeys", "resetkeys", "allchannels", "resetchannels", "RESETKEYS")
	case 9:
		return pick("allcommands", "nocommands")
	case 10:
		if inner {
			return "+get"
		}
		words := make([]string, rng.IntN(4))
		for i := range words {
			words[i] = randomRule(rng, true)
		}
		return "(" + strings.Join(words, " ") + ")"
	case 11:
		if inner || rng.IntN(8) > 0 {
			return "+set"
		}
		return pick("reset", "clearselectors", "off", "on", "nopass", "foo", "")
	}
	return pick("+", "-") + name()
}

var calls = strings.Split(`get ab;get b;set a 1;set ab 1 get;set ab 1 ex 10;mget a b;mget ab ac;mset a 1 b 2;del ab;unlink x;
publish ch1 m;publish x m;spublish ch1 m;subscribe ch1;subscribe ch1 x;psubscribe ch?;psubscribe a*;psubscribe *;
ssubscribe ch1;unsubscribe zz;punsubscribe zz;select 0;select 1;config get x;config set x 1;config help;client id;
client list;acl whoami;ping;auth x;hello 3;rename ab b;rename a aa;copy a b;getex ab;getdel ab;exists b;type b;
hset ab f v;hget ab f;hgetall b;sadd ab m;smembers a;sinterstore ab a b;smove ab a m;expire ab 1;object help;
object encoding ab;dump ab;flushall;keys *;scan 0;dbsize;multi;exec;watch ab;append ab x;getrange ab 0 1;lcs a ab;
strlen b;incr ab;setrange ab 0 x;getset ab b;hsetnx ab f v;randomkey;sort_no`, ";")

// TestRandomRulesAgainstRedis makes random users here and there, and compares what they may do.
func TestRandomRulesAgainstRedis(t *testing.T) {
	a, real := newAdmin(t), startRedis(t)
	rng := rand.New(rand.NewPCG(7, 2))
	texts := strings.NewReplacer("User u has", "This user has") // as Redis 7.0 words it
	for i := range 400 {
		for range rng.IntN(7) + 1 {
			rule := randomRule(rng, false)
			want := real.do("ACL", "SETUSER", "u", rule)
			if got := a.run("ACL", "SETUSER", "u", rule); got != want {
				t.Fatalf("rule %q:\n got %q\nwant %q", rule, got, want)
			}
		}
		for range 30 {
			args := strings.Fields(calls[rng.IntN(len(calls))])
			full := append([]string{"ACL", "DRYRUN", "u"}, args...)
			want := real.do(full...)
			if got := texts.Replace(a.run(full...)); sized(got) != sized(want) {
				t.Fatalf("user %d, %q:\n got %q\nwant %q\n here %s there %s", i, args, got, want, a.run("ACL", "LIST"),
					real.do("ACL", "LIST"))
			}
		}
	}
}

// TestKeysAgainstRedis compares, for every command, which patterns of keys and channels it asks for: random calls
// of users with random patterns.
func TestKeysAgainstRedis(t *testing.T) {
	a, real := newAdmin(t), startRedis(t)
	known := redisCommands(t)
	rng := rand.New(rand.NewPCG(11, 3))
	words := strings.Fields("ra rb wa wb ba bb x ra wa ba 1 2 0 get set store storedist incrby overflow u8 ex streams weights " +
		"count by limit left block keys group")
	rules := strings.Fields("%R~ra %R~r? %W~w* %W~wb ~b* ~ba &ra &b* ~* &*")
	texts := strings.NewReplacer("User u has", "This user has")
	for _, top := range a.node.table.All() {
		specs := top.Sub
		if len(specs) == 0 {
			specs = []*command.Spec{top}
		}
		for _, s := range specs {
			if s.Name == "MIGRATE" {
				continue // it is refused, so it touches no keys
			}
			if theirs, there := known[s.FullName()]; !there || theirs.arity != int64(s.Arity) {
				continue
			}
			for range 60 {
				set := []string{"ACL", "SETUSER", "u", "reset", "+@all"}
				for range 3 {
					set = append(set, rules[rng.IntN(len(rules))])
				}
				if got := a.run(set...); got != real.do(set...) {
					t.Fatalf("%q: %q", set, got)
				}
				call := append([]string{"ACL", "DRYRUN", "u"}, strings.Split(strings.ToLower(s.FullName()), "|")...)
				n := max(s.Arity, -s.Arity) + 3
				if s.Arity < 0 {
					n += rng.IntN(6)
				}
				for len(call) < n {
					call = append(call, words[rng.IntN(len(words))])
				}
				want := real.do(call...)
				if strings.HasPrefix(want, "-ERR Command '") {
					continue // CLUSTER has no sub-commands here
				}
				if got := texts.Replace(a.run(call...)); sized(got) != sized(want) {
					// Where Redis is at a loss for one specification of keys, it forgets the others and lets the call
					// pass. Here the keys that are found count.
					if want == "+OK\r\n" && strings.Contains(got, "to access the") &&
						strings.HasPrefix(real.do(append([]string{"COMMAND", "GETKEYS"}, call[3:]...)...), "-") {
						continue
					}
					t.Errorf("%q, %q:\n got %q\nwant %q", set[4:], call[3:], got, want)
					break
				}
			}
		}
	}
}

// sized drops the lengths of bulk strings.
func sized(reply string) string {
	if strings.HasPrefix(reply, "$") {
		_, reply, _ = strings.Cut(reply, "\r\n")
	}
	return reply
}

// The categories are those of Redis, of the commands that exist in both.
func TestCategoriesAgainstRedis(t *testing.T) {
	a, real := newAdmin(t), startRedis(t)
	here := map[string]bool{}
	for _, top := range a.node.table.All() {
		here[top.FullName()] = true
		for _, s := range top.Sub {
			here[s.FullName()] = true
		}
	}
	names := func(reply string) map[string]bool {
		set := map[string]bool{}
		for _, e := range decode(t, reply).Elems {
			set[string(e.Str)] = true
		}
		return set
	}
	for category := range names(real.do("ACL", "CAT")) {
		ours, theirs := names(a.run("ACL", "CAT", category)), names(real.do("ACL", "CAT", category))
		for name := range theirs {
			if here[name] && !ours[name] && allowed[name]["categories"] == "" {
				t.Errorf("%s is not in @%s", name, category)
			}
		}
	}
	if got, want := len(names(a.run("ACL", "CAT"))), len(names(real.do("ACL", "CAT"))); got != want {
		t.Errorf("%d categories, want %d", got, want)
	}
}
