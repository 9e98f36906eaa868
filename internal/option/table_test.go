package option

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestTableIsComplete(t *testing.T) {
	names := map[string]string{}
	for _, s := range table {
		for _, name := range s.Names() {
			if other, dup := names[name]; dup {
				t.Errorf("%s names both %s and %s", name, other, s.Name)
			}
			names[name] = s.Name
			if hint := foreign[name]; hint != "" {
				t.Errorf("%s is an option and yet refused as foreign: %s", name, hint)
			}
			if Lookup(strings.ToUpper(name)) != s {
				t.Errorf("Lookup(%q) does not find %s", strings.ToUpper(name), s.Name)
			}
		}
		differs := s.DiffersFromRedis
		if !strings.HasSuffix(s.Help, ".") || (differs != "" && !strings.HasSuffix(differs, ".")) {
			t.Errorf("%s: Help and DiffersFromRedis must be sentences", s.Name)
		}
		if s.Since == "" {
			t.Errorf("%s: no Since", s.Name)
		}
		grouped := false
		for _, g := range groups {
			grouped = grouped || g == s.Group
		}
		if !grouped {
			t.Errorf("%s: group %q is not among Groups", s.Name, s.Group)
		}
	}
	if len(Specs()) != len(table) {
		t.Errorf("Specs has %d options, the table %d", len(Specs()), len(table))
	}
}

func TestTableBounds(t *testing.T) {
	for _, s := range table {
		switch s.Type {
		case TypeInt, TypeOctal, TypeMemory, TypeDuration, TypeShare:
			if s.Min >= s.Max {
				t.Errorf("%s: Min %d, Max %d", s.Name, s.Min, s.Max)
			}
		case TypeEnum:
			if len(s.Enum) == 0 {
				t.Errorf("%s: no words", s.Name)
			}
		case TypeList:
			if s.list == nil || s.list.parse == nil {
				t.Errorf("%s: no rules", s.Name)
			}
		}
		if s.Type == TypeDuration && unitNames[s.Unit] == "" {
			t.Errorf("%s: unit %v has no name", s.Name, s.Unit)
		}
		if s.Type == TypeDuration && s.Max > 0 && int64(s.Unit)*s.Max/s.Max != int64(s.Unit) {
			t.Errorf("%s: the largest value does not fit a time.Duration", s.Name)
		}
	}
}

// A default must read back from what CONFIG GET and the file print for it.
func TestDefaultsAreStable(t *testing.T) {
	view := defaults()
	for id, s := range table {
		want := view.vals[id]
		got, err := s.parse(want.text)
		if err != nil || got.text != want.text || got.n != want.n {
			t.Errorf("%s: %q reads back as %q, %v", s.Name, want.text, got.text, err)
		}
		l := newLoader(view)
		for _, line := range s.overridingLines(want) {
			l.line("", 1, line, 0)
		}
		if len(l.err.Problems) > 0 || l.vals[id].text != want.text {
			t.Errorf("%s: the file's form gives %q, %v", s.Name, l.vals[id].text, l.err.Problems)
		}
	}
}

func TestMarkdownHasEveryOption(t *testing.T) {
	doc := Markdown()
	if !bytes.Equal(doc, Markdown()) {
		t.Error("two calls differ")
	}
	for _, s := range table {
		at := bytes.Index(doc, []byte("\n### "+s.Name+"\n"))
		if s.Hidden != (at < 0) {
			t.Errorf("%s: hidden %v, but found at %d", s.Name, s.Hidden, at)
			continue
		}
		chapter, _, _ := strings.Cut(string(doc[at+5:]), "\n### ")
		for _, part := range append([]string{s.Help, s.describeDefault(), s.DiffersFromRedis}, s.Aliases...) {
			if !strings.Contains(chapter, part) {
				t.Errorf("%s: %q is missing", s.Name, part)
			}
		}
	}
	for name := range foreign {
		if !bytes.Contains(doc, []byte(fmt.Sprintf("| `%s` |", name))) {
			t.Errorf("foreign option %s is missing", name)
		}
	}
}

func TestTypedReads(t *testing.T) {
	c := New()
	if err := c.Assign(ClientOutputBufferLimit, "replica 1mb 2kb 3"); err != nil {
		t.Fatal(err)
	}
	limits := ClientOutputBufferLimit.Get(c)
	if limits.Replica != (OutputLimit{1 << 20, 2 << 10, 3e9}) || limits.PubSub.Hard != 32<<20 {
		t.Errorf("limits %+v", limits)
	}
	for _, ok := range []bool{
		c.Int(MaxClients) == 10000,
		c.Bytes(ProtoMaxBulkLen) == 512<<20,
		c.Duration(Lease) == 1e9,
		c.Duration(SlowlogLogSlowerThan) == 10e6,
		c.Enum(AppendFsync) == FsyncEverySec,
		c.Bool(ProtectedMode),
		c.String(Dir) == "./",
		c.Text(UnixSocketPerm) == "0",
		ReplicaOf.Get(c).IsZero(),
		strings.Join(Bind.Get(c), "|") == "*|-::*",
		c.Share(BlockCache, 1000) == 300,
		CacheBudget(c, 8<<30) == 2<<30,
		CacheBudget(c, 0) == 1<<30,
		EffectiveAgentPort(c) == 16379,
	} {
		if !ok {
			t.Fail()
		}
	}
	if t.Failed() {
		t.Error("a default is not what its type says")
	}
}

func TestEffectiveAgentPort(t *testing.T) {
	for _, x := range []struct {
		port, agent string
		want        int
	}{{"6379", "0", 16379}, {"60000", "0", 50000}, {"0", "0", 0}, {"6379", "7", 7}, {"0", "7", 7}} {
		c := New()
		if err := c.Assign(Port, x.port); err != nil {
			t.Fatal(err)
		}
		if err := c.Assign(AgentPort, x.agent); err != nil {
			t.Fatal(err)
		}
		if got := EffectiveAgentPort(c); got != x.want {
			t.Errorf("port %s, agent-port %s: %d, want %d", x.port, x.agent, got, x.want)
		}
	}
}
