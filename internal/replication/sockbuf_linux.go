package replication

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// streamBuffer is what a stream's connection may have in the kernel at either end: bytes that are there
// survive the death of the primary's process.
const streamBuffer = 4 << 20

// WideReceive is for net.Dialer.Control: it gives a replica's connection a large receive buffer. That must be
// done before connecting, because the window that is announced in the handshake follows from it.
func WideReceive(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		widen(int(fd), syscall.SO_RCVBUFFORCE, syscall.SO_RCVBUF, "/proc/sys/net/core/rmem_max")
	})
}

// wideSend gives a feed's connection a large send buffer.
func wideSend(c syscall.RawConn) {
	_ = c.Control(func(fd uintptr) {
		widen(int(fd), syscall.SO_SNDBUFFORCE, syscall.SO_SNDBUF, "/proc/sys/net/core/wmem_max")
	})
}

// widen sets a buffer's size past the system's limit if this process may do that, and within it otherwise. It
// leaves the buffer to the kernel if the limit is lower: a size that was set is never adapted again, and the
// kernel's own may grow further.
func widen(fd, force, plain int, limit string) {
	if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, force, streamBuffer) == nil {
		return
	}
	raw, err := os.ReadFile(limit)
	if err != nil {
		return
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(raw))); err == nil && n >= streamBuffer {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, plain, streamBuffer)
	}
}
