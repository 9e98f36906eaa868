package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"haypile/internal/resp"
)

// twoShards starts two real servers behind one proxy. Key "a" lives on the second shard, "b" on the first.
func twoShards(t *testing.T, change func(*Options)) (*testProxy, *redisServer, *redisServer) {
	t.Helper()
	r1, r2 := startRedis(t), startRedis(t)
	return startProxy(t, clusterOf(1, r1.addr, r2.addr), change), r1, r2
}

func TestSplitAndMerge(t *testing.T) {
	p, r1, r2 := twoShards(t, nil)
	c := p.client()
	c.want("MSET a 1 b 2 c 3 d 4", "OK")
	c.want("MGET d none c b a", "[4 nil 3 2 1]")
	c.want("MGET a", "[1]")
	c.want("EXISTS a b c none a", "4")
	c.want("DBSIZE", "4")
	for _, r := range []*redisServer{r1, r2} {
		cl, err := resp.Dial(context.Background(), r.addr, resp.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := cl.Do(context.Background(), "DBSIZE"); n.Int == 0 || n.Int == 4 {
			t.Errorf("%d of 4 keys on one shard", n.Int)
		}
		cl.Close()
	}
	if got := c.do("KEYS *"); len(strings.Fields(got)) != 4 {
		t.Errorf("KEYS: %s", got)
	}
	c.want("RENAME a b", "-CROSSSLOT Keys in request don't hash to the same slot")
	c.want("RENAME {x}a {x}b", "-ERR no such key")
	c.want("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command")
	c.want("RPUSH list 1", "1")
	c.want("MGET a list b", "[1 nil 2]")
	c.want("SORT list", "[1]")
	c.want("SORT list BY nosort", "[1]")
	c.want("SORT list BY w_*", "-ERR BY option of SORT denied in cluster mode.")
	c.want("SORT list GET w_*", "-ERR GET option of SORT denied in cluster mode.")
	c.want("DEL a b none", "2")
	if got := c.do("RANDOMKEY"); got == "nil" {
		t.Error("RANDOMKEY found nothing")
	}
	c.want("CONFIG SET maxmemory-samples 7", "OK")
	c.want("FLUSHALL", "OK")
	c.want("DBSIZE", "0")
	c.want("RANDOMKEY", "nil")
	if got := c.do("EVAL return 5"); !strings.HasPrefix(got, "-") {
		t.Errorf("EVAL with bad arguments: %q", got)
	}
}

// The cursor walk over several shards needs the cursors of Haypile's nodes.
func TestScanCursor(t *testing.T) {
	rt := routesOf("h:1", "h:2", "h:3")
	if got := rt.nextOwned(0); got != 0 {
		t.Errorf("first slot %d", got)
	}
	reply := func(cursor uint64) []byte {
		w := resp.Writer{}
		w.Array(2)
		w.BulkString(fmt.Sprint(cursor))
		w.BulkStringArray("k")
		return w.Buf
	}
	for _, c := range []struct{ got, last, after, want uint64 }{
		{0, 5460, 5461 << 48, 5461 << 48},          // shard is through: next one
		{0, 16383, 0, 0},                           // all are through
		{77<<48 | 5, 5460, 5461 << 48, 77<<48 | 5}, // goes on
		{9000 << 48, 5460, 5461 << 48, 5461 << 48}, // jumped over slots of others
	} {
		if got := fixCursor(reply(c.got), c.last, c.after); string(got) != string(reply(c.want)) {
			t.Errorf("cursor %d: %q", c.got, got)
		}
	}
	bad := []byte("-ERR invalid cursor\r\n")
	if got := fixCursor(bad, 1, 2); string(got) != string(bad) {
		t.Errorf("error changed to %q", got)
	}
}

func TestTransaction(t *testing.T) {
	p, _, _ := twoShards(t, nil)
	c := p.client()
	c.want("EXEC", "-ERR EXEC without MULTI")
	c.want("DISCARD", "-ERR DISCARD without MULTI")
	c.want("MULTI", "OK")
	c.want("MULTI", "-ERR MULTI calls can not be nested")
	c.want("WATCH a", "-ERR WATCH inside MULTI is not allowed")
	c.want("SET a 1", "QUEUED")
	c.want("PING", "QUEUED")
	c.want("GET a", "QUEUED")
	c.want("RPUSH a x", "QUEUED")
	c.want("EXEC", "[OK PONG 1 -WRONGTYPE Operation against a key holding the wrong kind of value]")

	c.want("MULTI", "OK")
	c.want("SET a 2", "QUEUED")
	c.want("SET b 2", "-CROSSSLOT Keys in request don't hash to the same slot")
	c.want("EXEC", "-EXECABORT Transaction discarded because of previous errors.")
	c.want("GET a", "1")

	for _, bad := range []string{"NOSUCH", "GET", "MONITOR", "SELECT 1", "DBSIZE", "SUBSCRIBE x"} {
		c.want("MULTI", "OK")
		if got := c.do(bad); !strings.HasPrefix(got, "-ERR") {
			t.Errorf("%s inside MULTI: %q", bad, got)
		}
		c.want("EXEC", "-EXECABORT Transaction discarded because of previous errors.")
	}
	c.want("MULTI", "OK")
	c.want("SET a 3", "QUEUED")
	c.want("DISCARD", "OK")
	c.want("GET a", "1")
	c.want("MULTI", "OK")
	c.want("EXEC", "[]")
	c.want("MULTI", "OK")
	c.want("TIME", "QUEUED")
	if got := c.do("EXEC"); !strings.HasPrefix(got, "[[1") {
		t.Errorf("TIME inside MULTI: %s", got)
	}
}

func TestWatch(t *testing.T) {
	p, _, _ := twoShards(t, nil)
	c, other := p.client(), p.client()
	c.want("SET a 1", "OK")
	c.want("UNWATCH", "OK")

	c.want("WATCH a", "OK")
	c.want("WATCH b", "-CROSSSLOT Keys in request don't hash to the same slot")
	c.want("SELECT 1", "-ERR SELECT between WATCH and EXEC is not available through the proxy")
	c.want("GET a", "1")
	c.want("SET b elsewhere", "OK")
	c.want("MULTI", "OK")
	c.want("SET a 2", "QUEUED")
	c.want("EXEC", "[OK]")

	c.want("WATCH a", "OK")
	other.want("SET a 3", "OK")
	c.want("MULTI", "OK")
	c.want("SET a 4", "QUEUED")
	c.want("EXEC", "nil")
	c.want("GET a", "3")

	c.want("WATCH a", "OK")
	other.want("SET a 5", "OK")
	c.want("UNWATCH", "OK")
	c.want("MULTI", "OK")
	c.want("SET a 6", "QUEUED")
	c.want("EXEC", "[OK]")

	c.want("WATCH a", "OK")
	other.want("SET a 7", "OK")
	c.want("MULTI", "OK")
	c.want("DISCARD", "OK")
	c.want("WATCH a", "OK")
	c.want("MULTI", "OK")
	c.want("GET", "-ERR wrong number of arguments for 'get' command")
	c.want("EXEC", "-EXECABORT Transaction discarded because of previous errors.")
	c.want("MULTI", "OK")
	c.want("APPEND a x", "QUEUED")
	c.want("EXEC", "[2]")

	c.want("WATCH a", "OK")
	other.want("SET a 8", "OK")
	c.want("RESET", "RESET")
	c.want("MULTI", "OK")
	c.want("GET a", "QUEUED")
	c.want("EXEC", "[8]")

	// All in one write: each WATCH is its own.
	vs, err := c.Pipeline(context.Background(), [][]any{
		{"WATCH", "a"}, {"MULTI"}, {"SET", "a", "9"}, {"EXEC"},
		{"WATCH", "a"}, {"SET", "a", "10"}, {"MULTI"}, {"SET", "a", "11"}, {"EXEC"}, {"GET", "a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range vs {
		got = append(got, show(v))
	}
	if s := strings.Join(got, " "); s != "OK OK QUEUED [OK] OK OK OK QUEUED nil 10" {
		t.Errorf("pipelined: %s", s)
	}
	// The dedicated connections are used again.
	sh := p.shardOf("s2")
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if n := sh.mu.target.dedicated; n != 1 {
		t.Errorf("%d dedicated connections", n)
	}
}

// If the primary changes between WATCH and EXEC nobody knows what became of the keys: EXEC answers null.
func TestWatchOverSwitch(t *testing.T) {
	r1, r2 := startRedis(t), startRedis(t)
	p := startProxy(t, clusterOf(1, r1.addr), nil)
	c := p.client()
	c.want("WATCH a", "OK")
	p.source.Set(clusterOf(2, r2.addr))
	c.want("SET a 1", "OK")
	c.want("MULTI", "OK")
	c.want("SET a 2", "QUEUED")
	c.want("EXEC", "nil")
	c.want("GET a", "1")
	c.want("WATCH a", "OK")
	c.want("MULTI", "OK")
	c.want("SET a 2", "QUEUED")
	c.want("EXEC", "[OK]")
	c.want("WATCH a", "OK")
	r2.kill()
	c.want("UNWATCH", "OK")
}

// A transaction is held as a whole, and sent once.
func TestTransactionIsHeld(t *testing.T) {
	store := newFakeStore()
	a, b := startFake(t, store), startFake(t, store)
	p := startProxy(t, clusterOf(1, a.addr()), nil)
	c := p.client()
	c.want("SET n 0", "OK")
	a.set(func(n *fakeNode) { n.replica = true })
	c.want("MULTI", "OK")
	c.want("INCR n", "QUEUED")
	c.want("INCR n", "QUEUED")
	ch := c.async("EXEC")
	p.waitHeld(1)
	p.source.Set(clusterOf(2, b.addr()))
	if got := receive(t, ch, time.Second); got != "[1 2]" {
		t.Errorf("EXEC: %s", got)
	}
}

func TestBlocking(t *testing.T) {
	p, r1, _ := twoShards(t, nil)
	c, other := p.client(), p.client()
	c.want("RPUSH b 1", "1")
	c.want("BLPOP b 1", "[b 1]")
	c.want("BLPOP b 0.01", "nil")
	c.want("BLPOP a b 0.01", "-CROSSSLOT Keys in request don't hash to the same slot")
	ch := c.async("BLPOP b 0")
	other.want("GET x", "nil")
	direct, err := resp.Dial(context.Background(), r1.addr, resp.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	blocked := func(n string) func() bool {
		return func() bool {
			v, err := direct.Do(context.Background(), "INFO", "clients")
			return err == nil && strings.Contains(v.String(), "blocked_clients:"+n)
		}
	}
	eventually(t, "the client is blocked", blocked("1"))
	other.want("RPUSH b 2", "1")
	if got := receive(t, ch, time.Second); got != "[b 2]" {
		t.Errorf("BLPOP: %s", got)
	}
	// A client that leaves gives its place on the node up: nothing is popped for it.
	gone := p.client()
	gone.Send(context.Background(), "BLPOP", "b", "0")
	eventually(t, "the client is blocked", blocked("1"))
	gone.Close()
	eventually(t, "nobody is blocked", blocked("0"))
	other.want("RPUSH b 3", "1")
	other.want("LRANGE b 0 -1", "[3]")
}

// WAIT waits for what the client wrote over shared connections.
func TestWait(t *testing.T) {
	primary := startRedis(t, "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
	host, port, _ := net.SplitHostPort(primary.addr)
	replica := startRedis(t, "--replicaof", host+" "+port)
	direct, err := resp.Dial(context.Background(), primary.addr, resp.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	eventually(t, "the replica is in sync", func() bool {
		v, err := direct.Do(context.Background(), "INFO", "replication")
		return err == nil && strings.Contains(v.String(), "state=online")
	})
	p := startProxy(t, clusterOf(1, primary.addr), nil)
	c := p.client()
	c.want("SET k v", "OK")
	c.want("WAIT 1 5000", "1")
	if err := replica.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.want("SET k w", "OK")
	c.want("WAIT 1 50", "0")
	c.want("DBSIZE", "1")
	c.want("WAIT x 50", "-ERR value is not an integer or out of range")
}

func TestDedicatedLimit(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), func(o *Options) { o.MaxDedicated = 2 })
	a, b, c := p.client(), p.client(), p.client()
	// Two at once while their connections are being made.
	first, second := a.async("WATCH k"), b.async("WATCH k")
	if x, y := receive(t, first, time.Second), receive(t, second, time.Second); x != "OK" || y != "OK" {
		t.Errorf("got %q and %q", x, y)
	}
	c.want("WATCH k", strings.TrimSpace(replyCrowded))
	b.want("UNWATCH", "OK")
	c.want("WATCH k", "OK")
}

func TestPubSub(t *testing.T) {
	p, _, _ := twoShards(t, nil)
	sub, pub := p.client(), p.client()
	sub.want("SUBSCRIBE one", "[subscribe one 1]")
	sub.want("GET a", "-"+resp.OnlyPubSub("get"))
	sub.want("PING", "[pong ]")
	vs, err := sub.Pipeline(context.Background(), [][]any{
		{"SUBSCRIBE", "two"}, {"PSUBSCRIBE", "p*"}, {"PING", "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := show(vs[0]) + show(vs[1]) + show(vs[2]); got != "[subscribe two 2][psubscribe p* 3][pong x]" {
		t.Errorf("got %s", got)
	}
	pub.want("PUBLISH one hello", "1")
	pub.want("PUBLISH pat hello", "1")
	sub.receive("[message one hello]")
	sub.receive("[pmessage p* pat hello]")
	sub.want("UNSUBSCRIBE two", "[unsubscribe two 2]")
	sub.want("UNSUBSCRIBE none", "[unsubscribe none 2]")
	sub.want("UNSUBSCRIBE", "[unsubscribe one 1]")
	sub.want("UNSUBSCRIBE", "[unsubscribe nil 1]")
	sub.want("PUNSUBSCRIBE", "[punsubscribe p* 0]")
	sub.want("GET a", "nil")
	pub.want("PUBLISH one hello", "0")
	eventually(t, "the link is closed", func() bool { return p.links.Load() == 0 })
	sub.want("SUBSCRIBE again", "[subscribe again 1]")
	sub.want("RESET", "RESET")
	sub.want("PING", "PONG")
	eventually(t, "the link is closed", func() bool { return p.links.Load() == 0 })
}

func (c *testClient) receive(want string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	v, err := c.Receive(ctx)
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", want, err)
	}
	if got := show(v); got != want {
		c.t.Errorf("received %s, want %s", got, want)
	}
}

func TestShardedPubSub(t *testing.T) {
	r1, r2 := startRedis(t), startRedis(t)
	p := startProxy(t, clusterOf(1, r1.addr, r2.addr), nil)
	sub, pub := p.client(), p.client()
	// In one write, so that the client does not have to tell confirmations from replies.
	sub.want("SSUBSCRIBE a", "[ssubscribe a 1]")
	sub.want("SSUBSCRIBE b", "[ssubscribe b 2]")
	pub.want("SPUBLISH a 1", "1")
	sub.receive("[smessage a 1]")
	pub.want("SPUBLISH b 2", "1")
	sub.receive("[smessage b 2]")
}

// Subscriptions survive a change of the primary.
func TestPubSubOverSwitch(t *testing.T) {
	r1, r2 := startRedis(t), startRedis(t)
	p := startProxy(t, clusterOf(1, r1.addr), nil)
	sub, pub := p.client(), p.client()
	sub.want("SUBSCRIBE one", "[subscribe one 1]")
	sub.want("PSUBSCRIBE t*", "[psubscribe t* 2]")
	r1.kill()
	p.source.Set(clusterOf(2, r2.addr))
	eventually(t, "somebody listens again", func() bool { return pub.do("PUBLISH one x") == "1" })
	sub.receive("[message one x]")
	eventually(t, "somebody listens again", func() bool { return pub.do("PUBLISH two y") == "1" })
	sub.receive("[pmessage t* two y]")
	sub.want("UNSUBSCRIBE one", "[unsubscribe one 1]")
	p.source.Set(clusterOf(3, ""))
}

func TestSubscribeWithoutPrimary(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, ""), func(o *Options) { o.HoldTimeout = 100 * time.Millisecond })
	c := p.client()
	c.want("SUBSCRIBE one", "-ERR no primary for shard s1 within 100ms")
	c.want("PING", "PONG")
	p.source.Set(clusterOf(2, r.addr))
	c.want("PUBLISH one x", "0")
}

func TestRESP3(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), nil)
	two := p.client()
	three := p.client(resp.DialOptions{Proto: 3, Timeout: 5 * time.Second})
	two.want("HSET h f v", "1")
	two.want("HGETALL h", "[f v]")
	three.want("HGETALL h", "%[f v]")
	three.want("GET none", "nil")
	three.want("SELECT 2", "OK")
	three.want("HGETALL h", "%[]")
	two.want("SELECT 2", "OK")
	two.want("HGETALL h", "[]")
	three.want("SELECT 0", "OK")
	vs, err := three.Pipeline(context.Background(), [][]any{
		{"HGETALL", "h"}, {"HELLO", "2"}, {"HGETALL", "h"}, {"HELLO", "3"}, {"HGETALL", "h"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintln(show(vs[0]), show(vs[2]), show(vs[4])); got != "%[f v] [f v] %[f v]\n" {
		t.Errorf("got %s", got)
	}
	three.want("HELLO 4", "-NOPROTO unsupported protocol version")
	three.want("MGET none h", "[nil nil]")
	if got := three.do("CLIENT INFO"); !strings.Contains(got, "resp=3") {
		t.Errorf("CLIENT INFO: %s", got)
	}
	// Subscribed clients of version 3 may run commands.
	var pushed []string
	sub := p.client(resp.DialOptions{Proto: 3, Timeout: 5 * time.Second, OnPush: func(v resp.Value) {
		pushed = append(pushed, show(v))
	}})
	if err := sub.Send(context.Background(), "SUBSCRIBE", "ch"); err != nil {
		t.Fatal(err)
	}
	sub.receive(">[subscribe ch 1]")
	sub.want("HGETALL h", "%[f v]")
	two.want("PUBLISH ch x", "1")
	eventually(t, "message", func() bool { sub.do("PING"); return len(pushed) > 0 })
	if pushed[0] != ">[message ch x]" {
		t.Errorf("pushed %q", pushed)
	}
	if got := sub.do("HELLO 2"); !strings.HasPrefix(got, "-ERR HELLO cannot change") {
		t.Errorf("HELLO while subscribed: %s", got)
	}
}

// Commands to different databases keep their order although they use different connections.
func TestSelectKeepsOrder(t *testing.T) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), nil)
	c := p.client()
	for range 20 {
		vs, err := c.Pipeline(context.Background(), [][]any{
			{"SELECT", "0"}, {"RPUSH", "l", "1"}, {"SELECT", "1"}, {"EVAL", "redis.call('SELECT', 0); return " +
				"redis.call('RPUSH', 'l', '2')", "1", "l"}, {"SELECT", "0"}, {"RPUSH", "l", "3"},
			{"LRANGE", "l", "0", "-1"}, {"DEL", "l"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := show(vs[6]); got != "[1 2 3]" {
			t.Fatalf("order %s", got)
		}
	}
}

func TestPipeliningOrder(t *testing.T) {
	p, _, _ := twoShards(t, nil)
	var wg sync.WaitGroup
	for g := range 20 {
		c := p.client()
		wg.Add(1)
		go func() {
			defer wg.Done()
			for round := range 5 {
				var cmds [][]any
				for i := range 300 {
					key, val := fmt.Sprintf("k%d-%d", g, i%17), fmt.Sprintf("%d-%d-%d", g, round, i)
					cmds = append(cmds, []any{"SET", key, val}, []any{"GET", key}, []any{"ECHO", val},
						[]any{"MGET", key, "other" + key})
				}
				vs, err := c.Pipeline(context.Background(), cmds)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range 300 {
					want := fmt.Sprintf("%d-%d-%d", g, round, i)
					got := fmt.Sprint(show(vs[4*i]), show(vs[4*i+1]), show(vs[4*i+2]), show(vs[4*i+3]))
					if got != fmt.Sprint("OK", want, want, "["+want+" nil]") {
						t.Errorf("client %d round %d: %s", g, round, got)
						return
					}
				}
			}
		}()
	}
	wg.Wait()
}

// Requests of any size in one batch arrive as they are and in order, and where they end is known.
func TestBatchWriter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var w batchWriter
	for range 200 {
		var batch []*request
		var want []byte
		for range 1 + rnd.IntN(6) {
			size := 1 + rnd.IntN(100)
			if rnd.IntN(3) == 0 {
				size = writeCopy + rnd.IntN(2*writePiece)
			}
			r := &request{raw: bytes.Repeat([]byte{byte('a' + rnd.IntN(26))}, size)}
			batch = append(batch, r)
			want = append(want, r.raw...)
		}
		near, far := net.Pipe()
		got := make(chan []byte)
		limit := rnd.IntN(2 * len(want))
		go func() {
			b, _ := io.ReadAll(io.LimitReader(far, int64(limit)))
			far.Close()
			got <- b
		}()
		w.load(batch)
		whole, err := w.flush(near, func() {})
		near.Close()
		b := <-got
		if !bytes.Equal(b, want[:min(limit, len(want))]) {
			t.Fatal("other bytes than those of the requests")
		}
		fit, end := 0, 0
		for _, r := range batch {
			if end += len(r.raw); end <= limit {
				fit++
			}
		}
		if err == nil && fit < len(batch) || whole != fit {
			t.Fatalf("%d requests whole, want %d; %v", whole, fit, err)
		}
	}
}
