package commands

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"haypile/internal/command"
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/resp"
	"haypile/internal/types/list"
)

// memoryCommands are MEMORY: USAGE is about a key, the others about the process.
var memoryCommands = []*Command{{
	Spec: containerSpec("MEMORY", "4.0.0", "Shows what keys and the process take up."),
	Sub: []*Command{
		memoryUsageCommand(),
		memorySub("STATS", 2, "STATS", "Memory of the process in numbers.", memoryStats),
		memorySub("DOCTOR", 2, "DOCTOR", "Says in words what the numbers show.", memoryDoctor),
		memorySub("MALLOC-STATS", 2, "MALLOC-STATS", "Numbers of the Go runtime's memory.", mallocStats),
		memorySub("PURGE", 2, "PURGE", "Gives free memory back to the system.", func(c *Call) error {
			debug.FreeOSMemory()
			c.Out.OK()
			return nil
		}),
		helpSub("MEMORY", "server",
			"DOCTOR", "    Return memory problems reports.",
			"MALLOC-STATS", "    Return internal statistics report from the memory allocator.",
			"PURGE", "    Attempt to purge dirty pages for reclamation by the allocator.",
			"STATS", "    Return information about the memory usage of the server.",
			"USAGE <key> [SAMPLES <count>]",
			"    Return memory in bytes used by <key> and its value. Nested values are",
			"    sampled up to <count> times (default: 5, 0 means sample all)."),
	},
}}

func memorySub(name string, arity int, syntax, summary string, run func(*Call) error) *Command {
	return &Command{Spec: serverSpec(name, "4.0.0", arity, "MEMORY "+syntax, summary, 0), Run: run}
}

// Samples of MEMORY USAGE: as many as Redis without the option, and at most maxSamples, also for "all": a key
// may have a hundred million elements.
const (
	defaultSamples = 5
	maxSamples     = 10_000
)

func memoryUsageCommand() *Command {
	c := memorySub("USAGE", -3, "USAGE key [SAMPLES count]", "Estimates the bytes that a key takes on disk.",
		memoryUsage)
	c.Flags = command.ReadOnly
	c.Keys = []command.KeySpec{command.One(2, command.AccessRO)}
	c.Complexity = "O(N) samples."
	c.Differs = "Data lives on disk: the number is the size of the key's rows before compression. At most " +
		strconv.Itoa(maxSamples) + " elements are sampled, also with SAMPLES 0."
	return routed(c, command.RouteKeys, command.MergeNone)
}

func memoryUsage(c *Call) error {
	samples := int64(defaultSamples)
	for i := 3; i < len(c.Args); i += 2 {
		if !c.Is(i, "SAMPLES") || i+1 >= len(c.Args) {
			return Error(resp.ErrSyntax)
		}
		var ok bool
		if samples, ok = resp.ParseInt(c.Args[i+1]); !ok {
			return Error(resp.ErrNotInteger)
		}
		if samples < 0 {
			return Error(resp.ErrSyntax)
		}
	}
	if samples == 0 || samples > maxSamples {
		samples = maxSamples
	}
	e, err := c.Tx.LookupIn(c.Tx.DB(), c.Args[2])
	if err != nil {
		return err
	}
	if !e.Found {
		c.Out.Null()
		return nil
	}
	n, err := rowBytes(c.Tx, &e, int(samples))
	if err != nil {
		return err
	}
	c.Out.Int(n)
	return nil
}

// rowBytes estimates the bytes of all rows of a key from a sample of its elements.
func rowBytes(t *keyspace.Txn, e *keyspace.Entry, samples int) (int64, error) {
	m := e.Meta
	hash := encoding.Hash48(e.User)
	n := int64(len(encoding.AppendKey(nil, 0, e.Slot(), hash, e.User)) + len(encoding.AppendMeta(nil, &m)))
	if due := m.Due(); due != 0 {
		n += int64(len(encoding.AppendExpiry(nil, 0, due, e.Slot(), hash, e.User)))
	}
	if m.Type == encoding.String {
		pieces, err := t.StringRows(e, samples)
		return n + pieces, err
	}
	if m.Count == 0 {
		return n, nil
	}
	if m.Type == encoding.Stream {
		each, err := streamRowBytes(t, e, samples)
		return n + int64(each*float64(m.Count)), err
	}
	// Beside its member, the sort key of a row has a table and a score; that of a list has a table and an ordinal, that
	// of a hash a deadline.
	ordered := int64(len(encoding.AppendOrdered(nil, 0, m.Birth, m.ID, nil)) + 9)
	timed := ordered - 1
	if m.Type == encoding.List {
		each, err := listRowBytes(t, e, ordered+1, samples)
		return n + int64(each*float64(m.Count)), err
	}
	head := int64(len(encoding.AppendElement(nil, 0, m.Birth, m.ID, nil)))
	seen, bytes := int64(0), int64(0)
	err := t.ScanElements(e, &m, 0, func(el keyspace.Element) bool {
		seen++
		bytes += head + int64(len(el.Member)+len(encoding.AppendElementValue(nil, el.Value, el.Deadline)))
		switch {
		case m.Type == encoding.ZSet:
			bytes += ordered + int64(len(el.Member))
		case el.Deadline != 0:
			bytes += timed + int64(len(el.Member))
		}
		return seen < int64(samples)
	})
	if err != nil || seen == 0 {
		return n, err
	}
	return n + int64(float64(bytes)/float64(seen)*float64(m.Count)), nil
}

