/** The whole host on its real workers, with a real model. */

import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Channel } from '../../../src/engine/host/channel.js'
import { createEngineHost } from '../../../src/engine/host/engine-host.js'
import type { EngineHost, RunRequest } from '../../../src/engine/host/host.js'
import { openProcess } from '../../../src/engine/host/process-channel.js'
import { openThread } from '../../../src/engine/host/thread-channel.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { expectedOf, folderOf } from '../models/fixtures.js'

const clip = { key: 'clip', folder: folderOf('hf-clip'), processing: [] }
const resid = 'blocks.1.hook_resid_post'

let expected: Awaited<ReturnType<typeof expectedOf>>
let pixels: Tensor<'float32'>

beforeAll(async () => {
  expected = await expectedOf('hf-clip')
  pixels = expected.get('vision/pixels') as Tensor<'float32'>
})

const expectedHookPoints = () => [...expected.keys()].filter((name) => /^vision\/blocks.*hook_/.test(name)).map((name) => name.slice(7))

describe.each([
  ['a thread', () => openThread('engine-worker')],
  ['a process', () => openProcess('engine-worker', 'refract test')],
] as const)('a host whose engine is in %s', (_, openWorker) => {
  let host: EngineHost
  let engineWorker: Channel
  beforeAll(async () => {
    const openEngine = () => {
      engineWorker = openWorker()
      return engineWorker
    }
    const transport = { openEngine, openImages: () => openThread('image-worker') }
    host = await createEngineHost({ devices: ['cpu'], memoryBytes: 64 * 2 ** 20, intraOpThreads: 1, imageThreads: 1, transport })
  })
  afterAll(() => host.close())

  const run = (about: Partial<RunRequest> = {}) =>
    host.run({ model: clip, inputs: { kind: 'pixels', pixels }, read: [], edits: [], ...about })

  test('is ready, and says where it computes', () => {
    expect(host.status()).toMatchObject({ state: 'ready', backend: 'onnxruntime', device: 'cpu', restarts: 0 })
  })

  test('describes a model without loading it', async () => {
    expect((await host.inspect(clip)).layout).toBe('hf-clip')
    expect(host.status().models).toEqual([])
  })

  test("runs a picture from its bytes to the reference library's numbers, and leaves the caller's tensors alone", async () => {
    const result = await run({ read: [resid] })
    expect(result.output).toBeCloseTensor(expected.get('vision/output')!)
    expect(result.activations[resid]!).toBeCloseTensor(expected.get(`vision/${resid}`)!)
    expect(result.timings).toMatchObject({ load: expect.any(Number), compile: expect.any(Number), run: expect.any(Number) })
    expect(pixels.data.byteLength).toBeGreaterThan(0)

    const { preprocessing } = await host.inspect(clip)
    const bytes = await sharp({ create: { width: 30, height: 20, channels: 3, background: '#336699' } })
      .jpeg()
      .toBuffer()
    const picture = await host.preprocess({ id: 'a', read: () => bytes }, preprocessing)
    const one = await run({ inputs: { kind: 'pictures', pictures: [picture, picture] } })
    expect(one.output.shape).toEqual([2, 12])
    expect(picture.data.byteLength).toBe(3 * 13 * 13 * 4)
  })

  test('runs texts', async () => {
    expect((await run({ inputs: { kind: 'text', texts: ['a cat', 'a dog', 'a flag'] } })).output.shape).toEqual([3, 12])
  })

  test('requests that come together give what they give alone', async () => {
    const one = (index: number): RunRequest['inputs'] => {
      const perRow = pixels.data.length / 3
      return { kind: 'pictures', pictures: [float32([3, 13, 13], pixels.data.slice(index * perRow, (index + 1) * perRow))] }
    }
    const before = host.status().programs.compiled
    const scaled = (index: number, strength: number) =>
      run({ inputs: one(index), read: [resid], edits: [{ hookPoint: 'blocks.0.hook_attn_out', op: 'scale', strength }] })
    const alone = [await scaled(0, 2), await scaled(1, -1), await scaled(2, 0)]
    const together = await Promise.all([scaled(0, 2), scaled(1, -1), scaled(2, 0)])
    for (const [index, result] of together.entries()) {
      expect(result.output).toBeCloseTensor(alone[index]!.output)
      expect(result.activations[resid]!).toBeCloseTensor(alone[index]!.activations[resid]!)
      expect(result.timings.compile).toBe(0)
    }
    expect(host.status().programs.compiled).toBe(before + 1)
  })

  test('errors cross with their code, message and problems', async () => {
    await expect(run({ read: ['blocks.1.hook_resid_pots'] })).rejects.toMatchObject({
      code: 'HOOK_POINT_UNKNOWN',
      message: expect.stringContaining('Did you mean "blocks.1.hook_resid_post"'),
    })
    await expect(host.inspect({ ...clip, folder: '/nowhere' })).rejects.toMatchObject({ code: 'FILE_INVALID' })
    await expect(host.inspectImage(new Uint8Array(8))).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
  })

  test('while it compiles and runs, this thread stays free', async () => {
    const start = performance.now()
    let last = start
    let longestGap = 0
    let isDone = false
    const turn = () => {
      const now = performance.now()
      longestGap = Math.max(longestGap, now - last)
      last = now
      if (!isDone) setImmediate(turn)
    }
    turn()
    const structures = Array.from({ length: 12 }, (_, nth) => expectedHookPoints().slice(0, nth + 2))
    await Promise.all(structures.map((read) => run({ read })))
    isDone = true
    expect(longestGap).toBeLessThan((performance.now() - start) / 3)
  })

  test('survives the death of its worker: a clear error for what was on it, and the next request is served', async () => {
    const doomed = run()
    await engineWorker.terminate()
    await expect(doomed).rejects.toMatchObject({ code: 'WORKER_DIED' })
    expect((await run()).output).toBeCloseTensor(expected.get('vision/output')!)
    expect(host.status()).toMatchObject({ state: 'ready', restarts: 1, models: [{ key: 'clip', inUse: false }] })
  })

  test('a model is unloaded and comes back', async () => {
    await host.unload('clip')
    expect(host.status().models).toEqual([])
    expect((await run()).output).toBeCloseTensor(expected.get('vision/output')!)
  })
})

