import { describe, expect, test } from 'vitest'
import { bytesSource } from '../../../src/engine/io/byte-source.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
import { expectedTensors, expectTensor, fixtureBytes, fixtureSource } from './fixtures.js'

const open = (file: string, options = {}) => openWeights(fixtureSource(file), file, options)

describe('weights are read as the library that wrote them has them', () => {
  test.each([
    'mixed.safetensors',
    'torch-dtypes.pt',
    'torch-views.pt',
    'torch-wrapped.pt',
    'torch-model-state-dict.pt',
    'torch-module-prefix.pt',
    'torch-compiled-prefix.pt',
    'torch-parameters.pt',
    'torch-protocol-3.pt',
    'torch-protocol-4.pt',
    'torch-protocol-5.pt',
    'torch-no-crc.pt',
  ])('%s', async (file) => {
    const weights = await open(file)
    const wanted = expectedTensors(file)
    // safetensors orders its header by type and name; torch keeps the dictionary's order.
    const names = [...weights.entries.keys()]
    expect(file.endsWith('.pt') ? names : names.sort()).toEqual(file.endsWith('.pt') ? Object.keys(wanted) : Object.keys(wanted).sort())
    for (const [name, expected] of Object.entries(wanted)) {
      expect(weights.entries.get(name)!.shape).toEqual(expected.shape)
      const tensor = await weights.read(name)
      expectTensor(tensor, expected, name)
    }
  })
})

describe('opening tells how the weights were packed', () => {
  test('stored element types are listed as they are in the file', async () => {
    const weights = await open('torch-dtypes.pt')
    for (const [name, { dtype }] of weights.entries) {
      expect(dtype).toBe(['scalar', 'empty', 'one'].includes(name) ? 'float32' : name)
    }
  })

  test('wrappers and prefixes are removed and reported', async () => {
    expect(await open('torch-wrapped.pt')).toMatchObject({ format: 'torch', unwrapped: ['state_dict'], strippedPrefix: '' })
    expect(await open('torch-model-state-dict.pt')).toMatchObject({ unwrapped: ['model_state_dict'] })
    expect(await open('torch-module-prefix.pt')).toMatchObject({ unwrapped: [], strippedPrefix: 'module.' })
    expect(await open('torch-compiled-prefix.pt')).toMatchObject({ unwrapped: ['model'], strippedPrefix: 'module._orig_mod.' })
    expect(await open('mixed.safetensors')).toMatchObject({
      format: 'safetensors',
      metadata: { format: 'pt' },
      unwrapped: [],
      strippedPrefix: '',
    })
  })

  test('what a checkpoint holds beside its weights is plain data', async () => {
    const { metadata } = await open('torch-wrapped.pt')
    const { version, ...rest } = metadata
    expect(version).toMatch(/^\d+\.\d+/)
    expect(rest).toEqual({
      epoch: 3,
      best: 0.75,
      counts: { array: { dtype: 'int64', shape: [3] } },
      names: ['cat', 'dog'],
      device: 'cpu',
      dtype: 'bfloat16',
      seen: [1, 2],
      flag: true,
      nothing: null,
      big: (2n ** 70n).toString(),
      lr: 1e-4,
      weird: 'NaN',
      raw: { bytes: 3 },
      args: { class: 'argparse.Namespace', state: { model: 'vit', lr: 0.1 } },
      optimizer: { state: { 0: { exp_avg: { tensor: { dtype: 'float32', shape: [5] } } } } },
    })
    expect(JSON.parse(JSON.stringify(metadata))).toEqual({ version, ...rest })
  })
})

