import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { deferred } from '../../../src/engine/host/deferred.js'
import { fakeRun } from './fake-engine.js'
import { fakeHost } from './fake-host.js'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
afterEach(() => void vi.useRealTimers())

/** Everything that needs no time to pass happens. */
const turns = () => new Promise((resolve) => setImmediate(resolve))

/** A host that has just answered `nRequests` requests in one run, which said that it took `runMs`. */
async function justAnswered({ nRequests, runMs, maxBatch = 16 }: { nRequests: number; runMs: number; maxBatch?: number }) {
  const made = await fakeHost({ maxBatch })
  const { promise: gate, resolve: release } = deferred<void>()
  made.engine.gate = gate
  made.engine.runMs = 0
  const first = made.host.run(fakeRun('a', [0]))
  await made.engine.reaches('run a 1')
  made.engine.runMs = runMs
  const together = Array.from({ length: nRequests }, () => made.host.run(fakeRun('a', [1])))
  release()
  await Promise.all([first, ...together])
  made.engine.journal.length = 0
  const runs = () => made.engine.journal.filter((line) => line.startsWith('run'))
  return { ...made, runs }
}

describe('those who come right after a run', () => {
  test('wait until as many are there as it answered, and run together', async () => {
    const { host, runs } = await justAnswered({ nRequests: 3, runMs: 200 })
    const again = [host.run(fakeRun('a', [1])), host.run(fakeRun('a', [2]))]
    await turns()
    expect(runs()).toEqual([])
    again.push(host.run(fakeRun('a', [3])))
    await Promise.all(again)
    expect(runs()).toEqual(['run a 1+1+1'])
  })

  test('wait for no more than a twenty-fifth of what it took', async () => {
    const { host, runs } = await justAnswered({ nRequests: 3, runMs: 200 })
    const alone = host.run(fakeRun('a', [1]))
    await vi.advanceTimersByTimeAsync(7)
    expect(runs()).toEqual([])
    await vi.advanceTimersByTimeAsync(1)
    await alone
    expect(runs()).toEqual(['run a 1'])
    const later = host.run(fakeRun('a', [1]))
    await later
    expect(runs()).toHaveLength(2)
  })

  test('wait for no more than 10 ms, however long it took', async () => {
    const { host, runs } = await justAnswered({ nRequests: 2, runMs: 60_000 })
    const alone = host.run(fakeRun('a', [1]))
    await vi.advanceTimersByTimeAsync(10)
    await alone
    expect(runs()).toEqual(['run a 1'])
  })

  test.each([
    ['a single caller asks', { nRequests: 1, runMs: 200 }, fakeRun('a', [1])],
    ['runs are short', { nRequests: 3, runMs: 20 }, fakeRun('a', [1])],
    ['they ask for another structure', { nRequests: 3, runMs: 200 }, fakeRun('a', [1], { read: ['x'] })],
    ['another like it would not fit into the run', { nRequests: 3, runMs: 200, maxBatch: 4 }, fakeRun('a', [1, 2, 3])],
  ])('run at once where %s', async (_, before, request) => {
    const { host, runs } = await justAnswered(before)
    await host.run(request)
    expect(runs()).toHaveLength(1)
  })

  test('that gave up are not waited for longer than others', async () => {
    const { host, runs } = await justAnswered({ nRequests: 3, runMs: 200 })
    const caller = new AbortController()
    const gone = host.run(fakeRun('a', [1]), caller.signal)
    await turns()
    caller.abort()
    await expect(gone).rejects.toMatchObject({ code: 'CANCELLED' })
    await vi.advanceTimersByTimeAsync(8)
    await host.run(fakeRun('a', [2]))
    expect(runs()).toEqual(['run a 1'])
  })
})
