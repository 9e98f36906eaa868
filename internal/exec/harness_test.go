package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"haypile/internal/commands"
	"haypile/internal/disk"
	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/pubsub"
	"haypile/internal/replication"
	"haypile/internal/replog"
	"haypile/internal/resp"
	"haypile/internal/storage"
	"haypile/internal/tracking"
	"haypile/internal/types/digest"
	"haypile/internal/types/list"
	"haypile/internal/types/stream"
)

// testNode is the part of a node that the commands of these tests ask for.
type testNode struct {
	commands.Node
	cfg     *option.Config
	slow    commands.SlowLog
	latency commands.LatencyMonitor
	hub     pubsub.Hub
	x       *Executor
}

func (n *testNode) Config() *option.Config                  { return n.cfg }
func (n *testNode) SlowLog() *commands.SlowLog              { return &n.slow }
func (n *testNode) Latency() *commands.LatencyMonitor       { return &n.latency }
func (n *testNode) Tracking() *tracking.Table               { return n.x.Tracking }
func (n *testNode) PubSub() *pubsub.Hub                     { return &n.hub }
func (n *testNode) Publishes() bool                         { return n.x.Role().Writable }
func (n *testNode) Pause(until time.Time, all bool)         { n.x.Pause(until, all) }
func (n *testNode) Replication() commands.Replication       { return testReplication{} }
func (n *testNode) MonitorStart(*commands.Client)           {}
func (n *testNode) MonitorStop(*commands.Client)            {}
func (n *testNode) SetActiveExpire(on bool)                 { n.x.SetExpiry(on) }
func (n *testNode) AbortShutdown() error                    { return errors.New("no shutdown") }
func (n *testNode) Clients() commands.Clients               { return noClients{} }
func (n *testNode) DescribeKey(int, []byte) (string, error) { return "", nil }

type testReplication struct{ commands.Replication }

func (testReplication) IsReplica() bool { return false }

type noClients struct{}

func (noClients) Each(func(*commands.Client) bool) {}
func (noClients) Get(int64) *commands.Client       { return nil }
func (noClients) Count() int                       { return 0 }

const testDatabases = 4

// gate is a data node without sockets: log, engine and Executor on one file system in memory.
type gate struct {
	tb     testing.TB
	mem    *storage.Mem
	faults *disk.Faults // around the log's files
	log    *replog.Log
	engine *storage.Engine
	store  *keyspace.Store
	x      *Executor
	cfg    *option.Config
	fatal  chan string
	rec    replog.Recovery
	closed bool
}

type gateOptions struct {
	fsync string
	// unordered leaves out the hook that keeps the engine behind the log.
	unordered bool
	exec      func(*Options)
	config    map[option.Option]string
}

// openGate opens what is in mem, or begins there, and replays. The gate has no role yet.
func openGate(tb testing.TB, mem *storage.Mem, opt gateOptions) (*gate, error) {
	g := &gate{tb: tb, mem: mem, faults: disk.NewFaults(mem.Disk()), cfg: option.New(), fatal: make(chan string, 1)}
	if opt.fsync != "" {
		opt.set(tb, g.cfg, option.AppendFsync, opt.fsync)
	}
	for o, text := range opt.config {
		opt.set(tb, g.cfg, o, text)
	}
	logOpt := replog.Options{FS: g.faults, Dir: "log", SegmentBytes: 32 << 10, TailBytes: 64 << 10}
	l, err := replog.Create(logOpt, 100)
	if err == nil {
		err = l.Close()
	}
	if err != nil && !errors.Is(err, replog.ErrExists) {
		return nil, err
	}
	if g.log, g.rec, err = replog.Open(logOpt); err != nil {
		return nil, err
	}
	so := storage.Options{Dir: "engine", Mem: mem, CacheBytes: 8 << 20, MemtableBytes: 1 << 20, Memtables: 2,
		BeforeFlush: func() error { return g.log.Sync(g.log.End()) }}
	if opt.unordered {
		so.BeforeFlush = nil
	}
	if g.engine, err = storage.Open(so); err != nil {
		return nil, errors.Join(err, g.log.Close())
	}
	g.store, err = keyspace.Open(g.engine, keyspace.Options{Databases: testDatabases, CacheBytes: 4 << 20,
		StartOffset: int64(g.log.Start()), Defer: true, Many: 20})
	if err != nil {
		return nil, errors.Join(err, g.engine.CloseUnflushed(), g.log.Close())
	}
	if at := replog.Offset(g.store.Applied()); at > g.log.End() || at < g.log.Start() {
		err := fmt.Errorf("the engine is at %d, the log holds %d to %d", at, g.log.Start(), g.log.End())
		return nil, errors.Join(err, g.engine.CloseUnflushed(), g.log.Close())
	}
	g.x = newExecutor(tb, g.cfg, opt.exec, func(msg string, err error) {
		g.fatal <- fmt.Sprintf("%s: %v", msg, err)
	})
	g.x.SetData(Data{g.store, g.log}, g.store.AppliedDB())
	tb.Cleanup(g.close)
	return g, g.replay(g.log)
}

