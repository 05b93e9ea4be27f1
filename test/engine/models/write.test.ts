import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { openWeightFolder } from '../../../src/engine/io/weight-folder.js'
import { initializeWeights } from '../../../src/engine/models/initialize.js'
import { type LoadedModel, loadModel } from '../../../src/engine/models/load.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import { visionGraph } from '../../../src/engine/models/vit.js'
import {
  layoutsFor,
  type ModelFolderOptions,
  type ModelToWrite,
  modelToWrite,
  tokenizerFiles,
  type WritableLayoutName,
  writeModelFolder,
} from '../../../src/engine/models/write.js'
import { createRandom } from '../../../src/engine/random.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { backends, expectedOf, fixtureNames, folderOf, run } from './fixtures.js'

let root: string
let counter = 0
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'written-'))
})
afterAll(() => fs.rm(root, { recursive: true }))
afterEach(() => vi.restoreAllMocks())

const newFolder = () => path.join(root, String(counter++))
const [, onnxruntime] = backends[1]!

/** The model as it can be written: without open_clip's text tower. */
function writableOf(loaded: LoadedModel): ModelToWrite {
  const { text: _, ...vision } = loaded.description
  const { text: __, ...towers } = loaded.towers
  return modelToWrite(loaded.description.layout === 'open-clip' ? { ...loaded, description: vision, towers } : loaded)
}

const factsOf = ({ vision, text, ...rest }: ModelToWrite) => ({
  ...rest,
  vision: vision.config,
  ...(text && { text: text.config }),
})

async function writtenAndLoaded(model: ModelToWrite, options: ModelFolderOptions = {}) {
  const folder = newFolder()
  const written = await writeModelFolder(folder, model, options)
  return { folder, written, loaded: await loadModel(folder) }
}

async function refusal(attempt: Promise<unknown>): Promise<{ code: string; message: string }> {
  return attempt.then(
    () => expect.unreachable('it was not refused'),
    (error) => error,
  )
}

const bits = (tensor: Tensor) => Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength).toString('hex')

function expectSameWeights(actual: LoadedModel['towers']['vision']['weights'], wanted: LoadedModel['towers']['vision']['weights']): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(wanted).sort())
  for (const [name, tensor] of Object.entries(wanted)) {
    expect({ name, shape: actual[name]!.shape, bits: bits(actual[name]!) }).toEqual({ name, shape: tensor.shape, bits: bits(tensor) })
  }
}

/** All tensors of a folder, by name, and its files' metadata left aside. */
async function tensorsIn(folder: string): Promise<Map<string, string>> {
  const file = await openWeightFolder(folder)
  try {
    const found = new Map<string, string>()
    for (const [name, { shape }] of file.entries) found.set(name, `[${shape}] ${bits(await file.read(name))}`)
    return found
  } finally {
    await file.close()
  }
}

const jsonIn = async (folder: string, file: string) =>
  JSON.parse(await fs.readFile(path.join(folder, file), 'utf8')) as Record<string, unknown>

/** Fields of a configuration that only training reads, or that the library fills in with what it would take anyway. */
const withoutEffect = /^(dtype|torch_dtype|transformers_version|initializer_\w+|attention_dropout|(pad|bos)_token_id)$/

function expectSameFields(written: Record<string, unknown>, original: Record<string, unknown>, path = ''): void {
  for (const [key, value] of Object.entries(written)) {
    if (withoutEffect.test(key) || key === 'architectures') continue
    // each tower repeats the width, which only a tower alone reads
    if (path !== '' && key === 'projection_dim') continue
    const theirs = original[key]
    if (typeof value === 'object' && !Array.isArray(value)) expectSameFields(value as never, theirs as never, `${path}${key}.`)
    else expect([`${path}${key}`, value]).toEqual([`${path}${key}`, theirs])
  }
}

