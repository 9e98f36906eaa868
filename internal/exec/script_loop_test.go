package exec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"haypile/internal/pubsub"
	"haypile/internal/resp"
)

// script runs EVAL on the loop; false if it could block.
func (l *loop) script(i int, src, rest string) bool {
	l.cs[i].Tick(time.Now())
	return l.cs[i].TryDo(append([][]byte{[]byte("EVAL"), []byte(src)}, words(rest)...))
}

// unhurried lets scripts take their time on a loop.
func unhurried(t *testing.T) {
	before := loopScriptTime
	loopScriptTime = time.Hour
	t.Cleanup(func() { loopScriptTime = before })
}

const addTwice = "redis.call('incr', KEYS[1]) return redis.call('incr', KEYS[1])"

// TestScriptInTurn: scripts take part in a turn's transaction as commands do; each is one unit of the log.
func TestScriptInTurn(t *testing.T) {
	unhurried(t)
	g := newGate(t, gateOptions{})
	l := g.loop(4)
	end := g.log.End()
	groups := g.x.Stats.Groups.Load()
	l.try(0, "SET a 1")
	for i, s := range [][2]string{{addTwice, "1 a"}, {"return redis.call('get', KEYS[1])", "1 a"},
		{"redis.call('select', 1) return redis.call('set', KEYS[1], 'x')", "1 b"}} {
		if !l.script(i+1, s[0], s[1]) {
			t.Fatalf("%s was not run", s)
		}
	}
	if !l.script(0, "redis.call('set', KEYS[1], 5) return redis.call('lpush', KEYS[1], 1)", "1 c") {
		t.Fatal("a script that fails was not run")
	}
	got := l.end()
	if !strings.HasPrefix(got[0], "OK -WRONGTYPE") || strings.Join(got[1:], " ") != "3 3 OK" {
		t.Errorf("replies %q", got)
	}
	if n := g.x.Stats.Groups.Load() - groups; n != 1 {
		t.Errorf("%d groups", n)
	}
	want := "SELECT 0|SET a 1|MULTI|incr a|incr a|EXEC|SELECT 1|set b x|SELECT 0|set c 5"
	if text := logText(t, g, int64(end)); text != want {
		t.Errorf("the log got %q, want %q", text, want)
	}
	l.cs[0].Share(nil)
	l.cs[0].want("3", "GET a")
	g.must()
}

// TestScriptInTurnThatCannotCommit: the replies of scripts become errors as those of commands do, also of one that
// has only read.
func TestScriptInTurnThatCannotCommit(t *testing.T) {
	unhurried(t)
	g := newGate(t, gateOptions{})
	l := g.loop(2)
	l.script(0, addTwice, "1 a")
	l.script(1, "return redis.call('get', KEYS[1])", "1 a")
	g.x.SetLease(time.Now().Add(-time.Second))
	lost := "-" + resp.ErrLeaseLost
	l.want(t, lost, lost)
}

// TestScriptLeavesTurn: a script that would have to wait, or runs for long, is taken back without a trace and runs
// away from the loop; what the turn did before stays.
func TestScriptLeavesTurn(t *testing.T) {
	g := newGate(t, gateOptions{})
	other := g.client()
	other.do("SET held 1")
	other.do("SET cold 1")
	if err := g.store.Drain(); err != nil {
		t.Fatal(err)
	}
	g.store.DropCache()
	other.Do(words("SET held 2")) // its transaction stays open, and holds the lock
	heard := &listener{}
	g.x.Node.PubSub().Subscribe(pubsub.Channel, "c", heard)
	for i, src := range []string{
		"redis.call('get', 'cold')", "redis.call('incr', 'held')", "while true do end", "redis.call('publish', 'c', 'm')",
		"redis.call('flushall')", "for i = 1, 1e6 do redis.call('set', KEYS[1], i) end", "redis.call('randomkey')",
		"--" + strings.Repeat("x", loopScriptSource),
	} {
		l := g.loop(1)
		end := g.log.End()
		l.try(0, "SET a before")
		src = "redis.call('set', KEYS[1], 'script') " + src
		if l.script(0, src, "1 a") {
			t.Errorf("%.60s ran on the loop", src)
		}
		l.want(t, "OK")
		if text := logText(t, g, int64(end)); !strings.HasSuffix(text, "SET a before") {
			t.Errorf("%.60s: the log got %q", src, text)
		}
		l.cs[0].Share(nil)
		l.cs[0].want("before", "GET a")
		l.cs[0].want(fmt.Sprint(i+1), "INCR runs")
	}
	if got := heard.take(); got != "" {
		t.Errorf("messages %q", got)
	}
	_ = other.Flush()
	other.replies()
	g.must()
}

// TestScriptStaysAway: one that had to leave a loop does so at once for some time, and then tries again.
func TestScriptStaysAway(t *testing.T) {
	unhurried(t)
	g := newGate(t, gateOptions{})
	l := g.loop(1)
	l.try(0, "SET a 1")
	l.end()
	if err := g.store.Drain(); err != nil {
		t.Fatal(err)
	}
	g.store.DropCache()
	const src = "return redis.call('get', KEYS[1])"
	if l.script(0, src, "1 a") {
		t.Fatal("a script ran on the loop although the engine must be asked")
	}
	l.end()
	l.cs[0].Share(nil)
	l.cs[0].want("1", "GET a") // from now on it is in memory
	l.cs[0].Share(l.r)
	runs := 0
	for !l.script(0, src, "1 a") {
		if runs++; runs > 1000 {
			t.Fatal("the script never comes back")
		}
	}
	l.want(t, "1")
	if runs < 10 {
		t.Errorf("it tried again after %d runs", runs)
	}
}

// TestFunctionInTurn: functions run on a loop like scripts, once their libraries are in memory.
func TestFunctionInTurn(t *testing.T) {
	unhurried(t)
	g := newGate(t, gateOptions{})
	c := g.client()
	code := "#!lua name=l\nredis.register_function('f', function(k) return redis.call('incr', k[1]) end)"
	c.Do([][]byte{[]byte("FUNCTION"), []byte("LOAD"), []byte(code)})
	_ = c.Flush()
	if got := c.replies(); len(got) != 1 || got[0] != "l" {
		t.Fatalf("FUNCTION LOAD: %q", got)
	}
	c.want("1", "FCALL f 1 a")
	l := g.loop(1)
	if !l.try(0, "FCALL f 1 a") {
		t.Error("a function was not run on the loop")
	}
	l.want(t, "2")
	if err := g.store.Drain(); err != nil {
		t.Fatal(err)
	}
	g.store.DropCache()
	if l.try(0, "FCALL f 1 a") {
		t.Error("a function ran although the engine must be asked for libraries")
	}
	l.want(t, "")
	c.want("3", "FCALL f 1 a")
}
