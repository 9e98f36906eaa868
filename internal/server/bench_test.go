package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"haypile/internal/commands"
	"haypile/internal/option"
)

// startBench starts a node on a fresh directory and waits until it is open.
func startBench(b *testing.B) *Server {
	b.Helper()
	cfg, err := option.Load([]string{"--port", "0", "--agent-port", "0", "--bind", "127.0.0.1", "--dir", b.TempDir()}, nil)
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(cfg, Options{MachineBytes: 8 << 30})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); !s.x.Role().Writable; {
		if time.Now().After(deadline) {
			b.Fatal("the node did not open")
		}
	}
	return s
}

// run puts b.N commands through one session of the gate, in pipelines of a length.
func runGate(b *testing.B, s *Server, pipeline int, command func(i int) [][]byte) {
	gate := s.x.NewSession(context.Background(), &commands.Client{Authenticated: true, Proto: 2})
	defer gate.Close()
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; {
		gate.Tick(time.Now())
		for range pipeline {
			gate.Do(command(i))
			i++
		}
		if err := gate.Flush(); err != nil {
			b.Fatal(err)
		}
		gate.Out.Buf = gate.Out.Buf[:0]
	}
}

// BenchmarkGate measures commands without a network: what the gate, the log and the engine cost.
func BenchmarkGate(b *testing.B) {
	const keys = 1_000_000
	value := make([]byte, 128)
	for _, p := range []int{1, 16} {
		s := startBench(b)
		args := [][]byte{[]byte("SET"), make([]byte, 16), value}
		set := func(int) [][]byte {
			copy(args[1], fmt.Sprintf("key:%012d", rand.IntN(keys)))
			return args
		}
		b.Run(fmt.Sprintf("SET/pipeline=%d", p), func(b *testing.B) { runGate(b, s, p, set) })
		get := [][]byte{[]byte("GET"), make([]byte, 16)}
		b.Run(fmt.Sprintf("GET/pipeline=%d", p), func(b *testing.B) {
			runGate(b, s, p, func(int) [][]byte {
				copy(get[1], fmt.Sprintf("key:%012d", rand.IntN(keys)))
				return get
			})
		})
	}
}
