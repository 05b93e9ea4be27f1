import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EngineError } from '../../../src/engine/errors.js'
import { expose } from '../../../src/engine/graph/edit.js'
import { safetensorsChunks } from '../../../src/engine/io/safetensors.js'
import { torchChunks } from '../../../src/engine/io/torch-writer.js'
import { describeSae, type LoadedSae, loadSae } from '../../../src/engine/saes/load-sae.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { saeParameters } from '../../../src/engine/saes/sae.js'
import { saeGraph } from '../../../src/engine/saes/sae-graph.js'
import { saveSae } from '../../../src/engine/saes/save-sae.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import { reference, runOnce } from '../each-backend.js'
import '../close-tensor.js'
import { fixtureFolder, readJson, readTensors, under } from './fixtures.js'

const folders = Object.keys((readJson('manifest.json') as { folders: object }).folders)
const backend = await reference.create()
let scratch = ''
beforeAll(async () => {
  scratch = await fs.mkdtemp(path.join(os.tmpdir(), 'saes-'))
})
afterAll(() => fs.rm(scratch, { recursive: true, force: true }))

const folderOf = (name: string) => path.join(fixtureFolder, name)

async function compute({ description, weights }: Pick<LoadedSae, 'weights'> & { description: { config: SaeConfig } }, x: Tensor) {
  const graph = expose(saeGraph(description.config), ['hook_hidden_post'])
  return runOnce(backend, graph, { inputs: { x }, weights })
}

const problemOf = (error: unknown) => (error instanceof EngineError ? `${error.code}: ${error.message}` : String(error))
const refusal = (promise: Promise<unknown>) => promise.then(() => 'no refusal', problemOf)

describe.each(folders)('%s', (name) => {
  test('is read, and computes what the library does', async () => {
    const sae = await loadSae(folderOf(name))
    const { x, ...expected } = await readTensors(`${name}.expected.safetensors`)
    const actual = await compute(sae, x!)
    for (const [value, tensor] of Object.entries(expected)) expect(actual[value]).toBeCloseTensor(tensor)
  })

  test('is described without reading its weights, and has the parameters that its configuration says', async () => {
    const { description, weights } = await loadSae(folderOf(name))
    expect(await describeSae(folderOf(name))).toEqual(description)
    expect(Object.fromEntries(Object.entries(weights).map(([key, { shape }]) => [key, shape]))).toEqual(saeParameters(description.config))
    expect(JSON.parse(JSON.stringify(description))).toEqual(description)
  })

  test.each(['vit-prisma', 'sae-lens', 'refract'] as const)(
    'written as %s it computes the same, or is refused for a reason',
    async (layout) => {
      const sae = await loadSae(folderOf(name))
      const { x } = await readTensors(`${name}.expected.safetensors`)
      const folder = path.join(scratch, `${name}-${layout}`)
      const { config, training } = sae.description
      const written = {
        config,
        weights: sae.weights,
        training,
        ...(sae.logFeatureSparsity && { logFeatureSparsity: sae.logFeatureSparsity }),
      }
      const problem = await saveSae(folder, written, { layout }).then(() => undefined, problemOf)
      if (problem !== undefined) {
        expect(problem).toMatch(/^MODEL_UNSUPPORTED: Writing this SAE as .+ does \(.+\)/)
        const isMissing = {
          'vit-prisma':
            config.architecture === 'jumprelu' || config.activation === 'batch-topk' || config.transcoder?.denormalizes === false,
          'sae-lens': config.transcoder?.denormalizes === true,
          refract: false,
        }
        expect(isMissing[layout]).toBe(true)
        return
      }
      const again = await loadSae(folder)
      const [before, after] = [await compute(sae, x!), await compute(again, x!)]
      for (const value of Object.keys(before)) expect(after[value]).toBeCloseTensor(before[value]!)
      expect(again.description.training).toMatchObject(training)
      expect(again.description.config.hookPoint).toBe(config.hookPoint)
      if (layout === 'refract') expect(again).toMatchObject({ weights: sae.weights, description: { config, training } })
      expect(again.logFeatureSparsity).toEqual(sae.logFeatureSparsity)
      expect(again.description.resolvedBy.filter(({ field }) => field !== 'W_skip')).toEqual([])
    },
  )
})

