package session

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/exec"
	"haypile/internal/option"
)

// breaks is a command of these tests: a long reply that ends in an error.
var breaks = &commands.Command{
	Spec: command.Spec{Name: "BREAKS", Arity: 2, Flags: command.ReadOnly, Group: "string", Since: "1.0.0", Summary: "x",
		Syntax: "BREAKS key", Complexity: "x", Keys: []command.KeySpec{command.One(1, command.AccessRO)}},
	Run: func(c *commands.Call) error {
		c.Out.Array(1000)
		for range 999 {
			c.Out.Bulk(make([]byte, 1000))
		}
		return errors.New("the disk is gone")
	},
}

// setReplyBuffer says from which length on replies are sent in parts.
func (n *node) setReplyBuffer(size string) {
	n.tb.Helper()
	if err := n.cfg.Assign(option.ReplyBuffer, size); err != nil {
		n.tb.Fatal(err)
	}
}

// populate stores a value of each type.
func populate(w *peer) {
	w.tb.Helper()
	for i := range 300 {
		w.send(fmt.Sprintf("HSET h field:%d value-%d", i, i*i), fmt.Sprintf("SADD s%d m%d", i%2, i),
			fmt.Sprintf("SADD all m%d", i), fmt.Sprintf("RPUSH l element-%d", i%17), fmt.Sprintf("ZADD z %d.5 m%d", i%40, i),
			fmt.Sprintf("ZADD lex 0 n%d", i), fmt.Sprintf("XADD x %d-1 a %d b two", i+1, i), fmt.Sprintf("SET key:%d %d", i, i),
			fmt.Sprintf("GEOADD g 13.%d 38.%d p%d", i, i, i))
		for range 9 {
			w.reply()
		}
	}
	for i := range 700 { // as many elements as are walked over, not looked up
		w.send(fmt.Sprintf("RPUSH l2 %d", i))
		w.reply()
	}
	for i := range 30 {
		w.send(fmt.Sprintf("SADD few m%d", i*2))
		w.reply()
	}
	w.send("DEBUG SET-ACTIVE-EXPIRE 0", "HSET due a 1 b 2 c 3 dddddddddddddddddddddddd "+strings.Repeat("e", 100),
		"HPEXPIRE due 1 FIELDS 2 a b")
	for range 3 {
		w.reply()
	}
	eventually(w.tb, "a field is due", func() bool { w.send("HGET due a"); return w.reply() == "$-1" })
	w.send("LINSERT l BEFORE element-3 x", "SET big "+strings.Repeat("x", 200_000), "SET wrong x",
		"XGROUP CREATE x gr 0", "XREADGROUP GROUP gr me STREAMS x >", "HSET large a "+strings.Repeat("y", 100_000)+" b c")
	for range 6 {
		if r := w.reply(); strings.HasPrefix(r, "-") {
			w.tb.Fatal(r)
		}
	}
}

// longReads are reading commands of every kind with a reply of more than 100 bytes.
var longReads = []string{
	"HGETALL h", "HKEYS h", "HVALS h", "HMGET h field:1 field:2 nope field:3 field:4 field:5 field:6 field:7 field:8 field:9",
	"HGETALL large",
	"HGETALL due", "HVALS due", "HRANDFIELD due 1000 WITHVALUES",
	"HRANDFIELD h 1000 WITHVALUES", "HSCAN h 0 COUNT 1000", "SMEMBERS all", "SINTER all s0", "SINTER few all s0 all all",
	"SUNION s0 s1", "SDIFF all s0", "SSCAN all 0 COUNT 1000", "SRANDMEMBER all 1000", "LRANGE l 0 -1", "LRANGE l2 0 -1",
	"LRANGE l2 10 -20", "LPOS l element-4 COUNT 0", "ZRANGE z 0 -1", "ZRANGE z 0 -1 WITHSCORES", "ZRANGE z 3 200 REV WITHSCORES",
	"ZRANGE z 1 30 BYSCORE", "ZRANGE z 0 -1 LIMIT 3 -1", "ZRANGEBYSCORE z -inf +inf WITHSCORES LIMIT 20 100", "ZREVRANGE z 0 -1 WITHSCORES",
	"ZREVRANGEBYSCORE z +inf -inf", "ZRANGEBYLEX lex - +", "ZREVRANGEBYLEX lex + [n1", "ZUNION 2 z lex WITHSCORES", "ZINTER 2 z z",
	"ZDIFF 2 z few WITHSCORES", "ZRANDMEMBER z 1000 WITHSCORES", "ZSCAN z 0 COUNT 1000", "XRANGE x - +", "XRANGE x 5 + COUNT 50",
	"XREVRANGE x + -", "XREAD STREAMS nope x 0 0", "XREAD COUNT 20 STREAMS x nope 0 0", "KEYS *", "KEYS key:*1",
	"SORT_RO l ALPHA", "SORT_RO s0 BY key:* GET # GET key:* ALPHA",
	"MGET key:1 key:2 nope key:3 key:4 key:5 key:6 key:7 key:8 key:9 key:10 key:11 big",
	"GET big", "GETRANGE big 0 -2", "GEOSEARCH g FROMLONLAT 13 38 BYRADIUS 500 km ASC WITHCOORD WITHDIST", "DUMP h", "XINFO STREAM x FULL",
	"SCAN 0 COUNT 1000", "GEOPOS g p1 p2 p3 nope p4 p5 p6 p7 p8 p9",
}

