package commandinfo

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
)

func table(t *testing.T) *command.Table {
	t.Helper()
	spec := func(s command.Spec) *command.Spec {
		s.Since, s.Complexity, s.Summary = "1.0.0", "O(1)", s.Name
		if s.Syntax == "" {
			s.Syntax = s.Name
		}
		return &s
	}
	one := func(a command.Access) []command.KeySpec { return []command.KeySpec{command.One(1, a)} }
	tab, err := command.NewTable([]*command.Spec{
		spec(command.Spec{Name: "GET", Group: "string", Syntax: "GET key", Arity: 2, Flags: command.ReadOnly | command.Fast,
			ACL: []string{"string"}, Keys: one(command.AccessRO | command.AccessRead)}),
		spec(command.Spec{Name: "LPUSH", Group: "list", Syntax: "LPUSH key element [element ...]", Arity: -3,
			Flags: command.Write | command.DenyOOM | command.Fast, ACL: []string{"list"},
			Keys: one(command.AccessRW | command.AccessInsert)}),
		spec(command.Spec{Name: "MSETNX", Group: "string", Arity: -3, Flags: command.Write | command.DenyOOM,
			ACL: []string{"string"}, Route: command.RouteMultiShard, Merge: command.MergeMin,
			Keys: []command.KeySpec{command.Range(1, -1, 2, command.AccessOW|command.AccessInsert)}}),
		spec(command.Spec{Name: "SINTERCARD", Group: "set", Arity: -3, Flags: command.ReadOnly,
			Syntax: "SINTERCARD numkeys key [key ...] [LIMIT limit]",
			ACL:    []string{"set"}, Keys: []command.KeySpec{command.Counted(1, command.AccessRO|command.AccessRead)}}),
		spec(command.Spec{Name: "LINSERT", Group: "list", Arity: 5, Syntax: "LINSERT key <BEFORE | AFTER> pivot element",
			Flags: command.Write | command.DenyOOM, ACL: []string{"list"}, Keys: one(command.AccessRW | command.AccessInsert)}),
		spec(command.Spec{Name: "PING", Group: "connection", Arity: -1, Flags: command.Fast,
			ACL: []string{"connection"}}),
		spec(command.Spec{Name: "CLIENT", Group: "connection", Arity: -2, ACL: []string{"connection"},
			Sub: []*command.Spec{spec(command.Spec{Name: "ID", Syntax: "CLIENT ID", Group: "connection", Arity: 2,
				Flags: command.NoScript | command.Loading | command.Stale, ACL: []string{"connection"}})}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func answer(t *testing.T, tab *command.Table, line string, proto int) resp.Value {
	t.Helper()
	var args [][]byte
	for _, w := range strings.Fields(line) {
		args = append(args, []byte(w))
	}
	w := resp.Writer{Proto: proto}
	Append(&w, tab, args)
	rr := resp.NewReplyReader(bytes.NewReader(w.Buf))
	v, err := rr.ReadValue()
	if err != nil || rr.Buffered() != 0 {
		t.Fatalf("%s: %q is not one reply: %v", line, w.Buf, err)
	}
	return v
}

// The real server is the judge, as far as its commands are described here in the same way.
func TestAsRedis(t *testing.T) {
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(bin, "--port", port, "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	tab := table(t)
	for _, proto := range []int{2, 3} {
		var redis *resp.Client
		for redis == nil {
			if redis, err = resp.Dial(ctx, addr, resp.DialOptions{Proto: proto}); err != nil {
				if ctx.Err() != nil {
					t.Fatal(err)
				}
				<-time.After(5 * time.Millisecond)
			}
		}
		defer redis.Close()
		for _, line := range []string{
			"COMMAND INFO get lpush msetnx sintercard nosuch client|id client|nosuch",
			"COMMAND GETKEYS get a", "COMMAND GETKEYS get a b", "COMMAND GETKEYS msetnx a 1 b 2",
			"COMMAND GETKEYS sintercard 2 a b limit 3", "COMMAND GETKEYS sintercard 9 a b", "COMMAND GETKEYS nosuch a",
			"COMMAND GETKEYS ping x", "COMMAND GETKEYSANDFLAGS get a",
			"COMMAND GETKEYSANDFLAGS lpush a b", "COMMAND LIST FILTERBY MODULE x",
			"COMMAND LIST FILTERBY PATTERN lpush", "COMMAND LIST FILTERBY PATTERN sinterc?r*",
			"COMMAND LIST FILTERBY nothing x", "COMMAND LIST one", "COMMAND NOSUCH",
		} {
			args := []any{}
			for _, w := range strings.Fields(line) {
				args = append(args, w)
			}
			want, _ := redis.Do(ctx, args...)
			got := answer(t, tab, line, proto)
			if g, w := dump(got), dump(want); g != w {
				t.Errorf("version %d: %s:\n got %s\nwant %s", proto, line, g, w)
			}
		}
		for _, name := range []string{"get", "lpush", "sintercard", "linsert"} {
			reply, _ := redis.Do(ctx, "COMMAND", "DOCS", name)
			if got, want := arguments(t, answer(t, tab, "COMMAND DOCS "+name, proto), name), arguments(t, reply, name); got != want {
				t.Errorf("version %d: arguments of %s:\n got %s\nwant %s", proto, name, got, want)
			}
		}
	}
}

// arguments writes the arguments of a command in a reply of COMMAND DOCS, without what Redis 7.2 has added to them.
func arguments(t *testing.T, docs resp.Value, name string) string {
	t.Helper()
	doc, _ := docs.Lookup(name)
	args, ok := doc.Lookup("arguments")
	if !ok {
		t.Fatalf("COMMAND DOCS %s: no arguments in %v", name, docs)
	}
	for _, a := range args.Elems {
		if shown, ok := a.Lookup("display_text"); ok && shown.String() == "" {
			t.Errorf("%s: nothing to display for %v", name, a)
		}
	}
	return dump(withoutDisplay(args))
}

func withoutDisplay(v resp.Value) resp.Value {
	var elems []resp.Value
	for i := 0; i < len(v.Elems); i++ {
		if string(v.Elems[i].Str) == "display_text" {
			i++
			continue
		}
		elems = append(elems, withoutDisplay(v.Elems[i]))
	}
	v.Elems = elems
	return v
}

// dump writes a value with its types.
func dump(v resp.Value) string {
	if v.IsAggregate() {
		var parts []string
		for _, e := range v.Elems {
			parts = append(parts, dump(e))
		}
		return fmt.Sprint(v.Kind, "[", strings.Join(parts, " "), "]")
	}
	return fmt.Sprintf("%d:%s", v.Kind, v.String())
}

func TestWholeTable(t *testing.T) {
	tab := table(t)
	if got := answer(t, tab, "COMMAND", 2); len(got.Elems) != 7 {
		t.Errorf("COMMAND: %d entries", len(got.Elems))
	}
	if got := answer(t, tab, "command count", 2); got.Int != 7 {
		t.Errorf("COMMAND COUNT: %d", got.Int)
	}
	if got := answer(t, tab, "COMMAND INFO", 3); len(got.Elems) != 7 {
		t.Errorf("COMMAND INFO: %d entries", len(got.Elems))
	}
	docs := answer(t, tab, "COMMAND DOCS", 3)
	if docs.Kind != resp.KindMap || len(docs.Elems) != 14 {
		t.Errorf("COMMAND DOCS: %v", docs)
	}
	client, ok := answer(t, tab, "COMMAND DOCS client nosuch", 2).Lookup("client")
	if !ok {
		t.Fatal("COMMAND DOCS client: nothing")
	}
	if subs, _ := client.Lookup("subcommands"); len(subs.Elems) != 2 {
		t.Errorf("sub-commands of CLIENT: %v", subs)
	}
	if got := answer(t, tab, "COMMAND LIST FILTERBY ACLCAT list", 2).String(); got != "[linsert lpush]" {
		t.Errorf("ACLCAT list: %s", got)
	}
	if got := answer(t, tab, "COMMAND LIST FILTERBY PATTERN *|*", 2).String(); got != "[client|id]" {
		t.Errorf("PATTERN *|*: %s", got)
	}
	if got := answer(t, tab, "COMMAND HELP", 2); len(got.Elems) < 10 {
		t.Errorf("COMMAND HELP: %v", got)
	}
}
