package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"haypile/internal/agent"
	"haypile/internal/event"
	"haypile/internal/metastore"
	"haypile/internal/slot"
	"haypile/internal/topology"
)

// NodeStatus is a node as the topology has it and as it is seen.
type NodeStatus struct {
	topology.Node
	Shard  topology.ShardID     `json:"shard"`
	Conn   ConnState            `json:"conn"`
	AgeMs  int64                `json:"age_ms"` // of the report, -1 without one
	Error  string               `json:"error,omitempty"`
	Report *topology.NodeReport `json:"report,omitempty"`
}

// Status is everything a dashboard knows.
type Status struct {
	Cluster    topology.Cluster `json:"cluster"`
	Dashboard  string           `json:"dashboard"`
	Leader     string           `json:"leader"`
	Dashboards []string         `json:"dashboards"`
	Nodes      []NodeStatus     `json:"nodes"`
	Problems   []Problem        `json:"problems"`
	Plans      []Plan           `json:"plans"`
}

// Cluster is the newest topology, false before the first.
func (c *Coordinator) Cluster() (*topology.Cluster, bool) {
	st := c.state.Load()
	if st == nil {
		return nil, false
	}
	return &st.Cluster, true
}

// NextCluster waits for a topology with a version above seen (0: any) and returns it with its version;
// versions number the changes in this process. False when ctx or the coordinator ends.
func (c *Coordinator) NextCluster(ctx context.Context, seen uint64) (*topology.Cluster, uint64, bool) {
	return c.topology.get(ctx, seen)
}

// NextEvents waits for events with numbers above seen and returns those that are still kept; none when ctx
// or the coordinator ends.
func (c *Coordinator) NextEvents(ctx context.Context, seen uint64) []event.Event {
	return c.events.after(ctx, seen)
}

// EventCounts is how often each event has happened in this process.
func (c *Coordinator) EventCounts() map[event.Name]int {
	c.events.mu.Lock()
	defer c.events.mu.Unlock()
	return maps.Clone(c.events.mu.counts)
}

// Leads says whether this dashboard decides, and who does.
func (c *Coordinator) Leads() (leader string, self bool) {
	if st := c.state.Load(); st != nil {
		return st.Leader, c.acting.Load()
	}
	return "", false
}

