package commands_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/storage"
)

// testNode is the part of a node that data commands ask for.
type testNode struct {
	commands.Node
	config *option.Config
}

func (n testNode) Config() *option.Config { return n.config }

// gate runs commands one at a time as package exec does, without log and locks: it rolls errors back, logs
// what changed, applies and settles.
type gate struct {
	tb     testing.TB
	byName map[string]*commands.Command
	mem    *storage.Mem
	engine *storage.Engine
	store  *keyspace.Store
	tx     *keyspace.Txn
	config *option.Config
	out    resp.Writer
	client commands.Client

	now    int64
	db     int
	offset int64
	// log are the effects so far, one entry for each frame.
	log []frame
}

// frame is what one command logged.
type frame struct {
	db     int
	stream string
	end    int64
}

const testStart = 1_700_000_000_000

func newGate(tb testing.TB) *gate {
	g := &gate{tb: tb, mem: storage.NewMem(), config: option.New(), now: testStart,
		byName: map[string]*commands.Command{}}
	all := commands.All()
	if _, err := commands.NewTable(all); err != nil {
		tb.Fatal(err)
	}
	for _, c := range all {
		g.byName[c.Name] = c
	}
	g.open()
	tb.Cleanup(func() { _ = g.engine.CloseUnflushed() })
	return g
}

// open opens the store that is in g.mem.
func (g *gate) open() {
	var err error
	g.engine, err = storage.Open(storage.Options{Dir: "engine", Mem: g.mem, CacheBytes: 8 << 20,
		MemtableBytes: 1 << 20, Memtables: 2})
	if err != nil {
		g.tb.Fatal(err)
	}
	g.store, err = keyspace.Open(g.engine, keyspace.Options{Databases: 16, CacheBytes: 4 << 20, Many: 20})
	if err != nil {
		g.tb.Fatal(err)
	}
	g.tx = g.store.NewTxn()
	g.offset = g.store.Applied()
	g.out.Proto = 2
}

func (g *gate) find(args [][]byte) *commands.Command {
	c := g.byName[strings.ToUpper(string(args[0]))]
	if c != nil && len(c.Sub) > 0 && len(args) > 1 {
		for _, sub := range c.Sub {
			if commands.EqualWord(args[1], sub.Name) {
				return sub
			}
		}
		return nil
	}
	return c
}

func byteArgs(args []string) [][]byte {
	b := make([][]byte, len(args))
	for i, a := range args {
		b[i] = []byte(a)
	}
	return b
}

// do runs a client's command and returns the raw reply.
func (g *gate) do(args ...string) string {
	g.tb.Helper()
	b := byteArgs(args)
	cmd := g.find(b)
	if cmd == nil {
		g.tb.Fatalf("unknown command %q", args)
	}
	if !cmd.ArityOK(len(b)) {
		return "-" + resp.WrongArity(cmd.FullName()) + "\r\n"
	}
	mode := keyspace.ModeRead
	if cmd.Flags&(command.Write|command.MayReplicate) != 0 {
		mode = keyspace.ModeWrite
	}
	g.tx.Reset()
	g.tx.Begin(mode, g.db, g.now)
	call := commands.Call{Args: b, Cmd: cmd, Tx: g.tx, Out: &g.out, Client: &g.client,
		Node: testNode{config: g.config}}
	mark, changes, effects := g.tx.Mark(), g.tx.Changes(), g.tx.EffectBytes()
	expired, expiredBytes := g.tx.Expirations()
	g.out.Buf = g.out.Buf[:0]
	if err := cmd.Run(&call); err != nil {
		var reply commands.Error
		if !errors.As(err, &reply) {
			g.tb.Fatalf("%q: %v", args, err)
		}
		g.tx.Rollback(&mark)
		g.out.Buf = g.out.Buf[:0]
		g.out.Error(string(reply))
	} else {
		moreExpired, moreBytes := g.tx.Expirations()
		changed := g.tx.Changes()-changes > moreExpired-expired
		logged := int64(g.tx.EffectBytes()-effects) > moreBytes-expiredBytes
		if changed && !logged && call.Propagates() {
			g.tx.Effect(b...)
		}
		if logged && !changed {
			g.tb.Fatalf("%q logged something but changed nothing", args)
		}
	}
	if mode == keyspace.ModeRead && (!g.tx.Empty() || g.tx.Changes() != 0) {
		g.tb.Fatalf("%q is no write but changed something", args)
	}
	g.commit()
	return string(g.out.Buf)
}

