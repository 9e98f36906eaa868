package option

import (
	"math"
	"time"
)

// Replication.
var (
	ReplicaOf = listOption[Address](Spec{
		Name: "replicaof", Aliases: []string{"slaveof"}, Group: GroupReplication, Immutable: true,
		Help: "`host port` of the primary to follow at start; `no one` or nothing: be a primary. It " +
			"changes with the command REPLICAOF, and CONFIG REWRITE keeps the change. A managed node " +
			"asks its dashboards instead.",
		DiffersFromRedis: "Pika's `host:port` is understood too.",
	}, replicaofRules)

	MasterUser = stringOption(Spec{
		Name: "masteruser", Group: GroupReplication,
		Help: "User to log in to the primary as. Empty: the default user.",
	})

	MasterAuth = stringOption(Spec{
		Name: "masterauth", Group: GroupReplication, Sensitive: true,
		Help: "Password to log in to the primary, and to peers, with. Empty: no login.",
	})

	ReplicaServeStaleData = boolOption(Spec{
		Name: "replica-serve-stale-data", Aliases: []string{"slave-serve-stale-data"}, Group: GroupReplication,
		Default: "yes",
		Help: "Answer reads while the link to the primary is down. `no`: -MASTERDOWN, save for the " +
			"commands that do not read data.",
	})

	ReplicaReadOnly = boolOption(Spec{
		Name: "replica-read-only", Aliases: []string{"slave-read-only"}, Group: GroupReplication, Default: "yes",
		check: alwaysReadOnly,
		Help:  "Accepted for compatibility. Replicas refuse writes of clients.",
		DiffersFromRedis: "`no` is refused: a replica's log holds the primary's bytes and nothing else, " +
			"which is what makes it safe to promote.",
	})

	ReplicaPriority = intOption(Spec{
		Name: "replica-priority", Aliases: []string{"slave-priority"}, Group: GroupReplication, Default: "100",
		Min: 0, Max: math.MaxInt32,
		Help: "Preference at a fail-over among replicas that hold the same data: the lowest wins. 0: " +
			"never promoted.",
	})

	ReplicaAnnounced = boolOption(Spec{
		Name: "replica-announced", Group: GroupReplication, Default: "yes",
		Help: "Whether Sentinel shall report this replica to clients.",
	})

	ReplicaAnnounceIP = stringOption(Spec{
		Name: "replica-announce-ip", Aliases: []string{"slave-announce-ip"}, Group: GroupReplication,
		Help: "Address under which others reach this node, where the one that they see is of no use " +
			"(address translation, containers). Empty: the one that they see.",
	})

	ReplicaAnnouncePort = intOption(Spec{
		Name: "replica-announce-port", Aliases: []string{"slave-announce-port"}, Group: GroupReplication,
		Default: "0", Min: 0, Max: 65535,
		Help: "Port under which others reach this node. 0: `port`.",
	})

	ReplTimeout = durationOption(Spec{
		Name: "repl-timeout", Group: GroupReplication, Default: "60", Min: 1, Max: math.MaxInt32, Unit: time.Second,
		Help: "A link on which nothing arrives for so long is given up, on either side, during a full " +
			"sync too. Keep it above `repl-ping-replica-period`.",
	})

	ReplPingReplicaPeriod = durationOption(Spec{
		Name: "repl-ping-replica-period", Aliases: []string{"repl-ping-slave-period"}, Group: GroupReplication,
		Default: "10", Min: 1, Max: math.MaxInt32, Unit: time.Second,
		Help: "How often a primary with replicas sends PING down its links.",
	})

	ReplDisableTCPNoDelay = boolOption(Spec{
		Name: "repl-disable-tcp-nodelay", Group: GroupReplication, Default: "no",
		Help:             "Accepted for compatibility.",
		DiffersFromRedis: "Packets to replicas are never delayed: `yes` changes nothing.",
	})

	MinReplicasToWrite = intOption(Spec{
		Name: "min-replicas-to-write", Aliases: []string{"min-slaves-to-write"}, Group: GroupReplication,
		Default: "0", Min: 0, Max: math.MaxInt32,
		Help: "Writes are refused (-NOREPLICAS) while fewer replicas than this were heard of within " +
			"`min-replicas-max-lag`. 0: not looked at.",
	})

	MinReplicasMaxLag = durationOption(Spec{
		Name: "min-replicas-max-lag", Aliases: []string{"min-slaves-max-lag"}, Group: GroupReplication,
		Default: "10", Min: 0, Max: math.MaxInt32, Unit: time.Second,
		Help: "Silence after which a replica no longer counts for `min-replicas-to-write`.",
	})

	SyncReplicas = intOption(Spec{
		Name: "sync-replicas", Group: GroupReplication, Default: "0", Min: 0, Max: 16,
		Help: "The reply to a write waits until so many replicas have it in their logs. With 1, no " +
			"single failure loses an acknowledged write. With fewer linked, writes are refused " +
			"(-NOREPLICAS). 0: replication is asynchronous.",
	})

	SyncReplicasTimeout = durationOption(Spec{
		Name: "sync-replicas-timeout", Group: GroupReplication, Default: "1000", Min: 1, Max: math.MaxInt32,
		Unit: time.Millisecond,
		Help: "How long a reply waits for `sync-replicas`. After that the client gets an error that " +
			"says: applied here, not confirmed.",
	})

	FullSyncRate = bytesOption(Spec{
		Name: "full-sync-rate", Aliases: []string{"throttle-bytes-per-second"}, Group: GroupReplication,
		Default: "0", Min: 0, Max: math.MaxInt64,
		Help: "Most bytes per second that this node sends for full syncs, all together. 0: no limit.",
	})

	Peers = listOption[[]string](Spec{
		Name: "peers", Group: GroupReplication,
		Help: "Nodes of the same shard as `host:port`, separated by spaces, which a restarted primary " +
			"asks who is primary now, besides the replicas that it knew. Not needed on a managed node.",
	}, wordsRules(64, "Too many peers specified.", checkHostPort))

	PrimaryRestartWait = durationOption(Spec{
		Name: "primary-restart-wait", Group: GroupReplication, Default: "2000", Min: 0, Max: math.MaxInt32,
		Unit: time.Millisecond,
		Help: "How long a restarted primary that had replicas waits for their answer, and that of " +
			"`peers`, before it serves again.",
	})
)

