package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"haypile/internal/testcluster"
	"haypile/internal/testcluster/wire"
)

// runner is the measurement of one type.
type runner struct {
	*config
	kind
	proc  *testcluster.Process
	lines []string
}

// steps runs all of them in order.
func (r *runner) steps() error {
	c, err := r.proc.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	c.Timeout = 10 * time.Minute
	if err := r.create("create", c); err != nil {
		return err
	}
	for _, ops := range []struct {
		list []op
		rate int
	}{{r.points, r.rate}, {r.ranges, max(r.rate/5, 1)}, {r.draws, max(r.rate/50, 1)}} {
		for _, o := range ops.list {
			l, err := r.timed(ops.rate, r.span, func(rnd *rand.Rand) []string { return o.make(rnd, r.n) })
			if err != nil {
				return fmt.Errorf("%s: %w", o.name, err)
			}
			r.line(o.name, "%d/s: %s", ops.rate, l)
		}
	}
	if err := r.iterate(c); err != nil {
		return err
	}
	if err := r.readWhole(); err != nil {
		return err
	}
	if err := r.end("expiry", c, "PEXPIRE", key, "1"); err != nil {
		return err
	}
	if err := r.create("create again", c); err != nil {
		return err
	}
	return r.end("DEL", c, "DEL", key)
}

// line adds a line to the result, with the memory of the server at its highest during the step and at its end.
func (r *runner) line(step, format string, args ...any) {
	rss, err1 := r.proc.RSS()
	peak, err2 := r.proc.PeakRSS()
	memory := fmt.Sprintf("%d | %d", rss>>20, peak>>20)
	if err := errors.Join(err1, err2); err != nil {
		memory = err.Error() + " |"
	}
	l := fmt.Sprintf("| %s | %s | %s |", step, fmt.Sprintf(format, args...), memory)
	fmt.Println(l)
	r.lines = append(r.lines, l)
	r.resetPeak()
}

// resetPeak makes the kernel count the highest resident memory from now on (proc(5), clear_refs).
func (r *runner) resetPeak() {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", r.proc.PID()), []byte("5"), 0o200); err != nil {
		fmt.Println("peak of memory is that since the start:", err)
	}
}

func (r *runner) table() string {
	return fmt.Sprintf("\n## %s of %d elements\n\n| step | result | resident MiB after | at most |\n|---|---|---|---|\n%s\n",
		r.name, r.n, strings.Join(r.lines, "\n"))
}

// create adds all elements, and waits until the server is idle.
func (r *runner) create(step string, c *wire.Conn) error {
	const inFlight = 20 // commands
	per := r.perCommand
	if per == 0 {
		per = batch
	}
	began := time.Now()
	var buf []byte
	var args []string
	sent := 0
	for i := 0; i < r.n; i += per {
		args = append(args[:0], r.insert...)
		for k := i; k < min(i+per, r.n); k++ {
			args = r.element(args, k)
		}
		buf = wire.AppendCommand(buf, args...)
		if sent++; sent == inFlight*batch/per || i+per >= r.n {
			if err := c.SendRaw(buf); err != nil {
				return err
			}
			for ; sent > 0; sent-- {
				if v, err := c.Read(); err != nil || v.IsError() {
					return errors.Join(err, v.Err())
				}
			}
			buf = buf[:0]
		}
	}
	took := time.Since(began)
	settled := settle(r.proc)
	r.line(step, "%.0f elements/s, idle %.1f s later", float64(r.n)/took.Seconds(), settled.Seconds())
	return nil
}

// settle waits until the server uses less than 3 % of a CPU over half a second, for at most a minute.
func settle(p *testcluster.Process) time.Duration {
	const window, limit, bound = 500 * time.Millisecond, 15 * time.Millisecond, time.Minute
	began := time.Now()
	last, err := p.CPU()
	for err == nil && time.Since(began) < bound {
		<-time.After(window)
		var now time.Duration
		if now, err = p.CPU(); now-last < limit {
			break
		}
		last = now
	}
	return time.Since(began)
}

// latencies of one step.
type latencies []time.Duration

func (l latencies) String() string {
	if len(l) == 0 {
		return "no request"
	}
	slices.Sort(l)
	at := func(share float64) float64 { return l[int(share*float64(len(l)-1))].Seconds() * 1000 }
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, most %.1f ms", at(0.5), at(0.99), at(1))
}

// timed sends rate commands a second for a while over ten connections. Each is timed from the moment at which it was due
// if its connection still waited for the reply before it, so that waiting behind a slow one counts; else from when it was
// sent, so that the lateness of this program's own timers does not.
func (r *runner) timed(rate int, span time.Duration, next func(*rand.Rand) []string) (latencies, error) {
	const conns = 10
	total := int(float64(rate) * span.Seconds())
	began := time.Now().Add(10 * time.Millisecond)
	all, errs := make([]latencies, conns), make([]error, conns)
	var wg sync.WaitGroup
	for k := range conns {
		wg.Go(func() {
			c, err := r.proc.Dial()
			if err != nil {
				errs[k] = err
				return
			}
			defer c.Close()
			rnd := rand.New(rand.NewPCG(r.seed, uint64(k)))
			for i := k; i < total; i += conns {
				due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
				if early := time.Until(due); early > 0 {
					<-time.After(early)
					due = time.Now()
				}
				if _, err := c.Must(next(rnd)...); err != nil {
					errs[k] = err
					return
				}
				all[k] = append(all[k], time.Since(due))
			}
		})
	}
	wg.Wait()
	return slices.Concat(all...), errors.Join(errs...)
}

