package drill

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"haypile/internal/resp"
)

// options of a drill that is over in a moment.
func options(c *fakeCluster) Options {
	return Options{Proxy: c.front, Control: c, Clients: 4, Prefix: "drill:t", Before: 30 * time.Millisecond,
		After: 20 * time.Millisecond, Limit: 5 * time.Second, ReturnLimit: 5 * time.Second}
}

// killWith plays the service manager and the control plane around the death of a primary.
func killWith(c *fakeCluster, back bool) func(context.Context, string, int) (Killed, error) {
	return func(ctx context.Context, _ string, pid int) (Killed, error) {
		if pid != 4711 {
			return Killed{}, fmt.Errorf("process %d", pid)
		}
		k := Killed{Sent: time.Now()}
		old := c.crash()
		k.Dead = time.Now()
		go func() {
			if pause(ctx, 50*time.Millisecond) != nil {
				return
			}
			c.promote(1)
			if back && pause(ctx, 50*time.Millisecond) == nil {
				c.rejoin(old)
			}
		}()
		return k, nil
	}
}

func round(t *testing.T, opt Options, ev Event) (*Drill, Round) {
	t.Helper()
	d, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Round(t.Context(), ev)
	if err != nil {
		t.Fatal(err)
	}
	return d, r
}

func TestKillPrimary(t *testing.T) {
	c := newFakeCluster(t)
	opt := options(c)
	opt.Kill = killWith(c, true)
	d, r := round(t, opt, KillPrimary)
	if len(r.Faults) > 0 {
		t.Fatalf("faults: %q", r.Faults)
	}
	if r.From != "n1" || r.To != "n2" || r.Epoch != 2 || r.Verdict.Acked == 0 || !r.Equal || len(r.Digests) != 3 {
		t.Errorf("round: %+v", r)
	}
	least := Span(20 * time.Millisecond) // of the 50: replies may be under way at the crash
	if r.FirstAccepted < least || r.Gap < least || r.WorstClient < r.Gap ||
		r.Restarted < 4*least || r.Returned < r.Restarted {
		t.Errorf("first %v, gap %v, client %v, restarted %v, returned %v", r.FirstAccepted, r.Gap, r.WorstClient,
			r.Restarted, r.Returned)
	}
	if r.OldSync != (Resync{Full: 1}) || r.OthersSync != (Resync{Partial: 1}) {
		t.Errorf("old primary synced %+v, the others %+v", r.OldSync, r.OthersSync)
	}
	if err := d.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.nodes {
		if len(n.data) > 0 {
			t.Errorf("%s still holds %d keys", n.id, len(n.data))
		}
	}
}

func TestSwitchover(t *testing.T) {
	c := newFakeCluster(t)
	_, r := round(t, options(c), Switchover)
	if len(r.Faults) > 0 || r.To != "n2" || r.Call < 0 || r.Returned < r.Call || r.OldSync.Partial != 2 {
		t.Errorf("round: %+v", r)
	}
}

// TestRoundFindsFaults: each thing that a cluster can do wrong fails the round.
func TestRoundFindsFaults(t *testing.T) {
	tests := []struct {
		name string
		set  func(c *fakeCluster, opt *Options)
		want string // in one of the faults; empty: the round passes
	}{
		{"an acknowledged write is not executed", func(c *fakeCluster, _ *Options) {
			c.meddle = loseField
		}, "acknowledged writes are lost"},
		{"the same, allowed", func(c *fakeCluster, opt *Options) { c.meddle, opt.AllowLoss = loseField, true }, ""},
		{"the same, allowed where replication is synchronous", func(c *fakeCluster, opt *Options) {
			for _, n := range c.nodes {
				n.sync = 1
			}
			c.meddle = loseField
			opt.AllowLoss = true
		}, "acknowledged writes are lost"},
		{"writes are executed twice", func(c *fakeCluster, _ *Options) {
			c.meddle = func(c *fakeCluster, w *resp.Writer, args []string) error {
				if args[0] == "INCR" {
					c.execute(&resp.Writer{Proto: 2}, args, true)
				}
				c.execute(w, args, true)
				return nil
			}
		}, "executed twice"},
		{"a refused write is executed", func(c *fakeCluster, _ *Options) {
			c.meddle = func(c *fakeCluster, w *resp.Writer, args []string) error {
				if c.writes%50 == 0 && args[0] == "SET" {
					c.execute(&resp.Writer{Proto: 2}, args, true)
					w.Error(resp.ErrReadOnly)
					return nil
				}
				c.execute(w, args, true)
				return nil
			}
		}, "refused and are there"},
		{"connections break, before or after the write", func(c *fakeCluster, _ *Options) {
			c.meddle = func(c *fakeCluster, w *resp.Writer, args []string) error {
				switch c.writes % 40 {
				case 0:
					return errHangUp
				case 1:
					c.execute(w, args, true)
					return errHangUp
				}
				c.execute(w, args, true)
				return nil
			}
		}, ""},
		{"a replica misses a write", func(c *fakeCluster, _ *Options) {
			c.meddle = func(c *fakeCluster, w *resp.Writer, args []string) error {
				c.execute(w, args, true)
				c.nodes[2].data["extra"] = "x"
				return nil
			}
		}, "do not hold equal data"},
		{"recovery takes too long", func(_ *fakeCluster, opt *Options) { opt.Limit = 10 * time.Millisecond },
			"the limit is 10ms"},
		{"the old primary stays away", func(c *fakeCluster, opt *Options) {
			opt.Kill, opt.ReturnLimit = killWith(c, false), 300*time.Millisecond
		}, "has not come back"},
		{"a replica is not linked", func(c *fakeCluster, opt *Options) {
			c.nodes[2].down, opt.ReturnLimit = true, 200*time.Millisecond
		}, "before the event"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newFakeCluster(t)
			opt := options(c)
			opt.Kill = killWith(c, true)
			tt.set(c, &opt)
			_, r := round(t, opt, KillPrimary)
			found := slices.ContainsFunc(r.Faults, func(f string) bool { return strings.Contains(f, tt.want) })
			if tt.want == "" && len(r.Faults) > 0 || tt.want != "" && !found {
				t.Errorf("faults %q\n   want %q\n%+v", r.Faults, tt.want, r.Verdict)
			}
		})
	}
}