func (gateOptions) set(tb testing.TB, cfg *option.Config, o option.Option, text string) {
	tb.Helper()
	if err := cfg.Assign(o, text); err != nil {
		tb.Fatal(err)
	}
}

func newExecutor(tb testing.TB, cfg *option.Config, more func(*Options), fatal func(string, error)) *Executor {
	all := commands.All()
	table, err := commands.NewTable(all)
	if err != nil {
		tb.Fatal(err)
	}
	n := &testNode{cfg: cfg}
	opt := Options{Table: table, All: all, Config: cfg, Node: n, Logger: slog.New(slog.DiscardHandler), Fatal: fatal}
	if more != nil {
		more(&opt)
	}
	n.x = New(opt)
	return n.x
}

// newGate makes an empty primary.
func newGate(tb testing.TB, opt gateOptions) *gate {
	tb.Helper()
	g, err := openGate(tb, storage.NewMem(), opt)
	if err != nil {
		tb.Fatal(err)
	}
	g.lead()
	return g
}

// lead begins a reign in which the gate takes writes; follow ends it.
func (g *gate) lead() {
	_ = g.x.SetRole(func() (Role, error) {
		g.x.SelectNext()
		return Role{Writable: true, Reign: g.log.BeginReign()}, nil
	})
}

func (g *gate) follow() {
	_ = g.x.SetRole(func() (Role, error) {
		return Role{Refusal: resp.ErrReadOnly, Reign: g.log.BeginReign()}, nil
	})
}

// close forgets what is not durable, as a crash would.
func (g *gate) close() {
	if !g.closed {
		g.closed = true
		_ = errors.Join(g.store.Close(false), g.engine.CloseUnflushed(), g.log.Close())
	}
}

// replay executes what a log holds behind the store's offset, as a node does when it starts.
func (g *gate) replay(log *replog.Log) error {
	a := g.x.NewApplier()
	from, db := replog.Offset(g.store.Applied()), g.store.AppliedDB()
	split := replication.NewSplitter(from, db, 64<<20)
	var batch replication.Batch
	err := log.Replay(from, func(f replog.Frame) error {
		if err := split.Write(f.Payload); err != nil {
			return err
		}
		for {
			ok, err := split.Next(&batch)
			if err != nil || !ok {
				return err
			}
			if err := a.Apply(unitsOf(&batch)); err != nil {
				return err
			}
			g.x.Advance(batch.End, batch.EndDB)
			db = batch.EndDB
		}
	})
	if err != nil {
		return fmt.Errorf("replay from %d: %w", from, err)
	}
	if n := split.Pending(); n > 0 {
		return fmt.Errorf("the log ends inside a command or transaction: %d bytes are left over", n)
	}
	g.x.SetData(Data{g.store, g.log}, db)
	return nil
}

func unitsOf(b *replication.Batch) []Unit {
	units := make([]Unit, len(b.Units))
	for i := range b.Units {
		u := &b.Units[i]
		units[i] = Unit{End: u.End, DB: u.EndDB}
		for _, c := range u.Cmds {
			units[i].Commands = append(units[i].Commands, StreamCommand{DB: c.DB, Args: c.Args})
		}
	}
	return units
}

// contents is all that a client could see, in words: one line for each key.
type contents struct {
	keys map[string]string
	// dbs are, for each database, the counters of keys, of deadlines and of hashes with deadlines of fields.
	dbs    [testDatabases][3]int64
	digest string
	offset int64
}

