package coordinator

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"haypile/internal/topology"
)

var update = flag.Bool("update", false, "write what was found into testdata")

// TestTranscripts runs testdata/*.txt. A file is a list of cases: "# name", lines that set up one shard and
// what the dashboard has seen of it, a command, "----", and the expected output up to an empty line.
//
//	shard epoch=3 [promised=4] [primary=a]
//	node ID [prio=100] [zone=z] [see=CONN] [heard=50ms] [end=100 [applied=100]] [role=replica ...]
//	started 10s            age of the dashboard; default 1m
//	failedover 5s          time since the last failover
//	answer ID [log=3] [end=100] [pending] [unfit=reason] [barred=reason]
//
// The commands are analyse (problems, and the plans that answer them), choose [zone=z] and
// switchover [to=ID]. A node is connected, heard 50 ms ago, and follows or is the primary unless told
// otherwise.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no transcripts")
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		var out bytes.Buffer
		for i, c := range strings.Split(strings.TrimSpace(string(b)), "\n\n") {
			in, want, ok := strings.Cut(c+"\n", "----\n")
			if !ok {
				if !*update {
					t.Fatalf("%s: case %d has no ----", file, i+1)
				}
			}
			name, _, _ := strings.Cut(strings.TrimPrefix(in, "# "), "\n")
			got := transcript(t, in)
			if got != want && !*update {
				t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) { t.Errorf("got:\n%s\nwant:\n%s", got, want) })
			}
			if i > 0 {
				out.WriteString("\n")
			}
			fmt.Fprintf(&out, "%s\n----\n%s", strings.TrimSpace(in), got)
		}
		if *update {
			must(t, os.WriteFile(file, out.Bytes(), 0o644))
		}
	}
}

// scene is what a case sets up.
type scene struct {
	now     time.Time
	rec     Record
	view    View
	answers []Candidate
}

