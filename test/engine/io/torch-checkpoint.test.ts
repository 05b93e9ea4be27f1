import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bytesSource } from '../../../src/engine/io/byte-source.js'
import { joinChunks } from '../../../src/engine/io/named-tensors.js'
import { openTorchCheckpoint } from '../../../src/engine/io/torch-checkpoint.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
import { zipChunks } from '../../../src/engine/io/zip-writer.js'
import { expectedTensors, expectTensor, fixtureBytes } from './fixtures.js'
import { call, dictionary, global, int, pickle, storage, tensor, text, torchArchive, tuple } from './write-pickle.js'

type Parts = Parameters<typeof pickle>[0]

const open = (value: Parts, storages?: Record<string, Uint8Array>) =>
  openWeights(torchArchive(pickle('\x80\x02', value, '.'), storages), 'model.pt')
const read = async (value: Parts) => (await open(dictionary(['w', value]))).read('w')

describe('tensors are views of storages', () => {
  test('with offsets and strides', async () => {
    expect((await read(tensor())).data).toEqual(Float32Array.of(1, 2, 3, 4))
    expect(await read(tensor({ offset: 1, shape: [3] }))).toEqual({ dtype: 'float32', shape: [3], data: Float32Array.of(2, 3, 4) })
    expect((await read(tensor({ shape: [2, 2], strides: [1, 2] }))).data).toEqual(Float32Array.of(1, 3, 2, 4))
    expect((await read(tensor({ shape: [2], strides: [3] }))).data).toEqual(Float32Array.of(1, 4))
    expect((await read(tensor({ shape: [3, 2], strides: [0, 1], offset: 2 }))).data).toEqual(Float32Array.of(3, 4, 3, 4, 3, 4))
    expect((await read(tensor({ shape: [], strides: [] }))).data).toEqual(Float32Array.of(1))
    expect((await read(tensor({ shape: [0, 5], strides: [5, 1], offset: 100 }))).data).toEqual(new Float32Array(0))
  })

  test('opening reads none of them', async () => {
    const values = new Uint8Array(4_000).fill(0xab)
    const archive = torchArchive(pickle('\x80\x02', dictionary(['w', tensor({ from: storage('0', 1_000), shape: [1_000] })]), '.'), {
      0: values,
    })
    const bytes = Buffer.from(await archive.read(0, archive.size))
    const start = bytes.indexOf(values)
    const ranges: [number, number][] = []
    const source = {
      size: archive.size,
      read: (offset: number, length: number) => {
        ranges.push([offset, offset + length])
        return archive.read(offset, length)
      },
    }
    const weights = await openWeights(source, 'model.pt')
    const opening = ranges.length
    await weights.read('w')
    const touches = ([from, to]: [number, number]) => from === start && to === start + values.length
    expect(ranges.slice(0, opening).some(touches)).toBe(false)
    expect(ranges.slice(opening).some(touches)).toBe(true)
  })

  test('those on a GPU and those of untyped storages are read like any other', async () => {
    const untyped = [tuple(text('storage'), global('torch.storage', 'UntypedStorage'), text('0'), text('cuda:0'), int(16)), 'Q']
    const rebuilt = call(
      global('torch._utils', '_rebuild_tensor_v3'),
      untyped,
      int(0),
      tuple(int(4)),
      tuple(int(1)),
      '\x89',
      '}',
      global('torch', 'int32'),
      '}',
    )
    expect((await read(rebuilt)).dtype).toBe('int32')
  })
})

describe('a tensor that lies is refused', () => {
  test.each<[string, Parts, RegExp]>([
    ['more elements than its storage', tensor({ shape: [5] }), /reaches beyond its storage/],
    ['an offset beyond its storage', tensor({ offset: 1 }), /reaches beyond its storage/],
    ['strides beyond its storage', tensor({ shape: [2], strides: [4] }), /reaches beyond its storage/],
    ['strides that wrap around', tensor({ shape: [2, 2], strides: [2 ** 52, 2 ** 52] }), /reaches beyond its storage/],
    ['a negative offset', tensor({ offset: -1 }), /impossible shape/],
    ['a negative stride', tensor({ strides: [-1] }), /impossible shape/],
    ['a negative length', tensor({ shape: [-4] }), /impossible shape/],
    ['fewer strides than lengths', tensor({ shape: [2, 2], strides: [1] }), /impossible shape/],
    ['a shape that overflows', tensor({ shape: [2 ** 30, 2 ** 30], strides: [0, 0] }), /impossible shape/],
    ['no storage', tensor({ from: 'N' }), /without a storage/],
    ['a storage of another kind', tensor({ from: [tuple(text('file'), text('/etc/passwd')), 'Q'] }), /unknown way/],
    [
      'a storage of an unknown type',
      tensor({ from: [tuple(text('storage'), global('collections', 'OrderedDict'), text('0'), text('cpu'), int(4)), 'Q'] }),
      /unknown type/,
    ],
    ['a conjugated view', tensor({ metadata: [dictionary(['conj', '\x88'])] }), /resolve_conj/],
    [
      'a subclass rebuilt by something else',
      call(global('torch._tensor', '_rebuild_from_type_v2'), global('collections', 'OrderedDict'), 'N', ')', 'N'),
      /tensor subclass/,
    ],
  ])('%s', async (_, value, message) => {
    await expect(open(dictionary(['w', value]))).rejects.toMatchObject({ code: 'FILE_INVALID', message: expect.stringMatching(message) })
  })

  test.each<[string, Parts, RegExp]>([
    ['a storage that is not there', tensor({ from: storage('7', 4) }), /tensor "w" refers to the storage "7", which is missing/],
    ['a storage outside the archive', tensor({ from: storage('../../../etc/passwd', 4) }), /which is missing/],
    ['a storage of another size', tensor({ from: storage('0', 5) }), /has a storage of 20 bytes; the file holds 16/],
    ['a billion elements out of four', tensor({ shape: [250_000_000, 4], strides: [0, 1] }), /by repeating 4/],
    ['more elements than an array can have', tensor({ shape: [2 ** 30, 2 ** 10], strides: [0, 0] }), /one tensor can have at most/],
  ])('%s', async (_, value, message) => {
    await expect(read(value)).rejects.toMatchObject({ code: 'FILE_INVALID', message: expect.stringMatching(message) })
  })
})