// left is how many elements are there at least: one operation of some types takes elements away.
func (r *runner) left() int { return r.n - int(float64(r.rate)*r.span.Seconds()) }

// iterate reads everything in pages.
func (r *runner) iterate(c *wire.Conn) error {
	began := time.Now()
	count, pages, slowest, state := 0, 0, time.Duration(0), ""
	for {
		at := time.Now()
		next, n, err := r.page(c, state, r.n)
		if err != nil {
			return fmt.Errorf("iteration: %w", err)
		}
		slowest = max(slowest, time.Since(at))
		count += n
		pages++
		if state = next; state == "" {
			break
		}
	}
	if count < r.left() {
		return fmt.Errorf("an iteration found %d of %d elements", count, r.n)
	}
	r.line("iteration in pages of 1000", "%d elements in %d pages, %.1f s, slowest page %.1f ms", count, pages,
		time.Since(began).Seconds(), slowest.Seconds()*1000)
	return nil
}

// readWhole reads the collection as one reply, counts its values, and writes to it meanwhile.
func (r *runner) readWhole() error {
	nc, err := net.DialTimeout("tcp", r.proc.Spec.Addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return err
	}
	before, err := r.proc.RSS()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	var written latencies
	var stop atomic.Bool
	go func() {
		for !stop.Load() {
			l, err := r.timed(r.rate/10, time.Second, func(*rand.Rand) []string { return r.write })
			if err != nil {
				done <- err
				return
			}
			written = append(written, l...)
		}
		done <- nil
	}()
	began := time.Now()
	if _, err := nc.Write(wire.AppendCommand(nil, r.whole...)); err != nil {
		return err
	}
	bytes, values, err := countReply(bufio.NewReaderSize(nc, 256<<10))
	took := time.Since(began)
	peak, err2 := r.proc.PeakRSS()
	stop.Store(true)
	if err = errors.Join(err, err2, <-done); err != nil {
		return fmt.Errorf("%s: %w", r.whole[0], err)
	}
	if values < r.left()*r.width {
		return fmt.Errorf("%s gave %d values of %d elements", r.whole[0], values, r.n)
	}
	r.line(strings.Join(r.whole, " "), "%d values, %d MB in %.1f s; memory moved by %d MiB at most; writes to it meanwhile: %s",
		values, bytes/1_000_000, took.Seconds(), max(peak-before, 0)>>20, written)
	return nil
}

// countReply reads one aggregate and returns the bytes of it and the number of its elements.
func countReply(br *bufio.Reader) (bytes int64, values int, err error) {
	n, size, err := header(br)
	if err != nil {
		return 0, 0, err
	}
	bytes = size
	for range n {
		size, err := skipValue(br)
		if bytes += size; err != nil {
			return bytes, values, err
		}
		values++
	}
	return bytes, values, nil
}

// header reads the line that begins a value; n is what it says.
func header(br *bufio.Reader) (n int, size int64, err error) {
	line, err := br.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if line[0] == '-' {
		return 0, 0, wire.ReplyError(strings.TrimSpace(string(line[1:])))
	}
	for _, d := range line[1 : len(line)-2] {
		if d < '0' || d > '9' {
			return 0, 0, fmt.Errorf("header %q", line)
		}
		n = n*10 + int(d-'0')
	}
	return n, int64(len(line)), nil
}

func skipValue(br *bufio.Reader) (size int64, err error) {
	kind, err := br.Peek(1)
	if err != nil {
		return 0, err
	}
	switch kind[0] {
	case '$':
		n, size, err := header(br)
		if err != nil {
			return size, err
		}
		skipped, err := br.Discard(n + 2)
		return size + int64(skipped), err
	case '*':
		n, size, err := header(br)
		for range n {
			if err != nil {
				break
			}
			var more int64
			more, err = skipValue(br)
			size += more
		}
		return size, err
	}
	line, err := br.ReadSlice('\n')
	return int64(len(line)), err
}

// end ends the collection by a command, while another key is read and written.
func (r *runner) end(step string, c *wire.Conn, command ...string) error {
	var others latencies
	var otherErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		others, otherErr = r.timed(r.rate, 10*time.Second, func(rnd *rand.Rand) []string {
			if rnd.IntN(2) == 0 {
				return []string{"GET", "other"}
			}
			return []string{"SET", "other", "x"}
		})
	})
	<-time.After(500 * time.Millisecond)
	at := time.Now()
	if _, err := c.Must(command...); err != nil {
		return err
	}
	replied := time.Since(at)
	for {
		v, err := c.Must("EXISTS", key)
		if err != nil {
			return err
		}
		if v.Int == 0 {
			break
		}
		if time.Since(at) > time.Minute {
			return fmt.Errorf("%s: the key is still there after a minute", step)
		}
	}
	gone := time.Since(at)
	wg.Wait()
	if otherErr != nil {
		return otherErr
	}
	settled := settle(r.proc)
	r.line(step, "replied in %.1f ms, gone after %.1f ms; GET and SET of another key at %d/s: %s; idle %.1f s later",
		replied.Seconds()*1000, gone.Seconds()*1000, r.rate, others, settled.Seconds())
	return nil
}
