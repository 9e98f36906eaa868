package option

import (
	"math"
	"time"
)

// Durability and the log.
var (
	// AppendFsync takes the values of the Fsync constants.
	AppendFsync = enumOption(Spec{
		Name: "appendfsync", Group: GroupDurability, Default: "everysec",
		Enum: []string{"everysec", "always", "no"},
		Help: "When the log is made safe against a power failure: `always` before the reply to a write " +
			"(writers share one fsync), `everysec` once a second, `no` when the system does it. A crash " +
			"of the process alone loses no acknowledged write under any of them.",
	})

	AppendOnly = boolOption(Spec{
		Name: "appendonly", Group: GroupDurability, Default: "yes", check: alwaysYes,
		Help: "Accepted for compatibility. The log is always on.",
		DiffersFromRedis: "`no` is refused: every write goes through the log. Use `appendfsync no` to " +
			"leave it unforced.",
	})

	Save = listOption[[]SavePoint](Spec{
		Name: "save", Group: GroupDurability, Default: "", Multi: true,
		Help: "Up to 100 pairs of seconds and changes. Accepted and answered for compatibility; nothing " +
			"is scheduled by it.",
		DiffersFromRedis: "Every write is in the log, so that no periodic snapshot is needed. BGSAVE " +
			"makes a checkpoint on demand.",
	}, saveRules)

	LogSegmentSize = bytesOption(Spec{
		Name: "log-segment-size", Aliases: []string{"binlog-file-size"}, Group: GroupDurability, Default: "256mb",
		Min: 1 << 20, Max: 16 << 30, Immutable: true,
		Help: "Size at which a new file of the log is begun. Old log is given back in whole files.",
	})

	LogRetentionSize = bytesOption(Spec{
		Name: "log-retention-size", Aliases: []string{"repl-backlog-size"}, Group: GroupDurability, Default: "4gb",
		Min: 1, Max: math.MaxInt64,
		Help: "How much log is kept for replicas that return, on disk. The newest file and what recovery " +
			"needs are kept in any case.",
		DiffersFromRedis: "The backlog is the log on disk, not memory: give it gigabytes.",
	})

	LogRetentionTime = durationOption(Spec{
		Name: "log-retention-time", Group: GroupDurability, Default: "0", Min: 0, Max: math.MaxInt32,
		Unit: time.Second,
		Help: "Log older than this may go even where `log-retention-size` has room for it. 0: age does " +
			"not matter.",
	})

	RecoveryBytes = bytesOption(Spec{
		Name: "recovery-bytes", Group: GroupDurability, Default: "1gb", Min: 1 << 20, Max: math.MaxInt64,
		Help: "Flushes the engine when a start would have to replay more log than this: a bound on the " +
			"time of recovery.",
	})

	DiskFreeMin = bytesOption(Spec{
		Name: "disk-free-min", Group: GroupDurability, Default: "512mb", Min: 0, Max: math.MaxInt64,
		Help: "Writes are refused (-MISCONF) while the data directory's file system has less free space; " +
			"deletes are not. Keep it above one log file and the memtables. 0: never refused.",
	})
)

// The values of AppendFsync.
const (
	FsyncEverySec = iota
	FsyncAlways
	FsyncNo
)

