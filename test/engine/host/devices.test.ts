/** Several devices as one host, on fake engines. */

import { describe, expect, test } from 'vitest'
import { deferred } from '../../../src/engine/host/deferred.js'
import type { EngineHostOptions } from '../../../src/engine/host/engine-host.js'
import { FakeEngine, fakeCodes, fakeRun } from './fake-engine.js'
import { fakeHost } from './fake-host.js'

const code = (expected: string) => expect.objectContaining({ code: expected })
const source = (key: string) => ({ key, folder: `/${key}`, processing: [] })
const sae = (key: string) => ({ key, folder: `/${key}`, overrides: {} })

/** Room for two models of 400 bytes on each of two devices, and as much again for pictures and caches as there is for a third. */
const twoDevices = (options: Partial<EngineHostOptions> = {}) => fakeHost({ devices: ['fake', 'fake'], memoryBytes: 2400, ...options })

const modelsOf = ({ host }: Awaited<ReturnType<typeof twoDevices>>) =>
  host.status().devices.map(({ models }) => models.map(({ key }) => key).sort())

describe('with two devices', () => {
  test('models go where the most memory is free, and stay there', async () => {
    const made = await twoDevices()
    for (const model of ['a', 'b', 'c', 'd', 'a', 'b', 'c', 'd']) {
      expect((await made.host.run(fakeRun(model, [3]))).output.data[0]).toBe(6)
    }
    expect(modelsOf(made)).toEqual([
      ['a', 'c'],
      ['b', 'd'],
    ])
    expect(made.engines.map(({ journal }) => journal.filter((line) => line.startsWith('load')))).toEqual([
      ['load a', 'load c'],
      ['load b', 'load d'],
    ])
  })

  test('requests for a model that is on its way go where it will be, and share their runs there', async () => {
    const made = await twoDevices()
    await Promise.all(Array.from({ length: 8 }, (_, index) => made.host.run(fakeRun('a', [index]))))
    expect(modelsOf(made)).toEqual([['a'], []])
    expect(made.host.status()).toMatchObject({ runs: { requests: 8, rows: 8 }, models: [{ key: 'a', bytes: 400 }] })
  })

  test('different models compute at the same time', async () => {
    const { host, engines } = await twoDevices()
    const { promise: gate, resolve: release } = deferred<void>()
    for (const engine of engines) engine.gate = gate
    const both = [host.run(fakeRun('a', [1])), host.run(fakeRun('b', [1]))]
    await Promise.all([engines[0]!.reaches('run a'), engines[1]!.reaches('run b')])
    release()
    await Promise.all(both)
  })

  test('a model gets a second place when those who wait fill a run, and another device is idle and has the room', async () => {
    const made = await twoDevices({ maxBatch: 2 })
    const { host, engines } = made
    const { promise: gate, resolve: release } = deferred<void>()
    for (const engine of engines) engine.gate = gate
    const running = [host.run(fakeRun('a', [0]))]
    await engines[0]!.reaches('run a')
    running.push(host.run(fakeRun('a', [1])), host.run(fakeRun('a', [2])))
    expect(host.status().devices.map(({ queueLength }) => queueLength)).toEqual([2, 0])
    running.push(host.run(fakeRun('a', [3])))
    await engines[1]!.reaches('run a')
    expect(modelsOf(made)).toEqual([['a'], ['a']])
    expect(host.status().models).toEqual([{ key: 'a', bytes: 800, inUse: true }])
    release()
    expect((await Promise.all(running)).map(({ output }) => output.data[0])).toEqual([0, 2, 4, 6])
  })

  test('but never where another model would have to leave for it', async () => {
    const made = await twoDevices({ maxBatch: 1 })
    const { host, engines } = made
    for (const model of ['a', 'b', 'c', 'd']) await host.run(fakeRun(model, [1]))
    const { promise: gate, resolve: release } = deferred<void>()
    for (const engine of engines) engine.gate = gate
    const running = Array.from({ length: 5 }, () => host.run(fakeRun('a', [1])))
    release()
    await Promise.all(running)
    expect(modelsOf(made)).toEqual([
      ['a', 'c'],
      ['b', 'd'],
    ])
  })

  test('SAEs come to the model that they read, and what reads them alone goes where they are', async () => {
    const { host, engines } = await twoDevices()
    await host.load(source('a'))
    await host.codes(fakeCodes('b', [1], ['x']))
    expect(host.status().devices.map(({ saes }) => saes.map(({ key }) => key))).toEqual([[], ['x']])
    await host.decoderRows({ sae: sae('x'), latents: [2] })
    expect(engines[1]!.journal).toContain('rows x 2')
    await host.decoderRows({ sae: sae('y'), latents: [1] }) // nowhere yet: to the emptier one
    expect(engines[0]!.journal).toContain('rows y 1')
  })

  test('models and SAEs are dropped wherever they are', async () => {
    const { host, engines } = await twoDevices({ maxBatch: 1 })
    const { promise: gate, resolve: release } = deferred<void>()
    for (const engine of engines) engine.gate = gate
    const running = Array.from({ length: 4 }, () => host.codes(fakeCodes('a', [1], ['x'])))
    await Promise.all(engines.map((engine) => engine.reaches('run a')))
    const dropped = [host.unload('a'), host.unloadSae('x')]
    release()
    await Promise.all([...running, ...dropped])
    expect(engines.map(({ loaded }) => loaded)).toEqual([[], []])
    expect(host.status()).toMatchObject({ models: [], saes: [] })
  })

  test('a model that fits nowhere is refused, and one that is broken is refused as on one device', async () => {
    const { host, engines } = await twoDevices()
    for (const engine of engines) engine.modelBytes.set('huge', 5000)
    await expect(host.run(fakeRun('huge', [1]))).rejects.toThrow('Model "huge"')
    const broken = { ...fakeRun('a', [1]), model: { ...source('a'), folder: 'missing' } }
    await expect(host.run(broken)).rejects.toThrow(code('FILE_INVALID'))
    expect(host.status().memory.usedBytes).toBe(0)
  })
})

