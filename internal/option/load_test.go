package option

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"haypile/internal/quote"
)

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, args ...string) *Config {
	t.Helper()
	c, err := Load(args, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "a.inc", "hz 33\nsave 30 3\n")
	writeFile(t, dir, "b.inc", "hz 44\n")
	path := writeFile(t, dir, "haypile.conf", "# comment\n\n  \tMaxClients 50\r\n"+
		"save 10 1\nsave 20 2\n"+
		"include "+quote.Word(filepath.Join(dir, "*.inc"))+"\n"+
		"include "+quote.Word(filepath.Join(dir, "none*"))+"\n"+
		"logfile \"/tmp/a b\"\nslaveof 10.0.0.1 6380\nmaxmemory 1gb\nuser alice on >x ~*\nuser bob off\n"+
		"client-output-buffer-limit normal 1mb 2mb 3\nclient-output-buffer-limit slave 0 0 0\n"+
		"bind 127.0.0.1 ::1\nmaxclients 60")
	c := mustLoad(t, path)
	for _, x := range []struct{ name, want string }{
		{"maxclients", "60"}, {"save", "10 1 20 2 30 3"}, {"hz", "44"}, {"logfile", "/tmp/a b"},
		{"replicaof", "10.0.0.1 6380"}, {"maxmemory", "1073741824"}, {"bind", "127.0.0.1 ::1"},
		{"client-output-buffer-limit", "normal 1048576 2097152 3 slave 0 0 0 pubsub 33554432 8388608 60"},
	} {
		if got := c.Get(x.name)[0].Value; got != x.want {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
	if got := fmt.Sprint(c.Users()); got != "[[alice on >x ~*] [bob off]]" {
		t.Errorf("users %s", got)
	}
	if c.File() != path {
		t.Errorf("file %s", c.File())
	}
}

func TestLoadCommandLine(t *testing.T) {
	path := writeFile(t, t.TempDir(), "c.conf", "port 7000\nsave 10 1\n")
	for _, x := range []struct {
		args []string
		want string
	}{
		{nil, "6379||"},
		{[]string{path}, "7000|10 1|"},
		{[]string{path, "--port", "7001"}, "7001|10 1|"},
		{[]string{path, "--save", "", "--port", "7001"}, "7001||"},
		{[]string{path, "--save", "--port", "7001"}, "7001||"},
		{[]string{path, "--save"}, "7000||"},
		{[]string{"--save", "5", "6", "--replicaof", "h", "1"}, "6379|5 6|h 1"},
		{[]string{"--replicaof", "h 1", "--save", "5 6 7 8"}, "6379|5 6 7 8|h 1"},
		{[]string{"--replicaof h 1", "--port 9"}, "9||h 1"},
		{[]string{"--PORT", "9"}, "9||"},
		{[]string{"-", "--port", "9"}, "9||"},
	} {
		c := mustLoad(t, x.args...)
		if got := c.Text(Port) + "|" + c.Text(Save) + "|" + c.Text(ReplicaOf); got != x.want {
			t.Errorf("%q: %s, want %s", x.args, got, x.want)
		}
	}
	c := mustLoad(t, "--requirepass", "--secret", "--port", "8")
	if c.String(RequirePass) != "--secret" || c.Int(Port) != 8 {
		t.Errorf("a first value that begins with dashes: %q, %d", c.String(RequirePass), c.Int(Port))
	}
	c, err := Load([]string{"-", "--hz", "20"}, strings.NewReader("port 5\nhz 30\n"))
	if err != nil || c.Int(Port) != 5 || c.Int(Hz) != 20 || c.File() != "" {
		t.Errorf("standard input: %v", err)
	}
}

func TestLoadProblems(t *testing.T) {
	for _, x := range []struct{ line, want string }{
		{"maxclient 10", `F:1: unknown option "maxclient": did you mean "maxclients"?` + "\n>>> maxclient 10"},
		{"slave_priority 10", `F:1: unknown option "slave_priority": did you mean "slave-priority"?` +
			"\n>>> slave_priority 10"},
		{"xyzzy 1", `F:1: unknown option "xyzzy"` + "\n>>> xyzzy 1"},
		{"port=6379", "F:1: unknown option: write port and the value with a space between\n>>> port=6379"},
		{"daemonize yes", `F:1: option "daemonize" is not supported: the node stays in the foreground: ` +
			"remove the line and use a supervisor\n>>> daemonize yes"},
		{"cache-num 16", `F:1: option "cache-num" is not supported: see cache-size` + "\n>>> cache-num 16"},
		{"port : 9221", "F:1: this looks like a line of pika.conf: write the name and the value without the colon" +
			"\n>>> port : 9221"},
		{"port: 9221", "F:1: this looks like a line of pika.conf: write the name and the value without the colon" +
			"\n>>> port: 9221"},
		{"\n\nport abc", "F:3: argument couldn't be parsed into an integer\n>>> port abc"},
		{"port", "F:1: wrong number of arguments\n>>> port"},
		{"port 1 2", "F:1: wrong number of arguments\n>>> port 1 2"},
		{"timeout 5 # five", "F:1: wrong number of arguments\n>>> timeout 5 # five"},
		{`logfile "a`, "F:1: Unbalanced quotes in configuration line\n>>> logfile \"a"},
		{"replicaof a", "F:1: wrong number of arguments\n>>> replicaof a"},
		{"replicaof a 99999", "F:1: Invalid master port\n>>> replicaof a 99999"},
		{"save 1 2\nsave 3", "F:2: Invalid save parameters\n>>> save 3"},
		{"user", "F:1: wrong number of arguments\n>>> user"},
		{"include", "F:1: wrong number of arguments\n>>> include"},
		{"include /nonexistent/x", "F:1: open /nonexistent/x: no such file or directory\n" +
			">>> include /nonexistent/x"},
		{"port x\nhz y", "F:1: argument couldn't be parsed into an integer\n>>> port x\n" +
			"F:2: argument couldn't be parsed into an integer\n>>> hz y"},
	} {
		path := writeFile(t, t.TempDir(), "x.conf", x.line+"\n")
		_, err := Load([]string{path}, nil)
		want := "bad configuration\n" + strings.ReplaceAll(x.want, "F:", path+":")
		if err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", x.line, err, want)
		}
	}
}

func TestLoadCommandLineProblems(t *testing.T) {
	for _, x := range []struct {
		args []string
		want string
	}{
		{[]string{"--port", "1", "--foo"}, `command line:2: unknown option "foo"` + "\n>>> --foo"},
		{[]string{"--port", "1", "2"}, "command line:1: wrong number of arguments\n>>> --port 1 2"},
		{[]string{"--port"}, "command line:1: wrong number of arguments\n>>> --port"},
		{[]string{"--", "x"}, "command line:1: not the name of an option\n>>> --"},
		{[]string{"-", "x"}, "command line:1: expected an option that begins with --\n>>> x"},
		{[]string{"--hz", "1", "--requirepass", "a", "b"},
			"command line:2: wrong number of arguments\n>>> --requirepass (redacted)"},
	} {
		_, err := Load(x.args, strings.NewReader(""))
		if err == nil || err.Error() != "bad configuration\n"+x.want {
			t.Errorf("%q\n got %v\nwant %s", x.args, err, x.want)
		}
	}
	if _, err := Load([]string{"/nonexistent/x"}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestProblemsHideSecrets(t *testing.T) {
	const secret = "s3cret"
	for _, line := range []string{
		"requirepass s3cret s3cret", "requirepass\ts3cret x", `requirepass "s3cret`, "requirepass: s3cret",
		"requirepass : s3cret", "requirepass=s3cret", "requirepas s3cret", "masteraut s3cret",
		`"masterauth" s3cret x`,
		"REQUIREPASS s3cret 2", `user alice ">s3cret`, "require-pass s3cret",
	} {
		_, err := Load([]string{"-"}, strings.NewReader(line))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, args := range [][]string{{"--requirepass=s3cret"}, {"--requirepass s3cret x"},
		{"--requirepas", "s3cret"},
		{`--requirepass "s3cret`}} {
		if _, err := Load(args, nil); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestLoadIsBounded(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "loop.conf")
	writeFile(t, dir, "loop.conf", "include "+quote.Word(loop)+"\n")
	_, err := Load([]string{loop}, nil)
	if err == nil || !strings.Contains(err.Error(), "nested more than 16 deep") {
		t.Errorf("a file that includes itself: %v", err)
	}
	// Two includes of itself would be 2^16 files.
	writeFile(t, dir, "loop.conf", strings.Repeat("include "+quote.Word(loop)+"\n", 2))
	var le *LoadError
	if _, err := Load([]string{loop}, nil); !errors.As(err, &le) || len(le.Problems) > maxProblems || !le.More {
		t.Errorf("a file that includes itself twice: %v", err)
	}
	_, err = Load([]string{"-"}, strings.NewReader(strings.Repeat("#", maxFileBytes+1)))
	if err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a huge file: %v", err)
	}
}

// FuzzLoad: no text makes the parser fail otherwise than by an error, and a text that loads is what Rewrite
// would leave alone.
func FuzzLoad(f *testing.F) {
	f.Add("port 1\nsave 1 2\nsave \"\"\nclient-output-buffer-limit normal 1 2 3\n")
	f.Add("# c\r\nrequirepass \"a\\x00\"\r\nbind 'x'\n\n\nuser a b\n")
	f.Add("replicaof no one\nreplicaof a:1\nshutdown-on-sigint save now\nblock-cache 10%\nhz -5")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToLower(text), "include") || strings.Contains(text, `\x`) {
			t.Skip("would read files")
		}
		c, err := Load([]string{"-"}, strings.NewReader(text))
		if err != nil {
			return
		}
		again := rewriteText(text, c.View(), nil, false)
		if strings.TrimSuffix(again, "\n") != strings.TrimSuffix(text, "\n") {
			t.Fatalf("%q\nrewritten as\n%q", text, again)
		}
	})
}
