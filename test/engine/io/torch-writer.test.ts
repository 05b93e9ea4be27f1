import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bytesSource } from '../../../src/engine/io/byte-source.js'
import { tensorBytes } from '../../../src/engine/io/element-types.js'
import { joinChunks } from '../../../src/engine/io/named-tensors.js'
import { torchChunks } from '../../../src/engine/io/torch-writer.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
import { locateEntry, readZipDirectory } from '../../../src/engine/io/zip-reader.js'
import { allocate, type DType, float32, int64, type Tensor } from '../../../src/engine/tensor.js'
import { arbitraryTensors } from './arbitrary-tensors.js'

const written = (tensors: Iterable<readonly [string, Tensor]>) => bytesSource(joinChunks(torchChunks(tensors)))

/** One of each type, whose bytes count up from the number of the type. */
const ofEachType = (['float64', 'float32', 'int64', 'int32', 'uint8', 'bool'] as const).map((dtype, index) => {
  const data = allocate<DType>(dtype, 6)
  const bytes = new Uint8Array(data.buffer)
  for (let i = 0; i < bytes.length; i++) bytes[i] = dtype === 'bool' ? i % 2 : (index + i) % 64
  return [`${dtype}.weight`, { dtype, shape: [2, 3], data }] as const
})

describe('a torch checkpoint that is written', () => {
  test('is read back to the same names, in order, shapes and bits', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryTensors, async (tensors) => {
        fc.pre(tensors.size > 0) // a file without weights is refused
        const opened = await openWeights(written(tensors), 'model.pt')
        expect([...opened.entries.keys()]).toEqual([...tensors.keys()])
        for (const [name, { dtype, shape, data }] of tensors) {
          const read = await opened.read(name)
          // a double that is no float32 is rounded by the reader
          const expected = dtype === 'float64' && read.dtype === 'float32' ? Float32Array.from(data as Float64Array) : data
          expect({ shape: read.shape, data: read.data }).toEqual({ shape, data: expected })
        }
      }),
      { numRuns: 60 },
    )
  })

  test('is, byte for byte, what PyTorch 2.13 was seen to load with weights_only', () => {
    const bytes = joinChunks(
      torchChunks([
        ...ofEachType,
        ['scalar', float32([], [2.5])],
        ['empty', int64([0, 3], [])],
        ['long', float32([70_000], new Float32Array(70_000))],
      ]),
    )
    expect(createHash('sha256').update(bytes).digest('hex')).toBe('c8978389037f329472f1bde0b0f6c7d82521e3a053b29ceb8e2b4b5fb141f249')
  })

  test('has every storage at a multiple of 64 bytes, so that torch can map it', async () => {
    const source = written(ofEachType)
    const directory = await readZipDirectory(source, 'model.pt')
    for (const entry of directory.entries.values()) expect((await locateEntry(source, directory, entry)) % 64, entry.name).toBe(0)
  })

  test('copies no tensor', () => {
    const chunks = torchChunks(ofEachType)
    for (const [, tensor] of ofEachType) {
      const { buffer, byteOffset } = tensorBytes(tensor)
      expect(chunks.some((chunk) => chunk.buffer === buffer && chunk.byteOffset === byteOffset)).toBe(true)
    }
  })

  test('holds a tensor with two names once', async () => {
    const tied = float32([100], new Float32Array(100).fill(3))
    const [one, two] = [
      joinChunks(torchChunks([['a', tied]])),
      joinChunks(
        torchChunks([
          ['a', tied],
          ['b', { ...tied, shape: [10, 10] }],
        ]),
      ),
    ]
    expect(two.length - one.length).toBeLessThan(300)
    expect(await (await openWeights(bytesSource(two), 'model.pt')).read('b')).toEqual({ ...tied, shape: [10, 10] })
  })

  test('refuses two tensors of one name', () => {
    expect(() =>
      torchChunks([
        ['a', float32([], [1])],
        ['a', float32([], [2])],
      ]),
    ).toThrow(/two tensors.*"a"/)
  })
})
