package clients

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"haypile/internal/testcluster"
)

// redisCLI is redis-cli against one server.
type redisCLI struct {
	t    *testing.T
	host []string
}

func cli(t *testing.T, addr string) redisCLI {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return redisCLI{t, []string{"-h", host, "-p", port}}
}

// do runs redis-cli and returns all that it prints; in is its standard input.
func (c redisCLI) do(in string, args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), "redis-cli", append(slices.Clone(c.host), args...)...)
	cmd.Stdin = strings.NewReader(in)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		c.t.Fatal(err)
	}
	if err != nil {
		return string(out) + "exit: " + err.Error() + "\n"
	}
	return string(out)
}

// fill puts some keys of all types there.
func (c redisCLI) fill() {
	var in strings.Builder
	for i := range 500 {
		fmt.Fprintf(&in, "SET str:%d value%d\nRPUSH biglist %d\nSADD bigset %d\nHSET bighash f%d %d\n", i, i, i, i, i%90, i)
		fmt.Fprintf(&in, "ZADD bigz %d m%d\nXADD bigstream 1-%d f v\n", i, i%60, i+1)
	}
	fmt.Fprintf(&in, "SET bigstr %s\n", strings.Repeat("x", 3000))
	if out := c.do(in.String(), "--pipe"); !strings.Contains(out, "errors: 0, replies: 3001") {
		c.t.Fatal(out)
	}
}

// script makes a file of a Lua script.
func script(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "script.lua")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	// What --bigkeys and --memkeys print as they go depends on the order of the keys.
	sampling = regexp.MustCompile(`(?m)^\[\d.*\n`)
	// What a key takes is another thing on disk.
	sizes = regexp.MustCompile(`\d[\d.]* bytes|avg size [\d.]+`)
)

