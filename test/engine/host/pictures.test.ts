import { describe, expect, test } from 'vitest'
import { EngineError } from '../../../src/engine/errors.js'
import { deferred } from '../../../src/engine/host/deferred.js'
import type { ImageWorker } from '../../../src/engine/host/image-pool.js'
import type { Drawing } from '../../../src/engine/image/draw.js'
import type { Preprocessing } from '../../../src/engine/image/preprocessing.js'
import { float32 } from '../../../src/engine/tensor.js'
import { fakeHost } from './fake-host.js'

const code = (expected: string) => expect.objectContaining({ code: expected })
const how: Preprocessing = { resize: null, resample: 'bicubic', crop: null, rescale: 1, mean: [0], std: [1], mode: 'L' }
const image = (id: string, byte = 1) => ({ id, read: () => Uint8Array.of(byte) })

/** Prepares a picture of one pixel, its first byte; holds each until the gate opens. */
function fakeImages() {
  const prepared: number[] = []
  const started: (() => void)[] = []
  const worker = {
    prepared,
    gate: Promise.resolve() as Promise<void>,
    /** Resolves when the n-th preparation has begun. */
    begins: (n: number) => (prepared.length >= n ? Promise.resolve() : new Promise<void>((resolve) => (started[n] = resolve))),
    async prepare(bytes: Uint8Array) {
      prepared.push(bytes[0]!)
      started[prepared.length]?.()
      await worker.gate
      if (bytes[0] === 0) throw new EngineError('IMAGE_INVALID', { problem: 'it is empty' })
      return float32([1, 1, 1], [bytes[0]!])
    },
    async inspect() {
      return { format: 'png' as const, width: 1, height: 1 }
    },
    /** The first byte of the file, and how many bytes it came with. */
    async draw(drawing: Drawing) {
      if (drawing.kind !== 'thumbnail') throw new EngineError('IMAGE_INVALID', { problem: 'it is no thumbnail' })
      return Uint8Array.of(drawing.file[0]!, drawing.file.buffer.byteLength)
    },
  } satisfies ImageWorker & Record<string, unknown>
  return worker
}

async function pictureHost(options: Parameters<typeof fakeHost>[0] = {}) {
  const images = fakeImages()
  return { images, ...(await fakeHost({ images, imageThreads: 1, ...options })) }
}

describe('preparing pictures', () => {
  test('is done once for the same picture and preprocessing, also when asked for at the same time', async () => {
    const { host, images } = await pictureHost()
    const both = await Promise.all([host.preprocess(image('a'), how), host.preprocess(image('a'), how)])
    expect(both[0]).toBe(both[1])
    expect(await host.preprocess(image('a'), how)).toBe(both[0])
    await host.preprocess(image('a'), { ...how, resample: 'box' })
    expect(images.prepared).toHaveLength(2)
    expect(host.status().pictures).toMatchObject({ count: 2, hits: 2, misses: 2, waiting: 0 })
    expect(host.status().memory.byKind.picture).toBe(8)
  })

  test('a picture that is kept is not read again', async () => {
    const { host } = await pictureHost()
    let reads = 0
    const file = { id: 'a', read: async () => Uint8Array.of(++reads) }
    const first = await host.preprocess(file, how)
    expect(await host.preprocess(file, how)).toBe(first)
    expect(reads).toBe(1)
    const lost = { id: 'b', read: () => Promise.reject(new Error('it is gone')) }
    await expect(host.preprocess(lost, how)).rejects.toThrow('it is gone')
  })

  test('that fails fails for all who wait, and is tried anew for the next', async () => {
    const { host, images } = await pictureHost()
    const both = [host.preprocess(image('a', 0), how), host.preprocess(image('a', 0), how)]
    for (const one of both) await expect(one).rejects.toThrow('it is empty')
    await expect(host.preprocess(image('a', 0), how)).rejects.toThrow(code('IMAGE_INVALID'))
    expect(images.prepared).toHaveLength(2)
  })

  test('goes on for the others when one gives up, and is called off when all have', async () => {
    const { host, images } = await pictureHost()
    const { promise: gate, resolve: open } = deferred<void>()
    images.gate = gate
    const running = host.preprocess(image('running'), how)
    await images.begins(1)
    const [one, other] = [new AbortController(), new AbortController()]
    const first = host.preprocess(image('shared', 2), how, one.signal)
    const second = host.preprocess(image('shared', 2), how)
    const alone = host.preprocess(image('alone', 3), how, other.signal)
    one.abort()
    other.abort()
    await expect(first).rejects.toThrow(code('CANCELLED'))
    await expect(alone).rejects.toThrow(code('CANCELLED'))
    expect(host.status().pictures.waiting).toBe(1)
    open()
    await Promise.all([running, second])
    expect(images.prepared).toEqual([1, 2])
  })

  test('a queue that is full refuses at once', async () => {
    const { host, images } = await pictureHost({ imageQueueLimit: 1 })
    const { promise: gate, resolve: open } = deferred<void>()
    images.gate = gate
    const running = host.preprocess(image('a'), how)
    await images.begins(1)
    const waiting = host.preprocess(image('b', 2), how)
    await expect(host.preprocess(image('c', 3), how)).rejects.toThrow(code('QUEUE_FULL'))
    open()
    await Promise.all([running, waiting])
  })

  test('a thread that dies takes its picture with it, and no other', async () => {
    const { host, images, imageChannels } = await pictureHost()
    images.gate = deferred<void>().promise
    const doomed = host.preprocess(image('a'), how)
    await images.begins(1)
    const waiting = host.preprocess(image('b', 2), how)
    images.gate = Promise.resolve()
    imageChannels[0]!.cut('exit 1')
    await expect(doomed).rejects.toThrow(code('WORKER_DIED'))
    expect((await waiting).data[0]).toBe(2)
    expect(imageChannels).toHaveLength(2)
  })

  test('the caller keeps its bytes, of which only the view is sent', async () => {
    const { host } = await pictureHost()
    const page = new Uint8Array(1000).fill(7)
    const view = page.subarray(10, 11)
    expect((await host.preprocess({ id: 'a', read: () => view }, how)).data[0]).toBe(7)
    expect(view.byteLength).toBe(1)
    expect(await host.inspectImage(view)).toEqual({ format: 'png', width: 1, height: 1 })
    expect([...(await host.draw({ kind: 'thumbnail', file: view, size: 1, format: 'png' }))]).toEqual([7, 1])
    expect(page[10]).toBe(7)
  })

  test('ends with the host', async () => {
    const { host, images } = await pictureHost()
    images.gate = deferred<void>().promise
    const running = host.preprocess(image('a'), how)
    await images.begins(1)
    const waiting = host.preprocess(image('b'), how)
    await host.close()
    await expect(waiting).rejects.toThrow(code('CANCELLED'))
    await expect(running).rejects.toThrow(code('CANCELLED'))
  })
})
