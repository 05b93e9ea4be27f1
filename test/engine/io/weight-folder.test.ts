import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { openWeightFolder } from '../../../src/engine/io/weight-folder.js'
import { expectedTensors, expectTensor, fixtureFolder } from './fixtures.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weights-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const put = (fixture: string, name: string) => copyFileSync(join(fixtureFolder, fixture), join(folder, name))
const putIndex = (weightMap: unknown, name = 'model.safetensors.index.json') =>
  writeFileSync(join(folder, name), JSON.stringify({ weight_map: weightMap }))

async function filesOf(...args: Parameters<typeof openWeightFolder>): Promise<readonly string[]> {
  const weights = await openWeightFolder(...args)
  await weights.close()
  return weights.files
}

describe('the weights of a folder', () => {
  test('are its safetensors file before any other', async () => {
    put('torch-wrapped.pt', 'pytorch_model.bin')
    put('torch-wrapped.pt', 'open_clip_pytorch_model.bin')
    expect(await filesOf(folder)).toEqual(['open_clip_pytorch_model.bin'])
    put('mixed.safetensors', 'open_clip_model.safetensors')
    expect(await filesOf(folder)).toEqual(['open_clip_model.safetensors'])
    put('mixed.safetensors', 'model.safetensors')
    expect(await filesOf(folder)).toEqual(['model.safetensors'])
    expect(await filesOf(folder, ['pytorch_model.bin', 'model.safetensors'])).toEqual(['pytorch_model.bin'])
  })

  test('are a single file of any name when no known name is there', async () => {
    put('torch-wrapped.pt', 'checkpoint.pth')
    expect(await filesOf(folder)).toEqual(['checkpoint.pth'])
    put('torch-wrapped.pt', 'n_images_1000.pt')
    expect(await filesOf(folder)).toEqual(['n_images_1000.pt'])
    put('mixed.safetensors', 'weights.safetensors')
    expect(await filesOf(folder)).toEqual(['weights.safetensors'])
    await expect(openWeightFolder(folder, ['model.safetensors'])).rejects.toThrow(/none of "model.safetensors" is there/)
  })

  test('are read from the file, tensor by tensor', async () => {
    put('torch-views.pt', 'model.pt')
    const weights = await openWeightFolder(folder)
    for (const [name, expected] of Object.entries(expectedTensors('torch-views.pt'))) expectTensor(await weights.read(name), expected, name)
    await weights.close()
  })

  test('are all shards that an index names', async () => {
    const weights = await openWeightFolder(join(fixtureFolder, 'sharded'))
    expect(weights.files).toEqual(['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'])
    expect([...weights.entries.keys()]).toEqual(Object.keys(expectedTensors('sharded')))
    for (const [name, expected] of Object.entries(expectedTensors('sharded'))) expectTensor(await weights.read(name), expected, name)
    await weights.close()
  })

  test('are torch shards too, a shared prefix removed only when all of them share it', async () => {
    put('torch-module-prefix.pt', 'a.bin')
    const names = Object.keys(expectedTensors('torch-module-prefix.pt'))
    putIndex(Object.fromEntries(names.map((name) => [`module.${name}`, 'a.bin'])), 'pytorch_model.bin.index.json')
    const alone = await openWeightFolder(folder)
    expect([alone.strippedPrefix, ...alone.entries.keys()]).toEqual(['module.', ...names])
    expectTensor(await alone.read(names[0]!), expectedTensors('torch-module-prefix.pt')[names[0]!]!)
    await alone.close()

    put('torch-parameters.pt', 'b.bin')
    putIndex({ ...Object.fromEntries(names.map((name) => [`module.${name}`, 'a.bin'])), plain: 'b.bin' }, 'pytorch_model.bin.index.json')
    const mixed = await openWeightFolder(folder)
    // Not every tensor of the second file is in the index; they are weights all the same.
    expect([mixed.strippedPrefix, ...mixed.entries.keys()]).toEqual([
      '',
      ...names.map((name) => `module.${name}`),
      'plain',
      'noted',
      'with_state',
      'buffer',
    ])
    expect((await mixed.read('buffer')).shape).toEqual([2])
    await expect(mixed.read('nothing')).rejects.toThrow(/no tensor "nothing"/)
    await mixed.close()
  })

  test('are found through the links of a hub cache', async () => {
    const snapshot = join(folder, 'models--a--b', 'snapshots', 'main')
    mkdirSync(snapshot, { recursive: true })
    mkdirSync(join(folder, 'models--a--b', 'blobs'))
    put('mixed.safetensors', 'models--a--b/blobs/0123')
    symlinkSync('../../blobs/0123', join(snapshot, 'model.safetensors'))
    expect(await filesOf(snapshot)).toEqual(['model.safetensors'])
  })

  test('are read through a link to the folder itself, and links within it', async () => {
    mkdirSync(join(folder, 'real'))
    put('mixed.safetensors', 'real/weights.safetensors')
    symlinkSync('weights.safetensors', join(folder, 'real', 'model.safetensors'))
    symlinkSync('real', join(folder, 'link'))
    expect(await filesOf(join(folder, 'link'))).toEqual(['model.safetensors'])
  })
})