// Managed shards.
var (
	Managed = boolOption(Spec{
		Name: "managed", Group: GroupManaged, Default: "no", Immutable: true,
		Help: "The node belongs to a shard that dashboards control: they tell its role, and as a primary " +
			"it writes only under their lease.",
	})

	AgentPort = intOption(Spec{
		Name: "agent-port", Group: GroupManaged, Default: "0", Min: 0, Max: 65535, Immutable: true,
		Help: "Port on which dashboards and peers reach the node's agent. 0: `port` + 10000, or `port` - " +
			"10000 if that is no port.",
	})

	AgentBind = listOption[[]string](Spec{
		Name: "agent-bind", Group: GroupManaged, Immutable: true,
		Help: "Addresses of the agent's listener, as in `bind`; the first one counts. Empty: the first one " +
			"that `bind` names, or the loopback address where it names none: who reaches the agent can " +
			"change the node's role.",
	}, wordsRules(16, "Too many bind addresses specified.", checkBind))

	AgentSecret = stringOption(Spec{
		Name: "agent-secret", Group: GroupManaged, Sensitive: true, Immutable: true,
		Help: "Secret that dashboards (their `--agent-secret`) and the other nodes of the shard must know " +
			"to talk to the agent. Empty: none is asked for.",
	})

	ClusterName = stringOption(Spec{
		Name: "cluster-name", Group: GroupManaged, Immutable: true, check: label,
		Help: "Name of the cluster. A node answers only to dashboards of the same one. Empty: to any.",
	})

	NodeID = stringOption(Spec{
		Name: "node-id", Group: GroupManaged, Immutable: true, check: label,
		Help: "Name of the node, unique in its cluster. Empty: the run id, new at each start.",
	})

	Zone = stringOption(Spec{
		Name: "zone", Group: GroupManaged, check: label,
		Help: "A note on where the node stands. What counts at a fail-over is the zone with which the node " +
			"was registered (`haypile ctl node add --zone`).",
	})

	Lease = durationOption(Spec{
		Name: "lease", Group: GroupManaged, Default: "1000", Min: 100, Max: 60000, Unit: time.Millisecond,
		Immutable: true,
		Help: "How long a managed primary may write after the last heartbeat that a majority of the " +
			"dashboards answered. It stops at nine tenths of it; nobody else is promoted before eleven " +
			"tenths. The dashboards count with 1000 too, so a managed node keeps the default.",
	})
)

// EffectiveAgentPort returns the port of the agent: agent-port, or the one derived from port; 0 if there is
// no TCP port to derive it from.
func EffectiveAgentPort(from Viewer) int {
	v := from.View()
	port := int(v.Int(Port))
	switch {
	case v.Int(AgentPort) != 0:
		return int(v.Int(AgentPort))
	case port == 0:
		return 0
	case port+10000 > 65535:
		return port - 10000
	}
	return port + 10000
}

// label accepts what may be part of file names, addresses of the API and log lines.
func label(val value) string {
	if len(val.text) > 64 {
		return "argument must not be longer than 64 characters"
	}
	for _, c := range []byte(val.text) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-', c == '_', c == '.', c == ':':
		default:
			return "argument may hold letters, digits and - _ . : only"
		}
	}
	return ""
}

func alwaysReadOnly(val value) string {
	if val.n == 0 {
		return "writable replicas are not supported"
	}
	return ""
}
