package option

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func pairs(words ...string) []Pair {
	var out []Pair
	for ; len(words) > 0; words = words[2:] {
		out = append(out, Pair{words[0], words[1]})
	}
	return out
}

func TestSetRefusals(t *testing.T) {
	for _, x := range []struct {
		words []string
		want  string
	}{
		{[]string{"x", "1"}, "Unknown option or number of arguments for CONFIG SET - 'x'"},
		{[]string{"maxclients", "5", "nosuch", "3"},
			"Unknown option or number of arguments for CONFIG SET - 'nosuch'"},
		{[]string{"databases", "3", "nosuch", "3"},
			"CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config"},
		{[]string{"DATABASES", "3"},
			"CONFIG SET failed (possibly related to argument 'DATABASES') - can't set immutable config"},
		{[]string{"timeout", "abc", "TIMEOUT", "3"},
			"CONFIG SET failed (possibly related to argument 'TIMEOUT') - duplicate parameter"},
		{[]string{"maxclients", "5", "TIMEOUT", "abc"},
			"CONFIG SET failed (possibly related to argument 'timeout')" +
				" - argument couldn't be parsed into an integer"},
	} {
		c := New()
		before := c.View()
		err := c.Set(pairs(x.words...)...)
		if err == nil || err.Error() != x.want {
			t.Errorf("%q: %v\nwant %s", x.words, err, x.want)
		}
		if c.View() != before {
			t.Errorf("%q: refused, and yet something changed", x.words)
		}
	}
}

func TestSetSeveral(t *testing.T) {
	c := New()
	// As in Redis an alias and its name may both be given; the last wins.
	if err := c.Set(pairs("timeout", "7", "replica-priority", "1", "slave-priority", "2")...); err != nil {
		t.Fatal(err)
	}
	if c.Text(Timeout) != "7" || c.Int(ReplicaPriority) != 2 {
		t.Errorf("timeout %s, replica-priority %d", c.Text(Timeout), c.Int(ReplicaPriority))
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	c := New()
	var calls []string
	refuse := errors.New("no room")
	note := func(name string, err error) func(*View) error {
		return func(next *View) error {
			calls = append(calls, fmt.Sprintf("%s timeout=%s clients=%d",
				name, next.Text(Timeout), next.Int(MaxClients)))
			if next.Int(MaxClients) == 77 {
				return err
			}
			return nil
		}
	}
	c.OnApply(note("a", nil), Timeout, MaxClients)
	c.OnApply(note("b", refuse), MaxClients)
	c.OnApply(note("never", nil), Hz)
	told := 0
	c.OnChange(func(now *View) { told++ }, Timeout)

	err := c.Set(pairs("timeout", "5", "MaxClients", "77")...)
	want := "CONFIG SET failed (possibly related to argument 'maxclients') - no room"
	if err == nil || err.Error() != want || !errors.Is(err, refuse) {
		t.Errorf("got %v, want %s", err, want)
	}
	got := strings.Join(calls, "\n")
	if got != "a timeout=5 clients=77\nb timeout=5 clients=77\na timeout=0 clients=10000" {
		t.Errorf("calls:\n%s", got)
	}
	if c.Int(MaxClients) != 10000 || c.Text(Timeout) != "0" || told != 0 {
		t.Errorf("maxclients %d, timeout %s, told %d times", c.Int(MaxClients), c.Text(Timeout), told)
	}

	calls = nil
	if err := c.Set(pairs("timeout", "5", "maxclients", "78")...); err != nil || told != 1 || len(calls) != 2 {
		t.Errorf("%v, told %d times, calls %q", err, told, calls)
	}
	calls = nil
	if err := c.Set(pairs("timeout", "5")...); err != nil || len(calls) != 0 {
		t.Errorf("a Set that changes nothing: %v, calls %q", err, calls)
	}
}

func TestRemovedHookIsNotCalled(t *testing.T) {
	c := New()
	calls := 0
	keep := c.OnChange(func(*View) { calls++ }, Hz)
	remove := c.OnChange(func(*View) { calls += 100 }, Hz)
	remove()
	if err := c.Set(pairs("hz", "20")...); err != nil || calls != 1 {
		t.Errorf("%v, %d", err, calls)
	}
	keep()
}

func TestAssignReachesImmutableOptions(t *testing.T) {
	c := New()
	told := ""
	c.OnChange(func(now *View) { told = ReplicaOf.Get(now).String() }, ReplicaOf)
	if err := c.Assign(ReplicaOf, "::1 7000"); err != nil {
		t.Fatal(err)
	}
	if got := ReplicaOf.Get(c); got != (Address{"::1", 7000}) || told != "[::1]:7000" {
		t.Errorf("%+v, told %q", got, told)
	}
	if err := c.Assign(Port, "x"); err == nil || c.Int(Port) != 6379 {
		t.Errorf("%v, port %d", err, c.Int(Port))
	}
}

// Readers see either all of a Set or nothing of it.
func TestConcurrentReadersSeeWholeSets(t *testing.T) {
	c := New()
	if err := c.Set(pairs("maxclients", "100", "timeout", "100")...); err != nil {
		t.Fatal(err)
	}
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				v := c.View()
				if fmt.Sprint(v.Int(MaxClients)) != v.Text(Timeout) {
					t.Errorf("maxclients %d, timeout %s", v.Int(MaxClients), v.Text(Timeout))
					return
				}
				c.Get("*")
			}
		}()
		writers.Add(1)
		go func() {
			defer writers.Done()
			for i := range 200 {
				n := fmt.Sprint(i + 1)
				if err := c.Set(pairs("maxclients", n, "timeout", n)...); err != nil {
					t.Error(err)
				}
				c.OnChange(func(*View) {}, Hz)()
			}
		}()
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

func TestGet(t *testing.T) {
	c := New()
	for _, x := range []struct {
		patterns []string
		want     string
	}{
		{[]string{"MAXCLIENTS", "maxcl*"}, "MAXCLIENTS=10000"},
		{[]string{"slaveof", "replicaof"}, "slaveof= replicaof="},
		{[]string{"*-Priority"}, "replica-priority=100 slave-priority=100"},
		{[]string{"maxc[^a]ients"}, "maxclients=10000"},
		{[]string{"maxc[a-k]*"}, ""},
		{[]string{"appendf?ync"}, "appendfsync=everysec"},
		{[]string{"nosuch", `\timeout`, "tim[out"}, ""},
	} {
		var got []string
		for _, p := range c.Get(x.patterns...) {
			got = append(got, p.Name+"="+p.Value)
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%q: %q, want %s", x.patterns, got, x.want)
		}
	}
	names := 0
	for _, s := range table {
		names += len(s.Names())
	}
	if got := len(c.Get("*")); got != names {
		t.Errorf("CONFIG GET * has %d names, the table %d", got, names)
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("*a*b*c", "aabbcc")
	f.Add("[a-", "a")
	f.Add(`[^\]]*\`, "x")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		globMatch(pattern, name)
		if !globMatch("*", name) || !globMatch(strings.Repeat("?", len(name)), name) {
			t.Fatalf("%q is not matched by wildcards alone", name)
		}
	})
}

func BenchmarkInt(b *testing.B) {
	c := New()
	var sum int64
	for b.Loop() {
		sum += c.Int(MaxClients)
	}
	_ = sum
}

func BenchmarkList(b *testing.B) {
	c := New()
	var sum int64
	for b.Loop() {
		sum += ClientOutputBufferLimit.Get(c).Normal.Hard
	}
	_ = sum
}
