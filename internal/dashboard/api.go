package dashboard

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"haypile/internal/coordinator"
	"haypile/internal/topology"
)

const (
	maxBody = 64 << 10
	// planTimeout bounds how long a request waits for a failover or switchover; the plan goes on behind it.
	planTimeout = 30 * time.Second
)

// ShardRequest is the body of POST /api/v1/shards.
type ShardRequest struct {
	ID    topology.ShardID `json:"id"`
	Slots string           `json:"slots"` // "0-5460,10000"; empty: all
}

// NodeRequest is the body of POST /api/v1/shards/{shard}/nodes. Only Addr is needed.
type NodeRequest struct {
	ID        topology.NodeID `json:"id,omitempty"`
	Addr      string          `json:"addr"`
	AgentAddr string          `json:"agent_addr,omitempty"` // default: the port of Addr + 10000
	Priority  *int            `json:"priority,omitempty"`   // default 100
	Zone      string          `json:"zone,omitempty"`
	// Discard allows a node that holds keys of its own to join and lose them.
	Discard bool `json:"discard,omitempty"`
}

// PriorityRequest is the body of PUT .../priority.
type PriorityRequest struct {
	Priority int `json:"priority"`
}

// SwitchoverRequest is the body of POST /api/v1/shards/{shard}/switchover.
type SwitchoverRequest struct {
	To topology.NodeID `json:"to,omitempty"` // empty: the preferred replica
}

// defaultPriority is Redis' replica-priority.
const defaultPriority = 100

// api serves the HTTP API.
type api struct {
	co    *coordinator.Coordinator
	token string
	log   *slog.Logger
}

// NewHandler is the HTTP API over a coordinator.
func NewHandler(co *coordinator.Coordinator, token string, log *slog.Logger) http.Handler {
	a := &api{co, token, log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/cluster", a.cluster)
	mux.HandleFunc("GET /api/v1/cluster/watch", a.watchCluster)
	mux.HandleFunc("GET /api/v1/status", a.status)
	mux.HandleFunc("GET /api/v1/events", a.watchEvents)
	mux.HandleFunc("GET /healthz", a.health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(newRegistry(co), promhttp.HandlerOpts{}))

	mux.HandleFunc("POST /api/v1/shards", mutate(a, a.addShard))
	mux.HandleFunc("POST /api/v1/shards/{shard}/nodes", mutate(a, a.addNode))
	mux.HandleFunc("DELETE /api/v1/shards/{shard}/nodes/{node}", mutate(a, a.removeNode))
	mux.HandleFunc("PUT /api/v1/shards/{shard}/nodes/{node}/priority", mutate(a, a.setPriority))
	mux.HandleFunc("POST /api/v1/shards/{shard}/failover", mutate(a, a.failover))
	mux.HandleFunc("POST /api/v1/shards/{shard}/switchover", mutate(a, a.switchover))
	// A page from elsewhere, open in a browser on this machine, must not steer the cluster.
	return http.NewCrossOriginProtection().Handler(mux)
}

// mutate wraps a change: who may, what was asked, what came of it. The body is decoded into a T; an empty
// one is the zero T.
func mutate[T any](a *api, f func(context.Context, *http.Request, T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body T
		err := a.authorize(r)
		if err == nil {
			err = decodeBody(w, r, &body)
		}
		var out any
		if err == nil {
			ctx, cancel := context.WithTimeout(r.Context(), planTimeout)
			out, err = f(ctx, r, body)
			cancel()
		}
		asked, _ := json.Marshal(body)
		a.log.Info("audit", "remote", r.RemoteAddr, "method", r.Method, "path", r.URL.Path, "body", string(asked),
			"err", err)
		if err != nil {
			a.fail(w, err)
			return
		}
		if out == nil {
			out = struct{}{}
		}
		reply(w, http.StatusOK, out)
	}
}

var errUnauthorized = errors.New("a bearer token is needed")

// authorize lets a request change things: by token, or without a configured one by coming from this machine.
func (a *api) authorize(r *http.Request) error {
	if a.token == "" {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip, perr := netip.ParseAddr(host); err == nil && perr == nil && ip.Unmap().IsLoopback() {
			return nil
		}
		return fmt.Errorf("%w: this dashboard has none configured and takes changes from its own machine only",
			errUnauthorized)
	}
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	want, have := sha256.Sum256([]byte(a.token)), sha256.Sum256([]byte(got))
	if !ok || subtle.ConstantTimeCompare(want[:], have[:]) != 1 {
		return errUnauthorized
	}
	return nil
}

func decodeBody(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: body: %w", coordinator.ErrInvalid, err)
	}
	return nil
}

