package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// facts describes the machine and the programs.
type facts struct {
	cpu, kernel, filesystem string
	cores                   int
	memory                  string
	redis, commit, goVer    string
	command                 string
	when                    time.Time
}

func machineFacts(dir string) facts {
	f := facts{
		cores: runtime.NumCPU(), goVer: runtime.Version(), when: time.Now().UTC(),
		cpu: procField("/proc/cpuinfo", "model name"), memory: procField("/proc/meminfo", "MemTotal"),
		kernel: output("uname", "-sr"), redis: output("redis-server", "--version"),
		commit: output("git", "rev-parse", "--short", "HEAD"),
	}
	if i := strings.Index(f.redis, " sha="); i > 0 {
		f.redis = f.redis[:i]
	}
	if out := output("git", "status", "--porcelain"); out != "" && out != "unknown" {
		f.commit += " with uncommitted changes"
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err == nil {
		f.filesystem = fmt.Sprintf("%s (type 0x%x)", output("stat", "-f", "-c", "%T", dir), st.Type)
	}
	f.command = "go run ./bench/compare"
	for _, arg := range os.Args[1:] {
		if arg == "" || strings.ContainsAny(arg, " \t") {
			arg = "'" + arg + "'"
		}
		f.command += " " + arg
	}
	return f
}

var notWord = regexp.MustCompile(`[^a-z0-9]+`)

// fileName is <date>-<host facts>-<suite>.md; without the suite for strings.
func (f facts) fileName(suite string) string {
	cpu := strings.Trim(notWord.ReplaceAllString(strings.ToLower(f.cpu), "-"), "-")
	name := fmt.Sprintf("%s-%s-%dcores", f.when.Format("2006-01-02"), cpu, f.cores)
	if suite != "strings" {
		name += "-" + suite
	}
	return name + ".md"
}

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func procField(path, key string) string {
	file, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer file.Close()
	for sc := bufio.NewScanner(file); sc.Scan(); {
		if k, v, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// report renders everything as Markdown.
func report(c *config, f facts, m *measurements) string {
	var b strings.Builder
	a, base := c.sides[0].kind, c.sides[1].kind
	fmt.Fprintf(&b, "# %s against %s, %s\n\n", a, base, f.when.Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(&b, "- machine: %s, %d cores shared with the load generator, %s of memory, %s, data on %s\n",
		f.cpu, f.cores, f.memory, f.kernel, f.filesystem)
	fmt.Fprintf(&b, "- programs: haypile at commit %s (%s), %s, its redis-benchmark\n", f.commit, f.goVer, f.redis)
	keys := "each test on one key"
	if c.keys > 0 {
		keys = fmt.Sprintf("%d random keys or numbers, all keys present", c.keys)
	}
	fmt.Fprintf(&b, "- load: %d clients, values of %d bytes, %s; %d requests a "+
		"measurement at pipeline 1, %d above; median of %d rounds, the two servers in turn\n",
		c.clients, c.size, keys, c.requests, 4*c.requests, c.rounds)
	b.WriteString("- both with appendfsync everysec; redis-server with appendonly yes and no rewrite of the file\n")
	for i, s := range c.sides {
		if len(s.args) > 0 {
			fmt.Fprintf(&b, "- arguments of server %c: %s\n", 'A'+i, strings.Join(s.args, " "))
		}
	}
	fmt.Fprintf(&b, "- command: `%s`\n\n", f.command)
	fmt.Fprintf(&b, "| test | pipeline | %s rps | %s rps | ratio (rounds) | %s p99 ms | %s p99 ms | ratio "+
		"| %s us CPU/op | %s us CPU/op | ratio |\n", a, base, a, base, a, base)
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range m.results {
		rps, p99, cpu := r.column(rpsOf), r.column(p99Of), r.column(cpuOf)
		low, high := r.pairedRange()
		fmt.Fprintf(&b, "| %s | %d | %.0f | %.0f | **%.2f** (%.2f-%.2f) | %.3f | %.3f | %.2f | %.2f | %.2f | %.2f |\n",
			strings.ToUpper(r.name), r.depth, rps[0], rps[1], ratio(rps), low, high,
			p99[0], p99[1], ratio(p99), cpu[0], cpu[1], ratio(cpu))
	}
	b.WriteString("\n| resident memory | " + a + " | " + base + " |\n|---|---|---|\n")
	mib := func(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
	fmt.Fprintf(&b, "| empty | %s | %s |\n", mib(m.rssEmpty[0]), mib(m.rssEmpty[1]))
	fmt.Fprintf(&b, "| filled | %s | %s |\n", mib(m.rssFilled[0]), mib(m.rssFilled[1]))
	if n := len(m.results); n > 0 {
		last := m.results[n-1].samples
		fmt.Fprintf(&b, "| at the end | %s | %s |\n", mib(last[0][len(last[0])-1].rss), mib(last[1][len(last[1])-1].rss))
	}
	return b.String()
}

func rpsOf(s sample) float64 { return s.rps }
func p99Of(s sample) float64 { return s.p99 }
func cpuOf(s sample) float64 { return s.cpuOp }

// column returns the medians of one figure, of both sides.
func (r result) column(of func(sample) float64) [2]float64 {
	var medians [2]float64
	for i, samples := range r.samples {
		values := make([]float64, len(samples))
		for j, s := range samples {
			values[j] = of(s)
		}
		medians[i] = median(values)
	}
	return medians
}

// pairedRange is the lowest and highest throughput ratio of a single round.
func (r result) pairedRange() (low, high float64) {
	for i := range r.samples[0] {
		x := ratio([2]float64{r.samples[0][i].rps, r.samples[1][i].rps})
		if i == 0 || x < low {
			low = x
		}
		high = max(high, x)
	}
	return low, high
}

func ratio(v [2]float64) float64 {
	if v[1] == 0 {
		return 0
	}
	return v[0] / v[1]
}
