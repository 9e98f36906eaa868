package commands_test

import (
	"fmt"
	"testing"

	"haypile/internal/commands"
	"haypile/internal/keyspace"
)

// BenchmarkRun measures the functions of commands alone: no sockets, no log, no commit.
func BenchmarkRun(b *testing.B) {
	for _, args := range [][]string{
		{"GET", "key:1"}, {"SET", "key:1", "0123456789012345678901234567890123456789"}, {"SET", "key:2", "v",
			"EX", "100"},
		{"INCR", "n"}, {"HSET", "h", "f", "v"}, {"HGET", "h", "f"}, {"MGET", "key:1", "key:2", "key:3"}, {"DEL",
			"none"},
		{"HGETALL", "h"}, {"TTL", "key:1"}, {"EXPIRE", "key:1", "100"},
		{"HEXPIRE", "h", "100", "FIELDS", "1", "f"}, {"HSETEX", "h", "EX", "100", "FIELDS", "1", "f", "v"},
		{"HTTL", "h", "FIELDS", "1", "f"},
	} {
		b.Run(fmt.Sprint(args[0], len(args)), func(b *testing.B) {
			g := newGate(b)
			g.do("SET", "key:1", "v")
			for i := range 20 {
				g.do("HSET", "h", fmt.Sprint("f", i), "v")
			}
			raw := byteArgs(args)
			cmd := g.find(raw)
			call := commands.Call{Args: raw, Cmd: cmd, Tx: g.tx, Out: &g.out, Client: &g.client,
				Node: testNode{config: g.config}}
			b.ReportAllocs()
			for b.Loop() {
				g.tx.Reset()
				g.tx.Begin(keyspace.ModeWrite, 0, g.now)
				g.out.Buf = g.out.Buf[:0]
				if err := cmd.Run(&call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
