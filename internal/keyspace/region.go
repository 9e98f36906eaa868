package keyspace

import (
	"runtime"
	"syscall"
	"unsafe"
)

// region is memory outside the Go heap: reserved address space whose pages cost memory once they are used.
type region struct {
	bytes   []byte
	cleanup runtime.Cleanup
}

const (
	pageBytes = 4 << 10
	hugeBytes = 2 << 20
)

// newRegion reserves n bytes; nil if there are none to be had, or n is not positive.
func newRegion(n int) *region {
	if n <= 0 {
		return nil
	}
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	r := &region{bytes: b}
	r.cleanup = runtime.AddCleanup(r, func(b []byte) { _ = syscall.Munmap(b) }, b)
	return r
}

// free gives the memory back. REQUIRES: nobody has a view of it.
func (r *region) free() {
	if r == nil {
		return
	}
	r.cleanup.Stop()
	_ = syscall.Munmap(r.bytes)
	r.bytes = nil
}

// adviseHuge asks for huge pages for b, but for its beginning: what is hardly used should not take megabytes.
func adviseHuge(b []byte) {
	if len(b) < 2*hugeBytes {
		return
	}
	from := hugeBytes - int(uintptr(unsafe.Pointer(&b[0]))%hugeBytes)
	if from < hugeBytes/2 {
		from += hugeBytes
	}
	_ = syscall.Madvise(b[from:], syscall.MADV_HUGEPAGE)
}

// discard gives the pages of b back; they read as zeroes from now on.
func discard(b []byte) {
	if len(b) > 0 {
		_ = syscall.Madvise(b, syscall.MADV_DONTNEED)
	}
}
