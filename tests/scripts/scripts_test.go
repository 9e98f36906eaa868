package scripts

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"haypile/internal/resp"
	"haypile/internal/testcluster"
)

var (
	targetAddr = flag.String("target", os.Getenv("HAYPILE_SCRIPTS_TARGET"),
		"run against this address only (also $HAYPILE_SCRIPTS_TARGET)")
	targetKind = flag.String("target-kind", "server", "what -target is: reference, server or proxy")
	rewrite    = flag.Bool("rewrite", false, "take the expectations from the reference server")
)

func TestMain(m *testing.M) { testcluster.Main(m) }

// maxShown bounds the failures that are printed of one file.
const maxShown = 10

func TestReference(t *testing.T) {
	if *targetAddr != "" {
		t.Skip("-target is given")
	}
	p := testcluster.RunRedis(t)
	runAll(t, Target{Kind: Reference, Addr: p.Spec.Addr}, *rewrite)
}

func TestServer(t *testing.T) {
	if *targetAddr != "" || *rewrite {
		t.Skip("-target or -rewrite is given")
	}
	p := testcluster.RunServer(t)
	runAll(t, Target{Kind: Server, Addr: p.Spec.Addr}, false)
}

// TestServerInParts runs them where every reply to a reading command leaves in parts, from a snapshot.
func TestServerInParts(t *testing.T) {
	if *targetAddr != "" || *rewrite {
		t.Skip("-target or -rewrite is given")
	}
	p := testcluster.RunServer(t, "--reply-buffer", "1")
	runAll(t, Target{Kind: Server, Addr: p.Spec.Addr}, false)
	c, err := resp.Dial(t.Context(), p.Spec.Addr, resp.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	info, err := c.Do(t.Context(), "INFO", "stats")
	if err != nil || !strings.Contains(string(info.Str), "streamed_replies_broken:0\r\n") ||
		strings.Contains(string(info.Str), "streamed_replies:0\r\n") {
		t.Errorf("%s, %v", info.Str, err)
	}
}

func TestProxy(t *testing.T) {
	if *targetAddr != "" || *rewrite {
		t.Skip("-target or -rewrite is given")
	}
	c := testcluster.RunCluster(t, testcluster.ClusterOptions{})
	runAll(t, Target{Kind: Proxy, Addr: c.Proxy.Spec.Addr}, false)
}

func TestTarget(t *testing.T) {
	if *targetAddr == "" {
		t.Skip("no -target")
	}
	kinds := map[string]TargetKind{"reference": Reference, "server": Server, "proxy": Proxy}
	kind, ok := kinds[*targetKind]
	if !ok {
		t.Fatalf("-target-kind %q", *targetKind)
	}
	runAll(t, Target{Kind: kind, Addr: *targetAddr}, *rewrite && kind == Reference)
}

func transcripts(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("*/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts found: %v", err)
	}
	return paths
}

func runAll(t *testing.T, target Target, rewrite bool) {
	unusable := false
	for _, path := range transcripts(t) {
		if unusable {
			break
		}
		t.Run(strings.TrimSuffix(path, ".txt"), func(t *testing.T) {
			f, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			failures, err := Run(f, target, rewrite)
			for i, failure := range failures {
				if i == maxShown {
					t.Errorf("... and %d more", len(failures)-maxShown)
					break
				}
				t.Error(failure)
			}
			unusable = errors.Is(err, ErrUnusable)
			if err != nil {
				t.Fatal(err)
			}
			if rewrite {
				if err := os.WriteFile(path, []byte(f.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
