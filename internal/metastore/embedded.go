package metastore

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// EmbeddedOptions configure an etcd member inside this process.
type EmbeddedOptions struct {
	Dir  string // its data; not on the disk of a busy data node: etcd wants its fsync within 10 ms
	Name string // of the member; "dashboard" if empty
	// ClientAddr and PeerAddr are host:port to listen on; empty: a free port on the loopback interface.
	ClientAddr, PeerAddr string
	// InitialCluster lists all members ("a=http://host:port,b=http://...") where there are several: one, three
	// or five. Empty: this one alone.
	InitialCluster string
}

// readyTimeout bounds the start of a member: longer than an election with a replay of its log.
const readyTimeout = 30 * time.Second

// Embedded starts a member and opens a store on it, without a socket between the two.
func Embedded(ctx context.Context, opt EmbeddedOptions) (Store, error) {
	if opt.Name == "" {
		opt.Name = "dashboard"
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	var err error
	// A free port can be taken by someone else before etcd listens on it.
	for range 3 {
		var e *embed.Etcd
		if e, err = startMember(ctx, opt); err == nil {
			c := v3client.New(e.Server)
			return &etcd{client: c, stop: e.Close}, nil
		}
		if ctx.Err() != nil || opt.ClientAddr != "" && opt.PeerAddr != "" {
			break
		}
	}
	return nil, fmt.Errorf("etcd in %s: %w", opt.Dir, err)
}

func startMember(ctx context.Context, opt EmbeddedOptions) (*embed.Etcd, error) {
	client, err := listenURL(opt.ClientAddr)
	if err != nil {
		return nil, err
	}
	peer, err := listenURL(opt.PeerAddr)
	if err != nil {
		return nil, err
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = opt.Name, opt.Dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = opt.InitialCluster
	if cfg.InitialCluster == "" {
		cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	}
	// The default retention is for ever. An hour is long enough for a watch to go on where it stopped.
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModePeriodic, "1h"
	cfg.QuotaBackendBytes = 256 << 20
	cfg.LogLevel, cfg.LogOutputs = "warn", []string{filepath.Join(opt.Dir, "etcd.log")}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	t := time.NewTimer(readyTimeout)
	defer t.Stop()
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case err = <-e.Err():
	case <-e.Server.StopNotify():
		err = fmt.Errorf("member stopped")
	case <-ctx.Done():
		err = ctx.Err()
	case <-t.C:
		err = fmt.Errorf("not ready after %v", readyTimeout)
	}
	e.Close()
	return nil, err
}

// listenURL is the URL of an address, or of a free loopback port.
func listenURL(addr string) (url.URL, error) {
	if addr == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return url.URL{}, err
		}
		addr = l.Addr().String()
		l.Close()
	}
	return url.URL{Scheme: "http", Host: addr}, nil
}
