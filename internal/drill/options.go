package drill

import (
	"context"
	"errors"
	"time"

	"haypile/internal/resp"
	"haypile/internal/topology"
)

// Control is the control plane of the shard under drill.
type Control interface {
	// Shard is the shard as it is now. trouble says what the control plane finds wrong or is working on; empty
	// if all is well.
	Shard(ctx context.Context) (s topology.Shard, trouble string, err error)
	// Switchover hands the shard over to another node and returns when that is done.
	Switchover(ctx context.Context) error
}

// Options of a drill. Zero values mean the defaults named.
type Options struct {
	// Proxy is host:port of what the load goes through. It may be a single node.
	Proxy     string
	ProxyDial resp.DialOptions
	NodeDial  resp.DialOptions
	Control   Control

	// Kill ends a node's process the hard way, KillProcess by default. Restart starts it again; nil if somebody
	// else does.
	Kill    func(ctx context.Context, addr string, pid int) (Killed, error)
	Restart func(ctx context.Context, n topology.Node) error

	Clients int // 8
	Rate    int // writes per second of all clients together; 0 is without a limit
	// Before is how long the load runs before the event, After how long it goes on when all is well again: 2 s
	// and 1 s.
	Before, After time.Duration

	// Limit is how long the first accepted write may take: 10 s.
	Limit time.Duration
	// ReturnLimit bounds every other wait: for a healthy shard, the return of the old primary, equal offsets: 60 s.
	ReturnLimit time.Duration
	// ReplyTimeout is after how long a client gives a write up: 15 s. Keep it above the time for which the proxy
	// holds requests.
	ReplyTimeout time.Duration
	// AllowLoss passes a round that lost writes if the shard replicates asynchronously.
	AllowLoss bool

	// Prefix begins all keys. It must not have been used before.
	Prefix string
	// Progress, if set, hears of the steps.
	Progress func(text string)
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (o *Options) complete() error {
	if o.Proxy == "" || o.Control == nil {
		return errors.New("drill: the address of a proxy and a control plane are needed")
	}
	if o.Prefix == "" {
		return errors.New("drill: no prefix for the keys")
	}
	if o.Clients < 0 || o.Rate < 0 {
		return errors.New("drill: negative number of clients or rate")
	}
	setDefault(&o.Clients, 8)
	setDefault(&o.Before, 2*time.Second)
	setDefault(&o.After, time.Second)
	setDefault(&o.Limit, 10*time.Second)
	setDefault(&o.ReturnLimit, time.Minute)
	setDefault(&o.ReplyTimeout, 15*time.Second)
	if o.Kill == nil {
		o.Kill = KillProcess
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return nil
}
