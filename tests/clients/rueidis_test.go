package clients

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"haypile/internal/testcluster"
)

// TestRueidisCaches works with a library that caches on the client's side (RESP3, CLIENT TRACKING with OPTIN, reads in
// MULTI): a cached value is answered without the server, and a change by another client ends it.
func TestRueidisCaches(t *testing.T) {
	addr := os.Getenv("HAYPILE_SERVER_ADDR")
	if addr == "" {
		addr = testcluster.RunCluster(t, testcluster.ClusterOptions{}).Nodes[0].Spec.Addr
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for mode, tracking := range map[string][]string{"optin": nil, "bcast": {"PREFIX", "key:", "BCAST"}} {
		t.Run(mode, func(t *testing.T) {
			c := rueidisClient(t, addr, tracking)
			other := rueidisClient(t, addr, nil)
			must := func(r rueidis.RedisResult) {
				t.Helper()
				if err := r.Error(); err != nil {
					t.Error(err)
				}
			}
			must(other.Do(ctx, other.B().Flushall().Build()))
			read := func(k string) (value string, hit bool) {
				t.Helper()
				r := c.DoCache(ctx, c.B().Get().Key(k).Cache(), time.Minute)
				value, err := r.ToString()
				if err != nil && !rueidis.IsRedisNil(err) {
					t.Error(err)
				}
				return value, r.IsCacheHit()
			}
			// until reads again until the change has arrived, which another connection made.
			until := func(k, want string) {
				t.Helper()
				for {
					if v, _ := read(k); v == want {
						return
					}
					if ctx.Err() != nil {
						t.Fatalf("%s never became %q", k, want)
					}
				}
			}
			for i := range 50 {
				k := fmt.Sprintf("key:%d", i%5)
				must(other.Do(ctx, other.B().Set().Key(k).Value(fmt.Sprint(i)).Build()))
				until(k, fmt.Sprint(i))
				if v, hit := read(k); !hit || v != fmt.Sprint(i) {
					t.Fatalf("%s = %q, from the cache: %v", k, v, hit)
				}
			}
			must(other.Do(ctx, other.B().Del().Key("key:0").Build()))
			until("key:0", "")
			must(other.Do(ctx, other.B().Set().Key("key:1").Value("short").PxMilliseconds(50).Build()))
			until("key:1", "short")
			until("key:1", "")
			must(other.Do(ctx, other.B().Flushall().Build()))
			until("key:2", "")

			// Several readers and a writer: in the end the cache has the last values.
			var work sync.WaitGroup
			work.Go(func() {
				for i := range 500 {
					must(other.Do(ctx, other.B().Set().Key(fmt.Sprintf("key:%d", i%5)).Value(fmt.Sprint("last", i)).Build()))
				}
			})
			for range 4 {
				work.Go(func() {
					for i := range 500 {
						read(fmt.Sprintf("key:%d", i%5))
					}
				})
			}
			work.Wait()
			for i := range 5 {
				until(fmt.Sprintf("key:%d", i), fmt.Sprint("last", 495+i))
			}
		})
	}
}

func rueidisClient(t *testing.T, addr string, tracking []string) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true,
		ClientTrackingOptions: tracking})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
