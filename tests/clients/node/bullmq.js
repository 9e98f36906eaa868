'use strict'
// Queues as applications run them with BullMQ: every job is done exactly once, and the counts are right.

const { fork } = require('node:child_process')
const { Queue, Worker, QueueEvents, FlowProducer } = require('bullmq')
const { assert, connect, run, options, until } = require('./check')

// The braces keep the keys of a queue in one slot, which a proxy in front of several shards needs.
const settings = { connection: options, prefix: '{bull}' }

const open = []
const own = (x) => {
  open.push(x)
  x.on('error', (err) => console.error('error:', err.message))
  return x
}
const queue = (name, more = {}) => own(new Queue(name, { ...settings, ...more }))
const worker = (name, f, more = {}) => own(new Worker(name, f, { ...settings, ...more }))
const closeAll = async () => { await Promise.all(open.splice(0).reverse().map((x) => x.close())) }

// finished waits until a queue has nothing left to do, and checks what became of its jobs.
async function finished (q, want) {
  await until('the queue is done', async () => {
    const n = await q.getJobCounts()
    return n.waiting + n.active + n.delayed + n.prioritized + n['waiting-children'] === 0 &&
      n.completed + n.failed === (want.completed || 0) + (want.failed || 0)
  })
  const n = await q.getJobCounts('completed', 'failed')
  assert.deepEqual(n, { completed: 0, failed: 0, ...want })
}