describe.each(fixtureNames)('%s, written in every layout that can express it', async (name) => {
  const original = await loadModel(folderOf(name))
  const model = writableOf(original)
  const layouts = layoutsFor(factsOf(model))
  const expected = await expectedOf(name)

  test('is at home in its own layout, where that is written, and always in ours', () => {
    const own = original.description.layout as WritableLayoutName
    expect(layouts).toContain('refract')
    if (['hf-clip', 'hf-vit', 'vit-prisma'].includes(own)) expect(layouts[0]).toBe(own)
  })

  test.each(layouts)('and read again from %s is the same model, to the last bit', async (layout) => {
    const { loaded, written } = await writtenAndLoaded(model, { layout, files: await tokenizerFiles(folderOf(name)) })
    expect(written.layout).toBe(layout)
    expectSameWeights(loaded.towers.vision.weights, model.vision.weights)
    if (model.text) expectSameWeights(loaded.towers.text!.weights, model.text.weights)
    const { description } = loaded
    expect([description.logitScale, description.logitBias]).toEqual([
      model.logScale === undefined ? undefined : original.description.logitScale,
      original.description.logitBias,
    ])
    expect(description.classLabels).toEqual(original.description.classLabels)
    for (const tower of ['vision', 'text'] as const) {
      if (!loaded.towers[tower]) continue
      const input = tower === 'vision' ? 'pixels' : 'tokens'
      const inputs = { [input]: expected.get(`${tower}/${input}`)! }
      const outputOf = async ({ towers }: LoadedModel) => {
        const graph = towers[tower]!.buildGraph(new Set())
        const output = graph.outputs[0]!
        return bits((await run(onnxruntime, graph, { inputs, weights: towers[tower]!.weights }))[output]!)
      }
      expect(await outputOf(loaded)).toBe(await outputOf(original))
    }
    const { source: _, ...preprocessing } = description.preprocessing
    const { source: __, ...wanted } = original.description.preprocessing
    expect(preprocessing).toEqual(wanted)
    if (model.text) expect(() => loaded.tokenizer!.encode(['a cat'])).not.toThrow(/vocabulary/)
  })
})

describe('what transformers saved', () => {
  test.each(['hf-clip', 'hf-clip-vision'])('%s: read and written again is the same file of weights, byte for byte', async (name) => {
    const { folder } = await writtenAndLoaded(modelToWrite(await loadModel(folderOf(name))))
    const [theirs, ours] = await Promise.all([folderOf(name), folder].map((each) => fs.readFile(path.join(each, 'model.safetensors'))))
    expect(ours!.equals(theirs!)).toBe(true)
  })

  test('hf-vit: has the same tensors but for the pooler, which is not part of the model here', async () => {
    const { folder } = await writtenAndLoaded(modelToWrite(await loadModel(folderOf('hf-vit'))))
    const theirs = [...(await tensorsIn(folderOf('hf-vit')))].filter(([name]) => !name.startsWith('pooler.'))
    expect(await tensorsIn(folder)).toEqual(new Map(theirs))
  })

  test('in shards or under a library\u2019s other prefix has the same tensors in one file', async () => {
    const { folder } = await writtenAndLoaded(modelToWrite(await loadModel(folderOf('hf-vit-classifier'))))
    expect(await tensorsIn(folder)).toEqual(await tensorsIn(folderOf('hf-vit-classifier')))
  })

  test.each(['hf-clip', 'hf-clip-vision', 'hf-vit', 'hf-vit-classifier'])('%s: the configuration says the same', async (name) => {
    const { folder } = await writtenAndLoaded(modelToWrite(await loadModel(folderOf(name))))
    const [theirs, ours] = await Promise.all([folderOf(name), folder].map((each) => jsonIn(each, 'config.json')))
    expectSameFields(ours!, theirs!)
    expect(ours!.architectures).toEqual(theirs!.architectures)
  })

  test('hf-clip: so does the preprocessing', async () => {
    const { folder } = await writtenAndLoaded(modelToWrite(await loadModel(folderOf('hf-clip'))))
    const [theirs, ours] = await Promise.all([folderOf('hf-clip'), folder].map((each) => jsonIn(each, 'preprocessor_config.json')))
    expect(ours).toEqual(theirs)
  })
})

test.each(['vit-prisma', 'vit-prisma-attn-only', 'vit-prisma-lnpre', 'vit-prisma-solu'])(
  'what ViT-Prisma saved (%s) has the same tensors',
  async (name) => {
    const { folder } = await writtenAndLoaded(modelToWrite(await loadModel(folderOf(name))), { layout: 'vit-prisma' })
    const [theirs, ours] = [await tensorsIn(folderOf(name)), await tensorsIn(folder)]
    // those that HookedViT makes without using them are zeros here
    for (const [tensorName, tensor] of ours) if (!/^(cls_token|head\.)/.test(tensorName)) expect(tensor).toEqual(theirs.get(tensorName))
    expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort())
  },
)

