// Package dashboard puts a coordinator behind an HTTP API, with its metastore: an embedded etcd member by
// default. No decisions are made here.
//
// Run owns everything: the lock on the directory, the metastore, the coordinator's goroutine and the HTTP
// server with one goroutine per request; a request for a stream lasts until its client goes or Run ends.
package dashboard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"haypile/internal/coordinator"
	"haypile/internal/metastore"
)

// Options configure a dashboard.
type Options struct {
	Addr string // of the HTTP API, host:port; port 0 takes a free one
	Dir  string // holds the dashboard's identity and the embedded etcd
	// EtcdEndpoints use an external etcd instead of an embedded member.
	EtcdEndpoints []string
	// EtcdClientAddr and EtcdPeerAddr are where the embedded member listens; empty: free loopback ports.
	EtcdClientAddr, EtcdPeerAddr string
	Cluster                      string // "haypile" if empty
	DownAfter                    time.Duration
	// Token is what mutations must bring as a bearer token. Without one they are taken from this machine only.
	Token string
	// AgentSecret is what the nodes' agents demand.
	AgentSecret string
	Logger      *slog.Logger
	// Ready, if set, is called with the address of the API once it serves.
	Ready func(addr string)
}

const (
	shutdownTimeout = 3 * time.Second
	storeStart      = time.Minute // for a metastore to become reachable
)

// Run serves until ctx ends.
func Run(ctx context.Context, opt Options) (err error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Cluster == "" {
		opt.Cluster = "haypile"
	}
	if opt.Dir == "" {
		return errors.New("dashboard: a directory is needed")
	}
	lock, err := lockDir(opt.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	id, err := identity(opt.Dir)
	if err != nil {
		return err
	}
	// Listen first: a port that is taken must not cost the start of an etcd member.
	l, err := net.Listen("tcp", opt.Addr)
	if err != nil {
		return fmt.Errorf("dashboard: %w", err)
	}
	defer l.Close()
	store, err := openStore(ctx, opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	co := coordinator.New(coordinator.Options{Store: store, Cluster: opt.Cluster, ID: id,
		URL: "http://" + l.Addr().String(), Secret: opt.AgentSecret, Logger: opt.Logger,
		Config: coordinator.Config{DownAfter: opt.DownAfter}})
	return serve(ctx, opt, l, co)
}

// serve runs the coordinator and the API side by side; the end of one ends the other.
func serve(ctx context.Context, opt Options, l net.Listener, co *coordinator.Coordinator) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &http.Server{Handler: NewHandler(co, opt.Token, opt.Logger), ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(opt.Logger.Handler(), slog.LevelDebug)}
	coErr, srvErr := make(chan error, 1), make(chan error, 1)
	go func() { coErr <- co.Run(ctx) }()
	go func() { srvErr <- srv.Serve(l) }()
	opt.Logger.Info("dashboard serves", "addr", l.Addr().String(), "cluster", opt.Cluster)
	if opt.Ready != nil {
		opt.Ready(l.Addr().String())
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-srvErr:
		srvErr <- nil
	case err = <-coErr:
		coErr <- nil
	}
	cancel() // ends the streams, too
	sctx, stop := context.WithTimeout(context.Background(), shutdownTimeout)
	defer stop()
	srv.Shutdown(sctx)
	srv.Close()
	<-srvErr
	<-coErr
	if errors.Is(err, context.Canceled) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func openStore(ctx context.Context, opt Options) (metastore.Store, error) {
	ctx, cancel := context.WithTimeout(ctx, storeStart)
	defer cancel()
	if len(opt.EtcdEndpoints) > 0 {
		return metastore.Connect(ctx, opt.EtcdEndpoints)
	}
	return metastore.Embedded(ctx, metastore.EmbeddedOptions{Dir: filepath.Join(opt.Dir, "etcd"),
		ClientAddr: opt.EtcdClientAddr, PeerAddr: opt.EtcdPeerAddr})
}

// lockDir sees to it that a directory, and with it an identity, is used by one process.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("dashboard: %s is in use by another process: %w", dir, err)
	}
	return f, nil
}

// identity reads the dashboard's id, or makes one. It is written whole or not at all.
func identity(dir string) (string, error) {
	path := filepath.Join(dir, "id")
	b, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(b)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("dashboard id: %w", err)
	}
	var r [6]byte
	rand.Read(r[:])
	id := "dashboard-" + hex.EncodeToString(r[:])
	if err := os.WriteFile(path+".new", []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("dashboard id: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("dashboard id: %w", err)
	}
	return id, nil
}
