package main

import (
	"bufio"
	"strings"
	"testing"
	"time"
)

func TestCountReply(t *testing.T) {
	reply := "*3\r\n$5\r\na\r\nb\x00\r\n:17\r\n*2\r\n$1\r\nx\r\n$0\r\n\r\n"
	bytes, values, err := countReply(bufio.NewReader(strings.NewReader(reply + "+OK\r\n")))
	if err != nil || bytes != int64(len(reply)) || values != 3 {
		t.Errorf("%d bytes, %d values, %v", bytes, values, err)
	}
	for _, bad := range []string{"-ERR no\r\n", "*2\r\n$1\r\nx\r\n", "*x\r\n", ""} {
		if _, _, err := countReply(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestLatencies(t *testing.T) {
	l := latencies{}
	for i := range 101 {
		l = append(l, time.Duration(100-i)*time.Millisecond)
	}
	if got, want := l.String(), "p50 50.00 ms, p99 99.00 ms, most 100.0 ms"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestKinds: every command that a type sends has its key and its arguments.
func TestKinds(t *testing.T) {
	for _, k := range kinds {
		args := k.element(append([]string(nil), k.insert...), 7)
		if args[1] != key || len(args) < 3 || k.page == nil || len(k.whole) == 0 || k.width == 0 {
			t.Errorf("%s: %v", k.name, args)
		}
	}
	if _, ok := kindNamed("string"); ok {
		t.Error("a type that is not there")
	}
}
