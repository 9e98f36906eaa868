package disk

import (
	"os"
	"syscall"
)

// syncFile uses fdatasync(2): it writes the data and the size, which is all that File.Sync promises, and
// spares the journal a commit for the time stamps.
func syncFile(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = conn.Control(func(fd uintptr) {
		for {
			if serr = syscall.Fdatasync(int(fd)); serr != syscall.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("fdatasync", serr)
}
