// Package testcluster runs real processes for tests and benchmarks: `haypile` in its roles and a real
// redis-server, on free ports of 127.0.0.1, each in a directory of its own. A process is ready when it
// answers, never after a fixed time; it is killed when its test ends, also when the test binary dies.
//
// The binary under test is $HAYPILE_BIN, or built once per test binary from ./cmd/haypile.
//
// Goroutines: one starter per process of ours, locked to its OS thread for ever (see start.go), and one
// waiter per child, which ends with the child. State: a Process is used by one goroutine at a time, except
// for Exited, which anyone may wait on.
package testcluster
