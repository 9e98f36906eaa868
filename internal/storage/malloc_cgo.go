//go:build cgo && linux

package storage

/*
#include <malloc.h>
static void limit_arenas(void) { mallopt(M_ARENA_MAX, 2); }
*/
import "C"

// The block cache and the memtables are C memory. With glibc's default of eight arenas a core they fragment
// into up to half as much again as is in use; two arenas cost nothing measurable.
func init() { C.limit_arenas() }