describe('nothing but tensors and plain data is made', () => {
  test.each([
    ['os', 'system'],
    ['posix', 'system'],
    ['builtins', 'eval'],
    ['__builtin__', 'exec'],
    ['builtins', 'getattr'],
    ['subprocess', 'Popen'],
    ['torch', 'load'],
    ['torch.hub', 'load'],
    ['torch.serialization', 'load'],
    ['torch', 'constructor'],
    ['torch', '__proto__'],
    ['numpy', 'load'],
    ['collections', 'OrderedDict.fromkeys'],
    ['__main__', 'hasOwnProperty'],
    ['constructor', 'constructor'],
    ['torch._utils', '_rebuild_tensor_of_something'],
    ['', ''],
  ])('%s.%s is refused', async (module, name) => {
    await expect(open(dictionary(['w', call(global(module, name), text('id'))]))).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    await expect(
      open(dictionary(['w', ['\x8c', String.fromCharCode(module.length), module, '\x8c', String.fromCharCode(name.length), name, '\x93']])),
    ).rejects.toMatchObject({
      code: 'FILE_UNSAFE',
    })
  })

  test.each<[string, Parts, RegExp]>([
    ['calling what is not a name', ['N)R'], /calls something that is not a name/],
    ['calling what was called', [call(call(global('collections', 'OrderedDict')))], /calls something that is not a name/],
    ['state for a list', [']}b'], /state of something that has none/],
    ['bytes by another codec', call(global('_codecs', 'encode'), text('a'), text('rot13')), /unknown way/],
    [
      'a dictionary of a million copies',
      [
        '(',
        '](',
        'K\x01K\x02\x86'.repeat(100_000),
        'e',
        'q\x000',
        [global('collections', 'OrderedDict'), 'q\x010'],
        'h\x01h\x00\x85R0'.repeat(2_000),
        'Nt',
      ],
      /constructs too much/,
    ],
  ])('%s is refused', async (_, value, message) => {
    await expect(open(dictionary(['w', value]))).rejects.toMatchObject({ code: 'FILE_INVALID', message: expect.stringMatching(message) })
  })

  test('a tensor subclass is not rebuilt by an unknown function, even where unknown classes are records', async () => {
    const value = call(global('torch._tensor', '_rebuild_from_type_v2'), global('torch._utils', '_rebuild_tensor_x'), 'N', ')', 'N')
    const archive = torchArchive(pickle(dictionary(['w', value]), '.'))
    await expect(openWeights(archive, 'model.pt', { opaqueGlobals: true })).rejects.toThrow(/tensor subclass/)
  })

  test('a text argument passed again and again is refused before it fills the memory', async () => {
    const long = ['X', new Uint8Array(Uint32Array.of(1_000_000).buffer), new Uint8Array(1_000_000).fill(97)]
    const value = [
      '(',
      long,
      'q\x000',
      text('latin1'),
      'q\x010',
      global('_codecs', 'encode'),
      'q\x020',
      'h\x02h\x00h\x01\x86R'.repeat(10_000),
      't',
    ]
    await expect(open(dictionary(['w', value]))).rejects.toThrow(/constructs too much/)
  })
})

