// Command compare runs the same redis-benchmark workloads against two servers in turn, several rounds, and
// writes throughput, p99, server CPU per operation and memory of both, with their ratios.
//
//	go run ./bench/compare                         haypile server against redis-server
//	go run ./bench/compare -a redis -b redis       a check of the method: all ratios near 1
//	go run ./bench/compare -tests set,get,hset,incr -pipelines 1,16,64
//
// Both servers run all the time, on this machine, with appendfsync everysec; only one is loaded at a time, and
// a measurement begins when both are idle. The CPU time of a measurement goes on until its server is idle
// again, so that work in the background is paid for by those who caused it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"haypile/internal/testcluster"
)

// config is what the flags say.
type config struct {
	sides     [2]side
	tests     []string
	pipelines []int
	rounds    int
	requests  int
	clients   int
	keys      int
	size      int
	dir, out  string
}

// side is one of the two servers.
type side struct {
	kind string // haypile or redis
	args []string
	proc *testcluster.Process
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func parseFlags() (*config, error) {
	var c config
	a := flag.String("a", "haypile", "first server: haypile or redis")
	b := flag.String("b", "redis", "second server, the base of the ratios")
	aArgs := flag.String("a-args", "", "more arguments for the first server")
	bArgs := flag.String("b-args", "", "more arguments for the second server")
	tests := flag.String("tests", "set,get", "redis-benchmark tests (its -t)")
	pipelines := flag.String("pipelines", "1,16", "pipeline depths")
	flag.IntVar(&c.rounds, "rounds", 5, "rounds; each measures both servers, the first of them in turn")
	flag.IntVar(&c.requests, "requests", 300_000, "requests of a measurement at pipeline 1; four times that above")
	flag.IntVar(&c.clients, "clients", 50, "connections")
	flag.IntVar(&c.keys, "keys", 1_000_000, "random keys, all present before the first measurement")
	flag.IntVar(&c.size, "size", 128, "bytes of a value")
	flag.StringVar(&c.dir, "dir", "", "directory for the servers' data (default: a temporary one)")
	flag.StringVar(&c.out, "out", "bench/results", "directory for the result file; empty: print only")
	flag.Parse()
	if flag.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	c.sides = [2]side{{kind: *a, args: strings.Fields(*aArgs)}, {kind: *b, args: strings.Fields(*bArgs)}}
	c.tests = strings.Split(*tests, ",")
	for _, p := range strings.Split(*pipelines, ",") {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("pipeline depth %q", p)
		}
		c.pipelines = append(c.pipelines, n)
	}
	if c.rounds < 1 || c.requests < 1 || c.keys < 1 {
		return nil, errors.New("rounds, requests and keys are positive numbers")
	}
	return &c, nil
}

func run() (err error) {
	c, err := parseFlags()
	if err != nil {
		return err
	}
	if _, err := exec.LookPath("redis-benchmark"); err != nil {
		return fmt.Errorf("redis-benchmark is needed (apt-get install redis-tools): %w", err)
	}
	base, err := os.MkdirTemp(c.dir, "haypile-bench-")
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range c.sides {
			if s.proc != nil {
				err = errors.Join(err, s.proc.Kill())
			}
		}
		err = errors.Join(err, os.RemoveAll(base), testcluster.RemoveBinary())
	}()
	for i := range c.sides {
		if err := c.sides[i].start(filepath.Join(base, string(rune('a'+i)))); err != nil {
			return err
		}
	}
	facts := machineFacts(base)
	results, err := c.measureAll()
	if err != nil {
		return err
	}
	text := report(c, facts, results)
	fmt.Println()
	fmt.Print(text)
	if c.out == "" {
		return nil
	}
	path := filepath.Join(c.out, facts.fileName())
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	fmt.Println("\nwritten to", path)
	return os.WriteFile(path, []byte(text), 0o644)
}

func (s *side) start(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var spec testcluster.Spec
	var err error
	switch s.kind {
	case "haypile":
		spec, err = testcluster.ServerSpec(dir, append([]string{"--appendfsync", "everysec"}, s.args...)...)
	case "redis":
		// No rewrite of the append-only file: a fork in the middle of a measurement is not what is compared.
		args := []string{"--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"}
		spec, err = testcluster.RedisSpec(dir, append(args, s.args...)...)
	default:
		err = fmt.Errorf("unknown server %q: haypile or redis", s.kind)
	}
	if err != nil {
		return err
	}
	s.proc, err = testcluster.Launch(spec)
	return err
}
