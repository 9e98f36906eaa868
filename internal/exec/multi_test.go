package exec

import (
	"context"
	"strings"
	"testing"
	"time"

	"haypile/internal/replog"
	"haypile/internal/resp"
)

// TestExec goes through the ends of a transaction.
func TestExec(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	c.want("-"+resp.ErrExecNoMulti, "EXEC")
	c.want("-"+resp.ErrDiscardNoMulti, "DISCARD")
	c.want("OK", "MULTI")
	c.want("-"+resp.ErrNestedMulti, "MULTI")
	c.want("-"+resp.ErrWatchInMulti, "WATCH a")
	c.want("[]", "EXEC") // neither of them aborts
	for _, bad := range []string{"NOSUCH", "SET a", "CLIENT NOSUCH", "DEBUG", "REPLICAOF"} {
		got := c.batch("SET a 0", "MULTI", "SET a 1", bad, "EXEC", "GET a")
		if got[4] != "-"+resp.ErrExecAbort || got[5] != "0" {
			t.Errorf("%s: %q", bad, got)
		}
	}
	// A command that fails when it runs takes back its own changes and nobody else's.
	end := g.log.End()
	got := c.batch("MULTI", "SET a x", "INCR a", "HSET h f v", "HINCRBY h f 1", "MSET b 1 c 2", "DBSIZE", "EXEC")
	if want := "[OK -ERR value is not an integer or out of range 1 -ERR hash value is not an integer OK 4]"; got[7] != want {
		t.Errorf("got %q, want %q", got[7], want)
	}
	if stream := logText(t, g, int64(end)); stream != "MULTI|SET a x|HSET h f v|MSET b 1 c 2|EXEC" {
		t.Errorf("the log got %s", stream)
	}
	// One change needs no MULTI in the log, none nothing; a change of the database is inside.
	end = g.log.End()
	c.batch("MULTI", "GET a", "SET a y", "EXEC", "MULTI", "GET a", "DEL none", "EXEC", "MULTI", "SET a 1", "SELECT 2",
		"SET a 2", "EXEC", "SELECT 0")
	if stream := logText(t, g, int64(end)); stream != "SET a y|MULTI|SET a 1|SELECT 2|SET a 2|EXEC" {
		t.Errorf("the log got %s", stream)
	}
	c.batch("MULTI", "SET q 1")
	if c.Client.MultiLen != 1 {
		t.Error(c.Client.MultiLen)
	}
	c.want("OK", "DISCARD")
	c.want("nil", "GET q")
	// A transaction is no part of the pipeline before it, and WAIT inside does not wait.
	if got := c.batch("SET p 1", "MULTI", "INCR p", "FLUSHDB", "SET p 5", "SWAPDB 0 1", "GET p", "EXEC", "GET p"); got[7] !=
		"[2 OK OK OK nil]" || got[8] != "nil" {
		t.Errorf("%q", got)
	}
	g.must()
}

// logText is what the log holds from an offset on, as words.
func logText(t *testing.T, g *gate, from int64) string {
	t.Helper()
	buf := make([]byte, int64(g.log.End())-from)
	r := resp.NewReader(resp.DefaultLimits())
	n := 0
	for n < len(buf) {
		m, err := g.log.ReadAt(buf[n:], replog.Offset(from)+replog.Offset(n))
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	r.Advance(copy(r.Space(len(buf)), buf))
	var lines []string
	for {
		c, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return strings.Join(lines, "|")
		}
		var w []string
		for _, a := range c.Args {
			w = append(w, string(a))
		}
		lines = append(lines, strings.Join(w, " "))
	}
}

