package server

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"haypile/internal/acl"
	"haypile/internal/commands"
	"haypile/internal/option"
)

// infoSection is one section of INFO.
type infoSection struct {
	name    string
	always  bool // part of INFO without arguments
	write   func(s *Server, b *strings.Builder)
	heading string
}

// infoSections stand in the order of Redis 7.2; the last ones are Haypile's own.
var infoSections = []infoSection{
	{"server", true, (*Server).infoServer, "Server"},
	{"clients", true, (*Server).infoClients, "Clients"},
	{"memory", true, (*Server).infoMemory, "Memory"},
	{"persistence", true, (*Server).infoPersistence, "Persistence"},
	{"stats", true, (*Server).infoStats, "Stats"},
	{"replication", true, (*Server).infoReplication, "Replication"},
	{"cpu", true, (*Server).infoCPU, "CPU"},
	{"modules", true, func(*Server, *strings.Builder) {}, "Modules"},
	{"commandstats", false, (*Server).infoCommands, "Commandstats"},
	{"errorstats", true, (*Server).infoErrors, "Errorstats"},
	{"latencystats", false, (*Server).infoLatency, "Latencystats"},
	{"cluster", true, func(_ *Server, b *strings.Builder) { b.WriteString("cluster_enabled:0\r\n") }, "Cluster"},
	{"keyspace", true, (*Server).infoKeyspace, "Keyspace"},
	{"engine", true, (*Server).infoEngine, "Engine"},
}

// Info renders sections of INFO: the default ones without names; "all", "everything" and "default" are
// understood.
func (n node) Info(names []string) string {
	names = lower(names)
	all := slices.Contains(names, "all") || slices.Contains(names, "everything")
	def := len(names) == 0 || slices.Contains(names, "default")
	var b strings.Builder
	for _, sec := range infoSections {
		if !all && !(def && sec.always) && !slices.Contains(names, sec.name) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "# %s\r\n", sec.heading)
		sec.write(n.Server, &b)
	}
	return b.String()
}

func (s *Server) infoServer(b *strings.Builder) {
	up := time.Since(s.start)
	exe, _ := os.Executable()
	fmt.Fprintf(b, "redis_version:%s\r\nhaypile_version:%s\r\nredis_mode:standalone\r\nos:%s\r\narch_bits:64\r\n"+
		"monotonic_clock:POSIX clock_gettime\r\nmultiplexing_api:epoll\r\ngo_version:%s\r\nprocess_id:%d\r\n"+
		"process_supervised:no\r\nrun_id:%s\r\ntcp_port:%d\r\nagent_port:%d\r\nserver_time_usec:%d\r\n"+
		"uptime_in_seconds:%d\r\nuptime_in_days:%d\r\nhz:%d\r\nexecutable:%s\r\nconfig_file:%s\r\n",
		commands.Version, s.opt.Version, systemName(), runtime.Version(), os.Getpid(), s.runID, s.port,
		s.agentPort, time.Now().UnixMicro(), int64(up.Seconds()), int64(up.Hours()/24), s.cfg.Int(option.Hz), exe, s.cfg.File())
}

// systemName is what uname says: Linux 6.1.0 x86_64.
func systemName() string {
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return runtime.GOOS + " " + runtime.GOARCH
	}
	text := func(f [65]int8) string {
		var b strings.Builder
		for _, c := range f {
			if c == 0 {
				break
			}
			b.WriteByte(byte(c))
		}
		return b.String()
	}
	return text(u.Sysname) + " " + text(u.Release) + " " + text(u.Machine)
}

func (s *Server) infoClients(b *strings.Builder) {
	var blocked, pubsubs, watching, connected int
	s.clients.Each(func(c *commands.Client) bool {
		if c.Kind() != "replica" {
			connected++
		}
		if c.Blocked.Load() {
			blocked++
		}
		if c.Kind() == "pubsub" {
			pubsubs++
		}
		if c.Info().Watched > 0 {
			watching++
		}
		return true
	})
	tracking, _, _, _ := s.tracking.Stats()
	fmt.Fprintf(b, "connected_clients:%d\r\ncluster_connections:0\r\nmaxclients:%d\r\nblocked_clients:%d\r\n"+
		"tracking_clients:%d\r\npubsub_clients:%d\r\nwatching_clients:%d\r\nclients_in_timeout_table:0\r\n",
		connected, s.cfg.Int(option.MaxClients), blocked, tracking, pubsubs, watching)
}

