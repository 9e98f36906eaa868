package clients

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// TestRueidisThroughProxy: the proxy says why it does not track what a client reads, and does the rest with RESP3:
// commands of many goroutines in one pipeline, dedicated connections, messages, scripts.
func TestRueidisThroughProxy(t *testing.T) {
	addr := targets(t)["proxy"]
	if addr == "" {
		t.Skip("no proxy was given")
	}
	option := rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true}
	if c, err := rueidis.NewClient(option); err == nil {
		c.Close()
		t.Error("caching on the client's side was accepted")
	} else if !strings.Contains(err.Error(), "CLIENT TRACKING is not available through the proxy") {
		t.Errorf("with caching: %v", err)
	}
	option.DisableCache = true
	c, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.Do(ctx, c.B().Flushall().Build()).Error(); err != nil {
		t.Fatal(err)
	}

	var work sync.WaitGroup
	for i := range 50 {
		work.Go(func() {
			for j := range 40 {
				k := fmt.Sprintf("k%d:%d", i, j)
				r := c.DoMulti(ctx, c.B().Set().Key(k).Value(k).Build(), c.B().Get().Key(k).Build(),
					c.B().Hset().Key("{h}"+k).FieldValue().FieldValue("f", k).Build(), c.B().Hgetall().Key("{h}"+k).Build())
				if got, err := r[1].ToString(); err != nil || got != k {
					t.Errorf("%s: %q, %v", k, got, err)
				}
				if got, err := r[3].AsStrMap(); err != nil || got["f"] != k {
					t.Errorf("%s: %v, %v", k, got, err)
				}
			}
		})
	}
	work.Wait()

	err = c.Dedicated(func(d rueidis.DedicatedClient) error {
		r := d.DoMulti(ctx, d.B().Watch().Key("{t}n").Build(), d.B().Multi().Build(), d.B().Incr().Key("{t}n").Build(),
			d.B().Zadd().Key("{t}z").ScoreMember().ScoreMember(1.5, "m").Build(),
			d.B().Zscore().Key("{t}z").Member("m").Build(), d.B().Exec().Build())
		all, err := r[5].ToArray()
		if err != nil {
			return err
		}
		if score, err := all[2].ToFloat64(); err != nil || score != 1.5 {
			return fmt.Errorf("ZSCORE in EXEC: %v, %w", score, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}

	script := rueidis.NewLuaScript("return {redis.call('incrby', KEYS[1], ARGV[1]), {ok='fine'}}")
	for i := range 3 {
		got, err := script.Exec(ctx, c, []string{"{t}n"}, []string{"10"}).ToArray()
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := got[0].AsInt64(); n != int64(11+10*i) {
			t.Errorf("script: %d", n)
		}
	}

	heard := make(chan rueidis.PubSubMessage, 100)
	listening, stop := context.WithCancel(ctx)
	received := make(chan error, 1)
	go func() {
		received <- c.Receive(listening, c.B().Subscribe().Channel("news").Build(), func(m rueidis.PubSubMessage) { heard <- m })
	}()
	for len(heard) == 0 {
		if err := c.Do(ctx, c.B().Publish().Channel("news").Message("hello").Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	if m := <-heard; m.Channel != "news" || m.Message != "hello" {
		t.Errorf("%+v", m)
	}
	stop()
	<-received

	popped := make(chan string, 1)
	go func() {
		got, err := c.Do(ctx, c.B().Blpop().Key("{t}l").Timeout(30).Build()).AsStrSlice()
		popped <- fmt.Sprint(got, err)
	}()
	if err := c.Do(ctx, c.B().Rpush().Key("{t}l").Element("x").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if got := <-popped; got != "[{t}l x] <nil>" {
		t.Error(got)
	}
}
