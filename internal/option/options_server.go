package option

import (
	"math"
	"time"

	"haypile/internal/keyevent"
)

// Network.
var (
	Bind = listOption[[]string](Spec{
		Name: "bind", Group: GroupNetwork, Default: "* -::*", Immutable: true,
		Help: "Addresses to listen on, separated by spaces. `*` is every IPv4 address and `::*` every " +
			"IPv6 one; an address with a leading `-` may be missing on this machine. Empty: no TCP " +
			"listener.",
		DiffersFromRedis: "Fixed at start.",
	}, wordsRules(16, "Too many bind addresses specified.", checkBind))

	Port = intOption(Spec{
		Name: "port", Group: GroupNetwork, Default: "6379", Min: 0, Max: 65535, Immutable: true,
		Help:             "TCP port for clients and replicas. 0: no TCP listener.",
		DiffersFromRedis: "Fixed at start.",
	})

	UnixSocket = stringOption(Spec{
		Name: "unixsocket", Group: GroupNetwork, Immutable: true,
		Help: "Path of a Unix socket to listen on besides TCP. Empty: none.",
	})

	UnixSocketPerm = octalOption(Spec{
		Name: "unixsocketperm", Group: GroupNetwork, Default: "0", Min: 0, Max: 0o777, Immutable: true,
		Help: "Permission bits of the Unix socket, octal. 0: what the process' umask leaves.",
	})

	TCPBacklog = intOption(Spec{
		Name: "tcp-backlog", Group: GroupNetwork, Default: "511", Min: 0, Max: math.MaxInt32, Immutable: true,
		Help:             "Accepted for compatibility.",
		DiffersFromRedis: "The kernel's limit (`net.core.somaxconn`) is what counts.",
	})

	TCPKeepalive = durationOption(Spec{
		Name: "tcp-keepalive", Group: GroupNetwork, Default: "300", Min: 0, Max: math.MaxInt32, Unit: time.Second,
		Help: "Idle time after which the kernel probes a client's connection. 0: no probes.",
	})

	Timeout = durationOption(Spec{
		Name: "timeout", Group: GroupNetwork, Default: "0", Min: 0, Max: math.MaxInt32, Unit: time.Second,
		Help: "Closes a client that sent nothing for so long. Replicas, subscribers, monitors and " +
			"blocked clients are exempt. 0: never.",
	})
)

// Clients and limits.
var (
	IOThreads = intOption(Spec{
		Name: "io-threads", Group: GroupClients, Default: "0", Min: 0, Max: 128, Immutable: true,
		Help: "Event loops that serve the clients' connections: they read, run commands whose data is in " +
			"memory, and write the replies. What may block runs beside them. 0: one for every two processors.",
		DiffersFromRedis: "The loops run commands, too, and the default follows the machine.",
	})

	MaxClients = intOption(Spec{
		Name: "maxclients", Group: GroupClients, Default: "10000", Min: 1, Max: math.MaxUint32,
		Help: "Connections accepted at a time, those of replicas included. Further ones get an error and " +
			"are closed. At start it is lowered if the process may not open enough files.",
	})

	ProtoMaxBulkLen = bytesOption(Spec{
		Name: "proto-max-bulk-len", Group: GroupClients, Default: "512mb", Min: 1 << 20, Max: math.MaxInt64,
		Help: "Longest single argument of a command, and longest value that a command may build.",
	})

	TrackingTableMaxKeys = intOption(Spec{
		Name: "tracking-table-max-keys", Group: GroupClients, Default: "1000000", Min: 0, Max: math.MaxInt64,
		Help: "Keys that are remembered for client-side caching (CLIENT TRACKING). Beyond it, keys chosen at " +
			"random are invalidated at the clients that have read them. 0: no bound.",
	})

	ClientQueryBufferLimit = bytesOption(Spec{
		Name: "client-query-buffer-limit", Aliases: []string{"max-conn-rbuf-size"}, Group: GroupClients,
		Default: "1gb", Min: 1 << 20, Max: math.MaxInt64,
		Help: "Unread and unfinished input kept for one client. A client above it is disconnected.",
	})

	ReplyBuffer = bytesOption(Spec{
		Name: "reply-buffer", Group: GroupClients, Default: "1mb", Min: 1, Max: 1 << 30,
		Help: "Bytes from which on a reply is not built in memory but sent in parts, from a snapshot.",
	})

	ClientOutputBufferLimit = listOption[OutputLimits](Spec{
		Name: "client-output-buffer-limit", Group: GroupClients, Multi: true,
		Default: "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60",
		Help: "What may wait to be sent to one client of a class, as `class hard soft seconds`: at " +
			"`hard` bytes it is disconnected at once, above `soft` bytes after so many seconds. 0: no " +
			"limit. Classes: `normal`, `replica` (or `slave`), `pubsub`. Classes that are not named keep " +
			"their limits.",
		DiffersFromRedis: "A replica reads from the log on disk, so that what waits for it in memory " +
			"stays small whatever this says.",
	}, outputLimitRules)
)

