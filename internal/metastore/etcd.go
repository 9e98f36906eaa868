package metastore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

// electionTTL is the shortest lease that etcd gives at its default timing, in seconds: a dead leader is
// replaced after about this time.
const electionTTL = 2

// etcd is a Store over an etcd client.
type etcd struct {
	client *clientv3.Client
	stop   func() // the embedded member, if there is one
}

// Connect opens a store on an external etcd cluster (3.5 or later). It waits for an answer until ctx ends.
func Connect(ctx context.Context, endpoints []string) (Store, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 2 * time.Second,
		DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 2 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("etcd %s: %w", strings.Join(endpoints, ","), err)
	}
	s := &etcd{client: c}
	if _, _, err := s.Get(ctx, "/"); err != nil {
		c.Close()
		return nil, fmt.Errorf("etcd %s: %w", strings.Join(endpoints, ","), err)
	}
	return s, nil
}

// Get implements Store.
func (s *etcd) Get(ctx context.Context, key string) (Pair, bool, error) {
	r, err := s.client.Get(ctx, key)
	if err != nil {
		return Pair{}, false, fmt.Errorf("get %s: %w", key, err)
	}
	if len(r.Kvs) == 0 {
		return Pair{}, false, nil
	}
	kv := r.Kvs[0]
	return Pair{key, kv.Value, kv.CreateRevision, kv.ModRevision}, true, nil
}

// List implements Store.
func (s *etcd) List(ctx context.Context, prefix string) ([]Pair, int64, error) {
	r, err := s.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	var ps []Pair
	for _, kv := range r.Kvs {
		ps = append(ps, Pair{string(kv.Key), kv.Value, kv.CreateRevision, kv.ModRevision})
	}
	return ps, r.Header.Revision, nil
}

// Txn implements Store.
func (s *etcd) Txn(ctx context.Context, guards []Guard, writes ...Write) (int64, error) {
	var cmps []clientv3.Cmp
	for _, g := range guards {
		if g.Created >= 0 {
			cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(g.Key), "=", g.Created))
		}
		if g.Modified >= 0 {
			cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(g.Key), "=", g.Modified))
		}
	}
	var ops []clientv3.Op
	for _, w := range writes {
		if w.Delete {
			ops = append(ops, clientv3.OpDelete(w.Key))
		} else {
			ops = append(ops, clientv3.OpPut(w.Key, string(w.Value)))
		}
	}
	r, err := s.client.Txn(ctx).If(cmps...).Then(ops...).Commit()
	if err != nil {
		return 0, fmt.Errorf("transaction: %w", err)
	}
	if !r.Succeeded {
		return 0, ErrGuard
	}
	return r.Header.Revision, nil
}

// Watch implements Store.
func (s *etcd) Watch(ctx context.Context, prefix string, after int64) <-chan []Event {
	out := make(chan []Event)
	ctx, cancel := context.WithCancel(ctx)
	// WithRequireLeader ends the watch when its member is cut off from the others, instead of showing the
	// past as the present.
	in := s.client.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(),
		clientv3.WithRev(after+1))
	go func() {
		defer close(out)
		defer cancel()
		for r := range in {
			if r.Err() != nil {
				return
			}
			// One response can carry several revisions, but no revision is split without WithFragment.
			var batch []Event
			flush := func() bool {
				if batch == nil {
					return true
				}
				select {
				case out <- batch:
					batch = nil
					return true
				case <-ctx.Done():
					return false
				}
			}
			for _, e := range r.Events {
				if batch != nil && batch[0].Pair.Modified != e.Kv.ModRevision && !flush() {
					return
				}
				batch = append(batch, Event{Pair{string(e.Kv.Key), e.Kv.Value, e.Kv.CreateRevision, e.Kv.ModRevision},
					e.Type == clientv3.EventTypeDelete})
			}
			if !flush() {
				return
			}
		}
	}()
	return out
}

// Campaign implements Store.
func (s *etcd) Campaign(ctx context.Context, election, id string) (*Leadership, error) {
	if err := s.forget(ctx, election, id); err != nil {
		return nil, err
	}
	// The session's own context must outlive ctx: it is what keeps the leadership.
	held, cancel := context.WithCancel(s.client.Ctx())
	grant, err := s.client.Grant(ctx, electionTTL)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("campaign: %w", err)
	}
	session, err := concurrency.NewSession(s.client, concurrency.WithLease(grant.ID),
		concurrency.WithTTL(electionTTL), concurrency.WithContext(held))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("campaign: %w", err)
	}
	e := concurrency.NewElection(session, election)
	if err := e.Campaign(ctx, id); err != nil {
		cancel()
		return nil, fmt.Errorf("campaign: %w", err)
	}
	return &Leadership{
		Guard: Guard{e.Key(), e.Rev(), -1},
		Lost:  session.Done(),
		resign: func(ctx context.Context) error {
			err := e.Resign(ctx)
			session.Orphan()
			cancel()
			return err
		},
	}, nil
}

// forget removes candidacies that an earlier run of id has left, so that a restarted dashboard leads at
// once instead of after its own lease.
func (s *etcd) forget(ctx context.Context, election, id string) error {
	ps, _, err := s.List(ctx, election+"/")
	if err != nil {
		return fmt.Errorf("campaign: %w", err)
	}
	for _, p := range ps {
		if string(p.Value) != id {
			continue
		}
		if _, err := s.Txn(ctx, []Guard{Unchanged(p)}, Delete(p.Key)); err != nil && !errors.Is(err, ErrGuard) {
			return fmt.Errorf("campaign: %w", err)
		}
	}
	return nil
}

// Close implements Store.
func (s *etcd) Close() error {
	err := s.client.Close()
	if s.stop != nil {
		s.stop()
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
