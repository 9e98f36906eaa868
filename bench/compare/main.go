// Command compare runs the same redis-benchmark workloads against two servers in turn, several rounds, and
// writes throughput, p99, server CPU per operation and memory of both, with their ratios.
//
//	go run ./bench/compare                         haypile server against redis-server, SET and GET
//	go run ./bench/compare -suite types            redis-benchmark's tests of the other types, ranges, a script
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
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"haypile/internal/testcluster"
)

// config is what the flags say.
type config struct {
	suite     string
	sides     [2]side
	tests     []test
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
	suite := flag.String("suite", "strings", "what is loaded, and the defaults of the flags marked *: "+
		strings.Join(slices.Sorted(maps.Keys(suites)), ", "))
	a := flag.String("a", "haypile", "first server: haypile or redis")
	b := flag.String("b", "redis", "second server, the base of the ratios")
	aArgs := flag.String("a-args", "", "more arguments for the first server")
	bArgs := flag.String("b-args", "", "more arguments for the second server")
	tests := flag.String("tests", "", "* tests: of redis-benchmark (its -t), or of this program")
	pipelines := flag.String("pipelines", "", "* pipeline depths")
	var given config
	flag.IntVar(&given.rounds, "rounds", 0, "* rounds; each measures both servers, the first of them in turn")
	flag.IntVar(&given.requests, "requests", 0, "* requests of a measurement at pipeline 1; four times that above")
	flag.IntVar(&given.keys, "keys", 0, "* random keys, all present before the first measurement; strings only")
	flag.IntVar(&given.size, "size", 0, "* bytes of a value")
	flag.IntVar(&given.clients, "clients", 50, "connections")
	flag.StringVar(&given.dir, "dir", "", "directory for the servers' data (default: a temporary one)")
	flag.StringVar(&given.out, "out", "bench/results", "directory for the result file; empty: print only")
	flag.Parse()
	if flag.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	c, ok := suites[*suite]
	if !ok {
		return nil, fmt.Errorf("no suite %q", *suite)
	}
	c.suite, c.clients, c.dir, c.out = *suite, given.clients, given.dir, given.out
	c.sides = [2]side{{kind: *a, args: strings.Fields(*aArgs)}, {kind: *b, args: strings.Fields(*bArgs)}}
	flag.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "tests":
			c.tests = named(*tests)
		case "pipelines":
			c.pipelines = nil
		case "rounds":
			c.rounds = given.rounds
		case "requests":
			c.requests = given.requests
		case "keys":
			c.keys = given.keys
		case "size":
			c.size = given.size
		}
	})
	if c.pipelines == nil {
		for p := range strings.SplitSeq(*pipelines, ",") {
			n, err := strconv.Atoi(p)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("pipeline depth %q", p)
			}
			c.pipelines = append(c.pipelines, n)
		}
	}
	if c.rounds < 1 || c.requests < 1 || c.keys < 0 || c.size < 1 {
		return nil, errors.New("rounds, requests and size are positive numbers, keys is not negative")
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
	path := filepath.Join(c.out, facts.fileName(c.suite))
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