// TestWatch: which changes make EXEC fail.
func TestWatch(t *testing.T) {
	cases := []struct {
		name  string
		setup string // before WATCH, by the watcher; lines separated by |
		watch string
		other string // by another client, after it
		own   string // by the watcher, after it
		fails bool
	}{
		{"untouched", "SET k 1", "WATCH k", "SET other 1", "", false},
		{"set", "SET k 1", "WATCH k", "SET k 1", "", true},
		{"own set", "SET k 1", "WATCH k", "", "SET k 2", true},
		{"set before, in the same pipeline", "", "SET k 2|WATCH k", "", "", false},
		{"created", "", "WATCH k", "SET k 1", "", true},
		{"read", "SET k 1", "WATCH k", "GET k|EXISTS k|TTL k", "", false},
		{"failing command", "SET k a", "WATCH k", "INCR k|LPUSH k", "", false},
		{"no change", "SET k a", "WATCH k", "SETNX k b|PERSIST k|DEL none", "", false},
		{"field", "HSET k f v", "WATCH k", "HSET k f w", "", true},
		{"deleted", "SET k 1", "WATCH k", "DEL k", "", true},
		{"renamed away", "SET k 1", "WATCH k", "RENAME k o", "", true},
		{"renamed to", "SET o 1", "WATCH k", "RENAME o k", "", true},
		{"deadline", "SET k 1", "WATCH k", "EXPIRE k 100", "", true},
		{"several", "", "WATCH a b k", "SET b 1", "", true},
		{"other database", "", "SELECT 1|WATCH k|SELECT 0", "SET k 1", "", false},
		{"watched in another database", "", "SELECT 1|WATCH k|SELECT 0", "SELECT 1|SET k 1", "", true},
		{"flushed", "SET k 1", "WATCH k", "FLUSHDB", "", true},
		{"flushed without", "", "WATCH k", "FLUSHDB", "", false},
		{"flushed elsewhere", "SET k 1", "WATCH k", "SELECT 1|FLUSHDB", "", false},
		{"all flushed", "SET k 1", "WATCH k", "SELECT 1|FLUSHALL", "", true},
		{"swapped", "SET k 1", "WATCH k", "SWAPDB 0 1", "", true},
		{"swapped, there in neither", "", "WATCH k", "SWAPDB 0 1", "", false},
		{"swapped, there in the other", "SELECT 1|SET k 1|SELECT 0", "WATCH k", "SWAPDB 0 1", "", true},
		{"swapped and created", "", "WATCH k", "SWAPDB 0 1|SET k 1", "", true},
		{"flushed and created", "", "WATCH k", "FLUSHDB|SET k 1", "", true},
		{"swapped elsewhere", "SET k 1", "WATCH k", "SWAPDB 2 1", "", false},
		{"in a transaction", "SET k 1", "WATCH k", "MULTI|SET x 1|SET k 2|EXEC", "", true},
		{"discarded", "SET k 1", "WATCH k", "MULTI|SET k 2|DISCARD", "", false},
		{"unwatched", "SET k 1", "WATCH k|UNWATCH", "SET k 2", "", false},
		{"twice", "SET k 1", "WATCH k|WATCH k", "SET k 2", "", true},
		{"moved", "SET k 1", "WATCH k", "MOVE k 1", "", true},
	}
	g := newGate(t, gateOptions{})
	// Somebody always watches: what transactions touch is collected then.
	always := g.client()
	always.want("OK", "WATCH somewhere else")
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, "|")
	}
	for _, x := range cases {
		w, o := g.client(), g.client()
		o.want("OK", "FLUSHALL")
		w.batch(split(x.setup)...)
		w.batch(split(x.watch)...)
		o.batch(split(x.other)...)
		w.batch(split(x.own)...)
		got := w.batch("MULTI", "PING", "EXEC")[2]
		if (got == "nil") != x.fails {
			t.Errorf("%s: EXEC answered %s", x.name, got)
		}
		if got := w.batch("MULTI", "PING", "EXEC")[2]; got != "[PONG]" {
			t.Errorf("%s: EXEC without a watch answered %s", x.name, got)
		}
		w.Close()
		o.Close()
	}
	always.Close()
	if n := g.store.Watching.Load(); n != 0 {
		t.Errorf("%d keys are still watched", n)
	}
	if n := len(g.x.watch.mu.keys); n != 0 {
		t.Errorf("%d keys are still in the table", n)
	}
}

