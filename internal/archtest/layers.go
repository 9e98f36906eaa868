package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// layers gives each package its layer: a package may import packages of lower layers. A directory that is
// not listed takes the entry of the nearest listed parent; one without any is a violation.
var layers = map[string]int{
	"internal/resp": 0, "internal/command": 0, "internal/option": 0, "internal/slot": 0, "internal/topology": 0,
	"internal/event": 0, "internal/keyevent": 0, "internal/disk": 0, "internal/glob": 0, "internal/commandinfo": 0,
	"internal/quote": 0,

	"internal/encoding": 1, "internal/storage": 1, "internal/replog": 1, "internal/rdb": 1, "internal/metastore": 1,
	"internal/datadir": 1,

	"internal/keyspace": 2,

	"internal/types": 3, "internal/acl": 3, "internal/pubsub": 3, "internal/tracking": 3, "internal/script": 3,

	"internal/commands": 4, "internal/exec": 4, "internal/replication": 4, "internal/session": 4,
	"internal/migrate": 4, "internal/agent": 4,

	"internal/server": 5, "internal/proxy": 5, "internal/coordinator": 5, "internal/dashboard": 5,
	"internal/testcluster": 5, "internal/archtest": 5, "internal/demo": 5, "internal/drill": 5,

	"cmd": 6, "tests": 6, "bench": 6,
}

// sideways lists the imports within one layer that are allowed, with their reasons.
var sideways = map[[2]string]string{
	{"internal/topology", "internal/slot"}:         "a shard owns ranges of slots",
	{"internal/exec", "internal/commands"}:         "the gate runs the commands that the table names",
	{"internal/session", "internal/exec"}:          "a connection hands its commands to the gate",
	{"internal/option", "internal/keyevent"}:       "an option names classes of events",
	{"internal/option", "internal/quote"}:          "lines of the configuration are split as Redis does",
	{"internal/resp", "internal/quote"}:            "inline requests are split as Redis does",
	{"internal/commandinfo", "internal/command"}:   "COMMAND is answered from the table",
	{"internal/commandinfo", "internal/glob"}:      "COMMAND LIST FILTERBY PATTERN",
	{"internal/commandinfo", "internal/resp"}:      "COMMAND is answered from the table, to a client",
	{"internal/session", "internal/commands"}:      "connection commands work on the connection's state",
	{"internal/dashboard", "internal/coordinator"}: "the dashboard is the coordinator's HTTP face",
}

// ban forbids a package to reach others, directly or through what it imports; with direct, only directly.
type ban struct {
	from   string
	to     []string
	direct bool
	reason string
}

var bans = []ban{
	{"internal/types", []string{"internal/session", "internal/exec"}, false,
		"a data type computes on a transaction; admission and connections are other people's work"},
	{"internal/types", []string{"internal/resp"}, true,
		"a data type knows no protocol; only the effects that keyspace logs for it are written in RESP"},
	{"internal/commands", []string{"internal/session", "internal/server", "internal/replication"}, false,
		"a command asks for what it needs through a narrow interface in its call"},
	{"internal/proxy", []string{"internal/storage", "internal/types", "internal/commands", "internal/exec"}, false,
		"a proxy is handed the command table; it must not be able to run a command"},
	{"internal/replication", []string{"internal/commands", "internal/types"}, false,
		"replication carries bytes of the log; what they mean is not its business"},
	{"internal/coordinator", []string{"internal/exec", "internal/storage"}, false,
		"the control plane decides from reports, never from data"},
	{"internal/dashboard", []string{"internal/exec", "internal/storage"}, false,
		"the control plane decides from reports, never from data"},
	{"internal/testcluster", []string{"internal/server", "internal/proxy", "internal/dashboard"}, false,
		"the harness drives processes from outside, as users do"},
}

// foreignOnly says who alone may import what comes from outside the module.
var foreignOnly = []struct{ prefix, pkg, reason string }{
	{"github.com/cockroachdb/pebble", "internal/storage",
		"one package knows the engine, so that it can be replaced or upgraded"},
	{"go.etcd.io/", "internal/metastore",
		"one package knows the metastore, so that the others are tested with the one in memory"},
	{"github.com/zeebo/xxh3", "internal/types/str", "one package knows what DIGEST computes"},
	{"github.com/spf13/cobra", "cmd", "the command line is made in one place"},
}

