import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bytesSource } from '../../../src/engine/io/byte-source.js'
import { joinChunks } from '../../../src/engine/io/named-tensors.js'
import { readSafetensor, readSafetensorsHeader, safetensorsChunks } from '../../../src/engine/io/safetensors.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { arbitraryTensors } from './arbitrary-tensors.js'
import { expectedTensors, expectTensor, fixtureBytes, fixtureSource } from './fixtures.js'

async function readAll(bytes: Uint8Array): Promise<Map<string, Tensor>> {
  const source = bytesSource(bytes)
  const header = await readSafetensorsHeader(source, 'file')
  const tensors = new Map<string, Tensor>()
  for (const name of header.entries.keys()) tensors.set(name, await readSafetensor(source, header, name))
  return tensors
}

describe('reading', () => {
  test('gives what the Python package wrote, half precision exactly, subnormals and infinities included', async () => {
    const tensors = await readAll(fixtureBytes('mixed.safetensors'))
    const { f64, ...wanted } = expectedTensors('mixed.safetensors')
    for (const [name, expected] of Object.entries(wanted)) expectTensor(tensors.get(name)!, expected, name)
    expect(tensors.get('f64')!.dtype).toBe('float64')
    expect(tensors.size).toBe(Object.keys(wanted).length + 1)
    expect(f64).toBeDefined()
  })

  test('keeps every bit of a half-precision NaN', async () => {
    const bits = Uint16Array.of(0x7e01, 0xfdab)
    const f16 = await readAll(file({ a: { dtype: 'F16', shape: [2], data_offsets: [0, 4] } }, new Uint8Array(bits.buffer)))
    expect(Array.from(new Uint32Array(f16.get('a')!.data.buffer), (word) => word.toString(16))).toEqual(['7fc02000', 'ffb56000'])
    const bf16 = await readAll(file({ a: { dtype: 'BF16', shape: [2], data_offsets: [0, 4] } }, new Uint8Array(bits.buffer)))
    expect(Array.from(new Uint32Array(bf16.get('a')!.data.buffer), (word) => word.toString(16))).toEqual(['7e010000', 'fdab0000'])
  })

  test('lists tensors without reading their data', async () => {
    const bytes = fixtureBytes('mixed.safetensors')
    const reads: number[] = []
    const source = {
      size: bytes.length,
      read: async (offset: number, length: number) => {
        reads.push(offset)
        return bytes.slice(offset, offset + length)
      },
    }
    const header = await readSafetensorsHeader(source, 'file')
    expect(reads).toEqual([0, 8])
    expect(header.entries.get('bf16')).toMatchObject({ dtype: 'bfloat16', shape: [18] })
    expect(header.metadata).toEqual(new Map([['format', 'pt']]))
  })

  test('data at odd offsets is read like any other', async () => {
    const values = Float32Array.of(1.5, -2)
    const data = new Uint8Array([7, ...new Uint8Array(values.buffer)])
    const tensors = await readAll(
      file({ odd: { dtype: 'F32', shape: [2], data_offsets: [1, 9] }, byte: { dtype: 'U8', shape: [1], data_offsets: [0, 1] } }, data),
    )
    expect(tensors.get('odd')!.data).toEqual(values)
  })

  test('a tensor named like a property of every object is a tensor like any other', async () => {
    const tensors = await readAll(textFile('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', Uint8Array.of(5)))
    expect([...tensors]).toEqual([['__proto__', { dtype: 'uint8', shape: [1], data: Uint8Array.of(5) }]])
  })

  test('an empty file of no tensors is read', async () => {
    expect(await readAll(textFile('{}      '))).toEqual(new Map())
  })
})