describe('what a configuration leaves open', () => {
  test('is decided by rule, and the rules are recorded', async () => {
    const { config, resolvedBy, form } = await describeSae(folderOf('prisma-old'))
    expect(config).toMatchObject({
      architecture: 'standard',
      activation: 'relu',
      normalization: 'none',
      hookPoint: 'blocks.9.hook_mlp_out',
    })
    expect(resolvedBy.map(({ field }) => field).sort()).toEqual([
      'activation_fn_str',
      'architecture',
      'layer_subtype',
      'normalize_activations',
    ])
    expect(form).toBe('plain')
  })

  test('config.json counts where the pickled configuration says otherwise, and that is recorded', async () => {
    const { config, resolvedBy, form, files } = await describeSae(folderOf('prisma-images'))
    expect(config).toMatchObject({ normalization: 'layer_norm', hookPoint: 'blocks.11.hook_mlp_out' })
    expect(resolvedBy[0]!.field).toBe('normalize_activations, hook_point_layer')
    expect(form).toBe('with configuration')
    expect(files).toEqual({
      weights: 'n_images_2600058.pt',
      config: 'config.json',
      logFeatureSparsity: 'n_images_2600058_log_feature_sparsity.pt',
    })
  })

  test('a transcoder says which skip formula it was given, and takes the other one when told so', async () => {
    const { config, resolvedBy } = await describeSae(folderOf('prisma-transcoder'))
    expect(config.transcoder).toEqual({ hookPointOut: 'blocks.1.hook_mlp_out', skip: 'linear', denormalizes: true })
    expect(config.hookPoint).toBe('blocks.1.ln2.hook_normalized')
    expect(resolvedBy.map(({ field }) => field)).toEqual(['W_skip'])
    const other = await describeSae(folderOf('prisma-transcoder'), { overrides: { skip: 'linear-and-identity' } })
    expect(other.config.transcoder!.skip).toBe('linear-and-identity')
    expect(other.resolvedBy).toEqual([{ field: 'skip', rule: 'given by whoever loaded it' }])
  })

  test('positions, model and coefficient are what the files say', async () => {
    const { training } = await describeSae(folderOf('prisma-gated'))
    expect(training).toMatchObject({ positions: 'patches', l1Coefficient: 1e-5, datasetName: 'imagenet1k' })
    expect(training.modelName).toContain('DataComp')
  })

  test('log frequencies come with the weights', async () => {
    const { logFeatureSparsity } = await loadSae(folderOf('prisma-images'))
    expect(logFeatureSparsity!.shape).toEqual([16])
    expect(logFeatureSparsity!.data[0]).toBe(-10)
  })
})

