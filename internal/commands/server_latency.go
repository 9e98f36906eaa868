package commands

import (
	"fmt"
	"math"
	"strings"
	"time"

	"haypile/internal/option"
)

var latencyCommand = &Command{
	Spec: containerSpec("LATENCY", "2.8.13", "Shows events that took long, and how long commands take."),
	Sub: []*Command{
		latencySub("LATEST", "2.8.13", 2, "LATEST", "The latest and the worst sample of each event.",
			latencyLatest),
		latencySub("HISTORY", "2.8.13", 3, "HISTORY event", "The samples of an event.", latencyHistory),
		latencySub("RESET", "2.8.13", -2, "RESET [event [event ...]]",
			"Forgets the samples: all, or of the events.", latencyReset),
		latencySub("GRAPH", "2.8.13", 3, "GRAPH event", "Draws the samples of an event.", latencyGraph),
		latencySub("DOCTOR", "2.8.13", 2, "DOCTOR", "Says in words what the samples show.", latencyDoctor),
		differs(latencySub("HISTOGRAM", "7.0.0", -2, "HISTOGRAM [command [command ...]]",
			"How long commands took, as a cumulative distribution.", latencyHistogram),
			"The buckets are powers of two microseconds throughout."),
		helpSub("LATENCY", "server",
			"DOCTOR", "    Return a human readable latency analysis report.",
			"GRAPH <event>", "    Return an ASCII latency graph for the <event> class.",
			"HISTORY <event>", "    Return time-latency samples for the <event> class.",
			"LATEST", "    Return the latest latency samples for all events.",
			"RESET [<event> ...]", "    Reset latency data of one or more <event> classes.",
			"    (default: reset all data for all event classes)",
			"HISTOGRAM [COMMAND ...]",
			"    Return a cumulative distribution of latencies in the format of a histogram for the "+
				"specified command names.",
			"    If no commands are specified then all histograms are replied."),
	},
}

func latencySub(name, since string, arity int, syntax, summary string, run func(*Call) error) *Command {
	return complexity(&Command{
		Spec: serverSpec(name, since, arity, "LATENCY "+syntax, summary, adminAnytime), Run: run,
	}, "O(N) samples.")
}

func latencyLatest(c *Call) error {
	l := c.Node.Latency()
	events := l.Events()
	a, n := c.Out.Defer(), 0
	for _, e := range events {
		samples, worst := l.History(e)
		if len(samples) == 0 {
			continue // reset since Events
		}
		last := samples[len(samples)-1]
		c.Out.Array(4)
		c.Out.BulkString(e)
		c.Out.Int(last.At)
		c.Out.Int(last.Millis)
		c.Out.Int(worst)
		n++
	}
	c.Out.EndArray(a, n)
	return nil
}

func latencyHistory(c *Call) error {
	samples, _ := c.Node.Latency().History(string(c.Args[2]))
	c.Out.Array(len(samples))
	for _, s := range samples {
		c.Out.Array(2)
		c.Out.Int(s.At)
		c.Out.Int(s.Millis)
	}
	return nil
}

func latencyReset(c *Call) error {
	var events []string
	for _, a := range c.Args[2:] {
		events = append(events, string(a))
	}
	c.Out.Int(int64(c.Node.Latency().Reset(events...)))
	return nil
}

func latencyGraph(c *Call) error {
	event := string(c.Args[2])
	samples, worst := c.Node.Latency().History(event)
	if len(samples) == 0 {
		return Error("ERR No samples available for event '" + event + "'")
	}
	c.Out.Verbatim("txt", drawLatency(event, samples, worst, time.Now()))
	return nil
}

// The graph has a column for each sample, graphRows high; the age of a sample stands below, downwards.
const (
	graphRows = 4
	graphCols = 80
)

