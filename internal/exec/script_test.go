package exec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/storage"
)

// eval runs EVAL with a script and further arguments.
func (c *client) eval(src, rest string) string {
	c.Tick(time.Now())
	c.Do(append([][]byte{[]byte("EVAL"), []byte(src)}, words(rest)...))
	_ = c.Flush()
	r := c.replies()
	if len(r) != 1 {
		return fmt.Sprintf("%d replies: %q", len(r), r)
	}
	return r[0]
}

// What a script did is one unit of the log; the script is not in it.
func TestScriptInLog(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	end := g.log.End()
	for _, step := range []struct{ src, args, reply, log string }{
		{"return redis.call('get', KEYS[1])", "1 a", "nil", ""},
		{"return redis.call('set', KEYS[1], 'x')", "1 a", "OK", "SELECT 0|set a x"},
		{"redis.call('set', KEYS[1], 'y') return redis.call('append', KEYS[1], 'z')", "1 a", "2",
			"MULTI|set a y|append a z|EXEC"},
		{"redis.call('set', 'b', 1) redis.call('select', 2) redis.call('set', 'b', 2)", "0", "nil",
			"MULTI|set b 1|SELECT 2|set b 2|EXEC"},
		// What was done before an error stays, what the failing command did does not.
		{"redis.call('set', KEYS[1], 1) redis.call('mset', 'p', 1, 'q')", "1 a",
			"-ERR wrong number of arguments for 'mset' command script: " +
				"of the script", "SELECT 0|set a 1"},
		{"redis.pcall('lpush', KEYS[1], 1) return 7", "1 a", "7", ""},
	} {
		got := c.eval(step.src, step.args)
		if !strings.HasPrefix(got, strings.Split(step.reply, " script:")[0]) {
			t.Errorf("%s: got %q, want %q", step.src, got, step.reply)
		}
		if text := logText(t, g, int64(end)); text != step.log {
			t.Errorf("%s: the log got %q, want %q", step.src, text, step.log)
		}
		end = g.log.End()
	}
	c.want("1", "GET a")
	g.must()
}

// A script that needs a lock which somebody else holds runs again alone: what it did, messages included, is done
// once.
func TestScriptRunsAgain(t *testing.T) {
	g := newGate(t, gateOptions{})
	c, other := g.client(), g.client()
	other.Tick(time.Now())
	other.Do(words("SET held 1")) // its round stays open, with the lock
	end := g.log.End()
	done := make(chan string)
	go func() {
		done <- c.eval("redis.call('incr', KEYS[1]) redis.call('publish', 'c', 'm') "+
			"return redis.call('incr', 'held')", "1 mine")
	}()
	eventually(t, "the script waits for the latch", func() bool {
		if !g.x.latch.TryRLock() {
			return true
		}
		g.x.latch.RUnlock()
		return false
	})
	_ = other.Flush()
	if got := <-done; got != "2" {
		t.Error(got)
	}
	if text := logText(t, g, int64(end)); text != "SELECT 0|SET held 1|MULTI|incr mine|publish c m|incr held|EXEC" {
		t.Error(text)
	}
	if n := len(c.script.published); n != 0 {
		t.Errorf("%d calls of PUBLISH are kept", n)
	}
	c.want("1", "GET mine")
	// Commands that look at keys without naming them always need that.
	if got := c.eval("redis.call('set', 'x', 1) return redis.call('dbsize')", "0"); got != "3" {
		t.Error(got)
	}
	if got := c.eval("redis.call('flushall') return redis.call('dbsize')", "0"); got != "0" {
		t.Error(got)
	}
	g.must()
}

