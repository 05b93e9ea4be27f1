import { describe, expect, test } from 'vitest'
import { deferred } from '../../../src/engine/host/deferred.js'
import type { RunResult } from '../../../src/engine/host/host.js'
import { fakeRun } from './fake-engine.js'
import { fakeHost } from './fake-host.js'

const code = (expected: string) => expect.objectContaining({ code: expected })
const values = (result: RunResult) => Array.from(result.output.data)

/** A host whose worker is busy with a first run until `release` is called. */
async function busyHost(options: Parameters<typeof fakeHost>[0] = {}) {
  const made = await fakeHost(options)
  const { promise: gate, resolve: release } = deferred<void>()
  made.engine.gate = gate
  const first = made.host.run(fakeRun('a', [0]))
  await made.engine.reaches('run a 1')
  return { ...made, first, release: () => release() }
}

describe('merging', () => {
  test('requests of equal structure that wait together run as one, and each gets its own rows', async () => {
    const { host, engine, first, release, events } = await busyHost()
    const waiting = [host.run(fakeRun('a', [1, 2])), host.run(fakeRun('a', [3])), host.run(fakeRun('a', [4, 5, 6]))]
    release()
    await first
    expect((await Promise.all(waiting)).map(values)).toEqual([[2, 4], [6], [8, 10, 12]])
    expect(engine.journal.filter((line) => line.startsWith('run'))).toEqual(['run a 1', 'run a 2+1+3'])
    expect(events.filter(({ kind }) => kind === 'run')).toMatchObject([{ nRequests: 1 }, { nRequests: 3, nRows: 6 }])
  })

  test('stops at the largest batch, keeps the order, and leaves other structures and models alone', async () => {
    const { host, engine, release } = await busyHost({ maxBatch: 3 })
    const waiting = [
      host.run(fakeRun('a', [1, 2])),
      host.run(fakeRun('a', [1], { read: ['x'] })),
      host.run(fakeRun('b', [1])),
      host.run(fakeRun('a', [1, 2])),
      host.run(fakeRun('a', [7])),
    ]
    release()
    await Promise.all(waiting)
    expect(engine.journal.filter((line) => line.startsWith('run'))).toEqual(['run a 1', 'run a 2+1', 'run a 1', 'run b 1', 'run a 2'])
  })

  test('strengths and vectors do not keep requests apart; operations and hook points do', async () => {
    const { host, engine, release } = await busyHost()
    const steer = (strength: number, hookPoint = 'x') =>
      host.run(fakeRun('a', [1], { edits: [{ hookPoint, op: 'add', vector: Float32Array.of(strength), strength, unit: 'raw' }] }))
    const waiting = [steer(1), steer(2), steer(3, 'y'), host.run(fakeRun('a', [1], { edits: [{ hookPoint: 'x', op: 'zero' }] }))]
    release()
    await Promise.all(waiting)
    expect(engine.journal.filter((line) => line.startsWith('run'))).toEqual(['run a 1', 'run a 1+1', 'run a 1', 'run a 1'])
  })

  test('requests whose inputs depend on each other run alone', async () => {
    const { host, engine, release } = await busyHost()
    const meanAblate = () => host.run(fakeRun('a', [1, 2], { edits: [{ hookPoint: 'x', op: 'mean' }] }))
    const waiting = [meanAblate(), meanAblate()]
    release()
    await Promise.all(waiting)
    expect(engine.journal.filter((line) => line.startsWith('run'))).toEqual(['run a 1', 'run a 2', 'run a 2'])
  })

  test('is bounded in bytes', async () => {
    const { host, engine, release } = await busyHost({ maxBatchBytes: 24 }) // the fake engine takes 12 bytes a row
    const waiting = [1, 2, 3].map((value) => host.run(fakeRun('a', [value])))
    release()
    await Promise.all(waiting)
    expect(engine.journal.filter((line) => line.startsWith('run'))).toEqual(['run a 1', 'run a 1+1', 'run a 1'])
  })

  test('one bad request does not hurt its neighbours', async () => {
    const { host, engine, release } = await busyHost()
    const steer = (strength: number) =>
      host.run(fakeRun('a', [1], { edits: [{ hookPoint: 'x', op: 'add', vector: Float32Array.of(1), strength, unit: 'raw' }] }))
    const [good, bad, alsoGood] = [steer(1), steer(Number.NaN), steer(2)]
    release()
    await expect(bad).rejects.toThrow('edits[0].strength: it is not a number')
    await expect(bad).rejects.toThrow(code('EDIT_INVALID'))
    expect([values(await good), values(await alsoGood)]).toEqual([[2], [2]])
    expect(engine.journal).toContain('run a 1+1+1')
  })
})

