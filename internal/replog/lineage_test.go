package replog

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"haypile/internal/disk"
)

// id makes a replication id out of one letter.
func id(c string) string { return strings.Repeat(c, ReplIDLen) }

func reigns(parts ...any) []ReignRecord {
	var out []ReignRecord
	for i := 0; i < len(parts); i += 3 {
		out = append(out, ReignRecord{uint64(parts[i].(int)), id(parts[i+1].(string)), Offset(parts[i+2].(int))})
	}
	return out
}

func TestReplIDs(t *testing.T) {
	for _, c := range []struct {
		reigns   []ReignRecord
		id1, id2 string
		second   Offset
	}{
		{nil, NoReplID, NoReplID, -1},
		{reigns(0, "a", 0), id("a"), NoReplID, -1},
		{reigns(0, "a", 0, 0, "b", 1054), id("b"), id("a"), 1055},
		{reigns(0, "a", 0, 0, "b", 10, 0, "c", 10), id("c"), id("b"), 11},
	} {
		l := Lineage{Reigns: c.reigns}
		if l.ReplID() != c.id1 || l.ReplID2() != c.id2 || l.SecondOffset() != c.second {
			t.Errorf("%v: %s %s %d", c.reigns, l.ReplID(), l.ReplID2(), l.SecondOffset())
		}
	}
	a, b := NewReplID(), NewReplID()
	if !ValidReplID(a) || a == b || ValidReplID(a[1:]) || ValidReplID(strings.ToUpper(id("a"))) {
		t.Errorf("%q, %q", a, b)
	}
}

func TestAccepts(t *testing.T) {
	l := Lineage{Reigns: reigns(1, "a", 100, 2, "b", 200, 3, "c", 200, 4, "d", 300)}
	const end = 350
	for _, c := range []struct {
		id        string
		processed Offset
		want      bool
	}{
		{"a", 0, true}, {"a", 150, true}, {"a", 200, true}, {"a", 201, false},
		{"b", 199, true}, {"b", 200, true}, {"b", 201, false}, // a reign without bytes
		{"c", 250, true}, {"c", 300, true}, {"c", 301, false},
		{"d", 250, true}, {"d", 350, true}, {"d", 351, false},
		{"e", 150, false}, {"d", -1, false},
	} {
		if got := l.Accepts(id(c.id), c.processed, end); got != c.want {
			t.Errorf("Accepts(%s, %d) = %v", c.id, c.processed, got)
		}
	}
	if l.Accepts("", 0, end) || (&Lineage{}).Accepts(id("a"), 0, end) {
		t.Error("accepted what it cannot know")
	}
}

func TestForkPoint(t *testing.T) {
	for _, c := range []struct {
		name         string
		mine, theirs []ReignRecord
		myEnd, end   Offset
		want         Offset
		ok           bool
	}{
		{"equal", reigns(0, "a", 0), reigns(0, "a", 0), 100, 100, 100, true},
		{"one is behind", reigns(0, "a", 0), reigns(0, "a", 0), 70, 100, 70, true},
		{"old primary with surplus", reigns(0, "a", 0), reigns(0, "a", 0, 0, "b", 100), 150, 180, 100, true},
		{"old primary without", reigns(0, "a", 0), reigns(0, "a", 0, 0, "b", 100), 90, 180, 90, true},
		{"both went on", reigns(0, "a", 0, 0, "c", 120), reigns(0, "a", 0, 0, "b", 100), 150, 180, 100, true},
		{"two reigns behind", reigns(0, "a", 0), reigns(0, "a", 0, 0, "b", 100, 0, "c", 140), 110, 180, 100, true},
		{"common in the middle", reigns(0, "a", 0, 0, "b", 50, 0, "x", 90),
			reigns(0, "b", 50, 0, "c", 80, 0, "d", 85), 99, 99, 80, true},
		{"nothing common", reigns(0, "a", 0), reigns(0, "b", 0), 10, 10, 0, false},
		{"empty", nil, reigns(0, "b", 0), 10, 10, 0, false},
		{"starts differ by full syncs", reigns(0, "a", 5000), reigns(0, "a", 7000, 0, "n", 9000),
			8800, 9100, 8800, true},
		{"starts differ under dashboards", reigns(1, "z", 0, 2, "a", 50), reigns(1, "z", 0, 2, "a", 60),
			99, 99, 50, true},
		{"epochs differ", reigns(1, "z", 0, 2, "a", 50), reigns(1, "z", 0, 3, "a", 50), 99, 99, 50, true},
		{"only one knows the epoch", reigns(2, "a", 50), reigns(0, "a", 60), 99, 90, 90, true},
		{"all contradict", reigns(1, "a", 10), reigns(2, "a", 10), 99, 99, 0, false},
		{"end below the reign", reigns(0, "a", 0, 0, "b", 100), reigns(0, "a", 0, 0, "b", 100), 100, 80, 80, true},
	} {
		got, ok := ForkPoint(c.mine, c.myEnd, c.theirs, c.end)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, got, ok, c.want, c.ok)
		}
		if back, ok := ForkPoint(c.theirs, c.end, c.mine, c.myEnd); back != got || ok != c.ok {
			t.Errorf("%s: the other way round %d, %v", c.name, back, ok)
		}
	}
}

