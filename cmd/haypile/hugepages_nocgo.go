//go:build !cgo

package main

// adviseHugePages does nothing: without C all memory is the Go runtime's.
func adviseHugePages() {}
