package exec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/disk"
	"haypile/internal/option"
	"haypile/internal/replog"
)

// unanswered fails the test if a reply has come.
func (g *gate) unanswered(when string, replies ...<-chan string) {
	g.tb.Helper()
	for _, reply := range replies {
		select {
		case got := <-reply:
			g.tb.Errorf("%s: replied %q", when, got)
		default:
		}
	}
}

// TestServedBehindReplicas: under sync-replicas neither who pushes nor who waited is answered before the replicas have
// what the log says of both; and if they do not get it, both are told.
func TestServedBehindReplicas(t *testing.T) {
	have := make(chan int)
	var asked atomic.Int64 // the least offset that somebody waits for
	var waiting atomic.Int64
	g := newGate(t, gateOptions{
		config: map[option.Option]string{option.SyncReplicas: "1", option.SyncReplicasTimeout: "60000"},
		exec: func(o *Options) {
			o.Online = func() int { return 1 }
			o.WaitAcked = func(_ context.Context, end replog.Offset, _ int) int {
				if was := asked.Load(); was == 0 || int64(end) < was {
					asked.Store(int64(end))
				}
				waiting.Add(1)
				return <-have
			}
		}})
	c := g.client()
	for _, lines := range [][]string{{"RPUSH k 1 2"}, {"MULTI", "RPUSH k 1 2", "EXEC"}, {"SET x 1", "RPUSH k 1 2"}} {
		for _, confirmed := range []int{1, 0} {
			_, popped := g.blocked("BLPOP k 0")
			_, moved := g.blocked("BLMOVE k dst LEFT LEFT 0")
			asked.Store(0)
			waiting.Store(0)
			pushed := make(chan string, 1)
			go func() {
				got := c.batch(lines...)
				pushed <- got[len(got)-1]
			}()
			eventually(t, "all three wait for the replica", func() bool { return waiting.Load() == 3 })
			g.unanswered("before the replica has it", popped, moved, pushed)
			if end := int64(g.log.End()); asked.Load() != end {
				t.Errorf("somebody waits for %d, but the log ends at %d", asked.Load(), end)
			}
			for range 3 {
				have <- confirmed
			}
			for i, reply := range []<-chan string{popped, moved, pushed} {
				got := <-reply
				if refused := strings.HasPrefix(got, "-NOTCONFIRMED"); refused != (confirmed == 0) {
					t.Errorf("%q, %d confirmed: reply %d is %q", lines, confirmed, i, got)
				}
			}
		}
	}
}

// TestServedBehindFsync: under appendfsync always who waited is answered behind the fsync of his pop.
func TestServedBehindFsync(t *testing.T) {
	g := newGate(t, gateOptions{fsync: "always"})
	c := g.client()
	for i := range 20 {
		from := g.log.End()
		_, popped := g.blocked("BLMPOP 0 1 k LEFT COUNT 5")
		var popSynced replog.Offset
		answered := make(chan string, 1)
		go func() {
			got := <-popped
			popSynced = g.log.Synced()
			answered <- got
		}()
		c.want("2", fmt.Sprintf("RPUSH k %d b", i))
		if synced := g.log.Synced(); synced <= from {
			t.Fatalf("the push is answered, synced up to %d, began at %d", synced, from)
		}
		g.wantReply(answered, fmt.Sprintf("[k [%d b]]", i))
		if end := g.log.End(); popSynced < end {
			t.Fatalf("the pop is answered, synced up to %d of %d", popSynced, end)
		}
	}
	g.faults.Fail(disk.OpSync, 0, errors.New("the disk is gone"))
	_, popped := g.blocked("BLPOP k 0")
	if got := c.do("RPUSH k a"); !strings.HasPrefix(got, "-MISCONF") {
		t.Error(got)
	}
	if got := <-popped; !strings.HasPrefix(got, "-MISCONF") {
		t.Errorf("the pop whose fsync failed: %q", got)
	}
}

// TestWaitersDuringAPause: while clients are paused nobody who waits gets anything, by whatever was held back; then
// the pushes come in, and each is served once, in order. A wait that ends meanwhile ends.
func TestWaitersDuringAPause(t *testing.T) {
	for _, kind := range []string{"WRITE", "ALL"} {
		g := newGate(t, gateOptions{})
		admin := g.client()
		_, first := g.blocked("BLPOP k 0")
		_, second := g.blocked("BLMOVE k dst LEFT LEFT 0")
		_, short := g.blocked("BLPOP other 0.5")
		admin.want("OK", "CLIENT PAUSE 60000 "+kind)
		end := g.log.End()
		g.wantReply(short, "nil")
		var pushed []<-chan string
		for _, lines := range [][]string{{"RPUSH k 1"}, {"MULTI", "RPUSH k 1", "EXEC"}, {"BLMOVE full k LEFT LEFT 0"}} {
			c, got := g.client(), make(chan string, 1)
			go func() {
				all := c.batch(lines...)
				got <- all[len(all)-1]
			}()
			eventually(t, "it is held back", func() bool { return c.Client.Blocked.Load() })
			pushed = append(pushed, got)
		}
		g.unanswered("paused "+kind, append(pushed, first, second)...)
		if now := g.log.End(); now != end {
			t.Errorf("paused %s at %d, but the log ends at %d", kind, end, now)
		}
		admin.want("OK", "CLIENT UNPAUSE")
		g.wantReply(first, "[k 1]")
		g.wantReply(second, "1")
		for _, got := range pushed[:2] {
			if r := <-got; strings.HasPrefix(r, "-") {
				t.Error(r)
			}
		}
		g.unanswered("nothing to move", pushed[2])
		admin.want("1", "RPUSH full x")
		g.wantReply(pushed[2], "x")
		admin.want("[x]", "LRANGE k 0 -1")
		admin.want("[1]", "LRANGE dst 0 -1")
	}
}

// TestNudgedDuringAPause: one whose turn came when writes were paused takes nothing before they go on.
func TestNudgedDuringAPause(t *testing.T) {
	g := newGate(t, gateOptions{})
	c := g.client()
	b, reply := g.blocked("BLPOP k 0")
	w := g.x.waiters.mu.keys[watchKey{0, "k"}][0]
	end := g.x.ParkFor(time.Minute)
	g.x.waiters.nudgeAll() // as another pair of data does
	eventually(t, "its goroutine runs", func() bool { return len(w.wake) == 0 })
	<-time.After(5 * time.Millisecond) // it has reached the pause
	if now := g.log.End(); now != end {
		t.Errorf("parked at %d, but the log ends at %d", end, now)
	}
	g.x.Unpark()
	eventually(t, "it waits again", func() bool {
		g.x.waiters.mu.Lock()
		defer g.x.waiters.mu.Unlock()
		return w.state == asleep
	})
	if !b.Client.Blocked.Load() {
		t.Error("it waits, and is not called blocked")
	}
	c.want("1", "RPUSH k 1")
	g.wantReply(reply, "[k 1]")
}
