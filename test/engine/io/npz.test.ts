import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bytesSource } from '../../../src/engine/io/byte-source.js'
import { joinChunks, type NamedTensors } from '../../../src/engine/io/named-tensors.js'
import { npyChunks, readNpy } from '../../../src/engine/io/npy.js'
import { npzStream, readNpz } from '../../../src/engine/io/npz.js'
import { readZipDirectory, readZipEntry } from '../../../src/engine/io/zip-reader.js'
import { float32 } from '../../../src/engine/tensor.js'
import { arbitraryTensor, arbitraryTensors } from './arbitrary-tensors.js'
import { expectedTensors, expectTensor, fixtureBytes, fixtureSource } from './fixtures.js'

const npzChunks = (tensors: NamedTensors) => [...npzStream(tensors).chunks]

describe('reading', () => {
  test.each([
    ['arrays.npz', 'arrays.npz'],
    ['compressed.npz', 'arrays.npz'],
    ['foreign.npz', 'foreign.npz'],
  ])('%s gives what numpy wrote, in the order of the engine', async (file, expected) => {
    const arrays = await readNpz(fixtureSource(file), file)
    expect([...arrays.keys()]).toEqual(Object.keys(expectedTensors(expected)))
    for (const [name, wanted] of Object.entries(expectedTensors(expected))) expectTensor(arrays.get(name)!, wanted, name)
  })

  test('arrays of Python objects are refused as code', async () => {
    await expect(readNpz(fixtureSource('objects.npz'), 'objects.npz')).rejects.toMatchObject({
      code: 'FILE_UNSAFE',
      message: expect.stringContaining('objects.npz/objects.npy is refused: it is an array of Python objects'),
    })
  })

  test.each([
    ['records.npz', /array of records/],
    ['text.npz', /numpy type "<U1"/],
    ['torch-wrapped.pt', /data.pkl", which is not a .npy file/],
  ])('%s is refused', async (file, message) => {
    await expect(readNpz(fixtureSource(file), file)).rejects.toMatchObject({
      code: 'FILE_INVALID',
      message: expect.stringMatching(message),
    })
  })

  test('more than is allowed is refused before it is read', async () => {
    await expect(readNpz(fixtureSource('arrays.npz'), 'arrays.npz', { maxBytes: 1000 })).rejects.toThrow(/at most 1000 are read/)
  })
})

describe('writing', () => {
  test('every member has the very bytes that numpy.savez gives it', async () => {
    const source = fixtureSource('arrays.npz')
    const numpys = await readZipDirectory(source, 'arrays.npz')
    const ours = bytesSource(joinChunks(npzChunks(await readNpz(source, 'arrays.npz'))))
    const written = await readZipDirectory(ours, 'ours')
    expect([...written.entries.keys()]).toEqual([...numpys.entries.keys()])
    for (const [name, entry] of numpys.entries) {
      const bytes = await readZipEntry(ours, written, { entry: written.entries.get(name)!, maxBytes: 1e6 })
      expect(bytes, name).toEqual(await readZipEntry(source, numpys, { entry, maxBytes: 1e6 }))
      expect(written.entries.get(name)!.crc, name).toBe(entry.crc)
    }
  })

  test('copies no tensor, and is the same every time', () => {
    const tensor = float32([2], [1, 2])
    expect(npzChunks([['a', tensor]]).some((chunk) => chunk.buffer === tensor.data.buffer)).toBe(true)
    expect(joinChunks(npzChunks([['a', tensor]]))).toEqual(joinChunks(npzChunks([['a', tensor]])))
  })

  test('there and back changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryTensors, async (tensors) => {
        expect(await readNpz(bytesSource(joinChunks(npzChunks(tensors))), 'file')).toEqual(tensors)
      }),
    )
    fc.assert(
      fc.property(arbitraryTensor, (tensor) => {
        expect(readNpy(joinChunks(npyChunks(tensor)), 'file')).toEqual(tensor)
      }),
    )
  })
})

describe('a damaged .npy is refused', () => {
  const good = joinChunks(npyChunks(float32([2, 3], [1, 2, 3, 4, 5, 6])))
  const withHeader = (header: string, data = new Uint8Array(24)) =>
    new Uint8Array(
      Buffer.concat([
        Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]),
        Buffer.from(header),
        data,
      ]),
    )
  const cases: [string, Uint8Array, RegExp][] = [
    ['another format', fixtureBytes('arrays.npz'), /not a .npy file/],
    ['a future version', Uint8Array.from(good, (byte, i) => (i === 6 ? 9 : byte)), /version 9/],
    ['a header beyond the end', good.subarray(0, 40), /ends within the .npy header/],
    ['data cut short', good.subarray(0, -1), /23 bytes of data; shape \[2, 3\] of float32 needs 24/],
    ['data too long', new Uint8Array([...good, 0]), /25 bytes of data/],
    ['a header that is no dictionary', withHeader('import os'), /not one that numpy writes/],
    ['a shape that is an expression', withHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (2*3,)}"), /not one that numpy writes/],
    [
      'a shape beyond every file',
      withHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999, 3)}"),
      /impossibly large/,
    ],
    [
      'a shape of a thousand axes',
      withHeader(`{'descr': '<f4', 'fortran_order': False, 'shape': (${'1,'.repeat(1000)})}`),
      /impossibly large/,
    ],
    ['numbers without a counterpart', withHeader("{'descr': '<u8', 'fortran_order': False, 'shape': (3,)}"), /uint64/],
  ]
  test.each(cases)('%s', (_, bytes, message) => {
    expect(() => readNpy(bytes, 'x.npy')).toThrow(message)
    expect(() => readNpy(bytes, 'x.npy')).toThrow('x.npy')
  })
})