// A script that runs for long makes the node busy, and can be ended unless it has written.
func TestBusyScript(t *testing.T) {
	g := newGate(t, gateOptions{config: map[option.Option]string{option.BusyScriptThreshold: "1"}})
	c, other := g.client(), g.client()
	done := make(chan string)
	run := func(src string) {
		t.Helper()
		go func() { done <- c.eval(src, "1 k") }()
		eventually(t, "the node is busy", func() bool { return g.x.scripts.busy.Load() != nil })
	}
	other.want("-"+resp.ErrNotBusy, "SCRIPT KILL")
	run("while true do end")
	other.want("-"+resp.ErrBusyScript, "GET k")
	other.want("OK", "SCRIPT KILL")
	if got := <-done; !strings.HasPrefix(got, "-ERR Script killed by user with SCRIPT KILL... script: ") ||
		!strings.HasSuffix(got, ", on @user_script:1.") {
		t.Error(got)
	}
	other.want("nil", "GET k")
	// No pcall catches the end, wherever it comes.
	run("while true do pcall(function() while true do pcall(error, {}) end end) end")
	other.want("OK", "SCRIPT KILL")
	if got := <-done; !strings.Contains(got, "Script killed") {
		t.Error(got)
	}
	run("redis.call('set', KEYS[1], 1) while true do end")
	other.want("-"+resp.ErrUnkillable, "SCRIPT KILL")
	// A change of the role does not wait: nothing of the script is kept.
	g.follow()
	if got := <-done; got != "-"+resp.ErrScriptEnded {
		t.Error(got)
	}
	g.lead()
	other.want("nil", "GET k")
	g.must()
}

// On a replica a script may read.
func TestScriptOnReplica(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	c.want("OK", "SET a 1")
	g.follow()
	if got := c.eval("return redis.call('get', KEYS[1])", "1 a"); got != "1" {
		t.Error(got)
	}
	if got := c.eval("return redis.call('set', KEYS[1], 2)", "1 a"); !strings.HasPrefix(got, "-"+resp.ErrReadOnly) {
		t.Error(got)
	}
	if got := c.eval("#!lua\nreturn 1", "0"); got != "-"+resp.ErrScriptReplica {
		t.Error(got)
	}
	if got := c.eval("#!lua flags=no-writes\nreturn 1", "0"); got != "1" {
		t.Error(got)
	}
}

// Libraries of functions are in the log and in the engine: a replay brings them, FLUSHALL leaves them, a dump restores
// them.
func TestLibraries(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	call := func(args ...string) string {
		t.Helper()
		var b [][]byte
		for _, a := range args {
			b = append(b, []byte(a))
		}
		c.Tick(time.Now())
		c.Do(b)
		_ = c.Flush()
		return strings.Join(c.replies(), " ")
	}
	const code = "#!lua name=lib\nlocal n = 0\n" +
		"redis.register_function('inc', function(k, a) n = n + 1 return redis.call('incrby', k[1], a[1]) end)\n" +
		"redis.register_function{function_name='get', callback=function(k) return redis.call('get', k[1]) end, " +
		"flags={'no-writes'}}"
	end := g.log.End()
	if got := call("FUNCTION", "LOAD", code); got != "lib" {
		t.Fatal(got)
	}
	if got := call("FCALL", "inc", "1", "k", "5"); got != "5" {
		t.Error(got)
	}
	if got := call("FCALL_RO", "get", "1", "k"); got != "5" {
		t.Error(got)
	}
	if text := logText(t, g, int64(end)); !strings.HasSuffix(text, "|incrby k 5") || !strings.Contains(text, "FUNCTION LOAD") {
		t.Error(text)
	}
	// Another node executes the log.
	other, err := openGate(t, storage.NewMem(), gateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.replay(g.log); err != nil {
		t.Fatal(err)
	}
	other.lead()
	if got := other.client().do("FCALL_RO get 1 k"); got != "5" {
		t.Error(got)
	}
	dump := call("FUNCTION", "DUMP")
	for _, step := range [][2]string{
		{"FLUSHALL", "OK"}, {"FCALL_RO get 1 k", "nil"}, {"FUNCTION FLUSH", "OK"},
		{"FCALL_RO get 1 k", "-ERR Function not found"},
	} {
		c.want(step[1], step[0])
	}
	if got := call("FUNCTION", "RESTORE", dump); got != "OK" {
		t.Error(got)
	}
	if got := call("FUNCTION", "RESTORE", dump); got != "-ERR Library 'lib' already exists" {
		t.Error(got)
	}
	for _, policy := range []string{"REPLACE", "FLUSH"} {
		if got := call("FUNCTION", "RESTORE", dump, policy); got != "OK" {
			t.Errorf("%s: %s", policy, got)
		}
	}
	if got := call("FCALL", "inc", "1", "k", "2"); got != "2" {
		t.Error(got)
	}
	// A library that is deleted takes its functions along.
	c.want("OK", "FUNCTION DELETE lib")
	c.want("-ERR Function not found", "FCALL inc 1 k 1")
	g.must()
}
