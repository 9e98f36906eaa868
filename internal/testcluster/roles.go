package testcluster

import (
	"net"
	"strconv"
)

// addr is where a role listens.
func addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// RedisSpec describes a real redis-server in dir, with extra arguments.
func RedisSpec(dir string, args ...string) (Spec, error) {
	path, err := RedisServer()
	if err != nil {
		return Spec{}, err
	}
	port, err := FreePort(1)
	if err != nil {
		return Spec{}, err
	}
	args = append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "",
		"--enable-debug-command", "yes",
	}, args...)
	return Spec{Name: "redis-" + strconv.Itoa(port), Path: path, Args: args, Dir: dir, Addr: addr(port)}, nil
}

// ServerSpec describes a `haypile server` in dir, with extra arguments.
func ServerSpec(dir string, args ...string) (Spec, error) {
	path, port, err := binaryAndPort(2) // the second port is the agent's
	if err != nil {
		return Spec{}, err
	}
	args = append([]string{
		"server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--agent-port", strconv.Itoa(port + 1),
		"--dir", dir, "--enable-debug-command", "yes",
	}, args...)
	return Spec{
		Name: "server-" + strconv.Itoa(port), Path: path, Args: args, Dir: dir,
		Addr: addr(port), AgentAddr: addr(port + 1),
	}, nil
}
