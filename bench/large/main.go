// Command large builds one collection of each type with many elements (ten million by default) on a server of
// its own, works on it, and writes what each step cost: time, latency, resident memory.
//
//	go run ./bench/large                            haypile server, 10 M elements, caches of 1 GiB
//	go run ./bench/large -server redis              the same on redis-server, for comparison
//	go run ./bench/large -types zset -n 1000000
//
// Steps of a type: create by commands of many elements; single operations on random elements at a fixed rate (see
// runner.timed for what counts); ranges of 100 from random places; a whole iteration in pages; the
// whole collection in one reply, while another connection writes to it; its expiry, and, created anew, its
// deletion, while another connection reads and writes another key.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"haypile/internal/testcluster"
)

// config is what the flags say.
type config struct {
	server string
	args   []string
	kinds  []kind
	n      int
	rate   int
	span   time.Duration
	seed   uint64
	dir    string
	out    string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "large:", err)
		os.Exit(1)
	}
}

func parseFlags() (*config, error) {
	var c config
	flag.StringVar(&c.server, "server", "haypile", "haypile or redis")
	args := flag.String("args", "--maxmemory 1gb", "more arguments for haypile server")
	types := flag.String("types", "hash,list,set,zset,stream", "types, with commas")
	flag.IntVar(&c.n, "n", 10_000_000, "elements of a collection")
	flag.IntVar(&c.rate, "rate", 1000, "requests a second of the steps that measure latency")
	flag.DurationVar(&c.span, "span", 20*time.Second, "how long such a step lasts")
	flag.Uint64Var(&c.seed, "seed", 1, "seed of the random choices")
	flag.StringVar(&c.dir, "dir", "", "directory for the server's data (default: a temporary one)")
	flag.StringVar(&c.out, "out", "bench/results", "directory for the result file; empty: print only")
	flag.Parse()
	if flag.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	for name := range strings.SplitSeq(*types, ",") {
		k, ok := kindNamed(name)
		if !ok {
			return nil, fmt.Errorf("no type %q", name)
		}
		c.kinds = append(c.kinds, k)
	}
	if c.n < batch || c.rate < 1 || c.span < time.Second {
		return nil, fmt.Errorf("-n is at least %d, -rate 1, -span 1s", batch)
	}
	c.args = strings.Fields(*args)
	return &c, nil
}

func run() (err error) {
	c, err := parseFlags()
	if err != nil {
		return err
	}
	base, err := os.MkdirTemp(c.dir, "haypile-large-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(base), testcluster.RemoveBinary()) }()
	head := heading(c, base)
	var b strings.Builder
	b.WriteString(head)
	for _, k := range c.kinds {
		text, err := c.runKind(k, filepath.Join(base, k.name))
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		b.WriteString(text)
	}
	if c.out == "" {
		return nil
	}
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	path := filepath.Join(c.out, fmt.Sprintf("%s-%s-large-%s.md", time.Now().UTC().Format("2006-01-02"), cpuName(), c.server))
	fmt.Println("\nwritten to", path)
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// launch starts the server of one type in an empty directory.
func (c *config) launch(dir string) (*testcluster.Process, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var spec testcluster.Spec
	var err error
	switch c.server {
	case "haypile":
		spec, err = testcluster.ServerSpec(dir, append([]string{"--appendfsync", "everysec"}, c.args...)...)
	case "redis":
		spec, err = testcluster.RedisSpec(dir, "--appendonly", "yes", "--appendfsync", "everysec",
			"--auto-aof-rewrite-percentage", "0", "--client-output-buffer-limit", "normal 0 0 0")
	default:
		err = fmt.Errorf("no server %q: haypile or redis", c.server)
	}
	if err != nil {
		return nil, err
	}
	return testcluster.Launch(spec)
}

// runKind is all steps of one type on a server of its own.
func (c *config) runKind(k kind, dir string) (text string, err error) {
	p, err := c.launch(dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.Kill(), os.RemoveAll(dir)) }()
	r := &runner{config: c, kind: k, proc: p}
	fmt.Printf("\n## %s of %d elements\n", k.name, c.n)
	if err := r.steps(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, p.LogTail())
	}
	return r.table(), nil
}

func heading(c *config, dir string) string {
	var st syscall.Statfs_t
	fs := "unknown"
	if syscall.Statfs(dir, &st) == nil {
		fs = fmt.Sprintf("type 0x%x", st.Type)
	}
	commit := output("git", "rev-parse", "--short", "HEAD")
	if s := output("git", "status", "--porcelain"); s != "" {
		commit += " with uncommitted changes"
	}
	version := "haypile at commit " + commit + " (" + runtime.Version() + "), arguments: " + strings.Join(c.args, " ")
	if c.server == "redis" {
		version, _, _ = strings.Cut(output("redis-server", "--version"), " sha=")
	}
	return fmt.Sprintf("# %s with collections of %d elements, %s\n\n- machine: %s, %d cores shared with the load generator, "+
		"%s, data on a file system of %s\n- program: %s; appendfsync everysec\n- latency: %d requests a second for %s, "+
		"waiting behind a slow one included\n- command: `go run ./bench/large %s`\n",
		c.server, c.n, time.Now().UTC().Format("2006-01-02 15:04 UTC"), cpuModel(), runtime.NumCPU(), output("uname", "-sr"), fs,
		version, c.rate, c.span, strings.Join(os.Args[1:], " "))
}

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

var modelLine = regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`)

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	if m := modelLine.FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return "unknown"
}

var notWord = regexp.MustCompile(`[^a-z0-9]+`)

func cpuName() string {
	return fmt.Sprintf("%s-%dcores", strings.Trim(notWord.ReplaceAllString(strings.ToLower(cpuModel()), "-"), "-"), runtime.NumCPU())
}
