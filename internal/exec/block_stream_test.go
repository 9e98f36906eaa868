package exec

import (
	"fmt"
	"testing"
)

// TestReadersOfAGroup: entries go to the consumers of a group in the order in which they began to wait, whoever else is
// told of them, on a loop and elsewhere; those who only read get all; who waits at another type is left alone.
func TestReadersOfAGroup(t *testing.T) {
	g := newGate(t, gateOptions{})
	c, l := g.client(), g.loop(1)
	c.want("OK", "XGROUP CREATE s g $ MKSTREAM")
	for round := range 20 {
		_, all := g.blocked("XREAD COUNT 1 BLOCK 0 STREAMS s t $ $")
		var replies []<-chan string
		for i := range 4 {
			_, reply := g.blocked(fmt.Sprint("XREADGROUP GROUP g c", i, " BLOCK 0 COUNT 1 STREAMS s >"))
			replies = append(replies, reply)
		}
		c.want("OK", "SET t x")
		c.want("1", "DEL t")
		first := 10 * round
		for i := range replies {
			id := fmt.Sprint(first+i+1, "-0")
			if line := "XADD s " + id + " f v"; round%2 == 1 && l.try(0, line) {
				l.want(t, id)
			} else { // the loop refuses while somebody has the lock
				c.want(id, line)
			}
			g.wantReply(replies[i], "[[s [["+id+" [f v]]]]]")
		}
		g.wantReply(all, fmt.Sprintf("[[s [[%d-0 [f v]]]]]", first+1))
	}
	_, waiting := g.blocked("XREADGROUP GROUP g c BLOCK 0 STREAMS s >")
	c.want("1", "XGROUP DESTROY s g")
	g.wantReply(waiting, "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option")
}