func (s *Server) infoMemory(b *strings.Builder) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	rss := residentBytes()
	d := s.state.Load().data
	var block, memtable, hot int64
	if d.engine != nil {
		em := d.engine.Metrics()
		block, memtable = em.CacheBytes, int64(em.MemtableBytes)
		_, _, hot = d.data.Store.CacheStats()
	}
	used := int64(m.HeapAlloc) + hot + block + memtable
	budget := option.CacheBudget(s.cfg.View(), s.opt.MachineBytes)
	fmt.Fprintf(b, "used_memory:%d\r\nused_memory_human:%s\r\nused_memory_rss:%d\r\nused_memory_rss_human:%s\r\n"+
		"used_memory_peak:%d\r\nused_memory_dataset:%d\r\ntotal_system_memory:%d\r\nmaxmemory:%d\r\nmaxmemory_policy:noeviction\r\n"+
		"hot_cache_bytes:%d\r\nblock_cache_bytes:%d\r\nmemtable_bytes:%d\r\ncache_budget_bytes:%d\r\ngo_heap_bytes:%d\r\n"+
		"mem_fragmentation_ratio:%.2f\r\nmem_allocator:go\r\n",
		used, human(used), rss, human(rss), max(rss, used), hot+block+memtable, s.opt.MachineBytes,
		s.cfg.Bytes(option.MaxMemory), hot, block, memtable, budget, m.HeapAlloc, float64(rss)/float64(max(1, used)))
}

func human(n int64) string {
	f := float64(n)
	for _, u := range []string{"B", "K", "M", "G"} {
		if f < 1024 {
			if u == "B" {
				return fmt.Sprintf("%dB", n)
			}
			return fmt.Sprintf("%.2f%s", f, u)
		}
		f /= 1024
	}
	return fmt.Sprintf("%.2fT", f)
}

// residentBytes is the process' resident memory, from /proc; 0 where there is none.
func residentBytes() int64 {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(raw), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}

func status(bad bool) string {
	if bad {
		return "err"
	}
	return "ok"
}

func (s *Server) infoPersistence(b *strings.Builder) {
	n := s.state.Load()
	fmt.Fprintf(b, "loading:%d\r\nasync_loading:0\r\nrdb_changes_since_last_save:0\r\nrdb_bgsave_in_progress:%d\r\n"+
		"rdb_last_save_time:%d\r\nrdb_last_bgsave_status:%s\r\naof_enabled:1\r\naof_rewrite_in_progress:0\r\n"+
		"aof_last_write_status:%s\r\n", flag(n.pending), flag(s.saving.Load()), s.lastSave.Load(), status(s.saveBad.Load()),
		status(s.x.Failed() != nil))
	if d := n.data.data; d.Log != nil {
		fmt.Fprintf(b, "log_start_offset:%d\r\nlog_end_offset:%d\r\nlog_synced_offset:%d\r\nlog_disk_bytes:%d\r\n"+
			"engine_applied_offset:%d\r\nengine_durable_offset:%d\r\nrecovery_replayed_units:%d\r\nrecovery_torn_bytes:%d\r\n"+
			"rewinds:%d\r\ndisk_full:%d\r\n", d.Log.Start(), d.Log.End(), d.Log.Synced(), d.Log.DiskBytes(), d.Store.Applied(),
			d.Store.Durable(), s.replayed.Load(), s.recovery.TornBytes, s.rewinds.Load(), flag(s.x.DiskFull()))
	}
}

func (s *Server) infoStats(b *strings.Builder) {
	ops, in, out := s.lastSample.rates()
	st, f := &s.x.Stats, s.feeds.Stats()
	var expired, fields, hits, misses int64
	if d := s.state.Load().data.data; d.Store != nil {
		expired, fields = d.Store.Expired.Load(), d.Store.ExpiredFields.Load()
		hits, misses = st.Hits.Load(), st.Misses.Load()
	}
	_, keys, items, prefixes := s.tracking.Stats()
	fmt.Fprintf(b, "total_connections_received:%d\r\ntotal_commands_processed:%d\r\ninstantaneous_ops_per_sec:%d\r\n"+
		"total_net_input_bytes:%d\r\ntotal_net_output_bytes:%d\r\ninstantaneous_input_kbps:%.2f\r\n"+
		"instantaneous_output_kbps:%.2f\r\nrejected_connections:%d\r\nsync_full:%d\r\nsync_partial_ok:%d\r\n"+
		"sync_partial_err:%d\r\nexpired_subkeys:%d\r\nexpired_keys:%d\r\nevicted_keys:0\r\nkeyspace_hits:%d\r\nkeyspace_misses:%d\r\n"+
		"pubsub_channels:%d\r\npubsub_patterns:%d\r\npubsubshard_channels:%d\r\nlatest_fork_usec:0\r\ntotal_forks:0\r\n"+
		"tracking_total_keys:%d\r\ntracking_total_items:%d\r\ntracking_total_prefixes:%d\r\n"+
		"unexpected_error_replies:%d\r\ntotal_error_replies:%d\r\nstreamed_replies:%d\r\nstreamed_reply_bytes:%d\r\n"+
		"streamed_replies_broken:%d\r\nstreamed_replies_now:%d\r\ncommit_groups:%d\r\ncommit_transactions:%d\r\n"+
		"client_query_buffer_limit_disconnections:%d\r\nclient_output_buffer_limit_disconnections:%d\r\n"+
		"acl_access_denied_auth:%d\r\nacl_access_denied_cmd:%d\r\nacl_access_denied_key:%d\r\n"+
		"acl_access_denied_channel:%d\r\n",
		s.sessions.Accepted.Load(), st.Commands.Load(), int64(ops), s.sessions.InBytes.Load(), s.sessions.OutBytes.Load(),
		in, out, s.sessions.Rejected.Load(), f.SyncFull, f.SyncPartialOK, f.SyncPartialErr, fields, expired, hits, misses,
		s.hub.Len(0), s.hub.Len(1), s.hub.Len(2), keys, items, prefixes, st.Unexpected.Load(), st.Errors.Load(),
		st.Streams.Load(), st.StreamBytes.Load(), st.BrokenStreams.Load(), st.Streaming.Load(),
		st.Groups.Load(), st.GroupTxns.Load(), s.sessions.QueryLimitKills.Load(), s.sessions.OutKills.Load(),
		s.aclLog.Denied(acl.DeniedAuth), s.aclLog.Denied(acl.DeniedCommand), s.aclLog.Denied(acl.DeniedKey),
		s.aclLog.Denied(acl.DeniedChannel))
}

