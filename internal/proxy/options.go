package proxy

import (
	"errors"
	"log/slog"
	"net"
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
)

// Options configure a Proxy. Zero values mean the defaults named here.
type Options struct {
	// Addr is host:port to listen on, or Listener a listener that exists already.
	Addr     string
	Listener net.Listener
	// AdminAddr, if set, serves /metrics and /healthz over HTTP.
	AdminAddr string

	// Table is the command table; the proxy forwards nothing that is not in it.
	Table *command.Table
	// Source tells the topology. File, if set, keeps the last one across restarts.
	Source TopologySource
	File   string

	// Password is what clients authenticate with (requirepass); empty: none.
	Password string
	// BackendUser and BackendPassword authenticate the proxy to the nodes.
	BackendUser     string
	BackendPassword string

	// Version is the version of Redis that HELLO tells: 7.2.4.
	Version string

	Databases   int           // 16
	MaxClients  int           // 10000
	IdleTimeout time.Duration // close a client that sends nothing for so long; 0 = never
	KeepAlive   time.Duration // TCP keep-alive of clients; 300 s
	Limits      resp.Limits   // resp.DefaultLimits()

	// PipelineRequests and PipelineBytes bound what one client may have unanswered, and OutputSoft the
	// replies it has not taken yet: beyond, the proxy stops reading from the client. A client whose untaken
	// replies exceed OutputHard is closed.
	PipelineRequests int // 1024
	PipelineBytes    int // 64 MiB
	OutputSoft       int // 1 MiB
	OutputHard       int // 256 MiB
	// PubSubHard is OutputHard for messages of subscriptions, which cannot be held back: 32 MiB.
	PubSubHard int
	// TransactionBytes bounds the commands queued in one MULTI: 64 MiB.
	TransactionBytes int
	// MaxSubscriptions bounds the channels and patterns of one client: 65536.
	MaxSubscriptions int

	// HoldTimeout is how long a request that was not executed waits for a primary: 5 s. MaxHeld and
	// MaxHeldBytes bound what waits in the whole proxy: 100,000 requests, 256 MiB.
	HoldTimeout  time.Duration
	MaxHeld      int
	MaxHeldBytes int

	// ConnsPerShard is the number of shared connections per shard, database and protocol version: 2.
	ConnsPerShard int
	// MaxDedicated bounds the connections per shard for blocking commands and WATCH: 4096.
	MaxDedicated int
	// QueueBytes bounds what one backend connection has queued and not written: 256 MiB.
	QueueBytes int
	// BackendTimeout closes a connection on which a reply is due and nothing came for so long: 10 s.
	BackendTimeout time.Duration
	// DialTimeout bounds connecting and the handshake: 1 s.
	DialTimeout time.Duration
	// SwitchGrace is what requests in flight to the old primary have after a switch: 100 ms.
	SwitchGrace time.Duration
	// WriteTimeout closes a client that takes no byte for so long: 60 s.
	WriteTimeout time.Duration

	Logger *slog.Logger
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (o *Options) complete() error {
	if o.Table == nil {
		return errors.New("proxy: no command table")
	}
	if o.Source == nil && o.File == "" {
		return errors.New("proxy: neither a topology source nor a topology file")
	}
	setDefault(&o.Version, "7.2.4")
	setDefault(&o.Databases, 16)
	setDefault(&o.MaxClients, 10000)
	setDefault(&o.KeepAlive, 300*time.Second)
	setDefault(&o.Limits, resp.DefaultLimits())
	setDefault(&o.PipelineRequests, 1024)
	setDefault(&o.PipelineBytes, 64<<20)
	setDefault(&o.OutputSoft, 1<<20)
	setDefault(&o.OutputHard, 256<<20)
	setDefault(&o.PubSubHard, 32<<20)
	setDefault(&o.TransactionBytes, 64<<20)
	setDefault(&o.MaxSubscriptions, 1<<16)
	setDefault(&o.HoldTimeout, 5*time.Second)
	setDefault(&o.MaxHeld, 100_000)
	setDefault(&o.MaxHeldBytes, 256<<20)
	setDefault(&o.ConnsPerShard, 2)
	setDefault(&o.MaxDedicated, 4096)
	setDefault(&o.QueueBytes, 256<<20)
	setDefault(&o.BackendTimeout, 10*time.Second)
	setDefault(&o.DialTimeout, time.Second)
	setDefault(&o.SwitchGrace, 100*time.Millisecond)
	setDefault(&o.WriteTimeout, 60*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
