package commands_test

import (
	"fmt"
	"testing"
)

// TestDrawsAreHot: drawing from a set, a hash or a sorted set that was drawn from before asks the engine for nothing, so
// that an event loop can run it, and changes of it keep that so.
func TestDrawsAreHot(t *testing.T) {
	for _, n := range []int{5, 100, 2000} {
		g := newGate(t)
		for i := range n {
			g.do("SADD", "s", fmt.Sprint(i))
			g.do("HSET", "h", fmt.Sprint(i), "v")
			g.do("ZADD", "z", fmt.Sprint(i), fmt.Sprint(i))
		}
		all, some := fmt.Sprint(n-1), fmt.Sprint(-2*n)
		g.do("SRANDMEMBER", "s", all)
		g.do("HRANDFIELD", "h", all)
		g.do("ZRANDMEMBER", "z", some)
		g.do("ZRANDMEMBER", "z", some)
		g.tx.HotOnly(true)
		for range 20 {
			g.do("SRANDMEMBER", "s")
			g.do("SRANDMEMBER", "s", "3")
			g.do("SRANDMEMBER", "s", "-30")
			g.do("SRANDMEMBER", "s", all)
			g.do("HRANDFIELD", "h")
			g.do("HRANDFIELD", "h", "3")
			g.do("HRANDFIELD", "h", "-30", "WITHVALUES")
			g.do("HRANDFIELD", "h", all)
			g.do("ZRANDMEMBER", "z")
			g.do("ZRANDMEMBER", "z", "3", "WITHSCORES")
			g.do("ZRANDMEMBER", "z", "-30", "WITHSCORES")
			g.do("SADD", "s", "more")
			g.do("HSET", "h", "more", "v", "0", "w")
			g.do("SPOP", "s", "2")
			g.do("HDEL", "h", "more")
			g.do("SADD", "s", "again", "and again")
		}
		g.do("SPOP", "s", "1000")
	}
}
