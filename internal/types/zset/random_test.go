package zset

import (
	"fmt"
	"math"
	"testing"

	"haypile/internal/keyspace"
	"haypile/internal/types/members"
)

// TestRandom: members are drawn with their scores, each with the same chance, by ranks and by walks, of sets with and
// without pages.
func TestRandom(t *testing.T) {
	b := newBench(t)
	count := 0
	for _, size := range []int{3, 200, 2000, 9000} {
		b.run(func(_ *keyspace.Txn, z *ZSet) error {
			for ; count < size; count++ {
				if err := z.Put(fmt.Append(nil, count), float64(count)/2, 0, false); err != nil {
					return err
				}
			}
			return nil
		})
		for _, n := range []int{1, size / 20, size / 2, 2 * size} {
			if n == 0 || n == 1 && size > 2000 {
				continue
			}
			seen := make([]int, size)
			draw := func(distinct bool) error {
				last := make(map[int]bool)
				visit := func(p members.Pair) {
					var i int
					score, err := ParseScore(p.Value)
					if _, bad := fmt.Sscan(string(p.Member), &i); bad != nil || err != nil || score != float64(i)/2 {
						t.Fatalf("drew %q with %q", p.Member, p.Value)
					}
					if last[i] && distinct {
						t.Fatalf("drew %d twice", i)
					}
					last[i] = true
					seen[i]++
				}
				tx := b.store.NewTxn()
				defer tx.Done()
				tx.Begin(keyspace.ModeRead, 0, 1000)
				z, err := Open(tx, []byte("z"))
				if err != nil {
					return err
				}
				if !distinct {
					return z.Random(uint64(n), true, visit)
				}
				err = z.RandomDistinct(uint64(n), true, visit)
				if len(last) != min(n, size) {
					t.Errorf("%d of %d members, want %d", len(last), size, n)
				}
				return err
			}
			for _, distinct := range []bool{false, true} {
				clear(seen)
				drawn := 0
				for drawn < size*10 {
					if err := draw(distinct); err != nil {
						t.Fatal(err)
					}
					drawn += n
				}
				drawn = 0
				for _, times := range seen {
					drawn += times
				}
				chi, mean, free := 0.0, float64(drawn)/float64(size), float64(size-1)
				for _, times := range seen {
					chi += (float64(times) - mean) * (float64(times) - mean) / mean
				}
				if chi > free+6*math.Sqrt(2*free)+20 {
					t.Errorf("%d of %d members, distinct %v: chi-squared %.0f", n, size, distinct, chi)
				}
			}
		}
	}
}
