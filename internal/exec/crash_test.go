package exec

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/storage"
)

// The databases of the random load: all are written by everybody, flushed and swapped, except the ledger, in
// which each client keeps keys of its own that only grow.
const ledgerDB = testDatabases - 1

// pledge is what a client was promised: its ledger holds n at least, and the log reaches offset at least.
type pledge struct{ n, offset atomic.Int64 }

// loader is a client that writes at random, and in its ledger counts what was acknowledged.
type loader struct {
	*client
	id     int
	rng    *rand.Rand
	n      int64
	pledge pledge
}

// line is a random command of the kinds whose effects a log must carry right.
func (l *loader) line() string {
	r := l.rng
	k := func() string { return fmt.Sprintf("k%d", r.IntN(24)) }
	h := func() string { return fmt.Sprintf("h%d", r.IntN(6)) }
	q := func() string { return fmt.Sprintf("l%d", r.IntN(3)) }
	if r.IntN(5) == 0 {
		return l.many()
	}
	switch r.IntN(46) {
	case 40, 41:
		return fmt.Sprintf("HPEXPIRE %s %d FIELDS 3 f%d f%d g%d", h(), r.IntN(40), r.IntN(200), r.IntN(200), r.IntN(50))
	case 42:
		return fmt.Sprintf("HSETEX %s PX %d FIELDS 2 f%d 1 g%d 2", h(), r.IntN(40), r.IntN(200), r.IntN(50))
	case 43:
		return fmt.Sprintf("HGETEX %s EX 100 FIELDS 2 f%d g%d", h(), r.IntN(200), r.IntN(50))
	case 44:
		return fmt.Sprintf("HPERSIST %s FIELDS 1 g%d", h(), r.IntN(50))
	case 45:
		return fmt.Sprintf("HPEXPIRE %s 1 FIELDS 1 c%d", h(), r.IntN(3))
	case 0, 1, 2, 3:
		return fmt.Sprintf("SET %s v%d", k(), r.IntN(1000))
	case 4:
		return fmt.Sprintf("SET %s v%d PX %d", k(), r.IntN(1000), 1+r.IntN(30))
	case 5:
		return fmt.Sprintf("SET %s v%d EX %d", k(), r.IntN(1000), 100+r.IntN(1000))
	case 6, 7:
		return fmt.Sprintf("INCRBY n%d %d", r.IntN(4), r.IntN(9))
	case 8:
		return fmt.Sprintf("INCR %s", k()) // often an error
	case 9, 10:
		return fmt.Sprintf("APPEND %s %s", k(), strings.Repeat("x", r.IntN(200)+1))
	case 11, 12, 13:
		return fmt.Sprintf("HSET %s f%d v%d g%d w", h(), r.IntN(200), r.IntN(99), r.IntN(50))
	case 14:
		return fmt.Sprintf("HDEL %s f%d f%d g%d", h(), r.IntN(200), r.IntN(200), r.IntN(50))
	case 15:
		return fmt.Sprintf("HINCRBY %s c%d 1", h(), r.IntN(3))
	case 16, 17:
		return fmt.Sprintf("DEL %s %s %s", k(), h(), k())
	case 18:
		return fmt.Sprintf("RENAME %s %s", k(), k())
	case 19:
		return fmt.Sprintf("RENAME %s %s", h(), h())
	case 20:
		return fmt.Sprintf("EXPIRE %s %d", k(), 100+r.IntN(1000))
	case 21:
		return fmt.Sprintf("PEXPIRE %s %d", h(), r.IntN(20))
	case 22:
		return fmt.Sprintf("PERSIST %s", k())
	case 23:
		return fmt.Sprintf("COPY %s %s REPLACE", h(), h())
	case 24:
		return fmt.Sprintf("MSET %s a %s b %s c", k(), k(), k())
	case 25:
		return fmt.Sprintf("GET %s", k())
	case 30, 31:
		return fmt.Sprintf("RPUSH %s v%d v%d v%d", q(), r.IntN(50), r.IntN(50), r.IntN(50))
	case 32:
		return fmt.Sprintf("LPUSH %s v%d", q(), r.IntN(50))
	case 33:
		return fmt.Sprintf("LPOP %s %d", q(), r.IntN(4))
	case 34:
		return fmt.Sprintf("LINSERT %s BEFORE v%d w", q(), r.IntN(50))
	case 35:
		return fmt.Sprintf("LREM %s %d v%d", q(), r.IntN(3)-1, r.IntN(50))
	case 36:
		return fmt.Sprintf("LSET %s %d x%d", q(), r.IntN(100), r.IntN(50))
	case 37:
		return fmt.Sprintf("LTRIM %s %d -1", q(), r.IntN(3))
	case 38:
		return fmt.Sprintf("BLMOVE %s %s RIGHT LEFT 0.0001", q(), q())
	case 39:
		return fmt.Sprintf("COPY %s %s REPLACE", q(), q())
	case 26:
		return fmt.Sprintf("GETEX %s PX %d", k(), 1+r.IntN(50))
	case 27:
		return fmt.Sprintf("MOVE %s %d", h(), r.IntN(ledgerDB))
	case 28:
		if r.IntN(4) == 0 {
			return fmt.Sprintf("SETRANGE %s %d zz", k(), 32750+r.IntN(20)+r.IntN(3)*5000)
		}
		return fmt.Sprintf("SETRANGE %s %d zz", k(), r.IntN(50))
	default:
		return fmt.Sprintf("MSETNX %s 1 %s 2", k(), k())
	}
}

