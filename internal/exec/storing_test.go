package exec

import (
	"testing"

	"haypile/internal/option"
)

// PFCOUNT reads, and stores what it computed where this node may write: on a primary it is logged, on a replica and
// where writes are refused it answers all the same and changes nothing.
func TestReadThatStores(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	defer c.Close()
	logged := func(want bool, line, reply string) {
		t.Helper()
		before := g.log.End()
		c.want(reply, line)
		if got := g.log.End() != before; got != want {
			t.Errorf("%s: logged %v, want %v", line, got, want)
		}
	}
	logged(true, "PFADD k a b c", "1")
	logged(true, "PFCOUNT k", "3")
	logged(false, "PFCOUNT k", "3")
	logged(true, "PFADD k d", "1")
	logged(false, "PFCOUNT k k", "4")

	c.want("OK", "MULTI")
	c.want("QUEUED", "PFADD k e")
	c.want("QUEUED", "PFCOUNT k")
	logged(true, "EXEC", "[1 5]")
	logged(false, "PFCOUNT k", "5")

	logged(true, "PFADD k f", "1")
	gateOptions{}.set(t, g.cfg, option.MinReplicasToWrite, "1")
	g.x.Online = func() int { return 0 }
	logged(false, "PFCOUNT k", "6")
	g.x.Online = nil
	g.follow()
	logged(false, "PFCOUNT k", "6")
	c.want("OK", "MULTI")
	c.want("QUEUED", "PFCOUNT k")
	logged(false, "EXEC", "[6]")
	g.lead()
	logged(true, "PFCOUNT k", "6")
}
