import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import type { EngineError } from '../../../src/engine/errors.js'
import { readPreprocessing } from '../../../src/engine/image/read-preprocessing.js'

const root = mkdtempSync(path.join(tmpdir(), 'refract-preprocessing-'))
let folder: string
let count = 0
beforeEach(() => {
  folder = mkdtempSync(path.join(root, `${count++}-`))
})
afterAll(() => rmSync(root, { recursive: true }))

const write = (file: string, content: unknown) =>
  writeFileSync(path.join(folder, file), typeof content === 'string' ? content : JSON.stringify(content))
const refusal = async () => (await readPreprocessing(folder).catch((error: unknown) => error)) as EngineError
const clip = { image_processor_type: 'CLIPImageProcessor' }
const facts = { imageSize: { height: 32, width: 32 }, nChannels: 3 }

describe('transformers', () => {
  test('a file that only names its class means what the class means by default', async () => {
    write('preprocessor_config.json', clip)
    expect(await readPreprocessing(folder)).toEqual({
      resize: { kind: 'shortestEdge', size: 224 },
      resample: 'bicubic',
      crop: { height: 224, width: 224 },
      cropRounding: 'floor',
      rescale: 1 / 255,
      mean: [0.48145466, 0.4578275, 0.40821073],
      std: [0.26862954, 0.26130258, 0.27577711],
      mode: 'RGB',
      source: 'preprocessor_config.json',
    })
  })

  test('one number as size is a square for ViT and the shortest edge for CLIP', async () => {
    write('preprocessor_config.json', { feature_extractor_type: 'ViTFeatureExtractor', size: 48 })
    expect((await readPreprocessing(folder)).resize).toEqual({ kind: 'exact', height: 48, width: 48 })
    write('preprocessor_config.json', { feature_extractor_type: 'CLIPFeatureExtractor', size: 48 })
    expect((await readPreprocessing(folder)).resize).toEqual({ kind: 'shortestEdge', size: 48 })
  })

  test('a file that names no class takes it from the model type', async () => {
    write('preprocessor_config.json', { size: 48 })
    write('config.json', { model_type: 'dinov2' })
    expect((await readPreprocessing(folder)).resize).toEqual({ kind: 'shortestEdge', size: 48 })
    write('config.json', { model_type: 'vit' })
    expect((await readPreprocessing(folder)).resize).toEqual({ kind: 'exact', height: 48, width: 48 })
  })

  test('steps that are switched off are off', async () => {
    write('preprocessor_config.json', { ...clip, do_resize: false, do_center_crop: false, do_rescale: false, do_normalize: false })
    const how = await readPreprocessing(folder)
    expect(how).toMatchObject({ resize: null, crop: null, rescale: 1, mean: [0, 0, 0], std: [1, 1, 1] })
  })

  test('null counts as absent', async () => {
    write('preprocessor_config.json', { ...clip, size: null, crop_size: null, resample: null, image_mean: null, do_pad: null })
    expect(await readPreprocessing(folder)).toMatchObject({ resize: { size: 224 }, crop: { height: 224 }, resample: 'bicubic' })
  })

  test.each([
    [{ resample: 9 }, 'resample is 9'],
    [{ resample: 'bicubicc' }, 'resample is "bicubicc"'],
    [{ size: { longest_edge: 224 } }, 'size is {"longest_edge":224}'],
    [{ size: { shortest_edge: 224, longest_edge: 500 } }, 'shortest_edge'],
    [{ size: { shortest_edge: 1e9 } }, 'size.shortest_edge is 1000000000'],
    [{ size: -3 }, 'size is -3'],
    [{ crop_size: { height: 224 } }, 'crop_size'],
    [{ crop_size: 22.5 }, 'crop_size is 22.5'],
    [{ image_mean: [0.5, 0.5] }, 'image_mean is [0.5,0.5]; expected 3 numbers'],
    [{ image_std: [0.5, 0, 0.5] }, 'image_std is [0.5,0,0.5]; expected 3 numbers above 0'],
    [{ rescale_factor: '1/255' }, 'rescale_factor'],
    [{ do_resize: 'yes' }, 'do_resize is "yes"'],
    [{ do_pad: true }, 'do_pad'],
    [{ do_flip_channel_order: true }, 'do_flip_channel_order'],
  ])('a value that means nothing here is refused: %j', async (fields, message) => {
    write('preprocessor_config.json', { ...clip, ...fields })
    const error = await refusal()
    expect(error.code).toBe('FILE_INVALID')
    expect(error.message).toContain('preprocessor_config.json')
    expect(error.message).toContain(message)
  })

  test('all problems are reported at once', async () => {
    write('preprocessor_config.json', { ...clip, resample: 9, image_mean: 'red', do_pad: true })
    expect((await refusal()).problems.map(({ message }) => message.split(' ')[0])).toEqual(['do_pad', 'resample', 'image_mean'])
  })

  test('another kind of processor is refused by name', async () => {
    write('preprocessor_config.json', { image_processor_type: 'DetrImageProcessor' })
    const error = await refusal()
    expect(error.code).toBe('MODEL_UNSUPPORTED')
    expect(error.message).toContain('DetrImageProcessor')
    expect(error.message).toContain('CLIPImageProcessor')
  })
})

