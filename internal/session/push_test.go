package session

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPushOrder: messages come in the order of publishing, replies in that of the commands, and a reply is
// never torn by a message, however both interleave; in both protocols.
func TestPushOrder(t *testing.T) {
	n := newNode(t, nil)
	for _, proto := range []int{3, 2} {
		p, _ := n.connect()
		mark := "*"
		if proto == 3 {
			p.send("HELLO 3")
			p.reply()
			mark = ">"
		}
		p.send("SUBSCRIBE c", "PSUBSCRIBE c*")
		p.want(mark+"3 $9 subscribe $1 c :1", mark+"3 $10 psubscribe $2 c* :2")
		const messages, pings = 400, 200
		q, _ := n.connect()
		var senders sync.WaitGroup
		senders.Go(func() {
			for i := range messages {
				q.send(fmt.Sprintf("PUBLISH c m%d", i))
				if got := q.reply(); got != ":2" {
					t.Errorf("PUBLISH: %q", got)
					return
				}
			}
		})
		senders.Go(func() {
			for i := range pings / 4 {
				p.send(fmt.Sprintf("PING p%d", 4*i), fmt.Sprintf("PING p%d", 4*i+1), fmt.Sprintf("PING p%d", 4*i+2),
					fmt.Sprintf("PING p%d", 4*i+3))
			}
		})
		var ping, message, pmessage int
		for range pings + 2*messages {
			got := p.reply()
			var want string
			switch {
			case strings.HasPrefix(got, mark+"3 $7 message"):
				m := fmt.Sprintf("m%d", message)
				want = fmt.Sprintf("%s3 $7 message $1 c $%d %s", mark, len(m), m)
				message++
			case strings.HasPrefix(got, mark+"4 $8 pmessage"):
				m := fmt.Sprintf("m%d", pmessage)
				want = fmt.Sprintf("%s4 $8 pmessage $2 c* $1 c $%d %s", mark, len(m), m)
				pmessage++
			case proto == 3:
				m := fmt.Sprintf("p%d", ping)
				want = fmt.Sprintf("$%d %s", len(m), m)
				ping++
			default:
				m := fmt.Sprintf("p%d", ping)
				want = fmt.Sprintf("*2 $4 pong $%d %s", len(m), m)
				ping++
			}
			if got != want {
				t.Fatalf("RESP%d: got %q, want %q", proto, got, want)
			}
		}
		senders.Wait()
		p.Close()
		q.Close()
		n.ended()
	}
}

// TestOwnMessages: what a client publishes to itself stands in front of the reply of PUBLISH, as in Redis.
func TestOwnMessages(t *testing.T) {
	n := newNode(t, nil)
	p, _ := n.connect()
	p.send("HELLO 3", "SUBSCRIBE c", "PUBLISH c 1", "PING", "PUBLISH c 2", "SET a 1")
	p.reply()
	p.want(">3 $9 subscribe $1 c :1", ">3 $7 message $1 c $1 1", ":1", "+PONG", ">3 $7 message $1 c $1 2", ":1", "+OK")
	p.send("PUBLISH c 3", "UNSUBSCRIBE c", "PUBLISH c 4")
	var got []string
	for range 4 {
		got = append(got, p.reply())
	}
	// The message stands in front of the end of its subscription.
	all := strings.Join(got, "|")
	if m, u := strings.Index(all, "message"), strings.Index(all, "unsubscribe"); m < 0 || u < m || got[3] != ":0" {
		t.Errorf("%q", got)
	}
}

// TestSlowSubscriber: one that does not read is disconnected at its limit, and holds nobody up.
func TestSlowSubscriber(t *testing.T) {
	n := newNode(t, settings("client-output-buffer-limit", "pubsub 200kb 0 0"))
	slow, k, _ := slowPair(t, n, true)
	slow.send("SUBSCRIBE c")
	slow.want("*3 $9 subscribe $1 c :1")
	fast, _ := n.connect()
	fast.send("SUBSCRIBE c")
	fast.want("*3 $9 subscribe $1 c :1")
	q, _ := n.connect()
	payload := strings.Repeat("x", 10_000)
	published := 0
	for n.stats.OutKills.Load() == 0 {
		q.send("PUBLISH c " + payload)
		q.reply()
		fast.want("*3 $7 message $1 c $10000 " + payload)
		if published++; published > 2000 {
			t.Fatal("the slow subscriber is still there")
		}
		k.mu.Lock()
		held := len(k.mu.pending) + len(k.mu.messages) + k.mu.sending
		k.mu.Unlock()
		if held > 200<<10+20_000 {
			t.Fatalf("%d bytes are held for it", held)
		}
	}
	eventually(t, "its connection ends", func() bool { return n.reg.Count() == 2 })
	q.send("PUBLISH c last")
	q.want(":1")
	fast.want("*3 $7 message $1 c $4 last")
}

// TestSoftLimit: above the soft limit a client lives for its time only.
func TestSoftLimit(t *testing.T) {
	n := newNode(t, settings("client-output-buffer-limit", "pubsub 0 100kb 1"))
	slow, k, _ := slowPair(t, n, true)
	slow.send("SUBSCRIBE c")
	slow.want("*3 $9 subscribe $1 c :1")
	payload := []byte(strings.Repeat("x", 50_000))
	began := time.Now()
	eventually(t, "the kill", func() bool {
		if time.Since(began) < 500*time.Millisecond && n.stats.OutKills.Load() > 0 {
			t.Fatal("killed at once")
		}
		k.mu.Lock()
		held := len(k.mu.pending) + k.mu.sending
		k.mu.Unlock()
		if held < 1<<20 {
			n.hub.Publish([]byte("c"), payload, false)
		} else {
			n.hub.Publish([]byte("c"), nil, false)
		}
		return n.stats.OutKills.Load() == 1
	})
	n.ended()
}

// TestSubscriberWithLargeReplies: a client that gets messages and reads no replies is held up, not buffered
// without bound; and gets everything once it reads.
func TestSubscriberWithLargeReplies(t *testing.T) {
	n := newNode(t, nil)
	p, k, _ := slowPair(t, n, true)
	p.send("SETRANGE a 299999 x", "HELLO 3", "SUBSCRIBE c")
	p.want(":300000")
	p.reply()
	p.want(">3 $9 subscribe $1 c :1")
	const gets = 60
	go func() {
		for range gets {
			p.send("GET a")
		}
	}()
	held := func() int {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.mu.pending)
	}
	eventually(t, "it is held up", func() bool { return held() > maxPending })
	n.hub.Publish([]byte("c"), []byte("m"), false)
	most, messages, replies := 0, 0, 0
	for messages+replies < gets+1 {
		most = max(most, held())
		if got := p.reply(); strings.HasPrefix(got, ">3 $7 message") {
			messages++
		} else if len(got) == 300_000+len("$300000 ") {
			replies++
		} else {
			t.Fatalf("%.100q", got)
		}
	}
	if most > maxPending+4*300_000 {
		t.Errorf("%d bytes were held", most)
	}
}
