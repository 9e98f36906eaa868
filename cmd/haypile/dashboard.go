package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"haypile/internal/dashboard"
)

// defaultDashboard is where a dashboard listens and ctl looks for one.
const defaultDashboard = "127.0.0.1:7400"

func newDashboardCommand() *cobra.Command {
	var (
		opt                          dashboard.Options
		tokenFile, secretFile, level string
	)
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Watch the nodes of a cluster and fail over",
		Long: "The dashboard keeps the topology in etcd (a member inside this process, unless --etcd-endpoints\n" +
			"names another one), observes every node, replaces dead primaries, and serves the HTTP API that\n" +
			"ctl and the proxies use.",
		Example: "  haypile dashboard --listen 10.0.0.1:7400 --dir /var/lib/haypile/dashboard \\\n" +
			"      --token-file /etc/haypile/token",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log-level: %w", err)
			}
			opt.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
			if err := readSecret("--token-file", tokenFile, &opt.Token); err != nil {
				return err
			}
			if err := readSecret("--agent-secret-file", secretFile, &opt.AgentSecret); err != nil {
				return err
			}
			return dashboard.Run(cmd.Context(), opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.Addr, "listen", defaultDashboard, "host:port of the HTTP API")
	f.StringVar(&opt.Dir, "dir", "haypile-dashboard", "directory for identity and embedded etcd")
	f.StringSliceVar(&opt.EtcdEndpoints, "etcd-endpoints", nil, "use this external etcd")
	f.StringVar(&opt.EtcdClientAddr, "etcd-client-listen", "",
		"host:port of the embedded etcd for clients; empty for a free loopback port")
	f.StringVar(&opt.EtcdPeerAddr, "etcd-peer-listen", "",
		"host:port of the embedded etcd for peers; empty for a free loopback port")
	f.StringVar(&opt.Cluster, "cluster", "haypile", "name of the cluster")
	f.DurationVar(&opt.DownAfter, "down-after", time.Second, "replace a primary that is silent for so long")
	f.StringVar(&opt.Token, "token", "",
		"bearer token for changes; without one they are taken from this machine only")
	f.StringVar(&tokenFile, "token-file", "", "file that holds it")
	f.StringVar(&opt.AgentSecret, "agent-secret", "", "secret that the nodes' agents demand")
	f.StringVar(&secretFile, "agent-secret-file", "", "file that holds it")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// readSecret fills a secret from a file, if one is named and the secret isn't given otherwise.
func readSecret(flag, file string, into *string) error {
	if file == "" || *into != "" {
		return nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	*into = strings.TrimSpace(string(b))
	if *into == "" {
		return fmt.Errorf("%s: %s is empty", flag, file)
	}
	return nil
}
