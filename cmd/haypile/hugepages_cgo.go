//go:build cgo

package main

import (
	"bytes"
	"os"
	"syscall"
)

// adviseHugePages starts the program again, as the same process, with the C allocator told to ask for huge pages.
// The engine's memtables and block cache come from it, and nearly every insert goes to another page: with a load of
// random writes this saves a fifth of the CPU time. glibc (2.35 and later) reads the setting once, at its start, and
// has no call for it. Whoever sets GLIBC_TUNABLES decides for himself; where the system gives huge pages always or
// never there is nothing to ask for.
func adviseHugePages() {
	const name = "GLIBC_TUNABLES"
	if _, set := os.LookupEnv(name); set {
		return
	}
	mode, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || !bytes.Contains(mode, []byte("[madvise]")) {
		return
	}
	// If it fails the program goes on without.
	_ = syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), name+"=glibc.malloc.hugetlb=1"))
}
