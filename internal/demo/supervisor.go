package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// stopWait is what a child has for an orderly end.
	stopWait = 15 * time.Second
	// shortLife is a life after which the next restart waits longer, up to maxDelay.
	shortLife = 3 * time.Second
	maxDelay  = 10 * time.Second
	maxLine   = 64 << 10 // of a child's output; longer ones are shown in pieces
)

// Change is the start or the end of a child.
type Change struct {
	Name string
	PID  int
	// Ended is set at the end; Reason says how it ended, and Again in what time it is started again (0: not by
	// itself).
	Ended  bool
	Reason string
	Again  time.Duration
}

// Options of a Supervisor.
type Options struct {
	Restart bool
	Delay   time.Duration // from the end of a child to its restart
	// Changed hears of every start and end, from the goroutine of the child.
	Changed func(Change)
	// Line, if set, hears of every line of output.
	Line func(name, line string)
}

// Supervisor runs children.
type Supervisor struct {
	opt Options
	mu  struct {
		sync.Mutex
		children map[string]*child
	}
}

type child struct {
	sup  *Supervisor
	spec Spec
	stop chan struct{} // closed: end
	wake chan struct{} // start now
	done chan struct{} // closed: its goroutine has ended
	once sync.Once
	pid  int // under Supervisor.mu; 0 while it does not run
}

// NewSupervisor returns one without children.
func NewSupervisor(opt Options) *Supervisor {
	if opt.Changed == nil {
		opt.Changed = func(Change) {}
	}
	s := &Supervisor{opt: opt}
	s.mu.children = map[string]*child{}
	return s
}

// Start runs a child until Stop. The error is one of the first start.
func (s *Supervisor) Start(spec Spec) error {
	c := &child{sup: s, spec: spec, stop: make(chan struct{}), wake: make(chan struct{}, 1), done: make(chan struct{})}
	s.mu.Lock()
	_, dup := s.mu.children[spec.Name]
	if !dup {
		s.mu.children[spec.Name] = c
	}
	s.mu.Unlock()
	if dup {
		return fmt.Errorf("child %s exists", spec.Name)
	}
	cmd, copied, err := c.start()
	if err != nil {
		s.mu.Lock()
		delete(s.mu.children, spec.Name)
		s.mu.Unlock()
		return err
	}
	go c.run(cmd, copied)
	return nil
}

// PIDs are the process ids of the running children, by name.
func (s *Supervisor) PIDs() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	pids := map[string]int{}
	for name, c := range s.mu.children {
		if c.pid != 0 {
			pids[name] = c.pid
		}
	}
	return pids
}

// Wake starts the children that have ended and are not running again yet.
func (s *Supervisor) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.mu.children {
		if c.pid == 0 {
			select {
			case c.wake <- struct{}{}:
			default:
			}
		}
	}
}

// Stop ends a child: SIGTERM, and SIGKILL if that is not enough. It returns when it has ended.
func (s *Supervisor) Stop(name string) {
	s.mu.Lock()
	c := s.mu.children[name]
	delete(s.mu.children, name)
	s.mu.Unlock()
	if c != nil {
		c.once.Do(func() { close(c.stop) })
		<-c.done
	}
}

// run waits for the end of the child, and starts it again.
func (c *child) run(cmd *exec.Cmd, copied <-chan struct{}) {
	defer close(c.done)
	delay := c.sup.opt.Delay
	for {
		began := time.Now()
		ended := make(chan error, 1)
		go func() {
			err := cmd.Wait()
			<-copied
			ended <- err
		}()
		var err error
		select {
		case err = <-ended:
		case <-c.stop:
			c.terminate(cmd, ended)
			return
		}
		if time.Since(began) > shortLife {
			delay = c.sup.opt.Delay
		}
		if cmd, copied = c.again(cmd, err, delay); cmd == nil {
			return
		}
		delay = min(2*delay, maxDelay)
	}
}

// again starts the child once more, after the delay or when it is woken; nil when it is to end.
func (c *child) again(old *exec.Cmd, why error, delay time.Duration) (*exec.Cmd, <-chan struct{}) {
	reason := "exit status 0"
	if why != nil {
		reason = why.Error()
	}
	for pid := old.Process.Pid; ; pid = 0 {
		c.setPID(0)
		ch := Change{Name: c.spec.Name, PID: pid, Ended: true, Reason: reason}
		var timer <-chan time.Time
		if c.sup.opt.Restart {
			ch.Again = delay
			t := time.NewTimer(delay)
			defer t.Stop()
			timer = t.C
		}
		c.sup.opt.Changed(ch)
		select {
		case <-timer:
		case <-c.wake:
		case <-c.stop:
			return nil, nil
		}
		cmd, copied, err := c.start()
		if err == nil {
			return cmd, copied
		}
		reason, delay = err.Error(), maxDelay
	}
}

func (c *child) setPID(pid int) {
	c.sup.mu.Lock()
	defer c.sup.mu.Unlock()
	c.pid = pid
}

// start starts the process. copied is closed when all of its output has been copied.
func (c *child) start() (cmd *exec.Cmd, copied <-chan struct{}, err error) {
	log, err := os.OpenFile(c.spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", c.spec.Name, err)
	}
	defer log.Close()
	cmd = exec.Command(c.spec.Path, c.spec.Args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	done := make(chan struct{})
	var r, w *os.File
	if c.sup.opt.Line == nil {
		close(done)
		cmd.Stdout, cmd.Stderr = log, log
	} else {
		// One pipe for both, of which we hold the reading end: what arrives is copied and shown line by line.
		if r, w, err = os.Pipe(); err != nil {
			return nil, nil, fmt.Errorf("start %s: %w", c.spec.Name, err)
		}
		defer w.Close()
		cmd.Stdout, cmd.Stderr = w, w
	}
	if err := startOnKeptThread(cmd); err != nil {
		if r != nil {
			err = errors.Join(err, r.Close())
		}
		return nil, nil, fmt.Errorf("start %s: %w", c.spec.Name, err)
	}
	if r != nil {
		go c.copyOutput(r, done)
	}
	c.setPID(cmd.Process.Pid)
	c.sup.opt.Changed(Change{Name: c.spec.Name, PID: cmd.Process.Pid})
	return cmd, done, nil
}

func (c *child) copyOutput(r *os.File, done chan<- struct{}) {
	defer close(done)
	defer r.Close()
	log, err := os.OpenFile(c.spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		c.sup.opt.Line(c.spec.Name, "the log cannot be written: "+err.Error())
		_, _ = io.Copy(io.Discard, r)
		return
	}
	defer log.Close()
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			_, _ = log.Write(line)
			c.sup.opt.Line(c.spec.Name, string(trimEnd(line)))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func trimEnd(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}

func (c *child) terminate(cmd *exec.Cmd, ended <-chan error) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	t := time.NewTimer(stopWait)
	defer t.Stop()
	var err error
	select {
	case err = <-ended:
	case <-t.C:
		_ = cmd.Process.Kill()
		err = <-ended
	}
	c.setPID(0)
	ch := Change{Name: c.spec.Name, PID: cmd.Process.Pid, Ended: true, Reason: "stopped"}
	if err != nil {
		ch.Reason = "stopped: " + err.Error()
	}
	c.sup.opt.Changed(ch)
}

// keptThread is one thread that lives as long as the process: Linux sends the parent-death signal when the
// thread that started a child ends, not the process.
var keptThread = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func startOnKeptThread(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	keptThread() <- func() { done <- cmd.Start() }
	return <-done
}
