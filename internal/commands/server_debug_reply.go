package commands

import (
	"haypile/internal/resp"
)

// sampleReplies are what DEBUG PROTOCOL answers, by name: client libraries test their parsers with them.
var sampleReplies = map[string]func(*resp.Writer){
	"STRING":  func(w *resp.Writer) { w.BulkString("Hello World") },
	"INTEGER": func(w *resp.Writer) { w.Int(12345) },
	"DOUBLE":  func(w *resp.Writer) { w.Double(3.141) },
	"BIGNUM":  func(w *resp.Writer) { w.BigNumber("1234567999999999999999999999999999999") },
	"NULL":    func(w *resp.Writer) { w.Null() },
	"ARRAY": func(w *resp.Writer) {
		w.Array(3)
		sampleNumbers(w)
	},
	"SET": func(w *resp.Writer) {
		w.Set(3)
		sampleNumbers(w)
	},
	"MAP": func(w *resp.Writer) {
		w.Map(3)
		for i := range int64(3) {
			w.Int(i)
			w.Bool(i == 1)
		}
	},
	"ATTRIB": func(w *resp.Writer) {
		if w.Proto >= 3 {
			w.Attribute(1)
			w.BulkString("key-popularity")
			w.Array(2)
			w.BulkString("key:123")
			w.Int(90)
		}
		w.BulkString("Some real reply following the attribute")
	},
	"PUSH": func(w *resp.Writer) {
		if w.Proto < 3 {
			w.Error("ERR RESP2 is not supported by this command")
			return
		}
		w.Push(2)
		w.BulkString("server-cpu-usage")
		w.Int(42)
		w.BulkString("Some real reply following the push reply")
	},
	"VERBATIM": func(w *resp.Writer) { w.Verbatim("txt", "This is a verbatim\nstring") },
	"TRUE":     func(w *resp.Writer) { w.Bool(true) },
	"FALSE":    func(w *resp.Writer) { w.Bool(false) },
}

func sampleNumbers(w *resp.Writer) {
	for i := range int64(3) {
		w.Int(i)
	}
}

func debugProtocol(c *Call) error {
	sample := sampleReplies[c.Arg(2)]
	if sample == nil {
		return Error("ERR Wrong protocol type name. Please use one of the following: " +
			"string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false")
	}
	sample(c.Out)
	return nil
}

// refusedDebug are the sub-commands of Redis 7.0 that are about what a node does not have.
var refusedDebug = []struct {
	reason string
	names  []string
}{
	{"a node dies by a signal, and the supervisor starts it again",
		[]string{"ASSERT", "CRASH-AND-RECOVER", "LEAK", "OOM", "PANIC", "RESTART", "SEGFAULT"}},
	{"values are rows on disk, not structures in memory", []string{"HTSTATS", "HTSTATS-KEY", "LISTPACK", "QUICKLIST",
		"QUICKLIST-PACKED-THRESHOLD", "SDSLEN", "STRUCTSIZE", "ZIPLIST"}},
	{"there is no append-only file beside the log", []string{"AOF-FLUSH-SLEEP", "LOADAOF"}},
	{"the logs of all members of a shard are equal, byte by byte", []string{"POPULATE", "REPLICATE"}},
	{"memory is the Go runtime's", []string{"CLIENT-EVICTION", "MALLCTL", "MALLCTL-STR", "REPLYBUFFER"}},
	{"this is no Redis cluster", []string{"CLUSTERLINK", "DROP-CLUSTER-PACKET-FILTER"}},
	{"checksums are always checked", []string{"SET-SKIP-CHECKSUM-VALIDATION"}},
	{"options are written as CONFIG REWRITE does", []string{"CONFIG-REWRITE-FORCE-ALL"}},
	{"there is no single job to stop", []string{"PAUSE-CRON"}},
	{"the log of the process is not for clients", []string{"LOG"}},
	{"patterns are tested with the source code", []string{"STRINGMATCH-TEST"}},
}

// refuseDebug answers a sub-command that no description matches.
func refuseDebug(c *Call) error {
	for _, group := range refusedDebug {
		for _, name := range group.names {
			if c.Is(1, name) {
				return Error("ERR DEBUG " + name + " is not available: " + group.reason)
			}
		}
	}
	return Error(resp.SubcommandSyntax(c.Args[1], "DEBUG"))
}