const small: VisionConfig = {
  nLayers: 1,
  dModel: 8,
  nHeads: 2,
  dHead: 4,
  dMlp: 12,
  activation: 'gelu',
  normalization: 'layerNorm',
  normEps: 1e-6,
  biases: { qkv: true, attnOut: true, mlp: true },
  scaleAttention: true,
  layerScale: false,
  normalizeOutput: false,
  imageSize: { height: 8, width: 8 },
  patchSize: { height: 4, width: 4 },
  nChannels: 3,
  patchBias: true,
  hasCls: true,
  nRegisters: 0,
  lnPre: false,
  finalNorm: 'tokens',
  pooling: 'cls',
  head: { kind: 'classes', dOut: 3, bias: true },
}

function aModel(change: Partial<VisionConfig> = {}, rest: Partial<ModelToWrite> = {}): ModelToWrite {
  const config = { ...small, ...change }
  return {
    vision: { config, weights: initializeWeights(config, createRandom(1), { scheme: 'he' }) },
    preprocessing: {
      resize: { kind: 'exact', ...config.imageSize },
      resample: 'bilinear',
      crop: null,
      rescale: 1 / 255,
      mean: [0.5, 0.5, 0.5],
      std: [0.5, 0.5, 0.5],
      mode: 'RGB',
    },
    ...rest,
  }
}

const size = fc.record({ height: fc.integer({ min: 4, max: 9 }), width: fc.integer({ min: 4, max: 9 }) })
const arbitraryConfig: fc.Arbitrary<VisionConfig> = fc
  .record({
    nLayers: fc.integer({ min: 1, max: 3 }),
    dModel: fc.integer({ min: 1, max: 9 }),
    nHeads: fc.integer({ min: 1, max: 3 }),
    dHead: fc.integer({ min: 1, max: 4 }),
    dMlp: fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }),
    activation: fc.constantFrom('relu', 'gelu', 'gelu_new', 'gelu_fast', 'silu', 'quick_gelu', 'solu_ln'),
    normalization: fc.constantFrom('layerNorm', 'layerNormPre', 'none'),
    normEps: fc.double({ min: 1e-12, max: 1, noNaN: true }),
    biases: fc.record({ qkv: fc.boolean(), attnOut: fc.boolean(), mlp: fc.boolean() }),
    scaleAttention: fc.boolean(),
    layerScale: fc.boolean(),
    normalizeOutput: fc.boolean(),
    imageSize: size,
    patchSize: fc.record({ height: fc.integer({ min: 1, max: 4 }), width: fc.integer({ min: 1, max: 4 }) }),
    nChannels: fc.constantFrom(1, 3, 4),
    patchBias: fc.boolean(),
    hasCls: fc.boolean(),
    nRegisters: fc.nat(2),
    lnPre: fc.boolean(),
    finalNorm: fc.constantFrom('tokens', 'pooled', 'none'),
    pooling: fc.constantFrom('cls', 'mean', 'meanAll', 'clsAndMean', 'patches', 'none'),
    kind: fc.constantFrom('classes', 'projection', 'none'),
    dOut: fc.integer({ min: 1, max: 5 }),
    headBias: fc.boolean(),
  })
  .map(({ kind, dOut, headBias, dMlp, pooling, ...rest }): VisionConfig => {
    const width = pooling === 'clsAndMean' ? 2 * rest.dModel : rest.dModel
    const head = kind === 'none' ? { kind, dOut: width, bias: false } : { kind, dOut, bias: headBias }
    // a norm of dModel cannot be over CLS and mean side by side
    const finalNorm = pooling === 'clsAndMean' && rest.finalNorm === 'pooled' ? 'tokens' : rest.finalNorm
    return { ...rest, finalNorm, ...(dMlp !== undefined && { dMlp }), pooling, head } as VisionConfig
  })

