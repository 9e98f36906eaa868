//go:build e2e

package cluster

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"haypile/internal/resp"
	"haypile/internal/testcluster"
)

// TestLongReplyNeedsLittleMemory reads a hash of a million fields again and again: once the engine's caches are warm, the
// memory of the process stays where it is, and so it does while clients that asked for it take nothing.
func TestLongReplyNeedsLittleMemory(t *testing.T) {
	p := testcluster.RunServer(t)
	c, err := resp.Dial(t.Context(), p.Spec.Addr, resp.DialOptions{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const fields, step = 1_000_000, 1000
	for i := 0; i < fields; i += step {
		args := []any{"HSET", "h"}
		for j := i; j < i+step; j++ {
			args = append(args, fmt.Sprintf("field:%09d", j), fmt.Sprintf("value-%060d", j))
		}
		if _, err := c.Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	ask := func() net.Conn {
		nc, err := net.Dial("tcp", p.Spec.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		if _, err := io.WriteString(nc, "HGETALL h\r\n"); err != nil {
			t.Fatal(err)
		}
		return nc
	}
	want := int64(len("*2000000\r\n") + fields*(len("$15\r\nfield:000000000\r\n")+len("$66\r\n\r\n")+66))
	read := func() {
		t.Helper()
		if n, err := io.CopyN(io.Discard, ask(), want); err != nil {
			t.Fatalf("%d of %d bytes: %v", n, want, err)
		}
	}
	rss := func() int64 {
		n, err := p.RSS()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	read()
	read()
	before := rss()
	read()
	for range 10 {
		b := make([]byte, len("*2000000\r\n"))
		if _, err := io.ReadFull(ask(), b); err != nil || string(b) != "*2000000\r\n" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	if more := rss() - before; more > 64<<20 {
		t.Errorf("%d MB more", more>>20)
	}
	if _, err := c.Do(t.Context(), "DEL", "h"); err != nil {
		t.Error(err)
	}
}