describe('when one of two devices dies', () => {
  const policy = { maxDeaths: 1, windowMs: 60_000, cooldownMs: 60_000, backoffMs: 0 }

  test('its models come back on the other one, and nobody else notices', async () => {
    const made = await twoDevices({ restart: policy })
    const { host, engines, events, kill } = made
    await host.run(fakeRun('a', [1]))
    await host.run(fakeRun('b', [1]))
    kill('the device is lost')
    expect((await host.run(fakeRun('b', [2]))).output.data[0]).toBe(4)
    expect((await host.run(fakeRun('a', [2]))).output.data[0]).toBe(4)
    expect(modelsOf(made)).toEqual([[], ['a', 'b']])
    expect(engines[1]!.journal.filter((line) => line.startsWith('load'))).toEqual(['load b', 'load a'])
    expect(host.status()).toMatchObject({ state: 'ready', devices: [{ state: 'unhealthy' }, { state: 'ready' }] })
    expect(events).toContainEqual({ kind: 'worker-died', device: 'fake', reason: 'the device is lost' })
  })

  test('the run in flight fails, and what waited for the dead one is served by the other', async () => {
    const { host, engines, kill } = await twoDevices({ restart: policy })
    const { promise: gate, resolve: release } = deferred<void>()
    engines[0]!.gate = gate
    const inFlight = host.run(fakeRun('a', [1]))
    await engines[0]!.reaches('run a')
    const waiting = [host.run(fakeRun('a', [2])), host.decoderRows({ sae: sae('x'), latents: [1] }), host.load(source('a'))]
    kill('it ran out of memory')
    await expect(inFlight).rejects.toThrow(code('WORKER_DIED'))
    release()
    await Promise.all(waiting)
    expect(engines[1]!.journal).toContain('run a 1')
  })

  test('it takes new models again once it is back', async () => {
    const made = await twoDevices({ restart: { ...policy, maxDeaths: 3 } })
    await made.host.run(fakeRun('a', [1]))
    const restarted = made.engines[0]!.reaches('start', 2)
    made.kill('exit 1')
    await restarted
    await made.host.run(fakeRun('b', [1]))
    await made.host.run(fakeRun('c', [1]))
    expect(modelsOf(made).map(({ length }) => length)).toEqual([1, 1])
    expect(made.host.status()).toMatchObject({ restarts: 1, devices: [{ restarts: 1 }, { restarts: 0 }] })
  })

  test('and the other too, requests are told so', async () => {
    const { host, kill } = await twoDevices({ restart: policy })
    await host.run(fakeRun('a', [1]))
    kill('exit 1', 0)
    kill('exit 2', 1)
    await new Promise(setImmediate) // until the host has noticed
    await expect(host.run(fakeRun('a', [1]))).rejects.toThrow(code('ENGINE_UNHEALTHY'))
    expect(host.status().state).toBe('unhealthy')
  })
})