func drawLatency(event string, samples []LatencySample, worst int64, now time.Time) string {
	if len(samples) > graphCols {
		samples = samples[len(samples)-graphCols:]
	}
	low, high := samples[0].Millis, samples[0].Millis
	for _, s := range samples {
		low, high = min(low, s.Millis), max(high, s.Millis)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s - high %d ms, low %d ms (all time high %d ms)\n%s\n", event, high, low, worst,
		strings.Repeat("-", graphCols))
	tops := [...]byte{'_', 'o', '#'} // a third, two thirds, all of a row
	for row := graphRows - 1; row >= 0; row-- {
		for _, s := range samples {
			level := 0 // in thirds of a row
			if high > low {
				level = int((s.Millis - low) * int64(graphRows*len(tops)-1) / (high - low))
			}
			switch third := level - row*len(tops); {
			case third < 0:
				b.WriteByte(' ')
			case third < len(tops):
				b.WriteByte(tops[third])
			default:
				b.WriteByte('|')
			}
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	labels, longest := make([]string, len(samples)), 0
	for i, s := range samples {
		labels[i] = age(now.Unix() - s.At)
		longest = max(longest, len(labels[i]))
	}
	for row := range longest {
		for _, l := range labels {
			if row < len(l) {
				b.WriteByte(l[row])
			} else {
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// age is a number of seconds in the largest unit that it fills.
func age(seconds int64) string {
	switch {
	case seconds < 60:
		return formatInt(max(0, seconds)) + "s"
	case seconds < 3600:
		return formatInt(seconds/60) + "m"
	case seconds < 86400:
		return formatInt(seconds/3600) + "h"
	}
	return formatInt(seconds/86400) + "d"
}

func latencyDoctor(c *Call) error {
	l := c.Node.Latency()
	events := l.Events()
	var b strings.Builder
	switch {
	case len(events) > 0:
		b.WriteString("Events that took at least latency-monitor-threshold:\n\n")
		for i, e := range events {
			samples, worst := l.History(e)
			if len(samples) > 0 {
				fmt.Fprintf(&b, "%d. %s: %s\n", i+1, e, summarise(samples, worst))
			}
		}
		b.WriteString("\nSLOWLOG GET shows the commands; INFO shows whether the engine stalls or the disk is " +
			"full.\n")
	case c.Node.Config().Duration(option.LatencyMonitorThreshold) == 0:
		b.WriteString("Latency monitoring is off. CONFIG SET latency-monitor-threshold <milliseconds> turns " +
			"it on.\n")
	default:
		b.WriteString("No event took as long as latency-monitor-threshold since the last reset.\n")
	}
	c.Out.Verbatim("txt", b.String())
	return nil
}

// summarise describes samples in one line: how many, mean, mean deviation, period, worst.
func summarise(samples []LatencySample, worst int64) string {
	sum := int64(0)
	for _, s := range samples {
		sum += s.Millis
	}
	n := int64(len(samples))
	mean, deviation := sum/n, float64(0)
	for _, s := range samples {
		deviation += math.Abs(float64(s.Millis - mean))
	}
	period := float64(0)
	if n > 1 {
		period = float64(samples[n-1].At-samples[0].At) / float64(n-1)
	}
	return fmt.Sprintf("%d samples (mean %d ms, mean deviation %d ms, one in %.1f s). Worst of all time %d ms.",
		n, mean, int64(deviation)/n, period, worst)
}

func latencyHistogram(c *Call) error {
	a, n := c.Out.Defer(), 0
	show := func(cmd *Command) {
		if cmd.Stats.Calls.Load() > 0 {
			writeHistogram(c, cmd)
			n++
		}
	}
	showAll := func(cmd *Command) {
		show(cmd)
		for _, sub := range cmd.Sub {
			show(sub)
		}
	}
	if len(c.Args) == 2 {
		for _, cmd := range c.Node.All() {
			showAll(cmd)
		}
	}
	for _, name := range c.Args[2:] {
		head, sub, isSub := strings.Cut(strings.ToUpper(string(name)), "|")
		for _, cmd := range c.Node.All() {
			switch {
			case cmd.Name != head:
			case !isSub:
				showAll(cmd)
			default:
				for _, s := range cmd.Sub {
					if s.Name == sub {
						show(s)
					}
				}
			}
		}
	}
	c.Out.EndMap(a, n)
	return nil
}

func writeHistogram(c *Call, cmd *Command) {
	var buckets [][2]int64
	total := int64(0)
	cmd.Stats.Hist.Each(func(micros, count int64) {
		total += count
		buckets = append(buckets, [2]int64{micros, total})
	})
	c.Out.BulkString(cmd.FullName())
	c.Out.Map(2)
	c.Out.BulkString("calls")
	c.Out.Int(cmd.Stats.Calls.Load())
	c.Out.BulkString("histogram_usec")
	c.Out.Map(len(buckets))
	for _, b := range buckets {
		c.Out.Int(b[0])
		c.Out.Int(b[1])
	}
}