// Layers checks that imports go down only.
func Layers(t *Tree) []string {
	var bad []string
	for _, p := range t.Sorted() {
		from, ok := layerOf(p.Dir)
		if !ok {
			bad = append(bad, fmt.Sprintf("%s: not in the layer table (internal/archtest/layers.go)", p.Dir))
			continue
		}
		own, _ := p.Imports()
		for _, imp := range own {
			to, ok := layerOf(imp)
			switch {
			case !ok:
				bad = append(bad, fmt.Sprintf("%s imports %s, which is not in the layer table", p.Dir, imp))
			case to < from || allowedSideways(p.Dir, imp) && to == from:
			case to == from:
				bad = append(bad, fmt.Sprintf("%s imports %s of the same layer %d", p.Dir, imp, to))
			default:
				bad = append(bad, fmt.Sprintf("%s [%d] imports upwards: %s [%d]", p.Dir, from, imp, to))
			}
		}
	}
	return bad
}

// Bans checks the packages that must not reach each other, however indirectly.
func Bans(t *Tree) []string {
	var bad []string
	for _, b := range bans {
		for _, p := range t.Sorted() {
			if !within(p.Dir, b.from) {
				continue
			}
			for _, to := range b.to {
				if chain := t.chain(p.Dir, to); chain != nil && (len(chain) == 2 || !b.direct) {
					path := strings.Join(chain, " -> ")
					bad = append(bad, fmt.Sprintf("%s must not reach %s (%s): %s", b.from, to, b.reason, path))
				}
			}
		}
	}
	return bad
}

// Foreign checks who imports what comes from outside: layer 0 nothing, the others within foreignOnly.
func Foreign(t *Tree) []string {
	var bad []string
	for _, p := range t.Sorted() {
		_, foreign := p.Imports()
		layer, _ := layerOf(p.Dir)
		for _, imp := range foreign {
			standard := !strings.Contains(strings.Split(imp, "/")[0], ".")
			if standard {
				continue
			}
			if layer == 0 {
				bad = append(bad, fmt.Sprintf("%s imports %s: layer 0 is made of the standard library alone", p.Dir, imp))
			}
			for _, only := range foreignOnly {
				if strings.HasPrefix(imp, only.prefix) && !within(p.Dir, only.pkg) {
					bad = append(bad, fmt.Sprintf("%s imports %s, which only %s may (%s)", p.Dir, imp, only.pkg, only.reason))
				}
			}
		}
	}
	return bad
}

// within reports whether dir is parent or lies below it.
func within(dir, parent string) bool { return dir == parent || strings.HasPrefix(dir, parent+"/") }

// layerOf returns the layer of the nearest listed directory.
func layerOf(dir string) (int, bool) {
	for d := dir; ; {
		if l, ok := layers[d]; ok {
			return l, true
		}
		i := strings.LastIndexByte(d, '/')
		if i < 0 {
			return 0, false
		}
		d = d[:i]
	}
}

// allowedSideways: listed, or both below one entry of the layer table.
func allowedSideways(from, to string) bool {
	for pair := range sideways {
		if within(from, pair[0]) && within(to, pair[1]) {
			return true
		}
	}
	return entryOf(from) == entryOf(to)
}

func entryOf(dir string) string {
	for d := dir; ; {
		if _, ok := layers[d]; ok {
			return d
		}
		i := strings.LastIndexByte(d, '/')
		if i < 0 {
			return ""
		}
		d = d[:i]
	}
}

// chain returns a path of imports from a package to one within target, or nil.
func (t *Tree) chain(from, target string) []string {
	type step struct {
		dir  string
		prev *step
	}
	seen := map[string]bool{from: true}
	for queue := []*step{{dir: from}}; len(queue) > 0; queue = queue[1:] {
		s := queue[0]
		if s.dir != from && within(s.dir, target) {
			var path []string
			for ; s != nil; s = s.prev {
				path = append(path, s.dir)
			}
			slices.Reverse(path)
			return path
		}
		p := t.Packages[s.dir]
		if p == nil {
			continue
		}
		own, _ := p.Imports()
		for _, imp := range own {
			if !seen[imp] {
				seen[imp] = true
				queue = append(queue, &step{dir: imp, prev: s})
			}
		}
	}
	return nil
}
