// Package replica tests a primary and a replica as processes: random commands of all types, with kills, cut links and
// full syncs in between, after which both hold the same; libraries of functions; client-side caching on a replica.
package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"haypile/internal/testcluster/wire"
)

// templates are commands with blanks: a key of a type ($s string, $c number, $b bits, $p sketch, $l list, $t set, $h hash,
// $z sorted set, $g places, $x stream, $k any), a value $v, a field or member $f, a number $n, a score $d, a time in
// milliseconds $ms. What comes is often an error: of another type, without a group. That logs nothing, which counts too.
var templates = strings.Split(strings.TrimSpace(`
SET $s $v
SET $s $v PX $ms
SET $s $v XX GET KEEPTTL
SETEX $s 1000 $v
GETSET $s $v
GETDEL $s
GETEX $s PX $ms
APPEND $s $v
SETRANGE $s $n $v
SETRANGE $s 40000 $v
MSET $s $v $s $v $c $n
MSETNX $s $v $s $v
INCRBY $c $n
DECR $c
INCRBYFLOAT $c 0.25
SETBIT $b $n 1
SETBIT $b 400000 1
BITOP XOR $b $b $s
BITFIELD $b INCRBY u8 #3 $n OVERFLOW SAT SET i5 $n 7
PFADD $p $v $v $v
PFMERGE $p $p $p
PFCOUNT $p $p
RPUSH $l $v $v $v
RPUSH $l $v $v $v
LPUSH $l $v
LPUSHX $l $v
LPOP $l 2
RPOP $l
LSET $l $n $v
LINSERT $l BEFORE $v $v
LREM $l 1 $v
LTRIM $l 0 40
LMOVE $l $l LEFT RIGHT
RPOPLPUSH $l $l
LMPOP 2 $l $l LEFT COUNT 3
BLPOP $l $l 0.001
BRPOP $l 0.001
BLMOVE $l $l LEFT LEFT 0.001
BLMPOP 0.001 2 $l $l RIGHT COUNT 2
SADD $t $f $f $f
SADD $t $n $n
SREM $t $f $f
SPOP $t 2
SPOP $t
SMOVE $t $t $f
SINTERSTORE $t $t $t
SUNIONSTORE $t $t $t
SDIFFSTORE $t $t $t
HSET $h $f $v $f $v
HSETNX $h $f $v
HDEL $h $f $f
HINCRBY $h n $n
HINCRBYFLOAT $h x 0.1
HEXPIRE $h 1000 FIELDS 2 $f $f
HPEXPIRE $h $ms FIELDS 2 $f $f
HPEXPIRE $h $ms GT FIELDS 1 $f
HPEXPIREAT $h 1 FIELDS 1 $f
HPERSIST $h FIELDS 2 $f $f
HGETEX $h PX $ms FIELDS 1 $f
HGETDEL $h FIELDS 1 $f
HSETEX $h PX $ms FIELDS 2 $f $v $f $v
HSETEX $h FNX KEEPTTL FIELDS 1 $f $v
ZADD $z $d $f $d $f
ZADD $z GT CH $d $f
ZADD $z INCR $d $f
ZINCRBY $z $d $f
ZREM $z $f $f
ZPOPMIN $z 2
ZPOPMAX $z
BZPOPMIN $z $z 0.001
BZMPOP 0.001 2 $z $z MAX COUNT 2
ZMPOP 1 $z MIN COUNT 2
ZREMRANGEBYRANK $z 0 1
ZREMRANGEBYSCORE $z 1 $n
ZREMRANGEBYLEX $z [f1 [f2
ZUNIONSTORE $z 2 $z $z WEIGHTS 1 0.5
ZINTERSTORE $z 2 $z $t AGGREGATE MAX
ZDIFFSTORE $z 2 $z $z
ZRANGESTORE $z $z 0 10 REV
GEOADD $g 13.$n 38.$n $f
GEOSEARCHSTORE $g $g FROMLONLAT 13 38 BYRADIUS 100 km ASC COUNT 5
XADD $x * f $v
XADD $x * f $v g $n
XADD $x MAXLEN ~ 30 * f $v
XADD $x NOMKSTREAM MINID = 5 * f $v
XTRIM $x MAXLEN 20
XTRIM $x MAXLEN ~ 10 LIMIT 100
XGROUP CREATE $x g1 $ MKSTREAM
XGROUP CREATE $x g2 0
XGROUP DESTROY $x g2
XGROUP SETID $x g1 0
XGROUP CREATECONSUMER $x g1 c9
XGROUP DELCONSUMER $x g1 c1
XREADGROUP GROUP g1 c1 COUNT 3 STREAMS $x >
XREADGROUP GROUP g1 c2 COUNT 3 STREAMS $x $x > >
XREADGROUP GROUP g2 c1 COUNT 5 NOACK STREAMS $x >
XREADGROUP GROUP g1 c3 BLOCK 1 STREAMS $x >
XREADGROUP GROUP g1 c1 COUNT 3 STREAMS $x 0
XAUTOCLAIM $x g1 c2 0 0 COUNT 2
XAUTOCLAIM $x g1 c3 0 0 JUSTID
DEL $k $k
UNLINK $k
EXPIRE $k 1000
EXPIRE $k 500 GT
PEXPIRE $k $ms
PERSIST $k
RENAME $k $k
RENAMENX $k $k
COPY $k $k REPLACE
COPY $k $k DB 1
MOVE $k 2
SORT $l ALPHA STORE $l
SORT $t BY nosort LIMIT 0 3 STORE $l
PUBLISH news $v
SELECT 0
SELECT 1
`), "\n")

