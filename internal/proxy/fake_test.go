package proxy

import (
	"bufio"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"haypile/internal/resp"
)

// fakeStore is the data that fake nodes share, as if replication between them took no time.
type fakeStore struct {
	mu       sync.Mutex
	data     map[string]string
	executed []string // in order
}

func newFakeStore() *fakeStore { return &fakeStore{data: map[string]string{}} }

func (s *fakeStore) log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.executed...)
}

// fakeNode speaks enough RESP to be a backend whose behaviour a test controls.
type fakeNode struct {
	t     testing.TB
	store *fakeStore
	ln    net.Listener
	wg    sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	refusal string // answers every command but ROLE and the handshake, if set
	replica bool   // answers writes with READONLY
	hang    chan struct{}
	// mute lets commands of this name be executed and never answered.
	mute map[string]bool
	seen int
}

func startFake(t testing.TB, store *fakeStore) *fakeNode {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &fakeNode{t: t, store: store, ln: ln, conns: map[net.Conn]bool{}, mute: map[string]bool{}}
	n.wg.Add(1)
	go n.accept()
	t.Cleanup(n.kill)
	return n
}

func (n *fakeNode) addr() string { return n.ln.Addr().String() }

func (n *fakeNode) set(change func(*fakeNode)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

// kill closes everything, as the death of a process does.
func (n *fakeNode) kill() {
	n.ln.Close()
	n.mu.Lock()
	for c := range n.conns {
		c.Close()
	}
	if n.hang != nil {
		close(n.hang)
		n.hang = nil
	}
	n.mu.Unlock()
	n.wg.Wait()
}

// freeze makes the node stop answering and reading, as SIGSTOP does.
func (n *fakeNode) freeze() {
	n.set(func(n *fakeNode) { n.hang = make(chan struct{}) })
}

func (n *fakeNode) accept() {
	defer n.wg.Done()
	for {
		c, err := n.ln.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		n.conns[c] = true
		n.mu.Unlock()
		n.wg.Add(1)
		go n.serve(c)
	}
}

func (n *fakeNode) serve(c net.Conn) {
	defer n.wg.Done()
	defer c.Close()
	rd := resp.NewReader(resp.DefaultLimits())
	out := bufio.NewWriter(c)
	w := resp.Writer{Proto: 2}
	var tx [][]string
	inTx := false
	for {
		k, err := c.Read(rd.Space(1))
		if err != nil {
			return
		}
		rd.Advance(k)
		for {
			cmd, ok, err := rd.Next()
			if err != nil {
				return
			}
			if !ok {
				break
			}
			var args []string
			for _, a := range cmd.Args {
				args = append(args, string(a))
			}
			args[0] = strings.ToUpper(args[0])
			n.mu.Lock()
			hang := n.hang
			n.seen++
			n.mu.Unlock()
			if hang != nil {
				<-hang
				return
			}
			w.Buf = w.Buf[:0]
			switch {
			case args[0] == "MULTI":
				inTx, tx = true, nil
				w.OK()
			case inTx && args[0] == "EXEC":
				inTx = false
				if text := n.refuses(tx...); text != "" {
					w.Error("EXECABORT Transaction discarded because of: " + text)
					break
				}
				w.Array(len(tx))
				for _, a := range tx {
					n.run(&w, a)
				}
			case inTx:
				tx = append(tx, args)
				w.SimpleString("QUEUED")
			default:
				if !n.one(&w, args) {
					continue
				}
			}
			out.Write(w.Buf)
		}
		if out.Flush() != nil {
			return
		}
	}
}

func (n *fakeNode) refuses(cmds ...[]string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refusal != "" {
		return n.refusal
	}
	for _, a := range cmds {
		switch a[0] {
		case "SET", "INCR", "APPEND", "RPUSH":
			if n.replica {
				return resp.ErrReadOnly
			}
		}
	}
	return ""
}

// one runs a command outside of a transaction; false: there is no reply.
func (n *fakeNode) one(w *resp.Writer, args []string) bool {
	switch args[0] {
	case "HELLO":
		w.Proto = 3
		w.Map(0)
		return true
	case "SELECT", "AUTH":
		w.OK()
		return true
	case "ROLE":
		n.mu.Lock()
		role := "master"
		if n.replica {
			role = "slave"
		}
		n.mu.Unlock()
		w.Array(1)
		w.BulkString(role)
		return true
	}
	if text := n.refuses(args); text != "" {
		w.Error(text)
		return true
	}
	n.run(w, args)
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.mute[args[0]]
}

func (n *fakeNode) run(w *resp.Writer, args []string) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	d := n.store.data
	n.store.executed = append(n.store.executed, strings.Join(args, " "))
	switch args[0] {
	case "PING":
		w.SimpleString("PONG")
	case "SET":
		d[args[1]] = args[2]
		w.OK()
	case "APPEND":
		d[args[1]] += args[2]
		w.Int(int64(len(d[args[1]])))
	case "INCR":
		v, _ := strconv.ParseInt(d[args[1]], 10, 64)
		d[args[1]] = strconv.FormatInt(v+1, 10)
		w.Int(v + 1)
	case "GET":
		if v, ok := d[args[1]]; ok {
			w.BulkString(v)
		} else {
			w.Null()
		}
	default:
		w.Error("ERR fake node does not know " + args[0])
	}
}