// many is a command that makes or removes many rows, more than a transaction of this test holds.
func (l *loader) many() string {
	r := l.rng
	pick := func(name string, n int) string { return fmt.Sprintf("%s%d", name, r.IntN(n)) }
	s, z, x := func() string { return pick("s", 3) }, func() string { return pick("z", 3) }, func() string { return pick("x", 2) }
	several := func(line string, n int, word func() string) string {
		for range n {
			line += " " + word()
		}
		return line
	}
	entry := func() string { return fmt.Sprintf("%d m%d", r.IntN(300), r.IntN(600)) }
	from := r.IntN(100)
	switch r.IntN(17) {
	case 0, 1:
		return several("SADD "+s(), 30, func() string { return pick("m", 300) })
	case 2:
		return fmt.Sprintf("SUNIONSTORE %s %s %s", s(), s(), s())
	case 3:
		return fmt.Sprintf("SDIFFSTORE %s %s %s", s(), s(), s())
	case 4:
		return fmt.Sprintf("COPY %s %s REPLACE", z(), z())
	case 5, 6:
		return several("ZADD "+z(), 60, entry)
	case 7:
		return fmt.Sprintf("ZUNIONSTORE %s 3 %s %s %s", z(), z(), z(), s())
	case 8:
		return fmt.Sprintf("ZREMRANGEBYRANK %s %d %d", z(), from, from+r.IntN(200))
	case 9:
		return fmt.Sprintf("ZREMRANGEBYSCORE %s %d %d", z(), from, from+r.IntN(200))
	case 10:
		return fmt.Sprintf("MOVE %s %d", z(), r.IntN(ledgerDB))
	case 11, 12:
		return several("XADD "+x()+" *", 2, func() string { return pick("f", 9) })
	case 13:
		return fmt.Sprintf("XTRIM %s MAXLEN %d", x(), r.IntN(100))
	case 14:
		return several("RPUSH "+pick("l", 3), 50, func() string { return pick("v", 50) })
	case 15:
		return fmt.Sprintf("LTRIM %s %d -1", pick("l", 3), 20+r.IntN(40))
	default:
		return fmt.Sprintf("LTRIM %s 0 -%d", pick("l", 3), 20+r.IntN(40))
	}
}

// pipeline is a few commands and one entry in the ledger, alone or as a transaction.
func (l *loader) pipeline() []string {
	r := l.rng
	lines := []string{fmt.Sprintf("SELECT %d", r.IntN(ledgerDB))}
	for range r.IntN(12) {
		lines = append(lines, l.line())
	}
	switch r.IntN(40) {
	case 0:
		lines = append(lines, "FLUSHDB")
	case 1:
		lines = append(lines, fmt.Sprintf("SWAPDB %d %d", r.IntN(ledgerDB), r.IntN(ledgerDB)))
	case 2, 3, 4, 5, 6, 7:
		lines = append(lines, "MULTI", l.line(), l.line(), fmt.Sprintf("SELECT %d", r.IntN(ledgerDB)), l.line(), "EXEC")
	case 8:
		lines = append(lines, "MULTI", l.line(), "FLUSHDB", l.line(), "SWAPDB 0 1", l.line(), "EXEC")
	}
	l.n++
	lines = append(lines, fmt.Sprintf("SELECT %d", ledgerDB))
	if r.IntN(2) == 0 {
		return append(lines, "MULTI", fmt.Sprintf("SET a%d %d", l.id, l.n), fmt.Sprintf("HSET b%d n %d", l.id, l.n), "EXEC")
	}
	return append(lines, fmt.Sprintf("MSET a%d %d c%d %d", l.id, l.n, l.id, l.n), fmt.Sprintf("HSET b%d n %d", l.id, l.n))
}