// Replies that are sent in parts are, byte for byte, what they are in one piece, whatever comes before and behind them.
func TestRepliesInParts(t *testing.T) {
	n := newNode(t, nil)
	w, _ := n.connect()
	populate(w)
	for _, proto := range []string{"2", "3"} {
		for _, pushing := range []bool{false, true} {
			var whole []string
			for _, size := range []string{"1gb", "100", "1"} {
				p, k := n.connect()
				n.setReplyBuffer("1gb")
				p.send("HELLO " + proto)
				p.reply()
				if pushing && proto == "3" {
					p.send("SUBSCRIBE c")
					p.reply()
				}
				n.setReplyBuffer(size)
				for i, cmd := range longReads {
					before := n.x.Stats.Streams.Load()
					p.send("SET before 1", cmd, "GETSET before 2", "LPUSH wrong 1", "HGETALL wrong", cmd)
					if got := p.reply(); got != "+OK" {
						t.Fatalf("%s: %q before it", cmd, got)
					}
					reply := p.reply()
					if size == "1gb" {
						whole = append(whole, reply)
					} else if reply != whole[i] && !strings.Contains(cmd, "RAND") {
						t.Errorf("RESP%s, in parts of %s: %s: %.300q\nwant %.300q", proto, size, cmd, reply, whole[i])
					} else if len(reply) != len(whole[i]) {
						t.Errorf("RESP%s, in parts of %s: %s: %d bytes, want %d", proto, size, cmd, len(reply), len(whole[i]))
					}
					if got := p.reply(); got != "$1 1" {
						t.Fatalf("%s: %q behind it", cmd, got)
					}
					for range 2 {
						if got := p.reply(); !strings.HasPrefix(got, "-WRONGTYPE") {
							t.Fatalf("%s: %q behind it", cmd, got)
						}
					}
					if again := p.reply(); again != reply && !strings.Contains(cmd, "RAND") {
						t.Errorf("%s: another reply at the end of the pipeline", cmd)
					}
					if now := n.x.Stats.Streams.Load(); now-before < 2 != (size == "1gb") {
						t.Errorf("in parts of %s: %s: %d replies in parts", size, cmd, now-before)
					}
				}
				// Where all has to be in one piece, it is.
				before := n.x.Stats.Streams.Load()
				p.send("MULTI", "HGETALL h", "EXEC")
				p.want("+OK", "+QUEUED")
				if got := p.reply(); got != "*1 "+whole[0] {
					t.Errorf("in MULTI: %.100q", got)
				}
				p.send("CLIENT REPLY SKIP", "HGETALL h", "PING")
				p.want("+PONG")
				if now := n.x.Stats.Streams.Load(); now != before {
					t.Errorf("%d replies in parts", now-before)
				}
				n.setReplyBuffer("1gb")
				k.Kill()
			}
		}
	}
	if b := n.x.Stats.BrokenStreams.Load(); b != 0 {
		t.Errorf("%d replies broke off", b)
	}
}

const slowFields = 7

// slowHash is a hash whose reply is more than sockets hold, and the reply.
func slowHash(n *node) (w *peer, want string) {
	w, _ = n.connect()
	for i := range slowFields {
		w.send(fmt.Sprintf("HSET h f%d %s", i, strings.Repeat(string(rune('a'+i)), 512<<10)))
		w.want(":1")
	}
	w.send("HGETALL h")
	return w, w.reply()
}

// begun waits until a reply is being sent whose client does not read.
func (n *node) begun(k *Conn) {
	n.tb.Helper()
	eventually(n.tb, "a reply is being sent", func() bool {
		return n.x.Stats.Streaming.Load() == 1 && (k.pushing.Load() || k.sock == nil || k.sock.wantWrite.Load())
	})
}

func (n *node) streamingEnds() {
	n.tb.Helper()
	eventually(n.tb, "nothing is being sent in parts", func() bool { return n.x.Stats.Streaming.Load() == 0 })
}

