package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Killed says when a process was killed.
type Killed struct {
	Sent time.Time // the signal
	Dead time.Time // by then it executed nothing any more
}

// killWait bounds the wait for a killed process to be gone: it may sit in a disk write.
const killWait = 10 * time.Second

// KillProcess sends SIGKILL to a process of this machine and waits until it executes nothing any more. addr is
// the address of the service that named the process id; an address of another machine is refused, because
// the id means another process here.
func KillProcess(ctx context.Context, addr string, pid int) (Killed, error) {
	if err := ownAddress(addr); err != nil {
		return Killed{}, err
	}
	if err := looksLikeServer(pid); err != nil {
		return Killed{}, err
	}
	// A pid file descriptor cannot come to mean another process when the id is used again.
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return Killed{}, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	k := Killed{Sent: time.Now()}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return k, fmt.Errorf("kill process %d: %w", pid, err)
	}
	for {
		if err := ctx.Err(); err != nil {
			return k, err
		}
		// Readable means that it has ended, also while nobody has waited for it.
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 100)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return k, fmt.Errorf("wait for the end of process %d: %w", pid, err)
		case n > 0:
			k.Dead = time.Now()
			return k, nil
		case time.Since(k.Sent) > killWait:
			return k, fmt.Errorf("process %d still runs %v after SIGKILL", pid, killWait)
		}
	}
}

// ownAddress refuses addresses that are not this machine's.
func ownAddress(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return err
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, ip := range ips {
		if ip.IsLoopback() {
			return nil
		}
		for _, a := range own {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
				return nil
			}
		}
	}
	return fmt.Errorf("%s is not on this machine, and only its own processes can be killed", addr)
}

// looksLikeServer keeps a wrong process id, one of a container for example, from hitting something else.
func looksLikeServer(pid int) error {
	if pid <= 1 || pid == os.Getpid() {
		return fmt.Errorf("process id %d is not that of a data node", pid)
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return fmt.Errorf("look at process %d: %w", pid, err)
	}
	args := bytes.Split(line, []byte{0})
	name := filepath.Base(string(args[0]))
	if name == "redis-server" || len(args) > 1 && string(args[1]) == "server" {
		return nil
	}
	return fmt.Errorf("process %d is %q, which is no data node", pid, bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
}