func TestReignsAreBoundedAndCut(t *testing.T) {
	l := Lineage{Role: RolePrimary}
	for i := range MaxReigns + 10 {
		before := len(l.Reigns)
		next := l.WithReign(ReignRecord{uint64(i), NewReplID(), Offset(i * 10)})
		if len(l.Reigns) != before {
			t.Fatal("WithReign changed its receiver")
		}
		l = next
	}
	if len(l.Reigns) != MaxReigns || l.Reigns[0].Epoch != 10 || l.Reigns[MaxReigns-1].Epoch != MaxReigns+9 {
		t.Fatalf("%d reigns, %d to %d", len(l.Reigns), l.Reigns[0].Epoch, l.Reigns[MaxReigns-1].Epoch)
	}
	cut := l.WithCut(200)
	if last := cut.Reigns[len(cut.Reigns)-1]; last.Start != 200 || len(l.Reigns) != MaxReigns {
		t.Fatalf("after the cut the last reign starts at %d", last.Start)
	}
	if cut := l.WithCut(0); len(cut.Reigns) != 1 {
		t.Fatalf("%d reigns left", len(cut.Reigns))
	}
}

func TestLineageFile(t *testing.T) {
	mem := disk.NewMem()
	const path = "/LINEAGE"
	if _, ok, err := LoadLineage(mem, path); ok || err != nil {
		t.Fatalf("absent file: %v, %v", ok, err)
	}
	want := Lineage{Role: RoleReplica, Managed: true, HadReplicas: true, PromisedEpoch: 7,
		PrimaryAddr: "10.0.0.1:6379", Peers: []string{"10.0.0.2:6379"}, Reigns: reigns(6, "a", 0, 7, "b", 12345)}
	if err := SaveLineage(mem, path, want); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := LoadLineage(mem, path); !ok || err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v, %v", got, ok, err)
	}
	if _, ok, err := LoadLineage(mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 0), path); !ok || err != nil {
		t.Fatalf("after a power loss: %v, %v", ok, err)
	}
	b, err := disk.ReadFile(mem, path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, bad := range map[string]string{
		"digit":   strings.Replace(text, "12345", "12344", 1),
		"format":  strings.Replace(text, `"format": 1`, `"format": 2`, 1),
		"short":   text[:len(text)/2],
		"role":    strings.Replace(text, "replica", "repl1ca", 1),
		"nothing": "",
	} {
		if bad == text {
			t.Fatalf("%s: nothing replaced", name)
		}
		if l, err := UnmarshalLineage([]byte(bad)); err == nil {
			t.Errorf("%s: accepted as %+v", name, l)
		}
	}
	for name, bad := range map[string]Lineage{
		"role":  {},
		"id":    {Role: RolePrimary, Reigns: []ReignRecord{{1, "x", 0}}},
		"order": {Role: RolePrimary, Reigns: reigns(1, "a", 10, 2, "b", 9)},
	} {
		if err := SaveLineage(mem, path, bad); err == nil {
			t.Errorf("%s: saved", name)
		}
	}
	faults := disk.NewFaults(mem)
	for _, op := range []disk.Op{disk.OpCreate, disk.OpWrite, disk.OpSync, disk.OpRename, disk.OpSyncDir} {
		faults.Fail(op, 0, syscall.EIO)
		if err := SaveLineage(faults, path, want); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s fails: %v", op, err)
		}
		if got, ok, err := LoadLineage(mem, path); !ok || err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("after a failed save: %+v, %v, %v", got, ok, err)
		}
	}
}

func FuzzLineage(f *testing.F) {
	l := Lineage{Role: RolePrimary, Reigns: reigns(1, "a", 0, 2, "b", 99)}
	b, err := l.MarshalFile()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"sum":"","lineage":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := UnmarshalLineage(data)
		if err != nil {
			return
		}
		again, err := l.MarshalFile()
		if err != nil {
			t.Fatal(err)
		}
		if l2, err := UnmarshalLineage(again); err != nil || !reflect.DeepEqual(l, l2) {
			t.Fatalf("%+v, %v", l2, err)
		}
	})
}