// rare is what changes everything; one command in some hundred.
var rare = []string{"FLUSHDB", "SWAPDB 0 1", "FUNCTION FLUSH", "FUNCTION DELETE lib", "FLUSHALL", "SCRIPT FLUSH"}

const library = `#!lua name=lib
redis.register_function('take', function(k, a)
  local m = redis.call('spop', k[1])
  redis.call('rpush', k[2], tostring(m), redis.call('time')[1])
  return redis.call('expire', k[2], 1000)
end)`

// scripts draw lots, ask the time and fail half way, which a log must not repeat.
var scripts = []string{
	`local m = redis.call('srandmember', KEYS[1]) if m then redis.call('srem', KEYS[1], m) end
	 return redis.call('set', KEYS[2], tostring(m) .. redis.call('time')[2])`,
	`redis.call('rpush', KEYS[2], 1) redis.call('set', KEYS[1], math.random(1000)) return redis.call('lpush', KEYS[1], 1)`,
	`for _, e in ipairs(redis.call('xpending', KEYS[1], 'g1', '-', '+', 3)) do redis.call('xack', KEYS[1], 'g1', e[1]) end
	 return redis.call('hincrby', KEYS[2], 'acks', 1)`,
	`local e = redis.call('xrange', KEYS[1], '-', '+', 'COUNT', 2) if e[2] then redis.call('xdel', KEYS[1], e[2][1]) end
	 return redis.call('pexpire', KEYS[2], 30)`,
}

// client is one that writes at random.
type client struct {
	rng  *rand.Rand
	addr string
	conn *wire.Conn
}

func (c *client) fill(word string) string {
	r := c.rng
	key := func(kind string) string { return fmt.Sprintf("%s%d", kind, r.IntN(4)) }
	switch word {
	case "$s", "$c", "$b", "$p", "$l", "$t", "$h", "$z", "$g", "$x":
		return key(word[1:])
	case "$k":
		return key([]string{"s", "c", "b", "p", "l", "t", "h", "z", "g", "x"}[r.IntN(10)])
	case "$v":
		if r.IntN(20) == 0 {
			return strings.Repeat("long", r.IntN(500))
		}
		return fmt.Sprintf("v%d", r.IntN(30))
	case "$f":
		return fmt.Sprintf("f%d", r.IntN(60))
	case "$n":
		return fmt.Sprint(r.IntN(50))
	case "$d":
		return fmt.Sprint(float64(r.IntN(200)) / 4)
	case "$ms":
		return fmt.Sprint(1 + r.IntN(60))
	case "13.$n", "38.$n":
		return word[:3] + fmt.Sprint(r.IntN(50))
	}
	return word
}

func (c *client) command() []string {
	line := templates[c.rng.IntN(len(templates))]
	switch c.rng.IntN(300) {
	case 0:
		line = rare[c.rng.IntN(len(rare))]
	case 1, 2, 3, 4:
		return []string{"FUNCTION", "LOAD", "REPLACE", library}
	case 5, 6, 7, 8, 9, 10:
		return []string{"FCALL", "take", "2", c.fill("$t"), c.fill("$l")}
	case 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22:
		first := []string{"$t", "$k", "$x", "$x"}
		i := c.rng.IntN(len(scripts))
		return []string{"EVAL", scripts[i], "2", c.fill(first[i]), c.fill([]string{"$s", "$l", "$h", "$k"}[i])}
	}
	words := strings.Fields(line)
	for i, w := range words {
		words[i] = c.fill(w)
	}
	return words
}

// batch is a pipeline, some of it in a transaction.
func (c *client) batch() [][]string {
	var all [][]string
	for range 1 + c.rng.IntN(8) {
		all = append(all, c.command())
	}
	if c.rng.IntN(4) == 0 {
		all = append(append([][]string{{"MULTI"}}, all...), []string{"EXEC"})
	}
	return all
}

// turn sends one pipeline and reads the replies.
func (c *client) turn() error {
	if c.conn == nil {
		conn, err := wire.Dial(c.addr)
		if err != nil {
			return err
		}
		c.conn = conn
	}
	all := c.batch()
	var out []byte
	for _, args := range all {
		out = wire.AppendCommand(out, args...)
	}
	if err := c.conn.SendRaw(out); err != nil {
		return err
	}
	for _, args := range all {
		v, err := c.conn.Read()
		if err != nil {
			return err
		}
		if v.IsError() && strings.Contains(v.Str, "internal error") {
			return fmt.Errorf("%q: %w: %s", args, errInternal, v.Str)
		}
	}
	return nil
}

var errInternal = errors.New("the server failed")

// load is a number of clients at work on one address until it is ended. The primary may be killed meanwhile: they connect
// again.
type load struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	failed chan error
}

func startLoad(addr string, seed uint64, clients int) *load {
	l := &load{stop: make(chan struct{}), failed: make(chan error, clients)}
	for i := range clients {
		c := &client{rng: rand.New(rand.NewPCG(seed, uint64(i))), addr: addr}
		l.wg.Go(func() {
			defer func() {
				if c.conn != nil {
					c.conn.Close()
				}
			}()
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				err := c.turn()
				if errors.Is(err, errInternal) {
					l.failed <- err
					return
				}
				if err != nil && c.conn != nil {
					c.conn.Close()
					c.conn = nil
				}
				if err != nil {
					<-time.After(5 * time.Millisecond)
				}
			}
		})
	}
	return l
}

// end stops the clients.
func (l *load) end() error {
	close(l.stop)
	l.wg.Wait()
	select {
	case err := <-l.failed:
		return err
	default:
		return nil
	}
}
