package exec

import (
	"fmt"
	"strings"
	"testing"

	"haypile/internal/replog"
)

// Many fields that are due at once are deleted in bounded steps, each of which the log has; what they leave is what a
// replay gives.
func TestExpiryOfManyFields(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	const fields, keys = 3000, 40
	line := fmt.Sprintf("HSETEX big PX 1 FIELDS %d", fields)
	for i := range fields {
		line += fmt.Sprintf(" f%d v", i)
	}
	c.want("1", line)
	c.want("1", "HSET big keep 1")
	for i := range keys {
		c.want("1", fmt.Sprintf("HSETEX small%d PX 1 FIELDS 2 a 1 b 2", i))
	}
	g.follow()
	if n, err := g.x.Expire(t.Context(), c.Session, 1000); n != 0 || err != nil {
		t.Errorf("expired %d on a replica: %v", n, err)
	}
	eventually(t, "the deadline", func() bool { return c.do("HLEN big") == "1" })
	c.want("[keep 1]", "HGETALL big")
	if got := g.must(); !strings.Contains(got.keys["0 big"], "f2999=v") {
		t.Error("a replica has deleted by itself")
	}
	g.lead()
	from := g.log.End()
	steps := 0
	for ; c.do("EXISTS big small0 small39") != "1" || g.store.ExpiredFields.Load() < fields+2*keys; steps++ {
		n, err := g.x.Expire(t.Context(), c.Session, 500)
		if err != nil || n == 0 || n > 500+fieldsPerStep {
			t.Fatalf("step %d looked at %d: %v", steps, n, err)
		}
	}
	if steps < 3 {
		t.Errorf("all are gone after %d steps", steps)
	}
	if n := g.store.ExpiredFields.Load(); n != fields+2*keys {
		t.Errorf("%d fields expired", n)
	}
	most := 0
	err := g.log.Replay(from, func(f replog.Frame) error {
		most = max(most, len(f.Payload))
		return nil
	})
	if err != nil || most == 0 || most > 512<<10 {
		t.Errorf("a frame of %d bytes: %v", most, err)
	}
	c.want("[keep 1]", "HGETALL big")
	ref := newReplayed(t, g)
	if d := g.must().differs(ref.must()); d != "" {
		t.Error(d)
	}
}

// TestWatchAndFields: a field that passes its deadline after WATCH fails EXEC, deleted or not; one that was past it
// before, and nobody has touched since, does not.
func TestWatchAndFields(t *testing.T) {
	g := newGate(t, gateOptions{})
	g.x.SetExpiry(false)
	c, o := g.client(), g.client()
	c.batch("HSET h a 1 b 2 c 3", "HEXPIRE h 100 FIELDS 1 c", "HPEXPIRE h 20 FIELDS 1 a", "WATCH h")
	if got := c.batch("MULTI", "PING", "EXEC")[2]; got != "[PONG]" && o.do("HEXISTS h a") == "1" {
		t.Errorf("nothing has expired: %s", got)
	}
	c.batch("HSET h a 1", "HPEXPIRE h 20 FIELDS 1 a", "WATCH h")
	eventually(t, "the deadline", func() bool { return o.do("HEXISTS h a") == "0" })
	if got := c.batch("MULTI", "PING", "EXEC")[2]; got != "nil" {
		t.Errorf("a field expired after WATCH: %s", got)
	}
	c.batch("WATCH h")
	if got := c.batch("MULTI", "PING", "EXEC")[2]; got != "[PONG]" {
		t.Errorf("the field had expired before WATCH: %s", got)
	}
	c.batch("HSETEX h PX 20 FIELDS 1 a 1", "WATCH h")
	g.x.SetExpiry(true)
	eventually(t, "the expiry", func() bool {
		_, err := g.x.Expire(t.Context(), o.Session, 10)
		return err == nil && !strings.Contains(g.must().keys["0 h"], "a=1")
	})
	if got := c.batch("MULTI", "PING", "EXEC")[2]; got != "nil" {
		t.Errorf("the field was deleted after WATCH: %s", got)
	}
}
