package commands

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
)

// maxWait is the longest timeout in milliseconds that is still a Duration.
const maxWait = time.Duration(math.MaxInt64)

// waitCommands hold a client until its writes are where it wants them.
var waitCommands = []*Command{
	waiting("WAIT", "3.0.0", 3, "WAIT numreplicas timeout",
		"Waits until so many replicas have the connection's writes in their logs.", wait),
	waiting("WAITAOF", "7.2.0", 4, "WAITAOF numlocal numreplicas timeout",
		"Waits until the connection's writes are fsynced here and on so many replicas.", waitAOF),
}

func waiting(name, since string, arity int, syntax, summary string, run func(*Call) error) *Command {
	return &Command{Spec: command.Spec{
		Name: name, Group: "generic", Since: since, Arity: arity, Syntax: syntax, Summary: summary,
		Complexity: "O(1)", Flags: command.NoScript | command.Blocking, ACL: []string{"connection"},
		Route: command.RoutePinned,
	}, Run: run}
}

// parseTimeout reads a timeout in milliseconds; 0 is for ever.
func parseTimeout(arg []byte) (time.Duration, error) {
	ms, ok := resp.ParseInt(arg)
	switch {
	case !ok:
		return 0, Error(resp.ErrTimeoutInteger)
	case ms < 0:
		return 0, Error(resp.ErrTimeoutNegative)
	case ms > math.MaxInt64-time.Now().UnixMilli():
		return 0, Error(resp.ErrTimeoutRange)
	}
	return time.Duration(min(ms, int64(maxWait/time.Millisecond))) * time.Millisecond, nil
}

// park runs f, which waits, with a context that ends with the connection, after the timeout (0: never), or
// by CLIENT UNBLOCK. In a transaction nothing may wait: the context has ended before f begins.
func park(c *Call, timeout time.Duration, f func(context.Context)) error {
	ctx, cancel := context.WithCancel(c.Ctx)
	defer cancel()
	if c.InMulti {
		cancel()
		f(ctx)
		return nil
	}
	if timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, timeout)
		defer stop()
	}
	var asError atomic.Bool
	c.Client.ParkedUntil(func(e bool) {
		asError.Store(e)
		cancel()
	})
	f(ctx)
	c.Client.ParkedUntil(nil)
	if asError.Load() {
		return Error(resp.ErrUnblocked)
	}
	return nil
}

// replicaCount makes a number of replicas that was asked for an int, without overflow.
func replicaCount(n int64) int { return int(max(math.MinInt32, min(n, math.MaxInt32))) }

func wait(c *Call) error {
	r := c.Node.Replication()
	if r.IsReplica() {
		return Error(resp.ErrWaitOnReplica)
	}
	n, ok := resp.ParseInt(c.Args[1])
	if !ok {
		return Error(resp.ErrNotInteger)
	}
	timeout, err := parseTimeout(c.Args[2])
	if err != nil {
		return err
	}
	offset, got := c.Client.Gate.WaitEnd(), 0
	err = park(c, timeout, func(ctx context.Context) { got = r.Wait(ctx, offset, replicaCount(n)) })
	if err != nil {
		return err
	}
	if int64(got) < n && r.IsReplica() {
		return Error(resp.ErrUnblockedRole)
	}
	c.Out.Int(int64(got))
	return nil
}

func waitAOF(c *Call) error {
	local, ok := resp.ParseInt(c.Args[1])
	if !ok {
		return Error(resp.ErrNotInteger)
	}
	if local < 0 || local > 1 {
		return Error(resp.Range(0, 1))
	}
	n, ok := resp.ParseInt(c.Args[2])
	if !ok {
		return Error(resp.ErrNotInteger)
	}
	if n < 0 {
		return Error(resp.ErrNotPositive)
	}
	timeout, err := parseTimeout(c.Args[3])
	if err != nil {
		return err
	}
	r := c.Node.Replication()
	if r.IsReplica() {
		return Error("ERR WAITAOF cannot be used with replica instances. Please also note that writes to " +
			"replicas are just local and are not propagated.")
	}
	offset, here, got := c.Client.Gate.WaitEnd(), int64(0), 0
	err = park(c, timeout, func(ctx context.Context) {
		look, cancel := context.WithCancel(ctx)
		defer cancel()
		if local == 0 {
			cancel() // not asked for, but told
		}
		if r.WaitLocal(look, offset) == nil {
			here = 1
		}
		got = r.WaitDurable(ctx, offset, replicaCount(n))
	})
	if err != nil {
		return err
	}
	if (here < local || int64(got) < n) && r.IsReplica() {
		return Error(resp.ErrUnblockedRole)
	}
	c.Out.Array(2)
	c.Out.Int(here)
	c.Out.Int(int64(got))
	return nil
}