// While a client does not read, others go on with the same key, and the client gets what there was when it asked.
func TestSlowReaderHoldsNothing(t *testing.T) {
	for _, hello := range []string{"HELLO 2", "HELLO 3"} {
		for _, looped := range []bool{true, false} {
			n := newNode(t, nil)
			w, _ := slowHash(n)
			p, k, _ := slowPair(t, n, looped)
			n.setReplyBuffer("1gb")
			w.send(hello)
			w.reply()
			w.send("HGETALL h")
			want := w.reply()
			n.setReplyBuffer("1mb")
			p.send(hello, "CLIENT TRACKING "+map[string]string{"HELLO 2": "OFF", "HELLO 3": "ON"}[hello], "HGETALL h", "PING")
			n.begun(k)
			if held := k.client.Held.Load(); held == 0 || held > 1<<20 {
				t.Errorf("%d bytes are held", held)
			}
			w.send("HSET h f3 changed new 1", "HDEL h f4", "LPUSH l 1", "DEL h", "SET h 1", "FLUSHALL", "SWAPDB 0 1", "HSET h other 1")
			w.want(":1", ":1", ":1", ":1", "+OK", "+OK", "+OK", ":1")
			_ = n.x.SetRole(func() (exec.Role, error) {
				r := *n.x.Role()
				r.Writable = false
				return r, nil
			})
			p.reply()
			p.want("+OK")
			if got := p.reply(); got != want {
				t.Errorf("%s, looped %v: %d bytes, want %d", hello, looped, len(got), len(want))
			}
			if hello == "HELLO 3" {
				for range 6 { // of the changes of h and of all: behind the reply, never in it
					if got := p.reply(); got == "+PONG" {
						break
					} else if !strings.HasPrefix(got, ">2 $10 invalidate") {
						t.Fatalf("%.100q", got)
					}
				}
			} else {
				p.want("+PONG")
			}
			n.streamingEnds()
			if b := n.x.Stats.BrokenStreams.Load(); b != 0 {
				t.Errorf("%d replies broke off", b)
			}
		}
	}
}

// Whoever goes away, is killed, or stands in the way of a data set that is to be closed, has its reply cut off, and
// leaves nothing behind.
func TestStreamEndsEarly(t *testing.T) {
	for name, end := range map[string]func(n *node, w *peer, p *peer, k *Conn){
		"the client closes": func(_ *node, _, p *peer, _ *Conn) { p.Close() },
		"the client resets": func(_ *node, _, p *peer, _ *Conn) {
			if tcp, ok := p.Conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			p.Close()
		},
		"CLIENT KILL": func(n *node, w, _ *peer, k *Conn) {
			w.send(fmt.Sprint("CLIENT KILL ID ", k.client.ID))
			w.want(":1")
		},
		"the store is closed": func(n *node, w, _ *peer, _ *Conn) {
			err := n.x.Exclusive(func() error { return n.x.Store().Close(true) })
			if err != nil {
				n.tb.Error(err)
			}
		},
	} {
		for _, hello := range []string{"PING", "SUBSCRIBE x"} {
			for _, looped := range []bool{true, false} {
				t.Run(fmt.Sprint(name, " ", hello, " looped ", looped), func(t *testing.T) {
					n := newNode(t, nil)
					w, _ := slowHash(n)
					p, k, _ := slowPair(t, n, looped)
					p.send("HELLO 3", hello, "HGETALL h", "SET after 1")
					n.begun(k)
					end(n, w, p, k)
					n.streamingEnds()
					eventually(t, "the connection ends", func() bool { return n.reg.Count() == 1 })
					if name == "the store is closed" {
						return
					}
					w.send("EXISTS after", "HLEN h")
					w.want(":0", fmt.Sprint(":", slowFields))
					if b := n.x.Stats.BrokenStreams.Load(); b != 1 {
						t.Errorf("%d replies broke off", b)
					}
				})
			}
		}
	}
}

// An error in the middle of a reply ends the connection; before the first part it is a reply as any other.
func TestErrorInParts(t *testing.T) {
	n := newNode(t, nil)
	for _, c := range []struct {
		size  string
		whole bool
	}{{"10", false}, {"10mb", true}} {
		n.setReplyBuffer(c.size)
		p, _ := n.connect()
		p.send("BREAKS k", "SET after 1")
		_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
		if c.whole {
			p.want("-ERR internal error: the disk is gone", "+OK")
			continue
		}
		got, err := io.ReadAll(p.Conn)
		if err != nil || !strings.HasPrefix(string(got), "*1000\r\n$1000\r\n") || strings.Contains(string(got), "+OK") {
			t.Errorf("%d bytes: %.100q, %v", len(got), got, err)
		}
		w, _ := n.connect()
		w.send("EXISTS after")
		w.want(":0")
	}
	if b := n.x.Stats.BrokenStreams.Load(); b != 1 {
		t.Errorf("%d replies broke off", b)
	}
}

// The time that a client takes to read is not the command's.
func TestStreamedTime(t *testing.T) {
	n := newNode(t, map[option.Option]string{option.SlowlogLogSlowerThan: "0"})
	_, want := slowHash(n)
	before := n.command("HGETALL").Stats.Nanos.Load()
	calls := n.command("HGETALL").Stats.Calls.Load()
	p, k, _ := slowPair(t, n, true)
	began := time.Now()
	p.send("HGETALL h")
	n.begun(k)
	eventually(t, "half a second goes by", func() bool { return time.Since(began) > time.Second/2 })
	if got := p.reply(); got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
	took := time.Since(began)
	n.streamingEnds()
	st := &n.command("HGETALL").Stats
	if d := time.Duration(st.Nanos.Load() - before); st.Calls.Load() != calls+1 || d > took-time.Second/4 {
		t.Errorf("%d calls, %v of %v", st.Calls.Load()-calls, d, took)
	}
}

func (n *node) command(name string) *commands.Command {
	for _, c := range n.all {
		if c.Name == name {
			return c
		}
	}
	n.tb.Fatal(name)
	return nil
}
