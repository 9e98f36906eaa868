'use strict'
// Locks in the manner of Redisson (a hash that counts entries, with a time to live, a message when it is free, and a
// fair one with a queue), and queues in the manner of Sidekiq.

const { assert, connect, run, until } = require('./check')

const commands = {
  tryLock: {
    numberOfKeys: 1,
    lua: `
      if redis.call('exists', KEYS[1]) == 0 or redis.call('hexists', KEYS[1], ARGV[2]) == 1 then
        redis.call('hincrby', KEYS[1], ARGV[2], 1)
        redis.call('pexpire', KEYS[1], ARGV[1])
        return nil
      end
      return redis.call('pttl', KEYS[1])`
  },
  unlock: {
    numberOfKeys: 2,
    lua: `
      if redis.call('hexists', KEYS[1], ARGV[2]) == 0 then return nil end
      if redis.call('hincrby', KEYS[1], ARGV[2], -1) > 0 then
        redis.call('pexpire', KEYS[1], ARGV[1])
        return 0
      end
      redis.call('del', KEYS[1])
      redis.call('publish', KEYS[2], 'free')
      return 1`
  },
  renew: {
    numberOfKeys: 1,
    lua: `
      if redis.call('hexists', KEYS[1], ARGV[2]) == 1 then return redis.call('pexpire', KEYS[1], ARGV[1]) end
      return 0`
  },
  tryFairLock: { // KEYS: lock, queue, deadlines; ARGV: lease, who, wait, now
    numberOfKeys: 3,
    lua: `
      while true do
        local first = redis.call('lindex', KEYS[2], 0)
        if first == false then break end
        local due = redis.call('zscore', KEYS[3], first)
        if due ~= false and tonumber(due) > tonumber(ARGV[4]) then break end
        redis.call('zrem', KEYS[3], first)
        redis.call('lpop', KEYS[2])
      end
      if redis.call('exists', KEYS[1]) == 0
        and (redis.call('exists', KEYS[2]) == 0 or redis.call('lindex', KEYS[2], 0) == ARGV[2]) then
        redis.call('lpop', KEYS[2])
        redis.call('zrem', KEYS[3], ARGV[2])
        for _, other in ipairs(redis.call('zrange', KEYS[3], 0, -1)) do
          redis.call('zincrby', KEYS[3], -tonumber(ARGV[3]), other)
        end
        redis.call('hset', KEYS[1], ARGV[2], 1)
        redis.call('pexpire', KEYS[1], ARGV[1])
        return nil
      end
      if redis.call('hexists', KEYS[1], ARGV[2]) == 1 then
        redis.call('hincrby', KEYS[1], ARGV[2], 1)
        redis.call('pexpire', KEYS[1], ARGV[1])
        return nil
      end
      local mine = redis.call('zscore', KEYS[3], ARGV[2])
      if mine ~= false then return math.max(1, tonumber(mine) - tonumber(ARGV[3]) - tonumber(ARGV[4])) end
      local last = redis.call('lindex', KEYS[2], -1)
      local left
      if last ~= false then
        left = tonumber(redis.call('zscore', KEYS[3], last)) - tonumber(ARGV[4])
      else
        left = redis.call('pttl', KEYS[1])
      end
      if redis.call('zadd', KEYS[3], left + tonumber(ARGV[3]) + tonumber(ARGV[4]), ARGV[2]) == 1 then
        redis.call('rpush', KEYS[2], ARGV[2])
      end
      return left`
  },
  dueJob: {
    numberOfKeys: 1,
    lua: `
      local due = redis.call('zrange', KEYS[1], '-inf', ARGV[1], 'byscore', 'limit', 0, 1)
      if due[1] then redis.call('zrem', KEYS[1], due[1]) end
      return due[1]`
  }
}

const lock = '{lock}'; const channel = '{lock}:free'
const client = () => connect({ scripts: commands })

// lockWhen tries until it has the lock: at a message, or when the lock's time is over.
async function lockWhen (c, sub, attempt) {
  for (;;) {
    let woken
    const message = new Promise((resolve) => { woken = resolve })
    sub.once('message', woken)
    const left = await attempt(c)
    if (left === null) return sub.off('message', woken)
    let timer
    await Promise.race([message, new Promise((resolve) => { timer = setTimeout(resolve, Math.max(1, left)) })])
    clearTimeout(timer)
    sub.off('message', woken)
  }
}

// contend has contenders count under a lock; what the lock does not protect gets lost.
async function contend (contenders, rounds, attempt, unlock) {
  let inside = 0
  const counter = '{lock}:n'
  const order = []
  await Promise.all(Array.from({ length: contenders }, async (_, i) => {
    const c = client(); const sub = connect()
    await sub.ping()
    await sub.subscribe(channel)
    for (let round = 0; round < rounds; round++) {
      await lockWhen(c, sub, (c) => attempt(c, `c${i}`))
      assert.equal(++inside, 1, 'two hold the lock')
      order.push(i)
      const n = Number(await c.get(counter))
      await c.set(counter, n + 1)
      inside--
      assert.equal(await unlock(c, `c${i}`), 1)
    }
    c.disconnect()
    sub.disconnect()
  }))
  assert.equal(await client().get(counter), String(contenders * rounds))
  return order
}

