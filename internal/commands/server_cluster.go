package commands

import (
	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/slot"
)

// clusterSubs are the sub-commands of CLUSTER. All are refused in the words by which clients notice that this is no
// Redis cluster, except the pure function KEYSLOT.
var clusterSubs = []struct {
	name, since string
	arity       int
	flags       command.Flags
	syntax      string
}{
	{"ADDSLOTS", "3.0.0", -3, clusterChange, "slot [slot ...]"},
	{"ADDSLOTSRANGE", "7.0.0", -4, clusterChange, "start-slot end-slot [start-slot end-slot ...]"},
	{"BUMPEPOCH", "3.0.0", 2, clusterChange, ""},
	{"COUNT-FAILURE-REPORTS", "3.0.0", 3, clusterLook, "node-id"},
	{"COUNTKEYSINSLOT", "3.0.0", 3, command.Stale, "slot"},
	{"DELSLOTS", "3.0.0", -3, clusterChange, "slot [slot ...]"},
	{"DELSLOTSRANGE", "7.0.0", -4, clusterChange, "start-slot end-slot [start-slot end-slot ...]"},
	{"FAILOVER", "3.0.0", -2, clusterChange, "[FORCE | TAKEOVER]"},
	{"FLUSHSLOTS", "3.0.0", 2, clusterChange, ""},
	{"FORGET", "3.0.0", 3, clusterChange, "node-id"},
	{"GETKEYSINSLOT", "3.0.0", 4, command.Stale, "slot count"},
	{"HELP", "5.0.0", 2, command.Loading | command.Stale, ""},
	{"INFO", "3.0.0", 2, command.Stale, ""},
	{"LINKS", "7.0.0", 2, command.Stale, ""},
	{"MEET", "3.0.0", -4, clusterChange, "ip port [cluster-bus-port]"},
	{"MYID", "3.0.0", 2, command.Stale, ""},
	{"MYSHARDID", "7.2.0", 2, command.Stale, ""},
	{"NODES", "3.0.0", 2, command.Stale, ""},
	{"REPLICAS", "5.0.0", 3, clusterLook, "node-id"},
	{"REPLICATE", "3.0.0", 3, clusterChange, "node-id"},
	{"RESET", "3.0.0", -2, clusterLook | command.NoScript, "[HARD | SOFT]"},
	{"SAVECONFIG", "3.0.0", 2, clusterChange, ""},
	{"SET-CONFIG-EPOCH", "3.0.0", 3, clusterChange, "config-epoch"},
	{"SETSLOT", "3.0.0", -4, clusterChange, "slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>"},
	{"SHARDS", "7.0.0", 2, command.Stale, ""},
	{"SLAVES", "3.0.0", 3, clusterLook, "node-id"},
	{"SLOTS", "3.0.0", 2, command.Stale, ""},
}

const (
	clusterLook   = command.Admin | command.Stale
	clusterChange = command.Admin | command.Stale | command.NoAsyncLoading
)

const noCluster = "Sharding is the proxies' work, so every node and every proxy answers as a Redis without cluster mode."

func clusterCommand() *Command {
	s := containerSpec("CLUSTER", "3.0.0", "Refused, but for KEYSLOT: this is no Redis cluster.")
	s.Group, s.Differs = "cluster", noCluster
	c := routed(&Command{Spec: s}, command.RouteAny, command.MergeNone)
	for _, sub := range clusterSubs {
		spec := serverSpec(sub.name, sub.since, sub.arity, "CLUSTER "+sub.name, "Refused: this is no Redis cluster.", sub.flags)
		if sub.syntax != "" {
			spec.Syntax += " " + sub.syntax
		}
		spec.Group, spec.Differs = "cluster", noCluster
		if sub.name == "HELP" {
			spec.ACL = []string{}
		}
		c.Sub = append(c.Sub, routed(&Command{Spec: spec, Run: refuseCluster}, command.RouteAny, command.MergeNone))
	}
	keySlot := serverSpec("KEYSLOT", "3.0.0", 3, "CLUSTER KEYSLOT key", "The slot of a key.", command.Stale)
	keySlot.Group, keySlot.Differs = "cluster", "It is answered without a cluster, too: it is a pure function."
	c.Sub = append(c.Sub, routed(&Command{Spec: keySlot, Run: func(c *Call) error {
		c.Out.Int(int64(slot.Of(c.Args[2])))
		return nil
	}}, command.RouteAny, command.MergeNone))
	return c
}

func refuseCluster(*Call) error { return Error(resp.ErrClusterDisabled) }

// clusterClientCommands are what clients of a Redis cluster send on their connections, and what its nodes send each
// other while they move keys.
var clusterClientCommands = []*Command{
	clusterMode("ASKING", "Refused: it is for the nodes of a Redis cluster.", command.Fast),
	clusterMode("READONLY", "Refused: it is for the nodes of a Redis cluster.", anyRole|command.Fast),
	clusterMode("READWRITE", "Refused: it is for the nodes of a Redis cluster.", anyRole|command.Fast),
	restoreAsking(),
	refusedMigrate(),
}

func clusterMode(name, summary string, flags command.Flags) *Command {
	s := serverSpec(name, "3.0.0", 1, name, summary, flags)
	s.Group, s.Differs = "cluster", noCluster
	return routed(categories(&Command{Spec: s, Run: refuseCluster}, "connection"), command.RouteAny, command.MergeNone)
}

func restoreAsking() *Command {
	c := genericFamily.command("RESTORE-ASKING", "3.0.0", -4, command.Write|command.DenyOOM|command.Heavy, oneKey(accessStore),
		"RESTORE-ASKING key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
		"O(N) bytes of the value", "Creates a key from what DUMP answered, as RESTORE does.", restore).dangerous()
	return c.differs("It is RESTORE: without Redis' cluster mode there are no slots to ask for.")
}

func refusedMigrate() *Command {
	c := genericFamily.command("MIGRATE", "2.6.0", -6, command.Write, command.KeySpec{},
		"MIGRATE host port <key | \"\"> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] "+
			"[KEYS key [key ...]]", "O(1)", "Refused.", func(*Call) error {
			return Error("ERR MIGRATE is not available: read keys with DUMP and write them elsewhere with RESTORE")
		}).dangerous()
	c.Route, c.DeniedReason = command.RouteDenied, oneNode
	return c.differs("A node that waits for another one would hold up every command on the same keys. DUMP and RESTORE " +
		"through a client do the same.")
}