func sorted(out string) string {
	all := strings.Split(out, "\n")
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func same(out string) string { return out }

// TestCLIAgainstRedis compares what redis-cli prints with what it prints of a real redis-server.
func TestCLIAgainstRedis(t *testing.T) {
	redis := cli(t, testcluster.RunRedis(t).Spec.Addr)
	ours := cli(t, testcluster.RunServer(t).Spec.Addr)
	redis.fill()
	ours.fill()
	lua := script(t, "return {KEYS[1], ARGV[1], redis.call('get', KEYS[1]), 1.5, false}")
	failing := script(t, "return redis.call('incr', KEYS[1])")
	session := "set a 1\nget a\nmulti\nincr a\nexec\nlrange biglist 0 1\nselect 3\nset k v\nkeys *\nget\nfoo\n"
	for _, step := range []struct {
		in   string
		args []string
		of   func(string) string
	}{
		{"", []string{"--bigkeys"}, func(s string) string { return sampling.ReplaceAllString(s, "") }},
		{"", []string{"--memkeys"}, func(s string) string {
			return sorted(sizes.ReplaceAllString(sampling.ReplaceAllString(s, ""), "N bytes"))
		}},
		{"", []string{"--hotkeys"}, same}, // refused by both: no LFU policy
		{"", []string{"--scan"}, sorted},
		{"", []string{"--scan", "--pattern", "str:1*"}, sorted},
		{"", []string{"--scan", "--quoted-pattern", `"big\x73*"`}, sorted},
		{"hello\nworld\x00", []string{"-x", "set", "xkey"}, same},
		{"", []string{"--no-raw", "get", "xkey"}, same},
		{"abc", []string{"-X", "TAG", "set", "TAG", "TAG"}, same},
		{"", []string{"--csv", "zrange", "bigz", "0", "2", "withscores"}, same},
		{"", []string{"--csv", "xrange", "bigstream", "-", "+", "COUNT", "2"}, same},
		{"", []string{"-3", "--csv", "zrange", "bigz", "0", "2", "withscores"}, same},
		{"", []string{"-2", "--json", "zrange", "bigz", "0", "2", "withscores"}, same},
		{"", []string{"-3", "--json", "zrange", "bigz", "0", "2", "withscores"}, same},
		{"", []string{"--json", "xrange", "bigstream", "-", "+", "COUNT", "2"}, same},
		{"", []string{"-3", "--no-raw", "hmget", "bighash", "f1", "none"}, same},
		{"", []string{"-3", "--no-raw", "zscore", "bigz", "m7"}, same},
		{"", []string{"-3", "--json", "hello", "3"}, func(s string) string { return s[:12] }},
		{"", []string{"--no-raw", "lrange", "biglist", "0", "11"}, same},
		{"", []string{"-d", ";", "lrange", "biglist", "0", "3"}, same},
		{"", []string{"-D", "|", "lrange", "biglist", "0", "3"}, same},
		{"", []string{"--quoted-input", "get", `"str\x3a1"`}, same},
		{"", []string{"-e", "get"}, same},
		{"", []string{"-r", "3", "incr", "n"}, same},
		{"", []string{"-n", "5", "set", "k", "v"}, same},
		{"", []string{"-n", "5", "dbsize"}, same},
		{"", []string{"-n", "99", "ping"}, same},
		{"", []string{"-a", "wrong", "ping"}, same},
		{"", []string{"--user", "nobody", "--pass", "x", "ping"}, same},
		{"", []string{"--eval", lua, "str:1", ",", "arg"}, same},
		{"", []string{"-3", "--eval", lua, "str:1", ",", "arg"}, same},
		{"", []string{"--eval", failing, "str:1"}, same},
		{"", []string{"--verbose", "ping"}, same},
		{"", []string{"object", "help"}, func(s string) string { return s[:20] }},
		{session, nil, same},
		{"SET p 1\nINCR str:1\nLPUSH p x\nNOSUCH\nINCR p\n", []string{"--pipe"}, same},
	} {
		want, got := step.of(redis.do(step.in, step.args...)), step.of(ours.do(step.in, step.args...))
		if got != want {
			t.Errorf("redis-cli %q prints\n%s\nand of Redis\n%s", step.args, got, want)
		}
	}
}

// TestCLI runs what redis-cli measures, and what it loads in bulk, which a comparison cannot show.
func TestCLI(t *testing.T) {
	testcluster.RequireRedis(t)
	server := testcluster.RunServer(t)
	c := cli(t, server.Spec.Addr)
	c.fill()

	var bulk bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&bulk, "*3\r\n$3\r\nSET\r\n$10\r\nbulk%06d\r\n$6\r\n%06d\r\n", i, i)
		if i%1000 == 999 {
			bulk.WriteString("*2\r\n$4\r\nINCR\r\n$6\r\nbigset\r\n")
		}
	}
	if out := c.do(bulk.String(), "--pipe"); !strings.Contains(out, "errors: 100, replies: 100100") {
		t.Errorf("--pipe: %s", out)
	}
	if out := c.do("", "dbsize"); out != "100506\n" {
		t.Errorf("DBSIZE after --pipe: %s", out)
	}

	if out := c.do("", "--raw", "-i", "0.3", "--latency"); !regexp.MustCompile(`^\d+ \d+ [\d.]+ [1-9]\d*\n$`).MatchString(out) {
		t.Errorf("--latency: %q", out)
	}
	many := func(n int, row string) func(string) bool {
		re := regexp.MustCompile(row)
		return func(text string) bool { return len(re.FindAllStringIndex(text, n)) >= n }
	}
	lines(t, many(20, `(?m)^100506 +\d+\.\d+M +\d+ +0 +\d+ \(\+\d+\) +\d+`), "redis-cli",
		append(slices.Clone(c.host), "-i", "0.01", "--stat")...)
	lines(t, many(5, `(?m)\b0 \d+ [\d.]+ \d+\n -- [\d.]+ seconds range$`), "redis-cli",
		append(slices.Clone(c.host), "-i", "0.1", "--latency-history")...)

	// A snapshot in Redis' format is not there: a clear word, a failure, and no file.
	file := filepath.Join(t.TempDir(), "dump.rdb")
	out := c.do("", "--rdb", file)
	if !strings.Contains(out, "SYNC with master failed: -ERR a full sync needs a replica with the same file format") || !strings.Contains(out, "exit: ") {
		t.Errorf("--rdb: %s", out)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("--rdb left a file")
	}
	if out := c.do("", "ping"); out != "PONG\n" {
		t.Errorf("afterwards: %s", out)
	}
}
