package testcluster

import (
	"os/exec"
	"runtime"
	"sync"
)

// Linux sends a child its parent-death signal when the *thread* that started it ends, not the process. So
// all children are started by one thread that lives as long as this process.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func startOnStarterThread(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}