const parts = {
  async manyWorkers () {
    const q = queue('many')
    const done = new Map()
    for (let i = 0; i < 4; i++) {
      worker('many', async (job) => {
        done.set(job.data.n, (done.get(job.data.n) || 0) + 1)
        return job.data.n * 2
      }, { concurrency: 10 })
    }
    const total = 600
    await q.addBulk(Array.from({ length: total / 2 }, (_, n) => ({ name: 'bulk', data: { n } })))
    await Promise.all(Array.from({ length: total / 2 }, (_, i) => q.add('one', { n: total / 2 + i })))
    await finished(q, { completed: total })
    assert.equal(done.size, total)
    assert.ok([...done.values()].every((n) => n === 1), 'a job was done twice')
    const jobs = await q.getJobs(['completed'], 0, 9)
    assert.ok(jobs.every((job) => job.returnvalue === 2 * job.data.n))
    assert.equal(await q.count(), 0)
  },

  async delayedAndPrioritised () {
    const q = queue('order')
    const order = []
    await q.pause()
    assert.ok(await q.isPaused())
    await q.add('low', {}, { priority: 10 })
    await q.add('high', {}, { priority: 1 })
    await q.add('middle', {}, { priority: 5 })
    await q.add('plain', {})
    await q.add('lifo', {}, { lifo: true })
    const due = Date.now() + 300
    await q.add('later', { due }, { delay: 300 })
    await q.add('same', {}, { jobId: 'fixed' })
    await q.add('same', {}, { jobId: 'fixed' })
    const w = worker('order', async (job) => {
      order.push(job.name)
      if (job.data.due) assert.ok(Date.now() >= job.data.due - 5, 'too early')
    })
    await w.waitUntilReady()
    assert.equal((await q.getJobCounts('completed')).completed, 0)
    await q.resume()
    await finished(q, { completed: 7 })
    assert.deepEqual(order, ['lifo', 'plain', 'same', 'high', 'middle', 'low', 'later'])
  },

  async retries () {
    const q = queue('retries')
    const tries = new Map()
    worker('retries', async (job) => {
      tries.set(job.name, [...(tries.get(job.name) || []), Date.now()])
      if (job.name === 'hopeless' || job.attemptsMade < 2) throw new Error('try again')
      await job.updateProgress(50)
      await job.log('worked')
    })
    await q.add('third', {}, { attempts: 3, backoff: { type: 'exponential', delay: 40 } })
    await q.add('hopeless', {}, { attempts: 2, backoff: { type: 'fixed', delay: 20 } })
    await finished(q, { completed: 1, failed: 1 })
    const [a, b, c] = tries.get('third')
    assert.ok(b - a >= 38 && c - b >= 78, `waited ${b - a} and ${c - b} ms`)
    assert.equal(tries.get('hopeless').length, 2)
    const [failed] = await q.getFailed()
    assert.equal(failed.failedReason, 'try again')
    const [completed] = await q.getCompleted()
    assert.equal(completed.progress, 50)
    assert.deepEqual((await q.getJobLogs(completed.id)).logs, ['worked'])
    await failed.remove()
    await finished(q, { completed: 1 })
  },

  async rateLimited () {
    const q = queue('limited')
    const times = []
    for (let i = 0; i < 2; i++) {
      worker('limited', async () => { times.push(Date.now()) }, { limiter: { max: 3, duration: 250 }, concurrency: 5 })
    }
    await q.addBulk(Array.from({ length: 9 }, (_, n) => ({ name: 'x', data: { n } })))
    await finished(q, { completed: 9 })
    assert.equal(times.length, 9)
    assert.ok(times[8] - times[0] >= 450, `nine jobs, three each 250 ms, in ${times[8] - times[0]} ms`)
  },

  async scheduled () {
    const q = queue('scheduled')
    let ran = 0
    worker('scheduled', async (job) => {
      assert.equal(job.data.kind, 'tick')
      ran++
    })
    await q.upsertJobScheduler('ticker', { every: 60, limit: 5 }, { name: 'tick', data: { kind: 'tick' } })
    await until('five runs', () => ran >= 5)
    await finished(q, { completed: 5 })
    await q.upsertJobScheduler('nightly', { pattern: '0 0 3 * * *' }, { name: 'tick', data: { kind: 'tick' } })
    assert.equal((await q.getJobSchedulers()).filter((s) => s.key === 'nightly').length, 1)
    assert.equal((await q.getJobCounts('delayed')).delayed, 1)
    assert.ok(await q.removeJobScheduler('nightly'))
    assert.equal((await q.getJobCounts('delayed')).delayed, 0)
  },

  async flows () {
    const flow = own(new FlowProducer(settings))
    const parent = queue('parent'); const child = queue('child')
    worker('child', async (job) => job.data.n * job.data.n, { concurrency: 4 })
    let sum
    worker('parent', async (job) => {
      sum = Object.values(await job.getChildrenValues()).reduce((a, b) => a + b, 0)
      return sum
    })
    await flow.add({
      name: 'sum',
      queueName: 'parent',
      children: Array.from({ length: 10 }, (_, n) => ({ name: 'square', queueName: 'child', data: { n } }))
    })
    await finished(child, { completed: 10 })
    await finished(parent, { completed: 1 })
    assert.equal(sum, 285)
  },

  async events () {
    const q = queue('events')
    const events = own(new QueueEvents('events', { ...settings, lastEventId: '0-0' }))
    await events.waitUntilReady()
    const seen = { waiting: 0, active: 0, completed: 0, failed: 0, progress: 0, drained: 0 }
    for (const name of Object.keys(seen)) events.on(name, () => seen[name]++)
    worker('events', async (job) => {
      await job.updateProgress(10)
      if (job.data.n % 5 === 0) throw new Error('five')
      return 'r' + job.data.n
    })
    const jobs = await q.addBulk(Array.from({ length: 20 }, (_, n) => ({ name: 'x', data: { n } })))
    assert.equal(await jobs[7].waitUntilFinished(events, 30000), 'r7')
    await assert.rejects(jobs[10].waitUntilFinished(events, 30000), /five/)
    await finished(q, { completed: 16, failed: 4 })
    await until('all events', () => seen.completed === 16 && seen.failed === 4 && seen.drained > 0)
    assert.deepEqual([seen.waiting, seen.active, seen.progress], [20, 20, 20])
  },

  async stalled () {
    const q = queue('stalled')
    const child = fork(__filename, [process.argv[2], process.argv[3], 'hang'], { stdio: 'inherit' })
    try {
      for (let n = 0; n < 5; n++) await q.add('x', { n })
      await until('the other process works', async () => (await q.getActiveCount()) === 2)
    } finally {
      child.kill('SIGKILL')
    }
    const done = []
    let stalled = 0
    const w = worker('stalled', async (job) => { done.push(job.data.n) }, { stalledInterval: 200, lockDuration: 500 })
    w.on('stalled', () => stalled++)
    await finished(q, { completed: 5 })
    assert.deepEqual(done.sort(), [0, 1, 2, 3, 4])
    assert.equal(stalled, 2)
  },

  async cleaning () {
    const q = queue('cleaning', { defaultJobOptions: { removeOnComplete: { count: 3 }, removeOnFail: true } })
    worker('cleaning', async (job) => { if (job.data.n === 4) throw new Error('x') })
    for (let n = 0; n < 10; n++) await q.add('x', { n })
    await until('all but three are gone', async () => {
      const n = await q.getJobCounts()
      return n.completed === 3 && n.failed + n.waiting + n.active === 0
    })
    await q.add('later', {}, { delay: 60000 })
    await q.drain(true)
    assert.equal(await q.count(), 0)
    await q.clean(0, 100, 'completed')
    assert.equal((await q.getJobCounts('completed')).completed, 0)
    await closeAll()
    const again = queue('cleaning')
    await again.obliterate({ force: true })
    const c = connect()
    assert.deepEqual(await c.keys('{bull}:cleaning:*'), [])
  }
}

if (process.argv[4] === 'hang') {
  // A worker that takes two jobs and never ends them; its process is killed.
  worker('stalled', () => new Promise(() => {}), { concurrency: 2, lockDuration: 500, stalledInterval: 300 })
} else {
  run(Object.fromEntries(Object.entries(parts).map(([name, f]) => [name, async () => {
    try {
      await f()
    } finally {
      await closeAll()
    }
  }])))
}
