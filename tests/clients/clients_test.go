// Package clients does real work with real client libraries: directly with a data node and through the proxy.
// It is a module of its own, so that the libraries stay out of the product's go.mod.
package clients

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"haypile/internal/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }

// work is what is done with a client, each on an empty database.
var work = map[string]func(t *testing.T, c *redis.Client){
	"StringsAndHashes": stringsAndHashes, "Pipeline": pipeline, "OptimisticLock": optimisticLock,
	"Transaction": transaction, "PubSub": pubSub, "Scan": scan, "Reconnect": reconnect, "ManyClients": manyClients,
}

// TestGoRedis does the work directly and through the proxy, in RESP2 and RESP3. $HAYPILE_SERVER_ADDR and
// $HAYPILE_PROXY_ADDR name running ones; otherwise a cluster is started.
func TestGoRedis(t *testing.T) {
	server, proxy := os.Getenv("HAYPILE_SERVER_ADDR"), os.Getenv("HAYPILE_PROXY_ADDR")
	if server == "" && proxy == "" {
		cluster := testcluster.RunCluster(t, testcluster.ClusterOptions{})
		server, proxy = cluster.Nodes[0].Spec.Addr, cluster.Proxy.Spec.Addr
	}
	for name, addr := range map[string]string{"server": server, "proxy": proxy} {
		if addr == "" {
			continue
		}
		for _, proto := range []int{2, 3} {
			c := redis.NewClient(&redis.Options{Addr: addr, Protocol: proto, ClientName: "tests-clients"})
			defer c.Close()
			for what, f := range work {
				t.Run(fmt.Sprintf("%s/resp%d/%s", name, proto, what), func(t *testing.T) {
					if err := c.FlushAll(t.Context()).Err(); err != nil {
						t.Fatal(err)
					}
					f(t, c)
				})
			}
		}
	}
}

// ok fails the test on an error.
func ok[T any](t *testing.T, r interface{ Result() (T, error) }) T {
	t.Helper()
	v, err := r.Result()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func stringsAndHashes(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	equal(t, "SET", ok(t, c.Set(ctx, "k", "v\r\n\x00", time.Hour)), "OK")
	equal(t, "GET", ok(t, c.Get(ctx, "k")), "v\r\n\x00")
	if ttl := ok(t, c.TTL(ctx, "k")); ttl < 59*time.Minute || ttl > time.Hour {
		t.Errorf("TTL: %v", ttl)
	}
	if err := c.Get(ctx, "nokey").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("GET of no key: %v", err)
	}
	equal(t, "SETNX", ok(t, c.SetNX(ctx, "k", "w", 0)), false)
	equal(t, "INCRBY", ok(t, c.IncrBy(ctx, "n", 41)), 41)
	equal(t, "INCRBYFLOAT", ok(t, c.IncrByFloat(ctx, "n", 0.5)), 41.5)
	equal(t, "MSET", ok(t, c.MSet(ctx, "a", 1, "b", "two", "c", 3.5)), "OK")
	if got := ok(t, c.MGet(ctx, "a", "nokey", "b")); !slices.Equal(got, []any{"1", nil, "two"}) {
		t.Errorf("MGET: %v", got)
	}
	equal(t, "HSET", ok(t, c.HSet(ctx, "h", map[string]any{"name": "pika", "legs": 4, "tail": false})), 3)
	var animal struct {
		Name string `redis:"name"`
		Legs int    `redis:"legs"`
		Tail bool   `redis:"tail"`
	}
	if err := c.HGetAll(ctx, "h").Scan(&animal); err != nil || animal.Name != "pika" || animal.Legs != 4 || animal.Tail {
		t.Errorf("HGETALL into a struct: %+v, %v", animal, err)
	}
	equal(t, "HINCRBY", ok(t, c.HIncrBy(ctx, "h", "legs", 2)), 6)
	equal(t, "HDEL", ok(t, c.HDel(ctx, "h", "tail", "nofield")), 1)
	equal(t, "DEL", ok(t, c.Del(ctx, "a", "b", "c", "nokey")), 3)
	equal(t, "EXISTS", ok(t, c.Exists(ctx, "k", "h", "a")), 2)
	err := c.HGet(ctx, "k", "f").Err()
	if err == nil || err.Error() != "WRONGTYPE Operation against a key holding the wrong kind of value" {
		t.Errorf("HGET of a string: %v", err)
	}
}