describe('an archive that is damaged is refused', () => {
  const good = dictionary(['w', tensor()])

  test.each<[string, Uint8Array, RegExp]>([
    ['no pickle', zipOf({ 'archive/data/0': new Uint8Array(4) }), /no data.pkl inside/],
    ['two pickles', zipOf({ 'a/data.pkl': pickle(good, '.'), 'b/data.pkl': pickle(good, '.') }), /several data.pkl/],
    ['a pickle that stops early', zipOf({ 'a/data.pkl': pickle(good) }), /ends too early/],
    ['a pickle of 70 MB', zipOf({ 'a/data.pkl': new Uint8Array(70_000_000) }), /at most 67108864 are read/],
    ['weights that are a list', zipOf({ 'a/data.pkl': pickle('].') }), /dictionary of named weights/],
    ['no weights', zipOf({ 'a/data.pkl': pickle('}.') }), /holds no tensors/],
    [
      'data that contains itself',
      zipOf({ 'a/data.pkl': pickle(dictionary(['w', tensor()]), text('loop'), ']q\x00h\x00as.'), 'a/data/0': new Uint8Array(16) }),
      /contains itself/,
    ],
    [
      'dictionaries that contain themselves',
      zipOf({ 'a/data.pkl': pickle(dictionary(['w', tensor()]), 'q\x00', text('loop'), 'h\x00s.') }),
      /contains itself/,
    ],
    [
      'dictionaries that double forty times',
      zipOf({
        'a/data.pkl': pickle(
          '}',
          Array.from({ length: 14 }, (_, i) => [
            `q${String.fromCharCode(i)}0}(`,
            Array.from({ length: 9 }, (_, k) => [int(k), `h${String.fromCharCode(i)}`]),
            'u',
          ]),
          '.',
        ),
      }),
      /more than 1000000 names/,
    ],
  ])('%s', async (_, bytes, message) => {
    await expect(openWeights(bytesSource(bytes), 'model.pt')).rejects.toMatchObject({
      code: 'FILE_INVALID',
      message: expect.stringMatching(message),
    })
  })

  test('a single bit of a storage that changed is noticed when it is read', async () => {
    const bytes = fixtureBytes('torch-views.pt')
    const at = Buffer.from(bytes).indexOf('torch-views/data/0') + 100
    bytes[at]! ^= 1
    const weights = await openWeights(bytesSource(bytes), 'model.pt')
    for (const name of ['base', 'column', 'transposed']) {
      await expect(weights.read(name)).rejects.toMatchObject({ code: 'FILE_INVALID', message: expect.stringContaining('damaged') })
    }
  })

  test.each(['torch-views.pt', 'torch-wrapped.pt', 'torch-parameters.pt'])(
    '%s with bytes changed or cut off is refused or read as it was',
    async (file) => {
      const original = fixtureBytes(file)
      const wanted = expectedTensors(file)
      await fc.assert(
        fc.asyncProperty(
          fc.oneof(
            fc
              .tuple(fc.nat(original.length - 1), fc.integer({ min: 1, max: 255 }))
              .map(([at, mask]) => original.map((byte, i) => (i === at ? byte ^ mask : byte))),
            fc.nat(original.length - 1).map((end) => original.slice(0, end)),
          ),
          async (bytes) => {
            try {
              const weights = await openWeights(bytesSource(bytes), file)
              for (const [name, expected] of Object.entries(wanted)) expectTensor(await weights.read(name), expected, name)
            } catch (error) {
              expect(error).toMatchObject({ code: expect.stringMatching(/^FILE_(INVALID|UNSAFE)$/) })
            }
          },
        ),
        { numRuns: 300 },
      )
    },
  )

  test('a pickle with bytes changed, its checksum made right, is refused or gives tensors that fit their shapes', async () => {
    const original = pickle(
      '\x80\x02',
      dictionary(['w', tensor({ shape: [2, 2], strides: [1, 2] })], ['v', tensor({ offset: 2, shape: [2] })]),
      '.',
    )
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 }), async (changes) => {
        const bytes = original.slice()
        for (const [at, value] of changes) bytes[at] = value
        try {
          const weights = await openWeights(torchArchive(bytes), 'model.pt', { opaqueGlobals: true })
          for (const [name, { shape }] of weights.entries) {
            const { data } = await weights.read(name)
            expect(data.length).toBe(shape.reduce((product, length) => product * length, 1))
          }
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^FILE_(INVALID|UNSAFE)$/) })
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('noise as a pickle is refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
        await expect(openWeights(torchArchive(bytes), 'model.pt', { opaqueGlobals: true })).rejects.toMatchObject({
          code: expect.stringMatching(/^FILE_/),
        })
      }),
      { numRuns: 2000 },
    )
  })
})

test('the whole of what was saved can be had as it is', async () => {
  const { root } = await openTorchCheckpoint(torchArchive(pickle('(', tensor(), 'K\x05t.')), 'model.pt')
  expect(root).toMatchObject([{ kind: 'tensor', dtype: 'float32', shape: [4] }, 5])
})

function zipOf(entries: Record<string, Uint8Array>): Uint8Array {
  return joinChunks(zipChunks(Object.entries(entries).map(([name, bytes]) => ({ name, chunks: [bytes] }))))
}
