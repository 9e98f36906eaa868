package coordinator

import (
	"context"
	"maps"
	"slices"
	"time"

	"haypile/internal/metastore"
)

const (
	// freshFor is for how long a dashboard may grant leases by what it has read from the metastore; freshEvery
	// how often it reads. A leader waits for freshFor where there are other dashboards.
	freshFor   = time.Second
	freshEvery = 300 * time.Millisecond
)

// follow keeps c.state as the metastore is, until ctx ends. A watch brings changes at once; a list, repeated,
// proves that the watch has missed nothing.
func (c *Coordinator) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.followOnce(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("metastore can't be read", "err", err)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (c *Coordinator) followOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rev, pairs, err := c.list(ctx)
	if err != nil {
		return err
	}
	watch := c.opt.Store.Watch(ctx, c.keys.root, rev)
	t := time.NewTicker(freshEvery)
	defer t.Stop()
	for {
		select {
		case batch, ok := <-watch:
			if !ok {
				return nil
			}
			// The list may be ahead of the watch.
			if r := batch[0].Pair.Modified; r > rev {
				rev = r
				for _, e := range batch {
					if e.Deleted {
						delete(pairs, e.Pair.Key)
					} else {
						pairs[e.Pair.Key] = e.Pair
					}
				}
				if err := c.setState(pairs, rev); err != nil {
					return err
				}
			}
		case <-t.C:
			if rev, pairs, err = c.list(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// list reads everything and sets the state.
func (c *Coordinator) list(ctx context.Context) (int64, map[string]metastore.Pair, error) {
	ctx, cancel := context.WithTimeout(ctx, freshFor)
	defer cancel()
	asked := time.Now()
	ps, rev, err := c.opt.Store.List(ctx, c.keys.root)
	if err != nil {
		return 0, nil, err
	}
	pairs := make(map[string]metastore.Pair, len(ps))
	for _, p := range ps {
		pairs[p.Key] = p
	}
	if err := c.setState(pairs, rev); err != nil {
		return 0, nil, err
	}
	c.fleet.setFresh(asked.Add(freshFor))
	return rev, pairs, nil
}

func (c *Coordinator) setState(pairs map[string]metastore.Pair, rev int64) error {
	old := c.state.Load()
	if old != nil && old.Rev >= rev {
		return nil
	}
	st, err := c.keys.parse(c.opt.Cluster, slices.Collect(maps.Values(pairs)), rev)
	if err != nil {
		return err
	}
	c.state.Store(st)
	c.fleet.sync(c.ctx, st)
	c.topology.set(&st.Cluster)
	c.wake()
	return nil
}

// campaign keeps this dashboard in the election until ctx ends. While it leads, c.lead is set.
func (c *Coordinator) campaign(ctx context.Context) {
	for ctx.Err() == nil {
		l, err := c.opt.Store.Campaign(ctx, c.keys.election(), c.opt.ID)
		if err != nil {
			if ctx.Err() == nil {
				c.log.Warn("campaign failed", "err", err)
			}
			select {
			case <-time.After(freshEvery):
			case <-ctx.Done():
			}
			continue
		}
		c.leadUntilLost(ctx, l)
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout/2)
		l.Resign(rctx)
		cancel()
	}
}
