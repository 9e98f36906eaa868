package session

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"haypile/internal/commands"
	"haypile/internal/option"
	"haypile/internal/resp"
)

func settings(pairs ...string) map[option.Option]string {
	byName := map[string]option.Option{"client-output-buffer-limit": option.ClientOutputBufferLimit,
		"client-query-buffer-limit": option.ClientQueryBufferLimit, "requirepass": option.RequirePass}
	m := map[option.Option]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[byName[pairs[i]]] = pairs[i+1]
	}
	return m
}

// TestPieces sends one pipeline cut at random places, over a socket and over a pipe: the replies are the same.
func TestPieces(t *testing.T) {
	n := newNode(t, nil)
	big := strings.Repeat("b", 40_000)
	lines := []string{"FLUSHALL", "SET a 1", "INCR a", "APPEND a x", "INCR a", "SET big " + big, "GET big", "MULTI",
		"SET c 1", "GET c", "EXEC", "NOSUCH x", "HSET h f v", "HGETALL h", "DEL a big", "PING last"}
	var stream []byte
	for i, l := range lines {
		if i%5 == 1 {
			stream = append(stream, l+"\r\n"...) // inline
		} else {
			stream = resp.AppendCommandStrings(stream, strings.Fields(l)...)
		}
	}
	var want []string
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var p *peer
		if seed%3 == 2 {
			near, far := net.Pipe()
			n.serve(far)
			p = newPeer(t, near)
		} else {
			p, _ = n.connect()
		}
		go func() {
			for rest := stream; len(rest) > 0 && seed > 0; {
				k := min(len(rest), 1+rng.IntN(1<<rng.IntN(13)))
				if _, err := p.Write(rest[:k]); err != nil {
					return
				}
				rest = rest[k:]
			}
			if seed == 0 {
				_, _ = p.Write(stream)
			}
		}()
		var got []string
		for range lines {
			got = append(got, p.reply())
		}
		if want == nil {
			want = got
			if got[4] != "-ERR value is not an integer or out of range" || got[15] != "$4 last" {
				t.Fatalf("%q", got)
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("seed %d: got %.500q", seed, got)
		}
		p.Close()
	}
	n.ended()
}

// TestProtocolErrors: what came before a malformed command is answered, then the error, then the end.
func TestProtocolErrors(t *testing.T) {
	for _, x := range []struct{ bytes, reply string }{
		{"*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length"},
		{"*x\r\n", "-ERR Protocol error: invalid multibulk length"},
		{"*1\r\n+a\r\n", "-ERR Protocol error: expected '$', got '+'"},
		{"*1\r\n$99999999999\r\n", "-ERR Protocol error: invalid bulk length"},
		{"SET a \"unbalanced\r\n", "-ERR Protocol error: unbalanced quotes in request"},
		{strings.Repeat("x", 100_000), "-ERR Protocol error: too big inline request"},
	} {
		n := newNode(t, nil)
		p, _ := n.connect()
		p.send("SET a 1", "GET a")
		p.raw(x.bytes)
		p.want("+OK", "$1 1", x.reply)
		n.ended()
	}
}

// TestUnauthenticated: who has not said AUTH gets small limits, and larger ones afterwards.
func TestUnauthenticated(t *testing.T) {
	n := newNode(t, settings("requirepass", "secret"))
	p, _ := n.connect()
	p.send("GET a")
	p.want("-NOAUTH Authentication required.")
	p.raw("*2\r\n$3\r\nGET\r\n$100000\r\n")
	p.want("-ERR Protocol error: unauthenticated bulk length")
	n.ended()
	p, _ = n.connect()
	p.raw("*20\r\n")
	p.want("-ERR Protocol error: unauthenticated multibulk length")
	n.ended()
	p, _ = n.connect()
	p.send("AUTH secret", "SET a "+strings.Repeat("x", 100_000), "STRLEN a", "MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9 j 10")
	p.want("+OK", "+OK", ":100000", "+OK")
}

