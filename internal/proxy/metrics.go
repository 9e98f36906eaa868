package proxy

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the proxy's own. What is counted for every request is a plain atomic, read when asked for.
type metrics struct {
	registry *prometheus.Registry

	errorReplies, bytesIn, bytesOut atomic.Int64

	clientsTotal, rejected, authFailures, protocolErrors      prometheus.Counter
	retries, unknownOutcomes, holdTimeout, holdOverload       prometheus.Counter
	dialOK, dialFailed, backendHung, topologies, slowConsumer prometheus.Counter
	backendConns                                              prometheus.Gauge
}

const namespace = "haypile_proxy"

func newMetrics(p *Proxy) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels prometheus.Labels) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: name, Help: help, ConstLabels: labels})
		m.registry.MustRegister(c)
		return c
	}
	value := func(kind prometheus.ValueType, name, help string, fn func() float64) {
		opts := prometheus.Opts{Namespace: namespace, Name: name, Help: help}
		if kind == prometheus.CounterValue {
			m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts(opts), fn))
		} else {
			m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts), fn))
		}
	}
	m.clientsTotal = counter("connections_total", "Client connections accepted.", nil)
	m.rejected = counter("rejected_connections_total", "Client connections over the limit.", nil)
	m.authFailures = counter("auth_failures_total", "Wrong passwords of clients.", nil)
	m.protocolErrors = counter("protocol_errors_total", "Clients that broke the protocol.", nil)
	m.slowConsumer = counter("output_limit_total", "Clients closed for replies that they did not take.", nil)
	m.retries = counter("repeated_requests_total", "Requests sent again after a refusal or a lost read.", nil)
	m.unknownOutcomes = counter("unknown_outcomes_total", "Writes in flight on a lost connection.", nil)
	const holds, dials = "Held requests that failed.", "Attempts to connect to nodes."
	m.holdTimeout = counter("hold_failures_total", holds, prometheus.Labels{"why": "timeout"})
	m.holdOverload = counter("hold_failures_total", holds, prometheus.Labels{"why": "overload"})
	m.dialOK = counter("backend_dials_total", dials, prometheus.Labels{"result": "ok"})
	m.dialFailed = counter("backend_dials_total", dials, prometheus.Labels{"result": "error"})
	m.backendHung = counter("backend_timeouts_total", "Connections closed because no reply came.", nil)
	m.topologies = counter("topology_changes_total", "Topologies taken over.", nil)
	m.backendConns = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "backend_connections", Help: "Connections to nodes."})
	m.registry.MustRegister(m.backendConns)

	load := func(v *atomic.Int64) func() float64 { return func() float64 { return float64(v.Load()) } }
	value(prometheus.CounterValue, "error_replies_total", "Error replies to clients.", load(&m.errorReplies))
	value(prometheus.CounterValue, "received_bytes_total", "Bytes from clients.", load(&m.bytesIn))
	value(prometheus.CounterValue, "sent_bytes_total", "Bytes to clients.", load(&m.bytesOut))
	value(prometheus.GaugeValue, "held_requests", "Requests that wait.", load(&p.held.count))
	value(prometheus.GaugeValue, "held_bytes", "Bytes of requests that wait.", load(&p.held.bytes))
	value(prometheus.GaugeValue, "subscription_links", "Connections to nodes for subscriptions.", load(&p.links))
	value(prometheus.GaugeValue, "clients", "Connected clients.", func() float64 {
		return float64(len(p.sessions()))
	})
	value(prometheus.GaugeValue, "topology_revision", "Revision of the topology in use.", func() float64 {
		if rt := p.routes.Load(); rt != nil {
			return float64(rt.revision)
		}
		return 0
	})
	m.registry.MustRegister(&collector{p: p})
	return m
}

func (m *metrics) dialed(err error) {
	if err == nil {
		m.dialOK.Inc()
	} else {
		m.dialFailed.Inc()
	}
}

// collector yields the metrics with labels that are not known beforehand.
type collector struct{ p *Proxy }

var (
	commandsDesc = prometheus.NewDesc(namespace+"_commands_total",
		"Commands of clients.", []string{"command"}, nil)
	primaryDesc = prometheus.NewDesc(namespace+"_shard_primary",
		"1 if the shard has a primary that accepts commands.", []string{"shard"}, nil)
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- commandsDesc
	ch <- primaryDesc
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for spec, t := range c.p.traits {
		if v := t.calls.Load(); v > 0 {
			ch <- prometheus.MustNewConstMetric(commandsDesc, prometheus.CounterValue, float64(v), spec.FullName())
		}
	}
	rt := c.p.routes.Load()
	if rt == nil {
		return
	}
	for _, s := range rt.shards {
		up := 0.0
		if _, ok := s.primary(); ok {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(primaryDesc, prometheus.GaugeValue, up, string(s.id))
	}
}

// budget bounds what waits in the whole proxy.
type budget struct {
	count, bytes       atomic.Int64
	maxCount, maxBytes int64
}

// take claims room for a request, force does without asking.
func (b *budget) take(bytes int) bool {
	b.force(bytes)
	if b.count.Load() > b.maxCount || b.bytes.Load() > b.maxBytes {
		b.give(bytes)
		return false
	}
	return true
}

func (b *budget) force(bytes int) {
	b.count.Add(1)
	b.bytes.Add(int64(bytes))
}

func (b *budget) give(bytes int) {
	b.count.Add(-1)
	b.bytes.Add(-int64(bytes))
}
