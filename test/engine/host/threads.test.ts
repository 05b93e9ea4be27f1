/** The real threads: how they start from sources, what crosses, and how their deaths look from outside. */

import { Worker } from 'node:worker_threads'
import sharp from 'sharp'
import { afterEach, describe, expect, test } from 'vitest'
import type { ImageWorker } from '../../../src/engine/host/image-pool.js'
import { buffersOf, Remote } from '../../../src/engine/host/remote.js'
import { openThread, threadChannel } from '../../../src/engine/host/thread-channel.js'
import type { Preprocessing } from '../../../src/engine/image/preprocessing.js'

const how: Preprocessing = {
  resize: { kind: 'shortestEdge', size: 8 },
  resample: 'bicubic',
  crop: { height: 8, width: 8 },
  rescale: 1 / 255,
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5],
  mode: 'RGB',
}

describe('an image worker', () => {
  const opened: Remote<ImageWorker>[] = []
  const deaths: string[] = []
  const open = () => {
    const remote = new Remote<ImageWorker>(openThread('image-worker'), { onEnd: (reason) => deaths.push(reason) })
    opened.push(remote)
    return remote
  }
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((remote) => remote.terminate()))
  })

  test('answers from its thread: a picture comes back in shared memory, a refusal with its code and details', async () => {
    const remote = open()
    const png = await sharp({ create: { width: 12, height: 10, channels: 3, background: '#ff0000' } })
      .png()
      .toBuffer()
    const picture = await remote.call('prepare', [new Uint8Array(png), how, { maxPixels: 1000 }])
    expect(picture.shape).toEqual([3, 8, 8])
    expect([picture.data[0], picture.data[64]]).toEqual([1, -1])
    expect(picture.data.buffer).toBeInstanceOf(SharedArrayBuffer)
    await expect(remote.call('inspect', [new Uint8Array(png), { maxPixels: 100 }])).rejects.toThrow(
      expect.objectContaining({ code: 'IMAGE_TOO_LARGE', details: { width: 12, height: 10, limit: 100 } }),
    )
    expect(await remote.call('inspect', [new Uint8Array(png), { maxPixels: 1000 }])).toMatchObject({ format: 'png', width: 12, height: 10 })
    const drawing = { kind: 'thumbnail', file: new Uint8Array(png), size: 6, format: 'png' } as const
    const small = await remote.call('draw', [drawing, { maxPixels: 1000 }])
    expect(await sharp(small).metadata()).toMatchObject({ format: 'png', width: 6, height: 5 })
  })

  test('that is ended fails the calls in flight and all later ones, with the reason', async () => {
    const remote = open()
    const inFlight = remote.call('inspect', [new Uint8Array(4), { maxPixels: 1 }])
    await Promise.all([remote.terminate(), expect(inFlight).rejects.toThrow('it was ended')])
    await expect(remote.call('inspect', [new Uint8Array(4), { maxPixels: 1 }])).rejects.toThrow(
      expect.objectContaining({ code: 'WORKER_DIED' }),
    )
    expect(deaths.at(-1)).toBe('it was ended')
  })
})

test.each([
  ['process.exit(3)', 'its thread ended with code 3'],
  ['throw new Error("the device is gone")', 'the device is gone'],
  ['setTimeout(() => { throw "a string" })', 'a string'],
  ['const all = []; for (;;) all.push(new Array(1e5).fill({}).map(() => ({})))', 'it ran out of memory'],
])('a thread that runs `%s` ends with a reason', async (source, reason) => {
  const worker = new Worker(source, { eval: true, resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4 } })
  expect(await threadChannel(worker).ended).toBe(reason)
})

test('only buffers that belong to a message are moved, each once', () => {
  const buffer = new ArrayBuffer(16)
  const shared = new Float32Array(new SharedArrayBuffer(4))
  const message = { a: new Float32Array(buffer, 0, 2), b: [{ data: new Float32Array(buffer, 8, 2) }, shared], c: null, d: 'text' }
  expect([...buffersOf(message)]).toEqual([buffer])
})
