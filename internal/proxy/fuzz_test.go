package proxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
)

var replySeeds = []string{
	"+OK\r\n", "-ERR x\r\n", ":5\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "_\r\n", "#t\r\n",
	",1.5\r\n",
	"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "%1\r\n+a\r\n:1\r\n", "~2\r\n:1\r\n:2\r\n", ">2\r\n+message\r\n+x\r\n",
	"=7\r\ntxt:abc\r\n", "!5\r\nERR x\r\n", "|1\r\n+k\r\n+v\r\n:1\r\n", "*2\r\n$1\r\na\r\n",
	"$5\r\nabc", "*1000000000\r\n",
	"*2\r\n$18\r\n1407374883553280001\r\n*0\r\n",
}

// What ReplyReader takes as one reply, replySize measures as one, and whatever it is given, cutting and
// merging neither fail nor read past the end.
func FuzzReplies(f *testing.F) {
	for _, s := range replySeeds {
		f.Add([]byte(s), uint8(command.MergeConcat))
	}
	f.Fuzz(func(t *testing.T, b []byte, policy uint8) {
		n := replySize(b)
		if n < 0 || n > len(b) {
			t.Fatalf("size %d of %d bytes", n, len(b))
		}
		raw, err := resp.NewReplyReader(bytes.NewReader(b)).ReadRaw(nil)
		if err == nil && n != len(raw) {
			t.Fatalf("size %d, ReplyReader takes %d of %q", n, len(raw), b)
		}
		elements(b)
		fixCursor(b, 100, 1)
		firstWord(b)
		if err != nil || len(raw) == 0 {
			return
		}
		out := merge(command.Merge(policy%10), [][]byte{raw, raw}, [][]int{{0, 2}, {1, 3}}, 4)
		if _, err := resp.NewReplyReader(bytes.NewReader(out)).ReadRaw(nil); err != nil {
			t.Fatalf("merge %d of %q: %q: %v", policy%10, raw, out, err)
		}
	})
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("event: topology\ndata: {}\n\n: c\n\ndata:x\ndata: y\r\n\r\n"))
	f.Add([]byte("data\n\nevent\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := readEvents(bytes.NewReader(b), func(name string, data []byte) {
			if len(data) > len(b) || len(name) > len(b) {
				t.Fatal("event larger than its source")
			}
			decodeTopology(data)
		})
		if err == nil {
			t.Fatal("a stream cannot end without an error")
		}
	})
}

// Splitting a command loses no argument and gives each key to its owner.
func FuzzSplit(f *testing.F) {
	f.Add("a b c d", 1, -1, 1, false)
	f.Add("a 1 b 2 c 3", 1, -1, 2, false)
	f.Add("2 a b x y", 1, 0, 1, true)
	f.Add("a b c opt", 1, -2, 1, false)
	rt := routesOf("h:1", "h:2", "h:3")
	f.Fuzz(func(t *testing.T, line string, first, last, step int, counted bool) {
		keySpec := command.Range(first, last, step, command.AccessRO)
		if first < 1 || first > 5 || step < 1 || step > 4 || last > 20 || last < -5 || last >= 0 && last < first {
			return
		}
		if counted {
			keySpec = command.Counted(first, command.AccessRO)
		}
		spec := &command.Spec{Name: "X", Keys: []command.KeySpec{keySpec}}
		args := [][]byte{[]byte("X")}
		for _, w := range strings.Fields(line) {
			args = append(args, []byte(w))
		}
		parts, split, err := rt.split(spec, args)
		if err != nil || !split {
			return
		}
		keys, err := spec.AppendKeys(nil, args)
		if err != nil {
			t.Fatalf("split what has no keys: %v", err)
		}
		total := 0
		for _, p := range parts {
			got, err := spec.AppendKeys(nil, p.args)
			if err != nil || len(got) != len(p.order) {
				t.Fatalf("part %q has %d keys, %d expected: %v", p.args, len(got), len(p.order), err)
			}
			for i, k := range got {
				if whole := args[keys[p.order[i]].Pos]; !bytes.Equal(p.args[k.Pos], whole) {
					t.Fatalf("part %q: key %d is %q, not %q", p.args, i, p.args[k.Pos], whole)
				}
			}
			if at, _, err := rt.locate(spec, p.args, nil); err != nil || at != p.shard {
				t.Fatalf("part %q of shard %d: %d, %v", p.args, p.shard, at, err)
			}
			total += len(got)
		}
		if total != len(keys) {
			t.Fatalf("%d of %d keys", total, len(keys))
		}
	})
}

// Whatever a client sends, the proxy goes on, and another client's connection is not disturbed.
func FuzzClientBytes(f *testing.F) {
	store := newFakeStore()
	a, b := startFake(f, store), startFake(f, store)
	p := startProxy(f, clusterOf(1, a.addr(), b.addr()), func(o *Options) {
		o.HoldTimeout = 50 * time.Millisecond
	})
	cl, err := resp.Dial(context.Background(), p.Addr().String(), resp.DialOptions{})
	if err != nil {
		f.Fatal(err)
	}
	defer cl.Close()
	for _, s := range []string{
		"PING\r\n", "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "MULTI\r\nSET a 1\r\nGET b\r\nEXEC\r\n",
		"WATCH a\r\nMULTI\r\nEXEC\r\n",
		"MGET a b c\r\nMSET a 1 b 2\r\nDEL a b\r\n", "SUBSCRIBE a\r\nPING\r\nUNSUBSCRIBE\r\n",
		"HELLO 3\r\nSELECT 3\r\nRESET\r\n",
		"CLIENT LIST\r\nCLIENT REPLY OFF\r\nGET a\r\n", "*1\r\n$3\r\nGE", "BLPOP a 0\r\n",
		"SCAN 0\r\nSCAN 99999999999999999999\r\n",
		"COMMAND INFO get\r\nCOMMAND DOCS\r\nCOMMAND GETKEYS mget a b\r\n", "EVAL x 99 a\r\nCONFIG GET *\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		nc, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		nc.Write(data)
		nc.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, nc); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("%q: %v", data, err)
		}
		if v, err := cl.Do(context.Background(), "SET", "z", 1); err != nil || v.String() != "OK" {
			t.Fatalf("after %q: %v, %v", data, v, err)
		}
	})
}
