package geo

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"haypile/internal/keyspace"
	"haypile/internal/storage"
	"haypile/internal/types/zset"
)

var (
	palermo = Point{13.361389, 38.115556}
	catania = Point{15.087269, 37.502669}
)

// The values are those of Redis' documentation. Scores are permanent: data directories hold them.
func TestKnownPlaces(t *testing.T) {
	if got := Score(palermo); got != 3479099956230698 {
		t.Errorf("score %.0f", got)
	}
	if got := Score(catania); got != 3479447370796909 {
		t.Errorf("score %.0f", got)
	}
	if got := fmt.Sprintf("%.4f", Distance(At(Score(palermo)), At(Score(catania)))); got != "166274.1516" {
		t.Errorf("distance %s", got)
	}
	if got := At(Score(palermo)).String(); got != "sqc8b49rny0" {
		t.Errorf("geohash %s", got)
	}
}

// TestRoundTrip: a place is kept to less than a metre, and its middle has the same score.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		p := anywhere(rng)
		back := At(Score(p))
		if d := Distance(p, back); d > 1 {
			t.Fatalf("%v comes back as %v, %f m away", p, back, d)
		}
		if Score(back) != Score(p) {
			t.Fatalf("%v moves when it is stored again", p)
		}
	}
	for _, score := range []float64{0, -1, 1 << 52, 1 << 53, 1e18, 1e19, 1e300, -1e300, math.Inf(1), math.Inf(-1)} {
		if p := At(score); !p.Valid() {
			t.Errorf("the score %g is at %v", score, p)
		}
	}
	for _, p := range []Point{{180.1, 0}, {0, 85.06}, {-181, 0}, {0, -86}} {
		if p.Valid() {
			t.Errorf("%v is on the map", p)
		}
	}
}

func anywhere(rng *rand.Rand) Point {
	return Point{(rng.Float64()*2 - 1) * MaxLongitude, (rng.Float64()*2 - 1) * MaxLatitude}
}

// TestSearchFindsAll: walking the cells finds what a look at every member finds, where the map is not near its edges.
func TestSearchFindsAll(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	engine, err := storage.Open(storage.Options{Dir: "engine", Mem: storage.NewMem(), CacheBytes: 8 << 20,
		MemtableBytes: 4 << 20, Memtables: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.CloseUnflushed() })
	store, err := keyspace.Open(engine, keyspace.Options{Databases: 1, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	tx := store.NewTxn()
	tx.Begin(keyspace.ModeWrite, 0, 1000)
	z, err := zset.Open(tx, []byte("g"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]Point{}
	for i := range 3000 {
		p, m := Point{rng.NormFloat64() * 20, rng.NormFloat64() * 15}, fmt.Sprint(i)
		if !p.Valid() {
			continue
		}
		if err := z.Put([]byte(m), Score(p), 0, false); err != nil {
			t.Fatal(err)
		}
		all[m] = At(Score(p))
	}
	for range 300 {
		size := func() float64 { return float64(rng.IntN(1000)) * float64(uint64(1)<<rng.IntN(10)) }
		s := Shape{Center: Point{rng.NormFloat64() * 20, rng.NormFloat64() * 15}, Radius: size()}
		if rng.IntN(2) == 0 {
			s = Shape{Center: s.Center, Box: true, Width: size(), Height: size()}
		}
		var want, got []string
		for m, p := range all {
			if _, inside := s.Distance(p); inside {
				want = append(want, m)
			}
		}
		if err := Search(&z, s, func(f Found) bool {
			got = append(got, string(f.Member))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%+v: found %d members, %d are inside", s, len(got), len(want))
		}
	}
}

// TestSelection compares with sorting everything.
func TestSelection(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for range 500 {
		order := Order(rng.IntN(3))
		most := rng.IntN(12)
		sel := Selection{Order: order, Most: most}
		var all []Found
		for i := range rng.IntN(40) {
			f := Found{Member: fmt.Append(nil, i), Distance: float64(rng.IntN(10))}
			if order == AsFound && sel.Full() {
				break
			}
			all = append(all, f)
			sel.Add(f)
		}
		switch order {
		case NearestFirst:
			slices.SortStableFunc(all, func(a, b Found) int { return int(a.Distance - b.Distance) })
		case FarthestFirst:
			slices.SortStableFunc(all, func(a, b Found) int { return int(b.Distance - a.Distance) })
		}
		if most > 0 {
			all = all[:min(most, len(all))]
		}
		var want, got []string
		size := 0
		for _, f := range all {
			want, size = append(want, string(f.Member)), size+len(f.Member)
		}
		sel.All(func(f Found) { got = append(got, string(f.Member)) })
		if !slices.Equal(got, want) || sel.Bytes != size || sel.Len() != len(want) {
			t.Fatalf("order %d, most %d: got %q (%d bytes), want %q (%d)", order, most, got, sel.Bytes, want, size)
		}
	}
}