// TestHTTP: a browser that was made to talk to a node gets nothing, and nothing of what it sends is run.
func TestHTTP(t *testing.T) {
	n := newNode(t, nil)
	p, _ := n.connect()
	p.raw("POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a 1\r\n")
	n.ended()
	q, _ := n.connect()
	q.send("GET a")
	q.want("$-1")
}

// TestQueryBufferLimit: an unfinished command may not hold more than client-query-buffer-limit.
func TestQueryBufferLimit(t *testing.T) {
	n := newNode(t, settings("client-query-buffer-limit", "1mb"))
	p, _ := n.connect()
	p.send("SET a " + strings.Repeat("x", 900_000))
	p.want("+OK")
	go func() {
		_, _ = p.Write([]byte("*2\r\n$3\r\nGET\r\n$5000000\r\n"))
		for range 50 {
			if _, err := p.Write(make([]byte, 100_000)); err != nil {
				return
			}
		}
	}()
	n.ended()
	if n.stats.QueryLimitKills.Load() != 1 {
		t.Error("the kill was not counted")
	}
}

// TestQuit: the replies before QUIT arrive, nothing behind it is run, the other end sees the close.
func TestQuit(t *testing.T) {
	n := newNode(t, nil)
	for _, hello := range []string{"PING", "SUBSCRIBE x"} {
		p, _ := n.connect()
		p.send(hello)
		p.reply()
		p.send("QUIT", "SET a 1")
		p.want("+OK")
		n.ended()
	}
	p, _ := n.connect()
	p.send("GET a")
	p.want("$-1")
	if n := n.hub.Len(0); n != 0 {
		t.Errorf("%d channels are still subscribed", n)
	}
}