describe('a checkpoint that refers to code', () => {
  test.each([
    ['torch-runs-code.pt', 'posix.system'],
    ['torch-runs-builtin.pt', 'builtins.eval'],
    ['torch-config-class.pt', '__main__.Config'],
    ['torch-module.pt', 'torch.nn.modules.linear.Linear'],
    ['torch-sparse.pt', 'torch._utils._rebuild_sparse_tensor'],
  ])('%s is refused by the name of it', async (file, name) => {
    await expect(open(file)).rejects.toMatchObject({ code: 'FILE_UNSAFE', message: expect.stringContaining(`"${name}"`) })
    await expect(open(file)).rejects.toThrow('safetensors.torch.save_file')
  })

  test('is read with its unknown classes as inert records when asked', async () => {
    const weights = await open('torch-config-class.pt', { opaqueGlobals: true })
    expect([...weights.entries.keys()]).toEqual(Object.keys(expectedTensors('torch-wrapped.pt')))
    expect(weights.metadata).toEqual({
      cfg: {
        class: '__main__.Config',
        state: {
          d_in: 8,
          device: 'cuda:0',
          dtype: 'float32',
          layers: [1, 2],
          nested: { class: '__main__.Inner', state: { lr: 1e-3 } },
          settings: { class: '__main__.Settings', state: { frozen: true }, items: { lr: 0.5 } },
          names: { class: '__main__.Names', items: ['a', 'b'] },
          kind: { class: '__main__.Kind', args: [1] },
        },
      },
    })
  })

  test.each(['torch-runs-code.pt', 'torch-runs-builtin.pt'])('%s is refused even then', async (file) => {
    await expect(open(file, { opaqueGlobals: true })).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
  })
})

describe('a file that cannot be read is refused with what to do', () => {
  const text = (value: string) => new Uint8Array(Buffer.from(value, 'latin1'))
  const cases: [string, Uint8Array, RegExp][] = [
    ['torch-legacy.pt', fixtureBytes('torch-legacy.pt'), /legacy format .* save it again/],
    ['torchscript.pt', fixtureBytes('torchscript.pt'), /TorchScript .*state_dict/],
    ['torch-single-tensor.pt', fixtureBytes('torch-single-tensor.pt'), /dictionary of named weights/],
    ['torch-compressed.pt', fixtureBytes('torch-compressed.pt'), /is compressed, which torch.save never does/],
    ['torch-big-endian.pt', fixtureBytes('torch-big-endian.pt'), /byte order "big"/],
    ['bare-pickle.pt', fixtureBytes('bare-pickle.pt'), /bare Python pickle/],
    ['arrays.npz', fixtureBytes('arrays.npz'), /no data.pkl/],
    ['old.tar', text(`${'storages'.padEnd(257, '\0')}ustar\0`), /tar archive/],
    ['pointer', text('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n'), /Git LFS pointer/],
    ['page.bin', text('<!DOCTYPE html><title>404</title>'), /web page/],
    ['weights.h5', text('\x89HDF\r\n\x1a\n'), /HDF5/],
    ['weights.gz', text('\x1f\x8b\x08'), /gzip/],
    ['empty.bin', text(''), /is empty/],
    ['noise.bin', text('hello, world'), /neither a safetensors file nor a torch checkpoint/],
  ]
  test.each(cases)('%s', async (file, bytes, message) => {
    await expect(openWeights(bytesSource(bytes), file)).rejects.toMatchObject({
      code: 'FILE_INVALID',
      message: expect.stringMatching(message),
    })
    await expect(openWeights(bytesSource(bytes), file)).rejects.toThrow(file)
  })

  test.each([
    ['torch-complex.pt', 'c', 'complex64'],
    ['torch-float8.pt', 'f', 'float8_e4m3fn'],
  ])('%s lists an element type without a counterpart, reads the others, and refuses that one by name', async (file, name, dtype) => {
    const weights = await open(file)
    expect(weights.entries.get(name)).toMatchObject({ dtype })
    expect((await weights.read('w')).data).toEqual(Float32Array.of(1, 1))
    await expect(weights.read(name)).rejects.toThrow(new RegExp(`tensor "${name}" is stored as ${dtype}`))
  })

  test('a tensor that is not there', async () => {
    await expect((await open('torch-wrapped.pt')).read('toString')).rejects.toMatchObject({ code: 'FILE_INVALID' })
    await expect((await open('mixed.safetensors')).read('toString')).rejects.toMatchObject({ code: 'FILE_INVALID' })
  })

  test('the source is closed when opening fails', async () => {
    let closed = 0
    const source = { ...bytesSource(text('hello, world')), close: async () => void closed++ }
    await expect(openWeights(source, 'noise.bin')).rejects.toThrow()
    expect(closed).toBe(1)
  })
})
