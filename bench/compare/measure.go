package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"haypile/internal/testcluster"
	"haypile/internal/testcluster/wire"
)

// sample is one measurement of one server.
type sample struct {
	rps     float64
	p99     float64 // milliseconds
	cpuOp   float64 // microseconds of server CPU per operation
	rss     int64   // bytes, after the measurement
	elapsed time.Duration
}

// workload is one line of the result.
type workload struct {
	test
	depth int // of the pipeline
}

// result holds the samples of one workload, [side][round].
type result struct {
	workload
	samples [2][]sample
}

// measurements holds everything that was measured.
type measurements struct {
	results   []result
	rssEmpty  [2]int64
	rssFilled [2]int64
}

func (c *config) measureAll() (*measurements, error) {
	m := &measurements{}
	for i, s := range c.sides {
		var err error
		if m.rssEmpty[i], err = s.proc.RSS(); err != nil {
			return nil, err
		}
		if c.keys > 0 {
			fmt.Printf("filling %s with %d keys\n", s.kind, c.keys)
		}
		if err := fill(s.proc, c.keys, c.size); err != nil {
			return nil, fmt.Errorf("filling %s: %w", s.kind, err)
		}
		if err := settle(s.proc); err != nil {
			return nil, err
		}
		if m.rssFilled[i], err = s.proc.RSS(); err != nil {
			return nil, err
		}
	}
	for _, test := range c.tests {
		for _, p := range test.at(c.pipelines) {
			r := result{workload: workload{test, p}}
			for round := range c.rounds {
				for k := range 2 {
					i := (round + k) % 2 // A B, B A, A B, ...
					s, err := c.measure(c.sides[i].proc, r.workload)
					if err != nil {
						return nil, fmt.Errorf("%s, %s pipeline %d: %w", c.sides[i].kind, test.name, p, err)
					}
					r.samples[i] = append(r.samples[i], s)
					fmt.Printf("%-12s P=%-3d round %d  %-8s %9.0f rps  p99 %7.3f ms  %6.2f us CPU/op\n",
						test.name, p, round+1, c.sides[i].kind, s.rps, s.p99, s.cpuOp)
				}
			}
			m.results = append(m.results, r)
		}
	}
	return m, nil
}

func (c *config) measure(p *testcluster.Process, w workload) (sample, error) {
	n := c.requests
	if w.depth > 1 {
		n *= 4
	}
	if err := w.ready(p); err != nil {
		return sample{}, err
	}
	before, err := p.CPU()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	_, port, _ := strings.Cut(p.Spec.Addr, ":")
	args := []string{"--csv", "-p", port, "-n", strconv.Itoa(n), "-d", strconv.Itoa(c.size),
		"-c", strconv.Itoa(c.clients), "-P", strconv.Itoa(w.depth)}
	if c.keys > 0 {
		args = append(args, "-r", strconv.Itoa(c.keys))
	}
	out, err := exec.Command("redis-benchmark", append(args, w.args()...)...).Output()
	if err != nil {
		return sample{}, fmt.Errorf("redis-benchmark: %w: %s", err, out)
	}
	s, err := parseCSV(string(out))
	if err != nil {
		return sample{}, err
	}
	s.elapsed = time.Since(start)
	if err := settle(p); err != nil {
		return sample{}, err
	}
	after, err := p.CPU()
	if err != nil {
		return sample{}, err
	}
	s.cpuOp = float64((after - before).Microseconds()) / float64(n)
	s.rss, err = p.RSS()
	return s, err
}

// parseCSV reads the one data line of `redis-benchmark --csv`.
func parseCSV(out string) (sample, error) {
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		return sample{}, fmt.Errorf("redis-benchmark's CSV: %w", err)
	}
	if len(rows) != 2 {
		return sample{}, fmt.Errorf("redis-benchmark printed %d lines for one test:\n%s", len(rows), out)
	}
	field := func(name string) (float64, error) {
		i := slices.Index(rows[0], name)
		if i < 0 {
			return 0, fmt.Errorf("redis-benchmark's CSV has no column %q", name)
		}
		return strconv.ParseFloat(rows[1][i], 64)
	}
	var s sample
	var err2 error
	s.rps, err = field("rps")
	s.p99, err2 = field("p99_latency_ms")
	return s, errors.Join(err, err2)
}

// settle waits until the server is idle: less than 3 % of a CPU over half a second, for at most a minute.
func settle(p *testcluster.Process) error {
	const window, limit, bound = 500 * time.Millisecond, 15 * time.Millisecond, time.Minute
	last, err := p.CPU()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(bound); time.Now().Before(deadline); {
		<-time.After(window)
		now, err := p.CPU()
		if err != nil {
			return err
		}
		if now-last < limit {
			return nil
		}
		last = now
	}
	return nil // busy in the background for good: that is part of what is measured
}

// fill writes the keys that redis-benchmark draws from, so that every GET finds one.
func fill(p *testcluster.Process, keys, size int) error {
	c, err := p.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	c.Timeout = time.Minute
	const batch = 200
	value := strings.Repeat("x", size)
	var buf []byte
	for i := 0; i < keys; i += batch {
		n := min(batch, keys-i)
		buf = buf[:0]
		for k := i; k < i+n; k++ {
			buf = wire.AppendCommand(buf, "SET", fmt.Sprintf("key:%012d", k), value)
		}
		if err := c.SendRaw(buf); err != nil {
			return err
		}
		for range n {
			v, err := c.Read()
			if err = errors.Join(err, v.Err()); err != nil {
				return err
			}
		}
	}
	return nil
}

// median of the values; the mean of the middle two if their number is even.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
