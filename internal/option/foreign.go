package option

import (
	"fmt"
	"strings"
)

// foreign are options of Redis and Pika that have no meaning here, with what a moved-in file should say
// instead. A name that ends in * stands for all that begin so.
var foreign = map[string]string{
	"daemonize":                   "the node stays in the foreground: remove the line and use a supervisor",
	"io-threads-do-reads":         "the event loops read, too: remove the line",
	"always-show-logo":            "remove the line",
	"set-proc-title":              "remove the line",
	"proc-title-template":         "remove the line",
	"activerehashing":             "data is on disk: remove the line",
	"rdb*":                        "snapshots are checkpoints of the engine: remove the line",
	"dbfilename":                  "data lives in the directory `dir`: remove the line",
	"stop-writes-on-bgsave-error": "writes stop when the log cannot be written: remove the line",
	"appendfilename":              "the log lives in the directory `dir`: remove the line",
	"appenddirname":               "the log lives in the directory `dir`: remove the line",
	"no-appendfsync-on-rewrite":   "the log is never rewritten: remove the line",
	"auto-aof-rewrite-*":          "the log is never rewritten: see log-retention-size",
	"aof-*":                       "the log has its own format and recovery: remove the line",
	"repl-diskless-*":             "full syncs send files of the engine: remove the line",
	"repl-backlog-ttl":            "the backlog is the log on disk: see log-retention-time",
	"maxmemory-samples":           "nothing is evicted: remove the line",
	"maxmemory-clients":           "see client-output-buffer-limit and client-query-buffer-limit",
	"active-defrag*":              "data is on disk: remove the line",
	"activedefrag":                "data is on disk: remove the line",
	"dynamic-hz":                  "see hz",
	"oom-score-adj*":              "leave it to the supervisor: remove the line",
	"disable-thp":                 "remove the line",
	"cluster-*":                   "shards are managed by dashboards: see managed",
	"syslog-*":                    "see logfile and log-format",
	"rename-command":              "use access control (user lines) to forbid commands",
	"loadmodule":                  "modules cannot be loaded",

	"thread-num":               "all processors are used: remove the line",
	"thread-pool-size":         "all processors are used: remove the line",
	"sync-thread-num":          "all processors are used: remove the line",
	"slow-cmd-*":               "a slow command does not hold up others: remove the line",
	"admin-*":                  "the agent has its own listener: remove the line",
	"root-connection-num":      "see maxclients",
	"network-interface":        "see bind and replica-announce-ip",
	"max-client-response-size": "see client-output-buffer-limit",
	"userpass":                 "use access control (user lines)",
	"userblacklist":            "use access control (user lines)",
	"log-path":                 "see logfile",
	"dump-*":                   "BGSAVE writes checkpoints under `dir`: remove the line",
	"db-sync-path":             "full syncs are received under `dir`: remove the line",
	"db-sync-speed":            "use full-sync-rate (bytes per second)",
	"db-instance-num":          "there is one engine: remove the line",
	"write-binlog":             "the log is always on: remove the line",
	"expire-logs-days":         "use log-retention-time (seconds) and log-retention-size",
	"expire-logs-nums":         "use log-retention-size",
	"binlog-writer-num":        "there is one log: remove the line",
	"rsync-timeout-ms":         "see repl-timeout",
	"max-rsync-parallel-num":   "see full-sync-rate",
	"replication-id":           "kept with the data: remove the line",
	"run-id":                   "made at each start: remove the line",
	"server-id":                "see node-id",
	"consensus-level":          "use sync-replicas",
	"replication-num":          "use sync-replicas",
	"instance-mode":            "remove the line",
	"default-slot-num":         "remove the line",
	"cache-maxmemory":          "use cache-size",
	"cache-*":                  "see cache-size",
	"rtc-cache-read":           "see cache-size",
	"share-block-cache":        "use block-cache",
	"max-write-buffer-*":       "use memtable-size",
	"arena-block-size":         "use memtable-size",
	"compact-*":                "the engine compacts by itself: remove the line",
	"max-background-*":         "the engine chooses its threads: remove the line",
	"least-free-disk-*":        "use disk-free-min",
	"min-check-resume-ratio":   "use disk-free-min",
	"rate-limiter-*":           "the engine paces itself: remove the line",
	"sync-window-size":         "replicas are sent what their links take: remove the line",
	"slotmigrate*":             "slots are moved by dashboards: remove the line",
	"pika-*":                   "remove the line",
	"level0-*":                 "the engine paces itself: remove the line",
}

// unknownOption explains a line whose option does not exist.
func unknownOption(words []string) error {
	name := strings.ToLower(words[0])
	if plain, colon := strings.CutSuffix(name, ":"); colon && Lookup(plain) != nil {
		return errPikaLine
	}
	if hint := foreignHint(name); hint != "" {
		return fmt.Errorf("option %q is not supported: %s", name, hint)
	}
	if before, _, ok := strings.Cut(name, "="); ok && Lookup(before) != nil {
		return fmt.Errorf("unknown option: write %s and the value with a space between", before)
	}
	if near := nearest(name); near != "" {
		return fmt.Errorf("unknown option %q: did you mean %q?", name, near)
	}
	return fmt.Errorf("unknown option %q", name)
}

// foreignHint finds what to say about an option of another server.
func foreignHint(name string) string {
	if hint, ok := foreign[name]; ok {
		return hint
	}
	for i := len(name); i > 0; i-- { // the longest pattern wins
		if hint, ok := foreign[name[:i]+"*"]; ok {
			return hint
		}
	}
	return ""
}

// nearest returns the option name that a misspelt one probably meant; empty if none is close.
func nearest(name string) string {
	name = strings.ReplaceAll(name, "_", "-")
	best, bestDist := "", max(2, len(name)/4)+1
	for _, s := range table {
		if s.Hidden {
			continue
		}
		for _, candidate := range s.Names() {
			if d := editDistance(name, candidate, bestDist); d < bestDist {
				best, bestDist = candidate, d
			}
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of neighbours; it gives up at limit.
func editDistance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return min(prev[len(b)], limit)
}
