package server

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"haypile/internal/option"
	"haypile/internal/replication"
	"haypile/internal/resp"
)

// newWith makes a node of a configuration file, without starting it.
func newWith(t *testing.T, path string, more ...string) (*Server, error) {
	t.Helper()
	cfg, err := option.Load(append([]string{path}, more...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return New(cfg, Options{})
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func described(s *Server) string {
	var lines []string
	for _, u := range s.users.List() {
		lines = append(lines, u.Describe())
	}
	return strings.Join(lines, "\n")
}

func TestUsersOfTheConfiguration(t *testing.T) {
	path := writeFile(t, "conf", `
requirepass secret
user bob on >b (~"x y" +get
`)
	if _, err := newWith(t, path); err == nil || !strings.Contains(err.Error(), "'bob'") || strings.Contains(err.Error(), ">b") {
		t.Errorf("%v", err)
	}
	path = writeFile(t, "conf", "requirepass secret\nuser bob on nopass ~b* (~a +get)\nacl-pubsub-default allchannels\n")
	s, err := newWith(t, path)
	if err != nil {
		t.Fatal(err)
	}
	want := "user bob on nopass sanitize-payload ~b* &* -@all (~a &* -@all +get)\n" +
		"user default on sanitize-payload #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~* &* +@all"
	if got := described(s); got != want || s.users.Open() {
		t.Errorf("%s", got)
	}
	// A line about the default user has the last word, and says all.
	path = writeFile(t, "conf", "user default on nopass +ping\nrequirepass secret\n")
	if s, err = newWith(t, path); err != nil {
		t.Fatal(err)
	}
	if got := described(s); got != "user default on nopass sanitize-payload resetchannels -@all +ping" {
		t.Errorf("%s", got)
	}
}

func TestUsersOfTheFile(t *testing.T) {
	file := writeFile(t, "acl", "user bob on nopass ~b* +get\n")
	none := writeFile(t, "conf", "requirepass x\n")
	s, err := newWith(t, none, "--aclfile", file)
	if err != nil {
		t.Fatal(err)
	}
	// As in Redis, a default user that the file does not name is that of a node without configuration.
	if got := described(s); got != "user bob on nopass sanitize-payload ~b* resetchannels -@all +get\n"+
		"user default on nopass sanitize-payload ~* &* +@all" {
		t.Errorf("%s", got)
	}
	if lines := s.userLines(); lines != nil {
		t.Errorf("CONFIG REWRITE would write %q", lines)
	}
	both := writeFile(t, "conf", "user ann on\n")
	for _, args := range [][]string{
		{both, "--aclfile", file}, {none, "--aclfile", file + "x"}, {none, "--aclfile", writeFile(t, "acl", "user a +nosuch")},
	} {
		if _, err := newWith(t, args[0], args[1:]...); err == nil {
			t.Errorf("%q starts", args)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := (node{s}).ReplaceFile(link, []byte("user x\n")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	info, _ := os.Stat(file)
	if err != nil || string(text) != "user x\n" || info.Mode().Perm() != 0o640 {
		t.Errorf("%q %v %v", text, err, info.Mode())
	}
}

// What CONFIG REWRITE writes makes the same users, and nothing is written about a default user of whom
// requirepass says all.
func TestUsersAreRewritten(t *testing.T) {
	path := writeFile(t, "conf", "# mine\nrequirepass secret\n")
	s, err := newWith(t, path)
	if err != nil {
		t.Fatal(err)
	}
	rewrite := func() string {
		t.Helper()
		if err := s.cfg.Rewrite(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		again, err := newWith(t, path)
		if err != nil {
			t.Fatal(err)
		}
		if described(again) != described(s) {
			t.Errorf("%s\nreads back as\n%s", described(s), described(again))
		}
		return string(text)
	}
	if text := rewrite(); strings.Contains(text, "user") {
		t.Errorf("%s", text)
	}
	for _, rules := range [][]string{
		{"bob", "on", ">p", "~a", "(", `"~\"b)\\"`, "+get)", "(~x)", "+select|0"}, {"a\"b", "%R~'"}, {"default", "-@dangerous"},
	} {
		if _, _, err := s.users.Set(rules[0], false, rules[1:]...); err != nil {
			t.Fatal(rules, err)
		}
	}
	if text := rewrite(); strings.Count(text, "\nuser ") != len(s.users.List()) {
		t.Errorf("%s", text)
	}
	s.users.Delete("a\"b")
	if err := s.cfg.Set(option.Pair{Name: "requirepass", Value: ""}); err != nil {
		t.Fatal(err)
	}
	if text := rewrite(); strings.Count(text, "\nuser ") != len(s.users.List()) || !strings.Contains(text, "# mine\n") {
		t.Errorf("%s", text)
	}
}

// A replica needs no rights but those that Redis' documentation names, and loses its link with its user.
func TestReplicaLogsInAsAUser(t *testing.T) {
	p := startNode(t)
	waitFor(t, "the start", func() bool { return p.isSettled() })
	if got := do(p, "ACL", "SETUSER", "repl", "on", ">pw", "+psync", "+replconf", "+ping"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	if got := do(p, "ACL", "SETUSER", "default", "off"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	r := startNode(t, "--masteruser", "repl", "--masterauth", "pw")
	waitFor(t, "the start", func() bool { return r.isSettled() })
	host, port, _ := strings.Cut(p.Addr(), ":")
	if err := r.Follow(host, port); err != nil {
		t.Fatal(err)
	}
	linked := func() bool {
		l := r.state.Load().link
		return l != nil && l.Status().State == replication.LinkConnected && p.feeds.Online() == 1
	}
	waitFor(t, "the link", linked)
	if got := do(p, "SET", "k", "v"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	waitFor(t, "the write", func() bool { return do(r, "GET", "k") == "$1\r\nv\r\n" })

	if got := do(p, "ACL", "DELUSER", "repl"); got != ":1\r\n" {
		t.Fatal(got)
	}
	waitFor(t, "the end of the link", func() bool { return p.feeds.Online() == 0 })
	if got := do(p, "ACL", "SETUSER", "repl", "on", ">pw", "+psync", "+replconf", "+ping"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	waitFor(t, "the link", linked)
}

func TestUsersSeenFromOutside(t *testing.T) {
	s := startNode(t)
	waitFor(t, "the start", func() bool { return s.isSettled() })
	ctx := context.Background()
	c, err := resp.Dial(ctx, s.Addr(), resp.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, words := range [][]any{
		{"ACL", "SETUSER", "default", ">pw"}, {"ACL", "SETUSER", "bob", "on", ">b", "+@all", "~b:*"},
	} {
		if v, err := c.Do(ctx, words...); err != nil || string(v.Str) != "OK" {
			t.Fatal(v, err)
		}
	}
	if _, err := resp.Dial(ctx, s.Addr(), resp.DialOptions{Password: "no"}); err == nil {
		t.Error("a wrong password lets in")
	}
	bob, err := resp.Dial(ctx, s.Addr(), resp.DialOptions{User: "bob", Password: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()
	if _, err := bob.Do(ctx, "GET", "a"); err == nil || !strings.HasPrefix(err.Error(), "NOPERM No permissions to access a key") {
		t.Errorf("%v", err)
	}
	if _, err := bob.Do(ctx, "CONFIG", "RESETSTAT"); err != nil {
		t.Errorf("%v", err)
	}
	if _, err := bob.Do(ctx, "GET", "b"); err == nil {
		t.Error("no refusal")
	}
	stats := parseInfo((node{s}).Info([]string{"stats"}))
	if stats["acl_access_denied_key"] != "1" || stats["acl_access_denied_cmd"] != "0" {
		t.Errorf("%v", stats)
	}
	if names := s.users.Names(); !slices.Equal(names, []string{"bob", "default"}) {
		t.Errorf("%q", names)
	}
}