func (s *Server) infoReplication(b *strings.Builder) { b.Write(s.view().AppendInfo(nil)) }

func (s *Server) infoCPU(b *strings.Builder) {
	var self, kids syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &self)
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &kids)
	line := func(name string, t syscall.Timeval) { fmt.Fprintf(b, "%s:%d.%06d\r\n", name, t.Sec, t.Usec) }
	line("used_cpu_sys", self.Stime)
	line("used_cpu_user", self.Utime)
	line("used_cpu_sys_children", kids.Stime)
	line("used_cpu_user_children", kids.Utime)
}

// eachCommand visits every command and sub-command.
func (s *Server) eachCommand(f func(c *commands.Command)) {
	for _, c := range s.all {
		f(c)
		for _, sub := range c.Sub {
			f(sub)
		}
	}
}

func (s *Server) infoCommands(b *strings.Builder) {
	s.eachCommand(func(c *commands.Command) {
		calls, rejected, failed := c.Stats.Calls.Load(), c.Stats.Rejected.Load(), c.Stats.Failed.Load()
		if calls+rejected == 0 {
			return
		}
		usec := c.Stats.Nanos.Load() / 1000
		fmt.Fprintf(b, "cmdstat_%s:calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d\r\n",
			c.FullName(), calls, usec, float64(usec)/float64(max(1, calls)), rejected, failed)
	})
}

func (s *Server) infoErrors(b *strings.Builder) {
	var lines []string
	s.x.Stats.ErrorKinds.Range(func(k, v any) bool {
		lines = append(lines, fmt.Sprintf("errorstat_%s:count=%d\r\n", k, v.(*atomic.Int64).Load()))
		return true
	})
	sort.Strings(lines)
	b.WriteString(strings.Join(lines, ""))
}

func (s *Server) infoLatency(b *strings.Builder) {
	if !s.cfg.Bool(option.LatencyTracking) {
		return
	}
	percentiles := option.LatencyTrackingInfoPercentiles.Get(s.cfg)
	s.eachCommand(func(c *commands.Command) {
		if c.Stats.Calls.Load() == 0 {
			return
		}
		fmt.Fprintf(b, "latency_percentiles_usec_%s:", c.FullName())
		for i, p := range percentiles {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(b, "p%g=%.3f", p, c.Stats.Hist.Percentile(p))
		}
		b.WriteString("\r\n")
	})
}

func (s *Server) infoKeyspace(b *strings.Builder) {
	st := s.state.Load().data.data.Store
	if st == nil {
		return
	}
	for db := range st.Databases() {
		if keys, expires := st.Counts(db); keys > 0 {
			fmt.Fprintf(b, "db%d:keys=%d,expires=%d,avg_ttl=0,subexpiry=%d\r\n", db, keys, expires, st.TimedHashes(db))
		}
	}
}

func (s *Server) infoEngine(b *strings.Builder) {
	d := s.state.Load().data
	if d.engine == nil {
		return
	}
	m := d.engine.Metrics()
	hits, misses, bytes := d.data.Store.CacheStats()
	fmt.Fprintf(b, "engine_disk_bytes:%d\r\nengine_flushes:%d\r\nengine_compactions:%d\r\nengine_compaction_debt_bytes:%d\r\n"+
		"engine_l0_sublevels:%d\r\nengine_read_amplification:%d\r\nengine_write_stalls:%d\r\nengine_stalled:%d\r\n"+
		"block_cache_hits:%d\r\nblock_cache_misses:%d\r\nhot_cache_hits:%d\r\nhot_cache_misses:%d\r\nhot_cache_bytes:%d\r\n",
		m.DiskBytes, m.Flushes, m.Compactions, m.CompactionDebt, m.L0Sublevels, m.ReadAmp, m.WriteStalls, flag(m.Stalled),
		m.CacheHits, m.CacheMisses, hits, misses, bytes)
}
