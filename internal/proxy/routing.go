package proxy

import (
	"errors"
	"slices"
	"sync/atomic"

	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/slot"
	"haypile/internal/topology"
)

// routes is what the router knows of a topology. Immutable.
type routes struct {
	revision uint64
	shards   []*shard          // by id
	owner    [slot.Count]int16 // index into shards; none if nobody owns the slot
	nodes    []string          // the addresses of all nodes
}

const (
	none = -1 // no shard
	any_ = -2 // whichever shard
)

var (
	errCrossSlot = errors.New("CROSSSLOT Keys in request don't hash to the same slot")
	errUnowned   = errors.New("CLUSTERDOWN Hash slot not served")
)

// newRoutes makes the routing of a cluster, taking the shards' lasting states from the caller.
func newRoutes(c *topology.Cluster, shardOf func(topology.ShardID) *shard) *routes {
	rt := &routes{revision: c.Revision}
	for i := range rt.owner {
		rt.owner[i] = none
	}
	sorted := slices.Clone(c.Shards)
	slices.SortFunc(sorted, func(a, b topology.Shard) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
	for i := range sorted {
		rt.shards = append(rt.shards, shardOf(sorted[i].ID))
		for _, n := range sorted[i].Nodes {
			rt.nodes = append(rt.nodes, n.Addr)
		}
		for _, r := range sorted[i].Slots {
			for s := int(r.First); s <= int(r.Last); s++ {
				rt.owner[s] = int16(i)
			}
		}
	}
	return rt
}

// locate finds the one shard that has all keys of a call; any_ if there are none or they cannot be told,
// in which case the node says what is wrong with the arguments. keys is scratch space, returned for reuse.
func (rt *routes) locate(spec *command.Spec, args [][]byte,
	keys []command.KeyRef) (int, []command.KeyRef, error) {
	if len(rt.shards) > 1 && spec.GoesBeyond(args) {
		return none, keys[:0], errors.New(resp.SortInCluster(spec.Beyond(args)))
	}
	keys, err := spec.AppendKeys(keys[:0], args)
	if err != nil || len(keys) == 0 {
		return any_, keys, nil
	}
	at := none
	for _, k := range keys {
		owner := int(rt.owner[slot.Of(args[k.Pos])])
		switch {
		case owner == none:
			return none, keys, errUnowned
		case at == none:
			at = owner
		case at != owner:
			return none, keys, errCrossSlot
		}
	}
	return at, keys, nil
}

// traits is what the proxy derives from a description, and counts for it.
type traits struct {
	repeatable, dedicated bool
	// unsafe says that the command changes the state of the connection it arrives on, and that the table
	// would forward it on a shared one all the same.
	unsafe bool
	// local says that the proxy answers the command itself. Beside those of RouteLocal these are all of CLIENT,
	// and COMMAND, which clients ask for when they connect, whether there is a primary or not.
	local bool
	calls atomic.Int64
}

func newTraits(t *command.Table) map[*command.Spec]*traits {
	all := map[*command.Spec]*traits{}
	add := func(s *command.Spec) {
		top := topName(s)
		local := s.Route == command.RouteLocal || top == "COMMAND" || top == "CLIENT"
		all[s] = &traits{
			repeatable: repeatable(s), dedicated: dedicated(s), local: local,
			unsafe: changesConnection[top] && !local && s.Route != command.RoutePinned,
		}
	}
	for _, s := range t.All() {
		add(s)
		for _, sub := range s.Sub {
			add(sub)
		}
	}
	return all
}

// changesConnection are the commands that change the state of the connection they arrive on. Whatever the
// table says, they are never forwarded on a shared one.
var changesConnection = map[string]bool{
	"AUTH": true, "HELLO": true, "SELECT": true, "RESET": true, "QUIT": true,
	"MULTI": true, "EXEC": true, "DISCARD": true, "WATCH": true, "UNWATCH": true,
	"SUBSCRIBE": true, "UNSUBSCRIBE": true, "PSUBSCRIBE": true, "PUNSUBSCRIBE": true, "SSUBSCRIBE": true,
	"SUNSUBSCRIBE": true, "MONITOR": true, "SYNC": true, "PSYNC": true, "REPLCONF": true,
	"ASKING": true, "READONLY": true, "READWRITE": true,
}

// topName is the name of the command, or of the container of a sub-command.
func topName(s *command.Spec) string {
	if p := s.Parent(); p != nil {
		return p.Name
	}
	return s.Name
}

// repeatable reports whether running the command twice does no harm and tells the client nothing wrong.
func repeatable(s *command.Spec) bool {
	f := s.Flags
	if f.Has(command.ReadOnly) {
		return !f.Has(command.Blocking)
	}
	const effect = command.Write | command.Admin | command.MayReplicate | command.PubSub | command.Blocking |
		command.Exclusive
	return s.Route == command.RouteAny && f&effect == 0 && s.Group != "scripting"
}

// dedicated reports whether the command may take long, so that it would hold up other clients behind it on
// a shared connection.
func dedicated(s *command.Spec) bool {
	f := s.Flags
	return f.Has(command.Blocking) || f.Has(command.Exclusive) || f.Has(command.Admin) ||
		f.Has(command.WholeSpace) && !f.Has(command.Fast) && s.Route != command.RouteCursor
}
