package exec

import (
	"bytes"
	"slices"
	"testing"

	"haypile/internal/option"
	"haypile/internal/replication"
	"haypile/internal/replog"
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

// What one command logs is one unit of the stream, alone, in a pipeline and inside MULTI.
func TestSeveralEffectsAreOneUnit(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	defer c.Close()
	from := g.log.End()
	c.batch("SET a 1", "MSETEX 2 b 2 c 3 KEEPTTL", "SET d 4")
	c.want("OK", "MULTI")
	c.want("QUEUED", "MSETEX 2 b 3 c 4 KEEPTTL")
	c.want("QUEUED", "SET d 5")
	c.want("[1 OK]", "EXEC")
	var got []string
	split := replication.NewSplitter(from, 0, 1<<20)
	var batch replication.Batch
	err := g.log.Replay(from, func(f replog.Frame) error {
		if err := split.Write(f.Payload); err != nil {
			return err
		}
		for {
			ok, err := split.Next(&batch)
			if err != nil || !ok {
				return err
			}
			for _, u := range unitsOf(&batch) {
				line := ""
				for _, cmd := range u.Commands {
					line += string(bytes.Join(cmd.Args, []byte(" "))) + ";"
				}
				got = append(got, line)
			}
		}
	})
	want := []string{"SET a 1;", "SET b 2 KEEPTTL;SET c 3 KEEPTTL;", "SET d 4;",
		"SET b 3 KEEPTTL;SET c 4 KEEPTTL;SET d 5;"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("units %q, want %q, %v", got, want, err)
	}
}
