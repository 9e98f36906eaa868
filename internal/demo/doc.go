// Package demo lays out a whole cluster on one machine and keeps its processes running, as a service manager
// would: which processes with which arguments and ports (Plan, pure), their start, restart and stop
// (Supervisor), and the file by which other commands find them (State). It does not know what the processes
// are; whoever runs it registers the nodes with the dashboard.
//
// Children get SIGKILL from the kernel when the demo itself is killed, and stand in process groups of their own,
// so that Ctrl-C in a terminal reaches the demo alone, which stops them in order.
//
// Goroutines: one per child from its first start to Stop, one per child that copies its output if somebody
// listens to it, and one for the process' life that starts children (see startOnKeptThread). Supervisor.mu
// protects the list of children and their process ids; nothing blocks under it.
package demo