describe('the queue', () => {
  test('is bounded, and says when to come again', async () => {
    const { host, first, release } = await busyHost({ queueLimit: 2 })
    const accepted = [host.run(fakeRun('b', [1])), host.run(fakeRun('c', [1]))]
    await expect(host.run(fakeRun('d', [1]))).rejects.toThrow(
      expect.objectContaining({ code: 'QUEUE_FULL', details: { limit: 2, retryAfterSeconds: expect.any(Number) } }),
    )
    expect(host.status()).toMatchObject({ queueLength: 2, queueLimit: 2 })
    release()
    await Promise.all([first, ...accepted])
    await host.run(fakeRun('d', [1]))
  })

  test('forgets a waiting request whose caller gave up, at once', async () => {
    const { host, engine, release } = await busyHost({ queueLimit: 1 })
    const caller = new AbortController()
    const given = host.run(fakeRun('b', [1]), caller.signal)
    caller.abort()
    await expect(given).rejects.toThrow(code('CANCELLED'))
    expect(host.status().queueLength).toBe(0)
    const next = host.run(fakeRun('c', [1]))
    release()
    await next
    expect(engine.journal).not.toContain('run b 1')
  })

  test('answers a caller who gives up during the run at once; the run ends and its result is dropped', async () => {
    const { host, engine, first, release } = await busyHost()
    const caller = new AbortController()
    const second = host.run(fakeRun('a', [1]), caller.signal)
    const { promise: gate, resolve: open } = deferred<void>()
    engine.gate = gate
    release()
    await first
    await engine.reaches('run a 1', 2)
    caller.abort(new Error('the client went away'))
    await expect(second).rejects.toThrow('the client went away')
    open()
    expect(values(await host.run(fakeRun('a', [5])))).toEqual([10])
  })

  test('calls off an analysis that nobody waits for, so that the next run begins', async () => {
    const { host, engine } = await fakeHost({ memoryBytes: 1_000_000 })
    const caller = new AbortController()
    engine.analysisGate = deferred<void>().promise // it would never end by itself
    const model = { key: 'a', folder: '/a', processing: [] }
    const given = host.analyse('matchDecoders', { model, input: { width: 4 } }, caller.signal)
    await engine.reaches('analyse matchDecoders')
    const next = host.run(fakeRun('a', [5]))
    caller.abort()
    await expect(given).rejects.toThrow(code('CANCELLED'))
    expect(values(await next)).toEqual([10])
  })

  test('refuses a caller who had given up before', async () => {
    const { host } = await fakeHost()
    await expect(host.run(fakeRun('a', [1]), AbortSignal.abort())).rejects.toThrow(code('CANCELLED'))
  })
})

describe('structures', () => {
  test('are compiled once; reads in another order, other strengths and other inputs compile nothing', async () => {
    const { host, engine } = await fakeHost()
    const steer = (strength: number, read: string[]) =>
      fakeRun('a', [strength], { read, edits: [{ hookPoint: 'x', op: 'scale', strength }] })
    const result = await host.run(steer(1, ['p', 'q']))
    expect(result.timings.compile).toBeGreaterThan(0)
    const again = await host.run(steer(2, ['q', 'p', 'q']))
    expect(again.timings).toMatchObject({ load: 0, compile: 0 })
    expect(Object.keys(again.activations)).toEqual(['q', 'p'])
    await host.run(steer(3, ['p']))
    expect(engine.journal.filter((line) => line.startsWith('compile'))).toHaveLength(2)
    expect(host.status().programs).toMatchObject({ count: 2, compiled: 2, hits: 1 })
  })

  test('an unknown hook point fails its own request only', async () => {
    const { host, release } = await busyHost()
    const [bad, good] = [host.run(fakeRun('a', [1], { read: ['nowhere'] })), host.run(fakeRun('a', [1]))]
    release()
    await expect(bad).rejects.toThrow(code('HOOK_POINT_UNKNOWN'))
    expect(values(await good)).toEqual([2])
  })
})