test.each([
  { devices: ['cpu', 'reference'], backend: 'onnxruntime, reference' },
  { devices: ['cpu', 'cpu'], backend: 'onnxruntime' },
] as const)('of $devices each computes models of its own, and when one dies the other takes over', async ({ devices, backend }) => {
  const engineThreads: Channel[] = []
  const two = await createEngineHost({
    devices,
    memoryBytes: 64 * 2 ** 20,
    intraOpThreads: 1,
    imageThreads: 1,
    restart: { maxDeaths: 1, windowMs: 60_000, cooldownMs: 60_000, backoffMs: 0 },
    transport: {
      openEngine: (place) => {
        engineThreads[place] = openThread('engine-worker')
        return engineThreads[place]
      },
      openImages: () => openThread('image-worker'),
    },
  })
  const runOf = (key: string) =>
    two.run({ model: { ...clip, key }, inputs: { kind: 'pixels', pixels }, read: [resid], edits: [] }).then(({ output, activations }) => {
      expect(output).toBeCloseTensor(expected.get('vision/output')!)
      expect(activations[resid]!).toBeCloseTensor(expected.get(`vision/${resid}`)!)
    })
  await runOf('one')
  await Promise.all([runOf('one'), runOf('two')])
  expect(two.status()).toMatchObject({
    state: 'ready',
    device: 'cpu, cpu',
    backend,
    devices: [
      { device: 'cpu', models: [{ key: 'one' }], runs: { count: 2 } },
      { device: 'cpu', models: [{ key: 'two' }], runs: { count: 1 } },
    ],
  })
  await engineThreads[0]!.terminate()
  await Promise.all([runOf('one'), runOf('two'), runOf('three')])
  const [dead, alive] = two.status().devices
  expect(dead).toMatchObject({ state: 'unhealthy', models: [] })
  expect(alive!.models.map(({ key }) => key).sort()).toEqual(['one', 'three', 'two'])
  await two.close()
})

test('a device that is not there is refused at the start, with those that are', async () => {
  await expect(createEngineHost({ devices: ['abacus'], memoryBytes: 1 })).rejects.toMatchObject({
    code: 'DEVICE_UNAVAILABLE',
    message: expect.stringContaining('"cpu"'),
  })
})