// TestIdleHoldsNoBuffer: a connection that has nothing to do keeps no read buffer and no large reply buffer.
func TestIdleHoldsNoBuffer(t *testing.T) {
	const conns = 300
	n := newNode(t, nil)
	value := strings.Repeat("v", 30_000)
	size := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // pools need two
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := size()
	var peers []*peer
	for range conns {
		p, _ := n.connect()
		peers = append(peers, p)
	}
	for _, p := range peers {
		p.send("ECHO " + value)
		p.want("$30000 " + value)
		p.r = nil
	}
	var grown int64
	for range 100 {
		if grown = (size() - before) / conns; grown < 8<<10 {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	if grown >= 8<<10 {
		t.Errorf("an idle connection and its peer hold %d bytes", grown)
	}
	for _, p := range peers {
		p.r = resp.NewReplyReader(p.Conn)
		p.send("PING")
		p.want("+PONG")
	}
}

// deadlines is a socket that remembers the deadline for writing.
type deadlines struct {
	net.Conn
	write atomic.Pointer[time.Time]
	set   atomic.Int64
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.write.Store(&t)
	d.set.Add(1)
	return d.Conn.SetWriteDeadline(t)
}

// slowPair is a connection with small socket buffers, in an event loop or, with its deadlines watched, served by
// a goroutine.
func slowPair(t *testing.T, n *node, looped bool) (*peer, *Conn, *deadlines) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.(*net.TCPConn).SetReadBuffer(16 << 10)
	_ = far.(*net.TCPConn).SetWriteBuffer(16 << 10)
	t.Cleanup(func() { nc.Close() })
	if looped {
		return newPeer(t, nc), n.serve(far), nil
	}
	d := &deadlines{Conn: far}
	return newPeer(t, nc), n.serve(d), d
}

// eventuallyWaits returns when the connection waits for its peer to read.
func eventuallyWaits(t *testing.T, k *Conn, d *deadlines) {
	t.Helper()
	eventually(t, "the writer waits for the reader", func() bool {
		if d == nil {
			return k.sock.wantWrite.Load()
		}
		return d.set.Load() > 0
	})
}

// TestSlowReaderOfALargeReply gets it whole, and its connection goes on afterwards: no deadline stays behind.
func TestSlowReaderOfALargeReply(t *testing.T) {
	for _, looped := range []bool{true, false} {
		t.Run(fmt.Sprintf("looped=%v", looped), func(t *testing.T) { slowReader(t, looped) })
	}
}

func slowReader(t *testing.T, looped bool) {
	n := newNode(t, nil)
	w, _ := n.connect()
	const size = 6 << 20
	w.send("SETRANGE a " + fmt.Sprint(size-4) + " last")
	w.want(":" + fmt.Sprint(size))
	p, k, d := slowPair(t, n, looped)
	p.send("GET a", "PING")
	eventuallyWaits(t, k, d)
	if d != nil {
		if at := d.write.Load(); at.IsZero() || time.Until(*at) > writeTimeout {
			t.Errorf("deadline %v", at)
		}
	}
	want := fmt.Sprintf("$%d\r\n", size) + strings.Repeat("\x00", size-4) + "last\r\n+PONG\r\n"
	got := make([]byte, 0, len(want))
	buf := make([]byte, 100_000)
	for len(got) < len(want) {
		_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
		m, err := p.Read(buf[:1+len(got)%len(buf)])
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		got = append(got, buf[:m]...)
	}
	if string(got) != want {
		t.Fatal("the reply is not what was written")
	}
	if d != nil {
		eventually(t, "the deadline is taken back", func() bool { return d.write.Load().IsZero() })
		if d.set.Load() < int64(size/writePart/2) {
			t.Errorf("the deadline moved %d times only", d.set.Load())
		}
	}
	p.send("PING")
	p.want("+PONG")
	k.Kill()
	p.wantEnd()
}

// TestKillWhileWriting ends a connection whose peer reads nothing.
func TestKillWhileWriting(t *testing.T) {
	n := newNode(t, nil)
	w, _ := n.connect()
	w.send("SETRANGE a 6000000 x")
	w.reply()
	for _, looped := range []bool{true, false} {
		for _, hello := range []string{"PING", "SUBSCRIBE x"} {
			p, k, d := slowPair(t, n, looped)
			p.send("HELLO 3", hello, "GET a", "GET a")
			eventuallyWaits(t, k, d)
			k.Kill()
			eventually(t, "the connection ends", func() bool { return n.reg.Count() == 1 })
		}
	}
}

// TestKillWhileBlocked: CLIENT KILL, and the peer's own close, end a connection that waits for replicas or for
// the end of a pause; and the pipeline behind it is not run.
func TestKillWhileBlocked(t *testing.T) {
	n := newNode(t, nil)
	admin, _ := n.connect()
	admin.send("SET a 1")
	admin.reply()
	for _, how := range []string{"kill", "close"} {
		for _, line := range []string{"WAIT 1 0", "WAITAOF 0 1 0", "SET a 2"} {
			if line == "SET a 2" {
				admin.send("CLIENT PAUSE 100000 WRITE")
				admin.want("+OK")
			}
			p, k := n.connect()
			p.send("PING")
			p.want("+PONG")
			if how == "kill" {
				p.send(line, "SET a 3")
			} else {
				p.send(line)
			}
			eventually(t, "it blocks", func() bool { return k.client.Blocked.Load() })
			if how == "kill" {
				k.Kill()
				p.wantEnd()
			} else {
				p.Close()
			}
			eventually(t, how+" "+line+": it ends", func() bool { return n.reg.Count() == 1 })
			admin.send("CLIENT UNPAUSE", "GET a")
			admin.want("+OK", "$1 1")
		}
	}
}

// TestUnblockedGoesOn: after a wait the connection reads again, whatever came meanwhile.
func TestUnblockedGoesOn(t *testing.T) {
	n := newNode(t, nil)
	p, k := n.connect()
	for range 5 {
		p.send("WAIT 1 5")
		p.want(":0")
		p.send("WAIT 1 0")
		eventually(t, "it blocks", func() bool { return k.client.Blocked.Load() })
		p.send("PING behind")
		if !k.client.Unblock(false) {
			t.Fatal("not blocked")
		}
		p.want(":0", "$6 behind")
		p.send("PING")
		p.want("+PONG")
	}
}

// TestDetach: the replies so far are sent, and what was read and not parsed goes with the socket.
func TestDetach(t *testing.T) {
	for _, subscribed := range []bool{false, true} {
		n := newNode(t, nil)
		p, k := n.connect()
		want := []string{"+PONG"}
		if subscribed {
			p.send("HELLO 3", "SUBSCRIBE x")
			p.reply()
			p.want(">3 $9 subscribe $1 x :1")
		}
		p.raw("PING\r\nPSYNC ? -1\r\nREPLCONF ACK 1\r\nhalf a l")
		p.want(want...)
		d := <-n.detached
		eventually(t, "the session ends", func() bool { return n.reg.Count() == 0 })
		rest := make([]byte, 100)
		m := copy(rest, d.Unread)
		_ = d.Conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		for !bytes.Contains(rest[:m], []byte("half a l")) {
			r, err := d.Conn.Read(rest[m:])
			if err != nil {
				t.Fatal(err)
			}
			m += r
		}
		if got := string(rest[:m]); got != "REPLCONF ACK 1\r\nhalf a l" {
			t.Errorf("unread: %q", got)
		}
		if _, err := io.WriteString(d.Conn, "+FULLRESYNC\r\n"); err != nil {
			t.Fatal(err)
		}
		p.want("+FULLRESYNC")
		k.Push([]byte("+too late\r\n"))
		d.Conn.Close()
		p.wantEnd()
	}
}

// TestRegistry: ids ascend, and Each stops when told.
func TestRegistry(t *testing.T) {
	var r Registry
	var all []*commands.Client
	for range 5 {
		c := &commands.Client{}
		r.Add(c)
		all = append(all, c)
	}
	r.Remove(all[2])
	var seen []int64
	r.Each(func(c *commands.Client) bool {
		seen = append(seen, c.ID)
		return c.ID < 4
	})
	if fmt.Sprint(seen) != "[1 2 4]" || r.Count() != 4 || r.Get(3) != nil || r.Get(5) != all[4] {
		t.Errorf("%v, %d clients", seen, r.Count())
	}
}

// FuzzSession feeds garbage: nothing panics, and the connection ends with its input.
func FuzzSession(f *testing.F) {
	for _, s := range []string{"PING\r\n", "*1\r\n$4\r\nPING\r\n", "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "HELLO 3\r\nSUBSCRIBE a\r\nPUBLISH a b\r\n",
		"MULTI\r\nSET a 1\r\nEXEC\r\n", "CLIENT REPLY SKIP\r\nSET a 1\r\nGET a\r\n", "*-1\r\n", "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$-1\r\n",
		"PSYNC ? -1\r\nx", "MONITOR\r\nRESET\r\n", "HSET h f v\r\nHSCAN h 0\r\n", "SET a b EX 10\r\nDUMP a\r\nRESTORE b 0 x\r\n",
		"WATCH a\r\nMULTI\r\nCLIENT REPLY OFF\r\nEXEC\r\nQUIT\r\n", "CLIENT LIST\r\nCONFIG GET *\r\nCOMMAND INFO get\r\nLATENCY DOCTOR\r\n"} {
		f.Add([]byte(s), uint8(7))
	}
	n := newNode(f, nil)
	f.Fuzz(func(t *testing.T, data []byte, cut uint8) {
		if bytes.Contains(bytes.ToUpper(data), []byte("WAIT")) || bytes.Contains(bytes.ToUpper(data), []byte("SLEEP")) ||
			bytes.Contains(bytes.ToUpper(data), []byte("PAUSE")) {
			return // they may wait as long as they are asked to
		}
		near, far := net.Pipe()
		k := n.serve(far)
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, near)
		}()
		_ = near.SetWriteDeadline(time.Now().Add(2 * time.Second)) // nobody reads a pipe that was taken over
		for rest := data; len(rest) > 0; {
			m := min(len(rest), int(cut)+1)
			if _, err := near.Write(rest[:m]); err != nil {
				break
			}
			rest = rest[m:]
		}
		select {
		case d := <-n.detached:
			d.Conn.Close()
		default:
		}
		near.Close()
		<-drained
		eventually(t, "the connection ends", func() bool { return n.reg.Get(k.client.ID) == nil })
		select {
		case <-n.detached:
		default:
		}
	})
}