describe('open_clip', () => {
  test("the model's image size wins over the file's", async () => {
    write('open_clip_config.json', { model_cfg: { vision_cfg: { image_size: 336 } }, preprocess_cfg: { size: 224 } })
    expect(await readPreprocessing(folder)).toMatchObject({ resize: { size: 336 }, crop: { height: 336, width: 336 } })
  })

  test.each([{ resize_mode: 'stretch' }, { interpolation: 'nearest' }, { mode: 'L' }])('%j is refused', async (fields) => {
    write('open_clip_config.json', { preprocess_cfg: fields })
    expect((await refusal()).message).toContain(`preprocess_cfg.${Object.keys(fields)[0]}`)
  })
})

describe('timm', () => {
  test('fields at the root are the older form', async () => {
    write('config.json', { architecture: 'vit_base_patch16_224', input_size: [3, 224, 224], crop_pct: 0.9, mean: [0.5, 0.5, 0.5] })
    expect(await readPreprocessing(folder)).toMatchObject({ resize: { kind: 'shortestEdge', size: 248 }, crop: { height: 224 } })
  })

  test.each([{ interpolation: 'random' }, { crop_mode: 'middle' }, { crop_pct: 0 }, { input_size: [4, 8, 8] }])(
    '%j is refused',
    async (fields) => {
      write('config.json', { architecture: 'vit', pretrained_cfg: fields })
      expect((await refusal()).message).toContain(`pretrained_cfg.${Object.keys(fields)[0]}`)
    },
  )
})

describe('which file counts', () => {
  test("transformers' files come first, unless the model was read by another library's", async () => {
    write('preprocessor_config.json', clip)
    write('open_clip_config.json', { preprocess_cfg: {} })
    expect((await readPreprocessing(folder, facts)).source).toBe('preprocessor_config.json')
    expect((await readPreprocessing(folder, { ...facts, library: 'open-clip' })).source).toBe('open_clip_config.json')
  })

  test('without any, the default is taken and called so, and without facts it is an error', async () => {
    expect(await readPreprocessing(folder, { imageSize: { height: 28, width: 28 }, nChannels: 1 })).toMatchObject({
      source: 'default',
      crop: { height: 28, width: 28 },
      mode: 'L',
      mean: [0.5],
    })
    expect((await refusal()).code).toBe('FILE_INVALID')
  })

  test.each([
    ['{"size": ', /not JSON/],
    ['[]', /not a JSON object/],
    [`"${'x'.repeat(5 * 2 ** 20)}"`, /small JSON file/],
  ])('a file that is not a small JSON object is refused', async (content, message) => {
    write('preprocessor_config.json', content)
    expect((await refusal()).message).toMatch(message)
  })
})