describe('writing', () => {
  test('puts out the same bytes as the Python package', async () => {
    const source = fixtureSource('written.safetensors')
    const header = await readSafetensorsHeader(source, 'file')
    const tensors: [string, Tensor][] = []
    for (const name of Object.keys(expectedTensors('written.safetensors'))) tensors.push([name, await readSafetensor(source, header, name)])
    expect(new Uint8Array(joinChunks(safetensorsChunks(tensors, { format: 'pt' })))).toEqual(fixtureBytes('written.safetensors'))
    expect(joinChunks(safetensorsChunks(tensors.reverse(), { format: 'pt' }))).toEqual(Buffer.from(fixtureBytes('written.safetensors')))
  })

  test('copies no tensor', () => {
    const tensor = float32([2], [1, 2])
    expect(safetensorsChunks([['a', tensor]])[1]!.buffer).toBe(tensor.data.buffer)
  })

  test('there and back changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryTensors, async (tensors) => {
        const back = await readAll(joinChunks(safetensorsChunks(tensors)))
        expect(new Map([...back].sort())).toEqual(new Map([...tensors].sort()))
      }),
    )
  })
})

describe('a header that lies is refused, naming the tensor', () => {
  const u8 = (start: number, end: number) => ({ dtype: 'U8', shape: [end - start], data_offsets: [start, end] })
  const data = new Uint8Array(8)
  const lie = (fields: object) => file({ w: { ...u8(0, 8), ...fields } }, data)
  const headerOf = (length: bigint) => new Uint8Array([...new Uint8Array(BigUint64Array.of(length).buffer), ...Buffer.from('{}')])

  const cases: [string, Uint8Array, RegExp][] = [
    ['too short a file', new Uint8Array(5), /5 bytes, too few/],
    ['a header longer than the file', headerOf(1000n), /claims 1000 bytes in a file of 10/],
    ['a header of 100 GB', headerOf(10n ** 11n), /claims 100000000000 bytes; at most 33554432 are read/],
    ['a header length with the sign bit', headerOf(2n ** 63n), /at most 33554432 are read/],
    ['a header that is not UTF-8', textFile(Buffer.from([0x7b, 0xff, 0x7d])), /not UTF-8/],
    ['a header that is not JSON', textFile('{"w":}'), /header is not valid: expected a value at character 5/],
    ['a header that is cut', textFile('{"w"'), /not valid/],
    ['a header with something after it', textFile('{}x'), /something follows the end/],
    ['a string that does not end', textFile('{"w\\"'), /a string does not end/],
    ['a header that is a list', textFile('[]'), /not a JSON object/],
    ['a header of five million numbers', textFile(`[${'1,'.repeat(5_000_000)}1]`), /more than 4000000 values/],
    ['a header of a thousand lists', textFile(`{"w":${'['.repeat(1000)}`), /more than 32 levels/],
    [
      'the same tensor twice',
      textFile('{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
      /"w" appears twice/,
    ],
    ['the same field twice', textFile('{"w":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), /"dtype" appears twice/],
    ['metadata that is not text', file({ __metadata__: { a: 1 } }), /__metadata__ "a" is not a string/],
    ['metadata that is no object', file({ __metadata__: 'a' }), /__metadata__ is not an object/],
    ['a tensor that is no object', file({ w: 3 }), /tensor "w" is not described by an object/],
    ['an unknown field', lie({ strides: [1] }), /tensor "w" has the unknown field "strides"/],
    ['no dtype', lie({ dtype: undefined }), /tensor "w" has the unknown dtype/],
    ['an unknown dtype', lie({ dtype: 'F33' }), /unknown dtype "F33"/],
    ['an inherited dtype', lie({ dtype: 'constructor' }), /unknown dtype "constructor"/],
    ['a shape that is no list', lie({ shape: 8 }), /tensor "w" has a shape/],
    ['a negative length', lie({ shape: [-8] }), /tensor "w" has a shape/],
    ['half a length', lie({ shape: [8.5] }), /tensor "w" has a shape/],
    ['a length in quotes', lie({ shape: ['8'] }), /tensor "w" has a shape/],
    ['a product of lengths that overflows 64 bits', lie({ shape: [2 ** 33, 2 ** 33] }), /impossibly large/],
    ['a product that wraps around to the right size', lie({ shape: [2 ** 32, 2 ** 32, 8] }), /impossibly large/],
    ['more axes than anyone has', lie({ shape: new Array(1000).fill(1) }), /tensor "w" has a shape/],
    ['a shape that contradicts the bytes', lie({ shape: [7] }), /has 8 bytes; shape \[7\] of U8 needs 7/],
    ['a dtype that contradicts the bytes', lie({ dtype: 'F32' }), /has 8 bytes; shape \[8\] of F32 needs 32/],
    ['negative offsets', lie({ data_offsets: [-8, 0] }), /data_offsets/],
    ['reversed offsets', lie({ data_offsets: [8, 0] }), /has -8 bytes/],
    ['three offsets', lie({ data_offsets: [0, 4, 8] }), /data_offsets/],
    ['offsets beyond every file', lie({ data_offsets: [2 ** 60, 2 ** 60 + 8] }), /data_offsets/],
    ['offsets beyond the file', file({ w: u8(0, 80) }, data), /tensor "w" ends 72 bytes beyond the file/],
    ['overlapping tensors', file({ w: u8(0, 8), v: u8(4, 8) }, data), /tensor "v" overlaps/],
    ['a hole between tensors', file({ v: u8(0, 2), w: u8(4, 8) }, data), /2 bytes before tensor "w" belong to no tensor/],
    ['a hole before the first', file({ w: u8(4, 8) }, data), /4 bytes before tensor "w"/],
    ['bytes after the last', file({ w: u8(0, 4) }, data), /4 bytes at the end belong to no tensor/],
  ]
  test.each(cases)('%s', async (_, bytes, message) => {
    await expect(readSafetensorsHeader(bytesSource(bytes), 'weights.safetensors')).rejects.toMatchObject({
      code: 'FILE_INVALID',
      message: expect.stringMatching(new RegExp(`^weights\\.safetensors: .*${message.source}`)),
    })
  })

  test('a name made to flood a log is cut', async () => {
    const error = await readSafetensorsHeader(bytesSource(file({ ['\u001b[31m'.repeat(1000)]: 3 })), 'f').catch((error: Error) => error)
    expect((error as Error).message.length).toBeLessThan(1000)
    expect((error as Error).message).not.toContain('\u001b')
  })

  test('bytes changed anywhere never crash it, and never give a tensor whose data is not its shape', async () => {
    const original = fixtureBytes('mixed.safetensors')
    await fc.assert(
      fc.asyncProperty(corruption(original.length), async (corrupt) => {
        const tensors = await readAll(corrupt(original)).catch((error) => {
          if (error.code !== 'FILE_INVALID') throw error
        })
        for (const { shape, data } of tensors?.values() ?? []) expect(data.length).toBe(shape.reduce((a, b) => a * b, 1))
      }),
      { numRuns: 500 },
    )
  })
})

/** Some bytes changed, or the end cut off. */
function corruption(length: number): fc.Arbitrary<(bytes: Uint8Array) => Uint8Array> {
  const change = fc
    .array(fc.tuple(fc.nat(length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
    .map((changes) => (bytes: Uint8Array) => {
      const copy = bytes.slice()
      for (const [at, value] of changes) copy[at] = value
      return copy
    })
  return fc.oneof(
    change,
    fc.nat(length).map((end) => (bytes: Uint8Array) => bytes.slice(0, end)),
  )
}

function file(header: object, data = new Uint8Array()): Uint8Array {
  return textFile(JSON.stringify(header), data)
}

function textFile(header: string | Uint8Array, data = new Uint8Array()): Uint8Array {
  const bytes = Buffer.from(header as string)
  return new Uint8Array(Buffer.concat([Buffer.from(BigUint64Array.of(BigInt(bytes.length)).buffer), bytes, data]))
}
