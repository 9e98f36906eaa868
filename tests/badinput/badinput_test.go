// Package badinput sends a real server what no client should send: garbage, malformed and oversized frames,
// half a command and then silence, thousands of idle connections, wrong passwords. The server must answer
// with a clear error or close the connection, serve everybody else as before, and use bounded memory.
package badinput

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"haypile/internal/testcluster"
	"haypile/internal/testcluster/wire"
)

var (
	server = flag.String("server", "haypile", "what is tested: haypile, or redis (a check of these tests)")
	seed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the garbage")
)

const mib = 1 << 20

func TestMain(m *testing.M) { testcluster.Main(m) }

func start(t *testing.T, args ...string) *testcluster.Process {
	t.Helper()
	switch *server {
	case "redis":
		return testcluster.RunRedis(t, args...)
	case "haypile":
		return testcluster.RunServer(t, args...)
	}
	t.Fatalf("-server %q", *server)
	return nil
}

func dial(t *testing.T, p *testcluster.Process) *wire.Conn {
	t.Helper()
	c, err := p.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func rss(t *testing.T, p *testcluster.Process) int64 {
	t.Helper()
	n, err := p.RSS()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// serves fails the test unless the server still does its work.
func serves(t *testing.T, p *testcluster.Process) {
	t.Helper()
	if !p.Alive() {
		t.Fatalf("the server has ended\n%s", p.LogTail())
	}
	c, err := p.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Must("SET", "probe", "v"); err != nil {
		t.Fatal(err)
	}
	if v, err := c.Must("GET", "probe"); err != nil || v.Str != "v" {
		t.Fatalf("GET answered %v, %v", v, err)
	}
}

// bounded fails the test if the server has grown by more than limit bytes. The race detector's shadow of the
// memory multiplies it.
func bounded(t *testing.T, p *testcluster.Process, before int64, limit int64) {
	t.Helper()
	if testcluster.RaceEnabled {
		limit *= 4
	}
	after := rss(t, p)
	t.Logf("resident memory: %d MiB before, %d MiB now", before/mib, after/mib)
	if after-before > limit {
		t.Errorf("resident memory grew from %d to %d MiB, by more than %d", before/mib, after/mib, limit/mib)
	}
}

// TestMalformed: each of these ends with a protocol error and a closed connection.
func TestMalformed(t *testing.T) {
	p := start(t)
	for name, input := range map[string]string{
		"count not a number":      "*x\r\n",
		"count too large":         "*2147483648\r\n",
		"count without end":       "*" + strings.Repeat("1", 70_000),
		"length not a number":     "*1\r\n$x\r\n",
		"length negative":         "*1\r\n$-3\r\n",
		"length too large":        "*1\r\n$536870913\r\n",
		"length without end":      "*1\r\n$" + strings.Repeat("1", 70_000),
		"integer as an argument":  "*1\r\n:1\r\n",
		"array as an argument":    "*1\r\n*1\r\n$4\r\nPING\r\n",
		"inline without end":      strings.Repeat("a ", 40_000),
		"inline unbalanced quote": "SET \"k v\r\n",
		"after a good command":    "*1\r\n$4\r\nPING\r\n*1\r\nx\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, p)
			c.Timeout = 5 * time.Second
			if err := c.SendRaw([]byte(input)); err != nil && !errors.Is(err, syscall.EPIPE) && !reset(err) {
				t.Fatal(err)
			}
			v, err := c.Read()
			if err == nil && v.Str == "PONG" {
				v, err = c.Read()
			}
			if err != nil || !strings.HasPrefix(v.Str, "ERR Protocol error: ") {
				t.Fatalf("answer %v, %v; want a protocol error", v, err)
			}
			if v, err := c.Read(); !errors.Is(err, io.EOF) && !reset(err) {
				t.Fatalf("after the error: %v, %v; want the end", v, err)
			}
		})
	}
	serves(t, p)
}