describe('models', () => {
  test('are loaded when they are needed, the least recently used makes room, and a model that can never fit is refused unloaded', async () => {
    const { host, engine } = await fakeHost()
    engine.modelBytes.set('huge', 5000)
    await host.run(fakeRun('a', [1]))
    await host.load({ key: 'b', folder: '/b', processing: [] })
    await host.run(fakeRun('a', [1]))
    await host.run(fakeRun('c', [1]))
    expect(host.status().models).toEqual([
      { key: 'a', bytes: 400, inUse: false },
      { key: 'c', bytes: 400, inUse: false },
    ])
    await expect(host.run(fakeRun('huge', [1]))).rejects.toThrow('Model "huge"')
    expect(engine.journal).not.toContain('load huge')
    expect(host.status().models).toHaveLength(2)
  })

  test('stay while a request waits for them, and the one that needs their room waits for exactly those requests', async () => {
    const { host, engine, release } = await busyHost({ maxBatch: 1 })
    engine.modelBytes.set('b', 800)
    const order: string[] = []
    const run = (model: string, read: string) => host.run(fakeRun(model, [1], { read: [read] })).then(() => order.push(`${model} ${read}`))
    const waiting = [run('b', 'first'), run('a', 'second'), run('a', 'third')]
    const { promise: gate, resolve: open } = deferred<void>()
    engine.gate = gate
    release()
    await engine.reaches('run a 1', 2)
    const late = run('a', 'late') // came after b was set aside: must not keep a in memory for itself
    open()
    await Promise.all([...waiting, late])
    expect(order).toEqual(['a second', 'a third', 'b first', 'a late'])
    expect(engine.journal.filter((line) => line.startsWith('load'))).toEqual(['load a', 'load b', 'load a'])
  })

  test('are dropped on request, once nothing uses them', async () => {
    const { host, engine, first, release } = await busyHost()
    const unloaded = host.unload('a')
    await Promise.resolve()
    expect(engine.journal).not.toContain('unload a')
    release()
    await first
    await unloaded
    expect(host.status().models).toEqual([])
    await host.run(fakeRun('a', [1]))
    expect(engine.journal.filter((line) => line === 'load a')).toHaveLength(2)
  })

  test('a broken folder is an error of the request, and leaves nothing in the budget', async () => {
    const { host } = await fakeHost()
    const request = { ...fakeRun('a', [1]), model: { key: 'a', folder: 'missing', processing: [] } }
    await expect(host.run(request)).rejects.toThrow(code('FILE_INVALID'))
    await expect(host.inspect(request.model)).rejects.toThrow(code('FILE_INVALID'))
    expect(host.status().memory.usedBytes).toBe(0)
  })

  test('a run whose results would not fit beside the model is refused before it runs', async () => {
    const { host, engine } = await fakeHost({ memoryBytes: 500 })
    const many = Array.from({ length: 30 }, (_, index) => index)
    await expect(host.run(fakeRun('a', many))).rejects.toThrow('A run of 30 inputs')
    expect(engine.journal.filter((line) => line.startsWith('run'))).toEqual([])
    expect(values(await host.run(fakeRun('a', [1])))).toEqual([2])
  })
})

describe('closing', () => {
  test('serves what was accepted and refuses what comes after', async () => {
    const { host, first, release } = await busyHost()
    const waiting = host.run(fakeRun('a', [1]))
    const closed = host.close()
    await expect(host.run(fakeRun('a', [2]))).rejects.toThrow(code('CANCELLED'))
    release()
    await Promise.all([first, waiting, closed])
    expect(host.status().state).toBe('closed')
  })

  test('calls off what is not done by the deadline', async () => {
    const { host, first } = await busyHost({ drainMs: 0 })
    const waiting = host.run(fakeRun('a', [1]))
    const closed = host.close()
    await expect(first).rejects.toThrow(code('CANCELLED'))
    await expect(waiting).rejects.toThrow(code('CANCELLED'))
    await closed
  })
})
