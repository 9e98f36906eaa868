package testcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"haypile/internal/testcluster/wire"
)

// Bounds of the waits. Generous: a test that waits this long has failed already.
const (
	readyBound = 60 * time.Second
	exitBound  = 60 * time.Second
	readyPause = 5 * time.Millisecond
)

// Spec describes a process.
type Spec struct {
	Name string // of the log file and in messages
	Path string // the executable
	Args []string
	Dir  string // working directory; the log file stands there
	Addr string // host:port that Ready looks at
	// AgentAddr is where the agent of a data node listens.
	AgentAddr string
	// Ready returns nil once the process serves; the default asks Addr for a key. It is called again and
	// again until a deadline.
	Ready func(p *Process) error
}

// Process is a child process that can be killed and started again with the same Spec.
type Process struct {
	Spec Spec
	// Exited is closed when the current incarnation has ended.
	Exited <-chan struct{}
	cmd    *exec.Cmd
}

// Launch starts a process and waits until it is ready.
func Launch(spec Spec) (*Process, error) {
	p := &Process{Spec: spec}
	return p, p.Start()
}

// Start starts the process (again) and waits until it is ready. If it ends or hangs instead, the error
// carries the end of its log.
func (p *Process) Start() error {
	if err := p.StartOnly(); err != nil {
		return err
	}
	return p.WaitReady(readyBound)
}

// StartOnly starts the process without waiting for it.
func (p *Process) StartOnly() error {
	logFile, err := os.OpenFile(p.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer logFile.Close()
	cmd := exec.Command(p.Spec.Path, p.Spec.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.Spec.Dir, logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startOnStarterThread(cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.Spec.Name, err)
	}
	exited := make(chan struct{})
	p.cmd, p.Exited = cmd, exited
	go func() {
		_ = cmd.Wait() // the exit status stands in cmd.ProcessState
		close(exited)
	}()
	return nil
}

// WaitReady waits until Spec.Ready is satisfied.
func (p *Process) WaitReady(bound time.Duration) error {
	ready := p.Spec.Ready
	if ready == nil {
		ready = commandReady
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	for {
		err := ready(p)
		if err == nil {
			return nil
		}
		select {
		case <-p.Exited:
			state := p.cmd.ProcessState
			return fmt.Errorf("%s ended before it was ready (%v): %w\n%s", p.Spec.Name, state, err, p.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("%s not ready after %v: %w\n%s", p.Spec.Name, bound, err, p.LogTail())
		case <-time.After(readyPause):
		}
	}
}

// commandReady asks for a key: a server that still loads refuses that, whatever it says to PING.
func commandReady(p *Process) error {
	c, err := wire.Dial(p.Spec.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if i := slices.Index(p.Spec.Args, "--requirepass"); i >= 0 && i+1 < len(p.Spec.Args) {
		if _, err := c.Must("AUTH", p.Spec.Args[i+1]); err != nil {
			return err
		}
	}
	_, err = c.Must("EXISTS", "testcluster:ready")
	return err
}

// PID is the process id of the current incarnation.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Alive reports whether the process runs.
func (p *Process) Alive() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.Exited:
		return false
	default:
		return true
	}
}

// Kill sends SIGKILL and waits for the end. Killing a dead process is fine.
func (p *Process) Kill() error {
	if !p.Alive() {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.WaitExit()
}

// Terminate sends SIGTERM and waits for the end; an exit status other than 0 is an error.
func (p *Process) Terminate() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := p.WaitExit(); err != nil {
		return err
	}
	if s := p.cmd.ProcessState; !s.Success() {
		return fmt.Errorf("%s after SIGTERM: %v\n%s", p.Spec.Name, s, p.LogTail())
	}
	return nil
}

// Signal sends a signal: SIGSTOP freezes the process, SIGCONT lets it go on.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %v to %s: %w", s, p.Spec.Name, err)
	}
	return nil
}

// WaitExit waits for the end of the process, within a bound.
func (p *Process) WaitExit() error {
	select {
	case <-p.Exited:
		return nil
	case <-time.After(exitBound):
		return fmt.Errorf("%s still runs after %v\n%s", p.Spec.Name, exitBound, p.LogTail())
	}
}

// Dial opens a client connection to the process.
func (p *Process) Dial() (*wire.Conn, error) { return wire.Dial(p.Spec.Addr) }

func (p *Process) logPath() string { return filepath.Join(p.Spec.Dir, p.Spec.Name+".log") }

// Log returns everything that the process has printed, in all its incarnations.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.logPath())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// LogTail is the end of the log, for messages.
func (p *Process) LogTail() string {
	const lines = 40
	text := bytes.TrimRight([]byte(p.Log()), "\n")
	all := bytes.Split(text, []byte("\n"))
	all = all[max(0, len(all)-lines):]
	return fmt.Sprintf("--- last lines of %s:\n%s\n---", p.logPath(), bytes.Join(all, []byte("\n")))
}
