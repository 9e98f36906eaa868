package option

import (
	"errors"
	"strings"
	"testing"
)

// set is CONFIG SET of a fresh node; it returns the value as CONFIG GET prints it, or the reply.
func set(name, text string) string {
	c := New()
	s := Lookup(name)
	val, err := s.assign(c.cur.Load().vals[byName[name]], text)
	if err != nil {
		return "ERR " + (&SetError{name, err}).Error()
	}
	return val.text
}

// The expectations are replies of redis-server 7.0.15, except where a line says otherwise.
func TestValues(t *testing.T) {
	const fail = "ERR CONFIG SET failed (possibly related to argument 'NAME') - "
	for _, x := range []struct{ name, text, want string }{
		{"maxclients", "100", "100"},
		{"maxclients", "0", fail + "argument must be between 1 and 4294967295 inclusive"},
		{"maxclients", "99999999999", fail + "argument must be between 1 and 4294967295 inclusive"},
		{"maxclients", "abc", fail + "argument couldn't be parsed into an integer"},
		{"maxclients", "10 ", fail + "argument couldn't be parsed into an integer"},
		{"maxclients", "+5", fail + "argument couldn't be parsed into an integer"},
		{"maxclients", "007", fail + "argument couldn't be parsed into an integer"},
		{"maxclients", "0x50", fail + "argument couldn't be parsed into an integer"},
		{"min-replicas-max-lag", "", fail + "argument couldn't be parsed into an integer"},
		{"slave-priority", "abc", fail + "argument couldn't be parsed into an integer"},
		{"replica-announce-port", "65536", fail + "argument must be between 0 and 65535 inclusive"},
		{"list-max-listpack-size", "3000000000",
			fail + "argument must be between -2147483648 and 2147483647 inclusive"},
		{"hz", "10000", "500"},
		{"hz", "0", "1"},
		{"maxmemory", "abc", fail + "argument must be a memory value"},
		{"maxmemory", "10xb", fail + "argument must be a memory value"},
		{"maxmemory", "-1", fail + "argument must be a memory value"},
		{"maxmemory", "1.5gb", fail + "argument must be a memory value"},
		{"maxmemory", "1 kb", fail + "argument must be a memory value"},
		{"maxmemory", "1GB", "1073741824"},
		{"maxmemory", "1k", "1000"},
		{"maxmemory", "007kb", "7168"},
		{"maxmemory", "5b", "5"},
		// Redis takes "kb" for 0 and lets sizes overflow.
		{"maxmemory", "kb", fail + "argument must be a memory value"},
		{"maxmemory", "99999999999999999999", fail + "argument must be a memory value"},
		{"maxmemory", "9223372036854775807gb", fail + "argument must be a memory value"},
		{"proto-max-bulk-len", "10", fail + "argument must be between 1048576 and 9223372036854775807 inclusive"},
		{"proto-max-bulk-len", "2m", "2000000"},
		{"unixsocketperm", "755", "755"},
		{"unixsocketperm", "888", fail + "argument couldn't be parsed as an octal number"},
		{"unixsocketperm", "7777", fail + "argument must be between 0 and 777 inclusive"},
		{"block-cache", "10%", "10%"},
		{"block-cache", "0%", "0"},
		{"block-cache", "64mb", "67108864"},
		{"block-cache", "101%", fail + "percentage argument must be less or equal to 100"},
		{"block-cache", "abc", fail + "argument must be a memory or percent value"},
		{"block-cache", "-5%", fail + "argument must be a memory or percent value"},
		{"latency-tracking", "1", fail + "argument must be 'yes' or 'no'"},
		{"latency-tracking", "NO", "no"},
		{"appendonly", "yes", "yes"},
		{"appendonly", "no", fail + "the log cannot be turned off; see appendfsync"}, // ours
		{"appendfsync", "ALWAYS", "always"},
		{"appendfsync", "foo", fail + "argument(s) must be one of the following: everysec, always, no"},
		{"save", "3600 1 300 100", "3600 1 300 100"},
		{"save", "", ""},
		{"save", "abc", fail + "Invalid save parameters"},
		{"save", strings.Repeat("1 1 ", 101), fail + "Invalid save parameters"}, // ours
		{"save", "1 2 3", fail + "Invalid save parameters"},
		{"save", "-1 2", fail + "Invalid save parameters"},
		{"client-output-buffer-limit", "replica 10mb 1kb 3 normal 1 2 3",
			"normal 1 2 3 slave 10485760 1024 3 pubsub 33554432 8388608 60"},
		{"client-output-buffer-limit", "", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"},
		{"client-output-buffer-limit", "master 0 0 0",
			fail + "Invalid client class specified in buffer limit configuration."},
		{"client-output-buffer-limit", "normal 0 0",
			fail + "Wrong number of arguments in buffer limit configuration."},
		{"client-output-buffer-limit", "normal a 0 0",
			fail + "Error in hard, soft or soft_seconds setting in buffer limit configuration."},
		{"client-output-buffer-limit", "normal 10mb 1kb -3",
			fail + "Error in hard, soft or soft_seconds setting in buffer limit configuration."},
		{"bind", strings.Repeat("1 ", 17), fail + "Too many bind addresses specified."},
		{"latency-tracking-info-percentiles", "50.5 99.9999 1e1", "50.5 99.9999 10"},
		{"latency-tracking-info-percentiles", "", ""},
		{"latency-tracking-info-percentiles", "50 abc",
			fail + "Invalid latency-tracking-info-percentiles parameters"},
		{"latency-tracking-info-percentiles", "50 101",
			fail + "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"},
		{"shutdown-on-sigterm", "foo",
			fail + "argument(s) must be one of the following: default, save, nosave, now, force"},
		{"shutdown-on-sigterm", "",
			fail + "argument(s) must be one of the following: default, save, nosave, now, force"},
		{"shutdown-on-sigterm", "save nosave",
			fail + "shutdown options SAVE and NOSAVE can't be used simultaneously"},
		{"shutdown-on-sigterm", "force now save", "save now force"},
		{"shutdown-on-sigterm", "DEFAULT save", "save"},
		{"replicaof", "10.0.0.1 6379", "10.0.0.1 6379"},
		{"replicaof", "NO ONE", ""},
		{"replicaof", "10.0.0.1:6379", "10.0.0.1 6379"}, // Pika's
		{"replicaof", "::1 6379", "::1 6379"},
		{"replicaof", "a 99999", fail + "Invalid master port"},
		{"replicaof", "a", fail + "wrong number of arguments"},
		{"peers", "a:1 [::1]:2", "a:1 [::1]:2"},
		{"peers", "a:1 b", fail + "argument(s) must be addresses of the form host:port"},
		{"peers", "a:0", fail + "Invalid port in a:0"},
		{"node-id", "n-1.a:b_C", "n-1.a:b_C"},
		{"node-id", "a b", fail + "argument may hold letters, digits and - _ . : only"},
		{"dir", "", fail + "argument must not be empty"},
	} {
		want := strings.Replace(x.want, "NAME", x.name, 1)
		if got := set(x.name, x.text); got != want {
			t.Errorf("%s %q\n got %s\nwant %s", x.name, x.text, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	for _, x := range []struct {
		line string
		want []string
	}{
		{``, nil},
		{`  a  b	c `, []string{"a", "b", "c"}},
		{`a "" ''`, []string{"a", "", ""}},
		{`"a b" 'c d'`, []string{"a b", "c d"}},
		{`"\x41\n\"\\\z" '\n\''`, []string{"A\n\"\\z", `\n'`}},
		{`"\xzz"`, []string{"xzz"}},
		{`pre"quo ted"`, []string{"prequo ted"}},
	} {
		got, err := SplitWords(x.line)
		if err != nil || strings.Join(got, "|") != strings.Join(x.want, "|") || len(got) != len(x.want) {
			t.Errorf("%s: %q, %v", x.line, got, err)
		}
	}
	for _, line := range []string{`"a`, `'a`, `"a"b`, `'a'b`, `"a\"`, `a "`} {
		if got, err := SplitWords(line); !errors.Is(err, ErrUnbalanced) {
			t.Errorf("%s: %q, %v; want unbalanced quotes", line, got, err)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 1: "1", 1024: "1kb", 1 << 20: "1mb", 3 << 30: "3gb", 1500 << 20: "1500mb", 1000: "1000",
	} {
		if got := FormatBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
		if back, err := ParseBytes(want); err != nil || back != n {
			t.Errorf("%s reads as %d, %v", want, back, err)
		}
	}
}