// TestWatchAndExpiry: a key that passes its deadline after WATCH fails EXEC, deleted or not; one that was past
// it before does not.
func TestWatchAndExpiry(t *testing.T) {
	g := newGate(t, gateOptions{})
	g.x.SetExpiry(false)
	c, o := g.client(), g.client()
	c.batch("SET k v PX 20", "WATCH k")
	eventually(t, "the deadline", func() bool { return o.do("EXISTS k") == "0" })
	if got := c.batch("MULTI", "PING", "EXEC")[2]; got != "nil" {
		t.Errorf("the key expired after WATCH: %s", got)
	}
	c.batch("WATCH k")
	if got := c.batch("MULTI", "PING", "EXEC")[2]; got != "[PONG]" {
		t.Errorf("the key had expired before WATCH: %s", got)
	}
	c.batch("DEL k", "SET k v PX 20", "WATCH k")
	g.x.SetExpiry(true)
	eventually(t, "the expiry", func() bool {
		n, err := g.x.Expire(context.Background(), o.Session, 10)
		return n == 1 && err == nil
	})
	if got := c.batch("MULTI", "PING", "EXEC")[2]; got != "nil" {
		t.Errorf("the key was deleted after WATCH: %s", got)
	}
}

// TestWatchOfStaleKeys: deleting a key that was past its deadline before it was watched, or bringing another
// such key in its place, is no change; creating it anew is.
func TestWatchOfStaleKeys(t *testing.T) {
	for _, x := range []struct {
		stale, change string
		fails         bool
	}{
		{"0", "EXPIRE-CYCLE", false}, {"0", "SET k 1", true}, {"0", "EXPIRE-CYCLE|SET k 1", true},
		{"0", "FLUSHDB", false}, {"0", "FLUSHDB|SET k 1", true}, {"0", "SWAPDB 0 1", false},
		{"0", "SWAPDB 0 1|SET k 1", true}, {"1", "SWAPDB 0 1", false}, {"1", "SWAPDB 0 1|EXPIRE-CYCLE", false},
		{"1", "SWAPDB 0 1|GET k|EXISTS k", false}, {"1", "SELECT 1|SET k 2|SWAPDB 0 1", true},
	} {
		g := newGate(t, gateOptions{})
		c, o := g.client(), g.client()
		c.batch("SELECT "+x.stale, "SET k v PX 1")
		eventually(t, "the deadline", func() bool { return c.do("EXISTS k") == "0" })
		c.batch("SELECT 0", "WATCH k")
		for _, l := range strings.Split(x.change, "|") {
			if l == "EXPIRE-CYCLE" {
				if n, err := g.x.Expire(context.Background(), o.Session, 10); n != 1 || err != nil {
					t.Fatal(n, err)
				}
				continue
			}
			o.do(l)
		}
		if got := c.batch("MULTI", "PING", "EXEC")[2]; (got == "nil") != x.fails {
			t.Errorf("stale in %s, %s: EXEC answered %s", x.stale, x.change, got)
		}
		g.close()
	}
}

// TestDataReplaced: a session that watches anything is told when the data is exchanged as a whole.
func TestDataReplaced(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	c.batch("WATCH k")
	_ = g.x.Exclusive(func() error {
		g.x.SetData(Data{g.store, g.log}, -1)
		return nil
	})
	if got := c.batch("MULTI", "PING", "EXEC")[2]; got != "nil" {
		t.Errorf("%s", got)
	}
}

// TestReplyModes: CLIENT REPLY hides replies, and a failing commit does not take others for its own.
func TestReplyModes(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	if got := strings.Join(c.batch("SET a 1", "CLIENT REPLY SKIP", "SET b 1", "GET a"), " "); got != "OK 1" {
		t.Errorf("%q", got)
	}
	if got := strings.Join(c.batch("CLIENT REPLY OFF", "SET a 2", "GET a", "NOSUCH", "CLIENT REPLY ON", "GET a"), " "); got != "OK 2" {
		t.Errorf("%q", got)
	}
	// The first transaction commits; of the second, which does not, one reply is hidden.
	big := "SET big " + strings.Repeat("x", maxJoinedBytes)
	c.Do(words("SET a 3"))
	c.Do(words(big))
	if c.r.open {
		t.Fatal("the transaction is still open")
	}
	c.Do(words("CLIENT REPLY SKIP"))
	c.Do(words("SET a 4"))
	c.Do(words("SET a 5"))
	g.x.SetLease(time.Now().Add(-time.Second))
	_ = c.Flush()
	if got := strings.Join(c.replies(), " "); got != "OK OK -"+resp.ErrLeaseLost {
		t.Errorf("%q", got)
	}
	c.want("3", "GET a")
}