// run loads the gate until stop; each pipeline counts as one step.
func (l *loader) run(stop *atomic.Bool, steps *atomic.Int64) error {
	for !stop.Load() {
		lines := l.pipeline()
		last := l.batch(lines...)
		if len(last) == 0 {
			return fmt.Errorf("no replies to %q", lines)
		}
		if end := last[len(last)-1]; strings.HasPrefix(end, "-") {
			return fmt.Errorf("the ledger's entry was refused: %s", end)
		}
		// Only now: the replies have been seen.
		l.pledge.offset.Store(l.WaitEnd())
		l.pledge.n.Store(l.n)
		steps.Add(1)
	}
	return nil
}

// TestCrashClones loses power at random moments under load of several clients and checks what is left:
// nothing that was acknowledged under appendfsync always is missing, and the state is exactly what the
// surviving log says when it is replayed from its beginning, whatever the engine had kept.
func TestCrashClones(t *testing.T) {
	chains := 11
	if testing.Short() {
		chains = 3
	}
	var clones, torn, behind int
	for chain := range chains {
		rng := rand.New(rand.NewPCG(uint64(chain), 17))
		fsync := []string{"always", "everysec"}[chain%2]
		mem := storage.NewMem()
		for life := range 4 {
			what := fmt.Sprintf("chain %d life %d, appendfsync %s", chain, life, fsync)
			g, err := openGate(t, mem, gateOptions{fsync: fsync})
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			g.lead()
			var pledges []pledged
			mem, pledges = crashUnderLoad(t, g, rng)
			rec := checkRecovered(t, what, mem, fsync, pledges)
			clones++
			torn += rec.torn
			behind += rec.behind
		}
	}
	t.Logf("%d crash clones, %d with a torn log, %d with an engine behind the log but not empty", clones, torn, behind)
	if clones >= 40 && (torn == 0 || behind == 0) {
		t.Error("the test did not meet what it is about")
	}
}

type pledged struct {
	id        int
	n, offset int64
}

// crashUnderLoad runs clients, expiry, flushes and syncs, and loses power at a random moment.
func crashUnderLoad(t *testing.T, g *gate, rng *rand.Rand) (*storage.Mem, []pledged) {
	t.Helper()
	var stop atomic.Bool
	var steps atomic.Int64
	var wg sync.WaitGroup
	loaders := make([]*loader, 4)
	for i := range loaders {
		l := &loader{client: g.client(), id: i, rng: rand.New(rand.NewPCG(rng.Uint64(), 3))}
		if _, err := fmt.Sscan(l.batch(fmt.Sprintf("SELECT %d", ledgerDB), fmt.Sprintf("GET a%d", i))[1], &l.n); err != nil {
			l.n = 0
		}
		loaders[i] = l
		wg.Go(func() {
			if err := l.run(&stop, &steps); err != nil {
				t.Error(err)
			}
			l.Close()
		})
	}
	background := rand.New(rand.NewPCG(rng.Uint64(), 4))
	wg.Go(func() {
		s := g.client()
		defer s.Close()
		for at := int64(0); !stop.Load(); {
			if n := steps.Load(); n < at {
				if _, err := g.x.Expire(t.Context(), s.Session, 50); err != nil {
					t.Error(err)
				}
				<-time.After(time.Millisecond)
				continue
			}
			switch background.IntN(4) {
			case 0:
				if err := g.log.Sync(g.log.End()); err != nil {
					t.Error(err)
				}
			case 1:
				if err := errors.Join(g.store.Drain(), g.engine.Flush()); err != nil {
					t.Error(err)
				}
			case 2:
				if _, err := g.store.Reclaim(t.Context(), 100); err != nil {
					t.Error(err)
				}
			}
			at = steps.Load() + background.Int64N(40)
		}
	})
	target := int64(20 + rng.IntN(120))
	eventually(t, "enough steps", func() bool { return steps.Load() >= target || t.Failed() })
	// What was acknowledged before the clone must be in it.
	var pledges []pledged
	for _, l := range loaders {
		offset := l.pledge.offset.Load()
		pledges = append(pledges, pledged{l.id, l.pledge.n.Load(), offset})
	}
	clone := g.mem.CrashClone(rng, []int{0, 50, 50, 100}[rng.IntN(4)])
	stop.Store(true)
	wg.Wait()
	g.close()
	return clone, pledges
}

