package acl

import (
	"slices"
	"strings"
	"testing"
	"time"

	"haypile/internal/command"
	"haypile/internal/option"
)

func testRules(tb testing.TB) Rules {
	tb.Helper()
	spec := func(name string, flags command.Flags, keys ...command.KeySpec) *command.Spec {
		return &command.Spec{Name: name, Group: "string", Since: "1", Arity: -1, Syntax: name, Summary: "x.", Complexity: "1",
			Flags: flags, Keys: keys}
	}
	config := spec("CONFIG", 0)
	config.Sub = []*command.Spec{spec("GET", command.Admin), spec("SET", command.Admin)}
	for _, sub := range config.Sub {
		sub.Syntax = "CONFIG " + sub.Name
	}
	publish := spec("PUBLISH", command.PubSub)
	publish.Channels = command.ChannelsPublish
	psubscribe := spec("PSUBSCRIBE", command.PubSub)
	psubscribe.Channels = command.ChannelsPatterns
	table, err := command.NewTable([]*command.Spec{
		spec("GET", command.ReadOnly, command.One(1, command.AccessRO|command.AccessRead)),
		spec("SET", command.Write, command.One(1, command.AccessOW|command.AccessUpdate)),
		spec("COPY", command.Write, command.One(1, command.AccessRO|command.AccessRead),
			command.One(2, command.AccessOW|command.AccessUpdate)),
		spec("SELECT", command.Fast), spec("AUTH", command.NoAuth), config, publish, psubscribe,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return Rules{Table: table}
}

func (r Rules) user(tb testing.TB, rules string) *User {
	tb.Helper()
	u, err := r.Apply(r.New("u"), strings.Fields(rules)...)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

func TestAllowed(t *testing.T) {
	r := testRules(t)
	for _, c := range []struct {
		rules, call string
		denied      Denied
		pos         int
	}{
		{"", "get a", DeniedCommand, 0},
		{"", "auth x", Allowed, 0},
		{"+get", "get a", DeniedKey, 1},
		{"+get ~a*", "GET ab", Allowed, 0},
		{"+get %W~a*", "get ab", DeniedKey, 1},
		{"+set %W~a*", "set ab x", Allowed, 0},
		{"+copy %R~a %W~b", "copy a b", Allowed, 0},
		{"+copy %R~a %W~b", "copy b a", DeniedKey, 1},
		{"+copy %R~a %W~b", "copy a a", DeniedKey, 2},
		{"+@read ~*", "get a", Allowed, 0},
		{"+@read ~*", "set a x", DeniedCommand, 0},
		{"+@all -@write ~*", "set a x", DeniedCommand, 0},
		{"+config|get", "config get", Allowed, 0},
		{"+config|get", "config set", DeniedCommand, 0},
		{"+config -config|set", "config set", DeniedCommand, 0},
		{"+select|0", "select 0", Allowed, 0},
		{"+select|0", "select 1", DeniedCommand, 0},
		{"+select|0 -select", "select 0", DeniedCommand, 0},
		{"+select|0 +select -select", "select 0", DeniedCommand, 0},
		{"+publish &a*", "publish ab m", Allowed, 0},
		{"+publish &a*", "publish b m", DeniedChannel, 1},
		{"+psubscribe &a*", "psubscribe a*", Allowed, 0},
		{"+psubscribe &a*", "psubscribe a* ab", DeniedChannel, 2},
		{"+get ~a (+set ~b)", "set a x", DeniedKey, 1},
		{"+get ~a (+set ~b)", "set b x", Allowed, 0},
		{"+get ~a (+set ~b) (+@all ~c)", "get b", DeniedKey, 1},
		{"(+@all ~* &*)", "get b", Allowed, 0},
		{"+copy ~a (+copy %R~a)", "copy a b", DeniedKey, 2},
	} {
		var args [][]byte
		for _, w := range strings.Fields(c.call) {
			args = append(args, []byte(w))
		}
		spec, _ := r.Table.Find(args)
		if v := r.user(t, c.rules).Allowed(spec, args); v != (Verdict{c.denied, c.pos}) {
			t.Errorf("%q, %q: %v", c.rules, c.call, v)
		}
	}
}

func TestAllIsKnown(t *testing.T) {
	r := testRules(t)
	for rules, all := range map[string]bool{
		"+@all ~* &*": true, "+@all ~*": false, "+@all &*": false, "+@all ~* &* -get": false, "~* &* +@all -get +get": true,
		"(+@all ~* &*)": true, "~* &* (+@all)": false, "+@all ~* &* nocommands": false,
	} {
		if got := r.user(t, rules).All(); got != all {
			t.Errorf("%q: %v", rules, got)
		}
	}
	if u := r.Default(); !u.All() || !u.Login([]byte("x")) {
		t.Error("the default user may not do everything")
	}
}

func TestLogin(t *testing.T) {
	r := testRules(t)
	u := r.user(t, "on >one >two")
	for password, ok := range map[string]bool{"one": true, "two": true, "three": false, "": false} {
		if u.Login([]byte(password)) != ok {
			t.Errorf("%q: %v", password, !ok)
		}
	}
	if r.user(t, ">one").Login([]byte("one")) || r.user(t, "nopass").Login(nil) {
		t.Error("a user who is off logs in")
	}
	if !r.user(t, "on nopass").Login([]byte("x")) || r.user(t, "on").Login(nil) {
		t.Error("nopass is not heeded")
	}
}

func TestKeepsChannels(t *testing.T) {
	r := testRules(t)
	for _, c := range []struct {
		from, to string
		keeps    bool
	}{
		{"&a", "&a &b", true}, {"&a &b", "&a", false}, {"&*", "&a", false}, {"&a", "&*", true}, {"", "", true},
		{"&a (&b)", "&b &a", true}, {"&a (&*)", "&a", false}, {"&a", "(&*)", true},
	} {
		if got := r.user(t, c.from).KeepsChannels(r.user(t, c.to)); got != c.keeps {
			t.Errorf("%q to %q: %v", c.from, c.to, got)
		}
	}
}

// An account outlives changes of its user, and of its name nothing is left when it is gone.
func TestAccounts(t *testing.T) {
	us := NewUsers(testRules(t))
	a, before, err := us.Set("u", false, "on", ">p", "+get", "~*")
	if err != nil || before != nil || us.Find("u") != a {
		t.Fatal(before, err)
	}
	if _, _, err := us.Set("u", false, "+set", "bad"); err == nil || strings.Contains(a.User().Describe(), "+set") {
		t.Errorf("%v: %s", err, a.User().Describe())
	}
	if again, before, _ := us.Set("u", false, "+set"); again != a || strings.Contains(before.Describe(), "+set") {
		t.Errorf("the account is another, or was changed in place: %s", before.Describe())
	}
	if us.Login("u", []byte("p")) != a || us.Login("u", []byte("q")) != nil || us.Login("x", []byte("p")) != nil {
		t.Error("log-in")
	}
	if gone := us.Delete("u", "u", DefaultName, "x"); len(gone) != 1 || gone[0] != a || !a.Gone() {
		t.Errorf("%v", gone)
	}
	get := us.rules.Table.Lookup([]byte("GET"))
	if us.Find("u") != nil || a.User().Allowed(get, [][]byte{[]byte("get"), []byte("k")}).OK() {
		t.Error("a user that is gone may still do something")
	}
	us.SetDefaultPassword("p")
	if us.Open() || us.Login(DefaultName, []byte("p")) != us.Default() {
		t.Error("requirepass")
	}
	us.SetDefaultPassword("")
	if !us.Open() {
		t.Error("no requirepass")
	}
	us.Set("v", false)
	gone, _ := us.Replace([]*User{us.rules.New("w")})
	if len(gone) != 1 || !gone[0].Gone() || !slices.Equal(us.Names(), []string{DefaultName, "w"}) || !us.Open() {
		t.Errorf("%v %v", gone, us.Names())
	}
}

func TestConfigured(t *testing.T) {
	r := testRules(t)
	list, err := r.Configured([][]string{{"a", "on", "(+get", "~x)"}, {"default", "on", "+get"}})
	if err != nil || len(list) != 2 || list[0].Describe() !=
		"user a on sanitize-payload resetchannels -@all (~x resetchannels -@all +get)" {
		t.Fatal(list, err)
	}
	for text, lines := range map[string][][]string{
		"Error in user declaration 'a': Duplicate user found. A user can only be defined once in config files": {{"a"}, {"a"}},
		"Error in user declaration 'a': Syntax error":                                                          {{"a", "secret"}},
		"Error in user declaration 'a': +no: Unknown command or category name in ACL":                          {{"a", "+no"}},
		"Error in user declaration 'a': Unmatched parenthesis in acl selector starting at '(+get'.":            {{"a", "(+get"}},
		"Error in user declaration 'a b': Usernames can't contain spaces or null characters":                   {{"a b"}},
	} {
		if _, err := r.Configured(lines); err == nil || err.Error() != text {
			t.Errorf("%q: %v", lines, err)
		}
	}
}

func TestLog(t *testing.T) {
	var l Log
	at := time.Unix(1000, 0)
	add := func(object string, after time.Duration, limit int) {
		l.Add(Entry{Reason: DeniedKey, Object: object, Updated: at.Add(after)}, limit)
	}
	add("a", 0, 3)
	add("b", time.Second, 3)
	add("a", 30*time.Second, 3)
	add("a", 91*time.Second, 3) // too late to be the same
	got := l.Newest(10)
	if len(got) != 3 || got[0].Object != "a" || got[0].Count != 1 || got[0].ID != 2 || got[1].Object != "b" ||
		got[2].Count != 2 || !got[2].Created.Equal(at) || !got[2].Updated.Equal(at.Add(30*time.Second)) {
		t.Errorf("%+v", got)
	}
	add("c", 92*time.Second, 2)
	if got := l.Newest(10); len(got) != 2 || got[0].Object != "c" || len(l.Newest(1)) != 1 {
		t.Errorf("%+v", got)
	}
	add("d", 93*time.Second, 0)
	if got := l.Newest(10); len(got) != 0 || l.Denied(DeniedKey) != 6 {
		t.Errorf("%+v, %d", got, l.Denied(DeniedKey))
	}
}

// FuzzRules: whatever rules make, what is printed makes again, by way of an ACL file and of a configuration file.
func FuzzRules(f *testing.F) {
	for _, rules := range []string{
		"on >p ~a %R~b &c +@all -get", "(+get ~x) (+set (~y", `( "~a)" '&b"' +select|\x )`, "+select|0) (+select|0|)",
		"+config|get -config +CONFIG|Set", "(%W~\"a\\x41\") nopass reset (~a) clearselectors", "~ & %R~ # >", "+select|\xff",
	} {
		f.Add(rules, "u")
	}
	r := testRules(f)
	f.Fuzz(func(t *testing.T, text, name string) {
		if hasSpace(name) {
			return
		}
		u := r.New(name)
		for _, word := range strings.Split(text, " ") {
			if next, err := r.Apply(u, word); err == nil {
				u = next
			}
		}
		if whole, err := r.Apply(r.New(name), strings.Split(text, " ")...); err == nil {
			same(t, r, whole)
		}
		same(t, r, u)
		_, _ = r.ParseFile("f", text)
	})
}

func same(t *testing.T, r Rules, u *User) {
	t.Helper()
	list, err := r.ParseFile("f", FormatFile([]*User{u}))
	if err != nil || len(list) != 1 || list[0].Describe() != u.Describe() {
		t.Errorf("%q: %v, %v", u.Describe(), list, err)
		return
	}
	words, err := option.SplitWords(u.ConfigLine())
	if err != nil {
		t.Fatal(err)
	}
	if list, err = r.Configured([][]string{words}); err != nil || list[0].Describe() != u.Describe() {
		t.Errorf("%q: %v, %v", u.ConfigLine(), list, err)
		return
	}
	for i := range u.selectors {
		if a, b := u.selectors[i], list[0].selectors[i]; !slices.Equal(a.bits, b.bits) || a.allKeys != b.allKeys ||
			a.allChannels != b.allChannels || !slices.Equal(a.keys, b.keys) || !slices.Equal(a.channels, b.channels) {
			t.Errorf("%q: selector %d is another", u.Describe(), i)
		}
		for id, args := range u.selectors[i].firstArgs {
			if len(args) != len(list[0].selectors[i].firstArgs[id]) {
				t.Errorf("%q: first arguments", u.Describe())
			}
		}
	}
}