describe('a folder is refused', () => {
  const refusal = (message: RegExp) =>
    expect(openWeightFolder(folder)).rejects.toMatchObject({ code: 'FILE_INVALID', message: expect.stringMatching(message) })

  test('when it is not there, or holds no weights', async () => {
    await expect(openWeightFolder(join(folder, 'nowhere'))).rejects.toThrow(/nowhere: cannot be listed \(ENOENT\)/)
    await refusal(/holds no weights: none of "model.safetensors"/)
  })

  test('when it could be one file or another', async () => {
    put('torch-wrapped.pt', 'a.pt')
    put('torch-wrapped.pt', 'b.pt')
    await refusal(/several files that could be the weights: "a.pt", "b.pt"/)
  })

  test('when its weights are a link to somewhere else', async () => {
    symlinkSync('/etc/passwd', join(folder, 'model.safetensors'))
    await refusal(/model.safetensors: is a link to a file outside its folder/)
  })

  test('when its weights are a link to a sibling, a hub cache or not', async () => {
    mkdirSync(join(folder, 'snapshots', 'main'), { recursive: true })
    put('mixed.safetensors', 'secret.safetensors')
    symlinkSync('../../secret.safetensors', join(folder, 'snapshots', 'main', 'model.safetensors'))
    await expect(openWeightFolder(join(folder, 'snapshots', 'main'))).rejects.toThrow(/outside its folder/)
  })

  test('when its weights are a folder, a pipe, or a broken link', async () => {
    mkdirSync(join(folder, 'model.safetensors'))
    await refusal(/is not a regular file/)
    rmSync(join(folder, 'model.safetensors'), { recursive: true })
    execFileSync('mkfifo', [join(folder, 'model.safetensors')])
    await refusal(/is not a regular file/)
    rmSync(join(folder, 'model.safetensors'))
    symlinkSync('nothing', join(folder, 'model.safetensors'))
    await refusal(/cannot be opened \(ENOENT\)/)
  })

  test.each(['../model.safetensors', '../../etc/passwd', '/etc/passwd', 'a/../../x', './x', 'a//b', '', '..', 'C:\\x', 'a\0b'])(
    'when its index names %j',
    async (name) => {
      putIndex({ w: name })
      await refusal(/is not the name of a file inside the folder/)
    },
  )

  test('when a shard is a link to somewhere else, or missing', async () => {
    putIndex({ w: 'shard.safetensors' })
    await refusal(/shard.safetensors: cannot be opened \(ENOENT\)/)
    symlinkSync('/etc/passwd', join(folder, 'shard.safetensors'))
    await refusal(/outside its folder/)
  })

  test('when a shard lacks a tensor that the index says it has', async () => {
    put('mixed.safetensors', 'shard.safetensors')
    putIndex({ f32: 'shard.safetensors', absent: 'shard.safetensors' })
    await refusal(/lists tensors that their files do not hold: "absent \(shard.safetensors\)"/)
  })

  test('when its index is no index', async () => {
    for (const index of [
      '',
      '{',
      '[]',
      '{}',
      '{"weight_map":{}}',
      '{"weight_map":[]}',
      '{"weight_map":{"a":1}}',
      '{"weight_map":{"a":"model.safetensors.index.json"}}',
      '{"weight_map":{"a":"x","a":"y"}}',
    ]) {
      writeFileSync(join(folder, 'model.safetensors.index.json'), index)
      await refusal(/model.safetensors.index.json: (is not valid|has no "weight_map"|does not name a file)/)
    }
  })

  test('when it names a file of each of a million tensors', async () => {
    putIndex(Object.fromEntries(Array.from({ length: 1_001 }, (_, i) => [`w${i}`, `f${i}`])))
    await refusal(/names 1001 files; at most 1000/)
  })
})

test('a file that is cut while it is read is refused by name', async () => {
  writeFileSync(join(folder, 'x'), 'hello')
  const source = await openFileSource(join(folder, 'x'), 'x')
  writeFileSync(join(folder, 'x'), 'he')
  await expect(source.read(0, 5)).rejects.toMatchObject({
    code: 'FILE_INVALID',
    message: 'x: ended at byte 2, 3 bytes early: it became shorter while it was read.',
  })
  await expect(source.read(3, 5)).rejects.toThrow(/Invariant/)
  await source.close()
})
