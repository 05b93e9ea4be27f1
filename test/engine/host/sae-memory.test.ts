/** SAEs beside models: loaded when they are needed, under the one memory budget, shared by requests. */

import { describe, expect, test } from 'vitest'
import { deferred } from '../../../src/engine/host/deferred.js'
import { fakeCodes, fakeRun } from './fake-engine.js'
import { fakeHost } from './fake-host.js'

// Models and SAEs of the fake engine take 400 bytes each, programs 10.
const keys = (list: readonly { key: string }[]) => list.map(({ key }) => key)

describe('an SAE', () => {
  test('is loaded when it is first read, once, and what it takes is counted', async () => {
    const { host, engine, events } = await fakeHost({ memoryBytes: 1000 })
    const first = await host.codes(fakeCodes('a', [1, 2], ['x']))
    expect(Array.from(first.codes[0]!.tokens!.activations.data)).toEqual([2, 4])
    expect(first.timings.load).toBeGreaterThan(0)
    expect((await host.codes(fakeCodes('a', [3], ['x']))).timings.load).toBe(0)
    expect(engine.journal.filter((line) => line.includes('sae'))).toEqual(['inspect sae x', 'load sae x'])
    expect(host.status().saes).toEqual([{ key: 'x', bytes: 400, inUse: false }])
    expect(host.status().memory.byKind).toMatchObject({ model: 400, sae: 400 })
    expect(events.filter(({ kind }) => kind === 'load-sae')).toMatchObject([{ sae: 'x', bytes: 400 }])
    await host.close()
  })

  test('makes room for another when it was used least recently, and comes back when it is asked for', async () => {
    const { host, engine } = await fakeHost({ memoryBytes: 1300 })
    for (const sae of ['x', 'y', 'x', 'z']) await host.codes(fakeCodes('a', [1], [sae]))
    expect(keys(host.status().saes)).toEqual(['x', 'z'])
    expect(engine.loaded).toEqual(['a', 'sae x', 'sae z'])
    await host.codes(fakeCodes('a', [1], ['y']))
    expect(keys(host.status().saes)).toEqual(['z', 'y'])
    expect(engine.journal.filter((line) => line === 'inspect sae y')).toHaveLength(1)
    await host.close()
  })

  test('that does not fit beside the model is refused before it is loaded, and the next request is served', async () => {
    const { host, engine } = await fakeHost({ memoryBytes: 700 })
    await expect(host.codes(fakeCodes('a', [1], ['x']))).rejects.toMatchObject({
      code: 'MEMORY_EXCEEDED',
      message: expect.stringContaining('SAE "x"'),
    })
    expect(engine.journal).not.toContain('load sae x')
    await expect(host.run(fakeRun('a', [1]))).resolves.toBeDefined()
    await host.close()
  })

  test('whose files are not there is refused, and leaves nothing in the ledger', async () => {
    const { host } = await fakeHost()
    const broken = fakeCodes('a', [1], ['x'])
    const saes = broken.saes.map((read) => ({ ...read, sae: { ...read.sae, folder: 'missing' } }))
    await expect(host.codes({ ...broken, saes })).rejects.toMatchObject({ code: 'FILE_INVALID' })
    expect(host.status().memory.byKind.sae).toBe(0)
    await host.close()
  })

  test('that waits is kept: requests that alternate do not load and evict in turns', async () => {
    const { host, engine } = await fakeHost({ memoryBytes: 900 })
    const { promise: gate, resolve: release } = deferred<void>()
    engine.gate = gate
    const first = host.codes(fakeCodes('a', [1], ['x']))
    await engine.reaches('run a 1')
    const others = [host.codes(fakeCodes('a', [1], ['y'])), host.codes(fakeCodes('a', [2], ['x'])), host.codes(fakeCodes('a', [2], ['y']))]
    release()
    await Promise.all([first, ...others])
    expect(engine.journal.filter((line) => line.startsWith('load sae'))).toEqual(['load sae x', 'load sae y'])
    await host.close()
  })

  test('is gone after unloadSae, once nothing uses it', async () => {
    const { host, engine } = await fakeHost()
    const { promise: gate, resolve: release } = deferred<void>()
    engine.gate = gate
    const running = host.codes(fakeCodes('a', [1], ['x']))
    await engine.reaches('run a 1')
    const unloaded = host.unloadSae('x')
    expect(keys(host.status().saes)).toEqual(['x'])
    release()
    await running
    await unloaded
    expect(host.status().saes).toEqual([])
    expect(engine.loaded).toEqual(['a'])
    await host.close()
  })

  test('is loaded again after the worker died', async () => {
    const { host, engine, kill } = await fakeHost()
    await host.codes(fakeCodes('a', [1], ['x']))
    engine.gate = new Promise(() => undefined)
    const interrupted = host.codes(fakeCodes('a', [1], ['x']))
    await engine.reaches('run a 1', 2)
    kill('it was killed')
    await expect(interrupted).rejects.toMatchObject({ code: 'WORKER_DIED' })
    engine.gate = Promise.resolve()
    await expect(host.codes(fakeCodes('a', [1], ['x']))).resolves.toBeDefined()
    expect(engine.journal.filter((line) => line === 'load sae x')).toHaveLength(2)
    await host.close()
  })
})

describe('requests for codes', () => {
  test('share a run where they read the same SAEs at the same positions, and no other', async () => {
    const { host, engine } = await fakeHost({ memoryBytes: 2000 })
    const { promise: gate, resolve: release } = deferred<void>()
    engine.gate = gate
    const first = host.run(fakeRun('a', [0]))
    await engine.reaches('run a 1')
    const waiting = [
      host.codes(fakeCodes('a', [1], ['x'], [0])),
      host.codes(fakeCodes('a', [1], ['x'], [1])),
      host.codes(fakeCodes('a', [1, 2], ['x'], [0])),
      host.codes(fakeCodes('a', [1], ['x', 'y'], [0])),
      host.run(fakeRun('a', [1])),
    ]
    release()
    await Promise.all([first, ...waiting])
    expect(engine.journal.filter((line) => line.startsWith('run'))).toEqual(['run a 1', 'run a 1+2', 'run a 1', 'run a 1', 'run a 1'])
    await host.close()
  })
})