type recovered struct{ torn, behind int }

// checkRecovered opens a crash clone and checks it against the pledges and against its own log.
func checkRecovered(t *testing.T, what string, mem *storage.Mem, fsync string, pledges []pledged) (r recovered) {
	t.Helper()
	g, err := openGate(t, mem, gateOptions{fsync: fsync})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer g.close()
	if g.rec.TornBytes > 0 {
		r.torn = 1
	}
	if d, err := g.store.RefreshDurable(); err == nil && d > int64(g.log.Start()) && d < int64(g.log.End()) {
		r.behind = 1
	}
	got := g.must()
	if got.offset > int64(g.log.End()) {
		t.Fatalf("%s: the engine is at %d, the log ends at %d", what, got.offset, g.log.End())
	}
	for _, p := range pledges {
		checkLedger(t, what, got, p, fsync == "always")
		if fsync == "always" && p.offset > int64(g.log.End()) {
			t.Errorf("%s: the log ends at %d, client %d had a reply for %d", what, g.log.End(), p.id, p.offset)
		}
	}
	ref := newReplayed(t, g)
	if d := got.differs(ref.must()); d != "" {
		t.Fatalf("%s: the state is not what the log says: %s", what, d)
	}
	ref.close()
	// Recovery itself may be followed by the next loss of power at once.
	again, err := openGate(t, mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 0), gateOptions{fsync: fsync})
	if err != nil {
		t.Fatalf("%s: second time: %v", what, err)
	}
	if d := got.differs(again.must()); d != "" {
		t.Fatalf("%s: second time: %s", what, d)
	}
	again.close()
	g.lead()
	g.checkOrder(t, what)
	return r
}

// checkOrder: the rows by which sorted sets and lists are ordered agree with their number of members.
func (g *gate) checkOrder(t *testing.T, what string) {
	t.Helper()
	c := g.client()
	defer c.Close()
	for db := range testDatabases {
		for i := range 3 {
			z, l := fmt.Sprint("z", i), fmt.Sprint("l", i)
			got := c.batch(fmt.Sprint("SELECT ", db), "ZCARD "+z, "ZCOUNT "+z+" -inf +inf", "LLEN "+l)
			for _, q := range []string{"ZRANGE " + z, "LRANGE " + l} {
				all := strings.Fields(strings.Trim(c.batch(q + " 0 -1")[0], "[]"))
				got = append(got, fmt.Sprint(len(all)))
				for j := 7; q[0] == 'Z' && j < len(all); j += len(all)/5 + 1 {
					if rank := c.batch("ZRANK " + z + " " + all[j])[0]; rank != fmt.Sprint(j) {
						t.Fatalf("%s: %s of database %d: the rank of member %d is %s", what, z, db, j, rank)
					}
				}
			}
			if got[1] != got[2] || got[1] != got[4] || got[3] != got[5] {
				t.Fatalf("%s: database %d, %s and %s: %v", what, db, z, l, got)
			}
		}
	}
}

// checkLedger: the keys of a transaction are there together, and hold at least what was acknowledged.
func checkLedger(t *testing.T, what string, got *contents, p pledged, always bool) {
	t.Helper()
	var a, b int64
	_, _ = fmt.Sscanf(got.keys[fmt.Sprintf("%d a%d", ledgerDB, p.id)], "string deadline 0: %d", &a)
	_, _ = fmt.Sscanf(got.keys[fmt.Sprintf("%d b%d", ledgerDB, p.id)], "hash deadline 0: n=%d", &b)
	if always && (a < p.n || b < p.n) {
		t.Errorf("%s: client %d was promised %d, the ledger holds %d and %d", what, p.id, p.n, a, b)
	}
	if b > a || a > b+1 {
		t.Errorf("%s: client %d's ledger holds %d and %d", what, p.id, a, b)
	}
}

// newReplayed replays all of g's log into an empty store.
func newReplayed(t *testing.T, g *gate) *gate {
	t.Helper()
	ref, err := openGate(t, storage.NewMem(), gateOptions{})
	if err == nil {
		err = ref.replay(g.log)
	}
	if err != nil {
		t.Fatalf("replay of the whole log: %v", err)
	}
	return ref
}
