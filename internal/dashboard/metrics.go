package dashboard

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"haypile/internal/coordinator"
	"haypile/internal/event"
	"haypile/internal/topology"
)

// collector computes the metrics of a cluster from a status when they are asked for.
type collector struct{ co *coordinator.Coordinator }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("haypile_"+name, help, labels, nil)
}

var (
	leaderDesc   = desc("dashboard_leader", "1 if this dashboard decides.")
	epochDesc    = desc("shard_epoch", "Epoch of the shard.", "shard")
	primaryDesc  = desc("shard_primary", "1 for the node that is the shard's primary.", "shard", "node")
	upDesc       = desc("node_up", "1 if the node's agent is connected.", "shard", "node")
	ageDesc      = desc("node_report_age_seconds", "Age of the node's last report.", "shard", "node")
	offsetDesc   = desc("node_log_end_bytes", "End of the node's log.", "shard", "node")
	lagDesc      = desc("node_lag_bytes", "Bytes of the log that the node lacks.", "shard", "node")
	leaseDesc    = desc("node_lease_seconds", "What remains of the primary's lease.", "shard", "node")
	keysDesc     = desc("node_keys", "Keys of the node.", "shard", "node")
	problemsDesc = desc("problems", "Present problems by code.", "shard", "code")
	eventsDesc   = desc("events_total", "Events of this dashboard's run by name.", "name")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{leaderDesc, epochDesc, primaryDesc, upDesc, ageDesc, offsetDesc,
		lagDesc, leaseDesc, keysDesc, problemsDesc, eventsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	st := c.co.Status()
	gauge(leaderDesc, flag(st.Leader != "" && st.Leader == st.Dashboard))
	end := map[topology.ShardID]int64{} // of the primary's log
	for _, s := range st.Cluster.Shards {
		gauge(epochDesc, float64(s.Epoch), string(s.ID))
		for _, n := range st.Nodes {
			if n.ID == s.Primary && n.Report != nil {
				end[s.ID] = n.Report.End
			}
		}
	}
	for _, n := range st.Nodes {
		l := []string{string(n.Shard), string(n.ID)}
		gauge(primaryDesc, flag(st.Cluster.Shard(n.Shard).Primary == n.ID), l...)
		gauge(upDesc, flag(n.Conn == coordinator.ConnUp), l...)
		if n.Report == nil {
			continue
		}
		gauge(ageDesc, float64(n.AgeMs)/1000, l...)
		gauge(offsetDesc, float64(n.Report.End), l...)
		gauge(keysDesc, float64(n.Report.Keys), l...)
		if e, ok := end[n.Shard]; ok {
			gauge(lagDesc, float64(max(0, e-n.Report.End)), l...)
		}
		if n.Report.LeaseMs >= 0 {
			gauge(leaseDesc, float64(n.Report.LeaseMs)/1000, l...)
		}
	}
	type key struct {
		shard topology.ShardID
		code  coordinator.Code
	}
	count := map[key]int{}
	for _, p := range st.Problems {
		count[key{p.Shard, p.Code}]++
	}
	for k, n := range count {
		gauge(problemsDesc, float64(n), string(k.shard), string(k.code))
	}
	counts := c.co.EventCounts()
	for _, name := range event.Names() {
		ch <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(counts[name]),
			string(name))
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func newRegistry(co *coordinator.Coordinator) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{co}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
