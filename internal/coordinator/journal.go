package coordinator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"haypile/internal/metastore"
	"haypile/internal/topology"
)

// storeTimeout bounds every call to the metastore.
const storeTimeout = 2 * time.Second

// keys are the places of a cluster in the metastore.
type keys struct{ root string }

func keysOf(cluster string) keys                  { return keys{"/haypile/" + cluster + "/"} }
func (k keys) shard(id topology.ShardID) string   { return k.root + "shards/" + string(id) }
func (k keys) journal(id topology.ShardID) string { return k.root + "journal/" + string(id) }
func (k keys) dashboard(id string) string         { return k.root + "dashboards/" + id }
func (k keys) election() string                   { return k.root + "leader" }
func (k keys) under(key, kind string) (id string, ok bool) {
	return strings.CutPrefix(key, k.root+kind+"/")
}

// parse builds the state from all pairs of a cluster. A value that can't be read is an error: acting on
// half of a topology would be worse than not acting.
func (k keys) parse(cluster string, pairs []metastore.Pair, rev int64) (*State, error) {
	st := &State{Rev: rev, Records: map[topology.ShardID]Record{}, Journal: map[topology.ShardID]Entry{}}
	st.Cluster.Name = cluster
	elected := int64(0)
	for _, p := range pairs {
		if id, ok := k.under(p.Key, "shards"); ok {
			var rec Record
			if err := json.Unmarshal(p.Value, &rec); err != nil {
				return nil, fmt.Errorf("metastore key %s: %w", p.Key, err)
			}
			st.Records[topology.ShardID(id)] = rec
			st.Cluster.Shards = append(st.Cluster.Shards, rec.Shard)
			st.Cluster.Revision = max(st.Cluster.Revision, uint64(p.Modified))
		} else if id, ok := k.under(p.Key, "journal"); ok {
			var plan Plan
			if err := json.Unmarshal(p.Value, &plan); err != nil {
				return nil, fmt.Errorf("metastore key %s: %w", p.Key, err)
			}
			st.Journal[topology.ShardID(id)] = Entry{plan, p.Modified}
		} else if id, ok := k.under(p.Key, "dashboards"); ok {
			st.Dashboards = append(st.Dashboards, id)
			st.Cluster.Revision = max(st.Cluster.Revision, uint64(p.Modified))
		} else if _, ok := k.under(p.Key, "leader"); ok && (elected == 0 || p.Created < elected) {
			// The oldest candidacy leads.
			elected, st.Leader = p.Created, string(p.Value)
		}
	}
	slices.SortFunc(st.Cluster.Shards, func(a, b topology.Shard) int { return cmp.Compare(a.ID, b.ID) })
	slices.Sort(st.Dashboards)
	return st, nil
}

// journal makes the guarded transactions of one leader.
type journal struct {
	store metastore.Store
	keys  keys
	lead  metastore.Guard
}

// readRecord reads a shard's record for a guarded change.
func readRecord(ctx context.Context, s metastore.Store, k keys, id topology.ShardID) (
	rec Record, p metastore.Pair, err error) {
	p, ok, err := s.Get(ctx, k.shard(id))
	if err != nil {
		return rec, p, err
	}
	if !ok {
		return rec, p, fmt.Errorf("shard %s: %w", id, ErrNotFound)
	}
	if err := json.Unmarshal(p.Value, &rec); err != nil {
		return rec, p, fmt.Errorf("metastore key %s: %w", p.Key, err)
	}
	return rec, p, nil
}

// change makes a guarded change of a shard's record together with the plan's place in the journal. It starts
// again if only the record was changed by somebody else meanwhile (an operator sets a priority).
func (j *journal) change(ctx context.Context, id topology.ShardID, entry metastore.Guard,
	f func(*Record) ([]metastore.Write, error),
) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for {
		rec, pair, err := readRecord(ctx, j.store, j.keys, id)
		if err != nil {
			return 0, err
		}
		writes, err := f(&rec)
		if err != nil {
			return 0, err
		}
		b, err := json.Marshal(rec)
		if err != nil {
			return 0, err
		}
		rev, err := j.store.Txn(ctx, []metastore.Guard{j.lead, entry, metastore.Unchanged(pair)},
			append(writes, metastore.Put(pair.Key, b))...)
		if !errors.Is(err, metastore.ErrGuard) {
			return rev, err
		}
		now, ok, gerr := j.store.Get(ctx, pair.Key)
		if gerr != nil || ok && now.Modified == pair.Modified {
			return 0, errors.Join(err, gerr) // leadership or the journal entry is gone
		}
	}
}

// entryAt is the guard on a plan as it was last written.
func entryAt(key string, rev int64) metastore.Guard {
	return metastore.Guard{Key: key, Created: -1, Modified: rev}
}

var errOutdated = errors.New("the shard has changed since the plan was made")

// begin commits a plan: its epoch is taken, and for a failover the shard has no primary from here on.
func (j *journal) begin(ctx context.Context, p *Plan) (int64, error) {
	key := j.keys.journal(p.Shard)
	return j.change(ctx, p.Shard, metastore.Absent(key), func(rec *Record) ([]metastore.Write, error) {
		if rec.Shard.Primary != p.From || p.Epoch <= rec.Promised || p.Epoch <= rec.Shard.Epoch {
			return nil, errOutdated
		}
		if _, ok := rec.Shard.Node(p.Target); p.Target != "" && !ok {
			return nil, errOutdated
		}
		take(rec, p)
		b, err := json.Marshal(p)
		return []metastore.Write{metastore.Put(key, b)}, err
	})
}

func take(rec *Record, p *Plan) {
	rec.Promised = p.Epoch
	if p.Kind == Failover {
		rec.Shard.Epoch, rec.Shard.Primary = p.Epoch, ""
	}
}

// retake writes a plan anew with a higher epoch.
func (j *journal) retake(ctx context.Context, p *Plan, at int64) (int64, error) {
	key := j.keys.journal(p.Shard)
	return j.change(ctx, p.Shard, entryAt(key, at), func(rec *Record) ([]metastore.Write, error) {
		p.Epoch = max(p.Epoch, rec.Promised+1)
		take(rec, p)
		b, err := json.Marshal(p)
		return []metastore.Write{metastore.Put(key, b)}, err
	})
}

// target notes the chosen node before it is told.
func (j *journal) target(ctx context.Context, p *Plan, at int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	b, err := json.Marshal(p)
	if err != nil {
		return 0, err
	}
	key := j.keys.journal(p.Shard)
	return j.store.Txn(ctx, []metastore.Guard{j.lead, entryAt(key, at)}, metastore.Put(key, b))
}

// publish makes the target the shard's primary and ends the plan.
func (j *journal) publish(ctx context.Context, p *Plan, at int64) (int64, error) {
	key := j.keys.journal(p.Shard)
	return j.change(ctx, p.Shard, entryAt(key, at), func(rec *Record) ([]metastore.Write, error) {
		rec.Shard.Epoch, rec.Shard.Primary = p.Epoch, p.Target
		return []metastore.Write{metastore.Delete(key)}, nil
	})
}

// drop ends a plan that has changed nothing.
func (j *journal) drop(ctx context.Context, p *Plan, at int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	key := j.keys.journal(p.Shard)
	return j.store.Txn(ctx, []metastore.Guard{j.lead, entryAt(key, at)}, metastore.Delete(key))
}
