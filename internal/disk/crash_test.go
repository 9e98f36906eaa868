package disk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func TestCrashKeepsOnlyWhatWasSynced(t *testing.T) {
	m := NewMem()
	must(t, MkdirSynced(m, "/d"))
	f := mustFile(t)(m.Create("/d/synced"))
	mustWrite(t, f, "kept")
	must(t, f.Sync())
	must(t, m.SyncDir("/d"))
	mustWrite(t, f, " lost")

	unnamed := mustFile(t)(m.Create("/d/unnamed")) // synced itself, but not its name
	mustWrite(t, unnamed, "x")
	must(t, unnamed.Sync())
	must(t, m.MkdirAll("/unnamed-dir"))
	must(t, m.Rename("/d/synced", "/d/renamed"))

	c := m.CrashClone(source(1), 0)
	if got := content(t, c, "/d/synced"); got != "kept" {
		t.Fatalf("content %q", got)
	}
	for _, name := range []string{"/d/unnamed", "/d/renamed", "/unnamed-dir"} {
		if Exists(c, name) {
			t.Errorf("%s survived", name)
		}
	}
	c = m.CrashClone(source(1), 1)
	got := content(t, c, "/d/renamed")
	if got != "kept lost" || Exists(c, "/d/synced") || !Exists(c, "/d/unnamed") {
		t.Fatalf("with everything kept: %q", got)
	}
	must(t, m.SyncDir("/d"))
	c = m.CrashClone(source(1), 0)
	if got := content(t, c, "/d/renamed"); got != "kept" || Exists(c, "/d/synced") || !Exists(c, "/d/unnamed") {
		t.Fatalf("after SyncDir: %q", got)
	}
	// The clone is on its own, and durable.
	f = mustFile(t)(c.OpenAppend("/d/renamed"))
	mustWrite(t, f, "!")
	if got := content(t, m, "/d/renamed"); got != "kept lost" {
		t.Fatalf("the original became %q", got)
	}
	if got := content(t, c.CrashClone(source(1), 0), "/d/renamed"); got != "kept" {
		t.Fatalf("clone of the clone: %q", got)
	}
	if _, err := c.Lock("/d/LOCK"); err != nil {
		t.Fatal(err)
	}
}

func TestCrashOfReplacedFiles(t *testing.T) {
	m := NewMem()
	must(t, WriteFileAtomic(m, "/x", []byte("old")))
	must(t, writeSynced(m, "/x.tmp", []byte("new")))
	must(t, m.Rename("/x.tmp", "/x"))
	seen := map[string]bool{}
	for seed := range uint64(100) {
		c := m.CrashClone(source(seed), 0.5)
		got := content(t, c, "/x") // one or the other, never absent
		if Exists(c, "/x.tmp") {
			got += " and tmp"
		}
		seen[got] = true
	}
	if !seen["old"] || !seen["new"] || !seen["old and tmp"] || len(seen) > 3 {
		t.Fatalf("seen %v", seen)
	}
	must(t, m.Remove("/x"))
	must(t, m.SyncDir("/"))
	if Exists(m.CrashClone(source(1), 0), "/x") {
		t.Fatal("a durable removal came back")
	}
}

// TestCrashPages looks at what a crash leaves of one file: each byte is the synced one, the newest one, or
// a zero that was never written; over many crashes, pages are lost in any order and torn inside.
func TestCrashPages(t *testing.T) {
	m := NewMem()
	f := mustFile(t)(m.Create("/x"))
	const pages = 6
	durable := bytes.Repeat([]byte{'d'}, 2*pageSize+100)
	mustWrite(t, f, string(durable))
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	must(t, f.Truncate(pageSize+50))
	mustWrite(t, f, string(bytes.Repeat([]byte{'n'}, (pages-1)*pageSize-50)))
	newest := []byte(content(t, m, "/x"))
	var hole, torn, short, old bool
	for seed := range uint64(300) {
		got := []byte(content(t, m.CrashClone(source(seed), 0.5), "/x"))
		if len(got) < len(durable) || len(got) > len(newest) {
			t.Fatalf("seed %d: %d bytes", seed, len(got))
		}
		for i, b := range got {
			allowed := b == newest[i] || i < len(durable) && b == durable[i] || i >= len(durable) && b == 0
			if !allowed {
				t.Fatalf("seed %d: byte %d is %q", seed, i, b)
			}
		}
		short = short || len(got) < len(newest)
		old = old || got[pageSize+60] == 'd'
		for p := 3; p+1 < pages && (p+1)*pageSize <= len(got); p++ {
			page := got[p*pageSize : (p+1)*pageSize]
			hole = hole || page[0] == 0 && bytes.IndexByte(got[(p+1)*pageSize:], 'n') >= 0
			torn = torn || bytes.IndexByte(page, 0) >= 0 && bytes.IndexByte(page, 'n') >= 0
		}
	}
	if !hole || !torn || !short || !old {
		t.Fatalf("never seen: hole %v, torn page %v, short file %v, old bytes %v", hole, torn, short, old)
	}
	must(t, f.Sync())
	if got := content(t, m.CrashClone(source(1), 0), "/x"); got != string(newest) {
		t.Fatal("lost bytes that were synced")
	}
}

// TestSyncedIsDurable compares, after random writes and cuts, what a sync left with what the file holds.
func TestSyncedIsDurable(t *testing.T) {
	for seed := range uint64(50) {
		rng := source(seed)
		m := NewMem()
		f := mustFile(t)(m.Create("/x"))
		must(t, m.SyncDir("/"))
		want := ""
		for i := range 40 {
			switch rng.IntN(4) {
			case 0:
				must(t, f.Sync())
				want = content(t, m, "/x")
			case 1:
				size, err := f.Size()
				must(t, err)
				must(t, f.Truncate(rng.Int64N(size+1)))
			default:
				mustWrite(t, f, string(bytes.Repeat([]byte{byte('a' + i%26)}, rng.IntN(3*pageSize))))
			}
			if got := content(t, m.CrashClone(rng, 0), "/x"); got != want {
				t.Fatalf("seed %d step %d: %d bytes, %d were synced", seed, i, len(got), len(want))
			}
			if got := content(t, m.CrashClone(rng, 1), "/x"); got != content(t, m, "/x") {
				t.Fatalf("seed %d step %d: lost something with everything kept", seed, i)
			}
		}
	}
}

func TestCrashIsReproducible(t *testing.T) {
	m := NewMem()
	for i := range 20 {
		f := mustFile(t)(m.Create(fmt.Sprint("/", i)))
		mustWrite(t, f, string(bytes.Repeat([]byte{'x'}, i*1000)))
	}
	must(t, m.Link("/3", "/link"))
	dump := func(c *Mem) string {
		names, err := c.List("/")
		must(t, err)
		out := ""
		for _, name := range names {
			out += name + "=" + content(t, c, name) + ";"
		}
		return out
	}
	if dump(m.CrashClone(source(5), 0.5)) != dump(m.CrashClone(source(5), 0.5)) {
		t.Fatal("same seed, different crash")
	}
	c := m.CrashClone(source(1), 1)
	f := mustFile(t)(c.OpenAppend("/link"))
	mustWrite(t, f, "through the link")
	if content(t, c, "/3") != content(t, c, "/link") {
		t.Fatal("the clone lost a link")
	}
}