// Status is a snapshot.
func (c *Coordinator) Status() Status {
	s := Status{Dashboard: c.opt.ID, Nodes: []NodeStatus{}, Problems: []Problem{}, Plans: []Plan{}}
	st := c.state.Load()
	if st == nil {
		return s
	}
	s.Cluster, s.Leader, s.Dashboards = st.Cluster, st.Leader, st.Dashboards
	v, _ := c.fleet.view()
	for i := range st.Cluster.Shards {
		for _, n := range st.Cluster.Shards[i].Nodes {
			seen := v.Node(n.ID)
			ns := NodeStatus{Node: n, Shard: st.Cluster.Shards[i].ID, Conn: seen.Conn, AgeMs: -1,
				Error: seen.Error, Report: seen.Report}
			if !seen.Heard.IsZero() {
				ns.AgeMs = time.Since(seen.Heard).Milliseconds()
			}
			s.Nodes = append(s.Nodes, ns)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Problems = append(s.Problems, c.mu.problems...)
	for _, p := range c.mu.plans {
		s.Plans = append(s.Plans, p)
	}
	return s
}

// AddShard adds a shard without nodes.
func (c *Coordinator) AddShard(ctx context.Context, id topology.ShardID, slots []topology.SlotRange) error {
	if !validID(string(id)) {
		return fmt.Errorf("%w: shard id %q", ErrInvalid, id)
	}
	rec := Record{Shard: topology.Shard{ID: id, Nodes: []topology.Node{}, Slots: slots}}
	err := c.edit(ctx, id, func(old *Record, exists bool) error {
		if exists {
			return fmt.Errorf("%w: shard %s exists", ErrInvalid, id)
		}
		*old = rec
		return nil
	})
	if err == nil {
		c.events.emit(event.Event{Name: event.ShardAdded, Shard: string(id)})
	}
	return err
}

// AddNode adds a node to a shard. Its agent must answer. A node that holds keys is refused where the shard
// has a primary already, because a full copy would replace them, unless discard says that this is wanted. An
// empty ID, agent address or priority is filled in.
func (c *Coordinator) AddNode(ctx context.Context, shard topology.ShardID, n topology.Node, discard bool) (
	topology.Node, error) {
	n, err := completeNode(n)
	if err != nil {
		return n, err
	}
	report, err := c.ask(ctx, n.AgentAddr)
	if err != nil {
		return n, fmt.Errorf("%w: agent of %s: %w", ErrInvalid, n.Addr, err)
	}
	err = c.edit(ctx, shard, func(rec *Record, exists bool) error {
		if !exists {
			return fmt.Errorf("shard %s: %w", shard, ErrNotFound)
		}
		if report.Keys > 0 && len(rec.Shard.Nodes) > 0 && !discard && !sameHistory(rec, report) {
			return fmt.Errorf("%w: %s holds %d keys that joining would discard", ErrInvalid, n.Addr, report.Keys)
		}
		if n.ID == "" {
			n.ID = freeID(rec)
		}
		rec.Shard.Nodes = append(rec.Shard.Nodes, n)
		return nil
	})
	if err == nil {
		c.events.emit(event.Event{Name: event.NodeAdded, Shard: string(shard), Node: string(n.ID), Text: n.Addr})
	}
	return n, err
}

// sameHistory: the node was in this shard before (it was removed, or the metastore is older than it).
func sameHistory(rec *Record, r *topology.NodeReport) bool {
	return r.Managed && r.LogEpoch > 0 && r.LogEpoch <= rec.Shard.Epoch && r.Role == topology.RoleReplica
}

func completeNode(n topology.Node) (topology.Node, error) {
	host, port, err := net.SplitHostPort(n.Addr)
	p, perr := strconv.Atoi(port)
	if err != nil || perr != nil || host == "" || p <= 0 || p > 65535 {
		return n, fmt.Errorf("%w: address %q is not host:port", ErrInvalid, n.Addr)
	}
	if n.AgentAddr == "" {
		// As Redis Cluster does with its bus.
		n.AgentAddr = net.JoinHostPort(host, strconv.Itoa(p+10000))
	}
	if _, _, err := net.SplitHostPort(n.AgentAddr); err != nil {
		return n, fmt.Errorf("%w: agent address %q is not host:port", ErrInvalid, n.AgentAddr)
	}
	if n.ID != "" && !validID(string(n.ID)) {
		return n, fmt.Errorf("%w: node id %q", ErrInvalid, n.ID)
	}
	return n, nil
}

// validID keeps ids printable in URLs, keys and logs.
func validID(id string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return id != "" && len(id) <= 64 && strings.Trim(id, letters) == ""
}

func freeID(rec *Record) topology.NodeID {
	for i := len(rec.Shard.Nodes) + 1; ; i++ {
		id := topology.NodeID(fmt.Sprintf("%s-%d", rec.Shard.ID, i))
		if _, taken := rec.Shard.Node(id); !taken {
			return id
		}
	}
}

// ask reads a node's report over a connection of its own.
func (c *Coordinator) ask(ctx context.Context, addr string) (*topology.NodeReport, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	hello := c.fleet.hello
	hello.Kind = topology.PeerNode // it only asks; grants come over the observing connection
	cl, err := agent.Connect(ctx, addr, agent.ClientOptions{Hello: hello, Dial: c.opt.Dial})
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ans, err := cl.Call(ctx, topology.Request{Op: topology.OpStatus})
	if err != nil {
		return nil, err
	}
	if ans.Report == nil {
		return nil, errors.New("no report in the answer")
	}
	return ans.Report, nil
}

// RemoveNode takes a node out of its shard; the primary only if it is the last one.
func (c *Coordinator) RemoveNode(ctx context.Context, shard topology.ShardID, id topology.NodeID) error {
	err := c.edit(ctx, shard, func(rec *Record, exists bool) error {
		if _, ok := rec.Shard.Node(id); !exists || !ok {
			return fmt.Errorf("node %s in shard %s: %w", id, shard, ErrNotFound)
		}
		if rec.Shard.Primary == id {
			if len(rec.Shard.Nodes) > 1 {
				return fmt.Errorf("%w: %s is the primary; switch over first", ErrInvalid, id)
			}
			rec.Shard.Primary = ""
		}
		rec.Shard.Nodes = slices.DeleteFunc(rec.Shard.Nodes, func(n topology.Node) bool { return n.ID == id })
		return nil
	})
	if err == nil {
		c.events.emit(event.Event{Name: event.NodeRemoved, Shard: string(shard), Node: string(id)})
	}
	return err
}

// SetPriority changes a node's priority for promotion; 0: never.
func (c *Coordinator) SetPriority(ctx context.Context, shard topology.ShardID, id topology.NodeID,
	p int) error {
	err := c.edit(ctx, shard, func(rec *Record, exists bool) error {
		i := slices.IndexFunc(rec.Shard.Nodes, func(n topology.Node) bool { return n.ID == id })
		if !exists || i < 0 {
			return fmt.Errorf("node %s in shard %s: %w", id, shard, ErrNotFound)
		}
		rec.Shard.Nodes[i].Priority = p
		return nil
	})
	if err == nil {
		c.events.emit(event.Event{Name: event.NodePriority, Shard: string(shard), Node: string(id),
			Text: strconv.Itoa(p)})
	}
	return err
}

// Failover replaces the primary without asking it, as if it were dead; it returns when that is done.
func (c *Coordinator) Failover(ctx context.Context, shard topology.ShardID) error {
	return c.askFor(ctx, shard, func(rec Record, v *View) (Plan, error) {
		p, ok := failoverPlan(rec, v, byOperator, false, len(rec.Shard.Nodes) > 1)
		if !ok {
			return p, fmt.Errorf("%w: shard %s has no other node that can be promoted", ErrInvalid, shard)
		}
		return p, nil
	})
}

// Switchover hands over to a replica (empty: the preferred one) without losing a write; it returns when that
// is done, or with the reason why nothing has changed.
func (c *Coordinator) Switchover(ctx context.Context, shard topology.ShardID, to topology.NodeID) error {
	return c.askFor(ctx, shard, func(rec Record, v *View) (Plan, error) {
		if to != "" && to == rec.Shard.Primary {
			return Plan{}, fmt.Errorf("%w: %s is the primary", ErrInvalid, to)
		}
		p, err := SwitchoverPlan(rec, v, to, c.cfg)
		if err != nil {
			return p, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		return p, nil
	})
}

func (c *Coordinator) askFor(ctx context.Context, id topology.ShardID,
	f func(Record, *View) (Plan, error)) error {
	done := make(chan error, 1)
	select {
	case c.asks <- ask{id, f, ctx, done}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("shard %s: %w", id, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// edit changes a shard's record by compare and swap; the whole topology must stay valid. Any dashboard may.
func (c *Coordinator) edit(ctx context.Context, id topology.ShardID,
	f func(rec *Record, exists bool) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*storeTimeout)
	defer cancel()
	for {
		ps, rev, err := c.opt.Store.List(ctx, c.keys.root)
		if err != nil {
			return err
		}
		st, err := c.keys.parse(c.opt.Cluster, ps, rev)
		if err != nil {
			return err
		}
		key := c.keys.shard(id)
		guards := []metastore.Guard{metastore.Absent(key)}
		if i := slices.IndexFunc(ps, func(p metastore.Pair) bool { return p.Key == key }); i >= 0 {
			guards[0] = metastore.Unchanged(ps[i])
		}
		rec, exists := st.Records[id]
		rec = rec.clone()
		if err := f(&rec, exists); err != nil {
			return err
		}
		next := st.Cluster.Clone()
		if s := next.Shard(id); s != nil {
			*s = rec.Shard
		} else {
			next.Shards = append(next.Shards, rec.Shard)
		}
		if err := next.Validate(); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		b, err := json.Marshal(rec)
		if err != nil {
			return err
		}
		rev, err = c.opt.Store.Txn(ctx, guards, metastore.Put(key, b))
		if err == nil {
			c.awaitRev(ctx, rev)
			return nil
		}
		if !errors.Is(err, metastore.ErrGuard) {
			return err
		}
	}
}

// awaitRev waits until this dashboard knows the metastore as of a revision, so that whoever has been told of a
// change finds it here. It gives up with ctx: the change stands.
func (c *Coordinator) awaitRev(ctx context.Context, rev int64) {
	for seen, ok := uint64(0), true; ok; {
		if st := c.state.Load(); st != nil && st.Rev >= rev {
			return
		}
		_, seen, ok = c.topology.get(ctx, seen)
	}
}

// ParseSlots reads ranges as people write them: "0-5460,10000".
func ParseSlots(s string) ([]topology.SlotRange, error) {
	var out []topology.SlotRange
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		a, b, ok := strings.Cut(part, "-")
		if !ok {
			b = a
		}
		first, err1 := strconv.ParseUint(a, 10, 16)
		last, err2 := strconv.ParseUint(b, 10, 16)
		if err1 != nil || err2 != nil || first > last || last >= slot.Count {
			return nil, fmt.Errorf("%w: slot range %q", ErrInvalid, part)
		}
		out = append(out, topology.SlotRange{First: slot.Slot(first), Last: slot.Slot(last)})
	}
	return out, nil
}