describe('what cannot be read is refused', () => {
  const tensor = (...shape: number[]): Tensor => ({ dtype: 'float32', shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) })
  const standard = { W_dec: tensor(16, 8), W_enc: tensor(8, 16), b_enc: tensor(16), b_dec: tensor(8) }
  const config = {
    hook_point_layer: 1,
    layer_subtype: 'hook_mlp_out',
    architecture: 'standard',
    activation_fn_str: 'relu',
    normalize_activations: null,
  }
  let count = 0
  const prisma = async (weights: Record<string, Tensor>, json?: object | string) => {
    const folder = path.join(scratch, `refused-${count++}`)
    await fs.mkdir(folder)
    await fs.writeFile(path.join(folder, 'weights.pt'), Buffer.concat(torchChunks(Object.entries(weights))))
    if (json) await fs.writeFile(path.join(folder, 'config.json'), typeof json === 'string' ? json : JSON.stringify(json))
    return refusal(describeSae(folder))
  }
  const lens = async (weights: Record<string, Tensor>, json: object) => {
    const folder = path.join(scratch, `refused-${count++}`)
    await fs.mkdir(folder)
    await fs.writeFile(path.join(folder, 'sae_weights.safetensors'), Buffer.concat(safetensorsChunks(Object.entries(weights))))
    await fs.writeFile(path.join(folder, 'cfg.json'), JSON.stringify(json))
    return refusal(describeSae(folder))
  }

  test.each([
    ['no configuration anywhere', standard, undefined, /FILE_INVALID: .*config\.json is missing, and the weights carry no configuration/],
    ['text that is not JSON', standard, '{', /FILE_INVALID: config\.json: is not JSON/],
    [
      'sizes that the weights contradict',
      standard,
      { ...config, d_in: 768, expansion_factor: 64 },
      /d_in is 768, and W_enc says 8; expansion_factor is 64/,
    ],
    ['a hook point that has had three defaults', standard, { ...config, layer_subtype: undefined }, /layer_subtype is missing/],
    ['top-k without k', standard, { ...config, activation_fn_str: 'topk' }, /k = nothing; topk needs a whole number/],
    [
      'a k above the width',
      standard,
      { ...config, activation_fn_str: 'topk', activation_fn_kwargs: { k: 17 } },
      /k is 17; expected a number above 0 and at most dSae \(16\)/,
    ],
    ['an activation that the library lacks', standard, { ...config, activation_fn_str: 'leaky_relu' }, /MODEL_UNSUPPORTED: .*"leaky_relu"/],
    ['an architecture without code', standard, { ...config, architecture: 'jumprelu' }, /MODEL_UNSUPPORTED: .*"jumprelu"/],
    ['gated without a gate', standard, { ...config, architecture: 'gated' }, /lack the gate's parameters/],
    [
      'a transcoder without its bias',
      standard,
      { ...config, is_transcoder: true },
      /is_transcoder is true, and the weights have no b_dec_out/,
    ],
    ['a field of another type', standard, { ...config, activation_fn_kwargs: 5 }, /activation_fn_kwargs is 5; expected an object/],
    [
      'a missing weight',
      { W_dec: standard.W_dec, W_enc: standard.W_enc, b_dec: standard.b_dec },
      config,
      /WEIGHTS_MISMATCH: .*"b_enc" \[16\] is missing/,
    ],
    ['a weight too many', { ...standard, b_fourth: tensor(2) }, config, /"b_fourth" \[2\] is not a weight of this SAE/],
    ['a weight of another shape', { ...standard, b_enc: tensor(15) }, config, /"b_enc" has shape \[15\]; expected \[16\]/],
    [
      'whole numbers for weights',
      { ...standard, b_enc: { dtype: 'int64', shape: [16], data: new BigInt64Array(16) } as Tensor },
      config,
      /"b_enc" holds int64/,
    ],
  ])('ViT-Prisma: %s', async (_, weights, json, message) => {
    expect(await prisma(weights as Record<string, Tensor>, json)).toMatch(message)
  })

  const cfg = {
    architecture: 'standard',
    normalize_activations: 'none',
    apply_b_dec_to_input: true,
    metadata: { hook_name: 'blocks.1.hook_mlp_out' },
  }
  test.each([
    ['an architecture of its own', { ...cfg, architecture: 'temporal' }, /MODEL_UNSUPPORTED: .*"temporal"/],
    [
      'whitening that was not folded',
      { ...cfg, normalize_activations: 'covariance_whitening' },
      /MODEL_UNSUPPORTED: .*covariance_whitening/,
    ],
    ['top-k without k, whose default would be 100', { ...cfg, architecture: 'topk' }, /FILE_INVALID: .*k is missing/],
    ['no hook point', { ...cfg, metadata: {} }, /hook_name is missing; say which hook point the SAE belongs to/],
    ['a threshold that is not there', { ...cfg, architecture: 'jumprelu' }, /WEIGHTS_MISMATCH: .*"threshold" \[16\] is missing/],
  ])('SAELens: %s', async (_, json, message) => {
    expect(await lens(standard, json)).toMatch(message)
  })

  test('a folder without an SAE, and one that is not there', async () => {
    const folder = path.join(scratch, 'empty')
    await fs.mkdir(folder)
    expect(await refusal(describeSae(folder))).toMatch(/MODEL_UNSUPPORTED: .*Expected weights\.pt or n_images_<n>\.pt with config\.json/)
    expect(await refusal(describeSae(path.join(scratch, 'nowhere')))).toMatch(/FILE_INVALID: nowhere: cannot be listed/)
  })

  test('a file that was cut short', async () => {
    const folder = path.join(scratch, 'cut')
    await fs.cp(folderOf('saelens-standard'), folder, { recursive: true })
    const file = path.join(folder, 'sae_weights.safetensors')
    await fs.truncate(file, (await fs.stat(file)).size - 8)
    expect(await refusal(describeSae(folder))).toMatch(/FILE_INVALID: sae_weights\.safetensors: .*bytes beyond the file/)
  })

  test("weights that are not the configuration's are not written", async () => {
    const sae = await loadSae(folderOf('prisma-plain'))
    const { b_enc, ...rest } = sae.weights
    const attempt = saveSae(path.join(scratch, 'unwritten'), { config: sae.description.config, weights: rest }, { layout: 'sae-lens' })
    expect(await refusal(attempt)).toMatch(/WEIGHTS_MISMATCH: .*"b_enc" \[16\] is missing/)
    expect(b_enc!.shape).toEqual([16])
  })
})

