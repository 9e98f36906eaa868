package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const sampleCSV = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms",` +
	`"p95_latency_ms","p99_latency_ms","max_latency_ms"
"SET","666666.69","0.825","0.032","0.799","1.271","1.367","3.279"
`

func TestParseCSV(t *testing.T) {
	s, err := parseCSV(sampleCSV)
	if err != nil || s.rps != 666666.69 || s.p99 != 1.367 {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, bad := range []string{
		"", "\"test\",\"rps\"\n", strings.Replace(sampleCSV, "p99_latency_ms", "p99", 1),
		strings.Replace(sampleCSV, "666666.69", "many", 1),
	} {
		if s, err := parseCSV(bad); err == nil {
			t.Errorf("%q: accepted as %+v", bad, s)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	c := &config{clients: 50, keys: 1000, size: 128, requests: 10, rounds: 3}
	c.sides[0].kind, c.sides[1].kind = "haypile", "redis"
	m := &measurements{results: []result{{workload: workload{test{name: "set"}, 16}, samples: [2][]sample{
		{{rps: 90, p99: 2, cpuOp: 4}, {rps: 80, p99: 2, cpuOp: 4}, {rps: 70, p99: 2, cpuOp: 4}},
		{{rps: 100, p99: 1, cpuOp: 2}, {rps: 100, p99: 1, cpuOp: 2}, {rps: 140, p99: 1, cpuOp: 2}},
	}}}}
	f := facts{cpu: "Some(R) CPU @ 2 GHz", cores: 2, when: time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC)}
	text := report(c, f, m)
	want := "| SET | 16 | 80 | 100 | **0.80** (0.50-0.90) | 2.000 | 1.000 | 2.00 | 4.00 | 2.00 | 2.00 |"
	if !strings.Contains(text, want) {
		t.Errorf("no line %q in\n%s", want, text)
	}
	if got := f.fileName("strings"); got != "2030-01-02-some-r-cpu-2-ghz-2cores.md" {
		t.Errorf("file name %q", got)
	}
	if got := f.fileName("types"); got != "2030-01-02-some-r-cpu-2-ghz-2cores-types.md" {
		t.Errorf("file name %q", got)
	}
}

// TestSuites: every test of a suite is one of redis-benchmark or of this program.
func TestSuites(t *testing.T) {
	theirs := strings.Split("set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,mset", ",")
	for name, s := range suites {
		for _, w := range s.tests {
			if len(w.command) == 0 && !slices.Contains(theirs, w.name) {
				t.Errorf("%s: nobody knows the test %q", name, w.name)
			}
		}
		if s.rounds == 0 || s.requests == 0 || len(s.pipelines) == 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