func transcript(t *testing.T, in string) string {
	t.Helper()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &scene{now: now, rec: Record{Shard: topology.Shard{ID: "s"}}, view: View{Started: now.Add(-time.Minute),
		Nodes: map[topology.NodeID]NodeView{}, LastFailover: map[topology.ShardID]time.Time{}}}
	for line := range strings.SplitSeq(strings.TrimSpace(in), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		args := map[string]string{}
		for _, w := range words[1:] {
			k, v, _ := strings.Cut(w, "=")
			args[k] = strings.ReplaceAll(v, "_", " ")
		}
		switch words[0] {
		case "shard":
			s.rec.Shard.Epoch, s.rec.Shard.Primary = epochOf(args["epoch"]), topology.NodeID(args["primary"])
			s.rec.Promised = max(s.rec.Shard.Epoch, epochOf(args["promised"]))
		case "node":
			s.node(t, words[1], args)
		case "started":
			s.view.Started = now.Add(-duration(t, words[1]))
		case "failedover":
			s.view.LastFailover["s"] = now.Add(-duration(t, words[1]))
		case "answer":
			s.answer(words[1], args)
		case "analyse":
			return s.analyse()
		case "choose":
			return fmt.Sprintf("%+v\n", Choose(s.answers, args["zone"]))
		case "switchover":
			p, err := SwitchoverPlan(s.rec, &s.view, topology.NodeID(args["to"]), Config{})
			if err != nil {
				return fmt.Sprintln("refused:", err)
			}
			return planText(p)
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	t.Fatalf("no command in %q", in)
	return ""
}

func epochOf(s string) topology.Epoch { return topology.Epoch(number(s)) }

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	must(t, err)
	return d
}

func (s *scene) node(t *testing.T, id string, a map[string]string) {
	n := topology.Node{ID: topology.NodeID(id), Addr: id + ":1", AgentAddr: id + ":2", Priority: 100,
		Zone: a["zone"]}
	if p, ok := a["prio"]; ok {
		n.Priority = int(number(p))
	}
	s.rec.Shard.Nodes = append(s.rec.Shard.Nodes, n)
	r := &topology.NodeReport{RunID: id, Role: topology.RoleReplica, Managed: true, Epoch: s.rec.Shard.Epoch,
		LogEpoch: s.rec.Shard.Epoch, End: 100, Priority: 100}
	if n.ID == s.rec.Shard.Primary {
		r.Role = topology.RolePrimary
	} else {
		r.Link = topology.Link{State: topology.LinkUp, Primary: string(s.rec.Shard.Primary) + ":1", AgeMs: 20}
	}
	v := NodeView{Conn: ConnUp, Since: s.view.Started, Heard: s.now.Add(-50 * time.Millisecond), Report: r,
		Seq: 9}
	_, r.Pending = a["pending"]
	_, r.Link.Broken = a["broken"]
	_, r.DiskFull = a["full"]
	r.Failed = a["failed"]
	applied := int64(-1)
	for k, x := range a {
		switch k {
		case "see":
			v.Conn = ConnState(x)
		case "heard":
			if v.Heard = s.now.Add(-duration(t, x)); x == "0s" {
				v.Heard, v.Report = time.Time{}, nil
			}
		case "role":
			r.Role = topology.Role(x)
		case "epoch":
			r.Epoch = epochOf(x)
		case "promised":
			r.Promised = epochOf(x)
		case "end":
			r.End = number(x)
		case "applied":
			applied = number(x)
		case "ownprio":
			r.Priority = int(number(x))
		case "link":
			r.Link.State = topology.LinkState(x)
		case "of":
			r.Link.Primary = x
		case "age":
			r.Link.AgeMs = duration(t, x).Milliseconds()
		case "unmanaged":
			r.Managed = false
		}
	}
	if r.Applied = applied; applied < 0 {
		r.Applied = r.End
	}
	r.Promised = max(r.Promised, r.Epoch)
	s.view.Nodes[n.ID] = v
}

func (s *scene) answer(id string, a map[string]string) {
	n, ok := s.rec.Shard.Node(topology.NodeID(id))
	if !ok {
		n = topology.Node{ID: topology.NodeID(id), Priority: 100, Zone: a["zone"]}
		if p, ok := a["prio"]; ok {
			n.Priority = int(number(p))
		}
	}
	_, pending := a["pending"]
	_, unfit := a["unfit"]
	ans := topology.FenceAnswer{Pending: pending, LogEpoch: epochOf(a["log"]), End: number(a["end"]),
		Promotable: !unfit, Reason: a["unfit"]}
	s.answers = append(s.answers, Candidate{Node: n, Barred: a["barred"], Answer: ans})
}

func (s *scene) analyse() string {
	st := &State{Records: map[topology.ShardID]Record{"s": s.rec}}
	st.Cluster.Shards = []topology.Shard{s.rec.Shard}
	var b strings.Builder
	for _, p := range Analyse(&s.view, st, s.now, Config{}) {
		fmt.Fprintf(&b, "%s %s: %s\n", p.Code, p.Node, p.Summary)
		if !p.Actionable {
			continue
		}
		if plan, ok := PlanFor(p, &s.view, st); ok {
			b.WriteString("  " + planText(plan))
		} else {
			b.WriteString("  nothing to be done now\n")
		}
	}
	if b.Len() == 0 {
		return "healthy\n"
	}
	return b.String()
}

func planText(p Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s to epoch %d", p.Kind, p.Epoch)
	for _, f := range []struct {
		name string
		v    any
		show bool
	}{{"from", p.From, p.From != ""}, {"target", p.Target, p.Target != ""},
		{"suspects", p.Suspects, len(p.Suspects) > 0}, {"dead", p.Dead, len(p.Dead) > 0}} {
		if f.show {
			fmt.Fprintf(&b, " %s=%v", f.name, f.v)
		}
	}
	sep := ": "
	for _, s := range p.Steps {
		b.WriteString(sep + string(s.Op))
		sep = "; "
		for _, n := range s.Nodes {
			b.WriteString(" " + string(n))
		}
	}
	return b.String() + "\n"
}