test('an SAE with every field of a configuration wrong hears of all of it', async () => {
  const config = {
    architecture: 'standard',
    activation: 'topk',
    dIn: 4,
    dOut: 5,
    dSae: 0,
    normalization: 'batch',
    subtractsDecoderBias: true,
    hookPoint: '',
    k: 2,
    widths: [1],
  }
  const attempt = () => saeGraph(config as unknown as SaeConfig)
  expect(attempt).toThrow(EngineError)
  try {
    attempt()
  } catch (error) {
    const { problems } = error as EngineError
    expect(problems.map((problem) => problem.path)).toEqual([
      'sae.activation',
      'sae.dSae',
      'sae.k',
      'sae.widths',
      'sae.normalization',
      'sae.hookPoint',
      'sae.dOut',
    ])
  }
})

test('the input scale is folded into what is written', async () => {
  const tensors = await readTensors('forward.safetensors')
  const name = 'saelens standard expected_average_only_in'
  const config = (readJson('forward.json') as Record<string, SaeConfig>)[name]!
  const { x, reconstruction } = under(tensors, name)
  const folder = path.join(scratch, 'scaled')
  await saveSae(folder, { config, weights: under(tensors, `${name}/weights`) }, { layout: 'sae-lens' })
  const again = await loadSae(folder)
  expect(again.description.config.normalization).toBe('none')
  expect((await compute(again, x!)).reconstruction).toBeCloseTensor(reconstruction!)
})

describe('the layout refract', () => {
  const config = {
    architecture: 'jumprelu',
    activation: 'relu',
    dIn: 4,
    dOut: 3,
    dSae: 7,
    normalization: 'layer_norm',
    subtractsDecoderBias: true,
    hookPoint: 'blocks.0.attn.hook_z',
    flattensHeads: true,
    transcoder: { hookPointOut: 'blocks.0.hook_mlp_out', skip: 'linear', denormalizes: true },
  } as const satisfies SaeConfig
  const weights = Object.fromEntries(
    Object.entries(saeParameters(config)).map(([name, shape]) => {
      const data = new Float32Array(shape.reduce((a, b) => a * b, 1)).map((_, at) => Math.sin(at + name.length))
      return [name, { dtype: 'float32', shape, data } as Tensor<'float32'>]
    }),
  )

  test('says what no library can', async () => {
    const folder = path.join(scratch, 'own')
    for (const layout of ['vit-prisma', 'sae-lens'] as const)
      expect(await refusal(saveSae(folder, { config, weights }, { layout }))).toMatch(/MODEL_UNSUPPORTED/)
    await saveSae(folder, { config, weights }, { layout: 'refract' })
    const again = await loadSae(folder)
    expect(again.description.config).toEqual(config)
    expect(again.weights).toEqual(weights)
  })

  test('hears of everything that is wrong in its file', async () => {
    const folder = path.join(scratch, 'own-wrong')
    await saveSae(folder, { config, weights }, { layout: 'refract' })
    const json = {
      format: 'refract-sae',
      version: 1,
      config: { ...config, dIn: '4', subtractsDecoderBias: undefined, transcoder: { ...config.transcoder, skip: 'yes', more: 1 } },
    }
    await fs.writeFile(path.join(folder, 'sae.json'), JSON.stringify(json))
    const message = await refusal(describeSae(folder))
    expect(message).toMatch(/FILE_INVALID: sae\.json: .*config\.dIn is "4"; expected a number/)
    expect(message).toMatch(/config\.subtractsDecoderBias is missing; .*more is not a field.*config\.transcoder\.skip is "yes"/)
  })
})
