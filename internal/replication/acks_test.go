package replication

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"haypile/internal/replog"
)

func TestAcksWakeExactlyTheSatisfied(t *testing.T) {
	var a acks
	f1, f2 := new(Feed), new(Feed)
	a.add(f1, acked{})
	a.add(f2, acked{})
	type result struct{ off, n, have int }
	results := make(chan result, 100)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	start := func(off, n int, fsynced bool) {
		go func() { results <- result{off, n, a.wait(ctx, replog.Offset(off), n, fsynced)} }()
	}
	start(10, 1, false)
	start(10, 2, false)
	start(20, 1, false)
	start(10, 1, true)
	waitFor(t, "four waiters", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		n := 0
		for _, q := range a.mu.queues {
			n += q.Len()
		}
		return n == 4
	})
	expect := func(want ...result) {
		t.Helper()
		for range want {
			got := <-results
			ok := false
			for _, w := range want {
				ok = ok || got == w
			}
			if !ok {
				t.Fatalf("woken: %+v, want one of %+v", got, want)
			}
		}
		select {
		case r := <-results:
			t.Fatalf("woken as well: %+v", r)
		default:
		}
	}
	a.set(f1, acked{written: 9})
	expect()
	a.set(f1, acked{written: 15})
	expect(result{10, 1, 1})
	a.set(f2, acked{written: 10})
	expect(result{10, 2, 2})
	a.set(f2, acked{written: 12, fsynced: 11})
	expect(result{10, 1, 1})
	a.releaseAll()
	expect(result{20, 1, 0})
}

func TestAcksOfAReplicaThatLeftDoNotCount(t *testing.T) {
	var a acks
	f := new(Feed)
	a.add(f, acked{written: 100})
	if n := a.count(50, false); n != 1 {
		t.Fatalf("count %d", n)
	}
	a.remove(f)
	a.set(f, acked{written: 200}) // late, must not bring it back
	if n := a.count(50, false); n != 0 {
		t.Fatalf("count %d after it left", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if n := a.wait(ctx, 50, 1, false); n != 0 {
		t.Fatalf("waited for %d", n)
	}
}

func TestTenThousandWaiters(t *testing.T) {
	var a acks
	feeds := []*Feed{new(Feed), new(Feed), new(Feed)}
	for _, f := range feeds {
		a.add(f, acked{})
	}
	const waiting, span = 10_000, 1_000_000
	var wg sync.WaitGroup
	bad := make(chan string, waiting)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for i := range waiting {
		wg.Add(1)
		go func() {
			defer wg.Done()
			off, n := replog.Offset(rand.IntN(span)), 1+i%3
			if have := a.wait(ctx, off, n, i%7 == 0); have < n {
				bad <- "returned with too few"
			}
		}()
	}
	began := time.Now()
	var ackers sync.WaitGroup
	for _, f := range feeds {
		ackers.Add(1)
		go func() {
			defer ackers.Done()
			for at := replog.Offset(0); at <= span; at += 500 {
				a.set(f, acked{written: at, fsynced: at / 2})
			}
			a.set(f, acked{written: span, fsynced: span})
		}()
	}
	ackers.Wait()
	wg.Wait()
	close(bad)
	for b := range bad {
		t.Fatal(b)
	}
	for class, q := range a.mu.queues {
		if q.Len() != 0 {
			t.Errorf("%d waiters left for %+v", q.Len(), class)
		}
	}
	t.Logf("6000 acknowledgements, %d waiters: %v", waiting, time.Since(began))
}

func BenchmarkWaitAcked(b *testing.B) {
	var a acks
	f := new(Feed)
	a.add(f, acked{})
	ctx := context.Background()
	b.ReportAllocs()
	for i := range b.N {
		done := make(chan struct{})
		go func() {
			a.wait(ctx, replog.Offset(i+1), 1, false)
			close(done)
		}()
		a.set(f, acked{written: replog.Offset(i + 1)})
		<-done
	}
}
