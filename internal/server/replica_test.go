package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"haypile/internal/agent"
	"haypile/internal/commands"
	"haypile/internal/exec"
	"haypile/internal/option"
	"haypile/internal/replication"
	"haypile/internal/replog"
	"haypile/internal/resp"
	"haypile/internal/topology"
)

// startNode runs a node on free ports and a fresh directory.
func startNode(t *testing.T, args ...string) *Server {
	t.Helper()
	args = append([]string{"--port", "0", "--bind", "127.0.0.1", "--dir", t.TempDir(),
		"--memtable-size", "1mb"}, args...)
	cfg, err := option.Load(args, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, Options{MachineBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// do runs a command through the node's gate, and returns the reply.
func do(s *Server, words ...string) string {
	gate := s.x.NewSession(s.ctx, &commands.Client{Authenticated: true, Proto: 2})
	defer gate.Close()
	return doIn(gate, words...)
}

func doIn(gate *exec.Session, words ...string) string {
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	gate.Out.Buf = gate.Out.Buf[:0]
	gate.Tick(time.Now())
	gate.Do(args)
	_ = gate.Flush()
	return string(gate.Out.Buf)
}

// primaryAndReplica are two managed nodes of epoch 1.
func primaryAndReplica(t *testing.T) (p, r *Server) {
	t.Helper()
	ctx := context.Background()
	p, r = startNode(t), startNode(t)
	for _, s := range []*Server{p, r} {
		waitFor(t, "the start", func() bool { return s.isSettled() })
		if _, err := (agentNode{s}).Fence(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := (agentNode{p}).Open(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := (agentNode{r}).Follow(ctx, 1, p.Addr()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the link", func() bool {
		l := r.state.Load().link
		return l != nil && l.Status().State == replication.LinkConnected && p.feeds.Online() == 1
	})
	return p, r
}

func logOf(s *Server) *replog.Log { return s.state.Load().data.data.Log }

// A replica that is fenced when its primary has just died answers with the end of everything that reached this
// machine, at least what it had acknowledged; opened, it has exactly that. (What the primary's kernel had not
// transmitted when it closed the socket may be lost with it: only sync-replicas covers that.)
func TestFenceAnswersWithWhatTheDeadPrimarySent(t *testing.T) {
	ctx := context.Background()
	p, r := primaryAndReplica(t)
	const keys = 3000
	gate := p.x.NewSession(ctx, &commands.Client{Authenticated: true, Proto: 2})
	var ends []replog.Offset // of the log behind each key
	for i := range keys {
		if got := doIn(gate, "SET", fmt.Sprintf("key:%d", i), strings.Repeat("x", 300)); got != "+OK\r\n" {
			t.Fatal(got)
		}
		ends = append(ends, logOf(p).End())
	}
	gate.Close()
	var acked replog.Offset
	waitFor(t, "the bytes to be with the kernel", func() bool {
		f := p.feeds.Snapshot()
		if len(f) != 1 || f[0].Sent < ends[keys-1] {
			return false
		}
		acked = f[0].Acked
		return true
	})
	p.feeds.DisconnectAll(errors.New("killed"))
	ans, err := agentNode{r}.Fence(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	if end := logOf(r).End(); ans.End != int64(end) || end < acked {
		t.Errorf("the fence answer says %d, the log ends at %d, acknowledged was %d", ans.End, end, acked)
	}
	if err := (agentNode{r}).Open(ctx, 2); err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, end := range ends {
		if int64(end) <= ans.End {
			want++
		}
	}
	if got := do(r, "DBSIZE"); got != fmt.Sprintf(":%d\r\n", want) {
		t.Errorf("DBSIZE of the new primary: %q, want %d of %d keys", got, want, keys)
	}
}

func TestWaitOffset(t *testing.T) {
	p, r := primaryAndReplica(t)
	node := agentNode{r}
	if got := do(p, "SET", "a", "1"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	end, err := p.AppendPing() // carries no data, and counts
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := node.WaitOffset(ctx, int64(end)); err != nil {
		t.Fatal(err)
	}
	if got := do(r, "GET", "a"); got != "$1\r\n1\r\n" {
		t.Errorf("GET on the replica: %q", got)
	}
	if synced := logOf(r).Synced(); synced < end {
		t.Errorf("the log is synced up to %d of %d", synced, end)
	}
	short, cancelShort := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancelShort()
	if err := node.WaitOffset(short, int64(end)+1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an offset that is not there: %v", err)
	}
}

// A primary that hears of a higher epoch takes no writes any more, promises it, and can be opened above it.
func TestHeardEpochEndsTheReign(t *testing.T) {
	ctx := context.Background()
	p, _ := primaryAndReplica(t)
	node := agentNode{p}
	p.HeardEpoch(1) // its own
	if got := do(p, "SET", "a", "1"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	reign := p.x.Role().Reign
	p.HeardEpoch(7)
	node.SetLease(1, time.Now().Add(time.Hour)) // a late grant changes nothing
	if got := do(p, "SET", "a", "2"); !strings.HasPrefix(got, "-READONLY") {
		t.Errorf("a write after a higher epoch: %q", got)
	}
	if logOf(p).Reigning(reign) {
		t.Error("the old reign can still append")
	}
	if r := node.Report(); r.Promised != 7 || r.Epoch != 1 {
		t.Errorf("epoch %d, promised %d", r.Epoch, r.Promised)
	}
	if err := node.Open(ctx, 6); !errors.Is(err, agent.ErrStaleEpoch) {
		t.Errorf("open in a lower epoch: %v", err)
	}
	if err := node.Open(ctx, 8); err != nil {
		t.Fatal(err)
	}
	if got := do(p, "SET", "a", "3"); got != "+OK\r\n" {
		t.Errorf("a write in epoch 8: %q", got)
	}
}

// A hello in a transaction must not wait for the latch that the transaction holds.
func TestHelloInsideMulti(t *testing.T) {
	p, _ := primaryAndReplica(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := resp.Dial(ctx, p.Addr(), resp.DialOptions{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var last resp.Value
	for _, args := range [][]any{
		{"MULTI"},
		{"REPLCONF", "haypile", `{"v":1,"format":1,"node":"x","epoch":9,"reigns":[]}`},
		{"EXEC"},
	} {
		if last, err = c.Do(ctx, args...); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	if len(last.Elems) != 1 || last.Elems[0].Err() == nil {
		t.Errorf("EXEC answered %+v", last)
	}
	if got := do(p, "SET", "a", "1"); got != "+OK\r\n" {
		t.Errorf("a write afterwards: %q", got)
	}
}

// A reign is added for a foreign primary's history only when that is another one.
func TestAdoptForeignHistory(t *testing.T) {
	s := startNode(t)
	waitFor(t, "the start", func() bool { return s.x.Role().Writable })
	s.roleMu.Lock()
	f := s.newFollower()
	before := len(s.role.lineage.Reigns)
	s.roleMu.Unlock()
	id := replog.NewReplID()
	for range 3 {
		if err := f.Adopt(context.Background(), &replication.Upstream{ReplID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if l := s.state.Load().lineage; len(l.Reigns) != before+1 || l.ReplID() != id {
		t.Errorf("lineage %+v", l.Reigns)
	}
}

// Before the data is open the agent refuses politely.
func TestAgentBeforeTheData(t *testing.T) {
	cfg, err := option.Load([]string{"--port", "0", "--dir", t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	a, ctx := agentNode{s}, context.Background()
	if _, err := a.Fence(ctx, 1); !errors.Is(err, errStarting) {
		t.Errorf("fence: %v", err)
	}
	if err := a.Open(ctx, topology.Epoch(1)); !errors.Is(err, errStarting) {
		t.Errorf("open: %v", err)
	}
	if err := a.Follow(ctx, 1, "127.0.0.1:1"); !errors.Is(err, errStarting) {
		t.Errorf("follow: %v", err)
	}
}

// Who closes the pair in service does not wait for a long scan, and no scan starts meanwhile.
func TestDataUse(t *testing.T) {
	var d dataUse
	scan, done := d.scan(context.Background())
	locked := make(chan struct{})
	go func() {
		d.lock()
		close(locked)
	}()
	select {
	case <-scan.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the scan was not told to end")
	}
	select {
	case <-locked:
		t.Fatal("locked while the scan runs")
	default:
	}
	done()
	<-locked
	began := make(chan context.Context)
	go func() {
		ctx, done := d.scan(context.Background())
		began <- ctx
		<-ctx.Done()
		done()
	}()
	select {
	case <-began:
		t.Fatal("a scan began while the pair is being closed")
	case <-time.After(5 * time.Millisecond):
	}
	d.unlock()
	if ctx := <-began; ctx.Err() != nil {
		t.Error("a scan behind the change was told to end")
	}
	d.lock() // ends the scan
	d.unlock()
}

// TestFencedPrimaryIsCopiedFrom: of a primary that went on writing after its replica was fenced, and is fenced
// itself then, the replica fetches what it lacks before it is opened: no acknowledged write is lost.
func TestFencedPrimaryIsCopiedFrom(t *testing.T) {
	ctx := context.Background()
	p, r := primaryAndReplica(t)
	if _, err := (agentNode{r}).Fence(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if got := do(p, "SET", "late", "1"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	ans, err := agentNode{p}.Fence(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := (agentNode{r}).Follow(ctx, 2, p.Addr()); err != nil {
		t.Fatal(err)
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := (agentNode{r}).WaitOffset(wait, ans.End); err != nil {
		t.Fatal(err)
	}
	if err := (agentNode{r}).Open(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if got := do(r, "GET", "late"); got != "$1\r\n1\r\n" {
		t.Errorf("the write is gone: %q", got)
	}
}
