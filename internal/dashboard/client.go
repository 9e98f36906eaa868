package dashboard

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"haypile/internal/coordinator"
	"haypile/internal/event"
	"haypile/internal/topology"
)

// Client speaks to a dashboard's API.
type Client struct {
	URL   string // http://host:port
	Token string
	HTTP  *http.Client // http.DefaultClient if nil
}

// do sends a request; body and out may be nil.
func (c *Client) do(ctx context.Context, method, path string, body, out any) error {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		io.Copy(io.Discard, resp.Body)
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// send returns the response of a request that succeeded; the caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	base := strings.TrimRight(c.URL, "/")
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, r)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	resp, err := h.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	var e ErrorReply
	if json.Unmarshal(b, &e) != nil || e.Error == "" {
		e.Error = strings.TrimSpace(string(b))
	}
	if e.Leader != "" {
		e.Error += "; the leader is " + e.Leader
	}
	return nil, &StatusError{resp.StatusCode, e.Error}
}

// StatusError is an answer that is not 2xx.
type StatusError struct {
	Code int
	Text string
}

func (e *StatusError) Error() string { return e.Text }

func shardPath(s topology.ShardID, rest string) string {
	return "/api/v1/shards/" + url.PathEscape(string(s)) + rest
}

func nodePath(s topology.ShardID, n topology.NodeID, rest string) string {
	return shardPath(s, "/nodes/"+url.PathEscape(string(n))+rest)
}

// Status reads everything the dashboard knows.
func (c *Client) Status(ctx context.Context) (s coordinator.Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/api/v1/status", nil, &s)
}

// Cluster reads the topology.
func (c *Client) Cluster(ctx context.Context) (t topology.Cluster, err error) {
	return t, c.do(ctx, http.MethodGet, "/api/v1/cluster", nil, &t)
}

// AddShard adds a shard; slots as in "0-16383", empty for all.
func (c *Client) AddShard(ctx context.Context, id topology.ShardID, slots string) error {
	return c.do(ctx, http.MethodPost, "/api/v1/shards", ShardRequest{id, slots}, nil)
}

// AddNode adds a node to a shard and returns it completed.
func (c *Client) AddNode(ctx context.Context, s topology.ShardID, n NodeRequest) (
	out topology.Node, err error) {
	return out, c.do(ctx, http.MethodPost, shardPath(s, "/nodes"), n, &out)
}

// RemoveNode takes a node out of its shard.
func (c *Client) RemoveNode(ctx context.Context, s topology.ShardID, n topology.NodeID) error {
	return c.do(ctx, http.MethodDelete, nodePath(s, n, ""), nil, nil)
}

// SetPriority changes a node's priority.
func (c *Client) SetPriority(ctx context.Context, s topology.ShardID, n topology.NodeID, p int) error {
	return c.do(ctx, http.MethodPut, nodePath(s, n, "/priority"), PriorityRequest{p}, nil)
}

// Failover replaces a shard's primary and returns when that is done.
func (c *Client) Failover(ctx context.Context, s topology.ShardID) error {
	return c.do(ctx, http.MethodPost, shardPath(s, "/failover"), struct{}{}, nil)
}

// Switchover hands a shard over and returns when that is done.
func (c *Client) Switchover(ctx context.Context, s topology.ShardID, to topology.NodeID) error {
	return c.do(ctx, http.MethodPost, shardPath(s, "/switchover"), SwitchoverRequest{to}, nil)
}

// WatchCluster calls f with the present topology and each newer one until f returns false, ctx ends or the
// stream breaks.
func (c *Client) WatchCluster(ctx context.Context, f func(topology.Cluster) bool) error {
	return watch(ctx, c, "/api/v1/cluster/watch", f)
}

// Events calls f with the kept and all coming events until f returns false, ctx ends or the stream breaks.
func (c *Client) Events(ctx context.Context, f func(event.Event) bool) error {
	return watch(ctx, c, "/api/v1/events", f)
}

// watch reads a stream of server-sent events whose data are T. A stream without even a keep-alive is broken.
func watch[T any](ctx context.Context, c *Client, path string, f func(T) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(3*keepAlive, cancel)
	defer silent.Stop()
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		silent.Reset(3 * keepAlive)
		data, ok := bytes.CutPrefix(sc.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if !f(v) {
			return nil
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return fmt.Errorf("%s: %w", path, io.ErrUnexpectedEOF)
}