// commit applies the transaction.
func (g *gate) commit() {
	g.tb.Helper()
	if g.tx.Empty() {
		return
	}
	g.tx.Effects(func(db int, stream []byte) {
		g.offset += int64(len(stream))
		g.log = append(g.log, frame{db, string(stream), g.offset})
	})
	if err := g.store.Apply([]*keyspace.Txn{g.tx}, g.offset, g.db); err != nil {
		g.tb.Fatal(err)
	}
	g.store.Settle(g.tx)
}

// apply executes a frame of another gate's log as a replica does.
func (g *gate) apply(f frame) {
	g.tb.Helper()
	r := resp.NewReader(resp.DefaultLimits())
	n := copy(r.Space(len(f.stream)), f.stream)
	r.Advance(n)
	for {
		c, ok, err := r.Next()
		if err != nil {
			g.tb.Fatal(err)
		}
		if !ok {
			break
		}
		cmd := g.find(c.Args)
		g.tx.Reset()
		g.tx.Begin(keyspace.ModeApply, f.db, g.now)
		call := commands.Call{Args: c.Args, Cmd: cmd, Tx: g.tx, Out: &g.out, Client: &g.client,
			Node: testNode{config: g.config}}
		g.out.Buf = g.out.Buf[:0]
		if err := cmd.Run(&call); err != nil {
			g.tb.Fatalf("apply %q: %v", c.Args, err)
		}
		g.tx.DropEffects(0)
		if err := g.store.Apply([]*keyspace.Txn{g.tx}, f.end, f.db); err != nil {
			g.tb.Fatal(err)
		}
		g.store.Settle(g.tx)
		g.offset = f.end
	}
}

// effects returns and forgets the log as lines of words.
func (g *gate) effects() []string {
	var lines []string
	for _, f := range g.log {
		r := resp.NewReader(resp.DefaultLimits())
		n := copy(r.Space(len(f.stream)), f.stream)
		r.Advance(n)
		for {
			c, ok, err := r.Next()
			if err != nil {
				g.tb.Fatal(err)
			}
			if !ok {
				break
			}
			lines = append(lines, string(bytes.Join(c.Args, []byte(" "))))
		}
	}
	g.log = nil
	return lines
}

// want runs a command and compares the reply, in which \r\n is written as a space.
func (g *gate) want(reply string, args ...string) {
	g.tb.Helper()
	if got := flat(g.do(args...)); got != reply {
		g.tb.Errorf("%q: got %q, want %q", args, got, reply)
	}
}

func flat(s string) string { return strings.TrimSuffix(strings.ReplaceAll(s, "\r\n", " "), " ") }

// readRaw reads the exact bytes of one reply.
func readRaw(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return line, err
	}
	var n int
	switch line[0] {
	case '$', '=':
		if _, err := fmt.Sscanf(line[1:], "%d", &n); err != nil || n < 0 {
			return line, err
		}
		b := make([]byte, n+2)
		_, err := io.ReadFull(r, b)
		return line + string(b), err
	case '*', '%', '~', '>', '|':
		if _, err := fmt.Sscanf(line[1:], "%d", &n); err != nil {
			return line, err
		}
		if line[0] == '%' || line[0] == '|' {
			n *= 2
		}
		for ; n > 0; n-- {
			more, err := readRaw(r)
			if err != nil {
				return line, err
			}
			line += more
		}
	}
	return line, nil
}
