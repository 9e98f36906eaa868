package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/proxy"
)

// newProxyCommand makes "haypile proxy". The table is what the nodes serve.
func newProxyCommand(table *command.Table) *cobra.Command {
	var (
		opt                    proxy.Options
		dashboards             []string
		token, level           string
		passwordEnv, secretEnv string
	)
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Route any Redis client to the shards of a cluster",
		Long: "The proxy gives any Redis client one address for the whole cluster. It learns the topology from\n" +
			"the dashboards, keeps the last one in a file and serves from that while none of them answers.",
		Example: "  haypile proxy --listen :6379 --dashboard http://10.0.0.1:7400,http://10.0.0.2:7400 \\\n" +
			"      --topology-file /var/lib/haypile/proxy-topology.json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log-level: %w", err)
			}
			opt.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
			opt.Table, opt.Version = table, commands.Version
			if len(dashboards) > 0 {
				opt.Source = &proxy.Dashboards{URLs: dashboards, Token: token, Logger: opt.Logger}
			}
			if opt.Password == "" && passwordEnv != "" {
				opt.Password = os.Getenv(passwordEnv)
			}
			if opt.BackendPassword == "" && secretEnv != "" {
				opt.BackendPassword = os.Getenv(secretEnv)
			}
			p, err := proxy.New(opt)
			if err != nil {
				return err
			}
			if err := p.Start(cmd.Context()); err != nil {
				return err
			}
			opt.Logger.Info("proxy is listening", "addr", p.Addr(), "admin", p.AdminAddr())
			<-cmd.Context().Done()
			opt.Logger.Info("proxy stops")
			return p.Close()
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.Addr, "listen", "127.0.0.1:6379", "host:port for clients")
	f.StringVar(&opt.AdminAddr, "admin-listen", "", "host:port for /metrics and /healthz; empty for none")
	f.StringSliceVar(&dashboards, "dashboard", nil, "URLs of the dashboards, all of which are followed")
	f.StringVar(&token, "dashboard-token", "", "bearer token for the dashboards")
	f.StringVar(&opt.File, "topology-file", "", "where the last topology is kept")
	f.StringVar(&opt.Password, "requirepass", "", "password that clients must give")
	f.StringVar(&passwordEnv, "requirepass-env", "", "environment variable that holds it")
	f.StringVar(&opt.BackendUser, "backend-user", "", "user that the proxy is to the nodes")
	f.StringVar(&opt.BackendPassword, "backend-password", "", "password of the proxy to the nodes")
	f.StringVar(&secretEnv, "backend-password-env", "", "environment variable that holds it")
	f.IntVar(&opt.Databases, "databases", 16, "number of databases")
	f.IntVar(&opt.MaxClients, "maxclients", 10000, "most clients at a time")
	f.DurationVar(&opt.IdleTimeout, "timeout", 0, "close clients that are silent for so long; 0 = never")
	f.DurationVar(&opt.KeepAlive, "tcp-keepalive", 300*time.Second, "TCP keep-alive of clients")
	f.DurationVar(&opt.HoldTimeout, "hold-timeout", 5*time.Second,
		"how long a request waits for a primary before it fails")
	f.IntVar(&opt.MaxHeld, "max-held-requests", 100_000, "most requests waiting at a time")
	f.IntVar(&opt.MaxHeldBytes, "max-held-bytes", 256<<20, "most bytes of requests waiting at a time")
	f.IntVar(&opt.ConnsPerShard, "backend-connections", 2,
		"shared connections per shard, database and protocol version")
	f.IntVar(&opt.MaxDedicated, "max-dedicated-connections", 4096,
		"most connections per shard for blocking commands, WATCH and subscriptions")
	f.DurationVar(&opt.BackendTimeout, "backend-timeout", 10*time.Second,
		"give up a connection to a node when a reply is due for so long")
	f.DurationVar(&opt.DialTimeout, "dial-timeout", time.Second, "most time to connect to a node")
	f.DurationVar(&opt.SwitchGrace, "switch-grace", 100*time.Millisecond,
		"time for requests in flight to the old primary after a switch")
	f.IntVar(&opt.PipelineRequests, "client-pipeline", 1024, "most unanswered requests of one client")
	f.IntVar(&opt.PipelineBytes, "client-pipeline-bytes", 64<<20,
		"most bytes of unanswered requests of one client")
	f.IntVar(&opt.OutputHard, "client-output-limit", 256<<20, "close a client with more untaken replies")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}