// loseField acknowledges some HSETs without executing them.
func loseField(c *fakeCluster, w *resp.Writer, args []string) error {
	if args[0] == "HSET" && len(args[2])%2 == 0 && strings.HasSuffix(args[2], "1") {
		w.Int(1)
		return nil
	}
	c.execute(w, args, true)
	return nil
}

// TestErrorsInSwitchover: a planned change shows no error.
func TestErrorsInSwitchover(t *testing.T) {
	c := newFakeCluster(t)
	c.meddle = func(c *fakeCluster, w *resp.Writer, args []string) error {
		if c.writes == 30 {
			w.Error(resp.ErrSwitching)
			return nil
		}
		c.execute(w, args, true)
		return nil
	}
	_, r := round(t, options(c), Switchover)
	if len(r.Faults) != 1 || !strings.Contains(r.Faults[0], "clients saw 1 errors") {
		t.Errorf("faults %q", r.Faults)
	}
}

// TestFinalFindsLaterLoss: what an earlier round has written is lost in a later one.
func TestFinalFindsLaterLoss(t *testing.T) {
	c := newFakeCluster(t)
	d, first := round(t, options(c), Switchover)
	if v, err := d.Final(t.Context()); err != nil || len(v.Faults()) > 0 || v.Acked != first.Verdict.Acked {
		t.Fatalf("final: %+v, %v", v, err)
	}
	for _, n := range c.nodes {
		delete(n.data, "drill:t:1:0:0")
	}
	second, err := d.Round(t.Context(), Switchover)
	if err != nil || len(second.Faults) > 0 {
		t.Fatalf("second round: %q, %v", second.Faults, err)
	}
	final, err := d.Final(t.Context())
	if err != nil || final.Lost != 1 || final.Acked != first.Verdict.Acked+second.Verdict.Acked {
		t.Fatalf("final: %+v, %v", final, err)
	}
	rounds := []Round{first, second}
	if NewReport(Switchover, rounds, &final, Rules{}).Passed {
		t.Error("the report passes")
	}
	if !NewReport(Switchover, rounds, &final, Rules{AllowLoss: true}).Passed {
		t.Error("the report does not pass though losses are allowed")
	}
}

func TestRoundIsInterrupted(t *testing.T) {
	c := newFakeCluster(t)
	opt := options(c)
	opt.Before = time.Hour
	d, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.Round(ctx, KillPrimary); err == nil {
		t.Error("an interrupted round returns no error")
	}
}

func TestOptions(t *testing.T) {
	for _, opt := range []Options{{}, {Proxy: "x:1", Prefix: "p"}, {Proxy: "x:1", Control: &fakeCluster{}},
		{Proxy: "x:1", Control: &fakeCluster{}, Prefix: "p", Clients: -1}} {
		if _, err := New(opt); err == nil {
			t.Errorf("accepted: %+v", opt)
		}
	}
}

func TestInfo(t *testing.T) {
	i := ParseInfo("# Replication\r\nrole:slave\r\nmaster_host:::1\r\nmaster_port:7\r\nmaster_link_status:up\r\n" +
		"slave_repl_offset:12\r\nmaster_repl_offset:13\r\nprocess_id:9\r\n")
	if i.Primary() || !i.Linked("[::1]:7") || i.Linked("[::1]:8") || !i.Linked("") || i.Offset() != 12 || i.PID() != 9 ||
		i.Int("none") != -1 {
		t.Errorf("%v", i)
	}
	i["role"] = "master"
	if !i.Primary() || i.Linked("") || i.Offset() != 13 {
		t.Errorf("%v", i)
	}
}

var _ Control = (*fakeCluster)(nil)

// TestKillProcessRefuses what cannot be a data node of this machine.
func TestKillProcessRefuses(t *testing.T) {
	for _, tt := range []struct {
		addr string
		pid  int
		want string
	}{
		{"192.0.2.1:6379", 1 << 22, "not on this machine"}, {"127.0.0.1:1", 1, "not that of a data node"},
		{"127.0.0.1:1", 1<<31 - 1, "look at process"}, {"nonsense", 5, "missing port"},
	} {
		_, err := KillProcess(t.Context(), tt.addr, tt.pid)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s, %d: %v", tt.addr, tt.pid, err)
		}
	}
}
