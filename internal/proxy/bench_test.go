package proxy

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// BenchmarkRedisBenchmark runs redis-benchmark against a redis-server, directly and through the proxy. It
// shares the machine with both, so only the ratios of one run mean anything.
func BenchmarkRedisBenchmark(b *testing.B) {
	bin, err := exec.LookPath("redis-benchmark")
	if err != nil {
		b.Skip("redis-benchmark is not installed")
	}
	r := startRedis(b)
	p := startProxy(b, clusterOf(1, r.addr), nil)
	for _, pipeline := range []int{1, 16} {
		for _, test := range []string{"set", "get"} {
			for _, via := range []struct{ name, addr string }{{"direct", r.addr}, {"proxy", p.Addr().String()}} {
				b.Run(fmt.Sprintf("%s/P%d/%s", test, pipeline, via.name), func(b *testing.B) {
					host, port, _ := net.SplitHostPort(via.addr)
					n := 60000 * min(pipeline, 10)
					for b.Loop() {
						out, err := exec.Command(bin, "-h", host, "-p", port, "-t", test, "-n", fmt.Sprint(n), "-c", "50",
							"-P", fmt.Sprint(pipeline), "-d", "128", "-r", "100000", "--csv").Output()
						if err != nil {
							b.Fatal(err)
						}
						lines := strings.Split(strings.TrimSpace(string(out)), "\n")
						var rps float64
						fields := strings.Split(strings.ReplaceAll(lines[len(lines)-1], `"`, ""), ",")
						if len(fields) < 7 {
							b.Fatalf("unexpected output %q", out)
						}
						fmt.Sscan(fields[1], &rps)
						b.ReportMetric(rps, "req/s")
						var p99 float64
						fmt.Sscan(fields[6], &p99)
						b.ReportMetric(p99, "p99-ms")
					}
				})
			}
		}
	}
}