func reset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// TestGarbage: random bytes, plain and behind a plausible beginning, on many connections at once.
func TestGarbage(t *testing.T) {
	t.Logf("seed %d", *seed)
	p := start(t)
	serves(t, p)
	before := rss(t, p)
	var wg sync.WaitGroup
	for i := range 16 {
		rng := rand.New(rand.NewPCG(*seed, uint64(i)))
		wg.Go(func() {
			for range 60 {
				garbage(p.Spec.Addr, rng)
			}
		})
	}
	wg.Wait()
	serves(t, p)
	bounded(t, p, before, 150*mib)
}

var beginnings = []string{
	"", "*3\r\n$3\r\nSET\r\n", "*2\r\n$3\r\nGET\r\n$", "*1\r\n", "$5\r\n", "SET k ", "\r\n\r\n", "*-1\r\n", "*0\r\n",
	"*2\r\n$7\r\nCOMMAND\r\n$7\r\nGETKEYS\r\n", "*1\r\n$5\r\nMULTI\r\n", "HELLO 3\r\n", "+OK\r\n", "%1\r\n", ">1\r\n",
}

// garbage sends random bytes and reads whatever comes until the end or a silence.
func garbage(addr string, rng *rand.Rand) {
	nc, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return
	}
	defer nc.Close()
	buf := []byte(beginnings[rng.IntN(len(beginnings))])
	for range rng.IntN(3000) {
		if rng.IntN(3) == 0 {
			buf = append(buf, "*$\r\n:-0123456789 \"'\x00\xff"[rng.IntN(21)])
		} else {
			buf = append(buf, byte(rng.IntN(256)))
		}
	}
	_ = nc.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := nc.Write(buf); err == nil {
		_, _ = io.Copy(io.Discard, nc)
	}
}

