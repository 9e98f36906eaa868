package commands_test

import (
	"fmt"
	"testing"
)

// What conditions decided enters the log in Redis 7.0's words, and only if something changed.
func TestConditionEffects(t *testing.T) {
	g := newGate(t)
	for _, args := range [][]string{
		{"SET", "k", "a", "IFEQ", "x"}, {"SET", "k", "a", "IFNE", "x"}, {"SET", "k", "b", "IFEQ", "a", "PXAT", "99999999999999"},
		{"SET", "k", "c", "IFNE", "a", "KEEPTTL"}, {"DELEX", "k", "IFEQ", "x"}, {"DELEX", "k", "IFEQ", "c"},
		{"MSETEX", "2", "a", "1", "b", "2", "XX"}, {"MSETEX", "2", "a", "1", "b", "2", "NX", "PXAT", "99999999999999"},
		{"DELEX", "a"},
	} {
		g.do(args...)
	}
	want := []string{"SET k a", "SET k b PXAT 99999999999999", "SET k c KEEPTTL", "DEL k",
		"SET a 1 PXAT 99999999999999", "SET b 2 PXAT 99999999999999", "DEL a"}
	if got := g.effects(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("logged %q, want %q", got, want)
	}
}
