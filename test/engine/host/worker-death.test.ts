import { describe, expect, test } from 'vitest'
import { deferred } from '../../../src/engine/host/deferred.js'
import { fakeRun } from './fake-engine.js'
import { fakeHost } from './fake-host.js'

const code = (expected: string) => expect.objectContaining({ code: expected })
const policy = { maxDeaths: 3, windowMs: 60_000, cooldownMs: 60_000, backoffMs: 0 }

describe('when the worker dies', () => {
  test('the run in flight fails with the reason, what waits is served by the next worker, and models come back by themselves', async () => {
    const { host, engine, events, kill } = await fakeHost()
    const { promise: gate, resolve: release } = deferred<void>()
    engine.gate = gate
    const inFlight = host.run(fakeRun('a', [1]))
    await engine.reaches('run a 1')
    const waiting = [host.run(fakeRun('a', [2])), host.run(fakeRun('a', [3]))]
    kill('it ran out of memory')
    expect(host.status().state).toBe('ready') // nobody has told the host yet
    await expect(inFlight).rejects.toThrow(code('WORKER_DIED'))
    await expect(inFlight).rejects.toThrow('it ran out of memory')
    release()
    expect((await Promise.all(waiting)).map(({ output }) => output.data[0])).toEqual([4, 6])
    expect(engine.journal.filter((line) => line === 'load a')).toHaveLength(2)
    expect(host.status()).toMatchObject({ state: 'ready', restarts: 1 })
    expect(events).toContainEqual({ kind: 'worker-died', device: 'fake', reason: 'it ran out of memory' })
  })

  test('while idle it is replaced, and its memory is counted as free', async () => {
    const { host, engine, kill } = await fakeHost()
    await host.run(fakeRun('a', [1]))
    const cache = host.keep({ x: (await host.run(fakeRun('a', [1]))).output }, { modelId: 'a', tower: 'vision' })
    expect(host.status().memory.usedBytes).toBe(400 + 10 + 4) // model, program, cache
    const restarted = engine.reaches('start')
    kill('exit 1')
    await restarted
    await expect(host.inspect({ key: 'b', folder: '/b', processing: [] })).resolves.toBeDefined()
    expect(host.status()).toMatchObject({ state: 'ready', models: [], programs: { count: 0 }, memory: { usedBytes: 4 } })
    expect(host.cached(cache)).toBeDefined()
  })

  test('what its device held is forgotten, until the next worker has answered', async () => {
    const { host, engine, kill } = await fakeHost()
    const ofDevice = () => host.status().devices[0]!.deviceMemory
    expect(ofDevice()).toBeUndefined()
    engine.deviceMemory = { budgetBytes: 1000, usedBytes: 400, nPagedOut: 2 }
    await host.run(fakeRun('a', [1]))
    expect(ofDevice()).toEqual(engine.deviceMemory)
    engine.deviceMemory = undefined
    const restarted = engine.reaches('start', 2)
    kill('exit 1')
    await restarted
    expect(ofDevice()).toBeUndefined()
  })

  test('calls that wait for it fail too, whatever they are', async () => {
    const { host, kill } = await fakeHost()
    const inspecting = host.inspect({ key: 'a', folder: '/a', processing: [] })
    await Promise.resolve()
    kill('exit 1')
    await expect(inspecting).rejects.toThrow(code('WORKER_DIED'))
  })

  test('again and again, it is left alone, and requests are told so', async () => {
    const { host, engine, kill } = await fakeHost({ restart: policy })
    engine.gate = deferred<void>().promise
    for (let death = 1; death <= policy.maxDeaths; death++) {
      const doomed = host.run(fakeRun('a', [1]))
      await engine.reaches('run a 1', death)
      kill('segmentation fault')
      await expect(doomed).rejects.toThrow(code('WORKER_DIED'))
    }
    expect(host.status()).toMatchObject({ state: 'unhealthy', restarts: 2 })
    await expect(host.run(fakeRun('a', [1]))).rejects.toThrow(/stopped 3 times .* \(segmentation fault\)/)
    await expect(host.load({ key: 'a', folder: '/a', processing: [] })).rejects.toThrow(code('ENGINE_UNHEALTHY'))
  })

  test('after the pause it is started once more, without being asked', async () => {
    const { host, engine, kill } = await fakeHost({ restart: { ...policy, maxDeaths: 1, cooldownMs: 0 } })
    await host.run(fakeRun('a', [1]))
    kill('exit 1')
    await engine.reaches('start', 2)
    expect((await host.run(fakeRun('a', [4]))).output.data[0]).toBe(8)
    expect(host.status()).toMatchObject({ state: 'ready', restarts: 1 })
  })

  test('a host that is closed starts nothing any more', async () => {
    const { host, engine, kill } = await fakeHost()
    await host.close()
    kill('exit 1')
    await Promise.resolve()
    expect(engine.journal).toEqual(['start'])
    await expect(host.run(fakeRun('a', [1]))).rejects.toThrow(code('CANCELLED'))
    await expect(host.inspect({ key: 'a', folder: '/a', processing: [] })).rejects.toThrow(code('CANCELLED'))
  })
})