// contents reads everything and checks the counters and the expiry index against it.
func (g *gate) contents() (*contents, error) {
	snap, err := g.store.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	c := &contents{keys: map[string]string{}, offset: snap.State.Offset}
	if c.digest, err = digest.All(context.Background(), snap); err != nil {
		return nil, err
	}
	for db := range testDatabases {
		var keys, expires, due, timed int64
		var failed error
		err := snap.Keys(db, func(k *keyspace.FoundKey) bool {
			keys++
			if k.Meta.Deadline != 0 {
				expires++
			}
			if k.Meta.Due() != 0 {
				due++
			}
			if k.Meta.HasTimed() {
				timed++
			}
			name := fmt.Sprintf("%d %s", db, k.User)
			if _, twice := c.keys[name]; twice {
				failed = fmt.Errorf("key %s twice", name)
				return false
			}
			c.keys[name], failed = describe(snap, db, k)
			return failed == nil
		})
		if err := errors.Join(err, failed); err != nil {
			return nil, err
		}
		have, deadlines, hashes := int64(0), int64(0), int64(0)
		if db < len(snap.State.Databases) {
			s := snap.State.Databases[db]
			have, deadlines, hashes = s.Keys, s.Expires, s.Timed
			index, err := g.rows(encoding.AppendSpace(nil, encoding.TableExpiry, s.Space))
			if err == nil && index != due {
				err = fmt.Errorf("database %d: %d rows in the expiry index, %d keys that will be due", db, index, due)
			}
			if err != nil {
				return nil, err
			}
		}
		if have != keys || deadlines != expires || hashes != timed {
			return nil, fmt.Errorf("database %d: counters say %d keys, %d with a deadline, %d with fields that have one; "+
				"there are %d, %d, %d", db, have, deadlines, hashes, keys, expires, timed)
		}
		c.dbs[db] = [3]int64{keys, expires, timed}
	}
	return c, nil
}

// rows counts rows of the engine. REQUIRES: nobody writes.
func (g *gate) rows(prefix []byte) (n int64, err error) {
	it, err := g.engine.Iter(prefix, encoding.PrefixEnd(prefix))
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n, it.Close()
}

func describe(snap *keyspace.Snapshot, db int, k *keyspace.FoundKey) (string, error) {
	text := fmt.Sprintf("%v deadline %d: ", k.Meta.Type, k.Meta.Deadline)
	if k.Meta.Type == encoding.String {
		err := snap.Rows(db, &k.Meta).String(func(part []byte) error {
			text += string(part)
			return nil
		})
		return text, err
	}
	if k.Meta.Type == encoding.List {
		n := uint64(0)
		err := list.Scan(&k.Meta, snap.Rows(db, &k.Meta), func(v []byte) bool {
			text += string(v) + " "
			n++
			return true
		})
		if err == nil && n != k.Meta.Count {
			err = fmt.Errorf("list %s: count %d, elements %d", k.User, k.Meta.Count, n)
		}
		return text, err
	}
	if k.Meta.Type == encoding.Stream {
		n := uint64(0)
		err := stream.Entries(snap.Rows(db, &k.Meta), &k.Meta, func(id stream.ID, f stream.Fields) {
			text += fmt.Sprint(id)
			f.All(func(v []byte) { text += " " + string(v) })
			n++
		})
		if err == nil && n != k.Meta.Count {
			err = fmt.Errorf("stream %s: count %d, entries %d", k.User, k.Meta.Count, n)
		}
		return text, err
	}
	var fields, deadlines []string
	next := int64(math.MaxInt64)
	err := snap.Elements(db, &k.Meta, func(e keyspace.Element) bool {
		fields = append(fields, fmt.Sprintf("%s=%s", e.Member, e.Value))
		if e.Deadline != 0 {
			deadlines = append(deadlines, fmt.Sprintf("%d %s", e.Deadline, e.Member))
			next = min(next, e.Deadline)
		}
		return true
	})
	timed, timedErr := k.Meta.Timed()
	err = errors.Join(err, timedErr)
	slices.Sort(deadlines)
	if err == nil && k.Meta.Type == encoding.Hash {
		var rows []string
		err = snap.ScanOrdered(db, &k.Meta, nil, nil, func(sortKey, _ []byte) bool {
			d, field, _ := encoding.ParseTimedKey(sortKey)
			rows = append(rows, fmt.Sprintf("%d %s", d, field))
			return true
		})
		slices.Sort(rows)
		if err == nil && (!slices.Equal(rows, deadlines) || timed.Count != uint64(len(rows)) || timed.Next > next) {
			err = fmt.Errorf("key %s: fields have deadlines %q, the rows say %q, the metadata %+v", k.User, deadlines, rows,
				timed)
		}
	}
	if err == nil && uint64(len(fields)) != uint64(k.Meta.Count) {
		err = fmt.Errorf("key %s: count %d, elements %d", k.User, k.Meta.Count, len(fields))
	}
	slices.Sort(fields)
	return text + strings.Join(append(fields, deadlines...), " "), err
}

