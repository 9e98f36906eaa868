package drill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"haypile/internal/resp"
)

// batch is how many commands of the read-back are under way on a connection.
const batch = 500

// readBack reads everything that the ledgers hold back through the proxy and judges it. The error is one of
// reading: then there is no verdict.
func readBack(ctx context.Context, opt Options, ledgers []*Ledger) (Verdict, error) {
	verdicts, errs := make([]Verdict, opt.Clients), make([]error, opt.Clients)
	share(opt.Clients, len(ledgers), func(worker int, mine []int) {
		errs[worker] = withConn(ctx, opt, func(c *resp.Client) error {
			for _, i := range mine {
				if err := readLedger(ctx, c, ledgers[i], &verdicts[worker]); err != nil {
					return err
				}
			}
			return nil
		})
	})
	var sum Verdict
	for _, v := range verdicts {
		sum.Add(v)
	}
	return sum, errors.Join(errs...)
}

// share deals n items to workers and waits for them.
func share(workers, n int, work func(worker int, mine []int)) {
	var wg sync.WaitGroup
	for w := range workers {
		var mine []int
		for i := w; i < n; i += workers {
			mine = append(mine, i)
		}
		if len(mine) > 0 {
			wg.Go(func() { work(w, mine) })
		}
	}
	wg.Wait()
}

func withConn(ctx context.Context, opt Options, f func(*resp.Client) error) error {
	c, err := resp.Dial(ctx, opt.Proxy, opt.ProxyDial)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

func readLedger(ctx context.Context, c *resp.Client, l *Ledger, v *Verdict) error {
	for next := 0; ; {
		readings := l.Readings(&next, batch)
		if len(readings) == 0 {
			return nil
		}
		cmds := make([][]any, len(readings))
		for i, r := range readings {
			cmds[i] = r.Command
		}
		replies, err := pipeline(ctx, c, cmds)
		if err != nil {
			return err
		}
		for i, r := range readings {
			r.judge(v, replies[i])
		}
	}
}

// pipelineTimeout bounds a batch: a healthy shard needs milliseconds.
const pipelineTimeout = 30 * time.Second

// pipeline sends commands of which each must succeed.
func pipeline(ctx context.Context, c *resp.Client, cmds [][]any) ([]resp.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, pipelineTimeout)
	defer cancel()
	replies, err := c.Pipeline(ctx, cmds)
	if err != nil {
		return nil, err
	}
	for i, r := range replies {
		if err := r.Err(); err != nil {
			return nil, fmt.Errorf("%v: %w", cmds[i], err)
		}
	}
	return replies, nil
}

// remove deletes everything that the ledgers may have created.
func remove(ctx context.Context, opt Options, ledgers []*Ledger) error {
	errs := make([]error, opt.Clients)
	share(opt.Clients, len(ledgers), func(worker int, mine []int) {
		errs[worker] = withConn(ctx, opt, func(c *resp.Client) error {
			for _, i := range mine {
				if err := removeLedger(ctx, c, ledgers[i]); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return errors.Join(errs...)
}

func removeLedger(ctx context.Context, c *resp.Client, l *Ledger) error {
	for next := 0; ; {
		keys := l.Keys(&next, batch)
		if len(keys) == 0 {
			return nil
		}
		cmds := make([][]any, len(keys)) // one key each: no proxy has to split them
		for i, k := range keys {
			cmds[i] = []any{"UNLINK", k}
		}
		if _, err := pipeline(ctx, c, cmds); err != nil {
			return fmt.Errorf("remove the drill's keys: %w", err)
		}
	}
}
