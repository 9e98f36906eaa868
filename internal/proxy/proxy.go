package proxy

import (
	"cmp"
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/topology"
)

// Proxy is a running proxy.
type Proxy struct {
	opt     Options
	log     *slog.Logger
	metrics *metrics
	traits  map[*command.Spec]*traits // of every command; the map is immutable
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	listener net.Listener
	admin    *http.Server
	adminLn  net.Listener

	clock  atomic.Int64 // see now
	routes atomic.Pointer[routes]
	held   budget
	links  atomic.Int64
	// nodeCalls has a place for each command to all nodes that is under way.
	nodeCalls chan struct{}
	absentKey string // a key that no node has; see session.wait
	ids       atomic.Int64

	// topoMu puts the topologies in order: it is held while one is taken over. Before all other locks.
	topoMu  sync.Mutex
	cluster *topology.Cluster // the one in use; guarded by topoMu
	unsaved chan *topology.Cluster

	mu struct {
		sync.Mutex
		sessions map[*session]struct{}
		shards   map[topology.ShardID]*shard
		changed  chan struct{} // closed when routes change
		closed   bool
	}
}

// tick is the resolution of the coarse clock and the interval of the sweeper.
const tick = 50 * time.Millisecond

// Run serves until ctx ends.
func Run(ctx context.Context, opt Options) error {
	p, err := New(opt)
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return p.Close()
}

// New makes a proxy; Start lets it serve.
func New(opt Options) (*Proxy, error) {
	if err := opt.complete(); err != nil {
		return nil, err
	}
	p := &Proxy{opt: opt, log: opt.Logger, unsaved: make(chan *topology.Cluster, 1)}
	p.absentKey = "haypile-proxy-" + cryptorand.Text()
	p.nodeCalls = make(chan struct{}, maxNodeCalls)
	p.held.maxCount, p.held.maxBytes = int64(opt.MaxHeld), int64(opt.MaxHeldBytes)
	p.mu.sessions = map[*session]struct{}{}
	p.mu.shards = map[topology.ShardID]*shard{}
	p.mu.changed = make(chan struct{})
	p.clock.Store(time.Now().UnixNano())
	p.traits = newTraits(opt.Table)
	p.metrics = newMetrics(p)
	return p, nil
}

// Start listens and begins to follow the topology. It does not wait for a topology. The proxy serves until
// Close; the end of ctx does not end it, so that Close can let requests under way be answered.
func (p *Proxy) Start(ctx context.Context) error {
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if p.opt.File != "" {
		c, err := loadTopology(p.opt.File)
		if err != nil {
			// A damaged copy must not keep the proxy from serving with what the dashboards say.
			p.log.Error("cannot use the kept topology", "error", err)
		} else if c != nil {
			p.log.Info("starting with the kept topology", "revision", c.Revision)
			p.publish(c)
		}
	}
	if err := p.listen(); err != nil {
		p.Close()
		return err
	}
	p.wg.Add(3)
	go p.sweep()
	go p.saver()
	go p.accept()
	if p.opt.Source != nil {
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			p.opt.Source.Run(p.ctx, p.publish)
		}()
	}
	return nil
}

func (p *Proxy) listen() error {
	var err error
	if p.listener = p.opt.Listener; p.listener == nil {
		if p.listener, err = net.Listen("tcp", p.opt.Addr); err != nil {
			return fmt.Errorf("listen for clients: %w", err)
		}
	}
	if p.opt.AdminAddr == "" {
		return nil
	}
	if p.adminLn, err = net.Listen("tcp", p.opt.AdminAddr); err != nil {
		return fmt.Errorf("listen for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", p.healthz)
	p.admin = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute}
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		if err := p.admin.Serve(p.adminLn); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("metrics listener failed", "error", err)
		}
	}()
	return nil
}

// healthz answers 200 if every shard has a primary that accepts commands.
func (p *Proxy) healthz(w http.ResponseWriter, _ *http.Request) {
	rt := p.routes.Load()
	if rt == nil || len(rt.shards) == 0 {
		http.Error(w, "no topology", http.StatusServiceUnavailable)
		return
	}
	for _, s := range rt.shards {
		if _, ok := s.primary(); !ok {
			http.Error(w, fmt.Sprintf("shard %s has no primary", s.id), http.StatusServiceUnavailable)
			return
		}
	}
	fmt.Fprintf(w, "ok, topology revision %d\n", rt.revision)
}

// Addr is where clients connect.
func (p *Proxy) Addr() net.Addr { return p.listener.Addr() }

// AdminAddr is where metrics are served; nil if they are not.
func (p *Proxy) AdminAddr() net.Addr {
	if p.adminLn == nil {
		return nil
	}
	return p.adminLn.Addr()
}

// Revision is the revision of the topology in use, 0 if there is none.
func (p *Proxy) Revision() uint64 {
	if rt := p.routes.Load(); rt != nil {
		return rt.revision
	}
	return 0
}

// drainTime is what requests under way have to be answered when the proxy stops.
const drainTime = time.Second

// Close stops accepting, lets requests under way be answered for a moment, and ends everything.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		return nil
	}
	p.mu.closed = true
	p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
	}
	deadline := time.Now().Add(drainTime)
	for _, s := range p.sessions() {
		s.drainUntil(deadline)
	}
	p.cancel()
	for _, s := range p.sessions() {
		s.close("the proxy stops")
	}
	for _, s := range p.allShards() {
		s.close()
	}
	if p.admin != nil {
		p.admin.Close()
	} else if p.adminLn != nil {
		p.adminLn.Close()
	}
	p.wg.Wait()
	return nil
}

// now is the time in nanoseconds, good to about one tick: enough for timeouts, and cheaper than the real one.
func (p *Proxy) now() int64 { return p.clock.Load() }