const parts = {
  async mutualExclusion () {
    await contend(12, 5, (c, who) => c.tryLock(lock, 30000, who), (c, who) => c.unlock(lock, channel, 30000, who))
    assert.equal(await client().exists(lock), 0)
  },

  async reentrant () {
    const c = client()
    assert.equal(await c.tryLock(lock, 30000, 'a'), null)
    assert.equal(await c.tryLock(lock, 30000, 'a'), null)
    assert.ok(await c.tryLock(lock, 30000, 'b') > 20000)
    assert.equal(await c.unlock(lock, channel, 30000, 'b'), null)
    assert.equal(await c.unlock(lock, channel, 30000, 'a'), 0)
    assert.deepEqual(await c.hgetall(lock), { a: '1' })
    assert.equal(await c.unlock(lock, channel, 30000, 'a'), 1)
    assert.equal(await c.tryLock(lock, 30000, 'b'), null)
  },

  async deadHolder () {
    const c = client(); const sub = connect()
    await sub.ping()
    await sub.subscribe(channel)
    assert.equal(await c.tryLock(lock, 250, 'dead'), null)
    const began = Date.now()
    await lockWhen(c, sub, (c) => c.tryLock(lock, 100, 'heir'))
    assert.ok(Date.now() - began >= 200, 'the lease was not respected')
    assert.equal(await c.unlock(lock, channel, 100, 'dead'), null)
    // One that renews keeps it, many leases long.
    assert.equal(await c.renew(lock, 5000, 'dead'), 0)
    await c.unlock(lock, channel, 100, 'heir')
    assert.equal(await c.tryLock(lock, 2000, 'heir'), null)
    for (let i = 0; i < 20; i++) {
      assert.equal(await c.renew(lock, 2000 + i, 'heir'), 1)
      assert.ok(await c.tryLock(lock, 2000, 'other') > 0)
    }
  },

  async fairness () {
    const keys = [lock, '{lock}:queue', '{lock}:deadlines']
    const attempt = (c, who) => c.tryFairLock(...keys, 30000, who, 60000, Date.now())
    const unlock = (c, who) => c.unlock(lock, channel, 30000, who)
    const order = await contend(10, 4, attempt, unlock)
    assert.equal(order.length, 40)
    const c = client()
    assert.equal(await c.exists(...keys), 0)
    // Who asked first gets it first.
    for (const [who, want] of [['a', 'null'], ['b', 'number'], ['c', 'number'], ['d', 'number']]) {
      assert.equal((await attempt(c, who)) === null ? 'null' : 'number', want)
    }
    await unlock(c, 'a')
    assert.ok(await attempt(c, 'd') > 0)
    assert.ok(await attempt(c, 'c') > 0)
    assert.equal(await attempt(c, 'b'), null)
    await unlock(c, 'b')
    assert.equal(await attempt(c, 'c'), null)
  },

  async sidekiq () {
    const queues = ['{sk}:critical', '{sk}:default']; const total = 120
    const c = client()
    const now = Date.now()
    const done = new Map()
    let ended = 0
    for (let i = 0; i < total; i++) {
      if (i % 3 === 0) await c.zadd('{sk}:schedule', now + (i % 7) * 30, `job${i}`)
      else await c.lpush(queues[i % 2], `job${i}`)
    }
    const poll = async () => {
      const p = client()
      while (ended < total) {
        const job = await p.dueJob('{sk}:schedule', Date.now())
        if (job) await p.lpush(queues[0], job)
        else await until('a moment', () => new Promise((resolve) => setTimeout(() => resolve(true), 5)))
      }
    }
    const fetch = async (reliable, i) => {
      const f = client()
      const mine = `{sk}:working:${i}`
      while (ended < total) {
        let job
        if (reliable) job = await f.blmove(queues[0], mine, 'RIGHT', 'LEFT', 0.1) || await f.lmove(queues[1], mine, 'RIGHT', 'LEFT')
        else job = ((await f.brpop(...queues, 0.1)) || [])[1]
        if (!job) continue
        done.set(job, (done.get(job) || 0) + 1)
        if (reliable) assert.equal(await f.lrem(mine, 1, job), 1)
        ended++
      }
    }
    await Promise.all([poll(), poll(), ...Array.from({ length: 6 }, (_, i) => fetch(i % 2 === 0, i))])
    assert.equal(done.size, total)
    assert.ok([...done.values()].every((n) => n === 1))
    assert.equal(await c.exists('{sk}:schedule', ...queues), 0)
  }
}

run(parts)