// listRowBytes is the mean size of a list's rows, each of head and its element.
func listRowBytes(t *keyspace.Txn, e *keyspace.Entry, head int64, samples int) (float64, error) {
	l, err := list.At(t, *e)
	if err != nil {
		return 0, err
	}
	seen, bytes := int64(0), int64(0)
	err = l.Walk(0, uint64(samples), func(v []byte) bool {
		seen++
		bytes += head + int64(len(v))
		return true
	})
	return float64(bytes) / float64(max(seen, 1)), err
}

// infoNumbers are the numeric fields of sections of INFO, which has them from the node.
func infoNumbers(c *Call, sections ...string) map[string]float64 {
	fields := map[string]float64{}
	for line := range strings.SplitSeq(c.Node.Info(sections), "\r\n") {
		name, text, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		if keys, isDB := strings.CutPrefix(text, "keys="); isDB {
			keys, _, _ = strings.Cut(keys, ",")
			n, _ := strconv.ParseFloat(keys, 64)
			fields["keys"] += n
			continue
		}
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			fields[name] = n
		}
	}
	return fields
}

func memoryStats(c *Call) error {
	f := infoNumbers(c, "memory", "keyspace")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	ratio := func(a, b float64) float64 {
		if b == 0 {
			return 0
		}
		return a / b
	}
	used, rss := f["used_memory"], f["used_memory_rss"]
	integers := []struct {
		name string
		n    float64
	}{
		{"peak.allocated", f["used_memory_peak"]}, {"total.allocated", used}, {"keys.count", f["keys"]},
		{"allocator.allocated", float64(m.HeapAlloc)}, {"allocator.active", float64(m.HeapInuse)},
		{"allocator.resident", float64(m.HeapSys - m.HeapReleased)}, {"fragmentation.bytes", rss - used},
	}
	ratios := []struct {
		name string
		f    float64
	}{
		{"peak.percentage", 100 * ratio(used, f["used_memory_peak"])},
		{"allocator-fragmentation.ratio", ratio(float64(m.HeapInuse), float64(m.HeapAlloc))},
		{"fragmentation", ratio(rss, used)},
	}
	c.Out.Map(len(integers) + len(ratios))
	for _, i := range integers {
		c.Out.BulkString(i.name)
		c.Out.Int(int64(i.n))
	}
	for _, r := range ratios {
		c.Out.BulkString(r.name)
		c.Out.Double(r.f)
	}
	return nil
}

func memoryDoctor(c *Call) error {
	f := infoNumbers(c, "memory")
	text := "Nothing to report: memory holds caches and buffers only, each within its option.\n"
	if limit := f["maxmemory"]; limit > 0 && f["used_memory"] > limit {
		text = fmt.Sprintf("The process uses %.0f bytes, more than the %.0f of maxmemory. Caches take their "+
			"shares of maxmemory; buffers of clients and the engine's memtables come on top.\n",
			f["used_memory"], limit)
	}
	c.Out.Verbatim("txt", text)
	return nil
}

func mallocStats(c *Call) error {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.Out.Verbatim("txt", fmt.Sprintf("Go heap: allocated %d, in use %d, idle %d, released %d, objects %d\n"+
		"From the system: %d, of it stacks %d\nCollections: %d, pauses %d ns in all, next at %d bytes\n"+
		"Goroutines: %d\n",
		m.HeapAlloc, m.HeapInuse, m.HeapIdle, m.HeapReleased, m.HeapObjects, m.Sys, m.StackSys, m.NumGC,
		m.PauseTotalNs, m.NextGC, runtime.NumGoroutine()))
	return nil
}
