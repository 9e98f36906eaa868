package scripts

import (
	"strings"
	"testing"

	"haypile/internal/testcluster"
)

// TestRunnerCanFail: each kind of expectation is violated once, and each violation is reported.
func TestRunnerCanFail(t *testing.T) {
	const text = `> SET k v
+KO

> GET k
v

> HSET h a 1 b 2
2

> HGETALL h
# unordered pairs
["b", "1", "a", "2"]

> GET nokey
(nil array)

> ECHO abc
# match ^b

> SUBSCRIBE ch
# replies 1
["subscribe", "ch", 2]

c2> PUBLISH ch x
1

> PING
# quiet
`
	p := testcluster.RunRedis(t)
	f, err := Parse(strings.Replace(text, "\nv\n", "\n\"w\"\n", 1))
	if err != nil {
		t.Fatal(err)
	}
	failures, err := Run(f, Target{Kind: Reference, Addr: p.Spec.Addr}, false)
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	for _, f := range failures {
		lines = append(lines, f.Line)
	}
	want := []int{1, 4, 10, 14, 17, 20, 27}
	if len(lines) != len(want) {
		t.Fatalf("failures at lines %v, want %v", lines, want)
	}
	for i := range want {
		if lines[i] != want[i] {
			t.Fatalf("failures at lines %v, want %v", lines, want)
		}
	}
}

// TestRewrite: what the reference answers becomes the expectation, except where a directive says whose it is.
func TestRewrite(t *testing.T) {
	const text = `# about k
> SET k v

> GET k
# differs: for the test
"ours"

> NOSUCHCOMMAND
# since 7.2: for the test
+OK

> TIME
# match ^\["\d+", "\d+"\]$
`
	p := testcluster.RunRedis(t)
	f, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	failures, err := Run(f, Target{Kind: Reference, Addr: p.Spec.Addr}, true)
	if err != nil || len(failures) > 0 {
		t.Fatal(failures, err)
	}
	want := strings.Replace(text, "SET k v\n", "SET k v\n+OK\n", 1)
	if got := f.String(); got != want {
		t.Errorf("rewritten as:\n%s", got)
	}
}