func (p *Proxy) random(n int) int { return rand.N(n) }

func (p *Proxy) dialOptions(key connKey) resp.DialOptions {
	d := &net.Dialer{Timeout: p.opt.DialTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3,
	}}
	return resp.DialOptions{
		User: p.opt.BackendUser, Password: p.opt.BackendPassword,
		Proto: int(key.proto), DB: int(key.db), Timeout: p.opt.DialTimeout, Dial: d.DialContext,
	}
}

// accept takes clients.
func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		nc, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			p.log.Warn("cannot accept a client", "error", err)
			select { // out of file descriptors, mostly
			case <-time.After(tick):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		if tc, ok := nc.(*net.TCPConn); ok {
			tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: p.opt.KeepAlive})
		}
		p.serve(nc)
	}
}

// serve starts a session, unless there are too many.
func (p *Proxy) serve(nc net.Conn) {
	p.mu.Lock()
	full, closed := len(p.mu.sessions) >= p.opt.MaxClients, p.mu.closed
	if full || closed {
		p.mu.Unlock()
		if full {
			p.metrics.rejected.Inc()
			// The socket's buffer is empty: this does not wait.
			nc.SetWriteDeadline(time.Now().Add(tick))
			nc.Write([]byte("-" + resp.ErrMaxClients + "\r\n"))
		}
		nc.Close()
		return
	}
	s := newSession(p, p.ids.Add(1), nc)
	p.mu.sessions[s] = struct{}{}
	p.wg.Add(2)
	p.mu.Unlock()
	p.metrics.clientsTotal.Inc()
	go s.read()
	go s.write()
}

func (p *Proxy) removeSession(s *session) {
	p.mu.Lock()
	delete(p.mu.sessions, s)
	p.mu.Unlock()
}

// sessions lists the clients in the order of their ids.
func (p *Proxy) sessions() []*session {
	p.mu.Lock()
	list := make([]*session, 0, len(p.mu.sessions))
	for s := range p.mu.sessions {
		list = append(list, s)
	}
	p.mu.Unlock()
	slices.SortFunc(list, func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	return list
}

func (p *Proxy) allShards() []*shard {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*shard, 0, len(p.mu.shards))
	for _, s := range p.mu.shards {
		list = append(list, s)
	}
	return list
}

// shardOf finds or makes the state of a shard. A shard that leaves the cluster keeps it.
func (p *Proxy) shardOf(id topology.ShardID) *shard {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.mu.shards[id]
	if s == nil {
		s = newShard(p, id)
		p.mu.shards[id] = s
		p.wg.Add(1)
		go s.run()
	}
	return s
}

// publish takes over a topology if it is newer than the one in use.
func (p *Proxy) publish(c *topology.Cluster) {
	p.topoMu.Lock()
	defer p.topoMu.Unlock()
	if p.ctx.Err() != nil {
		return
	}
	if old := p.cluster; old != nil {
		if c.Name != old.Name {
			p.log.Error("topology of another cluster ignored", "have", old.Name, "got", c.Name)
			return
		}
		if c.Revision <= old.Revision {
			return
		}
	}
	p.cluster = c
	p.metrics.topologies.Inc()
	p.routes.Store(newRoutes(c, p.shardOf))
	seen := map[*shard]bool{}
	for i := range c.Shards {
		sh := p.shardOf(c.Shards[i].ID)
		seen[sh] = true
		node, _ := c.Shards[i].Node(c.Shards[i].Primary)
		sh.setPrimary(node.Addr, c.Shards[i].Epoch)
	}
	for _, sh := range p.allShards() {
		if !seen[sh] {
			sh.setPrimary("", 0)
		}
	}
	p.mu.Lock()
	close(p.mu.changed)
	p.mu.changed = make(chan struct{})
	p.mu.Unlock()
	if p.opt.File != "" {
		// Only the newest waits to be saved.
		select {
		case <-p.unsaved:
		default:
		}
		p.unsaved <- c
	}
}

// saver keeps the topology in the file.
func (p *Proxy) saver() {
	defer p.wg.Done()
	save := func(c *topology.Cluster) {
		if err := saveTopology(p.opt.File, c); err != nil {
			p.log.Error("cannot keep the topology", "error", err)
		}
	}
	for {
		select {
		case c := <-p.unsaved:
			save(c)
		case <-p.ctx.Done():
			select {
			case c := <-p.unsaved:
				save(c)
			default:
			}
			return
		}
	}
}

// routesFor is the routing to use for a command. While there is none, it waits, after what the session has
// parsed is submitted. It reports false if none came in time.
func (p *Proxy) routesFor(s *session) (*routes, bool) {
	if rt := p.routes.Load(); rt != nil && len(rt.shards) > 0 {
		return rt, true
	}
	s.submit()
	return p.newerRoutes(nil, time.Now().Add(p.opt.HoldTimeout))
}

// newerRoutes waits until the routing is another than rt, and not empty.
func (p *Proxy) newerRoutes(rt *routes, deadline time.Time) (*routes, bool) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for {
		p.mu.Lock()
		changed := p.mu.changed
		p.mu.Unlock()
		if now := p.routes.Load(); now != nil && now != rt && len(now.shards) > 0 {
			return now, true
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, false
		case <-p.ctx.Done():
			return nil, false
		}
	}
}

// sweep keeps the coarse clock and looks for what takes too long.
func (p *Proxy) sweep() {
	defer p.wg.Done()
	t := time.NewTicker(tick)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-p.ctx.Done():
			return
		case now := <-t.C:
			p.clock.Store(now.UnixNano())
		}
		for _, s := range p.allShards() {
			s.sweep(p.now())
		}
		if n%20 == 0 {
			for _, s := range p.sessions() {
				s.check(p.now())
			}
		}
	}
}
