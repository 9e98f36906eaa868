package testcluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// Ports are taken below Linux' ephemeral range (32768 on): the outgoing connections of the tests cannot
// occupy them while a server that was killed is about to listen again, and a client cannot connect to
// itself.
const (
	firstPort = 20000
	lastPort  = 32000
)

var reserved struct {
	sync.Mutex
	files []*os.File // locked until this process ends
}

// FreePort returns a port of 127.0.0.1 that nobody listens on, and reserves it against other test binaries
// for the life of this one. ports > 1 reserves that many consecutive ones.
func FreePort(ports int) (int, error) {
	dir := filepath.Join(os.TempDir(), "haypile-test-ports")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return 0, err
	}
	reserved.Lock()
	defer reserved.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort-ports)
		files := reserve(dir, port, ports)
		if files != nil {
			reserved.files = append(reserved.files, files...)
			return port, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports between %d and %d", ports, firstPort, lastPort)
}

// reserve locks the ports' files, or returns nil if one of the ports is taken.
func reserve(dir string, port, ports int) []*os.File {
	var files []*os.File
	for i := range ports {
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port+i)), os.O_CREATE|os.O_RDWR, 0o666)
		if err == nil {
			files = append(files, f)
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		}
		var l net.Listener
		if err == nil {
			if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i))); err == nil {
				err = l.Close()
			}
		}
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil
		}
	}
	return files
}