// differs tells the first difference, "" if there is none.
func (c *contents) differs(d *contents) string {
	for _, k := range slices.Sorted(maps.Keys(c.keys)) {
		if c.keys[k] != d.keys[k] {
			return fmt.Sprintf("key %s: %q and %q", k, c.keys[k], d.keys[k])
		}
	}
	for k := range d.keys {
		if _, ok := c.keys[k]; !ok {
			return fmt.Sprintf("key %s: missing and %q", k, d.keys[k])
		}
	}
	if c.dbs != d.dbs || c.digest != d.digest {
		return fmt.Sprintf("counters %v and %v, digests %s and %s", c.dbs, d.dbs, c.digest, d.digest)
	}
	return ""
}

// must returns the contents or ends the test.
func (g *gate) must() *contents {
	g.tb.Helper()
	c, err := g.contents()
	if err != nil {
		g.tb.Fatal(err)
	}
	return c
}

// client is a connection without a socket.
type client struct {
	*Session
	tb     testing.TB
	cancel context.CancelFunc
}

func (g *gate) client() *client {
	ctx, cancel := context.WithCancel(context.Background())
	c := &commands.Client{Authenticated: true, Proto: 2, Addr: "127.0.0.1:1"}
	k := &client{g.x.NewSession(ctx, c), g.tb, cancel}
	c.Gate = k.Session
	return k
}

func words(line string) [][]byte {
	var args [][]byte
	for _, w := range strings.Fields(line) {
		args = append(args, []byte(w))
	}
	return args
}

// batch runs commands as one pipeline and returns the replies in a short notation: errors with "-", bulk
// strings as they are, arrays in brackets.
func (c *client) batch(lines ...string) []string {
	c.Tick(time.Now())
	for _, l := range lines {
		c.Do(words(l))
	}
	_ = c.Flush()
	return c.replies()
}

func (c *client) replies() []string {
	var out []string
	r := resp.NewReplyReader(bytes.NewReader(c.Out.Buf))
	for {
		v, err := r.ReadValue()
		if err != nil {
			break
		}
		out = append(out, short(v))
	}
	c.Out.Buf = c.Out.Buf[:0]
	return out
}

func short(v resp.Value) string {
	if v.IsNull() {
		return "nil"
	}
	switch v.Kind {
	case resp.KindError:
		return "-" + string(v.Str)
	case resp.KindInt:
		return fmt.Sprint(v.Int)
	case resp.KindArray:
		var el []string
		for _, e := range v.Elems {
			el = append(el, short(e))
		}
		return "[" + strings.Join(el, " ") + "]"
	}
	return string(v.Str)
}

func (c *client) do(line string) string {
	r := c.batch(line)
	if len(r) != 1 {
		return fmt.Sprintf("%d replies: %q", len(r), r)
	}
	return r[0]
}

// want runs a pipeline and compares the replies, the last ones against the words given.
func (c *client) want(want string, line string) {
	c.tb.Helper()
	if got := c.do(line); got != want {
		c.tb.Errorf("%s: got %q, want %q", line, got, want)
	}
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			tb.Fatalf("never: %s", what)
		}
		<-time.After(200 * time.Microsecond)
	}
}

// within fails the test if f takes much longer than anything here should.
func within(tb testing.TB, what string, f func()) {
	tb.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		tb.Fatalf("%s: stuck", what)
	}
}