// TestAnnouncedNotSent: frames that announce much and send little cost little.
func TestAnnouncedNotSent(t *testing.T) {
	p := start(t)
	serves(t, p)
	before := rss(t, p)
	for i := range 200 {
		c := dial(t, p)
		frame := "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc"
		if i%2 == 0 {
			frame = "*1000000\r\n$3\r\nDEL\r\n"
		}
		if err := c.SendRaw([]byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	serves(t, p)
	bounded(t, p, before, 200*mib)
}

// TestHalfOpen: clients that stop in the middle of a command, and clients that never read their replies, are
// nobody else's problem.
func TestHalfOpen(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	if _, err := c.Must("SET", "big", strings.Repeat("x", mib)); err != nil {
		t.Fatal(err)
	}
	before := rss(t, p)
	for range 300 {
		if err := dial(t, p).SendRaw([]byte("*2\r\n$3\r\nGET\r\n$3\r\nb")); err != nil {
			t.Fatal(err)
		}
	}
	// 300 MiB of replies, of which nothing is read. The requests are small enough for the socket buffers.
	deaf := dial(t, p)
	for range 300 {
		if err := deaf.Send("GET", "big"); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		serves(t, p)
	}
	limit := int64(200 * mib)
	if *server == "redis" {
		limit = 600 * mib // its limit for normal clients is none
	}
	bounded(t, p, before, limit)
	// The deaf client reads at last: everything comes, in order.
	for i := range 300 {
		v, err := deaf.Read()
		if err != nil || len(v.Str) != mib {
			t.Fatalf("reply %d after the silence: %d bytes, %v", i, len(v.Str), err)
		}
	}
}

// TestDeafSubscriber: a subscriber that does not read is cut off at its output limit; publishers go on.
func TestDeafSubscriber(t *testing.T) {
	p := start(t)
	sub, pub := dial(t, p), dial(t, p)
	if _, err := sub.Must("SUBSCRIBE", "ch"); err != nil {
		t.Fatal(err)
	}
	before := rss(t, p)
	message := strings.Repeat("x", mib)
	for i := 0; ; i++ {
		v, err := pub.Must("PUBLISH", "ch", message)
		if err != nil {
			t.Fatal(err)
		}
		if v.Int == 0 {
			t.Logf("cut off after %d MiB", i)
			break
		}
		if i == 200 {
			t.Fatal("200 MiB were published to a subscriber that reads nothing, and it is still subscribed")
		}
	}
	serves(t, p)
	bounded(t, p, before, 200*mib)
}

// TestIdleConnections: ten thousand of them, and a client among them is served at once.
func TestIdleConnections(t *testing.T) {
	n := raiseFileLimit(t, 10_000)
	p := start(t, "--maxclients", fmt.Sprint(n+100))
	serves(t, p)
	before := rss(t, p)
	conns := make([]*wire.Conn, n)
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for part := range 8 {
		wg.Go(func() {
			for i := part; i < n; i += 8 {
				c, err := p.Dial()
				if err == nil {
					conns[i] = c
					_, err = c.Must("PING")
				}
				if err != nil {
					errs <- fmt.Errorf("connection %d: %w", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Cleanup(func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	})
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	begin := time.Now()
	serves(t, p)
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("among %d idle connections a client waited %v", n, d)
	}
	t.Logf("%d idle connections: %d bytes each", n, (rss(t, p)-before)/int64(n))
	bounded(t, p, before, int64(n)*32<<10)
	// One more than maxclients is told so. 100 of the limit are left.
	refused := false
	for range 110 {
		c, err := p.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		v, err := c.Do("PING")
		if err == nil && v.Str == "ERR max number of clients reached" || reset(err) || errors.Is(err, syscall.EPIPE) {
			refused = true
		}
	}
	if !refused {
		t.Error("more than maxclients connections were accepted")
	}
}

// raiseFileLimit raises the soft limit of open files to the hard one, for this process and its children, and
// returns how many of want connections fit.
func raiseFileLimit(t *testing.T, want int) int {
	t.Helper()
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	lim.Cur = lim.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	const spare = 500
	if int(lim.Max) < want+spare {
		t.Logf("only %d open files are allowed here: fewer connections", lim.Max)
		return int(lim.Max) - spare
	}
	return want
}

// TestWrongPasswords: a thousand of them, from several connections, open nothing and cost nothing.
func TestWrongPasswords(t *testing.T) {
	p := start(t, "--requirepass", "right")
	const refused = "WRONGPASS invalid username-password pair or user is disabled."
	c := dial(t, p)
	for i := range 1000 {
		if i%100 == 0 {
			c = dial(t, p)
		}
		args := []string{"AUTH", fmt.Sprintf("wrong%d", i)}
		switch i % 4 {
		case 1:
			args = []string{"AUTH", "default", strings.Repeat("r", 1000)}
		case 2:
			args = []string{"AUTH", "nobody", "right"}
		case 3:
			args = []string{"AUTH", ""}
		}
		v, err := c.Do(args...)
		if err != nil || v.Str != refused {
			t.Fatalf("%q: %v, %v", args, v, err)
		}
	}
	for _, args := range [][]string{{"GET", "k"}, {"CONFIG", "GET", "requirepass"}, {"FLUSHALL"}, {"DEBUG", "SLEEP", "0"},
		{"SUBSCRIBE", "ch"}, {"MULTI"}, {"CLIENT", "LIST"}, {"PSYNC", "?", "-1"}, {"REPLICAOF", "NO", "ONE"}} {
		v, err := c.Do(args...)
		if err != nil || v.Str != "NOAUTH Authentication required." {
			t.Errorf("%q without a password: %v, %v", args, v, err)
		}
	}
	if v, err := c.Do("AUTH", "right"); err != nil || v.Str != "OK" {
		t.Errorf("the right password after all: %v, %v", v, err)
	}
	if _, err := c.Must("SET", "k", "v"); err != nil {
		t.Error(err)
	}
}
