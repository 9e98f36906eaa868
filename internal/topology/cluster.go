// Package topology is the model of a cluster: shards, nodes, epochs, slots, and the messages that the
// control plane and the nodes' agents exchange. Values only: no I/O, no clocks, no goroutines. A Cluster
// is immutable once published; changes make a copy with a higher Revision.
package topology

import (
	"errors"
	"fmt"
	"slices"

	"haypile/internal/slot"
)

// Epoch numbers the reigns of a shard: it rises by one with each change of the primary, and a node that
// has promised an epoch obeys none below it.
type Epoch uint64

// NodeID names a data node for its life in the cluster; ShardID a shard.
type (
	NodeID  string
	ShardID string
)

// Node is a data node as the operator registered it.
type Node struct {
	ID NodeID `json:"id"`
	// Addr is host:port for clients and replicas; AgentAddr that of the node's agent.
	Addr      string `json:"addr"`
	AgentAddr string `json:"agent_addr"`
	// Priority orders candidates for promotion, lower first; 0 is never promoted.
	Priority int    `json:"priority"`
	Zone     string `json:"zone,omitempty"`
}

// SlotRange is an inclusive range of slots.
type SlotRange struct {
	First slot.Slot `json:"first"`
	Last  slot.Slot `json:"last"`
}

// Shard is one primary and its replicas.
type Shard struct {
	ID    ShardID `json:"id"`
	Epoch Epoch   `json:"epoch"`
	// Primary is the node that may acknowledge writes in Epoch; empty while there is none.
	Primary NodeID      `json:"primary"`
	Nodes   []Node      `json:"nodes"`
	Slots   []SlotRange `json:"slots"`
}

// Node finds a member by id.
func (s *Shard) Node(id NodeID) (Node, bool) {
	i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.ID == id })
	if i < 0 {
		return Node{}, false
	}
	return s.Nodes[i], true
}

// Cluster is the whole topology. Revision rises with every change, and is the metastore's revision of
// the change where one exists; a follower ignores a cluster that is not newer than the one it has.
type Cluster struct {
	Name     string  `json:"name"`
	Revision uint64  `json:"revision"`
	Shards   []Shard `json:"shards"`
}

// Clone makes a deep copy.
func (c *Cluster) Clone() *Cluster {
	d := *c
	d.Shards = slices.Clone(c.Shards)
	for i := range d.Shards {
		d.Shards[i].Nodes = slices.Clone(c.Shards[i].Nodes)
		d.Shards[i].Slots = slices.Clone(c.Shards[i].Slots)
	}
	return &d
}

// Shard finds a shard by id; the pointer is into c.
func (c *Cluster) Shard(id ShardID) *Shard {
	for i := range c.Shards {
		if c.Shards[i].ID == id {
			return &c.Shards[i]
		}
	}
	return nil
}

// Owner finds the shard that owns a slot, nil if none does.
func (c *Cluster) Owner(s slot.Slot) *Shard {
	for i := range c.Shards {
		for _, r := range c.Shards[i].Slots {
			if r.First <= s && s <= r.Last {
				return &c.Shards[i]
			}
		}
	}
	return nil
}

// Validate checks what every published cluster keeps: unique ids and addresses, each slot owned at most
// once, each primary a member of its shard.
func (c *Cluster) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	shards, nodes, addrs := map[ShardID]bool{}, map[NodeID]bool{}, map[string]NodeID{}
	var owner [slot.Count]ShardID
	for i := range c.Shards {
		s := &c.Shards[i]
		if s.ID == "" || shards[s.ID] {
			bad("shard %q: id empty or used twice", s.ID)
		}
		shards[s.ID] = true
		for _, n := range s.Nodes {
			if n.ID == "" || nodes[n.ID] {
				bad("shard %s: node id %q empty or used twice", s.ID, n.ID)
			}
			nodes[n.ID] = true
			for _, a := range []string{n.Addr, n.AgentAddr} {
				if other, dup := addrs[a]; a == "" || dup {
					bad("node %s: address %q empty or also of node %s", n.ID, a, other)
				}
				addrs[a] = n.ID
			}
			if n.Priority < 0 {
				bad("node %s: negative priority", n.ID)
			}
		}
		if _, ok := s.Node(s.Primary); s.Primary != "" && !ok {
			bad("shard %s: primary %s is no member", s.ID, s.Primary)
		}
		for _, r := range s.Slots {
			if r.First > r.Last || r.Last >= slot.Count {
				bad("shard %s: bad slot range %d-%d", s.ID, r.First, r.Last)
				continue
			}
			for k := r.First; k <= r.Last; k++ {
				if owner[k] != "" {
					bad("slot %d: owned by %s and %s", k, owner[k], s.ID)
					break
				}
				owner[k] = s.ID
			}
		}
	}
	return errors.Join(errs...)
}