// Storage engine and memory.
var (
	MaxMemory = bytesOption(Spec{
		Name: "maxmemory", Group: GroupStorage, Default: "0", Min: 0, Max: math.MaxInt64,
		Help: "Memory that the process takes, about: hot values, the engine's blocks, its memtables, and " +
			"96 MB for the rest. Many connections with large buffers come on top. 0: a quarter of the " +
			"machine's memory, or 1gb where that is not known. A change reaches the hot cache at once and the engine " +
			"at the next start.",
		DiffersFromRedis: "It bounds caches, not data: data is on disk, and nothing is evicted from it.",
	})

	MaxMemoryPolicy = enumOption(Spec{
		Name: "maxmemory-policy", Group: GroupStorage, Default: "noeviction", Enum: []string{"noeviction"},
		Help:             "Accepted for compatibility.",
		DiffersFromRedis: "Only `noeviction`: data is never evicted.",
	})

	CacheSize = shareOption(Spec{
		Name: "cache-size", Group: GroupStorage, Default: "35%", Min: 0, Max: math.MaxInt64,
		Help: "Memory for decoded hot values: a size, or a percentage of what the memtables, four times " +
			"`memtable-size`, and 96 MB leave of the budget (`maxmemory`). 0: no such cache.",
	})

	BlockCache = shareOption(Spec{
		Name: "block-cache", Group: GroupStorage, Default: "30%", Min: 0, Max: math.MaxInt64, Immutable: true,
		Help: "Memory for the engine's cache of uncompressed blocks: a size, or a percentage of the " +
			"budget as `cache-size`.",
	})

	MemtableSize = bytesOption(Spec{
		Name: "memtable-size", Aliases: []string{"write-buffer-size"}, Group: GroupStorage, Default: "32mb",
		Min: 1 << 20, Max: 2 << 30, Immutable: true,
		Help: "Size at which the engine writes its newest data to a file. Larger ones save disk work and " +
			"cost memory: a few can exist at a time.",
	})

	// Compression takes the values of the Compression constants.
	Compression = enumOption(Spec{
		Name: "compression", Group: GroupStorage, Default: "snappy", Enum: []string{"none", "snappy", "zstd"},
		Immutable: true,
		Help: "How the engine compresses blocks on disk. It may change between starts: files are " +
			"rewritten as they are compacted.",
	})

	LazyfreeLazyEviction  = lazyfree("lazyfree-lazy-eviction")
	LazyfreeLazyExpire    = lazyfree("lazyfree-lazy-expire")
	LazyfreeLazyServerDel = lazyfree("lazyfree-lazy-server-del")
	LazyfreeLazyUserDel   = lazyfree("lazyfree-lazy-user-del")
	LazyfreeLazyUserFlush = lazyfree("lazyfree-lazy-user-flush")
	ReplicaLazyFlush      = lazyfree("replica-lazy-flush", "slave-lazy-flush")
)

// The values of Compression.
const (
	CompressionNone = iota
	CompressionSnappy
	CompressionZstd
)

// lazyfree declares one of the options with which Redis moves the cost of deleting out of the command. That
// cost does not exist here, so that both values mean the same.
func lazyfree(name string, aliases ...string) Bool {
	return boolOption(Spec{
		Name: name, Aliases: aliases, Group: GroupStorage, Default: "yes",
		Help: "Accepted for compatibility.",
		DiffersFromRedis: "Both values mean the same: deleting takes constant time, and what was deleted " +
			"is reclaimed in the background.",
	})
}

// Reported encodings: only OBJECT ENCODING looks at them.
var (
	HashMaxListpackEntries = encoding("hash-max-listpack-entries", "512", 0, math.MaxInt64,
		"hash-max-ziplist-entries")
	HashMaxListpackValue = encoding("hash-max-listpack-value", "64", 0, math.MaxInt64, "hash-max-ziplist-value")
	ListMaxListpackSize  = encoding("list-max-listpack-size", "-2", math.MinInt32, math.MaxInt32,
		"list-max-ziplist-size")
	SetMaxIntsetEntries    = encoding("set-max-intset-entries", "512", 0, math.MaxInt64)
	SetMaxListpackEntries  = encoding("set-max-listpack-entries", "128", 0, math.MaxInt64)
	SetMaxListpackValue    = encoding("set-max-listpack-value", "64", 0, math.MaxInt64)
	ZsetMaxListpackEntries = encoding("zset-max-listpack-entries", "128", 0, math.MaxInt64,
		"zset-max-ziplist-entries")
	ZsetMaxListpackValue = encoding("zset-max-listpack-value", "64", 0, math.MaxInt64, "zset-max-ziplist-value")
)

// HLLSparseMaxBytes is no reported encoding: what PFADD stores depends on it.
var HLLSparseMaxBytes = bytesOption(Spec{
	Name: "hll-sparse-max-bytes", Group: GroupEncoding, Default: "3000", Max: math.MaxInt64,
	Help: "Size up to which a HyperLogLog stays in its sparse form, which is smaller and slower to change " +
		"than the dense one of 12304 bytes.",
})

func encoding(name, def string, least, most int64, aliases ...string) Int {
	return intOption(Spec{
		Name: name, Aliases: aliases, Group: GroupEncoding, Default: def, Min: least, Max: most,
		Help:             "Limit up to which OBJECT ENCODING reports the compact encoding, as Redis would.",
		DiffersFromRedis: "Reported only: the layout on disk is the same for all sizes.",
	})
}

func alwaysYes(val value) string {
	if val.n == 0 {
		return "the log cannot be turned off; see appendfsync"
	}
	return ""
}

// CacheBudget returns the bytes that all caches share: maxmemory, or a default that depends on the memory
// of the machine (or of its container), 0 where that is not known.
func CacheBudget(from Viewer, machine int64) int64 {
	if n := from.View().Bytes(MaxMemory); n > 0 {
		return n
	}
	if machine <= 0 {
		return 1 << 30
	}
	return machine / 4
}