func pipeline(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	const n = 5000
	cmds, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range n {
			p.Set(ctx, "p"+strconv.Itoa(i), i, 0)
		}
		for i := range n {
			p.Get(ctx, "p"+strconv.Itoa(i))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if got := cmds[n+i].(*redis.StringCmd).Val(); got != strconv.Itoa(i) {
			t.Fatalf("reply %d: %q", n+i, got)
		}
	}
	equal(t, "DBSIZE", ok(t, c.DBSize(ctx)), n)
}

// TestOptimisticLock: many clients increment by WATCH, GET, MULTI, SET, EXEC; no increment is lost.
func optimisticLock(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	const workers, each = 8, 25
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for range workers {
		wg.Go(func() {
			for range each {
				if err := increment(ctx, c); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
	equal(t, "the counter", ok(t, c.Get(ctx, "counter")), strconv.Itoa(workers*each))
}

func increment(ctx context.Context, c *redis.Client) error {
	for {
		err := c.Watch(ctx, func(tx *redis.Tx) error {
			n, err := tx.Get(ctx, "counter").Int()
			if err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Set(ctx, "counter", n+1, 0)
				return nil
			})
			return err
		}, "counter")
		if !errors.Is(err, redis.TxFailedErr) {
			return err
		}
	}
}

func transaction(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	var n *redis.IntCmd
	var all *redis.MapStringStringCmd
	_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, "{t}h", "a", "1")
		n = p.HIncrBy(ctx, "{t}h", "a", 1)
		all = p.HGetAll(ctx, "{t}h")
		p.Expire(ctx, "{t}h", time.Hour)
		return nil
	})
	if err != nil || n.Val() != 2 || all.Val()["a"] != "2" {
		t.Errorf("MULTI: %d, %v, %v", n.Val(), all.Val(), err)
	}
}

func pubSub(t *testing.T, c *redis.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	sub := c.Subscribe(ctx, "news")
	defer sub.Close()
	if err := sub.PSubscribe(ctx, "n?ws"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // both confirmations
		if _, err := sub.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	const n = 100
	for i := range n {
		equal(t, "PUBLISH", ok(t, c.Publish(ctx, "news", i)), 2)
	}
	var plain, pattern []string
	for len(plain)+len(pattern) < 2*n {
		m, err := sub.ReceiveMessage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if m.Pattern == "" {
			plain = append(plain, m.Payload)
		} else {
			pattern = append(pattern, m.Payload)
		}
	}
	for i := range n {
		if plain[i] != strconv.Itoa(i) || pattern[i] != strconv.Itoa(i) {
			t.Fatalf("message %d: %s and %s", i, plain[i], pattern[i])
		}
	}
}

// TestScan: every key is found once, with a type and a pattern too; HSCAN likewise.
func scan(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	const n = 3000
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range n {
			p.Set(ctx, fmt.Sprintf("s:%d", i), i, 0)
			p.HSet(ctx, "big", fmt.Sprintf("f:%d", i), i)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for it := c.ScanType(ctx, 0, "s:*", 100, "string").Iterator(); it.Next(ctx); {
		seen[it.Val()]++
	}
	fields := map[string]int{}
	it := c.HScan(ctx, "big", 0, "", 100).Iterator()
	for it.Next(ctx) {
		fields[it.Val()]++
		it.Next(ctx) // its value
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	if len(seen) != n || len(fields) != n {
		t.Fatalf("SCAN found %d keys, HSCAN %d fields, want %d", len(seen), len(fields), n)
	}
}

// TestReconnect: the client library's pool survives having its connections killed.
func reconnect(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	equal(t, "SET", ok(t, c.Set(ctx, "k", "v", 0)), "OK")
	if err := c.ClientKillByFilter(ctx, "TYPE", "normal", "SKIPME", "no").Err(); err != nil {
		t.Logf("CLIENT KILL of oneself: %v", err) // the reply may be lost with the connection
	}
	equal(t, "GET after CLIENT KILL", ok(t, c.Get(ctx, "k")), "v")
}

// TestManyClients: fifty connections at once, each with its own data.
func manyClients(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	many := redis.NewClient(&redis.Options{Addr: c.Options().Addr, Protocol: c.Options().Protocol, PoolSize: 50})
	defer many.Close()
	var wg sync.WaitGroup
	errs := make(chan error, 50)
	for i := range 50 {
		wg.Go(func() {
			key := "many:" + strconv.Itoa(i)
			for j := range 100 {
				if err := many.Set(ctx, key, j, 0).Err(); err != nil {
					errs <- err
					return
				}
				if got, err := many.Get(ctx, key).Int(); err != nil || got != j {
					errs <- fmt.Errorf("%s: read %d after writing %d: %w", key, got, j, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
}
