'use strict'
// What applications do with ioredis.

const { assert, connect, kind, run, until } = require('./check')
const proxied = kind === 'proxy'

const parts = {
  async pipelines (c) {
    const p = c.pipeline()
    for (let i = 0; i < 2000; i++) p.set(`k:${i}`, i).incrby(`k:${i}`, 1)
    p.lpush('k:1', 'x') // an error among them
    p.get('k:7')
    const all = await p.exec()
    assert.equal(all.length, 4002)
    assert.deepEqual(all[2 * 1999 + 1], [null, 2000])
    assert.match(all[4000][0].message, /^WRONGTYPE/)
    assert.deepEqual(all[4001], [null, '8'])
    const auto = connect({ enableAutoPipelining: true })
    const got = await Promise.all(Array.from({ length: 500 }, (_, i) => auto.get(`k:${i}`)))
    assert.deepEqual(got, Array.from({ length: 500 }, (_, i) => String(i + 1)))
  },

  async transactions (c) {
    assert.deepEqual(await c.multi().set('{t}a', '1').incr('{t}a').hset('{t}h', { x: 1, y: 2 }).hgetall('{t}h').exec(),
      [[null, 'OK'], [null, 2], [null, 2], [null, { x: '1', y: '2' }]])
    const failing = await c.multi().set('{t}a', 'v').incr('{t}a').get('{t}a').exec()
    assert.match(failing[1][0].message, /not an integer/)
    assert.deepEqual(failing[2], [null, 'v'])
    await assert.rejects(c.multi().set('{t}a').exec(), /EXECABORT/)
    const a = connect()
    await a.watch('{t}w')
    await c.set('{t}w', 'other')
    assert.equal(await a.multi().set('{t}w', 'mine').exec(), null)
    await a.watch('{t}w')
    assert.deepEqual(await a.multi().set('{t}w', 'mine').exec(), [[null, 'OK']])
    // Many count with WATCH; nothing is lost.
    const each = 15
    await Promise.all(Array.from({ length: 6 }, async () => {
      const w = connect()
      for (let done = 0; done < each;) {
        await w.watch('{t}n')
        const n = Number(await w.get('{t}n'))
        if (await w.multi().set('{t}n', n + 1).exec()) done++
      }
    }))
    assert.equal(await c.get('{t}n'), String(6 * each))
    await c.multi({ pipeline: false })
    assert.equal(await c.set('{t}x', 1), 'QUEUED')
    assert.deepEqual(await c.exec(), [[null, 'OK']])
  },

  async scripts (c) {
    c.defineCommand('compareAndSet', {
      numberOfKeys: 1,
      lua: `if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('set', KEYS[1], ARGV[2]) return 1 end return 0`
    })
    await c.set('{s}a', 'x')
    assert.equal(await c.compareAndSet('{s}a', 'y', 'z'), 0)
    assert.equal(await c.compareAndSet('{s}a', 'x', 'z'), 1)
    assert.equal(await c.get('{s}a'), 'z')
    await c.script('FLUSH') // EVALSHA answers NOSCRIPT and the library sends EVAL
    assert.equal(await c.compareAndSet('{s}a', 'z', 'again'), 1)
    c.defineCommand('echoAll', { lua: 'return {KEYS[1], KEYS[2], ARGV[1], #ARGV, false, {1, 2.9}}' })
    assert.deepEqual(await c.echoAll(2, '{s}a', '{s}b', 'p', 'q'), ['{s}a', '{s}b', 'p', 2, null, [1, 2]])
    assert.ok((await c.echoAllBuffer(2, '{s}a', '{s}b', 'p'))[0] instanceof Buffer)
    const piped = await c.pipeline().compareAndSet('{s}a', 'again', '1').incr('{s}a').compareAndSet('{s}a', '2', '3').exec()
    assert.deepEqual(piped, [[null, 1], [null, 2], [null, 1]])
    await assert.rejects(c.eval('return redis.call("incr", KEYS[1])', 1, '{s}l').then(() => c.lpush('{s}l', 1)), /WRONGTYPE/)
    await assert.rejects(c.eval('error("no")', 0), /no/)
  },

  async binary (c) {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    await c.set(bytes, bytes)
    assert.deepEqual(await c.getBuffer(bytes), bytes)
    await c.hset('h', new Map([['a', bytes], ['b', '']]))
    assert.deepEqual((await c.hgetallBuffer('h')).a, bytes)
    const large = Buffer.alloc(3 << 20, 'x')
    await c.set('large', large)
    assert.ok(large.equals(await c.getBuffer('large')))
    const prefixed = connect({ keyPrefix: 'app:' })
    await prefixed.mset({ x: 1 })
    assert.equal(await c.get('app:x'), '1')
  },

  async pubsub (c) {
    const sub = connect()
    await sub.ping() // the library checks a new connection with INFO
    const heard = []
    sub.on('message', (channel, text) => heard.push(`${channel}=${text}`))
    sub.on('pmessage', (pattern, channel, text) => heard.push(`${pattern}:${channel}=${text}`))
    sub.on('smessage', (channel, text) => heard.push(`s:${channel}=${text}`))
    assert.equal(await sub.subscribe('news', 'other'), 2)
    assert.equal(await sub.psubscribe('n*'), 3)
    await sub.ssubscribe('shard')
    assert.equal(await c.publish('news', 'a'), 2)
    assert.equal(await c.spublish('shard', 'b'), 1)
    for (let i = 0; i < 200; i++) c.publish('other', i)
    await until('all messages', () => heard.length === 203)
    const of = (start) => heard.filter((h) => h.startsWith(start))
    assert.deepEqual(of('other='), Array.from({ length: 200 }, (_, i) => `other=${i}`))
    assert.deepEqual([of('news='), of('n*:'), of('s:')], [['news=a'], ['n*:news=a'], ['s:shard=b']])
    assert.equal(await sub.unsubscribe('news'), 2)
    await sub.punsubscribe('n*')
    await sub.sunsubscribe('shard')
    await sub.unsubscribe('other')
    assert.equal(await sub.ping(), 'PONG') // an ordinary connection again
    // A lost connection is made again, with its subscriptions.
    await sub.subscribe('back')
    sub.disconnect(true)
    await until('the subscription is back', async () => await c.publish('back', 'x') === 1)
  },

  async events (c) {
    if (proxied) return // CONFIG is a node's
    await c.config('SET', 'notify-keyspace-events', 'KEA')
    const sub = connect()
    const heard = []
    sub.on('pmessage', (pattern, channel, text) => heard.push(channel.replace('@0__', '') + '=' + text))
    await sub.psubscribe('__key*__:*')
    await c.set('k', '1', 'PX', 20)
    await c.lpush('l', 1)
    await c.lpop('l')
    await until('expired', () => heard.includes('__keyevent:expired=k'))
    for (const want of ['__keyspace:k=set', '__keyevent:set=k', '__keyspace:k=expire', '__keyevent:lpush=l',
      '__keyspace:l=lpop', '__keyevent:del=l', '__keyspace:k=expired']) assert.ok(heard.includes(want), want)
    await c.config('SET', 'notify-keyspace-events', '')
  },

  async scans (c) {
    const p = c.pipeline()
    for (let i = 0; i < 3000; i++) p.set(`s:${i}`, i).hset('h', `f${i}`, i).sadd('set', `m${i}`).zadd('z', i, `m${i}`)
    await p.exec()
    const collect = async (stream, step = 1) => {
      const seen = new Set()
      for await (const batch of stream) for (let i = 0; i < batch.length; i += step) seen.add(batch[i])
      return seen.size
    }
    assert.equal(await collect(c.scanStream({ match: 's:*', count: 100 })), 3000)
    assert.equal(await collect(c.scanStream({ type: 'hash', count: 500 })), 1)
    assert.equal(await collect(c.hscanStream('h', { count: 200 }), 2), 3000)
    assert.equal(await collect(c.sscanStream('set', { match: 'm1*', count: 200 })), 1111)
    assert.equal(await collect(c.zscanStream('z', { count: 200 }), 2), 3000)
  },

  async blocking (c) {
    const consumers = 8; const items = 400
    const got = []
    await Promise.all([...Array.from({ length: consumers }, async (_, i) => {
      const b = connect()
      for (;;) {
        const reply = i % 2 ? await b.blpop('{q}a', '{q}b', 20) : await b.blmpop(20, 2, '{q}b', '{q}a', 'LEFT', 'COUNT', 3)
        assert.ok(reply, 'timed out')
        const taken = Array.isArray(reply[1]) ? reply[1] : [reply[1]]
        got.push(...taken.filter((x) => x !== 'end'))
        const ends = taken.filter((x) => x === 'end').length
        if (ends > 1) await c.rpush('{q}b', ...Array(ends - 1).fill('end'))
        if (ends) return
      }
    }), (async () => {
      for (let i = 0; i < items; i++) await c.rpush(i % 3 ? '{q}a' : '{q}b', i)
      await until('the queues are empty', async () => !(await c.exists('{q}a', '{q}b')))
      for (let i = 0; i < consumers; i++) await c.rpush('{q}b', 'end')
    })()])
    assert.deepEqual(got.map(Number).sort((a, b) => a - b), Array.from({ length: items }, (_, i) => i))
    const b = connect()
    const began = Date.now()
    assert.equal(await b.brpop('none', 0.2), null)
    assert.ok(Date.now() - began >= 190)
    const waiting = b.bzpopmin('{q}z', 0)
    await c.zadd('{q}z', 2, 'b', 1, 'a')
    assert.deepEqual(await waiting, ['{q}z', 'a', '1'])
    const moved = b.blmove('{q}c', '{q}d', 'LEFT', 'RIGHT', 0)
    await c.rpush('{q}c', 'x')
    assert.equal(await moved, 'x')
  },

  async streams (c) {
    await c.xgroup('CREATE', 's', 'g', '$', 'MKSTREAM')
    const total = 300
    const seen = new Map()
    let done = 0
    const ack = async (id) => {
      const n = await c.xack('s', 'g', id)
      done += n
    }
    const consume = async (name, forget) => {
      const r = connect()
      while (done < total) {
        const reply = await r.xreadgroup('GROUP', 'g', name, 'COUNT', 10, 'BLOCK', 100, 'STREAMS', 's', '>')
        for (const [id, [, n]] of reply ? reply[0][1] : []) {
          seen.set(n, (seen.get(n) || 0) + 1)
          if (forget && n % 10 === 0) continue // it dies before it acknowledges
          await ack(id)
        }
      }
    }
    const produce = async () => { for (let i = 0; i < total; i++) await c.xadd('s', 'MAXLEN', '~', 10000, '*', 'n', i) }
    const claim = async () => {
      while (done < total) {
        const [, entries] = await c.xautoclaim('s', 'g', 'rescuer', 50, '0-0', 'COUNT', 20)
        for (const [id] of entries) await ack(id)
        await until('more', () => new Promise((resolve) => setTimeout(() => resolve(true), 20)))
      }
    }
    await Promise.all([consume('a', false), consume('b', true), produce(), claim()])
    assert.equal(seen.size, total)
    assert.ok([...seen.values()].every((n) => n === 1))
    assert.equal(await c.xlen('s'), total)
    assert.equal((await c.xpending('s', 'g'))[0], 0)
    const info = await c.xinfo('GROUPS', 's')
    assert.equal(info[0][info[0].indexOf('lag') + 1], 0)
  },

  async replies (c) {
    // What the library takes apart by itself.
    assert.match(await c.info('server'), /redis_version:/)
    const hello = await c.call('HELLO', '2')
    assert.equal(hello[hello.indexOf('proto') + 1], 2)
    assert.equal(await c.call('SET', 'k', 'v', 'EX', 100, 'GET'), null)
    assert.ok((await c.ttl('k')) > 90)
    await c.geoadd('geo', 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania')
    assert.deepEqual(await c.geosearch('geo', 'FROMLONLAT', 15, 37, 'BYRADIUS', 200, 'km', 'ASC'), ['Catania', 'Palermo'])
    assert.deepEqual(await c.zadd('z', 1.5, 'a', '-inf', 'b'), 2)
    assert.deepEqual(await c.zrange('z', 0, -1, 'WITHSCORES'), ['b', '-inf', 'a', '1.5'])
    assert.equal(await c.object('ENCODING', 'k'), 'embstr')
    assert.deepEqual(await c.sort((await c.rpush('nums', 3, 1, 2), 'nums'), 'DESC'), ['3', '2', '1'])
    await assert.rejects(c.call('NOSUCH', 'x'), /unknown command/)
    const monitored = []
    if (!proxied) {
      const m = await connect().monitor()
      m.on('monitor', (time, args) => monitored.push(args.join(' ')))
      await c.set('watched', 1)
      await until('monitor', () => monitored.includes('set watched 1'))
      m.disconnect()
    }
  }
}

run(parts)