test('whatever the architecture, some layout takes it, and every layout that does gives back the same weights and outputs', async () => {
  await fc.assert(
    fc.asyncProperty(arbitraryConfig, async (config) => {
      const { nChannels, imageSize } = config
      const vision = { config, weights: initializeWeights(config, createRandom(2), { scheme: 'he' }) }
      const ones = Array.from({ length: nChannels }, () => 0.5)
      const preprocessing = {
        ...aModel().preprocessing,
        resize: { kind: 'exact' as const, ...imageSize },
        mean: ones,
        std: ones,
        mode: nChannels === 1 ? ('L' as const) : ('RGB' as const),
      }
      const model = { vision, preprocessing }
      const pixels = {
        dtype: 'float32' as const,
        shape: [1, nChannels, imageSize.height, imageSize.width],
        data: new Float32Array(nChannels * imageSize.height * imageSize.width).map((_, i) => Math.sin(i)),
      }
      const outputOf = async (given: VisionConfig, weights: ModelToWrite['vision']['weights']) => {
        const graph = visionGraph(given)
        return bits((await run(backends[0]![1], graph, { inputs: { pixels }, weights }))[graph.outputs[0]!]!)
      }
      const wanted = await outputOf(config, vision.weights)
      const layouts = layoutsFor(factsOf(model))
      expect(layouts).toContain('refract')
      for (const layout of layouts) {
        const { loaded } = await writtenAndLoaded(model, { layout })
        if (layout === 'refract') expect(loaded.description.vision.config).toEqual(config)
        expectSameWeights(loaded.towers.vision.weights, vision.weights)
        expect(await outputOf(loaded.description.vision.config as VisionConfig, loaded.towers.vision.weights)).toBe(wanted)
      }
    }),
    { numRuns: 40 },
  )
})

