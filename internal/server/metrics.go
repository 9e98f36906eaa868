package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"haypile/internal/commands"
	"haypile/internal/option"
	"haypile/internal/replication"
)

// collector shows the node's own counters; they are read when somebody asks, and the hot path knows nothing
// of Prometheus.
type collector struct{ s *Server }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("haypile_"+name, help, labels, nil)
}

var (
	descUp         = desc("up", "1 once the node serves data.")
	descPrimary    = desc("primary", "1 on a primary.")
	descEpoch      = desc("epoch", "Epoch of the present reign.")
	descClients    = desc("connected_clients", "Open connections.")
	descCommands   = desc("commands_total", "Calls by command.", "command")
	descSeconds    = desc("command_seconds_total", "Time spent in commands.", "command")
	descErrors     = desc("errors_total", "Error replies by code word.", "code")
	descNet        = desc("net_bytes_total", "Bytes from and to clients.", "direction")
	descStreamed   = desc("streamed_replies_total", "Replies sent in parts, by how they ended.", "result")
	descStreamedB  = desc("streamed_reply_bytes_total", "Bytes of replies sent in parts.")
	descStreaming  = desc("streamed_replies", "Replies that are being sent in parts.")
	descKeys       = desc("keys", "Keys by database.", "db")
	descExpires    = desc("expiring_keys", "Keys with a deadline by database.", "db")
	descExpired    = desc("expired_keys_total", "Keys deleted because of their deadline.")
	descExpiredSub = desc("expired_fields_total", "Fields of hashes deleted because of their deadline.")
	descOffset     = desc("log_offset_bytes", "Offsets in the replication stream.", "which")
	descLogDisk    = desc("log_disk_bytes", "Size of the log's files.")
	descReplicas   = desc("replica_acked_offset_bytes", "Offset acknowledged by each replica.", "replica")
	descLinkUp     = desc("link_up", "1 while a replica's link to its primary is up.")
	descGroups     = desc("commit_groups_total", "Group commits.")
	descGroupTxns  = desc("commit_transactions_total", "Transactions committed in groups.")
	descCacheHits  = desc("hot_cache_lookups_total", "Look-ups in the hot cache.", "result")
	descCacheBytes = desc("cache_bytes", "Memory of caches.", "cache")
	descEngineDisk = desc("engine_disk_bytes", "Size of the engine's files.")
	descStalls     = desc("engine_write_stalls_total", "Write stalls of the engine.")
	descDebt       = desc("engine_compaction_debt_bytes", "Bytes that wait for compaction.")
	descFull       = desc("disk_full", "1 while writes are refused for lack of disk space.")
	descSyncs      = desc("replica_syncs_total", "Syncs served to replicas.", "kind")
)

// Describe implements prometheus.Collector: the metrics are not known beforehand, by command and replica.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.s
	n := s.state.Load()
	gauge := func(d *prometheus.Desc, v float64, l ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, l...)
	}
	count := func(d *prometheus.Desc, v float64, l ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, l...)
	}
	gauge(descUp, float64(1-flag(n.pending)))
	gauge(descPrimary, float64(flag(n.primary)))
	gauge(descEpoch, float64(n.epoch))
	gauge(descClients, float64(s.clients.Count()))
	gauge(descFull, float64(flag(s.x.DiskFull())))
	s.eachCommand(func(c *commands.Command) {
		if calls := c.Stats.Calls.Load(); calls > 0 {
			count(descCommands, float64(calls), c.FullName())
			count(descSeconds, float64(c.Stats.Nanos.Load())/1e9, c.FullName())
		}
	})
	s.x.Stats.ErrorKinds.Range(func(k, v any) bool {
		count(descErrors, float64(v.(*atomic.Int64).Load()), k.(string))
		return true
	})
	count(descNet, float64(s.sessions.InBytes.Load()), "in")
	count(descNet, float64(s.sessions.OutBytes.Load()), "out")
	broken, now := s.x.Stats.BrokenStreams.Load(), s.x.Stats.Streaming.Load()
	count(descStreamed, float64(max(0, s.x.Stats.Streams.Load()-broken-now)), "whole")
	count(descStreamed, float64(broken), "broken")
	count(descStreamedB, float64(s.x.Stats.StreamBytes.Load()))
	gauge(descStreaming, float64(now))
	count(descGroups, float64(s.x.Stats.Groups.Load()))
	count(descGroupTxns, float64(s.x.Stats.GroupTxns.Load()))
	c.collectData(n, gauge, count)
	for _, f := range s.feeds.Snapshot() {
		gauge(descReplicas, float64(f.Acked), net.JoinHostPort(f.IP, strconv.Itoa(f.Port)))
	}
	f := s.feeds.Stats()
	count(descSyncs, float64(f.SyncFull), "full")
	count(descSyncs, float64(f.SyncPartialOK), "partial")
	if n.link != nil {
		gauge(descLinkUp, float64(flag(n.link.Status().State == replication.LinkConnected)))
	}
}

type emit func(d *prometheus.Desc, v float64, l ...string)

func (c collector) collectData(n *nodeState, gauge, count emit) {
	c.s.data.rlock()
	defer c.s.data.runlock()
	d := n.data
	if d.engine == nil {
		return
	}
	st, log := d.data.Store, d.data.Log
	for db := range st.Databases() {
		if keys, expires := st.Counts(db); keys > 0 {
			gauge(descKeys, float64(keys), strconv.Itoa(db))
			gauge(descExpires, float64(expires), strconv.Itoa(db))
		}
	}
	count(descExpired, float64(st.Expired.Load()))
	count(descExpiredSub, float64(st.ExpiredFields.Load()))
	gauge(descOffset, float64(log.Start()), "start")
	gauge(descOffset, float64(log.End()), "end")
	gauge(descOffset, float64(log.Synced()), "synced")
	gauge(descOffset, float64(st.Applied()), "applied")
	gauge(descOffset, float64(st.Durable()), "durable")
	gauge(descLogDisk, float64(log.DiskBytes()))
	hits, misses, bytes := st.CacheStats()
	count(descCacheHits, float64(hits), "hit")
	count(descCacheHits, float64(misses), "miss")
	m := d.engine.Metrics()
	gauge(descCacheBytes, float64(bytes), "hot")
	gauge(descCacheBytes, float64(m.CacheBytes), "block")
	gauge(descCacheBytes, float64(m.MemtableBytes), "memtable")
	gauge(descEngineDisk, float64(m.DiskBytes))
	count(descStalls, float64(m.WriteStalls))
	gauge(descDebt, float64(m.CompactionDebt))
}

// startMetrics serves /metrics, /healthz and the profiler on metrics-port.
func (s *Server) startMetrics() error {
	port := int(s.cfg.Int(option.MetricsPort))
	if port == 0 {
		return nil
	}
	host := "127.0.0.1"
	if hosts := option.Bind.Get(s.cfg); len(hosts) > 0 && hosts[0] != "*" {
		host = hosts[0]
	}
	l, err := s.opt.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if s.state.Load().pending {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	hs := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	s.spawn(func() {
		if err := hs.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("metrics listener", "err", err)
		}
	})
	context.AfterFunc(s.ctx, func() { _ = hs.Close() })
	return nil
}