func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(v)
}

// ErrorReply is the body of every answer that is not 2xx.
type ErrorReply struct {
	Error  string `json:"error"`
	Leader string `json:"leader,omitempty"` // where this dashboard doesn't lead
}

func (a *api) fail(w http.ResponseWriter, err error) {
	code, body := http.StatusInternalServerError, ErrorReply{Error: err.Error()}
	switch {
	case errors.Is(err, errUnauthorized):
		code = http.StatusUnauthorized
	case errors.Is(err, coordinator.ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, coordinator.ErrInvalid):
		code = http.StatusBadRequest
	case errors.Is(err, coordinator.ErrBusy), errors.Is(err, coordinator.ErrGivenUp):
		code = http.StatusConflict
	case errors.Is(err, coordinator.ErrNotLeader):
		code = http.StatusServiceUnavailable
		body.Leader, _ = a.co.Leads()
	case errors.Is(err, context.DeadlineExceeded):
		code = http.StatusGatewayTimeout
	}
	reply(w, code, body)
}

func (a *api) health(w http.ResponseWriter, _ *http.Request) {
	leader, self := a.co.Leads()
	code := http.StatusOK
	if leader == "" {
		code = http.StatusServiceUnavailable
	}
	reply(w, code, map[string]any{"leader": leader, "leads": self})
}

func (a *api) status(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, a.co.Status())
}

func (a *api) cluster(w http.ResponseWriter, _ *http.Request) {
	c, ok := a.co.Cluster()
	if !ok {
		reply(w, http.StatusServiceUnavailable, ErrorReply{Error: "the metastore has not been read yet"})
		return
	}
	reply(w, http.StatusOK, c)
}

func (a *api) addShard(ctx context.Context, _ *http.Request, b ShardRequest) (any, error) {
	if b.Slots == "" {
		b.Slots = "0-16383"
	}
	slots, err := coordinator.ParseSlots(b.Slots)
	if err != nil {
		return nil, err
	}
	return nil, a.co.AddShard(ctx, b.ID, slots)
}

func (a *api) addNode(ctx context.Context, r *http.Request, b NodeRequest) (any, error) {
	n := topology.Node{ID: b.ID, Addr: b.Addr, AgentAddr: b.AgentAddr, Priority: defaultPriority, Zone: b.Zone}
	if b.Priority != nil {
		n.Priority = *b.Priority
	}
	return a.co.AddNode(ctx, shardOf(r), n, b.Discard)
}

func (a *api) removeNode(ctx context.Context, r *http.Request, _ struct{}) (any, error) {
	return nil, a.co.RemoveNode(ctx, shardOf(r), nodeOf(r))
}

func (a *api) setPriority(ctx context.Context, r *http.Request, b PriorityRequest) (any, error) {
	return nil, a.co.SetPriority(ctx, shardOf(r), nodeOf(r), b.Priority)
}

func (a *api) failover(ctx context.Context, r *http.Request, _ struct{}) (any, error) {
	return nil, a.co.Failover(ctx, shardOf(r))
}

func (a *api) switchover(ctx context.Context, r *http.Request, b SwitchoverRequest) (any, error) {
	return nil, a.co.Switchover(ctx, shardOf(r), b.To)
}

func shardOf(r *http.Request) topology.ShardID { return topology.ShardID(r.PathValue("shard")) }
func nodeOf(r *http.Request) topology.NodeID   { return topology.NodeID(r.PathValue("node")) }

// watchCluster streams the topology: the present one at once, then each newer one.
func (a *api) watchCluster(w http.ResponseWriter, r *http.Request) {
	var seen uint64
	stream(w, r, "topology", func(ctx context.Context) ([]streamed, bool) {
		c, version, ok := a.co.NextCluster(ctx, seen)
		if !ok {
			return nil, false
		}
		seen = version
		return []streamed{{id: c.Revision, data: c}}, true
	})
}

// watchEvents streams events: those that are still kept, or those after Last-Event-ID, then new ones.
func (a *api) watchEvents(w http.ResponseWriter, r *http.Request) {
	var seen uint64
	fmt.Sscan(r.Header.Get("Last-Event-ID"), &seen)
	stream(w, r, "event", func(ctx context.Context) ([]streamed, bool) {
		es := a.co.NextEvents(ctx, seen)
		out := make([]streamed, 0, len(es))
		for _, e := range es {
			seen = e.Seq
			out = append(out, streamed{id: e.Seq, data: e})
		}
		return out, len(es) > 0
	})
}
