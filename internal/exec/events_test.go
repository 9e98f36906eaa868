package exec

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"haypile/internal/keyevent"
	"haypile/internal/pubsub"
	"haypile/internal/replog"
	"haypile/internal/storage"
)

// listener notes what is published on the channels of events, one word each: db:event:key.
type listener struct{ heard []string }

func (l *listener) Deliver(m *pubsub.Message) {
	channel := strings.TrimSuffix(strings.TrimPrefix(m.Channel, "__keyevent@"), "__:")
	db, event, _ := strings.Cut(channel, "__:")
	l.heard = append(l.heard, db+":"+event+":"+string(m.Payload))
}

func (l *listener) take() string {
	got := strings.Join(l.heard, " ")
	l.heard = nil
	return got
}

// listen asks for events of all classes.
func (g *gate) listen() *listener {
	l := &listener{}
	g.x.Node.PubSub().Subscribe(pubsub.Pattern, "__keyevent@*", l)
	want, err := keyevent.Parse("EAnm")
	if err != nil {
		g.tb.Fatal(err)
	}
	g.store.Events.Store(uint32(want))
	return l
}

// TestEventsFollowTheCommit: events are published by what committed and by nothing else, once, in order.
func TestEventsFollowTheCommit(t *testing.T) {
	g := newGate(t, gateOptions{})
	l, c := g.listen(), g.client()
	c.batch("SET a 1", "INCR a", "GET nosuch", "LPUSH a x", "DEL a nosuch")
	if got, want := l.take(), "0:new:a 0:set:a 0:incrby:a 0:keymiss:nosuch 0:del:a"; got != want {
		t.Errorf("a pipeline: %q, want %q", got, want)
	}
	c.batch("MULTI", "SET a 1", "GET nosuch", "SADD a m", "SELECT 1", "SET b 1", "EXEC", "SELECT 0")
	if got, want := l.take(), "0:new:a 0:set:a 0:keymiss:nosuch 1:new:b 1:set:b"; got != want {
		t.Errorf("a transaction: %q, want %q", got, want)
	}
	c.batch("MULTI", "GET nosuch", "EXEC")
	if got, want := l.take(), "0:keymiss:nosuch"; got != want {
		t.Errorf("a transaction that reads: %q, want %q", got, want)
	}
	c.batch("MULTI", "SET a 1", "DISCARD", "GETDEL nosuch", "WATCH nosuch", "UNWATCH")
	if got, want := l.take(), "0:keymiss:nosuch"; got != want {
		t.Errorf("what did not run: %q, want %q", got, want)
	}
	g.faults.Limit(20) // the log takes no more
	if got := c.batch("SET a 2", "HSET h f v"); !strings.HasPrefix(got[0], "-MISCONF") {
		t.Fatalf("%q", got)
	}
	if got := l.take(); got != "" {
		t.Errorf("a commit that failed told %q", got)
	}
	g.faults.Limit(-1)
	g.store.Events.Store(0)
	c.batch("SET a 2", "GET nosuch")
	if got := l.take(); got != "" {
		t.Errorf("turned off, but told %q", got)
	}
}

// TestEventsOfTheStream: a replica publishes what the stream does; a start that replays the log does not.
func TestEventsOfTheStream(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		g, err := openGate(t, storage.NewMem(), gateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		l := g.listen()
		a := g.x.NewApplier()
		a.Quiet = quiet
		var units []Unit
		for i, line := range []string{"SET a 1 PXAT 1", "HSET h f v", "HDEL h f", "DEL a", "DEL a", "FLUSHDB", "SPOP nosuch"} {
			units = append(units, Unit{End: replog.Offset(110 + i), DB: 2, Commands: []StreamCommand{{DB: 2, Args: words(line)}}})
		}
		if err := a.Apply(units); err != nil {
			t.Fatal(err)
		}
		// The end of a key that is past its deadline comes as a DEL.
		want := "2:new:a 2:set:a 2:expire:a 2:new:h 2:hset:h 2:hdel:h 2:del:h 2:del:a"
		if quiet {
			want = ""
		}
		if got := l.take(); got != want {
			t.Errorf("quiet %v: %q, want %q", quiet, got, want)
		}
		g.close()
	}
}

// TestEventsCostNothing: without the option a change notes no events, and allocates nothing for them.
func TestEventsCostNothing(t *testing.T) {
	g := newGate(t, gateOptions{})
	tx := g.store.NewTxn()
	defer tx.Done()
	key := []byte("key")
	if n := testing.AllocsPerRun(100, func() { tx.Event(keyevent.Hash, "hset", 0, key) }); n != 0 || len(tx.Events()) != 0 {
		t.Errorf("%v allocations, %d events", n, len(tx.Events()))
	}
	g.store.Events.Store(uint32(keyevent.Keyevent | keyevent.String))
	tx.Event(keyevent.Hash, "hset", 0, key)
	tx.Event(keyevent.String, "set", 0, key)
	if e := tx.Events(); len(e) != 1 || e[0].Name != "set" {
		t.Error(e)
	}
}

// TestTrackedReadsInTransactions: reads of a transaction enter the table of client-side caching among its changes, in
// order, and only if it commits.
func TestTrackedReadsInTransactions(t *testing.T) {
	g := newGate(t, gateOptions{})
	g.store.Watching.Add(1) // the table of this gate does not know the store
	c := g.client()
	s := &sink{}
	c.Client.ID = 7
	c.Client.Tracking.On = true
	g.x.Tracking.Enable(7, c.Client.Tracking, nil, s)
	other := g.client()
	for _, step := range []struct {
		who   interface{ batch(...string) []string }
		lines []string
		told  []string
	}{
		{c, []string{"GET a", "GET b"}, nil},
		{other, []string{"SET a 1"}, []string{"a"}},
		{c, []string{"SET b 1", "GET b"}, []string{"b"}},
		{other, []string{"SET b 1"}, []string{"b"}},
		{c, []string{"MULTI", "GET a", "SET a 2", "GET a", "EXEC"}, []string{"a"}},
		{other, []string{"DEL a"}, []string{"a"}},
		{c, []string{"MULTI", "GET a", "DISCARD", "WATCH a", "UNWATCH"}, nil},
		{other, []string{"SET a 3"}, nil},
		{c, []string{"PFCOUNT p", "GET q"}, nil},
		{other, []string{"PFADD p x", "SET q 1", "SET q 2"}, []string{"p", "q"}},
		{other, []string{"FLUSHALL"}, []string{"(all)"}},
	} {
		step.who.batch(step.lines...)
		if !slices.Equal(s.told, step.told) {
			t.Errorf("%q told %q, want %q", step.lines, s.told, step.told)
		}
		s.told = nil
	}
}

// sink notes what it is told.
type sink struct{ told []string }

func (s *sink) Invalidate(keys [][]byte) bool {
	if keys == nil {
		s.told = append(s.told, "(all)")
	}
	for _, k := range keys {
		s.told = append(s.told, fmt.Sprintf("%s", k))
	}
	return true
}