// Security.
var (
	RequirePass = stringOption(Spec{
		Name: "requirepass", Group: GroupSecurity, Sensitive: true,
		Help: "Password of the default user. Empty: none is asked for. A `user default` line, or the ACL file, " +
			"has the last word.",
	})

	ACLFile = stringOption(Spec{
		Name: "aclfile", Group: GroupSecurity, Immutable: true,
		Help: "File of users, one to a line, which ACL LOAD reads and ACL SAVE writes. The configuration file must " +
			"then have no `user` lines.",
		DiffersFromRedis: "ACL SAVE forces the file to disk before it replaces the old one.",
	})

	// ACLPubSubDefault takes the values of the ACLPubSub constants.
	ACLPubSubDefault = enumOption(Spec{
		Name: "acl-pubsub-default", Group: GroupSecurity, Default: "resetchannels",
		Enum: []string{"allchannels", "resetchannels"},
		Help: "Which channels a new user may use: all or none.",
	})

	ACLLogMaxLen = intOption(Spec{
		Name: "acllog-max-len", Group: GroupSecurity, Default: "128", Min: 0, Max: math.MaxInt64,
		Help: "Entries kept in the log of what users were refused, ACL LOG.",
	})

	ProtectedMode = boolOption(Spec{
		Name: "protected-mode", Group: GroupSecurity, Default: "yes",
		Help: "While the default user needs no password, serve clients on the loopback interface and the " +
			"Unix socket only.",
	})

	// EnableDebugCommand takes the values of the Debug constants.
	EnableDebugCommand = enumOption(Spec{
		Name: "enable-debug-command", Group: GroupSecurity, Default: "no", Enum: []string{"no", "yes", "local"},
		Immutable: true,
		Help:      "Who may use DEBUG: nobody, everybody, or clients on this machine.",
	})
)

// The values of ACLPubSubDefault.
const (
	ACLPubSubAll = iota
	ACLPubSubNone
)

// The values of EnableDebugCommand.
const (
	DebugNo = iota
	DebugYes
	DebugLocal
)

// Process and logging.
var (
	Dir = stringOption(Spec{
		Name: "dir", Aliases: []string{"db-path"}, Group: GroupProcess, Default: "./", Immutable: true,
		check: notEmpty,
		Help:  "Data directory. It belongs to one process at a time.",
		DiffersFromRedis: "Fixed at start. The process does not change its working directory, so that " +
			"other relative paths keep their meaning.",
	})

	Databases = intOption(Spec{
		Name: "databases", Group: GroupProcess, Default: "16", Min: 1, Max: 65536, Immutable: true,
		Help: "Number of databases that SELECT can reach.",
	})

	PidFile = stringOption(Spec{
		Name: "pidfile", Group: GroupProcess, Immutable: true,
		Help: "File to write the process id to at start and to remove at exit. Empty: none.",
	})

	LogFile = stringOption(Spec{
		Name: "logfile", Group: GroupProcess, Immutable: true,
		Help: "File to append messages to. Empty: standard output. It is opened anew on SIGHUP, for log " +
			"rotation.",
	})

	// LogLevel takes the values of the Level constants.
	LogLevel = enumOption(Spec{
		Name: "loglevel", Group: GroupProcess, Default: "notice",
		Enum: []string{"debug", "verbose", "notice", "warning", "nothing"},
		Help: "Least severity of messages that are written.",
	})

	// LogFormat takes the values of the LogFormat constants.
	LogFormat = enumOption(Spec{
		Name: "log-format", Group: GroupProcess, Default: "text", Enum: []string{"text", "json"}, Immutable: true,
		Help: "Form of a message: `text` is key=value pairs, `json` one object per line.",
	})

	// Supervised takes the values of the Supervised constants.
	Supervised = enumOption(Spec{
		Name: "supervised", Group: GroupProcess, Default: "no", Enum: []string{"no", "systemd", "auto"},
		Immutable:        true,
		Help:             "Accepted for compatibility.",
		DiffersFromRedis: "Where NOTIFY_SOCKET is set, systemd is told about start and stop, whatever this says.",
	})

	ShutdownTimeout = durationOption(Spec{
		Name: "shutdown-timeout", Group: GroupProcess, Default: "10", Min: 0, Max: math.MaxInt32, Unit: time.Second,
		Help: "How long a shutdown waits for replicas that have not received everything. 0: it does not " +
			"wait.",
	})

	ShutdownOnSigint = listOption[Shutdown](Spec{
		Name: "shutdown-on-sigint", Group: GroupProcess, Default: "default",
		Help:             shutdownHelp + "SIGINT.",
		DiffersFromRedis: shutdownDiffers,
	}, shutdownRules)

	ShutdownOnSigterm = listOption[Shutdown](Spec{
		Name: "shutdown-on-sigterm", Group: GroupProcess, Default: "default",
		Help:             shutdownHelp + "SIGTERM.",
		DiffersFromRedis: shutdownDiffers,
	}, shutdownRules)

	Hz = intOption(Spec{
		Name: "hz", Group: GroupProcess, Default: "10", Min: 1, Max: 500, Clamp: true,
		Help: "How often per second periodic work is looked at: expired keys, idle clients, statistics. " +
			"Numbers outside the range are moved to its edge.",
	})
)

