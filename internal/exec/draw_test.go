package exec

import (
	"fmt"
	"testing"
)

// TestTurnDraws: members are drawn, and taken, on a loop once they were drawn from before.
func TestTurnDraws(t *testing.T) {
	g := newGate(t, gateOptions{})
	l := g.loop(1)
	other := g.client()
	for i := range 300 {
		other.do(fmt.Sprintf("SADD s %d", i))
		other.do(fmt.Sprintf("HSET h %d v", i))
	}
	lines := []string{"SRANDMEMBER s 200", "HRANDFIELD h -200", "SPOP s"}
	if l.try(0, lines[0]) || l.try(0, lines[1]) || l.try(0, lines[2]) {
		t.Error("drawn from what was not read")
	}
	l.end()
	for _, line := range lines[:2] {
		other.do(line)
	}
	for range 50 {
		for _, line := range append(lines, "SADD s more", "HDEL h 7 8", "HSET h 7 v 8 v") {
			if !l.try(0, line) {
				t.Fatalf("%s was not run on a loop", line)
			}
		}
		l.end()
	}
	other.want("300", "HLEN h")
}