describe('the memory of several devices', () => {
  test('is the budget, divided: a quarter is for pictures and caches', async () => {
    const { host } = await twoDevices()
    await host.load(source('a'))
    const run = await host.run(fakeRun('b', [1]))
    const cache = host.keep({ x: run.output }, { modelId: 'b', tower: 'vision' })
    expect(host.cached(cache)).toBeDefined()
    const { memory, devices } = host.status()
    expect(devices.map(({ memory }) => memory)).toEqual([
      { budgetBytes: 900, usedBytes: 400 },
      { budgetBytes: 900, usedBytes: 410 },
    ])
    expect(memory).toMatchObject({ budgetBytes: 2400, usedBytes: 814, byKind: { model: 800, program: 10, cache: 4 } })
  })

  test('of a single one is all of it', async () => {
    const { host } = await fakeHost()
    await host.run(fakeRun('a', [1]))
    expect(host.status()).toMatchObject({ memory: { budgetBytes: 1000 }, devices: [{ memory: { budgetBytes: 1000, usedBytes: 410 } }] })
  })
})

test('requests are merged to what suits the device, unless it is said otherwise', async () => {
  const rowsOfRuns = async (device: string, options: Partial<EngineHostOptions> = {}) => {
    const { host, engine } = await fakeHost({ devices: [device], memoryBytes: 10_000, ...options })
    const { promise: gate, resolve: release } = deferred<void>()
    engine.gate = gate
    const running = [host.run(fakeRun('a', [0]))]
    await engine.reaches('run a 1')
    for (let index = 0; index < 40; index++) running.push(host.run(fakeRun('a', [index])))
    release()
    await Promise.all(running)
    return engine.journal.filter((line) => line.startsWith('run')).map((line) => line.split('+').length)
  }
  expect(await rowsOfRuns('cpu')).toEqual([1, 16, 16, 8])
  expect(await rowsOfRuns('cuda:1')).toEqual([1, 40])
  expect(await rowsOfRuns('cuda:1', { maxBatch: 20 })).toEqual([1, 20, 20])
})

test('every device that does not start is named', async () => {
  const engines = [new FakeEngine(), new FakeEngine(), new FakeEngine()] as const
  engines[0].refusal = 'its driver is not installed'
  engines[2].refusal = 'there is one GPU only'
  await expect(fakeHost({ devices: ['cuda:0', 'cpu', 'cuda:1'] }, engines)).rejects.toMatchObject({
    code: 'DEVICE_UNAVAILABLE',
    message:
      'Device "cuda:0,cuda:1" is not available: cuda:0: its driver is not installed; cuda:1: there is one GPU only. Available here: "cpu".',
  })
})