const (
	shutdownHelp    = "Accepted for compatibility; it does not change how the node ends on "
	shutdownDiffers = "Every ordinary end waits for replicas (`shutdown-timeout`), syncs the log and flushes the " +
		"engine."
)

// The values of LogLevel.
const (
	LevelDebug = iota
	LevelVerbose
	LevelNotice
	LevelWarning
	LevelNothing
)

// The values of LogFormat.
const (
	LogFormatText = iota
	LogFormatJSON
)

// The values of Supervised.
const (
	SupervisedNo = iota
	SupervisedSystemd
	SupervisedAuto
)

// Observation.
var (
	SlowlogLogSlowerThan = durationOption(Spec{
		Name: "slowlog-log-slower-than", Group: GroupObserve, Default: "10000", Min: -1, Max: math.MaxInt64 / 1000,
		Unit: time.Microsecond,
		Help: "Commands that ran longer than this enter the slow log. 0: all of them. -1: none.",
	})

	SlowlogMaxLen = intOption(Spec{
		Name: "slowlog-max-len", Group: GroupObserve, Default: "128", Min: 0, Max: math.MaxInt64,
		Help: "Entries kept in the slow log.",
	})

	BusyScriptThreshold = durationOption(Spec{
		Name: "busy-script-threshold", Aliases: []string{"lua-time-limit"}, Group: GroupClients, Default: "5000", Min: 0,
		Max: math.MaxInt64 / int64(time.Millisecond), Unit: time.Millisecond,
		Help: "A script that runs longer makes the node answer BUSY, and can be ended by SCRIPT KILL.",
	})

	LatencyMonitorThreshold = durationOption(Spec{
		Name: "latency-monitor-threshold", Group: GroupObserve, Default: "0", Min: 0,
		Max: math.MaxInt64 / int64(time.Millisecond), Unit: time.Millisecond,
		Help: "Events that took at least so long are kept for LATENCY. 0: none.",
	})

	LatencyTracking = boolOption(Spec{
		Name: "latency-tracking", Group: GroupObserve, Default: "yes",
		Help: "Keep a latency distribution per command, for INFO latencystats and LATENCY HISTOGRAM.",
	})

	LatencyTrackingInfoPercentiles = listOption[[]float64](Spec{
		Name: "latency-tracking-info-percentiles", Group: GroupObserve, Default: "50 99 99.9",
		Help: "Percentiles that INFO latencystats prints.",
	}, percentileRules)

	NotifyKeyspaceEvents = listOption[keyevent.Class](Spec{
		Name: "notify-keyspace-events", Group: GroupObserve,
		Help: "Changes of keys that are published to subscribers, by letters. Where to: `K` on " +
			"`__keyspace@<db>__:<key>`, `E` on `__keyevent@<db>__:<event>`; at least one of them is needed. " +
			"What: `g` commands for any type, `$` strings, `l` lists, `s` sets, `h` hashes, `z` sorted sets, " +
			"`t` streams, `x` expired keys, `n` new keys, `m` reads of missing keys; `A` is all but `n` and `m`. " +
			"`e` (evicted) and `d` (modules) are accepted and never happen. Empty: nothing.",
		DiffersFromRedis: "CONFIG GET shows an `n` beside an `A`, which Redis leaves out.",
	}, classRules)

	MetricsPort = intOption(Spec{
		Name: "metrics-port", Group: GroupObserve, Default: "0", Min: 0, Max: 65535, Immutable: true,
		Help: "Port on which Prometheus can fetch /metrics, on the addresses of `bind`. 0: none.",
	})
)

func notEmpty(val value) string {
	if val.text == "" {
		return "argument must not be empty"
	}
	return ""
}
