'use strict'
// What the scripts of this directory share. Each is run by a Go test as `node SCRIPT ADDRESS KIND [PART...]`, KIND being
// "server" or "proxy", and tells by its exit code whether all its checks held. $IOREDIS names the version of the library:
// ioredis speaks RESP2, ioredis6 RESP3.

const assert = require('node:assert/strict')
const Redis = require(process.env.IOREDIS || 'ioredis')

const [address, kind, ...only] = process.argv.slice(2)
const [host, port] = address.split(':')
const options = { host, port: Number(port), maxRetriesPerRequest: null }

// connect makes a client, which close ends with the others.
const clients = []
function connect (more = {}) {
  const c = new Redis({ ...options, ...more })
  c.on('error', (err) => console.error('connection:', err.message))
  clients.push(c)
  return c
}

// until waits for a condition, for at most 30 s.
async function until (what, f) {
  for (const end = Date.now() + 30000; ;) {
    const got = await f()
    if (got) return got
    if (Date.now() > end) throw new Error('never: ' + what)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

// run runs parts one after another, each on an empty database, and ends the process.
async function run (parts) {
  const admin = connect()
  let failed = 0
  for (const [name, f] of Object.entries(parts)) {
    if (only.length && !only.includes(name)) continue
    await admin.flushall()
    const began = Date.now()
    let timer
    const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error('takes too long')), 60000) })
    try {
      await Promise.race([f(admin), late])
      console.log(`ok ${name} (${Date.now() - began} ms)`)
    } catch (err) {
      failed++
      console.log(`FAILED ${name}:`, err)
    }
    clearTimeout(timer)
  }
  for (const c of clients) c.disconnect()
  process.exit(failed ? 1 : 0)
}

module.exports = { assert, connect, kind, options, run, until }
