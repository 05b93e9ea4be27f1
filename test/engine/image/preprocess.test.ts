import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { preprocess } from '../../../src/engine/image/preprocess.js'
import type { Preprocessing } from '../../../src/engine/image/preprocessing.js'
import { readPreprocessing } from '../../../src/engine/image/read-preprocessing.js'
import { imageFixtures, limits, readFixture, readGolden, sha256 } from './golden.js'

type Golden = { readonly model: string; readonly file: string } & (
  | { readonly shape: readonly number[]; readonly sha256: string; readonly first: readonly number[] }
  | { readonly refused: true }
)

const goldens = readGolden<Golden[]>('preprocessed.json')
const models = [...new Set(goldens.map(({ model }) => model))]

describe.each(models)('preprocessing as the files of %s say', (model) => {
  test.each(goldens.filter((golden) => golden.model === model))(
    'makes of $file the very floats of the reference library',
    async (golden) => {
      const how = await readPreprocessing(path.join(imageFixtures, 'models', model))
      const prepared = preprocess(readFixture('files', golden.file), how, limits)
      if ('refused' in golden) {
        await expect(prepared).rejects.toThrow(/would be resized to/)
        return
      }
      const { shape, data } = await prepared
      expect(shape).toEqual(golden.shape)
      expect([...data.subarray(0, 4)]).toEqual(golden.first)
      expect(sha256(data)).toBe(golden.sha256)
    },
  )
})

const plain: Preprocessing = { resize: null, resample: 'bicubic', crop: null, rescale: 1, mean: [0, 0, 0], std: [1, 1, 1], mode: 'RGB' }

test('a one-channel model sees luminance', async () => {
  const bytes = readFixture('files', 'png-rgb.png')
  const how: Preprocessing = { ...plain, mode: 'L', mean: [0], std: [1] }
  const { shape, data } = await preprocess(bytes, how, limits)
  expect(shape).toEqual([1, 97, 131])
  const golden = readGolden<Record<string, { luminance: string }>>('decoded.json')['png-rgb.png']!
  expect(sha256(Uint8Array.from(data))).toBe(golden.luminance)
})

test('a crop larger than the picture pads with black before normalising, and the rounding says on which side', async () => {
  const bytes = readFixture('files', 'png-rgb.png')
  const resize = { kind: 'exact', height: 1, width: 1 } as const
  const how: Preprocessing = { ...plain, resize, crop: { height: 2, width: 4 }, mean: [10, 10, 10] }
  const isPadding = async (cropRounding: 'floor' | 'halfToEven') => {
    const { data } = await preprocess(bytes, { ...how, cropRounding }, limits)
    return Array.from(data.subarray(0, 8), (value) => value === -10)
  }
  expect(await isPadding('floor')).toEqual([true, true, true, true, true, true, false, true])
  expect(await isPadding('halfToEven')).toEqual([true, false, true, true, true, true, true, true])
})

test('a picture too thin for its model is refused and not given no rows', async () => {
  const how: Preprocessing = { ...plain, resize: { kind: 'longestEdge', height: 64, width: 64, fill: 0 } }
  await expect(preprocess(readFixture('files', 'jpeg-tall.jpg'), how, limits)).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
})
