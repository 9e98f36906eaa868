package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"haypile/internal/resp"
)

// slowRaw connects a client whose socket takes little.
func (p *testProxy) slowRaw() net.Conn {
	nc := p.raw()
	if err := nc.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		p.t.Fatal(err)
	}
	return nc
}

// onlyConn is for proxies with one connection for all.
func onlyConn(o *Options) { o.ConnsPerShard = 1 }

// untaken is what the proxy holds for its clients.
func (p *testProxy) untaken() (bytes int) {
	for _, s := range p.sessions() {
		s.mu.Lock()
		bytes += s.mu.out.size + s.mu.sending
		for r := s.mu.head; r != nil; r = r.next {
			if r.done { // before that it belongs to a connection
				bytes += cap(r.reply)
			}
		}
		s.mu.Unlock()
	}
	return bytes
}

const passedSize = 32 << 20

// passed is a server with large values behind a proxy.
func passed(t *testing.T) (*redisServer, *testProxy, *testClient) {
	r := startRedis(t)
	p := startProxy(t, clusterOf(1, r.addr), onlyConn)
	c := p.client()
	direct := resp.NewClient(mustDial(t, r.addr), 20*time.Second)
	if _, err := direct.Do(t.Context(), "SETRANGE", "big", fmt.Sprint(passedSize-3), "end"); err != nil {
		t.Fatal(err)
	}
	c.do("SET small value")
	for range 64 { // an array of long and short strings
		c.doArgs("RPUSH", "list", strings.Repeat("x", passPart+1), strings.Repeat("y", 100), "", strings.Repeat("z", 70_000))
	}
	return r, p, c
}

// wantStream compares what arrives with what should.
func wantStream(t *testing.T, nc io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(nc, got); err != nil {
		t.Fatalf("after %d of %d bytes: %v", n, len(want), err)
	}
	if !bytes.Equal(got, want) {
		at := 0
		for got[at] == want[at] {
			at++
		}
		t.Fatalf("at %d of %d: %.60q, want %.60q", at, len(want), got[at:], want[at:])
	}
}

func bigReply() []byte {
	b := append(fmt.Appendf(nil, "$%d\r\n", passedSize), make([]byte, passedSize-3)...)
	return append(b, "end\r\n"...)
}

// Large replies arrive as they are, in their order among small ones; of those of several shards, and in MULTI, too.
func TestLargeReplies(t *testing.T) {
	r, p, _ := passed(t)
	direct, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	list := func(w io.ReadWriter) []byte {
		_, _ = io.WriteString(w, "LRANGE list 0 -1\r\n")
		b, err := resp.NewReplyReader(w).ReadRaw(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	array := list(direct)
	nc := p.raw()
	_, _ = io.WriteString(nc, "GET small\r\nLRANGE list 0 -1\r\nGET small\r\nGET big\r\nGET big\r\nGET small\r\nMULTI\r\n"+
		"LRANGE list 0 -1\r\nGET small\r\nEXEC\r\nCLIENT REPLY SKIP\r\nGET big\r\nGET small\r\nMGET small big\r\nPING\r\n")
	small := []byte("$5\r\nvalue\r\n")
	wantStream(t, nc, bytes.Join([][]byte{small, array, small, bigReply(), bigReply(), small,
		[]byte("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n"), array, small, small, []byte("*2\r\n"), small, bigReply(), []byte("+PONG\r\n")}, nil))
}

// A client that takes nothing of a large reply costs little memory and keeps nobody else waiting.
func TestSlowClientOfALargeReply(t *testing.T) {
	_, p, c := passed(t)
	slow := p.slowRaw()
	_, _ = io.WriteString(slow, "GET small\r\nGET big\r\nGET small\r\n")
	eventually(t, "the reply waits for its client", func() bool { return p.untaken() > passAhead })
	for i := range 200 {
		c.want(fmt.Sprintf("SET k%d %d", i, i), "OK")
		if n := p.untaken(); n > passAhead+4*passPart {
			t.Fatalf("%d bytes are held", n)
		}
	}
	wantStream(t, slow, bytes.Join([][]byte{[]byte("$5\r\nvalue\r\n"), bigReply(), []byte("$5\r\nvalue\r\n")}, nil))
	_, _ = io.WriteString(slow, "GET small\r\n")
	wantStream(t, slow, []byte("$5\r\nvalue\r\n"))
}

// When the client goes away, or the node, nothing is left, and others go on.
func TestLargeReplyEndsEarly(t *testing.T) {
	r, p, c := passed(t)
	slow := p.slowRaw()
	_, _ = io.WriteString(slow, "GET big\r\nSET after 1\r\n")
	eventually(t, "the reply waits for its client", func() bool { return p.untaken() > passAhead })
	slow.Close()
	eventually(t, "the session ends", func() bool { return len(p.sessions()) == 1 })
	c.want("GET small", "value")

	slow = p.slowRaw()
	_, _ = io.WriteString(slow, "GET big\r\nSET after 1\r\n")
	eventually(t, "the reply waits for its client", func() bool { return p.untaken() > passAhead })
	r.kill()
	got, _ := io.ReadAll(slow)
	if len(got) >= passedSize || !bytes.HasPrefix(got, fmt.Appendf(nil, "$%d\r\n", passedSize)) || bytes.Contains(got, []byte("ERR")) {
		t.Errorf("%d bytes: %.60q", len(got), got)
	}
}

// Requests that were sent on the same connection wait for a slow client for a while, not for ever.
func TestSlowClientKeepsOthersWaiting(t *testing.T) {
	defer func(d time.Duration) { passWait = d }(passWait)
	passWait = 100 * time.Millisecond
	r, p, c := passed(t)
	direct := resp.NewClient(mustDial(t, r.addr), 20*time.Second)
	if _, err := direct.Do(t.Context(), "CLIENT", "PAUSE", "3000", "ALL"); err != nil {
		t.Fatal(err)
	}
	slow := p.slowRaw()
	_, _ = io.WriteString(slow, "GET big\r\n")
	sent := func(n int64) func() bool {
		return func() bool {
			var due int64
			for _, s := range p.allShards() {
				s.mu.Lock()
				for _, po := range s.mu.target.pools {
					for _, pc := range po.conns {
						if pc != nil {
							due += pc.taken.Load() - pc.answered.Load()
						}
					}
				}
				s.mu.Unlock()
			}
			return due == n
		}
	}
	eventually(t, "the request is sent", sent(1))
	other := p.raw()
	_, _ = io.WriteString(other, "GET small\r\n")
	eventually(t, "two requests are sent", sent(2))
	wantStream(t, other, []byte("$5\r\nvalue\r\n"))
	eventually(t, "the slow client is closed", func() bool { return len(p.sessions()) == 2 })
	c.want("GET small", "value")
}

func mustDial(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}