describe('a layout that cannot express the model', () => {
  test.each<[string, Partial<VisionConfig>, WritableLayoutName, RegExp]>([
    ['a pooling', { pooling: 'mean' }, 'hf-vit', /vision\.pooling "mean", where hf-vit has "cls".*Layouts that can express it: refract\./],
    ['registers', { nRegisters: 2 }, 'vit-prisma', /vision\.nRegisters 2, where vit-prisma has 0/],
    [
      'no biases',
      { biases: { qkv: false, attnOut: true, mlp: true } },
      'vit-prisma',
      /vision\.biases\.qkv false, where vit-prisma has true.*hf-vit/,
    ],
    ['no norms', { normalization: 'none' }, 'hf-vit', /vision\.normalization "none".*vit-prisma, refract/],
    ['no MLPs', {}, 'hf-vit', /vision\.dMlp absent, where hf-vit has 3072/],
    ['no CLS', { hasCls: false, pooling: 'mean' }, 'hf-vit', /hasCls false/],
    ['SoLU', { activation: 'solu_ln' }, 'hf-vit', /no name for \(blocks\.0\.mlp\.ln\.w/],
    ['classes where it has embeddings', {}, 'hf-clip', /head\.kind "classes"/],
    ['layer scale', { layerScale: true }, 'hf-vit', /vision\.layerScale true/],
  ])('for %s refuses it, with what it has instead and who can', async (what, change, layout, message) => {
    const { dMlp: _, ...withoutMlp } = small
    const base = what === 'no MLPs' ? (withoutMlp as VisionConfig) : { ...small, ...change }
    const model = { ...aModel(), vision: { config: base, weights: initializeWeights(base, createRandom(1)) } }
    const error = await refusal(writeModelFolder(newFolder(), model, { layout }))
    expect(error.code).toBe('MODEL_UNSUPPORTED')
    expect(error.message).toMatch(message)
    const { loaded, written } = await writtenAndLoaded(model)
    expect(written.layout).not.toBe(layout)
    expectSameWeights(loaded.towers.vision.weights, model.vision.weights)
  })

  test('for pictures that are not square refuses where the library has one number, and writes them where it has two', async () => {
    const model = aModel({ imageSize: { height: 8, width: 12 } })
    expect((await refusal(writeModelFolder(newFolder(), model, { layout: 'vit-prisma' }))).message).toContain('not square')
    expect((await writtenAndLoaded(model, { layout: 'hf-vit' })).loaded.description.vision.config).toMatchObject({
      imageSize: { width: 12 },
    })
  })

  test('refuses preprocessing that image processors do otherwise, and ours keeps it', async () => {
    const preprocessing = {
      ...aModel().preprocessing,
      resize: { kind: 'longestEdge', height: 8, width: 8, fill: [1, 2, 3] },
      crop: { height: 8, width: 8 },
      cropRounding: 'halfToEven',
      conversion: 'afterResize',
    } as const
    const error = await refusal(writeModelFolder(newFolder(), aModel({}, { preprocessing }), { layout: 'hf-vit' }))
    expect(error.message).toMatch(/longestEdge.*half to even.*afterResize/)
    const { loaded } = await writtenAndLoaded(aModel({}, { preprocessing }), { layout: 'refract' })
    expect(loaded.description.preprocessing).toEqual({ ...preprocessing, source: 'config.json' })
  })

  test('refuses a temperature where there is no place for one', async () => {
    const error = await refusal(writeModelFolder(newFolder(), aModel({}, { logScale: 1 }), { layout: 'hf-vit' }))
    expect(error.message).toMatch(/temperature.*hf-vit has not/)
    const { loaded } = await writtenAndLoaded(aModel({}, { logScale: -1.25, logitBias: 0.5 }))
    expect(loaded.description).toMatchObject({ layout: 'refract', logitScale: Math.exp(-1.25), logitBias: 0.5 })
  })
})

describe('a processed model', () => {
  const processing = ['fold-layer-norm', 'fold-value-biases'] as const

  test('is written where its new biases have a place, and computes the same', async () => {
    const folded = await loadModel(folderOf('hf-vit'), { processing })
    const model = modelToWrite(folded)
    const { loaded } = await writtenAndLoaded(model, { layout: 'hf-vit' })
    expectSameWeights(loaded.towers.vision.weights, folded.towers.vision.weights)
    expect(loaded.description.processing).toEqual([])
  })

  test('is refused where they have none', async () => {
    const model = modelToWrite(await loadModel(folderOf('hf-clip'), { processing }))
    const error = await refusal(writeModelFolder(newFolder(), model, { layout: 'hf-clip' }))
    expect(error.message).toMatch(/head\.bias true, where hf-clip has false.*refract/)
    const { loaded } = await writtenAndLoaded(model)
    expectSameWeights(loaded.towers.text!.weights, model.text!.weights)
  })
})

describe('weights', () => {
  test('that are missing, extra or of another shape are refused, all at once and before anything is written', async () => {
    const model = aModel()
    const { 'head.b_H': _, ...weights } = model.vision.weights
    const wrong = { ...weights, 'adam/m/head.b_H': float32([3], [0, 0, 0]), cls_token: float32([8], new Float32Array(8)) }
    const folder = newFolder()
    const error = await refusal(writeModelFolder(folder, { ...model, vision: { ...model.vision, weights: wrong } }))
    expect(error).toMatchObject({
      code: 'WEIGHTS_MISMATCH',
      message: expect.stringMatching(/cls_token has shape \[8\].*head\.b_H.*missing.*adam\/m/),
    })
    await expect(fs.stat(folder)).rejects.toThrow()
  })

  test('are a torch checkpoint where that is asked for', async () => {
    const model = aModel()
    const { written, loaded } = await writtenAndLoaded(model, { format: 'torch' })
    expect(written.files).toEqual(['config.json', 'preprocessor_config.json', 'pytorch_model.bin'])
    expectSameWeights(loaded.towers.vision.weights, model.vision.weights)
  })
})

describe('the folder', () => {
  test('has the labels, the card and the files that were given', async () => {
    const classLabels = ['ant', 'bee', 'ünï "x"']
    const { folder, written, loaded } = await writtenAndLoaded(aModel({}, { classLabels }), {
      card: { body: '# Insects', license: 'mit', tags: ['vision'] },
      files: { 'curves.json': '{}', 'LICENSE.txt': new TextEncoder().encode('MIT') },
    })
    expect(written.files).toEqual([
      'LICENSE.txt',
      'README.md',
      'config.json',
      'curves.json',
      'model.safetensors',
      'preprocessor_config.json',
    ])
    expect((await fs.readdir(folder)).sort()).toEqual([...written.files].sort())
    expect(loaded.description.classLabels).toEqual(classLabels)
    expect(await fs.readFile(path.join(folder, 'README.md'), 'utf8')).toBe('---\nlicense: mit\ntags:\n- vision\n---\n\n# Insects\n')
  })

  test.each(['../x', 'a/b', '.hidden', 'config.json', 'other.safetensors', 'model.safetensors.index.json', ''])(
    'takes no file named %j',
    async (name) => {
      const error = await refusal(writeModelFolder(newFolder(), aModel(), { files: { [name]: 'x' } }))
      expect(error.code).toBe('INPUT_INVALID')
    },
  )

  test('that holds files is replaced only when that was asked for', async () => {
    const { folder } = await writtenAndLoaded(aModel())
    expect((await refusal(writeModelFolder(folder, aModel()))).message).toContain('holds files already')
    await writeModelFolder(folder, aModel({ dMlp: 20 }), { replace: true })
    expect((await loadModel(folder)).description.vision.config.dMlp).toBe(20)
  })

  test('is as it was when the disk is full, and when what was written cannot be read', async () => {
    const { folder } = await writtenAndLoaded(aModel())
    const writeFile = fs.writeFile
    vi.spyOn(fs, 'writeFile').mockImplementation(async (...args) => {
      if (Array.isArray(args[1])) throw Object.assign(new Error('write'), { code: 'ENOSPC' })
      return writeFile(...args)
    })
    const full = await refusal(writeModelFolder(folder, aModel({ dMlp: 20 }), { replace: true }))
    expect(full.code).toBe('STORAGE_FULL')
    vi.restoreAllMocks()
    const model = modelToWrite(await loadModel(folderOf('hf-clip')))
    const damaged = { ...(await tokenizerFiles(folderOf('hf-clip'))), 'vocab.json': '{"a": 5000}' }
    expect((await refusal(writeModelFolder(folder, model, { files: damaged, replace: true }))).code).toBe('FILE_INVALID')
    expect((await loadModel(folder)).description.vision.config.dMlp).toBe(12)
    expect((await fs.readdir(root)).filter((name) => name.startsWith('.'))).toEqual([])
  })
})

describe('a configuration of our own layout', () => {
  const changed = async (change: (config: Record<string, never>) => unknown) => {
    const { folder } = await writtenAndLoaded(aModel(), { layout: 'refract' })
    const config = (await jsonIn(folder, 'config.json')) as Record<string, never>
    change(config)
    await fs.writeFile(path.join(folder, 'config.json'), JSON.stringify(config))
    return refusal(loadModel(folder))
  }
  test.each<[string, (config: Record<string, never>) => unknown, RegExp]>([
    ['an unknown field', (c) => Object.assign(c.vision!, { nLayerz: 3 }), /vision\.nLayerz/],
    ['a missing field', (c) => Object.assign(c.vision!, { hasCls: null }), /vision\.hasCls is missing/],
    ['another version', (c) => Object.assign(c, { version: 2 }), /version = 2/],
    ['a size beyond bounds', (c) => Object.assign(c.vision!, { nLayers: 1e9 }), /nLayers is 1000000000/],
    ['a head wider than its input', (c) => Object.assign(c.vision!, { head: { kind: 'none', dOut: 9, bias: false } }), /dOut is 9/],
    ['a norm over CLS and mean', (c) => Object.assign(c.vision!, { pooling: 'clsAndMean', finalNorm: 'pooled' }), /side by side/],
    ['labels for other classes', (c) => Object.assign(c, { classLabels: ['a'] }), /classLabels/],
    ['patches larger than the image', (c) => Object.assign(c.vision!, { patchSize: [99, 99] }), /larger than the images/],
    ['a std of nothing', (c) => Object.assign(c.preprocessing!, { std: [0, 1, 1] }), /preprocessing\.std must be above 0/],
    ['an unknown step', (c) => Object.assign(c.preprocessing!, { blur: 3 }), /preprocessing\.blur/],
    ['a resize of no kind', (c) => Object.assign(c.preprocessing!, { resize: { kind: 'magic' } }), /preprocessing\.resize\.kind/],
    ['another architecture than its weights', (c) => Object.assign(c.vision!, { layerScale: true }), /blocks\.0\.ls1.*missing/],
  ])('with %s is refused', async (_, change, message) => {
    const error = await changed(change)
    expect(['FILE_INVALID', 'MODEL_UNSUPPORTED', 'WEIGHTS_MISMATCH']).toContain(error.code)
    expect(error.message).toMatch(message)
  })
})
